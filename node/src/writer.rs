//! The one way in: every change of the store, own or foreign, goes through here.
//!
//! A job is verified, decided and committed in one atomic batch, which is flushed; only then is it
//! answered, and only then may anything of it leave the node. One named thread, fed by a bounded channel:
//! when it is full, callers wait. What others sent shares a flush while more of it waits, and the records of the next
//! pages are verified on all cores while the ones before them are written (`crew`).
//!
//! - `desk`: what the operator owns (objects, circles, invites), the edits of it, and what must be signed because of them.
//! - `circles`: how circles change. - `grants`: the keys of groups, given and ended. - `endings`: grants to us that end. - `members`: who is put out, and what follows.
//! - `keys`: new operating keys.
//! - `own`: whether anything may be signed, after a start or a restored backup. - `witness`: what is cosigned, and what convicts. - `intake`: what others sent, verified by `crew`. - `door`: who knocks, and our own way in.
//!
//! A storage error ends the thread: what is on disk is then unknown, and only opening it again tells. Every later call gets
//! [`WriteError::Stopped`].

use std::{
    collections::{BTreeSet, VecDeque},
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    thread,
};

use fmesh_proto::{
    circle::{Audience, History, Rule},
    id::{CircleId, InviteId, MeshId, ObjectId, PeerKey, SiteId},
    keys::{OperatingKeys, Rotation},
    kinds::{Kind, OnEnd},
    membership::{Membership, Role},
    mesh::{AskOwn, OwnLog, Progress, follow::Incoming},
    note::Checkpoint,
    record::{Fields, Verified, View},
    wire,
};
use tokio::sync::{mpsc, oneshot, watch};

use self::{crew::Crew, desk::Desk, intake::Ahead, own::Guard};
pub use self::{keys::Rotated, own::Clearance};
use crate::{
    search::Index,
    store::{Changes, Store, StoreError},
};

mod circles;
mod crew;
mod desk;
mod door;
pub(crate) mod endings;
mod grants;
mod intake;
pub(crate) mod keys;
mod ledger;
mod members;
pub(crate) mod own;
#[cfg(test)]
pub(crate) mod plant;
mod witness;

/// One change that the operator asks for. A list of them is applied wholly or not at all.
#[derive(Debug, Clone)]
pub enum Edit {
    /// Begins a mesh with this site as founder and admin. Refused if the site is in a mesh.
    Found {
        /// Name of the founder.
        name: String,
    },
    /// Creates or replaces an object's fields (all slots; missing slots become unknown) and takes back a retirement.
    /// `id`: what the object is to be called if it is new (so that others in the same list can refer to it), drawn
    /// if `None`. A conflict if the key exists under another id.
    PutObject {
        /// Kind.
        kind: Kind,
        /// The operator's name for it.
        key: String,
        /// Id to use if the object is new: lets one list name objects that it creates. Drawn where it is left out.
        id: Option<ObjectId>,
        /// Its slots.
        fields: Fields,
    },
    /// Ends an object.
    RetireObject {
        /// Kind.
        kind: Kind,
        /// The operator's name for it.
        key: String,
    },
    /// Creates or replaces a circle by name. Leaving out `audience` keeps it.
    PutCircle(NewCircle),
    /// Adds partners to a group circle.
    AddToCircle {
        /// Name of the circle.
        name: String,
        /// Whom.
        members: BTreeSet<SiteId>,
    },
    /// Takes partners out of a group circle. Refused if one of them is not in it.
    DropFromCircle {
        /// Name of the circle.
        name: String,
        /// Whom.
        members: BTreeSet<SiteId>,
    },
    /// Takes a circle away. What it showed is superseded by revisions that open nothing to it.
    RemoveCircle {
        /// Name of the circle.
        name: String,
    },
    /// Creates an invite; [`Applied::ticket`] answers.
    CreateInvite {
        /// Unix seconds.
        expires: u64,
        /// How many sites may use it.
        uses: u32,
        /// Role it gives.
        role: Role,
        /// For its maker.
        note: Option<String>,
        /// Group circles that the newcomer enters, by name.
        circles: Vec<String>,
        /// Nobody needs to confirm.
        auto_approve: bool,
        /// Where the ticket says this node is.
        addresses: Vec<String>,
    },
    /// Ends an invite.
    RevokeInvite {
        /// Which.
        id: InviteId,
    },
    /// Lets a pending site in.
    Approve {
        /// Whom.
        site: SiteId,
    },
    /// Sends a pending site away.
    Refuse {
        /// Whom.
        site: SiteId,
    },
    /// Puts a partner out of the mesh; its pairwise circle ends, groups that it read get a new key.
    Remove {
        /// Whom.
        site: SiteId,
        /// Size of its log up to which its records count; left out: as far as it is known here.
        last_good: Option<u64>,
        /// Why, for all members to read.
        reason: Option<String>,
    },
    /// Gives a member another role.
    SetRole {
        /// Whom.
        site: SiteId,
        /// Its new role.
        role: Role,
    },
    /// Remembers the ticket with which this site wants to join. Refused if the site is in a mesh.
    Join {
        /// The line.
        ticket: String,
    },
    /// Gives up joining. Refused if no ticket was given.
    CancelJoin,
}

