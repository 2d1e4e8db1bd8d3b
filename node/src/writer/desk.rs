//! The operator's own things in memory, and the edits of them. What must be signed because of an edit is `sign`.
//!
//! An edit is validated against the desk and applied to it; then [`Work::plan`] compares every object that may have
//! changed with what went out for it, asks [`fmesh_proto::circle::permits`] for each circle, and says where the answer differs: there a new
//! revision is signed. If anything is refused, the desk is loaded again from the store, so that nothing has happened.
//!
//! An edit and the first thousand records that follow from it are stored as one; if more follow, they are stored a thousand at a
//! time, and a writer that is ended between them goes on at its next start, which plans everything. A circle that ends is
//! forgotten with the last of them: until then it is there, and whoever is interrupted ends it again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fmesh_proto::{
    circle::{Audience, Circle},
    directory,
    id::{CircleId, Digest, InviteId, MeshId, ObjectId, SiteId, from_hex, to_hex},
    invite::Ticket,
    keys::pairwise_circle,
    kinds::Kind,
    limits,
    membership::{Act, Membership, Role},
    mesh::issue::Item,
    record::{Fields, View},
};
use rand_core::Rng as _;

use super::{Applied, Edit, Told, Work, WriteError, Written, random, unix_now};
use crate::store::{
    Changes, CircleSecret, Head, Invite, Issue, JoinPhase, Joining, LocalObject, Meta, PendingJoin,
    Store, StoreError,
};

mod sign;

/// Names an own object.
type ObjectRef = (Kind, ObjectId);

/// Everything that decides what is signed, as the store has it.
#[derive(Debug)]
pub(super) struct Desk {
    site: SiteId,
    pub(super) meta: Meta,
    pub(super) objects: BTreeMap<ObjectRef, LocalObject>,
    ids: BTreeMap<(Kind, String), ObjectId>,
    pub(super) issues: BTreeMap<ObjectRef, Issue>,
    pub(super) circles: BTreeMap<CircleId, Circle>,
    pub(super) secrets: BTreeMap<CircleId, CircleSecret>,
    pub(super) tails: BTreeMap<CircleId, u64>,
    pub(super) invites: BTreeMap<InviteId, Invite>,
    pub(super) pending: BTreeMap<SiteId, PendingJoin>,
    /// `keys` and `membership` records by author and leaf.
    pub(super) membership_views: BTreeMap<(SiteId, u64), View>,
    pub(super) membership: Arc<Membership>,
    pub(super) head: Option<Head>,
    /// Members' box keys, with the pairwise circle that follows: a key agreement each, so it is made once.
    pairs: BTreeMap<SiteId, ([u8; 32], CircleId)>,
}

impl Desk {
    pub(super) fn load(store: &Store, site: &SiteId) -> Result<Self, StoreError> {
        let mut desk = Self {
            site: *site,
            meta: store.meta()?,
            objects: BTreeMap::new(),
            ids: BTreeMap::new(),
            issues: BTreeMap::new(),
            circles: store.circles()?.into_iter().map(|c| (c.id, c)).collect(),
            secrets: BTreeMap::new(),
            tails: store.feed_tails()?,
            invites: store.invites()?.into_iter().map(|i| (i.id, i)).collect(),
            pending: store.pending()?.into_iter().map(|p| (p.site, p)).collect(),
            membership_views: BTreeMap::new(),
            membership: Arc::default(),
            head: store.head(site)?,
            pairs: BTreeMap::new(),
        };
        for (circle, floor) in &desk.meta.floors {
            let tail = desk.tails.entry(*circle).or_default();
            *tail = (*tail).max(*floor);
        }
        for object in store.objects(None)? {
            let key = (object.kind.clone(), object.id);
            if let Some(issue) = store.issue(&key.0, &key.1)? {
                desk.issues.insert(key.clone(), issue);
            }
            desk.insert(object);
        }
        for circle in desk.circles.keys() {
            if let Some(secret) = store.circle_secret(circle)? {
                desk.secrets.insert(*circle, secret);
            }
        }
        for view in store.membership()? {
            desk.note_membership(&view);
        }
        desk.refresh_membership();
        Ok(desk)
    }

    /// A membership record that was stored.
    pub(super) fn note_membership(&mut self, view: &View) {
        if let Ok(parsed) = view.clone().parse() {
            let claims = parsed.claims();
            self.membership_views
                .insert((claims.iss, claims.seq), view.clone());
        }
    }

