use jiff::civil::date;
use serde_json::{Value, json};

use super::*;

const TODAY: Date = date(2026, 11, 25);

fn id(n: u8) -> ObjectId {
    ObjectId::from_random([n; 16])
}
fn path(text: &str) -> Path {
    text.parse().unwrap()
}
fn fields(values: Value) -> Fields {
    match values {
        Value::Object(members) => members.into_iter().collect(),
        other => panic!("{other}"),
    }
}
fn circle(rules: Vec<Rule>) -> Circle {
    Circle {
        id: CircleId([9; 16]),
        name: "millers".to_owned(),
        audience: Audience::Group {
            members: BTreeSet::from([SiteId([1; 32])]),
        },
        rules,
        purpose: None,
        until: None,
        history: Default::default(),
        on_end: Default::default(),
    }
}
fn every(kinds: &[Kind]) -> Rule {
    Rule {
        kinds: kinds.to_vec(),
        ..Rule::default()
    }
}
fn mill() -> Fields {
    fields(json!({"name": "DMU-80", "capabilities": [
        {"process": "separating/milling/5-axis", "core": true}, {"process": "joining/welding"}]}))
}
fn weeks() -> Fields {
    fields(
        json!({"resources": [id(1).to_string(), id(2).to_string()], "process": "separating/milling",
        "start": "2026-12-07", "available": ["12"]}),
    )
}

/// What one rule decides: `Ok` of the number of slots, or the reason.
fn decide(rule: &Rule, kind: &Kind, object: u8, fields: &Fields) -> Result<usize, String> {
    let id = id(object);
    let decided = |fields| {
        let object = Object {
            kind,
            id: &id,
            fields,
        };
        permits(&circle(vec![rule.clone()]), object, TODAY)
    };
    let mut asked = fields.clone();
    asked.retain(|name, _| ASKED_SLOTS.contains(&name.as_str()));
    assert_eq!(
        decided(&asked),
        decided(fields),
        "nothing else is looked at"
    );
    match decided(fields) {
        Decision::Shared { slots, rules } => {
            assert_eq!(rules, [0]);
            Ok(slots.len())
        }
        Decision::Withheld(Withheld::NoMatch(reasons)) => {
            assert_eq!(reasons.len(), 1);
            Err(reasons[0].clone())
        }
        Decision::Withheld(other) => panic!("{other:?}"),
    }
}
fn refused(rule: &Rule, kind: &Kind, object: u8, fields: &Fields) -> String {
    decide(rule, kind, object, fields).unwrap_err()
}

#[test]
fn default_is_nothing() {
    let object = Object {
        kind: &Kind::Resource,
        id: &id(1),
        fields: &mill(),
    };
    assert_eq!(
        permits(&circle(vec![]), object, TODAY),
        Decision::Withheld(Withheld::NoRules)
    );
    let reason = refused(&Rule::default(), &Kind::Resource, 1, &mill());
    assert_eq!(reason, "rule 1 names no kind, and so selects nothing");
    // As the operator's file says nothing, too.
    let empty: Rule = serde_json::from_value(json!({})).unwrap();
    assert_eq!(empty, Rule::default());
}

#[test]
fn an_ended_circle_shares_nothing() {
    let mut circle = circle(vec![every(&[Kind::Resource])]);
    let object = Object {
        kind: &Kind::Resource,
        id: &id(1),
        fields: &mill(),
    };
    circle.until = Some(TODAY);
    assert!(permits(&circle, object, TODAY).slots().is_some());
    let next = TODAY.tomorrow().unwrap();
    assert_eq!(
        permits(&circle, object, next),
        Decision::Withheld(Withheld::Ended(TODAY))
    );
    assert_eq!(
        Withheld::Ended(TODAY).to_string(),
        "the circle ended: its last day was 2026-11-25"
    );
}

#[test]
fn kinds_and_ids() {
    let rule = every(&[Kind::Site, Kind::Capacity]);
    assert_eq!(
        decide(&rule, &Kind::Site, 1, &fields(json!({}))),
        Ok(Kind::Site.slots().len())
    );
    assert_eq!(
        refused(&rule, &Kind::Resource, 1, &mill()),
        "rule 1 wants kind site or capacity; this object is a resource"
    );
    let rule = Rule {
        ids: vec![id(1)],
        ..every(&[Kind::Resource])
    };
    assert!(decide(&rule, &Kind::Resource, 1, &mill()).is_ok());
    let reason = refused(&rule, &Kind::Resource, 2, &mill());
    assert_eq!(
        reason,
        format!("rule 1 wants object {}; this object is {}", id(1), id(2))
    );
}

#[test]
fn processes_are_prefixes() {
    let both = [Kind::Resource, Kind::Capacity];
    let rule = |processes: &[&str]| Rule {
        process: processes.iter().map(|p| path(p)).collect(),
        ..every(&both)
    };
    for general in [
        "separating",
        "separating/milling",
        "separating/milling/5-axis",
        "joining",
    ] {
        assert!(
            decide(&rule(&[general]), &Kind::Resource, 1, &mill()).is_ok(),
            "{general}"
        );
    }
    assert!(decide(&rule(&["separating/milling"]), &Kind::Capacity, 1, &weeks()).is_ok());
    assert_eq!(
        refused(
            &rule(&["separating/milling/5-axis", "forming"]),
            &Kind::Capacity,
            1,
            &weeks()
        ),
        "rule 1 wants process separating/milling/5-axis or forming; this object has separating/milling"
    );
    for unknown in [json!({}), json!({"process": null}), json!({"process": 7})] {
        assert_eq!(
            refused(&rule(&["forming"]), &Kind::Capacity, 1, &fields(unknown)),
            "rule 1 wants process forming; this object has none that is known"
        );
    }
    for odd in [
        json!({"capabilities": null}),
        json!({"capabilities": [1, {}, {"process": "NO PATH"}]}),
    ] {
        assert!(
            refused(&rule(&["forming"]), &Kind::Resource, 1, &fields(odd))
                .ends_with("none that is known")
        );
    }
}

