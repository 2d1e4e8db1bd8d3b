//! Questions to small worlds, as tables: what is asked, and the answers in words, best first.

use std::collections::BTreeSet;

use fmesh_proto::{
    kinds::{Kind, Property},
    quantity::Quantity,
    rules::coverage::Requirement,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const OWN: SiteId = SiteId([0; 32]);
const BOLT: SiteId = SiteId([1; 32]);
const CARBO: SiteId = SiteId([2; 32]);

fn id(n: u8) -> ObjectId {
    ObjectId::from_random([n; 16])
}

/// Takes a revision: slots that `shown` lacks are withheld, null is unknown.
fn put(index: &mut Index, site: SiteId, kind: Kind, n: u8, seq: u64, shown: &Value) {
    let fields: BTreeMap<String, Option<Value>> = kind
        .slots()
        .iter()
        .map(|slot| ((*slot).to_owned(), shown.get(slot).cloned()))
        .collect();
    kinds_hold(&kind, &fields);
    let origin = Origin {
        site,
        id: id(n),
        seq,
        iat: 1_000 + seq,
        received: 2_000 + seq,
        shown: shown.get("retired").is_none() && fields.values().any(Option::is_some),
        ended: false,
    };
    let content = Content::read(&kind, &fields).expect("fields of the kind");
    index.put_content(&origin, &content);
}

/// The tests must not use records that no reader would accept.
fn kinds_hold(kind: &Kind, fields: &BTreeMap<String, Option<Value>>) {
    fmesh_proto::kinds::check(kind, fields).expect("rules of the kind");
}

fn site(index: &mut Index, site: SiteId, shown: &Value) {
    put(index, site, Kind::Site, 100, 1, shown);
}

fn resource(index: &mut Index, site: SiteId, n: u8, name: &str, capabilities: &Value) {
    let shown = json!({"name": name, "capabilities": capabilities});
    put(index, site, Kind::Resource, n, 2, &shown);
}

/// Hours from 2026-W49 on.
fn hours(resources: &[u8], available: &Value) -> Value {
    let resources: Vec<ObjectId> = resources.iter().map(|n| id(*n)).collect();
    json!({"resources": resources, "unit": "HUR", "bucket": "P7D", "start": "2026-11-30", "available": available})
}

fn with(mut fields: Value, slot: &str, value: Value) -> Value {
    fields[slot] = value;
    fields
}

fn without(mut fields: Value, slot: &str) -> Value {
    fields.as_object_mut().expect("an object").remove(slot);
    fields
}

fn milling() -> Value {
    json!([{"process": "separating/milling/5-axis", "core": true, "materials": ["metal/aluminium/en-aw-7075"],
        "properties": [{"name": "tolerance", "min": "0.01", "unit": "MMT"}]}])
}

/// Bolt in Wels (24 km from us in Linz), Carbo in Passau, and us.
fn world() -> Index {
    let mut index = Index::new();
    let at =
        |country: &str, lat: &str, lon: &str| json!({"country": country, "lat": lat, "lon": lon});
    site(
        &mut index,
        OWN,
        &json!({"name": "Own", "location": at("AT", "48.303056", "14.290556")}),
    );
    let iso = json!([{"type": "ISO 9001:2015", "validUntil": "2027-05-31"}, {"type": "ISO 14001", "validUntil": "2026-01-31"}]);
    let bolt = json!({"name": "Bolt", "location": at("AT", "48.156667", "14.026389"), "certificates": iso});
    site(&mut index, BOLT, &bolt);
    let en = json!([{"type": "EN 9100"}]);
    let carbo =
        json!({"name": "Carbo", "location": at("DE", "48.574722", "13.465"), "certificates": en});
    site(&mut index, CARBO, &carbo);
    resource(&mut index, OWN, 1, "Own mill", &milling());
    put(
        &mut index,
        OWN,
        Kind::Capacity,
        11,
        3,
        &hours(&[1], &json!(["40", "40", "40"])),
    );
    resource(&mut index, BOLT, 2, "DMU-80", &milling());
    put(
        &mut index,
        BOLT,
        Kind::Capacity,
        12,
        4,
        &hours(&[2], &json!(["12", "41", "38", "5"])),
    );
    resource(
        &mut index,
        BOLT,
        3,
        "Lathe",
        &json!([{"process": "separating/turning"}]),
    );
    put(
        &mut index,
        BOLT,
        Kind::Capacity,
        13,
        5,
        &hours(&[3], &json!(["0", "0", "0"])),
    );
    let plain =
        json!([{"process": "separating/milling", "core": false, "materials": ["metal/aluminium"]}]);
    resource(&mut index, CARBO, 4, "C42", &plain);
    put(
        &mut index,
        CARBO,
        Kind::Capacity,
        14,
        6,
        &hours(&[4], &json!(["0", null, "60"])),
    );
    index
}

fn query(process: &str) -> Query {
    let mut query = Query::new("2026-W49..W51".parse().expect("weeks"));
    query.required.process = (!process.is_empty()).then(|| process.to_owned());
    query.own = Some(OWN);
    query
}

fn quantity(text: &str) -> Option<Quantity> {
    Some(text.parse().expect("a quantity"))
}

/// One line for each answer.
fn told(index: &Index, query: &Query) -> Vec<String> {
    let answers = index.find(query).expect("a question that can be asked");
    assert_eq!(answers.total.min(query.limit), answers.best.len());
    answers.best.iter().map(line).collect()
}

fn line(answer: &Answer) -> String {
    let name = answer.site_name.as_deref().unwrap_or("?");
    let resource = answer
        .resource_name
        .as_deref()
        .or(answer.capacity_name.as_deref())
        .unwrap_or("-");
    let weeks: Vec<String> = answer
        .weeks
        .iter()
        .map(|(_, free)| match free {
            Free::Known(quantity) => quantity.to_string(),
            Free::Unknown => "?".into(),
            Free::Withheld => "x".into(),
            Free::None => "-".into(),
        })
        .collect();
    let sum = answer.free.map_or("?".into(), |free| free.to_string());
    let core = if answer.core { " core" } else { "" };
    let missing: Vec<String> = answer.missing.iter().map(Missing::to_string).collect();
    let missing = if missing.is_empty() {
        String::new()
    } else {
        format!(": {}", missing.join("; "))
    };
    format!(
        "{name} {resource} {} = {sum} {:?}{core}{missing}",
        weeks.join(" "),
        answer.fit
    )
}

#[test]
fn processes_materials_and_hours() {
    let index = world();
    let bolt = "Bolt DMU-80 12 41 38 = 91 Full core";
    let carbo_open = "process says separating/milling only, not whether milling/5-axis";
    type Case<'a> = (&'a str, &'a [&'a str], Option<&'a str>, Vec<String>);
    let cases: Vec<Case<'_>> = vec![
        (
            "milling",
            &[],
            None,
            vec![bolt.into(), "Carbo C42 0 ? 60 = 60 Full".into()],
        ),
        (
            "milling/5-axis",
            &[],
            None,
            vec![
                bolt.into(),
                format!("Carbo C42 0 ? 60 = 60 Unknown: {carbo_open}"),
            ],
        ),
        ("milling", &["en-aw-7075"], None, vec![bolt.into()]),
        (
            "milling",
            &["aluminium"],
            Some("36"),
            vec![
                bolt.into(),
                "Carbo C42 0 ? 60 = 60 Full: the numbers of one week are unknown".into(),
            ],
        ),
        (
            "milling",
            &[],
            Some("80"),
            vec![
                bolt.into(),
                "Carbo C42 0 ? 60 = 60 Unknown: the numbers of one week are unknown".into(),
            ],
        ),
        (
            "milling",
            &[],
            Some("92"),
            vec![
                "Bolt DMU-80 12 41 38 = 91 Partial core".into(),
                "Carbo C42 0 ? 60 = 60 Unknown: the numbers of one week are unknown".into(),
            ],
        ),
        (
            "turning",
            &[],
            None,
            vec!["Bolt Lathe 0 0 0 = 0 Full".into()],
        ),
        ("turning", &[], Some("1"), vec![]),
        (
            "turning",
            &[],
            Some("0"),
            vec!["Bolt Lathe 0 0 0 = 0 Full".into()],
        ),
        ("painting", &[], None, vec![]),
        (
            "",
            &[],
            Some("1"),
            vec![
                bolt.into(),
                "Carbo C42 0 ? 60 = 60 Full: the numbers of one week are unknown".into(),
            ],
        ),
    ];
    for (process, materials, need, expected) in cases {
        let mut query = query(process);
        query.required.materials = materials.iter().map(|&m| m.to_owned()).collect();
        query.need = need.and_then(quantity);
        assert_eq!(
            told(&index, &query),
            expected,
            "{process} {materials:?} {need:?}"
        );
    }
}

