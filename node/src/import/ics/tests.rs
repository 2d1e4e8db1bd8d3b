use fmesh_proto::quantity::Quantity;
use proptest::prelude::*;

use super::*;
use crate::import::{capacities_from, errors::tests::lines};

const ANNEX_B: [&str; 3] = [
    include_str!("../../../../examples/data/calendars/idta02067_annexB_1.ics"),
    include_str!("../../../../examples/data/calendars/idta02067_annexB_2.ics"),
    include_str!("../../../../examples/data/calendars/idta02067_annexB_3.ics"),
];

fn options(zone: &str, weeks: &str) -> Options {
    Options {
        zone: Some(TimeZone::get(zone).unwrap()),
        weeks: Some(weeks.parse().unwrap()),
        resource: Some("DMU-80".to_owned()),
        ..Options::default()
    }
}

fn calendar(events: &[&str]) -> String {
    let events: String = events
        .iter()
        .map(|event| format!("BEGIN:VEVENT\n{event}\nEND:VEVENT\n"))
        .collect();
    format!("BEGIN:VCALENDAR\nVERSION:2.0\n{events}END:VCALENDAR\n")
}

fn import(text: &str, zone: &str, weeks: &str) -> Result<Rows<CapacityFields>, ImportError> {
    capacities_from(text.as_bytes(), &options(zone, weeks))
}

/// `total` or `total-unattainable` per week, and the reason.
fn told(text: &str, zone: &str, weeks: &str) -> Vec<String> {
    let rows = import(text, zone, weeks).unwrap();
    let fields = &rows.rows[0].fields;
    let (total, unattainable) = (
        fields.total.as_ref().unwrap(),
        fields.unattainable.as_ref().unwrap(),
    );
    (0..total.len())
        .map(|n| {
            let (total, shut) = (total[n].unwrap(), unattainable[n].unwrap());
            let reason = fields
                .reason
                .as_ref()
                .and_then(|reasons| reasons[n].as_deref());
            match (shut, reason) {
                (Quantity::ZERO, None) => total.to_string(),
                (shut, reason) => format!("{total}-{shut} {}", reason.unwrap_or("?")),
            }
        })
        .collect()
}

#[test]
fn the_examples_of_idta_02067() {
    assert_eq!(
        told(ANNEX_B[0], "Europe/Berlin", "2025-W20..W21"),
        ["168", "168"]
    );
    assert_eq!(told(ANNEX_B[1], "UTC", "2025-W11..W12"), ["37.5", "37.5"]);
    // It ends on 9 June 2025, a Monday.
    assert_eq!(
        told(ANNEX_B[1], "UTC", "2025-W23..W25"),
        ["37.5", "7.5", "0"]
    );
    // Round the clock on five days. Its morning shift says DTSTART on a Sunday and BYDAY=MO-FR; the rule counts.
    let rows = import(ANNEX_B[2], "UTC", "2025-W11").unwrap();
    assert_eq!(rows.rows[0].fields.total, Some(vec!["120".parse().ok()]));
    assert_eq!(
        rows.warnings,
        ["X-PRODUCTION-DAY is not followed: hours count in the week in which they are worked"]
    );
    assert_eq!(rows.format, "calendar, 3 events");
}

#[test]
fn a_berlin_night_shift_ends_when_the_clock_says_six() {
    let wall = calendar(&[
        "UID:n\nDTSTART;TZID=Europe/Berlin:20260103T220000\nDTEND;TZID=Europe/Berlin:20260104T060000\nRRULE:FREQ=WEEKLY;BYDAY=SA",
    ]);
    assert_eq!(told(&wall, "Europe/Berlin", "2026-W13"), ["7"]);
    assert_eq!(told(&wall, "Europe/Berlin", "2026-W43"), ["9"]);
    assert_eq!(told(&wall, "Europe/Berlin", "2026-W44"), ["8"]);
    let exact = wall.replace("DTEND;TZID=Europe/Berlin:20260104T060000", "DURATION:PT8H");
    assert_eq!(told(&exact, "Europe/Berlin", "2026-W13"), ["8"]);
    // The same shift without a zone, read at a site in Berlin, and in UTC.
    let floating = wall.replace(";TZID=Europe/Berlin", "");
    assert_eq!(told(&floating, "Europe/Berlin", "2026-W43"), ["9"]);
    assert_eq!(told(&floating, "UTC", "2026-W43"), ["8"]);
    assert_eq!(
        told(
            &floating.replace("00\n", "00Z\n"),
            "Europe/Berlin",
            "2026-W43"
        ),
        ["8"]
    );
}

