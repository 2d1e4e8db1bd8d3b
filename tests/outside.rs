//! What tools of other people say about our files: PyJWT, jwcrypto, PyNaCl, pymerkle and cryptography (PyPI), jose
//! (npm), openssl, the crates `signed_note` and `tlog_tiles`, and a second implementation in plain Python. The scripts
//! in `outside/` are also an example for auditors.
//!
//! The tests set up their tools under `target/outside`, each pinned: `outside/requirements.txt`, `outside/npm`,
//! `outside/notes`. Where that is not possible they say so on stderr and pass; with `CI` set they fail instead.

#[path = "outside/export.rs"]
mod export;
#[path = "outside/others.rs"]
mod others;
#[path = "outside/program.rs"]
mod program;
#[path = "outside/python.rs"]
mod python;
#[path = "outside/tools.rs"]
mod tools;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use export::{Files, Plant};
use fmesh_proto::{
    audit::{Evidence, TrustAnchors, Verdict, verify_record},
    record::Verified,
};
use program::{Site, answer, until};
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

/// `sd-jwt` is no tool for auditors: it checks the signature, and then ignores a disclosure that was never signed, and shows one
/// value in two slots. We and the plain Python refuse both.
#[test]
fn a_lax_library_accepts_what_we_refuse() {
    let Some(python) = needs(Python::with_tools()) else {
        return;
    };
    let (plant, other) = (Plant::new(1), Plant::new(2));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut cases = vec![("good", plant.files(2, 7))];
    for (case, _, files) in forgeries(&plant, &other) {
        if [
            "disclosure of another record",
            "one digest in two slots",
            "records key of another site",
        ]
        .contains(&case)
        {
            cases.push((case, files));
        }
    }
    let names: Vec<PathBuf> = cases
        .iter()
        .map(|(case, files)| files.write(dir.path(), &case.replace(' ', "-")))
        .collect();
    let found = python.lines("lax.py", &names);
    let said: BTreeMap<&str, &Value> = cases.iter().map(|(case, _)| *case).zip(&found).collect();
    let verdicts: BTreeMap<&str, Verdict> = cases
        .iter()
        .map(|(case, files)| (*case, ours(&plant, files)))
        .collect();
    assert_eq!(verdicts["good"], Verdict::Proven);
    assert!(
        verdicts
            .iter()
            .all(|(case, verdict)| *case == "good" || *verdict != Verdict::Proven)
    );

    assert!(said["good"]["slots"]["available"].is_array(), "{said:?}");
    assert_eq!(
        said["disclosure of another record"], said["good"],
        "the stranger is ignored"
    );
    let twice = &said["one digest in two slots"]["slots"];
    assert_eq!(twice["unit"], twice["total"], "one value is shown twice");
    assert!(
        said["records key of another site"]["refused"].is_string(),
        "it does check who signed"
    );
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

    let trust = b.path("trust");
    std::fs::write(&trust, format!("site {}\n", a.id())).expect("a file");
    what_was_withheld_is_handed_out_later(&python, (&a, &b), seq, &trust);

    // The program itself says the same of the same files.
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

/// The signature from before covers what A opens later, for other tools and for a bundle that B exported without it.
fn what_was_withheld_is_handed_out_later(
    python: &Python,
    (a, b): (&Site, &Site),
    seq: u64,
    trust: &Path,
) {
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (bundle, trust) = (text(&b.path("of-a.tar")), text(trust));
    b.says(&["audit", "export", "--site", a.id(), "--out", &bundle]);
    let open = |site: &Site, leaf: &str, slot: &str, dir: &str| {
        let out = text(&site.path(dir));
        site.fmesh(&["record", "export", leaf, "--slot", slot, "--out", &out])
    };
    let leaf = seq.to_string();
    let files = answer(&open(a, &leaf, "nameplate", "late"));
    let late: PathBuf = files["files"][0].as_str().expect("the record").into();
    let proven = python.verify(a.id(), std::slice::from_ref(&late)).remove(0);
    let maker = json!({"nameplate": {"manufacturer": "Withheld GmbH"}});
    assert_eq!((&proven["slots"], &proven["feeds"]), (&maker, &json!([])));

    let verify = |late: &Path, code| {
        let late = text(late);
        let command = [
            "audit",
            "verify",
            &bundle,
            "--trust",
            &trust,
            "--disclosed",
            &late,
        ];
        let output = b.fmesh(&command);
        assert_eq!(output.status.code(), Some(code));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let claims = report["claims"].as_array().expect("claims").clone();
        let late = claims.into_iter().find(|c| c["id"] == "late-disclosures");
        late.expect("the claim")["verdict"].clone()
    };
    assert_eq!(verify(&late, 0), "proven");
    let trail = b.says(&[
        "audit",
        "trail",
        "DMU 80",
        &bundle,
        "--trust",
        &trust,
        "--disclosed",
        &text(&late),
    ]);
    assert!(trail.to_string().contains("Withheld GmbH"), "{trail:#}");

    // Another value under the same signature, and a value of another record.
    let good = std::fs::read_to_string(&late).expect("a record");
    let (core, disclosure) = good
        .trim_end_matches('~')
        .rsplit_once('~')
        .expect("two parts");
    let said = BASE64URL.decode(disclosure).expect("base64url");
    let lie = String::from_utf8(said)
        .expect("JSON")
        .replace("Withheld", "Honest");
    let forged = b.path("forged.sdjwt");
    std::fs::write(&forged, format!("{core}~{}~", BASE64URL.encode(lie))).expect("a file");
    assert_eq!(verify(&forged, 10), "refuted");
    a.says(&[
        "resource", "set", "OTHER", "--name", "Other", "--level", "WorkCell",
    ]);
    let other = until("it is signed", || {
        let list = a.says(&["record", "list", "--kind", "resource", "--object", "OTHER"]);
        list["items"][0]["seq"].as_u64()
    });
    let files = answer(&open(a, &other.to_string(), "level", "other"));
    let other: PathBuf = files["files"][0].as_str().expect("the record").into();
    assert_eq!(verify(&other, 11), "not_proven");

    // Nobody hands out what it does not have, or what no record has.
    let of_a = format!("{}/{seq}", a.id());
    assert_eq!(open(b, &of_a, "nameplate", "x").status.code(), Some(6));
    assert_ne!(open(a, &leaf, "colour", "x").status.code(), Some(0));
}

/// A real bundle, from a running node, checked by a verifier that was written from `proto/FORMAT.md` alone.
#[test]
fn a_bundle_is_verified_from_the_written_format_alone() {
    let Some(python) = needs(Python::with_tools()) else {
        return;
    };
    let site = Site::start("Alu Ost");
    site.says(&["invite", "--auto-approve"]);
    for revision in ["DMU 80", "DMU 80 P", "DMU 80 eVo"] {
        site.says(&[
            "resource", "set", "DMU-80", "--name", revision, "--level", "WorkCell",
        ]);
        site.says(&[
            "circle",
            "set",
            "all",
            "--mesh",
            "--kind",
            "resource",
            "--slots",
            "name,level",
        ]);
    }
    until("three revisions are signed", || {
        let list = site.says(&["record", "list", "--kind", "resource"]);
        (list["items"].as_array()?.len() == 3).then_some(())
    });
    let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
    let (dir, tar, again) = (
        text(site.path("bundle")),
        text(site.path("bundle.tar")),
        text(site.path("again.tar")),
    );
    for out in [&dir, &tar, &again] {
        site.says(&["audit", "export", "--out", out]);
    }
    let bytes = |path: &str| std::fs::read(path).expect("written");
    assert_eq!(
        bytes(&tar),
        bytes(&again),
        "the same log gives the same bytes"
    );
    assert_eq!(
        site.fmesh(&["audit", "export", "--out", &tar])
            .status
            .code(),
        Some(6),
        "nothing is overwritten"
    );

    // The same claims from the Python of the written format and from the program, of directory and archive.
    let found = python.lines("bundle.py", &[dir.clone().into(), site.id().into()]);
    let trust = text(site.path("trust"));
    std::fs::write(
        &trust,
        format!("# by telephone\nsite {} Alu Ost\n", site.id()),
    )
    .expect("a file");
    for bundle in [&dir, &tar] {
        let report = site.says(&["audit", "verify", bundle, "--trust", &trust]);
        assert_eq!(report["verdict"], "proven", "{report:#}");
        let log = &report["logs"][0];
        assert_eq!(log["size"], found[0][0]["size"]);
        assert_eq!(log["root"], found[0][0]["root"]);
        assert_eq!(log["objects"], found[0][0]["objects"]);
        assert_eq!(log["unaccounted"], 0);
    }
    let stranger = python.fails("bundle.py", &[dir.clone().into(), "ab".repeat(32).into()]);
    assert!(stranger.contains("is not trusted"), "{stranger}");

    // A bit in each field of each file.
    let flips = python.lines(
        "bundle.py",
        &["--flips".into(), dir.clone().into(), site.id().into()],
    );
    assert_eq!(flips[0]["passed"], json!([]), "flips that nobody noticed");
    assert!(flips[0]["tried"].as_u64() > Some(500), "{flips:?}");

    // Report and time line of the same bundle.
    let page = text(site.path("report.html"));
    site.fmesh(&["audit", "report", &tar, "--trust", &trust, "--html", &page]);
    let html = std::fs::read_to_string(&page).expect("the page");
    for there in [
        "Audit report: proven",
        "by telephone",
        "DMU 80 eVo",
        "sha256sum --check",
    ] {
        assert!(html.contains(there), "{there}");
    }
    assert!(
        !html.contains("http://") && !html.contains("<script"),
        "nothing from elsewhere"
    );
    let trail = site.says(&["audit", "trail", "DMU 80 eVo", &tar, "--trust", &trust]);
    let revisions = trail["changes"].as_array().expect("a list");
    assert_eq!(revisions.len(), 3);
    let changed = &revisions[2]["changes"][0];
    assert_eq!(changed["old"]["value"], "DMU 80 P");
    assert_eq!(changed["new"]["value"], "DMU 80 eVo");

    // Withheld by selection: said with a reason, and still whole.
    let part = text(site.path("part"));
    site.says(&["audit", "export", "--out", &part, "--kind", "membership"]);
    let report = site.says(&["audit", "verify", &part, "--trust", &trust]);
    assert_eq!(report["verdict"], "proven");
    assert_eq!(report["logs"][0]["withheld"][0], json!(["not-selected", 3]));
    python.lines("bundle.py", &[part.into(), site.id().into()]);

    // Hostile archives are refused unread: a link, a name with .., a cut.
    std::os::unix::fs::symlink("/etc/passwd", format!("{dir}/link")).expect("links");
    let cut = &bytes(&tar)[..4_096];
    std::fs::write(&again, cut).expect("a file");
    for bundle in [&dir, &again] {
        let refused = site.fmesh(&["audit", "verify", bundle, "--trust", &trust]);
        assert_eq!(refused.status.code(), Some(10), "{bundle}");
    }
    python.fails("bundle.py", &[dir.into(), site.id().into()]);
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
