//! JSON forms that have one spelling.
//!
//! Derived readers are laxer than a format for several implementations may be: they take `["DE"]` for an object
//! whose first member is `country`, and `{"Site": null}` for the word `Site`. Two readers of one signed text
//! would then differ. `words!` makes enumerations that are strings and nothing else; `objects!` makes structs
//! that are objects and nothing else.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// An enumeration of fixed words: `FromStr`, `Display` and serde all use the same text.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant),+ }
        impl $name {
            /// Every word, in the order of RECORDS.md.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    let shown: String = text.chars().take(40).collect();
                    format!("unknown word {shown:?}: use one of {}", [$($word),+].join(", "))
                })
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::quantity::deserialize_text(deserializer, concat!("one of", $(" ", $word),+))
            }
        }
    };
}

/// Serde for structs that derive it with `#[serde(remote = "Self")]`: written as derived, read from objects only.
macro_rules! objects {
    ($($name:ident),+) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::kinds::form::read_object(deserializer)
            }
        }
        impl $crate::kinds::form::Object for $name {
            fn from_members<'de, M: serde::de::MapAccess<'de>>(
                members: serde::de::value::MapAccessDeserializer<M>,
            ) -> Result<Self, M::Error> {
                Self::deserialize(members)
            }
        }
    )+};
}
pub(super) use {objects, words};

/// A struct whose derived reader is `from_members`.
pub(super) trait Object: Sized {
    /// The derived reader, over the members of an object.
    fn from_members<'de, M: MapAccess<'de>>(
        members: MapAccessDeserializer<M>,
    ) -> Result<Self, M::Error>;
}

/// Reads an object; anything else is refused.
pub(super) fn read_object<'de, D: Deserializer<'de>, T: Object>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Members<T>(PhantomData<T>);
    impl<'de, T: Object> Visitor<'de> for Members<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<M: MapAccess<'de>>(self, members: M) -> Result<T, M::Error> {
            T::from_members(MapAccessDeserializer::new(members))
        }
    }
    deserializer.deserialize_map(Members(PhantomData))
}
