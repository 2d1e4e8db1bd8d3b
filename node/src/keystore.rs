//! The site's secrets on disk.
//!
//! ```text
//! <data_dir>/keystore.json   0600  seed of the operating keys, what is kept of seeds  lose it: the log is closed;
//!                                  before it, site id, key manifest                    leak it: fmesh site rotate-keys
//! <data_dir>/signed-size     0600  largest tree this node signed (size, root)         lose it: rollback is not seen locally
//! <data_dir>/api-token       0600  token of the local API                             leak it: delete it and restart the node
//! <data_dir>/api-address     0600  where the running node listens                     written and locked at start, removed at stop
//! ```
//!
//! The root secret is drawn in [`create`], signs the manifest, is handed out once as [`RecoveryWords`] and is
//! not written anywhere. The seed is checked against the manifest whenever the keystore is loaded, so that a
//! mixed-up or altered file is noticed before anything is signed with it. A file that others can read is not loaded.
//! Rotation is `renewal`.
//! What this module does not know: the store, the network, and whether the keys are still the newest ones of the site.

use std::path::{Path, PathBuf};

use fmesh_proto::{
    id::{SiteId, from_hex, to_hex},
    keys::{Kept, KeyHistory, KeySet, OperatingKeys, RootKey, sign_manifest},
    kinds::Kind,
    record::View,
};
use jiff::Timestamp;
use rand_core::UnwrapErr;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

mod access;
mod private_file;
mod renewal;
mod signed;

pub use access::{Access, PublishedAddress, load_access, publish_address, token};
pub use signed::{LastSigned, load_last_signed, store_last_signed};

/// Name of the key file.
pub const KEYSTORE_FILE: &str = "keystore.json";
const SCHEMA: &str = "fmesh/keystore/v2";
/// A keystore holds two records and little else; anything longer is not one.
const KEYSTORE_BYTES_MAX: u64 = 256 * 1024;

/// Why a secret file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// `init` must never replace keys.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// `init` has not run here.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// Group or others can read or write it.
    #[error("{} can be read by others (mode {mode:03o})", .path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what this program writes.
    #[error("{} is damaged: {what}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The disk, permissions of the directory, ...
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// No randomness from the system.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// Not the words that `init` showed.
    #[error("these are not recovery words: {0}")]
    Words(String),
}

impl KeystoreError {
    /// The next step for the operator.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Exists(path) => format!(
                "use the site that is there, or choose another directory with --dir; keys are never overwritten ({} stays as it is)",
                path.display()
            ),
            Self::Missing(_) => {
                "run `fmesh init` first, or name the site with --dir or --config".to_owned()
            }
            Self::TooOpen { path, .. } => format!("chmod 600 {}", shell_quoted(path)),
            Self::Damaged { path, .. } => format!(
                "put {} back from a backup of this site; do not edit it",
                path.display()
            ),
            Self::Io { path, .. } => format!(
                "check that {} is on a writable disk and belongs to the user who runs fmesh",
                path.display()
            ),
            Self::Random(_) => "check the system's random source (getrandom)".to_owned(),
            Self::Words(_) => {
                "give the 24 English words in their order, separated by spaces".to_owned()
            }
        }
    }
}

/// The secrets that a running node holds; zeroed when dropped, never printed.
#[derive(Clone)]
pub struct Keystore {
    site: SiteId,
    manifest: View,
    /// The newest rotation; `None` while the manifest's keys count.
    rotation: Option<View>,
    created: Timestamp,
    seed: Zeroizing<[u8; 32]>,
    /// Of the seeds before.
    kept: Kept,
    /// A seed that may become the next one.
    next: Option<Zeroizing<[u8; 32]>>,
}

impl Keystore {
    /// The site they belong to.
    #[must_use]
    pub fn site(&self) -> SiteId {
        self.site
    }
    /// The root-signed key manifest: leaf 0 of the site's log.
    #[must_use]
    pub fn manifest(&self) -> &View {
        &self.manifest
    }
    /// When `init` made it.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.created
    }
    /// The five operating keys.
    #[must_use]
    pub fn keys(&self) -> OperatingKeys {
        OperatingKeys::renewed(&self.seed, &self.kept)
    }
    /// True if these words name this site.
    #[must_use]
    pub fn matches(&self, words: &RecoveryWords) -> bool {
        words.root().site() == self.site
    }
}

impl std::fmt::Debug for Keystore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keystore({}, ..)", self.site)
    }
}

/// The root secret as 24 English words (BIP 39); shown once, never stored.
pub struct RecoveryWords(Zeroizing<[u8; 32]>);

