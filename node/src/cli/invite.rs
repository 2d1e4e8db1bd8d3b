//! `fmesh invite`: tickets that let a factory in.

use jiff::Timestamp;

use super::{
    Context,
    failure::Failure,
    input::{confirm, seconds},
    status::role,
    table::{Table, extra, text},
    words::{age, count, fingerprint_short, list},
};
use crate::api::view::{Invite, InviteCreated, InviteRequest, InviteState};

/// `invite` alone creates one.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    create: Create,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create an invite; its ticket is shown once, on stdout
    Create(Create),
    /// All invites, newest first
    List,
    /// One invite: who used it, when
    Show {
        /// Id or its beginning
        invite: String,
    },
    /// End an invite; who is in already stays
    Revoke {
        /// Id or its beginning
        invite: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// How long the ticket is good: 90s, 30min, 12h, 7d, 2w
    #[arg(long, default_value = "7d", value_name = "SPAN", value_parser = seconds)]
    expires: u64,
    /// How many sites may use it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    uses: u32,
    /// Role it gives: member, admin, auditor
    #[arg(long, default_value = "member", value_parser = parse_role)]
    role: fmesh_proto::membership::Role,
    /// For yourself: whom it is for
    #[arg(long)]
    note: Option<String>,
    /// Group circles that the newcomer enters (repeat)
    #[arg(long = "circle", value_name = "NAME")]
    circles: Vec<String>,
    /// Let them in without asking a person here
    #[arg(long)]
    auto_approve: bool,
    /// Where the newcomer reaches us, instead of the announced addresses (repeat)
    #[arg(long = "address", value_name = "MULTIADDR")]
    addresses: Vec<String>,
}

pub(super) fn parse_role(text: &str) -> Result<fmesh_proto::membership::Role, String> {
    serde_json::from_value(text.into()).map_err(|_| "one of: member, admin, auditor".to_owned())
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let client = context.client()?;
    let out = &context.out;
    match args.command.unwrap_or(Command::Create(args.create)) {
        Command::Create(create) => {
            let request = InviteRequest {
                expires_in_seconds: create.expires,
                uses: create.uses,
                role: create.role,
                note: create.note,
                circles: create.circles,
                auto_approve: create.auto_approve,
                addresses: create.addresses,
            };
            let reply = client.post(&["invites"], &request).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            let created: InviteCreated = reply.read()?;
            if created.founded {
                out.say("This site was in no mesh: it founded one.");
            }
            let invite = &created.invite;
            out.say(&format!(
                "Good for {}, {}. Send the line below over a channel you trust; they run: fmesh join TICKET",
                count(u64::from(invite.uses), "site"),
                age(invite.expires, Timestamp::now()).replace("in ", "for "),
            ));
            out.data(&format!("{}\n", created.ticket))?;
            if !invite.auto_approve {
                out.say("When they knock: fmesh partner pending, then fmesh partner approve NAME.");
            }
            Ok(())
        }
        Command::List => {
            let reply = client.list(&["invites"], &[], usize::MAX).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            out.table(
                &invites(&reply.items()?, Timestamp::now()),
                "No invites. Create one: fmesh invite",
            )
        }
        Command::Show { invite } => {
            let reply = client.get(&["invites", &invite], &[]).await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            show(context, &reply.read()?)
        }
        Command::Revoke { invite, yes } => {
            confirm(
                &format!("Nobody can join with invite {invite} any more. Revoke it?"),
                yes,
            )?;
            let reply = client
                .post(&["invites", &invite, "revoke"], &serde_json::json!({}))
                .await?;
            if out.as_json(&reply.0)? {
                return Ok(());
            }
            let invite: Invite = reply.read()?;
            out.say(&format!(
                "Revoked {}; {} used it before.",
                invite.id,
                count(invite.used_by.len() as u64, "site")
            ));
            Ok(())
        }
    }
}

fn invites(invites: &[Invite], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        text("INVITE"),
        text("STATE"),
        text("USED"),
        text("EXPIRES"),
        text("NOTE"),
        text("USED BY"),
        extra("ROLE"),
        extra("CIRCLES"),
        extra("CREATED"),
        extra("ID"),
    ]);
    for invite in invites {
        let by: Vec<&str> = invite
            .used_by
            .iter()
            .map(|used| used.by.name.as_str())
            .collect();
        table.row([
            invite.id.to_string(),
            state(invite.state).to_owned(),
            format!("{} of {}", invite.used_by.len(), invite.uses),
            age(invite.expires, now),
            invite.note.clone().unwrap_or_else(|| "-".to_owned()),
            list(&by),
            role(invite.role),
            list(&invite.circles),
            age(invite.created, now),
            invite.id.hex(),
        ]);
    }
    table
}

fn show(context: &Context, invite: &Invite) -> Result<(), Failure> {
    let now = Timestamp::now();
    let mut table = Table::new(&[text("INVITE"), text("")]);
    table.title(1, invite.id.hex());
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    line("state", state(invite.state).to_owned());
    line("role", role(invite.role));
    line(
        "note",
        invite.note.clone().unwrap_or_else(|| "-".to_owned()),
    );
    line("created", age(invite.created, now));
    line("expires", age(invite.expires, now));
    line(
        "uses",
        format!("{} of {}", invite.used_by.len(), invite.uses),
    );
    line("circles", list(&invite.circles));
    line(
        "approval",
        if invite.auto_approve {
            "automatic"
        } else {
            "by a person here"
        }
        .to_owned(),
    );
    line("addresses", list(&invite.addresses));
    if let Some(revoked) = invite.revoked {
        line("revoked", age(revoked, now));
    }
    for used in &invite.used_by {
        line(
            "used by",
            format!(
                "{}  {}  {}",
                used.by.name,
                fingerprint_short(&used.by.fingerprint),
                age(used.at, now)
            ),
        );
    }
    context.out.table(&table, "")
}

fn state(state: InviteState) -> &'static str {
    match state {
        InviteState::Open => "open",
        InviteState::UsedUp => "used up",
        InviteState::Expired => "expired",
        InviteState::Revoked => "revoked",
    }
}
