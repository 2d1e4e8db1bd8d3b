//! Capacities from a table, long or wide.
//!
//! Long: one row per resource and bucket, with the columns of a capacity. The bucket is a `week`, a `year` and a
//! `week`, the Monday of a week (`week start`), or a `date`, which makes daily buckets. Wide: one row per resource and
//! measure (`available`, `total`, ...), one column per week or day.
//!
//! Rows with one key become one capacity, whose series runs from its first to its last bucket. What is empty or not
//! there is unknown. The rules of the kind are checked bucket by bucket, where the row is still known.

use fmesh_proto::{kinds::Bucket, quantity::Unit, taxonomy::Path, week::Week};
use jiff::civil::Date;

use self::{
    group::{Entry, Group, Groups},
    layout::{Layout, Time},
};
use super::{
    Decimal, ImportError, Measure, Options, Rows,
    errors::{Errors, shown},
    header::{Header, Names, fold, unit},
    number::{self, Marks},
    sheet::{Cell, Row, Sheet},
    when,
};
use crate::api::view::CapacityFields;

mod group;
mod layout;

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

#[cfg(test)]
mod tests;
