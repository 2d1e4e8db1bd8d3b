//! Real nodes for tests: real keys, real sled, real libp2p, on loopback.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test target uses its own part of this"
)]

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use fmesh::{
    config::Config,
    keystore::{self, RecoveryWords},
    node::{Node, Running},
    writer::{Edit, NewCircle},
};
use fmesh_proto::{
    circle::{Audience, Rule, Slots},
    id::SiteId,
    kinds::Kind,
    membership::Role,
    record::Fields,
};
use serde_json::json;

/// How long anything may take before a test fails. Long, because machines are noisy; nothing waits for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One site in a directory of its own.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub name: String,
    pub words: RecoveryWords,
    pub running: Option<Running>,
}

impl Site {
    /// A site with keys and a running node on free loopback ports.
    pub async fn start(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (_, words) = keystore::create(dir.path()).expect("keys");
        let mut site = Self {
            dir,
            name: name.to_owned(),
            words,
            running: None,
        };
        site.resume().await;
        site
    }

    /// Starts the node (again) over the same directory.
    pub async fn resume(&mut self) {
        let keys = keystore::load(self.dir.path()).expect("keys");
        let running = Node::start(config(&self.name, self.dir.path()), &keys)
            .await
            .expect("the node starts");
        self.running = Some(running);
    }

    /// Stops the node.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await.expect("the node stops");
        }
    }

    pub fn node(&self) -> &Node {
        &self.running.as_ref().expect("the node runs").node
    }

    pub fn id(&self) -> SiteId {
        self.node().site
    }

    /// Applies edits that must succeed.
    pub async fn apply(&self, edits: Vec<Edit>) -> fmesh::writer::Applied {
        self.node()
            .writer
            .apply(edits)
            .await
            .expect("the edits apply")
    }

    /// Founds a mesh and makes a ticket that needs no confirmation.
    pub async fn open_door(&self, auto_approve: bool) -> String {
        let found = self.node().store.meta().expect("reads").mesh.is_none();
        if found {
            self.apply(vec![Edit::Found {
                name: self.name.clone(),
            }])
            .await;
        }
        let invite = Edit::CreateInvite {
            expires: jiff::Timestamp::now().as_second() as u64 + 3600,
            uses: 100,
            role: Role::Member,
            note: None,
            circles: Vec::new(),
            auto_approve,
            addresses: self.node().addresses(),
        };
        self.apply(vec![invite]).await.ticket.expect("a ticket")
    }

    /// Joins with a ticket and waits until it is in.
    pub async fn join(&self, ticket: &str) {
        self.apply(vec![Edit::Join {
            ticket: ticket.to_owned(),
        }])
        .await;
        until("the site is in the mesh", || {
            self.node().store.meta().expect("reads").mesh.is_some()
        })
        .await;
    }

    /// Seconds until both sides are connected.
    pub async fn meets(&self, other: &Self) {
        let (one, two) = (self.id(), other.id());
        until("both are connected", || {
            is_connected(self.node(), &two) && is_connected(other.node(), &one)
        })
        .await;
    }

    /// The current views of another site's objects of a kind, as this site holds them: (shown slots, values).
    pub fn sees(&self, of: &SiteId, kind: &Kind) -> Vec<fmesh_proto::record::Verified> {
        let store = &self.node().store;
        store
            .currents()
            .filter_map(Result::ok)
            .filter(|(site, k, _, _)| site == of && k == kind)
            .filter_map(|(site, _, _, seq)| store.record(&site, seq).expect("reads"))
            .map(|(view, _)| view.parse().expect("parses").from_store())
            .collect()
    }
}

pub fn is_connected(node: &Node, site: &SiteId) -> bool {
    node.live
        .borrow()
        .peers
        .get(site)
        .is_some_and(|p| p.connected)
}

pub fn config(name: &str, dir: &Path) -> Config {
    let text = format!(
        "[site]\nname = {name:?}\n[node]\ndata_dir = {dir:?}\nlisten = [\"/ip4/127.0.0.1/udp/0/quic-v1\", \"/ip4/127.0.0.1/tcp/0\"]\n[api]\nlisten = \"127.0.0.1:0\"\n"
    );
    Config::parse(&text, dir).expect("the config is good")
}

/// Waits for a condition, looking every few milliseconds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn fields(value: serde_json::Value) -> Fields {
    serde_json::from_value(value).expect("an object")
}

pub fn resource(key: &str) -> Edit {
    Edit::PutObject {
        kind: Kind::Resource,
        key: key.into(),
        id: None,
        fields: fields(json!({
            "level": "WorkCell", "name": key,
            "nameplate": {"manufacturer": "Secret Maker"},
            "capabilities": [{"process": "separating/milling/5-axis", "core": true,
                "materials": ["metal/aluminium/en-aw-7075"], "properties": []}],
        })),
    }
}

/// 26 weeks from 2026-11-30, so many hours free of 80 in each.
pub fn capacity(key: &str, free: u32) -> Edit {
    let column = |hours: u32| vec![hours.to_string(); 26];
    Edit::PutObject {
        kind: Kind::Capacity,
        key: key.into(),
        id: None,
        fields: fields(json!({
            "name": key, "process": "separating/milling/5-axis", "unit": "HUR", "bucket": "P7D",
            "start": "2026-11-30", "total": column(80), "committed": column(80 - free),
            "available": column(free), "unattainable": column(0),
        })),
    }
}

pub fn circle(name: &str, audience: Audience, kinds: &[Kind], slots: Option<&[&str]>) -> Edit {
    Edit::PutCircle(NewCircle {
        name: name.into(),
        audience: Some(audience),
        rules: vec![Rule {
            kinds: kinds.to_vec(),
            slots: slots.map_or(Slots::All, |list| {
                Slots::Only(list.iter().map(|s| (*s).to_owned()).collect())
            }),
            ..Rule::default()
        }],
        ..NewCircle::default()
    })
}

pub fn group(members: &[SiteId]) -> Audience {
    Audience::Group {
        members: members.iter().copied().collect::<BTreeSet<_>>(),
    }
}
