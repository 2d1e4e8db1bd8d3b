//! `fmesh audit`: bundles for auditors, and checks of what others signed. Only `export` talks to a node; the rest is offline: no
//! node, no configuration, no network.

use std::path::{Path, PathBuf};

use fmesh_proto::{
    audit::{
        Evidence, Report, TrustAnchors, Verdict, bundle::Options, fork::ForkProof, verify_record,
    },
    limits,
    record::View,
};
use serde_json::json;

use super::{Context, failure::Failure, input::file_bytes, words::printable};
use crate::api::view::Exit;

mod export;
mod judged;
mod page;

use judged::Judged;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Write a bundle of signed records that an outsider can check
    Export(export::Export),
    /// Check a bundle, an exported record, or a fork proof: proven 0, refuted 10, not proven 11
    Verify(Verify),
    /// The same as a report: text, JSON, or a page to print
    Report(ReportArgs),
    /// The history of one object in a bundle: what changed, when, and until when witnesses had seen it
    Trail(Trail),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// A bundle (directory or .tar), a record (*.sdjwt), or a fork proof
    file: PathBuf,
    /// A second bundle: do both tell one history?
    #[arg(long, value_name = "BUNDLE")]
    against: Option<PathBuf>,
    /// Write fork proofs that were found into this directory
    #[arg(long, value_name = "DIR")]
    forks: Option<PathBuf>,
    /// Of a record: its proof [default: the file beside it that ends in .tlog-proof, if there]
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Of a record: the site's key manifest [default: the file beside it that ends in .keys.sdjwt, if there]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Of a record: a later keys record of the site, in the order of its log (repeat) [default: the files beside it that end in
    /// .keys.2.sdjwt, .keys.3.sdjwt, ...]
    #[arg(long = "keys", value_name = "FILE")]
    rotations: Vec<PathBuf>,
    /// A checkpoint of the same log that you got another way (repeat)
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    #[command(flatten)]
    disclosed: Disclosed,
    #[command(flatten)]
    trust: Trust,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Disclosed {
    /// Values of a record that were handed out later: its *.sdjwt with them opened (repeat)
    #[arg(long = "disclosed", value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Disclosed {
    fn read(&self) -> Result<Vec<View>, Failure> {
        let view = |path: &PathBuf| {
            let bytes = trimmed(file_bytes(path, limits::VIEW_BYTES_MAX + 1)?);
            View::decode(&bytes).map_err(|why| {
                Failure::input("what was handed out later cannot be read")
                    .why(format!("{}: {why}", path.display()))
                    .hint("the site makes such a file with: fmesh record export LEAF --slot SLOT")
            })
        };
        self.files.iter().map(view).collect()
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Trust {
    /// Whom you trust: lines "site HEX NAME", "mesh HEX", "witness VKEY", "quorum K". Yours, never from the sender
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// The bundle, a directory or .tar
    bundle: PathBuf,
    /// A second bundle: do both tell one history?
    #[arg(long, value_name = "BUNDLE")]
    against: Option<PathBuf>,
    /// Changes of this object only, by the beginning of its id [default: of all]
    #[arg(long, value_name = "ID")]
    object: Option<String>,
    /// A page with everything in it, for a browser or a printer
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    html: Option<PathBuf>,
    /// Plain text (as without an option)
    #[arg(long)]
    text: bool,
    #[command(flatten)]
    disclosed: Disclosed,
    #[command(flatten)]
    trust: Trust,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Trail {
    /// The object: its name as the records show it, or the beginning of its id
    object: String,
    /// The bundle, a directory or .tar
    bundle: PathBuf,
    #[command(flatten)]
    disclosed: Disclosed,
    #[command(flatten)]
    trust: Trust,
}

/// The auditor's file, and what it says besides.
struct Anchors {
    file: PathBuf,
    bytes: Vec<u8>,
    anchors: TrustAnchors,
}

impl Trust {
    fn read(&self) -> Result<Anchors, Failure> {
        let file = self.trust.clone();
        let bytes = file_bytes(&file, TrustAnchors::BYTES_MAX)?;
        let anchors = TrustAnchors::parse(&bytes).map_err(|error| {
            Failure::input("the trust anchors cannot be read")
                .why(format!("{}: {error}", file.display()))
                .hint("one a line: site <64 hex digits> [name], mesh <64 hex digits>, witness <vkey>, quorum <k>, # comment")
        })?;
        Ok(Anchors {
            file,
            bytes,
            anchors,
        })
    }
}

pub(crate) async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Export(args) => {
            export::run(context, args).await?;
            Ok(Exit::Done)
        }
        Command::Verify(args) => verify(context, &args),
        Command::Report(args) => {
            let trust = args.trust.read()?;
            let options = Options {
                changes_of: Some(args.object.clone().unwrap_or_default()),
                ..Options::default()
            };
            let judged = Judged::new(
                context,
                &args.bundle,
                args.against.as_deref(),
                &trust,
                &args.disclosed,
                options,
            )?;
            if let Some(file) = &args.html {
                let page = page::html(&judged)?;
                std::fs::write(file, page).map_err(|error| Failure::file(file, "write", &error))?;
                context.out.say(&format!(
                    "{}: {}",
                    file.display(),
                    judged.outcome.report.verdict
                ));
            } else if context.out.json {
                context.out.value(&judged.json())?;
            } else {
                context.out.data(&page::text(&judged))?;
            }
            Ok(exit(judged.outcome.report.verdict))
        }
        Command::Trail(args) => trail(context, &args),
    }
}

fn verify(context: &Context, args: &Verify) -> Result<Exit, Failure> {
    let trust = args.trust.read()?;
    let first = first_bytes(&args.file)?;
    let is_tar = first.get(257..262) == Some(b"ustar")
        || args.file.extension().is_some_and(|end| end == "tar");
    let is_bundle = args.file.is_dir() || is_tar;
    if !is_bundle && (args.against.is_some() || args.forks.is_some()) {
        return Err(Failure::usage("--against and --forks are for bundles")
            .why(format!("{} is no bundle", args.file.display())));
    }
    if is_bundle {
        let note = |path: &PathBuf| file_bytes(path, limits::CHECKPOINT_BYTES_MAX);
        let options = Options {
            changes_of: None,
            checkpoints: args
                .checkpoints
                .iter()
                .map(note)
                .collect::<Result<_, _>>()?,
            ..Options::default()
        };
        let judged = Judged::new(
            context,
            &args.file,
            args.against.as_deref(),
            &trust,
            &args.disclosed,
            options,
        )?;
        if let Some(dir) = &args.forks {
            judged.write_forks(dir)?;
        }
        if context.out.json {
            context.out.value(&judged.json())?;
        } else {
            context
                .out
                .data(&page::lines(&judged.outcome.report.to_string()))?;
        }
        return Ok(exit(judged.outcome.report.verdict));
    }
    if first.starts_with(b"fmesh.fork-proof/") {
        return fork(context, args);
    }
    let report = verify_record(&evidence(args)?, &trust.anchors);
    show(context, &report)?;
    Ok(exit(report.verdict))
}

/// A fork proof alone: whoever it accuses, it holds or it does not.
fn fork(context: &Context, args: &Verify) -> Result<Exit, Failure> {
    let bytes = file_bytes(&args.file, ForkProof::BYTES_MAX)?;
    let fork = ForkProof::decode(&bytes).and_then(|proof| proof.verify());
    let (verdict, text) = match &fork {
        Ok(fork) => (Verdict::Proven, fork.to_string()),
        Err(why) => (Verdict::Refuted, why.to_string()),
    };
    if context.out.json {
        context.out.value(&json!({
            "schema": "fmesh.fork-verdict.v1", "exit": exit(verdict) as u8,
            "verdict": verdict, "text": text, "fork": fork.ok(),
        }))?;
    } else {
        context
            .out
            .data(&format!("{verdict:<11} {}\n", printable(&text)))?;
    }
    Ok(exit(verdict))
}

fn trail(context: &Context, args: &Trail) -> Result<Exit, Failure> {
    let trust = args.trust.read()?;
    let wanted = args.object.to_lowercase();
    let is_id = wanted.len() >= 4 && wanted.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let options = Options {
        changes_of: Some(if is_id { wanted.clone() } else { String::new() }),
        ..Options::default()
    };
    let mut judged = Judged::new(
        context,
        &args.bundle,
        None,
        &trust,
        &args.disclosed,
        options,
    )?;
    let report = &mut judged.outcome.report;
    if !is_id {
        let named = |name: &Option<String>| {
            name.as_ref()
                .is_some_and(|name| name.to_lowercase() == wanted)
        };
        let objects: Vec<_> = report
            .changes
            .iter()
            .filter(|entry| named(&entry.name))
            .map(|entry| entry.object)
            .collect();
        report
            .changes
            .retain(|entry| objects.contains(&entry.object));
    }
    if report.changes.is_empty() {
        return Err(Failure::new(
            Exit::NotFound,
            "not_found",
            format!("no record in the bundle is about {:?}", args.object),
        )
        .why("an object is named as its records show it, or by the beginning of its id")
        .hint(format!(
            "fmesh audit report {} --trust {}",
            args.bundle.display(),
            args.trust.trust.display()
        )));
    }
    if context.out.json {
        context.out.value(&judged.json())?;
    } else {
        let mut text = page::changes(&judged.outcome.report);
        text.push_str(&format!(
            "\nThe bundle as a whole: {}.\n",
            judged.outcome.report.verdict
        ));
        context.out.data(&text)?;
    }
    Ok(exit(judged.outcome.report.verdict))
}

/// Enough to see what a file is.
fn first_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    if path.is_dir() {
        return Ok(bytes);
    }
    std::fs::File::open(path)
        .and_then(|file| file.take(512).read_to_end(&mut bytes))
        .map_err(|error| Failure::file(path, "read", &error))?;
    Ok(bytes)
}

