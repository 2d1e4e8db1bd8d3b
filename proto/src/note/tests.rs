use proptest::prelude::*;
use serde_json::Value;

use super::{signed::SignatureLine, *};
use crate::log::leaf_hash;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn origin() -> String {
    Checkpoint::origin_of(&MeshId([1; 32]), &SiteId([2; 32]))
}

fn checkpoint() -> Checkpoint {
    Checkpoint::sign(&origin(), 7, leaf_hash(b"root"), &key(1))
}

fn witness(seed: u8) -> (String, VerifierKey) {
    let name = Cosignature::name_of(&MeshId([1; 32]), &SiteId([seed; 32]));
    let vkey = VerifierKey::new(&name, SignatureType::Cosignature, key(seed).public()).unwrap();
    (name, vkey)
}

fn cosigned(seeds: impl IntoIterator<Item = u8>) -> Checkpoint {
    seeds.into_iter().fold(checkpoint(), |so_far, seed| {
        let line = Cosignature::sign(&so_far, &witness(seed).0, 1_800_000_000, &key(seed)).unwrap();
        so_far.with_cosignature(&line).unwrap()
    })
}

fn proof_file() -> ProofFile {
    ProofFile {
        index: 3,
        path: vec![leaf_hash(b"a"), leaf_hash(b"b")],
        checkpoint: cosigned([9]),
    }
}

