//! The loop: feeds the state machine with what happens, and does what it says.
//!
//! ```text
//! network ── from_net ──►┐                      ┌─► commands to the network
//! writer ── from_writer ►├─► the machine (Mesh) ─ from_mesh ─► jobs for the writer
//! clock ── on_tick ─────►┘                      └─► answers, by tasks beside the loop
//! ```
//!
//! All of it is one task. What may take long (writing, answering a page of a feed, judging a knock) goes to the writer or to a
//! task of its own, and its result comes back as one more thing that happens.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use fmesh_proto::{
    id::{MeshId, PeerKey, SiteId},
    invite::Ticket,
    membership::Membership,
    mesh::{Input, Mesh},
    wire,
};
use rand_core::Rng as _;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{interval, sleep_until},
};

mod from_mesh;
mod from_net;
mod from_writer;

pub(super) use from_net::told_addresses;

use super::{
    Commands, Keys, Live, Node, NodeError, PeerStatus,
    identities::Identities,
    pairs::Pairs,
    ping::{self, Pings},
    serve::Server,
    throttle::Throttle,
};
use crate::{
    net::{Gate, GossipToken, JoinToken, NetCommand, NetEvent, ResponseToken},
    store::StoreError,
    writer::{Written, unix_now},
};

/// Jobs for the writer that may wait here; beyond it what came is dropped and pulled again later.
const WRITER_QUEUE: usize = 1024;
/// Results of tasks that may wait.
const DONE_QUEUE: usize = 256;
/// How often a joiner asks again while it waits for a person, or for the inviter to be reachable.
const JOIN_AGAIN: Duration = Duration::from_secs(2);
/// How often live facts, invites and retention are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often circles with a horizon are looked at: the week may have turned.
const REPLAN_TICKS: u64 = 3600;
/// How often old publications lose their content.
const PRUNE_TICKS: u64 = 1800;
/// Content of publications is kept for others this long...
const KEPT_SECONDS: u64 = 14 * 24 * 3600;
/// ... and up to this much.
const KEPT_BYTES: u64 = 1 << 30;
/// How long a stop may take before it is cut short.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// Jobs on their way to the writer.
enum Job {
    Take {
        work: u64,
        incoming: fmesh_proto::mesh::follow::Incoming,
    },
    Acknowledged {
        reader: SiteId,
        circle: fmesh_proto::id::CircleId,
        feed_seq: u64,
    },
    Learned {
        record: wire::AddressRecord,
    },
    JoinAnswered {
        result: Result<wire::JoinAnswer, String>,
    },
    OwnLog(fmesh_proto::mesh::OwnLog),
    Replan,
}

/// What tasks beside the loop bring back.
enum Done {
    Served {
        to: SiteId,
        token: ResponseToken,
        response: wire::Response,
    },
    Judged {
        peer: PeerKey,
        address: String,
        token: JoinToken,
        answer: wire::JoinAnswer,
    },
    /// What partners lack of ours.
    Counted(Result<BTreeMap<SiteId, u64>, StoreError>),
}

pub(super) struct Pilot {
    node: Node,
    keys: Keys,
    pairs: Arc<Pairs>,
    mesh: Option<Mesh>,
    mesh_id: Option<MeshId>,
    membership: Arc<Membership>,
    membership_tx: watch::Sender<Arc<Membership>>,
    identities: Identities,
    live: Live,
    live_tx: watch::Sender<Arc<Live>>,
    live_dirty: bool,
    /// Records of ours in feeds of each partner that it has not acknowledged, as last counted.
    backlogs: BTreeMap<SiteId, u64>,
    /// Something happened since.
    backlogs_due: bool,
    counting: bool,
    commands: Commands,
    outbox: VecDeque<NetCommand>,
    jobs: mpsc::Sender<Job>,
    done_tx: mpsc::Sender<Done>,
    done: mpsc::Receiver<Done>,
    pings: Pings,
    gossips: HashMap<u64, GossipToken>,
    calls: HashMap<u64, ResponseToken>,
    next_token: u64,
    gate: Gate,
    joining: Option<(PeerKey, Ticket)>,
    join_asked: bool,
    join_at: Instant,
    knocks: usize,
    throttle: Throttle,
    epoch: Instant,
    boot_id: u64,
    /// Number of the last own address record.
    address_seq: u64,
    ticks: u64,
    writer_gone: bool,
}

