//! The site's operating keys: how they stand, and how they are rotated.

use fmesh_proto::{
    id::{Digest, PeerKey, SiteId, from_hex, to_hex},
    keys::{KeySet, PublicKey, Rotation},
};
use serde::{Deserialize, Serialize};

use super::{Shape, SiteName};

/// How the operating keys stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteKeys {
    /// This site.
    pub site: SiteName,
    /// How often they were rotated.
    pub rotations: u64,
    /// Fingerprint of the record key that signs now.
    pub record: String,
    /// PeerId that the newest `keys` record lists.
    pub peer_id: String,
    /// PeerId that this node speaks with until it is stopped.
    pub speaks_as: String,
    /// Partners that have not acknowledged the newest rotation.
    pub unaware: Vec<SiteName>,
    /// Group circles, which get a new key with a rotation.
    pub groups: u64,
}
impl Shape for SiteKeys {
    const SCHEMA: &'static str = "fmesh.site-keys.v1";
}

/// What the root is to sign, so that the next keys count. It is good until the log grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysDraft {
    /// Whose root.
    pub site: SiteId,
    /// Leaf that the record becomes.
    pub seq: u64,
    /// Its revision.
    pub rev: u64,
    /// Digest of the `keys` record before it.
    pub prev: Digest,
    /// Its position in the mesh-wide feed.
    pub position: u64,
    /// Public keys by role, hex.
    pub keys: DraftedKeys,
}
impl Shape for KeysDraft {
    const SCHEMA: &'static str = "fmesh.keys-draft.v1";
}

/// Public keys by role, hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the roles of PROTOCOL section 2")]
pub struct DraftedKeys {
    pub record: String,
    pub log: String,
    pub witness: String,
    pub transport: String,
    pub r#box: String,
}

impl KeysDraft {
    /// A draft as it is told.
    #[must_use]
    pub fn new(site: SiteId, draft: &Rotation) -> Self {
        let keys = &draft.keys;
        Self {
            site,
            seq: draft.seq,
            rev: draft.rev,
            prev: draft.prev,
            position: draft.position,
            keys: DraftedKeys {
                record: to_hex(keys.record.as_bytes()),
                log: to_hex(keys.log.as_bytes()),
                witness: to_hex(keys.witness.as_bytes()),
                transport: to_hex(keys.transport.as_bytes()),
                r#box: to_hex(&keys.boxed),
            },
        }
    }

    /// As the root signs it; `None` if a key is none.
    #[must_use]
    pub fn rotation(&self) -> Option<Rotation> {
        let raw = |hex: &str| <[u8; 32]>::try_from(from_hex(hex)?).ok();
        let key = |hex: &str| PublicKey::from_bytes(&raw(hex)?).ok();
        Some(Rotation {
            seq: self.seq,
            rev: self.rev,
            prev: self.prev,
            position: self.position,
            keys: KeySet {
                record: key(&self.keys.record)?,
                log: key(&self.keys.log)?,
                witness: key(&self.keys.witness)?,
                transport: PeerKey(*key(&self.keys.transport)?.as_bytes()),
                boxed: raw(&self.keys.r#box)?,
            },
        })
    }
}

/// A signed draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// The record, with its disclosures.
    pub record: String,
    /// Speak with the new PeerId from the next start on, whoever knows it.
    #[serde(default)]
    pub transport_now: bool,
}

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysRotated {
    /// Leaf of the `keys` record; the new keys count from the next one on.
    pub seq: u64,
    /// Group circles that got a new key.
    pub groups: u64,
    /// As they stand now.
    pub keys: SiteKeys,
}
impl Shape for KeysRotated {
    const SCHEMA: &'static str = "fmesh.keys-rotated.v1";
}