#[test]
fn resources_and_the_capacities_on_them() {
    let rule = Rule {
        resources: vec![id(2)],
        ..every(&[Kind::Site, Kind::Resource, Kind::Capacity])
    };
    assert!(decide(&rule, &Kind::Resource, 2, &mill()).is_ok());
    assert!(decide(&rule, &Kind::Capacity, 7, &weeks()).is_ok());
    assert!(refused(&rule, &Kind::Resource, 1, &mill()).contains("this object is on"));
    let elsewhere = fields(json!({"resources": [id(1).to_string()]}));
    assert!(refused(&rule, &Kind::Capacity, 2, &elsewhere).contains(&format!("is on {}", id(1))));
    assert!(
        refused(&rule, &Kind::Site, 2, &fields(json!({}))).contains("a site is on no resource")
    );
}

#[test]
fn the_horizon_counts_iso_weeks_over_the_year_s_end() {
    let rule = |weeks| Rule {
        weeks: Some(weeks),
        ..every(&[Kind::Capacity, Kind::Resource])
    };
    let start = |start: &str| fields(json!({"start": start}));
    // 2026 has 53 weeks; TODAY is in W48.
    for (first, ahead) in [
        ("2026-11-23", 0),
        ("2026-11-30", 1),
        ("2026-12-28", 5),
        ("2027-01-03", 5),
        ("2027-01-04", 6),
    ] {
        assert!(
            decide(&rule(ahead), &Kind::Capacity, 1, &start(first)).is_ok(),
            "{first}"
        );
        if ahead > 0 {
            let reason = refused(&rule(ahead - 1), &Kind::Capacity, 1, &start(first));
            assert!(
                reason.contains(&format!("{ahead} weeks after 2026-W48")),
                "{reason}"
            );
        }
    }
    assert!(decide(&rule(0), &Kind::Capacity, 1, &start("2025-01-06")).is_ok());
    assert!(decide(&rule(u32::MAX), &Kind::Capacity, 1, &start("9999-12-01")).is_ok());
    for unknown in [json!({}), json!({"start": null}), json!({"start": "soon"})] {
        assert!(refused(&rule(9), &Kind::Capacity, 1, &fields(unknown)).contains("unknown"));
    }
    assert!(refused(&rule(9), &Kind::Resource, 1, &mill()).contains("a resource has no start"));
}

#[test]
fn rules_add_up_and_only_known_slots_open() {
    let only = |names: &[&str], rule: Rule| Rule {
        slots: Slots::Only(names.iter().map(|n| (*n).to_owned()).collect()),
        ..rule
    };
    let rules = vec![
        only(&["available", "no-such-slot"], every(&[Kind::Capacity])),
        Rule {
            ids: vec![id(3)],
            ..every(&[Kind::Capacity])
        },
        only(&["start"], every(&[Kind::Capacity])),
    ];
    let object = Object {
        kind: &Kind::Capacity,
        id: &id(1),
        fields: &weeks(),
    };
    let decision = permits(&circle(rules), object, TODAY);
    let slots = BTreeSet::from(["available".to_owned(), "start".to_owned()]);
    assert_eq!(
        decision,
        Decision::Shared {
            slots,
            rules: vec![0, 2]
        }
    );
    assert_eq!(
        refused(
            &only(&["no-such-slot"], every(&[Kind::Capacity])),
            &Kind::Capacity,
            1,
            &weeks()
        ),
        "rule 1 opens no slot that a capacity has"
    );
}

#[test]
fn some_kinds_are_never_selected() {
    let unknown = Kind::Other("robot".to_owned());
    for kind in [
        Kind::Keys,
        Kind::Membership,
        Kind::Grant,
        Kind::Attestation,
        unknown,
    ] {
        let reason = refused(
            &every(std::slice::from_ref(&kind)),
            &kind,
            1,
            &fields(json!({"key": "00"})),
        );
        assert!(reason.starts_with("rule 1 cannot select"), "{reason}");
    }
}

#[test]
fn explain_names_every_rule() {
    let rules = vec![
        every(&[Kind::Site]),
        Rule {
            process: vec![path("forming")],
            ..every(&[Kind::Resource])
        },
    ];
    let object = Object {
        kind: &Kind::Resource,
        id: &id(1),
        fields: &mill(),
    };
    let Decision::Withheld(withheld) = permits(&circle(rules), object, TODAY) else {
        panic!("nothing selects it");
    };
    assert_eq!(
        withheld.to_string(),
        "rule 1 wants kind site; this object is a resource\n\
         rule 2 wants process forming; this object has separating/milling/5-axis and joining/welding"
    );
}

#[test]
fn a_circle_is_read_back_and_unknown_keys_are_refused() {
    let circle = circle(vec![Rule {
        weeks: Some(8),
        process: vec![path("forming")],
        ..every(&[Kind::Capacity])
    }]);
    let text = serde_json::to_string(&circle).unwrap();
    assert_eq!(serde_json::from_str::<Circle>(&text).unwrap(), circle);
    assert!(serde_json::from_value::<Rule>(json!({"kind": ["site"]})).is_err());
}
