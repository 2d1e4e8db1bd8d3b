//! Text tables: which character separates cells, and the rows.
//!
//! `;`, tab and `,` are tried on the first rows; the one under which most rows are as wide as the header wins, and
//! of two equal ones the one that gives more columns. A first line `sep=;`, as Excel reads it, decides instead.
//! `|` never separates cells: it separates values within one.

use csv::{ReaderBuilder, StringRecord, Trim};

use super::{
    ImportError,
    bytes::Text,
    errors::{Errors, shown},
    sheet::{Builder, Cell, Sheet},
};

const SEPARATORS: [u8; 3] = [b';', b'\t', b','];
/// Rows that are looked at to find the separator.
const ROWS_TRIED: usize = 50;

pub(super) fn read(text: &Text) -> Result<Sheet, ImportError> {
    let mut lines = text.text.replace("\r\n", "\n").replace('\r', "\n");
    if !lines.ends_with('\n') {
        lines.push('\n');
    }
    let (separator, skipped) = match announced(&lines) {
        Some(separator) => (separator, 1),
        None => (sniffed(&lines), 0),
    };
    let mut builder = Builder::default();
    let mut records = reader(separator, &lines);
    let mut record = StringRecord::new();
    // Lines within cells: a spreadsheet shows one row where an editor shows several lines.
    let mut inner: u64 = 0;
    let mut width = None;
    let mut errors = Errors::default();
    loop {
        let more = records.read_record(&mut record).map_err(|error| {
            ImportError::file(
                format!("the text is no table: {error}"),
                "save it again as .csv",
            )
        })?;
        if !more {
            break;
        }
        let breaks: usize = record
            .iter()
            .map(|cell| cell.bytes().filter(|byte| *byte == b'\n').count())
            .sum();
        inner += breaks as u64;
        let row = (records.position().line() - 1).saturating_sub(inner).max(1);
        if row > skipped {
            let width = *width.get_or_insert(record.len());
            if let Some(more) = record
                .iter()
                .skip(width)
                .find(|cell| !cell.trim().is_empty())
            {
                errors.add(
                    row,
                    None,
                    format!("the row has more cells than the header: {:?}", shown(more)),
                    format!(
                        "{} stands within a cell, so all cells behind it are in wrong columns",
                        name(separator)
                    ),
                    "put such cells in quotes (\"), or use another separator",
                );
            }
            builder.push(row, record.iter().map(Cell::text_of).collect())?;
        }
    }
    let format = format!("csv, {}, {} between cells", text.encoding, name(separator));
    errors.finish(())?;
    builder.finish(format, Vec::new())
}

fn name(separator: u8) -> String {
    match separator {
        b'\t' => "tab".to_owned(),
        other => format!("\"{}\"", char::from(other)),
    }
}

fn reader(separator: u8, lines: &str) -> csv::Reader<&[u8]> {
    ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .trim(Trim::None)
        .from_reader(lines.as_bytes())
}

/// `sep=;`
fn announced(lines: &str) -> Option<u8> {
    let line = lines.lines().next()?.trim().to_lowercase();
    let separator = line.strip_prefix("sep=")?;
    let byte = match separator {
        "" => b'\t',
        other => *other.as_bytes().first()?,
    };
    (separator.len() <= 1 && SEPARATORS.contains(&byte)).then_some(byte)
}

