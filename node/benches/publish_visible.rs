//! How long a change takes from one factory to its partners' search, against gossipsub alone.
//!
//! `cargo bench -p fmesh --bench publish_visible` (arguments after `--`: `nodes=N` for one size alone, `changes=N`)
//!
//! Measured are 3, 20 and 60 whole nodes in this process on loopback: from the call of `Writer::apply` with one changed
//! capacity at the first, to the moment when a search at each of the others answers with the new revision, which is after
//! the flush there; and the same for the last of them. Held against: as many bare gossipsub nodes over the same transports
//! with the node's own settings and as many neighbours each, from `publish` to the event at each receiver, with messages of the
//! very bytes that the nodes sent, one after another, in turns with ours so that both meet the same machine.

#[path = "../../tests/support/mod.rs"]
mod nodes;
mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fmesh::{
    net::{gossipsub_config, peer_score_params, topic_score_params},
    search::Query,
    writer::Edit,
};
use fmesh_proto::{
    id::SiteId,
    kinds::Kind,
    mesh::neighbours::{FULL_MESH_MAX, NEIGHBOURS},
    week::WeekSpan,
};
use futures::StreamExt as _;
use libp2p::{Multiaddr, Swarm, gossipsub, noise, swarm::SwarmEvent, tcp, yamux};
use nodes::{Site, capacity, circle, group};
use support::{percentile, size};
use tokio::sync::{mpsc, oneshot};

/// Between changes, so that each meets a quiet mesh, as a planner's change does.
const PAUSE: Duration = Duration::from_millis(20);
/// How often all indices are looked at while a change is on its way.
const LOOK: Duration = Duration::from_micros(50);

fn main() {
    let changes = size("changes", 200, 5);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let all: &[usize] = if support::is_bench() {
        &[3, 20, 60]
    } else {
        &[3]
    };
    let one = [size("nodes", 0, 0)];
    for count in if one[0] == 0 { all } else { &one } {
        runtime.block_on(measure(*count, changes));
    }
}

