use std::collections::BTreeSet;

use proptest::prelude::*;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
use serde_json::json;

use super::*;
use crate::{
    circle::{EpochKey, SealContext, open_group, seal_group},
    id::ObjectId,
    keys::{OperatingKeys, RootKey},
    kinds::Kind,
    log::leaf_hash,
    record::{Claims, Fields, Issued},
};

const MESH: MeshId = MeshId([9; 32]);
const CIRCLE: CircleId = CircleId([5; 16]);

fn keys() -> OperatingKeys {
    OperatingKeys::from_seed(&[1; 32])
}
fn site() -> SiteId {
    RootKey::from_bytes(&[2; 32]).site()
}
fn log_key() -> PublicKey {
    keys().public().log
}
fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(3)
}

/// A site record at `seq` for all members and for `CIRCLE`.
fn record(seq: u64, text: &str) -> Issued {
    record_of(site(), MESH, seq, text)
}
fn record_of(iss: SiteId, mesh: MeshId, seq: u64, text: &str) -> Issued {
    let claims = Claims {
        mesh: Some(mesh),
        iss,
        log: 1,
        seq,
        kind: Kind::Site,
        id: ObjectId::from_random([6; 16]),
        rev: 1,
        prev: None,
        iat: 1_000,
        retired: false,
    };
    let fields = Fields::from([("contact".to_owned(), json!(text))]);
    let feeds = [(CircleId::MESH_WIDE, seq + 1), (CIRCLE, seq + 1)];
    Issued::sign(claims, &fields, &feeds, keys().record(), &mut rng()).unwrap()
}
fn plain(record: &Issued) -> View {
    record
        .view(
            &CircleId::MESH_WIDE,
            &BTreeSet::from(["contact".to_owned()]),
        )
        .unwrap()
}
fn leaf(record: &Issued) -> Digest {
    leaf_hash(record.core().as_bytes())
}
fn frontier(size: u64) -> Frontier {
    let mut tree = Frontier::new();
    for n in 0..size {
        tree.append(leaf_hash(&n.to_be_bytes()), &mut |_, _, _| {});
    }
    tree
}
fn checkpoint(frontier: &Frontier, leaves: &[Digest]) -> Checkpoint {
    checkpoint_in(&MESH, frontier, leaves)
}
fn checkpoint_in(mesh: &MeshId, frontier: &Frontier, leaves: &[Digest]) -> Checkpoint {
    let mut tree = frontier.clone();
    for leaf in leaves {
        tree.append(*leaf, &mut |_, _, _| {});
    }
    let origin = Checkpoint::origin_of(mesh, &site());
    Checkpoint::sign(&origin, tree.size(), tree.root(), keys().log())
}
fn context(publication_from: u64, size: u64) -> SealContext {
    SealContext {
        mesh: MESH,
        site: site(),
        circle: CIRCLE,
        epoch: 1,
        from: publication_from,
        size,
    }
}
const KEY: EpochKey = EpochKey([4; 32]);

/// Leaves `from..from + 3`: two plain records and one sealed for `CIRCLE`.
fn example(from: u64) -> Publication {
    let records = [
        record(from, "one"),
        record(from + 1, "two"),
        record(from + 2, "three"),
    ];
    let leaves: Vec<Digest> = records.iter().map(leaf).collect();
    let frontier = frontier(from);
    let inside = records[2]
        .view(&CIRCLE, &BTreeSet::from(["contact".to_owned()]))
        .unwrap();
    let sealed = seal_group(&KEY, &context(from, from + 3), &[inside], &mut rng());
    let views = vec![plain(&records[1]), plain(&records[0])];
    Publication::build(
        site(),
        checkpoint(&frontier, &leaves),
        frontier,
        leaves,
        views,
        vec![sealed],
        keys().log(),
    )
    .unwrap()
}
fn message(publication: &Publication) -> wire::Publication {
    wire::Publication::decode(publication.bytes()).unwrap()
}
/// As a careless author would sign it.
fn signed(mut message: wire::Publication) -> wire::Publication {
    let note = Checkpoint::parse(&message.checkpoint).unwrap();
    let statement = plain_statement(&note, message.plain.iter().map(Vec::as_slice));
    message.plain_signature = keys().log().sign(&statement).to_vec();
    message
}
fn decoded(message: &wire::Publication) -> Result<Publication, PublicationError> {
    Publication::decode(&message.encode_to_vec())
}

