//! Real programs on real lines: factories behind routers, cut and narrow lines, frozen processes, address translation.
//!
//! Needs root, iproute2 and nftables. Where namespaces cannot be made the tests say loudly that they were skipped; in CI
//! a skip is a failure.

#[path = "support/netns.rs"]
mod netns;

use std::time::Duration;

use netns::{Factory, Lab, Router, possible};

const RESOURCES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/factories/traunfels/resources.csv"
);
const CAPACITY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/factories/traunfels/capacity.csv"
);

/// The first invites, the others join; all are started.
fn join(inviter: &mut Factory, others: &mut [&mut Factory]) {
    inviter.start();
    let uses = others.len().to_string();
    let made = inviter.json(&["invite", "create", "--uses", &uses, "--auto-approve"]);
    let ticket = made["ticket"]
        .as_str()
        .unwrap_or_else(|| panic!("a ticket: {made}"))
        .to_owned();
    for other in others {
        other.start();
        other.ok(&["join", &ticket]);
        other.until("it is a member", |f| {
            f.json(&["join"])["step"] == "member" || f.partner(&inviter.name).is_object()
        });
    }
}

/// Shows machines and hours to everybody in the mesh, and puts the machines in.
fn share(factory: &Factory) {
    factory.ok(&[
        "circle",
        "set",
        "machines",
        "--mesh",
        "--kind",
        "resource,capacity",
        "--slots",
        "name,available,unit,start,bucket",
    ]);
    factory.ok(&["resource", "import", RESOURCES]);
}

/// What [`share`] and then the hours amount to.
const MACHINES: (u64, u64) = (8, 0);
const ALL: (u64, u64) = (8, 7);

#[test]
fn three_subnets_a_cut_line_and_a_frozen_process() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new();
    let mut a = lab.factory("Alu Ost", Router::Open);
    let mut b = lab.factory("Bolt Nord", Router::Open);
    let mut c = lab.factory("Carbo Sued", Router::Open);
    join(&mut a, &mut [&mut b, &mut c]);
    a.until("both partners are connected", |a| {
        a.is_connected(&["Bolt Nord", "Carbo Sued"])
    });
    b.until("the newcomers have met", |b| {
        b.is_connected(&["Carbo Sued"])
    });
    share(&a);
    for other in [&b, &c] {
        other.until("the machines have arrived", |f| {
            f.sees("Alu Ost") == MACHINES
        });
    }

    // The line of B is cut: what A says meanwhile reaches C, not B, and B afterwards.
    b.line(false);
    a.ok(&["capacity", "import", CAPACITY]);
    c.until("the hours have arrived", |f| f.sees("Alu Ost") == ALL);
    assert_eq!(b.sees("Alu Ost"), MACHINES, "nothing passes a cut line");
    b.line(true);
    b.until("the hours have arrived after the cut", |f| {
        f.sees("Alu Ost") == ALL
    });

    // C is frozen: A answers and B hears of it; C catches up when it thaws.
    share(&b);
    a.until("the machines of B are here", |a| {
        a.sees("Bolt Nord") == MACHINES
    });
    c.until("the machines of B are here, too", |c| {
        c.sees("Bolt Nord") == MACHINES
    });
    c.signal("-STOP");
    b.ok(&["capacity", "import", CAPACITY]);
    a.until("a frozen partner holds up nobody", |a| {
        a.sees("Bolt Nord") == ALL
    });
    // Long enough for its connections to be given up.
    std::thread::sleep(Duration::from_secs(12));
    a.ok(&["status"]);
    c.signal("-CONT");
    c.until("the thawed node has caught up", |c| {
        c.sees("Bolt Nord") == ALL
    });
    for (factory, others) in [
        (&a, ["Bolt Nord", "Carbo Sued"]),
        (&c, ["Alu Ost", "Bolt Nord"]),
    ] {
        factory.until("everybody is connected again", |f| f.is_connected(&others));
    }

    // The doctor finds nothing where nothing is wrong, and the step where something is.
    a.until("the doctor finds nothing failed", |a| {
        a.fmesh(&["doctor", "--json"]).status.success()
    });
    drop(b);
    a.until("the partner that ended is away", |a| {
        !a.is_connected(&["Bolt Nord"])
    });
    let doctor = a.json(&["doctor", "Bolt Nord"]);
    assert_eq!(doctor["causes"][0]["step"], "port", "{doctor:#}");
    assert!(!a.fmesh(&["doctor", "Bolt Nord"]).status.success());
}