async fn measure(count: usize, changes: usize) {
    let began = Instant::now();
    let sites = mesh(count).await;
    let mut bare = Bare::start(count).await;
    println!(
        "{count} nodes, set up in {:.0} s",
        began.elapsed().as_secs_f64()
    );
    let (mut ours, mut theirs, mut applied) = (Vec::new(), Vec::new(), Vec::new());
    let (mut our_last, mut their_last) = (Vec::new(), Vec::new());
    let (mut our_cpu, mut their_cpu) = (Duration::ZERO, Duration::ZERO);
    let mut bytes = 0;
    for n in 0..changes {
        let seq = next_leaf(&sites[0]);
        let watch = watch(&sites[1..], sites[0].id(), seq);
        let cpu = support::cpu();
        let start = Instant::now();
        sites[0]
            .apply(vec![capacity("DMU-80", (n % 80) as u32)])
            .await;
        applied.push(start.elapsed());
        let seen = watch.await.expect("seen everywhere");
        let times = seen.into_iter().map(|at| at - start);
        our_last.extend(times.clone().max());
        ours.extend(times);
        tokio::time::sleep(PAUSE).await;
        our_cpu += support::cpu() - cpu;
        let message = published(&sites[0], seq);
        bytes = message.len();
        let cpu = support::cpu();
        let times = bare.publish(message).await;
        their_last.extend(times.iter().max());
        theirs.extend(times);
        tokio::time::sleep(PAUSE).await;
        their_cpu += support::cpu() - cpu;
    }
    println!("  {changes} changes, messages of {bytes} bytes");
    for (name, times) in [
        ("applied and durable", &mut applied),
        ("visible at each", &mut ours),
        ("visible at all", &mut our_last),
        ("bare gossipsub, each", &mut theirs),
        ("bare gossipsub, all", &mut their_last),
    ] {
        times.sort_unstable();
        println!(
            "  {name:<20} p50 {:>8.3} ms  p99 {:>8.3} ms",
            ms(percentile(times, 50)),
            ms(percentile(times, 99))
        );
    }
    for (name, ours, theirs) in [("each", &ours, &theirs), ("all", &our_last, &their_last)] {
        println!(
            "  ratio, {name:<13} p50 {:>8.1}     p99 {:>8.1}",
            ms(percentile(ours, 50)) / ms(percentile(theirs, 50)),
            ms(percentile(ours, 99)) / ms(percentile(theirs, 99))
        );
    }
    println!(
        "  processor time a change, everything in this process: {:.1} ms with ours, {:.1} ms with bare gossipsub",
        ms(our_cpu) / changes as f64,
        ms(their_cpu) / changes as f64
    );
    for mut site in sites {
        site.stop().await;
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A founder that shares its capacities with everybody else, all connected and grafted.
async fn mesh(count: usize) -> Vec<Site> {
    let mut sites = vec![Site::start("A").await];
    let ticket = sites[0].open_door(true).await;
    for n in 1..count {
        let site = Site::start(&format!("B{n}")).await;
        let ticket = ticket.clone();
        site.apply(vec![Edit::Join { ticket }]).await;
        until_long(&format!("node {n} is in the mesh"), || {
            site.node().store.meta().expect("reads").mesh.is_some()
        })
        .await;
        sites.push(site);
    }
    // Everybody knows everybody, and has found neighbours: all the others in a small mesh.
    let neighbours = (count - 1).min(NEIGHBOURS.0);
    for site in &sites {
        until_long("everybody has met", || {
            let live = site.node().live.borrow();
            let connected = live.peers.values().filter(|p| p.connected).count();
            site.node().membership.borrow().members().count() == count && connected >= neighbours
        })
        .await;
    }
    let readers: Vec<SiteId> = sites[1..].iter().map(Site::id).collect();
    let shared = circle("all", group(&readers), &[Kind::Capacity], None);
    sites[0].apply(vec![shared, capacity("DMU-80", 1)]).await;
    let a = sites[0].id();
    for site in &sites[1..] {
        until_long("the first record arrived", || {
            site.sees(&a, &Kind::Capacity).len() == 1
        })
        .await;
    }
    // Grafts come with gossipsub's heartbeat.
    tokio::time::sleep(Duration::from_secs(3)).await;
    sites
}

fn next_leaf(site: &Site) -> u64 {
    let head = site.node().store.head(&site.id()).expect("reads");
    head.map_or(0, |head| head.frontier.size())
}

/// The gossip message that carried one leaf.
fn published(site: &Site, seq: u64) -> Vec<u8> {
    let store = &site.node().store;
    let publications = store.publications(&site.id(), seq, 1).expect("reads");
    let publication = publications.into_iter().next().expect("it was published");
    // The frame around a publication: a tag and a length of three bytes.
    [&[0x0a, 0, 0, 0][..], &publication].concat()
}

/// When each of `sites` finds the revision at leaf `seq`. One thread looks at all: the index says whether a search is worth it.
fn watch(sites: &[Site], author: SiteId, seq: u64) -> oneshot::Receiver<Vec<Instant>> {
    let span: WeekSpan = "2026-W49..W50".parse().expect("two weeks");
    let query = Query::new(span);
    let indices: Vec<_> = sites.iter().map(|s| Arc::clone(&s.node().index)).collect();
    let mut looked = vec![None; indices.len()];
    let mut seen = vec![None; indices.len()];
    let (tx, rx) = oneshot::channel();
    std::thread::spawn(move || {
        let end = Instant::now() + nodes::PATIENCE;
        while Instant::now() < end {
            for (n, index) in indices.iter().enumerate() {
                if seen[n].is_some() {
                    continue;
                }
                let index = index.read().expect("no panic");
                if looked[n].replace(index.changes()) == Some(index.changes()) {
                    continue;
                }
                let found = index.find(&query).expect("a search");
                if found.best.iter().any(|a| a.site == author && a.seq >= seq) {
                    seen[n] = Some(Instant::now());
                }
            }
            if let Some(all) = seen.iter().copied().collect::<Option<Vec<_>>>() {
                // The bench may have given up.
                let _ = tx.send(all);
                return;
            }
            std::thread::sleep(LOOK);
        }
    });
    rx
}

/// Sixty nodes take longer to set up than any test may.
async fn until_long(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < Duration::from_secs(300),
            "waited in vain until {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// gossipsub and nothing else, on as many nodes.
struct Bare {
    publish: mpsc::Sender<(Vec<u8>, oneshot::Sender<Instant>)>,
    arrived: mpsc::Receiver<(usize, Instant)>,
    readers: usize,
}

impl Bare {
    async fn start(count: usize) -> Self {
        let topic = gossipsub::IdentTopic::new("bench");
        let (publish, mut orders) = mpsc::channel::<(Vec<u8>, oneshot::Sender<Instant>)>(1);
        let (tx, arrived) = mpsc::channel(64);
        let mut swarms: Vec<Swarm<gossipsub::Behaviour>> = Vec::new();
        let mut known: Vec<Multiaddr> = Vec::new();
        for _ in 0..count {
            let mut swarm = bare_swarm(&topic);
            swarm
                .listen_on("/ip4/127.0.0.1/udp/0/quic-v1".parse().expect("an address"))
                .expect("listens");
            let address = loop {
                if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                    break address;
                }
            };
            // As many neighbours as a node of ours keeps: all in a small mesh, else half of them its own choice.
            let some = match count {
                ..=FULL_MESH_MAX => known.len(),
                _ => known.len().min(NEIGHBOURS.1 / 2),
            };
            for n in 0..some {
                let other = &known[n * known.len() / some];
                swarm.dial(other.clone()).expect("dials");
            }
            known.push(address);
            swarms.push(swarm);
        }
        let mut swarms = swarms.into_iter();
        let mut author = swarms.next().expect("one at least");
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    order = orders.recv() => {
                        let Some((message, told)) = order else { return };
                        let start = Instant::now();
                        author
                            .behaviour_mut()
                            .publish(topic.clone(), message)
                            .expect("somebody listens");
                        let _ = told.send(start);
                    }
                    _ = author.select_next_some() => {}
                }
            }
        });
        for (reader, mut swarm) in swarms.enumerate() {
            let tx = tx.clone();
            tokio::spawn(async move {
                loop {
                    let SwarmEvent::Behaviour(gossipsub::Event::Message {
                        propagation_source,
                        message_id,
                        ..
                    }) = swarm.select_next_some().await
                    else {
                        continue;
                    };
                    if tx.send((reader, Instant::now())).await.is_err() {
                        return;
                    }
                    swarm.behaviour_mut().report_message_validation_result(
                        &message_id,
                        &propagation_source,
                        gossipsub::MessageAcceptance::Accept,
                    );
                }
            });
        }
        // Subscriptions and grafts.
        tokio::time::sleep(Duration::from_secs(4)).await;
        Self {
            publish,
            arrived,
            readers: count - 1,
        }
    }

    /// How long until each reader had it.
    async fn publish(&mut self, message: Vec<u8>) -> Vec<Duration> {
        let (tx, started) = oneshot::channel();
        self.publish.send((message, tx)).await.expect("it runs");
        let start = started.await.expect("published");
        let mut times = vec![Duration::ZERO; self.readers];
        for _ in 0..self.readers {
            let (reader, at) = tokio::time::timeout(nodes::PATIENCE, self.arrived.recv())
                .await
                .expect("arrives")
                .expect("it runs");
            times[reader] = at - start;
        }
        times
    }
}

fn bare_swarm(topic: &gossipsub::IdentTopic) -> Swarm<gossipsub::Behaviour> {
    let mut gossip = gossipsub::Behaviour::new(
        gossipsub::MessageAuthenticity::Anonymous,
        gossipsub_config(),
    )
    .expect("the node's settings");
    gossip
        .with_peer_score(
            peer_score_params(),
            gossipsub::PeerScoreThresholds::default(),
        )
        .expect("the node's settings");
    gossip
        .set_topic_params(topic.clone(), topic_score_params())
        .expect("scored");
    gossip.subscribe(topic).expect("subscribes");
    libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .expect("noise")
        .with_quic()
        .with_behaviour(|_| gossip)
        .expect("a behaviour")
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(Duration::from_secs(3600)))
        .build()
}
