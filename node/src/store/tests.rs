//! The store by itself: what is committed is read back, in order, after opening again, and damage is named.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use fmesh_proto::{
    circle::{Audience, Circle, History},
    id::{CircleId, Digest, InviteId, MeshId, ObjectId, PeerKey, SiteId},
    keys::SigningKey,
    kinds::Kind,
    log::{Frontier, Nodes as _, frontier_at, leaf_hash, prove_inclusion, verify_inclusion},
    membership::Role,
    note::Checkpoint,
    publication::Publication,
    record::{Claims, Fields, Issued, View},
};
use serde_json::json;

use super::*;

const MESH: MeshId = MeshId([9; 32]);
const CIRCLE: CircleId = CircleId([3; 16]);

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path()).expect("opens")
}

fn id(n: u8) -> ObjectId {
    ObjectId::from_random([n; 16])
}

/// A site that writes capacity records: object n % 7 at leaf n.
struct Log {
    site: SiteId,
    key: SigningKey,
    frontier: Frontier,
    views: Vec<View>,
    revisions: BTreeMap<ObjectId, (u64, Digest)>,
}

impl Log {
    fn new(seed: u8) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        Self {
            site: SiteId(*key.public().as_bytes()),
            key,
            frontier: Frontier::new(),
            views: Vec::new(),
            revisions: BTreeMap::new(),
        }
    }

    fn sign(&mut self) -> View {
        let seq = self.frontier.size();
        let id = id((seq % 7) as u8);
        let before = self.revisions.get(&id).copied();
        let claims = Claims {
            mesh: Some(MESH),
            iss: self.site,
            log: 1,
            seq,
            kind: Kind::Capacity,
            id,
            rev: before.map_or(1, |(rev, _)| rev + 1),
            prev: before.map(|(_, core)| core),
            iat: 1_790_000_000 + seq,
            retired: false,
        };
        let rev = claims.rev;
        let fields = Fields::from([("name".to_owned(), json!(format!("leaf {seq}")))]);
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let feeds = [(CIRCLE, seq + 1)];
        let issued = Issued::sign(claims, &fields, &feeds, &self.key, &mut rng).expect("signs");
        let core = Digest::of(issued.core().as_bytes());
        self.revisions.insert(id, (rev, core));
        issued.full_view()
    }

    fn checkpoint(&self) -> Checkpoint {
        let origin = Checkpoint::origin_of(&MESH, &self.site);
        Checkpoint::sign(
            &origin,
            self.frontier.size(),
            self.frontier.root(),
            &self.key,
        )
    }

    /// Writes `count` records and the publication of them, as `writer` does.
    fn write(&mut self, count: u64, changes: &mut Changes) -> Publication {
        let before = self.frontier.clone();
        let mut leaves = Vec::new();
        for seq in before.size()..before.size() + count {
            let view = self.sign();
            let leaf = leaf_hash(view.core().as_bytes());
            let site = self.site;
            self.frontier.append(leaf, &mut |level, index, hash| {
                changes.put_node(&site, level, index, &hash);
            });
            changes.put_record(&site, seq, &view, 1_800_000_000 + seq);
            changes.put_current(&site, &Kind::Capacity, &id((seq % 7) as u8), seq);
            let entry = FeedEntry {
                feed_seq: seq + 1,
                seq,
                kind: Kind::Capacity,
                id: id((seq % 7) as u8),
                slots: BTreeSet::from(["name".to_owned()]),
            };
            changes.put_feed_entry(&CIRCLE, &entry);
            leaves.push(leaf);
            self.views.push(view);
        }
        let checkpoint = self.checkpoint();
        let head = Head {
            frontier: self.frontier.clone(),
            checkpoint: checkpoint.clone(),
        };
        changes.put_head(&self.site, &head);
        let publication = Publication::build(
            self.site,
            checkpoint,
            before,
            leaves,
            Vec::new(),
            Vec::new(),
            &self.key,
        )
        .expect("builds");
        let from = publication.from();
        changes.put_publication(&self.site, from, publication.bytes(), 1_000 * from);
        publication
    }

    fn commit(&mut self, store: &Store, count: u64) -> Publication {
        let mut changes = Changes::new();
        let publication = self.write(count, &mut changes);
        store.commit(changes).expect("commits");
        publication
    }
}