#[test]
fn a_narrow_line_delivers_and_slows_down_nobody_else() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new();
    let mut a = lab.factory("Alu Ost", Router::Open);
    let mut b = lab.factory("Bolt Nord", Router::Open);
    let mut c = lab.factory("Carbo Sued", Router::Open);
    c.limit("128kbit");
    join(&mut a, &mut [&mut b, &mut c]);
    a.until("both partners are connected", |a| {
        a.is_connected(&["Bolt Nord", "Carbo Sued"])
    });
    share(&a);
    share(&c);
    a.ok(&["capacity", "import", CAPACITY]);
    b.until("all of A is here", |f| f.sees("Alu Ost") == ALL);
    c.until("all of A has come through the narrow line", |f| {
        f.sees("Alu Ost") == ALL
    });
    for other in [&a, &b] {
        other.until("C has been heard through the narrow line", |f| {
            f.sees("Carbo Sued") == MACHINES
        });
    }
}

#[test]
fn two_factories_behind_address_translation_meet_through_a_third() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new();
    let mut hub = lab.factory("Alu Ost", Router::Open);
    let mut b = lab.factory("Bolt Nord", Router::Masquerade);
    let mut c = lab.factory("Carbo Sued", Router::Masquerade);
    join(&mut hub, &mut [&mut b, &mut c]);
    hub.until("both partners are connected", |a| {
        a.is_connected(&["Bolt Nord", "Carbo Sued"])
    });
    b.until("it has a place at the relay", |b| {
        b.json(&["status"])["reach"]["relayed"][0].is_string()
    });
    b.until("the other is reached through the relay", |b| {
        b.is_relayed("Carbo Sued")
    });
    c.until("and the other way round", |c| c.is_relayed("Bolt Nord"));
    assert_eq!(hub.json(&["status"])["reach"]["relaying"], true);

    // For B alone, so that it must come from C itself.
    c.ok(&[
        "circle",
        "set",
        "bolt",
        "--to",
        "Bolt Nord",
        "--kind",
        "resource",
        "--slots",
        "name",
    ]);
    c.ok(&["resource", "import", RESOURCES]);
    b.until("what was meant for it has arrived", |b| {
        b.sees("Carbo Sued") == MACHINES
    });
    assert_eq!(hub.sees("Carbo Sued"), (0, 0), "the relay reads nothing");
    let doctor = b.json(&["doctor", "Carbo Sued"]);
    let steps = doctor["checks"].as_array().expect("checks");
    let connection = steps
        .iter()
        .find(|c| c["step"] == "connection")
        .expect("judged");
    assert_eq!(connection["state"], "ok", "{doctor:#}");
}

#[test]
fn a_hole_is_punched_where_routers_keep_ports() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new();
    let mut hub = lab.factory("Alu Ost", Router::Open);
    let mut b = lab.factory("Bolt Nord", Router::KeepsPorts);
    let mut c = lab.factory("Carbo Sued", Router::KeepsPorts);
    join(&mut hub, &mut [&mut b, &mut c]);
    b.until("the other is reached, at first through the relay", |b| {
        assert!(!b.is_direct("Carbo Sued"), "nothing gets in unasked");
        b.is_relayed("Carbo Sued")
    });
    b.until("the circuit has given way to a direct connection", |b| {
        b.is_direct("Carbo Sued")
    });
    c.until("and the other way round", |c| c.is_direct("Bolt Nord"));
    let address = b.partner("Carbo Sued")["address"].clone();
    assert!(
        address
            .as_str()
            .is_some_and(|a| a.contains("198.51.100.14")),
        "the outside of its router: {address}"
    );
    let doctor = b.json(&["doctor", "Carbo Sued"]);
    let steps = doctor["checks"].as_array().expect("checks");
    let connection = steps
        .iter()
        .find(|c| c["step"] == "connection")
        .expect("judged");
    assert!(
        connection["what"]
            .as_str()
            .is_some_and(|what| what.starts_with("direct")),
        "{doctor:#}"
    );

    // It carries, with the relay gone.
    drop(hub);
    c.ok(&[
        "circle",
        "set",
        "bolt",
        "--to",
        "Bolt Nord",
        "--kind",
        "resource",
        "--slots",
        "name",
    ]);
    c.ok(&["resource", "import", RESOURCES]);
    b.until("what was meant for it has arrived", |b| {
        b.sees("Carbo Sued") == MACHINES
    });
    assert!(b.is_direct("Carbo Sued"));
}

