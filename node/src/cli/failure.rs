//! What a command says when it cannot do it: what, why, do this; and the exit code.

use std::io;

use serde_json::json;

use super::words::printable;
use crate::{
    api::view::{Code, Exit, Problem, RowError},
    config::ConfigError,
    keystore::KeystoreError,
};

/// A failed command. Every refusal has a reason and the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// For programs.
    pub(crate) code: Box<str>,
    /// What did not work.
    pub(crate) what: String,
    /// Why not.
    pub(crate) why: Option<Box<str>>,
    /// What to do.
    pub(crate) hint: Option<Box<str>>,
    /// How the process ends.
    pub(crate) exit: Exit,
    /// Errors of a file, row by row.
    pub(crate) rows: Box<[RowError]>,
    /// What an ambiguous name may mean.
    pub(crate) candidates: Box<[String]>,
    /// The reader of our output went away (`| head`): nothing to say.
    silent: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &str, what: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            what: what.into(),
            why: None,
            hint: None,
            exit,
            rows: Box::default(),
            candidates: Box::default(),
            silent: false,
        }
    }
    /// The command line is wrong.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", what)
    }
    /// Something that was read has errors.
    pub(crate) fn input(what: impl Into<String>) -> Self {
        Self::new(Exit::InputErrors, "invalid_input", what)
    }
    pub(crate) fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into().into());
        self
    }
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into().into());
        self
    }
    /// A file that was named cannot be read or written.
    pub(crate) fn file(path: &std::path::Path, verb: &str, error: &io::Error) -> Self {
        let what = format!("cannot {verb} {}", path.display());
        let missing = error.kind() == io::ErrorKind::NotFound && verb == "read";
        let (exit, code) = if missing {
            (Exit::NotFound, "not_found")
        } else {
            (Exit::Failed, "io")
        };
        Self::new(exit, code, what)
            .why(error.to_string())
            .hint("check the path and its permissions")
    }
    /// Writing to stdout failed.
    pub(crate) fn output(error: &io::Error) -> Self {
        let mut failure =
            Self::new(Exit::Failed, "io", "cannot write the output").why(error.to_string());
        if error.kind() == io::ErrorKind::BrokenPipe {
            failure.exit = Exit::Done;
            failure.silent = true;
        }
        failure.hint("check where the output goes")
    }

    /// What goes to stderr; nothing if nobody reads any more.
    pub(crate) fn render(&self, as_json: bool, color: bool) -> String {
        if self.silent {
            return String::new();
        }
        if as_json {
            let mut error = json!({
                "code": self.code,
                "message": self.message(),
                "hint": self.hint,
                "exit": self.exit as u8,
            });
            if !self.rows.is_empty() {
                error["rows"] = json!(self.rows);
            }
            if !self.candidates.is_empty() {
                error["candidates"] = json!(self.candidates);
            }
            return format!("{}\n", json!({ "error": error }));
        }
        let (red, plain) = if color {
            ("\x1b[31m", "\x1b[0m")
        } else {
            ("", "")
        };
        let mut text = format!("{red}error{plain}: {}\n", printable(&self.what));
        if let Some(why) = &self.why {
            text += &format!("  why: {}\n", printable(why));
        }
        for row in self.rows.iter().take(ROWS_SHOWN) {
            let column = row
                .column
                .as_ref()
                .map(|c| format!(", {c}"))
                .unwrap_or_default();
            let line = format!(
                "row {}{column}: {} ({}); {}",
                row.row, row.what, row.why, row.hint
            );
            text += &format!("  {}\n", printable(&line));
        }
        if self.rows.len() > ROWS_SHOWN {
            text += &format!(
                "  and {} more; --json lists all\n",
                self.rows.len() - ROWS_SHOWN
            );
        }
        if !self.candidates.is_empty() {
            text += &format!("  one of: {}\n", printable(&self.candidates.join(", ")));
        }
        if let Some(hint) = &self.hint {
            text += &format!("  do:  {}\n", printable(hint));
        }
        text
    }

    fn message(&self) -> String {
        match &self.why {
            Some(why) => format!("{}: {why}", self.what),
            None => self.what.clone(),
        }
    }
}

/// Rows of a broken file that a terminal shows.
const ROWS_SHOWN: usize = 20;

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let code = serde_json::to_value(problem.code).ok();
        Self {
            code: code
                .as_ref()
                .and_then(|c| c.as_str())
                .unwrap_or("failed")
                .into(),
            what: problem.title,
            why: Some(problem.detail.into()),
            hint: problem.hint.map(Into::into),
            exit: problem.code.exit(),
            rows: problem.rows.into(),
            candidates: problem.candidates.into(),
            silent: false,
        }
    }
}

impl From<KeystoreError> for Failure {
    fn from(error: KeystoreError) -> Self {
        let (exit, code) = match &error {
            KeystoreError::Exists(_) => (Exit::Conflict, "conflict"),
            KeystoreError::Missing(_) => (Exit::NotFound, "not_found"),
            KeystoreError::TooOpen { .. } => (Exit::Refused, "refused"),
            KeystoreError::Words(_) => (Exit::InputErrors, "invalid_input"),
            KeystoreError::Damaged { .. } => (Exit::Failed, "damaged"),
            _ => (Exit::Failed, "io"),
        };
        let what = match &error {
            KeystoreError::Exists(_) => "there is a site here already",
            KeystoreError::Missing(_) => "there is no site here",
            _ => "the site's secrets cannot be used",
        };
        Self::new(exit, code, what)
            .why(error.to_string())
            .hint(error.hint())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let (exit, code, what) = match &error {
            ConfigError::NotFound { .. } => (Exit::NotFound, "not_found", "there is no site here"),
            ConfigError::Invalid { .. } => (
                Exit::InputErrors,
                "invalid_input",
                "the configuration has errors",
            ),
            ConfigError::Read { .. } => (Exit::Failed, "io", "the configuration cannot be read"),
        };
        Self::new(exit, code, what)
            .why(error.to_string())
            .hint(error.hint())
    }
}

