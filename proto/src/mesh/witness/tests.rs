use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

use super::*;
use crate::{
    audit::fork::{ForkKind, samples::Site},
    id::{CircleId, ObjectId},
    keys::{Kept, KeyHistory, OperatingKeys, RootKey, Rotation, sign_manifest, sign_rotation},
    kinds::Kind,
    limits,
    membership::{Act, Role},
    mesh::issue::{Author, Item},
    sim::{Malice, Sim, With},
};

const LEAVES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
const OTHER: [&str; 12] = ["a", "b", "x", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

type Nodes = BTreeMap<(u8, u64), Digest>;

fn log(site: &Site, leaves: &[&str]) -> (Head, Nodes) {
    let (checkpoint, nodes) = site.log(leaves);
    let frontier = frontier_at(&nodes, checkpoint.size()).expect("all nodes");
    let head = Head {
        frontier,
        checkpoint,
    };
    (head, nodes)
}

fn pledge(size: u64, root: Digest, time: u64) -> Pledge {
    Pledge { size, root, time }
}

#[test]
fn a_witness_signs_what_it_followed_and_nothing_else() {
    let site = Site::new(1);
    let keys = site.keys();
    let (head, nodes) = log(&site, &LEAVES[..5]);
    let at = |size: usize| site.log(&LEAVES[..size]).0;
    let ask = |checkpoint: &Checkpoint, last: Option<Pledge>| {
        judge(checkpoint, &keys, Some(&head), &nodes, last.as_ref(), 100)
    };
    let signs = |size: usize| Judgement::Sign(pledge(size as u64, at(size).root(), 100));
    assert_eq!(ask(&at(5), None), signs(5));
    assert_eq!(ask(&at(3), None), signs(3), "no larger one was cosigned");
    assert_eq!(ask(&at(6), None), Judgement::NotYet(5), "not reached");
    let none = judge(&at(1), &keys, None, &nodes, None, 100);
    assert_eq!(none, Judgement::NotYet(0), "nothing is followed");
    let four = pledge(4, at(4).root(), 100);
    assert_eq!(ask(&at(3), Some(four)), Judgement::Larger(4));
    assert_eq!(
        ask(&at(4), Some(pledge(4, at(4).root(), 40))),
        Judgement::Sign(pledge(4, at(4).root(), 40)),
        "the same again says the same"
    );
    assert_eq!(
        ask(&at(5), Some(pledge(4, at(4).root(), 900))),
        Judgement::Sign(pledge(5, at(5).root(), 900)),
        "a clock that was set back does not make it go back"
    );
    for (size, kind) in [(5, ForkKind::SameSize), (4, ForkKind::Prefix)] {
        let other = site.log(&OTHER[..size]).0;
        let Judgement::Fork(proof) = ask(&other, None) else {
            panic!("size {size}: not seen as a fork");
        };
        assert_eq!(proof.kind(), kind);
        assert_eq!(proof.verify().expect("holds").site, Some(site.site));
    }
    let nothing = Nodes::new();
    let blind = judge(&at(3), &keys, Some(&head), &nothing, None, 100);
    assert_eq!(
        blind,
        Judgement::NotYet(0),
        "what cannot be compared is not signed"
    );
}

#[test]
fn a_pledge_is_for_one_checkpoint() {
    let site = Site::new(1);
    let (one, two) = (site.log(&LEAVES[..3]).0, site.log(&OTHER[..3]).0);
    let (mesh, witness) = (MeshId([3; 32]), SiteId([4; 32]));
    let key = SigningKey::from_bytes(&[5; 32]);
    let said = pledge(3, one.root(), 7);
    let line = said.cosign(&one, &mesh, &witness, &key).expect("signs");
    assert_eq!(
        line,
        said.cosign(&one, &mesh, &witness, &key).expect("signs")
    );
    assert!(said.cosign(&two, &mesh, &witness, &key).is_err());
}

#[test]
fn a_site_is_one_witness_under_old_and_new_keys() {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let [founder, root] = [1, 2].map(|n| RootKey::from_bytes(&[n; 32]));
    let [ours, old] = [1, 2].map(|n| OperatingKeys::from_seed(&[n; 32]));
    let new = OperatingKeys::renewed(&[3; 32], &Kept::default().after(&[2; 32]));
    let [manifest, theirs] = [(&founder, &ours), (&root, &old)]
        .map(|(root, keys)| sign_manifest(root, &keys.public(), 0, rng));
    let mesh = MeshId::found(&founder.site(), &[3; 16]);
    let acts = [
        Act::Found {
            nonce: [3; 16],
            name: "A".into(),
        },
        Act::Admit {
            site: root.site(),
            name: "B".into(),
            role: Role::Member,
            manifest: theirs.clone(),
        },
    ];
    let items = acts.map(|act| Item {
        kind: Kind::Membership,
        id: ObjectId::from_random([9; 16]),
        rev: 1,
        prev: None,
        retired: false,
        fields: act.write(),
        circles: [(CircleId::MESH_WIDE, BTreeSet::new())].into(),
    });
    let author = Author {
        mesh,
        site: founder.site(),
        keys: &ours,
        manifest: &manifest,
    };
    let (mut tails, seals) = (BTreeMap::new(), BTreeMap::new());
    let issued = author
        .issue(None, &mut tails, &seals, items.into(), 0, rng)
        .expect("signs");
    let (rev, prev) = KeyHistory::from_manifest(&theirs)
        .expect("a manifest")
        .0
        .newest_revision();
    let rotation = Rotation {
        seq: 4,
        rev: rev + 1,
        prev,
        position: 2,
        keys: new.public(),
    };
    let mut views: Vec<View> = issued.records.iter().map(|r| r.archive.clone()).collect();
    views.push(theirs);
    views.push(sign_rotation(&root, &rotation, 0, rng).expect("signs"));
    let (membership, errors) = Membership::compute(&mesh, &views);
    assert!(errors.is_empty(), "{errors:?}");
    // The site, and who stole its old witness key, both cosign.
    let name = Cosignature::name_of(&mesh, &root.site());
    let checkpoint = &issued.head.checkpoint;
    let both = [(&old, 7), (&new, 9)]
        .into_iter()
        .fold(checkpoint.clone(), |note, (keys, time)| {
            let line = Cosignature::sign(checkpoint, &name, time, keys.witness()).expect("signs");
            note.with_cosignature(&line).expect("fits")
        });
    let cosigned = Cosigned::check(both.note(), &mesh, &membership).expect("holds");
    assert_eq!(cosigned.by, [(root.site(), 9)], "by the newest key");
    assert_eq!(cosigned.dropped, 1);
    // What the old key alone signed still counts, as one.
    let line = Cosignature::sign(checkpoint, &name, 7, old.witness()).expect("signs");
    let early = checkpoint.with_cosignature(&line).expect("fits");
    let early = Cosigned::check(early.note(), &mesh, &membership).expect("holds");
    assert_eq!(early.by, [(root.site(), 7)]);
}

/// What happens to a witness.
#[derive(Debug, Clone)]
enum Step {
    /// The log grows here by so many leaves.
    Grow(usize),
    /// It is asked for this size; true: it is killed before the answer leaves.
    Ask(usize, bool),
    /// Its clock is set.
    Clock(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..4_usize).prop_map(Step::Grow),
        (0..13_usize, any::<bool>()).prop_map(|(size, dies)| Step::Ask(size, dies)),
        (0..50_u64).prop_map(Step::Clock),
    ]
}

