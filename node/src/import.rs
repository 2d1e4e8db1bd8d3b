//! Spreadsheets and shift calendars in, rows for the API out.
//!
//! ```text
//! file ─ read_file (size first) ─► bytes ─ by content ─┬─ csv: encoding, delimiter ─┐
//!                                                      ├─ xlsx: first visible sheet ┴► Sheet ─ header ─► rows
//!                                                      └─ ics: events ─► hours per ISO week ───────────► row
//! ```
//!
//! - Reading is pure over bytes and [`Options`]; only [`read_file`] touches a disk. No clock, no store, no network.
//! - All or nothing: any error gives no rows, and every error that was found is in the answer, at most
//!   [`ERRORS_MAX`] of them, each with its row as the person sees it, the column, what, why, and what to do.
//! - An empty cell is unknown and stays unknown. `0` is zero. Nothing is filled in or added up.
//! - A column that nobody knows is left out with a warning, which names the nearest word that is known.
//!
//! Rows come in the types of [`crate::api::view`], with other resources named by the operator's own keys.
//! What this module does not know: which resources the site has, who may see them, and their ids. `service`
//! resolves keys and checks every rule again before anything is signed.

use std::{fmt, io, path::Path};

use fmesh_proto::{
    quantity::{Quantity, Unit},
    week::WeekSpan,
};
use jiff::tz::TimeZone;

use crate::api::view::{CapacityFields, ImportRow, ResourceFields, RowError};

mod bytes;
mod capacity;
mod csv;
mod errors;
mod header;
mod ics;
mod number;
mod resource;
mod sheet;
mod when;
mod xlsx;

#[cfg(test)]
mod factories;

/// Largest file that is opened. The largest real export we know has 3 MB; more is refused before it is read.
pub const FILE_BYTES_MAX: u64 = 32 << 20;
/// Most rows of one file. More is refused: split the file.
pub const ROWS_MAX: usize = 100_000;
/// Most errors that are listed. The rest is counted.
pub const ERRORS_MAX: usize = 200;

/// What the file does not say.
#[derive(Debug, Clone)]
pub struct Options {
    /// Zone of calendar times without one, and of week borders: the site's. Only calendars need it.
    pub zone: Option<TimeZone>,
    /// Only these weeks. A calendar repeats for ever, so it needs them.
    pub weeks: Option<WeekSpan>,
    /// Resource that all rows are about, if the file does not say.
    pub resource: Option<String>,
    /// Calendars: output per hour. Another rate than 1 needs a unit.
    pub rate: Quantity,
    /// Calendars: how many machines work at the same time.
    pub parallel: Quantity,
    /// Unit of numbers for which the file names none. Calendars give hours without it.
    pub unit: Option<Unit>,
    /// Column of a wide table that does not say which one it holds.
    pub measure: Option<Measure>,
    /// Decimal mark, if the file leaves it open.
    pub decimal: Option<Decimal>,
    /// Sheet of a workbook; without it the first visible one.
    pub sheet: Option<String>,
}
impl Default for Options {
    fn default() -> Self {
        Self {
            zone: None,
            weeks: None,
            resource: None,
            rate: ONE,
            parallel: ONE,
            unit: None,
            measure: None,
            decimal: None,
            sheet: None,
        }
    }
}
const ONE: Quantity = Quantity::from_thousandths(1_000);

/// A column of a capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "slot names of the kind")]
pub enum Measure {
    Total,
    Committed,
    Available,
    Unattainable,
    Maximum,
    Reason,
}

/// What separates whole units from thousandths in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decimal {
    /// `37.5`
    Point,
    /// `37,5`
    Comma,
}
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Point => "point",
            Self::Comma => "comma",
        })
    }
}

/// What a file holds, ready for `POST /imports/...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows<F> {
    /// Objects in the order of the file; each key once.
    pub rows: Vec<ImportRow<F>>,
    /// How the file was understood, in words: `csv, windows-1252, ";" between cells, decimal comma`.
    pub format: String,
    /// What was left out, in sentences for a person.
    pub warnings: Vec<String>,
}

/// Why a file gives no rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The disk or its permissions.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// As it was given.
        path: String,
        /// From the system.
        source: io::Error,
    },
    /// The file as a whole is not usable.
    #[error("{what}")]
    File {
        /// What and why.
        what: String,
        /// What to do.
        hint: String,
    },
    /// Rows have errors; nothing of the file is taken.
    #[error("{} {}", .errors.len() + .more, if .errors.len() + .more == 1 { "error in the file" } else { "errors in the file" })]
    Rows {
        /// At most [`ERRORS_MAX`], in the order they were found.
        errors: Vec<RowError>,
        /// How many were not listed.
        more: usize,
    },
}
impl ImportError {
    fn file(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::File {
            what: what.into(),
            hint: hint.into(),
        }
    }
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::Io { .. } => "check the name of the file and its permissions",
            Self::File { hint, .. } => hint,
            Self::Rows { .. } => "correct the rows and import the file again; nothing was changed",
        }
    }
    /// Errors by row.
    #[must_use]
    pub fn rows(&self) -> &[RowError] {
        match self {
            Self::Rows { errors, .. } => errors,
            Self::Io { .. } | Self::File { .. } => &[],
        }
    }
}

/// Reads resources from a spreadsheet.
pub fn resources(path: &Path, options: &Options) -> Result<Rows<ResourceFields>, ImportError> {
    resources_from(&read_file(path)?, options)
}

/// Reads capacities from a spreadsheet, or planned hours of one resource from a calendar.
pub fn capacities(path: &Path, options: &Options) -> Result<Rows<CapacityFields>, ImportError> {
    capacities_from(&read_file(path)?, options)
}

/// A file's bytes. A file that is too large is refused by its size, before it is read.
pub fn read_file(path: &Path) -> Result<Vec<u8>, ImportError> {
    bytes::read_file(path)
}

/// Resources from the bytes of a spreadsheet.
pub fn resources_from(
    bytes: &[u8],
    options: &Options,
) -> Result<Rows<ResourceFields>, ImportError> {
    match bytes::Content::of(bytes)? {
        bytes::Content::Calendar(_) => Err(ImportError::file(
            "this is a calendar, and resources come from a spreadsheet",
            "import it as capacities (fmesh capacity import), or give a csv or xlsx file",
        )),
        bytes::Content::Text(text) => resource::read(&csv::read(&text)?, options),
        bytes::Content::Workbook => {
            resource::read(&xlsx::read(bytes, options.sheet.as_deref())?, options)
        }
    }
}

/// Capacities from the bytes of a spreadsheet or a calendar.
pub fn capacities_from(
    bytes: &[u8],
    options: &Options,
) -> Result<Rows<CapacityFields>, ImportError> {
    match bytes::Content::of(bytes)? {
        bytes::Content::Calendar(text) => ics::read(&text.text, options),
        bytes::Content::Text(text) => capacity::read(&csv::read(&text)?, options),
        bytes::Content::Workbook => {
            capacity::read(&xlsx::read(bytes, options.sheet.as_deref())?, options)
        }
    }
}
