//! Judges a bundle, file by file.
//!
//! The verdicts of single records come from [`Check::examine`]; here is what only their order, their number and
//! their neighbours can tell. [`log`] is one log of the bundle.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::{
        TrustAnchors,
        fork::{Fork, ForkProof},
        place::parts,
        report::{Claim, Verdict},
    },
    AHEAD, AnchorsSummary, BundleClaim, BundleReport, CHANGES_BYTES_MAX, CHANGES_MAX,
    CONFLICTS_MAX, Check, Examine, FILES_MAX, FINDINGS_MAX, File, Finding, KEPT_BYTES_MAX,
    LEAVES_MAX, LOGS_MAX, LogFile, LogSummary, Name,
    chains::{Feeds, Twice},
    late::Late,
    manifest::{FORMAT, Manifest, Withheld},
};
use crate::{
    id::{CircleId, Digest, SiteId, to_hex},
    note::Checkpoint,
    record::View,
};

mod log;

use log::Log;

/// What an auditor may ask for beyond the verdicts.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Keep a time line of objects whose id begins so; empty for all objects.
    pub changes_of: Option<String>,
    /// Checkpoints that came another way, as signed notes.
    pub checkpoints: Vec<Vec<u8>>,
    /// Views of records of the bundle that open more of them: what a site handed out later. The signature from before covers it.
    pub disclosed: Vec<View>,
}

/// Takes the files of a bundle in their order. Give it every file; it never fails, and what is wrong is in the report.
#[derive(Debug)]
pub struct Verifier<'a> {
    anchors: &'a TrustAnchors,
    options: Options,
    outside: Vec<Checkpoint>,
    late: Late,
    last: Option<String>,
    /// First half of the SHA-256 of each line that `SHA256SUMS` must have.
    lines: Vec<[u8; 16]>,
    sums: Option<Digest>,
    files: u64,
    bytes: u64,
    /// Bytes of the files that are kept.
    kept: u64,
    fork_files: usize,
    /// What is wrong with the form, or missing from it.
    form: Vec<(Verdict, String)>,
    manifest: Option<Manifest>,
    withheld: Option<Withheld>,
    leaves: u64,
    open: Option<Log>,
    /// Batches of its records that are being examined.
    underway: usize,
    closed: Vec<Log>,
    notes: Notes,
}

/// Findings and forks, as they turn up.
#[derive(Debug, Default)]
struct Notes {
    findings: Vec<Finding>,
    more: u64,
    forks: Vec<Fork>,
    proofs: Vec<ForkProof>,
    /// Fork proofs in the bundle that do not hold.
    false_forks: u64,
    /// Changes in the time lines, the bytes of their records, and changes that had no place.
    changes: (usize, u64, u64),
}

impl Notes {
    fn add(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }

    /// Whether the time line has room for a change in a record of so many bytes.
    fn keeps_change(&mut self, bytes: u64) -> bool {
        let (kept, kept_bytes, more) = &mut self.changes;
        let fits = *kept < CHANGES_MAX && *kept_bytes + bytes <= CHANGES_BYTES_MAX;
        match fits {
            true => (*kept, *kept_bytes) = (*kept + 1, *kept_bytes + bytes),
            false => *more += 1,
        }
        fits
    }

    fn fork(&mut self, proof: ForkProof) -> Option<Fork> {
        let fork = proof.verify().ok()?;
        self.forks.push(fork.clone());
        self.proofs.push(proof);
        Some(fork)
    }
}

/// The report, and what two bundles are compared with.
#[derive(Debug)]
pub struct Outcome {
    /// What the bundle shows.
    pub report: BundleReport,
    /// Its logs.
    pub logs: Vec<KeptLog>,
    /// Fork proofs that hold: those in the bundle, and those that what is in it makes.
    pub forks: Vec<ForkProof>,
    /// Records of this bundle that claim one feed position: [`KeptLog::feed_fork`] makes a proof of each two.
    pub conflicts: Vec<Conflict>,
}

