//! What is between us and a partner because of circles: who was told to let go of what, and whether that was done.

use fmesh_proto::{id::CircleId, kinds::OnEnd};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CosignedUs, Fork, SiteName, Witnessed};

/// How it stands between us and one partner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// How far it is in each of our circles that it is in.
    pub delivery: Vec<Delivery>,
    /// What we asked it to delete.
    pub deletions: Vec<Deletion>,
    /// Circles of its that we were in.
    pub ended: Vec<EndedGrant>,
    /// Places of its feeds for which it signed two records.
    pub contradictions: Vec<Contradiction>,
    /// Proofs that it signed two histories, the first ones; whoever checks them needs nobody's word.
    pub forks: Vec<Fork>,
    /// How far its log is cosigned.
    pub witnessed: Option<Witnessed>,
    /// How far it has cosigned ours.
    pub cosigned_us: Option<CosignedUs>,
}

/// A partner signed two records for one place of a feed, so that its readers may be told different things. Both are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contradiction {
    /// Its circle, as the wire names it.
    pub circle: CircleId,
    /// Position in that circle's feed.
    pub feed_seq: u64,
    /// Leaves of both records in its log.
    pub leaves: [u64; 2],
    /// When the second one came.
    pub since: Timestamp,
}

/// How far a partner is in a circle of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The circle.
    pub circle: CircleId,
    /// Our name for it; null for what all members read anyway.
    pub circle_name: Option<String>,
    /// Who reads.
    pub partner: SiteName,
    /// Last position of the feed that it has on disk.
    pub has: u64,
    /// When it said so.
    pub since: Option<Timestamp>,
    /// Last position of the feed.
    pub last: u64,
    /// Records for it that it has not on disk, as far as it said.
    pub lacks: u64,
}

/// Where a record of ours has arrived, of one circle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordDelivery {
    /// The circle.
    pub circle: CircleId,
    /// Our name for it; null for what all members read anyway.
    pub circle_name: Option<String>,
    /// Who has it on disk, as they said.
    pub delivered: Vec<Delivered>,
    /// Who has not said so.
    pub waiting: Vec<SiteName>,
}

/// A partner that has a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Who.
    pub partner: SiteName,
    /// Since when, at the latest.
    pub by: Timestamp,
}

/// A grant of ours that ended with `delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// Who had it.
    pub partner: SiteName,
    /// For which circle.
    pub circle: CircleId,
    /// Our name for it; null if there is no such circle any more.
    pub circle_name: Option<String>,
    /// When the grant ended.
    pub asked: Timestamp,
    /// Its receipt; null as long as it sent none.
    pub confirmed: Option<Confirmation>,
}

/// A deletion receipt: a signed statement, not a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// When, as the partner says.
    pub at: Timestamp,
    /// Records that lost their values, as the partner says.
    pub records: Option<u64>,
    /// Up to which position of the circle's feed it had them.
    pub feed_seq: Option<u64>,
    /// Leaf of the receipt in the partner's log.
    pub leaf: u64,
}

/// A grant to us that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedGrant {
    /// The circle, as the wire names it.
    pub circle: CircleId,
    /// What we were told to do.
    pub on_end: OnEnd,
    /// When that came.
    pub since: Timestamp,
    /// How far we had its feed.
    pub feed_seq: u64,
    /// Records that lost their values here.
    pub deleted: u64,
    /// All that was asked is done.
    pub done: bool,
}
