//! `fmesh status`: problems first, then the site, then a line for each partner.

use jiff::Timestamp;

use super::{
    Context,
    failure::Failure,
    out::Out,
    table::{Table, extra, text},
    words::{age, bytes, count, duration, fingerprint, fingerprint_short, printable},
};
use crate::api::view::{Counts, JoinStep, Partner, PartnerState, Status, Witnessed};

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let reply = context.client()?.get(&["status"], &[]).await?;
    if context.out.as_json(&reply.0)? {
        return Ok(());
    }
    let status: Status = reply.read()?;
    let now = Timestamp::now();
    context.out.data(&head(&status, &context.out))?;
    if !status.partners.is_empty() {
        context.out.table(&partners(&status.partners, now), "")?;
    }
    Ok(())
}

/// Everything above the table of partners.
fn head(status: &Status, out: &Out) -> String {
    let mut text = String::new();
    if !status.problems.is_empty() {
        let title = format!("! {}", count(status.problems.len() as u64, "problem"));
        text += &format!("{}\n", out.alarm(&title));
        for problem in &status.problems {
            text += &format!("  {}", out.alarm(&problem.what));
            if let Some(hint) = &problem.hint {
                text += &format!("  -> {}", printable(hint));
            }
            text.push('\n');
        }
    }
    text += &format!(
        "{}  {}   up {}   store {}, {}\n",
        out.strong(&status.site.name),
        fingerprint_short(&status.site.fingerprint),
        duration(status.uptime_seconds),
        bytes(status.store_bytes),
        count(status.log_size, "signed record"),
    );
    if let Some(restored) = &status.restored {
        let gone = restored.to.saturating_sub(restored.from);
        text += &format!(
            "an old backup was put back: {} after it, {} came back, {} lost; partners may hold newer numbers than this store  -> import again\n",
            count(gone, "record"),
            restored.returned,
            gone.saturating_sub(restored.returned),
        );
    }
    if let Some(witnessed) = &status.witnessed {
        text += &format!("{}\n", cosigned(witnessed));
    }
    let own = &status.own;
    text += &format!(
        "{} of {} shared, {} of {}\n",
        own.resources_shared,
        count(own.resources, "resource"),
        own.capacities_shared,
        if own.capacities == 1 {
            "1 capacity".to_owned()
        } else {
            format!("{} capacities", own.capacities)
        },
    );
    text += &match (&status.mesh, status.join.step) {
        (Some(mesh), _) => format!(
            "in the mesh {} with {}, {}\n",
            printable(mesh.name.as_deref().unwrap_or("of an unnamed founder")),
            count(mesh.members, "member"),
            count(mesh.admins, "admin"),
        ),
        (None, JoinStep::Trying) => format!(
            "tries to join: {}\n",
            printable(status.join.answer.as_deref().unwrap_or("no answer yet"))
        ),
        (None, JoinStep::Refused) => format!(
            "was not let in: {}  -> fmesh join NEW-TICKET\n",
            printable(
                status
                    .join
                    .answer
                    .as_deref()
                    .unwrap_or("no reason was given")
            )
        ),
        (None, JoinStep::Waiting) => format!(
            "waits to be let in; the inviting side compares {}\n",
            fingerprint(&status.join.fingerprint)
        ),
        (None, _) => "in no mesh yet  -> fmesh invite, or fmesh join TICKET\n".to_owned(),
    };
    if status.pending > 0 {
        let ask = if status.pending == 1 {
            "1 site asks".to_owned()
        } else {
            format!("{} sites ask", status.pending)
        };
        text += &format!("{ask} to be let in  -> fmesh partner pending\n");
    }
    text
}

/// How far a log is cosigned, and by whom.
pub(crate) fn cosigned(witnessed: &Witnessed) -> String {
    let names: Vec<&str> = witnessed
        .by
        .iter()
        .map(|s| s.witness.name.as_str())
        .collect();
    let shown = names.iter().take(NAMED_MAX).copied();
    let mut by = shown.collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MAX {
        by += &format!(" and {} more", names.len() - NAMED_MAX);
    }
    format!(
        "{} of {} cosigned by {}",
        witnessed.size,
        count(witnessed.log_size, "record"),
        printable(&by)
    )
}

/// Witnesses that are named in one line.
const NAMED_MAX: usize = 3;

/// A line for each partner.
pub(crate) fn partners(partners: &[Partner], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        text("PARTNER"),
        text("STATE"),
        text("PATH"),
        text("BEHIND"),
        text("THEY SEE"),
        text("I SEE"),
        extra("FINGERPRINT"),
        extra("SITE"),
        extra("ROLE"),
        extra("SINCE"),
    ]);
    for partner in partners {
        table.row([
            partner.name.clone(),
            state(partner.state).to_owned(),
            path(partner, now),
            behind(partner),
            counts(&partner.they_see),
            counts(&partner.i_see),
            fingerprint(&partner.fingerprint),
            partner.site.hex(),
            role(partner.role),
            age(partner.since, now),
        ]);
    }
    table
}

pub(crate) fn state(state: PartnerState) -> &'static str {
    match state {
        PartnerState::Ok => "ok",
        PartnerState::Behind => "behind",
        PartnerState::Offline => "offline",
        PartnerState::NotSeen => "not seen",
        PartnerState::Removed => "removed",
    }
}

