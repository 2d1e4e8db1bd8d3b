//! Checkpoints as C2SP signed notes, cosignatures, and `.tlog-proof` files. PROTOCOL sections 4.2 and
//! 4.3, FORMATS sections 2, 3, 5.
//!
//! A checkpoint is a few lines of text (origin, size, root) with signature lines below. Its bytes are
//! kept and passed on as they came; nothing is ever re-encoded to be checked. [`Checkpoint`] is the
//! one form of note that the mesh knows, [`SignedNote`] the general form below it, with
//! [`VerifierKey`]s that other tools read and write, too.
//!
//! What parses here is well-formed, not true: `verify` says who signed. Nothing here knows which
//! keys to trust, or whether a root fits a tree.

mod cosignature;
mod proof_file;
mod signed;

pub use cosignature::Cosignature;
pub use proof_file::ProofFile;
pub use signed::{SignatureType, SignedNote, VerifierKey};

use crate::{
    id::{Digest, MeshId, SiteId},
    keys::{PublicKey, SigningKey},
    limits::TREE_SIZE_MAX,
    log::empty_root,
};
use signed::{decimal, from_base64, is_key_name, key_id, signature_line, to_base64};

/// Why a note is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Not a signed note, or stricter rules of ours broken.
    #[error("malformed note: {0}")]
    Malformed(String),
    /// A known key's signature fails, or no known key signed.
    #[error("no valid signature of {0}")]
    Signature(String),
}

fn malformed(what: impl Into<String>) -> NoteError {
    NoteError::Malformed(what.into())
}

/// Signed size and root of a log, in the bytes that were signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Digest,
    note: SignedNote,
}

impl Checkpoint {
    /// `fmesh/<MeshId>/<SiteId>`, full hex.
    #[must_use]
    pub fn origin_of(mesh: &MeshId, site: &SiteId) -> String {
        format!("fmesh/{}/{}", mesh.hex(), site.hex())
    }

    /// Signs with the log key under a key named like the origin.
    ///
    /// # Panics
    /// If `origin` cannot name a key or `size` is beyond 2^63-1: no log has such, see
    /// [`Self::origin_of`].
    #[must_use]
    pub fn sign(origin: &str, size: u64, root: Digest, key: &SigningKey) -> Self {
        let body = format!("{origin}\n{size}\n{}\n", to_base64(&root.0));
        let id = key_id(origin, SignatureType::Ed25519, &key.public());
        let line = signature_line(origin, &id, &key.sign(body.as_bytes()));
        Self::parse(format!("{body}\n{line}").as_bytes())
            .expect("origin, size and root are those of a log")
    }

    /// Parses without checking signatures (form only).
    pub fn parse(note: &[u8]) -> Result<Self, NoteError> {
        let note = SignedNote::parse(note)?;
        let mut lines = note.text().split_terminator('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(malformed(
                "a checkpoint has three lines: origin, size, root",
            ));
        };
        if !is_key_name(origin) || origin == cosignature::HEADER {
            return Err(malformed("the origin line cannot be the name of a log"));
        }
        let (origin, size) = (origin.to_owned(), tree_size(size)?);
        let root = digest(root)?;
        if size == 0 && root != empty_root() {
            return Err(malformed("size 0 with a root that is not the empty tree's"));
        }
        Ok(Self {
            origin,
            size,
            root,
            note,
        })
    }

    /// Checks the log signature (type 0x01, key named like the origin).
    pub fn verify(&self, log_key: &PublicKey) -> Result<(), NoteError> {
        let key = VerifierKey::new(&self.origin, SignatureType::Ed25519, *log_key)?;
        self.note.verify(&[key]).map(|_| ())
    }

    /// The cosignature that `witness` gave: `None` if it gave none, an error if it does not verify.
    pub fn cosignature_of(&self, witness: &VerifierKey) -> Result<Option<Cosignature>, NoteError> {
        Cosignature::find(self, witness)
    }

    /// The same checkpoint with one signature line more. Refused when the line is there already, or
    /// when the note would have more than [`crate::limits::NOTE_SIGNATURES_MAX`] lines.
    pub fn with_cosignature(&self, cosignature: &Cosignature) -> Result<Self, NoteError> {
        let note = [self.note(), cosignature.line().as_bytes()].concat();
        Self::parse(&note)
    }

    /// The same checkpoint with the log's own signature alone, by a key that signed it: what cosignatures are added to.
    pub fn bare(&self, log_key: &PublicKey) -> Result<Self, NoteError> {
        let key = VerifierKey::new(&self.origin, SignatureType::Ed25519, *log_key)?;
        let line = self.note.line_of(&key);
        let line = line.ok_or_else(|| NoteError::Signature(self.origin.clone()))?;
        let line = signature_line(&line.name, &line.key_id, &line.blob);
        Self::parse(format!("{}\n{line}", self.body()).as_bytes())
    }

    /// The cosignatures on it, in order. Form only: what [`Self::cosignature_of`] gives is checked.
    pub fn cosignatures(&self) -> impl Iterator<Item = Cosignature> {
        self.note.lines().filter_map(Cosignature::of_line)
    }

    /// Names on its signature lines, in order; whose they are, [`Self::cosignature_of`] tells.
    pub fn signers(&self) -> impl Iterator<Item = &str> {
        self.note.signers()
    }

    /// Origin line.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.root
    }

    /// What signatures cover: origin, size and root lines, each with its newline.
    #[must_use]
    pub fn body(&self) -> &str {
        self.note.text()
    }

    /// The whole note, verbatim.
    #[must_use]
    pub fn note(&self) -> &[u8] {
        self.note.bytes()
    }
}

/// The `name+hash+key` text form of a log's verifier key, for other tools.
#[must_use]
pub fn vkey(name: &str, key: &PublicKey) -> String {
    signed::vkey_text(name, SignatureType::Ed25519, key)
}

/// A digest as notes and fork proofs write it.
pub(crate) fn digest_text(digest: &Digest) -> String {
    to_base64(&digest.0)
}

/// Reads what [`digest_text`] writes, and no other spelling.
pub(crate) fn digest_line(text: &str) -> Result<Digest, NoteError> {
    digest(text)
}

/// Digits without leading zeros.
pub(crate) fn decimal_number(text: &str) -> Option<u64> {
    decimal(text)
}

fn tree_size(text: &str) -> Result<u64, NoteError> {
    decimal(text)
        .filter(|size| *size <= TREE_SIZE_MAX)
        .ok_or_else(|| {
            malformed(format!(
                "{text:?} is not a decimal number up to 2^63-1 without leading zeros"
            ))
        })
}

fn digest(text: &str) -> Result<Digest, NoteError> {
    from_base64(text)
        .and_then(|bytes| Digest::from_slice(&bytes))
        .ok_or_else(|| malformed(format!("{text:?} is not the base64 of 32 bytes")))
}

#[cfg(test)]
mod tests;
