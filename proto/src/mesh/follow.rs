//! Taking in what others sent: open what is for us, verify it, decide what it changes.
//!
//! Three steps, so that a node can verify signatures on all its cores between the first and the last:
//! [`Reader::open`] finds the records inside, [`Reader::verify`] checks one, [`Reader::settle`] compares them with the
//! log and says what changes. Nothing here writes: [`Taken`] is the whole change, to be stored as one.
//!
//! What is accepted does not depend on the order or time of arrival. A record counts by its own
//! bytes, its author's keys by index, and its place in the log by its leaf hash.

use std::collections::{BTreeMap, BTreeSet};

use super::{Progress, page::FeedPage};
use crate::{
    audit::fork::ForkProof,
    circle::EpochKey,
    id::{CircleId, Digest, MeshId, ObjectId, SiteId},
    keys::{KeyHistory, OperatingKeys},
    kinds::{Grant, Kind, OnEnd, Typed as _},
    log::Frontier,
    membership::Membership,
    note::Checkpoint,
    publication::Publication,
    record::{RecordError, Verified, View},
};

mod evidence;
mod open;
mod settle;

/// Where a log stands: its right edge and the checkpoint that covers exactly that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Right edge of the tree.
    pub frontier: Frontier,
    /// Newest checkpoint.
    pub checkpoint: Checkpoint,
}

/// What came, decoded and checked as far as that needs no state.
#[derive(Debug)]
pub enum Incoming {
    /// Publications of one log, ascending, each checked.
    Publications {
        /// Whose log.
        site: SiteId,
        /// In order.
        run: Vec<Publication>,
    },
    /// A page of a feed, from its issuer.
    Feed {
        /// Who issues the feed.
        issuer: SiteId,
        /// Which circle.
        circle: CircleId,
        /// The records, and what is withheld between them.
        page: FeedPage,
    },
    /// A checkpoint whose log signature and cosignatures were checked: to be compared with what we follow, and kept if it has cosignatures.
    Checkpoint {
        /// Whose log.
        site: SiteId,
        /// The checkpoint.
        checkpoint: Checkpoint,
        /// Cosignatures on it.
        by: u32,
    },
    /// Our own records, as others were shown them, given back.
    Returned {
        /// The records.
        views: Vec<View>,
    },
    /// A fork proof that holds.
    Fork {
        /// Against whom.
        site: SiteId,
        /// The proof.
        proof: Box<ForkProof>,
    },
    /// `keys` and `membership` records of any authors.
    Membership {
        /// The records.
        views: Vec<View>,
    },
}

/// What is stored, as far as taking in needs to know it.
pub trait Ledger {
    /// Why reading can fail.
    type Error;
    /// Where we stand with a log.
    fn head(&self, site: &SiteId) -> Result<Option<Head>, Self::Error>;
    /// A leaf hash of a log.
    fn leaf(&self, site: &SiteId, seq: u64) -> Result<Option<Digest>, Self::Error>;
    /// Root of a perfect subtree of a log.
    fn node(&self, site: &SiteId, level: u8, index: u64) -> Result<Option<Digest>, Self::Error>;
    /// The record that we hold for a leaf, as it was shown to us.
    fn view(&self, site: &SiteId, seq: u64) -> Result<Option<View>, Self::Error>;
    /// Leaf hash of the record that we hold for a leaf.
    fn held(&self, site: &SiteId, seq: u64) -> Result<Option<Digest>, Self::Error>;
    /// Leaf of an object's current revision.
    fn current(
        &self,
        site: &SiteId,
        kind: &Kind,
        id: &ObjectId,
    ) -> Result<Option<u64>, Self::Error>;
    /// How far we have a feed.
    fn feed_position(&self, issuer: &SiteId, circle: &CircleId) -> Result<u64, Self::Error>;
    /// A granted key.
    fn epoch_key(
        &self,
        issuer: &SiteId,
        circle: &CircleId,
        epoch: u64,
    ) -> Result<Option<EpochKey>, Self::Error>;
    /// Leaf of the record that we hold for a position of a feed.
    fn fed(
        &self,
        issuer: &SiteId,
        circle: &CircleId,
        feed_seq: u64,
    ) -> Result<Option<u64>, Self::Error>;
    /// Some epoch of this circle was granted to us.
    fn is_granted(&self, issuer: &SiteId, circle: &CircleId) -> Result<bool, Self::Error>;
}

