//! libp2p behind two bounded channels: the only module that names it (with `keystore`, for the identity).
//!
//! One task owns the swarm. It does no crypto of ours and no disk: bytes come in as [`NetEvent`], orders go out as
//! [`NetCommand`]. It decides one thing by itself, from the [`Gate`] it was last given: who may connect and which
//! protocols they get (PROTOCOL section 7). A peer is named by its transport key; PeerId is derived from it here.
//!
//! - `gate`: members get gossip, sync and ping; strangers get the join protocol while an invite is open; others are refused.
//! - `codec`: frames of the two call protocols, `/fmesh/sync/1` and `/fmesh/join/1`.
//! - `behaviour`: what the swarm speaks. `settings`: every number, with its reason.
//! - `reach`: own addresses, what members say about them, relays. `retest`: AutoNAT, made to look again.
//! - `doors`: who behind this relay has an open invite, and what strangers say to them. `ways`: how to reach an inviter.
//! - `task`: the loop; `peers`, `calls`, `refusals` are its tables; `reasons` puts failures into words.
//!
//! Two nodes that cannot reach each other meet through a member that relays (circuit relay v2); what they say stays
//! sealed by Noise between them, and a circuit is replaced by a direct connection where hole punching succeeds.
//!
//! A stranger never gets a circuit. Where the inviter is behind a relay, the stranger hands its request to join to the relay, which passes
//! it on, and the answer back: single messages, few and short, and only while the inviter says that an invite of its is open.
//!
//! A connection's handlers never change. When a stranger becomes a member, its connection is closed and the node dials
//! again. `Connected` comes when the other side is seen to count us as a member, too; nothing else of a peer comes before it.
//! `Disconnect` takes effect at once, whatever the transport still has to do, so a dial right after it starts afresh
//! (a peer that restarted beside its old connection gets no gossip otherwise: rust-libp2p #5097).

mod behaviour;
mod calls;
mod codec;
mod doors;
mod gate;
mod holes;
mod peers;
mod reach;
mod reasons;
mod refusals;
mod retest;
mod settings;
mod task;
#[cfg(test)]
mod tests;
mod ways;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use fmesh_proto::{id::PeerKey, wire};
use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, dns, identity::Keypair, multiaddr::Protocol, noise,
    swarm::SwarmEvent, tcp, yamux,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use self::{behaviour::Behaviour, reach::Reaching, task::Task};
pub use self::{
    reach::Reach,
    settings::{gossipsub_config, peer_score_params, topic_score_params},
};

/// Who may connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    /// Members' transport keys: gossip and sync.
    pub members: BTreeSet<PeerKey>,
    /// At least one invite is open: strangers get the join protocol and nothing else. Otherwise an unknown PeerId is refused at
    /// connection time. (A peer that we dial in order to join is allowed, too: see [`NetCommand::Join`].)
    pub join_open: bool,
}

/// gossipsub's three verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Forward.
    Accept,
    /// Late, unknown or too much: do not forward, no blame.
    Ignore,
    /// What no honest node can send.
    Reject,
}

/// Settings of the network side.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// Secret of the libp2p identity (Ed25519, 32 bytes).
    pub transport_secret: zeroize::Zeroizing<[u8; 32]>,
    /// Multiaddr texts to listen on, QUIC and TCP. Port 0 picks one.
    pub listen: Vec<String>,
    /// Addresses that the operator says others reach this node at.
    pub announce: Vec<String>,
    /// Connections in total (inbound and outbound).
    pub connections_max: u32,
    /// Relay for other members. `None`: as soon as this node is known to be reachable itself.
    pub offer_relay: Option<bool>,
    /// Be reached through other members' relays, where there is no direct way.
    pub use_relays: bool,
    /// Look for members on the local network (and be seen there).
    pub mdns: bool,
}

/// What became of the trial of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// The member itself answered, after this time.
    Answered {
        /// Microseconds for connection and handshake.
        micros: u64,
    },
    /// Another node answers there: its PeerId.
    Stranger(String),
    /// The machine is there, the port is closed.
    Refused(String),
    /// This machine knows no way there.
    NoRoute(String),
    /// The name does not resolve.
    NoName(String),
    /// Nothing came back.
    Silent,
    /// Anything else, in words.
    Other(String),
}

