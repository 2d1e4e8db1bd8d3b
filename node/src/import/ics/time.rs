//! Times of a calendar: UTC, in a zone, or floating, and lengths.
//!
//! A [`Moment`] keeps wall clock and zone, because repetition is a matter of wall clocks: a shift at 06:00 is at
//! 06:00 in summer and in winter. Zones are IANA names; Outlook's names for European zones are known, too.

use icalendar::parser::Property;
use jiff::{
    SignedDuration, Span, Zoned,
    civil::{Date, DateTime, Time},
    tz::TimeZone,
};

/// A wall clock in a zone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moment {
    pub(super) wall: DateTime,
    pub(super) zone: TimeZone,
    /// A whole day.
    pub(super) is_date: bool,
}

/// How long something takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Length {
    /// Until a wall clock time.
    Wall(SignedDuration),
    /// Days by the calendar, hours exact.
    Exact(Span),
}

impl Moment {
    /// Reads a property's value, or one of its values.
    pub(super) fn read(
        text: &str,
        property: &Property<'_>,
        default: &TimeZone,
    ) -> Result<Self, String> {
        let text = text.trim();
        let (day, rest) = text.split_at_checked(8).ok_or_else(|| not_a_time(text))?;
        let date = date(day).ok_or_else(|| not_a_time(text))?;
        let zone = match parameter(property, "TZID") {
            _ if rest.ends_with('Z') => TimeZone::UTC,
            Some(name) => zone(name)?,
            None => default.clone(),
        };
        if rest.is_empty() {
            return Ok(Self {
                wall: date.to_datetime(Time::midnight()),
                zone: default.clone(),
                is_date: true,
            });
        }
        let clock = rest
            .strip_prefix('T')
            .map(|clock| clock.trim_end_matches('Z'));
        let time = clock.and_then(time).ok_or_else(|| not_a_time(text))?;
        Ok(Self {
            wall: date.to_datetime(time),
            zone,
            is_date: false,
        })
    }

    /// The same instant on the clocks of another zone; a whole day stays that day.
    pub(super) fn on_clocks_of(&self, zone: &TimeZone) -> Option<DateTime> {
        if self.is_date || self.zone == *zone {
            return Some(self.wall);
        }
        let zoned = self.zone.to_zoned(self.wall).ok()?;
        Some(zoned.with_time_zone(zone.clone()).datetime())
    }
}

impl Length {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is no duration such as PT30M or P1D");
        let span: Span = text.trim().parse().map_err(|_| refused())?;
        if span.is_negative() || span.is_zero() || span.get_years() != 0 || span.get_months() != 0 {
            return Err(refused());
        }
        Ok(Self::Exact(span))
    }

    /// End of what begins then.
    pub(super) fn after(self, start: &Zoned, wall: DateTime) -> Option<Zoned> {
        match self {
            Self::Wall(length) => {
                let end = wall.checked_add(length).ok()?;
                start.time_zone().to_zoned(end).ok()
            }
            Self::Exact(span) => start.checked_add(span).ok(),
        }
    }
}

pub(super) fn parameter<'p>(property: &'p Property<'_>, name: &str) -> Option<&'p str> {
    let found = property
        .params
        .iter()
        .find(|p| p.key.as_str().eq_ignore_ascii_case(name))?;
    Some(found.val.as_ref()?.as_str().trim_matches('"'))
}

/// A wall clock as `rrule` reads it.
pub(super) fn basic(wall: DateTime) -> String {
    wall.strftime("%Y%m%dT%H%M%S").to_string()
}

pub(super) fn date(text: &str) -> Option<Date> {
    let number = |from: usize, to: usize| digits(text.get(from..to)?);
    let month = i8::try_from(number(4, 6)?).ok()?;
    let day = i8::try_from(number(6, 8)?).ok()?;
    Date::new(number(0, 4)?, month, day).ok()
}

fn time(text: &str) -> Option<Time> {
    if text.len() != 6 {
        return None;
    }
    let number = |from: usize| i8::try_from(digits(text.get(from..from + 2)?)?).ok();
    // A leap second is the last second of its minute.
    Time::new(number(0)?, number(2)?, number(4)?.min(59), 0).ok()
}

fn digits(text: &str) -> Option<i16> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

fn not_a_time(text: &str) -> String {
    let shown: String = text.chars().take(40).collect();
    format!("{shown:?} is no time such as 20261130T060000Z or 20261224")
}

