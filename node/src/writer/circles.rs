//! Circles as they change: made, changed, entered, left, taken away.
//!
//! Nothing that was shown can be called back. What can be done is done at once, and signed: those who stay get a new epoch
//! key, who leaves gets the end of its grant, and whoever saw an object gets a revision that opens nothing.

use std::collections::{BTreeMap, BTreeSet};

use fmesh_proto::{
    circle::{Audience, Circle},
    id::{CircleId, SiteId, to_hex},
};

use super::{
    NewCircle, Work, WriteError,
    desk::{Session, bytes, named},
};
use crate::store::{CircleSecret, Entry};

impl Work {
    /// Creates a circle, or replaces it by name.
    pub(super) fn put_circle(
        &mut self,
        put: NewCircle,
        session: &mut Session,
    ) -> Result<(), WriteError> {
        let NewCircle {
            name,
            audience,
            rules,
            purpose,
            until,
            history,
            on_end,
        } = put;
        let mesh = self.desk.mesh()?;
        let name = named(&name, "circle")?;
        let old = self.desk.circles.values().find(|c| c.name == name).cloned();
        let audience = audience
            .or_else(|| old.as_ref().map(|c| c.audience.clone()))
            .ok_or_else(|| {
                WriteError::Invalid(format!("the circle {name:?} is new: say for whom it is"))
            })?;
        let members: BTreeSet<SiteId> = match &audience {
            Audience::MeshWide => BTreeSet::new(),
            Audience::Pairwise { to } => [*to].into(),
            Audience::Group { members } => members.clone(),
        };
        self.must_be_partners(&members)?;
        let id = match (&audience, &old) {
            (Audience::MeshWide, _) => CircleId::MESH_WIDE,
            (Audience::Pairwise { to }, _) => self.pairwise(&mesh, to)?,
            (Audience::Group { .. }, Some(old))
                if matches!(old.audience, Audience::Group { .. }) =>
            {
                old.id
            }
            (Audience::Group { .. }, _) => CircleId(bytes()),
        };
        if let Some(old) = &old
            && old.id != id
        {
            return Err(WriteError::Conflict(format!(
                "the circle {name:?} is for another audience; give the new one another name"
            )));
        }
        if let Some(other) = self.desk.circles.get(&id).filter(|c| c.name != name) {
            return Err(WriteError::Conflict(format!(
                "the circle {:?} is for this audience already; change that one",
                other.name
            )));
        }
        session.applied.circle = Some(id);
        self.keep_circle(
            Circle {
                id,
                name,
                audience,
                rules,
                purpose,
                until,
                history,
                on_end,
            },
            session,
        );
        Ok(())
    }

    /// Takes partners into a group.
    pub(super) fn add_to_circle(
        &mut self,
        name: &str,
        new: BTreeSet<SiteId>,
        session: &mut Session,
    ) -> Result<(), WriteError> {
        self.must_be_partners(&new)?;
        let mut circle = self.desk.circle_by_name(name)?.clone();
        let Audience::Group { members } = &mut circle.audience else {
            return Err(WriteError::Conflict(format!(
                "the circle {name:?} is not a group; only groups take further partners"
            )));
        };
        members.extend(new);
        session.applied.circle = Some(circle.id);
        self.keep_circle(circle, session);
        Ok(())
    }

    /// Stores a circle; a group gets its secret, and a new epoch whenever somebody enters or leaves: who leaves must not
    /// read on, and who enters must not open the boxes from before, which may hold what the circle no longer shows, or what is
    /// not for newcomers. What is for them the feed gives them, from the position at which they enter.
    pub(super) fn keep_circle(&mut self, circle: Circle, session: &mut Session) {
        if let Audience::Group { members } = &circle.audience {
            let mut secret = match self.desk.secrets.get(&circle.id) {
                Some(secret) if self.is_granted(secret, members) => secret.clone(),
                old => CircleSecret {
                    epoch: old.map_or(1, |s| s.epoch + 1),
                    key: to_hex(&bytes::<32>()),
                    granted: BTreeMap::new(),
                    entered: old.map(|s| s.entered.clone()).unwrap_or_default(),
                },
            };
            let entry = Entry {
                after: self.desk.tails.get(&circle.id).copied().unwrap_or(0),
                history: circle.history,
            };
            secret.entered.retain(|site, _| members.contains(site));
            for site in members {
                secret.entered.entry(*site).or_insert(entry);
            }
            session.changes.put_circle_secret(&circle.id, &secret);
            self.desk.secrets.insert(circle.id, secret);
        }
        session.changes.put_circle(&circle);
        self.desk.circles.insert(circle.id, circle);
        session.all_dirty = true;
    }

    /// Whether these members, and nobody else, hold the epoch, each by the keys that count now: who has the old box key of a member, or
    /// ours, has the epochs that it opened.
    pub(super) fn is_granted(&self, secret: &CircleSecret, members: &BTreeSet<SiteId>) -> bool {
        secret.granted.keys().eq(members)
            && secret
                .granted
                .iter()
                .all(|(site, pair)| self.desk.pair(site) == Some(*pair))
    }

    /// Takes partners out of a group.
    pub(super) fn drop_from_circle(
        &mut self,
        name: &str,
        leaving: &BTreeSet<SiteId>,
        session: &mut Session,
    ) -> Result<(), WriteError> {
        let mut circle = self.desk.circle_by_name(name)?.clone();
        let Audience::Group { members } = &mut circle.audience else {
            return Err(WriteError::Conflict(format!(
                "the circle {name:?} is not a group; take it away as a whole instead"
            )));
        };
        if let Some(stranger) = leaving.iter().find(|site| !members.contains(*site)) {
            return Err(WriteError::NotFound(format!(
                "{stranger} is not in the circle {name:?}"
            )));
        }
        members.retain(|member| !leaving.contains(member));
        session.applied.circle = Some(circle.id);
        self.keep_circle(circle, session);
        Ok(())
    }

    /// Empties a circle, so that what it showed is superseded, and forgets it once that is signed.
    pub(super) fn remove_circle(
        &mut self,
        name: &str,
        session: &mut Session,
    ) -> Result<(), WriteError> {
        let circle = self.desk.circle_by_name(name)?.clone();
        session.applied.circle = Some(circle.id);
        session.ending.insert(circle.id);
        let emptied = Circle {
            rules: Vec::new(),
            ..circle
        };
        self.keep_circle(emptied, session);
        Ok(())
    }

    /// After what must be signed because of it was signed.
    pub(super) fn forget_circles(&mut self, session: &mut Session) {
        for id in std::mem::take(&mut session.ending) {
            session.changes.delete_circle(&id);
            self.desk.circles.remove(&id);
            self.desk.secrets.remove(&id);
        }
    }

    fn must_be_partners(&self, sites: &BTreeSet<SiteId>) -> Result<(), WriteError> {
        for site in sites {
            if *site == self.setup.site {
                return Err(WriteError::Invalid(
                    "this site itself cannot be in its own circle".into(),
                ));
            }
            if self.desk.membership.member(site).is_none() {
                return Err(WriteError::NotFound(format!(
                    "{site} is not a member of the mesh"
                )));
            }
        }
        Ok(())
    }
}
