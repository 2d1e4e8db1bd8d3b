//! The gossip message: a step of one site's log that anyone can check without state. PROTOCOL section 5.2.
//!
//! [`Publication::decode`] takes anyone's bytes and proves form only; it accepts exactly one encoding
//! of a publication. [`Publication::check`] proves that the author's log grew by these leaves: frontier
//! and leaf hashes give the signed root. It does not read boxes and does not verify plain records'
//! signatures; readers do both.
//!
//! # What a relay could change
//!
//! The log signature covers site, mesh, leaf range, frontier and leaf hashes; a second signature of the log
//! key covers the plain records with their disclosures. Neither covers the boxes. So a member that relays could
//!
//! - alter a box or give it another circle or epoch: it does not open, and the reader pulls the feed;
//! - drop or empty a box, or drop all plain records together: the reader's `feed_seq` shows a hole, or stays behind
//!   the author's feed head, and the reader pulls the feed;
//! - add a box: it does not open, as its maker lacks the key, or is a member of that circle, and then the
//!   records inside must still be signed by the author and be leaves of this range.
//!
//! Without the second signature, whoever relays could strip disclosures of a plain record, and its slots would look withheld
//! with no gap that tells of it.
//!
//! None of it makes a false record true, and all of it heals from the author's feed.

use prost::Message as _;

use crate::{
    id::{CircleId, Digest, MeshId, SiteId},
    keys::{PublicKey, SigningKey},
    limits::{
        CHECKPOINT_BYTES_MAX, PUBLICATION_BOXES_MAX, PUBLICATION_BYTES_MAX,
        PUBLICATION_CONTENT_BYTES_MAX, PUBLICATION_LEAVES_MAX,
    },
    log::{Frontier, LogError},
    note::{Checkpoint, NoteError},
    record::{RecordError, View},
    wire,
};

/// Why a publication is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicationError {
    /// Not protobuf, over a limit, wrong lengths.
    #[error("malformed publication: {0}")]
    Malformed(String),
    /// The checkpoint.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Frontier and leaf hashes do not give the signed root.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A plain record.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Decoded and bounded; nothing is proven yet.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Author.
    pub site: SiteId,
    /// Checkpoint after the last leaf.
    pub checkpoint: Checkpoint,
    /// Tree before the first leaf.
    pub frontier: Frontier,
    /// The new leaves.
    pub leaf_hashes: Vec<Digest>,
    /// Mesh-wide records, by seq.
    pub plain: Vec<View>,
    /// Boxes, by circle.
    pub sealed: Vec<wire::Sealed>,
    plain_signature: Option<[u8; 64]>,
    bytes: Vec<u8>,
}

impl Publication {
    /// Decodes anyone's bytes (an encoded `wire::Publication`). Refuses: over limits, size != from + leaves, zero leaves, origin that names another
    /// site, trailing or unknown fields that would make two encodings of one publication.
    pub fn decode(bytes: &[u8]) -> Result<Self, PublicationError> {
        if bytes.len() > PUBLICATION_BYTES_MAX {
            return malformed(format!(
                "{} bytes, at most {PUBLICATION_BYTES_MAX}",
                bytes.len()
            ));
        }
        let Ok(message) = wire::Publication::decode(bytes) else {
            return malformed("not the message Publication");
        };
        if message.encode_to_vec() != bytes {
            return malformed("not in its one encoding");
        }
        let Some(site) = SiteId::from_slice(&message.site) else {
            return malformed("site is not 32 bytes");
        };
        if message.checkpoint.len() > CHECKPOINT_BYTES_MAX {
            return malformed("checkpoint is over the limit");
        }
        let checkpoint = Checkpoint::parse(&message.checkpoint)?;
        if !names(checkpoint.origin(), &site) {
            return malformed("the checkpoint is not of this site's log");
        }
        let leaf_hashes = leaves(&message, checkpoint.size())?;
        let frontier = Frontier::from_parts(message.from, digests(&message.frontier, "frontier")?)?;
        content(&message)?;
        boxes(&message.sealed)?;
        let plain = message
            .plain
            .iter()
            .map(|text| View::decode(text))
            .collect::<Result<_, _>>()?;
        let plain_signature = match (message.plain.is_empty(), &message.plain_signature[..]) {
            (true, []) => None,
            (false, signature) => match signature.try_into() {
                Ok(signature) => Some(signature),
                Err(_) => return malformed("the signature of plain records is not 64 bytes"),
            },
            (true, _) => return malformed("a signature of plain records without any"),
        };
        let sealed = message.sealed;
        Ok(Self {
            plain_signature,
            site,
            checkpoint,
            frontier,
            leaf_hashes,
            plain,
            sealed,
            bytes: bytes.to_vec(),
        })
    }

