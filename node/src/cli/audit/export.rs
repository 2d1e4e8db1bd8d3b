//! `fmesh audit export`: asks the running node for the parts, puts the bundle together, writes it.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fmesh_proto::{
    audit::{
        bundle::{LogSource, Selection, Tree, WriteError, Writer},
        fork::ForkProof,
    },
    id::{Digest, SiteId},
    kinds::Kind,
    note::Checkpoint,
    record::View,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::json;

use super::super::{Context, client::Client, failure::Failure, object::named};
use crate::{
    api::view::{AuditLeaf, AuditLeaves, AuditLog, Exit, Partner},
    bundle::Target,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The bundle: a tar if it ends in .tar, else a new directory
    #[arg(long, value_name = "FILE|DIR")]
    out: PathBuf,
    /// Only this site's log: a partner's name, a site id, or self (repeat) [default: all that we hold]
    #[arg(long = "site", value_name = "SITE")]
    sites: Vec<String>,
    /// Only records that their authors signed at or after this day (UTC), or time
    #[arg(long, value_name = "DAY", value_parser = moment)]
    since: Option<u64>,
    /// Only records from before this day (UTC), or time
    #[arg(long, value_name = "DAY", value_parser = moment)]
    until: Option<u64>,
    /// Only this kind (repeat)
    #[arg(long = "kind", value_parser = named::<Kind>)]
    kinds: Vec<Kind>,
    /// Only this object, by our name for it, its id, or the beginning of one (repeat)
    #[arg(long = "object", value_name = "OBJECT")]
    objects: Vec<String>,
    /// Our own records as this partner's circles disclose them [default: everything opened]
    #[arg(long, value_name = "PARTNER")]
    to: Option<String>,
    /// Say what would leave, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// `2026-01-31`, or a time like `2026-01-31T12:00:00Z`; unix seconds.
fn moment(text: &str) -> Result<u64, String> {
    let time = text.parse::<Timestamp>().or_else(|_| {
        let day: Date = text.parse()?;
        Ok::<_, jiff::Error>(day.to_zoned(TimeZone::UTC)?.timestamp())
    });
    time.ok()
        .and_then(|time| u64::try_from(time.as_second()).ok())
        .ok_or_else(|| "write a day like 2026-01-31, or a time like 2026-01-31T12:00:00Z".into())
}

/// Counts for people and programs.
struct Count {
    site: String,
    leaves: u64,
    shown: u64,
    withheld: u64,
}

pub(super) async fn run(context: &Context, args: Export) -> Result<(), Failure> {
    let client = context.client()?;
    let mut logs = heads(context, &client, &args).await?;
    logs.sort_by_key(|log| log.site.site);
    logs.dedup_by_key(|log| log.site.site);
    let made_by = logs.first().map(|log| log.made_by);
    let reader = match &args.to {
        None => None,
        Some(partner) => {
            let partner: Partner = client.get(&["partners", partner], &[]).await?.read()?;
            Some(partner.site)
        }
    };
    let selection = Selection {
        sites: match args.sites.is_empty() && args.to.is_none() {
            true => Vec::new(),
            false => logs.iter().map(|log| log.site.site).collect(),
        },
        since: args.since,
        until: args.until,
        kinds: args.kinds.clone(),
        objects: args.objects.clone(),
        reader,
    };
    let mut target = match args.dry_run {
        true => None,
        false => Some(Target::create(&args.out).map_err(|error| not_written(&args, &error))?),
    };
    let made = write(
        context,
        &client,
        &args,
        logs,
        (made_by, selection),
        target.as_mut(),
    )
    .await;
    let counts = match (made, target) {
        (Err(failure), target) => {
            if let Some(target) = target {
                target.abandon();
            }
            return Err(failure);
        }
        (Ok(counts), None) => counts,
        (Ok(counts), Some(target)) => {
            target
                .finish()
                .map_err(|error| not_written(&args, &error))?;
            counts
        }
    };
    show(context, &args, &counts)
}

fn not_written(args: &Export, error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        return Failure::new(Exit::Conflict, "conflict", "nothing was written")
            .why(error.to_string())
            .hint("choose another name with --out, or remove what is there");
    }
    Failure::file(&args.out, "write", error)
}

