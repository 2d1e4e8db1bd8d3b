//! Status, invites, and our own way in.

use fmesh_proto::{
    circle::Audience,
    id::fingerprint,
    invite::Ticket,
    kinds::Kind,
    limits::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, CLOCK_SKEW_SECONDS_SHOWN, TEXT_CHARS_MAX},
    membership::{Membership, Removed, Role},
};

use super::{Error, Service, now, refs, sharing, today, unix};
use crate::{
    api::view::{
        self, InviteCreated, InviteRequest, InviteState, InviteUse, JoinState, JoinStep, List,
        MeshView, OwnCounts, Partner, Reachable, RefusedConnection, RestoredView, Status, Trouble,
    },
    node::Refused,
    store::{Invite, JoinPhase},
    writer::Edit,
};

impl Service {
    /// How it stands, problems first.
    pub fn status(&self) -> Result<Status, Error> {
        let membership = self.membership();
        let (live, store) = (self.node.live.borrow().clone(), &self.node.store);
        let (meta, partners) = (store.meta()?, self.partner_rows(&membership)?);
        let mesh = meta.mesh.map(|mesh| MeshView {
            mesh,
            name: meta.mesh_name.clone(),
            role: membership.member(&self.node.site).map(|member| member.role),
            members: number(membership.members().count()),
            admins: number(membership.admins()),
        });
        let pending = store.pending()?.iter().filter(|p| !p.refused).count();
        let now = unix(now());
        let open = |invite: &&Invite| invite_state(invite, now) == InviteState::Open;
        let mut problems: Vec<Trouble> =
            live.problems.iter().map(|what| said(what, None)).collect();
        let removal = membership.removed().get(&self.node.site);
        let removal = removal.map(|gone| (self.site_name(&membership, &gone.by).name, gone));
        if let Some(why) = self.node.writer.clearance().refusal() {
            problems.push(said(&why, Some("fmesh partner list".to_owned())));
        }
        if let Some(fork) = self
            .forks_by_site()?
            .get(&self.node.site)
            .and_then(|f| f.first())
        {
            problems.push(said(
                &format!(
                    "this site is forked: {}; partners hold the proof and cosign nothing any more",
                    fork.what
                ),
                Some("a new site can take its place: fmesh init in another directory".to_owned()),
            ));
        }
        problems.extend(self.keys_trouble()?);
        problems.extend(troubles(mesh.as_ref(), removal, &partners, pending));
        Ok(Status {
            problems,
            site: self.site_name(&membership, &self.node.site),
            mesh,
            join: self.join_state()?,
            started: view::time(self.node.started),
            uptime_seconds: now.saturating_sub(self.node.started),
            listening: live.listening.clone(),
            store_bytes: store.size_on_disk()?,
            log_size: store
                .head(&self.node.site)?
                .map_or(0, |head| head.frontier.size()),
            restored: meta.restored.map(|restored| RestoredView {
                at: view::time(restored.at),
                from: restored.from,
                to: restored.to,
                returned: restored.returned,
            }),
            witness_key: self.witness_key(&meta, &membership),
            witnessed: self.witnessed(&membership, &self.node.site)?,
            own: self.own_counts()?,
            pending: number(pending),
            open_invites: number(store.invites()?.iter().filter(open).count()),
            refused_connections: live.refused_connections,
            refused: live.refusals.iter().map(refused_view).collect(),
            reach: Reachable {
                confirmed: live.reach.confirmed.clone(),
                refuted: live.reach.refuted.iter().map(|(a, _)| a.clone()).collect(),
                relayed: live.reach.relayed.clone(),
                relaying: live.reach.relaying,
            },
            partners,
        })
    }

    /// Invites, newest first.
    pub fn invites(&self) -> Result<List<view::Invite>, Error> {
        let membership = self.membership();
        let invites = self.node.store.invites()?;
        let view = |invite: &Invite| self.invite_view(&membership, invite);
        Ok(List::new(invites.iter().map(view).collect(), None))
    }

    /// One invite, by its id or the unique beginning of it.
    pub fn invite(&self, id: &str) -> Result<view::Invite, Error> {
        let invite = choose_invite(&self.node.store.invites()?, id)?;
        Ok(self.invite_view(&self.membership(), &invite))
    }