    /// Computes the members anew.
    pub(super) fn refresh_membership(&mut self) {
        if let Some(mesh) = self.meta.mesh {
            let views: Vec<View> = self.membership_views.values().cloned().collect();
            self.membership = Arc::new(self.membership.next(&mesh, &views).0);
        }
    }

    /// Uses of an invite that nobody has taken; a site that waits has taken one.
    pub(super) fn uses_left(&self, invite: &Invite) -> u32 {
        let waiting = self
            .pending
            .values()
            .filter(|p| p.invite == invite.id && !p.refused)
            .count();
        let taken = invite.used_by.len() + waiting;
        invite
            .uses
            .saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
    }

    fn insert(&mut self, object: LocalObject) {
        self.ids
            .insert((object.kind.clone(), object.key.clone()), object.id);
        self.objects
            .insert((object.kind.clone(), object.id), object);
    }

    pub(super) fn object_by_key(&self, kind: &Kind, key: &str) -> Option<&LocalObject> {
        let id = self.ids.get(&(kind.clone(), key.to_owned()))?;
        self.objects.get(&(kind.clone(), *id))
    }

    pub(super) fn circle_by_name(&self, name: &str) -> Result<&Circle, WriteError> {
        self.circles
            .values()
            .find(|c| c.name == name)
            .ok_or_else(|| WriteError::NotFound(format!("there is no circle {name:?}")))
    }

    /// Is `site` in this circle, and is it a group?
    pub(super) fn is_in_group(&self, circle: &CircleId, site: &SiteId) -> bool {
        self.circles.get(circle).is_some_and(|circle| {
            matches!(&circle.audience, Audience::Group { members } if members.contains(site))
        })
    }

    /// The pairwise circle that leads to a member, as of the last look at all box keys.
    pub(super) fn pair(&self, to: &SiteId) -> Option<CircleId> {
        self.pairs.get(to).map(|(_, circle)| *circle)
    }

    /// Box keys of our own changed: no circle of two is called as before.
    pub(super) fn forget_pairs(&mut self) {
        self.pairs.clear();
    }

    pub(super) fn mesh(&self) -> Result<MeshId, WriteError> {
        self.meta
            .mesh
            .ok_or_else(|| WriteError::Conflict("this site is in no mesh yet".into()))
    }

    pub(super) fn must_be_admin(&self) -> Result<(), WriteError> {
        match self.membership.member(&self.site) {
            Some(member) if member.role == Role::Admin => Ok(()),
            _ => Err(WriteError::Refused(
                "only an admin of the mesh may do this".into(),
            )),
        }
    }
}

/// One list of edits on its way.
pub(super) struct Session {
    pub(super) changes: Changes,
    told: Told,
    pub(super) applied: Applied,
    publications: Vec<Vec<u8>>,
    /// Circles that are forgotten at the end.
    pub(super) ending: BTreeSet<CircleId>,
    dirty: BTreeSet<ObjectRef>,
    pub(super) all_dirty: bool,
    pub(super) members_changed: bool,
    founded: Option<MeshId>,
    pub(super) now: u64,
}

impl Session {
    pub(super) fn new(all_dirty: bool) -> Self {
        Self {
            changes: Changes::new(),
            told: Told::default(),
            applied: Applied::default(),
            publications: Vec::new(),
            ending: BTreeSet::new(),
            dirty: BTreeSet::new(),
            all_dirty,
            members_changed: false,
            founded: None,
            now: unix_now(),
        }
    }
}

impl Work {
    /// Applies edits wholly or not at all. `dry_run`: the caller loads the desk again.
    pub(super) fn edits(&mut self, edits: Vec<Edit>, dry_run: bool) -> Result<Applied, WriteError> {
        // An empty list means: look at everything again.
        let mut session = Session::new(edits.is_empty());
        if let Some(mesh) = self.desk.meta.mesh {
            self.refresh_pairs(&mesh);
        }
        let mut before = Arc::clone(&self.desk.membership);
        let planned = edits
            .into_iter()
            .try_for_each(|edit| self.edit(edit, &mut session))
            .and_then(|()| self.plan(&mut session));
        let mut left = self.or_as_stored(planned)?;
        let mut applied: Option<Applied> = None;
        loop {
            let signed = self.sign_next(&mut left, &mut session);
            self.or_as_stored(signed)?;
            if left.is_empty() {
                self.forget_circles(&mut session);
            }
            let next = Session {
                ending: std::mem::take(&mut session.ending),
                ..Session::new(false)
            };
            let session = std::mem::replace(&mut session, next);
            let done = match dry_run {
                true => session.applied,
                false => self.finish(session, &before)?,
            };
            match &mut applied {
                None => applied = Some(done),
                Some(applied) => applied.issued.extend(done.issued),
            }
            if left.is_empty() {
                return Ok(applied.unwrap_or_default());
            }
            before = Arc::clone(&self.desk.membership);
        }
    }

