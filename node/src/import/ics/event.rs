//! One `VEVENT`, read: what it is, when it begins, how long it takes, how it repeats.

use std::collections::{BTreeMap, BTreeSet};

use icalendar::parser::{Component, Property};
use jiff::{
    SignedDuration,
    civil::{Date, DateTime},
    tz::TimeZone,
};

use super::{
    super::{
        errors::{Errors, shown},
        header::fold,
    },
    time::{Length, Moment, basic},
};

/// What an event does to working time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Shift,
    Break,
    Closure,
}

#[derive(Debug)]
pub(super) struct Event {
    /// Where it begins in the file, not counting blank lines.
    pub(super) line: u64,
    uid: String,
    pub(super) summary: Option<String>,
    pub(super) role: Role,
    pub(super) start: Moment,
    pub(super) length: Length,
    /// RRULE whose UNTIL is on the clocks of the start.
    pub(super) rule: Option<String>,
    /// RDATE, on the clocks of the start.
    pub(super) also: Vec<DateTime>,
    /// EXDATE and replaced repetitions, on the clocks of the start.
    pub(super) except: BTreeSet<DateTime>,
    /// EXDATE of whole days.
    pub(super) except_days: BTreeSet<Date>,
    /// Breaks: how long after the start, and how long.
    pub(super) breaks: Vec<(SignedDuration, Length)>,
    /// RECURRENCE-ID.
    replaces: Option<Moment>,
    cancelled: bool,
    pub(super) moves_production_day: bool,
}

impl Event {
    /// Reads one; what is wrong with it goes to `errors`.
    pub(super) fn read(
        component: &Component<'_>,
        line: u64,
        zone: &TimeZone,
        errors: &mut Errors,
    ) -> Option<Self> {
        let mut add = |property: &str, what: &str, why: String| {
            errors.add(
                line,
                Some(property),
                what,
                why,
                "correct the event in the calendar and export it again",
            );
        };
        let draft = Draft { component, zone };
        match draft.event(line) {
            Ok(event) => Some(event),
            Err((property, why)) => {
                add(
                    property,
                    &format!("event {:?} cannot be taken", shown(&draft.label())),
                    why,
                );
                None
            }
        }
    }

    pub(super) fn label(&self) -> &str {
        self.summary.as_deref().unwrap_or(&self.uid)
    }
}

/// Cancelled events go; repetitions that another event replaces are taken out of their series.
pub(super) fn settle(events: &mut Vec<Event>) {
    let mut replaced = BTreeMap::<String, Vec<Moment>>::new();
    for event in &*events {
        if let Some(moment) = &event.replaces {
            replaced
                .entry(event.uid.clone())
                .or_default()
                .push(moment.clone());
        }
    }
    events.retain(|event| !event.cancelled);
    for event in events.iter_mut().filter(|event| event.replaces.is_none()) {
        for moment in replaced.get(&event.uid).into_iter().flatten() {
            event.leave_out(moment);
        }
    }
}

impl Event {
    fn leave_out(&mut self, moment: &Moment) {
        if moment.is_date {
            self.except_days.insert(moment.wall.date());
        } else if let Some(wall) = moment.on_clocks_of(&self.start.zone) {
            self.except.insert(wall);
        }
    }
}

/// Which property is wrong, and why.
type Wrong = (&'static str, String);

struct Draft<'c> {
    component: &'c Component<'c>,
    zone: &'c TimeZone,
}

