//! A laboratory of network namespaces: hosts, routers and lines of one test, gone when it ends however it ends.
//!
//! Every factory is a host behind a router of its own; the routers meet in one namespace that stands for the provider.
//! A router passes packets on, or hides its factory behind a masquerade: one that gives every connection another port, so that
//! no hole can be punched, or one that keeps the port, as most do. Two factories may instead share one segment.
//! Programs in a namespace are children of the test and end with it.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test target uses its own part of this"
)]

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long anything may take before a test fails. A dead line is noticed after three pings of ten seconds.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Namespaces of one test.
pub struct Lab {
    prefix: String,
    namespaces: Vec<String>,
    factories: u8,
}

/// How a router treats its factory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Router {
    /// Packets pass in both directions.
    Open,
    /// Only what the factory begins passes, under the router's address and ports of its own choice.
    Masquerade,
    /// Only what the factory begins passes, under the router's address and *the port that the factory used*, whoever the other end
    /// is: its mapping does not depend on the endpoint, its filter does (RFC 4787: "address and port-dependent filtering").
    /// nftables keeps a port that is free. What comes unasked is dropped before it is tracked: an entry for it, which an
    /// open router makes when it answers with a reset, would take the port from the factory's own packets to the same end.
    KeepsPorts,
}

/// One factory: a site directory and a node in a namespace.
pub struct Factory {
    pub name: String,
    pub host: String,
    pub router: String,
    pub dir: tempfile::TempDir,
    child: Option<Child>,
}

/// Whether namespaces can be made here. Where they cannot, says so loudly; in CI that is a failure.
pub fn possible() -> bool {
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
    *POSSIBLE.get_or_init(try_one)
}

fn try_one() -> bool {
    let trial = format!("fmt{}", std::process::id());
    let steps: [&[&str]; 3] = [
        &["ip", "netns", "add", &trial],
        &[
            "ip", "netns", "exec", &trial, "nft", "add", "table", "ip", "trial",
        ],
        &["ip", "netns", "exec", &trial, "tc", "qdisc", "show"],
    ];
    let failed = steps.iter().find_map(|step| {
        let output = Command::new(step[0]).args(&step[1..]).output();
        match output {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(format!(
                "{}: {}",
                step.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Err(error) => Some(format!("{}: {error}", step.join(" "))),
        }
    });
    // It may not have been made.
    let _ = Command::new("ip").args(["netns", "del", &trial]).output();
    let Some(why) = failed else {
        return true;
    };
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "network namespaces cannot be made here, and in CI these tests must run: {why}"
    );
    eprintln!(
        "\n*** SKIPPED: tests in network namespaces need root, iproute2 and nftables: {why}\n"
    );
    false
}

impl Lab {
    /// The provider's namespace, and nobody in it yet.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut lab = Self {
            prefix: format!("fm{}x{count}", std::process::id()),
            namespaces: Vec::new(),
            factories: 0,
        };
        lab.namespace("net");
        lab
    }

    /// A factory behind a router: `10.<n>.0.2` on the inside, `198.51.100.<4n+2>` on the outside.
    pub fn factory(&mut self, name: &str, router: Router) -> Factory {
        self.factories += 1;
        let n = self.factories;
        let net = format!("{}net", self.prefix);
        let (host, gate) = (
            self.namespace(&format!("f{n}")),
            self.namespace(&format!("r{n}")),
        );
        let (inside, outside) = (format!("10.{n}.0.1"), format!("198.51.100.{}", 4 * n + 2));
        let provider = format!("198.51.100.{}", 4 * n + 1);
        self.line(
            (&host, "lan", &format!("10.{n}.0.2/24")),
            (&gate, "lan", &format!("{inside}/24")),
        );
        self.line(
            (&gate, "wan", &format!("{outside}/30")),
            (&net, &format!("c{n}"), &format!("{provider}/30")),
        );
        ip(&["-n", &host, "route", "add", "default", "via", &inside]);
        ip(&["-n", &gate, "route", "add", "default", "via", &provider]);
        match router {
            Router::Open => {
                ip(&[
                    "-n",
                    &net,
                    "route",
                    "add",
                    &format!("10.{n}.0.0/24"),
                    "via",
                    &outside,
                ]);
            }
            Router::Masquerade | Router::KeepsPorts => {
                let masquerade = match router {
                    Router::KeepsPorts => "add rule ip nat out oifname wan masquerade",
                    _ => "add rule ip nat out oifname wan masquerade fully-random",
                };
                nft(
                    &gate,
                    &[
                        "add table ip nat",
                        "add chain ip nat out { type nat hook postrouting priority 100 ; }",
                        masquerade,
                        "add chain ip nat pass { type filter hook forward priority 0 ; policy drop ; }",
                        "add rule ip nat pass iifname lan accept",
                        "add rule ip nat pass ct state established,related accept",
                        "add chain ip nat own { type filter hook input priority 0 ; }",
                        "add rule ip nat own iifname wan ct state new drop",
                    ],
                );
            }
        }
        Factory::new(name, host, gate)
    }

    /// Two factories on one cable, with `10.90.0.<1 and 2>` and no way to anywhere else.
    pub fn neighbours(&mut self, one: &str, other: &str) -> [Factory; 2] {
        self.factories += 2;
        let n = self.factories;
        let (a, b) = (
            self.namespace(&format!("s{}", n - 1)),
            self.namespace(&format!("s{n}")),
        );
        self.line((&a, "lan", "10.90.0.1/24"), (&b, "lan", "10.90.0.2/24"));
        for host in [&a, &b] {
            ip(&["-n", host, "route", "add", "default", "dev", "lan"]);
        }
        [
            Factory::new(one, a.clone(), a),
            Factory::new(other, b.clone(), b),
        ]
    }

    fn namespace(&mut self, name: &str) -> String {
        let name = format!("{}{name}", self.prefix);
        ip(&["netns", "add", &name]);
        self.namespaces.push(name.clone());
        ip(&["-n", &name, "link", "set", "lo", "up"]);
        run(&[
            "ip",
            "netns",
            "exec",
            &name,
            "sysctl",
            "-qw",
            "net.ipv4.ip_forward=1",
        ]);
        name
    }

    fn line(
        &self,
        (a, a_name, a_address): (&str, &str, &str),
        (b, b_name, b_address): (&str, &str, &str),
    ) {
        ip(&[
            "link", "add", a_name, "netns", a, "type", "veth", "peer", "name", b_name, "netns", b,
        ]);
        for (namespace, name, address) in [(a, a_name, a_address), (b, b_name, b_address)] {
            ip(&["-n", namespace, "addr", "add", address, "dev", name]);
            ip(&["-n", namespace, "link", "set", name, "up"]);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            // What is left of it is reported by the next one that wants its name.
            let _ = Command::new("ip")
                .args(["netns", "del", namespace])
                .output();
        }
    }
}

