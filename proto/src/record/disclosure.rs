//! Disclosures: what opens one hidden array element (RFC 9901 section 4.2.2).
//!
//! The text is kept as received and hashed as received, because base64url of JSON is not canonical:
//! two texts may say the same, and only the one that was signed counts.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Range};

use base64::Engine as _;
use rand_core::CryptoRng;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{BASE64URL, RecordError, decode_base64url};
use crate::{
    id::CircleId,
    json::{self, Cause, Made, Strict},
    limits::JSON_DEPTH_MAX,
};

/// base64url of the JSON array `[salt, value]`, kept as received.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Disclosure<'a>(Cow<'a, str>);

impl<'a> Disclosure<'a> {
    /// Hides `value` behind sixteen fresh random bytes.
    pub(super) fn hide(value: &Value, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut salt = [0; SALT_BYTES];
        rng.fill_bytes(&mut salt);
        let array = format!("[\"{}\",{value}]", BASE64URL.encode(salt));
        Self(BASE64URL.encode(array).into())
    }

    /// Text of the right alphabet from anyone.
    pub(super) fn from_text(text: &'a str) -> Self {
        Self(text.into())
    }

    pub(super) fn into_owned(self) -> Disclosure<'static> {
        Disclosure(self.0.into_owned().into())
    }

    /// The text, as hashed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// base64url SHA-256 of the ASCII text.
    #[must_use]
    pub fn digest(&self) -> String {
        BASE64URL.encode(self.hash().0)
    }

    /// The digest's bytes.
    pub(super) fn hash(&self) -> Hash {
        Hash(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The value, if this is base64url of `[salt, value]` with a salt of sixteen bytes and a value
    /// that hides nothing further.
    pub(super) fn open(&self) -> Result<Value, RecordError> {
        let mut bytes = Vec::new();
        Ok(self.read(&mut bytes)?.1)
    }

    /// Decodes into `bytes`, which are emptied first, and reads with every check.
    fn read<'b, M: Made>(&self, bytes: &'b mut Vec<u8>) -> Result<(&'b str, M), RecordError> {
        let refused = |what: String| RecordError::Disclosure(what);
        bytes.clear();
        BASE64URL
            .decode_vec(self.0.as_bytes(), bytes)
            .map_err(|error| refused(format!("not base64url: {error}")))?;
        let json = std::str::from_utf8(bytes).map_err(|error| refused(error.to_string()))?;
        let cause = Cause::default();
        let made = json::read(json, Salted::new(&cause))
            .map_err(|error| refused(cause.explain(&error).to_string()))?;
        Ok((json, made))
    }
}

/// The JSON of opened disclosures, each checked as [`Disclosure::open`] does. Values are made of it when somebody asks:
/// the kind's own type at once, JSON values rarely.
#[derive(Debug, Clone, Default)]
pub(super) struct Opened {
    json: String,
    scratch: Vec<u8>,
}

impl Opened {
    /// Opens one; where its JSON is.
    pub(super) fn open(
        &mut self,
        disclosure: &Disclosure<'_>,
    ) -> Result<Range<usize>, RecordError> {
        let (json, ()) = disclosure.read(&mut self.scratch)?;
        let first = self.json.len();
        self.json.push_str(json);
        Ok(first..self.json.len())
    }

    /// The value of one as `T`; what is wrong with it otherwise.
    pub(super) fn value<T: DeserializeOwned>(&self, at: &Range<usize>) -> Result<T, String> {
        match serde_json::from_str::<(IgnoredAny, T)>(&self.json[at.clone()]) {
            Ok((_, value)) => Ok(value),
            Err(error) => {
                let text = error.to_string();
                // Where in the hidden text it is says nothing to people.
                let what = text
                    .rsplit_once(" at line ")
                    .map(|(what, _)| what.to_owned());
                Err(what.unwrap_or(text))
            }
        }
    }
}

/// A digest in a core, as bytes; base64url in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hash(pub(super) [u8; 32]);

impl std::str::FromStr for Hash {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        decode_base64url(text)
            .map(Self)
            .ok_or("not a base64url SHA-256 digest")
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL.encode(self.0))
    }
}

/// What the disclosure of a feed position says.
pub(super) fn feed_value(circle: &CircleId, feed_seq: u64) -> Value {
    serde_json::json!([circle.hex(), feed_seq])
}

/// Reads `[CircleId, feed_seq]`; positions count from 1.
pub(super) fn read_feed(value: &Value) -> Result<(CircleId, u64), RecordError> {
    let position = match value.as_array().map(Vec::as_slice) {
        Some([Value::String(circle), Value::Number(feed_seq)]) => {
            circle.parse().ok().zip(feed_seq.as_u64())
        }
        _ => None,
    };
    position
        .filter(|(_, feed_seq)| *feed_seq > 0)
        .ok_or_else(|| {
            RecordError::Disclosure("a feed position is not [circle id, number from 1]".into())
        })
}

/// Reads `[salt, value]`, gives the value.
struct Salted<'c, M> {
    cause: &'c Cause,
    made: PhantomData<M>,
}

impl<'c, M> Salted<'c, M> {
    fn new(cause: &'c Cause) -> Self {
        Self {
            cause,
            made: PhantomData,
        }
    }
}

