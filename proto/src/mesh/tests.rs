//! The machine alone: one input at a time, and what it asks for. Whole meshes are in [`crate::sim`].

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use super::{
    follow::Reader,
    issue::{Author, Item},
    page::FeedPage,
    *,
};
use crate::{
    id::ObjectId,
    keys::{OperatingKeys, RootKey, sign_manifest},
    kinds::Kind,
    limits,
    membership::{Act, Role},
    publication::Publication,
    record::View,
    wire::{request, response},
};

/// Two members, A who founded the mesh and B; the machine is that of A.
struct Pair {
    mesh: Mesh,
    id: MeshId,
    b: SiteId,
    b_keys: OperatingKeys,
    b_manifest: View,
    now: u64,
}

impl Pair {
    fn new() -> Self {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let [a_root, b_root] = [1, 2].map(|n| RootKey::from_bytes(&[n; 32]));
        let [a_keys, b_keys] = [1, 2].map(|n| OperatingKeys::from_seed(&[n; 32]));
        let a_manifest = sign_manifest(&a_root, &a_keys.public(), 0, rng);
        let b_manifest = sign_manifest(&b_root, &b_keys.public(), 0, rng);
        let id = MeshId::found(&a_root.site(), &[3; 16]);
        let acts = [
            Act::Found {
                nonce: [3; 16],
                name: "A".into(),
            },
            Act::Admit {
                site: b_root.site(),
                name: "B".into(),
                role: Role::Member,
                manifest: b_manifest.clone(),
            },
        ];
        let author = Author {
            mesh: id,
            site: a_root.site(),
            keys: &a_keys,
            manifest: &a_manifest,
        };
        let items = acts.iter().map(|act| plain(Kind::Membership, act.write()));
        let issuance = author
            .issue(
                None,
                &mut BTreeMap::new(),
                &BTreeMap::new(),
                items.collect(),
                0,
                rng,
            )
            .unwrap();
        let views: Vec<View> = issuance.records.iter().map(|r| r.archive.clone()).collect();
        let (membership, errors) = Membership::compute(&id, &views);
        assert!(errors.is_empty(), "{errors:?}");
        let setup = Setup {
            me: a_root.site(),
            mesh: id,
            boot_id: 7,
            seed: 9,
            software: "test".into(),
            membership: Arc::new(membership),
            heads: Vec::new(),
            own_head: None,
            ask_own: Default::default(),
            cosigned: Vec::new(),
            forks: Vec::new(),
            feeds: Vec::new(),
            addresses: Vec::new(),
            own_record: None,
        };
        Self {
            mesh: Mesh::new(setup, 1_000),
            id,
            b: b_root.site(),
            b_keys,
            b_manifest,
            now: 1_000,
        }
    }

    /// Connected, hellos said, first heads exchanged and equal.
    fn met() -> Self {
        let mut pair = Self::new();
        pair.input(Input::Connected { site: pair.b });
        pair.answer(pair.hello(1));
        pair.heads(0, &[]);
        assert!(pair.outputs().is_empty());
        pair
    }

    fn b_record(&self, seq: u64, address: &str) -> wire::AddressRecord {
        let addresses = [address.to_owned()];
        crate::directory::sign(&self.b_keys, &self.id, &self.b, seq, addresses)
    }

    fn hello(&self, boot_id: u64) -> response::What {
        response::What::Hello(wire::Hello {
            mesh: self.id.0.to_vec(),
            version: limits::PROTOCOL_VERSION,
            boot_id,
            address: Some(self.b_record(boot_id, "/b")),
            membership: self.mesh.membership.digest().0.to_vec(),
            ..wire::Hello::default()
        })
    }

