//! Fork proofs: self-contained evidence that a site, or a witness, said two things that exclude each other.
//! PROTOCOL section 4.4, FORMATS section 11.
//!
//! A proof is a short text with the two signed objects in it, verbatim, and the key records that say whose
//! signatures they are. [`ForkProof::verify`] needs nothing else: no mesh, no log, no trust. Whoever can check
//! SHA-256 and Ed25519 can check it, for ever. What it accuses is a key's owner; a site that was restored from an
//! old backup and one that lies look the same, and every text says so.
//!
//! The same object twice is never a fork: every kind wants two different texts where there can be but one.

use std::fmt;

use serde::Serialize;

use crate::{
    id::{Digest, SiteId},
    keys::{KeyHistory, PublicKey},
    limits::{CHECKPOINT_BYTES_MAX, KEYS_RECORDS_MAX, PROOF_HASHES_MAX, VIEW_BYTES_MAX},
    log::{Nodes, prove_consistency, prove_inclusion, verify_consistency, verify_inclusion},
    note::{Checkpoint, NoteError, VerifierKey},
    record::{RecordError, Verified, View},
};

use super::place::parts;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod samples;
mod text;

/// The forms of a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForkKind {
    /// Two checkpoints of one log and size with different roots.
    SameSize,
    /// A smaller checkpoint that is no beginning of a larger one.
    Prefix,
    /// Two cores for one leaf.
    Seq,
    /// Two cores for one position of one circle's feed.
    Feed,
    /// A core, and a proof that the log has another leaf in its place.
    Leaf,
    /// A witness cosigned two checkpoints of one size with different roots.
    WitnessSplit,
    /// A witness cosigned a smaller checkpoint after a larger one.
    WitnessRegress,
}

impl ForkKind {
    const ALL: [Self; 7] = [
        Self::SameSize,
        Self::Prefix,
        Self::Seq,
        Self::Feed,
        Self::Leaf,
        Self::WitnessSplit,
        Self::WitnessRegress,
    ];

    /// As the text names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SameSize => "same-size",
            Self::Prefix => "prefix",
            Self::Seq => "seq",
            Self::Feed => "feed",
            Self::Leaf => "leaf",
            Self::WitnessSplit => "witness-split",
            Self::WitnessRegress => "witness-regress",
        }
    }
}

/// Why a text proves no fork.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForkError {
    /// Not a fork proof, or cut off.
    #[error("not a fork proof: {0}")]
    Malformed(String),
    /// One of its checkpoints.
    #[error("a checkpoint in it does not hold: {0}")]
    Checkpoint(#[from] NoteError),
    /// One of its records.
    #[error("a record in it does not hold: {0}")]
    Record(#[from] RecordError),
    /// Everything holds, but nothing excludes the other.
    #[error("it proves nothing: {0}")]
    NoFork(String),
}

/// A fork proof as a text says it; [`Self::verify`] tells whether it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkProof {
    kind: ForkKind,
    /// Verifier key of the accused witness.
    witness: Option<VerifierKey>,
    /// Root of the larger log at the smaller size, or the other leaf.
    digest: Option<Digest>,
    hashes: Vec<Digest>,
    /// Views of the site's `keys` records, in order.
    keys: Vec<String>,
    a: String,
    b: String,
}

/// What a fork proof shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fork {
    /// In which form.
    pub kind: ForkKind,
    /// The site that is bound to both statements; `None` if only a witness key is.
    pub site: Option<SiteId>,
    /// The witness key, as name and key, for the two witness kinds.
    pub witness: Option<String>,
    /// Name of the log.
    pub origin: String,
    /// From which leaf, size or position on there are two histories.
    pub at: u64,
}

