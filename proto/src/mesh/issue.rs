//! Giving out: sign records, append them to the own log, and make the publications that carry them.
//!
//! Pure: the node says what goes to which circle with which slots ([`crate::circle::permits`] decided that), and stores
//! the whole [`Issuance`] before any byte of it leaves.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::CryptoRng;

use super::follow::Head;
use crate::{
    circle::{self, EpochKey, SealContext},
    id::{CircleId, Digest, MeshId, ObjectId, SiteId},
    keys::OperatingKeys,
    kinds::Kind,
    limits,
    log::leaf_hash,
    note::Checkpoint,
    publication::{Publication, PublicationError},
    record::{Claims, Fields, Issued, RecordError, View},
    wire,
};

/// Why records cannot be issued; nothing was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The record breaks its kind's rules or a limit.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The publication cannot be built.
    #[error(transparent)]
    Publication(#[from] PublicationError),
    /// A partner's key does not work.
    #[error("cannot seal for circle {0}: {1}")]
    Seal(CircleId, String),
}

/// How a circle's members read.
#[derive(Debug, Clone)]
pub enum Seal {
    /// Everybody in the mesh reads it.
    Plain,
    /// One partner, by its box key.
    Pairwise([u8; 32]),
    /// Several partners, by the epoch's key.
    Group(u64, EpochKey),
}

/// One revision to sign.
#[derive(Debug, Clone)]
pub struct Item {
    /// Kind.
    pub kind: Kind,
    /// Object.
    pub id: ObjectId,
    /// Its number.
    pub rev: u64,
    /// Digest of the core before.
    pub prev: Option<Digest>,
    /// Ends the object.
    pub retired: bool,
    /// All slots.
    pub fields: Fields,
    /// What each circle is shown.
    pub circles: BTreeMap<CircleId, BTreeSet<String>>,
}

/// One signed record with its places in feeds.
#[derive(Debug)]
pub struct Signed {
    /// Leaf index.
    pub seq: u64,
    /// The record, everything opened; `None` for what the root signed: the manifest and rotations.
    pub issued: Option<Issued>,
    /// As the author archives it.
    pub archive: View,
    /// (circle, position, slots shown).
    pub feeds: Vec<(CircleId, u64, BTreeSet<String>)>,
}

/// Everything that issuing changes; stored wholly before it leaves.
#[derive(Debug)]
pub struct Issuance {
    /// Signed records in log order.
    pub records: Vec<Signed>,
    /// The own log after them.
    pub head: Head,
    /// Perfect subtrees that became complete.
    pub nodes: Vec<(u8, u64, Digest)>,
    /// What gossip carries, in order.
    pub publications: Vec<Publication>,
}

/// Who signs.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// The mesh.
    pub mesh: MeshId,
    /// This site.
    pub site: SiteId,
    /// Its keys.
    pub keys: &'a OperatingKeys,
    /// Its key manifest, which becomes leaf 0.
    pub manifest: &'a View,
}

/// Content up to this size goes along with gossip; more is pulled by those it is for.
const GOSSIPED_BYTES_MAX: usize = 4 * limits::PUBLICATION_CONTENT_BYTES_MAX;
/// Views in one publication, before sealing adds tags and at most 12 % padding.
const CHUNK_BYTES_MAX: usize = limits::PUBLICATION_CONTENT_BYTES_MAX * 3 / 4;

/// A leaf on its way into a publication.
struct Leaf {
    hash: Digest,
    views: Vec<(CircleId, View)>,
}

