//! Rows that belong to one capacity, and the series that they make.

use std::collections::{BTreeMap, HashMap};

use fmesh_proto::{
    kinds::{self, Bucket, Slot, Typed as _},
    limits::SERIES_BUCKETS_MAX,
    quantity::{Quantity, Unit},
    taxonomy::Path,
};
use jiff::civil::Date;

use super::super::{
    Measure,
    errors::{Errors, shown},
    resource::rule,
};
use crate::api::view::{CapacityFields, ImportRow};

/// Capacities in the order in which they first appear.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) list: Vec<Group>,
    places: HashMap<String, usize>,
}

impl Groups {
    pub(super) fn get_or_insert(&mut self, key: String, row: u64) -> &mut Group {
        let list = &mut self.list;
        let place = *self.places.entry(key).or_insert_with_key(|key| {
            list.push(Group {
                key: key.clone(),
                row,
                resources: None,
                name: None,
                process: None,
                unit: None,
                bucket: Bucket::Week,
                entries: BTreeMap::new(),
                measures: BTreeMap::new(),
            });
            list.len() - 1
        });
        &mut list[place]
    }
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: String,
    pub(super) row: u64,
    pub(super) resources: Option<Vec<String>>,
    pub(super) name: Option<String>,
    pub(super) process: Option<Path>,
    pub(super) unit: Option<Unit>,
    pub(super) bucket: Bucket,
    pub(super) entries: BTreeMap<Date, Entry>,
    /// Wide tables: row of each measure.
    pub(super) measures: BTreeMap<Measure, u64>,
}

/// One bucket.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) row: u64,
    title: Option<String>,
    pub(super) numbers: [Option<Quantity>; 5],
    pub(super) reason: Option<String>,
}

impl Entry {
    pub(super) fn new(row: u64, title: Option<String>) -> Self {
        Self {
            row,
            title,
            numbers: [None; 5],
            reason: None,
        }
    }

    /// The rules of the kind over this bucket alone.
    fn check(&self, bucket: Bucket, unit: Unit, day: Date) -> Result<(), String> {
        let [total, committed, available, unattainable, maximum] =
            self.numbers.map(|number| Slot::Known(vec![number]));
        let capacity = kinds::Capacity {
            unit: Slot::Known(unit),
            bucket: Slot::Known(bucket),
            start: Slot::Known(day),
            total,
            committed,
            available,
            unattainable,
            maximum,
            reason: Slot::Known(vec![self.reason.clone()]),
            ..Default::default()
        };
        capacity.check().map_err(rule)
    }
}

impl Group {
    pub(super) fn finish(self, errors: &mut Errors) -> Option<ImportRow<CapacityFields>> {
        let (first, last) = (*self.entries.keys().next()?, *self.entries.keys().last()?);
        let Some(unit) = self.unit else {
            errors.add(
                self.row,
                Some("unit"),
                "the cell is empty",
                "hours, pieces and tonnes look alike",
                "write HUR for hours, H87 for pieces, KGM, TNE, ...",
            );
            return None;
        };
        for (day, entry) in &self.entries {
            if let Err(what) = entry.check(self.bucket, unit, *day) {
                errors.add(entry.row, entry.title.as_deref(), what, "total = committed + available + unattainable, and maximum is not below available", "correct the numbers; leave a cell empty if its number is not known");
            }
        }
        let days = i64::from((last - first).get_days());
        let count = usize::try_from(days / i64::from(self.bucket.days())).unwrap_or(0) + 1;
        if count > SERIES_BUCKETS_MAX {
            errors.add(self.row, None, format!("{:?} runs from {first} to {last}, which is {count} buckets", shown(&self.key)), format!("one capacity has at most {SERIES_BUCKETS_MAX}"), "import one quarter or year at a time, with a name for each in a column \"capacity\"");
            return None;
        }
        let at = |index: usize| self.entries.get(&self.bucket.nth(first, index)?);
        let column = |slot: usize| -> Option<Vec<Option<Quantity>>> {
            let values: Vec<_> = (0..count).map(|index| at(index)?.numbers[slot]).collect();
            values.iter().any(Option::is_some).then_some(values)
        };
        let reasons: Vec<_> = (0..count).map(|index| at(index)?.reason.clone()).collect();
        let fields = CapacityFields {
            name: self.name.clone(),
            resources: self.resources.clone(),
            process: self.process.clone(),
            unit: Some(unit),
            bucket: Some(self.bucket),
            start: Some(first),
            total: column(0),
            committed: column(1),
            available: column(2),
            unattainable: column(3),
            reason: reasons.iter().any(Option::is_some).then_some(reasons),
            maximum: column(4),
        };
        Some(ImportRow {
            row: self.row,
            key: self.key,
            fields,
        })
    }
}
