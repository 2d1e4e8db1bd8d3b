//! A plant of two machines, and rows that are right, wrong, or refer to each other.

use fmesh_proto::{
    circle::{Audience, Rule},
    id::CircleId,
};
use jiff::civil::date;
use serde_json::json;

use super::*;

fn row<F: serde::de::DeserializeOwned>(row: u64, key: &str, fields: Value) -> ImportRow<F> {
    ImportRow {
        row,
        key: key.to_owned(),
        fields: serde_json::from_value(fields).unwrap(),
    }
}

fn drawn() -> impl FnMut() -> ObjectId {
    let mut byte = 100;
    move || {
        byte += 1;
        ObjectId::from_random([byte; 16])
    }
}

fn plant() -> Vec<LocalObject> {
    let machine = |key: &str, byte, retired| LocalObject {
        kind: Kind::Resource,
        id: ObjectId::from_random([byte; 16]),
        key: key.to_owned(),
        fields: write_resource(ResourceFields::default(), None),
        retired,
        updated: 0,
    };
    vec![machine("DMU-80", 1, false), machine("OLD", 2, true)]
}

fn present<'a>(objects: &'a [LocalObject], circles: &'a [Circle]) -> Present<'a> {
    Present::new(objects, circles, date(2026, 11, 25))
}

fn errors<T: std::fmt::Debug>(result: Result<T, Error>) -> Vec<RowError> {
    match result {
        Err(Error::Rows(errors)) => errors,
        other => panic!("expected errors, got {other:?}"),
    }
}

#[test]
fn resources_of_one_list_may_be_each_others_parents() {
    let plant = plant();
    let rows = vec![
        row(2, "LINE", json!({"level": "ProductionLine"})),
        row(3, "M1", json!({"parent": "LINE"})),
        row(4, "DMU-80", json!({"parent": "M1", "name": "mill"})),
    ];
    let (edits, changes) = resources(&present(&plant, &[]), rows, drawn()).unwrap();
    let ids: Vec<_> = edits
        .iter()
        .map(|edit| match edit {
            Edit::PutObject { id, fields, .. } => {
                (id.unwrap().to_string(), fields["parent"].clone())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids[1].1, json!(ids[0].0));
    assert_eq!(ids[2], (plant[0].id.to_string(), json!(ids[1].0)));
    let words: Vec<_> = changes
        .iter()
        .map(|c| (c.change, c.slots.join(",")))
        .collect();
    assert_eq!(
        words,
        [
            (ChangeKind::New, "level".to_owned()),
            (ChangeKind::New, "parent".to_owned()),
            (ChangeKind::Changed, "parent,name".to_owned()),
        ]
    );
    assert_eq!(
        changes[0].id, None,
        "the id of a new object is not promised"
    );
}

#[test]
fn every_error_of_every_row_is_told_at_once() {
    let plant = plant();
    let sum = json!({"unit": "HUR", "bucket": "P7D", "start": "2026-11-30",
        "total": ["96", "96"], "committed": ["50", "60"], "available": ["46", "30"], "unattainable": ["0", "0"]});
    let rows = vec![
        row(7, "C", json!({"resources": ["DMU-80", "LATHE"]})),
        row(2, "A", sum),
        row(3, "A", json!({})),
        row(4, " B", json!({})),
        row(5, "OLDCAP", json!({"resources": ["OLD"]})),
        row(6, "TUE", json!({"bucket": "P7D", "start": "2026-12-01"})),
    ];
    let found = errors(capacities(&present(&plant, &[]), rows, drawn()));
    let told: Vec<_> = found
        .iter()
        .map(|e| (e.row, e.column.as_deref().unwrap_or("-"), e.why.as_str()))
        .collect();
    assert_eq!(told.len(), 6, "{told:#?}");
    assert_eq!((told[0].0, told[0].1), (2, "-"));
    assert!(told[0].2.contains("2026-W50: total 96"), "{}", told[0].2);
    assert_eq!(told[1], (3, "key", "it is in row 2, too"));
    assert_eq!(told[2], (4, "key", "it begins or ends with a blank"));
    assert_eq!(told[3], (5, "resources", "it is retired"));
    assert_eq!((told[4].0, told[4].1), (6, "start"));
    assert_eq!((told[5].0, told[5].1), (7, "resources"));
    assert!(
        found
            .iter()
            .all(|e| !e.what.is_empty() && !e.hint.is_empty())
    );
}

#[test]
fn parents_that_lead_in_a_circle_are_refused() {
    let plant = plant();
    let rows = vec![
        row(2, "A", json!({"parent": "B"})),
        row(3, "B", json!({"parent": "C"})),
        row(4, "C", json!({"parent": "A"})),
        row(5, "UNDER", json!({"parent": "A"})),
        row(6, "SELF", json!({"parent": "SELF"})),
    ];
    let found = errors(resources(&present(&plant, &[]), rows, drawn()));
    assert_eq!(
        found.iter().map(|e| e.row).collect::<Vec<_>>(),
        [2, 3, 4, 6]
    );
}

#[test]
fn what_is_the_same_is_said_to_be_the_same_and_a_retired_one_comes_back() {
    let plant = plant();
    let everyone = Circle {
        id: CircleId::MESH_WIDE,
        name: "everyone".to_owned(),
        audience: Audience::MeshWide,
        rules: vec![Rule {
            kinds: vec![Kind::Resource],
            ..Rule::default()
        }],
        purpose: None,
        until: None,
        history: Default::default(),
        on_end: Default::default(),
    };
    let rows = vec![row(2, "DMU-80", json!({})), row(3, "OLD", json!({}))];
    let circles = [everyone];
    let (_, changes) = resources(&present(&plant, &circles), rows, drawn()).unwrap();
    assert_eq!(changes[0].change, ChangeKind::Same);
    assert_eq!(changes[1].change, ChangeKind::Changed);
    assert_eq!(changes[0].circles, ["everyone"]);
}

#[test]
fn keys_that_people_cannot_use_are_refused() {
    for key in ["", " ", " A", "A ", "A\nB", &"x".repeat(201)] {
        assert!(check_key(key).is_err(), "{key:?}");
    }
    for key in ["A", "Presse 3", "DMU/80", "Fräse", &"x".repeat(200)] {
        assert_eq!(check_key(key), Ok(()), "{key:?}");
    }
}
