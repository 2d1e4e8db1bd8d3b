//! Between what people write and read ([`crate::api::view`]) and what records say ([`fmesh_proto::kinds`]). Pure.
//!
//! Writing: what is left out becomes unknown, never withheld and never zero. Reading keeps all three states.

use std::collections::BTreeMap;

use fmesh_proto::{
    id::ObjectId,
    kinds::{self, Slot, Typed as _},
    quantity::Unit,
    record::{Fields, RecordError},
};
use serde_json::Value;

use crate::api::view::{
    Amount, Capability, CapacityFields, CapacitySlots, Certificate, Column, Location, MachineState,
    Nameplate, Property, ResourceFields, ResourceSlots, Shown, SiteFields, SiteSlots,
};

/// Slots as a reader holds them: `None` is withheld.
pub(crate) type Held = BTreeMap<String, Option<Value>>;

/// An author holds all of its slots.
pub(crate) fn held(fields: &Fields) -> Held {
    let slot = |(name, value): (&String, &Value)| (name.clone(), Some(value.clone()));
    fields.iter().map(slot).collect()
}

/// A `site` as it is stored.
pub(crate) fn write_site(fields: SiteFields) -> Fields {
    kinds::Site {
        name: given(fields.name),
        identifiers: given(fields.identifiers),
        location: given(fields.location.map(|place| kinds::Location {
            country: place.country,
            region: place.region,
            locality: place.locality,
            lat: place.lat,
            lon: place.lon,
        })),
        timezone: given(fields.timezone),
        certificates: given(fields.certificates.map(|all| each(all, write_certificate))),
        contact: given(fields.contact),
    }
    .write()
}

/// A `site` as a reader sees it.
pub(crate) fn read_site(held: &Held) -> Result<SiteSlots, RecordError> {
    let site = kinds::Site::read(held)?;
    Ok(SiteSlots {
        name: site.name.into(),
        identifiers: site.identifiers.into(),
        location: Shown::from(site.location).map(|place| Location {
            country: place.country,
            region: place.region,
            locality: place.locality,
            lat: place.lat,
            lon: place.lon,
        }),
        timezone: site.timezone.into(),
        certificates: Shown::from(site.certificates).map(|all| each(all, read_certificate)),
        contact: site.contact.into(),
    })
}

/// A `resource` as it is stored; its parent is resolved already.
pub(crate) fn write_resource(fields: ResourceFields, parent: Option<ObjectId>) -> Fields {
    kinds::Resource {
        level: given(fields.level),
        parent: given(parent),
        name: given(fields.name),
        nameplate: given(fields.nameplate.map(|plate| kinds::Nameplate {
            manufacturer: plate.manufacturer,
            model: plate.model,
            serial: plate.serial,
            year: plate.year,
        })),
        capabilities: given(fields.capabilities.map(|all| each(all, write_capability))),
        calendar: given(fields.calendar),
        state: given(fields.state.map(|state| kinds::State {
            item: state.item,
            mode: state.mode,
            since: state.since,
        })),
    }
    .write()
}

/// A `resource` as a reader sees it.
pub(crate) fn read_resource(held: &Held) -> Result<ResourceSlots, RecordError> {
    let resource = kinds::Resource::read(held)?;
    Ok(ResourceSlots {
        name: resource.name.into(),
        level: resource.level.into(),
        parent: resource.parent.into(),
        nameplate: Shown::from(resource.nameplate).map(|plate| Nameplate {
            manufacturer: plate.manufacturer,
            model: plate.model,
            serial: plate.serial,
            year: plate.year,
        }),
        capabilities: Shown::from(resource.capabilities).map(|all| each(all, read_capability)),
        calendar: resource.calendar.into(),
        state: Shown::from(resource.state).map(|state| MachineState {
            item: state.item,
            mode: state.mode,
            since: state.since,
        }),
    })
}

/// A `capacity` as it is stored; its resources are resolved already.
pub(crate) fn write_capacity(fields: CapacityFields, resources: Option<Vec<ObjectId>>) -> Fields {
    kinds::Capacity {
        name: given(fields.name),
        resources: given(resources),
        process: given(fields.process),
        unit: given(fields.unit),
        bucket: given(fields.bucket),
        start: given(fields.start),
        total: given(fields.total),
        committed: given(fields.committed),
        available: given(fields.available),
        unattainable: given(fields.unattainable),
        reason: given(fields.reason),
        maximum: given(fields.maximum),
    }
    .write()
}

/// A `capacity` as a reader sees it: numbers carry their unit.
pub(crate) fn read_capacity(held: &Held) -> Result<CapacitySlots, RecordError> {
    let capacity = kinds::Capacity::read(held)?;
    let unit = capacity.unit.known().copied();
    let column = |slot: Slot<kinds::Series>| Shown::from(slot).map(|all| amounts(all, unit));
    Ok(CapacitySlots {
        name: capacity.name.into(),
        resources: capacity.resources.into(),
        process: capacity.process.into(),
        unit: capacity.unit.into(),
        bucket: capacity.bucket.into(),
        start: capacity.start.into(),
        total: column(capacity.total),
        committed: column(capacity.committed),
        available: column(capacity.available),
        unattainable: column(capacity.unattainable),
        reason: capacity.reason.into(),
        maximum: column(capacity.maximum),
    })
}

