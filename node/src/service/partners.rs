//! Partners and sites that knock.

use std::{collections::BTreeMap, time::Duration};

use fmesh_proto::{
    circle::Circle,
    id::{SiteId, fingerprint},
    kinds::Kind,
    membership::{Member, Membership, Removed},
};

use super::{Error, Service, refs, sharing, today};
use crate::{
    api::view::{self, Counts, List, Partner, PartnerState, Pending, Standing},
    node::PeerStatus,
    store::{LocalObject, PendingJoin, Refusal},
    writer::Edit,
};

impl Service {
    /// Partners by name, then those that were put out.
    pub fn partners(&self) -> Result<List<Partner>, Error> {
        let membership = self.membership();
        let mut rows = self.partner_rows(&membership)?;
        rows.extend(self.removed_rows(&membership)?);
        Ok(List::new(rows, None))
    }

    /// One partner.
    pub fn partner_row(&self, who: &str) -> Result<Partner, Error> {
        let membership = self.membership();
        let (site, rows) = match self.partner(&membership, who) {
            Ok(member) => (member.site, self.partner_rows(&membership)?),
            Err(error @ Error::NotFound { .. }) => match refs::removed(&membership, who) {
                Ok(Removed { was: Some(was), .. }) => (was.site, self.removed_rows(&membership)?),
                _ => return Err(error),
            },
            Err(error) => return Err(error),
        };
        let mut row = rows
            .into_iter()
            .find(|row| row.site == site)
            .ok_or_else(|| {
                Error::not_found("the partner has left meanwhile", "fmesh partner list")
            })?;
        if membership.member(&site).is_some() {
            let circles = self.node.store.circles()?;
            row.standing.delivery = self.delivery_to(&membership, &circles, &site)?;
        }
        Ok(row)
    }

    /// Sites that knock, oldest first.
    pub fn pending(&self) -> Result<List<Pending>, Error> {
        let invites = self.node.store.invites()?;
        let note = |pending: &PendingJoin| {
            let invite = invites.iter().find(|invite| invite.id == pending.invite);
            invite.and_then(|invite| invite.note.clone())
        };
        let pending = self.node.store.pending()?;
        let view = |pending: &PendingJoin| pending_view(pending, note(pending));
        Ok(List::new(pending.iter().map(view).collect(), None))
    }

    /// Lets a pending site in; answers when it is a member here.
    pub async fn approve(&self, who: &str) -> Result<Partner, Error> {
        let site = choose_pending(&self.node.store.pending()?, who)?.site;
        self.node.writer.apply(vec![Edit::Approve { site }]).await?;
        let mut members = self.node.membership.clone();
        let admitted = members.wait_for(|membership| membership.member(&site).is_some());
        // Waits only for the loop to take note; on disk it is already.
        let seen = tokio::time::timeout(MEMBERSHIP_WAIT, admitted).await;
        if !matches!(seen, Ok(Ok(_))) {
            return Err(Error::TimedOut {
                what: "the site is admitted, but the node has not taken note yet".to_owned(),
                hint: "look again with fmesh partner list".to_owned(),
            });
        }
        self.partner_row(&site.hex())
    }

    /// Sends a pending site away.
    pub async fn refuse(&self, who: &str) -> Result<Pending, Error> {
        let pending = choose_pending(&self.node.store.pending()?, who)?;
        let site = pending.site;
        self.node.writer.apply(vec![Edit::Refuse { site }]).await?;
        let refused = PendingJoin {
            refused: true,
            ..pending
        };
        Ok(pending_view(&refused, None))
    }

    /// A row for every member but ourselves, by name.
    pub(super) fn partner_rows(&self, membership: &Membership) -> Result<Vec<Partner>, Error> {
        let others = membership.members().filter(|m| m.site != self.node.site);
        self.rows(membership, others)
    }

