//! Gathers the facts that [`crate::doctor`] judges: live ones, stored ones, and trials of partners' addresses.

use std::time::Duration;

use fmesh_proto::{
    id::PeerKey,
    membership::{Member, Membership},
    mesh::neighbours::FULL_MESH_MAX,
    wire::AddressRecord,
};
use futures::StreamExt as _;

use super::{Error, Service};
use crate::{
    api::view::Doctor,
    doctor::{self, OwnFacts, PartnerFacts, Trial, host_name},
    net::Probed,
    node::{Live, PeerStatus},
};

impl Service {
    /// Examines every step of reachability: all partners', or one's. Addresses are tried of the partner that was asked for,
    /// and of those that are not connected.
    pub async fn doctor(&self, who: Option<&str>) -> Result<Doctor, Error> {
        let membership = self.membership();
        let live = self.node.live.borrow().clone();
        let mut asked: Vec<&Member> = match who {
            Some(who) => vec![self.partner(&membership, who)?],
            None => membership
                .members()
                .filter(|m| m.site != self.node.site)
                .collect(),
        };
        asked.sort_by(|a, b| a.name.cmp(&b.name));
        let mut addresses = self.node.store.addresses()?;
        let mut partners = Vec::with_capacity(asked.len());
        let mut to_try = Vec::new();
        for member in &asked {
            let record = addresses.remove(&member.site).unwrap_or_default();
            let facts = facts(&membership, member, &live, &record);
            let optional = who.is_none() && facts.optional;
            if (who.is_some() || facts.address.is_none()) && !optional {
                let peer = spoken(member, &live);
                let place = partners.len();
                to_try.extend(
                    record
                        .address
                        .into_iter()
                        .enumerate()
                        .map(|(n, a)| (place, n, peer, a)),
                );
            }
            partners.push(facts);
        }
        to_try.truncate(TRIALS_MAX);
        let node = &self.node;
        let tried = futures::stream::iter(to_try).map(async |(place, n, peer, address)| {
            let outcome = match resolve(&address).await {
                Err(why) => Trial::NoName(why),
                Ok(()) => {
                    let probe = tokio::time::timeout(TRIAL_TIME, node.probe(peer, address));
                    Trial::Dialled(probe.await.unwrap_or(Probed::Silent))
                }
            };
            (place, n, outcome)
        });
        let mut tried = std::pin::pin!(tried.buffer_unordered(TRIALS_AT_ONCE));
        while let Some((place, n, outcome)) = tried.next().await {
            if let Some((_, trial)) = partners.get_mut(place).and_then(|p| p.trials.get_mut(n)) {
                *trial = Some(outcome);
            }
        }
        let checks = doctor::examine(&self.own_facts(&membership, &live), &partners);
        Ok(Doctor {
            causes: doctor::causes(&checks),
            checks,
        })
    }

    fn own_facts(&self, membership: &Membership, live: &Live) -> OwnFacts {
        let config = &self.node.config;
        OwnFacts {
            reach: live.reach.clone(),
            announce: config.announce.clone(),
            use_relays: config.network.use_relays,
            in_mesh: membership.member(&self.node.site).is_some(),
            partners: membership.members().count().saturating_sub(1),
            connected: live.peers.values().filter(|peer| peer.connected).count(),
            refused: live.refused_connections,
        }
    }
}

/// The key that a partner speaks with: after a rotation not always its newest one.
fn spoken(member: &Member, live: &Live) -> PeerKey {
    let status = live.peers.get(&member.site);
    status
        .and_then(|status| status.peer)
        .unwrap_or_else(|| member.transport())
}

fn facts(
    membership: &Membership,
    member: &Member,
    live: &Live,
    record: &AddressRecord,
) -> PartnerFacts {
    let unknown = PeerStatus::default();
    let status = live.peers.get(&member.site).unwrap_or(&unknown);
    let transport = spoken(member, live);
    PartnerFacts {
        name: member.name.clone(),
        address: status.address.clone().filter(|_| status.connected),
        rtt_micros: status.rtt_micros,
        trials: record
            .address
            .iter()
            .map(|address| (address.clone(), None))
            .collect(),
        signed: !record.signature.is_empty(),
        optional: membership.members().count() > FULL_MESH_MAX,
        last_error: status.last_error.clone(),
        clock_skew: status.clock_skew,
        relay_at_hand: live.reach.offers.iter().any(|relay| *relay != transport),
        behind: status.behind,
        they_are_behind: status.they_are_behind,
        misbehaved: status.misbehaved.clone(),
    }
}

/// Whether the name in an address resolves; an address without one needs no resolving.
async fn resolve(address: &str) -> Result<(), String> {
    let Some(name) = host_name(address) else {
        return Ok(());
    };
    let lookup = tokio::time::timeout(TRIAL_TIME, tokio::net::lookup_host((name, 0)));
    match lookup.await {
        Err(_) => Err("no answer from the name server".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(mut found)) => found
            .next()
            .map(drop)
            .ok_or_else(|| "no address behind it".to_owned()),
    }
}

/// Addresses that one examination tries; more are not tried, and said to be so by their absence.
const TRIALS_MAX: usize = 64;
const TRIALS_AT_ONCE: usize = 16;
const TRIAL_TIME: Duration = Duration::from_secs(9);
