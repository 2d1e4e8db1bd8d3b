//! Cosigning, and what is kept of what others cosigned and of what convicts them.
//!
//! A cosignature binds this site for ever, so the pledge that it makes is on disk before it leaves: after any crash the
//! next one is judged by it.

use fmesh_proto::{
    audit::fork::ForkProof,
    id::SiteId,
    limits::{FORK_PROOF_BYTES_MAX, FORKS_PER_SITE_MAX},
    mesh::{
        Progress, not_cosigned,
        witness::{self, Judgement},
    },
    note::Checkpoint,
    wire,
};

use super::{Told, Work, Written, unix_now};
use crate::store::{Changes, KeptCheckpoint, KeptFork, StoreError};

impl Work {
    /// Answers a member that wants a checkpoint of its log cosigned; the log's own signature was checked.
    pub(super) fn cosign(
        &mut self,
        of: &SiteId,
        checkpoint: &Checkpoint,
    ) -> Result<wire::Response, StoreError> {
        let (Some(mesh), Some(member)) = (self.desk.meta.mesh, self.desk.membership.member(of))
        else {
            return Ok(refusal("not-a-member", "this mesh does not know you"));
        };
        let keys = member.keys.views();
        let store = self.setup.store.clone();
        if !store.forks(Some(of))?.is_empty() {
            let text = "a fork proof is held against your log: it is not cosigned any more";
            return Ok(refusal("forked", text));
        }
        let (head, last, now) = (store.head(of)?, store.pledge(of)?, unix_now());
        let nodes = store.nodes(of);
        match witness::judge(checkpoint, &keys, head.as_ref(), &nodes, last.as_ref(), now) {
            Judgement::Sign(pledge) => {
                if last != Some(pledge) {
                    let mut changes = Changes::new();
                    changes.put_pledge(of, &pledge);
                    store.commit(changes)?;
                }
                let (me, key) = (self.setup.site, self.setup.keys.witness());
                let line = pledge
                    .cosign(checkpoint, &mesh, &me, key)
                    .map(|line| line.line().into_bytes());
                let line = line.inspect_err(|error| tracing::error!(%error, "cannot cosign"));
                Ok(wire::Response {
                    what: Some(wire::response::What::Cosign(wire::CosignResponse {
                        line: line.unwrap_or_default(),
                        size: pledge.size,
                    })),
                })
            }
            Judgement::NotYet(size) | Judgement::Larger(size) => Ok(not_cosigned(size)),
            Judgement::Fork(proof) => {
                let mut changes = Changes::new();
                let kept = self.keep_forks(&[(*of, *proof)], &mut changes, now)?;
                let progress = Progress {
                    forks: kept,
                    ..Progress::default()
                };
                let told = Told {
                    events: vec![Written::Taken(progress)],
                    ..Told::default()
                };
                self.commit(changes, told, now)?;
                let text = "your checkpoint excludes what you signed before";
                Ok(refusal("forked", text))
            }
        }
    }

    /// Keeps a cosigned checkpoint if it is newer than what is held, and lets go of older ones as the rule says.
    pub(super) fn keep_cosigned(
        &self,
        site: &SiteId,
        checkpoint: &Checkpoint,
        by: u32,
        changes: &mut Changes,
        now: u64,
    ) -> Result<bool, StoreError> {
        let held = self.setup.store.cosigned(site)?;
        let version = (checkpoint.size(), by);
        let newest = held.last();
        if newest.is_some_and(|kept| version <= (kept.checkpoint.size(), kept.by)) {
            return Ok(false);
        }
        // A second version of the newest size came when the first did.
        let at = match newest.filter(|kept| kept.checkpoint.size() == version.0) {
            Some(kept) => kept.at,
            None => newest.map_or(now, |kept| now.max(kept.at)),
        };
        let mut history: Vec<(u64, u64)> = held
            .iter()
            .map(|kept| (kept.checkpoint.size(), kept.at))
            .filter(|(size, _)| *size != version.0)
            .collect();
        history.push((version.0, at));
        for size in witness::redundant(&history, now) {
            changes.delete_cosigned(site, size);
        }
        let checkpoint = checkpoint.clone();
        changes.put_cosigned(site, &KeptCheckpoint { at, by, checkpoint });
        Ok(true)
    }

    /// Keeps fork proofs that are new, the first few against each site; gives those.
    pub(super) fn keep_forks(
        &self,
        proofs: &[(SiteId, ForkProof)],
        changes: &mut Changes,
        now: u64,
    ) -> Result<Vec<(SiteId, Vec<u8>)>, StoreError> {
        let mut kept: Vec<(SiteId, Vec<u8>)> = Vec::new();
        for (site, proof) in proofs {
            let text = proof.encode().into_bytes();
            let held = self.setup.store.forks(Some(site))?;
            let here = kept.iter().filter(|(of, _)| of == site);
            let full = held.len() + here.clone().count() >= FORKS_PER_SITE_MAX;
            let known = held.iter().map(|fork| &fork.text);
            let is_known = known.chain(here.map(|(_, text)| text)).any(|t| *t == text);
            if full || is_known || text.len() > FORK_PROOF_BYTES_MAX {
                continue;
            }
            tracing::warn!(%site, kind = proof.kind().as_str(), "signed two things that exclude each other; the proof is kept");
            let fork = KeptFork {
                site: *site,
                at: now,
                text: text.clone(),
            };
            changes.put_fork(&fork);
            kept.push((*site, text));
        }
        Ok(kept)
    }
}

fn refusal(code: &str, text: &str) -> wire::Response {
    wire::Response {
        what: Some(wire::response::What::Refusal(wire::Refusal {
            code: code.into(),
            text: text.into(),
        })),
    }
}

#[cfg(test)]
mod tests;