    fn input(&mut self, input: Input) {
        self.mesh.handle(input, self.now, 0);
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.input(Input::Tick);
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.mesh.poll()).collect()
    }

    /// The one call that was made since.
    fn call(&mut self) -> (u64, request::What) {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    fn calls(&mut self) -> Vec<(u64, request::What)> {
        let calls = self
            .outputs()
            .into_iter()
            .filter_map(|output| match output {
                Output::Request { to, id, request } if to == self.b => Some((id, request.what?)),
                _ => None,
            });
        calls.collect()
    }

    /// Answers the one call that was made since.
    fn answer(&mut self, what: response::What) {
        let (id, _) = self.call();
        self.response(id, Some(what));
    }

    fn response(&mut self, id: u64, what: Option<response::What>) {
        let result = match what {
            Some(what) => Ok(wire::Response { what: Some(what) }),
            None => Err("the stream broke".into()),
        };
        self.input(Input::Response {
            from: self.b,
            id,
            result,
        });
    }

    /// B answers the one heads call: how long its log is, and how far feeds go.
    fn heads(&mut self, size: u64, tails: &[(CircleId, u64)]) {
        let feed = tails.iter().map(|(circle, feed_seq)| wire::FeedTail {
            circle: circle.0.to_vec(),
            feed_seq: *feed_seq,
        });
        let heads = response::What::Heads(wire::HeadsResponse {
            digest: vec![1; 32],
            head: vec![wire::Head {
                site: self.b.0.to_vec(),
                size,
                root: vec![2; 32],
            }],
            feed: feed.collect(),
            address: Vec::new(),
            membership: self.mesh.membership.digest().0.to_vec(),
            ..wire::HeadsResponse::default()
        });
        self.answer(heads);
    }

    /// B's log as it grows by one plain record at a time.
    fn publications(&self, n: usize) -> Vec<Publication> {
        let author = Author {
            mesh: self.id,
            site: self.b,
            keys: &self.b_keys,
            manifest: &self.b_manifest,
        };
        let rng = &mut ChaCha8Rng::seed_from_u64(2);
        let (mut head, mut tails) = (None, BTreeMap::new());
        let mut all = Vec::new();
        for _ in 0..n {
            let items = vec![plain(Kind::Resource, BTreeMap::new())];
            let issuance = author
                .issue(head.as_ref(), &mut tails, &BTreeMap::new(), items, 0, rng)
                .unwrap();
            all.extend(issuance.publications);
            head = Some(issuance.head);
        }
        all
    }

    fn gossip(&mut self, bytes: Vec<u8>) -> Verdict {
        self.input(Input::Gossip {
            from: self.b,
            token: 5,
            bytes,
        });
        let verdicts: Vec<Verdict> = self.outputs().into_iter().filter_map(verdict_of).collect();
        assert_eq!(verdicts.len(), 1);
        verdicts[0]
    }
}

fn verdict_of(output: Output) -> Option<Verdict> {
    match output {
        Output::Verdict { token: 5, verdict } => Some(verdict),
        _ => None,
    }
}

fn plain(kind: Kind, fields: crate::record::Fields) -> Item {
    Item {
        kind,
        id: ObjectId::from_random([4; 16]),
        rev: 1,
        prev: None,
        retired: false,
        fields,
        circles: BTreeMap::from([(CircleId::MESH_WIDE, BTreeSet::new())]),
    }
}

#[test]
fn a_hello_without_answer_is_said_again_and_nothing_spins_meanwhile() {
    let mut pair = Pair::new();
    pair.input(Input::Connected { site: pair.b });
    let (id, what) = pair.call();
    assert!(matches!(what, request::What::Hello(_)));
    pair.input(Input::GossipLost);
    assert!(pair.mesh.next_deadline() > pair.now + 1_000);
    pair.response(id, None);
    assert!(pair.outputs().is_empty());
    pair.pass(pair.mesh.next_deadline() - pair.now);
    assert!(matches!(pair.call().1, request::What::Hello(_)));
}

#[test]
fn a_peer_of_another_version_is_redialled_later_each_time() {
    let mut pair = Pair::met();
    let mut waits = Vec::new();
    for _ in 0..10 {
        pair.input(Input::Disconnected { site: pair.b });
        let mut waited = 0;
        while !pair
            .outputs()
            .iter()
            .any(|o| matches!(o, Output::Dial { .. }))
        {
            let step = pair.mesh.next_deadline() - pair.now;
            waited += step;
            pair.pass(step);
        }
        waits.push(waited);
        pair.input(Input::Connected { site: pair.b });
        let other = response::What::Hello(wire::Hello {
            version: 99,
            ..wire::Hello::default()
        });
        pair.answer(other);
    }
    assert!(waits[0] < 1_000 && waits[9] > 50_000, "{waits:?}");
}

#[test]
fn a_new_boot_id_beside_a_live_connection_closes_it() {
    let mut pair = Pair::met();
    let (b, response::What::Hello(hello)) = (pair.b, pair.hello(2)) else {
        unreachable!()
    };
    let request = wire::Request {
        what: Some(request::What::Hello(hello)),
    };
    pair.input(Input::Request {
        from: b,
        token: 1,
        request,
    });
    let outputs = pair.outputs();
    assert!(
        outputs
            .iter()
            .any(|o| matches!(o, Output::Respond { token: 1, .. }))
    );
    assert!(
        outputs
            .iter()
            .any(|o| matches!(o, Output::Disconnect { site } if *site == b))
    );
}