/// The logs that were asked for, or all that are here.
async fn heads(
    context: &Context,
    client: &Client,
    args: &Export,
) -> Result<Vec<AuditLog>, Failure> {
    let mut logs = Vec::new();
    let mut names = args.sites.clone();
    let all = names.is_empty() && args.to.is_none();
    if names.is_empty() {
        names.push("self".into());
    }
    if all {
        let partners = client.list(&["partners"], &[], usize::MAX).await?;
        let partners: Vec<Partner> = partners.items()?;
        names.extend(partners.into_iter().map(|partner| partner.site.hex()));
    }
    for name in names {
        match client.get(&["audit", &name], &[]).await {
            Ok(reply) => logs.push(reply.read()?),
            // Nothing of this partner has arrived yet.
            Err(failure) if all && failure.exit == Exit::Conflict => {
                context.out.say(&format!("left out: {}", failure.what));
            }
            Err(failure) => return Err(failure),
        }
    }
    match logs.is_empty() {
        true => Err(
            Failure::new(Exit::Conflict, "conflict", "there is no log to export")
                .why("neither we nor a partner has published anything")
                .hint("fmesh status"),
        ),
        false => Ok(logs),
    }
}

async fn write(
    context: &Context,
    client: &Client,
    args: &Export,
    logs: Vec<AuditLog>,
    (made_by, selection): (Option<SiteId>, Selection),
    mut target: Option<&mut Target>,
) -> Result<Vec<Count>, Failure> {
    let bar = context.out.bar(logs.iter().map(|log| log.size).sum());
    let mut counts = Vec::new();
    let mut writer = Writer::new(|name: &str, bytes: &[u8]| match &mut target {
        Some(target) => target.put(name, bytes),
        None => Ok(()),
    });
    let failed = |error: WriteError<std::io::Error>| match error {
        WriteError::Sink(error) => not_written(args, &error),
        other => Failure::new(Exit::Failed, "internal", "the bundle cannot be made")
            .why(other.to_string()),
    };
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let (since, until) = (number(args.since), number(args.until));
    let kinds = joined(args.kinds.iter().map(Kind::to_string));
    let objects = joined(args.objects.iter().cloned());
    let proofs = logs
        .iter()
        .flat_map(|log| &log.forks)
        .map(|text| ForkProof::decode(text.as_bytes()).map_err(|why| unreadable(&why.to_string())))
        .collect::<Result<Vec<_>, _>>()?;
    writer.forks(&proofs).map_err(failed)?;
    for log in logs {
        let site = log.site.site.hex();
        let name = log.site.name.clone();
        let size = log.size;
        writer.log(source(client, &log).await?).map_err(failed)?;
        let (mut after, mut shown) = (None, log.keys.len() as u64);
        loop {
            let (size, cursor) = (size.to_string(), after.take());
            let query = [
                ("size", Some(size.as_str())),
                ("after", cursor.as_deref()),
                ("since", since.as_deref()),
                ("until", until.as_deref()),
                ("kinds", kinds.as_deref()),
                ("objects", objects.as_deref()),
                ("as", args.to.as_deref()),
            ];
            let page = client.get(&["audit", &site, "records"], &query).await?;
            let items: Vec<AuditLeaf> = page.items()?;
            for item in &items {
                match (&item.record, item.withheld) {
                    (Some(record), _) => {
                        let view = View::decode(record.as_bytes())
                            .map_err(|why| unreadable(&why.to_string()))?;
                        writer.record(item.leaf, &view).map_err(failed)?;
                        shown += 1;
                    }
                    (None, Some(reason)) => writer.withhold(item.leaf, reason).map_err(failed)?,
                    (None, None) => return Err(unreadable("a leaf without record and reason")),
                }
            }
            bar.inc(items.len() as u64);
            match page.0["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => break,
            }
        }
        counts.push(Count {
            site: name,
            leaves: size,
            shown,
            withheld: size.saturating_sub(shown),
        });
    }
    let _sink = writer.finish(made_by, selection).map_err(failed)?;
    bar.finish_and_clear();
    Ok(counts)
}

