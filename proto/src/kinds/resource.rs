//! `resource`: ISA-95 equipment: where it stands in the plant, what it can do, what it does now.

use serde::{Deserialize, Serialize};

use super::{
    Slot,
    form::{objects, words},
    slots, text,
};
use crate::{
    id::ObjectId,
    quantity::{Quantity, Unit},
    taxonomy::Path,
};

/// `resource`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "slot names of RECORDS.md")]
pub struct Resource {
    pub level: Slot<Level>,
    pub parent: Slot<ObjectId>,
    pub name: Slot<String>,
    pub nameplate: Slot<Nameplate>,
    pub capabilities: Slot<Vec<Capability>>,
    pub calendar: Slot<String>,
    pub state: Slot<State>,
}
slots!(Resource {
    level: "level",
    parent: "parent",
    name: "name",
    nameplate: "nameplate",
    capabilities: "capabilities",
    calendar: "calendar",
    state: "state",
});

words! {
    /// ISA-95 equipment level.
    #[allow(missing_docs, reason = "names of ISA-95")]
    pub enum Level {
        Site = "Site",
        Area = "Area",
        WorkCenter = "WorkCenter",
        ProductionLine = "ProductionLine",
        WorkCell = "WorkCell",
        WorkUnit = "WorkUnit",
        StorageUnit = "StorageUnit",
        Material = "Material",
        Tool = "Tool",
        Personnel = "Personnel",
    }
}

/// Who made a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[allow(missing_docs, reason = "slot names of RECORDS.md")]
pub struct Nameplate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub year: Option<i16>,
}

/// What a resource can do. An empty list of materials says nothing about materials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[allow(missing_docs, reason = "slot names of RECORDS.md")]
pub struct Capability {
    pub process: Path,
    #[serde(default)]
    pub core: bool,
    #[serde(default)]
    pub materials: Vec<Path>,
    #[serde(default)]
    pub properties: Vec<Property>,
}

