//! What others sent: opened, verified on all cores, settled, stored.

use std::{sync::Arc, thread};

use fmesh_proto::{
    id::{CircleId, SiteId},
    mesh::follow::{Incoming, Opened, Reader, Taken},
    record::{RecordError, Verified},
};

use super::{Told, Work, Written, unix_now};
use crate::store::{Changes, Refusal, StoreError};

/// Below this many records a second thread costs more than it saves.
const PARALLEL_MIN: usize = 32;

impl Work {
    pub(super) fn intake(&mut self, work: u64, incoming: Incoming) -> Result<(), StoreError> {
        let Some(mesh) = self.desk.meta.mesh else {
            return Ok(());
        };
        let membership = self.desk.membership.clone();
        let keys = self.setup.keys.clone();
        let reader = Reader {
            me: self.setup.site,
            mesh,
            keys: &keys,
            membership: &membership,
        };
        let opened = reader.open(incoming, &self.desk.membership_views, &self.setup.store)?;
        let results = verify(&reader, &opened);
        let taken = reader.settle(opened, results, &self.setup.store)?;
        self.keep(work, taken)
    }

    /// Stores what was settled, and tells.
    fn keep(&mut self, work: u64, taken: Taken) -> Result<(), StoreError> {
        let now = unix_now();
        let mut changes = Changes::new();
        let mut told = Told::default();
        let progress = taken.progress(work);
        if let Some((site, head)) = &taken.head {
            changes.put_head(site, head);
            for (level, index, hash) in &taken.nodes {
                changes.put_node(site, *level, *index, hash);
            }
            for (from, bytes) in &taken.publications {
                changes.put_publication(site, *from, bytes, now);
            }
        }
        for (site, seq) in &taken.dropped {
            changes.delete_record(site, *seq);
            changes.delete_membership(site, *seq);
        }
        let mut members_changed = false;
        for record in &taken.records {
            let claims = record.claims();
            changes.put_record(&claims.iss, claims.seq, record.view(), now);
            if claims.kind.is_plain() {
                changes.put_membership(&claims.iss, claims.seq);
                self.desk.note_membership(record.view());
                members_changed = true;
            }
        }
        for (site, kind, id, seq) in &taken.current {
            changes.put_current(site, kind, id, *seq);
        }
        for (issuer, circle, position) in &taken.feeds {
            changes.put_feed_position(issuer, circle, *position);
        }
        for (issuer, circle, epoch, key) in &taken.granted {
            changes.put_epoch_key(issuer, circle, *epoch, &key.0);
        }
        for refused in &taken.refused {
            tracing::warn!(site = %refused.site, seq = ?refused.seq, reason = %refused.reason, "record refused");
            changes.put_refusal(&Refusal {
                site: refused.site,
                seq: refused.seq,
                reason: refused.reason.clone(),
                at: now,
                count: 1,
            });
        }
        told.events.push(Written::Taken(progress));
        if members_changed && self.desk.refresh_membership() {
            told.events
                .push(Written::Membership(Arc::clone(&self.desk.membership)));
        }
        let is_current = |record: &Verified| {
            let claims = record.claims();
            taken.current.iter().any(|(site, kind, id, seq)| {
                *site == claims.iss
                    && *seq == claims.seq
                    && *id == claims.id
                    && *kind == claims.kind
            })
        };
        told.index = if taken.current.len() == taken.records.len() {
            taken.records
        } else {
            let current: Vec<bool> = taken.records.iter().map(is_current).collect();
            taken
                .records
                .into_iter()
                .zip(current)
                .filter_map(|(record, current)| current.then_some(record))
                .collect()
        };
        self.commit(changes, told, now)
    }

    pub(super) fn acknowledge(
        &mut self,
        reader: &SiteId,
        circle: &CircleId,
        feed_seq: u64,
    ) -> Result<(), StoreError> {
        let known = self.setup.store.feed_ack(circle, reader)?;
        let tail = self.setup.store.feed_tail(circle)?;
        if feed_seq <= known || feed_seq > tail {
            return Ok(());
        }
        let mut changes = Changes::new();
        changes.put_feed_ack(circle, reader, feed_seq);
        self.setup.store.commit(changes)
    }
}

/// Verifies all that was found, on all cores where it pays.
fn verify(reader: &Reader<'_>, opened: &Opened) -> Vec<Result<Verified, RecordError>> {
    let found = &opened.found;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if found.len() < PARALLEL_MIN || cores < 2 {
        return found.iter().map(|one| reader.verify(opened, one)).collect();
    }
    let share = found.len().div_ceil(cores);
    thread::scope(|scope| {
        let parts: Vec<_> = found
            .chunks(share)
            .map(|part| {
                scope.spawn(move || {
                    part.iter()
                        .map(|one| reader.verify(opened, one))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        parts
            .into_iter()
            .flat_map(|part| match part.join() {
                Ok(results) => results,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}
