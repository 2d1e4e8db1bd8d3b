//! How fast a bundle is verified, against the signature check alone, and how much memory that takes.
//!
//! `cargo bench -p fmesh --bench audit_verify` (arguments after `--`: `records=N`, `rounds=N`)
//!
//! The raw figure is one `verify_strict` for each record, of the same bytes, on every core at once. The bundle's figure is the whole way from
//! a tar on disk to the report: reading, SHA-256 of every file, form, signature, disclosures, the kind's rules, leaf, proof, revisions and
//! feeds. Between them stands the least that anybody has to do who verifies these files with these libraries, and who would be
//! done with it: the same signatures, reading, SHA-256 of every file, leaf, core and disclosure, base64, and JSON read
//! without looking at what it says. All are measured in turns, and each counts with its best round, because other work on the machine only
//! ever slows down. Memory is the peak (VmHWM) of a process of its own that only verifies.

mod support;

use std::{
    fs::File,
    hint::black_box,
    io::{BufReader, Read as _},
    path::Path,
    process::Command,
    sync::{Mutex, mpsc::sync_channel},
    thread,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use fmesh::bundle::{Target, verify};
use fmesh_proto::{
    audit::{
        TrustAnchors, Verdict,
        bundle::{LogSource, Options, Selection, Tree, Writer},
    },
    id::{Digest, SiteId},
    keys::PublicKey,
    log::leaf_hash,
    record::View,
};
use serde::de::IgnoredAny;
use support::{History, Party, Signed, rate, size, timed, verify_raw};

fn main() {
    if let Some(path) = argument("only=") {
        return only(Path::new(&path));
    }
    let records = size("records", 100_000, 512);
    let rounds = size("rounds", 3, 1);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let reader = Party::new(2);
    let mut history = History::found(Party::new(1), &reader);
    history.write(records);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("bundle.tar");
    let ((), took) = timed(|| write(&history, &path));
    let bytes = path.metadata().expect("written").len();
    println!(
        "{records} records, bundle of {} MB, written at {:.0} records/s",
        bytes / 1_000_000,
        rate(records, took)
    );
    let signed: Vec<Signed> = history.feed.iter().map(Signed::of).collect();
    let key = history.author.keys.public().record;
    let anchors = trust(&history.author.site);
    let (mut raw, mut floor, mut bundle) = (0_f64, 0_f64, 0_f64);
    for round in 1..=rounds {
        let ((), took) = timed(|| verify_raw(&key, &signed, cores));
        let raw_now = rate(records, took);
        let ((), took) = timed(|| least(&path, &key, cores));
        let floor_now = rate(records, took);
        let (verdict, took) = timed(|| judge(&path, &anchors));
        assert_eq!(verdict, Verdict::Proven);
        let bundle_now = rate(records, took);
        println!(
            "round {round}: raw {raw_now:.0}/s, least {floor_now:.0}/s, bundle {bundle_now:.0}/s"
        );
        raw = raw.max(raw_now);
        floor = floor.max(floor_now);
        bundle = bundle.max(bundle_now);
    }
    println!("raw verify_strict   {raw:>8.0} records/s on {cores} cores");
    for (name, of) in [("least of a bundle", floor), ("whole bundle", bundle)] {
        let part = of / raw * 100.0;
        println!("{name:<19} {of:>8.0} records/s = {part:.0} % of raw");
    }
    let program = std::env::current_exe().expect("this program");
    let other = Command::new(program)
        .args([
            format!("only={}", path.display()),
            format!("site={}", history.author.site.hex()),
        ])
        .output()
        .expect("starts");
    assert!(
        other.status.success(),
        "{}",
        String::from_utf8_lossy(&other.stderr)
    );
    println!(
        "peak memory         {}",
        String::from_utf8_lossy(&other.stdout).trim()
    );
}

/// Verifies and says the peak memory of this process.
fn only(path: &Path) {
    let site = argument("site=")
        .and_then(|site| site.parse().ok())
        .expect("a site");
    assert_eq!(judge(path, &trust(&site)), Verdict::Proven);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!("{}", peak.map_or("unknown on this system", str::trim));
}

/// Reads on one thread and does on every core what no verifier can leave out.
fn least(path: &Path, key: &PublicKey, cores: usize) {
    let (sender, receiver) = sync_channel::<Vec<(bool, Vec<u8>)>>(4);
    let receiver = Mutex::new(receiver);
    let next = || receiver.lock().expect("no thread panics").recv();
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Ok(files) = next() {
                    for (is_record, bytes) in files {
                        black_box(Digest::of(&bytes));
                        if is_record {
                            least_of_record(&bytes, key);
                        }
                    }
                }
            });
        }
        scope.spawn(move || {
            let file = File::open(path).expect("written");
            let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 20, file));
            let mut files = Vec::new();
            for entry in archive.entries().expect("a tar").raw(true) {
                let mut entry = entry.expect("whole");
                let name = entry.path_bytes();
                let is_record =
                    name.ends_with(b".sdjwt") && !name.windows(6).any(|w| w == b"/keys/");
                let mut bytes = Vec::with_capacity(usize::try_from(entry.size()).expect("small"));
                entry.read_to_end(&mut bytes).expect("whole");
                files.push((is_record, bytes));
                if files.len() == 256 {
                    sender.send(std::mem::take(&mut files)).expect("received");
                }
            }
            sender.send(files).expect("received");
        });
    });
}

