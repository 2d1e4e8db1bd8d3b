//! Capacities from a table, long or wide.
//!
//! Long: one row per resource and bucket, with the columns of a capacity. The bucket is a `week`, a `year` and a
//! `week`, the Monday of a week (`week start`), or a `date`, which makes daily buckets. Wide: one row per resource and
//! measure (`available`, `total`, ...), one column per week or day.
//!
//! Rows with one key become one capacity, whose series runs from its first to its last bucket. What is empty or not
//! there is unknown. The rules of the kind are checked bucket by bucket, where the row is still known.

use std::collections::{BTreeMap, HashMap};

use fmesh_proto::{
    kinds::{self, Bucket, Slot, Typed as _},
    limits::SERIES_BUCKETS_MAX,
    quantity::{Quantity, Unit},
    taxonomy::Path,
    week::Week,
};
use jiff::civil::Date;

use super::{
    Decimal, ImportError, Measure, Options, Rows,
    errors::{Errors, shown},
    header::{Header, Names, fold, unit},
    number::{self, Marks},
    resource::rule,
    sheet::{Cell, Row, Sheet},
    when,
};
use crate::api::view::{CapacityFields, ImportRow};

const RESOURCE: &Names = &[
    "resource",
    "ressource",
    "resources",
    "anlage",
    "anlagennummer",
    "anlagennr",
    "maschine",
    "maschinennummer",
    "maschinennr",
    "machine",
    "equipment",
    "arbeitsplatz",
    "id",
];
const WEEK: &Names = &["week", "woche", "kw", "kalenderwoche", "isoweek"];
const NAMES: &[&Names] = &[
    &["capacity", "capacitygroup", "kapazitaetsgruppe", "key"],
    RESOURCE,
    &["name", "bezeichnung", "benennung"],
    &["process", "verfahren", "prozess"],
    &["unit", "einheit", "uom", "me"],
    &["year", "jahr"],
    WEEK,
    &["weekstart", "wochenbeginn", "wochenstart", "montag"],
    &["date", "datum", "day", "tag"],
    &["measure", "kennzahl", "groesse", "messgroesse"],
    &[
        "total",
        "gesamt",
        "gesamtkapazitaet",
        "kapazitaet",
        "brutto",
    ],
    &["committed", "belegt", "gebucht", "verplant", "zugesagt"],
    &["available", "verfuegbar", "frei", "free"],
    &[
        "unattainable",
        "nichtverfuegbar",
        "gesperrt",
        "ausfall",
        "stillstand",
    ],
    &["maximum", "max", "maximal"],
    &["reason", "grund"],
];
/// Columns of numbers, in the order of [`Entry::numbers`].
const NUMBERS: [(&str, Measure); 5] = [
    ("total", Measure::Total),
    ("committed", Measure::Committed),
    ("available", Measure::Available),
    ("unattainable", Measure::Unattainable),
    ("maximum", Measure::Maximum),
];

pub(super) fn read(sheet: &Sheet, options: &Options) -> Result<Rows<CapacityFields>, ImportError> {
    let mut errors = Errors::default();
    let mut header = Header::read(&sheet.header, NAMES, &mut errors);
    let layout = Layout::of(&mut header, options, &mut errors);
    if header.index("resource").is_none()
        && header.index("capacity").is_none()
        && options.resource.is_none()
    {
        header.missing(RESOURCE, NAMES, &mut errors);
    }
    if header.index("unit").is_none() && header.unit.is_none() && options.unit.is_none() {
        errors.add(
            header.row(),
            None,
            "the file does not say the unit of its numbers",
            "hours, pieces and tonnes look alike",
            "add a column \"unit\" with HUR for hours, or write the unit behind a title: available (h)",
        );
    }
    let Some(layout) = layout.filter(|_| errors.is_empty()) else {
        return Err(errors.into_error());
    };
    let mut table = Table {
        header: &header,
        layout,
        options,
        decimal: None,
    };
    table.decimal = table.decimal(sheet, &mut errors);
    let mut groups = Groups::default();
    for row in &sheet.rows {
        table.row(row, &mut groups, &mut errors);
    }
    let rows: Vec<_> = groups
        .list
        .into_iter()
        .filter_map(|group| group.finish(&mut errors))
        .collect();
    if rows.is_empty()
        && errors.is_empty()
        && let Some(weeks) = options.weeks
    {
        return Err(ImportError::file(
            format!("the file has no rows in the weeks {weeks}"),
            "ask for other weeks, or leave them out to take all",
        ));
    }
    let mut warnings = sheet.warnings.clone();
    warnings.extend(header.warnings(NAMES));
    let mut format = sheet.format.clone();
    if let Some(decimal) = table.decimal {
        format += &format!(", decimal {decimal}");
    }
    errors.finish(Rows {
        rows,
        format,
        warnings,
    })
}

