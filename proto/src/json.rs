//! Strict JSON: no duplicate members, no floats, bounded depth.
//!
//! `serde_json` lets a later duplicate member win silently, and common JWT libraries do, too; then
//! two readers of one signed text can see two values. Everything signed is read through here:
//! whole texts by [`parse_strict`], single values inside a larger reading (`record`'s payload and
//! disclosures) by `Strict`.
//!
//! It knows nothing about records; that SD-JWT's own member names are refused is a switch.

use std::{cell::Cell, collections::BTreeMap, fmt, marker::PhantomData};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::limits::JSON_DEPTH_MAX;

/// Why a text is not acceptable JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON at all, or a float, or a number outside i64.
    #[error("not acceptable JSON: {0}")]
    Syntax(String),
    /// One object names a member twice.
    #[error("member {0:?} appears twice in one object")]
    Duplicate(String),
    /// Nested deeper than [`crate::limits::JSON_DEPTH_MAX`].
    #[error("nested too deeply")]
    Depth,
    /// A name that SD-JWT keeps for itself, where only values may stand.
    #[error("member name {0:?} is reserved by SD-JWT")]
    Reserved(String),
}

/// Parses with every refusal named in [`JsonError`], but the names of SD-JWT are allowed.
pub fn parse_strict(text: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(text).map_err(|error| JsonError::Syntax(error.to_string()))?;
    let cause = Cause::default();
    let seed = Strict::new(JSON_DEPTH_MAX, true, &cause);
    read(text, seed).map_err(|error| cause.explain(&error))
}

/// Reads one text to its end with `seed`.
pub(crate) fn read<'de, S: DeserializeSeed<'de>>(
    text: &'de str,
    seed: S,
) -> Result<S::Value, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

/// The reason of a refusal, kept beside `serde_json`'s error, which holds text only.
#[derive(Default)]
pub(crate) struct Cause(Cell<Option<JsonError>>);

impl Cause {
    /// Keeps `error` and gives it as the deserializer's own.
    pub(crate) fn refuse<E: Error>(&self, error: JsonError) -> E {
        let text = E::custom(&error);
        self.0.set(Some(error));
        text
    }

    /// The kept reason, or the syntax error that `serde_json` found.
    pub(crate) fn explain(&self, error: &serde_json::Error) -> JsonError {
        self.0
            .take()
            .unwrap_or_else(|| JsonError::Syntax(error.to_string()))
    }
}

/// What strict reading makes: a [`Value`], or nothing but the certainty that the text is acceptable.
pub(crate) trait Made: Sized {
    fn of(leaf: Value) -> Self;
    fn text(text: &str) -> Self;
    fn array(elements: Vec<Self>) -> Self;
    fn object(members: BTreeMap<String, Self>) -> Self;
}

impl Made for Value {
    fn of(leaf: Value) -> Self {
        leaf
    }
    fn text(text: &str) -> Self {
        text.into()
    }
    fn array(elements: Vec<Self>) -> Self {
        Self::Array(elements)
    }
    fn object(members: BTreeMap<String, Self>) -> Self {
        Self::Object(members.into_iter().collect())
    }
}

impl Made for () {
    fn of(_: Value) {}
    fn text(_: &str) {}
    fn array(_: Vec<Self>) {}
    fn object(_: BTreeMap<String, Self>) {}
}

/// Reads one value strictly.
pub(crate) struct Strict<'c, M> {
    /// How many arrays and objects may still be nested.
    depth: usize,
    /// Whether members may be called `_sd`, `_sd_alg` or `...`.
    sd_names: bool,
    /// Where the reason of a refusal goes.
    cause: &'c Cause,
    made: PhantomData<M>,
}

impl<M> Clone for Strict<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<M> Copy for Strict<'_, M> {}

impl<'c, M> Strict<'c, M> {
    pub(crate) fn new(depth: usize, sd_names: bool, cause: &'c Cause) -> Self {
        Self {
            depth,
            sd_names,
            cause,
            made: PhantomData,
        }
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(self.cause.refuse(JsonError::Depth)),
        }
    }
}

