//! Keys: one byte for the table, then fixed-width parts, so that byte order is the order we read in.
//!
//! Numbers are big-endian. Only the last part of a key may vary in length; a kind in the middle ends
//! with a zero byte, which no kind contains.

use fmesh_proto::{
    id::{CircleId, ObjectId, SiteId},
    kinds::Kind,
};

/// First byte of a key. Numbers are on disk: never reuse one, and raise the schema when one changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    Schema = 0x00,
    Meta = 0x01,
    Head = 0x02,
    Tile = 0x03,
    Node = 0x04,
    Record = 0x05,
    Current = 0x06,
    Membership = 0x07,
    Publication = 0x08,
    Feed = 0x09,
    FeedPosition = 0x0a,
    FeedAck = 0x0b,
    EpochKey = 0x0c,
    Object = 0x0d,
    ObjectKey = 0x0e,
    Issue = 0x0f,
    Circle = 0x10,
    CircleSecret = 0x11,
    Invite = 0x12,
    Pending = 0x13,
    Addresses = 0x14,
    Refusal = 0x15,
    Commits = 0x16,
    Through = 0x20,
    Ending = 0x21,
    Fed = 0x22,
    TwoFaced = 0x23,
    Pledge = 0x24,
    Cosigned = 0x25,
    Fork = 0x26,
}

impl Table {
    /// Every table, for a walk over the whole store.
    pub(super) const ALL: [Self; 30] = [
        Self::Schema,
        Self::Meta,
        Self::Head,
        Self::Tile,
        Self::Node,
        Self::Record,
        Self::Current,
        Self::Membership,
        Self::Publication,
        Self::Feed,
        Self::FeedPosition,
        Self::FeedAck,
        Self::EpochKey,
        Self::Object,
        Self::ObjectKey,
        Self::Issue,
        Self::Circle,
        Self::CircleSecret,
        Self::Invite,
        Self::Pending,
        Self::Addresses,
        Self::Refusal,
        Self::Commits,
        Self::Through,
        Self::Ending,
        Self::Fed,
        Self::TwoFaced,
        Self::Pledge,
        Self::Cosigned,
        Self::Fork,
    ];

    /// The table a key belongs to.
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|table| key.first() == Some(&(*table as u8)))
    }

    /// A key of this table.
    pub(super) fn key(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
        key.push(self as u8);
        for part in parts {
            key.extend_from_slice(part);
        }
        key
    }

    /// (owner, number): records, publications, heads' parts, feeds.
    pub(super) fn numbered(self, owner: &[u8], number: u64) -> Vec<u8> {
        self.key(&[owner, &number.to_be_bytes()])
    }

    /// (kind, id): own objects and what went out for them.
    pub(super) fn object(self, kind: &Kind, id: &ObjectId) -> Vec<u8> {
        self.key(&[kind.as_str().as_bytes(), &[0], id.0.as_bytes()])
    }
}

/// A perfect subtree, or a tile of them.
pub(super) fn node(table: Table, site: &SiteId, level: u8, index: u64) -> Vec<u8> {
    table.key(&[&site.0, &[level], &index.to_be_bytes()])
}

/// An object's current revision.
pub(super) fn current(site: &SiteId, kind: &Kind, id: &ObjectId) -> Vec<u8> {
    let kind = kind.as_str().as_bytes();
    Table::Current.key(&[&site.0, kind, &[0], id.0.as_bytes()])
}

/// All epoch keys of a circle.
pub(super) fn epochs_of(issuer: &SiteId, circle: &CircleId) -> Vec<u8> {
    Table::EpochKey.key(&[&issuer.0, &circle.0])
}

/// An epoch key.
pub(super) fn epoch(issuer: &SiteId, circle: &CircleId, epoch: u64) -> Vec<u8> {
    Table::EpochKey.key(&[&issuer.0, &circle.0, &epoch.to_be_bytes()])
}

/// A place in a feed that we read.
pub(super) fn place(table: Table, issuer: &SiteId, circle: &CircleId, feed_seq: u64) -> Vec<u8> {
    table.key(&[&issuer.0, &circle.0, &feed_seq.to_be_bytes()])
}

/// An own object's name.
pub(super) fn object_key(kind: &Kind, name: &str) -> Vec<u8> {
    let kind = kind.as_str().as_bytes();
    Table::ObjectKey.key(&[kind, &[0], name.as_bytes()])
}

/// Reads a key or a value from left to right; `None` as soon as it is too short or means nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut<'a>(pub(super) &'a [u8]);

impl<'a> Cut<'a> {
    /// The parts of a key after its table.
    pub(super) fn key(key: &'a [u8]) -> Self {
        Self(key.get(1..).unwrap_or_default())
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    pub(super) fn site(&mut self) -> Option<SiteId> {
        self.bytes().map(SiteId)
    }

    pub(super) fn circle(&mut self) -> Option<CircleId> {
        self.bytes().map(CircleId)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.bytes().map(u8::from_be_bytes)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_be_bytes)
    }

    pub(super) fn kind(&mut self) -> Option<Kind> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(&self.0[..end]).ok()?;
        self.0 = &self.0[end + 1..];
        Kind::try_from(text.to_owned()).ok()
    }

    pub(super) fn object(&mut self) -> Option<ObjectId> {
        let bytes = self.bytes::<16>()?;
        Some(ObjectId(uuid::Uuid::from_bytes(bytes)))
    }

    /// Everything that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// `value`, if nothing is left.
    pub(super) fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}
