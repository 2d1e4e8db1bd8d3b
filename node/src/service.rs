//! What a person or a program may ask of the node, and in which words it answers.
//!
//! Reads look at [`Store`](crate::store::Store), the index and live facts; changes are checked here as far as a good error
//! message needs it, and then go through [`Writer`](crate::writer::Writer), which decides. Answers are types of
//! [`crate::api::view`], so terminal, API and programs get the same. Nothing here knows HTTP.
//!
//! Reading blocks on the disk: call it from a thread that may block.

mod audit;
mod circles;
mod delivery;
mod doctor;
mod error;
mod fields;
mod find;
mod import;
mod keys;
mod members;
mod mesh;
mod objects;
mod partners;
mod records;
mod refs;
mod sharing;
mod standing;
mod witness;

use std::sync::Arc;

use fmesh_proto::{
    id::{SiteId, fingerprint},
    keys::KeyHistory,
    membership::{Member, Membership, Removed},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

pub use self::{audit::AuditQuery, error::Error, records::RecordQuery};
use crate::{api::view::SiteName, node::Node};

/// A cheap handle to ask and change a running node.
#[derive(Debug, Clone)]
pub struct Service {
    node: Node,
}

impl Service {
    /// Over a running node.
    #[must_use]
    pub fn new(node: Node) -> Self {
        Self { node }
    }

    /// The store answers; used by `/health/ready`.
    pub fn ready(&self) -> Result<(), Error> {
        self.node.store.meta()?;
        Ok(())
    }

    fn membership(&self) -> Arc<Membership> {
        self.node.membership.borrow().clone()
    }

    fn site_name(&self, membership: &Membership, site: &SiteId) -> SiteName {
        let gone = || membership.removed().get(site)?.was.as_ref();
        let member = membership.member(site).or_else(gone);
        let member = member.map(|member| member.name.clone());
        let own = || (*site == self.node.site).then(|| self.node.config.name.clone());
        SiteName {
            site: *site,
            name: member.or_else(own).unwrap_or_else(|| site.to_string()),
            fingerprint: fingerprint(site.as_bytes()),
        }
    }

    /// The site that `text` means: `self`, our own name or id, or a partner.
    fn site_of(&self, membership: &Membership, text: Option<&str>) -> Result<SiteId, Error> {
        let own = self.node.site;
        match text {
            None | Some("self") => Ok(own),
            Some(text) if text == own.hex() => Ok(own),
            Some(text) => match refs::partner(membership, &own, text) {
                Err(Error::NotFound { .. }) if text == self.node.config.name => Ok(own),
                // What a site signed before it was put out stays here to be looked at.
                Err(error @ Error::NotFound { .. }) => match refs::removed(membership, text) {
                    Ok(Removed { was: Some(was), .. }) => Ok(was.site),
                    _ => Err(error),
                },
                found => found.map(|member| member.site),
            },
        }
    }

    /// Keys with which a site's records are read: a member's, our own, or those of the manifest that we hold.
    fn keys_of(&self, membership: &Membership, site: &SiteId) -> Result<KeyHistory, Error> {
        if let Some(keys) = membership.keys_of(site) {
            return Ok(keys.clone());
        }
        Ok(KeyHistory::from_manifest(&self.manifest_of(site)?)?.0)
    }

    fn partner<'a>(&self, membership: &'a Membership, text: &str) -> Result<&'a Member, Error> {
        refs::partner(membership, &self.node.site, text)
    }
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn unix(time: Timestamp) -> u64 {
    u64::try_from(time.as_second()).unwrap_or(0)
}

/// The day that circles are asked for: in UTC, so that it does not depend on where a node runs.
fn today() -> Date {
    now().to_zoned(TimeZone::UTC).date()
}
