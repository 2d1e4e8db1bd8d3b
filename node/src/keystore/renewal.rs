//! A rotation in the key file: a seed is drawn as the next one, and becomes the current one when the log says so.
//!
//! ```text
//! draw_next    next = a new seed           nothing else changes; killed here, the next attempt draws another one
//! (the root signs the next keys, the record is durable in our own log)
//! promote      seed = next, rotation = that record, and of the old seed is kept: log, box, transport
//! let_go       the old transport secret goes, once partners can know the new one
//! ```
//!
//! Each step replaces the file as a whole. [`Keystore::promote`] may be repeated: a node that was killed after the record was durable
//! finds it in its log and promotes at its next start. The secrets of the old record and witness keys are gone with the old seed.

use std::path::Path;

use fmesh_proto::{
    keys::{KeyHistory, KeySet, OperatingKeys},
    record::View,
};

use super::{KEYSTORE_FILE, Keystore, KeystoreError, listed, private_file, random};

impl Keystore {
    /// Draws the seed that may become the next one, in place of any that was drawn before, and keeps it. Gives the public keys that
    /// the root is to sign.
    pub fn draw_next(&mut self, data_dir: &Path) -> Result<KeySet, KeystoreError> {
        let next = random()?;
        let keys = OperatingKeys::renewed(&next, &self.kept.after(&self.seed)).public();
        self.next = Some(next);
        self.write(data_dir)?;
        Ok(keys)
    }

    /// The keys of the seed that may become the next one.
    #[must_use]
    pub fn next_keys(&self) -> Option<KeySet> {
        let next = self.next.as_ref()?;
        Some(OperatingKeys::renewed(next, &self.kept.after(&self.seed)).public())
    }

    /// Makes the next seed the current one, if `rotation`, a record of this site, lists its keys. False if it lists others.
    pub fn promote(&mut self, data_dir: &Path, rotation: &View) -> Result<bool, KeystoreError> {
        let history = KeyHistory::from_manifest(&self.manifest);
        let keys = history
            .map_err(|e| e.to_string())
            .and_then(|(history, _)| listed(&history, rotation))
            .map_err(|what| private_file::damaged(&data_dir.join(KEYSTORE_FILE), &what))?;
        if self.next_keys() != Some(keys) {
            return Ok(false);
        }
        let Some(next) = self.next.take() else {
            return Ok(false);
        };
        self.kept = self.kept.after(&self.seed);
        self.seed = next;
        self.rotation = Some(rotation.clone());
        self.write(data_dir)?;
        Ok(true)
    }

    /// The transport key of before is the one in use.
    #[must_use]
    pub fn is_transport_kept(&self) -> bool {
        self.kept.transport.is_some()
    }

    /// Forgets the transport key of before: from the next start on the node speaks with the one that its newest `keys` record lists.
    pub fn let_transport_go(&mut self, data_dir: &Path) -> Result<(), KeystoreError> {
        self.kept.transport = None;
        self.write(data_dir)
    }

    fn write(&self, data_dir: &Path) -> Result<(), KeystoreError> {
        private_file::replace(&data_dir.join(KEYSTORE_FILE), self.text().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use fmesh_proto::keys::{Rotation, sign_rotation};
    use rand_core::UnwrapErr;

    use super::{
        super::{RecoveryWords, create, load},
        *,
    };

    /// The record of a rotation to these keys, at leaf 9.
    fn signed(keystore: &Keystore, words: &RecoveryWords, keys: KeySet) -> View {
        let (history, _) = KeyHistory::from_manifest(keystore.manifest()).unwrap();
        let (rev, prev) = history.newest_revision();
        let rotation = Rotation {
            seq: 9,
            rev: rev + 1,
            prev,
            position: 3,
            keys,
        };
        sign_rotation(
            &words.root(),
            &rotation,
            1,
            &mut UnwrapErr(getrandom::SysRng),
        )
        .unwrap()
    }

    #[test]
    fn a_kill_at_any_moment_leaves_the_old_keys_or_a_state_that_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (mut keystore, words) = create(dir.path()).unwrap();
        let old = keystore.keys().public();
        let given_up = keystore.draw_next(dir.path()).unwrap();
        // Killed: the old keys count, and the next attempt draws another seed.
        let mut keystore = load(dir.path()).unwrap();
        assert_eq!(keystore.keys().public(), old);
        assert_eq!(keystore.next_keys(), Some(given_up));
        let next = keystore.draw_next(dir.path()).unwrap();
        assert_ne!(next, given_up);
        // Killed again, after the record was durable in the log, so with the record at hand.
        let mut keystore = load(dir.path()).unwrap();
        let other = signed(&keystore, &words, given_up);
        assert!(!keystore.promote(dir.path(), &other).unwrap());
        assert_eq!(load(dir.path()).unwrap().keys().public(), old);
        let record = signed(&keystore, &words, next);
        assert!(keystore.promote(dir.path(), &record).unwrap());
        let loaded = load(dir.path()).unwrap();
        assert_eq!(loaded.keys().public(), next);
        assert_eq!((next.log, loaded.next_keys()), (old.log, None));
        assert!(
            !keystore.promote(dir.path(), &record).unwrap(),
            "once is enough"
        );
    }

    #[test]
    fn of_the_old_seed_only_what_is_of_use_stays_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (mut keystore, words) = create(dir.path()).unwrap();
        let (old, seed) = (keystore.keys(), keystore.seed.clone());
        let next = keystore.draw_next(dir.path()).unwrap();
        let record = signed(&keystore, &words, next);
        keystore.promote(dir.path(), &record).unwrap();
        let text = || std::fs::read_to_string(dir.path().join(KEYSTORE_FILE)).unwrap();
        let hex = |secret: &[u8; 32]| fmesh_proto::id::to_hex(secret);
        assert!(
            !text().contains(&hex(&seed)),
            "with it all old keys would be"
        );
        let keys = load(dir.path()).unwrap().keys();
        assert_eq!(keys.log().public(), old.log().public());
        assert_eq!(keys.box_secrets().count(), 2);
        assert!(keystore.is_transport_kept());
        assert_eq!(keys.transport(), old.transport());
        assert!(text().contains(&hex(old.transport_secret())));
        keystore.let_transport_go(dir.path()).unwrap();
        assert!(!text().contains(&hex(old.transport_secret())));
        let keys = load(dir.path()).unwrap().keys();
        assert_eq!(keys.transport(), next.transport);
    }

    #[test]
    fn a_record_of_another_root_promotes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mut keystore, _) = create(dir.path()).unwrap();
        let next = keystore.draw_next(dir.path()).unwrap();
        let (stranger, words) = create(tempfile::tempdir().unwrap().path()).unwrap();
        let record = signed(&stranger, &words, next);
        assert!(matches!(
            keystore.promote(dir.path(), &record),
            Err(KeystoreError::Damaged { .. })
        ));
    }
}
