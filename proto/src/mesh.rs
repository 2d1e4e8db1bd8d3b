//! The protocol of a node as a state machine: whom to ask for what, whom to believe, what to pass on.
//!
//! # Contract
//!
//! Call [`Mesh::handle`] with each [`Input`] and the time; then [`Mesh::poll`] until it is empty; then wait
//! until [`Mesh::next_deadline`] or the next input. `now` is milliseconds of any monotonic clock and a
//! seed is the only source of chance, so a run is repeatable: `sim` runs a thousand of these in a test.
//!
//! # Idea
//!
//! Gossip is a hint; pulling makes it true (PROTOCOL section 8). For every log the machine knows how far
//! this node durably follows it, for every feed it may read how far it has it, and for both how far others say they
//! are. Where ours is behind, it asks somebody connected, one call at a time for each peer, and asks again only when
//! the node reports that the answer is on disk. Of a long feed the next few pages are on their way while one is written; an
//! interruption costs those and nothing that was acknowledged. A peer that sends more than it was asked for sends it to nobody.
//!
//! # What it does not know
//!
//! Clocks, sockets, disks, keys of its own. It checks what needs no state ([`crate::publication`]); boxes are opened and
//! records verified by [`follow`], on the node's writer, and come back as [`Input::Taken`]. What is served to
//! others ([`Output::Serve`]) the node reads from its store, by [`crate::circle::permits`].

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    id::{CircleId, Digest, MeshId, SiteId},
    membership::Membership,
    mesh::{
        caution::Caution,
        follow::Incoming,
        witness::{Collecting, Cosigned},
    },
    note::Checkpoint,
    wire,
};

pub mod admission;
mod caution;
pub mod compare;
pub mod follow;
mod interface;
pub mod issue;
mod members;
pub mod neighbours;
mod own;
pub mod page;
mod pull;
mod serve;
mod stale;
mod tended;
#[cfg(test)]
mod tests;
pub mod witness;

pub use self::{
    interface::{Ask, Input, Output, Progress, Setup, Verdict},
    own::{AskOwn, OwnLog},
    serve::not_cosigned,
};

use self::tended::Tended;

/// The state machine.
#[derive(Debug)]
pub struct Mesh {
    me: SiteId,
    mesh: MeshId,
    boot_id: u64,
    software: String,
    membership: Arc<Membership>,
    own_record: Option<wire::AddressRecord>,
    /// How far we have read others' directories.
    directory_after: Option<SiteId>,
    logs: Tended<SiteId, Log>,
    /// Something happened after which more of a log may be asked for: somebody has more, or a call is over.
    pull_due: bool,
    feeds: Tended<(SiteId, CircleId), Feed>,
    /// Whom we visit in this round, and until when.
    visit: Option<(SiteId, u64)>,
    peers: BTreeMap<SiteId, Peer>,
    /// Those that are connected or dialled: a few of the many in a large mesh.
    engaged: BTreeSet<SiteId>,
    calls: BTreeMap<u64, (SiteId, Call)>,
    works: BTreeMap<u64, Work>,
    caution: Caution,
    own: Collecting,
    asking: own::Asking,
    /// How often members claimed to hold more of our own log and did not show it.
    idle_claims: BTreeMap<SiteId, u32>,
    /// SHA-256 of the fork proofs that are held, by whom they are against.
    forked: BTreeMap<SiteId, BTreeSet<Digest>>,
    next_id: u64,
    chance: Chance,
    now: u64,
    unix: u64,
    next_round: u64,
    /// When what came by asking is passed on to neighbours.
    news_at: Option<u64>,
    out: VecDeque<Output>,
}

/// How far we follow a log, and how far others say it goes.
#[derive(Debug, Clone, Default)]
struct Log {
    size: u64,
    root: Option<Digest>,
    /// Larger sizes that connected peers claim.
    claims: BTreeMap<SiteId, u64>,
    fetching: bool,
    /// Publications of it accepted lately: a token bucket (tokens, at time).
    bucket: (u32, u64),
    age: stale::Age,
    /// Calls of its site for cosignatures: another one.
    cosigns: (u32, u64),
    /// Version of its newest cosigned checkpoint on disk.
    cosigned: (u64, u32),
    /// A newer version, and who says that it has it.
    cosigned_claim: Option<(SiteId, (u64, u32))>,
    /// A cosigned checkpoint that we have not followed to.
    ahead: Option<Box<Cosigned>>,
    /// Who has another root for our size.
    suspect: Option<SiteId>,
    /// A call for its checkpoints is open.
    comparing: bool,
    contradicted: bool,
}