/// How the table is laid out.
#[derive(Debug)]
enum Layout {
    Long(Time),
    /// Index, title and first day of each column.
    Wide(Bucket, Vec<(usize, String, Date)>),
}

/// Which column of a long table says when.
#[derive(Debug, Clone, Copy)]
enum Time {
    Week,
    WeekStart,
    Day,
}

impl Layout {
    /// `None` after an error.
    fn of(header: &mut Header, options: &Options, errors: &mut Errors) -> Option<Self> {
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

#[derive(Debug)]
struct Table<'s> {
    header: &'s Header,
    layout: Layout,
    options: &'s Options,
    decimal: Option<Decimal>,
}

impl Table<'_> {
    fn decimal(&self, sheet: &Sheet, errors: &mut Errors) -> Option<Decimal> {
        let columns: Vec<(usize, &str)> = match &self.layout {
            Layout::Long(_) => NUMBERS
                .iter()
                .filter_map(|(name, _)| Some((self.header.index(name)?, self.header.title(name))))
                .collect(),
            Layout::Wide(_, columns) => columns
                .iter()
                .map(|(index, title, _)| (*index, title.as_str()))
                .collect(),
        };
        let mut marks = Marks::default();
        for row in &sheet.rows {
            if matches!(self.layout, Layout::Wide(..))
                && self.measure_word(row) == Some(Measure::Reason)
            {
                continue;
            }
            for (index, title) in &columns {
                if let Cell::Text(text) = row.cell(*index) {
                    marks.look(row.number, title, text);
                }
            }
        }
        marks.decide(self.options.decimal, errors)
    }

    fn text(&self, row: &Row, name: &str) -> Option<String> {
        let cell = row.cell(self.header.index(name)?);
        if cell.is_unknown() {
            return None;
        }
        cell.text().map(std::borrow::Cow::into_owned)
    }

