//! What the network tells the loop: connections, gossip, requests, knocks at the door, how others reach this node.

use std::{net::IpAddr, time::Instant};

use fmesh_proto::{
    directory,
    id::{MeshId, PeerKey, SiteId},
    limits,
    mesh::{Input, admission::JoinRefusal},
    wire,
};

use super::{Done, JOIN_AGAIN, Job, Pilot};
use crate::{
    config::Config,
    net::{self, JoinToken, NetCommand, NetEvent},
    node::{Refused, identities::Arrival, ping},
    writer::unix_now,
};

/// Ways through relays that are told.
const RELAYED_TOLD: usize = 2;
/// Requests to join that are judged at once; more are answered "busy".
const KNOCKS_AT_ONCE: usize = 16;
/// Refused connections that are shown.
const REFUSALS_SHOWN: usize = 16;
/// Misdeeds of a member that are logged one by one; after that, one in so many.
const LOUD: u64 = 20;

impl Pilot {
    /// Somebody wants to know how a partner answers: called now, or once it is connected.
    pub(super) fn on_ping(&mut self, ask: ping::Ask) {
        let site = ask.site;
        let connected = self.live.peers.get(&site).is_some_and(|p| p.connected);
        let Some(peer) = self.peer(&site) else {
            ask.refuse("it is no member of the mesh");
            return;
        };
        self.pings.wait(ask);
        if connected {
            self.ping_connected(site);
        } else {
            let known = self.node.store.addresses().unwrap_or_default();
            let addresses = known
                .get(&site)
                .map_or_else(Vec::new, |record| record.address.clone());
            if addresses.is_empty() {
                self.pings.unreachable(&site, "no address of it is known");
                return;
            }
            self.outbox.push_back(NetCommand::Dial { peer, addresses });
        }
    }

    /// Calls a connected partner whose answer is waited for.
    fn ping_connected(&mut self, site: SiteId) {
        let (Some(peer), Some(mesh)) = (self.peer(&site), &self.mesh) else {
            return;
        };
        for id in self.pings.begin(&site) {
            let request = wire::Request {
                what: Some(wire::request::What::Hello(mesh.hello())),
            };
            self.outbox
                .push_back(NetCommand::Request { peer, id, request });
        }
    }

