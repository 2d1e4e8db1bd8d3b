//! `cosignature/v1` (C2SP tlog-cosignature 1.0.1): a witness says that at a time this was the largest
//! consistent checkpoint of that log which it had seen.
//!
//! The signed message does not name the witness, so one public key is one witness, whatever names it
//! is given. Signing a smaller size at a later time is misbehaviour; keeping that from happening is
//! the matter of who calls [`Cosignature::sign`].

use super::{
    Checkpoint, NoteError, SignatureType, VerifierKey, malformed,
    signed::{SignatureLine, is_key_name, key_id, signature_line},
};
use crate::{
    id::{MeshId, SiteId},
    keys::SigningKey,
};

/// First line of the signed message; also refused as an origin, so that no note is both.
pub(super) const HEADER: &str = "cosignature/v1";
/// Latest time, 2^63-1 seconds.
const TIME_MAX: u64 = i64::MAX as u64;

/// One witness's signature line on a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    name: String,
    key_id: [u8; 4],
    time: u64,
    signature: [u8; 64],
}

impl Cosignature {
    /// `fmesh/<MeshId>/<SiteId>/witness`: the name that a site's witness key signs under.
    #[must_use]
    pub fn name_of(mesh: &MeshId, site: &SiteId) -> String {
        format!("{}/witness", Checkpoint::origin_of(mesh, site))
    }

    /// The site that a name of [`Self::name_of`] names, in this mesh.
    #[must_use]
    pub fn site_of(name: &str, mesh: &MeshId) -> Option<SiteId> {
        let site = name.strip_suffix("/witness")?.rsplit('/').next()?;
        let site = site.parse().ok()?;
        (Self::name_of(mesh, &site) == name).then_some(site)
    }

    /// Signs `checkpoint` as seen at `time` (unix seconds).
    pub fn sign(
        checkpoint: &Checkpoint,
        name: &str,
        time: u64,
        key: &SigningKey,
    ) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(malformed(format!(
                "{name:?} cannot be the name of a witness"
            )));
        }
        if time > TIME_MAX {
            return Err(malformed("time of a cosignature is beyond 2^63-1"));
        }
        let key_id = key_id(name, SignatureType::Cosignature, &key.public());
        let signature = key.sign(&message(time, checkpoint.body()));
        Ok(Self {
            name: name.to_owned(),
            key_id,
            time,
            signature,
        })
    }

    /// Reads one signature line, with or without its newline. Form only.
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        let line = SignatureLine::parse(line.strip_suffix('\n').unwrap_or(line))?;
        let (time, signature) = split(&line.blob)
            .ok_or_else(|| malformed(format!("line of {:?} is no cosignature", line.name)))?;
        Ok(Self {
            name: line.name,
            key_id: line.key_id,
            time,
            signature,
        })
    }

    /// Checks it against `checkpoint` with the key of `witness`, which must have its name.
    pub fn verify(&self, checkpoint: &Checkpoint, witness: &VerifierKey) -> Result<(), NoteError> {
        let fits = witness.kind() == SignatureType::Cosignature && self.names(witness);
        let message = message(self.time, checkpoint.body());
        if fits && witness.key().verify(&message, &self.signature).is_ok() {
            Ok(())
        } else {
            Err(NoteError::Signature(witness.name().to_owned()))
        }
    }

    /// Whether the line says that this key made it.
    #[must_use]
    pub fn names(&self, witness: &VerifierKey) -> bool {
        (self.name.as_str(), self.key_id) == (witness.name(), witness.id())
    }

    /// Name of the witness.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Unix seconds, by the clock of the witness.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.time
    }

    /// The signature line, with its newline.
    #[must_use]
    pub fn line(&self) -> String {
        let blob = [&self.time.to_be_bytes()[..], &self.signature].concat();
        signature_line(&self.name, &self.key_id, &blob)
    }

    /// What a line of a note says, if it is a cosignature.
    pub(super) fn of_line(line: &SignatureLine) -> Option<Self> {
        let (time, signature) = split(&line.blob)?;
        Some(Self {
            name: line.name.clone(),
            key_id: line.key_id,
            time,
            signature,
        })
    }

    pub(super) fn find(
        checkpoint: &Checkpoint,
        witness: &VerifierKey,
    ) -> Result<Option<Self>, NoteError> {
        let Some(line) = checkpoint.note.line_of(witness) else {
            return Ok(None);
        };
        let (time, signature) = check(witness, checkpoint.body(), &line.blob)?;
        Ok(Some(Self {
            name: line.name.clone(),
            key_id: line.key_id,
            time,
            signature,
        }))
    }
}

/// Checks what follows the key id on a signature line of `witness`.
pub(super) fn check(
    witness: &VerifierKey,
    body: &str,
    blob: &[u8],
) -> Result<(u64, [u8; 64]), NoteError> {
    split(blob)
        .filter(|_| witness.kind() == SignatureType::Cosignature)
        .filter(|(time, signature)| {
            witness
                .key()
                .verify(&message(*time, body), signature)
                .is_ok()
        })
        .ok_or_else(|| NoteError::Signature(witness.name().to_owned()))
}

/// u64 big-endian time, then 64 bytes of signature.
fn split(blob: &[u8]) -> Option<(u64, [u8; 64])> {
    let (time, signature) = blob.split_first_chunk()?;
    let time = u64::from_be_bytes(*time);
    (time <= TIME_MAX).then_some((time, signature.try_into().ok()?))
}

fn message(time: u64, body: &str) -> Vec<u8> {
    format!("{HEADER}\ntime {time}\n{body}").into_bytes()
}