impl Log {
    /// Somebody has more of it, or tells another one.
    fn is_open(&self) -> bool {
        self.claims.values().any(|size| *size > self.size)
            || self.suspect.is_some()
            || self
                .cosigned_claim
                .is_some_and(|(_, version)| version > self.cosigned)
    }
}

/// How far we have a feed.
#[derive(Debug, Clone, Default)]
struct Feed {
    /// On disk.
    position: u64,
    /// Given to the writer, in order; what is asked for next comes after it. Behind `position` when gossip was faster.
    given: u64,
    /// Pages that the writer has and has not reported.
    writing: u32,
    /// Newest position that its issuer announced; `position + 1` when we only know that there is more.
    tail: u64,
    fetching: bool,
    /// Do not ask again before; set when an answer brought nothing.
    not_before: u64,
    /// Answers in a row that brought nothing.
    misses: u32,
}

/// A member as the network sees it.
#[derive(Debug, Clone, Default)]
struct Peer {
    connected: bool,
    boot_id: Option<u64>,
    addresses: Vec<String>,
    /// What they come from, once the member has signed any.
    record: Option<wire::AddressRecord>,
    recorded_at: u64,
    /// In a large mesh: let go for a while.
    rest_until: u64,
    dialling: bool,
    dial_at: u64,
    backoff: u64,
    connected_at: u64,
    serving: u32,
    hello_done: bool,
    /// Say hello again then: the last one was not answered.
    hello_at: Option<u64>,
    heads_asked_at: Option<u64>,
    heads_wanted: bool,
    heads_open: bool,
    /// Digests (theirs, ours) when heads were last compared: while both stay, asking again tells nothing.
    compared: Option<(Digest, Digest)>,
    /// Calls in a row that failed or brought nothing of what was claimed.
    failures: u32,
    /// No heads are asked before, after a failure.
    quiet_until: u64,
    members: members::Exchange,
    /// Sites against which it says that it holds fork proofs.
    forks: BTreeSet<SiteId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Hello,
    Heads,
    Publications(SiteId),
    /// After this position: the answer is numbered from there.
    Feed(SiteId, CircleId, u64),
    Membership,
    /// Of our checkpoint of this size, after so many tries.
    Cosign(u64, u32),
    Checkpoints(SiteId),
    Forks(SiteId),
    Returned,
}

/// Something given to the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Gossip,
    /// Of this log, from this peer.
    Log(SiteId, SiteId),
    /// A page that ends at this position.
    Feed(SiteId, CircleId, u64),
    /// Of this log.
    Checkpoint(SiteId),
    Fork,
    /// Own records from this peer, which has more from this leaf on.
    Returned(SiteId, u64),
    /// From this peer, which has more after this act.
    Membership(SiteId, Option<(SiteId, u64)>),
}

/// Calls to one peer that may be open at once.
const CALLS_PER_PEER: usize = 2;
/// Answers to one peer that may be in the making at once (PROTOCOL section 10: streams per peer).
const SERVES_PER_PEER: u32 = 4;
/// Anti-entropy with a random partner: between these.
const ROUND_MS: (u64, u64) = (30_000, 60_000);
/// First and longest wait between dials to one member.
const DIAL_BACKOFF_MS: (u64, u64) = (500, 60_000);
/// A connection that ends sooner counts as a failed dial: whoever closes at once is not redialled in a loop.
const STABLE_MS: u64 = 5_000;
/// First wait after a call that failed; each further failure in a row doubles it, [`DOUBLINGS_MAX`] times at most.
const RETRY_MS: u64 = 1_000;
const DOUBLINGS_MAX: u32 = 5;
/// Pages of one feed that are asked for while others are on their way to the disk...
const PAGES_AHEAD: u32 = 8;
/// ... as long as no more works than these are unfinished in all; beyond it each feed has one page on its way.
const WORKS_AHEAD_MAX: usize = 64;
/// Feeds of one issuer that are followed; its heads cannot make us remember more.
const FEEDS_PER_ISSUER_MAX: usize = 256;
/// Heads are not asked of one peer more often, unless it reconnects.
const HEADS_MS: u64 = 500;
/// Publications of one site per second that are passed on, and the burst.
const PUBLICATIONS_PER_SECOND: u32 = 50;
const PUBLICATIONS_BURST: u32 = 500;
/// Calls for cosignatures by one site per second that are answered, and the burst: an honest site asks once in a second or less often.
const COSIGNS_PER_SECOND: u32 = 2;
const COSIGNS_BURST: u32 = 20;
/// Items given to the writer from gossip that may be unfinished; beyond it gossip is ignored and pulled later.
const GOSSIP_WORK_MAX: usize = 256;

