//! Does a resource cover what is required? (RECORDS.md, "Search")
//!
//! One capability has to cover the whole requirement: process, every material, every property. A path of the
//! capability has to contain what is asked ([`Path::covers_query`](crate::taxonomy::Path::covers_query)), and
//! its range every number that is asked. What the capability leaves out is unknown and listed as such, so that a buyer can ask; what it
//! contradicts is a no. Units are compared by code, never converted: a different unit is unknown, too.

use std::fmt;

use crate::{
    kinds::{Capability, Property, Slot},
    quantity::Quantity,
    taxonomy::Path,
};

/// What is asked of one capability. An empty requirement is covered by any capability.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirement {
    /// Process as people type it: `milling/5-axis`, or a whole path.
    pub process: Option<String>,
    /// Materials as people type them; all of them are needed.
    pub materials: Vec<String>,
    /// Numbers or words that have to lie within the property of the same name. An end that is not given is not
    /// asked for: `min` alone asks that this one number lies in the range.
    pub properties: Vec<Property>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// All that is required is stated.
    Covers {
        /// The factory calls this capability its core.
        core: bool,
    },
    /// Nothing contradicts the requirement, but not all of it is stated.
    Unknown(Vec<Gap>),
    /// No capability fits; the reason is that of the capability that came nearest.
    Not(Reason),
}

/// What a reader does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gap {
    /// The circle does not show the capabilities.
    CapabilitiesWithheld,
    /// The author does not say what the resource can do.
    CapabilitiesUnknown,
    /// The path is more general than what is asked.
    Process {
        /// What is stated.
        stated: Path,
        /// What is asked.
        asked: String,
    },
    /// No material is stated, or only a more general one.
    Material {
        /// What is asked.
        asked: String,
    },
    /// The property is not stated.
    Property {
        /// Its name.
        name: String,
    },
    /// The property is stated in a way that cannot be compared: another unit, or words against numbers.
    Incomparable {
        /// Its name.
        name: String,
    },
}

/// Why a capability does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The resource states an empty list of capabilities.
    NoCapability,
    /// Another process.
    Process {
        /// What is asked.
        asked: String,
    },
    /// Other materials.
    Material {
        /// What is asked.
        asked: String,
    },
    /// The property does not contain what is asked.
    Property {
        /// Its name.
        name: String,
        /// What the capability states, with its unit.
        stated: String,
    },
}

/// Does any of the capabilities cover the requirement? The best answer wins: core, other, unknown, no.
#[must_use]
pub fn covers(required: &Requirement, capabilities: &Slot<Vec<Capability>>) -> Coverage {
    let capabilities = match capabilities {
        Slot::Withheld => return Coverage::Unknown(vec![Gap::CapabilitiesWithheld]),
        Slot::Unknown => return Coverage::Unknown(vec![Gap::CapabilitiesUnknown]),
        Slot::Known(capabilities) => capabilities,
    };
    capabilities
        .iter()
        .map(|capability| judge(required, capability))
        .min_by_key(rank)
        .unwrap_or(Coverage::Not(Reason::NoCapability))
}

/// Judges one capability: the first contradiction, else all gaps.
fn judge(required: &Requirement, capability: &Capability) -> Coverage {
    let mut gaps = Vec::new();
    if let Some(asked) = &required.process
        && !capability.process.covers_query(asked)
    {
        if !capability.process.is_open_about(asked) {
            return Coverage::Not(Reason::Process {
                asked: asked.clone(),
            });
        }
        gaps.push(Gap::Process {
            stated: capability.process.clone(),
            asked: asked.clone(),
        });
    }
    for asked in &required.materials {
        if capability
            .materials
            .iter()
            .any(|material| material.covers_query(asked))
        {
            continue;
        }
        let open = capability
            .materials
            .iter()
            .any(|material| material.is_open_about(asked));
        if !open && !capability.materials.is_empty() {
            return Coverage::Not(Reason::Material {
                asked: asked.clone(),
            });
        }
        gaps.push(Gap::Material {
            asked: asked.clone(),
        });
    }
    for asked in &required.properties {
        match property(asked, &capability.properties) {
            Fit::Within => {}
            Fit::Open(gap) => gaps.push(gap),
            Fit::Outside(reason) => return Coverage::Not(reason),
        }
    }
    if gaps.is_empty() {
        Coverage::Covers {
            core: capability.core,
        }
    } else {
        Coverage::Unknown(gaps)
    }
}