#[test]
fn what_is_built_is_read_and_holds() {
    for from in [0, 1, 5, 8] {
        let publication = example(from);
        assert_eq!(publication.check(&MESH, &log_key()), Ok(()));
        assert_eq!((publication.from(), publication.size()), (from, from + 3));
        let again = Publication::decode(publication.bytes()).unwrap();
        assert_eq!(again.bytes(), publication.bytes());
        assert_eq!(again.leaf_hashes, publication.leaf_hashes);
        let seqs: Vec<u64> = again
            .plain
            .iter()
            .map(|v| v.clone().parse().unwrap().claims().seq)
            .collect();
        assert_eq!(
            seqs,
            [from, from + 1],
            "plain records are sorted by their leaves"
        );
        let opened = open_group(&KEY, &context(from, from + 3), &again.sealed[0]).unwrap();
        assert_eq!(leaf_hash(opened[0].core().as_bytes()), again.leaf_hashes[2]);
    }
}

#[test]
fn any_flipped_bit_is_refused_or_touches_a_box_alone() {
    let publication = example(5);
    let mut boxes = 0;
    // Every byte, and every place in a byte; all bits would take long in a debug build.
    for bit in (0..publication.bytes().len() * 8).step_by(7) {
        let mut bytes = publication.bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(flipped) = Publication::decode(&bytes) else {
            continue;
        };
        if flipped.check(&MESH, &log_key()).is_err() {
            continue;
        }
        boxes += 1;
        let mut rest = message(&flipped);
        assert_ne!(rest.sealed, publication.sealed);
        rest.sealed.clone_from(&publication.sealed);
        assert_eq!(rest.encode_to_vec(), publication.bytes(), "bit {bit}");
        // As the author meant it, it does not open.
        assert!(
            open_group(&KEY, &context(5, 8), &flipped.sealed[0]).is_err(),
            "bit {bit}"
        );
    }
    assert!(boxes > 0, "the signature does not cover boxes");
}

#[test]
fn a_relay_can_leave_out_but_not_add() {
    let publication = example(5);
    let mut less = message(&publication);
    less.sealed.clear();
    less.plain.clear();
    less.plain_signature.clear();
    assert_eq!(decoded(&less).unwrap().check(&MESH, &log_key()), Ok(()));
    assert_eq!(less.encode_to_vec(), publication.stripped());
    // Plain records go together, with the disclosures that their author sent.
    let mut fewer = message(&publication);
    fewer.plain.pop();
    let mut stripped = message(&publication);
    let bare = View::decode(&stripped.plain[0]).unwrap();
    stripped.plain[0] = format!("{}~", bare.core()).into_bytes();
    for changed in [fewer, stripped] {
        let refused = decoded(&changed).unwrap().check(&MESH, &log_key());
        assert!(
            matches!(&refused, Err(PublicationError::Malformed(what)) if what.contains("as their author sent")),
            "{refused:?}"
        );
    }
    // A record of the same site that is not one of these leaves.
    for foreign in [
        record(5, "other"),
        record(4, "one"),
        record(8, "one"),
        record(u64::from(u32::MAX), "one"),
    ] {
        let mut more = message(&publication);
        more.plain = vec![plain(&foreign).encode().into_bytes()];
        let refused = decoded(&signed(more)).unwrap().check(&MESH, &log_key());
        assert!(
            matches!(refused, Err(PublicationError::Malformed(_))),
            "{refused:?}"
        );
    }
    let mut garbage = message(&publication);
    garbage.plain = vec![b"e30.e30.AA~".to_vec()];
    let refused = decoded(&signed(garbage)).unwrap().check(&MESH, &log_key());
    assert!(
        matches!(refused, Err(PublicationError::Record(_))),
        "{refused:?}"
    );
}

