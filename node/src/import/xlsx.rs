//! Workbooks: one sheet of an `.xlsx`, cell by cell.
//!
//! A workbook keeps numbers as binary fractions and shows fifteen digits of them, so fifteen digits are what is
//! read: `11.899999999999999` that somebody's formula made is the 11.9 that they see. Dates are cells with a date
//! format. Formulas count with the value that was saved.
//!
//! An `.xlsx` is a zip file, and a small one can unpack to terabytes. Its parts are unpacked once without keeping
//! them, up to a bound, before anything is parsed.

use std::io::{self, Cursor, Read as _};

use calamine::{DataRef, ExcelDateTime, Reader as _, SheetVisible, Xlsx, XlsxError};
use jiff::civil::Date;

use super::{
    ImportError,
    sheet::{Builder, Cell, Sheet},
};

/// Unpacked bytes of all parts: eight times the largest file, as spreadsheets pack about that well.
const UNPACKED_BYTES_MAX: u64 = 256 << 20;
/// Cells that are taken before rows are counted; [`Builder`] has the finer bounds.
const CELLS_MAX: usize = 4_000_000;
/// Columns of a sheet, which a cell's address may name without there being so many cells.
const COLUMNS_MAX: u32 = 16_384;

pub(super) fn read(bytes: &[u8], sheet: Option<&str>) -> Result<Sheet, ImportError> {
    check_unpacked(bytes, UNPACKED_BYTES_MAX)?;
    let mut workbook: Xlsx<_> =
        Xlsx::new(Cursor::new(bytes)).map_err(|error| broken(&error.to_string()))?;
    let (name, mut warnings) = choose(&workbook, sheet)?;
    let cells = cells(&mut workbook, &name)?;
    let mut builder = Builder::default();
    let mut rows = cells.chunk_by(|a, b| a.0 == b.0);
    rows.try_for_each(|row| {
        let width = row.last().map_or(0, |(_, column, _)| *column as usize + 1);
        let mut line = vec![Cell::Empty; width];
        for (_, column, cell) in row {
            line[*column as usize] = cell.clone();
        }
        builder.push(u64::from(row[0].0) + 1, line)
    })?;
    warnings.extend(merged(&mut workbook, &name));
    builder.finish(format!("xlsx, sheet {name:?}"), warnings)
}

fn broken(why: &str) -> ImportError {
    ImportError::file(
        format!("the workbook cannot be read: {why}"),
        "open it in a spreadsheet program and save it again as .xlsx, or as .csv",
    )
}

/// Counts what the parts really unpack to; what the file says about that may be wrong.
fn check_unpacked(bytes: &[u8], limit: u64) -> Result<(), ImportError> {
    let mut archive =
        zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error.to_string()))?;
    let mut left = limit;
    for index in 0..archive.len() {
        let part = archive
            .by_index(index)
            .map_err(|error| broken(&error.to_string()))?;
        let count = io::copy(&mut part.take(left + 1), &mut io::sink())
            .map_err(|error| broken(&error.to_string()))?;
        left = left.checked_sub(count).ok_or_else(|| {
            ImportError::file(
                format!("the workbook unpacks to more than {} MiB", limit >> 20),
                "check that this is the right file; export fewer sheets, or .csv",
            )
        })?;
    }
    Ok(())
}

/// The sheet that was asked for, or the first visible one, and what is left out.
fn choose(
    workbook: &Xlsx<Cursor<&[u8]>>,
    wanted: Option<&str>,
) -> Result<(String, Vec<String>), ImportError> {
    let sheets = workbook.sheets_metadata();
    let visible: Vec<&str> = sheets
        .iter()
        .filter(|sheet| sheet.visible == SheetVisible::Visible)
        .map(|sheet| sheet.name.as_str())
        .collect();
    if let Some(wanted) = wanted {
        let found = sheets
            .iter()
            .find(|sheet| sheet.name.trim().eq_ignore_ascii_case(wanted.trim()));
        return found
            .map(|sheet| (sheet.name.clone(), Vec::new()))
            .ok_or_else(|| {
                ImportError::file(
                    format!("the workbook has no sheet {wanted:?}"),
                    format!("use one of: {}", visible.join(", ")),
                )
            });
    }
    let Some((first, others)) = visible.split_first() else {
        return Err(broken("it has no visible sheet"));
    };
    let warnings = match others {
        [] => Vec::new(),
        others => vec![format!(
            "sheet {first:?} was read; these were not: {}",
            others.join(", ")
        )],
    };
    Ok(((*first).to_owned(), warnings))
}

