use std::{collections::BTreeSet, convert::Infallible};

use proptest::prelude::*;
use rand_core::SeedableRng as _;
use serde_json::{Value, json};

use super::{
    super::{
        TrustAnchors, Verdict,
        fork::{ForkKind, ForkProof},
    },
    *,
};
use crate::{
    id::{CircleId, Digest, MeshId, ObjectId, SiteId},
    keys::{KeySet, OperatingKeys, RootKey, SigningKey, manifest_id, sign_manifest},
    kinds::Kind,
    log::{frontier_at, leaf_hash},
    note::{Checkpoint, Cosignature, SignatureType, VerifierKey},
    record::{Claims, Fields, Issued, View},
};

const CIRCLE: CircleId = CircleId([7; 16]);
const MESH: MeshId = MeshId([3; 32]);

/// A site whose log holds its manifest, revisions of two capacities, one private leaf, and a rotation.
struct Plant {
    root: RootKey,
    keys: OperatingKeys,
    views: Vec<View>,
    feed: u64,
}

impl Plant {
    fn new(seed: u8) -> Self {
        let root = RootKey::from_bytes(&[seed; 32]);
        let keys = OperatingKeys::from_seed(&[seed; 32]);
        let manifest = sign_manifest(&root, &keys.public(), 1_790_000_000, &mut rng());
        Self {
            root,
            keys,
            views: vec![manifest],
            feed: 0,
        }
    }

    fn site(&self) -> SiteId {
        self.root.site()
    }

    fn sign(&mut self, object: u8, rev: u64, prev: Option<&str>, hours: u32) -> &View {
        self.feed += 1;
        let claims = Claims {
            mesh: Some(MESH),
            iss: self.site(),
            log: 1,
            seq: self.views.len() as u64,
            kind: Kind::Capacity,
            id: ObjectId::from_random([object; 16]),
            rev,
            prev: prev.map(|core| Digest::of(core.as_bytes())),
            iat: 1_800_000_000 + u64::from(hours),
            retired: false,
        };
        let issued = Issued::sign(
            claims,
            &fields(hours),
            &[(CIRCLE, self.feed)],
            self.keys.record(),
            &mut rng(),
        );
        self.views
            .push(issued.expect("it keeps the rules").full_view());
        self.views.last().expect("just pushed")
    }

    fn rotate(&mut self) {
        let manifest = self.views[0].clone().parse().expect("ours");
        let mut set = KeySet {
            witness: SigningKey::from_bytes(&[99; 32]).public(),
            ..self.keys.public()
        };
        set.boxed = self.keys.public().boxed;
        let claims = Claims {
            seq: self.views.len() as u64,
            rev: 2,
            prev: Some(Digest::of(self.views[0].core().as_bytes())),
            id: manifest_id(&self.site()),
            ..manifest.claims().clone()
        };
        let issued = Issued::sign(
            claims,
            &set.write(),
            &[(CircleId::MESH_WIDE, 2)],
            self.root.key(),
            &mut rng(),
        );
        self.views.push(issued.expect("a rotation").full_view());
    }

    fn example(seed: u8) -> Self {
        let mut plant = Self::new(seed);
        let first = plant.sign(1, 1, None, 10).core().to_owned();
        plant.sign(2, 1, None, 20);
        plant.rotate();
        let second = plant.sign(1, 2, Some(&first), 30).core().to_owned();
        plant.sign(1, 3, Some(&second), 40);
        plant
    }

    fn tree(&self) -> Tree {
        Tree::new(
            self.views
                .iter()
                .map(|view| leaf_hash(view.core().as_bytes()))
                .collect(),
        )
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        let root = frontier_at(&self.tree(), size)
            .expect("a whole tree")
            .root();
        self.sign_root(size, root)
    }

    fn sign_root(&self, size: u64, root: Digest) -> Checkpoint {
        let origin = Checkpoint::origin_of(&MESH, &self.site());
        Checkpoint::sign(&origin, size, root, self.keys.log())
    }

