//! Own and partners' objects: the site, resources, capacities, and how they are put and imported.
//!
//! Reading gives every slot as [`Shown`]. Writing gives plain members: what is left out or null is unknown. A
//! capacity has one unit for all its columns, so its columns are written as decimal strings (null: unknown)
//! and read as amounts.

use std::collections::BTreeMap;

use fmesh_proto::{
    id::{Digest, ObjectId},
    kinds::{Activity, Bucket, Degrees, Kind, Level, Mode},
    quantity::{Quantity, Unit},
    taxonomy::Path,
};
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{Amount, Item, Shape, Shown, SiteName};

/// What every object has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectHead {
    /// Kind.
    pub kind: Kind,
    /// Id on the wire.
    pub id: ObjectId,
    /// Our own name for it; null for partners' objects.
    pub key: Option<String>,
    /// Whose it is.
    pub site: SiteName,
    /// It is ours.
    pub own: bool,
    /// Ended.
    pub retired: bool,
    /// Own: last change here. Partner's: when its author signed it (claimed time).
    pub updated: Timestamp,
    /// Partner's: when it was stored here.
    pub received: Option<Timestamp>,
    /// Leaf of the current revision, if one was signed.
    pub seq: Option<u64>,
    /// Its number.
    pub rev: Option<u64>,
    /// SHA-256 of its core.
    pub core: Option<Digest>,
    /// Own: names of circles that see at least one slot of it today.
    pub circles: Vec<String>,
}

/// The site's own description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Null until it was set.
    pub head: Option<ObjectHead>,
    /// What it says.
    pub fields: SiteSlots,
}
impl Shape for Site {
    const SCHEMA: &'static str = "fmesh.site.v1";
}

/// `site`, read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "slot names of the kind")]
pub struct SiteSlots {
    pub name: Shown<String>,
    pub identifiers: Shown<BTreeMap<String, String>>,
    pub location: Shown<Location>,
    pub timezone: Shown<String>,
    pub certificates: Shown<Vec<Certificate>>,
    pub contact: Shown<String>,
}

/// `site`, written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "slot names of the kind")]
pub struct SiteFields {
    pub name: Option<String>,
    pub identifiers: Option<BTreeMap<String, String>>,
    pub location: Option<Location>,
    pub timezone: Option<String>,
    pub certificates: Option<Vec<Certificate>>,
    pub contact: Option<String>,
}

/// Replaces the site's own description.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SitePut {
    /// Check only.
    #[serde(default)]
    pub dry_run: bool,
    /// All of it: what is left out becomes unknown.
    pub fields: SiteFields,
}

/// Where a site is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "slot names of the kind")]
pub struct Location {
    /// ISO 3166-1, two letters.
    pub country: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    /// Decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lat: Option<Degrees>,
    /// Decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lon: Option<Degrees>,
}

/// A certificate of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "slot names of the kind")]
pub struct Certificate {
    pub r#type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_number: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area: Option<String>,
}

/// A resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// What every object has.
    pub head: ObjectHead,
    /// What it says.
    pub fields: ResourceSlots,
}
impl Shape for Resource {
    const SCHEMA: &'static str = "fmesh.resource.v1";
}
impl Item for Resource {
    const LIST: &'static str = "fmesh.resources.v1";
}

/// `resource`, read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "slot names of the kind")]
pub struct ResourceSlots {
    pub name: Shown<String>,
    pub level: Shown<Level>,
    pub parent: Shown<ObjectId>,
    pub nameplate: Shown<Nameplate>,
    pub capabilities: Shown<Vec<Capability>>,
    pub calendar: Shown<String>,
    pub state: Shown<MachineState>,
}

/// `resource`, written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "slot names of the kind")]
pub struct ResourceFields {
    pub name: Option<String>,
    pub level: Option<Level>,
    /// Key or id of another resource of ours.
    pub parent: Option<String>,
    pub nameplate: Option<Nameplate>,
    pub capabilities: Option<Vec<Capability>>,
    /// RFC 5545 text.
    pub calendar: Option<String>,
    pub state: Option<MachineState>,
}

/// Creates or replaces a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourcePut {
    /// Check only.
    #[serde(default)]
    pub dry_run: bool,
    /// All of it: what is left out becomes unknown.
    pub fields: ResourceFields,
}