/// A role in one word, as the API spells it.
pub(crate) fn role(role: fmesh_proto::membership::Role) -> String {
    serde_json::to_value(role)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn path(partner: &Partner, now: Timestamp) -> String {
    if let Some(gone) = &partner.removed {
        return format!("since {}", age(gone.since, now));
    }
    let way = |address: &str| match address.contains("/p2p-circuit") {
        true => "relay",
        false => "direct",
    };
    match (&partner.address, partner.rtt_micros, partner.last_seen) {
        (Some(at), Some(micros), _) if micros < 1_000 => format!("{} <1 ms", way(at)),
        (Some(at), Some(micros), _) => format!("{} {} ms", way(at), micros / 1_000),
        (Some(at), None, _) => way(at).to_owned(),
        (None, _, Some(seen)) => format!("last {}", age(seen, now)),
        (None, _, None) => "-".to_owned(),
    }
}

/// Records under way, in words: theirs that we lack, ours that they lack.
pub(crate) fn behind(partner: &Partner) -> String {
    if let Some(gone) = &partner.removed {
        return match gone.log_size.saturating_sub(gone.last_good) {
            0 => "-".to_owned(),
            void => format!("{void} void"),
        };
    }
    match (partner.behind, partner.they_are_behind) {
        (0, 0) => "-".to_owned(),
        (we, 0) => format!("we {we} rec"),
        (0, they) => format!("they {they} rec"),
        (we, they) => format!("we {we}, they {they} rec"),
    }
}

pub(crate) fn counts(counts: &Counts) -> String {
    match (counts.resources, counts.capacities) {
        (0, 0) => "nothing".to_owned(),
        (resources, 0) => format!("{resources} res"),
        (0, capacities) => format!("{capacities} cap"),
        (resources, capacities) => format!("{resources} res, {capacities} cap"),
    }
}

#[cfg(test)]
mod tests {
    use fmesh_proto::{id::SiteId, membership::Role};

    use super::*;
    use crate::api::view::{JoinState, OwnCounts, SiteName, Trouble};

    fn partner(name: &str) -> Partner {
        Partner {
            site: SiteId([3; 32]),
            name: name.into(),
            fingerprint: "ab".repeat(32),
            role: Role::Member,
            since: Timestamp::UNIX_EPOCH,
            admitted_by: None,
            state: PartnerState::Ok,
            removed: None,
            address: Some("/ip4/10.0.0.2/udp/4810/quic-v1".into()),
            addresses: Vec::new(),
            peer_id: "12D3Koo".into(),
            rtt_micros: Some(12_300),
            last_seen: None,
            clock_skew_seconds: None,
            last_error: None,
            behind: 0,
            they_are_behind: 0,
            they_see: Counts {
                resources: 3,
                capacities: 26,
            },
            i_see: Counts::default(),
            refused_records: 0,
            refused_reason: None,
            standing: Default::default(),
            misbehaved: 0,
            misbehaved_how: None,
        }
    }

    #[test]
    fn partners_fit_80_columns_whatever_they_are_called() {
        let now = Timestamp::from_second(7_200).unwrap();
        let mut far = partner(&"Gesellschaft für Präzisionszerspanung ".repeat(5));
        far.state = PartnerState::Offline;
        (far.address, far.last_seen) = (None, Some(Timestamp::UNIX_EPOCH));
        (far.behind, far.they_are_behind) = (7, 41);
        let text = partners(&[partner("Bolt Nord"), far], now)
            .render(Some(80), None)
            .unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines.iter().all(|l| l.chars().count() <= 80), "{text}");
        assert!(
            lines[1].contains("direct 12 ms") && lines[1].contains("nothing"),
            "{text}"
        );
        assert!(
            lines[2].starts_with("Gesellschaft") && lines[2].contains("offline"),
            "{text}"
        );
    }

    #[test]
    fn problems_come_first_and_a_lonely_site_hears_what_to_do() {
        let name = SiteName {
            site: SiteId([1; 32]),
            name: "Plant A".into(),
            fingerprint: "a3f109bc".repeat(8),
        };
        let mut status = Status {
            problems: vec![Trouble {
                what: "only one admin".into(),
                hint: Some("fmesh invite --role admin".into()),
            }],
            site: name,
            mesh: None,
            join: JoinState {
                step: JoinStep::Alone,
                mesh: None,
                inviter: None,
                since: None,
                answer: None,
                fingerprint: "a3f109bc".repeat(8),
            },
            started: Timestamp::UNIX_EPOCH,
            uptime_seconds: 1_036_800,
            listening: Vec::new(),
            store_bytes: 212_000_000,
            log_size: 1,
            restored: None,
            witness_key: None,
            witnessed: None,
            own: OwnCounts {
                resources: 19,
                resources_shared: 7,
                ..OwnCounts::default()
            },
            pending: 1,
            open_invites: 0,
            refused_connections: 0,
            refused: Vec::new(),
            reach: crate::api::view::Reachable::default(),
            partners: Vec::new(),
        };
        let out = Out::plain();
        let text = head(&status, &out);
        assert!(
            text.starts_with("! 1 problem\n  only one admin  -> fmesh invite --role admin\n"),
            "{text}"
        );
        for part in [
            "Plant A  a3f1 09bc   up 12 d",
            "store 212 MB, 1 signed record",
            "7 of 19 resources shared",
            "fmesh join TICKET",
            "1 site asks to be let in",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        status.join.step = JoinStep::Waiting;
        assert!(head(&status, &out).contains("a3f1 09bc a3f1"));
    }
}
