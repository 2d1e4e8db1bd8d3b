//! What makes a flush worth an answer: sled's file is synced, and how many commits were answered is kept beside it.
//!
//! On Linux sled's own flush ends with `sync_file_range`, which writes pages out but neither the file's new length nor the disk's
//! cache: a process that is killed loses nothing, a machine whose power fails does. So each flush ends with
//! `fdatasync` of sled's file.
//!
//! sled treats whatever it cannot read at the end of its file as a write that was cut off, and drops it. That is
//! right for a commit that nobody was told about, and wrong for one that was acknowledged. So after each
//! flush the count of commits before it goes into a file of its own, not flushed by itself: it can only be older than the tree,
//! never newer, unless the tree lost its end.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    path::Path,
};

use super::{StoreError, codec};

/// Where sled keeps its log, in the directory that it was given.
pub(super) const SLED_FILE: &str = "db";

/// The open files and what is known of them.
#[derive(Debug)]
pub(super) struct Acknowledged {
    file: File,
    /// sled's own.
    tree: File,
    /// Commits that were flushed.
    pub(super) commits: u64,
    /// Commits that were written, flushed or not.
    pub(super) written: u64,
}

impl Acknowledged {
    /// Opens or creates beside the file of an open sled; an empty file says none. That both exist is on disk when it returns.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("acknowledged");
        let shown = path.display();
        let io = |error: std::io::Error| StoreError::Io(format!("{shown}: {error}"));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        let mut bytes = Vec::new();
        (&mut file).take(9).read_to_end(&mut bytes).map_err(io)?;
        let commits = match &bytes[..] {
            [] => 0,
            bytes => codec::number(bytes)
                .ok_or_else(|| StoreError::Corrupt(format!("{shown} is not a count of commits")))?,
        };
        let tree = File::open(dir.join(SLED_FILE)).map_err(io)?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
        Ok(Self {
            file,
            tree,
            commits,
            written: commits,
        })
    }

    /// What sled wrote out is on the disk when it returns.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let synced = self.tree.sync_data();
        synced.map_err(|error| StoreError::Io(format!("{SLED_FILE}: {error}")))
    }

    /// Eight bytes in place: a power loss leaves the old or the new count.
    pub(super) fn set(&mut self, commits: u64) -> Result<(), StoreError> {
        let written = self
            .file
            .rewind()
            .and_then(|()| self.file.write_all(&commits.to_be_bytes()));
        written.map_err(|error| StoreError::Io(format!("acknowledged: {error}")))?;
        self.commits = commits;
        Ok(())
    }
}