#[test]
fn properties_decide_with_the_list_that_has_them() {
    let index = world();
    let tolerance = |value: &str| -> Vec<Property> {
        vec![
            serde_json::from_value(json!({"name": "tolerance", "value": value, "unit": "MMT"}))
                .expect("a property"),
        ]
    };
    for (value, expected) in [
        (
            "0.02",
            vec![
                "Bolt DMU-80 12 41 38 = 91 Full core",
                "Carbo C42 0 ? 60 = 60 Unknown: property tolerance is not stated",
            ],
        ),
        (
            "0.005",
            vec!["Carbo C42 0 ? 60 = 60 Unknown: property tolerance is not stated"],
        ),
    ] {
        let mut query = query("milling");
        query.required.properties = tolerance(value);
        assert_eq!(told(&index, &query), expected, "{value}");
    }
}

#[test]
fn conditions_on_the_factory() {
    let mut index = world();
    // A factory that shows nothing of itself but a machine.
    let hidden = SiteId([3; 32]);
    resource(&mut index, hidden, 5, "Hidden", &milling());
    put(
        &mut index,
        hidden,
        Kind::Capacity,
        15,
        7,
        &hours(&[5], &json!(["1", "1", "1"])),
    );
    type Ask = fn(&mut Query);
    let bolt = "Bolt DMU-80 12 41 38 = 91 Full core";
    let carbo = "Carbo C42 0 ? 60 = 60 Full";
    let unseen = |what: &str| format!("? Hidden 1 1 1 = 3 Unknown core: {what}");
    let place = unseen("the place is not shown, so the distance is unknown");
    let cases: Vec<(&str, Ask, Vec<String>)> = vec![
        ("AT", |q| q.countries = vec!["at".into()], vec![bolt.into(), unseen("the country is not shown")]),
        ("DE or FR", |q| q.countries = vec!["DE".into(), "FR".into()], vec![carbo.into(), unseen("the country is not shown")]),
        ("30 km", |q| q.within_km = Some(30), vec![bolt.into(), place.clone()]),
        ("25 km", |q| q.within_km = Some(25), vec![place.clone()]),
        ("everywhere", |q| q.within_km = Some(u32::MAX), vec![bolt.into(), carbo.into(), place.clone()]),
        ("10 km from Passau", |q| {
            q.within_km = Some(10);
            q.from = Some(Position { lat: "48.57".parse().expect("degrees"), lon: "13.46".parse().expect("degrees") });
        }, vec![carbo.into(), place.clone()]),
        ("ISO 9001", |q| q.certificates = vec!["ISO9001".into()],
            vec![bolt.into(), unseen("whether ISO9001 is valid then is not shown")]),
        ("EN 9100 without an end", |q| q.certificates = vec!["EN 9100".into()], vec![
            unseen("whether EN 9100 is valid then is not shown"),
            "Carbo C42 0 ? 60 = 60 Unknown: whether EN 9100 is valid then is not shown".into(),
        ]),
        ("ISO 14001 that ended", |q| q.certificates = vec!["ISO 14001".into()],
            vec![unseen("whether ISO 14001 is valid then is not shown")]),
        ("all of two", |q| q.certificates = vec!["ISO 9001".into(), "EN 9100".into()], vec![
            "? Hidden 1 1 1 = 3 Unknown core: whether ISO 9001 is valid then is not shown; whether EN 9100 is valid then is not shown".into(),
        ]),
    ];
    for (name, ask, expected) in cases {
        let mut query = query("milling");
        ask(&mut query);
        assert_eq!(told(&index, &query), expected, "{name}");
    }
    let mut from_nowhere = query("milling");
    from_nowhere.within_km = Some(30);
    from_nowhere.own = None;
    assert_eq!(index.find(&from_nowhere), Err(FindError::NoPlace));
    let answers = index.find(&query("milling")).expect("answers");
    let distances: Vec<Option<u32>> = answers
        .best
        .iter()
        .map(|a| a.distance_m.map(|m| m / 1000))
        .collect();
    assert_eq!(distances, [Some(25), None, Some(67)]);
    let certificates: Vec<usize> = answers.best.iter().map(|a| a.certificates.len()).collect();
    assert_eq!(certificates, [2, 0, 1]);
}

