//! What others sent: opened, verified on all cores, settled, stored.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use fmesh_proto::{
    id::{CircleId, SiteId},
    mesh::follow::{Incoming, Opened, Reader, Taken},
    record::{RecordError, Verified},
};

use super::{
    Job, RECORDS_PER_FLUSH, Told, WORKS_PER_FLUSH, Work, Written, ledger::Reading, unix_now,
};
use crate::store::{Changes, Refusal, StoreError};

/// Below this many records a second thread costs more than it saves.
const PARALLEL_MIN: usize = 24;
/// Records that a thread takes at once.
const STEP: usize = 4;

type Results = Vec<Result<Verified, RecordError>>;

/// A work whose records are verified, and not yet compared with the log.
#[derive(Debug)]
pub(super) struct Checked {
    work: u64,
    opened: Opened,
    results: Results,
}

impl Work {
    /// Takes in one work; looks into `queue` for what may be verified meanwhile.
    pub(super) fn intake(
        &mut self,
        work: u64,
        incoming: Incoming,
        queue: &mut VecDeque<Job>,
    ) -> Result<(), StoreError> {
        let Some(mesh) = self.desk.meta.mesh else {
            return Ok(());
        };
        let (membership, keys) = (self.desk.membership.clone(), self.setup.keys.clone());
        let reader = Reader {
            me: self.setup.site,
            mesh,
            keys: &keys,
            membership: &membership,
        };
        let ledger = Reading::new(&self.setup.store);
        let opened = reader.open(incoming, &self.desk.membership_views, &ledger)?;
        let results = verify_beside(&reader, &opened, || ()).1;
        self.settle(
            Checked {
                work,
                opened,
                results,
            },
            queue,
        )
    }

    /// Decides and writes a verified work. While it is written, the page of a feed that comes next is verified: nothing that
    /// is being written can change that page's verdicts, unless it changes the members.
    pub(super) fn settle(
        &mut self,
        checked: Checked,
        queue: &mut VecDeque<Job>,
    ) -> Result<(), StoreError> {
        let Some(mesh) = self.desk.meta.mesh else {
            return Ok(());
        };
        let (membership, keys) = (self.desk.membership.clone(), self.setup.keys.clone());
        let reader = Reader {
            me: self.setup.site,
            mesh,
            keys: &keys,
            membership: &membership,
        };
        let store = self.setup.store.clone();
        let ledger = Reading::new(&store);
        let Checked {
            work,
            opened,
            results,
        } = checked;
        let taken = reader.settle(opened, results, &ledger)?;
        let now = unix_now();
        let (changes, told) = self.gather(work, taken, now);
        let same_members = Arc::ptr_eq(&membership, &self.desk.membership);
        self.untold.push((told, now));
        let waiting: usize = self.untold.iter().map(|(told, _)| told.index.len()).sum();
        let full = waiting >= RECORDS_PER_FLUSH || self.untold.len() >= WORKS_PER_FLUSH;
        let write = || {
            store.write(changes)?;
            if full { store.flush() } else { Ok(()) }
        };
        match queue.pop_front_if(|job| same_members && is_page(job)) {
            Some(Job::Take { work, incoming }) => {
                let opened = reader.open(incoming, &[], &ledger)?;
                let (written, results) = verify_beside(&reader, &opened, write);
                written?;
                self.ahead = Some(Checked {
                    work,
                    opened,
                    results,
                });
            }
            _ => write()?,
        }
        if full { self.flush() } else { Ok(()) }
    }

    /// What is to be stored of a settled work, and what to tell of it then.
    fn gather(&mut self, work: u64, taken: Taken, now: u64) -> (Changes, Told) {
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
        let current: BTreeSet<(SiteId, u64)> = taken
            .current
            .iter()
            .map(|(site, _, _, seq)| (*site, *seq))
            .collect();
        told.index = taken.records;
        told.index
            .retain(|record| current.contains(&(record.claims().iss, record.claims().seq)));
        (changes, told)
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
        // Nobody waits for it: the next flush takes it along, and sled's own comes twice a second.
        self.setup.store.write(changes)
    }
}

/// A page of a feed, large enough to be worth threads.
fn is_page(job: &Job) -> bool {
    matches!(
        job,
        Job::Take {
            incoming: Incoming::Feed { views, .. },
            ..
        } if views.len() >= PARALLEL_MIN
    )
}

/// Verifies all that was found, on all cores where it pays, while this thread does something else first.
fn verify_beside<T>(
    reader: &Reader<'_>,
    opened: &Opened,
    something: impl FnOnce() -> T,
) -> (T, Results) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let some = || {
        let mut results = Vec::new();
        loop {
            let first = next.fetch_add(STEP, Ordering::Relaxed);
            let part = opened.found.iter().enumerate().skip(first).take(STEP);
            let before = results.len();
            results.extend(part.map(|(n, one)| (n, reader.verify(opened, one))));
            if results.len() == before {
                return results;
            }
        }
    };
    thread::scope(|scope| {
        let helpers = match opened.found.len() >= PARALLEL_MIN {
            true => cores,
            false => 0,
        };
        let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(some)).collect();
        let out = something();
        let mut results = some();
        for helper in helpers {
            match helper.join() {
                Ok(part) => results.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results.sort_unstable_by_key(|(n, _)| *n);
        (out, results.into_iter().map(|(_, result)| result).collect())
    })
}
