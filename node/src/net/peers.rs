//! The task's table of connections: who is connected, how, and whether the other side counts us as a member, too.
//!
//! A member's connection is *proven* by the first sign that only a member's handlers give (a ping answered, a call,
//! gossip). Until then the peer is not announced as connected: a refused dial looks like a connection for a moment.

use std::collections::HashMap;

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use tokio::time::Instant;

use super::gate::Place;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) place: Place,
    pub(crate) outbound: bool,
    pub(crate) address: Multiaddr,
    /// The node asked for it and waits for the outcome.
    pub(crate) dialled: bool,
    pub(crate) ping_failures: u8,
    /// When it was opened or a ping was answered: the other side is there.
    pub(crate) answered: Instant,
    /// When it was opened or last used to join.
    pub(crate) used: Instant,
    /// A join request came over it.
    pub(crate) asked_to_join: bool,
    /// To be closed then.
    pub(crate) close_at: Option<Instant>,
}

impl Connection {
    pub(crate) fn is_relayed(&self) -> bool {
        super::reach::is_relayed(&self.address)
    }

    /// The other side may yet be seen to count us as a member over it, or has been.
    fn may_prove(&self) -> bool {
        self.place == Place::Member && self.close_at.is_none()
    }
}

/// All connections of all peers.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    peers: HashMap<PeerId, Peer>,
}

/// What is known of one connected peer.
#[derive(Debug, Default)]
struct Peer {
    connections: HashMap<ConnectionId, Connection>,
    announced: bool,
}

/// What the end of a connection means.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) connection: Connection,
    /// It was the last one to a member that had been announced.
    pub(crate) disconnected: bool,
    /// The node waits for a dial that now has no connection left that could succeed.
    pub(crate) dial_failed: bool,
}

impl Peers {
    pub(crate) fn insert(&mut self, peer: PeerId, id: ConnectionId, connection: Connection) {
        let peer = self.peers.entry(peer).or_default();
        peer.connections.insert(id, connection);
    }

    /// Removes a connection. `None` if it was removed before.
    pub(crate) fn remove(&mut self, peer_id: &PeerId, id: ConnectionId) -> Option<Ended> {
        let peer = self.peers.get_mut(peer_id)?;
        let connection = peer.connections.remove(&id)?;
        let mut left = peer
            .connections
            .values_mut()
            .filter(|other| other.may_prove())
            .peekable();
        let mut ended = Ended {
            disconnected: false,
            dial_failed: false,
            connection,
        };
        if let Some(other) = left.peek_mut() {
            // The wait goes on with another connection.
            other.dialled |= ended.connection.dialled;
        } else {
            ended.disconnected = std::mem::take(&mut peer.announced);
            ended.dial_failed = ended.connection.dialled;
        }
        if peer.connections.is_empty() {
            self.peers.remove(peer_id);
        }
        Some(ended)
    }

    pub(crate) fn connection_mut(
        &mut self,
        peer: &PeerId,
        id: ConnectionId,
    ) -> Option<&mut Connection> {
        self.peers.get_mut(peer)?.connections.get_mut(&id)
    }

