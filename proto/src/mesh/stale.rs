//! Old news: a publication that we have had for longer than gossip remembers.
//!
//! Gossip forgets a message after five minutes and honest nodes forward within a second, so what comes three times as late was kept
//! by somebody and is told again: to look like news, or to keep us busy. It changes nothing here; who does it is shown.
//! Ages are kept in two marks for each log, so "long" is between one and two of these spans.

/// Three times what gossip remembers, in milliseconds.
pub(super) const LONG_MS: u64 = 15 * 60 * 1_000;

/// How large a log was a while ago.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Age {
    /// Known for [`LONG_MS`] at least.
    old: u64,
    /// A later size, and when it was known.
    mark: Option<(u64, u64)>,
}

impl Age {
    /// The size that a log, now of `size`, had already for long.
    pub(super) fn old(&mut self, size: u64, now: u64) -> u64 {
        match self.mark {
            Some((_, at)) if now < at.saturating_add(LONG_MS) => {}
            Some((mark, _)) => {
                self.old = mark;
                self.mark = Some((size, now));
            }
            None => self.mark = Some((size, now)),
        }
        self.old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_old_only_after_its_time() {
        let mut age = Age::default();
        assert_eq!(age.old(7, 5), 0, "a start is no age");
        assert_eq!(age.old(9, 4 + LONG_MS), 0);
        assert_eq!(age.old(9, 5 + LONG_MS), 7);
        assert_eq!(
            age.old(20, 4 + 2 * LONG_MS),
            7,
            "9 is known for a little less"
        );
        assert_eq!(age.old(20, 5 + 2 * LONG_MS), 9);
    }
}