impl fmt::Display for Fork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match (&self.witness, &self.site) {
            (Some(witness), _) => {
                format!("witness {}", witness.split('+').next().unwrap_or(witness))
            }
            (None, Some(site)) => format!("site {}", site.hex()),
            (None, None) => "somebody".to_owned(),
        };
        let at = self.at;
        match self.kind {
            ForkKind::SameSize => write!(f, "{who} signed two different logs with {at} leaves"),
            ForkKind::Prefix => write!(
                f,
                "{who} signed a log with {at} leaves that its later log does not begin with"
            ),
            ForkKind::Seq => write!(f, "{who} signed two different records for leaf {at}"),
            ForkKind::Feed => write!(
                f,
                "{who} signed two different records for position {at} of one feed"
            ),
            ForkKind::Leaf => write!(
                f,
                "{who} signed a record for leaf {at}, and a log with another leaf there"
            ),
            ForkKind::WitnessSplit => {
                write!(f, "{who} cosigned two different logs with {at} leaves")
            }
            ForkKind::WitnessRegress => write!(
                f,
                "{who} cosigned a log with {at} leaves after it had cosigned a larger one"
            ),
        }?;
        f.write_str(" (a restored backup and a lie look the same)")
    }
}

impl ForkProof {
    /// Longest text that is read, in bytes: the longest of each object.
    pub const BYTES_MAX: usize =
        (KEYS_RECORDS_MAX + 2) * VIEW_BYTES_MAX + 2 * CHECKPOINT_BYTES_MAX + 64 * PROOF_HASHES_MAX;

    /// Two checkpoints of one size.
    #[must_use]
    pub fn same_size(keys: &[View], a: &Checkpoint, b: &Checkpoint) -> Self {
        Self::new(ForkKind::SameSize, keys, note(a), note(b))
    }

    /// A smaller checkpoint `a` against a larger one `b`, of whose log `nodes` are known. `None` if they do not
    /// reach for the proof.
    #[must_use]
    pub fn prefix(
        keys: &[View],
        a: &Checkpoint,
        b: &Checkpoint,
        nodes: &impl Nodes,
    ) -> Option<Self> {
        let hashes = prove_consistency(nodes, a.size(), b.size())?;
        let root = crate::log::frontier_at(nodes, a.size())?.root();
        Some(Self {
            digest: Some(root),
            hashes,
            ..Self::new(ForkKind::Prefix, keys, note(a), note(b))
        })
    }

    /// Two cores for one leaf.
    #[must_use]
    pub fn seq(keys: &[View], a: &View, b: &View) -> Self {
        let bare = |view: &View| format!("{}~", view.core());
        Self::new(ForkKind::Seq, keys, bare(a), bare(b))
    }

    /// Two records for one feed position, each with its feed disclosures. What else the views show stays out of it.
    /// `None` if their disclosures are not theirs.
    #[must_use]
    pub fn feed(keys: &[View], a: &View, b: &View) -> Option<Self> {
        let bare = |view: &View| Some(view.feeds_only().ok()?.encode());
        Some(Self::new(ForkKind::Feed, keys, bare(a)?, bare(b)?))
    }

    /// A core against the leaf that stands in its place in the log of `checkpoint`.
    #[must_use]
    pub fn leaf(
        keys: &[View],
        core: &View,
        index: u64,
        checkpoint: &Checkpoint,
        nodes: &impl Nodes,
    ) -> Option<Self> {
        let hashes = prove_inclusion(nodes, index, checkpoint.size())?;
        let core = format!("{}~", core.core());
        Some(Self {
            digest: Some(nodes.node(0, index)?),
            hashes,
            ..Self::new(ForkKind::Leaf, keys, core, note(checkpoint))
        })
    }

    /// Two checkpoints that one witness cosigned: a split if they have one size, else a regress. `keys` are
    /// those of the witness's site, and may be empty.
    #[must_use]
    pub fn witness(keys: &[View], witness: &VerifierKey, a: &Checkpoint, b: &Checkpoint) -> Self {
        let kind = if a.size() == b.size() {
            ForkKind::WitnessSplit
        } else {
            ForkKind::WitnessRegress
        };
        let (larger, smaller) = if a.size() > b.size() { (a, b) } else { (b, a) };
        Self {
            witness: Some(witness.clone()),
            ..Self::new(kind, keys, note(larger), note(smaller))
        }
    }

