//! Many puts as one: every row is checked against the kind's rules and against the others before anything is asked of
//! the writer. Pure: what is there comes in, edits and a list of changes go out.

use std::collections::{BTreeMap, BTreeSet};

use fmesh_proto::{
    circle::Circle,
    id::ObjectId,
    kinds::{self, Kind, Slot},
    limits::NAME_CHARS_MAX,
    record::{Fields, RecordError},
};
use jiff::civil::Date;
use serde_json::Value;

use super::{
    Error,
    fields::{held, write_capacity, write_resource},
    refs, sharing,
};
use crate::{
    api::view::{CapacityFields, Change, ChangeKind, ImportRow, ResourceFields, RowError},
    store::LocalObject,
    writer::Edit,
};

/// What is there already.
#[derive(Debug)]
pub(super) struct Present<'a> {
    objects: &'a [LocalObject],
    by_key: BTreeMap<(&'a Kind, &'a str), &'a LocalObject>,
    circles: &'a [Circle],
    today: Date,
}
impl<'a> Present<'a> {
    pub(super) fn new(objects: &'a [LocalObject], circles: &'a [Circle], today: Date) -> Self {
        let keyed = objects.iter().map(|o| ((&o.kind, o.key.as_str()), o));
        Self {
            objects,
            by_key: keyed.collect(),
            circles,
            today,
        }
    }
    fn find(&self, kind: &Kind, key: &str) -> Option<&'a LocalObject> {
        self.by_key.get(&(kind, key)).copied()
    }
}

/// One object to put, checked.
#[derive(Debug)]
pub(super) struct Put {
    row: u64,
    key: String,
    id: ObjectId,
    fields: Fields,
}

/// Resources to put. They may name each other as parents. `draw` makes ids for those that are new.
pub(super) fn resources(
    present: &Present<'_>,
    rows: Vec<ImportRow<ResourceFields>>,
    draw: impl FnMut() -> ObjectId,
) -> Result<(Vec<Edit>, Vec<Change>), Error> {
    let mut errors = check_keys(&rows);
    let ids = ids_of(present, &Kind::Resource, &rows, draw);
    let mut puts = Vec::new();
    for row in rows {
        let Some(id) = ids.get(&row.key).copied() else {
            continue;
        };
        let parent = match row.fields.parent.as_deref() {
            None => None,
            Some(text) => match resource_id(present, &ids, text) {
                Ok(parent) => Some(parent),
                Err(why) => {
                    errors.push(unknown_resource(row.row, "parent", text, why));
                    None
                }
            },
        };
        puts.push(Put {
            row: row.row,
            key: row.key,
            id,
            fields: write_resource(row.fields, parent),
        });
    }
    errors.extend(parents_in_a_circle(present.objects, &puts));
    finish(present, &Kind::Resource, puts, errors)
}

/// Capacities to put; the resources that they name must exist.
pub(super) fn capacities(
    present: &Present<'_>,
    rows: Vec<ImportRow<CapacityFields>>,
    draw: impl FnMut() -> ObjectId,
) -> Result<(Vec<Edit>, Vec<Change>), Error> {
    let mut errors = check_keys(&rows);
    let ids = ids_of(present, &Kind::Capacity, &rows, draw);
    let mut puts = Vec::new();
    for row in rows {
        let Some(id) = ids.get(&row.key).copied() else {
            continue;
        };
        let mut on = row.fields.resources.as_ref().map(|_| Vec::new());
        for text in row.fields.resources.iter().flatten() {
            match resource_id(present, &BTreeMap::new(), text) {
                Ok(id) => on.iter_mut().for_each(|all| all.push(id)),
                Err(why) => errors.push(unknown_resource(row.row, "resources", text, why)),
            }
        }
        puts.push(Put {
            row: row.row,
            key: row.key,
            id,
            fields: write_capacity(row.fields, on),
        });
    }
    finish(present, &Kind::Capacity, puts, errors)
}

/// One object of another kind, fields as they are stored.
pub(super) fn one(
    present: &Present<'_>,
    kind: &Kind,
    key: &str,
    fields: Fields,
    mut draw: impl FnMut() -> ObjectId,
) -> Result<(Vec<Edit>, Vec<Change>), Error> {
    let id = present
        .find(kind, key)
        .map_or_else(&mut draw, |object| object.id);
    let put = Put {
        row: 1,
        key: key.to_owned(),
        id,
        fields,
    };
    finish(present, kind, vec![put], Vec::new())
}

/// The kind's rules, then edits and changes; or every error at once.
fn finish(
    present: &Present<'_>,
    kind: &Kind,
    puts: Vec<Put>,
    mut errors: Vec<RowError>,
) -> Result<(Vec<Edit>, Vec<Change>), Error> {
    for put in &puts {
        if let Err(error) = kinds::check(kind, &held(&put.fields)) {
            errors.push(broken_rule(kind, put, &error));
        }
    }
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.row);
        return Err(Error::Rows(errors));
    }
    let changes = puts.iter().map(|put| change(present, kind, put)).collect();
    let edits = puts.into_iter().map(|put| Edit::PutObject {
        kind: kind.clone(),
        key: put.key,
        id: Some(put.id),
        fields: put.fields,
    });
    Ok((edits.collect(), changes))
}

