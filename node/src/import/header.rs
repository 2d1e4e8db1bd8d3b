//! Which column means what: titles in English and German, with or without a unit behind them.
//!
//! Capitals, spaces, punctuation and umlauts do not matter: `Serien-Nr.` is `seriennr`. A unit in brackets,
//! `Verfügbar (h)`, is read as the unit of the numbers. A title that nobody knows is a warning with the nearest
//! word that is known; two columns that mean the same are an error, since one of them would be ignored.

use std::collections::BTreeMap;

use fmesh_proto::quantity::Unit;

use super::{
    errors::{Errors, shown},
    sheet::Row,
};

/// Names of a column: the one used in code and messages first, then others, folded.
pub(super) type Names = [&'static str];

/// Columns of one table.
#[derive(Debug)]
pub(super) struct Header {
    row: u64,
    known: BTreeMap<&'static str, (usize, String)>,
    /// Index and title of columns that have no known name.
    pub(super) others: Vec<(usize, String)>,
    /// From brackets behind titles.
    pub(super) unit: Option<Unit>,
}

impl Header {
    pub(super) fn read(row: &Row, names: &[&'static Names], errors: &mut Errors) -> Self {
        let mut header = Self {
            row: row.number,
            known: BTreeMap::new(),
            others: Vec::new(),
            unit: None,
        };
        for (index, cell) in row.cells().iter().enumerate() {
            let Some(title) = cell.text() else { continue };
            let title = title.into_owned();
            let (plain, bracket) = split_bracket(&title);
            let folded = fold(plain);
            let Some(name) = names
                .iter()
                .find(|names| names.contains(&folded.as_str()))
                .map(|names| names[0])
            else {
                header.others.push((index, title));
                continue;
            };
            if let Some(unit) = bracket.and_then(unit) {
                match header.unit {
                    Some(other) if other != unit => errors.add(
                        row.number,
                        Some(&title),
                        format!("the columns are in {other} and in {unit}"),
                        "a capacity has one unit for all its columns",
                        "convert them to one unit, or import two files",
                    ),
                    _ => header.unit = Some(unit),
                }
            }
            if let Some((_, first)) = header.known.get(name) {
                errors.add(
                    row.number,
                    Some(&title),
                    format!("two columns mean {name}: {first:?} and {title:?}"),
                    "only one of them can be read",
                    "remove or rename one of them",
                );
                continue;
            }
            header.known.insert(name, (index, title));
        }
        header
    }

    /// Row of the titles.
    pub(super) fn row(&self) -> u64 {
        self.row
    }

    /// Index of a column.
    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.known.get(name).map(|(index, _)| *index)
    }

    /// Title as it stands in the file.
    pub(super) fn title<'s>(&'s self, name: &'s str) -> &'s str {
        self.known.get(name).map_or(name, |(_, title)| title)
    }

    /// A sentence for each column that is left out.
    pub(super) fn warnings(&self, names: &[&'static Names]) -> Vec<String> {
        let sentence = |(_, title): &(usize, String)| {
            let title_shown = shown(title);
            match nearest(title, names) {
                Some(near) => format!(
                    "column {title_shown:?} is not known and was left out; did you mean {near:?}?"
                ),
                None => format!("column {title_shown:?} is not known and was left out"),
            }
        };
        self.others.iter().map(sentence).collect()
    }

    /// Says that a column is missing, and how it may be called.
    pub(super) fn missing(&self, names: &Names, all: &[&'static Names], errors: &mut Errors) {
        let near = self
            .others
            .iter()
            .find(|(_, title)| nearest(title, all).is_some_and(|near| names.contains(&near)))
            .map(|(_, title)| format!("rename {:?}, or ", shown(title)))
            .unwrap_or_default();
        errors.add(
            self.row,
            None,
            format!("there is no column {}", names[0]),
            "rows cannot be read without it",
            format!(
                "{near}add a column with one of these titles: {}",
                names.join(", ")
            ),
        );
    }
}

/// The word of `names` that is most like `text`, if one is.
fn nearest(text: &str, names: &[&'static Names]) -> Option<&'static str> {
    let folded = fold(split_bracket(text).0);
    if folded.len() > 64 {
        return None;
    }
    let words = names.iter().flat_map(|names| names.iter().copied());
    words
        .map(|word| (distance(&folded, word), word))
        .filter(|(distance, word)| *distance <= (word.len() / 3).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Small letters and digits only; umlauts as two letters.
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        match c {
            'ä' => folded += "ae",
            'ö' => folded += "oe",
            'ü' => folded += "ue",
            'ß' => folded += "ss",
            c if c.is_alphanumeric() => folded.push(c),
            _ => {}
        }
    }
    folded
}

/// `Verfügbar (h)` as `Verfügbar ` and `h`.
fn split_bracket(title: &str) -> (&str, Option<&str>) {
    let end = title.trim_end();
    let Some(inner) = end.strip_suffix([')', ']']) else {
        return (title, None);
    };
    match inner.rfind(['(', '[']) {
        Some(at) if at > 0 => (&title[..at], Some(&inner[at + 1..])),
        _ => (title, None),
    }
}

/// A unit by its code or by a word that means one unit only.
pub(super) fn unit(text: &str) -> Option<Unit> {
    let word = fold(text);
    let code = match word.as_str() {
        "h" | "std" | "stunde" | "stunden" | "hour" | "hours" | "hrs" => "HUR",
        "min" | "minute" | "minuten" | "minutes" => "MIN",
        "stk" | "stueck" | "pcs" | "piece" | "pieces" => "H87",
        "kg" => "KGM",
        "tonne" | "tonnen" | "tonnes" => "TNE",
        "kwh" => "KWH",
        _ => return text.trim().to_uppercase().parse().ok(),
    };
    code.parse().ok()
}

/// Levenshtein: how many letters differ.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let swap = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = swap.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{
        errors::tests::lines,
        sheet::{Builder, Cell},
    };

    const NAMES: &[&Names] = &[
        &["available", "verfuegbar", "frei"],
        &["serial", "seriennr"],
        &["resource", "anlage"],
    ];

    fn header(titles: &[&str]) -> (Header, Errors) {
        let mut builder = Builder::default();
        builder
            .push(3, titles.iter().map(|title| Cell::text_of(title)).collect())
            .unwrap();
        builder.push(4, vec![Cell::text_of("x")]).unwrap();
        let mut errors = Errors::default();
        let sheet = builder.finish(String::new(), vec![]).unwrap();
        (Header::read(&sheet.header, NAMES, &mut errors), errors)
    }

    #[test]
    fn titles_are_known_however_they_are_written() {
        let (header, errors) = header(&["VERFÜGBAR (Std.)", "", "Serien-Nr.", "Anlgae", "Farbe"]);
        assert!(errors.is_empty());
        assert_eq!(
            (
                header.index("available"),
                header.index("serial"),
                header.index("resource")
            ),
            (Some(0), Some(2), None)
        );
        assert_eq!(
            (header.unit, header.title("available")),
            (Some(Unit::HOUR), "VERFÜGBAR (Std.)")
        );
        assert_eq!(
            header.warnings(NAMES),
            [
                "column \"Anlgae\" is not known and was left out; did you mean \"anlage\"?",
                "column \"Farbe\" is not known and was left out",
            ]
        );
        let mut errors = Errors::default();
        header.missing(NAMES[2], NAMES, &mut errors);
        let error = errors.finish(()).unwrap_err();
        assert_eq!(
            error.rows()[0].hint,
            "rename \"Anlgae\", or add a column with one of these titles: resource, anlage"
        );
    }

    #[test]
    fn two_columns_for_one_thing_are_refused() {
        let (_, errors) = header(&["available (h)", "Frei [Stk]"]);
        assert_eq!(
            lines(errors.finish(())),
            [
                "3 Frei [Stk]: the columns are in HUR and in H87",
                "3 Frei [Stk]: two columns mean available: \"available (h)\" and \"Frei [Stk]\"",
            ]
        );
    }

    #[test]
    fn units_and_distances() {
        for (text, code) in [
            ("h", Some("HUR")),
            ("[x]", None),
            ("tne", Some("TNE")),
            ("Stück", Some("H87")),
            ("t", None),
            ("B7", Some("B7")),
        ] {
            assert_eq!(unit(text).map(Unit::code), code, "{text}");
        }
        for (a, b, expected) in [
            ("", "", 0),
            ("abc", "", 3),
            ("", "ab", 2),
            ("anlgae", "anlage", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(
                (distance(a, b), distance(b, a)),
                (expected, expected),
                "{a} {b}"
            );
        }
        for title in ["(h)", "h)", "", "(", "a()", "ä)("] {
            let _ = split_bracket(title);
        }
    }
}
