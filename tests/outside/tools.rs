//! Tools that are not Python: jose from npm, a program of our own around two crates of others, openssl.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::python::{here, succeeds, text, workshop};

/// jose, set up with npm.
pub(crate) struct Jose {
    script: PathBuf,
}

impl Jose {
    /// As `npm/package-lock.json` pins it.
    pub(crate) fn new() -> Result<Self, String> {
        let (dir, _lock) = workshop()?;
        let dir = dir.join("npm");
        let from = here().join("npm");
        let copy = |name: &str| fs::copy(from.join(name), dir.join(name));
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        let is_there = read(dir.join("ready")) == read(from.join("package-lock.json"));
        fs::create_dir_all(&dir)
            .and_then(|()| copy("jose.mjs"))
            .and_then(|_| copy("package.json"))
            .and_then(|_| copy("package-lock.json"))
            .map_err(|error| format!("{}: {error}", dir.display()))?;
        if !is_there {
            succeeds("npm ci (Debian: apt-get install nodejs npm)", || {
                let mut npm = Command::new("npm");
                npm.args(["ci", "--no-audit", "--no-fund"]);
                npm.current_dir(&dir).stdin(Stdio::null()).output()
            })?;
            let ready = fs::copy(dir.join("package-lock.json"), dir.join("ready"));
            ready.map_err(|error| error.to_string())?;
        }
        Ok(Self {
            script: dir.join("jose.mjs"),
        })
    }

    /// What `jose.mjs` says about records that one key signed.
    pub(crate) fn verify(&self, key: &str, records: &[PathBuf]) -> Value {
        let output = Command::new("node")
            .arg(&self.script)
            .arg(key)
            .args(records)
            .output()
            .expect("node starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("it prints JSON")
    }
}

/// The program in `notes`, built by cargo in a workspace and a target directory of its own.
pub(crate) fn notes() -> Result<PathBuf, String> {
    let (dir, _lock) = workshop()?;
    let target = dir.join("notes");
    let manifest = here().join("notes/Cargo.toml");
    succeeds("cargo build of tests/outside/notes", || {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--locked", "--manifest-path"]);
        cargo.arg(&manifest).arg("--target-dir").arg(&target);
        cargo.stdin(Stdio::null()).output()
    })?;
    Ok(target.join("debug/notes"))
}

/// Whether openssl says that `key` (32 bytes) signed; `dir` is for its files.
pub(crate) fn openssl(
    dir: &Path,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<bool, String> {
    // SubjectPublicKeyInfo of Ed25519 (RFC 8410) is a fixed head and the key.
    const HEAD: [u8; 12] = [0x30, 42, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 33, 0];
    let write = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes);
    write("key.der", &[&HEAD, key].concat())
        .and_then(|()| write("message", message))
        .and_then(|()| write("signature", signature))
        .map_err(|error| error.to_string())?;
    let arguments =
        "pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin -in message -sigfile signature";
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(dir)
        .output()
        .map_err(|error| format!("openssl is not installed: {error}"))?;
    let said = [output.stdout, output.stderr].concat();
    match text(&said) {
        said if said.contains("Verified Successfully") && output.status.success() => Ok(true),
        said if said.contains("Verification Failure") => Ok(false),
        said => Err(format!("openssl: {said}")),
    }
}
