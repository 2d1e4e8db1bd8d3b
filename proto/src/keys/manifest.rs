//! The key manifest: the plain `keys` record in which the root lists a site's five public keys.

use std::collections::BTreeMap;

use rand_core::CryptoRng;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{KeyError, PublicKey, RootKey};
use crate::{
    id::{CircleId, Digest, ObjectId, PeerKey, SiteId, from_hex, to_hex},
    kinds::Kind,
    record::{Claims, Fields, Issued, View},
};

/// The five public keys of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySet {
    /// Verifies records.
    pub record: PublicKey,
    /// Verifies checkpoints; the log's identity.
    pub log: PublicKey,
    /// Verifies cosignatures.
    pub witness: PublicKey,
    /// libp2p identity.
    pub transport: PeerKey,
    /// X25519 for HPKE; refused if it is of small order.
    pub boxed: [u8; 32],
}

impl KeySet {
    /// Reads the body of a `keys` record of `site`. Members of a newer version are ignored.
    pub fn read(site: &SiteId, body: &BTreeMap<String, Option<Value>>) -> Result<Self, KeyError> {
        let key = |role: &str| {
            let hex = body
                .get(role)
                .and_then(Option::as_ref)
                .and_then(Value::as_str);
            hex.and_then(from_hex)
                .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
                .ok_or_else(|| {
                    KeyError::Manifest(format!(
                        "key {role:?} is missing or not 64 lower-case hex digits"
                    ))
                })
        };
        let ed25519 = |role: &str| {
            PublicKey::from_bytes(&key(role)?)
                .map_err(|error| KeyError::Manifest(format!("key {role:?}: {error}")))
        };
        let set = Self {
            record: ed25519("record")?,
            log: ed25519("log")?,
            witness: ed25519("witness")?,
            transport: PeerKey(*ed25519("transport")?.as_bytes()),
            boxed: key("box")?,
        };
        set.check(site)?;
        Ok(set)
    }

    /// The body of a `keys` record.
    #[must_use]
    pub fn write(&self) -> Fields {
        let roles = self.roles();
        roles
            .map(|(role, key)| (role.to_owned(), to_hex(key).into()))
            .into()
    }

