//! Feeds from a real store, read by a real writer: what a newcomer of a group is given.

use std::collections::{BTreeMap, BTreeSet};

use fmesh_proto::{
    id::ObjectId,
    mesh::{follow::Incoming, page::FeedPage},
    record::Parsed,
};
use serde_json::json;

use super::*;
use crate::writer::{
    Edit, NewCircle,
    plant::{Plant, circle, group, three},
};

mod endings;
mod positions;

/// What serves for a plant.
fn server(plant: &Plant) -> Server {
    let store = plant.store.clone();
    let mesh = store.meta().expect("reads").mesh.expect("in a mesh");
    Server {
        membership: std::sync::Arc::new(plant.membership()),
        site: plant.site,
        pairs: std::sync::Arc::new(Pairs::new(std::sync::Arc::clone(&plant.keys))),
        store,
        mesh,
    }
}

/// Everything that `issuer` has for `reader` is pulled, page by page, to the end of each feed.
async fn pulls(reader: &Plant, issuer: &Plant) {
    let server = server(issuer);
    let answer = server.answer(
        &reader.site,
        &Ask::Heads {
            digest: None,
            directory: None,
            directory_after: None,
            witnessed: None,
            forked: None,
        },
    );
    let Some(wire::response::What::Heads(heads)) = answer.what else {
        panic!("{answer:?}")
    };
    for tail in heads.feed {
        let circle = CircleId::from_slice(&tail.circle).expect("an id");
        let position = || {
            let position = reader.store.feed_position(&issuer.site, &circle);
            position.expect("reads")
        };
        while position() < tail.feed_seq {
            let after = position();
            let answer = server.answer(&reader.site, &Ask::Feed { circle, after });
            let Some(wire::response::What::Feed(page)) = answer.what else {
                panic!("{answer:?}")
            };
            let views = page
                .view
                .iter()
                .map(|text| View::decode(text).expect("a view"));
            let page = FeedPage::read(after, views.collect(), &page.withheld, page.last);
            let incoming = Incoming::Feed {
                issuer: issuer.site,
                circle,
                page: page.expect("adds up"),
            };
            reader.writer.take(1, incoming).await.expect("taken");
            reader.settled().await;
            assert!(position() > after, "a page brings its reader further");
        }
    }
    assert_eq!(reader.store.refusals().expect("reads"), []);
}

/// What the table in SECURITY.md says of a stolen transport key: the connection is all that keeps a feed secret.
#[tokio::test]
async fn who_speaks_with_a_members_transport_key_is_given_its_feeds_unsealed() {
    let (a, b, _c, _ticket) = three().await;
    a.apply(vec![circle("hours", group(&[&b])), named("Press", "Press")])
        .await;
    let (server, circles) = (server(&a), a.store.circles().expect("reads"));
    let ask = |site: &SiteId| {
        let (circle, after) = (circles[0].id, 0);
        let answer = server.answer(site, &Ask::Feed { circle, after });
        match answer.what {
            Some(wire::response::What::Feed(page)) => page.view,
            _ => Vec::new(),
        }
    };
    let given = ask(&b.site);
    let record = View::decode(&given[0]).expect("a view").parse();
    let record = record.map(Parsed::from_store).expect("parses");
    assert_eq!(
        record.fields()["name"],
        Some(json!("Press")),
        "without any key"
    );
    assert!(
        ask(&SiteId([7; 32])).is_empty(),
        "members alone are given any"
    );
}

/// Names of resources that `reader` can read, by leaf.
fn names(reader: &Plant, issuer: &Plant) -> BTreeMap<u64, String> {
    let records = reader.store.records(&issuer.site, 0);
    let name = |view: View| {
        let record = view.parse().map(Parsed::from_store).expect("parses");
        if record.claims().kind != Kind::Resource {
            return None;
        }
        let name = record.fields().get("name").cloned().flatten()?;
        name.as_str().map(str::to_owned)
    };
    records
        .filter_map(|entry| {
            let (seq, view, _) = entry.expect("reads");
            Some((seq, name(view)?))
        })
        .collect()
}

fn named(key: &str, name: &str) -> Edit {
    Edit::PutObject {
        kind: Kind::Resource,
        key: key.into(),
        id: Some(ObjectId::from_random([key.as_bytes()[0]; 16])),
        fields: serde_json::from_value(json!({"level": "WorkCell", "name": name}))
            .expect("an object"),
    }
}

