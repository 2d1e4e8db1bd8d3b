//! Walks the whole store: does everything read back, and do indices say what the ground state says?
//!
//! [`Store::check`] changes nothing and verifies no signature (an audit does). [`Store::rebuild`] makes
//! the derived tables again from ground and private state: current revisions, the list of membership
//! records, names of own objects. Damage to ground state is not repaired here: partners or a backup have it.
//! Both walk entry by entry in constant memory, and want no commit while they run.

use fmesh_proto::{
    circle::Circle,
    id::{CircleId, Digest, ObjectId, SiteId, to_hex},
    kinds::Kind,
    log::leaf_hash,
    publication::Publication,
    record::{Claims, View},
    wire,
};
use prost::Message as _;

use super::{
    CircleSecret, Ending, FeedEntry, Invite, Issue, LocalObject, Meta, PendingJoin, Refusal,
    SCHEMA, Store, StoreError, Through, TwoFaced,
    codec::{self, from_json},
    keys::{self, Cut, Table},
    read,
    tiles::{self, Tile, WIDTH},
    witness,
};

/// Most findings that one check names; the first of them say what is wrong.
const FINDINGS_MAX: usize = 1_000;
/// Entries that one batch of a rebuild writes.
const REBUILT_PER_BATCH: usize = 512;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which entry.
    pub entry: String,
    /// What is wrong with it.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.entry, self.what)
    }
}

impl Store {
    /// Everything that is wrong, at most the first thousand findings. `own` is this site: what went out of it is then
    /// compared with its log, too. An error means that sled itself could not go on.
    pub fn check(&self, own: Option<&SiteId>) -> Result<Vec<Finding>, StoreError> {
        let mut check = Check {
            store: self,
            own,
            findings: Vec::new(),
            feed: None,
        };
        for entry in self.db.iter() {
            let (key, value) = entry.map_err(StoreError::of)?;
            if check.findings.len() >= FINDINGS_MAX {
                break;
            }
            match check.entry(&key, &value) {
                Ok(Some(())) => {}
                Ok(None) => check.note(&key, "cannot be read"),
                // What it refers to cannot be read; that entry is named by the error.
                Err(StoreError::Corrupt(what)) => check.note(&key, what),
                Err(error) => return Err(error),
            }
        }
        Ok(check.findings)
    }

    /// Makes the derived tables again. Every batch is sound by itself; interrupted, it is run again.
    pub fn rebuild(&self) -> Result<(), StoreError> {
        for table in [Table::Current, Table::Membership, Table::ObjectKey] {
            let keys = self.scan(&table.key(&[]), "derived entry", |key, _| {
                Some((key.to_vec(), None))
            });
            self.in_batches(keys)?;
        }
        // Leaves of a log come in order, so the last revision written is the current one.
        let records = self.scan(&Table::Record.key(&[]), "record", |key, value| {
            let (site, seq) = read::site_and_number(key)?;
            let claims = claims(codec::from_record(value)?.0).ok()?;
            let mut derived = vec![(
                keys::current(&site, &claims.kind, &claims.id),
                Some(seq.to_be_bytes().to_vec()),
            )];
            if claims.kind.is_plain() {
                let listed = Table::Membership.numbered(&site.0, seq);
                derived.push((listed, Some(Vec::new())));
            }
            Some(derived)
        });
        self.in_batches(flat(records))?;
        let names = self.scan(&Table::Object.key(&[]), "object", |_, value| {
            let object: LocalObject = from_json(value)?;
            let name = keys::object_key(&object.kind, &object.key);
            Some((name, Some(object.id.0.as_bytes().to_vec())))
        });
        self.in_batches(names)
    }

    fn in_batches(
        &self,
        writes: impl Iterator<Item = Result<Write, StoreError>>,
    ) -> Result<(), StoreError> {
        let mut batch = Vec::new();
        for write in writes {
            batch.push(write?);
            if batch.len() == REBUILT_PER_BATCH {
                self.apply(batch.drain(..))?;
            }
        }
        self.apply(batch)
    }
}

