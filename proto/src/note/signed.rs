//! C2SP signed notes and verifier keys in general (signed-note 1.0.0), stricter where FORMATS says.
//!
//! Refused beyond the specification: base64 that is not canonical, more than sixteen signature lines,
//! two lines of one name and key id, the control character 0x7F.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use super::{NoteError, cosignature, malformed};
use crate::{
    id::{from_hex, to_hex},
    keys::PublicKey,
    limits::{CHECKPOINT_BYTES_MAX, NOTE_SIGNATURES_MAX},
};

/// A text with signature lines, in the bytes it came in. Form only: see [`Self::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    note: String,
    text_len: usize,
    signatures: Vec<SignatureLine>,
}

/// One line `— name base64(key id || blob)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignatureLine {
    pub(super) name: String,
    pub(super) key_id: [u8; 4],
    pub(super) blob: Vec<u8>,
}

impl SignedNote {
    /// Splits a note of at most [`CHECKPOINT_BYTES_MAX`] bytes into text and signature lines.
    pub fn parse(note: &[u8]) -> Result<Self, NoteError> {
        if note.len() > CHECKPOINT_BYTES_MAX {
            return Err(malformed(format!(
                "longer than {CHECKPOINT_BYTES_MAX} bytes"
            )));
        }
        let note = std::str::from_utf8(note).map_err(|_| malformed("not UTF-8"))?;
        if note.chars().any(|c| c.is_ascii_control() && c != '\n') {
            return Err(malformed("contains a control character"));
        }
        let blank = note
            .rfind("\n\n")
            .ok_or_else(|| malformed("no blank line between text and signatures"))?;
        let lines = note[blank + 2..]
            .strip_suffix('\n')
            .ok_or_else(|| malformed("no signature line, or the last one is cut short"))?;
        if lines.split('\n').count() > NOTE_SIGNATURES_MAX {
            return Err(malformed(format!(
                "more than {NOTE_SIGNATURES_MAX} signature lines"
            )));
        }
        let mut signatures: Vec<SignatureLine> = Vec::new();
        for line in lines.split('\n') {
            let line = SignatureLine::parse(line)?;
            if signatures
                .iter()
                .any(|seen| seen.name == line.name && seen.key_id == line.key_id)
            {
                return Err(malformed(format!(
                    "two signature lines of one key of {:?}",
                    line.name
                )));
            }
            signatures.push(line);
        }
        Ok(Self {
            note: note.to_owned(),
            text_len: blank + 1,
            signatures,
        })
    }

    /// Which of `keys` signed, as places in `keys`. Lines of other keys are ignored; a line of one of
    /// `keys` that does not verify refuses the whole note, and so does a note that none of them signed.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<Vec<usize>, NoteError> {
        let mut signed = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            if let Some(line) = self.line_of(key) {
                key.check(self.text(), &line.blob)?;
                signed.push(place);
            }
        }
        if signed.is_empty() {
            let names: Vec<&str> = keys.iter().map(VerifierKey::name).collect();
            return Err(NoteError::Signature(names.join(", ")));
        }
        Ok(signed)
    }

    /// What is signed, with its final newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.note[..self.text_len]
    }

    /// The whole note, verbatim.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.note.as_bytes()
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &SignatureLine> {
        self.signatures.iter()
    }

    pub(super) fn signers(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|line| line.name.as_str())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.note
    }

    pub(super) fn line_of(&self, key: &VerifierKey) -> Option<&SignatureLine> {
        let id = key.id();
        self.signatures
            .iter()
            .find(|line| line.key_id == id && line.name == key.name)
    }
}

impl SignatureLine {
    pub(super) fn parse(line: &str) -> Result<Self, NoteError> {
        let (name, blob) = line
            .strip_prefix("\u{2014} ")
            .and_then(|rest| rest.split_once(' '))
            .filter(|(name, _)| is_key_name(name))
            .ok_or_else(|| malformed("a signature line is not: \u{2014} name base64"))?;
        let bytes = from_base64(blob)
            .ok_or_else(|| malformed(format!("signature of {name:?} is not canonical base64")))?;
        match bytes.split_first_chunk() {
            Some((key_id, blob)) if !blob.is_empty() => Ok(Self {
                name: name.to_owned(),
                key_id: *key_id,
                blob: blob.to_vec(),
            }),
            _ => Err(malformed(format!("signature of {name:?} is empty"))),
        }
    }
}

