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

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, OnceLock},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    id::{CircleId, Digest, MeshId, ObjectId, SiteId},
    keys::PublicKey,
    kinds::{Content, Kind, Shown, Slot},
    limits::{CORE_BYTES_MAX, FEEDS_PER_RECORD_MAX, SLOTS_MAX, VIEW_BYTES_MAX},
};

mod combine;
mod disclosure;
mod issue;
mod payload;
#[cfg(test)]
mod tests;

pub use disclosure::Disclosure;
pub use issue::Issued;

use disclosure::{Opened, read_feed};
use payload::{Body, Header, Payload, Place, SlotName};

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
/// Text form: `core~disclosure~...~`. Clones share the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    text: Arc<str>,
    core_bytes: usize,
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
        let parts = text.strip_suffix('~').ok_or_else(|| {
            malformed("a view ends with ~, this one is cut off or something else")
        })?;
        let mut parts = parts.split('~');
        let core = parts.next().unwrap_or_default();
        if !is_text_of(core, |byte| byte == b'.' || is_base64url(byte)) {
            return Err(malformed("the core is not base64url"));
        }
        if !parts
            .take(DISCLOSURES_MAX + 1)
            .all(|part| is_text_of(part, is_base64url))
        {
            return Err(malformed("a disclosure is not base64url"));
        }
        let view = Self {
            text: text.into(),
            core_bytes: core.len(),
        };
        view.check_bounds().map(|()| view)
    }

    fn assemble<'a>(core: &str, disclosures: impl Iterator<Item = &'a Disclosure<'a>>) -> Self {
        let mut text = String::with_capacity(2 * core.len());
        text.push_str(core);
        text.push('~');
        for disclosure in disclosures {
            text.push_str(disclosure.as_str());
            text.push('~');
        }
        Self {
            text: text.into(),
            core_bytes: core.len(),
        }
    }

    /// Every view passes here, so its bounds hold for what is signed and for what is read.
    fn check_bounds(&self) -> Result<(), RecordError> {
        if self.core_bytes > CORE_BYTES_MAX {
            return Err(malformed(format!(
                "a core of {} bytes, at most {CORE_BYTES_MAX} are allowed",
                self.core_bytes
            )));
        }
        if self.disclosures().count() > DISCLOSURES_MAX {
            return Err(malformed(format!(
                "more than {DISCLOSURES_MAX} disclosures"
            )));
        }
        let bytes = self.text.len();
        if bytes > VIEW_BYTES_MAX {
            return Err(malformed(format!(
                "a view of {bytes} bytes, at most {VIEW_BYTES_MAX} are allowed"
            )));
        }
        Ok(())
    }

    /// The text form, for whoever keeps it.
    #[must_use]
    pub fn encode(&self) -> String {
        self.as_str().to_owned()
    }

    /// The text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The signed bytes.
    #[must_use]
    pub fn core(&self) -> &str {
        &self.text[..self.core_bytes]
    }

    /// The disclosures.
    pub fn disclosures(&self) -> impl Iterator<Item = Disclosure<'_>> {
        let parts = self.text[self.core_bytes + 1..].split_terminator('~');
        parts.map(Disclosure::from_text)
    }

    /// The same without what opens the slot `name`.
    pub fn without(&self, name: &str) -> Result<Self, RecordError> {
        self.filtered(|slot| slot != Some(name))
    }

    /// The same with its feed positions and without any value.
    pub fn feeds_only(&self) -> Result<Self, RecordError> {
        self.filtered(|slot| slot.is_none())
    }

    /// Keeps some disclosures: `keep` is asked with the name of the slot that one opens, `None` for a feed position.
    fn filtered(&self, keep: impl Fn(Option<&str>) -> bool) -> Result<Self, RecordError> {
        let (_, payload) = payload::decode(self.core())?;
        let places = payload::places(&payload.feeds, &payload.body)?;
        let names = match &payload.body {
            Body::Plain(_) => &[][..],
            Body::Slots(names) => names,
        };
        let mut kept = Vec::new();
        for disclosure in self.disclosures() {
            let slot = match places.place(places.find(&disclosure)?) {
                Place::Slot(n) => Some(&*names[n].0),
                Place::Feed(_) => None,
            };
            if keep(slot) {
                kept.push(disclosure);
            }
        }
        Ok(Self::assemble(self.core(), kept.iter()))
    }

    /// Every check that needs no key: header form, payload, disclosures match slots, kind's slots complete.
    pub fn parse(self) -> Result<Parsed, RecordError> {
        let (header, payload) = payload::decode(self.core())?;
        let Header { kid, signature } = header;
        let Payload {
            claims,
            feeds: hidden_feeds,
            body,
        } = payload;
        let places = payload::places(&hidden_feeds, &body)?;

        let mut slots = Slots::default();
        let fields = OnceLock::new();
        match body {
            Body::Plain(members) => {
                let shown = members.into_iter().map(|(name, value)| (name, Some(value)));
                let _ = fields.set(shown.collect());
            }
            Body::Slots(names) => {
                slots.places = names.into_iter().map(|(name, _)| (name, None)).collect();
            }
        }
        let mut feeds: Vec<(CircleId, u64)> = Vec::new();
        let mut opened = vec![false; places.len()];
        for disclosure in self.disclosures() {
            let at = places.find(&disclosure)?;
            if std::mem::replace(&mut opened[at], true) {
                return Err(RecordError::Disclosure(
                    "one disclosure is given twice".into(),
                ));
            }
            match places.place(at) {
                Place::Slot(n) => slots.places[n].1 = Some(slots.opened.open(&disclosure)?),
                Place::Feed(_) => {
                    let (circle, feed_seq) = read_feed(&disclosure.open()?)?;
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
            slots,
            fields,
            feeds_total: hidden_feeds.len(),
            claims,
            kid,
            signature,
            feeds,
            leaf: OnceLock::new(),
            content: OnceLock::new(),
            view: self,
        })
    }
}

