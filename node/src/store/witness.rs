//! What members cosigned, and what proves that a site signed two histories.
//!
//! Cosigned checkpoints are kept in versions, the newest of each size; which sizes stay is the caller's matter
//! ([`fmesh_proto::mesh::witness::redundant`]). Fork proofs are kept for ever.

use fmesh_proto::{
    id::{Digest, SiteId},
    mesh::witness::Pledge,
    note::Checkpoint,
};

use super::{
    Changes, Store, StoreError,
    codec::from_json,
    keys::{Cut, Table},
    read::{decoded, only_site, site_and_number},
};

/// A cosigned checkpoint as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCheckpoint {
    /// Unix seconds when this version came.
    pub at: u64,
    /// Cosignatures on it, all checked before it was stored.
    pub by: u32,
    /// The signed note.
    pub checkpoint: Checkpoint,
}

/// A fork proof as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFork {
    /// Against whom.
    pub site: SiteId,
    /// Unix seconds when it was made here, or came.
    pub at: u64,
    /// The text, as it was made.
    pub text: Vec<u8>,
}

impl KeptFork {
    /// SHA-256 of the text.
    #[must_use]
    pub fn name(&self) -> Digest {
        Digest::of(&self.text)
    }
}

/// at 8 | by 4 | note
pub(super) fn from_kept(value: &[u8]) -> Option<KeptCheckpoint> {
    let mut cut = Cut(value);
    Some(KeptCheckpoint {
        at: cut.number()?,
        by: cut.bytes().map(u32::from_be_bytes)?,
        checkpoint: Checkpoint::parse(cut.rest()).ok()?,
    })
}

/// at 8 | text
pub(super) fn from_fork(key: &[u8], value: &[u8]) -> Option<KeptFork> {
    let mut cut = Cut::key(key);
    let (site, _) = (cut.site()?, cut.bytes::<16>()?);
    let mut value = Cut(value);
    let fork = KeptFork {
        site,
        at: value.number()?,
        text: value.rest().to_vec(),
    };
    cut.end(fork)
}

impl Store {
    /// What we cosigned last of a log.
    pub fn pledge(&self, site: &SiteId) -> Result<Option<Pledge>, StoreError> {
        self.read(&Table::Pledge.key(&[&site.0]), "pledge", from_json)
    }

    /// Cosigned checkpoints of a log, ascending by size.
    pub fn cosigned(&self, site: &SiteId) -> Result<Vec<KeptCheckpoint>, StoreError> {
        let prefix = Table::Cosigned.key(&[&site.0]);
        self.scan(&prefix, "cosigned checkpoint", |_, value| from_kept(value))
            .collect()
    }

    /// The newest one.
    pub fn newest_cosigned(&self, site: &SiteId) -> Result<Option<KeptCheckpoint>, StoreError> {
        let entries = self.db.scan_prefix(Table::Cosigned.key(&[&site.0])).rev();
        decoded(entries.take(1), "cosigned checkpoint", |_, value| {
            from_kept(value)
        })
        .next()
        .transpose()
    }

    /// (site, size, cosignatures) of the newest one of every log, by site.
    pub fn cosigned_versions(&self) -> Result<Vec<(SiteId, u64, u32)>, StoreError> {
        let mut versions = Vec::new();
        let table = Table::Cosigned.key(&[]);
        let mut end = self.db.scan_prefix(&table).next_back();
        while let Some(entry) = end {
            let (key, value) = entry.map_err(StoreError::of)?;
            let unreadable = || StoreError::unreadable("cosigned checkpoint", &key);
            let (site, size) = site_and_number(&key).ok_or_else(unreadable)?;
            let mut cut = Cut(&value);
            let by = cut.number().and_then(|_| cut.bytes());
            let by = by.map(u32::from_be_bytes).ok_or_else(unreadable)?;
            versions.push((site, size, by));
            // The newest of the log before this one: no walk over histories.
            let before = Table::Cosigned.numbered(&site.0, 0);
            end = self.db.range(table.clone()..before).next_back();
        }
        versions.reverse();
        Ok(versions)
    }

    /// Fork proofs against one site, or all; the first ones first.
    pub fn forks(&self, site: Option<&SiteId>) -> Result<Vec<KeptFork>, StoreError> {
        let prefix = match site {
            Some(site) => Table::Fork.key(&[&site.0]),
            None => Table::Fork.key(&[]),
        };
        let mut forks: Vec<KeptFork> = self
            .scan(&prefix, "fork proof", from_fork)
            .collect::<Result<_, _>>()?;
        forks.sort_by_key(|fork| (fork.site, fork.at));
        Ok(forks)
    }

    /// Sites against which there is a fork proof, in order.
    pub fn forked(&self) -> Result<Vec<SiteId>, StoreError> {
        let mut sites = Vec::new();
        for entry in self.scan(&Table::Fork.key(&[]), "fork proof", |key, _| {
            key.get(..33).and_then(only_site)
        }) {
            let site = entry?;
            if sites.last() != Some(&site) {
                sites.push(site);
            }
        }
        Ok(sites)
    }
}

impl Changes {
    /// What we cosign of a log from now on; in one commit before the cosignature leaves.
    pub fn put_pledge(&mut self, site: &SiteId, pledge: &Pledge) {
        self.put(Table::Pledge.key(&[&site.0]), super::codec::json(pledge));
    }

    /// A cosigned checkpoint; replaces the version of its size.
    pub fn put_cosigned(&mut self, site: &SiteId, kept: &KeptCheckpoint) {
        let key = Table::Cosigned.numbered(&site.0, kept.checkpoint.size());
        let mut value = kept.at.to_be_bytes().to_vec();
        value.extend_from_slice(&kept.by.to_be_bytes());
        value.extend_from_slice(kept.checkpoint.note());
        self.put(key, value);
    }

    /// One that is not kept any longer.
    pub fn delete_cosigned(&mut self, site: &SiteId, size: u64) {
        self.delete(Table::Cosigned.numbered(&site.0, size));
    }

    /// A fork proof. The caller keeps to [`fmesh_proto::limits::FORKS_PER_SITE_MAX`].
    pub fn put_fork(&mut self, fork: &KeptFork) {
        let key = Table::Fork.key(&[&fork.site.0, &fork.name().0[..16]]);
        let mut value = fork.at.to_be_bytes().to_vec();
        value.extend_from_slice(&fork.text);
        self.put(key, value);
    }
}
