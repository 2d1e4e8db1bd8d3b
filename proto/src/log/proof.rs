//! Inclusion and consistency: made from stored nodes, checked from hashes alone.
//!
//! Making follows the recursive definitions of RFC 6962 section 2.1, checking the loops of RFC 9162
//! sections 2.1.3.2 and 2.1.4.2. Two different descriptions of one tree, so each tests the other.

use super::{Frontier, LogError, Nodes, check_bounds, empty_root, node_hash};
use crate::{id::Digest, limits::TREE_SIZE_MAX};

/// Inclusion proof of leaf `index` in the tree of `size` leaves, leaf to root. `None` if a node is
/// missing or the index is not in the tree.
#[must_use]
pub fn prove_inclusion(nodes: &impl Nodes, index: u64, size: u64) -> Option<Vec<Digest>> {
    if index >= size || size > TREE_SIZE_MAX {
        return None;
    }
    let mut path = Vec::new();
    inclusion(nodes, index, 0, size, &mut path)?;
    Some(path)
}

/// Consistency proof from `old` to `size`. `None` if a node is missing or `old > size`.
#[must_use]
pub fn prove_consistency(nodes: &impl Nodes, old: u64, size: u64) -> Option<Vec<Digest>> {
    if old > size || size > TREE_SIZE_MAX {
        return None;
    }
    let mut proof = Vec::new();
    if old > 0 {
        consistency(nodes, old, 0, size, true, &mut proof)?;
    }
    Some(proof)
}

/// The frontier at `size`. `None` if a node is missing.
#[must_use]
pub fn frontier_at(nodes: &impl Nodes, size: u64) -> Option<Frontier> {
    if size > TREE_SIZE_MAX {
        return None;
    }
    let mut edge = Vec::new();
    let mut start = 0;
    while start < size {
        let level = (size - start).ilog2();
        edge.push(nodes.node(level as u8, start >> level)?);
        start += 1 << level;
    }
    Some(Frontier { size, edge })
}

/// RFC 9162 section 2.1.3.2.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &Digest,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), LogError> {
    check_bounds(size, proof.len())?;
    if index >= size {
        return Err(LogError::Range);
    }
    let shape = LogError::Shape {
        size,
        got: proof.len(),
    };
    let mut place = Place {
        node: index,
        last: size - 1,
    };
    let mut hash = *leaf;
    for sibling in proof {
        match place.climb().ok_or_else(|| shape.clone())? {
            Side::Left => hash = node_hash(sibling, &hash),
            Side::Right => hash = node_hash(&hash, sibling),
        }
    }
    if place.last != 0 {
        return Err(shape);
    }
    matches(&hash, root)
}

/// RFC 9162 section 2.1.4.2; old size 0 takes an empty proof.
pub fn verify_consistency(
    old: u64,
    size: u64,
    proof: &[Digest],
    old_root: &Digest,
    root: &Digest,
) -> Result<(), LogError> {
    check_bounds(size, proof.len())?;
    if old > size {
        return Err(LogError::Range);
    }
    let shape = LogError::Shape {
        size,
        got: proof.len(),
    };
    if old == 0 || old == size {
        if !proof.is_empty() {
            return Err(shape);
        }
        if old == 0 {
            matches(old_root, &empty_root())?;
        }
        return if old == size {
            matches(old_root, root)
        } else {
            Ok(())
        };
    }
    // The proof starts at the largest perfect subtree on the old tree's right edge. If that is the
    // whole old tree, its root is known and is not in the proof.
    let mut place = Place {
        node: old - 1,
        last: size - 1,
    };
    while place.node & 1 == 1 {
        place.up();
    }
    let (start, rest) = if old.is_power_of_two() {
        (old_root, proof)
    } else {
        proof.split_first().ok_or_else(|| shape.clone())?
    };
    if rest.is_empty() {
        return Err(shape);
    }
    let (mut old_hash, mut hash) = (*start, *start);
    for sibling in rest {
        match place.climb().ok_or_else(|| shape.clone())? {
            Side::Left => {
                old_hash = node_hash(sibling, &old_hash);
                hash = node_hash(sibling, &hash);
            }
            Side::Right => hash = node_hash(&hash, sibling),
        }
    }
    if place.last != 0 {
        return Err(shape);
    }
    matches(&old_hash, old_root)?;
    matches(&hash, root)
}

/// Where a proof stands: a node and the last node of its level (`fn` and `sn` of the RFC).
struct Place {
    node: u64,
    last: u64,
}

/// On which side of the hash so far the sibling stands.
enum Side {
    Left,
    Right,
}

impl Place {
    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    /// Takes one sibling and moves to the parent; `None` at the root, where no sibling is left.
    fn climb(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            // The last node of a level with no sibling is carried up until it has one.
            while self.node & 1 == 0 && self.node != 0 {
                self.up();
            }
            Side::Left
        } else {
            Side::Right
        };
        self.up();
        Some(side)
    }
}

fn matches(computed: &Digest, claimed: &Digest) -> Result<(), LogError> {
    if computed == claimed {
        Ok(())
    } else {
        Err(LogError::Mismatch)
    }
}

/// Root of the leaves `[start, start + size)`, where `start` is where such a subtree may begin.
fn subtree(nodes: &impl Nodes, start: u64, size: u64) -> Option<Digest> {
    if size.is_power_of_two() {
        let level = size.ilog2();
        return nodes.node(level as u8, start >> level);
    }
    let left = split(size);
    let right = subtree(nodes, start + left, size - left)?;
    Some(node_hash(&subtree(nodes, start, left)?, &right))
}

/// PATH of RFC 6962 for the leaf `index` of the subtree of `size` leaves at `start`.
fn inclusion(
    nodes: &impl Nodes,
    index: u64,
    start: u64,
    size: u64,
    path: &mut Vec<Digest>,
) -> Option<()> {
    if size == 1 {
        return Some(());
    }
    let left = split(size);
    if index < left {
        inclusion(nodes, index, start, left, path)?;
        path.push(subtree(nodes, start + left, size - left)?);
    } else {
        inclusion(nodes, index - left, start + left, size - left, path)?;
        path.push(subtree(nodes, start, left)?);
    }
    Some(())
}

/// SUBPROOF of RFC 6962; `whole` while the old tree is the whole of what the reader holds.
fn consistency(
    nodes: &impl Nodes,
    old: u64,
    start: u64,
    size: u64,
    whole: bool,
    proof: &mut Vec<Digest>,
) -> Option<()> {
    if old == size {
        if !whole {
            proof.push(subtree(nodes, start, size)?);
        }
        return Some(());
    }
    let left = split(size);
    if old <= left {
        consistency(nodes, old, start, left, whole, proof)?;
        proof.push(subtree(nodes, start + left, size - left)?);
    } else {
        consistency(nodes, old - left, start + left, size - left, false, proof)?;
        proof.push(subtree(nodes, start, left)?);
    }
    Some(())
}

/// Leaves of the left subtree: the largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}
