use proptest::prelude::*;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

use super::*;

fn context() -> SealContext {
    SealContext {
        mesh: MeshId([1; 32]),
        site: SiteId([2; 32]),
        circle: CircleId([3; 16]),
        epoch: 4,
        from: 5,
        size: 7,
    }
}
fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}
fn records(lengths: &[usize]) -> Vec<View> {
    let view =
        |n: &usize| View::decode(format!("e30.e30.AA~{}~", "A".repeat(*n + 1)).as_bytes()).unwrap();
    lengths.iter().map(view).collect()
}
fn keys(n: u8) -> OperatingKeys {
    OperatingKeys::from_seed(&[n; 32])
}
fn boxed(n: u8) -> [u8; 32] {
    keys(n).public().boxed
}

/// Every context that differs from ours in one thing.
fn other_contexts() -> Vec<SealContext> {
    let ours = context();
    vec![
        SealContext {
            mesh: MeshId([9; 32]),
            ..ours
        },
        SealContext {
            site: SiteId([9; 32]),
            ..ours
        },
        SealContext {
            circle: CircleId([9; 16]),
            ..ours
        },
        SealContext { epoch: 9, ..ours },
        SealContext { from: 9, ..ours },
        SealContext { size: 9, ..ours },
    ]
}
/// Every box that differs from `sealed` in one bit or by a byte.
fn altered(sealed: &wire::Sealed) -> Vec<wire::Sealed> {
    let mut out = vec![wire::Sealed {
        epoch: sealed.epoch + 1,
        ..sealed.clone()
    }];
    type Part = fn(&mut wire::Sealed) -> &mut Vec<u8>;
    let parts: [Part; 3] = [|s| &mut s.circle, |s| &mut s.nonce, |s| &mut s.ciphertext];
    for part in parts {
        for bit in 0..part(&mut sealed.clone()).len() * 8 {
            let mut flipped = sealed.clone();
            part(&mut flipped)[bit / 8] ^= 1 << (bit % 8);
            out.push(flipped);
        }
        let (mut shorter, mut longer, mut none) = (sealed.clone(), sealed.clone(), sealed.clone());
        part(&mut shorter).pop();
        part(&mut longer).push(0);
        part(&mut none).clear();
        out.extend([shorter, longer, none]);
    }
    out
}

#[test]
fn a_group_box_opens_for_its_key_as_what_it_is_and_for_nothing_else() {
    let (key, views) = (EpochKey([7; 32]), records(&[100, 4]));
    let sealed = seal_group(&key, &context(), &views, &mut rng(1));
    assert_eq!(open_group(&key, &context(), &sealed), Ok(views.clone()));
    assert_eq!(
        open_group(&EpochKey([8; 32]), &context(), &sealed),
        Err(CircleError::Open)
    );
    for other in other_contexts() {
        let renamed = wire::Sealed {
            circle: other.circle.0.to_vec(),
            epoch: other.epoch,
            ..sealed.clone()
        };
        assert_eq!(
            open_group(&key, &other, &sealed),
            Err(CircleError::Open),
            "{other:?}"
        );
        assert_eq!(
            open_group(&key, &other, &renamed),
            Err(CircleError::Open),
            "{other:?}"
        );
    }
    for bad in altered(&sealed) {
        assert_eq!(
            open_group(&key, &context(), &bad),
            Err(CircleError::Open),
            "{bad:?}"
        );
    }
    // A nonce is never used twice.
    assert_ne!(
        seal_group(&key, &context(), &views, &mut rng(2)).nonce,
        sealed.nonce
    );
    assert_eq!(format!("{key:?}"), "EpochKey(..)");
}

#[test]
fn a_pairwise_box_opens_for_its_two_sites() {
    let (alice, bob, views) = (keys(1), keys(2), records(&[100, 4]));
    let sealed = seal_pairwise(&alice, &boxed(2), &context(), &views, &mut rng(1)).unwrap();
    assert_eq!(sealed.nonce.len(), 32);
    assert_eq!(
        open_pairwise(&bob, &boxed(1), &context(), &sealed),
        Ok(views)
    );
    let open = |own: &OperatingKeys, from: u8, context: &SealContext| {
        open_pairwise(own, &boxed(from), context, &sealed)
    };
    assert_eq!(
        open(&bob, 3, &context()),
        Err(CircleError::Open),
        "not from a third site"
    );
    assert_eq!(
        open(&keys(3), 1, &context()),
        Err(CircleError::Open),
        "not for a third site"
    );
    assert_eq!(
        open(&alice, 2, &context()),
        Err(CircleError::Open),
        "not the other way round"
    );
    for other in other_contexts() {
        assert_eq!(open(&bob, 1, &other), Err(CircleError::Open), "{other:?}");
    }
    for bad in altered(&sealed).iter().step_by(7) {
        assert_eq!(
            open_pairwise(&bob, &boxed(1), &context(), bad),
            Err(CircleError::Open),
            "{bad:?}"
        );
    }
    let small_order = seal_pairwise(&alice, &[0; 32], &context(), &[], &mut rng(1));
    assert_eq!(small_order, Err(CircleError::BoxKey));
}

