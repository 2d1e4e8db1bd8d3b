//! What a simulated site has on disk, and what its writer does with it.
//!
//! Maps instead of a database, and each change is whole: this part survives a crash. It follows a node's store
//! and writer closely enough that the machine cannot tell, and reads the rules about who may see what from
//! [`crate::circle::permits`] and the circles' audiences as a node does. It does not know the network.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
};

use rand_chacha::ChaCha8Rng;

use super::pool::Pool;
use crate::{
    circle::{self, Audience, Circle, EpochKey, History},
    directory,
    id::{CircleId, Digest, MeshId, ObjectId, SiteId},
    keys::{KeyHistory, OperatingKeys, RootKey, pairwise_circle, sign_manifest},
    kinds::Kind,
    limits,
    membership::{Held, Membership},
    mesh::{
        Ask, compare,
        follow::{Head, Incoming, Ledger, Reader, Refused, Taken},
        heads_digest,
        issue::{Author, Issuance, Item, Seal},
        not_cosigned,
        page::withhold,
        witness::{self, Cosigned, Judgement, Pledge},
    },
    note::Checkpoint,
    publication::Publication,
    record::{Fields, Issued, Verified, View},
    wire,
};

/// Publications in one answer, in bytes.
const PAGE_BYTES_MAX: usize = 128 * 1024;

/// Who a site is: its keys and its manifest.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) site: SiteId,
    pub(super) keys: OperatingKeys,
    pub(super) manifest: View,
    history: KeyHistory,
}

impl Identity {
    pub(super) fn new(number: usize, rng: &mut ChaCha8Rng) -> Self {
        let mut secret = [0; 32];
        rand_core::Rng::fill_bytes(rng, &mut secret);
        secret[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let root = RootKey::from_bytes(&secret);
        let keys = OperatingKeys::from_seed(&secret);
        let manifest = sign_manifest(&root, &keys.public(), 1_800_000_000, rng);
        let (history, _) = KeyHistory::from_manifest(&manifest).expect("signed a line ago");
        Self {
            site: root.site(),
            keys,
            manifest,
            history,
        }
    }
}

/// A circle that this site defines.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) circle: Circle,
    pub(super) seal: Seal,
    /// In a group: the feed's last position when each member entered, and what it is given of what was before.
    pub(super) entered: BTreeMap<SiteId, (u64, History)>,
}

/// An own object.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) kind: Kind,
    pub(super) rev: u64,
    pub(super) prev: Option<Digest>,
}

/// Everything on disk.
#[derive(Debug, Default)]
pub(super) struct Store {
    pool: Pool,
    pub(super) membership: Arc<Membership>,
    pub(super) heads: BTreeMap<SiteId, Head>,
    nodes: BTreeMap<SiteId, BTreeMap<(u8, u64), Digest>>,
    publications: BTreeMap<(SiteId, u64), Arc<Vec<u8>>>,
    /// Views as they came: the same record may come through several circles.
    pub(super) records: BTreeMap<(SiteId, u64), Vec<Arc<Verified>>>,
    pub(super) current: BTreeMap<(SiteId, Kind, ObjectId), u64>,
    pub(super) positions: BTreeMap<(SiteId, CircleId), u64>,
    /// Leaf at each position of a feed that was read.
    fed: BTreeMap<(SiteId, CircleId, u64), u64>,
    epoch_keys: BTreeMap<(SiteId, CircleId, u64), EpochKey>,
    pub(super) addresses: BTreeMap<SiteId, wire::AddressRecord>,
    /// (circle, reader) -> position that the reader acknowledged.
    pub(super) acknowledged: BTreeMap<(CircleId, SiteId), u64>,
    pub(super) refused: Vec<Refused>,
    /// What it cosigned last of each log.
    pledges: BTreeMap<SiteId, Pledge>,
    /// Newest cosigned checkpoint of each log.
    pub(super) cosigned: BTreeMap<SiteId, Checkpoint>,
    /// Fork proofs, by whom they are against.
    pub(super) forks: BTreeMap<SiteId, BTreeMap<Digest, Vec<u8>>>,
    /// Own records, everything opened; the manifest as the root signed it.
    archive: BTreeMap<u64, (View, Option<Issued>)>,
    feed: BTreeMap<(CircleId, u64), (u64, BTreeSet<String>)>,
    pub(super) tails: BTreeMap<CircleId, u64>,
    pub(super) circles: BTreeMap<CircleId, Own>,
    pub(super) objects: BTreeMap<ObjectId, Object>,
}

