//! `fmesh demo`: the whole in a minute.

use std::path::PathBuf;

use super::failure::Failure;
use crate::api::view::Exit;

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// End after the last step; otherwise the three nodes run until Ctrl-C
    #[arg(long)]
    once: bool,
    /// Keep the three sites in this directory [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let options = crate::demo::Options {
        once: args.once,
        keep: args.keep,
    };
    crate::demo::run(options).await.map_err(|error| {
        let why: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
        let failure = Failure::new(Exit::Failed, "failed", error.to_string());
        let failure = if why.is_empty() {
            failure
        } else {
            failure.why(why.join(": "))
        };
        failure.hint("run it again; it uses free ports and a directory of its own")
    })
}
