//! More objects than are signed together: one edit, several commits.

use std::collections::BTreeSet;

use fmesh_proto::{
    circle::{Circle, Rule},
    id::ObjectId,
    kinds::Kind,
};

use super::{Changes, sign::SIGNED_TOGETHER};
use crate::writer::{
    Edit, NewCircle, WriteError,
    plant::{Plant, circle, group, resource, three},
};

const OBJECTS: usize = 3 * SIGNED_TOGETHER + 2;

fn many() -> Vec<Edit> {
    (0..OBJECTS)
        .map(|n| resource(&format!("press {n}")))
        .collect()
}

fn the_circle(plant: &Plant, name: &str) -> Option<Circle> {
    let circles = plant.store.circles().expect("reads");
    circles.into_iter().find(|circle| circle.name == name)
}

/// Objects that went to a circle, by position.
fn feed(plant: &Plant, name: &str) -> Vec<(u64, ObjectId)> {
    let circle = the_circle(plant, name).expect("is there").id;
    let entries = plant.store.feed(&circle, 0, usize::MAX).expect("reads");
    entries
        .iter()
        .map(|entry| (entry.feed_seq, entry.id))
        .collect()
}

fn resources(edits: &crate::writer::Applied) -> Vec<(u64, ObjectId)> {
    let issued = edits.issued.iter();
    let resources = issued.filter(|(_, kind, _, _)| *kind == Kind::Resource);
    resources.map(|(seq, _, id, _)| (*seq, *id)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_fit_one_commit_are_all_signed_in_order() {
    let (a, b, _, _) = three().await;
    a.apply(many()).await;
    let put = || circle("all", group(&[&b]));
    let size = a.store.head(&a.site).expect("reads").expect("is there");
    let would = a.writer.dry_run(vec![put()]).await.expect("would apply");
    assert_eq!(resources(&would).len(), OBJECTS);
    assert_eq!(a.store.head(&a.site).expect("reads"), Some(size));

    let signed = resources(&a.apply(vec![put()]).await);
    assert_eq!(signed.len(), OBJECTS);
    assert!(
        signed.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0),
        "{signed:?}"
    );
    let in_feed = feed(&a, "all");
    let expected = (1..).zip(signed.iter().map(|(_, id)| *id));
    assert_eq!(in_feed, expected.take(OBJECTS).collect::<Vec<_>>());
    let again = a.apply(Vec::new()).await;
    assert_eq!(again.issued, [], "everything is said");

    // The end of a circle is told for each of them before it is forgotten.
    let id = the_circle(&a, "all").expect("is there").id;
    let ended = a
        .apply(vec![Edit::RemoveCircle { name: "all".into() }])
        .await;
    assert_eq!(resources(&ended).len(), OBJECTS);
    assert!(the_circle(&a, "all").is_none());
    let told = a
        .store
        .feed(&id, OBJECTS as u64, usize::MAX)
        .expect("reads");
    assert_eq!(told.len(), OBJECTS);
    assert!(told.iter().all(|entry| entry.slots.is_empty()), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_was_ended_between_two_commits_goes_on_at_its_next_start() {
    let (a, b, _, _) = three().await;
    let narrow = |count: usize, of: &[ObjectId]| Rule {
        kinds: vec![Kind::Resource],
        ids: of[..count].to_vec(),
        ..Rule::default()
    };
    let put = a.apply(many()).await.objects;
    let ids: Vec<ObjectId> = put.into_iter().map(|(_, _, id, _)| id).collect();
    let Edit::PutCircle(wide) = circle("all", group(&[&b])) else {
        unreachable!("a circle is put");
    };
    a.apply(vec![Edit::PutCircle(NewCircle {
        rules: vec![narrow(SIGNED_TOGETHER, &ids)],
        ..wide.clone()
    })])
    .await;
    assert_eq!(feed(&a, "all").len(), SIGNED_TOGETHER);
    // As the store is after the first commit of an edit that shows all of them.
    let a = a.restarted(|store| {
        let mut circle = store.circles().expect("reads").remove(0);
        circle.rules = wide.rules.clone();
        let mut changes = Changes::new();
        changes.put_circle(&circle);
        store.commit(changes).expect("writes");
    });
    a.settled().await;
    let told: BTreeSet<ObjectId> = feed(&a, "all").into_iter().map(|(_, id)| id).collect();
    assert_eq!(told, ids.into_iter().collect());
    assert_eq!(feed(&a, "all").len(), OBJECTS, "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_one_cannot_be_signed_none_is() {
    let (a, b, _, _) = three().await;
    a.apply(many()).await;
    // The last in order, in as many circles as a record may go to.
    let last = ObjectId::from_random([0xff; 16]);
    let mut edits = vec![resource("last")];
    if let Edit::PutObject { id, .. } = &mut edits[0] {
        *id = Some(last);
    }
    let Edit::PutCircle(wide) = circle("all", group(&[&b])) else {
        unreachable!("a circle is put");
    };
    edits.extend((0..fmesh_proto::limits::FEEDS_PER_RECORD_MAX).map(|n| {
        Edit::PutCircle(NewCircle {
            name: format!("circle {n}"),
            rules: vec![Rule {
                kinds: vec![Kind::Resource],
                ids: vec![last],
                ..Rule::default()
            }],
            ..wide.clone()
        })
    }));
    a.apply(edits).await;
    let refused = a.refuses(Edit::PutCircle(wide)).await;
    assert!(matches!(refused, WriteError::Invalid(_)), "{refused}");
    assert!(the_circle(&a, "all").is_none());
    assert_eq!(a.apply(Vec::new()).await.issued, []);
}
