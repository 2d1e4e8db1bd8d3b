//! Planned hours from working times, breaks and closures (RECORDS.md, "Planned hours").
//!
//! (working time − breaks) × rate × parallel units, per bucket. Times are instants in UTC, so a night shift in
//! Berlin has 7 or 9 hours on the nights when clocks change, all by itself; only the borders between buckets
//! need the site's time zone, which comes in. Working times that overlap count once, and so do closures.
//! Closures and maintenance do not shrink the total: what falls into working time becomes `unattainable`, so
//! that total = committed + available + unattainable can hold.
//!
//! Reading a calendar and expanding its rules happens elsewhere; this only adds up.

use jiff::{civil::Date, tz::TimeZone};

use crate::{kinds::Bucket, limits::SERIES_BUCKETS_MAX, quantity::Quantity};

/// A stretch of time in unix seconds, `end` not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    /// First second.
    pub start: i64,
    /// First second after it.
    pub end: i64,
}

/// What a calendar says about one capacity.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Shifts, in any order, overlapping or not.
    pub working: &'a [Interval],
    /// Breaks; only their part within working time counts.
    pub breaks: &'a [Interval],
    /// Closures and maintenance; only their part within working time counts.
    pub closures: &'a [Interval],
    /// Output per hour, or 1 for plain hours.
    pub rate: Quantity,
    /// How many units work at the same time, or 1.
    pub parallel: Quantity,
}

/// One bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// First day of the bucket.
    pub start: Date,
    /// Working time without breaks, closures included.
    pub total: Quantity,
    /// The part of the total that falls into closures.
    pub unattainable: Quantity,
}

/// Why nothing is planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// An interval runs backwards.
    #[error(
        "a time range ends ({end}) before it starts ({start}), in unix seconds: mend the calendar entry"
    )]
    Backwards {
        /// Its start.
        start: i64,
        /// Its end.
        end: i64,
    },
    /// A factor below zero.
    #[error("rate and parallel units cannot be negative: {0}")]
    Negative(Quantity),
    /// More buckets than a series holds.
    #[error("{0} buckets are asked for, the limit is {SERIES_BUCKETS_MAX}")]
    TooManyBuckets(usize),
    /// A bucket border that is no instant, or hours that are no quantity.
    #[error("bucket {start}: out of range")]
    OutOfRange {
        /// First day of the series or of the bucket.
        start: Date,
    },
}

/// Adds up `count` buckets from `start` on, whose borders are midnights in `zone`. Thousandths are rounded to nearest.
pub fn planned(
    plan: &Plan<'_>,
    bucket: Bucket,
    start: Date,
    count: usize,
    zone: &TimeZone,
) -> Result<Vec<Planned>, PlanError> {
    if count > SERIES_BUCKETS_MAX {
        return Err(PlanError::TooManyBuckets(count));
    }
    if let Some(factor) = [plan.rate, plan.parallel]
        .into_iter()
        .find(|factor| factor.is_negative())
    {
        return Err(PlanError::Negative(factor));
    }
    let productive = without(&merged(plan.working)?, &merged(plan.breaks)?);
    let open = without(&productive, &merged(plan.closures)?);

    let mut result = Vec::with_capacity(count);
    for index in 0..count {
        let first = bucket
            .nth(start, index)
            .ok_or(PlanError::OutOfRange { start })?;
        let next = bucket
            .nth(start, index + 1)
            .ok_or(PlanError::OutOfRange { start })?;
        let out_of_range = || PlanError::OutOfRange { start: first };
        let border = |day| midnight(day, zone).ok_or_else(out_of_range);
        let window = Interval {
            start: border(first)?,
            end: border(next)?,
        };
        let total = seconds_within(&productive, window);
        let shut = total - seconds_within(&open, window);
        let hours = |seconds| plan.hours(seconds).ok_or_else(out_of_range);
        result.push(Planned {
            start: first,
            total: hours(total)?,
            unattainable: hours(shut)?,
        });
    }
    Ok(result)
}

impl Plan<'_> {
    /// Seconds × rate × parallel as thousandths of an hour, rounded to nearest.
    fn hours(&self, seconds: i64) -> Option<Quantity> {
        let factor =
            i128::from(self.rate.thousandths()).checked_mul(self.parallel.thousandths().into())?;
        let product = factor.checked_mul(seconds.into())?;
        // Both factors are thousandths and the result is, too: one 1000 remains. An hour has 3600 seconds.
        let divisor = 1000 * 3600;
        let rounded = product.checked_add(divisor / 2)? / divisor;
        i64::try_from(rounded).ok().map(Quantity::from_thousandths)
    }
}

