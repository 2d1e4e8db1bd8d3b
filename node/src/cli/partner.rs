//! `fmesh partner`: who is in, who knocks, who is put out.

use fmesh_proto::{kinds::OnEnd, membership::Role};
use jiff::Timestamp;

use super::{
    Context,
    client::Client,
    failure::Failure,
    input::confirm,
    invite::parse_role,
    status::{behind, cosigned, counts, partners, role, state},
    table::{Table, extra, text},
    words::{age, count, fingerprint, list, printable},
};
use crate::api::view::{
    CircleFate, Deletion, Delivery, EndedGrant, Partner, Pending, Ping, RemovalChange,
    RemoveRequest, RoleRequest,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// All partners
    List,
    /// One partner
    Show {
        /// Name, site id or its beginning
        partner: String,
    },
    /// Put a partner out of the mesh, for good
    Remove {
        /// Name, site id or its beginning
        partner: String,
        /// Why; all members can read it
        #[arg(long)]
        reason: Option<String>,
        /// How many records of its log still count [default: all that are known here]
        #[arg(long, value_name = "RECORDS")]
        last_good: Option<u64>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Show what would become of our circles, and what the partner keeps
        #[arg(long)]
        dry_run: bool,
    },
    /// Give a partner another role: member, admin, auditor
    Role {
        /// Name, site id or its beginning; self is this site
        partner: String,
        /// The new role
        #[arg(value_parser = parse_role)]
        role: Role,
    },
    /// Call a partner and measure how long its answer takes
    Ping {
        /// Name, site id or its beginning
        partner: String,
    },
    /// Sites that ask to be let in
    Pending,
    /// Let a site in, after its fingerprint was compared
    Approve {
        /// Name, site id or its beginning
        site: String,
        /// The fingerprint was compared; do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Send a site away
    Refuse {
        /// Name, site id or its beginning
        site: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = context.client()?;
    let out = &context.out;
    let now = Timestamp::now();
    match command {
        Command::List => {
            let reply = client.list(&["partners"], &[], usize::MAX).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            let items: Vec<Partner> = reply.items()?;
            out.table(
                &partners(&items, now),
                "No partners yet. Invite one: fmesh invite",
            )
        }
        Command::Show { partner } => {
            let reply = client.get(&["partners", &partner], &[]).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            out.table(&show(&reply.read()?, now), "")
        }
        Command::Remove {
            partner,
            reason,
            last_good,
            yes,
            dry_run,
        } => {
            let request = RemoveRequest {
                dry_run,
                reason,
                last_good,
            };
            remove(context, &client, &partner, &request, yes).await
        }
        Command::Role { partner, role: new } => {
            let request = RoleRequest { role: new };
            let reply = client
                .post(&["partners", &partner, "role"], &request)
                .await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            let partner: Partner = reply.read()?;
            out.say(&format!("{} is {} now.", partner.name, role(partner.role)));
            Ok(())
        }
        Command::Ping { partner } => {
            let reply = client
                .post(&["partners", &partner, "ping"], &serde_json::json!({}))
                .await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            out.data(&pong(&reply.read()?))
        }
        Command::Pending => {
            let reply = client.list(&["pending"], &[], usize::MAX).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            out.table(&pending(&reply.items()?, now), "Nobody asks to be let in.")
        }
        Command::Approve { site, yes } => {
            if !yes {
                let knocking: Vec<Pending> =
                    client.list(&["pending"], &[], usize::MAX).await?.items()?;
                let print = knocking
                    .iter()
                    .find(|p| p.name == site || p.site.hex().starts_with(&site))
                    .map(|p| {
                        format!(
                            "{} shows the fingerprint\n  {}\n",
                            p.name,
                            fingerprint(&p.fingerprint)
                        )
                    });
                if let Some(print) = print {
                    out.say(&print);
                }
                confirm("Is this what they read out to you? Let them in?", yes)?;
            }
            let reply = client
                .post(&["pending", &site, "approve"], &serde_json::json!({}))
                .await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            let partner: Partner = reply.read()?;
            out.say(&format!(
                "{} is in. It sees nothing of yours until a circle shows it: fmesh circle set NAME --to {} ...",
                partner.name, partner.site
            ));
            Ok(())
        }
        Command::Refuse { site, yes } => {
            confirm(&format!("Send {site} away?"), yes)?;
            let reply = client
                .post(&["pending", &site, "refuse"], &serde_json::json!({}))
                .await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            let refused: Pending = reply.read()?;
            out.say(&format!("{} was refused.", refused.name));
            Ok(())
        }
    }
}

/// Says what a removal does, asks, and does it.
async fn remove(
    context: &Context,
    client: &Client,
    partner: &str,
    request: &RemoveRequest,
    yes: bool,
) -> Result<(), Failure> {
    let out = &context.out;
    let path = ["partners", partner, "remove"];
    if !yes && !request.dry_run {
        let dry_run = RemoveRequest {
            dry_run: true,
            ..request.clone()
        };
        let change: RemovalChange = client.post(&path, &dry_run).await?.read()?;
        out.say(&what_it_does(&change));
        let question = format!("Put {} out of the mesh, for good?", change.partner.name);
        confirm(&question, yes)?;
    }
    let reply = client.post(&path, request).await?;
    if out.as_json(&reply.0)? {
        return Ok(());
    }
    let change: RemovalChange = reply.read()?;
    out.table(&circle_ends(&change), "It is in no circle of ours.")?;
    if change.dry_run {
        out.say("Dry run, nothing was done.");
        out.say(&what_it_does(&change));
    } else {
        out.say(&format!(
            "{} is out; {} signed. Partners let go of it as they learn of it. What it holds already, it keeps.",
            change.partner.name,
            count(change.signed, "record")
        ));
    }
    Ok(())
}

/// A removal in one paragraph.
fn what_it_does(change: &RemovalChange) -> String {
    let void = change.log_size.saturating_sub(change.last_good);
    let counts = match void {
        0 => format!(
            "all {} that we know of its log still count",
            records(change.log_size)
        ),
        _ => format!(
            "{} of its log still count, {void} do not",
            records(change.last_good)
        ),
    };
    format!(
        "{}: {counts}. Its connections close everywhere, it gets nothing new, it cannot come back as the same site. What it holds already, it keeps.",
        change.partner.name
    )
}

fn records(n: u64) -> String {
    count(n, "record")
}

fn circle_ends(change: &RemovalChange) -> Table {
    let mut table = Table::new(&[
        text("CIRCLE"),
        text("WHAT BECOMES OF IT"),
        text("THEY KEEP"),
        text("OBJECTS"),
    ]);
    for end in &change.circles {
        let fate = match end.fate {
            CircleFate::NewKey => "a new key for the others",
            CircleFate::Ends => "ends",
            CircleFate::NoLongerSent => "not sent to it any more",
        };
        table.row([
            end.circle.clone(),
            fate.to_owned(),
            records(end.kept_records),
            list(&end.objects),
        ]);
    }
    table
}

fn pong(pong: &Ping) -> String {
    let milliseconds = format!(
        "{}.{:01} ms",
        pong.micros / 1_000,
        pong.micros % 1_000 / 100
    );
    let clock = match pong.clock_skew_seconds {
        -1..=1 => "its clock agrees with ours".to_owned(),
        s if s > 0 => format!(
            "its clock is {} ahead",
            super::words::duration(s.unsigned_abs())
        ),
        s => format!(
            "its clock is {} behind",
            super::words::duration(s.unsigned_abs())
        ),
    };
    format!(
        "{} answers in {milliseconds}, {}, {}, {clock}\n",
        printable(&pong.partner.name),
        printable(pong.address.as_deref().unwrap_or("not connected any more")),
        printable(&pong.software),
    )
}

fn pending(pending: &[Pending], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        text("SITE"),
        text("KNOCKS SINCE"),
        text("INVITE"),
        text("FINGERPRINT"),
        extra("ID"),
        extra("ADDRESSES"),
        extra("STATE"),
    ]);
    for p in pending {
        table.row([
            p.name.clone(),
            age(p.since, now),
            p.invite_note
                .clone()
                .unwrap_or_else(|| p.invite.to_string()),
            fingerprint(&p.fingerprint),
            p.site.hex(),
            list(&p.addresses),
            if p.refused { "refused" } else { "waits" }.to_owned(),
        ]);
    }
    table
}

