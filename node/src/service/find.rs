//! Search, in the API's words.

use fmesh_proto::{
    kinds::{self, Kind, Property, Typed as _},
    limits::{LIST_ITEMS_MAX, NAME_CHARS_MAX},
    membership::Membership,
    quantity::Unit,
    rules::coverage::Requirement,
    week::{Week, WeekSpan},
};
use jiff::civil::Date;

use super::{Error, Service, fields, now, today, unix};
use crate::{
    api::view::{self, Amount, FindRequest, Fit, Hit, List, Shown, WeekFree},
    search::{self, Answer, Free, Position, Query},
};

impl Service {
    /// Who can make it, and when: best answers first, from what is here, so also without a network.
    pub fn find(&self, asked: FindRequest) -> Result<List<Hit>, Error> {
        let mut query = query(asked, today())?;
        query.own = Some(self.node.site);
        query.from = query.from.or(self.own_place()?);
        let answers = crate::node::read(&self.node.index).find(&query);
        let answers = answers.map_err(|error| {
            Error::conflict(
                error.to_string(),
                "fmesh site set --lat … --lon …, or give --from LAT,LON",
            )
        })?;
        let (membership, now) = (self.membership(), unix(now()));
        let forked = self.forked()?;
        let hit = |answer: Answer| {
            let forked = forked.contains(&answer.site);
            self.hit(&membership, answer, forked, now)
        };
        Ok(List::new(answers.best.into_iter().map(hit).collect(), None))
    }

    /// Where our own site is, also while no circle shows it to anybody.
    fn own_place(&self) -> Result<Option<Position>, Error> {
        let objects = self.node.store.objects(Some(&Kind::Site))?;
        let Some(object) = objects.first() else {
            return Ok(None);
        };
        let site = kinds::Site::read(&fields::held(&object.fields))?;
        Ok(Position::of(&site.location))
    }

    fn hit(&self, membership: &Membership, answer: Answer, forked: bool, now: u64) -> Hit {
        let mut site = self.site_name(membership, &answer.site);
        if membership.member(&answer.site).is_none()
            && let Some(name) = answer.site_name
        {
            site.name = name;
        }
        let unit = answer.unit;
        let amount = |value| Amount { value, unit };
        let week = |(week, free): (Week, Free)| WeekFree {
            week,
            free: match free {
                Free::Known(value) => Shown::Known(amount(value)),
                Free::Withheld => Shown::Withheld,
                Free::Unknown | Free::None => Shown::Unknown,
            },
        };
        Hit {
            own: answer.site == self.node.site,
            site,
            resource: answer.resource,
            resource_name: answer.resource_name,
            capacity: answer.capacity,
            capacity_name: answer.capacity_name,
            process: answer.process,
            core: answer.core,
            weeks: answer.weeks.into_iter().map(week).collect(),
            free: answer.free.map(amount),
            fit: match answer.fit {
                search::Fit::Full => Fit::Full,
                search::Fit::Partial => Fit::Partial,
                search::Fit::Unknown => Fit::Unknown,
            },
            unknown: answer.missing.iter().map(ToString::to_string).collect(),
            km: answer
                .distance_m
                .map(|metres| metres.saturating_add(500) / 1000),
            country: answer.country,
            certificates: answer
                .certificates
                .into_iter()
                .map(fields::read_certificate)
                .collect(),
            signed: view::time(answer.signed),
            received: view::time(answer.received),
            seq: answer.seq,
            ended: answer.ended,
            forked,
            stale: now.saturating_sub(answer.signed) > STALE_SECONDS,
        }
    }
}