/// Smaller is better.
fn rank(coverage: &Coverage) -> (u8, usize) {
    match coverage {
        Coverage::Covers { core: true } => (0, 0),
        Coverage::Covers { core: false } => (1, 0),
        Coverage::Unknown(gaps) => (2, gaps.len()),
        Coverage::Not(Reason::Property { .. }) => (3, 0),
        Coverage::Not(Reason::Material { .. }) => (4, 0),
        Coverage::Not(Reason::Process { .. }) => (5, 0),
        Coverage::Not(Reason::NoCapability) => (6, 0),
    }
}

enum Fit {
    Within,
    Open(Gap),
    Outside(Reason),
}

/// A capability may state a property several times (two tables of one machine): one that fits is enough.
fn property(asked: &Property, stated: &[Property]) -> Fit {
    let mut best = Fit::Open(Gap::Property {
        name: asked.name.clone(),
    });
    for stated in stated.iter().filter(|stated| same_property(asked, stated)) {
        match compare(asked, stated) {
            Some(true) => return Fit::Within,
            Some(false) => {
                if !matches!(best, Fit::Open(Gap::Incomparable { .. })) {
                    best = Fit::Outside(Reason::Property {
                        name: asked.name.clone(),
                        stated: describe(stated),
                    });
                }
            }
            None => {
                best = Fit::Open(Gap::Incomparable {
                    name: asked.name.clone(),
                })
            }
        }
    }
    best
}

/// Semantic ids decide where both sides give one, else names without case.
fn same_property(a: &Property, b: &Property) -> bool {
    match (&a.semantic_id, &b.semantic_id) {
        (Some(a), Some(b)) => a == b,
        _ => a.name.eq_ignore_ascii_case(&b.name),
    }
}

/// `None` if the two cannot be compared.
fn compare(asked: &Property, stated: &Property) -> Option<bool> {
    if asked.min.is_none() && asked.max.is_none() && asked.value.is_none() {
        return Some(true);
    }
    let number = |text: &Option<String>| {
        text.as_deref()
            .and_then(|text| text.trim().parse::<Quantity>().ok())
    };
    let asked_numbers: Vec<Quantity> = match &asked.value {
        Some(_) => number(&asked.value).into_iter().collect(),
        None => asked.min.into_iter().chain(asked.max).collect(),
    };
    let (low, high) = match &stated.value {
        Some(_) => (number(&stated.value), number(&stated.value)),
        None => (stated.min, stated.max),
    };
    if asked_numbers.is_empty() || (low.is_none() && high.is_none()) {
        // At least one side is a word, or nothing is stated: only equal words can be compared.
        let (asked, stated) = (asked.value.as_deref()?, stated.value.as_deref()?);
        return Some(asked.trim().eq_ignore_ascii_case(stated.trim()));
    }
    if asked.unit.is_some() && asked.unit != stated.unit {
        return None;
    }
    Some(
        asked_numbers
            .iter()
            .all(|n| low.is_none_or(|low| low <= *n) && high.is_none_or(|high| *n <= high)),
    )
}

