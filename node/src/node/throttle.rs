//! How often strangers may knock: per address and in total. PROTOCOL section 7.

use std::collections::HashMap;

/// Failed tries per address and minute.
const PER_ADDRESS: u32 = 10;
/// Failed tries of all addresses per minute.
const IN_TOTAL: u32 = 120;
/// Length of a window in milliseconds.
const WINDOW_MS: u64 = 60_000;

/// Counts failed tries in windows of a minute; forgets all of them at the end of a window, so it cannot grow
/// beyond [`IN_TOTAL`] entries.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    failed: HashMap<String, u32>,
    total: u32,
    window: u64,
}

impl Throttle {
    /// May this address try now?
    pub(super) fn allows(&mut self, address: &str, now_ms: u64) -> bool {
        self.turn(now_ms);
        self.total < IN_TOTAL
            && self
                .failed
                .get(host(address))
                .is_none_or(|n| *n < PER_ADDRESS)
    }

    /// It tried and failed.
    pub(super) fn failed(&mut self, address: &str, now_ms: u64) {
        self.turn(now_ms);
        self.total += 1;
        *self.failed.entry(host(address).to_owned()).or_insert(0) += 1;
    }

    fn turn(&mut self, now_ms: u64) {
        let window = now_ms / WINDOW_MS;
        if window != self.window {
            *self = Self {
                window,
                ..Self::default()
            };
        }
    }
}

/// `/ip4/192.0.2.7/udp/4810/quic-v1` -> `192.0.2.7`: ports change with each try.
fn host(address: &str) -> &str {
    address.split('/').nth(2).unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_stopped_and_others_are_not() {
        let mut throttle = Throttle::default();
        for port in 0..PER_ADDRESS {
            let from = format!("/ip4/192.0.2.7/tcp/{port}");
            assert!(throttle.allows(&from, 0));
            throttle.failed(&from, 0);
        }
        assert!(!throttle.allows("/ip4/192.0.2.7/tcp/9", 1));
        assert!(throttle.allows("/ip4/192.0.2.8/tcp/9", 1));
        assert!(throttle.allows("/ip4/192.0.2.7/tcp/9", WINDOW_MS));
    }

    #[test]
    fn many_addresses_are_stopped_together_and_forgotten() {
        let mut throttle = Throttle::default();
        for n in 0..IN_TOTAL {
            throttle.failed(&format!("/ip4/198.51.100.{n}/tcp/1"), 5);
        }
        assert!(!throttle.allows("/ip4/203.0.113.1/tcp/1", 6));
        assert!(throttle.allows("/ip4/203.0.113.1/tcp/1", WINDOW_MS + 6));
        assert!(throttle.failed.is_empty());
    }
}
