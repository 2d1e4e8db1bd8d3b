//! Reads the payload in one pass, straight into its types.
//!
//! Its members come in the order of PROTOCOL section 3.1 and there are no others, so a duplicate or
//! a foreign member cannot hide. Whitespace is allowed; generic JSON writers put some.

use std::{borrow::Cow, cell::Cell, fmt, marker::PhantomData, str::FromStr};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Body, Claims, Fields, Hash, Payload, RecordError, SlotName, malformed};
use crate::{
    json::{self, Cause, JsonError, Strict},
    kinds::Kind,
    limits::{FEEDS_PER_RECORD_MAX, JSON_DEPTH_MAX, SLOTS_MAX},
};

/// Reads every member; what they say together is not judged yet.
pub(super) fn payload(text: &str) -> Result<Payload, RecordError> {
    let why = Why::default();
    json::read(text, PayloadSeed(&why)).map_err(|error| match why.disclosure.take() {
        Some(what) => RecordError::Disclosure(what),
        None => malformed(why.json.explain(&error).to_string()),
    })
}

/// Why reading stopped, where `serde_json` could only keep a text.
#[derive(Default)]
struct Why {
    json: Cause,
    disclosure: Cell<Option<String>>,
}

struct PayloadSeed<'w>(&'w Why);

impl<'de> DeserializeSeed<'de> for PayloadSeed<'_> {
    type Value = Payload;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Payload, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PayloadSeed<'_> {
    type Value = Payload;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the payload's object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload, A::Error> {
        let map = &mut map;
        if number(map, "v")? != 1 {
            return Err(A::Error::custom(
                "v is not 1: this record is of a newer version of the protocol",
            ));
        }
        let claims = Claims {
            mesh: nullable(map, "mesh")?,
            iss: text(map, "iss")?,
            log: u32::try_from(number(map, "log")?)
                .map_err(|_| A::Error::custom("log is too large"))?,
            seq: number(map, "seq")?,
            kind: text::<_, KindText>(map, "kind")?.0,
            id: text(map, "id")?,
            rev: number(map, "rev")?,
            prev: nullable(map, "prev")?,
            iat: number(map, "iat")?,
            retired: {
                name(map, "retired")?;
                map.next_value()?
            },
        };
        let Sha256Text = text(map, "_sd_alg")?;
        name(map, "feeds")?;
        let feeds = map.next_value_seed(Feeds)?;
        name(map, "body")?;
        let body = match claims.kind.is_plain() {
            true => Body::Plain(map.next_value_seed(Plain(self.0))?),
            false => Body::Slots(map.next_value_seed(Slots {
                why: self.0,
                known: claims.kind.slots(),
            })?),
        };
        match map.next_key::<String>()? {
            None => Ok(Payload {
                claims,
                feeds,
                body,
            }),
            Some(more) => Err(A::Error::custom(format_args!(
                "unexpected member {more:?} after body"
            ))),
        }
    }
}

/// The next member must be `expected`.
fn name<'de, A: MapAccess<'de>>(map: &mut A, expected: &'static str) -> Result<(), A::Error> {
    map.next_key_seed(Name(expected))?
        .ok_or_else(|| A::Error::custom(format_args!("member {expected:?} is missing")))
}

fn number<'de, A: MapAccess<'de>>(map: &mut A, expected: &'static str) -> Result<u64, A::Error> {
    name(map, expected)?;
    let number: u64 = map.next_value()?;
    match i64::try_from(number) {
        Ok(_) => Ok(number),
        Err(_) => Err(A::Error::custom(format_args!(
            "{expected} is larger than 2^63-1"
        ))),
    }
}

fn text<'de, A: MapAccess<'de>, T: FromStr<Err: fmt::Display>>(
    map: &mut A,
    expected: &'static str,
) -> Result<T, A::Error> {
    name(map, expected)?;
    map.next_value_seed(Text(PhantomData))
}

fn nullable<'de, A: MapAccess<'de>, T: FromStr<Err: fmt::Display>>(
    map: &mut A,
    expected: &'static str,
) -> Result<Option<T>, A::Error> {
    name(map, expected)?;
    map.next_value_seed(Nullable(PhantomData))
}

/// A member's name, without a copy.
struct Name(&'static str);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {:?}", self.0)
    }
    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        match name == self.0 {
            true => Ok(()),
            false => Err(E::custom(format_args!(
                "expected member {:?}, found {name:?}",
                self.0
            ))),
        }
    }
}

/// A string that reads as `T`, without a copy.
struct Text<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: fmt::Display>> DeserializeSeed<'de> for Text<T> {
    type Value = T;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// The same, or null.
struct Nullable<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: fmt::Display>> DeserializeSeed<'de> for Nullable<T> {
    type Value = Option<T>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Nullable<T> {
    type Value = Option<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or null")
    }
    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        Text(PhantomData).visit_str(text).map(Some)
    }
}

