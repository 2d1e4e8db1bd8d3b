//! Putting a partner out, roles, and sites that were put out.

use std::{sync::Arc, time::Duration};

use fmesh_proto::{
    circle::{Audience, Circle},
    id::{SiteId, fingerprint},
    membership::{Member, Membership, Removed, Role},
};

use super::{Error, Service, now, refs, sharing, today, unix};
use crate::{
    api::view::{
        self, CircleEnd, CircleFate, Counts, Partner, PartnerState, Ping, Removal, RemovalChange,
        RemoveRequest,
    },
    store::LocalObject,
    writer::Edit,
};

impl Service {
    /// Puts a partner out; a dry run says what would become of our circles and what the partner keeps.
    pub async fn remove_partner(
        &self,
        who: &str,
        asked: RemoveRequest,
    ) -> Result<RemovalChange, Error> {
        let membership = self.membership();
        let site = self.acted_on(&membership, who)?;
        // Looked at before: afterwards the partner is in none.
        let circles = self.circles_that_end(&site)?;
        let edits = vec![Edit::Remove {
            site,
            last_good: asked.last_good,
            reason: asked.reason,
        }];
        let writer = &self.node.writer;
        let applied = match asked.dry_run {
            true => writer.dry_run(edits).await?,
            false => writer.apply(edits).await?,
        };
        if !asked.dry_run {
            self.taken_note(|membership| membership.member(&site).is_none())
                .await?;
        }
        Ok(RemovalChange {
            dry_run: asked.dry_run,
            partner: self.site_name(&membership, &site),
            last_good: applied.last_good.unwrap_or(0),
            log_size: self.log_size(&site)?,
            circles,
            signed: u64::try_from(applied.issued.len()).unwrap_or(u64::MAX),
        })
    }

    /// Gives a partner, or this site, another role.
    pub async fn set_role(&self, who: &str, role: Role) -> Result<Partner, Error> {
        let membership = self.membership();
        let site = self.acted_on(&membership, who)?;
        let edit = Edit::SetRole { site, role };
        self.node.writer.apply(vec![edit]).await?;
        self.taken_note(|membership| membership.member(&site).is_some_and(|m| m.role == role))
            .await?;
        let membership = self.membership();
        let rows = self.rows(&membership, membership.members())?;
        let found = rows.into_iter().find(|row| row.site == site);
        found.ok_or_else(|| Error::not_found("the site has left meanwhile", "fmesh partner list"))
    }

    /// Calls a partner and measures until its answer is here.
    pub async fn ping(&self, who: &str) -> Result<Ping, Error> {
        let membership = self.membership();
        let site = self.partner(&membership, who)?.site;
        let partner = self.site_name(&membership, &site);
        let pong = self.node.ping(site).await.map_err(|why| Error::TimedOut {
            what: format!("{} does not answer: {why}", partner.name),
            hint: format!("fmesh partner show {}", sharing::quoted(&partner.name)),
        })?;
        let live = self.node.live.borrow().clone();
        let skew = i128::from(pong.clock) - i128::from(unix(now()));
        Ok(Ping {
            partner,
            micros: pong.micros,
            address: live.peers.get(&site).and_then(|live| live.address.clone()),
            software: pong.software,
            clock_skew_seconds: i64::try_from(skew).unwrap_or(i64::MAX),
        })
    }

    /// Rows of the sites that were put out, by name.
    pub(super) fn removed_rows(&self, membership: &Membership) -> Result<Vec<Partner>, Error> {
        let gone = membership.removed().iter();
        let gone = gone.filter(|(site, _)| **site != self.node.site);
        let row = |(gone, was): (&Removed, &Member)| self.removed_row(membership, gone, was);
        let mut rows: Vec<Partner> = gone
            .filter_map(|(_, gone)| Some((gone, gone.was.as_ref()?)))
            .map(row)
            .collect::<Result<_, _>>()?;
        rows.sort_by(|a, b| (&a.name, a.site).cmp(&(&b.name, b.site)));
        Ok(rows)
    }

