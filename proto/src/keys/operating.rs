//! The operating keys of one site, and what their secrets alone can tell.
//!
//! A rotation draws a new seed. Three secrets of the seeds before stay of use ([`Kept`]): the log key for ever, as it is the log's
//! identity; box keys, to open what was sealed to them; the transport key, until partners can know the new one. The others are gone.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{KeySet, SigningKey};
use crate::{
    id::{CircleId, MeshId, PeerKey, SiteId},
    limits::BOX_KEYS_KEPT_MAX,
};

/// The operating keys of one site, derived from one 32-byte seed by HKDF-SHA256, one label a role.
pub struct OperatingKeys {
    record: SigningKey,
    log: SigningKey,
    witness: SigningKey,
    transport: Zeroizing<[u8; 32]>,
    /// The transport key of before, while it is the one in use.
    spoken: Option<Zeroizing<[u8; 32]>>,
    /// The box key, then those of before, newest first.
    boxes: Vec<x25519_dalek::StaticSecret>,
}

/// Secrets of earlier seeds that are still of use; zeroed when dropped, never printed.
#[derive(Default, Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Kept {
    /// Secret of the log key; `None` while the seed is the first one.
    pub log: Option<[u8; 32]>,
    /// Box secrets, newest first, at most [`BOX_KEYS_KEPT_MAX`].
    pub boxes: Vec<[u8; 32]>,
    /// The transport secret that is in use instead of the seed's own.
    pub transport: Option<[u8; 32]>,
}

impl Kept {
    /// What is kept when another seed follows `seed`, beside which `self` was kept.
    #[must_use]
    pub fn after(&self, seed: &[u8; 32]) -> Self {
        let mut boxes = vec![*secret(seed, "box")];
        boxes.extend(self.boxes.iter().take(BOX_KEYS_KEPT_MAX - 1));
        Self {
            log: self.log.or_else(|| Some(*secret(seed, "log"))),
            boxes,
            transport: self.transport.or_else(|| Some(*secret(seed, "transport"))),
        }
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept(..)")
    }
}

/// The secret of one role: salt `fmesh/keys/v1`, info = role name.
fn secret(seed: &[u8; 32], role: &str) -> Zeroizing<[u8; 32]> {
    let mut secret = Zeroizing::new([0; 32]);
    derive(
        b"fmesh/keys/v1",
        seed,
        &[role.as_bytes()],
        secret.as_mut_slice(),
    );
    secret
}

impl OperatingKeys {
    /// Derives all five from the first seed of a site.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::renewed(seed, &Kept::default())
    }

    /// Derives the keys of a later seed, with what is kept of those before it.
    #[must_use]
    pub fn renewed(seed: &[u8; 32], kept: &Kept) -> Self {
        let log = kept.log.map_or_else(|| secret(seed, "log"), Zeroizing::new);
        let mut boxes = vec![(*secret(seed, "box")).into()];
        boxes.extend(kept.boxes.iter().map(|kept| (*kept).into()));
        Self {
            record: SigningKey::from_bytes(&secret(seed, "record")),
            log: SigningKey::from_bytes(&log),
            witness: SigningKey::from_bytes(&secret(seed, "witness")),
            transport: secret(seed, "transport"),
            spoken: kept.transport.map(Zeroizing::new),
            boxes,
        }
    }

    /// Signs records.
    #[must_use]
    pub fn record(&self) -> &SigningKey {
        &self.record
    }

    /// Signs checkpoints.
    #[must_use]
    pub fn log(&self) -> &SigningKey {
        &self.log
    }

    /// Cosigns partners' checkpoints.
    #[must_use]
    pub fn witness(&self) -> &SigningKey {
        &self.witness
    }

    /// Secret of the libp2p identity that is in use.
    #[must_use]
    pub fn transport_secret(&self) -> &[u8; 32] {
        self.spoken.as_ref().unwrap_or(&self.transport)
    }

    /// The libp2p identity that is in use: the manifest's, or for a while after a rotation the one before.
    #[must_use]
    pub fn transport(&self) -> PeerKey {
        peer_key(self.transport_secret())
    }

    /// Secret half of the `box` key (X25519), for HPKE and pairwise circle names.
    #[must_use]
    pub fn box_secret(&self) -> &x25519_dalek::StaticSecret {
        &self.boxes[0]
    }

    /// The secret half of the `box` key, then those of before that are kept, newest first.
    pub fn box_secrets(&self) -> impl Iterator<Item = &x25519_dalek::StaticSecret> {
        self.boxes.iter()
    }

    /// The public halves, as the manifest lists them.
    #[must_use]
    pub fn public(&self) -> KeySet {
        KeySet {
            record: self.record.public(),
            log: self.log.public(),
            witness: self.witness.public(),
            transport: peer_key(&self.transport),
            boxed: x25519_dalek::PublicKey::from(self.box_secret()).to_bytes(),
        }
    }
}

