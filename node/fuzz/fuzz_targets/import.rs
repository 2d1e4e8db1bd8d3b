//! `cargo +nightly fuzz run import`: spreadsheets (CSV in any encoding, XLSX) and calendars. Whatever the bytes are, reading ends with
//! rows or with an error that says what to do; keys are there once each, and errors are listed up to their bound.
#![no_main]

use std::collections::BTreeSet;

use fmesh::import::{ERRORS_MAX, ImportError, Options, Rows, capacities_from, resources_from};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Calendars need a zone, weeks and a resource to be read to their end.
    let options = Options {
        zone: Some(jiff::tz::TimeZone::UTC),
        weeks: "2026-W49..W51".parse().ok(),
        resource: Some("DMU-80".to_owned()),
        ..Options::default()
    };
    holds(resources_from(bytes, &options));
    holds(capacities_from(bytes, &options));
});

fn holds<F>(read: Result<Rows<F>, ImportError>) {
    match read {
        Ok(rows) => {
            let keys: BTreeSet<&str> = rows.rows.iter().map(|row| row.key.as_str()).collect();
            assert_eq!(keys.len(), rows.rows.len(), "a key twice");
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.hint().is_empty());
            assert!(error.rows().len() <= ERRORS_MAX);
        }
    }
}