    /// A row for each of some members, by name.
    pub(super) fn rows<'a>(
        &self,
        membership: &Membership,
        members: impl Iterator<Item = &'a Member>,
    ) -> Result<Vec<Partner>, Error> {
        let (circles, objects) = (self.node.store.circles()?, self.node.store.objects(None)?);
        let facts = Facts {
            live: self.node.live.borrow().peers.clone(),
            standings: self.standings(membership, &circles, &objects)?,
            shown: Shown::new(circles, &objects),
            addresses: self.node.store.addresses()?,
            refusals: self.node.store.refusals()?,
            counts: crate::node::read(&self.node.index).counts(),
        };
        let mut rows: Vec<Partner> = members
            .map(|member| self.row(membership, member, &facts))
            .collect();
        rows.sort_by(|a, b| (&a.name, a.site).cmp(&(&b.name, b.site)));
        Ok(rows)
    }

    fn row(&self, membership: &Membership, member: &Member, facts: &Facts) -> Partner {
        let unknown = PeerStatus::default();
        let live = facts.live.get(&member.site).unwrap_or(&unknown);
        let mut refused: Vec<&Refusal> = facts
            .refusals
            .iter()
            .filter(|refusal| refusal.site == member.site)
            .collect();
        refused.sort_by_key(|refusal| refusal.at);
        let i_see = facts.counts.get(&member.site).copied().unwrap_or_default();
        Partner {
            site: member.site,
            name: member.name.clone(),
            fingerprint: fingerprint(member.site.as_bytes()),
            role: member.role,
            since: view::time(member.since),
            admitted_by: member
                .admitted_by
                .map(|site| self.site_name(membership, &site)),
            state: state(live),
            removed: None,
            address: live.address.clone().filter(|_| live.connected),
            addresses: facts
                .addresses
                .get(&member.site)
                .map(|record| record.address.clone())
                .unwrap_or_default(),
            peer_id: crate::net::peer_id(&member.transport()),
            rtt_micros: live.rtt_micros.filter(|_| live.connected),
            last_seen: live.last_seen.map(view::time),
            clock_skew_seconds: live.clock_skew,
            last_error: live.last_error.clone().filter(|_| !live.connected),
            behind: live.behind,
            they_are_behind: live.they_are_behind,
            they_see: facts.shown.to(&member.site),
            i_see: Counts {
                resources: i_see.0,
                capacities: i_see.1,
            },
            refused_records: refused.iter().map(|refusal| refusal.count).sum(),
            refused_reason: refused.last().map(|refusal| refusal.reason.clone()),
            standing: facts
                .standings
                .get(&member.site)
                .cloned()
                .unwrap_or_default(),
            misbehaved: live.misbehaved.as_ref().map_or(0, |(_, times)| *times),
            misbehaved_how: live.misbehaved.as_ref().map(|(how, _)| how.clone()),
        }
    }
}

/// What all rows are made of, read once.
struct Facts {
    live: BTreeMap<SiteId, PeerStatus>,
    standings: BTreeMap<SiteId, Standing>,
    shown: Shown,
    addresses: BTreeMap<SiteId, fmesh_proto::wire::AddressRecord>,
    refusals: Vec<Refusal>,
    counts: BTreeMap<SiteId, (u64, u64)>,
}

fn state(live: &PeerStatus) -> PartnerState {
    match (live.connected, live.last_seen) {
        (true, _) if live.behind == 0 && live.they_are_behind == 0 => PartnerState::Ok,
        (true, _) => PartnerState::Behind,
        (false, Some(_)) => PartnerState::Offline,
        (false, None) => PartnerState::NotSeen,
    }
}

/// What each circle shows of our live objects, asked once for all partners.
struct Shown {
    circles: Vec<Circle>,
    kinds: Vec<Kind>,
    /// By circle, by object: at least one slot.
    visible: Vec<Vec<bool>>,
}

impl Shown {
    fn new(circles: Vec<Circle>, objects: &[LocalObject]) -> Self {
        let today = today();
        let live: Vec<&LocalObject> = objects.iter().filter(|object| !object.retired).collect();
        let of_circle = |circle: &Circle| {
            let visible =
                |object: &&LocalObject| !sharing::opened(circle, object, today).is_empty();
            live.iter().map(visible).collect()
        };
        Self {
            visible: circles.iter().map(of_circle).collect(),
            kinds: live.iter().map(|object| object.kind.clone()).collect(),
            circles,
        }
    }

