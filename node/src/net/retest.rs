//! AutoNAT's client, made to look again.
//!
//! libp2p's client tests each address once and keeps its verdict for ever, and there is no way to ask it again. So a new look is a new
//! client: it is told of the connections that there are and of the addresses that had a verdict (the swarm keeps confirmed ones from it),
//! learns from the next connection that is opened who dials back, and takes the addresses that are seen from there. What the task makes of the verdicts is not known here.

use std::{
    collections::HashMap,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId,
    autonat::v2::client,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour,
        NewExternalAddrCandidate, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::ConnectionEstablished,
    },
};

/// How soon an address is tested after it was heard of.
const SOON: Duration = Duration::from_secs(1);

type Client = client::Behaviour<rand_core::UnwrapErr<getrandom::SysRng>>;

/// The client of the present look, and the connections that the next one is to know.
pub(crate) struct Retested {
    client: Client,
    connections: HashMap<ConnectionId, (PeerId, ConnectedPoint)>,
}

impl Retested {
    pub(crate) fn new() -> Self {
        Self {
            client: fresh(),
            connections: HashMap::new(),
        }
    }

    /// Forgets every verdict. Tests that are under way still end, but decide nothing; new ones want a new connection to a member.
    pub(crate) fn renew(&mut self, known: &[Multiaddr]) {
        self.client = fresh();
        for (id, (peer, endpoint)) in &self.connections {
            // It takes an event of a connection that it does not know for an error.
            self.client
                .on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                    peer_id: *peer,
                    connection_id: *id,
                    endpoint,
                    failed_addresses: &[],
                    other_established: 0,
                }));
        }
        for addr in known {
            let candidate = NewExternalAddrCandidate { addr };
            self.client
                .on_swarm_event(FromSwarm::NewExternalAddrCandidate(candidate));
        }
    }
}

fn fresh() -> Client {
    let random = rand_core::UnwrapErr(getrandom::SysRng);
    Client::new(random, client::Config::default().with_probe_interval(SOON))
}

impl NetworkBehaviour for Retested {
    type ConnectionHandler = THandler<Client>;
    type ToSwarm = client::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.client
            .handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role_override: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.client.handle_established_outbound_connection(
            connection,
            peer,
            address,
            role_override,
            port_use,
        )
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => {
                let known = (*peer_id, (*endpoint).clone());
                self.connections.insert(*connection_id, known);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.connections.remove(connection_id);
            }
            _ => {}
        }
        self.client.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.client
            .on_connection_handler_event(peer, connection, event);
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.client.poll(cx)
    }
}
