//! `fmesh record`: signed records as they stand in logs, and the files that prove one to an outsider.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;

use super::{
    Context,
    failure::Failure,
    object::named,
    table::{Table, extra, number, text},
    words::{age, fingerprint_short, list, shown},
};
use crate::api::view::{
    Delivered, Record, RecordCore, RecordDelivery, RecordExport, RecordHead, Sighting,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Our log, or what we hold of a partner's
    List {
        /// A partner's, by name, site id or its beginning [default: our own]
        #[arg(long, value_name = "PARTNER")]
        partner: Option<String>,
        /// Only this kind
        #[arg(long, value_parser = named::<fmesh_proto::kinds::Kind>)]
        kind: Option<fmesh_proto::kinds::Kind>,
        /// Only this object, by our name for it or its id
        #[arg(long)]
        object: Option<String>,
        /// Only the newest revision of each object
        #[arg(long)]
        current: bool,
        /// At most so many
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// One record
    Show {
        /// Leaf of our log, like 12; or of a partner's, like bolt-nord/12
        record: Leaf,
    },
    /// Its signed bytes, as they were signed: a JWS that any JWT tool reads
    Core {
        /// Leaf of our log, like 12; or of a partner's, like bolt-nord/12
        record: Leaf,
    },
    /// The three files that an outsider needs to check it: record, proof, key manifest
    Export {
        /// Leaf of our log, like 12; or of a partner's, like bolt-nord/12
        record: Leaf,
        /// Into this directory
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
        /// Open only this slot (repeat), and say nothing of circles: for an auditor who has the rest [default: all]
        #[arg(long = "slot", value_name = "SLOT")]
        slots: Vec<String>,
        /// Replace files that are there
        #[arg(long)]
        force: bool,
    },
}

/// A place in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    site: String,
    seq: u64,
}

impl std::str::FromStr for Leaf {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (site, seq) = text.rsplit_once('/').unwrap_or(("self", text));
        match seq.parse() {
            Ok(seq) if !site.is_empty() => Ok(Self {
                site: site.to_owned(),
                seq,
            }),
            _ => Err("write a leaf like 12, or PARTNER/12".to_owned()),
        }
    }
}

pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = context.client()?;
    let out = &context.out;
    let get = async |leaf: &Leaf, part: &[&str], slots: Option<&str>| {
        let seq = leaf.seq.to_string();
        let path = [&["records", &leaf.site, &seq], part].concat();
        client.get(&path, &[("slots", slots)]).await
    };
    match command {
        Command::List {
            partner,
            kind,
            object,
            current,
            limit,
        } => {
            let (kind, page) = (kind.map(|k| k.to_string()), limit.min(500).to_string());
            let query = [
                ("of", partner.as_deref()),
                ("kind", kind.as_deref()),
                ("object", object.as_deref()),
                ("current", current.then_some("true")),
                ("limit", Some(page.as_str())),
            ];
            let reply = client.list(&["records"], &query, limit as usize).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            let items: Vec<RecordHead> = reply.items()?;
            out.table(&records(&items, Timestamp::now()), "No records.")?;
            if reply.0["next"].is_string() {
                out.say("There are more: --limit N");
            }
            Ok(())
        }
        Command::Show { record } => {
            let reply = get(&record, &[], None).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            out.table(&show(&reply.read()?, Timestamp::now()), "")
        }
        Command::Core { record } => {
            let reply = get(&record, &["core"], None).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            let core: RecordCore = reply.read()?;
            out.data(&format!("{}\n", core.core))?;
            out.say(&format!(
                "Signed by {} with the Ed25519 key {}",
                core.site.name, core.key
            ));
            Ok(())
        }
        Command::Export {
            record,
            out: dir,
            slots,
            force,
        } => {
            let slots = (!slots.is_empty()).then(|| slots.join(","));
            let reply = get(&record, &["export"], slots.as_deref()).await?;
            let export: RecordExport = reply.read()?;
            let files = write(&export, &dir, force)?;
            if out.json {
                return out.value(&json!({ "schema": "fmesh.record-files.v1", "files": files, "vkey": export.vkey }));
            }
            for file in &files {
                out.data(&format!("{}\n", file.display()))?;
            }
            out.say(&format!(
                "The auditor writes the trust anchor, from you in person and not from these files:\n  site {} {}\nand checks: fmesh audit verify {} --trust anchors.txt",
                export.site.site.hex(),
                export.site.name,
                files[0].display(),
            ));
            Ok(())
        }
    }
}

