//! Three writers without a network: what they sign is carried from one to the other by hand.

use fmesh_proto::{circle::Audience, kinds::Kind, wire};

use super::*;
use crate::writer::{
    Edit,
    plant::{Plant, circle, group, resource, three},
};

fn removal(of: &Plant) -> Edit {
    Edit::Remove {
        site: of.site,
        last_good: None,
        reason: None,
    }
}

fn role(of: &Plant, role: Role) -> Edit {
    Edit::SetRole {
        site: of.site,
        role,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_ends_what_the_partner_could_read_at_every_issuer() {
    let (a, b, c, ticket) = three().await;
    a.apply(vec![
        circle("two", group(&[&b, &c])),
        circle("for C", Audience::Pairwise { to: c.site }),
        circle("for B", Audience::Pairwise { to: b.site }),
        resource("press"),
    ])
    .await;
    b.hears(&a).await;
    b.apply(vec![circle("two", group(&[&a, &c])), resource("lathe")])
        .await;
    c.hears(&b).await;
    c.apply(vec![circle("all", group(&[&a, &b])), resource("saw")])
        .await;
    a.hears(&c).await;
    b.hears(&c).await;
    assert!(a.searches(&c.site) && b.searches(&c.site));
    assert_eq!((a.epoch("two"), b.epoch("two")), (1, 1));

    // Nothing happens in a dry run, and it says what would.
    let size = a.store.head(&a.site).expect("reads");
    let would = a
        .writer
        .dry_run(vec![removal(&c)])
        .await
        .expect("would apply");
    assert_eq!((would.rotated.len(), would.ended.len()), (1, 1));
    assert_eq!(a.store.head(&a.site).expect("reads"), size);
    assert!(a.membership().member(&c.site).is_some() && a.searches(&c.site));

    let known = a
        .store
        .head(&c.site)
        .expect("reads")
        .expect("heard")
        .frontier
        .size();
    let done = a.apply(vec![removal(&c)]).await;
    assert_eq!(done.last_good, Some(known));
    assert_eq!((done.rotated, done.ended), (would.rotated, would.ended));
    assert_eq!(a.epoch("two"), 2);
    let names: Vec<String> = a
        .store
        .circles()
        .expect("reads")
        .into_iter()
        .map(|c| c.name)
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(!a.searches(&c.site), "it leaves search");
    // The circle can still be changed, and objects that were shown to it as well.
    a.apply(vec![resource("press"), circle("two", group(&[&b]))])
        .await;
    let grants: Vec<Kind> = a
        .apply(vec![resource("oven")])
        .await
        .issued
        .into_iter()
        .map(|i| i.1)
        .collect();
    assert_eq!(grants, [Kind::Resource], "nobody needs a key again");

    // B hears of it: it decided nothing, and changes its key all the same.
    b.hears(&a).await;
    assert!(b.membership().member(&c.site).is_none());
    assert_eq!(b.epoch("two"), 2);
    assert!(!b.searches(&c.site));
    // What C signs now does not count, wherever it turns up.
    c.apply(vec![resource("late")]).await;
    let before = b.store.records(&c.site, 0).count();
    b.hears(&c).await;
    assert_eq!(b.store.records(&c.site, 0).count(), before);
    assert!(!b.searches(&c.site));
    // It does not come back by an invite, and C itself, once it hears, signs nothing more.
    match c.knocks(&a, &ticket).await {
        wire::join_answer::What::Refused(refusal) => assert_eq!(refusal.code, "removed"),
        other => panic!("{other:?}"),
    }
    c.hears(&a).await;
    let after = c.apply(vec![resource("later")]).await;
    assert_eq!(after.issued, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_is_refused_in_words() {
    let alone = Plant::new(9);
    let (a, b, c, _) = three().await;
    let is_conflict = |e: &WriteError| matches!(e, WriteError::Conflict(_));
    let is_refused = |e: &WriteError| matches!(e, WriteError::Refused(_));
    let is_missing = |e: &WriteError| matches!(e, WriteError::NotFound(_));
    let is_invalid = |e: &WriteError| matches!(e, WriteError::Invalid(_));
    type Is<'a> = &'a dyn Fn(&WriteError) -> bool;
    let worded = |last_good, reason: Option<String>| Edit::Remove {
        site: b.site,
        last_good,
        reason,
    };
    let cases: Vec<(&Plant, Edit, Is<'_>, &str)> = vec![
        (&alone, removal(&a), &is_conflict, "in no mesh"),
        (&b, removal(&c), &is_refused, "only an admin"),
        (&b, role(&b, Role::Admin), &is_refused, "only an admin"),
        (&a, removal(&alone), &is_missing, "not a member"),
        (&a, role(&alone, Role::Admin), &is_missing, "not a member"),
        (&a, removal(&a), &is_conflict, "the only admin"),
        (&a, role(&a, Role::Member), &is_conflict, "the only admin"),
        (&a, role(&a, Role::Admin), &is_conflict, "already"),
        (&a, worded(Some(1_000), None), &is_invalid, "1000"),
        (
            &a,
            worded(None, Some("two\nlines".into())),
            &is_invalid,
            "one line",
        ),
        (
            &a,
            worded(None, Some("x".repeat(5_000))),
            &is_invalid,
            "4000",
        ),
    ];
    for (plant, edit, is, words) in cases {
        let refused = plant.refuses(edit).await;
        assert!(
            is(&refused) && refused.to_string().contains(words),
            "{refused:?}"
        );
    }
    a.apply(vec![removal(&c)]).await;
    for edit in [removal(&c), role(&c, Role::Admin)] {
        let refused = a.refuses(edit).await;
        assert!(
            is_conflict(&refused) && refused.to_string().contains("removed before"),
            "{refused}"
        );
    }
    a.apply(vec![role(&b, Role::Admin)]).await;
    let refused = a.refuses(removal(&a)).await;
    assert!(
        refused.to_string().contains("ask another admin"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_can_be_given_and_taken_as_often_as_needed() {
    let (a, b, _, _) = three().await;
    // Without a record of B's in between, so that all of it is at one index of B's log.
    for given in [
        Role::Admin,
        Role::Member,
        Role::Admin,
        Role::Auditor,
        Role::Member,
        Role::Admin,
    ] {
        a.apply(vec![role(&b, given)]).await;
        assert_eq!(a.membership().member(&b.site).expect("is in").role, given);
    }
    b.hears(&a).await;
    // B acts as an admin, and its act counts for A; then A steps down, and its invites end with its power.
    let d = Plant::new(4);
    let ticket = b.ticket().await;
    d.joins(&b, &ticket).await;
    a.hears(&b).await;
    assert!(a.membership().member(&d.site).is_some());
    let open = || {
        let invites = a.store.invites().expect("reads");
        invites
            .iter()
            .filter(|invite| invite.revoked.is_none())
            .count()
    };
    assert_eq!(open(), 1);
    a.apply(vec![role(&a, Role::Member)]).await;
    assert_eq!(open(), 0);
    assert_eq!(a.membership().admins(), 1);
    assert!(matches!(
        a.refuses(removal(&b)).await,
        WriteError::Refused(_)
    ));
    b.hears(&a).await;
    assert_eq!(
        b.membership().member(&a.site).expect("is in").role,
        Role::Member
    );
    // What A did while it was an admin stays good.
    assert_eq!(b.membership().members().count(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_after_the_cut_are_void_and_count_again_if_the_removal_falls() {
    let (a, b, c, _) = three().await;
    b.apply(vec![circle("all", group(&[&a, &c])), resource("lathe")])
        .await;
    a.hears(&b).await;
    c.hears(&b).await;
    a.apply(vec![role(&c, Role::Admin)]).await;
    for plant in [&b, &c] {
        plant.hears(&a).await;
    }
    // C puts B out, as far back as the beginning of its log; at A it leaves search.
    c.apply(vec![Edit::Remove {
        site: b.site,
        last_good: Some(1),
        reason: Some("stolen key".into()),
    }])
    .await;
    a.hears(&c).await;
    let state = a.membership();
    assert_eq!(
        state.removed()[&b.site].reason.as_deref(),
        Some("stolen key")
    );
    let lathe = a
        .store
        .records(&b.site, 2)
        .next()
        .expect("held")
        .expect("reads");
    assert!(state.voids(&b.site, lathe.0) && !a.searches(&b.site));
    // A puts out C, and does not count what C did last: B is in again, with what it signed.
    let size = a
        .store
        .head(&c.site)
        .expect("reads")
        .expect("heard")
        .frontier
        .size();
    a.apply(vec![Edit::Remove {
        site: c.site,
        last_good: Some(size - 1),
        reason: None,
    }])
    .await;
    assert!(a.membership().member(&b.site).is_some());
    assert!(!a.membership().voids(&b.site, lathe.0) && a.searches(&b.site));
}