    fn roles(&self) -> [(&'static str, &[u8; 32]); 5] {
        [
            ("record", self.record.as_bytes()),
            ("log", self.log.as_bytes()),
            ("witness", self.witness.as_bytes()),
            ("transport", self.transport.as_bytes()),
            ("box", &self.boxed),
        ]
    }

    /// No key has two roles, the root's among them, and the box key can keep a secret.
    fn check(&self, site: &SiteId) -> Result<(), KeyError> {
        let mut all = vec![("root", site.as_bytes())];
        for (role, key) in self.roles() {
            if let Some((other, _)) = all.iter().find(|(_, other)| *other == key) {
                return Err(KeyError::Manifest(format!(
                    "roles {other} and {role} have the same key"
                )));
            }
            all.push((role, key));
        }
        match is_box_key(&self.boxed) {
            true => Ok(()),
            false => Err(KeyError::Manifest(
                "the box key is of small order or not in canonical form".into(),
            )),
        }
    }
}

/// Not of small order (then every shared secret is zero) and below the prime 2^255 - 19 (else it has a second spelling).
fn is_box_key(bytes: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = bytes;
    let beyond_prime =
        *high > 0x7f || (*high == 0x7f && middle.iter().all(|byte| *byte == 0xff) && *low >= 0xed);
    let probe = x25519_dalek::StaticSecret::from([1; 32]);
    !beyond_prime && probe.diffie_hellman(&(*bytes).into()).was_contributory()
}

/// The object that all `keys` records of `site` revise: derived from its id, as a UUID of version 8.
#[must_use]
pub fn manifest_id(site: &SiteId) -> ObjectId {
    let mut hash = Sha256::new();
    hash.update(b"fmesh/keys-object/v1\n");
    hash.update(site.as_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    let (id, _) = hash.split_first_chunk().expect("32 bytes begin with 16");
    ObjectId(uuid::Builder::from_custom_bytes(*id).into_uuid())
}

/// Leaf 0 of a log: a `keys` record that the root signs when the site is made, before it is in any
/// mesh (so its `mesh` is null), disclosed to all in the mesh-wide circle as feed position 1.
///
/// # Panics
/// If `keys` gives one key two roles, which the public halves of [`super::OperatingKeys`] never do.
pub fn sign_manifest(
    root: &RootKey,
    keys: &KeySet,
    iat: u64,
    rng: &mut (impl CryptoRng + ?Sized),
) -> View {
    let site = root.site();
    keys.check(&site)
        .expect("keys derived from a seed differ from each other and from the root");
    let claims = Claims {
        mesh: None,
        iss: site,
        log: 1,
        seq: 0,
        kind: Kind::Keys,
        id: manifest_id(&site),
        rev: 1,
        prev: None,
        iat: iat.min(i64::MAX.unsigned_abs()),
        retired: false,
    };
    Issued::sign(
        claims,
        &keys.write(),
        &[(CircleId::MESH_WIDE, 1)],
        root.key(),
        rng,
    )
    .expect("a first revision with five hex keys in its body is a record")
    .full_view()
}

/// What a further `keys` record has to say: new keys, and its place in the log that it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Leaf that it becomes; its keys count from the next one on.
    pub seq: u64,
    /// Its revision.
    pub rev: u64,
    /// Digest of the `keys` record before it.
    pub prev: Digest,
    /// Its position in the mesh-wide feed.
    pub position: u64,
    /// The new keys, with the log key of before.
    pub keys: KeySet,
}

/// The record of a rotation, signed by the root. Whether it fits its log, [`super::KeyHistory::rotate`] says.
///
/// # Errors
/// [`KeyError::Manifest`] if its place cannot be one of a rotation, or if one key would have two roles.
pub fn sign_rotation(
    root: &RootKey,
    rotation: &Rotation,
    iat: u64,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<View, KeyError> {
    let site = root.site();
    rotation.keys.check(&site)?;
    let claims = Claims {
        mesh: None,
        iss: site,
        log: 1,
        seq: rotation.seq,
        kind: Kind::Keys,
        id: manifest_id(&site),
        rev: rotation.rev,
        prev: Some(rotation.prev),
        iat: iat.min(i64::MAX.unsigned_abs()),
        retired: false,
    };
    let feeds = [(CircleId::MESH_WIDE, rotation.position)];
    Issued::sign(claims, &rotation.keys.write(), &feeds, root.key(), rng)
        .map(|issued| issued.full_view())
        .map_err(|error| KeyError::Manifest(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::OperatingKeys;

    fn site() -> SiteId {
        RootKey::from_bytes(&[9; 32]).site()
    }

    fn keys() -> KeySet {
        OperatingKeys::from_seed(&[1; 32]).public()
    }

    fn read(body: Fields) -> Result<KeySet, KeyError> {
        KeySet::read(
            &site(),
            &body
                .into_iter()
                .map(|(role, key)| (role, Some(key)))
                .collect(),
        )
    }

    #[test]
    fn a_body_reads_as_written() {
        assert_eq!(read(keys().write()), Ok(keys()));
        let mut newer = keys().write();
        newer.insert("attest".into(), "of a newer version".into());
        assert_eq!(read(newer), Ok(keys()));
    }

    #[test]
    fn each_role_needs_a_key_of_its_own() {
        let roles = ["record", "log", "witness", "transport", "box"];
        for role in roles {
            let mut body = keys().write();
            body.remove(role);
            assert!(
                matches!(read(body), Err(KeyError::Manifest(_))),
                "{role} missing"
            );
            let bad = [
                Value::Null,
                7.into(),
                "".into(),
                "ab".into(),
                "AB".repeat(32).into(),
                to_hex(&[0; 32]).into(),
            ];
            for bad in bad {
                let mut body = keys().write();
                body.insert(role.into(), bad.clone());
                assert!(
                    matches!(read(body), Err(KeyError::Manifest(_))),
                    "{role} {bad}"
                );
            }
            let mut body = keys().write();
            body.insert(role.into(), site().hex().into());
            let error = read(body).expect_err("the root's key").to_string();
            assert!(error.contains("roles root and"), "{error}");
            for other in roles.into_iter().filter(|other| *other != role) {
                let mut body = keys().write();
                let key = body[other].clone();
                body.insert(role.into(), key);
                assert!(
                    matches!(read(body), Err(KeyError::Manifest(_))),
                    "{role} = {other}"
                );
            }
        }
    }

    #[test]
    fn box_keys_without_a_secret_are_refused() {
        let mut refused = vec![[0; 32]];
        refused.push({
            let mut one = [0; 32];
            one[0] = 1;
            one
        });
        // The two points of order eight, p - 1, p, p + 1, 2p - 1, and a good key with the unused bit set.
        for hex in [
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "d9ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ] {
            refused.push(
                from_hex(hex)
                    .and_then(|bytes| bytes.try_into().ok())
                    .expect("32 bytes"),
            );
        }
        // Nine, the base point, is fine; its second spellings p + 9 and 9 with the unused bit are not.
        let mut nine = [0; 32];
        nine[0] = 9;
        assert!(is_box_key(&nine) && is_box_key(&keys().boxed));
        nine[31] = 0x80;
        refused.push(nine);
        let mut p_and_nine = [0xff; 32];
        (p_and_nine[0], p_and_nine[31]) = (0xf6, 0x7f);
        refused.push(p_and_nine);
        for key in refused {
            assert!(!is_box_key(&key), "{}", to_hex(&key));
        }
    }

    #[test]
    fn the_manifest_object_is_derived_from_the_site() {
        let id = manifest_id(&site());
        assert_eq!(id, manifest_id(&site()));
        assert_ne!(id, manifest_id(&SiteId([0; 32])));
        assert_eq!(id.0.get_version_num(), 8);
        assert_eq!(id.to_string().parse::<ObjectId>().ok(), Some(id));
    }
}
