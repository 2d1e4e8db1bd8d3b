//! What we lack, and whom we ask for it; what the answers mean.

use prost::Message as _;

use super::{
    CALLS_PER_PEER, COSIGNS_BURST, COSIGNS_PER_SECOND, Call, FEEDS_PER_ISSUER_MAX, GOSSIP_WORK_MAX,
    Incoming, Mesh, Output, PAGES_AHEAD, PUBLICATIONS_BURST, PUBLICATIONS_PER_SECOND, Progress,
    RETRY_MS, Verdict, WORKS_AHEAD_MAX, Work, page::FeedPage, pause, wrap,
};
use crate::{
    id::{CircleId, SiteId},
    limits,
    publication::Publication,
    record::View,
    wire,
};

impl Mesh {
    pub(super) fn say_hello(&mut self, site: SiteId) {
        let hello = self.hello();
        if let Some(peer) = self.peers.get_mut(&site) {
            peer.hello_at = None;
        }
        self.call(site, Call::Hello, wire::request::What::Hello(hello));
    }

    /// Hellos that got no answer are said again, unless the other side's own came meanwhile.
    pub(super) fn greet_again(&mut self) {
        let due: Vec<SiteId> = self
            .connected_peers()
            .filter(|(_, peer)| peer.hello_at.is_some_and(|at| at <= self.now))
            .map(|(site, _)| site)
            .collect();
        for site in due {
            self.say_hello(site);
        }
    }

    /// What this node says of itself on every connection.
    #[must_use]
    pub fn hello(&self) -> wire::Hello {
        wire::Hello {
            mesh: self.mesh.0.to_vec(),
            version: limits::PROTOCOL_VERSION,
            boot_id: self.boot_id,
            clock: self.unix,
            software: self.software.clone(),
            address: self.own_record.clone(),
            membership: self.membership.digest().0.to_vec(),
        }
    }

    /// A peer's hello, by call or answer. A new `boot_id` beside a connection that we thought alive means that the peer
    /// restarted: gossipsub would never hear its subscriptions (rust-libp2p issue 5097), so everything to it is closed
    /// and dialled anew.
    pub(super) fn on_hello(&mut self, from: SiteId, hello: wire::Hello) {
        if hello.mesh != self.mesh.0 || hello.version != limits::PROTOCOL_VERSION {
            self.misbehaved(from, "speaks for another mesh or protocol version");
            self.out.push_back(Output::Disconnect { site: from });
            return;
        }
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        match peer.boot_id {
            Some(known) if known != hello.boot_id => {
                peer.boot_id = None;
                self.out.push_back(Output::Disconnect { site: from });
                return;
            }
            _ => peer.boot_id = Some(hello.boot_id),
        }
        peer.hello_done = true;
        peer.hello_at = None;
        peer.failures = 0;
        peer.quiet_until = 0;
        if let Some(record) = hello.address {
            self.learn(record);
        }
        self.on_set(from, &hello.membership);
        self.want_heads(&from);
    }

    /// Marks that `site` should be asked for its heads soon.
    pub(super) fn want_heads(&mut self, site: &SiteId) {
        if let Some(peer) = self.peers.get_mut(site) {
            peer.heads_wanted |= peer.connected;
        }
    }

    pub(super) fn nudge_all(&mut self) {
        for peer in self.peers.values_mut() {
            peer.heads_wanted |= peer.connected;
        }
    }

    pub(super) fn ask_heads(&mut self) {
        let due: Vec<SiteId> = self
            .connected_peers()
            .filter(|(_, peer)| peer.heads_due().is_some_and(|at| at <= self.now))
            .map(|(site, _)| site)
            .collect();
        for site in due {
            let digest = self.heads_digest().0.to_vec();
            let feed = self
                .feeds
                .range((site, CircleId([0; 16]))..=(site, CircleId([255; 16])))
                .map(|((_, circle), feed)| wire::FeedTail {
                    circle: circle.0.to_vec(),
                    feed_seq: feed.position,
                })
                .collect();
            if let Some(peer) = self.peers.get_mut(&site) {
                peer.heads_wanted = false;
                peer.heads_open = true;
                peer.heads_asked_at = Some(self.now);
            }
            let request = wire::HeadsRequest {
                digest,
                feed,
                directory: self.directory_digest().0.to_vec(),
                directory_after: self.directory_after.map_or_else(Vec::new, |s| s.0.to_vec()),
                membership: self.membership.digest().0.to_vec(),
                witnessed: self.own_witnessed().0.to_vec(),
                forked: self.own_forked().0.to_vec(),
            };
            self.call(site, Call::Heads, wire::request::What::Heads(request));
        }
    }