impl RecoveryWords {
    /// Reads the words; case and spacing do not matter, the checksum does.
    pub fn parse(text: &str) -> Result<Self, KeystoreError> {
        let lower = Zeroizing::new(text.to_lowercase());
        let words = bip39::Mnemonic::parse_in(bip39::Language::English, lower.as_str())
            .map_err(|e| KeystoreError::Words(e.to_string()))?;
        let entropy = Zeroizing::new(words.to_entropy());
        let secret: [u8; 32] = entropy.as_slice().try_into().map_err(|_| {
            KeystoreError::Words(format!("{} words instead of 24", words.word_count()))
        })?;
        Ok(Self(Zeroizing::new(secret)))
    }
    /// The words, in order.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        bip39::Mnemonic::from_entropy(self.0.as_slice())
            .expect("32 bytes are valid entropy")
            .words()
            .collect()
    }
    /// The root key they stand for.
    #[must_use]
    pub fn root(&self) -> RootKey {
        RootKey::from_bytes(&self.0)
    }
}

impl std::fmt::Debug for RecoveryWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryWords(..)")
    }
}

/// The key file. Secrets are hex digits.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    schema: String,
    site: SiteId,
    created: Timestamp,
    manifest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotation: Option<String>,
    seed: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    boxes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transport: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.seed.zeroize();
        self.log.zeroize();
        self.boxes.zeroize();
        self.transport.zeroize();
        self.next.zeroize();
    }
}

impl Keystore {
    /// The text of its file.
    fn text(&self) -> Zeroizing<String> {
        let hex = |secret: &[u8; 32]| to_hex(secret);
        let stored = Stored {
            schema: SCHEMA.to_owned(),
            site: self.site,
            created: self.created,
            manifest: self.manifest.encode(),
            rotation: self.rotation.as_ref().map(View::encode),
            seed: hex(&self.seed),
            log: self.kept.log.as_ref().map(hex),
            boxes: self.kept.boxes.iter().map(hex).collect(),
            transport: self.kept.transport.as_ref().map(hex),
            next: self.next.as_deref().map(hex),
        };
        Zeroizing::new(
            serde_json::to_string_pretty(&stored).expect("texts and hex digits are JSON") + "\n",
        )
    }

    /// Reads the text of a file; what is wrong with it, if it is not whole.
    fn read(stored: &Stored) -> Result<Self, String> {
        if stored.schema != SCHEMA {
            return Err(format!(
                "schema {:?}, this program reads {SCHEMA:?}",
                stored.schema
            ));
        }
        let secret = |hex: &String| {
            from_hex(hex)
                .map(Zeroizing::new)
                .and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok())
                .ok_or_else(|| "a secret is not 64 hex digits".to_owned())
        };
        let view = |text: &String| View::decode(text.as_bytes()).map_err(|e| e.to_string());
        let manifest = view(&stored.manifest)?;
        let (history, _) =
            KeyHistory::from_manifest(&manifest).map_err(|e| format!("key manifest: {e}"))?;
        if history.site() != stored.site {
            return Err("the key manifest is another site's".to_owned());
        }
        let rotation = stored.rotation.as_ref().map(view).transpose()?;
        let listed = match &rotation {
            Some(rotation) => listed(&history, rotation)?,
            None => *history.current(),
        };
        let keystore = Self {
            site: stored.site,
            manifest,
            rotation,
            created: stored.created,
            seed: Zeroizing::new(secret(&stored.seed)?),
            kept: Kept {
                log: stored.log.as_ref().map(secret).transpose()?,
                boxes: stored.boxes.iter().map(secret).collect::<Result<_, _>>()?,
                transport: stored.transport.as_ref().map(secret).transpose()?,
            },
            next: stored
                .next
                .as_ref()
                .map(secret)
                .transpose()?
                .map(Zeroizing::new),
        };
        if keystore.keys().public() != listed {
            return Err("the seed does not belong to the key manifest".to_owned());
        }
        Ok(keystore)
    }
}

/// The keys that a rotation of this site lists.
fn listed(history: &KeyHistory, rotation: &View) -> Result<KeySet, String> {
    let record = history.verify(rotation.clone());
    let record = record.map_err(|e| format!("key rotation: {e}"))?;
    if record.claims().kind != Kind::Keys {
        return Err("the key rotation is another record".to_owned());
    }
    KeySet::read(&history.site(), record.fields()).map_err(|e| e.to_string())
}

/// Makes a site: draws root and seed, signs the manifest, writes the key file. Refuses to replace one.
pub fn create(data_dir: &Path) -> Result<(Keystore, RecoveryWords), KeystoreError> {
    let path = data_dir.join(KEYSTORE_FILE);
    if path.exists() {
        return Err(KeystoreError::Exists(path));
    }
    let words = RecoveryWords(random()?);
    let seed = random()?;
    let root = words.root();
    let created = Timestamp::from_second(Timestamp::now().as_second())
        .expect("whole seconds of a timestamp are a timestamp");
    let manifest = sign_manifest(
        &root,
        &OperatingKeys::from_seed(&seed).public(),
        u64::try_from(created.as_second()).unwrap_or(0),
        &mut UnwrapErr(getrandom::SysRng),
    );
    let keystore = Keystore {
        site: root.site(),
        manifest,
        rotation: None,
        created,
        seed,
        kept: Kept::default(),
        next: None,
    };
    private_file::make_dir(data_dir)?;
    private_file::create(&path, keystore.text().as_bytes())?;
    Ok((keystore, words))
}

