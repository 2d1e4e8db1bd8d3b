use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde_json::{Value, json};

use super::*;
use crate::{
    id::{CircleId, Digest, MeshId, ObjectId, SiteId, to_hex},
    keys::{KeyHistory, OperatingKeys, RootKey, SigningKey, sign_manifest},
    kinds::Kind,
    log::{Frontier, leaf_hash, prove_inclusion},
    note::{Checkpoint, Cosignature, ProofFile, SignatureType, VerifierKey},
    record::{Claims, Fields, Issued, View},
};

const CIRCLE: CircleId = CircleId([7; 16]);
const MESH: MeshId = MeshId([3; 32]);
const SENTENCE: &str =
    "This cannot show: that sensor values were true, or that every promise was recorded.";

/// A site with a log, as an auditor's tests need one.
struct Plant {
    root: RootKey,
    keys: OperatingKeys,
    manifest: View,
    cores: Vec<String>,
}

impl Plant {
    fn new(seed: u8) -> Self {
        let (root, keys) = (
            RootKey::from_bytes(&[seed; 32]),
            OperatingKeys::from_seed(&[seed; 32]),
        );
        let manifest = sign_manifest(&root, &keys.public(), 1_790_000_000, &mut rng());
        Self {
            root,
            keys,
            cores: vec![manifest.core().to_owned()],
            manifest,
        }
    }

    fn site(&self) -> SiteId {
        self.root.site()
    }

    fn origin(&self) -> String {
        Checkpoint::origin_of(&MESH, &self.site())
    }

    /// What the next capacity record would claim.
    fn claims(&self) -> Claims {
        Claims {
            mesh: Some(MESH),
            iss: self.site(),
            log: 1,
            seq: self.cores.len() as u64,
            kind: Kind::Capacity,
            id: ObjectId::from_random([9; 16]),
            rev: 1,
            prev: None,
            iat: 1_800_000_000,
            retired: false,
        }
    }

    fn capacity(&self, key: &SigningKey) -> Issued {
        let feeds = [(CIRCLE, self.cores.len() as u64)];
        Issued::sign(self.claims(), &fields(), &feeds, key, &mut rng()).expect("it keeps the rules")
    }

    fn publish(&mut self) -> Issued {
        let issued = self.capacity(self.keys.record());
        self.cores.push(issued.core().to_owned());
        issued
    }

    fn proof(&self, index: u64) -> ProofFile {
        let (mut frontier, mut nodes) = (Frontier::new(), std::collections::BTreeMap::new());
        for core in &self.cores {
            frontier.append(leaf_hash(core.as_bytes()), &mut |level, index, hash| {
                nodes.insert((level, index), hash);
            });
        }
        let size = frontier.size();
        let path = prove_inclusion(&nodes, index, size).expect("all nodes are there");
        let checkpoint = Checkpoint::sign(&self.origin(), size, frontier.root(), self.keys.log());
        ProofFile {
            index,
            path,
            checkpoint,
        }
    }

    fn evidence(&self, record: &View, index: u64) -> Evidence {
        Evidence {
            record: record.encode().into_bytes(),
            proof: Some(self.proof(index).encode().into_bytes()),
            manifest: Some(self.manifest.encode().into_bytes()),
            ..Evidence::default()
        }
    }

    fn anchors(&self) -> TrustAnchors {
        anchors(&format!(
            "site {} Plant A\nmesh {}\n",
            self.site().hex(),
            MESH.hex()
        ))
    }
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([5; 32])
}

fn anchors(text: &str) -> TrustAnchors {
    TrustAnchors::parse(text.as_bytes()).expect("good anchors")
}

fn fields() -> Fields {
    let fields = json!({
        "name": "5-axis", "process": "separating/milling/5-axis", "unit": "HUR", "bucket": "P7D",
        "start": "2026-11-30", "total": ["80", "80"], "committed": ["60", "40.5"],
        "available": ["20", "39.5"], "unattainable": ["0", "0"],
    });
    serde_json::from_value(fields).expect("an object")
}

