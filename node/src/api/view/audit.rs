//! What `audit export` asks the node for: the parts of a bundle.

use fmesh_proto::{audit::bundle::Reason, id::SiteId};
use serde::{Deserialize, Serialize};

use super::{Item, Shape, SiteName};

/// One log without its records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLog {
    /// Whose.
    pub site: SiteName,
    /// The newest checkpoint, a signed note.
    pub checkpoint: String,
    /// Leaves that it names.
    pub size: u64,
    /// Older checkpoints, ascending.
    pub older: Vec<String>,
    /// `keys` records with their leaves, ascending.
    pub keys: Vec<(u64, String)>,
    /// Fork proofs against the site.
    #[serde(default)]
    pub forks: Vec<String>,
    /// This site's own id: who makes the bundle.
    pub made_by: SiteId,
}
impl Shape for AuditLog {
    const SCHEMA: &'static str = "fmesh.audit-log.v1";
}

/// Leaf hashes, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLeaves {
    /// First leaf.
    pub from: u64,
    /// 32 bytes each, as base64.
    pub hashes: String,
}
impl Shape for AuditLeaves {
    const SCHEMA: &'static str = "fmesh.audit-leaves.v1";
}

/// A leaf whose record this node holds: the record, or why it is not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLeaf {
    /// Leaf.
    pub leaf: u64,
    /// The record as it may be shown.
    pub record: Option<String>,
    /// Why not.
    pub withheld: Option<Reason>,
}
impl Item for AuditLeaf {
    const LIST: &'static str = "fmesh.audit-leaves-list.v1";
}