/// Key records beside a record that are read.
const ROTATIONS_MAX: usize = 1_000;

fn evidence(verify: &Verify) -> Result<Evidence, Failure> {
    let view = |path: &Path| file_bytes(path, limits::VIEW_BYTES_MAX + 1);
    let beside = |given: &Option<PathBuf>, end: &str| {
        given
            .clone()
            .or_else(|| Some(sibling(&verify.file, end)).filter(|path| path.exists()))
    };
    let note = |path: PathBuf| file_bytes(&path, limits::CHECKPOINT_BYTES_MAX * 2);
    let mut record = trimmed(view(&verify.file)?);
    for more in verify.disclosed.read()? {
        // A record that cannot be read is for the verdict to say.
        let merged = View::decode(&record).ok().map(|held| held.merged(&more));
        record = match merged {
            Some(Ok(merged)) => merged.encode().into_bytes(),
            Some(Err(why)) => {
                return Err(
                    Failure::input("what was handed out later is of another record")
                        .why(why.to_string()),
                );
            }
            None => record,
        };
    }
    Ok(Evidence {
        record,
        proof: beside(&verify.proof, "tlog-proof").map(note).transpose()?,
        manifest: beside(&verify.manifest, "keys.sdjwt")
            .map(|path| view(&path).map(trimmed))
            .transpose()?,
        rotations: rotations(verify)
            .iter()
            .map(|path| view(path).map(trimmed))
            .collect::<Result<_, _>>()?,
        checkpoint: verify.checkpoints.first().cloned().map(note).transpose()?,
    })
}

