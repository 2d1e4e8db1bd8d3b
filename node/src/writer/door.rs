//! Who knocks, and our own way into a mesh. PROTOCOL section 7.

use std::{collections::BTreeSet, sync::Arc};

use fmesh_proto::{
    directory,
    id::{PeerKey, SiteId},
    invite::Ticket,
    membership::Membership,
    mesh::admission::{InviteState, JoinRefusal, judge, named_invite},
    record::View,
    wire::{self, AddressRecord},
};

use super::{Clearance, Edit, Told, Work, WriteError, Written, unix_now};
use crate::store::{Changes, Invite, JoinPhase, Joining, PendingJoin, StoreError};

/// A joiner that waits for a person asks again after this.
const RETRY_SECONDS: u32 = 2;

impl Work {
    /// Judges a request to join; admits where nobody needs to confirm.
    pub(super) fn knock(
        &mut self,
        peer: &PeerKey,
        request: &wire::JoinRequest,
    ) -> Result<wire::JoinAnswer, StoreError> {
        let now = unix_now();
        let invite = named_invite(request)
            .and_then(|id| self.desk.invites.get(&id))
            .cloned();
        let state = invite.as_ref().and_then(|invite| self.state(invite));
        let own = self.setup.keys.transport();
        let known = |site: &SiteId| {
            invite
                .as_ref()
                .is_some_and(|i| i.used_by.iter().any(|(s, _)| s == site))
                || self
                    .desk
                    .pending
                    .get(site)
                    .is_some_and(|p| Some(p.invite) == invite.as_ref().map(|i| i.id))
        };
        let knock = match judge(state.as_ref(), request, &own, peer, known, now) {
            Ok(knock) => knock,
            Err(refusal) => {
                tracing::info!(peer = %peer, %refusal, "request to join refused");
                return Ok(refusal.answer());
            }
        };
        if self.desk.membership.member(&knock.site).is_some() {
            return self.admitted(&knock.site);
        }
        if self.desk.membership.removed().contains_key(&knock.site) {
            return Ok(JoinRefusal::Removed.answer());
        }
        let waiting = self.desk.pending.get(&knock.site);
        if waiting.is_some_and(|pending| pending.refused) {
            return Ok(JoinRefusal::Refused.answer());
        }
        if waiting.is_none() && self.desk.pending.len() >= fmesh_proto::limits::PENDING_JOINS_MAX {
            return Ok(JoinRefusal::Busy.answer());
        }
        if waiting.is_none() {
            let pending = PendingJoin {
                site: knock.site,
                peer: *peer,
                invite: knock.invite,
                name: knock.name.clone(),
                manifest: knock.manifest.encode(),
                addresses: knock.addresses.clone(),
                since: now,
                refused: false,
            };
            tracing::info!(site = %knock.site, name = %knock.name, "asks to join");
            let mut changes = Changes::new();
            changes.put_pending(&pending);
            self.desk.pending.insert(knock.site, pending);
            self.commit(
                changes,
                Told {
                    events: vec![Written::Door],
                    ..Told::default()
                },
                now,
            )?;
        }
        if state.is_some_and(|state| state.auto_approve) {
            match self.edits(vec![Edit::Approve { site: knock.site }], false) {
                Ok(_) => return self.admitted(&knock.site),
                Err(WriteError::Store(error)) => return Err(error),
                Err(error) => tracing::error!(site = %knock.site, %error, "cannot admit"),
            }
        }
        Ok(wire::JoinAnswer {
            what: Some(wire::join_answer::What::Pending(wire::JoinPending {
                retry_after_seconds: RETRY_SECONDS,
            })),
        })
    }

    fn state(&self, invite: &Invite) -> Option<InviteState> {
        let secret = fmesh_proto::id::from_hex(&invite.secret)?.try_into().ok()?;
        Some(InviteState {
            secret,
            expires: invite.expires,
            uses_left: self.desk.uses_left(invite),
            revoked: invite.revoked.is_some(),
            auto_approve: invite.auto_approve,
        })
    }

    fn admitted(&self, site: &SiteId) -> Result<wire::JoinAnswer, StoreError> {
        let address = self
            .setup
            .store
            .addresses()?
            .into_iter()
            .filter(|(other, record)| other != site && !record.signature.is_empty())
            .map(|(_, record)| record)
            .take(directory::DIRECTORY_PAGE_RECORDS)
            .collect();
        let circle = self
            .desk
            .circles
            .values()
            .filter(|circle| matches!(&circle.audience, fmesh_proto::circle::Audience::Group { members } if members.contains(site)))
            .map(|circle| circle.name.clone())
            .collect();
        Ok(wire::JoinAnswer {
            what: Some(wire::join_answer::What::Admitted(wire::JoinAdmitted {
                view: self
                    .setup
                    .store
                    .membership()?
                    .iter()
                    .map(|view| view.encode().into_bytes())
                    .collect(),
                address,
                circle,
            })),
        })
    }

