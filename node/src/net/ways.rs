//! How to reach an inviter: at its own addresses, or by asking relays to pass the request on, one way after the other.

use std::collections::VecDeque;

use fmesh_proto::{limits::ADDRESSES_MAX, wire};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use tokio::time::Instant;

use super::{reach::is_relayed, settings::RELAYED_DIAL_AFTER};

/// One way to an inviter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// Its own addresses.
    Direct(Vec<Multiaddr>),
    /// A member that relays, and its addresses.
    Through(PeerId, Vec<Multiaddr>),
}

/// A request to join that is under way.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) request: wire::JoinRequest,
    left: VecDeque<Way>,
    /// The inviter's own addresses are dialled since then.
    direct_since: Option<Instant>,
}

impl Attempt {
    /// Ways from the addresses of a ticket: direct ones first, then the relays in the order of the ticket.
    pub(crate) fn new(request: wire::JoinRequest, addresses: &[String], me: &PeerId) -> Self {
        let (mut direct, mut left) = (Vec::new(), VecDeque::new());
        for text in addresses.iter().take(ADDRESSES_MAX) {
            match text.parse::<Multiaddr>() {
                Ok(address) if !is_relayed(&address) => direct.push(address),
                Ok(address) => match relay_of(&address) {
                    Some((relay, address)) if relay != *me => add(&mut left, relay, address),
                    _ => tracing::debug!(text, "names no relay; skipped"),
                },
                Err(error) => tracing::debug!(text, %error, "not an address; skipped"),
            }
        }
        if !direct.is_empty() {
            left.push_front(Way::Direct(direct));
        }
        Self {
            request,
            left,
            direct_since: None,
        }
    }

    /// The way to try next.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Way> {
        let way = self.left.pop_front();
        self.direct_since = matches!(way, Some(Way::Direct(_))).then_some(now);
        way
    }

    /// The inviter's own addresses did not answer so far, and there is another way.
    pub(crate) fn is_slow(&self, now: Instant) -> bool {
        let slow = |since| now.duration_since(since) >= RELAYED_DIAL_AFTER;
        !self.left.is_empty() && self.direct_since.is_some_and(slow)
    }

    /// A connection is there: no other way is needed while the call runs.
    pub(crate) const fn connected(&mut self) {
        self.direct_since = None;
    }
}

fn add(ways: &mut VecDeque<Way>, relay: PeerId, address: Multiaddr) {
    for way in &mut *ways {
        if let Way::Through(known, addresses) = way
            && *known == relay
        {
            return addresses.push(address);
        }
    }
    ways.push_back(Way::Through(relay, vec![address]));
}

/// The relay in an address that leads through one, and where that is.
fn relay_of(address: &Multiaddr) -> Option<(PeerId, Multiaddr)> {
    let mut own = Multiaddr::empty();
    for part in address {
        match part {
            Protocol::P2pCircuit => return None,
            Protocol::P2p(relay) => return (!own.is_empty()).then_some((relay, own)),
            other => own.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_addresses_come_first_and_those_through_one_relay_are_one_way() {
        let [me, one, two, inviter] = [(); 4].map(|()| PeerId::random());
        let through = |host: &str, relay: &PeerId| {
            format!("/ip4/{host}/tcp/1/p2p/{relay}/p2p-circuit/p2p/{inviter}")
        };
        let addresses = [
            through("192.0.2.1", &one),
            "nonsense".to_owned(),
            "/ip4/192.0.2.9/tcp/1".to_owned(),
            through("192.0.2.2", &two),
            through("192.0.2.3", &one),
            through("192.0.2.4", &me),
            format!("/p2p/{one}/p2p-circuit"),
            "/ip4/192.0.2.5/tcp/1/p2p-circuit".to_owned(),
        ];
        let address =
            |host: &str| -> Multiaddr { format!("/ip4/{host}/tcp/1").parse().expect("an address") };
        let now = Instant::now();
        let mut attempt = Attempt::new(wire::JoinRequest::default(), &addresses, &me);
        assert!(!attempt.is_slow(now + RELAYED_DIAL_AFTER), "not begun");
        assert_eq!(
            attempt.next(now),
            Some(Way::Direct(vec![address("192.0.2.9")]))
        );
        assert!(!attempt.is_slow(now));
        assert!(attempt.is_slow(now + RELAYED_DIAL_AFTER));
        let one = Way::Through(one, vec![address("192.0.2.1"), address("192.0.2.3")]);
        assert_eq!(attempt.next(now), Some(one));
        assert!(
            !attempt.is_slow(now + RELAYED_DIAL_AFTER),
            "only the direct way is hurried"
        );
        let two = Way::Through(two, vec![address("192.0.2.2")]);
        assert_eq!(attempt.next(now), Some(two));
        assert_eq!(attempt.next(now), None);
    }
}
