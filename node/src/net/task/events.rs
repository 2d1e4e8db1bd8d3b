//! What the swarm says of connections, listeners and pings.

use libp2p::{
    Multiaddr, PeerId,
    multiaddr::Protocol,
    ping,
    swarm::{ConnectionId, DialError, ListenError, SwarmEvent},
};
use tokio::time::Instant;

use super::{
    super::{
        NetEvent,
        behaviour::{BehaviourEvent, MembersEvent},
        gate::Place,
        peer_key,
        peers::Connection,
        reasons::{dial_error, innermost},
        settings,
    },
    Task,
};

impl Task {
    pub(in super::super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Members(event)) => match event {
                MembersEvent::Gossip(event) => self.on_gossip(event),
                MembersEvent::Sync(event) => self.on_sync(event),
                MembersEvent::Ping(event) => self.on_ping(event),
            },
            SwarmEvent::Behaviour(BehaviourEvent::Join(event)) => self.on_join_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                let mut address = endpoint.get_remote_address().clone();
                if let Some(Protocol::P2p(_)) = address.iter().last() {
                    address.pop();
                }
                self.on_established(peer_id, connection_id, address, endpoint.is_dialer());
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                cause,
                ..
            } => {
                let reason = cause.map_or_else(
                    || "the connection was closed".to_owned(),
                    |cause| format!("the other side closed the connection ({cause}): it does not count this node as a member, or it is full"),
                );
                if let Some(ended) = self.peers.remove(&peer_id, connection_id) {
                    self.on_ended(&peer_id, &ended, &reason);
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                peer_id: Some(peer),
                error,
            } => self.on_dial_error(peer, connection_id, &error),
            SwarmEvent::IncomingConnectionError {
                peer_id,
                send_back_addr,
                error,
                ..
            } => self.on_incoming_error(peer_id, &send_back_addr, &error),
            SwarmEvent::NewListenAddr { address, .. } => self.emit(NetEvent::Listening {
                address: address.to_string(),
            }),
            SwarmEvent::ListenerClosed {
                addresses, reason, ..
            } => tracing::warn!(?addresses, ?reason, "a listener has closed"),
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener has a problem");
            }
            _ => {}
        }
    }

    pub(super) fn on_established(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        address: Multiaddr,
        outbound: bool,
    ) {
        let dial = match self.dials.get(&peer) {
            Some(dial) if dial.id == id => self.dials.remove(&peer),
            _ => None,
        };
        let Some(place) = self.gate().place(id) else {
            return; // closed in the meantime
        };
        let (member, join) = dial.map_or((false, None), |dial| (dial.member, dial.join));
        let connection = Connection {
            place,
            outbound,
            address,
            dialled: member && place == Place::Member && !self.peers.is_announced(&peer),
            ping_failures: 0,
            used: Instant::now(),
            asked_to_join: false,
            close_at: None,
        };
        self.peers.insert(peer, id, connection);
        if let Some(request) = join {
            self.send_join(peer, request);
        }
        if member && place == Place::Stranger {
            self.emit_dial_failed(&peer, "not a member of the mesh any more".to_owned());
        }
    }

    pub(super) fn on_dial_error(&mut self, peer: PeerId, id: ConnectionId, error: &DialError) {
        let dial = match self.dials.get(&peer) {
            Some(dial) if dial.id == id => self.dials.remove(&peer),
            _ => None,
        };
        let Some(dial) = dial else {
            return;
        };
        let reason = dial_error(error);
        if dial.join.is_some() {
            self.on_join_answer(&peer, Err(reason.clone()));
        }
        // The other side's dial may have succeeded meanwhile, or still may.
        if dial.member && !self.peers.is_announced(&peer) && !self.peers.await_proof(&peer) {
            self.emit_dial_failed(&peer, reason);
        }
    }

    pub(super) fn on_incoming_error(
        &mut self,
        peer: Option<PeerId>,
        address: &Multiaddr,
        error: &ListenError,
    ) {
        let ListenError::Denied { cause } = error else {
            tracing::debug!(%address, %error, "an incoming connection failed");
            return;
        };
        let Some(unreported) = self.refusals.note(peer, Instant::now()) else {
            return;
        };
        let mut reason = innermost(cause);
        if unreported > 0 {
            reason.push_str(&format!(" ({unreported} more were refused before)"));
        }
        self.emit(NetEvent::Refused {
            peer: peer.and_then(|peer| peer_key(&peer)),
            address: address.to_string(),
            reason,
        });
    }

    pub(super) fn on_ping(&mut self, event: ping::Event) {
        let ping::Event {
            peer,
            connection,
            result,
        } = event;
        let Some(entry) = self.peers.connection_mut(&peer, connection) else {
            return;
        };
        match result {
            Ok(rtt) => {
                entry.ping_failures = 0;
                self.prove(&peer, Some(connection));
                if let Some(peer) = peer_key(&peer) {
                    let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
                    self.emit(NetEvent::Rtt { peer, micros });
                }
            }
            // It counts us as a stranger. A join that runs over this connection may still end.
            Err(ping::Failure::Unsupported) if self.joins.contains_key(&peer) => {
                entry.close_at = Some(Instant::now() + settings::CALL_TIMEOUT);
            }
            Err(ping::Failure::Unsupported) => {
                let reason = "the other side does not count this node as a member (yet)";
                self.close_connection(&peer, connection, reason);
            }
            Err(error) => {
                entry.ping_failures += 1;
                if entry.ping_failures >= settings::PING_FAILURES_MAX {
                    let reason = format!("no answer to three pings in a row ({error})");
                    self.close_connection(&peer, connection, &reason);
                }
            }
        }
    }
}
