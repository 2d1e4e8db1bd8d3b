//! Where a command's words go: stdout is data, stderr is talk.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use serde_json::Value;

use super::{Global, When, failure::Failure, table::Table, words::printable};

/// How this process shows things, decided once from options, environment and terminal.
#[derive(Debug)]
pub(crate) struct Out {
    /// Print the API's JSON.
    pub(crate) json: bool,
    columns: Option<Vec<String>>,
    color: bool,
    color_talk: bool,
    progress: bool,
    width: Option<u16>,
}

impl Out {
    pub(crate) fn new(global: &Global) -> Self {
        let (data, talk) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let mute = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let allowed = |terminal: bool| match global.color {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && !mute,
        };
        let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        let measured = || {
            comfy_table::Table::new()
                .set_content_arrangement(comfy_table::ContentArrangement::Dynamic)
                .width()
        };
        Self {
            json: global.json,
            columns: global.columns.clone(),
            color: allowed(data) && !global.json,
            color_talk: allowed(talk),
            progress: match global.progress {
                When::Always => true,
                When::Never => false,
                When::Auto => talk && !global.json,
            },
            width: data.then(|| columns.or_else(measured).unwrap_or(80).max(40)),
        }
    }

    /// As on no terminal at all.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self {
            json: false,
            columns: None,
            color: false,
            color_talk: false,
            progress: false,
            width: None,
        }
    }

    /// Data, as it is.
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::output(&error))
    }
    /// A JSON object, never coloured.
    pub(crate) fn value(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::output(&io::Error::other(error)))?;
        self.data(&(text + "\n"))
    }
    /// A table, or what stands in its place when it is empty (on stderr).
    pub(crate) fn table(&self, table: &Table, empty: &str) -> Result<(), Failure> {
        let text = table.render(self.width, self.columns.as_deref())?;
        if table.is_empty() {
            self.say(empty);
            return Ok(());
        }
        self.data(&self.bold_first_line(&text))
    }
    /// The JSON of the API if it was asked for; otherwise false, and the caller shows it in words.
    pub(crate) fn as_json(&self, value: &Value) -> Result<bool, Failure> {
        if self.json {
            self.value(value)?;
        }
        Ok(self.json)
    }
    /// Talk: what happened, what to do next. Never fails, never on stdout.
    pub(crate) fn say(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{}", printable_lines(text));
    }
    /// True if talk may be coloured.
    pub(crate) fn colors_talk(&self) -> bool {
        self.color_talk
    }
    /// A failure, on stderr.
    pub(crate) fn fail(&self, failure: &Failure) {
        let _ = io::stderr().write_all(failure.render(self.json, self.color_talk).as_bytes());
    }
    /// Shows that something takes time; nothing unless someone watches.
    pub(crate) fn spinner(&self, text: &str) -> indicatif::ProgressBar {
        if !self.progress {
            return indicatif::ProgressBar::hidden();
        }
        let bar = indicatif::ProgressBar::new_spinner().with_message(printable(text));
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        bar
    }
    /// Shows how far something is; nothing unless someone watches.
    pub(crate) fn bar(&self, total: u64) -> indicatif::ProgressBar {
        match self.progress {
            true => indicatif::ProgressBar::new(total),
            false => indicatif::ProgressBar::hidden(),
        }
    }
    /// Red on a terminal.
    pub(crate) fn alarm(&self, text: &str) -> String {
        self.styled("31", text)
    }
    /// Bold on a terminal.
    pub(crate) fn strong(&self, text: &str) -> String {
        self.styled("1", text)
    }

    fn styled(&self, code: &str, text: &str) -> String {
        let text = printable(text);
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text
        }
    }
    fn bold_first_line(&self, text: &str) -> String {
        match text.split_once('\n') {
            Some((first, rest)) if self.color => format!("{}\n{rest}", self.strong(first)),
            _ => text.to_owned(),
        }
    }
}

fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}
