//! One signed revision of an object: the core (an SD-JWT issuer-signed JWT, RFC 9901) and views of it.
//! PROTOCOL section 3.
//!
//! The idea: a site signs one core that commits to every slot by a salted digest, and hands each
//! circle the same core with the disclosures of the slots that the circle may see. Trust is in the
//! type, and each step does the cheaper checks first:
//!
//! ```text
//! Issued::sign ─ view(circle, slots) ─► View ─ encode ─► bytes
//! bytes ─ View::decode ─► View ─ parse ─► Parsed ─ verify(key) ─► Verified
//! ```
//!
//! The form is narrow on purpose, so that two readers cannot understand one core differently: one
//! header, the payload's members in the order of PROTOCOL section 3.1 and no others, one digest for
//! each slot, one spelling of every number and identifier. What is signed is never encoded again;
//! digests are taken over the text as received.
//!
//! This module does not know which key counts (`keys` does), whether the leaf is in the log (`log`
//! does), what the slots mean (`kinds` does), or who may see them (`circle` does).

use std::{collections::BTreeMap, sync::OnceLock};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::Value;

use crate::{
    id::{CircleId, Digest, MeshId, ObjectId, SiteId},
    keys::PublicKey,
    kinds::{self, Kind},
    limits::{CORE_BYTES_MAX, FEEDS_PER_RECORD_MAX, SLOTS_MAX, VIEW_BYTES_MAX},
};

mod disclosure;
mod issue;
mod payload;
#[cfg(test)]
mod tests;

pub use disclosure::Disclosure;
pub use issue::Issued;

use disclosure::read_feed;
use payload::{Body, Header, Payload, Place};

/// Why a record is refused. One failure refuses the record, never the feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not three base64url parts, too long, wrong header, not strict JSON, missing or wrong members.
    #[error("malformed record: {0}")]
    Malformed(String),
    /// A disclosure that matches no slot, a digest in two slots, more than one element in a slot, a disclosure twice.
    #[error("disclosure refused: {0}")]
    Disclosure(String),
    /// The author's signature does not verify under `verify_strict`.
    #[error("signature does not match the key {kid}")]
    Signature {
        /// Fingerprint of the key that was tried.
        kid: String,
    },
    /// `kid` in the header is not the key that counts at this index.
    #[error("signed with key {kid}, which does not count at leaf {seq}")]
    WrongKey {
        /// `kid` of the header.
        kid: String,
        /// Leaf index the record claims.
        seq: u64,
    },
    /// The kind's own rules (RECORDS.md).
    #[error("{kind}: {what}")]
    Rule {
        /// Kind of the record.
        kind: String,
        /// What is wrong, for people, naming the slot and the bucket.
        what: String,
    },
}

/// All that is signed besides the slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The mesh; `None` for kind `keys` only.
    pub mesh: Option<MeshId>,
    /// The author.
    pub iss: SiteId,
    /// Number of the site's log, 1.
    pub log: u32,
    /// Leaf index.
    pub seq: u64,
    /// Kind.
    pub kind: Kind,
    /// Object.
    pub id: ObjectId,
    /// Revision, from 1.
    pub rev: u64,
    /// Digest of the core of rev - 1.
    pub prev: Option<Digest>,
    /// Claimed time, unix seconds. Decides nothing.
    pub iat: u64,
    /// Ends the object.
    pub retired: bool,
}

/// Slot name -> JSON value; `Value::Null` says "unknown" and is committed like any value.
pub type Fields = BTreeMap<String, Value>;

/// A core with some disclosures, from anyone: nothing about it is checked but its length and alphabet.
/// Text form: `core~disclosure~...~`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    core: String,
    disclosures: Vec<Disclosure>,
}

