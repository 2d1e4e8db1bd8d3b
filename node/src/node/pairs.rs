//! How the circles of two are called, from us to each partner: a key agreement for every pair of box keys, made once.
//!
//! After rotations there is one circle for each pair of our box keys and theirs. What was issued in the older ones is still served to who
//! has not got it; only the newest grows.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use fmesh_proto::{
    id::{CircleId, MeshId, SiteId},
    keys::{OperatingKeys, pairwise_circles},
    membership::Member,
};

/// Box keys that are remembered; above it they are all forgotten, and agreed upon again.
const REMEMBERED_MAX: usize = 16 * 1024;

/// The names, for one set of our own keys.
#[derive(Debug)]
pub(super) struct Pairs {
    keys: Arc<OperatingKeys>,
    /// For this site in its one mesh.
    known: Mutex<HashMap<BoxKey, Vec<CircleId>>>,
}

/// A reader, and one of its box keys.
type BoxKey = (SiteId, [u8; 32]);

impl Pairs {
    pub(super) fn new(keys: Arc<OperatingKeys>) -> Self {
        Self {
            keys,
            known: Mutex::default(),
        }
    }

    /// All circles of two that lead from `me` to `reader`.
    pub(super) fn to(&self, mesh: &MeshId, me: &SiteId, reader: &Member) -> Vec<CircleId> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > REMEMBERED_MAX {
            known.clear();
        }
        let mut circles = Vec::new();
        for set in reader.keys.all() {
            let names = known.entry((reader.site, set.boxed)).or_insert_with(|| {
                pairwise_circles(&self.keys, &set.boxed, mesh, me, &reader.site).collect()
            });
            circles.extend_from_slice(names);
        }
        circles
    }
}