fn sniffed(lines: &str) -> u8 {
    let score = |separator: &u8| {
        let widths: Vec<usize> = reader(*separator, lines)
            .records()
            .take(ROWS_TRIED)
            .map_while(Result::ok)
            .map(|record| record.len())
            .collect();
        let width = widths.first().copied().unwrap_or(0);
        let alike = widths.iter().filter(|other| **other == width).count();
        if width < 2 { (0, 0) } else { (alike, width) }
    };
    // Of equal scores the first separator in the list counts.
    SEPARATORS
        .into_iter()
        .rev()
        .max_by_key(score)
        .unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::import::errors::tests::lines;

    fn table(text: &str) -> Vec<(u64, Vec<String>)> {
        let sheet = read(&Text {
            text: text.to_owned(),
            encoding: "UTF-8",
        })
        .unwrap();
        std::iter::once(&sheet.header)
            .chain(&sheet.rows)
            .map(|row| {
                let cells = row.cells().iter();
                let cells = cells.map(|cell| cell.text().unwrap_or_default().into_owned());
                (row.number, cells.collect())
            })
            .collect()
    }
    fn row(number: u64, cells: &[&str]) -> (u64, Vec<String>) {
        (
            number,
            cells.iter().map(|cell| (*cell).to_owned()).collect(),
        )
    }

    #[test]
    fn separators_are_found() {
        let cases = [
            ("id,name\nA,mill\n", ["id", "name"], ["A", "mill"]),
            ("id;name\nA;1,5\nB;2,5\n", ["id", "name"], ["A", "1,5"]),
            (
                "id\tname, long\nA\tx, y",
                ["id", "name, long"],
                ["A", "x, y"],
            ),
            ("sep=,\nid,a;b\nA,1;2\n", ["id", "a;b"], ["A", "1;2"]),
            (
                "\"id, or key\";name\r\nA;mill\r\n",
                ["id, or key", "name"],
                ["A", "mill"],
            ),
            (
                "id;name\rA;\"a \"\"b\"\"; c\"\r",
                ["id", "name"],
                ["A", "a \"b\"; c"],
            ),
        ];
        for (text, header, first) in cases {
            let table = table(text);
            assert_eq!(
                (&table[0].1[..], &table[1].1[..]),
                (
                    &header.map(str::to_owned)[..],
                    &first.map(str::to_owned)[..]
                ),
                "{text:?}"
            );
        }
    }

    #[test]
    fn rows_are_numbered_as_a_spreadsheet_shows_them() {
        assert_eq!(
            table("\nid,name\n\nA,\"two\nlines\"\n,\n\nB,\"x\"\nC,y"),
            [
                row(2, &["id", "name"]),
                row(4, &["A", "two\nlines"]),
                row(7, &["B", "x"]),
                row(8, &["C", "y"])
            ]
        );
        assert_eq!(table("sep=;\nid;n\nA;b\n")[1], row(3, &["A", "b"]));
    }

    #[test]
    fn a_separator_within_a_cell_is_not_taken_for_a_column() {
        let text = "id,week,free\nA,2026-W49,37,5\nB,2026-W49,7,,\nC,2026-W49,\"7,5\"\n";
        let sheet = read(&Text {
            text: text.to_owned(),
            encoding: "UTF-8",
        });
        assert_eq!(
            lines(sheet),
            ["2 -: the row has more cells than the header: \"5\""]
        );
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            rows in prop::collection::vec(prop::collection::vec("[a-zäß0-9,;|\"\n. -]{0,8}", 3), 1..8),
            separator in prop::sample::select(&SEPARATORS[..]),
        ) {
            let mut writer = csv::WriterBuilder::new().delimiter(separator).from_writer(Vec::new());
            writer.write_record(["one", "two", "three"]).unwrap();
            writer.write_record(["1", "2", "3"]).unwrap();
            for cells in &rows {
                writer.write_record(cells).unwrap();
            }
            let text = format!("sep={}\n{}", char::from(separator), String::from_utf8(writer.into_inner().unwrap()).unwrap());
            let read = table(&text);
            let blank = |cells: &Vec<String>| cells.iter().all(|cell| cell.trim().is_empty());
            let expected: Vec<(u64, Vec<String>)> = rows.iter().enumerate().filter(|(_, cells)| !blank(cells)).map(|(n, cells)| {
                let mut cells: Vec<String> = cells.iter().map(|cell| cell.trim().to_owned()).collect();
                while cells.last().is_some_and(String::is_empty) { cells.pop(); }
                (n as u64 + 4, cells)
            }).collect();
            prop_assert_eq!(&read[2..], &expected[..]);
        }

        #[test]
        fn no_text_panics(text in "(?s).{0,200}") {
            let _ = read(&Text { text, encoding: "UTF-8" });
        }
    }
}