/// Later `keys` records: those that are named, else those that stand beside the record, without a gap.
fn rotations(verify: &Verify) -> Vec<PathBuf> {
    if !verify.rotations.is_empty() {
        return verify.rotations.clone();
    }
    (2..=ROTATIONS_MAX)
        .map(|n| sibling(&verify.file, &format!("keys.{n}.sdjwt")))
        .take_while(|path| path.exists())
        .collect()
}

/// `a/b-4.sdjwt` and `tlog-proof` give `a/b-4.tlog-proof`.
fn sibling(record: &Path, end: &str) -> PathBuf {
    let mut name = record.file_stem().unwrap_or_default().to_owned();
    name.push(".");
    name.push(end);
    record.with_file_name(name)
}

/// Editors and `echo` end a file with a line break; a view has none.
fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    bytes
}

fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Proven => Exit::Done,
        Verdict::Refuted => Exit::Refuted,
        Verdict::NotProven => Exit::NotProven,
    }
}

fn show(context: &Context, report: &Report) -> Result<(), Failure> {
    if context.out.json {
        let mut value =
            json!({ "schema": "fmesh.audit-report.v1", "exit": exit(report.verdict) as u8 });
        if let (Some(object), Ok(serde_json::Value::Object(members))) =
            (value.as_object_mut(), serde_json::to_value(report))
        {
            object.extend(members);
        }
        return context.out.value(&value);
    }
    let text: String = report
        .to_string()
        .lines()
        .map(|line| printable(line) + "\n")
        .collect();
    context.out.data(&text)
}