/// First instant of `day`: midnight, or where clocks skip midnight the moment after the gap.
fn midnight(day: Date, zone: &TimeZone) -> Option<i64> {
    let midnight = day.to_zoned(zone.clone()).ok()?;
    Some(midnight.start_of_day().ok()?.timestamp().as_second())
}

/// Sorted, without overlaps and empty intervals.
fn merged(intervals: &[Interval]) -> Result<Vec<Interval>, PlanError> {
    if let Some(&Interval { start, end }) = intervals
        .iter()
        .find(|interval| interval.end < interval.start)
    {
        return Err(PlanError::Backwards { start, end });
    }
    let mut sorted: Vec<Interval> = intervals
        .iter()
        .copied()
        .filter(|i| i.start < i.end)
        .collect();
    sorted.sort_unstable();
    let mut merged: Vec<Interval> = Vec::with_capacity(sorted.len());
    for interval in sorted {
        match merged.last_mut() {
            Some(last) if interval.start <= last.end => last.end = last.end.max(interval.end),
            _ => merged.push(interval),
        }
    }
    Ok(merged)
}

/// What is in `from` and not in `removed`; both merged. One pass over each.
fn without(from: &[Interval], removed: &[Interval]) -> Vec<Interval> {
    let mut kept = Vec::with_capacity(from.len() + removed.len());
    let mut cuts = removed.iter().peekable();
    for interval in from {
        let mut start = interval.start;
        while let Some(cut) = cuts.next_if(|cut| cut.end <= interval.end) {
            if cut.end > start {
                kept.push(Interval {
                    start,
                    end: cut.start,
                });
                start = cut.end;
            }
        }
        // The next cut ends behind this interval: it may still begin inside, and may reach the next one.
        let end = cuts
            .peek()
            .map_or(interval.end, |cut| cut.start.min(interval.end));
        kept.push(Interval { start, end });
    }
    kept.retain(|interval| interval.start < interval.end);
    kept
}

/// Seconds of merged `intervals` inside `window`.
fn seconds_within(intervals: &[Interval], window: Interval) -> i64 {
    let first = intervals.partition_point(|interval| interval.end <= window.start);
    intervals[first..]
        .iter()
        .take_while(|interval| interval.start < window.end)
        .map(|interval| interval.end.min(window.end) - interval.start.max(window.start))
        .sum()
}

#[cfg(test)]
mod tests {
    use jiff::{
        ToSpan,
        civil::{DateTime, date},
    };
    use proptest::prelude::*;

    use super::*;

    const ONE: Quantity = Quantity::from_thousandths(1000);

