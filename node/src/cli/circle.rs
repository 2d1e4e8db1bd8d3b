//! `fmesh circle`: who may see what, as they would see it.

use std::path::PathBuf;

use fmesh_proto::{
    circle::History,
    kinds::{Kind, OnEnd},
    taxonomy::Path,
};
use jiff::{Timestamp, civil::Date};

use super::{
    Context,
    client::Reply,
    failure::Failure,
    input,
    object::kind,
    table::{Table, extra, number, text},
    words::{count, list, printable},
};
use crate::api::view::{
    AudienceRequest, AudienceView, Circle, CircleChange, CirclePut, CircleRemove, Exit, Explain,
    Members, Preview, RuleRequest, RuleView, Sharing, SharingApplied, SharingChange, SharingPut,
    SiteName,
};

/// Longest list of circles that is read: far more than a person maintains.
const SHARING_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// All circles
    List,
    /// One circle: who, what
    Show {
        /// Its name
        circle: String,
    },
    /// Create a circle, or change it; without rules it shows nothing
    Set(Box<Set>),
    /// Add partners to a group circle
    Add {
        /// Its name
        circle: String,
        /// Partners, by name, site id or its beginning
        #[arg(required = true)]
        partners: Vec<String>,
        /// Show what would leave
        #[arg(long)]
        dry_run: bool,
    },
    /// Take partners out of a group circle: a new key for those who stay, the end of the grant for who leaves
    Drop {
        /// Its name
        circle: String,
        /// Partners, by name, site id or its beginning
        #[arg(required = true)]
        partners: Vec<String>,
        /// Show what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Take a circle away
    Remove {
        /// Its name
        circle: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Show what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// All circles as TOML, for apply here or for a look
    Export {
        /// Write to a file instead of stdout
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make the circles what a TOML file says, all or nothing
    Apply {
        /// The file; - is stdin
        file: PathBuf,
        /// Take away circles that the file does not name
        #[arg(long)]
        prune: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Show what would leave and what would not any more
        #[arg(long)]
        dry_run: bool,
    },
    /// What a partner sees of us, exactly
    Preview {
        /// Partner, by name, site id or its beginning
        #[arg(long = "as", value_name = "PARTNER")]
        partner: String,
    },
    /// Why a partner does or does not see an object
    Explain {
        /// Partner, by name, site id or its beginning
        partner: String,
        /// Our name for the object, or its id
        object: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    /// Its name, which never leaves this site
    circle: String,
    /// For one partner
    #[arg(long, value_name = "PARTNER", group = "audience")]
    to: Option<String>,
    /// For several partners
    #[arg(
        long,
        value_name = "PARTNER,PARTNER",
        value_delimiter = ',',
        group = "audience"
    )]
    group: Option<Vec<String>>,
    /// For all members
    #[arg(long, group = "audience")]
    mesh: bool,
    /// What it shows: site, resource, capacity
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',', value_parser = kind)]
    kinds: Vec<Kind>,
    /// Only with a process within this one (repeat)
    #[arg(long, value_name = "PATH", requires = "kinds", value_parser = Path::process)]
    process: Vec<Path>,
    /// Only these resources, and capacities on them
    #[arg(
        long = "resource",
        value_name = "RESOURCE",
        value_delimiter = ',',
        requires = "kinds"
    )]
    resources: Vec<String>,
    /// Only these objects
    #[arg(
        long = "object",
        value_name = "OBJECT",
        value_delimiter = ',',
        requires = "kinds"
    )]
    objects: Vec<String>,
    /// Only capacities that begin within so many weeks
    #[arg(long, requires = "kinds")]
    weeks: Option<u32>,
    /// Only these fields [default: all]
    #[arg(
        long,
        value_name = "FIELD,FIELD",
        value_delimiter = ',',
        requires = "kinds"
    )]
    slots: Option<Vec<String>>,
    /// Keep the rules that are there and add this one
    #[arg(long, requires = "kinds")]
    add_rule: bool,
    /// Rules as a JSON list, instead of the options above; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "kinds")]
    rules: Option<PathBuf>,
    /// Take all rules away: it shows nothing any more
    #[arg(long, conflicts_with_all = ["kinds", "rules"])]
    no_rules: bool,
    /// Why, as grants state it
    #[arg(long)]
    purpose: Option<String>,
    /// Last day on which it shows anything
    #[arg(long, value_name = "DATE")]
    until: Option<Date>,
    /// What a partner that enters a group is given of the past: none, current (each object as it is) or all (every revision) [default: current]
    ///
    /// It counts for those who enter from then on. It is for groups only: all members may read what was ever for all of them, and a circle
    /// of one partner has had the same reader all along.
    #[arg(long, value_name = "none|current|all")]
    history: Option<History>,
    /// What a partner that leaves a group is told to do with what it holds: keep, grey (out of search) or delete (and confirm) [default: grey]
    #[arg(long, value_name = "keep|grey|delete")]
    on_end: Option<OnEnd>,
    /// Show what would leave
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = context.client()?;
    let out = &context.out;
    match command {
        Command::List => {
            let reply = client.list(&["circles"], &[], usize::MAX).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            let empty = "No circles: partners see nothing. Create one: fmesh circle set NAME --to PARTNER --kind capacity";
            out.table(&circles(&reply.items()?), empty)
        }
        Command::Show { circle } => {
            let reply = client.get(&["circles", &circle], &[]).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            out.table(&show(&reply.read()?, Timestamp::now()), "")
        }
        Command::Set(set) => {
            let name = set.circle.clone();
            let mut put = set.put()?;
            if put.purpose.is_none() || put.until.is_none() {
                // what is not named stays
                if let Some(reply) =
                    super::object::maybe(client.get(&["circles", &name], &[]).await)?
                {
                    let before: Circle = reply.read()?;
                    put.purpose = put.purpose.or(before.purpose);
                    put.until = put.until.or(before.until);
                }
            }
            changed(context, &client.put(&["circles", &name], &put).await?)
        }
        Command::Add {
            circle,
            partners,
            dry_run,
        } => {
            let reply = client
                .post(
                    &["circles", &circle, "members"],
                    &Members { dry_run, partners },
                )
                .await?;
            changed(context, &reply)
        }
        Command::Drop {
            circle,
            partners,
            dry_run,
        } => {
            let asked = Members { dry_run, partners };
            let reply = client.post(&["circles", &circle, "drop"], &asked).await?;
            changed(context, &reply)
        }
        Command::Remove {
            circle,
            yes,
            dry_run,
        } => {
            if !dry_run {
                input::confirm(&format!("Take the circle {circle:?} away?"), yes)?;
            }
            let asked = CircleRemove { dry_run };
            let reply = client.post(&["circles", &circle, "remove"], &asked).await?;
            changed(context, &reply)
        }
        Command::Export { out: file } => {
            let reply = client.get(&["sharing"], &[]).await?;
            if file.is_none() && out.as_json(&reply.0)? {
                return Ok(());
            }
            let text = sharing_text(&reply.read()?)?;
            match file {
                None => out.data(&text),
                Some(path) => {
                    std::fs::write(&path, &text).map_err(|e| Failure::file(&path, "write", &e))?;
                    out.say(&format!("Written to {}.", path.display()));
                    Ok(())
                }
            }
        }
        Command::Apply {
            file,
            prune,
            yes,
            dry_run,
        } => {
            let sharing = read_sharing(&file)?;
            let asked = |dry_run| SharingPut {
                dry_run,
                prune,
                sharing: sharing.clone(),
            };
            let first = client.put(&["sharing"], &asked(true)).await?;
            let would: SharingApplied = first.read()?;
            if dry_run || would.changes.is_empty() {
                return applied(context, &first);
            }
            if !yes {
                // What would leave the house is seen before it is asked for.
                applied(context, &first)?;
            }
            input::confirm("Apply this?", yes)?;
            applied(context, &client.put(&["sharing"], &asked(false)).await?)
        }
        Command::Preview { partner } => {
            let reply = client.get(&["preview"], &[("as", Some(&partner))]).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            let seen: Preview = reply.read()?;
            out.say(&format!(
                "What {} sees of us, by circles: {}",
                seen.partner.name,
                list(&seen.circles)
            ));
            out.table(&preview(&seen), "Nothing, and we have nothing.")?;
            out.say(&format!(
                "{} visible, {} withheld.",
                seen.visible.len(),
                seen.withheld.len()
            ));
            Ok(())
        }
        Command::Explain { partner, object } => {
            let query = [
                ("partner", Some(partner.as_str())),
                ("object", Some(object.as_str())),
            ];
            let reply = client.get(&["explain"], &query).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            out.data(&explain(&reply.read()?))
        }
    }
}

