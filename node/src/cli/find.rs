//! `fmesh find`: who can make it, and when. Answered by our own node from what partners share, also offline.

use fmesh_proto::{
    kinds::Degrees,
    quantity::{Quantity, Unit},
    taxonomy::Path,
    week::WeekSpan,
};
use jiff::Timestamp;

use super::{
    Context,
    failure::Failure,
    resource::property,
    site::certificate_words,
    table::{Table, extra, number, text},
    words::{age, amount, list, shown_short},
};
use crate::api::view::{Amount, FindRequest, Fit, Hit, Point, Property, PropertyRequest};

/// Options of `find`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Process, or its end: separating/milling/5-axis, milling/5-axis, milling
    #[arg(value_name = "PROCESS", value_parser = path)]
    what: Option<Path>,
    /// The same as an option
    #[arg(long, value_name = "PROCESS", conflicts_with = "what", value_parser = path)]
    process: Option<Path>,
    /// Material, or its end, like en-aw-7075 (repeat: all of them)
    #[arg(long = "material", value_name = "PATH", value_parser = path)]
    materials: Vec<Path>,
    /// Property that must be covered, like "tolerance,max=0.02,unit=MMT" (repeat)
    #[arg(long = "property", value_name = "PROPERTY", value_parser = property)]
    properties: Vec<Property>,
    /// Free hours that are needed in the weeks together
    #[arg(long, conflicts_with = "need")]
    hours: Option<Quantity>,
    /// The same in another unit, like 500
    #[arg(long, requires = "unit")]
    need: Option<Quantity>,
    /// Unit of --need, UN/ECE Rec 20, like H87
    #[arg(long, requires = "need")]
    unit: Option<Unit>,
    /// Like 2026-W49..W51 [default: four weeks from now]
    #[arg(long)]
    weeks: Option<WeekSpan>,
    /// Farthest, like 300km, as the crow flies
    #[arg(long, value_parser = kilometres)]
    within: Option<u32>,
    /// Measured from LAT,LON [default: our own site]
    #[arg(long, value_parser = point, allow_hyphen_values = true)]
    from: Option<Point>,
    /// Certificate that must be valid, like "ISO 9001" (repeat: all of them)
    #[arg(long = "cert", value_name = "TYPE")]
    certificates: Vec<String>,
    /// ISO 3166-1 code (repeat: one of them)
    #[arg(long = "country", value_name = "CODE")]
    countries: Vec<String>,
    /// Also our own resources
    #[arg(long)]
    own: bool,
    /// Also what came under grants that have ended
    #[arg(long)]
    ended: bool,
    /// At most so many answers
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let client = context.client()?;
    let reply = client.post(&["find"], &request(args)).await?;
    if context.out.as_json(&reply.0)? {
        return Ok(());
    }
    let hits: Vec<Hit> = reply.items()?;
    let empty = "Nothing found. Partners answer only with what they show us: fmesh partner list; ask for less, or for more weeks.";
    context.out.table(&table(&hits, Timestamp::now()), empty)?;
    if hits.iter().any(|hit| hit.fit == Fit::Partial) {
        context
            .out
            .say("!  less free than you asked for in these weeks");
    }
    if hits.iter().any(|hit| hit.forked) {
        context
            .out
            .say("(forked)  this site signed two histories; the proof: fmesh partner show");
    }
    for (i, hit) in hits
        .iter()
        .enumerate()
        .filter(|(_, hit)| !hit.unknown.is_empty())
    {
        context.out.say(&format!(
            "?  {}. {}: unknown {}",
            i + 1,
            hit.site.name,
            list(&hit.unknown)
        ));
    }
    Ok(())
}

fn request(args: Args) -> FindRequest {
    let need = match (args.hours, args.need) {
        (Some(value), _) => Some(Amount {
            value,
            unit: Some(Unit::HOUR),
        }),
        (None, Some(value)) => Some(Amount {
            value,
            unit: args.unit,
        }),
        (None, None) => None,
    };
    FindRequest {
        process: args.what.or(args.process),
        materials: args.materials,
        properties: args
            .properties
            .into_iter()
            .map(|p| PropertyRequest {
                name: p.name,
                min: p.min,
                max: p.max,
                value: p.value,
                unit: p.unit,
            })
            .collect(),
        need,
        weeks: args.weeks.map(|span| span.to_string()),
        within_km: args.within,
        from: args.from,
        certificates: args.certificates,
        countries: args
            .countries
            .into_iter()
            .map(|c| c.to_uppercase())
            .collect(),
        own: args.own,
        ended: args.ended,
        limit: args.limit,
    }
}