    fn row(&self, row: &Row, groups: &mut Groups, errors: &mut Errors) {
        let Some(group) = self.group(row, groups, errors) else {
            return;
        };
        match &self.layout {
            Layout::Long(time) => {
                let Some((bucket, day)) = self.bucket(row, *time, errors) else {
                    return;
                };
                group.bucket = bucket;
                if !self.is_wanted(day) {
                    return;
                }
                if let Some(first) = group.entries.get(&day) {
                    let label = bucket.label(day);
                    errors.add(
                        row.number,
                        None,
                        format!(
                            "{:?} has {label} in row {} already",
                            shown(&group.key),
                            first.row
                        ),
                        "one row would overwrite the other",
                        "keep one row for each resource and time",
                    );
                    return;
                }
                let mut entry = Entry::new(row.number, None);
                for (slot, (name, _)) in entry.numbers.iter_mut().zip(NUMBERS) {
                    let cell = self
                        .header
                        .index(name)
                        .map_or(&Cell::Empty, |index| row.cell(index));
                    *slot = number::read(
                        cell,
                        self.decimal,
                        row.number,
                        self.header.title(name),
                        errors,
                    );
                }
                entry.reason = self.text(row, "reason");
                group.entries.insert(day, entry);
            }
            Layout::Wide(bucket, columns) => {
                group.bucket = *bucket;
                let Some(measure) = self.measure(row, errors) else {
                    return;
                };
                if let Some(first) = group.measures.insert(measure, row.number) {
                    errors.add(
                        row.number,
                        None,
                        format!(
                            "{:?} has this measure in row {first} already",
                            shown(&group.key)
                        ),
                        "one row would overwrite the other",
                        "keep one row for each resource and measure",
                    );
                    return;
                }
                for (index, title, day) in columns.iter().filter(|(_, _, day)| self.is_wanted(*day))
                {
                    let cell = row.cell(*index);
                    let entry = group
                        .entries
                        .entry(*day)
                        .or_insert_with(|| Entry::new(row.number, Some(title.clone())));
                    match NUMBERS.iter().position(|(_, other)| *other == measure) {
                        Some(slot) => {
                            entry.numbers[slot] =
                                number::read(cell, self.decimal, row.number, title, errors)
                        }
                        None if cell.is_unknown() => {}
                        None => entry.reason = cell.text().map(std::borrow::Cow::into_owned),
                    }
                }
            }
        }
    }

    fn is_wanted(&self, day: Date) -> bool {
        self.options
            .weeks
            .is_none_or(|weeks| weeks.contains(Week::of(day)))
    }

