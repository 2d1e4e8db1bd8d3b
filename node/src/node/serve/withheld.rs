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

use fmesh_proto::{
    circle::{History, Rule, Slots},
    kinds::Kind,
    mesh::Ask,
};
use proptest::prelude::*;

mod reader;
mod world;

use self::world::{World, object_id};

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