/// What a put does to what is there.
fn change(present: &Present<'_>, kind: &Kind, put: &Put) -> Change {
    let old = present.find(kind, &put.key);
    let value = |fields: Option<&Fields>, slot: &str| {
        fields
            .and_then(|fields| fields.get(slot).cloned())
            .unwrap_or(Value::Null)
    };
    let slots: Vec<String> = kind
        .slots()
        .iter()
        .filter(|slot| {
            value(old.map(|object| &object.fields), slot) != value(Some(&put.fields), slot)
        })
        .map(|slot| (*slot).to_owned())
        .collect();
    let after = LocalObject {
        kind: kind.clone(),
        id: put.id,
        key: put.key.clone(),
        fields: put.fields.clone(),
        retired: false,
        updated: 0,
    };
    Change {
        kind: kind.clone(),
        key: put.key.clone(),
        id: old.map(|object| object.id),
        change: match old {
            None => ChangeKind::New,
            Some(object) if slots.is_empty() && !object.retired => ChangeKind::Same,
            Some(_) => ChangeKind::Changed,
        },
        slots,
        circles: sharing::shown_in(present.circles, &after, present.today),
    }
}

/// Keys must be there, be short lines, and come once.
fn check_keys<F>(rows: &[ImportRow<F>]) -> Vec<RowError> {
    let mut first: BTreeMap<&str, u64> = BTreeMap::new();
    let mut errors = Vec::new();
    for row in rows {
        if let Err(why) = check_key(&row.key) {
            errors.push(error(
                row.row,
                "key",
                "the key cannot be used",
                why,
                "give every row a short name that stays the same, like DMU-80",
            ));
        } else if let Some(earlier) = first.insert(&row.key, row.row) {
            errors.push(error(
                row.row,
                "key",
                format!("{:?} comes twice", row.key),
                format!("it is in row {earlier}, too"),
                "keep one of the two rows",
            ));
        }
    }
    errors
}

/// Why a text cannot be a key.
pub(super) fn check_key(key: &str) -> Result<(), String> {
    if key.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    if key.trim() != key {
        return Err("it begins or ends with a blank".to_owned());
    }
    if key.chars().count() > NAME_CHARS_MAX {
        return Err(format!("it is longer than {NAME_CHARS_MAX} characters"));
    }
    if key.chars().any(char::is_control) {
        return Err("it contains a control character".to_owned());
    }
    Ok(())
}

/// Ids of the rows' objects: what is there keeps its own.
fn ids_of<F>(
    present: &Present<'_>,
    kind: &Kind,
    rows: &[ImportRow<F>],
    mut draw: impl FnMut() -> ObjectId,
) -> BTreeMap<String, ObjectId> {
    let mut ids = BTreeMap::new();
    for row in rows {
        ids.entry(row.key.clone()).or_insert_with(|| {
            let known = present.find(kind, &row.key);
            known.map_or_else(&mut draw, |object| object.id)
        });
    }
    ids
}

/// The resource that a cell names: of the same list, or one that is there and lives.
fn resource_id(
    present: &Present<'_>,
    list: &BTreeMap<String, ObjectId>,
    text: &str,
) -> Result<ObjectId, String> {
    if let Some(id) = list.get(text) {
        return Ok(*id);
    }
    let found = match present.find(&Kind::Resource, text) {
        Some(object) => Ok(object),
        None => refs::object(present.objects, &[Kind::Resource], text),
    };
    match found {
        Ok(object) if object.retired => Err("it is retired".to_owned()),
        Ok(object) => Ok(object.id),
        Err(Error::Ambiguous { candidates, .. }) => {
            Err(format!("it may mean {}", candidates.join(" or ")))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Parents must lead up to a top, not around.
fn parents_in_a_circle(objects: &[LocalObject], puts: &[Put]) -> Vec<RowError> {
    let parent_of = |fields: &Fields| match kinds::slot(&held(fields), &Kind::Resource, "parent") {
        Ok(Slot::Known(id)) => Some(id),
        _ => None,
    };
    let mut parents: BTreeMap<ObjectId, Option<ObjectId>> = objects
        .iter()
        .filter(|object| object.kind == Kind::Resource)
        .map(|object| (object.id, parent_of(&object.fields)))
        .collect();
    parents.extend(puts.iter().map(|put| (put.id, parent_of(&put.fields))));
    let up = |id: &ObjectId| parents.get(id).copied().flatten();
    let circular = |put: &&Put| {
        let mut seen = BTreeSet::new();
        let mut at = up(&put.id);
        while let Some(id) = at {
            if id == put.id {
                return true;
            }
            if !seen.insert(id) {
                return false;
            }
            at = up(&id);
        }
        false
    };
    let say = |put: &Put| {
        error(
            put.row,
            "parent",
            format!("{:?} is above itself", put.key),
            "its parents lead in a circle",
            "clear the parent of the topmost one",
        )
    };
    puts.iter().filter(circular).map(say).collect()
}

fn unknown_resource(row: u64, column: &str, text: &str, why: String) -> RowError {
    error(
        row,
        column,
        format!("{text:?} is not a resource of this site"),
        why,
        "see the keys with fmesh resource list, or import the resources first",
    )
}

fn broken_rule(kind: &Kind, put: &Put, broken: &RecordError) -> RowError {
    let why = match broken {
        RecordError::Rule { what, .. } => what.clone(),
        other => other.to_string(),
    };
    let begins = |slot: &&&str| {
        let rest = why.strip_prefix(**slot);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    };
    RowError {
        row: put.row,
        column: kind
            .slots()
            .iter()
            .find(begins)
            .map(|slot| (*slot).to_owned()),
        what: format!("{kind} {:?} breaks a rule of its kind", put.key),
        why,
        hint: "mend it and import again; nothing was changed".to_owned(),
    }
}

fn error(
    row: u64,
    column: &str,
    what: impl Into<String>,
    why: impl Into<String>,
    hint: &str,
) -> RowError {
    RowError {
        row,
        column: Some(column.to_owned()),
        what: what.into(),
        why: why.into(),
        hint: hint.to_owned(),
    }
}

#[cfg(test)]
mod tests;