    /// The capacity that a row is about. What rows of one capacity say about it must agree.
    fn group<'g>(
        &self,
        row: &Row,
        groups: &'g mut Groups,
        errors: &mut Errors,
    ) -> Option<&'g mut Group> {
        let resources = self
            .text(row, "resource")
            .or_else(|| self.options.resource.clone());
        let resources: Option<Vec<String>> = resources.map(|text| {
            let keys = text.split('|').map(|key| key.trim().to_owned());
            keys.filter(|key| !key.is_empty()).collect()
        });
        let key = match (self.text(row, "capacity"), resources.as_deref()) {
            (Some(key), _) => key,
            (None, Some([resource])) => resource.clone(),
            (None, Some([_, _, ..])) => {
                errors.add(
                    row.number,
                    Some(self.header.title("resource")),
                    "several resources have no name together",
                    "their capacity needs a name of its own",
                    "add a column \"capacity\" with that name",
                );
                return None;
            }
            (None, _) => {
                errors.add(
                    row.number,
                    Some(self.header.title("resource")),
                    "the cell is empty",
                    "a number must belong to a resource",
                    "write the id of the resource",
                );
                return None;
            }
        };
        let process =
            self.text(row, "process")
                .and_then(|text| match Path::process(&text.to_lowercase()) {
                    Ok(path) => Some(path),
                    Err(error) => {
                        errors.add(
                            row.number,
                            Some(self.header.title("process")),
                            format!("{:?} cannot be taken", shown(&text)),
                            error.to_string(),
                            "write a path such as separating/milling/5-axis",
                        );
                        None
                    }
                });
        let unit = self.unit(row, errors);
        let name = self.text(row, "name");
        let group = groups.get_or_insert(key, row.number);
        let mut contradicts = |column: &str, is: bool| {
            if is {
                let first = group.row;
                errors.add(
                    row.number,
                    Some(self.header.title(column)),
                    format!(
                        "row {first} says something else about {:?}",
                        shown(&group.key)
                    ),
                    "a capacity has one unit, name, process and set of resources",
                    "write the same in all its rows, or leave later ones empty",
                );
            }
        };
        contradicts("unit", differs(group.unit.as_ref(), unit.as_ref()));
        contradicts("name", differs(group.name.as_ref(), name.as_ref()));
        contradicts("process", differs(group.process.as_ref(), process.as_ref()));
        contradicts(
            "resource",
            differs(group.resources.as_ref(), resources.as_ref()),
        );
        group.unit = group.unit.or(unit);
        group.name = group.name.take().or(name);
        group.process = group.process.take().or(process);
        group.resources = group.resources.take().or(resources);
        Some(group)
    }

    fn unit(&self, row: &Row, errors: &mut Errors) -> Option<Unit> {
        let Some(text) = self.text(row, "unit") else {
            return self.header.unit.or(self.options.unit);
        };
        let unit = unit(&text);
        if unit.is_none() {
            errors.add(
                row.number,
                Some(self.header.title("unit")),
                format!("{:?} cannot be taken", shown(&text)),
                "it is no unit code of UN/ECE Rec 20",
                "write HUR for hours, H87 for pieces, KGM, TNE, ...",
            );
        }
        unit
    }

    fn bucket(&self, row: &Row, time: Time, errors: &mut Errors) -> Option<(Bucket, Date)> {
        let (name, hint) = match time {
            Time::Week => ("week", "write it as 2026-W49; the last week of 2026 is W53"),
            Time::WeekStart => ("weekstart", "write the Monday as 2026-11-30 or 30.11.2026"),
            Time::Day => ("date", "write it as 2026-11-30 or 30.11.2026"),
        };
        let title = self.header.title(name);
        let Some(text) = self.text(row, name) else {
            errors.add(
                row.number,
                Some(title),
                "the cell is empty",
                "a number must belong to a time",
                hint,
            );
            return None;
        };
        let read = match time {
            Time::Week => self.week(row, &text),
            Time::WeekStart => when::day(&text).map(|day| Ok((Bucket::Week, day))),
            Time::Day => when::day(&text).map(|day| Ok((Bucket::Day, day))),
        };
        let why = match read {
            Some(Ok(bucket)) => return Some(bucket),
            Some(Err(why)) => why,
            None if matches!(time, Time::Week) => "it is not a week of a year".to_owned(),
            None => "it is not a day, or one that can be read in two ways".to_owned(),
        };
        errors.add(
            row.number,
            Some(title),
            format!("{:?} cannot be taken", shown(&text)),
            why,
            hint,
        );
        None
    }

    /// A week, or its number with the year in a column beside it.
    fn week(&self, row: &Row, text: &str) -> Option<Result<(Bucket, Date), String>> {
        let alone = when::week(text, false);
        let week =
            alone.or_else(|| when::week(&format!("{text}/{}", self.text(row, "year")?), false))?;
        Some(
            week.map(|week| (Bucket::Week, week.monday()))
                .map_err(|error| error.to_string()),
        )
    }

    fn measure_word(&self, row: &Row) -> Option<Measure> {
        match self.text(row, "measure") {
            Some(text) => measure(&text),
            None => self.options.measure,
        }
    }

    fn measure(&self, row: &Row, errors: &mut Errors) -> Option<Measure> {
        let measure = self.measure_word(row);
        if measure.is_none() {
            let text = self.text(row, "measure").unwrap_or_default();
            errors.add(
                row.number,
                Some(self.header.title("measure")),
                format!("{:?} is no measure", shown(&text)),
                "it decides which column of a capacity the numbers are",
                "write total, committed, available, unattainable, maximum or reason",
            );
        }
        measure
    }
}

fn differs<T: PartialEq>(first: Option<&T>, second: Option<&T>) -> bool {
    matches!((first, second), (Some(first), Some(second)) if first != second)
}

/// A measure by the names that its column may have.
fn measure(text: &str) -> Option<Measure> {
    let folded = fold(text);
    let names = NAMES
        .iter()
        .find(|names| names.contains(&folded.as_str()))?;
    if names[0] == "reason" {
        return Some(Measure::Reason);
    }
    NUMBERS
        .iter()
        .find(|(name, _)| *name == names[0])
        .map(|(_, measure)| *measure)
}

/// Capacities in the order in which they first appear.
#[derive(Debug, Default)]
struct Groups {
    list: Vec<Group>,
    places: HashMap<String, usize>,
}

