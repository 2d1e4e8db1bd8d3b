//! Signed records: lists, one of them, its bytes, and what an outsider needs to check it.

use std::collections::BTreeSet;

use fmesh_proto::{
    id::{ObjectId, SiteId},
    kinds::Kind,
    log::prove_inclusion,
    membership::{Act, Membership},
    note::{ProofFile, vkey},
    record::{Claims, Parsed, Verified, View},
};
use serde_json::Value;

use super::{Error, Service, audit::SECRET_SLOT, refs};
use crate::{
    api::view::{self, List, Record, RecordCore, RecordExport, RecordHead, Shown},
    store::{Ending, LocalObject},
    writer::endings::has_ended,
};

/// Which records of one log.
#[derive(Debug, Clone, Default)]
pub struct RecordQuery {
    /// Whose; `None` or `self` is our own log.
    pub of: Option<String>,
    /// Of this kind only.
    pub kind: Option<Kind>,
    /// Of this object only: our key for it, an id, or the beginning of one.
    pub object: Option<String>,
    /// Newest revisions only.
    pub current: bool,
    /// What [`List::next`] said.
    pub after: Option<u64>,
    /// Most records in the answer; 0 is 100, at most 1,000.
    pub limit: usize,
}

/// A record with these slots opened and no others, and nothing of the circles that it went to.
fn only(record: &Verified, slots: &BTreeSet<String>) -> Result<View, Error> {
    let kind = &record.claims().kind;
    let known = kind.slots();
    if let Some(other) = slots.iter().find(|slot| !known.contains(&slot.as_str())) {
        return Err(Error::request(
            format!("a {kind} has no slot {other:?}"),
            format!("its slots are {}", known.join(", ")),
        ));
    }
    if *kind == Kind::Grant && slots.contains(SECRET_SLOT) {
        return Err(Error::request(
            "the key of a grant is handed out to nobody",
            "name other slots",
        ));
    }
    record.view().opening(slots).map_err(|_| {
        Error::conflict(
            "not all of these slots are open to us, so we cannot hand them out",
            "fmesh record show says which are; their author has all of them",
        )
    })
}

impl Service {
    /// A page of a log, in its order. A page may hold fewer records than the limit, or none, and still have a next
    /// one: the search stops after a bounded number of records.
    pub fn records(&self, query: &RecordQuery) -> Result<List<RecordHead>, Error> {
        let membership = self.membership();
        let site = self.site_of(&membership, query.of.as_deref())?;
        let objects = self.own_objects_if(&site)?;
        let wanted = match query.object.as_deref() {
            Some(text) => Some(Wanted::from_text(text, &objects)?),
            None => None,
        };
        let endings = self.node.store.endings()?;
        let limit = match query.limit {
            0 => 100,
            limit => limit.min(1_000),
        };
        let from = query.after.map_or(0, |after| after.saturating_add(1));
        let (mut items, mut next) = (Vec::new(), None);
        for (looked, entry) in self.node.store.records(&site, from).enumerate() {
            let (seq, view, received) = entry?;
            if items.len() >= limit || looked >= RECORDS_LOOKED_AT_MAX {
                next = seq.checked_sub(1).map(|last| last.to_string());
                break;
            }
            let record = view.parse().map(Parsed::from_store)?;
            let claims = record.claims();
            let kind_fits = query.kind.as_ref().is_none_or(|kind| *kind == claims.kind);
            if !kind_fits || wanted.as_ref().is_some_and(|wanted| !wanted.fits(claims)) {
                continue;
            }
            if query.current && !self.is_current(claims)? {
                continue;
            }
            items.push(self.head(&membership, &record, received, &objects, &endings)?);
        }
        Ok(List::new(items, next))
    }

    /// One record, its signature checked once more.
    pub fn record(&self, of: Option<&str>, seq: u64) -> Result<Record, Error> {
        let membership = self.membership();
        let (record, received) = self.verified(&membership, of, seq)?;
        let claims = record.claims();
        let objects = self.own_objects_if(&claims.iss)?;
        let slot = |(name, held): (&String, &Option<Value>)| (name.clone(), shown(held.as_ref()));
        Ok(Record {
            head: self.head(
                &membership,
                &record,
                received,
                &objects,
                &self.node.store.endings()?,
            )?,
            mesh: claims.mesh,
            prev: claims.prev,
            leaf: record.leaf_hash(),
            slots: record.fields().iter().map(slot).collect(),
            feeds: record.feeds().to_vec(),
            feeds_total: u64::try_from(record.feeds_total()).unwrap_or(u64::MAX),
            delivery: self.record_delivery(&membership, &record)?,
            seen: self.seen(&membership, &claims.iss, seq)?,
        })
    }