/// A circle as the operator wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewCircle {
    /// Name.
    pub name: String,
    /// Who is in it; `None` keeps it.
    pub audience: Option<Audience>,
    /// What it selects.
    pub rules: Vec<Rule>,
    /// Why.
    pub purpose: Option<String>,
    /// Last day.
    pub until: Option<jiff::civil::Date>,
    /// What who enters is given of the past. Who is in already is not concerned.
    pub history: History,
    /// What who leaves is told to do.
    pub on_end: OnEnd,
}

/// What a list of edits did, once it is on disk.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// The mesh, if founded.
    pub mesh: Option<MeshId>,
    /// Ticket line of a created invite, shown once.
    pub ticket: Option<String>,
    /// Invite that was created.
    pub invite: Option<InviteId>,
    /// Objects that were put: (kind, key, id, was new).
    pub objects: Vec<(Kind, String, ObjectId, bool)>,
    /// Own records that were signed: (seq, kind, id, number of circles).
    pub issued: Vec<(u64, Kind, ObjectId, usize)>,
    /// Circle that was put.
    pub circle: Option<CircleId>,
    /// Size of a removed site's log up to which its records count.
    pub last_good: Option<u64>,
    /// Group circles that got a new key, because a reader is no member.
    pub rotated: Vec<CircleId>,
    /// Circles that ended, because their only partner is no member.
    pub ended: Vec<CircleId>,
}

/// Why a list of edits was refused; nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The edit is wrong in itself (kind's rules, empty name, ...).
    #[error("{0}")]
    Invalid(String),
    /// No such circle, object, invite, pending site.
    #[error("{0}")]
    NotFound(String),
    /// Not in a mesh yet, already in one, invite used up, ...
    #[error("{0}")]
    Conflict(String),
    /// Not allowed (only admins admit).
    #[error("{0}")]
    Refused(String),
    /// It is not clear yet whether signing would contradict what was signed before; that is asked. [`Writer::apply`] waits.
    #[error(
        "partners are being asked how much of this site's log they hold; try again in some seconds"
    )]
    Unsure,
    /// The disk. The writer stops; the node must be restarted after a check.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The writer has stopped.
    #[error("the writer has stopped; restart the node and look at its log")]
    Stopped,
}

