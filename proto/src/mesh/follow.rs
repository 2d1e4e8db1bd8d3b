//! Taking in what others sent: open what is for us, verify it, decide what it changes.
//!
//! Three steps, so that a node can verify signatures on all its cores between the first and the last:
//! [`Reader::open`] finds the records inside, [`Reader::verify`] checks one, [`Reader::settle`] compares them with the
//! log and says what changes. Nothing here writes: [`Taken`] is the whole change, to be stored as one.
//!
//! What is accepted does not depend on the order or time of arrival. A record counts by its own
//! bytes, its author's keys by index, and its place in the log by its leaf hash.

use std::collections::{BTreeMap, BTreeSet};

use self::evidence::{nodes_of, two_histories};
use super::{Progress, page::FeedPage};
use crate::{
    audit::fork::ForkProof,
    circle::{self, EpochKey, SealContext},
    id::{CircleId, Digest, MeshId, ObjectId, SiteId},
    keys::{KeyHistory, OperatingKeys, pairwise_circles},
    kinds::{Grant, Kind, OnEnd, Typed as _},
    limits,
    log::Frontier,
    membership::Membership,
    note::Checkpoint,
    publication::Publication,
    record::{RecordError, Verified, View},
};

mod evidence;

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
    /// Fork proofs: made here, or taken in. The caller keeps to [`limits::FORKS_PER_SITE_MAX`] and drops those of
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

    /// Follows the log and finds the records that are for us. `held`: the membership records that are stored already.
    pub fn open<L: Ledger>(
        &self,
        incoming: Incoming,
        held: &[View],
        ledger: &L,
    ) -> Result<Opened, L::Error> {
        let mut opened = Opened {
            found: Vec::new(),
            site: None,
            head: None,
            nodes: Vec::new(),
            publications: Vec::new(),
            feed: None,
            pull: BTreeSet::new(),
            granted: BTreeMap::new(),
            gap: false,
            contradiction: None,
            returned: false,
            cosigned: None,
            forks: Vec::new(),
            refused: Vec::new(),
            dropped: Vec::new(),
            membership: None,
        };
        match incoming {
            Incoming::Publications { site, run } => {
                opened.site = Some(site);
                opened.head = ledger.head(&site)?;
                let mut run = run.into_iter().peekable();
                while let Some(publication) = run.next() {
                    if !self.follow(&mut opened, &site, &publication, ledger)? {
                        break;
                    }
                    self.open_boxes(&mut opened, &publication, ledger)?;
                    // What comes after new keys is opened and checked with them: it is asked for again.
                    if publication.plain.iter().any(is_rotation) && run.peek().is_some() {
                        opened.gap = true;
                        break;
                    }
                }
                if opened.publications.is_empty() {
                    opened.head = None;
                }
            }
            Incoming::Feed {
                issuer,
                circle,
                page,
            } => {
                opened.site = Some(issuer);
                let after = page.after();
                let (begin, steps) = page.into_steps();
                let mut ends = Vec::with_capacity(steps.len());
                for (feed_seq, view, end) in steps {
                    ends.push(end);
                    opened.found.push(Found {
                        author: Some(issuer),
                        via: Some(circle),
                        feed_seq: Some(feed_seq),
                        view,
                    });
                }
                opened.feed = Some(Followed {
                    circle,
                    after,
                    begin,
                    ends,
                });
            }
            Incoming::Checkpoint {
                site,
                checkpoint,
                by,
            } => {
                opened.site = Some(site);
                self.compare(&mut opened, &site, checkpoint, by, ledger)?;
            }
            Incoming::Fork { site, proof } => opened.forks.push((site, *proof)),
            Incoming::Returned { views } => {
                opened.returned = true;
                opened.found = views
                    .into_iter()
                    .map(|view| Found {
                        author: Some(self.me),
                        via: None,
                        feed_seq: None,
                        view,
                    })
                    .collect();
            }
            Incoming::Membership { mut views } => {
                // Gossip brings most of it first; what is held was checked.
                views.retain(|view| !held.contains(view));
                if !views.is_empty() {
                    let all: Vec<View> = held.iter().chain(&views).cloned().collect();
                    opened.membership = Some(self.membership.next(&self.mesh, &all).0);
                }
                opened.found = views
                    .into_iter()
                    .map(|view| Found {
                        author: None,
                        via: None,
                        feed_seq: None,
                        view,
                    })
                    .collect();
            }
        }
        Ok(opened)
    }

    /// Extends the log by one publication. False if it does not continue what we hold.
    fn follow<L: Ledger>(
        &self,
        opened: &mut Opened,
        site: &SiteId,
        publication: &Publication,
        ledger: &L,
    ) -> Result<bool, L::Error> {
        let old = opened
            .head
            .as_ref()
            .map(|head| head.frontier.clone())
            .unwrap_or_default();
        if publication.from() > old.size() {
            opened.gap = true;
            return Ok(false);
        }
        if publication.size() <= old.size() {
            let checkpoint = publication.checkpoint.clone();
            let fits = self.compare(opened, site, checkpoint, 0, ledger)?;
            if !fits {
                opened.contradiction = Some(two_histories(publication.size()));
            }
            return Ok(fits);
        }
        // Where it overlaps what we hold, both must give the same tree.
        let mut reached = publication.frontier.clone();
        let overlap = (old.size() - publication.from()) as usize;
        let (known, new) = publication.leaf_hashes.split_at(overlap);
        for leaf in known {
            reached.append(*leaf, &mut |_, _, _| {});
        }
        if reached != old {
            let held = opened.head.as_ref().map(|head| &head.checkpoint);
            let proof = held.and_then(|held| {
                let nodes = nodes_of(publication);
                let keys = self.membership.keys_of(site)?.views();
                ForkProof::prefix(&keys, held, &publication.checkpoint, &nodes)
            });
            let proof = proof.filter(|proof| proof.verify().is_ok());
            opened.forks.extend(proof.map(|proof| (*site, proof)));
            opened.contradiction = Some(two_histories(old.size()));
            return Ok(false);
        }
        self.append(opened, site, &mut reached, new, ledger)?;
        opened.head = Some(Head {
            frontier: reached,
            checkpoint: publication.checkpoint.clone(),
        });
        opened
            .publications
            .push((publication.from(), publication.bytes().to_vec()));
        Ok(true)
    }

    fn append<L: Ledger>(
        &self,
        opened: &mut Opened,
        site: &SiteId,
        frontier: &mut Frontier,
        leaves: &[Digest],
        ledger: &L,
    ) -> Result<(), L::Error> {
        for leaf in leaves {
            let seq = frontier.size();
            if ledger.held(site, seq)?.is_some_and(|held| held != *leaf) {
                opened.dropped.push(seq);
            }
            let nodes = &mut opened.nodes;
            frontier.append(*leaf, &mut |level, index, hash| {
                nodes.push((level, index, hash))
            });
        }
        Ok(())
    }

    /// Opens what in a publication is for us.
    fn open_boxes<L: Ledger>(
        &self,
        opened: &mut Opened,
        publication: &Publication,
        ledger: &L,
    ) -> Result<(), L::Error> {
        let site = publication.site;
        for view in &publication.plain {
            opened.found.push(Found {
                author: Some(site),
                via: Some(CircleId::MESH_WIDE),
                feed_seq: None,
                view: view.clone(),
            });
        }
        if publication.sealed.is_empty() {
            return Ok(());
        }
        let Some(keys) = self.membership.keys_of(&site) else {
            return Ok(());
        };
        // As the author sealed it; to which key of ours depends on how much of our log it knew.
        let theirs = keys.operating_keys_at(publication.from());
        let their_box = theirs.unwrap_or_else(|| keys.current()).boxed;
        let pairs: BTreeSet<CircleId> =
            pairwise_circles(self.keys, &their_box, &self.mesh, &site, &self.me).collect();
        let boxes = publication.sealed.iter().filter_map(|sealed| {
            let circle = CircleId::from_slice(&sealed.circle)?;
            Some((circle, sealed))
        });
        // Grants first: they may open what stands beside them.
        let (first, groups): (Vec<_>, Vec<_>) =
            boxes.partition(|(circle, _)| pairs.contains(circle));
        for (circle, sealed) in first.into_iter().chain(groups) {
            let is_pairwise = pairs.contains(&circle);
            let news = (circle, 0)..=(circle, u64::MAX);
            if !is_pairwise
                && circle != CircleId::MESH_WIDE
                && opened.granted.range(news).next().is_none()
                && !ledger.is_granted(&site, &circle)?
            {
                continue;
            }
            if sealed.ciphertext.is_empty() {
                opened.pull.insert(circle);
                continue;
            }
            let context = SealContext {
                mesh: self.mesh,
                site,
                circle,
                epoch: sealed.epoch,
                from: publication.from(),
                size: publication.size(),
            };
            let views = match opened.granted.get(&(circle, sealed.epoch)) {
                _ if is_pairwise => {
                    circle::open_pairwise(self.keys, &their_box, &context, sealed).ok()
                }
                Some(key) => circle::open_group(key, &context, sealed).ok(),
                None => ledger
                    .epoch_key(&site, &circle, sealed.epoch)?
                    .and_then(|key| circle::open_group(&key, &context, sealed).ok()),
            };
            let Some(views) = views else {
                opened.pull.insert(circle);
                continue;
            };
            for view in views {
                if is_pairwise && is_grant(&view) {
                    let grant = keys.verify(view.clone()).ok();
                    let grant = grant.and_then(|record| self.granted(&record));
                    opened
                        .granted
                        .extend(grant.map(|(circle, epoch, key)| ((circle, epoch), key)));
                }
                opened.found.push(Found {
                    author: Some(site),
                    via: Some(circle),
                    feed_seq: None,
                    view,
                });
            }
        }
        Ok(())
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

    /// Compares verified records with the log and says what changes.
    pub fn settle<L: Ledger>(
        &self,
        mut opened: Opened,
        results: Vec<Result<Verified, RecordError>>,
        ledger: &L,
    ) -> Result<Taken, L::Error> {
        let mut taken = Taken {
            refused: std::mem::take(&mut opened.refused),
            ..Taken::default()
        };
        if let (Some(issuer), Some(feed)) = (opened.site, &opened.feed)
            && feed.after > ledger.feed_position(&issuer, &feed.circle)?
        {
            // The page before this one was not taken to its end; both come again, in order.
            return Ok(taken);
        }
        let new_leaves: BTreeMap<u64, Digest> = opened
            .nodes
            .iter()
            .filter(|(level, _, _)| *level == 0)
            .map(|(_, index, hash)| (*index, *hash))
            .collect();
        let mut newest: BTreeMap<(SiteId, Kind, ObjectId), u64> = BTreeMap::new();
        for seq in &opened.dropped {
            // The log has another leaf where its author signed this record.
            if let Some(site) = opened.site
                && let Some(view) = ledger.view(&site, *seq)?
                && let Some(keys) = self.membership.keys_of(&site)
                && let Ok(record) = keys.verify(view)
            {
                let proof = self.misplaced(&record, &opened, ledger)?;
                taken.forks.extend(proof.map(|proof| (site, proof)));
            }
        }
        let mut arrived: BTreeMap<CircleId, BTreeSet<u64>> = BTreeMap::new();
        let mut fed: BTreeMap<(SiteId, CircleId, u64), u64> = BTreeMap::new();
        let mut feed_end = opened.feed.as_ref().map(|feed| feed.begin);
        for (n, (found, result)) in opened.found.iter().zip(results).enumerate() {
            let verdict = match result {
                // Of what is given back only what our log names counts; it has no other place to be in.
                Ok(record) if opened.returned => {
                    let claims = record.claims();
                    let leaf = ledger.leaf(&claims.iss, claims.seq)?;
                    match leaf == Some(record.leaf_hash()) {
                        true => Ok(record),
                        false => Err(Misfit::Refused("it is no leaf of our log".into())),
                    }
                }
                Ok(record) => match self.place(found, &record, &new_leaves, ledger)? {
                    Err(misfit @ Misfit::Elsewhere(_)) => {
                        let proof = self.misplaced(&record, &opened, ledger)?;
                        let site = record.claims().iss;
                        taken.forks.extend(proof.map(|proof| (site, proof)));
                        Err(misfit)
                    }
                    placed => placed.map(|()| record),
                },
                Err(RecordError::WrongKey { kid, .. })
                    if found.via.is_some() && !self.knows_key(&opened, found, &kid) =>
                {
                    Err(Misfit::KeyUnknown)
                }
                Err(error) => Err(Misfit::Refused(error.to_string())),
            };
            let verdict = match verdict {
                Ok(record) => match self.stands_alone(found, &record, &fed, ledger)? {
                    None => Ok(record),
                    Some(evidence) => {
                        let proof = self.two_faced(&evidence, &taken.records, ledger)?;
                        taken
                            .forks
                            .extend(proof.map(|proof| (evidence.issuer, proof)));
                        let (at, other) = (evidence.feed_seq, evidence.first);
                        taken.two_faced.push(evidence);
                        Err(Misfit::Refused(format!(
                            "its author signed two records for position {at} of one feed, the other at leaf {other}"
                        )))
                    }
                },
                misfit => misfit,
            };
            match verdict {
                Ok(record) => {
                    if let Some(via) = found.via
                        && let Some(feed_seq) = record.feed_seq(&via)
                    {
                        arrived.entry(via).or_default().insert(feed_seq);
                        let claims = record.claims();
                        fed.insert((claims.iss, via, feed_seq), claims.seq);
                    }
                    let claims = record.claims();
                    let key = (claims.iss, claims.kind.clone(), claims.id);
                    let known = match newest.get(&key) {
                        Some(seq) => Some(*seq),
                        None => ledger.current(&key.0, &key.1, &key.2)?,
                    };
                    // The same again, through another circle, shows more of it.
                    if known.is_none_or(|seq| claims.seq >= seq) {
                        newest.insert(key, claims.seq);
                    }
                    self.note_grant(&record, &mut taken);
                    taken.records.push(record);
                }
                Err(Misfit::Void) => {
                    // Not a refusal, and no step in its feed: should the removal turn out not to count, it comes again.
                    if opened.feed.is_some() {
                        break;
                    }
                    continue;
                }
                Err(Misfit::LeafUnknown | Misfit::KeyUnknown) if found.via.is_some() => {
                    // The log, or the rotation in it, has to come first; the rest of a feed waits for it.
                    taken.gap = found.author;
                    if opened.feed.is_some() {
                        break;
                    }
                    if let Some(via) = found.via {
                        taken.pull.extend(found.author.map(|site| (site, via)));
                    }
                    continue;
                }
                Err(Misfit::LeafUnknown) => {
                    taken.gap = claimed(found);
                    continue;
                }
                Err(misfit) => taken.refused.push(Refused {
                    site: found.author.or_else(|| claimed(found)).unwrap_or(self.me),
                    seq: found.view.clone().parse().ok().map(|p| p.claims().seq),
                    reason: misfit.to_string(),
                }),
            }
            feed_end = opened.feed.as_ref().map(|feed| feed.ends[n]);
        }
        let is_newest = |record: &&Verified| {
            let claims = record.claims();
            let key = (claims.iss, claims.kind.clone(), claims.id);
            claims.kind == Kind::Grant && newest.get(&key) == Some(&claims.seq)
        };
        taken.standings = taken
            .records
            .iter()
            .filter(is_newest)
            .filter_map(|record| self.standing(record))
            .collect();
        taken.fed = fed
            .into_iter()
            .map(|((issuer, circle, at), seq)| (issuer, circle, at, seq))
            .collect();
        taken.current = newest
            .into_iter()
            .map(|((site, kind, id), seq)| (site, kind, id, seq))
            .collect();
        taken.forks.append(&mut opened.forks);
        if let Some(site) = opened.site {
            self.advance(&site, &opened, &arrived, feed_end, &mut taken, ledger)?;
            taken.dropped = opened.dropped.iter().map(|seq| (site, *seq)).collect();
            if opened.gap {
                taken.gap = Some(site);
            }
            taken.contradiction = opened.contradiction.take().map(|how| (site, how));
            let cosigned = opened.cosigned.take();
            taken
                .cosigned
                .extend(cosigned.map(|(checkpoint, by)| (site, checkpoint, by)));
            if let Some((site, how)) = &taken.contradiction {
                taken.refused.push(Refused {
                    site: *site,
                    seq: None,
                    reason: how.clone(),
                });
            }
            taken
                .pull
                .extend(opened.pull.iter().map(|circle| (site, *circle)));
            if !opened.nodes.is_empty() {
                taken.head = opened.head.map(|head| (site, head));
                taken.nodes = opened.nodes;
                taken.publications = opened.publications;
            }
        }
        Ok(taken)
    }

    /// Whether its author is known to have, or to have had, a record key with this fingerprint. If not, a rotation may be on its way.
    fn knows_key(&self, opened: &Opened, found: &Found, kid: &str) -> bool {
        let keys = opened.keys_for(found, self.membership);
        keys.is_none_or(|keys| keys.names_record_key(kid) || keys.root().fingerprint() == kid)
    }

    /// Evidence that another record stands where this one says it does.
    fn stands_alone<L: Ledger>(
        &self,
        found: &Found,
        record: &Verified,
        fed: &BTreeMap<(SiteId, CircleId, u64), u64>,
        ledger: &L,
    ) -> Result<Option<TwoFaced>, L::Error> {
        let (issuer, second) = (record.claims().iss, record.claims().seq);
        let Some((circle, feed_seq)) = found
            .via
            .and_then(|circle| Some((circle, record.feed_seq(&circle)?)))
        else {
            return Ok(None);
        };
        let first = match fed.get(&(issuer, circle, feed_seq)) {
            Some(seq) => Some(*seq),
            None => ledger.fed(&issuer, &circle, feed_seq)?,
        };
        Ok(first
            .filter(|first| *first != second)
            .map(|first| TwoFaced {
                issuer,
                circle,
                feed_seq,
                first,
                second,
                view: record.view().clone(),
            }))
    }

    /// New feed positions: a feed answer counts by order, records from gossip as far as they are contiguous.
    fn advance<L: Ledger>(
        &self,
        site: &SiteId,
        opened: &Opened,
        arrived: &BTreeMap<CircleId, BTreeSet<u64>>,
        feed_end: Option<u64>,
        taken: &mut Taken,
        ledger: &L,
    ) -> Result<(), L::Error> {
        if let (Some(feed), Some(end)) = (&opened.feed, feed_end) {
            if end > feed.after.max(ledger.feed_position(site, &feed.circle)?) {
                taken.feeds.push((*site, feed.circle, end));
            }
            return Ok(());
        }
        for (circle, seqs) in arrived {
            let old = ledger.feed_position(site, circle)?;
            let mut position = old;
            while seqs.contains(&(position + 1)) {
                position += 1;
            }
            if position > old {
                taken.feeds.push((*site, *circle, position));
            }
            if seqs.last().is_some_and(|last| *last > position) {
                taken.pull.push((*site, *circle));
            }
        }
        Ok(())
    }

    /// We hold its log as far as it goes, or will.
    fn is_followed(&self, site: &SiteId) -> bool {
        *site == self.me || self.membership.member(site).is_some()
    }

    /// Does a verified record belong where it came from?
    fn place<L: Ledger>(
        &self,
        found: &Found,
        record: &Verified,
        new_leaves: &BTreeMap<u64, Digest>,
        ledger: &L,
    ) -> Result<Result<(), Misfit>, L::Error> {
        let claims = record.claims();
        if claims.mesh.is_some_and(|mesh| mesh != self.mesh) {
            return Ok(Err(Misfit::Refused("it belongs to another mesh".into())));
        }
        if claims.kind.is_plain() {
            // In the set whoever is out: what counts of it, all of the set says.
            if self.membership.acts_of(&claims.iss) >= limits::ACTS_PER_SITE_MAX {
                return Ok(Err(Misfit::Refused(
                    "its author has acted too often".into(),
                )));
            }
        } else if self.membership.voids(&claims.iss, claims.seq) {
            return Ok(Err(Misfit::Void));
        }
        if let Some(via) = found.via {
            match (record.feed_seq(&via), found.feed_seq) {
                (None, _) => {
                    return Ok(Err(Misfit::Refused(
                        "it does not name the circle it came through".into(),
                    )));
                }
                (Some(is), Some(should)) if is != should => {
                    return Ok(Err(Misfit::Refused(format!(
                        "it claims position {is} of the feed, at position {should}"
                    ))));
                }
                _ => {}
            }
        } else if !claims.kind.is_plain() {
            return Ok(Err(Misfit::Refused(
                "only keys and membership records come this way".into(),
            )));
        }
        let leaf = match new_leaves.get(&claims.seq) {
            Some(leaf) => Some(*leaf),
            None => ledger.leaf(&claims.iss, claims.seq)?,
        };
        Ok(match leaf {
            Some(leaf) if leaf == record.leaf_hash() => Ok(()),
            Some(_) => Err(Misfit::Elsewhere(
                "the log holds another record at its index",
            )),
            // Membership records may come before their log does; `append` compares them later. Of two for one leaf
            // everybody keeps the same one.
            // But keys count once the log that is followed names them: who has the root key alone rotates nothing.
            None if found.via.is_none()
                && is_rotation(record.view())
                && self.is_followed(&claims.iss) =>
            {
                Err(Misfit::LeafUnknown)
            }
            None if found.via.is_none() => match ledger.held(&claims.iss, claims.seq)? {
                Some(held) if held < record.leaf_hash() => Err(Misfit::Elsewhere(
                    "its author signed another record for its index",
                )),
                _ => Ok(()),
            },
            None => Err(Misfit::LeafUnknown),
        })
    }

    fn note_grant(&self, record: &Verified, taken: &mut Taken) {
        if let Some((circle, epoch, key)) = self.granted(record) {
            let issuer = record.claims().iss;
            taken.granted.push((issuer, circle, epoch, key));
            taken.pull.push((issuer, circle));
        }
    }

    /// What a grant says about where we stand.
    fn standing(&self, record: &Verified) -> Option<Standing> {
        let grant = Grant::read(record.fields()).ok()?;
        let claims = record.claims();
        let ended = claims.retired.then(|| {
            // Who does not say gets what does least harm.
            grant.on_end.known().copied().unwrap_or_default()
        });
        (*grant.to.known()? == self.me).then_some(Standing {
            issuer: claims.iss,
            circle: *grant.circle.known()?,
            ended,
            grant: record.core_digest(),
        })
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

fn is_grant(view: &View) -> bool {
    let parsed = view.clone().parse();
    parsed.is_ok_and(|parsed| parsed.claims().kind == Kind::Grant)
}

fn claimed(found: &Found) -> Option<SiteId> {
    found
        .view
        .clone()
        .parse()
        .ok()
        .map(|parsed| parsed.claims().iss)
}

/// Why a verified record has no place.
#[derive(Debug)]
enum Misfit {
    LeafUnknown,
    /// No `keys` record that is here lists the key that its header names.
    KeyUnknown,
    /// Its author was put out before it.
    Void,
    /// Something else stands where it says it does.
    Elsewhere(&'static str),
    Refused(String),
}
impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LeafUnknown => f.write_str("its leaf is not in the log that we hold"),
            Self::KeyUnknown => f.write_str("no keys record that is here lists its key"),
            Self::Void => f.write_str("its author was removed before"),
            Self::Elsewhere(why) => f.write_str(why),
            Self::Refused(why) => f.write_str(why),
        }
    }
}
