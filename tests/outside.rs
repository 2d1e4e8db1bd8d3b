//! What tools of other people say about our files: PyJWT and cryptography (PyPI), and a second
//! implementation in plain Python. The scripts in `outside/` are also an example for auditors.
//!
//! The tests set up their tools under `target/outside`, pinned in `outside/requirements.txt`. Where
//! that is not possible they say so on stderr and pass; with `CI` set they fail instead.

#[path = "outside/export.rs"]
mod export;
#[path = "outside/program.rs"]
mod program;
#[path = "outside/python.rs"]
mod python;

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use export::{Files, Plant};
use fmesh_proto::{
    audit::{Evidence, TrustAnchors, Verdict, verify_record},
    record::Verified,
};
use program::{Site, until};
use python::{Python, needs};
use serde_json::{Value, json};

#[test]
fn plain_python_finds_every_slot_and_every_leaf() {
    let Some(python) = needs(Python::bare()) else {
        return;
    };
    let plant = Plant::new(1);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut names = Vec::new();
    let mut expected = Vec::new();
    // Every leaf of every tree up to nine leaves: all shapes of paths.
    for size in 1..=plant.size() {
        for seq in 0..size {
            let files = plant.files(seq, size);
            names.push(files.write(dir.path(), &format!("{size}-{seq}")));
            let record = plant.record(seq);
            expected.push(json!({
                "seq": seq, "size": size, "root": plant.root(size).hex(),
                "slots": shown(&record), "feeds": feeds(&record),
            }));
        }
    }
    let lines = python.lines("plain.py", &names);
    assert_eq!(lines, expected);
    let slots: usize = expected
        .iter()
        .map(|line| line["slots"].as_object().map_or(0, serde_json::Map::len))
        .sum();
    assert!(slots > 100, "{slots} slots were compared");
}

#[test]
fn other_tools_verify_what_we_export() {
    let Some(python) = needs(Python::with_tools()) else {
        return;
    };
    let plant = Plant::new(1);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let size = plant.size();
    let names: Vec<_> = (0..size)
        .map(|seq| plant.files(seq, size).write(dir.path(), &seq.to_string()))
        .collect();
    let lines = python.verify(&plant.site().hex(), &names);
    assert_eq!(lines.len() as u64, size);
    for (seq, line) in (0..).zip(&lines) {
        let record = plant.record(seq);
        assert_eq!(line["origin"], plant.origin());
        assert_eq!((&line["seq"], &line["size"]), (&json!(seq), &json!(size)));
        assert_eq!(line["root"], plant.root(size).hex());
        assert_eq!(line["kind"], record.claims().kind.to_string());
        assert_eq!(line["slots"], shown(&record));
        assert_eq!(line["withheld"], withheld(&record));
        assert_eq!(line["feeds"], feeds(&record));
    }
    let kinds: Vec<_> = lines.iter().map(|line| line["kind"].clone()).collect();
    assert_eq!(kinds[..3], ["keys", "resource", "capacity"]);
    assert_ne!(lines[2]["withheld"], json!([]), "something is withheld");
}

#[test]
fn every_flipped_bit_is_refused() {
    let Some(python) = needs(Python::with_tools()) else {
        return;
    };
    let plant = Plant::new(1);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let files = plant.files(2, 7);
    let name = files.write(dir.path(), "2");
    let answer = python.lines("flips.py", &[plant.site().hex().into(), name]);
    let parts = answer[0].as_object().expect("parts");
    let mut flips = 0;
    for (part, result) in parts {
        assert_eq!(
            result["passed"],
            json!([]),
            "{part}: bits that may be flipped unnoticed"
        );
        flips += result["flips"].as_u64().expect("a number");
    }
    // Every byte of the three files was tried, and the core twice: as signed text and as leaf.
    let core = files.record.find('~').expect("a core") + 1;
    let bytes = files.record.len() + core + files.proof.len() + files.manifest.len();
    assert_eq!((flips, parts.len()), (8 * bytes as u64, 9));
    assert!(parts["signature"]["flips"].as_u64() >= Some(512));
}

