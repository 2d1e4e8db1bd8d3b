//! Which key counts at which leaf of one log.
//!
//! A `keys` record at leaf n lists the keys that count from leaf n + 1 to the next `keys` record. So
//! old records verify with their old key for ever, and no clock decides anything.

use super::{KeyError, KeySet, PublicKey, manifest_id};
use crate::{
    id::{CircleId, Digest, PeerKey, SiteId},
    kinds::Kind,
    limits::KEYS_RECORDS_MAX,
    record::{RecordError, Verified, View},
};

#[cfg(test)]
mod tests;

/// Which keys count at which leaf index of one site's log.
#[derive(Debug, Clone)]
pub struct KeyHistory {
    site: SiteId,
    root: PublicKey,
    log: u32,
    first: Version,
    /// Rotations, ascending.
    later: Vec<Version>,
}

/// One `keys` record.
#[derive(Debug, Clone)]
struct Version {
    view: View,
    seq: u64,
    rev: u64,
    core: Digest,
    keys: KeySet,
}

impl Version {
    fn read(record: &Verified) -> Result<Self, RecordError> {
        let claims = record.claims();
        Ok(Self {
            view: record.view().clone(),
            seq: claims.seq,
            rev: claims.rev,
            core: record.core_digest(),
            keys: KeySet::read(&claims.iss, record.fields()).map_err(refused)?,
        })
    }
}

impl KeyHistory {
    /// From leaf 0, checked against the SiteId that it claims (`iss`). This is where trust in a site's keys begins.
    pub fn from_manifest(manifest: &View) -> Result<(Self, Verified), RecordError> {
        let parsed = manifest.clone().parse()?;
        let claims = parsed.claims();
        if claims.kind != Kind::Keys || claims.seq != 0 || claims.rev != 1 {
            return Err(rule(
                "a key manifest is the first revision of kind keys at leaf 0",
            ));
        }
        let (site, log) = (claims.iss, claims.log);
        if claims.id != manifest_id(&site) {
            return Err(rule(
                "the object id of a key manifest is derived from the site id, this one is not",
            ));
        }
        let root = PublicKey::from_bytes(site.as_bytes()).map_err(refused)?;
        let verified = parsed.verify(&root)?;
        if verified.feeds_total() != 1
            || verified
                .feeds()
                .iter()
                .any(|feed| *feed != (CircleId::MESH_WIDE, 1))
        {
            return Err(rule(
                "a key manifest goes to all members, as the first record of the mesh-wide circle",
            ));
        }
        let first = Version::read(&verified)?;
        Ok((
            Self {
                site,
                root,
                log,
                first,
                later: Vec::new(),
            },
            verified,
        ))
    }

    /// The keys of the manifest alone, if this history begins with that very manifest: what was checked then holds.
    pub(crate) fn at_manifest(&self, manifest: &View) -> Option<Self> {
        (self.first.view == *manifest).then(|| Self {
            later: Vec::new(),
            ..self.clone()
        })
    }

    /// Whose keys.
    #[must_use]
    pub fn site(&self) -> SiteId {
        self.site
    }

    /// The key that must have signed the record at `seq`: the root key for `keys` records, the record key otherwise.
    #[must_use]
    pub fn record_key_at(&self, seq: u64) -> Option<PublicKey> {
        Some(
            self.operating_keys_at(seq)
                .map_or(self.root, |keys| keys.record),
        )
    }

    /// The keys that count at `seq`; `None` where a `keys` record stands, which only the root signs.
    #[must_use]
    pub fn operating_keys_at(&self, seq: u64) -> Option<&KeySet> {
        let after = self.later.partition_point(|version| version.seq < seq);
        let here = self
            .later
            .get(after)
            .is_some_and(|version| version.seq == seq);
        if seq == self.first.seq || here {
            return None;
        }
        Some(
            after
                .checked_sub(1)
                .map_or(&self.first.keys, |at| &self.later[at].keys),
        )
    }

    /// The root key, which signs `keys` records.
    #[must_use]
    pub fn root(&self) -> PublicKey {
        self.root
    }

