//! Nodes of the network side on loopback: real sockets, real libp2p, no machine behind them.

mod entry;
mod faults;
mod relay;
mod start;
mod talk;

use std::{io, time::Duration};

use fmesh_proto::{id::PeerKey, limits::SYNC_MESSAGE_BYTES_MAX, wire};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, gossipsub,
    identity::Keypair,
    noise, ping, request_response,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use prost::Message as _;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Gate, NetCommand, NetConfig, NetError, NetEvent, Probed, Verdict,
    behaviour::{Members, MembersEvent},
    codec::SYNC_PROTOCOL,
    no_name_server, peer_id, peer_id_of, peer_key, start,
};

const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const TOPIC: &str = "an unguessable name";
/// No test should ever wait so long; one that does has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The network side of a node, with the test in the place of the machine.
struct Net {
    key: PeerKey,
    addresses: Vec<String>,
    commands: mpsc::Sender<NetCommand>,
    events: mpsc::Receiver<NetEvent>,
}

fn secret(seed: u8) -> [u8; 32] {
    [seed; 32]
}

fn key(seed: u8) -> PeerKey {
    let keypair = Keypair::ed25519_from_bytes(secret(seed)).expect("32 bytes");
    peer_key(&keypair.public().to_peer_id()).expect("Ed25519")
}

fn config(seed: u8, listen: &[&str]) -> NetConfig {
    NetConfig {
        transport_secret: secret(seed).into(),
        listen: listen.iter().map(|&text| text.to_owned()).collect(),
        announce: Vec::new(),
        connections_max: 64,
        offer_relay: Some(false),
        use_relays: false,
        mdns: false,
    }
}

fn gate(members: &[u8], join_open: bool) -> Gate {
    Gate {
        members: members.iter().map(|&seed| key(seed)).collect(),
        join_open,
    }
}

fn heads(bytes: usize) -> wire::Request {
    wire::Request {
        what: Some(wire::request::What::Heads(wire::HeadsRequest {
            digest: vec![7; bytes],
            feed: Vec::new(),
            ..wire::HeadsRequest::default()
        })),
    }
}

fn refusal(code: &str) -> wire::Refusal {
    wire::Refusal {
        code: code.to_owned(),
        text: String::new(),
    }
}

fn response(code: &str) -> wire::Response {
    wire::Response {
        what: Some(wire::response::What::Refusal(refusal(code))),
    }
}

fn join_request() -> wire::JoinRequest {
    wire::JoinRequest {
        name: "Newcomer".to_owned(),
        ..wire::JoinRequest::default()
    }
}

fn join_answer() -> wire::JoinAnswer {
    wire::JoinAnswer {
        what: Some(wire::join_answer::What::Admitted(
            wire::JoinAdmitted::default(),
        )),
    }
}

impl Net {
    async fn start(seed: u8, listen: &[&str], gate: Gate) -> Self {
        Self::with(seed, config(seed, listen), gate).await
    }

    async fn with(seed: u8, config: NetConfig, gate: Gate) -> Self {
        let (commands, events, addresses) = start(config).await.expect("ports are free");
        let net = Self {
            key: key(seed),
            addresses,
            commands,
            events,
        };
        net.send(NetCommand::SetGate(gate)).await;
        net.send(NetCommand::SetTopic(Some(TOPIC.to_owned()))).await;
        net
    }

    async fn send(&self, command: NetCommand) {
        self.commands.send(command).await.expect("the task runs");
    }

    async fn dial(&self, other: &Self) {
        self.send(NetCommand::Dial {
            peer: other.key,
            addresses: other.addresses.clone(),
        })
        .await;
    }

    async fn join(&self, other: &Self) {
        self.send(NetCommand::Join {
            peer: other.key,
            addresses: other.addresses.clone(),
            request: join_request(),
        })
        .await;
    }

