//! Grants that end: what stays at the reader, what does not, and what its issuer hears of it.

use std::collections::BTreeSet;

use fmesh_proto::{
    circle::{Rule, Slots},
    kinds::{Attestation, Claim, Grant, OnEnd, Outcome, Slot, Typed as _},
    publication::Publication,
    record::Verified,
    week::WeekSpan,
};

use super::*;
use crate::{
    search::Query,
    store::{Changes, Ending},
    writer::endings::has_ended,
};

const GROUP: &str = "buyers";

/// B is in a group that shows names and levels, and in a circle of its own that shows levels of some.
async fn shared(a: &Plant, b: &Plant, on_end: OnEnd) {
    let slots = |names: &[&str]| Slots::Only(names.iter().map(|n| (*n).to_owned()).collect());
    let rule = |ids: Vec<ObjectId>, names: &[&str]| Rule {
        kinds: vec![Kind::Resource],
        ids,
        slots: slots(names),
        ..Rule::default()
    };
    let put = |name: &str, audience: Audience, rule: Rule| {
        Edit::PutCircle(NewCircle {
            name: name.into(),
            audience: Some(audience),
            rules: vec![rule],
            on_end: match audience_is_group(name) {
                true => on_end,
                false => OnEnd::default(),
            },
            ..NewCircle::default()
        })
    };
    let own = Audience::Pairwise { to: b.site };
    let press = ObjectId::from_random([b'p'; 16]);
    a.apply(vec![
        put(GROUP, group(&[b]), rule(Vec::new(), &["name", "level"])),
        put("for B", own, rule(vec![press], &["level", "calendar"])),
    ])
    .await;
    a.apply(vec![named("press", "press"), named("oven", "oven")])
        .await;
    a.apply(vec![named("oven", "oven two")]).await;
    b.hears(a).await;
    pulls(b, a).await;
}

fn audience_is_group(name: &str) -> bool {
    name == GROUP
}

async fn leaves(a: &Plant, b: &Plant) {
    a.apply(vec![Edit::DropFromCircle {
        name: GROUP.into(),
        members: [b.site].into(),
    }])
    .await;
    b.hears(a).await;
    pulls(b, a).await;
}

/// Resources of `issuer` as `reader` holds them, oldest first.
fn resources(reader: &Plant, issuer: &Plant) -> Vec<Verified> {
    let records = reader.store.records(&issuer.site, 0);
    let record = |entry: Result<(u64, View, u64), StoreError>| {
        let (_, view, _) = entry.expect("reads");
        view.parse().map(Parsed::from_store).expect("parses")
    };
    records
        .map(record)
        .filter(|record| record.claims().kind == Kind::Resource)
        .collect()
}

fn opened(record: &Verified) -> Vec<&str> {
    let shown = record.fields().iter().filter(|(_, value)| value.is_some());
    shown.map(|(name, _)| name.as_str()).collect()
}

/// Names of resources that a question finds.
fn found(plant: &Plant, with_ended: bool) -> BTreeSet<String> {
    let index = plant.index.read().expect("no panic while it was locked");
    let weeks: WeekSpan = "2026-W49..W51".parse().expect("weeks");
    let query = Query {
        with_ended,
        ..Query::new(weeks)
    };
    let answers = index.find(&query).expect("answers");
    let names = answers.best.into_iter().map(|answer| {
        assert_eq!(answer.ended, with_ended, "{answer:?}");
        answer.resource_name.unwrap_or_default()
    });
    names.collect()
}

fn ending(reader: &Plant) -> Option<Ending> {
    reader.store.endings().expect("reads").pop()
}

/// The receipt of `reader` as `issuer` holds it, and the leaf of the end that it names.
fn receipt(issuer: &Plant, reader: &Plant) -> Option<Outcome> {
    let mut all = issuer.store.currents_of(&reader.site, &Kind::Attestation);
    let (_, seq) = all.next()?.expect("reads");
    let (view, _) = issuer.store.record(&reader.site, seq).expect("reads")?;
    let record = view.parse().map(Parsed::from_store).expect("parses");
    let said = Attestation::read(record.fields()).expect("reads");
    assert_eq!(said.claim, Slot::Known(Claim::Deleted));
    assert_eq!(said.subject, Slot::Known(issuer.site));
    let grant = issuer
        .store
        .objects(Some(&Kind::Grant))
        .expect("reads")
        .into_iter()
        .find(|object| object.key.ends_with(&reader.site.hex()))
        .expect("it was granted");
    let issue = issuer.store.issue(&Kind::Grant, &grant.id).expect("reads");
    let core = issue.and_then(|issue| issue.core).expect("it was signed");
    assert_eq!(said.targets, Slot::Known(vec![core]));
    said.result.known().cloned()
}

