//! Own calls to members: a few run at once per peer, a bounded number waits, each ends within the time limit.

use std::collections::{HashMap, VecDeque};

use libp2p::{PeerId, request_response::OutboundRequestId};
use tokio::time::Instant;

use super::settings::{CALL_TIMEOUT, CALLS_PER_PEER_MAX, CALLS_WAITING_MAX};

/// All calls, by peer. `Q` is the request.
#[derive(Debug)]
pub(crate) struct Calls<Q> {
    peers: HashMap<PeerId, PeerCalls<Q>>,
}

#[derive(Debug)]
struct PeerCalls<Q> {
    /// The node's id by libp2p's.
    running: HashMap<OutboundRequestId, u64>,
    waiting: VecDeque<Waiting<Q>>,
}

#[derive(Debug)]
struct Waiting<Q> {
    id: u64,
    request: Q,
    since: Instant,
}

impl<Q> Calls<Q> {
    pub(crate) fn new() -> Self {
        Self {
            peers: HashMap::new(),
        }
    }

    /// Puts a call in the queue. `false`: the queue is full, the call has failed.
    pub(crate) fn enqueue(&mut self, peer: PeerId, id: u64, request: Q, now: Instant) -> bool {
        let calls = self.peers.entry(peer).or_insert_with(|| PeerCalls {
            running: HashMap::new(),
            waiting: VecDeque::new(),
        });
        if calls.waiting.len() >= CALLS_WAITING_MAX {
            return false;
        }
        calls.waiting.push_back(Waiting {
            id,
            request,
            since: now,
        });
        true
    }

    /// The next call that may run, to be reported as [`Self::started`].
    pub(crate) fn next(&mut self, peer: &PeerId) -> Option<(u64, Q)> {
        let calls = self.peers.get_mut(peer)?;
        if calls.running.len() >= CALLS_PER_PEER_MAX {
            return None;
        }
        calls
            .waiting
            .pop_front()
            .map(|call| (call.id, call.request))
    }

    pub(crate) fn started(&mut self, peer: &PeerId, call: OutboundRequestId, id: u64) {
        if let Some(calls) = self.peers.get_mut(peer) {
            calls.running.insert(call, id);
        }
    }

    /// A running call got its answer or failed: the node's id for it.
    pub(crate) fn finished(&mut self, peer: &PeerId, call: OutboundRequestId) -> Option<u64> {
        let calls = self.peers.get_mut(peer)?;
        let id = calls.running.remove(&call);
        self.forget_if_idle(peer);
        id
    }

    /// The peer is gone: its waiting calls have failed. (libp2p reports the running ones.)
    pub(crate) fn fail_waiting(&mut self, peer: &PeerId) -> Vec<u64> {
        let Some(calls) = self.peers.get_mut(peer) else {
            return Vec::new();
        };
        let ids = calls.waiting.drain(..).map(|call| call.id).collect();
        self.forget_if_idle(peer);
        ids
    }

    /// Calls that waited too long have failed.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<(PeerId, u64)> {
        let mut expired = Vec::new();
        for (peer, calls) in &mut self.peers {
            while let Some(call) = calls
                .waiting
                .pop_front_if(|call| now.duration_since(call.since) >= CALL_TIMEOUT)
            {
                expired.push((*peer, call.id));
            }
        }
        self.peers
            .retain(|_, calls| !(calls.running.is_empty() && calls.waiting.is_empty()));
        expired
    }

    fn forget_if_idle(&mut self, peer: &PeerId) {
        if self
            .peers
            .get(peer)
            .is_some_and(|calls| calls.running.is_empty() && calls.waiting.is_empty())
        {
            self.peers.remove(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_in_order_is_bounded_and_expires() {
        let (peer, now) = (PeerId::random(), Instant::now());
        let mut calls = Calls::new();
        for id in 0..CALLS_WAITING_MAX as u64 {
            assert!(calls.enqueue(peer, id, "request", now));
        }
        assert!(!calls.enqueue(peer, 99, "request", now), "queue is full");
        assert_eq!(calls.next(&peer), Some((0, "request")));
        assert!(calls.enqueue(peer, 100, "request", now + CALL_TIMEOUT));
        let expired = calls.expire(now + CALL_TIMEOUT);
        assert_eq!(expired.len(), CALLS_WAITING_MAX - 1);
        assert_eq!(expired[0], (peer, 1));
        assert_eq!(calls.fail_waiting(&peer), [100]);
        assert!(calls.peers.is_empty(), "nothing is kept of an idle peer");
    }
}
