//! Reading: every accessor decodes what it returns and says which entry it could not read.

use std::collections::BTreeMap;

use fmesh_proto::{
    circle::Circle,
    id::{CircleId, ObjectId, SiteId},
    kinds::Kind,
    record::View,
    wire,
};
use prost::Message as _;

use super::{
    CircleSecret, Ending, FeedEntry, Head, Invite, Issue, LocalObject, Meta, PendingJoin, Refusal,
    Store, StoreError, Through, TwoFaced,
    codec::{self, from_json},
    keys::{self, Cut, Table},
};

impl Store {
    /// Site-wide facts.
    pub fn meta(&self) -> Result<Meta, StoreError> {
        let meta = self.read(&Table::Meta.key(&[]), "site-wide facts", from_json)?;
        Ok(meta.unwrap_or_default())
    }

    /// Head of one log.
    pub fn head(&self, site: &SiteId) -> Result<Option<Head>, StoreError> {
        self.read(&Table::Head.key(&[&site.0]), "head", codec::from_head)
    }

    /// All heads.
    pub fn heads(&self) -> Result<BTreeMap<SiteId, Head>, StoreError> {
        self.scan(&Table::Head.key(&[]), "head", |key, value| {
            Some((only_site(key)?, codec::from_head(value)?))
        })
        .collect()
    }

    /// A record and when it was received.
    pub fn record(&self, site: &SiteId, seq: u64) -> Result<Option<(View, u64)>, StoreError> {
        let key = Table::Record.numbered(&site.0, seq);
        self.read(&key, "record", codec::from_record)
    }

    /// Records of one log in order from `from`.
    pub fn records(
        &self,
        site: &SiteId,
        from: u64,
    ) -> impl Iterator<Item = Result<(u64, View, u64), StoreError>> + use<> {
        let first = Table::Record.numbered(&site.0, from);
        let last = Table::Record.numbered(&site.0, u64::MAX);
        decoded(self.db.range(first..=last), "record", |key, value| {
            let (_, seq) = site_and_number(key)?;
            let (view, received) = codec::from_record(value)?;
            Some((seq, view, received))
        })
    }

    /// Leaf of an object's current revision.
    pub fn current(
        &self,
        site: &SiteId,
        kind: &Kind,
        id: &ObjectId,
    ) -> Result<Option<u64>, StoreError> {
        let key = keys::current(site, kind, id);
        self.read(&key, "current revision", codec::number)
    }

    /// (site, kind, id, seq) of every current revision.
    pub fn currents(
        &self,
    ) -> impl Iterator<Item = Result<(SiteId, Kind, ObjectId, u64), StoreError>> + use<> {
        let table = Table::Current.key(&[]);
        self.scan(&table, "current revision", |key, value| {
            let (site, kind, id) = current(key)?;
            Some((site, kind, id, codec::number(value)?))
        })
    }

    /// (id, seq) of the current revisions of one kind in one log.
    pub fn currents_of(
        &self,
        site: &SiteId,
        kind: &Kind,
    ) -> impl Iterator<Item = Result<(ObjectId, u64), StoreError>> + use<> {
        let prefix = Table::Current.key(&[&site.0, kind.as_str().as_bytes(), &[0]]);
        self.scan(&prefix, "current revision", |key, value| {
            let (_, _, id) = current(key)?;
            Some((id, codec::number(value)?))
        })
    }

    /// Views of all `keys` and `membership` records.
    pub fn membership(&self) -> Result<Vec<View>, StoreError> {
        let table = Table::Membership.key(&[]);
        self.scan(&table, "membership entry", |key, _| site_and_number(key))
            .map(|entry| {
                let (site, seq) = entry?;
                let record = self.record(&site, seq)?;
                let missing = || {
                    StoreError::Corrupt(format!(
                        "membership record {seq} of site {site} is missing"
                    ))
                };
                record.map(|(view, _)| view).ok_or_else(missing)
            })
            .collect()
    }

