//! `fmesh audit`: check what others signed. Offline: no node, no configuration, no network.

use std::path::{Path, PathBuf};

use fmesh_proto::{
    audit::{Evidence, Report, TrustAnchors, Verdict, verify_record},
    limits,
};
use serde_json::json;

use super::{Context, failure::Failure, input::file_bytes, words::printable};
use crate::api::view::Exit;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Check one exported record: proven 0, refuted 10, not proven 11
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// The record, *.sdjwt
    record: PathBuf,
    /// Its proof [default: the file beside it that ends in .tlog-proof, if there]
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// The site's key manifest [default: the file beside it that ends in .keys.sdjwt, if there]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// A later keys record of the site, in the order of its log (repeat)
    #[arg(long = "keys", value_name = "FILE")]
    rotations: Vec<PathBuf>,
    /// A checkpoint of the same log that you got another way
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Whom you trust: lines "site HEX NAME", "mesh HEX", "witness VKEY". Yours, never from the sender of the record
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
}

pub(crate) fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    let Command::Verify(verify) = command;
    let anchors = TrustAnchors::parse(&file_bytes(&verify.trust, TrustAnchors::BYTES_MAX)?).map_err(|error| {
        Failure::input("the trust anchors cannot be read")
            .why(format!("{}: {error}", verify.trust.display()))
            .hint("one a line: site <64 hex digits> [name], mesh <64 hex digits>, witness <vkey>, # comment")
    })?;
    let report = verify_record(&evidence(&verify)?, &anchors);
    show(context, &report)?;
    Ok(exit(report.verdict))
}

fn evidence(verify: &Verify) -> Result<Evidence, Failure> {
    let view = |path: &Path| file_bytes(path, limits::VIEW_BYTES_MAX + 1);
    let beside = |given: &Option<PathBuf>, end: &str| {
        given
            .clone()
            .or_else(|| Some(sibling(&verify.record, end)).filter(|path| path.exists()))
    };
    let note = |path: PathBuf| file_bytes(&path, limits::CHECKPOINT_BYTES_MAX * 2);
    Ok(Evidence {
        record: trimmed(view(&verify.record)?),
        proof: beside(&verify.proof, "tlog-proof").map(note).transpose()?,
        manifest: beside(&verify.manifest, "keys.sdjwt")
            .map(|path| view(&path).map(trimmed))
            .transpose()?,
        rotations: verify
            .rotations
            .iter()
            .map(|path| view(path).map(trimmed))
            .collect::<Result<_, _>>()?,
        checkpoint: verify.checkpoint.clone().map(note).transpose()?,
    })
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