#[test]
fn a_feed_answer_counts_from_where_it_was_asked() {
    let mut pair = Pair::met();
    let circle = CircleId([8; 16]);
    // B's log comes first; then the feed, which B's heads alone made known.
    pair.pass(60_000);
    pair.heads(1, &[(circle, 9)]);
    let (id, what) = pair.call();
    assert!(matches!(what, request::What::Publications(_)));
    let page = wire::PublicationsResponse {
        publication: vec![pair.publications(1)[0].bytes().to_vec()],
    };
    pair.response(id, Some(response::What::Publications(page)));
    let outputs = pair.outputs();
    let [Output::Take { work, .. }] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    let grown = Progress {
        work: *work,
        heads: vec![(pair.b, 2, Digest([0; 32]))],
        feeds: vec![(pair.b, circle, 5)],
        ..Progress::default()
    };
    pair.input(Input::Taken(grown));
    let calls = pair.calls();
    let asked = |what: &request::What| matches!(what, request::What::Feed(f) if f.after == 5);
    let (id, _) = calls
        .iter()
        .find(|(_, what)| asked(what))
        .expect("a feed call");
    // Gossip is faster than the answer.
    let faster = Progress {
        feeds: vec![(pair.b, circle, 7)],
        ..Progress::default()
    };
    pair.input(Input::Taken(faster));
    let page = wire::FeedResponse {
        view: vec![pair.b_manifest.encode().into_bytes()],
        last: 9,
        withheld: Vec::new(),
    };
    pair.response(*id, Some(response::What::Feed(page)));
    let taken = pair.outputs().into_iter().find_map(|output| match output {
        Output::Take {
            incoming: Incoming::Feed { page, .. },
            ..
        } => Some(page.after()),
        _ => None,
    });
    assert_eq!(taken, Some(5));
}

#[test]
fn pages_are_asked_for_ahead_of_the_disk_and_again_when_one_was_not_taken() {
    let mut pair = Pair::met();
    let circle = CircleId([8; 16]);
    pair.pass(60_000);
    pair.heads(0, &[(circle, 9)]);
    let known = Progress {
        heads: vec![(pair.b, 2, Digest([0; 32]))],
        feeds: vec![(pair.b, circle, 5)],
        ..Progress::default()
    };
    pair.input(Input::Taken(known));
    // The log is known now, so the pages come: two of one record each, the second before the first is on disk.
    let mut works = Vec::new();
    for after in [5, 6] {
        let calls = pair.calls();
        let of_circle = |what: &request::What| match what {
            request::What::Feed(ask) if ask.circle == circle.0 => Some((ask.after, ask.held)),
            _ => None,
        };
        let (id, asked) = calls
            .iter()
            .find_map(|(id, what)| Some((*id, of_circle(what)?)))
            .expect("a feed call");
        assert_eq!(asked, (after, 5), "only what is on disk is acknowledged");
        let page = wire::FeedResponse {
            view: vec![pair.b_manifest.encode().into_bytes()],
            last: 7,
            withheld: Vec::new(),
        };
        pair.response(id, Some(response::What::Feed(page)));
        let taken = pair.mesh.works.iter().find(|(work, what)| {
            matches!(what, Work::Feed(_, c, end) if *c == circle && *end == after + 1)
                && !works.contains(*work)
        });
        works.push(*taken.expect("given to the writer").0);
    }
    pair.outputs();
    assert_eq!(pair.mesh.behind(&pair.b), 2, "nothing is on disk yet");
    for work in works {
        let nothing = Progress {
            work,
            ..Progress::default()
        };
        pair.input(Input::Taken(nothing));
    }
    pair.pass(pause(1));
    let again = pair.calls().into_iter().find_map(|(_, what)| match what {
        request::What::Feed(ask) if ask.circle == circle.0 => Some(ask.after),
        _ => None,
    });
    assert_eq!(again, Some(5));
}

#[test]
fn a_page_of_a_feed_waits_for_the_one_before_it() {
    let pair = Pair::new();
    let reader = Reader {
        me: pair.mesh.me,
        mesh: pair.id,
        keys: &pair.b_keys,
        membership: &pair.mesh.membership,
    };
    let page = |after: u64| Incoming::Feed {
        issuer: pair.b,
        circle: CircleId([8; 16]),
        page: FeedPage::contiguous(after, vec![pair.b_manifest.clone()]),
    };
    let taken = |after: u64| reader.take(page(after), &[], &AtFour).unwrap();
    assert!(taken(5).is_empty(), "4 is on disk, 5 is not");
    assert_eq!(taken(4).refused.len(), 1, "this one is looked at");
}

/// A store that has every feed up to position 4, and nothing else.
struct AtFour;