/// Reads the key file and checks that seed, manifest and site belong together.
pub fn load(data_dir: &Path) -> Result<Keystore, KeystoreError> {
    let path = data_dir.join(KEYSTORE_FILE);
    let text = private_file::read(&path, KEYSTORE_BYTES_MAX)?;
    let damaged = |what: String| KeystoreError::Damaged {
        path: path.clone(),
        what,
    };
    let stored: Stored = serde_json::from_str(&text)
        .map_err(|e| damaged(format!("line {}: not a keystore", e.line())))?;
    Keystore::read(&stored).map_err(damaged)
}

fn random() -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(KeystoreError::Random)?;
    Ok(bytes)
}

/// A path that can be pasted into a shell.
pub(crate) fn shell_quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_created_is_loaded_again_and_words_name_the_site() {
        let dir = tempfile::tempdir().unwrap();
        let (made, words) = create(dir.path()).unwrap();
        let loaded = load(dir.path()).unwrap();
        assert_eq!(loaded.site(), made.site());
        assert_eq!(loaded.manifest(), made.manifest());
        assert_eq!(loaded.keys().public(), made.keys().public());
        assert_eq!(words.words().len(), 24);
        let again = RecoveryWords::parse(&words.words().join("  ").to_uppercase()).unwrap();
        assert!(loaded.matches(&again));
        let other = RecoveryWords(Zeroizing::new([7; 32]));
        assert!(!loaded.matches(&other));
        let mode = std::fs::metadata(dir.path().join(KEYSTORE_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(dir.path().join(KEYSTORE_FILE)).unwrap();
        assert!(
            !text.contains(&to_hex(words.0.as_slice())),
            "the root secret is on disk"
        );
    }

    #[test]
    fn keys_are_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (made, _) = create(dir.path()).unwrap();
        assert!(matches!(create(dir.path()), Err(KeystoreError::Exists(_))));
        assert_eq!(load(dir.path()).unwrap().site(), made.site());
    }

    #[test]
    fn a_readable_file_is_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path()).unwrap();
        let path = dir.path().join(KEYSTORE_FILE);
        for mode in [0o640, 0o604, 0o620, 0o644] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = load(dir.path()).unwrap_err();
            assert!(
                matches!(error, KeystoreError::TooOpen { mode: m, .. } if m == mode),
                "{error}"
            );
            assert_eq!(error.hint(), format!("chmod 600 {}", path.display()));
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        assert!(load(dir.path()).is_ok());
    }

    #[test]
    fn a_mixed_up_file_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        create(one.path()).unwrap();
        create(two.path()).unwrap();
        let read = |dir: &Path| -> serde_json::Value {
            serde_json::from_str(&std::fs::read_to_string(dir.join(KEYSTORE_FILE)).unwrap())
                .unwrap()
        };
        let other = read(two.path());
        for member in ["seed", "site", "manifest", "schema", "log", "rotation"] {
            let mut mixed = read(one.path());
            mixed[member] = match member {
                "schema" => "x".into(),
                "log" => other["seed"].clone(),
                "rotation" => other["manifest"].clone(),
                member => other[member].clone(),
            };
            let dir = tempfile::tempdir().unwrap();
            private_file::create(
                &dir.path().join(KEYSTORE_FILE),
                mixed.to_string().as_bytes(),
            )
            .unwrap();
            let error = load(dir.path()).unwrap_err();
            assert!(
                matches!(error, KeystoreError::Damaged { .. }),
                "{member}: {error}"
            );
        }
    }

    #[test]
    fn missing_and_cut_files_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load(dir.path()), Err(KeystoreError::Missing(_))));
        private_file::create(&dir.path().join(KEYSTORE_FILE), b"{\"schema\":").unwrap();
        assert!(matches!(
            load(dir.path()),
            Err(KeystoreError::Damaged { .. })
        ));
    }

    #[test]
    fn wrong_words_are_refused() {
        let good = RecoveryWords(Zeroizing::new([1; 32])).words();
        let mut swapped = good.clone();
        swapped[0] = "zoo";
        for bad in [
            String::new(),
            good[..12].join(" "),
            swapped.join(" "),
            "one two".to_owned(),
        ] {
            assert!(
                matches!(RecoveryWords::parse(&bad), Err(KeystoreError::Words(_))),
                "{bad}"
            );
        }
        // twelve words with a right checksum are words, but not a root secret
        let twelve = bip39::Mnemonic::from_entropy(&[3; 16]).unwrap().to_string();
        assert!(RecoveryWords::parse(&twelve).is_err());
    }

    #[test]
    fn hints_can_be_pasted() {
        assert_eq!(shell_quoted(Path::new("/a/b.json")), "/a/b.json");
        assert_eq!(shell_quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
