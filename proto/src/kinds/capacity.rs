//! `capacity`: ISA-95 operations capability by bucket, a Catena-X capacity group.
//!
//! The series are columns of one length, so that a circle can be shown `available` and not `total`. In each
//! bucket where all four are known, total = committed + available + unattainable; and maximum ≥ available where
//! both are known. Whoever holds the columns checks this, and the error names the bucket as a planner would.

use jiff::civil::{Date, Weekday};

use super::{Slot, form::words, slots, text};
use crate::{
    id::ObjectId,
    limits::SERIES_BUCKETS_MAX,
    quantity::{Quantity, Unit},
    taxonomy::Path,
    week::Week,
};

/// One value per bucket; `None` is unknown.
pub type Series = Vec<Option<Quantity>>;

words! {
    /// Length of a bucket.
    pub enum Bucket {
        /// A week from Monday.
        Week = "P7D",
        /// A day.
        Day = "P1D",
    }
}
impl Bucket {
    /// Days in it.
    #[must_use]
    pub const fn days(self) -> i32 {
        match self {
            Self::Week => 7,
            Self::Day => 1,
        }
    }
    /// First day of bucket `index` of a series that begins on `start`; `None` beyond year 9999.
    #[must_use]
    pub fn nth(self, start: Date, index: usize) -> Option<Date> {
        let days = i32::try_from(index).ok()?.checked_mul(self.days())?;
        start
            .checked_add(jiff::Span::new().try_days(days).ok()?)
            .ok()
    }
    /// How planners call the bucket that begins on `day`: `2026-W49`, or the date.
    #[must_use]
    pub fn label(self, day: Date) -> String {
        match self {
            Self::Week => Week::of(day).to_string(),
            Self::Day => day.to_string(),
        }
    }
}

/// `capacity`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "slot names of RECORDS.md")]
pub struct Capacity {
    pub name: Slot<String>,
    pub resources: Slot<Vec<ObjectId>>,
    pub process: Slot<Path>,
    pub unit: Slot<Unit>,
    pub bucket: Slot<Bucket>,
    pub start: Slot<Date>,
    pub total: Slot<Series>,
    pub committed: Slot<Series>,
    pub available: Slot<Series>,
    pub unattainable: Slot<Series>,
    pub reason: Slot<Vec<Option<String>>>,
    pub maximum: Slot<Series>,
}
slots!(Capacity {
    name: "name",
    resources: "resources",
    process: "process",
    unit: "unit",
    bucket: "bucket",
    start: "start",
    total: "total",
    committed: "committed",
    available: "available",
    unattainable: "unattainable",
    reason: "reason",
    maximum: "maximum",
});

