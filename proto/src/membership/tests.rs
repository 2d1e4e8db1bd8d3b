use proptest::prelude::*;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
use serde_json::json;

use super::*;
use crate::{
    id::{CircleId, ObjectId},
    keys::{KeySet, OperatingKeys, RootKey, manifest_id, sign_manifest},
    record::{Claims, Fields, Issued},
};

/// A site that signs what it is told, true or not.
struct Author {
    root: RootKey,
    keys: OperatingKeys,
    manifest: View,
}
fn author(n: u8) -> Author {
    let root = RootKey::from_bytes(&[n; 32]);
    let keys = OperatingKeys::from_seed(&[n.wrapping_add(100); 32]);
    let manifest = sign_manifest(&root, &keys.public(), 1, &mut rng());
    Author {
        root,
        keys,
        manifest,
    }
}
fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}
impl Author {
    fn site(&self) -> SiteId {
        self.root.site()
    }

    fn claims(&self, kind: Kind, mesh: Option<MeshId>, seq: u64) -> Claims {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&seq.to_be_bytes());
        Claims {
            mesh,
            iss: self.site(),
            log: 1,
            seq,
            kind,
            id: ObjectId::from_random(id),
            rev: 1,
            prev: None,
            iat: 1_000 + seq,
            retired: false,
        }
    }

    fn signs(&self, seq: u64, act: &Act) -> View {
        self.signs_for(Some(mesh()), seq, &act.write())
    }

    fn signs_for(&self, mesh: Option<MeshId>, seq: u64, body: &Fields) -> View {
        let claims = self.claims(Kind::Membership, mesh, seq);
        let feeds = [(CircleId::MESH_WIDE, seq + 1)];
        Issued::sign(claims, body, &feeds, self.keys.record(), &mut rng())
            .unwrap()
            .full_view()
    }

    fn found(&self) -> View {
        self.signs(
            1,
            &Act::Found {
                nonce: [7; 16],
                name: "Founder".to_owned(),
            },
        )
    }

    fn admits(&self, seq: u64, other: &Self, role: Role) -> View {
        let (site, manifest) = (other.site(), other.manifest.clone());
        self.signs(
            seq,
            &Act::Admit {
                site,
                name: format!("Plant {site}"),
                role,
                manifest,
            },
        )
    }

    fn removes(&self, seq: u64, other: &Self, last_good: u64) -> View {
        self.signs(
            seq,
            &Act::Remove {
                site: other.site(),
                last_good,
                reason: None,
            },
        )
    }

    /// New operating keys from leaf `seq` on.
    fn rotates(&mut self, seq: u64) -> View {
        let log = self.keys.public().log;
        self.keys = OperatingKeys::from_seed(&[u8::try_from(seq).unwrap(); 32]);
        let (keys, prev) = (
            KeySet {
                log,
                ..self.keys.public()
            },
            Digest::of(self.manifest.core().as_bytes()),
        );
        let claims = self.claims(Kind::Keys, None, seq);
        let claims = Claims {
            id: manifest_id(&self.site()),
            rev: 2,
            prev: Some(prev),
            ..claims
        };
        let feeds = [(CircleId::MESH_WIDE, seq + 1)];
        let body = keys_body(&keys);
        Issued::sign(claims, &body, &feeds, self.root.key(), &mut rng())
            .unwrap()
            .full_view()
    }
}
fn keys_body(keys: &KeySet) -> Fields {
    let values = [
        ("record", keys.record.as_bytes()),
        ("log", keys.log.as_bytes()),
        ("witness", keys.witness.as_bytes()),
        ("transport", keys.transport.as_bytes()),
        ("box", &keys.boxed),
    ];
    values
        .into_iter()
        .map(|(name, key)| (name.to_owned(), json!(crate::id::to_hex(key))))
        .collect()
}

fn mesh() -> MeshId {
    MeshId::found(&author(1).site(), &[7; 16])
}

type Row = (SiteId, String, Role, KeySet, Option<SiteId>, u32, u64);
fn rows(membership: &Membership) -> Vec<Row> {
    let row = |m: &Member| {
        let keys = *m.keys.current();
        (
            m.site,
            m.name.clone(),
            m.role,
            keys,
            m.admitted_by,
            m.depth,
            m.since,
        )
    };
    membership.members().map(row).collect()
}
/// Removed sites: the cut, who did it, when and why.
type Cut = (SiteId, u64, SiteId, u64, Option<String>);
fn cuts(membership: &Membership) -> Vec<Cut> {
    let cut = |(site, gone): (&SiteId, &Removed)| {
        (
            *site,
            gone.last_good,
            gone.by,
            gone.since,
            gone.reason.clone(),
        )
    };
    membership.removed().iter().map(cut).collect()
}

