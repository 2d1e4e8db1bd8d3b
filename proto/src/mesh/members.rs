//! Members: who may be talked to, and how two nodes come to know the same.
//!
//! Membership records travel in the logs of the admins who act. That is not enough: nobody follows the log of a removed
//! site, and yet its acts decide what counts (two admins may have removed each other). So nodes tell each other a
//! digest of the set that they hold, in every hello and with all heads, and where digests differ each asks the other for
//! what it lacks.

use std::collections::BTreeSet;

use super::{Call, Incoming, Mesh, Output, Peer, Progress, Work};
use crate::{
    id::{CircleId, Digest, SiteId},
    wire,
};

/// Membership records are not asked of one peer more often, but for the next page...
const MEMBERSHIP_MS: u64 = 5_000;
/// ... and half as often after each failure in a row, so many times at most.
const HALVINGS_MAX: u32 = 5;
/// Pages of one exchange; a peer that has more after them is at fault.
const PAGES_MAX: u32 = 1_024;

/// How far two nodes are with each other's sets.
#[derive(Debug, Clone, Default)]
pub(super) struct Exchange {
    /// Digest of their set, as they said last.
    theirs: Option<Digest>,
    wanted: bool,
    open: bool,
    /// No call before.
    not_before: u64,
    /// The last act that we were given, if there are more after it.
    after: Option<(SiteId, u64)>,
    pages: u32,
    /// Failures in a row.
    failures: u32,
    /// Digests (theirs, ours) after which nothing was left to ask: while both stay, asking again tells nothing.
    compared: Option<(Option<Digest>, Digest)>,
}

impl Peer {
    /// When its membership records may be asked for, if they should.
    pub(super) fn members_due(&self) -> Option<u64> {
        let asks = self.connected && self.members.wanted && !self.members.open;
        asks.then_some(self.members.not_before)
    }
}

impl Mesh {
    /// Whether this site and `site` are both in.
    pub(super) fn is_with(&self, site: &SiteId) -> bool {
        let is_in = |site| self.membership.member(site).is_some();
        is_in(site) && is_in(&self.me)
    }

    /// Members changed: whoever is out is let go of, and everybody if we are.
    pub(super) fn note_members(&mut self) {
        self.pull_due = true;
        let gone: Vec<SiteId> = self
            .connected()
            .filter(|site| !self.is_with(site))
            .collect();
        for site in gone {
            self.out.push_back(Output::Disconnect { site });
            // The network has nothing to tell about who is no member any more.
            self.on_disconnected(&site);
        }
        let members: BTreeSet<SiteId> = self.membership.members().map(|m| m.site).collect();
        for site in members.into_iter().filter(|site| *site != self.me) {
            self.peers.entry(site).or_default();
            let everyone = (site, CircleId::MESH_WIDE);
            if !self.feeds.contains_key(&everyone) {
                self.feeds.or_default(everyone);
            }
        }
    }

    /// A peer tells the digest of its set.
    pub(super) fn on_set(&mut self, from: SiteId, theirs: &[u8]) {
        let theirs = Digest::from_slice(theirs);
        let ours = self.membership.digest();
        let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.connected) else {
            return;
        };
        peer.members.theirs = theirs;
        if theirs == Some(ours) || peer.members.compared == Some((theirs, ours)) {
            self.caution.agree(from);
        } else {
            peer.members.wanted = true;
        }
    }

    /// Something came from a site that we do not know: the peer that brought it knows more.
    pub(super) fn want_members(&mut self, from: &SiteId) {
        if let Some(peer) = self.peers.get_mut(from) {
            peer.members.wanted |= peer.connected;
        }
    }

    pub(super) fn ask_members(&mut self) {
        let due: Vec<SiteId> = self
            .connected_peers()
            .filter(|(_, peer)| peer.members_due().is_some_and(|at| at <= self.now))
            .map(|(site, _)| site)
            .collect();
        for site in due {
            let mut after = None;
            if let Some(peer) = self.peers.get_mut(&site) {
                let exchange = &mut peer.members;
                exchange.wanted = false;
                exchange.open = true;
                exchange.not_before = self.now + (MEMBERSHIP_MS << exchange.failures);
                after = exchange.after;
            }
            let held = self
                .membership
                .held()
                .into_iter()
                .map(|held| wire::HeldActs {
                    site: held.site.0.to_vec(),
                    size: held.size,
                    digest: held.digest.0.to_vec(),
                });
            let request = wire::MembershipRequest {
                held: held.collect(),
                after: after.map(|(site, seq)| wire::HeldActs {
                    site: site.0.to_vec(),
                    size: seq,
                    digest: Vec::new(),
                }),
            };
            self.call(
                site,
                Call::Membership,
                wire::request::What::Membership(request),
            );
        }
    }

    /// An answer came: what we lack is taken in, or there is nothing that we lack.
    pub(super) fn on_membership(&mut self, from: SiteId, answer: wire::MembershipResponse) {
        let told = answer.view.len();
        let views = self.views(from, answer.view);
        if views.len() != told {
            self.membership_failed(from);
        } else if views.is_empty() {
            self.members_settled(from);
        } else {
            let last = views.last().and_then(|view| view.clone().parse().ok());
            let next = last.map(|last| (last.claims().iss, last.claims().seq));
            let work = Work::Membership(from, next.filter(|_| answer.more));
            self.take(work, Incoming::Membership { views });
        }
    }

    /// A page is on disk, and the members that follow from it are known.
    pub(super) fn on_members_taken(
        &mut self,
        from: SiteId,
        next: Option<(SiteId, u64)>,
        progress: &Progress,
    ) {
        // Whose members we did not know may have told us of logs that we did not know.
        self.want_heads(&from);
        let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.connected) else {
            return;
        };
        let exchange = &mut peer.members;
        if progress.lost {
            self.membership_failed(from);
        } else if next.is_none() {
            self.members_settled(from);
        } else if exchange.pages < PAGES_MAX {
            exchange.pages += 1;
            (exchange.after, exchange.open) = (next, false);
            (exchange.wanted, exchange.not_before) = (true, 0);
        } else {
            self.misbehaved(from, "has membership records without end");
            self.membership_failed(from);
        }
    }

    /// We have all that this peer has and that can be checked.
    fn members_settled(&mut self, from: SiteId) {
        let ours = self.membership.digest();
        if let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.connected) {
            let exchange = &mut peer.members;
            exchange.compared = Some((exchange.theirs, ours));
            (exchange.open, exchange.after) = (false, None);
            (exchange.pages, exchange.failures) = (0, 0);
            self.caution.agree(from);
        }
    }

    /// Asked again after a while.
    pub(super) fn membership_failed(&mut self, from: SiteId) {
        if let Some(peer) = self.peers.get_mut(&from) {
            let exchange = &mut peer.members;
            exchange.not_before = self.now + (MEMBERSHIP_MS << exchange.failures);
            exchange.failures = (exchange.failures + 1).min(HALVINGS_MAX);
            (exchange.open, exchange.after, exchange.pages) = (false, None, 0);
            exchange.wanted |= peer.connected;
        }
    }
}