/// What the node learns from the writer, always after the flush.
#[derive(Debug)]
pub enum Written {
    /// Something that came is stored.
    Taken(Progress),
    /// Own records are stored: gossip them.
    Issued {
        /// Encoded publications, in order.
        publications: Vec<Vec<u8>>,
        /// Own log after them.
        head: Box<Checkpoint>,
    },
    /// A reader of ours has more than before.
    Acknowledged,
    /// Members changed.
    Membership(Arc<Membership>),
    /// Our own keys were rotated.
    Keys(Arc<OperatingKeys>),
    /// Invites or pending joins changed.
    Door,
    /// This site joined or founded a mesh: (mesh, members, addresses of members).
    InMesh {
        /// The mesh.
        mesh: MeshId,
        /// Its members.
        membership: Arc<Membership>,
        /// Where some of them are.
        addresses: Vec<wire::AddressRecord>,
    },
}

/// What the writer works with.
#[derive(Debug)]
pub struct Setup {
    /// The store, opened.
    pub store: Store,
    /// This site.
    pub site: SiteId,
    /// Its keys.
    pub keys: Arc<OperatingKeys>,
    /// Its key manifest.
    pub manifest: View,
    /// The search index, updated after each commit.
    pub index: Arc<RwLock<Index>>,
}

/// Jobs that may wait. A full queue makes callers wait, so partners are read no faster than the disk takes it.
const QUEUE: usize = 64;
/// Jobs that the thread takes out of the queue at once, so that it sees what comes next.
const BATCH: usize = 32;
/// Records of others that may wait for one flush.
const RECORDS_PER_FLUSH: usize = 512;
/// Works of others that may wait for one flush.
const WORKS_PER_FLUSH: usize = 64;

enum Job {
    Edits(Vec<Edit>, oneshot::Sender<Result<Applied, WriteError>>),
    DryRun(Vec<Edit>, oneshot::Sender<Result<Applied, WriteError>>),
    Take {
        work: u64,
        incoming: Incoming,
    },
    Acknowledged {
        reader: SiteId,
        circle: CircleId,
        feed_seq: u64,
    },
    Learned {
        record: wire::AddressRecord,
    },
    Knock {
        peer: PeerKey,
        request: wire::JoinRequest,
        reply: oneshot::Sender<wire::JoinAnswer>,
    },
    JoinAnswered {
        result: Result<wire::JoinAnswer, String>,
    },
    Cosign {
        of: SiteId,
        checkpoint: Box<Checkpoint>,
        reply: oneshot::Sender<wire::Response>,
    },
    OwnLog(OwnLog),
    DraftKeys(oneshot::Sender<Result<Rotation, WriteError>>),
    RotateKeys {
        record: Box<View>,
        transport_now: bool,
        reply: oneshot::Sender<Result<Rotated, WriteError>>,
    },
    Replan,
}

/// Handle of the writer; clones share one thread.
#[derive(Debug, Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    clearance: watch::Receiver<Clearance>,
}

impl Writer {
    /// As [`Self::start`], for a node that can ask its partners: what was signed last is kept in `data_dir`, and after a start nothing
    /// is signed before [`Self::own_log`] says how it stands.
    pub fn start_guarded(setup: Setup, data_dir: PathBuf) -> Result<Started, WriteError> {
        Self::begin(setup, Some(Guard::new(data_dir)))
    }

    /// Starts the thread; gives the handle, what will be written, the members as they are, and the thread. It ends when the last handle is gone, or at a storage error.
    pub fn start(setup: Setup) -> Result<Started, WriteError> {
        Self::begin(setup, None)
    }

    fn begin(setup: Setup, guard: Option<Guard>) -> Result<Started, WriteError> {
        let (jobs, rx) = mpsc::channel(QUEUE);
        let (tx, written) = mpsc::channel(QUEUE);
        let desk = Desk::load(&setup.store, &setup.site)?;
        let no_thread = |e: std::io::Error| WriteError::Store(StoreError::Io(e.to_string()));
        let crew = Crew::start().map_err(no_thread)?;
        let begin = match &guard {
            Some(guard) => guard.begin(desk.head.as_ref(), &setup.store)?,
            None => Clearance::Clear,
        };
        let (clearance_tx, clearance) = watch::channel(begin);
        let membership = desk.membership.clone();
        leave_out_strangers(&setup, &membership);
        let thread = thread::Builder::new()
            .name("writer".into())
            .spawn(move || {
                Work {
                    setup,
                    desk,
                    guard,
                    clearance: clearance_tx,
                    written: tx,
                    untold: Vec::new(),
                    crew,
                    ahead: VecDeque::new(),
                }
                .run(rx)
            })
            .map_err(no_thread)?;
        Ok((Self { jobs, clearance }, written, membership, thread))
    }

