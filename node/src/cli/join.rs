//! `fmesh join`: one pasted line; the other side confirms.

use std::{path::PathBuf, time::Duration};

use super::{
    Context,
    client::Reply,
    failure::Failure,
    input::secret,
    words::{fingerprint, printable},
};
use crate::api::view::{Exit, JoinRequest, JoinState, JoinStep};

/// Longest ticket line that is sent to the node.
const TICKET_BYTES_MAX: usize = 16 * 1024;
const POLL_EVERY: Duration = Duration::from_millis(200);
/// How long the first answer may take before the node goes on alone.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// Options of `join`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The line fmesh1..., or - to read it from stdin
    #[arg(required_unless_present_any = ["file", "cancel"], conflicts_with_all = ["file", "cancel"])]
    ticket: Option<String>,
    /// Read the line from a file
    #[arg(long, value_name = "FILE", conflicts_with = "cancel")]
    file: Option<PathBuf>,
    /// Wait until a person there has decided, at most --timeout
    #[arg(long, conflicts_with = "cancel")]
    wait: bool,
    /// Give up joining: this site is in no mesh again
    #[arg(long)]
    cancel: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let client = context.client()?;
    if args.cancel {
        let reply = client
            .post(&["join", "cancel"], &serde_json::json!({}))
            .await?;
        if !context.out.as_json(&reply.0)? {
            context.out.data("in no mesh; the ticket is forgotten\n")?;
        }
        return Ok(());
    }
    let ticket = secret(
        args.ticket.as_deref(),
        args.file.as_deref(),
        TICKET_BYTES_MAX,
    )?;
    let asked = JoinRequest {
        ticket: ticket.to_string(),
    };
    let mut reply = client.post(&["join"], &asked).await?;
    let mut state: JoinState = reply.read()?;
    // The ticket names the inviter, and it is forgotten once we are in.
    let inviter = state
        .inviter
        .as_ref()
        .map_or("the inviting site", |site| site.name.as_str());
    let inviter = printable(inviter);
    let waiting = context.out.spinner("Waiting for the other side");
    let began = tokio::time::Instant::now();
    loop {
        let longest = match state.step {
            JoinStep::Trying if args.wait => context.timeout,
            JoinStep::Trying => FIRST_ANSWER.min(context.timeout),
            JoinStep::Waiting if args.wait => context.timeout,
            _ => break,
        };
        if began.elapsed() >= longest {
            break;
        }
        tokio::time::sleep(POLL_EVERY).await;
        reply = client.get(&["join"], &[]).await?;
        state = reply.read()?;
    }
    waiting.finish_and_clear();
    say(context, args.wait, &reply, state, &inviter)
}

/// What the last look at our way in showed.
fn say(
    context: &Context,
    wait: bool,
    reply: &Reply,
    state: JoinState,
    inviter: &str,
) -> Result<(), Failure> {
    let answer = state.answer;
    match state.step {
        JoinStep::Member if context.out.as_json(&reply.0)? => Ok(()),
        JoinStep::Member => context
            .out
            .data(&format!("joined by invite of {inviter}\n")),
        JoinStep::Waiting if !wait && context.out.as_json(&reply.0)? => Ok(()),
        JoinStep::Waiting if !wait => {
            context.out.data(&format!("waiting for {inviter}\n"))?;
            context.out.say(&format!(
                "They compare this fingerprint before they let you in:\n  {}\nSee how it stands: fmesh status",
                fingerprint(&state.fingerprint)
            ));
            Ok(())
        }
        JoinStep::Waiting => Err(Failure::new(Exit::TimedOut, "timed_out", "not let in yet")
            .why(answer.unwrap_or_else(|| "a person there decides".to_owned()))
            .hint("the node keeps asking: see fmesh status; they run: fmesh partner pending")),
        JoinStep::Trying => Err(Failure::new(
            Exit::TimedOut,
            "timed_out",
            format!("{inviter} has not answered yet"),
        )
        .why(answer.unwrap_or_else(|| "the other side was not reached".to_owned()))
        .hint(
            "the node keeps trying: see fmesh status; ask whether their node runs and the ticket \
             is still good; give up with fmesh join --cancel",
        )),
        JoinStep::Refused | JoinStep::Alone => {
            Err(Failure::new(Exit::Refused, "refused", "not let in")
                .why(answer.unwrap_or_else(|| "the other side refused".to_owned()))
                .hint("ask them for a new ticket, and run fmesh join with it"))
        }
    }
}