/// Cells with their places, in order of rows and columns.
fn cells(
    workbook: &mut Xlsx<Cursor<&[u8]>>,
    name: &str,
) -> Result<Vec<(u32, u32, Cell)>, ImportError> {
    let refused = |error: XlsxError| broken(&error.to_string());
    let mut reader = workbook.worksheet_cells_reader(name).map_err(refused)?;
    let mut cells = Vec::new();
    while let Some(cell) = reader.next_cell().map_err(refused)? {
        let (row, column) = cell.get_position();
        let value = value(cell.get_value());
        if value == Cell::Empty {
            continue;
        }
        if column >= COLUMNS_MAX || cells.len() == CELLS_MAX {
            return Err(broken("it has too many cells or columns"));
        }
        cells.push((row, column, value));
    }
    cells.sort_by_key(|(row, column, _)| (*row, *column));
    Ok(cells)
}

/// A merged cell has its value in one place only; the rest of it is empty.
fn merged(workbook: &mut Xlsx<Cursor<&[u8]>>, name: &str) -> Option<String> {
    let count = workbook.merge_cells_by_sheet_name(name).ok()?.len();
    (count > 0).then(|| {
        format!("{count} merged cells were read as their first cell, the rest of them as empty")
    })
}

fn value(value: &DataRef<'_>) -> Cell {
    match value {
        DataRef::Empty => Cell::Empty,
        DataRef::Int(number) => Cell::Number(number.to_string()),
        DataRef::Float(number) => float(*number),
        DataRef::String(text) => Cell::text_of(text),
        DataRef::SharedString(text) => Cell::text_of(text),
        DataRef::Bool(value) => Cell::text_of(if *value { "true" } else { "false" }),
        DataRef::DateTime(time) => date(time),
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => Cell::text_of(text),
        DataRef::Error(error) => Cell::Wrong(error.to_string()),
    }
}

/// Fifteen significant digits, as spreadsheets show them, without an exponent where that is short.
fn float(number: f64) -> Cell {
    let text = format!("{number:.14e}");
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return Cell::Wrong(text); // NaN and infinity
    };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits = mantissa.replace('.', "");
    let digits = digits.trim_end_matches('0');
    Cell::Number(match exponent.parse::<i32>() {
        _ if digits.is_empty() => "0".to_owned(),
        Ok(exponent @ 0..=18) => {
            let whole = exponent.unsigned_abs() as usize + 1;
            let (head, tail) = digits.split_at(whole.min(digits.len()));
            let point = if tail.is_empty() { "" } else { "." };
            format!("{sign}{head:0<whole$}{point}{tail}")
        }
        Ok(exponent @ -9..=-1) => {
            let zeros = exponent.unsigned_abs() as usize - 1;
            format!("{sign}0.{}{digits}", "0".repeat(zeros))
        }
        _ => text,
    })
}

