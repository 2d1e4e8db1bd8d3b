//! Whom to be connected with, and where they are (PROTOCOL section 8.2).
//!
//! A small mesh is a full one. In a large one each node keeps a few neighbours: it dials at random while it has too few and lets
//! go of some when it has too many, so that gossip reaches all over a random graph. Whoever has something for us that only it can
//! give (its feeds), or is to be visited in this round, is dialled besides, as an *errand*.
//!
//! Addresses come from the signed directory ([`crate::directory`]); before a member's first record, from a ticket.

use std::collections::BTreeSet;

use super::{Chance, Input, Mesh, Output, Peer};
use crate::{
    directory,
    id::{CircleId, Digest, SiteId},
    wire::{self, AddressRecord},
};

/// Up to so many members, this one included, everybody is connected with everybody.
pub const FULL_MESH_MAX: usize = 32;
/// Neighbours in a larger mesh: below the first more are dialled, above the second some are let go.
pub const NEIGHBOURS: (usize, usize) = (8, 12);
/// Errands at once, on top of neighbours.
const ERRANDS_MAX: usize = 8;
/// How long a visit may take.
const VISIT_MS: u64 = 20_000;
/// A connection is let go after this time at the earliest: heads and feeds have been compared.
const SETTLED_MS: u64 = 10_000;
/// A neighbour that was let go is not dialled again before.
const REST_MS: u64 = 60_000;
/// What came by asking is passed on to so many neighbours...
const NEWS_TO: usize = 3;
/// ... after a wait between these, in which more may come.
const NEWS_MS: (u64, u64) = (1_000, 3_000);
/// Directory records of one site are passed on in gossip at most this often.
const RECORD_MS: u64 = 1_000;

impl Mesh {
    /// A signed record, from wherever: taken in if it is newer than what we hold. `true` if it was.
    pub(super) fn learn(&mut self, record: AddressRecord) -> bool {
        let Ok(site) = directory::site_of(&record) else {
            return false;
        };
        let Some(member) = self.membership.member(&site).filter(|_| site != self.me) else {
            return false;
        };
        let held = self.peers.get(&site).and_then(|peer| peer.record.as_ref());
        let keys = &member.keys;
        let is_rotated = keys.all().count() > 1;
        if !is_rotated && held.is_some_and(|held| record.seq <= held.seq) {
            return false;
        }
        // A key that is about to be rotated in may have signed it: no blame, and it comes again.
        let Some(by) = directory::signed_by(&record, &self.mesh, keys) else {
            return false;
        };
        let outweighs = |held: &AddressRecord| {
            let before = directory::signed_by(held, &self.mesh, keys);
            (Some(by), record.seq) > (before, held.seq)
        };
        if !held.is_none_or(outweighs) {
            return false;
        }
        let peer = self.peers.entry(site).or_default();
        peer.recorded_at = self.now;
        if !peer.connected && peer.addresses != record.address {
            peer.backoff = 0;
            peer.dial_at = self.now;
        }
        peer.addresses.clone_from(&record.address);
        peer.record = Some(record.clone());
        self.out.push_back(Output::Learned { record });
        true
    }

    /// Gossip about an address.
    pub(super) fn judge_record(&mut self, record: AddressRecord) -> super::Verdict {
        let hasty = SiteId::from_slice(&record.site)
            .and_then(|site| self.peers.get(&site))
            .is_some_and(|peer| peer.record.is_some() && self.now < peer.recorded_at + RECORD_MS);
        match !hasty && self.learn(record) {
            true => super::Verdict::Accept,
            false => super::Verdict::Ignore,
        }
    }

    /// Own addresses changed: everybody is told.
    pub(super) fn on_own_addresses(&mut self, record: AddressRecord) {
        if self.own_record.as_ref() == Some(&record) {
            return;
        }
        let gossip = wire::Gossip {
            what: Some(wire::gossip::What::Address(record.clone())),
        };
        self.own_record = Some(record.clone());
        self.out.push_back(Output::Learned { record });
        self.say(prost::Message::encode_to_vec(&gossip));
    }

