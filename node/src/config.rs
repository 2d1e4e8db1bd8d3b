//! The operator's TOML file, resolved. Unknown keys are refused with line and nearest match.
//!
//! The node reads the file and never rewrites it; `init` writes it once from [`template()`]. What is wrong is
//! reported all at once, each problem with its line. Relative paths count from the file, so a site directory
//! can be moved. What this module does not know: whether ports are free, and what the keys are.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

mod file;
mod nearest;
mod template;

pub use template::{Template, template};

/// Name of the configuration file in a site directory.
pub const CONFIG_FILE: &str = "fmesh.toml";
/// Environment variable that names the configuration file.
pub const CONFIG_ENV: &str = "FMESH_CONFIG";
/// UDP and TCP port of the mesh, unless the file says otherwise.
pub const PORT_DEFAULT: u16 = 4810;
/// Connections in total, unless the file says otherwise: a full mesh of 32 members, twice, and strangers who knock.
pub const CONNECTIONS_MAX_DEFAULT: u32 = 128;
/// How often a node has its own addresses tested again.
pub const RECHECK_SECONDS_DEFAULT: u64 = 300;
/// A configuration is some hundred lines; anything longer is not one.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Resolved settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the site, for people.
    pub name: String,
    /// Where the store, keystore, token and api address files are.
    pub data_dir: PathBuf,
    /// libp2p listen addresses (multiaddr text).
    pub listen: Vec<String>,
    /// Addresses to put into tickets and tell members, if the bound ones are not reachable from outside.
    pub announce: Vec<String>,
    /// Loopback address of the local API.
    pub api_listen: SocketAddr,
    /// Connections in total.
    pub connections_max: u32,
    /// How members reach one another.
    pub network: Network,
    /// What the node writes to its log.
    pub log: Log,
}

/// How members reach one another beyond plain addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Relay for other members. `None`: as soon as this node is known to be reachable itself.
    pub offer_relay: Option<bool>,
    /// Be reached through other members' relays, where there is no direct way.
    pub use_relays: bool,
    /// Look for members on the local network.
    pub mdns: bool,
    /// How often members test again where this node can be reached, in seconds.
    pub recheck_seconds: u64,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            offer_relay: None,
            use_relays: true,
            mdns: false,
            recheck_seconds: RECHECK_SECONDS_DEFAULT,
        }
    }
}

/// The node's log, on stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives such as `info,fmesh::net=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "warn,fmesh=info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// One thing that is wrong in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No file at any of the usual places.
    #[error("no configuration at {}", shown(.searched))]
    NotFound {
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// It cannot be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It says something wrong.
    #[error("{}: {}", .path.display(), listed(.problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All that is wrong, by line.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// The next step for the operator.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NotFound { .. } => {
                "run `fmesh init` here, or name the site with --dir DIR or --config FILE".to_owned()
            }
            Self::Read { path, .. } => {
                format!(
                    "check that {} can be read by the user who runs fmesh",
                    path.display()
                )
            }
            Self::Invalid { path, problems } => {
                let hints: Vec<String> = problems
                    .iter()
                    .filter_map(|p| Some(format!("line {}: {}", p.line, p.hint.as_ref()?)))
                    .collect();
                let check = format!("then `fmesh config check --config {}`", path.display());
                if hints.is_empty() {
                    check
                } else {
                    format!("{}; {check}", hints.join("; "))
                }
            }
        }
    }
}

/// Where a configuration was named on the command line.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// `--config FILE`.
    pub config: Option<PathBuf>,
    /// `--dir DIR`: the site directory, which holds `fmesh.toml`.
    pub dir: Option<PathBuf>,
}

impl Place {
    /// The file to read: the one that was named, else the first that exists of `FMESH_CONFIG`, `./fmesh.toml`, `$XDG_CONFIG_HOME/fmesh/fmesh.toml`.
    pub fn find(&self) -> Result<PathBuf, ConfigError> {
        if let Some(named) = self.named() {
            return Ok(named);
        }
        let searched: Vec<PathBuf> = std::iter::once(PathBuf::from(CONFIG_FILE))
            .chain(user_config())
            .collect();
        searched
            .iter()
            .find(|path| path.exists())
            .cloned()
            .ok_or(ConfigError::NotFound { searched })
    }