/// A store with 100 leaves of one site in publications of 1 to 9 leaves.
fn filled() -> (tempfile::TempDir, Store, Log, Vec<Publication>) {
    let dir = temp();
    let store = open(&dir);
    let mut log = Log::new(1);
    let mut publications = Vec::new();
    while log.frontier.size() < 100 {
        let count = (1 + publications.len() as u64 % 9).min(100 - log.frontier.size());
        publications.push(log.commit(&store, count));
    }
    (dir, store, log, publications)
}

fn object(n: u8, key: &str) -> LocalObject {
    LocalObject {
        kind: Kind::Resource,
        id: id(n),
        key: key.to_owned(),
        fields: Fields::from([("name".to_owned(), json!(key))]),
        retired: false,
        updated: 7,
    }
}

fn circle() -> Circle {
    Circle {
        id: CIRCLE,
        name: "buyers".into(),
        audience: Audience::MeshWide,
        rules: Vec::new(),
        purpose: None,
        until: None,
        history: Default::default(),
        on_end: Default::default(),
    }
}

/// Every table at once.
fn private(changes: &mut Changes) {
    let other = SiteId([5; 32]);
    changes.put_meta(&Meta {
        mesh: Some(MESH),
        mesh_name: Some("Nord".into()),
        joining: Some(Joining {
            ticket: "fmesh1x".into(),
            since: 3,
            phase: JoinPhase::Waiting,
            answer: Some("a person there decides".into()),
        }),
        ..Meta::default()
    });
    changes.put_object(&object(1, "DMU-80"));
    changes.put_circle(&circle());
    changes.put_circle_secret(
        &CIRCLE,
        &CircleSecret {
            epoch: 2,
            key: "ab".repeat(32),
            granted: BTreeMap::from([(other, CIRCLE)]),
            entered: BTreeMap::from([(
                other,
                Entry {
                    after: 40,
                    history: History::All,
                },
            )]),
        },
    );
    changes.put_issue(
        &Kind::Resource,
        &id(1),
        &Issue {
            circles: BTreeMap::from([(CIRCLE, BTreeSet::from(["name".to_owned()]))]),
            ..Issue::default()
        },
    );
    changes.put_feed_position(&other, &CIRCLE, 41);
    for n in 0..70 {
        changes.put_feed_ack(&CIRCLE, &other, n, 100 + n);
    }
    for epoch in [1, 2, 300] {
        changes.put_epoch_key(&other, &CIRCLE, epoch, &[epoch as u8; 32]);
    }
    for (n, created) in [(1, 10), (2, 30), (3, 20)] {
        changes.put_invite(&Invite {
            id: InviteId([n; 16]),
            secret: "cd".repeat(16),
            created,
            expires: 99,
            uses: 1,
            role: Role::Member,
            note: None,
            circles: vec!["buyers".into()],
            auto_approve: false,
            revoked: None,
            used_by: vec![(other, 50)],
            addresses: Vec::new(),
        });
    }
    changes.put_pending(&PendingJoin {
        site: other,
        peer: PeerKey([6; 32]),
        invite: InviteId([1; 16]),
        name: "Bolt".into(),
        manifest: "x~".into(),
        addresses: Vec::new(),
        since: 60,
        refused: false,
    });
    let addresses = vec!["/ip4/192.0.2.1/tcp/4001".to_owned()];
    changes.put_addresses(&fmesh_proto::directory::hint(&other, addresses));
    changes.put_refusal(&refusal(1, "bad signature", 5));
}

fn refusal(site: u8, reason: &str, at: u64) -> Refusal {
    Refusal {
        site: SiteId([site; 32]),
        seq: Some(at),
        reason: reason.to_owned(),
        at,
        count: 1,
    }
}