impl View {
    /// Splits the text form. A trailing `~` is required even without disclosures.
    pub fn decode(text: &[u8]) -> Result<Self, RecordError> {
        if text.len() > VIEW_BYTES_MAX {
            return Err(malformed(format!(
                "a view of {} bytes, at most {VIEW_BYTES_MAX} are allowed",
                text.len()
            )));
        }
        let text = std::str::from_utf8(text).map_err(|_| malformed("not ASCII text"))?;
        let text = text.strip_suffix('~').ok_or_else(|| {
            malformed("a view ends with ~, this one is cut off or something else")
        })?;
        let mut parts = text.split('~');
        let core = parts.next().unwrap_or_default();
        if !is_text_of(core, |byte| byte == b'.' || is_base64url(byte)) {
            return Err(malformed("the core is not base64url"));
        }
        let disclosures = parts
            .take(DISCLOSURES_MAX + 1)
            .map(|part| match is_text_of(part, is_base64url) {
                true => Ok(Disclosure::from_text(part.to_owned())),
                false => Err(malformed("a disclosure is not base64url")),
            })
            .collect::<Result<_, _>>()?;
        Self::bounded(core.to_owned(), disclosures)
    }

    /// Every view passes here, so its bounds hold for what is signed and for what is read.
    fn bounded(core: String, disclosures: Vec<Disclosure>) -> Result<Self, RecordError> {
        if core.len() > CORE_BYTES_MAX {
            return Err(malformed(format!(
                "a core of {} bytes, at most {CORE_BYTES_MAX} are allowed",
                core.len()
            )));
        }
        if disclosures.len() > DISCLOSURES_MAX {
            return Err(malformed(format!(
                "more than {DISCLOSURES_MAX} disclosures"
            )));
        }
        let view = Self { core, disclosures };
        let bytes = view.encoded_len();
        if bytes > VIEW_BYTES_MAX {
            return Err(malformed(format!(
                "a view of {bytes} bytes, at most {VIEW_BYTES_MAX} are allowed"
            )));
        }
        Ok(view)
    }

    fn encoded_len(&self) -> usize {
        self.core.len()
            + 1
            + self
                .disclosures
                .iter()
                .map(|d| d.as_str().len() + 1)
                .sum::<usize>()
    }

    /// The text form.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(self.encoded_len());
        text.push_str(&self.core);
        text.push('~');
        for disclosure in &self.disclosures {
            text.push_str(disclosure.as_str());
            text.push('~');
        }
        text
    }

    /// The signed bytes.
    #[must_use]
    pub fn core(&self) -> &str {
        &self.core
    }

    /// The disclosures.
    #[must_use]
    pub fn disclosures(&self) -> &[Disclosure] {
        &self.disclosures
    }

    /// Every check that needs no key: header form, payload, disclosures match slots, kind's slots complete.
    pub fn parse(self) -> Result<Parsed, RecordError> {
        let (header, payload) = payload::decode(&self.core)?;
        let Header { kid, signature } = header;
        let Payload {
            claims,
            feeds: hidden_feeds,
            body,
        } = payload;
        let places = payload::places(&hidden_feeds, &body)?;

        let (names, mut values) = match body {
            Body::Plain(members) => members
                .into_iter()
                .map(|(name, value)| (name, Some(value)))
                .unzip(),
            Body::Slots(slots) => {
                let values = vec![None; slots.len()];
                (
                    slots.into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
                    values,
                )
            }
        };
        let mut feeds: Vec<(CircleId, u64)> = Vec::new();
        let mut opened = vec![false; places.len()];
        for disclosure in &self.disclosures {
            let at = places.find(disclosure)?;
            if std::mem::replace(&mut opened[at], true) {
                return Err(RecordError::Disclosure(
                    "one disclosure is given twice".into(),
                ));
            }
            let value = disclosure.open()?;
            match places.place(at) {
                Place::Slot(n) => values[n] = Some(value),
                Place::Feed(_) => {
                    let (circle, feed_seq) = read_feed(&value)?;
                    if feeds.iter().any(|(other, _)| *other == circle) {
                        return Err(RecordError::Disclosure(
                            "two feed positions in one circle".into(),
                        ));
                    }
                    feeds.push((circle, feed_seq));
                }
            }
        }
        Ok(Parsed {
            fields: names.into_iter().zip(values).collect(),
            feeds_total: hidden_feeds.len(),
            claims,
            kid,
            signature,
            feeds,
            leaf: OnceLock::new(),
            view: self,
        })
    }
}

