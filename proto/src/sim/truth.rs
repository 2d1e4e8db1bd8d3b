//! What really happened, kept apart from the sites, and the two checks against it.
//!
//! *Safety*: no site was ever sent a value that its circles do not show it, and nobody holds a record that its
//! author did not sign. It holds at every moment, faults or not. *Liveness*: once faults stop, everything permitted
//! is there. It is checked for honest sites only, and separately.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::Sim;
use crate::{
    circle::History,
    id::{CircleId, Digest, ObjectId},
    kinds::Kind,
    record::{Fields, Verified},
};

/// A value that can be recognised wherever it leaks: number of the secret and name of its slot.
pub(super) type Secret = (usize, String);

/// Where a record stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) seq: u64,
    /// Its position in each circle's feed, and the slots shown there.
    pub(super) circles: BTreeMap<CircleId, (u64, BTreeSet<String>)>,
}

/// One record as its author meant it.
#[derive(Debug)]
struct Told {
    issuer: usize,
    /// `None` while it is private.
    place: Option<Place>,
    /// When a later revision of its object was signed.
    replaced: Option<u64>,
    slots: Vec<String>,
}

/// A time in which somebody reads a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The feed's last position at the entry...
    after: u64,
    /// ... when that was...
    since: u64,
    /// ... what it is given of the past...
    history: History,
    /// ... and the last position that is for it, once it was shut out.
    last: Option<u64>,
}

impl Span {
    /// From the beginning.
    pub(super) const ALWAYS: Self = Self {
        after: 0,
        since: 0,
        history: History::All,
        last: None,
    };

    /// In a group, from this position and time on.
    pub(super) fn group(after: u64, history: History, since: u64) -> Self {
        Self {
            after,
            since,
            history,
            last: None,
        }
    }
}

/// The log of truth.
#[derive(Debug, Default)]
pub(super) struct Truth {
    told: Vec<Told>,
    /// Digests of the cores that a site signed at each leaf: several if it contradicts itself.
    cores: BTreeMap<(usize, u64), BTreeSet<Digest>>,
    /// Number of the secret at each position of a feed.
    feeds: BTreeMap<(usize, CircleId, u64), usize>,
    /// The newest revision of each object.
    newest: BTreeMap<(usize, ObjectId), usize>,
    /// Readers of a circle, and when they were in it; at the end of the last span they are.
    readers: BTreeMap<(usize, CircleId), BTreeMap<usize, Vec<Span>>>,
    pub(super) members: BTreeSet<usize>,
    /// Sites that were put out. What was for all members before they were may still reach them.
    pub(super) removed: BTreeSet<usize>,
    /// What was sent to a site by one that knew it to be out.
    pub(super) sent_out: BTreeSet<(usize, usize)>,
    /// What gossip messages hold, by their hash: they go to many.
    pub(super) scanned: BTreeMap<Digest, BTreeSet<Secret>>,
}

impl Truth {
    /// Fields of a new record of `issuer`: its texts are secrets.
    pub(super) fn compose(&mut self, issuer: usize, id: &ObjectId, kind: &Kind) -> (usize, Fields) {
        let number = self.told.len();
        let secret = |slot: &str| Value::String(format!("zq{number}-{slot}zq"));
        let body = match kind {
            Kind::Resource => json!({
                "level": "WorkUnit", "name": secret("name"), "calendar": secret("calendar"),
                "nameplate": {"model": secret("nameplate")},
                "capabilities": [{"process": "separating/milling", "core": true, "materials": [], "properties": []}],
            }),
            _ => json!({
                "name": secret("name"), "resources": [id.to_string()], "process": "separating/milling", "unit": "HUR",
                "bucket": "P7D", "start": "2026-11-30", "total": ["80"], "committed": ["30"], "available": ["50"],
                "unattainable": ["0"], "reason": [secret("reason")],
            }),
        };
        let Value::Object(body) = body else {
            unreachable!("written as an object above")
        };
        let slots = ["name", "calendar", "nameplate", "reason"].into_iter();
        self.told.push(Told {
            issuer,
            place: None,
            replaced: None,
            slots: slots
                .filter(|slot| body.contains_key(*slot))
                .map(str::to_owned)
                .collect(),
        });
        (number, body.into_iter().collect())
    }

