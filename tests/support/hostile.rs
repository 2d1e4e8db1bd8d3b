//! A program that speaks the mesh's protocols with nobody's rules: raw frames, raw gossip, streams that are never read.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test target uses its own part of this"
)]

use std::{collections::HashMap, io, time::Duration};

use fmesh::node::Node;
use fmesh_proto::id::{Digest, MeshId};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, gossipsub,
    identity::Keypair,
    noise, ping, relay, request_response,
    swarm::{
        NetworkBehaviour, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, yamux,
};

pub const SYNC: &str = "/fmesh/sync/1";
pub const JOIN: &str = "/fmesh/join/1";

/// What is written on a stream, and what happens then.
#[derive(Debug, Clone)]
pub struct Raw {
    pub bytes: Vec<u8>,
    /// Never read the answer, and never close.
    pub hang: bool,
}

impl Raw {
    /// A well-formed frame around bytes.
    pub fn frame(message: &[u8]) -> Self {
        let length = u32::try_from(message.len()).expect("a short message");
        Self::bytes([length.to_be_bytes().as_slice(), message].concat())
    }

    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, hang: false }
    }

    pub fn hanging(self) -> Self {
        Self { hang: true, ..self }
    }
}

/// Writes what it is given and reads what comes, within a megabyte.
#[derive(Debug, Clone, Default)]
pub struct RawCodec;

impl request_response::Codec for RawCodec {
    type Protocol = StreamProtocol;
    type Request = Raw;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Raw>
    where
        T: AsyncRead + Unpin + Send,
    {
        // Whatever the other side asks is left unanswered.
        let mut bytes = vec![0; 4];
        io.read_exact(&mut bytes).await?;
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut bytes = Vec::new();
        io.take(1 << 20).read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, raw: Raw) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&raw.bytes).await?;
        if raw.hang {
            io.flush().await?;
            // Whoever returns from here closes its side, and reads.
            futures::future::pending::<()>().await;
        }
        // Whatever was announced, this is all.
        io.close().await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
        _: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        Ok(())
    }
}

#[derive(NetworkBehaviour)]
pub struct Rogue {
    pub gossip: gossipsub::Behaviour,
    pub calls: request_response::Behaviour<RawCodec>,
    pub joins: request_response::Behaviour<RawCodec>,
    pub ping: ping::Behaviour,
    pub circuits: relay::client::Behaviour,
}

/// A rogue and whom it attacks.
pub struct Attacker {
    pub swarm: Swarm<Rogue>,
    pub victim: PeerId,
    pub addresses: Vec<Multiaddr>,
    topic: gossipsub::IdentTopic,
}

/// What came of a dial.
#[derive(Debug, PartialEq, Eq)]
pub enum Met {
    Connected,
    Closed,
}

impl Attacker {
    /// With an identity (a member's, or anybody's), against a node.
    pub fn new(secret: [u8; 32], victim: &Node) -> Self {
        Self::over("/tcp/", secret, victim)
    }

    /// The same over QUIC, where it takes in no more than a few bytes of what it does not read.
    pub fn narrow(secret: [u8; 32], victim: &Node) -> Self {
        Self::over("/quic-v1", secret, victim)
    }

    fn over(transport: &str, secret: [u8; 32], victim: &Node) -> Self {
        let mesh = victim.store.meta().expect("reads").mesh.expect("in a mesh");
        let keypair = Keypair::ed25519_from_bytes(secret.to_vec()).expect("a secret");
        let swarm = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_tcp(
                tcp::Config::default(),
                noise::Config::new,
                yamux::Config::default,
            )
            .expect("noise")
            .with_quic_config(|mut config| {
                config.max_stream_data = 64;
                config
            })
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .expect("noise")
            .with_behaviour(|_, circuits| behaviour(circuits))
            .expect("a behaviour")
            .with_swarm_config(|config| {
                config.with_idle_connection_timeout(Duration::from_secs(600))
            })
            .build();
        let listening = victim.live.borrow().listening.clone();
        let over = listening.iter().filter(|a| a.contains(transport));
        let addresses: Vec<Multiaddr> = over
            .map(|address| address.parse().expect("an address"))
            .collect();
        let victim = peer_of(&addresses[0]);
        let topic = gossipsub::IdentTopic::new(topic(&mesh));
        let mut attacker = Self {
            swarm,
            victim,
            addresses,
            topic,
        };
        attacker
            .swarm
            .behaviour_mut()
            .gossip
            .subscribe(&attacker.topic)
            .expect("subscribes");
        attacker
    }