#[test]
fn closures_become_unattainable_with_their_reason() {
    let text = calendar(&[
        "UID:a\nDTSTART:20261130T060000\nDTEND:20261130T140000\nRRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR\nX-BREAK:20261130T100000/PT30M",
        "UID:b\nSUMMARY:Christmas\nCATEGORIES:CLOSURE\nDTSTART;VALUE=DATE:20261224\nDTEND;VALUE=DATE:20261226",
        "UID:c\nSUMMARY:New\n  Year\nCATEGORIES:Misc,Holiday\nDTSTART;VALUE=DATE:20270101",
        "UID:d\nSUMMARY:Spindle\\, axis 2\nCATEGORIES:MAINTENANCE\nDTSTART:20261222T120000\nDTEND:20261222T160000",
        "UID:e\nSUMMARY:Meeting\nCATEGORIES:BREAK\nDTSTART:20261207T130000\nDTEND:20261207T150000",
        "UID:f\nSUMMARY:Sunday\nCATEGORIES:CLOSURE\nDTSTART;VALUE=DATE:20261213",
    ]);
    assert_eq!(
        told(&text, "Europe/Vienna", "2026-W49..2027-W01"),
        [
            "37.5",
            "36.5",
            "37.5",
            "37.5-17 Spindle, axis 2; Christmas",
            "37.5-7.5 New Year",
            "37.5"
        ]
    );
    let rows = import(&text, "Europe/Vienna", "2026-W49").unwrap();
    let fields = &rows.rows[0].fields;
    assert_eq!(
        (&fields.committed, &fields.available, fields.unit),
        (&None, &None, Some(Unit::HOUR))
    );
    assert_eq!(
        (rows.rows[0].key.as_str(), fields.resources.as_deref()),
        ("DMU-80", Some(&["DMU-80".to_owned()][..]))
    );
}

#[test]
fn exceptions_additions_and_replacements() {
    let shift = "UID:a\nDTSTART;TZID=Europe/Berlin:20261130T060000\nDTEND;TZID=Europe/Berlin:20261130T140000\nRRULE:FREQ=DAILY;COUNT=14";
    let week = |lines: &[&str], others: &[&str]| {
        let first = [&[shift], lines].concat().join("\n");
        let events = [&[first.as_str()], others].concat();
        told(&calendar(&events), "Europe/Berlin", "2026-W49")
    };
    assert_eq!(week(&[], &[]), ["56"]);
    assert_eq!(
        week(
            &["EXDATE;TZID=Europe/Berlin:20261201T060000,20261202T060000"],
            &[]
        ),
        ["40"]
    );
    assert_eq!(
        week(
            &["EXDATE:20261201T050000Z", "EXDATE;VALUE=DATE:20261202"],
            &[]
        ),
        ["40"]
    );
    assert_eq!(
        week(&["EXDATE;TZID=Europe/Berlin:20261201T070000"], &[]),
        ["56"]
    );
    assert_eq!(
        week(
            &["RDATE;TZID=Europe/Berlin:20261201T150000,20261201T060000"],
            &[]
        ),
        ["64"]
    );
    let replaced = "UID:a\nRECURRENCE-ID;TZID=Europe/Berlin:20261203T060000\nDTSTART;TZID=Europe/Berlin:20261203T060000\nDTEND;TZID=Europe/Berlin:20261203T100000";
    assert_eq!(week(&[], &[replaced]), ["52"]);
    assert_eq!(
        week(&[], &[&format!("{replaced}\nSTATUS:CANCELLED")]),
        ["48"]
    );
    assert_eq!(
        week(
            &[],
            &[&replaced
                .replace("UID:a", "UID:b")
                .replace("20261203T06", "20261203T18")
                .replace("T10", "T20")]
        ),
        ["58"]
    );
    // UNTIL is in UTC and the shift is not: the last shift begins on Wednesday at 06:00, which is 05:00 UTC.
    let until = |until: &str| {
        told(
            &calendar(&[&shift.replace("COUNT=14", &format!("UNTIL={until}"))]),
            "Europe/Berlin",
            "2026-W49",
        )
    };
    assert_eq!(until("20261202T050000Z"), ["24"]);
    assert_eq!(until("20261202T045959Z"), ["16"]);
    assert_eq!(until("20261202"), ["24"]);
}