    /// Entries of a feed that we issue, after `after`.
    pub fn feed(
        &self,
        circle: &CircleId,
        after: u64,
        count: usize,
    ) -> Result<Vec<FeedEntry>, StoreError> {
        self.feed_entries(circle, after).take(count).collect()
    }

    /// The same, read one by one.
    pub fn feed_entries(
        &self,
        circle: &CircleId,
        after: u64,
    ) -> impl Iterator<Item = Result<FeedEntry, StoreError>> + use<> {
        let first = Table::Feed.numbered(&circle.0, after.saturating_add(1));
        let last = Table::Feed.numbered(&circle.0, u64::MAX);
        decoded(self.db.range(first..=last), "feed entry", |_, value| {
            from_json(value)
        })
    }

    /// Newest position in a feed that we issue; 0 if empty.
    pub fn feed_tail(&self, circle: &CircleId) -> Result<u64, StoreError> {
        let entries = self.db.scan_prefix(Table::Feed.key(&[&circle.0]));
        decoded(entries.rev().take(1), "feed entry", |key, _| {
            circle_and_number(key)
        })
        .next()
        .map_or(Ok(0), |entry| entry.map(|(_, feed_seq)| feed_seq))
    }

    /// Every circle that a feed of ours exists for, with its newest position.
    pub fn feed_tails(&self) -> Result<BTreeMap<CircleId, u64>, StoreError> {
        let mut tails = BTreeMap::new();
        let table = Table::Feed.key(&[]);
        let mut end = self.db.scan_prefix(&table).next_back();
        while let Some(entry) = end {
            let (key, _) = entry.map_err(StoreError::of)?;
            let (circle, tail) = circle_and_number(&key)
                .ok_or_else(|| StoreError::unreadable("feed entry", &key))?;
            tails.insert(circle, tail);
            // The newest entry of the circle before this one: no walk over whole feeds.
            let before = Table::Feed.numbered(&circle.0, 0);
            end = self.db.range(table.clone()..before).next_back();
        }
        Ok(tails)
    }

    /// How far we are in somebody's feed; 0 at the beginning.
    pub fn feed_position(&self, issuer: &SiteId, circle: &CircleId) -> Result<u64, StoreError> {
        let key = Table::FeedPosition.key(&[&issuer.0, &circle.0]);
        let position = self.read(&key, "feed position", codec::number)?;
        Ok(position.unwrap_or(0))
    }

    /// (issuer, circle, position) of all feeds that we read.
    pub fn feed_positions(&self) -> Result<Vec<(SiteId, CircleId, u64)>, StoreError> {
        let table = Table::FeedPosition.key(&[]);
        self.scan(&table, "feed position", |key, value| {
            let mut cut = Cut::key(key);
            let (issuer, circle) = (cut.site()?, cut.circle()?);
            cut.end((issuer, circle, codec::number(value)?))
        })
        .collect()
    }

    /// An epoch key granted to us.
    pub fn epoch_key(
        &self,
        issuer: &SiteId,
        circle: &CircleId,
        epoch: u64,
    ) -> Result<Option<[u8; 32]>, StoreError> {
        let key = keys::epoch(issuer, circle, epoch);
        self.read(&key, "epoch key", |value| value.try_into().ok())
    }

    /// True if any epoch of a circle was granted to us.
    pub fn is_granted(&self, issuer: &SiteId, circle: &CircleId) -> Result<bool, StoreError> {
        let prefix = keys::epochs_of(issuer, circle);
        Ok(self
            .scan(&prefix, "epoch key", |_, _| Some(()))
            .next()
            .transpose()?
            .is_some())
    }

    /// Epochs of a circle of which we hold the key.
    pub fn epochs(&self, issuer: &SiteId, circle: &CircleId) -> Result<Vec<u64>, StoreError> {
        let prefix = keys::epochs_of(issuer, circle);
        self.scan(&prefix, "epoch key", |key, _| epoch(key))
            .map(|entry| entry.map(|(_, _, epoch)| epoch))
            .collect()
    }