#[test]
fn what_is_not_shown_is_never_free() {
    let base = || hours(&[2], &json!(["10", "10", "10"]));
    let zero = json!(["10", "0", "10"]);
    for (name, capacity, expected) in [
        ("all shown", base(), "10 10 10 = 30 Full core"),
        (
            "a known zero",
            with(base(), "available", zero),
            "10 0 10 = 20 Partial core",
        ),
        (
            "an unknown week",
            with(base(), "available", json!(["10", null, "10"])),
            "10 ? 10 = 20 Unknown core: the numbers of one week are unknown",
        ),
        (
            "too short",
            with(base(), "available", json!(["10"])),
            "10 - - = 10 Unknown core: the numbers of 2 weeks are unknown",
        ),
        (
            "numbers unknown",
            with(base(), "available", json!(null)),
            "? ? ? = ? Unknown core: the numbers of 3 weeks are unknown",
        ),
        (
            "numbers withheld",
            without(base(), "available"),
            "x x x = ? Unknown core: the numbers of 3 weeks are unknown",
        ),
        (
            "start withheld",
            without(base(), "start"),
            "x x x = ? Unknown core: the numbers of 3 weeks are unknown",
        ),
        (
            "unit withheld",
            without(base(), "unit"),
            "x x x = ? Unknown core: the numbers of 3 weeks are unknown",
        ),
    ] {
        let mut index = Index::new();
        resource(&mut index, BOLT, 2, "DMU-80", &milling());
        put(&mut index, BOLT, Kind::Capacity, 12, 4, &capacity);
        let mut query = query("milling");
        query.need = quantity("30");
        assert_eq!(
            told(&index, &query),
            [format!("? DMU-80 {expected}")],
            "{name}"
        );
    }
}

