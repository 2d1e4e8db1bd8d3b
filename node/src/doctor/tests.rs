use super::*;

fn own() -> OwnFacts {
    OwnFacts {
        reach: Reach {
            bound: vec![
                "/ip4/10.1.0.5/udp/4810/quic-v1".into(),
                "/ip4/10.1.0.5/tcp/4810".into(),
            ],
            ..Reach::default()
        },
        use_relays: true,
        in_mesh: true,
        partners: 1,
        ..OwnFacts::default()
    }
}

fn partner(trials: &[(&str, Probed)]) -> PartnerFacts {
    PartnerFacts {
        name: "Bolt Nord".into(),
        signed: true,
        trials: trials
            .iter()
            .map(|(address, probed)| ((*address).to_owned(), Some(Trial::Dialled(probed.clone()))))
            .collect(),
        ..PartnerFacts::default()
    }
}

/// The first cause of a subject, as (step, state).
fn first(checks: &[Check], subject: &str) -> Option<(String, CheckState)> {
    let cause = causes(checks).into_iter().find(|c| c.subject == subject)?;
    assert!(
        cause.fix.is_some(),
        "what is wrong can be mended: {cause:?}"
    );
    Some((cause.step, cause.state))
}

#[test]
fn each_way_to_fail_is_named_by_its_step() {
    let public = "/ip4/203.0.113.9/tcp/4810";
    for (probed, step) in [
        (Probed::Stranger("12D3KooX".into()), "identity"),
        (Probed::Refused("refused".into()), "port"),
        (Probed::NoRoute("unreachable".into()), "route"),
        (Probed::NoName("no record".into()), "name"),
        (Probed::Silent, "dial"),
        (Probed::Other("odd".into()), "dial"),
    ] {
        let checks = examine(&own(), &[partner(&[(public, probed)])]);
        assert_eq!(
            first(&checks, "Bolt Nord"),
            Some((step.to_owned(), CheckState::Failed))
        );
    }
    let nowhere = examine(&own(), &[partner(&[])]);
    assert_eq!(
        first(&nowhere, "Bolt Nord"),
        Some(("addresses".to_owned(), CheckState::Failed))
    );
}

#[test]
fn the_address_that_says_most_is_the_cause() {
    let facts = partner(&[
        ("/ip4/203.0.113.9/udp/4810/quic-v1", Probed::Silent),
        (
            "/ip4/203.0.113.9/tcp/4810",
            Probed::Refused("refused".into()),
        ),
        (
            "/ip4/10.9.9.9/tcp/4810",
            Probed::NoRoute("unreachable".into()),
        ),
    ]);
    let checks = examine(&own(), &[facts]);
    assert_eq!(
        first(&checks, "Bolt Nord"),
        Some(("port".to_owned(), CheckState::Failed))
    );
    assert_eq!(causes(&checks).len(), 1, "one cause of one failure");
}

#[test]
fn a_connected_partner_with_a_dead_address_has_no_cause() {
    let mut facts = partner(&[("/ip4/192.168.7.7/tcp/4810", Probed::Silent)]);
    facts.address = Some("/ip4/203.0.113.9/udp/4810/quic-v1".into());
    facts.clock_skew = Some(2);
    let checks = examine(&own(), std::slice::from_ref(&facts));
    assert_eq!(first(&checks, "Bolt Nord"), None, "{checks:?}");
    facts.clock_skew = Some(-7_000);
    let checks = examine(&own(), std::slice::from_ref(&facts));
    assert_eq!(
        first(&checks, "Bolt Nord"),
        Some(("clock".to_owned(), CheckState::Weak))
    );
    facts.clock_skew = None;
    let checks = examine(&own(), &[facts]);
    let hello = checks.iter().find(|c| c.step == "hello").expect("judged");
    assert_eq!(hello.state, CheckState::Unknown);
    assert!(hello.what.starts_with("unknown"));
}

#[test]
fn unknown_is_unknown_and_a_refuted_address_names_the_port() {
    let mut facts = own();
    let reached = |facts: &OwnFacts| {
        let checks = examine(facts, &[]);
        checks
            .into_iter()
            .find(|c| c.step == "reached by others")
            .expect("judged")
    };
    assert_eq!(reached(&facts).state, CheckState::Unknown);
    facts.reach.refuted = vec![("/ip4/203.0.113.1/udp/4820/quic-v1".into(), "no".into())];
    let check = reached(&facts);
    assert_eq!(check.state, CheckState::Weak);
    assert!(check.fix.expect("a fix").contains("4820"));
    facts.reach.refuted.clear();
    facts.reach.confirmed = vec!["/ip4/10.1.0.5/tcp/4810".into()];
    assert_eq!(reached(&facts).state, CheckState::Ok);
}

#[test]
fn failures_come_first_and_what_follows_from_them_is_no_cause() {
    let mut far = partner(&[("/ip4/203.0.113.9/tcp/4810", Probed::Silent)]);
    far.behind = 41;
    let mut facts = own();
    facts.reach.bound.pop();
    let causes = causes(&examine(&facts, &[far]));
    let order: Vec<(&str, &str)> = causes
        .iter()
        .map(|c| (c.subject.as_str(), c.step.as_str()))
        .collect();
    assert_eq!(
        order,
        [
            ("Bolt Nord", "dial"),
            ("this node", "listening"),
            ("Bolt Nord", "records")
        ]
    );
}

#[test]
fn addresses_say_how_far_they_reach() {
    for (address, expected) in [
        ("/ip4/127.0.0.1/tcp/1", Scope::Loopback),
        ("/ip4/192.168.0.1/tcp/1", Scope::Private),
        ("/ip4/100.64.0.1/tcp/1", Scope::Private),
        ("/ip4/203.0.113.1/udp/1/quic-v1", Scope::Public),
        ("/ip6/fd00::1/tcp/1", Scope::Private),
        ("/ip6/2001:db8::1/tcp/1", Scope::Public),
        ("/dns4/mesh.example.com/tcp/1", Scope::Named),
        ("/ip4/203.0.113.1/tcp/1/p2p/x/p2p-circuit", Scope::Relayed),
        ("nonsense", Scope::Named),
    ] {
        assert_eq!(scope(address), expected, "{address}");
    }
    assert_eq!(
        host_name("/dns4/mesh.example.com/tcp/1"),
        Some("mesh.example.com")
    );
    assert_eq!(host_name("/ip4/203.0.113.1/tcp/1"), None);
    assert_eq!(host_name(""), None);
}