fn check_private(store: &Store) {
    let other = SiteId([5; 32]);
    let meta = store.meta().expect("reads");
    assert_eq!(
        (meta.mesh, meta.joining.map(|j| j.since)),
        (Some(MESH), Some(3))
    );
    let found = store
        .object_by_key(&Kind::Resource, "DMU-80")
        .expect("reads");
    assert_eq!(found, Some(object(1, "DMU-80")));
    assert_eq!(store.objects(None).expect("reads").len(), 1);
    assert_eq!(store.objects(Some(&Kind::Capacity)).expect("reads"), []);
    assert_eq!(store.circles().expect("reads"), [circle()]);
    let secret = store
        .circle_secret(&CIRCLE)
        .expect("reads")
        .expect("is there");
    assert_eq!(
        (secret.epoch, secret.granted),
        (2, BTreeMap::from([(other, CIRCLE)]))
    );
    let issue = store
        .issue(&Kind::Resource, &id(1))
        .expect("reads")
        .expect("is there");
    assert!(issue.circles[&CIRCLE].contains("name"));
    assert_eq!(store.feed_position(&other, &CIRCLE).expect("reads"), 41);
    assert_eq!(
        store.feed_positions().expect("reads"),
        [(other, CIRCLE, 41)]
    );
    assert_eq!(store.feed_ack(&CIRCLE, &other).expect("reads"), 69);
    let acks = store.feed_acks(&CIRCLE, &other).expect("reads");
    assert_eq!((acks.len(), acks[0], acks[63]), (64, (6, 106), (69, 169)));
    assert_eq!(
        store.epoch_key(&other, &CIRCLE, 2).expect("reads"),
        Some([2; 32])
    );
    assert_eq!(
        store.granted_circles().expect("reads"),
        [(other, CIRCLE, 300)]
    );
    let invites = store.invites().expect("reads");
    let created: Vec<u64> = invites.iter().map(|invite| invite.created).collect();
    assert_eq!(created, [30, 20, 10], "newest first");
    assert_eq!(store.pending().expect("reads")[0].name, "Bolt");
    assert_eq!(store.addresses().expect("reads")[&other].address.len(), 1);
    assert_eq!(
        store.refusals().expect("reads"),
        [refusal(1, "bad signature", 5)]
    );
}

#[test]
fn everything_is_there_after_opening_again() {
    let (dir, store, log, publications) = filled();
    let mut changes = Changes::new();
    private(&mut changes);
    store.commit(changes).expect("commits");
    check_private(&store);
    drop(store);
    let store = open(&dir);
    check_private(&store);
    let head = store.head(&log.site).expect("reads").expect("is there");
    assert_eq!(head.frontier, log.frontier);
    assert_eq!(head.checkpoint, log.checkpoint());
    assert_eq!(
        store.heads().expect("reads").keys().collect::<Vec<_>>(),
        [&log.site]
    );
    for (seq, view) in log.views.iter().enumerate() {
        let seq = seq as u64;
        let stored = store.record(&log.site, seq).expect("reads");
        assert_eq!(stored, Some((view.clone(), 1_800_000_000 + seq)));
    }
    let tail: Vec<u64> = store
        .records(&log.site, 95)
        .map(|record| record.expect("reads").0)
        .collect();
    assert_eq!(tail, [95, 96, 97, 98, 99]);
    let currents: Vec<u64> = store.currents().map(|c| c.expect("reads").3).collect();
    assert_eq!(
        currents.iter().copied().collect::<BTreeSet<_>>(),
        (93..100).collect()
    );
    let all = store.publications(&log.site, 0, usize::MAX).expect("reads");
    assert_eq!(all.len(), publications.len());
    assert_eq!(store.check(None).expect("walks"), []);
}

#[test]
fn proofs_come_from_stored_nodes() {
    let (_dir, store, log, _) = filled();
    let nodes = store.nodes(&log.site);
    for size in [1, 2, 15, 16, 17, 64, 99, 100] {
        let frontier = frontier_at(&nodes, size).expect("all nodes are known");
        for index in [0, size / 2, size - 1] {
            let leaf = leaf_hash(log.views[index as usize].core().as_bytes());
            let proof = prove_inclusion(&nodes, index, size).expect("all nodes are known");
            verify_inclusion(index, size, &leaf, &proof, &frontier.root()).expect("verifies");
        }
    }
    assert_eq!(frontier_at(&nodes, 100), Some(log.frontier.clone()));
    assert_eq!(nodes.node(0, 100), None);
    assert_eq!(nodes.node(7, 0), None, "128 leaves are not there yet");
    assert_eq!(nodes.node(63, u64::MAX), None);
    assert_eq!(nodes.node(255, u64::MAX), None);
    for (from, count, expected) in [
        (0, 100, 100),
        (0, 7, 7),
        (13, 10, 10),
        (96, 50, 4),
        (100, 5, 0),
        (u64::MAX, 5, 0),
        (3, 0, 0),
    ] {
        let hashes = store.leaf_hashes(&log.site, from, count).expect("reads");
        assert_eq!(hashes.len(), expected, "from {from} count {count}");
        for (view, hash) in log.views.iter().skip(from.min(100) as usize).zip(hashes) {
            assert_eq!(leaf_hash(view.core().as_bytes()), hash);
        }
    }
}