    /// Applies edits wholly or not at all; answers when they are on disk. If the process ends before, and more than a thousand records
    /// follow from the edits, they may be applied, and the next start signs what is missing (`desk`).
    pub async fn apply(&self, edits: Vec<Edit>) -> Result<Applied, WriteError> {
        let mut clearance = self.clearance.clone();
        let asking = |clearance: &Clearance| *clearance == Clearance::Asking;
        // Kept to be tried again, if it comes to signing before that is clear.
        let again = asking(&clearance.borrow()).then(|| edits.clone());
        let result = self.try_apply(edits).await;
        let (Err(WriteError::Unsure), Some(again)) = (&result, again) else {
            return result;
        };
        let clear = clearance.wait_for(|clearance| !asking(clearance)).await;
        drop(clear.map_err(|_| WriteError::Stopped)?);
        self.try_apply(again).await
    }

    async fn try_apply(&self, edits: Vec<Edit>) -> Result<Applied, WriteError> {
        let (tx, rx) = oneshot::channel();
        self.send(Job::Edits(edits, tx)).await?;
        rx.await.map_err(|_| WriteError::Stopped)?
    }

    /// Whether anything may be signed.
    #[must_use]
    pub fn clearance(&self) -> Clearance {
        self.clearance.borrow().clone()
    }

    /// How the machine is to begin with our own log, as the store says.
    pub(crate) fn ask_own(&self, restoring: Option<u64>) -> AskOwn {
        Work::ask_own(&self.clearance.borrow(), restoring)
    }

    /// What members hold of our log.
    pub async fn own_log(&self, told: OwnLog) -> Result<(), WriteError> {
        self.send(Job::OwnLog(told)).await
    }

    /// Runs every check of [`Self::apply`] and says what it would do; changes nothing.
    pub async fn dry_run(&self, edits: Vec<Edit>) -> Result<Applied, WriteError> {
        let (tx, rx) = oneshot::channel();
        self.send(Job::DryRun(edits, tx)).await?;
        rx.await.map_err(|_| WriteError::Stopped)?
    }

    /// Draws the seed of the next operating keys; gives what the root is to sign.
    pub async fn draft_keys(&self) -> Result<Rotation, WriteError> {
        let mut clearance = self.clearance.clone();
        let asked = clearance.wait_for(|clearance| *clearance != Clearance::Asking);
        drop(asked.await.map_err(|_| WriteError::Stopped)?);
        let (reply, rx) = oneshot::channel();
        self.send(Job::DraftKeys(reply)).await?;
        rx.await.map_err(|_| WriteError::Stopped)?
    }

    /// Appends a rotation that was drafted, and goes on with the new keys.
    pub async fn rotate_keys(
        &self,
        record: View,
        transport_now: bool,
    ) -> Result<Rotated, WriteError> {
        let (reply, rx) = oneshot::channel();
        self.send(Job::RotateKeys {
            record: Box::new(record),
            transport_now,
            reply,
        })
        .await?;
        rx.await.map_err(|_| WriteError::Stopped)?
    }

    /// Takes in what others sent; [`Written::Taken`] answers.
    pub async fn take(&self, work: u64, incoming: Incoming) -> Result<(), WriteError> {
        self.send(Job::Take { work, incoming }).await
    }

    /// Remembers how far a reader of ours is.
    pub async fn acknowledged(
        &self,
        reader: SiteId,
        circle: CircleId,
        feed_seq: u64,
    ) -> Result<(), WriteError> {
        self.send(Job::Acknowledged {
            reader,
            circle,
            feed_seq,
        })
        .await
    }

