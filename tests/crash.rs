//! kill -9 at any moment, and power that fails: what was acknowledged is there, and no leaf is signed twice.
//!
//! The child is this test binary again, running one ignored test with a directory in its environment. It says on stdout
//! what was acknowledged to it and what left it; the parent kills it, opens the store and compares. A dozen kills by default;
//! `FMESH_CRASH_KILLS=200` for more, `FMESH_CRASH_SEED=n` to repeat the moments of a run (the machine decides the rest).

#[path = "support/power.rs"]
mod power;
mod support;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use fmesh::{
    keystore,
    node::Node,
    search::Index,
    store::Store,
    writer::{Applied, Edit, Setup, Writer, Written},
};
use fmesh_proto::{
    circle::Audience,
    id::{CircleId, Digest, SiteId, from_hex, to_hex},
    kinds::Kind,
    log::{Frontier, leaf_hash},
    mesh::witness::Cosigned,
    publication::Publication,
};
use support::{Site, capacity, circle, config, group, until};

/// Directory of the child's site; says that this process is a child.
const DIR: &str = "FMESH_CRASH_DIR";
/// First number that the child uses.
const FIRST: &str = "FMESH_CRASH_FIRST";
/// Objects in one list of edits, at most. A list is applied wholly or not at all.
const LIST_MAX: u64 = 5;
/// Lists that are on their way at once.
const AT_ONCE: u64 = 4;
/// Lines of a child that wait to be looked at: more than one says in its life.
const LINES_WAITING_MAX: usize = 1 << 20;
/// Longest life of a child before it is killed.
const LIFE_MS_MAX: u64 = 400;

/// The author's side.
#[test]
fn a_killed_writer_loses_nothing_that_it_acknowledged_and_signs_no_leaf_twice() {
    let mut chance = Chance::new("writer");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (keystore, _) = keystore::create(dir.path()).expect("keys");
    let site = keystore.site();
    let mut said = Said::default();
    for kill in 1..=kills() {
        let mut child = spawn("child_that_writes", dir.path(), &[(FIRST, said.next)]);
        let lines = listen(&mut child);
        let life = Duration::from_millis(chance.below(LIFE_MS_MAX));
        // Some die while they start, some after so many acknowledgements.
        if chance.below(4) > 0 {
            lines.until(|line| line.starts_with("acknowledged"));
        }
        std::thread::sleep(life);
        kill_9(&mut child);
        said.hear(lines.all());
        check_author(&dir.path().join("store"), &site, &said, kill);
    }
    println!(
        "{} lists acknowledged, {} leaves published over {} lives",
        said.acknowledged.len(),
        said.published.len(),
        kills()
    );
    assert!(!said.acknowledged.is_empty(), "the children did something");
    assert!(!said.published.is_empty());
}

/// The same with a disk that forgets what was not synced. Skipped where file systems cannot be made and mounted, for
/// which it needs root and loop devices.
#[test]
fn a_writer_whose_power_fails_loses_nothing_that_it_acknowledged() {
    let disk = match power::Disk::new() {
        Ok(disk) => disk,
        Err(why) => {
            println!("\n*** SKIPPED: a power failure needs a disk of its own: {why}\n");
            return;
        }
    };
    let mut chance = Chance::new("power");
    let (keystore, _) = keystore::create(&disk.path()).expect("keys");
    let site = keystore.site();
    let mut said = Said::default();
    for failure in 1..=kills() {
        let mut child = spawn("child_that_writes", &disk.path(), &[(FIRST, said.next)]);
        let lines = listen(&mut child);
        lines.until(|line| line.starts_with("acknowledged"));
        std::thread::sleep(Duration::from_millis(chance.below(LIFE_MS_MAX)));
        disk.fail();
        // It may have given up by now, because its disk did.
        let _ = child.kill();
        child.wait().expect("waits");
        disk.restore();
        said.hear(lines.all());
        check_author(&disk.path().join("store"), &site, &said, failure);
    }
    assert!(!said.acknowledged.is_empty() && !said.published.is_empty());
}