/// A certificate as people read it.
pub(crate) fn read_certificate(certificate: kinds::Certificate) -> Certificate {
    Certificate {
        r#type: certificate.r#type,
        registration_number: certificate.registration_number,
        issuer: certificate.issuer,
        valid_from: certificate.valid_from,
        valid_until: certificate.valid_until,
        area: certificate.area,
    }
}

fn write_certificate(certificate: Certificate) -> kinds::Certificate {
    kinds::Certificate {
        r#type: certificate.r#type,
        registration_number: certificate.registration_number,
        issuer: certificate.issuer,
        valid_from: certificate.valid_from,
        valid_until: certificate.valid_until,
        area: certificate.area,
    }
}

fn write_capability(capability: Capability) -> kinds::Capability {
    kinds::Capability {
        process: capability.process,
        core: capability.core,
        materials: capability.materials,
        properties: each(capability.properties, |property| kinds::Property {
            name: property.name,
            semantic_id: property.semantic_id,
            min: property.min,
            max: property.max,
            value: property.value,
            unit: property.unit,
        }),
    }
}

fn read_capability(capability: kinds::Capability) -> Capability {
    Capability {
        process: capability.process,
        core: capability.core,
        materials: capability.materials,
        properties: each(capability.properties, |property| Property {
            name: property.name,
            semantic_id: property.semantic_id,
            min: property.min,
            max: property.max,
            value: property.value,
            unit: property.unit,
        }),
    }
}

fn given<T>(value: Option<T>) -> Slot<T> {
    value.map_or(Slot::Unknown, Slot::Known)
}

fn each<T, U>(items: Vec<T>, convert: impl Fn(T) -> U) -> Vec<U> {
    items.into_iter().map(convert).collect()
}

fn amounts(series: kinds::Series, unit: Option<Unit>) -> Column {
    each(series, |value| value.map(|value| Amount { value, unit }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let given = json!({
            "name": "5-axis mill", "level": "WorkUnit", "nameplate": {"manufacturer": "DMG", "year": 2019},
            "capabilities": [{"process": "separating/milling/5-axis", "core": true,
                "materials": ["metal/aluminium"],
                "properties": [{"name": "travel-x", "max": "800", "unit": "MMT"}]}],
            "state": {"item": "Executing", "mode": "Processing", "since": "2026-11-21T08:00:00Z"},
        });
        let fields: ResourceFields = serde_json::from_value(given.clone()).unwrap();
        let stored = write_resource(fields, None);
        assert_eq!(kinds::check(&kinds::Kind::Resource, &held(&stored)), Ok(()));
        let read = read_resource(&held(&stored)).unwrap();
        let read = serde_json::to_value(read).unwrap();
        for (name, value) in given.as_object().unwrap() {
            if name != "capabilities" {
                assert_eq!(
                    read[name],
                    json!({"state": "known", "value": value}),
                    "{name}"
                );
            }
        }
        assert_eq!(
            read["capabilities"]["value"][0]["properties"][0]["max"],
            "800"
        );
        assert_eq!(read["parent"], json!({"state": "unknown"}));
    }

    #[test]
    fn site_members_keep_their_values_and_wire_names() {
        let fields: SiteFields = serde_json::from_value(json!({
            "name": "Plant A", "location": {"country": "AT", "lat": "48.303056", "lon": "14.290556"},
            "timezone": "Europe/Vienna",
            "certificates": [{"type": "ISO 9001", "registration_number": "17", "valid_until": "2027-05-01"}],
        }))
        .unwrap();
        let certificates = fields.certificates.clone();
        let stored = write_site(fields);
        assert_eq!(kinds::check(&kinds::Kind::Site, &held(&stored)), Ok(()));
        assert_eq!(stored["certificates"][0]["registrationNumber"], "17");
        let read = read_site(&held(&stored)).unwrap();
        assert_eq!(read.certificates.known(), certificates.as_ref());
        assert_eq!(read.contact, Shown::Unknown);
    }

    #[test]
    fn zero_unknown_and_withheld_stay_three_things() {
        let fields: CapacityFields = serde_json::from_value(json!({
            "unit": "HUR", "bucket": "P7D", "start": "2026-11-30", "available": ["0", null, "37.5"],
        }))
        .unwrap();
        let mut held = held(&write_capacity(fields, None));
        held.insert("total".to_owned(), None);
        let read = serde_json::to_value(read_capacity(&held).unwrap()).unwrap();
        assert_eq!(
            read["available"],
            json!({"state": "known", "value": [
                {"value": "0", "unit": "HUR"}, null, {"value": "37.5", "unit": "HUR"}]})
        );
        assert_eq!(read["total"], json!({"state": "withheld"}));
        assert_eq!(read["committed"], json!({"state": "unknown"}));
        held.insert("unit".to_owned(), None);
        let read = serde_json::to_value(read_capacity(&held).unwrap()).unwrap();
        assert_eq!(
            read["available"]["value"][0],
            json!({"value": "0", "unit": null})
        );
    }
}