/// The state, when every view holds; also checks that the records' own road gives the same.
fn state(views: &[View]) -> Membership {
    let (state, errors) = Membership::compute(&mesh(), views);
    assert_eq!(errors, []);
    let (verified, _) = verify::verify(&mesh(), views, &verify::Known::new());
    let half = Membership::compute(&mesh(), &views[..views.len() / 2]).0;
    for again in [
        Membership::from_verified(&mesh(), &verified),
        state.next(&mesh(), views).0,
        half.next(&mesh(), views).0,
    ] {
        assert_eq!(
            (rows(&state), cuts(&state), state.digest()),
            (rows(&again), cuts(&again), again.digest())
        );
    }
    state
}

/// Founder, two admins in a chain, a member whose admitting admin had rotated its keys.
fn story() -> Vec<View> {
    let (f, a, mut b, c) = (author(1), author(2), author(3), author(4));
    let by_founder = f.admits(2, &a, Role::Admin);
    let by_a = a.admits(3, &b, Role::Admin);
    let before = b.admits(4, &c, Role::Auditor);
    let rotation = b.rotates(5);
    let after = b.admits(6, &author(5), Role::Member);
    vec![
        f.manifest.clone(),
        f.found(),
        by_founder,
        by_a,
        before,
        rotation,
        after,
    ]
}

#[test]
fn a_mesh_grows_from_its_founder() {
    let state = state(&story());
    let (f, a, b) = (author(1), author(2), author(3));
    assert_eq!(state.members().count(), 5);
    assert_eq!(state.admins(), 3);
    let founder = state.member(&f.site()).unwrap();
    assert_eq!(
        (founder.name.as_str(), founder.depth, founder.since),
        ("Founder", 0, 1_001)
    );
    let auditor = state.member(&author(4).site()).unwrap();
    assert_eq!(
        (auditor.role, auditor.depth, auditor.admitted_by),
        (Role::Auditor, 3, Some(b.site()))
    );
    assert_eq!(
        state.by_transport(&a.keys.public().transport).unwrap().site,
        a.site()
    );
    let rotated = state.member(&b.site()).unwrap();
    assert_ne!(rotated.transport(), b.keys.public().transport);
    // A site goes on with its old one until partners know the new one.
    for (generation, peer) in [b.keys.public().transport, rotated.transport()]
        .iter()
        .enumerate()
    {
        assert_eq!(state.by_transport(peer).map(|m| m.site), Some(rotated.site));
        assert_eq!(rotated.keys.transport_generation(peer), Some(generation));
    }
    assert!(state.removed().is_empty());
}

#[test]
fn a_removed_member_is_out_and_what_it_did_later_is_void() {
    let views = [story(), vec![author(1).removes(3, &author(3), 6)]].concat();
    let state = state(&views);
    let inside: Vec<_> = state.members().map(|m| m.site).collect();
    let mut expected = [author(1).site(), author(2).site(), author(4).site()];
    expected.sort();
    assert_eq!(inside, expected);
    let gone = author(3).site();
    assert_eq!(cuts(&state), [(gone, 6, author(1).site(), 1_003, None)]);
    assert_eq!(
        state.removed()[&gone].was.as_ref().map(|m| m.role),
        Some(Role::Admin)
    );
    // What it signed before the cut counts, what it signed after it is void; its keys still tell which is which.
    assert_eq!([5, 6].map(|seq| state.voids(&gone, seq)), [false, true]);
    assert_eq!([5, 6].map(|size| state.follows(&gone, size)), [true, false]);
    assert!(state.keys_of(&gone).is_some());
    // Whom it let in after the cut never was a member, whatever it signs.
    let lost = author(5).site();
    assert!(state.voids(&lost, 0) && state.keys_of(&lost).is_some());
    assert!(!state.voids(&author(2).site(), 1_000_000));
}

#[test]
fn without_its_founding_there_is_no_mesh() {
    let views = story();
    let empty =
        |views: &[View], mesh: &MeshId| rows(&Membership::compute(mesh, views).0).is_empty();
    assert!(empty(&[], &mesh()));
    assert!(
        empty(&views[1..], &mesh()),
        "the founder's manifest is missing"
    );
    assert!(
        empty(&[&views[..1], &views[2..]].concat(), &mesh()),
        "the founding is missing"
    );
    assert!(empty(&views, &MeshId([0; 32])), "another mesh");
    // Somebody else's founding with the same nonce begins another mesh.
    let other = author(9);
    assert!(empty(&[other.manifest.clone(), other.found()], &mesh()));
}

