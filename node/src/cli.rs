//! The terminal: one file per noun, each calls the local API.
//!
//! stdout is data, stderr is talk; `--json` prints what the API answered. A command that fails says what, why
//! and what to do (`failure`) and ends with a documented exit code. Nothing is asked when stdin is not a terminal.
//! Offline are `init`, `audit` (but `audit export`), `config`, `store`, `completions`, `man`, `version` and `help`; `run` and `demo` are nodes
//! themselves; everything else needs a running node. What this module does not know: the store and the network.

use std::{ffi::OsString, io::Write as _, path::PathBuf, time::Duration};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::{api::view::Exit, config::Place};

mod audit;
mod capacity;
mod circle;
mod client;
mod config;
mod demo;
mod docs;
mod doctor;
mod failure;
mod find;
mod import;
mod init;
mod input;
mod invite;
mod join;
mod object;
mod out;
mod partner;
mod record;
mod resource;
mod run;
mod site;
mod status;
mod store;
mod table;
mod words;

use client::Client;
use failure::Failure;
use out::Out;

/// Factory Mesh: share selected, signed capacity with partners, and find theirs.
///
/// Each factory runs its own node; nothing lies with a third party.
#[derive(Debug, Parser)]
#[command(
    name = "fmesh",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "First steps: fmesh init, fmesh run, fmesh invite; on the other side fmesh init, fmesh run, fmesh join TICKET.\nExit codes: fmesh help exit-codes."
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
struct Global {
    /// Configuration file [default: $FMESH_CONFIG, ./fmesh.toml, $XDG_CONFIG_HOME/fmesh/fmesh.toml]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    config: Option<PathBuf>,
    /// Site directory: holds fmesh.toml and, beside it, the data
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        conflicts_with = "config",
        help_heading = "Everywhere"
    )]
    dir: Option<PathBuf>,
    /// Print the API's JSON instead of a table
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
    /// Columns of the table, in this order
    #[arg(
        long,
        global = true,
        value_name = "A,B",
        value_delimiter = ',',
        help_heading = "Everywhere"
    )]
    columns: Option<Vec<String>>,
    /// Colour; auto means on a terminal, unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Everywhere"
    )]
    color: When,
    /// Progress on stderr; auto means on a terminal
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Everywhere"
    )]
    progress: When,
    /// Longest time to wait for the node
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400), help_heading = "Everywhere")]
    timeout: u64,
}

/// When something is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a site: configuration, keys, recovery words
    Init(init::Args),
    /// Run the node until Ctrl-C or SIGTERM
    Run,
    /// How the node is, problems first
    Status,
    /// Which step of reachability fails, and what mends it
    Doctor(doctor::Args),
    /// Invite a factory (without a subcommand: create an invite for one site, good for a week)
    Invite(invite::Args),
    /// Join a mesh with a ticket
    Join(join::Args),
    /// Partners, and who asks to become one
    #[command(subcommand)]
    Partner(partner::Command),
    /// What the site says about itself, and its keys
    #[command(subcommand)]
    Site(site::Command),
    /// Machines, lines, cells, tools
    #[command(subcommand)]
    Resource(resource::Command),
    /// Free and promised hours by week
    #[command(subcommand)]
    Capacity(capacity::Command),
    /// Who may see what
    #[command(subcommand)]
    Circle(circle::Command),
    /// Find who can make it, and when
    Find(find::Args),
    /// Signed records, as they stand in logs
    #[command(subcommand)]
    Record(record::Command),
    /// Check what others sign, offline
    #[command(subcommand)]
    Audit(audit::Command),
    /// Three factories on this machine: invite, share, find, prove
    Demo(demo::Args),
    /// The configuration file
    #[command(subcommand)]
    Config(config::Command),
    /// What lies on disk
    #[command(subcommand)]
    Store(store::Command),
    /// Completion script for a shell, on stdout
    Completions(docs::CompletionsArgs),
    /// Manual page on stdout, or all pages into a directory
    Man(docs::ManArgs),
    /// Version of this program
    Version,
    /// Help about a command, or about exit-codes
    Help(docs::HelpArgs),
}

/// What a command has at hand.
#[derive(Debug)]
struct Context {
    out: Out,
    place: Place,
    timeout: Duration,
}

impl Context {
    fn client(&self) -> Result<Client, Failure> {
        Client::open(&self.place, self.timeout)
    }
}

/// Reads the command line. Help and mistakes are said here; the error is the exit code then.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, u8> {
    let args: Vec<OsString> = args.into_iter().collect();
    let parsed = command()
        .try_get_matches_from(&args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let wanted = !error.use_stderr();
        if !wanted && args.iter().any(|arg| arg == "--json") {
            let text = error.render().to_string();
            let what = text
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            let failure = Failure::usage(what).hint("fmesh --help");
            let _ = std::io::stderr().write_all(failure.render(true, false).as_bytes());
        } else {
            let _ = error.print();
        }
        if wanted {
            Exit::Done as u8
        } else {
            Exit::Usage as u8
        }
    })
}

/// The command line as clap knows it, for documentation and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Says that the program cannot even start; the exit code.
#[must_use]
pub fn no_runtime(error: &std::io::Error) -> u8 {
    let failure = Failure::new(Exit::Failed, "io", "cannot start")
        .why(error.to_string())
        .hint("check the limits on threads and open files (ulimit -a)");
    let _ = std::io::stderr().write_all(failure.render(false, false).as_bytes());
    failure.exit as u8
}

impl Cli {
    /// True if the process becomes a node and wants all cores.
    #[must_use]
    pub fn runs_a_node(&self) -> bool {
        matches!(self.command, Command::Run | Command::Demo(_))
    }

    /// Does what the command says; the exit code.
    pub async fn run(self) -> u8 {
        let Self { global, command } = self;
        let context = Context {
            out: Out::new(&global),
            timeout: Duration::from_secs(global.timeout),
            place: Place {
                config: global.config,
                dir: global.dir,
            },
        };
        let exit = match command.run(&context).await {
            Ok(exit) => exit,
            Err(failure) => {
                context.out.fail(&failure);
                failure.exit
            }
        };
        exit as u8
    }
}

impl Command {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Init(args) => init::run(context, &args),
            Self::Run => run::run(context).await,
            Self::Status => status::run(context).await,
            Self::Doctor(args) => return doctor::run(context, args).await,
            Self::Invite(args) => invite::run(context, args).await,
            Self::Join(args) => join::run(context, args).await,
            Self::Partner(command) => partner::run(context, command).await,
            Self::Site(command) => site::run(context, command).await,
            Self::Resource(command) => resource::run(context, command).await,
            Self::Capacity(command) => capacity::run(context, command).await,
            Self::Circle(command) => circle::run(context, command).await,
            Self::Find(args) => find::run(context, args).await,
            Self::Record(command) => record::run(context, command).await,
            Self::Audit(command) => return audit::run(context, command).await,
            Self::Demo(args) => demo::run(args).await,
            Self::Config(command) => config::run(context, command),
            Self::Store(command) => store::run(context, command),
            Self::Completions(args) => docs::completions(context, &args),
            Self::Man(args) => docs::man(context, &args),
            Self::Version => docs::version(context),
            Self::Help(args) => docs::help(context, &args),
        }?;
        Ok(Exit::Done)
    }
}