    /// Makes an invite. A site that is in no mesh, and not on its way into one, founds its own first.
    pub async fn create_invite(&self, asked: InviteRequest) -> Result<InviteCreated, Error> {
        check_invite(&asked)?;
        let meta = self.node.store.meta()?;
        let founds = meta.mesh.is_none();
        if founds && meta.joining.is_some() {
            return Err(Error::conflict(
                "this site is on its way into another mesh, and a site is in one mesh only",
                "wait until it is in (fmesh status), or give that up: fmesh join --cancel",
            ));
        }
        self.check_invite_circles(&asked.circles)?;
        let addresses = if asked.addresses.is_empty() {
            self.node.addresses()
        } else {
            asked.addresses
        };
        if addresses.is_empty() {
            return Err(Error::conflict(
                "this node has no address that a ticket could name",
                "set announce in the [node] section of the configuration, or give --address",
            ));
        }
        let invite = Edit::CreateInvite {
            expires: unix(now()).saturating_add(asked.expires_in_seconds),
            uses: asked.uses,
            role: asked.role,
            note: asked.note,
            circles: asked.circles,
            auto_approve: asked.auto_approve,
            addresses: addresses.into_iter().take(ADDRESSES_MAX).collect(),
        };
        let found = founds.then(|| Edit::Found {
            name: self.node.config.name.clone(),
        });
        let edits = found.into_iter().chain([invite]).collect();
        let applied = self.node.writer.apply(edits).await?;
        let (Some(ticket), Some(id)) = (applied.ticket, applied.invite) else {
            return Err(Error::conflict(
                "the invite was made, but its ticket was not answered",
                "look with fmesh invite list, revoke it, and make another",
            ));
        };
        Ok(InviteCreated {
            ticket,
            invite: self.invite(&id.hex())?,
            founded: founds,
        })
    }

    /// Ends an invite.
    pub async fn revoke_invite(&self, id: &str) -> Result<view::Invite, Error> {
        let id = choose_invite(&self.node.store.invites()?, id)?.id;
        self.node
            .writer
            .apply(vec![Edit::RevokeInvite { id }])
            .await?;
        self.invite(&id.hex())
    }

    /// How far our own way into a mesh is.
    pub fn join_state(&self) -> Result<JoinState, Error> {
        let (meta, membership) = (self.node.store.meta()?, self.membership());
        let joining = meta.joining.as_ref().filter(|_| meta.mesh.is_none());
        let ticket = joining.and_then(|joining| Ticket::decode(&joining.ticket).ok());
        Ok(JoinState {
            step: match (&meta.mesh, &joining) {
                (Some(_), _) => JoinStep::Member,
                (None, Some(joining)) => match joining.phase {
                    JoinPhase::Trying => JoinStep::Trying,
                    JoinPhase::Waiting => JoinStep::Waiting,
                    JoinPhase::Refused => JoinStep::Refused,
                },
                (None, None) => JoinStep::Alone,
            },
            mesh: meta.mesh.or(ticket.as_ref().map(|ticket| ticket.mesh)),
            inviter: ticket.map(|ticket| self.site_name(&membership, &ticket.site)),
            since: joining.map(|joining| view::time(joining.since)),
            answer: joining.and_then(|joining| joining.answer.clone()),
            fingerprint: fingerprint(self.node.site.as_bytes()),
        })
    }

    /// Begins to join with a ticket; the answer comes later, in [`Self::join_state`].
    pub async fn join(&self, line: &str) -> Result<JoinState, Error> {
        let ticket = Ticket::decode(line).map_err(|error| {
            Error::request(
                error.to_string(),
                "copy the whole line that fmesh invite printed, from fmesh1 to its end",
            )
        })?;
        let meta = self.node.store.meta()?;
        if let Some(mesh) = meta.mesh {
            return Err(if mesh == ticket.mesh {
                Error::conflict("this site is in that mesh already", "fmesh status")
            } else {
                Error::conflict(
                    format!(
                        "this site is in mesh {mesh} already, and the ticket is for mesh {}",
                        ticket.mesh
                    ),
                    "a site is in one mesh only; set up another site directory with fmesh init",
                )
            });
        }
        if ticket.site == self.node.site {
            return Err(Error::conflict(
                "this ticket was made by this very site",
                "send it to the partner, who runs fmesh join with it",
            ));
        }
        if ticket.expires <= unix(now()) {
            return Err(Error::conflict(
                format!("the ticket expired at {}", view::time(ticket.expires)),
                "ask for a new one, and check this machine's clock",
            ));
        }
        let ticket = ticket.encode();
        self.node.writer.apply(vec![Edit::Join { ticket }]).await?;
        self.join_state()
    }

