//! A partner's rotation, as writers take it in: in order, out of order, and what follows for groups.

use std::collections::{BTreeMap, BTreeSet};

use fmesh_proto::{
    circle::Audience,
    id::{CircleId, ObjectId, SiteId},
    keys::{Kept, OperatingKeys, RootKey, Rotation, sign_rotation},
    kinds::Kind,
    mesh::{
        follow::{Head, Incoming},
        issue::{Author, Item, Seal},
        page::FeedPage,
    },
    publication::Publication,
    record::View,
};
use serde_json::json;

use super::super::{
    plant::{Plant, circle, group, resource, three},
    random,
};

const SHOWN: CircleId = CircleId([8; 16]);

/// A rotation of a plant's keys, and two records with the new ones: one for everybody, one for a circle. None of it is known to anybody.
struct Renewed {
    rotation: View,
    for_circle: View,
    run: Vec<Publication>,
    keys: OperatingKeys,
}

fn renewed(plant: &Plant, n: u8) -> Renewed {
    let keys = OperatingKeys::renewed(&[200; 32], &Kept::default().after(&[n + 100; 32]));
    let head: Head = plant.store.head(&plant.site).unwrap().unwrap();
    let membership = plant.membership();
    let (rev, prev) = membership.keys_of(&plant.site).unwrap().newest_revision();
    let position = plant.store.feed_tail(&CircleId::MESH_WIDE).unwrap() + 1;
    let draft = Rotation {
        seq: head.frontier.size(),
        rev: rev + 1,
        prev,
        position,
        keys: keys.public(),
    };
    let rotation = sign_rotation(&RootKey::from_bytes(&[n; 32]), &draft, 1, &mut random()).unwrap();
    let author = Author {
        mesh: plant.store.meta().unwrap().mesh.unwrap(),
        site: plant.site,
        keys: &keys,
        manifest: &plant.manifest,
    };
    let first = author
        .rotate(&head, rotation.clone(), position, &mut random())
        .unwrap();
    let item = |circle: CircleId| Item {
        kind: Kind::Resource,
        id: ObjectId::from_random([circle.0[0]; 16]),
        rev: 1,
        prev: None,
        retired: false,
        fields: serde_json::from_value(json!({"level": "WorkCell", "name": "New"})).unwrap(),
        circles: BTreeMap::from([(circle, BTreeSet::from(["name".to_owned()]))]),
    };
    let mut tails = BTreeMap::from([(CircleId::MESH_WIDE, position)]);
    let seals = BTreeMap::from([
        (CircleId::MESH_WIDE, Seal::Plain),
        (SHOWN, Seal::Pairwise(keys.public().boxed)),
    ]);
    let items = vec![item(CircleId::MESH_WIDE), item(SHOWN)];
    let second = author
        .issue(
            Some(&first.head),
            &mut tails,
            &seals,
            items,
            1,
            &mut random(),
        )
        .unwrap();
    let issued = second.records[1].issued.as_ref().unwrap();
    Renewed {
        for_circle: issued
            .view(&SHOWN, &BTreeSet::from(["name".to_owned()]))
            .unwrap(),
        run: [first.publications, second.publications].concat(),
        rotation,
        keys,
    }
}

async fn takes(plant: &Plant, incoming: Incoming) {
    plant.writer.take(7, incoming).await.unwrap();
    plant.settled().await;
}

fn holds(plant: &Plant, site: &SiteId) -> u64 {
    plant.store.head(site).unwrap().unwrap().frontier.size()
}

#[tokio::test]
async fn a_run_of_publications_ends_at_new_keys_and_goes_on_with_them() {
    let (a, b, _c, _ticket) = three().await;
    let renewed = renewed(&a, 1);
    let at = holds(&b, &a.site);
    let run = |run: &[Publication]| Incoming::Publications {
        site: a.site,
        run: run.to_vec(),
    };
    takes(&b, run(&renewed.run)).await;
    assert_eq!(holds(&b, &a.site), at + 1, "the rotation, and no more");
    let membership = b.membership();
    let keys = membership.keys_of(&a.site).unwrap();
    assert_eq!(*keys.current(), renewed.keys.public());
    takes(&b, run(&renewed.run[1..])).await;
    assert_eq!(holds(&b, &a.site), at + 3);
    assert!(b.store.record(&a.site, at + 1).unwrap().is_some());
    assert_eq!(b.store.refusals().unwrap(), []);
}

