//! Doors for a partner whose messages somebody else writes: [`crate::fuzzing`].

use std::{collections::BTreeMap, sync::Arc};

use prost::Message as _;

use super::{Malice, Sim, With, run::Message};
use crate::{
    id::CircleId,
    mesh::Ask,
    wire::{self, request::What},
};

impl Sim {
    /// Two connected sites that share something each; the second one's messages are not its own, so it counts as
    /// malicious.
    pub(crate) fn hostile_pair() -> Self {
        let mut sim = Self::mesh(1, 2);
        for site in 0..2 {
            sim.circle(site, With::Everyone, &["name"]);
            sim.circle(site, With::Group(vec![1 - site]), &["name", "calendar"]);
            sim.publish(site, 1);
        }
        sim.sites[1].malice = Some(Malice::Script);
        sim.run_for(3_000);
        sim
    }

    pub(crate) fn say_gossip(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        if let Some(connection) = self.connection(from, to) {
            self.send(from, to, connection, Message::Gossip(Arc::new(bytes)));
        }
    }

    pub(crate) fn say_request(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        if let Some(connection) = self.connection(from, to) {
            self.send(from, to, connection, Message::Request(u64::MAX, bytes));
        }
    }

    /// The next answer of `from` will be this.
    pub(crate) fn prepare_answer(&mut self, from: usize, bytes: Vec<u8>) {
        self.sites[from].answers.push_back(bytes);
    }

    /// Some good gossip that `from` could send.
    pub(crate) fn genuine_gossip(&self, from: usize, which: usize) -> Vec<u8> {
        let all = self.sites[from].store.publications();
        let publication = &all[which % all.len()];
        let gossip = wire::Gossip {
            what: wire::Publication::decode(publication.as_slice())
                .ok()
                .map(wire::gossip::What::Publication),
        };
        gossip.encode_to_vec()
    }

    /// Some good call that `from` could make.
    pub(crate) fn genuine_request(&self, from: usize, which: usize) -> Vec<u8> {
        let site = self.sites[which / 8 % 2].who.site.0.to_vec();
        let position = (which / 16) as u64;
        let what = match which % 5 {
            0 => What::Hello(wire::Hello {
                mesh: self.mesh.0.to_vec(),
                version: crate::limits::PROTOCOL_VERSION,
                boot_id: position,
                ..wire::Hello::default()
            }),
            1 => What::Heads(wire::HeadsRequest::default()),
            2 => What::Publications(wire::PublicationsRequest {
                site,
                from: position,
            }),
            3 => What::Feed(wire::FeedRequest {
                circle: self.some_circle(0, which / 8),
                after: position,
                held: position / 2,
            }),
            _ => What::Membership(wire::MembershipRequest::default()),
        };
        debug_assert!(from < self.sites.len());
        wire::Request { what: Some(what) }.encode_to_vec()
    }

    /// Some good answer that `from` could give to `to`.
    pub(crate) fn genuine_answer(&self, from: usize, to: usize, which: usize) -> Vec<u8> {
        let site = self.sites[which / 8 % 2].who.site;
        let position = (which / 16 % 4) as u64;
        let ask = match which % 4 {
            0 => Ask::Heads {
                digest: None,
                directory: None,
                directory_after: None,
                witnessed: None,
                forked: None,
            },
            1 => Ask::Publications {
                site,
                from: position,
            },
            2 => Ask::Feed {
                circle: CircleId::from_slice(&self.some_circle(from, which / 8))
                    .unwrap_or(CircleId::MESH_WIDE),
                after: position,
            },
            _ => Ask::Membership {
                held: Vec::new(),
                after: None,
            },
        };
        let to = self.sites[to].who.site;
        self.sites[from].store.serve(&to, &ask).encode_to_vec()
    }

    fn some_circle(&self, owner: usize, which: usize) -> Vec<u8> {
        let circles: &BTreeMap<_, _> = &self.sites[owner].store.circles;
        let circle = circles.keys().nth(which % circles.len().max(1));
        circle.map_or_else(Vec::new, |circle| circle.0.to_vec())
    }
}
