//! Repetition: which times of an event touch the weeks that were asked for.
//!
//! The rule is worked out on wall clocks, as if the place had no summer time, and each result is put into its zone
//! afterwards. So a shift stays at its hour, and a time that clocks skip moves behind the gap. A rule that began
//! long ago is walked from its beginning, which is why steps are counted.

use fmesh_proto::{rules::planned::Interval, week::WeekSpan};
use jiff::{Timestamp, ToSpan as _, civil::DateTime, tz::TimeZone};
use rrule::RRuleSet;

use super::{
    event::Event,
    time::{Length, basic},
};

/// Most times that one calendar may have in the weeks asked for: three shifts with two breaks every day for six years.
const INTERVALS_MAX: usize = 20_000;
/// Most repetitions that are walked: sixty years of ten daily events.
const STEPS_MAX: usize = 220_000;

/// What a calendar may still use up.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) intervals: usize,
    pub(super) steps: usize,
}
impl Default for Budget {
    fn default() -> Self {
        Self {
            intervals: INTERVALS_MAX,
            steps: STEPS_MAX,
        }
    }
}
impl Budget {
    fn take_interval(&mut self) -> Result<(), String> {
        self.intervals = self.intervals.checked_sub(1).ok_or_else(|| {
            format!("the calendar has more than {INTERVALS_MAX} times in these weeks: ask for fewer weeks")
        })?;
        Ok(())
    }
    fn take_step(&mut self) -> Result<(), String> {
        self.steps = self.steps.checked_sub(1).ok_or_else(|| {
            format!("the calendar repeats more than {STEPS_MAX} times until these weeks: let its events begin later")
        })?;
        Ok(())
    }
}

/// The weeks that were asked for.
#[derive(Debug)]
pub(super) struct Window {
    start: i64,
    end: i64,
    /// No zone's clocks are behind this wall clock at the end.
    wall_end: DateTime,
}

impl Window {
    /// `None` out of range.
    pub(super) fn of(weeks: WeekSpan, zone: &TimeZone) -> Option<Self> {
        let second = |day: DateTime| Some(zone.to_zoned(day).ok()?.timestamp().as_second());
        let (first, last) = (weeks.first.monday(), weeks.last.monday());
        let end = last.checked_add(7.days()).ok()?;
        Some(Self {
            start: second(first.into())?,
            end: second(end.into())?,
            wall_end: end.checked_add(2.days()).ok()?.into(),
        })
    }

    fn touches(&self, interval: Interval) -> bool {
        interval.start < self.end && interval.end > self.start
    }
}

/// Times of one event within the window.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) times: Vec<Interval>,
    pub(super) breaks: Vec<Interval>,
}

impl Event {
    pub(super) fn within(&self, window: &Window, budget: &mut Budget) -> Result<Found, String> {
        let mut found = Found::default();
        for wall in self.starts(window, budget)? {
            let whole = self.interval(wall, self.length)?;
            if !window.touches(whole) {
                continue;
            }
            budget.take_interval()?;
            found.times.push(whole);
            for (offset, length) in &self.breaks {
                let from = wall
                    .checked_add(*offset)
                    .map_err(|error| error.to_string())?;
                budget.take_interval()?;
                found.breaks.push(self.interval(from, *length)?);
            }
        }
        Ok(found)
    }

    /// Wall clock times at which it begins, up to the end of the window.
    fn starts(&self, window: &Window, budget: &mut Budget) -> Result<Vec<DateTime>, String> {
        let mut starts = self.also.clone();
        match &self.rule {
            None => starts.push(self.start.wall),
            Some(rule) => {
                let set: RRuleSet = format!("DTSTART:{}Z\nRRULE:{rule}", basic(self.start.wall))
                    .parse()
                    .map_err(|error: rrule::RRuleError| error.to_string())?;
                for at in &set.limit() {
                    budget.take_step()?;
                    let wall = Timestamp::from_second(at.timestamp())
                        .map_err(|error| error.to_string())?
                        .to_zoned(TimeZone::UTC)
                        .datetime();
                    if wall > window.wall_end {
                        break;
                    }
                    starts.push(wall);
                }
            }
        }
        starts.sort_unstable();
        starts.dedup();
        starts
            .retain(|wall| !self.except.contains(wall) && !self.except_days.contains(&wall.date()));
        Ok(starts)
    }

    fn interval(&self, wall: DateTime, length: Length) -> Result<Interval, String> {
        let refused = |error: jiff::Error| error.to_string();
        let start = self.start.zone.to_zoned(wall).map_err(refused)?;
        let end = length
            .after(&start, wall)
            .ok_or("its end is out of range")?;
        let start = start.timestamp().as_second();
        Ok(Interval {
            start,
            // Wall clocks can end within the hour that they skip.
            end: end.timestamp().as_second().max(start),
        })
    }
}
