//! The site, its resources and capacities, and what partners show of theirs.

use std::collections::BTreeMap;

use fmesh_proto::{
    circle::Circle,
    id::{ObjectId, SiteId},
    kinds::Kind,
    membership::Membership,
    record::{Fields, RecordError, Verified},
};
use uuid::Uuid;

use super::{
    Error, Service,
    fields::{self, Held},
    import::{self, Present},
    refs, sharing, today,
};
use crate::{
    api::view::{
        self, Capacity, CapacityFields, Change, ChangeKind, Import, ImportRow, Imported, Item,
        List, ObjectHead, Resource, ResourceFields, Shown, Site, SiteFields,
    },
    store::LocalObject,
    writer::Edit,
};

impl Service {
    /// The site's own description.
    pub fn site(&self) -> Result<Site, Error> {
        let objects = self.node.store.objects(Some(&Kind::Site))?;
        let Some(object) = objects.first() else {
            return Ok(Site {
                head: None,
                fields: fields::read_site(&fields::held(&Fields::new()))?,
            });
        };
        let circles = self.node.store.circles()?;
        Ok(Site {
            head: Some(self.own_head(&self.membership(), &circles, object)?),
            fields: fields::read_site(&fields::held(&object.fields))?,
        })
    }

    /// Replaces it.
    pub async fn put_site(&self, fields: SiteFields, dry_run: bool) -> Result<Imported, Error> {
        let (edits, changes) = {
            let (objects, circles) = (self.node.store.objects(None)?, self.node.store.circles()?);
            let present = Present::new(&objects, &circles, today());
            let site = objects.iter().find(|object| object.kind == Kind::Site);
            let key = site.map_or(SITE_KEY, |object| &object.key).to_owned();
            import::one(
                &present,
                &Kind::Site,
                &key,
                fields::write_site(fields),
                draw,
            )?
        };
        self.apply(edits, changes, dry_run).await
    }

    /// Resources by key: ours, or a partner's as we see them.
    pub fn resources(&self, of: Option<&str>, retired: bool) -> Result<List<Resource>, Error> {
        self.list(Kind::Resource, of, retired, resource)
    }
    /// One resource.
    pub fn resource(&self, object: &str, of: Option<&str>) -> Result<Resource, Error> {
        self.show(Kind::Resource, object, of, resource)
    }
    /// Puts many resources, wholly or not at all.
    pub async fn import_resources(
        &self,
        import: Import<ResourceFields>,
    ) -> Result<Imported, Error> {
        let (edits, changes) = {
            let (objects, circles) = (self.node.store.objects(None)?, self.node.store.circles()?);
            import::resources(
                &Present::new(&objects, &circles, today()),
                import.rows,
                draw,
            )?
        };
        self.apply(edits, changes, import.dry_run).await
    }
    /// Creates or replaces one.
    pub async fn put_resource(
        &self,
        key: String,
        fields: ResourceFields,
        dry_run: bool,
    ) -> Result<Imported, Error> {
        self.import_resources(single(key, fields, dry_run)).await
    }

    /// Capacities by key: ours, or a partner's as we see them.
    pub fn capacities(&self, of: Option<&str>, retired: bool) -> Result<List<Capacity>, Error> {
        self.list(Kind::Capacity, of, retired, capacity)
    }
    /// One capacity.
    pub fn capacity(&self, object: &str, of: Option<&str>) -> Result<Capacity, Error> {
        self.show(Kind::Capacity, object, of, capacity)
    }
    /// Puts many capacities, wholly or not at all.
    pub async fn import_capacities(
        &self,
        import: Import<CapacityFields>,
    ) -> Result<Imported, Error> {
        let (edits, changes) = {
            let (objects, circles) = (self.node.store.objects(None)?, self.node.store.circles()?);
            import::capacities(
                &Present::new(&objects, &circles, today()),
                import.rows,
                draw,
            )?
        };
        self.apply(edits, changes, import.dry_run).await
    }
    /// Creates or replaces one.
    pub async fn put_capacity(
        &self,
        key: String,
        fields: CapacityFields,
        dry_run: bool,
    ) -> Result<Imported, Error> {
        self.import_capacities(single(key, fields, dry_run)).await
    }

    /// Ends an object of ours. A resource that living capacities or resources stand on is not ended.
    pub async fn retire(&self, kind: &Kind, text: &str, dry_run: bool) -> Result<Imported, Error> {
        let (edits, changes) = {
            let (objects, circles) = (self.node.store.objects(None)?, self.node.store.circles()?);
            let object = refs::object(&objects, std::slice::from_ref(kind), text)?;
            let change = if object.retired {
                ChangeKind::Same
            } else {
                ChangeKind::Retired
            };
            if change == ChangeKind::Retired {
                refuse_if_used(object, &objects)?;
            }
            let changes = vec![Change {
                kind: kind.clone(),
                key: object.key.clone(),
                id: Some(object.id),
                change,
                slots: Vec::new(),
                circles: sharing::shown_in(&circles, object, today()),
            }];
            let edit = Edit::RetireObject {
                kind: kind.clone(),
                key: object.key.clone(),
            };
            (vec![edit], changes)
        };
        self.apply(edits, changes, dry_run).await
    }

