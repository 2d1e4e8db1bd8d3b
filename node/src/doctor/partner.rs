//! Steps towards one partner, in the order in which they depend on each other.

use super::{Check, OwnFacts, PartnerFacts, Scope, Steps, Trial, is_skewed, scope, span};
use crate::net::Probed;

pub(super) fn examine(own: &OwnFacts, facts: &PartnerFacts) -> Vec<Check> {
    let mut steps = Steps::new(&facts.name);
    addresses(facts, &mut steps);
    for (address, trial) in &facts.trials {
        if let Some(trial) = trial {
            tried(facts, address, trial, &mut steps);
        }
    }
    connection(own, facts, &mut steps);
    hello(facts, &mut steps);
    sync(facts, &mut steps);
    if let Some((what, times)) = &facts.misbehaved {
        let fix = format!(
            "fmesh partner show \"{}\", and talk to its operator",
            facts.name
        );
        steps.weak(
            "conduct",
            format!("misbehaved {times} times since start, last: {what}"),
            fix,
        );
    }
    steps.checks
}

fn addresses(facts: &PartnerFacts, steps: &mut Steps) {
    let count = facts.trials.len();
    if count == 0 {
        // It may still connect by itself.
        match facts.address.is_some() {
            true => steps.ok("addresses", "it tells none, and connected by itself"),
            false => steps.failed(
                "addresses",
                "no address of it is known",
                "ask its operator to start its node; it connects by itself and says where it is",
            ),
        }
    } else if facts.signed {
        steps.ok("addresses", format!("{count}, signed by it"));
    } else {
        steps.ok(
            "addresses",
            format!("{count}, from a ticket or a request to join"),
        );
    }
}

fn tried(facts: &PartnerFacts, address: &str, trial: &Trial, steps: &mut Steps) {
    let is_direct = facts
        .address
        .as_deref()
        .is_some_and(|a| scope(a) != Scope::Relayed);
    // One way that works is enough; those beside it are worth knowing, no more.
    let mut bad = |step: &str, what: String, fix: &str| match is_direct {
        true => steps.unknown(step, what),
        false => steps.failed(step, what, fix),
    };
    match trial {
        Trial::NoName(why) | Trial::Dialled(Probed::NoName(why)) => bad(
            "name",
            format!("{address}: the name does not resolve ({why})"),
            "check the name server of this machine (resolvectl status), or ask the partner for another address",
        ),
        Trial::Dialled(Probed::Answered { micros }) => {
            steps.ok(
                "dial",
                format!("{address}: it answers, {} ms", micros / 1_000),
            );
        }
        Trial::Dialled(Probed::Stranger(who)) => bad(
            "identity",
            format!("{address}: another node answers there ({who})"),
            "the address is out of date, or a router forwards to the wrong machine: ask the partner for fmesh status",
        ),
        Trial::Dialled(Probed::Refused(why)) => bad(
            "port",
            format!("{address}: the machine answers, the port is closed ({why})"),
            "ask the partner to start its node (fmesh run) and to compare node.listen with its firewall",
        ),
        Trial::Dialled(Probed::NoRoute(why)) => bad(
            "route",
            format!("{address}: no way there from this machine ({why})"),
            "check this machine's routes (ip route get ADDRESS), the VPN, and the line",
        ),
        Trial::Dialled(Probed::Silent) if scope(address) == Scope::Private => bad(
            "dial",
            format!("{address}: no answer; a private address works inside its own network only"),
            "ask the partner to let its port in and to set node.announce, or use a relay",
        ),
        Trial::Dialled(Probed::Silent) => bad(
            "dial",
            format!("{address}: no answer: a firewall drops it, or the machine is off"),
            "ask the partner whether its node runs and whether UDP and TCP of that port come in",
        ),
        Trial::Dialled(Probed::Other(why)) => bad(
            "dial",
            format!("{address}: {why}"),
            "look at the node's log",
        ),
    }
}

fn connection(own: &OwnFacts, facts: &PartnerFacts, steps: &mut Steps) {
    let Some(address) = &facts.address else {
        if facts.optional {
            return steps.ok("connection", "none at the moment: in a large mesh nodes keep some neighbours and visit the others");
        }
        let why = facts
            .last_error
            .as_deref()
            .unwrap_or("unknown: no dial has ended yet");
        let fix = match (facts.relay_at_hand, own.use_relays) {
            (true, true) => {
                "ask its operator for fmesh doctor on that side; it holds no place at a relay"
            }
            (true, false) => "set network.use_relays = true on both sides and restart",
            (false, _) => "ask a member that both reach to set network.offer_relay = true",
        };
        return steps.failed(
            "connection",
            format!("none; the last dial said: {why}"),
            fix,
        );
    };
    let rtt = facts.rtt_micros.map_or_else(
        || "time unknown".to_owned(),
        |m| format!("{} ms", m / 1_000),
    );
    match scope(address) {
        Scope::Relayed => steps.ok("connection", format!("through a relay, {rtt}: {address}")),
        _ => steps.ok("connection", format!("direct, {rtt}: {address}")),
    }
}

fn hello(facts: &PartnerFacts, steps: &mut Steps) {
    match facts.clock_skew {
        None if facts.address.is_some() => {
            steps.unknown("hello", "unknown: it has not said hello yet")
        }
        None => {}
        Some(seconds) if is_skewed(seconds) => {
            steps.ok("hello", "same mesh, same protocol version");
            let side = if seconds > 0 { "ahead of" } else { "behind" };
            let what = format!("its clock is {} {side} ours", span(seconds.unsigned_abs()));
            steps.weak(
                "clock",
                what,
                "compare both with a time server (timedatectl)",
            );
        }
        Some(_) => steps.ok("hello", "same mesh, same protocol version, clocks agree"),
    }
}

fn sync(facts: &PartnerFacts, steps: &mut Steps) {
    let connected = facts.address.is_some();
    match (facts.behind, facts.they_are_behind) {
        (0, 0) if connected => steps.ok("records", "both sides have all"),
        (0, 0) => steps.unknown(
            "records",
            "unknown while it is away; nothing was outstanding",
        ),
        (we, they) => {
            let what = format!("we lack {we} of its records, it lacks {they} of ours");
            match connected {
                true => steps.weak(
                    "records",
                    what,
                    format!("wait, then fmesh partner show \"{}\"", facts.name),
                ),
                false => steps.weak("records", what, "they travel as soon as both are connected"),
            }
        }
    }
}
