//! `cargo +nightly fuzz run config`: a configuration file gives settings, or problems that name what is wrong.
#![no_main]

use std::path::Path;

use fmesh::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(problems) = Config::parse(text, Path::new("site")) {
        assert!(!problems.is_empty());
        assert!(problems.iter().all(|problem| !problem.what.is_empty()));
    }
});
