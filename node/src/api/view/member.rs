//! Putting a partner out, roles, and how fast a partner answers.

use fmesh_proto::membership::Role;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Shape, SiteName};

/// Asks to put a partner out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RemoveRequest {
    /// Say what would happen and do nothing.
    pub dry_run: bool,
    /// Why, for all members to read.
    pub reason: Option<String>,
    /// How many records of its log count; null: as many as are known here.
    pub last_good: Option<u64>,
}

/// That a site was put out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// When, as its author says.
    pub since: Timestamp,
    /// By whom.
    pub by: SiteName,
    /// Why, as its author says.
    pub reason: Option<String>,
    /// How many records of its log count.
    pub last_good: u64,
    /// How many its log has here; those from `last_good` on are void.
    pub log_size: u64,
}

/// What putting a partner out does, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalChange {
    /// Nothing was done.
    pub dry_run: bool,
    /// Who.
    pub partner: SiteName,
    /// How many records of its log count.
    pub last_good: u64,
    /// How many its log has here.
    pub log_size: u64,
    /// Circles of ours that it was in, by name.
    pub circles: Vec<CircleEnd>,
    /// Records that were, or would be, signed: the removal, and new keys for those who stay.
    pub signed: u64,
}
impl Shape for RemovalChange {
    const SCHEMA: &'static str = "fmesh.removal.v1";
}

/// What becomes of a circle whose reader is put out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircleEnd {
    /// Our name for it.
    pub circle: String,
    /// What becomes of it.
    pub fate: CircleFate,
    /// Records of it that the partner says it holds. They stay readable to it.
    pub kept_records: u64,
    /// Our objects that it shows today, of which the partner keeps what it holds.
    pub objects: Vec<String>,
}

/// What becomes of a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CircleFate {
    /// A group: those who stay get a new key.
    NewKey,
    /// It was for this partner alone.
    Ends,
    /// For all members, in plain: it is not sent to the partner any more.
    NoLongerSent,
}

/// Asks to change a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleRequest {
    /// The new one.
    pub role: Role,
}

/// A partner's answer to a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Who.
    pub partner: SiteName,
    /// From the call to its answer.
    pub micros: u64,
    /// Address of the connection.
    pub address: Option<String>,
    /// What runs there.
    pub software: String,
    /// Its clock minus ours.
    pub clock_skew_seconds: i64,
}
impl Shape for Ping {
    const SCHEMA: &'static str = "fmesh.ping.v1";
}
