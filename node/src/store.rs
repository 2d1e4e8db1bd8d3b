//! The site's data on disk: the only module that names sled.
//!
//! Ground state is what was signed: views of records, publications, checkpoints, tree nodes. Private
//! state is what the operator entered: objects, circles, invites. Everything else is derived from the two.
//! Reading is open to all through this handle; writing goes through [`Store::commit`], which only `writer`
//! calls: one atomic batch, then flush with `fdatasync` (`acknowledged`), then return. What others sent goes in by [`Store::write`], several batches to one
//! [`Store::flush`]. A batch can be read before it is on disk; whoever reads what will leave the site holds
//! [`Store::settled`] meanwhile, so that no partner ever sees what a crash could make us forget.
//!
//! # Layout
//!
//! One sled tree, the first key byte names the table. Against one tree for each table and a
//! transaction over them, one batch over one tree took the same time (27-31 ms for 512 records of 1.2 kB
//! with all indices, flush included) and a fifth less disk. Numbers are big-endian; JSON is of the types
//! in [`model`].
//!
//! | byte | key | value | trust | losing or forging it |
//! | --- | --- | --- | --- | --- |
//! | 00 | | schema, 4 | local | the store is refused |
//! | 01 | | JSON [`Meta`] | private | the node forgets which mesh it is in |
//! | 02 | site 32 | size 8, count 1, edge 32 each, note | signed | found by the root; the log is followed again from partners |
//! | 03 | site 32, level/4 1, index/16 8 | mask 2, hashes 32 each | from signed roots | proofs fail, nothing false is proven |
//! | 04 | site 32, level 1, index 8 | hash 32 | from signed roots | as 03 |
//! | 05 | site 32, seq 8 | received 8, view text | signed | lost: pulled again from its feed (own: gone); forged: its signature and leaf fail |
//! | 06 | site 32, kind, 0, id 16 | seq 8 | derived from 05 | rebuilt |
//! | 07 | site 32, seq 8 | | derived from 05 | rebuilt |
//! | 08 | site 32, from 8 | at 8, size 8, publication | signed | others serve it; forged: its check fails at the reader |
//! | 09 | circle 16, feed seq 8 | JSON [`FeedEntry`] | private | readers of the circle miss records or see more slots than meant |
//! | 0a | issuer 32, circle 16 | feed seq 8 | private | the feed is read again, or a part of it is missed |
//! | 0b | circle 16, reader 32 | feed seq 8, at 8, of some | private | "behind" is shown wrongly until the next acknowledgement |
//! | 0c | issuer 32, circle 16, epoch 8 | key 32 | secret | boxes stay shut until the grant is read again |
//! | 0d | kind, 0, id 16 | JSON [`LocalObject`] | private | the operator's data is lost or altered |
//! | 0e | kind, 0, name | id 16 | derived from 0d | rebuilt |
//! | 0f | kind, 0, id 16 | JSON [`Issue`] | private | a revision is signed once more than needed |
//! | 10 | circle 16 | JSON `Circle` | private | **decides who sees what** |
//! | 11 | circle 16 | JSON [`CircleSecret`] | secret | a new epoch must be drawn; whoever reads it reads the circle |
//! | 12 | invite 16 | JSON [`Invite`] | secret | the ticket stops working; whoever reads it can knock |
//! | 13 | site 32 | JSON [`PendingJoin`] | private | the site knocks again |
//! | 14 | site 32 | JSON list of addresses | hint | partners are found later |
//! | 15 | site 32, digest of reason 16 | JSON [`Refusal`] | private | counts for people are wrong |
//! | 16 | | count of commits, 8 | local | a lost end of the file is not noticed |
//! | 20 | site 32, seq 8 | JSON slots by circle | private | what a partner asks back takes too much or too little along |
//! | 21 | issuer 32, circle 16 | JSON [`Ending`] | private | what a grant's end asks for is not done, or not confirmed |
//! | 22 | issuer 32, circle 16, feed seq 8 | seq 8 | private | a second record for the same place is not noticed |
//! | 23 | issuer 32, circle 16, feed seq 8 | JSON [`TwoFaced`] | signed | evidence is lost; forged: its signatures fail |
//! | 24 | site 32 | JSON `Pledge` | private | **this site may cosign what contradicts what it cosigned before** |
//! | 25 | site 32, size 8 | at 8, by 4, note | signed | "seen no later than" is later than it could be; forged: its signatures fail |
//! | 26 | site 32, digest of text 16 | at 8, text | signed | the proof is lost, unless partners hold it; forged: it proves nothing |
//!
//! Beside sled's files lies `acknowledged`, the count of commits that were answered. sled drops what it
//! cannot read from the end of its file without a word; a count in the tree below the one beside it tells.
//!
//! # What it does not know
//!
//! Keys, signatures, rules: `writer` verifies first and tells the store what is current. One writer means no
//! conflicts. Iterators are not snapshots: one that runs during a commit may see a part of it, so [`Store::check`]
//! wants no commit while it runs. A whole store put back from
//! yesterday looks sound here, which is why the keystore remembers the last signed size.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
    thread,
    time::{Duration, Instant},
};

