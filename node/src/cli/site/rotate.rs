//! `fmesh site rotate-keys`: the recovery words sign new operating keys.
//!
//! The words are read here, from a terminal, stdin or a file, never from the command line; the root key that they stand for signs here,
//! and is zeroed when this command ends. The node gets the signed record alone. If its log grew meanwhile, it is signed again.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use fmesh_proto::keys::sign_rotation;
use zeroize::Zeroizing;

use super::super::{
    Context,
    client::Client,
    failure::Failure,
    input::{confirm, secret},
    words::{count, list},
};
use crate::{
    api::view::{Exit, KeysDraft, KeysRotated, RotateRequest, SiteKeys},
    keystore::RecoveryWords,
};

/// Drafts that are signed before this gives up: each is void once something else was signed.
const TRIES: usize = 8;
/// 24 words, and some spaces.
const WORDS_BYTES_MAX: usize = 4096;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File with the 24 recovery words; - is stdin [default: asked for on a terminal, else stdin]
    #[arg(long, value_name = "FILE")]
    words_file: Option<PathBuf>,
    /// Take the new PeerId at the next start, also if partners do not know it yet: a thief may be using the old one
    #[arg(long)]
    transport_now: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let client = context.client()?;
    let before: SiteKeys = client.get(&["site", "keys"], &[]).await?.read()?;
    let words = words(args.words_file.as_deref())?;
    let root = words.root();
    drop(words);
    if root.site() != before.site.site {
        return Err(Failure::new(
            Exit::Refused,
            "refused",
            "these are not the words of this site",
        )
        .why(format!(
            "they name the site {}, this one is {}",
            root.site(),
            before.site.site
        ))
        .hint("take the words that fmesh init showed for this site"));
    }
    context.out.say(&what_happens(&before, args.transport_now));
    confirm("Rotate the keys now?", args.yes)?;
    let reply = rotated(&client, &root, args.transport_now).await?;
    if context.out.as_json(&reply.0)? {
        return Ok(());
    }
    let done: KeysRotated = reply.read()?;
    context.out.data(&said(&done, args.transport_now))
}

/// Drafts, signs, hands in; again if the log grew in between.
async fn rotated(
    client: &Client,
    root: &fmesh_proto::keys::RootKey,
    transport_now: bool,
) -> Result<super::super::client::Reply, Failure> {
    let mut tries = 0;
    loop {
        let draft = client.post(&["site", "keys", "draft"], &()).await?;
        let draft: KeysDraft = draft.read()?;
        let rotation = draft
            .rotation()
            .filter(|_| draft.site == root.site())
            .ok_or_else(|| Failure::input("the node's draft cannot be signed"))?;
        let iat = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let record = sign_rotation(root, &rotation, iat, &mut rng).map_err(|error| {
            Failure::input("the node's draft cannot be signed").why(error.to_string())
        })?;
        let request = RotateRequest {
            record: record.encode(),
            transport_now,
        };
        tries += 1;
        match client.post(&["site", "keys"], &request).await {
            Err(failure) if failure.exit == Exit::Conflict && tries < TRIES => {}
            done => return done,
        }
    }
}

fn words(file: Option<&Path>) -> Result<RecoveryWords, Failure> {
    let text = match file {
        Some(path) if path != Path::new("-") => secret(None, Some(path), WORDS_BYTES_MAX)?,
        None if io::stdin().is_terminal() => {
            let terminal = console::Term::stderr();
            let _ = write!(
                &terminal,
                "The 24 recovery words, on one line (they are not shown): "
            );
            let line = terminal.read_secure_line();
            Zeroizing::new(line.map_err(|error| Failure::usage("no words").why(error.to_string()))?)
        }
        _ => secret(Some("-"), None, WORDS_BYTES_MAX)?,
    };
    Ok(RecoveryWords::parse(&text)?)
}

fn what_happens(keys: &SiteKeys, transport_now: bool) -> String {
    let groups = count(keys.groups, "group circle");
    let peer = match transport_now {
        true => {
            "From the next start on this node has a new PeerId. A partner that is offline\n\
             until then learns it from another member; with no other member it cannot find\n\
             this site again."
        }
        false => {
            "This node keeps its PeerId until all partners have the new keys and it is\n\
             started anew: fmesh status says when."
        }
    };
    format!(
        "{} gets new keys for records, cosignatures, connections and boxes;\n\
         its log goes on under the same log key.\n\
         What was signed before stays valid; the old keys sign nothing from then on.\n\
         {groups} and the private circle of every partner get new keys.\n\
         {peer}\n\
         Open invites name the old PeerId. Auditors list a witness by its key: tell them\n\
         the new one.",
        keys.site.name
    )
}

fn said(done: &KeysRotated, transport_now: bool) -> String {
    let waiting: Vec<&str> = done.keys.unaware.iter().map(|s| s.name.as_str()).collect();
    let next = match (transport_now, waiting.is_empty()) {
        (true, _) => "Start the node again now: it takes its new PeerId then.".to_owned(),
        (false, true) => {
            "Start the node again when it suits: it takes its new PeerId then.".to_owned()
        }
        (false, false) => format!(
            "Not acknowledged yet by {}.\nWhen they have it, start the node again: it takes its new PeerId then.",
            list(&waiting)
        ),
    };
    format!(
        "The keys are rotated: leaf {}, new record key {}\n{} got a new key\n{next}\n",
        done.seq,
        &done.keys.record[..8.min(done.keys.record.len())],
        count(done.groups, "group circle"),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_read_from_a_file_and_others_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (keystore, words) = crate::keystore::create(dir.path()).unwrap();
        let path = dir.path().join("words");
        std::fs::write(&path, words.words().join("\n") + "\n").unwrap();
        let read = super::words(Some(&path)).unwrap();
        assert!(keystore.matches(&read));
        std::fs::write(&path, "zoo ".repeat(24)).unwrap();
        assert!(super::words(Some(&path)).is_err());
    }
}
