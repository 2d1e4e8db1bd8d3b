//! Tree nodes on disk: sixteen hashes to a tile, four levels of the tree to a tile level.
//!
//! A tile holds hashes of level 4L, so one key serves sixteen leaves, and the three levels between are
//! computed from it with at most 15 hashes. Measured with batches of 512 records and their indices,
//! this doubles what the store takes, against one key for each node: sled's cost is by key.
//!
//! ```text
//! key    0x03 | site 32 | L 1 | tile index 8
//! value  mask 2 (bit i: entry i is present) | the present hashes, 32 bytes each, in order
//! ```
//!
//! A node between tile levels whose children are not all known is kept by itself, under table `Node`.
//! Tiles do not know what a head says; `check` compares the two.

use fmesh_proto::{
    id::{Digest, SiteId},
    limits::TREE_SIZE_MAX,
    log::{Nodes, node_hash},
};

use super::{
    Store, StoreError,
    keys::{self, Cut, Table},
};

/// Hashes of one level in one tile.
pub(super) const WIDTH: u64 = 16;
/// Levels of the tree that one tile level covers: 2^4 = 16.
const HEIGHT: u8 = 4;

/// Up to sixteen neighbours of one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tile {
    hashes: [Option<Digest>; WIDTH as usize],
}

impl Tile {
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut cut = Cut(value);
        let mask = u16::from_be_bytes(cut.bytes()?);
        let mut tile = Self::default();
        for (i, hash) in tile.hashes.iter_mut().enumerate() {
            if mask >> i & 1 == 1 {
                *hash = Some(Digest(cut.bytes()?));
            }
        }
        cut.end(tile).filter(|_| mask != 0)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut mask = 0_u16;
        let mut value = vec![0; 2];
        for (i, hash) in self.hashes.iter().enumerate() {
            if let Some(hash) = hash {
                mask |= 1 << i;
                value.extend_from_slice(&hash.0);
            }
        }
        value[..2].copy_from_slice(&mask.to_be_bytes());
        value
    }

    pub(super) fn set(&mut self, index: u64, hash: Digest) {
        self.hashes[(index % WIDTH) as usize] = Some(hash);
    }

    pub(super) fn get(&self, index: u64) -> Option<Digest> {
        self.hashes[(index % WIDTH) as usize]
    }

    /// Root of the subtree `index` that stands `rise` levels above the tile's own, if all of it is here.
    pub(super) fn root(&self, rise: u8, index: u64) -> Option<Digest> {
        let index = index % WIDTH;
        if rise == 0 {
            return self.get(index);
        }
        let left = self.root(rise - 1, index * 2)?;
        let right = self.root(rise - 1, index * 2 + 1)?;
        Some(node_hash(&left, &right))
    }

    /// Root of the whole tile, if it is full.
    pub(super) fn full_root(&self) -> Option<Digest> {
        self.root(HEIGHT, 0)
    }
}

/// Where the node (level, index) is: tile level, tile index, and how far above the tile's own level.
pub(super) fn place(level: u8, index: u64) -> (u8, u64, u8) {
    let rise = level % HEIGHT;
    (level / HEIGHT, index >> (HEIGHT - rise), rise)
}

/// Levels of a tree of at most 2^63 leaves.
pub(super) const LEVELS: u8 = 64;

impl Store {
    /// Tree nodes of one log, for proofs.
    #[must_use]
    pub fn nodes(&self, site: &SiteId) -> StoredNodes {
        StoredNodes {
            store: self.clone(),
            site: *site,
        }
    }

    /// Leaf hashes [from, from+count) of one log, as many as are known.
    pub fn leaf_hashes(
        &self,
        site: &SiteId,
        from: u64,
        count: usize,
    ) -> Result<Vec<Digest>, StoreError> {
        if from > TREE_SIZE_MAX {
            return Ok(Vec::new());
        }
        let first = keys::node(Table::Tile, site, 0, from / WIDTH);
        let last = keys::node(Table::Tile, site, 0, u64::MAX);
        let mut hashes = Vec::new();
        let mut next = from;
        for entry in self.db.range(first..=last) {
            let (key, value) = entry.map_err(StoreError::of)?;
            let at = Cut(&key[34..]).number();
            let tile = Tile::decode(&value).ok_or_else(|| StoreError::unreadable("tile", &key))?;
            if at != Some(next / WIDTH) {
                break;
            }
            for index in next..(next / WIDTH + 1) * WIDTH {
                match tile.get(index) {
                    Some(hash) if hashes.len() < count => hashes.push(hash),
                    _ => return Ok(hashes),
                }
            }
            next = (next / WIDTH + 1) * WIDTH;
        }
        Ok(hashes)
    }

    pub(super) fn tile(
        &self,
        site: &SiteId,
        level: u8,
        index: u64,
    ) -> Result<Option<Tile>, StoreError> {
        let key = keys::node(Table::Tile, site, level, index);
        self.read(&key, "tile", Tile::decode)
    }

    /// A node, from its tile or by itself.
    pub(super) fn node(
        &self,
        site: &SiteId,
        level: u8,
        index: u64,
    ) -> Result<Option<Digest>, StoreError> {
        let (tile_level, tile_index, rise) = place(level, index);
        let tile = self.tile(site, tile_level, tile_index)?;
        match tile.and_then(|tile| tile.root(rise, index)) {
            Some(hash) => Ok(Some(hash)),
            None if rise == 0 => Ok(None),
            None => self.loose_node(site, level, index),
        }
    }

    /// A node that is kept by itself.
    fn loose_node(
        &self,
        site: &SiteId,
        level: u8,
        index: u64,
    ) -> Result<Option<Digest>, StoreError> {
        let key = keys::node(Table::Node, site, level, index);
        self.read(&key, "node", Digest::from_slice)
    }
}

/// Tree nodes of one log.
#[derive(Debug, Clone)]
pub struct StoredNodes {
    store: Store,
    site: SiteId,
}

impl Nodes for StoredNodes {
    /// A node that cannot be read counts as missing: no proof is better than a wrong one.
    fn node(&self, level: u8, index: u64) -> Option<Digest> {
        self.store
            .node(&self.site, level, index)
            .inspect_err(
                |error| tracing::error!(site = %self.site, level, index, %error, "tree node"),
            )
            .ok()
            .flatten()
    }
}
