//! The loop: feeds the state machine with what happens, and does what it says.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use fmesh_proto::{
    id::{Digest, MeshId, PeerKey, SiteId},
    invite::{Ticket, join_proof},
    limits,
    membership::Membership,
    mesh::{Ask, Input, Mesh, Output, Progress, Setup, Verdict, witness::Cosigned},
    record::View,
    wire,
};
use rand_core::Rng as _;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{interval, sleep_until},
};

use super::{
    Commands, Keys, Live, Node, NodeError, PeerStatus, Refused,
    identities::{Arrival, Identities},
    pairs::Pairs,
    ping::{self, Pings},
    serve::Server,
    throttle::Throttle,
};
use crate::{
    config::Config,
    net::{self, Gate, GossipToken, JoinToken, NetCommand, NetEvent, ResponseToken},
    store::StoreError,
    writer::{Written, unix_now},
};

/// Jobs for the writer that may wait here; beyond it what came is dropped and pulled again later.
const WRITER_QUEUE: usize = 1024;
/// Results of tasks that may wait.
const DONE_QUEUE: usize = 256;
/// Requests to join that are judged at once; more are answered "busy".
const KNOCKS_AT_ONCE: usize = 16;
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

/// Ways through relays that are told.
const RELAYED_TOLD: usize = 2;
/// Refused connections that are shown.
const REFUSALS_SHOWN: usize = 16;
/// Misdeeds of a member that are logged one by one; after that, one in so many.
const LOUD: u64 = 20;

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
        tokio::spawn(feed_writer(node.writer.clone(), job_queue));
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

    /// Somebody wants to know how a partner answers: called now, or once it is connected.
    fn on_ping(&mut self, ask: ping::Ask) {
        let site = ask.site;
        let connected = self.live.peers.get(&site).is_some_and(|p| p.connected);
        let Some(peer) = self.peer(&site) else {
            ask.refuse("it is no member of the mesh");
            return;
        };
        self.pings.wait(ask);
        if connected {
            self.ping_connected(site);
        } else {
            let known = self.node.store.addresses().unwrap_or_default();
            let addresses = known
                .get(&site)
                .map_or_else(Vec::new, |record| record.address.clone());
            if addresses.is_empty() {
                self.pings.unreachable(&site, "no address of it is known");
                return;
            }
            self.outbox.push_back(NetCommand::Dial { peer, addresses });
        }
    }

    /// Calls a connected partner whose answer is waited for.
    fn ping_connected(&mut self, site: SiteId) {
        let (Some(peer), Some(mesh)) = (self.peer(&site), &self.mesh) else {
            return;
        };
        for id in self.pings.begin(&site) {
            let request = wire::Request {
                what: Some(wire::request::What::Hello(mesh.hello())),
            };
            self.outbox
                .push_back(NetCommand::Request { peer, id, request });
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

    fn act(&mut self, output: Output) {
        match output {
            Output::Verdict { token, verdict } => {
                if let Some(token) = self.gossips.remove(&token) {
                    let verdict = match verdict {
                        Verdict::Accept => net::Verdict::Accept,
                        Verdict::Ignore => net::Verdict::Ignore,
                        Verdict::Reject => net::Verdict::Reject,
                    };
                    self.outbox
                        .push_back(NetCommand::Verdict { token, verdict });
                }
            }
            Output::Publish(bytes) => self.outbox.push_back(NetCommand::Publish(bytes)),
            Output::Request { to, id, request } => match self.peer(&to) {
                Some(peer) => self
                    .outbox
                    .push_back(NetCommand::Request { peer, id, request }),
                None => self.tell(Input::Response {
                    from: to,
                    id,
                    result: Err("no longer a member".into()),
                }),
            },
            Output::Respond { token, response } => {
                if let Some(token) = self.calls.remove(&token) {
                    self.outbox
                        .push_back(NetCommand::Respond { token, response });
                }
            }
            Output::Serve { to, token, ask } => self.serve(to, token, ask),
            Output::Take { work, incoming } => {
                if self.jobs.try_send(Job::Take { work, incoming }).is_err() {
                    // Nothing is lost: it is still missing, so it will be asked for again.
                    self.tell(Input::Taken(Progress {
                        work,
                        lost: true,
                        ..Progress::default()
                    }));
                }
            }
            Output::Dial { site, addresses } => match self.peer(&site) {
                Some(peer) => self.outbox.push_back(NetCommand::Dial { peer, addresses }),
                None => self.tell(Input::DialFailed { site }),
            },
            Output::Disconnect { site } => {
                // Also of a site that is no member any more.
                if let Some(keys) = self.membership.keys_of(&site) {
                    let peers = keys.all().map(|set| set.transport);
                    self.outbox.extend(peers.map(NetCommand::Disconnect));
                }
            }
            // Both are told again by the next hello or heads if the queue is full now.
            Output::Acknowledged {
                reader,
                circle,
                feed_seq,
            } => {
                self.live_dirty = true;
                let _ = self.jobs.try_send(Job::Acknowledged {
                    reader,
                    circle,
                    feed_seq,
                });
            }
            Output::Learned { record } => {
                self.note_signer(&record);
                let _ = self.jobs.try_send(Job::Learned { record });
            }
            Output::OwnLog(told) => {
                // Nothing else is on its way that would not give room soon, and it must not be lost.
                let jobs = self.jobs.clone();
                tokio::spawn(async move {
                    // The writer may have ended.
                    let _ = jobs.send(Job::OwnLog(told)).await;
                });
            }
            Output::Misbehaved { site, what } => self.blame(site, what),
        }
    }

    fn serve(&mut self, to: SiteId, token: u64, ask: Ask) {
        let (Some(token), Some(mesh)) = (self.calls.remove(&token), self.mesh_id) else {
            return;
        };
        if let Ask::Cosign { checkpoint } = ask {
            // What is cosigned is decided and stored where everything is.
            let (writer, done) = (self.node.writer.clone(), self.done_tx.clone());
            tokio::spawn(async move {
                let response = writer.cosign(to, checkpoint).await.unwrap_or_default();
                // The loop may have ended.
                let _ = done
                    .send(Done::Served {
                        to,
                        token,
                        response,
                    })
                    .await;
            });
            return;
        }
        let server = Server {
            store: self.node.store.clone(),
            site: self.node.site,
            pairs: Arc::clone(&self.pairs),
            membership: Arc::clone(&self.membership),
            mesh,
        };
        let done = self.done_tx.clone();
        tokio::task::spawn_blocking(move || {
            let response = server.answer(&to, &ask);
            // The loop may have ended.
            let _ = done.blocking_send(Done::Served {
                to,
                token,
                response,
            });
        });
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
        }
    }

    fn on_net(&mut self, event: NetEvent) {
        match event {
            NetEvent::Reach(reach) => self.on_reach(reach),
            NetEvent::Path { peer, address } => {
                if let Some(site) = self.site(&peer) {
                    tracing::info!(%site, %address, "partner is now reached directly");
                    self.seen(site).address = Some(address);
                    self.live_dirty = true;
                }
            }
            NetEvent::Misbehaved { peer, what } => {
                if let Some(site) = self.site(&peer) {
                    self.blame(site, what);
                }
            }
            NetEvent::Connected {
                peer,
                address,
                outbound,
            } => {
                if let Some(site) = self.site(&peer)
                    && self.arrives(&site, &peer)
                {
                    tracing::info!(%site, %address, outbound, "partner connected");
                    let status = self.seen(site);
                    status.connected = true;
                    status.address = Some(address);
                    status.last_error = None;
                    self.publish_live();
                    self.tell(Input::Connected { site });
                    self.ping_connected(site);
                }
            }
            NetEvent::Disconnected { peer } => {
                if let Some(site) = self.leaves(&peer) {
                    tracing::info!(%site, "partner disconnected");
                    let status = self.seen(site);
                    status.connected = false;
                    status.rtt_micros = None;
                    self.publish_live();
                    self.tell(Input::Disconnected { site });
                }
            }
            NetEvent::DialFailed { peer, reason } => {
                if let Some(site) = self.site(&peer) {
                    self.identities.dial_failed(&site);
                    let status = self.live.peers.entry(site).or_default();
                    self.pings.unreachable(&site, &reason);
                    status.last_error = Some(reason);
                    self.live_dirty = true;
                    self.tell(Input::DialFailed { site });
                }
            }
            NetEvent::Refused {
                peer,
                address,
                reason,
            } => {
                tracing::info!(?peer, %address, %reason, "connection refused");
                self.note_refused(peer.as_ref(), address, reason);
            }
            NetEvent::Gossip { from, token, bytes } => match self.site(&from) {
                Some(from) if self.mesh.is_some() => {
                    let id = self.token();
                    self.gossips.insert(id, token);
                    self.tell(Input::Gossip {
                        from,
                        token: id,
                        bytes,
                    });
                }
                _ => self.outbox.push_back(NetCommand::Verdict {
                    token,
                    verdict: net::Verdict::Ignore,
                }),
            },
            NetEvent::Subscribed { peer } => {
                if let Some(site) = self.site(&peer) {
                    self.tell(Input::Subscribed { site });
                }
            }
            NetEvent::GossipLost => self.tell(Input::GossipLost),
            NetEvent::Request {
                from,
                token,
                request,
            } => match self.site(&from) {
                Some(from) if self.mesh.is_some() => {
                    if let Some(wire::request::What::Hello(hello)) = &request.what {
                        self.note_clock(from, hello.clock);
                    }
                    let id = self.token();
                    self.calls.insert(id, token);
                    self.tell(Input::Request {
                        from,
                        token: id,
                        request,
                    });
                }
                // Dropping the token ends the call without an answer.
                _ => drop(token),
            },
            NetEvent::Response { peer, id, result } => {
                if let Some(from) = self.site(&peer) {
                    if let Ok(wire::Response {
                        what: Some(wire::response::What::Hello(hello)),
                    }) = &result
                    {
                        self.note_clock(from, hello.clock);
                    }
                    if ping::is_ping(id) {
                        self.pings.answered(id, result);
                    } else {
                        self.tell(Input::Response { from, id, result });
                    }
                }
            }
            NetEvent::JoinRequest {
                from,
                address,
                token,
                request,
            } => self.on_knock(from, address, token, request),
            NetEvent::JoinAnswer { result, .. } => {
                self.join_asked = false;
                self.join_at = Instant::now() + JOIN_AGAIN;
                // If the queue is full, the next answer tells the same.
                let _ = self.jobs.try_send(Job::JoinAnswered { result });
            }
            NetEvent::Rtt { peer, micros } => {
                if let Some(site) = self.site(&peer) {
                    self.seen(site).rtt_micros = Some(micros);
                    self.live_dirty = true;
                }
            }
        }
    }

    fn on_reach(&mut self, reach: net::Reach) {
        let peer_id = net::peer_id(&self.keys.transport());
        self.live.listening = reach
            .bound
            .iter()
            .map(|address| format!("{address}/p2p/{peer_id}"))
            .collect();
        let before = told_addresses(&self.node.config, &self.live.reach);
        self.live.reach = reach;
        self.live_dirty = true;
        let told = told_addresses(&self.node.config, &self.live.reach);
        if let Some(mesh) = self.mesh_id.filter(|_| told != before) {
            let record = self.sign_addresses(mesh);
            self.tell(Input::own_addresses(record));
        }
    }

    /// Own addresses as they are told, with a number higher than any before (of this start, and by the clock of earlier ones).
    fn sign_addresses(&mut self, mesh: MeshId) -> wire::AddressRecord {
        let told = told_addresses(&self.node.config, &self.live.reach);
        self.address_seq = (self.address_seq + 1).max(unix_now());
        fmesh_proto::directory::sign(&self.keys, &mesh, &self.node.site, self.address_seq, told)
    }

    /// A member misbehaved: counted, and shown with the last reason.
    fn blame(&mut self, site: SiteId, what: String) {
        let status = self.live.peers.entry(site).or_default();
        let count = status.misbehaved.as_ref().map_or(0, |(_, n)| *n);
        // A flood must not fill the log as well.
        if count < LOUD || count.is_multiple_of(LOUD) {
            tracing::warn!(%site, %what, count, "a member misbehaves");
        }
        status.misbehaved = Some((what, count + 1));
        self.live_dirty = true;
    }

    fn note_refused(&mut self, peer: Option<&PeerKey>, address: String, reason: String) {
        self.live.refused_connections += 1;
        if self.live.refusals.len() >= REFUSALS_SHOWN {
            self.live.refusals.remove(0);
        }
        self.live.refusals.push(Refused {
            at: unix_now(),
            peer: peer.map(net::peer_id),
            address,
            reason,
        });
        self.live_dirty = true;
    }

    /// A request to join: within the limits it is judged by the writer, else the answer is "busy".
    fn on_knock(
        &mut self,
        peer: PeerKey,
        address: String,
        token: JoinToken,
        request: wire::JoinRequest,
    ) {
        let now = self.now();
        if self.knocks >= KNOCKS_AT_ONCE || !self.throttle.allows(&address, now) {
            let answer = fmesh_proto::mesh::admission::JoinRefusal::Busy.answer();
            self.note_refused(Some(&peer), address, "asked to join too often".to_owned());
            self.outbox
                .push_back(NetCommand::RespondJoin { token, answer });
            return;
        }
        self.knocks += 1;
        let (writer, done) = (self.node.writer.clone(), self.done_tx.clone());
        tokio::spawn(async move {
            let answer = writer.knock(peer, request).await.unwrap_or_default();
            // The loop may have ended.
            let _ = done
                .send(Done::Judged {
                    peer,
                    address,
                    token,
                    answer,
                })
                .await;
        });
    }

    fn on_written(&mut self, written: Written) -> Result<(), StoreError> {
        match written {
            Written::Taken(progress) => {
                self.live_dirty = true;
                self.tell(Input::Taken(progress));
            }
            Written::Issued { publications, head } => {
                self.live_dirty = true;
                self.tell(Input::Issued { publications, head });
            }
            Written::Membership(membership) => {
                self.set_members(membership);
                self.look_at_door()?;
            }
            Written::Keys(keys) => {
                self.pairs = Arc::new(Pairs::new(Arc::clone(&keys)));
                self.keys = keys;
                self.live_dirty = true;
            }
            Written::Door => self.look_at_door()?,
            Written::InMesh {
                mesh,
                membership,
                addresses,
            } => {
                self.set_members(membership);
                self.joining = None;
                self.enter_mesh(mesh, addresses)?;
                self.look_at_door()?;
            }
        }
        Ok(())
    }

    fn set_members(&mut self, membership: Arc<Membership>) {
        self.membership = Arc::clone(&membership);
        self.membership_tx.send_replace(Arc::clone(&membership));
        let is_member = |site: &SiteId| membership.member(site).is_some();
        self.live.peers.retain(|site, _| is_member(site));
        self.identities.retain(&membership);
        self.live_dirty = true;
        self.tell(Input::Membership(membership));
    }

    /// Starts the machine where the store stands.
    fn enter_mesh(
        &mut self,
        mesh: MeshId,
        addresses: Vec<wire::AddressRecord>,
    ) -> Result<(), StoreError> {
        let store = self.node.store.clone();
        let heads = store
            .heads()?
            .into_iter()
            .map(|(site, head)| (site, head.frontier.size(), head.frontier.root()))
            .collect();
        let own_head = store.head(&self.node.site)?.map(|head| head.checkpoint);
        let mut cosigned = Vec::new();
        for (site, _, _) in store.cosigned_versions()? {
            let kept = store
                .newest_cosigned(&site)?
                .map(|kept| Cosigned::check(kept.checkpoint.note(), &mesh, &self.membership));
            // Of somebody whose keys are not known (any more).
            cosigned.extend(kept.and_then(Result::ok));
        }
        let forks = store.forks(None)?;
        let mut feeds = store.feed_positions()?;
        for (issuer, circle, _) in store.granted_circles()? {
            if !feeds.iter().any(|(i, c, _)| *i == issuer && *c == circle) {
                feeds.push((issuer, circle, 0));
            }
        }
        let mut known = store.addresses()?;
        known.extend(addresses.into_iter().filter_map(|record| {
            let site = SiteId::from_slice(&record.site)?;
            Some((site, record))
        }));
        if let Some(own) = known.remove(&self.node.site) {
            self.address_seq = self.address_seq.max(own.seq);
        }
        for record in known.values() {
            self.identities_learn(&mesh, record);
        }
        let ask_own = self.node.writer.ask_own(store.meta()?.restoring);
        let own_record = self.sign_addresses(mesh);
        let _ = self.jobs.try_send(Job::Learned {
            record: own_record.clone(),
        });
        let setup = Setup {
            me: self.node.site,
            mesh,
            boot_id: self.boot_id,
            seed: self.boot_id.rotate_left(17),
            software: concat!("fmesh ", env!("CARGO_PKG_VERSION")).into(),
            membership: Arc::clone(&self.membership),
            heads,
            ask_own,
            own_head,
            cosigned,
            forks: forks.iter().map(|fork| (fork.site, fork.name())).collect(),
            feeds,
            addresses: known.into_values().collect(),
            own_record: Some(own_record),
        };
        self.mesh = Some(Mesh::new(setup, self.now()));
        self.mesh_id = Some(mesh);
        self.outbox
            .push_back(NetCommand::SetTopic(Some(topic(&mesh))));
        self.set_gate()
    }

    /// Invites, pending joins or our own way in may have changed.
    fn look_at_door(&mut self) -> Result<(), StoreError> {
        if self.mesh_id.is_none() {
            let meta = self.node.store.meta()?;
            let joining = meta.joining.as_ref().filter(|_| meta.is_joining());
            self.joining = joining
                .and_then(|joining| Ticket::decode(&joining.ticket).ok())
                .map(|ticket| (ticket.transport, ticket));
            if joining.is_some_and(|joining| joining.answer.is_none()) {
                self.join_at = Instant::now();
            }
        }
        self.ask_to_join();
        self.live_dirty = true;
        self.set_gate()
    }

    fn set_gate(&mut self) -> Result<(), StoreError> {
        let now = unix_now();
        let pending = self.node.store.pending()?;
        let join_open = pending.iter().any(|p| !p.refused)
            || self.node.store.invites()?.iter().any(|invite| {
                invite.revoked.is_none()
                    && invite.expires > now
                    && invite.used_by.len() < invite.uses as usize
            });
        let members = self
            .membership
            .members()
            .filter(|m| m.site != self.node.site)
            .flat_map(|member| self.identities.accepted(member))
            .collect();
        let gate = Gate { members, join_open };
        if gate != self.gate {
            self.gate = gate.clone();
            self.outbox.push_back(NetCommand::SetGate(gate));
        }
        Ok(())
    }

    fn ask_to_join(&mut self) {
        let Some((peer, ticket)) = &self.joining else {
            return;
        };
        if self.join_asked || Instant::now() < self.join_at {
            return;
        }
        let request = self.join_request(ticket, peer);
        self.outbox.push_back(NetCommand::Join {
            peer: *peer,
            addresses: ticket.addresses.clone(),
            request,
        });
        self.join_asked = true;
    }

    fn join_request(&self, ticket: &Ticket, inviter: &PeerKey) -> wire::JoinRequest {
        let manifest: &View = &self.node.manifest;
        let own = self.keys.transport();
        wire::JoinRequest {
            invite: ticket.invite.0.to_vec(),
            manifest: manifest.encode().into_bytes(),
            name: self.node.config.name.clone(),
            proof: join_proof(&ticket.secret, inviter, &own, manifest).to_vec(),
            address: told_addresses(&self.node.config, &self.live.reach),
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
        self.live_dirty = false;
        let partners: Vec<SiteId> = self
            .membership
            .members()
            .map(|m| m.site)
            .filter(|s| *s != self.node.site)
            .collect();
        for site in partners {
            let behind = self.mesh.as_ref().map_or(0, |mesh| mesh.behind(&site));
            let theirs = self.their_backlog(&site).unwrap_or(0);
            let peer = self.peer(&site);
            let status = self.live.peers.entry(site).or_default();
            status.peer = peer;
            status.behind = behind;
            status.they_are_behind = theirs;
        }
        self.live_tx.send_replace(Arc::new(self.live.clone()));
    }

    /// Records of ours in feeds of a partner that it has not acknowledged.
    fn their_backlog(&self, reader: &SiteId) -> Result<u64, StoreError> {
        let Some(mesh) = self.mesh_id else {
            return Ok(0);
        };
        let store = &self.node.store;
        let circles = super::serve::circles_of(
            store,
            &self.pairs,
            &mesh,
            &self.node.site,
            &self.membership,
            reader,
        )?;
        circles.into_keys().try_fold(0, |sum: u64, circle| {
            Ok(sum + store.lacking(&self.node.site, &circle, reader)?)
        })
    }

    fn note_clock(&mut self, site: SiteId, theirs: u64) {
        let skew = i64::try_from(i128::from(theirs) - i128::from(unix_now())).ok();
        self.seen(site).clock_skew = skew;
        self.live_dirty = true;
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

    /// A member connects under this key; false if it is connected under a newer one.
    fn arrives(&mut self, site: &SiteId, peer: &PeerKey) -> bool {
        let Some(member) = self.membership.member(site) else {
            return false;
        };
        match self.identities.connected(member, peer) {
            Arrival::Counts => true,
            Arrival::Instead(old) => {
                tracing::info!(%site, "partner speaks with its new transport key");
                self.outbox.push_back(NetCommand::Disconnect(old));
                self.tell(Input::Disconnected { site: *site });
                true
            }
            Arrival::Stale => {
                self.outbox.push_back(NetCommand::Disconnect(*peer));
                false
            }
        }
    }

    /// A member's connection under this key has ended; the member, if it was the one that counts.
    fn leaves(&mut self, peer: &PeerKey) -> Option<SiteId> {
        let member = self.membership.by_transport(peer)?;
        self.identities
            .disconnected(member, peer)
            .then_some(member.site)
    }

    /// A member's address record is held: older transport keys than its signer do not count any more.
    fn note_signer(&mut self, record: &wire::AddressRecord) {
        if let Some(mesh) = self.mesh_id {
            self.identities_learn(&mesh, record);
        }
    }

    fn identities_learn(&mut self, mesh: &MeshId, record: &wire::AddressRecord) {
        let site = SiteId::from_slice(&record.site);
        if let Some(member) = site.and_then(|site| self.membership.member(&site)) {
            self.identities.learned(mesh, member, record);
        }
    }
}

/// Hands jobs to the writer in order; waits where the loop must not.
async fn feed_writer(writer: crate::writer::Writer, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        let result = match job {
            Job::Take { work, incoming } => writer.take(work, incoming).await,
            Job::Acknowledged {
                reader,
                circle,
                feed_seq,
            } => writer.acknowledged(reader, circle, feed_seq).await,
            Job::Learned { record } => writer.learned(record).await,
            Job::JoinAnswered { result } => writer.join_answered(result).await,
            Job::OwnLog(told) => writer.own_log(told).await,
            Job::Replan => writer.replan().await,
        };
        if result.is_err() {
            return;
        }
    }
}

/// The mesh's gossip topic: strangers cannot guess it, and a hello to one does not tell the mesh.
fn topic(mesh: &MeshId) -> String {
    let mut bytes = b"fmesh/topic/v1\n".to_vec();
    bytes.extend_from_slice(mesh.as_bytes());
    format!("fmesh/{}", Digest::of(&bytes).hex())
}

/// Addresses to tell others: what the operator announces; else what members confirmed and what is bound, loopback only if
/// there is nothing else; and in any case the ways through relays.
pub(super) fn told_addresses(config: &Config, reach: &net::Reach) -> Vec<String> {
    let relayed = reach.relayed.iter().take(RELAYED_TOLD);
    let room = limits::ADDRESSES_MAX - relayed.len();
    let mut told: Vec<String> = match config.announce.is_empty() {
        false => config.announce.clone(),
        true => {
            let bound = reach.bound.iter().filter(|a| !reach.confirmed.contains(a));
            let own: Vec<String> = reach.confirmed.iter().chain(bound).cloned().collect();
            let (loopback, far): (Vec<_>, Vec<_>) = own.into_iter().partition(|a| is_loopback(a));
            if far.is_empty() { loopback } else { far }
        }
    };
    told.truncate(room);
    told.extend(relayed.cloned());
    told
}

fn is_loopback(address: &str) -> bool {
    address
        .split('/')
        .nth(2)
        .and_then(|host| host.parse::<IpAddr>().ok())
        .is_some_and(|ip| ip.is_loopback())
}
