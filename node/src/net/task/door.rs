//! Doors behind relays: ours, of which our relays are told, and those of members behind us, to which strangers' requests are passed on.

use fmesh_proto::{id::PeerKey, mesh::admission::JoinRefusal, wire};
use libp2p::{PeerId, multiaddr::Protocol, request_response, swarm::ConnectionId};
use tokio::time::Instant;

use super::{
    super::{
        JoinToken, NetEvent, codec::Fault, doors::NotPassed, peer_id_of, peer_key,
        reasons::join_error, settings,
    },
    Task,
};

/// The way back to who asked.
type Back = request_response::ResponseChannel<wire::JoinAnswer>;

impl Task {
    /// Closes doors whose time is over, lets strangers in for the rest, and tells our relays of our own.
    pub(super) fn look_at_doors(&mut self, now: Instant) {
        let peers = &self.peers;
        self.doors.expire(now, |member| peers.is_announced(member));
        let were_let_in = self.gate().lets_strangers_in();
        let open = self.doors.any_open();
        self.gate().set_doors(open);
        if were_let_in && !self.gate().lets_strangers_in() {
            self.close_misfits();
        }
        let mut relays = self.reaching.relays();
        relays.retain(|relay| self.peers.is_announced(relay));
        let open = self.gate().join_open();
        for relay in self.doors.due(open, &relays, now) {
            let what = Some(wire::door_request::What::Door(wire::Door { open }));
            let door = &mut self.members().door;
            door.send_request(&relay, Ok(wire::DoorRequest { what }));
        }
    }

    /// A stranger hands over a request for a member behind us.
    fn on_pass(
        &mut self,
        stranger: &PeerId,
        over: ConnectionId,
        request: Result<wire::PassOn, Fault>,
        back: Back,
    ) {
        let now = Instant::now();
        let admitted = self.gate().is_member(stranger);
        let Some(connection) = self.peers.connection_mut(stranger, over) else {
            return;
        };
        connection.used = now;
        connection.asked_to_join = true;
        // Only who is let in may keep a connection that is to be closed by asking.
        if let Some(close_at) = connection.close_at.as_mut().filter(|_| admitted) {
            *close_at = now + settings::CALL_TIMEOUT;
        }
        let address = connection.address.clone();
        let named = match &request {
            Ok(wire::PassOn {
                peer,
                request: Some(_),
            }) => PeerKey::from_slice(peer),
            _ => None,
        };
        let (Some(inviter), Some(key)) = (named, peer_key(stranger)) else {
            let reason = match request {
                Err(fault) => format!("asked to join through this node: it {fault}"),
                Ok(_) => "asked to join through this node: it does not say whom".to_owned(),
            };
            return self.refused(Some(*stranger), &address, reason);
        };
        let member = peer_id_of(&inviter);
        let there = self.peers.is_announced(&member) && self.gate().is_member(&member);
        let allowed = match there && self.reaching.relaying() {
            true => self.doors.pass(stranger, &member, admitted, now),
            false => Err(NotPassed::Closed),
        };
        match allowed {
            Ok(()) => {
                let passed = wire::PassOn {
                    peer: key.as_bytes().to_vec(),
                    ..request.unwrap_or_default()
                };
                let what = Some(wire::door_request::What::Passed(passed));
                let door = &mut self.members().door;
                let id = door.send_request(&member, Ok(wire::DoorRequest { what }));
                self.doors.passing(id, *stranger, back);
            }
            Err(why) => {
                let reason = format!("asked to join through this node: {why}");
                self.refused(Some(*stranger), &address, reason);
                self.answer_stranger(back, not_now(&why.to_string()));
            }
        }
    }

    fn answer_stranger(&mut self, back: Back, answer: wire::JoinAnswer) {
        let through = &mut self.swarm.behaviour_mut().through;
        if through.send_response(back, answer).is_err() {
            tracing::debug!("an answer to a join came too late: the call has ended");
        }
    }