impl<'c> Draft<'c> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'c Property<'c>> {
        let properties = self.component.properties.iter();
        properties.filter(move |property| property.name.as_str().eq_ignore_ascii_case(name))
    }

    fn text(&self, name: &'static str) -> Option<&'c str> {
        self.all(name)
            .next()
            .map(|property| property.val.as_str().trim())
    }

    fn moment(&self, name: &'static str) -> Result<Option<Moment>, Wrong> {
        let read =
            |property: &Property<'_>| Moment::read(property.val.as_str(), property, self.zone);
        self.all(name)
            .next()
            .map(read)
            .transpose()
            .map_err(|why| (name, why))
    }

    /// Values of a property that may come several times with several values.
    fn moments(&self, name: &'static str) -> Result<Vec<Moment>, Wrong> {
        let mut moments = Vec::new();
        for property in self.all(name) {
            for text in property.val.as_str().split(',') {
                let moment = Moment::read(text, property, self.zone).map_err(|why| (name, why))?;
                moments.push(moment);
            }
        }
        Ok(moments)
    }

    /// One line without control characters.
    fn summary(&self) -> Option<String> {
        let text: String = self
            .text("SUMMARY")?
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let text = text.trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    fn label(&self) -> String {
        self.summary()
            .unwrap_or_else(|| self.text("UID").unwrap_or_default().to_owned())
    }

    fn event(&self, line: u64) -> Result<Event, Wrong> {
        let start = self
            .moment("DTSTART")?
            .ok_or(("DTSTART", "it has no beginning".to_owned()))?;
        let length = self.length(&start)?;
        if self.all("EXRULE").next().is_some() {
            return Err((
                "EXRULE",
                "RFC 5545 took it out and readers differ: use EXDATE".to_owned(),
            ));
        }
        if self.all("RRULE").nth(1).is_some() {
            return Err((
                "RRULE",
                "it has two rules for repeating: make two events of it".to_owned(),
            ));
        }
        let on_clocks = |moment: &Moment, name: &'static str| {
            moment
                .on_clocks_of(&start.zone)
                .ok_or((name, "the time is out of range".to_owned()))
        };
        let also = self.moments("RDATE")?;
        let replaces = self.moment("RECURRENCE-ID")?;
        if self
            .all("RECURRENCE-ID")
            .any(|property| super::time::parameter(property, "RANGE").is_some())
        {
            return Err(("RECURRENCE-ID", "changes of a whole range are not supported: end the first series and begin a new one".to_owned()));
        }
        let mut event = Event {
            line,
            uid: self.text("UID").unwrap_or_default().to_owned(),
            summary: self.summary(),
            role: self.role(),
            rule: self
                .text("RRULE")
                .map(|text| rule(text, &start))
                .transpose()
                .map_err(|why| ("RRULE", why))?,
            also: also
                .iter()
                .map(|moment| on_clocks(moment, "RDATE"))
                .collect::<Result<_, _>>()?,
            except: BTreeSet::new(),
            except_days: BTreeSet::new(),
            breaks: self
                .all("X-BREAK")
                .map(|property| self.pause(property, &start))
                .collect::<Result<_, _>>()
                .map_err(|why| ("X-BREAK", why))?,
            replaces,
            cancelled: self
                .text("STATUS")
                .is_some_and(|status| status.eq_ignore_ascii_case("CANCELLED")),
            moves_production_day: self.text("X-PRODUCTION-DAY").is_some_and(|day| day != "0"),
            start,
            length,
        };
        for moment in self.moments("EXDATE")? {
            event.leave_out(&moment);
        }
        Ok(event)
    }

    fn length(&self, start: &Moment) -> Result<Length, Wrong> {
        if let Some(text) = self.text("DURATION") {
            return Length::read(text).map_err(|why| ("DURATION", why));
        }
        let Some(end) = self.moment("DTEND")? else {
            return match start.is_date {
                true => Ok(Length::Wall(SignedDuration::from_hours(24))),
                false => Err(("DTEND", "it has no end".to_owned())),
            };
        };
        if end.is_date != start.is_date {
            return Err((
                "DTEND",
                "one of beginning and end is a day and the other a time".to_owned(),
            ));
        }
        let end = end
            .on_clocks_of(&start.zone)
            .ok_or(("DTEND", "the time is out of range".to_owned()))?;
        let length = end.duration_since(start.wall);
        if !length.is_positive() {
            return Err((
                "DTEND",
                "it ends before it begins; a night shift ends on the next day".to_owned(),
            ));
        }
        Ok(Length::Wall(length))
    }

    /// `X-BREAK:20250310T100000Z/PT30M`, also with an end instead of a duration.
    fn pause(
        &self,
        property: &Property<'_>,
        start: &Moment,
    ) -> Result<(SignedDuration, Length), String> {
        let text = property.val.as_str();
        let (from, to) = text
            .split_once('/')
            .ok_or("it is no start/duration such as 20250310T100000Z/PT30M")?;
        let clock = |text: &str| {
            let moment = Moment::read(text, property, self.zone)?;
            moment
                .on_clocks_of(&start.zone)
                .ok_or_else(|| "the time is out of range".to_owned())
        };
        let from = clock(from)?;
        let length = match to.trim().starts_with(['P', '+']) {
            true => Length::read(to)?,
            false => Length::Wall(clock(to)?.duration_since(from)),
        };
        let offset = from.duration_since(start.wall);
        if offset.is_negative() || matches!(length, Length::Wall(length) if !length.is_positive()) {
            return Err("the break begins before the event, or ends before it begins".to_owned());
        }
        Ok((offset, length))
    }

    fn role(&self) -> Role {
        let words = self
            .all("CATEGORIES")
            .flat_map(|property| property.val.as_str().split(','));
        let mut role = Role::Shift;
        for word in words {
            match fold(word).as_str() {
                "closure" | "closed" | "holiday" | "maintenance" | "schliessung"
                | "betriebsferien" | "feiertag" | "wartung" => return Role::Closure,
                "break" | "pause" => role = Role::Break,
                _ => {}
            }
        }
        role
    }
}

/// The rule with UNTIL on the clocks of the start, so that all of it can be computed on wall clocks.
fn rule(text: &str, start: &Moment) -> Result<String, String> {
    if text.len() > RULE_CHARS_MAX {
        return Err(format!("it has more than {RULE_CHARS_MAX} characters"));
    }
    let mut parts = Vec::new();
    let mut daily_or_rarer = false;
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (name, value) = part
            .split_once('=')
            .ok_or_else(|| format!("{part:?} is no NAME=VALUE"))?;
        let (name, value) = (name.trim().to_uppercase(), value.trim().to_uppercase());
        match name.as_str() {
            "FREQ" => {
                daily_or_rarer = matches!(value.as_str(), "DAILY" | "WEEKLY" | "MONTHLY" | "YEARLY")
            }
            "UNTIL" => {
                let until = Moment::read(&value, &Property::new_ref("UNTIL", ""), &start.zone)?;
                let wall = until
                    .on_clocks_of(&start.zone)
                    .ok_or("UNTIL is out of range")?;
                let last = match until.is_date {
                    true => wall.date().at(23, 59, 59, 0),
                    false => wall,
                };
                parts.push(format!("UNTIL={}Z", basic(last)));
                continue;
            }
            _ => {}
        }
        parts.push(format!("{name}={value}"));
    }
    if !daily_or_rarer {
        return Err("shifts repeat daily, weekly, monthly or yearly".to_owned());
    }
    Ok(parts.join(";"))
}

/// Longest rule; a list of all days of a year has less.
const RULE_CHARS_MAX: usize = 2_000;
