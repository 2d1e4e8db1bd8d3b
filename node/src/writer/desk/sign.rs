//! What must be signed because of an edit: which objects say something new to a circle, their next revisions, and all that
//! is stored with them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fmesh_proto::{
    circle::{EpochKey, Object, permits},
    id::{CircleId, MeshId, from_hex},
    keys::pairwise_circle,
    mesh::issue::{Author, Issuance, IssueError, Item, Seal},
};

use super::{Desk, ObjectRef, Session, content_of};
use crate::{
    store::{FeedEntry, Issue, LocalObject},
    writer::{Work, WriteError, random},
};

/// Records that are signed and stored together. Unit tests see the same with fewer.
pub(super) const SIGNED_TOGETHER: usize = if cfg!(test) { 8 } else { 1_024 };

impl Work {
    /// Signs what must be signed before an object is: grants first, so that a circle's records can be read where they arrive. Says
    /// which objects have to be signed anew, each of which can be.
    pub(super) fn plan(
        &mut self,
        session: &mut Session,
    ) -> Result<VecDeque<ObjectRef>, WriteError> {
        let Some(mesh) = self.desk.meta.mesh else {
            return Ok(VecDeque::new());
        };
        self.heed_members(session);
        if self.desk.membership.member(&self.setup.site).is_none() && session.founded.is_none() {
            return Ok(VecDeque::new());
        }
        self.plan_grants(&mesh, session)?;
        self.plan_receipts(&mesh, session)?;
        let dirty = std::mem::take(&mut session.dirty);
        let all = session.all_dirty.then(|| self.desk.objects.keys());
        let candidates = match all {
            Some(all) => all.cloned().collect(),
            None => dirty,
        };
        let today = today();
        let changed = |key: &ObjectRef| self.next_revision(key, today).is_some();
        let left: VecDeque<ObjectRef> = candidates.into_iter().filter(changed).collect();
        if left.len() > SIGNED_TOGETHER {
            // The first are on disk before the last are signed, and a refusal of one is one of all.
            let author = self.author(mesh);
            let mut random = random();
            for item in left.iter().filter_map(|key| self.next_revision(key, today)) {
                author.can_sign(item, &mut random).map_err(unsigned)?;
            }
        }
        if left.is_empty() && self.desk.head.is_none() {
            // The log begins with the manifest.
            self.issue(Vec::new(), session)?;
        }
        Ok(left)
    }

    /// Signs the next objects of those that are left. What is signed together is in memory several times over, and so is what is
    /// stored together; a plant with a hundred thousand objects has room for some of them.
    pub(super) fn sign_next(
        &mut self,
        left: &mut VecDeque<ObjectRef>,
        session: &mut Session,
    ) -> Result<(), WriteError> {
        let today = today();
        let next = left.drain(..left.len().min(SIGNED_TOGETHER));
        let items: Vec<Item> = next
            .filter_map(|key| self.next_revision(&key, today))
            .collect();
        match items.is_empty() {
            true => Ok(()),
            false => self.issue(items, session),
        }
    }

    /// The next revision of an object that circles show, if it needs one.
    fn next_revision(&self, key: &ObjectRef, today: jiff::civil::Date) -> Option<Item> {
        let object = self
            .desk
            .objects
            .get(key)
            .filter(|_| !key.0.is_personal())?;
        self.revision(object, self.audience_of(object, today))
    }

    /// What each circle may see of an object today.
    fn audience_of(
        &self,
        object: &LocalObject,
        today: jiff::civil::Date,
    ) -> BTreeMap<CircleId, BTreeSet<String>> {
        let seen = Object {
            kind: &object.kind,
            id: &object.id,
            fields: &object.fields,
        };
        self.desk
            .circles
            .values()
            .filter_map(|circle| Some((circle.id, permits(circle, seen, today).slots()?.clone())))
            .collect()
    }

    /// The next revision of an object, if what it says or who sees it has changed. A circle that saw it and no longer
    /// may gets the new revision with nothing opened, so that what it holds is superseded.
    pub(in crate::writer) fn revision(
        &self,
        object: &LocalObject,
        mut circles: BTreeMap<CircleId, BTreeSet<String>>,
    ) -> Option<Item> {
        let issue = self.desk.issues.get(&(object.kind.clone(), object.id));
        let content = content_of(object);
        let shown: BTreeMap<CircleId, BTreeSet<String>> = issue
            .map(|i| {
                // A circle that is gone has nobody who could be told; one of two that is called otherwise since a box key changed
                // is told under its new name.
                let lives = |c: &CircleId| match object.kind.is_personal() {
                    true => self.desk.pairs.values().any(|(_, pair)| pair == c),
                    false => self.desk.circles.contains_key(c),
                };
                i.circles
                    .iter()
                    .filter(|(c, s)| !s.is_empty() && lives(c))
                    .map(|(c, s)| (*c, s.clone()))
                    .collect()
            })
            .unwrap_or_default();
        let unchanged = match issue {
            Some(issue) => issue.content == Some(content) && shown == circles,
            None => circles.is_empty() || object.retired,
        };
        if unchanged || (circles.is_empty() && shown.is_empty()) {
            return None;
        }
        for circle in shown.into_keys() {
            circles.entry(circle).or_default();
        }
        Some(Item {
            kind: object.kind.clone(),
            id: object.id,
            rev: issue.map_or(1, |i| i.rev + 1 + i.skip),
            prev: issue.and_then(|i| i.core),
            retired: object.retired,
            fields: object.fields.clone(),
            circles,
        })
    }