    /// It was signed as a revision of this object, and goes to these circles.
    pub(super) fn published(&mut self, number: usize, id: ObjectId, now: u64, place: Place) {
        let issuer = self.told[number].issuer;
        for (circle, (position, _)) in &place.circles {
            self.feeds.insert((issuer, *circle, *position), number);
        }
        if let Some(before) = self.newest.insert((issuer, id), number) {
            self.told[before].replaced = Some(now);
        }
        self.told[number].place = Some(place);
    }

    pub(super) fn signed(&mut self, issuer: usize, record: &Verified) {
        self.also_signed(issuer, record.claims().seq, record.core_digest());
    }

    /// It signed another core at a leaf that it has used.
    pub(super) fn also_signed(&mut self, issuer: usize, seq: u64, core: Digest) {
        self.cores.entry((issuer, seq)).or_default().insert(core);
    }

    pub(super) fn admits(&mut self, issuer: usize, circle: CircleId, reader: usize, span: Span) {
        let readers = self.readers.entry((issuer, circle)).or_default();
        let spans = readers.entry(reader).or_default();
        if spans.last().is_none_or(|before| before.last.is_some()) {
            spans.push(span);
        }
    }

    /// What comes after position `last` is not for `reader`.
    pub(super) fn shuts_out(&mut self, issuer: usize, circle: CircleId, reader: usize, last: u64) {
        let readers = self.readers.get_mut(&(issuer, circle));
        let spans = readers.and_then(|readers| readers.get_mut(&reader));
        if let Some(span) = spans.and_then(|spans| spans.last_mut()) {
            span.last = Some(last);
        }
    }

    fn spans(&self, issuer: usize, circle: &CircleId, reader: usize) -> &[Span] {
        let readers = self.readers.get(&(issuer, *circle));
        readers
            .and_then(|readers| readers.get(&reader))
            .map_or(&[], Vec::as_slice)
    }

    /// Is it in the circle now?
    fn is_in(&self, issuer: usize, circle: &CircleId, reader: usize) -> bool {
        match *circle == CircleId::MESH_WIDE {
            true => self.members.contains(&reader),
            false => self
                .spans(issuer, circle, reader)
                .last()
                .is_some_and(|span| span.last.is_none()),
        }
    }

    /// May (or, with `now`, must) this reader have what stands at `position` of the feed?
    fn reads(
        &self,
        issuer: usize,
        circle: &CircleId,
        position: u64,
        reader: usize,
        now: bool,
    ) -> bool {
        if *circle == CircleId::MESH_WIDE {
            return self.members.contains(&reader) || (!now && self.removed.contains(&reader));
        }
        let number = self.feeds.get(&(issuer, *circle, position));
        let replaced = number.and_then(|number| self.told[*number].replaced);
        let in_span = |span: &Span| {
            let past = match span.history {
                History::None => false,
                History::All => true,
                // It was the state at some time of the span.
                History::Current => replaced.is_none_or(|at| !now && at >= span.since),
            };
            let in_time = span.last.is_none_or(|last| position <= last && !now);
            (position > span.after || past) && in_time
        };
        let spans = self.spans(issuer, circle, reader);
        match now {
            true => spans.last().is_some_and(in_span),
            false => spans.iter().any(in_span),
        }
    }

    fn shown(&self, secret: &Secret, reader: usize, now: bool) -> bool {
        let Some(told) = self.told.get(secret.0) else {
            return false;
        };
        let circles = told.place.iter().flat_map(|place| &place.circles);
        told.issuer == reader
            || circles.into_iter().any(|(circle, (position, slots))| {
                slots.contains(&secret.1) && self.reads(told.issuer, circle, *position, reader, now)
            })
    }

