//! Who is in, and what that means here: putting a partner out, changing a role, and what follows for this site's own
//! circles and invites.
//!
//! An act is signed and then asked for its effect: one that does not count, because another act outweighs it, is
//! refused and never leaves. What follows is the same whoever acted, and is done before anything else is signed
//! ([`Work::heed_members`]): a circle of one partner ends with it, a group that had it as a reader gets a new key, and a site that is no
//! admin (any more) has no open invites. Where a box key changed, ours or a partner's, the pairwise circles of the two are others:
//! groups with such a reader get a new key, and a circle of one partner goes on under its new name. Who comes back, because the removal turned out not to count, has to be let into
//! circles again.

use std::{collections::BTreeSet, sync::Arc};

use fmesh_proto::{
    circle::Audience,
    id::SiteId,
    membership::{Act, Membership, Role},
    record::{Parsed, Verified},
};

use super::{Told, Work, WriteError, desk::Session, endings::has_ended};
use crate::store::StoreError;

impl Work {
    /// Puts a partner out of the mesh.
    pub(super) fn remove(
        &mut self,
        site: SiteId,
        last_good: Option<u64>,
        reason: Option<String>,
        session: &mut Session,
    ) -> Result<(), WriteError> {
        self.may_act_on(&site)?;
        if site == self.setup.site {
            return Err(WriteError::Conflict(
                match self.desk.membership.admins() {
                    1 => "this site is the only admin, and no site puts itself out: make another one admin first, who may do it",
                    _ => "no site puts itself out: ask another admin",
                }
                .into(),
            ));
        }
        let known = self.log_size(&site)?;
        let last_good = last_good.unwrap_or(known);
        if last_good > known {
            return Err(WriteError::Invalid(format!(
                "{last_good} of its records cannot be good: its log has {known} here"
            )));
        }
        session.applied.last_good = Some(last_good);
        self.try_act(
            &Act::Remove {
                site,
                last_good,
                reason,
            },
            session,
        )?;
        if self.desk.membership.member(&site).is_some() {
            return Err(outweighed());
        }
        Ok(())
    }

    /// Gives a member another role, counted from where its log stands here.
    pub(super) fn set_role(
        &mut self,
        site: SiteId,
        role: Role,
        session: &mut Session,
    ) -> Result<(), WriteError> {
        self.may_act_on(&site)?;
        let membership = Arc::clone(&self.desk.membership);
        let now = membership.member(&site).map(|member| member.role);
        if now == Some(role) {
            return Err(WriteError::Conflict("it has this role already".into()));
        }
        if now == Some(Role::Admin) && membership.admins() == 1 {
            return Err(WriteError::Conflict(
                "it is the only admin, and without one nobody can let a partner in or put one out: make another one admin first"
                    .into(),
            ));
        }
        // At one index the act that takes power is the stronger, so each begins after those before it.
        let from = self.log_size(&site)?.max(self.next_role_index(&site));
        self.try_act(&Act::Role { site, role, from }, session)?;
        match self.desk.membership.member(&site).map(|member| member.role) {
            Some(now) if now == role => Ok(()),
            _ => Err(outweighed()),
        }
    }

    /// An admin may act on a member.
    fn may_act_on(&self, site: &SiteId) -> Result<(), WriteError> {
        self.desk.mesh()?;
        self.desk.must_be_admin()?;
        if let Some(gone) = self.desk.membership.removed().get(site) {
            return Err(WriteError::Conflict(format!(
                "it was removed before, by {}",
                gone.by
            )));
        }
        match self.desk.membership.member(site) {
            Some(_) => Ok(()),
            None => Err(WriteError::NotFound(format!(
                "{site} is not a member of the mesh"
            ))),
        }
    }

    /// Signs an act whose words others will be able to read.
    fn try_act(&mut self, act: &Act, session: &mut Session) -> Result<(), WriteError> {
        Act::read(&act.write()).map_err(|e| WriteError::Invalid(e.to_string()))?;
        self.act(act, session)
    }

    fn log_size(&self, site: &SiteId) -> Result<u64, StoreError> {
        let head = self.setup.store.head(site)?;
        Ok(head.map_or(0, |head| head.frontier.size()))
    }

    /// The first index after those from which earlier role acts on a site count.
    fn next_role_index(&self, site: &SiteId) -> u64 {
        let begins = |view: &fmesh_proto::record::View| {
            let record = view.clone().parse().ok().map(Parsed::from_store)?;
            match Act::of(&record) {
                Ok(Act::Role {
                    site: target, from, ..
                }) if target == *site => {
                    // Of an act on oneself, what was written before it is left alone.
                    let own = record.claims().iss == target;
                    Some(from.max(if own { record.claims().seq + 1 } else { 0 }) + 1)
                }
                _ => None,
            }
        };
        let views = self.desk.membership_views.values();
        views.filter_map(begins).max().unwrap_or(0)
    }

