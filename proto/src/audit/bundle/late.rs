//! Disclosures that a site hands out after a bundle was made: values of records that were redacted in it.
//!
//! The signature of a record covers the digests of all its slots, so a disclosure that fits one of them was signed with the
//! record, whenever it is shown. An auditor gives such views beside the bundle; they open more of its records, and of
//! each it is said whether it fits.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::super::Claim;
use crate::{
    id::Digest,
    record::{RecordError, View},
};

/// Views by the digest of their core.
pub(super) type ByCore = BTreeMap<Digest, View>;

/// What was handed out, and which of it the bundle's records take.
#[derive(Debug, Default)]
pub(super) struct Late {
    pub(super) views: Arc<ByCore>,
    fitting: BTreeSet<Digest>,
    refused: BTreeSet<Digest>,
}

impl Late {
    /// # Errors
    /// If views of one record are more than a record can have.
    pub(super) fn new(given: &[View]) -> Result<Self, RecordError> {
        let mut views = ByCore::new();
        for view in given {
            let core = Digest::of(view.core().as_bytes());
            let merged = match views.remove(&core) {
                Some(before) => before.merged(view)?,
                None => view.clone(),
            };
            views.insert(core, merged);
        }
        Ok(Self {
            views: Arc::new(views),
            ..Self::default()
        })
    }

    /// A record of this core was examined with what was handed out for it.
    pub(super) fn used(&mut self, core: Digest, fits: bool) {
        match fits {
            true => self.fitting.insert(core),
            false => self.refused.insert(core),
        };
    }

    /// Nothing, if nothing was handed out.
    pub(super) fn claim(&self) -> Option<Claim> {
        const ID: &str = "late-disclosures";
        let unused = self
            .views
            .keys()
            .find(|core| !self.fitting.contains(core) && !self.refused.contains(core));
        if let Some(core) = self.refused.first() {
            let text = format!(
                "what was handed out later for the record {} does not fit it",
                core.hex()
            );
            return Some(Claim::refuted(ID, text));
        }
        if let Some(core) = unused {
            let text = "what was handed out later opens a record that the bundle does not have";
            let missing = format!("the record whose core has the SHA-256 {}", core.hex());
            return Some(Claim::not_proven(ID, text, missing));
        }
        let n = self.views.len();
        (n > 0).then(|| {
            let text = format!(
                "what was handed out later opens {n} of the records; their signatures from before cover it"
            );
            Claim::proven(ID, text)
        })
    }
}

/// What was handed out later for the record of a core: does it fit?
pub(super) struct Fit {
    pub(super) core: Digest,
    pub(super) fits: Result<(), RecordError>,
}

/// A record as the bundle shows it, and with what was handed out later for it, if that fits.
pub(super) fn opened(view: View, late: &ByCore) -> (View, Option<Fit>) {
    if late.is_empty() {
        return (view, None);
    }
    let core = Digest::of(view.core().as_bytes());
    let Some(more) = late.get(&core) else {
        return (view, None);
    };
    let merged = view
        .merged(more)
        .and_then(|merged| merged.clone().parse().map(|_| merged));
    let (view, fits) = match merged {
        Ok(merged) => (merged, Ok(())),
        Err(why) => (view, Err(why)),
    };
    (view, Some(Fit { core, fits }))
}
