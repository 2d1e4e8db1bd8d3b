//! Whole meshes in virtual time, from seeds: thousands of random stories, or one mesh of a hundred sites and what it costs.
//!
//! `cargo run --release --example simulate -- stories --seeds 5000` tells each seed's story (changes, cuts, crashes, wrong clocks,
//! newcomers, removals, malicious members, a network at its worst) and asks after each whether anything unpermitted was
//! sent, anything forged accepted, and whether everything permitted arrived. A seed that fails is printed and repeats it.
//!
//! `cargo run --release --example simulate -- scale --sites 100` founds one mesh in which a tenth of all messages is lost, and lets
//! some sites publish, join, be put out and crash. It waits until everything has arrived everywhere, and prints messages and bytes
//! per site: to get there, for the changes, and for a quiet quarter of an hour. The time and the memory that it takes here grow with the
//! square of the sites and more: 250 take minutes and most of a gigabyte, 1,000 of which 100 share two and a half hours and 15 GB.

use std::{
    num::NonZero,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use clap::{Parser, Subcommand};
use fmesh_proto::sim::{Faults, Sim, Story, With};
use indicatif::{ProgressBar, ProgressStyle};

/// As in the node: a large world is mostly small pieces of memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Simulates meshes of factories from seeds.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Random stories of small meshes, one for each seed.
    Stories {
        /// How many.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
    },
    /// One mesh, and what it sends.
    Scale {
        /// Sites.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..=5_000))]
        sites: u64,
        /// Of them, so many share something: with everybody, and with a group of three. All, if not given.
        #[arg(long)]
        sharing: Option<usize>,
        /// Messages lost, of a hundred.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=50))]
        loss: u32,
        /// Where chance comes from.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    let result = match Options::parse().what {
        What::Stories { seeds, from } => stories(from, seeds),
        What::Scale {
            sites,
            sharing,
            loss,
            seed,
        } => {
            let sites = usize::try_from(sites).unwrap_or(usize::MAX);
            scale(sites, sharing.unwrap_or(sites).min(sites), seed, loss)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

/// All stories on all cores; ends after the first that fails.
fn stories(from: u64, seeds: u64) -> Result<(), String> {
    let began = Instant::now();
    let bar = ProgressBar::new(seeds);
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} stories, {eta} left")
            .map_err(|error| error.to_string())?,
    );
    let next = AtomicU64::new(from);
    let end = from.saturating_add(seeds);
    let failed: Mutex<Vec<(u64, String)>> = Mutex::default();
    let (messages, slowest) = (AtomicU64::new(0), AtomicU64::new(0));
    let tell = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            match Story::of(seed).tell(seed) {
                Ok(told) => {
                    messages.fetch_add(told.messages, Ordering::Relaxed);
                    slowest.fetch_max(told.settled_ms, Ordering::Relaxed);
                }
                Err(what) => {
                    next.store(end, Ordering::Relaxed);
                    let mut failed = failed.lock().unwrap_or_else(|held| held.into_inner());
                    failed.push((seed, what));
                    return;
                }
            }
            bar.inc(1);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(tell);
        }
    });
    let told = bar.position();
    bar.finish_and_clear();
    let failed = failed.into_inner().unwrap_or_else(|held| held.into_inner());
    if let Some((seed, what)) = failed.into_iter().min() {
        return Err(format!(
            "{what}\n\nrepeat it with: cargo run --release --example simulate -- stories --from {seed} --seeds 1"
        ));
    }
    println!(
        "{told} stories in {:.0?}: nothing unpermitted left a site, nothing forged was accepted, everything permitted arrived",
        began.elapsed()
    );
    println!(
        "{} messages; after the storm it took {} s of the world at most",
        messages.into_inner(),
        slowest.into_inner() / 1_000
    );
    Ok(())
}

/// What all sites have sent so far.
#[derive(Default)]
struct Cost {
    messages: u64,
    bytes: u64,
}

impl Cost {
    fn of(sim: &Sim, sites: usize) -> Self {
        let all = (0..sites).map(|site| sim.sent(site));
        let (messages, bytes) = all.fold((0, 0), |(messages, bytes), sent| {
            (messages + sent.total(), bytes + sent.bytes)
        });
        Self { messages, bytes }
    }

    fn print(&self, before: &Self, sites: usize, what: &str) {
        let per_site = |now: u64, before: u64| (now - before) / sites as u64;
        println!(
            "{what:44} {:>8} messages {:>9} bytes per site",
            per_site(self.messages, before.messages),
            per_site(self.bytes, before.bytes)
        );
    }
}

fn scale(sites: usize, sharing: usize, seed: u64, loss: u32) -> Result<(), String> {
    let began = Instant::now();
    let mut sim = Sim::mesh(seed, sites);
    sim.faults = Faults {
        gossip_lost: loss * 10,
        calls_lost: loss * 10,
        ..Faults::NONE
    };
    for site in (0..sharing).map(|n| n * sites / sharing.max(1)) {
        let group = [1, 2, 3].map(|step| (site + step) % sites);
        sim.circle(site, With::Everyone, &["name"]);
        sim.circle(site, With::Group(group.to_vec()), &["reason", "calendar"]);
    }
    let took = sim.settle(DAY_MS)?;
    let settled = Cost::of(&sim, sites);
    println!(
        "{sites} sites, {loss} % of all messages lost; {sharing} of them share with all and with a group of three: known everywhere after {} s of the world ({:.0?} here)",
        took / 1_000,
        began.elapsed()
    );
    settled.print(&Cost::default(), sites, "until then");

    for change in 0..CHANGES {
        sim.publish((change * sites / CHANGES) % sites, 1);
        sim.run_for(1_000);
    }
    let took = sim.settle(DAY_MS)?;
    let changed = Cost::of(&sim, sites);
    let what = format!("{CHANGES} changes, the last there {} s after", took / 1_000);
    changed.print(&settled, sites, &what);

    churn(&mut sim, sites);
    let took = sim.settle(DAY_MS)?;
    let churned = Cost::of(&sim, sites);
    let what = format!("{CHURN} each came, left, crashed; {} s after", took / 1_000);
    churned.print(&changed, sites, &what);

    sim.run_for(QUIET_MS);
    Cost::of(&sim, sites).print(&churned, sites, "a quiet quarter of an hour");
    sim.safety()?;
    let neighbours: usize = (0..sites).map(|site| sim.neighbours(site)).sum();
    println!(
        "neighbours: {:.1} on average; nothing unpermitted was sent; {:.0?} in all",
        neighbours as f64 / sites as f64,
        began.elapsed()
    );
    Ok(())
}

/// Some sites join, some are put out, some crash and come back; each of the newcomers and of the crashed publishes.
fn churn(sim: &mut Sim, sites: usize) {
    for n in 0..CHURN {
        let (goes, falls) = (1 + n, sites - 1 - n);
        sim.crash(falls);
        let new = sim.add_site();
        sim.admit(0, new);
        sim.circle(new, With::Everyone, &["name"]);
        sim.publish(new, 1);
        sim.run_for(2_000);
        sim.remove(0, goes);
        sim.run_for(2_000);
        sim.restart(falls);
        sim.publish(falls, 1);
    }
}

const CHANGES: usize = 20;
const CHURN: usize = 3;
const QUIET_MS: u64 = 900_000;
const DAY_MS: u64 = 86_400_000;
