//! The gate: who may connect, and which protocols a connection gets (PROTOCOL section 7).
//!
//! [`Gated`] wraps the protocols of members. At connection time it looks up the peer's place: a member's connection gets
//! the real handlers, a stranger's gets a dummy that speaks nothing (as libp2p's `Toggle` does), anybody else is refused.
//! The place of a connection never changes: when the gate does, the task closes the connections that no longer fit.
//!
//! A relay changes nothing: the other end of a circuit proves its identity like any other, and gets the place that is its own.
//!
//! The wrapped behaviours see members' connections only, and counts of those only. A connection can be *severed*: they
//! are told at once that it is closed, however long the transport needs for that.

use std::{
    collections::{HashMap, HashSet},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour,
        NotifyHandler, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::ConnectionEstablished, derive_prelude::Either, dummy,
    },
};

use super::settings::{CANDIDATES_MAX, STRANGERS_MAX};

/// What a connection may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Everything.
    Member,
    /// The join protocol, which is not behind the gate.
    Stranger,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("not a member, and no invite is open")]
    Unknown,
    #[error("not a member, and {STRANGERS_MAX} strangers are connected already")]
    TooManyStrangers,
    #[error("its identity is not an Ed25519 key")]
    KeyType,
}

/// Members' protocols behind the gate. Closed to all until [`Gated::set`].
pub(crate) struct Gated<B> {
    inner: B,
    members: HashSet<PeerId>,
    join_open: bool,
    /// A member behind this relay has an open invite: its strangers may come as far as here.
    doors_open: bool,
    /// Peers that we dial in order to join.
    joining: HashSet<PeerId>,
    connections: HashMap<ConnectionId, Passage>,
    /// Addresses of ours that members say they see, as far as the wrapped behaviours may learn of them.
    candidates: HashSet<Multiaddr>,
}

/// One connection that was let in.
struct Passage {
    peer: PeerId,
    place: Place,
    /// Set while the wrapped behaviours know the connection.
    known: Option<ConnectedPoint>,
}

impl<B: NetworkBehaviour> Gated<B> {
    pub(crate) fn new(inner: B) -> Self {
        Self {
            inner,
            members: HashSet::new(),
            join_open: false,
            doors_open: false,
            joining: HashSet::new(),
            connections: HashMap::new(),
            candidates: HashSet::new(),
        }
    }

    pub(crate) const fn inner_mut(&mut self) -> &mut B {
        &mut self.inner
    }

    pub(crate) fn set(&mut self, members: HashSet<PeerId>, join_open: bool) {
        self.members = members;
        self.join_open = join_open;
    }

    /// Whether strangers may come for the sake of members behind this relay.
    pub(crate) const fn set_doors(&mut self, open: bool) {
        self.doors_open = open;
    }

    pub(crate) fn is_member(&self, peer: &PeerId) -> bool {
        self.members.contains(peer)
    }

    /// An invite of our own is open.
    pub(crate) const fn join_open(&self) -> bool {
        self.join_open
    }

    /// Strangers may connect at all.
    pub(crate) const fn lets_strangers_in(&self) -> bool {
        self.join_open || self.doors_open
    }

    /// Addresses of ours that members will say they see are news again.
    pub(crate) fn forget_candidates(&mut self) {
        self.candidates.clear();
    }

    /// Lets a stranger be dialled, until [`Self::stop_joining`].
    pub(crate) fn start_joining(&mut self, peer: PeerId) {
        self.joining.insert(peer);
    }

    pub(crate) fn stop_joining(&mut self, peer: &PeerId) {
        self.joining.remove(peer);
    }

    /// The place a connection was given when it came.
    pub(crate) fn place(&self, connection: ConnectionId) -> Option<Place> {
        self.connections
            .get(&connection)
            .map(|passage| passage.place)
    }

