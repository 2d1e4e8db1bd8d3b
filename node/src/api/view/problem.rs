//! What went wrong, as RFC 9457 `application/problem+json`, with the exit code that the terminal ends with.

use serde::{Deserialize, Serialize};

/// Why a request failed, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The request cannot be read: no JSON, unknown member, bad parameter.
    BadRequest,
    /// A name fits more than one thing; `candidates` lists them.
    Ambiguous,
    /// No token, or a wrong one.
    Unauthorized,
    /// Asked under a host name that is not this machine's loopback.
    ForeignHost,
    /// Not allowed to this site.
    Refused,
    /// No such thing.
    NotFound,
    /// The route exists, not with this method.
    MethodNotAllowed,
    /// Not possible in the present state.
    Conflict,
    /// The body is larger than the route takes.
    TooLarge,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// The content breaks rules; `rows` says where.
    InvalidInput,
    /// The node stops or its writer has stopped.
    Unavailable,
    /// Not done in time.
    TimedOut,
    /// The node or its disk is broken.
    Internal,
}

/// Exit codes of the terminal, as `fmesh help exit-codes` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Exit {
    /// Done or proven.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No such thing.
    NotFound = 3,
    /// Refused.
    Refused = 4,
    /// The node cannot be reached.
    NotReachable = 5,
    /// Not possible in the present state.
    Conflict = 6,
    /// Not done in time.
    TimedOut = 7,
    /// The input has errors.
    InputErrors = 8,
    /// Refuted.
    Refuted = 10,
    /// Not proven.
    NotProven = 11,
}

impl Code {
    /// HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::Ambiguous => 400,
            Self::Unauthorized => 401,
            Self::ForeignHost | Self::Refused => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::InvalidInput => 422,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::TimedOut => 504,
        }
    }
    /// Exit code of the terminal.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::BadRequest
            | Self::Ambiguous
            | Self::MethodNotAllowed
            | Self::UnsupportedMediaType => Exit::Usage,
            Self::Unauthorized | Self::ForeignHost | Self::Refused => Exit::Refused,
            Self::NotFound => Exit::NotFound,
            Self::Conflict => Exit::Conflict,
            Self::TooLarge | Self::InvalidInput => Exit::InputErrors,
            Self::Unavailable => Exit::NotReachable,
            Self::TimedOut => Exit::TimedOut,
            Self::Internal => Exit::Failed,
        }
    }
    /// Short title, the same for every occurrence.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request cannot be read",
            Self::Ambiguous => "The name fits more than one thing",
            Self::Unauthorized => "A token is needed",
            Self::ForeignHost => "Asked under a foreign host name",
            Self::Refused => "Refused",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Not with this method",
            Self::Conflict => "Not possible now",
            Self::TooLarge => "Too large",
            Self::UnsupportedMediaType => "Only JSON is read",
            Self::InvalidInput => "The input has errors",
            Self::Unavailable => "The node is stopping or stopped",
            Self::TimedOut => "Not done in time",
            Self::Internal => "The node failed",
        }
    }
}

/// An error: what, why, do this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:fmesh:problem:<code>`.
    pub r#type: String,
    /// What, in general.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What and why, in this case.
    pub detail: String,
    /// For programs.
    pub code: Code,
    /// What to do, often a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Exit code of the terminal.
    pub exit: u8,
    /// Errors of an import, row by row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<RowError>,
    /// What an ambiguous name may mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
}

/// One error of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowError {
    /// Row as the person sees it in the file.
    pub row: u64,
    /// Column or slot, if one is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What is wrong.
    pub what: String,
    /// Why it is wrong.
    pub why: String,
    /// What to do.
    pub hint: String,
}

impl Problem {
    /// With the code's title, status and exit code.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let name = serde_json::to_value(code)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default();
        Self {
            r#type: format!("urn:fmesh:problem:{name}"),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            hint: None,
            exit: code.exit() as u8,
            rows: Vec::new(),
            candidates: Vec::new(),
        }
    }
    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}
impl std::error::Error for Problem {}
