//! What people call things: our key, a name, an id, or the beginning of one.
//!
//! An exact name wins over a beginning. Letters' case, blanks, `-` and `_` in names do not matter, so `delta-coat`
//! is Delta Coat. What fits more than one thing is refused with a list, never guessed.

use fmesh_proto::{
    id::SiteId,
    kinds::Kind,
    membership::{Member, Membership, Removed},
};

use super::Error;
use crate::store::LocalObject;

/// A thing that can be meant.
#[derive(Debug)]
pub(crate) struct Candidate<T> {
    /// The thing.
    pub(crate) item: T,
    /// What people call it.
    pub(crate) name: String,
    /// Its id in full.
    pub(crate) id: String,
    /// An unambiguous spelling, for the list.
    pub(crate) spelling: String,
}

/// The one thing that `text` means. `hint` says how to list what there is.
pub(crate) fn choose<T>(
    what: &'static str,
    text: &str,
    candidates: impl IntoIterator<Item = Candidate<T>>,
    hint: &str,
) -> Result<T, Error> {
    let asked = folded(text);
    let id = text.trim().to_ascii_lowercase();
    let (mut exact, mut begins) = (Vec::new(), Vec::new());
    for candidate in candidates {
        let name = folded(&candidate.name);
        if name == asked || candidate.id == id {
            exact.push(candidate);
        } else if !asked.is_empty() && (name.starts_with(&asked) || candidate.id.starts_with(&id)) {
            begins.push(candidate);
        }
    }
    // A thing named exactly so, letter by letter, wins over those that differ in case.
    if exact.len() > 1 && exact.iter().filter(|c| c.name == text).count() == 1 {
        exact.retain(|c| c.name == text);
    }
    let mut found = if exact.is_empty() { begins } else { exact };
    if found.len() > 1 {
        let mut candidates: Vec<String> = found.into_iter().map(|c| c.spelling).collect();
        candidates.sort();
        return Err(Error::Ambiguous {
            what,
            name: shortened(text),
            candidates,
        });
    }
    found.pop().map(|c| c.item).ok_or_else(|| {
        Error::not_found(
            format!("there is no {what} {:?}", shortened(text)),
            hint.to_owned(),
        )
    })
}

/// The member that `text` means, other than `own`.
pub(crate) fn partner<'a>(
    membership: &'a Membership,
    own: &SiteId,
    text: &str,
) -> Result<&'a Member, Error> {
    let others = membership.members().filter(|m| m.site != *own);
    choose(
        "partner",
        text,
        others.map(|member| Candidate {
            item: member,
            name: member.name.clone(),
            id: member.site.hex(),
            spelling: format!("{} ({})", member.name, member.site.hex()),
        }),
        "fmesh partner list",
    )
}

/// The site that was put out that `text` means.
pub(crate) fn removed<'a>(membership: &'a Membership, text: &str) -> Result<&'a Removed, Error> {
    let gone = membership.removed().values();
    let candidates = gone.filter_map(|gone| {
        let was = gone.was.as_ref()?;
        Some(Candidate {
            item: gone,
            name: was.name.clone(),
            id: was.site.hex(),
            spelling: format!("{} ({})", was.name, was.site.hex()),
        })
    });
    choose("removed partner", text, candidates, "fmesh partner list")
}

/// The own object that `text` means: a key, an id, a beginning of either; `capacity:DMU-80` names the kind, too.
/// `kinds`: what may be meant.
pub(crate) fn object<'a>(
    objects: &'a [LocalObject],
    kinds: &[Kind],
    text: &str,
) -> Result<&'a LocalObject, Error> {
    let (kind, rest) = match text.split_once(':') {
        Some((kind, rest)) if kinds.iter().any(|k| k.as_str() == kind) => (Some(kind), rest),
        _ => (None, text),
    };
    let what = match kinds {
        [Kind::Resource] => "resource",
        [Kind::Capacity] => "capacity",
        _ => "object",
    };
    let hint = match kinds {
        [Kind::Capacity] => "fmesh capacity list",
        _ => "fmesh resource list",
    };
    let meant = objects.iter().filter(|object| {
        kinds.contains(&object.kind) && kind.is_none_or(|kind| object.kind.as_str() == kind)
    });
    choose(
        what,
        rest,
        meant.map(|object| Candidate {
            item: object,
            name: object.key.clone(),
            id: object.id.to_string(),
            spelling: format!("{}:{} ({})", object.kind, object.key, object.id),
        }),
        hint,
    )
}