impl Author<'_> {
    /// Signs `items` in order after `head` and wraps them. `tails`: newest position of each circle's feed, moved on.
    /// `iat`: unix seconds, claimed. An empty log gets the manifest as its first leaf.
    pub fn issue(
        &self,
        head: Option<&Head>,
        tails: &mut BTreeMap<CircleId, u64>,
        seals: &BTreeMap<CircleId, Seal>,
        items: Vec<Item>,
        iat: u64,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Issuance, IssueError> {
        let frontier = head.map(|head| head.frontier.clone()).unwrap_or_default();
        let mut seq = frontier.size();
        let mut records = Vec::with_capacity(items.len() + 1);
        let mut leaves = Vec::with_capacity(items.len() + 1);
        if seq == 0 {
            let position = next(tails, CircleId::MESH_WIDE);
            leaves.push(Leaf {
                hash: leaf_hash(self.manifest.core().as_bytes()),
                views: vec![(CircleId::MESH_WIDE, self.manifest.clone())],
            });
            records.push(Signed {
                seq,
                issued: None,
                archive: self.manifest.clone(),
                feeds: vec![(CircleId::MESH_WIDE, position, BTreeSet::new())],
            });
            seq += 1;
        }
        for item in items {
            let (signed, leaf) = self.sign(item, seq, tails, iat, rng)?;
            records.push(signed);
            leaves.push(leaf);
            seq += 1;
        }
        self.append(head, frontier, records, &leaves, seals, rng)
    }

    /// Whether an item can be signed wherever its place will be: it is signed with the longest numbers, and dropped.
    pub fn can_sign(
        &self,
        item: Item,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(), IssueError> {
        const LAST: u64 = limits::TREE_SIZE_MAX;
        let circles = item.circles.keys();
        let mut tails = circles.map(|circle| (*circle, LAST - 1)).collect();
        self.sign(item, LAST, &mut tails, LAST, rng).map(drop)
    }

    /// Appends a rotation, which the root signed for this place: `feed` is the position in the mesh-wide feed that it names. Nothing else
    /// is in its publication, so what a publication holds was sealed with the keys that count at its first leaf.
    pub fn rotate(
        &self,
        head: &Head,
        record: View,
        feed: u64,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Issuance, IssueError> {
        let leaf = Leaf {
            hash: leaf_hash(record.core().as_bytes()),
            views: vec![(CircleId::MESH_WIDE, record.clone())],
        };
        let signed = Signed {
            seq: head.frontier.size(),
            issued: None,
            archive: record,
            feeds: vec![(CircleId::MESH_WIDE, feed, BTreeSet::new())],
        };
        let seals = BTreeMap::from([(CircleId::MESH_WIDE, Seal::Plain)]);
        self.append(
            Some(head),
            head.frontier.clone(),
            vec![signed],
            &[leaf],
            &seals,
            rng,
        )
    }

    /// Appends leaves and wraps them into publications.
    fn append(
        &self,
        head: Option<&Head>,
        mut frontier: crate::log::Frontier,
        records: Vec<Signed>,
        leaves: &[Leaf],
        seals: &BTreeMap<CircleId, Seal>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Issuance, IssueError> {
        let total: usize = leaves.iter().map(Leaf::bytes).sum();
        let gossiped = total <= GOSSIPED_BYTES_MAX;
        let mut nodes = Vec::new();
        let mut publications = Vec::new();
        for chunk in chunks(leaves, gossiped) {
            let before = frontier.clone();
            for leaf in chunk {
                frontier.append(leaf.hash, &mut |level, index, hash| {
                    nodes.push((level, index, hash))
                });
            }
            let checkpoint = Checkpoint::sign(
                &Checkpoint::origin_of(&self.mesh, &self.site),
                frontier.size(),
                frontier.root(),
                self.keys.log(),
            );
            publications.push(self.publish(before, checkpoint, chunk, seals, gossiped, rng)?);
        }
        let checkpoint = match (publications.last(), head) {
            (Some(publication), _) => publication.checkpoint.clone(),
            (None, Some(head)) => head.checkpoint.clone(),
            (None, None) => {
                unreachable!("an empty log gets its manifest, so there is a publication")
            }
        };
        Ok(Issuance {
            records,
            head: Head {
                frontier,
                checkpoint,
            },
            nodes,
            publications,
        })
    }

    fn sign(
        &self,
        item: Item,
        seq: u64,
        tails: &mut BTreeMap<CircleId, u64>,
        iat: u64,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(Signed, Leaf), IssueError> {
        let feeds: Vec<(CircleId, u64)> = item
            .circles
            .keys()
            .map(|circle| (*circle, next(tails, *circle)))
            .collect();
        let claims = Claims {
            mesh: Some(self.mesh),
            iss: self.site,
            log: 1,
            seq,
            kind: item.kind,
            id: item.id,
            rev: item.rev,
            prev: item.prev,
            iat,
            retired: item.retired,
        };
        let issued = Issued::sign(claims, &item.fields, &feeds, self.keys.record(), rng)?;
        let views = item
            .circles
            .iter()
            .filter_map(|(circle, slots)| Some((*circle, issued.view(circle, slots)?)))
            .collect();
        let leaf = Leaf {
            hash: leaf_hash(issued.core().as_bytes()),
            views,
        };
        let signed = Signed {
            seq,
            archive: issued.full_view(),
            feeds: feeds
                .into_iter()
                .zip(item.circles.into_values())
                .map(|((circle, position), slots)| (circle, position, slots))
                .collect(),
            issued: Some(issued),
        };
        Ok((signed, leaf))
    }

    fn publish(
        &self,
        before: crate::log::Frontier,
        checkpoint: Checkpoint,
        leaves: &[Leaf],
        seals: &BTreeMap<CircleId, Seal>,
        gossiped: bool,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Publication, IssueError> {
        let fits = gossiped && leaves.iter().map(Leaf::bytes).sum::<usize>() <= CHUNK_BYTES_MAX;
        let mut by_circle: BTreeMap<CircleId, Vec<View>> = BTreeMap::new();
        for (circle, view) in leaves.iter().flat_map(|leaf| &leaf.views) {
            by_circle.entry(*circle).or_default().push(view.clone());
        }
        let mut plain = Vec::new();
        let mut sealed = Vec::new();
        for (circle, views) in by_circle {
            let seal = seals.get(&circle).unwrap_or(&Seal::Plain);
            let context = SealContext {
                mesh: self.mesh,
                site: self.site,
                circle,
                epoch: match seal {
                    Seal::Group(epoch, _) => *epoch,
                    Seal::Plain | Seal::Pairwise(_) => 0,
                },
                from: before.size(),
                size: checkpoint.size(),
            };
            match seal {
                // The membership of a mesh must reach everybody, so the mesh-wide circle alone may be plain.
                Seal::Plain if circle != CircleId::MESH_WIDE => {
                    return Err(IssueError::Seal(circle, "it has no key".into()));
                }
                _ if !fits => sealed.push(wire::Sealed {
                    circle: circle.0.to_vec(),
                    epoch: context.epoch,
                    nonce: Vec::new(),
                    ciphertext: Vec::new(),
                }),
                Seal::Plain => plain.extend(views),
                Seal::Pairwise(to) => sealed.push(
                    circle::seal_pairwise(self.keys, to, &context, &views, rng)
                        .map_err(|e| IssueError::Seal(circle, e.to_string()))?,
                ),
                Seal::Group(_, key) => sealed.push(circle::seal_group(key, &context, &views, rng)),
            }
        }
        let hashes = leaves.iter().map(|leaf| leaf.hash).collect();
        Ok(Publication::build(
            self.site,
            checkpoint,
            before,
            hashes,
            plain,
            sealed,
            self.keys.log(),
        )?)
    }
}

impl Leaf {
    fn bytes(&self) -> usize {
        self.views
            .iter()
            .map(|(_, view)| view.as_str().len() + 8)
            .sum()
    }
    fn circles(&self) -> impl Iterator<Item = CircleId> {
        self.views.iter().map(|(circle, _)| *circle)
    }
}

/// Splits leaves into publications: by count, by circles, and by size where content goes along.
fn chunks(leaves: &[Leaf], gossiped: bool) -> Vec<&[Leaf]> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut bytes = 0;
    let mut circles = BTreeSet::new();
    for (i, leaf) in leaves.iter().enumerate() {
        circles.extend(leaf.circles());
        bytes += leaf.bytes();
        let full = i - start >= limits::PUBLICATION_LEAVES_MAX
            || circles.len() > limits::PUBLICATION_BOXES_MAX
            || (gossiped && bytes > CHUNK_BYTES_MAX);
        if full && i > start {
            out.push(&leaves[start..i]);
            start = i;
            bytes = leaf.bytes();
            circles = leaf.circles().collect();
        }
    }
    if start < leaves.len() {
        out.push(&leaves[start..]);
    }
    out
}

fn next(tails: &mut BTreeMap<CircleId, u64>, circle: CircleId) -> u64 {
    let tail = tails.entry(circle).or_insert(0);
    *tail += 1;
    *tail
}