#[test]
fn rate_and_parallel_machines() {
    let text = calendar(&["UID:a\nDTSTART:20261130T060000\nDTEND:20261130T140000"]);
    let mut options = options("UTC", "2026-W49");
    options.parallel = "2.5".parse().unwrap();
    let total = |options: &Options| {
        let rows = capacities_from(text.as_bytes(), options).unwrap();
        let fields = &rows.rows[0].fields;
        (
            fields.total.as_ref().unwrap()[0].unwrap().to_string(),
            fields.unit.map(Unit::code),
        )
    };
    assert_eq!(total(&options), ("20".to_owned(), Some("HUR")));
    options.rate = "12".parse().unwrap();
    let error = capacities_from(text.as_bytes(), &options).unwrap_err();
    assert!(error.to_string().contains("unit"), "{error}");
    options.unit = "H87".parse().ok();
    assert_eq!(total(&options), ("240".to_owned(), Some("H87")));
}

#[test]
fn what_cannot_be_taken_is_told_with_its_line() {
    let text = calendar(&[
        "UID:a\nDTSTART:2026113T060000\nDTEND:20261130T140000",
        "UID:b\nDTSTART:20261130T060000",
        "UID:c\nDTSTART:20261130T220000\nDTEND:20261130T060000",
        "UID:d\nSUMMARY:Late\nDTSTART;TZID=Nowhere/Town:20261130T220000\nDTEND:20261130T230000",
        "UID:e\nDTSTART:20261130T060000\nDTEND:20261130T070000\nRRULE:FREQ=HOURLY",
        "UID:f\nDTSTART:20261130T060000\nDTEND:20261130T140000\nX-BREAK:20261130T050000/PT30M",
        "UID:g\nDTSTART:20261130T060000\nDURATION:P1M",
        "DTEND:20261130T140000",
        "UID:h\nDTSTART;VALUE=DATE:20261130\nDTEND:20261130T140000",
    ]);
    assert_eq!(
        lines(import(&text, "UTC", "2026-W49")),
        [
            "3 DTSTART: event \"a\" cannot be taken",
            "8 DTEND: event \"b\" cannot be taken",
            "12 DTEND: event \"c\" cannot be taken",
            "17 DTSTART: event \"Late\" cannot be taken",
            "23 RRULE: event \"e\" cannot be taken",
            "29 X-BREAK: event \"f\" cannot be taken",
            "35 DURATION: event \"g\" cannot be taken",
            "40 DTSTART: event \"\" cannot be taken",
            "43 DTEND: event \"h\" cannot be taken",
        ]
    );
    let rule = |rule: &str| {
        import(
            &calendar(&[&format!(
                "UID:a\nDTSTART:20261130T060000\nDTEND:20261130T140000\nRRULE:{rule}"
            )]),
            "UTC",
            "2026-W49",
        )
    };
    for bad in [
        "FREQ=DAILY;BYDAY=XX",
        "FREQ=DAILY;COUNT=x",
        "BYDAY=MO",
        "FREQ=DAILY;COUNT",
        "FREQ=DAILY;INTERVAL=0",
    ] {
        assert_eq!(lines(rule(bad)).len(), 1, "{bad}");
    }
    assert!(rule("freq=weekly;byday=mo;").is_ok());
}

