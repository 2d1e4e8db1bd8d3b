//! One site: what survives a crash (identity, disk) and what does not (the process).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use rand_chacha::ChaCha8Rng;

use super::{
    malice::Malice,
    pool::Pool,
    store::{Identity, Store},
    truth::Secret,
};
use crate::{
    id::{Digest, SiteId},
    membership::Membership,
    mesh::{Mesh, witness::Pledge},
};

/// What a site has sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Calls.
    pub calls: u64,
    /// Answers to calls.
    pub answers: u64,
    /// Gossip messages, each neighbour counted.
    pub gossip: u64,
    /// Dials.
    pub dials: u64,
    /// Bytes of calls, answers and gossip, without what lower layers add.
    pub bytes: u64,
}

impl Sent {
    /// All messages.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.calls + self.answers + self.gossip + self.dials
    }
}

#[derive(Debug)]
pub(super) struct Site {
    pub(super) who: Identity,
    pub(super) store: Store,
    pub(super) process: Option<Process>,
    pub(super) boots: u64,
    pub(super) skew: i64,
    pub(super) malice: Option<Malice>,
    /// Answers that somebody else wrote, given before its own.
    pub(super) answers: VecDeque<Vec<u8>>,
    /// Secrets that reached this site in any message.
    pub(super) overheard: BTreeSet<Secret>,
    pub(super) blamed: BTreeMap<(usize, String), u64>,
    pub(super) sent: Sent,
    /// Cosignatures that left, in order: of which log, and what they say.
    pub(super) cosigned: Vec<(SiteId, Pledge)>,
}

impl Site {
    pub(super) fn new(number: usize, rng: &mut ChaCha8Rng, pool: &Pool) -> Self {
        Self {
            who: Identity::new(number, rng),
            store: Store::new(pool.clone()),
            process: None,
            boots: 0,
            skew: 0,
            malice: None,
            answers: VecDeque::new(),
            overheard: BTreeSet::new(),
            blamed: BTreeMap::new(),
            sent: Sent::default(),
            cosigned: Vec::new(),
        }
    }
}

/// Everything that a crash takes.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) boot: u64,
    pub(super) mesh: Mesh,
    /// Members as the machine was told last.
    pub(super) told: Arc<Membership>,
    /// Hashes of gossip messages, and when they came last: gossipsub's duplicate cache.
    pub(super) heard: BTreeMap<Digest, u64>,
    /// Messages that wait for a verdict, with the neighbour that brought them.
    pub(super) undecided: BTreeMap<u64, (usize, Arc<Vec<u8>>)>,
    /// Calls of others that wait for an answer: (who, connection, their id).
    pub(super) callers: BTreeMap<u64, (usize, u64, u64)>,
    /// Own calls that wait for an answer.
    pub(super) calls: BTreeSet<u64>,
    /// Neighbours whose subscription came: gossip goes to them.
    pub(super) subscribed: BTreeSet<usize>,
    /// When the writer has done what it was given.
    pub(super) writer_free: u64,
    pub(super) tick_at: u64,
    pub(super) next_token: u64,
}

impl Process {
    pub(super) fn new(boot: u64, mesh: Mesh, told: Arc<Membership>) -> Self {
        Self {
            boot,
            mesh,
            told,
            heard: BTreeMap::new(),
            undecided: BTreeMap::new(),
            callers: BTreeMap::new(),
            calls: BTreeSet::new(),
            subscribed: BTreeSet::new(),
            writer_free: 0,
            tick_at: u64::MAX,
            next_token: 1,
        }
    }

    pub(super) fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }
}