    /// Asks the writer, unless it is a dry run or nothing differs.
    async fn apply(
        &self,
        edits: Vec<Edit>,
        mut items: Vec<Change>,
        dry_run: bool,
    ) -> Result<Imported, Error> {
        let count = |kind| {
            let same_kind = items.iter().filter(|change| change.change == kind);
            u64::try_from(same_kind.count()).unwrap_or(u64::MAX)
        };
        let (new, changed) = (count(ChangeKind::New), count(ChangeKind::Changed));
        let (same, retired) = (count(ChangeKind::Same), count(ChangeKind::Retired));
        let mut signed = 0;
        if new + changed + retired > 0 {
            let needed: Vec<Edit> = edits
                .into_iter()
                .zip(&items)
                .filter(|(_, change)| change.change != ChangeKind::Same)
                .map(|(edit, _)| edit)
                .collect();
            let applied = if dry_run {
                self.node.writer.dry_run(needed).await?
            } else {
                self.node.writer.apply(needed).await?
            };
            signed = u64::try_from(applied.issued.len()).unwrap_or(u64::MAX);
            let ids: BTreeMap<&str, ObjectId> = applied
                .objects
                .iter()
                .map(|(_, key, id, _)| (key.as_str(), *id))
                .collect();
            for item in items.iter_mut().filter(|_| !dry_run) {
                item.id = item.id.or_else(|| ids.get(item.key.as_str()).copied());
            }
        }
        Ok(Imported {
            dry_run,
            new,
            changed,
            same,
            retired,
            signed,
            items,
        })
    }

    fn list<T: Item>(
        &self,
        kind: Kind,
        of: Option<&str>,
        retired: bool,
        read: Read<T>,
    ) -> Result<List<T>, Error> {
        let membership = self.membership();
        let site = self.site_of(&membership, of)?;
        let mut items: Vec<(String, T)> = Vec::new();
        if site == self.node.site {
            let circles = self.node.store.circles()?;
            for object in self.node.store.objects(Some(&kind))? {
                if retired || !object.retired {
                    let head = self.own_head(&membership, &circles, &object)?;
                    let item = read(head, &fields::held(&object.fields))?;
                    items.push((object.key, item));
                }
            }
        } else {
            for (record, received) in self.held_of(&membership, &site, &kind)? {
                if retired || !record.claims().retired {
                    let head = self.foreign_head(&membership, &record, received);
                    items.push((name_of(&record), read(head, record.fields())?));
                }
            }
        }
        items.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(List::new(
            items.into_iter().map(|(_, item)| item).collect(),
            None,
        ))
    }

    fn show<T>(&self, kind: Kind, text: &str, of: Option<&str>, read: Read<T>) -> Result<T, Error> {
        let membership = self.membership();
        let site = self.site_of(&membership, of)?;
        if site == self.node.site {
            let objects = self.node.store.objects(Some(&kind))?;
            let object = refs::object(&objects, std::slice::from_ref(&kind), text)?;
            let circles = self.node.store.circles()?;
            let head = self.own_head(&membership, &circles, object)?;
            return Ok(read(head, &fields::held(&object.fields))?);
        }
        let records = self.held_of(&membership, &site, &kind)?;
        let candidates = records.into_iter().map(|(record, received)| {
            let (name, id) = (name_of(&record), record.claims().id.to_string());
            refs::Candidate {
                spelling: format!("{id} ({name})"),
                item: (record, received),
                name,
                id,
            }
        });
        let what = if kind == Kind::Capacity {
            "capacity"
        } else {
            "resource"
        };
        let hint = "see what the partner shows with fmesh record list --partner <partner>";
        let (record, received) = refs::choose(what, text, candidates, hint)?;
        let head = self.foreign_head(&membership, &record, received);
        Ok(read(head, record.fields())?)
    }

    /// A partner's current revisions of one kind, as shown to us.
    fn held_of(
        &self,
        membership: &Membership,
        site: &SiteId,
        kind: &Kind,
    ) -> Result<Vec<(Verified, u64)>, Error> {
        let keys = self.keys_of(membership, site)?;
        let mut held = Vec::new();
        for entry in self.node.store.currents() {
            let (author, its_kind, _, seq) = entry?;
            if author != *site || its_kind != *kind {
                continue;
            }
            if let Some((view, received)) = self.node.store.record(site, seq)? {
                held.push((keys.verify(view)?, received));
            }
        }
        Ok(held)
    }