    /// Through which circles the slots of a record were opened; empty if it came through one alone.
    pub fn through(&self, site: &SiteId, seq: u64) -> Result<Through, StoreError> {
        let key = Table::Through.numbered(&site.0, seq);
        let through = self.read(&key, "list of circles", from_json)?;
        Ok(through.unwrap_or_default())
    }

    /// Leaf of the record that we hold for a position of a feed.
    pub fn fed(
        &self,
        issuer: &SiteId,
        circle: &CircleId,
        feed_seq: u64,
    ) -> Result<Option<u64>, StoreError> {
        let key = keys::place(Table::Fed, issuer, circle, feed_seq);
        self.read(&key, "place in a feed", codec::number)
    }

    /// Evidence against one site, or all.
    pub fn two_faced(&self, issuer: Option<&SiteId>) -> Result<Vec<TwoFaced>, StoreError> {
        let prefix = match issuer {
            Some(issuer) => Table::TwoFaced.key(&[&issuer.0]),
            None => Table::TwoFaced.key(&[]),
        };
        self.values(&prefix, "contradiction").collect()
    }

    /// The end of a grant to us.
    pub fn ending(&self, issuer: &SiteId, circle: &CircleId) -> Result<Option<Ending>, StoreError> {
        let key = Table::Ending.key(&[&issuer.0, &circle.0]);
        self.read(&key, "end of a grant", from_json)
    }

    /// Ends of all grants to us.
    pub fn endings(&self) -> Result<Vec<Ending>, StoreError> {
        self.values(&Table::Ending.key(&[]), "end of a grant")
            .collect()
    }

    /// Group circles that were granted to us: (issuer, circle, newest epoch).
    pub fn granted_circles(&self) -> Result<Vec<(SiteId, CircleId, u64)>, StoreError> {
        // Keys are in order of epochs, so the last one of a circle is its newest.
        let mut newest = BTreeMap::new();
        let table = Table::EpochKey.key(&[]);
        for entry in self.scan(&table, "epoch key", |key, _| epoch(key)) {
            let (issuer, circle, epoch) = entry?;
            newest.insert((issuer, circle), epoch);
        }
        let flat = newest
            .into_iter()
            .map(|((issuer, circle), epoch)| (issuer, circle, epoch));
        Ok(flat.collect())
    }

    /// An own object by the operator's name.
    pub fn object_by_key(&self, kind: &Kind, key: &str) -> Result<Option<LocalObject>, StoreError> {
        let name = keys::object_key(kind, key);
        match self.read(&name, "object name", object_id)? {
            Some(id) => self.object(kind, &id),
            None => Ok(None),
        }
    }

    /// An own object by id.
    pub fn object(&self, kind: &Kind, id: &ObjectId) -> Result<Option<LocalObject>, StoreError> {
        self.read(&Table::Object.object(kind, id), "object", from_json)
    }

    /// All own objects (of one kind).
    pub fn objects(&self, kind: Option<&Kind>) -> Result<Vec<LocalObject>, StoreError> {
        let prefix = match kind {
            Some(kind) => Table::Object.key(&[kind.as_str().as_bytes(), &[0]]),
            None => Table::Object.key(&[]),
        };
        self.values(&prefix, "object").collect()
    }

    /// What went out for one.
    pub fn issue(&self, kind: &Kind, id: &ObjectId) -> Result<Option<Issue>, StoreError> {
        self.read(&Table::Issue.object(kind, id), "issue", from_json)
    }

    /// Circles.
    pub fn circles(&self) -> Result<Vec<Circle>, StoreError> {
        self.values(&Table::Circle.key(&[]), "circle").collect()
    }

    /// Secret of a group circle.
    pub fn circle_secret(&self, circle: &CircleId) -> Result<Option<CircleSecret>, StoreError> {
        let key = Table::CircleSecret.key(&[&circle.0]);
        self.read(&key, "circle secret", from_json)
    }

