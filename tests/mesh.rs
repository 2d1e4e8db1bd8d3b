//! Real nodes in one process: they join, share what was selected, converge, and survive restarts.

mod support;

use fmesh::{store::JoinPhase, writer::Edit};
use fmesh_proto::{circle::Audience, id::SiteId, kinds::Kind};
use serde_json::json;
use support::{Site, capacity, circle, group, is_connected, resource, until};

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
async fn who_is_put_out_gets_nothing_more_from_anybody() {
    let a = Site::start("Alu Ost").await;
    let b = Site::start("Bolt Nord").await;
    let mut c = Site::start("Carbo SA").await;
    let mut d = Site::start("Delta Coat").await;
    let ticket = a.open_door(true).await;
    for site in [&b, &c, &d] {
        site.join(&ticket).await;
    }
    for (one, two) in [(&a, &b), (&a, &c), (&a, &d), (&b, &c), (&b, &d), (&c, &d)] {
        one.meets(two).await;
    }
    until("everybody knows four members", || {
        [&a, &b, &c, &d]
            .iter()
            .all(|s| s.node().membership.borrow().members().count() == 4)
    })
    .await;
    let all = [Kind::Resource, Kind::Capacity];
    let ids = [a.id(), b.id(), c.id(), d.id()];
    for site in [&a, &b, &c, &d] {
        let others: Vec<_> = ids.into_iter().filter(|id| *id != site.id()).collect();
        let first = capacity(&format!("{} at first", site.name), 36);
        site.apply(vec![circle("all", group(&others), &all, None), first])
            .await;
    }
    // A circle for the one partner alone, beside the group.
    let only_d = Audience::Pairwise { to: d.id() };
    a.apply(vec![circle("delta", only_d, &all, None)]).await;
    until("everybody sees three capacities", || {
        [&a, &b, &c, &d].iter().all(|site| {
            let others = ids.iter().filter(|id| **id != site.id());
            others
                .map(|id| site.sees(id, &Kind::Capacity).len())
                .sum::<usize>()
                == 3
        })
    })
    .await;
    let finds = |site: &Site, of: &SiteId| {
        let index = site
            .node()
            .index
            .read()
            .expect("no panic while it was locked");
        index
            .counts()
            .get(of)
            .is_some_and(|(_, capacities)| *capacities > 0)
    };
    until("B finds what D has", || finds(&b, &d.id())).await;

    // D as it is now, to come back later as one who has not heard.
    d.stop().await;
    let stale = tempfile::tempdir().expect("a temporary directory");
    copy(&d.dir.path().join("store"), stale.path());
    d.resume().await;
    a.meets(&d).await;
    b.meets(&d).await;
    c.stop().await;

    let applied = a
        .apply(vec![Edit::Remove {
            site: d.id(),
            last_good: None,
            reason: Some("contract ended".into()),
        }])
        .await;
    assert_eq!((applied.rotated.len(), applied.ended.len()), (1, 1));
    until("nobody is connected with it", || {
        [&a, &b].iter().all(|s| {
            s.node().membership.borrow().member(&d.id()).is_none()
                && !is_connected(s.node(), &d.id())
                && !is_connected(d.node(), &s.id())
        })
    })
    .await;
    // B decided nothing, and yet D is out of its circle and of its search; what D said before stays to be looked at.
    let circles = || b.node().store.circles().expect("reads");
    until("it is in no circle of B", || {
        circles().iter().all(|circle| match &circle.audience {
            Audience::Group { members } => !members.contains(&d.id()) && members.len() == 2,
            _ => false,
        })
    })
    .await;
    until("search forgets it", || !finds(&b, &d.id())).await;
    assert_eq!(b.sees(&d.id(), &Kind::Capacity).len(), 1);

    a.apply(vec![capacity("Later of A", 7)]).await;
    b.apply(vec![capacity("Later of B", 8)]).await;
    until("those who stay see each other", || {
        a.sees(&b.id(), &Kind::Capacity).len() == 2 && b.sees(&a.id(), &Kind::Capacity).len() == 2
    })
    .await;

    // D comes back and believes that it is a member; only C, which was away, believes so as well.
    d.stop().await;
    let own_store = d.dir.path().join("store");
    std::fs::remove_dir_all(&own_store).expect("removed");
    copy(stale.path(), &own_store);
    d.resume().await;
    let heads = |site: &Site| site.node().store.heads().expect("reads");
    let before = heads(&d);
    assert!(d.node().membership.borrow().member(&d.id()).is_some());
    let refused = |site: &Site| site.node().live.borrow().refused_connections;
    until("D knocks at A or B in vain", || {
        refused(&a) + refused(&b) > 0
    })
    .await;
    c.resume().await;
    c.apply(vec![capacity("Later of C", 9)]).await;
    until("those who stay have everything", || {
        [&a, &b, &c].iter().all(|site| {
            let others = [&a, &b, &c]
                .into_iter()
                .filter(|other| other.id() != site.id());
            others
                .map(|other| site.sees(&other.id(), &Kind::Capacity).len())
                .sum::<usize>()
                == 4
        })
    })
    .await;
    assert!(c.node().membership.borrow().member(&d.id()).is_none());
    until("C has let go of it", || !is_connected(c.node(), &d.id())).await;

    // Nothing that was signed since is with D: no leaf, no box, no record.
    let after = heads(&d);
    for site in [&a, &b, &c] {
        assert_eq!(
            after.get(&site.id()),
            before.get(&site.id()),
            "{}",
            site.name
        );
    }
    for id in &ids {
        for record in d.node().store.records(id, 0) {
            let (_, view, _) = record.expect("reads");
            assert!(!decoded(&view).contains("Later"));
        }
        let kept = d
            .node()
            .store
            .publications(id, 0, usize::MAX)
            .expect("reads");
        for bytes in kept {
            let publication = fmesh_proto::publication::Publication::decode(&bytes).expect("whole");
            let held = after.get(id).map_or(0, |head| head.frontier.size());
            assert!(publication.size() <= held);
        }
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("reads") {
        let entry = entry.expect("reads");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("reads").is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
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
