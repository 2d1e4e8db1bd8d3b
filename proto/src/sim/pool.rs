//! What many simulated sites hold alike is held once, and what they verify alike is verified once.
//!
//! In a mesh of a thousand sites each disk has the same manifests, publications and members. A signature is good or bad by the bytes of
//! the record and the keys of its author alone, so the same record under the same keys is not computed a thousand times.
//! Every site still decides by itself what it takes in: nothing here knows who asks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    id::{Digest, MeshId},
    keys::KeyHistory,
    membership::Membership,
    record::{RecordError, Verified, View},
};

/// The memory of one simulated world.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    bytes: HashMap<Digest, Arc<Vec<u8>>>,
    records: HashMap<Digest, Arc<Verified>>,
    /// By the view and the `keys` records of its author.
    verified: HashMap<(Digest, Digest), Arc<Verified>>,
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

    /// What `verify` says of a view under these keys. Only what is good is remembered.
    pub(super) fn verified(
        &self,
        view: &View,
        keys: Option<&KeyHistory>,
        verify: impl FnOnce() -> Result<Verified, RecordError>,
    ) -> Result<Verified, RecordError> {
        let Some(keys) = keys else {
            return verify();
        };
        let name = Digest::of(view.as_str().as_bytes());
        let keys: Vec<String> = keys.views().iter().map(View::encode).collect();
        let name = (name, Digest::of(keys.concat().as_bytes()));
        if let Some(known) = self.held().verified.get(&name) {
            return Ok(Verified::clone(known));
        }
        let verified = verify()?;
        let record = self.record(&verified);
        self.held().verified.insert(name, record);
        Ok(verified)
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