/// What a site that died said before.
#[derive(Default)]
struct Said {
    /// List -> leaves that were signed for it.
    acknowledged: BTreeMap<u64, Vec<u64>>,
    /// Leaf -> its hash, as it left the site.
    published: BTreeMap<u64, Digest>,
    /// Largest own log that it told.
    size: u64,
    /// No list with this number was begun.
    next: u64,
}

impl Said {
    fn hear(&mut self, lines: Vec<String>) {
        for line in lines {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("began"), Some(list), None) => self.next = number(list) + 1,
                (Some("acknowledged"), Some(list), Some(leaves)) => {
                    let leaves = leaves.split(',').map(number).collect();
                    self.acknowledged.insert(number(list), leaves);
                }
                (Some("published"), Some(hex), None) => {
                    if let Some(publication) = publication(hex) {
                        self.publish(publication.from(), &publication.leaf_hashes);
                    }
                }
                // A line that the kill cut off, or one of the test harness.
                _ => {}
            }
        }
    }

    fn publish(&mut self, from: u64, leaves: &[Digest]) {
        for (seq, leaf) in (from..).zip(leaves) {
            self.size = self.size.max(seq + 1);
            let before = self.published.insert(seq, *leaf);
            assert!(
                before.is_none_or(|before| before == *leaf),
                "leaf {seq} was published with two contents"
            );
        }
    }
}

fn publication(hex: &str) -> Option<Publication> {
    Publication::decode(&from_hex(hex)?).ok()
}

fn number(text: &str) -> u64 {
    text.parse().expect("the child prints numbers")
}

/// The store after a kill, against what was said before it.
fn check_author(path: &Path, site: &SiteId, said: &Said, kill: u64) {
    let store = Store::open(path).expect("opens after a kill");
    let findings = store.check(Some(site)).expect("checks");
    assert!(findings.is_empty(), "kill {kill}: {findings:?}");
    let leaves = leaves_of(&store, site);
    let head = store.head(site).expect("reads");
    let mut frontier = Frontier::new();
    for leaf in &leaves {
        frontier.append(*leaf, &mut |_, _, _| {});
    }
    match head {
        Some(head) => {
            assert_eq!(head.frontier, frontier, "kill {kill}: head and records");
            assert_eq!(head.checkpoint.size(), frontier.size());
            assert_eq!(head.checkpoint.root(), frontier.root());
        }
        None => assert!(leaves.is_empty()),
    }
    assert!(
        said.size <= frontier.size(),
        "kill {kill}: {} leaves left the site, {} are on disk",
        said.size,
        frontier.size()
    );
    for (seq, leaf) in &said.published {
        assert_eq!(
            leaves.get(*seq as usize),
            Some(leaf),
            "kill {kill}: leaf {seq} left the site with another content"
        );
    }
    let mut lists: BTreeMap<u64, u64> = BTreeMap::new();
    let mut sizes: BTreeMap<u64, u64> = BTreeMap::new();
    for object in store.objects(Some(&Kind::Capacity)).expect("reads") {
        let (list, size) = list_of(&object.key);
        *lists.entry(list).or_default() += 1;
        sizes.insert(list, size);
    }
    for (list, count) in &lists {
        assert_eq!(
            count, &sizes[list],
            "kill {kill}: list {list} is there in part"
        );
    }
    for (list, seqs) in &said.acknowledged {
        assert!(lists.contains_key(list), "kill {kill}: list {list} is lost");
        for seq in seqs {
            let (view, _) = store
                .record(site, *seq)
                .expect("reads")
                .unwrap_or_else(|| panic!("kill {kill}: leaf {seq} of list {list} is lost"));
            let record = view.parse().expect("parses").from_store();
            let name = record.fields()["name"].clone().expect("opened");
            assert_eq!(list_of(name.as_str().expect("text")).0, *list);
        }
    }
}

