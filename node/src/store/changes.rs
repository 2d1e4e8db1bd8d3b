//! What one commit changes, and how it becomes one batch.
//!
//! [`Changes`] only collects. [`Changes::stage`] runs under the store's lock, applies the changes in
//! order over what is stored, and so keeps what depends on older state: tiles, the names of own
//! objects, counts of refusals. Everything else `writer` says outright.

use std::collections::{BTreeMap, BTreeSet};

use fmesh_proto::{
    circle::Circle,
    id::{CircleId, Digest, InviteId, ObjectId, SiteId},
    kinds::Kind,
    publication::Publication,
    record::View,
    wire,
};
use prost::Message as _;

use super::{
    CircleSecret, Ending, FeedEntry, Head, Invite, Issue, LocalObject, Meta, PendingJoin,
    REFUSALS_MAX, Refusal, Store, StoreError, Through, TwoFaced,
    codec::{self, from_json, json},
    delivery::ACKS_KEPT,
    keys::{self, Table},
    publications::STRIPPED,
    tiles::{self, Tile},
};

/// Longest reason of a refusal in characters.
const REASON_CHARS_MAX: usize = 400;

/// Everything one commit changes: built by `writer`, applied at once or not at all. Later changes win over earlier ones.
#[derive(Debug, Default)]
pub struct Changes {
    ops: Vec<Op>,
}

#[derive(Debug)]
enum Op {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Node(SiteId, u8, u64, Digest),
    FeedAck(Vec<u8>, u64, u64),
    Object(Box<LocalObject>),
    DeleteObject(Kind, ObjectId),
    Refusal(Refusal),
}

