//! The append-only tree of a site's records: RFC 6962 / RFC 9162 with SHA-256. PROTOCOL section 4.1.
//!
//! A writer and every follower keep the [`Frontier`], the right edge of the tree: it is enough to
//! append leaves and to know the root. Who wants to prove something also keeps the roots of all
//! perfect subtrees ([`Nodes`]); proofs are made from those and checked with hashes alone.
//!
//! This module knows hashes, indices and sizes. It does not know what a leaf says, who signed a
//! root, or where nodes are stored.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::{
    id::Digest,
    limits::{PROOF_HASHES_MAX, TREE_SIZE_MAX},
};

mod proof;

pub use proof::{
    frontier_at, prove_consistency, prove_inclusion, verify_consistency, verify_inclusion,
};

/// SHA-256(0x00 || data).
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Digest {
    Digest(
        Sha256::new()
            .chain_update([0])
            .chain_update(data)
            .finalize()
            .into(),
    )
}

/// SHA-256(0x01 || left || right).
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let hash = Sha256::new()
        .chain_update([1])
        .chain_update(left.0)
        .chain_update(right.0);
    Digest(hash.finalize().into())
}

/// Root of the empty tree.
#[must_use]
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// Why a proof or a frontier is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Number of hashes does not fit the size.
    #[error("wrong number of hashes for size {size}: {got}")]
    Shape {
        /// Tree size.
        size: u64,
        /// Hashes given.
        got: usize,
    },
    /// Index not below size, old size above size, or size beyond 2^63-1.
    #[error("index or size out of range")]
    Range,
    /// Hashes do not lead to the root.
    #[error("does not lead to the root")]
    Mismatch,
}

/// The right edge of a tree: the roots of its perfect subtrees, largest first. Enough to append and to
/// know the root; `popcount(size)` hashes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    edge: Vec<Digest>,
}

impl Frontier {
    /// Of the empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From anyone's claim: the number of hashes must fit the size. Whether they are true shows in the root.
    pub fn from_parts(size: u64, edge: Vec<Digest>) -> Result<Self, LogError> {
        if size > TREE_SIZE_MAX {
            return Err(LogError::Range);
        }
        if edge.len() != size.count_ones() as usize {
            return Err(LogError::Shape {
                size,
                got: edge.len(),
            });
        }
        Ok(Self { size, edge })
    }

    /// Leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Largest subtree first.
    #[must_use]
    pub fn edge(&self) -> &[Digest] {
        &self.edge
    }

    /// Root of the tree.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut smallest_first = self.edge.iter().rev();
        match smallest_first.next() {
            None => empty_root(),
            Some(last) => smallest_first.fold(*last, |right, left| node_hash(left, &right)),
        }
    }

    /// Appends a leaf; reports every perfect subtree that this completes, as (level, index at that
    /// level, hash), level 0 (the leaf itself) first: what a [`Nodes`] store keeps.
    pub fn append(&mut self, leaf: Digest, completed: &mut impl FnMut(u8, u64, Digest)) {
        let index = self.size;
        let mut hash = leaf;
        let mut level = 0;
        completed(level, index, hash);
        while index >> level & 1 == 1 {
            let left = self
                .edge
                .pop()
                .expect("the edge holds one hash for each bit of the size");
            hash = node_hash(&left, &hash);
            level += 1;
            completed(level, index >> level, hash);
        }
        self.edge.push(hash);
        self.size = index + 1;
    }
}

/// Where roots of perfect subtrees are kept: (level, index) -> hash. Level 0 are leaf hashes.
pub trait Nodes {
    /// The hash, if this perfect subtree is known.
    fn node(&self, level: u8, index: u64) -> Option<Digest>;
}

/// Nodes in memory, as [`Frontier::append`] reports them.
impl Nodes for BTreeMap<(u8, u64), Digest> {
    fn node(&self, level: u8, index: u64) -> Option<Digest> {
        self.get(&(level, index)).copied()
    }
}

/// Refuses what no proof can have, before any hash is computed.
fn check_bounds(size: u64, hashes: usize) -> Result<(), LogError> {
    if size > TREE_SIZE_MAX {
        return Err(LogError::Range);
    }
    if hashes > PROOF_HASHES_MAX {
        return Err(LogError::Shape { size, got: hashes });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
