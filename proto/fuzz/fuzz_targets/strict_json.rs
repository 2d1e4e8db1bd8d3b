//! `cargo +nightly fuzz run strict_json`: what must hold is said at [`fmesh_proto::fuzzing::strict_json`].
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fmesh_proto::fuzzing::strict_json(bytes);
});
