//! Views of one core put together, or taken apart: a partner that is in several circles is shown one record through each of
//! them, and one that gives values back keeps the rest.
//!
//! Both take views that were read before; neither makes a disclosure that was not given.

use std::collections::BTreeSet;

use super::{Disclosure, RecordError, View, malformed};

impl View {
    /// What this view opens, then what only the other one does.
    ///
    /// # Errors
    /// If they are of different cores.
    pub fn merged(&self, other: &Self) -> Result<Self, RecordError> {
        if self.core() != other.core() {
            return Err(malformed("two views of different cores do not add up"));
        }
        let held: BTreeSet<&str> = self.parts().collect();
        let added = other.parts().filter(|part| !held.contains(part));
        let all: Vec<Disclosure<'_>> = self
            .parts()
            .chain(added)
            .map(Disclosure::from_text)
            .collect();
        let merged = Self::assemble(self.core(), all.iter());
        merged.check_bounds().map(|()| merged)
    }

    /// The same core and feed positions, with only these slots opened.
    ///
    /// # Errors
    /// If it does not read.
    pub fn narrowed(&self, keep: &BTreeSet<String>) -> Result<Self, RecordError> {
        self.filtered(|slot| slot.is_none_or(|name| keep.contains(name)))
    }

    /// The same core with exactly these slots opened, and of feeds nothing: what is handed out later and for itself.
    ///
    /// # Errors
    /// If it does not read, or does not open one of them.
    pub fn opening(&self, slots: &BTreeSet<String>) -> Result<Self, RecordError> {
        let view = self.filtered(|slot| slot.is_some_and(|name| slots.contains(name)))?;
        match view.parts().count() == slots.len() && !slots.is_empty() {
            true => Ok(view),
            false => Err(malformed("it does not open all of these slots")),
        }
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        self.text[self.core_bytes + 1..].split_terminator('~')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{CircleId, MeshId, ObjectId, SiteId},
        keys::SigningKey,
        kinds::Kind,
        record::{Claims, Issued, Parsed, Verified},
    };

    fn issued() -> Issued {
        let claims = Claims {
            mesh: Some(MeshId([1; 32])),
            iss: SiteId([2; 32]),
            log: 1,
            seq: 4,
            kind: Kind::Resource,
            id: ObjectId::from_random([3; 16]),
            rev: 1,
            prev: None,
            iat: 5,
            retired: false,
        };
        let fields = serde_json::json!({"level": "WorkCell", "name": "DMU-80"});
        let feeds = [(CircleId([1; 16]), 7), (CircleId([2; 16]), 9)];
        let mut rng = <rand_chacha::ChaCha8Rng as rand_core::SeedableRng>::seed_from_u64(1);
        Issued::sign(
            claims,
            &serde_json::from_value(fields).unwrap(),
            &feeds,
            &SigningKey::from_bytes(&[9; 32]),
            &mut rng,
        )
        .unwrap()
    }

    fn slots(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn read(view: &View) -> Verified {
        let view = View::decode(view.as_str().as_bytes()).unwrap();
        view.parse().map(Parsed::from_store).unwrap()
    }

    fn opened(view: &View) -> (Vec<String>, usize) {
        let record = read(view);
        let shown = record.fields().iter().filter(|(_, value)| value.is_some());
        (
            shown.map(|(name, _)| name.clone()).collect(),
            record.feeds().len(),
        )
    }

    #[test]
    fn what_is_handed_out_later_is_these_slots_and_nothing_of_circles() {
        let full = issued().full_view();
        let name = full.opening(&slots(&["name"])).unwrap();
        assert_eq!(opened(&name), (vec!["name".to_owned()], 0));
        let level = full.opening(&slots(&["level"])).unwrap();
        let (both, _) = opened(&name.merged(&level).unwrap());
        assert_eq!(both, ["level", "name"]);
        for refused in [&["name", "colour"][..], &[]] {
            assert!(full.opening(&slots(refused)).is_err(), "{refused:?}");
        }
        assert!(
            name.opening(&slots(&["level"])).is_err(),
            "it is not open here"
        );
    }

    #[test]
    fn what_two_circles_show_adds_up_in_any_order() {
        let issued = issued();
        let one = issued
            .view(&CircleId([1; 16]), &slots(&["name", "level"]))
            .unwrap();
        let two = issued
            .view(&CircleId([2; 16]), &slots(&["name", "calendar"]))
            .unwrap();
        let expected = (vec!["calendar".into(), "level".into(), "name".into()], 2);
        for (a, b) in [(&one, &two), (&two, &one)] {
            let both = a.merged(b).unwrap();
            assert_eq!(opened(&both), expected);
            assert_eq!(both.merged(a).unwrap(), both, "nothing is given twice");
            assert_eq!(both.merged(b).unwrap(), both);
        }
        assert_eq!(one.merged(&one).unwrap(), one);
    }

    #[test]
    fn views_of_different_cores_do_not_add_up() {
        let one = View::decode(b"a.b.c~x~").unwrap();
        let two = View::decode(b"a.b.d~x~").unwrap();
        assert!(one.merged(&two).is_err());
    }

    #[test]
    fn a_narrowed_view_has_the_kept_slots_and_all_positions() {
        let full = issued().full_view();
        for keep in [&[][..], &["name"], &["name", "nothing of this name"]] {
            let narrow = full.narrowed(&slots(keep)).unwrap();
            let expected: Vec<String> = keep
                .iter()
                .filter(|k| **k == "name")
                .map(|k| (*k).to_owned())
                .collect();
            assert_eq!(opened(&narrow), (expected, 2));
            assert_eq!(narrow.core(), full.core());
        }
        let noise = View::decode(b"a.b.c~x~").unwrap();
        assert!(noise.narrowed(&slots(&[])).is_err());
    }
}