/// The exit codes, as `fmesh help exit-codes` lists them.
pub(crate) const EXIT_CODES: [(Exit, &str); 11] = [
    (Exit::Done, "done, or proven"),
    (Exit::Failed, "failed"),
    (Exit::Usage, "the command line is wrong"),
    (Exit::NotFound, "not found"),
    (
        Exit::Refused,
        "refused: not allowed, or a secret file is open to others",
    ),
    (Exit::NotReachable, "the node is not reachable"),
    (
        Exit::Conflict,
        "conflict: not possible in the present state",
    ),
    (Exit::TimedOut, "timed out"),
    (Exit::InputErrors, "the input has errors"),
    (Exit::Refuted, "refuted (audit)"),
    (Exit::NotProven, "not proven: evidence is missing (audit)"),
];

/// A problem that only says which code it has, for answers that are not problem+json.
pub(crate) fn code_of_status(status: u16) -> Code {
    match status {
        401 => Code::Unauthorized,
        403 => Code::Refused,
        404 => Code::NotFound,
        405 => Code::MethodNotAllowed,
        409 => Code::Conflict,
        413 => Code::TooLarge,
        415 => Code::UnsupportedMediaType,
        422 => Code::InvalidInput,
        503 => Code::Unavailable,
        504 => Code::TimedOut,
        400..=499 => Code::BadRequest,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_parts_and_no_control_characters() {
        let failure = Failure::new(Exit::NotFound, "not_found", "no such circle")
            .why("there is no circle \"a\x1b[2Jb\"")
            .hint("fmesh circle list");
        let text = failure.render(false, false);
        assert_eq!(
            text,
            "error: no such circle\n  why: there is no circle \"a\\u{1b}[2Jb\"\n  do:  fmesh circle list\n"
        );
        assert!(failure.render(false, true).contains("\x1b[31merror\x1b[0m"));
        let json: serde_json::Value = serde_json::from_str(&failure.render(true, true)).unwrap();
        assert_eq!(json["error"]["exit"], 3);
        assert_eq!(json["error"]["code"], "not_found");
        assert_eq!(json["error"]["hint"], "fmesh circle list");
    }

    #[test]
    fn every_code_of_the_api_keeps_its_exit_code() {
        for (code, exit) in [
            (Code::BadRequest, 2),
            (Code::Ambiguous, 2),
            (Code::Unauthorized, 4),
            (Code::Refused, 4),
            (Code::NotFound, 3),
            (Code::Conflict, 6),
            (Code::TooLarge, 8),
            (Code::InvalidInput, 8),
            (Code::Unavailable, 5),
            (Code::TimedOut, 7),
            (Code::Internal, 1),
        ] {
            let failure = Failure::from(Problem::new(code, "x"));
            assert_eq!(failure.exit as u8, exit, "{code:?}");
            assert_eq!(code_of_status(code.status()).exit() as u8, exit, "{code:?}");
        }
    }

    #[test]
    fn local_errors_have_documented_exit_codes() {
        let path = || std::path::PathBuf::from("/x");
        let exit = |e: KeystoreError| Failure::from(e).exit as u8;
        assert_eq!(exit(KeystoreError::Exists(path())), 6);
        assert_eq!(exit(KeystoreError::Missing(path())), 3);
        assert_eq!(
            exit(KeystoreError::TooOpen {
                path: path(),
                mode: 0o644
            }),
            4
        );
        assert_eq!(exit(KeystoreError::Words("x".into())), 8);
        let config = ConfigError::Invalid {
            path: path(),
            problems: Vec::new(),
        };
        assert_eq!(Failure::from(config).exit as u8, 8);
        let config = ConfigError::NotFound {
            searched: vec![path()],
        };
        assert_eq!(Failure::from(config).exit as u8, 3);
        let codes: std::collections::BTreeSet<u8> =
            EXIT_CODES.iter().map(|(exit, _)| *exit as u8).collect();
        assert_eq!(codes.len(), EXIT_CODES.len());
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let closed = Failure::output(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(
            (closed.exit, closed.render(false, false).as_str()),
            (Exit::Done, "")
        );
        let full = Failure::output(&io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit, Exit::Failed);
        assert!(!full.render(false, false).is_empty());
    }

    #[test]
    fn rows_are_listed_up_to_a_bound() {
        let row = |row| RowError {
            row,
            column: Some("available".into()),
            what: "\"x\" is not a number".into(),
            why: "hours are decimal numbers".into(),
            hint: "write 37.5".into(),
        };
        let mut failure = Failure::input("the file has errors");
        failure.rows = (1..=25).map(row).collect();
        let text = failure.render(false, false);
        assert!(text.contains("row 20, available: \"x\" is not a number"));
        assert!(text.contains("and 5 more") && !text.contains("row 21"));
        let json: serde_json::Value = serde_json::from_str(&failure.render(true, false)).unwrap();
        assert_eq!(json["error"]["rows"].as_array().unwrap().len(), 25);
    }
}