    pub(super) fn on_net(&mut self, event: NetEvent) {
        match event {
            NetEvent::Reach(reach) => self.on_reach(reach),
            NetEvent::Path { peer, address } => {
                if let Some(site) = self.site(&peer) {
                    tracing::info!(%site, %address, "partner is now reached directly");
                    self.seen(site).address = Some(address);
                    self.live_dirty = true;
                }
            }
            NetEvent::Misbehaved { peer, what } => {
                if let Some(site) = self.site(&peer) {
                    self.blame(site, what);
                }
            }
            NetEvent::Connected {
                peer,
                address,
                outbound,
            } => {
                if let Some(site) = self.site(&peer)
                    && self.arrives(&site, &peer)
                {
                    tracing::info!(%site, %address, outbound, "partner connected");
                    let status = self.seen(site);
                    status.connected = true;
                    status.address = Some(address);
                    status.last_error = None;
                    self.publish_live();
                    self.tell(Input::Connected { site });
                    self.ping_connected(site);
                }
            }
            NetEvent::Disconnected { peer } => {
                if let Some(site) = self.leaves(&peer) {
                    tracing::info!(%site, "partner disconnected");
                    let status = self.seen(site);
                    status.connected = false;
                    status.rtt_micros = None;
                    self.publish_live();
                    self.tell(Input::Disconnected { site });
                }
            }
            NetEvent::DialFailed { peer, reason } => {
                if let Some(site) = self.site(&peer) {
                    self.identities.dial_failed(&site);
                    let status = self.live.peers.entry(site).or_default();
                    self.pings.unreachable(&site, &reason);
                    status.last_error = Some(reason);
                    self.live_dirty = true;
                    self.tell(Input::DialFailed { site });
                }
            }
            NetEvent::Refused {
                peer,
                address,
                reason,
            } => {
                tracing::info!(?peer, %address, %reason, "connection refused");
                self.note_refused(peer.as_ref(), address, reason);
            }
            NetEvent::Gossip { from, token, bytes } => match self.site(&from) {
                Some(from) if self.mesh.is_some() => {
                    let id = self.token();
                    self.gossips.insert(id, token);
                    self.tell(Input::Gossip {
                        from,
                        token: id,
                        bytes,
                    });
                }
                _ => self.outbox.push_back(NetCommand::Verdict {
                    token,
                    verdict: net::Verdict::Ignore,
                }),
            },
            NetEvent::Subscribed { peer } => {
                if let Some(site) = self.site(&peer) {
                    self.tell(Input::Subscribed { site });
                }
            }
            NetEvent::GossipLost => self.tell(Input::GossipLost),
            NetEvent::Request {
                from,
                token,
                request,
            } => match self.site(&from) {
                Some(from) if self.mesh.is_some() => {
                    if let Some(wire::request::What::Hello(hello)) = &request.what {
                        self.note_clock(from, hello.clock);
                    }
                    let id = self.token();
                    self.calls.insert(id, token);
                    self.tell(Input::Request {
                        from,
                        token: id,
                        request,
                    });
                }
                // Dropping the token ends the call without an answer.
                _ => drop(token),
            },
            NetEvent::Response { peer, id, result } => {
                if let Some(from) = self.site(&peer) {
                    if let Ok(wire::Response {
                        what: Some(wire::response::What::Hello(hello)),
                    }) = &result
                    {
                        self.note_clock(from, hello.clock);
                    }
                    if ping::is_ping(id) {
                        self.pings.answered(id, result);
                    } else {
                        self.tell(Input::Response { from, id, result });
                    }
                }
            }
            NetEvent::JoinRequest {
                from,
                address,
                token,
                request,
            } => self.on_knock(from, address, token, request),
            NetEvent::JoinAnswer { result, .. } => {
                self.join_asked = false;
                self.join_at = Instant::now() + JOIN_AGAIN;
                // If the queue is full, the next answer tells the same.
                let _ = self.jobs.try_send(Job::JoinAnswered { result });
            }
            NetEvent::Rtt { peer, micros } => {
                if let Some(site) = self.site(&peer) {
                    self.seen(site).rtt_micros = Some(micros);
                    self.live_dirty = true;
                }
            }
        }
    }

    fn on_reach(&mut self, reach: net::Reach) {
        let peer_id = net::peer_id(&self.keys.transport());
        self.live.listening = reach
            .bound
            .iter()
            .map(|address| format!("{address}/p2p/{peer_id}"))
            .collect();
        let before = told_addresses(&self.node.config, &self.live.reach);
        self.live.reach = reach;
        self.live_dirty = true;
        let told = told_addresses(&self.node.config, &self.live.reach);
        if let Some(mesh) = self.mesh_id.filter(|_| told != before) {
            let record = self.sign_addresses(mesh);
            self.tell(Input::own_addresses(record));
        }
    }

    /// Own addresses as they are told, with a number higher than any before (of this start, and by the clock of earlier ones).
    pub(super) fn sign_addresses(&mut self, mesh: MeshId) -> wire::AddressRecord {
        let told = told_addresses(&self.node.config, &self.live.reach);
        self.address_seq = (self.address_seq + 1).max(unix_now());
        directory::sign(&self.keys, &mesh, &self.node.site, self.address_seq, told)
    }

    /// A member misbehaved: counted, and shown with the last reason.
    pub(super) fn blame(&mut self, site: SiteId, what: String) {
        let status = self.live.peers.entry(site).or_default();
        let count = status.misbehaved.as_ref().map_or(0, |(_, n)| *n);
        // A flood must not fill the log as well.
        if count < LOUD || count.is_multiple_of(LOUD) {
            tracing::warn!(%site, %what, count, "a member misbehaves");
        }
        status.misbehaved = Some((what, count + 1));
        self.live_dirty = true;
    }