impl Store {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            pool,
            ..Self::default()
        }
    }

    /// Signs `items` and keeps everything of it.
    pub(super) fn issue(
        &mut self,
        who: &Identity,
        mesh: MeshId,
        items: Vec<Item>,
        iat: u64,
        rng: &mut ChaCha8Rng,
    ) -> (Issuance, bool) {
        let author = Author {
            mesh,
            site: who.site,
            keys: &who.keys,
            manifest: &who.manifest,
        };
        let members = items.iter().any(|item| item.kind.is_plain());
        let seals = self.circles.iter().map(|(id, own)| (*id, own.seal.clone()));
        let issuance = author
            .issue(
                self.heads.get(&who.site),
                &mut self.tails,
                &seals.collect(),
                items,
                iat,
                rng,
            )
            .expect("the simulator issues what keeps the rules");
        for signed in &issuance.records {
            for (circle, position, slots) in &signed.feeds {
                self.feed
                    .insert((*circle, *position), (signed.seq, slots.clone()));
            }
            self.archive
                .insert(signed.seq, (signed.archive.clone(), signed.issued.clone()));
            let verified = who
                .history
                .verify(signed.archive.clone())
                .expect("signed with the key that counts");
            if let Some(object) = self.objects.get_mut(&verified.claims().id) {
                object.prev = Some(verified.core_digest());
                object.rev = verified.claims().rev;
            }
            let verified = self.pool.record(&verified);
            self.records.insert((who.site, signed.seq), vec![verified]);
        }
        self.keep_log(
            who.site,
            issuance.head.clone(),
            issuance.nodes.iter().copied(),
            issuance
                .publications
                .iter()
                .map(|p| (p.from(), p.bytes().to_vec())),
        );
        let members = members && self.refresh_membership(&mesh);
        (issuance, members)
    }

    fn keep_log(
        &mut self,
        site: SiteId,
        head: Head,
        nodes: impl IntoIterator<Item = (u8, u64, Digest)>,
        publications: impl IntoIterator<Item = (u64, Vec<u8>)>,
    ) {
        self.heads.insert(site, head);
        self.nodes.entry(site).or_default().extend(
            nodes
                .into_iter()
                .map(|(level, index, hash)| ((level, index), hash)),
        );
        for (from, bytes) in publications {
            let bytes = self.pool.bytes(bytes);
            self.publications.insert((site, from), bytes);
        }
    }

    /// Opens, verifies and settles what came, without storing it.
    pub(super) fn read(&self, who: &Identity, mesh: MeshId, incoming: Incoming) -> Taken {
        let reader = Reader {
            me: who.site,
            mesh,
            keys: &who.keys,
            membership: &self.membership,
        };
        let held = match incoming {
            Incoming::Membership { .. } => self.membership_views(),
            _ => Vec::new(),
        };
        let read = || {
            let opened = reader.open(incoming, &held, self)?;
            let found = opened.found.iter();
            let results = found.map(|found| {
                let keys = opened.keys_for(found, &self.membership);
                self.pool
                    .verified(&found.view, keys, || reader.verify(&opened, found))
            });
            let results = results.collect();
            reader.settle(opened, results, self)
        };
        match read() {
            Ok(taken) => taken,
            Err(never) => match never {},
        }
    }

    /// Judges a call for a cosignature, and stores the pledge that it makes.
    pub(super) fn pledge(
        &mut self,
        who: &Identity,
        mesh: &MeshId,
        of: &SiteId,
        checkpoint: &Checkpoint,
        now: u64,
    ) -> (wire::Response, Option<Pledge>) {
        let keys = self.membership.keys_of(of);
        let views = keys.map(KeyHistory::views).unwrap_or_default();
        let empty = BTreeMap::new();
        let nodes = self.nodes.get(of).unwrap_or(&empty);
        let last = self.pledges.get(of);
        match witness::judge(checkpoint, &views, self.heads.get(of), nodes, last, now) {
            Judgement::Sign(pledge) => {
                self.pledges.insert(*of, pledge);
                let line = pledge
                    .cosign(checkpoint, mesh, &who.site, who.keys.witness())
                    .expect("the pledge is for this checkpoint");
                let what = wire::response::What::Cosign(wire::CosignResponse {
                    line: line.line().into_bytes(),
                    size: pledge.size,
                });
                (wire::Response { what: Some(what) }, Some(pledge))
            }
            Judgement::NotYet(size) | Judgement::Larger(size) => (not_cosigned(size), None),
            Judgement::Fork(proof) => {
                let text = proof.encode().into_bytes();
                let held = self.forks.entry(*of).or_default();
                held.insert(Digest::of(&text), text);
                (not_cosigned(0), None)
            }
        }
    }

    /// Cosigned checkpoints, as the machine is told at start.
    pub(super) fn known_cosigned(&self, mesh: &MeshId) -> Vec<Cosigned> {
        let notes = self.cosigned.values();
        notes
            .filter_map(|note| Cosigned::check(note.note(), mesh, &self.membership).ok())
            .collect()
    }

    /// Keeps new fork proofs within the bound, and leaves only those in `taken`.
    pub(super) fn keep_forks(&mut self, taken: &mut Taken) {
        taken.forks.retain(|(site, proof)| {
            let text = proof.encode().into_bytes();
            let held = self.forks.entry(*site).or_default();
            let room = held.len() < limits::FORKS_PER_SITE_MAX;
            room && held.insert(Digest::of(&text), text).is_none()
        });
    }

    fn version(note: &Checkpoint) -> (u64, usize) {
        (note.size(), note.signers().count())
    }

    /// Stores it. True if members may have changed.
    pub(super) fn keep(&mut self, mesh: &MeshId, taken: &Taken) -> bool {
        for (site, seq) in &taken.dropped {
            self.records.remove(&(*site, *seq));
            self.current
                .retain(|(of, _, _), at| of != site || at != seq);
        }
        if let Some((site, head)) = &taken.head {
            let publications = taken.publications.clone();
            self.keep_log(
                *site,
                head.clone(),
                taken.nodes.iter().copied(),
                publications,
            );
        }
        let mut members = !taken.dropped.is_empty();
        for record in &taken.records {
            let claims = record.claims();
            let views = self.records.entry((claims.iss, claims.seq)).or_default();
            if views.iter().all(|held| held.view() != record.view()) {
                views.push(self.pool.record(record));
                // A newcomer's manifest came with its admission; only the founder's own is news.
                members |= claims.kind == Kind::Membership
                    || (claims.kind == Kind::Keys
                        && (claims.seq > 0 || self.membership.members().next().is_none()));
            }
        }
        for (site, kind, id, seq) in &taken.current {
            self.current.insert((*site, kind.clone(), *id), *seq);
        }
        for (issuer, circle, position, seq) in &taken.fed {
            self.fed.insert((*issuer, *circle, *position), *seq);
        }
        for (issuer, circle, position) in &taken.feeds {
            let held = self.positions.entry((*issuer, *circle)).or_default();
            *held = (*held).max(*position);
        }
        for (issuer, circle, epoch, key) in &taken.granted {
            self.epoch_keys
                .insert((*issuer, *circle, *epoch), key.clone());
        }
        for (site, note, _) in &taken.cosigned {
            let newer = |held: &Checkpoint| Self::version(note) > Self::version(held);
            if self.cosigned.get(site).is_none_or(newer) {
                self.cosigned.insert(*site, note.clone());
            }
        }
        self.refused.extend(taken.refused.iter().cloned());
        members && self.refresh_membership(mesh)
    }

    fn refresh_membership(&mut self, mesh: &MeshId) -> bool {
        let records: Vec<Arc<Verified>> = self
            .records
            .values()
            .filter_map(|views| views.first())
            .filter(|record| record.claims().kind.is_plain())
            .cloned()
            .collect();
        let next = self.pool.membership(mesh, &records);
        // Without the founder's manifest there are acts and no members.
        let changed = next.digest() != self.membership.digest()
            || next.members().len() != self.membership.members().len();
        self.membership = next;
        changed
    }

    /// `keys` and `membership` records, as partners get them.
    pub(super) fn membership_views(&self) -> Vec<View> {
        self.records
            .values()
            .filter_map(|views| views.first())
            .filter(|record| record.claims().kind.is_plain())
            .map(|record| record.view().clone())
            .collect()
    }

    /// What a reader may be shown of an own object: circle by circle, as `permits` says.
    pub(super) fn permitted(
        &self,
        kind: &Kind,
        id: &ObjectId,
        fields: &Fields,
    ) -> BTreeMap<CircleId, BTreeSet<String>> {
        let object = circle::Object { kind, id, fields };
        self.circles
            .iter()
            .filter_map(|(id, own)| {
                let slots = circle::permits(&own.circle, object, TODAY).slots()?.clone();
                Some((*id, slots))
            })
            .collect()
    }

    /// The circle `who -> to`, made on first use; grants go through it.
    pub(super) fn pairwise(&mut self, who: &Identity, mesh: &MeshId, to: SiteId) -> CircleId {
        let their_box = self
            .membership
            .member(&to)
            .expect("circles are made with members")
            .keys
            .current()
            .boxed;
        let id = pairwise_circle(&who.keys, &their_box, mesh, &who.site, &to);
        self.circles.entry(id).or_insert_with(|| Own {
            circle: Circle {
                id,
                name: format!("to {to}"),
                audience: Audience::Pairwise { to },
                rules: Vec::new(),
                purpose: None,
                until: None,
                history: Default::default(),
                on_end: Default::default(),
            },
            seal: Seal::Pairwise(their_box),
            entered: BTreeMap::new(),
        });
        id
    }

    /// The answer to a member's call.
    pub(super) fn serve(&self, to: &SiteId, ask: &Ask) -> wire::Response {
        use wire::response::What;
        let what = match ask {
            Ask::Heads {
                digest,
                directory,
                directory_after,
                witnessed,
                forked,
            } => {
                let mut heads = self.heads_for(to, *digest);
                self.evidence_for(&mut heads, *witnessed, *forked);
                let mut told = self.addresses.clone();
                told.retain(|site, _| self.membership.member(site).is_some());
                heads.address = directory::page(
                    told.into_values().collect(),
                    directory.as_ref(),
                    directory_after.as_ref(),
                );
                What::Heads(heads)
            }
            Ask::Publications { site, from } => {
                What::Publications(self.publications_from(site, *from))
            }
            Ask::Feed { circle, after } => match self.feed_for(to, circle, *after) {
                Some(page) => What::Feed(page),
                None => What::Refusal(wire::Refusal {
                    code: "not-served".into(),
                    text: "no feed of this name is for you".into(),
                }),
            },
            // Answered when the pledge is on disk.
            Ask::Cosign { .. } => return not_cosigned(0),
            Ask::Checkpoints { site } => What::Checkpoints(wire::CheckpointsResponse {
                head: self
                    .heads
                    .get(site)
                    .map_or_else(Vec::new, |head| head.checkpoint.note().to_vec()),
                cosigned: self
                    .cosigned
                    .get(site)
                    .map_or_else(Vec::new, |note| note.note().to_vec()),
            }),
            Ask::Returned { from } => {
                let records = self.records.range((*to, *from)..=(*to, u64::MAX));
                let views = records.flat_map(|(_, views)| views.iter());
                let page = views.take(limits::FEED_BATCH_RECORDS_MAX);
                What::Returned(wire::ReturnedResponse {
                    view: page
                        .map(|record| record.view().encode().into_bytes())
                        .collect(),
                    next: 0,
                })
            }
            Ask::Forks { site } => What::Forks(wire::ForksResponse {
                proof: self.forks.get(site).map_or_else(Vec::new, |proofs| {
                    proofs.values().take(1).cloned().collect()
                }),
            }),
            Ask::Membership { held, after } => What::Membership(self.acts_for(held, *after)),
        };
        wire::Response { what: Some(what) }
    }

    fn acts_for(&self, held: &[Held], after: Option<(SiteId, u64)>) -> wire::MembershipResponse {
        let mut answer = wire::MembershipResponse::default();
        let mut bytes = 0;
        for place in self.membership.lacking(held, after) {
            let Some(record) = self.records.get(&place).and_then(|views| views.first()) else {
                continue;
            };
            let text = record.view().encode().into_bytes();
            bytes += text.len();
            if bytes > limits::MEMBERSHIP_BATCH_BYTES_MAX && !answer.view.is_empty() {
                answer.more = true;
                break;
            }
            answer.view.push(text);
        }
        answer
    }

    pub(super) fn digest(&self) -> Digest {
        heads_digest(
            &self.membership,
            self.heads
                .iter()
                .map(|(site, head)| (*site, head.frontier.size(), head.frontier.root())),
        )
    }

    fn heads_for(&self, to: &SiteId, theirs: Option<Digest>) -> wire::HeadsResponse {
        let digest = self.digest();
        let head = match theirs == Some(digest) {
            true => Vec::new(),
            false => self
                .heads
                .iter()
                .filter(|(site, head)| self.membership.follows(site, head.frontier.size()))
                .map(|(site, head)| wire::Head {
                    site: site.0.to_vec(),
                    size: head.frontier.size(),
                    root: head.frontier.root().0.to_vec(),
                })
                .collect(),
        };
        let readable = self
            .tails
            .iter()
            .filter(|(circle, _)| self.may_read(to, circle));
        wire::HeadsResponse {
            digest: digest.0.to_vec(),
            head,
            feed: readable
                .map(|(circle, tail)| wire::FeedTail {
                    circle: circle.0.to_vec(),
                    feed_seq: *tail,
                })
                .collect(),
            address: Vec::new(),
            membership: self.membership.digest().0.to_vec(),
            ..wire::HeadsResponse::default()
        }
    }

    /// How far logs are cosigned, and whom fork proofs are held against.
    fn evidence_for(
        &self,
        heads: &mut wire::HeadsResponse,
        witnessed: Option<Digest>,
        forked: Option<Digest>,
    ) {
        let versions: Vec<(SiteId, (u64, u32))> = self
            .cosigned
            .iter()
            .filter(|(site, _)| self.membership.member(site).is_some())
            .map(|(site, note)| (*site, (note.size(), note.signers().count() as u32 - 1)))
            .collect();
        let digest = compare::witnessed_digest(versions.iter().copied());
        heads.witnessed = digest.0.to_vec();
        if witnessed != Some(digest) {
            let told = versions
                .iter()
                .map(|(site, (size, cosignatures))| wire::Witnessed {
                    site: site.0.to_vec(),
                    size: *size,
                    cosignatures: *cosignatures,
                });
            heads.cosigned = told.collect();
        }
        let sites = || self.forks.keys().copied();
        let digest = compare::forked_digest(sites());
        heads.forked = digest.0.to_vec();
        if forked != Some(digest) {
            heads.fork = sites().map(|site| site.0.to_vec()).collect();
        }
    }

    fn may_read(&self, to: &SiteId, circle: &CircleId) -> bool {
        *circle == CircleId::MESH_WIDE
            || self
                .circles
                .get(circle)
                .is_some_and(|own| own.circle.audience.includes(to))
    }

    fn publications_from(&self, site: &SiteId, from: u64) -> wire::PublicationsResponse {
        // The publication that contains `from` may begin before it.
        let start = self
            .publications
            .range((*site, 0)..=(*site, from))
            .next_back()
            .map_or(from, |((_, start), _)| *start);
        let mut publication = Vec::new();
        let mut bytes_total = 0;
        let mut next = None;
        for ((_, start), bytes) in self.publications.range((*site, start)..=(*site, u64::MAX)) {
            let size = Publication::decode(bytes).map_or(*start, |publication| publication.size());
            if size <= from && next.is_none() {
                continue;
            }
            if next.is_some_and(|next| next != *start) {
                break;
            }
            bytes_total += bytes.len();
            if bytes_total > PAGE_BYTES_MAX && next.is_some() {
                break;
            }
            publication.push(bytes.to_vec());
            next = Some(size);
        }
        wire::PublicationsResponse { publication }
    }

    /// A page of a feed of ours. What is older than the reader's entry into a group is given as the circle's history says.
    fn feed_for(&self, to: &SiteId, circle: &CircleId, after: u64) -> Option<wire::FeedResponse> {
        if !self.may_read(to, circle) {
            return None;
        }
        let mut page = wire::FeedResponse {
            last: self.tails.get(circle).copied().unwrap_or(0),
            ..wire::FeedResponse::default()
        };
        let own = self.circles.get(circle);
        let entry = own.and_then(|own| own.entered.get(to).copied());
        let (entered, history) = entry.unwrap_or((0, History::All));
        let mut begin = after;
        if history == History::None && entered > after {
            withhold(&mut page, after + 1, entered);
            begin = entered;
        }
        let mut bytes = 0;
        let entries = self
            .feed
            .range((*circle, begin.saturating_add(1))..=(*circle, u64::MAX));
        for ((_, at), (seq, slots)) in entries.take(limits::FEED_BATCH_RECORDS_MAX) {
            if *at <= entered && history == History::Current && !self.is_state(seq) {
                withhold(&mut page, *at, *at);
                continue;
            }
            let text = match self.archive.get(seq)? {
                (_, Some(issued)) => issued.view(circle, slots)?.encode(),
                (manifest, None) => manifest.encode(),
            };
            bytes += text.len();
            if bytes > limits::FEED_BATCH_BYTES_MAX && !page.view.is_empty() {
                break;
            }
            page.view.push(text.into_bytes());
        }
        Some(page)
    }

    /// No later revision of the object of this own record was signed.
    fn is_state(&self, seq: &u64) -> bool {
        let issued = self
            .archive
            .get(seq)
            .and_then(|(_, issued)| issued.as_ref());
        issued.is_some_and(|issued| {
            let object = self.objects.get(&issued.claims.id);
            object.is_some_and(|object| object.rev == issued.claims.rev)
        })
    }

    /// Takes everybody who is no member out of the circles: the pairwise ones end, in groups the present key is no more
    /// good. Gives (circle, who was in it).
    pub(super) fn shut_out_strangers(&mut self) -> Vec<(CircleId, SiteId)> {
        let membership = Arc::clone(&self.membership);
        let out = |site: &SiteId| membership.member(site).is_none();
        let mut gone = Vec::new();
        self.circles
            .retain(|id, own| match &mut own.circle.audience {
                Audience::MeshWide => true,
                Audience::Pairwise { to } => {
                    let ends = out(to);
                    gone.extend(ends.then_some((*id, *to)));
                    !ends
                }
                Audience::Group { members } => {
                    gone.extend(
                        members
                            .iter()
                            .filter(|site| out(site))
                            .map(|site| (*id, *site)),
                    );
                    members.retain(|site| !out(site));
                    own.entered.retain(|site, _| !out(site));
                    true
                }
            });
        gone
    }

    /// What whoever has this site's keys reads in a publication, if it is of a circle that was for it.
    pub(super) fn opens(&self, who: &Identity, mesh: MeshId, bytes: &[u8]) -> Vec<View> {
        let Ok(publication) = Publication::decode(bytes) else {
            return Vec::new();
        };
        let site = publication.site;
        let mut views = Vec::new();
        for sealed in &publication.sealed {
            let Some(circle) = CircleId::from_slice(&sealed.circle) else {
                continue;
            };
            let context = circle::SealContext {
                mesh,
                site,
                circle,
                epoch: sealed.epoch,
                from: publication.from(),
                size: publication.size(),
            };
            // Every key it has, whatever circle and epoch the box names.
            for key in self.epoch_keys.values() {
                views.extend(
                    circle::open_group(key, &context, sealed)
                        .into_iter()
                        .flatten(),
                );
            }
            if let Some(keys) = self.membership.keys_of(&site) {
                let theirs = keys.current().boxed;
                let opened = circle::open_pairwise(&who.keys, &theirs, &context, sealed);
                views.extend(opened.into_iter().flatten());
            }
        }
        views
    }

    /// Every publication that is kept.
    pub(super) fn publications(&self) -> Vec<Vec<u8>> {
        self.publications
            .values()
            .map(|bytes| bytes.to_vec())
            .collect()
    }

    pub(super) fn size(&self, site: &SiteId) -> u64 {
        self.heads.get(site).map_or(0, |head| head.frontier.size())
    }

    /// Strips the content from publications that begin before leaf `before`, as retention does.
    pub(super) fn prune(&mut self, site: &SiteId, before: u64) {
        for (_, bytes) in self.publications.range_mut((*site, 0)..(*site, before)) {
            if let Ok(publication) = Publication::decode(bytes) {
                *bytes = self.pool.bytes(publication.stripped());
            }
        }
    }
}

