//! How much is free in a span of weeks? (RECORDS.md, "Search")
//!
//! Reads the column `available` of one capacity. An unknown number never counts as free, and the answer says
//! that it is unknown: a week whose number is null, withheld or outside the record is `None` and adds nothing.
//! Of a daily capacity a week is known if all seven days are.

use crate::{
    kinds::{Bucket, Capacity},
    quantity::{Quantity, Unit},
    week::{Week, WeekSpan, days_between},
};

/// What is free, week by week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Free {
    /// One entry per week of the span; `None` is unknown.
    pub weeks: Vec<Option<Quantity>>,
    /// Sum of the known weeks.
    pub known: Quantity,
    /// Unit of the numbers; `None` if it is not shown, and then they should not be compared with hours.
    pub unit: Option<Unit>,
}
impl Free {
    /// True if some week of the span is unknown, so that there may be more than [`Self::known`].
    #[must_use]
    pub fn has_unknown(&self) -> bool {
        self.weeks.iter().any(Option::is_none)
    }
    /// True if the known weeks alone are enough: `needed` of the same unit is there for sure.
    #[must_use]
    pub fn is_enough(&self, needed: Quantity, unit: Unit) -> bool {
        self.unit == Some(unit) && self.known >= needed
    }
}

/// Sums `available` over `span`.
#[must_use]
pub fn free(capacity: &Capacity, span: WeekSpan) -> Free {
    let mut weeks: Vec<_> = span.weeks().map(|week| in_week(capacity, week)).collect();
    let mut known = Quantity::ZERO;
    for week in &mut weeks {
        // A sum that no quantity can hold is not a number of hours: such a week counts as unknown.
        match week.map(|free| known.checked_add(free)) {
            Some(Some(sum)) => known = sum,
            Some(None) => *week = None,
            None => {}
        }
    }
    Free {
        weeks,
        known,
        unit: capacity.unit.known().copied(),
    }
}

