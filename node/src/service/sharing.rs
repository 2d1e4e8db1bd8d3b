//! What a partner sees of us, and why: answers of [`permits`], put into words. Pure.
//!
//! Nothing is decided here. The same function that decides what leaves is asked, once for each circle that the
//! partner is in; slots of several circles add up, because the partner holds all of them.

use std::collections::{BTreeMap, BTreeSet};

use fmesh_proto::{
    circle::{Audience, Circle, Decision, Object, Rule, Slots, permits},
    id::{ObjectId, SiteId},
};
use jiff::civil::Date;
use serde_json::Value;

use crate::{
    api::view::{
        CircleAnswer, Explain, Preview, PreviewObject, SharingChange, SiteName, SlotPreview,
    },
    store::LocalObject,
};

/// Circles that `partner` is in, mesh-wide ones included.
pub(crate) fn circles_of<'a>(circles: &'a [Circle], partner: &SiteId) -> Vec<&'a Circle> {
    let member = |circle: &&Circle| circle.audience.includes(partner);
    circles.iter().filter(member).collect()
}

/// Names of the circles that show at least one slot of `object`.
pub(crate) fn shown_in(circles: &[Circle], object: &LocalObject, today: Date) -> Vec<String> {
    circles
        .iter()
        .filter(|circle| !opened(circle, object, today).is_empty())
        .map(|circle| circle.name.clone())
        .collect()
}

/// Slots that one circle opens.
pub(crate) fn opened(circle: &Circle, object: &LocalObject, today: Date) -> BTreeSet<String> {
    match ask(circle, object, today) {
        Decision::Shared { slots, .. } => slots,
        Decision::Withheld(_) => BTreeSet::new(),
    }
}

/// Slots that several circles open together.
pub(crate) fn opened_by(
    circles: &[&Circle],
    object: &LocalObject,
    today: Date,
) -> BTreeSet<String> {
    circles
        .iter()
        .flat_map(|circle| opened(circle, object, today))
        .collect()
}

/// Exactly what `partner` sees of each live object.
pub(crate) fn preview(
    circles: &[Circle],
    objects: &[LocalObject],
    partner: SiteName,
    today: Date,
) -> Preview {
    let circles = circles_of(circles, &partner.site);
    // Grants and receipts go to their own readers; nobody selects or withholds them.
    let mut live: Vec<&LocalObject> = objects
        .iter()
        .filter(|object| !object.retired && !object.kind.is_personal())
        .collect();
    live.sort_by_key(|object| (object.kind.to_string(), object.key.as_str()));
    let (visible, withheld) = live
        .into_iter()
        .map(|object| preview_object(&circles, objects, object, today))
        .partition(|shown| shown.why.is_none());
    Preview {
        partner,
        today,
        circles: circles.iter().map(|circle| circle.name.clone()).collect(),
        visible,
        withheld,
    }
}

fn preview_object(
    circles: &[&Circle],
    objects: &[LocalObject],
    object: &LocalObject,
    today: Date,
) -> PreviewObject {
    let opened_slots = opened_by(circles, object, today);
    let slot = |name: &&str| {
        let shown = opened_slots.contains(*name);
        SlotPreview {
            slot: (*name).to_owned(),
            shown,
            value: match object.fields.get(*name) {
                Some(value) if shown => value.clone(),
                _ => Value::Null,
            },
        }
    };
    PreviewObject {
        kind: object.kind.clone(),
        key: object.key.clone(),
        id: object.id,
        circles: circles
            .iter()
            .filter(|circle| !opened(circle, object, today).is_empty())
            .map(|circle| circle.name.clone())
            .collect(),
        slots: object.kind.slots().iter().map(slot).collect(),
        why: opened_slots
            .is_empty()
            .then(|| why_nothing(circles, objects, object, today)),
    }
}