impl Ledger for Store {
    type Error = Infallible;
    fn head(&self, site: &SiteId) -> Result<Option<Head>, Infallible> {
        Ok(self.heads.get(site).cloned())
    }
    fn leaf(&self, site: &SiteId, seq: u64) -> Result<Option<Digest>, Infallible> {
        Ok(self
            .nodes
            .get(site)
            .and_then(|nodes| nodes.get(&(0, seq)))
            .copied())
    }
    fn node(&self, site: &SiteId, level: u8, index: u64) -> Result<Option<Digest>, Infallible> {
        let nodes = self.nodes.get(site);
        Ok(nodes.and_then(|nodes| nodes.get(&(level, index)).copied()))
    }
    fn view(&self, site: &SiteId, seq: u64) -> Result<Option<View>, Infallible> {
        let views = self.records.get(&(*site, seq));
        Ok(views.and_then(|views| Some(views.first()?.view().clone())))
    }
    fn held(&self, site: &SiteId, seq: u64) -> Result<Option<Digest>, Infallible> {
        Ok(self
            .records
            .get(&(*site, seq))
            .and_then(|views| views.first())
            .map(|record| record.leaf_hash()))
    }
    fn current(
        &self,
        site: &SiteId,
        kind: &Kind,
        id: &ObjectId,
    ) -> Result<Option<u64>, Infallible> {
        Ok(self.current.get(&(*site, kind.clone(), *id)).copied())
    }
    fn feed_position(&self, issuer: &SiteId, circle: &CircleId) -> Result<u64, Infallible> {
        Ok(self
            .positions
            .get(&(*issuer, *circle))
            .copied()
            .unwrap_or(0))
    }
    fn epoch_key(
        &self,
        issuer: &SiteId,
        circle: &CircleId,
        epoch: u64,
    ) -> Result<Option<EpochKey>, Infallible> {
        Ok(self.epoch_keys.get(&(*issuer, *circle, epoch)).cloned())
    }
    fn fed(
        &self,
        issuer: &SiteId,
        circle: &CircleId,
        feed_seq: u64,
    ) -> Result<Option<u64>, Infallible> {
        let seq = self.fed.get(&(*issuer, *circle, feed_seq)).copied();
        Ok(seq.filter(|seq| self.records.contains_key(&(*issuer, *seq))))
    }
    fn is_granted(&self, issuer: &SiteId, circle: &CircleId) -> Result<bool, Infallible> {
        Ok(self
            .epoch_keys
            .range((*issuer, *circle, 0)..=(*issuer, *circle, u64::MAX))
            .next()
            .is_some())
    }
}

/// The day on which everything here happens.
const TODAY: jiff::civil::Date = jiff::civil::date(2026, 11, 23);
