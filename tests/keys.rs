//! Rotation of a site's operating keys, on real nodes: what goes on, what stays valid, who is not locked out.

mod support;
mod witness {
    pub(crate) mod factory;
}

use std::{collections::BTreeMap, fs};

use fmesh::{
    keystore::{self, KEYSTORE_FILE},
    service::Service,
};
use fmesh_proto::{
    circle::Audience,
    id::{CircleId, SiteId},
    keys::{OperatingKeys, sign_rotation},
    kinds::{Grant, Kind, Typed as _},
    mesh::{
        follow::Incoming,
        issue::{Author, Item, Seal},
    },
    record::View,
};
use serde_json::{Value, json};
use support::{Site, capacity, circle, group, resource, until};
use witness::factory::{self, Factory};

fn random() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// Alu Ost with two partners, all connected: both see its hours through a group, Carbo its machines through a circle of two.
async fn three() -> (Site, Site, Site) {
    let a = Site::start("Alu Ost").await;
    let b = Site::start("Bolt Nord").await;
    let c = Site::start("Carbo SA").await;
    let ticket = a.open_door(true).await;
    b.join(&ticket).await;
    c.join(&ticket).await;
    a.meets(&b).await;
    a.meets(&c).await;
    b.meets(&c).await;
    let hours = circle("hours", group(&[b.id(), c.id()]), &[Kind::Capacity], None);
    let pair = Audience::Pairwise { to: c.id() };
    let pair = circle("pair", pair, &[Kind::Resource], None);
    a.apply(vec![
        hours,
        pair,
        capacity("DMU-80", 40),
        resource("DMU-80"),
    ])
    .await;
    for reader in [&b, &c] {
        until("both see it", || {
            free(reader, &a.id()).as_deref() == Some("40")
        })
        .await;
    }
    (a, b, c)
}

/// Free hours of the first week, as `reader` sees the only capacity of `of`.
fn free(reader: &Site, of: &SiteId) -> Option<String> {
    let seen = reader.sees(of, &Kind::Capacity);
    let available = seen.first()?.fields().get("available")?.clone()?;
    Some(available.get(0)?.as_str()?.to_owned())
}

/// Epoch of the grant that `reader` holds of `of`.
fn epoch(reader: &Site, of: &SiteId) -> Option<u64> {
    let seen = reader.sees(of, &Kind::Grant);
    let grant = Grant::read(seen.first()?.fields()).expect("a grant");
    grant.epoch.known().copied()
}

fn keys(site: &Site) -> OperatingKeys {
    keystore::load(site.dir.path()).expect("keys").keys()
}

/// What the root of a site signs for a draft of its node.
async fn signed(site: &Site) -> View {
    let draft = site.node().writer.draft_keys().await.expect("a draft");
    sign_rotation(&site.words.root(), &draft, 1_790_000_000, &mut random()).expect("signs")
}

async fn rotates(site: &Site) -> u64 {
    let record = signed(site).await;
    let done = site.node().writer.rotate_keys(record, false).await;
    done.expect("rotates").seq
}

fn unaware(site: &Site) -> Vec<String> {
    let keys = Service::new(site.node().clone()).site_keys();
    let names = keys.expect("reads").unaware.into_iter();
    names.map(|site| site.name).collect()
}

