//! ISO 8601 weeks: they start on Monday; 2026 has 53.
//!
//! Planners count in weeks, so a week is a value of its own: `2026-W49`, ordered, with a Monday. A week text
//! that no calendar has (`2026-W54`) is refused with the number of weeks that year has. A [`WeekSpan`] is what
//! people type (`2026-W49..W51`) and is bounded like a series is.

use jiff::civil::{Date, ISOWeekDate, Weekday};
use serde::{Deserialize, Serialize};

use crate::limits::SERIES_BUCKETS_MAX;

/// An ISO week, `2026-W49`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Week {
    year: i16,
    week: i8,
}

/// Why a text is not a week or a span of weeks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO week like 2026-W49: {0}")]
pub struct WeekError(pub String);

impl Week {
    /// Week `week` of ISO year `year`, if that year has it.
    pub fn new(year: i16, week: i8) -> Result<Self, WeekError> {
        if !(1..=9999).contains(&year) {
            return Err(WeekError(format!("year {year} is outside 1 to 9999")));
        }
        let last = ISOWeekDate::new(year, 1, Weekday::Monday)
            .map_err(|error| WeekError(error.to_string()))?
            .weeks_in_year();
        if !(1..=last).contains(&week) {
            return Err(WeekError(format!(
                "{year} has {last} weeks, there is no week {week}"
            )));
        }
        Ok(Self { year, week })
    }
    /// The week that contains `date`. A date outside the years 1..=9999 gives the nearest week inside.
    #[must_use]
    pub fn of(date: Date) -> Self {
        let iso = date.iso_week_date();
        if iso.year() < 1 {
            Self { year: 1, week: 1 }
        } else {
            Self {
                year: iso.year(),
                week: iso.week(),
            }
        }
    }
    /// Its Monday.
    #[must_use]
    pub fn monday(self) -> Date {
        ISOWeekDate::new(self.year, self.week, Weekday::Monday)
            .expect("a Week only holds weeks that its year has")
            .date()
    }
    /// `n` weeks later (or earlier); `None` outside years 1..=9999.
    #[must_use]
    pub fn plus(self, n: i32) -> Option<Self> {
        let days = jiff::Span::new()
            .try_days(i64::from(n).checked_mul(7)?)
            .ok()?;
        let iso = self.monday().checked_add(days).ok()?.iso_week_date();
        (iso.year() >= 1).then(|| Self {
            year: iso.year(),
            week: iso.week(),
        })
    }
    /// How many weeks `self` is after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> i32 {
        days_between(earlier.monday(), self.monday()) / 7
    }
    /// ISO year.
    #[must_use]
    pub fn year(self) -> i16 {
        self.year
    }
    /// Number of the week in its year, 1..=53.
    #[must_use]
    pub fn number(self) -> i8 {
        self.week
    }
}
impl std::str::FromStr for Week {
    type Err = WeekError;
    /// Reads `2026-W49`, and nothing else: four digits, `-W`, two digits.
    fn from_str(text: &str) -> Result<Self, WeekError> {
        let refused = || WeekError(format!("{:?}", shown(text)));
        let (year, week) = text.split_once("-W").ok_or_else(refused)?;
        let year = digits(year, 4).ok_or_else(refused)?;
        let week = digits(week, 2).ok_or_else(refused)?;
        Self::new(year, i8::try_from(week).map_err(|_| refused())?)
    }
}
impl std::fmt::Display for Week {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:04}-W{:02}", self.year, self.week))
    }
}
impl TryFrom<String> for Week {
    type Error = WeekError;
    fn try_from(text: String) -> Result<Self, WeekError> {
        text.parse()
    }
}
impl From<Week> for String {
    fn from(week: Week) -> Self {
        week.to_string()
    }
}

/// A span of weeks, both ends included: `2026-W49..W51`, `2026-W52..2027-W02`, or one week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeekSpan {
    /// First week.
    pub first: Week,
    /// Last week, not before `first`.
    pub last: Week,
}
impl WeekSpan {
    /// From `first` to `last`, both included; refused if it runs backwards or is longer than a series can be.
    pub fn new(first: Week, last: Week) -> Result<Self, WeekError> {
        let weeks = i64::from(last.since(first)) + 1;
        if weeks < 1 {
            return Err(WeekError(format!(
                "the span ends in {last}, before it begins in {first}"
            )));
        }
        if weeks > SERIES_BUCKETS_MAX as i64 {
            return Err(WeekError(format!(
                "the span has {weeks} weeks, the limit is {SERIES_BUCKETS_MAX}"
            )));
        }
        Ok(Self { first, last })
    }
    /// The weeks in order.
    pub fn weeks(self) -> impl Iterator<Item = Week> {
        (0..=self.last.since(self.first)).filter_map(move |n| self.first.plus(n))
    }
    /// True if `week` lies in it.
    #[must_use]
    pub fn contains(self, week: Week) -> bool {
        (self.first..=self.last).contains(&week)
    }
}
impl std::str::FromStr for WeekSpan {
    type Err = WeekError;
    /// Reads `2026-W49`, `2026-W49..W51` (same year) and `2026-W52..2027-W02`.
    fn from_str(text: &str) -> Result<Self, WeekError> {
        let Some((first, last)) = text.split_once("..") else {
            let week = text.parse()?;
            return Ok(Self {
                first: week,
                last: week,
            });
        };
        let first: Week = first.parse()?;
        let last = match last.strip_prefix('W') {
            Some(number) => {
                let number = digits(number, 2).and_then(|n| i8::try_from(n).ok());
                Week::new(
                    first.year,
                    number.ok_or_else(|| WeekError(format!("{:?}", shown(last))))?,
                )?
            }
            None => last.parse()?,
        };
        Self::new(first, last)
    }
}
impl std::fmt::Display for WeekSpan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}..{}", self.first, self.last)
        }
    }
}

