//! The file as written: keys, types and values, each with its line.

use std::{net::SocketAddr, path::Path};

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    CONNECTIONS_MAX_DEFAULT, Config, Log, LogFormat, Network, PORT_DEFAULT, Problem,
    RECHECK_SECONDS_DEFAULT, api_beside, listen_on, nearest::nearest,
};

/// Every table and its keys: what is not here is refused.
const KEYS: [(&str, &[&str]); 6] = [
    ("site", &["name"]),
    ("node", &["data_dir", "listen", "announce"]),
    ("api", &["listen"]),
    (
        "network",
        &["offer_relay", "use_relays", "mdns", "recheck_seconds"],
    ),
    ("limits", &["connections_max"]),
    ("log", &["level", "format"]),
];
/// Connections that a node can serve; more would only starve each other.
const CONNECTIONS_MAX_RANGE: std::ops::RangeInclusive<i64> = 2..=10_000;
/// A test takes about twelve seconds; a day late is as good as never.
const RECHECK_SECONDS_RANGE: std::ops::RangeInclusive<u64> = 5..=86_400;

#[derive(Deserialize)]
struct File {
    site: Site,
    #[serde(default)]
    node: Node,
    #[serde(default)]
    api: Api,
    #[serde(default)]
    network: NetworkTable,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    log: LogTable,
}
#[derive(Deserialize)]
struct Site {
    name: Spanned<String>,
}
#[derive(Deserialize, Default)]
struct Node {
    data_dir: Option<Spanned<String>>,
    listen: Option<Spanned<Vec<Spanned<String>>>>,
    announce: Option<Vec<Spanned<String>>>,
}
#[derive(Deserialize, Default)]
struct Api {
    listen: Option<Spanned<String>>,
}
#[derive(Deserialize, Default)]
struct NetworkTable {
    offer_relay: Option<bool>,
    use_relays: Option<bool>,
    mdns: Option<bool>,
    recheck_seconds: Option<Spanned<u64>>,
}
#[derive(Deserialize, Default)]
struct Limits {
    connections_max: Option<Spanned<i64>>,
}
#[derive(Deserialize, Default)]
struct LogTable {
    level: Option<Spanned<String>>,
    format: Option<Spanned<String>>,
}

/// Reads the text. All unknown keys are reported together, then types, then all values together.
pub(super) fn parse(text: &str, base: &Path) -> Result<Config, Vec<Problem>> {
    let toml_error = |error: toml::de::Error| {
        let line = error.span().map_or(1, |span| line_at(text, span.start));
        vec![Problem {
            line,
            what: error.message().to_owned(),
            hint: None,
        }]
    };
    let table = DeTable::parse(text).map_err(toml_error)?;
    let mut unknown = unknown_keys(text, table.get_ref());
    if !unknown.is_empty() {
        unknown.sort_by_key(|problem| problem.line);
        return Err(unknown);
    }
    let file: File = toml::from_str(text).map_err(toml_error)?;
    Checker {
        text,
        problems: Vec::new(),
    }
    .config(file, base)
}

fn unknown_keys(text: &str, root: &DeTable<'_>) -> Vec<Problem> {
    let tables: Vec<&str> = KEYS.iter().map(|(table, _)| *table).collect();
    let mut problems = Vec::new();
    for (table, value) in root {
        let line = line_at(text, table.span().start);
        let name = table.get_ref().as_ref();
        let Some((_, known)) = KEYS.iter().find(|(table, _)| *table == name) else {
            problems.push(unknown(line, "", name, &tables));
            continue;
        };
        if let DeValue::Table(keys) = value.get_ref() {
            for key in keys
                .keys()
                .filter(|key| !known.contains(&key.get_ref().as_ref()))
            {
                let line = line_at(text, key.span().start);
                problems.push(unknown(line, name, key.get_ref(), known));
            }
        }
    }
    problems
}

fn unknown(line: usize, table: &str, key: &str, known: &[&str]) -> Problem {
    let (what, word) = if table.is_empty() {
        // a key before any [table] is most often one that stands in the wrong place
        let home = KEYS.iter().find(|(_, keys)| keys.contains(&key));
        if let Some((home, _)) = home {
            return Problem {
                line,
                what: format!("unknown key {key} outside of any table"),
                hint: Some(format!("write it below [{home}]")),
            };
        }
        (format!("unknown table {key}"), "tables")
    } else {
        (format!("unknown key {table}.{key}"), "keys")
    };
    let hint = match nearest(key, known) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("{word} here: {}", known.join(", ")),
    };
    Problem {
        line,
        what,
        hint: Some(hint),
    }
}

