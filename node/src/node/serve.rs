//! Answers to members' calls, read from the store.
//!
//! Who asks decides what may be answered. A feed is served by its issuer to the circle's members alone, and
//! [`permits`] is asked again for every record: what a circle may see now limits what it was once shown.

use std::collections::{BTreeMap, BTreeSet};

use fmesh_proto::{
    circle::{ASKED_SLOTS, Audience, Circle, History, Object, permits},
    directory,
    id::{CircleId, Digest, SiteId},
    kinds::Kind,
    limits,
    log::leaf_hash,
    membership::{Held, Membership},
    mesh::{Ask, compare, heads_digest, page::withhold},
    note::Checkpoint,
    record::{Issued, View},
    wire,
};

use super::pairs::Pairs;
use crate::store::{Entry, FeedEntry, Store, StoreError};

/// Publication bytes in one answer, below the sync message limit.
const PAGE_BYTES: usize = limits::SYNC_MESSAGE_BYTES_MAX - 16 * 1024;
/// Positions of a feed that are looked at for one answer: where most are withheld, it has few records.
const FEED_LOOKED_AT: usize = 16 * limits::FEED_BATCH_RECORDS_MAX;

/// Everything that serving needs; cheap to clone into a blocking task.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) store: Store,
    pub(super) site: SiteId,
    pub(super) pairs: std::sync::Arc<Pairs>,
    pub(super) membership: std::sync::Arc<Membership>,
    pub(super) mesh: fmesh_proto::id::MeshId,
}

impl Server {
    /// The answer, or a refusal in words.
    pub(super) fn answer(&self, to: &SiteId, ask: &Ask) -> wire::Response {
        // What a crash could make us forget is not told to anybody.
        let _settled = self.store.settled();
        let what = match ask {
            Ask::Heads {
                digest,
                directory,
                directory_after,
                witnessed,
                forked,
            } => self
                .heads(to, digest.as_ref())
                .and_then(|mut heads| {
                    heads.address = self.directory(directory.as_ref(), directory_after.as_ref())?;
                    self.evidence(&mut heads, witnessed.as_ref(), forked.as_ref())?;
                    Ok(heads)
                })
                .map(wire::response::What::Heads),
            Ask::Publications { site, from } => self
                .publications(site, *from)
                .map(wire::response::What::Publications),
            Ask::Feed { circle, after } => match self.feed(to, circle, *after) {
                Ok(Some(feed)) => Ok(wire::response::What::Feed(feed)),
                Ok(None) => return refusal("not-served", "this site has no such feed for you"),
                Err(error) => Err(error),
            },
            // Answered by the writer.
            Ask::Cosign { .. } => return refusal("malformed", "unknown call"),
            Ask::Checkpoints { site } => self
                .checkpoints(site)
                .map(wire::response::What::Checkpoints),
            Ask::Returned { from } => self.returned(to, *from).map(wire::response::What::Returned),
            Ask::Forks { site } => self.forks(site).map(wire::response::What::Forks),
            Ask::Membership { held, after } => self
                .membership(held, *after)
                .map(wire::response::What::Membership),
        };
        match what {
            Ok(what) => wire::Response { what: Some(what) },
            Err(error) => {
                tracing::error!(%error, "cannot answer a member");
                refusal("broken", "this site cannot read its store")
            }
        }
    }

    fn heads(
        &self,
        to: &SiteId,
        theirs: Option<&Digest>,
    ) -> Result<wire::HeadsResponse, StoreError> {
        let heads = self.store.heads()?;
        let digest = heads_digest(
            &self.membership,
            heads
                .iter()
                .map(|(site, h)| (*site, h.frontier.size(), h.frontier.root())),
        );
        let head = if theirs == Some(&digest) {
            Vec::new()
        } else {
            heads
                .iter()
                .filter(|(site, h)| self.membership.follows(site, h.frontier.size()))
                .map(|(site, h)| wire::Head {
                    site: site.0.to_vec(),
                    size: h.frontier.size(),
                    root: h.frontier.root().0.to_vec(),
                })
                .collect()
        };
        let mut feed = Vec::new();
        for circle in self.circles_of(to)?.into_keys() {
            let tail = self.store.feed_tail(&circle)?;
            if tail > 0 {
                feed.push(wire::FeedTail {
                    circle: circle.0.to_vec(),
                    feed_seq: tail,
                });
            }
        }
        Ok(wire::HeadsResponse {
            digest: digest.0.to_vec(),
            head,
            feed,
            address: Vec::new(),
            membership: self.membership.digest().0.to_vec(),
            ..wire::HeadsResponse::default()
        })
    }