/// Whole days from `from` to `to`, negative if `to` is earlier.
pub(crate) fn days_between(from: Date, to: Date) -> i32 {
    (to - from).get_days()
}

/// Exactly `count` ASCII digits as a number.
fn digits(text: &str, count: usize) -> Option<i16> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// How much of a refused text an error repeats.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn week(text: &str) -> Week {
        text.parse().unwrap()
    }

    #[test]
    fn weeks_of_the_calendar() {
        let cases = [
            (date(2026, 1, 1), "2026-W01"),
            (date(2025, 12, 29), "2026-W01"),
            (date(2025, 12, 28), "2025-W52"),
            (date(2026, 12, 28), "2026-W53"),
            (date(2027, 1, 3), "2026-W53"),
            (date(2027, 1, 4), "2027-W01"),
            (date(1, 1, 1), "0001-W01"),
            (date(9999, 12, 31), "9999-W52"),
        ];
        for (day, text) in cases {
            assert_eq!(Week::of(day).to_string(), text, "{day}");
        }
        assert_eq!(week("2026-W53").monday(), date(2026, 12, 28));
        assert_eq!(Week::of(date(-5000, 6, 1)), week("0001-W01"));
    }

    #[test]
    fn refusals_say_what_the_year_has() {
        let cases = [
            ("2026-W54", "2026 has 53 weeks, there is no week 54"),
            ("2025-W53", "2025 has 52 weeks, there is no week 53"),
            ("2026-W00", "2026 has 53 weeks, there is no week 0"),
            ("0000-W01", "year 0 is outside 1 to 9999"),
            ("2026-W9", "\"2026-W9\""),
            ("2026W49", "\"2026W49\""),
            ("2026-w49", "\"2026-w49\""),
            ("2026-W49 ", "\"2026-W49 \""),
            ("26-W49", "\"26-W49\""),
            ("+026-W49", "\"+026-W49\""),
            ("2026-W+9", "\"2026-W+9\""),
            ("2026-W999", "\"2026-W999\""),
            ("", "\"\""),
            (
                "2026-W51..2026-W49",
                "the span ends in 2026-W49, before it begins in 2026-W51",
            ),
            (
                "2026-W52..W02",
                "the span ends in 2026-W02, before it begins in 2026-W52",
            ),
            ("2026-W52..W54", "2026 has 53 weeks, there is no week 54"),
            ("2026-W52..54", "\"54\""),
            ("2026-W52..W5", "\"W5\""),
            ("..", "\"\""),
            (
                "2026-W01..2036-W01",
                "the span has 523 weeks, the limit is 520",
            ),
        ];
        for (text, why) in cases {
            let error = text
                .parse::<WeekSpan>()
                .map(|span| span.to_string())
                .unwrap_err();
            assert_eq!(error, WeekError(why.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn spans_as_people_type_them() {
        let weeks = |text: &str| {
            text.parse::<WeekSpan>()
                .unwrap()
                .weeks()
                .map(String::from)
                .collect::<Vec<_>>()
        };
        assert_eq!(weeks("2026-W49"), ["2026-W49"]);
        assert_eq!(weeks("2026-W49..W51"), ["2026-W49", "2026-W50", "2026-W51"]);
        assert_eq!(
            weeks("2026-W52..2027-W02"),
            ["2026-W52", "2026-W53", "2027-W01", "2027-W02"]
        );
        assert_eq!(weeks("2026-W01..2035-W50").len(), 520);
        let span: WeekSpan = "2026-W52..2027-W02".parse().unwrap();
        assert!(span.contains(week("2026-W53")) && !span.contains(week("2027-W03")));
    }

    #[test]
    fn steps_stop_at_the_ends_of_the_calendar() {
        assert_eq!(week("2026-W53").plus(1), Some(week("2027-W01")));
        assert_eq!(week("0001-W01").plus(-1), None);
        assert_eq!(week("9999-W52").plus(1), None);
        assert_eq!(week("2026-W01").plus(i32::MAX), None);
        assert_eq!(week("2026-W01").plus(i32::MIN), None);
    }

    proptest! {
        #[test]
        fn weeks_are_read_back_and_counted(start in 0_i32..521_000, n in -520_i32..520) {
            let first = Week { year: 1, week: 1 }.plus(start).unwrap();
            prop_assert_eq!(first.to_string().parse(), Ok(first));
            prop_assert_eq!(Week::of(first.monday()), first);
            prop_assert_eq!(first.monday().weekday(), Weekday::Monday);
            if let Some(later) = first.plus(n) {
                prop_assert_eq!(later.since(first), n);
                prop_assert_eq!(later > first, n > 0);
                if let Ok(span) = WeekSpan::new(first, later) {
                    prop_assert_eq!(span.to_string().parse(), Ok(span));
                }
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}", near in "[0-9]{0,5}-?W?[0-9]{0,3}(\\.\\.([0-9]{4}-)?W?[0-9]{0,3})?") {
            let _ = text.parse::<WeekSpan>();
            let _ = near.parse::<WeekSpan>();
            let _ = near.parse::<Week>();
        }
    }
}