struct Checker<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn config(mut self, file: File, base: &Path) -> Result<Config, Vec<Problem>> {
        let name = file.site.name.get_ref().trim().to_owned();
        if name.is_empty() || name.chars().count() > fmesh_proto::limits::NAME_CHARS_MAX {
            self.refuse(
                &file.site.name,
                "site.name is empty or too long",
                &format!(
                    "give 1 to {} characters",
                    fmesh_proto::limits::NAME_CHARS_MAX
                ),
            );
        }
        let data_dir = match &file.node.data_dir {
            Some(dir) if dir.get_ref().is_empty() => {
                self.refuse(
                    dir,
                    "node.data_dir is empty",
                    "name a directory, or leave the key out",
                );
                base.to_owned()
            }
            Some(dir) => base.join(dir.get_ref()),
            None => base.join("data"),
        };
        let listen = match &file.node.listen {
            Some(list) if list.get_ref().is_empty() => {
                self.refuse(
                    list,
                    "node.listen is empty",
                    "leave the key out for the default addresses",
                );
                Vec::new()
            }
            Some(list) => self.addresses("node.listen", list.get_ref(), true),
            None => listen_on(PORT_DEFAULT),
        };
        let announce = self.addresses(
            "node.announce",
            &file.node.announce.unwrap_or_default(),
            false,
        );
        let api_listen = file
            .api
            .listen
            .map_or(api_beside(PORT_DEFAULT), |text| self.api(&text));
        let connections_max = file
            .limits
            .connections_max
            .map_or(CONNECTIONS_MAX_DEFAULT, |n| {
                if !CONNECTIONS_MAX_RANGE.contains(n.get_ref()) {
                    self.refuse(
                        &n,
                        "limits.connections_max is out of range",
                        "give a number from 2 to 10000",
                    );
                }
                u32::try_from(*n.get_ref()).unwrap_or(CONNECTIONS_MAX_DEFAULT)
            });
        let recheck_seconds =
            file.network
                .recheck_seconds
                .map_or(RECHECK_SECONDS_DEFAULT, |seconds| {
                    if !RECHECK_SECONDS_RANGE.contains(seconds.get_ref()) {
                        self.refuse(
                            &seconds,
                            "network.recheck_seconds is out of range",
                            "give a number from 5 to 86400",
                        );
                    }
                    *seconds.get_ref()
                });
        let log = self.log(&file.log);
        if self.problems.is_empty() {
            Ok(Config {
                name,
                data_dir,
                listen,
                announce,
                api_listen,
                connections_max,
                network: Network {
                    offer_relay: file.network.offer_relay,
                    use_relays: file.network.use_relays.unwrap_or(true),
                    mdns: file.network.mdns.unwrap_or(false),
                    recheck_seconds,
                },
                log,
            })
        } else {
            self.problems.sort_by_key(|problem| problem.line);
            Err(self.problems)
        }
    }

    fn addresses(&mut self, key: &str, list: &[Spanned<String>], listen: bool) -> Vec<String> {
        for address in list {
            if let Err(why) = check_address(address.get_ref(), listen) {
                self.refuse(
                    address,
                    &format!("{key}: {:?} {why}", address.get_ref()),
                    &format!("write it like /ip4/0.0.0.0/udp/{PORT_DEFAULT}/quic-v1 or /ip4/0.0.0.0/tcp/{PORT_DEFAULT}"),
                );
            }
        }
        if list.len() > fmesh_proto::limits::ADDRESSES_MAX {
            self.refuse(
                &list[fmesh_proto::limits::ADDRESSES_MAX],
                &format!(
                    "{key} has more than {} addresses",
                    fmesh_proto::limits::ADDRESSES_MAX
                ),
                "leave out the ones that partners do not use",
            );
        }
        list.iter()
            .map(|address| address.get_ref().clone())
            .collect()
    }

    fn api(&mut self, text: &Spanned<String>) -> SocketAddr {
        let default = api_beside(PORT_DEFAULT);
        match text.get_ref().parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => address,
            Ok(address) => {
                self.refuse(
                    text,
                    &format!("api.listen {address} can be reached from other machines"),
                    &format!("the API has no TLS: use a loopback address such as {default}, and a proxy with TLS for others"),
                );
                default
            }
            Err(_) => {
                self.refuse(
                    text,
                    &format!("api.listen {:?} is not an address and port", text.get_ref()),
                    &format!("write it like {default}"),
                );
                default
            }
        }
    }

    fn log(&mut self, table: &LogTable) -> Log {
        let mut log = Log::default();
        if let Some(level) = &table.level {
            log.level.clone_from(level.get_ref());
            if tracing_subscriber::EnvFilter::try_new(&log.level).is_err() || !log.level.is_ascii()
            {
                self.refuse(
                    level,
                    &format!("log.level {:?} is not a level", log.level),
                    "use error, warn, info, debug or trace",
                );
            }
        }
        if let Some(format) = &table.format {
            match format.get_ref().as_str() {
                "text" => log.format = LogFormat::Text,
                "json" => log.format = LogFormat::Json,
                other => {
                    self.refuse(
                        format,
                        &format!("log.format {other:?} is not known"),
                        "use text or json",
                    );
                }
            }
        }
        log
    }

    fn refuse<T>(&mut self, at: &Spanned<T>, what: &str, hint: &str) {
        self.problems.push(Problem {
            line: line_at(self.text, at.span().start),
            what: what.to_owned(),
            hint: Some(hint.to_owned()),
        });
    }
}