impl Capacity {
    /// Buckets in the columns that are known; `None` if no column is.
    #[must_use]
    pub fn len(&self) -> Option<usize> {
        self.columns().find_map(|(_, length)| length)
    }
    /// True if no column is known, or the columns have no bucket.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len().is_none_or(|length| length == 0)
    }
    /// How planners call bucket `index`: `2026-W49`, a date, or its place if the reader may not see the start.
    #[must_use]
    pub fn bucket_label(&self, index: usize) -> String {
        match (&self.bucket, &self.start) {
            (Slot::Known(bucket), Slot::Known(start)) => {
                bucket.nth(*start, index).map(|day| bucket.label(day))
            }
            _ => None,
        }
        .unwrap_or_else(|| format!("bucket {}", index + 1))
    }

    fn rules(&self) -> Result<(), String> {
        if let Slot::Known(name) = &self.name {
            text::name("name", name)?;
        }
        if let Slot::Known(resources) = &self.resources {
            text::list("resources", resources)?;
        }
        if let Slot::Known(process) = &self.process {
            process
                .check_process()
                .map_err(|error| format!("process: {error}"))?;
        }
        self.check_lengths()?;
        self.check_start()?;
        if let Slot::Known(reasons) = &self.reason {
            for (index, reason) in reasons.iter().enumerate() {
                let slot = || format!("reason of {}", self.bucket_label(index));
                reason
                    .as_deref()
                    .map_or(Ok(()), |reason| text::name(&slot(), reason))?;
            }
        }
        self.check_numbers()
    }

    /// Every column that is shown has the same, bounded length, and a column needs unit, bucket and start.
    fn check_lengths(&self) -> Result<(), String> {
        let mut first: Option<(&str, usize)> = None;
        for (slot, length) in self.columns() {
            let Some(length) = length else { continue };
            if length > SERIES_BUCKETS_MAX {
                return Err(format!(
                    "{slot} has {length} buckets, the limit is {SERIES_BUCKETS_MAX}: publish one record per quarter"
                ));
            }
            match first {
                Some((other, expected)) if expected != length => {
                    return Err(format!(
                        "{other} has {expected} buckets and {slot} has {length}: all columns have one length"
                    ));
                }
                Some(_) => {}
                None => first = Some((slot, length)),
            }
        }
        let missing = [
            ("unit", self.unit == Slot::Unknown),
            ("bucket", self.bucket == Slot::Unknown),
            ("start", self.start == Slot::Unknown),
        ];
        match (first, missing.iter().find(|(_, missing)| *missing)) {
            (Some((column, _)), Some((slot, _))) => Err(format!(
                "{column} is given but {slot} is not: numbers need it"
            )),
            _ => Ok(()),
        }
    }

    fn check_start(&self) -> Result<(), String> {
        let Slot::Known(start) = self.start else {
            return Ok(());
        };
        let Slot::Known(bucket) = self.bucket else {
            return Ok(());
        };
        if bucket == Bucket::Week && start.weekday() != Weekday::Monday {
            return Err(format!(
                "start {start} is a {:?}: weekly buckets start on Monday, here {}",
                start.weekday(),
                Week::of(start).monday()
            ));
        }
        let years = 1970..=9999;
        match bucket.nth(start, self.len().unwrap_or(0)) {
            Some(end) if years.contains(&start.year()) && years.contains(&end.year()) => Ok(()),
            _ => Err(format!("start {start} is outside the years 1970 to 9999")),
        }
    }

    /// The arithmetic, bucket by bucket.
    fn check_numbers(&self) -> Result<(), String> {
        for index in 0..self.len().unwrap_or(0) {
            let at = |column: &Slot<Series>| {
                column
                    .known()
                    .and_then(|column| column.get(index).copied().flatten())
            };
            for (slot, column) in self.series() {
                if let Some(number) = at(column).filter(|number| number.is_negative()) {
                    return Err(format!(
                        "{}: {slot} {number} is negative",
                        self.bucket_label(index)
                    ));
                }
            }
            let available = at(&self.available);
            if let (Some(total), Some(committed), Some(available), Some(unattainable)) = (
                at(&self.total),
                at(&self.committed),
                available,
                at(&self.unattainable),
            ) {
                let sum = committed
                    .checked_add(available)
                    .and_then(|sum| sum.checked_add(unattainable));
                if sum != Some(total) {
                    return Err(format!(
                        "{}: total {total} is not committed {committed} + available {available} + unattainable {unattainable}{}",
                        self.bucket_label(index),
                        sum.map(|sum| format!(" = {sum}")).unwrap_or_default(),
                    ));
                }
            }
            if let (Some(maximum), Some(available)) = (at(&self.maximum), available)
                && maximum < available
            {
                return Err(format!(
                    "{}: maximum {maximum} is below available {available}",
                    self.bucket_label(index)
                ));
            }
        }
        Ok(())
    }

    fn series(&self) -> [(&'static str, &Slot<Series>); 5] {
        [
            ("total", &self.total),
            ("committed", &self.committed),
            ("available", &self.available),
            ("unattainable", &self.unattainable),
            ("maximum", &self.maximum),
        ]
    }

    fn columns(&self) -> impl Iterator<Item = (&'static str, Option<usize>)> {
        let numbers = self
            .series()
            .map(|(slot, column)| (slot, column.known().map(Vec::len)));
        numbers
            .into_iter()
            .chain([("reason", self.reason.known().map(Vec::len))])
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::kinds::{
        Kind, Typed,
        tests::{refusal, shown},
    };

    fn full() -> Value {
        json!({
            "name": "Milling", "resources": ["2c5ea4c0-4067-4fe9-8bad-9b1deb4d3b7d"], "process": "separating/milling",
            "unit": "HUR", "bucket": "P7D", "start": "2026-12-21",
            "total": ["40", "37.5", "40"], "committed": ["28", null, "0"], "available": ["12", "5", "0"],
            "unattainable": ["0", "1", "40"], "reason": [null, null, "shut"], "maximum": ["20", null, "0"],
        })
    }

    #[test]
    fn a_full_capacity_is_read_and_written_back() {
        assert_eq!(refusal(&Kind::Capacity, &full()), None);
        let capacity = Capacity::read(&shown(&Kind::Capacity, &full())).unwrap();
        assert_eq!(
            Value::Object(capacity.write().into_iter().collect()),
            full()
        );
        assert_eq!(
            (0..3).map(|n| capacity.bucket_label(n)).collect::<Vec<_>>(),
            ["2026-W52", "2026-W53", "2027-W01"]
        );
        assert_eq!((capacity.len(), capacity.is_empty()), (Some(3), false));
    }

    #[test]
    fn refusals_name_slot_and_bucket() {
        let cases = [
            (
                "/total/0",
                json!("41"),
                "2026-W52: total 41 is not committed 28 + available 12 + unattainable 0 = 40",
            ),
            (
                "/total/2",
                json!("39.999"),
                "2027-W01: total 39.999 is not committed 0 + available 0 + unattainable 40 = 40",
            ),
            (
                "/available/1",
                json!("-0.001"),
                "2026-W53: available -0.001 is negative",
            ),
            (
                "/maximum/0",
                json!("11.9"),
                "2026-W52: maximum 11.9 is below available 12",
            ),
            (
                "/committed/0",
                json!("9223372036854775.807"),
                "2026-W52: total 40 is not committed 9223372036854775.807 + available 12 + unattainable 0",
            ),
            (
                "/available",
                json!(["12"]),
                "total has 3 buckets and available has 1: all columns have one length",
            ),
            (
                "/reason",
                json!([null]),
                "total has 3 buckets and reason has 1: all columns have one length",
            ),
            (
                "/reason/2",
                json!(""),
                "reason of 2027-W01 is empty: leave it unknown (null) instead",
            ),
            (
                "/total",
                json!(vec!["1"; 521]),
                "total has 521 buckets, the limit is 520: publish one record per quarter",
            ),
            (
                "/start",
                json!("2026-12-23"),
                "start 2026-12-23 is a Wednesday: weekly buckets start on Monday, here 2026-12-21",
            ),
            (
                "/start",
                json!("1969-12-29"),
                "start 1969-12-29 is outside the years 1970 to 9999",
            ),
            (
                "/start",
                json!("9999-12-27"),
                "start 9999-12-27 is outside the years 1970 to 9999",
            ),
            (
                "/start",
                Value::Null,
                "total is given but start is not: numbers need it",
            ),
            (
                "/unit",
                Value::Null,
                "total is given but unit is not: numbers need it",
            ),
            (
                "/process",
                json!("milling/5-axis"),
                "process: not a path like separating/milling/5-axis: \"milling/5-axis\" is not a process group; begin with one of primary-shaping, forming, separating, joining, coating, property-change, assembly, inspection, logistics",
            ),
            (
                "/resources",
                json!(vec!["2c5ea4c0-4067-4fe9-8bad-9b1deb4d3b7d"; 257]),
                "resources has 257 elements, the limit is 256",
            ),
        ];
        for (place, value, why) in cases {
            let mut body = full();
            *body.pointer_mut(place).unwrap() = value;
            assert_eq!(
                refusal(&Kind::Capacity, &body).as_deref(),
                Some(why),
                "{place}"
            );
        }
    }

    #[test]
    fn days_are_named_by_date_and_may_start_on_any_day() {
        let mut body = full();
        body["bucket"] = json!("P1D");
        body["start"] = json!("2026-12-31");
        assert_eq!(refusal(&Kind::Capacity, &body), None);
        body["total"][1] = json!("6.001");
        body["committed"][1] = json!("0");
        assert_eq!(
            refusal(&Kind::Capacity, &body).as_deref(),
            Some("2027-01-01: total 6.001 is not committed 0 + available 5 + unattainable 1 = 6")
        );
        assert_eq!(
            Bucket::Day.nth(date(2026, 12, 31), 1),
            Some(date(2027, 1, 1))
        );
    }

    #[test]
    fn a_reader_checks_what_it_is_shown() {
        let mut fields = shown(&Kind::Capacity, &full());
        fields.insert("total".to_owned(), Some(json!(["1", "1", "1"])));
        assert!(super::super::check(&Kind::Capacity, &fields).is_err());
        fields.insert("unattainable".to_owned(), None);
        assert_eq!(
            super::super::check(&Kind::Capacity, &fields),
            Ok(()),
            "the identity needs all four columns"
        );
        fields.insert("start".to_owned(), None);
        fields.insert("maximum".to_owned(), Some(json!(["0", null, null])));
        let error = super::super::check(&Kind::Capacity, &fields)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "capacity: bucket 1: maximum 0 is below available 12");
    }

    proptest! {
        #[test]
        fn the_identity_decides(committed in 0_i64..1_000_000, available in 0_i64..1_000_000, unattainable in 0_i64..1_000_000, off in -5_i64..=5) {
            let known = |thousandths| Slot::Known(vec![Some(Quantity::from_thousandths(thousandths))]);
            let total = committed + available + unattainable + off;
            prop_assume!(total >= 0);
            let capacity = Capacity {
                total: known(total),
                committed: known(committed),
                available: known(available),
                unattainable: known(unattainable),
                ..Capacity::default()
            };
            prop_assert_eq!(capacity.check().is_ok(), off == 0);
        }
    }
}
