//! Refused connections, made few: a scanner must not fill the log or the event queue.
//!
//! Per window of ten seconds at most [`REPORTS_MAX`] are reported, one per peer; the rest is counted and told with the next report.

use std::time::Duration;

use libp2p::PeerId;
use tokio::time::Instant;

/// What was reported in the current window. `None` stands for a peer that had not said who it is.
#[derive(Debug)]
pub(crate) struct Refusals {
    window_start: Instant,
    reported: Vec<Option<PeerId>>,
    unreported: u64,
}

impl Refusals {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            window_start: now,
            reported: Vec::new(),
            unreported: 0,
        }
    }

    /// `Some` if this refusal is to be reported: how many were not reported since the last one that was.
    pub(crate) fn note(&mut self, peer: Option<PeerId>, now: Instant) -> Option<u64> {
        if now.duration_since(self.window_start) >= WINDOW {
            self.window_start = now;
            self.reported.clear();
        }
        if self.reported.len() == REPORTS_MAX || self.reported.contains(&peer) {
            self.unreported += 1;
            return None;
        }
        self.reported.push(peer);
        Some(std::mem::take(&mut self.unreported))
    }
}

const WINDOW: Duration = Duration::from_secs(10);
const REPORTS_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_each_peer_once_and_few_in_total() {
        let now = Instant::now();
        let mut refusals = Refusals::new(now);
        let peer = Some(PeerId::random());
        assert_eq!(refusals.note(peer, now), Some(0));
        assert_eq!(refusals.note(peer, now), None);
        assert_eq!(refusals.note(None, now), Some(1), "tells what it kept");
        let others = (0..100).filter_map(|_| refusals.note(Some(PeerId::random()), now));
        assert_eq!(others.count(), REPORTS_MAX - 2);
        assert_eq!(refusals.note(peer, now + WINDOW), Some(92));
    }
}
