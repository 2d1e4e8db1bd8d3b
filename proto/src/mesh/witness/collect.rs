//! Collecting cosignatures for our own log.
//!
//! Some time after the log grew, every connected member is asked to cosign its newest checkpoint, up to as many as a note has lines for.
//! Who has not followed so far yet says so and is asked again a few times; who connects later is asked then. What came
//! in is put together, stored, and then gossiped; a later version of the same checkpoint has more lines.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cosigned, key_of, lines};
use crate::{
    id::{MeshId, SiteId},
    limits::COSIGNATURES_MAX,
    membership::Membership,
    mesh::{CALLS_PER_PEER, Call, Incoming, Mesh, Work},
    note::{Checkpoint, Cosignature},
    wire,
};

/// Cosignatures are asked for this long after the last change...
const QUIET_MS: u64 = 1_000;
/// ... and under steady change this long after the first one.
const STEADY_MS: u64 = 3_000;
/// Who connects is asked after this: it has to say hello and to follow first.
const GREETING_MS: u64 = 500;
/// Who has not followed so far is asked again after this, and after twice as long each time...
const AGAIN_MS: u64 = 500;
/// ... so many times. Then it is asked when the log grows or when it connects.
const AGAIN_MAX: u32 = 6;
/// A cosignature waits this long for others to be told with it: everybody checks each line of each version...
const GATHER_MS: u64 = 1_000;
/// ... and one that comes after the first version was told waits longer, four times as long after each version: in a
/// large mesh cosignatures come one by one for hours, and each version goes to everybody.
const LATE_MS: u64 = 3_000;

/// How far the collection is.
#[derive(Debug, Default)]
pub(in crate::mesh) struct Collecting {
    /// Our newest checkpoint; what is asked for next.
    newest: Option<Checkpoint>,
    /// Since when, and since when last, it is not asked for.
    changed: Option<(u64, u64)>,
    /// What is asked for, with our signature alone.
    asked: Option<Checkpoint>,
    /// Cosignatures of `asked`.
    signed: BTreeMap<SiteId, Cosignature>,
    /// Open calls.
    waiting: BTreeSet<SiteId>,
    /// Whom to ask when, and how often it was not so far.
    due: BTreeMap<SiteId, (u64, u32)>,
    /// Cosignatures in the version that was given to the writer last.
    told: usize,
    /// Versions of this checkpoint that were told.
    versions: u32,
    tell_at: Option<u64>,
    /// What the writer has: gossiped when it is on disk.
    storing: Option<Checkpoint>,
}

impl Collecting {
    /// Where it stands at start: our newest checkpoint, and the version of it that is cosigned.
    pub(in crate::mesh) fn new(
        newest: Option<Checkpoint>,
        cosigned: Option<&Cosigned>,
        mesh: &MeshId,
        membership: &Membership,
    ) -> Self {
        let mut collecting = Self {
            newest: newest.clone(),
            asked: newest,
            ..Self::default()
        };
        let same = |cosigned: &&Cosigned| {
            collecting.asked.as_ref().map(Checkpoint::body) == Some(cosigned.checkpoint.body())
        };
        if let Some(cosigned) = cosigned.filter(same) {
            for (witness, _) in &cosigned.by {
                let name = Cosignature::name_of(mesh, witness);
                let keys = membership.keys_of(witness).into_iter();
                let found = keys.flat_map(|keys| keys.all()).find_map(|set| {
                    let key = key_of(&name, set.witness).ok()?;
                    cosigned.checkpoint.cosignature_of(&key).ok().flatten()
                });
                collecting.signed.extend(found.map(|line| (*witness, line)));
            }
            collecting.told = collecting.signed.len();
            collecting.versions = u32::from(collecting.told > 0);
        }
        collecting
    }

    /// Whether more lines are wanted.
    fn has_room(&self) -> bool {
        self.signed.len() + self.waiting.len() < COSIGNATURES_MAX
    }

    fn round_at(&self) -> Option<u64> {
        self.changed
            .map(|(first, last)| (last + QUIET_MS).min(first + STEADY_MS))
    }
}

impl Mesh {
    /// Our log grew.
    pub(in crate::mesh) fn on_own_growth(&mut self, checkpoint: Checkpoint) {
        let now = self.now;
        let first = self.own.changed.map_or(now, |(first, _)| first);
        self.own.changed = Some((first, now));
        self.own.newest = Some(checkpoint);
    }

    /// A member is connected: it may cosign.
    pub(in crate::mesh) fn ask_to_cosign(&mut self, site: SiteId) {
        if !self.own.signed.contains_key(&site) {
            self.own.due.insert(site, (self.now + GREETING_MS, 0));
        }
    }

    /// When something is due for our own checkpoint.
    pub(in crate::mesh) fn cosignatures_due(&self) -> Option<u64> {
        let asks = self.own.due.iter().filter(|(site, _)| {
            self.own.asked.is_some() && self.own.has_room() && self.is_connected(site)
        });
        asks.map(|(_, (at, _))| *at)
            .chain(self.own.tell_at)
            .chain(self.own.round_at())
            // Who has no call free is asked when one ends.
            .filter(|at| *at > self.now)
            .min()
    }

