//! The two JSON files of a bundle: what was asked for, and why something is not in it.
//!
//! Both come from whoever made the bundle and prove nothing. They say what the files are compared with: a bundle
//! that does not hold what its manifest says is not what was handed out.

use serde::{Deserialize, Serialize};

use super::LogSummary;
use crate::{
    id::{Digest, SiteId},
    kinds::Kind,
};

/// Name and version of the format.
pub(super) const FORMAT: &str = "fmesh.bundle/v1";

/// What the maker of a bundle was asked for. Absent members select everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Sites.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<SiteId>,
    /// Earliest time that records claim, unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Latest time that records claim, unix seconds, not included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Kinds; `keys` records come always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
    /// Objects, as they were named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
    /// As this site's circles disclose; absent: as the maker holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader: Option<SiteId>,
}

/// `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format: String,
    /// Who made the bundle, if it says so.
    pub(super) made_by: Option<SiteId>,
    pub(super) selection: Selection,
    pub(super) logs: Vec<ManifestLog>,
    pub(super) forks: usize,
}

/// One log as the manifest states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestLog {
    pub(super) site: SiteId,
    pub(super) origin: String,
    pub(super) size: u64,
    pub(super) root: Digest,
    pub(super) keys: u64,
    pub(super) records: u64,
    pub(super) withheld: u64,
}

impl ManifestLog {
    /// Whether it states what was found.
    pub(super) fn fits(&self, found: &LogSummary) -> bool {
        let withheld: u64 = found.withheld.iter().map(|(_, count)| count).sum();
        self.site == found.site
            && Some(&self.origin) == found.origin.as_ref()
            && (self.size, Some(self.root)) == (found.size, found.root)
            && self.keys == found.keys
            && self.keys.checked_add(self.records) == Some(found.shown)
            && self.withheld == withheld
    }
}

/// `withheld.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Withheld {
    pub(super) format: String,
    pub(super) logs: Vec<WithheldLog>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WithheldLog {
    pub(super) site: SiteId,
    /// Runs of leaves, ascending.
    pub(super) leaves: Vec<Run>,
}

/// Leaves `from` up to and including `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) reason: Reason,
}

/// Why a leaf of the log is not in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The maker holds the leaf's hash only: its author shows it to others, or did so before the maker was a member.
    NotHeld,
    /// The selection leaves it out.
    NotSelected,
    /// No circle of the reader is shown it.
    NotDisclosed,
}

impl Reason {
    /// A sentence for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NotHeld => "the maker of the bundle holds only the leaf's hash",
            Self::NotSelected => "not asked for",
            Self::NotDisclosed => "no circle of the reader is shown it",
        }
    }
}
