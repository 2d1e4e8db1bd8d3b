//! Strict JSON: no duplicate members, no floats, bounded depth.
//!
//! `serde_json` lets a later duplicate member win silently, and common JWT libraries do, too; then
//! two readers of one signed text can see two values. Everything signed is read through here:
//! whole texts by [`parse_strict`], single values inside a larger reading (`record`'s payload and
//! disclosures) by `Strict`.
//!
//! It knows nothing about records; that SD-JWT's own member names are refused is a switch.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

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
    let cause = Cause::default();
    let seed = Strict {
        depth: JSON_DEPTH_MAX,
        sd_names: true,
        cause: &cause,
    };
    read(text, seed).map_err(|error| cause.explain(&error))
}

/// Reads one text to its end with `seed`.
pub(crate) fn read<'de, S: DeserializeSeed<'de>>(
    text: &'de [u8],
    seed: S,
) -> Result<S::Value, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(text);
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

/// Reads one value strictly.
#[derive(Clone, Copy)]
pub(crate) struct Strict<'c> {
    /// How many arrays and objects may still be nested.
    pub(crate) depth: usize,
    /// Whether members may be called `_sd`, `_sd_alg` or `...`.
    pub(crate) sd_names: bool,
    /// Where the reason of a refusal goes.
    pub(crate) cause: &'c Cause,
}

impl Strict<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(self.cause.refuse(JsonError::Depth)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without floats")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value)
            .map(Value::from)
            .map_err(|_| E::custom(format_args!("number {value} is larger than 2^63-1")))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = array.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            if !self.sd_names && matches!(name.as_str(), "_sd" | "_sd_alg" | "...") {
                return Err(self.cause.refuse(JsonError::Reserved(name)));
            }
            if members.contains_key(&name) {
                return Err(self.cause.refuse(JsonError::Duplicate(name)));
            }
            members.insert(name, object.next_value_seed(inner)?);
        }
        Ok(Value::Object(members))
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
            let seed = Strict {
                depth: 4,
                sd_names: false,
                cause: &cause,
            };
            let error = read(format!("[{{\"{name}\":1}}]").as_bytes(), seed).expect_err("reserved");
            assert_eq!(cause.explain(&error), JsonError::Reserved(name.into()));
        }
    }

    proptest! {
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