    fn source(&self) -> LogSource {
        let is_keys =
            |view: &&View| (**view).clone().parse().expect("ours").claims().kind == Kind::Keys;
        let keys = self
            .views
            .iter()
            .enumerate()
            .filter(|(_, view)| is_keys(view));
        LogSource {
            site: self.site(),
            checkpoint: self.checkpoint(self.views.len() as u64),
            older: vec![self.checkpoint(2), self.checkpoint(4)],
            keys: keys
                .map(|(leaf, view)| (leaf as u64, view.clone()))
                .collect(),
            tree: self.tree(),
        }
    }

    fn anchors(&self) -> TrustAnchors {
        anchors(&format!(
            "site {} Plant A\nmesh {}\n",
            self.site().hex(),
            MESH.hex()
        ))
    }
}

fn rng() -> rand_chacha::ChaCha20Rng {
    rand_chacha::ChaCha20Rng::from_seed([5; 32])
}

fn anchors(text: &str) -> TrustAnchors {
    TrustAnchors::parse(text.as_bytes()).expect("good anchors")
}

fn fields(hours: u32) -> Fields {
    let fields = json!({
        "name": "5-axis", "unit": "HUR", "bucket": "P7D", "start": "2026-11-30",
        "total": ["80"], "committed": [hours.to_string()], "available": [(80 - hours).to_string()],
        "unattainable": ["0"],
    });
    serde_json::from_value(fields).expect("an object")
}

fn witness(byte: u8) -> (SigningKey, VerifierKey) {
    let key = SigningKey::from_bytes(&[byte; 32]);
    let name = Cosignature::name_of(&MESH, &SiteId([byte; 32]));
    let vkey = VerifierKey::new(&name, SignatureType::Cosignature, key.public()).expect("a name");
    (key, vkey)
}

fn cosigned(checkpoint: &Checkpoint, time: u64, witness: &(SigningKey, VerifierKey)) -> Checkpoint {
    let line = Cosignature::sign(checkpoint, witness.1.name(), time, &witness.0).expect("signs");
    checkpoint.with_cosignature(&line).expect("fits")
}

/// Everything of the logs that `show` lets through.
fn bundle(
    sources: Vec<(&Plant, LogSource)>,
    show: impl Fn(u64) -> Option<Reason>,
    forks: &[ForkProof],
) -> Vec<File> {
    let mut files = Vec::new();
    let mut sources = sources;
    sources.sort_by_key(|(plant, _)| plant.site());
    let mut writer = Writer::new(|name: &str, bytes: &[u8]| -> Result<(), Infallible> {
        files.push(File {
            name: name.to_owned(),
            bytes: bytes.to_vec(),
        });
        Ok(())
    });
    writer.forks(forks).expect("in order");
    for (plant, source) in sources {
        let keys: BTreeSet<u64> = source.keys.iter().map(|(leaf, _)| *leaf).collect();
        writer.log(source).expect("fits");
        for (leaf, view) in (0..)
            .zip(&plant.views)
            .filter(|(leaf, _)| !keys.contains(leaf))
        {
            match show(leaf) {
                None => writer.record(leaf, view).expect("in order"),
                Some(reason) => writer.withhold(leaf, reason).expect("in order"),
            }
        }
    }
    let _sink = writer.finish(None, Selection::default()).expect("small");
    files
}

fn whole(plant: &Plant) -> Vec<File> {
    bundle(vec![(plant, plant.source())], |_| None, &[])
}

fn judge_with(files: Vec<File>, anchors: &TrustAnchors, options: Options) -> Outcome {
    let mut verifier = Verifier::new(anchors, options);
    let mut run = Here::default();
    for file in files {
        verifier.push(file, &mut run);
    }
    verifier.finish(&mut run)
}

fn judge(files: Vec<File>, anchors: &TrustAnchors) -> BundleReport {
    judge_with(files, anchors, Options::default()).report
}

/// The claims with another verdict than proven.
fn open(report: &BundleReport) -> Vec<(&'static str, Verdict)> {
    let claims = report.claims.iter().map(|claim| &claim.claim);
    let open = claims.filter(|claim| claim.verdict != Verdict::Proven);
    open.map(|claim| (claim.id, claim.verdict)).collect()
}