    /// The inviter answered our request.
    pub(super) fn join_answered(
        &mut self,
        result: Result<wire::JoinAnswer, String>,
    ) -> Result<(), StoreError> {
        let Some(joining) = self.desk.meta.joining.clone() else {
            return Ok(());
        };
        let Ok(ticket) = Ticket::decode(&joining.ticket) else {
            return Ok(());
        };
        let (phase, answer) = match result.map(|answer| answer.what) {
            Ok(Some(wire::join_answer::What::Admitted(admitted))) => {
                match self.enter(&ticket, &admitted) {
                    Ok(()) => return Ok(()),
                    Err(WriteError::Store(error)) => return Err(error),
                    Err(error) => (
                        JoinPhase::Refused,
                        format!("the answer does not check: {error}"),
                    ),
                }
            }
            Ok(Some(wire::join_answer::What::Pending(_))) => {
                (JoinPhase::Waiting, "a person there decides".to_owned())
            }
            Ok(Some(wire::join_answer::What::Refused(refusal)))
                if refusal.code == JoinRefusal::Busy.code() =>
            {
                (JoinPhase::Trying, clean(&refusal.text))
            }
            Ok(Some(wire::join_answer::What::Refused(refusal))) => {
                (JoinPhase::Refused, clean(&refusal.text))
            }
            Ok(None) => (
                JoinPhase::Trying,
                "the answer was not understood".to_owned(),
            ),
            Err(why) => (JoinPhase::Trying, format!("not reached: {}", clean(&why))),
        };
        if phase == joining.phase && joining.answer.as_ref() == Some(&answer) {
            return Ok(());
        }
        tracing::info!(?phase, %answer, "joining");
        let mut meta = self.desk.meta.clone();
        meta.joining = Some(Joining {
            phase,
            answer: Some(answer),
            ..joining
        });
        let mut changes = Changes::new();
        changes.put_meta(&meta);
        self.desk.meta = meta;
        self.commit(
            changes,
            Told {
                events: vec![Written::Door],
                ..Told::default()
            },
            unix_now(),
        )
    }

    /// We are in: checks the membership records from the founder outwards, keeps them, begins our log.
    fn enter(&mut self, ticket: &Ticket, admitted: &wire::JoinAdmitted) -> Result<(), WriteError> {
        let views: Vec<View> = admitted
            .view
            .iter()
            .map(|bytes| View::decode(bytes))
            .collect::<Result<_, _>>()
            .map_err(|e| WriteError::Invalid(e.to_string()))?;
        let (membership, failed) = Membership::compute(&ticket.mesh, &views);
        if membership.member(&self.setup.site).is_none() {
            let why = failed
                .first()
                .map_or_else(String::new, |(_, error)| format!(" ({error})"));
            return Err(WriteError::Invalid(format!(
                "the records do not show that this site was admitted{why}"
            )));
        }
        if membership.member(&ticket.site).is_none() {
            return Err(WriteError::Invalid(
                "the records do not show that the inviter is a member".into(),
            ));
        }
        let now = unix_now();
        let mut changes = Changes::new();
        let mut began = false;
        let bad: BTreeSet<usize> = failed.iter().map(|(i, _)| *i).collect();
        for (i, view) in views.iter().enumerate().filter(|(i, _)| !bad.contains(i)) {
            let Ok(parsed) = view.clone().parse() else {
                continue;
            };
            let claims = parsed.claims().clone();
            // Proven by `compute`; who is a member, and by whose keys, is computed again from the same records.
            let verified = membership
                .keys_of(&claims.iss)
                .map(|keys| keys.verify(view.clone()));
            if let Some(Err(error)) = verified {
                tracing::warn!(i, %error, "membership record refused");
                continue;
            }
            // Whoever lost its store finds its own manifest in the log that it began.
            began |= claims.iss == self.setup.site;
            changes.put_record(&claims.iss, claims.seq, view, now);
            changes.put_membership(&claims.iss, claims.seq);
            changes.put_current(&claims.iss, &claims.kind, &claims.id, claims.seq);
            self.desk.note_membership(view);
        }
        let mut addresses: Vec<AddressRecord> = admitted.address.clone();
        addresses.truncate(directory::DIRECTORY_PAGE_RECORDS);
        addresses.retain(|record| {
            let site = directory::site_of(record).ok();
            let member = site.and_then(|site| membership.member(&site));
            member.is_some_and(|member| {
                member.site != self.setup.site
                    && directory::signed_by(record, &ticket.mesh, &member.keys).is_some()
            })
        });
        if addresses.iter().all(|record| record.site != ticket.site.0) {
            addresses.push(directory::hint(&ticket.site, ticket.addresses.clone()));
        }
        for record in &addresses {
            changes.put_addresses(record);
        }
        self.desk.meta.mesh = Some(ticket.mesh);
        self.desk.meta.mesh_name = membership
            .members()
            .find(|m| m.depth == 0)
            .map(|m| m.name.clone());
        self.desk.meta.joining = None;
        changes.put_meta(&self.desk.meta);
        self.desk.refresh_membership();
        if began && self.guard.is_some() {
            self.clearance.send_replace(Clearance::Asking);
        }
        tracing::info!(mesh = %ticket.mesh, members = self.desk.membership.members().count(), "joined");
        let told = Told {
            events: vec![Written::InMesh {
                mesh: ticket.mesh,
                membership: Arc::clone(&self.desk.membership),
                addresses,
            }],
            ..Told::default()
        };
        self.commit(changes, told, now)?;
        if !self.is_clear() {
            return Ok(());
        }
        // Begins the log with the manifest, and signs what circles already select.
        self.edits(Vec::new(), false).map(|_| ())
    }
}

/// Words of a stranger, as they may be shown.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(400).collect()
}
