//! Names of things: newtypes over bytes, so a mesh cannot be passed where a site is meant.
//!
//! Display is the short form for people (first eight hex digits); `hex()` and serde give the full
//! form, `FromStr` reads only the full form. All hex is lower case.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// What is wrong with the text of an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a {what}: expected {digits} lower-case hex digits, got {got:?}")]
pub struct IdError {
    what: &'static str,
    digits: usize,
    got: String,
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Full form: lower-case hex.
            #[must_use]
            pub fn hex(&self) -> String {
                to_hex(&self.0)
            }

            /// From exactly the right number of bytes.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0[..4]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), to_hex(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                from_hex(text)
                    .and_then(|bytes| Self::from_slice(&bytes))
                    .ok_or_else(|| IdError {
                        what: $what,
                        digits: $len * 2,
                        got: text.chars().take(80).collect(),
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.hex())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

bytes_id!(
    /// A factory as a member: its root public key (Ed25519).
    SiteId, 32, "site id"
);
bytes_id!(
    /// The federation: SHA-256 of the founder's SiteId and a nonce.
    MeshId, 32, "mesh id"
);
bytes_id!(
    /// An audience, as the wire names it.
    CircleId, 16, "circle id"
);
bytes_id!(
    /// A SHA-256 digest (of a core, a leaf, a tree).
    Digest, 32, "digest"
);
bytes_id!(
    /// A node's transport public key (Ed25519), from which libp2p derives its PeerId.
    PeerKey, 32, "transport key"
);
bytes_id!(
    /// An invite, as its ticket and the inviter's list name it.
    InviteId, 16, "invite id"
);

impl Digest {
    /// SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl MeshId {
    /// The mesh that `founder` founds with `nonce`.
    #[must_use]
    pub fn found(founder: &SiteId, nonce: &[u8; 16]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"fmesh/found/v1\n");
        hash.update(founder.0);
        hash.update(nonce);
        Self(hash.finalize().into())
    }
}

impl CircleId {
    /// The circle of all members: plain records.
    pub const MESH_WIDE: Self = Self([0; 16]);
}

/// A described thing: a UUID, unique within its site and kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub uuid::Uuid);

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl ObjectId {
    /// From sixteen random bytes, as a version 4 UUID.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({})", self.0)
    }
}

impl FromStr for ObjectId {
    type Err = uuid::Error;
    /// Reads the hyphenated lower-case form only, so that an object has one spelling.
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        let id: uuid::Uuid = text.parse()?;
        if id.to_string() == text {
            Ok(Self(id))
        } else {
            "".parse().map(Self)
        }
    }
}

/// Fingerprint for people and `kid`: hex SHA-256 of the 32 raw public key bytes.
#[must_use]
pub fn fingerprint(public_key: &[u8; 32]) -> String {
    Digest::of(public_key).hex()
}

/// A fingerprint in groups of four, as people compare it.
#[must_use]
pub fn grouped(hex: &str) -> String {
    let mut out = String::with_capacity(hex.len() * 5 / 4);
    for (i, c) in hex.chars().enumerate() {
        if i > 0 && i % 4 == 0 {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// Lower-case hex.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        out.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    out
}

/// Reads lower-case hex; anything else is `None`.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    digits
        .chunks_exact(2)
        .map(|pair| Some(value(pair[0])? << 4 | value(pair[1])?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_form_is_read_back_and_nothing_else_is() {
        let site = SiteId([0xab; 32]);
        assert_eq!(site.hex().parse::<SiteId>(), Ok(site));
        assert_eq!(site.to_string(), "abababab");
        for bad in [
            "",
            "ab",
            &site.hex().to_uppercase(),
            &format!("{}0", site.hex()),
            "zz",
        ] {
            assert!(bad.parse::<SiteId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn object_ids_have_one_spelling() {
        let id = ObjectId::from_random([0xab; 16]);
        assert_eq!(id.to_string().parse::<ObjectId>().ok(), Some(id));
        assert!(id.to_string().to_uppercase().parse::<ObjectId>().is_err());
        assert!(id.0.simple().to_string().parse::<ObjectId>().is_err());
    }

    #[test]
    fn fingerprints_are_grouped() {
        assert_eq!(grouped("a3f109bc"), "a3f1 09bc");
    }
}