/// Two records for one position of one circle's feed. The records were forgotten; whoever has the files reads them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// Whose log.
    pub site: SiteId,
    /// Whose feed.
    pub circle: CircleId,
    /// In the feed.
    pub position: u64,
    /// Leaves of the two records; of two bundles that are compared, one in each.
    pub leaves: (u64, u64),
}

impl Conflict {
    fn new(site: SiteId, twice: Twice) -> Self {
        let Twice {
            circle,
            position,
            leaves,
        } = twice;
        Self {
            site,
            circle,
            position,
            leaves,
        }
    }
}

/// What is kept of a log to compare it with another bundle's.
#[derive(Debug)]
pub struct KeptLog {
    /// Whose.
    pub site: SiteId,
    keys: Vec<View>,
    feeds: Feeds,
    /// Its checkpoint and tree.
    check: Arc<Check>,
}

impl<'a> Verifier<'a> {
    /// Trusts `anchors` and nothing else.
    #[must_use]
    pub fn new(anchors: &'a TrustAnchors, options: Options) -> Self {
        let mut verifier = Self {
            anchors,
            outside: Vec::new(),
            late: Late::default(),
            last: None,
            lines: Vec::new(),
            sums: None,
            files: 0,
            bytes: 0,
            kept: 0,
            fork_files: 0,
            form: Vec::new(),
            manifest: None,
            withheld: None,
            leaves: 0,
            open: None,
            underway: 0,
            closed: Vec::new(),
            notes: Notes::default(),
            options,
        };
        match Late::new(&verifier.options.disclosed) {
            Ok(late) => verifier.late = late,
            Err(why) => verifier.form.push((
                Verdict::Refuted,
                format!("what was handed out later cannot be put together: {why}"),
            )),
        }
        for note in &verifier.options.checkpoints {
            match Checkpoint::parse(note) {
                Ok(checkpoint) => verifier.outside.push(checkpoint),
                Err(why) => verifier.form.push((
                    Verdict::Refuted,
                    format!("a checkpoint that you gave cannot be read: {why}"),
                )),
            }
        }
        verifier
    }

    /// Takes the next file. `run` examines records: on this thread ([`super::Here`]), or on every core.
    pub fn push(&mut self, file: File, run: &mut impl Examine) {
        let in_order = self.last.as_ref().is_none_or(|last| *last < file.name);
        let name = Name::parse(&file.name).filter(|name| file.bytes.len() <= name.bytes_max());
        let is_last = self.sums.is_some();
        let Some(name) = name.filter(|name| !is_last && (in_order || *name == Name::Sums)) else {
            let what = match Name::parse(&file.name) {
                None => "no file of a bundle has this name",
                Some(_) if is_last => "it comes after SHA256SUMS, which is the last file",
                Some(_) if !in_order => "it is there twice, or out of order",
                Some(_) => "it is too long",
            };
            return self.malformed(&file.name, what);
        };
        if let Some(what) = self.too_much(&name, file.bytes.len() as u64) {
            return self.malformed(&file.name, &what);
        }
        self.files += 1;
        self.bytes += file.bytes.len() as u64;
        if name == Name::Sums {
            self.flush(run);
            self.end_log(run);
            return self.check_sums(&file.bytes);
        }
        self.last = Some(file.name.clone());
        let is_record = matches!(
            name,
            Name::Log(_, LogFile::Record(_) | LogFile::RecordProof(_))
        );
        if !is_record {
            self.flush(run);
            self.list(&file.name, &Digest::of(&file.bytes));
        }
        let of = match name {
            Name::Log(site, _) => Some(site),
            _ => None,
        };
        if self.open.as_ref().map(|open| open.site) != of {
            self.flush(run);
            self.end_log(run);
            let (keep, late) = (&self.options.changes_of, &self.late.views);
            self.open = of.map(|site| Log::new(site, keep.clone(), Arc::clone(late)));
        }
        match name {
            Name::Fork(_) => {
                self.fork_files += 1;
                self.fork(&file);
            }
            Name::Manifest => match serde_json::from_slice::<Manifest>(&file.bytes) {
                Ok(manifest) if manifest.format == FORMAT => self.manifest = Some(manifest),
                Ok(other) => {
                    let what = format!("its format is {:?}, not {FORMAT}", other.format);
                    self.malformed(&file.name, &what);
                }
                Err(why) => self.malformed(&file.name, &why.to_string()),
            },
            Name::Withheld => match serde_json::from_slice::<Withheld>(&file.bytes) {
                Ok(withheld) if withheld.format == FORMAT => self.withheld = Some(withheld),
                Ok(other) => {
                    let what = format!("its format is {:?}, not {FORMAT}", other.format);
                    self.malformed(&file.name, &what);
                }
                Err(why) => self.malformed(&file.name, &why.to_string()),
            },
            Name::Log(_, part) => self.log_file(part, file, run),
            Name::Sums => {}
        }
    }