    /// For each log that somebody connected has more of: ask one of them, the author first.
    pub(super) fn pull_logs(&mut self) {
        let mut free = self.free_calls();
        let mut asks: Vec<(SiteId, u64, SiteId)> = Vec::new();
        for (site, log) in self.logs.open() {
            if free.is_empty() {
                break;
            }
            let ours = *site == self.me;
            if log.fetching || log.contradicted || (ours && !self.asking.is_behind()) {
                continue;
            }
            let has_more = |peer: &&SiteId| {
                log.claims.get(*peer).is_some_and(|size| *size > log.size)
                    && free.contains_key(*peer)
            };
            let author = Some(site).filter(has_more);
            let Some(peer) = author.or_else(|| log.claims.keys().find(has_more)).copied() else {
                continue;
            };
            if !self.membership.follows(site, log.size) {
                continue;
            }
            asks.push((*site, log.size, peer));
            if let Some(left) = free.get_mut(&peer) {
                *left -= 1;
                if *left == 0 {
                    free.remove(&peer);
                }
            }
        }
        for (site, from, peer) in asks {
            if let Some(log) = self.logs.get_mut(&site) {
                log.fetching = true;
            }
            self.call(
                peer,
                Call::Publications(site),
                wire::request::What::Publications(wire::PublicationsRequest {
                    site: site.0.to_vec(),
                    from,
                }),
            );
        }
    }

    /// For each feed with more for us: ask its issuer, if connected. The next pages are asked for while the writer is
    /// busy with those before; only what is on disk is acknowledged.
    pub(super) fn pull_feeds(&mut self) {
        let pages = match self.works.len() < WORKS_AHEAD_MAX {
            true => PAGES_AHEAD,
            false => 1,
        };
        let wanted: Vec<(SiteId, CircleId, u64, u64)> = self
            .feeds
            .open()
            .filter(|((issuer, _), feed)| {
                feed.tail > feed.end()
                    && !feed.fetching
                    && feed.writing < pages
                    && feed.not_before <= self.now
                    && self.is_connected(issuer)
                    // Records are checked against leaf hashes: the log comes first.
                    && self.logs.get(issuer).is_some_and(|log| {
                        log.size > 0
                            && !log.contradicted
                            && !log.fetching
                            && log.claims.get(issuer).is_none_or(|size| *size <= log.size)
                    })
            })
            .map(|((issuer, circle), feed)| (*issuer, *circle, feed.end(), feed.position))
            .collect();
        for (issuer, circle, after, held) in wanted {
            if self.open_calls(&issuer) >= CALLS_PER_PEER {
                continue;
            }
            if let Some(feed) = self.feeds.get_mut(&(issuer, circle)) {
                feed.fetching = true;
            }
            self.call(
                issuer,
                Call::Feed(issuer, circle, after),
                wire::request::What::Feed(wire::FeedRequest {
                    circle: circle.0.to_vec(),
                    after,
                    held,
                }),
            );
        }
    }

    /// A call is over: what it was for may be asked for again.
    pub(super) fn call_over(&mut self, call: Call) {
        self.pull_due = true;
        match call {
            Call::Publications(site) => {
                if let Some(log) = self.logs.get_mut(&site) {
                    log.fetching = false;
                }
            }
            Call::Feed(issuer, circle, _) => {
                if let Some(feed) = self.feeds.get_mut(&(issuer, circle)) {
                    feed.fetching = false;
                }
            }
            Call::Checkpoints(site) => {
                if let Some(log) = self.logs.get_mut(&site) {
                    log.comparing = false;
                }
            }
            Call::Hello
            | Call::Heads
            | Call::Membership
            | Call::Cosign(..)
            | Call::Forks(_)
            | Call::Returned => {}
        }
    }