#[tokio::test]
async fn a_feed_waits_for_the_keys_record_and_skips_nothing() {
    let (a, b, _c, _ticket) = three().await;
    let renewed = renewed(&a, 1);
    let at = holds(&b, &a.site);
    // The log came from somebody who keeps leaf hashes only.
    let stripped = renewed.run.iter().map(|publication| {
        Publication::decode(&publication.stripped()).expect("what was stripped reads")
    });
    let run = stripped.collect();
    let site = a.site;
    takes(&b, Incoming::Publications { site, run }).await;
    assert_eq!(holds(&b, &a.site), at + 3);
    let page = || Incoming::Feed {
        issuer: a.site,
        circle: SHOWN,
        page: FeedPage::contiguous(0, vec![renewed.for_circle.clone()]),
    };
    takes(&b, page()).await;
    assert_eq!(b.store.feed_position(&a.site, &SHOWN).unwrap(), 0);
    assert_eq!(b.store.refusals().unwrap(), [], "it is no fault of anybody");
    let views = vec![renewed.rotation.clone()];
    takes(&b, Incoming::Membership { views }).await;
    takes(&b, page()).await;
    assert_eq!(b.store.feed_position(&a.site, &SHOWN).unwrap(), 1);
    assert!(b.store.record(&a.site, at + 2).unwrap().is_some());
}

#[tokio::test]
async fn keys_that_no_log_names_count_for_nobody() {
    let (a, b, _c, _ticket) = three().await;
    let renewed = renewed(&a, 1);
    let views = || Incoming::Membership {
        views: vec![renewed.rotation.clone()],
    };
    // Signed by the root, and in no log that anybody holds.
    for plant in [&a, &b] {
        let before = *plant.membership().keys_of(&a.site).unwrap().current();
        takes(plant, views()).await;
        assert_eq!(
            *plant.membership().keys_of(&a.site).unwrap().current(),
            before
        );
        assert_eq!(plant.store.refusals().unwrap(), [], "it may come too early");
    }
    let site = a.site;
    let stripped = Publication::decode(&renewed.run[0].stripped()).unwrap();
    let run = vec![stripped];
    takes(&b, Incoming::Publications { site, run }).await;
    takes(&b, views()).await;
    let keys = *b.membership().keys_of(&a.site).unwrap().current();
    assert_eq!(keys, renewed.keys.public());
}

#[tokio::test]
async fn groups_with_a_reader_whose_box_key_changed_get_a_new_key_and_others_keep_theirs() {
    let (a, b, c, _ticket) = three().await;
    let pair = Audience::Pairwise { to: a.site };
    b.apply(vec![
        circle("both", group(&[&a, &c])),
        circle("other", group(&[&c])),
        circle("pair", pair),
        resource("DMU-80"),
    ])
    .await;
    let pair = || {
        let circles = b.store.circles().unwrap();
        circles.iter().find(|c| c.name == "pair").unwrap().id
    };
    let (before, old) = (pair(), holds(&b, &b.site));
    assert_eq!((b.epoch("both"), b.epoch("other")), (1, 1));
    // Edits that change nothing of that give no new key.
    b.apply(vec![resource("C42")]).await;
    b.apply(vec![circle("both", group(&[&a, &c]))]).await;
    assert_eq!((b.epoch("both"), b.epoch("other")), (1, 1));
    let renewed = renewed(&a, 1);
    let site = a.site;
    let run = renewed.run[..1].to_vec();
    takes(&b, Incoming::Publications { site, run }).await;
    assert_eq!((b.epoch("both"), b.epoch("other")), (2, 1));
    assert_ne!(
        pair(),
        before,
        "the circle of two goes on under its new name"
    );
    assert!(
        b.store.feed_tail(&pair()).unwrap() >= 2,
        "with all it shows"
    );
    assert!(holds(&b, &b.site) > old);
    // Nothing more follows from it.
    let size = holds(&b, &b.site);
    b.settled().await;
    assert_eq!((b.epoch("both"), holds(&b, &b.site)), (2, size));
    // What is in the log is whole, also for itself.
    assert_eq!(b.store.check(Some(&b.site)).unwrap(), []);
}
