//! The file that `init` writes: every key, with what its absence means.

use std::net::SocketAddr;

use super::{
    CONNECTIONS_MAX_DEFAULT, PORT_DEFAULT, RECHECK_SECONDS_DEFAULT, api_beside, listen_on,
};

/// What `init` knows.
#[derive(Debug, Clone)]
pub struct Template {
    /// Name of the site.
    pub name: String,
    /// Mesh port, UDP and TCP; 0 picks one at each start.
    pub port: u16,
    /// Data directory, as the file shall name it.
    pub data_dir: String,
}

impl Template {
    /// Addresses of the mesh.
    #[must_use]
    pub fn listen(&self) -> Vec<String> {
        listen_on(self.port)
    }
    /// Address of the API.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        api_beside(self.port)
    }
}

/// The text of a new configuration file. Keys that have their default stand as comments.
#[must_use]
pub fn template(t: &Template) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let listen = toml::Value::from(t.listen()).to_string();
    let listen_default = toml::Value::from(listen_on(PORT_DEFAULT)).to_string();
    let api_default = api_beside(PORT_DEFAULT);
    let api = t.api();
    let own_port = if t.port == PORT_DEFAULT { "# " } else { "" };
    format!(
        r#"# Configuration of this Factory Mesh node. The node reads it at start and never writes it.
# Check it with `fmesh config check`. A line that begins with # has no effect: the default holds.

[site]
# Name of the factory as partners read it. Required.
name = {name}

[node]
# Keys, store and API token; a relative path counts from this file. Absent: "data".
data_dir = {data_dir}

# Where partners' nodes reach this one (QUIC and TCP). Port 0 picks a free port at each start.
# Absent: {listen_default}
{own_port}listen = {listen}

# Addresses that tickets and partners are told instead of the ones above, for example the outside of a router.
# Absent: the addresses of this machine's interfaces.
# announce = ["/dns4/mesh.example.com/udp/{PORT_DEFAULT}/quic-v1"]

[api]
# Local API for the commands and for ERP/MES programs on this machine: a loopback address. Absent: "{api_default}".
{own_port}listen = "{api}"

[network]
# Carry other members' connections to members that cannot be reached directly (sealed end to end, within bounds).
# Absent: as soon as others are seen to reach this node, or `node.announce` says where.
# offer_relay = true
# Be reached through members that relay, while nobody can reach this node directly. Absent: true.
# use_relays = true
# Look for members on the local network by multicast DNS, and be seen there. Absent: false.
# mdns = false
# How often members test again where this node can be reached, in seconds. Two tests that fail in a row take an address back.
# Absent: {RECHECK_SECONDS_DEFAULT}.
# recheck_seconds = {RECHECK_SECONDS_DEFAULT}

[limits]
# Connections to other nodes, in and out together; more are refused. Absent: {CONNECTIONS_MAX_DEFAULT}.
# connections_max = {CONNECTIONS_MAX_DEFAULT}

[log]
# error, warn, info, debug, trace, or directives such as "info,fmesh::net=debug". Absent: "warn,fmesh=info".
# level = "warn,fmesh=info"
# "text", or "json" for one JSON object a line. Absent: "text".
# format = "text"
"#,
        name = quoted(&t.name),
        data_dir = quoted(&t.data_dir),
    )
}