    /// The signed bytes of one record, and the key that signed them.
    pub fn record_core(&self, of: Option<&str>, seq: u64) -> Result<RecordCore, Error> {
        let membership = self.membership();
        let (record, _) = self.verified(&membership, of, seq)?;
        let claims = record.claims();
        let keys = self.keys_of(&membership, &claims.iss)?;
        let key = match claims.kind {
            Kind::Keys => Some(keys.root()),
            _ => keys.record_key_at(seq),
        };
        Ok(RecordCore {
            site: self.site_name(&membership, &claims.iss),
            seq,
            core: record.view().core().to_owned(),
            key: key.map_or_else(String::new, |key| fmesh_proto::id::to_hex(key.as_bytes())),
        })
    }

    /// Three texts that an outsider can check without us: the record as we hold it or with these slots alone, a proof that its
    /// leaf is in the log under the newest checkpoint, and the author's key manifest.
    pub fn record_export(
        &self,
        of: Option<&str>,
        seq: u64,
        slots: &BTreeSet<String>,
    ) -> Result<RecordExport, Error> {
        let membership = self.membership();
        let (record, _) = self.verified(&membership, of, seq)?;
        let site = record.claims().iss;
        let head = self.node.store.head(&site)?.ok_or_else(|| {
            Error::conflict(
                format!("no checkpoint of {site} is here yet, so nothing can be proven"),
                "wait until the partner was connected once: fmesh status",
            )
        })?;
        // The newest that witnesses cosigned says more, if the record is in it.
        let cosigned = self.node.store.newest_cosigned(&site)?;
        let checkpoint = match cosigned.filter(|kept| kept.checkpoint.size() > seq) {
            Some(kept) => kept.checkpoint,
            None => head.checkpoint,
        };
        let size = checkpoint.size();
        let path = prove_inclusion(&self.node.store.nodes(&site), seq, size).ok_or_else(|| {
            Error::conflict(
                format!("leaf {seq} cannot be proven under the checkpoint of size {size}: the log's tree is not complete here yet"),
                "wait until catching up has finished: fmesh status",
            )
        })?;
        let keys = self.keys_of(&membership, &site)?;
        let vkey = vkey(checkpoint.origin(), &keys.current().log);
        let proof = ProofFile {
            index: seq,
            path,
            checkpoint,
        };
        Ok(RecordExport {
            site: self.site_name(&membership, &site),
            seq,
            record: match record.claims().kind {
                _ if !slots.is_empty() => only(&record, slots)?.encode(),
                Kind::Grant => record.view().without(SECRET_SLOT)?.encode(),
                _ => record.view().encode(),
            },
            proof: proof.encode(),
            manifest: self.manifest_of(&site)?.encode(),
            rotations: keys.views().iter().skip(1).map(View::encode).collect(),
            vkey,
        })
    }

    /// Leaf 0 of a site's log: our own, the stored one, or the one that its `admit` carries.
    pub(super) fn manifest_of(&self, site: &SiteId) -> Result<View, Error> {
        if *site == self.node.site {
            return Ok(self.node.manifest.clone());
        }
        if let Some((view, _)) = self.node.store.record(site, 0)? {
            return Ok(view);
        }
        for view in self.node.store.membership()? {
            let parsed = view.clone().parse()?;
            let claims = parsed.claims().clone();
            if claims.iss == *site && claims.kind == Kind::Keys && claims.seq == 0 {
                return Ok(view);
            }
            if claims.kind != Kind::Membership {
                continue;
            }
            let keys = self.keys_for_admits(&claims.iss)?;
            if let Some(keys) = keys
                && let Ok(record) = keys.verify(view)
                && let Ok(Act::Admit {
                    site: admitted,
                    manifest,
                    ..
                }) = Act::read(&known(&record))
                && admitted == *site
            {
                return Ok(manifest);
            }
        }
        Err(Error::not_found(
            format!("the key manifest of {site} is not here"),
            "fmesh partner list",
        ))
    }

    /// Keys of an author of membership records, if they are at hand without looking further.
    fn keys_for_admits(
        &self,
        site: &SiteId,
    ) -> Result<Option<fmesh_proto::keys::KeyHistory>, Error> {
        let membership = self.membership();
        if let Some(member) = membership.member(site) {
            return Ok(Some(member.keys.clone()));
        }
        let stored = self.node.store.record(site, 0)?;
        let keys = stored.map(|(view, _)| fmesh_proto::keys::KeyHistory::from_manifest(&view));
        Ok(keys.transpose()?.map(|(keys, _)| keys))
    }