/// Orders to the network task.
#[derive(Debug)]
pub enum NetCommand {
    /// Replaces the gate; connections of peers that lost their place, or got a better one, are closed. A stranger that became
    /// a member is to be dialled again (by either side); the answer to its join still reaches it.
    SetGate(Gate),
    /// Joins the mesh's topic (an unguessable name); leaves any other.
    SetTopic(Option<String>),
    /// Connects, unless connected. Answers by `Connected` or `DialFailed`.
    Dial {
        /// A member.
        peer: PeerKey,
        /// Multiaddr texts; those that are none are skipped.
        addresses: Vec<String>,
    },
    /// Closes every connection to a peer, at once: a `Dial` right after it starts afresh.
    Disconnect(PeerKey),
    /// Gossips. "Nobody subscribed" is not an error here: sync delivers.
    Publish(Vec<u8>),
    /// Verdict on a gossip message, once.
    Verdict {
        /// From the event.
        token: GossipToken,
        /// What becomes of the message and of its sender's score.
        verdict: Verdict,
    },
    /// A call to a connected member; answered by `Response` with the same id. Four run at once per peer, for at most 30 s;
    /// 64 wait, for at most 30 s, and more fail at once.
    Request {
        /// The member.
        peer: PeerKey,
        /// Chosen by the node, repeated in the response.
        id: u64,
        /// The call.
        request: wire::Request,
    },
    /// Answers a call.
    Respond {
        /// From the event. To drop it ends the call without an answer.
        token: ResponseToken,
        /// The answer.
        response: wire::Response,
    },
    /// Dials a peer that need not be a member and asks to join, or asks a relay to pass this on if an address leads through one;
    /// answered by `JoinAnswer`. One at a time per peer.
    Join {
        /// The inviter.
        peer: PeerKey,
        /// Multiaddr texts, from the ticket.
        addresses: Vec<String>,
        /// The request.
        request: wire::JoinRequest,
    },
    /// Answers a request to join.
    RespondJoin {
        /// From the event. To drop it ends the call without an answer.
        token: JoinToken,
        /// The answer.
        answer: wire::JoinAnswer,
    },
    /// Tries one address of a member, whatever else is connected.
    Probe {
        /// The member that should answer there.
        peer: PeerKey,
        /// Multiaddr text.
        address: String,
        /// What came of it.
        answer: oneshot::Sender<Probed>,
    },
    /// Opens one more connection to a connected member, for some seconds, and has our own addresses tested from there; verdicts that
    /// changed come by `Reach`. One at a time; the next is ignored meanwhile.
    LookAgain {
        /// A member.
        peer: PeerKey,
        /// Multiaddr texts; those through relays are skipped.
        addresses: Vec<String>,
    },
    /// Closes all and ends the task; answered when done.
    Shutdown(oneshot::Sender<()>),
}

