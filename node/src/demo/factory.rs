//! One factory of the demo: a directory, a process, and the commands given to it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::process::{Child, Command};

/// How long a node may take to start. It takes a fraction of a second on an idle machine.
const START_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Factory {
    /// Its directory below the demo's, as the shown commands name it.
    pub(super) dir: &'static str,
    pub(super) name: &'static str,
    base: PathBuf,
    node: Option<Child>,
}

impl Factory {
    /// Makes the site: keys, configuration with free ports, and the factory's own files.
    pub(super) async fn create(
        base: &Path,
        dir: &'static str,
        name: &'static str,
        files: &[(&str, &[u8])],
    ) -> Result<Self> {
        let factory = Self {
            dir,
            name,
            base: base.to_owned(),
            node: None,
        };
        factory
            .run(&["init", "--name", name, "--port", "0", "--yes"])
            .await?;
        for (file, bytes) in files {
            let path = factory.path().join(file);
            std::fs::write(&path, bytes)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(factory)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.base.join(self.dir)
    }

    /// Starts its node as a process of its own, and waits until it answers.
    pub(super) async fn start(&mut self) -> Result<()> {
        let log = std::fs::File::create(self.path().join("node.log"))
            .context("cannot write the node's log")?;
        let node = self
            .command(&["run"])?
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a node")?;
        self.node = Some(node);
        let begun = std::time::Instant::now();
        while self.run(&["status", "--json"]).await.is_err() {
            let ended = self
                .node
                .as_mut()
                .is_some_and(|node| !matches!(node.try_wait(), Ok(None)));
            if ended || begun.elapsed() > START_PATIENCE {
                let log = std::fs::read_to_string(self.path().join("node.log")).unwrap_or_default();
                bail!("the node of {} does not start:\n{log}", self.name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends its node, and waits for it.
    pub(super) async fn stop(&mut self) {
        if let Some(mut node) = self.node.take() {
            // Acknowledged data is on disk, so ending a node this way loses nothing.
            let _ = node.kill().await;
        }
    }

    /// Runs a command and gives what it printed on stdout.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String> {
        let (code, out, err) = self.try_run(arguments).await?;
        if code != Some(0) {
            bail!(
                "fmesh {} ended with {code:?}\n{out}{err}",
                arguments.join(" ")
            );
        }
        Ok(out)
    }

    /// Runs a command that may fail: exit code, stdout, stderr.
    pub(super) async fn try_run(
        &self,
        arguments: &[&str],
    ) -> Result<(Option<i32>, String, String)> {
        let output = self
            .command(arguments)?
            .stdin(Stdio::null())
            .output()
            .await
            .context("cannot run a command")?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        ))
    }

    /// Runs a command with `--json`.
    pub(super) async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let all: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        Ok(serde_json::from_str(&self.run(&all).await?)?)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command
            .current_dir(&self.base)
            .arg("--dir")
            .arg(self.dir)
            .args(arguments)
            .env_remove("FMESH_CONFIG")
            .env("NO_COLOR", "1");
        Ok(command)
    }
}