/// One sentence for an object that nobody of these circles shows.
fn why_nothing(
    circles: &[&Circle],
    objects: &[LocalObject],
    object: &LocalObject,
    today: Date,
) -> String {
    if circles.is_empty() {
        return "the partner is in no circle; without a circle nothing is shared".to_owned();
    }
    let reasons: Vec<String> = circles
        .iter()
        .map(|circle| answer(circle, objects, object, today))
        .map(|answer| format!("{}: {}", answer.circle, answer.why))
        .collect();
    reasons.join("; ")
}

/// Why `partner` does or does not see `object`, and what would change it.
pub(crate) fn explain(
    circles: &[Circle],
    objects: &[LocalObject],
    object: &LocalObject,
    partner: SiteName,
    today: Date,
) -> Explain {
    let circles = circles_of(circles, &partner.site);
    let shown = opened_by(&circles, object, today);
    let first = circles
        .iter()
        .find_map(|circle| match ask(circle, object, today) {
            Decision::Shared { rules, slots } if !slots.is_empty() => {
                rules.first().map(|rule| (*circle, *rule))
            }
            _ => None,
        });
    let (because, command) = match first {
        Some((circle, rule)) => (
            format!("rule {} of circle {:?} selects it", rule + 1, circle.name),
            command_to_hide(circle, objects, object, today),
        ),
        None => (
            why_nothing(&circles, objects, object, today),
            command_to_show(&circles, object, &partner, today),
        ),
    };
    Explain {
        kind: object.kind.clone(),
        key: object.key.clone(),
        id: object.id,
        visible: !shown.is_empty(),
        withheld: (object.kind.slots().iter())
            .filter(|slot| !shown.contains(**slot))
            .map(|slot| (*slot).to_owned())
            .collect(),
        shown: shown.into_iter().collect(),
        because: if object.retired {
            format!("{because}; it is retired, and whoever saw it sees that it ended")
        } else {
            because
        },
        circle: first.map(|(circle, _)| circle.name.clone()),
        rule: first.and_then(|(_, rule)| u64::try_from(rule + 1).ok()),
        circles: circles
            .iter()
            .map(|circle| answer(circle, objects, object, today))
            .collect(),
        command,
        partner,
    }
}

/// What a circle sees more or less of, between two states of it.
pub(crate) fn changes(
    before: Option<&Circle>,
    after: &Circle,
    objects: &[LocalObject],
    today: Date,
) -> Vec<SharingChange> {
    let difference = |object: &LocalObject| {
        let old = before.map_or_else(BTreeSet::new, |circle| opened(circle, object, today));
        let new = opened(after, object, today);
        (old != new).then(|| SharingChange {
            kind: object.kind.clone(),
            key: object.key.clone(),
            id: object.id,
            opened: new.difference(&old).cloned().collect(),
            closed: old.difference(&new).cloned().collect(),
        })
    };
    let live = objects.iter().filter(|object| !object.retired);
    live.filter_map(difference).collect()
}

fn ask(circle: &Circle, object: &LocalObject, today: Date) -> Decision {
    let LocalObject {
        kind, id, fields, ..
    } = object;
    permits(circle, Object { kind, id, fields }, today)
}

fn answer(
    circle: &Circle,
    objects: &[LocalObject],
    object: &LocalObject,
    today: Date,
) -> CircleAnswer {
    let (visible, why) = match ask(circle, object, today) {
        Decision::Shared { slots, rules } if !slots.is_empty() => {
            let numbers: Vec<String> = rules.iter().map(|rule| (rule + 1).to_string()).collect();
            (true, format!("selected by rule {}", numbers.join(", ")))
        }
        Decision::Shared { .. } => (
            false,
            "selected, but its rules open no slot that the kind has".to_owned(),
        ),
        Decision::Withheld(why) => (false, named(&why.to_string().replace('\n', "; "), objects)),
    };
    CircleAnswer {
        circle: circle.name.clone(),
        visible,
        why,
    }
}