use self::{
    acknowledged::{Acknowledged, SLED_FILE},
    keys::Table,
    read::decoded,
};

mod acknowledged;
mod changes;
mod check;
mod codec;
mod delivery;
mod keys;
pub mod model;
mod publications;
mod read;
mod tiles;
mod witness;

#[cfg(test)]
mod tests;

pub use changes::Changes;
pub use check::Finding;
pub use delivery::Readership;
pub use model::{
    CircleSecret, Ending, Entry, FeedEntry, Head, Invite, Issue, JoinPhase, Joining, LocalObject,
    Meta, PendingJoin, REFUSALS_MAX, Refusal, Restored, TWO_FACED_MAX, Through, TwoFaced,
};
pub use tiles::StoredNodes;
pub use witness::{KeptCheckpoint, KeptFork};

/// Version of the layout above.
pub const SCHEMA: u32 = 2;

/// Pages that sled keeps in memory. Searching reads its own index, so this serves feeds and proofs only.
const CACHE_BYTES: u64 = 64 << 20;

/// A store that is being closed, here or by a node that is just ending, is waited for: sled's own threads let go of its file last.
const LETTING_GO: Duration = Duration::from_secs(2);

fn is_locked(error: &std::io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Why the store cannot do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process holds it.
    #[error("the store in {0} is in use by another fmesh process; stop that one, or talk to it")]
    InUse(String),
    /// Bytes in it cannot be read back.
    #[error(
        "the store is damaged: {0}; keep its directory as it is, restore a backup elsewhere, or let partners send their part again"
    )]
    Corrupt(String),
    /// Written by another version.
    #[error(
        "the store has schema {found}, this program reads schema {known}; use the fmesh version that wrote it"
    )]
    Schema {
        /// On disk.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Two own objects of one kind with one name.
    #[error("another {kind} is already called {name:?}; choose another name")]
    NameTaken {
        /// Kind of both.
        kind: String,
        /// The name.
        name: String,
    },
    /// Disk full, permissions, ...
    #[error("the store cannot be read or written: {0}")]
    Io(String),
}

impl StoreError {
    /// What sled says, sorted by who can do something about it.
    fn of(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) if error.kind() != std::io::ErrorKind::InvalidData => {
                Self::Io(error.to_string())
            }
            sled::Error::Corruption { at: Some(at), .. } => {
                Self::Corrupt(format!("a page does not match its checksum ({at:?})"))
            }
            sled::Error::Corruption { at: None, .. } => {
                Self::Corrupt("a page does not match its checksum".into())
            }
            error => Self::Corrupt(error.to_string()),
        }
    }

    /// An entry that does not mean anything.
    fn unreadable(what: &str, key: &[u8]) -> Self {
        Self::Corrupt(format!(
            "unreadable {what} at key {}",
            fmesh_proto::id::to_hex(key)
        ))
    }
}

