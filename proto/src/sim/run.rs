//! What happens, one event after the other: messages arrive, writers finish, timers run out.
//!
//! Every event names the boot of the process that it is for, so nothing outlives a crash but the disk.

use std::sync::Arc;

use prost::Message as _;

use super::{
    Sim, address_of,
    site::{Process, Site},
    truth::Place,
};
use crate::{
    directory,
    id::{Digest, ObjectId, SiteId},
    limits,
    mesh::{
        Ask, Input, Mesh, Output, Setup, Verdict, follow::Incoming, issue::Item, witness::Pledge,
    },
    note::Checkpoint,
    wire,
};

/// Something that is going to happen.
#[derive(Debug)]
pub(super) enum Event {
    /// A dial reaches its target.
    Dialled { from: usize, boot: u64, to: usize },
    /// A message arrives, if the connection still carries.
    Arrives {
        from: usize,
        to: usize,
        connection: u64,
        message: Message,
    },
    /// An end of a connection gives it up: told so, or after silence.
    Down {
        end: usize,
        other: usize,
        connection: u64,
        silent: bool,
    },
    /// A process gets an input that needs no network.
    Local {
        site: usize,
        boot: u64,
        input: Input,
    },
    /// The writer is done with what it was given.
    Written {
        site: usize,
        boot: u64,
        work: u64,
        incoming: Incoming,
    },
    /// The writer judges a call for a cosignature.
    Asked {
        site: usize,
        boot: u64,
        to: SiteId,
        token: u64,
        checkpoint: Box<Checkpoint>,
    },
    /// A pledge is on disk, and its answer leaves.
    Pledged {
        site: usize,
        boot: u64,
        to: SiteId,
        token: u64,
        response: wire::Response,
        pledge: Option<Pledge>,
    },
    /// A call was not answered in time.
    Overdue {
        site: usize,
        boot: u64,
        to: usize,
        id: u64,
    },
    /// The machine asked to be called now.
    Tick { site: usize, boot: u64 },
    /// A malicious site does something on its own.
    Mischief { site: usize },
}

/// What travels over a connection.
#[derive(Debug, Clone)]
pub(super) enum Message {
    Subscribe,
    Gossip(Arc<Vec<u8>>),
    Request(u64, Vec<u8>),
    Response(u64, Vec<u8>),
}
impl Message {
    fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Subscribe => 0,
            Self::Gossip(bytes) => bytes.len(),
            Self::Request(_, bytes) | Self::Response(_, bytes) => bytes.len(),
        };
        bytes as u64
    }
}

/// A dead or cut connection is noticed after this.
const SILENCE_MS: (u64, u64) = (10_000, 30_000);
/// A call fails after this.
const CALL_MS: u64 = 10_000;
/// A dial into nothing fails after this.
const DIAL_MS: u64 = 5_000;
/// gossipsub forgets that it saw a message after this.
const HEARD_MS: u64 = 60_000;
/// The writer needs this for one item.
const WRITE_MS: (u64, u64) = (1, 5);
/// A malicious site does something this often.
const MISCHIEF_MS: (u64, u64) = (500, 4_000);

impl Sim {
    pub(super) fn later(&mut self, ms: u64, event: Event) {
        self.events += 1;
        self.queue.insert((self.now + ms, self.events), event);
    }