    /// Signs and appends; everything that follows from it goes into the session.
    pub(in crate::writer) fn issue(
        &mut self,
        items: Vec<Item>,
        session: &mut Session,
    ) -> Result<(), WriteError> {
        let mesh = self.desk.mesh()?;
        self.must_be_clear()?;
        self.must_have_keys()?;
        for circle in items.iter().flat_map(|item| item.circles.keys()) {
            let floor = self.desk.meta.floor;
            self.desk.tails.entry(*circle).or_insert(floor);
        }
        let seals = self.seals(&mesh);
        let mut tails = std::mem::take(&mut self.desk.tails);
        let (head, now) = (self.desk.head.as_ref(), session.now);
        let author = self.author(mesh);
        let issuance = author.issue(head, &mut tails, &seals, items, now, &mut random());
        self.desk.tails = tails;
        self.keep_issuance(issuance.map_err(unsigned)?, session)
    }

    /// This site as it signs.
    pub(in crate::writer) fn author(&self, mesh: MeshId) -> Author<'_> {
        Author {
            mesh,
            site: self.setup.site,
            keys: &self.setup.keys,
            manifest: &self.setup.manifest,
        }
    }

    pub(in crate::writer) fn keep_issuance(
        &mut self,
        issuance: Issuance,
        session: &mut Session,
    ) -> Result<(), WriteError> {
        let site = self.setup.site;
        let history = self.own_history()?;
        session.changes.put_head(&site, &issuance.head);
        for (level, index, hash) in &issuance.nodes {
            session.changes.put_node(&site, *level, *index, hash);
        }
        for publication in &issuance.publications {
            session.changes.put_publication(
                &site,
                publication.from(),
                publication.bytes(),
                session.now,
            );
            session.publications.push(publication.bytes().to_vec());
        }
        for signed in issuance.records {
            // What we sign goes through the same check as what others sign.
            let verified = history.verify(signed.archive.clone()).map_err(|e| {
                WriteError::Invalid(format!("own record {} does not verify: {e}", signed.seq))
            })?;
            let claims = verified.claims();
            session
                .changes
                .put_record(&site, signed.seq, &signed.archive, session.now);
            session
                .changes
                .put_current(&site, &claims.kind, &claims.id, signed.seq);
            if claims.kind.is_plain() {
                session.changes.put_membership(&site, signed.seq);
                self.desk.note_membership(&signed.archive);
            }
            for (circle, feed_seq, slots) in &signed.feeds {
                let entry = FeedEntry {
                    feed_seq: *feed_seq,
                    seq: signed.seq,
                    kind: claims.kind.clone(),
                    id: claims.id,
                    slots: slots.clone(),
                };
                session.changes.put_feed_entry(circle, &entry);
            }
            let key = (claims.kind.clone(), claims.id);
            if let Some(object) = self.desk.objects.get(&key) {
                let issue = Issue {
                    seq: signed.seq,
                    rev: claims.rev,
                    core: Some(verified.core_digest()),
                    content: Some(content_of(object)),
                    circles: signed
                        .feeds
                        .iter()
                        .map(|(c, _, s)| (*c, s.clone()))
                        .collect(),
                    skip: 0,
                };
                session.changes.put_issue(&key.0, &key.1, &issue);
                self.desk.issues.insert(key.clone(), issue);
            }
            session
                .applied
                .issued
                .push((signed.seq, key.0, key.1, signed.feeds.len()));
            session.told.index.push(verified);
        }
        self.desk.head = Some(issuance.head);
        Ok(())
    }

    /// How each circle's members read.
    fn seals(&mut self, mesh: &MeshId) -> BTreeMap<CircleId, Seal> {
        let mut seals: BTreeMap<CircleId, Seal> = [(CircleId::MESH_WIDE, Seal::Plain)].into();
        for (id, secret) in &self.desk.secrets {
            if let Some(key) = from_hex(&secret.key).and_then(|k| k.try_into().ok()) {
                seals.insert(*id, Seal::Group(secret.epoch, EpochKey(key)));
            }
        }
        self.refresh_pairs(mesh);
        seals.extend(
            self.desk
                .pairs
                .values()
                .map(|(boxed, id)| (*id, Seal::Pairwise(*boxed))),
        );
        seals
    }

    /// Looks at members' box keys: a key agreement with each that is new.
    pub(in crate::writer) fn refresh_pairs(&mut self, mesh: &MeshId) {
        let Desk {
            membership, pairs, ..
        } = &mut self.desk;
        let (keys, me) = (&self.setup.keys, self.setup.site);
        pairs.retain(|site, _| membership.member(site).is_some());
        for member in membership.members().filter(|m| m.site != me) {
            let boxed = member.keys.current().boxed;
            if pairs
                .get(&member.site)
                .is_none_or(|(known, _)| *known != boxed)
            {
                let circle = pairwise_circle(keys, &boxed, mesh, &me, &member.site);
                pairs.insert(member.site, (boxed, circle));
            }
        }
    }
}

fn unsigned(error: IssueError) -> WriteError {
    WriteError::Invalid(error.to_string())
}

/// The day in UTC, by which horizons are counted.
fn today() -> jiff::civil::Date {
    let now = jiff::Timestamp::now();
    now.to_zoned(jiff::tz::TimeZone::UTC).date()
}