impl Changes {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// True if nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
    pub(super) fn put(&mut self, key: Vec<u8>, value: impl Into<Vec<u8>>) {
        self.ops.push(Op::Put(key, value.into()));
    }
    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.ops.push(Op::Delete(key));
    }

    /// Site-wide facts.
    pub fn put_meta(&mut self, meta: &Meta) {
        self.put(Table::Meta.key(&[]), json(meta));
    }
    /// Head of a log.
    pub fn put_head(&mut self, site: &SiteId, head: &Head) {
        self.put(Table::Head.key(&[&site.0]), codec::head(head));
    }
    /// Root of a perfect subtree: all that [`fmesh_proto::log::Frontier::append`] reports.
    pub fn put_node(&mut self, site: &SiteId, level: u8, index: u64, hash: &Digest) {
        self.ops.push(Op::Node(*site, level, index, *hash));
    }
    /// A verified record; `received` unix seconds. Foreign: as disclosed to us. Own: everything opened.
    /// Its object's [`Self::put_current`] belongs into the same commit, unless a later revision is current.
    pub fn put_record(&mut self, site: &SiteId, seq: u64, view: &View, received: u64) {
        self.put(
            Table::Record.numbered(&site.0, seq),
            codec::record(view, received),
        );
    }
    /// Removes a record (its leaf in the log turned out to be another one).
    pub fn delete_record(&mut self, site: &SiteId, seq: u64) {
        self.delete(Table::Record.numbered(&site.0, seq));
    }
    /// The current revision of an object.
    pub fn put_current(&mut self, site: &SiteId, kind: &Kind, id: &ObjectId, seq: u64) {
        self.put(keys::current(site, kind, id), seq.to_be_bytes());
    }
    /// No revision of an object is held any more.
    pub fn delete_current(&mut self, site: &SiteId, kind: &Kind, id: &ObjectId) {
        self.delete(keys::current(site, kind, id));
    }
    /// A `keys` or `membership` record: listed so that membership can be computed without a scan.
    pub fn put_membership(&mut self, site: &SiteId, seq: u64) {
        self.put(Table::Membership.numbered(&site.0, seq), []);
    }
    /// Its record is gone.
    pub fn delete_membership(&mut self, site: &SiteId, seq: u64) {
        self.delete(Table::Membership.numbered(&site.0, seq));
    }
    /// A publication as received or made; `at` unix seconds for retention.
    pub fn put_publication(&mut self, site: &SiteId, from: u64, bytes: &[u8], at: u64) {
        // Bytes that are no publication cover nothing: they are never served, and `check` names them.
        let size = wire::Publication::decode(bytes).map_or(from, |publication| {
            from.saturating_add(publication.leaf_hash.len() as u64)
        });
        self.put(
            Table::Publication.numbered(&site.0, from),
            codec::publication(at, size, bytes),
        );
    }
    /// A position in a feed that we issue.
    pub fn put_feed_entry(&mut self, circle: &CircleId, entry: &FeedEntry) {
        self.put(Table::Feed.numbered(&circle.0, entry.feed_seq), json(entry));
    }
    /// How far we are in somebody's feed.
    pub fn put_feed_position(&mut self, issuer: &SiteId, circle: &CircleId, feed_seq: u64) {
        let key = Table::FeedPosition.key(&[&issuer.0, &circle.0]);
        self.put(key, feed_seq.to_be_bytes());
    }
    /// How far a reader of our feed is, durably on its side, and when it said so; kept with what it said before.
    pub fn put_feed_ack(&mut self, circle: &CircleId, reader: &SiteId, feed_seq: u64, at: u64) {
        let key = Table::FeedAck.key(&[&circle.0, &reader.0]);
        self.ops.push(Op::FeedAck(key, feed_seq, at));
    }
    /// An epoch key that somebody granted us.
    pub fn put_epoch_key(
        &mut self,
        issuer: &SiteId,
        circle: &CircleId,
        epoch: u64,
        key: &[u8; 32],
    ) {
        self.put(keys::epoch(issuer, circle, epoch), *key);
    }
    /// Its grant ended.
    pub fn delete_epoch_key(&mut self, issuer: &SiteId, circle: &CircleId, epoch: u64) {
        self.delete(keys::epoch(issuer, circle, epoch));
    }
    /// Through which circles the slots of a record were opened; only of records that came through several.
    pub fn put_through(&mut self, site: &SiteId, seq: u64, through: &Through) {
        self.put(Table::Through.numbered(&site.0, seq), json(through));
    }
    /// The end of a grant to us.
    pub fn put_ending(&mut self, ending: &Ending) {
        let key = Table::Ending.key(&[&ending.issuer.0, &ending.circle.0]);
        self.put(key, json(ending));
    }
    /// It was granted again.
    pub fn delete_ending(&mut self, issuer: &SiteId, circle: &CircleId) {
        self.delete(Table::Ending.key(&[&issuer.0, &circle.0]));
    }
    /// Which leaf stands at a position of a feed that we read.
    pub fn put_fed(&mut self, issuer: &SiteId, circle: &CircleId, feed_seq: u64, seq: u64) {
        let key = keys::place(Table::Fed, issuer, circle, feed_seq);
        self.put(key, seq.to_be_bytes());
    }
    /// Evidence against a site. The caller keeps to [`super::TWO_FACED_MAX`].
    pub fn put_two_faced(&mut self, evidence: &TwoFaced) {
        let TwoFaced {
            issuer,
            circle,
            feed_seq,
            ..
        } = evidence;
        let key = keys::place(Table::TwoFaced, issuer, circle, *feed_seq);
        self.put(key, json(evidence));
    }
    /// A publication without its content, to be kept as long as the log.
    pub fn put_stripped(&mut self, site: &SiteId, publication: &Publication) {
        let bytes = publication.stripped();
        let (key, size) = (
            Table::Publication.numbered(&site.0, publication.from()),
            publication.size(),
        );
        self.put(key, codec::publication(STRIPPED, size, &bytes));
    }
    /// An own object. The commit fails with [`StoreError::NameTaken`] if another one of its kind has its name.
    pub fn put_object(&mut self, object: &LocalObject) {
        self.ops.push(Op::Object(Box::new(object.clone())));
    }
    /// An own object that nobody was ever shown; what went out is retired, not deleted.
    pub fn delete_object(&mut self, kind: &Kind, id: &ObjectId) {
        self.ops.push(Op::DeleteObject(kind.clone(), *id));
    }
    /// What went out for it.
    pub fn put_issue(&mut self, kind: &Kind, id: &ObjectId, issue: &Issue) {
        self.put(Table::Issue.object(kind, id), json(issue));
    }
    /// A circle.
    pub fn put_circle(&mut self, circle: &Circle) {
        self.put(Table::Circle.key(&[&circle.id.0]), json(circle));
    }
    /// A circle and its secret. What went out stays in its feed.
    pub fn delete_circle(&mut self, circle: &CircleId) {
        self.delete(Table::Circle.key(&[&circle.0]));
        self.delete(Table::CircleSecret.key(&[&circle.0]));
    }
    /// A group circle's secret.
    pub fn put_circle_secret(&mut self, circle: &CircleId, secret: &CircleSecret) {
        self.put(Table::CircleSecret.key(&[&circle.0]), json(secret));
    }
    /// An invite.
    pub fn put_invite(&mut self, invite: &Invite) {
        self.put(Table::Invite.key(&[&invite.id.0]), json(invite));
    }
    /// An invite that is over and not worth keeping.
    pub fn delete_invite(&mut self, invite: &InviteId) {
        self.delete(Table::Invite.key(&[&invite.0]));
    }
    /// A site that knocks.
    pub fn put_pending(&mut self, pending: &PendingJoin) {
        self.put(Table::Pending.key(&[&pending.site.0]), json(pending));
    }
    /// It was answered.
    pub fn delete_pending(&mut self, site: &SiteId) {
        self.delete(Table::Pending.key(&[&site.0]));
    }
    /// Where a member may be reached.
    pub fn put_addresses(&mut self, record: &wire::AddressRecord) {
        self.put(
            Table::Addresses.key(&[&record.site]),
            record.encode_to_vec(),
        );
    }
    /// A site that is no member any more.
    pub fn delete_addresses(&mut self, site: &SiteId) {
        self.delete(Table::Addresses.key(&[&site.0]));
    }
    /// A refused record; adds to the count of the same site and reason.
    pub fn put_refusal(&mut self, refusal: &Refusal) {
        self.ops.push(Op::Refusal(refusal.clone()));
    }

    /// The batch that these changes make of what `store` holds.
    pub(super) fn stage(
        self,
        store: &Store,
    ) -> Result<BTreeMap<Vec<u8>, Option<Vec<u8>>>, StoreError> {
        let mut stage = Stage {
            store,
            writes: BTreeMap::new(),
            tiles: BTreeMap::new(),
            between: BTreeMap::new(),
            refused: false,
        };
        for op in self.ops {
            stage.apply(op)?;
        }
        stage.finish()
    }
}