const UNWITNESSED: (&str, Verdict) = ("witnesses", Verdict::NotProven);

#[test]
fn a_whole_bundle_is_proven_and_always_the_same() {
    let plant = Plant::example(1);
    let files = whole(&plant);
    assert_eq!(files, whole(&plant), "deterministic");
    let names: Vec<_> = files
        .iter()
        .map(|file| file.name.replace(&plant.site().hex(), "S"))
        .collect();
    assert_eq!(
        names[..9],
        [
            "logs/S/checkpoints/0000000002",
            "logs/S/checkpoints/0000000004",
            "logs/S/keys/0000000000.sdjwt",
            "logs/S/keys/0000000000.tlog-proof",
            "logs/S/keys/0000000003.sdjwt",
            "logs/S/keys/0000000003.tlog-proof",
            "logs/S/log/checkpoint",
            "logs/S/log/tile/0/000.p/6",
            "logs/S/records/0000000001.sdjwt",
        ]
    );
    assert_eq!(
        names[names.len() - 3..],
        ["manifest.json", "withheld.json", "SHA256SUMS"]
    );
    let report = judge(files, &plant.anchors());
    assert_eq!(open(&report), [UNWITNESSED], "{report}");
    assert_eq!(report.verdict, Verdict::Proven);
    let log = &report.logs[0];
    assert_eq!(
        (log.shown, log.unaccounted, log.objects, log.sums),
        (6, 0, 3, (4, 0))
    );
    assert_eq!(log.claimed, Some((1_790_000_000, 1_800_000_040)));
    assert!(report.to_string().ends_with("recorded.\n"), "{report}");
}

#[test]
fn withheld_leaves_have_a_reason_and_gaps_are_named() {
    let plant = Plant::example(1);
    let show = |leaf| (leaf == 4).then_some(Reason::NotSelected);
    let files = bundle(vec![(&plant, plant.source())], show, &[]);
    let report = judge(files.clone(), &plant.anchors());
    let gaps = [
        UNWITNESSED,
        ("revisions", Verdict::NotProven),
        ("feeds", Verdict::NotProven),
    ];
    assert_eq!(open(&report), gaps, "{report}");
    assert_eq!(
        report.verdict,
        Verdict::Proven,
        "gaps are said, not held against"
    );
    assert_eq!(report.logs[0].withheld, [(Reason::NotSelected, 1)]);
    let revisions = report
        .claim(Some(&plant.site()), "revisions")
        .expect("judged");
    assert!(
        revisions.text.contains("revision 2 is not shown"),
        "{revisions:?}"
    );
    // Without a reason the leaf is unaccounted for, whoever makes the sums fit.
    let with_runs = |runs: Value, count: u64| {
        let files = edited(&files, "withheld.json", |_, text| {
            let mut value: Value = serde_json::from_str(&text).expect("JSON");
            value["logs"][0]["leaves"] = runs.clone();
            value.to_string()
        });
        let files = edited(&files, "manifest.json", |_, text| {
            let mut value: Value = serde_json::from_str(&text).expect("JSON");
            value["logs"][0]["withheld"] = json!(count);
            value.to_string()
        });
        judge(files, &plant.anchors())
    };
    let report = with_runs(json!([]), 0);
    assert_eq!(
        report
            .claim(Some(&plant.site()), "coverage")
            .expect("judged")
            .verdict,
        Verdict::NotProven
    );
    assert_eq!(report.verdict, Verdict::NotProven);
    // Reasons that overlap, go backwards, are of shown leaves or of none: whatever the numbers, at once.
    let reason = "not-selected";
    for runs in [
        json!([{"from": 4, "to": 4, "reason": reason}, {"from": 4, "to": 4, "reason": reason}]),
        json!([{"from": 4, "to": 3, "reason": reason}]),
        json!([{"from": 1, "to": 1, "reason": reason}]),
        json!([{"from": 6, "to": 6, "reason": reason}]),
        json!([{"from": 0, "to": u64::MAX, "reason": reason}]),
        json!([{"from": u64::MAX, "to": 0, "reason": reason}]),
    ] {
        let report = with_runs(runs.clone(), 1);
        let coverage = report
            .claim(Some(&plant.site()), "coverage")
            .expect("judged");
        assert_eq!(coverage.verdict, Verdict::Refuted, "{runs}");
    }
}