    /// Asks who is due, tells what came.
    pub(in crate::mesh) fn collect_cosignatures(&mut self) {
        if self.own.round_at().is_some_and(|at| at <= self.now) {
            // What the last round brought is not lost to the next.
            self.tell_cosigned();
            self.begin_round();
        }
        let due: Vec<SiteId> = self
            .own
            .due
            .iter()
            .filter(|(site, (at, _))| *at <= self.now && self.is_connected(site))
            .map(|(site, _)| *site)
            .collect();
        for site in due {
            let Some(asked) = self.own.asked.as_ref().filter(|_| self.own.has_room()) else {
                break;
            };
            if self.open_calls(&site) >= CALLS_PER_PEER {
                continue;
            }
            let request = wire::CosignRequest {
                checkpoint: asked.note().to_vec(),
            };
            let tries = self.own.due.remove(&site).map_or(0, |(_, tries)| tries);
            self.own.waiting.insert(site);
            let call = Call::Cosign(asked.size(), tries);
            self.call(site, call, wire::request::What::Cosign(request));
        }
        if self.own.tell_at.is_some_and(|at| at <= self.now) {
            self.tell_cosigned();
        }
    }

    fn begin_round(&mut self) {
        let (now, connected) = (self.now, self.connected().collect::<Vec<_>>());
        let own = &mut self.own;
        own.changed = None;
        own.asked.clone_from(&own.newest);
        own.signed.clear();
        own.waiting.clear();
        own.told = 0;
        own.versions = 0;
        own.due = connected.into_iter().map(|site| (site, (now, 0))).collect();
    }

    /// An answer to a call for a cosignature.
    pub(in crate::mesh) fn on_cosigned(
        &mut self,
        from: SiteId,
        size: u64,
        tries: u32,
        answer: wire::CosignResponse,
    ) {
        let asked = self.own.asked.clone().filter(|asked| asked.size() == size);
        let Some(asked) = asked.filter(|_| self.own.waiting.remove(&from)) else {
            return;
        };
        if answer.line.is_empty() {
            if answer.size < size && tries < AGAIN_MAX {
                let at = self.now + (AGAIN_MS << tries);
                self.own.due.insert(from, (at, tries + 1));
            }
            return;
        }
        let Some(member) = self.membership.member(&from) else {
            return;
        };
        let name = Cosignature::name_of(&self.mesh, &from);
        let keys = member.keys.all();
        let keys: Vec<_> = keys.flat_map(|set| key_of(&name, set.witness)).collect();
        let line = std::str::from_utf8(&answer.line)
            .ok()
            .and_then(|line| Cosignature::parse(line).ok());
        if let Some(line) = &line
            && line.name() == name
            && !keys.iter().any(|key| line.names(key))
        {
            // By a witness key that we do not know: its rotation may be on its way.
            self.want_members(&from);
            if tries < AGAIN_MAX {
                let at = self.now + (AGAIN_MS << tries);
                self.own.due.insert(from, (at, tries + 1));
            }
            return;
        }
        let line = line.filter(|line| keys.iter().any(|key| line.verify(&asked, key).is_ok()));
        let Some(line) = line else {
            self.misbehaved(from, "gave a cosignature that does not verify");
            return;
        };
        self.own.signed.insert(from, line);
        let nobody_else = self.own.waiting.is_empty() && self.own.due.is_empty();
        let gather = match (self.own.versions, nobody_else) {
            (0, true) => 0,
            (0, false) => GATHER_MS,
            (told, _) => LATE_MS << (2 * (told - 1)),
        };
        self.own.tell_at.get_or_insert(self.now + gather);
    }

    /// A call for a cosignature brought nothing.
    pub(in crate::mesh) fn cosign_failed(&mut self, from: SiteId, size: u64, tries: u32) {
        let is_asked = self.own.asked.as_ref().map(Checkpoint::size) == Some(size);
        if is_asked && self.own.waiting.remove(&from) && tries < AGAIN_MAX {
            let at = self.now + (AGAIN_MS << tries);
            self.own.due.insert(from, (at, tries + 1));
        }
    }

    /// Puts together what came, to be stored and then gossiped.
    fn tell_cosigned(&mut self) {
        self.own.tell_at = None;
        let Some(asked) = self.own.asked.as_ref() else {
            return;
        };
        if self.own.signed.len() <= self.own.told {
            return;
        }
        self.own.told = self.own.signed.len();
        self.own.versions += 1;
        let whole = self
            .own
            .signed
            .values()
            .try_fold(asked.clone(), |note, line| note.with_cosignature(line));
        match whole {
            Ok(checkpoint) => {
                self.own.storing = Some(checkpoint.clone());
                let by = lines(self.own.signed.len());
                let site = self.me;
                let incoming = Incoming::Checkpoint {
                    site,
                    checkpoint,
                    by,
                };
                self.take(Work::Checkpoint(site), incoming);
            }
            Err(_) => self.own.signed.clear(),
        }
    }

    /// Our cosigned checkpoint is on disk: everybody is told.
    pub(in crate::mesh) fn on_own_cosigned(&mut self) {
        if let Some(checkpoint) = self.own.storing.take() {
            let gossip = wire::Gossip {
                what: Some(wire::gossip::What::Checkpoint(checkpoint.note().to_vec())),
            };
            self.say(prost::Message::encode_to_vec(&gossip));
        }
    }
}