#[test]
fn calendars_as_a_whole() {
    let shift = "UID:a\nDTSTART:20261130T060000\nDTEND:20261130T140000";
    let without = |remove: fn(&mut Options)| {
        let mut options = options("UTC", "2026-W49");
        remove(&mut options);
        capacities_from(calendar(&[shift]).as_bytes(), &options)
            .unwrap_err()
            .to_string()
    };
    assert!(without(|o| o.zone = None).contains("time zone"));
    assert!(without(|o| o.weeks = None).contains("weeks"));
    assert!(without(|o| o.resource = None).contains("resource"));
    let error = |text: &str| import(text, "UTC", "2026-W50").unwrap_err().to_string();
    assert!(error(&calendar(&[shift])).contains("no working time in the weeks 2026-W50"));
    assert!(error("BEGIN:VCALENDAR\n").contains("cannot be read"));
    assert!(error("BEGIN:VCALENDAR\nEND:VEVENT\n").contains("cannot be read"));
    assert!(error(&format!("BEGIN:VCALENDAR\n{}", "BEGIN:A\n".repeat(100_000))).contains("nested"));
    let many = calendar(&vec!["UID:a"; EVENTS_MAX + 1]);
    assert!(error(&many).contains("too many events"));
    let todo = format!("BEGIN:VTODO\nUID:t\nEND:VTODO\n{}", "END:VCALENDAR\n");
    let rows = import(
        &calendar(&[shift]).replace("END:VCALENDAR\n", &todo),
        "UTC",
        "2026-W49",
    )
    .unwrap();
    assert_eq!(
        rows.warnings,
        ["1 entries of type \"VTODO\" were left out: only events count"]
    );
    assert!(
        crate::import::resources_from(calendar(&[shift]).as_bytes(), &Options::default()).is_err()
    );
}

#[test]
fn repetition_is_bounded() {
    let text = calendar(&[
        "UID:a\nDTSTART:20261130T060000\nDTEND:20261130T140000\nRRULE:FREQ=DAILY\nX-BREAK:20261130T100000/PT30M",
    ]);
    let (events, _) = events(&text, &TimeZone::UTC).unwrap();
    let window = Window::of("2026-W50".parse().unwrap(), &TimeZone::UTC).unwrap();
    // Seven days before the week, seven in it, two behind it, and the one that shows that it is over.
    let within = |intervals, steps| {
        let found = events[0].within(&window, &mut Budget { intervals, steps })?;
        Ok::<_, String>((found.times.len(), found.breaks.len()))
    };
    assert_eq!(within(14, 17), Ok((7, 7)));
    assert!(within(13, 17).unwrap_err().contains("times in these weeks"));
    assert!(within(14, 16).unwrap_err().contains("repeats more than"));
    let never = calendar(&[
        "UID:a\nDTSTART:20261130T060000\nDTEND:20261130T140000",
        "UID:b\nDTSTART:20260101T060000\nDTEND:20260101T140000\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
    ]);
    assert_eq!(told(&never, "UTC", "2026-W49"), ["8"]);
}

proptest! {
    #[test]
    fn no_calendar_panics(text in "(BEGIN:VEVENT\n|END:VEVENT\n|DTSTART|DTEND|;TZID=UTC|:|20261130T060000Z|RRULE:FREQ=DAILY|X-BREAK|/|PT1H|\n|EXDATE|,|.){0,40}") {
        let _ = import(&format!("BEGIN:VCALENDAR\n{text}\nEND:VCALENDAR\n"), "UTC", "2026-W49");
        let _ = import(&calendar(&[&text]), "Europe/Berlin", "2026-W49");
    }

    #[test]
    fn a_week_of_any_shift_has_the_hours_that_were_written(hour in 0_i8..24, length in 1_i64..24, days in 1_usize..=7) {
        // Summer weeks without a change of clocks; the shift may run into the next day.
        let start = jiff::civil::date(2026, 5, 25).at(hour, 0, 0, 0);
        let end = start.checked_add(jiff::SignedDuration::from_hours(length)).unwrap();
        let list = ["TU", "WE", "TH", "FR", "SA", "MO", "SU"][..days].join(",");
        let text = calendar(&[&format!("UID:a\nDTSTART:{}\nDTEND:{}\nRRULE:FREQ=WEEKLY;BYDAY={list}", time::basic(start), time::basic(end))]);
        let weeks = told(&text, "Europe/Vienna", "2026-W24..W25");
        let expected = (length * days as i64).to_string();
        prop_assert_eq!(weeks, [expected.clone(), expected]);
    }
}
