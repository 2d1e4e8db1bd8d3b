//! Where this node can be reached: what it listens on, what members confirmed by dialling back, and the places it holds at
//! other members' relays.
//!
//! A verdict is per address and comes from AutoNAT. From time to time a look from outside begins, which tests all of them anew: what
//! several looks in a row have missed counts no more, so that a firewall that closes or opens is noticed. A node whose addresses were refuted, or that has no verdict after a while,
//! keeps places at up to two relays. A node that is reachable relays for others unless its operator says no.
//! What this module does not know: what partners are told ([`super::NetEvent::Reach`] leaves that to the node).

use std::collections::{BTreeSet, HashMap};

use fmesh_proto::{id::PeerKey, limits::ADDRESSES_MAX};
use libp2p::{Multiaddr, PeerId, core::transport::ListenerId, multiaddr::Protocol};
use tokio::time::Instant;

use super::{peer_key, settings};

/// What the node is told about its own reachability, replaced as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Bound addresses, without /p2p.
    pub bound: Vec<String>,
    /// Addresses at which a member dialled back with success.
    pub confirmed: Vec<String>,
    /// Addresses at which members see us and could not dial back, with the reason.
    pub refuted: Vec<(String, String)>,
    /// Addresses through relays, complete.
    pub relayed: Vec<String>,
    /// Members that relay for us now.
    pub relays: Vec<PeerKey>,
    /// Connected members that offer to relay.
    pub offers: Vec<PeerKey>,
    /// A member connected to this node directly.
    pub reached: bool,
    /// This node relays for members.
    pub relaying: bool,
}

/// State of the task about all this.
#[derive(Debug)]
pub(crate) struct Reaching {
    announces: bool,
    offer: Option<bool>,
    use_relays: bool,
    since: Instant,
    listeners: HashMap<ListenerId, Listener>,
    /// A member connected to us directly. (A node that is only ever dialled has nobody to ask for a dial back.)
    reached: Option<Seen>,
    confirmed: Vec<(Multiaddr, Seen)>,
    refuted: Vec<(Multiaddr, String, Seen)>,
    /// Members that offer to relay, and when one may be asked (again).
    offers: HashMap<PeerId, Instant>,
}

/// How long ago a verdict was last heard, in looks.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Looks that have ended without it.
    missed: u8,
    /// In the look that is under way, or since the last one.
    now: bool,
}

impl Seen {
    const NOW: Self = Self {
        missed: 0,
        now: true,
    };

    /// A look has ended. `false`: one too many without it.
    fn keep(&mut self) -> bool {
        self.missed = if self.now { 0 } else { self.missed + 1 };
        self.now = false;
        self.missed < settings::LOOKS_MISSED_MAX
    }
}

#[derive(Debug, Default)]
struct Listener {
    relay: Option<PeerId>,
    /// The way through the relay as we dialled it, until the place is given.
    place: Option<Multiaddr>,
    addresses: BTreeSet<Multiaddr>,
}

impl Reaching {
    pub(crate) fn new(
        announces: bool,
        offer: Option<bool>,
        use_relays: bool,
        now: Instant,
    ) -> Self {
        Self {
            announces,
            offer,
            use_relays,
            since: now,
            listeners: HashMap::new(),
            reached: None,
            confirmed: Vec::new(),
            refuted: Vec::new(),
            offers: HashMap::new(),
        }
    }

    /// A listener has an address. `false`: one too many, ignored (a relay may invent any number).
    pub(crate) fn listens(&mut self, id: ListenerId, address: Multiaddr) -> bool {
        let listener = self.listeners.entry(id).or_default();
        if listener.relay.is_some() {
            // First the way that is known to work, then what the relay says of itself.
            let place = listener.place.take();
            let known = place.is_some_and(|place| listener.addresses.insert(place));
            let genuine = is_relayed(&address)
                && !is_loopback(&address)
                && listener.addresses.len() < CIRCUIT_ADDRESSES_MAX;
            return genuine && listener.addresses.insert(address) || known;
        }
        listener.addresses.len() < BOUND_MAX && listener.addresses.insert(address)
    }

    pub(crate) fn lost(&mut self, id: ListenerId, address: &Multiaddr) -> bool {
        let listener = self.listeners.get_mut(&id);
        listener.is_some_and(|listener| listener.addresses.remove(address))
    }

    /// A listener is gone: the relay it was at, if it was at one.
    pub(crate) fn closed(&mut self, id: ListenerId, now: Instant) -> Option<PeerId> {
        let relay = self.listeners.remove(&id)?.relay?;
        if let Some(at) = self.offers.get_mut(&relay) {
            *at = now + settings::RELAY_RETRY;
        }
        Some(relay)
    }