fn troubles(site: &Site) -> String {
    let status = Service::new(site.node().clone()).status().expect("reads");
    status.problems.into_iter().map(|p| p.what).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partners_online_and_offline_go_on_with_the_new_keys_and_nobody_is_locked_out() {
    let (mut a, b, mut c) = three().await;
    let (old, id) = (keys(&a), a.id());
    let back = circle("back", group(&[id]), &[Kind::Capacity], None);
    b.apply(vec![back, capacity("HB-1", 5)]).await;
    until("it reads a partner's group", || {
        epoch(&a, &b.id()) == Some(1)
    })
    .await;
    c.stop().await;
    let leaf = rotates(&a).await;
    let new = keys(&a);
    assert_eq!(new.public().log, old.public().log);
    assert_ne!(new.public().record, old.public().record);
    assert_eq!(a.node().transport, old.transport(), "until partners know");
    a.apply(vec![capacity("DMU-80", 30)]).await;
    until("the partner that is there sees the change", || {
        free(&b, &id).as_deref() == Some("30")
    })
    .await;
    until("its group has a new key", || epoch(&b, &id) == Some(2)).await;
    let membership = b.node().membership.borrow().clone();
    let history = membership.keys_of(&id).expect("a member");
    assert_eq!(*history.current(), new.public());
    let now = b.sees(&id, &Kind::Capacity);
    let seq = now[0].claims().seq;
    assert!(seq > leaf);
    assert_eq!(history.record_key_at(seq), Some(new.record().public()));
    assert_eq!(history.record_key_at(leaf - 1), Some(old.record().public()));
    for site in [&a, &b] {
        let store = &site.node().store;
        assert_eq!(store.check(Some(&site.id())).expect("checks"), []);
    }
    until("the partner's group has a new key for it, too", || {
        epoch(&a, &b.id()) == Some(2)
    })
    .await;
    b.apply(vec![capacity("HB-1", 6)]).await;
    until("and it reads what follows", || {
        free(&a, &b.id()).as_deref() == Some("6")
    })
    .await;
    until("who is there has acknowledged", || {
        unaware(&a) == ["Carbo SA"]
    })
    .await;
    assert!(troubles(&a).contains("old PeerId"), "{}", troubles(&a));
    assert!(troubles(&a).contains("Carbo SA"), "{}", troubles(&a));

    // Carbo has not heard of it, so a start does not change the PeerId.
    a.stop().await;
    a.resume().await;
    assert_eq!(a.node().transport, old.transport());
    c.resume().await;
    a.meets(&c).await;
    until("who was offline sees the change", || {
        free(&c, &id).as_deref() == Some("30") && epoch(&c, &id) == Some(2)
    })
    .await;
    until("the circle of two goes on", || {
        c.sees(&id, &Kind::Resource)
            .iter()
            .any(|r| r.claims().seq > leaf)
    })
    .await;
    until("everybody has acknowledged", || unaware(&a).is_empty()).await;
    assert!(troubles(&a).contains("the next start"), "{}", troubles(&a));

    a.stop().await;
    a.resume().await;
    assert_eq!(a.node().transport, new.public().transport);
    assert!(!troubles(&a).contains("PeerId"), "{}", troubles(&a));
    a.meets(&b).await;
    a.meets(&c).await;
    a.apply(vec![capacity("DMU-80", 20)]).await;
    for reader in [&b, &c] {
        until("both see it under the new PeerId", || {
            free(reader, &id).as_deref() == Some("20")
        })
        .await;
    }

    // Partners' records reach a site that has new boxes, too.
    let back = circle("back", group(&[id]), &[Kind::Capacity], None);
    c.apply(vec![back, capacity("HB-3", 12)]).await;
    until("it reads what is sealed to it", || {
        free(&a, &c.id()).as_deref() == Some("12")
    })
    .await;

    // Who stole the old seed signs on: the log key is the same, so the leaf counts, and the record does not.
    let head = a.node().store.head(&id).expect("reads").expect("a log");
    let item = Item {
        kind: Kind::Resource,
        id: fmesh_proto::id::ObjectId::from_random([7; 16]),
        rev: 1,
        prev: None,
        retired: false,
        fields: support::fields(json!({"level": "WorkCell", "name": "Forged"})),
        circles: BTreeMap::from([(CircleId::MESH_WIDE, ["name".to_owned()].into())]),
    };
    let (mesh, manifest) = (
        a.node().store.meta().expect("reads").mesh.expect("in one"),
        a.node().manifest.clone(),
    );
    let thief = Author {
        mesh,
        site: id,
        keys: &old,
        manifest: &manifest,
    };
    let mut tails = BTreeMap::from([(CircleId::MESH_WIDE, 900)]);
    let seals = BTreeMap::from([(CircleId::MESH_WIDE, Seal::Plain)]);
    let forged = thief
        .issue(
            Some(&head),
            &mut tails,
            &seals,
            vec![item],
            1,
            &mut random(),
        )
        .expect("signs");
    let at = head.frontier.size();
    until("the partner has the whole log", || {
        let held = b.node().store.head(&id).expect("reads");
        held.is_some_and(|held| held.frontier.size() == at)
    })
    .await;
    let incoming = Incoming::Publications {
        site: id,
        run: forged.publications,
    };
    b.node().writer.take(900, incoming).await.expect("taken");
    until("it is refused, with the reason", || {
        let refusals = b.node().store.refusals().expect("reads");
        refusals
            .iter()
            .any(|refusal| refusal.site == id && refusal.seq == Some(at))
    })
    .await;
    assert!(b.node().store.record(&id, at).expect("reads").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_killed_while_keys_were_rotated_goes_on() {
    let mut a = Site::start("Alu Ost").await;
    let b = Site::start("Bolt Nord").await;
    let ticket = a.open_door(true).await;
    b.join(&ticket).await;
    a.meets(&b).await;
    let (old, id) = (keys(&a).public(), a.id());
    let all = circle("all", Audience::MeshWide, &[Kind::Resource], None);
    a.apply(vec![all, resource("DMU-80")]).await;

    // Killed with the next seed on disk, and no record of it.
    let void = signed(&a).await;
    a.stop().await;
    a.resume().await;
    assert_eq!(keys(&a).public(), old);
    a.apply(vec![resource("C42")]).await;
    // The draft has no place in the log any more, and neither has a record for keys that were drafted before others.
    for draft in [void, signed(&a).await] {
        let _ = a.node().writer.draft_keys().await.expect("another one");
        let refused = a.node().writer.rotate_keys(draft, false).await;
        assert!(refused.is_err(), "{refused:?}");
    }

    // Killed with the record in the log, and the key file as it was before.
    let record = signed(&a).await;
    let file = a.dir.path().join(KEYSTORE_FILE);
    let before = fs::read(&file).expect("reads");
    let done = a.node().writer.rotate_keys(record, false).await;
    done.expect("rotates");
    let new = keys(&a).public();
    a.stop().await;
    fs::write(&file, before).expect("written");
    assert_eq!(keys(&a).public(), old);
    a.resume().await;
    assert_eq!(keys(&a).public(), new, "carried out at the start");
    a.apply(vec![resource("HB-3")]).await;
    until("what the new key signed is taken", || {
        b.sees(&id, &Kind::Resource).len() == 3
    })
    .await;
    for site in [&a, &b] {
        let store = &site.node().store;
        assert_eq!(store.check(Some(&site.id())).expect("checks"), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_key_file_signs_nothing_and_the_words_mend_it() {
    let mut a = Site::start("Alu Ost").await;
    let b = Site::start("Bolt Nord").await;
    let ticket = a.open_door(true).await;
    b.join(&ticket).await;
    a.meets(&b).await;
    let file = a.dir.path().join(KEYSTORE_FILE);
    let before = fs::read(&file).expect("reads");
    rotates(&a).await;
    a.stop().await;
    fs::write(&file, before).expect("written");
    a.resume().await;
    let all = || circle("all", Audience::MeshWide, &[Kind::Resource], None);
    let writer = &a.node().writer;
    let refused = writer.apply(vec![all(), resource("DMU-80")]).await;
    let why = refused.expect_err("an old key").to_string();
    assert!(why.contains("old key file"), "{why}");
    rotates(&a).await;
    a.apply(vec![all(), resource("DMU-80")]).await;
    until("it signs again", || {
        b.sees(&a.id(), &Kind::Resource).len() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_api_token_commands_the_node_and_rotates_nothing_without_the_words() {
    let a = Site::start("Alu Ost").await;
    a.open_door(true).await;
    let before = keys(&a).public();
    let service = Service::new(a.node().clone());
    // Can: what every local program with the token can, so everything but this.
    let all = circle("all", Audience::MeshWide, &[Kind::Resource], None);
    a.apply(vec![all, resource("DMU-80")]).await;
    // Cannot: sign for the root.
    let draft = service.draft_keys().await.expect("a draft is no secret");
    let rotation = draft.rotation().expect("keys");
    let (_, words) = keystore::create(tempfile::tempdir().expect("a directory").path())
        .expect("another site's words");
    let record = sign_rotation(&words.root(), &rotation, 1, &mut random()).expect("signs");
    let asked = fmesh::api::view::RotateRequest {
        record: record.encode(),
        transport_now: true,
    };
    let refused = service.rotate_keys(asked).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(keys(&a).public(), before);
    a.apply(vec![resource("C42")]).await;
    assert_eq!(a.node().store.check(Some(&a.id())).expect("checks"), []);
}

/// What a partner is shown of a site's resources, by name.
fn sees(reader: &Factory) -> Vec<String> {
    let shown = reader.says(&["resource", "list", "--partner", "Alu Ost"]);
    let items = shown["items"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> = items
        .iter()
        .filter_map(|item| item["fields"]["name"]["value"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

fn publish(site: &Factory, key: &str) {
    site.says(&["resource", "set", key, "--name", key, "--level", "WorkCell"]);
}

#[test]
fn a_new_peer_id_at_once_is_learned_from_another_member_and_audits_hold() {
    let [mut a, b, mut c] = ["Alu Ost", "Bolt Nord", "Carbo SA"].map(Factory::start);
    let invite = a.says(&["invite", "create", "--uses", "2", "--auto-approve"]);
    let ticket = invite["ticket"].as_str().expect("a ticket");
    for partner in [&b, &c] {
        partner.says(&["join", ticket]);
    }
    let connected = |site: &Factory, partners| (site.connected() == partners).then_some(());
    factory::until("everybody is connected", || {
        connected(&a, 2).and(connected(&b, 2)).and(connected(&c, 2))
    });
    a.says(&["circle", "set", "partners", "--mesh", "--kind", "resource"]);
    publish(&a, "DMU-80");
    factory::until("both see it", || {
        (sees(&b) == ["DMU-80"] && sees(&c) == ["DMU-80"]).then_some(())
    });
    c.kill();

    let words = a.path("words");
    let rotate = |text: &str| {
        fs::write(&words, text).expect("written");
        let path = words.display().to_string();
        let args = ["--words-file", &path, "--transport-now", "--yes"];
        a.fmesh(&[&["site", "rotate-keys"][..], &args].concat())
    };
    let theirs = rotate(b.words());
    assert_eq!(theirs.status.code(), Some(4), "another site's words");
    let done = rotate(a.words());
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    let done: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_ne!(done["keys"]["peer_id"], done["keys"]["speaks_as"]);
    let leaf = done["seq"].as_u64().expect("a leaf");

    factory::until("the partner that is there has it", || {
        let known = b.says(&["partner", "show", "Alu Ost"]);
        (known["peer_id"] == done["keys"]["peer_id"]).then_some(())
    });
    a.kill();
    a.resume();
    let keys = a.says(&["status"]);
    let listening = keys["listening"][0].as_str().expect("an address");
    assert!(
        listening.ends_with(done["keys"]["peer_id"].as_str().expect("an id")),
        "{listening}"
    );
    factory::until("they meet under the new PeerId", || connected(&a, 1));
    publish(&a, "C42");
    c.resume();
    factory::until("who was offline found it, too", || connected(&c, 2));
    factory::until("everybody sees what the new key signed", || {
        let both = ["C42", "DMU-80"];
        (sees(&b) == both && sees(&c) == both).then_some(())
    });

    // Old and new records, for an auditor who trusts one id.
    let anchors = b.path("anchors.txt");
    fs::write(&anchors, format!("site {} Alu Ost\n", a.id())).expect("written");
    let anchors = anchors.display().to_string();
    let bundle = b.path("bundle").display().to_string();
    b.says(&["audit", "export", "--site", "Alu Ost", "--out", &bundle]);
    let report = verified(&b, &bundle, &anchors);
    for text in ["author", "keys record"] {
        assert!(report.contains(text), "{report}");
    }
    let items = b.says(&[
        "record",
        "list",
        "--partner",
        "Alu Ost",
        "--kind",
        "resource",
    ]);
    let leaves: Vec<u64> = items["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|item| item["seq"].as_u64())
        .collect();
    assert!(leaves.iter().any(|seq| *seq < leaf) && leaves.iter().any(|seq| *seq > leaf));
    for seq in leaves {
        let out = b.path(&format!("record-{seq}")).display().to_string();
        b.says(&["record", "export", &format!("Alu Ost/{seq}"), "--out", &out]);
        let record = format!("{out}/{}-{seq}.sdjwt", &a.id()[..8]);
        let report = verified(&b, &record, &anchors);
        assert!(report.contains("1 later keys record"), "{report}");
    }
}

/// The verdict of `audit verify`, which must not refute anything.
fn verified(site: &Factory, file: &str, anchors: &str) -> String {
    let judged = site.fmesh(&["audit", "verify", file, "--trust", anchors]);
    let text = String::from_utf8_lossy(&judged.stdout).into_owned();
    let said = String::from_utf8_lossy(&judged.stderr).into_owned();
    assert_eq!(judged.status.code(), Some(0), "{file}: {text}{said}");
    text
}