#[test]
fn what_the_manifest_states_is_compared() {
    let plant = Plant::example(1);
    let files = whole(&plant);
    let changes: [(&str, Value); 9] = [
        ("/format", json!("fmesh.bundle/v2")),
        ("/forks", json!(1)),
        ("/logs", json!([])),
        ("/logs/0/origin", json!("fmesh/x/y")),
        ("/logs/0/size", json!(5)),
        ("/logs/0/keys", json!(u64::MAX)),
        ("/logs/0/records", json!(u64::MAX)),
        ("/logs/0/withheld", json!(u64::MAX)),
        ("/logs/0/root", json!("ab".repeat(32))),
    ];
    for (member, value) in changes {
        let files = edited(&files, "manifest.json", |_, text| {
            let mut manifest: Value = serde_json::from_str(&text).expect("JSON");
            *manifest.pointer_mut(member).expect("a member") = value.clone();
            manifest.to_string()
        });
        let report = judge(files, &plant.anchors());
        let form = report.claim(None, "bundle-form").expect("judged");
        assert_eq!(form.verdict, Verdict::Refuted, "{member}");
    }
}

/// Changes one file and makes `SHA256SUMS` fit again, as a forger would.
fn edited(files: &[File], end: &str, change: impl Fn(&str, String) -> String) -> Vec<File> {
    let mut files = files.to_vec();
    for file in files.iter_mut().filter(|file| file.name.ends_with(end)) {
        let text = String::from_utf8(file.bytes.clone()).expect("text");
        file.bytes = change(&file.name, text).into_bytes();
    }
    resummed(files)
}

fn resummed(mut files: Vec<File>) -> Vec<File> {
    let mut last = files.pop().expect("SHA256SUMS");
    let lines = files
        .iter()
        .map(|file| format!("{}  {}\n", Digest::of(&file.bytes).hex(), file.name));
    last.bytes = lines.collect::<String>().into_bytes();
    files.push(last);
    files
}

#[test]
fn every_flipped_bit_is_refuted() {
    let plant = Plant::example(1);
    let files = whole(&plant);
    // Seven is no divisor of eight: every bit of a byte gets its turn. Without new sums, the form notices each.
    for (n, file) in files.iter().enumerate() {
        for bit in (0..file.bytes.len() * 8).step_by(997) {
            let mut broken = files.clone();
            broken[n].bytes[bit / 8] ^= 1 << (bit % 8);
            let report = judge(broken, &plant.anchors());
            assert_eq!(report.verdict, Verdict::Refuted, "{} bit {bit}", file.name);
        }
    }
    // With new sums, the claims themselves do; but for the two files that prove nothing and the other's words.
    for (n, file) in files
        .iter()
        .enumerate()
        .filter(|(_, file)| file.name.starts_with("logs/"))
    {
        for bit in (0..file.bytes.len() * 8).step_by(499) {
            let mut broken = files.clone();
            broken[n].bytes[bit / 8] ^= 1 << (bit % 8);
            let report = judge(resummed(broken), &plant.anchors());
            assert_ne!(
                report.verdict,
                Verdict::Proven,
                "{} bit {bit}: {report}",
                file.name
            );
        }
    }
}