    /// What follows from who is in, before anything is signed.
    pub(super) fn heed_members(&mut self, session: &mut Session) {
        let membership = Arc::clone(&self.desk.membership);
        if membership.members().next().is_none() {
            return;
        }
        if let Some(mesh) = self.desk.meta.mesh {
            self.refresh_pairs(&mesh);
        }
        let is_out = |site: &SiteId| membership.member(site).is_none();
        let circles: Vec<_> = self.desk.circles.values().cloned().collect();
        for mut circle in circles {
            match &mut circle.audience {
                Audience::MeshWide => {}
                Audience::Pairwise { to } if is_out(to) => {
                    tracing::info!(circle = %circle.name, "ends: its partner is no member");
                    session.changes.delete_circle(&circle.id);
                    self.desk.circles.remove(&circle.id);
                    session.applied.ended.push(circle.id);
                }
                Audience::Pairwise { to } => match self.desk.pair(to) {
                    Some(pair) if pair != circle.id => {
                        tracing::info!(circle = %circle.name, "goes on with the new box keys");
                        session.changes.delete_circle(&circle.id);
                        self.desk.circles.remove(&circle.id);
                        circle.id = pair;
                        self.keep_circle(circle, session);
                    }
                    _ => {}
                },
                Audience::Group { members } if members.iter().any(is_out) => {
                    tracing::info!(circle = %circle.name, "gets a new key: a reader is no member");
                    members.retain(|site| !is_out(site));
                    session.applied.rotated.push(circle.id);
                    self.keep_circle(circle, session);
                }
                Audience::Group { members } => {
                    let secret = self.desk.secrets.get(&circle.id);
                    // Somebody who entered just now has no pair yet that could have changed.
                    let is_stale = secret.is_some_and(|secret| {
                        !secret.granted.is_empty() && !self.is_granted(secret, members)
                    });
                    if is_stale {
                        tracing::info!(circle = %circle.name, "gets a new key: a box key changed");
                        session.applied.rotated.push(circle.id);
                        self.keep_circle(circle, session);
                    }
                }
            }
        }
        let is_admin = |m: &fmesh_proto::membership::Member| m.role == Role::Admin;
        if !membership.member(&self.setup.site).is_some_and(is_admin) {
            let open = self.desk.invites.values().filter(|i| i.revoked.is_none());
            for mut invite in open.cloned().collect::<Vec<_>>() {
                invite.revoked = Some(session.now);
                self.keep_invite(invite, session);
            }
        }
    }

    /// What a change of members means for search: who is out leaves it, who came back is in it again.
    pub(super) fn note_standings(
        &self,
        before: &Membership,
        told: &mut Told,
    ) -> Result<(), StoreError> {
        let after = &self.desk.membership;
        let own = self.setup.site;
        let sites = |one: &Membership, other: &Membership| -> BTreeSet<SiteId> {
            let only = one.members().map(|m| m.site);
            only.filter(|site| *site != own && other.member(site).is_none())
                .collect()
        };
        told.out.extend(sites(before, after));
        let back = sites(after, before);
        // A newcomer has nothing here yet.
        let back: BTreeSet<SiteId> = back
            .into_iter()
            .filter(|site| self.setup.store.records(site, 0).next().is_some())
            .collect();
        if back.is_empty() {
            return Ok(());
        }
        let endings = self.setup.store.endings()?;
        for current in self.setup.store.currents() {
            let (site, _, _, seq) = current?;
            if let Some((view, received)) = self.setup.store.record(&site, seq)?
                && back.contains(&site)
                && let Ok(parsed) = view.parse()
            {
                let record = Parsed::from_store(parsed);
                let ended = has_ended(&endings, &record);
                told.refiled.push((record, received, ended));
            }
        }
        Ok(())
    }

    /// Whether something follows from new members for what this site signs.
    pub(super) fn must_heed(&self, before: &Membership) -> bool {
        let role = |membership: &Membership| membership.member(&self.setup.site).map(|m| m.role);
        let after = &self.desk.membership;
        let left = before.members().any(|m| after.member(&m.site).is_none());
        let rotated = after.members().any(|m| {
            let known = before.member(&m.site);
            known.is_some_and(|known| known.keys.current().boxed != m.keys.current().boxed)
        });
        left || rotated || role(before) != role(after)
    }

    /// Whether search may show a record: its author is in, or it is our own.
    pub(super) fn is_searched(&self, record: &Verified) -> bool {
        let author = record.claims().iss;
        author == self.setup.site || self.desk.membership.member(&author).is_some()
    }
}

fn outweighed() -> WriteError {
    WriteError::Conflict(
        "this would not count: an act of a more senior admin, or one on that act's author, outweighs it"
            .into(),
    )
}

#[cfg(test)]
mod tests;
