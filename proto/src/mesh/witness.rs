//! Witnessing: members cosign the checkpoints of logs that they follow. PROTOCOL section 4.3, FORMATS sections 3 and 4.
//!
//! A cosignature says: at this time, this was a log that I had followed from its beginning to this size. Two rules make it
//! worth something. A witness signs only what its own durable frontier reached, and never a smaller size after a larger one; and
//! what it signed last is on its disk ([`Pledge`]) before the signature leaves, so that a crash cannot make it forget.
//! [`judge`] is the first rule. The second is the caller's: store, flush, then [`Pledge::cosign`].
//!
//! The site whose log it is collects cosignatures some time after its log grew (`collect`), and gossips the checkpoint
//! with them. Everybody checks every line ([`Cosigned::check`]) and keeps the newest version, and older ones at growing
//! intervals ([`redundant`]). Gossip is a hint here as well: how far logs are cosigned is compared with heads, and what is missing
//! is pulled (`compare`).
//!
//! What this does not know: disks, and which witnesses an auditor trusts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::follow::Head;
use crate::{
    audit::{fork::ForkProof, place::parts},
    id::{Digest, MeshId, SiteId},
    keys::{PublicKey, SigningKey},
    log::{Nodes, frontier_at},
    membership::Membership,
    note::{Checkpoint, Cosignature, NoteError, SignatureType, VerifierKey},
    record::View,
};

mod collect;
#[cfg(test)]
mod tests;

pub(super) use collect::Collecting;

/// What a witness said last about a log. It is on disk before the cosignature leaves, and binds the witness for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pledge {
    /// Leaves.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
    /// Time in the cosignature, unix seconds; never before that of the pledge before, whatever the clock says.
    pub time: u64,
}

impl Pledge {
    /// The cosignature that the pledge is for. Call it when the pledge is on disk. The same pledge gives the same bytes.
    ///
    /// # Errors
    /// If the pledge is for another checkpoint.
    pub fn cosign(
        &self,
        checkpoint: &Checkpoint,
        mesh: &MeshId,
        witness: &SiteId,
        key: &SigningKey,
    ) -> Result<Cosignature, NoteError> {
        if (checkpoint.size(), checkpoint.root()) != (self.size, self.root) {
            return Err(NoteError::Malformed(
                "the pledge is for another checkpoint".into(),
            ));
        }
        Cosignature::sign(
            checkpoint,
            &Cosignature::name_of(mesh, witness),
            self.time,
            key,
        )
    }
}

/// What a witness answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Store this, then cosign. It equals the last pledge if the same was asked before.
    Sign(Pledge),
    /// Our frontier is at this size and has not reached the checkpoint.
    NotYet(u64),
    /// A larger log was cosigned before, of this size.
    Larger(u64),
    /// The checkpoint excludes what we follow: the proof.
    Fork(Box<ForkProof>),
}

/// Whether to cosign a checkpoint whose log signature was checked. `head`, `nodes`: what we durably follow; `last`: our last pledge
/// for the log; `keys`: the site's `keys` records.
#[must_use]
pub fn judge(
    checkpoint: &Checkpoint,
    keys: &[View],
    head: Option<&Head>,
    nodes: &impl Nodes,
    last: Option<&Pledge>,
    now: u64,
) -> Judgement {
    let size = checkpoint.size();
    let Some(head) = head else {
        return Judgement::NotYet(0);
    };
    if size > head.checkpoint.size() || size == 0 {
        return Judgement::NotYet(head.checkpoint.size());
    }
    if let Some(proof) = contradiction(keys, checkpoint, head, nodes) {
        return Judgement::Fork(Box::new(proof));
    }
    // What cannot be compared is not cosigned.
    let same = match size == head.checkpoint.size() {
        true => head.checkpoint.root() == checkpoint.root(),
        false => frontier_at(nodes, size).is_some_and(|at| at.root() == checkpoint.root()),
    };
    match last {
        _ if !same => Judgement::NotYet(0),
        Some(last) if size < last.size => Judgement::Larger(last.size),
        Some(last) if size == last.size && checkpoint.root() == last.root => Judgement::Sign(*last),
        Some(last) if size == last.size => Judgement::NotYet(0),
        last => Judgement::Sign(Pledge {
            size,
            root: checkpoint.root(),
            time: now.max(last.map_or(0, |last| last.time)),
        }),
    }
}

/// The proof that a signed checkpoint excludes the log that we follow: another root at its size. `None` if it does not, or if
/// it is ahead of us.
#[must_use]
pub fn contradiction(
    keys: &[View],
    checkpoint: &Checkpoint,
    head: &Head,
    nodes: &impl Nodes,
) -> Option<ForkProof> {
    let held = &head.checkpoint;
    let proof = match checkpoint.size().cmp(&held.size()) {
        std::cmp::Ordering::Greater => None,
        std::cmp::Ordering::Equal => {
            (checkpoint.root() != held.root()).then(|| ForkProof::same_size(keys, held, checkpoint))
        }
        std::cmp::Ordering::Less => (frontier_at(nodes, checkpoint.size())?.root()
            != checkpoint.root())
        .then(|| ForkProof::prefix(keys, checkpoint, held, nodes))
        .flatten(),
    };
    // Nobody is accused by what would not convince a stranger.
    proof.filter(|proof| proof.verify().is_ok())
}

