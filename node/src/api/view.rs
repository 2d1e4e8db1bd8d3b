//! The JSON of `/api/v1`, as types: the API writes them, the terminal reads the same ones.
//!
//! One thing is an object with `schema` beside its members ([`Answer`]); many are
//! `{"schema","items","next"}` ([`List`]). Names are snake_case, times RFC 3339 in UTC, ids full hex, quantities
//! `{"value":"96","unit":"HUR"}` ([`Amount`]). Known, unknown and withheld are three states ([`Shown`]), never
//! a zero. Requests refuse members they do not know; readers of answers ignore them.
//! Nothing here decides anything: conversion and checks are in [`crate::service`].

mod audit;
mod circle;
mod doctor;
mod find;
mod keys;
mod member;
mod mesh;
mod object;
mod problem;
mod record;
mod standing;
mod witness;

use fmesh_proto::{
    kinds::Slot,
    quantity::{Quantity, Unit},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{
    audit::{AuditLeaf, AuditLeaves, AuditLog},
    circle::{
        AudienceRequest, AudienceView, Circle, CircleAnswer, CircleChange, CirclePut, CircleRemove,
        CircleText, Explain, Members, Preview, PreviewObject, RuleRequest, RuleView, Sharing,
        SharingApplied, SharingChange, SharingPut, SlotPreview,
    },
    doctor::Doctor,
    find::{FindRequest, Fit, Hit, Point, PropertyRequest, WeekFree},
    keys::{DraftedKeys, KeysDraft, KeysRotated, RotateRequest, SiteKeys},
    member::{CircleEnd, CircleFate, Ping, Removal, RemovalChange, RemoveRequest, RoleRequest},
    mesh::{
        Counts, Invite, InviteCreated, InviteRequest, InviteState, InviteUse, JoinRequest,
        JoinState, JoinStep, MeshView, OwnCounts, Partner, PartnerState, Pending, Reachable,
        RefusedConnection, RestoredView, SiteName, Status, Trouble,
    },
    object::{
        Capability, Capacity, CapacityFields, CapacityPut, CapacitySlots, Certificate, Change,
        ChangeKind, Column, Import, ImportRow, Imported, Location, MachineState, Nameplate,
        ObjectHead, Property, Resource, ResourceFields, ResourcePut, ResourceSlots, Retire, Site,
        SiteFields, SitePut, SiteSlots,
    },
    problem::{Code, Exit, Problem, RowError},
    record::{Record, RecordCore, RecordExport, RecordHead},
    standing::{
        Confirmation, Contradiction, Deletion, Delivered, Delivery, EndedGrant, RecordDelivery,
        Standing,
    },
    witness::{CosignedUs, Fork, Sighting, Witnessed},
};

/// A type that stands alone in an answer.
pub trait Shape {
    /// Name and version, for readers that meet the JSON in a file.
    const SCHEMA: &'static str;
}

/// A type that comes as items of a list.
pub trait Item {
    /// Name and version of the list.
    const LIST: &'static str;
}

/// One thing: its members, and `schema`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<T> {
    /// [`Shape::SCHEMA`].
    pub schema: String,
    /// The thing.
    #[serde(flatten)]
    pub item: T,
}
impl<T: Shape> Answer<T> {
    /// Names the schema.
    pub fn new(item: T) -> Self {
        Self {
            schema: T::SCHEMA.to_owned(),
            item,
        }
    }
}

/// Many things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// [`Item::LIST`].
    pub schema: String,
    /// In the order that the route documents.
    pub items: Vec<T>,
    /// Value for `?after=` to get what follows; null at the end.
    pub next: Option<String>,
}
impl<T: Item> List<T> {
    /// A whole list, or one page of it.
    pub fn new(items: Vec<T>, next: Option<String>) -> Self {
        Self {
            schema: T::LIST.to_owned(),
            items,
            next,
        }
    }
}

/// A slot as a reader sees it: `{"state":"known","value":…}`, `{"state":"unknown"}`, `{"state":"withheld"}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "value", rename_all = "lowercase")]
pub enum Shown<T> {
    /// The author does not show it to us.
    #[default]
    Withheld,
    /// The author does not know or does not say.
    Unknown,
    /// Known.
    Known(T),
}
impl<T> Shown<T> {
    /// The value, if known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            _ => None,
        }
    }
    /// Converts a known value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Shown<U> {
        match self {
            Self::Withheld => Shown::Withheld,
            Self::Unknown => Shown::Unknown,
            Self::Known(value) => Shown::Known(f(value)),
        }
    }
}
impl<T> From<Slot<T>> for Shown<T> {
    fn from(slot: Slot<T>) -> Self {
        match slot {
            Slot::Withheld => Self::Withheld,
            Slot::Unknown => Self::Unknown,
            Slot::Known(value) => Self::Known(value),
        }
    }
}

/// A number with its unit. The unit is null if the author withholds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    /// Decimal string.
    pub value: Quantity,
    /// UN/ECE Rec 20 code.
    pub unit: Option<Unit>,
}

/// A time for JSON from unix seconds; what lies beyond year 9999 becomes the last moment of it.
#[must_use]
pub fn time(unix_seconds: u64) -> Timestamp {
    i64::try_from(unix_seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}
