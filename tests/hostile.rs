//! Hostile peers against real nodes: strangers, and members that have gone over.
//!
//! After every attack the victim is up, honest partners hear from each other, memory is bounded, and where somebody
//! misbehaved the node says who and how.

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use fmesh::{keystore, writer::Edit};
use fmesh_proto::{
    circle::Audience,
    id::{CircleId, MeshId, ObjectId, SiteId},
    invite::{Ticket, join_proof},
    keys::OperatingKeys,
    kinds::Kind,
    membership::Role,
    mesh::issue::{Author, Item},
    record::View,
    wire,
};
use hostile::{Attacker, JOIN, Met, Raw, SYNC, resident};
use prost::Message as _;
use support::{Site, capacity, circle, until};

/// What an attack may leave behind in memory. Generous: attacker and both nodes are one process.
const GROWTH_MAX: u64 = 192 << 20;

/// A victim, an honest partner of it, and the keys of a third member that is honest no more.
struct World {
    a: Site,
    b: Site,
    rogue: SiteId,
    keys: OperatingKeys,
    manifest: View,
    memory: u64,
    free: AtomicU32,
}

impl World {
    async fn new() -> Self {
        let a = Site::start("Alu Ost").await;
        let b = Site::start("Bolt Nord").await;
        let mut m = Site::start("Mallory").await;
        let ticket = a.open_door(true).await;
        b.join(&ticket).await;
        m.join(&ticket).await;
        a.meets(&b).await;
        a.meets(&m).await;
        let invite = a.node().store.invites().expect("reads")[0].id;
        a.apply(vec![Edit::RevokeInvite { id: invite }]).await;
        let rogue = m.id();
        m.stop().await;
        let all = circle(
            "all",
            Audience::Pairwise { to: b.id() },
            &[Kind::Capacity],
            None,
        );
        a.apply(vec![all, capacity("DMU-80", 1)]).await;
        let keystore = keystore::load(m.dir.path()).expect("keys");
        until("Mallory is gone", || {
            !support::is_connected(a.node(), &rogue)
        })
        .await;
        let mut world = Self {
            a,
            b,
            rogue,
            keys: keystore.keys(),
            manifest: keystore.manifest().clone(),
            memory: 0,
            free: AtomicU32::new(1),
        };
        world.honest_traffic_flows().await;
        world.memory = resident();
        world
    }

    /// The member that has gone over, connected to the victim.
    async fn mallory(&self) -> Attacker {
        let mut attacker = Attacker::new(*self.keys.transport_secret(), self.a.node());
        assert_eq!(attacker.meet().await, Met::Connected, "a member is let in");
        attacker.until_subscribed().await;
        attacker
    }

    /// The same, with a connection that takes in next to nothing of what it does not read.
    async fn narrow_mallory(&self) -> Attacker {
        let mut attacker = Attacker::narrow(*self.keys.transport_secret(), self.a.node());
        assert_eq!(attacker.meet().await, Met::Connected, "a member is let in");
        attacker
    }

    /// Somebody who is in no mesh.
    fn stranger(&self) -> Attacker {
        Attacker::new([0x5a; 32], self.a.node())
    }

    async fn honest_traffic_flows(&self) {
        let free = self.free.fetch_add(1, Ordering::Relaxed) % 79 + 1;
        let hours = serde_json::Value::String(free.to_string());
        let a = self.a.id();
        self.a.apply(vec![capacity("DMU-80", free)]).await;
        until("the change has arrived", || {
            self.b.sees(&a, &Kind::Capacity).iter().any(|record| {
                let available = record.fields()["available"].clone();
                available.is_some_and(|column| column[0] == hours)
            })
        })
        .await;
        assert!(support::is_connected(self.a.node(), &self.b.id()));
    }

    fn memory_is_bounded(&self) {
        let now = resident();
        assert!(
            now < self.memory + GROWTH_MAX,
            "{} MiB before, {} MiB now",
            self.memory >> 20,
            now >> 20
        );
    }

    /// How often the rogue misbehaved, and how the last time.
    fn blamed(&self) -> Option<(String, u64)> {
        let live = self.a.node().live.borrow();
        live.peers
            .get(&self.rogue)
            .and_then(|peer| peer.misbehaved.clone())
    }

