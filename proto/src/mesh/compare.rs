//! Comparing what partners were told: cosigned checkpoints and fork proofs, by gossip and by pull.
//!
//! With heads go two more digests: how far each log is cosigned, and which sites a fork proof is held against. Where they differ
//! the answer lists both, and what is newer there is pulled. Where a peer has another root for a size that we
//! have, its signed checkpoint is pulled: with ours it makes the proof ([`super::witness::contradiction`]), which is stored and gossiped,
//! so two partners who were told different things find out as soon as they, or any two between them, compare heads.
//!
//! A fork proof convinces without state, so gossip verifies it before it passes it on. Of each site the first few are kept
//! and passed on, one is enough to show it, and nobody can make us carry more. A log against which a proof is held is not
//! cosigned any more.

use std::collections::BTreeSet;

use prost::Message as _;

use super::{
    CALLS_PER_PEER, Call, GOSSIP_WORK_MAX, Incoming, Mesh, Verdict, Work, witness::Cosigned,
};
use crate::{
    audit::{
        fork::{ForkKind, ForkProof},
        place::parts,
    },
    id::{Digest, SiteId},
    limits::{FORK_PROOF_BYTES_MAX, FORKS_PER_SITE_MAX, PUBLICATION_BYTES_MAX},
    note::Checkpoint,
    wire,
};

/// Digest of how far logs are cosigned, as heads carry it: (site, size, cosignatures), sorted by site.
#[must_use]
pub fn witnessed_digest(versions: impl Iterator<Item = (SiteId, (u64, u32))>) -> Digest {
    let mut bytes = b"fmesh/witnessed/v1\n".to_vec();
    for (site, (size, cosignatures)) in versions {
        bytes.extend_from_slice(site.as_bytes());
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(&cosignatures.to_be_bytes());
    }
    Digest::of(&bytes)
}

/// Digest of the sites against which fork proofs are held, sorted.
#[must_use]
pub fn forked_digest(sites: impl Iterator<Item = SiteId>) -> Digest {
    let mut bytes = b"fmesh/forked/v1\n".to_vec();
    for site in sites {
        bytes.extend_from_slice(site.as_bytes());
    }
    Digest::of(&bytes)
}

/// The site that a fork proof convicts, if it holds, is one of this mesh's logs, and is of a form that nodes pass on.
///
/// # Errors
/// In words, if no honest node passes it on.
pub fn convicts(proof: &ForkProof, mesh: &crate::id::MeshId) -> Result<SiteId, String> {
    if matches!(
        proof.kind(),
        ForkKind::WitnessSplit | ForkKind::WitnessRegress
    ) {
        return Err("proofs against witnesses are not passed on".into());
    }
    let fork = proof.verify().map_err(|why| why.to_string())?;
    let of = parts(&fork.origin).map(|(of, _)| of);
    match fork.site {
        Some(site) if of == Some(*mesh) => Ok(site),
        _ => Err("it is about no log of this mesh".into()),
    }
}

impl Mesh {
    /// What a peer's heads, cosignatures and fork proofs come to, to see whether asking again can tell anything. Who says nothing of
    /// the latter two agrees.
    pub(super) fn everything(&self, heads: &[u8], witnessed: &[u8], forked: &[u8]) -> Digest {
        let or = |said: &[u8], own: Digest| Digest::from_slice(said).unwrap_or(own).0;
        let witnessed = or(witnessed, self.own_witnessed());
        let forked = or(forked, self.own_forked());
        Digest::of(&[heads, &witnessed, &forked].concat())
    }

    pub(super) fn own_everything(&self) -> Digest {
        self.everything(&self.heads_digest().0, &[], &[])
    }

    pub(super) fn own_witnessed(&self) -> Digest {
        witnessed_digest(
            self.logs
                .iter()
                .filter(|(site, log)| log.cosigned.1 > 0 && self.membership.member(site).is_some())
                .map(|(site, log)| (*site, log.cosigned)),
        )
    }

    pub(super) fn own_forked(&self) -> Digest {
        forked_digest(self.forked.keys().copied())
    }

