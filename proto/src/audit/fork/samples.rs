//! A site and a witness that say two things, for tests and for `fuzzing`.

use std::collections::BTreeMap;

use rand_core::SeedableRng as _;

use super::ForkProof;
use crate::{
    id::{CircleId, Digest, MeshId, ObjectId, SiteId},
    keys::{OperatingKeys, RootKey, SigningKey, sign_manifest},
    kinds::Kind,
    log::{Frontier, leaf_hash},
    note::{Checkpoint, Cosignature, SignatureType, VerifierKey},
    record::{Claims, Issued, View},
};

const MESH: MeshId = MeshId([3; 32]);
const CIRCLE: CircleId = CircleId([7; 16]);

/// A site that signs whatever it is asked to.
pub(crate) struct Site {
    keys: OperatingKeys,
    pub(crate) site: SiteId,
    manifest: View,
}

/// Nodes of a tree.
pub(crate) type Nodes = BTreeMap<(u8, u64), Digest>;

impl Site {
    pub(crate) fn new(seed: u8) -> Self {
        let root = RootKey::from_bytes(&[seed; 32]);
        let keys = OperatingKeys::from_seed(&[seed; 32]);
        let manifest = sign_manifest(&root, &keys.public(), 1, &mut rng());
        Self {
            keys,
            site: root.site(),
            manifest,
        }
    }

    pub(crate) fn keys(&self) -> [View; 1] {
        [self.manifest.clone()]
    }

    /// A log whose leaves are those of `texts`.
    pub(crate) fn log(&self, texts: &[&str]) -> (Checkpoint, Nodes) {
        let (mut frontier, mut nodes) = (Frontier::new(), Nodes::new());
        for text in texts {
            frontier.append(leaf_hash(text.as_bytes()), &mut |level, index, hash| {
                nodes.insert((level, index), hash);
            });
        }
        let origin = Checkpoint::origin_of(&MESH, &self.site);
        let size = frontier.size();
        let log = Checkpoint::sign(&origin, size, frontier.root(), self.keys.log());
        (log, nodes)
    }

    pub(crate) fn record(&self, seq: u64, feed: u64, retired: bool) -> View {
        let claims = Claims {
            mesh: Some(MESH),
            iss: self.site,
            log: 1,
            seq,
            kind: Kind::Site,
            id: ObjectId::from_random([9; 16]),
            rev: 1,
            prev: None,
            iat: 1,
            retired,
        };
        let feeds = [(CIRCLE, feed)];
        Issued::sign(
            claims,
            &Default::default(),
            &feeds,
            self.keys.record(),
            &mut rng(),
        )
        .expect("a record")
        .full_view()
    }
}

fn rng() -> rand_chacha::ChaCha20Rng {
    rand_chacha::ChaCha20Rng::from_seed([5; 32])
}

pub(crate) fn witness(byte: u8) -> (SigningKey, VerifierKey) {
    let key = SigningKey::from_bytes(&[byte; 32]);
    let name = Cosignature::name_of(&MESH, &SiteId([byte; 32]));
    let vkey = VerifierKey::new(&name, SignatureType::Cosignature, key.public()).expect("a name");
    (key, vkey)
}

pub(crate) fn cosigned(
    checkpoint: &Checkpoint,
    time: u64,
    witness: &(SigningKey, VerifierKey),
) -> Checkpoint {
    let line = Cosignature::sign(checkpoint, witness.1.name(), time, &witness.0).expect("signs");
    checkpoint.with_cosignature(&line).expect("fits")
}

/// One of each kind, by one site and one witness.
pub(crate) fn proofs() -> Vec<ForkProof> {
    let site = Site::new(41);
    let keys = site.keys();
    let (small, _) = site.log(&["a", "b", "c"]);
    let (other, _) = site.log(&["a", "b", "x"]);
    let (large, nodes) = site.log(&["a", "b", "x", "d", "e"]);
    let (one, two) = (site.record(1, 1, false), site.record(1, 2, true));
    let w = witness(50);
    vec![
        ForkProof::same_size(&keys, &small, &other),
        ForkProof::prefix(&keys, &small, &large, &nodes).expect("all nodes"),
        ForkProof::seq(&keys, &one, &two),
        ForkProof::feed(&keys, &one, &site.record(2, 1, false)).expect("disclosed"),
        ForkProof::leaf(&keys, &one, 1, &large, &nodes).expect("all nodes"),
        ForkProof::witness(
            &[],
            &w.1,
            &cosigned(&small, 5, &w),
            &cosigned(&other, 6, &w),
        ),
        ForkProof::witness(
            &[],
            &w.1,
            &cosigned(&large, 5, &w),
            &cosigned(&small, 6, &w),
        ),
    ]
}