    /// How far logs are cosigned, and whom fork proofs are held against.
    fn evidence(
        &self,
        heads: &mut wire::HeadsResponse,
        witnessed: Option<&Digest>,
        forked: Option<&Digest>,
    ) -> Result<(), StoreError> {
        let mut versions = self.store.cosigned_versions()?;
        versions.retain(|(site, _, _)| self.membership.member(site).is_some());
        let digest = compare::witnessed_digest(
            versions
                .iter()
                .map(|(site, size, by)| (*site, (*size, *by))),
        );
        heads.witnessed = digest.0.to_vec();
        if witnessed != Some(&digest) {
            let told = versions
                .into_iter()
                .map(|(site, size, cosignatures)| wire::Witnessed {
                    site: site.0.to_vec(),
                    size,
                    cosignatures,
                });
            heads.cosigned = told.collect();
        }
        let sites = self.store.forked()?;
        let digest = compare::forked_digest(sites.iter().copied());
        heads.forked = digest.0.to_vec();
        if forked != Some(&digest) {
            heads.fork = sites.iter().map(|site| site.0.to_vec()).collect();
        }
        Ok(())
    }

    /// The newest checkpoints of a log, to be compared and kept.
    fn checkpoints(&self, site: &SiteId) -> Result<wire::CheckpointsResponse, StoreError> {
        let note = |checkpoint: &Checkpoint| checkpoint.note().to_vec();
        let head = self.store.head(site)?;
        let cosigned = self.store.newest_cosigned(site)?;
        Ok(wire::CheckpointsResponse {
            head: head.map_or_else(Vec::new, |head| note(&head.checkpoint)),
            cosigned: cosigned.map_or_else(Vec::new, |kept| note(&kept.checkpoint)),
        })
    }

    /// A page of the asker's own records, as we were shown them.
    fn returned(&self, to: &SiteId, from: u64) -> Result<wire::ReturnedResponse, StoreError> {
        let mut answer = wire::ReturnedResponse::default();
        let mut bytes = 0;
        for entry in self.store.records(to, from) {
            let (seq, view, _) = entry?;
            let text = view.encode().into_bytes();
            bytes += text.len();
            let full = bytes > limits::FEED_BATCH_BYTES_MAX
                || answer.view.len() >= limits::FEED_BATCH_RECORDS_MAX;
            if full && !answer.view.is_empty() {
                answer.next = seq;
                break;
            }
            answer.view.push(text);
        }
        Ok(answer)
    }

    /// The first fork proofs against a site, as many as one answer carries.
    fn forks(&self, site: &SiteId) -> Result<wire::ForksResponse, StoreError> {
        let mut answer = wire::ForksResponse::default();
        let mut bytes = 0;
        for fork in self.store.forks(Some(site))? {
            bytes += fork.text.len();
            if bytes > PAGE_BYTES && !answer.proof.is_empty() {
                break;
            }
            answer.proof.push(fork.text);
        }
        Ok(answer)
    }

    /// A page of the directory, for somebody whose own is another.
    fn directory(
        &self,
        theirs: Option<&Digest>,
        after: Option<&SiteId>,
    ) -> Result<Vec<wire::AddressRecord>, StoreError> {
        let mut records = self.store.addresses()?;
        records.retain(|site, _| self.membership.member(site).is_some());
        Ok(directory::page(
            records.into_values().collect(),
            theirs,
            after,
        ))
    }

    fn publications(
        &self,
        site: &SiteId,
        from: u64,
    ) -> Result<wire::PublicationsResponse, StoreError> {
        Ok(wire::PublicationsResponse {
            publication: self.store.publications(site, from, PAGE_BYTES)?,
        })
    }

