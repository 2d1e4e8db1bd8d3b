//! `completions`, `man`, `version`, `help`: what the program says about itself.

use std::path::PathBuf;

use serde_json::json;

use super::{
    Context, command,
    failure::{EXIT_CODES, Failure},
};
use crate::api::view::Exit;

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: clap_complete::Shell,
}

/// Options of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Page of this command, like: circle set [default: fmesh itself]
    page: Vec<String>,
    /// Write all pages into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "page")]
    out: Option<PathBuf>,
}

/// Options of `help`.
#[derive(Debug, clap::Args)]
pub(crate) struct HelpArgs {
    /// A command, like: circle set; or exit-codes
    topic: Vec<String>,
}

pub(crate) fn completions(context: &Context, args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "fmesh", &mut script);
    context.out.data(&String::from_utf8_lossy(&script))
}

pub(crate) fn man(context: &Context, args: &ManArgs) -> Result<(), Failure> {
    if let Some(dir) = &args.out {
        std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(command(), dir))
            .map_err(|error| Failure::file(dir, "write", &error))?;
        context
            .out
            .say(&format!("Read them with: man {}/fmesh.1", dir.display()));
        return Ok(());
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(subcommand(&args.page)?)
        .render(&mut page)
        .map_err(|error| Failure::output(&error))?;
    context.out.data(&String::from_utf8_lossy(&page))
}

pub(crate) fn version(context: &Context) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if context.out.json {
        return context.out.value(&json!({
            "schema": "fmesh.version.v1",
            "name": "fmesh",
            "version": version,
            "protocol": 1,
            "api": "v1",
        }));
    }
    context
        .out
        .data(&format!("fmesh {version} (protocol 1, API v1)\n"))
}

pub(crate) fn help(context: &Context, args: &HelpArgs) -> Result<(), Failure> {
    if args.topic == ["exit-codes"] {
        if context.out.json {
            let items: Vec<_> = EXIT_CODES
                .iter()
                .map(|(exit, means)| json!({ "exit": *exit as u8, "means": means }))
                .collect();
            return context
                .out
                .value(&json!({ "schema": "fmesh.exit-codes.v1", "items": items, "next": null }));
        }
        let lines: Vec<String> = EXIT_CODES
            .iter()
            .map(|(exit, means)| format!("{:>2}  {means}\n", *exit as u8))
            .collect();
        return context.out.data(&lines.concat());
    }
    let text = subcommand(&args.topic)?.render_long_help();
    context.out.data(&text.to_string())
}

/// A command by its words, built so that it knows its full name and the options of every command.
fn subcommand(words: &[String]) -> Result<clap::Command, Failure> {
    let mut all = command();
    all.build();
    let mut found = &all;
    for word in words {
        found = found.find_subcommand(word).ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                "not_found",
                format!("there is no help about {}", words.join(" ")),
            )
            .hint("fmesh help lists the commands; fmesh help exit-codes the exit codes")
        })?;
    }
    Ok(found.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_command_has_a_page_and_help() {
        fn visit(command: &clap::Command, words: &mut Vec<String>, seen: &mut usize) {
            *seen += 1;
            let found = subcommand(words).unwrap();
            assert!(found.get_about().is_some(), "{words:?} lacks a sentence");
            for sub in command.get_subcommands() {
                words.push(sub.get_name().to_owned());
                visit(sub, words, seen);
                words.pop();
            }
        }
        let mut seen = 0;
        visit(&command(), &mut Vec::new(), &mut seen);
        assert!(seen > 40, "{seen} commands");
        assert_eq!(subcommand(&["no".into()]).unwrap_err().exit, Exit::NotFound);
        let dir = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(command(), dir.path()).unwrap();
        assert!(dir.path().join("fmesh-circle-set.1").exists());
    }

    #[test]
    fn commands_of_the_issue_are_read() {
        for line in [
            "init --name A --port 4810 --dir d --yes",
            "run",
            "status --json",
            "invite",
            "invite --note x",
            "invite create --expires 2d --uses 3 --role admin --circle near --auto-approve",
            "invite list --columns invite,state",
            "invite show ab",
            "invite revoke ab --yes",
            "join fmesh1abc --wait",
            "join -",
            "join --file t",
            "partner approve bolt --yes",
            "site set --name A --country DE --lat 48.1 --lon 11.5 --certificate ISO9001,until=2027-01-01",
            "resource import machines.csv --dry-run",
            "capacity import shifts.ics --dry-run",
            "capacity set C42 --resource DMU-80 --unit HUR --from 2026-W49 --available 12,?,38",
            "circle set near --group bolt,carbo --kind capacity --slots available,name --dry-run",
            "circle preview --as carbo",
            "circle explain carbo DMU-80",
            "find milling/5-axis --material en-aw-7075 --hours 36 --weeks 2026-W49..W51 --within 300km --cert ISO9001 --country DE",
            "record export bolt/3 --out d",
            "audit verify r.sdjwt --proof p --manifest m --trust t",
            "demo --once",
            "help exit-codes",
            "completions bash",
            "man circle set",
        ] {
            let args = std::iter::once("fmesh")
                .chain(line.split(' '))
                .map(Into::into);
            assert!(super::super::parse(args).is_ok(), "{line}");
        }
        for line in [
            "",
            "inti",
            "join",
            "join x --file y",
            "run --dir a --config b",
            "find --weeks",
            "demo --timeout 0",
        ] {
            let args = std::iter::once("fmesh")
                .chain(line.split_whitespace())
                .map(Into::into);
            assert_eq!(super::super::parse(args).unwrap_err(), 2, "{line}");
        }
        let version = ["fmesh", "--version"].map(Into::into);
        assert_eq!(super::super::parse(version).unwrap_err(), 0);
    }
}
