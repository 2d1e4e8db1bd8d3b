use proptest::prelude::*;

use super::{
    samples::{Site, cosigned, proofs, witness},
    *,
};

#[test]
fn every_kind_is_proven_and_survives_its_text() {
    for (proof, (kind, at)) in proofs().into_iter().zip([
        ("same-size", 3),
        ("prefix", 3),
        ("seq", 1),
        ("feed", 1),
        ("leaf", 1),
        ("witness-split", 3),
        ("witness-regress", 3),
    ]) {
        let text = proof.encode();
        let read = ForkProof::decode(text.as_bytes()).expect(kind);
        assert_eq!(read, proof);
        let fork = read.verify().unwrap_or_else(|why| panic!("{kind}: {why}"));
        assert_eq!((fork.kind.as_str(), fork.at), (kind, at));
        assert_eq!(fork.site.is_some(), fork.witness.is_none());
        assert!(fork.to_string().contains("restored backup"));
    }
}

#[test]
fn what_is_no_fork_proves_nothing() {
    let (site, other) = (Site::new(1), Site::new(2));
    let keys = site.keys();
    let (small, _) = site.log(&["a", "b", "c"]);
    let (large, nodes) = site.log(&["a", "b", "c", "d", "e"]);
    let (foreign, _) = other.log(&["a", "b", "x"]);
    let (one, w) = (site.record(1, 1, false), witness(50));
    let (own, own_nodes) = site.log(&["a", one.core()]);
    let same = cosigned(&small, 5, &w);
    let cases = [
        ForkProof::same_size(&keys, &small, &small),
        ForkProof::same_size(&keys, &small, &large),
        ForkProof::same_size(&keys, &small, &foreign),
        ForkProof::prefix(&keys, &small, &large, &nodes).expect("nodes"),
        ForkProof::seq(&keys, &one, &one),
        ForkProof::seq(&keys, &one, &site.record(2, 2, false)),
        ForkProof::seq(&keys, &one, &other.record(1, 1, true)),
        ForkProof::feed(&keys, &one, &site.record(2, 2, false)).expect("disclosed"),
        ForkProof::feed(&keys, &one, &one).expect("disclosed"),
        ForkProof::leaf(&keys, &one, 1, &own, &own_nodes).expect("nodes"),
        ForkProof::witness(&[], &w.1, &same, &same),
        ForkProof::witness(&[], &w.1, &cosigned(&large, 6, &w), &same),
        ForkProof::witness(&[], &w.1, &large, &same),
        ForkProof::witness(
            &other.keys(),
            &w.1,
            &cosigned(&large, 5, &w),
            &cosigned(&small, 6, &w),
        ),
        ForkProof::same_size(&[], &small, &site.log(&["a", "b", "x"]).0),
    ];
    for (n, case) in cases.iter().enumerate() {
        assert!(
            case.verify().is_err(),
            "case {n} proves {:?}",
            case.verify()
        );
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    for proof in proofs() {
        let (text, fork) = (proof.encode(), proof.verify().expect("holds"));
        // Seven is no divisor of eight: every bit of a byte gets its turn.
        for bit in (0..text.len() * 8).step_by(7) {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let holds = ForkProof::decode(&bytes).and_then(|read| read.verify());
            // What a witness signed does not cover the log's own signature line; the fork stays the same then.
            let same = fork.witness.is_some() && holds.as_ref() == Ok(&fork);
            assert!(same || holds.is_err(), "{} bit {bit}", proof.kind.as_str());
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300), which in 0..7_usize, at in any::<prop::sample::Index>()) {
        let _ = ForkProof::decode(&bytes).and_then(|proof| proof.verify());
        let mut text = proofs().swap_remove(which).encode().into_bytes();
        let at = at.index(text.len());
        text.splice(at..at, bytes.iter().copied());
        let holds = ForkProof::decode(&text).and_then(|proof| proof.verify());
        prop_assert!(bytes.is_empty() || holds.is_err());
    }
}
