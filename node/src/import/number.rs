//! Numbers as people write them: `37.5`, `37,5`, `1.234,5`, `1 234.5`, `1'234.5`, `1E+3`.
//!
//! `1.234` is a thousand in one country and little more than one in another, so a cell cannot say what it means and
//! a guess would be wrong by a factor of a thousand. The whole file decides: [`Marks`] reads every number of it both
//! ways. A number that makes sense in one way only (`37,5`, `1.234,5`, `0.125`, `1.234.567`) is evidence. Evidence
//! for both ways is an error that names two cells. Without evidence, numbers that mean different things in the two
//! ways are errors; numbers without marks are fine. Cells that a workbook holds as numbers need none of this.

use fmesh_proto::quantity::{Quantity, QuantityError};

use super::{Decimal, errors::Errors, errors::shown, sheet::Cell};

/// What the numbers of a file say about its decimal mark.
#[derive(Debug, Default)]
pub(super) struct Marks<'s> {
    point: Option<Place<'s>>,
    comma: Option<Place<'s>>,
}
type Place<'s> = (u64, &'s str, &'s str);

impl<'s> Marks<'s> {
    /// Looks at one number of the file.
    pub(super) fn look(&mut self, row: u64, column: &'s str, text: &'s str) {
        let place = (row, column, text);
        match (
            canonical(text, Decimal::Point),
            canonical(text, Decimal::Comma),
        ) {
            (Some(_), None) => _ = self.point.get_or_insert(place),
            (None, Some(_)) => _ = self.comma.get_or_insert(place),
            _ => {}
        }
    }

    /// The file's decimal mark; `None` leaves open what `1.234` means.
    pub(super) fn decide(&self, told: Option<Decimal>, errors: &mut Errors) -> Option<Decimal> {
        if told.is_some() {
            return told;
        }
        match (self.point, self.comma) {
            (Some(point), Some(comma)) => {
                let (first, second) = if point.0 <= comma.0 {
                    (point, comma)
                } else {
                    (comma, point)
                };
                errors.add(
                    second.0,
                    Some(second.1),
                    format!(
                        "{:?} uses another decimal mark than {:?} in row {}",
                        shown(second.2),
                        shown(first.2),
                        first.0
                    ),
                    "one file has one decimal mark, else 1.234 could mean two things",
                    "write all numbers of the file in one way",
                );
                Some(Decimal::Point)
            }
            (Some(_), None) => Some(Decimal::Point),
            (None, Some(_)) => Some(Decimal::Comma),
            (None, None) => None,
        }
    }
}

/// Reads one cell; what is wrong with it goes to `errors`. `None` is unknown (or wrong).
pub(super) fn read(
    cell: &Cell,
    decimal: Option<Decimal>,
    row: u64,
    column: &str,
    errors: &mut Errors,
) -> Option<Quantity> {
    let text = match cell {
        cell if cell.is_unknown() => return None,
        Cell::Empty => return None,
        Cell::Number(text) => return quantity(text, text, row, column, errors),
        Cell::Text(text) => text,
        Cell::Wrong(text) => {
            errors.add(
                row,
                Some(column),
                format!("the cell shows {:?}", shown(text)),
                "it holds an error or a time, not a number",
                "correct the formula, or clear the cell if the number is not known",
            );
            return None;
        }
        Cell::Date(date) => {
            errors.add(
                row,
                Some(column),
                format!("the cell holds the date {date}"),
                "a number is expected here",
                "give the cell a number format; spreadsheets turn 1.2 into a date by themselves",
            );
            return None;
        }
    };
    let (point, comma) = (
        canonical(text, Decimal::Point),
        canonical(text, Decimal::Comma),
    );
    let reads = point.is_some() || comma.is_some();
    let canonical = match (decimal, point, comma) {
        (Some(Decimal::Point), Some(number), _) | (Some(Decimal::Comma), _, Some(number)) => number,
        (None, Some(number), Some(other)) if number == other => number,
        (None, Some(_), Some(_)) => {
            errors.add(
                row,
                Some(column),
                format!("{:?} can mean two numbers", shown(text)),
                "nothing in the file shows whether a comma or a point separates decimals",
                "write it without a thousands mark, or with another number of decimals",
            );
            return None;
        }
        (None, Some(number), None) | (None, None, Some(number)) => number,
        _ => {
            let why = match decimal {
                Some(mark) if reads => {
                    format!("the file has a decimal {mark}, and so this is not a number")
                }
                _ => "a decimal number is expected here, such as 37.5".to_owned(),
            };
            errors.add(
                row,
                Some(column),
                format!("{:?} is not a number", shown(text)),
                why,
                "write a number; leave the cell empty if it is not known, write 0 only for zero",
            );
            return None;
        }
    };
    quantity(&canonical, text, row, column, errors)
}

