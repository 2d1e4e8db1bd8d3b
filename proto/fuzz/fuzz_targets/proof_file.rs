//! `cargo +nightly fuzz run proof_file`: what must hold is said at [`fmesh_proto::fuzzing::proof_file`].
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fmesh_proto::fuzzing::proof_file(bytes);
});