    /// The bundle cannot be read on: a broken archive, a link, a file that no bundle has.
    pub fn broken(&mut self, file: &str, why: &str) {
        self.malformed(file, why);
    }

    /// Everything was given.
    pub fn finish(mut self, run: &mut impl Examine) -> Outcome {
        self.flush(run);
        self.end_log(run);
        if self.sums.is_none() {
            let what = "SHA256SUMS is missing: the bundle may be cut off";
            self.form.push((Verdict::Refuted, what.into()));
        }
        let mut of_logs = Vec::new();
        let mut summaries = Vec::new();
        let mut logs = Vec::new();
        let mut changes = Vec::new();
        let mut conflicts = Vec::new();
        let withheld = self.withheld.take();
        for mut log in std::mem::take(&mut self.closed) {
            let of_log = withheld
                .as_ref()
                .and_then(|withheld| withheld.logs.iter().find(|of| of.site == log.site));
            let (summary, log_claims, twice) = log.finish(of_log, self.anchors, &mut self.notes);
            conflicts.extend(
                twice
                    .into_iter()
                    .map(|twice| Conflict::new(log.site, twice)),
            );
            let site = Some(log.site);
            of_logs.extend(
                log_claims
                    .into_iter()
                    .map(|claim| BundleClaim { site, claim }),
            );
            changes.append(&mut log.changes);
            summaries.push(summary);
            logs.push(log.keep());
        }
        conflicts.truncate(CONFLICTS_MAX);
        let mut claims = vec![self.form_claim(&summaries)];
        claims.extend(self.fork_claims());
        claims.extend(self.unused_checkpoints(&summaries));
        let late = self.late.claim();
        claims.extend(late.map(|claim| BundleClaim { site: None, claim }));
        claims.extend(of_logs);
        if summaries.is_empty() {
            let claim = Claim::not_proven(
                "coverage",
                "the bundle holds no log",
                "a bundle with at least one log",
            );
            claims.push(BundleClaim { site: None, claim });
        }
        changes.sort_by_key(|entry| (entry.site, entry.leaf));
        let limits = limits(&summaries, &claims);
        let manifest = self.manifest;
        let anchors = AnchorsSummary {
            sites: self
                .anchors
                .sites()
                .map(|(site, name)| (*site, name.map(str::to_owned)))
                .collect(),
            meshes: self.anchors.meshes().iter().copied().collect(),
            witnesses: self
                .anchors
                .witnesses()
                .iter()
                .map(ToString::to_string)
                .collect(),
            quorum: self.anchors.quorum(),
        };
        let mut report = BundleReport {
            verdict: Verdict::NotProven,
            digest: self.sums,
            files: self.files,
            bytes: self.bytes,
            made_by: manifest.as_ref().and_then(|manifest| manifest.made_by),
            selection: manifest.map(|manifest| manifest.selection),
            anchors,
            logs: summaries,
            claims,
            findings: self.notes.findings,
            findings_more: self.notes.more,
            forks: self.notes.forks,
            changes,
            changes_more: self.notes.changes.2,
            limits,
        };
        report.judge();
        Outcome {
            report,
            logs,
            forks: self.notes.proofs,
            conflicts,
        }
    }