proptest! {
    /// Whatever it is asked, wherever it is killed and whatever its clock says: no two of its cosignatures contradict each other.
    #[test]
    fn cosignatures_never_go_back(steps in prop::collection::vec(step(), 1..40)) {
        let site = Site::new(1);
        let keys = site.keys();
        let (mut size, mut now, mut disk) = (1, 10, None);
        let mut said: Vec<Pledge> = Vec::new();
        for step in steps {
            match step {
                Step::Grow(by) => size = (size + by).min(LEAVES.len()),
                Step::Clock(to) => now = to,
                Step::Ask(asked, dies) => {
                    let (head, nodes) = log(&site, &LEAVES[..size]);
                    let checkpoint = site.log(&LEAVES[..asked.min(LEAVES.len())]).0;
                    let judged = judge(&checkpoint, &keys, Some(&head), &nodes, disk.as_ref(), now);
                    if let Judgement::Sign(pledge) = judged {
                        prop_assert!(pledge.size <= size as u64);
                        disk = Some(pledge);
                        said.extend((!dies).then_some(pledge));
                    }
                }
            }
        }
        for (n, first) in said.iter().enumerate() {
            for later in &said[n..] {
                prop_assert!(first.size <= later.size && first.time <= later.time, "{said:?}");
                prop_assert!(first.size != later.size || first == later, "{said:?}");
            }
        }
    }

    /// What was cosigned at some time stays covered by something at least half as old, and little is kept.
    #[test]
    fn history_stays_short_and_covers_the_past(waits in prop::collection::vec(prop_oneof![0..3_u64, 1..200_u64, 1..100_000_u64], 1..300)) {
        let (mut now, mut history, mut all) = (1_000_000, Vec::new(), Vec::new());
        for (n, wait) in waits.iter().enumerate() {
            now += wait;
            history.push((n as u64, now));
            all.push((n as u64, now));
            let gone = redundant(&history, now);
            history.retain(|(size, _)| !gone.contains(size));
            prop_assert!(history.len() <= 2 * 28 + 2, "{} after {n}", history.len());
            let age = |at: u64| now - at + AGE_OFFSET_SECONDS;
            for (size, at) in &all {
                let covers = history.iter().find(|(kept, _)| kept >= size);
                let (_, kept) = covers.expect("the newest stays");
                prop_assert!(age(*kept) * 2 >= age(*at), "size {size}");
            }
            prop_assert_eq!(history.first().map(|(size, _)| *size), Some(0));
        }
    }

    #[test]
    fn history_is_bounded_whatever_the_clock_does(times in prop::collection::vec(any::<u64>(), 0..400), now in any::<u64>()) {
        let mut history: Vec<(u64, u64)> = Vec::new();
        for (n, at) in times.into_iter().enumerate() {
            history.push((n as u64, at));
            let gone = redundant(&history, now);
            history.retain(|(size, _)| !gone.contains(size));
        }
        prop_assert!(history.len() <= HISTORY_MAX, "{}", history.len());
    }
}