/// The text of a file, with what is wrong in it by line.
fn read_sharing(path: &std::path::Path) -> Result<Sharing, Failure> {
    let text = input::file_text(path, SHARING_BYTES_MAX)?;
    toml::from_str(&text).map_err(|error| {
        Failure::input(format!("{} is no list of circles", path.display()))
            .why(error.to_string().trim_end().to_owned())
            .hint("fmesh circle export shows the form")
    })
}

fn sharing_text(sharing: &Sharing) -> Result<String, Failure> {
    let body = toml::to_string(sharing).map_err(|error| {
        Failure::new(Exit::Failed, "io", "the circles cannot be written as TOML")
            .why(error.to_string())
    })?;
    Ok(format!(
        "# Circles of this site. Change and apply: fmesh circle apply FILE --dry-run\n\n{body}"
    ))
}

fn applied(context: &Context, reply: &Reply) -> Result<(), Failure> {
    let out = &context.out;
    if out.as_json(&reply.0)? {
        return Ok(());
    }
    let applied: SharingApplied = reply.read()?;
    let mut table = Table::new(&[
        text("CIRCLE"),
        text("CHANGE"),
        text("FOR"),
        text("NOW SEEN"),
        text("NO LONGER SEEN"),
    ]);
    let seen = |change: &CircleChange, slots: fn(&SharingChange) -> &Vec<String>| {
        let objects: Vec<String> = change
            .changes
            .iter()
            .filter(|c| !slots(c).is_empty())
            .map(|c| format!("{} {} ({})", c.kind, c.key, list(slots(c))))
            .collect();
        list(&objects)
    };
    for change in &applied.changes {
        let word = match (change.new, change.removed) {
            (true, _) => "new",
            (_, true) => "taken away",
            _ => "changed",
        };
        table.row([
            change.circle.name.clone(),
            word.to_owned(),
            audience(&change.circle.audience),
            seen(change, |c| &c.opened),
            seen(change, |c| &c.closed),
        ]);
    }
    out.table(&table, "All circles are as the text says.")?;
    if !applied.unnamed.is_empty() {
        out.say(&format!(
            "Not in the text, and left as they are (--prune takes them away): {}",
            list(&applied.unnamed)
        ));
    }
    out.say(&format!(
        "{}{}: {} changed, {} the same; {}.",
        if applied.dry_run {
            "Dry run, nothing left. "
        } else {
            ""
        },
        count(applied.changes.len() as u64 + applied.same, "circle"),
        applied.changes.len(),
        applied.same,
        if applied.dry_run {
            format!("{} would be signed", count(applied.signed, "record"))
        } else {
            format!("{} signed", count(applied.signed, "record"))
        }
    ));
    Ok(())
}

