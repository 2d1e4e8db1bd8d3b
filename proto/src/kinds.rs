//! What records say: one file per kind with its slots and its own rules (RECORDS.md).
//!
//! A record's body is a set of named slots. A reader holds each slot in one of three states ([`Slot`]):
//! withheld from it, unknown to the author, or known; nothing here turns one into another, and zero is a known
//! value. Each kind is a plain struct of slots that is read from what a view shows ([`Typed::read`]), written
//! for signing ([`Typed::write`]) and checked by its own rules over what is shown ([`Typed::check`]). The same
//! rules run before signing and at every reader.
//!
//! Unknown members inside a value come from a newer version: the signed text keeps them, the typed form ignores
//! them. A known member of a wrong type is refused with the slot's name. This module does not know who signed
//! what, which circle shows what, or what other records say; bodies of `keys` and `membership` are read by the
//! modules of those names.

mod attestation;
mod capacity;
mod country;
mod form;
mod grant;
mod resource;
mod site;
mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use self::{
    attestation::{Attestation, Claim, Outcome},
    capacity::{Bucket, Capacity, Series},
    grant::{Grant, OnEnd},
    resource::{Activity, Capability, Level, Mode, Nameplate, Property, Resource, State},
    site::{Certificate, Degrees, Location, Site},
};
use crate::record::{Fields, RecordError};

/// Kind of a record. A kind of a newer version is kept and ignored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Kind {
    /// The factory itself.
    Site,
    /// ISA-95 equipment.
    Resource,
    /// ISA-95 operations capability by bucket.
    Capacity,
    /// An epoch key and its terms for one partner.
    Grant,
    /// A declaration about records, for one partner.
    Attestation,
    /// Key manifest.
    Keys,
    /// found, admit, remove, role.
    Membership,
    /// Of a newer version: `[a-z][a-z0-9-]{0,31}`.
    Other(String),
}
impl Kind {
    /// Kinds that everybody in the mesh reads have plain bodies, without slots.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Keys | Self::Membership)
    }
    /// Kinds that go to one partner, in its pairwise circle, whatever circles are defined. No rule selects them.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        matches!(self, Self::Grant | Self::Attestation)
    }
    /// Slot names, in the order of RECORDS.md; empty for plain and unknown kinds.
    #[must_use]
    pub fn slots(&self) -> &'static [&'static str] {
        match self {
            Self::Site => Site::SLOTS,
            Self::Resource => Resource::SLOTS,
            Self::Capacity => Capacity::SLOTS,
            Self::Grant => Grant::SLOTS,
            Self::Attestation => Attestation::SLOTS,
            Self::Keys | Self::Membership | Self::Other(_) => &[],
        }
    }
    /// As it stands in the core.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Site => "site",
            Self::Resource => "resource",
            Self::Capacity => "capacity",
            Self::Grant => "grant",
            Self::Attestation => "attestation",
            Self::Keys => "keys",
            Self::Membership => "membership",
            Self::Other(name) => name,
        }
    }
}
impl TryFrom<String> for Kind {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let known = [
            Self::Site,
            Self::Resource,
            Self::Capacity,
            Self::Grant,
            Self::Attestation,
            Self::Keys,
            Self::Membership,
        ];
        if let Some(kind) = known.into_iter().find(|kind| kind.as_str() == text) {
            return Ok(kind);
        }
        let rest_fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(rest_fits)
        {
            return Ok(Self::Other(text));
        }
        let shown: String = text.chars().take(40).collect();
        Err(format!(
            "not a kind of record: {shown:?} (a-z first, then a-z, 0-9 and '-', at most 32 characters)"
        ))
    }
}
impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        kind.as_str().to_owned()
    }
}
impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A slot as a reader holds it. Withheld, unknown and zero are three different things.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Slot<T> {
    /// The circle does not show it.
    #[default]
    Withheld,
    /// Committed as null: the author does not know or does not say.
    Unknown,
    /// Known.
    Known(T),
}
impl<T> Slot<T> {
    /// The value, if known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            _ => None,
        }
    }
    /// Applies `f` to a known value and keeps the other two states apart.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Slot<U> {
        match self {
            Self::Withheld => Slot::Withheld,
            Self::Unknown => Slot::Unknown,
            Self::Known(value) => Slot::Known(f(value)),
        }
    }
    /// By reference.
    pub fn as_ref(&self) -> Slot<&T> {
        match self {
            Self::Withheld => Slot::Withheld,
            Self::Unknown => Slot::Unknown,
            Self::Known(value) => Slot::Known(value),
        }
    }
}
/// What an author has: a value, or the statement that there is none.
impl<T> From<Option<T>> for Slot<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Unknown, Self::Known)
    }
}
impl<T: Serialize> Slot<T> {
    fn to_value(&self) -> Value {
        self.known().map_or(Value::Null, |value| {
            serde_json::to_value(value)
                .expect("slot values are texts, numbers, lists and maps with text keys")
        })
    }
}