impl<'de, M: Made> DeserializeSeed<'de> for Salted<'_, M> {
    type Value = M;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<M, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, M: Made> Visitor<'de> for Salted<'_, M> {
    type Value = M;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array [salt, value]")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<M, A::Error> {
        let arity = || A::Error::custom("a disclosure is an array of two elements, salt and value");
        array.next_element_seed(Salt)?.ok_or_else(arity)?;
        let value = Strict::new(JSON_DEPTH_MAX - 1, false, self.cause);
        let value = array.next_element_seed(value)?.ok_or_else(arity)?;
        match array.next_element::<IgnoredAny>()? {
            None => Ok(value),
            Some(_) => Err(arity()),
        }
    }
}

/// Checks the salt, which says nothing.
struct Salt;

impl<'de> DeserializeSeed<'de> for Salt {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Salt {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a salt of sixteen bytes in base64url")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match decode_base64url::<SALT_BYTES>(text) {
            Some(_) => Ok(()),
            None => Err(E::custom("the salt is not sixteen bytes in base64url")),
        }
    }
}

const SALT_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn disclosure(json: &str) -> Disclosure<'static> {
        Disclosure(BASE64URL.encode(json).into())
    }

    fn vectors() -> Value {
        let text = include_str!("../../testdata/sd-jwt/disclosures.json");
        serde_json::from_str(text).expect("the vectors are JSON")
    }

    #[test]
    fn digests_are_those_of_rfc_9901() {
        let vectors = vectors();
        let pairs = vectors["vectors"].as_array().expect("a list of vectors");
        assert_eq!(pairs.len(), 2);
        for pair in pairs {
            let text = pair["disclosure"].as_str().expect("text");
            let opened = Disclosure(text.into());
            assert_eq!(opened.digest(), pair["sha256_b64url"], "{text}");
            assert_eq!(opened.hash().to_string(), pair["sha256_b64url"]);
            assert_eq!(opened.digest().parse(), Ok(opened.hash()));
        }
    }

    #[test]
    fn another_encoding_of_one_claim_has_another_digest() {
        let vectors = vectors();
        let others = vectors["same_claim_other_encodings_of_vector_0"]
            .as_array()
            .expect("a list");
        assert_eq!(others.len(), 3);
        for other in others {
            let other = Disclosure(other.as_str().expect("text").into());
            assert_ne!(other.digest(), vectors["vectors"][0]["sha256_b64url"]);
        }
    }

    #[test]
    fn array_elements_open_and_object_members_do_not() {
        let vectors = vectors();
        let text = |n: usize| {
            vectors["vectors"][n]["disclosure"]
                .as_str()
                .expect("text")
                .to_owned()
        };
        assert_eq!(
            Disclosure(text(1).into()).open(),
            Ok(vectors["vectors"][1]["decoded"][1].clone())
        );
        assert!(Disclosure(text(0).into()).open().is_err(), "three elements");
    }

    #[test]
    fn only_salt_and_value_open() {
        let salt = "AAAAAAAAAAAAAAAAAAAAAA";
        let deep = |n: usize| format!("[\"{salt}\",{}{}]", "[".repeat(n), "]".repeat(n));
        assert_eq!(
            disclosure(&format!("[\"{salt}\",null]")).open(),
            Ok(Value::Null)
        );
        assert!(disclosure(&deep(JSON_DEPTH_MAX - 1)).open().is_ok());
        for json in [
            String::new(),
            "[]".into(),
            format!("[\"{salt}\"]"),
            format!("[\"{salt}\",1,2]"),
            format!("[\"{salt}\",1] ") + "x",
            format!("[\"{salt}\",1.5]"),
            format!("[\"{salt}\",{{\"a\":1,\"a\":1}}]"),
            format!("[\"{salt}\",{{\"_sd\":[]}}]"),
            format!("[\"{salt}\",[{{\"...\":\"{salt}\"}}]]"),
            format!("[\"{}\",1]", &salt[1..]),
            format!("[\"{salt}AA\",1]"),
            format!("[\"{}B\",1]", &salt[1..]),
            "[\"\",1]".into(),
            "[null,1]".into(),
            format!("{{\"{salt}\":1}}"),
            deep(JSON_DEPTH_MAX),
        ] {
            assert!(
                matches!(disclosure(&json).open(), Err(RecordError::Disclosure(_))),
                "{json}"
            );
        }
        // One more than a multiple of four, and trailing bits that are not zero.
        for text in ["WyJB1", "WyJ=", "WyIiXR"] {
            assert!(Disclosure(text.into()).open().is_err(), "{text}");
        }
    }

    #[test]
    fn feed_positions_are_read_as_written() {
        let circle = CircleId([7; 16]);
        assert_eq!(read_feed(&feed_value(&circle, 3)), Ok((circle, 3)));
        for bad in [
            feed_value(&circle, 0),
            serde_json::json!([circle.hex()]),
            serde_json::json!([circle.hex(), 1, 1]),
            serde_json::json!([circle.hex(), -1]),
            serde_json::json!([circle.hex(), "1"]),
            serde_json::json!([circle.hex().to_uppercase() + "A", 1]),
            serde_json::json!({"circle": 1}),
            Value::Null,
        ] {
            assert!(read_feed(&bad).is_err(), "{bad}");
        }
    }
}
