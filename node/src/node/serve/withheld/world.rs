//! A site with its operator, its partners, and what each of them may see as the test works it out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fmesh_proto::{
    circle::{Audience, Circle, History, Object, Rule, permits},
    id::{CircleId, ObjectId},
    kinds::Kind,
    mesh::Ask,
    publication::Publication,
    record::Fields,
};
use jiff::civil::{Date, date};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    READERS, Step,
    reader::{Reader, verified, words_of},
};
use crate::{
    node::{pairs::Pairs, serve::Server},
    writer::{
        Edit, NewCircle,
        plant::{Plant, identity, knock},
    },
};

/// A revision that was signed.
struct Revision {
    object: (Kind, ObjectId),
    retired: bool,
    fields: Fields,
    /// What each circle may see of it at the time, as the test works it out.
    shown: BTreeMap<CircleId, BTreeSet<String>>,
    /// Marks by slot: salt and whole disclosure.
    slots: BTreeMap<String, BTreeSet<String>>,
    feeds: BTreeMap<CircleId, BTreeSet<String>>,
}

pub(super) struct World {
    runtime: Runtime,
    plant: Plant,
    pub(super) readers: Vec<Reader>,
    /// The circles as they were asked for.
    circles: BTreeMap<usize, Circle>,
    /// How many revisions there were when a reader entered a group, and what of them is for it.
    entered: BTreeMap<(usize, usize), (usize, History)>,
    /// Marks, and what they are, for people.
    pub(super) marks: BTreeMap<String, String>,
    drawn: u64,
    revisions: Vec<Revision>,
    /// Leaves of the log that were looked at.
    looked: u64,
    publications: Vec<Publication>,
}

pub(super) fn object_id(object: usize) -> ObjectId {
    ObjectId::from_random([u8::try_from(object).expect("few") + 1; 16])
}

fn object_kind(object: usize) -> Kind {
    match object {
        0 => Kind::Site,
        1..=3 => Kind::Resource,
        _ => Kind::Capacity,
    }
}

fn today() -> Date {
    jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date()
}

