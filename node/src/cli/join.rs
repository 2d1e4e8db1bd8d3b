//! `fmesh join`: one pasted line; the other side confirms.

use std::{path::PathBuf, time::Duration};

use super::{Context, failure::Failure, input::secret, words::fingerprint};
use crate::api::view::{Exit, JoinRequest, JoinState, JoinStep};

/// Longest ticket line that is sent to the node.
const TICKET_BYTES_MAX: usize = 16 * 1024;
const POLL_EVERY: Duration = Duration::from_millis(500);

/// Options of `join`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The line fmesh1..., or - to read it from stdin
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    ticket: Option<String>,
    /// Read the line from a file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Wait until the other side has answered, at most --timeout
    #[arg(long)]
    wait: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let client = context.client()?;
    let ticket = secret(
        args.ticket.as_deref(),
        args.file.as_deref(),
        TICKET_BYTES_MAX,
    )?;
    let mut reply = client
        .post(
            &["join"],
            &JoinRequest {
                ticket: ticket.to_string(),
            },
        )
        .await?;
    let mut state: JoinState = reply.read()?;
    if args.wait {
        let waiting = context.out.spinner("Waiting for the other side to confirm");
        let deadline = tokio::time::Instant::now() + context.timeout;
        while state.step == JoinStep::Waiting {
            if tokio::time::Instant::now() >= deadline {
                waiting.finish_and_clear();
                return Err(Failure::new(Exit::TimedOut, "timed_out", "not confirmed yet")
                    .why(state.answer.unwrap_or_else(|| "the other side has not answered".to_owned()))
                    .hint("the node keeps asking: see fmesh status; they run: fmesh partner pending"));
            }
            tokio::time::sleep(POLL_EVERY).await;
            reply = client.get(&["join"], &[]).await?;
            state = reply.read()?;
        }
        waiting.finish_and_clear();
    }
    if context.out.as_json(&reply.0)? {
        return Ok(());
    }
    let inviter = state
        .inviter
        .as_ref()
        .map_or("the inviting site", |site| site.name.as_str());
    match state.step {
        JoinStep::Member => context.out.data(&format!(
            "joined by invite of {}\n",
            super::words::printable(inviter)
        )),
        JoinStep::Waiting => {
            context.out.data(&format!(
                "waiting for {}\n",
                super::words::printable(inviter)
            ))?;
            context.out.say(&format!(
                "They compare this fingerprint before they let you in:\n  {}\nSee how it stands: fmesh status",
                fingerprint(&state.fingerprint)
            ));
            Ok(())
        }
        JoinStep::Alone => Err(Failure::new(Exit::Refused, "refused", "not let in")
            .why(
                state
                    .answer
                    .unwrap_or_else(|| "the other side refused".to_owned()),
            )
            .hint("ask them for a new ticket")),
    }
}
