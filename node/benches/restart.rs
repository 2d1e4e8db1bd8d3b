//! How long a factory that comes back is deaf: from the start of its program to the first change that was published after it.
//!
//! `cargo bench -p fmesh --bench restart` (arguments after `--`: `rounds=N`)
//!
//! The node that comes back is a process of its own, this program again, over the same directory and so with the same
//! identity. It is stopped as an operator does, or killed, so that its partners still hold a connection to a process that is gone:
//! the case in which libp2p alone never delivers again (rust-libp2p #5097). Its two partners run here; one of them changes
//! a capacity all the time. What was published before the start, and is caught up on, does not count.

#[path = "../../tests/support/mod.rs"]
mod nodes;
mod support;

use std::{
    io::{BufRead as _, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use fmesh::{keystore, node::Node};
use fmesh_proto::{id::SiteId, kinds::Kind};
use nodes::{Site, capacity, circle, config, group};
use support::{percentile, size};

/// The directory of the site that this process is.
const DIRECTORY: &str = "FMESH_BENCH_DIRECTORY";
/// Whose records it tells of.
const AUTHOR: &str = "FMESH_BENCH_RESTART_AUTHOR";
/// Between changes.
const PAUSE: Duration = Duration::from_millis(20);
/// How long it runs before it ends, and how long it is away.
const SPELL: Duration = Duration::from_millis(500);
/// No round may take longer.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    match std::env::var(DIRECTORY) {
        Ok(directory) => runtime.block_on(returner(directory.as_ref())),
        Err(_) => runtime.block_on(measure(size("rounds", 20, 1))),
    }
}

/// Runs over the directory until it is ended, and prints the leaf of the newest record of the author whenever there is a newer one.
async fn returner(directory: &std::path::Path) {
    let author: SiteId = std::env::var(AUTHOR)
        .ok()
        .and_then(|text| text.parse().ok())
        .expect("a site");
    let keys = keystore::load(directory).expect("keys");
    let running = Node::start(config("B", directory), &keys)
        .await
        .expect("it starts");
    let mut ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .expect("signals can be heard");
    let mut newest = None;
    let mut look = tokio::time::interval(Duration::from_millis(1));
    loop {
        tokio::select! {
            _ = ended.recv() => break,
            _ = look.tick() => {
                let store = &running.node.store;
                let current = store.currents().filter_map(Result::ok);
                let seq = current
                    .filter(|(site, kind, _, _)| *site == author && *kind == Kind::Capacity)
                    .map(|(_, _, _, seq)| seq)
                    .max();
                if seq > newest {
                    newest = seq;
                    println!("{}", seq.expect("some, since it is more"));
                }
            }
        }
    }
    running.stop().await.expect("it stops");
}

struct Returner {
    child: Child,
    says: Lines<BufReader<ChildStdout>>,
}

impl Returner {
    fn start(directory: &std::path::Path, author: &SiteId) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .env(DIRECTORY, directory)
            .env(AUTHOR, author.hex())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let says = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, says }
    }

    /// Until a record at this leaf or after it is there.
    fn until(&mut self, leaf: u64) {
        loop {
            let line = self.says.next().expect("it runs").expect("text");
            if line.parse::<u64>().expect("a number") >= leaf {
                return;
            }
        }
    }

    fn end(mut self, signal: &str) {
        let ended = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(ended.success());
        self.child.wait().expect("it ends");
    }
}

async fn measure(rounds: usize) {
    let a = Site::start("A").await;
    let c = Site::start("C").await;
    let mut b = Site::start("B").await;
    let ticket = a.open_door(true).await;
    for site in [&b, &c] {
        site.join(&ticket).await;
    }
    for (one, other) in [(&a, &b), (&a, &c), (&b, &c)] {
        one.meets(other).await;
    }
    let shared = circle("all", group(&[b.id(), c.id()]), &[Kind::Capacity], None);
    a.apply(vec![shared, capacity("DMU-80", 1)]).await;
    b.stop().await;
    let (author, directory) = (a.id(), b.dir.path().to_owned());

    for (how, signal) in [("stopped", "-TERM"), ("killed", "-KILL")] {
        let mut times = Vec::new();
        for _ in 0..rounds {
            let mut before = Returner::start(&directory, &author);
            before = tokio::task::spawn_blocking(move || {
                before.until(0);
                before
            })
            .await
            .expect("it runs");
            changes(&a, SPELL).await;
            before.end(signal);
            changes(&a, SPELL).await;
            times.push(back(&a, &directory).await);
        }
        times.sort_unstable();
        println!(
            "{how:<8} {rounds} rounds, from the start of the program to the first change published after it: p50 {:>6.0} ms  max {:>6.0} ms",
            percentile(&times, 50).as_secs_f64() * 1e3,
            percentile(&times, 100).as_secs_f64() * 1e3
        );
    }
}

async fn changes(a: &Site, time: Duration) {
    let end = Instant::now() + time;
    let mut n = 0;
    while Instant::now() < end {
        n += 1;
        a.apply(vec![capacity("DMU-80", n % 80)]).await;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Starts it again while changes go on; how long it took to hear one.
async fn back(a: &Site, directory: &std::path::Path) -> Duration {
    let author = a.id();
    let leaf = a.node().store.head(&author).expect("reads");
    let leaf = leaf.expect("it has a log").frontier.size();
    let start = Instant::now();
    let mut returner = Returner::start(directory, &author);
    let heard = tokio::task::spawn_blocking(move || {
        returner.until(leaf);
        (start.elapsed(), returner)
    });
    let heard = async {
        let mut heard = std::pin::pin!(heard);
        loop {
            tokio::select! {
                done = &mut heard => return done.expect("it runs"),
                () = changes(a, PAUSE) => {}
            }
        }
    };
    let (took, returner) = tokio::time::timeout(PATIENCE, heard)
        .await
        .expect("it hears again");
    returner.end("-TERM");
    took
}