impl follow::Ledger for AtFour {
    type Error = std::convert::Infallible;
    fn head(&self, _: &SiteId) -> Result<Option<follow::Head>, Self::Error> {
        Ok(None)
    }
    fn leaf(&self, _: &SiteId, _: u64) -> Result<Option<Digest>, Self::Error> {
        Ok(None)
    }
    fn held(&self, _: &SiteId, _: u64) -> Result<Option<Digest>, Self::Error> {
        Ok(None)
    }
    fn node(&self, _: &SiteId, _: u8, _: u64) -> Result<Option<Digest>, Self::Error> {
        Ok(None)
    }
    fn view(&self, _: &SiteId, _: u64) -> Result<Option<View>, Self::Error> {
        Ok(None)
    }
    fn current(&self, _: &SiteId, _: &Kind, _: &ObjectId) -> Result<Option<u64>, Self::Error> {
        Ok(None)
    }
    fn feed_position(&self, _: &SiteId, _: &CircleId) -> Result<u64, Self::Error> {
        Ok(4)
    }
    fn fed(&self, _: &SiteId, _: &CircleId, _: u64) -> Result<Option<u64>, Self::Error> {
        Ok(None)
    }
    fn epoch_key(
        &self,
        _: &SiteId,
        _: &CircleId,
        _: u64,
    ) -> Result<Option<crate::circle::EpochKey>, Self::Error> {
        Ok(None)
    }
    fn is_granted(&self, _: &SiteId, _: &CircleId) -> Result<bool, Self::Error> {
        Ok(false)
    }
}

#[test]
fn a_feed_that_is_refused_is_not_asked_for_again() {
    let mut pair = Pair::met();
    pair.pass(60_000);
    pair.heads(
        0,
        &[(CircleId([8; 16]), u64::MAX), (CircleId([9; 16]), u64::MAX)],
    );
    // No log of B is known yet, so there is nothing to check records against.
    assert!(pair.calls().is_empty());
    assert_eq!(pair.mesh.behind(&pair.b), u64::MAX);
    let progress = Progress {
        heads: vec![(pair.b, 1, Digest([0; 32]))],
        ..Progress::default()
    };
    pair.input(Input::Taken(progress));
    for (id, what) in pair.calls() {
        assert!(matches!(what, request::What::Feed(_)));
        let refusal = wire::Refusal {
            code: "not-served".into(),
            text: String::new(),
        };
        pair.response(id, Some(response::What::Refusal(refusal)));
    }
    assert_eq!(pair.mesh.behind(&pair.b), 0);
    pair.pass(20_000);
    assert!(
        pair.calls()
            .iter()
            .all(|(_, what)| !matches!(what, request::What::Feed(_)))
    );
}

#[test]
fn heads_that_differ_for_good_are_not_exchanged_for_ever() {
    let mut pair = Pair::met();
    let asked = |pair: &mut Pair, digest: u8| {
        pair.now += 1_000;
        let request = wire::Request {
            what: Some(request::What::Heads(wire::HeadsRequest {
                digest: vec![digest; 32],
                feed: Vec::new(),
                membership: pair.mesh.membership.digest().0.to_vec(),
                ..wire::HeadsRequest::default()
            })),
        };
        pair.input(Input::Request {
            from: pair.b,
            token: 1,
            request,
        });
        pair.input(Input::Served { to: pair.b });
        pair.calls().len()
    };
    assert_eq!(asked(&mut pair, 1), 0, "compared when they met");
    assert_eq!(asked(&mut pair, 2), 1, "news");
}

#[test]
fn a_peer_that_never_shows_what_it_claims_is_asked_less_and_less() {
    let mut pair = Pair::met();
    pair.now += 60_000;
    let (mut asked, start) = (0, pair.now);
    while pair.now < start + 600_000 {
        pair.pass(500);
        for (id, what) in pair.calls() {
            asked += 1;
            let answer = match what {
                request::What::Heads(_) => response::What::Heads(wire::HeadsResponse {
                    digest: vec![asked as u8; 32],
                    head: vec![wire::Head {
                        site: pair.b.0.to_vec(),
                        size: u64::MAX,
                        root: vec![2; 32],
                    }],
                    ..wire::HeadsResponse::default()
                }),
                _ => response::What::Publications(wire::PublicationsResponse::default()),
            };
            pair.response(id, Some(answer));
        }
    }
    assert!((20..=80).contains(&asked), "{asked} calls in ten minutes");
}