#[test]
fn a_subtree_without_leaves_is_kept() {
    let dir = temp();
    let store = open(&dir);
    let site = SiteId([4; 32]);
    let mut changes = Changes::new();
    let told = [(5, 0), (4, 2), (1, 24), (0, 50)];
    for (level, index) in told {
        changes.put_node(&site, level, index, &Digest([level; 32]));
    }
    store.commit(changes).expect("commits");
    for (level, index) in told {
        let node = store.nodes(&site).node(level, index);
        assert_eq!(node, Some(Digest([level; 32])), "{level}/{index}");
    }
    assert_eq!(store.nodes(&site).node(0, 49), None);
}

#[test]
fn a_commit_is_all_or_nothing() {
    let (_dir, store, mut log, _) = filled();
    let mut changes = Changes::new();
    changes.put_object(&object(1, "DMU-80"));
    store.commit(changes).expect("commits");
    let before = store.head(&log.site).expect("reads");
    let mut changes = Changes::new();
    log.write(3, &mut changes);
    changes.put_object(&object(2, "DMU-80"));
    let refused = store.commit(changes).expect_err("the name is taken");
    assert_eq!(
        refused.to_string(),
        "another resource is already called \"DMU-80\"; choose another name"
    );
    assert_eq!(store.head(&log.site).expect("reads"), before);
    assert_eq!(store.record(&log.site, 100).expect("reads"), None);
    assert_eq!(store.object(&Kind::Resource, &id(2)).expect("reads"), None);
    assert_eq!(store.check(None).expect("walks"), []);
}

#[test]
fn names_follow_their_objects() {
    let dir = temp();
    let store = open(&dir);
    let names = |store: &Store| -> Vec<Option<u8>> {
        ["A", "B"]
            .iter()
            .map(|name| store.object_by_key(&Kind::Resource, name).expect("reads"))
            .map(|object| object.map(|object| if object.id == id(1) { 1 } else { 2 }))
            .collect()
    };
    let commit = |build: &dyn Fn(&mut Changes)| {
        let mut changes = Changes::new();
        build(&mut changes);
        store.commit(changes)
    };
    commit(&|c| c.put_object(&object(1, "A"))).expect("commits");
    assert_eq!(names(&store), [Some(1), None]);
    commit(&|c| c.put_object(&object(1, "B"))).expect("renames");
    assert_eq!(names(&store), [None, Some(1)]);
    commit(&|c| {
        c.put_object(&object(1, "A"));
        c.put_object(&object(2, "B"));
    })
    .expect("a name that became free in the same commit");
    assert_eq!(names(&store), [Some(1), Some(2)]);
    commit(&|c| c.put_object(&object(2, "A"))).expect_err("taken");
    commit(&|c| c.delete_object(&Kind::Resource, &id(1))).expect("deletes");
    assert_eq!(names(&store), [None, Some(2)]);
    commit(&|c| c.put_object(&object(2, "A"))).expect("free now");
    assert_eq!(names(&store), [Some(2), None]);
    assert_eq!(store.check(None).expect("walks"), []);
}

#[test]
fn feeds_are_in_order() {
    let dir = temp();
    let store = open(&dir);
    let other = CircleId([4; 16]);
    let mut changes = Changes::new();
    for feed_seq in (1..=300).rev() {
        let entry = FeedEntry {
            feed_seq,
            seq: feed_seq * 2,
            kind: Kind::Capacity,
            id: id(1),
            slots: BTreeSet::new(),
        };
        changes.put_feed_entry(&CIRCLE, &entry);
        if feed_seq <= 3 {
            changes.put_feed_entry(&other, &entry);
        }
    }
    store.commit(changes).expect("commits");
    for (circle, after, count, expected) in [
        (CIRCLE, 0, 3, vec![1, 2, 3]),
        (CIRCLE, 254, 4, vec![255, 256, 257, 258]),
        (CIRCLE, 299, 9, vec![300]),
        (CIRCLE, 300, 9, vec![]),
        (CIRCLE, u64::MAX, 9, vec![]),
        (other, 1, 9, vec![2, 3]),
    ] {
        let entries = store.feed(&circle, after, count).expect("reads");
        let seqs: Vec<u64> = entries.iter().map(|entry| entry.feed_seq).collect();
        assert_eq!(seqs, expected, "after {after}");
    }
    assert_eq!(store.feed_tail(&CIRCLE).expect("reads"), 300);
    assert_eq!(store.feed_tail(&CircleId([5; 16])).expect("reads"), 0);
    let tails = store.feed_tails().expect("reads");
    assert_eq!(tails, BTreeMap::from([(CIRCLE, 300), (other, 3)]));
}