/// A property of a capability: a range (an end that is missing is open) or a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[allow(missing_docs, reason = "slot names of RECORDS.md")]
pub struct Property {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// What a resource does at the moment, as the author last heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[allow(missing_docs, reason = "slot names of RECORDS.md")]
pub struct State {
    pub item: Activity,
    pub mode: Mode,
    pub since: jiff::Timestamp,
}
words! {
    /// Is it there, and is it running?
    #[allow(missing_docs, reason = "words of RECORDS.md")]
    pub enum Activity {
        NotAvailable = "NotAvailable",
        OutOfService = "OutOfService",
        NotExecuting = "NotExecuting",
        Executing = "Executing",
    }
}
words! {
    /// What it is occupied with.
    #[allow(missing_docs, reason = "words of RECORDS.md")]
    pub enum Mode {
        None = "None",
        Maintenance = "Maintenance",
        Setup = "Setup",
        Processing = "Processing",
    }
}

objects!(Nameplate, Capability, Property, State);

impl Resource {
    fn rules(&self) -> Result<(), String> {
        if let Slot::Known(name) = &self.name {
            text::name("name", name)?;
        }
        if let Slot::Known(nameplate) = &self.nameplate {
            text::names([
                ("nameplate.manufacturer", &nameplate.manufacturer),
                ("nameplate.model", &nameplate.model),
                ("nameplate.serial", &nameplate.serial),
            ])?;
        }
        if let Slot::Known(capabilities) = &self.capabilities {
            text::list("capabilities", capabilities)?;
            capabilities.iter().try_for_each(Capability::rules)?;
        }
        if let Slot::Known(calendar) = &self.calendar {
            text::block("calendar", calendar)?;
        }
        Ok(())
    }
}

impl Capability {
    fn rules(&self) -> Result<(), String> {
        self.process
            .check_process()
            .map_err(|error| format!("capabilities.process: {error}"))?;
        text::list("capabilities.materials", &self.materials)?;
        text::list("capabilities.properties", &self.properties)?;
        self.properties.iter().try_for_each(Property::rules)
    }
}

impl Property {
    fn rules(&self) -> Result<(), String> {
        text::name("capabilities.properties.name", &self.name)?;
        text::names([
            ("capabilities.properties.semanticId", &self.semantic_id),
            ("capabilities.properties.value", &self.value),
        ])?;
        match (self.min, self.max) {
            (Some(min), Some(max)) if min > max => Err(format!(
                "property {:?} has min {min} above max {max}",
                self.name
            )),
            (None, None) => Ok(()),
            _ if self.value.is_some() => Err(format!(
                "property {:?} has a value and a range: give one of them",
                self.name
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::kinds::{
        Kind, Typed,
        tests::{refusal, shown},
    };

    fn full() -> Value {
        json!({
            "level": "WorkUnit",
            "parent": "2c5ea4c0-4067-4fe9-8bad-9b1deb4d3b7d",
            "name": "DMU 80",
            "nameplate": {"manufacturer": "Example Works", "model": "M80", "year": 2019, "weight": "new"},
            "capabilities": [{"process": "separating/milling/5-axis", "core": true, "materials": ["metal/aluminium"],
                "properties": [{"name": "travelX", "min": "0", "max": "800", "unit": "MMT", "semanticId": "0173-1#02-AAZ999#001"}]}],
            "calendar": "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n",
            "state": {"item": "Executing", "mode": "Processing", "since": "2026-11-21T08:00:00Z", "operator": "new"},
        })
    }

    #[test]
    fn a_full_resource_is_read_and_written_back() {
        assert_eq!(refusal(&Kind::Resource, &full()), None);
        let resource = Resource::read(&shown(&Kind::Resource, &full())).unwrap();
        let written = resource.write().into_iter();
        let again: BTreeMap<_, _> = written.map(|(name, value)| (name, Some(value))).collect();
        assert_eq!(Resource::read(&again).unwrap(), resource);
        assert_eq!(
            resource.state.known().map(|state| state.item),
            Some(Activity::Executing)
        );
    }

    #[test]
    fn refusals() {
        let cases = [
            (
                "/name",
                json!(""),
                "name is empty: leave it unknown (null) instead",
            ),
            (
                "/nameplate/model",
                json!("a\nb"),
                "nameplate.model contains a line break or another control character",
            ),
            (
                "/capabilities/0/process",
                json!("milling"),
                "capabilities.process: not a path like separating/milling/5-axis: \"milling\" is not a process group; begin with one of primary-shaping, forming, separating, joining, coating, property-change, assembly, inspection, logistics",
            ),
            (
                "/capabilities/0/materials/0",
                json!("Metal"),
                "capabilities: not a path like separating/milling/5-axis: \"Metal\" may use only a-z, 0-9, '.' and '-' between slashes",
            ),
            (
                "/capabilities/0/properties/0/min",
                json!("801"),
                "property \"travelX\" has min 801 above max 800",
            ),
            (
                "/capabilities/0/properties/0",
                json!({"name": "tolerance", "value": "H7", "min": "1"}),
                "property \"tolerance\" has a value and a range: give one of them",
            ),
            (
                "/capabilities/0/properties",
                json!(vec![json!({"name": "x"}); 257]),
                "capabilities.properties has 257 elements, the limit is 256",
            ),
            (
                "/calendar",
                json!("\u{0}"),
                "calendar contains a control character",
            ),
        ];
        for (place, value, why) in cases {
            let mut body = full();
            *body.pointer_mut(place).unwrap() = value;
            assert_eq!(
                refusal(&Kind::Resource, &body).as_deref(),
                Some(why),
                "{place}"
            );
        }
        let mut body = full();
        body["state"]["mode"] = json!("Lunch");
        assert!(
            refusal(&Kind::Resource, &body)
                .unwrap()
                .starts_with("state: unknown word \"Lunch\": use one of None, Maintenance")
        );
    }
}
