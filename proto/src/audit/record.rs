//! One exported record: reading it, and drawing all claims about it into one report.

use super::{
    Evidence, TrustAnchors, author, place,
    report::{Claim, RecordSummary, Report, SlotSummary, Verdict},
};
use crate::{
    id::{Digest, SiteId},
    kinds::Kind,
    note::{Checkpoint, NoteError, ProofFile},
    record::{Claims, RecordError, View},
};

/// Checks one record against the evidence given with it. Never fails: what cannot be read refutes or
/// leaves open the claim that it should have proven.
#[must_use]
pub fn verify_record(evidence: &Evidence, anchors: &TrustAnchors) -> Report {
    let (form, read) = Read::record(&evidence.record);
    let Some(read) = read else {
        return Report::new(None, vec![form], vec![CANNOT_SHOW.into()]);
    };
    let site = read.claims.iss;
    let (manifest, keys) = author::key_manifest(evidence, &read);
    let (signature, rules, verified) = author::signature(&read, keys.as_ref());
    let proof = evidence.proof.as_deref().map(ProofFile::decode);
    let log = place::Log {
        site,
        mesh: read.claims.mesh,
        keys: keys.as_ref(),
    };
    let (checkpoint, signed) = log.checkpoint_signature(proof.as_ref());
    let other = evidence.checkpoint.as_deref().map(Checkpoint::parse);

    let mut claims = vec![
        form,
        trusted_author(&site, anchors),
        trusted_mesh(&read, proof.as_ref(), anchors),
        manifest,
        signature,
        author::disclosures(&read, verified.as_ref()),
        rules,
        checkpoint,
        place::inclusion(&read, proof.as_ref()),
        place::witnesses(&log, proof.as_ref(), other.as_ref(), anchors),
    ];
    if let Some(other) = &other {
        claims.push(log.other_checkpoint(other, proof.as_ref().filter(|_| signed)));
    }

    let slots = verified
        .as_ref()
        .filter(|_| read.refused.is_none())
        .map(author::slots);
    let limits = limits(&read, slots.as_ref(), &claims);
    Report::new(Some(read.summary(anchors, slots)), claims, limits)
}

/// A record whose core could be read.
pub(super) struct Read {
    pub(super) claims: Claims,
    /// As it came, or the bare core if a disclosure was refused.
    pub(super) view: View,
    /// How many disclosures came with it, and why they were refused.
    pub(super) disclosures: usize,
    pub(super) refused: Option<RecordError>,
}

impl Read {
    fn record(bytes: &[u8]) -> (Claim, Option<Self>) {
        const ID: &str = "record-form";
        let view = match View::decode(without_newline(bytes)) {
            Ok(view) => view,
            Err(why) => {
                return (
                    Claim::refuted(ID, format!("the record cannot be read: {why}")),
                    None,
                );
            }
        };
        let (core, disclosures) = (view.core().to_owned(), view.disclosures().count());
        // A bad disclosure must not hide what the core itself proves.
        let parsed = match view.clone().parse() {
            Ok(parsed) => Ok((view, parsed, None)),
            Err(why) => View::decode(format!("{core}~").as_bytes())
                .and_then(|bare| Ok((bare.clone(), bare.parse()?, Some(why)))),
        };
        match parsed {
            Ok((view, parsed, refused)) => {
                let claims = parsed.claims().clone();
                let Claims { kind, id, rev, .. } = &claims;
                let text =
                    format!("the record has the form of a {kind} record: {id}, revision {rev}");
                let read = Self {
                    claims,
                    view,
                    disclosures,
                    refused,
                };
                (Claim::proven(ID, text), Some(read))
            }
            Err(why) => (
                Claim::refuted(ID, format!("the record cannot be read: {why}")),
                None,
            ),
        }
    }

