//! A partner that says anything at all, in any order, to a whole site: its machine, its reader and its store.

use crate::sim::Sim;

/// Site 1 follows a script that the bytes spell: gossip, calls and answers that are noise or altered good messages, between
/// crashes, cuts, publications and waiting. Every gossip message must get one verdict and no deadline may lie in the
/// past (the simulator watches both); at the end site 0 must not have taken in anything that was not signed, or have
/// shown anything to whom it is not permitted, and must still work.
pub fn machine(bytes: &[u8]) -> bool {
    let mut script = Script(bytes);
    let mut sim = Sim::hostile_pair();
    for _ in 0..STEPS_MAX {
        let Some(step) = script.byte() else {
            break;
        };
        match step % 12 {
            0 => sim.run_for(u64::from(script.number())),
            1 => sim.say_gossip(1, 0, script.chunk()),
            2 => {
                let good = sim.genuine_gossip(1, script.number().into());
                sim.say_gossip(1, 0, script.altered(good));
            }
            3 => sim.say_request(1, 0, script.chunk()),
            4 => {
                let good = sim.genuine_request(1, script.number().into());
                sim.say_request(1, 0, script.altered(good));
            }
            5 => sim.prepare_answer(1, script.chunk()),
            6 => {
                let good = sim.genuine_answer(1, 0, script.number().into());
                sim.prepare_answer(1, script.altered(good));
            }
            7 => sim.publish(usize::from(step / 128), 1),
            8 => {
                sim.crash(0);
                sim.restart(0);
            }
            9 => {
                sim.crash(1);
                sim.restart(1);
            }
            10 => sim.cut(0, 1),
            _ => sim.heal(0, 1),
        }
        sim.run_for(50);
    }
    sim.run_for(20_000);
    sim.safety().unwrap_or_else(|what| panic!("{what}"));
    true
}

/// Steps of one run; longer scripts are cut off.
const STEPS_MAX: usize = 64;

/// Bytes as instructions. At its end it gives zeros.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> u16 {
        let [high, low] = [0, 1].map(|_| self.byte().unwrap_or(0));
        u16::from_be_bytes([high, low])
    }

    fn chunk(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte().unwrap_or(0)).min(self.0.len());
        let (chunk, rest) = self.0.split_at(length);
        self.0 = rest;
        chunk.to_vec()
    }

    /// Up to three bytes changed, or cut short.
    fn altered(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let changes = self.byte().unwrap_or(0) % 5;
        for _ in 0..changes.min(3) {
            let (at, value) = (usize::from(self.number()), self.byte().unwrap_or(0));
            let at = at % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if changes == 4 {
            let keep = usize::from(self.number()) % bytes.len().max(1);
            bytes.truncate(keep);
        }
        bytes
    }
}
