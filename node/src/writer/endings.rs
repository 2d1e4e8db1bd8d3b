//! Ends of grants to this site, and what they ask: nothing, to leave what came through the circle out of search, or to delete it.
//!
//! That a grant ended is stored in the batch that brings it, with what is to be done ([`Ending`]). A deletion goes over the
//! issuer's records in batches, each with how far it is, so that a crash in the middle costs nothing: the next start goes on
//! where the last batch ended, before anything else is done. When all of it is gone a receipt is signed
//! ([`Work::plan_receipts`]), in one batch with the note that it is.
//!
//! What was also shown through another circle stays. What else stays: the cores, as evidence that there was something, and
//! their places in the log and in feeds; the terms of the grant, without its key. Publications with boxes of the circle lose
//! their content. The file system and the database may hold old bytes until they write over them.

use std::collections::{BTreeMap, BTreeSet};

use fmesh_proto::{
    id::{CircleId, MeshId, ObjectId, SiteId},
    kinds::{Attestation, Claim, Grant, Kind, OnEnd, Outcome, Slot, Typed as _},
    mesh::{follow::Standing, issue::Item},
    publication::Publication,
    record::{Parsed, Verified, View},
};

use super::{
    Told, Work, WriteError,
    desk::{Session, bytes, every_slot},
    unix_now,
};
use crate::store::{Changes, Ending, LocalObject, Store, StoreError, Through};

/// Records that one batch of a deletion looks at.
const CLEARED_PER_BATCH: usize = 256;
/// Publications that are looked at at once, in bytes.
const PUBLICATIONS_BYTES: usize = 1024 * 1024;

/// Every grant under which this record came has ended, so that search leaves it out.
pub(crate) fn has_ended(endings: &[Ending], record: &Verified) -> bool {
    let issuer = record.claims().iss;
    let is_over = |circle: &CircleId| {
        endings
            .iter()
            .any(|e| e.issuer == issuer && e.circle == *circle && e.hides())
    };
    let mut circles = record.feeds().iter().map(|(circle, _)| circle).peekable();
    circles.peek().is_some() && circles.all(is_over)
}

/// What a grant's new revision changes here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    Nothing,
    /// Search, and what is to be deleted.
    Changed,
    /// The same, and the feed is read again from its beginning, because what it brought was given back.
    Rewound,
}

impl Work {
    /// Notes that a grant ended, or was given again; says what that changes.
    pub(super) fn note_standing(
        &self,
        standing: &Standing,
        changes: &mut Changes,
        now: u64,
    ) -> Result<Noted, StoreError> {
        let store = &self.setup.store;
        let (issuer, circle) = (standing.issuer, standing.circle);
        let before = store.ending(&issuer, &circle)?;
        let Some(on_end) = standing.ended else {
            let Some(before) = before else {
                return Ok(Noted::Nothing);
            };
            changes.delete_ending(&issuer, &circle);
            if before.on_end != OnEnd::Delete {
                return Ok(Noted::Changed);
            }
            changes.put_feed_position(&issuer, &circle, 0);
            return Ok(Noted::Rewound);
        };
        if before.is_some_and(|before| before.grant == standing.grant) {
            return Ok(Noted::Nothing);
        }
        if on_end == OnEnd::Delete {
            for epoch in store.epochs(&issuer, &circle)? {
                changes.delete_epoch_key(&issuer, &circle, epoch);
            }
        }
        changes.put_ending(&Ending {
            issuer,
            circle,
            on_end,
            grant: standing.grant,
            since: now,
            position: store.feed_position(&issuer, &circle)?,
            next: (on_end == OnEnd::Delete).then_some(0),
            cleared: 0,
            receipt: None,
        });
        Ok(Noted::Changed)
    }

    /// After ends were noted: search follows, and what is to be deleted is.
    pub(super) fn carry_out_endings(&mut self, of: &BTreeSet<SiteId>) -> Result<(), StoreError> {
        self.flush()?;
        self.refile(of)?;
        self.finish_deletions()
    }

    /// Goes on with every deletion that is not finished.
    pub(super) fn finish_deletions(&mut self) -> Result<(), StoreError> {
        for ending in self.setup.store.endings()? {
            if ending.next.is_some() {
                self.delete(ending)?;
            }
        }
        Ok(())
    }

    /// Search learns anew what it may show of some sites.
    fn refile(&self, of: &BTreeSet<SiteId>) -> Result<(), StoreError> {
        let store = &self.setup.store;
        let endings = store.endings()?;
        let mut told = Told::default();
        for current in store.currents() {
            let (site, _, _, seq) = current?;
            if of.contains(&site)
                && let Some((view, received)) = store.record(&site, seq)?
                && let Ok(record) = view.parse().map(Parsed::from_store)
                && self.is_searched(&record)
            {
                let ended = has_ended(&endings, &record);
                told.refiled.push((record, received, ended));
            }
        }
        self.tell(told, unix_now());
        Ok(())
    }