#[test]
fn missing_foreign_repeated_and_disordered_files_are_refuted() {
    let plant = Plant::example(1);
    let files = whole(&plant);
    let name = |n: usize| files[n].name.clone();
    let with = |change: &dyn Fn(&mut Vec<File>)| {
        let mut files = files.clone();
        change(&mut files);
        judge(files, &plant.anchors())
    };
    for n in 0..files.len() {
        let report = with(&|files| drop(files.remove(n)));
        assert_ne!(report.verdict, Verdict::Proven, "without {}", name(n));
        let report = with(&|files| files.insert(n, files[n].clone()));
        assert_eq!(report.verdict, Verdict::Refuted, "{} twice", name(n));
        if n > 0 {
            let report = with(&|files| files.swap(n, n - 1));
            assert_eq!(report.verdict, Verdict::Refuted, "{} too early", name(n));
        }
    }
    for foreign in [
        "a",
        "logs/../x",
        "/etc/passwd",
        "zzz",
        "logs/x/log/checkpoint",
    ] {
        let report = with(&|files| {
            let at = files.len() - 1;
            files.insert(
                at,
                File {
                    name: foreign.into(),
                    bytes: b"x".to_vec(),
                },
            );
        });
        let form = report.claim(None, "bundle-form").expect("judged");
        assert_eq!(form.verdict, Verdict::Refuted, "{foreign}");
    }
    let nothing = judge(Vec::new(), &plant.anchors());
    assert_eq!(nothing.verdict, Verdict::Refuted);
}

#[test]
fn what_is_missing_is_named() {
    let plant = Plant::example(1);
    let site = plant.site();
    let files = whole(&plant);
    let without = |part: &str| {
        let kept = files
            .iter()
            .filter(|file| !file.name.contains(part))
            .cloned();
        judge(resummed(kept.collect()), &plant.anchors())
    };
    let verdict = |report: &BundleReport, id: &str| {
        report
            .claim(Some(&site), id)
            .unwrap_or_else(|| panic!("{id}"))
            .verdict
    };
    let report = without("/keys/");
    for id in ["key-manifest", "checkpoint-signature", "author-signature"] {
        assert_eq!(verdict(&report, id), Verdict::NotProven, "{id}");
    }
    let report = without("/tile/");
    assert_eq!(verdict(&report, "tree"), Verdict::NotProven);
    assert_eq!(
        verdict(&report, "inclusion"),
        Verdict::Proven,
        "by its proofs"
    );
    let report = without(".tlog-proof");
    assert_eq!(
        (verdict(&report, "inclusion"), report.verdict),
        (Verdict::Proven, Verdict::Proven)
    );
    let report = without("log/checkpoint");
    assert_eq!(verdict(&report, "inclusion"), Verdict::NotProven);
    let stranger = Plant::new(9);
    let report = judge(files, &stranger.anchors());
    assert_eq!(verdict(&report, "trusted-author"), Verdict::NotProven);
}