/// What a key signs, and how: the type byte of a verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureType {
    /// 0x01: Ed25519 over the text. What logs use.
    Ed25519,
    /// 0x04: `cosignature/v1`, Ed25519 over the text and a time. What witnesses use.
    Cosignature,
}

impl SignatureType {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Cosignature => 0x04,
        }
    }
}

/// A public key with the name that it signs under. Text form: `name+<8 hex>+base64(type||key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: SignatureType,
    key: PublicKey,
}

impl VerifierKey {
    /// Longest text form that is read, in bytes. Longer ones are refused.
    pub const BYTES_MAX: usize = 1024;

    /// A key named `name`: not empty, no spaces, no `+`, no control characters.
    pub fn new(name: &str, kind: SignatureType, key: PublicKey) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(malformed(format!("{name:?} cannot be the name of a key")));
        }
        Ok(Self {
            name: name.to_owned(),
            kind,
            key,
        })
    }

    /// Reads the text form; the hash in it must be that of name and key.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        if text.len() > Self::BYTES_MAX {
            return Err(malformed("verifier key is too long"));
        }
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed("a verifier key is: name+hash+key"));
        };
        let bytes = from_base64(key).ok_or_else(|| malformed("key is not canonical base64"))?;
        let (kind, bytes) = match bytes.split_first() {
            Some((0x01, key)) => (SignatureType::Ed25519, key),
            Some((0x04, key)) => (SignatureType::Cosignature, key),
            _ => {
                return Err(malformed(
                    "type of the verifier key is neither 0x01 nor 0x04",
                ));
            }
        };
        let bytes = bytes
            .try_into()
            .map_err(|_| malformed("key is not 32 bytes long"))?;
        let key = PublicKey::from_bytes(bytes).map_err(|why| malformed(why.to_string()))?;
        let key = Self::new(name, kind, key)?;
        if from_hex(hash).as_deref() != Some(&key.id()) {
            return Err(malformed(
                "hash in the verifier key is not that of its name and key",
            ));
        }
        Ok(key)
    }

    /// Name it signs under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    #[must_use]
    pub fn kind(&self) -> SignatureType {
        self.kind
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// First four bytes of SHA-256(name || 0x0A || type || key), as signature lines carry them.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        key_id(&self.name, self.kind, &self.key)
    }

    fn check(&self, text: &str, blob: &[u8]) -> Result<(), NoteError> {
        match self.kind {
            SignatureType::Ed25519 => blob
                .try_into()
                .ok()
                .and_then(|signature| self.key.verify(text.as_bytes(), signature).ok())
                .ok_or_else(|| NoteError::Signature(self.name.clone())),
            SignatureType::Cosignature => cosignature::check(self, text, blob).map(|_| ()),
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&vkey_text(&self.name, self.kind, &self.key))
    }
}

pub(super) fn vkey_text(name: &str, kind: SignatureType, key: &PublicKey) -> String {
    let typed = [&[kind.byte()], &key.as_bytes()[..]].concat();
    format!(
        "{name}+{}+{}",
        to_hex(&key_id(name, kind, key)),
        to_base64(&typed)
    )
}

pub(super) fn key_id(name: &str, kind: SignatureType, key: &PublicKey) -> [u8; 4] {
    let hash = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', kind.byte()])
        .chain_update(key.as_bytes())
        .finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// With its final newline.
pub(super) fn signature_line(name: &str, key_id: &[u8; 4], blob: &[u8]) -> String {
    format!("\u{2014} {name} {}\n", to_base64(&[key_id, blob].concat()))
}

pub(super) fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c == '+' || c.is_ascii_control())
}

pub(super) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The same at the end of `out`.
pub(super) fn push_base64(bytes: &[u8], out: &mut String) {
    STANDARD.encode_string(bytes, out);
}

/// Canonical with padding; anything else is `None`.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Digits without leading zeros.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    if digits && !leading_zero {
        text.parse().ok()
    } else {
        None
    }
}