    /// Why a file has no place any more, however good it may be.
    fn too_much(&mut self, name: &Name, bytes: u64) -> Option<String> {
        if self.files >= FILES_MAX {
            return Some(format!("more than {FILES_MAX} files in one bundle"));
        }
        let is_kept = match name {
            Name::Fork(_) => true,
            Name::Log(_, LogFile::Record(_) | LogFile::RecordProof(_)) => false,
            Name::Log(_, LogFile::Tile(tile)) => tile.level > 0,
            Name::Log(..) => true,
            Name::Manifest | Name::Withheld | Name::Sums => false,
        };
        if is_kept {
            self.kept += bytes;
            if self.kept > KEPT_BYTES_MAX {
                return Some(format!(
                    "more than {KEPT_BYTES_MAX} bytes of keys, checkpoints, upper tiles and fork proofs; make a bundle for each site"
                ));
            }
        }
        let begins_log = match name {
            Name::Log(site, _) => self.open.as_ref().is_none_or(|open| open.site != *site),
            _ => false,
        };
        let logs = self.closed.len() + usize::from(self.open.is_some());
        (begins_log && logs >= LOGS_MAX)
            .then(|| format!("more than {LOGS_MAX} logs in one bundle; make several bundles"))
    }

    /// Checkpoints that the auditor brought, and that no log of the bundle was compared with.
    fn unused_checkpoints(&self, logs: &[LogSummary]) -> Vec<BundleClaim> {
        let used = |checkpoint: &&Checkpoint| {
            let of = parts(checkpoint.origin()).map(|(_, site)| site);
            !logs.iter().any(|log| Some(log.site) == of)
        };
        let unused = self.outside.iter().filter(used);
        let claim = |checkpoint: &Checkpoint| BundleClaim {
            site: None,
            claim: Claim::not_proven(
                APPEND_ONLY,
                format!(
                    "the bundle does not hold the log of a checkpoint that you gave, {:?}",
                    checkpoint.origin()
                ),
                "a bundle with that log",
            ),
        };
        unused.map(claim).collect()
    }

    fn malformed(&mut self, file: &str, what: &str) {
        self.form
            .push((Verdict::Refuted, format!("{file}: {what}")));
        self.form.truncate(FINDINGS_MAX);
        self.notes.add(Finding {
            claim: FORM,
            verdict: Verdict::Refuted,
            file: super::super::report::printable(file),
            leaf: None,
            text: super::super::report::printable(what),
        });
    }

    fn list(&mut self, name: &str, digest: &Digest) {
        self.lines
            .push(line_hash(&format!("{}  {name}", to_hex(&digest.0))));
    }