/// A view whose form is right; the signature is not checked yet.
#[derive(Debug, Clone)]
pub struct Parsed {
    claims: Claims,
    kid: String,
    signature: [u8; 64],
    fields: BTreeMap<String, Option<Value>>,
    feeds: Vec<(CircleId, u64)>,
    feeds_total: usize,
    /// Leaf hash of the core, once somebody needed it.
    leaf: OnceLock<Digest>,
    view: View,
}

impl Parsed {
    /// What it claims.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Fingerprint of the key that the header names.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// A record that this node verified before it stored these bytes: the signature is not checked again.
    #[must_use]
    pub fn from_store(self) -> Verified {
        Verified(self)
    }

    /// Strict signature check with `key`; refuses when `kid` differs. Then the kind's own rules.
    pub fn verify(self, key: &PublicKey) -> Result<Verified, RecordError> {
        if self.kid != key.fingerprint() {
            return Err(self.wrong_key());
        }
        let signed = self
            .view
            .core
            .rfind('.')
            .map_or("", |dot| &self.view.core[..dot]);
        if key.verify(signed.as_bytes(), &self.signature).is_err() {
            return Err(RecordError::Signature { kid: self.kid });
        }
        kinds::check(&self.claims.kind, &self.fields)?;
        let verified = Verified(self);
        // Needed next, when the record is compared with its log; here other cores help.
        let _ = verified.leaf_hash();
        Ok(verified)
    }

    /// The refusal of a record by the key that its header names.
    pub(crate) fn wrong_key(self) -> RecordError {
        RecordError::WrongKey {
            seq: self.claims.seq,
            kid: self.kid,
        }
    }
}

/// A record whose signature, disclosures and kind rules are checked. Whether its leaf is in the log is `log`'s matter.
#[derive(Debug, Clone)]
pub struct Verified(Parsed);

impl Verified {
    /// Claims, now proven.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.0.claims
    }

    /// Slot -> `None` withheld, `Some(Null)` unknown, `Some(v)` known. All slots of the kind are present.
    #[must_use]
    pub fn fields(&self) -> &BTreeMap<String, Option<Value>> {
        &self.0.fields
    }

    /// Disclosed feed positions.
    #[must_use]
    pub fn feeds(&self) -> &[(CircleId, u64)] {
        &self.0.feeds
    }

    /// How many circles it goes to in total.
    #[must_use]
    pub fn feeds_total(&self) -> usize {
        self.0.feeds_total
    }

    /// Position in `circle`, if disclosed.
    #[must_use]
    pub fn feed_seq(&self, circle: &CircleId) -> Option<u64> {
        self.0
            .feeds
            .iter()
            .find(|(c, _)| c == circle)
            .map(|(_, n)| *n)
    }

    /// The view it came as.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.0.view
    }

    /// RFC 6962 leaf hash of the core.
    #[must_use]
    pub fn leaf_hash(&self) -> Digest {
        let Parsed { leaf, view, .. } = &self.0;
        *leaf.get_or_init(|| crate::log::leaf_hash(view.core.as_bytes()))
    }

    /// SHA-256 of the core, as `prev` of the next revision names it.
    #[must_use]
    pub fn core_digest(&self) -> Digest {
        Digest::of(self.0.view.core.as_bytes())
    }
}

fn malformed(what: impl Into<String>) -> RecordError {
    RecordError::Malformed(what.into())
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Not empty and all of one alphabet. Without early exit, so that it runs at some bytes a cycle.
fn is_text_of(text: &str, alphabet: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().fold(true, |good, byte| good & alphabet(byte))
}

/// Base64url of exactly `N` bytes, without padding and with zero trailing bits: every byte string has one text.
fn decode_base64url<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != (N * 4).div_ceil(3) {
        return None;
    }
    let mut bytes = [0; N];
    let length = BASE64URL.decode_slice_unchecked(text, &mut bytes).ok()?;
    (length == N).then_some(bytes)
}

/// Each disclosure opens one slot or one feed position.
const DISCLOSURES_MAX: usize = SLOTS_MAX + FEEDS_PER_RECORD_MAX;