/// The slots of a core: what a view opens, and what it withholds.
#[derive(Debug, Clone, Default)]
struct Slots {
    /// In the order of the core, with the place of what is opened.
    places: Vec<(SlotName, Option<Range<usize>>)>,
    opened: Opened,
}

impl Slots {
    fn values(&self) -> BTreeMap<String, Option<Value>> {
        let value = |at: &Range<usize>| {
            let value = self.opened.value(at);
            value.expect("it was read before with every check")
        };
        self.places
            .iter()
            .map(|(name, at)| (name.to_string(), at.as_ref().map(value)))
            .collect()
    }
}

impl Shown for Slots {
    fn slot<T: DeserializeOwned>(&self, name: &str) -> Result<Slot<T>, String> {
        let place = self.places.iter().find(|(other, _)| other == name);
        match place.and_then(|(_, at)| at.as_ref()) {
            None => Ok(Slot::Withheld),
            Some(at) => self.opened.value::<Option<T>>(at).map(Slot::from),
        }
    }
}

/// A view whose form is right; the signature is not checked yet.
#[derive(Debug, Clone)]
pub struct Parsed {
    claims: Claims,
    kid: String,
    signature: [u8; 64],
    slots: Slots,
    /// The same as JSON values, once somebody needed them; plain bodies from the beginning.
    fields: OnceLock<BTreeMap<String, Option<Value>>>,
    feeds: Vec<(CircleId, u64)>,
    feeds_total: usize,
    /// Leaf hash of the core, once somebody needed it.
    leaf: OnceLock<Digest>,
    /// What the slots say, once somebody needed it.
    content: OnceLock<Result<Box<Content>, RecordError>>,
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

    fn fields(&self) -> &BTreeMap<String, Option<Value>> {
        self.fields.get_or_init(|| self.slots.values())
    }

    /// What the slots say, as the kind's own type.
    fn content(&self) -> Result<&Content, RecordError> {
        self.content
            .get_or_init(|| Content::read(&self.claims.kind, &self.slots).map(Box::new))
            .as_ref()
            .map(|content| &**content)
            .map_err(Clone::clone)
    }

    /// Strict signature check with `key`; refuses when `kid` differs. Then the kind's own rules.
    pub fn verify(self, key: &PublicKey) -> Result<Verified, RecordError> {
        if self.kid != key.fingerprint() {
            return Err(self.wrong_key());
        }
        let core = self.view.core();
        let signed = core.rfind('.').map_or("", |dot| &core[..dot]);
        if key.verify(signed.as_bytes(), &self.signature).is_err() {
            return Err(RecordError::Signature { kid: self.kid });
        }
        self.content()?.check()?;
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
        self.0.fields()
    }

    /// What they say, as the kind's own type.
    pub fn content(&self) -> Result<&Content, RecordError> {
        self.0.content()
    }

    /// True if this view opens at least one slot; a plain body is open.
    #[must_use]
    pub fn shows_a_slot(&self) -> bool {
        let slots = &self.0.slots.places;
        slots.is_empty() || slots.iter().any(|(_, at)| at.is_some())
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
        *leaf.get_or_init(|| crate::log::leaf_hash(view.core().as_bytes()))
    }

    /// SHA-256 of the core, as `prev` of the next revision names it.
    #[must_use]
    pub fn core_digest(&self) -> Digest {
        Digest::of(self.0.view.core().as_bytes())
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