#[test]
fn publications_cover_what_is_asked() {
    let (_dir, store, log, publications) = filled();
    let total: usize = publications.iter().map(|p| p.bytes().len()).sum();
    for from in 0..100 {
        let expected: Vec<&[u8]> = publications
            .iter()
            .filter(|publication| publication.size() > from)
            .map(Publication::bytes)
            .collect();
        let one = store.publications(&log.site, from, 0).expect("reads");
        assert_eq!(one, expected[..1], "from {from}");
        let all = store.publications(&log.site, from, total).expect("reads");
        assert_eq!(all, expected, "from {from}");
        let two = expected.iter().take(2).map(|bytes| bytes.len()).sum();
        let some = store.publications(&log.site, from, two).expect("reads");
        assert_eq!(some.len(), expected.len().min(2), "from {from}");
    }
    for from in [100, 5_000, u64::MAX] {
        assert!(
            store
                .publications(&log.site, from, total)
                .expect("reads")
                .is_empty()
        );
    }
    assert!(
        store
            .publications(&SiteId([8; 32]), 0, total)
            .expect("reads")
            .is_empty()
    );
}

#[test]
fn pruning_strips_old_content_and_keeps_the_log() {
    let (_dir, store, log, publications) = filled();
    let last = publications.last().expect("there are some").bytes().len() as u64;
    let prune = |before, bytes| store.prune_publications(before, bytes).expect("prunes");
    // Leaf n was published at n * 1000 s; hours are the unit of keeping. Leaf 0 was at 0, which means stripped.
    assert_eq!(prune(0, 0), 0, "nothing is that old");
    assert_eq!(prune(u64::MAX, u64::MAX), 0, "all are kept");
    let old = publications
        .iter()
        .filter(|p| (1..50).contains(&p.from()))
        .count();
    assert_eq!(prune(50_000, last), old);
    assert_eq!(prune(50_000, last), 0, "once is enough");
    let all = store.publications(&log.site, 0, usize::MAX).expect("reads");
    assert_eq!(all.len(), publications.len(), "the log is whole");
    for (kept, was) in all.iter().zip(&publications) {
        let kept = Publication::decode(kept).expect("decodes");
        assert_eq!(kept.check(&MESH, &log.key.public()), Ok(()));
        assert_eq!(kept.leaf_hashes, was.leaf_hashes);
    }
}

#[test]
fn refusals_are_counted_and_bounded() {
    let dir = temp();
    let store = open(&dir);
    let commit = |refusals: &[Refusal]| {
        let mut changes = Changes::new();
        refusals.iter().for_each(|r| changes.put_refusal(r));
        store.commit(changes).expect("commits");
    };
    commit(&[
        refusal(1, "a", 5),
        refusal(1, "a", 6),
        refusal(1, "b", 7),
        refusal(2, "a", 8),
    ]);
    commit(&[refusal(1, "a", 9)]);
    let counts: Vec<(u8, String, u64, u64)> = store
        .refusals()
        .expect("reads")
        .into_iter()
        .map(|r| (r.site.0[0], r.reason, r.count, r.at))
        .collect();
    let expected = [(1, "a", 3, 9), (2, "a", 1, 8), (1, "b", 1, 7)];
    assert_eq!(
        counts,
        expected.map(|(site, reason, count, at)| (site, reason.to_owned(), count, at))
    );
    let many: Vec<Refusal> = (10..1_500)
        .map(|at| refusal(3, &format!("reason {at}"), at))
        .collect();
    many.chunks(200).for_each(commit);
    let kept = store.refusals().expect("reads");
    assert_eq!(kept.len(), REFUSALS_MAX);
    assert_eq!(kept.last().map(|r| r.at), Some(500), "the oldest went");
    commit(&[refusal(3, &"é".repeat(100_000), 2_000)]);
    let longest = store.refusals().expect("reads")[0].reason.chars().count();
    assert_eq!(longest, 400);
    assert_eq!(store.check(None).expect("walks"), []);
}

