//! Grants: each member of a group is given the key of its epoch, and told when that is over.
//!
//! A grant is an own object like others, one for each group and member, so that giving, its terms and its end are signed, logged
//! and in the partner's feed. Its first revision in an epoch carries that epoch's key; the last one is retired, and its terms
//! say what the partner is to do with what it holds.

use std::collections::{BTreeMap, BTreeSet};

use fmesh_proto::{
    circle::{Audience, Circle},
    id::{CircleId, MeshId, ObjectId, SiteId},
    kinds::{Grant, Kind, Slot, Typed as _},
    mesh::issue::Item,
};
use serde_json::Value;

use super::{
    Work, WriteError,
    desk::{Session, bytes, every_slot},
};
use crate::store::{CircleSecret, LocalObject};

impl Work {
    /// Gives every member of a group circle its epoch key, once for each epoch, in the pairwise circle; ends the grants of
    /// those who left.
    pub(super) fn plan_grants(
        &mut self,
        mesh: &MeshId,
        session: &mut Session,
    ) -> Result<(), WriteError> {
        let mut items = self.end_grants(mesh, session)?;
        let circles: Vec<Circle> = self.desk.circles.values().cloned().collect();
        for circle in circles {
            if session.ending.contains(&circle.id) {
                continue;
            }
            let Audience::Group { members } = &circle.audience else {
                continue;
            };
            let Some(mut secret) = self.desk.secrets.get(&circle.id).cloned() else {
                continue;
            };
            let has = |site: &&SiteId| !secret.granted.contains_key(*site);
            let new: Vec<SiteId> = members.iter().filter(has).copied().collect();
            if new.is_empty() {
                continue;
            }
            for to in new {
                let pairwise = self.pairwise(mesh, &to)?;
                let object = self.grant(&circle, &secret, &to, session.now);
                let circles = [(pairwise, every_slot(&Kind::Grant))].into();
                items.extend(self.revision(&object, circles));
                self.keep_object(object, session);
                secret.granted.insert(to, pairwise);
            }
            session.changes.put_circle_secret(&circle.id, &secret);
            self.desk.secrets.insert(circle.id, secret);
        }
        if items.is_empty() {
            Ok(())
        } else {
            self.issue(items, session)
        }
    }

    fn grant(&self, circle: &Circle, secret: &CircleSecret, to: &SiteId, now: u64) -> LocalObject {
        let key = format!("{}/{}", circle.id.hex(), to.hex());
        let id = self
            .desk
            .object_by_key(&Kind::Grant, &key)
            .map_or_else(|| ObjectId::from_random(bytes()), |o| o.id);
        let kinds: BTreeSet<String> = circle
            .rules
            .iter()
            .flat_map(|r| &r.kinds)
            .map(ToString::to_string)
            .collect();
        let select = (!kinds.is_empty()).then(|| kinds.into_iter().collect::<Vec<_>>().join(", "));
        let fields = Grant {
            circle: Slot::Known(circle.id),
            to: Slot::Known(*to),
            epoch: Slot::Known(secret.epoch),
            key: Slot::Known(secret.key.clone()),
            select: select.into(),
            slots: Slot::Unknown,
            purpose: circle.purpose.clone().into(),
            until: circle.until.into(),
            on_end: Slot::Known(circle.on_end),
        }
        .write();
        LocalObject {
            kind: Kind::Grant,
            id,
            key,
            fields,
            retired: false,
            updated: now,
        }
    }

    /// The end of each grant whose holder is no longer in its group, said to the holder.
    fn end_grants(
        &mut self,
        mesh: &MeshId,
        session: &mut Session,
    ) -> Result<Vec<Item>, WriteError> {
        let over: Vec<(LocalObject, CircleId, SiteId)> = self
            .desk
            .objects
            .values()
            .filter(|object| object.kind == Kind::Grant && !object.retired)
            .filter_map(|object| {
                let (circle, to) = grant_of(object)?;
                (!self.desk.is_in_group(&circle, &to) || session.ending.contains(&circle))
                    .then(|| (object.clone(), circle, to))
            })
            .collect();
        let mut items = Vec::new();
        for (object, circle, to) in over {
            let mut object = LocalObject {
                retired: true,
                updated: session.now,
                ..object
            };
            // What counts is what the circle says when it ends; the key it had is of no use any more.
            if let Some(circle) = self.desk.circles.get(&circle) {
                let on_end = Value::from(circle.on_end.as_str());
                object.fields.insert("onEnd".to_owned(), on_end);
            }
            object.fields.insert("key".to_owned(), Value::Null);
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
