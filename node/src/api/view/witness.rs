//! What witnesses say of logs, and what convicts a site of two histories.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SiteName;

/// How far a log is cosigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witnessed {
    /// Leaves of the newest cosigned checkpoint.
    pub size: u64,
    /// Leaves of the log as it is known here.
    pub log_size: u64,
    /// Who cosigned it, and when, earliest first.
    pub by: Vec<Sighting>,
}

/// A witness and the time in its cosignature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Who.
    pub witness: SiteName,
    /// When it had seen it at the latest, by its own clock.
    pub by: Timestamp,
}

/// How far a partner has cosigned our log, as far as its cosignatures are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CosignedUs {
    /// Leaves.
    pub size: u64,
    /// When, by its clock.
    pub at: Timestamp,
}

/// A fork proof against a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// Form: `same-size`, `prefix`, `seq`, `feed`, `leaf`.
    pub kind: String,
    /// From which leaf, size or position on there are two histories.
    pub at: u64,
    /// In words.
    pub what: String,
    /// When the proof was made here, or came.
    pub since: Timestamp,
    /// SHA-256 of the proof's text.
    pub proof: fmesh_proto::id::Digest,
}
