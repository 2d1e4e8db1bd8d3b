//! New operating keys while the node runs (PROTOCOL section 2).
//!
//! ```text
//! draft    a seed is drawn and kept as the next one; says which record the root is to sign     the caller has the recovery words
//! rotate   that record becomes a leaf, durably; then the seed is the current one and old secrets go
//!          then everything is looked at again with the new keys: groups get new epochs, circles of two their new names
//! ```
//!
//! The root secret never comes here: who has the words signs the draft, and the record is checked as anybody's. If our log grew in between, the
//! draft has no place any more; [`WriteError::Conflict`], and another draft is asked for.
//!
//! A kill leaves either no `keys` record, then the old keys count; or one that is in the log, then [`settle`] promotes the seed
//! at the next start, and [`Work::heed_members`] finds the grants that are still under the old box key.
//!
//! **The transport key** changes last. A partner that has not got the `keys` record knows the old PeerId only, and would refuse the new
//! one. So the old one stays in use until every other member has acknowledged that record durably (as with every feed), and the node
//! was started anew after that. Partners accept the old PeerId until they have seen the new one (`node::identities`). A member that
//! never comes back keeps the old key in use until it is put out, or until the operator says so (`--transport-now`); then who has not
//! got the record learns it from any other member.

use std::sync::Arc;

use fmesh_proto::{
    id::{CircleId, SiteId},
    keys::{KeyHistory, KeySet, OperatingKeys, Rotation},
    kinds::Kind,
    membership::Membership,
    record::{Parsed, View},
};

use super::{
    Told, Work, WriteError, Written,
    desk::{Desk, Session},
    random,
};
use crate::{
    keystore::{self, Keystore, KeystoreError},
    store::{Store, StoreError},
};

/// What a rotation did, once it is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Leaf of the `keys` record; the new keys count from the next one on.
    pub seq: u64,
    /// Group circles that got a new key.
    pub groups: usize,
}

impl Work {
    /// Our own keys, as our log says.
    pub(super) fn own_history(&self) -> Result<KeyHistory, WriteError> {
        match self.desk.membership.keys_of(&self.setup.site) {
            Some(history) => Ok(history.clone()),
            None => KeyHistory::from_manifest(&self.setup.manifest)
                .map(|(history, _)| history)
                .map_err(|e| WriteError::Invalid(e.to_string())),
        }
    }

    /// Refuses to sign with keys that our log does not name any more: an old key file was put back.
    pub(super) fn must_have_keys(&self) -> Result<(), WriteError> {
        let Some(history) = self.desk.membership.keys_of(&self.setup.site) else {
            return Ok(());
        };
        if history.current().record == self.setup.keys.record().public() {
            return Ok(());
        }
        Err(WriteError::Conflict(
            "nothing is signed: this site's log names newer keys than the key file holds, so an old key file was put back; put the newer one back and start again, or rotate with the recovery words: fmesh site rotate-keys".into(),
        ))
    }

    /// Draws the next seed and says what the root is to sign.
    pub(super) fn draft_keys(&mut self) -> Result<Rotation, WriteError> {
        self.desk.mesh().map_err(|_| {
            WriteError::Conflict(
                "this site is in no mesh yet, so nobody knows its keys: fmesh init in another directory makes a site with new ones".into(),
            )
        })?;
        if self.desk.membership.member(&self.setup.site).is_none() {
            return Err(WriteError::Refused(
                "this site is no member of the mesh (any more)".into(),
            ));
        }
        self.must_be_clear()?;
        let Some(head) = &self.desk.head else {
            return Err(WriteError::Conflict("this site's log is empty".into()));
        };
        let seq = head.frontier.size();
        let (rev, prev) = self.own_history()?.newest_revision();
        let position = self.next_position();
        let (mut keystore, dir) = self.key_file()?;
        let keys = keystore.draw_next(dir).map_err(disk)?;
        Ok(Rotation {
            seq,
            rev: rev + 1,
            prev,
            position,
            keys,
        })
    }

