//! Free numbers by ISO week, packed: a week is a number, a value is thousandths, and the values of all
//! capacities lie in one vector ([`Values`]), so that a question runs through them in order.

use std::{collections::BTreeMap, ops::Range};

use fmesh_proto::{
    kinds::{Bucket, Capacity, Slot},
    quantity::Quantity,
    week::{Week, WeekSpan},
};
use jiff::civil::{Date, date};

use super::query::Free;

/// Weeks since the week of 1970-01-01.
pub(super) fn number(week: Week) -> i32 {
    week.since(Week::of(EPOCH))
}

const EPOCH: Date = date(1970, 1, 1);
/// Stands for unknown; no quantity is this far below zero.
const UNKNOWN: i64 = i64::MIN;

/// Numbers of all capacities.
#[derive(Debug, Default)]
pub(super) struct Values {
    all: Vec<i64>,
    /// Starts of free pieces by length: a new revision mostly has as many weeks as the old one.
    free: BTreeMap<u32, Vec<u32>>,
}

impl Values {
    fn take(&mut self, first: i32, values: &[i64]) -> Series {
        let len = u32::try_from(values.len()).expect("a series has at most 520 buckets");
        let free = self.free.get_mut(&len).and_then(Vec::pop);
        let start = free.unwrap_or_else(|| {
            let start = self.all.len();
            self.all.resize(start + values.len(), UNKNOWN);
            u32::try_from(start).expect("an index holds far below 2^32 numbers")
        });
        self.all[start as usize..][..values.len()].copy_from_slice(values);
        Series::Known { first, start, len }
    }

    /// Forgets a series.
    pub(super) fn give_back(&mut self, series: Series) {
        if let Series::Known { start, len, .. } = series {
            self.free.entry(len).or_default().push(start);
        }
    }

    fn get(&self, start: u32, len: u32) -> &[i64] {
        &self.all[start as usize..][..len as usize]
    }

    /// Numbers in use.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        let free = self
            .free
            .iter()
            .map(|(len, starts)| *len as usize * starts.len());
        self.all.len() - free.sum::<usize>()
    }
}

/// What one capacity record says about its weeks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Series {
    /// The numbers, or what is needed to read them, are not shown to us.
    Withheld,
    /// The author gives no numbers.
    Unknown,
    /// From week `first` on, in [`Values`].
    Known { first: i32, start: u32, len: u32 },
}

impl Series {
    pub(super) fn of(capacity: &Capacity, all: &mut Values) -> Self {
        let available = match &capacity.available {
            Slot::Withheld => return Self::Withheld,
            Slot::Unknown => return Self::Unknown,
            Slot::Known(available) => available,
        };
        // Who sees numbers without their unit or dates cannot use them.
        let (Slot::Known(_), Slot::Known(bucket), Slot::Known(start)) =
            (&capacity.unit, &capacity.bucket, &capacity.start)
        else {
            return Self::Withheld;
        };
        let value = |value: &Option<Quantity>| value.map_or(UNKNOWN, Quantity::thousandths);
        let values: Vec<i64> = available.iter().map(value).collect();
        let first = number(Week::of(*start));
        match bucket {
            Bucket::Week => all.take(first, &values),
            Bucket::Day => all.take(first, &weeks_of_days(*start, values)),
        }
    }

    /// The weeks it speaks of; `None` if no week in particular.
    pub(super) fn range(self) -> Option<Range<i32>> {
        match self {
            Self::Known { first, len, .. } => Some(first..first + len as i32),
            Self::Withheld | Self::Unknown => None,
        }
    }

    /// One week.
    pub(super) fn at(self, all: &Values, week: i32) -> Free {
        match self {
            Self::Withheld => Free::Withheld,
            Self::Unknown => Free::Unknown,
            Self::Known { first, start, len } => {
                let index = usize::try_from(week - first).ok();
                match index.and_then(|index| all.get(start, len).get(index)) {
                    None => Free::None,
                    Some(&UNKNOWN) => Free::Unknown,
                    Some(value) => Free::Known(Quantity::from_thousandths(*value)),
                }
            }
        }
    }

    /// Adds what is known of a span to `sum`.
    pub(super) fn add_to(self, sum: &mut Sum, all: &Values, span: Span) {
        let Self::Known { first, start, len } = self else {
            return;
        };
        // Weeks are below 10,000 years of them, so nothing here overflows.
        let begin = (span.first - first).clamp(0, len as i32);
        let end = (span.first + span.count - first).clamp(begin, len as i32);
        for value in all.get(start + begin as u32, (end - begin) as u32) {
            if *value != UNKNOWN {
                sum.thousandths = sum.thousandths.saturating_add(*value);
                sum.known += 1;
            }
        }
    }
}