    /// Invites, newest first.
    pub fn invites(&self) -> Result<Vec<Invite>, StoreError> {
        let table = Table::Invite.key(&[]);
        let mut invites: Vec<Invite> = self.values(&table, "invite").collect::<Result<_, _>>()?;
        invites.sort_by_key(|invite| std::cmp::Reverse((invite.created, invite.id)));
        Ok(invites)
    }

    /// Sites that knock, oldest first.
    pub fn pending(&self) -> Result<Vec<PendingJoin>, StoreError> {
        let table = Table::Pending.key(&[]);
        let mut pending: Vec<PendingJoin> = self
            .values(&table, "site that knocks")
            .collect::<Result<_, _>>()?;
        pending.sort_by_key(|pending| (pending.since, pending.site));
        Ok(pending)
    }

    /// Where members may be reached, this site included: signed records, and hints from tickets.
    pub fn addresses(&self) -> Result<BTreeMap<SiteId, wire::AddressRecord>, StoreError> {
        self.scan(&Table::Addresses.key(&[]), "addresses", |key, value| {
            Some((only_site(key)?, wire::AddressRecord::decode(value).ok()?))
        })
        .collect()
    }

    /// Refused records, newest first.
    pub fn refusals(&self) -> Result<Vec<Refusal>, StoreError> {
        let table = Table::Refusal.key(&[]);
        let mut refusals: Vec<Refusal> =
            self.values(&table, "refusal").collect::<Result<_, _>>()?;
        refusals.sort_by_key(|refusal| std::cmp::Reverse((refusal.at, refusal.site)));
        Ok(refusals)
    }

    /// JSON values under a prefix.
    fn values<T: serde::de::DeserializeOwned>(
        &self,
        prefix: &[u8],
        what: &'static str,
    ) -> impl Iterator<Item = Result<T, StoreError>> + use<T> {
        self.scan(prefix, what, |_, value| from_json(value))
    }
}

/// Entries of sled, decoded one by one.
pub(super) fn decoded<T>(
    entries: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
    what: &'static str,
    decode: impl Fn(&[u8], &[u8]) -> Option<T>,
) -> impl Iterator<Item = Result<T, StoreError>> {
    entries.map(move |entry| {
        let (key, value) = entry.map_err(StoreError::of)?;
        decode(&key, &value).ok_or_else(|| StoreError::unreadable(what, &key))
    })
}

/// Keys of one site.
pub(super) fn only_site(key: &[u8]) -> Option<SiteId> {
    let mut cut = Cut::key(key);
    let site = cut.site()?;
    cut.end(site)
}

/// Keys of records, membership entries, publications.
pub(super) fn site_and_number(key: &[u8]) -> Option<(SiteId, u64)> {
    let mut cut = Cut::key(key);
    let (site, number) = (cut.site()?, cut.number()?);
    cut.end((site, number))
}

/// Keys of feed entries.
pub(super) fn circle_and_number(key: &[u8]) -> Option<(CircleId, u64)> {
    let mut cut = Cut::key(key);
    let (circle, number) = (cut.circle()?, cut.number()?);
    cut.end((circle, number))
}

/// Keys of current revisions.
pub(super) fn current(key: &[u8]) -> Option<(SiteId, Kind, ObjectId)> {
    let mut cut = Cut::key(key);
    let (site, kind, id) = (cut.site()?, cut.kind()?, cut.object()?);
    cut.end((site, kind, id))
}

/// Keys of epoch keys.
fn epoch(key: &[u8]) -> Option<(SiteId, CircleId, u64)> {
    let mut cut = Cut::key(key);
    let (issuer, circle, epoch) = (cut.site()?, cut.circle()?, cut.number()?);
    cut.end((issuer, circle, epoch))
}

/// Values of object names.
pub(super) fn object_id(value: &[u8]) -> Option<ObjectId> {
    let mut cut = Cut(value);
    let id = cut.object()?;
    cut.end(id)
}
