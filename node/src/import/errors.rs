//! Errors by row, collected up to a bound.

use super::{ERRORS_MAX, ImportError};
use crate::api::view::RowError;

/// Grows while a file is read; decides at the end whether there are rows.
#[derive(Debug, Default)]
pub(super) struct Errors {
    listed: Vec<RowError>,
    more: usize,
}

impl Errors {
    pub(super) fn add(
        &mut self,
        row: u64,
        column: Option<&str>,
        what: impl Into<String>,
        why: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if self.listed.len() == ERRORS_MAX {
            self.more += 1;
            return;
        }
        self.listed.push(RowError {
            row,
            column: column.map(shown),
            what: what.into(),
            why: why.into(),
            hint: hint.into(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// The result, if there was no error.
    pub(super) fn finish<T>(self, result: T) -> Result<T, ImportError> {
        match self.is_empty() {
            true => Ok(result),
            false => Err(self.into_error()),
        }
    }

    /// The errors, by row.
    pub(super) fn into_error(mut self) -> ImportError {
        self.listed.sort_by_key(|error| error.row);
        ImportError::Rows {
            errors: self.listed,
            more: self.more,
        }
    }
}

/// How much of a cell an error repeats.
const CHARS_SHOWN: usize = 60;

/// A cell's text for a sentence: bounded.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(CHARS_SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Row, column and what of each error, as one line each.
    pub(in crate::import) fn lines<T: std::fmt::Debug>(
        result: Result<T, ImportError>,
    ) -> Vec<String> {
        let error = result.unwrap_err();
        assert!(!error.hint().is_empty());
        for row in error.rows() {
            assert!(!row.why.is_empty() && !row.hint.is_empty(), "{row:?}");
        }
        match &error {
            ImportError::Rows { errors, .. } => errors
                .iter()
                .map(|e| {
                    format!(
                        "{} {}: {}",
                        e.row,
                        e.column.as_deref().unwrap_or("-"),
                        e.what
                    )
                })
                .collect(),
            other => vec![other.to_string()],
        }
    }

    #[test]
    fn the_list_is_bounded_and_the_rest_counted() {
        let mut errors = Errors::default();
        for row in (1..=250).rev() {
            errors.add(row, Some(&"x".repeat(500)), "a", "b", "c");
        }
        let error = errors.finish(()).unwrap_err();
        assert_eq!(error.to_string(), "250 errors in the file");
        let ImportError::Rows { errors, more } = error else {
            panic!("no rows")
        };
        assert_eq!((errors.len(), more, errors[0].row), (ERRORS_MAX, 50, 51));
        assert!(errors[0].column.as_ref().unwrap().len() < 80);
        assert!(Errors::default().finish(5).is_ok());
    }
}