fn least_of_record(bytes: &[u8], key: &PublicKey) {
    let read = |text: &str| {
        let json = URL_SAFE_NO_PAD.decode(text).expect("base64url");
        serde_json::from_slice::<IgnoredAny>(&json).expect("JSON");
    };
    let text = std::str::from_utf8(bytes).expect("ASCII");
    let (core, disclosures) = text.split_once('~').expect("a view");
    black_box((leaf_hash(core.as_bytes()), Digest::of(core.as_bytes())));
    for disclosure in disclosures.split_terminator('~') {
        black_box(Digest::of(disclosure.as_bytes()));
        read(disclosure);
    }
    let (signed, signature) = core.rsplit_once('.').expect("three parts");
    let (_, payload) = signed.split_once('.').expect("three parts");
    read(payload);
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let signature = signature.try_into().expect("64 bytes");
    key.verify(signed.as_bytes(), &signature).expect("good");
}

fn argument(prefix: &str) -> Option<String> {
    std::env::args().find_map(|arg| arg.strip_prefix(prefix).map(str::to_owned))
}

fn trust(site: &SiteId) -> TrustAnchors {
    TrustAnchors::parse(format!("site {}\n", site.hex()).as_bytes()).expect("anchors")
}

fn judge(path: &Path, anchors: &TrustAnchors) -> Verdict {
    let outcome = verify(path, anchors, Options::default(), &|_| {}).expect("reads");
    let report = outcome.report;
    if report.verdict != Verdict::Proven {
        println!("{report}");
    }
    report.verdict
}

fn write(history: &History, path: &Path) {
    let mut views: Vec<(u64, &View)> = history
        .membership
        .iter()
        .chain(&history.feed)
        .map(|view| (view.clone().parse().expect("ours").claims().seq, view))
        .collect();
    views.sort_by_key(|(leaf, _)| *leaf);
    let leaves = views
        .iter()
        .map(|(_, view)| leaf_hash(view.core().as_bytes()))
        .collect();
    let newest = history.publications.last().expect("published");
    let mut target = Target::create(path).expect("creates");
    let mut writer = Writer::new(|name: &str, bytes: &[u8]| target.put(name, bytes));
    let source = LogSource {
        site: history.author.site,
        checkpoint: newest.checkpoint.clone(),
        older: vec![history.publications[0].checkpoint.clone()],
        keys: vec![(0, history.author.manifest.clone())],
        tree: Tree::new(leaves),
    };
    writer.log(source).expect("fits");
    for (leaf, view) in views.iter().skip(1) {
        writer.record(*leaf, view).expect("in order");
    }
    let _sink = writer.finish(None, Selection::default()).expect("small");
    target.finish().expect("written");
}
