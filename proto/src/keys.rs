//! A site's keys: one root that names it, five operating keys from one seed, and the manifest that
//! binds them. PROTOCOL section 2.
//!
//! ```text
//! recovery words ─► RootKey ── names ──► SiteId
//!                      └ signs the manifest (leaf 0), which lists the public halves of
//! seed ── HKDF-SHA256 ─► OperatingKeys: record, log, witness, transport, box
//! ```
//!
//! A rotation is a further `keys` record for a new seed ([`Rotation`], signed by the root): four new keys, and the log key
//! of the first seed. What a thief of each key can do, and what helps, stands in SECURITY.md, a row for each key; the
//! tests named there are in `theft`.
//!
//! Every key from outside passes the enrolment check of [`PublicKey::from_bytes`], and every
//! signature anywhere is checked by [`PublicKey::verify`], which is `verify_strict`. With a key of
//! small order one signature fits many messages, so a site could deny what it signed; batch
//! verification is not used, because on such cases its answer depends on the rest of the batch.
//!
//! Which key counts is a matter of the leaf index ([`KeyHistory`]), never of a clock. This module
//! does not know where secrets are kept.

use crate::id::SiteId;

mod history;
mod manifest;
mod operating;
#[cfg(test)]
mod theft;

pub use history::KeyHistory;
pub use manifest::{KeySet, Rotation, manifest_id, sign_manifest, sign_rotation};
pub use operating::{Kept, OperatingKeys, pairwise_circle, pairwise_circles};

/// Why a key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a point, of small order, or not in canonical form.
    #[error("not an acceptable Ed25519 public key (weak or not canonical)")]
    Weak,
    /// The signature does not verify under `verify_strict`.
    #[error("signature does not match")]
    Signature,
    /// A manifest that lists one key for two roles, or lacks one.
    #[error("key manifest is not acceptable: {0}")]
    Manifest(String),
}

/// An Ed25519 public key that passed enrolment: a canonical point, not weak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Enrolment check: `from_bytes`, not weak, canonical.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Weak)?;
        // `from_bytes` takes second spellings of a point; compressing it again gives the one spelling.
        let canonical = key.to_edwards().compress().as_bytes() == bytes;
        if key.is_weak() || !canonical {
            return Err(KeyError::Weak);
        }
        Ok(Self(key))
    }

    /// The raw 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// `verify_strict`, the only rule anywhere.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), KeyError> {
        let strict = || {
            let signature = ed25519_dalek::Signature::from_bytes(signature);
            self.0.verify_strict(message, &signature).is_ok()
        };
        #[cfg(any(test, feature = "sim"))]
        let good = crate::sim::once(self.as_bytes(), message, signature, strict);
        #[cfg(not(any(test, feature = "sim")))]
        let good = strict();
        good.then_some(()).ok_or(KeyError::Signature)
    }

    /// Hex SHA-256 of the raw key: fingerprint and `kid`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        crate::id::fingerprint(self.as_bytes())
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", &self.fingerprint()[..8])
    }
}

/// A signing key; zeroed when dropped, never printed.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// From the 32 secret bytes.
    #[must_use]
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(secret))
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        use ed25519_dalek::Signer as _;
        self.0.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", &self.public().fingerprint()[..8])
    }
}

/// The root key: names the site, signs manifests, does not stay on the node.
#[derive(Debug)]
pub struct RootKey(SigningKey);

impl RootKey {
    /// From 32 secret bytes (16 words or 24 words of entropy are the node's matter).
    #[must_use]
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// The site it names.
    #[must_use]
    pub fn site(&self) -> SiteId {
        SiteId(*self.0.public().as_bytes())
    }

    /// The signing key.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::id::from_hex;

    fn bytes<const N: usize>(hex: &Value) -> Option<[u8; N]> {
        from_hex(hex.as_str()?)?.try_into().ok()
    }

    /// Key, message, signature as outside bytes: enrolment, then the strict check.
    fn accepted(key: &Value, message: &[u8], signature: &Value) -> bool {
        let Some(signature) = bytes(signature) else {
            return false;
        };
        let key = PublicKey::from_bytes(&bytes(key).expect("32 bytes"));
        key.is_ok_and(|key| key.verify(message, &signature).is_ok())
    }

    #[test]
    fn wycheproof_agrees_in_all_cases() {
        let vectors: Value =
            serde_json::from_str(include_str!("../testdata/wycheproof/ed25519_test.json"))
                .expect("JSON");
        let (mut cases, mut valid) = (0, 0);
        for group in vectors["testGroups"].as_array().expect("groups") {
            for case in group["tests"].as_array().expect("tests") {
                let message = from_hex(case["msg"].as_str().expect("text")).expect("hex");
                let expected = case["result"] == "valid";
                assert_eq!(
                    accepted(&group["publicKey"]["pk"], &message, &case["sig"]),
                    expected,
                    "{case}"
                );
                cases += 1;
                valid += usize::from(expected);
            }
        }
        assert_eq!((cases, valid), (151, 88));
    }

    #[test]
    fn cctv_edge_cases_are_judged_strictly() {
        let vectors: Value =
            serde_json::from_str(include_str!("../testdata/cctv-ed25519/ed25519vectors.json"))
                .expect("JSON");
        let vectors = vectors.as_array().expect("a list");
        // A component of low order that cancels is all that strictness lets pass.
        let harmless = BTreeSet::from(["low_order_component_A", "low_order_component_R"]);
        let mut count = 0;
        for case in vectors {
            let flags = case["flags"].as_array().map_or(&[][..], Vec::as_slice);
            let expected = flags
                .iter()
                .all(|flag| flag.as_str().is_some_and(|flag| harmless.contains(flag)));
            let message = case["msg"].as_str().expect("text").as_bytes();
            let got = accepted(&case["key"], message, &case["sig"]);
            assert_eq!(got, expected, "{case}");
            count += usize::from(got);
        }
        assert_eq!((vectors.len(), count), (914, 43));
    }

    #[test]
    fn weak_and_second_spellings_are_not_enrolled() {
        for hex in [
            // Of small order.
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            // Small order, spelled with x = -0 or y > p.
            "0100000000000000000000000000000000000000000000000000000000000080",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            // y = p + 3 and p + 4, not of small order where they are points.
            "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "f1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            // Not a point.
            "0200000000000000000000000000000000000000000000000000000000000000",
        ] {
            let bytes = from_hex(hex)
                .and_then(|bytes| bytes.try_into().ok())
                .expect("32 bytes");
            assert_eq!(PublicKey::from_bytes(&bytes), Err(KeyError::Weak), "{hex}");
        }
        let key = SigningKey::from_bytes(&[7; 32]).public();
        assert_eq!(PublicKey::from_bytes(key.as_bytes()), Ok(key));
    }

    #[test]
    fn secrets_are_not_printed() {
        let secret = [0xab; 32];
        let root = format!("{:?}", RootKey::from_bytes(&secret));
        assert!(!root.contains("abab") && !root.contains("171"), "{root}");
        let keys = OperatingKeys::from_seed(&secret);
        assert_eq!(format!("{keys:?}"), "OperatingKeys(..)");
    }
}
