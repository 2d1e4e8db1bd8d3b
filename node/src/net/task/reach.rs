//! Own addresses, verdicts on them, relays: what `reach` decides is done here.

use std::collections::HashMap;

use libp2p::{
    Multiaddr, PeerId, autonat, identify, mdns,
    multiaddr::Protocol,
    relay,
    swarm::{
        ConnectionId, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    super::{
        NetEvent, Probed, behaviour::BehaviourEvent, holes::TRY_TIME, peer_id_of, peer_key,
        reach::is_relayed, reasons::probe_failure, settings,
    },
    Task,
};
use fmesh_proto::id::PeerKey;

/// A trial of one address for the operator.
pub(super) struct Probe {
    pub(super) since: Instant,
    pub(super) answer: oneshot::Sender<Probed>,
}

/// A look from outside at our own addresses.
pub(super) struct Look {
    /// The connection that was opened for it.
    id: ConnectionId,
    /// Set when the connection stands.
    until: Option<Instant>,
}

impl Task {
    /// Listeners and addresses. Gives back what it does not know.
    pub(super) fn on_address_event(
        &mut self,
        event: SwarmEvent<BehaviourEvent>,
    ) -> Option<SwarmEvent<BehaviourEvent>> {
        let changed = match event {
            SwarmEvent::NewListenAddr {
                listener_id,
                address,
            } => self.reaching.listens(listener_id, address),
            SwarmEvent::ExpiredListenAddr {
                listener_id,
                address,
            } => self.reaching.lost(listener_id, &address),
            SwarmEvent::ListenerClosed {
                listener_id,
                addresses,
                reason,
            } => {
                match self.reaching.closed(listener_id, Instant::now()) {
                    Some(relay) => tracing::info!(%relay, ?reason, "a relay is lost"),
                    None => tracing::warn!(?addresses, ?reason, "a listener has closed"),
                }
                true
            }
            SwarmEvent::ExternalAddrConfirmed { address } => self.reaching.confirm(address),
            other => return Some(other),
        };
        if changed {
            self.on_reach_changed();
        }
        None
    }

    pub(super) fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id, info, .. } = event else {
            return;
        };
        let offers = info.protocols.contains(&relay::HOP_PROTOCOL_NAME);
        if self.reaching.offers(peer_id, offers, Instant::now()) {
            self.emit_reach();
        }
    }

    pub(super) fn on_autonat(&mut self, event: autonat::v2::client::Event) {
        if let Err(error) = event.result {
            let server = event.server;
            let why = format!("{server} could not dial back: {error}");
            if self.reaching.refute(event.tested_addr, why) {
                self.on_reach_changed();
            }
        }
    }

    /// Opens a connection for a look at our own addresses from outside.
    pub(super) fn on_look_again(&mut self, key: PeerKey, addresses: &[String]) {
        let peer = peer_id_of(&key);
        if self.look.is_some() || !self.gate().is_member(&peer) {
            return;
        }
        let direct: Vec<Multiaddr> = addresses
            .iter()
            .filter_map(|text| text.parse().ok())
            .filter(|address| !is_relayed(address))
            .collect();
        if direct.is_empty() {
            return;
        }
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(direct)
            .allocate_new_port()
            .build();
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => self.look = Some(Look { id, until: None }),
            Err(error) => tracing::debug!(%peer, %error, "no look from there"),
        }
    }

    /// The look begins if its connection stands now: when that is to be closed.
    pub(super) fn begin_look(&mut self, id: ConnectionId) -> Option<Instant> {
        let look = self.look.as_mut().filter(|look| look.id == id)?;
        let until = Instant::now() + settings::LOOK_TIME;
        look.until = Some(until);
        let known = self.reaching.judged();
        self.members().probe.renew(&known);
        self.gate().forget_candidates();
        self.reaching.begin_look();
        // Closed after the verdicts were counted.
        Some(until + settings::LOOK_TIME / 4)
    }

    /// Its connection did not come about: nothing is learnt. `true` if it was that one.
    pub(super) fn look_failed(&mut self, id: ConnectionId) -> bool {
        self.look.take_if(|look| look.id == id).is_some()
    }

    /// Counts what a look that is over has missed.
    pub(super) fn end_look(&mut self, now: Instant) {
        let over = |look: &mut Look| look.until.is_some_and(|until| until <= now);
        if self.look.take_if(over).is_none() {
            return;
        }
        let (changed, lost) = self.reaching.end_look();
        for address in lost {
            tracing::info!(%address, "members do not reach this node there any more");
            self.swarm.remove_external_address(&address);
        }
        if changed {
            self.on_reach_changed();
        }
    }

    /// The connection of a dial back has done its work.
    pub(super) fn on_dialled_back(&mut self, event: &autonat::v2::server::Event) {
        let ids = self.peers.ids(&event.client);
        if ids.len() < 2 {
            return;
        }
        let newest = ids.into_iter().max_by_key(|id| {
            let connection = self.peers.connection_mut(&event.client, *id);
            connection.map(|connection| connection.used)
        });
        if let Some(id) = newest
            && self
                .peers
                .connection_mut(&event.client, id)
                .is_some_and(|c| c.outbound && c.address == event.tested_addr)
        {
            self.close_connection(&event.client, id, "dialled back");
        }
    }

    pub(super) fn on_relay(&mut self, event: relay::Event) {
        match event {
            relay::Event::ReservationReqAccepted {
                src_peer_id,
                renewed: false,
            } => tracing::info!(peer = %src_peer_id, "a member may be reached through this node"),
            relay::Event::ReservationReqDenied {
                src_peer_id,
                status,
            } => {
                tracing::info!(peer = %src_peer_id, ?status, "no place at this relay for a member");
            }
            relay::Event::CircuitReqDenied {
                src_peer_id,
                dst_peer_id,
                status,
            } => {
                tracing::debug!(from = %src_peer_id, to = %dst_peer_id, ?status, "no circuit");
            }
            relay::Event::CircuitReqAccepted {
                src_peer_id,
                dst_peer_id,
            } => tracing::info!(from = %src_peer_id, to = %dst_peer_id, "a circuit begins"),
            _ => {}
        }
    }

    /// Neighbours on the local network: members are dialled there, others are forgotten.
    pub(super) fn on_mdns(&mut self, event: mdns::Event) {
        let mdns::Event::Discovered(found) = event else {
            return;
        };
        let mut members: HashMap<PeerId, Vec<Multiaddr>> = HashMap::new();
        for (peer, mut address) in found.into_iter().take(settings::NEIGHBOURS_MAX) {
            if !self.gate().is_member(&peer) || self.peers.is_announced(&peer) {
                continue;
            }
            if let Some(Protocol::P2p(_)) = address.iter().last() {
                address.pop();
            }
            members.entry(peer).or_default().push(address);
        }
        for (peer, addresses) in members {
            self.dial_neighbour(peer, addresses);
        }
    }

    /// A dial that is under way may be one to addresses that lead nowhere any more: this one runs beside it.
    fn dial_neighbour(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let Some(key) = peer_key(&peer) else {
            return;
        };
        if !self.dials.contains_key(&peer) {
            let texts: Vec<String> = addresses.iter().map(Multiaddr::to_string).collect();
            return self.on_dial(key, &texts);
        }
        match self.dial_addresses(peer, addresses) {
            Ok(id) => {
                if let Some(dial) = self.dials.get_mut(&peer) {
                    dial.ids.push(id);
                }
            }
            Err(error) => tracing::debug!(%peer, %error, "cannot dial a neighbour"),
        }
    }

    /// Relays for others as `reach` says, names itself, and tells the node.
    pub(super) fn on_reach_changed(&mut self) {
        let relaying = self.reaching.relaying();
        if relaying {
            // Whoever reserves a place is told these; without any it would refuse the place.
            let unknown = self.swarm.external_addresses().all(is_relayed);
            if unknown {
                for address in self.reaching.to_name() {
                    self.swarm.add_external_address(address);
                }
            }
        }
        let status = match relaying {
            true => relay::Status::Enable,
            false => relay::Status::Disable,
        };
        self.members().relay.set_status(Some(status));
        self.emit_reach();
    }

    fn emit_reach(&mut self) {
        let reach = self.reaching.told();
        // Only the newest counts: a relay that comes and goes must not fill the queue.
        self.outbox
            .retain(|event| !matches!(event, NetEvent::Reach(_)));
        self.emit(NetEvent::Reach(reach));
    }

    /// Asks for a place at a relay, if one is needed.
    pub(super) fn look_for_relay(&mut self, now: Instant) {
        for id in self.reaching.places_to_leave(now) {
            // Its end is told by an event.
            self.swarm.remove_listener(id);
        }
        while let Some(relay) = self.reaching.relay_to_ask(now) {
            let Some((address, outbound)) = self.peers.direct(&relay) else {
                self.reaching.refused(relay, now);
                continue;
            };
            let place = address
                .clone()
                .with(Protocol::P2p(relay))
                .with(Protocol::P2pCircuit);
            let me = *self.swarm.local_peer_id();
            let told = outbound.then(|| place.clone().with(Protocol::P2p(me)));
            match self.swarm.listen_on(place) {
                Ok(id) => self.reaching.asked(id, relay, told),
                Err(error) => {
                    tracing::debug!(%relay, %error, "cannot ask a relay");
                    self.reaching.refused(relay, now);
                }
            }
        }
    }

    /// A peer is gone for good.
    pub(super) fn forget_relay(&mut self, peer: &PeerId) {
        if self.reaching.offers(*peer, false, Instant::now()) {
            self.emit_reach();
        }
    }

    /// A circuit that a direct connection has replaced is closed.
    pub(super) fn close_spare_circuits(&mut self, now: Instant) {
        let Some(stable) = now.checked_sub(settings::DIRECT_STABLE) else {
            return;
        };
        for (peer, id) in self.peers.spare_circuits(stable) {
            self.close_connection(&peer, id, "a direct connection has replaced it");
        }
    }

    /// Opens another circuit to a member that is reached over one alone: both sides try again to punch a hole.
    pub(super) fn try_holes(&mut self, now: Instant) {
        let relayed = self.peers.only_relayed();
        let peers: Vec<PeerId> = relayed.iter().map(|(peer, _)| *peer).collect();
        if self.hole.is_some() {
            return;
        }
        let due = self.holes.due(&peers, now);
        let Some((peer, circuit)) = relayed.into_iter().find(|(peer, _)| Some(*peer) == due) else {
            return;
        };
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(vec![circuit])
            .build();
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => self.hole = Some(id),
            Err(error) => tracing::debug!(%peer, %error, "no further try to punch a hole"),
        }
    }

    /// Another try begins if its circuit stands now: when that is to be closed.
    pub(super) fn begin_hole(&mut self, id: ConnectionId) -> Option<Instant> {
        self.hole.take_if(|hole| *hole == id)?;
        Some(Instant::now() + TRY_TIME)
    }

    /// Dials one address of a member, whatever else is connected.
    pub(super) fn on_probe(
        &mut self,
        key: PeerKey,
        address: &str,
        answer: oneshot::Sender<Probed>,
    ) {
        let peer = peer_id_of(&key);
        match self.start_probe(peer, address) {
            Ok(id) => {
                let since = Instant::now();
                self.probes.insert(id, Probe { since, answer });
            }
            // The operator may have stopped waiting.
            Err(probed) => drop(answer.send(probed)),
        }
    }

    fn start_probe(&mut self, peer: PeerId, address: &str) -> Result<ConnectionId, Probed> {
        if !self.gate().is_member(&peer) {
            return Err(Probed::Other("not a member of the mesh".to_owned()));
        }
        if self.probes.len() >= settings::PROBES_MAX {
            return Err(Probed::Other(
                "too many addresses are tried already".to_owned(),
            ));
        }
        let address: Multiaddr = address
            .parse()
            .map_err(|error| Probed::Other(format!("not an address: {error}")))?;
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(vec![address])
            .allocate_new_port()
            .build();
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => Ok(id),
            Err(error) => Err(probe_failure(&error)),
        }
    }

    /// Ends a trial. `true` if the connection was one.
    pub(super) fn end_probe(&mut self, id: ConnectionId, failure: Option<Probed>) -> bool {
        let Some(probe) = self.probes.remove(&id) else {
            return false;
        };
        let took = probe.since.elapsed().as_micros();
        let outcome = failure.unwrap_or(Probed::Answered {
            micros: u64::try_from(took).unwrap_or(u64::MAX),
        });
        // The operator may have stopped waiting.
        let _ = probe.answer.send(outcome);
        true
    }

    pub(super) fn expire_probes(&mut self, now: Instant) {
        let late: Vec<ConnectionId> = self
            .probes
            .iter()
            .filter(|(_, probe)| now - probe.since >= settings::PROBE_TIMEOUT)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.end_probe(id, Some(Probed::Silent));
        }
    }

    /// What a member sent us that no honest node sends.
    pub(super) fn blame(&mut self, peer: &PeerId, what: &str) {
        if let Some(peer) = peer_key(peer) {
            let what = what.to_owned();
            self.emit(NetEvent::Misbehaved { peer, what });
        }
    }
}