    /// A call brought nothing: ask somebody else, or the same one later, and later each time.
    fn failed(&mut self, from: SiteId, call: Call) {
        self.call_over(call);
        match call {
            Call::Hello => {
                if let Some(peer) = self.peers.get_mut(&from).filter(|p| !p.hello_done) {
                    peer.hello_at = Some(self.now + RETRY_MS);
                }
            }
            Call::Heads => self.ask_again(from),
            Call::Publications(site) => self.misled(from, site),
            Call::Feed(issuer, circle, _) => self.missed(issuer, circle),
            Call::Membership => self.membership_failed(from),
            Call::Cosign(size, tries) => self.cosign_failed(from, size, tries),
            // Told again with the next heads.
            Call::Checkpoints(_) | Call::Forks(_) => {}
            Call::Returned => self.gave_back(&from),
        }
    }

    /// A peer did not show what it claimed of a log: it has to claim it again.
    fn misled(&mut self, from: SiteId, site: SiteId) {
        if site == self.me {
            self.claimed_idly(from);
        }
        if let Some(log) = self.logs.get_mut(&site) {
            log.claims.remove(&from);
        }
        self.ask_again(from);
    }

    fn ask_again(&mut self, from: SiteId) {
        let now = self.now;
        if let Some(peer) = self.peers.get_mut(&from).filter(|p| p.connected) {
            peer.quiet_until = now + pause(peer.failures);
            peer.failures = peer.failures.saturating_add(1);
            peer.heads_wanted = true;
        }
    }

    /// An answer of a feed brought nothing.
    fn missed(&mut self, issuer: SiteId, circle: CircleId) {
        if let Some(feed) = self.feeds.get_mut(&(issuer, circle)) {
            feed.not_before = self.now + pause(feed.misses + 1);
            feed.misses = feed.misses.saturating_add(1).min(16);
        }
    }

    pub(super) fn on_response(
        &mut self,
        from: SiteId,
        id: u64,
        result: Result<wire::Response, String>,
    ) {
        let Some((to, call)) = self.calls.remove(&id) else {
            return;
        };
        self.pull_due = true;
        if to != from {
            self.call_over(call);
            return;
        }
        if call == Call::Heads
            && let Some(peer) = self.peers.get_mut(&from)
        {
            peer.heads_open = false;
        }
        let answer = result.ok().and_then(|response| response.what);
        match (call, answer) {
            (Call::Hello, Some(wire::response::What::Hello(hello))) => self.on_hello(from, hello),
            (Call::Heads, Some(wire::response::What::Heads(heads))) => self.on_heads(from, heads),
            (Call::Publications(site), Some(wire::response::What::Publications(page))) => {
                self.on_publications(from, site, page);
            }
            (Call::Feed(issuer, circle, after), Some(wire::response::What::Feed(page))) => {
                self.on_feed(issuer, circle, after, page);
            }
            (Call::Membership, Some(wire::response::What::Membership(answer))) => {
                self.on_membership(from, answer);
            }
            (Call::Cosign(size, tries), Some(wire::response::What::Cosign(answer))) => {
                self.on_cosigned(from, size, tries, answer);
            }
            (Call::Checkpoints(site), Some(wire::response::What::Checkpoints(answer))) => {
                self.call_over(call);
                self.on_checkpoints(from, site, answer);
            }
            (Call::Returned, Some(wire::response::What::Returned(answer))) => {
                self.on_returned(from, answer);
            }
            (Call::Forks(_), Some(wire::response::What::Forks(answer))) => {
                self.on_forks(from, answer);
            }
            (Call::Feed(issuer, circle, _), Some(wire::response::What::Refusal(refusal)))
                if refusal.code == "not-served" =>
            {
                // Not for us, or not any more: its issuer will say so if that changes.
                self.call_over(call);
                if let Some(feed) = self.feeds.get_mut(&(issuer, circle)) {
                    feed.tail = feed.position;
                }
            }
            (call, None | Some(wire::response::What::Refusal(_))) => self.failed(from, call),
            (call, Some(_)) => {
                self.misbehaved(from, "answered something else than was asked");
                self.failed(from, call);
            }
        }
    }