impl Mesh {
    /// A machine that starts where the store stands.
    #[must_use]
    pub fn new(setup: Setup, now: u64) -> Self {
        let cosigned = setup.cosigned.iter().find(|known| known.site == setup.me);
        let own = Collecting::new(setup.own_head, cosigned, &setup.mesh, &setup.membership);
        let mut mesh = Self {
            own,
            asking: own::Asking::Whole,
            idle_claims: BTreeMap::new(),
            forked: BTreeMap::new(),
            me: setup.me,
            mesh: setup.mesh,
            boot_id: setup.boot_id,
            software: setup.software,
            membership: setup.membership,
            own_record: setup.own_record,
            directory_after: None,
            logs: Tended::default(),
            pull_due: false,
            feeds: Tended::default(),
            visit: None,
            peers: BTreeMap::new(),
            engaged: BTreeSet::new(),
            calls: BTreeMap::new(),
            works: BTreeMap::new(),
            caution: Caution::default(),
            next_id: 1,
            chance: Chance(setup.seed ^ setup.boot_id | 1),
            now,
            unix: 0,
            next_round: 0,
            news_at: None,
            out: VecDeque::new(),
        };
        for (site, size, root) in setup.heads {
            mesh.grow(&site, size, root);
        }
        mesh.asking = own::Asking::new(setup.ask_own, now);
        for known in setup.cosigned {
            mesh.logs.or_default(known.site).cosigned = known.version();
        }
        for (site, name) in setup.forks {
            mesh.forked.entry(site).or_default().insert(name);
        }
        for (issuer, circle, position) in setup.feeds {
            mesh.feeds.or_default((issuer, circle)).position = position;
        }
        for record in setup.addresses {
            if let Some(site) = SiteId::from_slice(&record.site).filter(|site| *site != mesh.me) {
                let peer = mesh.peers.entry(site).or_default();
                peer.addresses.clone_from(&record.address);
                peer.record = (!record.signature.is_empty()).then_some(record);
            }
        }
        mesh.next_round = now + mesh.chance.between(ROUND_MS);
        mesh.note_members();
        mesh.step();
        mesh
    }

    /// Takes an input in. `now`: milliseconds, monotonic; `unix`: seconds, told to partners in hellos and never decisive.
    pub fn handle(&mut self, input: Input, now: u64, unix: u64) {
        self.now = self.now.max(now);
        self.unix = unix;
        match input {
            Input::Connected { site } => self.on_connected(site),
            Input::Disconnected { site } => self.on_disconnected(&site),
            Input::DialFailed { site } => self.on_dial_failed(&site),
            Input::Gossip { from, token, bytes } => self.on_gossip(from, token, &bytes),
            Input::Request {
                from,
                token,
                request,
            } => self.on_request(from, token, request),
            Input::Response { from, id, result } => self.on_response(from, id, result),
            Input::Served { to } => self.served(&to),
            Input::Taken(progress) => self.on_taken(progress),
            Input::Issued { publications, head } => self.on_issued(publications, *head),
            Input::Membership(membership) => {
                self.membership = membership;
                self.note_members();
            }
            Input::GossipLost => self.nudge_all(),
            Input::Subscribed { site } => self.want_heads(&site),
            Input::OwnAddresses(record) => self.on_own_addresses(*record),
            Input::Tick => {}
        }
        self.step();
    }

