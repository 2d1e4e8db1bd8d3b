//! What others sent: opened, verified on all cores, settled, stored.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use fmesh_proto::{
    id::{CircleId, MeshId, SiteId},
    mesh::follow::{self, Incoming, Reader, Taken},
    record::{Parsed, Verified, View},
};

use super::{
    Job, RECORDS_PER_FLUSH, Told, WORKS_PER_FLUSH, Work, Written,
    crew::{Page, Results, Underway},
    endings::{Noted, opened},
    ledger::Reading,
    unix_now,
};
use crate::store::{Changes, Refusal, Store, StoreError, TWO_FACED_MAX, Through, TwoFaced};

/// Below this many records another thread costs more than it saves.
const PARALLEL_MIN: usize = 24;
/// Pages that are verified ahead of the one that is being written. A page has at most a megabyte or so of records.
const PAGES_AHEAD: usize = 16;

/// A page of a feed that is being verified.
#[derive(Debug)]
pub(super) struct Ahead {
    work: u64,
    page: Underway,
}

impl Work {
    /// Gives the pages of feeds at the front of `queue` to the crew. Nothing that is written before them can change their verdicts,
    /// unless it changes the members; then [`Self::next_page`] has them verified again.
    pub(super) fn look_ahead(&mut self, queue: &mut VecDeque<Job>) -> Result<(), StoreError> {
        while self.ahead.len() < PAGES_AHEAD
            && let Some(mesh) = self.desk.meta.mesh
            && let Some(Job::Take { work, incoming }) = queue.pop_front_if(|job| is_page(job))
        {
            let page = self.crew.begin(self.page(mesh, incoming)?);
            self.ahead.push_back(Ahead { work, page });
        }
        Ok(())
    }

    /// Decides and writes the page that was verified first; false if there is none.
    pub(super) fn next_page(&mut self) -> Result<bool, StoreError> {
        let Some(Ahead { work, page }) = self.ahead.pop_front() else {
            return Ok(false);
        };
        let (mut page, mut results) = page.finish();
        if !Arc::ptr_eq(&page.membership, &self.desk.membership) {
            page.membership = Arc::clone(&self.desk.membership);
            (page, results) = self.crew.begin(page).finish();
        }
        self.settle(work, page, results)?;
        Ok(true)
    }

    /// Takes in one work.
    pub(super) fn intake(&mut self, work: u64, incoming: Incoming) -> Result<(), StoreError> {
        let Some(mesh) = self.desk.meta.mesh else {
            return Ok(());
        };
        let page = self.page(mesh, incoming)?;
        let (page, results) = if page.opened.found.len() < PARALLEL_MIN {
            let results = page.verify(..);
            (page, results)
        } else {
            self.crew.begin(page).finish()
        };
        self.settle(work, page, results)
    }

    fn page(&self, mesh: MeshId, incoming: Incoming) -> Result<Page, StoreError> {
        let (membership, keys) = (self.desk.membership.clone(), self.setup.keys.clone());
        let reader = Reader {
            me: self.setup.site,
            mesh,
            keys: &keys,
            membership: &membership,
        };
        let ledger = Reading::new(&self.setup.store);
        let held = match incoming {
            Incoming::Membership { .. } => self.desk.membership_views.values().cloned().collect(),
            _ => Vec::new(),
        };
        let opened = reader.open(incoming, &held, &ledger)?;
        Ok(Page {
            me: self.setup.site,
            mesh,
            keys,
            membership,
            opened,
        })
    }

    fn settle(&mut self, work: u64, page: Page, results: Results) -> Result<(), StoreError> {
        let store = self.setup.store.clone();
        let membership = Arc::clone(&page.membership);
        let taken = page.settle(results, &Reading::new(&store))?;
        let now = unix_now();
        let (changes, told, changed) = self.gather(work, taken, now)?;
        let same_members = Arc::ptr_eq(&membership, &self.desk.membership);
        self.untold.push((told, now));
        store.write(changes)?;
        let waiting: usize = self.untold.iter().map(|(told, _)| told.index.len()).sum();
        if waiting >= RECORDS_PER_FLUSH || self.untold.len() >= WORKS_PER_FLUSH {
            self.flush()?;
        }
        if !changed.is_empty() {
            self.carry_out_endings(&changed)?;
        }
        // Before anything else is signed.
        if !same_members && self.must_heed(&membership) {
            self.job(Job::Replan)?;
        }
        Ok(())
    }