/// Ids of our objects replaced by our names for them.
fn named(text: &str, objects: &[LocalObject]) -> String {
    let mut words: Vec<&str> = Vec::new();
    let keys: BTreeMap<String, &str> = objects
        .iter()
        .map(|object| (object.id.to_string(), object.key.as_str()))
        .collect();
    let mut rest = text;
    while let Some(end) = rest.find([' ', ',', ';']) {
        let (word, tail) = rest.split_at(end);
        let (separator, tail) = tail.split_at(1);
        words.extend([keys.get(word).copied().unwrap_or(word), separator]);
        rest = tail;
    }
    words.push(keys.get(rest).copied().unwrap_or(rest));
    words.concat()
}

/// Adds a rule to the narrowest circle of the partner that still lives; otherwise its own circle is begun, or begun again.
fn command_to_show(
    circles: &[&Circle],
    object: &LocalObject,
    partner: &SiteName,
    today: Date,
) -> String {
    let what = format!("--kind {} --object {}", object.kind, spelled(object));
    let ended = |circle: &Circle| circle.until.is_some_and(|last| today > last);
    let narrowest = circles
        .iter()
        .filter_map(|circle| match &circle.audience {
            Audience::Pairwise { .. } => Some((0, circle)),
            Audience::Group { members } => Some((members.len(), circle)),
            Audience::MeshWide => None,
        })
        .min_by_key(|(breadth, circle)| (ended(circle), *breadth));
    match narrowest {
        Some((_, circle)) if !ended(circle) => {
            format!(
                "fmesh circle set {} --add-rule {what}",
                quoted(&circle.name)
            )
        }
        Some((0, circle)) => format!("fmesh circle set {} {what}", quoted(&circle.name)),
        _ => format!(
            "fmesh circle set {} --to {} {what}",
            quoted(&format!("for {}", partner.name)),
            quoted(&partner.name)
        ),
    }
}

/// The circle's rules without this object, if a command line can say that; otherwise where to look.
fn command_to_hide(
    circle: &Circle,
    objects: &[LocalObject],
    object: &LocalObject,
    today: Date,
) -> String {
    let name = quoted(&circle.name);
    let others: Vec<&LocalObject> = objects
        .iter()
        .filter(|other| other.id != object.id && !other.retired)
        .filter(|other| !opened(circle, other, today).is_empty())
        .collect();
    match circle.rules.as_slice() {
        [_] if others.is_empty() => format!("fmesh circle set {name} --no-rules"),
        [rule] if others.len() <= NAMED_OBJECTS_MAX => {
            format!("fmesh circle set {name} {}", flags(rule, &others))
        }
        _ => format!("fmesh circle show {name}"),
    }
}

/// A rule like `rule` that selects exactly `objects`, as the terminal takes it.
fn flags(rule: &Rule, objects: &[&LocalObject]) -> String {
    let mut words = Vec::new();
    for kind in &rule.kinds {
        words.push(format!("--kind {kind}"));
    }
    for object in objects {
        words.push(format!("--object {}", spelled(object)));
    }
    if let Some(weeks) = rule.weeks {
        words.push(format!("--weeks {weeks}"));
    }
    if let Slots::Only(slots) = &rule.slots {
        let slots: Vec<&str> = slots.iter().map(String::as_str).collect();
        words.push(format!("--slots {}", slots.join(",")));
    }
    words.join(" ")
}

/// An object on a command line: our name for it, with its kind; its id if a list would split the name.
fn spelled(object: &LocalObject) -> String {
    if object.key.contains(',') {
        object.id.to_string()
    } else {
        quoted(&format!("{}:{}", object.kind, object.key))
    }
}

/// For a POSIX shell.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Keys of objects by id, for showing rules.
pub(crate) fn keys_of(ids: &[ObjectId], objects: &[LocalObject]) -> Vec<String> {
    let key = |id: &ObjectId| {
        objects
            .iter()
            .find(|object| object.id == *id)
            .map_or_else(|| id.to_string(), |object| object.key.clone())
    };
    ids.iter().map(key).collect()
}

/// More objects than this are not put on one command line.
const NAMED_OBJECTS_MAX: usize = 12;

#[cfg(test)]
mod tests;