#[test]
fn an_open_store_is_in_use() {
    let dir = temp();
    let store = open(&dir);
    let refused = Store::open(dir.path()).expect_err("is in use");
    assert!(matches!(refused, StoreError::InUse(_)), "{refused}");
    assert!(
        refused
            .to_string()
            .contains("in use by another fmesh process")
    );
    drop(store);
    open(&dir);
}

#[test]
fn a_directory_that_cannot_be_is_an_io_error() {
    let dir = temp();
    let file = dir.path().join("file");
    fs::write(&file, "x").expect("writes");
    for path in [file.clone(), file.join("below")] {
        let refused = Store::open(&path).expect_err("not a directory");
        assert!(matches!(refused, StoreError::Io(_)), "{refused}");
    }
}

#[test]
fn other_schemas_are_refused() {
    let dir = temp();
    let store = open(&dir);
    let newer = (SCHEMA + 1).to_be_bytes().to_vec();
    store
        .apply([(vec![Table::Schema as u8], Some(newer))])
        .expect("writes");
    drop(store);
    let refused = Store::open(dir.path()).expect_err("another schema");
    assert!(
        matches!(refused, StoreError::Schema { found, known } if found == known + 1),
        "{refused}"
    );
}

/// Files of a store of some hundred leaves after a clean end.
fn files_of_a_store() -> Vec<(PathBuf, Vec<u8>)> {
    let (dir, store, mut log, _) = filled();
    log.commit(&store, 200);
    drop(store);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir.path()).expect("lists") {
        let path = entry.expect("lists").path();
        if path.is_file() {
            let name = PathBuf::from(path.file_name().expect("has a name"));
            files.push((name, fs::read(&path).expect("reads")));
        }
    }
    files
}

/// Opens a store with one file replaced, and reads all of it.
fn open_with(
    files: &[(PathBuf, Vec<u8>)],
    name: &str,
    bytes: &[u8],
) -> Result<Vec<Finding>, StoreError> {
    let dir = temp();
    for (file, bytes) in files {
        fs::write(dir.path().join(file), bytes).expect("writes");
    }
    fs::write(dir.path().join(name), bytes).expect("writes");
    let store = Store::open(dir.path())?;
    store.check(None)
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let files = files_of_a_store();
    let db = &files
        .iter()
        .find(|(name, _)| name.ends_with("db"))
        .expect("a db file")
        .1;
    let conf = &files
        .iter()
        .find(|(name, _)| name.ends_with("conf"))
        .expect("a conf file")
        .1;
    assert_eq!(open_with(&files, "db", db).expect("opens"), []);
    let noise: Vec<u8> = (0..db.len()).map(|i| ((i * 7919) >> 3) as u8).collect();
    let half_noise = [&db[..db.len() / 2], &noise[db.len() / 2..]].concat();
    let mut flipped = db.clone();
    for byte in flipped.iter_mut().skip(5_000).step_by(3_001) {
        *byte ^= 0x40;
    }
    for (case, name, bytes) in [
        ("noise", "db", &noise[..]),
        ("half noise", "db", &half_noise[..]),
        ("flipped bits", "db", &flipped[..]),
        ("zeros", "db", &vec![0; db.len()][..]),
        ("a text", "db", b"this is not a database"),
        ("cut in the middle", "db", &db[..db.len() / 2]),
        ("another conf", "conf", b"noise noise noise"),
        ("cut conf", "conf", &conf[..conf.len() / 2]),
    ] {
        match open_with(&files, name, bytes) {
            Err(StoreError::Corrupt(_)) => {}
            Ok(findings) => assert!(!findings.is_empty(), "{case}: damage was not seen"),
            Err(other) => panic!("{case}: {other}"),
        }
    }
}

