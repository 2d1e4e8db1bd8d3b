//! Who is connected to whom, as each end believes, and which routes exist.
//!
//! A connection has two ends that learn of its death separately, because the interesting faults live in between:
//! a peer that crashed and came back while this side still trusts the old connection.

use std::collections::{BTreeMap, BTreeSet};

/// What the network does to messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// One way, in milliseconds, between these.
    pub latency_ms: (u64, u64),
    /// Gossip messages lost, of a thousand.
    pub gossip_lost: u32,
    /// Calls or their answers lost, of a thousand.
    pub calls_lost: u32,
}

impl Faults {
    /// A good day: some milliseconds and nothing lost.
    pub const NONE: Self = Self {
        latency_ms: (1, 30),
        gossip_lost: 0,
        calls_lost: 0,
    };
    /// A bad day.
    pub const STORM: Self = Self {
        latency_ms: (1, 900),
        gossip_lost: 300,
        calls_lost: 150,
    };
}

/// Connections and routes.
#[derive(Debug, Default)]
pub(super) struct Net {
    next: u64,
    /// (this end, other end) -> connections that this end believes in.
    open: BTreeMap<(usize, usize), BTreeSet<u64>>,
    cut: BTreeSet<(usize, usize)>,
}

impl Net {
    /// A new connection, open at both ends. For each end: is it the first?
    pub(super) fn connect(&mut self, a: usize, b: usize) -> (u64, bool, bool) {
        self.next += 1;
        let mut open = |ends| {
            let open = self.open.entry(ends).or_default();
            open.insert(self.next);
            open.len() == 1
        };
        let (first_a, first_b) = (open((a, b)), open((b, a)));
        (self.next, first_a, first_b)
    }

    /// This end gives a connection up. True if it was the last one to that site.
    pub(super) fn close(&mut self, end: usize, other: usize, connection: u64) -> bool {
        match self.open.get_mut(&(end, other)) {
            Some(open) => open.remove(&connection) && open.is_empty(),
            None => false,
        }
    }

    /// Connections that this end believes in.
    pub(super) fn believed(&self, end: usize, other: usize) -> Vec<u64> {
        let open = self.open.get(&(end, other));
        open.into_iter().flatten().copied().collect()
    }

    /// Would a message sent over it now arrive?
    pub(super) fn carries(&self, from: usize, to: usize, connection: u64) -> bool {
        let at = |ends| {
            self.open
                .get(&ends)
                .is_some_and(|open| open.contains(&connection))
        };
        at((from, to)) && at((to, from)) && !self.is_cut(from, to)
    }

    /// Everything that one end believes in vanishes with its process. The other ends, with their connections.
    pub(super) fn vanish(&mut self, end: usize) -> Vec<(usize, u64)> {
        self.open.retain(|(this, _), _| *this != end);
        let others = self.open.iter().filter(|((_, other), _)| *other == end);
        others
            .flat_map(|((this, _), open)| open.iter().map(|connection| (*this, *connection)))
            .collect()
    }

    /// Takes the route away; existing connections stay believed in until somebody notices.
    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.cut.insert((a.min(b), a.max(b)));
    }

    pub(super) fn heal(&mut self, a: usize, b: usize) {
        self.cut.remove(&(a.min(b), a.max(b)));
    }

    pub(super) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }
}