    fn summary(&self, anchors: &TrustAnchors, slots: Option<SlotSummary>) -> RecordSummary {
        let Claims {
            mesh,
            iss,
            seq,
            kind,
            id,
            rev,
            iat,
            retired,
            ..
        } = self.claims.clone();
        RecordSummary {
            core: Digest::of(self.view.core().as_bytes()),
            site: iss,
            site_name: anchors.name_of(&iss).map(str::to_owned),
            mesh,
            kind,
            id,
            rev,
            seq,
            iat,
            retired,
            slots,
        }
    }
}

fn trusted_author(site: &SiteId, anchors: &TrustAnchors) -> Claim {
    const ID: &str = "trusted-author";
    match (anchors.trusts(site), anchors.name_of(site)) {
        (true, Some(name)) => Claim::proven(
            ID,
            format!("the author is a site that you trust: {name} ({site})"),
        ),
        (true, None) => Claim::proven(ID, format!("the author is a site that you trust: {site}")),
        (false, _) => Claim::not_proven(
            ID,
            format!("the record names an author that you did not name: {site}"),
            format!(
                "a line in your trust anchors, if you trust it: site {}",
                site.hex()
            ),
        ),
    }
}

fn trusted_mesh(read: &Read, proof: Option<&ProofResult>, anchors: &TrustAnchors) -> Claim {
    const ID: &str = "trusted-mesh";
    // A key manifest is made before its site is in any mesh; then the log's name tells.
    let of_log = || {
        proof?
            .as_ref()
            .ok()
            .and_then(|proof| Some(place::parts(proof.checkpoint.origin())?.0))
    };
    let Some(mesh) = read.claims.mesh.or_else(of_log) else {
        let text = "the record names no mesh";
        let claim = Claim::not_proven(ID, text, "the record's .tlog-proof file, which names it");
        return if anchors.meshes().is_empty() {
            claim.optional()
        } else {
            claim
        };
    };
    if anchors.meshes().is_empty() {
        let missing = format!("a line in your trust anchors: mesh {}", mesh.hex());
        return Claim::not_proven(
            ID,
            format!("you named no mesh; the record is of {mesh}"),
            missing,
        )
        .optional();
    }
    if anchors.meshes().contains(&mesh) {
        Claim::proven(
            ID,
            format!("the record belongs to a mesh that you named: {mesh}"),
        )
    } else {
        Claim::refuted(
            ID,
            format!(
                "the record belongs to no mesh that you named, but to {}",
                mesh.hex()
            ),
        )
    }
}

/// What even a proven report leaves open, the general sentence last.
fn limits(read: &Read, slots: Option<&SlotSummary>, claims: &[Claim]) -> Vec<String> {
    let proven = |id| {
        claims
            .iter()
            .any(|claim| claim.id == id && claim.verdict == Verdict::Proven)
    };
    let mut limits = Vec::new();
    if !proven("witnesses") {
        limits.push(format!(
            "Not shown: when the record was made ({} is what the author says), or that others were shown the same log.",
            utc(read.claims.iat)
        ));
    }
    if read.claims.kind != Kind::Keys {
        limits.push(
            "Not shown: whether a keys record that is not among these files had replaced the author's key before this leaf."
                .into(),
        );
    }
    limits.push("Not shown: whether a later revision has replaced this one.".into());
    if let Some(SlotSummary { withheld, .. }) = slots
        && !withheld.is_empty()
    {
        limits.push(format!(
            "Not shown: what the withheld slots say ({}).",
            withheld.join(", ")
        ));
    }
    limits.push(CANNOT_SHOW.into());
    limits
}

/// Files saved by hand end with a newline.
pub(super) fn without_newline(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").unwrap_or(bytes)
}

pub(super) fn utc(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| format!("second {seconds}"), |time| time.to_string())
}

/// A proof file as it could be read.
pub(super) type ProofResult = Result<ProofFile, NoteError>;

pub(super) const CANNOT_SHOW: &str =
    "This cannot show: that sensor values were true, or that every promise was recorded.";
