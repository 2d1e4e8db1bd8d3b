//! What the swarm speaks.

use std::error::Error;

use libp2p::{
    autonat, connection_limits, dcutr, identify,
    identity::Keypair,
    mdns, ping, relay, request_response,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use super::{
    NetConfig,
    codec::{
        DOOR_PROTOCOL, DoorCodec, JOIN_PROTOCOL, JoinCodec, SYNC_PROTOCOL, SyncCodec,
        THROUGH_PROTOCOL, ThroughCodec,
    },
    gate::Gated,
    retest::Retested,
    settings,
};

/// All of it. Those that can refuse a connection come first: libp2p does not tell a behaviour that a later one
/// refused what it had accepted.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) members: Gated<Members>,
    pub(crate) join: request_response::Behaviour<JoinCodec>,
    /// Takes requests to join for members behind this relay.
    pub(crate) through: request_response::Behaviour<ThroughCodec>,
    pub(crate) neighbours: Toggle<mdns::tokio::Behaviour>,
}

/// What only members speak. A relay lies in here on both sides: whoever is no member reserves nothing, reaches
/// nobody through us, and is not even told that this node relays.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(crate) struct Members {
    pub(crate) gossip: settings::Gossip,
    pub(crate) sync: request_response::Behaviour<SyncCodec>,
    pub(crate) ping: ping::Behaviour,
    /// Says from where others see us, and which of them relay.
    pub(crate) identify: identify::Behaviour,
    /// Between a relay and those behind it: whose door is open, and who knocks.
    pub(crate) door: request_response::Behaviour<DoorCodec>,
    /// Carries members' circuits.
    pub(crate) relay: relay::Behaviour,
    /// Reserves a place at members' relays and dials through them.
    pub(crate) circuits: relay::client::Behaviour,
    /// Turns a relayed connection into a direct one where the firewalls let it.
    pub(crate) punch: dcutr::Behaviour,
    /// Asks members to dial us back where others see us.
    pub(crate) probe: Retested,
    /// Dials members back that ask.
    pub(crate) dial_back: autonat::v2::server::Behaviour,
}

/// What libp2p's builder takes as a failure.
type Failure = Box<dyn Error + Send + Sync>;

impl Behaviour {
    pub(crate) fn new(
        keypair: &Keypair,
        circuits: relay::client::Behaviour,
        config: &NetConfig,
    ) -> Result<Self, Failure> {
        let [both, both_again] = [const { request_response::ProtocolSupport::Full }; 2];
        let me = keypair.public().to_peer_id();
        let neighbours = if config.mdns {
            Some(mdns::tokio::Behaviour::new(mdns::Config::default(), me)?)
        } else {
            None
        };
        Ok(Self {
            limits: connection_limits::Behaviour::new(settings::connection_limits(
                config.connections_max,
            )),
            members: Gated::new(Members::new(keypair, circuits)?),
            join: request_response::Behaviour::with_codec(
                JoinCodec::join(),
                [(JOIN_PROTOCOL, both)],
                settings::calls(),
            ),
            through: request_response::Behaviour::with_codec(
                ThroughCodec::through(),
                [(THROUGH_PROTOCOL, both_again)],
                settings::calls(),
            ),
            neighbours: neighbours.into(),
        })
    }
}

impl Members {
    pub(crate) fn new(
        keypair: &Keypair,
        circuits: relay::client::Behaviour,
    ) -> Result<Self, String> {
        let me = keypair.public().to_peer_id();
        let mut relay = relay::Behaviour::new(me, settings::relay());
        // Switched on by `reach` alone: libp2p would count a place at another relay as being reachable.
        relay.set_status(Some(relay::Status::Disable));
        Ok(Self {
            gossip: settings::gossip()?,
            sync: request_response::Behaviour::with_codec(
                SyncCodec::sync(),
                [(SYNC_PROTOCOL, request_response::ProtocolSupport::Full)],
                settings::calls(),
            ),
            door: request_response::Behaviour::with_codec(
                DoorCodec::door(),
                [(DOOR_PROTOCOL, request_response::ProtocolSupport::Full)],
                settings::calls(),
            ),
            ping: ping::Behaviour::new(settings::ping()),
            identify: identify::Behaviour::new(settings::identify(keypair.public())),
            relay,
            circuits,
            punch: dcutr::Behaviour::new(me),
            probe: Retested::new(),
            dial_back: autonat::v2::server::Behaviour::default(),
        })
    }
}