    /// Live objects of ours of which at least one slot is shown to `partner`.
    fn to(&self, partner: &SiteId) -> Counts {
        let circles: Vec<&Vec<bool>> = self
            .circles
            .iter()
            .zip(&self.visible)
            .filter(|(circle, _)| circle.audience.includes(partner))
            .map(|(_, visible)| visible)
            .collect();
        let mut counts = Counts::default();
        for (index, kind) in self.kinds.iter().enumerate() {
            if circles.iter().any(|visible| visible[index]) {
                match kind {
                    Kind::Resource => counts.resources += 1,
                    Kind::Capacity => counts.capacities += 1,
                    _ => {}
                }
            }
        }
        counts
    }
}

fn pending_view(pending: &PendingJoin, invite_note: Option<String>) -> Pending {
    Pending {
        site: pending.site,
        name: pending.name.clone(),
        fingerprint: fingerprint(pending.site.as_bytes()),
        peer_id: crate::net::peer_id(&pending.peer),
        invite: pending.invite,
        invite_note,
        addresses: pending.addresses.clone(),
        since: view::time(pending.since),
        refused: pending.refused,
    }
}

/// The pending site that `who` means: a name, an id, the beginning of one, or the fingerprint that its operator reads out.
fn choose_pending(pending: &[PendingJoin], who: &str) -> Result<PendingJoin, Error> {
    let bare: String = who.chars().filter(|c| !c.is_whitespace()).collect();
    if bare.len() >= FINGERPRINT_DIGITS_MIN {
        let mut by_fingerprint = pending
            .iter()
            .filter(|p| fingerprint(p.site.as_bytes()).starts_with(&bare));
        if let (Some(one), None) = (by_fingerprint.next(), by_fingerprint.next()) {
            return Ok(one.clone());
        }
    }
    let candidates = pending.iter().map(|pending| refs::Candidate {
        item: pending.clone(),
        name: pending.name.clone(),
        id: pending.site.hex(),
        spelling: format!("{} ({})", pending.name, pending.site.hex()),
    });
    refs::choose("pending site", who, candidates, "fmesh partner pending")
}

/// How long an approval waits for the loop.
const MEMBERSHIP_WAIT: Duration = Duration::from_secs(5);
/// Fewer digits of a fingerprint are too easily another's.
const FINGERPRINT_DIGITS_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use fmesh_proto::id::{InviteId, PeerKey, grouped};

    use super::*;

    #[test]
    fn the_state_has_one_word() {
        let live = |connected, last_seen, behind, they_are_behind| PeerStatus {
            connected,
            last_seen,
            behind,
            they_are_behind,
            ..PeerStatus::default()
        };
        assert_eq!(state(&live(true, Some(1), 0, 0)), PartnerState::Ok);
        assert_eq!(state(&live(true, None, 3, 0)), PartnerState::Behind);
        assert_eq!(state(&live(true, None, 0, 3)), PartnerState::Behind);
        assert_eq!(state(&live(false, Some(1), 3, 0)), PartnerState::Offline);
        assert_eq!(state(&live(false, None, 0, 0)), PartnerState::NotSeen);
    }

    #[test]
    fn who_knocks_is_named_by_name_id_or_fingerprint() {
        let knock = |name: &str, byte| PendingJoin {
            site: SiteId([byte; 32]),
            peer: PeerKey([byte; 32]),
            invite: InviteId([0; 16]),
            name: name.to_owned(),
            manifest: String::new(),
            addresses: Vec::new(),
            since: 0,
            refused: false,
        };
        let pending = [knock("Bolt", 1), knock("Bolt", 2), knock("Carbo", 3)];
        let print = fingerprint(&[2; 32]);
        for (who, byte) in [
            ("carbo", 3),
            ("0202", 2),
            (&grouped(&print), 2),
            (&print[..8], 2),
        ] {
            let site = choose_pending(&pending, who).map(|p| p.site);
            assert_eq!(site.ok(), Some(SiteId([byte; 32])), "{who}");
        }
        let refused = choose_pending(&pending, "bolt");
        assert!(matches!(refused, Err(Error::Ambiguous { .. })));
        let refused = choose_pending(&pending, &print[..4]);
        assert!(matches!(refused, Err(Error::NotFound { .. })));
    }
}