    /// Acts that somebody who holds this much lacks, as many as one answer carries.
    fn membership(
        &self,
        held: &[Held],
        after: Option<(SiteId, u64)>,
    ) -> Result<wire::MembershipResponse, StoreError> {
        let mut answer = wire::MembershipResponse::default();
        let mut bytes = 0;
        for (site, seq) in self.membership.lacking(held, after) {
            let Some((view, _)) = self.store.record(&site, seq)? else {
                continue;
            };
            let text = view.encode().into_bytes();
            bytes += text.len();
            if bytes > limits::MEMBERSHIP_BATCH_BYTES_MAX && !answer.view.is_empty() {
                answer.more = true;
                break;
            }
            answer.view.push(text);
        }
        Ok(answer)
    }

    /// A page of a feed of ours; `None` if `to` is not in the circle. What is older than the reader's entry into a group is
    /// given as the circle's history says, and is otherwise said to be withheld.
    fn feed(
        &self,
        to: &SiteId,
        circle: &CircleId,
        after: u64,
    ) -> Result<Option<wire::FeedResponse>, StoreError> {
        let circles = self.circles_of(to)?;
        let Some(definition) = circles.get(circle) else {
            return Ok(None);
        };
        let today = jiff::Timestamp::now()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date();
        let mut page = wire::FeedResponse {
            last: self.store.feed_tail(circle)?,
            ..wire::FeedResponse::default()
        };
        let entry = self.entry(to, circle, definition.as_ref())?;
        let mut begin = after;
        if entry.history == History::None && entry.after > after {
            let last = entry.after.min(page.last);
            withhold(&mut page, after + 1, last);
            begin = entry.after;
        }
        let mut bytes = 0;
        let mut next = begin.saturating_add(1);
        for feed_entry in self.store.feed_entries(circle, begin).take(FEED_LOOKED_AT) {
            let feed_entry = feed_entry?;
            let at = feed_entry.feed_seq;
            if at > next {
                // Given out before an old backup was put back, and not known here any more.
                withhold(&mut page, next, at - 1);
            }
            next = at + 1;
            // Of the past, the state as it is: nobody needs to know what has ended, or what is not shown any more.
            let only_state = at <= entry.after && entry.history == History::Current;
            if only_state && !self.is_current(&feed_entry)? {
                withhold(&mut page, at, at);
                continue;
            }
            let Some((archive, _)) = self.store.record(&self.site, feed_entry.seq)? else {
                break;
            };
            let (shown, is_state) =
                self.shown(&archive, circle, definition.as_ref(), &feed_entry, today)?;
            if only_state && !is_state {
                withhold(&mut page, at, at);
                continue;
            }
            let text = shown.encode().into_bytes();
            bytes += text.len();
            if bytes > limits::FEED_BATCH_BYTES_MAX && !page.view.is_empty() {
                break;
            }
            page.view.push(text);
            if page.view.len() == limits::FEED_BATCH_RECORDS_MAX {
                break;
            }
        }
        Ok(Some(page))
    }

    /// Where `reader` entered, in a group; everywhere else it was from the beginning.
    fn entry(
        &self,
        reader: &SiteId,
        circle: &CircleId,
        definition: Option<&Circle>,
    ) -> Result<Entry, StoreError> {
        let from_the_beginning = Entry {
            after: 0,
            history: History::All,
        };
        let is_group = |c: &Circle| matches!(c.audience, Audience::Group { .. });
        if !definition.is_some_and(is_group) {
            return Ok(from_the_beginning);
        }
        let secret = self.store.circle_secret(circle)?;
        let entry = secret.and_then(|secret| secret.entered.get(reader).copied());
        Ok(entry.unwrap_or(from_the_beginning))
    }

    /// No later revision of its object was signed.
    fn is_current(&self, entry: &FeedEntry) -> Result<bool, StoreError> {
        let current = self.store.current(&self.site, &entry.kind, &entry.id)?;
        Ok(current == Some(entry.seq))
    }

