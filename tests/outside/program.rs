//! The program as people use it: processes, with what they print as JSON.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long anything may take. Long, because machines are noisy; nothing waits for it.
const PATIENCE: Duration = Duration::from_secs(90);

/// A site with its running node, which ends with this.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    id: String,
    node: Child,
}

impl Site {
    /// A new site on free ports.
    pub(crate) fn start(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let program = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_fmesh"));
            command.arg("--dir").arg(dir.path()).stdin(Stdio::null());
            command
        };
        let mut init = program();
        init.args(["--json", "init", "--yes", "--port", "0", "--name", name]);
        let made = answer(&init.output().expect("the program starts"));
        let log = File::create(dir.path().join("log")).expect("a file");
        let node = program()
            .arg("run")
            .stderr(log)
            .stdout(Stdio::null())
            .spawn();
        let site = Self {
            id: made["site"].as_str().expect("its id").to_owned(),
            node: node.expect("the node starts"),
            dir,
        };
        let ready = || site.fmesh(&["status"]).status.success().then_some(());
        until("the node answers", ready);
        site
    }

    /// The root's public key in hex.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What a command says, which must succeed.
    pub(crate) fn says(&self, args: &[&str]) -> Value {
        answer(&self.fmesh(args))
    }

    /// A path in the site's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn fmesh(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fmesh"));
        command.arg("--dir").arg(self.dir.path()).arg("--json");
        command.args(args).stdin(Stdio::null());
        command.output().expect("the program starts")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
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

/// What a command printed, which must have succeeded.
pub(crate) fn answer(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}
