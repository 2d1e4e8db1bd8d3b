use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
use serde_json::json;

use super::*;
use crate::keys::{OperatingKeys, RootKey, sign_manifest};

fn body(values: Value) -> Fields {
    match values {
        Value::Object(members) => members.into_iter().collect(),
        other => panic!("{other}"),
    }
}
fn manifest() -> (SiteId, View) {
    let root = RootKey::from_bytes(&[1; 32]);
    let keys = OperatingKeys::from_seed(&[2; 32]).public();
    (
        root.site(),
        sign_manifest(&root, &keys, 1, &mut ChaCha8Rng::seed_from_u64(1)),
    )
}

#[test]
fn every_act_is_read_back() {
    let (site, manifest) = manifest();
    let name = "Plant \u{c4}".to_owned();
    for act in [
        Act::Found {
            nonce: [7; 16],
            name: name.clone(),
        },
        Act::Admit {
            site,
            name,
            role: Role::Auditor,
            manifest,
        },
        Act::Remove {
            site,
            last_good: TREE_SIZE_MAX,
            reason: None,
        },
        Act::Remove {
            site,
            last_good: 0,
            reason: Some("closed".to_owned()),
        },
        Act::Role {
            site,
            role: Role::Admin,
            from: 5,
        },
    ] {
        assert_eq!(Act::read(&act.write()), Ok(act));
    }
}

#[test]
fn the_members_are_those_of_the_protocol() {
    let site = SiteId([0xab; 32]);
    let act = Act::Remove {
        site,
        last_good: 9,
        reason: Some("closed".to_owned()),
    };
    let written = json!({"act": "remove", "site": site.hex(), "last_good": 9, "reason": "closed"});
    assert_eq!(act.write(), body(written.clone()));
    let mut newer = body(written);
    newer.insert("colour".to_owned(), json!("of a newer version"));
    assert_eq!(Act::read(&newer), Ok(act));
}

#[test]
fn impossible_bodies_are_refused() {
    let (site, manifest) = manifest();
    let (id, manifest) = (site.hex(), manifest.encode());
    let good =
        json!({"act": "admit", "site": id, "name": "A", "role": "member", "manifest": manifest});
    assert!(Act::read(&body(good.clone())).is_ok());
    let but = |member: &str, value: Value| {
        let mut changed = body(good.clone());
        changed.insert(member.to_owned(), value);
        changed
    };
    let long = "n".repeat(NAME_CHARS_MAX + 1);
    for bad in [
        body(json!({})),
        but("act", json!("crown")),
        but("act", json!(null)),
        but("site", json!("ab")),
        but("site", json!(SiteId([3; 32]).hex())),
        but("name", json!("")),
        but("name", json!("  ")),
        but("name", json!("two\nlines")),
        but("name", json!("\u{1b}[2J")),
        but("name", json!(long)),
        but("role", json!("king")),
        but("manifest", json!("")),
        but("manifest", json!(7)),
        but("manifest", json!("e30.e30.AA~")),
        body(json!({"act": "found", "name": "A", "nonce": "00"})),
        body(json!({"act": "found", "name": "A"})),
        body(json!({"act": "remove", "site": id})),
        body(json!({"act": "remove", "site": id, "last_good": -1})),
        body(json!({"act": "remove", "site": id, "last_good": TREE_SIZE_MAX + 1})),
        body(json!({"act": "remove", "site": id, "last_good": 1, "reason": "a\u{7}"})),
        body(json!({"act": "role", "site": id, "role": "admin"})),
        body(json!({"act": "role", "site": id, "role": "admin", "from": "1"})),
    ] {
        assert!(Act::read(&bad).is_err(), "{bad:?}");
    }
}