fn show(partner: &Partner, now: Timestamp) -> Table {
    let mut table = Table::new(&[text("PARTNER"), text("")]);
    table.title(1, partner.name.clone());
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    let dash = || "-".to_owned();
    line("state", state(partner.state).to_owned());
    if let Some(gone) = &partner.removed {
        line("removed", age(gone.since, now));
        line("removed by", gone.by.name.clone());
        line("reason", gone.reason.clone().unwrap_or_else(dash));
        let (known, good) = (gone.log_size, gone.last_good);
        line(
            "its log",
            format!(
                "{good} records count, {} do not",
                known.saturating_sub(good)
            ),
        );
    }
    line("fingerprint", fingerprint(&partner.fingerprint));
    line("site", partner.site.hex());
    line("role", role(partner.role));
    line("since", age(partner.since, now));
    line(
        "admitted by",
        partner
            .admitted_by
            .as_ref()
            .map_or_else(|| "founder".to_owned(), |by| by.name.clone()),
    );
    line(
        "connected from",
        partner.address.clone().unwrap_or_else(dash),
    );
    line("addresses", list(&partner.addresses));
    line("peer id", partner.peer_id.clone());
    line(
        "last seen",
        partner.last_seen.map_or_else(
            || "not since this node started".to_owned(),
            |at| age(at, now),
        ),
    );
    line(
        "clock",
        match partner.clock_skew_seconds {
            None => "unknown".to_owned(),
            Some(0) => "same as ours".to_owned(),
            Some(s) if s > 0 => {
                format!("{} ahead of ours", super::words::duration(s.unsigned_abs()))
            }
            Some(s) => format!("{} behind ours", super::words::duration(s.unsigned_abs())),
        },
    );
    line("behind", behind(partner));
    line("they see", counts(&partner.they_see));
    line("I see", counts(&partner.i_see));
    line(
        "refused records",
        match &partner.refused_reason {
            Some(why) => format!("{}, newest: {why}", partner.refused_records),
            None => partner.refused_records.to_string(),
        },
    );
    if let Some(how) = &partner.misbehaved_how {
        line(
            "misbehaved",
            format!("{} times, last: {how}", partner.misbehaved),
        );
    }
    if let Some(error) = &partner.last_error {
        line("last error", error.clone());
    }
    for delivery in &partner.standing.delivery {
        let circle = delivery.circle_name.as_deref().unwrap_or("all members");
        line(&format!("in {circle}"), delivered(delivery, now));
    }
    for deletion in &partner.standing.deletions {
        let circle = match &deletion.circle_name {
            Some(name) => name.clone(),
            None => format!("a former circle ({})", deletion.circle),
        };
        line(&format!("left {circle}"), deleted(deletion, now));
    }
    if let Some(witnessed) = &partner.standing.witnessed {
        line("its log", cosigned(witnessed));
    }
    if let Some(us) = &partner.standing.cosigned_us {
        let at = age(us.at, now);
        line("cosigned ours", format!("up to {}, {at}", records(us.size)));
    }
    for fork in &partner.standing.forks {
        line(
            "FORKED",
            format!(
                "{}; proof {} kept, {}",
                fork.what,
                &fork.proof.hex()[..8],
                age(fork.since, now)
            ),
        );
    }
    for contradiction in &partner.standing.contradictions {
        let [first, second] = contradiction.leaves;
        line(
            "contradiction",
            format!(
                "leaves {first} and {second} both say position {} of circle {}; both are kept, since {}",
                contradiction.feed_seq,
                contradiction.circle,
                age(contradiction.since, now)
            ),
        );
    }
    for grant in &partner.standing.ended {
        line(&format!("we left {}", grant.circle), let_go(grant, now));
    }
    table
}