/// Leaf hashes of the records of a log, from 0 without a gap.
fn leaves_of(store: &Store, site: &SiteId) -> Vec<Digest> {
    store
        .records(site, 0)
        .enumerate()
        .map(|(n, record)| {
            let (seq, view, _) = record.expect("reads");
            assert_eq!(n as u64, seq, "records without a gap");
            leaf_hash(view.core().as_bytes())
        })
        .collect()
}

/// `list/place/size`.
fn key_of(list: u64, place: u64, size: u64) -> String {
    format!("{list}/{place}/{size}")
}

fn list_of(key: &str) -> (u64, u64) {
    let parts: Vec<u64> = key.split('/').map(number).collect();
    (parts[0], parts[2])
}

#[test]
#[ignore = "a child of the tests above, killed by its parent"]
fn child_that_writes() {
    let Ok(dir) = std::env::var(DIR).map(PathBuf::from) else {
        return;
    };
    let first = std::env::var(FIRST).map_or(0, |text| number(&text));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let keystore = keystore::load(&dir).expect("keys");
        let store = Store::open(&dir.join("store")).expect("opens");
        let new = store.meta().expect("reads").mesh.is_none();
        let setup = Setup {
            store,
            site: keystore.site(),
            keys: Arc::new(keystore.keys()),
            manifest: keystore.manifest().clone(),
            index: Arc::new(RwLock::new(Index::new())),
        };
        let (writer, mut written, _, _thread) = Writer::start(setup).expect("starts");
        tokio::spawn(async move {
            while let Some(event) = written.recv().await {
                if let Written::Issued { publications, .. } = event {
                    for publication in publications {
                        say(&format!("published {}", to_hex(&publication)));
                    }
                }
            }
        });
        if new {
            let found = Edit::Found { name: "A".into() };
            let all = circle("all", Audience::MeshWide, &[Kind::Capacity], None);
            writer.apply(vec![found, all]).await.expect("founds");
        }
        let mut tasks = tokio::task::JoinSet::new();
        for list in first.. {
            while tasks.len() as u64 >= AT_ONCE {
                tasks.join_next().await;
            }
            say(&format!("began {list}"));
            let writer = writer.clone();
            tasks.spawn(async move {
                let size = list % LIST_MAX + 1;
                let edits = (0..size)
                    .map(|place| capacity(&key_of(list, place, size), (list % 80) as u32))
                    .collect();
                let applied: Applied = writer.apply(edits).await.expect("applies");
                let leaves: Vec<String> = applied
                    .issued
                    .iter()
                    .map(|(seq, ..)| seq.to_string())
                    .collect();
                say(&format!("acknowledged {list} {}", leaves.join(",")));
            });
        }
    });
}

