//! Who can make it, and when.

use fmesh_proto::{
    id::ObjectId,
    kinds::Degrees,
    quantity::{Quantity, Unit},
    taxonomy::Path,
    week::Week,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Amount, Certificate, Item, Shown, SiteName};

/// A question. Every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FindRequest {
    /// Process prefix.
    pub process: Option<Path>,
    /// Material prefixes, all of them.
    pub materials: Vec<Path>,
    /// Properties the capability must cover.
    pub properties: Vec<PropertyRequest>,
    /// How much must be free in `weeks` together.
    pub need: Option<Amount>,
    /// `2026-W49..W51`; left out: from the current week on, four weeks.
    pub weeks: Option<String>,
    /// Farthest, in kilometres, from `from`.
    pub within_km: Option<u32>,
    /// Left out: our own site.
    pub from: Option<Point>,
    /// Certificate types, all of them, valid on the first day of `weeks`.
    pub certificates: Vec<String>,
    /// ISO 3166-1 codes, one of them.
    pub countries: Vec<String>,
    /// Also our own resources.
    pub own: bool,
    /// Also what came under grants that have ended.
    pub ended: bool,
    /// At most so many answers; 0: 50.
    pub limit: u32,
}

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Decimal string.
    pub lat: Degrees,
    /// Decimal string.
    pub lon: Degrees,
}

/// A property that must be covered: a range within the capability's, or an equal value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "as in a capability's property")]
pub struct PropertyRequest {
    pub name: String,
    #[serde(default)]
    pub min: Option<Quantity>,
    #[serde(default)]
    pub max: Option<Quantity>,
    #[serde(default)]
    pub value: Option<String>,
    #[serde(default)]
    pub unit: Option<Unit>,
}

/// One answer, best first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Whose.
    pub site: SiteName,
    /// It is ours.
    pub own: bool,
    /// Resource.
    pub resource: Option<ObjectId>,
    /// Its name (or our key), if shown.
    pub resource_name: Option<String>,
    /// Capacity that was counted.
    pub capacity: Option<ObjectId>,
    /// Its name, if shown.
    pub capacity_name: Option<String>,
    /// Process that fits, if one was asked.
    pub process: Option<Path>,
    /// It is a core capability.
    pub core: bool,
    /// Free in each week of the span, in order.
    pub weeks: Vec<WeekFree>,
    /// Sum of what is known.
    pub free: Option<Amount>,
    /// Whether it is enough.
    pub fit: Fit,
    /// Conditions that could not be checked, because the author does not say or show; in words.
    pub unknown: Vec<String>,
    /// Distance in whole kilometres, if both places are known.
    pub km: Option<u32>,
    /// Country, if shown.
    pub country: Option<String>,
    /// The site's certificates, if shown.
    pub certificates: Vec<Certificate>,
    /// When the author signed the numbers (claimed time).
    pub signed: Timestamp,
    /// When they arrived here.
    pub received: Timestamp,
    /// Leaf in the author's log, for `record show`.
    pub seq: u64,
    /// Older than a week.
    pub stale: bool,
    /// A grant under which some of it came has ended.
    #[serde(default)]
    pub ended: bool,
    /// A proof is held that its site signed two histories.
    #[serde(default)]
    pub forked: bool,
}
impl Item for Hit {
    const LIST: &'static str = "fmesh.find.v1";
}

/// Free capacity of one week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeekFree {
    /// `2026-W49`.
    pub week: Week,
    /// Unknown, also where no record speaks of the week, is never counted as free.
    pub free: Shown<Amount>,
}

/// Whether an answer covers the need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// What is known to be free is enough (or nothing was asked).
    Full,
    /// Not enough, and all is known.
    Partial,
    /// Not enough is known.
    Unknown,
}