/// How far a partner is in a circle: `41 behind, has 12 of 53 since 2 h ago`.
pub(super) fn delivered(delivery: &Delivery, now: Timestamp) -> String {
    let since = delivery
        .since
        .map_or_else(String::new, |at| format!(", said {}", age(at, now)));
    match delivery.lacks {
        0 => format!("has all {} positions{since}", delivery.last),
        lacks => format!(
            "{lacks} behind, has {} of {} positions{since}",
            delivery.has, delivery.last
        ),
    }
}

/// Whether a partner confirmed that it deleted what it was asked to.
pub(super) fn deleted(deletion: &Deletion, now: Timestamp) -> String {
    let name = &deletion.partner.name;
    match &deletion.confirmed {
        Some(done) => format!(
            "{name} confirmed deletion of {} on {} (leaf {} of its log)",
            done.records
                .map_or_else(|| "its records".to_owned(), records),
            done.at.strftime("%F %R UTC"),
            done.leaf
        ),
        None => format!(
            "{name} has not confirmed deletion; asked {}",
            age(deletion.asked, now)
        ),
    }
}

/// What was done here when a grant of the partner's ended.
fn let_go(grant: &EndedGrant, now: Timestamp) -> String {
    let what = match (grant.on_end, grant.done) {
        (OnEnd::Keep, _) => "what we hold stays as it is".to_owned(),
        (OnEnd::Grey, _) => "what we hold is left out of search".to_owned(),
        (OnEnd::Delete, true) => format!("{} deleted, receipt signed", records(grant.deleted)),
        (OnEnd::Delete, false) => format!("{} deleted so far", records(grant.deleted)),
    };
    format!("{}: {what}", age(grant.since, now))
}