    fn on_heads(&mut self, from: SiteId, heads: wire::HeadsResponse) {
        self.on_set(from, &heads.membership);
        self.on_witnessed(from, &heads);
        let ours = self.own_everything();
        let theirs = self.everything(&heads.digest, &heads.witnessed, &heads.forked);
        let mut ahead = false;
        let me = self.me;
        let own = heads.head.iter().find(|head| head.site == me.0);
        let told = match heads.digest == self.heads_digest().0 {
            true => None,
            false => Some(own.map_or(0, |head| head.size)),
        };
        self.heard_of_own(from, told);
        for head in heads.head {
            let Some(site) = SiteId::from_slice(&head.site) else {
                continue;
            };
            if site == self.me {
                continue;
            }
            let held = self.logs.get(&site).map_or(0, |log| log.size);
            if !self.membership.follows(&site, held) {
                continue;
            }
            let log = self.logs.or_default(site);
            if head.size > log.size {
                self.claimed(site, from, head.size);
                ahead = true;
            } else if head.size == log.size
                && head.size > 0
                && log.root.is_some_and(|root| root.0 != head.root[..])
            {
                // Of one size there is one log: its signed checkpoint tells who is wrong.
                log.suspect = Some(from);
                self.pull_due = true;
            }
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.compared = Some((theirs, ours));
            if !ahead {
                peer.failures = 0;
            }
        }
        for tail in heads.feed {
            if let Some(circle) = CircleId::from_slice(&tail.circle) {
                self.on_tail(from, circle, tail.feed_seq);
            }
        }
        self.on_directory(heads.address);
    }

    /// An issuer says how far a feed goes that we may read: also of one that we did not know, because the box that
    /// would have told us was lost.
    fn on_tail(&mut self, issuer: SiteId, circle: CircleId, tail: u64) {
        let of_issuer = (issuer, CircleId([0; 16]))..=(issuer, CircleId([255; 16]));
        let known = self.feeds.contains_key(&(issuer, circle));
        if !known && (tail == 0 || self.feeds.range(of_issuer).count() >= FEEDS_PER_ISSUER_MAX) {
            return;
        }
        let feed = self.feeds.or_default((issuer, circle));
        if tail > feed.tail {
            feed.tail = tail;
            feed.not_before = 0;
        }
    }

    /// A page of publications: each is checked; the run that continues our log is taken as one work.
    fn on_publications(&mut self, from: SiteId, site: SiteId, page: wire::PublicationsResponse) {
        let size = self.logs.get(&site).map_or(0, |log| log.size);
        let mut run = Vec::new();
        let mut next = size;
        for bytes in page.publication {
            match self.checked(&site, &bytes) {
                Ok(publication) if publication.from() <= next && publication.size() > next => {
                    next = publication.size();
                    run.push(publication);
                }
                Ok(_) => {}
                Err(why) => {
                    self.misbehaved(from, why);
                    break;
                }
            }
        }
        if !run.is_empty() {
            self.take(Work::Log(site, from), Incoming::Publications { site, run });
            return;
        }
        self.call_over(Call::Publications(site));
        if self.claim(&site, &from) <= size {
            // Gossip was faster.
        } else {
            self.misled(from, site);
        }
    }

    fn claim(&self, site: &SiteId, peer: &SiteId) -> u64 {
        self.logs
            .get(site)
            .and_then(|log| log.claims.get(peer))
            .copied()
            .unwrap_or(0)
    }

    fn on_feed(&mut self, issuer: SiteId, circle: CircleId, after: u64, page: wire::FeedResponse) {
        let (asked, last) = (page.view.len(), page.last);
        let views = self.views(issuer, page.view);
        let whole = views.len() == asked;
        let page = match FeedPage::read(after, views, &page.withheld, last) {
            Ok(page) if whole => Some(page),
            Ok(_) => None,
            Err(why) => {
                self.misbehaved(
                    issuer,
                    format!("answered with a page of a feed that does not add up: {why}"),
                );
                None
            }
        };
        let Some(feed) = self.feeds.get_mut(&(issuer, circle)) else {
            return;
        };
        feed.fetching = false;
        feed.tail = last.max(feed.position);
        if after > feed.end() {
            // A page before this one was not taken: it comes again first.
            return;
        }
        let Some(page) = page.filter(|page| page.end() > after) else {
            if feed.tail > feed.end() {
                self.missed(issuer, circle);
            }
            return;
        };
        let end = page.end();
        feed.given = feed.given.max(end);
        feed.writing += 1;
        self.take(
            Work::Feed(issuer, circle, end),
            Incoming::Feed {
                issuer,
                circle,
                page,
            },
        );
    }

    /// A page is on disk up to where it ends, or what is missing of it is asked for again, and all after it.
    fn on_page_taken(&mut self, issuer: SiteId, circle: CircleId, end: u64, progress: &Progress) {
        let feed = self.feeds.or_default((issuer, circle));
        feed.writing = feed.writing.saturating_sub(1);
        let reached = progress
            .feeds
            .iter()
            .filter(|(i, c, _)| *i == issuer && *c == circle)
            .map(|(_, _, position)| *position)
            .max();
        if reached.is_some_and(|position| position > feed.position) {
            feed.misses = 0;
        }
        let position = feed.position.max(reached.unwrap_or(0));
        if position >= end || feed.given <= position {
            return;
        }
        feed.given = position;
        if position == feed.position {
            self.missed(issuer, circle);
        }
    }

