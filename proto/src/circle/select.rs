//! One rule against one object: the slots it opens, or the first condition that failed.

use jiff::civil::Date;
use serde_json::Value;

use super::{Object, Rule, Slots};
use crate::{id::ObjectId, kinds::Kind, taxonomy::Path, week::Week};

/// The slots that `rule` opens, or why it does not select `object`, as the rest of a sentence that
/// begins with the rule's name.
pub(super) fn selects(rule: &Rule, object: Object<'_>, today: Date) -> Result<Vec<String>, String> {
    never(object.kind)?;
    kinds(rule, object.kind)?;
    ids(rule, object.id)?;
    resources(rule, object)?;
    process(rule, object)?;
    weeks(rule, object, today)?;
    slots(rule, object.kind)
}

/// Kinds that no rule selects: everybody in the mesh reads two of them, one goes to its partner only,
/// and what an unknown kind's slots mean nobody here can judge.
fn never(kind: &Kind) -> Result<(), String> {
    match kind {
        Kind::Keys | Kind::Membership => Err(format!(
            "cannot select {kind}: every member reads it anyway"
        )),
        Kind::Grant | Kind::Attestation => Err(format!(
            "cannot select kind {kind}: it goes to its partner only"
        )),
        Kind::Other(name) => Err(format!(
            "cannot select {name}: this version does not know the kind"
        )),
        Kind::Site | Kind::Resource | Kind::Capacity => Ok(()),
    }
}

fn kinds(rule: &Rule, kind: &Kind) -> Result<(), String> {
    if rule.kinds.contains(kind) {
        return Ok(());
    }
    if rule.kinds.is_empty() {
        return Err("names no kind, and so selects nothing".to_owned());
    }
    Err(format!(
        "wants kind {}; this object is a {kind}",
        any_of(&rule.kinds)
    ))
}

fn ids(rule: &Rule, id: &ObjectId) -> Result<(), String> {
    if rule.ids.is_empty() || rule.ids.contains(id) {
        return Ok(());
    }
    Err(format!(
        "wants object {}; this object is {id}",
        any_of(&rule.ids)
    ))
}

fn resources(rule: &Rule, object: Object<'_>) -> Result<(), String> {
    if rule.resources.is_empty() {
        return Ok(());
    }
    let wanted = any_of(&rule.resources);
    let on = match object.kind {
        Kind::Resource => vec![*object.id],
        Kind::Capacity => items(object, "resources")
            .filter_map(|id| id.as_str()?.parse().ok())
            .collect(),
        kind => {
            return Err(format!(
                "wants resource {wanted}; a {kind} is on no resource"
            ));
        }
    };
    if on.iter().any(|id| rule.resources.contains(id)) {
        return Ok(());
    }
    Err(format!(
        "wants resource {wanted}; this object is on {}",
        and_all(&on)
    ))
}

fn process(rule: &Rule, object: Object<'_>) -> Result<(), String> {
    if rule.process.is_empty() {
        return Ok(());
    }
    let wanted = any_of(&rule.process);
    let path = |value: &Value| value.as_str().and_then(|text| text.parse::<Path>().ok());
    let has: Vec<Path> = match object.kind {
        Kind::Resource => items(object, "capabilities")
            .filter_map(|capability| path(capability.get("process")?))
            .collect(),
        Kind::Capacity => object
            .fields
            .get("process")
            .and_then(path)
            .into_iter()
            .collect(),
        kind => return Err(format!("wants process {wanted}; a {kind} has no process")),
    };
    if has
        .iter()
        .any(|p| rule.process.iter().any(|general| p.is_within(general)))
    {
        return Ok(());
    }
    Err(format!(
        "wants process {wanted}; this object has {}",
        and_all(&has)
    ))
}

fn weeks(rule: &Rule, object: Object<'_>, today: Date) -> Result<(), String> {
    let Some(horizon) = rule.weeks else {
        return Ok(());
    };
    let wanted = format!("wants a start at most {horizon} weeks ahead");
    if *object.kind != Kind::Capacity {
        return Err(format!("{wanted}; a {} has no start", object.kind));
    }
    let start: Option<Date> = object
        .fields
        .get("start")
        .and_then(|d| d.as_str()?.parse().ok());
    let Some(start) = start else {
        return Err(format!("{wanted}; the start of this object is unknown"));
    };
    let (first, current) = (Week::of(start), Week::of(today));
    let ahead = first.since(current);
    if i64::from(ahead) <= i64::from(horizon) {
        return Ok(());
    }
    Err(format!(
        "{wanted}; this object starts in {first}, {ahead} weeks after {current}"
    ))
}

fn slots(rule: &Rule, kind: &Kind) -> Result<Vec<String>, String> {
    let opened: Vec<String> = kind
        .slots()
        .iter()
        .filter(|slot| match &rule.slots {
            Slots::All => true,
            Slots::Only(names) => names.contains(**slot),
        })
        .map(|slot| (*slot).to_owned())
        .collect();
    if opened.is_empty() {
        return Err(format!("opens no slot that a {kind} has"));
    }
    Ok(opened)
}

/// The elements of a list slot; none if it is unknown or not a list.
fn items<'a>(object: Object<'a>, slot: &str) -> impl Iterator<Item = &'a Value> {
    object
        .fields
        .get(slot)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn any_of(things: &[impl ToString]) -> String {
    join(things, " or ")
}

fn and_all(things: &[impl ToString]) -> String {
    if things.is_empty() {
        "none that is known".to_owned()
    } else {
        join(things, " and ")
    }
}

fn join(things: &[impl ToString], word: &str) -> String {
    let words: Vec<String> = things.iter().map(ToString::to_string).collect();
    words.join(word)
}