fn shown(slots: &[&str]) -> std::collections::BTreeSet<String> {
    slots.iter().map(|slot| (*slot).to_owned()).collect()
}

/// A plant with three records; the middle one as its circle sees it, with proof and manifest.
fn example() -> (Plant, Evidence) {
    let mut plant = Plant::new(1);
    plant.publish();
    let issued = plant.publish();
    plant.publish();
    let slots = [
        "name",
        "process",
        "unit",
        "bucket",
        "start",
        "available",
        "maximum",
    ];
    let view = issued.view(&CIRCLE, &shown(&slots)).expect("it goes there");
    let evidence = plant.evidence(&view, 2);
    (plant, evidence)
}

fn verdict(report: &Report, id: &str) -> Verdict {
    report
        .claim(id)
        .unwrap_or_else(|| panic!("no claim {id}"))
        .verdict
}

/// The claims with another verdict than proven.
fn open(report: &Report) -> Vec<(&'static str, Verdict)> {
    let open = report
        .claims
        .iter()
        .filter(|claim| claim.verdict != Verdict::Proven);
    open.map(|claim| (claim.id, claim.verdict)).collect()
}

/// Reads proof and changes its checkpoint.
fn with_checkpoint(evidence: &Evidence, change: impl Fn(&Checkpoint) -> Checkpoint) -> Evidence {
    let mut proof = ProofFile::decode(evidence.proof.as_ref().unwrap()).unwrap();
    proof.checkpoint = change(&proof.checkpoint);
    Evidence {
        proof: Some(proof.encode().into_bytes()),
        ..evidence.clone()
    }
}

#[test]
fn a_complete_record_is_proven_and_the_report_says_what_it_cannot_show() {
    let (plant, evidence) = example();
    let report = verify_record(&evidence, &plant.anchors());
    assert_eq!(
        open(&report),
        [("witnesses", Verdict::NotProven)],
        "{report}"
    );
    assert_eq!(report.verdict, Verdict::Proven);
    let record = report.record.as_ref().expect("readable");
    assert_eq!(
        (record.seq, record.site_name.as_deref()),
        (2, Some("Plant A"))
    );
    let slots = record.slots.as_ref().expect("verified");
    assert_eq!(
        slots.shown,
        ["available", "bucket", "name", "process", "start", "unit"]
    );
    assert_eq!(slots.unknown, ["maximum"]);
    assert_eq!(
        slots.withheld,
        ["committed", "reason", "resources", "total", "unattainable"]
    );
    assert!(
        report
            .claim("rules")
            .unwrap()
            .text
            .contains("total, committed, unattainable withheld")
    );

    let text = report.to_string();
    assert!(
        text.contains("\nproven      the record is leaf 2 of the log with 4 leaves"),
        "{text}"
    );
    assert!(text.contains("\nnot proven  no cosignature"), "{text}");
    assert!(text.contains("\nOverall: proven.\n"), "{text}");
    assert_eq!(text.lines().last(), Some(SENTENCE));

    let json: Value = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"], "proven");
    assert_eq!(json["claims"][9]["verdict"], "not_proven");
    assert_eq!(json["record"]["site"], plant.site().hex());
    assert_eq!(json["limits"].as_array().unwrap().last().unwrap(), SENTENCE);
}

#[test]
fn opened_in_full_the_columns_are_added_up() {
    let mut plant = Plant::new(1);
    let issued = plant.publish();
    let report = verify_record(&plant.evidence(&issued.full_view(), 1), &plant.anchors());
    assert_eq!(report.verdict, Verdict::Proven);
    assert_eq!(
        report.claim("rules").unwrap().text,
        "what is shown keeps the rules of kind capacity"
    );
    assert_eq!(
        report.record.unwrap().slots.unwrap().withheld,
        Vec::<String>::new()
    );
}

