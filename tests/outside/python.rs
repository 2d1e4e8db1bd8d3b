//! Python and the pinned packages, set up under `target/outside` once and kept there.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;

/// An interpreter.
#[derive(Debug, Clone)]
pub(crate) struct Python {
    program: PathBuf,
    options: &'static [&'static str],
}

/// The tool; or none, after saying so where it cannot be overlooked. In CI that is a failure.
pub(crate) fn needs<T>(tool: Result<T, String>) -> Option<T> {
    let why = match tool {
        Ok(tool) => return Some(tool),
        Err(why) => why,
    };
    assert!(
        env::var_os("CI").is_none(),
        "outside checks cannot run, and in CI they must: {why}"
    );
    let test = std::thread::current();
    let test = test.name().unwrap_or("a test");
    let said = format!("\n*** SKIPPED: {test} checked nothing: {why} ***\n\n");
    // Not eprintln: the test runner would keep it to itself. At once, as tests run side by side.
    let _ = std::io::stderr().write_all(said.as_bytes());
    None
}

impl Python {
    /// The standard library and no packages, not even those that happen to be installed.
    pub(crate) fn bare() -> Result<Self, String> {
        let python = Self {
            program: "python3".into(),
            options: &["-I", "-S", "-B"],
        };
        let version = python.run(&["--version".as_ref()]);
        match version {
            Ok(output) if output.status.success() => Ok(python),
            Ok(output) => Err(format!("python3 does not run: {}", text(&output.stderr))),
            Err(error) => Err(format!("python3 is not installed: {error}")),
        }
    }

    /// With the packages of `requirements.txt`, in an environment of their own.
    pub(crate) fn with_tools() -> Result<Self, String> {
        static TOOLS: OnceLock<Result<Python, String>> = OnceLock::new();
        TOOLS.get_or_init(set_up).clone()
    }

    /// Runs a script and reads a JSON value from each line that it prints.
    pub(crate) fn lines(&self, script: &str, args: &[PathBuf]) -> Vec<Value> {
        let output = self.script(script, args);
        assert!(
            output.status.success(),
            "{script}: {}",
            text(&output.stderr)
        );
        let lines = text(&output.stdout);
        let read = |line| serde_json::from_str(line).expect("scripts print JSON");
        lines.lines().map(read).collect()
    }

    /// What `verify.py` proves about `records` of `site`.
    pub(crate) fn verify(&self, site: &str, records: &[PathBuf]) -> Vec<Value> {
        self.lines("verify.py", &[&[site.into()], records].concat())
    }

    /// What a script says when it refuses.
    pub(crate) fn fails(&self, script: &str, args: &[PathBuf]) -> String {
        let output = self.script(script, args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{script} accepted: {said}");
        assert!(said.contains(": refused: "), "{script}: {said}");
        said
    }

    /// Why `verify.py` refuses `record`.
    pub(crate) fn refusal(&self, site: &str, record: &Path) -> String {
        let output = self.script("verify.py", &[site.into(), record.into()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{record:?} was accepted");
        assert!(said.contains(": refused: "), "{record:?}: {said}");
        said
    }

    fn script(&self, script: &str, args: &[PathBuf]) -> Output {
        let script = here().join(script);
        let args: Vec<&Path> = std::iter::once(&script)
            .chain(args)
            .map(PathBuf::as_path)
            .collect();
        self.run(&args).expect("python starts")
    }

    fn run(&self, args: &[&Path]) -> std::io::Result<Output> {
        Command::new(&self.program)
            .args(self.options)
            .args(args)
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME")
            .output()
    }
}

fn set_up() -> Result<Python, String> {
    let bare = Python::bare()?;
    let requirements = here().join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).map_err(|error| error.to_string())?;
    let (dir, _lock) = workshop()?;
    let venv = dir.join("venv");
    let ready = dir.join("ready");
    let python = Python {
        program: venv.join("bin/python"),
        options: &["-B"],
    };
    let works = ["-c", "import jwt, cryptography, jwcrypto, nacl, pymerkle"].map(Path::new);
    let is_there = fs::read_to_string(&ready).is_ok_and(|there| there == wanted)
        && python
            .run(&works)
            .is_ok_and(|output| output.status.success());
    if is_there {
        return Ok(python);
    }
    let _ = fs::remove_file(&ready);
    let _ = fs::remove_dir_all(&venv);
    succeeds(
        "python3 -m venv (Debian: apt-get install python3-venv)",
        || bare.run(&["-m".as_ref(), "venv".as_ref(), &venv]),
    )?;
    succeeds("pip install", || {
        let pip = ["-m", "pip", "install", "--quiet", "--no-input", "-r"].map(Path::new);
        python.run(&[&pip[..], &[&requirements]].concat())
    })?;
    fs::write(&ready, wanted).map_err(|error| error.to_string())?;
    Ok(python)
}

/// Where tools are set up, and the lock on it: tests run side by side.
pub(crate) fn workshop() -> Result<(PathBuf, fs::File), String> {
    // CARGO_TARGET_TMPDIR is a directory in the target directory, wherever that is.
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("outside");
    let open = || {
        fs::create_dir_all(&dir)?;
        let lock = fs::File::create(dir.join("lock"))?;
        lock.lock().map(|()| lock)
    };
    let lock = open().map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok((dir, lock))
}

pub(crate) fn succeeds(
    what: &str,
    run: impl FnOnce() -> std::io::Result<Output>,
) -> Result<(), String> {
    let output = run().map_err(|error| format!("{what}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{what} failed: {}", text(&said)))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

pub(crate) fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/outside")
}