/// The reader's side: what it told its partner that it has, it has, and what it cosigned it remembers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_reader_has_what_it_acknowledged_and_cosigned_and_converges() {
    let mut chance = Chance::new("reader");
    let author = Site::start("A").await;
    let mut reader = Site::start("B").await;
    reader.join(&author.open_door(true).await).await;
    author.meets(&reader).await;
    let all = [Kind::Capacity];
    let shared = circle("all", group(&[reader.id()]), &all, None);
    let circle_id = author.apply(vec![shared]).await.circle.expect("a circle");
    let (a, b) = (author.id(), reader.id());
    reader.stop().await;
    let store = reader.dir.path().join("store");
    let mut written = 0;
    let mut durable = 0;
    for kill in 1..=kills() {
        let mut child = spawn("child_that_reads", reader.dir.path(), &[]);
        let lines = listen(&mut child);
        let began = Instant::now();
        let dies = began + Duration::from_millis(200 + chance.below(3 * LIFE_MS_MAX));
        // Every other one dies at the moment when a cosignature of it has come, some lines after it wrote its pledge.
        let before = cosignature(&author, &b);
        let lives = || match kill % 2 {
            0 => cosignature(&author, &b) <= before && began.elapsed() < support::PATIENCE,
            _ => Instant::now() < dies,
        };
        // Now and then a list too large for gossip, which the reader pulls.
        while lives() {
            let size = if chance.below(4) == 0 { 120 } else { 3 };
            let edits = (written..written + size)
                .map(|n| capacity(&format!("c{n}"), (n % 80) as u32))
                .collect();
            author.apply(edits).await;
            written += size;
            tokio::time::sleep(Duration::from_millis(chance.below(20))).await;
        }
        kill_9(&mut child);
        drop(lines);
        let told = author.node().store.feed_ack(&circle_id, &b).expect("reads");
        durable = check_reader(&store, &author, &circle_id, told, durable, kill);
        check_pledge(&store, &author, &b, kill);
    }
    println!("{written} records streamed, {durable} of the feed on disk at the last kill");
    assert!(cosignature(&author, &b).is_some(), "it cosigned something");
    reader.resume().await;
    until("the reader has everything", || {
        reader.sees(&a, &Kind::Capacity).len() as u64 == written
    })
    .await;
    until("the heads agree", || {
        let of = |site: &Site| site.node().store.head(&a).expect("reads");
        of(&reader) == of(&author)
    })
    .await;
    until("the author knows", || {
        let store = &author.node().store;
        store.feed_ack(&circle_id, &b).expect("reads")
            == store.feed_tail(&circle_id).expect("reads")
    })
    .await;
    assert_eq!(reader.node().store.check(Some(&b)).expect("checks"), []);
    assert_eq!(reader.node().store.refusals().expect("reads").len(), 0);
}

/// The newest cosignature of a member on the author's log: size, and time that it says.
fn cosignature(author: &Site, by: &SiteId) -> Option<(u64, u64)> {
    let store = &author.node().store;
    let mesh = store.meta().expect("reads").mesh.expect("in a mesh");
    let newest = store.newest_cosigned(&author.id()).expect("reads")?;
    let membership = author.node().membership.borrow();
    let note = newest.checkpoint.note();
    let cosigned = Cosigned::check(note, &mesh, &membership).expect("it was checked before");
    let line = cosigned.by.iter().find(|(site, _)| site == by)?;
    Some((newest.checkpoint.size(), line.1))
}

/// The pledge of a killed witness, against its newest cosignature that left it.
fn check_pledge(path: &Path, author: &Site, witness: &SiteId, kill: u64) {
    let Some((size, time)) = cosignature(author, witness) else {
        return;
    };
    let store = Store::open(path).expect("opens after a kill");
    let pledge = store.pledge(&author.id()).expect("reads");
    let pledge =
        pledge.unwrap_or_else(|| panic!("kill {kill}: size {size} is cosigned, and forgotten"));
    assert!(
        pledge.size > size || (pledge.size, pledge.time) == (size, time),
        "kill {kill}: size {size} is cosigned at {time}, and {pledge:?} on disk"
    );
}

/// The reader's store after a kill; gives how far its feed is.
fn check_reader(
    path: &Path,
    author: &Site,
    circle: &CircleId,
    told: u64,
    before: u64,
    kill: u64,
) -> u64 {
    let store = Store::open(path).expect("opens after a kill");
    let a = author.id();
    let findings = store.check(None).expect("checks");
    assert!(findings.is_empty(), "kill {kill}: {findings:?}");
    let position = store.feed_position(&a, circle).expect("reads");
    assert!(
        position >= told.max(before),
        "kill {kill}: {position} of the feed on disk, {told} were acknowledged, {before} were there"
    );
    let authors = &author.node().store;
    for entry in authors.feed(circle, 0, position as usize).expect("reads") {
        let held = store.record(&a, entry.seq).expect("reads");
        let (view, _) =
            held.unwrap_or_else(|| panic!("kill {kill}: record {} is missing", entry.seq));
        let (own, _) = authors.record(&a, entry.seq).expect("reads").expect("held");
        assert_eq!(view.core(), own.core(), "kill {kill}: leaf {}", entry.seq);
    }
    let size = |store: &Store| {
        let head = store.head(&a).expect("reads");
        head.map_or(0, |head| head.frontier.size())
    };
    let leaves = store.leaf_hashes(&a, 0, usize::MAX).expect("reads");
    assert_eq!(
        leaves.len() as u64,
        size(&store),
        "kill {kill}: head and leaves"
    );
    let theirs = authors.leaf_hashes(&a, 0, leaves.len()).expect("reads");
    assert_eq!(leaves, theirs, "kill {kill}: one history");
    position
}