/// Case, blanks and their substitutes do not tell names apart.
fn folded(name: &str) -> String {
    name.trim()
        .chars()
        .map(|c| {
            if c == '_' || c.is_whitespace() {
                '-'
            } else {
                c
            }
        })
        .flat_map(char::to_lowercase)
        .collect()
}

/// What was asked, short enough for a message.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fmesh_proto::id::ObjectId;

    use super::*;

    fn object_of(kind: Kind, key: &str, byte: u8) -> LocalObject {
        LocalObject {
            kind,
            id: ObjectId::from_random([byte; 16]),
            key: key.to_owned(),
            fields: BTreeMap::new(),
            retired: false,
            updated: 0,
        }
    }

    fn plant() -> Vec<LocalObject> {
        vec![
            object_of(Kind::Resource, "DMU-80", 0x11),
            object_of(Kind::Resource, "DMU-800", 0x12),
            object_of(Kind::Capacity, "DMU-80", 0x21),
            object_of(Kind::Resource, "Press 3", 0x31),
        ]
    }

    const BOTH: [Kind; 2] = [Kind::Resource, Kind::Capacity];

    #[test]
    fn a_key_an_id_or_a_beginning_is_understood() {
        let plant = plant();
        let resource = [Kind::Resource];
        for (text, expected) in [
            ("DMU-80", 0),
            ("dmu 80", 0),
            ("DMU-800", 1),
            ("press-3", 3),
            ("pre", 3),
            ("31313131", 3),
            ("11111111-1111-4111-9111-111111111111", 0),
            ("resource:DMU-80", 0),
        ] {
            let found = object(&plant, &resource, text).map(|o| o.id);
            assert_eq!(found.ok(), Some(plant[expected].id), "{text}");
        }
        let found = object(&plant, &BOTH, "capacity:dmu-80").map(|o| o.id);
        assert_eq!(found.ok(), Some(plant[2].id));
    }

    #[test]
    fn what_fits_several_things_is_refused_with_the_list() {
        let plant = plant();
        for (kinds, text, count) in [
            (&BOTH[..], "DMU-80", 2),
            (&BOTH[..1], "dmu", 2),
            (&BOTH[..], "d", 3),
        ] {
            match object(&plant, kinds, text) {
                Err(Error::Ambiguous { candidates, .. }) => {
                    assert_eq!(candidates.len(), count, "{text}");
                    for candidate in candidates {
                        let spelling = candidate.split(" (").next().unwrap_or_default();
                        assert!(object(&plant, kinds, spelling).is_ok(), "{spelling}");
                    }
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_there_is_said_with_a_command() {
        let plant = plant();
        for text in ["", " ", "lathe", "capacity:press-3", "grant:x"] {
            match object(&plant, &BOTH, text) {
                Err(Error::NotFound { hint, .. }) => assert_eq!(hint, "fmesh resource list"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn exact_letters_win_over_another_case() {
        let plant = [
            object_of(Kind::Resource, "m1", 1),
            object_of(Kind::Resource, "M1", 2),
        ];
        let found = object(&plant, &BOTH, "M1").map(|o| o.id);
        assert_eq!(found.ok(), Some(plant[1].id));
        assert!(matches!(
            object(&plant, &BOTH, " m1"),
            Err(Error::Ambiguous { .. })
        ));
    }
}