#[test]
fn a_key_manifest_is_evidence_of_itself() {
    let (plant, _) = example();
    let evidence = Evidence {
        manifest: None,
        ..plant.evidence(&plant.manifest, 0)
    };
    let report = verify_record(&evidence, &plant.anchors());
    assert_eq!(report.verdict, Verdict::Proven, "{report}");
    assert_eq!(verdict(&report, "trusted-mesh"), Verdict::Proven);
    // Its mesh is only in the log's name.
    let report = verify_record(
        &Evidence {
            proof: None,
            ..evidence
        },
        &plant.anchors(),
    );
    assert_eq!(verdict(&report, "trusted-mesh"), Verdict::NotProven);
    assert_eq!(verdict(&report, "author-signature"), Verdict::Proven);
}

#[test]
fn what_is_missing_is_named() {
    let (plant, full) = example();
    let stranger = anchors(&format!("site {}\n", Plant::new(2).site().hex()));
    let no_manifest = Evidence {
        manifest: None,
        ..full.clone()
    };
    let no_proof = Evidence {
        proof: None,
        ..full.clone()
    };
    let cases = [
        (
            &no_manifest,
            plant.anchors(),
            "key-manifest",
            "key manifest",
        ),
        (
            &no_manifest,
            plant.anchors(),
            "author-signature",
            "key manifest",
        ),
        (&no_manifest, plant.anchors(), "rules", "author's signature"),
        (
            &no_manifest,
            plant.anchors(),
            "checkpoint-signature",
            "key manifest",
        ),
        (&no_proof, plant.anchors(), "inclusion", ".tlog-proof"),
        (
            &no_proof,
            plant.anchors(),
            "checkpoint-signature",
            ".tlog-proof",
        ),
        (
            &full,
            stranger,
            "trusted-author",
            "trust anchors, if you trust it: site ",
        ),
    ];
    for (evidence, anchors, id, missing) in cases {
        let report = verify_record(evidence, &anchors);
        assert_eq!(report.verdict, Verdict::NotProven, "{id}");
        let claim = report.claim(id).unwrap();
        assert_eq!(claim.verdict, Verdict::NotProven);
        assert!(
            claim.missing.as_ref().unwrap().contains(missing),
            "{claim:?}"
        );
        assert!(
            report
                .to_string()
                .contains(&format!("; missing: {}", claim.missing.as_ref().unwrap()))
        );
    }
}

#[test]
fn the_mesh_counts_if_the_auditor_names_one() {
    let (plant, evidence) = example();
    let site = plant.site().hex();
    let none = verify_record(&evidence, &anchors(&format!("site {site}")));
    assert_eq!(
        (none.verdict, verdict(&none, "trusted-mesh")),
        (Verdict::Proven, Verdict::NotProven)
    );
    let other = anchors(&format!("site {site}\nmesh {}", MeshId([4; 32]).hex()));
    let other = verify_record(&evidence, &other);
    assert_eq!(open(&other)[0], ("trusted-mesh", Verdict::Refuted));
    assert_eq!(other.verdict, Verdict::Refuted);
}

#[test]
fn no_file_with_one_changed_byte_proves_anything() {
    let (plant, good) = example();
    let anchors = plant.anchors();
    type Part = fn(&mut Evidence) -> &mut Vec<u8>;
    let parts: [(&str, Part); 3] = [
        ("record", |evidence| &mut evidence.record),
        ("proof", |evidence| evidence.proof.as_mut().expect("given")),
        ("manifest", |evidence| {
            evidence.manifest.as_mut().expect("given")
        }),
    ];
    for (name, part) in parts {
        let length = part(&mut good.clone()).len();
        for at in 0..length {
            let mut evidence = good.clone();
            part(&mut evidence)[at] ^= 1;
            let report = verify_record(&evidence, &anchors);
            assert_ne!(report.verdict, Verdict::Proven, "byte {at} of {name}");
        }
        for cut in [0, 1, length / 2, length - 1] {
            let mut evidence = good.clone();
            part(&mut evidence).truncate(cut);
            let report = verify_record(&evidence, &anchors);
            assert_eq!(report.verdict, Verdict::Refuted, "{name} cut to {cut}");
        }
        let mut saved_by_hand = good.clone();
        part(&mut saved_by_hand).push(b'\n');
        let accepted = verify_record(&saved_by_hand, &anchors).verdict == Verdict::Proven;
        assert_eq!(accepted, name != "proof", "a newline after {name}");
    }
}

