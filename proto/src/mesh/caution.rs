//! Before a node serves anybody it learns who was put out meanwhile. PROTOCOL section 6, promise P5.
//!
//! A node that was alone, because it has just started or had lost everybody, may still take a removed site for a
//! member, and that site would be the last to tell. So it compares membership records with everybody who
//! connects, and serves a member only when *another* one has brought it up to date. Until then calls wait, and own
//! publications are not gossiped; only hellos and the membership records themselves are answered.
//!
//! If nobody else can be reached, nobody can know better: after [`PATIENCE_MS`] it serves whom it believes to be a
//! member. That is the same as with a node that never was alone and is cut off from whoever knows.

use std::collections::{BTreeSet, VecDeque};

use super::{Ask, Mesh, Output};
use crate::id::SiteId;

/// How long a node in company waits for a second opinion: long enough to have dialled everybody who can be reached, and
/// shorter than a caller waits for an answer.
const PATIENCE_MS: u64 = 8_000;
/// Own publications that wait to be gossiped; older ones are pulled instead.
const UNSAID_MAX: usize = 64;

/// What is known since this node was alone last.
#[derive(Debug, Default)]
pub(super) struct Caution {
    /// When the first connection came; `None` while alone.
    since: Option<u64>,
    /// Whose membership records we have all of.
    agreed: BTreeSet<SiteId>,
    /// Calls that wait: at most `SERVES_PER_PEER` of each member, as each is counted as being served.
    waiting: VecDeque<(SiteId, u64, Ask)>,
    /// Gossip messages that wait.
    unsaid: VecDeque<Vec<u8>>,
}

impl Caution {
    /// Somebody connected.
    pub(super) fn begins(&mut self, now: u64) {
        self.since.get_or_insert(now);
    }

    /// We have all membership records that `site` has.
    pub(super) fn agree(&mut self, site: SiteId) {
        self.agreed.insert(site);
    }

    /// When waiting ends at the latest, if something waits.
    pub(super) fn ends(&self) -> Option<u64> {
        let waits = !self.waiting.is_empty() || !self.unsaid.is_empty();
        self.since
            .filter(|_| waits)
            .map(|since| since + PATIENCE_MS)
    }
}

impl Mesh {
    /// Whether `site` may be told anything.
    fn is_cleared(&self, site: &SiteId) -> bool {
        let caution = &self.caution;
        let other = |member: &SiteId| member != site && *member != self.me;
        caution
            .since
            .is_some_and(|since| self.now >= since + PATIENCE_MS)
            || caution.agreed.iter().any(other)
            || !self.membership.members().any(|m| other(&m.site))
    }

    /// Serves a call, now or when it is clear who is in.
    pub(super) fn serve(&mut self, to: SiteId, token: u64, ask: Ask) {
        if matches!(ask, Ask::Membership { .. }) || self.is_cleared(&to) {
            self.out.push_back(Output::Serve { to, token, ask });
        } else {
            self.caution.waiting.push_back((to, token, ask));
        }
    }

    /// Gossips, now or when it is clear who is in.
    pub(super) fn say(&mut self, message: Vec<u8>) {
        let unsaid = &mut self.caution.unsaid;
        unsaid.push_back(message);
        if unsaid.len() > UNSAID_MAX {
            unsaid.pop_front();
        }
    }

    /// Does what waited, as far as it is clear who is in.
    pub(super) fn release(&mut self) {
        for (to, token, ask) in std::mem::take(&mut self.caution.waiting) {
            self.serve(to, token, ask);
        }
        if self.connected().all(|site| self.is_cleared(&site)) {
            let unsaid = std::mem::take(&mut self.caution.unsaid);
            self.out.extend(unsaid.into_iter().map(Output::Publish));
        }
    }

    /// A member is gone: what it waits for is not served, and who is alone begins anew.
    pub(super) fn lost_sight_of(&mut self, site: &SiteId) {
        let mut gone = Vec::new();
        self.caution.waiting.retain(|(to, token, _)| {
            let stays = to != site;
            if !stays {
                gone.push(*token);
            }
            stays
        });
        for token in gone {
            self.refuse(token, "busy", "the connection ended");
            self.served(site);
        }
        if self.connected().next().is_none() {
            self.caution.since = None;
            self.caution.agreed.clear();
        }
    }
}
