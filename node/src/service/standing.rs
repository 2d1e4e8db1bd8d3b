//! What is known against and between partners because of circles: ends of grants on both sides, and contradictions in feeds.

use std::collections::BTreeMap;

use fmesh_proto::{
    circle::Circle,
    id::{Digest, SiteId},
    kinds::{Attestation, Claim, Grant, Kind, OnEnd, Slot, Typed as _},
    membership::Membership,
    record::Parsed,
};

use super::{Error, Service, fields};
use crate::{
    api::view::{self, Confirmation, Contradiction, Deletion, EndedGrant, Standing},
    store::{Ending, LocalObject},
};

impl Service {
    /// How it stands with each partner with whom a grant has ended.
    pub(super) fn standings(
        &self,
        membership: &Membership,
        circles: &[Circle],
        objects: &[LocalObject],
    ) -> Result<BTreeMap<SiteId, Standing>, Error> {
        let mut standings: BTreeMap<SiteId, Standing> = BTreeMap::new();
        for deletion in self.deletions(membership, circles, objects)? {
            let standing = standings.entry(deletion.partner.site).or_default();
            standing.deletions.push(deletion);
        }
        for ending in self.node.store.endings()? {
            let standing = standings.entry(ending.issuer).or_default();
            standing.ended.push(ended(&ending));
        }
        for evidence in self.node.store.two_faced(None)? {
            let standing = standings.entry(evidence.issuer).or_default();
            standing.contradictions.push(Contradiction {
                circle: evidence.circle,
                feed_seq: evidence.feed_seq,
                leaves: evidence.leaves,
                since: view::time(evidence.at),
            });
        }
        for (site, forks) in self.forks_by_site()? {
            standings.entry(site).or_default().forks = forks;
        }
        let mut cosigned_us = self.cosigned_us()?;
        for member in membership.members() {
            let standing = standings.entry(member.site).or_default();
            standing.witnessed = self.witnessed(membership, &member.site)?;
            standing.cosigned_us = cosigned_us.remove(&member.site);
        }
        Ok(standings)
    }

    /// Grants of ours that ended with `delete`, the newest of each circle and partner.
    pub(super) fn deletions(
        &self,
        membership: &Membership,
        circles: &[Circle],
        objects: &[LocalObject],
    ) -> Result<Vec<Deletion>, Error> {
        let over = objects
            .iter()
            .filter(|object| object.kind == Kind::Grant && object.retired);
        let mut deletions = Vec::new();
        for object in over {
            let grant = Grant::read(&fields::held(&object.fields))?;
            let (Some(to), Some(circle)) = (grant.to.known(), grant.circle.known()) else {
                continue;
            };
            if grant.on_end != Slot::Known(OnEnd::Delete) {
                continue;
            }
            let issue = self.node.store.issue(&object.kind, &object.id)?;
            let confirmed = match issue.and_then(|issue| issue.core) {
                Some(core) => self.confirmation(to, &core)?,
                None => None,
            };
            let named = circles.iter().find(|c| c.id == *circle);
            deletions.push(Deletion {
                partner: self.site_name(membership, to),
                circle: *circle,
                circle_name: named.map(|circle| circle.name.clone()),
                asked: view::time(object.updated),
                confirmed,
            });
        }
        Ok(deletions)
    }

    /// The receipt of `from` for the end of a grant.
    fn confirmation(&self, from: &SiteId, end: &Digest) -> Result<Option<Confirmation>, Error> {
        for current in self.node.store.currents_of(from, &Kind::Attestation) {
            let (_, leaf) = current?;
            let Some((text, _)) = self.node.store.record(from, leaf)? else {
                continue;
            };
            let record = text.parse().map(Parsed::from_store)?;
            let Ok(said) = Attestation::read(record.fields()) else {
                continue;
            };
            let names = |targets: &Vec<Digest>| targets.contains(end);
            let is_it = said.claim == Slot::Known(Claim::Deleted)
                && said.subject == Slot::Known(self.node.site)
                && said.targets.known().is_some_and(names);
            if is_it {
                let result = said.result.known().cloned().unwrap_or_default();
                return Ok(Some(Confirmation {
                    at: view::time(record.claims().iat),
                    records: result.records,
                    feed_seq: result.feed_seq,
                    leaf,
                }));
            }
        }
        Ok(None)
    }
}

fn ended(ending: &Ending) -> EndedGrant {
    EndedGrant {
        circle: ending.circle,
        on_end: ending.on_end,
        since: view::time(ending.since),
        feed_seq: ending.position,
        deleted: ending.cleared,
        done: ending.next.is_none(),
    }
}