    /// Secrets in bytes that a site was sent: as they are, or inside anything that looks like base64url.
    pub(super) fn secrets_in(&self, bytes: &[u8]) -> BTreeSet<Secret> {
        let mut found = BTreeSet::new();
        self.scan(bytes, &mut found);
        for run in bytes.split(|b| !(b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_')) {
            if run.len() >= 24
                && let Ok(inside) = URL_SAFE_NO_PAD.decode(run)
            {
                self.scan(&inside, &mut found);
            }
        }
        found
    }

    fn scan(&self, bytes: &[u8], found: &mut BTreeSet<Secret>) {
        let mut rest = bytes;
        while let Some(at) = rest.windows(2).position(|two| two == b"zq") {
            rest = &rest[at + 2..];
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            let number: Option<usize> = std::str::from_utf8(&rest[..digits])
                .ok()
                .and_then(|n| n.parse().ok());
            if let (Some(number), Some(b'-')) = (number, rest.get(digits)) {
                let letters = rest[digits + 1..]
                    .iter()
                    .take_while(|b| b.is_ascii_lowercase());
                let slot: String = letters.map(|b| char::from(*b)).collect();
                if let Some(slot) = slot.strip_suffix("zq")
                    && let Some(told) = self.told.get(number)
                    && told.slots.iter().any(|known| known == slot)
                {
                    found.insert((number, slot.to_owned()));
                }
            }
        }
    }
}

impl Sim {
    /// Nothing unpermitted left a site, and nothing forged got in.
    pub fn safety(&self) -> Result<(), String> {
        let mut wrong = String::new();
        for (reader, site) in self.sites.iter().enumerate() {
            for secret in site
                .overheard
                .iter()
                .filter(|s| !self.truth.shown(s, reader, false))
            {
                let _ = writeln!(
                    wrong,
                    "site {reader} was sent {secret:?} of site {}",
                    self.truth.told[secret.0].issuer
                );
            }
            if site.malice.is_some() {
                continue;
            }
            for ((author, seq), views) in &site.store.records {
                let issuer = self.index(author);
                let signed = issuer.and_then(|issuer| self.truth.cores.get(&(issuer, *seq)));
                for view in views
                    .iter()
                    .filter(|view| !signed.is_some_and(|all| all.contains(&view.core_digest())))
                {
                    let _ = writeln!(
                        wrong,
                        "site {reader} holds a record at leaf {seq} of {author} that it never signed: {:?}",
                        view.claims()
                    );
                }
                for (circle, position) in views.iter().flat_map(|view| view.feeds()) {
                    if issuer != Some(reader)
                        && !issuer
                            .is_some_and(|i| self.truth.reads(i, circle, *position, reader, false))
                    {
                        let _ = writeln!(
                            wrong,
                            "site {reader} holds a record of circle {circle}, which it never was in"
                        );
                    }
                }
            }
            for member in site.store.membership.members() {
                let known =
                    |n: usize| self.truth.members.contains(&n) || self.truth.removed.contains(&n);
                if !self.index(&member.site).is_some_and(known) {
                    let _ = writeln!(wrong, "site {reader} takes {} for a member", member.site);
                }
            }
        }
        for (from, to) in &self.truth.sent_out {
            let _ = writeln!(
                wrong,
                "site {from} knew that site {to} is out and told it something"
            );
        }
        for reader in &self.truth.removed {
            self.read_by_removed(*reader, &mut wrong);
        }
        verdict(wrong)
    }