impl<'de, M: Made> DeserializeSeed<'de> for Strict<'_, M> {
    type Value = M;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<M, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, M: Made> Visitor<'de> for Strict<'_, M> {
    type Value = M;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without floats")
    }
    fn visit_unit<E: Error>(self) -> Result<M, E> {
        Ok(M::of(Value::Null))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<M, E> {
        Ok(M::of(Value::Bool(value)))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<M, E> {
        Ok(M::of(value.into()))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<M, E> {
        i64::try_from(value)
            .map(|value| M::of(value.into()))
            .map_err(|_| E::custom(format_args!("number {value} is larger than 2^63-1")))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<M, E> {
        Ok(M::text(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<M, A::Error> {
        let inner = self.deeper()?;
        let mut elements = Vec::new();
        while let Some(element) = array.next_element_seed(inner)? {
            elements.push(element);
        }
        Ok(M::array(elements))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<M, A::Error> {
        let inner = self.deeper()?;
        let mut members = BTreeMap::new();
        while let Some(name) = object.next_key::<String>()? {
            if !self.sd_names && matches!(name.as_str(), "_sd" | "_sd_alg" | "...") {
                return Err(self.cause.refuse(JsonError::Reserved(name)));
            }
            if members.contains_key(&name) {
                return Err(self.cause.refuse(JsonError::Duplicate(name)));
            }
            members.insert(name, object.next_value_seed(inner)?);
        }
        Ok(M::object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_as_written() {
        let text = br#" {"a":[1,-2,true,null,"\u00e4"],"_sd":{"...":""},"max":9223372036854775807,"min":-9223372036854775808} "#;
        let expected = json!({"a": [1, -2, true, null, "ä"], "_sd": {"...": ""}, "max": i64::MAX, "min": i64::MIN});
        assert_eq!(parse_strict(text), Ok(expected));
    }

    #[test]
    fn duplicates_are_refused_at_any_depth_and_in_any_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"[[{"b":{"a":1,"c":2,"a":3}}]]"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            assert_eq!(
                parse_strict(text.as_bytes()),
                Err(JsonError::Duplicate("a".into())),
                "{text}"
            );
        }
    }

    #[test]
    fn floats_and_numbers_outside_i64_are_refused() {
        for text in [
            "1.0",
            "1e3",
            "-0",
            "9223372036854775808",
            "-9223372036854775809",
            "[1E400]",
            "99999999999999999999",
        ] {
            assert!(
                matches!(parse_strict(text.as_bytes()), Err(JsonError::Syntax(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "{",
            "{} {}",
            "nul",
            "[1,]",
            "{\"a\":1,}",
            "'a'",
            "\"\\ud800\"",
            "NaN",
            "[1] x",
            "// c\n1",
            "01",
        ] {
            assert!(
                matches!(parse_strict(text.as_bytes()), Err(JsonError::Syntax(_))),
                "{text}"
            );
        }
        assert!(parse_strict(b"\"\xff\"").is_err());
        assert!(parse_strict(b"\xef\xbb\xbf1").is_err(), "a byte order mark");
    }

    #[test]
    fn depth_is_bounded() {
        let nested =
            |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            assert!(parse_strict(nested(open, close, JSON_DEPTH_MAX).as_bytes()).is_ok());
            for n in [JSON_DEPTH_MAX + 1, 100_000] {
                assert_eq!(
                    parse_strict(nested(open, close, n).as_bytes()),
                    Err(JsonError::Depth),
                    "{n}"
                );
            }
        }
    }

    #[test]
    fn names_of_sd_jwt_are_refused_where_asked() {
        for name in ["_sd", "_sd_alg", "..."] {
            let cause = Cause::default();
            let seed = Strict::<Value>::new(4, false, &cause);
            let error = read(&format!("[{{\"{name}\":1}}]"), seed).expect_err("reserved");
            assert_eq!(cause.explain(&error), JsonError::Reserved(name.into()));
        }
    }

    proptest! {
        #[test]
        fn a_check_alone_refuses_what_reading_refuses(text in r#"[\[\]{}",:a0-9. \\u-]{0,24}"#) {
            let (of_value, of_check) = (Cause::default(), Cause::default());
            let value = read(&text, Strict::<Value>::new(3, false, &of_value));
            let check = read(&text, Strict::<()>::new(3, false, &of_check));
            prop_assert_eq!(
                value.map(drop).map_err(|error| of_value.explain(&error)),
                check.map_err(|error| of_check.explain(&error))
            );
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_strict(&bytes);
        }

        #[test]
        fn agrees_with_serde_json_where_both_accept(text in r#"[\[\]{}",:a0-9. \\u-]{0,24}"#) {
            if let Ok(value) = parse_strict(text.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
            }
        }
    }
}
