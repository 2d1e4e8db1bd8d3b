//! Writers without a network, for tests: what they sign is carried from one to the other by hand.

use std::{
    collections::BTreeSet,
    sync::{Arc, RwLock},
    thread,
};

use fmesh_proto::{
    circle::{Audience, Rule},
    id::{PeerKey, SiteId},
    invite::{Ticket, join_proof},
    keys::{OperatingKeys, RootKey, sign_manifest},
    kinds::Kind,
    membership::{Membership, Role},
    mesh::follow::Incoming,
    publication::Publication,
    record::View,
    wire,
};
use serde_json::json;

use super::{Applied, Edit, NewCircle, Setup, WriteError, Writer, random};
use crate::{search::Index, store::Store};

/// A site with a writer and a store.
#[derive(Debug)]
pub(crate) struct Plant {
    pub(crate) writer: Writer,
    pub(crate) site: SiteId,
    pub(crate) keys: Arc<OperatingKeys>,
    pub(crate) manifest: View,
    pub(crate) store: Store,
    pub(crate) index: Arc<RwLock<Index>>,
    thread: thread::JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Plant {
    pub(crate) fn new(n: u8) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&dir.path().join("store")).expect("opens");
        Self::started(identity(n), store, dir)
    }

    /// Its writer ends and another one starts on the same store, as after a crash that lost nothing but the thread.
    pub(crate) fn restarted(self, meanwhile: impl FnOnce(&Store)) -> Self {
        let Self {
            writer,
            site,
            keys,
            manifest,
            store,
            thread,
            dir,
            ..
        } = self;
        drop(writer);
        thread.join().expect("ends");
        meanwhile(&store);
        Self::started((site, keys, manifest), store, dir)
    }

    fn started(
        (site, keys, manifest): (SiteId, Arc<OperatingKeys>, View),
        store: Store,
        dir: tempfile::TempDir,
    ) -> Self {
        let index = Arc::new(RwLock::new(Index::new()));
        let setup = Setup {
            store: store.clone(),
            site,
            keys: Arc::clone(&keys),
            manifest: manifest.clone(),
            index: Arc::clone(&index),
        };
        let (writer, mut written, _, thread) = Writer::start(setup).expect("starts");
        // Nobody listens; the channel must not fill.
        thread::spawn(move || while written.blocking_recv().is_some() {});
        Self {
            writer,
            site,
            keys,
            manifest,
            store,
            index,
            thread,
            dir,
        }
    }

    pub(crate) async fn apply(&self, edits: Vec<Edit>) -> Applied {
        self.writer.apply(edits).await.expect("applies")
    }

    /// What is refused, in words; and the store stays as it was.
    pub(crate) async fn refuses(&self, edit: Edit) -> WriteError {
        let size = || {
            self.store
                .head(&self.site)
                .expect("reads")
                .map(|h| h.frontier.size())
        };
        let before = size();
        let refused = self.writer.apply(vec![edit]).await.expect_err("is refused");
        assert_eq!(size(), before, "{refused}");
        refused
    }

    pub(crate) async fn ticket(&self) -> Ticket {
        let invite = Edit::CreateInvite {
            expires: u64::MAX,
            uses: 9,
            role: Role::Member,
            note: None,
            circles: Vec::new(),
            auto_approve: true,
            addresses: vec!["/memory/1".into()],
        };
        let line = self.apply(vec![invite]).await.ticket.expect("a ticket");
        Ticket::decode(&line).expect("reads")
    }

    /// Asks `inviter` to be let in.
    pub(crate) async fn knocks(&self, inviter: &Self, ticket: &Ticket) -> wire::join_answer::What {
        knock(inviter, ticket, &self.keys, &self.manifest).await
    }

    pub(crate) async fn joins(&self, inviter: &Self, ticket: &Ticket) {
        let ticket_line = ticket.encode();
        self.apply(vec![Edit::Join {
            ticket: ticket_line,
        }])
        .await;
        let what = Some(self.knocks(inviter, ticket).await);
        let answer = wire::JoinAnswer { what };
        self.writer.join_answered(Ok(answer)).await.expect("taken");
        self.settled().await;
    }

    /// All jobs before are done.
    pub(crate) async fn settled(&self) {
        self.apply(Vec::new()).await;
    }

    /// Everything that `other` published is carried here.
    pub(crate) async fn hears(&self, other: &Self) {
        let from = self.store.head(&other.site).expect("reads");
        let from = from.map_or(0, |head| head.frontier.size());
        let bytes = other.store.publications(&other.site, from, usize::MAX);
        let run: Vec<Publication> = bytes
            .expect("reads")
            .iter()
            .map(|bytes| Publication::decode(bytes).expect("whole"))
            .collect();
        if !run.is_empty() {
            let site = other.site;
            let incoming = Incoming::Publications { site, run };
            self.writer.take(1, incoming).await.expect("taken");
        }
        self.settled().await;
    }

    pub(crate) fn membership(&self) -> Membership {
        let mesh = self.store.meta().expect("reads").mesh.expect("in a mesh");
        Membership::compute(&mesh, &self.store.membership().expect("reads")).0
    }

    pub(crate) fn epoch(&self, circle: &str) -> u64 {
        let circles = self.store.circles().expect("reads");
        let circle = circles.iter().find(|c| c.name == circle).expect("is there");
        let secret = self.store.circle_secret(&circle.id).expect("reads");
        secret.expect("a group").epoch
    }

    pub(crate) fn searches(&self, site: &SiteId) -> bool {
        let index = self.index.read().expect("no panic while it was locked");
        index.counts().contains_key(site)
    }
}