#[test]
fn gossip_is_judged_by_what_an_honest_node_can_send() {
    let mut pair = Pair::met();
    let all = pair.publications(3);
    let message = |publication: &Publication| wrap(publication.bytes().to_vec());
    let good = message(&all[0]);
    let mut second_form = good.clone();
    second_form.extend([0x1a, 0]);
    let mut forged = wire::Publication::decode(all[1].bytes()).unwrap();
    forged.leaf_hash[0][0] ^= 1;
    let forged = wrap(forged.encode_to_vec());
    for (bytes, verdict, why) in [
        (vec![0xff; 40], Verdict::Reject, "noise"),
        (Vec::new(), Verdict::Ignore, "of a newer version"),
        (
            second_form,
            Verdict::Reject,
            "another form of a good message",
        ),
        (
            wrap(vec![1, 2, 3]),
            Verdict::Reject,
            "no publication inside",
        ),
        (
            forged.clone(),
            Verdict::Reject,
            "leaves that do not lead to the root",
        ),
        (
            vec![0; limits::PUBLICATION_BYTES_MAX + 17],
            Verdict::Reject,
            "too long",
        ),
        (good.clone(), Verdict::Accept, "good"),
        (
            message(&all[2]),
            Verdict::Accept,
            "good, with a gap before it",
        ),
    ] {
        assert_eq!(pair.gossip(bytes), verdict, "{why}");
    }
    // Forgeries in B's name do not use up what B may send.
    for _ in 0..2 * PUBLICATIONS_BURST {
        pair.gossip(forged.clone());
    }
    assert_eq!(pair.gossip(message(&all[1])), Verdict::Accept);
    pair.input(Input::Taken(Progress {
        work: 0,
        heads: vec![(pair.b, all[2].size(), Digest([0; 32]))],
        ..Progress::default()
    }));
    assert_eq!(pair.gossip(good), Verdict::Ignore, "known");
}

#[test]
fn old_checkpoints_that_are_gossiped_again_change_nothing_and_are_seen() {
    let mut pair = Pair::met();
    let all = pair.publications(2);
    let message = |publication: &Publication| wrap(publication.bytes().to_vec());
    let blamed = |pair: &mut Pair, bytes: Vec<u8>| {
        pair.input(Input::Gossip {
            from: pair.b,
            token: 5,
            bytes,
        });
        let outputs = pair.outputs();
        let verdict = outputs.iter().any(|output| {
            matches!(
                output,
                Output::Verdict {
                    token: 5,
                    verdict: Verdict::Ignore
                }
            )
        });
        assert!(verdict, "{outputs:?}");
        outputs.into_iter().find_map(|output| match output {
            Output::Misbehaved { site, what } => Some((site, what)),
            _ => None,
        })
    };
    assert_eq!(pair.gossip(message(&all[0])), Verdict::Accept);
    pair.input(Input::Taken(Progress {
        work: 0,
        heads: vec![(pair.b, all[0].size(), all[0].checkpoint.root())],
        ..Progress::default()
    }));
    assert_eq!(blamed(&mut pair, message(&all[0])), None, "merely late");
    pair.now += stale::LONG_MS;
    assert_eq!(
        pair.gossip(message(&all[1])),
        Verdict::Accept,
        "news is news"
    );
    pair.now += stale::LONG_MS;
    let (site, what) = blamed(&mut pair, message(&all[0])).expect("nobody honest keeps it so long");
    assert_eq!(site, pair.b);
    assert!(what.contains("had for long"), "{what}");
}

#[test]
fn an_address_counts_if_it_is_signed_and_newer_and_is_passed_on_then() {
    let mut pair = Pair::met();
    let gossip = |record: wire::AddressRecord| {
        let what = Some(wire::gossip::What::Address(record));
        wire::Gossip { what }.encode_to_vec()
    };
    let newer = pair.b_record(5, "/moved");
    let mut forged = newer.clone();
    forged.address = vec!["/elsewhere".into()];
    assert_eq!(pair.gossip(gossip(forged)), Verdict::Ignore, "not signed");
    assert_eq!(
        pair.gossip(gossip(pair.b_record(1, "/b"))),
        Verdict::Ignore,
        "known"
    );
    pair.now += 1_000;
    assert_eq!(pair.gossip(gossip(newer)), Verdict::Accept);
    assert_eq!(
        pair.gossip(gossip(pair.b_record(6, "/again"))),
        Verdict::Ignore,
        "too soon"
    );
    pair.now += 1_000;
    assert_eq!(
        pair.gossip(gossip(pair.b_record(4, "/b"))),
        Verdict::Ignore,
        "old"
    );
    // It is dialled where it is now.
    pair.input(Input::Disconnected { site: pair.b });
    pair.pass(1_000);
    let dialled = pair.outputs().into_iter().find_map(|output| match output {
        Output::Dial { addresses, .. } => Some(addresses),
        _ => None,
    });
    assert_eq!(dialled, Some(vec!["/moved".to_owned()]));
}