/// A record that was found in something that came.
#[derive(Debug, Clone)]
pub struct Found {
    /// Whose it must be; `None` for membership records, whose author is looked up.
    pub author: Option<SiteId>,
    /// Through which circle it came; `None` for membership records sent for themselves.
    pub via: Option<CircleId>,
    /// Its position in that circle's feed, where the sender vouched for one.
    pub feed_seq: Option<u64>,
    /// The record.
    pub view: View,
}

/// Between opening and settling.
#[derive(Debug)]
pub struct Opened {
    /// Records to verify, in order.
    pub found: Vec<Found>,
    site: Option<SiteId>,
    head: Option<Head>,
    nodes: Vec<(u8, u64, Digest)>,
    publications: Vec<(u64, Vec<u8>)>,
    feed: Option<Followed>,
    pull: BTreeSet<CircleId>,
    /// Keys granted by what came: they open boxes that came along. What is inside still proves itself.
    granted: BTreeMap<(CircleId, u64), EpochKey>,
    gap: bool,
    contradiction: Option<String>,
    /// What was found are our own records, given back.
    returned: bool,
    cosigned: Option<(Checkpoint, u32)>,
    forks: Vec<(SiteId, ForkProof)>,
    refused: Vec<Refused>,
    dropped: Vec<u64>,
    /// Members as they are with the membership records that came.
    membership: Option<Membership>,
}

impl Opened {
    /// The keys of the author of what was found, with the members that came along.
    pub(crate) fn keys_for<'a>(
        &'a self,
        found: &Found,
        membership: &'a Membership,
    ) -> Option<&'a KeyHistory> {
        let membership = self.membership.as_ref().unwrap_or(membership);
        let claimed = || Some(found.view.clone().parse().ok()?.claims().iss);
        membership.keys_of(&found.author.or_else(claimed)?)
    }
}

/// How far a page of a feed brings its reader.
#[derive(Debug)]
struct Followed {
    circle: CircleId,
    /// Position before the page.
    after: u64,
    /// Read up to here before the first record...
    begin: u64,
    /// ... and up to here after each.
    ends: Vec<u64>,
}

/// A record that was refused, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Whose.
    pub site: SiteId,
    /// Leaf that it claims, where known.
    pub seq: Option<u64>,
    /// Why.
    pub reason: String,
}

/// Everything that taking something in changes; stored wholly or not at all.
#[derive(Debug, Default)]
pub struct Taken {
    /// (site, its head) if a log grew.
    pub head: Option<(SiteId, Head)>,
    /// Roots of perfect subtrees of that log that became complete.
    pub nodes: Vec<(u8, u64, Digest)>,
    /// Publications of that log to keep and pass on: (from, bytes).
    pub publications: Vec<(u64, Vec<u8>)>,
    /// Accepted records.
    pub records: Vec<Verified>,
    /// Which of them are the current revisions: (site, kind, id, seq).
    pub current: Vec<(SiteId, Kind, ObjectId, u64)>,
    /// Feed positions: (issuer, circle, position).
    pub feeds: Vec<(SiteId, CircleId, u64)>,
    /// Keys that were granted to us: (issuer, circle, epoch, key).
    pub granted: Vec<(SiteId, CircleId, u64, EpochKey)>,
    /// Where we stand with circles whose grant to us changed, each as its newest revision says.
    pub standings: Vec<Standing>,
    /// Which leaf stands at a position of a feed: (issuer, circle, position, leaf).
    pub fed: Vec<(SiteId, CircleId, u64, u64)>,
    /// Places of feeds for which their issuer signed two records.
    pub two_faced: Vec<TwoFaced>,
    /// Refused records.
    pub refused: Vec<Refused>,
    /// Records held before, of which the log now says otherwise: (site, seq).
    pub dropped: Vec<(SiteId, u64)>,
    /// Feeds with content for us that did not come along.
    pub pull: Vec<(SiteId, CircleId)>,
    /// Log of which leaves are missing.
    pub gap: Option<SiteId>,
    /// Cosigned checkpoints that fit what we follow, with the number of cosignatures.
    pub cosigned: Vec<(SiteId, Checkpoint, u32)>,
    /// Fork proofs: made here, or taken in. The caller keeps to [`crate::limits::FORKS_PER_SITE_MAX`] and drops those of
    /// [`Self::progress`] that it does not keep.
    pub forks: Vec<(SiteId, ForkProof)>,
    /// The log contradicts what we hold of it: who, and how.
    pub contradiction: Option<(SiteId, String)>,
}

