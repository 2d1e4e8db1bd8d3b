//! The operating keys: how they stand, and their rotation, of which the signing is the caller's.

use fmesh_proto::{circle::Audience, record::View};

use super::{Error, Service};
use crate::{
    api::view::{KeysDraft, KeysRotated, RotateRequest, SiteKeys, Trouble},
    net, writer,
};

impl Service {
    /// How the operating keys stand.
    pub fn site_keys(&self) -> Result<SiteKeys, Error> {
        let membership = self.membership();
        let history = self.keys_of(&membership, &self.node.site)?;
        let unaware = writer::keys::unaware(&self.node.store, &membership, &self.node.site)?;
        let circles = self.node.store.circles()?;
        let groups = circles
            .iter()
            .filter(|circle| matches!(circle.audience, Audience::Group { .. }));
        Ok(SiteKeys {
            site: self.site_name(&membership, &self.node.site),
            rotations: history.all().skip(1).count() as u64,
            record: history.current().record.fingerprint(),
            peer_id: net::peer_id(&history.current().transport),
            speaks_as: net::peer_id(&self.node.transport),
            unaware: unaware
                .iter()
                .map(|site| self.site_name(&membership, site))
                .collect(),
            groups: groups.count() as u64,
        })
    }

    /// Draws the next keys and says what the root is to sign.
    pub async fn draft_keys(&self) -> Result<KeysDraft, Error> {
        let draft = self.node.writer.draft_keys().await?;
        Ok(KeysDraft::new(self.node.site, &draft))
    }

    /// Takes the signed draft: the new keys count from the next leaf on.
    pub async fn rotate_keys(&self, asked: RotateRequest) -> Result<KeysRotated, Error> {
        let record = View::decode(asked.record.as_bytes()).map_err(|error| Error::Request {
            what: format!("the record cannot be read: {error}"),
            hint: "fmesh site rotate-keys makes it".to_owned(),
        })?;
        let writer = &self.node.writer;
        let done = writer.rotate_keys(record, asked.transport_now).await?;
        Ok(KeysRotated {
            seq: done.seq,
            groups: done.groups as u64,
            keys: self.site_keys()?,
        })
    }

    /// A rotation that is not over yet, for the operator to see.
    pub(super) fn keys_trouble(&self) -> Result<Option<Trouble>, Error> {
        let membership = self.membership();
        let Some(own) = membership.member(&self.node.site) else {
            return Ok(None);
        };
        if own.transport() == self.node.transport {
            return Ok(None);
        }
        let unaware = writer::keys::unaware(&self.node.store, &membership, &self.node.site)?;
        let names: Vec<String> = unaware
            .iter()
            .map(|site| self.site_name(&membership, site).name)
            .collect();
        Ok(Some(match names.is_empty() {
            true => Trouble {
                what: "the keys were rotated, and this node still speaks with its old PeerId; all partners know the new one, so the next start takes it".to_owned(),
                hint: Some("stop the node and start it again: fmesh run".to_owned()),
            },
            false => Trouble {
                what: format!(
                    "the keys were rotated, and this node still speaks with its old PeerId: not acknowledged yet by {}",
                    names.join(", ")
                ),
                hint: Some(
                    "wait for them, or put out who never comes back: fmesh partner remove".to_owned(),
                ),
            },
        }))
    }
}