    /// Starts a process from the disk.
    pub(super) fn boot(&mut self, n: usize) {
        let seed = self.below(u64::MAX);
        let (now, mesh) = (self.now, self.mesh);
        let site = &mut self.sites[n];
        site.boots += 1;
        let boot = site.boots;
        let addresses = [address_of(n)];
        let own_record = directory::sign(&site.who.keys, &mesh, &site.who.site, boot, addresses);
        site.store
            .addresses
            .insert(site.who.site, own_record.clone());
        let heads = site.store.heads.iter();
        let feeds = site.store.positions.iter();
        let setup = Setup {
            me: site.who.site,
            mesh,
            boot_id: seed.rotate_left(17) ^ boot,
            seed,
            software: "sim".into(),
            membership: Arc::clone(&site.store.membership),
            heads: heads
                .map(|(of, head)| (*of, head.frontier.size(), head.frontier.root()))
                .collect(),
            feeds: feeds
                .map(|((issuer, circle), position)| (*issuer, *circle, *position))
                .collect(),
            ask_own: Default::default(),
            own_head: site
                .store
                .heads
                .get(&site.who.site)
                .map(|head| head.checkpoint.clone()),
            cosigned: site.store.known_cosigned(&mesh),
            forks: site
                .store
                .forks
                .iter()
                .flat_map(|(of, proofs)| proofs.keys().map(|name| (*of, *name)))
                .collect(),
            addresses: site.store.addresses.values().cloned().collect(),
            own_record: Some(own_record),
        };
        let told = Arc::clone(&site.store.membership);
        site.process = Some(Process::new(boot, Mesh::new(setup, now), told));
        self.drain(n);
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Dialled { from, boot, to } => self.on_dialled(from, boot, to),
            Event::Arrives {
                from,
                to,
                connection,
                message,
            } => {
                if self.net.carries(from, to, connection) {
                    self.on_message(from, to, connection, message);
                }
            }
            Event::Down {
                end,
                other,
                connection,
                silent,
            } => {
                // Silence ends when the route heals in time.
                if !(silent && self.net.carries(end, other, connection)) {
                    self.close(end, other, connection);
                }
            }
            Event::Local { site, boot, input } => {
                if self.runs(site, boot) {
                    self.input(site, input);
                }
            }
            Event::Written {
                site,
                boot,
                work,
                incoming,
            } => {
                if self.runs(site, boot) {
                    self.on_written(site, work, incoming);
                }
            }
            Event::Asked {
                site,
                boot,
                to,
                token,
                checkpoint,
            } => {
                if self.runs(site, boot) {
                    self.on_asked(site, boot, to, token, &checkpoint);
                }
            }
            Event::Pledged {
                site,
                boot,
                to,
                token,
                response,
                pledge,
            } => {
                if self.runs(site, boot) {
                    let said = pledge.map(|pledge| (to, pledge));
                    self.sites[site].cosigned.extend(said);
                    self.respond(site, token, response);
                    self.local(site, 0, Input::Served { to });
                }
            }
            Event::Overdue { site, boot, to, id } => {
                if self.runs(site, boot) {
                    self.answered(site, to, id, Err("no answer in time".into()));
                }
            }
            Event::Tick { site, boot } => {
                let now = self.now;
                let due = |p: &mut Process| p.boot == boot && p.tick_at == now;
                if self.sites[site].process.as_mut().is_some_and(due) {
                    self.input(site, Input::Tick);
                }
            }
            Event::Mischief { site } => {
                self.mischief(site);
                self.schedule_mischief(site);
            }
        }
    }

    fn runs(&self, site: usize, boot: u64) -> bool {
        self.sites[site]
            .process
            .as_ref()
            .is_some_and(|p| p.boot == boot)
    }

    fn boot_of(&self, site: usize) -> Option<u64> {
        self.sites[site].process.as_ref().map(|p| p.boot)
    }

    /// Gives the machine an input and does all that follows.
    pub(super) fn input(&mut self, n: usize, input: Input) {
        let (now, unix) = (self.now, self.unix(n));
        if let Some(process) = &mut self.sites[n].process {
            if let Input::Membership(membership) = &input {
                process.told = Arc::clone(membership);
            }
            process.mesh.handle(input, now, unix);
            self.drain(n);
        }
    }

    fn drain(&mut self, n: usize) {
        while let Some(process) = &mut self.sites[n].process
            && let Some(output) = process.mesh.poll()
        {
            self.output(n, output);
        }
        let now = self.now;
        if let Some(process) = &mut self.sites[n].process {
            let at = process.mesh.next_deadline();
            assert!(at > now, "a deadline in the past would be a busy loop");
            if at < process.tick_at || process.tick_at <= now {
                process.tick_at = at;
                let boot = process.boot;
                self.later(at - now, Event::Tick { site: n, boot });
            }
        }
    }

    fn local(&mut self, n: usize, ms: u64, input: Input) {
        if let Some(boot) = self.boot_of(n) {
            self.later(
                ms,
                Event::Local {
                    site: n,
                    boot,
                    input,
                },
            );
        }
    }

    fn output(&mut self, n: usize, output: Output) {
        match output {
            Output::Verdict { token, verdict } => self.on_verdict(n, token, verdict),
            Output::Publish(bytes) => {
                if !self.gossip(n, None, &Arc::new(bytes)) {
                    self.local(n, 0, Input::GossipLost);
                }
            }
            Output::Request { to, id, request } => self.call(n, &to, id, &request),
            Output::Respond { token, response } => self.respond(n, token, response),
            Output::Serve { to, token, ask } => self.serve(n, to, token, &ask),
            Output::Take { work, incoming } => {
                let wait = self.writer_turn(n);
                if let Some(boot) = self.boot_of(n) {
                    self.later(
                        wait,
                        Event::Written {
                            site: n,
                            boot,
                            work,
                            incoming,
                        },
                    );
                }
            }
            Output::Dial { site, addresses } => self.dial(n, site, &addresses),
            Output::Disconnect { site } => {
                if let Some(other) = self.index(&site) {
                    for connection in self.net.believed(n, other) {
                        let wait = self.between(self.faults.latency_ms);
                        self.close_later(other, n, connection, wait, self.net.is_cut(n, other));
                        if self.net.close(n, other, connection) {
                            self.lost_neighbour(n, other);
                            self.local(n, 0, Input::Disconnected { site });
                        }
                    }
                }
            }
            Output::Acknowledged {
                reader,
                circle,
                feed_seq,
            } => {
                let tails = &self.sites[n].store.tails;
                // A reader may claim anything; only what exists counts.
                let feed_seq = feed_seq.min(tails.get(&circle).copied().unwrap_or(0));
                let acknowledged = &mut self.sites[n].store.acknowledged;
                let held = acknowledged.entry((circle, reader)).or_default();
                *held = (*held).max(feed_seq);
            }
            Output::Learned { record } => {
                if let Ok(site) = directory::site_of(&record) {
                    self.sites[n].store.addresses.insert(site, record);
                }
            }
            // Simulated disks are never put back, so nothing waits for it.
            Output::OwnLog(_) => {}
            Output::Misbehaved { site, what } => {
                if let Some(who) = self.index(&site) {
                    *self.sites[n].blamed.entry((who, what)).or_default() += 1;
                }
            }
        }
    }

    /// The writer does one thing after the other.
    fn writer_turn(&mut self, n: usize) -> u64 {
        let (now, takes) = (self.now, self.between(WRITE_MS));
        match &mut self.sites[n].process {
            Some(process) => {
                process.writer_free = process.writer_free.max(now) + takes;
                process.writer_free - now
            }
            None => 0,
        }
    }

    fn on_written(&mut self, n: usize, work: u64, incoming: Incoming) {
        let (mesh, site) = (self.mesh, &mut self.sites[n]);
        let mut taken = site.store.read(&site.who, mesh, incoming);
        site.store.keep_forks(&mut taken);
        if site.store.keep(&mesh, &taken) {
            self.shut_out_strangers(n);
            let membership = Arc::clone(&self.sites[n].store.membership);
            self.input(n, Input::Membership(membership));
        }
        self.input(n, Input::Taken(taken.progress(work)));
    }

    /// Signs and stores; gossip follows when the writer is done, unless a crash comes first.
    pub(super) fn issue(&mut self, n: usize, items: Vec<Item>) -> Vec<((ObjectId, u64), Place)> {
        let (mesh, iat) = (self.mesh, self.unix(n));
        let Site { store, who, .. } = &mut self.sites[n];
        let (issuance, members) = store.issue(who, mesh, items, iat, &mut self.rng);
        let mut placed = Vec::new();
        for signed in &issuance.records {
            let record = &self.sites[n].store.records[&(self.sites[n].who.site, signed.seq)][0];
            let claims = record.claims();
            let feeds = signed.feeds.iter();
            let place = Place {
                seq: signed.seq,
                circles: feeds
                    .map(|(circle, at, slots)| (*circle, (*at, slots.clone())))
                    .collect(),
            };
            placed.push(((claims.id, claims.rev), place));
            self.truth.signed(n, record);
        }
        let input = Input::Issued {
            publications: issuance
                .publications
                .iter()
                .map(|p| p.bytes().to_vec())
                .collect(),
            head: Box::new(issuance.head.checkpoint.clone()),
        };
        let wait = self.writer_turn(n);
        if members {
            let membership = Arc::clone(&self.sites[n].store.membership);
            self.local(n, wait, Input::Membership(membership));
        }
        self.local(n, wait, input);
        placed
    }

    fn dial(&mut self, n: usize, site: SiteId, addresses: &[String]) {
        self.sites[n].sent.dials += 1;
        let numbers = addresses
            .iter()
            .filter_map(|a| a.strip_prefix("/sim/")?.parse::<usize>().ok());
        // Noise proves who answers: a wrong address is a failed dial.
        let target = numbers
            .filter(|to| self.sites.get(*to).is_some_and(|s| s.who.site == site))
            .find(|to| !self.net.is_cut(n, *to));
        match (target, self.boot_of(n)) {
            (Some(to), Some(boot)) => {
                let wait = self.between(self.faults.latency_ms);
                self.later(wait, Event::Dialled { from: n, boot, to });
            }
            _ => self.local(n, DIAL_MS, Input::DialFailed { site }),
        }
    }

    /// The gate: only who is a member in the eyes of the one that is dialled gets in.
    fn on_dialled(&mut self, from: usize, boot: u64, to: usize) {
        if !self.runs(from, boot) {
            return;
        }
        let [caller, called] = [from, to].map(|n| self.sites[n].who.site);
        // The one that dials may have learned meanwhile that the other is out.
        let known = self.sites[to].store.membership.member(&caller).is_some()
            && self.sites[from].store.membership.member(&called).is_some();
        if self.net.is_cut(from, to) || self.sites[to].process.is_none() || !known {
            let wait = self.between(self.faults.latency_ms);
            self.local(from, wait, Input::DialFailed { site: called });
            return;
        }
        let (connection, first_at_caller, first_at_called) = self.net.connect(from, to);
        for (end, other, first) in [(from, to, first_at_caller), (to, from, first_at_called)] {
            if first {
                // Subscriptions are told on the first connection only.
                self.send(end, other, connection, Message::Subscribe);
                let site = self.sites[other].who.site;
                self.input(end, Input::Connected { site });
            }
        }
    }

    fn close_later(&mut self, end: usize, other: usize, connection: u64, ms: u64, silent: bool) {
        let wait = match silent {
            true => self.between(SILENCE_MS),
            false => ms,
        };
        self.later(
            wait,
            Event::Down {
                end,
                other,
                connection,
                silent,
            },
        );
    }

    fn close(&mut self, end: usize, other: usize, connection: u64) {
        if self.net.close(end, other, connection) {
            self.lost_neighbour(end, other);
            let site = self.sites[other].who.site;
            self.input(end, Input::Disconnected { site });
        }
    }

    fn lost_neighbour(&mut self, n: usize, other: usize) {
        if let Some(process) = &mut self.sites[n].process {
            process.subscribed.remove(&other);
        }
    }

    /// After a cut, both ends wait in silence.
    pub(super) fn break_connections(&mut self, a: usize, b: usize) {
        for (end, other) in [(a, b), (b, a)] {
            for connection in self.net.believed(end, other) {
                self.close_later(end, other, connection, 0, true);
            }
        }
    }

    /// After a crash, half of the others are told by the dead host's kernel and half learn it by silence.
    pub(super) fn abandon_connections(&mut self, n: usize) {
        for (other, connection) in self.net.vanish(n) {
            let told = self.below(2) == 0 && !self.net.is_cut(n, other);
            let wait = self.between(self.faults.latency_ms);
            self.close_later(other, n, connection, wait, !told);
        }
    }

    pub(super) fn send(&mut self, from: usize, to: usize, connection: u64, message: Message) {
        self.watch(from, to);
        self.sites[from].sent.bytes += message.bytes();
        let wait = self.between(self.faults.latency_ms);
        self.later(
            wait,
            Event::Arrives {
                from,
                to,
                connection,
                message,
            },
        );
    }

    /// One of the connections that this end believes in.
    pub(super) fn connection(&mut self, from: usize, to: usize) -> Option<u64> {
        let all = self.net.believed(from, to);
        let at = self.below(all.len() as u64) as usize;
        all.get(at).copied()
    }

    fn lost(&mut self, of_a_thousand: u32) -> bool {
        self.below(1000) < u64::from(of_a_thousand)
    }

    /// Sends a gossip message to all neighbours but the one that brought it. False if there are none.
    pub(super) fn gossip(&mut self, n: usize, source: Option<usize>, bytes: &Arc<Vec<u8>>) -> bool {
        let now = self.now;
        let Some(process) = &mut self.sites[n].process else {
            return true;
        };
        process.heard.insert(Digest::of(bytes), now);
        let neighbours = self.subscribed(n);
        for to in neighbours.iter().copied().filter(|to| Some(*to) != source) {
            self.whisper(n, to, bytes);
        }
        !neighbours.is_empty()
    }

    /// Neighbours whose subscription it has.
    pub(super) fn subscribed(&self, n: usize) -> Vec<usize> {
        let process = self.sites[n].process.as_ref();
        process.map_or_else(Vec::new, |p| p.subscribed.iter().copied().collect())
    }

    /// A gossip message to one neighbour.
    pub(super) fn whisper(&mut self, n: usize, to: usize, bytes: &Arc<Vec<u8>>) {
        self.sites[n].sent.gossip += 1;
        if let Some(connection) = self.connection(n, to)
            && !self.lost(self.faults.gossip_lost)
        {
            let bytes = self.tampered(n, bytes);
            self.send(n, to, connection, Message::Gossip(bytes));
        }
    }

    pub(super) fn call(&mut self, n: usize, to: &SiteId, id: u64, request: &wire::Request) {
        self.sites[n].sent.calls += 1;
        let (Some(to), Some(boot)) = (self.index(to), self.boot_of(n)) else {
            return;
        };
        if let Some(process) = &mut self.sites[n].process {
            process.calls.insert(id);
        }
        self.later(
            CALL_MS,
            Event::Overdue {
                site: n,
                boot,
                to,
                id,
            },
        );
        if let Some(connection) = self.connection(n, to)
            && !self.lost(self.faults.calls_lost)
        {
            let bytes = request.encode_to_vec();
            self.send(n, to, connection, Message::Request(id, bytes));
        }
    }

    fn answered(&mut self, n: usize, from: usize, id: u64, result: Result<wire::Response, String>) {
        let waiting = self.sites[n].process.as_mut();
        if waiting.is_some_and(|process| process.calls.remove(&id)) {
            let from = self.sites[from].who.site;
            self.input(n, Input::Response { from, id, result });
        }
    }

    fn serve(&mut self, n: usize, to: SiteId, token: u64, ask: &Ask) {
        if let (Ask::Cosign { checkpoint }, Some(boot)) = (ask, self.boot_of(n)) {
            let wait = self.writer_turn(n);
            let checkpoint = checkpoint.clone();
            let asked = Event::Asked {
                site: n,
                boot,
                to,
                token,
                checkpoint,
            };
            self.later(wait, asked);
            return;
        }
        let response = self.sites[n].store.serve(&to, ask);
        self.respond(n, token, response);
        self.local(n, 0, Input::Served { to });
    }

    /// The pledge is on disk from here on; a crash may still come before its answer.
    fn on_asked(&mut self, n: usize, boot: u64, to: SiteId, token: u64, checkpoint: &Checkpoint) {
        let (mesh, now, wait) = (self.mesh, self.unix(n), self.between(WRITE_MS));
        let Site { store, who, .. } = &mut self.sites[n];
        let (response, pledge) = store.pledge(who, &mesh, &to, checkpoint, now);
        let pledged = Event::Pledged {
            site: n,
            boot,
            to,
            token,
            response,
            pledge,
        };
        self.later(wait, pledged);
    }

    fn respond(&mut self, n: usize, token: u64, response: wire::Response) {
        self.sites[n].sent.answers += 1;
        let caller = self.sites[n]
            .process
            .as_mut()
            .and_then(|process| process.callers.remove(&token));
        let Some((to, connection, id)) = caller else {
            return;
        };
        // An answer goes over the connection of its call; who was let go of gets none.
        if let Some(bytes) = self.answer_of(n, to, response)
            && self.net.believed(n, to).contains(&connection)
            && !self.lost(self.faults.calls_lost)
        {
            self.send(n, to, connection, Message::Response(id, bytes));
        }
    }

    fn on_verdict(&mut self, n: usize, token: u64, verdict: Verdict) {
        let process = self.sites[n].process.as_mut();
        let (source, bytes) = process
            .and_then(|process| process.undecided.remove(&token))
            .expect("one verdict for each message");
        if verdict == Verdict::Accept {
            self.gossip(n, Some(source), &bytes);
        }
    }

    fn on_message(&mut self, from: usize, to: usize, connection: u64, message: Message) {
        let site = self.sites[from].who.site;
        match message {
            Message::Subscribe => {
                if let Some(process) = &mut self.sites[to].process {
                    process.subscribed.insert(from);
                }
                self.input(to, Input::Subscribed { site });
            }
            Message::Gossip(bytes) => self.on_gossip(from, to, &bytes),
            Message::Request(id, bytes) => {
                self.overhear(to, &bytes);
                let Ok(request) = wire::Request::decode(bytes.as_slice()) else {
                    return;
                };
                let Some(process) = &mut self.sites[to].process else {
                    return;
                };
                let token = process.token();
                process.callers.insert(token, (from, connection, id));
                self.input(
                    to,
                    Input::Request {
                        from: site,
                        token,
                        request,
                    },
                );
            }
            Message::Response(id, bytes) => {
                self.overhear(to, &bytes);
                let result = match bytes.len() <= limits::SYNC_MESSAGE_BYTES_MAX {
                    true => wire::Response::decode(bytes.as_slice()).map_err(|e| e.to_string()),
                    false => Err("the answer is over the limit".into()),
                };
                self.answered(to, from, id, result);
            }
        }
    }

    fn on_gossip(&mut self, from: usize, to: usize, bytes: &Arc<Vec<u8>>) {
        let now = self.now;
        let Some(process) = &mut self.sites[to].process else {
            return;
        };
        let name = Digest::of(bytes);
        let before = process.heard.insert(name, now);
        if before.is_some_and(|at| at + HEARD_MS > now) {
            return;
        }
        let token = process.token();
        process.undecided.insert(token, (from, Arc::clone(bytes)));
        if !self.truth.scanned.contains_key(&name) {
            let secrets = self.truth.secrets_in(bytes);
            self.truth.scanned.insert(name, secrets);
        }
        let secrets = self.truth.scanned.get(&name).into_iter().flatten();
        self.sites[to].overheard.extend(secrets.cloned());
        let input = Input::Gossip {
            from: self.sites[from].who.site,
            token,
            bytes: bytes.to_vec(),
        };
        self.input(to, input);
    }

    pub(super) fn overhear(&mut self, n: usize, bytes: &[u8]) {
        let secrets = self.truth.secrets_in(bytes);
        self.sites[n].overheard.extend(secrets);
    }

    pub(super) fn schedule_mischief(&mut self, site: usize) {
        let wait = self.between(MISCHIEF_MS);
        self.later(wait, Event::Mischief { site });
    }
}
