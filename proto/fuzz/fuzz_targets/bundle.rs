//! `cargo +nightly fuzz run bundle`: what must hold is said at [`fmesh_proto::fuzzing::bundle`].
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fmesh_proto::fuzzing::bundle(bytes);
});