    /// Bounded decoding of a list of views; a peer that sends other things is blamed and gives nothing.
    pub(super) fn views(&mut self, from: SiteId, list: Vec<Vec<u8>>) -> Vec<View> {
        let views: Result<Vec<View>, _> = list.iter().map(|bytes| View::decode(bytes)).collect();
        views.unwrap_or_else(|error| {
            self.misbehaved(from, format!("sent a malformed record: {error}"));
            Vec::new()
        })
    }

    fn checked(&self, site: &SiteId, bytes: &[u8]) -> Result<Publication, String> {
        let publication = Publication::decode(bytes).map_err(|e| e.to_string())?;
        if publication.site != *site {
            return Err("sent another site's publication than was asked".into());
        }
        let keys = self
            .membership
            .keys_of(site)
            .ok_or("sent a stranger's publication")?;
        publication
            .check(&self.mesh, &keys.current().log)
            .map_err(|e| e.to_string())?;
        Ok(publication)
    }

    pub(super) fn on_gossip(&mut self, from: SiteId, token: u64, bytes: &[u8]) {
        let verdict = self.judge_gossip(from, bytes);
        self.out.push_back(Output::Verdict { token, verdict });
    }

    /// The verdict, and the work that an acceptable publication gives.
    fn judge_gossip(&mut self, from: SiteId, bytes: &[u8]) -> Verdict {
        if self.membership.member(&from).is_none() {
            // Put out while this was on its way.
            return Verdict::Ignore;
        }
        if bytes.len() > limits::PUBLICATION_BYTES_MAX + 16 {
            self.misbehaved(from, "gossiped more bytes than a message may have");
            return Verdict::Reject;
        }
        let Ok(wire::Gossip { what }) = wire::Gossip::decode(bytes) else {
            self.misbehaved(from, "gossiped what is no message");
            return Verdict::Reject;
        };
        let message = match what {
            Some(wire::gossip::What::Publication(message)) => message,
            Some(wire::gossip::What::Address(record)) => return self.judge_record(record),
            Some(wire::gossip::What::Checkpoint(note)) => {
                return self.judge_checkpoint(from, &note);
            }
            Some(wire::gossip::What::Fork(text)) => return self.judge_fork(from, &text),
            // Of a newer version.
            None => return Verdict::Ignore,
        };
        let encoded = message.encode_to_vec();
        if bytes != wrap(encoded.clone()) {
            // Other bytes for the same message would go round once more.
            self.misbehaved(from, "gossiped a publication in another form than the one");
            return Verdict::Reject;
        }
        let Ok(publication) = Publication::decode(&encoded) else {
            self.misbehaved(from, "gossiped a malformed publication");
            return Verdict::Reject;
        };
        let site = publication.site;
        let now = self.now;
        let old = self
            .logs
            .get_mut(&site)
            .map_or(0, |log| log.age.old(log.size, now));
        if publication.size() <= old {
            self.misbehaved(from, "gossiped again what everybody has had for long");
            return Verdict::Ignore;
        }
        if site == self.me {
            return Verdict::Ignore;
        }
        let Some(member) = self.membership.member(&site) else {
            if !self.membership.removed().contains_key(&site) {
                self.want_members(&from);
            }
            return Verdict::Ignore;
        };
        let log_key = member.keys.current().log;
        let known = self.logs.get(&site);
        let is_old = known.is_some_and(|log| publication.size() <= log.size);
        let is_other = known.is_some_and(|log| {
            publication.size() == log.size && log.root != Some(publication.checkpoint.root())
        });
        if is_old && (!is_other || self.forked.contains_key(&site)) {
            return Verdict::Ignore;
        }
        // Before the allowance is touched, so that nobody spends another site's with forgeries.
        if publication.check(&self.mesh, &log_key).is_err() {
            self.misbehaved(from, "gossiped a publication that does not check");
            return Verdict::Reject;
        }
        let log = self.logs.or_default(site);
        if !log.spend(now) {
            self.claimed(site, from, publication.size());
            return Verdict::Ignore;
        }
        if is_other {
            // Signed, and not what we follow: whoever else heard it should know.
            let incoming = Incoming::Checkpoint {
                site,
                checkpoint: publication.checkpoint,
                by: 0,
            };
            self.take(Work::Checkpoint(site), incoming);
            return Verdict::Accept;
        }
        if publication.from() <= log.size
            && !log.fetching
            && self.works.values().filter(|w| **w == Work::Gossip).count() < GOSSIP_WORK_MAX
        {
            self.take(
                Work::Gossip,
                Incoming::Publications {
                    site,
                    run: vec![publication],
                },
            );
        } else {
            // A gap, or a pull is under way: remember who has it.
            self.claimed(site, from, publication.size());
        }
        Verdict::Accept
    }

