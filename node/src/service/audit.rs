//! Parts of an audit bundle: a log's head, its leaf hashes, its records as they may be shown.
//!
//! What a bundle shows of our own log is everything, or what the circles of one reader disclose, by the same function that
//! decides what that reader is sent. Of a partner's log it is what the partner shows us. A key that a grant carries is
//! never handed out, to nobody.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fmesh_proto::{
    audit::bundle::Reason,
    circle::{ASKED_SLOTS, Circle, Object, permits},
    id::{CircleId, SiteId},
    kinds::Kind,
    publication::Publication,
    record::{Issued, View},
};

use super::{Error, Service, records::Wanted, sharing, today};
use crate::api::view::{AuditLeaf, AuditLeaves, AuditLog, List};

/// Which records of one log go into a bundle.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Leaves below this one only: those of the checkpoint that the bundle has.
    pub size: u64,
    /// What [`List::next`] said.
    pub after: Option<u64>,
    /// Earliest time that records claim, unix seconds.
    pub since: Option<u64>,
    /// Latest time that records claim, not included.
    pub until: Option<u64>,
    /// Kinds; none given: all.
    pub kinds: Vec<Kind>,
    /// Objects: our keys, ids, or beginnings of them; none given: all.
    pub objects: Vec<String>,
    /// As the circles of this partner disclose; our own log only.
    pub reader: Option<String>,
}

impl Service {
    /// The head of a log as this node holds it.
    pub fn audit_log(&self, who: &str) -> Result<AuditLog, Error> {
        let membership = self.membership();
        let site = self.site_of(&membership, Some(who))?;
        let head = {
            let _settled = self.node.store.settled();
            self.node.store.head(&site)?
        };
        let head = head.ok_or_else(|| {
            Error::conflict(
                format!("no checkpoint of {site} is here yet, so nothing can be proven"),
                "wait until the partner was connected once: fmesh status",
            )
        })?;
        let size = head.checkpoint.size();
        let mut keys = BTreeMap::from([(0, self.manifest_of(&site)?.encode())]);
        for view in self.node.store.membership()? {
            let parsed = view.clone().parse()?;
            let claims = parsed.claims();
            if claims.iss == site && claims.kind == Kind::Keys && claims.seq < size {
                keys.insert(claims.seq, view.encode());
            }
        }
        let text = |note: &[u8]| String::from_utf8_lossy(note).into_owned();
        // What witnesses cosigned says more than the same checkpoint without them.
        let mut older = self.older_checkpoints(&site, size)?;
        let mut newest = head.checkpoint;
        for kept in self.node.store.cosigned(&site)? {
            match kept.checkpoint.size() {
                at if at < size => drop(older.insert(at, text(kept.checkpoint.note()))),
                at if at == size && kept.checkpoint.root() == newest.root() => {
                    newest = kept.checkpoint;
                }
                _ => {}
            }
        }
        let forks = self.node.store.forks(Some(&site))?;
        Ok(AuditLog {
            site: self.site_name(&membership, &site),
            size,
            older: older.into_values().collect(),
            checkpoint: text(newest.note()),
            forks: forks.iter().map(|fork| text(&fork.text)).collect(),
            keys: keys.into_iter().collect(),
            made_by: self.node.site,
        })
    }

    /// Some of the checkpoints that came with publications, evenly over the log.
    fn older_checkpoints(&self, site: &SiteId, size: u64) -> Result<BTreeMap<u64, String>, Error> {
        let mut older = BTreeMap::new();
        for step in 0..OLDER_CHECKPOINTS {
            let leaf = size / OLDER_CHECKPOINTS * step
                + size % OLDER_CHECKPOINTS * step / OLDER_CHECKPOINTS;
            let found = self.node.store.publications(site, leaf, 0)?;
            let publication = found
                .first()
                .and_then(|bytes| Publication::decode(bytes).ok());
            if let Some(Publication { checkpoint, .. }) = publication
                && checkpoint.size() < size
            {
                let note = String::from_utf8_lossy(checkpoint.note()).into_owned();
                older.insert(checkpoint.size(), note);
            }
        }
        Ok(older)
    }

    /// Leaf hashes `from..to`, at most 65,536; fewer if not all are here.
    pub fn audit_leaves(&self, who: &str, from: u64, to: u64) -> Result<AuditLeaves, Error> {
        let site = self.site_of(&self.membership(), Some(who))?;
        let count = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
        let hashes = self
            .node
            .store
            .leaf_hashes(&site, from, count.min(LEAVES_PER_PAGE))?;
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        Ok(AuditLeaves {
            from,
            hashes: STANDARD.encode(bytes),
        })
    }

