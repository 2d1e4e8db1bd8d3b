//! How far readers of our feeds are, from what they acknowledged as durable on their side.
//!
//! Of each reader and circle the newest acknowledgements are kept with the time at which they came, so that of a record one can say
//! since when at the latest it has arrived.

use std::collections::BTreeMap;

use fmesh_proto::{
    circle::History,
    id::{CircleId, SiteId},
};

use super::{Entry, Store, StoreError, codec, keys::Table};

/// Acknowledgements that are kept of one reader and circle; the oldest go first.
pub(super) const ACKS_KEPT: usize = 64;
/// Positions before a reader's entry that are looked at, to see which of them are for it.
const PAST_LOOKED_AT: usize = 4_096;

impl Store {
    /// How far a reader of ours is: the last position that it acknowledged.
    pub fn feed_ack(&self, circle: &CircleId, reader: &SiteId) -> Result<u64, StoreError> {
        let acks = self.feed_acks(circle, reader)?;
        Ok(acks.last().map_or(0, |(position, _)| *position))
    }

    /// Its newest acknowledgements: (position, unix seconds when it came), ascending.
    pub fn feed_acks(
        &self,
        circle: &CircleId,
        reader: &SiteId,
    ) -> Result<Vec<(u64, u64)>, StoreError> {
        let key = Table::FeedAck.key(&[&circle.0, &reader.0]);
        let acks = self.read(&key, "feed acknowledgement", codec::from_acks)?;
        Ok(acks.unwrap_or_default())
    }

    /// A feed of `own`, to see how far several readers of it are.
    pub fn readership<'s>(
        &'s self,
        own: &'s SiteId,
        circle: &'s CircleId,
    ) -> Result<Readership<'s>, StoreError> {
        let entered = self.circle_secret(circle)?.map(|secret| secret.entered);
        Ok(Readership {
            store: self,
            own,
            circle,
            tail: self.feed_tail(circle)?,
            entered: entered.unwrap_or_default(),
        })
    }
}

/// What is read once of a feed, however many readers it has.
#[derive(Debug)]
pub struct Readership<'s> {
    store: &'s Store,
    own: &'s SiteId,
    circle: &'s CircleId,
    tail: u64,
    entered: BTreeMap<SiteId, Entry>,
}

impl Readership<'_> {
    /// The circle that the feed is of.
    #[must_use]
    pub fn circle(&self) -> &CircleId {
        self.circle
    }

    /// Its newest position.
    #[must_use]
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Records that are for `reader`, and that it has not acknowledged.
    pub fn lacking(&self, reader: &SiteId) -> Result<u64, StoreError> {
        let (store, tail) = (self.store, self.tail);
        let ack = store.feed_ack(self.circle, reader)?;
        let Some(entry) = self.entered.get(reader).filter(|entry| entry.after > ack) else {
            return Ok(tail.saturating_sub(ack));
        };
        let since = tail.saturating_sub(entry.after);
        let past = match entry.history {
            History::None => 0,
            History::All => entry.after - ack,
            History::Current => {
                let mut count = 0;
                let entries = store.feed_entries(self.circle, ack);
                for feed_entry in entries.take(PAST_LOOKED_AT) {
                    let feed_entry = feed_entry?;
                    if feed_entry.feed_seq > entry.after {
                        break;
                    }
                    let current = store.current(self.own, &feed_entry.kind, &feed_entry.id)?;
                    count += u64::from(current == Some(feed_entry.seq));
                }
                count
            }
        };
        Ok(since + past)
    }
}