#[test]
fn the_associated_data_is_a_label_and_fixed_lengths() {
    let encoded = context().encode();
    let parts: [&[u8]; 7] = [
        b"fmesh/box/v1\n",
        &[1; 32],
        &[2; 32],
        &[3; 16],
        &[0, 0, 0, 0, 0, 0, 0, 4],
        &[0, 0, 0, 0, 0, 0, 0, 5],
        &[0, 0, 0, 0, 0, 0, 0, 7],
    ];
    assert_eq!(encoded, parts.concat());
}

#[test]
fn an_oversized_box_is_not_even_tried() {
    let sealed = context().sealed(vec![0; 24], vec![0; PUBLICATION_CONTENT_BYTES_MAX + 1]);
    let refused = open_group(&EpochKey([7; 32]), &context(), &sealed);
    assert_eq!(
        refused,
        Err(CircleError::TooLarge(PUBLICATION_CONTENT_BYTES_MAX + 1))
    );
}

#[test]
fn content_has_one_form() {
    let plain = encode(views(&records(&[10])));
    assert_eq!(decode(&plain), Ok(records(&[10])));
    assert_eq!(decode(&encode(vec![])), Ok(vec![]));
    let view = views(&records(&[10]));
    let padded = |padding| {
        wire::SealedRecords {
            view: view.clone(),
            padding,
        }
        .encode_to_vec()
    };
    for (bad, words) in [
        (vec![255; 4], "SealedRecords"),
        (encode(vec![b"no view".to_vec()]), "malformed"),
        (encode(views(&records(&[0; 257]))), "more records"),
        (padded(vec![]), "padded form"),
        (padded(vec![0; 500]), "padded form"),
        ([&plain[..], &[0x78, 1]].concat(), "padded form"),
        (padded(vec![1; padded_zeros(&plain)]), "padded form"),
    ] {
        let Err(CircleError::Content(what)) = decode(&bad) else {
            panic!("{words}");
        };
        assert!(what.contains(words), "{words}: {what}");
    }
}
fn padded_zeros(plain: &[u8]) -> usize {
    let zeros = wire::SealedRecords::decode(plain).unwrap().padding.len();
    assert!(zeros > 0, "the example needs padding");
    zeros
}

#[test]
fn padme_sizes() {
    for (length, padded) in [
        (0, 0),
        (1, 1),
        (7, 7),
        (8, 8),
        (9, 10),
        (100, 104),
        (1_000, 1_024),
        (1_025, 1_088),
        (1_000_000, 1_015_808),
    ] {
        assert_eq!(padme(length), padded, "{length}");
    }
}

#[test]
fn every_plaintext_reaches_a_padme_size_with_little_added() {
    for length in (0..3_000).chain(16_000..16_500) {
        let bare = wire::SealedRecords {
            view: vec![vec![b'a'; length]],
            padding: vec![],
        }
        .encoded_len();
        let plain = encode(vec![vec![b'a'; length]]);
        assert_eq!(padme(plain.len()), plain.len(), "{length}");
        // At worst two sizes are stepped over: 2046 lacks 2 bytes to the next and 130 to the one after.
        let worst = padme(padme(padme(bare) + 1) + 1);
        assert!(
            (bare..=worst).contains(&plain.len()),
            "{bare} became {}",
            plain.len()
        );
    }
}

proptest! {
    #[test]
    fn any_records_are_read_back(lengths in proptest::collection::vec(0_usize..400, 0..20), seed in any::<u64>()) {
        let (key, views) = (EpochKey([7; 32]), records(&lengths));
        let sealed = seal_group(&key, &context(), &views, &mut rng(seed));
        prop_assert_eq!(open_group(&key, &context(), &sealed), Ok(views));
    }

    #[test]
    fn padme_rounds_up_by_an_eighth_at_most(length in 1_usize..10_000_000) {
        let padded = padme(length);
        prop_assert!(padded >= length && (padded - length) * 100 <= length * 12);
        prop_assert_eq!(padme(padded), padded);
    }

    #[test]
    fn any_plaintext_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(records) = decode(&bytes) {
            prop_assert_eq!(encode(views(&records)), bytes);
        }
    }
}
