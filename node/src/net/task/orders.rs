//! Orders of the node, one function each.

use std::collections::{HashSet, VecDeque};

use fmesh_proto::{id::PeerKey, wire};
use libp2p::{
    Multiaddr, PeerId, gossipsub,
    multiaddr::Protocol,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::time::Instant;

use super::{
    super::{
        Gate, GossipToken, NetCommand, NetEvent, Verdict, gate::Place, peer_id_of,
        reach::is_relayed, reasons::dial_error, settings,
    },
    Dial, Task,
};

impl Task {
    pub(super) fn on_command(&mut self, command: NetCommand) {
        match command {
            NetCommand::SetGate(gate) => self.on_set_gate(&gate),
            NetCommand::SetTopic(topic) => self.on_set_topic(topic),
            NetCommand::Dial { peer, addresses } => self.on_dial(peer, &addresses),
            NetCommand::Disconnect(peer) => {
                let peer = peer_id_of(&peer);
                for id in self.peers.ids(&peer) {
                    self.close_connection(&peer, id, "closed by this node");
                }
            }
            NetCommand::Publish(bytes) => self.on_publish(bytes),
            NetCommand::Verdict { token, verdict } => self.on_verdict(&token, verdict),
            NetCommand::Request { peer, id, request } => self.on_call(peer, id, request),
            NetCommand::Respond { token, response } => {
                if self
                    .members()
                    .sync
                    .send_response(token.0, response)
                    .is_err()
                {
                    tracing::debug!("an answer came too late: the call has ended");
                }
            }
            NetCommand::Join {
                peer,
                addresses,
                request,
            } => self.on_join(peer, &addresses, request),
            NetCommand::RespondJoin { token, answer } => {
                let join = &mut self.swarm.behaviour_mut().join;
                if join.send_response(token.0, answer).is_err() {
                    tracing::debug!("an answer to a join came too late: the call has ended");
                }
            }
            NetCommand::Probe {
                peer,
                address,
                answer,
            } => self.on_probe(peer, &address, answer),
            NetCommand::LookAgain { peer, addresses } => self.on_look_again(peer, &addresses),
            NetCommand::Shutdown(_) => unreachable!("the loop takes it"),
        }
    }

    pub(super) fn on_set_gate(&mut self, gate: &Gate) {
        let members: HashSet<PeerId> = gate.members.iter().map(peer_id_of).collect();
        self.gate().set(members, gate.join_open);
        self.close_misfits();
        self.look_at_doors(Instant::now());
    }

    /// Closes connections that no longer fit the gate.
    pub(super) fn close_misfits(&mut self) {
        let now = Instant::now();
        let gate = &self.swarm.behaviour().members;
        let open = gate.lets_strangers_in();
        let mut misfits = Vec::new();
        for (peer, id, connection) in self.peers.iter_mut() {
            let reason = match (connection.place, gate.is_member(&peer)) {
                (Place::Member, true) => continue,
                (Place::Member, false) => "no longer a member",
                (Place::Stranger, true) => "became a member: to be dialled again",
                (Place::Stranger, false) if open || connection.outbound => continue,
                (Place::Stranger, false) => "no invite is open any more",
            };
            // The answer to a join may still be on its way over this connection.
            let answering = connection.place == Place::Stranger
                && connection.asked_to_join
                && now.duration_since(connection.used) < settings::CALL_TIMEOUT;
            if answering {
                connection
                    .close_at
                    .get_or_insert(now + settings::JOIN_GRACE);
            } else {
                misfits.push((peer, id, reason));
            }
        }
        for (peer, id, reason) in misfits {
            self.close_connection(&peer, id, reason);
        }
    }

    pub(super) fn on_set_topic(&mut self, topic: Option<String>) {
        let topic = topic.map(gossipsub::IdentTopic::new);
        let same = self.topic.as_ref().map(gossipsub::IdentTopic::hash)
            == topic.as_ref().map(gossipsub::IdentTopic::hash);
        if same {
            return;
        }
        if let Some(old) = self.topic.take() {
            self.members().gossip.unsubscribe(&old);
        }
        let Some(topic) = topic else {
            return;
        };
        let gossip = &mut self.members().gossip;
        if let Err(error) = gossip.set_topic_params(topic.clone(), settings::topic_score_params()) {
            tracing::warn!(error, "gossip in the mesh's topic is not scored");
        }
        if let Err(error) = gossip.subscribe(&topic) {
            tracing::warn!(%error, "cannot join the mesh's topic; sync delivers");
        }
        // Members that subscribed before we did.
        let hash = topic.hash();
        let subscribed: Vec<PeerId> = gossip
            .all_peers()
            .filter(|(_, topics)| topics.contains(&&hash))
            .map(|(peer, _)| *peer)
            .collect();
        self.topic = Some(topic);
        for peer in subscribed {
            self.on_subscribed(peer);
        }
    }

    pub(super) fn on_dial(&mut self, key: PeerKey, addresses: &[String]) {
        let peer = peer_id_of(&key);
        if self.peers.is_announced(&peer) {
            return;
        }
        if !self.gate().is_member(&peer) {
            return self.emit_dial_failed(&peer, "not a member of the mesh".to_owned());
        }
        if self.peers.await_proof(&peer) {
            return;
        }
        if let Some(dial) = self.dials.get_mut(&peer) {
            dial.member = true;
            return;
        }
        match self.dial(peer, addresses) {
            Ok(dial) => {
                self.dials.insert(
                    peer,
                    Dial {
                        member: true,
                        ..dial
                    },
                );
            }
            Err(reason) => self.emit_dial_failed(&peer, reason),
        }
    }

    /// Dials a member at the addresses that it named.
    pub(super) fn dial(&mut self, peer: PeerId, addresses: &[String]) -> Result<Dial, String> {
        let mut parsed: Vec<Multiaddr> = Vec::with_capacity(addresses.len());
        for text in addresses {
            match text.parse() {
                Ok(address) => parsed.push(address),
                Err(error) => tracing::debug!(%peer, text, %error, "not an address; skipped"),
            }
        }
        if parsed.is_empty() {
            return Err("no address of it is known".to_owned());
        }
        let me = *self.swarm.local_peer_id();
        let ours = |address: &Multiaddr| address.iter().any(|part| part == Protocol::P2p(me));
        // Through ourselves leads no way.
        parsed.retain(|address| !is_relayed(address) || !ours(address));
        self.dial_in_order(peer, parsed)
    }

    /// Dials QUIC at once, TCP soon after, and through relays after that; each at once if there is nothing before it. Holes can be
    /// punched between two nodes only if their relay saw both over the same transport, so QUIC comes before TCP by more than chance.
    pub(super) fn dial_in_order(
        &mut self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    ) -> Result<Dial, String> {
        let udp = |address: &Multiaddr| address.iter().any(|part| matches!(part, Protocol::Udp(_)));
        let (relayed, direct): (Vec<_>, Vec<_>) = addresses.into_iter().partition(is_relayed);
        let (quic, tcp): (Vec<_>, Vec<_>) = direct.into_iter().partition(udp);
        let now = Instant::now();
        let mut later = VecDeque::from([
            (now, quic),
            (now + settings::TCP_DIAL_AFTER, tcp),
            (now + settings::RELAYED_DIAL_AFTER, relayed),
        ]);
        later.retain(|(_, addresses)| !addresses.is_empty());
        let first = later.pop_front().map(|(_, first)| first);
        let id = self.dial_addresses(peer, first.unwrap_or_default())?;
        Ok(Dial {
            ids: vec![id],
            later,
            member: false,
            join: None,
        })
    }

    pub(super) fn dial_addresses(
        &mut self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    ) -> Result<ConnectionId, String> {
        let tcp = |address: &Multiaddr| address.iter().any(|part| matches!(part, Protocol::Tcp(_)));
        let neighbours = self.swarm.behaviour().neighbours.is_enabled();
        let reuse = !neighbours && !addresses.iter().any(tcp);
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(addresses)
            // Those that the local network tells.
            .extend_addresses_through_behaviour();
        let options = if reuse {
            options.build()
        } else {
            // From the listening port, TCP may meet the remains of an earlier connection, or the peer's own dial.
            options.allocate_new_port().build()
        };
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => Ok(id),
            Err(error) => Err(dial_error(&error)),
        }
    }

    /// Dials that got no answer so far go another way besides.
    pub(super) fn dial_later(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (peer, dial) in &mut self.dials {
            if let Some((_, next)) = dial.later.pop_front_if(|(at, _)| *at <= now) {
                due.push((*peer, next));
            }
        }
        for (peer, addresses) in due {
            match self.dial_addresses(peer, addresses) {
                Ok(id) => {
                    if let Some(dial) = self.dials.get_mut(&peer) {
                        dial.ids.push(id);
                    }
                }
                Err(error) => tracing::debug!(%peer, %error, "cannot dial another way"),
            }
        }
    }

    pub(super) fn on_publish(&mut self, bytes: Vec<u8>) {
        let Some(topic) = self.topic.clone() else {
            return self.emit(NetEvent::GossipLost);
        };
        if bytes.len() > settings::GOSSIP_BYTES_MAX {
            tracing::warn!(bytes = bytes.len(), "too large to gossip; sync delivers");
            return self.emit(NetEvent::GossipLost);
        }
        match self.members().gossip.publish(topic, bytes) {
            Ok(_) | Err(gossipsub::PublishError::Duplicate) => {}
            Err(error) => {
                tracing::debug!(%error, "not gossiped; sync delivers");
                self.emit(NetEvent::GossipLost);
            }
        }
    }

    pub(super) fn on_verdict(&mut self, token: &GossipToken, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => gossipsub::MessageAcceptance::Accept,
            Verdict::Ignore => gossipsub::MessageAcceptance::Ignore,
            Verdict::Reject => gossipsub::MessageAcceptance::Reject,
        };
        let gossip = &mut self.members().gossip;
        if !gossip.report_message_validation_result(&token.message, &token.source, acceptance) {
            tracing::debug!("a verdict came too late: gossipsub has forgotten the message");
        }
    }

    pub(super) fn on_call(&mut self, key: PeerKey, id: u64, request: wire::Request) {
        let peer = peer_id_of(&key);
        if !self.peers.is_announced(&peer) {
            return self.emit_call_failed(&peer, id, "not connected");
        }
        if !self.calls.enqueue(peer, id, request, Instant::now()) {
            return self.emit_call_failed(&peer, id, "too many calls to it wait already");
        }
        self.start_calls(&peer);
    }

    pub(super) fn start_calls(&mut self, peer: &PeerId) {
        while let Some((id, request)) = self.calls.next(peer) {
            let call = self.members().sync.send_request(peer, Ok(request));
            self.calls.started(peer, call, id);
        }
    }
}
