//! What the swarm speaks.

use libp2p::{connection_limits, ping, request_response, swarm::NetworkBehaviour};

use super::{
    codec::{JOIN_PROTOCOL, JoinCodec, SYNC_PROTOCOL, SyncCodec},
    gate::Gated,
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
}

/// What only members speak.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(crate) struct Members {
    pub(crate) gossip: settings::Gossip,
    pub(crate) sync: request_response::Behaviour<SyncCodec>,
    pub(crate) ping: ping::Behaviour,
}

impl Behaviour {
    pub(crate) fn new(connections_max: u32) -> Result<Self, String> {
        let both = request_response::ProtocolSupport::Full;
        Ok(Self {
            limits: connection_limits::Behaviour::new(settings::connection_limits(connections_max)),
            members: Gated::new(Members::new()?),
            join: request_response::Behaviour::with_codec(
                JoinCodec::join(),
                [(JOIN_PROTOCOL, both)],
                settings::calls(),
            ),
        })
    }
}

impl Members {
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Self {
            gossip: settings::gossip()?,
            sync: request_response::Behaviour::with_codec(
                SyncCodec::sync(),
                [(SYNC_PROTOCOL, request_response::ProtocolSupport::Full)],
                settings::calls(),
            ),
            ping: ping::Behaviour::new(settings::ping()),
        })
    }
}