/// A checkpoint with the cosignatures of members, every one checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// Whose log.
    pub site: SiteId,
    /// The note. Lines that could not be checked are left out.
    pub checkpoint: Checkpoint,
    /// Who cosigned, and when by their clocks.
    pub by: Vec<(SiteId, u64)>,
    /// Lines that were left out: of strangers, of the site itself, twice by one key.
    pub dropped: usize,
}

impl Cosigned {
    /// Checks a note: the log's signature, and every line of a site whose keys are known. A line of such a site that does not verify
    /// refuses the whole, and so does a stranger's log or another mesh's.
    ///
    /// # Errors
    /// In words.
    pub fn check(note: &[u8], mesh: &MeshId, membership: &Membership) -> Result<Self, NoteError> {
        let checkpoint = Checkpoint::parse(note)?;
        let site = parts(checkpoint.origin()).filter(|(of, _)| of == mesh);
        let site = site
            .ok_or_else(|| NoteError::Malformed("no log of this mesh".into()))?
            .1;
        let keys = membership
            .keys_of(&site)
            .ok_or_else(|| NoteError::Malformed("a stranger's log".into()))?;
        let log_key = keys.current().log;
        checkpoint.verify(&log_key)?;
        // One key is one witness, whatever names it has; the site is none for itself.
        let mut seen: BTreeSet<[u8; 32]> = keys.all().map(|set| *set.witness.as_bytes()).collect();
        let (mut by, mut lines) = (Vec::new(), Vec::new());
        let names: BTreeSet<&str> = checkpoint.signers().collect();
        for name in names {
            let witness = Cosignature::site_of(name, mesh);
            let Some((witness, keys)) =
                witness.and_then(|site| Some((site, membership.keys_of(&site)?)))
            else {
                continue;
            };
            // One site is one witness, whatever keys it had: the newest that signed counts.
            let mut newest = None;
            for set in keys.all() {
                let found = checkpoint.cosignature_of(&key_of(name, set.witness)?)?;
                newest = found.map(|found| (set.witness, found)).or(newest);
            }
            if let Some((key, found)) = newest
                && seen.insert(*key.as_bytes())
            {
                by.push((witness, found.time()));
                lines.push(found);
            }
        }
        let dropped = (checkpoint.signers().count() - 1).saturating_sub(by.len());
        Ok(Self {
            site,
            checkpoint: match dropped {
                0 => checkpoint,
                _ => lines
                    .iter()
                    .try_fold(checkpoint.bare(&log_key)?, |note, line| {
                        note.with_cosignature(line)
                    })?,
            },
            by,
            dropped,
        })
    }

    /// Of two versions the one with the larger version counts: more leaves, then more cosignatures.
    #[must_use]
    pub fn version(&self) -> (u64, u32) {
        (self.checkpoint.size(), lines(self.by.len()))
    }
}

fn lines(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The key that a line of this name is checked with.
fn key_of(name: &str, key: PublicKey) -> Result<VerifierKey, NoteError> {
    VerifierKey::new(name, SignatureType::Cosignature, key)
}

/// Which of the cosigned checkpoints of one log can go. `history`: (size, time at which it came here), ascending by size.
///
/// The rule: a checkpoint goes if the age of its older neighbour is at most twice the age of its newer one, ages counted with a
/// minute more. So of what was cosigned at some time, something at least half as old stays, and "seen no later than" stays
/// true within a factor of two of a record's age, for ever. Among the ones that stay, ages double at every second
/// step: some 60 for a century, at most [`HISTORY_MAX`] whatever the clock does. The newest and the oldest stay.
#[must_use]
pub fn redundant(history: &[(u64, u64)], now: u64) -> Vec<u64> {
    // A clock that was set back does not make the past younger.
    let mut latest = 0;
    let arrived: Vec<(u64, u64)> = history
        .iter()
        .map(|(size, at)| {
            latest = latest.max(*at);
            (*size, latest)
        })
        .collect();
    let age = |at: u64| now.saturating_sub(at).saturating_add(AGE_OFFSET_SECONDS);
    let mut gone = Vec::new();
    let mut newer: Option<u64> = None;
    for (place, (size, at)) in arrived.iter().enumerate().rev() {
        let older = place.checked_sub(1).map(|before| arrived[before].1);
        match (older, newer) {
            (Some(older), Some(newer)) if age(older) <= age(newer).saturating_mul(2) => {
                gone.push(*size);
            }
            _ => newer = Some(*at),
        }
    }
    gone
}

/// Added to every age, so that the last minute is not kept second by second.
const AGE_OFFSET_SECONDS: u64 = 60;
/// Most cosigned checkpoints that are kept of one log: ages of 64 bits double every second step.
pub const HISTORY_MAX: usize = 2 * 64 + 2;
