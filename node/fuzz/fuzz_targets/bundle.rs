//! `cargo +nightly fuzz run bundle`: an audit bundle as a tar from anybody. There is always a report, and nothing is proven about a site
//! whose keys nobody has.
#![no_main]

use std::sync::OnceLock;

use fmesh::bundle::verify_tar;
use fmesh_proto::{
    audit::{TrustAnchors, Verdict, bundle::Options},
    keys::RootKey,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|tar: &[u8]| {
    static ANCHORS: OnceLock<TrustAnchors> = OnceLock::new();
    let anchors = ANCHORS.get_or_init(|| {
        let site = RootKey::from_bytes(&[99; 32]).site();
        TrustAnchors::parse(format!("site {}\n", site.hex()).as_bytes()).expect("one good line")
    });
    let report = verify_tar(tar, anchors, Options::default(), &|_| {}).report;
    assert!(!report.to_string().is_empty());
    assert_ne!(report.verdict, Verdict::Proven);
});
