//! The ends of circles: a partner leaves a group, a circle is taken away.
//!
//! Nothing that was shown can be called back. What can be done is done at once, and signed: those who stay get a new epoch
//! key, who leaves gets the end of its grant, and whoever saw an object gets a revision that opens nothing.

use std::collections::{BTreeMap, BTreeSet};

use fmesh_proto::{
    circle::{Audience, Circle},
    id::{CircleId, MeshId, SiteId},
    kinds::{Grant, Kind, Typed as _},
    mesh::issue::Item,
};
use serde_json::Value;

use super::{
    Work, WriteError,
    desk::{Session, every_slot},
};
use crate::store::LocalObject;

impl Work {
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

    /// The end of each grant whose holder is no longer in its group, said to the holder.
    pub(super) fn end_grants(
        &mut self,
        mesh: &MeshId,
        session: &mut Session,
    ) -> Result<Vec<Item>, WriteError> {
        let over: Vec<(LocalObject, SiteId)> = self
            .desk
            .objects
            .values()
            .filter(|object| object.kind == Kind::Grant && !object.retired)
            .filter_map(|object| {
                let (circle, to) = grant_of(object)?;
                (!self.desk.is_in_group(&circle, &to) || session.ending.contains(&circle))
                    .then(|| (object.clone(), to))
            })
            .collect();
        let mut items = Vec::new();
        for (object, to) in over {
            let object = LocalObject {
                retired: true,
                updated: session.now,
                ..object
            };
            // Who is no member any more cannot be told.
            if self.desk.membership.member(&to).is_some() {
                let pairwise = self.pairwise(mesh, &to)?;
                let circles: BTreeMap<CircleId, BTreeSet<String>> =
                    [(pairwise, every_slot(&Kind::Grant))].into();
                items.extend(self.revision(&object, circles));
            }
            self.keep_object(object, session);
        }
        Ok(items)
    }
}

/// The circle of a grant, and whom it is for.
fn grant_of(object: &LocalObject) -> Option<(CircleId, SiteId)> {
    let shown: BTreeMap<String, Option<Value>> = object
        .fields
        .iter()
        .map(|(name, value)| (name.clone(), Some(value.clone())))
        .collect();
    let grant = Grant::read(&shown).ok()?;
    Some((*grant.circle.known()?, *grant.to.known()?))
}
