//! Where a record stands: in whose log, under which checkpoint, seen by which witnesses.

use super::{
    TrustAnchors,
    record::{ProofResult, Read, utc},
    report::Claim,
};
use crate::{
    id::{MeshId, SiteId},
    keys::{KeyHistory, PublicKey},
    log::{leaf_hash, verify_inclusion},
    note::{Checkpoint, NoteError},
};

pub(super) fn inclusion(read: &Read, proof: Option<&ProofResult>) -> Claim {
    const ID: &str = "inclusion";
    let seq = read.claims.seq;
    let proof = match proof {
        None => {
            return Claim::not_proven(
                ID,
                "the record's place in the log is not checked",
                PROOF_FILE,
            );
        }
        Some(Err(why)) => {
            return Claim::refuted(ID, format!("the proof file cannot be read: {why}"));
        }
        Some(Ok(proof)) => proof,
    };
    if proof.index != seq {
        return Claim::refuted(
            ID,
            format!(
                "the proof file is for leaf {}, the record says leaf {seq}",
                proof.index
            ),
        );
    }
    let (size, root) = (proof.checkpoint.size(), proof.checkpoint.root());
    match verify_inclusion(
        seq,
        size,
        &leaf_hash(read.view.core().as_bytes()),
        &proof.path,
        &root,
    ) {
        Ok(()) => Claim::proven(
            ID,
            format!(
                "the record is leaf {seq} of the log with {size} leaves that the checkpoint names"
            ),
        ),
        Err(why) => Claim::refuted(
            ID,
            format!("the record is not leaf {seq} of the checkpoint's log: {why}"),
        ),
    }
}

/// The author's log, as far as it is known.
pub(super) struct Log<'a> {
    pub(super) site: SiteId,
    pub(super) mesh: Option<MeshId>,
    pub(super) keys: Option<&'a KeyHistory>,
}

impl Log<'_> {
    /// Whether the checkpoint is of this log, by name and signature; also as a bool.
    pub(super) fn checkpoint_signature(&self, proof: Option<&ProofResult>) -> (Claim, bool) {
        const ID: &str = "checkpoint-signature";
        let checkpoint = match proof {
            None => {
                return (
                    Claim::not_proven(ID, "no checkpoint of the log is given", PROOF_FILE),
                    false,
                );
            }
            Some(Err(why)) => {
                return (
                    Claim::refuted(ID, format!("the proof file cannot be read: {why}")),
                    false,
                );
            }
            Some(Ok(proof)) => &proof.checkpoint,
        };
        match self.signed(ID, checkpoint) {
            Ok(()) => (
                Claim::proven(ID, "the checkpoint is signed with the log key of this site"),
                true,
            ),
            Err(claim) => (claim, false),
        }
    }

    fn signed(&self, id: &'static str, checkpoint: &Checkpoint) -> Result<(), Claim> {
        let origin = checkpoint.origin();
        let of_this_log = parts(origin).is_some_and(|(mesh, site)| {
            site == self.site && self.mesh.is_none_or(|known| known == mesh)
        });
        if !of_this_log {
            return Err(Claim::refuted(
                id,
                format!("the checkpoint is of another log, {origin:?}"),
            ));
        }
        let Some(keys) = self.keys else {
            let text =
                "the checkpoint's signature is not checked, because the site's keys are not known";
            return Err(Claim::not_proven(id, text, "the site's key manifest"));
        };
        checkpoint
            .verify(&keys.current().log)
            .map_err(|why| Claim::refuted(id, format!("the checkpoint does not hold: {why}")))
    }

    /// Compares a checkpoint that came another way with the one of the proof file, if that is signed.
    pub(super) fn other_checkpoint(
        &self,
        other: &Result<Checkpoint, NoteError>,
        proof: Option<&ProofResult>,
    ) -> Claim {
        const ID: &str = "other-checkpoint";
        let other = match other {
            Ok(other) => other,
            Err(why) => {
                return Claim::refuted(ID, format!("the other checkpoint cannot be read: {why}"));
            }
        };
        if let Err(claim) = self.signed(ID, other) {
            return claim.optional();
        }
        let size = other.size();
        let Some(Ok(proof)) = proof else {
            let text = "the other checkpoint has nothing to be compared with";
            return Claim::not_proven(ID, text, "a proof file whose checkpoint holds").optional();
        };
        if proof.checkpoint.origin() != other.origin() {
            let text = format!(
                "the other checkpoint is of another log, {:?}",
                other.origin()
            );
            return Claim::refuted(ID, text);
        }
        if proof.checkpoint.size() != size {
            return Claim::not_proven(
                ID,
                format!(
                    "the other checkpoint has {size} leaves, that of the proof file {}",
                    proof.checkpoint.size()
                ),
                format!("a proof file of this record for the log with {size} leaves"),
            )
            .optional();
        }
        if proof.checkpoint.root() == other.root() {
            Claim::proven(
                ID,
                format!("the other checkpoint says the same about the log with {size} leaves"),
            )
            .optional()
        } else {
            Claim::refuted(
                ID,
                format!(
                    "the site signed two different logs with {size} leaves: keep both files, together they prove it"
                ),
            )
        }
    }
}