    fn removed_row(
        &self,
        membership: &Membership,
        gone: &Removed,
        was: &Member,
    ) -> Result<Partner, Error> {
        let refusals = self.node.store.refusals()?;
        let refused: Vec<_> = refusals.iter().filter(|r| r.site == was.site).collect();
        let newest = refused.iter().max_by_key(|refusal| refusal.at);
        let live = self.node.live.borrow().clone();
        let misbehaved = live.peers.get(&was.site).and_then(|p| p.misbehaved.clone());
        Ok(Partner {
            site: was.site,
            name: was.name.clone(),
            fingerprint: fingerprint(was.site.as_bytes()),
            role: was.role,
            since: view::time(was.since),
            admitted_by: was.admitted_by.map(|by| self.site_name(membership, &by)),
            state: PartnerState::Removed,
            removed: Some(Removal {
                since: view::time(gone.since),
                by: self.site_name(membership, &gone.by),
                reason: gone.reason.clone(),
                last_good: gone.last_good,
                log_size: self.log_size(&was.site)?,
            }),
            address: None,
            addresses: Vec::new(),
            peer_id: crate::net::peer_id(&was.transport()),
            rtt_micros: None,
            last_seen: None,
            clock_skew_seconds: None,
            last_error: None,
            behind: 0,
            they_are_behind: 0,
            they_see: Counts::default(),
            i_see: Counts::default(),
            refused_records: refused.iter().map(|refusal| refusal.count).sum(),
            refused_reason: newest.map(|refusal| refusal.reason.clone()),
            standing: view::Standing::default(),
            misbehaved: misbehaved.as_ref().map_or(0, |(_, times)| *times),
            misbehaved_how: misbehaved.map(|(how, _)| how),
        })
    }

    /// The member that an act is about, this site included; of one that was put out, it is said so.
    fn acted_on(&self, membership: &Membership, who: &str) -> Result<SiteId, Error> {
        let own = self.node.site;
        match refs::partner(membership, &own, who) {
            Ok(member) => Ok(member.site),
            Err(Error::NotFound { what, hint }) => {
                if who == "self" || who == own.hex() || who == self.node.config.name {
                    return Ok(own);
                }
                let Ok(gone) = refs::removed(membership, who) else {
                    return Err(Error::NotFound { what, hint });
                };
                let by = self.site_name(membership, &gone.by).name;
                Err(Error::conflict(
                    format!(
                        "{} was removed before: at {}, by {by}",
                        gone.was.as_ref().map_or(who, |was| &was.name),
                        view::time(gone.since)
                    ),
                    "fmesh partner list",
                ))
            }
            Err(error) => Err(error),
        }
    }

    /// What becomes of each circle that a partner is in, and what of it the partner keeps.
    fn circles_that_end(&self, site: &SiteId) -> Result<Vec<CircleEnd>, Error> {
        let store = &self.node.store;
        let (mut circles, objects) = (store.circles()?, store.objects(None)?);
        circles.retain(|circle| circle.audience.includes(site));
        circles.sort_by(|a, b| a.name.cmp(&b.name));
        let today = today();
        let shows = |circle: &Circle, object: &&LocalObject| {
            !object.retired && !sharing::opened(circle, object, today).is_empty()
        };
        let end = |circle: &Circle| -> Result<CircleEnd, Error> {
            let shown = objects.iter().filter(|object| shows(circle, object));
            Ok(CircleEnd {
                circle: circle.name.clone(),
                fate: match &circle.audience {
                    Audience::Group { .. } => CircleFate::NewKey,
                    Audience::Pairwise { .. } => CircleFate::Ends,
                    Audience::MeshWide => CircleFate::NoLongerSent,
                },
                kept_records: store.feed_ack(&circle.id, site)?,
                objects: shown.map(|object| object.key.clone()).collect(),
            })
        };
        circles.iter().map(end).collect()
    }

    fn log_size(&self, site: &SiteId) -> Result<u64, Error> {
        let head = self.node.store.head(site)?;
        Ok(head.map_or(0, |head| head.frontier.size()))
    }

    /// Waits only for the loop to take note; on disk it is already.
    async fn taken_note(&self, holds: impl Fn(&Membership) -> bool) -> Result<(), Error> {
        let mut members = self.node.membership.clone();
        let noted = members.wait_for(|membership: &Arc<Membership>| holds(membership));
        match tokio::time::timeout(MEMBERSHIP_WAIT, noted).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::TimedOut {
                what: "it is done and on disk, but the node has not taken note yet".to_owned(),
                hint: "look again with fmesh partner list".to_owned(),
            }),
        }
    }
}

/// How long an act waits for the loop.
const MEMBERSHIP_WAIT: Duration = Duration::from_secs(5);