#[test]
fn neighbours_find_each_other_by_multicast_only_if_both_want_it() {
    if !possible() {
        return;
    }
    for wanted in [true, false] {
        let mut lab = Lab::new();
        let [mut a, mut b] = lab.neighbours("Alu Ost", "Bolt Nord");
        if wanted {
            a.configure("mdns", "true");
            b.configure("mdns", "true");
        }
        join(&mut a, &mut [&mut b]);
        a.until("they are connected", |a| a.is_connected(&["Bolt Nord"]));
        a.stop();
        b.stop();
        // Every address that they have of each other is dead.
        a.moves_to("10.91.0.1/24");
        b.moves_to("10.91.0.2/24");
        a.start();
        b.start();
        if wanted {
            a.until("they have found each other", |a| {
                a.partner("Bolt Nord")["address"]
                    .as_str()
                    .is_some_and(|address| address.contains("10.91.0.2"))
            });
            b.until("both say so", |b| b.is_connected(&["Alu Ost"]));
        } else {
            // Several times as long as the search above takes: each has tried, in vain, what it knows.
            for site in [&a, &b] {
                let other = if site.name == a.name { &b } else { &a };
                site.until("a dial has failed", |site| {
                    site.partner(&other.name)["last_error"].is_string()
                });
            }
            std::thread::sleep(Duration::from_secs(10));
            assert!(!a.is_connected(&["Bolt Nord"]));
            assert!(!b.is_connected(&["Alu Ost"]));
        }
    }
}

#[test]
fn a_stranger_joins_a_factory_that_only_a_relay_reaches() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new();
    let mut hub = lab.factory("Alu Ost", Router::Open);
    let mut b = lab.factory("Bolt Nord", Router::Masquerade);
    let mut d = lab.factory("Draht West", Router::Masquerade);
    hub.start();
    let made = hub.json(&["invite", "create", "--auto-approve", "--role", "admin"]);
    b.start();
    b.ok(&["join", made["ticket"].as_str().expect("a ticket")]);
    b.until("it has a place at the relay", |b| {
        b.json(&["status"])["reach"]["relayed"][0].is_string()
    });
    assert_eq!(
        hub.json(&["status"])["open_invites"],
        0,
        "the relay invites nobody"
    );

    let made = b.json(&["invite", "create"]);
    let ticket = made["ticket"].as_str().expect("a ticket").to_owned();
    d.start();
    d.ok(&["join", &ticket]);
    // A person at B decides: the stranger asks again and again through the relay.
    b.until("somebody knocks", |b| {
        b.json(&["partner", "pending"])["items"][0]["name"] == "Draht West"
    });
    b.ok(&["partner", "approve", "Draht West", "--yes"]);
    d.until("it is a member", |d| d.partner("Bolt Nord").is_object());
    d.until("all have met", |d| {
        d.is_connected(&["Alu Ost", "Bolt Nord"]) && d.is_relayed("Bolt Nord")
    });

    // The door is closed again: another one with the same ticket gets no further than the relay.
    assert_eq!(b.json(&["status"])["open_invites"], 0);
    let mut e = lab.factory("Eisen Sued", Router::Masquerade);
    e.start();
    let join = e.fmesh(&["join", &ticket]);
    assert!(!join.status.success(), "nobody answers");
    hub.until("the relay refuses it", |hub| {
        let refused = hub.json(&["status"])["refused"].clone();
        let refused = refused.as_array().cloned().unwrap_or_default();
        refused.iter().any(|r| {
            r["reason"]
                .as_str()
                .is_some_and(|why| why.contains("no invite is open"))
        })
    });
    assert_eq!(e.json(&["status"])["join"]["step"], "trying");
    assert!(b.json(&["partner", "pending"])["items"][0].is_null());
}

#[test]
fn a_firewall_that_closes_and_opens_is_noticed_and_told() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new();
    let mut hub = lab.factory("Alu Ost", Router::Open);
    let mut b = lab.factory("Bolt Nord", Router::Open);
    // As often as a look takes.
    b.configure("recheck_seconds", "5");
    join(&mut hub, &mut [&mut b]);
    let reach = |f: &Factory| f.json(&["status"])["reach"].clone();
    let confirmed = |f: &Factory| {
        let list = reach(f)["confirmed"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let own = |a: &serde_json::Value| a.as_str().is_some_and(|a| a.contains("/10.2.0.2/"));
        list.iter().any(own)
    };
    b.until("a member has dialled back", confirmed);
    assert!(reach(&b)["relayed"][0].is_null());

    b.firewall(true);
    b.until("its address counts no more, and a relay stands in", |b| {
        !confirmed(b) && reach(b)["relayed"][0].is_string()
    });
    let told = |f: &Factory| f.partner("Bolt Nord")["addresses"].clone();
    let through_relay = |f: &Factory| {
        let told = told(f).as_array().cloned().unwrap_or_default();
        told.iter()
            .any(|a| a.as_str().is_some_and(|a| a.contains("p2p-circuit")))
    };
    hub.until(
        "the way through the relay is in the directory",
        through_relay,
    );
    let doctor = b.json(&["doctor"]);
    let causes = doctor["causes"].as_array().expect("causes");
    assert!(!causes.is_empty(), "the doctor says so: {doctor:#}");

    b.firewall(false);
    b.until("its own address counts again, and the relay is left", |b| {
        confirmed(b) && reach(b)["relayed"][0].is_null()
    });
    hub.until("the directory says so", |hub| !through_relay(hub));
}
