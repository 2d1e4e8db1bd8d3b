//! A judged bundle for people: as text, and as one page without anything from elsewhere.
//!
//! The sections follow what ISO 19011 (6.5.1) asks of an audit report (objective, scope, criteria, evidence, findings, conclusions, what
//! was not covered) and what 21 CFR Part 11 (11.10 e, 11.50) asks of an audit trail (who, when, old and new value, meaning).

use askama::Template as _;
use fmesh_proto::audit::bundle::{BundleReport, Change, Entry};
use jiff::Timestamp;

use super::{
    super::{failure::Failure, words::printable},
    judged::{Judged, TOOL},
};
use crate::api::view::Exit;

#[derive(askama::Template)]
#[template(path = "audit.html")]
struct Page<'a> {
    judged: &'a Judged,
    report: &'a BundleReport,
    tool: &'a str,
}

/// What the template asks for; it hands over references.
impl Page<'_> {
    fn identity(&self) -> String {
        identity(self.report)
    }
    fn selection(&self) -> String {
        selection(self.report)
    }
    fn obtained(&self) -> Vec<String> {
        obtained(self.judged)
    }
    fn claimed(&self, span: &Option<(u64, u64)>) -> String {
        claimed(*span)
    }
    fn utc(&self, seconds: &u64) -> String {
        utc(*seconds)
    }
    fn seen(&self, entry: &Entry) -> String {
        seen(entry)
    }
}

pub(super) fn html(judged: &Judged) -> Result<String, Failure> {
    let page = Page {
        judged,
        report: &judged.outcome.report,
        tool: TOOL,
    };
    page.render().map_err(|error| {
        Failure::new(Exit::Failed, "internal", "the page cannot be made").why(error.to_string())
    })
}

/// Lines that cannot steer a terminal.
pub(super) fn lines(text: &str) -> String {
    text.lines().map(|line| printable(line) + "\n").collect()
}

pub(super) fn text(judged: &Judged) -> String {
    let report = &judged.outcome.report;
    let mut out = format!("AUDIT REPORT: {}\n\nScope\n", report.verdict);
    let mut line = |name: &str, value: String| out.push_str(&format!("  {name:<14} {value}\n"));
    line("bundle", judged.bundle.display().to_string());
    line("identity", identity(report));
    line("asked for", selection(report));
    line("checked", format!("{} with {TOOL}", judged.checked));
    for log in &report.logs {
        line(
            "log",
            format!(
                "{} ({}): {} of {} leaves shown, {} objects, {}",
                report.name_of(&log.site),
                log.site.hex(),
                log.shown,
                log.size,
                log.objects,
                claimed(log.claimed)
            ),
        );
    }
    out.push_str("\nCriteria: trust anchors of the auditor\n");
    out.push_str(&format!(
        "  {}  sha256 {}\n",
        judged.anchors_file.display(),
        judged.anchors_digest.hex()
    ));
    for note in obtained(judged) {
        out.push_str(&format!("  obtained: {note}\n"));
    }
    out.push_str(&format!(
        "\nConclusions and findings\n{report}\nTime line\n{}",
        changes(report)
    ));
    out.push_str("\nTo repeat it\n");
    for command in judged.commands() {
        out.push_str(&format!("  {command}\n"));
    }
    lines(&out)
}

/// The time line, a block for each revision.
pub(super) fn changes(report: &BundleReport) -> String {
    let mut out = String::new();
    for entry in &report.changes {
        let name = entry
            .name
            .clone()
            .unwrap_or_else(|| entry.object.to_string());
        out.push_str(&format!(
            "  {}  {} {name} revision {}{}, leaf {} of {}, {}\n",
            utc(entry.signed),
            entry.kind,
            entry.rev,
            if entry.retired { " (ended)" } else { "" },
            entry.leaf,
            report.name_of(&entry.site),
            seen(entry),
        ));
        for Change { slot, old, new } in &entry.changes {
            out.push_str(&format!("      {slot}: {old} -> {new}\n"));
        }
    }
    if report.changes_more > 0 {
        out.push_str(&format!(
            "  and {} more; name an object with --object\n",
            report.changes_more
        ));
    }
    lines(&out)
}

fn seen(entry: &Entry) -> String {
    entry.seen.map_or_else(
        || "not shown when it was seen".to_owned(),
        |by| format!("seen by your witnesses no later than {}", utc(by)),
    )
}

fn identity(report: &BundleReport) -> String {
    match &report.digest {
        Some(digest) => format!("sha256 of SHA256SUMS {}", digest.hex()),
        None => "none: SHA256SUMS is missing".to_owned(),
    }
}

fn obtained(judged: &Judged) -> Vec<String> {
    match judged.anchors_notes.is_empty() {
        true => vec!["not said; write it into the file, in lines that begin with #".to_owned()],
        false => judged.anchors_notes.clone(),
    }
}

fn selection(report: &BundleReport) -> String {
    let Some(selection) = &report.selection else {
        return "not said".to_owned();
    };
    let mut parts = Vec::new();
    if !selection.sites.is_empty() {
        parts.push(format!("{} sites", selection.sites.len()));
    }
    parts.extend(selection.since.map(|since| format!("since {}", utc(since))));
    parts.extend(selection.until.map(|until| format!("until {}", utc(until))));
    parts.extend(selection.kinds.iter().map(|kind| format!("kind {kind}")));
    parts.extend(
        selection
            .objects
            .iter()
            .map(|object| format!("object {object}")),
    );
    parts.extend(
        selection
            .reader
            .map(|reader| format!("as disclosed to {}", reader.hex())),
    );
    if parts.is_empty() {
        return "everything that the maker holds".to_owned();
    }
    parts.join(", ")
}

fn claimed(span: Option<(u64, u64)>) -> String {
    span.map_or_else(
        || "no record shown".to_owned(),
        |(first, last)| {
            format!(
                "signed from {} to {} as their authors say",
                utc(first),
                utc(last)
            )
        },
    )
}

fn utc(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| format!("second {seconds}"), |time| time.to_string())
}
