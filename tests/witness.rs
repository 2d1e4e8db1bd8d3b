//! Witnesses, forks and restored backups, with real processes: the program as people use it.

mod witness {
    pub(crate) mod factory;
}

use std::fs;

use serde_json::Value;
use witness::factory::{Factory, until};

/// Three factories in one mesh; the first one shares its resources with both.
fn three() -> [Factory; 3] {
    let [a, b, c] = ["Alu Ost", "Bolt Nord", "Carbo SA"].map(Factory::start);
    let invite = a.says(&["invite", "create", "--uses", "2", "--auto-approve"]);
    let ticket = invite["ticket"].as_str().expect("a ticket");
    for partner in [&b, &c] {
        partner.says(&["join", ticket]);
    }
    until("everybody is connected", || {
        [&a, &b, &c]
            .iter()
            .all(|site| site.connected() == 2)
            .then_some(())
    });
    a.says(&["circle", "set", "partners", "--mesh", "--kind", "resource"]);
    [a, b, c]
}

fn publish(site: &Factory, key: &str) {
    let process = "separating/milling/5-axis";
    site.says(&[
        "resource",
        "set",
        key,
        "--name",
        key,
        "--level",
        "WorkCell",
        "--process",
        process,
    ]);
}

/// How many leaves of its own log are cosigned, and by how many.
fn cosigned(site: &Factory) -> (u64, u64, usize) {
    let status = site.says(&["status"]);
    let witnessed = &status["witnessed"];
    let by = witnessed["by"].as_array().map_or(0, Vec::len);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    (number(&witnessed["size"]), number(&status["log_size"]), by)
}