    pub(super) fn on_through_event(
        &mut self,
        event: request_response::Event<Result<wire::PassOn, Fault>, wire::JoinAnswer>,
    ) {
        match event {
            request_response::Event::Message {
                peer,
                connection_id,
                message,
            } => match message {
                request_response::Message::Request {
                    request, channel, ..
                } => self.on_pass(&peer, connection_id, request, channel),
                request_response::Message::Response {
                    request_id,
                    response,
                } => self.on_join_response(&peer, true, request_id, Ok(response)),
            },
            request_response::Event::OutboundFailure {
                peer,
                request_id,
                error,
                ..
            } => self.on_join_response(&peer, true, request_id, Err(join_error(&error))),
            request_response::Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "a request to join was not passed on");
            }
            request_response::Event::ResponseSent {
                peer,
                connection_id,
                ..
            } => self.on_join_answered(&peer, connection_id),
        }
    }

    pub(super) fn on_door_event(
        &mut self,
        event: request_response::Event<Result<wire::DoorRequest, Fault>, wire::JoinAnswer>,
    ) {
        match event {
            request_response::Event::Message {
                peer,
                connection_id,
                message,
            } => match message {
                request_response::Message::Request {
                    request, channel, ..
                } => self.on_door_request(&peer, connection_id, request, channel),
                request_response::Message::Response {
                    request_id,
                    response,
                } => {
                    if let Some((_, back)) = self.doors.answered(&request_id) {
                        self.answer_stranger(back, response);
                    }
                }
            },
            request_response::Event::OutboundFailure {
                request_id, error, ..
            } => {
                if let Some((_, back)) = self.doors.answered(&request_id) {
                    tracing::debug!(%error, "a request to join could not be passed on");
                    self.answer_stranger(back, not_now("the inviter did not answer the relay"));
                }
            }
            request_response::Event::InboundFailure {
                peer,
                connection_id,
                error,
                ..
            } => self.on_unanswered(&peer, connection_id, &error),
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    /// A member behind us says whether its door is open, or our relay brings a stranger's request.
    fn on_door_request(
        &mut self,
        peer: &PeerId,
        over: ConnectionId,
        request: Result<wire::DoorRequest, Fault>,
        back: Back,
    ) {
        use wire::door_request::What;
        self.prove(peer, Some(over));
        let now = Instant::now();
        match request.map(|request| request.what) {
            Ok(Some(What::Door(door))) => {
                // Whoever does not relay has nobody behind it.
                let open = door.open && self.reaching.relaying();
                self.doors.says(*peer, open, now);
                self.look_at_doors(now);
                self.answer_stranger(back, wire::JoinAnswer::default());
            }
            Ok(Some(What::Passed(passed))) => {
                let stranger = PeerKey::from_slice(&passed.peer);
                let (Some(from), Some(request)) = (stranger, passed.request) else {
                    return self.blame(peer, "passed on a request to join that is none");
                };
                let gate = self.gate();
                // A node that was admitted moments ago may come again for its answer.
                let heard = gate.join_open() || gate.is_member(&peer_id_of(&from));
                let asked = heard && self.reaching.relays().contains(peer);
                let Some(connection) = self.peers.connection_mut(peer, over).filter(|_| asked)
                else {
                    // The door may have been closed while it was on its way. Dropping the channel ends the call.
                    return;
                };
                let address = connection.address.clone().with(Protocol::P2pCircuit);
                self.emit(NetEvent::JoinRequest {
                    from,
                    address: address.to_string(),
                    token: JoinToken(back),
                    request,
                });
            }
            Ok(None) => self.blame(peer, "sent a call that is none"),
            Err(fault) => self.blame_fault(peer, over, &fault),
        }
    }
}

/// Not final: the joiner tries again.
fn not_now(why: &str) -> wire::JoinAnswer {
    wire::JoinAnswer {
        what: Some(wire::join_answer::What::Refused(wire::Refusal {
            code: JoinRefusal::Busy.code().to_owned(),
            text: why.to_owned(),
        })),
    }
}