fn peer_key(secret: &[u8; 32]) -> PeerKey {
    PeerKey(*SigningKey::from_bytes(secret).public().as_bytes())
}

impl std::fmt::Debug for OperatingKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatingKeys(..)")
    }
}

/// Name of the one-way circle `from -> to`, derived from the two box keys' shared secret so that nobody else learns who talks to whom.
///
/// Both sides compute the same name. `other_box` comes from an accepted [`KeySet`], so it is not of
/// small order; with such a key the name would be no secret.
#[must_use]
pub fn pairwise_circle(
    own: &OperatingKeys,
    other_box: &[u8; 32],
    mesh: &MeshId,
    from: &SiteId,
    to: &SiteId,
) -> CircleId {
    circle_of(own.box_secret(), other_box, mesh, from, to)
}

/// As [`pairwise_circle`], with the box key and with each one before that is kept, newest first: what was sealed to them comes late.
pub fn pairwise_circles(
    own: &OperatingKeys,
    other_box: &[u8; 32],
    mesh: &MeshId,
    from: &SiteId,
    to: &SiteId,
) -> impl Iterator<Item = CircleId> {
    own.box_secrets()
        .map(|secret| circle_of(secret, other_box, mesh, from, to))
}

fn circle_of(
    own: &x25519_dalek::StaticSecret,
    other_box: &[u8; 32],
    mesh: &MeshId,
    from: &SiteId,
    to: &SiteId,
) -> CircleId {
    let shared = own.diffie_hellman(&x25519_dalek::PublicKey::from(*other_box));
    let mut name = [0; CircleId::LEN];
    let info = [mesh.as_bytes().as_slice(), from.as_bytes(), to.as_bytes()];
    derive(
        b"fmesh/pairwise-circle/v1",
        shared.as_bytes(),
        &info,
        &mut name,
    );
    CircleId(name)
}