/// Who made a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "slot names of the kind")]
pub struct Nameplate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub year: Option<i16>,
}

/// What a resource does at the moment, as the author last heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "words of the kind")]
pub struct MachineState {
    pub item: Activity,
    pub mode: Mode,
    pub since: Timestamp,
}

/// What a resource can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "slot names of the kind")]
pub struct Capability {
    pub process: Path,
    #[serde(default)]
    pub core: bool,
    #[serde(default)]
    pub materials: Vec<Path>,
    #[serde(default)]
    pub properties: Vec<Property>,
}

/// A property of a capability: a range or a value, in one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "slot names of the kind")]
pub struct Property {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// A capacity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// What every object has.
    pub head: ObjectHead,
    /// What it says.
    pub fields: CapacitySlots,
}
impl Shape for Capacity {
    const SCHEMA: &'static str = "fmesh.capacity.v1";
}
impl Item for Capacity {
    const LIST: &'static str = "fmesh.capacities.v1";
}

/// One value per bucket; null is unknown.
pub type Column = Vec<Option<Amount>>;

/// `capacity`, read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "slot names of the kind")]
pub struct CapacitySlots {
    pub name: Shown<String>,
    pub resources: Shown<Vec<ObjectId>>,
    pub process: Shown<Path>,
    pub unit: Shown<Unit>,
    pub bucket: Shown<Bucket>,
    pub start: Shown<Date>,
    pub total: Shown<Column>,
    pub committed: Shown<Column>,
    pub available: Shown<Column>,
    pub unattainable: Shown<Column>,
    pub reason: Shown<Vec<Option<String>>>,
    pub maximum: Shown<Column>,
}

/// `capacity`, written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "slot names of the kind")]
pub struct CapacityFields {
    pub name: Option<String>,
    /// Keys or ids of resources of ours.
    pub resources: Option<Vec<String>>,
    pub process: Option<Path>,
    pub unit: Option<Unit>,
    pub bucket: Option<Bucket>,
    pub start: Option<Date>,
    pub total: Option<Vec<Option<Quantity>>>,
    pub committed: Option<Vec<Option<Quantity>>>,
    pub available: Option<Vec<Option<Quantity>>>,
    pub unattainable: Option<Vec<Option<Quantity>>>,
    pub reason: Option<Vec<Option<String>>>,
    pub maximum: Option<Vec<Option<Quantity>>>,
}

/// Creates or replaces a capacity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityPut {
    /// Check only.
    #[serde(default)]
    pub dry_run: bool,
    /// All of it: what is left out becomes unknown.
    pub fields: CapacityFields,
}

/// Ends an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retire {
    /// Check only.
    pub dry_run: bool,
}

/// Many puts of one kind, applied wholly or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import<F> {
    /// Run every check, change nothing, say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Rows; a key may come once.
    pub rows: Vec<ImportRow<F>>,
}

/// One object of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRow<F> {
    /// (First) row in the person's file, for error messages.
    pub row: u64,
    /// The operator's name for it.
    pub key: String,
    /// All of it: what is left out becomes unknown.
    pub fields: F,
}

/// What an import (or one put, or a retirement) did or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Nothing was changed.
    pub dry_run: bool,
    /// How many objects are new, changed, the same, retired.
    pub new: u64,
    /// See `new`.
    pub changed: u64,
    /// See `new`.
    pub same: u64,
    /// See `new`.
    pub retired: u64,
    /// Records that were, or would be, signed for it.
    pub signed: u64,
    /// Object by object, in the order given.
    pub items: Vec<Change>,
}
impl Shape for Imported {
    const SCHEMA: &'static str = "fmesh.imported.v1";
}

/// What happened, or would happen, to one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Kind.
    pub kind: Kind,
    /// The operator's name for it.
    pub key: String,
    /// Null for a new object in a dry run.
    pub id: Option<ObjectId>,
    /// In one word.
    pub change: ChangeKind,
    /// Slots whose value differs.
    pub slots: Vec<String>,
    /// Circles that see at least one slot of it afterwards.
    pub circles: Vec<String>,
}

/// Kinds of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum ChangeKind {
    New,
    Changed,
    Same,
    Retired,
}