#[test]
fn units_are_not_mixed() {
    let mut index = world();
    let tonnes = with(hours(&[4], &json!(["7", "7", "7"])), "unit", json!("TNE"));
    put(&mut index, CARBO, Kind::Capacity, 16, 8, &tonnes);
    for (unit, need, expected) in [
        (
            None,
            None,
            vec![
                "Bolt DMU-80 12 41 38 = 91 Full core",
                "Carbo C42 0 ? 60 = 60 Full",
                "Carbo C42 7 7 7 = 21 Full",
            ],
        ),
        (Some("TNE"), None, vec!["Carbo C42 7 7 7 = 21 Full"]),
        (Some("TNE"), Some("20"), vec!["Carbo C42 7 7 7 = 21 Full"]),
        (
            Some("TNE"),
            Some("22"),
            vec!["Carbo C42 7 7 7 = 21 Partial"],
        ),
        (
            None,
            Some("20"),
            vec![
                "Bolt DMU-80 12 41 38 = 91 Full core",
                "Carbo C42 0 ? 60 = 60 Full: the numbers of one week are unknown",
            ],
        ),
        (Some("KGM"), None, vec![]),
    ] {
        let mut query = query("milling");
        query.unit = unit.map(|unit: &str| unit.parse().expect("a unit"));
        query.need = need.and_then(quantity);
        assert_eq!(told(&index, &query), expected, "{unit:?} {need:?}");
    }
}

