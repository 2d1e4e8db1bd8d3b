//! How long a change takes from one factory to its partner's search, against gossipsub alone.
//!
//! `cargo bench -p fmesh --bench publish_visible` (arguments after `--`: `changes=N`)
//!
//! Measured are two and three whole nodes on loopback: from the call of `Writer::apply` with one changed capacity at the
//! first, to the moment when a search at each of the others answers with the new revision, which is after the flush
//! there. Held against: the same number of bare gossipsub nodes over the same transports with the node's own settings,
//! from `publish` to the event at each receiver, with messages of the very bytes that the nodes sent, one after another, in
//! turns with ours so that both meet the same machine.

#[path = "../../tests/support/mod.rs"]
mod nodes;
mod support;

use std::time::{Duration, Instant};

use fmesh::{
    net::{gossipsub_config, peer_score_params, topic_score_params},
    search::Query,
};
use fmesh_proto::{id::SiteId, kinds::Kind, week::WeekSpan};
use futures::StreamExt as _;
use libp2p::{Multiaddr, Swarm, gossipsub, noise, swarm::SwarmEvent, tcp, yamux};
use nodes::{Site, capacity, circle, group, until};
use support::{percentile, size};
use tokio::sync::{mpsc, oneshot};

/// Between changes, so that each meets a quiet mesh, as a planner's change does.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a search is asked while a change is on its way.
const LOOK: Duration = Duration::from_micros(100);

fn main() {
    let changes = size("changes", 300, 5);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for count in [2, 3] {
        runtime.block_on(measure(count, changes));
    }
}

async fn measure(count: usize, changes: usize) {
    let sites = mesh(count).await;
    let mut bare = Bare::start(count).await;
    let (mut ours, mut theirs, mut applied) = (Vec::new(), Vec::new(), Vec::new());
    let mut bytes = 0;
    for n in 0..changes {
        let seq = next_leaf(&sites[0]);
        let watch = watch(&sites[1..], sites[0].id(), seq);
        let start = Instant::now();
        sites[0]
            .apply(vec![capacity("DMU-80", (n % 80) as u32)])
            .await;
        applied.push(start.elapsed());
        for seen in watch {
            ours.push(seen.await.expect("seen") - start);
        }
        tokio::time::sleep(PAUSE).await;
        let message = published(&sites[0], seq);
        bytes = message.len();
        theirs.extend(bare.publish(message).await);
        tokio::time::sleep(PAUSE).await;
    }
    println!("{count} nodes, {changes} changes, messages of {bytes} bytes");
    for (name, times) in [
        ("applied and durable", &mut applied),
        ("visible at partner", &mut ours),
        ("bare gossipsub", &mut theirs),
    ] {
        times.sort_unstable();
        println!(
            "  {name:<20} p50 {:>7.3} ms  p99 {:>7.3} ms",
            ms(percentile(times, 50)),
            ms(percentile(times, 99))
        );
    }
    println!(
        "  ratio                p50 {:>7.1}     p99 {:>7.1}",
        ms(percentile(&ours, 50)) / ms(percentile(&theirs, 50)),
        ms(percentile(&ours, 99)) / ms(percentile(&theirs, 99))
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
        site.join(&ticket).await;
        sites.push(site);
    }
    for (n, one) in sites.iter().enumerate() {
        for other in &sites[n + 1..] {
            one.meets(other).await;
        }
    }
    let readers: Vec<SiteId> = sites[1..].iter().map(Site::id).collect();
    let shared = circle("all", group(&readers), &[Kind::Capacity], None);
    sites[0].apply(vec![shared, capacity("DMU-80", 1)]).await;
    let a = sites[0].id();
    for site in &sites[1..] {
        until("the first record arrived", || {
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

/// When each of `sites` finds the revision at leaf `seq`.
fn watch(sites: &[Site], author: SiteId, seq: u64) -> Vec<oneshot::Receiver<Instant>> {
    let span: WeekSpan = "2026-W49..W50".parse().expect("two weeks");
    sites
        .iter()
        .map(|site| {
            let (tx, seen) = oneshot::channel();
            let index = std::sync::Arc::clone(&site.node().index);
            let query = Query::new(span);
            std::thread::spawn(move || {
                let end = Instant::now() + nodes::PATIENCE;
                while Instant::now() < end {
                    let found = index
                        .read()
                        .expect("no panic")
                        .find(&query)
                        .expect("a search");
                    if found.best.iter().any(|a| a.site == author && a.seq >= seq) {
                        let _ = tx.send(Instant::now());
                        return;
                    }
                    std::thread::sleep(LOOK);
                }
            });
            seen
        })
        .collect()
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
            for other in &known {
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
