//! What members' protocols bring: gossip, calls and their answers.

use fmesh_proto::wire;
use libp2p::{PeerId, gossipsub, request_response, swarm::ConnectionId};

use super::{
    super::{
        GossipToken, NetEvent, ResponseToken, Verdict,
        codec::{Fault, NotRead, STALLED},
        peer_key,
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
        event: request_response::Event<Result<wire::Request, Fault>, wire::Response>,
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
                    // Dropping the channel ends the call without an answer.
                    let request = match request {
                        Ok(request) if request.what.is_some() => request,
                        Ok(_) => return self.blame(&peer, "sent a call that is none"),
                        Err(fault) => return self.blame_fault(&peer, connection_id, &fault),
                    };
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
            request_response::Event::InboundFailure {
                peer,
                connection_id,
                error,
                ..
            } => self.on_unanswered(&peer, connection_id, &error),
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    /// What a member said instead of a call.
    pub(super) fn blame_fault(&mut self, peer: &PeerId, over: ConnectionId, fault: &Fault) {
        if *fault != Fault::Stalled || self.was_there(peer, over) {
            self.blame(peer, &fault.to_string());
        }
    }

    /// An answer did not get through to a member.
    pub(super) fn on_unanswered(
        &mut self,
        peer: &PeerId,
        over: ConnectionId,
        error: &request_response::InboundFailure,
    ) {
        tracing::debug!(%peer, %error, "a call was not answered");
        let not_read = matches!(error, request_response::InboundFailure::Io(error)
            if error.get_ref().is_some_and(|inner| inner.is::<NotRead>()));
        if not_read && self.was_there(peer, over) {
            self.blame(peer, "asked, and did not read the answer");
        }
    }

    /// While a call over this connection stood still, the other side answered pings: the line is not to blame.
    fn was_there(&mut self, peer: &PeerId, over: ConnectionId) -> bool {
        let connection = self.peers.connection_mut(peer, over);
        connection.is_some_and(|connection| connection.answered.elapsed() < STALLED)
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
}