    /// The next thing to do; empty means wait.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call [`Self::handle`] with a tick at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> u64 {
        let peers = || self.connected_peers().map(|(_, peer)| peer);
        let hellos = peers().filter_map(|peer| peer.hello_at);
        let heads = peers().filter_map(Peer::heads_due);
        let members = peers().filter_map(Peer::members_due);
        let feeds = self
            .feeds
            .open()
            // What waits for something else than time (an answer, the writer) has its moment behind it.
            .filter(|(_, feed)| feed.is_open() && feed.not_before > self.now)
            .filter(|((issuer, _), _)| self.is_connected(issuer))
            .map(|(_, feed)| feed.not_before);
        hellos
            .chain(heads)
            .chain(members)
            .chain(feeds)
            .chain(self.caution.ends())
            .chain(self.cosignatures_due())
            .chain(self.asking.ends())
            .chain([self.next_round])
            .chain(self.news_at)
            .chain(self.next_dial())
            .min()
            .unwrap_or(self.next_round)
            .max(self.now + 1)
    }

    /// Records of `issuer` for us that we know of and do not have.
    #[must_use]
    pub fn behind(&self, issuer: &SiteId) -> u64 {
        self.feeds
            .range((*issuer, CircleId([0; 16]))..=(*issuer, CircleId([255; 16])))
            .map(|(_, feed)| feed.tail.saturating_sub(feed.position))
            .fold(0, u64::saturating_add)
    }

    /// Everything that follows from the state as it is now: due dials, due rounds, calls for what we lack.
    fn step(&mut self) {
        if self.now >= self.next_round {
            self.next_round = self.now + self.chance.between(ROUND_MS);
            self.visit_somebody();
        }
        self.tell_news();
        self.logs.settle(Log::is_open);
        self.feeds.settle(Feed::is_open);
        self.let_go();
        self.dial_due();
        self.greet_again();
        self.ask_members();
        self.release();
        self.ask_heads();
        if std::mem::take(&mut self.pull_due) {
            self.pull_logs();
            self.pull_evidence();
        }
        self.pull_feeds();
        self.look_after_own();
        self.collect_cosignatures();
    }

    fn on_connected(&mut self, site: SiteId) {
        if !self.is_with(&site) {
            // It was put out, or we were, while the connection came up.
            self.out.push_back(Output::Disconnect { site });
            return;
        }
        self.caution.begins(self.now);
        self.engaged.insert(site);
        let peer = self.peers.entry(site).or_default();
        peer.connected = true;
        peer.connected_at = self.now;
        peer.dialling = false;
        peer.boot_id = None;
        peer.hello_done = false;
        peer.heads_asked_at = None;
        peer.compared = None;
        peer.members = members::Exchange::default();
        peer.forks.clear();
        self.pull_due = true;
        self.say_hello(site);
        self.ask_to_cosign(site);
    }

    fn on_disconnected(&mut self, site: &SiteId) {
        let jitter = self.chance.between((50, 250));
        self.engaged.remove(site);
        if let Some(peer) = self.peers.get_mut(site) {
            let stable = peer.hello_done && self.now - peer.connected_at >= STABLE_MS;
            peer.connected = false;
            peer.dialling = false;
            peer.boot_id = None;
            peer.hello_done = false;
            peer.hello_at = None;
            peer.heads_wanted = false;
            peer.heads_open = false;
            peer.members = members::Exchange::default();
            peer.backoff = match stable {
                true => 0,
                false => next_backoff(peer.backoff),
            };
            peer.dial_at = (self.now + peer.backoff + jitter).max(peer.rest_until);
        }
        self.logs.change_open(|log| {
            log.claims.remove(site);
            log.suspect = log.suspect.filter(|suspect| suspect != site);
            log.cosigned_claim = log.cosigned_claim.filter(|(peer, _)| peer != site);
        });
        let lost: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, (to, _))| to == site)
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            if let Some((to, call)) = self.calls.remove(&id) {
                match call {
                    Call::Cosign(size, tries) => self.cosign_failed(to, size, tries),
                    Call::Returned => self.gave_back(&to),
                    _ => {}
                }
                self.call_over(call);
            }
        }
        self.lost_sight_of(site);
    }

    fn on_dial_failed(&mut self, site: &SiteId) {
        let jitter = self.chance.between((0, 250));
        if let Some(peer) = self.peers.get_mut(site) {
            peer.dialling = false;
            peer.backoff = next_backoff(peer.backoff);
            peer.dial_at = self.now + peer.backoff + jitter;
            if !peer.connected {
                self.engaged.remove(site);
            }
        }
    }

    /// Own records are durable: gossip them.
    fn on_issued(&mut self, publications: Vec<Vec<u8>>, head: Checkpoint) {
        let me = self.me;
        self.grow(&me, head.size(), head.root());
        self.on_own_growth(head);
        for bytes in publications {
            self.say(wrap(bytes));
        }
    }

    fn grow(&mut self, site: &SiteId, size: u64, root: Digest) {
        let log = self.logs.or_default(*site);
        if size >= log.size {
            log.size = size;
            log.root = Some(root);
            log.claims.retain(|_, claimed| *claimed > size);
            self.pull_due |= log.cosigned_claim.is_some();
        }
        self.reached(site);
    }

    /// A peer has so much of a log.
    fn claimed(&mut self, site: SiteId, by: SiteId, size: u64) {
        self.logs.or_default(site).claims.insert(by, size);
        self.pull_due = true;
    }

    fn connected(&self) -> impl Iterator<Item = SiteId> {
        self.connected_peers().map(|(site, _)| site)
    }

    fn connected_peers(&self) -> impl Iterator<Item = (SiteId, &Peer)> {
        let engaged = self.engaged.iter();
        let peers = engaged.filter_map(|site| Some((*site, self.peers.get(site)?)));
        peers.filter(|(_, peer)| peer.connected)
    }

    fn is_connected(&self, site: &SiteId) -> bool {
        self.peers.get(site).is_some_and(|p| p.connected)
    }

    fn call(&mut self, to: SiteId, call: Call, what: wire::request::What) {
        let id = self.next_id;
        self.next_id += 1;
        self.calls.insert(id, (to, call));
        self.out.push_back(Output::Request {
            to,
            id,
            request: wire::Request { what: Some(what) },
        });
    }

    fn open_calls(&self, to: &SiteId) -> usize {
        self.calls.values().filter(|(site, _)| site == to).count()
    }

    /// How many calls more each connected peer may be asked; who has none left is not in it.
    fn free_calls(&self) -> BTreeMap<SiteId, usize> {
        let mut free: BTreeMap<SiteId, usize> = self
            .connected()
            .map(|site| (site, CALLS_PER_PEER))
            .collect();
        for (to, _) in self.calls.values() {
            if let Some(left) = free.get_mut(to) {
                *left = left.saturating_sub(1);
            }
        }
        free.retain(|_, left| *left > 0);
        free
    }

    fn take(&mut self, work: Work, incoming: Incoming) {
        let id = self.next_id;
        self.next_id += 1;
        self.works.insert(id, work);
        self.out.push_back(Output::Take { work: id, incoming });
    }

    fn misbehaved(&mut self, site: SiteId, what: impl Into<String>) {
        self.out.push_back(Output::Misbehaved {
            site,
            what: what.into(),
        });
    }

    /// SHA-256 over the sorted (site, size, root) of all logs: equal digests mean equal states.
    fn heads_digest(&self) -> Digest {
        heads_digest(
            &self.membership,
            self.logs
                .iter()
                .filter_map(|(site, log)| Some((*site, log.size, log.root?))),
        )
    }
}

