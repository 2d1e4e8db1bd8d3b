//! What the writer has done: records taken and issued, members, the door, this node's own way into a mesh.

use std::{sync::Arc, time::Instant};

use fmesh_proto::{
    id::{Digest, MeshId, PeerKey, SiteId},
    invite::{Ticket, join_proof},
    membership::Membership,
    mesh::{Input, Mesh, Setup, witness::Cosigned},
    record::View,
    wire,
};
use tokio::sync::mpsc;

use super::{Job, Pilot, from_net::told_addresses};
use crate::{
    net::{Gate, NetCommand},
    node::pairs::Pairs,
    store::StoreError,
    writer::{Writer, Written, unix_now},
};

impl Pilot {
    pub(super) fn on_written(&mut self, written: Written) -> Result<(), StoreError> {
        match written {
            Written::Taken(progress) => {
                self.live_dirty = true;
                self.tell(Input::Taken(progress));
            }
            Written::Issued { publications, head } => {
                self.live_dirty = true;
                self.tell(Input::Issued { publications, head });
            }
            Written::Acknowledged => self.live_dirty = true,
            Written::Membership(membership) => {
                self.set_members(membership);
                self.look_at_door()?;
            }
            Written::Keys(keys) => {
                self.pairs = Arc::new(Pairs::new(Arc::clone(&keys)));
                self.keys = keys;
                self.live_dirty = true;
            }
            Written::Door => self.look_at_door()?,
            Written::InMesh {
                mesh,
                membership,
                addresses,
            } => {
                self.set_members(membership);
                self.joining = None;
                self.enter_mesh(mesh, addresses)?;
                self.look_at_door()?;
            }
        }
        Ok(())
    }

    fn set_members(&mut self, membership: Arc<Membership>) {
        self.membership = Arc::clone(&membership);
        self.membership_tx.send_replace(Arc::clone(&membership));
        let is_member = |site: &SiteId| membership.member(site).is_some();
        self.live.peers.retain(|site, _| is_member(site));
        self.identities.retain(&membership);
        self.live_dirty = true;
        self.tell(Input::Membership(membership));
    }

    /// Starts the machine where the store stands.
    pub(super) fn enter_mesh(
        &mut self,
        mesh: MeshId,
        addresses: Vec<wire::AddressRecord>,
    ) -> Result<(), StoreError> {
        let store = self.node.store.clone();
        let heads = store
            .heads()?
            .into_iter()
            .map(|(site, head)| (site, head.frontier.size(), head.frontier.root()))
            .collect();
        let own_head = store.head(&self.node.site)?.map(|head| head.checkpoint);
        let mut cosigned = Vec::new();
        for (site, _, _) in store.cosigned_versions()? {
            let kept = store
                .newest_cosigned(&site)?
                .map(|kept| Cosigned::check(kept.checkpoint.note(), &mesh, &self.membership));
            // Of somebody whose keys are not known (any more).
            cosigned.extend(kept.and_then(Result::ok));
        }
        let forks = store.forks(None)?;
        let mut feeds = store.feed_positions()?;
        for (issuer, circle, _) in store.granted_circles()? {
            if !feeds.iter().any(|(i, c, _)| *i == issuer && *c == circle) {
                feeds.push((issuer, circle, 0));
            }
        }
        let mut known = store.addresses()?;
        known.extend(addresses.into_iter().filter_map(|record| {
            let site = SiteId::from_slice(&record.site)?;
            Some((site, record))
        }));
        if let Some(own) = known.remove(&self.node.site) {
            self.address_seq = self.address_seq.max(own.seq);
        }
        for record in known.values() {
            self.identities_learn(&mesh, record);
        }
        let ask_own = self.node.writer.ask_own(store.meta()?.restoring);
        let own_record = self.sign_addresses(mesh);
        let _ = self.jobs.try_send(Job::Learned {
            record: own_record.clone(),
        });
        let setup = Setup {
            me: self.node.site,
            mesh,
            boot_id: self.boot_id,
            seed: self.boot_id.rotate_left(17),
            software: concat!("fmesh ", env!("CARGO_PKG_VERSION")).into(),
            membership: Arc::clone(&self.membership),
            heads,
            ask_own,
            own_head,
            cosigned,
            forks: forks.iter().map(|fork| (fork.site, fork.name())).collect(),
            feeds,
            addresses: known.into_values().collect(),
            own_record: Some(own_record),
        };
        self.mesh = Some(Mesh::new(setup, self.now()));
        self.mesh_id = Some(mesh);
        self.outbox
            .push_back(NetCommand::SetTopic(Some(topic(&mesh))));
        self.set_gate()
    }

