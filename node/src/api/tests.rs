//! The JSON itself: what is written is read back, lists and objects name their schema, strangers' members are refused.

use std::fmt::Debug;

use fmesh_proto::id::SiteId;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    is_loopback,
    view::{
        Amount, Answer, AudienceRequest, AudienceView, CapacityFields, CirclePut, FindRequest,
        Import, InviteRequest, JoinRequest, JoinState, JoinStep, List, Pending, ResourcePut,
        Retire, Shown, SiteName, SitePut, time,
    },
};

fn round<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> Value {
    let json = serde_json::to_value(value).unwrap();
    assert_eq!(serde_json::from_value::<T>(json.clone()).unwrap(), *value);
    json
}

/// The whole JSON reads as `T`; with any member of it renamed or added it does not.
fn check_request<T: DeserializeOwned + Debug>(good: &Value) {
    serde_json::from_value::<T>(good.clone()).unwrap();
    let mut more = good.clone();
    more["surprise"] = json!(1);
    let error = serde_json::from_value::<T>(more).unwrap_err().to_string();
    assert!(error.contains("surprise"), "{error}");
}

#[test]
fn one_thing_names_its_schema_beside_its_members() {
    let state = JoinState {
        step: JoinStep::Waiting,
        mesh: None,
        inviter: Some(SiteName {
            site: SiteId([0xab; 32]),
            name: "Alu Ost".to_owned(),
            fingerprint: "00".repeat(32),
        }),
        since: Some(time(1_795_000_000)),
        answer: None,
        fingerprint: "ff".repeat(32),
    };
    let json = round(&Answer::new(state));
    assert_eq!(json["schema"], "fmesh.join.v1");
    assert_eq!(json["step"], "waiting");
    assert_eq!(json["inviter"]["site"], "ab".repeat(32), "ids are in full");
    assert_eq!(json["since"], "2026-11-18T11:06:40Z");
}

#[test]
fn many_things_are_items_with_a_next() {
    let list = List::<Pending>::new(Vec::new(), Some("12".to_owned()));
    assert_eq!(
        round(&list),
        json!({"schema": "fmesh.pendings.v1", "items": [], "next": "12"})
    );
}

#[test]
fn a_number_carries_its_unit_and_three_states_stay_three() {
    let amount = |value: &str| Amount {
        value: value.parse().unwrap(),
        unit: "HUR".parse().ok(),
    };
    assert_eq!(
        round(&amount("37.5")),
        json!({"value": "37.5", "unit": "HUR"})
    );
    assert_eq!(
        round(&Shown::Known(amount("0"))),
        json!({"state": "known", "value": {"value": "0", "unit": "HUR"}})
    );
    assert_eq!(
        round(&Shown::<Amount>::Unknown),
        json!({"state": "unknown"})
    );
    assert_eq!(
        round(&Shown::<Amount>::Withheld),
        json!({"state": "withheld"})
    );
}

#[test]
fn times_beyond_the_calendar_are_its_end() {
    assert_eq!(time(0).to_string(), "1970-01-01T00:00:00Z");
    assert_eq!(time(u64::MAX), jiff::Timestamp::MAX);
}

#[test]
fn requests_refuse_members_that_they_do_not_know() {
    check_request::<JoinRequest>(&json!({"ticket": "fmesh1"}));
    check_request::<InviteRequest>(&json!({}));
    check_request::<Retire>(&json!({}));
    check_request::<SitePut>(&json!({"fields": {}}));
    check_request::<ResourcePut>(&json!({"fields": {}, "dry_run": true}));
    check_request::<Import<CapacityFields>>(
        &json!({"rows": [{"row": 2, "key": "A", "fields": {}}]}),
    );
    check_request::<CirclePut>(
        &json!({"audience": {"type": "mesh"}, "rules": [{"kinds": ["site"]}]}),
    );
    check_request::<FindRequest>(&json!({"process": "milling"}));
    for audience in [
        json!({"type": "partner", "partner": "bolt"}),
        json!({"type": "group", "members": ["bolt"]}),
    ] {
        check_request::<AudienceRequest>(&audience);
    }
    for inner in [
        json!({"fields": {"nmae": "x"}}),
        json!({"fields": {"nameplate": {"maker": "x"}}}),
        json!({"fields": {"capabilities": [{"process": "separating", "cor": true}]}}),
    ] {
        assert!(
            serde_json::from_value::<ResourcePut>(inner.clone()).is_err(),
            "{inner}"
        );
    }
    let twice = r#"{"fields": {"name": "a", "name": "b"}}"#;
    assert!(
        serde_json::from_str::<ResourcePut>(twice).is_err(),
        "a member twice"
    );
}

#[test]
fn an_invite_without_wishes_is_for_one_member_and_a_week() {
    let asked: InviteRequest = serde_json::from_value(json!({})).unwrap();
    let json = round(&asked);
    assert_eq!(
        (&json["uses"], &json["role"]),
        (&json!(1), &json!("member"))
    );
    assert_eq!(
        (&json["expires_in_seconds"], &json["auto_approve"]),
        (&json!(604_800), &json!(false))
    );
}

#[test]
fn audiences_have_one_word() {
    assert_eq!(round(&AudienceView::Mesh), json!({"type": "mesh"}));
    assert_eq!(round(&AudienceRequest::Mesh), json!({"type": "mesh"}));
}

#[test]
fn loopback_is_judged_by_address() {
    for (address, expected) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("0.0.0.0", false),
        ("::", false),
        ("192.0.2.7", false),
    ] {
        assert_eq!(is_loopback(address.parse().unwrap()), expected, "{address}");
    }
}
