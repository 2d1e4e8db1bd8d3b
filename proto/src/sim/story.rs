//! A random story with a good end: what the long run tells with thousands of seeds.
//!
//! A mesh lives through changes, cuts, crashes, wrong clocks, newcomers, removals and malicious members, while the network
//! is at its worst. Then the faults stop. *Safety* is asked in the middle and at the end, *liveness* at the end.
//! Everything follows from the plan and the seed, so the seed of a run that failed repeats it.

use super::{Faults, Malice, Sim, With};
use crate::{
    circle::{Audience, History},
    id::CircleId,
};

/// What happens in a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Story {
    /// Sites at the beginning; the first is the only admin and honest.
    pub sites: usize,
    /// Random events during the storm.
    pub events: usize,
    /// How many sites are malicious, each in a way of its own.
    pub malicious: usize,
    /// Whether sites join and are put out meanwhile.
    pub churn: bool,
}

/// How a story went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Sites at the end.
    pub sites: usize,
    /// Messages sent by all of them.
    pub messages: u64,
    /// Milliseconds of the world until everything had arrived after the storm.
    pub settled_ms: u64,
}

impl Story {
    /// A small story, another one for each seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut sim = Sim::new(seed ^ 0x5107);
        let sites = 3 + sim.choose(6);
        Self {
            sites,
            events: 20 + sim.choose(40),
            malicious: sim.choose(1 + sites / 3),
            churn: sim.choose(2) == 0,
        }
    }

    /// Tells it.
    ///
    /// # Errors
    /// What was unpermitted, forged or missing, with the seed.
    pub fn tell(&self, seed: u64) -> Result<Told, String> {
        let with_seed = |what: String| format!("seed {seed}, {self:?}: {what}");
        let mut sim = Sim::mesh(seed, self.sites);
        sim.faults = Faults::STORM;
        for site in 0..self.sites {
            sim.skew(site, [0, 86_400, -86_400][site % 3]);
        }
        for n in 0..self.malicious.min(self.sites.saturating_sub(2)) {
            let way = sim.choose(Malice::ALL.len());
            sim.corrupt(self.sites - 1 - n, Malice::ALL[way]);
        }
        sim.run_for(3_000);
        for site in 0..self.sites {
            sim.usual_circles(site);
        }
        for _ in 0..self.events {
            match self.churn && sim.choose(12) == 0 {
                true => sim.come_or_go(),
                false => sim.something(),
            }
        }
        sim.safety().map_err(with_seed)?;
        sim.calm();
        let settled_ms = sim.settle(SETTLE_MS).map_err(with_seed)?;
        sim.safety().map_err(with_seed)?;
        let sites = sim.sites.len();
        Ok(Told {
            sites,
            messages: (0..sites).map(|site| sim.sent(site).total()).sum(),
            settled_ms,
        })
    }
}

impl Sim {
    /// A circle of each sort at a site: everybody sees names, the next member all, it and the two after it what is free and why.
    pub fn usual_circles(&mut self, site: usize) {
        let sites = self.sites.len();
        let others = (1..sites).map(|step| (site + step) % sites);
        let others = others.filter(|other| self.truth.members.contains(other));
        let group: Vec<usize> = others.take(3).collect();
        self.circle(site, With::Everyone, &["name"]);
        if let Some(next) = group.first() {
            self.circle(site, With::One(*next), &[]);
        }
        let group = self.circle(site, With::Group(group), &["name", "reason", "calendar"]);
        let history = [History::Current, History::None, History::All][site % 3];
        self.history(site, group, history);
    }

    /// Something random: a change, a cut, a crash; then some time.
    pub fn something(&mut self) {
        let sites = self.sites.len();
        let (site, other) = (self.choose(sites), self.choose(sites));
        let runs = self.sites[site].process.is_some();
        match self.choose(12) {
            0..3 if runs => {
                let n = 1 + self.choose(4);
                self.publish(site, n);
            }
            3 if runs => self.revise(site, 2),
            4 if site != other => self.cut(site, other),
            5 if site != other => self.heal(site, other),
            6 if runs => self.crash(site),
            7 if !runs => self.restart(site),
            8 if runs && site != other => self.enter_or_leave(site, other),
            _ => {}
        }
        let ms = self.below(4_000);
        self.run_for(ms);
    }

    /// Lets another member into a group of the site's, or out of it.
    fn enter_or_leave(&mut self, site: usize, other: usize) {
        let store = &self.sites[site].store;
        let partner = self.sites[other].who.site;
        let groups = store.circles.iter().filter_map(|(id, own)| {
            let Audience::Group { members } = &own.circle.audience else {
                return None;
            };
            Some((*id, members.contains(&partner)))
        });
        let groups: Vec<(CircleId, bool)> = groups.collect();
        if store.membership.member(&partner).is_none() || groups.is_empty() {
            return;
        }
        match groups[self.choose(groups.len())] {
            (group, true) => self.shut_out(site, group, other),
            (group, false) => self.include(site, group, &[other]),
        }
    }

    /// A newcomer, or a removal, if the admin is up and enough would stay.
    fn come_or_go(&mut self) {
        if self.sites[0].process.is_none() {
            return;
        }
        let goes = 1 + self.choose(self.sites.len() - 1);
        if self.choose(2) == 0 {
            let new = self.add_site();
            self.admit(0, new);
            self.usual_circles(new);
        } else if self.truth.members.len() > 3 && self.truth.members.contains(&goes) {
            self.remove(0, goes);
        }
        self.run_for(1_000);
    }

    /// A number below `n`.
    fn choose(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap_or(0)
    }
}

/// The longest that a mesh may take to recover from a storm.
const SETTLE_MS: u64 = 1_200_000;