    fn delete(&mut self, mut ending: Ending) -> Result<(), StoreError> {
        let store = self.setup.store.clone();
        let (issuer, circle) = (ending.issuer, ending.circle);
        tracing::info!(%issuer, %circle, "a grant ended: what came through its circle is deleted");
        while let Some(from) = ending.next {
            let mut changes = Changes::new();
            let mut told = Told::default();
            ending.next = None;
            for (looked, entry) in store.records(&issuer, from).enumerate() {
                let (seq, view, received) = entry?;
                if looked == CLEARED_PER_BATCH {
                    ending.next = Some(seq);
                    break;
                }
                let Some(left) = without(&store, &circle, &view)? else {
                    continue;
                };
                changes.put_record(&issuer, seq, &left.view, received);
                if let Some(through) = left.through {
                    changes.put_through(&issuer, seq, &through);
                }
                ending.cleared += u64::from(left.counts);
                if store.current(&issuer, &left.kind, &left.id)? == Some(seq)
                    && let Ok(record) = left.view.parse().map(Parsed::from_store)
                    && self.is_searched(&record)
                {
                    told.refiled.push((record, received, false));
                }
            }
            if ending.next.is_none() {
                strip_boxes(&store, &issuer, &circle, &mut changes)?;
            }
            changes.put_ending(&ending);
            self.commit(changes, told, unix_now())?;
        }
        // Signs the receipt.
        self.job(super::Job::Replan)
    }

    /// Confirms the deletions that are finished and not confirmed yet, each to its issuer.
    pub(super) fn plan_receipts(
        &mut self,
        mesh: &MeshId,
        session: &mut Session,
    ) -> Result<(), WriteError> {
        let mut items: Vec<Item> = Vec::new();
        for mut ending in self.setup.store.endings()? {
            let is_due = ending.on_end == OnEnd::Delete
                && ending.next.is_none()
                && ending.receipt.is_none()
                && self.desk.membership.member(&ending.issuer).is_some();
            if !is_due {
                continue;
            }
            let object = receipt(&ending, session.now);
            let pairwise = self.pairwise(mesh, &ending.issuer)?;
            let circles = BTreeMap::from([(pairwise, every_slot(&Kind::Attestation))]);
            items.extend(self.revision(&object, circles));
            ending.receipt = Some(object.id);
            session.changes.put_ending(&ending);
            self.keep_object(object, session);
        }
        if items.is_empty() {
            return Ok(());
        }
        self.issue(items, session)
    }
}

/// What is left of a record.
struct Left {
    view: View,
    /// To be stored, where it came through several circles.
    through: Option<Through>,
    kind: Kind,
    id: ObjectId,
    /// It was one of the circle's records; grants are about the circle, not of it.
    counts: bool,
}

/// A record without what came only through `circle`; `None` if that is all of it.
fn without(store: &Store, circle: &CircleId, view: &View) -> Result<Option<Left>, StoreError> {
    let corrupt = |e: fmesh_proto::record::RecordError| StoreError::Corrupt(e.to_string());
    let record = view
        .clone()
        .parse()
        .map(Parsed::from_store)
        .map_err(corrupt)?;
    let claims = record.claims();
    if claims.kind.is_plain() {
        return Ok(None);
    }
    let opened: BTreeSet<String> = opened(&record);
    let mut through = store.through(&claims.iss, claims.seq)?;
    let (keep, through, counts) = if claims.kind == Kind::Grant {
        let grant = Grant::read(record.fields()).ok();
        if grant.is_none_or(|grant| grant.circle != Slot::Known(*circle)) {
            return Ok(None);
        }
        let mut keep = opened.clone();
        keep.remove("key");
        (keep, None, false)
    } else if record.feed_seq(circle).is_none() {
        return Ok(None);
    } else if through.is_empty() {
        // Through one circle alone.
        (BTreeSet::new(), None, true)
    } else {
        through.insert(*circle, BTreeSet::new());
        let keep = through.values().flatten().cloned().collect();
        (keep, Some(through), true)
    };
    if keep == opened {
        return Ok(None);
    }
    Ok(Some(Left {
        view: view.narrowed(&keep).map_err(corrupt)?,
        through,
        kind: claims.kind.clone(),
        id: claims.id,
        counts,
    }))
}

/// Slots that a view opens.
pub(super) fn opened(record: &Verified) -> BTreeSet<String> {
    let shown = record.fields().iter().filter(|(_, value)| value.is_some());
    shown.map(|(name, _)| name.clone()).collect()
}

/// Publications with boxes of a circle lose their content: others have it for those it is for.
fn strip_boxes(
    store: &Store,
    issuer: &SiteId,
    circle: &CircleId,
    changes: &mut Changes,
) -> Result<(), StoreError> {
    let mut from = 0;
    loop {
        let page = store.publications(issuer, from, PUBLICATIONS_BYTES)?;
        if page.is_empty() {
            return Ok(());
        }
        for bytes in page {
            let publication = Publication::decode(&bytes)
                .map_err(|e| StoreError::Corrupt(format!("a publication of {issuer}: {e}")))?;
            from = publication.size();
            let is_of = |sealed: &fmesh_proto::wire::Sealed| {
                sealed.circle == circle.0 && !sealed.ciphertext.is_empty()
            };
            if publication.sealed.iter().any(is_of) {
                changes.put_stripped(issuer, &publication);
            }
        }
    }
}

fn receipt(ending: &Ending, now: u64) -> LocalObject {
    let at = i64::try_from(now).ok();
    let fields = Attestation {
        subject: Slot::Known(ending.issuer),
        claim: Slot::Known(Claim::Deleted),
        targets: Slot::Known(vec![ending.grant]),
        result: Slot::Known(Outcome {
            circle: Some(ending.circle),
            records: Some(ending.cleared),
            feed_seq: Some(ending.position),
            text: None,
        }),
        at: at
            .and_then(|at| jiff::Timestamp::from_second(at).ok())
            .into(),
    }
    .write();
    LocalObject {
        kind: Kind::Attestation,
        id: ObjectId::from_random(bytes()),
        key: format!("{}/{}", ending.issuer.hex(), ending.grant.hex()),
        fields,
        retired: false,
        updated: now,
    }
}