/// A cheap handle; clones share one database.
#[derive(Clone)]
pub struct Store {
    db: sled::Db,
    /// Held while a commit reads what it is about to replace.
    writing: Arc<Mutex<Acknowledged>>,
    /// Held by a commit of our own doing until it is on disk.
    settled: Arc<RwLock<()>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens or creates. Damage that shows at opening is reported as [`StoreError::Corrupt`]; nothing is repaired silently.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let shown = dir.display();
        let io = |error: std::io::Error| StoreError::Io(format!("{shown}: {error}"));
        if !dir.try_exists().map_err(io)? {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                // A name is on disk when the directory that holds it is.
                .and_then(|()| fs::File::open(dir.join(".."))?.sync_all())
                .map_err(io)?;
        }
        let file = dir.join(SLED_FILE);
        let old = file.try_exists().map_err(io)? && file.metadata().map_err(io)?.len() > 0;
        let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES);
        let until = Instant::now() + LETTING_GO;
        let db = loop {
            // sled asserts while it recovers a damaged file; here such a panic becomes the error that it means.
            let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
                .map_err(|_| StoreError::Corrupt(format!("{shown} cannot be recovered")))?;
            match opened {
                Ok(db) => break db,
                Err(sled::Error::Io(error)) if is_locked(&error) => match Instant::now() < until {
                    true => thread::sleep(LETTING_GO / 40),
                    false => return Err(StoreError::InUse(shown.to_string())),
                },
                Err(sled::Error::Io(error)) if error.kind() != std::io::ErrorKind::InvalidData => {
                    return Err(io(error));
                }
                Err(error) => return Err(StoreError::of(error)),
            }
        };
        let acknowledged = Acknowledged::open(dir)?;
        let told = acknowledged.commits;
        let store = Self {
            db,
            writing: Arc::new(Mutex::new(acknowledged)),
            settled: Arc::default(),
        };
        let found = store.read(&[Table::Schema as u8], "schema", |value| {
            value.try_into().map(u32::from_be_bytes).ok()
        })?;
        match found {
            Some(SCHEMA) => {
                let commits =
                    store.read(&[Table::Commits as u8], "count of commits", codec::number)?;
                match commits.unwrap_or(0) {
                    held if held < told => Err(StoreError::Corrupt(format!(
                        "{shown} holds {held} commits, but {told} were acknowledged: its end was lost"
                    ))),
                    held => {
                        let mut acknowledged = store.acknowledged();
                        acknowledged.commits = held;
                        acknowledged.written = held;
                        drop(acknowledged);
                        Ok(store)
                    }
                }
            }
            Some(found) => Err(StoreError::Schema {
                found,
                known: SCHEMA,
            }),
            None if old => Err(StoreError::Corrupt(format!(
                "{shown} holds data without a schema: it was damaged, or another program wrote it"
            ))),
            None => {
                store.apply([(vec![Table::Schema as u8], Some(SCHEMA.to_be_bytes().into()))])?;
                Ok(store)
            }
        }
    }

    /// One atomic batch over all tables, then flush; returns when it is on disk. Only `writer` calls it. After an error nothing is
    /// known about what is on disk but that it is all or nothing: stop and open again.
    pub fn commit(&self, changes: Changes) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let _unsettled = self.settled.write().unwrap_or_else(PoisonError::into_inner);
        self.write(changes)?;
        self.flush()
    }

    /// The same without the flush, for what others sent: it can be had again, and nobody is told before [`Self::flush`]
    /// returns. After a crash there are the first so many of such batches, whole ones.
    pub fn write(&self, changes: Changes) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut acknowledged = self.acknowledged();
        let written = acknowledged.written + 1;
        let mut writes = changes.stage(self)?;
        let count = written.to_be_bytes().to_vec();
        writes.insert(vec![Table::Commits as u8], Some(count));
        self.batch(writes)?;
        acknowledged.written = written;
        Ok(())
    }

    /// Everything that was written is on disk when it returns.
    pub fn flush(&self) -> Result<(), StoreError> {
        let mut acknowledged = self.acknowledged();
        if acknowledged.commits == acknowledged.written {
            return Ok(());
        }
        self.db.flush().map_err(StoreError::of)?;
        acknowledged.sync()?;
        let written = acknowledged.written;
        acknowledged.set(written)
    }

    /// While it is held, all that the store says of our own doing is on disk. For short reads: commits wait for it.
    pub fn settled(&self) -> RwLockReadGuard<'_, ()> {
        self.settled.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn acknowledged(&self) -> MutexGuard<'_, Acknowledged> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes at once and flushes.
    fn apply(
        &self,
        writes: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<(), StoreError> {
        self.batch(writes)?;
        self.db.flush().map_err(StoreError::of)?;
        self.acknowledged().sync()
    }

    fn batch(
        &self,
        writes: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db.apply_batch(batch).map_err(StoreError::of)
    }

    /// Size on disk in bytes.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.db.size_on_disk().map_err(StoreError::of)
    }

    /// One entry, decoded.
    fn read<T>(
        &self,
        key: &[u8],
        what: &str,
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        self.db
            .get(key)
            .map_err(StoreError::of)?
            .map(|value| decode(&value).ok_or_else(|| StoreError::unreadable(what, key)))
            .transpose()
    }

    /// All entries whose keys begin with `prefix`, in order of keys, decoded one by one.
    fn scan<T, F: Fn(&[u8], &[u8]) -> Option<T>>(
        &self,
        prefix: &[u8],
        what: &'static str,
        decode: F,
    ) -> impl Iterator<Item = Result<T, StoreError>> + use<T, F> {
        decoded(self.db.scan_prefix(prefix), what, decode)
    }
}
