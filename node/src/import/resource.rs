//! Resources from a table: one row is one machine, line, cell or tool.
//!
//! Several processes or materials stand in one cell, separated by `|`; every process of a row gets all materials and
//! properties of it. Properties are `name=value`, `name=min..max`, `name=..max` with a unit code behind numbers:
//! `travel-x=0..800 MMT | tolerance=..0.01 MMT | taper=HSK-A63`. Processes are paths such as
//! `separating/milling/5-axis`; house words are not translated, since a wrong translation would be signed.

use std::collections::HashMap;

use fmesh_proto::{
    kinds::{self, Level, Slot, Typed as _},
    record::RecordError,
    taxonomy::Path,
};

use super::{
    ImportError, Options, Rows,
    errors::{Errors, shown},
    header::{Header, Names, fold, unit},
    number::{self, Marks},
    sheet::{Cell, Row, Sheet},
};
use crate::api::view::{Capability, ImportRow, Nameplate, Property, ResourceFields};

const ID: &Names = &[
    "id",
    "key",
    "resource",
    "ressource",
    "anlage",
    "anlagennummer",
    "anlagennr",
    "maschine",
    "maschinennummer",
    "maschinennr",
    "machine",
    "equipment",
    "equipmentnummer",
    "arbeitsplatz",
    "inventarnummer",
    "nr",
    "nummer",
    "schluessel",
];
const NAMES: &[&Names] = &[
    ID,
    &[
        "name",
        "bezeichnung",
        "benennung",
        "beschreibung",
        "description",
    ],
    &["level", "ebene", "anlagenebene", "equipmentlevel"],
    &[
        "process",
        "processes",
        "verfahren",
        "prozess",
        "prozesse",
        "fertigungsverfahren",
        "capability",
        "capabilities",
        "faehigkeit",
        "faehigkeiten",
    ],
    &["core", "corecapability", "kernkompetenz", "kernverfahren"],
    &[
        "material",
        "materials",
        "werkstoff",
        "werkstoffe",
        "materialien",
    ],
    &["manufacturer", "hersteller", "maker", "fabrikat"],
    &["model", "modell", "typ", "type", "baureihe"],
    &[
        "serial",
        "serialnumber",
        "serialno",
        "seriennummer",
        "seriennr",
        "fabriknummer",
        "fabriknr",
    ],
    &["year", "yearofconstruction", "baujahr", "jahr"],
    &["properties", "property", "eigenschaften", "merkmale"],
    &["parent", "partof", "teilvon", "gehoertzu", "uebergeordnet"],
];