    /// Remembers where a member may be reached.
    pub async fn learned(&self, record: wire::AddressRecord) -> Result<(), WriteError> {
        self.send(Job::Learned { record }).await
    }

    /// Judges a request to join.
    pub async fn knock(
        &self,
        peer: PeerKey,
        request: wire::JoinRequest,
    ) -> Result<wire::JoinAnswer, WriteError> {
        let (reply, rx) = oneshot::channel();
        self.send(Job::Knock {
            peer,
            request,
            reply,
        })
        .await?;
        rx.await.map_err(|_| WriteError::Stopped)
    }

    /// Answers a member that wants a checkpoint of its log cosigned; what it is given binds us from then on, and is on disk.
    pub async fn cosign(
        &self,
        of: SiteId,
        checkpoint: Box<Checkpoint>,
    ) -> Result<wire::Response, WriteError> {
        let (reply, rx) = oneshot::channel();
        self.send(Job::Cosign {
            of,
            checkpoint,
            reply,
        })
        .await?;
        rx.await.map_err(|_| WriteError::Stopped)
    }

    /// The answer to our own request to join.
    pub async fn join_answered(
        &self,
        result: Result<wire::JoinAnswer, String>,
    ) -> Result<(), WriteError> {
        self.send(Job::JoinAnswered { result }).await
    }

    /// Looks again at what circles select: the day may have changed.
    pub async fn replan(&self) -> Result<(), WriteError> {
        self.send(Job::Replan).await
    }

    async fn send(&self, job: Job) -> Result<(), WriteError> {
        self.jobs.send(job).await.map_err(|_| WriteError::Stopped)
    }
}

/// A started writer: its handle, what will be written, the members as they are, and the thread.
pub type Started = (
    Writer,
    mpsc::Receiver<Written>,
    Arc<Membership>,
    thread::JoinHandle<()>,
);

/// The thread's state.
struct Work {
    setup: Setup,
    desk: Desk,
    guard: Option<Guard>,
    clearance: watch::Sender<Clearance>,
    written: mpsc::Sender<Written>,
    /// Of others, written and not flushed: nobody knows of it yet. With the time of arrival.
    untold: Vec<(Told, u64)>,
    crew: Crew,
    /// Pages after those, in order.
    ahead: VecDeque<Ahead>,
}

/// What a job changed, told after the flush.
#[derive(Default)]
struct Told {
    events: Vec<Written>,
    index: Vec<Verified>,
    /// Sites that leave search.
    out: Vec<SiteId>,
    /// Records that search takes anew, with their time of arrival, and whether every grant of them has ended.
    refiled: Vec<(Verified, u64, bool)>,
}