    /// A page of the records that this node holds of a log, `keys` records left out: each as it may be shown, or why not.
    pub fn audit_records(&self, who: &str, query: &AuditQuery) -> Result<List<AuditLeaf>, Error> {
        let membership = self.membership();
        let site = self.site_of(&membership, Some(who))?;
        let own = site == self.node.site;
        let disclosed = match query.reader.as_deref() {
            None => None,
            Some(_) if !own => {
                return Err(Error::request(
                    "only our own records can be shown as a partner may see them",
                    "leave --site out, or --to",
                ));
            }
            Some(reader) => Some(self.disclosed_to(&self.partner(&membership, reader)?.site)?),
        };
        // Every page asks again, and names have to be looked up only if there are any.
        let objects = match query.objects.is_empty() {
            true => Vec::new(),
            false => self.own_objects_if(&site)?,
        };
        let wanted = query
            .objects
            .iter()
            .map(|text| Wanted::from_text(text, &objects));
        let wanted: Vec<Wanted> = wanted.collect::<Result<_, _>>()?;
        let from = query.after.map_or(0, |after| after.saturating_add(1));
        let (mut items, mut next, mut bytes) = (Vec::new(), None, 0);
        for entry in self.node.store.records(&site, from) {
            let (leaf, view, _) = entry?;
            if leaf >= query.size {
                break;
            }
            if items.len() >= RECORDS_PER_PAGE || bytes >= PAGE_BYTES {
                next = leaf.checked_sub(1).map(|last| last.to_string());
                break;
            }
            let parsed = view.clone().parse()?;
            let claims = parsed.claims();
            if claims.kind == Kind::Keys {
                continue;
            }
            let selected = (query.kinds.is_empty() || query.kinds.contains(&claims.kind))
                && query.since.is_none_or(|since| claims.iat >= since)
                && query.until.is_none_or(|until| claims.iat < until)
                && (wanted.is_empty() || wanted.iter().any(|wanted| wanted.fits(claims)));
            let shown = match (&disclosed, selected) {
                (_, false) => Err(Reason::NotSelected),
                (None, true) => Ok(match claims.kind {
                    Kind::Grant => view.without(SECRET_SLOT)?,
                    _ => view,
                }),
                (Some(disclosed), true) => disclosed.view(leaf, &view)?.ok_or(Reason::NotDisclosed),
            };
            let record = shown.as_ref().ok().map(View::encode);
            bytes += record.as_ref().map_or(0, String::len);
            items.push(AuditLeaf {
                leaf,
                record,
                withheld: shown.err(),
            });
        }
        Ok(List::new(items, next))
    }

    /// What `reader` was shown by the circles that it is in now.
    fn disclosed_to(&self, reader: &SiteId) -> Result<Disclosed, Error> {
        let all = self.node.store.circles()?;
        let definitions: BTreeMap<CircleId, Circle> = sharing::circles_of(&all, reader)
            .into_iter()
            .map(|circle| (circle.id, circle.clone()))
            .collect();
        let mut opened = BTreeMap::<u64, BTreeMap<CircleId, BTreeSet<String>>>::new();
        let ids = definitions.keys().copied().chain([CircleId::MESH_WIDE]);
        for circle in ids.collect::<BTreeSet<_>>() {
            for entry in self.node.store.feed_entries(&circle, 0) {
                let entry = entry?;
                let circles = opened.entry(entry.seq).or_default();
                circles.insert(circle, entry.slots);
            }
        }
        Ok(Disclosed {
            definitions,
            opened,
        })
    }
}

/// What one reader was shown of our log.
struct Disclosed {
    /// Circles that it is in.
    definitions: BTreeMap<CircleId, Circle>,
    /// Leaf -> circles that it went to, with the slots that were opened for each.
    opened: BTreeMap<u64, BTreeMap<CircleId, BTreeSet<String>>>,
}

impl Disclosed {
    /// What was opened once, as far as the circles permit it today.
    fn view(&self, leaf: u64, archive: &View) -> Result<Option<View>, Error> {
        let Some(opened) = self.opened.get(&leaf) else {
            return Ok(None);
        };
        let issued = Issued::from_full_view(archive)?;
        let claims = &issued.claims;
        if claims.kind.is_plain() {
            return Ok(issued.view_of(opened));
        }
        let fields = issued.fields(&ASKED_SLOTS)?;
        let object = Object {
            kind: &claims.kind,
            id: &claims.id,
            fields: &fields,
        };
        let mut permitted = BTreeMap::new();
        for (circle, slots) in opened {
            let definition = self.definitions.get(circle);
            let decision = definition.map(|definition| permits(definition, object, today()));
            if let Some(now) = decision.as_ref().and_then(|decision| decision.slots()) {
                permitted.insert(*circle, now.intersection(slots).cloned().collect());
            }
        }
        Ok(issued.view_of(&permitted))
    }
}

/// The slot of a grant that carries an epoch key.
pub(super) const SECRET_SLOT: &str = "key";
/// Checkpoints besides the newest one.
const OLDER_CHECKPOINTS: u64 = 32;
/// Leaf hashes in one answer: 2 MiB.
const LEAVES_PER_PAGE: usize = 65_536;
/// Records in one answer.
const RECORDS_PER_PAGE: usize = 4_000;
/// Bytes of records after which an answer ends.
const PAGE_BYTES: usize = 16 << 20;