/// A week is known if all of its seven days are.
fn weeks_of_days(start: Date, days: Vec<i64>) -> Vec<i64> {
    let before = start.weekday().to_monday_zero_offset() as usize;
    let days: Vec<i64> = std::iter::repeat_n(UNKNOWN, before).chain(days).collect();
    let week = |week: &[i64]| match week {
        week if week.len() < 7 || week.contains(&UNKNOWN) => UNKNOWN,
        week => week
            .iter()
            .fold(0, |sum: i64, day| sum.saturating_add(*day)),
    };
    days.chunks(7).map(week).collect()
}

/// A span of weeks by number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) first: i32,
    pub(super) count: i32,
}

impl Span {
    pub(super) fn of(weeks: WeekSpan) -> Self {
        let first = number(weeks.first);
        Self {
            first,
            count: (number(weeks.last) - first + 1).max(0),
        }
    }

    pub(super) fn numbers(self) -> Range<i32> {
        self.first..self.first + self.count
    }
}

/// What is known to be free in a span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) thousandths: i64,
    /// Weeks with a number.
    pub(super) known: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(bucket: Bucket, start: Date, available: &[&str]) -> Capacity {
        let value = |text: &&str| text.parse::<Quantity>().ok();
        Capacity {
            unit: Slot::Known(fmesh_proto::quantity::Unit::HOUR),
            bucket: Slot::Known(bucket),
            start: Slot::Known(start),
            available: Slot::Known(available.iter().map(value).collect()),
            ..Capacity::default()
        }
    }

    fn told(series: Series, all: &Values, weeks: &str) -> String {
        let span: WeekSpan = weeks.parse().expect("weeks");
        let each = |week| match series.at(all, number(week)) {
            Free::Known(quantity) => quantity.to_string(),
            Free::Unknown => "?".into(),
            Free::Withheld => "x".into(),
            Free::None => "-".into(),
        };
        let words: Vec<String> = span.weeks().map(each).collect();
        let mut sum = Sum::default();
        series.add_to(&mut sum, all, Span::of(span));
        format!(
            "{} = {} in {}",
            words.join(" "),
            Quantity::from_thousandths(sum.thousandths),
            sum.known
        )
    }

    #[test]
    fn weeks_and_days() {
        let mut all = Values::default();
        let weekly = capacity(Bucket::Week, date(2026, 11, 30), &["12.5", "?", "0", "38"]);
        let daily = [
            "8", "8", "8", "8", "4", "0", "0", "8", "?", "8", "8", "8", "0", "0", "9", "9",
        ];
        for (capacity, weeks, expected) in [
            (
                weekly.clone(),
                "2026-W48..W53",
                "- 12.5 ? 0 38 - = 50.5 in 3",
            ),
            (weekly.clone(), "2026-W50..W51", "? 0 = 0 in 1"),
            (weekly.clone(), "2027-W10..W11", "- - = 0 in 0"),
            (weekly.clone(), "2025-W10..W11", "- - = 0 in 0"),
            (
                capacity(Bucket::Day, date(2026, 11, 30), &daily),
                "2026-W48..W52",
                "- 36 ? ? - = 36 in 1",
            ),
            (
                capacity(Bucket::Day, date(2026, 12, 1), &["8"; 13]),
                "2026-W49..W51",
                "? 56 - = 56 in 1",
            ),
            (
                capacity(Bucket::Day, date(2026, 12, 27), &["5"; 8]),
                "2026-W52..2027-W01",
                "? 35 - = 35 in 1",
            ),
            (
                Capacity {
                    available: Slot::Withheld,
                    ..weekly.clone()
                },
                "2026-W49",
                "x = 0 in 0",
            ),
            (
                Capacity {
                    available: Slot::Unknown,
                    ..weekly.clone()
                },
                "2026-W49",
                "? = 0 in 0",
            ),
            (
                Capacity {
                    start: Slot::Withheld,
                    ..weekly.clone()
                },
                "2026-W49",
                "x = 0 in 0",
            ),
            (
                Capacity {
                    unit: Slot::Withheld,
                    ..weekly
                },
                "2026-W49",
                "x = 0 in 0",
            ),
        ] {
            let series = Series::of(&capacity, &mut all);
            assert_eq!(told(series, &all, weeks), expected, "{weeks}");
        }
    }
    #[test]
    fn numbers_of_a_replaced_series_are_used_again() {
        let mut all = Values::default();
        let series = |available: &[&str], all: &mut Values| {
            Series::of(&capacity(Bucket::Week, date(2026, 11, 30), available), all)
        };
        let old = series(&["1", "2", "3"], &mut all);
        let other = series(&["9", "9"], &mut all);
        all.give_back(old);
        let new = series(&["4", "5", "?"], &mut all);
        assert_eq!((all.used(), all.all.len()), (5, 5));
        assert_eq!(told(new, &all, "2026-W49..W51"), "4 5 ? = 9 in 2");
        assert_eq!(told(other, &all, "2026-W49..W50"), "9 9 = 18 in 2");
    }
}