/// What happened on the network.
#[derive(Debug)]
pub enum NetEvent {
    /// Own addresses, verdicts on them or relays have changed: all that is known now.
    Reach(Reach),
    /// A member is now reached over another connection than the one it was announced with.
    Path {
        /// The member.
        peer: PeerKey,
        /// Its address, without /p2p.
        address: String,
    },
    /// A member sent what no honest node sends.
    Misbehaved {
        /// The member.
        peer: PeerKey,
        /// How, in words.
        what: String,
    },
    /// First connection to a member that counts us as a member, too.
    Connected {
        /// The member.
        peer: PeerKey,
        /// Its address, without /p2p.
        address: String,
        /// We dialled.
        outbound: bool,
    },
    /// Last connection to a member closed.
    Disconnected {
        /// The member.
        peer: PeerKey,
    },
    /// A dial failed.
    DialFailed {
        /// Who was dialled.
        peer: PeerKey,
        /// Why, in words.
        reason: String,
    },
    /// A connection was refused by the gate or a limit. A few are reported in ten seconds, the rest is counted in the next one's reason.
    Refused {
        /// Who, if it got so far as to prove it.
        peer: Option<PeerKey>,
        /// From where.
        address: String,
        /// Why.
        reason: String,
    },
    /// A gossip message from a member. It waits for its verdict: about a second, then gossipsub forgets it.
    Gossip {
        /// The neighbour that forwarded it, not its author.
        from: PeerKey,
        /// For the verdict.
        token: GossipToken,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A member subscribed to the mesh's topic: gossip to it flows from here on.
    Subscribed {
        /// The member.
        peer: PeerKey,
    },
    /// gossipsub could not keep up with a peer, or nobody was subscribed: sync must deliver.
    GossipLost,
    /// A call from a member.
    Request {
        /// The member.
        from: PeerKey,
        /// For the answer, within 30 s.
        token: ResponseToken,
        /// The call.
        request: wire::Request,
    },
    /// Answer to our call.
    Response {
        /// Who was called.
        peer: PeerKey,
        /// As in the call.
        id: u64,
        /// The answer, or why there is none.
        result: Result<wire::Response, String>,
    },
    /// A stranger (or member) asks to join.
    JoinRequest {
        /// Who.
        from: PeerKey,
        /// The remote address, for rate limits; of a request that a relay passed on the relay's.
        address: String,
        /// For the answer, within 30 s.
        token: JoinToken,
        /// The request.
        request: wire::JoinRequest,
    },
    /// Answer to our request to join.
    JoinAnswer {
        /// Who was asked.
        peer: PeerKey,
        /// The answer, or why there is none.
        result: Result<wire::JoinAnswer, String>,
    },
    /// Round-trip time to a member, about every ten seconds.
    Rtt {
        /// The member.
        peer: PeerKey,
        /// Microseconds.
        micros: u64,
    },
}

/// Names a gossip message that waits for its verdict.
#[derive(Debug)]
pub struct GossipToken {
    pub(crate) message: libp2p::gossipsub::MessageId,
    pub(crate) source: PeerId,
}
/// Names a call that waits for its answer.
#[derive(Debug)]
pub struct ResponseToken(pub(crate) libp2p::request_response::ResponseChannel<wire::Response>);
/// Names a request to join that waits for its answer.
#[derive(Debug)]
pub struct JoinToken(pub(crate) libp2p::request_response::ResponseChannel<wire::JoinAnswer>);

/// Why the network does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The port is taken, the address is not ours, ...
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Multiaddr.
        address: String,
        /// Why.
        reason: String,
    },
    /// Not a multiaddr.
    #[error("not an address like /ip4/0.0.0.0/udp/4810/quic-v1: {0}")]
    Address(String),
    /// Transport set-up.
    #[error("cannot start the network: {0}")]
    Start(String),
}

/// Starts the task. Returns when every listener is up (so "port in use" is an error here), with the addresses that were bound.
/// Both channels are bounded: commands wait, events wait (the swarm stops reading while the node is busy).
/// The gate is closed to all until the first [`NetCommand::SetGate`].
///
/// # Errors
/// If an address does not parse or cannot be bound, or the transports do not start.
pub async fn start(
    config: NetConfig,
) -> Result<
    (
        mpsc::Sender<NetCommand>,
        mpsc::Receiver<NetEvent>,
        Vec<String>,
    ),
    NetError,
> {
    let listen = config
        .listen
        .iter()
        .map(|text| text.parse().map_err(|_| NetError::Address(text.clone())))
        .collect::<Result<Vec<Multiaddr>, _>>()?;
    let mut swarm = build(&config)?;
    for text in &config.announce {
        let address = text.parse().map_err(|_| NetError::Address(text.clone()))?;
        swarm.add_external_address(address);
    }
    let (commands, commands_rx) = mpsc::channel(settings::COMMANDS_WAITING_MAX);
    let (events_tx, events) = mpsc::channel(settings::EVENTS_WAITING_MAX);
    let reaching = Reaching::new(
        !config.announce.is_empty(),
        config.offer_relay,
        config.use_relays,
        Instant::now(),
    );
    let mut task = Task::new(swarm, commands_rx, reaching);
    let bound = bind(&mut task, &listen).await?;
    tokio::spawn(task.run(events_tx));
    Ok((commands, events, bound))
}

/// The PeerId text (`12D3Koo...`) of a transport key, for addresses and other libp2p tools.
#[must_use]
pub fn peer_id(peer: &PeerKey) -> String {
    peer_id_of(peer).to_base58()
}