#[test]
fn what_is_not_authentic_is_named_and_changes_nothing() {
    let (f, a, stranger) = (author(1), author(2), author(9));
    let good = story();
    let before = rows(&state(&good));
    // A character in the middle: the last one of base64 may carry unused bits.
    let forged = {
        let text = f.admits(8, &stranger, Role::Admin).encode();
        let at = text.rfind('.').unwrap() + 20;
        let other = if text.as_bytes()[at] == b'A' {
            "B"
        } else {
            "A"
        };
        View::decode(format!("{}{other}{}", &text[..at], &text[at + 1..]).as_bytes()).unwrap()
    };
    let elsewhere = f.signs_for(
        Some(MeshId([3; 32])),
        8,
        &Act::Role {
            site: a.site(),
            role: Role::Member,
            from: 0,
        }
        .write(),
    );
    // Signed by the key that its author gave up at leaf 5.
    let outdated = author(3).admits(7, &stranger, Role::Member);
    let site = {
        let name = Fields::from([("name".to_owned(), json!("Plant"))]);
        let claims = f.claims(Kind::Site, Some(mesh()), 8);
        Issued::sign(
            claims,
            &name,
            &[(CircleId::MESH_WIDE, 9)],
            f.keys.record(),
            &mut rng(),
        )
        .unwrap()
        .full_view()
    };
    let unknown = stranger.removes(4, &f, 0);
    let garbage = View::decode(b"e30.e30.AA~").unwrap();
    for (bad, words) in [
        (forged, "signature"),
        (elsewhere, "another mesh"),
        (outdated, "does not count"),
        (site, "says nothing about membership"),
        (unknown, "never admitted"),
        (garbage, "malformed"),
    ] {
        for at in [0, good.len()] {
            let mut views = good.clone();
            views.insert(at, bad.clone());
            let (state, errors) = Membership::compute(&mesh(), &views);
            assert_eq!(rows(&state), before, "{words}");
            let [(index, error)] = &errors[..] else {
                panic!("{words}: {errors:?}");
            };
            assert!(
                *index == at && error.to_string().contains(words),
                "{words}: {error}"
            );
        }
    }
}

#[test]
fn a_copied_transport_key_gains_nothing() {
    let (f, a) = (author(1), author(2));
    let mut thief = author(5);
    let keys = KeySet {
        transport: a.keys.public().transport,
        ..thief.keys.public()
    };
    thief.manifest = sign_manifest(&thief.root, &keys, 1, &mut rng());
    let views = [
        f.manifest.clone(),
        f.found(),
        f.admits(2, &a, Role::Member),
        f.admits(3, &thief, Role::Member),
    ];
    let state = state(&views);
    assert_eq!(state.members().count(), 3);
    assert_eq!(
        state.by_transport(&a.keys.public().transport).unwrap().site,
        a.site()
    );
}