impl Set {
    fn put(self) -> Result<CirclePut, Failure> {
        let audience = match (self.to, self.group, self.mesh) {
            (Some(partner), _, _) => Some(AudienceRequest::Partner { partner }),
            (_, Some(members), _) => Some(AudienceRequest::Group { members }),
            (_, _, true) => Some(AudienceRequest::Mesh),
            _ => None,
        };
        let named = !self.kinds.is_empty();
        let rules: Vec<RuleRequest> = match &self.rules {
            Some(path) => input::json(path, 1024 * 1024)?,
            None if named => vec![RuleRequest {
                kinds: self.kinds,
                process: self.process,
                resources: self.resources,
                objects: self.objects,
                weeks: self.weeks,
                slots: self.slots,
            }],
            None => Vec::new(),
        };
        Ok(CirclePut {
            dry_run: self.dry_run,
            audience,
            // nothing said about rules: they stay as they are
            keep_rules: self.add_rule || (!named && self.rules.is_none() && !self.no_rules),
            rules,
            purpose: self.purpose,
            until: self.until,
            history: self.history,
            on_end: self.on_end,
        })
    }
}

fn changed(context: &Context, reply: &Reply) -> Result<(), Failure> {
    let out = &context.out;
    if out.as_json(&reply.0)? {
        return Ok(());
    }
    let change: CircleChange = reply.read()?;
    out.table(&changes(&change), "It shows the same objects as before.")?;
    let names =
        |sites: &[SiteName]| list(&sites.iter().map(|s| s.name.as_str()).collect::<Vec<_>>());
    if !change.entering.is_empty() {
        out.say(&format!("Enter: {}", names(&change.entering)));
    }
    if !change.leaving.is_empty() {
        let told = match change.circle.on_end {
            None | Some(OnEnd::Keep) => "What they hold already, they keep",
            Some(OnEnd::Grey) => {
                "They are told to leave what they hold out of search; they keep it"
            }
            Some(OnEnd::Delete) => "They are told to delete what they hold, and to confirm it",
        };
        out.say(&format!("Leave: {}. {told}.", names(&change.leaving)));
    }
    let name = &change.circle.name;
    if change.removed {
        out.say(&if change.dry_run {
            format!("Dry run, nothing changed. {name} would be taken away.")
        } else {
            format!(
                "{name} is taken away; {} signed to supersede what it showed.",
                count(change.signed, "record")
            )
        });
        return Ok(());
    }
    out.say(&if change.dry_run {
        format!(
            "Dry run, nothing left. {name} would show {}.",
            count(change.circle.objects, "object")
        )
    } else {
        format!(
            "{name} shows {} today; {} signed for it.",
            count(change.circle.objects, "object"),
            count(change.signed, "record")
        )
    });
    if change.circle.rules.is_empty() {
        out.say(&format!(
            "It has no rules, so it shows nothing: fmesh circle set {name} --kind capacity,resource"
        ));
    }
    Ok(())
}

