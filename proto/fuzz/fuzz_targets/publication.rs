//! `cargo +nightly fuzz run publication`: what must hold is said at [`fmesh_proto::fuzzing::publication`].
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fmesh_proto::fuzzing::publication(bytes);
});