    /// We asked for a place at a relay; `place` is the way through it, if we dialled it.
    pub(crate) fn asked(&mut self, id: ListenerId, relay: PeerId, place: Option<Multiaddr>) {
        let listener = self.listeners.entry(id).or_default();
        (listener.relay, listener.place) = (Some(relay), place);
    }

    /// A member connected to us directly. `true` if that is news.
    pub(crate) fn reached(&mut self) -> bool {
        self.reached.replace(Seen::NOW).is_none()
    }

    /// Addresses that have a verdict.
    pub(crate) fn judged(&self) -> Vec<Multiaddr> {
        let confirmed = self.confirmed.iter().map(|(address, _)| address);
        let refuted = self.refuted.iter().map(|(address, _, _)| address);
        confirmed.chain(refuted).cloned().collect()
    }

    /// A look from outside begins: only what is heard from here on counts for it.
    pub(crate) fn begin_look(&mut self) {
        for (_, seen) in &mut self.confirmed {
            seen.now = false;
        }
        for (_, _, seen) in &mut self.refuted {
            seen.now = false;
        }
        if let Some(seen) = &mut self.reached {
            seen.now = false;
        }
    }

    /// It is over: whether anything has changed, and the addresses that are confirmed no more.
    pub(crate) fn end_look(&mut self) -> (bool, Vec<Multiaddr>) {
        let before = self.told();
        self.refuted.retain_mut(|(_, _, seen)| seen.keep());
        let mut lost = Vec::new();
        self.confirmed.retain_mut(|(address, seen)| {
            let kept = seen.keep();
            if !kept {
                lost.push(address.clone());
            }
            kept
        });
        for address in &lost {
            let why = "no member could dial back lately".to_owned();
            self.refute(address.clone(), why);
        }
        if self.reached.as_mut().is_some_and(|seen| !seen.keep()) {
            self.reached = None;
        }
        (self.told() != before, lost)
    }

    /// A request for a place could not even be sent.
    pub(crate) fn refused(&mut self, relay: PeerId, now: Instant) {
        self.offers.insert(relay, now + settings::RELAY_RETRY);
    }

    pub(crate) fn offers(&mut self, peer: PeerId, offers: bool, now: Instant) -> bool {
        if offers {
            let known = self.offers.contains_key(&peer);
            if !known {
                self.offers.insert(peer, now);
            }
            !known
        } else {
            self.offers.remove(&peer).is_some()
        }
    }

    pub(crate) fn confirm(&mut self, address: Multiaddr) -> bool {
        if is_relayed(&address) {
            return false;
        }
        self.refuted.retain(|(other, _, _)| *other != address);
        if let Some((_, seen)) = self.confirmed.iter_mut().find(|(a, _)| *a == address) {
            *seen = Seen::NOW;
            return false;
        }
        let room = self.confirmed.len() < settings::CANDIDATES_MAX;
        if room {
            self.confirmed.push((address, Seen::NOW));
        }
        room
    }

    /// One member could not dial back. That says nothing against an address where another one could, but in the long run.
    pub(crate) fn refute(&mut self, address: Multiaddr, why: String) -> bool {
        if let Some((_, _, seen)) = self.refuted.iter_mut().find(|(a, _, _)| *a == address) {
            *seen = Seen::NOW;
            return false;
        }
        let room = self.refuted.len() < settings::CANDIDATES_MAX;
        if !room || self.confirmed.iter().any(|(other, _)| *other == address) {
            return false;
        }
        self.refuted.push((address, why, Seen::NOW));
        true
    }

    fn is_reached(&self) -> bool {
        self.reached.is_some() || !self.confirmed.is_empty()
    }

    /// Whether this node relays for members.
    pub(crate) fn relaying(&self) -> bool {
        let reachable = self.is_reached() && self.refuted.is_empty();
        self.offer.unwrap_or(self.announces || reachable)
    }

    /// Relays are needed.
    fn wants_relays(&self, now: Instant) -> bool {
        let unknown = !self.is_reached() && now - self.since >= settings::REACH_UNKNOWN;
        self.use_relays && !self.announces && (unknown || !self.refuted.is_empty())
    }

    /// Places at relays that are not needed any more, since members reach this node by itself.
    pub(crate) fn places_to_leave(&self, now: Instant) -> Vec<ListenerId> {
        if self.wants_relays(now) || self.confirmed.is_empty() {
            return Vec::new();
        }
        let places = self.listeners.iter().filter(|(_, l)| l.relay.is_some());
        places.map(|(id, _)| *id).collect()
    }

