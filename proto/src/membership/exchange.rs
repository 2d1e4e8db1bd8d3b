//! How two nodes come to hold the same set of acts.
//!
//! The state is a function of the set, so a node asks one thing of another: are our sets equal? If not, it tells what it
//! holds, author by author, as a size and a digest; whoever is asked gives what is missing. An author's acts are a sequence in
//! its log, so what is missing is nearly always the end of it; where the digests of the common part differ, all
//! of that author's acts are given.
//!
//! Acts go out in an order in which each can be checked as it comes: founder first, then those whom its acts admit, and so
//! on, as an admission carries the keys of the admitted. Manifests (leaf 0) are not part of the exchange.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Membership;
use crate::{
    id::{Digest, MeshId, SiteId},
    kinds::Kind,
    record::Verified,
};

/// What somebody holds of one author's acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The author.
    pub site: SiteId,
    /// Leaf of the last one, plus one.
    pub size: u64,
    /// Over all of them.
    pub digest: Digest,
}

/// The acts and key rotations of the set: by author, (leaf, digest of the core) in order.
#[derive(Debug, Clone)]
pub(super) struct Acts {
    of: BTreeMap<SiteId, Vec<(u64, Digest)>>,
    /// Authors, founder outwards.
    order: Vec<SiteId>,
    digest: Digest,
}

impl Default for Acts {
    fn default() -> Self {
        Self {
            of: BTreeMap::new(),
            order: Vec::new(),
            digest: Digest::of(&[]),
        }
    }
}

impl Acts {
    /// `admits`: (author, target) of authentic admissions. Only what sites signed that these reach is in the set: nobody
    /// could check anything else.
    pub(super) fn new(
        mesh: &MeshId,
        founder: SiteId,
        admits: impl Iterator<Item = (SiteId, SiteId)>,
        records: &[&Verified],
    ) -> Self {
        let order = outwards(founder, admits);
        let reached: BTreeSet<&SiteId> = order.iter().collect();
        let mut of: BTreeMap<SiteId, Vec<(u64, Digest)>> = BTreeMap::new();
        for record in records {
            let claims = record.claims();
            let belongs = match claims.kind {
                Kind::Membership => claims.mesh == Some(*mesh),
                Kind::Keys => claims.seq > 0,
                _ => false,
            };
            if belongs && reached.contains(&claims.iss) {
                let acts = of.entry(claims.iss).or_default();
                acts.push((claims.seq, record.core_digest()));
            }
        }
        let mut bytes = b"fmesh/membership/v1\n".to_vec();
        for (site, acts) in &mut of {
            acts.sort_unstable();
            acts.dedup();
            bytes.extend_from_slice(site.as_bytes());
            bytes.extend_from_slice(digest(acts).as_bytes());
        }
        Self {
            digest: Digest::of(&bytes),
            of,
            order,
        }
    }
}

impl Membership {
    /// Names the set of acts that this state follows from: equal digests, equal states.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.set.digest
    }

    /// What is held, to tell whoever may have more.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        let held = |(site, acts): (&SiteId, &Vec<(u64, Digest)>)| Held {
            site: *site,
            size: acts.last().map_or(0, |(seq, _)| seq.saturating_add(1)),
            digest: digest(acts),
        };
        self.set.of.iter().map(held).collect()
    }

    /// Author and leaf of every act that somebody who holds this much lacks, in an order in which each can be checked. `after`:
    /// the last one that was given before.
    #[must_use]
    pub fn lacking(&self, held: &[Held], after: Option<(SiteId, u64)>) -> Vec<(SiteId, u64)> {
        let theirs: BTreeMap<SiteId, &Held> = held.iter().map(|held| (held.site, held)).collect();
        let mut lacking = Vec::new();
        let order = &self.set.order;
        let given = after.and_then(|(site, seq)| {
            let at = order.iter().position(|known| *known == site)?;
            Some((at, seq))
        });
        for (at, site) in order.iter().enumerate() {
            let Some(acts) = self.set.of.get(site) else {
                continue;
            };
            let common = theirs.get(site).map_or(0, |held| {
                let common = acts.partition_point(|(seq, _)| *seq < held.size);
                match digest(&acts[..common]) == held.digest {
                    true => common,
                    false => 0,
                }
            });
            let acts = acts[common..].iter().map(|(seq, _)| *seq);
            let fresh = acts.filter(|seq| given.is_none_or(|given| (at, *seq) > given));
            lacking.extend(fresh.map(|seq| (*site, seq)));
        }
        lacking
    }

    /// How many acts of an author are in the set.
    #[must_use]
    pub fn acts_of(&self, site: &SiteId) -> usize {
        self.set.of.get(site).map_or(0, Vec::len)
    }
}

fn digest(acts: &[(u64, Digest)]) -> Digest {
    let mut bytes = Vec::with_capacity(acts.len() * 40);
    for (seq, core) in acts {
        bytes.extend_from_slice(&seq.to_be_bytes());
        bytes.extend_from_slice(core.as_bytes());
    }
    Digest::of(&bytes)
}

/// Everybody who was ever admitted, each after one who admitted it.
fn outwards(founder: SiteId, admits: impl Iterator<Item = (SiteId, SiteId)>) -> Vec<SiteId> {
    let mut by: BTreeMap<SiteId, BTreeSet<SiteId>> = BTreeMap::new();
    for (author, target) in admits {
        by.entry(author).or_default().insert(target);
    }
    let (mut order, mut seen) = (Vec::new(), BTreeSet::from([founder]));
    let mut open = VecDeque::from([founder]);
    while let Some(site) = open.pop_front() {
        order.push(site);
        let next = by.get(&site).into_iter().flatten();
        open.extend(next.filter(|target| seen.insert(**target)));
    }
    order
}