#[test]
fn a_check_finds_what_does_not_fit() {
    type Plant = fn(&Log, &mut Changes);
    let cases: [(&str, Plant); 14] = [
        ("leaf 50 is of capacity", |log, c| {
            c.put_current(&log.site, &Kind::Capacity, &id(0), 50);
        }),
        ("leaf 500 is not stored", |log, c| {
            c.put_current(&log.site, &Kind::Capacity, &id(0), 500);
        }),
        ("the older leaf 91 is called current", |log, c| {
            c.put_current(&log.site, &Kind::Capacity, &id(0), 91);
        }),
        ("its object has no current revision", |log, c| {
            c.delete_current(&log.site, &Kind::Capacity, &id(0));
        }),
        ("its leaf hash in the log is another one", |log, c| {
            c.put_node(&log.site, 0, 20, &Digest([1; 32]));
        }),
        ("its root is another one", |log, c| {
            c.put_node(&log.site, 4, 3, &Digest([1; 32]));
        }),
        ("node 5/2 of its edge is another one", |log, c| {
            c.put_node(&log.site, 4, 5, &Digest([1; 32]));
        }),
        ("does not give the root of the checkpoint", |log, c| {
            let head = Head {
                frontier: Frontier::new(),
                checkpoint: log.checkpoint(),
            };
            c.put_head(&log.site, &head);
        }),
        ("it says leaf 3 of site", |log, c| {
            c.put_record(&log.site, 4, &log.views[3], 0);
        }),
        ("leaf 30 is not stored", |log, c| {
            c.delete_record(&log.site, 30);
        }),
        ("leaf 7 is of kind capacity", |log, c| {
            c.put_membership(&log.site, 7);
        }),
        ("position 102 follows 100", |_, c| {
            let entry = FeedEntry {
                feed_seq: 102,
                seq: 1,
                kind: Kind::Capacity,
                id: id(1),
                slots: BTreeSet::new(),
            };
            c.put_feed_entry(&CIRCLE, &entry);
        }),
        ("malformed publication", |log, c| {
            c.put_publication(&log.site, 100, b"noise", 0);
        }),
        ("leaf 12 is revision 2 of capacity", |_, c| {
            let issue = Issue {
                seq: 12,
                rev: 1,
                ..Issue::default()
            };
            c.put_issue(&Kind::Capacity, &id(5), &issue);
        }),
    ];
    for (expected, plant) in cases {
        let (_dir, store, log, _) = filled();
        assert_eq!(store.check(Some(&log.site)).expect("walks"), []);
        let mut changes = Changes::new();
        plant(&log, &mut changes);
        store.commit(changes).expect("commits");
        let findings = store.check(Some(&log.site)).expect("walks");
        let found = findings
            .iter()
            .any(|finding| finding.what.contains(expected));
        assert!(found, "{expected}: {findings:#?}");
    }
}

#[test]
fn a_check_reads_every_table() {
    for table in Table::ALL {
        let dir = temp();
        let store = open(&dir);
        let key = table.key(&[]);
        store.apply([(key, Some(b"{}".to_vec()))]).expect("writes");
        let findings = store.check(None).expect("walks");
        // JSON `{}` is a value of this one: a node that has done nothing yet.
        let expected = usize::from(table != Table::Meta);
        let unreadable = findings
            .iter()
            .filter(|f| f.what == "cannot be read")
            .count();
        assert_eq!(unreadable, expected, "{table:?}: {findings:?}");
    }
    let dir = temp();
    let store = open(&dir);
    store
        .apply([(vec![0xff, 1], Some(Vec::new()))])
        .expect("writes");
    let findings = store.check(None).expect("walks");
    assert_eq!(findings[0].to_string(), "unknown table 01: cannot be read");
}

/// Everything but the count of commits.
fn entries(store: &Store) -> Vec<(sled::IVec, sled::IVec)> {
    let all = store.db.iter().map(|entry| entry.expect("reads"));
    all.filter(|(key, _)| Table::of(key) != Some(Table::Commits))
        .collect()
}

#[test]
fn derived_tables_are_made_again() {
    let (_dir, store, log, _) = filled();
    let mut changes = Changes::new();
    changes.put_object(&object(1, "DMU-80"));
    store.commit(changes).expect("commits");
    let sound = entries(&store);
    let mut changes = Changes::new();
    changes.put_current(&log.site, &Kind::Capacity, &id(0), 3);
    changes.delete_current(&log.site, &Kind::Capacity, &id(1));
    changes.put_current(&log.site, &Kind::Site, &id(9), 3);
    changes.put_membership(&log.site, 7);
    store.commit(changes).expect("commits");
    store
        .apply([(keys::object_key(&Kind::Resource, "DMU-80"), None)])
        .expect("writes");
    store
        .apply([(keys::object_key(&Kind::Resource, "old"), Some(vec![0; 16]))])
        .expect("writes");
    assert!(store.check(None).expect("walks").len() >= 5);
    store.rebuild().expect("rebuilds");
    assert_eq!(store.check(None).expect("walks"), []);
    assert!(entries(&store) == sound, "the same bytes as before");
}
