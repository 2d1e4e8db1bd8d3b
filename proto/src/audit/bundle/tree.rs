//! The tree of one log in memory, from its leaf hashes: roots, proofs and tiles without further hashing.

use crate::{
    id::Digest,
    log::{Nodes, empty_root, frontier_at, node_hash},
};

use super::name::Tile;

/// Hashes in a full tile.
pub(super) const TILE_WIDTH: usize = 256;
/// Levels of the tree from one tile level to the next.
const TILE_HEIGHT: u8 = 8;

/// All nodes of a tree, level by level: 64 bytes for each leaf. The last node of a level that has no
/// sibling stands in the next level, too, so that every sibling of a path is at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// From the hashes of all leaves.
    #[must_use]
    pub fn new(leaves: Vec<Digest>) -> Self {
        let mut levels = vec![leaves];
        while let Some(below) = levels.last()
            && below.len() > 1
        {
            let above = below
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => node_hash(left, right),
                    [alone, ..] => *alone,
                    [] => empty_root(),
                })
                .collect();
            levels.push(above);
        }
        Self { levels }
    }

    /// Leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels[0].len() as u64
    }

    /// Hash of one leaf.
    #[must_use]
    pub fn leaf(&self, index: u64) -> Option<&Digest> {
        self.levels[0].get(usize::try_from(index).ok()?)
    }

    /// Root of the first `size` leaves.
    #[must_use]
    pub fn root_at(&self, size: u64) -> Option<Digest> {
        if size > self.size() {
            return None;
        }
        Some(frontier_at(self, size)?.root())
    }

    /// Inclusion path of a leaf in the whole tree, leaf to root.
    pub fn path(&self, index: u64) -> impl Iterator<Item = &Digest> {
        let levels = self.levels.iter().enumerate();
        levels.filter_map(move |(level, nodes)| {
            let sibling = usize::try_from(index >> level).ok()? ^ 1;
            nodes.get(sibling)
        })
    }

    /// The tiles of the whole tree with their bytes, level by level.
    pub fn tiles(&self) -> impl Iterator<Item = (Tile, Vec<u8>)> {
        let size = self.size();
        let levels = (0_u8..).map_while(move |level| {
            let count = size.checked_shr(u32::from(level * TILE_HEIGHT))?;
            (count > 0 && level < TILE_HEIGHT).then_some((level, count))
        });
        levels.flat_map(move |(level, count)| {
            (0..count.div_ceil(TILE_WIDTH as u64)).map(move |index| {
                let first = index * TILE_WIDTH as u64;
                let width = (count - first).min(TILE_WIDTH as u64);
                let nodes = &self.levels[usize::from(level * TILE_HEIGHT)];
                let from = usize::try_from(first).unwrap_or(usize::MAX);
                let bytes = nodes[from..][..width as usize]
                    .iter()
                    .flat_map(|hash| hash.0)
                    .collect();
                let tile = Tile {
                    level,
                    index,
                    width: width as u16,
                };
                (tile, bytes)
            })
        })
    }
}

/// Perfect subtrees.
impl Nodes for Tree {
    fn node(&self, level: u8, index: u64) -> Option<Digest> {
        let end = index.checked_add(1)?.checked_mul(1 << level)?;
        if end > self.size() {
            return None;
        }
        let nodes = self.levels.get(usize::from(level))?;
        nodes.get(usize::try_from(index).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Frontier, leaf_hash, prove_inclusion, verify_inclusion};

    #[test]
    fn roots_paths_and_nodes_are_those_of_the_log() {
        for size in 0..40_u64 {
            let leaves: Vec<_> = (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect();
            let (tree, mut frontier) = (Tree::new(leaves.clone()), Frontier::new());
            for (n, leaf) in leaves.iter().enumerate() {
                frontier.append(*leaf, &mut |level, index, hash| {
                    assert_eq!(tree.node(level, index), Some(hash), "{size}");
                });
                assert_eq!(tree.root_at(n as u64 + 1), Some(frontier.root()));
            }
            for (index, leaf) in (0..).zip(&leaves) {
                let path: Vec<_> = tree.path(index).copied().collect();
                assert_eq!(Some(&path), prove_inclusion(&tree, index, size).as_ref());
                let root = frontier.root();
                assert_eq!(verify_inclusion(index, size, leaf, &path, &root), Ok(()));
            }
            assert_eq!(tree.root_at(size + 1), None);
            assert_eq!(tree.node(0, size), None);
        }
    }

    #[test]
    fn tiles_hold_every_eighth_level() {
        let leaves: Vec<_> = (0..600_u64).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let tree = Tree::new(leaves.clone());
        let tiles: Vec<_> = tree.tiles().collect();
        let names: Vec<_> = tiles.iter().map(|(tile, _)| tile.to_string()).collect();
        assert_eq!(names, ["0/000", "0/001", "0/002.p/88", "1/000.p/2"]);
        assert_eq!(tiles[1].1[..32], leaves[256].0);
        assert_eq!(tiles[3].1[32..], tree.node(8, 1).expect("full").0);
        assert_eq!(Tree::new(Vec::new()).tiles().count(), 0);
    }
}