    /// The newest keys.
    #[must_use]
    pub fn current(&self) -> &KeySet {
        &self.newest().keys
    }

    /// Number and core digest of the newest `keys` record: a rotation is the revision after it.
    #[must_use]
    pub fn newest_revision(&self) -> (u64, Digest) {
        let newest = self.newest();
        (newest.rev, newest.core)
    }

    /// Whether a record key of this site has this fingerprint, whenever it counted.
    #[must_use]
    pub fn names_record_key(&self, fingerprint: &str) -> bool {
        self.all()
            .any(|keys| keys.record.fingerprint() == fingerprint)
    }

    /// The generation of a transport key: 0 for the manifest's, one more with each rotation; the newest one if it has several.
    #[must_use]
    pub fn transport_generation(&self, peer: &PeerKey) -> Option<usize> {
        let same = |(n, keys): (usize, &KeySet)| (keys.transport == *peer).then_some(n);
        self.all().enumerate().filter_map(same).last()
    }

    /// All keys that ever counted, oldest first.
    pub fn all(&self) -> impl Iterator<Item = &KeySet> {
        std::iter::once(&self.first)
            .chain(&self.later)
            .map(|version| &version.keys)
    }

    /// The `keys` records themselves, the manifest first: what a stranger needs to check this site's signatures.
    #[must_use]
    pub fn views(&self) -> Vec<View> {
        let versions = std::iter::once(&self.first).chain(&self.later);
        versions.map(|version| version.view.clone()).collect()
    }

    fn newest(&self) -> &Version {
        self.later.last().unwrap_or(&self.first)
    }

    /// Checks a view with the key that counts at its index (root for kind `keys`); the one way from
    /// anyone's bytes to a [`Verified`] record. Does not look at the log tree.
    pub fn verify(&self, view: View) -> Result<Verified, RecordError> {
        let parsed = view.parse()?;
        let claims = parsed.claims();
        if (claims.iss, claims.log) != (self.site, self.log) {
            let what = format!(
                "a record of log {} of site {}, not of log {} of {}",
                claims.log, claims.iss, self.log, self.site
            );
            return Err(RecordError::Malformed(what));
        }
        let key = match claims.kind {
            Kind::Keys => Some(self.root),
            _ => self.operating_keys_at(claims.seq).map(|keys| keys.record),
        };
        match key {
            Some(key) => parsed.verify(&key),
            None => Err(parsed.wrong_key()),
        }
    }

    /// Adds a further `keys` record (rotation), verified by the root: valid from the next index on. The log key must stay.
    ///
    /// Rotations come in their order, each naming the one before, so that no key can be left out; one that is
    /// known already changes nothing.
    pub fn rotate(&mut self, keys: &Verified) -> Result<(), RecordError> {
        let claims = keys.claims();
        let ours = claims.kind == Kind::Keys
            && (claims.iss, claims.log) == (self.site, self.log)
            && claims.id == manifest_id(&self.site);
        if !ours {
            return Err(rule(
                "this record does not revise the key manifest of this log",
            ));
        }
        let version = Version::read(keys)?;
        if std::iter::once(&self.first)
            .chain(&self.later)
            .any(|known| known.core == version.core)
        {
            return Ok(());
        }
        let newest = self.newest();
        if version.seq <= newest.seq
            || version.rev != newest.rev + 1
            || claims.prev != Some(newest.core)
        {
            return Err(rule(
                "a key rotation revises the newest manifest; fetch the rotations before it first",
            ));
        }
        if self.later.len() + 1 >= KEYS_RECORDS_MAX {
            return Err(rule(
                "this log has as many keys records as may count; the site joins anew, with another log",
            ));
        }
        if version.keys.log != self.first.keys.log {
            return Err(rule(
                "the log key is the log's identity and does not change; a new one needs a new log",
            ));
        }
        self.later.push(version);
        Ok(())
    }
}

fn rule(what: &str) -> RecordError {
    RecordError::Rule {
        kind: "keys".into(),
        what: what.into(),
    }
}

fn refused(error: KeyError) -> RecordError {
    rule(&error.to_string())
}