#[test]
fn a_quorum_of_witnesses_says_when_a_leaf_was_seen() {
    let plant = Plant::example(1);
    let (one, two) = (witness(50), witness(51));
    let mut source = plant.source();
    source.older[1] = cosigned(
        &cosigned(&source.older[1], 1_800_000_100, &one),
        1_800_000_200,
        &two,
    );
    source.checkpoint = cosigned(
        &cosigned(&source.checkpoint, 1_800_000_300, &one),
        1_800_000_250,
        &two,
    );
    let files = bundle(vec![(&plant, source)], |_| None, &[]);
    let trust = |quorum| {
        anchors(&format!(
            "site {}\nwitness {}\nwitness {}\nquorum {quorum}\n",
            plant.site().hex(),
            one.1,
            two.1
        ))
    };
    let options = Options {
        changes_of: Some(String::new()),
        ..Options::default()
    };
    let report = judge_with(files, &trust(2), options).report;
    assert_eq!(report.verdict, Verdict::Proven, "{report}");
    let steps = [
        Seen {
            size: 4,
            by: 1_800_000_200,
        },
        Seen {
            size: 6,
            by: 1_800_000_300,
        },
    ];
    assert_eq!(report.logs[0].seen, steps);
    let of_one: Vec<_> = report
        .changes
        .iter()
        .filter(|entry| entry.object == ObjectId::from_random([1; 16]))
        .collect();
    assert_eq!(
        of_one
            .iter()
            .map(|entry| (entry.rev, entry.seen))
            .collect::<Vec<_>>(),
        [
            (1, Some(1_800_000_200)),
            (2, Some(1_800_000_300)),
            (3, Some(1_800_000_300)),
        ]
    );
    let slots: Vec<_> = of_one[1]
        .changes
        .iter()
        .map(|change| {
            (
                change.slot.as_str(),
                change.old.to_string(),
                change.new.to_string(),
            )
        })
        .collect();
    assert_eq!(
        slots,
        [
            ("available", "[\"70\"]".into(), "[\"50\"]".into()),
            ("committed", "[\"10\"]".into(), "[\"30\"]".into()),
        ]
    );
    // One cosignature is not two.
    let mut source = plant.source();
    source.checkpoint = cosigned(&source.checkpoint, 1_800_000_300, &one);
    let files = bundle(vec![(&plant, source)], |_| None, &[]);
    assert_eq!(judge(files.clone(), &trust(2)).verdict, Verdict::NotProven);
    assert_eq!(judge(files, &trust(1)).verdict, Verdict::Proven);
    // A witness that went back is not believed.
    let mut source = plant.source();
    source.older[0] = cosigned(&source.older[0], 1_800_000_400, &one);
    source.checkpoint = cosigned(&source.checkpoint, 1_800_000_300, &one);
    let report = judge(bundle(vec![(&plant, source)], |_| None, &[]), &trust(1));
    assert_eq!(
        report
            .claim(Some(&plant.site()), "witnesses")
            .expect("judged")
            .verdict,
        Verdict::Refuted
    );
}

#[test]
fn forks_show_in_one_bundle_between_two_and_with_a_checkpoint_from_elsewhere() {
    let plant = Plant::example(1);
    let honest = whole(&plant);
    // The same site with another history from leaf 4 on.
    let mut other = Plant::example(1);
    other.views.truncate(4);
    other.sign(3, 1, None, 50);
    other.sign(4, 1, None, 60);
    other.sign(5, 1, None, 70);
    let forged = whole(&other);
    let outcome = |files: &[File]| judge_with(files.to_vec(), &plant.anchors(), Options::default());
    let (a, b) = (outcome(&honest), outcome(&forged));
    assert_eq!(
        (a.report.verdict, b.report.verdict),
        (Verdict::Proven, Verdict::Proven)
    );
    let found = compare(&a.logs, &b.logs);
    assert_eq!(found.claims[0].claim.verdict, Verdict::Refuted);
    assert_eq!(found.forks[0].1.kind, ForkKind::Prefix);
    let found = compare(&a.logs, &outcome(&honest).logs);
    assert_eq!(
        (found.claims[0].claim.verdict, found.forks.len()),
        (Verdict::Proven, 0)
    );
    // A bundle of an earlier time is the beginning of this one.
    let mut early = Plant::example(1);
    early.views.truncate(4);
    let mut source = early.source();
    source.older.truncate(1);
    let early = outcome(&bundle(vec![(&early, source)], |_| None, &[]));
    assert_eq!(
        compare(&early.logs, &a.logs).claims[0].claim.verdict,
        Verdict::Proven
    );
    // A checkpoint that came another way.
    let tree = other.tree();
    let root = frontier_at(&tree, 5).expect("whole").root();
    let options = Options {
        checkpoints: vec![other.sign_root(5, root).note().to_vec()],
        ..Options::default()
    };
    let outcome = judge_with(honest.clone(), &plant.anchors(), options);
    let append_only = outcome
        .report
        .claim(Some(&plant.site()), "append-only")
        .expect("judged");
    assert_eq!(append_only.verdict, Verdict::Refuted);
    assert_eq!(outcome.forks.len(), 1);
    // A fork proof in the bundle counts, and a false one is no harm to the site.
    let files = bundle(
        vec![(&plant, plant.source())],
        |_| None,
        &[forks_of(&a, &b)],
    );
    let report = judge(files, &plant.anchors());
    assert_eq!(
        report.claim(None, "no-fork").expect("judged").verdict,
        Verdict::Refuted
    );
    let same = ForkProof::seq(&[plant.views[0].clone()], &plant.views[1], &plant.views[1]);
    let report = judge(
        bundle(vec![(&plant, plant.source())], |_| None, &[same]),
        &plant.anchors(),
    );
    assert_eq!(
        report.claim(None, "no-fork").expect("judged").verdict,
        Verdict::Proven
    );
    assert_eq!(
        report.claim(None, "fork-proofs").expect("judged").verdict,
        Verdict::Refuted
    );
}