/// The forms of multiaddr that a node can use; `net` reads the same text with libp2p's own parser.
fn check_address(text: &str, listen: bool) -> Result<(), &'static str> {
    if text.len() > fmesh_proto::limits::ADDRESS_BYTES_MAX {
        return Err("is too long");
    }
    let Some(parts) = text
        .strip_prefix('/')
        .map(|rest| rest.split('/').collect::<Vec<_>>())
    else {
        return Err("does not begin with /");
    };
    let port = |text: &str| text.parse::<u16>().is_ok();
    let host = match parts[..] {
        ["ip4", host, ..] => host.parse::<std::net::Ipv4Addr>().is_ok(),
        ["ip6", host, ..] => host.parse::<std::net::Ipv6Addr>().is_ok(),
        ["dns" | "dns4" | "dns6", host, ..] if !listen => !host.is_empty(),
        _ if listen => return Err("does not begin with the IP address of an interface"),
        _ => return Err("does not begin with an IP address or a name"),
    };
    match parts[2..] {
        _ if !host => Err("names no host"),
        ["tcp", p] | ["udp", p, "quic-v1"] if port(p) => Ok(()),
        ["tcp", _] | ["udp", _, "quic-v1"] => Err("has no port from 0 to 65535"),
        ["udp", _] => Err("lacks /quic-v1 at its end"),
        _ => Err("is neither TCP nor QUIC"),
    }
}