#[test]
fn resources_and_capacities_without_each_other() {
    let mut index = Index::new();
    let steel = with(
        hours(&[9], &json!(["5", "5", "5"])),
        "process",
        json!("primary-shaping/casting"),
    );
    put(
        &mut index,
        BOLT,
        Kind::Capacity,
        20,
        1,
        &with(steel, "name", json!("Foundry")),
    );
    // Neither a machine that is shown nor a process: nothing can be asked for.
    put(
        &mut index,
        BOLT,
        Kind::Capacity,
        21,
        2,
        &hours(&[8], &json!(["5", "5", "5"])),
    );
    resource(
        &mut index,
        CARBO,
        7,
        "Press",
        &json!([{"process": "forming/pressing"}]),
    );
    put(
        &mut index,
        CARBO,
        Kind::Resource,
        6,
        2,
        &json!({"name": "Secret"}),
    );
    let all = |index: &Index, process: &str| told(index, &query(process));
    assert_eq!(
        all(&index, "casting"),
        [
            "? Foundry 5 5 5 = 15 Full",
            "? Secret - - - = ? Unknown: capabilities are not shared with us",
        ]
    );
    assert_eq!(
        all(&index, "pressing"),
        [
            "? Press - - - = ? Full",
            "? Secret - - - = ? Unknown: capabilities are not shared with us",
        ]
    );
    let mut with_need = query("pressing");
    with_need.need = quantity("1");
    let told_with_need = told(&index, &with_need);
    assert_eq!(
        told_with_need[0],
        "? Press - - - = ? Unknown: the numbers of 3 weeks are unknown"
    );
    // The machine of capacity 21 is shown later, and a capacity for the press comes, and both go.
    resource(
        &mut index,
        BOLT,
        8,
        "Oven",
        &json!([{"process": "property-change/hardening"}]),
    );
    assert_eq!(all(&index, "hardening")[0], "? Oven 5 5 5 = 15 Full");
    put(
        &mut index,
        CARBO,
        Kind::Capacity,
        22,
        3,
        &hours(&[7], &json!(["1", "2", "3"])),
    );
    assert_eq!(all(&index, "pressing")[0], "? Press 1 2 3 = 6 Full");
    put(&mut index, CARBO, Kind::Capacity, 22, 4, &json!({}));
    assert_eq!(all(&index, "pressing")[0], "? Press - - - = ? Full");
    put(
        &mut index,
        CARBO,
        Kind::Resource,
        7,
        5,
        &json!({"name": "Press", "retired": true}),
    );
    assert_eq!(
        all(&index, "pressing"),
        ["? Secret - - - = ? Unknown: capabilities are not shared with us"]
    );
}

#[test]
fn a_capacity_of_several_resources_answers_once_with_the_best() {
    let mut index = Index::new();
    resource(
        &mut index,
        BOLT,
        1,
        "Saw",
        &json!([{"process": "separating/sawing"}]),
    );
    resource(&mut index, BOLT, 2, "DMU-80", &milling());
    resource(
        &mut index,
        BOLT,
        3,
        "Old mill",
        &json!([{"process": "separating/milling"}]),
    );
    put(
        &mut index,
        BOLT,
        Kind::Capacity,
        9,
        4,
        &hours(&[1, 2, 3, 2], &json!(["1", "1", "1"])),
    );
    assert_eq!(
        told(&index, &query("milling")),
        ["? DMU-80 1 1 1 = 3 Full core"]
    );
    assert_eq!(told(&index, &query("sawing")), ["? Saw 1 1 1 = 3 Full"]);
    assert_eq!(index.find(&query("")).expect("answers").total, 1);
}

