//! `fmesh capacity`: free and promised hours by week or day.

use std::path::PathBuf;

use fmesh_proto::{
    kinds::Bucket,
    quantity::{Quantity, Unit},
    taxonomy::Path,
    week::Week,
};
use jiff::{Timestamp, ToSpan as _, civil::Date};

use super::{
    Context,
    failure::Failure,
    import, input,
    input::confirm,
    object::{Whose, cell, changed, head_lines, key, maybe, named, origin, value},
    table::{Table, extra, number, text},
    words::{amount, list, shown, shown_short},
};
use crate::api::view::{
    Amount, Capacity, CapacityFields, CapacityPut, CapacitySlots, Column, Retire, Shown,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Ours, or a partner's as they show it
    List {
        #[command(flatten)]
        whose: Whose,
        /// Also those that were ended
        #[arg(long)]
        retired: bool,
    },
    /// One capacity, bucket by bucket
    Show {
        /// Our name for it, its id or the beginning of one
        capacity: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Create or change one; what is not named stays as it is
    Set(Box<Set>),
    /// End one
    Retire {
        /// Our name for it, its id or the beginning of one
        capacity: String,
        /// Show what would change
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Create or replace many from a spreadsheet (csv, xlsx), or one from a shift calendar (ics): all rows or none
    Import(import::CapacityArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    /// Our name for it, like DMU-80-2026Q4
    key: String,
    /// Name that partners read
    #[arg(long)]
    name: Option<String>,
    /// Resource that has it, by our name or id (repeat)
    #[arg(long = "resource", value_name = "RESOURCE")]
    resources: Vec<String>,
    /// Process that it is for
    #[arg(long, value_parser = Path::process, value_name = "PATH")]
    process: Option<Path>,
    /// UN/ECE Rec 20 code [default for a new one: HUR, hours]
    #[arg(long)]
    unit: Option<Unit>,
    /// First week, like 2026-W49
    #[arg(long, value_name = "WEEK", conflicts_with = "start")]
    from: Option<Week>,
    /// First day, instead of --from
    #[arg(long, value_name = "DATE")]
    start: Option<Date>,
    /// P7D, weeks, or P1D, days [default for a new one: P7D]
    #[arg(long, value_parser = named::<Bucket>)]
    bucket: Option<Bucket>,
    /// One number a bucket; ? is unknown: 40,40,?,0
    #[arg(long, value_delimiter = ',', value_parser = cell, value_name = "N,N")]
    total: Option<Vec<Option<Quantity>>>,
    /// Promised to somebody
    #[arg(long, value_delimiter = ',', value_parser = cell, value_name = "N,N")]
    committed: Option<Vec<Option<Quantity>>>,
    /// Free
    #[arg(long, value_delimiter = ',', value_parser = cell, value_name = "N,N")]
    available: Option<Vec<Option<Quantity>>>,
    /// Shut: holidays, maintenance
    #[arg(long, value_delimiter = ',', value_parser = cell, value_name = "N,N")]
    unattainable: Option<Vec<Option<Quantity>>>,
    /// Free at most, with extra shifts
    #[arg(long, value_delimiter = ',', value_parser = cell, value_name = "N,N")]
    maximum: Option<Vec<Option<Quantity>>>,
    /// All fields as JSON, instead of the ones before; - is stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Check and show what would change
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = context.client()?;
    let out = &context.out;
    let now = Timestamp::now();
    match command {
        Command::List { whose, retired } => {
            let query = [
                ("of", whose.partner.as_deref()),
                ("retired", retired.then_some("true")),
            ];
            let reply = client.list(&["capacities"], &query, usize::MAX).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            let empty = match whose.partner {
                None => {
                    "No capacities yet. Add one: fmesh capacity set KEY --resource R --from WEEK --available 40,38"
                }
                Some(_) => "They show no capacities to us.",
            };
            out.table(&capacities(&reply.items()?, now), empty)
        }
        Command::Show { capacity, whose } => {
            let reply = client
                .get(
                    &["capacities", &capacity],
                    &[("of", whose.partner.as_deref())],
                )
                .await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            let capacity: Capacity = reply.read()?;
            let buckets = buckets(&capacity.fields);
            if !buckets.is_empty() {
                out.table(&buckets, "")?;
                out.data("\n")?;
            }
            out.table(&about(&capacity, now), "")
        }
        Command::Set(set) => {
            let before = match &set.file {
                Some(file) => input::json(file, 4 * 1024 * 1024)?,
                None => match maybe(client.get(&["capacities", &set.key], &[]).await)? {
                    // another object whose id begins like this key is not meant
                    Some(reply) => Some(reply.read::<Capacity>()?)
                        .filter(|c| c.head.key.as_deref() == Some(&set.key))
                        .map(|c| written(c.fields))
                        .unwrap_or_default(),
                    None => CapacityFields::default(),
                },
            };
            let (dry_run, key) = (set.dry_run, set.key.clone());
            let (fields, dropped) = set.apply(before);
            if !dropped.is_empty() {
                out.say(&format!(
                    "With another first bucket, bucket length or unit the old numbers mean something else: {} become unknown.",
                    list(&dropped)
                ));
            }
            changed(
                context,
                &client
                    .put(&["capacities", &key], &CapacityPut { dry_run, fields })
                    .await?,
            )
        }
        Command::Retire {
            capacity,
            dry_run,
            yes,
        } => {
            confirm(&format!("End {capacity} for all partners?"), yes || dry_run)?;
            changed(
                context,
                &client
                    .post(&["capacities", &capacity, "retire"], &Retire { dry_run })
                    .await?,
            )
        }
        Command::Import(args) => {
            let rows = import::capacities(context, &client, args).await?;
            changed(
                context,
                &client.post(&["imports", "capacities"], &rows).await?,
            )
        }
    }
}

fn written(slots: CapacitySlots) -> CapacityFields {
    let numbers = |column: Shown<Column>| {
        value(column).map(|c| c.into_iter().map(|a| a.map(|a| a.value)).collect())
    };
    CapacityFields {
        name: value(slots.name),
        resources: value(slots.resources).map(|ids| ids.iter().map(ToString::to_string).collect()),
        process: value(slots.process),
        unit: value(slots.unit),
        bucket: value(slots.bucket),
        start: value(slots.start),
        total: numbers(slots.total),
        committed: numbers(slots.committed),
        available: numbers(slots.available),
        unattainable: numbers(slots.unattainable),
        reason: value(slots.reason),
        maximum: numbers(slots.maximum),
    }
}

impl Set {
    /// The new fields, and the old columns that lost their meaning.
    fn apply(self, mut fields: CapacityFields) -> (CapacityFields, Vec<&'static str>) {
        let frame = (fields.start, fields.bucket, fields.unit);
        fields.name = self.name.or(fields.name);
        if !self.resources.is_empty() {
            fields.resources = Some(self.resources);
        }
        fields.process = self.process.or(fields.process);
        fields.start = self
            .start
            .or_else(|| Some(self.from?.monday()))
            .or(fields.start);
        fields.bucket = self.bucket.or(fields.bucket).or(Some(Bucket::Week));
        fields.unit = self.unit.or(fields.unit).or(Some(Unit::HOUR));
        let moved = frame != (fields.start, fields.bucket, fields.unit);
        let mut dropped = Vec::new();
        let columns = [
            ("total", self.total, &mut fields.total),
            ("committed", self.committed, &mut fields.committed),
            ("available", self.available, &mut fields.available),
            ("unattainable", self.unattainable, &mut fields.unattainable),
            ("maximum", self.maximum, &mut fields.maximum),
        ];
        for (name, new, old) in columns {
            if new.is_some() {
                *old = new;
            } else if moved && old.take().is_some() {
                dropped.push(name);
            }
        }
        if moved && fields.reason.take().is_some() {
            dropped.push("reason");
        }
        (fields, dropped)
    }
}

fn capacities(items: &[Capacity], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        text("CAPACITY"),
        text("FROM"),
        number("BUCKETS"),
        number("FREE"),
        text("SHARED WITH"),
        text("ORIGIN"),
        extra("NAME"),
        extra("PROCESS"),
        extra("FACTORY"),
        extra("ID"),
    ]);
    for c in items {
        let s = &c.fields;
        table.row([
            key(&c.head),
            first(s),
            length(s).map_or_else(|| "?".to_owned(), |n| n.to_string()),
            shown(&s.available, sum),
            if c.head.own {
                list(&c.head.circles)
            } else {
                "-".to_owned()
            },
            origin(&c.head, now),
            shown(&s.name, String::clone),
            shown(&s.process, ToString::to_string),
            c.head.site.name.clone(),
            c.head.id.to_string(),
        ]);
    }
    table
}

/// What is known of a column, added up; said when something in it is unknown.
fn sum(column: &Column) -> String {
    let known: Vec<&Amount> = column.iter().flatten().collect();
    let total = known
        .iter()
        .try_fold(Quantity::ZERO, |sum, a| sum.checked_add(a.value));
    let (Some(total), Some(first)) = (total, known.first()) else {
        return "unknown".to_owned();
    };
    let text = amount(&Amount {
        value: total,
        unit: first.unit,
    });
    if known.len() < column.len() {
        format!("≥ {text}")
    } else {
        text
    }
}

fn columns(s: &CapacitySlots) -> [&Shown<Column>; 5] {
    [
        &s.total,
        &s.committed,
        &s.available,
        &s.unattainable,
        &s.maximum,
    ]
}

fn length(s: &CapacitySlots) -> Option<usize> {
    columns(s).into_iter().find_map(|c| c.known().map(Vec::len))
}

fn first(s: &CapacitySlots) -> String {
    match (&s.start, s.bucket.known()) {
        (Shown::Known(start), Some(Bucket::Week)) => Week::of(*start).to_string(),
        (start, _) => shown(start, Date::to_string),
    }
}

/// A line a bucket.
fn buckets(s: &CapacitySlots) -> Table {
    let mut table = Table::new(&[
        text("BUCKET"),
        number("TOTAL"),
        number("COMMITTED"),
        number("FREE"),
        number("SHUT"),
        number("MAXIMUM"),
        text("REASON"),
    ]);
    for i in 0..length(s).unwrap_or(0) {
        let cell = |column: &Shown<Column>| {
            shown_short(column, |c| {
                c.get(i)
                    .and_then(Option::as_ref)
                    .map_or_else(|| "?".to_owned(), amount)
            })
        };
        let [total, committed, available, unattainable, maximum] = columns(s).map(cell);
        let reason = shown_short(&s.reason, |r| {
            r.get(i).cloned().flatten().unwrap_or_default()
        });
        table.row([
            bucket(s, i),
            total,
            committed,
            available,
            unattainable,
            maximum,
            reason,
        ]);
    }
    table
}

/// Name of a bucket: its week, its date, or its number if the author does not show the start.
fn bucket(s: &CapacitySlots, i: usize) -> String {
    let n = i32::try_from(i).unwrap_or(i32::MAX);
    let named = match (s.start.known(), s.bucket.known()) {
        (Some(start), Some(Bucket::Week)) => Week::of(*start).plus(n).map(|w| w.to_string()),
        (Some(start), Some(Bucket::Day)) => start.checked_add(n.days()).ok().map(|d| d.to_string()),
        _ => None,
    };
    named.unwrap_or_else(|| format!("no. {}", i + 1))
}

fn about(c: &Capacity, now: Timestamp) -> Table {
    let mut table = Table::new(&[text("CAPACITY"), text("")]);
    table.title(1, super::words::printable(&key(&c.head)));
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    let s = &c.fields;
    line("name", shown(&s.name, String::clone));
    line("resources", shown(&s.resources, |ids| list(ids)));
    line("process", shown(&s.process, ToString::to_string));
    line("unit", shown(&s.unit, ToString::to_string));
    line("free", shown(&s.available, sum));
    head_lines(&c.head, now, line);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(options: &[&str]) -> Result<Set, String> {
        use clap::{Args as _, FromArgMatches as _};
        let matches = Set::augment_args(clap::Command::new("set"))
            .try_get_matches_from(["set", "C42"].iter().chain(options).copied())
            .map_err(|e| e.to_string())?;
        Set::from_arg_matches(&matches).map_err(|e| e.to_string())
    }

    #[test]
    fn numbers_stay_only_while_they_mean_the_same() {
        let (first, dropped) = set(&[
            "--from",
            "2026-W49",
            "--available",
            "12,?,0",
            "--total",
            "40,40,40",
        ])
        .unwrap()
        .apply(CapacityFields::default());
        assert!(dropped.is_empty());
        assert_eq!(
            first.available,
            Some(vec![
                Some(Quantity::from_thousandths(12_000)),
                None,
                Some(Quantity::ZERO)
            ])
        );
        assert_eq!(
            (first.unit, first.bucket),
            (Some(Unit::HOUR), Some(Bucket::Week))
        );
        assert_eq!(first.start, Some("2026-11-30".parse().unwrap()));
        let (same, dropped) = set(&["--available", "1,2,3"]).unwrap().apply(first.clone());
        assert!(dropped.is_empty() && same.total == first.total);
        let (moved, dropped) = set(&["--from", "2026-W50", "--available", "1,2,3"])
            .unwrap()
            .apply(first);
        assert_eq!((moved.total, dropped), (None, vec!["total"]));
    }

    #[test]
    fn bad_numbers_and_weeks_are_refused() {
        for bad in [
            &["--available", "1,x"][..],
            &["--from", "2026-W54"],
            &["--unit", "h"],
            &["--bucket", "P1M"],
            &["--from", "2026-W49", "--start", "2026-11-30"],
        ] {
            assert!(set(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn withheld_unknown_and_zero_look_different() {
        let amount = |n: i64| {
            Some(Amount {
                value: Quantity::from_units(n).unwrap(),
                unit: Some(Unit::HOUR),
            })
        };
        let slots = CapacitySlots {
            bucket: Shown::Known(Bucket::Week),
            start: Shown::Known("2026-12-28".parse().unwrap()),
            available: Shown::Known(vec![amount(12), None, amount(0)]),
            total: Shown::Unknown,
            ..CapacitySlots::default()
        };
        let text = buckets(&slots).render(Some(80), None).unwrap();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1], ["2026-W53", "?", "-", "12", "h", "-", "-", "-"]);
        assert_eq!(lines[2], ["2027-W01", "?", "-", "?", "-", "-", "-"]);
        assert_eq!(lines[3][3..5], ["0", "h"]);
        assert_eq!(sum(slots.available.known().unwrap()), "≥ 12 h");
        assert_eq!(sum(&vec![None]), "unknown");
    }
}
