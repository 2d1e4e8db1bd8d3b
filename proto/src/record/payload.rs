//! The three parts of a core: header, payload, signature; and where its digests stand.
//!
//! [`read`] knows the payload's members one by one; here is what one member cannot tell alone.

use std::{borrow::Cow, fmt::Write as _};

use base64::Engine as _;

use super::{
    BASE64URL, Claims, Disclosure, Fields, RecordError, decode_base64url, disclosure::Hash,
    malformed,
};
use crate::kinds::Kind;

mod read;

/// What stands around the payload.
pub(super) struct Header {
    pub(super) kid: String,
    pub(super) signature: [u8; 64],
}

/// What is signed.
pub(super) struct Payload {
    pub(super) claims: Claims,
    pub(super) feeds: Vec<Hash>,
    pub(super) body: Body,
}

/// Slots in the order of the core, or the members of a plain kind.
pub(super) enum Body {
    Plain(Fields),
    Slots(Vec<(SlotName, Hash)>),
}

/// Borrowed for slots that this version knows.
pub(super) type SlotName = Cow<'static, str>;

/// The signed text: `header.payload`.
pub(super) fn encode(kid: &str, claims: &Claims, feeds: &[Hash], body: &Body) -> String {
    let header = format!("{HEADER_BEFORE_KID}{kid}{HEADER_AFTER_KID}");
    format!(
        "{}.{}",
        BASE64URL.encode(header),
        BASE64URL.encode(payload_text(claims, feeds, body))
    )
}

fn payload_text(claims: &Claims, feeds: &[Hash], body: &Body) -> String {
    let Claims {
        mesh,
        iss,
        log,
        seq,
        kind,
        id,
        rev,
        prev,
        iat,
        retired,
    } = claims;
    let quoted = |hex: Option<String>| hex.map_or("null".into(), |hex| format!("\"{hex}\""));
    let mesh = quoted(mesh.map(|mesh| mesh.hex()));
    let prev = quoted(prev.map(|prev| prev.hex()));
    let iss = iss.hex();
    let feeds = feeds.iter().map(hidden).collect::<Vec<_>>().join(",");
    let body = match body {
        Body::Plain(members) => serde_json::Value::from_iter(members.clone()).to_string(),
        Body::Slots(slots) => {
            let slots: Vec<_> = slots
                .iter()
                .map(|(name, hash)| format!("\"{name}\":[{}]", hidden(hash)))
                .collect();
            format!("{{{}}}", slots.join(","))
        }
    };
    let mut text = String::with_capacity(600 + feeds.len() + body.len());
    write!(
        text,
        "{{\"v\":1,\"mesh\":{mesh},\"iss\":\"{iss}\",\"log\":{log},\"seq\":{seq},\"kind\":\"{kind}\",\"id\":\"{id}\",\
         \"rev\":{rev},\"prev\":{prev},\"iat\":{iat},\"retired\":{retired},\"_sd_alg\":\"sha-256\",\
         \"feeds\":[{feeds}],\"body\":{body}}}"
    )
    .expect("writing to a string does not fail");
    text
}

fn hidden(hash: &Hash) -> String {
    format!("{{\"...\":\"{hash}\"}}")
}

/// Splits a core and reads it with every check that needs neither key nor disclosure.
pub(super) fn decode(core: &str) -> Result<(Header, Payload), RecordError> {
    let mut parts = core.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed("a core has three parts with dots between"));
    };
    let kid = decode_header(header)
        .ok_or_else(|| malformed("the header is not the one that this protocol has"))?;
    let signature = decode_base64url(signature)
        .ok_or_else(|| malformed("the signature is not 64 bytes in base64url"))?;
    let payload = BASE64URL
        .decode(payload)
        .map_err(|error| malformed(format!("the payload is not base64url: {error}")))?;
    let payload = std::str::from_utf8(&payload)
        .map_err(|error| malformed(format!("the payload is not UTF-8: {error}")))?;
    let payload = read::payload(payload)?;
    check(&payload)?;
    Ok((Header { kid, signature }, payload))
}

fn decode_header(text: &str) -> Option<String> {
    let header: [u8; HEADER_BYTES] = decode_base64url(text)?;
    let kid = header
        .strip_prefix(HEADER_BEFORE_KID.as_bytes())?
        .strip_suffix(HEADER_AFTER_KID.as_bytes())?;
    let is_hex = kid
        .iter()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    String::from_utf8(kid.to_vec()).ok().filter(|_| is_hex)
}

/// What one member cannot tell alone.
fn check(payload: &Payload) -> Result<(), RecordError> {
    let Claims {
        mesh,
        kind,
        rev,
        prev,
        log,
        ..
    } = &payload.claims;
    if mesh.is_none() != (*kind == Kind::Keys) {
        return Err(malformed(
            "mesh is null in records of kind keys, and in no others",
        ));
    }
    if *log == 0 {
        return Err(malformed("logs count from 1"));
    }
    if *rev == 0 || (*rev == 1) != prev.is_none() {
        return Err(malformed(
            "rev counts from 1, and prev is null at rev 1 only",
        ));
    }
    if let Body::Slots(slots) = &payload.body
        && let Some(missing) = kind
            .slots()
            .iter()
            .find(|name| !slots.iter().any(|(other, _)| other == *name))
    {
        return Err(malformed(format!(
            "slot {missing} of kind {kind} is missing"
        )));
    }
    Ok(())
}

/// Where a digest stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In this slot of the body.
    Slot(usize),
    /// At this index of `feeds`.
    Feed(usize),
}

/// All digests of a core, sorted.
pub(super) struct Places(Vec<(Hash, Place)>);

/// Sorts the digests; refuses one digest in two places.
pub(super) fn places(feeds: &[Hash], body: &Body) -> Result<Places, RecordError> {
    let slots: &[(SlotName, Hash)] = match body {
        Body::Plain(_) => &[],
        Body::Slots(slots) => slots,
    };
    let slots = slots
        .iter()
        .enumerate()
        .map(|(n, (_, hash))| (*hash, Place::Slot(n)));
    let feeds = feeds
        .iter()
        .enumerate()
        .map(|(n, hash)| (*hash, Place::Feed(n)));
    let mut all: Vec<_> = slots.chain(feeds).collect();
    all.sort_unstable();
    if all.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(RecordError::Disclosure(
            "one digest stands in two places".into(),
        ));
    }
    Ok(Places(all))
}

impl Places {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Index of the place that `disclosure` opens.
    pub(super) fn find(&self, disclosure: &Disclosure<'_>) -> Result<usize, RecordError> {
        let hash = disclosure.hash();
        self.0
            .binary_search_by(|(other, _)| other.cmp(&hash))
            .map_err(|_| {
                RecordError::Disclosure(format!("{hash} is the digest of no slot and no feed"))
            })
    }

    pub(super) fn place(&self, at: usize) -> Place {
        self.0[at].1
    }
}

const HEADER_BEFORE_KID: &str = r#"{"alg":"EdDSA","typ":"fmesh-record+sd-jwt","kid":""#;
const HEADER_AFTER_KID: &str = r#""}"#;
const HEADER_BYTES: usize = HEADER_BEFORE_KID.len() + 64 + HEADER_AFTER_KID.len();