    fn dial(&mut self) {
        let options = DialOpts::peer_id(self.victim)
            .condition(PeerCondition::Always)
            .addresses(self.addresses.clone())
            .build();
        self.swarm.dial(options).expect("a dial begins");
    }

    /// Dials; a connection that the other side closes within two seconds was none.
    pub async fn meet(&mut self) -> Met {
        self.dial();
        let mut lasts = std::pin::pin!(tokio::time::sleep(Duration::from_secs(20)));
        loop {
            tokio::select! {
                () = &mut lasts => return Met::Closed,
                event = self.swarm.select_next_some() => match event {
                    SwarmEvent::ConnectionEstablished { .. } => {
                        lasts.set(tokio::time::sleep(Duration::from_secs(2)));
                        let closed = self.until_closed();
                        if tokio::time::timeout(Duration::from_secs(2), closed).await.is_err() {
                            return Met::Connected;
                        }
                        return Met::Closed;
                    }
                    SwarmEvent::OutgoingConnectionError { .. } => return Met::Closed,
                    _ => {}
                },
            }
        }
    }

    async fn until_closed(&mut self) {
        while !matches!(
            self.swarm.select_next_some().await,
            SwarmEvent::ConnectionClosed { .. }
        ) {}
    }

    /// Sends calls of one protocol and waits until each has ended; hanging ones are left open. What was answered, in order of arrival.
    pub async fn call(&mut self, protocol: &str, raws: Vec<Raw>) -> Vec<Vec<u8>> {
        let mut open: HashMap<_, ()> = HashMap::new();
        for raw in raws {
            let hang = raw.hang;
            let rogue = self.swarm.behaviour_mut();
            let calls = if protocol == SYNC {
                &mut rogue.calls
            } else {
                &mut rogue.joins
            };
            let id = calls.send_request(&self.victim, raw);
            if !hang {
                open.insert(id, ());
            }
        }
        let mut answers = Vec::new();
        let patience = tokio::time::sleep(Duration::from_secs(60));
        let mut patience = std::pin::pin!(patience);
        while !open.is_empty() {
            let event = tokio::select! {
                () = &mut patience => panic!("{} calls never ended", open.len()),
                event = self.swarm.select_next_some() => event,
            };
            let SwarmEvent::Behaviour(RogueEvent::Calls(event) | RogueEvent::Joins(event)) = event
            else {
                continue;
            };
            match event {
                request_response::Event::Message {
                    message:
                        request_response::Message::Response {
                            request_id,
                            response,
                        },
                    ..
                } => {
                    open.remove(&request_id);
                    answers.push(response);
                }
                request_response::Event::OutboundFailure { request_id, .. } => {
                    open.remove(&request_id);
                }
                _ => {}
            }
        }
        answers
    }

    /// Gossips; what gossipsub itself refuses to send is counted.
    pub fn gossip(&mut self, bytes: Vec<u8>) -> bool {
        let topic = self.topic.clone();
        self.swarm
            .behaviour_mut()
            .gossip
            .publish(topic, bytes)
            .is_ok()
    }