    /// The rogue is blamed in these words, and the operator reads who and how.
    async fn until_blamed(&self, words: &str) {
        until(&format!("the rogue is blamed: {words}"), || {
            self.blamed()
                .is_some_and(|(how, times)| how.contains(words) && times > 0)
        })
        .await;
        let status = fmesh::service::Service::new(self.a.node().clone())
            .status()
            .expect("a status");
        assert!(
            status.problems.iter().any(|problem| {
                problem.what.contains("Mallory misbehaved") && problem.what.contains(words)
            }),
            "{:?}",
            status.problems
        );
    }

    fn refusals(&self) -> Vec<String> {
        let live = self.a.node().live.borrow();
        live.refusals
            .iter()
            .map(|refused| refused.reason.clone())
            .collect()
    }
}

/// Bytes that follow no pattern and are the same in every run.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

fn gossip_of(publication: &[u8]) -> Vec<u8> {
    let publication = wire::Publication::decode(publication).expect("a publication");
    let what = Some(wire::gossip::What::Publication(publication));
    wire::Gossip { what }.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_none() {
    let world = World::new().await;
    let mut mallory = world.mallory().await;
    let mut raws = vec![
        Raw::bytes(Vec::new()),
        Raw::bytes(vec![0, 0]),
        Raw::bytes([u32::MAX.to_be_bytes().as_slice(), &[7; 64]].concat()),
        Raw::bytes([(1_u32 << 20).to_be_bytes().as_slice(), &vec![7; 1 << 20]].concat()),
        Raw::bytes([1_000_u32.to_be_bytes().as_slice(), &[8, 1]].concat()),
        Raw::frame(&[]),
        Raw::frame(&[0xff; 32]),
    ];
    raws.extend(
        (0..200).map(|seed| Raw::frame(&noise(usize::try_from(seed).expect("small") * 7, seed))),
    );
    // Too long, cut, and nothing at all that can be read: each is named.
    for (kind, words) in [
        (2, "bytes was announced"),
        (4, "ends within"),
        (6, "is none"),
    ] {
        mallory.call(SYNC, vec![raws[kind].clone()]).await;
        world.until_blamed(words).await;
    }
    for some in raws.chunks(8) {
        mallory.call(SYNC, some.to_vec()).await;
    }
    world.until_blamed("sent a call that is none").await;
    world.honest_traffic_flows().await;
    world.memory_is_bounded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_gossip_and_calls() {
    let world = World::new().await;
    let mut mallory = world.mallory().await;
    let mut sent = 0;
    for round in 0..40_u64 {
        for n in 0..250 {
            sent += u32::from(mallory.gossip(noise(2_000, round * 1_000 + n)));
        }
        mallory.run(Duration::from_millis(20)).await;
    }
    assert!(sent > 100, "the flood left the rogue: {sent}");
    world.until_blamed("gossiped").await;
    world.honest_traffic_flows().await;

    let heads = wire::Request {
        what: Some(wire::request::What::Heads(wire::HeadsRequest::default())),
    };
    for _ in 0..20 {
        mallory
            .call(SYNC, vec![Raw::frame(&heads.encode_to_vec()); 60])
            .await;
    }
    world.honest_traffic_flows().await;
    world.memory_is_bounded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publications_of_another_mesh_and_old_checkpoints() {
    let world = World::new().await;
    let mut mallory = world.mallory().await;
    let author = Author {
        mesh: MeshId([0x77; 32]),
        site: world.rogue,
        keys: &world.keys,
        manifest: &world.manifest,
    };
    let mut random = rand_core::UnwrapErr(getrandom::SysRng);
    let elsewhere = author
        .issue(
            None,
            &mut BTreeMap::new(),
            &BTreeMap::new(),
            Vec::<Item>::new(),
            0,
            &mut random,
        )
        .expect("a log begins");
    let before = world.a.node().store.heads().expect("reads");
    for publication in &elsewhere.publications {
        assert!(mallory.gossip(gossip_of(publication.bytes())));
    }
    // What the victim and its partner said long ago, word for word.
    for site in [world.a.id(), world.b.id()] {
        for publication in world
            .a
            .node()
            .store
            .publications(&site, 0, 1 << 20)
            .expect("reads")
        {
            mallory.gossip(gossip_of(&publication));
        }
    }
    mallory.run(Duration::from_secs(1)).await;
    assert_eq!(
        world.a.node().store.heads().expect("reads"),
        before,
        "nothing of it counts"
    );
    world.honest_traffic_flows().await;

    // A log of its own that is signed and too old is late, one of another mesh is a lie.
    let longer = author
        .issue(
            None,
            &mut BTreeMap::new(),
            &BTreeMap::new(),
            later(),
            0,
            &mut random,
        )
        .expect("a log begins");
    for publication in &longer.publications {
        mallory.gossip(gossip_of(publication.bytes()));
    }
    mallory.run(Duration::from_secs(1)).await;
    world.until_blamed("does not check").await;
    assert!(world.a.node().store.check(None).expect("checks").is_empty());
    world.honest_traffic_flows().await;
}

/// Enough machines for a log that is longer than any the rogue ever had.
fn later() -> Vec<Item> {
    (0..40_u8)
        .map(|n| Item {
            kind: Kind::Resource,
            id: ObjectId(uuid::Uuid::from_bytes([n; 16])),
            rev: 1,
            prev: None,
            retired: false,
            fields: support::fields(serde_json::json!({"level": "WorkCell", "name": "x"})),
            circles: BTreeMap::from([(CircleId::MESH_WIDE, BTreeSet::from(["name".to_owned()]))]),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_never_read() {
    let world = World::new().await;
    let mut mallory = world.mallory().await;
    let membership = wire::Request {
        what: Some(wire::request::What::Membership(
            wire::MembershipRequest::default(),
        )),
    };
    let open_end = Raw::bytes(vec![0, 0, 1, 0, 8]).hanging();
    for _ in 0..6 {
        let mut raws = vec![Raw::frame(&membership.encode_to_vec()).hanging(); 12];
        raws.extend(vec![open_end.clone(); 12]);
        mallory.call(SYNC, raws).await;
        mallory.run(Duration::from_millis(300)).await;
    }
    world.honest_traffic_flows().await;
    world.memory_is_bounded();
    // Half a call, and then nothing: given up while the rogue still answers pings.
    mallory.run(Duration::from_secs(14)).await;
    world.until_blamed("did not say what for").await;
    world.honest_traffic_flows().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_never_read() {
    let world = World::new().await;
    let mut mallory = world.narrow_mallory().await;
    let membership = wire::Request {
        what: Some(wire::request::What::Membership(
            wire::MembershipRequest::default(),
        )),
    };
    let ask = Raw::frame(&membership.encode_to_vec()).hanging();
    mallory.call(SYNC, vec![ask; 4]).await;
    mallory.run(Duration::from_secs(14)).await;
    world.until_blamed("did not read the answer").await;
    world.honest_traffic_flows().await;
    world.memory_is_bounded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stolen_tickets_open_nothing_and_are_seen() {
    let world = World::new().await;
    let a = world.a.node().clone();
    let invite = async |uses| {
        let applied = world.a.apply(vec![Edit::CreateInvite {
            expires: jiff::Timestamp::now().as_second().unsigned_abs() + 3_600,
            uses,
            role: Role::Member,
            note: None,
            circles: Vec::new(),
            auto_approve: true,
            addresses: a.addresses(),
        }]);
        let applied = applied.await;
        let ticket = Ticket::decode(&applied.ticket.expect("a ticket")).expect("reads");
        (applied.invite.expect("an id"), ticket)
    };
    // An open one keeps the gate open; nobody but its owner has its secret.
    let (_, open) = invite(1).await;
    let (_, used) = invite(1).await;
    let honest = Site::start("Carbo").await;
    honest.join(&used.encode()).await;
    let (id, revoked) = invite(1).await;
    world.a.apply(vec![Edit::RevokeInvite { id }]).await;
    let mut guessed = open.clone();
    guessed.secret = [1; 16];

    // The thief has keys of its own, and a node that is not ours.
    let thief = Site::start("Thief").await;
    let keystore = keystore::load(thief.dir.path()).expect("keys");
    let mut attacker = Attacker::new(*keystore.keys().transport_secret(), &a);
    assert_eq!(attacker.meet().await, Met::Connected, "an invite is open");
    for (ticket, code) in [
        (used, "used-up"),
        (revoked, "revoked"),
        (guessed, "unknown-ticket"),
    ] {
        let own = keystore.keys().public().transport;
        let manifest = keystore.manifest();
        let request = wire::JoinRequest {
            invite: ticket.invite.0.to_vec(),
            manifest: manifest.encode().into_bytes(),
            name: "Thief".into(),
            proof: join_proof(&ticket.secret, &ticket.transport, &own, manifest).to_vec(),
            address: Vec::new(),
        };
        let answers = attacker
            .call(JOIN, vec![Raw::frame(&request.encode_to_vec())])
            .await;
        let answer = wire::JoinAnswer::decode(&answers[0][4..]).expect("an answer");
        match answer.what {
            Some(wire::join_answer::What::Refused(refusal)) => assert_eq!(refusal.code, code),
            other => panic!("refused: {other:?}"),
        }
    }
    // Guessing goes on until the door answers "busy", and frames that are none are no request.
    let mut wrong = vec![
        Raw::frame(&noise(500, 3)),
        Raw::bytes(vec![0xff; 64]),
        Raw::frame(&[]),
    ];
    wrong.extend((0..20).map(|n| {
        Raw::frame(
            &wire::JoinRequest {
                invite: vec![n; 16],
                ..Default::default()
            }
            .encode_to_vec(),
        )
    }));
    for some in wrong.chunks(4) {
        attacker.call(JOIN, some.to_vec()).await;
    }
    until("the attempts are seen", || {
        let refusals = world.refusals();
        refusals.iter().any(|reason| reason.contains("too often"))
            && refusals
                .iter()
                .all(|reason| reason.starts_with("asked to join"))
    })
    .await;
    assert!(world.a.node().live.borrow().refused_connections >= 20);
    assert!(
        world
            .a
            .node()
            .membership
            .borrow()
            .member(&thief.id())
            .is_none()
    );
    assert!(world.a.node().store.pending().expect("reads").is_empty());
    world.honest_traffic_flows().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_gets_nothing_while_no_invite_is_open() {
    let world = World::new().await;
    let mut stranger = world.stranger();
    assert_eq!(stranger.meet().await, Met::Closed);
    assert!(!stranger.reserve().await, "the gate is before the relay");
    until("the refusal is seen", || {
        world
            .refusals()
            .iter()
            .any(|reason| reason.contains("no invite is open"))
    })
    .await;
    // It keeps knocking while honest nodes talk: no byte of that reaches it.
    for _ in 0..5 {
        assert_eq!(stranger.meet().await, Met::Closed);
        world.honest_traffic_flows().await;
        assert!(
            stranger.run(Duration::from_millis(100)).await.is_empty(),
            "gossip reached a stranger"
        );
    }
    let heads = wire::Request {
        what: Some(wire::request::What::Heads(wire::HeadsRequest::default())),
    };
    let answers = stranger
        .call(SYNC, vec![Raw::frame(&heads.encode_to_vec())])
        .await;
    assert!(answers.is_empty(), "sync reached a stranger");
    world.memory_is_bounded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_serves_members_within_bounds_and_nobody_else() {
    let world = World::new().await;
    until("the victim relays", || {
        world.a.node().live.borrow().reach.relaying
    })
    .await;
    // While an invite is open a stranger gets in as far as the join protocol: not to the relay, nor through it.
    world.a.open_door(true).await;
    let mut stranger = world.stranger();
    assert_eq!(stranger.meet().await, Met::Connected);
    assert!(
        !stranger.reserve().await,
        "a stranger has no place at the relay"
    );
    let b = world.b.node().live.borrow().listening[0]
        .parse()
        .expect("an address");
    assert!(
        !stranger.through(hostile::peer_of(&b)).await,
        "nor a way through it"
    );

    // A member has a place, and dials through it as often as it likes: those who have no place are not disturbed.
    let mut mallory = world.mallory().await;
    assert!(mallory.reserve().await, "a member has a place");
    for _ in 0..80 {
        assert!(
            !mallory.through(hostile::peer_of(&b)).await,
            "B has no place at A"
        );
    }
    world.honest_traffic_flows().await;
    world.memory_is_bounded();
}
