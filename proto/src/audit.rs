//! Claims about records and what proves or refutes them. PROTOCOL section 11.
//!
//! An auditor holds some files, from anyone, and a short list of what they trust, from elsewhere
//! ([`TrustAnchors`]). [`verify_record`] takes both and answers claim by claim: *proven*, *refuted*,
//! or *not proven* with the missing evidence named. It reads no file, no clock and no network; the
//! same input gives the same [`Report`] everywhere and for ever.
//!
//! [`bundle`] does the same for many records of several logs at once, and [`fork`] for evidence that somebody
//! said two things that exclude each other.
//!
//! Two rules make the verdicts: a file that is *not given* leaves a claim not proven; a file that is
//! *given and does not hold* refutes it. The files never add to the trust anchors.

mod anchors;
mod author;
pub mod bundle;
pub mod fork;
pub(crate) mod place;
mod record;
mod report;

/// The site whose log a checkpoint's origin names.
#[must_use]
pub fn site_of_origin(origin: &str) -> Option<crate::id::SiteId> {
    place::parts(origin).map(|(_, site)| site)
}

pub use anchors::{AnchorError, TrustAnchors};
pub use record::verify_record;
pub use report::{Claim, RecordSummary, Report, SlotSummary, Verdict};

/// The files about one record, as bytes from anyone. Each may be absent but the record itself.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The exported record: a view, `core~disclosure~...~`.
    pub record: Vec<u8>,
    /// The `.tlog-proof` of the record: checkpoint, index, inclusion path.
    pub proof: Option<Vec<u8>>,
    /// The site's key manifest: a view of its `keys` record at leaf 0.
    pub manifest: Option<Vec<u8>>,
    /// Further `keys` records of the site (rotations of its operating keys), in log order.
    pub rotations: Vec<Vec<u8>>,
    /// A checkpoint of the same log that came another way: a signed note.
    pub checkpoint: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests;