fn forks_of(a: &Outcome, b: &Outcome) -> ForkProof {
    compare(&a.logs, &b.logs).forks.swap_remove(0).0
}

#[test]
fn two_readers_with_different_feeds_find_out_together() {
    // One circle, one log; the site gave its second position to two records, one for each reader.
    let mut plant = Plant::new(1);
    plant.sign(1, 1, None, 10);
    plant.sign(2, 1, None, 20);
    plant.feed = 1;
    plant.sign(3, 1, None, 30);
    let shown_to = |hidden: u64| {
        let show = |leaf| (leaf == hidden).then_some(Reason::NotHeld);
        let mut source = plant.source();
        source.older.clear();
        let files = bundle(vec![(&plant, source)], show, &[]);
        judge_with(files, &plant.anchors(), Options::default())
    };
    let (a, b) = (shown_to(3), shown_to(2));
    assert_eq!(
        (a.report.verdict, b.report.verdict),
        (Verdict::Proven, Verdict::Proven),
        "each alone is whole"
    );
    let found = compare(&a.logs, &b.logs);
    assert_eq!(found.claims[0].claim.verdict, Verdict::Refuted);
    let conflict = Conflict {
        site: plant.site(),
        circle: CIRCLE,
        position: 2,
        leaves: (2, 3),
    };
    assert_eq!(found.conflicts, [conflict]);
    let (proof, fork) = a.logs[0]
        .feed_fork(&plant.views[2], &plant.views[3])
        .expect("a fork");
    assert_eq!((fork.kind, fork.at), (ForkKind::Feed, 2));
    let read = ForkProof::decode(proof.encode().as_bytes()).expect("a fork proof");
    assert_eq!(read.verify(), Ok(fork));
    let salted = plant.views[2].disclosures().count();
    let told = proof.encode().matches('~').count();
    assert!(salted > 5 && told <= 6, "the proof shows no values: {told}");
    // In one bundle it shows at once.
    let mut source = plant.source();
    source.older.clear();
    let both = bundle(vec![(&plant, source)], |_| None, &[]);
    let both = judge_with(both, &plant.anchors(), Options::default());
    assert_eq!(both.conflicts, [conflict]);
    assert_eq!(open(&both.report)[1], ("feeds", Verdict::Refuted));
}

#[test]
fn a_keys_record_among_the_others_is_refuted() {
    let plant = Plant::example(1);
    let mut source = plant.source();
    // The rotation at leaf 3 is handed out as if it were any record.
    source.keys.truncate(1);
    let report = judge(
        bundle(vec![(&plant, source)], |_| None, &[]),
        &plant.anchors(),
    );
    assert_eq!(
        report
            .claim(Some(&plant.site()), "inclusion")
            .expect("judged")
            .verdict,
        Verdict::Refuted
    );
}

#[test]
fn a_checkpoint_of_no_log_in_the_bundle_is_not_passed_over() {
    let (plant, other) = (Plant::example(1), Plant::example(2));
    let options = Options {
        checkpoints: vec![other.checkpoint(3).note().to_vec()],
        ..Options::default()
    };
    let report = judge_with(whole(&plant), &plant.anchors(), options).report;
    assert_eq!(
        (
            report.verdict,
            report.claim(None, "append-only").expect("judged").verdict
        ),
        (Verdict::NotProven, Verdict::NotProven)
    );
}