    /// After a refusal the desk is what the store says, so nothing has happened.
    fn or_as_stored<T>(&mut self, result: Result<T, WriteError>) -> Result<T, WriteError> {
        if result.is_err() {
            self.desk = Desk::load(&self.setup.store, &self.setup.site)?;
        }
        result
    }

    /// Stores what a session did, then tells.
    pub(super) fn finish(
        &mut self,
        session: Session,
        before: &Membership,
    ) -> Result<Applied, WriteError> {
        let Session {
            changes,
            mut told,
            applied,
            publications,
            members_changed,
            founded,
            now,
            ..
        } = session;
        let membership = Arc::clone(&self.desk.membership);
        self.note_standings(before, &mut told)?;
        if let Some(mesh) = founded {
            told.events.push(Written::InMesh {
                mesh,
                membership,
                addresses: Vec::new(),
            });
        } else if members_changed {
            told.events.push(Written::Membership(membership));
        }
        if let Some(head) = self.desk.head.as_ref().filter(|_| !publications.is_empty()) {
            told.events.push(Written::Issued {
                publications,
                head: Box::new(head.checkpoint.clone()),
            });
        }
        let signed = !applied.issued.is_empty();
        self.setup.store.commit(changes)?;
        self.tell(told, now);
        if signed {
            self.remember_signed()?;
        }
        Ok(applied)
    }

    fn edit(&mut self, edit: Edit, session: &mut Session) -> Result<(), WriteError> {
        match edit {
            Edit::Found { name } => self.found(name, session),
            Edit::PutObject {
                kind,
                key,
                id,
                fields,
            } => self.put_object(kind, key, id, fields, session),
            Edit::RetireObject { kind, key } => {
                let object = self
                    .desk
                    .object_by_key(&kind, &key)
                    .ok_or_else(|| WriteError::NotFound(format!("there is no {kind} {key:?}")))?;
                let object = LocalObject {
                    retired: true,
                    updated: session.now,
                    ..object.clone()
                };
                self.keep_object(object, session);
                Ok(())
            }
            Edit::PutCircle(put) => self.put_circle(put, session),
            Edit::AddToCircle { name, members } => self.add_to_circle(&name, members, session),
            Edit::DropFromCircle { name, members } => {
                self.drop_from_circle(&name, &members, session)
            }
            Edit::RemoveCircle { name } => self.remove_circle(&name, session),
            Edit::CreateInvite {
                expires,
                uses,
                role,
                note,
                circles,
                auto_approve,
                addresses,
            } => {
                let invite = Invite {
                    id: InviteId(bytes()),
                    secret: to_hex(&bytes::<16>()),
                    created: session.now,
                    expires,
                    uses,
                    role,
                    note,
                    circles,
                    auto_approve,
                    revoked: None,
                    used_by: Vec::new(),
                    addresses,
                };
                self.create_invite(invite, session)
            }
            Edit::RevokeInvite { id } => {
                let mut invite = self
                    .desk
                    .invites
                    .get(&id)
                    .cloned()
                    .ok_or_else(|| WriteError::NotFound(format!("there is no invite {id}")))?;
                if invite.revoked.is_none() {
                    invite.revoked = Some(session.now);
                }
                self.keep_invite(invite, session);
                Ok(())
            }
            Edit::Approve { site } => self.approve(&site, session),
            Edit::Refuse { site } => {
                let mut pending = self.pending(&site)?;
                pending.refused = true;
                session.changes.put_pending(&pending);
                self.desk.pending.insert(site, pending);
                session.told.events.push(Written::Door);
                Ok(())
            }
            Edit::CancelJoin => {
                if self.desk.meta.joining.take().is_none() {
                    return Err(WriteError::Conflict("this site is not joining".into()));
                }
                session.changes.put_meta(&self.desk.meta);
                session.told.events.push(Written::Door);
                Ok(())
            }
            Edit::Remove {
                site,
                last_good,
                reason,
            } => self.remove(site, last_good, reason, session),
            Edit::SetRole { site, role } => self.set_role(site, role, session),
            Edit::Join { ticket } => {
                if self.desk.meta.mesh.is_some() {
                    return Err(WriteError::Conflict(
                        "this site is in a mesh already; a log belongs to one mesh".into(),
                    ));
                }
                let decoded =
                    Ticket::decode(&ticket).map_err(|e| WriteError::Invalid(e.to_string()))?;
                if decoded.site == self.setup.site {
                    return Err(WriteError::Invalid(
                        "this ticket was made by this very site".into(),
                    ));
                }
                self.desk.meta.joining = Some(Joining {
                    ticket: decoded.encode(),
                    since: session.now,
                    phase: JoinPhase::Trying,
                    answer: None,
                });
                session.changes.put_meta(&self.desk.meta);
                session.told.events.push(Written::Door);
                Ok(())
            }
        }
    }

