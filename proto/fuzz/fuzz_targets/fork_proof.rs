//! `cargo +nightly fuzz run fork_proof`: what must hold is said at [`fmesh_proto::fuzzing::fork_proof`].
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fmesh_proto::fuzzing::fork_proof(bytes);
});