impl World {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let plant = Plant::new(1);
        let readers = runtime.block_on(async {
            plant.apply(vec![Edit::Found { name: "A".into() }]).await;
            let ticket = plant.ticket().await;
            let mut readers = Vec::new();
            for n in 2..=1 + READERS {
                let (site, keys, manifest) = identity(u8::try_from(n).expect("few"));
                knock(&plant, &ticket, &keys, &manifest).await;
                readers.push(Reader::new(site, keys));
            }
            readers
        });
        let mut world = Self {
            runtime,
            plant,
            readers,
            circles: BTreeMap::new(),
            entered: BTreeMap::new(),
            marks: BTreeMap::new(),
            drawn: 0,
            revisions: Vec::new(),
            looked: 0,
            publications: Vec::new(),
        };
        assert_eq!(world.server().membership.members().count(), 1 + READERS);
        world.after_an_edit();
        world
    }

    pub(super) fn server(&self) -> Server {
        let store = self.plant.store.clone();
        let mesh = store.meta().expect("reads").mesh.expect("founded");
        Server {
            membership: Arc::new(self.plant.membership()),
            site: self.plant.site,
            pairs: Arc::new(Pairs::new(Arc::clone(&self.plant.keys))),
            store,
            mesh,
        }
    }

    /// A text that stands nowhere else.
    fn mark(&mut self, what: &str) -> String {
        self.drawn += 1;
        let mark = format!("zq{:06}qz", self.drawn);
        self.marks.insert(mark.clone(), what.to_owned());
        mark
    }

    /// A number that stands nowhere else.
    fn number(&mut self, what: &str) -> i64 {
        self.drawn += 1;
        let number = 700_000_000 + i64::try_from(self.drawn).expect("few") * 1_009;
        self.marks.insert(number.to_string(), what.to_owned());
        number
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Say { object, process } => self.say(object, process),
            Step::Retire { object } => {
                let key = format!("zq{:06}qz", 900_000 + object);
                self.edit(Edit::RetireObject {
                    kind: object_kind(object),
                    key,
                });
            }
            Step::Set {
                circle,
                rules,
                members,
                over,
                history,
            } => self.set(circle, rules, members, over, history),
            Step::Change { circle, rules } => self.change(circle, rules),
            Step::Enter { circle, reader } => self.regroup(circle, reader, true),
            Step::Leave { circle, reader } => self.regroup(circle, reader, false),
            Step::End { circle } => {
                let name = circle_name(circle);
                if self.edit(Edit::RemoveCircle { name }) {
                    // Its readers are told that it shows nothing any more.
                    if let Some(ended) = self.circles.get_mut(&circle) {
                        ended.rules.clear();
                    }
                    self.after_an_edit();
                    self.circles.remove(&circle);
                    self.entered.retain(|(of, _), _| *of != circle);
                }
                return;
            }
            Step::Ask { reader, after } => {
                self.ask(reader, after);
                return;
            }
            Step::Expel { reader } => {
                let site = self.readers[reader].site;
                let edit = Edit::Remove {
                    site,
                    last_good: None,
                    reason: None,
                };
                if self.edit(edit) {
                    self.readers[reader].is_in = false;
                    self.entered.retain(|(_, who), _| *who != reader);
                    self.circles.retain(|_, circle| {
                        !matches!(&circle.audience, Audience::Pairwise { to } if *to == site)
                    });
                    for circle in self.circles.values_mut() {
                        if let Audience::Group { members } = &mut circle.audience {
                            members.remove(&site);
                        }
                    }
                }
            }
        }
        self.after_an_edit();
    }

    /// False if it was refused, as some steps are: then nothing happened.
    fn edit(&self, edit: Edit) -> bool {
        let done = self.runtime.block_on(self.plant.writer.apply(vec![edit]));
        match done {
            Ok(_) => true,
            Err(crate::writer::WriteError::Store(error)) => panic!("{error}"),
            Err(_) => false,
        }
    }

    fn say(&mut self, object: usize, process: bool) {
        let (kind, id) = (object_kind(object), object_id(object));
        let what = |slot: &str| format!("{slot} of object {object}");
        let body = match kind {
            Kind::Site => json!({
                "name": self.mark(&what("name")), "identifiers": {"duns": self.number(&what("identifiers")).to_string()},
                "location": {"country": "AT", "locality": self.mark(&what("location"))},
                "timezone": "Europe/Vienna", "contact": self.mark(&what("contact")),
                "certificates": [{"type": self.mark(&what("certificates"))}],
            }),
            Kind::Resource => json!({
                "level": "WorkUnit", "name": self.mark(&what("name")), "calendar": self.mark(&what("calendar")),
                "nameplate": {"model": self.mark(&what("nameplate"))},
                "capabilities": [{"process": if process { "separating/milling" } else { "joining" }, "core": true,
                    "materials": [format!("metal/{}", self.mark(&what("capabilities")))], "properties": []}],
            }),
            _ => {
                let columns = ["committed", "available", "unattainable"];
                let [committed, available, unattainable] =
                    columns.map(|column| self.number(&what(column)));
                let total = committed + available + unattainable;
                let maximum = total + 1;
                self.marks.insert(total.to_string(), what("total"));
                self.marks.insert(maximum.to_string(), what("maximum"));
                json!({
                    "name": self.mark(&what("name")), "resources": [object_id(1).to_string()],
                    "process": if process { "separating/milling" } else { "joining" }, "unit": "HUR",
                    "bucket": "P7D", "start": if process { "2026-11-30" } else { "2031-01-06" },
                    "total": [total.to_string()], "committed": [committed.to_string()],
                    "available": [available.to_string()], "unattainable": [unattainable.to_string()],
                    "maximum": [maximum.to_string()], "reason": [self.mark(&what("reason"))],
                })
            }
        };
        let fields: Fields = serde_json::from_value(body).expect("an object");
        // The operator's own name for it: nobody ever sees it.
        let key = format!("zq{:06}qz", 900_000 + object);
        self.marks
            .insert(key.clone(), format!("own name of object {object}"));
        let put = Edit::PutObject {
            kind,
            key,
            id: Some(id),
            fields,
        };
        assert!(self.edit(put), "an object is taken");
    }

    fn set(
        &mut self,
        circle: usize,
        rules: Vec<Rule>,
        members: [bool; READERS],
        over: bool,
        history: History,
    ) {
        let audience = match circle {
            0 => Audience::MeshWide,
            1..=READERS => Audience::Pairwise {
                to: self.readers[circle - 1].site,
            },
            _ => Audience::Group {
                members: self
                    .readers
                    .iter()
                    .zip(members)
                    .filter(|(reader, chosen)| *chosen && reader.is_in)
                    .map(|(reader, _)| reader.site)
                    .collect(),
            },
        };
        let name = circle_name(circle);
        self.marks
            .insert(name.clone(), format!("name of circle {circle}"));
        let until = over.then(|| date(2020, 1, 1));
        let put = NewCircle {
            name: name.clone(),
            audience: Some(audience.clone()),
            rules: rules.clone(),
            until,
            history,
            ..NewCircle::default()
        };
        if !self.edit(Edit::PutCircle(put)) {
            return;
        }
        if let Audience::Group { members } = &audience {
            for (number, reader) in self.readers.iter().enumerate() {
                let at = (circle, number);
                if members.contains(&reader.site) {
                    let now = (self.revisions.len(), history);
                    self.entered.entry(at).or_insert(now);
                } else {
                    self.entered.remove(&at);
                }
            }
        }
        let stored = self.plant.store.circles().expect("reads");
        let id = stored.iter().find(|c| c.name == name).expect("put").id;
        let circle_now = Circle {
            id,
            name,
            audience,
            rules,
            purpose: None,
            until,
            history,
            on_end: Default::default(),
        };
        self.circles.insert(circle, circle_now);
    }

    fn change(&mut self, circle: usize, rules: Vec<Rule>) {
        let Some(before) = self.circles.get(&circle) else {
            return;
        };
        let put = NewCircle {
            name: before.name.clone(),
            rules: rules.clone(),
            until: before.until,
            history: before.history,
            ..NewCircle::default()
        };
        if self.edit(Edit::PutCircle(put))
            && let Some(circle) = self.circles.get_mut(&circle)
        {
            circle.rules = rules;
        }
    }

    fn regroup(&mut self, circle: usize, reader: usize, enters: bool) {
        let (name, site) = (circle_name(circle), self.readers[reader].site);
        let members = BTreeSet::from([site]);
        let edit = match enters {
            true => Edit::AddToCircle { name, members },
            false => Edit::DropFromCircle { name, members },
        };
        if self.edit(edit)
            && let Some(group) = self.circles.get_mut(&circle)
            && let Audience::Group { members } = &mut group.audience
        {
            if enters {
                members.insert(site);
                let now = (self.revisions.len(), group.history);
                self.entered.entry((circle, reader)).or_insert(now);
            } else {
                members.remove(&site);
                self.entered.remove(&(circle, reader));
            }
        }
    }

    /// What was signed is looked at, what follows for each reader is worked out, and what is gossiped is heard.
    fn after_an_edit(&mut self) {
        self.note_revisions();
        self.permit();
        let heard = self.publications.last().map_or(0, Publication::size);
        let bytes = self
            .plant
            .store
            .publications(&self.plant.site, heard, usize::MAX);
        for bytes in bytes.expect("reads") {
            let publication = Publication::decode(&bytes).expect("whole");
            for reader in self.readers.iter_mut().filter(|reader| reader.is_in) {
                reader.hear_publication(&bytes);
            }
            self.publications.push(publication);
        }
    }

    fn note_revisions(&mut self) {
        let records = self.plant.store.records(&self.plant.site, self.looked);
        for entry in records.collect::<Result<Vec<_>, _>>().expect("reads") {
            let (seq, archive, _) = entry;
            self.looked = seq + 1;
            let whole = verified(archive.as_str());
            let claims = whole.claims().clone();
            if claims.kind.is_plain() {
                continue;
            }
            let mut revision = Revision {
                object: (claims.kind.clone(), claims.id),
                retired: claims.retired,
                fields: whole
                    .fields()
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
                    .collect(),
                shown: BTreeMap::new(),
                slots: BTreeMap::new(),
                feeds: BTreeMap::new(),
            };
            // Which slot a disclosure opens is seen by giving it alone.
            for disclosure in archive.disclosures() {
                let text = disclosure.as_str();
                let alone = verified(&format!("{}~{text}~", archive.core()));
                let opens = alone.fields().iter().find(|(_, value)| value.is_some());
                let decoded = URL_SAFE_NO_PAD.decode(text).expect("base64url");
                let decoded: Value = serde_json::from_slice(&decoded).expect("JSON");
                let salt = decoded[0].as_str().expect("a salt").to_owned();
                let marks = [salt, text.to_owned()];
                let (place, what) = match (opens, alone.feeds()) {
                    (Some((slot, _)), []) => {
                        let what = format!("{slot} of {} at leaf {seq}", claims.kind);
                        (revision.slots.entry(slot.clone()).or_default(), what)
                    }
                    (None, [(circle, _)]) => {
                        let what = format!("a feed position at leaf {seq}");
                        (revision.feeds.entry(*circle).or_default(), what)
                    }
                    other => panic!("{other:?}"),
                };
                for mark in marks {
                    self.marks.insert(mark.clone(), what.clone());
                    place.insert(mark);
                }
            }
            for circle in self.circles.values() {
                let slots = seen_of(circle, &revision);
                revision.shown.insert(circle.id, slots);
            }
            self.revisions.push(revision);
        }
    }

    /// What each reader may see at this moment is permitted to it for good.
    fn permit(&mut self) {
        let stored = &self.plant.store;
        let newest: BTreeMap<&(Kind, ObjectId), usize> = self
            .revisions
            .iter()
            .enumerate()
            .map(|(n, revision)| (&revision.object, n))
            .collect();
        for (which, circle) in &self.circles {
            let secret = stored.circle_secret(&circle.id).expect("reads");
            if let Some(secret) = &secret {
                let what = format!("a key of circle {}", circle.id);
                self.marks.insert(secret.key.clone(), what);
            }
            for (who, reader) in self.readers.iter_mut().enumerate() {
                let is_in = match &circle.audience {
                    Audience::MeshWide => reader.is_in,
                    Audience::Pairwise { to } => *to == reader.site,
                    Audience::Group { members } => members.contains(&reader.site),
                };
                if !is_in || !reader.is_in {
                    continue;
                }
                if matches!(circle.audience, Audience::Group { .. }) {
                    reader
                        .permitted
                        .extend(secret.iter().map(|s| s.key.clone()));
                }
                let entered = self.entered.get(&(*which, who));
                for (n, revision) in self.revisions.iter().enumerate() {
                    let is_for_it = match entered {
                        Some((count, History::None)) => n >= *count,
                        Some((count, History::Current)) => {
                            n >= *count || (newest[&revision.object] == n && !revision.retired)
                        }
                        Some((_, History::All)) | None => true,
                    };
                    if !is_for_it {
                        continue;
                    }
                    let Some(then) = revision.shown.get(&circle.id) else {
                        continue;
                    };
                    reader.permitted.extend(
                        revision
                            .feeds
                            .get(&circle.id)
                            .into_iter()
                            .flatten()
                            .cloned(),
                    );
                    let now = seen_of(circle, revision);
                    // What is in plain stays with all members.
                    let plain = circle.audience == Audience::MeshWide;
                    for slot in then.iter().filter(|slot| plain || now.contains(*slot)) {
                        let marks = revision.slots.get(slot).into_iter().flatten().cloned();
                        reader.permitted.extend(marks);
                        let value = &revision.fields[slot];
                        reader
                            .permitted
                            .extend(words_of(value.to_string().as_bytes()));
                    }
                }
            }
        }
        // Grants, and their ends, are for whom they name.
        for revision in self.revisions.iter().filter(|r| r.object.0 == Kind::Grant) {
            let to = revision.fields["to"].as_str();
            let reader = self
                .readers
                .iter_mut()
                .find(|reader| to == Some(&reader.site.hex()));
            if let Some(reader) = reader {
                let all = revision.slots.values().chain(revision.feeds.values());
                reader.permitted.extend(all.flatten().cloned());
            }
        }
    }

    /// A reader asks for everything there is: also for feeds of which it should know nothing.
    pub(super) fn ask(&mut self, reader: usize, after: u64) {
        let server = self.server();
        let site = self.readers[reader].site;
        if server.membership.member(&site).is_none() {
            // The machine answers members only.
            return;
        }
        let mut asks = vec![
            Ask::Heads {
                digest: None,
                directory: None,
                directory_after: None,
                witnessed: None,
                forked: None,
            },
            Ask::Publications {
                site: self.plant.site,
                from: after,
            },
            Ask::Membership {
                held: Vec::new(),
                after: None,
            },
        ];
        let tails = self.plant.store.feed_tails().expect("reads");
        asks.extend(tails.into_keys().map(|circle| Ask::Feed { circle, after }));
        for ask in asks {
            let answer = server.answer(&site, &ask);
            self.readers[reader].hear(&answer);
        }
    }

    /// Opens every box with every key, then looks for marks that should not be there.
    pub(super) fn judge(&mut self) -> Result<(), String> {
        let mesh = self.server().mesh;
        let their_box = self.plant.keys.public().boxed;
        let mut leaks = String::new();
        for (number, reader) in self.readers.iter_mut().enumerate() {
            loop {
                let keys = reader.epochs.len();
                for publication in &self.publications {
                    reader.open(publication, &mesh, &their_box);
                }
                if reader.epochs.len() == keys {
                    break;
                }
            }
            for (mark, what) in &self.marks {
                if reader.words.contains(mark) && !reader.permitted.contains(mark) {
                    leaks.push_str(&format!("reader {number} holds {mark}: {what}\n"));
                }
            }
        }
        match leaks.is_empty() {
            true => Ok(()),
            false => Err(leaks),
        }
    }
}

fn circle_name(circle: usize) -> String {
    format!("zq{:06}qz", 800_000 + circle)
}

fn seen_of(circle: &Circle, revision: &Revision) -> BTreeSet<String> {
    let object = Object {
        kind: &revision.object.0,
        id: &revision.object.1,
        fields: &revision.fields,
    };
    let slots = permits(circle, object, today());
    slots.slots().cloned().unwrap_or_default()
}
