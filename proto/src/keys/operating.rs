//! The operating keys of one site, and what their secrets alone can tell.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{KeySet, SigningKey};
use crate::id::{CircleId, MeshId, PeerKey, SiteId};

/// The operating keys of one site, derived from one 32-byte seed by HKDF-SHA256, one label a role.
pub struct OperatingKeys {
    record: SigningKey,
    log: SigningKey,
    witness: SigningKey,
    transport: Zeroizing<[u8; 32]>,
    boxed: x25519_dalek::StaticSecret,
}

impl OperatingKeys {
    /// Derives all five: salt `fmesh/keys/v1`, info = role name.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let secret = |role: &str| {
            let mut secret = Zeroizing::new([0; 32]);
            derive(
                b"fmesh/keys/v1",
                seed,
                &[role.as_bytes()],
                secret.as_mut_slice(),
            );
            secret
        };
        Self {
            record: SigningKey::from_bytes(&secret("record")),
            log: SigningKey::from_bytes(&secret("log")),
            witness: SigningKey::from_bytes(&secret("witness")),
            transport: secret("transport"),
            boxed: (*secret("box")).into(),
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

    /// Secret of the libp2p identity.
    #[must_use]
    pub fn transport_secret(&self) -> &[u8; 32] {
        &self.transport
    }

    /// Secret half of the `box` key (X25519), for HPKE and pairwise circle names.
    #[must_use]
    pub fn box_secret(&self) -> &x25519_dalek::StaticSecret {
        &self.boxed
    }

    /// The public halves, as the manifest lists them.
    #[must_use]
    pub fn public(&self) -> KeySet {
        KeySet {
            record: self.record.public(),
            log: self.log.public(),
            witness: self.witness.public(),
            transport: PeerKey(*SigningKey::from_bytes(&self.transport).public().as_bytes()),
            boxed: x25519_dalek::PublicKey::from(&self.boxed).to_bytes(),
        }
    }
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
    let shared = own
        .boxed
        .diffie_hellman(&x25519_dalek::PublicKey::from(*other_box));
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

    /// record, log, witness, transport, box; computed with Python's `hmac` and OpenSSL.
    const SEED_OF_ONES: [&str; 5] = [
        "8321c91ce27bc9587c62af7e62a1f87a8e028bcd1eb4bbc7c3b8e495dc5a6985",
        "8038d24ed431d0dea1e85fde2a0c865f2a552c2f70f48a01104a0a1c033aea8b",
        "3f0479da7807b4b8246e416344a5cfa6103ee27e35792513cfa4f4130545f5ae",
        "2412a953b4b90bf090adff55b3f131191dcf277a727a8cbb84911ccdc512df9d",
        "eff80a1bf1909fcabd5ddc00e1ad5268a32bd0cfd161d5e5dbd2c72c56578e7b",
    ];
}