#[test]
fn records_that_continue_each_other_answer_together() {
    let piece = |start: &str, name: &str, available: Value| {
        with(
            with(hours(&[2], &available), "start", json!(start)),
            "name",
            json!(name),
        )
    };
    let (q4, q1) = (
        ("2026-11-30", json!(["1", "2"])),
        ("2026-12-14", json!(["3", "4"])),
    );
    for (name, pieces, expected) in [
        (
            "two quarters",
            vec![
                piece(q1.0, "Q1", q1.1.clone()),
                piece(q4.0, "Q4", q4.1.clone()),
            ],
            vec!["1 2 3 = 6"],
        ),
        (
            "a gap",
            vec![
                piece("2026-11-30", "a", json!(["1"])),
                piece("2026-12-14", "b", json!(["3"])),
            ],
            vec!["1 - 3 = 4"],
        ),
        (
            "two shifts",
            vec![
                piece(q4.0, "day", q4.1.clone()),
                piece(q1.0, "day", q1.1.clone()),
                piece(q4.0, "night", json!(["7", "7"])),
                piece(q1.0, "night", json!(["7", "7"])),
            ],
            vec!["7 7 7 = 21", "1 2 3 = 6"],
        ),
        (
            "the same twice",
            vec![
                piece(q4.0, "day", q4.1.clone()),
                piece(q4.0, "day", json!(["8", "8"])),
            ],
            vec!["8 8 - = 16", "1 2 - = 3"],
        ),
        (
            "one withheld",
            vec![
                piece(q4.0, "day", q4.1.clone()),
                without(piece(q1.0, "day", json!([])), "available"),
            ],
            vec!["1 2 - = 3", "x x x = ?"],
        ),
    ] {
        let mut index = Index::new();
        resource(&mut index, BOLT, 2, "DMU", &milling());
        for (n, piece) in (50..).zip(&pieces) {
            put(&mut index, BOLT, Kind::Capacity, n, u64::from(n), piece);
        }
        let expected: Vec<String> = expected
            .iter()
            .map(|e| format!("? DMU {e} Full core"))
            .collect();
        assert_eq!(told(&index, &query("milling")), expected, "{name}");
    }
}

#[test]
fn an_answer_names_the_record_and_its_age() {
    let mut index = world();
    let next = with(hours(&[2], &json!(["9"])), "start", json!("2026-12-28"));
    put(
        &mut index,
        BOLT,
        Kind::Capacity,
        17,
        9,
        &with(next, "name", json!("January")),
    );
    let mut later = query("milling");
    later.weeks = "2026-W53".parse().expect("weeks");
    let told = |query: &Query| {
        let answer = index.find(query).expect("answers").best.remove(0);
        (
            answer.capacity,
            answer.capacity_name,
            answer.seq,
            answer.signed,
            answer.received,
        )
    };
    assert_eq!(
        told(&query("milling")),
        (Some(id(12)), None, 4, 1_004, 2_004)
    );
    assert_eq!(
        told(&later),
        (Some(id(17)), Some("January".into()), 9, 1_009, 2_009)
    );
    later.weeks = "2026-W52..W53".parse().expect("weeks");
    assert_eq!(
        told(&later),
        (Some(id(12)), None, 4, 1_004, 2_004),
        "the older of the two counts"
    );
}