/// Line of a byte offset, from 1.
fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Template, template},
        *,
    };

    fn problems(text: &str) -> Vec<(usize, String, Option<String>)> {
        let found = parse(text, Path::new("/site")).unwrap_err();
        found
            .into_iter()
            .map(|p| (p.line, p.what, p.hint))
            .collect()
    }

    #[test]
    fn the_template_means_what_init_was_told_and_documents_every_key() {
        for port in [0, PORT_DEFAULT, 4900] {
            let t = Template {
                name: "Werk \"A\" \\ Nord".into(),
                port,
                data_dir: "data".into(),
            };
            let text = template(&t);
            let config = parse(&text, Path::new("/site")).unwrap();
            assert_eq!(config.name, t.name);
            assert_eq!(config.data_dir, Path::new("/site/data"));
            assert_eq!(config.listen, t.listen());
            assert_eq!(config.api_listen, t.api());
            assert_eq!(config.log, Log::default());
            for (table, keys) in KEYS {
                assert!(text.contains(&format!("[{table}]")), "{table}");
                for key in keys {
                    assert!(text.contains(&format!("{key} = ")), "{table}.{key}");
                }
            }
            // what stands as a comment is valid too once the mark is taken away
            let all: String = text
                .lines()
                .map(|line| match line.strip_prefix("# ") {
                    Some(rest)
                        if rest
                            .split_once(" = ")
                            .is_some_and(|(key, _)| !key.contains(' ')) =>
                    {
                        format!("{rest}\n")
                    }
                    _ => format!("{line}\n"),
                })
                .collect();
            let all = parse(&all, Path::new("/site")).unwrap();
            assert_eq!(all.announce.len(), 1);
            assert_eq!(all.listen, t.listen());
        }
    }

    #[test]
    fn absent_keys_mean_what_the_template_says() {
        let config = parse("[site]\nname = \"A\"", Path::new("/site")).unwrap();
        assert_eq!(
            config.listen,
            ["/ip4/0.0.0.0/udp/4810/quic-v1", "/ip4/0.0.0.0/tcp/4810"]
        );
        assert_eq!(config.api_listen.to_string(), "127.0.0.1:4811");
        assert_eq!(config.data_dir, Path::new("/site/data"));
        assert_eq!((config.announce.len(), config.connections_max), (0, 128));
    }

    #[test]
    fn unknown_keys_are_refused_with_line_and_nearest_match() {
        let text = "prot = 1\n[site]\nname = \"A\"\n[node]\nlisen = []\npassword = \"x\"\n[nods]\n";
        assert_eq!(
            problems(text),
            [
                (
                    1,
                    "unknown table prot".into(),
                    Some("tables here: site, node, api, network, limits, log".into())
                ),
                (
                    5,
                    "unknown key node.lisen".into(),
                    Some("did you mean listen?".into())
                ),
                (
                    6,
                    "unknown key node.password".into(),
                    Some("keys here: data_dir, listen, announce".into())
                ),
                (
                    7,
                    "unknown table nods".into(),
                    Some("did you mean node?".into())
                ),
            ]
        );
        let outside = problems("name = \"A\"\n");
        assert_eq!(
            outside,
            [(
                1,
                "unknown key name outside of any table".into(),
                Some("write it below [site]".into())
            )]
        );
        let dotted = problems("site.name = \"A\"\nlog.levle = \"info\"\n");
        assert_eq!(dotted[0].0, 2);
    }

    #[test]
    fn wrong_values_are_refused_with_their_line() {
        let one = |body: &str| {
            let found = problems(&format!("[site]\nname = \"A\"\n{body}"));
            assert_eq!(found.len(), 1, "{body}: {found:?}");
            (found[0].0, found[0].1.clone())
        };
        for (body, line, part) in [
            ("[node]\nlisten = []", 4, "is empty"),
            (
                "[node]\nlisten = [\n\"/ip4/0.0.0.0/tcp/1\",\n\"0.0.0.0:4810\"]",
                6,
                "does not begin with /",
            ),
            (
                "[node]\nlisten = [\"/ip4/0.0.0.300/tcp/1\"]",
                4,
                "names no host",
            ),
            (
                "[node]\nlisten = [\"/ip4/0.0.0.0/tcp/70000\"]",
                4,
                "has no port",
            ),
            (
                "[node]\nlisten = [\"/ip4/0.0.0.0/udp/4810\"]",
                4,
                "lacks /quic-v1",
            ),
            (
                "[node]\nlisten = [\"/dns4/a.example/tcp/4810\"]",
                4,
                "interface",
            ),
            (
                "[node]\nlisten = [\"/ip4/0.0.0.0\"]",
                4,
                "neither TCP nor QUIC",
            ),
            ("[node]\nlisten = 4810", 4, "invalid type"),
            ("[node]\ndata_dir = \"\"", 4, "is empty"),
            ("[api]\nlisten = \"0.0.0.0:4811\"", 4, "other machines"),
            ("[api]\nlisten = \"localhost\"", 4, "not an address"),
            ("[limits]\nconnections_max = 0", 4, "out of range"),
            ("[limits]\nconnections_max = -1", 4, "out of range"),
            ("[log]\nlevel = \"no=such=thing\"", 4, "not a level"),
            ("[log]\nformat = \"xml\"", 4, "not known"),
        ] {
            let (at, what) = one(body);
            assert!(
                at == line && what.contains(part),
                "{body}: line {at}: {what}"
            );
        }
        assert_eq!(problems("[site]\nname = \" \"")[0].0, 2);
        assert!(problems("")[0].1.contains("site"));
        assert_eq!(problems("[site]\nname = \n")[0].0, 2);
        assert_eq!(
            problems("[api]\nlisten = \"x\"\n[site]\nname = \"\"\n").len(),
            2
        );
    }
}