    /// Gives up joining.
    pub async fn cancel_join(&self) -> Result<JoinState, Error> {
        self.node.writer.apply(vec![Edit::CancelJoin]).await?;
        self.join_state()
    }

    fn own_counts(&self) -> Result<OwnCounts, Error> {
        let (circles, today) = (self.node.store.circles()?, today());
        let mut counts = OwnCounts::default();
        for object in self.node.store.objects(None)? {
            let shared = || u64::from(!sharing::shown_in(&circles, &object, today).is_empty());
            match object.kind {
                _ if object.retired => {}
                Kind::Resource => {
                    counts.resources += 1;
                    counts.resources_shared += shared();
                }
                Kind::Capacity => {
                    counts.capacities += 1;
                    counts.capacities_shared += shared();
                }
                _ => {}
            }
        }
        Ok(counts)
    }

    fn check_invite_circles(&self, names: &[String]) -> Result<(), Error> {
        let circles = self.node.store.circles()?;
        for name in names {
            match circles.iter().find(|circle| circle.name == *name) {
                None => {
                    return Err(Error::not_found(
                        format!("there is no circle {name:?} that a newcomer could enter"),
                        "fmesh circle list",
                    ));
                }
                Some(circle) if !matches!(circle.audience, Audience::Group { .. }) => {
                    return Err(Error::conflict(
                        format!(
                            "circle {name:?} is not for a group, so a newcomer cannot enter it"
                        ),
                        "name a circle with members: fmesh circle list",
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn invite_view(&self, membership: &Membership, invite: &Invite) -> view::Invite {
        let used = |(site, at): &(_, u64)| InviteUse {
            by: self.site_name(membership, site),
            at: view::time(*at),
        };
        view::Invite {
            id: invite.id,
            state: invite_state(invite, unix(now())),
            created: view::time(invite.created),
            expires: view::time(invite.expires),
            uses: invite.uses,
            used_by: invite.used_by.iter().map(used).collect(),
            role: invite.role,
            note: invite.note.clone(),
            circles: invite.circles.clone(),
            auto_approve: invite.auto_approve,
            revoked: invite.revoked.map(view::time),
            addresses: invite.addresses.clone(),
        }
    }
}

/// Bounds of an invite.
fn check_invite(asked: &InviteRequest) -> Result<(), Error> {
    let refused = |what: &str, hint: String| Err(Error::request(what, hint));
    if !INVITE_SECONDS.contains(&asked.expires_in_seconds) {
        return refused(
            "an invite is good for one minute to one year",
            "give --expires, for example 7d".to_owned(),
        );
    }
    if !INVITE_USES.contains(&asked.uses) {
        return refused(
            "an invite is used 1 to 1,000 times",
            "give --uses within that".to_owned(),
        );
    }
    if asked
        .note
        .as_ref()
        .is_some_and(|note| note.chars().count() > TEXT_CHARS_MAX)
    {
        return refused(
            "the note is too long",
            format!("say it in at most {TEXT_CHARS_MAX} characters"),
        );
    }
    if asked.addresses.len() > ADDRESSES_MAX {
        return refused(
            "a ticket cannot carry so many addresses",
            format!("name at most {ADDRESSES_MAX}"),
        );
    }
    let wrong = |address: &&String| !address.starts_with('/') || address.len() > ADDRESS_BYTES_MAX;
    if let Some(address) = asked.addresses.iter().find(wrong) {
        let address: String = address.chars().take(80).collect();
        return refused(
            &format!("{address:?} is not an address of a node"),
            "write it like /ip4/192.0.2.7/udp/4810/quic-v1".to_owned(),
        );
    }
    Ok(())
}

fn choose_invite(invites: &[Invite], id: &str) -> Result<Invite, Error> {
    let candidates = invites.iter().map(|invite| refs::Candidate {
        item: invite.clone(),
        name: invite.id.hex(),
        id: invite.id.hex(),
        spelling: match &invite.note {
            Some(note) => format!("{} ({note})", invite.id.hex()),
            None => invite.id.hex(),
        },
    });
    refs::choose("invite", id, candidates, "fmesh invite list")
}

fn invite_state(invite: &Invite, now: u64) -> InviteState {
    if invite.revoked.is_some() {
        InviteState::Revoked
    } else if number(invite.used_by.len()) >= u64::from(invite.uses) {
        InviteState::UsedUp
    } else if invite.expires <= now {
        InviteState::Expired
    } else {
        InviteState::Open
    }
}

/// What the operator should see besides what the node itself reports, worst first.
fn troubles(
    mesh: Option<&MeshView>,
    removal: Option<(String, &Removed)>,
    partners: &[Partner],
    pending: usize,
) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    if let Some((by, gone)) = removal {
        let reason = match &gone.reason {
            Some(reason) => format!(": {reason}"),
            None => ", without a reason".to_owned(),
        };
        troubles.push(said(
            &format!(
                "this site was removed from its mesh at {} by {by}{reason}; nothing it signs counts any more, and nobody serves it",
                view::time(gone.since)
            ),
            Some("talk to them; a removed site comes back only as a new one: fmesh init in another directory".to_owned()),
        ));
    } else if mesh.is_some_and(|mesh| mesh.role.is_none()) {
        troubles.push(said(
            "this site is no member of its mesh: its admission does not count, or has not arrived",
            Some("fmesh partner list".to_owned()),
        ));
    }
    for partner in partners {
        let show = || {
            Some(format!(
                "fmesh partner show {}",
                sharing::quoted(&partner.name)
            ))
        };
        if partner.refused_records > 0 {
            let reason = partner.refused_reason.as_deref().unwrap_or("unknown");
            troubles.push(said(
                &format!(
                    "{} records of {} were refused, the newest because: {reason}",
                    partner.refused_records, partner.name
                ),
                show(),
            ));
        }
        if let Some(first) = partner.standing.forks.first() {
            troubles.push(said(
                &format!(
                    "{} is forked: {}; its log is not cosigned any more",
                    partner.name, first.what
                ),
                show(),
            ));
        }
        if let Some(first) = partner.standing.contradictions.first() {
            troubles.push(said(
                &format!(
                    "{} signed two different records for one place of a feed, {} and {} of its log: it may tell its readers different things",
                    partner.name, first.leaves[0], first.leaves[1]
                ),
                show(),
            ));
        }
        if let Some(how) = &partner.misbehaved_how {
            let (name, times) = (&partner.name, partner.misbehaved);
            troubles.push(said(
                &format!("{name} misbehaved {times} times since this node started, last: {how}"),
                show(),
            ));
        }
        let skew = partner.clock_skew_seconds.unwrap_or(0);
        if skew.unsigned_abs() > CLOCK_SKEW_SECONDS_SHOWN {
            let (minutes, side) = (
                skew.unsigned_abs() / 60,
                if skew > 0 { "ahead" } else { "behind" },
            );
            troubles.push(said(
                &format!(
                    "the clock of {} is {minutes} min {side} of ours",
                    partner.name
                ),
                Some("compare both with a time server".to_owned()),
            ));
        }
        if let Some(error) = &partner.last_error {
            troubles.push(said(
                &format!("{} cannot be reached: {error}", partner.name),
                Some(format!("fmesh doctor {}", sharing::quoted(&partner.name))),
            ));
        }
    }
    if pending > 0 {
        let sites = if pending == 1 {
            "one site waits"
        } else {
            "several sites wait"
        };
        troubles.push(said(
            &format!("{sites} to be let in"),
            Some("fmesh partner pending".to_owned()),
        ));
    }
    if let Some(mesh) = mesh
        && mesh.admins == 1
        && mesh.members > 1
        && mesh.role == Some(Role::Admin)
    {
        troubles.push(said(
            "you are the only admin: if this site is lost, nobody can let a partner in or put one out",
            Some(match partners {
                [] => "fmesh invite --role admin".to_owned(),
                [first, ..] => {
                    let trusted = partners.iter().find(|p| p.role == Role::Member);
                    let name = &trusted.unwrap_or(first).name;
                    format!("fmesh partner role {} admin", sharing::quoted(name))
                }
            }),
        ));
    }
    troubles
}

fn refused_view(refused: &Refused) -> RefusedConnection {
    RefusedConnection {
        at: view::time(refused.at),
        peer_id: refused.peer.clone(),
        address: refused.address.clone(),
        reason: refused.reason.clone(),
    }
}

fn said(what: &str, hint: Option<String>) -> Trouble {
    Trouble {
        what: what.to_owned(),
        hint,
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// How long an invite can be good.
const INVITE_SECONDS: std::ops::RangeInclusive<u64> = 60..=366 * 24 * 3600;
/// How often it can be used.
const INVITE_USES: std::ops::RangeInclusive<u32> = 1..=1_000;

#[cfg(test)]
mod tests {
    use fmesh_proto::id::{InviteId, SiteId};

    use super::*;

    fn invite() -> Invite {
        Invite {
            id: InviteId([7; 16]),
            secret: String::new(),
            created: 100,
            expires: 200,
            uses: 1,
            role: Role::Member,
            note: None,
            circles: Vec::new(),
            auto_approve: false,
            revoked: None,
            used_by: Vec::new(),
            addresses: Vec::new(),
        }
    }

    #[test]
    fn an_invite_is_in_one_state() {
        let mut invite = invite();
        assert_eq!(invite_state(&invite, 199), InviteState::Open);
        assert_eq!(invite_state(&invite, 200), InviteState::Expired);
        invite.used_by.push((SiteId([1; 32]), 150));
        assert_eq!(invite_state(&invite, 300), InviteState::UsedUp);
        invite.revoked = Some(160);
        assert_eq!(invite_state(&invite, 199), InviteState::Revoked);
    }

    #[test]
    fn bounds_of_an_invite_are_told() {
        let good = InviteRequest::default();
        assert!(check_invite(&good).is_ok());
        let bad = [
            InviteRequest {
                expires_in_seconds: 59,
                ..good.clone()
            },
            InviteRequest {
                expires_in_seconds: u64::MAX,
                ..good.clone()
            },
            InviteRequest {
                uses: 0,
                ..good.clone()
            },
            InviteRequest {
                uses: 1_001,
                ..good.clone()
            },
            InviteRequest {
                note: Some("x".repeat(4_001)),
                ..good.clone()
            },
            InviteRequest {
                addresses: vec!["/ip4/127.0.0.1".to_owned(); 9],
                ..good.clone()
            },
            InviteRequest {
                addresses: vec!["192.0.2.7:4810".to_owned()],
                ..good.clone()
            },
        ];
        for asked in bad {
            assert!(
                matches!(check_invite(&asked), Err(Error::Request { .. })),
                "{asked:?}"
            );
        }
    }

    #[test]
    fn troubles_come_with_a_command_and_only_if_there_are_any() {
        let mesh = |admins, members, role| MeshView {
            mesh: fmesh_proto::id::MeshId([1; 32]),
            name: None,
            role,
            members,
            admins,
        };
        let words = |mesh: &MeshView, pending| {
            let all = troubles(Some(mesh), None, &[], pending);
            assert!(all.iter().all(|trouble| trouble.hint.is_some()));
            all.len()
        };
        assert_eq!(words(&mesh(2, 3, Some(Role::Admin)), 0), 0);
        assert_eq!(
            words(&mesh(1, 1, Some(Role::Admin)), 0),
            0,
            "alone is no trouble"
        );
        assert_eq!(words(&mesh(1, 3, Some(Role::Admin)), 2), 2);
        assert_eq!(words(&mesh(1, 3, Some(Role::Member)), 0), 0);
        assert_eq!(words(&mesh(1, 3, None), 0), 1);
        assert!(troubles(None, None, &[], 0).is_empty());
        let gone = Removed {
            last_good: 7,
            by: SiteId([2; 32]),
            since: 0,
            reason: Some("contract ended".to_owned()),
            was: None,
        };
        let out = mesh(1, 3, None);
        let told = troubles(Some(&out), Some(("Alu Ost".to_owned(), &gone)), &[], 0);
        assert!(
            matches!(&told[..], [one] if one.what.contains("by Alu Ost: contract ended")),
            "{told:?}"
        );
    }
}