fn with_history(edit: Edit, history: History) -> Edit {
    match edit {
        Edit::PutCircle(put) => Edit::PutCircle(NewCircle { history, ..put }),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_is_given_what_the_circle_says_of_its_past() {
    let (a, b, c, _) = three().await;
    // One circle for each choice; objects are in all of them.
    for history in History::ALL {
        let edit = circle(history.as_str(), group(&[&b]));
        a.apply(vec![with_history(edit, history)]).await;
    }
    a.apply(vec![named("press", "press one"), named("oven", "oven")])
        .await;
    a.apply(vec![named("press", "press two"), named("saw", "saw")])
        .await;
    a.apply(vec![Edit::RetireObject {
        kind: Kind::Resource,
        key: "saw".into(),
    }])
    .await;
    for (name, past) in [
        ("none", &[][..]),
        ("current", &["press two"]),
        (
            "all",
            &[
                "oven",
                "oven current",
                "oven none",
                "press one",
                "press two",
                "saw",
            ],
        ),
    ] {
        let enter = |member: &Plant| Edit::AddToCircle {
            name: name.into(),
            members: [member.site].into(),
        };
        a.apply(vec![enter(&c)]).await;
        a.apply(vec![named("oven", &format!("oven {name}"))]).await;
        c.hears(&a).await;
        pulls(&c, &a).await;
        // A change of circles signs again what somebody new sees, so some names come more than once.
        let seen: BTreeSet<String> = names(&c, &a).into_values().collect();
        let past = past.iter().map(|name| (*name).to_owned());
        let expected: BTreeSet<String> = past.chain([format!("oven {name}")]).collect();
        assert_eq!(seen, expected, "{name}");
        // As if it never was there, for the next one.
        a.apply(vec![
            Edit::RemoveCircle { name: name.into() },
            named("oven", "oven"),
        ])
        .await;
        let mut changes = crate::store::Changes::new();
        for (seq, _) in names(&c, &a) {
            changes.delete_record(&a.site, seq);
        }
        c.store.commit(changes).expect("commits");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_there_is_given_everything_and_who_comes_back_nothing_of_the_time_between() {
    let (a, b, c, _) = three().await;
    let edit = with_history(circle("buyers", group(&[&b, &c])), History::None);
    a.apply(vec![edit, named("press", "press one")]).await;
    let leave = Edit::DropFromCircle {
        name: "buyers".into(),
        members: [c.site].into(),
    };
    a.apply(vec![leave]).await;
    a.apply(vec![named("press", "press two")]).await;
    a.apply(vec![Edit::AddToCircle {
        name: "buyers".into(),
        members: [c.site].into(),
    }])
    .await;
    a.apply(vec![named("press", "press three")]).await;
    for reader in [&b, &c] {
        reader.hears(&a).await;
        pulls(reader, &a).await;
    }
    let seen: Vec<String> = names(&b, &a).into_values().collect();
    assert_eq!(seen, ["press one", "press two", "press three"]);
    let seen: Vec<String> = names(&c, &a).into_values().collect();
    assert_eq!(seen, ["press one", "press three"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_past_is_passed_over_in_few_answers() {
    let (a, b, c, _) = three().await;
    a.apply(vec![circle("buyers", group(&[&b]))]).await;
    for n in 0..40 {
        a.apply(vec![named("press", &format!("press {n}"))]).await;
    }
    a.apply(vec![Edit::AddToCircle {
        name: "buyers".into(),
        members: [c.site].into(),
    }])
    .await;
    let stored = a.store.circles().expect("reads");
    let circle = stored[0].id;
    let ask = Ask::Feed { circle, after: 0 };
    let answer = server(&a).answer(&c.site, &ask);
    let Some(wire::response::What::Feed(page)) = answer.what else {
        panic!("{answer:?}")
    };
    assert_eq!((page.view.len(), page.last), (1, 40));
    let runs: Vec<(u64, u64)> = page.withheld.iter().map(|r| (r.first, r.last)).collect();
    assert_eq!(runs, [(1, 39)]);
    let member = server(&a).answer(&b.site, &ask);
    let Some(wire::response::What::Feed(page)) = member.what else {
        panic!("{member:?}")
    };
    assert_eq!((page.view.len(), page.withheld), (40, Vec::new()));
}