/// Digest of a set of heads, as `HeadsRequest` and `HeadsResponse` carry it. `heads` must be sorted by site; empty logs do not count,
/// nor do those of which nobody wants more: a removed site's past the cut.
#[must_use]
pub fn heads_digest(
    membership: &Membership,
    heads: impl Iterator<Item = (SiteId, u64, Digest)>,
) -> Digest {
    let mut bytes = b"fmesh/heads/v1\n".to_vec();
    let counted = heads.filter(|(site, size, _)| *size > 0 && membership.follows(site, *size));
    for (site, size, root) in counted {
        bytes.extend_from_slice(site.as_bytes());
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(root.as_bytes());
    }
    Digest::of(&bytes)
}

impl Feed {
    /// There is more of it.
    fn is_open(&self) -> bool {
        self.tail > self.position
    }

    /// What is asked for next comes after this.
    fn end(&self) -> u64 {
        self.given.max(self.position)
    }
}

impl Peer {
    /// When its heads may be asked for, if they should.
    fn heads_due(&self) -> Option<u64> {
        let asks = self.connected && self.hello_done && self.heads_wanted && !self.heads_open;
        let at = self.heads_asked_at.map_or(0, |at| at + HEADS_MS);
        asks.then_some(at.max(self.quiet_until))
    }
}

fn next_backoff(backoff: u64) -> u64 {
    (backoff * 2).clamp(DIAL_BACKOFF_MS.0, DIAL_BACKOFF_MS.1)
}

/// Wait after so many failures in a row.
fn pause(failures: u32) -> u64 {
    RETRY_MS << failures.min(DOUBLINGS_MAX)
}

/// An encoded publication as a gossip message.
fn wrap(publication: Vec<u8>) -> Vec<u8> {
    // `Gossip.publication` is field 1, length-delimited: tag 0x0a, length, bytes. Framing by hand
    // keeps the publication's bytes exactly as they were checked.
    let mut out = Vec::with_capacity(publication.len() + 6);
    out.push(0x0a);
    prost::encoding::encode_varint(publication.len() as u64, &mut out);
    out.extend_from_slice(&publication);
    out
}

/// SplitMix64: small, seeded, for jitter and choices that need no secrecy.
#[derive(Debug, Clone)]
struct Chance(u64);
impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn between(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.next() % (high - low + 1)
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        from.get((self.next() % from.len() as u64) as usize)
            .copied()
    }
}