#[test]
fn ranking_goes_by_fit_core_slack_distance_age() {
    let mut index = Index::new();
    let capability = |core: bool| json!([{"process": "separating/milling", "core": core}]);
    let at = |lat: &str| json!({"location": {"country": "AT", "lat": lat, "lon": "14"}});
    site(&mut index, OWN, &at("48"));
    // name, core, hours in one week, latitude, seq; best first for a need of 10 hours.
    let ranked = [
        ("core, more slack", true, Some("30"), Some("49"), 5),
        ("core, less slack", true, Some("20"), Some("48.1"), 5),
        ("near", false, Some("40"), Some("48.1"), 5),
        ("far, newer", false, Some("40"), Some("48.2"), 9),
        ("far, older", false, Some("40"), Some("48.2"), 6),
        ("nowhere", false, Some("40"), None, 9),
        ("least slack", false, Some("10"), Some("48"), 5),
        ("too few, core", true, Some("9"), Some("48"), 5),
        ("too few", false, Some("9.5"), Some("48"), 5),
        ("unknown", true, None, Some("48"), 5),
    ];
    for (n, (name, core, free, lat, seq)) in (1..).zip(ranked.iter().rev()) {
        let partner = SiteId([n; 32]);
        if let Some(lat) = lat {
            site(&mut index, partner, &at(lat));
        }
        resource(&mut index, partner, 1, name, &capability(*core));
        put(
            &mut index,
            partner,
            Kind::Capacity,
            2,
            *seq,
            &hours(&[1], &json!([free])),
        );
    }
    let mut query = query("milling");
    query.weeks = "2026-W49".parse().expect("weeks");
    query.need = quantity("10");
    let names = |query: &Query| -> Vec<String> {
        let best = index.find(query).expect("answers").best;
        best.into_iter()
            .filter_map(|answer| answer.resource_name)
            .collect()
    };
    assert_eq!(names(&query), ranked.map(|(name, ..)| name));
    for limit in 0..ranked.len() {
        query.limit = limit;
        assert_eq!(
            names(&query),
            ranked.map(|(name, ..)| name)[..limit],
            "the best {limit}"
        );
    }
}

#[test]
fn own_resources_only_when_asked() {
    let index = world();
    let mut query = query("5-axis");
    query.required.materials = vec!["en-aw-7075".into()];
    assert_eq!(
        told(&index, &query),
        ["Bolt DMU-80 12 41 38 = 91 Full core"]
    );
    query.with_own = true;
    assert_eq!(
        told(&index, &query)[0],
        "Own Own mill 40 40 40 = 120 Full core"
    );
}

#[test]
fn revisions_replace_each_other() {
    let mut index = world();
    let bolt = |index: &Index| told(index, &query("5-axis")).remove(0);
    put(
        &mut index,
        BOLT,
        Kind::Capacity,
        12,
        20,
        &hours(&[2], &json!(["1", "1", "1"])),
    );
    assert_eq!(bolt(&index), "Bolt DMU-80 1 1 1 = 3 Full core");
    put(
        &mut index,
        BOLT,
        Kind::Capacity,
        12,
        19,
        &hours(&[2], &json!(["9", "9", "9"])),
    );
    assert_eq!(
        bolt(&index),
        "Bolt DMU-80 1 1 1 = 3 Full core",
        "an older one changes nothing"
    );
    put(
        &mut index,
        BOLT,
        Kind::Resource,
        2,
        21,
        &json!({"name": "DMU-90", "capabilities": milling()}),
    );
    assert_eq!(bolt(&index), "Bolt DMU-90 1 1 1 = 3 Full core");
    put(
        &mut index,
        BOLT,
        Kind::Site,
        100,
        22,
        &json!({"name": "Bolt Nord"}),
    );
    assert_eq!(bolt(&index), "Bolt Nord DMU-90 1 1 1 = 3 Full core");
    put(
        &mut index,
        BOLT,
        Kind::Resource,
        2,
        23,
        &json!({"retired": true}),
    );
    let rest = told(&index, &query("5-axis"));
    assert!(rest.iter().all(|line| !line.contains("Bolt")), "{rest:?}");
    index.remove_site(&CARBO);
    assert_eq!(told(&index, &query("5-axis")), [""; 0]);
    index.remove_site(&BOLT);
    index.remove_site(&OWN);
    index.remove_site(&OWN);
    assert_empty(&index);
}

#[test]
fn other_kinds_change_nothing() {
    let mut index = world();
    let before = told(&index, &query(""));
    let origin = Origin {
        site: BOLT,
        id: id(12),
        seq: 99,
        iat: 0,
        received: 0,
        shown: true,
        ended: false,
    };
    index.put_content(&origin, &Content::Other);
    assert_eq!(told(&index, &query("")), before);
}

