//! When a leaf was seen at the latest: the k-th smallest trusted cosignature time over the checkpoints that cover it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::TrustAnchors;
use crate::{
    keys::PublicKey,
    note::{Checkpoint, NoteError, VerifierKey},
};

/// All leaves below `size` (and not below that of the entry before) were seen by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Leaves below this size.
    pub size: u64,
    /// Unix seconds, by the clocks of the witnesses.
    pub by: u64,
}

/// What the trusted witnesses said about one log.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// Witness (its place in the anchors) -> (size, time).
    times: BTreeMap<usize, Vec<(u64, u64)>>,
}

impl Sightings {
    /// Reads the cosignatures of trusted witnesses on `checkpoint`, the site's own left out. One that does not
    /// verify is an error.
    pub(super) fn add(
        &mut self,
        checkpoint: &Checkpoint,
        anchors: &TrustAnchors,
        own: &[PublicKey],
    ) -> Result<(), NoteError> {
        for (place, witness) in anchors.witnesses().iter().enumerate() {
            if own.contains(witness.key()) {
                continue;
            }
            if let Some(cosignature) = checkpoint.cosignature_of(witness)? {
                let at = (checkpoint.size(), cosignature.time());
                self.times.entry(place).or_default().push(at);
            }
        }
        Ok(())
    }

    /// Witnesses that cosigned something.
    pub(super) fn witnesses(&self) -> usize {
        self.times.len()
    }

    /// Witnesses that cosigned a checkpoint of at least `size` leaves, with their latest times for it.
    pub(super) fn of_newest(&self, size: u64) -> Vec<(usize, u64)> {
        let latest = |times: &Vec<(u64, u64)>| {
            let covering = times.iter().filter(|(of, _)| *of >= size);
            covering.map(|(_, time)| *time).max()
        };
        let newest = self.times.iter();
        newest
            .filter_map(|(place, times)| Some((*place, latest(times)?)))
            .collect()
    }

    /// Steps of the function leaf -> time, ascending by size, for `quorum` witnesses.
    pub(super) fn steps(&self, quorum: usize) -> Vec<Seen> {
        let mut sizes: Vec<u64> = self
            .times
            .values()
            .flatten()
            .map(|(size, _)| *size)
            .collect();
        sizes.sort_unstable();
        sizes.dedup();
        let mut steps: Vec<Seen> = Vec::new();
        for size in sizes {
            let mut times: Vec<u64> = self
                .times
                .values()
                .filter_map(|times| {
                    let covering = times.iter().filter(|(of, _)| *of >= size);
                    covering.map(|(_, time)| *time).min()
                })
                .collect();
            times.sort_unstable();
            if let Some(by) = quorum.checked_sub(1).and_then(|k| times.get(k)) {
                steps.push(Seen { size, by: *by });
            }
        }
        steps
    }

    /// A witness that contradicted itself: its place, and the two sizes.
    pub(super) fn regress(&self) -> Option<(usize, u64, u64)> {
        self.times.iter().find_map(|(place, times)| {
            let mut times = times.clone();
            times.sort_unstable_by_key(|(size, time)| (*time, *size));
            let pair = times
                .windows(2)
                .find(|pair| pair[0].0 > pair[1].0 && pair[0].1 < pair[1].1)?;
            Some((*place, pair[0].0, pair[1].0))
        })
    }
}

/// When the leaf was seen.
pub(super) fn seen(steps: &[Seen], leaf: u64) -> Option<u64> {
    let at = steps.partition_point(|step| step.size <= leaf);
    steps.get(at).map(|step| step.by)
}

/// Names of witnesses for a text.
pub(super) fn names(anchors: &TrustAnchors, places: impl Iterator<Item = usize>) -> String {
    let witnesses = anchors.witnesses();
    let name = |place| witnesses.get(place).map_or("", VerifierKey::name);
    places.map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sightings(times: &[&[(u64, u64)]]) -> Sightings {
        Sightings {
            times: times
                .iter()
                .map(|times| times.to_vec())
                .enumerate()
                .collect(),
        }
    }

    #[test]
    fn the_kth_smallest_time_over_covering_checkpoints_counts() {
        let three = sightings(&[&[(5, 100), (9, 300)], &[(5, 110), (9, 200)], &[(9, 90)]]);
        let one = three.steps(1);
        assert_eq!(one, [Seen { size: 5, by: 90 }, Seen { size: 9, by: 90 }]);
        let two = three.steps(2);
        assert_eq!(two, [Seen { size: 5, by: 100 }, Seen { size: 9, by: 200 }]);
        assert_eq!(
            three.steps(3),
            [Seen { size: 5, by: 110 }, Seen { size: 9, by: 300 }]
        );
        assert_eq!(three.steps(4), []);
        assert_eq!(seen(&two, 4), Some(100));
        assert_eq!(seen(&two, 5), Some(200));
        assert_eq!(seen(&two, 9), None);
        assert_eq!(three.of_newest(9), [(0, 300), (1, 200), (2, 90)]);
    }

    #[test]
    fn a_smaller_log_after_a_larger_one_is_a_regress() {
        assert_eq!(sightings(&[&[(5, 100), (9, 300)]]).regress(), None);
        assert_eq!(sightings(&[&[(9, 100), (9, 200)]]).regress(), None);
        assert_eq!(
            sightings(&[&[], &[(9, 100), (5, 101)]]).regress(),
            Some((1, 9, 5))
        );
    }
}