fn describe(property: &Property) -> String {
    let number = |n: &Option<Quantity>| n.map_or_else(String::new, |n| n.to_string());
    let stated = match &property.value {
        Some(value) => value.clone(),
        None => format!("{}..{}", number(&property.min), number(&property.max)),
    };
    property
        .unit
        .map_or(stated.clone(), |unit| format!("{stated} {}", unit.symbol()))
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CapabilitiesWithheld => f.write_str("capabilities are not shared with us"),
            Self::CapabilitiesUnknown => f.write_str("capabilities are not stated"),
            Self::Process { stated, asked } => {
                write!(f, "process says {stated} only, not whether {asked}")
            }
            Self::Material { asked } => write!(f, "material {asked} is not stated"),
            Self::Property { name } => write!(f, "property {name} is not stated"),
            Self::Incomparable { name } => {
                write!(f, "property {name} is stated in another unit or form")
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCapability => f.write_str("it has no capability"),
            Self::Process { asked } => write!(f, "no capability for process {asked}"),
            Self::Material { asked } => write!(f, "not for material {asked}"),
            Self::Property { name, stated } => write!(f, "property {name} is {stated}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn capability(process: &str, core: bool, materials: &[&str], properties: Value) -> Capability {
        serde_json::from_value(json!({"process": process, "core": core, "materials": materials, "properties": properties})).unwrap()
    }

    fn required(process: &str, materials: &[&str], properties: Value) -> Requirement {
        Requirement {
            process: (!process.is_empty()).then(|| process.to_owned()),
            materials: materials.iter().map(|&m| m.to_owned()).collect(),
            properties: serde_json::from_value(properties).unwrap(),
        }
    }

    /// One line per answer, as the tables below write it.
    fn told(coverage: &Coverage) -> String {
        match coverage {
            Coverage::Covers { core: true } => "core".to_owned(),
            Coverage::Covers { core: false } => "covers".to_owned(),
            Coverage::Unknown(gaps) => format!(
                "unknown: {}",
                gaps.iter()
                    .map(Gap::to_string)
                    .collect::<Vec<_>>()
                    .join("; ")
            ),
            Coverage::Not(reason) => format!("not: {reason}"),
        }
    }

    #[test]
    fn process_and_material() {
        let mill = capability(
            "separating/milling/5-axis",
            true,
            &["metal/aluminium/en-aw-7075", "metal/steel"],
            json!([]),
        );
        let bare = capability("separating/milling", false, &[], json!([]));
        let cases = [
            (&mill, "", &[][..], "core"),
            (&mill, "milling/5-axis", &[], "core"),
            (&mill, "milling", &["en-aw-7075"], "core"),
            (&mill, "milling", &["aluminium", "steel"], "core"),
            (
                &mill,
                "turning",
                &[],
                "not: no capability for process turning",
            ),
            (
                &mill,
                "milling",
                &["titanium"],
                "not: not for material titanium",
            ),
            (
                &mill,
                "milling",
                &["aluminium", "titanium"],
                "not: not for material titanium",
            ),
            (
                &mill,
                "milling",
                &["steel/1.4301"],
                "unknown: material steel/1.4301 is not stated",
            ),
            (&bare, "milling", &[], "covers"),
            (
                &bare,
                "milling",
                &["steel"],
                "unknown: material steel is not stated",
            ),
            (
                &bare,
                "milling/5-axis",
                &[],
                "unknown: process says separating/milling only, not whether milling/5-axis",
            ),
            (
                &bare,
                "5-axis",
                &[],
                "not: no capability for process 5-axis",
            ),
        ];
        for (capability, process, materials, expected) in cases {
            let answer = covers(
                &required(process, materials, json!([])),
                &Slot::Known(vec![capability.clone()]),
            );
            assert_eq!(told(&answer), expected, "{process} {materials:?}");
        }
    }

    #[test]
    fn ranges_and_values() {
        let travel = json!({"name": "travelX", "min": "0", "max": "800", "unit": "MMT"});
        let cases = [
            (
                travel.clone(),
                json!({"name": "travelX", "value": "800", "unit": "MMT"}),
                "core",
            ),
            (
                travel.clone(),
                json!({"name": "TRAVELX", "min": "100", "max": "800"}),
                "core",
            ),
            (
                travel.clone(),
                json!({"name": "travelX", "min": "800.001"}),
                "not: property travelX is 0..800 mm",
            ),
            (
                travel.clone(),
                json!({"name": "travelX", "min": "-1", "max": "5"}),
                "not: property travelX is 0..800 mm",
            ),
            (travel.clone(), json!({"name": "travelX"}), "core"),
            (
                travel.clone(),
                json!({"name": "travelX", "max": "1", "unit": "MTR"}),
                "unknown: property travelX is stated in another unit or form",
            ),
            (
                travel.clone(),
                json!({"name": "travelX", "value": "long"}),
                "unknown: property travelX is stated in another unit or form",
            ),
            (
                travel,
                json!({"name": "travelY", "max": "1"}),
                "unknown: property travelY is not stated",
            ),
            (
                json!({"name": "x", "max": "5"}),
                json!({"name": "x", "value": "-3"}),
                "core",
            ),
            (
                json!({"name": "x"}),
                json!({"name": "x", "value": "-3"}),
                "unknown: property x is stated in another unit or form",
            ),
            (
                json!({"name": "x", "value": "5.0"}),
                json!({"name": "x", "value": "5"}),
                "core",
            ),
            (
                json!({"name": "x", "value": "5"}),
                json!({"name": "x", "min": "5", "max": "6"}),
                "not: property x is 5",
            ),
            (
                json!({"name": "tolerance", "value": "H7"}),
                json!({"name": "tolerance", "value": "h7"}),
                "core",
            ),
            (
                json!({"name": "tolerance", "value": "H7"}),
                json!({"name": "tolerance", "value": "H6"}),
                "not: property tolerance is H7",
            ),
            (
                json!({"name": "a", "semanticId": "id1", "max": "5"}),
                json!({"name": "b", "semanticId": "id1", "max": "5"}),
                "core",
            ),
            (
                json!({"name": "a", "semanticId": "id1", "max": "5"}),
                json!({"name": "a", "semanticId": "id2", "max": "5"}),
                "unknown: property a is not stated",
            ),
        ];
        for (stated, asked, expected) in cases {
            let capability = capability("forming/bending", true, &[], json!([stated.clone()]));
            let answer = covers(
                &required("bending", &[], json!([asked.clone()])),
                &Slot::Known(vec![capability]),
            );
            assert_eq!(told(&answer), expected, "stated {stated}, asked {asked}");
        }
    }

    #[test]
    fn the_best_capability_answers() {
        let small = capability(
            "separating/milling",
            true,
            &["metal/steel"],
            json!([{"name": "x", "max": "100"}]),
        );
        let large = capability(
            "separating/milling",
            false,
            &["metal/steel"],
            json!([{"name": "x", "max": "900"}]),
        );
        let silent = capability("separating/milling", true, &["metal/steel"], json!([]));
        let other = capability("coating/painting", true, &[], json!([]));
        let ask = required(
            "milling",
            &["steel"],
            json!([{"name": "x", "value": "500"}]),
        );
        let cases = [
            (vec![&small, &large], "covers"),
            (vec![&small, &silent], "unknown: property x is not stated"),
            (vec![&other, &small], "not: property x is ..100"),
            (vec![&other], "not: no capability for process milling"),
            (vec![], "not: it has no capability"),
        ];
        for (capabilities, expected) in cases {
            let answer = covers(
                &ask,
                &Slot::Known(capabilities.into_iter().cloned().collect()),
            );
            assert_eq!(told(&answer), expected);
        }
        assert_eq!(
            told(&covers(&ask, &Slot::Withheld)),
            "unknown: capabilities are not shared with us"
        );
        assert_eq!(
            told(&covers(&ask, &Slot::Unknown)),
            "unknown: capabilities are not stated"
        );
    }

    proptest! {
        #[test]
        fn a_range_contains_what_is_asked_exactly_if_every_number_lies_in_it(
            low in -50_i64..50, width in 0_i64..50, asked_low in -60_i64..60, asked_width in 0_i64..60,
        ) {
            let property = |min: i64, max: i64| serde_json::from_value::<Property>(
                json!({"name": "x", "min": Quantity::from_thousandths(min), "max": Quantity::from_thousandths(max)})).unwrap();
            let inside = compare(&property(asked_low, asked_low + asked_width), &property(low, low + width));
            let expected = (asked_low..=asked_low + asked_width).all(|n| (low..=low + width).contains(&n));
            prop_assert_eq!(inside, Some(expected));
        }

        #[test]
        fn no_query_panics(process in "\\PC{0,40}", material in "[a-z/]{0,12}") {
            let mill = capability("separating/milling", true, &["metal/steel"], json!([]));
            let ask = Requirement { process: Some(process), materials: vec![material], properties: Vec::new() };
            let answer = covers(&ask, &Slot::Known(vec![mill]));
            prop_assert!(!told(&answer).is_empty());
        }
    }
}
