//! Publications: served in the order of the log, kept for a while.

use std::collections::BTreeMap;

use fmesh_proto::{
    id::SiteId,
    limits::{PUBLICATION_LEAVES_MAX, TREE_SIZE_MAX},
    publication::Publication,
};

use super::{
    Store, StoreError, codec,
    keys::Table,
    read::{decoded, site_and_number},
};

/// Retention is by bytes in whole hours, so that pruning needs no index by time.
const SECONDS_PER_SLICE: u64 = 3_600;
/// Entries that one batch of pruning rewrites.
const PRUNED_PER_BATCH: usize = 512;
/// Time of a publication that has no content any more.
pub(super) const STRIPPED: u64 = 0;

impl Store {
    /// Contiguous publications of one log, starting with the one that contains leaf `from`, at most `bytes_max` (but at least one, if
    /// there is one that contains `from`).
    pub fn publications(
        &self,
        site: &SiteId,
        from: u64,
        bytes_max: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut found = Vec::new();
        let mut left = bytes_max;
        let mut next = from;
        while let Some((size, bytes)) = self.publication_with(site, next)? {
            if !found.is_empty() && bytes.len() > left {
                break;
            }
            left = left.saturating_sub(bytes.len());
            found.push(bytes);
            next = size;
        }
        Ok(found)
    }

    /// The publication that contains a leaf, with the size after it. It began at most [`PUBLICATION_LEAVES_MAX`] leaves earlier.
    fn publication_with(
        &self,
        site: &SiteId,
        leaf: u64,
    ) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        if leaf > TREE_SIZE_MAX {
            return Ok(None);
        }
        let earliest = leaf.saturating_sub(PUBLICATION_LEAVES_MAX as u64 - 1);
        let first = Table::Publication.numbered(&site.0, earliest);
        let last = Table::Publication.numbered(&site.0, leaf);
        for entry in self.db.range(first..=last).rev() {
            let (key, value) = entry.map_err(StoreError::of)?;
            let (_, size, bytes) = codec::from_publication(&value)
                .ok_or_else(|| StoreError::unreadable("publication", &key))?;
            if size > leaf {
                return Ok(Some((size, bytes.to_vec())));
            }
        }
        Ok(None)
    }

    /// Strips the content from publications older than `before` (unix seconds) while the newest `keep_bytes` stay; returns
    /// how many lost it. What is left (checkpoint, frontier, leaf hashes) still checks, and lets a newcomer follow the
    /// log from its beginning; the content comes from its issuer's feeds.
    pub fn prune_publications(&self, before: u64, keep_bytes: u64) -> Result<usize, StoreError> {
        let Some(cutoff) = self.prune_cutoff(before, keep_bytes)? else {
            return Ok(0);
        };
        let mut pruned = 0;
        let mut batch = Vec::new();
        for entry in self.publication_times() {
            let (site, from, at, _) = entry?;
            if at == STRIPPED || at >= cutoff {
                continue;
            }
            let key = Table::Publication.numbered(&site.0, from);
            let Some(value) = self.db.get(&key).map_err(StoreError::of)? else {
                continue;
            };
            let (_, size, bytes) = codec::from_publication(&value)
                .ok_or_else(|| StoreError::unreadable("publication", &key))?;
            let stripped = Publication::decode(bytes)
                .map_err(|_| StoreError::unreadable("publication", &key))?
                .stripped();
            batch.push((key, Some(codec::publication(STRIPPED, size, &stripped))));
            if batch.len() == PRUNED_PER_BATCH {
                pruned += batch.len();
                self.apply(batch.drain(..))?;
            }
        }
        pruned += batch.len();
        if !batch.is_empty() {
            self.apply(batch)?;
        }
        Ok(pruned)
    }

    /// Publications from before this moment may go.
    fn prune_cutoff(&self, before: u64, keep_bytes: u64) -> Result<Option<u64>, StoreError> {
        let mut slices = BTreeMap::<u64, u64>::new();
        let mut any = false;
        for entry in self.publication_times() {
            let (_, _, at, bytes) = entry?;
            if at == STRIPPED {
                continue;
            }
            any |= at < before;
            *slices.entry(at / SECONDS_PER_SLICE).or_default() += bytes;
        }
        if !any {
            return Ok(None);
        }
        let mut kept = 0_u64;
        for (slice, bytes) in slices.into_iter().rev() {
            if kept >= keep_bytes {
                let newer = (slice + 1).saturating_mul(SECONDS_PER_SLICE);
                return Ok(Some(newer.min(before)));
            }
            kept = kept.saturating_add(bytes);
        }
        Ok(None)
    }

    /// (site, from, at, bytes) of every publication.
    fn publication_times(
        &self,
    ) -> impl Iterator<Item = Result<(SiteId, u64, u64, u64), StoreError>> + use<> {
        let all = self.db.scan_prefix(Table::Publication.key(&[]));
        decoded(all, "publication", |key, value| {
            let (site, from) = site_and_number(key)?;
            let (at, _, bytes) = codec::from_publication(value)?;
            Some((site, from, at, bytes.len() as u64))
        })
    }
}