    /// A stored record, verified again with the key that counts at its leaf.
    pub(super) fn verified(
        &self,
        membership: &Membership,
        of: Option<&str>,
        seq: u64,
    ) -> Result<(Verified, u64), Error> {
        let site = self.site_of(membership, of)?;
        let Some((view, received)) = self.node.store.record(&site, seq)? else {
            let size = self
                .node
                .store
                .head(&site)?
                .map_or(0, |head| head.frontier.size());
            let name = self.site_name(membership, &site).name;
            return Err(Error::not_found(
                if seq < size {
                    format!("leaf {seq} of {name} is not shown to us: only its hash is here")
                } else {
                    format!("the log of {name} has {size} leaves; there is no leaf {seq}")
                },
                format!(
                    "fmesh record list --partner {}",
                    super::sharing::quoted(&name)
                ),
            ));
        };
        let keys = self.keys_of(membership, &site)?;
        Ok((keys.verify(view)?, received))
    }

    fn head(
        &self,
        membership: &Membership,
        record: &Verified,
        received: u64,
        objects: &[LocalObject],
        endings: &[Ending],
    ) -> Result<RecordHead, Error> {
        let claims = record.claims();
        let key = objects
            .iter()
            .find(|object| object.kind == claims.kind && object.id == claims.id)
            .map(|object| object.key.clone());
        let void = !claims.kind.is_plain() && membership.voids(&claims.iss, claims.seq);
        Ok(RecordHead {
            site: self.site_name(membership, &claims.iss),
            seq: claims.seq,
            kind: claims.kind.clone(),
            id: claims.id,
            key,
            rev: claims.rev,
            current: self.is_current(claims)? && !void,
            void,
            retired: claims.retired,
            ended: has_ended(endings, record),
            signed: view::time(claims.iat),
            received: view::time(received),
            core: record.core_digest(),
        })
    }

    fn is_current(&self, claims: &Claims) -> Result<bool, Error> {
        let Claims { iss, kind, id, .. } = claims;
        Ok(self.node.store.current(iss, kind, id)? == Some(claims.seq))
    }

    /// Our objects, if `site` is ours; nobody else's objects have keys here.
    pub(super) fn own_objects_if(&self, site: &SiteId) -> Result<Vec<LocalObject>, Error> {
        if *site == self.node.site {
            Ok(self.node.store.objects(None)?)
        } else {
            Ok(Vec::new())
        }
    }
}

/// Which object a record must be about.
#[derive(Debug)]
pub(super) enum Wanted {
    /// One of ours.
    Own(Kind, ObjectId),
    /// Any whose id begins so.
    Begins(String),
}
impl Wanted {
    pub(super) fn from_text(text: &str, objects: &[LocalObject]) -> Result<Self, Error> {
        let kinds = [Kind::Site, Kind::Resource, Kind::Capacity];
        match refs::object(objects, &kinds, text) {
            Ok(object) => Ok(Self::Own(object.kind.clone(), object.id)),
            Err(Error::NotFound { .. }) if looks_like_id(text) => {
                Ok(Self::Begins(text.to_ascii_lowercase()))
            }
            Err(error) => Err(error),
        }
    }
    pub(super) fn fits(&self, claims: &Claims) -> bool {
        match self {
            Self::Own(kind, id) => *kind == claims.kind && *id == claims.id,
            Self::Begins(prefix) => claims.id.to_string().starts_with(prefix),
        }
    }
}

fn looks_like_id(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

fn known(record: &Verified) -> fmesh_proto::record::Fields {
    let fields = record.fields().iter();
    fields
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
        .collect()
}

/// The state of a slot that a view holds.
pub(super) fn shown(held: Option<&Value>) -> Shown<Value> {
    match held {
        None => Shown::Withheld,
        Some(Value::Null) => Shown::Unknown,
        Some(value) => Shown::Known(value.clone()),
    }
}

/// Records that one call looks at, so that it ends soon; the next call goes on.
const RECORDS_LOOKED_AT_MAX: usize = 20_000;

#[cfg(test)]
mod tests {
    use fmesh_proto::id::Digest;

    use super::*;

    fn claims(kind: Kind, byte: u8) -> Claims {
        Claims {
            mesh: None,
            iss: SiteId([1; 32]),
            log: 1,
            seq: 4,
            kind,
            id: ObjectId::from_random([byte; 16]),
            rev: 1,
            prev: None::<Digest>,
            iat: 0,
            retired: false,
        }
    }

    #[test]
    fn an_object_of_a_partner_is_named_by_its_id_only() {
        let wanted = Wanted::from_text("2121", &[]).unwrap();
        assert!(wanted.fits(&claims(Kind::Capacity, 0x21)));
        assert!(!wanted.fits(&claims(Kind::Capacity, 0x22)));
        for text in ["DMU-80", "", "capacity:x"] {
            let refused = Wanted::from_text(text, &[]);
            assert!(matches!(refused, Err(Error::NotFound { .. })), "{text}");
        }
    }

    #[test]
    fn withheld_unknown_and_known_are_told_apart() {
        assert_eq!(shown(None), Shown::Withheld);
        assert_eq!(shown(Some(&Value::Null)), Shown::Unknown);
        assert_eq!(shown(Some(&"0".into())), Shown::Known("0".into()));
    }
}