fn changes(change: &CircleChange) -> Table {
    let mut table = Table::new(&[
        text("KIND"),
        text("OBJECT"),
        text("NOW SEEN"),
        text("NO LONGER SEEN"),
        extra("ID"),
    ]);
    for c in &change.changes {
        table.row([
            c.kind.to_string(),
            c.key.clone(),
            list(&c.opened),
            list(&c.closed),
            c.id.to_string(),
        ]);
    }
    table
}

fn audience(audience: &AudienceView) -> String {
    match audience {
        AudienceView::Mesh => "all members".to_owned(),
        AudienceView::Partner { partner } => partner.name.clone(),
        AudienceView::Group { members } if members.is_empty() => "nobody yet".to_owned(),
        AudienceView::Group { members } => {
            list(&members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>())
        }
    }
}

/// A rule as a sentence: `capacity, process separating/milling, next 8 weeks: available, name`.
fn rule(rule: &RuleView) -> String {
    let mut text = list(&rule.kinds);
    let mut condition = |name: &str, items: String| {
        if items != "-" {
            text += &format!(", {name} {items}");
        }
    };
    condition("process", list(&rule.process));
    condition("on", list(&rule.resources));
    condition("only", list(&rule.objects));
    if let Some(weeks) = rule.weeks {
        text += &format!(", next {}", count(weeks.into(), "week"));
    }
    match &rule.slots {
        None => text + ": all fields",
        Some(slots) => format!("{text}: {}", list(slots)),
    }
}