type Write = (Vec<u8>, Option<Vec<u8>>);

fn flat(
    groups: impl Iterator<Item = Result<Vec<Write>, StoreError>>,
) -> impl Iterator<Item = Result<Write, StoreError>> {
    groups.flat_map(|group| match group {
        Ok(writes) => writes.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    })
}

fn claims(view: View) -> Result<Claims, fmesh_proto::record::RecordError> {
    view.parse().map(|parsed| parsed.claims().clone())
}

struct Check<'a> {
    store: &'a Store,
    own: Option<&'a SiteId>,
    findings: Vec<Finding>,
    /// Last feed entry seen.
    feed: Option<(CircleId, u64)>,
}

impl Check<'_> {
    fn note(&mut self, key: &[u8], what: impl Into<String>) {
        let table = Table::of(key).map_or("unknown table".into(), |table| format!("{table:?}"));
        self.findings.push(Finding {
            entry: format!("{table} {}", to_hex(key.get(1..).unwrap_or_default())),
            what: what.into(),
        });
    }

    fn demand(&mut self, holds: bool, key: &[u8], what: impl FnOnce() -> String) {
        if !holds {
            self.note(key, what());
        }
    }

    /// One entry; `None` if it cannot be read.
    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<Option<()>, StoreError> {
        let Some(table) = Table::of(key) else {
            return Ok(None);
        };
        let readable = match table {
            Table::Schema => codec_schema(value)
                .filter(|schema| *schema == SCHEMA)
                .map(drop),
            Table::Commits => codec::number(value).map(drop),
            Table::Meta => from_json::<Meta>(value).map(drop),
            Table::Head => return self.head(key, value),
            Table::Tile => return self.tile(key, value),
            Table::Node => return self.loose_node(key, value),
            Table::Record => return self.record(key, value),
            Table::Current => return self.current(key, value),
            Table::Membership => return self.membership(key),
            Table::Publication => return self.publication(key, value),
            Table::Feed => return self.feed(key, value),
            Table::FeedPosition => (key.len() == 1 + SiteId::LEN + CircleId::LEN)
                .then(|| codec::number(value).map(drop))
                .flatten(),
            Table::FeedAck => (key.len() == 1 + SiteId::LEN + CircleId::LEN)
                .then(|| codec::from_acks(value).map(drop))
                .flatten(),
            Table::EpochKey => (key.len() == 1 + SiteId::LEN + CircleId::LEN + 8
                && value.len() == 32)
                .then_some(()),
            Table::Object => return self.object(key, value),
            Table::ObjectKey => return self.object_key(key, value),
            Table::Issue => return self.issue(key, value),
            Table::Circle => self.named::<Circle>(key, value, |circle| circle.id.0.to_vec()),
            Table::CircleSecret => from_json::<CircleSecret>(value).map(drop),
            Table::Invite => self.named::<Invite>(key, value, |invite| invite.id.0.to_vec()),
            Table::Pending => self.named::<PendingJoin>(key, value, |join| join.site.0.to_vec()),
            Table::Addresses => wire::AddressRecord::decode(value).ok().map(drop),
            Table::Through => read::site_and_number(key)
                .and_then(|_| from_json::<Through>(value))
                .map(drop),
            Table::Ending => self.named::<Ending>(key, value, |ending| {
                [&ending.issuer.0[..], &ending.circle.0[..]].concat()
            }),
            Table::Fed => (key.len() == 1 + SiteId::LEN + CircleId::LEN + 8)
                .then(|| codec::number(value).map(drop))
                .flatten(),
            Table::TwoFaced => self.named::<TwoFaced>(key, value, |evidence| {
                let at = evidence.feed_seq.to_be_bytes();
                [&evidence.issuer.0[..], &evidence.circle.0[..], &at[..]].concat()
            }),
            Table::Pledge => read::only_site(key)
                .and_then(|_| from_json::<fmesh_proto::mesh::witness::Pledge>(value))
                .map(drop),
            Table::Cosigned => {
                let (Some((_, size)), Some(kept)) =
                    (read::site_and_number(key), witness::from_kept(value))
                else {
                    return Ok(None);
                };
                let same = kept.checkpoint.size() == size;
                self.demand(same, key, || "says another size than its key".into());
                Some(())
            }
            Table::Fork => {
                let Some(fork) = witness::from_fork(key, value) else {
                    return Ok(None);
                };
                let same = key.ends_with(&fork.name().0[..16]);
                self.demand(same, key, || "its text is another than its key says".into());
                Some(())
            }
            Table::Refusal => self.named::<Refusal>(key, value, |refusal| {
                let reason = Digest::of(refusal.reason.as_bytes());
                [&refusal.site.0[..], &reason.0[..16]].concat()
            }),
        };
        Ok(readable)
    }

    /// A JSON value that repeats its key.
    fn named<T: serde::de::DeserializeOwned>(
        &mut self,
        key: &[u8],
        value: &[u8],
        name: impl FnOnce(&T) -> Vec<u8>,
    ) -> Option<()> {
        let value = from_json::<T>(value)?;
        let same = name(&value) == key[1..];
        self.demand(same, key, || "says another name than its key".into());
        Some(())
    }

    fn head(&mut self, key: &[u8], value: &[u8]) -> Result<Option<()>, StoreError> {
        let (Some(site), Some(head)) = (read::only_site(key), codec::from_head(value)) else {
            return Ok(None);
        };
        let (frontier, checkpoint) = (&head.frontier, &head.checkpoint);
        let signed = frontier.size() == checkpoint.size() && frontier.root() == checkpoint.root();
        self.demand(signed, key, || {
            let (left, right) = (frontier.size(), checkpoint.size());
            format!(
                "the edge at size {left} does not give the root of the checkpoint of size {right}"
            )
        });
        let mut begin = 0_u64;
        for hash in frontier.edge() {
            let rest = frontier.size() - begin;
            let level = 63 - rest.leading_zeros() as u8;
            let stored = self.store.node(&site, level, begin >> level)?;
            self.demand(stored.as_ref() == Some(hash), key, || {
                let index = begin >> level;
                format!(
                    "node {level}/{index} of its edge is {}",
                    but(stored.as_ref())
                )
            });
            begin += 1 << level;
        }
        Ok(Some(()))
    }

    fn tile(&mut self, key: &[u8], value: &[u8]) -> Result<Option<()>, StoreError> {
        let (Some((site, level, index)), Some(tile)) = (node(key), Tile::decode(value)) else {
            return Ok(None);
        };
        if let Some(root) = tile.full_root() {
            let above = self.store.tile(&site, level + 1, index / WIDTH)?;
            let above = above.and_then(|above| above.get(index));
            self.demand(above == Some(root), key, || {
                format!("its root is {} one tile level above", but(above.as_ref()))
            });
        }
        if level == 0 {
            let size = self
                .store
                .head(&site)?
                .map_or(0, |head| head.frontier.size());
            let beyond = (0..WIDTH)
                .filter(|i| tile.get(*i).is_some())
                .map(|i| index.saturating_mul(WIDTH).saturating_add(i))
                .find(|leaf| *leaf >= size);
            self.demand(beyond.is_none(), key, || {
                format!(
                    "leaf {} is beyond the head of size {size}",
                    beyond.unwrap_or_default()
                )
            });
        }
        Ok(Some(()))
    }

    fn loose_node(&mut self, key: &[u8], value: &[u8]) -> Result<Option<()>, StoreError> {
        let (Some((site, level, index)), Some(hash)) = (node(key), Digest::from_slice(value))
        else {
            return Ok(None);
        };
        let known = self.store.node(&site, level, index)?;
        self.demand(known == Some(hash), key, || {
            "its children give another hash".into()
        });
        Ok(Some(()))
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<Option<()>, StoreError> {
        let (Some((site, seq)), Some((view, _))) =
            (read::site_and_number(key), codec::from_record(value))
        else {
            return Ok(None);
        };
        let leaf = leaf_hash(view.core().as_bytes());
        let claims = match claims(view) {
            Ok(claims) => claims,
            Err(error) => {
                self.note(key, error.to_string());
                return Ok(Some(()));
            }
        };
        let stored = self.store.node(&site, 0, seq)?;
        // Who is a member is told from hand to hand (PROTOCOL section 6), also ahead of the log that says so.
        let followed = self
            .store
            .head(&site)?
            .map_or(0, |head| head.frontier.size());
        let told = stored.is_none() && claims.kind.is_plain() && seq >= followed;
        self.demand(told || stored == Some(leaf), key, || {
            format!("its leaf hash in the log is {}", but(stored.as_ref()))
        });
        let placed = claims.iss == site && claims.seq == seq;
        self.demand(placed, key, || {
            format!("it says leaf {} of site {}", claims.seq, claims.iss)
        });
        let current = self.store.current(&site, &claims.kind, &claims.id)?;
        self.demand(current >= Some(seq), key, || match current {
            Some(older) => format!("the older leaf {older} is called current"),
            None => "its object has no current revision".into(),
        });
        if claims.kind.is_plain() {
            let listed = Table::Membership.numbered(&site.0, seq);
            let listed = self.store.db.contains_key(listed).map_err(StoreError::of)?;
            self.demand(listed, key, || {
                "not in the list of membership records".into()
            });
        }
        Ok(Some(()))
    }

    /// Claims of a stored record; nothing, with a finding, if it is missing.
    fn named_record(
        &mut self,
        key: &[u8],
        site: &SiteId,
        seq: u64,
    ) -> Result<Option<(View, Claims)>, StoreError> {
        let Some((view, _)) = self.store.record(site, seq)? else {
            self.note(key, format!("leaf {seq} is not stored"));
            return Ok(None);
        };
        // A view that does not parse is a finding of its own.
        Ok(claims(view.clone()).ok().map(|claims| (view, claims)))
    }

    fn current(&mut self, key: &[u8], value: &[u8]) -> Result<Option<()>, StoreError> {
        let (Some((site, kind, id)), Some(seq)) = (read::current(key), codec::number(value)) else {
            return Ok(None);
        };
        if let Some((_, claims)) = self.named_record(key, &site, seq)? {
            let same = claims.kind == kind && claims.id == id;
            self.demand(same, key, || {
                format!("leaf {seq} is of {} {}", claims.kind, claims.id)
            });
        }
        Ok(Some(()))
    }

    fn membership(&mut self, key: &[u8]) -> Result<Option<()>, StoreError> {
        let Some((site, seq)) = read::site_and_number(key) else {
            return Ok(None);
        };
        if let Some((_, claims)) = self.named_record(key, &site, seq)? {
            self.demand(claims.kind.is_plain(), key, || {
                format!("leaf {seq} is of kind {}", claims.kind)
            });
        }
        Ok(Some(()))
    }

    fn publication(&mut self, key: &[u8], value: &[u8]) -> Result<Option<()>, StoreError> {
        let (Some((site, from)), Some((_, size, bytes))) =
            (read::site_and_number(key), codec::from_publication(value))
        else {
            return Ok(None);
        };
        let publication = match Publication::decode(bytes) {
            Ok(publication) => publication,
            Err(error) => {
                self.note(key, error.to_string());
                return Ok(Some(()));
            }
        };
        let range = (publication.site, publication.from(), publication.size());
        self.demand(range == (site, from, size), key, || {
            let (site, from, size) = range;
            format!("it covers leaves {from}..{size} of site {site}")
        });
        let stored = self
            .store
            .leaf_hashes(&site, from, publication.leaf_hashes.len())?;
        let same = stored
            .iter()
            .zip(&publication.leaf_hashes)
            .all(|(a, b)| a == b);
        self.demand(same, key, || {
            "its leaf hashes are not those of the log".into()
        });
        Ok(Some(()))
    }

    fn feed(&mut self, key: &[u8], value: &[u8]) -> Result<Option<()>, StoreError> {
        let (Some((circle, feed_seq)), Some(entry)) =
            (read::circle_and_number(key), from_json::<FeedEntry>(value))
        else {
            return Ok(None);
        };
        let before = match self.feed {
            Some((last, feed_seq)) if last == circle => feed_seq,
            _ => 0,
        };
        self.feed = Some((circle, feed_seq));
        // Behind a log that partners gave back some positions are left out, because they may have been given out.
        let left_out = feed_seq > before && self.store.meta()?.restored.is_some();
        self.demand(
            left_out || feed_seq == before.saturating_add(1),
            key,
            || format!("position {feed_seq} follows {before}"),
        );
        self.demand(entry.feed_seq == feed_seq, key, || {
            format!("it says position {}", entry.feed_seq)
        });
        if let Some(own) = self.own {
            self.named_record(key, own, entry.seq)?;
        }
        Ok(Some(()))
    }

    fn object(&mut self, key: &[u8], value: &[u8]) -> Result<Option<()>, StoreError> {
        let Some(object) = from_json::<LocalObject>(value) else {
            return Ok(None);
        };
        let same = Table::Object.object(&object.kind, &object.id) == key;
        self.demand(same, key, || "says another object than its key".into());
        let name = keys::object_key(&object.kind, &object.key);
        let found = self.store.read(&name, "object name", read::object_id)?;
        self.demand(found == Some(object.id), key, || {
            format!("its name {:?} does not lead to it", object.key)
        });
        Ok(Some(()))
    }

    fn object_key(&mut self, key: &[u8], value: &[u8]) -> Result<Option<()>, StoreError> {
        let mut cut = Cut::key(key);
        let (Some(kind), Some(id)) = (cut.kind(), read::object_id(value)) else {
            return Ok(None);
        };
        let object = self.store.object(&kind, &id)?;
        let same = object.is_some_and(|object| object.key.as_bytes() == cut.rest());
        self.demand(same, key, || "no object has this name".into());
        Ok(Some(()))
    }

    fn issue(&mut self, key: &[u8], value: &[u8]) -> Result<Option<()>, StoreError> {
        let (Some((kind, id)), Some(issue)) = (own_object(key), from_json::<Issue>(value)) else {
            return Ok(None);
        };
        let Some(own) = self.own else {
            return Ok(Some(()));
        };
        if let Some((view, claims)) = self.named_record(key, own, issue.seq)? {
            let same = claims.kind == kind && claims.id == id && claims.rev == issue.rev;
            self.demand(same, key, || {
                let (kind, id, rev) = (&claims.kind, &claims.id, claims.rev);
                format!("leaf {} is revision {rev} of {kind} {id}", issue.seq)
            });
            let core = Digest::of(view.core().as_bytes());
            let said = issue.core.is_none_or(|said| said == core);
            self.demand(said, key, || format!("leaf {} has another core", issue.seq));
        }
        Ok(Some(()))
    }
}

fn codec_schema(value: &[u8]) -> Option<u32> {
    value.try_into().map(u32::from_be_bytes).ok()
}

/// Keys of tiles and nodes, within the levels of a tree.
fn node(key: &[u8]) -> Option<(SiteId, u8, u64)> {
    let mut cut = Cut::key(key);
    let (site, level, index) = (cut.site()?, cut.byte()?, cut.number()?);
    cut.end((site, level, index))
        .filter(|_| level < tiles::LEVELS)
}

/// Keys of own objects and issues.
fn own_object(key: &[u8]) -> Option<(Kind, ObjectId)> {
    let mut cut = Cut::key(key);
    let (kind, id) = (cut.kind()?, cut.object()?);
    cut.end((kind, id))
}

fn but(stored: Option<&Digest>) -> String {
    stored.map_or_else(|| "missing".into(), |hash| format!("another one, {hash}"))
}