fn build(config: &NetConfig) -> Result<Swarm<Behaviour>, NetError> {
    let keypair = Keypair::ed25519_from_bytes(config.transport_secret.to_vec())
        .map_err(|error| NetError::Start(error.to_string()))?;
    let start = |error: &dyn std::fmt::Display| NetError::Start(error.to_string());
    let transports = || {
        Ok(SwarmBuilder::with_existing_identity(keypair.clone())
            .with_tokio()
            .with_tcp(
                tcp::Config::default().nodelay(true),
                noise::Config::new,
                yamux::Config::default,
            )
            .map_err(|error| start(&error))?
            .with_quic())
    };
    let swarm = |swarm: libp2p::swarm::Config| {
        swarm.with_idle_connection_timeout(settings::CONNECTION_IDLE)
    };
    Ok(match transports()?.with_dns() {
        Ok(builder) => builder
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .map_err(|error| start(&error))?
            .with_behaviour(|keypair, circuits| Behaviour::new(keypair, circuits, config))
            .map_err(|error| start(&error))?
            .with_swarm_config(swarm)
            .build(),
        Err(error) => {
            tracing::warn!(%error, "no name server is configured on this machine: peers are reached by IP address only");
            transports()?
                .with_dns_config(no_name_server(), dns::ResolverOpts::default())
                .with_relay_client(noise::Config::new, yamux::Config::default)
                .map_err(|error| start(&error))?
                .with_behaviour(|keypair, circuits| Behaviour::new(keypair, circuits, config))
                .map_err(|error| start(&error))?
                .with_swarm_config(swarm)
                .build()
        }
    })
}

fn no_name_server() -> dns::ResolverConfig {
    dns::ResolverConfig::from_parts(None, Vec::new(), Vec::new())
}

/// Listens on every address and waits until each listener says where.
async fn bind(task: &mut Task, addresses: &[Multiaddr]) -> Result<Vec<String>, NetError> {
    let failed =
        |address: &Multiaddr, error: &(dyn std::error::Error + 'static)| NetError::Listen {
            address: address.to_string(),
            reason: listen_error(&reasons::innermost(error)),
        };
    for address in addresses {
        probe(address).map_err(|error| failed(address, &error))?;
    }
    let mut waiting = HashMap::new();
    for address in addresses {
        let id = task
            .swarm_mut()
            .listen_on(address.clone())
            .map_err(|error| failed(address, &error))?;
        waiting.insert(id, address);
    }
    let mut bound = Vec::new();
    let deadline = Instant::now() + BIND_TIMEOUT;
    while let Some(address) = waiting.values().next().copied() {
        let Ok(event) = timeout_at(deadline, task.swarm_mut().select_next_some()).await else {
            let late = std::io::Error::other("no network interface has come up for it");
            return Err(failed(address, &late));
        };
        match &event {
            SwarmEvent::NewListenAddr {
                listener_id,
                address,
            } => {
                waiting.remove(listener_id);
                bound.push(address.to_string());
            }
            SwarmEvent::ListenerClosed {
                listener_id,
                reason: Err(error),
                ..
            } => {
                if let Some(address) = waiting.get(listener_id) {
                    return Err(failed(address, error));
                }
            }
            _ => {}
        }
        task.on_swarm_event(event);
    }
    Ok(bound)
}

/// libp2p listens on TCP with SO_REUSEPORT, so a second node on the same port would start and take half of the connections.
/// An ordinary bind finds out. (Not for `::`, where it would also collide with IPv4 listeners, which ours does not.)
fn probe(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) if !ip.is_unspecified() => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => std::net::TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

fn listen_error(text: &str) -> String {
    let advice = if text.contains("in use") {
        "; stop the program that uses the port, or choose another port in the configuration"
    } else if text.contains("assign requested address") {
        "; this machine has no such address: use one of its own, or 0.0.0.0 for all"
    } else if text.contains("ermission denied") {
        "; choose a port above 1023, or run with the right to use this one"
    } else {
        ""
    };
    format!("{text}{advice}")
}

/// An Ed25519 PeerId is the key itself in an identity multihash.
fn peer_id_of(peer: &PeerKey) -> PeerId {
    PeerId::from_bytes(&[&PEER_ID_PREFIX[..], peer.as_bytes()].concat())
        .expect("an identity multihash of 36 bytes is a PeerId")
}

/// `None` if the peer's identity is of another kind.
fn peer_key(peer: &PeerId) -> Option<PeerKey> {
    PeerKey::from_slice(peer.to_bytes().strip_prefix(&PEER_ID_PREFIX)?)
}

/// Multihash code "identity", 36 bytes; protobuf: key type (field 1) Ed25519 (1), data (field 2) of 32 bytes.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 36, 0x08, 0x01, 0x12, 32];
/// How long a listener may take to say where it listens.
const BIND_TIMEOUT: Duration = Duration::from_secs(10);
