//! Steps that concern this node alone.

use super::{Check, OwnFacts, Scope, Steps, scope};

pub(super) fn examine(own: &OwnFacts) -> Vec<Check> {
    let mut steps = Steps::new("this node");
    listening(own, &mut steps);
    addresses(own, &mut steps);
    reachable(own, &mut steps);
    relays(own, &mut steps);
    mesh(own, &mut steps);
    steps.checks
}

fn listening(own: &OwnFacts, steps: &mut Steps) {
    if own.reach.bound.is_empty() {
        let fix = "look at the node's log, set node.listen to addresses of this machine, and restart: fmesh run";
        return steps.failed("listening", "no address is bound", fix);
    }
    let has = |part: &str| own.reach.bound.iter().any(|address| address.contains(part));
    let count = own.reach.bound.len();
    match (has("/quic-v1"), has("/tcp/")) {
        (true, true) => steps.ok("listening", format!("{count} addresses, QUIC and TCP")),
        (true, false) => steps.weak(
            "listening",
            "QUIC (UDP) only: some firewalls drop UDP",
            "add a /tcp/ address to node.listen",
        ),
        _ => steps.weak(
            "listening",
            "TCP only: no hole can be punched",
            "add a /udp/.../quic-v1 address to node.listen",
        ),
    }
}

fn addresses(own: &OwnFacts, steps: &mut Steps) {
    if !own.announce.is_empty() {
        return steps.ok(
            "own addresses",
            format!("announced by the operator: {}", own.announce.join(", ")),
        );
    }
    let any = |wanted: Scope| {
        own.reach
            .bound
            .iter()
            .any(|address| scope(address) == wanted)
    };
    if any(Scope::Public) {
        steps.ok("own addresses", "a public one");
    } else if any(Scope::Private) {
        steps.ok(
            "own addresses",
            "private ones: partners reach them where their network routes here",
        );
    } else if any(Scope::Loopback) {
        steps.weak(
            "own addresses",
            "loopback only: programs on this machine alone reach this node",
            "set node.listen to /ip4/0.0.0.0/udp/4810/quic-v1 and /ip4/0.0.0.0/tcp/4810",
        );
    }
}

fn reachable(own: &OwnFacts, steps: &mut Steps) {
    let reach = &own.reach;
    let refuted: Vec<&str> = reach
        .refuted
        .iter()
        .map(|(address, _)| address.as_str())
        .collect();
    match (reach.confirmed.is_empty(), refuted.is_empty()) {
        (true, true) if reach.reached => steps.ok(
            "reached by others",
            "a partner connected to this node directly",
        ),
        (true, true) => steps.unknown(
            "reached by others",
            "unknown: no partner has tried to dial back yet",
        ),
        (false, true) => steps.ok(
            "reached by others",
            format!("a partner dialled back at {}", reach.confirmed.join(", ")),
        ),
        (confirmed_none, false) => {
            let seen = refuted.join(", ");
            let what = match confirmed_none {
                true => format!("partners see this node at {seen} and cannot dial back"),
                false => format!("at {}, but not at {seen}", reach.confirmed.join(", ")),
            };
            let port = refuted
                .first()
                .and_then(|address| address.split('/').nth(4))
                .unwrap_or("4810");
            let fix = format!(
                "let UDP and TCP port {port} in at the router, name its outside in node.announce and restart; or rely on a relay"
            );
            steps.weak("reached by others", what, fix);
        }
    }
}

fn relays(own: &OwnFacts, steps: &mut Steps) {
    let reach = &own.reach;
    if !reach.relays.is_empty() {
        return steps.ok(
            "relay",
            format!("reached through {} members", reach.relays.len()),
        );
    }
    if reach.relaying {
        return steps.ok(
            "relay",
            "this node relays for members that cannot be reached directly",
        );
    }
    if reach.refuted.is_empty() || !own.announce.is_empty() {
        return;
    }
    if !own.use_relays {
        steps.weak(
            "relay",
            "none: network.use_relays is false",
            "set network.use_relays = true and restart",
        );
    } else if reach.offers.is_empty() {
        steps.weak(
            "relay",
            "no connected member offers to relay",
            "ask a partner with a public address to set network.offer_relay = true",
        );
    } else {
        steps.weak(
            "relay",
            "a member offers to relay, and gave no place yet",
            "wait a minute, then fmesh doctor",
        );
    }
}

fn mesh(own: &OwnFacts, steps: &mut Steps) {
    if !own.in_mesh {
        return steps.failed(
            "mesh",
            "this site is in no mesh",
            "fmesh invite, or fmesh join TICKET",
        );
    }
    match own.partners {
        0 => steps.ok("mesh", "this site is its only member"),
        partners => steps.ok(
            "mesh",
            format!("{} of {partners} partners are connected", own.connected),
        ),
    }
    if own.refused > 0 {
        steps.unknown(
            "strangers",
            format!(
                "{} connections or joins were refused since start",
                own.refused
            ),
        );
    }
}