/// A typed kind: reads the slots a view shows, and writes all of them.
pub trait Typed: Sized {
    /// The kind.
    const KIND: Kind;
    /// Reads; errors name the slot.
    fn read(shown: &impl Shown) -> Result<Self, RecordError>;
    /// Writes every slot; withheld and unknown both become null.
    fn write(&self) -> Fields;
    /// The kind's own rules over what is shown.
    fn check(&self) -> Result<(), RecordError>;
}

/// What a view shows, as the type of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// `site`.
    Site(Site),
    /// `resource`.
    Resource(Resource),
    /// `capacity`.
    Capacity(Capacity),
    /// `grant`.
    Grant(Grant),
    /// `attestation`.
    Attestation(Attestation),
    /// A plain kind, or a kind of a newer version: no slots that are known here.
    Other,
}
impl Content {
    /// Reads the slots of `kind`. Errors name the slot.
    pub fn read(kind: &Kind, shown: &impl Shown) -> Result<Self, RecordError> {
        Ok(match kind {
            Kind::Site => Self::Site(Site::read(shown)?),
            Kind::Resource => Self::Resource(Resource::read(shown)?),
            Kind::Capacity => Self::Capacity(Capacity::read(shown)?),
            Kind::Grant => Self::Grant(Grant::read(shown)?),
            Kind::Attestation => Self::Attestation(Attestation::read(shown)?),
            Kind::Keys | Kind::Membership | Kind::Other(_) => Self::Other,
        })
    }
    /// The kind's own rules over what is shown.
    pub fn check(&self) -> Result<(), RecordError> {
        match self {
            Self::Site(site) => site.check(),
            Self::Resource(resource) => resource.check(),
            Self::Capacity(capacity) => capacity.check(),
            Self::Grant(grant) => grant.check(),
            Self::Attestation(attestation) => attestation.check(),
            Self::Other => Ok(()),
        }
    }
}

/// Runs the rules of `kind` over what a view shows; used before signing and by every reader.
///
/// Plain kinds and kinds of a newer version have no slots, so nothing is checked here.
pub fn check(kind: &Kind, fields: &BTreeMap<String, Option<Value>>) -> Result<(), RecordError> {
    Content::read(kind, fields)?.check()
}

/// Slots as somebody holds them, ready to be read.
pub trait Shown {
    /// Reads one slot. A name that is not there is withheld. The error says what is wrong with the value.
    fn slot<T: DeserializeOwned>(&self, name: &str) -> Result<Slot<T>, String>;
}

/// As [`crate::record::Verified::fields`] gives them.
impl Shown for BTreeMap<String, Option<Value>> {
    fn slot<T: DeserializeOwned>(&self, name: &str) -> Result<Slot<T>, String> {
        match self.get(name) {
            None | Some(None) => Ok(Slot::Withheld),
            Some(Some(Value::Null)) => Ok(Slot::Unknown),
            Some(Some(value)) => T::deserialize(value)
                .map(Slot::Known)
                .map_err(|error| error.to_string()),
        }
    }
}