impl Pilot {
    pub(super) fn new(
        node: Node,
        keys: Keys,
        commands: Commands,
        membership_tx: watch::Sender<Arc<Membership>>,
        live_tx: watch::Sender<Arc<Live>>,
        asked: mpsc::Receiver<ping::Ask>,
    ) -> Result<Self, NodeError> {
        let (jobs, job_queue) = mpsc::channel(WRITER_QUEUE);
        let (done_tx, done) = mpsc::channel(DONE_QUEUE);
        tokio::spawn(from_writer::feed_writer(node.writer.clone(), job_queue));
        let live = Live::clone(&live_tx.borrow());
        let membership = Arc::clone(&membership_tx.borrow());
        let mut pilot = Self {
            mesh_id: node.store.meta()?.mesh,
            node,
            pairs: Arc::new(Pairs::new(Arc::clone(&keys))),
            keys,
            mesh: None,
            membership,
            membership_tx,
            identities: Identities::default(),
            live,
            live_tx,
            live_dirty: true,
            backlogs: BTreeMap::new(),
            backlogs_due: true,
            counting: false,
            commands,
            outbox: VecDeque::new(),
            jobs,
            done_tx,
            done,
            pings: Pings::new(asked),
            gossips: HashMap::new(),
            calls: HashMap::new(),
            next_token: 1,
            gate: Gate::default(),
            joining: None,
            join_asked: false,
            join_at: Instant::now(),
            knocks: 0,
            throttle: Throttle::default(),
            epoch: Instant::now(),
            boot_id: rand_core::UnwrapErr(getrandom::SysRng).next_u64(),
            address_seq: 0,
            ticks: 0,
            writer_gone: false,
        };
        if let Some(mesh) = pilot.mesh_id {
            pilot.enter_mesh(mesh, Vec::new())?;
        }
        pilot.look_at_door()?;
        Ok(pilot)
    }

