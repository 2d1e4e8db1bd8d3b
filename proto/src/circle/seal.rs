//! Boxes: records of one circle, closed so that its members alone read them.
//!
//! A group circle's box is XChaCha20-Poly1305 under the epoch key with a random nonce. A pairwise box
//! is HPKE (RFC 9180) in mode Auth with X25519, HKDF-SHA256 and ChaCha20-Poly1305; its encapsulated key
//! travels in the field `nonce`. Both bind [`SealContext`] as associated data, so a box opens only as
//! the part of the publication that it was made for.
//!
//! The plaintext is a `SealedRecords` message, padded to the next Padmé size, so that its length tells
//! a bystander little. It has one encoding: what does not re-encode to itself is refused, which leaves
//! no room to hide anything in the padding.
//!
//! A box proves no authorship within a group, as all its members hold the key: the records inside carry
//! their own signatures. An empty ciphertext is no box but a hint to pull the feed; it does not open.

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _, aead::ChaCha20Poly1305,
    kdf::HkdfSha256, kem::X25519HkdfSha256,
};
use prost::Message as _;
use rand_core::CryptoRng;

use crate::{
    id::{CircleId, MeshId, SiteId},
    keys::OperatingKeys,
    limits::{PUBLICATION_CONTENT_BYTES_MAX, PUBLICATION_LEAVES_MAX},
    record::View,
    wire,
};

/// A group circle's key for one epoch.
#[derive(Clone, PartialEq, Eq, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct EpochKey(pub [u8; 32]);
impl std::fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EpochKey(..)")
    }
}

/// What a box is bound to: associated data of the seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealContext {
    /// Mesh.
    pub mesh: MeshId,
    /// Author.
    pub site: SiteId,
    /// Circle.
    pub circle: CircleId,
    /// Epoch; 0 in pairwise circles.
    pub epoch: u64,
    /// First leaf of the publication.
    pub from: u64,
    /// Size of its checkpoint.
    pub size: u64,
}
impl SealContext {
    /// Label, then every field at its fixed length, numbers big-endian.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LABEL.len() + 32 + 32 + 16 + 3 * 8);
        out.extend_from_slice(LABEL);
        out.extend_from_slice(&self.mesh.0);
        out.extend_from_slice(&self.site.0);
        out.extend_from_slice(&self.circle.0);
        for number in [self.epoch, self.from, self.size] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out
    }

    /// The names that stand outside the box must be the ones inside its associated data.
    fn names(&self, sealed: &wire::Sealed) -> bool {
        sealed.circle == self.circle.0 && sealed.epoch == self.epoch
    }

    fn sealed(&self, nonce: Vec<u8>, ciphertext: Vec<u8>) -> wire::Sealed {
        wire::Sealed {
            circle: self.circle.0.to_vec(),
            epoch: self.epoch,
            nonce,
            ciphertext,
        }
    }
}

/// Why a box cannot be closed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CircleError {
    /// Wrong key, wrong context, or altered bytes.
    #[error("box does not open")]
    Open,
    /// Sealing for a partner whose `box` key is not acceptable.
    #[error("cannot seal: the partner's box key is of small order")]
    BoxKey,
    /// Larger than any publication can carry.
    #[error("box of {0} bytes is over the limit")]
    TooLarge(usize),
    /// It opened, but what is inside is not records.
    #[error("box holds malformed records: {0}")]
    Content(String),
}

/// Seals for a group circle (XChaCha20-Poly1305, random nonce, Padmé padding).
pub fn seal_group(
    key: &EpochKey,
    context: &SealContext,
    records: &[View],
    rng: &mut (impl CryptoRng + ?Sized),
) -> wire::Sealed {
    let mut nonce = [0; 24];
    rng.fill_bytes(&mut nonce);
    let (msg, aad) = (encode(views(records)), context.encode());
    let ciphertext = XChaCha20Poly1305::new(&key.0.into())
        .encrypt(
            &XNonce::from(nonce),
            Payload {
                msg: &msg,
                aad: &aad,
            },
        )
        .expect("the cipher's limit is 256 GiB");
    context.sealed(nonce.to_vec(), ciphertext)
}

/// Opens a group box.
pub fn open_group(
    key: &EpochKey,
    context: &SealContext,
    sealed: &wire::Sealed,
) -> Result<Vec<View>, CircleError> {
    let nonce = outside::<24>(context, sealed)?;
    let aad = context.encode();
    let plain = XChaCha20Poly1305::new(&key.0.into())
        .decrypt(
            &XNonce::from(nonce),
            Payload {
                msg: &sealed.ciphertext,
                aad: &aad,
            },
        )
        .map_err(|_| CircleError::Open)?;
    decode(&plain)
}