/// The parts that come before the records.
async fn source(client: &Client, log: &AuditLog) -> Result<LogSource, Failure> {
    let note = |text: &String| {
        Checkpoint::parse(text.as_bytes()).map_err(|why| unreadable(&why.to_string()))
    };
    let site = log.site.site.hex();
    let mut leaves: Vec<Digest> = Vec::new();
    let to = log.size.to_string();
    while (leaves.len() as u64) < log.size {
        let from = leaves.len().to_string();
        let query = [("from", Some(from.as_str())), ("to", Some(to.as_str()))];
        let page: AuditLeaves = client
            .get(&["audit", &site, "leaves"], &query)
            .await?
            .read()?;
        let bytes = STANDARD
            .decode(&page.hashes)
            .map_err(|why| unreadable(&why.to_string()))?;
        let before = leaves.len();
        leaves.extend(bytes.chunks(32).filter_map(Digest::from_slice));
        if leaves.len() == before {
            return Err(Failure::new(
                Exit::Conflict,
                "conflict",
                "the log is not complete here yet",
            )
            .why(format!(
                "{before} of {} leaf hashes of {} are here",
                log.size, log.site.name
            ))
            .hint("wait until catching up has finished: fmesh status"));
        }
    }
    let view = |(leaf, text): &(u64, String)| {
        let view = View::decode(text.as_bytes()).map_err(|why| unreadable(&why.to_string()))?;
        Ok::<_, Failure>((*leaf, view))
    };
    Ok(LogSource {
        site: log.site.site,
        checkpoint: note(&log.checkpoint)?,
        older: log.older.iter().map(note).collect::<Result<_, _>>()?,
        keys: log.keys.iter().map(view).collect::<Result<_, _>>()?,
        tree: Tree::new(leaves),
    })
}

fn joined(parts: impl Iterator<Item = String>) -> Option<String> {
    let text = parts.collect::<Vec<_>>().join(",");
    (!text.is_empty()).then_some(text)
}

fn unreadable(why: &str) -> Failure {
    Failure::new(Exit::Failed, "internal", "the node's answer cannot be read")
        .why(why)
        .hint("use the same version of fmesh for the node and for the commands: fmesh version")
}

fn show(context: &Context, args: &Export, counts: &[Count]) -> Result<(), Failure> {
    let out = &context.out;
    if out.json {
        let logs: Vec<_> = counts
            .iter()
            .map(|count| json!({"site": count.site, "leaves": count.leaves, "shown": count.shown, "withheld": count.withheld}))
            .collect();
        return out.value(&json!({
            "schema": "fmesh.audit-export.v1", "out": args.out, "written": !args.dry_run, "logs": logs,
        }));
    }
    for count in counts {
        out.say(&format!(
            "{}: {} of {} leaves shown, {} withheld with a reason",
            count.site, count.shown, count.leaves, count.withheld
        ));
    }
    if args.dry_run {
        out.say("Nothing was written.");
        return Ok(());
    }
    out.data(&format!("{}\n", args.out.display()))?;
    out.say(&format!(
        "The auditor writes the trust anchors, from you in person and not from the bundle, and checks:\n  fmesh audit verify {} --trust anchors.txt",
        args.out.display()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_are_read_as_utc() {
        assert_eq!(moment("1970-01-02"), Ok(86_400));
        assert_eq!(moment("1970-01-01T00:00:05Z"), Ok(5));
        for bad in ["", "yesterday", "2026-13-01", "1969-12-31"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
