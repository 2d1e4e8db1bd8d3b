//! Shift calendars (`.ics`, RFC 5545) in, planned hours per ISO week out.
//!
//! Which event is what, by its `CATEGORIES`:
//!
//! | category | meaning |
//! | --- | --- |
//! | `CLOSURE`, `CLOSED`, `HOLIDAY`, `MAINTENANCE` (`Schliessung`, `Betriebsferien`, `Feiertag`, `Wartung`) | closed: working time in it becomes `unattainable`, its summary the `reason` |
//! | `BREAK` (`Pause`) | no working time |
//! | anything else, or none | a shift: working time |
//!
//! Breaks of a shift may also stand in it as `X-BREAK:<start>/<duration or end>` (IDTA 02067); they move along with
//! every repetition. `STATUS:CANCELLED` drops an event, `RECURRENCE-ID` replaces one repetition.
//!
//! Times with `Z` are UTC; times with `TZID` are in that zone; others and whole days are in the site's zone. A shift
//! from 22:00 to 06:00 ends at 06:00 also on the nights when clocks change, so it has 7 or 9 hours then. RFC 5545
//! would have it end after eight hours; people at the gate do not. `DURATION` is for those who mean eight hours.
//!
//! The row gives `total` and `unattainable`. What is promised or free is not in a calendar and stays unknown.
//! `X-PRODUCTION-DAY` is not followed: hours count in the week in which they are worked, and a warning says so.

use std::collections::{BTreeMap, BTreeSet};

use fmesh_proto::{
    kinds::Bucket,
    limits::NAME_CHARS_MAX,
    quantity::Unit,
    rules::planned::{Interval, Plan, Planned, planned},
    week::WeekSpan,
};
use icalendar::parser;
use jiff::{ToSpan as _, civil::DateTime, tz::TimeZone};

use self::{
    event::{Event, Role},
    expand::{Budget, Window},
};
use super::{ImportError, ONE, Options, Rows, errors::Errors};
use crate::api::view::{CapacityFields, ImportRow};

mod event;
mod expand;
mod time;

/// Largest calendar; a year of three shifts, each day its own event, has half a megabyte.
const CALENDAR_BYTES_MAX: usize = 8 << 20;
/// Most events of one calendar.
const EVENTS_MAX: usize = 20_000;
/// Deepest nesting: calendar, event, alarm, and one to spare. The parser uses the stack.
const DEPTH_MAX: usize = 4;

pub(super) fn read(text: &str, options: &Options) -> Result<Rows<CapacityFields>, ImportError> {
    let asked = Asked::of(options)?;
    let (events, warnings) = events(text, &asked.zone)?;
    let hours = Hours::of(&events, &asked)?;
    let plan = Plan {
        working: &hours.working,
        breaks: &hours.breaks,
        closures: &hours.closures,
        rate: options.rate,
        parallel: options.parallel,
    };
    let weeks = planned(
        &plan,
        Bucket::Week,
        asked.weeks.first.monday(),
        asked.weeks.weeks().count(),
        &asked.zone,
    )
    .map_err(|error| ImportError::file(error.to_string(), "correct the calendar or the options"))?;
    if hours.working.is_empty() {
        return Err(ImportError::file(
            format!(
                "the calendar has no working time in the weeks {}",
                asked.weeks
            ),
            "check the weeks, UNTIL of the shifts, and that not every event is a closure",
        ));
    }
    let reasons: Vec<Option<String>> = weeks
        .iter()
        .map(|week| hours.reason(week, &asked.zone))
        .collect();
    let fields = CapacityFields {
        resources: Some(vec![asked.resource.clone()]),
        unit: Some(asked.unit),
        bucket: Some(Bucket::Week),
        start: Some(asked.weeks.first.monday()),
        total: Some(weeks.iter().map(|week| Some(week.total)).collect()),
        unattainable: Some(weeks.iter().map(|week| Some(week.unattainable)).collect()),
        reason: reasons.iter().any(Option::is_some).then_some(reasons),
        ..Default::default()
    };
    Ok(Rows {
        rows: vec![ImportRow {
            row: 1,
            key: asked.resource,
            fields,
        }],
        format: format!("calendar, {} events", events.len()),
        warnings,
    })
}

/// What a calendar does not say and must be given.
struct Asked {
    zone: TimeZone,
    weeks: WeekSpan,
    resource: String,
    unit: Unit,
}

impl Asked {
    fn of(options: &Options) -> Result<Self, ImportError> {
        let missing =
            |what: &str, hint: &str| ImportError::file(format!("the calendar needs {what}"), hint);
        let unit = match options.unit {
            Some(unit) => unit,
            None if options.rate == ONE => Unit::HOUR,
            None => {
                return Err(missing(
                    "a unit for the output per hour",
                    "give --unit beside --rate, such as H87 for pieces",
                ));
            }
        };
        Ok(Self {
            zone: options.zone.clone().ok_or_else(|| {
                missing(
                    "a time zone",
                    "set the time zone of the site, such as Europe/Vienna",
                )
            })?,
            weeks: options.weeks.ok_or_else(|| {
                missing(
                    "weeks, because shifts repeat for ever",
                    "give --weeks 2026-W49..2027-W20",
                )
            })?,
            resource: options.resource.clone().ok_or_else(|| {
                missing(
                    "the resource whose shifts these are",
                    "give --resource DMU-80",
                )
            })?,
            unit,
        })
    }
}