    fn own_head(
        &self,
        membership: &Membership,
        circles: &[Circle],
        object: &LocalObject,
    ) -> Result<ObjectHead, Error> {
        let issue = self.node.store.issue(&object.kind, &object.id)?;
        Ok(ObjectHead {
            kind: object.kind.clone(),
            id: object.id,
            key: Some(object.key.clone()),
            site: self.site_name(membership, &self.node.site),
            own: true,
            retired: object.retired,
            updated: view::time(object.updated),
            received: None,
            seq: issue.as_ref().map(|issue| issue.seq),
            rev: issue.as_ref().map(|issue| issue.rev),
            core: issue.and_then(|issue| issue.core),
            circles: if object.retired {
                Vec::new()
            } else {
                sharing::shown_in(circles, object, today())
            },
        })
    }

    fn foreign_head(
        &self,
        membership: &Membership,
        record: &Verified,
        received: u64,
    ) -> ObjectHead {
        let claims = record.claims();
        ObjectHead {
            kind: claims.kind.clone(),
            id: claims.id,
            key: None,
            site: self.site_name(membership, &claims.iss),
            own: false,
            retired: claims.retired,
            updated: view::time(claims.iat),
            received: Some(view::time(received)),
            seq: Some(claims.seq),
            rev: Some(claims.rev),
            core: Some(record.core_digest()),
            circles: Vec::new(),
        }
    }
}

/// Makes an object of its head and its slots.
type Read<T> = fn(ObjectHead, &Held) -> Result<T, RecordError>;

fn resource(head: ObjectHead, held: &Held) -> Result<Resource, RecordError> {
    let fields = fields::read_resource(held)?;
    Ok(Resource { head, fields })
}

fn capacity(head: ObjectHead, held: &Held) -> Result<Capacity, RecordError> {
    let fields = fields::read_capacity(held)?;
    Ok(Capacity { head, fields })
}

/// The name that a partner shows for its object, or nothing.
fn name_of(record: &Verified) -> String {
    let name = super::records::shown(record.fields().get("name").and_then(Option::as_ref));
    match name {
        Shown::Known(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// A resource that something living names cannot end: what names it must end or change first.
fn refuse_if_used(object: &LocalObject, objects: &[LocalObject]) -> Result<(), Error> {
    let id = object.id.to_string();
    let names = |other: &&LocalObject| {
        let on = other.fields.get("resources").and_then(|all| all.as_array());
        let parent = other
            .fields
            .get("parent")
            .and_then(|parent| parent.as_str());
        !other.retired
            && (parent == Some(&id)
                || on.is_some_and(|all| all.iter().any(|on| on.as_str() == Some(&id))))
    };
    let users: Vec<String> = objects
        .iter()
        .filter(names)
        .map(|other| format!("{}:{}", other.kind, other.key))
        .collect();
    if object.kind != Kind::Resource || users.is_empty() {
        return Ok(());
    }
    Err(Error::conflict(
        format!("{:?} is still used by {}", object.key, users.join(", ")),
        "retire or change those first",
    ))
}

fn single<F>(key: String, fields: F, dry_run: bool) -> Import<F> {
    let row = ImportRow {
        row: 1,
        key,
        fields,
    };
    Import {
        dry_run,
        rows: vec![row],
    }
}

fn draw() -> ObjectId {
    ObjectId(Uuid::new_v4())
}

/// Key of the one object of kind `site`.
const SITE_KEY: &str = "site";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: Kind, key: &str, byte: u8, fields: serde_json::Value) -> LocalObject {
        LocalObject {
            kind,
            id: ObjectId::from_random([byte; 16]),
            key: key.to_owned(),
            fields: serde_json::from_value(fields).unwrap(),
            retired: false,
            updated: 0,
        }
    }

    #[test]
    fn what_something_living_stands_on_cannot_end() {
        let mill = object(Kind::Resource, "MILL", 1, json!({}));
        let mut hours = object(Kind::Capacity, "HOURS", 2, json!({"resources": [mill.id]}));
        let mut head = object(Kind::Resource, "HEAD", 3, json!({"parent": mill.id}));
        let check = |users: &[&LocalObject]| {
            let objects: Vec<_> = users.iter().map(|o| (*o).clone()).collect();
            refuse_if_used(&mill, &objects)
        };
        match check(&[&mill, &hours, &head]) {
            Err(Error::Conflict { what, .. }) => {
                assert!(what.contains("capacity:HOURS, resource:HEAD"), "{what}");
            }
            other => panic!("{other:?}"),
        }
        hours.retired = true;
        assert!(check(&[&mill, &hours, &head]).is_err());
        head.retired = true;
        assert!(check(&[&mill, &hours, &head]).is_ok());
    }
}