    /// Appends what the root signed, then goes on with the new keys. `transport_now`: from the next start on under the new PeerId,
    /// whoever knows it.
    pub(super) fn rotate_keys(
        &mut self,
        record: View,
        transport_now: bool,
    ) -> Result<Rotated, WriteError> {
        self.must_be_clear()?;
        let mesh = self.desk.mesh()?;
        let refused = |e: fmesh_proto::record::RecordError| WriteError::Invalid(e.to_string());
        let mut history = self.own_history()?;
        let verified = history.verify(record.clone()).map_err(refused)?;
        let claims = verified.claims().clone();
        let head = self.desk.head.clone();
        let Some(head) = head.filter(|head| head.frontier.size() == claims.seq) else {
            return Err(WriteError::Conflict(format!(
                "the log has grown: leaf {} is taken; ask for another draft",
                claims.seq
            )));
        };
        let position = self.next_position();
        if verified.feeds() != [(CircleId::MESH_WIDE, position)] || verified.feeds_total() != 1 {
            return Err(WriteError::Conflict(format!(
                "the record does not name position {position} of the mesh-wide feed; ask for another draft"
            )));
        }
        history.rotate(&verified).map_err(refused)?;
        let (mut keystore, dir) = self.key_file()?;
        let dir = dir.to_owned();
        if keystore.next_keys().as_ref() != Some(history.current()) {
            return Err(WriteError::Conflict(
                "the record lists other keys than were drafted last; ask for another draft".into(),
            ));
        }
        let issuance = self
            .author(mesh)
            .rotate(&head, record.clone(), position, &mut random())
            .map_err(|e| WriteError::Invalid(e.to_string()))?;
        let before = Arc::clone(&self.desk.membership);
        let mut session = Session::new(false);
        session.members_changed = true;
        if let Err(error) = self.keep_issuance(issuance, &mut session) {
            self.desk = Desk::load(&self.setup.store, &self.setup.site)?;
            return Err(error);
        }
        self.desk.tails.insert(CircleId::MESH_WIDE, position);
        self.desk.refresh_membership();
        self.finish(session, &before)?;
        // The log says so now; the key file follows, or the next start lets it follow.
        if !keystore.promote(&dir, &record).map_err(disk)? {
            return Err(WriteError::Store(StoreError::Io(
                "the key file changed while keys were rotated".into(),
            )));
        }
        self.setup.keys = Arc::new(keystore.keys());
        self.desk.forget_pairs();
        let told = Told {
            events: vec![Written::Keys(Arc::clone(&self.setup.keys))],
            ..Told::default()
        };
        self.tell(told, claims.iat);
        if transport_now {
            keystore.let_transport_go(&dir).map_err(disk)?;
        }
        tracing::warn!(seq = claims.seq, "operating keys were rotated");
        let groups = match self.edits(Vec::new(), false) {
            Ok(applied) => applied.rotated.len(),
            Err(WriteError::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::error!(%error, "own records cannot be signed with the new keys");
                0
            }
        };
        Ok(Rotated {
            seq: claims.seq,
            groups,
        })
    }

    fn next_position(&self) -> u64 {
        let tail = self.desk.tails.get(&CircleId::MESH_WIDE);
        tail.copied().unwrap_or(self.desk.meta.floor) + 1
    }

    fn key_file(&self) -> Result<(Keystore, &std::path::Path), WriteError> {
        let Some(guard) = &self.guard else {
            return Err(WriteError::Conflict(
                "this node runs without a key file".into(),
            ));
        };
        let keystore = keystore::load(guard.dir()).map_err(disk)?;
        Ok((keystore, guard.dir()))
    }
}

fn disk(error: KeystoreError) -> WriteError {
    WriteError::Store(StoreError::Io(error.to_string()))
}

/// The newest rotation in our own log: its record, its keys, its position in the mesh-wide feed.
fn newest_rotation(
    store: &Store,
    site: &SiteId,
) -> Result<Option<(View, KeySet, u64)>, StoreError> {
    let mut newest: Option<(u64, (View, KeySet, u64))> = None;
    for view in store.membership()? {
        // It was verified when it was stored.
        let Ok(record) = view.clone().parse().map(Parsed::from_store) else {
            continue;
        };
        let claims = record.claims();
        let is_ours = claims.iss == *site && claims.kind == Kind::Keys && claims.seq > 0;
        if is_ours
            && newest.as_ref().is_none_or(|(seq, ..)| *seq < claims.seq)
            && let Ok(keys) = KeySet::read(site, record.fields())
        {
            let position = record.feed_seq(&CircleId::MESH_WIDE).unwrap_or(0);
            newest = Some((claims.seq, (view, keys, position)));
        }
    }
    Ok(newest.map(|(_, found)| found))
}

/// Members that have not acknowledged our newest rotation; empty if there was none.
pub(crate) fn unaware(
    store: &Store,
    membership: &Membership,
    site: &SiteId,
) -> Result<Vec<SiteId>, StoreError> {
    let Some((_, _, position)) = newest_rotation(store, site)? else {
        return Ok(Vec::new());
    };
    let mut unaware = Vec::new();
    for member in membership.members().filter(|m| m.site != *site) {
        if store.feed_ack(&CircleId::MESH_WIDE, &member.site)? < position {
            unaware.push(member.site);
        }
    }
    Ok(unaware)
}

/// The keys that a node starts with: a rotation that is in its log and not in its key file yet is carried out, and the transport key of before
/// goes once all members know the new one.
pub(crate) fn settle(
    dir: &std::path::Path,
    keystore: &Keystore,
    store: &Store,
) -> Result<OperatingKeys, SettleError> {
    let site = keystore.site();
    let Some((record, keys, _)) = newest_rotation(store, &site)? else {
        return Ok(keystore.keys());
    };
    let mut keystore = keystore.clone();
    if keystore.next_keys() == Some(keys) {
        keystore.promote(dir, &record)?;
        tracing::warn!("a rotation of operating keys that was interrupted is carried out");
    }
    if keystore.is_transport_kept()
        && keystore.keys().public() == keys
        && let Some(mesh) = store.meta()?.mesh
    {
        let (membership, _) = Membership::compute(&mesh, &store.membership()?);
        if unaware(store, &membership, &site)?.is_empty() {
            keystore.let_transport_go(dir)?;
            tracing::info!("all members know the new transport key: it is used from now on");
        }
    }
    Ok(keystore.keys())
}

/// Why a node does not know with which keys to start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettleError {
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests;