    fn check_sums(&mut self, bytes: &[u8]) {
        self.sums = Some(Digest::of(bytes));
        let Some(text) = std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.strip_suffix('\n'))
        else {
            return self.malformed("SHA256SUMS", "not lines of UTF-8 text");
        };
        let mut there = self.lines.iter();
        for (n, line) in text.split('\n').enumerate() {
            if there.next() != Some(&line_hash(line)) {
                let shown: String = line.chars().skip(66).take(120).collect();
                let what = format!(
                    "line {}, about {shown:?}, is not the file that the bundle holds in this place: changed, missing, or not listed",
                    n + 1
                );
                return self.malformed("SHA256SUMS", &what);
            }
        }
        if there.next().is_some() {
            self.malformed("SHA256SUMS", "the bundle holds files that are not listed");
        }
    }

    fn fork(&mut self, file: &File) {
        let proof = ForkProof::decode(&file.bytes);
        match proof.and_then(|proof| proof.verify().map(|_| proof)) {
            Ok(proof) => {
                self.notes.fork(proof);
            }
            Err(why) => {
                self.notes.false_forks += 1;
                self.notes.add(Finding {
                    claim: FORK_PROOFS,
                    verdict: Verdict::Refuted,
                    file: file.name.clone(),
                    leaf: None,
                    text: super::super::report::printable(&why.to_string()),
                });
            }
        }
    }

    fn log_file(&mut self, part: LogFile, file: File, run: &mut impl Examine) {
        if let LogFile::Tile(tile) = part
            && tile.level == 0
        {
            self.leaves += u64::from(tile.width);
            if self.leaves > LEAVES_MAX {
                let what =
                    format!("more than {LEAVES_MAX} leaves in one bundle; make one for each site");
                return self.malformed(&file.name, &what);
            }
        }
        let is_record = matches!(part, LogFile::Record(_) | LogFile::RecordProof(_));
        let Some(log) = &mut self.open else { return };
        if is_record && log.is_full(part) {
            self.begin(run);
            self.end(AHEAD, run);
        }
        let Some(log) = &mut self.open else { return };
        if is_record && !log.is_ready() {
            log.prepare(self.anchors, &self.outside, &mut self.notes, run);
        }
        if let Err(what) = log.take_file(part, file) {
            let name = Name::Log(log.site, part).to_string();
            self.malformed(&name, &what);
        }
    }

    /// Judges all records that came so far.
    fn flush(&mut self, run: &mut impl Examine) {
        self.begin(run);
        self.end(0, run);
    }

    /// Lets the records that wait be examined.
    fn begin(&mut self, run: &mut impl Examine) {
        let begun = self.open.as_mut().is_some_and(|log| log.begin(run));
        self.underway += usize::from(begun);
    }

    /// Takes what was found out, in the order of the records, until only so many batches are under way.
    fn end(&mut self, left: usize, run: &mut impl Examine) {
        while self.underway > left
            && let Some(log) = &mut self.open
        {
            self.underway -= 1;
            for examined in run.end() {
                for (name, digest) in &examined.files {
                    self.lines
                        .push(line_hash(&format!("{}  {name}", to_hex(&digest.0))));
                }
                if let Some((core, fits)) = examined.late {
                    self.late.used(core, fits);
                }
                log.take(examined, &mut self.notes);
            }
        }
    }

    fn end_log(&mut self, run: &mut impl Examine) {
        if let Some(mut log) = self.open.take() {
            if !log.is_ready() {
                log.prepare(self.anchors, &self.outside, &mut self.notes, run);
            }
            self.closed.push(log);
        }
    }

    fn form_claim(&mut self, logs: &[LogSummary]) -> BundleClaim {
        if self.sums.is_some() && self.manifest.is_none() && self.form.is_empty() {
            self.form
                .push((Verdict::Refuted, "manifest.json is missing".into()));
        }
        if let Some(manifest) = &self.manifest {
            let same_logs = manifest.logs.len() == logs.len()
                && manifest.logs.iter().zip(logs).all(|(a, b)| a.fits(b));
            if !same_logs {
                let what = "manifest.json: the bundle does not hold the logs and as many records as it states";
                self.form.push((Verdict::Refuted, what.into()));
            }
            if manifest.forks != self.fork_files {
                let what =
                    "manifest.json: the bundle does not hold as many fork proofs as it states";
                self.form.push((Verdict::Refuted, what.into()));
            }
        }
        let claim = match self.form.as_slice() {
            [] => Claim::proven(
                FORM,
                format!(
                    "all {} files are those that SHA256SUMS lists, none is missing or foreign",
                    self.files
                ),
            ),
            [(_, what)] => Claim::refuted(FORM, what.clone()),
            [(_, what), more @ ..] => {
                Claim::refuted(FORM, format!("{what}; and {} more", more.len()))
            }
        };
        BundleClaim { site: None, claim }
    }

    fn fork_claims(&self) -> Vec<BundleClaim> {
        let Notes {
            forks, false_forks, ..
        } = &self.notes;
        let mut claims = vec![match forks.as_slice() {
            [] => Claim::proven(
                NO_FORK,
                "nothing in the bundle shows that anybody told two histories",
            ),
            [fork] => Claim::refuted(NO_FORK, fork.to_string()),
            [fork, more @ ..] => {
                Claim::refuted(NO_FORK, format!("{fork}; and {} more forks", more.len()))
            }
        }];
        if *false_forks > 0 {
            claims.push(Claim::refuted(
                FORK_PROOFS,
                format!("{false_forks} fork proofs in the bundle prove nothing"),
            ));
        }
        let site = None;
        claims
            .into_iter()
            .map(|claim| BundleClaim { site, claim })
            .collect()
    }
}