impl Factory {
    fn new(name: &str, host: String, router: String) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let factory = Self {
            name: name.to_owned(),
            host,
            router,
            dir,
            child: None,
        };
        factory.ok(&["init", "--name", name, "--port", "4810", "--yes"]);
        factory
    }

    /// Starts the node and waits until it answers.
    pub fn start(&mut self) {
        let log = File::create(self.log()).expect("a log file");
        let child = self
            .command(&["run"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("ip netns exec runs");
        self.child = Some(child);
        self.until("the node answers", |factory| {
            factory.fmesh(&["status", "--json"]).status.success()
        });
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// A command of the terminal in this factory's namespace.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host, env!("CARGO_BIN_EXE_fmesh")]);
        command.args(args).arg("--dir").arg(self.dir.path());
        command
    }

    pub fn fmesh(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("ip netns exec runs")
    }

    /// A command that must succeed: its output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.fmesh(args);
        assert!(
            output.status.success(),
            "{}: fmesh {}: {}",
            self.name,
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// The JSON that a command answers, whatever its exit code; null if it prints none.
    pub fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.push("--json");
        serde_json::from_slice(&self.fmesh(&args).stdout).unwrap_or(Value::Null)
    }

    /// What this factory's node knows of a partner; null while it knows nothing.
    pub fn partner(&self, name: &str) -> Value {
        let list = self.json(&["partner", "list"]);
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items
            .into_iter()
            .find(|item| item["name"] == name)
            .unwrap_or(Value::Null)
    }

    /// Live (resources, capacities) of a partner that have arrived here.
    pub fn sees(&self, name: &str) -> (u64, u64) {
        let seen = &self.partner(name)["i_see"];
        let count = |what: &str| seen[what].as_u64().unwrap_or(0);
        (count("resources"), count("capacities"))
    }

    /// Connected with all of these.
    pub fn is_connected(&self, names: &[&str]) -> bool {
        names
            .iter()
            .all(|name| self.partner(name)["address"].is_string())
    }

    /// Lets nothing in through the factory's router that the factory did not ask for, or everything again.
    pub fn firewall(&self, shut: bool) {
        if shut {
            let rules = [
                "add table ip wall",
                "add chain ip wall pass { type filter hook forward priority 0 ; }",
                "add rule ip wall pass iifname wan ct state new drop",
            ];
            nft(&self.router, &rules);
        } else {
            nft(&self.router, &["delete table ip wall"]);
        }
    }

    /// Gives the host another address on its segment in place of the one it has.
    pub fn moves_to(&self, address: &str) {
        ip(&["-n", &self.host, "addr", "flush", "dev", "lan"]);
        ip(&["-n", &self.host, "addr", "add", address, "dev", "lan"]);
        ip(&["-n", &self.host, "route", "add", "default", "dev", "lan"]);
    }

    /// Sets one key of the site's configuration, which `init` wrote as a comment; the next start reads it.
    pub fn configure(&self, key: &str, value: &str) {
        let path = self.dir.path().join("fmesh.toml");
        let text = std::fs::read_to_string(&path).expect("a configuration");
        let comment = format!("# {key} = ");
        let line = text.lines().find(|line| line.starts_with(&comment));
        let line = line.unwrap_or_else(|| panic!("{key} in {text}"));
        let set = text.replace(line, &format!("{key} = {value}"));
        std::fs::write(&path, set).expect("a configuration");
    }

    /// Whether a partner is connected directly, not through a relay.
    pub fn is_direct(&self, name: &str) -> bool {
        self.partner(name)["address"]
            .as_str()
            .is_some_and(|address| !address.contains("p2p-circuit"))
    }

    /// Whether a partner is connected through a relay.
    pub fn is_relayed(&self, name: &str) -> bool {
        self.partner(name)["address"]
            .as_str()
            .is_some_and(|address| address.contains("p2p-circuit"))
    }

    /// Ends the node as its operator does.
    pub fn stop(&mut self) {
        self.signal("-TERM");
        let mut child = self.child.take().expect("the node runs");
        let status = child.wait().expect("it ends");
        assert!(
            status.success(),
            "{}: {status}\n{}",
            self.name,
            tail(&self.log())
        );
    }

    /// Cuts the line between the factory's router and the provider, or mends it.
    pub fn line(&self, up: bool) {
        ip(&[
            "-n",
            &self.router,
            "link",
            "set",
            "wan",
            if up { "up" } else { "down" },
        ]);
        if up {
            // The kernel forgets routes over a line that goes down.
            let routes = Command::new("ip")
                .args(["-n", &self.router, "route", "show", "default"])
                .output()
                .expect("ip runs");
            if routes.stdout.is_empty() {
                let n: u8 = self
                    .router
                    .rsplit('r')
                    .next()
                    .and_then(|n| n.parse().ok())
                    .expect("a number");
                ip(&[
                    "-n",
                    &self.router,
                    "route",
                    "add",
                    "default",
                    "via",
                    &format!("198.51.100.{}", 4 * n + 1),
                ]);
            }
        }
    }

    /// Lets so much through the line, in both directions of the router.
    pub fn limit(&self, rate: &str) {
        for line in ["wan", "lan"] {
            run(&[
                "ip",
                "netns",
                "exec",
                &self.router,
                "tc",
                "qdisc",
                "add",
                "dev",
                line,
                "root",
                "tbf",
                "rate",
                rate,
                "burst",
                "16kb",
                "latency",
                "200ms",
            ]);
        }
    }

    /// Sends a signal to the node's process.
    pub fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("the node runs");
        run(&["kill", signal, &child.id().to_string()]);
    }

    /// Waits for something that this factory is asked again and again.
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            if began.elapsed() > PATIENCE {
                panic!(
                    "{}: waited in vain until {what}\n{}\n{}\n{}",
                    self.name,
                    self.json(&["partner", "list"]),
                    self.json(&["doctor"]),
                    tail(&self.log())
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Factory {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A frozen process dies of SIGKILL, too.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The last lines of a node's log.
fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Rules for the packet filter of a namespace.
fn nft(namespace: &str, rules: &[&str]) {
    for rule in rules {
        run(&["ip", "netns", "exec", namespace, "nft", rule]);
    }
}

fn ip(args: &[&str]) {
    let mut all = vec!["ip"];
    all.extend(args);
    run(&all);
}

/// A command that must succeed.
fn run(args: &[&str]) {
    let output = Command::new(args[0])
        .args(&args[1..])
        .output()
        .expect("the program is there");
    assert!(
        output.status.success(),
        "{}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