/// The question as the index takes it.
fn query(asked: FindRequest, today: Date) -> Result<Query, Error> {
    let weeks = match asked.weeks.as_deref() {
        Some(text) => text
            .parse::<WeekSpan>()
            .map_err(|error| Error::request(error.to_string(), "write weeks like 2026-W49..W51"))?,
        None => {
            let first = Week::of(today);
            let last = first.plus(WEEKS_DEFAULT - 1).unwrap_or(first);
            WeekSpan { first, last }
        }
    };
    if weeks.last.since(weeks.first) >= WEEKS_MAX {
        return Err(Error::request(
            format!("{weeks} is too long a span"),
            format!("ask for at most {WEEKS_MAX} weeks"),
        ));
    }
    let many = [
        asked.materials.len(),
        asked.properties.len(),
        asked.certificates.len(),
        asked.countries.len(),
    ];
    let texts = (asked.certificates.iter())
        .chain(&asked.countries)
        .chain(asked.properties.iter().map(|property| &property.name));
    let mut texts = texts.chain(asked.properties.iter().filter_map(|p| p.value.as_ref()));
    if many.iter().any(|count| *count > LIST_ITEMS_MAX)
        || texts.any(|text| text.chars().count() > NAME_CHARS_MAX)
    {
        return Err(Error::request(
            "the question is too long",
            format!(
                "at most {LIST_ITEMS_MAX} conditions of a sort, and {NAME_CHARS_MAX} characters each"
            ),
        ));
    }
    let mut query = Query::new(weeks);
    query.required = Requirement {
        process: asked.process.map(String::from),
        materials: asked.materials.into_iter().map(String::from).collect(),
        properties: asked
            .properties
            .into_iter()
            .map(|property| Property {
                name: property.name,
                semantic_id: None,
                min: property.min,
                max: property.max,
                value: property.value,
                unit: property.unit,
            })
            .collect(),
    };
    query.certificates = asked.certificates;
    query.countries = asked.countries;
    query.within_km = asked.within_km;
    query.from = asked.from.map(|point| Position {
        lat: point.lat,
        lon: point.lon,
    });
    query.need = asked.need.map(|need| need.value);
    query.unit = asked.need.map(|need| need.unit.unwrap_or(Unit::HOUR));
    query.with_own = asked.own;
    query.with_ended = asked.ended;
    query.limit = match usize::try_from(asked.limit).unwrap_or(usize::MAX) {
        0 => query.limit,
        limit => limit.min(ANSWERS_MAX),
    };
    Ok(query)
}

/// Numbers signed longer ago than this are shown as stale.
const STALE_SECONDS: u64 = 7 * 24 * 3600;
/// Weeks that are looked at if none are named.
const WEEKS_DEFAULT: i32 = 4;
/// Longest span of weeks.
const WEEKS_MAX: i32 = 104;
/// Most answers to one question.
const ANSWERS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use serde_json::json;

    use super::*;

    fn asked(question: serde_json::Value) -> Result<Query, Error> {
        query(
            serde_json::from_value(question).unwrap(),
            date(2026, 12, 30),
        )
    }

    #[test]
    fn a_question_is_taken_as_it_is_meant() {
        let query = asked(json!({})).unwrap();
        assert_eq!(
            query.weeks.to_string(),
            "2026-W53..2027-W03",
            "2026 has 53 weeks"
        );
        assert_eq!((query.need, query.unit, query.limit), (None, None, 50));
        let query = asked(
            json!({"process": "milling/5-axis", "materials": ["en-aw-7075"],
            "need": {"value": "36", "unit": null}, "weeks": "2026-W49..W51", "within_km": 300,
            "from": {"lat": "48.3", "lon": "14.29"}, "limit": 5000,
            "properties": [{"name": "tolerance", "max": "0.02", "unit": "MMT"}]}),
        )
        .unwrap();
        assert_eq!(query.required.process.as_deref(), Some("milling/5-axis"));
        assert_eq!(
            query.need.map(|need| need.to_string()).as_deref(),
            Some("36")
        );
        assert_eq!((query.unit, query.limit), (Some(Unit::HOUR), 1_000));
        assert_eq!(query.weeks.weeks().count(), 3);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for question in [
            json!({"weeks": "2026-W54"}),
            json!({"weeks": "W49"}),
            json!({"weeks": "2026-W01..2028-W01"}),
            json!({"countries": vec!["AT"; 257]}),
            json!({"certificates": ["x".repeat(201)]}),
        ] {
            assert!(
                matches!(asked(question.clone()), Err(Error::Request { .. })),
                "{question}"
            );
        }
    }
}