/// Any acts among five sites, true to nothing but their signatures.
fn histories() -> impl Strategy<Value = Vec<View>> {
    let act = (1_u8..6, 1_u8..6, 0_u64..8, 0..6).prop_map(|(by, on, n, what)| (by, on, n, what));
    proptest::collection::vec(act, 0..14).prop_map(|acts| {
        let (f, a, b) = (author(1), author(2), author(3));
        let mut views = vec![f.manifest.clone(), f.found()];
        views.extend([f.admits(2, &a, Role::Admin), f.admits(3, &b, Role::Admin)]);
        for (i, (by, on, n, what)) in acts.into_iter().enumerate() {
            let (by, on, seq) = (author(by), author(on), 4 + i as u64);
            views.push(match what {
                0 | 1 => by.admits(seq, &on, Role::Admin),
                2 => by.admits(seq, &on, Role::Member),
                3 => by.signs(
                    seq,
                    &Act::Role {
                        site: on.site(),
                        role: Role::Member,
                        from: n,
                    },
                ),
                _ => by.removes(seq, &on, n),
            });
        }
        views
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn arrival_decides_nothing(views in histories(), keys in proptest::collection::vec(any::<u32>(), 24)) {
        let (one, errors) = Membership::compute(&mesh(), &views);
        // Another order, and some of it twice.
        let mut order: Vec<usize> = (0..views.len()).chain(0..views.len() / 3).collect();
        order.sort_by_key(|i| keys[*i % keys.len()].wrapping_mul(2_654_435_761 + (*i as u32)));
        let shuffled: Vec<View> = order.iter().map(|i| views[*i].clone()).collect();
        let (other, other_errors) = Membership::compute(&mesh(), &shuffled);
        prop_assert_eq!(rows(&one), rows(&other));
        prop_assert_eq!(cuts(&one), cuts(&other));
        prop_assert_eq!(one.digest(), other.digest());
        let refused: std::collections::BTreeSet<_> = errors.iter().map(|(i, _)| *i).collect();
        let other_refused = other_errors.iter().map(|(i, _)| order[*i]).collect();
        prop_assert_eq!(refused, other_refused);
        prop_assert!(one.members().all(|m| !one.removed().contains_key(&m.site)));
        prop_assert!(one.members().all(|m| m.keys.site() == m.site));
    }
}

/// A node's set, as it grows by what others give it.
struct Holder(BTreeMap<(SiteId, u64), View>);
impl Holder {
    fn new(views: impl Iterator<Item = View>) -> Self {
        let mut holder = Self(BTreeMap::new());
        holder.take(views.collect());
        holder
    }

    fn state(&self) -> Membership {
        let views: Vec<View> = self.0.values().cloned().collect();
        Membership::compute(&mesh(), &views).0
    }

    /// Keeps what can be checked, as a node does.
    fn take(&mut self, views: Vec<View>) {
        let all: Vec<View> = self.0.values().chain(&views).cloned().collect();
        let (state, errors) = Membership::compute(&mesh(), &all);
        for (i, view) in all.into_iter().enumerate() {
            let claims = view.clone().parse().unwrap().claims().clone();
            if errors.iter().all(|(bad, _)| *bad != i) && state.keys_of(&claims.iss).is_some() {
                self.0.insert((claims.iss, claims.seq), view);
            }
        }
    }

    /// Asks another for all that it has, a few records at a time.
    fn ask(&mut self, other: &Self) {
        let mut after = None;
        loop {
            let missing = other.state().lacking(&self.state().held(), after);
            let page: Vec<_> = missing.iter().take(3).copied().collect();
            after = page.last().copied();
            if page.is_empty() {
                return;
            }
            self.take(
                page.iter()
                    .filter_map(|at| other.0.get(at))
                    .cloned()
                    .collect(),
            );
            assert!(
                page.iter().all(|at| self.0.contains_key(at)),
                "each can be checked as it comes"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whoever holds which part of the acts, and in whichever order they meet: at the end they agree.
    #[test]
    fn nodes_that_ask_each_other_come_to_agree(views in histories(), parts in proptest::collection::vec(any::<u8>(), 20)) {
        let has = |node: u8| {
            let parts = &parts;
            let some = views.iter().enumerate().filter(move |(i, _)| *i < 2 || parts[*i] >> node & 1 == 1);
            Holder::new(some.map(|(_, view)| view.clone()))
        };
        let (mut a, mut b, mut c) = (has(0), has(1), has(2));
        for _ in 0..3 {
            a.ask(&b);
            c.ask(&b);
            b.ask(&c);
            b.ask(&a);
        }
        let [one, two, three] = [a.state(), b.state(), c.state()];
        prop_assert_eq!(one.digest(), two.digest());
        prop_assert_eq!(two.digest(), three.digest());
        prop_assert_eq!(one.held(), three.held());
        prop_assert_eq!((rows(&one), cuts(&one)), (rows(&two), cuts(&two)));
        prop_assert_eq!((rows(&one), cuts(&one)), (rows(&three), cuts(&three)));
    }
}

#[test]
fn what_somebody_lacks_is_the_end_of_what_is_there() {
    let views = story();
    let (whole, part) = (state(&views), state(&views[..3]));
    assert_eq!(whole.lacking(&whole.held(), None), []);
    let [f, a, b] = [author(1), author(2), author(3)].map(|who| who.site());
    assert_eq!(
        whole.lacking(&part.held(), None),
        [(a, 3), (b, 4), (b, 5), (b, 6)],
        "each after the admission of its author"
    );
    assert_eq!(whole.lacking(&part.held(), Some((b, 4))), [(b, 5), (b, 6)]);
    assert_eq!(part.lacking(&whole.held(), None), []);
    // Another act where ours stands: all of that author's acts are given.
    let other = [
        views[..2].to_vec(),
        vec![author(1).admits(2, &author(2), Role::Member)],
    ]
    .concat();
    let other = state(&other);
    assert_ne!(other.digest(), part.digest());
    assert_eq!(part.lacking(&other.held(), None), [(f, 1), (f, 2)]);
    assert_eq!([f, a, b].map(|site| whole.acts_of(&site)), [2, 1, 3]);
}
