use proptest::prelude::*;

use super::*;

type Store = BTreeMap<(u8, u64), Digest>;

/// MTH of RFC 6962 section 2.1, as it stands there.
fn reference_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            node_hash(&reference_root(&leaves[..k]), &reference_root(&leaves[k..]))
        }
    }
}

fn leaves(n: u64) -> Vec<Digest> {
    (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

fn grow(leaves: &[Digest]) -> (Frontier, Store) {
    let (mut frontier, mut store) = (Frontier::new(), Store::new());
    for leaf in leaves {
        frontier.append(*leaf, &mut |level, index, hash| {
            assert_eq!(
                store.insert((level, index), hash),
                None,
                "a subtree is completed once"
            );
        });
    }
    (frontier, store)
}

fn flipped(digest: &Digest, bit: usize) -> Digest {
    let mut out = *digest;
    out.0[bit / 8 % 32] ^= 1 << (bit % 8);
    out
}

#[test]
fn reference_leaves_give_the_published_roots() {
    let data: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::new();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(frontier.root().hex(), empty);
    for (data, root) in data.iter().zip(roots) {
        frontier.append(leaf_hash(data), &mut |_, _, _| ());
        assert_eq!(frontier.root().hex(), root, "size {}", frontier.size());
    }
}

#[test]
fn hashes_of_leaf_and_node_are_the_published_ones() {
    let leaf = "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56";
    assert_eq!(leaf_hash(b"L123456").hex(), leaf);
    // The published node vector has children of four bytes, so its hash is made by hand here.
    let node = "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb";
    assert_eq!(Digest::of(b"\x01N123N456").hex(), node);
    let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
    assert_eq!(
        node_hash(&a, &b),
        Digest::of(&[&[1], &a.0[..], &b.0[..]].concat())
    );
}

#[test]
fn small_trees_prove_every_leaf_and_every_prefix() {
    let leaves = leaves(40);
    let (_, store) = grow(&leaves);
    for size in 0..=40 {
        let root = reference_root(&leaves[..size as usize]);
        assert_eq!(frontier_at(&store, size).map(|f| f.root()), Some(root));
        for index in 0..size {
            let proof = prove_inclusion(&store, index, size).expect("all nodes are there");
            verify_inclusion(index, size, &leaves[index as usize], &proof, &root).unwrap();
        }
        for old in 0..=size {
            let old_root = reference_root(&leaves[..old as usize]);
            let proof = prove_consistency(&store, old, size).expect("all nodes are there");
            verify_consistency(old, size, &proof, &old_root, &root).unwrap();
        }
        assert_eq!(prove_inclusion(&store, size, size), None);
        assert_eq!(prove_consistency(&store, size + 1, size), None);
    }
}

#[test]
fn what_is_missing_is_said_with_none() {
    let (_, store) = grow(&leaves(7));
    assert_eq!(prove_inclusion(&store, 0, 8), None);
    assert_eq!(prove_consistency(&store, 3, 9), None);
    assert_eq!(frontier_at(&store, 8), None);
    assert_eq!(frontier_at(&store, u64::MAX), None);
    assert_eq!(prove_inclusion(&store, 0, u64::MAX), None);
    assert_eq!(prove_consistency(&store, 1, u64::MAX), None);
}

#[test]
fn the_empty_tree_is_a_prefix_of_every_tree_by_an_empty_proof_only() {
    let (frontier, _) = grow(&leaves(3));
    let (empty, root) = (empty_root(), frontier.root());
    assert_eq!(verify_consistency(0, 3, &[], &empty, &root), Ok(()));
    assert_eq!(verify_consistency(0, 0, &[], &empty, &empty), Ok(()));
    assert_eq!(
        verify_consistency(0, 3, &[], &root, &root),
        Err(LogError::Mismatch)
    );
    assert_eq!(
        verify_consistency(0, 0, &[], &empty, &root),
        Err(LogError::Mismatch)
    );
    let shape = LogError::Shape { size: 3, got: 1 };
    assert_eq!(verify_consistency(0, 3, &[root], &empty, &root), Err(shape));
}

#[test]
fn sizes_and_shapes_out_of_bounds_are_refused() {
    let hash = leaf_hash(b"");
    let too_large = TREE_SIZE_MAX + 1;
    assert_eq!(
        verify_inclusion(0, too_large, &hash, &[], &hash),
        Err(LogError::Range)
    );
    assert_eq!(
        verify_inclusion(3, 3, &hash, &[], &hash),
        Err(LogError::Range)
    );
    assert_eq!(
        verify_consistency(4, 3, &[], &hash, &hash),
        Err(LogError::Range)
    );
    assert_eq!(
        verify_consistency(1, too_large, &[hash], &hash, &hash),
        Err(LogError::Range)
    );
    let shape = LogError::Shape {
        size: TREE_SIZE_MAX,
        got: 64,
    };
    assert_eq!(
        verify_inclusion(0, TREE_SIZE_MAX, &hash, &[hash; 64], &hash),
        Err(shape)
    );
    assert_eq!(
        Frontier::from_parts(too_large, vec![hash]),
        Err(LogError::Range)
    );
    for (size, got) in [(0, 1), (1, 0), (3, 1), (4, 2)] {
        let refused = Frontier::from_parts(size, vec![hash; got]);
        assert_eq!(refused, Err(LogError::Shape { size, got }));
    }
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

proptest! {
    #[test]
    fn frontier_equals_the_recursive_definition(leaves in prop::collection::vec(digest(), 0..300)) {
        let (frontier, store) = grow(&leaves);
        prop_assert_eq!(frontier.root(), reference_root(&leaves));
        let parts = Frontier::from_parts(frontier.size(), frontier.edge().to_vec());
        prop_assert_eq!(parts.as_ref(), Ok(&frontier));
        prop_assert_eq!(frontier_at(&store, frontier.size()), Some(frontier));
    }

    #[test]
    fn inclusion_is_proven_and_any_change_is_refused(
        size in 1..600_u64, pick in any::<prop::sample::Index>(), bit in 0..256_usize, other in 0..600_u64,
    ) {
        let leaves = leaves(size);
        let (frontier, store) = grow(&leaves);
        let (root, index) = (frontier.root(), pick.index(size as usize) as u64);
        let leaf = leaves[index as usize];
        let proof = prove_inclusion(&store, index, size).expect("all nodes are there");
        prop_assert_eq!(verify_inclusion(index, size, &leaf, &proof, &root), Ok(()));

        prop_assert!(verify_inclusion(index, size, &flipped(&leaf, bit), &proof, &root).is_err());
        prop_assert!(verify_inclusion(index, size, &leaf, &proof, &flipped(&root, bit)).is_err());
        prop_assert!(other == index || verify_inclusion(other, size, &leaf, &proof, &root).is_err());
        for i in 0..proof.len() {
            let mut changed = proof.clone();
            changed[i] = flipped(&changed[i], bit);
            prop_assert!(verify_inclusion(index, size, &leaf, &changed, &root).is_err());
            changed.remove(i);
            prop_assert!(verify_inclusion(index, size, &leaf, &changed, &root).is_err());
        }
        let longer = [&proof[..], &[root]].concat();
        prop_assert!(verify_inclusion(index, size, &leaf, &longer, &root).is_err());
    }

    #[test]
    fn consistency_is_proven_and_any_change_is_refused(
        size in 1..600_u64, pick in any::<prop::sample::Index>(), bit in 0..256_usize,
    ) {
        let leaves = leaves(size);
        let (frontier, store) = grow(&leaves);
        let (root, old) = (frontier.root(), 1 + pick.index(size as usize) as u64);
        let old_root = reference_root(&leaves[..old as usize]);
        let proof = prove_consistency(&store, old, size).expect("all nodes are there");
        prop_assert_eq!(verify_consistency(old, size, &proof, &old_root, &root), Ok(()));

        prop_assert!(verify_consistency(old, size, &proof, &flipped(&old_root, bit), &root).is_err());
        prop_assert!(verify_consistency(old, size, &proof, &old_root, &flipped(&root, bit)).is_err());
        for i in 0..proof.len() {
            let mut changed = proof.clone();
            changed[i] = flipped(&changed[i], bit);
            prop_assert!(verify_consistency(old, size, &changed, &old_root, &root).is_err());
            changed.remove(i);
            prop_assert!(verify_consistency(old, size, &changed, &old_root, &root).is_err());
        }
        let longer = [&proof[..], &[root]].concat();
        prop_assert!(verify_consistency(old, size, &longer, &old_root, &root).is_err());
        // The old root belongs to one size only.
        for wrong in (0..=size).filter(|wrong| *wrong != old) {
            prop_assert!(verify_consistency(wrong, size, &proof, &old_root, &root).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_frontier_of_the_wrong_tree_never_reaches_the_root(
        before in 1..64_u64, after in 1..64_u64, bit in 0..256_usize, pick in any::<prop::sample::Index>(),
    ) {
        let leaves = leaves(before + after);
        let mut edge = grow(&leaves[..before as usize]).0.edge().to_vec();
        let i = pick.index(edge.len());
        edge[i] = flipped(&edge[i], bit);
        let mut forged = Frontier::from_parts(before, edge).expect("shape fits");
        for leaf in &leaves[before as usize..] {
            forged.append(*leaf, &mut |_, _, _| ());
        }
        prop_assert_ne!(forged.root(), reference_root(&leaves));
    }

    #[test]
    fn random_claims_never_panic_and_never_pass(
        index in any::<u64>(), size in any::<u64>(), shift in 0..64_u32, leaf in digest(), root in digest(),
        proof in prop::collection::vec(digest(), 0..70),
    ) {
        let (index, size) = (index >> shift, size >> shift);
        prop_assert!(verify_inclusion(index, size, &leaf, &proof, &root).is_err());
        prop_assert!(verify_consistency(index, size, &proof, &leaf, &root).is_err());
        let parts = Frontier::from_parts(size, proof);
        prop_assert!(parts.is_err() || size <= TREE_SIZE_MAX);
    }
}
