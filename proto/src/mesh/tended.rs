//! A map that knows which of its entries may want something to be done.
//!
//! A node follows as many logs as its mesh has members, and more feeds, and looks after each input at what it lacks of them. Nearly all
//! of them lack nothing. So whoever gets an entry to change it puts it on the list, and [`Tended::settle`] takes off it what
//! turned out to lack nothing, looking only at what was changed since; nobody has to remember to keep the list.
//!
//! What this does not know: what an entry lacks.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
};

/// Reading is the map's own; see the module.
#[derive(Debug, Clone)]
pub(super) struct Tended<K, V> {
    all: BTreeMap<K, V>,
    open: BTreeSet<K>,
    /// Of these, changed since they were looked at.
    changed: BTreeSet<K>,
}

impl<K, V> Default for Tended<K, V> {
    fn default() -> Self {
        Self {
            all: BTreeMap::new(),
            open: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }
}

impl<K, V> Deref for Tended<K, V> {
    type Target = BTreeMap<K, V>;
    fn deref(&self) -> &BTreeMap<K, V> {
        &self.all
    }
}

impl<K: Ord + Copy, V: Default> Tended<K, V> {
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let entry = self.all.get_mut(key)?;
        self.changed.insert(*key);
        self.open.insert(*key);
        Some(entry)
    }

    pub(super) fn or_default(&mut self, key: K) -> &mut V {
        self.changed.insert(key);
        self.open.insert(key);
        self.all.entry(key).or_default()
    }

    /// Entries that may want something.
    pub(super) fn open(&self) -> impl Iterator<Item = (&K, &V)> {
        self.open
            .iter()
            .filter_map(|key| Some((key, self.all.get(key)?)))
    }

    /// The same, to change them.
    pub(super) fn change_open(&mut self, mut change: impl FnMut(&mut V)) {
        for key in &self.open {
            if let Some(entry) = self.all.get_mut(key) {
                change(entry);
            }
        }
        self.changed.extend(&self.open);
    }

    /// Takes off the list what does not want anything, by its value alone.
    pub(super) fn settle(&mut self, wants: impl Fn(&V) -> bool) {
        for key in std::mem::take(&mut self.changed) {
            if !self.all.get(&key).is_some_and(&wants) {
                self.open.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The list is never short of an entry that wants something, whatever is done in which order.
        #[test]
        fn what_wants_something_is_on_the_list(steps in prop::collection::vec((0_u8..8, 0_u8..4, any::<bool>()), 0..60)) {
            let mut map: Tended<u8, bool> = Tended::default();
            for (key, step, value) in steps {
                match step {
                    0 => *map.or_default(key) = value,
                    1 => map.get_mut(&key).into_iter().for_each(|entry| *entry = value),
                    2 => map.settle(|wants| *wants),
                    _ => map.change_open(|wants| *wants &= value),
                }
                let wanting: Vec<u8> = map.iter().filter(|(_, wants)| **wants).map(|(key, _)| *key).collect();
                let open: Vec<u8> = map.open().filter(|(_, wants)| **wants).map(|(key, _)| *key).collect();
                prop_assert_eq!(&wanting, &open);
                if step == 2 {
                    prop_assert_eq!(map.open().count(), open.len(), "nothing else is on it");
                }
            }
        }
    }
}