struct KindText(Kind);

impl FromStr for KindText {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Kind::try_from(text.to_owned()).map(Self)
    }
}

struct Sha256Text;

impl FromStr for Sha256Text {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sha-256" => Ok(Self),
            _ => Err("_sd_alg is not sha-256"),
        }
    }
}

/// `{"...":"<digest>"}`.
struct Hidden;

impl<'de> DeserializeSeed<'de> for Hidden {
    type Value = Hash;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Hash, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Hidden {
    type Value = Hash;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a hidden element {\"...\": digest}")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Hash, A::Error> {
        let hash = text(&mut map, "...")?;
        match map.next_key::<IgnoredAny>()? {
            None => Ok(hash),
            Some(_) => Err(A::Error::custom("a hidden element has one member only")),
        }
    }
}

/// `[{"...":"<digest>"}, ...]`.
struct Feeds;

impl<'de> DeserializeSeed<'de> for Feeds {
    type Value = Vec<Hash>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Hash>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Feeds {
    type Value = Vec<Hash>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of hidden feed positions")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<Hash>, A::Error> {
        let mut feeds = Vec::new();
        while let Some(hash) = array.next_element_seed(Hidden)? {
            if feeds.len() == FEEDS_PER_RECORD_MAX {
                return Err(A::Error::custom(format_args!(
                    "more than {FEEDS_PER_RECORD_MAX} feeds"
                )));
            }
            feeds.push(hash);
        }
        Ok(feeds)
    }
}

/// `{"<slot>":[{"...":"<digest>"}], ...}`.
struct Slots<'w> {
    why: &'w Why,
    known: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for Slots<'_> {
    type Value = Vec<(SlotName, Hash)>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Slots<'_> {
    type Value = Vec<(SlotName, Hash)>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of slots")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut slots: Vec<(SlotName, Hash)> = Vec::with_capacity(16);
        while let Some(name) = map.next_key_seed(AnyName(self.known))? {
            if slots.len() == SLOTS_MAX {
                return Err(A::Error::custom(format_args!(
                    "more than {SLOTS_MAX} slots"
                )));
            }
            if !is_member_name(&name) {
                return Err(A::Error::custom(format_args!(
                    "{name:?} is not a name for a slot"
                )));
            }
            if slots.iter().any(|(other, _)| *other == name) {
                return Err(self
                    .why
                    .json
                    .refuse(JsonError::Duplicate(name.into_owned())));
            }
            let hash = map.next_value_seed(Slot {
                why: self.why,
                name: &name,
            })?;
            slots.push((name, hash));
        }
        Ok(slots)
    }
}

/// A slot's name, without a copy if it is one of ours.
struct AnyName(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for AnyName {
    type Value = SlotName;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<SlotName, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for AnyName {
    type Value = SlotName;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a slot")
    }
    fn visit_str<E: Error>(self, name: &str) -> Result<SlotName, E> {
        let known = self.0.iter().find(|known| **known == name);
        Ok(known.map_or_else(
            || Cow::Owned(name.to_owned()),
            |known| Cow::Borrowed(*known),
        ))
    }
}

/// `[{"...":"<digest>"}]`: exactly one element.
struct Slot<'w> {
    why: &'w Why,
    name: &'w str,
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = Hash;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Hash, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Slot<'_> {
    type Value = Hash;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {} as an array of one hidden element", self.name)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Hash, A::Error> {
        let hash = array
            .next_element_seed(Hidden)?
            .ok_or_else(|| A::Error::custom(format_args!("slot {} is empty", self.name)))?;
        if array.next_element::<IgnoredAny>()?.is_some() {
            let what = format!("slot {} has more than one element", self.name);
            let error = A::Error::custom(&what);
            self.why.disclosure.set(Some(what));
            return Err(error);
        }
        Ok(hash)
    }
}

/// The members of a plain body.
struct Plain<'w>(&'w Why);

impl<'de> DeserializeSeed<'de> for Plain<'_> {
    type Value = Fields;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields, D::Error> {
        let members = Strict::new(JSON_DEPTH_MAX - 1, false, &self.0.json);
        let serde_json::Value::Object(members) = members.deserialize(deserializer)? else {
            return Err(D::Error::custom("a body is an object"));
        };
        match members.keys().find(|name| !is_member_name(name)) {
            None => Ok(members.into_iter().collect()),
            Some(name) => Err(D::Error::custom(format_args!(
                "{name:?} is not a name for a member of a body"
            ))),
        }
    }
}

/// A letter, then letters, digits, `_` and `-`: so never one of SD-JWT's own names.
fn is_member_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && name.len() <= MEMBER_NAME_BYTES_MAX
}

/// Longest slot name. Ours have at most thirteen letters.
const MEMBER_NAME_BYTES_MAX: usize = 64;
