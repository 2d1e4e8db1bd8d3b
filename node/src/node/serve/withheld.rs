//! No byte of a withheld value leaves: random policies, objects, readers and changes of all three, against the real writer
//! and the real [`Server`].
//!
//! Every text and number that the operator enters is a mark that stands nowhere else, and every salt is one by nature.
//! Three readers get everything that the site sends: what is gossiped, what it answers to whatever they ask, and what
//! they can open of any box with any key they have or were ever given. Afterwards no mark may be among it that its reader
//! was not permitted at some moment. What is permitted the test works out by itself from the circles it asked for and
//! [`permits`], never from what the writer stored.
//!
//! What was for all members is in plain, and later members may read it, too: it is anybody's to pass on.

use std::{collections::HashSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fmesh_proto::{
    circle::{EpochKey, Rule, SealContext, Slots, open_group, open_pairwise},
    id::{ObjectId, from_hex},
    keys::OperatingKeys,
    kinds::{Grant, Typed as _},
    publication::Publication,
    record::{Fields, Parsed, Verified},
};
use jiff::civil::{Date, date};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::*;
use crate::writer::{
    Edit, NewCircle,
    plant::{Plant, identity, knock},
};

const READERS: usize = 3;
const OBJECTS: usize = 6;
/// One for all, one for each reader, two groups.
const CIRCLES: usize = 1 + READERS + 2;

/// A thing that an operator or a partner does; numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Step {
    /// An object says something new.
    Say { object: usize, process: bool },
    /// An object ends.
    Retire { object: usize },
    /// A circle becomes this; of groups, with these readers.
    Set {
        circle: usize,
        rules: Vec<Rule>,
        members: [bool; READERS],
        over: bool,
        history: History,
    },
    /// A circle shows other things to the same readers.
    Change { circle: usize, rules: Vec<Rule> },
    /// A reader enters a group.
    Enter { circle: usize, reader: usize },
    /// A reader leaves a group.
    Leave { circle: usize, reader: usize },
    /// A circle is taken away.
    End { circle: usize },
    /// A reader asks for everything after a position.
    Ask { reader: usize, after: u64 },
    /// A reader is put out of the mesh.
    Expel { reader: usize },
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let kinds = prop::sample::subsequence(vec![Kind::Site, Kind::Resource, Kind::Capacity], 1..=3);
    let names: Vec<&'static str> = [Kind::Site, Kind::Resource, Kind::Capacity]
        .iter()
        .flat_map(|kind| kind.slots().iter().copied())
        .collect();
    let some = prop::sample::subsequence(names, 1..8)
        .prop_map(|names| Slots::Only(names.into_iter().map(str::to_owned).collect()));
    let slots = prop_oneof![1 => Just(Slots::All), 5 => some];
    let process = prop::option::weighted(0.2, Just("separating/milling"));
    let one = prop::option::weighted(0.2, 0..OBJECTS);
    let on = prop::option::weighted(0.2, 1..3_usize);
    let weeks = prop::option::weighted(0.2, 0..9_u32);
    (kinds, slots, process, one, on, weeks).prop_map(|(kinds, slots, process, one, on, weeks)| {
        Rule {
            kinds,
            process: process.iter().map(|p| p.parse().expect("a path")).collect(),
            resources: on.into_iter().map(object_id).collect(),
            ids: one.into_iter().map(object_id).collect(),
            weeks,
            slots,
        }
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let (circle, reader, object) = (0..CIRCLES, 0..READERS, 0..OBJECTS);
    let rules = prop::collection::vec(any_rule(), 0..3);
    let (members, over) = (any::<[bool; READERS]>(), prop::bool::weighted(0.1));
    let history = prop::sample::select(&History::ALL[..]);
    let set = (circle.clone(), rules, members, over, history).prop_map(
        |(circle, rules, members, over, history)| Step::Set {
            circle,
            rules,
            members,
            over,
            history,
        },
    );
    let rules = prop::collection::vec(any_rule(), 0..3);
    let change = (1..CIRCLES, rules).prop_map(|(circle, rules)| Step::Change { circle, rules });
    let pair = (CIRCLES - 2..CIRCLES, reader.clone());
    prop_oneof![
        6 => (object.clone(), any::<bool>()).prop_map(|(object, process)| Step::Say { object, process }),
        1 => object.prop_map(|object| Step::Retire { object }),
        6 => set,
        4 => change,
        3 => pair.clone().prop_map(|(circle, reader)| Step::Enter { circle, reader }),
        3 => pair.prop_map(|(circle, reader)| Step::Leave { circle, reader }),
        1 => circle.prop_map(|circle| Step::End { circle }),
        4 => (reader.clone(), prop_oneof![Just(0), 0..12_u64]).prop_map(|(reader, after)| Step::Ask { reader, after }),
        1 => reader.prop_map(|reader| Step::Expel { reader }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]
    #[test]
    fn no_byte_of_a_withheld_value_leaves(steps in prop::collection::vec(any_step(), 12..40)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        for reader in 0..READERS {
            world.ask(reader, 0);
        }
        if let Err(leaks) = world.judge() {
            return Err(TestCaseError::fail(leaks));
        }
    }
}

/// Cases in one run; `FMESH_CASES` asks for more.
fn cases() -> u32 {
    let asked = std::env::var("FMESH_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// The judge is not blind: what was meant for one reader is found with another.
#[test]
fn a_leak_would_be_found() {
    let mut world = World::new();
    let rule = Rule {
        kinds: vec![Kind::Capacity],
        slots: Slots::Only(["available".to_owned()].into()),
        ..Rule::default()
    };
    for (circle, rules) in [(1, vec![rule]), (2, Vec::new())] {
        world.step(Step::Set {
            circle,
            rules,
            members: [false; READERS],
            over: false,
            history: History::Current,
        });
    }
    world.step(Step::Say {
        object: 4,
        process: true,
    });
    for reader in 0..READERS {
        world.ask(reader, 0);
    }
    world.judge().expect("nothing leaked yet");
    let seen = &world.readers[0].words;
    assert!(
        world.marks.keys().any(|mark| seen.contains(mark)),
        "the first reader sees what is for it"
    );
    let own = world.readers[0].site;
    let circles = world.server().circles_of(&own).expect("reads");
    for circle in circles.into_keys() {
        let answer = world.server().answer(&own, &Ask::Feed { circle, after: 0 });
        world.readers[1].hear(&answer);
    }
    let leaks = world.judge().expect_err("the second reader holds it, too");
    assert!(leaks.contains("available"), "{leaks}");
}

/// Who enters when a circle shows less than before is given the past as far as it is shown now.
#[test]
fn a_newcomer_is_not_given_what_the_circle_no_longer_shows() {
    let mut world = World::new();
    let shows = |names: &[&str]| {
        vec![Rule {
            kinds: vec![Kind::Resource],
            slots: Slots::Only(names.iter().map(|name| (*name).to_owned()).collect()),
            ..Rule::default()
        }]
    };
    let (circle, say) = (
        CIRCLES - 1,
        Step::Say {
            object: 1,
            process: true,
        },
    );
    world.step(Step::Set {
        circle,
        rules: shows(&["name", "calendar"]),
        members: [true, false, false],
        over: false,
        history: History::All,
    });
    world.step(say.clone());
    world.step(say);
    world.step(Step::Change {
        circle,
        rules: shows(&["name"]),
    });
    world.step(Step::Enter { circle, reader: 1 });
    for reader in 0..READERS {
        world.ask(reader, 0);
    }
    world.judge().expect("nothing leaked");
    let held = |reader: usize, slot: &str| {
        let words = &world.readers[reader].words;
        let what = format!("{slot} of object 1");
        let marks = world.marks.iter().filter(|(_, is)| **is == what);
        marks.filter(|(mark, _)| words.contains(*mark)).count()
    };
    assert_eq!((held(0, "name"), held(0, "calendar")), (2, 2));
    assert_eq!((held(1, "name"), held(1, "calendar")), (2, 0));
}

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

struct World {
    runtime: Runtime,
    plant: Plant,
    readers: Vec<Reader>,
    /// The circles as they were asked for.
    circles: BTreeMap<usize, Circle>,
    /// How many revisions there were when a reader entered a group, and what of them is for it.
    entered: BTreeMap<(usize, usize), (usize, History)>,
    /// Marks, and what they are, for people.
    marks: BTreeMap<String, String>,
    drawn: u64,
    revisions: Vec<Revision>,
    /// Leaves of the log that were looked at.
    looked: u64,
    publications: Vec<Publication>,
}

struct Reader {
    site: SiteId,
    keys: Arc<OperatingKeys>,
    /// Still a member.
    is_in: bool,
    permitted: BTreeSet<String>,
    /// Everything it was sent or could open, cut into words.
    words: HashSet<String>,
    epochs: BTreeSet<[u8; 32]>,
}

fn object_id(object: usize) -> ObjectId {
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
    fn new() -> Self {
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
                readers.push(Reader {
                    site,
                    keys,
                    is_in: true,
                    permitted: BTreeSet::new(),
                    words: HashSet::new(),
                    epochs: BTreeSet::new(),
                });
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

    fn server(&self) -> Server {
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

    fn step(&mut self, step: Step) {
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
    fn ask(&mut self, reader: usize, after: u64) {
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
    fn judge(&mut self) -> Result<(), String> {
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

fn verified(text: &str) -> Verified {
    let view = View::decode(text.as_bytes()).expect("a view");
    view.parse().map(Parsed::from_store).expect("parses")
}

impl Reader {
    fn hear(&mut self, answer: &wire::Response) {
        use wire::response::What;
        self.take_words(&answer.encode_to_vec());
        match &answer.what {
            Some(What::Publications(page)) => {
                for bytes in &page.publication {
                    self.hear_publication(bytes);
                }
            }
            Some(What::Feed(page)) => {
                for bytes in &page.view {
                    self.take_view(std::str::from_utf8(bytes).expect("text"));
                }
            }
            _ => {}
        }
    }

    fn hear_publication(&mut self, bytes: &[u8]) {
        self.take_words(bytes);
        for view in Publication::decode(bytes).expect("whole").plain {
            self.take_view(view.as_str());
        }
    }

    fn take_view(&mut self, text: &str) {
        self.take_words(text.as_bytes());
        let record = verified(text);
        if record.claims().kind == Kind::Grant
            && let Ok(grant) = Grant::read(record.fields())
            && let Some(key) = grant.key.known().and_then(|key| from_hex(key))
        {
            self.epochs.extend(<[u8; 32]>::try_from(key));
        }
    }

    fn open(
        &mut self,
        publication: &Publication,
        mesh: &fmesh_proto::id::MeshId,
        theirs: &[u8; 32],
    ) {
        for sealed in &publication.sealed {
            let context = SealContext {
                mesh: *mesh,
                site: publication.site,
                circle: CircleId::from_slice(&sealed.circle).expect("an id"),
                epoch: sealed.epoch,
                from: publication.from(),
                size: publication.size(),
            };
            let pairwise = open_pairwise(&self.keys, theirs, &context, sealed);
            let group = self
                .epochs
                .iter()
                .map(|key| open_group(&EpochKey(*key), &context, sealed));
            let opened: Vec<View> = group
                .chain([pairwise])
                .filter_map(Result::ok)
                .flatten()
                .collect();
            for view in opened {
                self.take_view(view.as_str());
            }
        }
    }

    /// Words of some bytes as they are, and of all in them that may be base64url.
    fn take_words(&mut self, bytes: &[u8]) {
        self.words.extend(words_of(bytes));
        for run in bytes.split(|byte| !is_base64url(*byte)) {
            // What stands before it may look like a part of it.
            for start in 0..4.min(run.len()) {
                let whole = (run.len() - start) / 4 * 4;
                for end in [start + whole, run.len()] {
                    if let Ok(inside) = URL_SAFE_NO_PAD.decode(&run[start..end]) {
                        self.words.extend(words_of(&inside));
                    }
                }
            }
        }
    }
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Words that could be marks: long runs of base64url's letters, and marks within them.
fn words_of(bytes: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    for run in bytes.split(|byte| !is_base64url(*byte)) {
        if run.len() < 9 {
            continue;
        }
        words.push(String::from_utf8_lossy(run).into_owned());
        let marks = run
            .windows(10)
            .filter(|w| w.starts_with(b"zq") && w.ends_with(b"qz"));
        words.extend(marks.map(|mark| String::from_utf8_lossy(mark).into_owned()));
    }
    words
}
