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
    let relayed = |f: &Factory, other: &str| {
        f.partner(other)["address"]
            .as_str()
            .is_some_and(|address| address.contains("p2p-circuit"))
    };
    b.until("it has a place at the relay", |b| {
        b.json(&["status"])["reach"]["relayed"][0].is_string()
    });
    b.until("the other is reached through the relay", |b| {
        relayed(b, "Carbo Sued")
    });
    c.until("and the other way round", |c| relayed(c, "Bolt Nord"));
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
