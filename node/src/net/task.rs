//! The task that owns the swarm: orders in, events out, in between libp2p.
//!
//! Nothing here waits for the node while the node waits for us: events that find no room wait in the outbox, the swarm is
//! not read meanwhile, orders still are.

mod door;
mod events;
mod joining;
mod messages;
mod orders;
mod reach;

use std::collections::{HashMap, VecDeque};

use fmesh_proto::wire;
use futures::StreamExt as _;
use libp2p::{Multiaddr, PeerId, Swarm, gossipsub, request_response, swarm::ConnectionId};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    NetCommand, NetEvent,
    behaviour::{Behaviour, Members},
    calls::Calls,
    doors::Doors,
    gate::{Gated, Place},
    holes::Holes,
    peer_key,
    peers::{Ended, Peers},
    reach::Reaching,
    refusals::Refusals,
    settings,
    ways::Attempt,
};

/// State of the task.
pub(crate) struct Task {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<NetCommand>,
    outbox: VecDeque<NetEvent>,
    topic: Option<gossipsub::IdentTopic>,
    peers: Peers,
    dials: HashMap<PeerId, Dial>,
    calls: Calls<wire::Request>,
    /// Our requests to join, by the inviter.
    attempts: HashMap<PeerId, Attempt>,
    /// Relays that pass one on, and to whom.
    asked_through: HashMap<PeerId, PeerId>,
    /// The calls in which they were made, by who was called.
    joins: HashMap<PeerId, joining::JoinCall>,
    doors: Doors<
        request_response::OutboundRequestId,
        request_response::ResponseChannel<wire::JoinAnswer>,
    >,
    refusals: Refusals,
    reaching: Reaching,
    probes: HashMap<ConnectionId, reach::Probe>,
    look: Option<reach::Look>,
    holes: Holes,
    /// The circuit that was opened for another try to punch a hole.
    hole: Option<ConnectionId>,
}

/// A dial under way, and what it is for.
struct Dial {
    /// To its own addresses, and through relays.
    ids: Vec<ConnectionId>,
    /// Ways that are tried as well if there is no connection by then.
    later: VecDeque<(Instant, Vec<Multiaddr>)>,
    /// Answered by `Connected` or `DialFailed`.
    member: bool,
    /// To be sent when connected; answered by `JoinAnswer`.
    join: Option<joining::Asking>,
}