pub(super) fn witnesses(
    log: &Log<'_>,
    proof: Option<&ProofResult>,
    other: Option<&Result<Checkpoint, NoteError>>,
    anchors: &TrustAnchors,
) -> Claim {
    const ID: &str = "witnesses";
    // Who names a quorum wants it; else a witness is good to know.
    let asked = |claim: Claim| match anchors.quorum() {
        Some(_) => claim,
        None => claim.optional(),
    };
    let Some(Ok(proof)) = proof else {
        return asked(Claim::not_proven(ID, "no cosignature is given", PROOF_FILE));
    };
    let checkpoint = &proof.checkpoint;
    // The other checkpoint covers the record if it is the same one, with other signatures below.
    let same = other
        .and_then(|other| other.as_ref().ok())
        .filter(|other| other.body() == checkpoint.body());
    let is_own = |key: &PublicKey| {
        log.keys
            .is_some_and(|keys| keys.all().any(|set| set.witness == *key))
    };
    let mut seen = Vec::new();
    for witness in anchors
        .witnesses()
        .iter()
        .filter(|witness| !is_own(witness.key()))
    {
        let mut times = Vec::new();
        for note in [Some(checkpoint), same].into_iter().flatten() {
            match note.cosignature_of(witness) {
                Ok(cosignature) => times.extend(cosignature.map(|cosignature| cosignature.time())),
                Err(why) => {
                    return Claim::refuted(ID, format!("a cosignature does not hold: {why}"));
                }
            }
        }
        seen.extend(times.into_iter().min().map(|time| (time, witness.name())));
    }
    if seen.is_empty() {
        let missing = match anchors.witnesses() {
            [] => "witness lines in your trust anchors, and a checkpoint that they cosigned",
            _ => "a checkpoint that a witness of your trust anchors cosigned",
        };
        return asked(Claim::not_proven(
            ID,
            "no cosignature of a witness that you trust is given",
            missing,
        ));
    }
    seen.sort_unstable();
    let list: Vec<String> = seen
        .iter()
        .map(|(time, name)| format!("{name} at {}", utc(*time)))
        .collect();
    let text = format!(
        "witnesses that you trust cosigned the checkpoint: {}",
        list.join(", ")
    );
    match anchors.quorum().filter(|quorum| *quorum > seen.len()) {
        Some(quorum) => Claim::not_proven(
            ID,
            format!(
                "{text}; that is {} of the {quorum} that you ask for",
                seen.len()
            ),
            "a checkpoint that more witnesses of your trust anchors cosigned",
        ),
        None => asked(Claim::proven(ID, text)),
    }
}

/// Mesh and site of an origin line.
pub(crate) fn parts(origin: &str) -> Option<(MeshId, SiteId)> {
    let (mesh, site) = origin.strip_prefix("fmesh/")?.split_once('/')?;
    Some((mesh.parse().ok()?, site.parse().ok()?))
}

const PROOF_FILE: &str = "the record's .tlog-proof file";