fn quantity(
    canonical: &str,
    text: &str,
    row: u64,
    column: &str,
    errors: &mut Errors,
) -> Option<Quantity> {
    let why = match canonical.parse() {
        Ok(quantity) => return Some(quantity),
        Err(QuantityError::TooFine(_)) => {
            "numbers have at most three decimals, and none is rounded silently"
        }
        Err(QuantityError::TooLarge(_)) => "the limit is 9 quadrillion",
        Err(_) => "it is not a decimal number",
    };
    errors.add(
        row,
        Some(column),
        format!("{:?} cannot be taken", shown(text)),
        why,
        "round it, or choose another unit",
    );
    None
}

/// The number as `Quantity` reads it, if `text` is one under this decimal mark.
///
/// Grammar: sign, digits or groups of digits, decimal mark and digits, exponent. Groups are of three digits after a
/// first one of one to three that does not begin with zero, and one character separates them all.
pub(super) fn canonical(text: &str, decimal: Decimal) -> Option<String> {
    let (mark, group) = match decimal {
        Decimal::Point => ('.', ','),
        Decimal::Comma => (',', '.'),
    };
    let unsigned = text.strip_prefix(['+', '-', '\u{2212}']);
    let sign = if unsigned.is_some() && !text.starts_with('+') {
        "-"
    } else {
        ""
    };
    let unsigned = unsigned.unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => unsigned.split_at(at),
        None => (unsigned, ""),
    };
    let (whole, fraction) = match mantissa.split_once(mark) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.is_some_and(|fraction| !digits(fraction)) {
        return None;
    }
    let is_separator = |c: char| {
        c == group
            || matches!(
                c,
                ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}' | '\'' | '\u{2019}'
            )
    };
    let whole = match whole.chars().find(|c| is_separator(*c)) {
        None => whole.to_owned(),
        Some(separator) => {
            let mut groups = whole.split(separator);
            let first = groups.next().unwrap_or_default();
            let first_fits = digits(first) && first.len() <= 3 && !first.starts_with('0');
            if !first_fits || !groups.all(|group| digits(group) && group.len() == 3) {
                return None;
            }
            whole.replace(separator, "")
        }
    };
    if !digits(&whole) {
        return None;
    }
    let fraction = fraction
        .map(|fraction| format!(".{fraction}"))
        .unwrap_or_default();
    Some(format!("{sign}{whole}{fraction}{exponent}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::import::errors::tests::lines;

    /// Numbers of a file in one column, each as it is read, or the errors.
    fn file(told: Option<Decimal>, texts: &[&str]) -> Result<Vec<String>, Vec<String>> {
        let mut marks = Marks::default();
        for (row, text) in texts.iter().enumerate() {
            marks.look(row as u64 + 2, "free", text);
        }
        let mut errors = Errors::default();
        let decimal = marks.decide(told, &mut errors);
        let numbers: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(row, text)| {
                read(
                    &Cell::text_of(text),
                    decimal,
                    row as u64 + 2,
                    "free",
                    &mut errors,
                )
            })
            .map(|number| number.map_or("?".to_owned(), |number| number.to_string()))
            .collect();
        if errors.is_empty() {
            return Ok(numbers);
        }
        Err(lines(errors.finish(())))
    }

    #[test]
    fn the_file_decides_what_a_mark_means() {
        let cases: [(&[&str], &[&str]); 11] = [
            (&["37,5", "1.234"], &["37.5", "1234"]),
            (&["37.5", "1,234"], &["37.5", "1234"]),
            (&["1.234", "1.234,5", "12"], &["1234", "1234.5", "12"]),
            (&["1.234", "0.125"], &["1.234", "0.125"]),
            (&["1.234.567", "1.234"], &["1234567", "1234"]),
            (&["1 234,5", "1\u{a0}000"], &["1234.5", "1000"]),
            (
                &["1'234.5", "2\u{2019}000", "3,000"],
                &["1234.5", "2000", "3000"],
            ),
            (
                &["1E+3", "1,5E1", "-2,5", "\u{2212}2,5", "+1"],
                &["1000", "15", "-2.5", "-2.5", "1"],
            ),
            (
                &["0", "", "?", "unbekannt", "12"],
                &["0", "?", "?", "?", "12"],
            ),
            (&["1.2340", "1.234"], &["1.234", "1.234"]),
            (&["12", "37"], &["12", "37"]),
        ];
        for (texts, numbers) in cases {
            assert_eq!(
                file(None, texts),
                Ok(numbers.iter().map(|n| (*n).to_owned()).collect()),
                "{texts:?}"
            );
        }
        assert_eq!(
            file(Some(Decimal::Comma), &["1.234"]),
            Ok(vec!["1234".to_owned()])
        );
        assert_eq!(
            file(Some(Decimal::Point), &["1.234"]),
            Ok(vec!["1.234".to_owned()])
        );
    }

    #[test]
    fn what_is_not_clear_is_an_error() {
        let cases: [(&[&str], &[&str]); 8] = [
            (
                &["1.234", "12"],
                &["2 free: \"1.234\" can mean two numbers"],
            ),
            (
                &["37,5", "37.5"],
                &[
                    "3 free: \"37.5\" uses another decimal mark than \"37,5\" in row 2",
                    "2 free: \"37,5\" is not a number",
                ],
            ),
            (&["abc"], &["2 free: \"abc\" is not a number"]),
            (&["-"], &["2 free: \"-\" is not a number"]),
            (&["1 5"], &["2 free: \"1 5\" is not a number"]),
            (&["12 h"], &["2 free: \"12 h\" is not a number"]),
            (&["0,1234"], &["2 free: \"0,1234\" cannot be taken"]),
            (&["1E99"], &["2 free: \"1E99\" cannot be taken"]),
        ];
        for (texts, expected) in cases {
            let mut errors = file(None, texts).unwrap_err();
            errors.sort();
            let mut expected: Vec<String> =
                expected.iter().map(|line| (*line).to_owned()).collect();
            expected.sort();
            assert_eq!(errors, expected, "{texts:?}");
        }
        let mut errors = Errors::default();
        for cell in [
            Cell::Wrong("#DIV/0!".into()),
            Cell::Date(jiff::civil::date(2026, 2, 1)),
        ] {
            assert_eq!(read(&cell, None, 1, "free", &mut errors), None);
        }
        assert_eq!(lines(errors.finish(())).len(), 2);
    }

    /// As a country writes it.
    fn written(quantity: Quantity, decimal: char, group: Option<char>) -> String {
        let text = quantity.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let mut out = String::new();
        for (at, digit) in whole.chars().enumerate() {
            if let Some(group) = group
                && at > 0
                && (whole.len() - at) % 3 == 0
            {
                out.push(group);
            }
            out.push(digit);
        }
        if !fraction.is_empty() {
            out.push(decimal);
            out += fraction;
        }
        out
    }

    proptest! {
        #[test]
        fn every_way_of_writing_reads_the_same(
            numbers in prop::collection::vec(0_i64..10_000_000_000, 1..20),
            (decimal, group) in prop::sample::select(vec![('.', Some(',')), ('.', Some(' ')), ('.', None), (',', Some('.')), (',', Some('\'')), (',', None)]),
        ) {
            let numbers: Vec<_> = numbers.into_iter().map(Quantity::from_thousandths).collect();
            let mut texts: Vec<_> = numbers.iter().map(|number| written(*number, decimal, group)).collect();
            texts.push(format!("37{decimal}5"));
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut expected: Vec<_> = numbers.iter().map(ToString::to_string).collect();
            expected.push("37.5".to_owned());
            prop_assert_eq!(file(None, &texts), Ok(expected));
        }

        #[test]
        fn no_text_panics(texts in prop::collection::vec("\\PC{0,12}|[0-9.,' eE+-]{0,12}", 0..6)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let _ = file(None, &texts);
        }
    }
}
