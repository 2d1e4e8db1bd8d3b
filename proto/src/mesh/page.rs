//! A page of a feed: which positions it speaks of, and what stands at them.
//!
//! A feed's positions are contiguous, so that its reader sees at once if something is missing. But not everything in it is for
//! everyone: who enters a circle late is not given all of its past. So an answer says of every position either the record, or that
//! there is none for this reader; the reader counts both as read. A record names its own position, so the issuer
//! cannot move it, and what it withholds it has said.

use crate::{
    limits::{FEED_BATCH_RUNS_MAX, TREE_SIZE_MAX},
    record::View,
    wire,
};

/// Every position after `after` up to `end`: those of `entries` hold records, the others are withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPage {
    after: u64,
    end: u64,
    entries: Vec<(u64, View)>,
}

impl FeedPage {
    /// Records one after another, nothing withheld.
    #[must_use]
    pub fn contiguous(after: u64, views: Vec<View>) -> Self {
        let entries: Vec<(u64, View)> = (after.saturating_add(1)..).zip(views).collect();
        Self {
            after,
            end: entries.last().map_or(after, |(position, _)| *position),
            entries,
        }
    }

    /// Reads an answer to a call for what comes after `after`. `views` are its views, decoded.
    ///
    /// # Errors
    /// In words, if its runs do not add up with its views.
    pub fn read(
        after: u64,
        views: Vec<View>,
        withheld: &[wire::FeedRun],
        last: u64,
    ) -> Result<Self, String> {
        if withheld.len() > FEED_BATCH_RUNS_MAX {
            return Err(format!("{} runs of withheld positions", withheld.len()));
        }
        let beyond = format!("positions beyond {TREE_SIZE_MAX}, which no feed reaches");
        if after > TREE_SIZE_MAX || last > TREE_SIZE_MAX {
            return Err(beyond);
        }
        let mut views = views.into_iter();
        let mut entries = Vec::with_capacity(views.len());
        let mut end = after;
        for run in withheld {
            if run.first <= end || run.last < run.first || run.last > last {
                return Err(format!(
                    "withheld positions {} to {} after position {end} of {last}",
                    run.first, run.last
                ));
            }
            for position in end + 1..run.first {
                let view = views.next().ok_or_else(|| {
                    format!(
                        "nothing is said of position {position}, before {}",
                        run.first
                    )
                })?;
                entries.push((position, view));
            }
            end = run.last;
        }
        for view in views {
            end += 1;
            entries.push((end, view));
        }
        if end > TREE_SIZE_MAX {
            return Err(beyond);
        }
        Ok(Self {
            after,
            end,
            entries,
        })
    }

    /// The position before the page.
    #[must_use]
    pub fn after(&self) -> u64 {
        self.after
    }

    /// The last position that it speaks of; [`Self::after`] if it speaks of none.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The records, by position.
    #[must_use]
    pub fn entries(&self) -> &[(u64, View)] {
        &self.entries
    }

    /// The records with, for each, the position up to which everything is read once it is; and that position before the first.
    pub(crate) fn into_steps(self) -> (u64, Vec<(u64, View, u64)>) {
        let mut ends: Vec<u64> = self.entries.iter().map(|(at, _)| at - 1).collect();
        ends.push(self.end);
        let begin = ends.remove(0);
        let steps = self.entries.into_iter().zip(ends);
        (
            begin,
            steps.map(|((at, view), end)| (at, view, end)).collect(),
        )
    }
}

/// Says in an answer that positions are not for its reader, in one run with those before.
pub fn withhold(page: &mut wire::FeedResponse, first: u64, last: u64) {
    match page.withheld.last_mut() {
        Some(run) if run.last + 1 == first => run.last = last,
        _ => page.withheld.push(wire::FeedRun { first, last }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn view(n: u64) -> View {
        View::decode(format!("{n}~").as_bytes()).expect("of the right alphabet")
    }

    fn run(first: u64, last: u64) -> wire::FeedRun {
        wire::FeedRun { first, last }
    }

    fn read(after: u64, views: u64, runs: &[wire::FeedRun], last: u64) -> Result<FeedPage, String> {
        FeedPage::read(after, (0..views).map(view).collect(), runs, last)
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        for (runs, views, says) in [
            (vec![run(5, 9)], 5, "after position 5"),
            (vec![run(7, 6)], 5, "7 to 6"),
            (vec![run(6, 21)], 0, "of 20"),
            (vec![run(6, 8), run(8, 9)], 5, "after position 8"),
            (vec![run(9, 10)], 2, "position 8, before 9"),
            (vec![run(0, 3)], 0, "after position 5"),
            (vec![run(6, 6); FEED_BATCH_RUNS_MAX + 1], 0, "runs"),
        ] {
            let refused = read(5, views, &runs, 20).expect_err(says);
            assert!(refused.contains(says), "{refused}");
        }
        for (after, last) in [(u64::MAX, 9), (TREE_SIZE_MAX, 9), (5, u64::MAX)] {
            let refused = read(after, 1, &[], last).expect_err("beyond");
            assert!(refused.contains("beyond"), "{refused}");
        }
        assert!(read(TREE_SIZE_MAX - 1, 1, &[], TREE_SIZE_MAX).is_ok());
    }

    #[test]
    fn a_page_may_say_nothing_or_only_that_something_is_withheld() {
        let empty = read(5, 0, &[], 20).expect("reads");
        assert_eq!((empty.end(), empty.entries().len()), (5, 0));
        assert_eq!(empty.into_steps(), (5, Vec::new()));
        let withheld = read(5, 0, &[run(6, 20)], 20).expect("reads");
        assert_eq!(withheld.into_steps(), (20, Vec::new()));
    }

    proptest! {
        /// Whatever is for the reader, its page says exactly that.
        #[test]
        fn a_page_gives_back_what_was_put_into_it(after in 0..100_u64, shown in prop::collection::vec(any::<bool>(), 0..60)) {
            let mut runs: Vec<wire::FeedRun> = Vec::new();
            let mut expected = Vec::new();
            for (position, shown) in (after + 1..).zip(&shown) {
                match runs.last_mut() {
                    _ if *shown => expected.push(position),
                    Some(run) if run.last + 1 == position => run.last = position,
                    _ => runs.push(run(position, position)),
                }
            }
            let end = after + shown.len() as u64;
            let page = read(after, expected.len() as u64, &runs, end).unwrap();
            prop_assert_eq!(page.end(), end);
            let positions: Vec<u64> = page.entries().iter().map(|(position, _)| *position).collect();
            prop_assert_eq!(&positions, &expected);
            let (begin, steps) = page.into_steps();
            let mut reached = begin;
            for (at, _, end) in steps {
                prop_assert_eq!(at, reached + 1);
                reached = end;
            }
            prop_assert_eq!(reached, end);
        }
    }
}