#[cfg(test)]
mod tests {
    use fmesh_proto::id::SiteId;

    use super::{super::parse, *};
    use crate::keystore;

    async fn verify(args: &[&str]) -> u8 {
        let line = ["fmesh", "audit", "verify", "--json"].iter().chain(args);
        parse(line.map(Into::into)).unwrap().run().await
    }

    #[test]
    fn files_beside_the_record_have_its_stem() {
        assert_eq!(
            sibling(Path::new("a/b-4.sdjwt"), "keys.sdjwt"),
            Path::new("a/b-4.keys.sdjwt")
        );
        assert_eq!(trimmed(b"ab\r\n".to_vec()), b"ab");
        assert_eq!(trimmed(b"ab\n\n".to_vec()), b"ab\n");
        assert_eq!(
            [Verdict::Proven, Verdict::Refuted, Verdict::NotProven].map(|v| exit(v) as u8),
            [0, 10, 11]
        );
    }

    #[tokio::test]
    async fn verdicts_are_exit_codes() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, _) = keystore::create(dir.path()).unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (record, trust) = (path("m.sdjwt"), path("anchors.txt"));
        let args = [record.as_str(), "--trust", trust.as_str()];
        assert_eq!(verify(&args).await, Exit::NotFound as u8);
        std::fs::write(&trust, "who HEX\n").unwrap();
        assert_eq!(verify(&args).await, Exit::InputErrors as u8);
        std::fs::write(&trust, format!("site {} A\n", keys.site().hex())).unwrap();
        // a manifest alone: its signature holds, that it is in the log is not shown
        std::fs::write(&record, keys.manifest().encode() + "\n").unwrap();
        std::fs::write(path("m.keys.sdjwt"), keys.manifest().encode()).unwrap();
        assert_eq!(verify(&args).await, Exit::NotProven as u8);
        let mut forged = keys.manifest().encode().into_bytes();
        let at = forged.iter().rposition(|b| *b == b'.').unwrap() + 20;
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        std::fs::write(&record, forged).unwrap();
        assert_eq!(verify(&args).await, Exit::Refuted as u8);
        let other = SiteId(
            *fmesh_proto::keys::RootKey::from_bytes(&[9; 32])
                .site()
                .as_bytes(),
        );
        std::fs::write(&trust, format!("site {}\n", other.hex())).unwrap();
        assert_ne!(verify(&args).await, Exit::Done as u8);
    }
}