/// Changes over a store, on their way into one batch.
struct Stage<'a> {
    store: &'a Store,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    tiles: BTreeMap<(SiteId, u8, u64), Tile>,
    /// Nodes between tile levels.
    between: BTreeMap<(SiteId, u8, u64), Digest>,
    refused: bool,
}

impl Stage<'_> {
    fn apply(&mut self, op: Op) -> Result<(), StoreError> {
        match op {
            Op::Put(key, value) => self.write(key, Some(value)),
            Op::Delete(key) => self.write(key, None),
            Op::Node(site, level, index, hash) => self.node(site, level, index, hash)?,
            Op::FeedAck(key, feed_seq, at) => self.feed_ack(key, feed_seq, at)?,
            Op::Object(object) => self.object(&object)?,
            Op::DeleteObject(kind, id) => self.delete_object(&kind, &id)?,
            Op::Refusal(refusal) => self.refusal(refusal)?,
        }
        Ok(())
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.writes.insert(key, value);
    }

    /// What is stored, with this commit's own writes on top.
    fn read<T>(
        &self,
        key: &[u8],
        what: &str,
        decode: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.as_deref().and_then(decode)),
            None => self.store.read(key, what, decode),
        }
    }

    fn node(
        &mut self,
        site: SiteId,
        level: u8,
        index: u64,
        hash: Digest,
    ) -> Result<(), StoreError> {
        let (tile_level, tile_index, rise) = tiles::place(level, index);
        if rise > 0 {
            self.between.insert((site, level, index), hash);
            return Ok(());
        }
        self.tile((site, tile_level, tile_index))?.set(index, hash);
        Ok(())
    }

    fn tile(&mut self, at: (SiteId, u8, u64)) -> Result<&mut Tile, StoreError> {
        use std::collections::btree_map::Entry;
        match self.tiles.entry(at) {
            Entry::Occupied(tile) => Ok(tile.into_mut()),
            Entry::Vacant(free) => {
                let (site, level, index) = at;
                let stored = self.store.tile(&site, level, index)?;
                Ok(free.insert(stored.unwrap_or_default()))
            }
        }
    }

    fn feed_ack(&mut self, key: Vec<u8>, feed_seq: u64, at: u64) -> Result<(), StoreError> {
        let acks = self.read(&key, "feed acknowledgement", codec::from_acks)?;
        let mut acks = acks.unwrap_or_default();
        acks.push((feed_seq, at));
        let over = acks.len().saturating_sub(ACKS_KEPT);
        self.write(key, Some(codec::acks(&acks[over..])));
        Ok(())
    }

    fn object(&mut self, object: &LocalObject) -> Result<(), StoreError> {
        let key = Table::Object.object(&object.kind, &object.id);
        let name = keys::object_key(&object.kind, &object.key);
        let owner = self.read(&name, "object name", |id| id.try_into().ok())?;
        if owner.is_some_and(|owner: [u8; 16]| owner != *object.id.0.as_bytes()) {
            return Err(StoreError::NameTaken {
                kind: object.kind.to_string(),
                name: object.key.clone(),
            });
        }
        if let Some(old) = self.read(&key, "object", from_json::<LocalObject>)? {
            self.write(keys::object_key(&old.kind, &old.key), None);
        }
        self.write(name, Some(object.id.0.as_bytes().to_vec()));
        self.write(key, Some(json(object)));
        Ok(())
    }

    fn delete_object(&mut self, kind: &Kind, id: &ObjectId) -> Result<(), StoreError> {
        let key = Table::Object.object(kind, id);
        if let Some(old) = self.read(&key, "object", from_json::<LocalObject>)? {
            self.write(keys::object_key(&old.kind, &old.key), None);
        }
        self.write(key, None);
        self.write(Table::Issue.object(kind, id), None);
        Ok(())
    }

    fn refusal(&mut self, mut refusal: Refusal) -> Result<(), StoreError> {
        refusal.reason = refusal.reason.chars().take(REASON_CHARS_MAX).collect();
        let reason = Digest::of(refusal.reason.as_bytes());
        let key = Table::Refusal.key(&[&refusal.site.0, &reason.0[..16]]);
        if let Some(old) = self.read(&key, "refusal", from_json::<Refusal>)? {
            refusal.count = refusal.count.saturating_add(old.count);
            refusal.at = refusal.at.max(old.at);
        }
        self.write(key, Some(json(&refusal)));
        self.refused = true;
        Ok(())
    }

    fn finish(mut self) -> Result<BTreeMap<Vec<u8>, Option<Vec<u8>>>, StoreError> {
        let between = std::mem::take(&mut self.between);
        for ((site, level, index), hash) in between {
            let (tile_level, tile_index, rise) = tiles::place(level, index);
            let at = (site, tile_level, tile_index);
            let tile = match self.tiles.get(&at) {
                Some(tile) => Some(*tile),
                None => self.store.tile(&site, tile_level, tile_index)?,
            };
            // A full set of children says it already.
            if tile.and_then(|tile| tile.root(rise, index)).is_none() {
                let key = keys::node(Table::Node, &site, level, index);
                self.write(key, Some(hash.0.to_vec()));
            }
        }
        for ((site, level, index), tile) in std::mem::take(&mut self.tiles) {
            let key = keys::node(Table::Tile, &site, level, index);
            self.write(key, Some(tile.encode()));
        }
        if self.refused {
            self.bound_refusals()?;
        }
        Ok(self.writes)
    }

    /// Drops the oldest refusals over the bound.
    fn bound_refusals(&mut self) -> Result<(), StoreError> {
        let mut all = BTreeMap::new();
        let table = Table::Refusal.key(&[]);
        for entry in self.store.scan(&table, "refusal", |key, value| {
            Some((key.to_vec(), from_json::<Refusal>(value)?.at))
        }) {
            let (key, at) = entry?;
            all.insert(key, at);
        }
        for (key, value) in self.writes.range(table.clone()..) {
            if !key.starts_with(&table) {
                break;
            }
            if let Some(refusal) = value.as_deref().and_then(from_json::<Refusal>) {
                all.insert(key.clone(), refusal.at);
            }
        }
        let over = all.len().saturating_sub(REFUSALS_MAX);
        let by_age: BTreeSet<_> = all.into_iter().map(|(key, at)| (at, key)).collect();
        for (_, key) in by_age.into_iter().take(over) {
            self.write(key, None);
        }
        Ok(())
    }
}
