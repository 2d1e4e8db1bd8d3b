//! One bundle, and what tools of other people say about it, each also with bits flipped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use fmesh_proto::{
    audit::{
        TrustAnchors, Verdict,
        bundle::{Options, Seen},
    },
    id::{MeshId, SiteId},
    keys::SigningKey,
    note::{Cosignature, SignatureType, VerifierKey},
};
use serde_json::{Value, json};

use crate::{
    export::Plant,
    python::{Python, needs, text},
    tools::{Jose, notes, openssl},
};

/// More than two full tiles, so that there is a tile above them.
const LEAVES: u64 = 600;
const OLDER: [u64; 5] = [1, 9, 255, 256, 513];
/// When the two witnesses saw it.
const TIMES: [u64; 2] = [1_800_000_000, 1_800_000_060];

/// A bundle on disk whose newest checkpoint two witnesses cosigned.
struct Bundle {
    plant: Plant,
    dir: tempfile::TempDir,
    /// `logs/<site>` in it.
    log: PathBuf,
    witnesses: Vec<VerifierKey>,
}

impl Bundle {
    fn new() -> Self {
        let (plant, dir) = (Plant::new(1), tempfile::tempdir().expect("a directory"));
        let witnesses = [50_u8, 51].map(|seed| {
            let key = SigningKey::from_bytes(&[seed; 32]);
            let name = Cosignature::name_of(&MeshId([3; 32]), &SiteId([seed; 32]));
            let kind = SignatureType::Cosignature;
            let vkey = VerifierKey::new(&name, kind, key.public()).expect("a name");
            (key, vkey)
        });
        let log = plant.bundle(dir.path(), LEAVES, &OLDER, |checkpoint| {
            let cosign = |checkpoint: fmesh_proto::note::Checkpoint, n: usize| {
                let (key, vkey) = &witnesses[n];
                let line = Cosignature::sign(&checkpoint, vkey.name(), TIMES[n], key);
                let line = line.expect("a good name and time");
                checkpoint.with_cosignature(&line).expect("it fits")
            };
            cosign(cosign(checkpoint, 0), 1)
        });
        let witnesses = witnesses.map(|(_, vkey)| vkey).to_vec();
        Self {
            plant,
            dir,
            log,
            witnesses,
        }
    }

    /// Files of the records with the hex key that must have signed each.
    fn records(&self) -> Vec<(String, PathBuf)> {
        let manifest = self.log.join("keys/0000000000.sdjwt");
        let record_key = self.plant.record(0).fields()["record"].clone();
        let record_key = record_key.expect("plain").as_str().expect("hex").to_owned();
        let records = (1..self.plant.size())
            .map(|leaf| self.log.join(format!("records/{leaf:010}.sdjwt")))
            .map(|path| (record_key.clone(), path));
        std::iter::once((self.plant.site().hex(), manifest))
            .chain(records)
            .collect()
    }

    /// What the records claim, as we read them.
    fn claims(&self) -> Vec<(String, u64)> {
        (0..self.plant.size())
            .map(|leaf| {
                let record = self.plant.record(leaf);
                (record.claims().kind.to_string(), record.claims().seq)
            })
            .collect()
    }
}

fn kind_and_leaf(claims: &Value) -> (String, u64) {
    let kind = claims["kind"].as_str().expect("a kind").to_owned();
    (kind, claims["seq"].as_u64().expect("a leaf"))
}

/// What our own program says about the same files, so that the others speak about a good bundle.
#[test]
fn we_prove_the_bundle_that_others_check() {
    let bundle = Bundle::new();
    let witnesses: Vec<_> = bundle.witnesses.iter().map(ToString::to_string).collect();
    let anchors = format!(
        "site {}\nwitness {}\nwitness {}\nquorum 2\n",
        bundle.plant.site().hex(),
        witnesses[0],
        witnesses[1]
    );
    let anchors = TrustAnchors::parse(anchors.as_bytes()).expect("good anchors");
    let outcome = fmesh::bundle::verify(bundle.dir.path(), &anchors, Options::default(), &|_| {});
    let report = outcome.expect("reads").report;
    assert_eq!(report.verdict, Verdict::Proven, "{report}");
    let log = &report.logs[0];
    assert_eq!((log.size, log.shown), (LEAVES, bundle.plant.size()));
    let seen = Seen {
        size: LEAVES,
        by: TIMES[1],
    };
    assert_eq!(log.seen, [seen]);
}

#[test]
fn jwcrypto_pynacl_and_pymerkle_agree() {
    let Some(python) = needs(Python::with_tools()) else {
        return;
    };
    let bundle = Bundle::new();
    let mut arguments = vec![bundle.log.clone(), bundle.plant.site().hex().into()];
    arguments.extend(bundle.witnesses.iter().map(|key| key.to_string().into()));
    let found = python.lines("others.py", &arguments).remove(0);

    let claims = found["jwcrypto"]["claims"].as_array().expect("a list");
    let claims: Vec<_> = claims.iter().map(kind_and_leaf).collect();
    assert_eq!(claims, bundle.claims());
    assert_eq!(found["nacl"]["times"], json!(TIMES));
    let roots: Vec<_> = (1..=bundle.plant.size())
        .map(|size| bundle.plant.root(size).hex())
        .collect();
    assert_eq!(found["pymerkle"]["roots"], json!(roots));
    for (tool, least) in [("jwcrypto", 4_000), ("pymerkle", 500)] {
        refused_all(tool, &found[tool], least);
    }
    for witness in ["0", "1"] {
        refused_all("PyNaCl", &found["nacl"][witness], 2_000);
    }
}