    /// Builds and encodes. Boxes that would exceed [`crate::limits::PUBLICATION_CONTENT_BYTES_MAX`] are sent empty, and plain
    /// records beyond it are left out, for which an empty box of the mesh-wide circle stands (readers pull them): the largest first, until
    /// it fits. `log_key` signs the plain records. Returns what was built, decoded.
    pub fn build(
        site: SiteId,
        checkpoint: Checkpoint,
        frontier: Frontier,
        leaf_hashes: Vec<Digest>,
        plain: Vec<View>,
        mut sealed: Vec<wire::Sealed>,
        log_key: &SigningKey,
    ) -> Result<Self, PublicationError> {
        let mut by_seq = Vec::with_capacity(plain.len());
        for view in plain {
            let text = view.encode().into_bytes();
            by_seq.push((view.parse()?.claims().seq, text));
        }
        by_seq.sort();
        sealed.sort_by(|a, b| a.circle.cmp(&b.circle));
        let mut message = wire::Publication {
            site: site.0.to_vec(),
            checkpoint: checkpoint.note().to_vec(),
            from: frontier.size(),
            frontier: frontier.edge().iter().map(|hash| hash.0.to_vec()).collect(),
            leaf_hash: leaf_hashes.iter().map(|hash| hash.0.to_vec()).collect(),
            plain: by_seq.into_iter().map(|(_, text)| text).collect(),
            sealed,
            plain_signature: Vec::new(),
        };
        shrink(&mut message);
        if !message.plain.is_empty() {
            let signed = plain_statement(&checkpoint, message.plain.iter().map(Vec::as_slice));
            message.plain_signature = log_key.sign(&signed).to_vec();
        }
        Self::decode(&message.encode_to_vec())
    }

    /// The same step of the log without records, as it is kept when its content is old. It needs no key: what is left is
    /// covered by the checkpoint.
    #[must_use]
    pub fn stripped(&self) -> Vec<u8> {
        wire::Publication {
            site: self.site.0.to_vec(),
            checkpoint: self.checkpoint.note().to_vec(),
            from: self.frontier.size(),
            frontier: self
                .frontier
                .edge()
                .iter()
                .map(|hash| hash.0.to_vec())
                .collect(),
            leaf_hash: self
                .leaf_hashes
                .iter()
                .map(|hash| hash.0.to_vec())
                .collect(),
            ..wire::Publication::default()
        }
        .encode_to_vec()
    }

    /// The encoded `wire::Publication`, as received or built.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// First leaf.
    #[must_use]
    pub fn from(&self) -> u64 {
        self.frontier.size()
    }

    /// Size after it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.checkpoint.size()
    }

    /// The check that needs no state: checkpoint signed by `log_key` for this mesh and site, frontier + leaves = root, every
    /// plain record's leaf hash among the leaves at its seq. Only an author that misbehaves, or a forger, fails it.
    pub fn check(&self, mesh: &MeshId, log_key: &PublicKey) -> Result<(), PublicationError> {
        if self.checkpoint.origin() != Checkpoint::origin_of(mesh, &self.site) {
            return malformed("the checkpoint is of a log in another mesh");
        }
        self.checkpoint.verify(log_key)?;
        let mut tree = self.frontier.clone();
        for leaf in &self.leaf_hashes {
            tree.append(*leaf, &mut |_, _, _| {});
        }
        if tree.root() != self.checkpoint.root() {
            return Err(LogError::Mismatch.into());
        }
        if let Some(signature) = &self.plain_signature {
            let texts: Vec<String> = self.plain.iter().map(View::encode).collect();
            let signed = plain_statement(&self.checkpoint, texts.iter().map(String::as_bytes));
            if log_key.verify(&signed, signature).is_err() {
                return malformed("the plain records are not as their author sent them");
            }
        }
        let mut after = None;
        for view in &self.plain {
            let seq = self.check_plain(mesh, view)?;
            if after.is_some_and(|last| last >= seq) {
                return malformed("plain records are not in the order of their leaves, one a leaf");
            }
            after = Some(seq);
        }
        Ok(())
    }

    /// The leaf that a plain record is.
    fn check_plain(&self, mesh: &MeshId, view: &View) -> Result<u64, PublicationError> {
        let leaf = crate::log::leaf_hash(view.core().as_bytes());
        let parsed = view.clone().parse()?;
        let claims = parsed.claims();
        if claims.iss != self.site || claims.mesh.is_some_and(|m| m != *mesh) {
            return malformed("a plain record of another site or mesh");
        }
        let place = claims
            .seq
            .checked_sub(self.from())
            .and_then(|n| usize::try_from(n).ok());
        if place.and_then(|n| self.leaf_hashes.get(n)) != Some(&leaf) {
            return malformed(format!(
                "the plain record with seq {} is not that leaf",
                claims.seq
            ));
        }
        Ok(claims.seq)
    }
}

/// What the signature of plain records covers: the step of the log that they belong to, and their bytes.
fn plain_statement<'a>(checkpoint: &Checkpoint, plain: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = b"fmesh/plain/v1\n".to_vec();
    out.extend_from_slice(checkpoint.body().as_ref());
    for text in plain {
        out.extend_from_slice(&(text.len() as u64).to_be_bytes());
        out.extend_from_slice(text);
    }
    out
}

