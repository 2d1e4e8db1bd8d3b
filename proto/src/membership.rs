//! Who is in the mesh: a pure function of the set of membership records. PROTOCOL section 6.
//!
//! Any order of arrival gives the same state. Bodies are plain JSON with a member `act`:
//! `found {act, nonce, name}`, `admit {act, site, name, role, manifest}` (the admitted site's key manifest as a view, so that
//! everyone knows its keys at once), `remove {act, site, last_good, reason?}`, `role {act, site, role, from}`.
//!
//! Three steps, one file each: `act` reads bodies; `verify` finds what is authentic; `settle` decides
//! what counts where acts contradict each other, and its head states the rules.
//!
//! A removed site does not come back: it may join again as a new site. What this module does not know: time (`iat` is
//! only a late tie-break), the log tree, and who is connected.

mod act;
mod settle;
mod verify;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::act::Act;
use self::settle::{Settled, Step, What};
use crate::{
    id::{Digest, MeshId, PeerKey, SiteId},
    keys::KeyHistory,
    kinds::Kind,
    record::{RecordError, Verified, View},
};

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Admits and removes.
    Admin,
    /// Shares and reads.
    Member,
    /// Reads and verifies.
    Auditor,
}

/// A member as the set of records says.
#[derive(Debug, Clone)]
pub struct Member {
    /// Site.
    pub site: SiteId,
    /// Name it was admitted under.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Its keys: from the manifest in the `admit` (or the founder's own leaf 0), with later rotations applied.
    pub keys: KeyHistory,
    /// Who admitted it; `None` for the founder.
    pub admitted_by: Option<SiteId>,
    /// Steps from the founder in the tree of admissions.
    pub depth: u32,
    /// `iat` of the admission, for display.
    pub since: u64,
}
impl Member {
    /// Its libp2p identity.
    #[must_use]
    pub fn transport(&self) -> PeerKey {
        self.keys.current().transport
    }
}

/// The state.
#[derive(Debug, Clone, Default)]
pub struct Membership {
    members: BTreeMap<SiteId, Member>,
    removed: BTreeMap<SiteId, u64>,
}
impl Membership {
    /// Computes the state from views of `keys` and `membership` records in any order, verifying each from the founder outwards:
    /// the founder's manifest proves itself (its `iss` is its root key) and `found` hashes to `mesh`; each `admit` carries the next
    /// manifest; records of non-members, non-admins, or past a removal's `last_good` have no effect. Views that fail are
    /// returned with the reason, and never change anything.
    #[must_use]
    pub fn compute(mesh: &MeshId, records: &[View]) -> (Self, Vec<(usize, RecordError)>) {
        let (verified, errors) = verify::verify(mesh, records);
        (Self::from_verified(mesh, &verified), errors)
    }

    /// As [`Self::compute`], from records that were verified before (their store says so).
    #[must_use]
    pub fn from_verified(mesh: &MeshId, records: &[Verified]) -> Self {
        let set = Set::gather(mesh, records);
        let Some((founder, name, founded, keys)) = set.founder(mesh) else {
            return Self::default();
        };
        let steps: Vec<Step> = set.acts.iter().map(|(step, _)| *step).collect();
        let Settled { tree, removed, .. } = settle::settle(founder, founded, &steps);
        let mut members = BTreeMap::new();
        for (site, at) in tree
            .into_iter()
            .filter(|(site, _)| !removed.contains_key(site))
        {
            let (name, keys, admitted_by) = match at.admission.map(|i| &set.acts[i]) {
                None => (name.to_owned(), keys.clone(), None),
                Some((step, Some((name, keys)))) => (name.clone(), keys.clone(), Some(step.author)),
                Some((_, None)) => continue,
            };
            let keys = verify::rotated(
                keys,
                set.rotations
                    .get(&site)
                    .into_iter()
                    .flat_map(BTreeMap::values)
                    .copied(),
            );
            let (role, depth, since) = (at.role, at.depth, at.since);
            members.insert(
                site,
                Member {
                    site,
                    name,
                    role,
                    keys,
                    admitted_by,
                    depth,
                    since,
                },
            );
        }
        Self { members, removed }
    }

