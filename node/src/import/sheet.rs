//! A table as it came out of a file: a header and rows of cells, with the numbers that a person sees beside them.
//!
//! Nothing is interpreted yet, except where a workbook itself says that a cell is a number or a date. Blank rows
//! are left out, and the numbers of the others still count them.

use std::borrow::Cow;

use jiff::civil::Date;

use super::{ImportError, ROWS_MAX};

/// Widest table: 520 weeks and what describes them, with room to spare.
const COLUMNS_MAX: usize = 1_000;
/// Most cells of one file, which is what memory depends on.
const CELLS_MAX: usize = 4_000_000;
/// Longest cell; a longer one means that a quote was not closed.
const CELL_BYTES_MAX: usize = 32_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Empty,
    /// Trimmed, not empty.
    Text(String),
    /// A number of a workbook: decimal point, no groups.
    Number(String),
    /// A date of a workbook.
    Date(Date),
    /// `#DIV/0!` and the like.
    Wrong(String),
}

impl Cell {
    pub(super) fn text_of(text: &str) -> Self {
        match text.trim() {
            "" => Self::Empty,
            text => Self::Text(text.to_owned()),
        }
    }

    /// As a person reads it; `None` if empty.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Empty => None,
            Self::Text(text) | Self::Number(text) | Self::Wrong(text) => Some(Cow::Borrowed(text)),
            Self::Date(date) => Some(Cow::Owned(date.to_string())),
        }
    }

    /// Nothing was entered, or somebody wrote that it is not known.
    pub(super) fn is_unknown(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Text(text) => {
                matches!(text.to_lowercase().as_str(), "?" | "unknown" | "unbekannt")
            }
            _ => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Row {
    /// From 1, as spreadsheets count.
    pub(super) number: u64,
    cells: Vec<Cell>,
}

impl Row {
    pub(super) fn cell(&self, column: usize) -> &Cell {
        self.cells.get(column).unwrap_or(&Cell::Empty)
    }
    pub(super) fn cells(&self) -> &[Cell] {
        &self.cells
    }
}

/// A header and at least one row.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) header: Row,
    pub(super) rows: Vec<Row>,
    /// How the file was read, in words.
    pub(super) format: String,
    pub(super) warnings: Vec<String>,
}

/// Takes rows in order and keeps them within bounds.
#[derive(Debug, Default)]
pub(super) struct Builder {
    rows: Vec<Row>,
    cells: usize,
}

impl Builder {
    pub(super) fn push(&mut self, number: u64, mut cells: Vec<Cell>) -> Result<(), ImportError> {
        while cells.last() == Some(&Cell::Empty) {
            cells.pop();
        }
        if cells.is_empty() {
            return Ok(());
        }
        self.cells += cells.len();
        if self.rows.len() > ROWS_MAX || self.cells > CELLS_MAX {
            return Err(ImportError::file(
                format!(
                    "the table is too large: the limits are {ROWS_MAX} rows and {CELLS_MAX} cells"
                ),
                "split the file, or export fewer weeks",
            ));
        }
        if cells.len() > COLUMNS_MAX {
            return Err(ImportError::file(
                format!("row {number} has more than {COLUMNS_MAX} columns"),
                "check what separates the cells, or export fewer weeks",
            ));
        }
        let long = |cell: &Cell| matches!(cell, Cell::Text(text) if text.len() > CELL_BYTES_MAX);
        if let Some(column) = cells.iter().position(long) {
            return Err(ImportError::file(
                format!(
                    "row {number}, column {}: the cell has more than {CELL_BYTES_MAX} bytes",
                    column + 1
                ),
                "look for a quote (\") that is opened there and not closed",
            ));
        }
        self.rows.push(Row { number, cells });
        Ok(())
    }

    pub(super) fn finish(
        self,
        format: String,
        warnings: Vec<String>,
    ) -> Result<Sheet, ImportError> {
        let mut rows = self.rows.into_iter();
        let header = rows.next().ok_or_else(|| {
            ImportError::file(
                "the table is empty",
                "check that this is the right file and sheet",
            )
        })?;
        let rows: Vec<Row> = rows.collect();
        if rows.is_empty() {
            return Err(ImportError::file(
                "the table has a header and no rows",
                "check that the export was finished and that this is the right sheet",
            ));
        }
        Ok(Sheet {
            header,
            rows,
            format,
            warnings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_kept() {
        let cell = || Cell::text_of("x");
        let mut builder = Builder::default();
        for row in 1..=ROWS_MAX as u64 + 1 {
            builder.push(row, vec![cell()]).unwrap();
        }
        assert!(
            builder
                .push(1, vec![cell()])
                .unwrap_err()
                .to_string()
                .contains("100000 rows")
        );
        let mut builder = Builder::default();
        assert!(builder.push(7, vec![cell(); COLUMNS_MAX + 1]).is_err());
        let long = Cell::Text("x".repeat(CELL_BYTES_MAX + 1));
        assert!(
            Builder::default()
                .push(7, vec![long])
                .unwrap_err()
                .hint()
                .contains("quote")
        );
        assert!(Builder::default().finish(String::new(), vec![]).is_err());
        let mut builder = Builder::default();
        builder.push(1, vec![cell(), Cell::Empty]).unwrap();
        builder
            .push(2, vec![Cell::Empty, Cell::text_of("  ")])
            .unwrap();
        let error = builder.finish(String::new(), vec![]).unwrap_err();
        assert_eq!(error.to_string(), "the table has a header and no rows");
    }
}
