//! The store as `follow` reads it, for one work.

use std::cell::RefCell;

use fmesh_proto::{
    circle::EpochKey,
    id::{CircleId, Digest, ObjectId, SiteId},
    kinds::Kind,
    log::{Nodes as _, leaf_hash},
    mesh::follow::{Head, Ledger},
    record::View,
};

use crate::store::{Store, StoreError};

/// Leaf hashes that are read at once: records of one work stand near each other in their log.
const LEAVES: u64 = 64;

/// Reads the store while nothing is written to it.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    store: &'a Store,
    /// Leaves that were read last: (log, first, hashes).
    leaves: RefCell<Option<(SiteId, u64, Vec<Digest>)>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self {
            store,
            leaves: RefCell::new(None),
        }
    }
}

impl Ledger for Reading<'_> {
    type Error = StoreError;

    fn head(&self, site: &SiteId) -> Result<Option<Head>, StoreError> {
        self.store.head(site)
    }

    fn leaf(&self, site: &SiteId, seq: u64) -> Result<Option<Digest>, StoreError> {
        let mut leaves = self.leaves.borrow_mut();
        let first = seq - seq % LEAVES;
        if !leaves
            .as_ref()
            .is_some_and(|(of, from, _)| of == site && *from == first)
        {
            let read = self.store.leaf_hashes(site, first, LEAVES as usize)?;
            *leaves = Some((*site, first, read));
        }
        let found = leaves
            .as_ref()
            .and_then(|(_, _, read)| read.get((seq - first) as usize).copied());
        // A log whose beginning is not known has holes before it.
        Ok(found.or_else(|| self.store.nodes(site).node(0, seq)))
    }

    fn node(&self, site: &SiteId, level: u8, index: u64) -> Result<Option<Digest>, StoreError> {
        Ok(self.store.nodes(site).node(level, index))
    }

    fn view(&self, site: &SiteId, seq: u64) -> Result<Option<View>, StoreError> {
        Ok(self.store.record(site, seq)?.map(|(view, _)| view))
    }

    fn held(&self, site: &SiteId, seq: u64) -> Result<Option<Digest>, StoreError> {
        Ok(self
            .store
            .record(site, seq)?
            .map(|(view, _)| leaf_hash(view.core().as_bytes())))
    }

    fn current(
        &self,
        site: &SiteId,
        kind: &Kind,
        id: &ObjectId,
    ) -> Result<Option<u64>, StoreError> {
        self.store.current(site, kind, id)
    }

    fn feed_position(&self, issuer: &SiteId, circle: &CircleId) -> Result<u64, StoreError> {
        self.store.feed_position(issuer, circle)
    }

    fn epoch_key(
        &self,
        issuer: &SiteId,
        circle: &CircleId,
        epoch: u64,
    ) -> Result<Option<EpochKey>, StoreError> {
        Ok(self.store.epoch_key(issuer, circle, epoch)?.map(EpochKey))
    }

    fn fed(
        &self,
        issuer: &SiteId,
        circle: &CircleId,
        feed_seq: u64,
    ) -> Result<Option<u64>, StoreError> {
        let Some(seq) = self.store.fed(issuer, circle, feed_seq)? else {
            return Ok(None);
        };
        Ok(self.store.record(issuer, seq)?.map(|_| seq))
    }

    fn is_granted(&self, issuer: &SiteId, circle: &CircleId) -> Result<bool, StoreError> {
        self.store.is_granted(issuer, circle)
    }
}