    /// What the circle is shown of one record: what it was shown when it was signed, as far as it may see it today. True
    /// if that says something of an object that lives.
    fn shown(
        &self,
        archive: &View,
        circle: &CircleId,
        definition: Option<&Circle>,
        entry: &FeedEntry,
        today: jiff::civil::Date,
    ) -> Result<(View, bool), StoreError> {
        let damaged =
            |what: String| StoreError::Corrupt(format!("own record {}: {what}", entry.seq));
        let issued = Issued::from_full_view(archive).map_err(|e| damaged(e.to_string()))?;
        let claims = &issued.claims;
        let slots: BTreeSet<String> = match (&claims.kind, definition) {
            (Kind::Keys | Kind::Membership, _) => BTreeSet::new(),
            // It is in its partner's feed and in no other.
            (kind, _) if kind.is_personal() => entry.slots.clone(),
            (_, None) => BTreeSet::new(),
            (kind, Some(definition)) => {
                let fields = issued
                    .fields(&ASKED_SLOTS)
                    .map_err(|e| damaged(e.to_string()))?;
                let object = Object {
                    kind,
                    id: &claims.id,
                    fields: &fields,
                };
                permits(definition, object, today)
                    .slots()
                    .map(|now| now.intersection(&entry.slots).cloned().collect())
                    .unwrap_or_default()
            }
        };
        debug_assert_eq!(
            leaf_hash(issued.core().as_bytes()),
            leaf_hash(archive.core().as_bytes())
        );
        let is_state = !slots.is_empty() && !claims.retired;
        let view = issued
            .view(circle, &slots)
            .ok_or_else(|| damaged("it does not go to the circle whose feed lists it".into()))?;
        Ok((view, is_state))
    }

    /// Circles of ours that `reader` is in, with their definitions where the operator made one: the mesh-wide one, the pairwise
    /// one (one for each pair of box keys), and its groups.
    pub(super) fn circles_of(
        &self,
        reader: &SiteId,
    ) -> Result<BTreeMap<CircleId, Option<Circle>>, StoreError> {
        let mut circles = BTreeMap::new();
        let Some(member) = self.membership.member(reader) else {
            return Ok(circles);
        };
        circles.insert(CircleId::MESH_WIDE, None);
        let to_reader = self.pairs.to(&self.mesh, &self.site, member).into_iter();
        circles.extend(to_reader.map(|pairwise| (pairwise, None)));
        for circle in self.store.circles()? {
            if circle.audience.includes(reader) {
                circles.insert(circle.id, Some(circle));
            }
        }
        Ok(circles)
    }

    /// Records that each partner has not acknowledged, over all circles that it is in ([`Self::circles_of`]). Each circle is
    /// read once, because a circle names its members, and in a large mesh both are many.
    pub(super) fn backlogs(&self) -> Result<BTreeMap<SiteId, u64>, StoreError> {
        let mut readers: BTreeMap<CircleId, BTreeSet<SiteId>> = BTreeMap::new();
        let members = self.membership.members();
        let partners: Vec<_> = members.filter(|member| member.site != self.site).collect();
        for member in &partners {
            let pairwise = self.pairs.to(&self.mesh, &self.site, member);
            for circle in pairwise.into_iter().chain([CircleId::MESH_WIDE]) {
                readers.entry(circle).or_default().insert(member.site);
            }
        }
        for circle in self.store.circles()? {
            let members = partners.iter().map(|member| member.site);
            let members = members.filter(|site| circle.audience.includes(site));
            readers.entry(circle.id).or_default().extend(members);
        }
        let mut backlogs = BTreeMap::new();
        for (circle, readers) in readers {
            let readership = self.store.readership(&self.site, &circle)?;
            for reader in readers {
                *backlogs.entry(reader).or_default() += readership.lacking(&reader)?;
            }
        }
        Ok(backlogs)
    }
}

fn refusal(code: &str, text: &str) -> wire::Response {
    wire::Response {
        what: Some(wire::response::What::Refusal(wire::Refusal {
            code: code.into(),
            text: text.into(),
        })),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod withheld;
