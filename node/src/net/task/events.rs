//! What the swarm says of connections, listeners and pings.

use libp2p::{
    Multiaddr, PeerId,
    core::ConnectedPoint,
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
        reasons::{dial_error, innermost, probe_failure},
        settings,
    },
    Task,
};

impl Task {
    pub(in super::super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let Some(event) = self.on_address_event(event) else {
            return;
        };
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Members(event)) => match event {
                MembersEvent::Gossip(event) => self.on_gossip(event),
                MembersEvent::Sync(event) => self.on_sync(event),
                MembersEvent::Door(event) => self.on_door_event(event),
                MembersEvent::Ping(event) => self.on_ping(event),
                MembersEvent::Identify(event) => self.on_identify(event),
                MembersEvent::Relay(event) => self.on_relay(event),
                MembersEvent::Circuits(event) => tracing::debug!(?event, "circuit"),
                MembersEvent::Punch(event) => tracing::debug!(?event, "hole punching"),
                MembersEvent::Probe(event) => self.on_autonat(event),
                MembersEvent::DialBack(event) => self.on_dialled_back(&event),
            },
            SwarmEvent::Behaviour(BehaviourEvent::Join(event)) => self.on_join_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Through(event)) => self.on_through_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Neighbours(event)) => self.on_mdns(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                let mut address = match &endpoint {
                    // Of a circuit that comes in, the far end says no more than its PeerId: the way to it is the relay.
                    ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => {
                        local_addr.clone()
                    }
                    _ => endpoint.get_remote_address().clone(),
                };
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
        // A connection that stays is of use, whoever asked for it; one beside others was for the answer alone.
        if self.end_probe(id, None) && self.peers.is_reachable(&peer) {
            self.gate().sever(id);
            self.swarm.close_connection(id);
            return;
        }
        let dial = match self.dials.get(&peer) {
            Some(dial) if dial.ids.contains(&id) => self.dials.remove(&peer),
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
            answered: Instant::now(),
            used: Instant::now(),
            asked_to_join: false,
            close_at: self.begin_look(id).or_else(|| self.begin_hole(id)),
        };
        let reached = !outbound && place == Place::Member && !connection.is_relayed();
        self.peers.insert(peer, id, connection);
        if reached && self.reaching.reached() {
            self.on_reach_changed();
        }
        if let Some(asking) = join {
            self.send_join(peer, asking);
        }
        if member && place == Place::Stranger {
            self.emit_dial_failed(&peer, "not a member of the mesh any more".to_owned());
        }
    }

    pub(super) fn on_dial_error(&mut self, peer: PeerId, id: ConnectionId, error: &DialError) {
        let is_hole = self.hole.take_if(|hole| *hole == id).is_some();
        if is_hole || self.end_probe(id, Some(probe_failure(error))) || self.look_failed(id) {
            return;
        }
        let Some(dial) = self.dials.get_mut(&peer) else {
            return;
        };
        let before = dial.ids.len();
        dial.ids.retain(|other| *other != id);
        if dial.ids.len() == before {
            return; // of somebody else: a dial back, a hole punched
        }
        let mut reason = dial_error(error);
        if let Some((_, next)) = dial.later.pop_front() {
            match self.dial_addresses(peer, next) {
                Ok(id) => {
                    if let Some(dial) = self.dials.get_mut(&peer) {
                        dial.ids.push(id);
                    }
                    return;
                }
                Err(error) => reason = format!("{reason}; another way: {error}"),
            }
        }
        if self
            .dials
            .get(&peer)
            .is_some_and(|dial| !dial.ids.is_empty())
        {
            return; // the other way may still lead there
        }
        let Some(dial) = self.dials.remove(&peer) else {
            return;
        };
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
        self.refused(peer, address, innermost(cause));
    }

    /// Somebody was refused something: the node hears of some.
    pub(super) fn refused(
        &mut self,
        peer: Option<PeerId>,
        address: &Multiaddr,
        mut reason: String,
    ) {
        let Some(unreported) = self.refusals.note(peer, Instant::now()) else {
            return;
        };
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
                entry.answered = Instant::now();
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
            // Perhaps it was admitted a moment ago, does not know it yet, and comes for its answer.
            Err(ping::Failure::Unsupported) if !entry.outbound => {
                let soon = Instant::now() + settings::JOIN_GRACE;
                entry.close_at.get_or_insert(soon);
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
