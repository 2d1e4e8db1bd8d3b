//! `site`: the factory itself: who it is, where it is, what it is certified for.

use std::{collections::BTreeMap, str::FromStr};

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Slot, country::is_country, form::objects, slots, text};
use crate::quantity::{Refused, deserialize_text, format_scaled, parse_scaled};

/// `site`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "slot names of RECORDS.md")]
pub struct Site {
    pub name: Slot<String>,
    pub identifiers: Slot<BTreeMap<String, String>>,
    pub location: Slot<Location>,
    pub timezone: Slot<String>,
    pub certificates: Slot<Vec<Certificate>>,
    pub contact: Slot<String>,
}
slots!(Site {
    name: "name",
    identifiers: "identifiers",
    location: "location",
    timezone: "timezone",
    certificates: "certificates",
    contact: "contact",
});

/// Where a site is. Degrees are micro-degrees as integers in code and decimal strings with up to six decimals in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[allow(missing_docs, reason = "slot names of RECORDS.md")]
pub struct Location {
    pub country: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lat: Option<Degrees>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lon: Option<Degrees>,
}

/// Micro-degrees; JSON: decimal string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct Degrees(pub i32);
impl FromStr for Degrees {
    type Err = String;
    /// Reads what [`crate::quantity::Quantity`] reads, with up to six decimals.
    fn from_str(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(40).collect();
        let micro = parse_scaled(text, 6).map_err(|why| match why {
            Refused::NotANumber => format!("not degrees like 48.303056: {shown:?}"),
            Refused::TooFine => {
                format!("more than six decimals of a degree (0.1 m), round it first: {shown:?}")
            }
            Refused::TooLarge => format!("too large for degrees: {shown:?}"),
        })?;
        i32::try_from(micro)
            .map(Self)
            .map_err(|_| format!("too large for degrees: {shown:?}"))
    }
}
impl std::fmt::Display for Degrees {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format_scaled(self.0.into(), 6))
    }
}
impl TryFrom<String> for Degrees {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
impl From<Degrees> for String {
    fn from(degrees: Degrees) -> Self {
        degrees.to_string()
    }
}
impl<'de> Deserialize<'de> for Degrees {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, "degrees as a string, like \"48.303056\"")
    }
}

/// A certificate of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[allow(missing_docs, reason = "slot names of RECORDS.md")]
pub struct Certificate {
    pub r#type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_number: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area: Option<String>,
}

objects!(Location, Certificate);

impl Site {
    fn rules(&self) -> Result<(), String> {
        if let Slot::Known(name) = &self.name {
            text::name("name", name)?;
        }
        if let Slot::Known(identifiers) = &self.identifiers {
            text::list("identifiers", &identifiers.keys().collect::<Vec<_>>())?;
            identifiers
                .iter()
                .try_for_each(|(scheme, value)| identifier(scheme, value))?;
        }
        if let Slot::Known(location) = &self.location {
            location.rules()?;
        }
        if let Slot::Known(timezone) = &self.timezone {
            check_timezone(timezone)?;
        }
        if let Slot::Known(certificates) = &self.certificates {
            text::list("certificates", certificates)?;
            certificates.iter().try_for_each(Certificate::rules)?;
        }
        if let Slot::Known(contact) = &self.contact {
            text::block("contact", contact)?;
        }
        Ok(())
    }
}

impl Location {
    fn rules(&self) -> Result<(), String> {
        if !is_country(&self.country) {
            let shown: String = self.country.chars().take(20).collect();
            return Err(format!(
                "location.country {shown:?} is no ISO 3166-1 code such as AT, DE, FR (two capitals)"
            ));
        }
        text::names([
            ("location.region", &self.region),
            ("location.locality", &self.locality),
        ])?;
        match (self.lat, self.lon) {
            (None, None) => Ok(()),
            (Some(lat), _) if !(-90_000_000..=90_000_000).contains(&lat.0) => {
                Err(format!("location.lat {lat} is outside -90 to 90 degrees"))
            }
            (_, Some(lon)) if !(-180_000_000..=180_000_000).contains(&lon.0) => {
                Err(format!("location.lon {lon} is outside -180 to 180 degrees"))
            }
            (Some(_), Some(_)) => Ok(()),
            _ => Err("location has only one of lat and lon: give both or neither".to_owned()),
        }
    }
}

impl Certificate {
    fn rules(&self) -> Result<(), String> {
        text::name("certificates.type", &self.r#type)?;
        text::names([
            ("certificates.registrationNumber", &self.registration_number),
            ("certificates.issuer", &self.issuer),
            ("certificates.area", &self.area),
        ])?;
        match (self.valid_from, self.valid_until) {
            (Some(from), Some(until)) if from > until => Err(format!(
                "certificate {:?} is valid from {from} until {until}: the end is before the beginning",
                self.r#type
            )),
            _ => Ok(()),
        }
    }
}

/// The form of the schemes we know; a scheme of a newer version only has to be a short line.
fn identifier(scheme: &str, value: &str) -> Result<(), String> {
    let capitals = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    let number = |prefix: &str| value.len() == 16 && value.starts_with(prefix) && capitals(value);
    let (fits, form) = match scheme {
        "bpnl" => (number("BPNL"), "BPNL and 12 capitals or digits"),
        "bpns" => (number("BPNS"), "BPNS and 12 capitals or digits"),
        "duns" => (
            value.len() == 9 && value.bytes().all(|b| b.is_ascii_digit()),
            "nine digits",
        ),
        "lei" => (
            value.len() == 20 && capitals(value),
            "20 capitals or digits",
        ),
        "vat" => (
            (4..=15).contains(&value.len())
                && value.bytes().take(2).all(|b| b.is_ascii_uppercase())
                && value
                    .bytes()
                    .skip(2)
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"+*".contains(&b)),
            "two letters for the country and 2 to 13 capitals or digits, without spaces",
        ),
        _ => {
            text::name("identifiers", scheme)?;
            return text::name(&format!("identifiers.{scheme}"), value);
        }
    };
    if fits {
        return Ok(());
    }
    let shown: String = value.chars().take(40).collect();
    Err(format!(
        "identifiers.{scheme} {shown:?} has the wrong form: {form}"
    ))
}

