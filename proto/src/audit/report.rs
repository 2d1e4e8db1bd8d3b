//! The answer to an auditor: one model for people and for programs.

use std::fmt;

use serde::Serialize;

use crate::{
    id::{Digest, MeshId, ObjectId, SiteId},
    kinds::Kind,
};

/// What the evidence says about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The evidence shows that it is so.
    Proven,
    /// The evidence shows that it is not so.
    Refuted,
    /// The evidence does not decide; what is missing is named.
    NotProven,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Proven => "proven",
            Self::Refuted => "refuted",
            Self::NotProven => "not proven",
        })
    }
}

/// One claim and its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// Stable name, for programs.
    pub id: &'static str,
    /// What the evidence says.
    pub verdict: Verdict,
    /// Whether the overall verdict needs it to be proven. A refuted claim counts in any case.
    pub required: bool,
    /// What was found, for people.
    pub text: String,
    /// What would decide it; only when not proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl Claim {
    pub(super) fn proven(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(id, Verdict::Proven, text.into(), None)
    }

    pub(super) fn refuted(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(id, Verdict::Refuted, text.into(), None)
    }

    pub(super) fn not_proven(
        id: &'static str,
        text: impl Into<String>,
        missing: impl Into<String>,
    ) -> Self {
        Self::new(id, Verdict::NotProven, text.into(), Some(missing.into()))
    }

    /// Good to know, but the overall verdict does not wait for it.
    pub(super) fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    fn new(id: &'static str, verdict: Verdict, text: String, missing: Option<String>) -> Self {
        let (text, missing) = (printable(&text), missing.map(|missing| printable(&missing)));
        Self {
            id,
            verdict,
            required: true,
            text,
            missing,
        }
    }
}

/// What the record says about itself. True only as far as the claims say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordSummary {
    /// SHA-256 of the core.
    pub core: Digest,
    /// Author.
    pub site: SiteId,
    /// The auditor's name for the author.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_name: Option<String>,
    /// Mesh; `None` in `keys` records.
    pub mesh: Option<MeshId>,
    /// Kind.
    pub kind: Kind,
    /// Object.
    pub id: ObjectId,
    /// Revision.
    pub rev: u64,
    /// Leaf index.
    pub seq: u64,
    /// The author's own clock, unix seconds.
    pub iat: u64,
    /// Whether it ends the object.
    pub retired: bool,
    /// Slots; `None` unless disclosures and author signature hold.
    pub slots: Option<SlotSummary>,
}

/// Names of a record's slots by what the view does with them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SlotSummary {
    /// Opened, with a value.
    pub shown: Vec<String>,
    /// Opened, and the author committed to "unknown".
    pub unknown: Vec<String>,
    /// Not opened.
    pub withheld: Vec<String>,
}

/// All claims about one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Refuted if any claim is; else not proven if any required claim is; else proven.
    pub verdict: Verdict,
    /// What was checked; `None` if the record cannot be read.
    pub record: Option<RecordSummary>,
    /// One by one.
    pub claims: Vec<Claim>,
    /// What this evidence cannot show, in sentences.
    pub limits: Vec<String>,
}

impl Report {
    /// Draws the overall verdict.
    pub(super) fn new(
        record: Option<RecordSummary>,
        claims: Vec<Claim>,
        limits: Vec<String>,
    ) -> Self {
        let refuted = claims.iter().any(|claim| claim.verdict == Verdict::Refuted);
        let open = claims
            .iter()
            .any(|claim| claim.required && claim.verdict == Verdict::NotProven);
        let verdict = match (refuted, open) {
            (true, _) => Verdict::Refuted,
            (false, true) => Verdict::NotProven,
            (false, false) => Verdict::Proven,
        };
        Self {
            verdict,
            record,
            claims,
            limits,
        }
    }

    /// The claim of that name, if it was examined.
    #[must_use]
    pub fn claim(&self, id: &str) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.id == id)
    }
}

/// Plain text: the record, a line a claim, the overall verdict, and what it cannot show.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(record) = &self.record {
            let RecordSummary {
                kind,
                id,
                rev,
                seq,
                site,
                site_name,
                ..
            } = record;
            let name = site_name.as_deref().unwrap_or("unnamed");
            writeln!(
                f,
                "{kind} {id} revision {rev}, leaf {seq} of site {name} ({site})\n"
            )?;
        }
        for Claim {
            verdict,
            text,
            missing,
            ..
        } in &self.claims
        {
            write!(f, "{verdict:<11} {text}")?;
            match missing {
                Some(missing) => writeln!(f, "; missing: {missing}")?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "\nOverall: {}.", self.verdict)?;
        for limit in &self.limits {
            writeln!(f, "{limit}")?;
        }
        Ok(())
    }
}

/// `1 record`, `2 records`.
pub(super) fn counted(n: u64, one: &str, more: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { more })
}

/// Evidence speaks in these texts, too: what could steer a terminal or turn the direction of writing
/// is spelt out, and long texts are cut.
pub(super) fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == TEXT_CHARS_SHOWN {
            out.push('\u{2026}');
            break;
        }
        if steers(c) {
            out.extend(c.escape_unicode())
        } else {
            out.push(c)
        }
    }
    out
}

/// Longest text of a claim in characters; the rest is cut. A reason fits in far less.
const TEXT_CHARS_SHOWN: usize = 1_000;
