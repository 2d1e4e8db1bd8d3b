//! The demo factories' files are what their README says.

use std::{collections::BTreeMap, path::PathBuf};

use fmesh_proto::{kinds::Slot, quantity::Quantity, rules::distance::Position, week::WeekSpan};
use jiff::tz::TimeZone;

use super::*;
use crate::api::view::{Location, SiteFields};

const WEEKS: &str = "2026-W48..2027-W20";

struct Factory {
    site: SiteFields,
    resources: Rows<ResourceFields>,
    capacities: Rows<CapacityFields>,
    calendar: Rows<CapacityFields>,
}

fn factory(folder: &str, resources: &str, capacities: &str, calendar: &str) -> Factory {
    let file = |name: &str| {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        root.join("../examples/factories").join(folder).join(name)
    };
    let text = std::fs::read_to_string(file("site.toml")).unwrap();
    let site: SiteFields = toml::from_str(&text).unwrap();
    let zone = TimeZone::get(site.timezone.as_deref().unwrap()).unwrap();
    let options = Options {
        zone: Some(zone),
        weeks: Some(WEEKS.parse().unwrap()),
        resource: Some("any".to_owned()),
        ..Options::default()
    };
    Factory {
        resources: super::resources(&file(resources), &Options::default()).unwrap(),
        capacities: super::capacities(&file(capacities), &Options::default()).unwrap(),
        calendar: super::capacities(&file(calendar), &options).unwrap(),
        site,
    }
}

fn all() -> [Factory; 3] {
    [
        factory("traunfels", "resources.csv", "capacity.csv", "shifts.ics"),
        factory("isenfels", "anlagen.csv", "kapazitaet.csv", "schichten.ics"),
        factory("trebenov", "stroje.xlsx", "kapacita.xlsx", "smeny.ics"),
    ]
}

fn position(site: &SiteFields) -> Position {
    let Location {
        country, lat, lon, ..
    } = site.location.clone().unwrap();
    let location = fmesh_proto::kinds::Location {
        country,
        region: None,
        locality: None,
        lat,
        lon,
    };
    Position::of(&Slot::Known(location)).unwrap()
}

#[test]
fn every_file_is_read_as_it_was_meant() {
    let formats = [
        (
            "csv, UTF-8, \",\" between cells, decimal point",
            "csv, UTF-8, \",\" between cells, decimal point",
            "calendar, 8 events",
        ),
        (
            "csv, windows-1252, \";\" between cells, decimal comma",
            "csv, windows-1252, \";\" between cells, decimal comma",
            "calendar, 7 events",
        ),
        (
            "xlsx, sheet \"Stroje\", decimal point",
            "xlsx, sheet \"Kapacita\"",
            "calendar, 7 events",
        ),
    ];
    for (factory, (resources, capacities, calendar)) in all().into_iter().zip(formats) {
        assert_eq!(factory.resources.format, resources);
        assert_eq!(factory.capacities.format, capacities);
        assert_eq!(factory.calendar.format, calendar);
        let warnings = [
            &factory.resources.warnings,
            &factory.capacities.warnings,
            &factory.calendar.warnings,
        ];
        assert!(
            warnings.iter().all(|warnings| warnings.is_empty()),
            "{warnings:?}"
        );
    }
}

#[test]
fn numbers_follow_the_calendar_and_some_are_unknown() {
    let weeks: WeekSpan = WEEKS.parse().unwrap();
    for factory in all() {
        let planned = &factory.calendar.rows[0].fields;
        let keys: Vec<&str> = factory
            .resources
            .rows
            .iter()
            .map(|row| row.key.as_str())
            .collect();
        let mut unknown = 0;
        for row in &factory.capacities.rows {
            assert!(keys.contains(&row.key.as_str()), "{}", row.key);
            let fields = &row.fields;
            assert_eq!(fields.start, Some(weeks.first.monday()), "{}", row.key);
            assert_eq!(fields.total, planned.total, "{}", row.key);
            assert_eq!(fields.unattainable, planned.unattainable, "{}", row.key);
            assert_eq!(fields.reason, planned.reason, "{}", row.key);
            let available = fields.available.as_ref().unwrap();
            let committed = fields.committed.as_ref().unwrap();
            unknown += available.iter().filter(|number| number.is_none()).count();
            let zip = available.iter().zip(committed);
            assert!(zip.into_iter().all(|(a, c)| a.is_some() == c.is_some()));
        }
        assert!((1..=60).contains(&unknown), "{unknown} unknown cells");
        let shut = planned.unattainable.as_ref().unwrap();
        assert!(
            shut[5] > Some(Quantity::ZERO),
            "the week before New Year is shut"
        );
    }
}

#[test]
fn the_buyer_finds_free_hours_at_both_others() {
    let [machining, buyer, contract] = all();
    let here = position(&buyer.site);
    for (factory, km) in [(machining, 155), (contract, 293)] {
        assert_eq!((position(&factory.site).metres_to(here) + 500) / 1_000, km);
        let able: BTreeMap<&str, _> = factory
            .resources
            .rows
            .iter()
            .filter(|row| {
                row.fields.capabilities.iter().flatten().any(|capability| {
                    capability.process.covers_query("milling/5-axis")
                        && capability
                            .materials
                            .iter()
                            .any(|material| material.covers_query("en-aw-7075"))
                })
            })
            .map(|row| (row.key.as_str(), row))
            .collect();
        let free = |row: &&ImportRow<CapacityFields>| {
            let available = row.fields.available.as_ref().unwrap();
            let hours: i64 = available[1..=3]
                .iter()
                .flatten()
                .map(|hours| hours.thousandths())
                .sum();
            able.contains_key(row.key.as_str()) && hours >= 36_000
        };
        assert!(factory.capacities.rows.iter().filter(free).count() >= 1);
    }
}
