//! Files of one owner: made whole or not at all, readable by nobody else.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use super::KeystoreError;

/// Makes the directory and its parents, closed to others.
pub(super) fn make_dir(dir: &Path) -> Result<(), KeystoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| KeystoreError::Io {
            path: dir.to_owned(),
            source,
        })
}

/// Writes a new file: it appears whole, or not at all if the name is taken.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<(), KeystoreError> {
    let draft = write_draft(path, bytes)?;
    let linked = fs::hard_link(&draft, path);
    let removed = fs::remove_file(&draft);
    match linked.and(removed).and_then(|()| sync_parent(path)) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            Err(KeystoreError::Exists(path.to_owned()))
        }
        result => result.map_err(|source| io_error(path, source)),
    }
}

/// Replaces a file: readers see the old or the new one; on disk when it returns.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), KeystoreError> {
    let draft = write_draft(path, bytes)?;
    fs::rename(&draft, path)
        .inspect_err(|_| {
            let _ = fs::remove_file(&draft);
        })
        .and_then(|()| sync_parent(path))
        .map_err(|source| io_error(path, source))
}

/// Reads a text file that nobody else may read or write.
pub(super) fn read(
    path: &Path,
    bytes_max: u64,
) -> Result<zeroize::Zeroizing<String>, KeystoreError> {
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KeystoreError::Missing(path.to_owned()),
        _ => io_error(path, source),
    })?;
    let mode = file
        .metadata()
        .map_err(|source| io_error(path, source))?
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeystoreError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    match file.take(bytes_max + 1).read_to_string(&mut text) {
        Ok(read) if read as u64 <= bytes_max => Ok(text),
        Ok(_) => Err(damaged(path, "it is too long")),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(damaged(path, "it is not text")),
        Err(source) => Err(io_error(path, source)),
    }
}

/// Removes a file if it is there.
pub(super) fn remove(path: &Path) -> Result<(), KeystoreError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error(path, source)),
        _ => Ok(()),
    }
}

pub(super) fn damaged(path: &Path, what: &str) -> KeystoreError {
    KeystoreError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

fn io_error(path: &Path, source: io::Error) -> KeystoreError {
    KeystoreError::Io {
        path: path.to_owned(),
        source,
    }
}

/// A synced file beside `path` under a name of its own.
fn write_draft(path: &Path, bytes: &[u8]) -> Result<PathBuf, KeystoreError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(
        ".{}-{}.new",
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    ));
    let draft = path.with_file_name(name);
    let _ = fs::remove_file(&draft);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    if let Err(source) = written {
        let _ = fs::remove_file(&draft);
        return Err(io_error(path, source));
    }
    Ok(draft)
}

/// A new name is durable once its directory is.
fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creation_never_replaces_and_leaves_no_draft() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        create(&path, b"one").unwrap();
        assert!(matches!(
            create(&path, b"two"),
            Err(KeystoreError::Exists(_))
        ));
        assert_eq!(read(&path, 3).unwrap().as_str(), "one");
        replace(&path, b"three").unwrap();
        assert_eq!(read(&path, 5).unwrap().as_str(), "three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn long_and_binary_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        create(&path, b"1234").unwrap();
        assert!(matches!(read(&path, 3), Err(KeystoreError::Damaged { .. })));
        replace(&path, &[0xff, 0xfe]).unwrap();
        assert!(matches!(read(&path, 3), Err(KeystoreError::Damaged { .. })));
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(matches!(read(&path, 3), Err(KeystoreError::Missing(_))));
    }
}