impl KeptLog {
    /// The proof that these two records of the site claim one feed position, if they do.
    #[must_use]
    pub fn feed_fork(&self, a: &View, b: &View) -> Option<(ForkProof, Fork)> {
        let proof = ForkProof::feed(&self.keys, a, b)?;
        let fork = proof.verify().ok()?;
        Some((proof, fork))
    }

    /// What the two logs say against each other; `Ok(None)` if one is the beginning of the other.
    fn against(&self, other: &Self) -> Result<Option<ForkProof>, &'static str> {
        let (ours, theirs) = (&*self.check, &*other.check);
        let (Some(a), Some(b)) = (&ours.checkpoint, &theirs.checkpoint) else {
            return Err("a checkpoint of both");
        };
        if a.origin() != b.origin() {
            return Err("two bundles of one mesh");
        }
        let (small, large, tree) = if a.size() <= b.size() {
            (a, b, &theirs.tree)
        } else {
            (b, a, &ours.tree)
        };
        if small.body() == large.body() {
            return Ok(None);
        }
        if small.size() == large.size() {
            return Ok(Some(ForkProof::same_size(&self.keys, small, large)));
        }
        let tree = tree.as_ref().ok_or("the tiles of the larger log")?;
        if tree.root_at(small.size()) == Some(small.root()) {
            return Ok(None);
        }
        ForkProof::prefix(&self.keys, small, large, tree)
            .map(Some)
            .ok_or("the tiles of the larger log")
    }
}

/// What two bundles say about each other.
#[derive(Debug, Default)]
pub struct Comparison {
    /// A claim for each log that is in both.
    pub claims: Vec<BundleClaim>,
    /// Forks that the two prove together.
    pub forks: Vec<(ForkProof, Fork)>,
    /// Feed positions that are one record in the first bundle and another one in the second.
    pub conflicts: Vec<Conflict>,
}

/// Puts two bundles side by side.
#[must_use]
pub fn compare(one: &[KeptLog], two: &[KeptLog]) -> Comparison {
    let other: BTreeMap<SiteId, &KeptLog> = two.iter().map(|log| (log.site, log)).collect();
    let mut found = Comparison::default();
    for log in one {
        let Some(other) = other.get(&log.site) else {
            continue;
        };
        let twice = log.feeds.against(&other.feeds);
        let claim = match log.against(other) {
            Ok(None) => match twice.first() {
                None => Claim::proven(
                    AGAINST,
                    "both bundles tell one history of the log and of its feeds",
                ),
                Some(twice) => Claim::refuted(
                    AGAINST,
                    format!(
                        "position {} of the feed of circle {} is leaf {} in one bundle and leaf {} in the other",
                        twice.position, twice.circle, twice.leaves.0, twice.leaves.1
                    ),
                ),
            },
            Ok(Some(proof)) => match proof.verify() {
                Ok(fork) => {
                    let claim = Claim::refuted(AGAINST, fork.to_string());
                    found.forks.push((proof, fork));
                    claim
                }
                Err(why) => Claim::not_proven(
                    AGAINST,
                    format!("the two bundles differ, but {why}"),
                    "checkpoints that the site's log key signed, in both bundles",
                ),
            },
            Err(missing) => {
                Claim::not_proven(AGAINST, "the two bundles cannot be compared", missing)
            }
        };
        let conflicts = twice
            .into_iter()
            .map(|twice| Conflict::new(log.site, twice));
        found.conflicts.extend(conflicts);
        found.claims.push(BundleClaim {
            site: Some(log.site),
            claim,
        });
    }
    found.conflicts.truncate(CONFLICTS_MAX);
    if found.claims.is_empty() {
        let text = "the two bundles have no log in common";
        let claim =
            Claim::not_proven(AGAINST, text, "two bundles with a log of one site").optional();
        found.claims.push(BundleClaim { site: None, claim });
    }
    found
}

