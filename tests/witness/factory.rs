//! A factory as processes: its directory, its node, and commands to it.

#![allow(dead_code, reason = "each test target uses its own part of this")]

use std::{
    fs::{self, File},
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long anything may take. Long, because machines are noisy; nothing waits for it.
const PATIENCE: Duration = Duration::from_secs(90);

/// A site; its node ends with this.
pub(crate) struct Factory {
    dir: tempfile::TempDir,
    id: String,
    words: String,
    node: Option<Child>,
    starts: u32,
}

impl Factory {
    /// A new site, started, on ports that it keeps: partners find it again when all were down.
    pub(crate) fn start(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut factory = Self {
            dir,
            id: String::new(),
            words: String::new(),
            node: None,
            starts: 0,
        };
        let port = free_port().to_string();
        let made = factory.says(&["init", "--yes", "--port", &port, "--name", name]);
        made["site"]
            .as_str()
            .expect("its id")
            .clone_into(&mut factory.id);
        let words = made["recovery_words"].as_array().expect("words");
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        factory.words = words.join(" ");
        factory.resume();
        factory
    }

    /// Starts the node and waits until it answers.
    pub(crate) fn resume(&mut self) {
        assert!(self.node.is_none(), "it runs");
        self.starts += 1;
        let log = self.path(&format!("log-{}", self.starts));
        let mut run = self.program();
        run.arg("run").stdout(Stdio::null());
        run.stderr(File::create(log).expect("a file"));
        self.node = Some(run.spawn().expect("the node starts"));
        let ready = || self.fmesh(&["status"]).status.success().then_some(());
        until("the node answers", ready);
    }

    /// Ends the node as a power loss would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut node) = self.node.take() {
            let _ = node.kill();
            let _ = node.wait();
        }
    }

    /// The root's public key in hex.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Its recovery words.
    pub(crate) fn words(&self) -> &str {
        &self.words
    }

    /// Partners that it is connected to.
    pub(crate) fn connected(&self) -> usize {
        let status = self.says(&["status"]);
        let partners = status["partners"].as_array().cloned().unwrap_or_default();
        let here = |partner: &&Value| !partner["address"].is_null();
        partners.iter().filter(here).count()
    }

    /// What a command says, which must succeed.
    pub(crate) fn says(&self, args: &[&str]) -> Value {
        let output = self.fmesh(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        serde_json::from_slice(&output.stdout).expect("--json prints JSON")
    }

    /// A path in the site's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn fmesh(&self, args: &[&str]) -> Output {
        let mut command = self.program();
        command.arg("--json").args(args);
        command.output().expect("the program starts")
    }

    /// Its data as they are now; the node must not run.
    pub(crate) fn backup(&self) -> tempfile::TempDir {
        assert!(
            self.node.is_none(),
            "a copy of a running node's files is none"
        );
        let copy = tempfile::tempdir().expect("a temporary directory");
        copy_all(&self.path("data"), copy.path());
        copy
    }

    /// Puts a backup back in place of its data.
    pub(crate) fn restore(&self, backup: &Path) {
        assert!(self.node.is_none(), "it runs");
        fs::remove_dir_all(self.path("data")).expect("removed");
        copy_all(backup, &self.path("data"));
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fmesh"));
        command
            .arg("--dir")
            .arg(self.dir.path())
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Factory {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that is free for TCP and UDP, as is the next one, which is the API's.
fn free_port() -> u16 {
    let is_free = |port: u16| {
        TcpListener::bind(("0.0.0.0", port)).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok()
    };
    loop {
        let any = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = any.local_addr().expect("bound").port();
        drop(any);
        if port < u16::MAX && is_free(port) && is_free(port + 1) {
            return port;
        }
    }
}

/// Files with their modes, and directories below.
fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("reads") {
        let entry = entry.expect("reads");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy_all(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

/// Asks every now and then until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "timed out: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}
