//! Doors of members that are reached through this relay, and the requests to join that are passed on to them.
//!
//! A member behind a relay tells the relay while an invite of its is open. So long strangers may hand over requests for it: a bounded
//! number at once and in a minute, one for each stranger at a time. Also here: which relays we told of our own door.
//! Times come in as arguments. What is in a request is not known here.

use std::{collections::HashMap, hash::Hash};

use libp2p::PeerId;
use tokio::time::{Duration, Instant};

use super::settings::{DOOR_LASTS, DOOR_TOLD, DOORS_MAX, PASSED_PER_MINUTE, PASSING_MAX};

/// `K` names a request that was passed on, `C` is the way back to the stranger.
#[derive(Debug)]
pub(crate) struct Doors<K, C> {
    open: HashMap<PeerId, Instant>,
    passing: HashMap<K, (PeerId, C)>,
    minute: Instant,
    passed: u32,
    told: HashMap<PeerId, Instant>,
}

/// Why a request is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotPassed {
    #[error("the inviter is not behind this relay, or has no open invite")]
    Closed,
    #[error("its last request is still on its way")]
    Waiting,
    #[error("too many requests are passed on already")]
    Busy,
}

impl<K: Hash + Eq, C> Doors<K, C> {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            open: HashMap::new(),
            passing: HashMap::new(),
            minute: now,
            passed: 0,
            told: HashMap::new(),
        }
    }

    /// A member says whether its door is open.
    pub(crate) fn says(&mut self, member: PeerId, open: bool, now: Instant) {
        if !open {
            self.open.remove(&member);
        } else if self.open.contains_key(&member) || self.open.len() < DOORS_MAX {
            self.open.insert(member, now + DOOR_LASTS);
        }
    }

    /// Closes the doors of whoever does not say any more that they are open, or is not `there`.
    pub(crate) fn expire(&mut self, now: Instant, there: impl Fn(&PeerId) -> bool) {
        self.open
            .retain(|member, until| *until > now && there(member));
    }

    pub(crate) fn any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether a request of this stranger may be passed on to this member now; counts it if so. `admitted`: it is a member already, and
    /// comes once more for its answer, which may have closed the door.
    pub(crate) fn pass(
        &mut self,
        stranger: &PeerId,
        member: &PeerId,
        admitted: bool,
        now: Instant,
    ) -> Result<(), NotPassed> {
        if !admitted && self.open.get(member).is_none_or(|until| *until <= now) {
            return Err(NotPassed::Closed);
        }
        if self.passing.values().any(|(other, _)| other == stranger) {
            return Err(NotPassed::Waiting);
        }
        if now.duration_since(self.minute) >= MINUTE {
            (self.minute, self.passed) = (now, 0);
        }
        if self.passing.len() >= PASSING_MAX || self.passed >= PASSED_PER_MINUTE {
            return Err(NotPassed::Busy);
        }
        self.passed += 1;
        Ok(())
    }

    /// It is on its way.
    pub(crate) fn passing(&mut self, request: K, stranger: PeerId, back: C) {
        self.passing.insert(request, (stranger, back));
    }

    /// The answer is here, or there will be none.
    pub(crate) fn answered(&mut self, request: &K) -> Option<(PeerId, C)> {
        self.passing.remove(request)
    }

    /// Which of our relays are to be told now that our own door is open, or is closed again.
    pub(crate) fn due(&mut self, open: bool, relays: &[PeerId], now: Instant) -> Vec<PeerId> {
        if !open {
            return self.told.drain().map(|(relay, _)| relay).collect();
        }
        self.told.retain(|relay, _| relays.contains(relay));
        let mut told = Vec::new();
        for relay in relays {
            let last = self.told.get(relay);
            if last.is_none_or(|told| now.duration_since(*told) >= DOOR_TOLD) {
                self.told.insert(*relay, now);
                told.push(*relay);
            }
        }
        told
    }

    /// A relay is gone, or did not take it: to be told again.
    pub(crate) fn forget(&mut self, relay: &PeerId) {
        self.told.remove(relay);
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn peers<const N: usize>() -> [PeerId; N] {
        [(); N].map(|()| PeerId::random())
    }

    #[test]
    fn only_an_open_door_takes_requests_and_it_closes_by_itself() {
        let now = Instant::now();
        let mut doors = Doors::<u32, ()>::new(now);
        let [stranger, member, other] = peers();
        assert_eq!(
            doors.pass(&stranger, &member, false, now),
            Err(NotPassed::Closed)
        );
        doors.says(member, true, now);
        assert!(doors.any_open());
        assert_eq!(doors.pass(&stranger, &member, false, now), Ok(()));
        assert_eq!(
            doors.pass(&stranger, &other, false, now),
            Err(NotPassed::Closed)
        );
        let late = now + DOOR_LASTS;
        assert_eq!(
            doors.pass(&stranger, &member, false, late),
            Err(NotPassed::Closed)
        );
        doors.expire(late, |_| true);
        assert!(!doors.any_open());
        doors.says(member, true, now);
        doors.says(other, true, now);
        doors.says(member, false, now);
        assert_eq!(
            doors.pass(&stranger, &member, false, now),
            Err(NotPassed::Closed)
        );
        assert_eq!(doors.pass(&stranger, &member, true, now), Ok(()), "let in");
        doors.expire(now, |_| false);
        assert!(!doors.any_open(), "its owner is not there any more");
    }

    #[test]
    fn requests_are_few_at_once_in_a_minute_and_for_each_stranger() {
        let now = Instant::now();
        let mut doors = Doors::<usize, &str>::new(now);
        let [member, stranger] = peers();
        doors.says(member, true, now);
        doors
            .pass(&stranger, &member, false, now)
            .expect("the first");
        doors.passing(0, stranger, "back");
        assert_eq!(
            doors.pass(&stranger, &member, false, now),
            Err(NotPassed::Waiting)
        );
        for n in 1..PASSING_MAX {
            let [other] = peers();
            doors.pass(&other, &member, false, now).expect("few yet");
            doors.passing(n, other, "back");
        }
        let [other] = peers();
        assert_eq!(
            doors.pass(&other, &member, false, now),
            Err(NotPassed::Busy)
        );
        assert_eq!(doors.answered(&0), Some((stranger, "back")));
        assert_eq!(doors.answered(&0), None);
        let more = (0..1_000).filter(|_| doors.pass(&stranger, &member, false, now).is_ok());
        let left = PASSED_PER_MINUTE as usize - PASSING_MAX;
        assert_eq!(more.count(), left);
        assert_eq!(doors.pass(&stranger, &member, false, now + MINUTE), Ok(()));
    }

    #[test]
    fn doors_are_bounded() {
        let now = Instant::now();
        let mut doors = Doors::<u32, ()>::new(now);
        for _ in 0..2 * DOORS_MAX {
            doors.says(PeerId::random(), true, now);
        }
        assert_eq!(doors.open.len(), DOORS_MAX);
    }

    #[test]
    fn relays_are_told_now_and_then_and_once_when_the_door_closes() {
        let now = Instant::now();
        let mut doors = Doors::<u32, ()>::new(now);
        let [one, two] = peers();
        assert!(doors.due(false, &[one], now).is_empty(), "never open");
        assert_eq!(doors.due(true, &[one], now), [one]);
        assert_eq!(doors.due(true, &[one, two], now), [two]);
        assert_eq!(doors.due(true, &[one, two], now + DOOR_TOLD), [one, two]);
        doors.forget(&one);
        assert_eq!(doors.due(true, &[one, two], now + DOOR_TOLD), [one]);
        assert_eq!(doors.due(false, &[one, two], now).len(), 2);
        assert!(doors.due(false, &[one, two], now).is_empty(), "once");
    }
}
