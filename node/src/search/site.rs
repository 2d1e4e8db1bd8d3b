//! What a question asks of the factory itself: country, distance, certificates.

use fmesh_proto::kinds::{Certificate, Location, Site, Slot};
use jiff::civil::Date;

use super::{
    Position,
    query::{Missing, Query},
};

/// What search needs of a `site` record.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) name: Option<String>,
    pub(super) location: Slot<Location>,
    pub(super) certificates: Slot<Vec<Certificate>>,
}

/// A site under one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SiteVerdict {
    pub(super) fit: Fits,
    /// Metres from where the question is asked.
    pub(super) distance: Option<u32>,
}

/// Do all conditions hold?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fits {
    No,
    Unknown,
    Yes,
}

impl Profile {
    pub(super) fn of(site: Site) -> Self {
        Self {
            name: site.name.known().cloned(),
            location: site.location,
            certificates: site.certificates,
        }
    }

    pub(super) fn place(&self) -> Option<Position> {
        Position::of(&self.location)
    }

    pub(super) fn country(&self) -> Option<&str> {
        self.location
            .known()
            .map(|location| location.country.as_str())
    }
}

/// Judges a site, which may not have shown anything of itself.
pub(super) fn judge(
    query: &Query,
    from: Option<Position>,
    profile: Option<&Profile>,
) -> SiteVerdict {
    let place = profile.and_then(Profile::place);
    let distance = from.zip(place).map(|(from, place)| from.metres_to(place));
    let conditions = [
        country(query, profile),
        within(query, distance),
        certified(query, profile),
    ];
    let fit = conditions.into_iter().min().unwrap_or(Fits::Yes);
    SiteVerdict { fit, distance }
}

/// The conditions that could not be judged.
pub(super) fn missing(
    query: &Query,
    verdict: SiteVerdict,
    profile: Option<&Profile>,
) -> Vec<Missing> {
    let mut missing = Vec::new();
    if country(query, profile) == Fits::Unknown {
        missing.push(Missing::Country);
    }
    if within(query, verdict.distance) == Fits::Unknown {
        missing.push(Missing::Distance);
    }
    for asked in &query.certificates {
        if certificate(asked, query.weeks.first.monday(), profile) == Fits::Unknown {
            missing.push(Missing::Certificate(asked.clone()));
        }
    }
    missing
}

fn country(query: &Query, profile: Option<&Profile>) -> Fits {
    if query.countries.is_empty() {
        return Fits::Yes;
    }
    match profile.and_then(Profile::country) {
        None => Fits::Unknown,
        Some(country)
            if query
                .countries
                .iter()
                .any(|asked| asked.eq_ignore_ascii_case(country)) =>
        {
            Fits::Yes
        }
        Some(_) => Fits::No,
    }
}

fn within(query: &Query, distance: Option<u32>) -> Fits {
    match (query.within_km, distance) {
        (None, _) => Fits::Yes,
        (Some(_), None) => Fits::Unknown,
        (Some(km), Some(metres)) if metres <= km.saturating_mul(1000) => Fits::Yes,
        _ => Fits::No,
    }
}

fn certified(query: &Query, profile: Option<&Profile>) -> Fits {
    let day = query.weeks.first.monday();
    let each = query.certificates.iter();
    each.map(|asked| certificate(asked, day, profile))
        .min()
        .unwrap_or(Fits::Yes)
}

/// One certificate type on one day. A certificate without an end is stated, but how long it counts is not known.
fn certificate(asked: &str, day: Date, profile: Option<&Profile>) -> Fits {
    let Some(Slot::Known(certificates)) = profile.map(|profile| &profile.certificates) else {
        return Fits::Unknown;
    };
    certificates
        .iter()
        .filter(|certificate| is_of_type(certificate, asked))
        .map(
            |certificate| match (certificate.valid_from, certificate.valid_until) {
                (Some(from), _) if day < from => Fits::No,
                (_, Some(until)) if until < day => Fits::No,
                (_, Some(_)) => Fits::Yes,
                (_, None) => Fits::Unknown,
            },
        )
        .max()
        .unwrap_or(Fits::No)
}

/// `ISO9001`, `iso 9001` and `ISO 9001:2015` are meant when people ask for `ISO 9001`; `ISO 900` is not.
pub(super) fn is_of_type(certificate: &Certificate, asked: &str) -> bool {
    let (stated, asked) = (words(&certificate.r#type), words(asked));
    !asked.is_empty() && stated.windows(asked.len()).any(|window| window == asked)
}

/// Runs of letters and runs of digits, without case.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    for c in text.chars() {
        let class = c.is_alphanumeric().then(|| c.is_numeric());
        if class.is_some() {
            if class != last {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
        last = class;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_types_as_people_write_them() {
        for (stated, asked, same) in [
            ("ISO 9001", "ISO9001", true),
            ("ISO 9001:2015", "iso 9001", true),
            ("DIN EN ISO 9001", "ISO-9001", true),
            ("AS9100D", "AS 9100", true),
            ("ISO 9001", "ISO 900", false),
            ("ISO 9001", "9001:2015", false),
            ("ISO 14001", "ISO 9001", false),
            ("ISO 9001", "", false),
            ("ISO 9001", ":-", false),
        ] {
            let certificate: Certificate =
                serde_json::from_value(serde_json::json!({ "type": stated }))
                    .expect("a certificate");
            assert_eq!(is_of_type(&certificate, asked), same, "{stated} {asked}");
        }
    }
}