/// Events of all calendars in the text, and what was left out.
fn events(text: &str, zone: &TimeZone) -> Result<(Vec<Event>, Vec<String>), ImportError> {
    let broken = |why: &str| {
        ImportError::file(
            format!("the calendar cannot be read: {why}"),
            "export it again as iCalendar (.ics)",
        )
    };
    if text.len() > CALENDAR_BYTES_MAX {
        return Err(broken(&format!(
            "it has more than {} MiB",
            CALENDAR_BYTES_MAX >> 20
        )));
    }
    // The parser looks for CR LF first, to the end of the text if there is none.
    let lines: Vec<&str> = text
        .trim()
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let begins = begins(&lines).map_err(broken)?;
    let unfolded = parser::unfold(&lines.join("\r\n"));
    let components = parser::read_components(&unfolded)
        .map_err(|why| broken(&why.lines().take(4).collect::<Vec<_>>().join(" ")))?;
    let mut errors = Errors::default();
    let mut warnings = Vec::new();
    let mut events = Vec::new();
    let mut others = BTreeMap::<&str, usize>::new();
    let mut begins = begins.into_iter();
    let parts = components.iter().flat_map(|calendar| &calendar.components);
    for component in parts {
        match component.name.as_str() {
            name if name.eq_ignore_ascii_case("VEVENT") => {
                let line = begins.next().unwrap_or(1);
                match Event::read(component, line, zone, &mut errors) {
                    Some(event) => events.push(event),
                    None => continue,
                }
            }
            name if name.eq_ignore_ascii_case("VTIMEZONE") => {}
            name => *others.entry(name).or_default() += 1,
        }
    }
    for (name, count) in others {
        warnings.push(format!(
            "{count} entries of type {name:?} were left out: only events count"
        ));
    }
    if events.iter().any(|event| event.moves_production_day) {
        warnings.push(
            "X-PRODUCTION-DAY is not followed: hours count in the week in which they are worked"
                .to_owned(),
        );
    }
    event::settle(&mut events);
    errors.finish((events, warnings))
}

/// Lines on which events begin; refuses nesting that would exhaust the parser's stack, and too many events.
fn begins(lines: &[&str]) -> Result<Vec<u64>, &'static str> {
    let mut depth = 0_usize;
    let mut begins = Vec::new();
    for (line, number) in lines.iter().zip(1..) {
        let word = line.split(':').next().unwrap_or_default();
        if word.eq_ignore_ascii_case("BEGIN") {
            depth += 1;
            if line.len() >= 12 && line[6..].trim().eq_ignore_ascii_case("VEVENT") {
                begins.push(number);
            }
        } else if word.eq_ignore_ascii_case("END") {
            depth = depth.saturating_sub(1);
        }
        if depth > DEPTH_MAX {
            return Err("its parts are nested too deeply");
        }
        if begins.len() > EVENTS_MAX {
            return Err("it has too many events; export fewer weeks");
        }
    }
    Ok(begins)
}

/// Everything that happens in the weeks that were asked for.
#[derive(Default)]
struct Hours {
    working: Vec<Interval>,
    breaks: Vec<Interval>,
    closures: Vec<Interval>,
    /// Summaries, one for each closure.
    reasons: Vec<Option<String>>,
}

impl Hours {
    fn of(events: &[Event], asked: &Asked) -> Result<Self, ImportError> {
        let window = Window::of(asked.weeks, &asked.zone).ok_or_else(|| {
            ImportError::file(
                "the weeks are out of range",
                "give weeks between the years 1 and 9998",
            )
        })?;
        let mut hours = Self::default();
        let mut budget = Budget::default();
        let mut errors = Errors::default();
        for event in events {
            let result = event.within(&window, &mut budget);
            let found = match result {
                Ok(found) => found,
                Err(why) => {
                    errors.add(
                        event.line,
                        None,
                        format!("event {:?} cannot be repeated", event.label()),
                        why,
                        "correct its RRULE, RDATE or DTSTART",
                    );
                    continue;
                }
            };
            match event.role {
                Role::Shift => {
                    hours.working.extend(found.times);
                    hours.breaks.extend(found.breaks);
                }
                Role::Break => hours.breaks.extend(found.times),
                Role::Closure => {
                    hours
                        .reasons
                        .extend(found.times.iter().map(|_| event.summary.clone()));
                    hours.closures.extend(found.times);
                }
            }
        }
        errors.finish(hours)
    }

    /// Why a week has unattainable hours: the summaries of the closures in it.
    fn reason(&self, week: &Planned, zone: &TimeZone) -> Option<String> {
        if week.unattainable == fmesh_proto::quantity::Quantity::ZERO {
            return None;
        }
        let border = |day: DateTime| Some(day.to_zoned(zone.clone()).ok()?.timestamp().as_second());
        let start = border(week.start.into())?;
        let end = border(week.start.checked_add(7.days()).ok()?.into())?;
        let mut all: Vec<(&Interval, &String)> = self
            .closures
            .iter()
            .zip(&self.reasons)
            .filter(|(closure, _)| closure.start < end && closure.end > start)
            .filter_map(|(closure, reason)| Some((closure, reason.as_ref()?)))
            .collect();
        all.sort_by_key(|(closure, _)| closure.start);
        let mut seen = BTreeSet::new();
        let distinct: Vec<&str> = all
            .into_iter()
            .map(|(_, reason)| reason.as_str())
            .filter(|reason| seen.insert(*reason))
            .collect();
        let text: String = distinct.join("; ").chars().take(NAME_CHARS_MAX).collect();
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests;