/// IANA names are `UTC` or `Area/Location`; whether the zone exists is known only where a database is.
fn check_timezone(zone: &str) -> Result<(), String> {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b))
    };
    if zone.len() <= 64 && zone.split('/').count() <= 3 && zone.split('/').all(part) {
        return Ok(());
    }
    let shown: String = zone.chars().take(40).collect();
    Err(format!(
        "timezone {shown:?} is no IANA name such as Europe/Berlin or UTC"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::kinds::{
        Kind, Typed,
        tests::{refusal, shown},
    };

    fn full() -> Value {
        json!({
            "name": "Bolt Nord",
            "identifiers": {"bpnl": "BPNL00000000NB01", "bpns": "BPNS00000000NB02", "vat": "DE123456789",
                "duns": "123456789", "lei": "529900T8BM49AURSDO55", "eori": "DE 1"},
            "location": {"country": "DE", "locality": "Kiel", "lat": "54.323293", "lon": "10.122765", "plusCode": "new"},
            "timezone": "Europe/Berlin",
            "certificates": [{"type": "ISO 9001", "validFrom": "2024-01-01", "validUntil": "2027-01-01", "scheme": "new"}],
            "contact": "Anna Berg\n+49 431 0000",
        })
    }

    #[test]
    fn a_full_site_is_read_and_newer_members_are_ignored() {
        assert_eq!(refusal(&Kind::Site, &full()), None);
        let site = Site::read(&shown(&Kind::Site, &full())).unwrap();
        let location = site.location.known().unwrap();
        assert_eq!(
            (location.lat, location.lon),
            (Some(Degrees(54_323_293)), Some(Degrees(10_122_765)))
        );
        assert_eq!(
            site.write()["location"],
            json!({"country": "DE", "locality": "Kiel", "lat": "54.323293", "lon": "10.122765"})
        );
    }

    #[test]
    fn refusals() {
        let cases = [
            (
                "/name",
                json!(" "),
                "name is empty: leave it unknown (null) instead",
            ),
            (
                "/name",
                json!("a\u{1b}[2J"),
                "name contains a line break or another control character",
            ),
            (
                "/name",
                json!("Bolt\u{202e}droN"),
                "name contains a line break or another control character",
            ),
            (
                "/name",
                json!("ä".repeat(201)),
                "name is longer than 200 characters",
            ),
            (
                "/identifiers/bpnl",
                json!("BPNS00000000NB01"),
                "identifiers.bpnl \"BPNS00000000NB01\" has the wrong form: BPNL and 12 capitals or digits",
            ),
            (
                "/identifiers/duns",
                json!("12-345-6789"),
                "identifiers.duns \"12-345-6789\" has the wrong form: nine digits",
            ),
            (
                "/identifiers/eori",
                json!(""),
                "identifiers.eori is empty: leave it unknown (null) instead",
            ),
            (
                "/location/country",
                json!("UK"),
                "location.country \"UK\" is no ISO 3166-1 code such as AT, DE, FR (two capitals)",
            ),
            (
                "/location/lat",
                json!("90.000001"),
                "location.lat 90.000001 is outside -90 to 90 degrees",
            ),
            (
                "/location/lon",
                json!("-180.5"),
                "location.lon -180.5 is outside -180 to 180 degrees",
            ),
            (
                "/location/lat",
                Value::Null,
                "location has only one of lat and lon: give both or neither",
            ),
            (
                "/location/lat",
                json!("54.3232931"),
                "location: more than six decimals of a degree (0.1 m), round it first: \"54.3232931\"",
            ),
            (
                "/timezone",
                json!("Berlin time"),
                "timezone \"Berlin time\" is no IANA name such as Europe/Berlin or UTC",
            ),
            (
                "/timezone",
                json!("../../etc/passwd"),
                "timezone \"../../etc/passwd\" is no IANA name such as Europe/Berlin or UTC",
            ),
            (
                "/certificates/0/validUntil",
                json!("2023-12-31"),
                "certificate \"ISO 9001\" is valid from 2024-01-01 until 2023-12-31: the end is before the beginning",
            ),
            (
                "/certificates",
                json!(vec![json!({"type": "x"}); 257]),
                "certificates has 257 elements, the limit is 256",
            ),
            (
                "/contact",
                json!("x".repeat(4_001)),
                "contact is longer than 4000 characters",
            ),
        ];
        for (place, value, why) in cases {
            let mut body = full();
            *body.pointer_mut(place).unwrap() = value;
            assert_eq!(refusal(&Kind::Site, &body).as_deref(), Some(why), "{place}");
        }
        for zone in ["UTC", "Etc/GMT+1", "America/Argentina/Buenos_Aires"] {
            assert_eq!(refusal(&Kind::Site, &json!({"timezone": zone})), None);
        }
    }

    proptest! {
        #[test]
        fn degrees_are_read_back(micro: i32) {
            let text = String::from(Degrees(micro));
            prop_assert_eq!(Degrees::try_from(text), Ok(Degrees(micro)));
        }
    }
}