    pub(super) fn on_taken(&mut self, progress: Progress) {
        let mut ours = true;
        match self.works.remove(&progress.work) {
            Some(Work::Log(site, from)) => {
                self.call_over(Call::Publications(site));
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.failures = 0;
                }
                if !progress.heads.is_empty() {
                    self.pass_on();
                }
            }
            Some(Work::Feed(issuer, circle, end)) => {
                self.on_page_taken(issuer, circle, end, &progress);
            }
            Some(Work::Membership(from, next)) => self.on_members_taken(from, next, &progress),
            Some(Work::Gossip | Work::Checkpoint(_)) | None => {}
            Some(Work::Fork) => ours = false,
            Some(Work::Returned(from, next)) => {
                self.on_returned_taken(from, next, progress.lost);
            }
        }
        for (site, size, root) in progress.heads {
            self.grow(&site, size, root);
        }
        for (issuer, circle, position) in progress.feeds {
            let new = !self.feeds.contains_key(&(issuer, circle));
            let feed = self.feeds.or_default((issuer, circle));
            feed.position = feed.position.max(position);
            feed.tail = feed.tail.max(feed.position);
            if new {
                // Granted just now: there may be anything in it.
                feed.tail = feed.position + 1;
            }
            // Tells the issuer how far we are, durably.
            self.want_heads(&issuer);
        }
        for feed in progress.rewound {
            let feed = self.feeds.or_default(feed);
            *feed = super::Feed {
                tail: feed.tail.max(feed.position).max(1),
                // The pages that are on their way are for nothing.
                writing: feed.writing,
                fetching: feed.fetching,
                ..super::Feed::default()
            };
        }
        for (issuer, circle) in progress.pull {
            let feed = self.feeds.or_default((issuer, circle));
            feed.tail = feed.tail.max(feed.position + 1);
        }
        for (site, size, cosignatures) in progress.cosigned {
            let log = self.logs.or_default(site);
            log.cosigned = log.cosigned.max((size, cosignatures));
            if site == self.me {
                self.on_own_cosigned();
            }
        }
        self.on_forks_kept(progress.forks, ours);
        for site in progress.gaps {
            let connected: Vec<SiteId> = self.connected().collect();
            for peer in connected {
                self.want_heads(&peer);
            }
            self.want_heads(&site);
        }
        if let Some(site) = progress.contradiction
            && let Some(log) = self.logs.get_mut(&site)
        {
            log.contradicted = true;
        }
    }
}

impl super::Log {
    /// One publication's worth of this site's allowance.
    pub(super) fn spend(&mut self, now: u64) -> bool {
        let rate = (PUBLICATIONS_PER_SECOND, PUBLICATIONS_BURST);
        spend(&mut self.bucket, rate, now)
    }

    /// One cosignature's worth of its own.
    pub(super) fn spend_cosign(&mut self, now: u64) -> bool {
        spend(&mut self.cosigns, (COSIGNS_PER_SECOND, COSIGNS_BURST), now)
    }
}

/// Takes a token out of a bucket (tokens, at time) that fills at a rate per second up to a burst. False if there is none.
fn spend(bucket: &mut (u32, u64), (rate, burst): (u32, u32), now: u64) -> bool {
    let (tokens, at) = *bucket;
    let refill = (now.saturating_sub(at) * u64::from(rate) / 1000).min(u64::from(burst)) as u32;
    let tokens = if at == 0 {
        burst
    } else {
        (tokens + refill).min(burst)
    };
    let at = if refill > 0 || at == 0 {
        now.max(1)
    } else {
        at
    };
    *bucket = (tokens.saturating_sub(1), at);
    tokens > 0
}