    /// Any connection that is not about to be closed.
    pub(crate) fn is_reachable(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|peer| {
            peer.connections
                .values()
                .any(|connection| connection.close_at.is_none())
        })
    }

    /// The node was told that this member is connected.
    pub(crate) fn is_announced(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.announced)
    }

    /// A member's connection exists but is not proven yet: marks it as waited for.
    pub(crate) fn await_proof(&mut self, peer: &PeerId) -> bool {
        let connection = self.peers.get_mut(peer).and_then(|peer| {
            peer.connections
                .values_mut()
                .find(|connection| connection.may_prove())
        });
        connection.is_some_and(|connection| {
            connection.dialled = true;
            true
        })
    }

    /// Something came that only a member's handlers send. `Some` the first time: what to announce.
    pub(crate) fn prove(
        &mut self,
        peer: &PeerId,
        over: Option<ConnectionId>,
    ) -> Option<(Multiaddr, bool)> {
        let peer = self.peers.get_mut(peer)?;
        if peer.announced {
            return None;
        }
        let connection = over
            .and_then(|id| peer.connections.get(&id))
            .filter(|connection| connection.may_prove())
            .or_else(|| {
                peer.connections
                    .values()
                    .find(|connection| connection.may_prove())
            })?;
        let announcement = (connection.address.clone(), connection.outbound);
        peer.announced = true;
        for connection in peer.connections.values_mut() {
            connection.dialled = false;
        }
        Some(announcement)
    }

    /// Circuits beside a direct connection that has lasted since `stable`.
    pub(crate) fn spare_circuits(&self, stable: Instant) -> Vec<(PeerId, ConnectionId)> {
        let mut spare = Vec::new();
        for (peer_id, peer) in &self.peers {
            let replaced = peer.connections.values().any(|connection| {
                connection.may_prove()
                    && !connection.is_relayed()
                    && connection.ping_failures == 0
                    && connection.used <= stable
            });
            if replaced {
                let circuits = peer.connections.iter().filter(|(_, c)| c.is_relayed());
                spare.extend(circuits.map(|(id, _)| (*peer_id, *id)));
            }
        }
        spare
    }

    /// Members that are reached over circuits that we opened and in no other way, each with the address of one.
    pub(crate) fn only_relayed(&self) -> Vec<(PeerId, Multiaddr)> {
        let circuit = |peer: &Peer| {
            let stays = |c: &&Connection| c.may_prove();
            let mut all = peer.connections.values().filter(stays);
            let ours = peer.connections.values().filter(stays).find(|c| c.outbound);
            (peer.announced && all.all(Connection::is_relayed))
                .then(|| ours.map(|c| c.address.clone()))
                .flatten()
        };
        let peers = self.peers.iter();
        peers
            .filter_map(|(id, peer)| Some((*id, circuit(peer)?)))
            .collect()
    }

    /// Address of a direct connection to a member that is known to be one for both sides, and whether we dialled it.
    pub(crate) fn direct(&self, peer: &PeerId) -> Option<(&Multiaddr, bool)> {
        let peer = self.peers.get(peer).filter(|peer| peer.announced)?;
        let direct = peer
            .connections
            .values()
            .filter(|c| c.may_prove() && !c.is_relayed());
        // One that we dialled says where the member listens.
        let best = direct.max_by_key(|connection| connection.outbound);
        best.map(|connection| (&connection.address, connection.outbound))
    }

    pub(crate) fn ids(&self, peer: &PeerId) -> Vec<ConnectionId> {
        self.peers
            .get(peer)
            .map(|peer| peer.connections.keys().copied().collect())
            .unwrap_or_default()
    }

    pub(crate) fn iter_mut(
        &mut self,
    ) -> impl Iterator<Item = (PeerId, ConnectionId, &mut Connection)> {
        self.peers.iter_mut().flat_map(|(id, peer)| {
            peer.connections
                .iter_mut()
                .map(|(connection_id, connection)| (*id, *connection_id, connection))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(place: Place, dialled: bool) -> Connection {
        Connection {
            place,
            outbound: true,
            address: "/ip4/127.0.0.1/tcp/1".parse().expect("an address"),
            dialled,
            ping_failures: 0,
            answered: Instant::now(),
            used: Instant::now(),
            asked_to_join: false,
            close_at: None,
        }
    }

    #[test]
    fn announces_the_first_proof_and_the_last_end() {
        let (peer, mut peers) = (PeerId::random(), Peers::default());
        let [one, two] = [1, 2].map(ConnectionId::new_unchecked);
        peers.insert(peer, one, connection(Place::Member, true));
        peers.insert(peer, two, connection(Place::Member, false));
        assert!(!peers.is_announced(&peer), "not proven yet");
        assert!(peers.prove(&peer, Some(two)).is_some());
        assert!(peers.prove(&peer, Some(one)).is_none(), "only once");
        let first = peers.remove(&peer, one).expect("known");
        assert!(!first.disconnected && !first.dial_failed);
        assert!(peers.remove(&peer, one).is_none());
        let last = peers.remove(&peer, two).expect("known");
        assert!(last.disconnected && !last.dial_failed);
        assert!(peers.peers.is_empty());
    }

    #[test]
    fn a_dial_fails_with_the_last_connection_that_could_prove_it() {
        let (peer, mut peers) = (PeerId::random(), Peers::default());
        let [one, two] = [1, 2].map(ConnectionId::new_unchecked);
        peers.insert(peer, one, connection(Place::Member, true));
        peers.insert(peer, two, connection(Place::Member, false));
        assert!(!peers.remove(&peer, one).expect("known").dial_failed);
        let last = peers.remove(&peer, two).expect("known");
        assert!(last.dial_failed && !last.disconnected);
    }

    #[test]
    fn a_strangers_connection_proves_nothing() {
        let (peer, mut peers) = (PeerId::random(), Peers::default());
        let id = ConnectionId::new_unchecked(1);
        peers.insert(peer, id, connection(Place::Stranger, false));
        assert!(peers.prove(&peer, Some(id)).is_none());
        assert!(!peers.await_proof(&peer));
        assert!(!peers.remove(&peer, id).expect("known").disconnected);
    }
}
