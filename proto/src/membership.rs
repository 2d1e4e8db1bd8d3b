//! Who is in the mesh: a pure function of the set of membership records. PROTOCOL section 6.
//!
//! Any order of arrival gives the same state. Bodies are plain JSON with a member `act`:
//! `found {act, nonce, name}`, `admit {act, site, name, role, manifest}` (the admitted site's key manifest as a view, so that
//! everyone knows its keys at once), `remove {act, site, last_good, reason?}`, `role {act, site, role, from}`.
//!
//! Three steps, one file each: `act` reads bodies; `verify` finds what is authentic; `settle` decides
//! what counts where acts contradict each other, and its head states the rules.
//!
//! A removed site does not come back: it may join again as a new site. Its acts stay in the set, the void ones as well:
//! whether they are void depends on acts that may arrive later. So two nodes agree exactly if they hold the same set, and
//! [`Membership::digest`] tells whether they do; [`exchange`](Membership::lacking) is how they come to.
//!
//! What this module does not know: time (`iat` is only a late tie-break), the log tree, and who is connected.

mod act;
mod exchange;
mod settle;
mod verify;

use std::{borrow::Borrow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use self::settle::{Step, What};
pub use self::{act::Act, exchange::Held};
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
    /// Its newest libp2p identity.
    #[must_use]
    pub fn transport(&self) -> PeerKey {
        self.keys.current().transport
    }
}

/// A site that was put out.
#[derive(Debug, Clone)]
pub struct Removed {
    /// Size of its log up to which its acts and records count.
    pub last_good: u64,
    /// Whose removal counts; of several the earliest.
    pub by: SiteId,
    /// `iat` of that removal, for display.
    pub since: u64,
    /// Why, as its author says.
    pub reason: Option<String>,
    /// What it was; `None` if it was never let in.
    pub was: Option<Member>,
}

/// The state.
#[derive(Debug, Clone, Default)]
pub struct Membership {
    members: BTreeMap<SiteId, Member>,
    removed: BTreeMap<SiteId, Removed>,
    /// Keys of the founder and of every site that an authentic admission names, whether it counts or not.
    known: BTreeMap<SiteId, KeyHistory>,
    set: exchange::Acts,
}
impl Membership {
    /// Computes the state from views of `keys` and `membership` records in any order, verifying each from the founder outwards:
    /// the founder's manifest proves itself (its `iss` is its root key) and `found` hashes to `mesh`; each `admit` carries the next
    /// manifest; records of non-members, non-admins, or past a removal's `last_good` have no effect. Views that fail are
    /// returned with the reason, and never change anything.
    #[must_use]
    pub fn compute(mesh: &MeshId, records: &[View]) -> (Self, Vec<(usize, RecordError)>) {
        Self::default().next(mesh, records)
    }

    /// As [`Self::compute`], after this state: manifests that it knows are not checked again. The result is the same.
    #[must_use]
    pub fn next(&self, mesh: &MeshId, records: &[View]) -> (Self, Vec<(usize, RecordError)>) {
        let (verified, errors) = verify::verify(mesh, records, &self.known);
        (Self::settled(mesh, &verified, &self.known), errors)
    }

    /// As [`Self::compute`], from records that were verified before (their store says so).
    #[must_use]
    pub fn from_verified<R: Borrow<Verified>>(mesh: &MeshId, records: &[R]) -> Self {
        Self::settled(mesh, records, &verify::Known::new())
    }

    fn settled<R: Borrow<Verified>>(mesh: &MeshId, records: &[R], before: &verify::Known) -> Self {
        let records: Vec<&Verified> = records.iter().map(Borrow::borrow).collect();
        let set = Set::gather(mesh, &records, before);
        let Some((founder, name, founded, keys)) = set.founder(mesh, before) else {
            return Self::default();
        };
        let steps: Vec<Step> = set.acts.iter().map(|(step, _)| *step).collect();
        let settled = settle::settle(founder, founded, &steps);
        let mut known = BTreeMap::from([(founder, set.rotated(&founder, keys.clone()))]);
        for (step, brings) in &set.acts {
            if let Brings::Keys(_, keys) = brings {
                let site = step.target;
                known
                    .entry(site)
                    .or_insert_with(|| set.rotated(&site, (**keys).clone()));
            }
        }
        let mut everyone = BTreeMap::new();
        for (site, at) in &settled.tree {
            let (name, keys, admitted_by) = match at.admission.map(|i| &set.acts[i]) {
                None => (name.to_owned(), keys.clone(), None),
                Some((step, Brings::Keys(name, keys))) => {
                    (name.clone(), (**keys).clone(), Some(step.author))
                }
                Some(_) => continue,
            };
            let member = Member {
                site: *site,
                name,
                role: at.role,
                keys: set.rotated(site, keys),
                admitted_by,
                depth: at.depth,
                since: at.since,
            };
            known.insert(*site, member.keys.clone());
            everyone.insert(*site, member);
        }
        let mut removed = BTreeMap::new();
        for (site, last_good) in &settled.removed {
            let first = settled
                .counts
                .iter()
                .map(|i| &set.acts[*i])
                .filter(|(step, _)| {
                    step.target == *site && matches!(step.what, What::Remove { .. })
                })
                .min_by_key(|(step, _)| (step.iat, step.author, step.seq));
            let Some((step, brings)) = first else {
                continue;
            };
            let gone = Removed {
                last_good: *last_good,
                by: step.author,
                since: step.iat,
                reason: match brings {
                    Brings::Reason(reason) => Some(reason.clone()),
                    Brings::Nothing | Brings::Keys(..) => None,
                },
                was: everyone.remove(site),
            };
            removed.insert(*site, gone);
        }
        let edges = set.acts.iter().filter_map(|(step, _)| {
            matches!(step.what, What::Admit(_)).then_some((step.author, step.target))
        });
        Self {
            set: exchange::Acts::new(mesh, founder, edges, &records),
            members: everyone,
            removed,
            known,
        }
    }