#[test]
#[ignore = "a child of the tests above, killed by its parent"]
fn child_that_reads() {
    let Ok(dir) = std::env::var(DIR).map(PathBuf::from) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let keys = keystore::load(&dir).expect("keys");
        let running = Node::start(config("B", &dir), &keys).await.expect("starts");
        say("started");
        std::future::pending::<()>().await;
        drop(running);
    });
}

/// One line, at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // One write for one line: a kill leaves whole lines or the beginning of one.
    out.write_all(format!("{line}\n").as_bytes())
        .expect("the parent listens");
    out.flush().expect("the parent listens");
}

/// This test binary again, running one of its children.
fn spawn(test: &str, dir: &Path, env: &[(&str, u64)]) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args([
            test,
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIR, dir)
        .stdout(Stdio::piped());
    for (name, value) in env {
        command.env(name, value.to_string());
    }
    command.spawn().expect("the child starts")
}

fn kill_9(child: &mut Child) {
    assert_eq!(
        child.try_wait().expect("waits"),
        None,
        "the child ended by itself"
    );
    child.kill().expect("SIGKILL");
    child.wait().expect("waits");
}

/// What a child says, read by a thread so that the child never waits for its parent.
struct Lines {
    lines: std::sync::mpsc::Receiver<String>,
    heard: std::cell::RefCell<Vec<String>>,
}

fn listen(child: &mut Child) -> Lines {
    let out: ChildStdout = child.stdout.take().expect("piped");
    let (tx, lines) = std::sync::mpsc::sync_channel(LINES_WAITING_MAX);
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines() {
            let Ok(line) = line else { return };
            if tx.send(line).is_err() {
                return;
            }
        }
    });
    Lines {
        lines,
        heard: std::cell::RefCell::default(),
    }
}

impl Lines {
    /// Waits for a line.
    fn until(&self, wanted: impl Fn(&str) -> bool) {
        loop {
            let line = self
                .lines
                .recv_timeout(support::PATIENCE)
                .expect("the child speaks");
            let found = wanted(&line);
            self.heard.borrow_mut().push(line);
            if found {
                return;
            }
        }
    }

    /// Everything, after the child's end.
    fn all(self) -> Vec<String> {
        let mut heard = self.heard.into_inner();
        heard.extend(self.lines);
        heard
    }
}

fn kills() -> u64 {
    std::env::var("FMESH_CRASH_KILLS").map_or(6, |text| number(&text))
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn new(what: &str) -> Self {
        let seed = std::env::var("FMESH_CRASH_SEED").map_or_else(
            |_| {
                let mut seed = [0; 8];
                getrandom::fill(&mut seed).expect("random numbers");
                u64::from_le_bytes(seed)
            },
            |text| number(&text),
        );
        println!("{what}: FMESH_CRASH_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

#[test]
#[should_panic(expected = "published with two contents")]
fn a_second_history_is_noticed() {
    let mut said = Said::default();
    said.publish(6, &[Digest([1; 32]), Digest([2; 32])]);
    said.publish(7, &[Digest([2; 32]), Digest([3; 32])]);
    assert_eq!((said.size, said.published.len()), (9, 3));
    said.publish(8, &[Digest([4; 32])]);
}