fn derive(salt: &[u8], secret: &[u8], info: &[&[u8]], out: &mut [u8]) {
    Hkdf::<Sha256>::new(Some(salt), secret)
        .expand_multi_info(info, out)
        .expect("HKDF-SHA256 gives up to 255 blocks of 32 bytes; here it is one");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::to_hex;

    #[test]
    fn one_seed_gives_the_same_keys_for_ever() {
        let keys = OperatingKeys::from_seed(&[1; 32]).public();
        let hex = [
            keys.record.as_bytes(),
            keys.log.as_bytes(),
            keys.witness.as_bytes(),
            &keys.transport.0,
            &keys.boxed,
        ]
        .map(|key| to_hex(key));
        assert_eq!(hex, SEED_OF_ONES);
        assert_ne!(
            OperatingKeys::from_seed(&[2; 32]).public().record,
            keys.record
        );
    }

    #[test]
    fn transport_secret_is_that_of_the_listed_key() {
        let keys = OperatingKeys::from_seed(&[1; 32]);
        let transport = SigningKey::from_bytes(keys.transport_secret()).public();
        assert_eq!(transport.as_bytes(), keys.public().transport.as_bytes());
        assert_eq!(
            x25519_dalek::PublicKey::from(keys.box_secret()).as_bytes(),
            &keys.public().boxed
        );
    }

    #[test]
    fn a_pair_names_its_circles_alike_and_nobody_else_does() {
        let [a, b, c] = [1, 2, 3].map(|n| OperatingKeys::from_seed(&[n; 32]));
        let [site_a, site_b] = [SiteId([10; 32]), SiteId([20; 32])];
        let [mesh, other_mesh] = [MeshId([5; 32]), MeshId([6; 32])];
        let name = pairwise_circle(&a, &b.public().boxed, &mesh, &site_a, &site_b);
        assert_eq!(
            name,
            pairwise_circle(&b, &a.public().boxed, &mesh, &site_a, &site_b)
        );
        for other in [
            pairwise_circle(&a, &b.public().boxed, &mesh, &site_b, &site_a),
            pairwise_circle(&a, &b.public().boxed, &other_mesh, &site_a, &site_b),
            pairwise_circle(&c, &b.public().boxed, &mesh, &site_a, &site_b),
            pairwise_circle(&a, &c.public().boxed, &mesh, &site_a, &site_b),
            CircleId::MESH_WIDE,
        ] {
            assert_ne!(name, other);
        }
    }

    #[test]
    fn a_new_seed_keeps_the_log_key_the_boxes_of_before_and_for_a_while_the_transport_key() {
        let first = OperatingKeys::from_seed(&[1; 32]);
        let kept = Kept::default().after(&[1; 32]);
        let second = OperatingKeys::renewed(&[2; 32], &kept);
        let (one, two) = (first.public(), second.public());
        assert_eq!(two.log, one.log);
        assert_ne!(two.record, one.record);
        assert_ne!(two.witness, one.witness);
        assert_ne!(two.boxed, one.boxed);
        assert_ne!(two.transport, one.transport);
        assert_eq!(second.transport(), one.transport, "still in use");
        // The same again, and the transport key of the first is still the one in use.
        let later = kept.after(&[2; 32]);
        let third = OperatingKeys::renewed(&[3; 32], &later);
        assert_eq!(third.public().log, one.log);
        assert_eq!(third.transport(), one.transport);
        let boxes: Vec<_> = third
            .box_secrets()
            .map(|secret| x25519_dalek::PublicKey::from(secret).to_bytes())
            .collect();
        assert_eq!(boxes, [third.public().boxed, two.boxed, one.boxed]);
        let mut known = later.clone();
        known.transport = None;
        let third = OperatingKeys::renewed(&[3; 32], &known);
        assert_eq!(third.transport(), third.public().transport);
        assert_eq!(format!("{known:?}"), "Kept(..)");
    }

    #[test]
    fn boxes_of_before_are_kept_within_a_bound() {
        let mut kept = Kept::default();
        for n in 0..40 {
            kept = kept.after(&[n; 32]);
        }
        assert_eq!(kept.boxes.len(), BOX_KEYS_KEPT_MAX);
        let last = OperatingKeys::from_seed(&[39; 32]);
        assert_eq!(kept.boxes[0], last.box_secret().to_bytes(), "the newest");
    }

    #[test]
    fn a_pair_finds_its_circle_also_where_one_side_does_not_know_the_others_new_key() {
        let [mesh, a, b] = [MeshId([5; 32]), MeshId([6; 32]), MeshId([7; 32])];
        let (site_a, site_b) = (SiteId(a.0), SiteId(b.0));
        let (old, other) = ([1; 32], OperatingKeys::from_seed(&[9; 32]));
        let new = OperatingKeys::renewed(&[2; 32], &Kept::default().after(&old));
        let theirs = other.public().boxed;
        // The other one seals to the old key still.
        let stale = OperatingKeys::from_seed(&old).public().boxed;
        let name = pairwise_circle(&other, &stale, &mesh, &site_b, &site_a);
        let found: Vec<_> = pairwise_circles(&new, &theirs, &mesh, &site_b, &site_a).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], name);
        assert_eq!(
            found[0],
            pairwise_circle(&new, &theirs, &mesh, &site_b, &site_a)
        );
    }

    /// record, log, witness, transport, box; computed with Python's `hmac` and OpenSSL.
    const SEED_OF_ONES: [&str; 5] = [
        "8321c91ce27bc9587c62af7e62a1f87a8e028bcd1eb4bbc7c3b8e495dc5a6985",
        "8038d24ed431d0dea1e85fde2a0c865f2a552c2f70f48a01104a0a1c033aea8b",
        "3f0479da7807b4b8246e416344a5cfa6103ee27e35792513cfa4f4130545f5ae",
        "2412a953b4b90bf090adff55b3f131191dcf277a727a8cbb84911ccdc512df9d",
        "eff80a1bf1909fcabd5ddc00e1ad5268a32bd0cfd161d5e5dbd2c72c56578e7b",
    ];
}
