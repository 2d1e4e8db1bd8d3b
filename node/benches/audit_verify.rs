//! How fast a bundle is verified, against the signature check alone, and how much memory that takes.
//!
//! `cargo bench -p fmesh --bench audit_verify` (arguments after `--`: `records=N`, `rounds=N`)
//!
//! The raw figure is one `verify_strict` for each record, of the same bytes, on every core at once. The bundle's figure is the whole way from
//! a tar on disk to the report: reading, SHA-256 of every file, form, signature, disclosures, the kind's rules, leaf, proof, revisions and
//! feeds. Both are measured in turns, and each counts with its best round, because other work on the machine only ever slows down. Memory is
//! the peak (VmHWM) of a process of its own that only verifies.

mod support;

use std::{path::Path, process::Command, thread};

use fmesh::bundle::{Target, verify};
use fmesh_proto::{
    audit::{
        TrustAnchors, Verdict,
        bundle::{LogSource, Options, Selection, Tree, Writer},
    },
    id::SiteId,
    log::leaf_hash,
    record::View,
};
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
    let (mut raw, mut bundle) = (0_f64, 0_f64);
    for round in 1..=rounds {
        let ((), took) = timed(|| verify_raw(&key, &signed, cores));
        let raw_now = rate(records, took);
        let (verdict, took) = timed(|| judge(&path, &anchors));
        assert_eq!(verdict, Verdict::Proven);
        let bundle_now = rate(records, took);
        println!("round {round}: raw {raw_now:.0}/s, bundle {bundle_now:.0}/s");
        raw = raw.max(raw_now);
        bundle = bundle.max(bundle_now);
    }
    println!("raw verify_strict   {raw:>8.0} records/s on {cores} cores");
    println!("whole bundle        {bundle:>8.0} records/s");
    println!("ratio               {:>8.0} %", bundle / raw * 100.0);
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
