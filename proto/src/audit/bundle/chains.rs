//! What records say together: revisions of objects, positions in feeds.

use std::collections::BTreeMap;

use super::{super::report::Verdict, CONFLICTS_MAX, FEED_POSITIONS_MAX, FINDINGS_MAX};
use crate::{
    id::{CircleId, Digest, ObjectId},
    kinds::Kind,
    record::Claims,
};

/// Something wrong or missing, at a leaf.
pub(super) type Remark = (Verdict, u64, String);

/// Some of them by name; however many there are, one that refutes is among them if there is any.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    named: Vec<Remark>,
    more: u64,
    refuted: bool,
}

impl Remarks {
    pub(super) fn push(&mut self, remark: Remark) {
        let first_refuted = remark.0 == Verdict::Refuted && !self.refuted;
        self.refuted |= first_refuted;
        if self.named.len() < FINDINGS_MAX {
            self.named.push(remark);
            return;
        }
        self.more += 1;
        if let (true, Some(last)) = (first_refuted, self.named.last_mut()) {
            *last = remark;
        }
    }

    pub(super) fn named(&self) -> &[Remark] {
        &self.named
    }

    pub(super) fn more(&self) -> u64 {
        self.more
    }
}

/// Revisions of every object of one log. Records come ascending by leaf within an object.
#[derive(Debug, Default)]
pub(super) struct Revisions(BTreeMap<(Kind, ObjectId), Newest>);

#[derive(Debug)]
struct Newest {
    rev: u64,
    leaf: u64,
    core: Digest,
}

impl Revisions {
    pub(super) fn objects(&self) -> u64 {
        self.0.len() as u64
    }

    /// Takes the next record; says what does not fit the revision before.
    pub(super) fn take(&mut self, claims: &Claims, core: Digest) -> Option<Remark> {
        let Claims {
            kind,
            id,
            rev,
            seq,
            prev,
            ..
        } = claims;
        let newest = Newest {
            rev: *rev,
            leaf: *seq,
            core,
        };
        let before = self.0.insert((kind.clone(), *id), newest);
        let (known, named) = match &before {
            None => (0, None),
            Some(before) => (before.rev, Some(before)),
        };
        let verdict_and_text = match named {
            Some(before) if *rev <= before.rev => (
                Verdict::Refuted,
                format!(
                    "{kind} {id}: revision {rev} comes after revision {} (leaf {})",
                    before.rev, before.leaf
                ),
            ),
            Some(before) if *rev == before.rev + 1 && *prev != Some(before.core) => (
                Verdict::Refuted,
                format!(
                    "{kind} {id}: revision {rev} names another revision {} than the one at leaf {}",
                    before.rev, before.leaf
                ),
            ),
            _ if *rev > known + 1 => (
                Verdict::NotProven,
                match *rev - known {
                    2 => format!("{kind} {id}: revision {} is not shown", rev - 1),
                    _ => format!(
                        "{kind} {id}: revisions {} to {} are not shown",
                        known + 1,
                        rev - 1
                    ),
                },
            ),
            _ => return None,
        };
        Some((verdict_and_text.0, *seq, verdict_and_text.1))
    }
}

/// Two leaves that claim one position of one circle's feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Twice {
    pub(super) circle: CircleId,
    pub(super) position: u64,
    pub(super) leaves: (u64, u64),
}

/// Positions in the feeds of one log.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    /// (position, leaf), ascending once they are closed.
    of: BTreeMap<CircleId, Vec<(u64, u64)>>,
    kept: usize,
    /// Some were not kept.
    too_many: bool,
}

impl Feeds {
    pub(super) fn take(&mut self, leaf: u64, feeds: &[(CircleId, u64)]) {
        for (circle, position) in feeds {
            if self.kept == FEED_POSITIONS_MAX {
                self.too_many = true;
                return;
            }
            self.kept += 1;
            self.of.entry(*circle).or_default().push((*position, leaf));
        }
    }

    pub(super) fn count(&self) -> usize {
        self.of.len()
    }

    /// What does not fit: one position for two leaves, an order that is not the log's, positions that are missing.
    pub(super) fn close(&mut self) -> (Remarks, Vec<Twice>) {
        let (mut remarks, mut twice) = (Remarks::default(), Vec::new());
        if self.too_many {
            let text = format!("only the first {FEED_POSITIONS_MAX} feed positions were compared");
            remarks.push((Verdict::NotProven, 0, text));
        }
        for (circle, positions) in &mut self.of {
            positions.sort_unstable();
            let mut before: Option<(u64, u64)> = None;
            for (position, leaf) in positions.iter().copied() {
                let (known, earlier) = before.unwrap_or_default();
                if before.is_some() && position == known {
                    remarks.push((
                        Verdict::Refuted,
                        leaf,
                        format!("circle {circle}: leaf {leaf} has the feed position {position} of leaf {earlier}, too"),
                    ));
                    if twice.len() < CONFLICTS_MAX {
                        twice.push(Twice {
                            circle: *circle,
                            position,
                            leaves: (earlier, leaf),
                        });
                    }
                    continue;
                }
                if before.is_some() && earlier > leaf {
                    remarks.push((
                        Verdict::Refuted,
                        leaf,
                        format!("circle {circle}: feed position {position} is leaf {leaf}, but an earlier position is leaf {earlier}"),
                    ));
                }
                if position > known + 1 {
                    let text = match position - known {
                        2 => format!(
                            "circle {circle}: feed position {} is not shown",
                            position - 1
                        ),
                        _ => format!(
                            "circle {circle}: feed positions {} to {} are not shown",
                            known + 1,
                            position - 1
                        ),
                    };
                    remarks.push((Verdict::NotProven, leaf, text));
                }
                before = Some((position, leaf));
            }
        }
        (remarks, twice)
    }