#[test]
fn own_addresses_are_told_when_they_change() {
    let mut pair = Pair::met();
    let own = crate::directory::sign(&pair.b_keys, &pair.id, &pair.b, 3, ["/own".to_owned()]);
    pair.input(Input::own_addresses(own.clone()));
    let outputs = pair.outputs();
    assert!(
        matches!(&outputs[..], [Output::Learned { record }, Output::Publish(_)] if *record == own),
        "{outputs:?}"
    );
    pair.input(Input::own_addresses(own));
    assert!(pair.outputs().is_empty(), "once");
}

#[test]
fn a_site_that_floods_is_ignored_and_pulled_from_later() {
    let mut pair = Pair::met();
    let publication = wrap(pair.publications(1)[0].bytes().to_vec());
    let mut verdicts = BTreeMap::new();
    for _ in 0..2 * PUBLICATIONS_BURST {
        *verdicts
            .entry(format!("{:?}", pair.gossip(publication.clone())))
            .or_insert(0) += 1;
    }
    assert_eq!(verdicts["Accept"], PUBLICATIONS_BURST, "{verdicts:?}");
    assert_eq!(verdicts["Ignore"], PUBLICATIONS_BURST);
    pair.now += 1_000;
    assert_eq!(pair.gossip(publication), Verdict::Accept);
}

#[test]
fn strangers_and_too_many_calls_are_refused() {
    let mut pair = Pair::met();
    let ask = || wire::Request {
        what: Some(request::What::Membership(wire::MembershipRequest::default())),
    };
    let stranger = SiteId([0x77; 32]);
    let mut refused = Vec::new();
    for (from, request) in [
        (stranger, ask()),
        (pair.b, wire::Request { what: None }),
        (pair.b, ask()),
        (pair.b, ask()),
        (pair.b, ask()),
        (pair.b, ask()),
        (pair.b, ask()),
    ] {
        pair.input(Input::Request {
            from,
            token: 1,
            request,
        });
        for output in pair.outputs() {
            if let Output::Respond { response, .. } = output
                && let Some(response::What::Refusal(refusal)) = response.what
            {
                refused.push(refusal.code);
            }
        }
    }
    assert_eq!(refused, ["not-a-member", "malformed", "busy"]);
    assert!(pair.mesh.peers.keys().all(|site| *site != stranger));
}

impl Pair {
    /// A has signed so many records before this start, and connects to B.
    fn signed_before(size: u64) -> Self {
        let mut pair = Self::new();
        let me = pair.mesh.me;
        pair.mesh.grow(&me, size, Digest([1; 32]));
        pair.mesh.asking = own::Asking::new(AskOwn::Yes, pair.now);
        pair.input(Input::Connected { site: pair.b });
        pair.answer(pair.hello(1));
        pair
    }

    /// B's answer to a call for heads: how much of A's log it holds.
    fn tells_of_a(&mut self, size: u64) {
        let (id, what) = self.call();
        assert!(matches!(what, request::What::Heads(_)), "{what:?}");
        let head = wire::Head {
            site: self.mesh.me.0.to_vec(),
            size,
            root: vec![1; 32],
        };
        let heads = wire::HeadsResponse {
            digest: vec![9; 32],
            head: vec![head],
            membership: self.mesh.membership.digest().0.to_vec(),
            ..wire::HeadsResponse::default()
        };
        self.response(id, Some(response::What::Heads(heads)));
    }

    /// What was said of the own log since, and the calls that were made.
    fn own_log(&mut self) -> (Vec<OwnLog>, Vec<(u64, request::What)>) {
        let (mut said, mut calls) = (Vec::new(), Vec::new());
        for output in self.outputs() {
            match output {
                Output::OwnLog(told) => said.push(told),
                Output::Request { id, request, .. } => {
                    calls.push((id, request.what.expect("a call asks something")));
                }
                _ => {}
            }
        }
        (said, calls)
    }
}

#[test]
fn who_holds_no_more_of_our_log_clears_it() {
    for told in [0, 4, 5] {
        let mut pair = Pair::signed_before(5);
        pair.tells_of_a(told);
        assert_eq!(
            pair.own_log().0,
            [OwnLog::Whole { asked: 1 }],
            "{told} of 5"
        );
    }
}

#[test]
fn nobody_to_ask_clears_at_once_and_who_is_dialled_is_waited_for() {
    let mut pair = Pair::new();
    pair.mesh.asking = own::Asking::new(AskOwn::Yes, pair.now);
    pair.input(Input::Tick);
    assert_eq!(pair.own_log().0, [OwnLog::Whole { asked: 0 }]);

    let mut pair = Pair::new();
    pair.mesh.asking = own::Asking::new(AskOwn::Yes, pair.now);
    let b = pair.b;
    pair.mesh.peers.entry(b).or_default().dialling = true;
    pair.pass(5_000);
    assert_eq!(pair.own_log().0, [], "the dial is under way");
    pair.input(Input::DialFailed { site: b });
    assert_eq!(pair.own_log().0, [OwnLog::Whole { asked: 0 }]);

    let mut pair = Pair::signed_before(5);
    pair.pass(9_000);
    assert_eq!(pair.own_log().0, [], "it has not answered");
    pair.pass(2_000);
    assert_eq!(
        pair.own_log().0,
        [OwnLog::Whole { asked: 0 }],
        "for so long only"
    );
}

