//! What has arrived where: of a circle, of a partner, of a record. From what readers acknowledged, and only from that.

use fmesh_proto::{
    circle::{Circle, History},
    id::{CircleId, SiteId},
    membership::Membership,
    record::Verified,
};

use super::{Error, Service};
use crate::{
    api::view::{self, Delivered, Delivery, RecordDelivery},
    store::{FeedEntry, Readership},
};

impl Service {
    /// How far each reader of a circle is.
    pub(super) fn delivery_of(
        &self,
        membership: &Membership,
        circle: &Circle,
    ) -> Result<Vec<Delivery>, Error> {
        let readership = self.node.store.readership(&self.node.site, &circle.id)?;
        let readers = membership.members().map(|member| member.site);
        let readers = readers.filter(|site| self.reads(circle, site));
        readers
            .map(|site| self.delivery(membership, &readership, Some(&circle.name), &site))
            .collect()
    }

    /// How far one partner is in each circle of ours that it is in.
    pub(super) fn delivery_to(
        &self,
        membership: &Membership,
        circles: &[Circle],
        partner: &SiteId,
    ) -> Result<Vec<Delivery>, Error> {
        let own = circles.iter().filter(|circle| self.reads(circle, partner));
        let mut named: Vec<_> = own.map(|c| (c.id, Some(c.name.as_str()))).collect();
        // All members read that, whether or not the operator defined a circle for them.
        if named.iter().all(|(id, _)| *id != CircleId::MESH_WIDE) {
            named.push((CircleId::MESH_WIDE, None));
        }
        named
            .into_iter()
            .map(|(circle, name)| {
                let readership = self.node.store.readership(&self.node.site, &circle)?;
                self.delivery(membership, &readership, name, partner)
            })
            .collect()
    }

    fn reads(&self, circle: &Circle, site: &SiteId) -> bool {
        *site != self.node.site && circle.audience.includes(site)
    }

    fn delivery(
        &self,
        membership: &Membership,
        readership: &Readership<'_>,
        circle_name: Option<&str>,
        partner: &SiteId,
    ) -> Result<Delivery, Error> {
        let circle = *readership.circle();
        let acks = self.node.store.feed_acks(&circle, partner)?;
        let newest = acks.last().copied();
        Ok(Delivery {
            circle,
            circle_name: circle_name.map(str::to_owned),
            partner: self.site_name(membership, partner),
            has: newest.map_or(0, |(position, _)| position),
            since: newest.map(|(_, at)| view::time(at)),
            last: readership.tail(),
            lacks: readership.lacking(partner)?,
        })
    }

    /// Where a record of ours has arrived.
    pub(super) fn record_delivery(
        &self,
        membership: &Membership,
        record: &Verified,
    ) -> Result<Vec<RecordDelivery>, Error> {
        let claims = record.claims();
        if claims.iss != self.node.site {
            return Ok(Vec::new());
        }
        let circles = self.node.store.circles()?;
        let mut found = Vec::new();
        for (id, position) in record.feeds() {
            let circle = circles.iter().find(|circle| circle.id == *id);
            let (id, circle_name) = match circle {
                Some(circle) => (circle.id, Some(circle.name.clone())),
                None if *id == CircleId::MESH_WIDE => (*id, None),
                // A circle that is gone, or a partner's own, which has grants alone.
                None => continue,
            };
            let entry = FeedEntry {
                feed_seq: *position,
                seq: claims.seq,
                kind: claims.kind.clone(),
                id: claims.id,
                slots: Default::default(),
            };
            let mut of_circle = RecordDelivery {
                circle: id,
                circle_name,
                delivered: Vec::new(),
                waiting: Vec::new(),
            };
            for member in membership.members() {
                let reads = circle.map_or(member.site != self.node.site, |circle| {
                    self.reads(circle, &member.site)
                });
                if !reads || !self.is_for(&id, &entry, &member.site)? {
                    continue;
                }
                let partner = self.site_name(membership, &member.site);
                let acks = self.node.store.feed_acks(&id, &member.site)?;
                match acks.into_iter().find(|(has, _)| has >= position) {
                    Some((_, at)) => of_circle.delivered.push(Delivered {
                        partner,
                        by: view::time(at),
                    }),
                    None => of_circle.waiting.push(partner),
                }
            }
            found.push(of_circle);
        }
        Ok(found)
    }

    /// Is this for a reader, seeing when it entered?
    fn is_for(&self, circle: &CircleId, at: &FeedEntry, reader: &SiteId) -> Result<bool, Error> {
        let store = &self.node.store;
        let secret = store.circle_secret(circle)?;
        let entered = secret.and_then(|secret| secret.entered.get(reader).copied());
        Ok(match entered {
            Some(entry) if at.feed_seq <= entry.after => match entry.history {
                History::None => false,
                History::All => true,
                History::Current => {
                    store.current(&self.node.site, &at.kind, &at.id)? == Some(at.seq)
                }
            },
            _ => true,
        })
    }
}