#[test]
fn each_refutation_stands_at_its_claim() {
    let (plant, good) = example();
    let record = String::from_utf8(good.record.clone()).unwrap();
    let forged = {
        let (signed, _) = record.split_once('~').unwrap();
        let (text, _) = signed.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.encode([1; 64]);
        record.replace(signed, &format!("{text}.{signature}"))
    };
    let foreign_value = format!(
        "{record}{}~",
        URL_SAFE_NO_PAD.encode(r#"["AAAAAAAAAAAAAAAAAAAAAA","99"]"#)
    );
    let other_plant = Plant::new(2);
    let never_logged = plant.capacity(plant.keys.record()).full_view();
    let with_record = |record: String| Evidence {
        record: record.into_bytes(),
        ..good.clone()
    };
    let by_other_key = with_checkpoint(&good, |old| {
        Checkpoint::sign(old.origin(), old.size(), old.root(), other_plant.keys.log())
    });
    let other_log = with_checkpoint(&good, |old| {
        Checkpoint::sign(
            &other_plant.origin(),
            old.size(),
            old.root(),
            plant.keys.log(),
        )
    });
    let other_root = with_checkpoint(&good, |old| {
        Checkpoint::sign(
            old.origin(),
            old.size(),
            leaf_hash(b"other"),
            plant.keys.log(),
        )
    });
    let proof_of_other_leaf = plant.proof(1).encode().into_bytes();
    let manifest_of_other = other_plant.manifest.encode().into_bytes();
    let cases = [
        ("record-form", with_record("nonsense".into())),
        ("author-signature", with_record(forged)),
        ("disclosures", with_record(foreign_value)),
        ("checkpoint-signature", by_other_key),
        ("checkpoint-signature", other_log),
        ("inclusion", other_root),
        (
            "inclusion",
            Evidence {
                proof: Some(proof_of_other_leaf),
                ..good.clone()
            },
        ),
        (
            "inclusion",
            Evidence {
                proof: Some(b"nonsense".to_vec()),
                ..good.clone()
            },
        ),
        (
            "inclusion",
            Evidence {
                record: never_logged.encode().into_bytes(),
                ..good.clone()
            },
        ),
        (
            "key-manifest",
            Evidence {
                manifest: Some(manifest_of_other),
                ..good.clone()
            },
        ),
        (
            "key-manifest",
            Evidence {
                manifest: Some(good.record.clone()),
                ..good.clone()
            },
        ),
        (
            "key-manifest",
            Evidence {
                rotations: vec![good.record.clone()],
                ..good.clone()
            },
        ),
    ];
    for (id, evidence) in cases {
        let report = verify_record(&evidence, &plant.anchors());
        assert_eq!(report.verdict, Verdict::Refuted, "{id}");
        assert_eq!(verdict(&report, id), Verdict::Refuted, "{report}");
    }
}

#[test]
fn a_refused_disclosure_does_not_hide_what_the_core_proves() {
    let (plant, good) = example();
    let mut record = good.record.clone();
    record.extend_from_slice(b"AAAA~");
    let report = verify_record(&Evidence { record, ..good }, &plant.anchors());
    let expected = [
        ("disclosures", Verdict::Refuted),
        ("rules", Verdict::NotProven),
        ("witnesses", Verdict::NotProven),
    ];
    assert_eq!(open(&report), expected);
    assert_eq!(report.record.unwrap().slots, None);
}

#[test]
fn signed_columns_that_do_not_add_up_are_refuted_by_the_kinds_rules() {
    let mut plant = Plant::new(1);
    let full = plant.capacity(plant.keys.record()).full_view();
    // A lying author signs another total by hand, since `Issued::sign` would refuse it.
    let text_of = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let total = full
        .disclosures()
        .find(|d| text_of(d.as_str()).contains(r#"["80","80"]"#))
        .unwrap();
    let lie = URL_SAFE_NO_PAD.encode(text_of(total.as_str()).replace("80", "90"));
    let digest = URL_SAFE_NO_PAD.encode(Digest::of(lie.as_bytes()).0);
    let parts: Vec<&str> = full.core().split('.').collect();
    let payload = URL_SAFE_NO_PAD.encode(text_of(parts[1]).replace(&total.digest(), &digest));
    let signed = format!("{}.{payload}", parts[0]);
    let signature = URL_SAFE_NO_PAD.encode(plant.keys.record().sign(signed.as_bytes()));
    let core = format!("{signed}.{signature}");
    let view = full
        .encode()
        .replace(full.core(), &core)
        .replace(total.as_str(), &lie);
    plant.cores.push(core);

    let view = View::decode(view.as_bytes()).unwrap();
    let report = verify_record(&plant.evidence(&view, 1), &plant.anchors());
    assert_eq!(
        open(&report),
        [
            ("rules", Verdict::Refuted),
            ("witnesses", Verdict::NotProven)
        ]
    );
    assert!(
        report.claim("rules").unwrap().text.contains("2026-W49"),
        "{report}"
    );
    assert_eq!(report.verdict, Verdict::Refuted);
}

#[test]
fn a_rotated_key_counts_with_the_keys_record_that_lists_it() {
    let mut plant = Plant::new(1);
    let new_key = SigningKey::from_bytes(&[42; 32]);
    let (_, manifest) = KeyHistory::from_manifest(&plant.manifest).unwrap();
    let mut keys: Fields = (manifest.fields().iter())
        .map(|(name, value)| (name.clone(), value.clone().expect("keys are plain")))
        .collect();
    keys.insert("record".into(), to_hex(new_key.public().as_bytes()).into());
    let of_manifest = manifest.claims().clone();
    let claims = Claims {
        seq: 1,
        rev: 2,
        prev: Some(Digest::of(plant.manifest.core().as_bytes())),
        ..of_manifest
    };
    let rotation = Issued::sign(
        claims,
        &keys,
        &[(CircleId::MESH_WIDE, 2)],
        plant.root.key(),
        &mut rng(),
    );
    let rotation = rotation.unwrap().full_view();
    plant.cores.push(rotation.core().to_owned());
    let issued = plant.capacity(&new_key);
    plant.cores.push(issued.core().to_owned());

    let without = plant.evidence(&issued.full_view(), 2);
    let report = verify_record(&without, &plant.anchors());
    assert_eq!(report.verdict, Verdict::NotProven);
    let claim = report.claim("author-signature").unwrap();
    assert!(
        claim
            .missing
            .as_ref()
            .unwrap()
            .contains("keys record that lists this key"),
        "{claim:?}"
    );

    let with = Evidence {
        rotations: vec![rotation.encode().into_bytes()],
        ..without
    };
    let report = verify_record(&with, &plant.anchors());
    assert_eq!(report.verdict, Verdict::Proven, "{report}");

    // The old key no longer counts, however valid its signature.
    let old = plant.capacity(plant.keys.record());
    plant.cores.push(old.core().to_owned());
    let stale = Evidence {
        rotations: with.rotations,
        ..plant.evidence(&old.full_view(), 3)
    };
    assert_eq!(
        verify_record(&stale, &plant.anchors()).verdict,
        Verdict::NotProven
    );
}

#[test]
fn only_a_keys_record_stands_at_leaf_0() {
    let mut plant = Plant::new(1);
    plant.cores.clear();
    for key in [plant.root.key(), plant.keys.record()] {
        let usurper = plant.capacity_at_0(key).full_view();
        let report = verify_record(&plant.evidence_of_single(&usurper), &plant.anchors());
        assert_eq!(
            verdict(&report, "author-signature"),
            Verdict::Refuted,
            "{report}"
        );
    }
}

impl Plant {
    fn capacity_at_0(&self, key: &SigningKey) -> Issued {
        Issued::sign(self.claims(), &fields(), &[(CIRCLE, 1)], key, &mut rng()).unwrap()
    }

    fn evidence_of_single(&self, record: &View) -> Evidence {
        let root = leaf_hash(record.core().as_bytes());
        let checkpoint = Checkpoint::sign(&self.origin(), 1, root, self.keys.log());
        let proof = ProofFile {
            index: 0,
            path: vec![],
            checkpoint,
        };
        Evidence {
            record: record.encode().into_bytes(),
            proof: Some(proof.encode().into_bytes()),
            manifest: Some(self.manifest.encode().into_bytes()),
            ..Evidence::default()
        }
    }
}

#[test]
fn another_checkpoint_agrees_or_proves_a_fork_or_leaves_it_open() {
    let (mut plant, good) = example();
    let log_key = SigningKey::from_bytes(&[77; 32]);
    let same = plant.proof(2).checkpoint;
    let fork = Checkpoint::sign(&plant.origin(), 4, leaf_hash(b"other"), plant.keys.log());
    let forged = Checkpoint::sign(&plant.origin(), 4, leaf_hash(b"other"), &log_key);
    let foreign = Plant::new(2).proof(0).checkpoint;
    plant.publish();
    let larger = plant.proof(2).checkpoint;
    let cases = [
        (same.note().to_vec(), Verdict::Proven, Verdict::Proven),
        (fork.note().to_vec(), Verdict::Refuted, Verdict::Refuted),
        (forged.note().to_vec(), Verdict::Refuted, Verdict::Refuted),
        (foreign.note().to_vec(), Verdict::Refuted, Verdict::Refuted),
        (b"nonsense".to_vec(), Verdict::Refuted, Verdict::Refuted),
        (larger.note().to_vec(), Verdict::NotProven, Verdict::Proven),
    ];
    for (note, claim, overall) in cases {
        let evidence = Evidence {
            checkpoint: Some(note),
            ..good.clone()
        };
        let report = verify_record(&evidence, &plant.anchors());
        assert_eq!(
            (verdict(&report, "other-checkpoint"), report.verdict),
            (claim, overall),
            "{report}"
        );
    }
    let evidence = Evidence {
        checkpoint: Some(larger.note().to_vec()),
        ..good.clone()
    };
    let report = verify_record(&evidence, &plant.anchors());
    let missing = report.claim("other-checkpoint").unwrap().missing.clone();
    assert_eq!(
        missing.as_deref(),
        Some("a proof file of this record for the log with 5 leaves")
    );
    assert!(
        verify_record(&good, &plant.anchors())
            .claim("other-checkpoint")
            .is_none()
    );

    // A key manifest names no mesh, so the two checkpoints must name the same one.
    let manifest = plant.evidence(&plant.manifest, 0);
    let origin = Checkpoint::origin_of(&MeshId([4; 32]), &plant.site());
    let elsewhere = Checkpoint::sign(&origin, 5, leaf_hash(b"other"), plant.keys.log());
    let evidence = Evidence {
        checkpoint: Some(elsewhere.note().to_vec()),
        ..manifest
    };
    let report = verify_record(&evidence, &plant.anchors());
    let claim = report.claim("other-checkpoint").unwrap();
    assert!(claim.text.contains("is of another log"), "{claim:?}");
}

#[test]
fn witnesses_count_if_the_auditor_trusts_them_and_they_are_not_the_site_itself() {
    let (plant, good) = example();
    let partner = SigningKey::from_bytes(&[50; 32]);
    let name = Cosignature::name_of(&MESH, &SiteId([50; 32]));
    let vkey = VerifierKey::new(&name, SignatureType::Cosignature, partner.public()).unwrap();
    let own = VerifierKey::new(
        "own",
        SignatureType::Cosignature,
        plant.keys.witness().public(),
    )
    .unwrap();
    let trusting = |witness: &VerifierKey| {
        anchors(&format!("site {}\nwitness {witness}\n", plant.site().hex()))
    };
    let cosign = |checkpoint: &Checkpoint, name: &str, time, key: &SigningKey| {
        checkpoint
            .with_cosignature(&Cosignature::sign(checkpoint, name, time, key).unwrap())
            .unwrap()
    };
    let both = with_checkpoint(&good, |checkpoint| {
        let once = cosign(checkpoint, &name, 1_800_000_100, &partner);
        cosign(&once, "own", 1_800_000_000, plant.keys.witness())
    });

    let report = verify_record(&both, &trusting(&vkey));
    let claim = report.claim("witnesses").unwrap();
    assert_eq!(claim.verdict, Verdict::Proven);
    assert!(
        claim
            .text
            .contains(&format!("{name} at 2027-01-15T08:01:40Z")),
        "{claim:?}"
    );
    assert!(!report.to_string().contains("when the record was made"));

    for (evidence, anchors) in [
        (&both, plant.anchors()),
        (&both, trusting(&own)),
        (&good, trusting(&vkey)),
    ] {
        let report = verify_record(evidence, &anchors);
        assert_eq!(verdict(&report, "witnesses"), Verdict::NotProven);
        assert_eq!(
            report.verdict,
            Verdict::Proven,
            "good to know, not required"
        );
        assert!(report.to_string().contains("when the record was made"));
    }

    // Who asks for two is not content with one.
    let other = VerifierKey::new(
        "other",
        SignatureType::Cosignature,
        plant.root.key().public(),
    );
    let quorum = |k: u32| {
        anchors(&format!(
            "site {}\nwitness {vkey}\nwitness {}\nquorum {k}\n",
            plant.site().hex(),
            other.as_ref().unwrap()
        ))
    };
    for (k, verdict) in [(1, Verdict::Proven), (2, Verdict::NotProven)] {
        let report = verify_record(&both, &quorum(k));
        assert_eq!(report.claim("witnesses").unwrap().verdict, verdict);
        assert_eq!(report.verdict, verdict, "it is required then");
    }

    // The same checkpoint from elsewhere may carry the cosignature.
    let cosigned = ProofFile::decode(both.proof.as_ref().unwrap())
        .unwrap()
        .checkpoint;
    let elsewhere = Evidence {
        checkpoint: Some(cosigned.note().to_vec()),
        ..good.clone()
    };
    assert_eq!(
        verdict(&verify_record(&elsewhere, &trusting(&vkey)), "witnesses"),
        Verdict::Proven
    );

    // A line in a trusted witness's name that it did not sign refutes.
    let lie = Cosignature::sign(&plant.proof(1).checkpoint, &name, 1, &partner).unwrap();
    let stolen = with_checkpoint(&good, |checkpoint| {
        let larger = Checkpoint::sign(checkpoint.origin(), 9, checkpoint.root(), plant.keys.log());
        larger.with_cosignature(&lie).unwrap()
    });
    assert_eq!(
        verdict(&verify_record(&stolen, &trusting(&vkey)), "witnesses"),
        Verdict::Refuted
    );
}

#[test]
fn anchors_are_read_with_comments_and_names() {
    let plant = Plant::new(1);
    let (site, mesh) = (plant.site().hex(), MESH.hex());
    let text =
        format!("# from a call on Monday\r\n\r\nsite {site} Plant A, Linz \n  mesh {mesh}\n");
    let read = anchors(&text);
    assert!(read.trusts(&plant.site()) && !read.trusts(&SiteId([1; 32])));
    assert_eq!(read.name_of(&plant.site()), Some("Plant A, Linz"));
    assert_eq!(read.meshes().iter().collect::<Vec<_>>(), [&MESH]);
    assert_eq!(read.sites().count(), 1);
}

#[test]
fn anchors_are_refused_whole_with_the_line_that_is_wrong() {
    let plant = Plant::new(1);
    let site = format!("site {}", plant.site().hex());
    let log_vkey = crate::note::vkey("log", &plant.keys.log().public());
    let witness = VerifierKey::new(
        "w",
        SignatureType::Cosignature,
        plant.keys.witness().public(),
    )
    .unwrap();
    let renamed = VerifierKey::new(
        "v",
        SignatureType::Cosignature,
        plant.keys.witness().public(),
    )
    .unwrap();
    let cases = [
        (
            2,
            format!("{site}\nsites {}", plant.site().hex()),
            "none of: site, mesh, witness, quorum",
        ),
        (1, site[..60].to_owned(), "64 lower-case hex digits"),
        (1, "site".into(), "64 lower-case hex digits"),
        (
            1,
            site.to_uppercase().replace("SITE", "site"),
            "64 lower-case hex digits",
        ),
        (1, format!("site {}", "00".repeat(32)), "weak"),
        (3, format!("{site} a\n\n{site} b"), "named twice"),
        (
            1,
            format!("{site} {}", "n".repeat(201)),
            "at most 200 characters",
        ),
        (1, format!("{site} a\u{7}b"), "control characters"),
        (
            2,
            format!("{site}\nmesh {} my mesh", MESH.hex()),
            "64 lower-case hex digits",
        ),
        (
            3,
            format!("{site}\nmesh {m}\nmesh {m}", m = MESH.hex()),
            "named twice",
        ),
        (2, format!("{site}\nquorum 0"), "not a number from 1"),
        (2, format!("{site}\nquorum k"), "not a number from 1"),
        (
            3,
            format!("{site}\nquorum 1\nquorum 1\nwitness {witness}"),
            "named twice",
        ),
        (2, format!("{site}\nwitness abc"), "not a witness key"),
        (2, format!("{site}\nwitness {log_vkey}"), "is a log's"),
        (
            3,
            format!("{site}\nwitness {witness}\nwitness {renamed}"),
            "named twice",
        ),
    ];
    for (line, text, why) in cases {
        let refused = TrustAnchors::parse(text.as_bytes()).expect_err(&text);
        assert!(
            matches!(&refused, AnchorError::Line { line: at, what } if *at == line && what.contains(why)),
            "{refused}"
        );
        assert!(
            refused
                .to_string()
                .starts_with(&format!("trust anchors, line {line}: "))
        );
    }
    for text in [
        &b""[..],
        b"# nothing\n",
        format!("{site}\nwitness {witness}\nquorum 2\n").as_bytes(),
        b"\xff",
        &vec![b'\n'; TrustAnchors::BYTES_MAX + 1],
    ] {
        assert!(matches!(
            TrustAnchors::parse(text),
            Err(AnchorError::File(_))
        ));
    }
}

#[test]
fn a_report_cannot_steer_a_terminal() {
    let claim = Claim::not_proven("id", "a\u{1b}[2J\nb", "\u{202e}evil");
    assert_eq!(claim.text, "a\\u{1b}[2J\\u{a}b");
    assert_eq!(claim.missing.as_deref(), Some("\\u{202e}evil"));
    let long = Claim::proven("id", "x".repeat(100_000));
    assert_eq!(long.text.chars().count(), 1_001);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn hostile_files_give_a_report(
        bytes in prop::collection::vec(any::<u8>(), 0..200), which in 0..5_usize, at in any::<prop::sample::Index>(),
        keep in any::<bool>(),
    ) {
        let (plant, mut evidence) = example();
        let mut file = match which {
            0 => evidence.record.clone(),
            1 => evidence.proof.clone().expect("given"),
            2 => evidence.manifest.clone().expect("given"),
            3 => plant.proof(2).checkpoint.note().to_vec(),
            _ => plant.manifest.encode().into_bytes(),
        };
        let from = if keep { at.index(file.len()) } else { 0 };
        let to = if keep { from } else { file.len() };
        let changed = !bytes.is_empty() || !keep;
        file.splice(from..to, bytes.iter().copied());
        match which {
            0 => evidence.record = file,
            1 => evidence.proof = Some(file),
            2 => evidence.manifest = Some(file),
            3 => evidence.checkpoint = Some(file),
            _ => evidence.rotations = vec![file],
        }
        let report = verify_record(&evidence, &plant.anchors());
        let text = report.to_string();
        prop_assert_eq!(text.lines().last(), Some(SENTENCE));
        // A lone newline at the end, and an extra line of a proof, change nothing.
        let harmless = bytes.as_slice() == b"\n" || bytes.starts_with(b"extra ");
        prop_assert!(!changed || harmless || report.verdict != Verdict::Proven, "{}", report);
    }

    #[test]
    fn hostile_anchors_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "(site|mesh|witness|#)? ?\\PC{0,80}\n?") {
        let _ = TrustAnchors::parse(&bytes);
        let _ = TrustAnchors::parse(text.as_bytes());
    }
}