/// Files that no bit flip makes: other tools and we refuse each, and for the same reason.
#[test]
fn forged_files_are_refused() {
    let Some(python) = needs(Python::with_tools()) else {
        return;
    };
    let (plant, other) = (Plant::new(1), Plant::new(2));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let good = plant.files(2, 7);
    for (case, why, files) in forgeries(&plant, &other) {
        let name = files.write(dir.path(), &case.replace(' ', "-"));
        let said = python.refusal(&plant.site().hex(), &name);
        assert!(said.contains(why), "{case}: {said}");
        let verdict = ours(&plant, &files);
        assert_ne!(verdict, Verdict::Proven, "{case}");
    }
    let name = good.write(dir.path(), "good");
    let said = python.refusal(&other.site().hex(), &name);
    assert!(said.contains("Signature"), "another trust anchor: {said}");
    assert_eq!(python.verify(&plant.site().hex(), &[name]).len(), 1);
    assert_eq!(ours(&plant, &good), Verdict::Proven);
}

/// From end to end: what one site shows another, exported by the other with the program itself.
#[test]
fn what_a_partner_exports_proves_what_the_author_signed() {
    let Some(python) = needs(Python::with_tools()) else {
        return;
    };
    let (a, b) = (Site::start("Alu Ost"), Site::start("Bolt Nord"));
    let invite = a.says(&["invite", "--auto-approve"]);
    let ticket = invite["ticket"].as_str().expect("a ticket");
    b.says(&["--timeout", "90", "join", "--wait", ticket]);
    a.says(&[
        "resource",
        "set",
        "DMU-80",
        "--name",
        "DMU 80",
        "--level",
        "WorkCell",
        "--manufacturer",
        "Withheld GmbH",
    ]);
    let to_b = [
        "circle",
        "set",
        "bolt",
        "--to",
        b.id(),
        "--kind",
        "resource",
        "--slots",
        "name,level",
    ];
    until("A knows B", || {
        a.fmesh(&to_b).status.success().then_some(())
    });
    let of_a = ["record", "list", "--partner", a.id(), "--kind", "resource"];
    let seq = until("B has the record", || {
        b.says(&of_a)["items"][0]["seq"].as_u64()
    });

    let export = b.path("export");
    let leaf = format!("{}/{seq}", a.id());
    let files = b.says(&[
        "record",
        "export",
        &leaf,
        "--out",
        export.to_str().expect("UTF-8"),
    ]);
    let record: PathBuf = files["files"][0].as_str().expect("the record").into();
    let proven = python
        .verify(a.id(), std::slice::from_ref(&record))
        .remove(0);
    assert_eq!(
        (&proven["seq"], &proven["kind"]),
        (&json!(seq), &json!("resource"))
    );
    assert_eq!(
        proven["slots"],
        json!({"name": "DMU 80", "level": "WorkCell"})
    );
    let withheld = proven["withheld"].as_array().expect("a list");
    assert!(withheld.contains(&json!("nameplate")), "{withheld:?}");
    assert!(
        python.refusal(b.id(), &record).contains("Signature"),
        "B did not sign it"
    );

    // The program itself says the same of the same files.
    let trust = b.path("trust");
    std::fs::write(&trust, format!("site {}\n", a.id())).expect("a file");
    let verify = [
        "audit",
        "verify",
        record.to_str().expect("UTF-8"),
        "--trust",
        trust.to_str().expect("UTF-8"),
    ];
    assert_eq!(b.says(&verify)["verdict"], "proven");
    let mut text = std::fs::read_to_string(&record).expect("the record");
    text = text.replacen(char::is_uppercase, "_", 1);
    std::fs::write(&record, text).expect("the record");
    assert_eq!(b.fmesh(&verify).status.code(), Some(10), "refuted");
    python.refusal(a.id(), &record);
}

