//! A bundle that was judged, with what a report says besides: files, tools, how to repeat it.

use std::path::{Path, PathBuf};

use fmesh_proto::{
    audit::{
        bundle::{Conflict, Options, Outcome, compare},
        fork::ForkProof,
    },
    id::Digest,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    super::{Context, failure::Failure},
    Anchors, Disclosed, exit,
};
use crate::bundle;

/// The one model of text, page and JSON.
pub(super) struct Judged {
    pub(super) bundle: PathBuf,
    pub(super) against: Option<PathBuf>,
    /// What was handed out later.
    pub(super) disclosed: Vec<PathBuf>,
    pub(super) outcome: Outcome,
    /// When it was checked, by the clock of this machine.
    pub(super) checked: Timestamp,
    pub(super) anchors_file: PathBuf,
    pub(super) anchors_digest: Digest,
    /// Comment lines of the anchors' file: how they were obtained, in the auditor's own words.
    pub(super) anchors_notes: Vec<String>,
}

impl Judged {
    pub(super) fn new(
        context: &Context,
        path: &Path,
        against: Option<&Path>,
        trust: &Anchors,
        disclosed: &Disclosed,
        mut options: Options,
    ) -> Result<Self, Failure> {
        options.disclosed = disclosed.read()?;
        let total = path
            .metadata()
            .map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 });
        let bar = context.out.bar(total);
        let judge = |path: &Path, options| {
            bundle::verify(path, &trust.anchors, options, &|bytes| bar.inc(bytes))
                .map_err(|error| Failure::file(path, "read", &error))
        };
        let mut outcome = judge(path, options)?;
        if let Some(against) = against {
            let other = judge(against, Options::default())?;
            let found = compare(&outcome.logs, &other.logs);
            outcome.report.claims.extend(found.claims);
            for (proof, fork) in found.forks {
                outcome.report.forks.push(fork);
                outcome.forks.push(proof);
            }
            feed_forks(&mut outcome, &found.conflicts, path, against)?;
            outcome.report.judge();
        }
        let own = outcome.conflicts.clone();
        feed_forks(&mut outcome, &own, path, path)?;
        bar.finish_and_clear();
        let text = String::from_utf8_lossy(&trust.bytes);
        let notes = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix('#'));
        Ok(Self {
            bundle: path.to_owned(),
            against: against.map(Path::to_owned),
            disclosed: disclosed.files.clone(),
            outcome,
            checked: Timestamp::now(),
            anchors_file: trust.file.clone(),
            anchors_digest: Digest::of(&trust.bytes),
            anchors_notes: notes.map(|note| note.trim().to_owned()).collect(),
        })
    }

    pub(super) fn json(&self) -> Value {
        let mut value = json!({
            "schema": "fmesh.audit-bundle.v1",
            "exit": exit(self.outcome.report.verdict) as u8,
            "bundle": self.bundle,
            "against": self.against,
            "checked": self.checked,
            "checked_with": TOOL,
            "anchors_file": self.anchors_file,
            "anchors_sha256": self.anchors_digest,
            "anchors_notes": self.anchors_notes,
            "commands": self.commands(),
        });
        let report = serde_json::to_value(&self.outcome.report);
        if let (Some(object), Ok(Value::Object(members))) = (value.as_object_mut(), report) {
            object.extend(members);
        }
        value
    }

    /// What an outsider types to repeat it.
    pub(super) fn commands(&self) -> Vec<String> {
        let bundle = self.bundle.display();
        let against = self
            .against
            .as_ref()
            .map(|path| format!(" --against {}", path.display()));
        let late = self.disclosed.iter();
        let late = late.map(|path| format!(" --disclosed {}", path.display()));
        let mut commands = vec![format!(
            "fmesh audit verify {bundle} --trust {}{}{}",
            self.anchors_file.display(),
            against.unwrap_or_default(),
            late.collect::<String>()
        )];
        let dir = if self.bundle.is_dir() {
            bundle.to_string()
        } else {
            commands.push(format!("mkdir bundle && tar -xf {bundle} -C bundle"));
            "bundle".into()
        };
        commands.push(format!(
            "(cd {dir} && sha256sum --check --quiet SHA256SUMS)"
        ));
        commands.push(format!(
            "python3 tests/outside/bundle.py {dir} {}   # our format, without our code",
            self.outcome
                .report
                .logs
                .iter()
                .map(|log| log.site.hex())
                .collect::<Vec<_>>()
                .join(" ")
        ));
        commands
    }

    /// Every fork that was proven, as a file of its own.
    pub(super) fn write_forks(&self, dir: &Path) -> Result<(), Failure> {
        std::fs::create_dir_all(dir).map_err(|error| Failure::file(dir, "write", &error))?;
        for (n, proof) in self.outcome.forks.iter().enumerate() {
            let file = dir.join(format!("{n:04}.fork-proof"));
            let text = ForkProof::encode(proof);
            std::fs::write(&file, text).map_err(|error| Failure::file(&file, "write", &error))?;
        }
        Ok(())
    }
}

/// Proofs that two records claim one feed position: they are read again, the first of each two from `a`, the other from `b`.
fn feed_forks(
    outcome: &mut Outcome,
    conflicts: &[Conflict],
    a: &Path,
    b: &Path,
) -> Result<(), Failure> {
    if conflicts.is_empty() {
        return Ok(());
    }
    let read = |path: &Path, leaf: fn(&Conflict) -> u64| {
        let wanted = conflicts.iter().map(|found| (found.site, leaf(found)));
        bundle::records(path, &wanted.collect())
            .map_err(|error| Failure::file(path, "read", &error))
    };
    let (of_a, of_b) = (
        read(a, |found| found.leaves.0)?,
        read(b, |found| found.leaves.1)?,
    );
    for found in conflicts {
        let proof = || {
            let log = outcome.logs.iter().find(|log| log.site == found.site)?;
            let a = of_a.get(&(found.site, found.leaves.0))?;
            log.feed_fork(a, of_b.get(&(found.site, found.leaves.1))?)
        };
        if let Some((proof, fork)) = proof() {
            outcome.report.forks.push(fork);
            outcome.forks.push(proof);
        }
    }
    Ok(())
}

/// Name and version.
pub(super) const TOOL: &str = concat!("fmesh ", env!("CARGO_PKG_VERSION"));
