//! `fmesh partner`: who is in, who knocks.

use jiff::Timestamp;

use super::{
    Context,
    failure::Failure,
    input::confirm,
    status::{behind, counts, partners, role, state},
    table::{Table, extra, text},
    words::{age, fingerprint, list},
};
use crate::api::view::{Partner, Pending};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// All partners
    List,
    /// One partner
    Show {
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
    if let Some(error) = &partner.last_error {
        line("last error", error.clone());
    }
    table
}
