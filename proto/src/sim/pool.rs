//! What many simulated disks hold alike is held once.
//!
//! In a mesh of a thousand sites each disk has the same manifests, publications and members. This changes nothing of what a site
//! knows or does: every site reads, checks and stores by itself, and only then equal results share their memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    id::{Digest, MeshId},
    membership::Membership,
    record::Verified,
};

/// The memory of one simulated world.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    bytes: HashMap<Digest, Arc<Vec<u8>>>,
    records: HashMap<Digest, Arc<Verified>>,
    memberships: HashMap<Digest, Arc<Membership>>,
}

impl Pool {
    pub(super) fn bytes(&self, bytes: Vec<u8>) -> Arc<Vec<u8>> {
        let name = Digest::of(&bytes);
        let mut held = self.held();
        Arc::clone(held.bytes.entry(name).or_insert_with(|| Arc::new(bytes)))
    }

    /// Equal views of one core were verified to the same.
    pub(super) fn record(&self, record: &Verified) -> Arc<Verified> {
        let name = Digest::of(record.view().encode().as_bytes());
        let mut held = self.held();
        let held = held.records.entry(name);
        Arc::clone(held.or_insert_with(|| Arc::new(record.clone())))
    }

    /// Members are a pure function of a set of records.
    pub(super) fn membership(&self, mesh: &MeshId, records: &[Arc<Verified>]) -> Arc<Membership> {
        let mut names: Vec<[u8; 32]> = records.iter().map(|r| r.leaf_hash().0).collect();
        names.sort_unstable();
        let name = Digest::of(&names.concat());
        let mut held = self.held();
        let held = held.memberships.entry(name);
        let compute = || Arc::new(Membership::from_verified(mesh, records));
        Arc::clone(held.or_insert_with(compute))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing is left half done in it.
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