/// Writes `<stem>.sdjwt`, `<stem>.tlog-proof`, `<stem>.keys.sdjwt` and for each rotation `<stem>.keys.2.sdjwt`, ..., where `audit verify` looks for them.
fn write(export: &RecordExport, dir: &Path, force: bool) -> Result<Vec<PathBuf>, Failure> {
    std::fs::create_dir_all(dir).map_err(|error| Failure::file(dir, "write", &error))?;
    let stem = format!("{}-{}", export.site.site, export.seq);
    let mut parts = vec![
        ("sdjwt".to_owned(), &export.record),
        ("tlog-proof".to_owned(), &export.proof),
        ("keys.sdjwt".to_owned(), &export.manifest),
    ];
    for (n, rotation) in export.rotations.iter().enumerate() {
        parts.push((format!("keys.{}.sdjwt", n + 2), rotation));
    }
    let files: Vec<PathBuf> = parts
        .iter()
        .map(|(end, _)| dir.join(format!("{stem}.{end}")))
        .collect();
    if let Some(there) = files.iter().find(|f| !force && f.exists()) {
        return Err(Failure::new(
            crate::api::view::Exit::Conflict,
            "conflict",
            "nothing was written",
        )
        .why(format!("{} exists already", there.display()))
        .hint("choose another directory with --out, or add --force"));
    }
    for (file, (_, text)) in files.iter().zip(&parts) {
        std::fs::write(file, text).map_err(|error| Failure::file(file, "write", &error))?;
    }
    Ok(files)
}

fn records(items: &[RecordHead], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        number("LEAF"),
        text("KIND"),
        text("OBJECT"),
        number("REV"),
        text("STATE"),
        text("SIGNED"),
        text("BY"),
        extra("RECEIVED"),
        extra("ID"),
        extra("CORE"),
    ]);
    for r in items {
        table.row([
            r.seq.to_string(),
            r.kind.to_string(),
            object(r),
            r.rev.to_string(),
            state(r).to_owned(),
            age(r.signed, now),
            r.site.name.clone(),
            age(r.received, now),
            r.id.to_string(),
            r.core.hex(),
        ]);
    }
    table
}

fn object(r: &RecordHead) -> String {
    r.key
        .clone()
        .unwrap_or_else(|| r.id.to_string()[..8].to_owned())
}

fn state(r: &RecordHead) -> &'static str {
    if r.void {
        return "void";
    }
    if r.ended {
        return "ended";
    }
    match (r.retired, r.current) {
        (true, _) => "retired",
        (false, true) => "current",
        (false, false) => "older",
    }
}

fn show(r: &Record, now: Timestamp) -> Table {
    let mut table = Table::new(&[text("RECORD"), text("")]);
    let head = &r.head;
    table.title(
        1,
        super::words::printable(&format!("{}/{}", head.site.name, head.seq)),
    );
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    line("kind", head.kind.to_string());
    line("object", format!("{}  {}", object(head), head.id));
    line("revision", format!("{}, {}", head.rev, state(head)));
    line(
        "signed",
        format!(
            "{} by {}  {}",
            age(head.signed, now),
            head.site.name,
            fingerprint_short(&head.site.fingerprint)
        ),
    );
    line("received", age(head.received, now));
    for (slot, value) in &r.slots {
        line(
            slot,
            shown(value, |v| {
                v.as_str().map_or_else(|| v.to_string(), str::to_owned)
            }),
        );
    }
    line("core", head.core.hex());
    line(
        "before",
        r.prev
            .map_or_else(|| "first revision".to_owned(), |d| d.hex()),
    );
    line("leaf hash", r.leaf.hex());
    line(
        "mesh",
        r.mesh.map_or_else(|| "none".to_owned(), |m| m.hex()),
    );
    let feeds: Vec<String> = r
        .feeds
        .iter()
        .map(|(circle, at)| format!("{circle} no. {at}"))
        .collect();
    for delivery in &r.delivery {
        let circle = delivery.circle_name.as_deref().unwrap_or("all members");
        line(&format!("in {circle}"), delivered(delivery, now));
    }
    if !r.seen.is_empty() {
        line("seen no later", seen(&r.seen));
    }
    line(
        "feeds",
        format!("{} of {} circles", list(&feeds), r.feeds_total),
    );
    table
}