/// However large what it must keep: bounded, and said.
#[test]
fn more_than_a_bundle_may_hold_is_refuted() {
    let plant = Plant::example(1);
    let (anchors, mut run) = (plant.anchors(), Here::default());
    let form = |outcome: &Outcome| {
        let form = outcome.report.claim(None, "bundle-form").expect("judged");
        (form.verdict, form.text.clone())
    };
    // Fork proofs that are none, each as long as it may be.
    let mut verifier = Verifier::new(&anchors, Options::default());
    let longest = ForkProof::BYTES_MAX;
    for n in 0..=KEPT_BYTES_MAX / longest as u64 {
        let file = File {
            name: format!("forks/{n:04}.fork-proof"),
            bytes: vec![b'x'; longest],
        };
        verifier.push(file, &mut run);
    }
    let (verdict, text) = form(&verifier.finish(&mut run));
    assert_eq!(verdict, Verdict::Refuted);
    assert!(text.contains("bytes of keys, checkpoints"), "{text}");
    // Logs without end.
    let mut verifier = Verifier::new(&anchors, Options::default());
    for n in 0..=LOGS_MAX as u64 {
        let file = File {
            name: format!("logs/{n:064x}/log/checkpoint"),
            bytes: b"x".to_vec(),
        };
        verifier.push(file, &mut run);
    }
    let outcome = verifier.finish(&mut run);
    assert_eq!(outcome.report.logs.len(), LOGS_MAX);
    let more = outcome.report.findings_more + outcome.report.findings.len() as u64;
    assert_eq!(more, LOGS_MAX as u64 + 1, "each was said");
    assert_eq!(form(&outcome).0, Verdict::Refuted);
}

#[test]
fn several_logs_stand_side_by_side() {
    let (one, two) = (Plant::example(1), Plant::example(2));
    let files = bundle(
        vec![(&one, one.source()), (&two, two.source())],
        |_| None,
        &[],
    );
    let trust = anchors(&format!(
        "site {} A\nsite {} B\n",
        one.site().hex(),
        two.site().hex()
    ));
    let report = judge(files.clone(), &trust);
    assert_eq!(
        (report.verdict, report.logs.len()),
        (Verdict::Proven, 2),
        "{report}"
    );
    // A record of one in the other's place.
    let from = |plant: &Plant| format!("logs/{}/records/0000000001.sdjwt", plant.site().hex());
    let foreign = files
        .iter()
        .find(|file| file.name == from(&two))
        .expect("there")
        .bytes
        .clone();
    let report = judge(
        edited(&files, &from(&one), |_, _| {
            String::from_utf8(foreign.clone()).expect("text")
        }),
        &trust,
    );
    assert_eq!(report.verdict, Verdict::Refuted);
    let finding = &report.findings[0];
    assert_eq!(
        (finding.leaf, finding.file.as_str()),
        (Some(1), from(&one).as_str())
    );
}

#[test]
fn a_broken_sum_a_cut_chain_and_a_feed_position_twice_are_refuted() {
    let mut plant = Plant::example(1);
    // Truly signed and logged, and still wrong together.
    let wrong = plant.sign(1, 4, Some("no such core"), 50).core().to_owned();
    assert!(!wrong.is_empty());
    plant.feed = 0;
    plant.sign(6, 1, None, 10);
    let report = judge(whole(&plant), &plant.anchors());
    assert_eq!(
        open(&report),
        [
            UNWITNESSED,
            ("revisions", Verdict::Refuted),
            ("feeds", Verdict::Refuted)
        ],
        "{report}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn hostile_bundles_give_a_report(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 1..100), sums in any::<bool>(), cut in any::<bool>(),
    ) {
        let plant = Plant::example(1);
        let mut files = whole(&plant);
        let which = which.index(files.len());
        let file = &mut files[which].bytes;
        let at = at.index(file.len());
        if cut { file.truncate(at); } else { file.splice(at..at, bytes); }
        let is_log = files[which].name.starts_with("logs/");
        let files = if sums { resummed(files) } else { files };
        let report = judge(files, &plant.anchors());
        prop_assert!(!report.to_string().is_empty());
        prop_assert!(sums && !is_log || report.verdict != Verdict::Proven, "{}", report);
    }
}