    /// Digest of the signed directory as we hold it.
    pub(super) fn directory_digest(&self) -> Digest {
        let own = self.own_record.as_ref().map(|record| (self.me, record.seq));
        let members = self
            .peers
            .iter()
            .filter(|(site, _)| self.membership.member(site).is_some());
        let mut records: Vec<(SiteId, u64)> = members
            .filter_map(|(site, peer)| Some((*site, peer.record.as_ref()?.seq)))
            .chain(own)
            .collect();
        records.sort_unstable();
        directory::digest(records.into_iter())
    }

    /// A page of somebody's directory.
    pub(super) fn on_directory(&mut self, records: Vec<AddressRecord>) {
        let mut learned = false;
        for record in records.into_iter().take(directory::DIRECTORY_PAGE_RECORDS) {
            self.directory_after = SiteId::from_slice(&record.site);
            learned |= self.learn(record);
        }
        if learned {
            self.pass_on();
        }
    }

    fn is_small(&self) -> bool {
        self.membership.members().len() <= FULL_MESH_MAX
    }

    fn is_dialable(&self, site: &SiteId, peer: &Peer) -> bool {
        !peer.connected && !peer.dialling && !peer.addresses.is_empty() && self.is_with(site)
    }

    /// It has records for us that only it can give, or is being visited.
    fn is_errand(&self, site: &SiteId) -> bool {
        let owed = || {
            self.feeds
                .range((*site, CircleId([0; 16]))..=(*site, CircleId([255; 16])))
                .any(|(_, feed)| feed.is_open())
        };
        self.visited() == Some(*site) || owed()
    }

    /// All errands, connected or not.
    fn errands(&self) -> BTreeSet<SiteId> {
        let owed = self.feeds.open().filter(|(_, feed)| feed.is_open());
        let owed = owed.map(|((site, _), _)| *site);
        owed.chain(self.visited()).collect()
    }

    fn visited(&self) -> Option<SiteId> {
        let (site, until) = self.visit?;
        (self.now < until).then_some(site)
    }

    /// Who may be dialled, now or later: errands, and others for which there is room.
    fn candidates(&self) -> Candidates {
        let room = |taken: usize, of: usize| of.saturating_sub(taken);
        let dialable = |site: &SiteId| {
            let peer = self.peers.get(site);
            peer.is_some_and(|peer| self.is_dialable(site, peer))
        };
        if self.is_small() {
            return Candidates {
                errands: Vec::new(),
                others: self.peers.keys().copied().filter(dialable).collect(),
                room: (0, usize::MAX),
            };
        }
        let taken = self.engaged.len();
        let room = (
            room(taken, NEIGHBOURS.1 + ERRANDS_MAX),
            room(taken, NEIGHBOURS.0),
        );
        let mut errands = match room.0 {
            0 => BTreeSet::new(),
            _ => self.errands(),
        };
        errands.retain(dialable);
        let others = match room.1 {
            0 => Vec::new(),
            _ => {
                let others = self.peers.keys().filter(|site| !errands.contains(site));
                others.copied().filter(dialable).collect()
            }
        };
        Candidates {
            errands: errands.into_iter().collect(),
            others,
            room,
        }
    }

    pub(super) fn dial_due(&mut self) {
        let mut candidates = self.candidates();
        let due = |site: &SiteId| self.peers.get(site).is_some_and(|p| p.dial_at <= self.now);
        candidates.errands.retain(due);
        candidates.others.retain(due);
        let (errands, others) = candidates.room;
        let mut chosen = pick_some(&mut self.chance, candidates.errands, errands);
        let others = others.saturating_sub(chosen.len());
        chosen.extend(pick_some(&mut self.chance, candidates.others, others));
        for site in chosen {
            if let Some(peer) = self.peers.get_mut(&site) {
                peer.dialling = true;
                self.engaged.insert(site);
                let addresses = peer.addresses.clone();
                self.out.push_back(Output::Dial { site, addresses });
            }
        }
    }