impl Work {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        if let Err(error) = self.all(&mut jobs) {
            tracing::error!(%error, "the writer stops: restart the node after `fmesh store check`");
        }
    }

    /// All jobs in their order, until nobody can give one; an error is of the disk.
    fn all(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Result<(), StoreError> {
        self.finish_deletions()?;
        self.job(Job::Replan)?;
        let mut batch = Vec::with_capacity(BATCH);
        let mut queue = VecDeque::with_capacity(BATCH);
        loop {
            while queue.len() < BATCH
                && let Ok(job) = jobs.try_recv()
            {
                queue.push_back(job);
            }
            self.look_ahead(&mut queue)?;
            if self.next_page()? {
                continue;
            }
            match queue.pop_front() {
                Some(Job::Take { work, incoming }) => self.intake(work, incoming)?,
                Some(job) => self.job(job)?,
                None => {
                    self.flush()?;
                    if jobs.blocking_recv_many(&mut batch, BATCH) == 0 {
                        return Ok(());
                    }
                    queue.extend(batch.drain(..));
                }
            }
        }
    }

    /// Flushes what others sent, then tells of it.
    fn flush(&mut self) -> Result<(), StoreError> {
        if !self.untold.is_empty() {
            self.setup.store.flush()?;
            for (told, received) in std::mem::take(&mut self.untold) {
                self.tell(told, received);
            }
        }
        Ok(())
    }

    /// One job; an error is of the disk and ends the thread.
    fn job(&mut self, job: Job) -> Result<(), StoreError> {
        self.flush()?;
        match job {
            Job::Edits(edits, reply) => {
                let result = self.edits(edits, false);
                self.reply(result, reply)
            }
            Job::DryRun(edits, reply) => {
                let result = self.edits(edits, true);
                self.desk = Desk::load(&self.setup.store, &self.setup.site)?;
                self.reply(result, reply)
            }
            Job::DraftKeys(reply) => {
                let result = self.draft_keys();
                self.reply(result, reply)
            }
            Job::RotateKeys {
                record,
                transport_now,
                reply,
            } => {
                let result = self.rotate_keys(*record, transport_now);
                self.reply(result, reply)
            }
            Job::Take { work, incoming } => self.intake(work, incoming),
            Job::Acknowledged {
                reader,
                circle,
                feed_seq,
            } => self.acknowledge(&reader, &circle, feed_seq),
            Job::Learned { record } => {
                let mut changes = Changes::new();
                changes.put_addresses(&record);
                self.setup.store.commit(changes)
            }
            Job::Knock {
                peer,
                request,
                reply,
            } => {
                let answer = self.knock(&peer, &request)?;
                // The asker may have gone meanwhile.
                let _ = reply.send(answer);
                Ok(())
            }
            Job::Cosign {
                of,
                checkpoint,
                reply,
            } => {
                let answer = self.cosign(&of, &checkpoint)?;
                // The asker may have gone meanwhile.
                let _ = reply.send(answer);
                Ok(())
            }
            Job::JoinAnswered { result } => self.join_answered(result),
            Job::OwnLog(told) => self.own_log(told),
            // It is done when it is clear that it may be signed.
            Job::Replan if !self.is_clear() => Ok(()),
            Job::Replan => match self.edits(Vec::new(), false) {
                Err(WriteError::Store(error)) => Err(error),
                Err(error) => {
                    tracing::error!(%error, "own records cannot be signed");
                    Ok(())
                }
                Ok(_) => Ok(()),
            },
        }
    }

    fn reply<T>(
        &self,
        result: Result<T, WriteError>,
        reply: oneshot::Sender<Result<T, WriteError>>,
    ) -> Result<(), StoreError> {
        let fatal = match &result {
            Err(WriteError::Store(error)) => Some(StoreError::Io(error.to_string())),
            _ => None,
        };
        let _ = reply.send(result);
        fatal.map_or(Ok(()), Err)
    }

    /// Commits, then tells.
    fn commit(&self, changes: Changes, told: Told, received: u64) -> Result<(), StoreError> {
        self.setup.store.commit(changes)?;
        self.tell(told, received);
        Ok(())
    }

    /// Search first, then everybody else.
    fn tell(&self, told: Told, received: u64) {
        if !(told.index.is_empty() && told.out.is_empty() && told.refiled.is_empty()) {
            let mut index = self
                .setup
                .index
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            for site in &told.out {
                index.remove_site(site);
            }
            for (record, received, ended) in &told.refiled {
                index.put_as(record, *received, *ended);
            }
            for record in &told.index {
                index.put(record, received);
            }
        }
        for event in told.events {
            // A closed channel means that the node is stopping.
            let _ = self.written.blocking_send(event);
        }
    }
}

/// What search holds of sites that are no members, it forgets.
fn leave_out_strangers(setup: &Setup, membership: &Membership) {
    let mut index = setup.index.write().unwrap_or_else(PoisonError::into_inner);
    for site in index.counts().into_keys() {
        if site != setup.site && membership.member(&site).is_none() {
            index.remove_site(&site);
        }
    }
}

/// Unix seconds.
pub(crate) fn unix_now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// The operating system's random numbers; they fail only where the kernel has none, and then nothing may be signed.
fn random() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}