pub(super) fn read(sheet: &Sheet, options: &Options) -> Result<Rows<ResourceFields>, ImportError> {
    let mut errors = Errors::default();
    let header = Header::read(&sheet.header, NAMES, &mut errors);
    if header.index("id").is_none() {
        header.missing(ID, NAMES, &mut errors);
        return Err(errors.into_error());
    }
    let table = Table {
        decimal: decimal(sheet, &header, options, &mut errors),
        header: &header,
    };
    let mut rows = Vec::with_capacity(sheet.rows.len());
    let mut seen: HashMap<String, u64> = HashMap::new();
    for row in &sheet.rows {
        let Some((key, fields)) = table.resource(row, &mut errors) else {
            continue;
        };
        if let Some(first) = seen.insert(key.clone(), row.number) {
            errors.add(
                row.number,
                Some(header.title("id")),
                format!("{:?} stands in row {first} already", shown(&key)),
                "each resource comes once, else one row would overwrite the other",
                "give it its own id, or write several processes into one cell with |",
            );
        }
        rows.push(ImportRow {
            row: row.number,
            key,
            fields,
        });
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

/// The decimal mark of all numbers in properties.
fn decimal(
    sheet: &Sheet,
    header: &Header,
    options: &Options,
    errors: &mut Errors,
) -> Option<super::Decimal> {
    let column = header.index("properties")?;
    let mut marks = Marks::default();
    for row in &sheet.rows {
        let Cell::Text(text) = row.cell(column) else {
            continue;
        };
        for draft in items(text).filter_map(Draft::read) {
            for number in draft.range.into_iter().flatten() {
                marks.look(row.number, header.title("properties"), number);
            }
        }
    }
    marks.decide(options.decimal, errors)
}

#[derive(Debug)]
struct Table<'s> {
    header: &'s Header,
    decimal: Option<super::Decimal>,
}

impl Table<'_> {
    fn cell<'r>(&self, row: &'r Row, name: &str) -> &'r Cell {
        self.header
            .index(name)
            .map_or(&Cell::Empty, |index| row.cell(index))
    }

    fn text(&self, row: &Row, name: &str, errors: &mut Errors) -> Option<String> {
        match self.cell(row, name) {
            cell if cell.is_unknown() => None,
            Cell::Wrong(text) => {
                self.add(
                    row,
                    name,
                    text,
                    "it holds an error",
                    "correct the formula, or clear the cell",
                    errors,
                );
                None
            }
            cell => cell.text().map(std::borrow::Cow::into_owned),
        }
    }

    fn add(&self, row: &Row, name: &str, text: &str, why: &str, hint: &str, errors: &mut Errors) {
        let title = self.header.title(name);
        errors.add(
            row.number,
            Some(title),
            format!("{:?} cannot be taken", shown(text)),
            why,
            hint,
        );
    }

    fn resource(&self, row: &Row, errors: &mut Errors) -> Option<(String, ResourceFields)> {
        let Some(key) = self.text(row, "id", errors) else {
            errors.add(
                row.number,
                Some(self.header.title("id")),
                "the cell is empty",
                "a resource needs a name of yours",
                "write one, such as DMU-80",
            );
            return None;
        };
        let plate = Nameplate {
            manufacturer: self.text(row, "manufacturer", errors),
            model: self.text(row, "model", errors),
            serial: self.text(row, "serial", errors),
            year: self.year(row, errors),
        };
        let fields = ResourceFields {
            name: self.text(row, "name", errors),
            level: self.level(row, errors),
            parent: self.text(row, "parent", errors),
            nameplate: (plate != Nameplate::default()).then_some(plate),
            capabilities: self.capabilities(row, errors),
            calendar: None,
            state: None,
        };
        if let Err(what) = rules(&fields) {
            errors.add(
                row.number,
                None,
                what,
                "resources are checked before they are signed",
                "correct the row",
            );
        }
        Some((key, fields))
    }

    fn year(&self, row: &Row, errors: &mut Errors) -> Option<i16> {
        let text = self.text(row, "year", errors)?;
        let year = text
            .parse()
            .ok()
            .filter(|year| (1800..=2200).contains(year));
        if year.is_none() {
            self.add(
                row,
                "year",
                &text,
                "it is not a year",
                "write four digits, such as 2019",
                errors,
            );
        }
        year
    }

    fn level(&self, row: &Row, errors: &mut Errors) -> Option<Level> {
        let text = self.text(row, "level", errors)?;
        let level = level(&text);
        if level.is_none() {
            let words: Vec<&str> = Level::ALL.iter().map(|level| level.as_str()).collect();
            self.add(
                row,
                "level",
                &text,
                "it is no level of ISA-95",
                &format!("use one of {}", words.join(", ")),
                errors,
            );
        }
        level
    }

    fn capabilities(&self, row: &Row, errors: &mut Errors) -> Option<Vec<Capability>> {
        let materials = self.paths(row, "material", str::parse, errors);
        let properties = self.properties(row, errors);
        let core = self.yes(row, errors);
        let processes = self.paths(row, "process", Path::process, errors);
        if processes.is_empty() {
            let wrong = !self.cell(row, "process").is_unknown();
            if !wrong && (!materials.is_empty() || !properties.is_empty() || core) {
                errors.add(
                    row.number,
                    Some(self.header.title("process")),
                    "the cell is empty",
                    "material, properties and core say something about a process",
                    "write the process, such as separating/milling/5-axis",
                );
            }
            return None;
        }
        let capability = |process| Capability {
            process,
            core,
            materials: materials.clone(),
            properties: properties.clone(),
        };
        Some(processes.into_iter().map(capability).collect())
    }

    fn paths<E: std::fmt::Display>(
        &self,
        row: &Row,
        name: &str,
        parse: impl Fn(&str) -> Result<Path, E>,
        errors: &mut Errors,
    ) -> Vec<Path> {
        let Some(text) = self.text(row, name, errors) else {
            return Vec::new();
        };
        let mut paths: Vec<Path> = Vec::new();
        for item in items(&text) {
            match parse(&item.to_lowercase()) {
                Ok(path) if paths.contains(&path) => {}
                Ok(path) => paths.push(path),
                Err(why) => self.add(row, name, item, &why.to_string(), "write a path of small letters from general to special; separate several with |", errors),
            }
        }
        paths
    }

    fn yes(&self, row: &Row, errors: &mut Errors) -> bool {
        let Some(text) = self.text(row, "core", errors) else {
            return false;
        };
        match fold(&text).as_str() {
            "yes" | "ja" | "j" | "y" | "x" | "1" | "true" | "wahr" => true,
            "no" | "nein" | "n" | "0" | "false" | "falsch" => false,
            _ => {
                self.add(
                    row,
                    "core",
                    &text,
                    "it is neither yes nor no",
                    "write yes or no",
                    errors,
                );
                false
            }
        }
    }

    fn properties(&self, row: &Row, errors: &mut Errors) -> Vec<Property> {
        let Some(text) = self.text(row, "properties", errors) else {
            return Vec::new();
        };
        let mut properties = Vec::new();
        for item in items(&text) {
            let Some(draft) = Draft::read(item) else {
                self.add(
                    row,
                    "properties",
                    item,
                    "a property has a name and a value",
                    "write name=value, name=min..max or name=..max, and a unit code behind numbers",
                    errors,
                );
                continue;
            };
            let mut end = |text: Option<&str>| {
                let cell = Cell::text_of(text?);
                number::read(
                    &cell,
                    self.decimal,
                    row.number,
                    self.header.title("properties"),
                    errors,
                )
            };
            let [min, max] = draft.range.map(&mut end);
            let unit = draft.unit.and_then(|text| {
                let unit = unit(text);
                if unit.is_none() {
                    self.add(
                        row,
                        "properties",
                        text,
                        "it is no unit code of UN/ECE Rec 20",
                        "use MMT for millimetre, KGM, RPM, ...",
                        errors,
                    );
                }
                unit
            });
            properties.push(Property {
                name: draft.name.to_owned(),
                semantic_id: None,
                min,
                max,
                value: draft.value.map(str::to_owned),
                unit,
            });
        }
        properties
    }
}

