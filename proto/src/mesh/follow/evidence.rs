//! What convicts an author while its log is followed: checkpoints that exclude each other, two records for one leaf or for one
//! place of a feed. Every proof is verified before it is handed on, so nobody is accused by what would not convince a stranger.

use std::collections::BTreeMap;

use super::{Ledger, Opened, Reader, TwoFaced};
use crate::{
    audit::fork::ForkProof,
    id::{Digest, SiteId},
    log::{Nodes, frontier_at},
    mesh::witness::contradiction,
    note::Checkpoint,
    publication::Publication,
    record::Verified,
};

impl Reader<'_> {
    /// Compares a signed checkpoint with the log that we follow. False if they exclude each other.
    pub(super) fn compare<L: Ledger>(
        &self,
        opened: &mut Opened,
        site: &SiteId,
        checkpoint: Checkpoint,
        by: u32,
        ledger: &L,
    ) -> Result<bool, L::Error> {
        let head = match &opened.head {
            Some(head) => Some(head.clone()),
            None => ledger.head(site)?,
        };
        let (Some(head), Some(keys)) = (head, self.membership.keys_of(site)) else {
            return Ok(true);
        };
        let tree = Tree::new(ledger, *site, &opened.nodes);
        if let Some(proof) = contradiction(&keys.views(), &checkpoint, &head, &tree) {
            opened.forks.push((*site, proof));
            return Ok(false);
        }
        let size = checkpoint.size();
        let reached = match size == head.frontier.size() {
            true => Some(head.frontier.root()),
            false => frontier_at(&tree, size).map(|at| at.root()),
        };
        if by > 0 && reached == Some(checkpoint.root()) {
            opened.cosigned = Some((checkpoint, by));
        }
        Ok(true)
    }

    /// The proof that a record's author signed something else for its leaf: another record that we hold, or a log.
    pub(super) fn misplaced<L: Ledger>(
        &self,
        record: &Verified,
        opened: &Opened,
        ledger: &L,
    ) -> Result<Option<ForkProof>, L::Error> {
        let claims = record.claims();
        let (site, seq) = (claims.iss, claims.seq);
        let Some(keys) = self.membership.keys_of(&site) else {
            return Ok(None);
        };
        // A key manifest names no mesh: one of another mesh's log is none of this log's.
        if claims.mesh != Some(self.mesh) {
            return Ok(None);
        }
        let keys = keys.views();
        let held = ledger.view(&site, seq)?;
        let other = held.filter(|held| held.core() != record.view().core());
        let proof = match other {
            Some(other) => Some(ForkProof::seq(&keys, &other, record.view())),
            None => {
                let of_log = opened.head.clone().filter(|_| opened.site == Some(site));
                let head = match of_log {
                    Some(head) => Some(head),
                    None => ledger.head(&site)?,
                };
                head.and_then(|head| {
                    let tree = Tree::new(ledger, site, &opened.nodes);
                    ForkProof::leaf(&keys, record.view(), seq, &head.checkpoint, &tree)
                })
            }
        };
        Ok(proof.filter(|proof| proof.verify().is_ok()))
    }

    /// The proof that two records stand at one place of a feed.
    pub(super) fn two_faced<L: Ledger>(
        &self,
        evidence: &TwoFaced,
        taken: &[Verified],
        ledger: &L,
    ) -> Result<Option<ForkProof>, L::Error> {
        let place = (evidence.issuer, evidence.first);
        let here = taken
            .iter()
            .find(|record| (record.claims().iss, record.claims().seq) == place);
        let first = match here {
            Some(record) => Some(record.view().clone()),
            None => ledger.view(&place.0, place.1)?,
        };
        let keys = self.membership.keys_of(&evidence.issuer);
        let proof = first
            .zip(keys)
            .and_then(|(first, keys)| ForkProof::feed(&keys.views(), &first, &evidence.view));
        Ok(proof.filter(|proof| proof.verify().is_ok()))
    }
}

/// Why a log is not followed any more.
pub(super) fn two_histories(size: u64) -> String {
    format!("two histories of one log: at size {size} this site signed another root before")
}

/// A log as the ledger has it, with what a work adds.
struct Tree<'a, L> {
    ledger: &'a L,
    site: SiteId,
    added: BTreeMap<(u8, u64), Digest>,
}

impl<'a, L: Ledger> Tree<'a, L> {
    fn new(ledger: &'a L, site: SiteId, added: &[(u8, u64, Digest)]) -> Self {
        let added = added.iter();
        Self {
            ledger,
            site,
            added: added
                .map(|(level, index, hash)| ((*level, *index), *hash))
                .collect(),
        }
    }
}

impl<L: Ledger> Nodes for Tree<'_, L> {
    /// What cannot be read counts as missing: no proof is better than a wrong one.
    fn node(&self, level: u8, index: u64) -> Option<Digest> {
        match self.added.get(&(level, index)) {
            Some(hash) => Some(*hash),
            None => self.ledger.node(&self.site, level, index).ok().flatten(),
        }
    }
}

/// The nodes that a publication shows of its log: the edge before it, and everything after.
pub(super) fn nodes_of(publication: &Publication) -> BTreeMap<(u8, u64), Digest> {
    let mut nodes = BTreeMap::new();
    let mut start = 0;
    for hash in publication.frontier.edge() {
        let level = (publication.from() - start).ilog2();
        nodes.insert((level as u8, start >> level), *hash);
        start += 1 << level;
    }
    let mut tree = publication.frontier.clone();
    for leaf in &publication.leaf_hashes {
        tree.append(*leaf, &mut |level, index, hash| {
            nodes.insert((level, index), hash);
        });
    }
    nodes
}