    /// Invites, pending joins or our own way in may have changed.
    pub(super) fn look_at_door(&mut self) -> Result<(), StoreError> {
        if self.mesh_id.is_none() {
            let meta = self.node.store.meta()?;
            let joining = meta.joining.as_ref().filter(|_| meta.is_joining());
            self.joining = joining
                .and_then(|joining| Ticket::decode(&joining.ticket).ok())
                .map(|ticket| (ticket.transport, ticket));
            if joining.is_some_and(|joining| joining.answer.is_none()) {
                self.join_at = Instant::now();
            }
        }
        self.ask_to_join();
        self.live_dirty = true;
        self.set_gate()
    }

    pub(super) fn set_gate(&mut self) -> Result<(), StoreError> {
        let now = unix_now();
        let pending = self.node.store.pending()?;
        let join_open = pending.iter().any(|p| !p.refused)
            || self.node.store.invites()?.iter().any(|invite| {
                invite.revoked.is_none()
                    && invite.expires > now
                    && invite.used_by.len() < invite.uses as usize
            });
        let members = self
            .membership
            .members()
            .filter(|m| m.site != self.node.site)
            .flat_map(|member| self.identities.accepted(member))
            .collect();
        let gate = Gate { members, join_open };
        if gate != self.gate {
            self.gate = gate.clone();
            self.outbox.push_back(NetCommand::SetGate(gate));
        }
        Ok(())
    }

    pub(super) fn ask_to_join(&mut self) {
        let Some((peer, ticket)) = &self.joining else {
            return;
        };
        if self.join_asked || Instant::now() < self.join_at {
            return;
        }
        let request = self.join_request(ticket, peer);
        self.outbox.push_back(NetCommand::Join {
            peer: *peer,
            addresses: ticket.addresses.clone(),
            request,
        });
        self.join_asked = true;
    }

    fn join_request(&self, ticket: &Ticket, inviter: &PeerKey) -> wire::JoinRequest {
        let manifest: &View = &self.node.manifest;
        let own = self.keys.transport();
        wire::JoinRequest {
            invite: ticket.invite.0.to_vec(),
            manifest: manifest.encode().into_bytes(),
            name: self.node.config.name.clone(),
            proof: join_proof(&ticket.secret, inviter, &own, manifest).to_vec(),
            address: told_addresses(&self.node.config, &self.live.reach),
        }
    }
}

/// Hands jobs to the writer in order; waits where the loop must not.
pub(super) async fn feed_writer(writer: Writer, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        let result = match job {
            Job::Take { work, incoming } => writer.take(work, incoming).await,
            Job::Acknowledged {
                reader,
                circle,
                feed_seq,
            } => writer.acknowledged(reader, circle, feed_seq).await,
            Job::Learned { record } => writer.learned(record).await,
            Job::JoinAnswered { result } => writer.join_answered(result).await,
            Job::OwnLog(told) => writer.own_log(told).await,
            Job::Replan => writer.replan().await,
        };
        if result.is_err() {
            return;
        }
    }
}

/// The mesh's gossip topic: strangers cannot guess it, and a hello to one does not tell the mesh.
fn topic(mesh: &MeshId) -> String {
    let mut bytes = b"fmesh/topic/v1\n".to_vec();
    bytes.extend_from_slice(mesh.as_bytes());
    format!("fmesh/{}", Digest::of(&bytes).hex())
}
