//! How many commits were answered, in a file of its own beside sled's.
//!
//! sled treats whatever it cannot read at the end of its file as a write that was cut off, and drops it. That is
//! right for a commit that nobody was told about, and wrong for one that was acknowledged. So after each
//! flush the count of commits before it goes into this file, not flushed by itself: it can only be older than the tree,
//! never newer, unless the tree lost its end.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    path::Path,
};

use super::{StoreError, codec};

/// The open file and what it says.
#[derive(Debug)]
pub(super) struct Acknowledged {
    file: File,
    /// Commits that were flushed.
    pub(super) commits: u64,
    /// Commits that were written, flushed or not.
    pub(super) written: u64,
}

impl Acknowledged {
    /// Opens or creates; an empty file says none.
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
        Ok(Self {
            file,
            commits,
            written: commits,
        })
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
