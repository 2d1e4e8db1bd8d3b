//! Why the service does not do it: they are wrong, it is not possible now, or we are broken.

use fmesh_proto::record::RecordError;

use crate::{api::view::RowError, store::StoreError, writer::WriteError};

/// Why a question or a change is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such thing.
    #[error("{what}")]
    NotFound {
        /// What and why.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A name fits more than one thing.
    #[error("{what} {name:?} fits {} things", candidates.len())]
    Ambiguous {
        /// Kind of thing, in words.
        what: &'static str,
        /// As asked.
        name: String,
        /// What it may mean, each in a form that is not ambiguous.
        candidates: Vec<String>,
    },
    /// A parameter or member cannot be read.
    #[error("{what}")]
    Request {
        /// What and why.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The content breaks rules, row by row.
    #[error("{} of the rows cannot be taken; nothing was changed", .0.len())]
    Rows(Vec<RowError>),
    /// Not possible in the present state.
    #[error("{what}")]
    Conflict {
        /// What and why.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The writer's answer.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that was verified before does not read any more.
    #[error("what the store holds cannot be read: {0}")]
    Damaged(#[from] RecordError),
    /// Not done in time.
    #[error("{what}")]
    TimedOut {
        /// What.
        what: String,
        /// What to do.
        hint: String,
    },
}

impl Error {
    pub(crate) fn not_found(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::NotFound {
            what: what.into(),
            hint: hint.into(),
        }
    }
    pub(crate) fn request(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Request {
            what: what.into(),
            hint: hint.into(),
        }
    }
    pub(crate) fn conflict(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Conflict {
            what: what.into(),
            hint: hint.into(),
        }
    }
}