/// One site signed two records for one place of a feed: each names the position, and both are in its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwoFaced {
    /// Who.
    pub issuer: SiteId,
    /// Of which circle.
    pub circle: CircleId,
    /// At which position.
    pub feed_seq: u64,
    /// The record that came first, by leaf.
    pub first: u64,
    /// The other one.
    pub second: u64,
    /// As we were shown it.
    pub view: View,
}

/// What the newest revision of a grant says about us and a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whose circle.
    pub issuer: SiteId,
    /// Which.
    pub circle: CircleId,
    /// That we are not in it any more, and what to do with what we hold; `None`: we are in it.
    pub ended: Option<OnEnd>,
    /// Digest of the revision's core.
    pub grant: Digest,
}

impl Taken {
    /// True if storing it would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head.is_none()
            && self.records.is_empty()
            && self.feeds.is_empty()
            && self.granted.is_empty()
            && self.refused.is_empty()
            && self.dropped.is_empty()
            && self.cosigned.is_empty()
            && self.forks.is_empty()
    }

    /// What the machine is told once it is stored.
    #[must_use]
    pub fn progress(&self, work: u64) -> Progress {
        Progress {
            work,
            heads: self
                .head
                .iter()
                .map(|(site, head)| (*site, head.frontier.size(), head.frontier.root()))
                .collect(),
            feeds: self.feeds.clone(),
            pull: self.pull.clone(),
            rewound: Vec::new(),
            gaps: self.gap.into_iter().collect(),
            contradiction: self.contradiction.as_ref().map(|(site, _)| *site),
            cosigned: self
                .cosigned
                .iter()
                .map(|(site, checkpoint, by)| (*site, checkpoint.size(), *by))
                .collect(),
            forks: self
                .forks
                .iter()
                .map(|(site, proof)| (*site, proof.encode().into_bytes()))
                .collect(),
            lost: false,
        }
    }
}

/// Who reads: one node's identity and the members it knows.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// This site.
    pub me: SiteId,
    /// Its mesh.
    pub mesh: MeshId,
    /// Its keys, for boxes.
    pub keys: &'a OperatingKeys,
    /// Members, for keys of authors.
    pub membership: &'a Membership,
}

impl Reader<'_> {
    /// All three steps on one core: for tests, the simulator and small things.
    pub fn take<L: Ledger>(
        &self,
        incoming: Incoming,
        held: &[View],
        ledger: &L,
    ) -> Result<Taken, L::Error> {
        let opened = self.open(incoming, held, ledger)?;
        let results = opened
            .found
            .iter()
            .map(|found| self.verify(&opened, found))
            .collect();
        self.settle(opened, results, ledger)
    }

    /// Checks one record: signature strict with the key valid at its index, disclosures, the kind's rules.
    pub fn verify(&self, opened: &Opened, found: &Found) -> Result<Verified, RecordError> {
        match opened.keys_for(found, self.membership) {
            Some(keys) => keys.verify(found.view.clone()),
            None => {
                let author = found.view.clone().parse()?.claims().iss;
                let what = format!("its author {author} was never a member");
                Err(RecordError::Malformed(what))
            }
        }
    }

    /// The key that a record grants us, if it does.
    fn granted(&self, record: &Verified) -> Option<(CircleId, u64, EpochKey)> {
        if record.claims().kind != Kind::Grant || record.claims().retired {
            return None;
        }
        let grant = Grant::read(record.fields()).ok()?;
        let key = crate::id::from_hex(grant.key.known()?)?.try_into().ok()?;
        let granted = (*grant.circle.known()?, *grant.epoch.known()?, EpochKey(key));
        (*grant.to.known()? == self.me).then_some(granted)
    }
}

/// A further `keys` record: what comes after it in its log is signed and sealed with other keys.
fn is_rotation(view: &View) -> bool {
    let parsed = view.clone().parse();
    parsed.is_ok_and(|parsed| parsed.claims().kind == Kind::Keys && parsed.claims().seq > 0)
}