#[test]
fn more_than_we_hold_stops_us_until_it_is_here_and_records_came_back() {
    let mut pair = Pair::signed_before(5);
    pair.tells_of_a(8);
    let (said, calls) = pair.own_log();
    assert_eq!(
        said,
        [OwnLog::Behind {
            size: 8,
            by: pair.b
        }]
    );
    let [(_, request::What::Publications(asked))] = &calls[..] else {
        panic!("{calls:?}");
    };
    assert_eq!((&asked.site[..], asked.from), (&pair.mesh.me.0[..], 5));
    // The log is here; now whoever is connected gives back what it was shown, page after page.
    let me = pair.mesh.me;
    pair.mesh.logs.or_default(me).fetching = false;
    pair.mesh.grow(&me, 8, Digest([2; 32]));
    pair.input(Input::Tick);
    let (said, calls) = pair.own_log();
    assert_eq!(said, []);
    let returned = calls.iter().find_map(|(id, what)| match what {
        request::What::Returned(asked) => Some((*id, asked.from)),
        _ => None,
    });
    let (id, from) = returned.expect("B is asked");
    assert_eq!(from, 5);
    let empty = wire::ReturnedResponse::default();
    pair.response(id, Some(response::What::Returned(empty)));
    assert_eq!(pair.own_log().0, [OwnLog::Back]);
}

#[test]
fn who_claims_more_and_shows_nothing_stops_us_for_a_while_only() {
    let mut pair = Pair::signed_before(5);
    pair.tells_of_a(8);
    let mut behind = 0;
    for _ in 0..40 {
        let (said, calls) = pair.own_log();
        behind += said
            .iter()
            .filter(|told| matches!(told, OwnLog::Behind { .. }))
            .count();
        for (id, what) in calls {
            let me = pair.mesh.me.0.to_vec();
            let answer = match what {
                request::What::Publications(_) => Some(response::What::Publications(
                    wire::PublicationsResponse::default(),
                )),
                request::What::Returned(_) => {
                    Some(response::What::Returned(wire::ReturnedResponse::default()))
                }
                request::What::Heads(_) => Some(response::What::Heads(wire::HeadsResponse {
                    digest: vec![9; 32],
                    head: vec![wire::Head {
                        site: me,
                        size: 8,
                        root: vec![1; 32],
                    }],
                    membership: pair.mesh.membership.digest().0.to_vec(),
                    ..wire::HeadsResponse::default()
                })),
                _ => None,
            };
            pair.response(id, answer);
        }
        pair.pass(5_000);
    }
    assert!((1..=4).contains(&behind), "{behind} times behind");
    assert!(!pair.mesh.asking.is_behind(), "it may be signed");
}

impl Pair {
    /// A checkpoint of B's log with this root.
    fn b_checkpoint(&self, size: u64, root: u8) -> Checkpoint {
        let origin = Checkpoint::origin_of(&self.id, &self.b);
        Checkpoint::sign(&origin, size, Digest([root; 32]), self.b_keys.log())
    }

    fn gossips(&mut self, what: wire::gossip::What) -> (Verdict, Vec<Output>) {
        let bytes = wire::Gossip { what: Some(what) }.encode_to_vec();
        self.input(Input::Gossip {
            from: self.b,
            token: 5,
            bytes,
        });
        let (mut verdicts, mut others) = (Vec::new(), Vec::new());
        for output in self.outputs() {
            match output {
                Output::Verdict { verdict, .. } => verdicts.push(verdict),
                other => others.push(other),
            }
        }
        assert_eq!(verdicts.len(), 1);
        (verdicts[0], others)
    }
}

fn blames(outputs: &[Output]) -> bool {
    let blame = |output: &Output| matches!(output, Output::Misbehaved { .. });
    outputs.iter().any(blame)
}