    /// What is to be stored of a settled work, what to tell of it then, and sites whose grants to us ended or began again.
    fn gather(
        &mut self,
        work: u64,
        mut taken: Taken,
        now: u64,
    ) -> Result<(Changes, Told, BTreeSet<SiteId>), StoreError> {
        let mut changes = Changes::new();
        let mut told = Told::default();
        let mut progress = taken.progress(work);
        if let Some((site, head)) = &taken.head {
            changes.put_head(site, head);
            if *site == self.setup.site {
                self.note_own_growth(head);
            }
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
            self.desk.membership_views.remove(&(*site, *seq));
        }
        let mut members_changed = !taken.dropped.is_empty();
        let mut held = Held::default();
        for record in &mut taken.records {
            held.add_to(&self.setup.store, record, &mut changes, now)?;
            let claims = record.claims();
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
        for (issuer, circle, feed_seq, seq) in &taken.fed {
            changes.put_fed(issuer, circle, *feed_seq, *seq);
        }
        for contradiction in &taken.two_faced {
            self.keep_evidence(contradiction, &held, &mut changes, now)?;
        }
        progress.cosigned.clear();
        for (site, checkpoint, by) in &taken.cosigned {
            if self.keep_cosigned(site, checkpoint, *by, &mut changes, now)? {
                progress.cosigned.push((*site, checkpoint.size(), *by));
            }
        }
        progress.forks = self.keep_forks(&taken.forks, &mut changes, now)?;
        let mut changed = BTreeSet::new();
        for standing in &taken.standings {
            let noted = self.note_standing(standing, &mut changes, now)?;
            if noted == Noted::Rewound {
                progress.rewound.push((standing.issuer, standing.circle));
            }
            if noted != Noted::Nothing {
                changed.insert(standing.issuer);
            }
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
        if members_changed {
            let before = Arc::clone(&self.desk.membership);
            self.desk.refresh_membership();
            self.note_standings(&before, &mut told)?;
            // Before what was taken: whoever waits for that waits in order to know the members.
            told.events
                .push(Written::Membership(Arc::clone(&self.desk.membership)));
        }
        told.events.push(Written::Taken(progress));
        let current: BTreeSet<(SiteId, u64)> = taken
            .current
            .iter()
            .map(|(site, _, _, seq)| (*site, *seq))
            .collect();
        told.index = taken.records;
        told.index.retain(|record| {
            let place = (record.claims().iss, record.claims().seq);
            current.contains(&place) && self.is_searched(record)
        });
        Ok((changes, told, changed))
    }

    /// Two records for one place of a feed are kept as long as the store.
    fn keep_evidence(
        &self,
        found: &follow::TwoFaced,
        held: &Held,
        changes: &mut Changes,
        now: u64,
    ) -> Result<(), StoreError> {
        let store = &self.setup.store;
        let known = store.two_faced(Some(&found.issuer))?;
        let is_known = |e: &TwoFaced| e.circle == found.circle && e.feed_seq == found.feed_seq;
        if known.len() >= TWO_FACED_MAX || known.iter().any(is_known) {
            return Ok(());
        }
        let place = (found.issuer, found.first);
        let first = match held.0.get(&place) {
            Some((view, _)) => Some(view.clone()),
            None => store.record(&place.0, place.1)?.map(|(view, _)| view),
        };
        let Some(first) = first else {
            return Ok(());
        };
        tracing::warn!(site = %found.issuer, circle = %found.circle, position = found.feed_seq, "signed two records for one place of a feed");
        changes.put_two_faced(&TwoFaced {
            issuer: found.issuer,
            circle: found.circle,
            feed_seq: found.feed_seq,
            leaves: [found.first, found.second],
            views: [first.encode(), found.view.encode()],
            at: now,
        });
        Ok(())
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
        changes.put_feed_ack(circle, reader, feed_seq, unix_now());
        // Nobody waits for it: the next flush takes it along, and sled's own comes twice a second.
        self.setup.store.write(changes)?;
        let told = Told {
            events: vec![Written::Acknowledged],
            ..Told::default()
        };
        self.tell(told, unix_now());
        Ok(())
    }
}

/// Records of one work as they will be held: a partner in several circles is shown one record through each.
#[derive(Debug, Default)]
struct Held(BTreeMap<(SiteId, u64), (View, Through)>);

impl Held {
    /// Stores a record with all that was opened of it before, and makes it that.
    fn add_to(
        &mut self,
        store: &Store,
        record: &mut Verified,
        changes: &mut Changes,
        now: u64,
    ) -> Result<(), StoreError> {
        let (site, seq) = (record.claims().iss, record.claims().seq);
        let (old, mut through) = match self.0.remove(&(site, seq)) {
            Some((view, through)) => (Some(view), through),
            None => {
                let old = store.record(&site, seq)?.map(|(view, _)| view);
                // Another core for its leaf gives way to the one that the log names.
                let old = old.filter(|old| old.core() == record.view().core());
                let through = match &old {
                    Some(_) => store.through(&site, seq)?,
                    None => Through::new(),
                };
                (old, through)
            }
        };
        let Some(old) = old else {
            changes.put_record(&site, seq, record.view(), now);
            self.0.insert((site, seq), (record.view().clone(), through));
            return Ok(());
        };
        let broken = |e: fmesh_proto::record::RecordError| {
            StoreError::Corrupt(format!("record {seq} of site {site}: {e}"))
        };
        let merged = old.merged(record.view()).map_err(broken)?;
        if merged != old {
            let before = old.parse().map(Parsed::from_store).map_err(broken)?;
            if through.is_empty() {
                note_through(&mut through, &before);
            }
            note_through(&mut through, record);
            *record = merged
                .clone()
                .parse()
                .map(Parsed::from_store)
                .map_err(broken)?;
            changes.put_record(&site, seq, &merged, now);
            if through.len() > 1 {
                changes.put_through(&site, seq, &through);
            }
        } else if record.view() != &merged {
            *record = merged
                .clone()
                .parse()
                .map(Parsed::from_store)
                .map_err(broken)?;
        }
        self.0.insert((site, seq), (merged, through));
        Ok(())
    }
}

/// What a view opens came through the circles that it names.
fn note_through(through: &mut Through, record: &Verified) {
    for (circle, _) in record.feeds() {
        through.entry(*circle).or_default().extend(opened(record));
    }
}

/// A page of a feed, large enough to be worth threads.
fn is_page(job: &Job) -> bool {
    matches!(
        job,
        Job::Take {
            incoming: Incoming::Feed { page, .. },
            ..
        } if page.entries().len() >= PARALLEL_MIN
    )
}
