//! Circuits that may yet give way to a direct connection.
//!
//! libp2p's DCUtR tries to punch a hole when a circuit begins, and never again. Whether it succeeds hangs on moments: which of the two packets
//! arrives first, what the routers still remember. So whoever opened a circuit opens another one to the same peer after a while,
//! lets both sides try over it, and closes it again; later and later, because some routers never allow it.

use std::collections::HashMap;

use libp2p::PeerId;
use tokio::time::{Duration, Instant};

/// First wait after a circuit began; each further try doubles it, up to the last.
const WAIT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
/// How long a circuit for one try stays.
pub(crate) const TRY_TIME: Duration = Duration::from_secs(15);

/// Whom to try when, by peers that are reached over a circuit of ours and in no other way.
#[derive(Debug, Default)]
pub(crate) struct Holes {
    next: HashMap<PeerId, (Instant, Duration)>,
}

impl Holes {
    /// Whom to try now, of all that are reached over our circuits alone. One at a time; the next is due later.
    pub(crate) fn due(&mut self, relayed: &[PeerId], now: Instant) -> Option<PeerId> {
        self.next.retain(|peer, _| relayed.contains(peer));
        for peer in relayed {
            self.next.entry(*peer).or_insert((now + WAIT.0, WAIT.0));
        }
        let (peer, (at, wait)) = self.next.iter_mut().min_by_key(|(_, (at, _))| *at)?;
        if *at > now {
            return None;
        }
        *wait = (*wait * 2).min(WAIT.1);
        *at = now + *wait;
        Some(*peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_later_and_later_and_end_with_the_circuit() {
        let (mut holes, peer, begin) = (Holes::default(), PeerId::random(), Instant::now());
        let mut tried = Vec::new();
        for second in 0..3_600 {
            let now = begin + Duration::from_secs(second);
            tried.extend(holes.due(&[peer], now).map(|_| second));
        }
        assert_eq!(tried[..5], [10, 30, 70, 150, 310]);
        assert!(tried.windows(2).all(|two| two[1] - two[0] <= 600));
        let now = begin + Duration::from_secs(10_000);
        assert_eq!(holes.due(&[], now), None);
        assert!(holes.next.is_empty());
        assert_eq!(
            holes.due(&[peer], now),
            None,
            "a new circuit has just tried"
        );
        assert_eq!(holes.due(&[peer], now + WAIT.0), Some(peer));
    }

    #[test]
    fn one_at_a_time() {
        let (mut holes, begin) = (Holes::default(), Instant::now());
        let peers = [PeerId::random(), PeerId::random()];
        assert_eq!(holes.due(&peers, begin), None);
        let later = begin + WAIT.0;
        let first = holes.due(&peers, later).expect("due");
        let second = holes.due(&peers, later).expect("due");
        assert_ne!(first, second);
        assert_eq!(holes.due(&peers, later), None);
    }
}