fn forgeries(plant: &Plant, other: &Plant) -> Vec<(&'static str, &'static str, Files)> {
    let good = plant.files(2, 7);
    let with_record = |record: String| Files {
        record,
        ..good.clone()
    };
    let with_proof = |proof: String| Files {
        proof,
        ..good.clone()
    };
    let first = good
        .record
        .split('~')
        .nth(1)
        .expect("a disclosure")
        .to_owned();
    let invented = BASE64URL.encode(r#"["AAAAAAAAAAAAAAAAAAAAAA",["80"]]"#);
    let of_next = plant
        .files(3, 7)
        .record
        .split('~')
        .nth(2)
        .expect("a disclosure")
        .to_owned();
    let lines: Vec<&str> = good.proof.lines().collect();
    let without = |n: usize| [&lines[..n], &lines[n + 1..]].concat().join("\n") + "\n";
    let twice = |n: usize| [&lines[..=n], &lines[n..]].concat().join("\n") + "\n";
    // Truly signed by the site, so only the reader's own rules stand against them.
    let signed = |change: &dyn Fn(&str) -> String| with_record(plant.sign_changed(2, change));
    vec![
        (
            "invented disclosure",
            "opens nothing",
            with_record(format!("{}{invented}~", good.record)),
        ),
        (
            "disclosure of another record",
            "opens nothing",
            with_record(format!("{}{of_next}~", good.record)),
        ),
        (
            "disclosure given twice",
            "opens nothing",
            with_record(format!("{}{first}~", good.record)),
        ),
        (
            "view cut off",
            "ends with ~",
            with_record(good.record.trim_end_matches('~').into()),
        ),
        (
            "one digest in two slots",
            "two places",
            signed(&|claims| claims.replace(slot(claims, "total"), slot(claims, "unit"))),
        ),
        (
            "two elements in a slot",
            "one element",
            signed(&|claims| {
                let unit = slot(claims, "unit");
                claims.replace(unit, &format!("{unit},{{\"...\":\"{}\"}}", "A".repeat(43)))
            }),
        ),
        (
            "member given twice",
            "a member stands twice",
            signed(&|claims| claims.replacen("\"rev\":1", "\"rev\":1,\"rev\":1", 1)),
        ),
        (
            "signed again",
            "does not lead to the root",
            signed(&|claims| claims.replacen("\"iat\":1", "\"iat\":2", 1)),
        ),
        (
            "records key of another site",
            "Signature",
            with_record(other.files(2, 7).record),
        ),
        (
            "proof of the next leaf",
            "another leaf",
            with_proof(plant.files(3, 7).proof),
        ),
        (
            "proof of another log",
            "log did not sign",
            with_proof(other.files(2, 7).proof),
        ),
        (
            "path without its first step",
            "path",
            with_proof(without(2)),
        ),
        ("path with a step twice", "path", with_proof(twice(3))),
        (
            "unsigned checkpoint",
            "did not sign",
            with_proof(good.proof.replace("\u{2014} fmesh", "\u{2014} gmesh")),
        ),
        (
            "manifest of another site",
            "Signature",
            Files {
                manifest: other.files(0, 1).record,
                ..good.clone()
            },
        ),
        (
            "record as its own manifest",
            "Signature",
            Files {
                manifest: good.record.clone(),
                ..good.clone()
            },
        ),
    ]
}

/// The hidden element of a slot, as it stands in the payload.
fn slot<'a>(claims: &'a str, name: &str) -> &'a str {
    let (_, rest) = claims
        .split_once(&format!("\"{name}\":["))
        .expect("the slot");
    rest.split_once(']').expect("an array").0
}

fn ours(plant: &Plant, files: &Files) -> Verdict {
    let anchors = format!("site {}\n", plant.site().hex());
    let evidence = Evidence {
        record: files.record.clone().into(),
        proof: Some(files.proof.clone().into()),
        manifest: Some(files.manifest.clone().into()),
        ..Evidence::default()
    };
    verify_record(
        &evidence,
        &TrustAnchors::parse(anchors.as_bytes()).expect("anchors"),
    )
    .verdict
}

fn shown(record: &Verified) -> Value {
    let known = record
        .fields()
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    known.collect::<serde_json::Map<_, _>>().into()
}

fn withheld(record: &Verified) -> Value {
    let names = record.fields().iter().filter(|(_, value)| value.is_none());
    names.map(|(name, _)| name.as_str()).collect()
}

fn feeds(record: &Verified) -> Value {
    record
        .feeds()
        .iter()
        .map(|(circle, seq)| json!([circle.hex(), seq]))
        .collect()
}