/// When a record was seen at the latest: `2026-11-23 08:05:01 UTC by Bolt Nord; by 2 witnesses 2026-11-23 08:05:02 UTC`.
fn seen(seen: &[Sighting]) -> String {
    let at = |s: &Sighting| s.by.strftime("%F %T UTC").to_string();
    let Some((first, rest)) = seen.split_first() else {
        return String::new();
    };
    let mut text = format!("{} by {}", at(first), first.witness.name);
    if let Some(last) = rest.last() {
        text += &format!("; {} by all {} witnesses", at(last), seen.len());
    }
    text
}

/// Who has a record: `Bolt Nord since 2 h ago; waits for Carbo SA`.
fn delivered(delivery: &RecordDelivery, now: Timestamp) -> String {
    let has = |d: &Delivered| format!("{} since {}", d.partner.name, age(d.by, now));
    let shown = delivery.delivered.iter().take(NAMED_MAX).map(has);
    let mut has = shown.collect::<Vec<_>>().join(", ");
    if delivery.delivered.len() > NAMED_MAX {
        has += &format!(" and {} more", delivery.delivered.len() - NAMED_MAX);
    }
    let waits: Vec<String> = delivery
        .waiting
        .iter()
        .take(NAMED_MAX)
        .map(|w| w.name.clone())
        .collect();
    let more = match delivery.waiting.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match (has.is_empty(), waits.is_empty()) {
        (true, true) => "for nobody".to_owned(),
        (false, true) => has,
        (true, false) => format!("waits for {}{more}", list(&waits)),
        (false, false) => format!("{has}; waits for {}{more}", list(&waits)),
    }
}

/// Partners that one line names.
const NAMED_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use fmesh_proto::id::SiteId;

    use super::*;
    use crate::api::view::SiteName;

    #[test]
    fn leaves_are_read() {
        let leaf = |text: &str| text.parse::<Leaf>();
        assert_eq!(
            leaf("12"),
            Ok(Leaf {
                site: "self".into(),
                seq: 12
            })
        );
        assert_eq!(
            leaf("Bolt Nord/3"),
            Ok(Leaf {
                site: "Bolt Nord".into(),
                seq: 3
            })
        );
        assert_eq!(
            leaf("a/b/3"),
            Ok(Leaf {
                site: "a/b".into(),
                seq: 3
            })
        );
        for bad in ["", "x", "a/", "/3", "-1"] {
            assert!(leaf(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn exported_files_are_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let export = RecordExport {
            site: SiteName {
                site: SiteId([0xab; 32]),
                name: "A".into(),
                fingerprint: String::new(),
            },
            seq: 4,
            record: "r".into(),
            proof: "p".into(),
            manifest: "m".into(),
            rotations: vec!["k".into()],
            vkey: "v".into(),
        };
        let files = write(&export, dir.path(), false).unwrap();
        let names: Vec<_> = files
            .iter()
            .map(|f| f.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "abababab-4.sdjwt",
                "abababab-4.tlog-proof",
                "abababab-4.keys.sdjwt",
                "abababab-4.keys.2.sdjwt"
            ]
        );
        std::fs::remove_file(&files[0]).unwrap();
        assert_eq!(write(&export, dir.path(), false).unwrap_err().exit as u8, 6);
        assert!(!files[0].exists());
        assert_eq!(write(&export, dir.path(), true).unwrap(), files);
    }
}
