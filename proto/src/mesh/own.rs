//! Whether what we have of our own log is all that we ever signed. PROTOCOL section 9.
//!
//! A site that was restored from an old backup, or lost its disk, would sign leaves that it signed before, and nobody can tell that
//! from a lie. So before the first signature after a start every member that can be reached is asked how much of our log it
//! holds. If one holds more, nothing is signed: the log is pulled back as it was published, then whoever is connected is
//! asked for the records of it that it was shown, and only then the log goes on, at its true size.
//!
//! While nobody can be reached there is nobody to ask. What the node has beside its store decides then, and is not the matter of
//! this module.

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, Incoming, Mesh, Output, Work};
use crate::{id::SiteId, wire};

/// How it stands with our own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnLog {
    /// Nobody who could be asked holds more of it.
    Whole {
        /// How many were asked.
        asked: usize,
    },
    /// Somebody holds more of it.
    Behind {
        /// So many leaves.
        size: u64,
        /// Who.
        by: SiteId,
    },
    /// All leaves are here again, and all who are connected gave back what records of them they have.
    Back,
}

/// Whether to ask at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AskOwn {
    /// Nothing was signed before this start.
    #[default]
    No,
    /// Something was signed before.
    Yes,
    /// The log was being pulled back when the node ended; it is missing from this leaf on.
    Restoring(u64),
}

/// How far the asking is.
#[derive(Debug)]
pub(super) enum Asking {
    /// Until then at most.
    Open {
        until: u64,
        answered: BTreeSet<SiteId>,
    },
    /// Nobody holds more, as far as is known.
    Whole,
    /// The log is missing from leaf `first` on.
    Behind {
        first: u64,
        /// Who told how much it holds; what of that is more than we have is claimed of the log.
        answered: BTreeSet<SiteId>,
        /// Whom records are asked of, and from which leaf on.
        asking: BTreeMap<SiteId, u64>,
        /// Who gave back what it has, or does not answer.
        asked: BTreeSet<SiteId>,
    },
}

/// The first signature after a start waits so long at most for members that are being dialled: longer than a member that has just
/// started itself takes to answer.
const PATIENCE_MS: u64 = 10_000;
/// Claims of one member to hold more of our log, each of them not shown, after which it is not believed until we start again: else
/// it could keep us from signing.
const IDLE_CLAIMS_MAX: u32 = 3;

impl Asking {
    pub(super) fn new(ask: AskOwn, now: u64) -> Self {
        match ask {
            AskOwn::No => Self::Whole,
            AskOwn::Yes => Self::Open {
                until: now + PATIENCE_MS,
                answered: BTreeSet::new(),
            },
            AskOwn::Restoring(first) => Self::behind(first),
        }
    }

    fn behind(first: u64) -> Self {
        Self::Behind {
            first,
            answered: BTreeSet::new(),
            asking: BTreeMap::new(),
            asked: BTreeSet::new(),
        }
    }

    /// Our own log is pulled, as others' are.
    pub(super) fn is_behind(&self) -> bool {
        matches!(self, Self::Behind { .. })
    }

    pub(super) fn ends(&self) -> Option<u64> {
        match self {
            Self::Open { until, .. } => Some(*until),
            _ => None,
        }
    }
}

impl Mesh {
    /// What a member's heads say of our own log; `None` if they are equal to ours.
    pub(super) fn heard_of_own(&mut self, from: SiteId, told: Option<u64>) {
        let me = self.me;
        let own = self.logs.get(&me).map_or(0, |log| log.size);
        let told = told.unwrap_or(own);
        // Who did not show what it claimed has claimed it often enough.
        let is_idle = self
            .idle_claims
            .get(&from)
            .is_some_and(|n| *n >= IDLE_CLAIMS_MAX);
        let is_more = told > own && !is_idle;
        if is_more && !self.asking.is_behind() {
            self.asking = Asking::behind(own);
        }
        if let Asking::Open { answered, .. } | Asking::Behind { answered, .. } = &mut self.asking {
            answered.insert(from);
        }
        if !is_more {
            return;
        }
        self.claimed(me, from, told);
        self.out.push_back(Output::OwnLog(OwnLog::Behind {
            size: told,
            by: from,
        }));
    }

    /// Goes on with asking, or with getting back.
    pub(super) fn look_after_own(&mut self) {
        match &self.asking {
            Asking::Whole => {}
            Asking::Open { until, answered } => {
                let waits = |(site, peer): (&SiteId, &super::Peer)| {
                    peer.dialling || (peer.connected && !answered.contains(site))
                };
                if self.now >= *until || !self.peers.iter().any(waits) {
                    let asked = answered.len();
                    self.asking = Asking::Whole;
                    self.out.push_back(Output::OwnLog(OwnLog::Whole { asked }));
                }
            }
            Asking::Behind { .. } => self.get_back(),
        }
    }

    /// When the log is here again: the records of it that others were shown.
    fn get_back(&mut self) {
        let me = self.me;
        let awaited = self
            .logs
            .get(&me)
            .is_some_and(|log| log.fetching || log.claims.values().any(|claim| *claim > log.size));
        let connected: Vec<SiteId> = self.connected().collect();
        let free = self.free_calls();
        let Asking::Behind {
            first,
            answered,
            asking,
            asked,
        } = &mut self.asking
        else {
            return;
        };
        let all_told = connected.iter().all(|site| answered.contains(site));
        if awaited || connected.is_empty() || !all_told {
            return;
        }
        let mut calls = Vec::new();
        for site in &connected {
            if !asked.contains(site) && !asking.contains_key(site) && free.contains_key(site) {
                asking.insert(*site, *first);
                calls.push((*site, *first));
            }
        }
        let done = calls.is_empty()
            && asking.is_empty()
            && connected.iter().all(|site| asked.contains(site));
        for (site, from) in calls {
            self.ask_back(site, from);
        }
        if done {
            self.asking = Asking::Whole;
            self.out.push_back(Output::OwnLog(OwnLog::Back));
        }
    }

    fn ask_back(&mut self, site: SiteId, from: u64) {
        let request = wire::ReturnedRequest { from };
        let what = wire::request::What::Returned(request);
        self.call(site, Call::Returned, what);
    }

    /// A page of our own records, as a member was shown them.
    pub(super) fn on_returned(&mut self, from: SiteId, answer: wire::ReturnedResponse) {
        let told = answer.view.len();
        let views = self.views(from, answer.view);
        if views.is_empty() || views.len() != told {
            self.gave_back(&from);
            return;
        }
        let next = answer.next;
        self.take(Work::Returned(from, next), Incoming::Returned { views });
    }

    /// The page is on disk.
    pub(super) fn on_returned_taken(&mut self, from: SiteId, next: u64, lost: bool) {
        if let Asking::Behind { asking, .. } = &mut self.asking {
            // Pages go forward, or there are no more.
            let goes_on = asking.get(&from).is_some_and(|at| next > *at) && !lost;
            if goes_on && self.peers.get(&from).is_some_and(|peer| peer.connected) {
                asking.insert(from, next);
                self.ask_back(from, next);
                return;
            }
        }
        self.gave_back(&from);
    }

    /// A member did not show what it claimed of our own log.
    pub(super) fn claimed_idly(&mut self, from: SiteId) {
        *self.idle_claims.entry(from).or_default() += 1;
    }

    /// Nothing more comes from there.
    pub(super) fn gave_back(&mut self, from: &SiteId) {
        if let Asking::Behind { asking, asked, .. } = &mut self.asking {
            asking.remove(from);
            asked.insert(*from);
        }
    }
}
