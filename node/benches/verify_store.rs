//! How fast the writer takes in what others sent, against the signature check alone.
//!
//! `cargo bench -p fmesh --bench verify_store` (arguments after `--`: `records=N`, `batch=N`, `ahead=N`)
//!
//! The raw figure is one `verify_strict` for each record, of the same bytes, on every core at once. The writer's figure
//! is the whole way from encoded views to flushed records: decode, signature, disclosures, the kind's rules, the place in the
//! log, indices, one commit. Both are measured in turns, and each counts with its best round, because other work on the machine only ever
//! slows down.

mod support;

use std::{
    collections::BTreeSet,
    sync::{Arc, RwLock},
    thread,
    time::Duration,
};

use fmesh::{
    search::Index,
    store::{Changes, Meta, Store},
    writer::{Setup, Writer, Written},
};
use fmesh_proto::{
    mesh::{follow::Incoming, page::FeedPage},
    record::View,
};
use support::{History, Party, Signed, cpu, rate, size, timed, verify_raw};
use tokio::sync::mpsc;

/// Publications that one work brings, as a page of a pull does.
const PAGE: usize = 24;

fn main() {
    let records = size("records", 51_200, 1_024);
    let batch = size("batch", 512, 512);
    let ahead = size("ahead", 4, 4);
    let rounds = size("rounds", 3, 1);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let reader = Party::new(2);
    let mut history = History::found(Party::new(1), &reader);
    let ((), took) = timed(|| history.write(records));
    let view = &history.feed[0];
    println!(
        "{records} records, {} bytes of content, {} bytes of core, {} as sent; signed at {:.0}/s on one core",
        support::content_bytes(&support::content(0)),
        view.core().len(),
        view.encode().len(),
        rate(records, took),
    );
    let signed: Vec<Signed> = history.feed.iter().map(Signed::of).collect();
    let encoded: Vec<Vec<u8>> = history
        .feed
        .iter()
        .map(|view| view.encode().into_bytes())
        .collect();
    let key = history.author.keys.public().record;
    let (mut raw, mut writer) = (0_f64, 0_f64);
    for round in 1..=rounds {
        let before = cpu();
        let ((), took) = timed(|| verify_raw(&key, &signed, cores));
        let (raw_now, raw_cpu) = (rate(records, took), cpu() - before);
        let (took, writer_cpu) = store(&history, &reader, &encoded, batch, ahead);
        let writer_now = rate(records, took);
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / records as f64;
        println!(
            "round {round}: raw {raw_now:.0}/s with {:.1} us of processor each, writer {writer_now:.0}/s with {:.1} us",
            each(raw_cpu),
            each(writer_cpu)
        );
        raw = raw.max(raw_now);
        writer = writer.max(writer_now);
    }
    println!("raw verify_strict   {raw:>8.0} records/s on {cores} cores");
    println!("writer, durable     {writer:>8.0} records/s in batches of {batch}");
    println!("ratio               {:>8.0} %", writer / raw * 100.0);
}

/// Gives everything to a writer over a new store; how long the feed took from the first byte to the last flush, and how much
/// processor time.
fn store(
    history: &History,
    reader: &Party,
    feed: &[Vec<u8>],
    batch: usize,
    ahead: usize,
) -> (Duration, Duration) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path()).expect("opens");
    let mut changes = Changes::new();
    changes.put_meta(&Meta {
        mesh: Some(history.mesh),
        ..Meta::default()
    });
    store.commit(changes).expect("commits");
    let setup = Setup {
        store: store.clone(),
        site: reader.site,
        keys: Arc::clone(&reader.keys),
        manifest: reader.manifest.clone(),
        index: Arc::new(RwLock::new(Index::new())),
    };
    let (writer, written, _, thread) = Writer::start(setup).expect("starts");
    let mut taker = Taker {
        writer,
        written,
        work: 0,
        done: 0,
    };
    let issuer = history.author.site;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let took = runtime.block_on(async {
        let views = history.membership.clone();
        taker.take(Incoming::Membership { views }).await;
        for run in history.publications.chunks(PAGE) {
            let run = run.to_vec();
            taker
                .take(Incoming::Publications { site: issuer, run })
                .await;
        }
        taker.until(0).await;
        let (start, before) = (std::time::Instant::now(), cpu());
        for (n, part) in feed.chunks(batch).enumerate() {
            let views = part
                .iter()
                .map(|bytes| View::decode(bytes).expect("our own"))
                .collect();
            taker
                .take(Incoming::Feed {
                    issuer,
                    circle: support::CIRCLE,
                    page: FeedPage::contiguous((n * batch) as u64, views),
                })
                .await;
            taker.until(ahead).await;
        }
        taker.until(0).await;
        (start.elapsed(), cpu() - before)
    });
    let position = store.feed_position(&issuer, &support::CIRCLE);
    assert_eq!(position.expect("reads"), feed.len() as u64, "all is stored");
    let held: BTreeSet<u64> = store
        .records(&issuer, 0)
        .map(|entry| entry.expect("reads").0)
        .collect();
    assert!(held.len() >= feed.len());
    drop(taker);
    thread.join().expect("ends");
    took
}

struct Taker {
    writer: Writer,
    written: mpsc::Receiver<Written>,
    work: u64,
    done: u64,
}

impl Taker {
    async fn take(&mut self, incoming: Incoming) {
        self.work += 1;
        self.writer
            .take(self.work, incoming)
            .await
            .expect("the writer runs");
    }

    /// Waits until at most `open` works are not on disk.
    async fn until(&mut self, open: usize) {
        while self.work - self.done > open as u64 {
            if let Written::Taken(_) = self.written.recv().await.expect("the writer runs") {
                self.done += 1;
            }
        }
    }
}