    fn new(kind: ForkKind, keys: &[View], a: String, b: String) -> Self {
        Self {
            kind,
            witness: None,
            digest: None,
            hashes: Vec::new(),
            keys: keys.iter().map(View::encode).collect(),
            a,
            b,
        }
    }

    /// In which form.
    #[must_use]
    pub fn kind(&self) -> ForkKind {
        self.kind
    }

    /// Checks every signature and every hash; says who is bound to both objects.
    pub fn verify(&self) -> Result<Fork, ForkError> {
        let fork = |site, origin: &str, at| Fork {
            kind: self.kind,
            site,
            witness: self.witness.as_ref().map(ToString::to_string),
            origin: origin.to_owned(),
            at,
        };
        match self.kind {
            ForkKind::SameSize | ForkKind::Prefix => {
                let keys = self.history()?;
                let (a, b) = (
                    self.log_note(&self.a, &keys)?,
                    self.log_note(&self.b, &keys)?,
                );
                same_origin(&a, &b)?;
                match self.kind {
                    ForkKind::Prefix => self.no_prefix(&a, &b)?,
                    _ => split(&a, &b)?,
                }
                Ok(fork(Some(keys.site()), a.origin(), a.size()))
            }
            ForkKind::Seq | ForkKind::Feed => {
                let keys = self.history()?;
                let (a, b) = (signed(&keys, &self.a)?, signed(&keys, &self.b)?);
                let (at_a, at_b) = (a.claims(), b.claims());
                if a.view().core() == b.view().core() {
                    return Err(none("both records are the same"));
                }
                if at_a.mesh != at_b.mesh || at_a.log != at_b.log {
                    return Err(none("the records are of two logs"));
                }
                let at = match self.kind {
                    ForkKind::Seq if at_a.seq == at_b.seq => at_a.seq,
                    ForkKind::Seq => return Err(none("the records are different leaves")),
                    _ => *a
                        .feeds()
                        .iter()
                        .find(|feed| b.feeds().contains(feed))
                        .map(|(_, position)| position)
                        .ok_or_else(|| none("the records share no feed position"))?,
                };
                let origin = at_a
                    .mesh
                    .map(|mesh| Checkpoint::origin_of(&mesh, &at_a.iss));
                Ok(fork(
                    Some(keys.site()),
                    &origin.unwrap_or_else(|| at_a.iss.hex()),
                    at,
                ))
            }
            ForkKind::Leaf => {
                let keys = self.history()?;
                let (core, log) = (signed(&keys, &self.a)?, self.log_note(&self.b, &keys)?);
                let leaf = self.digest.ok_or_else(|| malformed("no leaf line"))?;
                let claims = core.claims();
                let (mesh, _) = parts(log.origin()).ok_or_else(|| malformed("origin"))?;
                if claims.mesh.is_some_and(|of| of != mesh) {
                    return Err(none("the record is of another log"));
                }
                if leaf == core.leaf_hash() {
                    return Err(none("the log has this very record there"));
                }
                verify_inclusion(claims.seq, log.size(), &leaf, &self.hashes, &log.root())
                    .map_err(|why| none(&format!("the other leaf is not in the log: {why}")))?;
                Ok(fork(Some(keys.site()), log.origin(), claims.seq))
            }
            ForkKind::WitnessSplit | ForkKind::WitnessRegress => {
                let (a, b) = (
                    Checkpoint::parse(self.a.as_bytes())?,
                    Checkpoint::parse(self.b.as_bytes())?,
                );
                same_origin(&a, &b)?;
                let (at_a, at_b) = (self.cosigned(&a)?, self.cosigned(&b)?);
                if self.kind == ForkKind::WitnessSplit {
                    split(&a, &b)?;
                } else if a.size() <= b.size() || at_a >= at_b {
                    return Err(none(
                        "the witness did not cosign a smaller checkpoint after a larger one",
                    ));
                }
                Ok(fork(self.witness_site()?, a.origin(), b.size()))
            }
        }
    }

