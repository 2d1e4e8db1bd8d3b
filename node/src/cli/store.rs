//! `fmesh store`: is what lies on disk whole? Offline: the node must be stopped.

use serde_json::json;

use super::{
    Context,
    failure::Failure,
    table::{Table, text},
    words::{bytes, count},
};
use crate::{
    api::view::Exit,
    config::Config,
    keystore,
    node::NodeError,
    store::{Finding, Store},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Read every entry and compare the indices with what they are made of
    Check {
        /// Make the indices again from records and objects, then check once more
        #[arg(long)]
        repair: bool,
    },
}

pub(crate) fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let Command::Check { repair } = command;
    let config = Config::load(&context.place.find()?)?;
    let site = keystore::load(&config.data_dir)?.site();
    let path = config.data_dir.join("store");
    if !path.is_dir() {
        return Err(Failure::new(
            Exit::NotFound,
            "not_found",
            format!("there is no store at {}", path.display()),
        )
        .hint("the first fmesh run makes it"));
    }
    let failed = |error| Failure::from(NodeError::Store(error));
    let store = Store::open(&path).map_err(failed)?;
    let reading = context.out.spinner("Reading the store");
    let mut findings = store.check(Some(&site)).map_err(failed)?;
    if repair && !findings.is_empty() {
        store.rebuild().map_err(failed)?;
        findings = store.check(Some(&site)).map_err(failed)?;
    }
    let size = store.size_on_disk().map_err(failed)?;
    reading.finish_and_clear();
    answer(context, &path.display().to_string(), size, &findings)?;
    if findings.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(
        Exit::Failed,
        "damaged",
        format!("the store has {}", count(findings.len() as u64, "finding")),
    );
    Err(if repair {
        failure.hint("keep a copy of the data directory, then restore the store from a backup")
    } else {
        failure.hint("keep a copy of the data directory, then fmesh store check --repair")
    })
}

fn answer(context: &Context, path: &str, size: u64, findings: &[Finding]) -> Result<(), Failure> {
    let items: Vec<_> = findings
        .iter()
        .map(|finding| json!({ "entry": finding.entry, "what": finding.what }))
        .collect();
    let value =
        json!({ "schema": "fmesh.store_check.v1", "path": path, "bytes": size, "findings": items });
    if context.out.as_json(&value)? {
        return Ok(());
    }
    if findings.is_empty() {
        return context.out.data(&format!("{path}: ok, {}\n", bytes(size)));
    }
    let mut table = Table::new(&[text("ENTRY"), text("WHAT")]);
    for finding in findings {
        table.row([finding.entry.clone(), finding.what.clone()]);
    }
    context.out.table(&table, "")
}