    fn plan<'a>(
        working: &'a [Interval],
        breaks: &'a [Interval],
        closures: &'a [Interval],
    ) -> Plan<'a> {
        Plan {
            working,
            breaks,
            closures,
            rate: ONE,
            parallel: ONE,
        }
    }

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    /// From one wall clock time to another.
    fn wall(from: DateTime, to: DateTime, zone: &TimeZone) -> Interval {
        let second = |time: DateTime| time.to_zoned(zone.clone()).unwrap().timestamp().as_second();
        Interval {
            start: second(from),
            end: second(to),
        }
    }

    /// Every day for `days` days from `first`, `from` until `to` o'clock (of the next day if not later).
    fn daily(first: Date, days: i32, from: i8, to: i8, zone: &TimeZone) -> Vec<Interval> {
        let shift = |n: i32| {
            let day = first.checked_add(n.days()).unwrap();
            let end = if to > from {
                day
            } else {
                day.tomorrow().unwrap()
            };
            wall(day.at(from, 0, 0, 0), end.at(to, 0, 0, 0), zone)
        };
        (0..days).map(shift).collect()
    }

    /// `total` or `total-unattainable` per bucket.
    fn told(
        plan: &Plan<'_>,
        bucket: Bucket,
        start: Date,
        count: usize,
        zone: &TimeZone,
    ) -> Vec<String> {
        planned(plan, bucket, start, count, zone)
            .unwrap()
            .iter()
            .map(|p| {
                if p.unattainable == Quantity::ZERO {
                    p.total.to_string()
                } else {
                    format!("{}-{}", p.total, p.unattainable)
                }
            })
            .collect()
    }

    #[test]
    fn three_shifts_a_day_make_168_hours() {
        // Night 22-06, morning 06-14, evening 14-22 UTC, every day.
        let first = date(2025, 3, 9);
        let shifts = [(22, 6), (6, 14), (14, 22)]
            .map(|(from, to)| daily(first, 30, from, to, &TimeZone::UTC))
            .concat();
        assert_eq!(
            told(
                &plan(&shifts, &[], &[]),
                Bucket::Week,
                date(2025, 3, 17),
                2,
                &TimeZone::UTC
            ),
            ["168", "168"]
        );
        // In Berlin the week with the short night has an hour less.
        assert_eq!(
            told(
                &plan(&shifts, &[], &[]),
                Bucket::Week,
                date(2025, 3, 17),
                2,
                &berlin()
            ),
            ["168", "167"]
        );
    }

    #[test]
    fn one_shift_with_a_break_makes_37_and_a_half_hours() {
        let monday = date(2025, 3, 10);
        let shifts = daily(monday, 5, 6, 14, &TimeZone::UTC);
        let breaks: Vec<_> = shifts
            .iter()
            .map(|shift| Interval {
                start: shift.start + 4 * 3600,
                end: shift.start + 4 * 3600 + 1800,
            })
            .collect();
        assert_eq!(
            told(
                &plan(&shifts, &breaks, &[]),
                Bucket::Week,
                monday,
                2,
                &TimeZone::UTC
            ),
            ["37.5", "0"]
        );
        let days = told(
            &plan(&shifts, &breaks, &[]),
            Bucket::Day,
            monday,
            7,
            &TimeZone::UTC,
        );
        assert_eq!(days, ["7.5", "7.5", "7.5", "7.5", "7.5", "0", "0"]);
    }

    #[test]
    fn a_berlin_night_shift_follows_the_clock() {
        let cases = [
            // Saturday evenings before the changes of 2026, and one ordinary one.
            (date(2026, 3, 28), "7"),
            (date(2026, 10, 24), "9"),
            (date(2026, 11, 21), "8"),
        ];
        for (evening, hours) in cases {
            let night = daily(evening, 1, 22, 6, &berlin());
            let monday = crate::week::Week::of(evening).monday();
            assert_eq!(
                told(&plan(&night, &[], &[]), Bucket::Week, monday, 1, &berlin()),
                [hours],
                "{evening}"
            );
        }
        // Cut at local midnight: two hours on Saturday, five of the short Sunday.
        let night = daily(date(2026, 3, 28), 1, 22, 6, &berlin());
        assert_eq!(
            told(
                &plan(&night, &[], &[]),
                Bucket::Day,
                date(2026, 3, 28),
                2,
                &berlin()
            ),
            ["2", "5"]
        );
        // A whole day has 23 or 25 hours.
        for (day, hours) in [
            (date(2026, 3, 29), "23"),
            (date(2026, 10, 25), "25"),
            (date(2026, 10, 26), "24"),
        ] {
            let always = [Interval {
                start: 0,
                end: 4_000_000_000,
            }];
            assert_eq!(
                told(&plan(&always, &[], &[]), Bucket::Day, day, 1, &berlin()),
                [hours]
            );
        }
    }

    #[test]
    fn a_skipped_midnight_belongs_to_the_new_day() {
        // Clocks go from 00:00 to 01:00 on the first Sunday of September, as in Santiago.
        let zone = TimeZone::posix("<-04>4<-03>,M9.1.0/0,M4.1.0/0").unwrap();
        let always = [Interval {
            start: 0,
            end: 4_000_000_000,
        }];
        assert_eq!(
            told(
                &plan(&always, &[], &[]),
                Bucket::Day,
                date(2026, 9, 5),
                3,
                &zone
            ),
            ["24", "23", "24"]
        );
    }

    #[test]
    fn closures_become_unattainable_and_overlaps_count_once() {
        let hour = |from: i64, to: i64| Interval {
            start: from * 3600,
            end: to * 3600,
        };
        let zone = TimeZone::UTC;
        let thursday = date(1970, 1, 1);
        let cases = [
            (
                "overlapping shifts",
                vec![hour(6, 14), hour(10, 18)],
                vec![],
                vec![],
                "12",
            ),
            (
                "the same shift twice",
                vec![hour(6, 14), hour(6, 14)],
                vec![],
                vec![],
                "8",
            ),
            (
                "adjacent shifts",
                vec![hour(14, 22), hour(6, 14)],
                vec![],
                vec![],
                "16",
            ),
            (
                "break outside",
                vec![hour(6, 14)],
                vec![hour(15, 16)],
                vec![],
                "8",
            ),
            (
                "break across the end",
                vec![hour(6, 14)],
                vec![hour(13, 15)],
                vec![],
                "7",
            ),
            (
                "break across two shifts",
                vec![hour(6, 10), hour(11, 14)],
                vec![hour(9, 12)],
                vec![],
                "5",
            ),
            (
                "overlapping breaks",
                vec![hour(6, 14)],
                vec![hour(8, 10), hour(9, 11)],
                vec![],
                "5",
            ),
            (
                "all break",
                vec![hour(6, 14)],
                vec![hour(0, 24)],
                vec![],
                "0",
            ),
            (
                "closed all day",
                vec![hour(6, 14)],
                vec![],
                vec![hour(0, 24)],
                "8-8",
            ),
            (
                "closed for an hour",
                vec![hour(6, 14)],
                vec![],
                vec![hour(13, 20)],
                "8-1",
            ),
            (
                "closed on a free day",
                vec![],
                vec![],
                vec![hour(0, 24)],
                "0",
            ),
            (
                "a break in a closure counts once",
                vec![hour(6, 14)],
                vec![hour(9, 10)],
                vec![hour(8, 11)],
                "7-2",
            ),
            (
                "overlapping closures",
                vec![hour(6, 14)],
                vec![],
                vec![hour(8, 11), hour(10, 12)],
                "8-4",
            ),
            (
                "empty intervals",
                vec![hour(6, 6), hour(6, 8)],
                vec![hour(7, 7)],
                vec![],
                "2",
            ),
        ];
        for (name, working, breaks, closures, expected) in cases {
            let plan = plan(&working, &breaks, &closures);
            assert_eq!(
                told(&plan, Bucket::Day, thursday, 1, &zone),
                [expected],
                "{name}"
            );
        }
    }

    #[test]
    fn rate_and_parallel_units_multiply() {
        let shift = [Interval {
            start: 0,
            end: 8 * 3600,
        }];
        let third = [Interval {
            start: 0,
            end: 1200,
        }];
        let cases = [
            (&shift, "0.85", "3", "20.4"),
            (&shift, "0", "3", "0"),
            (&shift, "120", "1", "960"),
            (&third, "1", "1", "0.333"),
            (&third, "1", "2", "0.667"),
        ];
        for (working, rate, parallel, expected) in cases {
            let plan = Plan {
                rate: rate.parse().unwrap(),
                parallel: parallel.parse().unwrap(),
                ..plan(working, &[], &[])
            };
            assert_eq!(
                told(&plan, Bucket::Day, date(1970, 1, 1), 1, &TimeZone::UTC),
                [expected],
                "{rate} {parallel}"
            );
        }
    }

    #[test]
    fn refusals() {
        let (utc, day) = (TimeZone::UTC, date(2026, 1, 5));
        let back = [Interval { start: 5, end: 4 }];
        let whole = [Interval {
            start: i64::MIN,
            end: i64::MAX,
        }];
        let most = Quantity::from_thousandths(i64::MAX);
        let minus = Quantity::from_thousandths(-1);
        let cases = [
            (
                plan(&back, &[], &[]),
                1,
                day,
                PlanError::Backwards { start: 5, end: 4 },
            ),
            (
                plan(&[], &back, &[]),
                1,
                day,
                PlanError::Backwards { start: 5, end: 4 },
            ),
            (
                Plan {
                    rate: minus,
                    ..plan(&[], &[], &[])
                },
                1,
                day,
                PlanError::Negative(minus),
            ),
            (
                Plan {
                    parallel: minus,
                    ..plan(&[], &[], &[])
                },
                1,
                day,
                PlanError::Negative(minus),
            ),
            (
                plan(&[], &[], &[]),
                521,
                day,
                PlanError::TooManyBuckets(521),
            ),
            (
                plan(&[], &[], &[]),
                1,
                date(9999, 12, 27),
                PlanError::OutOfRange {
                    start: date(9999, 12, 27),
                },
            ),
            (
                Plan {
                    rate: most,
                    parallel: most,
                    ..plan(&whole, &[], &[])
                },
                1,
                day,
                PlanError::OutOfRange { start: day },
            ),
        ];
        for (plan, count, start, error) in cases {
            assert_eq!(planned(&plan, Bucket::Week, start, count, &utc), Err(error));
        }
    }

    fn intervals() -> impl Strategy<Value = Vec<Interval>> {
        prop::collection::vec((0_i64..96, 0_i64..20), 0..8).prop_map(|list| {
            list.into_iter()
                .map(|(start, hours)| Interval {
                    start: start * 3600,
                    end: (start + hours) * 3600,
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn counting_hour_by_hour_agrees(working in intervals(), breaks in intervals(), closures in intervals()) {
            let within = |list: &[Interval], hour: i64| list.iter().any(|i| (i.start..i.end).contains(&(hour * 3600)));
            let days = planned(&plan(&working, &breaks, &closures), Bucket::Day, date(1970, 1, 1), 5, &TimeZone::UTC).unwrap();
            for (n, day) in (0_i64..).zip(days) {
                let productive = (n * 24..n * 24 + 24).filter(|h| within(&working, *h) && !within(&breaks, *h));
                let (total, shut) = productive.fold((0, 0), |(total, shut), h| (total + 1, shut + i64::from(within(&closures, h))));
                prop_assert_eq!((Some(day.total), Some(day.unattainable)), (Quantity::from_units(total), Quantity::from_units(shut)));
            }
        }
    }
}