    /// The file that `init` writes: the one that was named, else `./fmesh.toml`.
    #[must_use]
    pub fn to_create(&self) -> PathBuf {
        self.named().unwrap_or_else(|| PathBuf::from(CONFIG_FILE))
    }

    fn named(&self) -> Option<PathBuf> {
        self.config
            .clone()
            .or_else(|| self.dir.as_ref().map(|dir| dir.join(CONFIG_FILE)))
            .or_else(|| {
                std::env::var_os(CONFIG_ENV)
                    .filter(|v| !v.is_empty())
                    .map(PathBuf::from)
            })
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_bounded(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ConfigError::NotFound {
                searched: vec![path.to_owned()],
            },
            _ => ConfigError::Read {
                path: path.to_owned(),
                source,
            },
        })?;
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        Self::parse(&text, base).map_err(|problems| ConfigError::Invalid {
            path: path.to_owned(),
            problems,
        })
    }

    /// Reads a text; relative paths count from `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Self, Vec<Problem>> {
        file::parse(text, base)
    }
}

/// Listen addresses for one port: QUIC and TCP on every interface.
#[must_use]
pub fn listen_on(port: u16) -> Vec<String> {
    vec![
        format!("/ip4/0.0.0.0/udp/{port}/quic-v1"),
        format!("/ip4/0.0.0.0/tcp/{port}"),
    ]
}

/// The API's address beside a mesh port: the next port on loopback; 0 stays 0.
#[must_use]
pub fn api_beside(port: u16) -> SocketAddr {
    let port = if port == 0 { 0 } else { port.saturating_add(1) };
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path)?
        .take(CONFIG_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if read as u64 > CONFIG_BYTES_MAX {
        return Err(std::io::Error::other(
            "longer than 1 MiB, this is not a configuration",
        ));
    }
    Ok(text)
}

fn user_config() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let dir = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(dir.join("fmesh").join(CONFIG_FILE))
}

fn shown(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    paths.join(" or ")
}

fn listed(problems: &[Problem]) -> String {
    let problems: Vec<String> = problems
        .iter()
        .map(|p| format!("line {}: {}", p.line, p.what))
        .collect();
    problems.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_places_win_over_looking_around() {
        let both = Place {
            config: Some("a.toml".into()),
            dir: Some("d".into()),
        };
        assert_eq!(both.find().unwrap(), Path::new("a.toml"));
        let dir = Place {
            config: None,
            dir: Some("d".into()),
        };
        assert_eq!(dir.find().unwrap(), Path::new("d/fmesh.toml"));
        assert_eq!(dir.to_create(), Path::new("d/fmesh.toml"));
    }

    #[test]
    fn a_missing_file_says_where_it_was_looked_for() {
        let error = Config::load(Path::new("no/such/fmesh.toml")).unwrap_err();
        assert_eq!(error.to_string(), "no configuration at no/such/fmesh.toml");
        assert!(error.hint().contains("fmesh init"));
    }

    #[test]
    fn problems_and_hints_name_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CONFIG_FILE);
        std::fs::write(&path, "[site]\nname = \"A\"\n[node]\nlisten_addr = []\n").unwrap();
        let error = Config::load(&path).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("line 4: unknown key node.listen_addr"),
            "{error}"
        );
        assert!(error.hint().starts_with("line 4: "), "{}", error.hint());
    }

    #[test]
    fn the_api_stays_on_loopback_beside_the_mesh_port() {
        assert_eq!(api_beside(4810).to_string(), "127.0.0.1:4811");
        assert_eq!(api_beside(0).port(), 0);
        assert_eq!(api_beside(u16::MAX).port(), u16::MAX);
    }
}