/// Seals for one partner (HPKE Auth: X25519, HKDF-SHA256, ChaCha20-Poly1305).
pub fn seal_pairwise(
    own: &OperatingKeys,
    to_box: &[u8; 32],
    context: &SealContext,
    records: &[View],
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<wire::Sealed, CircleError> {
    let secret = private(own.box_secret());
    let public = X25519HkdfSha256::sk_to_pk(&secret);
    let (enc, ciphertext) =
        hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Auth((secret, public)),
            &self::public(to_box),
            LABEL,
            &encode(views(records)),
            &context.encode(),
            &mut &mut *rng,
        )
        .map_err(|_| CircleError::BoxKey)?;
    Ok(context.sealed(enc.to_bytes().to_vec(), ciphertext))
}

/// Opens a box that the owner of `from_box` sealed for us, to our box key or to one before it that is kept.
pub fn open_pairwise(
    own: &OperatingKeys,
    from_box: &[u8; 32],
    context: &SealContext,
    sealed: &wire::Sealed,
) -> Result<Vec<View>, CircleError> {
    let enc = outside::<32>(context, sealed)?;
    let enc = <X25519HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(&enc)
        .map_err(|_| CircleError::Open)?;
    let opened = own.box_secrets().find_map(|secret| {
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Auth(public(from_box)),
            &private(secret),
            &enc,
            LABEL,
            &sealed.ciphertext,
            &context.encode(),
        )
        .ok()
    });
    decode(&opened.ok_or(CircleError::Open)?)
}

/// What is checked before any cryptography; gives the nonce or the encapsulated key.
fn outside<const N: usize>(
    context: &SealContext,
    sealed: &wire::Sealed,
) -> Result<[u8; N], CircleError> {
    if sealed.ciphertext.len() > PUBLICATION_CONTENT_BYTES_MAX {
        return Err(CircleError::TooLarge(sealed.ciphertext.len()));
    }
    if !context.names(sealed) {
        return Err(CircleError::Open);
    }
    sealed
        .nonce
        .as_slice()
        .try_into()
        .map_err(|_| CircleError::Open)
}

type Private = <X25519HkdfSha256 as hpke::Kem>::PrivateKey;
type Public = <X25519HkdfSha256 as hpke::Kem>::PublicKey;
fn private(secret: &x25519_dalek::StaticSecret) -> Private {
    Private::from_bytes(secret.as_bytes()).expect("any 32 bytes are an X25519 secret")
}
fn public(bytes: &[u8; 32]) -> Public {
    Public::from_bytes(bytes).expect("any 32 bytes are an X25519 public key")
}

fn views(records: &[View]) -> Vec<Vec<u8>> {
    records
        .iter()
        .map(|view| view.encode().into_bytes())
        .collect()
}

/// The plaintext: views, then as many zeros as make the whole reach the first Padmé size that it can
/// reach: the field's own tag and length take two bytes or more, so some lengths are stepped over.
fn encode(view: Vec<Vec<u8>>) -> Vec<u8> {
    let mut message = wire::SealedRecords {
        view,
        padding: Vec::new(),
    };
    let bare = message.encoded_len();
    let mut target = padme(bare);
    while target > bare {
        let zeros = (2..=6).find_map(|header| {
            let zeros = (target - bare)
                .checked_sub(header)
                .filter(|zeros| *zeros > 0)?;
            (1 + prost::length_delimiter_len(zeros) == header).then_some(zeros)
        });
        if let Some(zeros) = zeros {
            message.padding = vec![0; zeros];
            break;
        }
        target = padme(target + 1);
    }
    message.encode_to_vec()
}

fn decode(plain: &[u8]) -> Result<Vec<View>, CircleError> {
    let content = |what: &str| CircleError::Content(what.to_owned());
    let message =
        wire::SealedRecords::decode(plain).map_err(|_| content("not the message SealedRecords"))?;
    if message.view.len() > PUBLICATION_LEAVES_MAX {
        return Err(content("more records than a publication has leaves"));
    }
    let views = message
        .view
        .iter()
        .map(|text| View::decode(text).map_err(|error| CircleError::Content(error.to_string())))
        .collect::<Result<_, _>>()?;
    if encode(message.view) != plain {
        return Err(content("not in the one padded form"));
    }
    Ok(views)
}

/// What a box holds, as whoever has its key finds it.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_box(plain: &[u8]) -> Result<Vec<View>, CircleError> {
    decode(plain)
}

/// The plaintext of a box.
#[cfg(test)]
pub(crate) fn write_box(records: &[View]) -> Vec<u8> {
    encode(views(records))
}

/// Padmé (Nikitin et al., PETS 2019): keeps as many leading bits of a length as its bit length has bits, so
/// at most 12 % is added and a length tells O(log log) bits.
fn padme(length: usize) -> usize {
    let Some(exponent) = length.checked_ilog2().filter(|e| *e > 0) else {
        return length;
    };
    let kept = exponent.ilog2() + 1;
    let mask = (1_usize << (exponent - kept)) - 1;
    (length + mask) & !mask
}

/// Domain of the associated data, and HPKE's `info`.
const LABEL: &[u8] = b"fmesh/box/v1\n";

#[cfg(test)]
mod tests;
