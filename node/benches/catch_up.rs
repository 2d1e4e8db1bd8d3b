//! How fast a factory that was away takes in what its partner shared meanwhile: two processes on loopback.
//!
//! `cargo bench -p fmesh --bench catch_up` (arguments after `--`: `records=N`)
//!
//! The author is a process of its own, this program again; it signs and shares its records while the reader is
//! stopped. The clock runs from the reader's start until the last record is on the reader's disk: connecting, following
//! the log, asking for the feed, every check, every flush. The rate counts from the first record that arrived.

#[path = "../../tests/support/mod.rs"]
mod nodes;
mod support;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use fmesh::writer::Edit;
use fmesh_proto::{id::CircleId, id::SiteId, kinds::Kind};
use nodes::{Site, circle, group};
use support::{content, content_bytes, rate, size, timed};

/// Says that this process is the author, and how many records it writes.
const AUTHOR: &str = "FMESH_BENCH_AUTHOR";
/// Objects in one list of edits.
const LIST: usize = 1_000;
/// How often the reader's store is looked at.
const LOOK: Duration = Duration::from_millis(5);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    match std::env::var(AUTHOR) {
        Ok(records) => runtime.block_on(author(records.parse().expect("a number"))),
        Err(_) => runtime.block_on(reader(size("records", 100_000, 600))),
    }
}

/// Shares with whoever joins, writes when told, and stays until its input ends.
async fn author(records: usize) {
    let site = Site::start("A").await;
    println!("ticket {}", site.open_door(true).await);
    let mut orders = std::io::stdin().lines().map_while(Result::ok);
    let reader: SiteId = orders
        .next()
        .expect("who reads")
        .parse()
        .expect("a site id");
    let shared = circle("all", group(&[reader]), &[Kind::Capacity], None);
    let id = site.apply(vec![shared]).await.circle.expect("a circle");
    println!("circle {} {}", id.hex(), site.id().hex());
    orders.next().expect("write now");
    let start = Instant::now();
    for first in (0..records).step_by(LIST) {
        let edits = (first..records.min(first + LIST))
            .map(|n| Edit::PutObject {
                kind: Kind::Capacity,
                key: format!("c{n}"),
                id: None,
                fields: content(n),
            })
            .collect();
        site.apply(edits).await;
    }
    println!("written {}", start.elapsed().as_micros());
    orders.next();
}

async fn reader(records: usize) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .env(AUTHOR, records.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the author starts");
    let mut tell = child.stdin.take().expect("piped");
    let mut says = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut hear = |what: &str| {
        let line = says.next().expect("the author lives").expect("text");
        let (word, rest) = line.split_once(' ').expect("two words");
        assert_eq!(word, what);
        rest.to_owned()
    };
    let mut site = Site::start("B").await;
    site.join(&hear("ticket")).await;
    writeln!(tell, "{}", site.id().hex()).expect("told");
    let shared = hear("circle");
    let (circle, issuer) = shared.split_once(' ').expect("two ids");
    let circle: CircleId = circle.parse().expect("an id");
    let issuer: SiteId = issuer.parse().expect("an id");
    nodes::until("the circle is granted", || {
        let granted = site.node().store.granted_circles().expect("reads");
        granted.iter().any(|(_, c, _)| *c == circle)
    })
    .await;
    site.stop().await;
    writeln!(tell, "write").expect("told");
    let micros: u64 = hear("written").parse().expect("a number");
    println!(
        "{records} records of {} bytes of content, signed and shared at {:.0}/s",
        content_bytes(&content(0)),
        rate(records, Duration::from_micros(micros))
    );

    let start = Instant::now();
    site.resume().await;
    let started = start.elapsed();
    let store = site.node().store.clone();
    let (mut log, mut first, mut last) = (None, None, 0);
    while last < records as u64 {
        assert!(start.elapsed() < Duration::from_secs(600), "at {last}");
        last = store.feed_position(&issuer, &circle).expect("reads");
        let head = store.head(&issuer).expect("reads");
        if log.is_none() && head.is_some_and(|head| head.frontier.size() >= records as u64) {
            log = Some(start.elapsed());
        }
        if first.is_none() && last > 0 {
            first = Some((start.elapsed(), last));
        }
        tokio::time::sleep(LOOK).await;
    }
    // What a writer gives back after this is after the flush of everything before it.
    let ((), flushed) = {
        let begin = Instant::now();
        site.apply(Vec::new()).await;
        ((), begin.elapsed())
    };
    let all = start.elapsed();
    let (from, already) = first.unwrap_or((started, 0));
    let span = all - from;
    println!("node started         {:>8.3} s", started.as_secs_f64());
    println!(
        "log followed         {:>8.3} s",
        log.unwrap_or(all).as_secs_f64()
    );
    println!("first records        {:>8.3} s", from.as_secs_f64());
    println!(
        "all durable          {:>8.3} s ({:.3} s for the last flush)",
        all.as_secs_f64(),
        flushed.as_secs_f64()
    );
    println!("whole catch-up       {:>8.0} records/s", rate(records, all));
    println!(
        "feed alone           {:>8.0} records/s",
        rate(records - already as usize, span)
    );
    let (findings, took) = timed(|| store.check(None).expect("checks"));
    assert!(findings.is_empty(), "{findings:?}");
    println!(
        "store checked        {:>8.3} s, no findings",
        took.as_secs_f64()
    );
    site.stop().await;
    drop(tell);
    child.wait().expect("ends");
}