fn limits(logs: &[LogSummary], claims: &[BundleClaim]) -> Vec<String> {
    let mut limits = Vec::new();
    let form = claims.iter().find(|claim| claim.claim.id == FORM);
    if form.is_some_and(|claim| claim.claim.verdict == Verdict::Refuted) {
        limits.push("The bundle is not as it was made. Do not unpack it; ask its maker for it again, and compare the SHA-256 of SHA256SUMS with theirs.".to_owned());
    }
    if logs.iter().any(|log| log.seen.is_empty()) {
        limits.push(
            "Not shown: when records were made, or that others were shown the same log, where no witness says so: times of records are what their authors say."
                .to_owned(),
        );
    }
    if logs.iter().any(|log| !log.withheld.is_empty()) {
        limits.push(
            "Not shown: what the withheld records say. That they are in the log is shown."
                .to_owned(),
        );
    }
    if claims.iter().any(|claim| claim.claim.id == "rules") {
        limits.push("Not shown: what withheld fields say, or that promises add up across records: agreements are no part of this format yet.".to_owned());
    }
    limits.push(super::super::record::CANNOT_SHOW.to_owned());
    limits
}

fn line_hash(line: &str) -> [u8; 16] {
    let Digest(hash) = Digest::of(line.as_bytes());
    let (half, _) = hash.split_first_chunk().expect("32 bytes begin with 16");
    *half
}

const FORM: &str = "bundle-form";
const NO_FORK: &str = "no-fork";
const FORK_PROOFS: &str = "fork-proofs";
const AGAINST: &str = "against";
const APPEND_ONLY: &str = "append-only";

/// How one part of all records of a log came out.
#[derive(Debug, Default)]
struct Tally {
    holds: u64,
    refuted: u64,
    open: u64,
    /// The first that does not hold, and what is missing.
    first: Option<(Verdict, String, String)>,
}

impl Tally {
    fn add(&mut self, verdict: Verdict, text: &str, missing: &str) {
        match verdict {
            Verdict::Proven => self.holds += 1,
            Verdict::Refuted => self.refuted += 1,
            Verdict::NotProven => self.open += 1,
        }
        let is_worse = match &self.first {
            None => verdict != Verdict::Proven,
            Some((first, ..)) => *first == Verdict::NotProven && verdict == Verdict::Refuted,
        };
        if is_worse {
            self.first = Some((verdict, text.to_owned(), missing.to_owned()));
        }
    }

    fn claim(&self, id: &'static str, good: impl FnOnce(u64) -> String) -> Claim {
        let Self {
            holds,
            refuted,
            open,
            first,
        } = self;
        let total = holds + refuted + open;
        match first {
            None if total == 0 => {
                Claim::not_proven(id, "no record is shown", "a record").optional()
            }
            None => Claim::proven(id, good(total)),
            Some((Verdict::Refuted, text, _)) => {
                Claim::refuted(id, format!("{refuted} of {total}: {text}"))
            }
            Some((_, text, missing)) => {
                Claim::not_proven(id, format!("{open} of {total}: {text}"), missing.clone())
            }
        }
    }
}
