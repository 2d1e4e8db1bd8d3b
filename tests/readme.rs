//! The README's commands, run as they stand there, with the real program in a directory of their own.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

const README: &str = include_str!("../README.md");
/// How long a node may take to answer, or a request to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// Commands in the blocks under `<!-- run -->`, without their `$ `.
fn commands() -> Vec<&'static str> {
    README
        .split("<!-- run -->")
        .skip(1)
        .filter_map(|rest| rest.split("```").nth(1))
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("$ "))
        .collect()
}

/// Splits a command as a shell would: blanks, and double quotes around a name.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("never empty").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Nodes that were started; they end with the test.
struct Nodes(Vec<Child>);
impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.0 {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

struct Shell {
    dir: PathBuf,
    ticket: String,
}

impl Shell {
    fn program(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fmesh"));
        command
            .args(arguments)
            .current_dir(&self.dir)
            .env_remove("FMESH_CONFIG")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[String]) -> Output {
        self.program(arguments).output().expect("the program runs")
    }

    /// Runs until it succeeds: what it waits for comes from another process.
    fn succeed(&self, arguments: &[String]) -> String {
        let begun = Instant::now();
        loop {
            let output = self.run(arguments);
            if output.status.success() {
                return String::from_utf8(output.stdout).expect("UTF-8");
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "fmesh {} ended with {:?}\n{}{}",
                arguments.join(" "),
                output.status.code(),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The file that the record export made.
    fn exported(&self) -> String {
        std::fs::read_dir(self.dir.join("audit"))
            .expect("the export made it")
            .map(|entry| {
                entry
                    .expect("reads")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .find(|name| name.ends_with(".sdjwt") && !name.ends_with(".keys.sdjwt"))
            .map(|name| format!("audit/{name}"))
            .expect("a record")
    }

    /// What the auditor wrote down, from Plant A in person.
    fn write_anchors(&self) {
        let status = self.succeed(&words("status --json --dir plant-a"));
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        let site = status["site"]["site"].as_str().expect("a site id");
        std::fs::write(
            self.dir.join("anchors.txt"),
            format!("site {site} Plant A\n"),
        )
        .expect("writes");
    }
}

#[test]
fn two_real_sites_as_the_readme_sets_them_up() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    std::os::unix::fs::symlink(root.join("examples"), temporary.path().join("examples"))
        .expect("links");
    let mut shell = Shell {
        dir: temporary.path().to_owned(),
        ticket: String::new(),
    };
    let mut nodes = Nodes(Vec::new());
    let commands = commands();
    assert!(commands.len() > 15, "the blocks are found: {commands:?}");
    let mut found = String::new();
    for command in commands {
        let background = command.ends_with(" &");
        let command = command
            .trim_end_matches(" &")
            .replace("TICKET", &shell.ticket);
        let mut arguments = words(&command);
        assert_eq!(arguments.remove(0), "fmesh", "{command}");
        for argument in &mut arguments {
            // Ports of this machine may be taken.
            if ["4810", "4820"].contains(&argument.as_str()) {
                *argument = "0".into();
            }
            if argument == "AUDITED" {
                shell.write_anchors();
                *argument = shell.exported();
            }
        }
        if background {
            let dir = arguments.last().expect("its directory").clone();
            let mut node = shell.program(&arguments);
            node.stdout(Stdio::null()).stderr(Stdio::null());
            nodes.0.push(node.spawn().expect("starts"));
            shell.succeed(&["status".into(), "--dir".into(), dir]);
            continue;
        }
        if arguments[0] == "find" {
            // The partner's hours are on their way.
            let begun = Instant::now();
            while !found.contains("12") && begun.elapsed() < PATIENCE {
                found = shell.succeed(&arguments);
            }
            continue;
        }
        let output = shell.succeed(&arguments);
        if arguments[0] == "invite" {
            let ticket = output
                .split_whitespace()
                .find(|word| word.starts_with("fmesh1"));
            shell.ticket = ticket.expect("a ticket").to_owned();
        }
    }
    for word in ["Plant A", "5-axis machining centre", "ISO 9001", "155"] {
        assert!(found.contains(word), "{word} in\n{found}");
    }
}

#[test]
fn the_demo_does_what_the_readme_shows() {
    let output = Command::new(env!("CARGO_BIN_EXE_fmesh"))
        .args(["demo", "--once"])
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let shown = README
        .split("<!-- demo -->")
        .nth(1)
        .and_then(|rest| rest.split("```").nth(1))
        .expect("the README shows the demo");
    let printed: Vec<String> = text.lines().map(without_figures).collect();
    let mut lines = 0;
    for line in shown.lines().skip(1).map(str::trim) {
        if line.is_empty()
            || line.contains("...")
            || line.contains('…')
            || line.ends_with("just now")
        {
            continue;
        }
        assert!(
            printed.contains(&without_figures(line)),
            "the demo no longer prints: {line}\n{text}"
        );
        lines += 1;
    }
    assert!(lines >= 20, "the README shows the demo");
}

/// A line without what differs from run to run: numbers, ids, widths of columns.
fn without_figures(line: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_matches(|c: char| "().,".contains(c));
        let is_id = bare.len() == 8 && bare.bytes().all(|b| b.is_ascii_hexdigit());
        match is_id {
            _ if word == "ms" => "s".to_owned(),
            true => word.replace(bare, "#"),
            false => word
                .chars()
                .filter(|c| !c.is_ascii_digit() && *c != '.')
                .collect(),
        }
    };
    line.split_whitespace()
        .map(word)
        .collect::<Vec<_>>()
        .join(" ")
}