    /// Lets the swarm work for a while; gossip that arrived meanwhile.
    pub async fn run(&mut self, time: Duration) -> Vec<Vec<u8>> {
        let mut heard = Vec::new();
        let end = tokio::time::sleep(time);
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return heard,
                event = self.swarm.select_next_some() => {
                    if let SwarmEvent::Behaviour(RogueEvent::Gossip(gossipsub::Event::Message { message, .. })) = event {
                        heard.push(message.data);
                    }
                }
            }
        }
    }

    /// Runs until the victim has subscribed, so that gossip reaches it.
    pub async fn until_subscribed(&mut self) {
        let hash = self.topic.hash();
        let subscribed = async {
            while self
                .swarm
                .behaviour()
                .gossip
                .all_peers()
                .all(|(_, topics)| !topics.contains(&&hash))
            {
                self.swarm.select_next_some().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), subscribed)
            .await
            .expect("the victim subscribes");
    }

    /// Asks the victim for a place at its relay. `true` if it was given.
    pub async fn reserve(&mut self) -> bool {
        let place = self.addresses[0]
            .clone()
            .with(libp2p::multiaddr::Protocol::P2pCircuit);
        let listener = self.swarm.listen_on(place).expect("an address of a relay");
        let given = async {
            loop {
                match self.swarm.select_next_some().await {
                    SwarmEvent::NewListenAddr { listener_id, .. } if listener_id == listener => {
                        return true;
                    }
                    SwarmEvent::ListenerClosed { listener_id, .. } if listener_id == listener => {
                        return false;
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), given)
            .await
            .unwrap_or(false)
    }

    /// Dials somebody through the victim. `true` if a circuit came about.
    pub async fn through(&mut self, other: PeerId) -> bool {
        let way = self.addresses[0]
            .clone()
            .with(libp2p::multiaddr::Protocol::P2pCircuit);
        let options = DialOpts::peer_id(other)
            .condition(PeerCondition::Always)
            .addresses(vec![way])
            .build();
        let id = options.connection_id();
        if self.swarm.dial(options).is_err() {
            return false;
        }
        let outcome = async {
            loop {
                match self.swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { connection_id, .. }
                        if connection_id == id =>
                    {
                        return true;
                    }
                    SwarmEvent::OutgoingConnectionError { connection_id, .. }
                        if connection_id == id =>
                    {
                        return false;
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), outcome)
            .await
            .unwrap_or(false)
    }
}

fn behaviour(circuits: relay::client::Behaviour) -> Rogue {
    let protocol = |name: &'static str| {
        [(
            StreamProtocol::new(name),
            request_response::ProtocolSupport::Full,
        )]
    };
    // Longer than a victim waits for somebody who says or reads nothing.
    let config =
        || request_response::Config::default().with_request_timeout(Duration::from_secs(40));
    // As an honest node's, but for the penalties: a rogue forgives itself.
    let gossip = gossipsub::Behaviour::new(
        gossipsub::MessageAuthenticity::Anonymous,
        gossipsub::ConfigBuilder::from(fmesh::net::gossipsub_config())
            .build()
            .expect("an honest node's settings"),
    );
    Rogue {
        gossip: gossip.expect("an honest node's settings"),
        calls: request_response::Behaviour::with_codec(RawCodec, protocol(SYNC), config()),
        joins: request_response::Behaviour::with_codec(RawCodec, protocol(JOIN), config()),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(2))),
        circuits,
    }
}

/// The PeerId at the end of an address.
pub fn peer_of(address: &Multiaddr) -> PeerId {
    match address.iter().last() {
        Some(libp2p::multiaddr::Protocol::P2p(peer)) => peer,
        other => panic!("an address with a PeerId at its end: {other:?}"),
    }
}

/// The mesh's gossip topic, which every member can compute.
fn topic(mesh: &MeshId) -> String {
    let bytes = [b"fmesh/topic/v1\n".as_slice(), mesh.as_bytes()].concat();
    format!("fmesh/{}", Digest::of(&bytes).hex())
}

/// Resident memory of this process in bytes.
pub fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number");
    pages * 4096
}