    pub(super) fn note_refused(&mut self, peer: Option<&PeerKey>, address: String, reason: String) {
        self.live.refused_connections += 1;
        if self.live.refusals.len() >= REFUSALS_SHOWN {
            self.live.refusals.remove(0);
        }
        self.live.refusals.push(Refused {
            at: unix_now(),
            peer: peer.map(net::peer_id),
            address,
            reason,
        });
        self.live_dirty = true;
    }

    /// A request to join: within the limits it is judged by the writer, else the answer is "busy".
    fn on_knock(
        &mut self,
        peer: PeerKey,
        address: String,
        token: JoinToken,
        request: wire::JoinRequest,
    ) {
        let now = self.now();
        if self.knocks >= KNOCKS_AT_ONCE || !self.throttle.allows(&address, now) {
            let answer = JoinRefusal::Busy.answer();
            self.note_refused(Some(&peer), address, "asked to join too often".to_owned());
            self.outbox
                .push_back(NetCommand::RespondJoin { token, answer });
            return;
        }
        self.knocks += 1;
        let (writer, done) = (self.node.writer.clone(), self.done_tx.clone());
        tokio::spawn(async move {
            let answer = writer.knock(peer, request).await.unwrap_or_default();
            // The loop may have ended.
            let _ = done
                .send(Done::Judged {
                    peer,
                    address,
                    token,
                    answer,
                })
                .await;
        });
    }

    /// A member connects under this key; false if it is connected under a newer one.
    fn arrives(&mut self, site: &SiteId, peer: &PeerKey) -> bool {
        let Some(member) = self.membership.member(site) else {
            return false;
        };
        match self.identities.connected(member, peer) {
            Arrival::Counts => true,
            Arrival::Instead(old) => {
                tracing::info!(%site, "partner speaks with its new transport key");
                self.outbox.push_back(NetCommand::Disconnect(old));
                self.tell(Input::Disconnected { site: *site });
                true
            }
            Arrival::Stale => {
                self.outbox.push_back(NetCommand::Disconnect(*peer));
                false
            }
        }
    }

    /// A member's connection under this key has ended; the member, if it was the one that counts.
    fn leaves(&mut self, peer: &PeerKey) -> Option<SiteId> {
        let member = self.membership.by_transport(peer)?;
        self.identities
            .disconnected(member, peer)
            .then_some(member.site)
    }

    /// A member's address record is held: older transport keys than its signer do not count any more.
    pub(super) fn note_signer(&mut self, record: &wire::AddressRecord) {
        if let Some(mesh) = self.mesh_id {
            self.identities_learn(&mesh, record);
        }
    }

    pub(super) fn identities_learn(&mut self, mesh: &MeshId, record: &wire::AddressRecord) {
        let site = SiteId::from_slice(&record.site);
        if let Some(member) = site.and_then(|site| self.membership.member(&site)) {
            self.identities.learned(mesh, member, record);
        }
    }

    fn note_clock(&mut self, site: SiteId, theirs: u64) {
        let skew = i64::try_from(i128::from(theirs) - i128::from(unix_now())).ok();
        self.seen(site).clock_skew = skew;
        self.live_dirty = true;
    }
}

/// Addresses to tell others: what the operator announces; else what members confirmed and what is bound, loopback only if
/// there is nothing else; and in any case the ways through relays.
pub(in crate::node) fn told_addresses(config: &Config, reach: &net::Reach) -> Vec<String> {
    let relayed = reach.relayed.iter().take(RELAYED_TOLD);
    let room = limits::ADDRESSES_MAX - relayed.len();
    let mut told: Vec<String> = match config.announce.is_empty() {
        false => config.announce.clone(),
        true => {
            let bound = reach.bound.iter().filter(|a| !reach.confirmed.contains(a));
            let own: Vec<String> = reach.confirmed.iter().chain(bound).cloned().collect();
            let (loopback, far): (Vec<_>, Vec<_>) = own.into_iter().partition(|a| is_loopback(a));
            if far.is_empty() { loopback } else { far }
        }
    };
    told.truncate(room);
    told.extend(relayed.cloned());
    told
}

fn is_loopback(address: &str) -> bool {
    address
        .split('/')
        .nth(2)
        .and_then(|host| host.parse::<IpAddr>().ok())
        .is_some_and(|ip| ip.is_loopback())
}