fn refused_all(tool: &str, found: &Value, least: u64) {
    assert_eq!(found["passed"], json!([]), "{tool}: flips that passed");
    let flips = found["flips"].as_u64().expect("a number");
    assert!(flips >= least, "{tool}: only {flips} flips");
}

#[test]
fn jose_verifies_the_author() {
    let Some(jose) = needs(Jose::new()) else {
        return;
    };
    let bundle = Bundle::new();
    let records = bundle.records();
    let (site, manifest) = &records[0];
    let of_site = jose.verify(site, std::slice::from_ref(manifest));
    let others: Vec<_> = records[1..].iter().map(|(_, path)| path.clone()).collect();
    let of_records = jose.verify(&records[1].0, &others);
    let claims = [&of_site, &of_records]
        .into_iter()
        .flat_map(|found| found["claims"].as_array().expect("a list"));
    let claims: Vec<_> = claims.map(kind_and_leaf).collect();
    assert_eq!(claims, bundle.claims());
    refused_all("jose", &of_site, 600);
    refused_all("jose", &of_records, 4_000);
}

#[test]
fn openssl_verifies_the_author() {
    let scratch = tempfile::tempdir().expect("a directory");
    let ask = |key: &[u8], message: &[u8], signature: &[u8]| {
        openssl(scratch.path(), key, message, signature)
    };
    // A key that signs nothing here: only whether the tool is there.
    if needs(ask(&[1; 32], b"", &[0; 64]).or_else(installed)).is_none() {
        return;
    }
    let bundle = Bundle::new();
    for (key, path) in bundle.records() {
        let key = hex(&key);
        let view = fs::read_to_string(&path).expect("a record");
        let core = view.split('~').next().expect("a core");
        let (signed, signature) = core.rsplit_once('.').expect("three parts");
        let signature = BASE64URL.decode(signature).expect("base64url");
        let holds = |message: &[u8], signature: &[u8]| {
            ask(&key, message, signature).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
        };
        assert!(holds(signed.as_bytes(), &signature), "{}", path.display());
        // A bit in the header, the payload, and each half of the signature.
        let dot = signed.find('.').expect("header and payload");
        for bit in [3, 8 * dot - 7, 8 * dot + 12, 8 * signed.len() - 1] {
            let broken = flipped(signed.as_bytes(), bit);
            assert!(!holds(&broken, &signature), "bit {bit} of what is signed");
        }
        for bit in [0, 255, 256, 500] {
            let broken = flipped(&signature, bit);
            assert!(!holds(signed.as_bytes(), &broken), "bit {bit}");
        }
    }
}

/// openssl refuses a key or signature in its own words; that it answers is enough.
fn installed(why: String) -> Result<bool, String> {
    match why.starts_with("openssl:") {
        true => Ok(false),
        false => Err(why),
    }
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut broken = bytes.to_vec();
    broken[bit / 8] ^= 1 << (bit % 8);
    broken
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex"))
        .collect()
}

#[test]
fn signed_note_and_tlog_tiles_prove_log_inclusion_and_growth() {
    let Some(notes) = needs(notes()) else {
        return;
    };
    let bundle = Bundle::new();
    let ask = |log: &Path, vkey: &str| {
        let output = Command::new(&notes).arg(log).arg(vkey).output();
        output.expect("it starts")
    };
    let output = ask(&bundle.log, &bundle.plant.vkey());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let numbers = |word: &str| -> Vec<u64> {
        let lines = said.lines().filter_map(|line| line.strip_prefix(word));
        let number = |line: &str| line.split(' ').next()?.parse().ok();
        lines.map(|line| number(line).expect("a number")).collect()
    };
    assert_eq!(numbers("checkpoint "), [LEAVES]);
    assert_eq!(numbers("tiles "), [LEAVES]);
    assert_eq!(
        numbers("inclusion "),
        (0..bundle.plant.size()).collect::<Vec<_>>()
    );
    assert_eq!(numbers("consistency "), OLDER);
    assert!(numbers("flips ")[0] > 5_000, "{said}");
    // Another log's key, and a log that does not begin with an older checkpoint.
    let other = Plant::new(2);
    assert!(!ask(&bundle.log, &other.vkey()).status.success());
    let forked = tempfile::tempdir().expect("a directory");
    let forked = Plant::new(1).bundle(forked.path(), 300, &[], |checkpoint| checkpoint);
    fs::copy(
        forked.join("log/checkpoint"),
        bundle.log.join("checkpoints/0000000300"),
    )
    .expect("copies");
    let output = ask(&bundle.log, &bundle.plant.vkey());
    assert!(!output.status.success(), "a fork: {}", text(&output.stdout));
}
