//! What a bundle shows: one model for terminal, HTML and JSON.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::{
    super::{
        fork::Fork,
        report::{Claim, Verdict, printable},
    },
    manifest::{Reason, Selection},
    seen::Seen,
};
use crate::id::{Digest, MeshId, ObjectId, SiteId};

/// All that is said about a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BundleReport {
    /// Refuted if any claim is; else not proven if any required claim is; else proven.
    pub verdict: Verdict,
    /// SHA-256 of `SHA256SUMS`: names this bundle in writing. `None` if there is none.
    pub digest: Option<Digest>,
    /// Files and their bytes.
    pub files: u64,
    /// Bytes in all files.
    pub bytes: u64,
    /// Who made it, as it says.
    pub made_by: Option<SiteId>,
    /// What was asked for, as it says.
    pub selection: Option<Selection>,
    /// What the verdicts rest on.
    pub anchors: AnchorsSummary,
    /// One for each log.
    pub logs: Vec<LogSummary>,
    /// One by one, those of the whole bundle first.
    pub claims: Vec<BundleClaim>,
    /// What does not hold or is missing, by file. At most [`super::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub findings_more: u64,
    /// Forks that are proven, by fork proofs in the bundle or by what is in it.
    pub forks: Vec<Fork>,
    /// Changes of objects, oldest first, if they were asked for. At most [`super::CHANGES_MAX`].
    pub changes: Vec<Entry>,
    /// Changes beyond those.
    pub changes_more: u64,
    /// What this evidence cannot show, in sentences.
    pub limits: Vec<String>,
}

/// The auditor's trust anchors as they were used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AnchorsSummary {
    /// Sites and the auditor's names for them.
    pub sites: Vec<(SiteId, Option<String>)>,
    /// Meshes; empty if the auditor does not care.
    pub meshes: Vec<MeshId>,
    /// Witnesses, as verifier keys.
    pub witnesses: Vec<String>,
    /// How many of them must agree.
    pub quorum: Option<usize>,
}

/// A claim about one log, or about the whole bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BundleClaim {
    /// Whose log; `None`: the whole bundle.
    pub site: Option<SiteId>,
    /// The claim.
    #[serde(flatten)]
    pub claim: Claim,
}

/// Something that does not hold, or is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which claim it is about.
    pub claim: &'static str,
    /// Refuted or not proven.
    pub verdict: Verdict,
    /// In which file.
    pub file: String,
    /// Leaf index, if it is about one.
    pub leaf: Option<u64>,
    /// What, for people.
    pub text: String,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogSummary {
    /// Whose.
    pub site: SiteId,
    /// The auditor's name for it.
    pub name: Option<String>,
    /// Name of the log.
    pub origin: Option<String>,
    /// Leaves that the newest checkpoint names.
    pub size: u64,
    /// Its root.
    pub root: Option<Digest>,
    /// Records that are shown, `keys` records among them.
    pub shown: u64,
    /// `keys` records.
    pub keys: u64,
    /// Leaves that are not, by reason.
    pub withheld: Vec<(Reason, u64)>,
    /// Leaves for which there is neither a record nor a reason.
    pub unaccounted: u64,
    /// Objects that the records are about.
    pub objects: u64,
    /// Earliest and latest time that the records claim, unix seconds.
    pub claimed: Option<(u64, u64)>,
    /// From which sizes on the log was seen by enough witnesses, and when at the latest.
    pub seen: Vec<Seen>,
    /// Records whose ISA-95 sum could be checked, and those whose columns are in part withheld or unknown.
    pub sums: (u64, u64),
}

/// One revision in the time line of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Author.
    pub site: SiteId,
    /// File.
    pub file: String,
    /// Leaf.
    pub leaf: u64,
    /// Kind.
    pub kind: String,
    /// Object.
    pub object: ObjectId,
    /// What the record calls it, where that is shown.
    pub name: Option<String>,
    /// Revision.
    pub rev: u64,
    /// It ends the object.
    pub retired: bool,
    /// When the author says it signed, unix seconds.
    pub signed: u64,
    /// Until when enough witnesses had seen it, unix seconds.
    pub seen: Option<u64>,
    /// What changed against the revision before; against nothing in the first one shown.
    pub changes: Vec<Change>,
}

/// One slot that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Slot.
    pub slot: String,
    /// Before.
    pub old: Values,
    /// After.
    pub new: Values,
}

/// A slot as the view shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "value", rename_all = "snake_case")]
pub enum Values {
    /// There was no revision before.
    Absent,
    /// Not opened.
    Withheld,
    /// Opened: the author does not know or does not say.
    Unknown,
    /// Opened.
    Known(Value),
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("-"),
            Self::Withheld => f.write_str("withheld"),
            Self::Unknown => f.write_str("unknown"),
            Self::Known(Value::String(text)) => f.write_str(&printable(text)),
            Self::Known(value) => f.write_str(&printable(&value.to_string())),
        }
    }
}

impl BundleReport {
    /// The claim of that name about that log, or about the bundle.
    #[must_use]
    pub fn claim(&self, site: Option<&SiteId>, id: &str) -> Option<&Claim> {
        let of = |claim: &&BundleClaim| claim.site.as_ref() == site && claim.claim.id == id;
        self.claims.iter().find(of).map(|claim| &claim.claim)
    }

    /// The auditor's name for a site, or the beginning of its id.
    #[must_use]
    pub fn name_of(&self, site: &SiteId) -> String {
        let named = self.logs.iter().find(|log| log.site == *site);
        let name = named.and_then(|log| log.name.clone());
        printable(&name.unwrap_or_else(|| site.to_string()))
    }

    /// Draws the overall verdict again, after claims were added.
    pub fn judge(&mut self) {
        let mut claims = self.claims.iter().map(|claim| &claim.claim);
        let open = |claim: &Claim| claim.required && claim.verdict == Verdict::NotProven;
        self.verdict = if claims
            .clone()
            .any(|claim| claim.verdict == Verdict::Refuted)
        {
            Verdict::Refuted
        } else if claims.any(open) {
            Verdict::NotProven
        } else {
            Verdict::Proven
        };
    }
}

/// Plain text: a line a claim, the findings, the overall verdict, and what it cannot show.
impl fmt::Display for BundleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for BundleClaim { site, claim } in &self.claims {
            write!(f, "{:<11} ", claim.verdict)?;
            if let Some(site) = site {
                write!(f, "{}: ", self.name_of(site))?;
            }
            f.write_str(&claim.text)?;
            match &claim.missing {
                Some(missing) => writeln!(f, "; missing: {missing}")?,
                None => writeln!(f)?,
            }
        }
        if !self.findings.is_empty() {
            writeln!(f)?;
        }
        for finding in self.findings.iter().take(FINDINGS_SHOWN) {
            writeln!(
                f,
                "{:<11} {}: {}",
                finding.verdict, finding.file, finding.text
            )?;
        }
        let more = self.findings.len().saturating_sub(FINDINGS_SHOWN) as u64 + self.findings_more;
        if more > 0 {
            writeln!(
                f,
                "            and {more} more; --json lists up to {}",
                super::FINDINGS_MAX
            )?;
        }
        for fork in &self.forks {
            writeln!(f, "\nFORK: {fork}")?;
        }
        writeln!(f, "\nOverall: {}.", self.verdict)?;
        for limit in &self.limits {
            writeln!(f, "{limit}")?;
        }
        Ok(())
    }
}

/// Findings in the text form.
const FINDINGS_SHOWN: usize = 20;
