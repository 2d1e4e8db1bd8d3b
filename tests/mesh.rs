//! Real nodes in one process: they join, share what was selected, converge, and survive restarts.

mod support;

use fmesh::{store::JoinPhase, writer::Edit};
use fmesh_proto::{circle::Audience, kinds::Kind};
use serde_json::json;
use support::{Site, capacity, circle, group, resource, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_factories_share_what_each_may_see() {
    let a = Site::start("Alu Ost").await;
    let b = Site::start("Bolt Nord").await;
    let c = Site::start("Carbo SA").await;
    let ticket = a.open_door(true).await;
    b.join(&ticket).await;
    c.join(&ticket).await;
    a.meets(&b).await;
    a.meets(&c).await;
    b.meets(&c).await;
    until("everybody knows three members", || {
        [&a, &b, &c]
            .iter()
            .all(|s| s.node().membership.borrow().members().count() == 3)
    })
    .await;

    a.apply(vec![
        resource("DMU-80"),
        capacity("DMU-80 hours", 36),
        circle(
            "partners",
            group(&[b.id(), c.id()]),
            &[Kind::Resource],
            Some(&["level", "name", "capabilities"]),
        ),
        circle(
            "bolt",
            Audience::Pairwise { to: b.id() },
            &[Kind::Capacity],
            Some(&["name", "process", "unit", "bucket", "start", "available"]),
        ),
    ])
    .await;
    until("B has the capacity", || {
        !b.sees(&a.id(), &Kind::Capacity).is_empty()
    })
    .await;
    until("both have the resource", || {
        [&b, &c]
            .iter()
            .all(|s| !s.sees(&a.id(), &Kind::Resource).is_empty())
    })
    .await;
    let seen = b.sees(&a.id(), &Kind::Capacity);
    assert_eq!(
        seen[0].fields()["available"].as_ref().map(|v| v[0].clone()),
        Some(json!("36"))
    );
    assert_eq!(seen[0].fields()["total"], None, "withheld");
    assert!(
        c.sees(&a.id(), &Kind::Capacity).is_empty(),
        "C is in no circle with capacities"
    );
    for site in [&b, &c] {
        let resource = &site.sees(&a.id(), &Kind::Resource)[0];
        assert_eq!(resource.fields()["nameplate"], None, "withheld");
        assert_eq!(resource.fields()["name"], Some(json!("DMU-80")));
    }

    // The same signed record under two views; a change arrives.
    a.apply(vec![capacity("DMU-80 hours", 12)]).await;
    until("the change arrives", || {
        b.sees(&a.id(), &Kind::Capacity)[0].fields()["available"]
            .as_ref()
            .is_some_and(|v| v[0] == "12")
    })
    .await;

    // No byte of what was withheld is in C's store, nor in B's.
    for site in [&b, &c] {
        let store = &site.node().store;
        for record in store.records(&a.id(), 0) {
            let (_, view, _) = record.expect("reads");
            assert!(!decoded(&view).contains("Secret Maker"));
        }
    }
}

/// All disclosures of a view as text.
fn decoded(view: &fmesh_proto::record::View) -> String {
    use base64::Engine as _;
    view.disclosures()
        .map(|d| {
            base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(d.as_str())
                .expect("base64url")
        })
        .map(|bytes| String::from_utf8(bytes).expect("JSON"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_that_was_away_catches_up_and_nothing_is_lost() {
    let a = Site::start("A").await;
    let mut b = Site::start("B").await;
    let ticket = a.open_door(true).await;
    b.join(&ticket).await;
    a.meets(&b).await;
    let all = [Kind::Resource, Kind::Capacity];
    a.apply(vec![
        circle("all", group(&[b.id()]), &all, None),
        capacity("one", 1),
    ])
    .await;
    until("B has one", || b.sees(&a.id(), &Kind::Capacity).len() == 1).await;
    b.stop().await;
    let edits: Vec<Edit> = (0..300)
        .map(|n| capacity(&format!("c{n}"), n % 80))
        .collect();
    a.apply(edits).await;
    b.resume().await;
    until("B has caught up", || {
        b.sees(&a.id(), &Kind::Capacity).len() == 301
    })
    .await;
    assert_eq!(
        b.node().store.head(&a.id()).expect("reads"),
        a.node().store.head(&a.id()).expect("reads")
    );
    let own = b.id();
    assert!(b.node().store.check(Some(&own)).expect("checks").is_empty());
    // Live again after the restart with the same identity.
    a.apply(vec![capacity("late", 7)]).await;
    until("gossip flows again", || {
        b.sees(&a.id(), &Kind::Capacity).len() == 302
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_in_without_a_ticket_and_a_person() {
    let a = Site::start("A").await;
    let b = Site::start("B").await;
    let ticket = a.open_door(false).await;
    b.apply(vec![Edit::Join {
        ticket: ticket.clone(),
    }])
    .await;
    until("B waits", || {
        a.node().store.pending().expect("reads").len() == 1
    })
    .await;
    assert!(b.node().store.meta().expect("reads").mesh.is_none());
    a.apply(vec![Edit::Approve { site: b.id() }]).await;
    until("B is in", || {
        b.node().store.meta().expect("reads").mesh.is_some()
    })
    .await;
    a.meets(&b).await;

    let c = Site::start("C").await;
    c.apply(vec![Edit::Join {
        ticket: ticket.clone(),
    }])
    .await;
    until("C waits", || {
        a.node().store.pending().expect("reads").len() == 1
    })
    .await;
    a.apply(vec![Edit::Refuse { site: c.id() }]).await;
    until("C is told", || {
        let meta = c.node().store.meta().expect("reads");
        meta.joining.is_some_and(|j| j.phase == JoinPhase::Refused)
    })
    .await;

    let invite = a.node().store.invites().expect("reads")[0].id;
    a.apply(vec![Edit::RevokeInvite { id: invite }]).await;
    let d = Site::start("D").await;
    d.apply(vec![Edit::Join { ticket }]).await;
    until("D is refused or not let in at all", || {
        let meta = d.node().store.meta().expect("reads");
        meta.joining.is_some_and(|j| j.answer.is_some())
    })
    .await;
    assert!(
        a.node()
            .store
            .pending()
            .expect("reads")
            .iter()
            .all(|p| p.site != d.id())
    );
}
