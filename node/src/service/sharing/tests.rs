//! Three circles over one plant: what each partner sees, why, and what would change it.

use fmesh_proto::{id::CircleId, kinds::Kind};
use jiff::civil::date;
use serde_json::json;

use super::*;

const TODAY: Date = date(2026, 11, 25);
const BOLT: SiteId = SiteId([0xb0; 32]);
const CARBO: SiteId = SiteId([0xca; 32]);

fn object(kind: Kind, key: &str, byte: u8, fields: Value) -> LocalObject {
    let mut all: BTreeMap<String, Value> = kind
        .slots()
        .iter()
        .map(|slot| ((*slot).to_owned(), Value::Null))
        .collect();
    if let Value::Object(members) = fields {
        all.extend(members);
    }
    LocalObject {
        kind,
        id: ObjectId::from_random([byte; 16]),
        key: key.to_owned(),
        fields: all,
        retired: false,
        updated: 0,
    }
}

fn plant() -> Vec<LocalObject> {
    let mill = object(Kind::Resource, "DMU-80", 1, json!({"name": "5-axis mill"}));
    let hours = json!({
        "name": "DMU-80 hours", "resources": [mill.id], "unit": "HUR", "bucket": "P7D",
        "start": "2026-11-30", "total": ["96"], "available": ["12"],
    });
    vec![
        object(Kind::Site, "site", 9, json!({"name": "Plant A"})),
        mill,
        object(Kind::Resource, "Press 3", 2, json!({"name": "Press"})),
        object(Kind::Capacity, "DMU-80", 3, hours),
    ]
}

fn circle(name: &str, byte: u8, audience: Audience, rules: Vec<Rule>) -> Circle {
    Circle {
        id: CircleId([byte; 16]),
        name: name.to_owned(),
        audience,
        rules,
        purpose: None,
        until: None,
        history: Default::default(),
        on_end: Default::default(),
    }
}

fn circles(plant: &[LocalObject]) -> Vec<Circle> {
    let everyone = Rule {
        kinds: vec![Kind::Site],
        ..Rule::default()
    };
    let buyers = Rule {
        kinds: vec![Kind::Resource, Kind::Capacity],
        resources: vec![plant[1].id],
        slots: Slots::Only(["name", "available", "unit"].map(str::to_owned).into()),
        ..Rule::default()
    };
    let bolt = Rule {
        kinds: vec![Kind::Capacity],
        slots: Slots::Only(["start", "bucket"].map(str::to_owned).into()),
        ..Rule::default()
    };
    let members = [BOLT, CARBO].into();
    vec![
        circle("bolt", 1, Audience::Pairwise { to: BOLT }, vec![bolt]),
        circle("buyers", 2, Audience::Group { members }, vec![buyers]),
        circle("everyone", 0, Audience::MeshWide, vec![everyone]),
    ]
}

fn named_site(site: SiteId) -> SiteName {
    SiteName {
        site,
        name: if site == BOLT {
            "Bolt Nord"
        } else {
            "Carbo SA"
        }
        .to_owned(),
        fingerprint: String::new(),
    }
}

fn shown(preview: &Preview, kind: &Kind, key: &str) -> Vec<String> {
    let all = preview.visible.iter().chain(&preview.withheld);
    let found = all.filter(|o| o.kind == *kind && o.key == key);
    let slots = found.flat_map(|object| &object.slots);
    slots
        .filter(|slot| slot.shown)
        .map(|slot| slot.slot.clone())
        .collect()
}

#[test]
fn a_preview_adds_up_all_circles_of_the_partner_and_names_the_rest() {
    let plant = plant();
    let circles = circles(&plant);
    let bolt = preview(&circles, &plant, named_site(BOLT), TODAY);
    assert_eq!(bolt.circles, ["bolt", "buyers", "everyone"]);
    assert_eq!(
        shown(&bolt, &Kind::Capacity, "DMU-80"),
        ["name", "unit", "bucket", "start", "available"]
    );
    let carbo = preview(&circles, &plant, named_site(CARBO), TODAY);
    assert_eq!(
        shown(&carbo, &Kind::Capacity, "DMU-80"),
        ["name", "unit", "available"]
    );
    assert_eq!(carbo.visible.len(), 3);
    let [press] = carbo.withheld.as_slice() else {
        panic!("{:?}", carbo.withheld)
    };
    assert_eq!(press.key, "Press 3");
    assert!(
        press
            .slots
            .iter()
            .all(|slot| !slot.shown && slot.value.is_null())
    );
    let why = press.why.as_deref().unwrap_or_default();
    assert!(
        why.contains("buyers: rule 1 wants resource DMU-80"),
        "{why}"
    );
}