fn in_week(capacity: &Capacity, week: Week) -> Option<Quantity> {
    let available = capacity.available.known()?;
    let start = *capacity.start.known()?;
    let days = days_between(start, week.monday());
    let at = |index: i32| {
        available
            .get(usize::try_from(index).ok()?)
            .copied()
            .flatten()
    };
    match capacity.bucket.known()? {
        Bucket::Week => (days % 7 == 0).then(|| at(days / 7)).flatten(),
        Bucket::Day => {
            (days..days + 7).try_fold(Quantity::ZERO, |sum, day| sum.checked_add(at(day)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::{Date, date};
    use proptest::prelude::*;

    use super::*;
    use crate::kinds::Slot;

    fn capacity(bucket: Bucket, start: Date, available: &[&str]) -> Capacity {
        let number = |text: &&str| (*text != "?").then(|| text.parse().unwrap());
        Capacity {
            unit: Slot::Known(Unit::HOUR),
            bucket: Slot::Known(bucket),
            start: Slot::Known(start),
            available: Slot::Known(available.iter().map(number).collect()),
            ..Capacity::default()
        }
    }

    /// Weeks, sum, and whether something is unknown, on one line.
    fn told(capacity: &Capacity, span: &str) -> String {
        let free = free(capacity, span.parse().unwrap());
        let weeks: Vec<_> = free
            .weeks
            .iter()
            .map(|week| week.map_or("?".to_owned(), |free| free.to_string()))
            .collect();
        format!(
            "{} = {}{}",
            weeks.join(" "),
            free.known,
            if free.has_unknown() {
                " and unknown"
            } else {
                ""
            }
        )
    }

    #[test]
    fn weekly() {
        // W52 and W53 of 2026, then W01 of 2027.
        let weekly = capacity(Bucket::Week, date(2026, 12, 21), &["12", "0", "?", "37.5"]);
        let cases = [
            ("2026-W52", "12 = 12"),
            ("2026-W52..W53", "12 0 = 12"),
            ("2026-W52..2027-W02", "12 0 ? 37.5 = 49.5 and unknown"),
            ("2026-W51..W52", "? 12 = 12 and unknown"),
            ("2027-W02..W03", "37.5 ? = 37.5 and unknown"),
            ("2020-W01", "? = 0 and unknown"),
        ];
        for (span, expected) in cases {
            assert_eq!(told(&weekly, span), expected, "{span}");
        }
    }

    #[test]
    fn daily() {
        let days: Vec<&str> = [
            "1", "2", "3", "4", "5", "0", "0", "8", "8", "?", "8", "8", "0", "0",
        ]
        .to_vec();
        assert_eq!(
            told(
                &capacity(Bucket::Day, date(2026, 11, 30), &days),
                "2026-W49..W51"
            ),
            "15 ? ? = 15 and unknown"
        );
        // From a Wednesday on: the first week is not covered by the record.
        assert_eq!(
            told(
                &capacity(Bucket::Day, date(2026, 11, 25), &["1"; 12]),
                "2026-W48..W49"
            ),
            "? 7 = 7 and unknown"
        );
    }

    #[test]
    fn what_is_not_shown_is_not_free() {
        let full = capacity(Bucket::Week, date(2026, 11, 30), &["40"]);
        assert_eq!(told(&full, "2026-W49"), "40 = 40");
        for hidden in [
            Capacity {
                available: Slot::Withheld,
                ..full.clone()
            },
            Capacity {
                available: Slot::Unknown,
                ..full.clone()
            },
            Capacity {
                start: Slot::Withheld,
                ..full.clone()
            },
            Capacity {
                bucket: Slot::Withheld,
                ..full.clone()
            },
            Capacity {
                start: Slot::Known(date(2026, 12, 1)),
                ..full.clone()
            },
        ] {
            assert_eq!(told(&hidden, "2026-W49"), "? = 0 and unknown");
        }
        let span = "2026-W49".parse().unwrap();
        let hours = |n| Quantity::from_units(n).unwrap();
        assert!(free(&full, span).is_enough(hours(40), Unit::HOUR));
        assert!(!free(&full, span).is_enough(hours(41), Unit::HOUR));
        assert!(!free(&full, span).is_enough(hours(1), Unit::TONNE));
        assert!(
            !free(
                &Capacity {
                    unit: Slot::Withheld,
                    ..full
                },
                span
            )
            .is_enough(hours(1), Unit::HOUR)
        );
    }

    #[test]
    fn sums_that_overflow_are_unknown() {
        let most = "9223372036854775.807";
        let weekly = capacity(Bucket::Week, date(2026, 11, 30), &[most, "1"]);
        assert_eq!(
            told(&weekly, "2026-W49..W50"),
            format!("{most} ? = {most} and unknown")
        );
        let daily = capacity(Bucket::Day, date(2026, 11, 30), &[most; 7]);
        assert_eq!(told(&daily, "2026-W49"), "? = 0 and unknown");
    }

    proptest! {
        #[test]
        fn days_and_weeks_of_the_same_hours_agree(hours in prop::collection::vec(prop::option::weighted(0.95, 0_i64..24_000), 0..60)) {
            let series: Vec<_> = hours.iter().map(|h| h.map(Quantity::from_thousandths)).collect();
            let by_week = series.chunks_exact(7).map(|days| days.iter().copied().try_fold(Quantity::ZERO, |sum, day| sum.checked_add(day?)));
            let daily = Capacity { available: Slot::Known(series.clone()), ..capacity(Bucket::Day, date(2026, 11, 30), &[]) };
            let weekly = Capacity { available: Slot::Known(by_week.collect()), ..capacity(Bucket::Week, date(2026, 11, 30), &[]) };
            let span: WeekSpan = "2026-W48..2027-W06".parse().unwrap();
            prop_assert_eq!(free(&daily, span), free(&weekly, span));
        }
    }
}
