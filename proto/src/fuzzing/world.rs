//! A fixed site with keys, a log and an invite, against which bytes are judged.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use crate::{
    audit::{
        TrustAnchors,
        fork::{Fork, samples},
    },
    circle::EpochKey,
    id::{CircleId, Digest, MeshId, ObjectId, PeerKey, SiteId},
    keys::{KeyHistory, OperatingKeys, PublicKey, RootKey, sign_manifest},
    kinds::Kind,
    membership::{Act, Membership},
    mesh::{
        Setup,
        issue::{Author, Item, Seal},
    },
    record::{Fields, View},
};

/// Secret of the invite.
pub(super) const SECRET: [u8; 16] = [3; 16];
/// Who invites.
pub(super) const INVITER: PeerKey = PeerKey([4; 32]);
/// A group circle and its key.
pub(super) const GROUP: (CircleId, [u8; 32]) = (CircleId([5; 16]), [6; 32]);

/// The site, and everything that it ever signed.
pub(super) struct World {
    pub(super) mesh: MeshId,
    pub(super) history: KeyHistory,
    pub(super) log_key: PublicKey,
    pub(super) transport: PeerKey,
    pub(super) cores: BTreeSet<Digest>,
    pub(super) leaves: Vec<Digest>,
    pub(super) roots: BTreeSet<Digest>,
    membership: Arc<Membership>,
    /// An auditor who trusts the site.
    pub(super) anchors: TrustAnchors,
    /// What another site and a witness are rightly accused of.
    pub(super) forks: Vec<Fork>,
    /// Every record with all that is in it, by leaf.
    pub(super) archives: Vec<View>,
    /// Samples; the first is the manifest.
    pub(super) views: Vec<View>,
    pub(super) publications: Vec<Vec<u8>>,
    pub(super) checkpoints: Vec<Vec<u8>>,
}

impl World {
    /// Somebody who knows the site and has nothing of it.
    pub(super) fn reader(&self) -> Setup {
        Setup {
            me: SiteId([8; 32]),
            mesh: self.mesh,
            boot_id: 1,
            seed: 1,
            software: String::new(),
            membership: Arc::clone(&self.membership),
            heads: Vec::new(),
            own_head: None,
            ask_own: Default::default(),
            cosigned: Vec::new(),
            forks: Vec::new(),
            feeds: Vec::new(),
            addresses: Vec::new(),
            own_record: None,
        }
    }
}

/// The same for every call and every process.
pub(super) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(make)
}

fn make() -> World {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let (root, keys) = (
        RootKey::from_bytes(&[1; 32]),
        OperatingKeys::from_seed(&[1; 32]),
    );
    let manifest = sign_manifest(&root, &keys.public(), 0, rng);
    let (history, _) = KeyHistory::from_manifest(&manifest).expect("signed a line ago");
    let mesh = MeshId::found(&root.site(), &[2; 16]);
    let author = Author {
        mesh,
        site: root.site(),
        keys: &keys,
        manifest: &manifest,
    };
    let found = Act::Found {
        nonce: [2; 16],
        name: "World".into(),
    };
    let pair = OperatingKeys::from_seed(&[7; 32]).public().boxed;
    let seals = BTreeMap::from([
        (GROUP.0, Seal::Group(1, EpochKey(GROUP.1))),
        (CircleId([9; 16]), Seal::Pairwise(pair)),
    ]);
    let everyone = [CircleId::MESH_WIDE];
    let all = [CircleId::MESH_WIDE, GROUP.0, CircleId([9; 16])];
    let resource = || Fields::from([("name".to_owned(), "Mill 3".into())]);
    let changes = [
        vec![item(1, Kind::Membership, found.write(), &everyone)],
        vec![item(2, Kind::Resource, resource(), &all)],
        vec![
            item(3, Kind::Resource, resource(), &all),
            item(4, Kind::Capacity, Fields::new(), &all[1..]),
        ],
    ];
    let mut world = World {
        mesh,
        log_key: keys.public().log,
        transport: keys.public().transport,
        cores: BTreeSet::new(),
        leaves: Vec::new(),
        roots: BTreeSet::new(),
        membership: Arc::default(),
        anchors: TrustAnchors::parse(format!("site {}\n", root.site().hex()).as_bytes())
            .expect("one good line"),
        forks: samples::proofs()
            .iter()
            .map(|proof| proof.verify().expect("it is one"))
            .collect(),
        archives: Vec::new(),
        views: Vec::new(),
        publications: Vec::new(),
        checkpoints: Vec::new(),
        history,
    };
    let (mut head, mut tails) = (None, BTreeMap::new());
    for items in changes {
        let issuance = author
            .issue(head.as_ref(), &mut tails, &seals, items, 0, rng)
            .expect("these records keep the rules");
        for signed in issuance.records {
            let core = signed.archive.core().as_bytes();
            world.cores.insert(Digest::of(core));
            world.leaves.push(crate::log::leaf_hash(core));
            let shown = signed.issued.and_then(|issued| {
                let (circle, _, slots) = signed.feeds.first()?;
                issued.view(circle, slots)
            });
            world.views.extend(shown);
            world.archives.push(signed.archive.clone());
            world.views.push(signed.archive);
        }
        for publication in issuance.publications {
            world.roots.insert(publication.checkpoint.root());
            world
                .checkpoints
                .push(publication.checkpoint.note().to_vec());
            world.publications.push(publication.bytes().to_vec());
        }
        head = Some(issuance.head);
    }
    world.membership = Arc::new(Membership::compute(&mesh, &world.views).0);
    world
}

fn item(n: u8, kind: Kind, fields: Fields, circles: &[CircleId]) -> Item {
    let slots: BTreeSet<String> = kind.slots().iter().map(|slot| (*slot).to_owned()).collect();
    Item {
        kind,
        id: ObjectId::from_random([n; 16]),
        rev: 1,
        prev: None,
        retired: false,
        fields,
        circles: circles
            .iter()
            .map(|circle| (*circle, slots.clone()))
            .collect(),
    }
}