/// Somebody with these keys asks `inviter` to be let in.
pub(crate) async fn knock(
    inviter: &Plant,
    ticket: &Ticket,
    keys: &OperatingKeys,
    manifest: &View,
) -> wire::join_answer::What {
    let peer: PeerKey = keys.public().transport;
    let proof = join_proof(&ticket.secret, &ticket.transport, &peer, manifest);
    let request = wire::JoinRequest {
        invite: ticket.invite.0.to_vec(),
        manifest: manifest.encode().into_bytes(),
        name: format!("Plant {}", &peer.0[0]),
        proof: proof.to_vec(),
        address: vec!["/memory/1".into()],
    };
    let answer = inviter.writer.knock(peer, request).await.expect("answers");
    answer.what.expect("an answer")
}

/// Keys and manifest of a site.
pub(crate) fn identity(n: u8) -> (SiteId, Arc<OperatingKeys>, View) {
    let root = RootKey::from_bytes(&[n; 32]);
    let keys = Arc::new(OperatingKeys::from_seed(&[n + 100; 32]));
    let manifest = sign_manifest(&root, &keys.public(), 1, &mut random());
    (root.site(), keys, manifest)
}

pub(crate) fn resource(key: &str) -> Edit {
    let fields = json!({"level": "WorkCell", "name": key});
    Edit::PutObject {
        kind: Kind::Resource,
        key: key.into(),
        id: None,
        fields: serde_json::from_value(fields).expect("an object"),
    }
}

pub(crate) fn circle(name: &str, audience: Audience) -> Edit {
    Edit::PutCircle(NewCircle {
        name: name.into(),
        audience: Some(audience),
        rules: vec![Rule {
            kinds: vec![Kind::Resource],
            ..Rule::default()
        }],
        ..NewCircle::default()
    })
}

pub(crate) fn group(members: &[&Plant]) -> Audience {
    Audience::Group {
        members: members
            .iter()
            .map(|plant| plant.site)
            .collect::<BTreeSet<_>>(),
    }
}

/// A, who founded, with B and C; everybody has heard everybody.
pub(crate) async fn three() -> (Plant, Plant, Plant, Ticket) {
    let (a, b, c) = (Plant::new(1), Plant::new(2), Plant::new(3));
    a.apply(vec![Edit::Found { name: "A".into() }]).await;
    let ticket = a.ticket().await;
    b.joins(&a, &ticket).await;
    c.joins(&a, &ticket).await;
    for (one, two) in [(&a, &b), (&a, &c), (&b, &a), (&b, &c), (&c, &a), (&c, &b)] {
        one.hears(two).await;
    }
    (a, b, c, ticket)
}