impl Task {
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        commands: mpsc::Receiver<NetCommand>,
        reaching: Reaching,
    ) -> Self {
        Self {
            swarm,
            commands,
            outbox: VecDeque::new(),
            topic: None,
            peers: Peers::default(),
            dials: HashMap::new(),
            calls: Calls::new(),
            attempts: HashMap::new(),
            asked_through: HashMap::new(),
            joins: HashMap::new(),
            doors: Doors::new(Instant::now()),
            refusals: Refusals::new(Instant::now()),
            reaching,
            probes: HashMap::new(),
            look: None,
            holes: Holes::default(),
            hole: None,
        }
    }

    pub(crate) const fn swarm_mut(&mut self) -> &mut Swarm<Behaviour> {
        &mut self.swarm
    }

    /// Runs until told to stop, or until the node has dropped its end of a channel.
    pub(crate) async fn run(mut self, events: mpsc::Sender<NetEvent>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let done = loop {
            tokio::select! {
                room = events.reserve(), if !self.outbox.is_empty() => match room {
                    Ok(room) => {
                        if let Some(event) = self.outbox.pop_front() {
                            room.send(event);
                        }
                    }
                    Err(_) => break None,
                },
                command = self.commands.recv(), if self.outbox.len() < settings::OUTBOX_MAX => {
                    match command {
                        Some(NetCommand::Shutdown(done)) => break Some(done),
                        Some(command) => self.on_command(command),
                        None => break None,
                    }
                }
                event = self.swarm.select_next_some(), if self.outbox.is_empty() => {
                    self.on_swarm_event(event);
                }
                _ = tick.tick() => self.on_tick(Instant::now()),
            }
        };
        self.close(done).await;
    }

    /// Closes every connection, for as long as that takes within a bound.
    async fn close(self, done: Option<oneshot::Sender<()>>) {
        let Self { mut swarm, .. } = self;
        let peers: Vec<PeerId> = swarm.connected_peers().copied().collect();
        for peer in peers {
            // An error says that it is closed already.
            let _ = swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while swarm.network_info().connection_counters().num_established() > 0 {
                swarm.select_next_some().await;
            }
        };
        if timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::debug!("some connections did not close in time");
        }
        drop(swarm);
        if let Some(done) = done {
            // The node may have stopped waiting.
            let _ = done.send(());
        }
    }

    fn emit(&mut self, event: NetEvent) {
        self.outbox.push_back(event);
    }

    fn on_tick(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (peer, id, connection) in self.peers.iter_mut() {
            let idle = connection.place == Place::Stranger
                && now.duration_since(connection.used) >= settings::STRANGER_IDLE;
            if idle || connection.close_at.is_some_and(|at| at <= now) {
                due.push((peer, id));
            }
        }
        for (peer, id) in due {
            self.close_connection(&peer, id, "nothing more to say");
        }
        for (peer, id) in self.calls.expire(now) {
            self.emit_call_failed(&peer, id, "timed out behind other calls to it");
        }
        self.dial_later(now);
        self.hurry_joins(now);
        self.look_at_doors(now);
        self.end_look(now);
        self.close_spare_circuits(now);
        self.try_holes(now);
        self.look_for_relay(now);
        self.expire_probes(now);
    }

    /// Closes a connection; for the node and the members' protocols it is closed at once.
    fn close_connection(&mut self, peer: &PeerId, id: ConnectionId, reason: &str) {
        self.gate().sever(id);
        self.swarm.close_connection(id);
        if let Some(ended) = self.peers.remove(peer, id) {
            self.on_ended(peer, &ended, reason);
        }
    }

    fn on_ended(&mut self, peer: &PeerId, ended: &Ended, reason: &str) {
        tracing::debug!(%peer, address = %ended.connection.address, reason, "connection ended");
        if self.peers.ids(peer).is_empty() {
            self.forget_relay(peer);
            self.doors.forget(peer);
        }
        if ended.disconnected {
            for id in self.calls.fail_waiting(peer) {
                self.emit_call_failed(peer, id, "the connection was closed");
            }
            if let Some(peer) = peer_key(peer) {
                self.emit(NetEvent::Disconnected { peer });
            }
        } else if ended.dial_failed {
            self.emit_dial_failed(peer, reason.to_owned());
        } else if ended.connection.is_relayed()
            && let Some((address, _)) = self.peers.direct(peer)
        {
            let address = address.to_string();
            if let Some(peer) = peer_key(peer) {
                self.emit(NetEvent::Path { peer, address });
            }
        }
    }

    /// The other side treats us as a member: announce it, once.
    fn prove(&mut self, peer: &PeerId, over: Option<ConnectionId>) {
        if let (Some((address, outbound)), Some(peer)) =
            (self.peers.prove(peer, over), peer_key(peer))
        {
            self.emit(NetEvent::Connected {
                peer,
                address: address.to_string(),
                outbound,
            });
        }
    }

    fn emit_dial_failed(&mut self, peer: &PeerId, reason: String) {
        if let Some(peer) = peer_key(peer) {
            self.emit(NetEvent::DialFailed { peer, reason });
        }
    }

    fn emit_call_failed(&mut self, peer: &PeerId, id: u64, reason: &str) {
        if let Some(peer) = peer_key(peer) {
            self.emit(NetEvent::Response {
                peer,
                id,
                result: Err(reason.to_owned()),
            });
        }
    }

    fn gate(&mut self) -> &mut Gated<Members> {
        &mut self.swarm.behaviour_mut().members
    }

    fn members(&mut self) -> &mut Members {
        self.gate().inner_mut()
    }
}

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(500);
/// How long closing may take at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