    fn found(&mut self, name: String, session: &mut Session) -> Result<(), WriteError> {
        if self.desk.meta.mesh.is_some() {
            return Err(WriteError::Conflict(
                "this site is in a mesh already; a log belongs to one mesh".into(),
            ));
        }
        if self.desk.meta.is_joining() {
            return Err(WriteError::Conflict(
                "this site is joining a mesh, and a log belongs to one mesh; fmesh join --cancel gives that up".into(),
            ));
        }
        let nonce = bytes();
        let mesh = MeshId::found(&self.setup.site, &nonce);
        self.desk.meta.mesh = Some(mesh);
        self.desk.meta.mesh_name = Some(name.clone());
        self.desk.meta.joining = None;
        session.changes.put_meta(&self.desk.meta);
        session.applied.mesh = Some(mesh);
        session.founded = Some(mesh);
        session.all_dirty = true;
        self.act(&Act::Found { nonce, name }, session)
    }

    fn put_object(
        &mut self,
        kind: Kind,
        key: String,
        id: Option<ObjectId>,
        fields: Fields,
        session: &mut Session,
    ) -> Result<(), WriteError> {
        let key = named(&key, &kind.to_string())?;
        if kind.slots().is_empty() || kind.is_personal() {
            return Err(WriteError::Invalid(format!(
                "objects of kind {kind} are not entered by hand"
            )));
        }
        let shown = kind
            .slots()
            .iter()
            .map(|slot| {
                (
                    (*slot).to_owned(),
                    Some(fields.get(*slot).cloned().unwrap_or_default()),
                )
            })
            .collect();
        fmesh_proto::kinds::check(&kind, &shown)
            .map_err(|e| WriteError::Invalid(format!("{key}: {e}")))?;
        let old = self.desk.object_by_key(&kind, &key);
        if let (Some(id), Some(old)) = (id, old)
            && old.id != id
        {
            return Err(WriteError::Conflict(format!(
                "{kind} {key:?} exists under another id, {}",
                old.id
            )));
        }
        let object = LocalObject {
            id: old.map_or_else(
                || id.unwrap_or_else(|| ObjectId::from_random(bytes())),
                |o| o.id,
            ),
            kind: kind.clone(),
            key: key.clone(),
            fields: shown
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
            retired: false,
            updated: session.now,
        };
        session
            .applied
            .objects
            .push((kind, key, object.id, old.is_none()));
        self.keep_object(object, session);
        Ok(())
    }

    pub(super) fn keep_object(&mut self, object: LocalObject, session: &mut Session) {
        session.changes.put_object(&object);
        session.dirty.insert((object.kind.clone(), object.id));
        self.desk.insert(object);
    }

    fn create_invite(&mut self, invite: Invite, session: &mut Session) -> Result<(), WriteError> {
        let mesh = self.desk.mesh()?;
        self.desk.must_be_admin()?;
        if invite.expires <= session.now {
            return Err(WriteError::Invalid(
                "the invite would be expired at once".into(),
            ));
        }
        if invite.uses == 0 {
            return Err(WriteError::Invalid(
                "an invite needs at least one use".into(),
            ));
        }
        if invite.addresses.is_empty() || invite.addresses.len() > limits::ADDRESSES_MAX {
            return Err(WriteError::Invalid(format!(
                "a ticket carries 1 to {} addresses of this node, not {}",
                limits::ADDRESSES_MAX,
                invite.addresses.len()
            )));
        }
        for name in &invite.circles {
            if !matches!(
                self.desk.circle_by_name(name)?.audience,
                Audience::Group { .. }
            ) {
                return Err(WriteError::Conflict(format!(
                    "the circle {name:?} is not a group; newcomers can enter groups only"
                )));
            }
        }
        let ticket = Ticket {
            mesh,
            site: self.setup.site,
            transport: self.setup.keys.transport(),
            addresses: invite.addresses.clone(),
            invite: invite.id,
            secret: secret_bytes(&invite.secret)?,
            expires: invite.expires,
        };
        session.applied.ticket = Some(ticket.encode());
        session.applied.invite = Some(invite.id);
        self.keep_invite(invite, session);
        Ok(())
    }