    /// Runs until `stop`, or until the writer ends.
    pub(super) async fn run(
        mut self,
        mut events: mpsc::Receiver<NetEvent>,
        mut written: mpsc::Receiver<Written>,
        mut stop: oneshot::Receiver<()>,
    ) -> Result<(), NodeError> {
        let mut tick = interval(TICK);
        let commands = self.commands.clone();
        loop {
            self.poll_mesh();
            let deadline = self.deadline();
            tokio::select! {
                biased;
                _ = &mut stop => break,
                what = written.recv() => match what {
                    Some(what) => self.on_written(what)?,
                    None => {
                        self.writer_gone = true;
                        break;
                    }
                },
                room = commands.reserve(), if !self.outbox.is_empty() => match room {
                    Ok(room) => if let Some(command) = self.outbox.pop_front() {
                        room.send(command);
                    },
                    Err(_) => return Err(NodeError::Start("the network task ended".into())),
                },
                Some(done) = self.done.recv() => self.on_done(done),
                Some(ask) = self.pings.asked() => self.on_ping(ask),
                // What comes next waits until what it caused so far is on its way.
                event = events.recv(), if self.outbox.len() < WRITER_QUEUE => match event {
                    Some(event) => self.on_net(event),
                    None => return Err(NodeError::Start("the network task ended".into())),
                },
                _ = tick.tick() => self.on_tick()?,
                () = sleep_until(deadline.into()) => self.tell(Input::Tick),
            }
        }
        let writer_gone = self.writer_gone;
        let (tx, rx) = oneshot::channel();
        if self.commands.send(NetCommand::Shutdown(tx)).await.is_ok() {
            // Whoever does not let go in time is cut off when the process ends.
            let _ = tokio::time::timeout(STOP_PATIENCE, rx).await;
        }
        if writer_gone {
            Err(NodeError::WriterStopped)
        } else {
            Ok(())
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn deadline(&self) -> Instant {
        let mesh = self
            .mesh
            .as_ref()
            .map_or(self.epoch + Duration::from_secs(u32::MAX.into()), |m| {
                self.epoch + Duration::from_millis(m.next_deadline())
            });
        if self.joining.is_some() && !self.join_asked {
            mesh.min(self.join_at)
        } else {
            mesh
        }
    }

    /// Gives the machine an input.
    fn tell(&mut self, input: Input) {
        let now = self.now();
        if let Some(mesh) = &mut self.mesh {
            mesh.handle(input, now, unix_now());
        }
        self.ask_to_join();
    }

    /// Does what the machine says.
    fn poll_mesh(&mut self) {
        while let Some(output) = self.mesh.as_mut().and_then(Mesh::poll) {
            self.act(output);
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Served {
                to,
                token,
                response,
            } => {
                // Who was put out while its call was answered gets nothing; dropping the token ends the call.
                if self.peer(&to).is_some() {
                    self.outbox
                        .push_back(NetCommand::Respond { token, response });
                }
                self.tell(Input::Served { to });
            }
            Done::Judged {
                peer,
                address,
                token,
                answer,
            } => {
                self.knocks = self.knocks.saturating_sub(1);
                if matches!(
                    answer.what,
                    Some(wire::join_answer::What::Refused(_)) | None
                ) {
                    let now = self.now();
                    self.throttle.failed(&address, now);
                    let reason = match &answer.what {
                        Some(wire::join_answer::What::Refused(refusal)) => {
                            format!("asked to join: {}", refusal.text)
                        }
                        _ => "asked to join".to_owned(),
                    };
                    self.note_refused(Some(&peer), address, reason);
                }
                self.outbox
                    .push_back(NetCommand::RespondJoin { token, answer });
            }
            Done::Counted(backlogs) => self.on_counted(backlogs),
        }
    }

    fn on_tick(&mut self) -> Result<(), StoreError> {
        self.ticks += 1;
        // Invites expire by the clock.
        self.set_gate()?;
        self.pings.expire();
        if self.live_dirty {
            self.publish_live();
        }
        self.count_backlogs();
        if self
            .ticks
            .is_multiple_of(self.node.config.network.recheck_seconds)
        {
            self.look_again();
        }
        if self.ticks.is_multiple_of(REPLAN_TICKS) {
            let _ = self.jobs.try_send(Job::Replan);
        }
        if self.ticks % PRUNE_TICKS == 1 {
            let store = self.node.store.clone();
            tokio::task::spawn_blocking(move || {
                if let Err(error) =
                    store.prune_publications(unix_now().saturating_sub(KEPT_SECONDS), KEPT_BYTES)
                {
                    tracing::error!(%error, "cannot prune publications");
                }
            });
        }
        Ok(())
    }

    /// Has own addresses tested anew, from any connected member that can be dialled.
    fn look_again(&mut self) {
        let known = self.node.store.addresses().unwrap_or_default();
        let mut able: Vec<(PeerKey, Vec<String>)> = Vec::new();
        for (site, status) in &self.live.peers {
            let peer = self.peer(site).filter(|_| status.connected);
            if let (Some(peer), Some(record)) = (peer, known.get(site)) {
                able.push((peer, record.address.clone()));
            }
        }
        if !able.is_empty() {
            let any = rand_core::UnwrapErr(getrandom::SysRng).next_u32() as usize % able.len();
            let (peer, addresses) = able.swap_remove(any);
            self.outbox
                .push_back(NetCommand::LookAgain { peer, addresses });
        }
    }

    /// Live facts for whoever asks, at most once a second but for connections.
    fn publish_live(&mut self) {
        self.backlogs_due |= std::mem::take(&mut self.live_dirty);
        let partners: Vec<SiteId> = self
            .membership
            .members()
            .map(|m| m.site)
            .filter(|s| *s != self.node.site)
            .collect();
        for site in partners {
            let behind = self.mesh.as_ref().map_or(0, |mesh| mesh.behind(&site));
            let peer = self.peer(&site);
            let status = self.live.peers.entry(site).or_default();
            status.peer = peer;
            status.behind = behind;
            status.they_are_behind = self.backlogs.get(&site).copied().unwrap_or(0);
        }
        self.live_tx.send_replace(Arc::new(self.live.clone()));
    }

    /// Counts how far partners are behind, one count at a time: with many partners and circles it takes a while.
    fn count_backlogs(&mut self) {
        let Some(mesh) = self.mesh_id.filter(|_| self.backlogs_due && !self.counting) else {
            return;
        };
        (self.backlogs_due, self.counting) = (false, true);
        let (server, done) = (self.server(mesh), self.done_tx.clone());
        tokio::task::spawn_blocking(move || {
            // The loop may have ended.
            let _ = done.blocking_send(Done::Counted(server.backlogs()));
        });
    }

    fn on_counted(&mut self, backlogs: Result<BTreeMap<SiteId, u64>, StoreError>) {
        self.counting = false;
        match backlogs {
            Ok(backlogs) if backlogs == self.backlogs => {}
            Ok(backlogs) => {
                self.backlogs = backlogs;
                self.publish_live();
            }
            Err(error) => tracing::error!(%error, "cannot count what partners lack"),
        }
    }

    /// Reads for members, as of now.
    fn server(&self, mesh: MeshId) -> Server {
        Server {
            store: self.node.store.clone(),
            site: self.node.site,
            pairs: Arc::clone(&self.pairs),
            membership: Arc::clone(&self.membership),
            mesh,
        }
    }

    fn seen(&mut self, site: SiteId) -> &mut PeerStatus {
        let status = self.live.peers.entry(site).or_default();
        status.last_seen = Some(unix_now());
        status
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// The key under which a member is spoken to.
    fn peer(&self, site: &SiteId) -> Option<PeerKey> {
        let member = self.membership.member(site)?;
        Some(self.identities.peer(member))
    }

    fn site(&self, peer: &PeerKey) -> Option<SiteId> {
        self.identities.site(&self.membership, peer)
    }
}