    /// A member.
    #[must_use]
    pub fn member(&self, site: &SiteId) -> Option<&Member> {
        self.members.get(site)
    }

    /// All members by SiteId.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    /// The member whose transport key this is, or was before a rotation. If several claim it, the one longest in: a later
    /// member that copies a key into its manifest gains nothing by it.
    #[must_use]
    pub fn by_transport(&self, peer: &PeerKey) -> Option<&Member> {
        let members = self.members.values();
        let with_key = members.filter(|m| m.keys.transport_generation(peer).is_some());
        with_key.min_by_key(|m| (m.depth, m.since, m.site))
    }

    /// Sites that were put out.
    #[must_use]
    pub fn removed(&self) -> &BTreeMap<SiteId, Removed> {
        &self.removed
    }

    /// Keys by which records of `site` are checked: a member's, a removed site's, or those of a site whose admission does
    /// not count. That says who signed, not that it counts.
    #[must_use]
    pub fn keys_of(&self, site: &SiteId) -> Option<&KeyHistory> {
        self.known.get(site)
    }

    /// What `site` signed at this leaf does not count: it was put out before it, or never let in. `keys` and `membership`
    /// records are in the set all the same.
    #[must_use]
    pub fn voids(&self, site: &SiteId, seq: u64) -> bool {
        let gone = self.removed.get(site);
        !self.members.contains_key(site) && gone.is_none_or(|gone| seq >= gone.last_good)
    }

    /// Whether more of a log is wanted that is held up to `size`: a member's always, a removed site's up to the cut.
    #[must_use]
    pub fn follows(&self, site: &SiteId, size: u64) -> bool {
        !self.voids(site, size)
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
    /// All other acts, with what they say besides.
    acts: Vec<(Step, Brings)>,
}

/// What an act says besides what it does.
enum Brings {
    Nothing,
    /// Name and keys of the admitted site.
    Keys(String, Box<KeyHistory>),
    /// Why a site was removed.
    Reason(String),
}

impl<'a> Set<'a> {
    fn gather(mesh: &MeshId, records: &[&'a Verified], before: &verify::Known) -> Self {
        let mut set = Self {
            found: Vec::new(),
            manifests: BTreeMap::new(),
            rotations: BTreeMap::new(),
            acts: Vec::new(),
        };
        let sorted: BTreeMap<_, _> = records
            .iter()
            .map(|record| (place(record), *record))
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
                (Kind::Membership, _) if record.claims().mesh == Some(*mesh) => {
                    set.add(record, before);
                }
                _ => {}
            }
        }
        set
    }

    /// Adds an act. One that cannot be read, or whose manifest does not hold, has no effect.
    fn add(&mut self, record: &Verified, before: &verify::Known) {
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
            } => match verify::read_manifest(&manifest, before) {
                Ok((keys, _)) if keys.site() == site => {
                    (site, What::Admit(role), Brings::Keys(name, Box::new(keys)))
                }
                _ => return,
            },
            Act::Remove {
                site,
                last_good,
                reason,
            } => {
                let reason = reason.map_or(Brings::Nothing, Brings::Reason);
                (site, What::Remove { last_good }, reason)
            }
            Act::Role { site, role, from } => (site, What::Role { role, from }, Brings::Nothing),
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

    /// Keys with the site's rotations applied.
    fn rotated(&self, site: &SiteId, keys: KeyHistory) -> KeyHistory {
        let rotations = self.rotations.get(site).into_iter();
        verify::rotated(keys, rotations.flat_map(BTreeMap::values).copied())
    }

    /// Who founded `mesh`, under which name, when, with which keys.
    fn founder(
        &self,
        mesh: &MeshId,
        before: &verify::Known,
    ) -> Option<(SiteId, &str, u64, KeyHistory)> {
        let (site, founded, name, _) = self.found.iter().find(|(.., of)| of == mesh)?;
        let own = self.manifests.get(site).into_iter().flatten();
        let (keys, _) = own
            .filter_map(|m| verify::read_manifest(m.view(), before).ok())
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