    /// The accused site's keys.
    fn history(&self) -> Result<KeyHistory, ForkError> {
        let mut views = self.keys.iter().map(|text| View::decode(text.as_bytes()));
        let manifest = views
            .next()
            .ok_or_else(|| malformed("no key manifest in it"))??;
        let (mut keys, _) = KeyHistory::from_manifest(&manifest)?;
        for view in views {
            let rotation = keys.verify(view?)?;
            keys.rotate(&rotation)?;
        }
        Ok(keys)
    }

    fn log_note(&self, text: &str, keys: &KeyHistory) -> Result<Checkpoint, ForkError> {
        let checkpoint = Checkpoint::parse(text.as_bytes())?;
        if parts(checkpoint.origin()).map(|(_, site)| site) != Some(keys.site()) {
            return Err(none("a checkpoint is of another site's log"));
        }
        checkpoint.verify(&keys.current().log)?;
        Ok(checkpoint)
    }

    fn no_prefix(&self, a: &Checkpoint, b: &Checkpoint) -> Result<(), ForkError> {
        let root = self
            .digest
            .ok_or_else(|| malformed("no prefix-root line"))?;
        if a.size() >= b.size() {
            return Err(none("the first checkpoint is not the smaller one"));
        }
        verify_consistency(a.size(), b.size(), &self.hashes, &root, &b.root())
            .map_err(|why| none(&format!("the consistency proof does not hold: {why}")))?;
        if root == a.root() {
            return Err(none("the larger log begins with the smaller one"));
        }
        Ok(())
    }

    fn cosigned(&self, checkpoint: &Checkpoint) -> Result<u64, ForkError> {
        let witness = self.witness.as_ref();
        let witness = witness.ok_or_else(|| malformed("no witness line"))?;
        let cosignature = checkpoint.cosignature_of(witness)?;
        Ok(cosignature
            .ok_or_else(|| none("the witness did not cosign both checkpoints"))?
            .time())
    }

    fn witness_site(&self) -> Result<Option<SiteId>, ForkError> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let keys = self.history()?;
        let named = self.witness.as_ref().map(VerifierKey::key);
        let listed = |key: &PublicKey| keys.all().any(|set| set.witness == *key);
        if !named.is_some_and(listed) {
            return Err(none("the witness key is not that of the key records in it"));
        }
        Ok(Some(keys.site()))
    }
}

/// A record by the key that counts at its leaf. Its slots do not matter here, so the kind's rules do not either.
fn signed(keys: &KeyHistory, text: &str) -> Result<Verified, ForkError> {
    let view = View::decode(text.as_bytes())?;
    match keys.verify(view.clone()) {
        // The author is bound by its signature, also to a record that breaks the rules of its kind.
        Err(RecordError::Rule { .. }) => {
            let bare = View::decode(format!("{}~", view.core()).as_bytes())?;
            Ok(keys.verify(bare)?)
        }
        other => Ok(other?),
    }
}

fn same_origin(a: &Checkpoint, b: &Checkpoint) -> Result<(), ForkError> {
    if a.origin() == b.origin() {
        Ok(())
    } else {
        Err(none("the checkpoints are of two logs"))
    }
}

fn split(a: &Checkpoint, b: &Checkpoint) -> Result<(), ForkError> {
    if a.size() == b.size() && a.root() != b.root() {
        Ok(())
    } else {
        Err(none("the checkpoints do not differ at one size"))
    }
}

fn note(checkpoint: &Checkpoint) -> String {
    String::from_utf8_lossy(checkpoint.note()).into_owned()
}

fn none(what: &str) -> ForkError {
    ForkError::NoFork(what.to_owned())
}

fn malformed(what: impl Into<String>) -> ForkError {
    ForkError::Malformed(what.into())
}

#[cfg(test)]
mod tests;