    /// Positions that are one leaf here and another one there; both are closed.
    pub(super) fn against(&self, other: &Self) -> Vec<Twice> {
        let common = self
            .of
            .iter()
            .filter_map(|(circle, here)| Some((circle, here, other.of.get(circle)?)));
        let twice = common.flat_map(|(circle, here, there)| {
            here.iter().filter_map(|(position, leaf)| {
                let at = there.partition_point(|(other, _)| other < position);
                let (same, other) = there.get(at)?;
                (same == position && other != leaf).then_some(Twice {
                    circle: *circle,
                    position: *position,
                    leaves: (*leaf, *other),
                })
            })
        });
        twice.take(CONFLICTS_MAX).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SiteId;

    fn claims(seq: u64, rev: u64, prev: Option<Digest>) -> Claims {
        Claims {
            mesh: None,
            iss: SiteId([1; 32]),
            log: 1,
            seq,
            kind: Kind::Capacity,
            id: ObjectId::from_random([7; 16]),
            rev,
            prev,
            iat: 0,
            retired: false,
        }
    }

    #[test]
    fn revisions_chain_or_are_missing_or_contradict() {
        let core = |n: u8| Digest([n; 32]);
        let chain = |second: Claims| {
            let mut revisions = Revisions::default();
            assert_eq!(revisions.take(&claims(1, 1, None), core(1)), None);
            revisions
                .take(&second, core(2))
                .map(|(verdict, leaf, _)| (verdict, leaf))
        };
        assert_eq!(chain(claims(2, 2, Some(core(1)))), None);
        assert_eq!(
            chain(claims(2, 2, Some(core(9)))),
            Some((Verdict::Refuted, 2))
        );
        assert_eq!(chain(claims(2, 1, None)), Some((Verdict::Refuted, 2)));
        assert_eq!(
            chain(claims(2, 4, Some(core(9)))),
            Some((Verdict::NotProven, 2))
        );
        let late = Revisions::default().take(&claims(5, 3, Some(core(9))), core(1));
        assert_eq!(late.map(|(verdict, ..)| verdict), Some(Verdict::NotProven));
    }

    #[test]
    fn feeds_are_whole_or_not() {
        let circle = CircleId([1; 16]);
        let verdicts = |positions: &[(u64, u64)]| {
            let mut feeds = Feeds::default();
            for (position, leaf) in positions {
                feeds.take(*leaf, &[(circle, *position)]);
            }
            let (remarks, _) = feeds.close();
            let named = remarks.named().iter();
            named
                .map(|(verdict, leaf, _)| (*verdict, *leaf))
                .collect::<Vec<_>>()
        };
        assert_eq!(verdicts(&[(1, 0), (2, 4), (3, 5)]), []);
        assert_eq!(
            verdicts(&[(3, 5), (1, 0), (2, 4)]),
            [],
            "key records come first"
        );
        assert_eq!(verdicts(&[(2, 4)]), [(Verdict::NotProven, 4)]);
        assert_eq!(verdicts(&[(1, 0), (3, 4)]), [(Verdict::NotProven, 4)]);
        assert_eq!(verdicts(&[(1, 0), (1, 4)]), [(Verdict::Refuted, 4)]);
        assert_eq!(verdicts(&[(1, 4), (2, 3)]), [(Verdict::Refuted, 3)]);
    }
    #[test]
    fn one_position_for_two_leaves_is_found_here_and_between_two() {
        let (circle, other) = (CircleId([1; 16]), CircleId([2; 16]));
        let closed = |positions: &[(CircleId, u64, u64)]| {
            let mut feeds = Feeds::default();
            for (circle, position, leaf) in positions {
                feeds.take(*leaf, &[(*circle, *position)]);
            }
            let (_, twice) = feeds.close();
            (feeds, twice)
        };
        let twice = |position, leaves| Twice {
            circle,
            position,
            leaves,
        };
        let (a, found) = closed(&[
            (circle, 1, 4),
            (circle, 2, 5),
            (circle, 2, 7),
            (other, 3, 9),
        ]);
        assert_eq!(found, [twice(2, (5, 7))]);
        let (b, found) = closed(&[(circle, 2, 6), (circle, 1, 4), (other, 1, 4)]);
        assert_eq!(found, []);
        assert_eq!(
            a.against(&b),
            [twice(2, (5, 6)), twice(2, (7, 6))],
            "position 1 is the same leaf in both"
        );
        assert_eq!(a.against(&a), [twice(2, (7, 5))]);
        assert_eq!(b.against(&b), []);
    }

    #[test]
    fn what_refutes_is_named_after_any_number_of_gaps() {
        let mut remarks = Remarks::default();
        for leaf in 0..2 * FINDINGS_MAX as u64 {
            remarks.push((Verdict::NotProven, leaf, String::new()));
        }
        remarks.push((Verdict::Refuted, 5, "wrong".into()));
        assert_eq!(remarks.named().len(), FINDINGS_MAX);
        assert_eq!(remarks.more(), FINDINGS_MAX as u64 + 1);
        assert!(
            remarks
                .named()
                .contains(&(Verdict::Refuted, 5, "wrong".into()))
        );
    }
}
