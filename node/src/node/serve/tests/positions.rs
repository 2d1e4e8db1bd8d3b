//! Positions in feeds: what readers lack of ours, and what a partner's contradict.

use std::collections::BTreeMap;

use fmesh_proto::{
    mesh::issue::{Author, Item, Seal},
    publication::Publication,
};

use super::*;

fn put(name: &str, members: &[&Plant], history: History) -> Edit {
    with_history(circle(name, group(members)), history)
}

/// What one reader lacks of one circle.
fn backlog(of: &Plant, circle: &CircleId, reader: &SiteId) -> u64 {
    let readership = of.store.readership(&of.site, circle).expect("reads");
    readership.lacking(reader).expect("reads")
}

/// Counted for all partners at once it is what each lacks of the circles that it is in.
fn every_backlog_is_the_sum(of: &Plant) {
    let server = server(of);
    let backlogs = server.backlogs().expect("reads");
    let partners = server.membership.members().map(|member| member.site);
    let partners: Vec<SiteId> = partners.filter(|site| *site != of.site).collect();
    assert_eq!(backlogs.keys().copied().collect::<Vec<_>>(), partners);
    assert!(backlogs.values().any(|count| *count > 0));
    for reader in partners {
        let circles = server.circles_of(&reader).expect("reads");
        let counts = circles.keys().map(|circle| backlog(of, circle, &reader));
        assert_eq!(backlogs[&reader], counts.sum::<u64>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_reader_lacks_is_what_is_for_it_and_not_acknowledged() {
    let (a, b, c, _) = three().await;
    for history in History::ALL {
        a.apply(vec![put(history.as_str(), &[&b], history)]).await;
    }
    a.apply(vec![named("press", "press"), named("oven", "oven")])
        .await;
    a.apply(vec![named("oven", "oven two")]).await;
    let id = |name: &str| {
        let circles = a.store.circles().expect("reads");
        circles
            .iter()
            .find(|c| c.name == name)
            .expect("is there")
            .id
    };
    let lacking = |reader: &Plant, name: &str| backlog(&a, &id(name), &reader.site);
    for (history, at_entry) in [("none", 0), ("current", 2), ("all", 3)] {
        assert_eq!(lacking(&b, history), 3);
        a.apply(vec![Edit::AddToCircle {
            name: history.into(),
            members: [c.site].into(),
        }])
        .await;
        assert_eq!(lacking(&c, history), at_entry, "{history}");
    }
    every_backlog_is_the_sum(&a);
    a.apply(vec![named("saw", "saw")]).await;
    for (history, then) in [("none", 1), ("current", 3), ("all", 4)] {
        assert_eq!(lacking(&c, history), then, "{history}");
        let circle = id(history);
        let tail = a.store.feed_tail(&circle).expect("reads");
        // Beyond the end nobody can be; backwards nobody goes.
        for (position, left) in [(tail - 1, 1), (tail + 1, 1), (tail - 2, 1), (tail, 0)] {
            let acknowledged = a.writer.acknowledged(c.site, circle, position).await;
            acknowledged.expect("is taken");
            a.settled().await;
            assert_eq!(lacking(&c, history), left, "{history} at {position}");
        }
        every_backlog_is_the_sum(&a);
        let acks = a.store.feed_acks(&circle, &c.site).expect("reads");
        let positions: Vec<u64> = acks.iter().map(|(position, _)| *position).collect();
        assert_eq!(positions, [tail - 1, tail]);
        assert!(acks[0].1 <= acks[1].1 && acks[0].1 > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_records_for_one_place_of_a_feed_are_kept_as_evidence() {
    let (a, b, _, _) = three().await;
    let tail = a.store.feed_tail(&CircleId::MESH_WIDE).expect("reads");
    let mut head = a.store.head(&a.site).expect("reads").expect("is there");
    let author = Author {
        mesh: a.store.meta().expect("reads").mesh.expect("in a mesh"),
        site: a.site,
        keys: &a.keys,
        manifest: &a.manifest,
    };
    let mut run = Vec::new();
    // Twice the same position, each time with another record, both properly in the log.
    for name in ["one thing", "another"] {
        let item = Item {
            kind: Kind::Resource,
            id: ObjectId::from_random([name.as_bytes()[0]; 16]),
            rev: 1,
            prev: None,
            retired: false,
            fields: serde_json::from_value(json!({"level": "WorkCell", "name": name}))
                .expect("an object"),
            circles: [(CircleId::MESH_WIDE, ["name".to_owned()].into())].into(),
        };
        let issuance = author
            .issue(
                Some(&head),
                &mut BTreeMap::from([(CircleId::MESH_WIDE, tail)]),
                &BTreeMap::from([(CircleId::MESH_WIDE, Seal::Plain)]),
                vec![item],
                1,
                &mut rand_core::UnwrapErr(getrandom::SysRng),
            )
            .expect("signs");
        head = issuance.head;
        run.extend(issuance.publications);
    }
    let first = run[0].from();
    let take = async |run: Vec<Publication>| {
        let site = a.site;
        let incoming = Incoming::Publications { site, run };
        b.writer.take(1, incoming).await.expect("taken");
        b.settled().await;
    };
    // Once in two steps, as gossip brings them.
    let second = run.split_off(1);
    take(run).await;
    assert_eq!(b.store.two_faced(None).expect("reads"), []);
    take(second).await;
    let kept = b.store.two_faced(Some(&a.site)).expect("reads");
    let [evidence] = kept.as_slice() else {
        panic!("{kept:?}")
    };
    assert_eq!(evidence.leaves, [first, first + 1]);
    assert_eq!(
        (evidence.circle, evidence.feed_seq),
        (CircleId::MESH_WIDE, tail + 1)
    );
    // Anybody can check it: both are signed, and open the same position.
    let membership = b.membership();
    let keys = membership.keys_of(&a.site).expect("a member");
    for text in &evidence.views {
        let record = keys.verify(View::decode(text.as_bytes()).expect("a view"));
        let record = record.expect("signed");
        assert_eq!(record.feed_seq(&CircleId::MESH_WIDE), Some(tail + 1));
    }
    assert_eq!(
        names(&b, &a).into_values().collect::<Vec<_>>(),
        ["one thing"]
    );
    let refused = b.store.refusals().expect("reads");
    assert!(refused[0].reason.contains("two records"), "{refused:?}");
    assert_eq!(b.store.check(Some(&b.site)).expect("checks"), []);
}
