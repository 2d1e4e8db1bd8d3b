//! The largest tree that this node signed, kept beside the keys and not in the store: so a store that was
//! restored from an old backup is noticed before it signs a second history (PROTOCOL section 9).

use std::path::Path;

use fmesh_proto::id::Digest;

use super::{KeystoreError, private_file};

const FILE: &str = "signed-size";

/// Size and root of the newest checkpoint that was signed and acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastSigned {
    /// Leaves.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
}

/// What was stored last; `None` if nothing was signed yet.
pub fn load_last_signed(data_dir: &Path) -> Result<Option<LastSigned>, KeystoreError> {
    let path = data_dir.join(FILE);
    let text = match private_file::read(&path, 1024) {
        Err(KeystoreError::Missing(_)) => return Ok(None),
        read => read?,
    };
    let parsed = text.trim_end().split_once(' ').and_then(|(size, root)| {
        Some(LastSigned {
            size: size.parse().ok()?,
            root: root.parse().ok()?,
        })
    });
    parsed
        .map(Some)
        .ok_or_else(|| private_file::damaged(&path, "not a size and a root"))
}

/// Stores it; on disk when it returns. Call it when the store has what it covers: it may lag behind the store, never run ahead.
pub fn store_last_signed(data_dir: &Path, last: &LastSigned) -> Result<(), KeystoreError> {
    let text = format!("{} {}\n", last.size, last.root.hex());
    private_file::replace(&data_dir.join(FILE), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_signed_is_read_back_and_damage_is_not_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load_last_signed(dir.path()).unwrap(), None);
        for size in [1, 2, u64::MAX] {
            let last = LastSigned {
                size,
                root: Digest([size as u8; 32]),
            };
            store_last_signed(dir.path(), &last).unwrap();
            assert_eq!(load_last_signed(dir.path()).unwrap(), Some(last));
        }
        for bad in ["", "12", "12 ab", "x 00"] {
            private_file::replace(&dir.path().join(FILE), bad.as_bytes()).unwrap();
            assert!(
                matches!(
                    load_last_signed(dir.path()),
                    Err(KeystoreError::Damaged { .. })
                ),
                "{bad:?}"
            );
        }
    }
}