fn malformed<T>(what: impl Into<String>) -> Result<T, PublicationError> {
    Err(PublicationError::Malformed(what.into()))
}

/// Whether `origin` is that of a log of `site` in some mesh.
fn names(origin: &str, site: &SiteId) -> bool {
    let mesh = origin
        .strip_prefix("fmesh/")
        .and_then(|rest| rest.get(..64));
    mesh.and_then(|mesh| mesh.parse().ok())
        .is_some_and(|mesh| Checkpoint::origin_of(&mesh, site) == origin)
}

fn leaves(message: &wire::Publication, size: u64) -> Result<Vec<Digest>, PublicationError> {
    let count = message.leaf_hash.len();
    if count == 0 || count > PUBLICATION_LEAVES_MAX {
        return malformed(format!(
            "{count} leaves, 1 to {PUBLICATION_LEAVES_MAX} are possible"
        ));
    }
    if message.from.checked_add(count as u64) != Some(size) {
        return malformed(format!(
            "{count} leaves after {} do not make size {size}",
            message.from
        ));
    }
    digests(&message.leaf_hash, "leaf")
}

fn digests(hashes: &[Vec<u8>], what: &str) -> Result<Vec<Digest>, PublicationError> {
    let hashes: Option<_> = hashes.iter().map(|hash| Digest::from_slice(hash)).collect();
    hashes.map_or_else(|| malformed(format!("a {what} hash is not 32 bytes")), Ok)
}

/// Bytes of records, plain and sealed.
fn content_bytes(message: &wire::Publication) -> usize {
    let plain: usize = message.plain.iter().map(Vec::len).sum();
    plain
        + message
            .sealed
            .iter()
            .map(|sealed| sealed.ciphertext.len())
            .sum::<usize>()
}

fn content(message: &wire::Publication) -> Result<(), PublicationError> {
    if message.plain.len() > message.leaf_hash.len() {
        return malformed("more plain records than leaves");
    }
    let bytes = content_bytes(message);
    if bytes > PUBLICATION_CONTENT_BYTES_MAX {
        return malformed(format!(
            "{bytes} bytes of records, at most {PUBLICATION_CONTENT_BYTES_MAX}"
        ));
    }
    Ok(())
}

/// One box a circle, in their order; a nonce only with a ciphertext.
fn boxes(sealed: &[wire::Sealed]) -> Result<(), PublicationError> {
    if sealed.len() > PUBLICATION_BOXES_MAX {
        return malformed(format!(
            "{} boxes, at most {PUBLICATION_BOXES_MAX}",
            sealed.len()
        ));
    }
    for each in sealed {
        let circle = CircleId::from_slice(&each.circle);
        if circle.is_none() {
            return malformed("a box for no circle: 16 bytes are needed");
        }
        if circle == Some(CircleId::MESH_WIDE) && !each.ciphertext.is_empty() {
            return malformed("a box for the mesh-wide circle, whose records are plain");
        }
        let fits = match each.ciphertext.len() {
            0 => each.nonce.is_empty(),
            _ => matches!(each.nonce.len(), 24 | 32),
        };
        if !fits {
            return malformed("a box with a nonce of the wrong length");
        }
    }
    if !sealed.is_sorted_by(|a, b| a.circle < b.circle) {
        return malformed("boxes are not in the order of their circles, one a circle");
    }
    Ok(())
}

/// Empties boxes and leaves out plain records, the largest first, until both limits hold. Hashes,
/// frontier, checkpoint and empty boxes alone always fit.
fn shrink(message: &mut wire::Publication) {
    while content_bytes(message) > PUBLICATION_CONTENT_BYTES_MAX
        || message.encoded_len() > PUBLICATION_BYTES_MAX
    {
        let plain = message
            .plain
            .iter()
            .enumerate()
            .max_by_key(|(_, text)| text.len());
        let plain = plain.map(|(index, text)| (text.len(), index));
        let sealed = message
            .sealed
            .iter_mut()
            .max_by_key(|each| each.ciphertext.len());
        match (plain, sealed) {
            (_, Some(each)) if each.ciphertext.len() > plain.map_or(0, |(length, _)| length) => {
                each.ciphertext.clear();
                each.nonce.clear();
            }
            (Some((_, index)), _) => {
                message.plain.remove(index);
                let mesh_wide = CircleId::MESH_WIDE.0.to_vec();
                if message
                    .sealed
                    .first()
                    .is_none_or(|each| each.circle != mesh_wide)
                {
                    let stub = wire::Sealed {
                        circle: mesh_wide,
                        ..wire::Sealed::default()
                    };
                    message.sealed.insert(0, stub);
                }
            }
            (None, _) => return,
        }
    }
}

#[cfg(test)]
mod tests;