fn circles(circles: &[Circle]) -> Table {
    let mut table = Table::new(&[
        text("CIRCLE"),
        text("FOR"),
        text("SHOWS"),
        number("OBJECTS"),
        text("UNTIL"),
        extra("PURPOSE"),
        extra("ID"),
    ]);
    for c in circles {
        let rules: Vec<String> = c.rules.iter().map(rule).collect();
        table.row([
            c.name.clone(),
            audience(&c.audience),
            if rules.is_empty() {
                "nothing".to_owned()
            } else {
                rules.join("; ")
            },
            c.objects.to_string(),
            match c.until {
                Some(until) if c.ended => format!("ended {until}"),
                Some(until) => until.to_string(),
                None => "-".to_owned(),
            },
            c.purpose.clone().unwrap_or_else(|| "-".to_owned()),
            c.id.hex(),
        ]);
    }
    table
}

fn show(c: &Circle, now: Timestamp) -> Table {
    let mut table = Table::new(&[text("CIRCLE"), text("")]);
    table.title(1, printable(&c.name));
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    line("for", audience(&c.audience));
    if c.rules.is_empty() {
        line("shows", "nothing: it has no rules".to_owned());
    }
    for (i, r) in c.rules.iter().enumerate() {
        line(&format!("rule {}", i + 1), rule(r));
    }
    line("objects today", c.objects.to_string());
    line(
        "purpose",
        c.purpose.clone().unwrap_or_else(|| "-".to_owned()),
    );
    let until = c
        .until
        .map_or_else(|| "no end".to_owned(), |d| d.to_string());
    line(
        "until",
        if c.ended {
            format!("{until}, ended")
        } else {
            until
        },
    );
    if let Some(history) = c.history {
        line(
            "who enters is given",
            match history {
                History::None => "what comes from then on",
                History::Current => "each object as it is",
                History::All => "every revision",
            }
            .to_owned(),
        );
    }
    if let Some(on_end) = c.on_end {
        line(
            "who leaves is told to",
            match on_end {
                OnEnd::Keep => "keep what it holds",
                OnEnd::Grey => "leave what it holds out of search",
                OnEnd::Delete => "delete the values, and confirm it",
            }
            .to_owned(),
        );
    }
    for delivery in &c.delivery {
        line(
            &delivery.partner.name,
            super::partner::delivered(delivery, now),
        );
    }
    for deletion in &c.deletions {
        line("left", super::partner::deleted(deletion, now));
    }
    line("id", c.id.hex());
    table
}

/// A line an object: what is seen of it, what is not, and why not.
fn preview(seen: &Preview) -> Table {
    let mut table = Table::new(&[
        text("KIND"),
        text("OBJECT"),
        text("SEEN"),
        text("WITHHELD"),
        text("BY"),
        extra("ID"),
    ]);
    for object in seen.visible.iter().chain(&seen.withheld) {
        let slots = |shown: bool| {
            list(
                &object
                    .slots
                    .iter()
                    .filter(|s| s.shown == shown)
                    .map(|s| s.slot.as_str())
                    .collect::<Vec<_>>(),
            )
        };
        table.row([
            object.kind.to_string(),
            object.key.clone(),
            slots(true),
            if object.why.is_some() {
                "everything".to_owned()
            } else {
                slots(false)
            },
            object.why.clone().unwrap_or_else(|| list(&object.circles)),
            object.id.to_string(),
        ]);
    }
    table
}