impl Groups {
    fn get_or_insert(&mut self, key: String, row: u64) -> &mut Group {
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
struct Group {
    key: String,
    row: u64,
    resources: Option<Vec<String>>,
    name: Option<String>,
    process: Option<Path>,
    unit: Option<Unit>,
    bucket: Bucket,
    entries: BTreeMap<Date, Entry>,
    /// Wide tables: row of each measure.
    measures: BTreeMap<Measure, u64>,
}

/// One bucket.
#[derive(Debug)]
struct Entry {
    row: u64,
    title: Option<String>,
    numbers: [Option<Quantity>; 5],
    reason: Option<String>,
}

impl Entry {
    fn new(row: u64, title: Option<String>) -> Self {
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
    fn finish(self, errors: &mut Errors) -> Option<ImportRow<CapacityFields>> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::import::{capacities_from, errors::tests::lines, xlsx};

    fn import(text: &str) -> Result<Rows<CapacityFields>, ImportError> {
        capacities_from(text.as_bytes(), &Options::default())
    }

    fn told(column: &Option<Vec<Option<Quantity>>>) -> String {
        let number =
            |number: &Option<Quantity>| number.map_or("?".to_owned(), |number| number.to_string());
        column.as_ref().map_or("-".to_owned(), |column| {
            column.iter().map(number).collect::<Vec<_>>().join(" ")
        })
    }

    #[test]
    fn a_long_table_becomes_series_and_gaps_stay_unknown() {
        let rows = import(
            "resource,week,unit,total,committed,available,unattainable,reason\n\
             C42,2026-W52,HUR,75,30,,45,holidays\n\
             DMU,2026-W49,HUR,75,30.5,44.5,0,\n\
             C42,2027-W01,HUR,75,?,0,0,\n\
             C42,2026-W51,HUR,75,0,75,0,\n",
        )
        .unwrap();
        let [c42, dmu] = &rows.rows[..] else {
            panic!("{rows:?}")
        };
        assert_eq!((c42.key.as_str(), c42.row, dmu.row), ("C42", 2, 3));
        let fields = &c42.fields;
        assert_eq!(
            (fields.start, fields.bucket),
            (Some(jiff::civil::date(2026, 12, 14)), Some(Bucket::Week))
        );
        assert_eq!(told(&fields.total), "75 75 ? 75");
        assert_eq!(told(&fields.committed), "0 30 ? ?");
        assert_eq!(told(&fields.available), "75 ? ? 0");
        assert_eq!(told(&fields.maximum), "-");
        assert_eq!(
            fields.reason.as_ref().unwrap()[1].as_deref(),
            Some("holidays")
        );
        assert_eq!(fields.resources.as_deref(), Some(&["C42".to_owned()][..]));
        assert_eq!(dmu.fields.reason, None);
    }

    #[test]
    fn a_german_export_in_cp1252() {
        let text = "Jahr;KW;Anlage;Kapazität (Std);Belegt;Verfügbar;Stillstand;Grund\n\
            2026;53;MONT-1;37,5;30;7,5;0;\n\
            2027;1;MONT-1;37,5;0;22,5;15;Heilige Drei Könige\n";
        let (bytes, _, _) = encoding_rs::WINDOWS_1252.encode(text);
        let rows = capacities_from(&bytes, &Options::default()).unwrap();
        assert_eq!(
            rows.format,
            "csv, windows-1252, \";\" between cells, decimal comma"
        );
        let fields = &rows.rows[0].fields;
        assert_eq!(
            (told(&fields.total), told(&fields.unattainable)),
            ("37.5 37.5".into(), "0 15".into())
        );
        assert_eq!(
            fields.reason.as_ref().unwrap()[1].as_deref(),
            Some("Heilige Drei Könige")
        );
        assert_eq!(fields.start, Some(jiff::civil::date(2026, 12, 28)));
    }

    #[test]
    fn a_wide_table_reads_the_same_as_a_long_one() {
        let wide = import("id;measure;unit;KW 49/2026;2026-W51;2026-W50\nA;total;HUR;40;40;\nA;frei;;12;0;7\nA;Grund;;;shut;\n").unwrap();
        let long = import(
            "id;week;unit;total;available;reason\nA;2026-W49;HUR;40;12;\nA;2026-W51;HUR;40;0;shut\nA;2026-W50;HUR;;7;\n",
        )
        .unwrap();
        assert_eq!(wide.rows, long.rows);
        assert_eq!(told(&wide.rows[0].fields.total), "40 ? 40");
        let options = Options {
            measure: Some(Measure::Available),
            resource: Some("B".to_owned()),
            unit: Some(Unit::HOUR),
            weeks: "2026-W50".parse().ok(),
            ..Options::default()
        };
        let alone = capacities_from(b"2026-W49,2026-W50\n1,2\n", &options).unwrap();
        assert_eq!(
            (
                alone.rows[0].key.as_str(),
                told(&alone.rows[0].fields.available)
            ),
            ("B", "2".to_owned())
        );
    }

    #[test]
    fn days_groups_and_workbooks() {
        let rows = import(
            "capacity,resource,process,name,date,available (h)\n\
             mills,A|B,separating/milling,Mills,30.11.2026,1\nmills,,,,2026-12-02,2\n",
        )
        .unwrap();
        let row = &rows.rows[0];
        assert_eq!(
            (
                row.key.as_str(),
                row.fields.bucket,
                told(&row.fields.available)
            ),
            ("mills", Some(Bucket::Day), "1 ? 2".into())
        );
        assert_eq!(row.fields.resources.as_ref().unwrap().len(), 2);
        let text = |at: &str, text: &str| {
            format!(r#"<c r="{at}" t="inlineStr"><is><t>{text}</t></is></c>"#)
        };
        let sheet = format!(
            r#"<row r="1">{}{}{}</row><row r="2"><c r="A2"><v>4711</v></c><c r="B2" s="1"><v>46356</v></c><c r="C2"><v>11.899999999999999</v></c></row>"#,
            text("A1", "Anlage"),
            text("B1", "Wochenbeginn"),
            text("C1", "Frei (h)")
        );
        let rows = capacities_from(&xlsx::tests::workbook(&sheet), &Options::default()).unwrap();
        let row = &rows.rows[0];
        assert_eq!(
            (
                row.key.as_str(),
                row.fields.bucket,
                told(&row.fields.available)
            ),
            ("4711", Some(Bucket::Week), "11.9".into())
        );
    }

    #[test]
    fn every_error_is_told_with_its_place() {
        let table = "resource,week,unit,total,committed,available,unattainable,maximum\n\
            A,2026-W54,HUR,1,1,0,0,\n\
            A,2026-W49,HUR,40,28,12,1,\n\
            A,2026-W50,HUR,abc,,1.2345,,\n\
            A,2026-W49,HUR,1,1,0,0,\n\
            A,2026-W51,H87,1,1,0,0,\n\
            ,2026-W51,HUR,1,1,0,0,\n\
            B,,HUR,1,1,0,0,\n\
            B,2026-W51,furlong,1,1,0,0,\n\
            C,2026-W51,HUR,-1,,12,,11\n";
        assert_eq!(
            lines(import(table)),
            [
                "2 week: \"2026-W54\" cannot be taken",
                "3 -: 2026-W49: total 40 is not committed 28 + available 12 + unattainable 1 = 41",
                "4 total: \"abc\" is not a number",
                "4 available: \"1.2345\" cannot be taken",
                "5 -: \"A\" has 2026-W49 in row 3 already",
                "6 unit: row 2 says something else about \"A\"",
                "7 resource: the cell is empty",
                "8 week: the cell is empty",
                "9 unit: \"furlong\" cannot be taken",
                "10 -: 2026-W51: total -1 is negative",
            ]
        );
        let error = import("resource,week,unit,total\nA,2026-W54,HUR,1\n").unwrap_err();
        assert!(error.rows()[0].why.contains("2026 has 53 weeks"));
    }

    #[test]
    fn tables_that_say_too_little_are_refused() {
        let cases = [
            (
                "week,available (h)\n2026-W49,1\n",
                "1 -: there is no column resource",
            ),
            (
                "resource,available (h)\nA,1\n",
                "1 -: there is no column week",
            ),
            (
                "resource,week,unit\nA,2026-W49,HUR\n",
                "1 -: there is no column available",
            ),
            (
                "resource,week,available\nA,2026-W49,1\n",
                "1 -: the file does not say the unit of its numbers",
            ),
            (
                "resource,unit,2026-W49\nA,HUR,1\n",
                "1 -: the table does not say what its numbers are",
            ),
            (
                "resource,unit,measure,2026-W54\nA,HUR,total,1\n",
                "1 2026-W54: there is no such week",
            ),
            (
                "resource,unit,measure,2026-W49,30.11.2026\nA,HUR,total,1,1\n",
                "1 30.11.2026: the columns \"2026-W49\" and \"30.11.2026\" are the same time",
            ),
            (
                "resource,week,date,available (h)\nA,2026-W49,2026-11-30,1\n",
                "1 date: both week and date say when",
            ),
            (
                "resource,date,available (h)\nA,11/30/2026,1\n",
                "2 date: \"11/30/2026\" cannot be taken",
            ),
            (
                "resource,weekstart,available (h)\nA,2026-12-01,1\n",
                "2 -: start 2026-12-01 is a Tuesday: weekly buckets start on Monday, here 2026-11-30",
            ),
            (
                "resource,week,unit,available\nA|B,2026-W49,HUR,1\n",
                "2 resource: several resources have no name together",
            ),
            (
                "resource,week,unit,available\nA,2026-W49,HUR,1\nA,2037-W49,HUR,1\n",
                "2 -: \"A\" runs from 2026-11-30 to 2037-11-30, which is 575 buckets",
            ),
            (
                "resource,unit,measure,2026-W49\nA,HUR,total,1\nA,HUR,gesamt,1\n",
                "3 -: \"A\" has this measure in row 2 already",
            ),
            (
                "resource,unit,measure,2026-W49\nA,HUR,colour,1\n",
                "2 measure: \"colour\" is no measure",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(
                lines(import(text)).first().map(String::as_str),
                Some(expected),
                "{text}"
            );
        }
        let options = Options {
            weeks: "2030-W01".parse().ok(),
            ..Options::default()
        };
        let error =
            capacities_from(b"resource,week,available (h)\nA,2026-W49,1\n", &options).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the file has no rows in the weeks 2030-W01"
        );
    }

    proptest! {
        #[test]
        fn unknown_and_zero_are_never_confused(cells in prop::collection::vec(prop::option::of(0_i64..100_000), 1..40)) {
            let week = |n: usize| Week::new(2026, 1).unwrap().plus(n as i32).unwrap();
            let cell = |cell: &Option<i64>| cell.map_or(String::new(), |n| Quantity::from_thousandths(n).to_string());
            let lines: String = cells.iter().enumerate().map(|(n, c)| format!("A;{};{};x\n", week(n), cell(c))).collect();
            let options = Options { decimal: Some(Decimal::Point), ..Options::default() };
            let text = format!("resource;week;available [HUR];reason\n{lines}");
            let rows = capacities_from(text.as_bytes(), &options).unwrap();
            let expected: Vec<_> = cells.iter().map(|c| c.map(Quantity::from_thousandths)).collect();
            let expected = expected.iter().any(Option::is_some).then_some(expected);
            prop_assert_eq!(&rows.rows[0].fields.available, &expected);
        }

        #[test]
        fn no_table_panics(text in "(resource|week|date|total|2026-W49|A|1|[,;\n\"]|.){0,60}") {
            let _ = (import(&text), crate::import::resources_from(text.as_bytes(), &Options::default()));
        }
    }
}