#[test]
fn published_notes_verify_and_no_change_of_them_does() {
    let vectors = include_str!("../../testdata/signed-note/notes.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let valid = vectors["valid"].as_array().unwrap();
    assert_eq!(valid.len(), 3);
    for vector in valid {
        let text = vector["vkey"].as_str().unwrap();
        let key = VerifierKey::parse(text).unwrap();
        assert_eq!(key.to_string(), text);
        assert_eq!(vkey(key.name(), key.key()), text);
        let note = vector["note"].as_str().unwrap().as_bytes();
        let read = SignedNote::parse(note).unwrap();
        assert_eq!(read.bytes(), note);
        assert_eq!(read.verify(std::slice::from_ref(&key)), Ok(vec![0]));
        for at in 0..note.len() {
            let mut changed = note.to_vec();
            changed[at] ^= 1;
            let answer =
                SignedNote::parse(&changed).and_then(|n| n.verify(std::slice::from_ref(&key)));
            assert!(answer.is_err(), "byte {at} of {}", vector["origin"]);
        }
    }
    let invalid = vectors["invalid_vkeys"].as_array().unwrap();
    assert_eq!(invalid.len(), 2);
    for vector in invalid {
        assert!(VerifierKey::parse(vector["vkey"].as_str().unwrap()).is_err());
    }
}

#[test]
fn a_checkpoint_is_the_published_form() {
    let checkpoint = checkpoint();
    let text = std::str::from_utf8(checkpoint.note()).unwrap();
    let lines: Vec<&str> = text.split('\n').collect();
    assert_eq!(lines[0], origin());
    assert_eq!(lines[1], "7");
    assert_eq!(from_base64(lines[2]).unwrap(), leaf_hash(b"root").0);
    assert_eq!(lines[3], "");
    assert!(lines[4].starts_with(&format!("\u{2014} {} ", origin())));
    assert_eq!(lines[5..], [""]);
    assert_eq!(
        Checkpoint::parse(checkpoint.note()).as_ref(),
        Ok(&checkpoint)
    );
    assert_eq!(checkpoint.verify(&key(1).public()), Ok(()));
    assert_eq!(
        checkpoint.verify(&key(2).public()),
        Err(NoteError::Signature(origin()))
    );
}

#[test]
fn forms_that_are_refused() {
    let good = String::from_utf8(checkpoint().note().to_vec()).unwrap();
    let (body, line) = good.split_once("\n\n").unwrap();
    let lines: Vec<&str> = body.split('\n').collect();
    let (name, root) = (lines[0], lines[2]);
    let with_body = |body: &str| format!("{body}\n\n{line}");
    let other_line = signature_line(name, &[0; 4], &[0; 64]);
    let cases = [
        ("empty", String::new()),
        ("no signatures", format!("{body}\n\n")),
        ("no blank line", format!("{body}\n{line}")),
        ("cut short", good.trim_end().to_owned()),
        ("carriage return", good.replace('\n', "\r\n")),
        (
            "delete character",
            with_body(&format!("{name}\u{7f}\n7\n{root}")),
        ),
        ("empty origin", with_body(&format!("\n7\n{root}"))),
        ("origin with a space", with_body(&format!("a b\n7\n{root}"))),
        (
            "origin of a cosignature",
            with_body(&format!("cosignature/v1\n7\n{root}")),
        ),
        ("leading zero", with_body(&format!("{name}\n07\n{root}"))),
        ("sign", with_body(&format!("{name}\n+7\n{root}"))),
        ("no size", with_body(&format!("{name}\n\n{root}"))),
        (
            "size 2^63",
            with_body(&format!("{name}\n9223372036854775808\n{root}")),
        ),
        (
            "size beyond u64",
            with_body(&format!("{name}\n99999999999999999999\n{root}")),
        ),
        (
            "size 0 with a root",
            with_body(&format!("{name}\n0\n{root}")),
        ),
        ("short root", with_body(&format!("{name}\n7\nAAAA"))),
        (
            "extension line",
            with_body(&format!("{name}\n7\n{root}\nmore")),
        ),
        (
            "empty extension line",
            with_body(&format!("{name}\n7\n{root}\n")),
        ),
        (
            "unpadded root",
            with_body(&format!("{name}\n7\n{}", root.trim_end_matches('='))),
        ),
        ("same key twice", format!("{good}{line}")),
        ("hyphen for the dash", good.replace('\u{2014}', "-")),
        ("two spaces", good.replace("\u{2014} ", "\u{2014}  ")),
        ("blank after signature", good.replace("=\n", "= \n")),
        (
            "key name with plus",
            format!("{good}{}", other_line.replace(name, "a+b")),
        ),
        (
            "key name with a space",
            format!("{good}{}", other_line.replace(name, "a\u{a0}b")),
        ),
        (
            "signature without bytes",
            format!("{good}{}", signature_line("a", &[0; 4], &[])),
        ),
        ("text after signatures", format!("{good}more\n")),
        (
            "too long",
            format!("{good}{}", signature_line("a", &[0; 4], &[0; 8192])),
        ),
    ];
    for (what, note) in cases {
        let answer = Checkpoint::parse(note.as_bytes());
        assert!(
            matches!(answer, Err(NoteError::Malformed(_))),
            "{what}: {answer:?}"
        );
    }
    assert!(Checkpoint::parse(b"\xff\n\n").is_err());
    // One form that is kept: a line of an unknown key of the same name.
    let unknown = Checkpoint::parse(format!("{good}{other_line}").as_bytes()).unwrap();
    assert_eq!(unknown.verify(&key(1).public()), Ok(()));
}

#[test]
fn base64_has_one_spelling() {
    let good = String::from_utf8(checkpoint().note().to_vec()).unwrap();
    let root = good.split('\n').nth(2).unwrap();
    // 32 bytes leave two bits unused in the last digit: setting them is another spelling.
    let last = root.as_bytes()[42];
    for other in (b'A'..=b'Z').filter(|other| *other != last) {
        let spelled = format!("{}{}=", &root[..42], other as char);
        let answer = Checkpoint::parse(good.replace(root, &spelled).as_bytes());
        assert!(answer.is_err() || answer.unwrap().root() != leaf_hash(b"root"));
    }
    assert!(from_base64("AB==").is_none());
    assert!(from_base64("AA==").is_some());
}

#[test]
fn a_known_key_that_fails_refuses_the_note_however_many_others_signed() {
    let good = checkpoint();
    let name = origin();
    let second = VerifierKey::new("second", SignatureType::Ed25519, key(5).public()).unwrap();
    let first = VerifierKey::new(&name, SignatureType::Ed25519, key(1).public()).unwrap();
    let forged = signature_line("second", &second.id(), &[7; 64]);
    let note = [good.note(), forged.as_bytes()].concat();
    let note = SignedNote::parse(&note).unwrap();
    assert_eq!(note.verify(std::slice::from_ref(&first)), Ok(vec![0]));
    let refused = Err(NoteError::Signature("second".into()));
    assert_eq!(note.verify(&[first.clone(), second.clone()]), refused);
    assert_eq!(note.verify(&[]), Err(NoteError::Signature(String::new())));

    let real = signature_line("second", &second.id(), &key(5).sign(good.body().as_bytes()));
    let note = SignedNote::parse(&[good.note(), real.as_bytes()].concat()).unwrap();
    assert_eq!(note.verify(&[second, first]), Ok(vec![0, 1]));
}

#[test]
fn cosignatures_are_added_below_and_every_byte_above_stays() {
    let plain = checkpoint();
    let three = cosigned([3, 4, 5]);
    assert!(three.note().starts_with(plain.note()));
    assert_eq!(three.body(), plain.body());
    assert_eq!(three.verify(&key(1).public()), Ok(()));
    for seed in [3, 4, 5] {
        let vkey = witness(seed).1;
        let found = three.cosignature_of(&vkey).unwrap().expect("it cosigned");
        assert_eq!((found.time(), found.name()), (1_800_000_000, vkey.name()));
        assert_eq!(found.verify(&plain, &vkey), Ok(()));
        assert_eq!(Cosignature::parse(&found.line()).as_ref(), Ok(&found));
        assert_eq!(VerifierKey::parse(&vkey.to_string()).as_ref(), Ok(&vkey));
        assert!(
            three.with_cosignature(&found).is_err(),
            "the same line twice"
        );
    }
    assert_eq!(three.cosignature_of(&witness(6).1), Ok(None));
    let sixteen = cosigned(2..17);
    let one_more = Cosignature::sign(&sixteen, "w", 1, &key(99)).unwrap();
    assert!(matches!(
        sixteen.with_cosignature(&one_more),
        Err(NoteError::Malformed(_))
    ));
}

#[test]
fn a_cosignature_counts_for_its_checkpoint_key_name_and_time_only() {
    let (name, vkey) = witness(3);
    let checkpoint = checkpoint();
    let real = Cosignature::sign(&checkpoint, &name, 1_800_000_000, &key(3)).unwrap();
    let other_checkpoint = Checkpoint::sign(&origin(), 8, leaf_hash(b"root"), &key(1));
    assert!(real.verify(&other_checkpoint, &vkey).is_err());
    assert!(real.verify(&checkpoint, &witness(4).1).is_err());
    // A log key of the same name is a different key.
    let log_like = VerifierKey::new(&name, SignatureType::Ed25519, key(3).public()).unwrap();
    assert!(real.verify(&checkpoint, &log_like).is_err());
    assert_eq!(cosigned([3]).cosignature_of(&log_like), Ok(None));
    // One bit anywhere behind the name: the key id no longer fits, or the signature fails.
    let mut blob = [&vkey.id()[..], &real.time().to_be_bytes(), &[0; 64]].concat();
    let parsed = SignatureLine::parse(real.line().trim_end()).unwrap();
    blob[4..].copy_from_slice(&parsed.blob);
    for bit in 0..blob.len() * 8 {
        let mut changed = blob.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let line = format!("\u{2014} {name} {}\n", to_base64(&changed));
        let answer = Cosignature::parse(&line).and_then(|c| c.verify(&checkpoint, &vkey));
        assert!(answer.is_err(), "bit {bit}");
        let note = [checkpoint.note(), line.as_bytes()].concat();
        let found = Checkpoint::parse(&note).unwrap().cosignature_of(&vkey);
        assert!(
            if bit < 32 {
                found == Ok(None)
            } else {
                found.is_err()
            },
            "bit {bit}"
        );
    }
    assert!(Cosignature::sign(&checkpoint, "two words", 1, &key(3)).is_err());
    assert!(Cosignature::sign(&checkpoint, &name, 1 << 63, &key(3)).is_err());
}

#[test]
fn the_cosigned_message_is_the_published_one() {
    let (name, vkey) = witness(3);
    let checkpoint = checkpoint();
    let line = Cosignature::sign(&checkpoint, &name, 42, &key(3))
        .unwrap()
        .line();
    let blob = from_base64(line.trim_end().rsplit(' ').next().unwrap()).unwrap();
    assert_eq!(blob.len(), 76);
    assert_eq!(blob[..4], vkey.id());
    assert_eq!(blob[4..12], [0, 0, 0, 0, 0, 0, 0, 42]);
    let message = format!("cosignature/v1\ntime 42\n{}", checkpoint.body());
    let signature: [u8; 64] = blob[12..].try_into().unwrap();
    assert!(
        key(3)
            .public()
            .verify(message.as_bytes(), &signature)
            .is_ok()
    );
}

#[test]
fn verifier_keys_that_are_refused() {
    let good = vkey("name", &key(1).public());
    assert!(VerifierKey::parse(&good).is_ok());
    // A key of small order with the right hash.
    let weak = [&[1_u8][..], &[0; 32]].concat();
    let hash = &Digest::of(&[b"name\n", &weak[..]].concat()).hex()[..8];
    let weak = format!("name+{hash}+{}", to_base64(&weak));
    for bad in [
        "",
        "name",
        "name+00000000",
        &good.to_uppercase(),
        &good.replace("name", "nam"),
        &good.replace("name", ""),
        &good.replace("name", "na me"),
        &format!("{good}="),
        &good[..good.len() - 4],
        &weak,
        &"n".repeat(2000),
    ] {
        assert!(VerifierKey::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_proof_file_is_read_back_with_its_checkpoint_verbatim() {
    let file = proof_file();
    let text = file.encode();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 3\n"));
    assert!(text.as_bytes().ends_with(file.checkpoint.note()));
    assert_eq!(ProofFile::decode(text.as_bytes()).as_ref(), Ok(&file));
    let single = ProofFile {
        index: 0,
        path: vec![],
        checkpoint: Checkpoint::sign(&origin(), 1, leaf_hash(b"x"), &key(1)),
    };
    assert_eq!(ProofFile::decode(single.encode().as_bytes()), Ok(single));
    let extra = text.replace("@v1\n", "@v1\nextra AAAA\n");
    assert_eq!(ProofFile::decode(extra.as_bytes()), Ok(file));
}

#[test]
fn proof_files_that_are_refused() {
    let good = proof_file().encode();
    let hash = to_base64(&[5; 32]);
    let many = format!("index 3\n{}", format!("{hash}\n").repeat(62));
    let cases = [
        ("empty", String::new()),
        ("other version", good.replace("@v1", "@v2")),
        ("no index", good.replace("index 3\n", "")),
        ("leading zero", good.replace("index 3", "index 03")),
        ("index beyond the tree", good.replace("index 3", "index 7")),
        (
            "extra after index",
            good.replace("index 3\n", "index 3\nextra AAAA\n"),
        ),
        ("extra not base64", good.replace("@v1\n", "@v1\nextra A\n")),
        (
            "extra twice",
            good.replace("@v1\n", "@v1\nextra AAAA\nextra AAAA\n"),
        ),
        ("short hash", good.replace("index 3\n", "index 3\nAAAA\n")),
        ("64 hashes", good.replace("index 3\n", &many)),
        (
            "no checkpoint",
            good.split_once("\n\n").unwrap().0.to_owned() + "\n\n",
        ),
        ("carriage returns", good.replace('\n', "\r\n")),
        (
            "too long",
            good.clone() + &"\n".repeat(ProofFile::BYTES_MAX),
        ),
    ];
    for (what, text) in cases {
        let answer = ProofFile::decode(text.as_bytes());
        assert!(
            matches!(answer, Err(NoteError::Malformed(_))),
            "{what}: {answer:?}"
        );
    }
}

proptest! {
    #[test]
    fn every_size_and_root_is_read_back(size in 1..=TREE_SIZE_MAX, root in any::<[u8; 32]>(), seed in any::<u8>()) {
        let made = Checkpoint::sign(&origin(), size, Digest(root), &key(seed));
        let read = Checkpoint::parse(made.note()).unwrap();
        prop_assert_eq!((read.size(), read.root()), (size, Digest(root)));
        prop_assert_eq!(read.verify(&key(seed).public()), Ok(()));
    }

    #[test]
    fn a_changed_byte_is_refused_or_seen(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let good = cosigned([3]);
        let mut note = good.note().to_vec();
        let at = at.index(note.len());
        prop_assume!(note[at] != value);
        note[at] = value;
        // Log signature or cosignature breaks, or its line no longer names the key: never both accepted.
        if let Ok(changed) = Checkpoint::parse(&note) {
            let cosigned = matches!(changed.cosignature_of(&witness(3).1), Ok(Some(_)));
            prop_assert!(changed.verify(&key(1).public()).is_err() || !cosigned);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in any::<prop::sample::Index>()) {
        let _ = Checkpoint::parse(&bytes);
        let _ = ProofFile::decode(&bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let _ = VerifierKey::parse(&text);
        let _ = Cosignature::parse(&text);
        let mut file = proof_file().encode().into_bytes();
        let at = cut.index(file.len());
        file.splice(at..at, bytes);
        if let Ok(read) = ProofFile::decode(&file) {
            prop_assert!(read.encode().len() <= ProofFile::BYTES_MAX);
        }
    }
}
