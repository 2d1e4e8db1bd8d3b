//! Joining, from both ends: our requests to an inviter, one way after the other, and those of strangers to us.

use std::collections::hash_map::Entry;

use fmesh_proto::{id::PeerKey, wire};
use libp2p::{Multiaddr, PeerId, request_response, swarm::ConnectionId};
use tokio::time::Instant;

use super::{
    super::{
        JoinToken, NetEvent,
        codec::Fault,
        peer_id_of, peer_key,
        reasons::join_error,
        settings,
        ways::{Attempt, Way},
    },
    Task,
};

/// What is to be asked of a peer once it is connected.
pub(super) enum Asking {
    /// The inviter itself.
    Here(wire::JoinRequest),
    /// A relay, to pass it on.
    Through(wire::PassOn),
}

/// A request to join on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct JoinCall {
    /// To a relay.
    through: bool,
    id: request_response::OutboundRequestId,
}

impl Task {
    pub(super) fn on_join(
        &mut self,
        key: PeerKey,
        addresses: &[String],
        request: wire::JoinRequest,
    ) {
        let peer = peer_id_of(&key);
        if self.attempts.contains_key(&peer) {
            let reason = "the last request to this node is still under way; wait for its answer";
            return self.emit(NetEvent::JoinAnswer {
                peer: key,
                result: Err(reason.to_owned()),
            });
        }
        let me = *self.swarm.local_peer_id();
        let attempt = Attempt::new(request.clone(), addresses, &me);
        self.attempts.insert(peer, attempt);
        if self.peers.is_reachable(&peer) {
            self.gate().start_joining(peer);
            return self.send_join(peer, Asking::Here(request));
        }
        self.try_next_way(peer, "no address of it is known".to_owned());
    }

    /// Goes on with an attempt; `why` is how the last way failed.
    fn try_next_way(&mut self, inviter: PeerId, mut why: String) {
        loop {
            let Some(attempt) = self.attempts.get_mut(&inviter) else {
                return;
            };
            let Some(way) = attempt.next(Instant::now()) else {
                break;
            };
            let request = attempt.request.clone();
            let outcome = match way {
                Way::Direct(addresses) => self.ask(inviter, addresses, Asking::Here(request)),
                Way::Through(relay, addresses) => {
                    self.ask_through(relay, addresses, inviter, request)
                }
            };
            match outcome {
                Ok(()) => return,
                Err(reason) => why = reason,
            }
        }
        self.end_attempt(&inviter, Err(why));
    }

    fn ask_through(
        &mut self,
        relay: PeerId,
        addresses: Vec<Multiaddr>,
        inviter: PeerId,
        request: wire::JoinRequest,
    ) -> Result<(), String> {
        let key = peer_key(&inviter).ok_or("the identity of the inviter is not an Ed25519 key")?;
        match self.asked_through.entry(relay) {
            Entry::Occupied(_) => return Err("another request goes through this relay".to_owned()),
            Entry::Vacant(entry) => entry.insert(inviter),
        };
        let passed = wire::PassOn {
            peer: key.as_bytes().to_vec(),
            request: Some(request),
        };
        let asked = self.ask(relay, addresses, Asking::Through(passed));
        if asked.is_err() {
            self.asked_through.remove(&relay);
        }
        asked
    }

    fn ask(
        &mut self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        asking: Asking,
    ) -> Result<(), String> {
        self.gate().start_joining(peer);
        if self.peers.is_reachable(&peer) {
            self.send_join(peer, asking);
            return Ok(());
        }
        if let Some(dial) = self.dials.get_mut(&peer) {
            dial.join = Some(asking);
            return Ok(());
        }
        match self.dial_in_order(peer, addresses) {
            Ok(mut dial) => {
                dial.join = Some(asking);
                self.dials.insert(peer, dial);
                Ok(())
            }
            Err(reason) => {
                self.gate().stop_joining(&peer);
                Err(reason)
            }
        }
    }

    pub(super) fn send_join(&mut self, peer: PeerId, asking: Asking) {
        if let Some(attempt) = self.attempts.get_mut(&peer) {
            attempt.connected();
        }
        let swarm = self.swarm.behaviour_mut();
        let call = match asking {
            Asking::Here(request) => JoinCall {
                through: false,
                id: swarm.join.send_request(&peer, Ok(request)),
            },
            Asking::Through(passed) => JoinCall {
                through: true,
                id: swarm.through.send_request(&peer, Ok(passed)),
            },
        };
        self.joins.insert(peer, call);
    }

