//! The author's side: signing a record, and cutting views from it.
//!
//! What is signed passes the reader's own checks before it is handed out, so a site cannot sign
//! what its partners refuse.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use rand_core::CryptoRng;
use serde_json::Value;

use super::{
    BASE64URL, Claims, Disclosure, Fields, RecordError, View,
    disclosure::{feed_value, read_feed},
    malformed,
    payload::{self, Body, Place},
};
use crate::{id::CircleId, keys::SigningKey, kinds::Kind};

/// A record fresh from the pen of its author, with every disclosure: private to the author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// What is signed.
    pub claims: Claims,
    core: String,
    pub(super) slots: BTreeMap<String, Disclosure<'static>>,
    /// In the order of the core.
    pub(super) feeds: Vec<(CircleId, u64, Disclosure<'static>)>,
}

impl Issued {
    /// Signs. `fields` must hold exactly the slots of the kind (missing ones are committed as null, unknown ones
    /// refused); kinds with plain bodies take them as they are. `feeds` are the circles it goes to, with the position in each.
    pub fn sign(
        claims: Claims,
        fields: &Fields,
        feeds: &[(CircleId, u64)],
        key: &SigningKey,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, RecordError> {
        let (body, slots) = body(&claims.kind, fields, rng)?;
        // Sorted by digest, which is random: the order of the author's circles is nobody's business.
        let mut feeds: Vec<_> = feeds
            .iter()
            .map(|(circle, feed_seq)| {
                (
                    *circle,
                    *feed_seq,
                    Disclosure::hide(&feed_value(circle, *feed_seq), rng),
                )
            })
            .collect();
        feeds.sort_by_cached_key(|(_, _, disclosure)| disclosure.hash());
        let hidden_feeds: Vec<_> = feeds
            .iter()
            .map(|(_, _, disclosure)| disclosure.hash())
            .collect();

        let signed = payload::encode(&key.public().fingerprint(), &claims, &hidden_feeds, &body);
        let signature = BASE64URL.encode(key.sign(signed.as_bytes()));
        let issued = Self {
            core: format!("{signed}.{signature}"),
            claims,
            slots,
            feeds,
        };

        let full = issued.full_view();
        full.check_bounds()?;
        let parsed = full.parse()?;
        parsed.content()?.check()?;
        Ok(issued)
    }

    /// The signed bytes (ASCII, three base64url parts): the leaf.
    #[must_use]
    pub fn core(&self) -> &str {
        &self.core
    }

    /// What `circle` gets: its own feed position and the named slots. Unknown slot names are ignored. A circle the
    /// record does not go to gets `None`.
    #[must_use]
    pub fn view(&self, circle: &CircleId, slots: &BTreeSet<String>) -> Option<View> {
        let (_, _, feed) = self.feeds.iter().find(|(other, _, _)| other == circle)?;
        let opened = self.slots.iter().filter(|(name, _)| slots.contains(*name));
        let disclosures = std::iter::once(feed).chain(opened.map(|(_, disclosure)| disclosure));
        Some(self.with(disclosures))
    }

    /// What somebody in several circles gets: the feed positions and the named slots of each. `None` if the record
    /// goes to none of them.
    #[must_use]
    pub fn view_of(&self, circles: &BTreeMap<CircleId, BTreeSet<String>>) -> Option<View> {
        let feeds: Vec<_> = self
            .feeds
            .iter()
            .filter(|(circle, _, _)| circles.contains_key(circle))
            .map(|(_, _, disclosure)| disclosure)
            .collect();
        let shown = |name: &String| circles.values().any(|slots| slots.contains(name));
        let slots = self.slots.iter().filter(|(name, _)| shown(name));
        let slots = slots.map(|(_, disclosure)| disclosure);
        (!feeds.is_empty()).then(|| self.with(feeds.into_iter().chain(slots)))
    }

    /// Everything opened, all feeds included: the author's own archive form.
    #[must_use]
    pub fn full_view(&self) -> View {
        let feeds = self.feeds.iter().map(|(_, _, disclosure)| disclosure);
        self.with(feeds.chain(self.slots.values()))
    }

    fn with<'a>(&'a self, disclosures: impl Iterator<Item = &'a Disclosure<'a>>) -> View {
        View::assemble(&self.core, disclosures)
    }

    /// What these slots say; nothing for plain kinds, whose bodies are in the core.
    pub fn fields(&self, names: &[&str]) -> Result<Fields, RecordError> {
        let named = |(name, _): &(&String, _)| names.contains(&name.as_str());
        self.slots
            .iter()
            .filter(named)
            .map(|(name, disclosure)| Ok((name.clone(), disclosure.open()?)))
            .collect()
    }

    /// Back from the archive form (bytes that this node wrote before).
    pub fn from_full_view(view: &View) -> Result<Self, RecordError> {
        let (_, payload) = payload::decode(view.core())?;
        let places = payload::places(&payload.feeds, &payload.body)?;
        let mut opened = BTreeMap::new();
        let mut given = 0;
        for disclosure in view.disclosures() {
            opened.insert(places.place(places.find(&disclosure)?), disclosure);
            given += 1;
        }
        if opened.len() != places.len() || given != places.len() {
            return Err(malformed(
                "not everything is opened: this is a view for others, not the author's archive form",
            ));
        }
        let mut slots = BTreeMap::new();
        let mut feeds = Vec::new();
        let names = match payload.body {
            Body::Plain(_) => Vec::new(),
            Body::Slots(slots) => slots,
        };
        for (place, disclosure) in opened {
            match place {
                Place::Slot(n) => {
                    slots.insert(names[n].0.to_string(), disclosure.into_owned());
                }
                Place::Feed(_) => {
                    let (circle, feed_seq) = read_feed(&disclosure.open()?)?;
                    feeds.push((circle, feed_seq, disclosure.into_owned()));
                }
            }
        }
        Ok(Self {
            claims: payload.claims,
            core: view.core().to_owned(),
            slots,
            feeds,
        })
    }
}

/// The body to sign, and what opens it.
fn body(
    kind: &Kind,
    fields: &Fields,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<(Body, BTreeMap<String, Disclosure<'static>>), RecordError> {
    let rule = |what: String| RecordError::Rule {
        kind: kind.to_string(),
        what,
    };
    if matches!(kind, Kind::Other(_)) {
        return Err(rule(
            "this version does not know the kind and cannot sign it".into(),
        ));
    }
    if kind.is_plain() {
        return Ok((Body::Plain(fields.clone()), BTreeMap::new()));
    }
    if let Some(unknown) = fields
        .keys()
        .find(|name| !kind.slots().contains(&name.as_str()))
    {
        return Err(rule(format!(
            "there is no slot {unknown}; there are {}",
            kind.slots().join(", ")
        )));
    }
    let mut hashes = Vec::with_capacity(kind.slots().len());
    let mut slots = BTreeMap::new();
    for name in kind.slots() {
        let disclosure = Disclosure::hide(fields.get(*name).unwrap_or(&Value::Null), rng);
        hashes.push(((*name).into(), disclosure.hash()));
        slots.insert((*name).to_owned(), disclosure);
    }
    Ok((Body::Slots(hashes), slots))
}