    /// Tells the wrapped behaviours that the connection is closed. What it still brings is dropped.
    pub(crate) fn sever(&mut self, connection: ConnectionId) {
        let Some(passage) = self.connections.get_mut(&connection) else {
            return;
        };
        let Some(endpoint) = passage.known.take() else {
            return;
        };
        let peer_id = passage.peer;
        let remaining_established = self.known_connections(&peer_id).count();
        self.inner
            .on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id,
                connection_id: connection,
                endpoint: &endpoint,
                cause: None,
                remaining_established,
            }));
    }

    /// The place that a new connection would get now.
    fn admit(&self, peer: &PeerId, outbound: bool) -> Result<Place, Refusal> {
        if self.members.contains(peer) {
            return Ok(Place::Member);
        }
        if outbound && self.joining.contains(peer) {
            return Ok(Place::Stranger);
        }
        if outbound || !self.lets_strangers_in() {
            return Err(Refusal::Unknown);
        }
        if super::peer_key(peer).is_none() {
            return Err(Refusal::KeyType);
        }
        let strangers = self
            .connections
            .values()
            .filter(|passage| passage.place == Place::Stranger);
        if strangers.count() >= STRANGERS_MAX {
            return Err(Refusal::TooManyStrangers);
        }
        Ok(Place::Stranger)
    }

    /// Admits a connection or refuses it; `handler` makes the members' handler.
    fn enter(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        outbound: bool,
        handler: impl FnOnce(&mut B) -> Result<THandler<B>, ConnectionDenied>,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let place = self.admit(&peer, outbound).map_err(ConnectionDenied::new)?;
        let handler = match place {
            Place::Member => Either::Left(handler(&mut self.inner)?),
            Place::Stranger => Either::Right(dummy::ConnectionHandler),
        };
        self.connections.insert(
            connection,
            Passage {
                peer,
                place,
                known: None,
            },
        );
        Ok(handler)
    }

    /// Whether an address that a member says it sees is worth a test. Members can invent any number of them.
    fn is_candidate(&mut self, address: &Multiaddr) -> bool {
        if self.candidates.contains(address) {
            return true;
        }
        // Through a relay a member sees no address of ours at all.
        let somewhere = !matches!(address.iter().next(), None | Some(Protocol::P2p(_)));
        let worth = self.candidates.len() < CANDIDATES_MAX
            && somewhere
            && !super::reach::is_relayed(address);
        worth && self.candidates.insert(address.clone())
    }

    /// Connections of a peer that the wrapped behaviours know.
    fn known_connections(&self, peer: &PeerId) -> impl Iterator<Item = ConnectionId> {
        self.connections
            .iter()
            .filter(move |(_, passage)| passage.peer == *peer && passage.known.is_some())
            .map(|(id, _)| *id)
    }

    fn on_established(&mut self, event: ConnectionEstablished<'_>) {
        let other_established = self.known_connections(&event.peer_id).count();
        let Some(passage) = self.connections.get_mut(&event.connection_id) else {
            return;
        };
        if passage.place == Place::Member {
            passage.known = Some(event.endpoint.clone());
            self.inner
                .on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                    other_established,
                    ..event
                }));
        }
    }

    fn on_closed(&mut self, event: ConnectionClosed<'_>) {
        let passage = self.connections.remove(&event.connection_id);
        if passage.is_some_and(|passage| passage.known.is_some()) {
            let remaining_established = self.known_connections(&event.peer_id).count();
            self.inner
                .on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
                    remaining_established,
                    ..event
                }));
        }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gated<B> {
    type ConnectionHandler = Either<THandler<B>, dummy::ConnectionHandler>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner
            .handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.enter(connection, peer, false, |inner| {
            inner.handle_established_inbound_connection(connection, peer, local, remote)
        })
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        effective_role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if let Some(peer) = peer {
            self.admit(&peer, true).map_err(ConnectionDenied::new)?;
        }
        self.inner
            .handle_pending_outbound_connection(connection, peer, addresses, effective_role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role_override: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.enter(connection, peer, true, |inner| {
            inner.handle_established_outbound_connection(
                connection,
                peer,
                address,
                role_override,
                port_use,
            )
        })
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.on_established(event),
            FromSwarm::ConnectionClosed(event) => self.on_closed(event),
            FromSwarm::AddressChange(change) => {
                if let Some(endpoint) = self
                    .connections
                    .get_mut(&change.connection_id)
                    .and_then(|passage| passage.known.as_mut())
                {
                    *endpoint = change.new.clone();
                    self.inner.on_swarm_event(event);
                }
            }
            FromSwarm::DialFailure(failure) => {
                self.connections.remove(&failure.connection_id);
                self.inner.on_swarm_event(event);
            }
            FromSwarm::ListenFailure(failure) => {
                self.connections.remove(&failure.connection_id);
                self.inner.on_swarm_event(event);
            }
            _ => self.inner.on_swarm_event(event),
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let known = self
            .connections
            .get(&connection)
            .is_some_and(|passage| passage.known.is_some());
        match event {
            Either::Left(event) if known => {
                self.inner
                    .on_connection_handler_event(peer, connection, event);
            }
            Either::Left(_) => {} // severed
            Either::Right(never) => match never {},
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while let Poll::Ready(action) = self.inner.poll(cx) {
            let mut action = action.map_in(Either::Left);
            if let ToSwarm::NewExternalAddrCandidate(address) = &action
                && !self.is_candidate(address)
            {
                continue;
            }
            if let ToSwarm::NotifyHandler {
                peer_id, handler, ..
            } = &mut action
            {
                // "Any connection" must not pick one with a dummy, nor may a severed one be told anything.
                let chosen = match handler {
                    NotifyHandler::Any => self.known_connections(peer_id).next(),
                    // By its id alone: the relay names the other end's peer when it opens a circuit.
                    NotifyHandler::One(id) => {
                        let passage = self.connections.get(id);
                        passage
                            .and_then(|passage| passage.known.as_ref())
                            .map(|_| *id)
                    }
                };
                let Some(chosen) = chosen else {
                    continue;
                };
                *handler = NotifyHandler::One(chosen);
            }
            return Poll::Ready(action);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers what it was told.
    #[derive(Default)]
    struct Recorder(Vec<Told>);

    #[derive(Debug, PartialEq, Eq)]
    enum Told {
        Established(ConnectionId, usize),
        Closed(ConnectionId, usize),
    }

    impl NetworkBehaviour for Recorder {
        type ConnectionHandler = dummy::ConnectionHandler;
        type ToSwarm = ();

        fn handle_established_inbound_connection(
            &mut self,
            _: ConnectionId,
            _: PeerId,
            _: &Multiaddr,
            _: &Multiaddr,
        ) -> Result<THandler<Self>, ConnectionDenied> {
            Ok(dummy::ConnectionHandler)
        }

        fn handle_established_outbound_connection(
            &mut self,
            _: ConnectionId,
            _: PeerId,
            _: &Multiaddr,
            _: Endpoint,
            _: PortUse,
        ) -> Result<THandler<Self>, ConnectionDenied> {
            Ok(dummy::ConnectionHandler)
        }

        fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
            match event {
                FromSwarm::ConnectionEstablished(event) => {
                    let told = Told::Established(event.connection_id, event.other_established);
                    self.0.push(told);
                }
                FromSwarm::ConnectionClosed(event) => {
                    let told = Told::Closed(event.connection_id, event.remaining_established);
                    self.0.push(told);
                }
                _ => {}
            }
        }

        fn on_connection_handler_event(
            &mut self,
            _: PeerId,
            _: ConnectionId,
            never: THandlerOutEvent<Self>,
        ) {
            match never {}
        }

        fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<(), THandlerInEvent<Self>>> {
            Poll::Pending
        }
    }

    fn endpoint() -> ConnectedPoint {
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().expect("an address");
        ConnectedPoint::Listener {
            local_addr: address.clone(),
            send_back_addr: address,
        }
    }

    /// An inbound connection, as the swarm tells of it.
    fn connect(gated: &mut Gated<Recorder>, peer: PeerId, n: usize) -> Result<Place, Refusal> {
        let (id, endpoint) = (ConnectionId::new_unchecked(n), endpoint());
        let address = endpoint.get_remote_address().clone();
        gated
            .handle_established_inbound_connection(id, peer, &address, &address)
            .map_err(|denied| denied.downcast::<Refusal>().expect("refused by the gate"))?;
        gated.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer,
            connection_id: id,
            endpoint: &endpoint,
            failed_addresses: &[],
            // What the swarm counts: severed and strangers' connections, too.
            other_established: 17,
        }));
        Ok(gated.place(id).expect("let in"))
    }

    fn close(gated: &mut Gated<Recorder>, peer: PeerId, n: usize) {
        gated.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id: peer,
            connection_id: ConnectionId::new_unchecked(n),
            endpoint: &endpoint(),
            cause: None,
            remaining_established: 17,
        }));
    }

    fn peer(seed: u8) -> PeerId {
        super::super::peer_id_of(&fmesh_proto::id::PeerKey([seed; 32]))
    }

    #[test]
    fn everybody_gets_the_place_the_gate_gives() {
        let mut gated = Gated::new(Recorder::default());
        assert_eq!(connect(&mut gated, peer(1), 1), Err(Refusal::Unknown));
        gated.set([peer(1)].into(), false);
        assert_eq!(connect(&mut gated, peer(1), 2), Ok(Place::Member));
        assert_eq!(connect(&mut gated, peer(2), 3), Err(Refusal::Unknown));
        gated.set([peer(1)].into(), true);
        assert_eq!(connect(&mut gated, peer(2), 4), Ok(Place::Stranger));
        assert_eq!(
            connect(&mut gated, PeerId::random(), 5),
            Err(Refusal::KeyType)
        );
        for n in 1..STRANGERS_MAX {
            assert_eq!(connect(&mut gated, peer(2), 10 + n), Ok(Place::Stranger));
        }
        assert_eq!(
            connect(&mut gated, peer(3), 6),
            Err(Refusal::TooManyStrangers)
        );
        close(&mut gated, peer(2), 4);
        assert_eq!(connect(&mut gated, peer(3), 7), Ok(Place::Stranger));
        assert_eq!(connect(&mut gated, peer(1), 8), Ok(Place::Member));
    }

    #[test]
    fn addresses_that_members_invent_are_bounded() {
        let mut gated = Gated::new(Recorder::default());
        let address = |text: &str| text.parse::<Multiaddr>().expect("an address");
        let nowhere = format!("/p2p/{}", peer(1));
        assert!(!gated.is_candidate(&address(&nowhere)));
        assert!(!gated.is_candidate(&address("/ip4/192.0.2.1/tcp/1/p2p-circuit")));
        let invented = (1..1_000).map(|n| address(&format!("/ip4/192.0.2.1/tcp/{n}")));
        assert_eq!(
            invented.filter(|a| gated.is_candidate(a)).count(),
            CANDIDATES_MAX
        );
        assert!(
            gated.is_candidate(&address("/ip4/192.0.2.1/tcp/1")),
            "said again"
        );
    }

    #[test]
    fn only_a_peer_that_we_ask_to_join_may_be_dialled_as_a_stranger() {
        let mut gated = Gated::new(Recorder::default());
        gated.set([peer(1)].into(), true);
        let outbound = |gated: &mut Gated<Recorder>, peer| {
            gated
                .handle_pending_outbound_connection(
                    ConnectionId::new_unchecked(1),
                    Some(peer),
                    &[],
                    Endpoint::Dialer,
                )
                .is_ok()
        };
        assert!(outbound(&mut gated, peer(1)));
        assert!(!outbound(&mut gated, peer(2)));
        gated.start_joining(peer(2));
        assert!(outbound(&mut gated, peer(2)));
        gated.stop_joining(&peer(2));
        assert!(!outbound(&mut gated, peer(2)));
    }

    #[test]
    fn the_protocols_of_members_see_members_connections_only_and_count_those() {
        let mut gated = Gated::new(Recorder::default());
        gated.set(HashSet::new(), true);
        connect(&mut gated, peer(1), 1).expect("a stranger yet");
        gated.set([peer(1)].into(), true);
        connect(&mut gated, peer(1), 2).expect("a member now");
        connect(&mut gated, peer(1), 3).expect("once more");
        close(&mut gated, peer(1), 1);
        close(&mut gated, peer(1), 2);
        close(&mut gated, peer(1), 3);
        let [two, three] = [2, 3].map(ConnectionId::new_unchecked);
        assert_eq!(
            gated.inner_mut().0,
            [
                Told::Established(two, 0),
                Told::Established(three, 1),
                Told::Closed(two, 1),
                Told::Closed(three, 0),
            ]
        );
        assert!(gated.connections.is_empty());
    }

    #[test]
    fn a_severed_connection_is_closed_once_and_does_not_count() {
        let mut gated = Gated::new(Recorder::default());
        gated.set([peer(1)].into(), false);
        let [old, new] = [1, 2].map(ConnectionId::new_unchecked);
        connect(&mut gated, peer(1), 1).expect("a member");
        gated.sever(old);
        gated.sever(old);
        connect(&mut gated, peer(1), 2).expect("a member");
        close(&mut gated, peer(1), 1);
        assert_eq!(
            gated.inner_mut().0,
            [
                Told::Established(old, 0),
                Told::Closed(old, 0),
                Told::Established(new, 0),
            ],
            "the new connection is the first: gossipsub tells its subscriptions on it"
        );
    }
}