fn date(time: &ExcelDateTime) -> Cell {
    let (year, month, day, hour, minute, second, _) = time.to_ymd_hms_milli();
    let date = || {
        let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
        Date::new(i16::try_from(year).ok()?, month, day).ok()
    };
    match date() {
        Some(date) if time.is_datetime() && (hour, minute, second) == (0, 0, 0) => Cell::Date(date),
        _ => Cell::Wrong(format!("{hour:02}:{minute:02}:{second:02}")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// A workbook with one sheet, whose rows are given as XML.
    pub(in crate::import) fn workbook(rows: &str) -> Vec<u8> {
        const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
        const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
        const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006/relationships";
        let parts = [
            (
                "[Content_Types].xml",
                r#"<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>"#
                    .to_owned(),
            ),
            (
                "_rels/.rels",
                format!(
                    r#"<Relationships xmlns="{PACKAGE}"><Relationship Id="r1" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>"#
                ),
            ),
            (
                "xl/workbook.xml",
                format!(
                    r#"<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets><sheet name="Plan" sheetId="1" r:id="r1"/></sheets></workbook>"#
                ),
            ),
            (
                "xl/_rels/workbook.xml.rels",
                format!(
                    r#"<Relationships xmlns="{PACKAGE}"><Relationship Id="r1" Type="{OFFICE}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r2" Type="{OFFICE}/styles" Target="styles.xml"/></Relationships>"#
                ),
            ),
            (
                "xl/styles.xml",
                format!(
                    r#"<styleSheet xmlns="{MAIN}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>"#
                ),
            ),
            (
                "xl/worksheets/sheet1.xml",
                format!(r#"<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>"#),
            ),
        ];
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in parts {
            zip.start_file(name, zip::write::SimpleFileOptions::default())
                .unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn cells_are_what_the_spreadsheet_shows() {
        let rows = r#"<row r="2"><c r="A2" t="inlineStr"><is><t> id </t></is></c><c r="C2" t="inlineStr"><is><t>free</t></is></c></row>
            <row r="5"><c r="A5" t="b"><v>1</v></c><c r="C5"><v>11.899999999999999</v></c></row>
            <row r="6"><c r="A6" s="1"><v>46356</v></c><c r="B6" t="e"><v>#DIV/0!</v></c><c r="C6"><v>37.5</v></c></row>
            <row r="7"><c r="A7" s="1"><v>46356.25</v></c><c r="C7"><v>2019</v></c></row>"#;
        let sheet = read(&workbook(rows), None).unwrap();
        assert_eq!(
            (sheet.header.number, sheet.format.as_str()),
            (2, "xlsx, sheet \"Plan\"")
        );
        assert_eq!(
            sheet.header.cells(),
            [Cell::text_of("id"), Cell::Empty, Cell::text_of("free")]
        );
        let numbers: Vec<_> = sheet.rows.iter().map(|row| row.cell(2).clone()).collect();
        assert_eq!(
            numbers,
            ["11.9", "37.5", "2019"].map(|text| Cell::Number(text.to_owned()))
        );
        assert_eq!(sheet.rows[0].number, 5);
        assert_eq!(sheet.rows[0].cell(0), &Cell::text_of("true"));
        assert_eq!(
            sheet.rows[1].cell(0),
            &Cell::Date(jiff::civil::date(2026, 11, 30))
        );
        assert_eq!(sheet.rows[1].cell(1), &Cell::Wrong("#DIV/0!".to_owned()));
        assert!(matches!(sheet.rows[2].cell(0), Cell::Wrong(_)));
    }

    #[test]
    fn fifteen_digits_count() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (0.1 + 0.2, "0.3"),
            (40.0 - 28.1, "11.9"),
            (-37.5, "-37.5"),
            (100.0, "100"),
            (1e18, "1000000000000000000"),
            (0.001, "0.001"),
            (123_456.789, "123456.789"),
            (1e30, "1.00000000000000e30"),
        ];
        for (number, text) in cases {
            assert_eq!(float(number), Cell::Number(text.to_owned()));
        }
        assert!(matches!(float(f64::NAN), Cell::Wrong(_)));
        assert!(matches!(float(f64::INFINITY), Cell::Wrong(_)));
    }

    #[test]
    fn sheets_are_chosen_by_name() {
        let bytes = workbook(
            r#"<row r="1"><c r="A1"><v>1</v></c></row><row r="2"><c r="A2"><v>2</v></c></row>"#,
        );
        assert!(read(&bytes, Some(" plan")).is_ok());
        let error = read(&bytes, Some("other")).unwrap_err();
        assert_eq!(error.hint(), "use one of: Plan");
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_parsed() {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for name in ["one", "two"] {
            zip.start_file(name, zip::write::SimpleFileOptions::default())
                .unwrap();
            zip.write_all(&vec![0_u8; 1 << 20]).unwrap();
        }
        let bytes = zip.finish().unwrap().into_inner();
        assert!(bytes.len() < 1 << 16);
        assert!(check_unpacked(&bytes, 2 << 20).is_ok());
        let error = check_unpacked(&bytes, (2 << 20) - 1).unwrap_err();
        assert_eq!(error.to_string(), "the workbook unpacks to more than 1 MiB");
    }

    proptest! {
        #[test]
        fn quantities_survive_binary_fractions(thousandths in -999_999_999_999_i64..=999_999_999_999) {
            let quantity = fmesh_proto::quantity::Quantity::from_thousandths(thousandths);
            let Cell::Number(text) = float(quantity.to_string().parse().unwrap()) else { panic!("no number") };
            prop_assert_eq!(text, quantity.to_string());
        }

        #[test]
        fn broken_workbooks_are_errors(cut in 0.0_f64..1.0, at in 0.0_f64..1.0, byte: u8) {
            let whole = workbook(r#"<row r="1"><c r="A1"><v>1</v></c></row><row r="2"><c r="A2"><v>2</v></c></row>"#);
            let place = |part: f64| (whole.len() as f64 * part) as usize;
            prop_assert!(read(&whole[..place(cut)], None).is_err());
            let mut changed = whole.clone();
            changed[place(at)] = byte;
            let _ = read(&changed, None);
        }
    }
}