    pub(super) fn keep_invite(&mut self, invite: Invite, session: &mut Session) {
        session.changes.put_invite(&invite);
        self.desk.invites.insert(invite.id, invite);
        session.told.events.push(Written::Door);
    }

    fn pending(&self, site: &SiteId) -> Result<PendingJoin, WriteError> {
        self.desk
            .pending
            .get(site)
            .cloned()
            .ok_or_else(|| WriteError::NotFound(format!("no site {site} waits to join")))
    }

    fn approve(&mut self, site: &SiteId, session: &mut Session) -> Result<(), WriteError> {
        self.desk.must_be_admin()?;
        let pending = self.pending(site)?;
        if self.desk.membership.removed().contains_key(site) {
            return Err(WriteError::Conflict(
                "this site was removed from the mesh for good; it may come as a new site, with new keys"
                    .into(),
            ));
        }
        let mut invite = self
            .desk
            .invites
            .get(&pending.invite)
            .cloned()
            .ok_or_else(|| WriteError::NotFound("its invite is gone".into()))?;
        if invite.revoked.is_some() {
            return Err(WriteError::Conflict(
                "its invite was revoked meanwhile; ask the site to use a new one".into(),
            ));
        }
        let manifest = View::decode(pending.manifest.as_bytes())
            .map_err(|e| WriteError::Invalid(e.to_string()))?;
        invite.used_by.push((*site, session.now));
        let (role, circles) = (invite.role, invite.circles.clone());
        self.keep_invite(invite, session);
        session.changes.delete_pending(site);
        self.desk.pending.remove(site);
        if !pending.addresses.is_empty() {
            let hint = directory::hint(site, pending.addresses.clone());
            session.changes.put_addresses(&hint);
        }
        self.act(
            &Act::Admit {
                site: *site,
                name: pending.name,
                role,
                manifest,
            },
            session,
        )?;
        for name in circles {
            // A circle that was renamed or removed since takes nobody in.
            if self.desk.circle_by_name(&name).is_ok() {
                self.add_to_circle(&name, [*site].into(), session)?;
            }
        }
        session.all_dirty = true;
        Ok(())
    }

    pub(super) fn pairwise(&self, mesh: &MeshId, to: &SiteId) -> Result<CircleId, WriteError> {
        let member = self
            .desk
            .membership
            .member(to)
            .ok_or_else(|| WriteError::NotFound(format!("{to} is not a member of the mesh")))?;
        Ok(pairwise_circle(
            &self.setup.keys,
            &member.keys.current().boxed,
            mesh,
            &self.setup.site,
            to,
        ))
    }

    /// Signs a membership act; the members that follow from it count for everything after it.
    pub(super) fn act(&mut self, act: &Act, session: &mut Session) -> Result<(), WriteError> {
        let item = Item {
            kind: Kind::Membership,
            id: ObjectId::from_random(bytes()),
            rev: 1,
            prev: None,
            retired: false,
            fields: act.write(),
            circles: [(CircleId::MESH_WIDE, BTreeSet::new())].into(),
        };
        self.issue(vec![item], session)?;
        self.desk.refresh_membership();
        session.members_changed = true;
        Ok(())
    }
}

/// Names of all slots of a kind.
pub(super) fn every_slot(kind: &Kind) -> BTreeSet<String> {
    kind.slots().iter().map(|slot| (*slot).to_owned()).collect()
}

/// What an object says, to see whether it says something new.
pub(super) fn content_of(object: &LocalObject) -> Digest {
    let mut text = serde_json::to_vec(&object.fields).unwrap_or_default();
    text.push(u8::from(object.retired));
    Digest::of(&text)
}

pub(super) fn named(name: &str, what: &str) -> Result<String, WriteError> {
    let name = name.trim();
    let good = !name.is_empty()
        && name.chars().count() <= limits::NAME_CHARS_MAX
        && !name.chars().any(char::is_control);
    good.then(|| name.to_owned()).ok_or_else(|| {
        WriteError::Invalid(format!(
            "the name of a {what} has 1 to {} characters on one line",
            limits::NAME_CHARS_MAX
        ))
    })
}

fn secret_bytes(hex: &str) -> Result<[u8; 16], WriteError> {
    from_hex(hex)
        .and_then(|b| b.try_into().ok())
        .ok_or_else(|| WriteError::Invalid("the invite's secret cannot be read".into()))
}

pub(super) fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    random().fill_bytes(&mut out);
    out
}

#[cfg(test)]
mod tests;
