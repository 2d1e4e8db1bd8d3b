//! Long or wide: where a table says when its numbers are for.

use fmesh_proto::kinds::Bucket;
use jiff::civil::Date;

use super::{
    super::{Options, errors::Errors, header::Header, when},
    NAMES, NUMBERS, WEEK,
};

/// How the table is laid out.
#[derive(Debug)]
pub(super) enum Layout {
    Long(Time),
    /// Index, title and first day of each column.
    Wide(Bucket, Vec<(usize, String, Date)>),
}

/// Which column of a long table says when.
#[derive(Debug, Clone, Copy)]
pub(super) enum Time {
    Week,
    WeekStart,
    Day,
}

impl Layout {
    /// `None` after an error.
    pub(super) fn of(header: &mut Header, options: &Options, errors: &mut Errors) -> Option<Self> {
        let times = [
            ("week", Time::Week),
            ("weekstart", Time::WeekStart),
            ("date", Time::Day),
        ];
        let mut present = times
            .iter()
            .filter(|(name, _)| header.index(name).is_some());
        if let Some((first, time)) = present.next() {
            if let Some((second, _)) = present.next() {
                errors.add(
                    header.row(),
                    Some(header.title(second)),
                    format!("both {first} and {second} say when"),
                    "they may contradict each other",
                    "remove one of the columns",
                );
                return None;
            }
            if !NUMBERS.iter().any(|(name, _)| header.index(name).is_some()) {
                header.missing(
                    &["available", "total", "committed", "unattainable", "maximum"],
                    NAMES,
                    errors,
                );
                return None;
            }
            return Some(Self::Long(*time));
        }
        Self::wide(header, options, errors)
    }

    fn wide(header: &mut Header, options: &Options, errors: &mut Errors) -> Option<Self> {
        let mut columns: Vec<(usize, String, Date)> = Vec::new();
        let mut buckets = Vec::new();
        let row = header.row();
        header.others.retain(|(index, title)| {
            let (bucket, day) = match (when::week(title, true), when::day(title)) {
                (Some(Ok(week)), _) => (Bucket::Week, week.monday()),
                (Some(Err(error)), _) => {
                    errors.add(
                        row,
                        Some(title),
                        "there is no such week",
                        error.to_string(),
                        "correct the title of the column",
                    );
                    return false;
                }
                (None, Some(day)) => (Bucket::Day, day),
                (None, None) => return true,
            };
            if let Some((_, other, _)) = columns.iter().find(|(_, _, other)| *other == day) {
                errors.add(
                    row,
                    Some(title),
                    format!("the columns {other:?} and {title:?} are the same time"),
                    "one number would overwrite the other",
                    "remove or rename one of them",
                );
            }
            buckets.push(bucket);
            columns.push((*index, title.clone(), day));
            false
        });
        let Some(bucket) = buckets.first().copied() else {
            if errors.is_empty() {
                header.missing(WEEK, NAMES, errors);
            }
            return None;
        };
        if buckets.iter().any(|other| *other != bucket) {
            errors.add(
                row,
                None,
                "some columns are weeks and some are days",
                "a capacity has buckets of one length",
                "import them as two files",
            );
        }
        if header.index("measure").is_none() && options.measure.is_none() {
            errors.add(row, None, "the table does not say what its numbers are", "free hours and all hours look alike", "add a column \"measure\" with available, total, committed, unattainable or maximum in each row");
        }
        columns.sort_by_key(|(_, _, day)| *day);
        Some(Self::Wide(bucket, columns))
    }
}