fn assert_empty(index: &Index) {
    assert_eq!(index.supplies.iter().count(), 0);
    assert_eq!(index.resources.iter().count(), 0);
    assert!(index.capacities.is_empty() && index.supply_numbers.is_empty());
    assert!(index.resource_numbers.is_empty() && index.lists.is_empty());
    assert!(index.rows.iter().all(|row| row.site == NONE));
    assert_eq!(index.values.used(), 0);
}

/// One step of a partner's life.
#[derive(Debug, Clone)]
struct Step {
    site: u8,
    kind: u8,
    id: u8,
    resources: Vec<u8>,
    value: u8,
}

fn step() -> impl Strategy<Value = Step> {
    let resources = prop::collection::vec(0..4_u8, 0..3);
    (0..3_u8, 0..3_u8, 0..4_u8, resources, 0..6_u8).prop_map(
        |(site, kind, id, resources, value)| Step {
            site,
            kind,
            id,
            resources,
            value,
        },
    )
}

impl Step {
    /// `None` takes the object away.
    fn shown(&self) -> Option<Value> {
        if self.value == 0 {
            return None;
        }
        let value = self.value.to_string();
        Some(match self.kind {
            0 => json!({"name": value, "location": {"country": "AT", "lat": value, "lon": "14"}}),
            1 => {
                json!({"name": value, "capabilities": [{"process": if self.value < 4 { "separating/milling" } else { "joining/welding" }}]})
            }
            _ => hours(&self.resources, &json!([value, "1"])),
        })
    }

    fn object(&self) -> (u8, u8, u8) {
        (
            self.site,
            self.kind,
            if self.kind == 0 { 100 } else { self.id },
        )
    }

    fn apply(&self, index: &mut Index, seq: u64) {
        let (site, kind, id) = self.object();
        let kind = [Kind::Site, Kind::Resource, Kind::Capacity][usize::from(kind)].clone();
        put(
            index,
            SiteId([site; 32]),
            kind,
            id,
            seq,
            &self.shown().unwrap_or(json!({})),
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happened on the way, an index answers as one that was filled with the last revisions only, in another
    /// order; and when all is taken away, nothing is left.
    #[test]
    fn only_the_last_revisions_count(steps in prop::collection::vec(step(), 1..40)) {
        let (mut lived, mut fresh) = (Index::new(), Index::new());
        let mut last = BTreeMap::new();
        for (seq, step) in (1..).zip(&steps) {
            step.apply(&mut lived, seq);
            last.insert(step.object(), (seq, step));
        }
        for (seq, step) in last.values().rev().filter(|(_, step)| step.shown().is_some()) {
            step.apply(&mut fresh, *seq);
        }
        for process in ["", "milling", "welding/spot"] {
            let mut query = query(process);
            (query.with_own, query.limit) = (true, 1_000);
            let lived = lived.find(&query).expect("answers");
            let fresh = fresh.find(&query).expect("answers");
            prop_assert_eq!(&lived, &fresh);
            let capacities: Vec<_> = lived.best.iter().filter_map(|a| Some((a.site, a.capacity?))).collect();
            prop_assert_eq!(capacities.iter().collect::<BTreeSet<_>>().len(), capacities.len(), "no capacity answers twice");
        }
        for site in 0..3 {
            lived.remove_site(&SiteId([site; 32]));
        }
        assert_empty(&lived);
    }

    /// The best so many are the first so many of all.
    #[test]
    fn a_limit_cuts_and_does_not_choose(steps in prop::collection::vec(step(), 1..40), limit in 0..6_usize, need in prop::option::of(0..8_i64)) {
        let mut index = Index::new();
        for (seq, step) in (1..).zip(&steps) {
            step.apply(&mut index, seq);
        }
        let mut query = query("milling");
        query.required = Requirement { materials: vec!["steel".into()], ..query.required };
        query.need = need.and_then(Quantity::from_units);
        query.limit = 1_000;
        let all = index.find(&query).expect("answers");
        query.limit = limit;
        let some = index.find(&query).expect("answers");
        prop_assert_eq!(some.total, all.total);
        prop_assert_eq!(&some.best[..], &all.best[..limit.min(all.total)]);
    }
}
