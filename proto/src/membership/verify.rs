//! From anyone's views to authentic records.
//!
//! Authenticity is one question and authority another: here a record is checked with the keys that
//! its author's manifest gives it, and a manifest proves itself, as the SiteId is the root key that
//! signs it. Manifests are found in `keys` records and in `admit` bodies, so checking goes on until
//! no new one appears. A site that signs two manifests may use either: it can hurt only itself, and the
//! result does not depend on which came first.

use std::collections::{BTreeMap, BTreeSet};

use super::act::{Act, rule};
use crate::{
    id::{Digest, MeshId, SiteId},
    keys::KeyHistory,
    kinds::Kind,
    record::{Parsed, RecordError, Verified, View},
};

/// Keys by their site, as an earlier state knew them.
pub(super) type Known = BTreeMap<SiteId, KeyHistory>;

/// Reads a manifest. If the keys are known from the very same one, it is not checked again.
pub(super) fn read_manifest(
    view: &View,
    known: &Known,
) -> Result<(KeyHistory, Verified), RecordError> {
    let parsed = view.clone().parse()?;
    let keys = known.get(&parsed.claims().iss);
    match keys.and_then(|keys| keys.at_manifest(view)) {
        Some(keys) => Ok((keys, Parsed::from_store(parsed))),
        None => KeyHistory::from_manifest(view),
    }
}

/// The views that are authentic, in their order, and for the others why they are not.
pub(super) fn verify(
    mesh: &MeshId,
    views: &[View],
    known: &Known,
) -> (Vec<Verified>, Vec<(usize, RecordError)>) {
    let mut checking = Checking {
        views,
        known,
        rotations: BTreeMap::new(),
        acts: BTreeMap::new(),
        histories: Vec::new(),
        manifests: BTreeSet::new(),
        verified: BTreeMap::new(),
        errors: BTreeMap::new(),
    };
    for index in 0..views.len() {
        if let Err(error) = checking.sort_in(mesh, index) {
            checking.errors.insert(index, error);
        }
    }
    while let Some(history) = checking.histories.pop() {
        checking.with(history);
    }
    for index in checking
        .acts
        .values()
        .chain(checking.rotations.values().flat_map(BTreeMap::values))
        .flatten()
    {
        checking
            .errors
            .entry(*index)
            .or_insert_with(|| rule("its author was never admitted, so its keys are unknown"));
    }
    let Checking {
        verified,
        mut errors,
        ..
    } = checking;
    errors.retain(|index, _| !verified.contains_key(index));
    (
        verified.into_values().collect(),
        errors.into_iter().collect(),
    )
}

/// The keys of a manifest with the site's rotations applied in the order of their leaves. One that does not fit has no effect.
pub(super) fn rotated<'a>(
    mut history: KeyHistory,
    rotations: impl IntoIterator<Item = &'a Verified>,
) -> KeyHistory {
    for keys in rotations {
        let _ = history.rotate(keys);
    }
    history
}

struct Checking<'a> {
    views: &'a [View],
    known: &'a Known,
    /// Indices of further `keys` records, by their place in the log; equal ones together.
    rotations: BTreeMap<SiteId, BTreeMap<(u64, Digest), Vec<usize>>>,
    /// Indices of `membership` records.
    acts: BTreeMap<SiteId, Vec<usize>>,
    /// Keys that are known but not used yet.
    histories: Vec<KeyHistory>,
    manifests: BTreeSet<Digest>,
    verified: BTreeMap<usize, Verified>,
    errors: BTreeMap<usize, RecordError>,
}

impl Checking<'_> {
    fn sort_in(&mut self, mesh: &MeshId, index: usize) -> Result<(), RecordError> {
        let view = &self.views[index];
        let digest = Digest::of(view.core().as_bytes());
        let parsed = view.clone().parse()?;
        let claims = parsed.claims();
        match (&claims.kind, claims.seq) {
            (Kind::Keys, 0) => {
                let verified = self.manifest(view)?;
                self.verified.insert(index, verified);
            }
            (Kind::Keys, seq) => {
                let of_site = self.rotations.entry(claims.iss).or_default();
                of_site.entry((seq, digest)).or_default().push(index);
            }
            (Kind::Membership, _) if claims.mesh == Some(*mesh) => {
                self.acts.entry(claims.iss).or_default().push(index);
            }
            (Kind::Membership, _) => return Err(rule("belongs to another mesh")),
            (kind, _) => {
                return Err(rule(format!(
                    "a {kind} record says nothing about membership"
                )));
            }
        }
        Ok(())
    }

    /// Takes the keys of a manifest, unless they are known.
    fn manifest(&mut self, view: &View) -> Result<Verified, RecordError> {
        let (history, verified) = read_manifest(view, self.known)?;
        if self.manifests.insert(verified.core_digest()) {
            self.histories.push(history);
        }
        Ok(verified)
    }

    /// Checks what the site of `history` signed.
    fn with(&mut self, mut history: KeyHistory) {
        let site = history.site();
        for indices in self
            .rotations
            .get(&site)
            .into_iter()
            .flat_map(BTreeMap::values)
        {
            for &index in indices {
                match history.verify(self.views[index].clone()) {
                    Ok(keys) => {
                        history = rotated(history, [&keys]);
                        self.verified.insert(index, keys);
                    }
                    Err(error) => {
                        self.errors.insert(index, error);
                    }
                }
            }
        }
        for index in self.acts.get(&site).cloned().unwrap_or_default() {
            match self.act(&history, index) {
                Ok(record) => {
                    self.verified.insert(index, record);
                }
                Err(error) => {
                    self.errors.insert(index, error);
                }
            }
        }
    }

    fn act(&mut self, history: &KeyHistory, index: usize) -> Result<Verified, RecordError> {
        let record = history.verify(self.views[index].clone())?;
        if let Act::Admit { manifest, .. } = Act::of(&record)? {
            self.manifest(&manifest)?;
        }
        Ok(record)
    }
}