    /// What a peer says besides its heads.
    pub(super) fn on_witnessed(&mut self, from: SiteId, heads: &wire::HeadsResponse) {
        for told in &heads.cosigned {
            let Some(site) = SiteId::from_slice(&told.site) else {
                continue;
            };
            if site == self.me || self.membership.member(&site).is_none() {
                continue;
            }
            let log = self.logs.or_default(site);
            let version = (told.size, told.cosignatures);
            if version > log.cosigned && log.cosigned_claim.is_none_or(|(_, known)| version > known)
            {
                log.cosigned_claim = Some((from, version));
                self.pull_due = true;
            }
        }
        for site in &heads.fork {
            let Some(site) = SiteId::from_slice(site) else {
                continue;
            };
            let is_known = self.membership.keys_of(&site).is_some();
            if is_known
                && !self.forked.contains_key(&site)
                && let Some(peer) = self.peers.get_mut(&from)
            {
                peer.forks.insert(site);
            }
        }
    }

    /// Asks for checkpoints and proofs that somebody connected has.
    pub(super) fn pull_evidence(&mut self) {
        let mut free = self.free_calls();
        let mut wanted: Vec<(SiteId, SiteId)> = Vec::new();
        for (site, log) in self.logs.open() {
            if log.comparing {
                continue;
            }
            let newer = log
                .cosigned_claim
                .filter(|(_, version)| version.0 <= log.size && *version > log.cosigned);
            let suspect = log.suspect.filter(|_| !self.forked.contains_key(site));
            let Some(peer) = newer.map(|(peer, _)| peer).or(suspect) else {
                continue;
            };
            match free.get_mut(&peer) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    wanted.push((*site, peer));
                }
                // It is forgotten; with a connection it is told again.
                _ if !self.is_connected(&peer) => wanted.push((*site, peer)),
                _ => {}
            }
        }
        for (site, peer) in wanted {
            let Some(log) = self.logs.get_mut(&site) else {
                continue;
            };
            log.suspect = log.suspect.filter(|suspect| *suspect != peer);
            log.cosigned_claim = log.cosigned_claim.filter(|(claimant, _)| *claimant != peer);
            if self.is_connected(&peer) {
                if let Some(log) = self.logs.get_mut(&site) {
                    log.comparing = true;
                }
                let request = wire::CheckpointsRequest {
                    site: site.0.to_vec(),
                };
                let what = wire::request::What::Checkpoints(request);
                self.call(peer, Call::Checkpoints(site), what);
            }
        }
        let due: Vec<(SiteId, SiteId)> = self
            .connected_peers()
            .filter_map(|(peer, state)| Some((peer, *state.forks.first()?)))
            .filter(|(peer, _)| self.open_calls(peer) < CALLS_PER_PEER)
            .collect();
        for (peer, site) in due {
            if let Some(state) = self.peers.get_mut(&peer) {
                state.forks.remove(&site);
            }
            if !self.forked.contains_key(&site) {
                let request = wire::ForksRequest {
                    site: site.0.to_vec(),
                };
                self.call(peer, Call::Forks(site), wire::request::What::Forks(request));
            }
        }
    }

    /// A peer's checkpoints of one log.
    pub(super) fn on_checkpoints(
        &mut self,
        from: SiteId,
        site: SiteId,
        answer: wire::CheckpointsResponse,
    ) {
        for note in [answer.head, answer.cosigned] {
            if note.is_empty() {
                continue;
            }
            match Cosigned::check(&note, &self.mesh, &self.membership) {
                Ok(found) if found.site == site => self.take_checkpoint(from, found),
                Ok(_) => self.misbehaved(from, "answered with another log's checkpoint"),
                Err(why) => {
                    self.misbehaved(
                        from,
                        format!("sent a checkpoint that does not check: {why}"),
                    );
                }
            }
        }
    }

    /// A checked checkpoint: stored, or compared with what we follow, or kept until we have followed so far.
    fn take_checkpoint(&mut self, from: SiteId, found: Cosigned) {
        let (site, version) = (found.site, found.version());
        let log = self.logs.or_default(site);
        if version.0 > log.size {
            if log
                .ahead
                .as_ref()
                .is_none_or(|held| held.version() < version)
            {
                log.ahead = Some(Box::new(found));
            }
            self.claimed(site, from, version.0);
            return;
        }
        let differs = version.0 < log.size || log.root != Some(found.checkpoint.root());
        let is_newer = version.1 > 0 && version > log.cosigned;
        if differs || is_newer {
            let by = version.1;
            let incoming = Incoming::Checkpoint {
                site,
                checkpoint: found.checkpoint,
                by,
            };
            self.take(Work::Checkpoint(site), incoming);
        }
    }

    /// A log grew: a checkpoint that was ahead of it may not be any more.
    pub(super) fn reached(&mut self, site: &SiteId) {
        if let Some(log) = self.logs.get_mut(site)
            && let Some(ahead) = log.ahead.take_if(|ahead| ahead.version().0 <= log.size)
        {
            self.take_checkpoint(*site, *ahead);
        }
    }

    /// Gossip about how far a log is cosigned.
    pub(super) fn judge_checkpoint(&mut self, from: SiteId, note: &[u8]) -> Verdict {
        let Ok(checkpoint) = Checkpoint::parse(note) else {
            self.misbehaved(from, "gossiped what is no checkpoint");
            return Verdict::Reject;
        };
        let site = parts(checkpoint.origin()).filter(|(of, _)| *of == self.mesh);
        let Some((_, site)) = site else {
            self.misbehaved(from, "gossiped a checkpoint of another mesh");
            return Verdict::Reject;
        };
        if site == self.me {
            return Verdict::Ignore;
        }
        if self.membership.member(&site).is_none() {
            if !self.membership.removed().contains_key(&site) {
                self.want_members(&from);
            }
            return Verdict::Ignore;
        }
        let told = (checkpoint.size(), checkpoint.signers().count());
        let known = self.logs.get(&site).map_or((0, 0), |log| log.cosigned);
        // With as many lines as ours it is nothing new; checking them tells no more.
        if told <= (known.0, known.1 as usize + 1) {
            return Verdict::Ignore;
        }
        let found = match Cosigned::check(note, &self.mesh, &self.membership) {
            Ok(found) => found,
            Err(why) => {
                self.misbehaved(
                    from,
                    format!("gossiped a checkpoint that does not check: {why}"),
                );
                return Verdict::Reject;
            }
        };
        let now = self.now;
        let is_busy = self.works.len() >= GOSSIP_WORK_MAX;
        if is_busy || !self.logs.or_default(site).spend(now) || found.by.is_empty() {
            return Verdict::Ignore;
        }
        let whole = found.dropped == 0;
        self.take_checkpoint(from, found);
        match whole {
            true => Verdict::Accept,
            // Of a witness that we do not know: whoever does passes it on.
            false => Verdict::Ignore,
        }
    }

    /// Gossip with a fork proof.
    pub(super) fn judge_fork(&mut self, from: SiteId, text: &[u8]) -> Verdict {
        match self.take_fork(text) {
            Ok(true) => Verdict::Accept,
            Ok(false) => Verdict::Ignore,
            Err(why) => {
                self.misbehaved(
                    from,
                    format!("gossiped a fork proof that proves nothing: {why}"),
                );
                Verdict::Reject
            }
        }
    }

    /// A peer's proofs against one site.
    pub(super) fn on_forks(&mut self, from: SiteId, answer: wire::ForksResponse) {
        for text in answer.proof.into_iter().take(FORKS_PER_SITE_MAX) {
            if let Err(why) = self.take_fork(&text) {
                self.misbehaved(
                    from,
                    format!("sent a fork proof that proves nothing: {why}"),
                );
                return;
            }
        }
    }

    /// Checks a proof and gives it to the writer. False if it is known, or not wanted.
    fn take_fork(&mut self, text: &[u8]) -> Result<bool, String> {
        if text.len() > FORK_PROOF_BYTES_MAX {
            return Err(format!("longer than {FORK_PROOF_BYTES_MAX} bytes"));
        }
        let name = Digest::of(text);
        if self.forked.values().any(|names| names.contains(&name)) {
            return Ok(false);
        }
        let proof = ForkProof::decode(text).map_err(|why| why.to_string())?;
        let site = convicts(&proof, &self.mesh)?;
        let held = self.forked.get(&site).map_or(0, BTreeSet::len);
        let is_busy = self.works.len() >= GOSSIP_WORK_MAX;
        if self.membership.keys_of(&site).is_none() || held >= FORKS_PER_SITE_MAX || is_busy {
            return Ok(false);
        }
        self.take(
            Work::Fork,
            Incoming::Fork {
                site,
                proof: Box::new(proof),
            },
        );
        Ok(true)
    }

    /// Proofs are on disk. Those that we made are told to everybody; what came by gossip goes round already.
    pub(super) fn on_forks_kept(&mut self, kept: Vec<(SiteId, Vec<u8>)>, ours: bool) {
        for (site, text) in kept {
            self.forked
                .entry(site)
                .or_default()
                .insert(Digest::of(&text));
            if ours && text.len() <= PUBLICATION_BYTES_MAX {
                let gossip = wire::Gossip {
                    what: Some(wire::gossip::What::Fork(text)),
                };
                self.say(gossip.encode_to_vec());
            }
        }
    }
}