    /// Lets go of neighbours beyond the bound, but of none that is needed.
    pub(super) fn let_go(&mut self) {
        if self.is_small() {
            return;
        }
        let excess = self.connected().count().saturating_sub(NEIGHBOURS.1);
        if excess == 0 {
            return;
        }
        let free = |(site, peer): &(SiteId, &Peer)| {
            self.now >= peer.connected_at + SETTLED_MS
                && peer.serving == 0
                && !self.is_errand(site)
                && self.open_calls(site) == 0
        };
        let free = self.connected_peers().filter(free);
        let free = free.map(|(site, _)| site).collect();
        for site in pick_some(&mut self.chance, free, excess) {
            if let Some(peer) = self.peers.get_mut(&site) {
                // `on_disconnected` keeps a later moment.
                peer.rest_until = self.now + REST_MS;
                self.out.push_back(Output::Disconnect { site });
            }
        }
    }

    /// Something came by asking that was not told: neighbours may lack it too, and learn it when we compare heads with them.
    pub(super) fn pass_on(&mut self) {
        let at = self.now + self.chance.between(NEWS_MS);
        self.news_at.get_or_insert(at);
    }

    /// Compares heads with a few neighbours. Each of them that learns something does the same, so what gossip did not bring
    /// goes round within some hops times [`NEWS_MS`] and not times a round.
    pub(super) fn tell_news(&mut self) {
        if self.news_at.take_if(|at| *at <= self.now).is_some() {
            let connected = self.connected().collect();
            for site in pick_some(&mut self.chance, connected, NEWS_TO) {
                self.want_heads(&site);
            }
        }
    }

    /// Whose heads to compare in this round: a neighbour's, so that news goes on from node to node whatever routes there are; and in a
    /// large mesh also somebody else's, who is dialled for it, so that parts of it that have lost each other meet again.
    pub(super) fn visit_somebody(&mut self) {
        let connected: Vec<SiteId> = self.connected().collect();
        if let Some(site) = self.chance.pick(&connected) {
            self.want_heads(&site);
        }
        if self.is_small() {
            return;
        }
        let due = |(site, peer): &(&SiteId, &Peer)| {
            self.is_dialable(site, peer) && peer.dial_at <= self.now
        };
        let others: Vec<SiteId> = self
            .peers
            .iter()
            .filter(due)
            .map(|(site, _)| *site)
            .collect();
        if let Some(site) = self.chance.pick(&others) {
            self.visit = Some((site, self.now + VISIT_MS));
        }
    }

    /// When a dial or a farewell is due.
    pub(super) fn next_dial(&self) -> Option<u64> {
        let candidates = self.candidates();
        let dials = candidates.errands.iter().chain(&candidates.others);
        let dials = dials.filter_map(|site| Some(self.peers.get(site)?.dial_at));
        let crowded = !self.is_small() && self.connected().count() > NEIGHBOURS.1;
        let farewells = self.connected_peers().filter(|_| crowded);
        let farewells = farewells
            .map(|(_, peer)| peer.connected_at + SETTLED_MS)
            .filter(|at| *at > self.now);
        dials.chain(farewells).min()
    }
}

/// Who may be dialled in a mesh, and how many of each sort.
struct Candidates {
    errands: Vec<SiteId>,
    others: Vec<SiteId>,
    /// Connections that there is room for: with errands, and without.
    room: (usize, usize),
}

impl Input {
    /// Own addresses, signed.
    #[must_use]
    pub fn own_addresses(record: AddressRecord) -> Self {
        Self::OwnAddresses(Box::new(record))
    }
}

/// Up to `n` of them, by chance.
fn pick_some(chance: &mut Chance, mut from: Vec<SiteId>, n: usize) -> Vec<SiteId> {
    while from.len() > n {
        let last = from.len() as u64 - 1;
        let gone = chance.between((0, last));
        from.swap_remove(usize::try_from(gone).unwrap_or(0));
    }
    from
}
