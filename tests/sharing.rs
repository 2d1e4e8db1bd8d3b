//! Circles over their whole life, on real nodes: entering, leaving, being taken away, being written down and applied again.

mod support;

use std::collections::BTreeSet;

use fmesh::{
    api::view::{Members, Sharing, SharingPut},
    service::Service,
    writer::Edit,
};
use fmesh_proto::{
    circle::Audience,
    id::SiteId,
    kinds::{Grant, Kind, Typed as _},
};
use serde_json::json;
use support::{Site, capacity, circle, group, resource, until};

/// Alu Ost with two partners, all connected.
async fn three() -> (Site, Site, Site) {
    let a = Site::start("Alu Ost").await;
    let b = Site::start("Bolt Nord").await;
    let c = Site::start("Carbo SA").await;
    let ticket = a.open_door(true).await;
    b.join(&ticket).await;
    c.join(&ticket).await;
    a.meets(&b).await;
    a.meets(&c).await;
    (a, b, c)
}

/// Free hours of the first week, as `reader` sees the only capacity of `of`; `None` if it sees none of them.
fn free(reader: &Site, of: &SiteId) -> Option<String> {
    let seen = reader.sees(of, &Kind::Capacity);
    let available = seen.first()?.fields().get("available")?.clone()?;
    Some(available.get(0)?.as_str()?.to_owned())
}