#[test]
fn plain_records_stand_once_and_in_order() {
    let publication = example(5);
    type Change = fn(&mut Vec<Vec<u8>>);
    let changes: [Change; 2] = [
        |plain| plain.swap(0, 1),
        |plain| plain[1] = plain[0].clone(),
    ];
    for change in changes {
        let mut message = message(&publication);
        change(&mut message.plain);
        let refused = decoded(&signed(message)).unwrap().check(&MESH, &log_key());
        assert!(
            matches!(&refused, Err(PublicationError::Malformed(what)) if what.contains("order")),
            "{refused:?}"
        );
    }
}

#[test]
fn plain_records_of_another_site_or_mesh_are_refused() {
    for foreign in [
        record_of(SiteId([8; 32]), MESH, 5, "x"),
        record_of(site(), MeshId([8; 32]), 5, "x"),
    ] {
        let (frontier, leaves) = (frontier(5), vec![leaf(&foreign)]);
        let note = checkpoint(&frontier, &leaves);
        let built = Publication::build(
            site(),
            note,
            frontier,
            leaves,
            vec![plain(&foreign)],
            vec![],
            keys().log(),
        )
        .unwrap();
        let refused = built.check(&MESH, &log_key());
        assert!(
            matches!(&refused, Err(PublicationError::Malformed(what)) if what.contains("another")),
            "{refused:?}"
        );
    }
}

#[test]
fn the_wrong_mesh_key_or_root_is_refused() {
    let publication = example(5);
    let refused = publication.check(&MeshId([8; 32]), &log_key());
    assert!(
        matches!(refused, Err(PublicationError::Malformed(_))),
        "{refused:?}"
    );
    let refused = publication.check(&MESH, &keys().public().witness);
    assert!(
        matches!(refused, Err(PublicationError::Note(_))),
        "{refused:?}"
    );
    let mut message = message(&publication);
    message.leaf_hash[1][0] ^= 1;
    assert_eq!(
        decoded(&message).unwrap().check(&MESH, &log_key()),
        Err(LogError::Mismatch.into())
    );
    // The frontier of another history of the same size.
    message.leaf_hash[1][0] ^= 1;
    message.frontier[0][0] ^= 1;
    assert_eq!(
        decoded(&message).unwrap().check(&MESH, &log_key()),
        Err(LogError::Mismatch.into())
    );
}

