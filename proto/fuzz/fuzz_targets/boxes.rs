//! `cargo +nightly fuzz run boxes`: what must hold is said at [`fmesh_proto::fuzzing::boxes`].
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fmesh_proto::fuzzing::boxes(bytes);
});