    /// A member.
    #[must_use]
    pub fn member(&self, site: &SiteId) -> Option<&Member> {
        self.members.get(site)
    }

    /// All members by SiteId.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// The member that speaks with this transport key. If several claim it, the one longest in: a later
    /// member that copies a key into its manifest gains nothing by it.
    #[must_use]
    pub fn by_transport(&self, peer: &PeerKey) -> Option<&Member> {
        let with_key = self.members.values().filter(|m| m.transport() == *peer);
        with_key.min_by_key(|m| (m.depth, m.since, m.site))
    }

    /// Removed sites with their `last_good`.
    #[must_use]
    pub fn removed(&self) -> &BTreeMap<SiteId, u64> {
        &self.removed
    }

    /// Number of admins.
    #[must_use]
    pub fn admins(&self) -> usize {
        self.members
            .values()
            .filter(|m| m.role == Role::Admin)
            .count()
    }
}

/// The authentic records as a set: sorted by author, place in its log and digest, each once.
struct Set<'a> {
    /// Foundings: author, `iat`, name, and the mesh they begin.
    found: Vec<(SiteId, u64, String, MeshId)>,
    /// First manifests, by site.
    manifests: BTreeMap<SiteId, Vec<&'a Verified>>,
    /// Further `keys` records by their place.
    rotations: BTreeMap<SiteId, BTreeMap<(u64, Digest), &'a Verified>>,
    /// All other acts; admissions with the name and keys that they bring.
    acts: Vec<(Step, Option<(String, KeyHistory)>)>,
}

impl<'a> Set<'a> {
    fn gather(mesh: &MeshId, records: &'a [Verified]) -> Self {
        let mut set = Self {
            found: Vec::new(),
            manifests: BTreeMap::new(),
            rotations: BTreeMap::new(),
            acts: Vec::new(),
        };
        let sorted: BTreeMap<_, _> = records
            .iter()
            .map(|record| (place(record), record))
            .collect();
        for ((site, seq, digest), record) in sorted {
            match (&record.claims().kind, seq) {
                (Kind::Keys, 0) => set.manifests.entry(site).or_default().push(record),
                (Kind::Keys, _) => {
                    set.rotations
                        .entry(site)
                        .or_default()
                        .insert((seq, digest), record);
                }
                (Kind::Membership, _) if record.claims().mesh == Some(*mesh) => set.add(record),
                _ => {}
            }
        }
        set
    }

    /// Adds an act. One that cannot be read, or whose manifest does not hold, has no effect.
    fn add(&mut self, record: &Verified) {
        let claims = record.claims();
        let Ok(act) = Act::of(record) else {
            return;
        };
        let (target, what, brings) = match act {
            Act::Found { nonce, name } => {
                let mesh = MeshId::found(&claims.iss, &nonce);
                self.found.push((claims.iss, claims.iat, name, mesh));
                return;
            }
            Act::Admit {
                site,
                name,
                role,
                manifest,
            } => match KeyHistory::from_manifest(&manifest) {
                Ok((keys, _)) if keys.site() == site => {
                    (site, What::Admit(role), Some((name, keys)))
                }
                _ => return,
            },
            Act::Remove {
                site, last_good, ..
            } => (site, What::Remove { last_good }, None),
            Act::Role { site, role, from } => (site, What::Role { role, from }, None),
        };
        let (author, seq, iat) = (claims.iss, claims.seq, claims.iat);
        self.acts.push((
            Step {
                author,
                seq,
                iat,
                target,
                what,
            },
            brings,
        ));
    }

    /// Who founded `mesh`, under which name, when, with which keys.
    fn founder(&self, mesh: &MeshId) -> Option<(SiteId, &str, u64, KeyHistory)> {
        let (site, founded, name, _) = self.found.iter().find(|(.., of)| of == mesh)?;
        let own = self.manifests.get(site).into_iter().flatten();
        let (keys, _) = own
            .filter_map(|m| KeyHistory::from_manifest(m.view()).ok())
            .next()?;
        Some((*site, name, *founded, keys))
    }
}

fn place(record: &Verified) -> (SiteId, u64, Digest) {
    (
        record.claims().iss,
        record.claims().seq,
        record.core_digest(),
    )
}

#[cfg(test)]
mod tests;