fn path(text: &str) -> Result<Path, String> {
    text.to_lowercase()
        .parse()
        .map_err(|e: fmesh_proto::taxonomy::PathError| e.to_string())
}

fn kilometres(text: &str) -> Result<u32, String> {
    let number = text.trim().trim_end_matches("km").trim_end();
    number
        .parse()
        .map_err(|_| "write kilometres like 300km".to_owned())
}

fn point(text: &str) -> Result<Point, String> {
    let (lat, lon) = text
        .split_once(',')
        .ok_or("write degrees north and east like 48.303056,14.290556")?;
    let degrees = |text: &str| text.trim().parse::<Degrees>();
    Ok(Point {
        lat: degrees(lat)?,
        lon: degrees(lon)?,
    })
}

/// Best first. The heading of the free hours names the unit and the weeks.
fn table(hits: &[Hit], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        text("FACTORY"),
        text("RESOURCE"),
        text("FREE"),
        number("KM"),
        text("CERT"),
        text("SIGNED"),
        extra("FIT"),
        extra("SUM"),
        extra("COUNTRY"),
        extra("PROCESS"),
        extra("RECEIVED"),
        extra("LEAF"),
        extra("UNKNOWN"),
    ]);
    // one unit for all answers stands in the heading, else beside each number
    let mut units = hits
        .iter()
        .flat_map(|h| &h.weeks)
        .filter_map(|w| w.free.known())
        .map(|a| a.unit);
    let unit = units
        .next()
        .flatten()
        .filter(|first| units.all(|unit| unit == Some(*first)));
    if let Some(hit) = hits.first() {
        let weeks: Vec<String> = hit
            .weeks
            .iter()
            .map(|w| format!("W{:02}", w.week.number()))
            .collect();
        let unit = unit.map(|u| format!(" {}", u.symbol())).unwrap_or_default();
        table.title(2, format!("FREE{unit} ({})", weeks.join(" ")));
    }
    for hit in hits {
        let free: Vec<String> = hit
            .weeks
            .iter()
            .map(|w| {
                let text = shown_short(&w.free, |a| {
                    if unit.is_some() {
                        a.value.to_string()
                    } else {
                        amount(a)
                    }
                });
                format!("{text:<3}")
            })
            .collect();
        let dash = || "-".to_owned();
        table.row([
            match (hit.own, hit.forked) {
                (true, _) => format!("{} (ours)", hit.site.name),
                (_, true) => format!("{} (forked)", hit.site.name),
                _ => hit.site.name.clone(),
            },
            hit.resource_name
                .clone()
                .or_else(|| hit.capacity_name.clone())
                .unwrap_or_else(dash),
            format!(
                "{}{}",
                free.join(" ").trim_end(),
                match hit.fit {
                    Fit::Full => "",
                    Fit::Partial => " !",
                    Fit::Unknown => " ?",
                }
            ),
            hit.km.map_or_else(|| "?".to_owned(), |km| km.to_string()),
            list(
                &hit.certificates
                    .iter()
                    .map(certificate_words)
                    .collect::<Vec<_>>(),
            ),
            format!(
                "{}{}",
                age(hit.signed, now),
                match (hit.ended, hit.stale) {
                    (true, _) => " ~ ended",
                    (_, true) => " ~ stale",
                    _ => "",
                }
            ),
            match hit.fit {
                Fit::Full => "full",
                Fit::Partial => "partial",
                Fit::Unknown => "unknown",
            }
            .to_owned(),
            hit.free.as_ref().map_or_else(|| "?".to_owned(), amount),
            hit.country.clone().unwrap_or_else(|| "?".to_owned()),
            hit.process.as_ref().map_or_else(dash, ToString::to_string),
            age(hit.received, now),
            hit.seq.to_string(),
            list(&hit.unknown),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use fmesh_proto::{id::SiteId, week::Week};

    use super::*;
    use crate::api::view::{Certificate, Shown, SiteName, WeekFree};

    fn hit(name: &str, resource: &str, free: [Option<i64>; 3]) -> Hit {
        let amount = |n: i64| Amount {
            value: Quantity::from_units(n).unwrap(),
            unit: Some(Unit::HOUR),
        };
        let first: Week = "2026-W49".parse().unwrap();
        Hit {
            site: SiteName {
                site: SiteId([7; 32]),
                name: name.into(),
                fingerprint: "ab".repeat(32),
            },
            own: false,
            resource: None,
            resource_name: Some(resource.into()),
            capacity: None,
            capacity_name: None,
            process: None,
            core: true,
            weeks: (0..3)
                .map(|i| WeekFree {
                    week: first.plus(i).unwrap(),
                    free: free[i as usize].map_or(Shown::Unknown, |n| Shown::Known(amount(n))),
                })
                .collect(),
            free: Some(amount(free.iter().flatten().sum())),
            fit: Fit::Full,
            unknown: Vec::new(),
            km: Some(118),
            country: Some("DE".into()),
            certificates: vec![Certificate {
                r#type: "ISO 9001".into(),
                registration_number: None,
                issuer: None,
                valid_from: None,
                valid_until: Some("2027-06-30".parse().unwrap()),
                area: None,
            }],
            signed: Timestamp::from_second(1_000_000).unwrap(),
            received: Timestamp::from_second(1_000_000).unwrap(),
            seq: 4,
            stale: false,
            ended: false,
            forked: false,
        }
    }

    #[test]
    fn answers_fit_80_columns_and_say_unit_weeks_and_age() {
        let now = Timestamp::from_second(1_000_360).unwrap();
        let hits = [
            hit("Bolt Nord", "DMU-80", [Some(12), Some(41), Some(38)]),
            hit("Carbo SA", "C42", [Some(0), None, Some(60)]),
        ];
        let mut hits = hits;
        hits[1].fit = Fit::Partial;
        let text = table(&hits, now).render(Some(80), None).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("FREE h (W49 W50 W51)"), "{text}");
        assert!(
            lines[1].contains("12  41  38") && lines[1].contains("6 min ago"),
            "{text}"
        );
        assert!(lines[2].contains("0   ?   60 !"), "{text}");
        assert!(lines.iter().all(|l| l.chars().count() <= 80), "{text}");
        let long = [hit(
            &"Präzisionswerkzeugbau ".repeat(6),
            &"Fünf-Achs-".repeat(9),
            [None, None, None],
        )];
        let text = table(&long, now).render(Some(80), None).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    }

    #[test]
    fn the_command_of_the_manual_becomes_the_question() {
        use clap::{Args as _, FromArgMatches as _};
        let line = [
            "find",
            "milling/5-axis",
            "--material",
            "EN-AW-7075",
            "--hours",
            "36",
            "--weeks",
            "2026-W49..W51",
            "--within",
            "300km",
            "--cert",
            "ISO 9001",
            "--country",
            "de",
            "--from",
            "48.3,-14.2",
        ];
        let matches = Args::augment_args(clap::Command::new("find"))
            .try_get_matches_from(line)
            .unwrap();
        let q = request(Args::from_arg_matches(&matches).unwrap());
        assert_eq!(q.process.unwrap().as_str(), "milling/5-axis");
        assert_eq!(q.materials[0].as_str(), "en-aw-7075");
        assert_eq!(
            q.need,
            Some(Amount {
                value: Quantity::from_units(36).unwrap(),
                unit: Some(Unit::HOUR)
            })
        );
        assert_eq!(
            q.weeks
                .unwrap()
                .parse::<WeekSpan>()
                .unwrap()
                .weeks()
                .count(),
            3
        );
        assert_eq!(
            (q.within_km, q.countries, q.certificates),
            (
                Some(300),
                vec!["DE".to_owned()],
                vec!["ISO 9001".to_owned()]
            )
        );
        assert_eq!(q.from.unwrap().lon, Degrees(-14_200_000));
        assert!(
            kilometres("far").is_err()
                && kilometres("-3km").is_err()
                && kilometres("300") == Ok(300)
        );
    }
}