    /// Members at which this node has a place.
    pub(crate) fn relays(&self) -> Vec<PeerId> {
        let given = |l: &&Listener| !l.addresses.is_empty();
        let places = self.listeners.values().filter(given);
        places.filter_map(|l| l.relay).collect()
    }

    /// A member to ask for a place now.
    pub(crate) fn relay_to_ask(&self, now: Instant) -> Option<PeerId> {
        let asked: Vec<PeerId> = self.listeners.values().filter_map(|l| l.relay).collect();
        if !self.wants_relays(now) || asked.len() >= settings::RELAYS_WANTED {
            return None;
        }
        let mut free = self
            .offers
            .iter()
            .filter(|(peer, at)| !asked.contains(peer) && **at <= now);
        free.next().map(|(peer, _)| *peer)
    }

    /// Bound addresses that a relay may name when nobody has confirmed any: those of other machines' reach, if there are any.
    pub(crate) fn to_name(&self) -> Vec<Multiaddr> {
        let (loopback, far): (Vec<_>, Vec<_>) = self.bound().cloned().partition(is_loopback);
        if far.is_empty() { loopback } else { far }
    }

    pub(crate) fn bound(&self) -> impl Iterator<Item = &Multiaddr> {
        let own = self.listeners.values().filter(|l| l.relay.is_none());
        own.flat_map(|listener| &listener.addresses)
    }

    pub(crate) fn told(&self) -> Reach {
        let text = |address: &Multiaddr| address.to_string();
        let places = || {
            self.listeners
                .values()
                .filter(|l| l.relay.is_some() && !l.addresses.is_empty())
        };
        let mut reach = Reach {
            bound: self.bound().map(text).collect(),
            confirmed: self.confirmed.iter().map(|(a, _)| text(a)).collect(),
            refuted: self
                .refuted
                .iter()
                .map(|(a, why, _)| (text(a), why.clone()))
                .collect(),
            relayed: places().flat_map(|l| &l.addresses).map(text).collect(),
            relays: places().filter_map(|l| peer_key(&l.relay?)).collect(),
            offers: self.offers.keys().filter_map(peer_key).collect(),
            reached: self.reached.is_some(),
            relaying: self.relaying(),
        };
        reach.bound.sort_unstable();
        reach.relayed.sort_unstable();
        reach.relays.sort_unstable();
        reach.offers.sort_unstable();
        reach
    }
}

/// Whether an address leads through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