/// Three members that share something, connected.
fn three() -> (Sim, CircleId) {
    let mut sim = Sim::mesh(11, 3);
    let circle = sim.circle(0, With::Group(vec![1]), &["name"]);
    sim.publish(0, 1);
    sim.run_for(20_000);
    (sim, circle)
}

#[test]
fn a_log_is_cosigned_by_those_who_follow_it_and_everybody_hears() {
    let (mut sim, _) = three();
    for _ in 0..3 {
        sim.publish(0, 2);
        sim.run_for(10_000);
        let size = sim.size(0, 0);
        for site in 0..3 {
            assert_eq!(sim.cosigned(site, 0), Some((size, 2)), "site {site}");
        }
    }
    // Steady change does not keep the witnesses waiting.
    let before = sim.cosigned(2, 0);
    for _ in 0..12 {
        sim.publish(0, 1);
        sim.run_for(500);
    }
    assert!(sim.cosigned(2, 0) > before);
    assert!(sim.cosigned(2, 0) < Some((sim.size(0, 0), 3)));
    sim.settle(60_000).expect("all is told");
}

#[test]
fn who_was_away_gets_the_cosigned_checkpoint_and_adds_its_own() {
    let (mut sim, _) = three();
    sim.crash(2);
    sim.publish(0, 3);
    sim.run_for(60_000);
    let size = sim.size(0, 0);
    assert_eq!(sim.cosigned(1, 0), Some((size, 1)), "the third is away");
    // Who comes back first meets the other partner, not the author.
    sim.crash(0);
    sim.restart(2);
    sim.run_for(90_000);
    assert_eq!(sim.cosigned(2, 0), Some((size, 1)), "pulled from a partner");
    sim.restart(0);
    sim.run_for(90_000);
    for site in 0..3 {
        assert_eq!(sim.cosigned(site, 0), Some((size, 2)), "site {site}");
    }
}

#[test]
fn a_lost_gossip_message_is_pulled() {
    let (mut sim, _) = three();
    sim.faults.gossip_lost = 1_000;
    sim.publish(0, 2);
    sim.run_for(180_000);
    let size = sim.size(0, 0);
    for site in 0..3 {
        assert_eq!(sim.cosigned(site, 0), Some((size, 2)), "site {site}");
    }
}

#[test]
fn crashing_witnesses_do_not_go_back() {
    for seed in 0..6 {
        let mut sim = Sim::mesh(seed, 3);
        sim.circle(0, With::Everyone, &["name"]);
        sim.skew(1, -3_000 * seed as i64);
        for round in 0..30 {
            sim.publish(0, 1);
            sim.run_for(900 + 13 * round);
            sim.crash(1);
            sim.skew(1, 500 - 100 * round as i64);
            sim.run_for(3 + round);
            sim.restart(1);
            sim.run_for(2_000);
        }
        sim.run_for(30_000);
        let said = sim.cosignatures(1, 0);
        assert!(said.len() > 3, "seed {seed}: {} cosignatures", said.len());
        for pair in said.windows(2) {
            let [first, later] = pair else { continue };
            assert!(
                first.size <= later.size && first.time <= later.time,
                "seed {seed}: {pair:?}"
            );
        }
    }
}

#[test]
fn two_who_were_told_different_things_find_out_and_stop_cosigning() {
    for seed in 0..8 {
        let mut sim = Sim::mesh(seed, 5);
        sim.circle(0, With::Everyone, &["name"]);
        sim.publish(0, 1);
        sim.run_for(20_000);
        sim.corrupt(0, Malice::Equivocate);
        for _ in 0..4 {
            sim.publish(0, 1);
            sim.run_for(10_000);
        }
        sim.run_for(180_000);
        for site in 1..5 {
            let proofs = sim.forks(site, 0);
            assert!(!proofs.is_empty(), "seed {seed}: site {site} has no proof");
            assert!(proofs.len() <= limits::FORKS_PER_SITE_MAX);
            for text in proofs {
                let fork = ForkProof::decode(text).and_then(|proof| proof.verify());
                assert!(fork.is_ok(), "seed {seed}: {fork:?}");
            }
            let others = (1..5).filter(|other| !sim.forks(site, *other).is_empty());
            assert_eq!(others.count(), 0, "seed {seed}: an honest site is accused");
        }
        let said: Vec<usize> = (1..5).map(|site| sim.cosignatures(site, 0).len()).collect();
        sim.publish(0, 1);
        sim.run_for(30_000);
        let after: Vec<usize> = (1..5).map(|site| sim.cosignatures(site, 0).len()).collect();
        assert_eq!(said, after, "seed {seed}: a forked log was cosigned");
    }
}