/// The grant that `reader` holds of `of`: epoch, and whether it has ended.
fn grant(reader: &Site, of: &SiteId) -> Option<(u64, bool)> {
    let seen = reader.sees(of, &Kind::Grant);
    let record = seen.first()?;
    let grant = Grant::read(record.fields()).expect("a grant");
    Some((*grant.epoch.known()?, record.claims().retired))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_a_group_is_told_and_sees_nothing_new() {
    let (a, b, c) = three().await;
    let all = circle("hours", group(&[b.id(), c.id()]), &[Kind::Capacity], None);
    a.apply(vec![all, capacity("DMU-80", 40)]).await;
    for reader in [&b, &c] {
        until("both see it", || {
            free(reader, &a.id()).as_deref() == Some("40")
        })
        .await;
    }
    assert_eq!(grant(&c, &a.id()), Some((1, false)));

    let service = Service::new(a.node().clone());
    let leave = |dry_run| Members {
        dry_run,
        partners: vec!["Carbo SA".into()],
    };
    let would = service
        .drop_from_circle("hours", leave(true))
        .await
        .expect("a dry run");
    assert_eq!(would.leaving[0].name, "Carbo SA");
    assert_eq!(grant(&c, &a.id()), Some((1, false)), "nothing happened");
    service
        .drop_from_circle("hours", leave(false))
        .await
        .expect("it leaves");
    until("it is told", || grant(&c, &a.id()) == Some((1, true))).await;
    until("who stays has a new key", || {
        grant(&b, &a.id()) == Some((2, false))
    })
    .await;

    a.apply(vec![capacity("DMU-80", 7)]).await;
    until("who stays sees the change", || {
        free(&b, &a.id()).as_deref() == Some("7")
    })
    .await;
    let size = |site: &Site| {
        let head = site.node().store.head(&a.id()).expect("reads");
        head.map(|head| head.frontier.size())
    };
    until("who left follows the log", || size(&c) == size(&a)).await;
    assert_eq!(free(&c, &a.id()).as_deref(), Some("40"), "as it was");
    let strangers = service.drop_from_circle("hours", leave(false)).await;
    assert!(
        strangers.unwrap_err().to_string().contains("not in"),
        "it is not in the circle any more"
    );

    // And comes back.
    service
        .add_to_circle("hours", leave(false))
        .await
        .expect("it enters");
    until("it sees what there is now", || {
        free(&c, &a.id()).as_deref() == Some("7")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_circle_showed_is_superseded_when_it_is_taken_away() {
    let (a, b, c) = three().await;
    let hours = circle("hours", group(&[b.id()]), &[Kind::Capacity], None);
    let pair = circle(
        "pair",
        Audience::Pairwise { to: c.id() },
        &[Kind::Capacity],
        None,
    );
    a.apply(vec![hours, pair, capacity("DMU-80", 40)]).await;
    for reader in [&b, &c] {
        until("both see it", || free(reader, &a.id()).is_some()).await;
    }
    for name in ["hours", "pair"] {
        let remove = Edit::RemoveCircle { name: name.into() };
        a.apply(vec![remove]).await;
    }
    for reader in [&b, &c] {
        until("nothing is shown any more", || {
            free(reader, &a.id()).is_none()
        })
        .await;
    }
    until("the grant has ended", || {
        grant(&b, &a.id()).is_some_and(|(_, ended)| ended)
    })
    .await;
    let store = &a.node().store;
    assert_eq!(store.circles().expect("reads").len(), 0);
    assert_eq!(store.check(Some(&a.id())).expect("checks"), []);
    let again = a
        .node()
        .writer
        .apply(vec![Edit::RemoveCircle {
            name: "hours".into(),
        }])
        .await;
    assert!(again.is_err(), "it is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn circles_are_written_down_and_applied_again() {
    let (a, b, c) = three().await;
    let hours = circle(
        "hours",
        group(&[b.id(), c.id()]),
        &[Kind::Capacity],
        Some(&["available"]),
    );
    a.apply(vec![
        hours,
        circle("all", Audience::MeshWide, &[Kind::Resource], None),
        capacity("DMU-80", 40),
        resource("DMU-80"),
    ])
    .await;
    let service = Service::new(a.node().clone());
    let sharing = service.sharing().expect("reads");
    let text = toml::to_string(&sharing).expect("as TOML");
    let read: Sharing = toml::from_str(&text).expect("its own text");
    assert_eq!(read, sharing, "{text}");
    let members: BTreeSet<String> = ["Bolt Nord".to_owned(), "Carbo SA".to_owned()].into();
    let shown = json!(sharing.circles[1].audience);
    let named: BTreeSet<String> = serde_json::from_value(shown["members"].clone()).expect("names");
    assert_eq!(named, members, "partners are called by their names");

    let put = |sharing: &Sharing, prune, dry_run| SharingPut {
        dry_run,
        prune,
        sharing: sharing.clone(),
    };
    let same = service
        .apply_sharing(put(&sharing, true, false))
        .await
        .expect("the same again");
    assert_eq!((same.same, same.changes.len(), same.signed), (2, 0, 0));

    // One circle changes, one is taken away, one is new.
    let mut other = sharing.clone();
    other.circles.remove(0);
    other.circles[0].rules[0].slots = Some(vec!["available".into(), "total".into()]);
    other.circles.push(
        serde_json::from_value(json!({
            "name": "carbo", "audience": {"type": "partner", "partner": "carbo"},
            "rule": [{"kinds": ["resource"], "slots": ["name"]}],
        }))
        .expect("a circle"),
    );
    let kept = service
        .apply_sharing(put(&other, false, true))
        .await
        .expect("a dry run");
    assert_eq!(kept.unnamed, ["all"]);
    let would = service
        .apply_sharing(put(&other, true, true))
        .await
        .expect("a dry run");
    let words: Vec<(bool, bool)> = would.changes.iter().map(|c| (c.new, c.removed)).collect();
    assert_eq!(words, [(false, false), (true, false), (false, true)]);
    assert_eq!(
        service.sharing().expect("reads"),
        sharing,
        "nothing changed"
    );
    let done = service
        .apply_sharing(put(&other, true, false))
        .await
        .expect("applies");
    assert_eq!(done.signed, would.signed);
    let mut after = service.sharing().expect("reads");
    after.circles.sort_by_key(|circle| circle.name == "carbo");
    assert_eq!(after.circles[0], other.circles[0]);
    until("the new one arrived", || {
        let seen = c.sees(&a.id(), &Kind::Resource);
        seen.first().is_some_and(|record| {
            let shown = |slot: &str| matches!(record.fields().get(slot), Some(Some(_)));
            shown("name") && !shown("nameplate")
        })
    })
    .await;

    // Wholly or not at all.
    let mut bad = other.clone();
    bad.circles[0].purpose = Some("new".into());
    bad.circles.push(bad.circles[0].clone());
    assert!(service.apply_sharing(put(&bad, true, false)).await.is_err());
    bad.circles.pop();
    bad.circles.push(
        serde_json::from_value(
            json!({"name": "x", "audience": {"type": "partner", "partner": "Nobody"}}),
        )
        .expect("a circle"),
    );
    assert!(service.apply_sharing(put(&bad, true, false)).await.is_err());
    let purpose = |s: &Sharing| s.circles.iter().find_map(|circle| circle.purpose.clone());
    assert_eq!(purpose(&service.sharing().expect("reads")), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_is_confirmed_and_delivery_is_seen() {
    let (a, b, c) = three().await;
    let service = Service::new(a.node().clone());
    let set = json!({
        "audience": {"type": "group", "members": ["Bolt Nord", "Carbo SA"]}, "on_end": "delete", "history": "none",
        "rules": [{"kinds": ["capacity"]}],
    });
    let set = serde_json::from_value(set).expect("a circle");
    service.put_circle("hours", set).await.expect("is put");
    let signed = a.apply(vec![capacity("DMU-80", 40)]).await.issued;
    let (seq, ..) = signed.last().expect("signed");
    for reader in [&b, &c] {
        until("both see it", || {
            free(reader, &a.id()).as_deref() == Some("40")
        })
        .await;
    }
    let lacks = || {
        let circle = service.circle("hours").expect("reads");
        circle.delivery.iter().map(|d| d.lacks).collect::<Vec<_>>()
    };
    until("both have said so", || lacks() == [0, 0]).await;
    let record = service.record(None, *seq).expect("reads");
    let [delivery] = record.delivery.as_slice() else {
        panic!("{:?}", record.delivery)
    };
    assert_eq!((delivery.delivered.len(), delivery.waiting.len()), (2, 0));

    let leave = Members {
        dry_run: false,
        partners: vec!["Carbo SA".into()],
    };
    service
        .drop_from_circle("hours", leave)
        .await
        .expect("it leaves");
    until("it is confirmed", || {
        let circle = service.circle("hours").expect("reads");
        assert_eq!(circle.deletions.len(), 1);
        let confirmed = circle.deletions[0].confirmed.as_ref();
        confirmed.is_some_and(|done| done.records == Some(1))
    })
    .await;
    assert_eq!(free(&c, &a.id()), None, "the value is gone");
    assert_eq!(free(&b, &a.id()).as_deref(), Some("40"));
    let partner = service.partner_row("Carbo SA").expect("reads");
    assert!(partner.standing.deletions[0].confirmed.is_some());
    let theirs = Service::new(c.node().clone());
    let issuer = theirs.partner_row("Alu Ost").expect("reads");
    let [ended] = issuer.standing.ended.as_slice() else {
        panic!("{:?}", issuer.standing)
    };
    assert!(ended.done && ended.deleted == 1);

    // Let in again, it is given the state as it is, although it had read that far before.
    let history = json!({"history": "current", "keep_rules": true});
    let history = serde_json::from_value(history).expect("a change");
    service.put_circle("hours", history).await.expect("changes");
    let enter = Members {
        dry_run: false,
        partners: vec!["Carbo SA".into()],
    };
    service
        .add_to_circle("hours", enter)
        .await
        .expect("it enters");
    until("it has the value again", || {
        free(&c, &a.id()).as_deref() == Some("40")
    })
    .await;
    let issuer = theirs.partner_row("Alu Ost").expect("reads");
    assert_eq!(issuer.standing.ended, []);

    // History and what an end asks are kept when something else changes, and written down.
    let rules =
        serde_json::from_value(json!({"rules": [{"kinds": ["capacity"], "slots": ["unit"]}]}));
    service
        .put_circle("hours", rules.expect("a change"))
        .await
        .expect("changes");
    let text = service.sharing().expect("reads");
    let written = serde_json::to_value(&text.circles[0]).expect("JSON");
    assert_eq!(
        (&written["history"], &written["on_end"]),
        (&json!("current"), &json!("delete"))
    );
    let mesh = json!({"audience": {"type": "mesh"}, "history": "all"});
    let mesh = serde_json::from_value(mesh).expect("a circle");
    let refused = service
        .put_circle("all", mesh)
        .await
        .expect_err("has no entries");
    assert!(refused.to_string().contains("not for a group"), "{refused}");
}