    /// The next event that `pick` wants. Others are dropped.
    async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(NetEvent) -> Option<T>) -> T {
        timeout(PATIENCE, async {
            loop {
                let event = self.events.recv().await.expect("the task runs");
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    async fn connected(&mut self, other: &PeerKey) -> (String, bool) {
        self.until("Connected", |event| match event {
            NetEvent::Connected {
                peer,
                address,
                outbound,
            } if peer == *other => Some((address, outbound)),
            _ => None,
        })
        .await
    }

    async fn disconnected(&mut self, other: &PeerKey) {
        self.until("Disconnected", |event| {
            matches!(event, NetEvent::Disconnected { peer } if peer == *other).then_some(())
        })
        .await;
    }

    async fn dial_failed(&mut self) -> String {
        self.until("DialFailed", |event| match event {
            NetEvent::DialFailed { reason, .. } => Some(reason),
            NetEvent::Connected { .. } => panic!("a refused dial must not look connected"),
            _ => None,
        })
        .await
    }

    async fn subscribed(&mut self, other: &PeerKey) {
        self.until("Subscribed", |event| {
            matches!(event, NetEvent::Subscribed { peer } if peer == *other).then_some(())
        })
        .await;
    }

    /// Waits for a gossip message, accepts it, and returns it.
    async fn gossip(&mut self) -> (PeerKey, Vec<u8>) {
        let (from, token, bytes) = self
            .until("Gossip", |event| match event {
                NetEvent::Gossip { from, token, bytes } => Some((from, token, bytes)),
                _ => None,
            })
            .await;
        self.send(NetCommand::Verdict {
            token,
            verdict: Verdict::Accept,
        })
        .await;
        (from, bytes)
    }

    /// Answers the next call and returns it.
    async fn serve(&mut self, response: wire::Response) -> (PeerKey, wire::Request) {
        let (from, token, request) = self
            .until("Request", |event| match event {
                NetEvent::Request {
                    from,
                    token,
                    request,
                } => Some((from, token, request)),
                _ => None,
            })
            .await;
        self.send(NetCommand::Respond { token, response }).await;
        (from, request)
    }

    async fn response(&mut self, expected: u64) -> Result<wire::Response, String> {
        self.until("Response", |event| match event {
            NetEvent::Response { id, result, .. } if id == expected => Some(result),
            _ => None,
        })
        .await
    }

    async fn call(&self, other: &PeerKey, id: u64, request: wire::Request) {
        self.send(NetCommand::Request {
            peer: *other,
            id,
            request,
        })
        .await;
    }

    async fn join_answer(&mut self) -> Result<wire::JoinAnswer, String> {
        self.until("JoinAnswer", |event| match event {
            NetEvent::JoinAnswer { result, .. } => Some(result),
            _ => None,
        })
        .await
    }

    async fn serve_join(&mut self, gate: Option<Gate>) -> (PeerKey, String) {
        let (from, address, token, request) = self
            .until("JoinRequest", |event| match event {
                NetEvent::JoinRequest {
                    from,
                    address,
                    token,
                    request,
                } => Some((from, address, token, request)),
                _ => None,
            })
            .await;
        assert_eq!(request, join_request());
        if let Some(gate) = gate {
            self.send(NetCommand::SetGate(gate)).await;
        }
        self.send(NetCommand::RespondJoin {
            token,
            answer: join_answer(),
        })
        .await;
        (from, address)
    }

    async fn refused(&mut self) -> (Option<PeerKey>, String) {
        self.until("Refused", |event| match event {
            NetEvent::Refused { peer, reason, .. } => Some((peer, reason)),
            _ => None,
        })
        .await
    }

    async fn shut_down(self) {
        let (done, wait) = oneshot::channel();
        self.send(NetCommand::Shutdown(done)).await;
        timeout(PATIENCE, wait)
            .await
            .expect("in time")
            .expect("the task answers");
    }
}

/// Two members that are connected and subscribed to each other.
async fn pair(listen: &[&str]) -> (Net, Net) {
    let mut a = Net::start(1, listen, gate(&[2], false)).await;
    let mut b = Net::start(2, listen, gate(&[1], false)).await;
    a.dial(&b).await;
    a.subscribed(&b.key).await;
    b.subscribed(&a.key).await;
    (a, b)
}
