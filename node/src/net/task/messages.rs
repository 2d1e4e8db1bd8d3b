//! What the protocols bring: gossip, calls and their answers, requests to join and theirs.

use fmesh_proto::wire;
use libp2p::{PeerId, gossipsub, request_response, swarm::ConnectionId};
use tokio::time::Instant;

use super::{
    super::{
        GossipToken, JoinToken, NetEvent, ResponseToken, Verdict, peer_key, reasons::join_error,
    },
    Task,
};

impl Task {
    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => {
                let token = GossipToken {
                    message: message_id,
                    source: propagation_source,
                };
                let ours = self.is_our_topic(&message.topic);
                match peer_key(&propagation_source) {
                    Some(from) if ours => {
                        self.prove(&propagation_source, None);
                        self.emit(NetEvent::Gossip {
                            from,
                            token,
                            bytes: message.data,
                        });
                    }
                    _ => self.on_verdict(&token, Verdict::Ignore),
                }
            }
            gossipsub::Event::Subscribed { peer_id, topic } => {
                if self.is_our_topic(&topic) {
                    self.on_subscribed(peer_id);
                }
            }
            gossipsub::Event::SlowPeer {
                peer_id,
                failed_messages,
            } => {
                tracing::debug!(%peer_id, ?failed_messages, "gossip to a slow peer was dropped");
                self.emit(NetEvent::GossipLost);
            }
            gossipsub::Event::Unsubscribed { .. }
            | gossipsub::Event::GossipsubNotSupported { .. } => {}
        }
    }

    pub(super) fn is_our_topic(&self, topic: &gossipsub::TopicHash) -> bool {
        self.topic
            .as_ref()
            .is_some_and(|ours| ours.hash() == *topic)
    }

    pub(super) fn on_subscribed(&mut self, peer: PeerId) {
        self.prove(&peer, None);
        if let Some(peer) = peer_key(&peer) {
            self.emit(NetEvent::Subscribed { peer });
        }
    }

    pub(super) fn on_sync(
        &mut self,
        event: request_response::Event<wire::Request, wire::Response>,
    ) {
        match event {
            request_response::Event::Message {
                peer,
                connection_id,
                message,
            } => match message {
                request_response::Message::Request {
                    request, channel, ..
                } => {
                    self.prove(&peer, Some(connection_id));
                    if request.what.is_none() {
                        // Dropping the channel ends the call without an answer.
                        return self.blame(&peer, "sent a call that is none");
                    }
                    if let Some(from) = peer_key(&peer) {
                        self.emit(NetEvent::Request {
                            from,
                            token: ResponseToken(channel),
                            request,
                        });
                    }
                }
                request_response::Message::Response {
                    request_id,
                    response,
                } => self.on_response(&peer, request_id, Ok(response)),
            },
            request_response::Event::OutboundFailure {
                peer,
                request_id,
                error,
                ..
            } => self.on_response(&peer, request_id, Err(error.to_string())),
            request_response::Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "a call was not answered");
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    pub(super) fn on_response(
        &mut self,
        peer: &PeerId,
        call: request_response::OutboundRequestId,
        result: Result<wire::Response, String>,
    ) {
        let id = self.calls.finished(peer, call);
        if let (Some(id), Some(peer)) = (id, peer_key(peer)) {
            self.emit(NetEvent::Response { peer, id, result });
        }
        if self.peers.is_announced(peer) {
            self.start_calls(peer);
        }
    }

    pub(super) fn on_join_event(
        &mut self,
        event: request_response::Event<wire::JoinRequest, wire::JoinAnswer>,
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
                } => {
                    if self.joins.get(&peer) == Some(&request_id) {
                        self.on_join_answer(&peer, Ok(response));
                    }
                }
            },
            request_response::Event::OutboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                if self.joins.get(&peer) == Some(&request_id) {
                    self.on_join_answer(&peer, Err(join_error(&error)));
                }
            }
            request_response::Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "a request to join was not answered");
            }
            request_response::Event::ResponseSent {
                peer,
                connection_id,
                ..
            } => {
                if let Some(connection) = self.peers.connection_mut(&peer, connection_id) {
                    connection.used = Instant::now();
                }
            }
        }
    }

    /// Dropping the channel ends the call without an answer.
    pub(super) fn on_join_request(
        &mut self,
        peer: &PeerId,
        id: ConnectionId,
        request: wire::JoinRequest,
        channel: request_response::ResponseChannel<wire::JoinAnswer>,
    ) {
        let gate = self.gate();
        // A node that was admitted moments ago may come again for its answer.
        let heard = gate.join_open() || gate.is_member(peer);
        let Some(connection) = self.peers.connection_mut(peer, id).filter(|_| heard) else {
            return;
        };
        connection.used = Instant::now();
        connection.asked_to_join = true;
        let address = connection.address.to_string();
        if let Some(from) = peer_key(peer) {
            self.emit(NetEvent::JoinRequest {
                from,
                address,
                token: JoinToken(channel),
                request,
            });
        }
    }

    pub(super) fn on_join_answer(
        &mut self,
        peer: &PeerId,
        result: Result<wire::JoinAnswer, String>,
    ) {
        self.joins.remove(peer);
        self.gate().stop_joining(peer);
        for id in self.peers.ids(peer) {
            if let Some(connection) = self.peers.connection_mut(peer, id) {
                connection.used = Instant::now();
            }
        }
        if let Some(peer) = peer_key(peer) {
            self.emit(NetEvent::JoinAnswer { peer, result });
        }
    }
}
