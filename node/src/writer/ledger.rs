//! The store as `follow` reads it.

use fmesh_proto::{
    circle::EpochKey,
    id::{CircleId, Digest, ObjectId, SiteId},
    kinds::Kind,
    log::{Nodes as _, leaf_hash},
    mesh::follow::{Head, Ledger},
};

use crate::store::{Store, StoreError};

impl Ledger for Store {
    type Error = StoreError;

    fn head(&self, site: &SiteId) -> Result<Option<Head>, StoreError> {
        Self::head(self, site)
    }

    fn leaf(&self, site: &SiteId, seq: u64) -> Result<Option<Digest>, StoreError> {
        Ok(self.nodes(site).node(0, seq))
    }

    fn held(&self, site: &SiteId, seq: u64) -> Result<Option<Digest>, StoreError> {
        Ok(self
            .record(site, seq)?
            .map(|(view, _)| leaf_hash(view.core().as_bytes())))
    }

    fn current(
        &self,
        site: &SiteId,
        kind: &Kind,
        id: &ObjectId,
    ) -> Result<Option<u64>, StoreError> {
        Self::current(self, site, kind, id)
    }

    fn feed_position(&self, issuer: &SiteId, circle: &CircleId) -> Result<u64, StoreError> {
        Self::feed_position(self, issuer, circle)
    }

    fn epoch_key(
        &self,
        issuer: &SiteId,
        circle: &CircleId,
        epoch: u64,
    ) -> Result<Option<EpochKey>, StoreError> {
        Ok(Self::epoch_key(self, issuer, circle, epoch)?.map(EpochKey))
    }

    fn is_granted(&self, issuer: &SiteId, circle: &CircleId) -> Result<bool, StoreError> {
        Self::is_granted(self, issuer, circle)
    }
}
