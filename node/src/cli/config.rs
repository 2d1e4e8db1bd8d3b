//! `fmesh config`: check the file, show what it comes to. Offline.

use serde_json::json;

use super::{
    Context,
    failure::Failure,
    table::{Table, text},
    words::list,
};
use crate::config::Config;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Read the file and say what is wrong, line by line
    Check,
    /// What the file comes to, defaults included
    Show,
}

pub(crate) fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let path = context.place.find()?;
    let config = Config::load(&path)?;
    let value = json!({
        "schema": "fmesh.config.v1",
        "path": path,
        "site": { "name": config.name },
        "node": { "data_dir": config.data_dir, "listen": config.listen, "announce": config.announce },
        "api": { "listen": config.api_listen },
        "limits": { "connections_max": config.connections_max },
        "log": { "level": config.log.level, "format": config.log.format },
    });
    if context.out.as_json(&value)? {
        return Ok(());
    }
    if matches!(command, Command::Check) {
        return context.out.data(&format!("{}: ok\n", path.display()));
    }
    let mut table = Table::new(&[text("KEY"), text("VALUE")]);
    let mut line = |key: &str, value: String| table.row([key.to_owned(), value]);
    line("site.name", config.name);
    line("node.data_dir", config.data_dir.display().to_string());
    line("node.listen", list(&config.listen));
    line("node.announce", list(&config.announce));
    line("api.listen", config.api_listen.to_string());
    line("limits.connections_max", config.connections_max.to_string());
    line("log.level", config.log.level);
    line(
        "log.format",
        value["log"]["format"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    );
    context.out.table(&table, "")
}