#[test]
fn partners_cosign_and_an_auditor_counts_them() {
    let [a, b, c] = three();
    for key in ["DMU-80", "C42", "HB-3"] {
        publish(&a, key);
    }
    until("both partners cosigned all of it", || {
        let (size, log, by) = cosigned(&a);
        (size == log && by == 2).then_some(())
    });
    let (size, ..) = cosigned(&a);
    until("partners know how far it is cosigned", || {
        let shown = c.says(&["partner", "show", "Alu Ost"]);
        let witnessed = &shown["standing"]["witnessed"];
        (witnessed["size"] == size && witnessed["by"].as_array()?.len() == 2).then_some(())
    });
    let shown = a.says(&["partner", "show", "Bolt Nord"]);
    assert_eq!(shown["standing"]["cosigned_us"]["size"], size, "{shown}");
    let record = b.says(&["record", "show", &format!("Alu Ost/{}", size - 1)]);
    let seen = record["seen"].as_array().expect("a list");
    assert_eq!(seen.len(), 2, "{record}");
    assert!(seen[0]["by"].as_str() <= seen[1]["by"].as_str(), "{record}");

    // What the auditor trusts is the auditor's: the two witnesses by their own words.
    let anchors = |quorum: usize| {
        let mut text = format!("site {} Alu Ost\nquorum {quorum}\n", a.id());
        for witness in [&b, &c] {
            let status = witness.says(&["status"]);
            let key = status["witness_key"]
                .as_str()
                .expect("a verifier key")
                .to_owned();
            text += &format!("witness {key}\n");
        }
        let path = b.path(&format!("anchors-{quorum}.txt"));
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let bundle = b.path("bundle.tar").display().to_string();
    b.says(&["audit", "export", "--site", "Alu Ost", "--out", &bundle]);
    let judged = b.fmesh(&["audit", "verify", &bundle, "--trust", &anchors(2)]);
    let text = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert_eq!(judged.status.code(), Some(0), "{text}");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert!(
        text.contains("quorum") || text.contains("witness"),
        "{report}"
    );
    // What the site's own witness key says of its own log counts for nothing.
    let own = b.path("own.txt");
    let status = a.says(&["status"]);
    let key = status["witness_key"]
        .as_str()
        .expect("a verifier key")
        .to_owned();
    fs::write(
        &own,
        format!("site {} Alu Ost\nquorum 1\nwitness {key}\n", a.id()),
    )
    .expect("written");
    let alone = b.fmesh(&[
        "audit",
        "verify",
        &bundle,
        "--trust",
        &own.display().to_string(),
    ]);
    assert_eq!(alone.status.code(), Some(11), "not proven by itself");
}

/// What a partner is shown of the first site's resources, by name.
fn sees(reader: &Factory) -> Vec<String> {
    let list = reader.says(&["resource", "list", "--partner", "Alu Ost"]);
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let name = |item: &Value| item["fields"]["name"]["value"].as_str().map(str::to_owned);
    let mut names: Vec<String> = items.iter().filter_map(name).collect();
    names.sort();
    names
}

fn forks(reader: &Factory) -> usize {
    let shown = reader.says(&["partner", "show", "Alu Ost"]);
    shown["standing"]["forks"].as_array().map_or(0, Vec::len)
}

fn problems(site: &Factory) -> String {
    site.says(&["status"])["problems"].to_string()
}

#[test]
fn an_old_backup_that_is_put_back_does_not_fork() {
    let [mut a, b, mut c] = three();
    publish(&a, "DMU-80");
    until("both see it", || {
        (sees(&b).len() == 1 && sees(&c).len() == 1).then_some(())
    });
    a.kill();
    let backup = a.backup();
    a.resume();
    // After the backup: a new object, a changed one, and a circle's feed that goes on.
    publish(&a, "C42");
    a.says(&["resource", "set", "DMU-80", "--model", "evo 2"]);
    publish(&a, "HB-3");
    until("both see all", || {
        (sees(&b).len() == 3 && sees(&c).len() == 3).then_some(())
    });
    let (_, true_size, _) = cosigned(&a);
    // One partner is away when it happens.
    c.kill();
    a.kill();
    a.restore(backup.path());
    a.resume();
    // A change waits until it is clear what may be signed, then goes on behind what was lost.
    until("it goes on", || {
        let process = "separating/milling/5-axis";
        let set = [
            "resource",
            "set",
            "T-9",
            "--name",
            "T-9",
            "--process",
            process,
        ];
        a.fmesh(&set).status.success().then_some(())
    });
    let (_, size, _) = cosigned(&a);
    assert!(
        size > true_size,
        "{size} after {true_size}: {}",
        problems(&a)
    );
    let status = a.says(&["status"]);
    let restored = &status["restored"];
    assert_eq!(restored["to"], true_size, "{status}");
    assert_eq!(
        restored["returned"], 3,
        "all that the partner was shown came back: {status}"
    );
    until("the partner sees the new one", || {
        sees(&b).contains(&"T-9".to_owned()).then_some(())
    });
    // An object that was changed after the backup goes on as well, in its own chain.
    a.says(&["resource", "set", "DMU-80", "--name", "DMU-80 b"]);
    until("and the changed one", || {
        sees(&b).contains(&"DMU-80 b".to_owned()).then_some(())
    });
    c.resume();
    until("who was away catches up", || {
        (sees(&c) == sees(&b)).then_some(())
    });
    until("both cosign again", || {
        let (size, log, by) = cosigned(&a);
        (size == log && by == 2).then_some(())
    });
    for reader in [&b, &c] {
        assert_eq!(forks(reader), 0, "{}", problems(reader));
        let shown = reader.says(&["partner", "show", "Alu Ost"]);
        assert_eq!(
            shown["standing"]["contradictions"].as_array().map(Vec::len),
            Some(0)
        );
        assert_eq!(shown["refused_records"], 0, "{shown}");
    }
    let check = ["audit", "export", "--site", "Alu Ost", "--out"];
    let bundle = b.path("after.tar").display().to_string();
    b.says(&[&check[..], &[&bundle]].concat());
    let anchors = b.path("anchors.txt");
    fs::write(&anchors, format!("site {} Alu Ost\n", a.id())).expect("written");
    let judged = b.fmesh(&[
        "audit",
        "verify",
        &bundle,
        "--trust",
        &anchors.display().to_string(),
    ]);
    let text = String::from_utf8_lossy(&judged.stdout);
    assert_ne!(judged.status.code(), Some(10), "nothing is refuted: {text}");
    a.kill();
    let sound = a.fmesh(&["store", "check"]);
    assert!(
        sound.status.success(),
        "{}",
        String::from_utf8_lossy(&sound.stdout)
    );
}

#[test]
fn a_store_alone_that_is_put_back_signs_nothing_while_nobody_is_reached() {
    let [mut a, mut b, mut c] = three();
    publish(&a, "DMU-80");
    a.kill();
    let backup = a.backup();
    a.resume();
    publish(&a, "C42");
    until("both see it", || {
        (sees(&b).len() == 2 && sees(&c).len() == 2).then_some(())
    });
    a.kill();
    b.kill();
    c.kill();
    // The file beside the keys stays as it is: only the store is old.
    let signed = fs::read(a.path("data/signed-size")).expect("it is there");
    a.restore(backup.path());
    fs::write(a.path("data/signed-size"), signed).expect("written");
    a.resume();
    let refused = a.fmesh(&["resource", "set", "T-9", "--name", "T-9"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && why.contains("old backup"),
        "{why}"
    );
    assert!(problems(&a).contains("old backup"), "{}", problems(&a));
    b.resume();
    until("it goes on when a partner is there", || {
        a.fmesh(&["resource", "set", "T-9", "--name", "T-9"])
            .status
            .success()
            .then_some(())
    });
    until("the partner sees it", || {
        sees(&b).contains(&"T-9".to_owned()).then_some(())
    });
    assert_eq!(forks(&b), 0);
}

#[test]
fn a_second_history_is_proven_and_shown_everywhere() {
    let [mut a, mut b, mut c] = three();
    publish(&a, "DMU-80");
    a.kill();
    let backup = a.backup();
    a.resume();
    publish(&a, "C42");
    until("both see it", || {
        (sees(&b).len() == 2 && sees(&c).len() == 2).then_some(())
    });
    a.kill();
    b.kill();
    c.kill();
    // All of it is old, the counter beside the keys as well, and nobody can be asked.
    a.restore(backup.path());
    a.resume();
    publish(&a, "OTHER-1");
    publish(&a, "OTHER-2");
    b.resume();
    c.resume();
    for reader in [&b, &c] {
        until("the fork is proven", || (forks(reader) > 0).then_some(()));
        assert!(
            problems(reader).contains("is forked"),
            "{}",
            problems(reader)
        );
        let process = "separating/milling/5-axis";
        let found = reader.says(&["find", process]);
        let items = found["items"].as_array().cloned().unwrap_or_default();
        assert!(
            !items.is_empty() && items.iter().all(|hit| hit["forked"] == true),
            "{found}"
        );
        let bundle = reader.path("forked.tar").display().to_string();
        reader.says(&["audit", "export", "--site", "Alu Ost", "--out", &bundle]);
        let anchors = reader.path("anchors.txt");
        fs::write(&anchors, format!("site {} Alu Ost\n", a.id())).expect("written");
        let anchors = anchors.display().to_string();
        let judged = reader.fmesh(&["audit", "verify", &bundle, "--trust", &anchors]);
        assert_eq!(judged.status.code(), Some(10), "a fork refutes");
    }
    until("the site itself hears of it", || {
        problems(&a).contains("this site is forked").then_some(())
    });
}