    /// What a removed site could read if it got hold of every byte that anybody keeps.
    fn read_by_removed(&self, reader: usize, wrong: &mut String) {
        let site = &self.sites[reader];
        let kept: BTreeSet<Vec<u8>> = self
            .sites
            .iter()
            .flat_map(|other| other.store.publications())
            .collect();
        for bytes in kept {
            for view in site.store.opens(&site.who, self.mesh, &bytes) {
                let Ok(record) = view.parse().map(crate::record::Parsed::from_store) else {
                    continue;
                };
                let issuer = self.index(&record.claims().iss);
                let reads = |circle: &CircleId, position: u64| {
                    issuer == Some(reader)
                        || issuer.is_some_and(|issuer| {
                            self.truth.reads(issuer, circle, position, reader, false)
                        })
                };
                for (circle, position) in record.feeds() {
                    if !reads(circle, *position) {
                        let _ = writeln!(
                            wrong,
                            "site {reader} is out and can read position {position} of circle {circle}"
                        );
                    }
                }
            }
        }
    }

    /// A site sends something to another.
    pub(super) fn watch(&mut self, from: usize, to: usize) {
        let out = self.sites[to].who.site;
        let sender = &self.sites[from];
        let knows = |process: &super::site::Process| process.told.removed().contains_key(&out);
        if sender.malice.is_none() && sender.process.as_ref().is_some_and(knows) {
            self.truth.sent_out.insert((from, to));
        }
    }

    /// Everything permitted has arrived at the honest sites that run, from honest sites.
    pub fn liveness(&self) -> Result<(), String> {
        let mut wrong = String::new();
        let honest: Vec<usize> = self
            .truth
            .members
            .iter()
            .copied()
            .filter(|n| self.sites[*n].malice.is_none())
            .collect();
        let running = honest
            .iter()
            .copied()
            .filter(|n| self.sites[*n].process.is_some());
        for reader in running {
            let (site, store) = (&self.sites[reader], &self.sites[reader].store);
            let known: BTreeSet<usize> = self.members(reader).into_iter().collect();
            if known != self.truth.members {
                let _ = writeln!(wrong, "site {reader} takes {known:?} for the members");
            }
            for issuer in honest.iter().copied().filter(|issuer| *issuer != reader) {
                let author = &self.sites[issuer];
                let id = author.who.site;
                let [held, signed] = [store, &author.store].map(|s| s.heads.get(&id));
                if held.map(|head| &head.frontier) != signed.map(|head| &head.frontier) {
                    let (has, all) = (store.size(&id), author.store.size(&id));
                    let _ = writeln!(
                        wrong,
                        "site {reader} follows site {issuer} to {has} of {all}"
                    );
                }
                for (circle, tail) in &author.store.tails {
                    let position = store.positions.get(&(id, *circle)).copied().unwrap_or(0);
                    if position < *tail && self.truth.is_in(issuer, circle, reader) {
                        let _ = writeln!(
                            wrong,
                            "site {reader} has {position} of {tail} in circle {circle} of site {issuer}"
                        );
                    }
                }
            }
            for (number, told) in self.truth.told.iter().enumerate() {
                let Some(Place { seq, .. }) = told
                    .place
                    .as_ref()
                    .filter(|_| honest.contains(&told.issuer))
                else {
                    continue;
                };
                let views = store.records.get(&(self.sites[told.issuer].who.site, *seq));
                for slot in &told.slots {
                    let has = views
                        .into_iter()
                        .flatten()
                        .any(|v| matches!(v.fields().get(slot), Some(Some(_))));
                    if !has && self.truth.shown(&(number, slot.clone()), reader, true) {
                        let _ = writeln!(
                            wrong,
                            "site {reader} lacks {slot} of leaf {seq} of site {}",
                            told.issuer
                        );
                    }
                }
            }
            if let Some(process) = &site.process
                && !process.undecided.is_empty()
            {
                let _ = writeln!(
                    wrong,
                    "site {reader} owes {} verdicts",
                    process.undecided.len()
                );
            }
        }
        verdict(wrong)
    }
}

fn verdict(wrong: String) -> Result<(), String> {
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.lines().take(12).collect::<Vec<_>>().join("\n")),
    }
}