#[test]
fn malformed_ones_are_refused() {
    type Change = fn(&mut wire::Publication);
    let changes: &[(&str, Change)] = &[
        ("site", |m| m.site.truncate(31)),
        ("not of this site", |m| m.site[0] ^= 1),
        ("checkpoint is over", |m| {
            m.checkpoint = vec![b'x'; CHECKPOINT_BYTES_MAX + 1]
        }),
        ("note", |m| m.checkpoint.clear()),
        ("0 leaves", |m| m.leaf_hash.clear()),
        ("do not make size", |m| m.leaf_hash.truncate(1)),
        ("do not make size", |m| m.from = u64::MAX),
        ("leaf hash", |m| m.leaf_hash[0].truncate(31)),
        ("frontier hash", |m| m.frontier[0].push(0)),
        ("number of hashes", |m| m.frontier.truncate(1)),
        ("more plain records", |m| {
            m.plain = vec![b"e30.e30.AA~".to_vec(); 4]
        }),
        ("malformed record", |m| m.plain[0].clear()),
        ("bytes of records", |m| {
            m.sealed[0]
                .ciphertext
                .resize(PUBLICATION_CONTENT_BYTES_MAX, 0)
        }),
        ("no circle", |m| m.sealed[0].circle.truncate(15)),
        ("mesh-wide circle", |m| {
            m.sealed[0].circle = CircleId::MESH_WIDE.0.to_vec()
        }),
        ("64 bytes", |m| m.plain_signature.truncate(63)),
        ("without any", |m| m.plain.clear()),
        ("nonce", |m| m.sealed[0].nonce.truncate(23)),
        ("nonce", |m| m.sealed[0].ciphertext.clear()),
        ("one a circle", |m| m.sealed.push(m.sealed[0].clone())),
        ("65 boxes", |m| {
            m.sealed = vec![wire::Sealed::default(); PUBLICATION_BOXES_MAX + 1]
        }),
        ("257 leaves", |m| {
            m.leaf_hash = vec![vec![0; 32]; PUBLICATION_LEAVES_MAX + 1]
        }),
    ];
    for (words, change) in changes {
        let mut message = message(&example(5));
        change(&mut message);
        let error = decoded(&message).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn a_publication_has_one_encoding() {
    let good = example(5).bytes().to_vec();
    let unknown_field = [&good[..], &[0x78, 1]].concat();
    let repeated_field = [&good[..], &[0x18, 5]].concat();
    // `from` in two bytes instead of one.
    let at = good.windows(2).position(|pair| pair == [0x18, 5]).unwrap();
    let long_varint = [&good[..at], &[0x18, 0x85, 0], &good[at + 2..]].concat();
    for bad in [&unknown_field, &repeated_field, &long_varint] {
        let error = Publication::decode(bad).unwrap_err().to_string();
        assert!(error.contains("one encoding"), "{error}");
    }
    let error = Publication::decode(&vec![0; PUBLICATION_BYTES_MAX + 1])
        .unwrap_err()
        .to_string();
    assert!(error.contains("at most"), "{error}");
    assert!(Publication::decode(&good[..good.len() - 1]).is_err());
    assert!(Publication::decode(b"").is_err());
}

fn a_box(n: u8, bytes: usize) -> wire::Sealed {
    wire::Sealed {
        circle: vec![n; 16],
        epoch: 1,
        nonce: vec![n; 24],
        ciphertext: vec![n; bytes],
    }
}

#[test]
fn too_much_content_is_cut_the_largest_first() {
    let records = [
        record(0, "small"),
        record(1, &"large ".repeat(250)),
        record(2, "small"),
    ];
    let leaves: Vec<Digest> = records.iter().map(leaf).collect();
    let note = checkpoint(&Frontier::new(), &leaves);
    let views: Vec<View> = records.iter().map(plain).collect();
    let large = views[1].encode().len();
    let sealed = vec![a_box(3, 4_000), a_box(1, 8_000), a_box(2, large + 1)];
    let built = Publication::build(
        site(),
        note,
        Frontier::new(),
        leaves,
        views.clone(),
        sealed,
        keys().log(),
    )
    .unwrap();
    assert_eq!(built.check(&MESH, &log_key()), Ok(()));
    let lengths: Vec<_> = built
        .sealed
        .iter()
        .map(|s| (s.circle[0], s.nonce.len(), s.ciphertext.len()))
        .collect();
    assert_eq!(
        lengths,
        [(1, 0, 0), (2, 24, large + 1), (3, 24, 4_000)],
        "8,000 made it too large"
    );
    assert_eq!(built.plain, views);
    // Now the plain record is the largest.
    let sealed = vec![
        a_box(1, large - 1),
        a_box(2, large - 1),
        a_box(3, large - 1),
        a_box(4, large - 1),
    ];
    let built = Publication::build(
        site(),
        built.checkpoint,
        Frontier::new(),
        built.leaf_hashes,
        views.clone(),
        sealed,
        keys().log(),
    )
    .unwrap();
    assert_eq!(built.plain, [views[0].clone(), views[2].clone()]);
    let stub = &built.sealed[0];
    assert_eq!(
        (&stub.circle[..], stub.ciphertext.len()),
        (&CircleId::MESH_WIDE.0[..], 0),
        "tells of it"
    );
    assert_eq!(built.check(&MESH, &log_key()), Ok(()));
    assert!(built.bytes().len() <= PUBLICATION_BYTES_MAX);
}

#[test]
fn the_fullest_publication_fits() {
    let edge = vec![Digest([7; 32]); 62];
    let frontier = Frontier::from_parts((1 << 62) - 1, edge).unwrap();
    let leaves = vec![Digest([8; 32]); PUBLICATION_LEAVES_MAX];
    let note = checkpoint(&frontier, &leaves);
    let boxes = (1..=64).map(|n| a_box(n, 400)).collect();
    let built =
        Publication::build(site(), note, frontier, leaves, vec![], boxes, keys().log()).unwrap();
    assert!(built.bytes().len() <= PUBLICATION_BYTES_MAX);
    assert_eq!(built.sealed.len(), 64);
    assert!(
        built
            .sealed
            .iter()
            .filter(|s| s.ciphertext.is_empty())
            .count()
            > 20
    );
    assert_eq!(built.check(&MESH, &log_key()), Ok(()));
}

#[test]
fn what_cannot_be_a_publication_is_not_built() {
    let build = |note: Checkpoint, leaves: Vec<Digest>, sealed: Vec<wire::Sealed>| {
        Publication::build(
            site(),
            note,
            Frontier::new(),
            leaves,
            vec![],
            sealed,
            keys().log(),
        )
    };
    let leaves = vec![Digest([8; 32]); 2];
    let note = checkpoint(&Frontier::new(), &leaves);
    assert!(build(note.clone(), leaves.clone(), vec![a_box(1, 20)]).is_ok());
    assert!(
        build(
            note.clone(),
            leaves.clone(),
            vec![a_box(1, 20), a_box(1, 30)]
        )
        .is_err()
    );
    assert!(build(note.clone(), leaves[..1].to_vec(), vec![]).is_err());
    let other = Checkpoint::sign("fmesh/other", 2, note.root(), keys().log());
    assert!(build(other, leaves.clone(), vec![]).is_err());
    let elsewhere = checkpoint_in(&MeshId([8; 32]), &Frontier::new(), &leaves);
    assert!(
        build(elsewhere, leaves, vec![])
            .unwrap()
            .check(&MESH, &log_key())
            .is_err()
    );
}

proptest! {
    #[test]
    fn decode_undoes_build(
        from in 0_u64..70,
        leaves in proptest::collection::vec(any::<[u8; 32]>(), 1..40),
        boxes in proptest::collection::btree_map(1_u8..255, 1_usize..2_000, 0..20),
    ) {
        let leaves: Vec<Digest> = leaves.into_iter().map(Digest).collect();
        let frontier = frontier(from);
        let note = checkpoint(&frontier, &leaves);
        let sealed: Vec<_> = boxes.into_iter().map(|(n, bytes)| a_box(n, bytes)).collect();
        let built = Publication::build(site(), note, frontier.clone(), leaves.clone(), vec![], sealed, keys().log()).unwrap();
        let read = Publication::decode(built.bytes()).unwrap();
        prop_assert_eq!(read.bytes(), built.bytes());
        prop_assert_eq!(&read.frontier, &frontier);
        prop_assert_eq!(&read.leaf_hashes, &leaves);
        prop_assert_eq!(&read.sealed, &built.sealed);
        prop_assert_eq!(read.check(&MESH, &log_key()), Ok(()));
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in any::<prop::sample::Index>()) {
        prop_assert!(Publication::decode(&bytes).is_err());
        let mut spliced = example(2).bytes().to_vec();
        let at = at.index(spliced.len());
        spliced.splice(at..at, bytes.iter().copied());
        if let Ok(read) = Publication::decode(&spliced) {
            prop_assert_eq!(read.bytes(), &spliced[..]);
        }
    }
}