#[test]
fn a_withheld_value_is_in_no_byte_of_the_preview() {
    let plant = plant();
    let circles = circles(&plant);
    let carbo = preview(&circles, &plant, named_site(CARBO), TODAY);
    let text = serde_json::to_string(&carbo).unwrap();
    assert!(text.contains("\"12\""), "available is shown");
    assert!(!text.contains("\"96\""), "total is withheld");
    let stranger = preview(&circles, &plant, named_site(SiteId([7; 32])), TODAY);
    assert_eq!(stranger.visible.len(), 1, "mesh-wide only");
}

#[test]
fn a_retired_object_is_previewed_to_nobody() {
    let mut plant = plant();
    plant[1].retired = true;
    let circles = circles(&plant);
    let bolt = preview(&circles, &plant, named_site(BOLT), TODAY);
    assert!(shown(&bolt, &Kind::Resource, "DMU-80").is_empty());
    assert_eq!(bolt.visible.len() + bolt.withheld.len(), 3);
}

#[test]
fn an_explanation_names_the_first_rule_and_the_command() {
    let plant = plant();
    let circles = circles(&plant);
    let visible = explain(&circles, &plant, &plant[1], named_site(CARBO), TODAY);
    assert!(visible.visible);
    assert_eq!(
        (visible.circle.as_deref(), visible.rule),
        (Some("buyers"), Some(1))
    );
    assert_eq!(visible.shown, ["name"]);
    assert_eq!(
        visible.command,
        "fmesh circle set buyers --kind resource --kind capacity --object capacity:DMU-80 \
         --slots available,name,unit"
    );

    let hidden = explain(&circles, &plant, &plant[2], named_site(BOLT), TODAY);
    assert!(!hidden.visible);
    assert_eq!(hidden.rule, None);
    assert_eq!(
        hidden.command,
        "fmesh circle set bolt --add-rule --kind resource --object 'resource:Press 3'"
    );
    assert_eq!(hidden.circles.len(), 3);
    assert_eq!(hidden.withheld.len(), Kind::Resource.slots().len());

    let alone = explain(&[], &plant, &plant[2], named_site(BOLT), TODAY);
    assert_eq!(
        alone.command,
        "fmesh circle set 'for Bolt Nord' --to 'Bolt Nord' --kind resource --object 'resource:Press 3'"
    );
    assert!(alone.because.contains("no circle"), "{}", alone.because);

    let mut ended = circles[..1].to_vec();
    ended[0].until = Some(date(2026, 11, 24));
    let ended = explain(&ended, &plant, &plant[2], named_site(BOLT), TODAY);
    assert_eq!(
        ended.command,
        "fmesh circle set bolt --kind resource --object 'resource:Press 3'"
    );
    assert!(ended.because.contains("2026-11-24"), "{}", ended.because);
}

#[test]
fn an_explanation_never_contradicts_the_preview() {
    let plant = plant();
    let mut circles = circles(&plant);
    for ended in [false, true] {
        if ended {
            for circle in &mut circles {
                circle.until = Some(date(2026, 11, 24));
            }
        }
        for site in [BOLT, CARBO, SiteId([7; 32])] {
            let preview = preview(&circles, &plant, named_site(site), TODAY);
            assert_eq!(preview.visible.is_empty(), ended);
            for object in &plant {
                let explain = explain(&circles, &plant, object, named_site(site), TODAY);
                let mut slots = shown(&preview, &object.kind, &object.key);
                slots.sort();
                assert_eq!(explain.shown, slots);
                assert_eq!(explain.visible, explain.circle.is_some());
                assert!(explain.command.starts_with("fmesh circle "));
            }
        }
    }
}

#[test]
fn a_change_lists_what_is_opened_and_closed() {
    let plant = plant();
    let circles = circles(&plant);
    let before = &circles[1];
    let mut after = before.clone();
    after.rules[0].slots = Slots::Only(["name", "total"].map(str::to_owned).into());
    after.rules[0].kinds = vec![Kind::Capacity];
    let changes = changes(Some(before), &after, &plant, TODAY);
    let words: Vec<_> = changes
        .iter()
        .map(|c| (c.kind.as_str(), c.opened.join(","), c.closed.join(",")))
        .collect();
    assert_eq!(
        words,
        [
            ("resource", String::new(), "name".to_owned()),
            ("capacity", "total".to_owned(), "available,unit".to_owned()),
        ]
    );
    assert!(super::changes(Some(before), before, &plant, TODAY).is_empty());
    assert_eq!(super::changes(None, before, &plant, TODAY).len(), 2);
}

#[test]
fn words_are_quoted_for_a_shell() {
    for (text, expected) in [
        ("DMU-80", "DMU-80"),
        ("Press 3", "'Press 3'"),
        ("it's", r"'it'\''s'"),
        ("", "''"),
        ("--yes", "'--yes'"),
        ("$(rm)", "'$(rm)'"),
    ] {
        assert_eq!(quoted(text), expected);
    }
}