/// After a deletion at `b`.
fn is_deleted(a: &Plant, b: &Plant) {
    let held = resources(b, a);
    assert_eq!(held.len(), 3, "the cores stay");
    for record in &held {
        let expected: &[&str] = match record.claims().id.0.as_bytes()[0] {
            b'p' => &["calendar", "level"],
            _ => &[],
        };
        assert_eq!(opened(record), expected, "{:?}", record.claims());
    }
    let over = ending(b).expect("it ended");
    assert_eq!(
        (over.on_end, over.next, over.cleared),
        (OnEnd::Delete, None, 3)
    );
    assert!(over.receipt.is_some());
    assert!(
        b.store
            .epochs(&a.site, &over.circle)
            .expect("reads")
            .is_empty()
    );
    let text = "oven";
    for entry in b.store.records(&a.site, 0) {
        let (_, view, _) = entry.expect("reads");
        let record = view.parse().map(Parsed::from_store).expect("parses");
        assert!(!format!("{:?}", record.fields()).contains(text));
        if let Ok(grant) = Grant::read(record.fields())
            && record.claims().kind == Kind::Grant
        {
            assert!(grant.key.known().is_none(), "keys are given back, too");
            assert_eq!(grant.circle, Slot::Known(over.circle), "its terms stay");
        }
    }
    let kept = b.store.publications(&a.site, 0, usize::MAX).expect("reads");
    for bytes in kept {
        let publication = Publication::decode(&bytes).expect("whole");
        let boxes = publication
            .sealed
            .iter()
            .filter(|s| s.circle == over.circle.0);
        assert!(boxes.into_iter().all(|sealed| sealed.ciphertext.is_empty()));
    }
    assert_eq!(
        found(b, false),
        BTreeSet::from([String::new()]),
        "the press, without its name"
    );
    assert_eq!(b.store.check(Some(&b.site)).expect("checks"), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_circles_show_of_a_record_adds_up() {
    let (a, b, _, _) = three().await;
    shared(&a, &b, OnEnd::Keep).await;
    let held = resources(&b, &a);
    let press = held.iter().find(|r| r.claims().id.0.as_bytes()[0] == b'p');
    assert_eq!(opened(press.expect("held")), ["calendar", "level", "name"]);
    assert_eq!(press.expect("held").feeds().len(), 2);
    assert_eq!(
        found(&b, false),
        ["oven two", "press"].map(str::to_owned).into()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_keeps_changes_nothing() {
    let (a, b, _, _) = three().await;
    shared(&a, &b, OnEnd::Keep).await;
    let before: Vec<View> = resources(&b, &a).iter().map(|r| r.view().clone()).collect();
    leaves(&a, &b).await;
    let after: Vec<View> = resources(&b, &a).iter().map(|r| r.view().clone()).collect();
    assert_eq!(before, after);
    assert_eq!(ending(&b).map(|e| e.on_end), Some(OnEnd::Keep));
    assert_eq!(
        found(&b, false),
        ["oven two", "press"].map(str::to_owned).into()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_greys_takes_out_of_search_what_came_only_that_way() {
    let (a, b, _, _) = three().await;
    shared(&a, &b, OnEnd::Grey).await;
    leaves(&a, &b).await;
    let endings = b.store.endings().expect("reads");
    for record in resources(&b, &a) {
        let only_there = record.claims().id.0.as_bytes()[0] != b'p';
        assert_eq!(has_ended(&endings, &record), only_there);
        assert!(opened(&record).contains(&"name"), "nothing is lost");
    }
    let both = |plant: &Plant| {
        let index = plant.index.read().expect("no panic while it was locked");
        let weeks: WeekSpan = "2026-W49..W51".parse().expect("weeks");
        let query = Query {
            with_ended: true,
            ..Query::new(weeks)
        };
        let answers = index.find(&query).expect("answers").best;
        let marked: BTreeSet<(String, bool)> = answers
            .into_iter()
            .map(|answer| (answer.resource_name.unwrap_or_default(), answer.ended))
            .collect();
        marked
    };
    assert_eq!(found(&b, false), ["press".to_owned()].into());
    let expected = BTreeSet::from([("oven two".to_owned(), true), ("press".to_owned(), false)]);
    assert_eq!(both(&b), expected);
    let counts = b.index.read().expect("locks").counts();
    assert_eq!(counts[&a.site], (1, 0));
    // It is given again, and is as if it never ended.
    a.apply(vec![Edit::AddToCircle {
        name: GROUP.into(),
        members: [b.site].into(),
    }])
    .await;
    b.hears(&a).await;
    pulls(&b, &a).await;
    assert_eq!(ending(&b), None);
    assert_eq!(
        found(&b, false),
        ["oven two", "press"].map(str::to_owned).into()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_deletes_is_carried_out_and_confirmed() {
    let (a, b, _, _) = three().await;
    shared(&a, &b, OnEnd::Delete).await;
    leaves(&a, &b).await;
    is_deleted(&a, &b);
    a.hears(&b).await;
    pulls(&a, &b).await;
    let done = receipt(&a, &b).expect("arrived");
    assert_eq!((done.records, done.feed_seq), (Some(3), Some(3)));
    assert_eq!(done.circle, ending(&b).map(|e| e.circle));
    // Nothing is confirmed twice.
    let size = || {
        b.store
            .head(&b.site)
            .expect("reads")
            .expect("is there")
            .frontier
            .size()
    };
    let before = size();
    b.settled().await;
    assert_eq!(size(), before);

    // Let in again, it is given the state as it is now: also what it had before.
    a.apply(vec![Edit::AddToCircle {
        name: GROUP.into(),
        members: [b.site].into(),
    }])
    .await;
    b.hears(&a).await;
    pulls(&b, &a).await;
    assert_eq!(ending(&b), None);
    assert_eq!(
        found(&b, false),
        ["oven two", "press"].map(str::to_owned).into()
    );
    assert_eq!(b.store.check(Some(&b.site)).expect("checks"), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_a_crash_interrupted_is_finished_at_the_next_start() {
    for lost_after in [0, 1] {
        let (a, b, _, _) = three().await;
        shared(&a, &b, OnEnd::Delete).await;
        let circle = a
            .store
            .circles()
            .expect("reads")
            .into_iter()
            .find(|c| c.name == GROUP)
            .expect("is there")
            .id;
        // The end is stored, and nothing of what it asks, or the first record's part of it.
        a.apply(vec![Edit::DropFromCircle {
            name: GROUP.into(),
            members: [b.site].into(),
        }])
        .await;
        let grant = a.store.objects(Some(&Kind::Grant)).expect("reads").pop();
        let grant = grant.expect("it was granted");
        let end = a.store.issue(&Kind::Grant, &grant.id).expect("reads");
        let b = b.restarted(|store| {
            let mut changes = Changes::new();
            let mut over = Ending {
                issuer: a.site,
                circle,
                on_end: OnEnd::Delete,
                grant: end.and_then(|end| end.core).expect("it was signed"),
                since: 1,
                position: store.feed_position(&a.site, &circle).expect("reads"),
                next: Some(0),
                cleared: 0,
                receipt: None,
            };
            for epoch in store.epochs(&a.site, &circle).expect("reads") {
                changes.delete_epoch_key(&a.site, &circle, epoch);
            }
            if lost_after == 1 {
                let oven = store.records(&a.site, 0).find_map(|entry| {
                    let (seq, view, received) = entry.expect("reads");
                    let record = view.parse().map(Parsed::from_store).expect("parses");
                    let is_oven = record.claims().id == ObjectId::from_random([b'o'; 16]);
                    is_oven.then_some((seq, record, received))
                });
                let (seq, record, received) = oven.expect("held");
                let bare = record.view().narrowed(&BTreeSet::new()).expect("reads");
                changes.put_record(&a.site, seq, &bare, received);
                over.cleared = 1;
            }
            changes.put_ending(&over);
            store.commit(changes).expect("commits");
        });
        b.settled().await;
        // The index of this start knows nothing but what was refiled, so the store alone is looked at.
        let names: Vec<String> = names(&b, &a).into_values().collect();
        assert_eq!(names, [] as [String; 0]);
        let over = ending(&b).expect("it ended");
        assert_eq!((over.next, over.cleared), (None, 3), "{lost_after}");
        assert!(over.receipt.is_some());
        a.hears(&b).await;
        pulls(&a, &b).await;
        assert_eq!(receipt(&a, &b).expect("arrived").records, Some(3));
        assert_eq!(b.store.check(Some(&b.site)).expect("checks"), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_circle_is_the_end_of_its_grants() {
    let (a, b, _, _) = three().await;
    shared(&a, &b, OnEnd::Delete).await;
    a.apply(vec![Edit::RemoveCircle { name: GROUP.into() }])
        .await;
    b.hears(&a).await;
    let over = ending(&b).expect("it ended");
    assert!(over.receipt.is_some());
    let names: Vec<String> = names(&b, &a).into_values().collect();
    assert_eq!(names, [] as [String; 0]);
}