/// By IANA name, by Outlook's name, or by an IANA name at the end of a path.
fn zone(name: &str) -> Result<TimeZone, String> {
    let outlook = |name: &str| {
        let found = OUTLOOK
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map_or(name.to_owned(), |(_, iana)| (*iana).to_owned())
    };
    let tail = || {
        let mut parts = name.rsplit('/');
        let (city, area) = (parts.next()?, parts.next()?);
        TimeZone::get(&format!("{area}/{city}")).ok()
    };
    TimeZone::get(&outlook(name))
        .ok()
        .or_else(tail)
        .ok_or_else(|| {
            let shown: String = name.chars().take(60).collect();
            format!("time zone {shown:?} is not known: use an IANA name such as Europe/Berlin")
        })
}

/// Names of European zones in Windows, as in the CLDR table windowsZones.
const OUTLOOK: [(&str, &str); 12] = [
    ("UTC", "Etc/UTC"),
    ("GMT Standard Time", "Europe/London"),
    ("W. Europe Standard Time", "Europe/Berlin"),
    ("Central Europe Standard Time", "Europe/Budapest"),
    ("Romance Standard Time", "Europe/Paris"),
    ("Central European Standard Time", "Europe/Warsaw"),
    ("GTB Standard Time", "Europe/Bucharest"),
    ("FLE Standard Time", "Europe/Kiev"),
    ("E. Europe Standard Time", "Europe/Chisinau"),
    ("Turkey Standard Time", "Europe/Istanbul"),
    ("Russian Standard Time", "Europe/Moscow"),
    ("Greenwich Standard Time", "Atlantic/Reykjavik"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(params: &str, text: &str) -> Result<String, String> {
        let line = format!("DTSTART{params}:{text}");
        let unfolded = format!("BEGIN:VEVENT\r\n{line}\r\nEND:VEVENT");
        let components = icalendar::parser::read_components(&unfolded).unwrap();
        let property = &components[0].properties[0];
        let zone = TimeZone::get("Europe/Vienna").unwrap();
        Moment::read(text, property, &zone).map(|m| {
            format!(
                "{} {} {}",
                m.wall,
                m.zone.iana_name().unwrap_or("UTC"),
                m.is_date
            )
        })
    }

    #[test]
    fn times_and_zones() {
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(
            moment("", "20261130T060000Z"),
            ok("2026-11-30T06:00:00 UTC false")
        );
        assert_eq!(
            moment("", "20261130T060000"),
            ok("2026-11-30T06:00:00 Europe/Vienna false")
        );
        assert_eq!(
            moment(";VALUE=DATE", "20261130"),
            ok("2026-11-30T00:00:00 Europe/Vienna true")
        );
        for zone in [
            "Europe/Prague",
            "\"Europe/Prague\"",
            "/citadel.org/20210210_1/Europe/Prague",
        ] {
            assert_eq!(
                moment(&format!(";TZID={zone}"), "20261130T060000"),
                ok("2026-11-30T06:00:00 Europe/Prague false")
            );
        }
        assert_eq!(
            moment(";TZID=W. Europe Standard Time", "20261130T060000"),
            ok("2026-11-30T06:00:00 Europe/Berlin false")
        );
        assert!(
            moment(";TZID=Middle Earth", "20261130T060000")
                .unwrap_err()
                .contains("Middle Earth")
        );
        for bad in [
            "",
            "2026113",
            "20261131",
            "20261130T06",
            "20261130T250000",
            "20261130X060000",
            "2026-11-30",
            "2026113ä",
            "20261130T06000ä",
        ] {
            assert!(moment("", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lengths() {
        for good in ["PT30M", "P1D", "P1W", "P1DT2H", "PT8H30M"] {
            assert!(Length::read(good).is_ok(), "{good}");
        }
        for bad in ["", "PT0S", "-PT30M", "P1M", "P1Y", "30M", "PT"] {
            assert!(Length::read(bad).is_err(), "{bad}");
        }
        for (_, iana) in OUTLOOK {
            assert!(TimeZone::get(iana).is_ok(), "{iana}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,20}|[0-9TZ]{0,18}") {
            let name = Property::new_ref("DTSTART", "");
            let _ = (Moment::read(&text, &name, &TimeZone::UTC), Length::read(&text), zone(&text));
        }
    }
}
