//! Signed records as they stand in logs, and what an outsider needs to check one.

use std::collections::BTreeMap;

use fmesh_proto::{
    id::{Digest, MeshId, ObjectId},
    kinds::Kind,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Item, RecordDelivery, Shape, Shown, Sighting, SiteName};

/// One line of `record list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordHead {
    /// Author.
    pub site: SiteName,
    /// Leaf in its log.
    pub seq: u64,
    /// Kind.
    pub kind: Kind,
    /// Object.
    pub id: ObjectId,
    /// Our own name for the object; null for partners' objects.
    pub key: Option<String>,
    /// Revision.
    pub rev: u64,
    /// It is the newest revision that we hold.
    pub current: bool,
    /// It does not count: its author was put out before it, or never let in.
    #[serde(default)]
    pub void: bool,
    /// It ends the object.
    pub retired: bool,
    /// Every grant under which we were shown it has ended.
    #[serde(default)]
    pub ended: bool,
    /// When the author says it signed.
    pub signed: Timestamp,
    /// When it was stored here.
    pub received: Timestamp,
    /// SHA-256 of the core.
    pub core: Digest,
}
impl Item for RecordHead {
    const LIST: &'static str = "fmesh.records.v1";
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Line of the list.
    #[serde(flatten)]
    pub head: RecordHead,
    /// Mesh; null in a key manifest.
    pub mesh: Option<MeshId>,
    /// SHA-256 of the revision before.
    pub prev: Option<Digest>,
    /// RFC 6962 leaf hash.
    pub leaf: Digest,
    /// Slots as we see them.
    pub slots: BTreeMap<String, Shown<Value>>,
    /// Positions in circles' feeds that we were shown: (circle id, position).
    pub feeds: Vec<(fmesh_proto::id::CircleId, u64)>,
    /// How many circles it goes to in all.
    pub feeds_total: u64,
    /// Of our own: where it has arrived.
    #[serde(default)]
    pub delivery: Vec<RecordDelivery>,
    /// Who has seen it, and when at the latest, earliest first: the k-th is when k witnesses had.
    #[serde(default)]
    pub seen: Vec<Sighting>,
}
impl Shape for Record {
    const SCHEMA: &'static str = "fmesh.record.v1";
}

/// The signed bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCore {
    /// Author.
    pub site: SiteName,
    /// Leaf.
    pub seq: u64,
    /// JWS in compact form.
    pub core: String,
    /// Public key that must have signed it, raw, as hex.
    pub key: String,
}
impl Shape for RecordCore {
    const SCHEMA: &'static str = "fmesh.record-core.v1";
}

/// What an outsider needs to check one record, as the texts of three files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordExport {
    /// Author.
    pub site: SiteName,
    /// Leaf.
    pub seq: u64,
    /// Core and the disclosures that we hold: `<seq>.sdjwt`.
    pub record: String,
    /// Index, inclusion path, checkpoint: `<seq>.tlog-proof`.
    pub proof: String,
    /// The author's key manifest with its disclosures: `keys.sdjwt`.
    pub manifest: String,
    /// Its later `keys` records in the order of the log: `keys.2.sdjwt` and so on.
    pub rotations: Vec<String>,
    /// Verifier key of the log, for other tools.
    pub vkey: String,
}
impl Shape for RecordExport {
    const SCHEMA: &'static str = "fmesh.record-export.v1";
}