/// Reads one slot; the error names it.
pub fn slot<T: DeserializeOwned>(
    shown: &impl Shown,
    kind: &Kind,
    name: &str,
) -> Result<Slot<T>, RecordError> {
    shown.slot(name).map_err(|what| RecordError::Rule {
        kind: kind.to_string(),
        what: format!("{name}: {what}"),
    })
}

/// Ties the fields of a struct to their slot names: one list for reading, writing and [`Kind::slots`]. The rules
/// come from the type's own `fn rules(&self) -> Result<(), String>`.
macro_rules! slots {
    ($type:ident { $($field:ident: $name:literal),+ $(,)? }) => {
        impl $type {
            pub(super) const SLOTS: &'static [&'static str] = &[$($name),+];
        }
        impl $crate::kinds::Typed for $type {
            const KIND: $crate::kinds::Kind = $crate::kinds::Kind::$type;
            fn read(
                shown: &impl $crate::kinds::Shown,
            ) -> Result<Self, $crate::record::RecordError> {
                Ok(Self { $($field: $crate::kinds::slot(shown, &Self::KIND, $name)?),+ })
            }
            fn write(&self) -> $crate::record::Fields {
                [$(($name.to_owned(), self.$field.to_value())),+].into_iter().collect()
            }
            fn check(&self) -> Result<(), $crate::record::RecordError> {
                self.rules().map_err(|what| $crate::record::RecordError::Rule { kind: Self::KIND.to_string(), what })
            }
        }
    };
}
use slots;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// A body as its author sees it: every slot of the kind shown, those not named unknown.
    pub(crate) fn shown(kind: &Kind, body: &Value) -> BTreeMap<String, Option<Value>> {
        let mut fields: BTreeMap<_, _> = kind
            .slots()
            .iter()
            .map(|name| ((*name).to_owned(), Some(Value::Null)))
            .collect();
        for (name, value) in body.as_object().unwrap() {
            assert!(
                kind.slots().contains(&name.as_str()),
                "{name} is no slot of {kind}"
            );
            fields.insert(name.clone(), Some(value.clone()));
        }
        fields
    }

    /// `None` if `body` is fine, else what is wrong with it.
    pub(crate) fn refusal(kind: &Kind, body: &Value) -> Option<String> {
        match check(kind, &shown(kind, body)) {
            Ok(()) => None,
            Err(RecordError::Rule { kind: named, what }) => {
                assert_eq!(named, kind.as_str());
                Some(what)
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn names_of_kinds() {
        for name in [
            "site",
            "resource",
            "capacity",
            "grant",
            "attestation",
            "keys",
            "membership",
            "demand",
            "x-9",
            &"a".repeat(32),
        ] {
            let kind = Kind::try_from(name.to_owned()).unwrap();
            assert_eq!(kind.as_str(), name);
            assert_eq!(
                matches!(kind, Kind::Other(_)),
                kind.slots().is_empty() && !kind.is_plain(),
                "{name}"
            );
        }
        for name in ["", "Site", "9x", "-x", "si te", "é", "a_b", &"a".repeat(33)] {
            assert!(Kind::try_from(name.to_owned()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn slots_stand_in_the_order_of_the_format() {
        assert_eq!(
            Kind::Site.slots().join(" "),
            "name identifiers location timezone certificates contact"
        );
        assert_eq!(
            Kind::Resource.slots().join(" "),
            "level parent name nameplate capabilities calendar state"
        );
        assert_eq!(
            Kind::Capacity.slots().join(" "),
            "name resources process unit bucket start total committed available unattainable reason maximum"
        );
        assert_eq!(
            Kind::Grant.slots().join(" "),
            "circle to epoch key select slots purpose until onEnd"
        );
        assert_eq!(
            Kind::Attestation.slots().join(" "),
            "subject claim targets result at"
        );
    }

    #[test]
    fn withheld_unknown_and_zero_stay_apart() {
        let body = json!({"bucket": "P7D", "start": "2026-11-30", "unit": "HUR", "available": ["0", null]});
        let mut fields = shown(&Kind::Capacity, &body);
        fields.insert("total".to_owned(), None);
        let capacity = Capacity::read(&fields).unwrap();
        assert_eq!(capacity.total, Slot::Withheld);
        assert_eq!(capacity.committed, Slot::Unknown);
        assert_eq!(
            capacity.available,
            Slot::Known(vec![Some(crate::quantity::Quantity::ZERO), None])
        );
        let written = capacity.write();
        assert_eq!(written.len(), Kind::Capacity.slots().len());
        assert_eq!(
            (&written["total"], &written["available"]),
            (&Value::Null, &json!(["0", null]))
        );
    }

    #[test]
    fn a_wrong_type_is_refused_with_its_slot() {
        let cases = [
            (Kind::Site, json!({"name": 5}), "name: "),
            (Kind::Site, json!({"location": ["DE"]}), "location: "),
            (
                Kind::Site,
                json!({"certificates": [["ISO 9001"]]}),
                "certificates: ",
            ),
            (Kind::Resource, json!({"level": "Machine"}), "level: "),
            (Kind::Resource, json!({"level": {"Site": null}}), "level: "),
            (Kind::Resource, json!({"nameplate": []}), "nameplate: "),
            (Kind::Resource, json!({"parent": "no uuid"}), "parent: "),
            (Kind::Capacity, json!({"available": [37.5]}), "available: "),
            (Kind::Capacity, json!({"available": "12"}), "available: "),
            (Kind::Capacity, json!({"unit": "hours"}), "unit: "),
            (Kind::Capacity, json!({"start": "2026-W49"}), "start: "),
            (Kind::Grant, json!({"epoch": -1}), "epoch: "),
            (Kind::Grant, json!({"onEnd": "burn"}), "onEnd: "),
        ];
        for (kind, body, begin) in cases {
            let what = refusal(&kind, &body).unwrap_or_default();
            assert!(what.starts_with(begin), "{body}: {what:?}");
        }
    }

    #[test]
    fn plain_and_newer_kinds_are_not_judged_here() {
        let fields = BTreeMap::from([("anything".to_owned(), Some(json!(1)))]);
        for kind in [
            Kind::Keys,
            Kind::Membership,
            Kind::Other("demand".to_owned()),
        ] {
            assert_eq!(check(&kind, &fields), Ok(()));
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            prop::sample::select(vec![
                "",
                "DE",
                "HUR",
                "P7D",
                "P1D",
                "2026-11-30",
                "9999-12-31",
                "-009999-01-01",
                "1E+15",
                "-5",
                "180",
                "a/b"
            ])
            .prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("country|lat|lon|type|validFrom|process|core|properties|min|max|item|[a-z]{1,4}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_body_panics_and_what_is_accepted_is_read_back(
            kind in prop::sample::select(vec![Kind::Site, Kind::Resource, Kind::Capacity, Kind::Grant, Kind::Attestation]),
            values in prop::collection::vec(prop::option::of(any_json()), 12),
        ) {
            let fields: BTreeMap<_, _> = kind.slots().iter().map(|name| (*name).to_owned()).zip(values).collect();
            let accepted = check(&kind, &fields).is_ok();
            let again = |written: Fields| -> BTreeMap<_, _> { written.into_iter().map(|(k, v)| (k, Some(v))).collect() };
            macro_rules! round_trip { ($type:ty) => {
                if let Ok(read) = <$type>::read(&fields) {
                    let written = again(read.write());
                    let second = <$type>::read(&written).unwrap();
                    prop_assert_eq!(second.write(), read.write());
                } else {
                    prop_assert!(!accepted);
                }
            } }
            match kind {
                Kind::Site => round_trip!(Site),
                Kind::Resource => round_trip!(Resource),
                Kind::Capacity => round_trip!(Capacity),
                Kind::Attestation => round_trip!(Attestation),
                _ => round_trip!(Grant),
            }
        }
    }
}
