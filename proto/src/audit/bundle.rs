//! The audit bundle: many records of several logs in one directory or tar, each file checkable alone.
//! PROTOCOL section 11; the format for implementers is `proto/FORMAT.md`.
//!
//! ```text
//! forks/<n>.fork-proof
//! logs/<site>/checkpoints/<size>            older checkpoints of the log, if there are any
//! logs/<site>/keys/<leaf>.sdjwt, .tlog-proof
//! logs/<site>/log/checkpoint                the newest one, with cosignatures
//! logs/<site>/log/tile/<L>/<N>[.p/<W>]      C2SP tlog-tiles: all leaf hashes
//! logs/<site>/records/<leaf>.sdjwt, .tlog-proof
//! manifest.json                             what was asked for and what is in here; nothing in it is trusted
//! withheld.json                             a reason for every leaf that is not shown
//! SHA256SUMS                                last
//! ```
//!
//! The files come in ascending order of their names' bytes, `SHA256SUMS` last, each name once: so a bundle can be
//! written and read in one pass, and what is missing, foreign or there twice shows at once. Keys, checkpoints and
//! leaf hashes of a log stand before its records, so a record is judged when it arrives and then forgotten.
//!
//! [`Writer`] makes a bundle, [`Verifier`] judges one. Both know no disk: a bundle is a sequence of names and
//! bytes. The checks of single records are handed to the caller, who may run them on every core ([`Examine`]). What stays
//! in memory is 64 bytes for a leaf, some 200 for a record, and what is bounded by [`KEPT_BYTES_MAX`].

mod chains;
mod examine;
mod late;
mod manifest;
mod name;
mod report;
mod seen;
mod tree;
mod verify;
mod write;

pub use self::{
    examine::{Check, Examine, Examined, Here, Item},
    manifest::{Reason, Selection},
    name::{LogFile, Name, Tile},
    report::{
        AnchorsSummary, BundleClaim, BundleReport, Change, Entry, Finding, LogSummary, Values,
    },
    seen::Seen,
    tree::Tree,
    verify::{Comparison, Conflict, KeptLog, Options, Outcome, Verifier, compare},
    write::{LogSource, WriteError, Writer},
};

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Path in the bundle, with `/`.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Longest `SHA256SUMS`: some 800,000 files. A larger bundle is refused; make one for each site or quarter.
pub const SUMS_BYTES_MAX: usize = 128 << 20;
/// Longest `withheld.json`.
pub const WITHHELD_BYTES_MAX: usize = 16 << 20;
/// Leaves of all logs in one bundle: their tree takes 256 MiB. More is refused.
pub const LEAVES_MAX: u64 = 1 << 22;
/// Files in one bundle; no `SHA256SUMS` lists more. The rest is refused unread.
pub const FILES_MAX: u64 = 1 << 20;
/// Logs in one bundle. More are refused; make several bundles.
pub const LOGS_MAX: usize = 4_096;
/// Bytes of what is kept until the end: fork proofs, `keys` records, checkpoints, tiles above the leaves. More is refused.
pub const KEPT_BYTES_MAX: u64 = 128 << 20;
/// Findings that a report names one by one; more are counted.
pub const FINDINGS_MAX: usize = 1_000;
/// Changes that a time line holds; more are counted.
pub const CHANGES_MAX: usize = 10_000;
/// Bytes of the records whose values a time line keeps; changes in further ones are counted.
pub const CHANGES_BYTES_MAX: u64 = 64 << 20;
/// Positions in feeds of one log that are compared. With more, the claim is not proven.
pub const FEED_POSITIONS_MAX: usize = 1 << 22;
/// Feed positions that two records claim and for which a fork proof is made; every other one is a finding only.
pub const CONFLICTS_MAX: usize = 16;
/// Batches of records that may be examined while the next files are read. A constant, so that a report does not depend
/// on the machine that made it.
pub const AHEAD: usize = 32;
/// Records in one. With [`AHEAD`] they take 110 MB if each is as long as it may be.
const BATCH: usize = 32;

#[cfg(test)]
mod tests;