fn explain(e: &Explain) -> String {
    let mut text = format!(
        "{} {} {} {}\n",
        e.partner.name,
        if e.visible { "sees" } else { "does not see" },
        e.kind,
        e.key,
    );
    let rule = match (&e.circle, e.rule) {
        (Some(circle), Some(rule)) => format!(" (circle {circle}, rule {rule})"),
        (Some(circle), None) => format!(" (circle {circle})"),
        _ => String::new(),
    };
    text += &format!("  because   {}{rule}\n", e.because);
    if e.visible {
        text += &format!(
            "  shown     {}\n  withheld  {}\n",
            list(&e.shown),
            list(&e.withheld)
        );
    }
    for answer in &e.circles {
        let says = if answer.visible {
            "shows it"
        } else {
            "does not"
        };
        text += &format!("  circle {}: {says}, {}\n", answer.circle, answer.why);
    }
    text += &format!("  to change it: {}\n", e.command);
    text.lines().map(|line| printable(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(options: &[&str]) -> Result<CirclePut, String> {
        use clap::{Args as _, FromArgMatches as _};
        let matches = Set::augment_args(clap::Command::new("set"))
            .try_get_matches_from(["set", "near"].iter().chain(options).copied())
            .map_err(|e| e.to_string())?;
        Set::from_arg_matches(&matches)
            .map_err(|e| e.to_string())?
            .put()
            .map_err(|f| f.what)
    }

    #[test]
    fn rules_stay_unless_they_are_named() {
        assert!(put(&["--purpose", "x"]).unwrap().keep_rules);
        let none = put(&["--no-rules"]).unwrap();
        assert!(!none.keep_rules && none.rules.is_empty());
        let replaced = put(&[
            "--to",
            "bolt",
            "--kind",
            "capacity,resource",
            "--slots",
            "name,available",
            "--weeks",
            "8",
        ])
        .unwrap();
        assert!(!replaced.keep_rules);
        assert_eq!(replaced.rules[0].kinds, [Kind::Capacity, Kind::Resource]);
        assert_eq!(
            replaced.audience,
            Some(AudienceRequest::Partner {
                partner: "bolt".into()
            })
        );
        let added = put(&["--kind", "site", "--add-rule"]).unwrap();
        assert!(added.keep_rules && added.rules.len() == 1);
        for bad in [
            &["--slots", "name"][..],
            &["--to", "a", "--mesh"],
            &["--kind", "keys"],
            &["--no-rules", "--kind", "site"],
        ] {
            assert!(put(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_rule_reads_as_a_sentence() {
        let mut r = RuleView {
            kinds: vec![Kind::Capacity],
            process: vec!["separating/milling".parse().unwrap()],
            resources: Vec::new(),
            objects: Vec::new(),
            weeks: Some(8),
            slots: Some(vec!["available".into(), "name".into()]),
        };
        assert_eq!(
            rule(&r),
            "capacity, process separating/milling, next 8 weeks: available, name"
        );
        r = RuleView {
            process: Vec::new(),
            weeks: None,
            slots: None,
            ..r
        };
        assert_eq!(rule(&r), "capacity: all fields");
    }

    #[test]
    fn a_preview_says_what_is_seen_and_why_not() {
        use crate::api::view::{PreviewObject, SlotPreview};
        use fmesh_proto::id::{ObjectId, SiteId};
        let slot = |slot: &str, shown| SlotPreview {
            slot: slot.into(),
            shown,
            value: serde_json::Value::Null,
        };
        let object = |key: &str, shown: bool, why: Option<&str>| PreviewObject {
            kind: Kind::Capacity,
            key: key.into(),
            id: ObjectId::from_random([1; 16]),
            circles: if shown {
                vec!["near".into()]
            } else {
                Vec::new()
            },
            slots: vec![slot("available", shown), slot("total", false)],
            why: why.map(Into::into),
        };
        let seen = Preview {
            partner: SiteName {
                site: SiteId([1; 32]),
                name: "Carbo SA".into(),
                fingerprint: String::new(),
            },
            today: "2026-11-22".parse().unwrap(),
            circles: vec!["near".into()],
            visible: vec![object("DMU-80", true, None)],
            withheld: vec![object(
                &"PRESS-".repeat(20),
                false,
                Some("no rule of circle near selects it"),
            )],
        };
        let text = preview(&seen).render(Some(80), None).unwrap();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[1],
            ["capacity", "DMU-80", "available", "total", "near"]
        );
        assert_eq!(lines[2][2..4], ["-", "everything"]);
        assert!(
            text.lines().count() == 3 && text.lines().all(|l| l.chars().count() <= 80),
            "{text}"
        );
    }
}
