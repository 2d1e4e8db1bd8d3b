//! What witnesses say of logs and records, and what convicts a site, from what is on disk.

use std::collections::{BTreeMap, BTreeSet};

use fmesh_proto::{
    audit::fork::ForkProof,
    id::{MeshId, SiteId},
    membership::Membership,
    note::{Checkpoint, Cosignature, SignatureType, VerifierKey},
};

use super::{Error, Service};
use crate::{
    api::view::{self, CosignedUs, Fork, Sighting, Witnessed},
    store::{KeptFork, Meta},
};

impl Service {
    /// How far a log is cosigned; nothing if no cosigned checkpoint of it is here.
    pub(super) fn witnessed(
        &self,
        membership: &Membership,
        site: &SiteId,
    ) -> Result<Option<Witnessed>, Error> {
        let (Some(mesh), Some(kept)) = (
            self.node.store.meta()?.mesh,
            self.node.store.newest_cosigned(site)?,
        ) else {
            return Ok(None);
        };
        let head = self.node.store.head(site)?;
        let by = signers(&kept.checkpoint, &mesh);
        Ok(Some(Witnessed {
            size: kept.checkpoint.size(),
            log_size: head.map_or(0, |head| head.frontier.size()),
            by: self.sightings(membership, by),
        }))
    }

    /// The verifier key under which this site cosigns.
    pub(super) fn witness_key(&self, meta: &Meta, membership: &Membership) -> Option<String> {
        let keys = membership.keys_of(&self.node.site)?.current();
        let name = Cosignature::name_of(&meta.mesh?, &self.node.site);
        let key = VerifierKey::new(&name, SignatureType::Cosignature, keys.witness).ok()?;
        Some(key.to_string())
    }

    /// Who has seen a leaf, each at the latest by the earliest time in its cosignatures that cover it; earliest first. So the k-th
    /// is when k witnesses had seen it.
    pub(super) fn seen(
        &self,
        membership: &Membership,
        site: &SiteId,
        leaf: u64,
    ) -> Result<Vec<Sighting>, Error> {
        let Some(mesh) = self.node.store.meta()?.mesh else {
            return Ok(Vec::new());
        };
        let mut earliest = BTreeMap::<SiteId, u64>::new();
        for kept in self.node.store.cosigned(site)? {
            if kept.checkpoint.size() <= leaf {
                continue;
            }
            for (witness, time) in signers(&kept.checkpoint, &mesh) {
                let known = earliest.entry(witness).or_insert(time);
                *known = time.min(*known);
            }
        }
        Ok(self.sightings(membership, earliest))
    }

    fn sightings(
        &self,
        membership: &Membership,
        by: impl IntoIterator<Item = (SiteId, u64)>,
    ) -> Vec<Sighting> {
        let mut by: Vec<(u64, SiteId)> = by.into_iter().map(|(site, at)| (at, site)).collect();
        by.sort_unstable();
        by.into_iter()
            .map(|(at, site)| Sighting {
                witness: self.site_name(membership, &site),
                by: view::time(at),
            })
            .collect()
    }

    /// How far each partner has cosigned our log.
    pub(super) fn cosigned_us(&self) -> Result<BTreeMap<SiteId, CosignedUs>, Error> {
        let mut newest = BTreeMap::new();
        if let Some(mesh) = self.node.store.meta()?.mesh {
            for kept in self.node.store.cosigned(&self.node.site)? {
                let size = kept.checkpoint.size();
                for (witness, at) in signers(&kept.checkpoint, &mesh) {
                    let at = view::time(at);
                    newest.insert(witness, CosignedUs { size, at });
                }
            }
        }
        Ok(newest)
    }

    /// Fork proofs by whom they are against.
    pub(super) fn forks_by_site(&self) -> Result<BTreeMap<SiteId, Vec<Fork>>, Error> {
        let mut forks = BTreeMap::<SiteId, Vec<Fork>>::new();
        for kept in self.node.store.forks(None)? {
            forks.entry(kept.site).or_default().extend(fork(&kept));
        }
        Ok(forks)
    }

    /// Sites against which a fork proof is held.
    pub(super) fn forked(&self) -> Result<BTreeSet<SiteId>, Error> {
        Ok(self.node.store.forked()?.into_iter().collect())
    }
}

/// Who cosigned, and when. Every line was checked before it was stored; the site is no witness of its own log.
fn signers(note: &Checkpoint, mesh: &MeshId) -> Vec<(SiteId, u64)> {
    let signers = note.cosignatures().filter_map(|line| {
        let witness = Cosignature::site_of(line.name(), mesh)?;
        Some((witness, line.time()))
    });
    signers.collect()
}

fn fork(kept: &KeptFork) -> Option<Fork> {
    let proven = ForkProof::decode(&kept.text).and_then(|proof| proof.verify());
    let fork = proven.ok()?;
    Some(Fork {
        kind: fork.kind.as_str().to_owned(),
        at: fork.at,
        what: fork.to_string(),
        since: view::time(kept.at),
        proof: kept.name(),
    })
}