#[test]
fn a_fork_proof_is_checked_before_it_is_passed_on_and_a_forged_one_is_blamed() {
    use crate::audit::fork::ForkProof;

    let mut pair = Pair::met();
    let keys = [pair.b_manifest.clone()];
    let (one, two) = (pair.b_checkpoint(3, 1), pair.b_checkpoint(3, 2));
    let text = |a: &Checkpoint, b: &Checkpoint| {
        wire::gossip::What::Fork(ForkProof::same_size(&keys, a, b).encode().into_bytes())
    };
    let stranger = OperatingKeys::from_seed(&[77; 32]);
    let forged = Checkpoint::sign(one.origin(), 3, Digest([9; 32]), stranger.log());
    let other_mesh = Checkpoint::origin_of(&MeshId([8; 32]), &pair.b);
    let elsewhere = |root| Checkpoint::sign(&other_mesh, 3, Digest([root; 32]), pair.b_keys.log());
    let (here, there) = (elsewhere(1), elsewhere(2));
    for (what, proof) in [
        ("one checkpoint twice", text(&one, &one)),
        ("a signature of somebody else", text(&one, &forged)),
        ("a log of another mesh", text(&here, &there)),
        ("no proof at all", wire::gossip::What::Fork(vec![b'x'; 40])),
    ] {
        let (verdict, outputs) = pair.gossips(proof);
        assert_eq!(verdict, Verdict::Reject, "{what}");
        assert!(blames(&outputs), "{what}");
    }
    let (verdict, outputs) = pair.gossips(text(&one, &two));
    assert_eq!(verdict, Verdict::Accept);
    let [Output::Take { work, incoming }] = &outputs[..] else {
        panic!("{outputs:?}");
    };
    assert!(matches!(incoming, Incoming::Fork { site, .. } if *site == pair.b));
    let kept = ForkProof::same_size(&keys, &one, &two)
        .encode()
        .into_bytes();
    pair.input(Input::Taken(Progress {
        work: *work,
        forks: vec![(pair.b, kept)],
        ..Progress::default()
    }));
    let told = |output: &Output| matches!(output, Output::Publish(_));
    assert!(!pair.outputs().iter().any(told), "it goes round already");
    let (verdict, outputs) = pair.gossips(text(&one, &two));
    assert_eq!((verdict, outputs.len()), (Verdict::Ignore, 0), "known");
    // And its log is cosigned no more.
    let ask = wire::CosignRequest {
        checkpoint: one.note().to_vec(),
    };
    pair.input(Input::Request {
        from: pair.b,
        token: 9,
        request: wire::Request {
            what: Some(request::What::Cosign(ask)),
        },
    });
    let refused = pair.outputs().into_iter().find_map(|output| match output {
        Output::Respond { response, .. } => response.what,
        _ => None,
    });
    assert!(
        matches!(&refused, Some(response::What::Refusal(refusal)) if refusal.code == "forked"),
        "{refused:?}"
    );
}

#[test]
fn gossip_about_cosignatures_is_checked_line_by_line() {
    use crate::note::Cosignature;

    let mut pair = Pair::met();
    let bare = pair.b_checkpoint(3, 1);
    let me = pair.mesh.me;
    let a_keys = OperatingKeys::from_seed(&[1; 32]);
    let line = |site: &SiteId, keys: &OperatingKeys| {
        let name = Cosignature::name_of(&pair.id, site);
        Cosignature::sign(&bare, &name, 7, keys.witness()).expect("signs")
    };
    let stranger = OperatingKeys::from_seed(&[77; 32]);
    let good = bare.with_cosignature(&line(&me, &a_keys)).expect("fits");
    let with_stranger = good
        .with_cosignature(&line(&SiteId([7; 32]), &stranger))
        .expect("fits");
    let own = bare
        .with_cosignature(&line(&pair.b, &pair.b_keys))
        .expect("fits");
    let other = pair.b_checkpoint(3, 2);
    let moved =
        String::from_utf8(other.note().to_vec()).expect("text") + &line(&me, &a_keys).line();
    let unsigned = String::from_utf8(good.note().to_vec())
        .expect("text")
        .replacen("\n3\n", "\n4\n", 1);
    let says = |note: &[u8]| wire::gossip::What::Checkpoint(note.to_vec());
    for (what, note) in [
        ("a cosignature of another checkpoint", moved.as_bytes()),
        ("no signature of the log", unsigned.as_bytes()),
        ("no note", &b"hello"[..]),
    ] {
        let (verdict, outputs) = pair.gossips(says(note));
        assert_eq!(verdict, Verdict::Reject, "{what}");
        assert!(blames(&outputs), "{what}");
    }
    let (verdict, outputs) = pair.gossips(says(own.note()));
    assert_eq!(
        (verdict, blames(&outputs)),
        (Verdict::Ignore, false),
        "its own witness"
    );
    let (verdict, _) = pair.gossips(says(with_stranger.note()));
    assert_eq!(verdict, Verdict::Ignore, "whose keys we do not know");
    let (verdict, _) = pair.gossips(says(good.note()));
    assert_eq!(verdict, Verdict::Accept);
    assert_eq!(
        pair.mesh.logs[&pair.b].claims[&pair.b], 3,
        "it is ahead of us"
    );
}