/// Values of one cell.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(['|', '\n'])
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// A property before its numbers are read.
#[derive(Debug, PartialEq, Eq)]
struct Draft<'t> {
    name: &'t str,
    range: [Option<&'t str>; 2],
    value: Option<&'t str>,
    unit: Option<&'t str>,
}

impl<'t> Draft<'t> {
    fn read(item: &'t str) -> Option<Self> {
        let (name, value) = item.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || value.is_empty() {
            return None;
        }
        let whole = Self {
            name,
            range: [None; 2],
            value: Some(value),
            unit: None,
        };
        let Some((min, max)) = value.split_once("..") else {
            return Some(whole);
        };
        // The unit is the last word, if letters stand in it: numbers may have spaces as group marks.
        let is_unit = |word: &&str| {
            !word.starts_with(|c: char| c.is_ascii_digit()) && word.chars().any(char::is_alphabetic)
        };
        let (max, unit) = match max.trim().rsplit_once(' ') {
            Some((max, unit)) if is_unit(&unit) => (max, Some(unit)),
            None if is_unit(&max.trim()) => ("", Some(max.trim())),
            _ => (max, None),
        };
        let number = |text: &'t str| Some(text.trim()).filter(|text| !text.is_empty());
        let range = [number(min), number(max)];
        (range != [None; 2]).then_some(Self {
            range,
            value: None,
            unit,
            ..whole
        })
    }
}

fn level(text: &str) -> Option<Level> {
    let folded = fold(text);
    Some(match folded.as_str() {
        "werk" | "standort" => Level::Site,
        "bereich" | "halle" => Level::Area,
        "linie" | "line" | "fertigungslinie" => Level::ProductionLine,
        "zelle" | "cell" | "fertigungszelle" => Level::WorkCell,
        "maschine" | "machine" | "anlage" => Level::WorkUnit,
        "lager" | "storage" => Level::StorageUnit,
        "werkzeug" => Level::Tool,
        "personal" | "mitarbeiter" => Level::Personnel,
        _ => *Level::ALL
            .iter()
            .find(|level| fold(level.as_str()) == folded)?,
    })
}

/// The rules of the kind, over what a row can say.
fn rules(fields: &ResourceFields) -> Result<(), String> {
    let property = |property: &Property| kinds::Property {
        name: property.name.clone(),
        semantic_id: None,
        min: property.min,
        max: property.max,
        value: property.value.clone(),
        unit: property.unit,
    };
    let capability = |capability: &Capability| kinds::Capability {
        process: capability.process.clone(),
        core: capability.core,
        materials: capability.materials.clone(),
        properties: capability.properties.iter().map(property).collect(),
    };
    let resource = kinds::Resource {
        name: fields.name.clone().into(),
        nameplate: Slot::from(fields.nameplate.clone().map(|plate| kinds::Nameplate {
            manufacturer: plate.manufacturer,
            model: plate.model,
            serial: plate.serial,
            year: plate.year,
        })),
        capabilities: Slot::from(
            fields
                .capabilities
                .as_ref()
                .map(|all| all.iter().map(capability).collect()),
        ),
        ..Default::default()
    };
    resource.check().map_err(rule)
}

/// The sentence of a rule, without the kind before it.
pub(super) fn rule(error: RecordError) -> String {
    match error {
        RecordError::Rule { what, .. } => what,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