/// Addresses of ours that one relay may name.
const CIRCUIT_ADDRESSES_MAX: usize = 2;
/// Bound addresses that are remembered: machines with hundreds of bridges exist.
const BOUND_MAX: usize = 8 * ADDRESSES_MAX;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().expect("an address")
    }

    fn reaching(announces: bool, offer: Option<bool>) -> (Reaching, Instant) {
        let now = Instant::now();
        (Reaching::new(announces, offer, true, now), now)
    }

    #[test]
    fn a_relay_is_asked_when_an_address_is_refuted_or_nothing_is_known_for_long() {
        let (mut reaching, now) = reaching(false, None);
        let relay = PeerId::random();
        reaching.offers(relay, true, now);
        assert_eq!(reaching.relay_to_ask(now), None, "too early to tell");
        let late = now + settings::REACH_UNKNOWN;
        assert_eq!(reaching.relay_to_ask(late), Some(relay));
        reaching.confirm(address("/ip4/192.0.2.1/tcp/1"));
        assert_eq!(reaching.relay_to_ask(late), None, "reachable");
        reaching.refute(address("/ip4/192.0.2.2/tcp/1"), "no".into());
        assert_eq!(reaching.relay_to_ask(now), Some(relay));
        reaching.offers(relay, false, now);
        assert_eq!(reaching.relay_to_ask(now), None);
    }

    #[test]
    fn a_node_that_announces_addresses_relays_and_needs_no_relay() {
        let (mut reaching, now) = reaching(true, None);
        reaching.offers(PeerId::random(), true, now);
        reaching.refute(address("/ip4/192.0.2.2/tcp/1"), "no".into());
        assert_eq!(reaching.relay_to_ask(now), None);
        assert!(reaching.relaying());
        assert!(!Reaching::new(true, Some(false), true, now).relaying());
    }

    #[test]
    fn places_are_bounded_and_one_that_is_lost_is_not_asked_for_at_once() {
        let (mut reaching, now) = reaching(false, None);
        reaching.refute(address("/ip4/192.0.2.2/tcp/1"), "no".into());
        let relays = [PeerId::random(), PeerId::random(), PeerId::random()];
        for relay in relays {
            reaching.offers(relay, true, now);
        }
        let mut ids = Vec::new();
        while let Some(relay) = reaching.relay_to_ask(now) {
            let id = ListenerId::next();
            reaching.asked(id, relay, None);
            ids.push((id, relay));
        }
        assert_eq!(ids.len(), settings::RELAYS_WANTED);
        let circuit = |n: u16| address(&format!("/ip4/192.0.2.9/tcp/{n}/p2p-circuit"));
        let told = (1..100)
            .filter(|n| reaching.listens(ids[0].0, circuit(*n)))
            .count();
        assert_eq!(told, CIRCUIT_ADDRESSES_MAX);
        assert!(
            !reaching.listens(ids[1].0, address("/ip4/192.0.2.9/tcp/1")),
            "no circuit"
        );
        for (id, relay) in ids {
            assert_eq!(reaching.closed(id, now), Some(relay));
        }
        let third = reaching.relay_to_ask(now).expect("one is left");
        reaching.offers(third, false, now);
        assert_eq!(reaching.relay_to_ask(now), None);
        let again = now + settings::RELAY_RETRY + Duration::from_millis(1);
        assert!(reaching.relay_to_ask(again).is_some());
    }

    #[test]
    fn the_way_that_we_dialled_is_told_first_and_loopback_never() {
        let (mut reaching, _) = reaching(false, None);
        let id = ListenerId::next();
        let dialled = address("/ip4/192.0.2.9/udp/1/quic-v1/p2p-circuit");
        reaching.asked(id, PeerId::random(), Some(dialled.clone()));
        assert!(reaching.told().relayed.is_empty(), "not given yet");
        assert!(reaching.listens(id, address("/ip4/127.0.0.1/tcp/1/p2p-circuit")));
        assert_eq!(reaching.told().relayed, [dialled.to_string()]);
    }

    #[test]
    fn a_node_that_is_reached_relays_until_an_address_is_refuted() {
        let (mut reaching, _) = reaching(false, None);
        assert!(!reaching.relaying());
        assert!(reaching.reached() && !reaching.reached());
        assert!(reaching.relaying());
        reaching.refute(address("/ip4/192.0.2.2/tcp/1"), "no".into());
        assert!(!reaching.relaying());
    }

    #[test]
    fn looks_that_miss_an_address_take_it_back_and_one_that_finds_it_brings_it() {
        let (mut reaching, now) = reaching(false, None);
        let (open, closed) = (
            address("/ip4/192.0.2.1/udp/1/quic-v1"),
            address("/ip4/192.0.2.1/tcp/1"),
        );
        reaching.confirm(open.clone());
        reaching.refute(closed.clone(), "no".into());
        reaching.reached();
        reaching.offers(PeerId::random(), true, now);
        for missed in 1..=settings::LOOKS_MISSED_MAX {
            assert_eq!(reaching.told().confirmed, [open.to_string()], "{missed}");
            assert!(reaching.told().reached);
            reaching.begin_look();
            // Somebody who is itself behind a firewall: alone it takes back nothing.
            assert!(!reaching.refute(open.clone(), "no".into()));
            let (changed, lost) = reaching.end_look();
            let last = missed == settings::LOOKS_MISSED_MAX;
            assert_eq!((changed, lost.len()), (last, usize::from(last)));
        }
        let told = reaching.told();
        assert!(told.confirmed.is_empty() && !told.reached);
        assert_eq!(told.refuted.len(), 1, "{told:?}");
        assert_eq!(told.refuted[0].0, open.to_string());
        assert!(reaching.relay_to_ask(now).is_some());

        // The firewall opens: places at relays are left.
        let id = ListenerId::next();
        reaching.asked(id, PeerId::random(), Some(closed));
        assert!(reaching.places_to_leave(now).is_empty());
        reaching.begin_look();
        assert!(reaching.confirm(open.clone()));
        assert_eq!(reaching.places_to_leave(now), [id]);
        let (changed, lost) = reaching.end_look();
        assert!(!changed && lost.is_empty());
        assert_eq!(reaching.told().confirmed, [open.to_string()]);
        assert!(reaching.told().refuted.is_empty());
    }

    #[test]
    fn what_members_claim_about_our_addresses_is_bounded() {
        let (mut reaching, _) = reaching(false, None);
        for n in 1..1_000 {
            reaching.refute(address(&format!("/ip4/192.0.2.1/tcp/{n}")), "no".into());
            reaching.confirm(address(&format!("/ip4/192.0.2.2/tcp/{n}")));
        }
        let told = reaching.told();
        assert_eq!(told.refuted.len(), settings::CANDIDATES_MAX);
        assert_eq!(told.confirmed.len(), settings::CANDIDATES_MAX);
        assert!(!reaching.confirm(address("/ip4/192.0.2.3/tcp/1/p2p-circuit")));
    }
}