    /// Where the inviter's own addresses are silent and a relay may lead to it, that is tried without more waiting.
    pub(super) fn hurry_joins(&mut self, now: Instant) {
        let attempts = self.attempts.iter();
        let slow: Vec<PeerId> = attempts
            .filter(|(_, attempt)| attempt.is_slow(now))
            .map(|(inviter, _)| *inviter)
            .collect();
        for inviter in slow {
            if let Entry::Occupied(mut dial) = self.dials.entry(inviter) {
                dial.get_mut().join = None;
                if !dial.get().member {
                    dial.remove();
                }
            }
            self.try_next_way(inviter, "its own addresses do not answer".to_owned());
        }
    }

    pub(super) fn on_join_event(
        &mut self,
        event: request_response::Event<Result<wire::JoinRequest, Fault>, wire::JoinAnswer>,
    ) {
        match event {
            request_response::Event::Message {
                peer,
                connection_id,
                message,
            } => match message {
                request_response::Message::Request {
                    request, channel, ..
                } => self.on_join_request(&peer, connection_id, request, channel),
                request_response::Message::Response {
                    request_id,
                    response,
                } => self.on_join_response(&peer, false, request_id, Ok(response)),
            },
            request_response::Event::OutboundFailure {
                peer,
                request_id,
                error,
                ..
            } => self.on_join_response(&peer, false, request_id, Err(join_error(&error))),
            request_response::Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "a request to join was not answered");
            }
            request_response::Event::ResponseSent {
                peer,
                connection_id,
                ..
            } => self.on_join_answered(&peer, connection_id),
        }
    }

    /// An answer to a stranger is on its way: that counts as use of its connection.
    pub(super) fn on_join_answered(&mut self, peer: &PeerId, over: ConnectionId) {
        if let Some(connection) = self.peers.connection_mut(peer, over) {
            connection.used = Instant::now();
        }
    }

    /// Dropping the channel ends the call without an answer.
    fn on_join_request(
        &mut self,
        peer: &PeerId,
        id: ConnectionId,
        request: Result<wire::JoinRequest, Fault>,
        channel: request_response::ResponseChannel<wire::JoinAnswer>,
    ) {
        let gate = self.gate();
        // A node that was admitted moments ago may come again for its answer.
        let admitted = gate.is_member(peer);
        let heard = gate.join_open() || admitted;
        let Some(connection) = self.peers.connection_mut(peer, id).filter(|_| heard) else {
            return;
        };
        connection.used = Instant::now();
        connection.asked_to_join = true;
        if let Some(close_at) = connection.close_at.as_mut().filter(|_| admitted) {
            *close_at = Instant::now() + settings::CALL_TIMEOUT;
        }
        let address = connection.address.clone();
        let request = match request {
            Err(Fault::Stalled) => {
                let reason = format!("asked to join: it {}", Fault::Stalled);
                return self.refused(Some(*peer), &address, reason);
            }
            // What is no request is judged as an empty one.
            other => other.unwrap_or_default(),
        };
        if let Some(from) = peer_key(peer) {
            self.emit(NetEvent::JoinRequest {
                from,
                address: address.to_string(),
                token: JoinToken(channel),
                request,
            });
        }
    }

    /// The answer to a call of ours, if it is the one that counts.
    pub(super) fn on_join_response(
        &mut self,
        peer: &PeerId,
        through: bool,
        id: request_response::OutboundRequestId,
        result: Result<wire::JoinAnswer, String>,
    ) {
        if self.joins.get(peer) == Some(&JoinCall { through, id }) {
            self.on_join_answer(peer, result);
        }
    }

    /// One way of an attempt has ended.
    pub(super) fn on_join_answer(
        &mut self,
        peer: &PeerId,
        result: Result<wire::JoinAnswer, String>,
    ) {
        self.joins.remove(peer);
        self.gate().stop_joining(peer);
        for id in self.peers.ids(peer) {
            self.on_join_answered(peer, id);
        }
        let inviter = self.asked_through.remove(peer).unwrap_or(*peer);
        match result {
            Err(why) => self.try_next_way(inviter, why),
            Ok(answer) => self.end_attempt(&inviter, Ok(answer)),
        }
    }

    fn end_attempt(&mut self, inviter: &PeerId, result: Result<wire::JoinAnswer, String>) {
        self.attempts.remove(inviter);
        self.gate().stop_joining(inviter);
        if let Some(peer) = peer_key(inviter) {
            self.emit(NetEvent::JoinAnswer { peer, result });
        }
    }
}
