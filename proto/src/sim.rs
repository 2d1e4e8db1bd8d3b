//! A seeded network of state machines: whole meshes in a test, in virtual time.
//!
//! # Idea
//!
//! Every site is a real [`crate::mesh::Mesh`] with a store in memory that does what a node's writer does: it signs with
//! [`crate::mesh::issue`], takes in with [`crate::mesh::follow`], answers calls from what it holds. Between them lies a
//! network that delays, loses and cuts; sites crash between any two steps, and what was not on disk is gone.
//! Gossip floods along connections, forwarded on an accepting verdict only.
//!
//! All chance comes from one seed and nothing sleeps, so a run that fails is repeated by its seed alone:
//!
//! ```
//! # use fmesh_proto::sim::{Sim, With};
//! let mut sim = Sim::mesh(7, 3);
//! let circle = sim.circle(0, With::Group(vec![1]), &["name"]);
//! sim.publish(0, 1);
//! sim.cut(0, 1);
//! sim.publish(0, 1);
//! sim.run_for(60_000);
//! sim.heal(0, 1);
//! sim.settle(120_000).unwrap();
//! assert_eq!(sim.position(1, 0, circle), 2);
//! assert!(sim.views(2).iter().all(|seen| seen.kind.is_plain()));
//! sim.safety().unwrap();
//! ```
//!
//! # What it does not know
//!
//! Sockets and disks: that a real network and a real store behave as these do is for the node's own tests. It judges
//! a run by two separate questions: [`Sim::safety`] and [`Sim::liveness`].

#[cfg(any(test, feature = "fuzzing"))]
mod hostile;
mod malice;
mod net;
mod once;
mod pool;
mod run;
mod site;
mod store;
mod story;
#[cfg(test)]
mod tests;
mod truth;
mod witness;

pub(crate) use once::once;

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde_json::Value;

pub use self::{
    malice::Malice,
    net::Faults,
    site::Sent,
    story::{Story, Told},
};
use self::{
    net::Net,
    pool::Pool,
    run::Event,
    site::Site,
    store::{Object, Own},
    truth::{Span, Truth},
};
use crate::{
    circle::{Audience, Circle, EpochKey, History, Rule, Slots},
    directory,
    id::{CircleId, InviteId, MeshId, ObjectId, SiteId},
    invite::{Ticket, join_proof},
    kinds::{Grant, Kind, Slot, Typed as _},
    membership::{Act, Role},
    mesh::{
        admission::{self, InviteState},
        follow::Incoming,
        issue::{Item, Seal},
    },
    record::Fields,
    wire,
};

/// Who is in a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum With {
    /// All members.
    Everyone,
    /// One partner.
    One(usize),
    /// Several partners under an epoch key.
    Group(Vec<usize>),
}

/// A record as a reader sees it, over all circles that it came through.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Number of the site that signed it.
    pub issuer: usize,
    /// Its leaf.
    pub seq: u64,
    /// Its kind.
    pub kind: Kind,
    /// The slots that are open to the reader.
    pub fields: BTreeMap<String, Value>,
}

/// The simulated world. Sites are numbered from 0 in the order in which they were made.
#[derive(Debug)]
pub struct Sim {
    /// What the network does to messages; may be changed at any time.
    pub faults: Faults,
    _world: once::World,
    seed: u64,
    now: u64,
    rng: ChaCha8Rng,
    mesh: MeshId,
    sites: Vec<Site>,
    numbers: BTreeMap<SiteId, usize>,
    net: Net,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    truth: Truth,
    pool: Pool,
}

impl Sim {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            _world: once::World::new(),
            faults: Faults::NONE,
            seed,
            now: 1,
            rng: ChaCha8Rng::seed_from_u64(seed),
            mesh: MeshId([0; 32]),
            sites: Vec::new(),
            numbers: BTreeMap::new(),
            net: Net::default(),
            queue: BTreeMap::new(),
            events: 0,
            truth: Truth::default(),
            pool: Pool::default(),
        }
    }

    /// `n` sites in one mesh that site 0 founded, started and about to connect.
    #[must_use]
    pub fn mesh(seed: u64, n: usize) -> Self {
        let mut sim = Self::new(seed).sites(n);
        sim.found(0);
        let newcomers: Vec<usize> = (1..n).collect();
        for group in newcomers.chunks(ADMITTED_AT_ONCE) {
            let items = group.iter().map(|new| sim.admission(*new)).collect();
            sim.issue(0, items);
        }
        // Everybody is told the same, so it is verified once.
        if let Some(first) = newcomers.first() {
            let views = sim.sites[0].store.membership_views();
            let site = &sim.sites[*first];
            let incoming = Incoming::Membership { views };
            let taken = site.store.read(&site.who, sim.mesh, incoming);
            for new in &newcomers {
                let mesh = sim.mesh;
                sim.sites[*new].store.keep(&mesh, &taken);
            }
        }
        for new in newcomers {
            sim.begin(new);
        }
        sim
    }

    /// Adds sites that are in no mesh yet.
    #[must_use]
    pub fn sites(mut self, n: usize) -> Self {
        for _ in 0..n {
            self.add_site();
        }
        self
    }

    /// Adds one site that is in no mesh yet and gives its number.
    pub fn add_site(&mut self) -> usize {
        let number = self.sites.len();
        let site = Site::new(number, &mut self.rng, &self.pool);
        self.numbers.insert(site.who.site, number);
        self.sites.push(site);
        number
    }

    /// Site `founder` founds the mesh and starts.
    pub fn found(&mut self, founder: usize) {
        let mut nonce = [0; 16];
        self.rng.fill_bytes(&mut nonce);
        self.mesh = MeshId::found(&self.sites[founder].who.site, &nonce);
        let act = Act::Found {
            nonce,
            name: name_of(founder),
        };
        let item = self.membership_item(&act);
        self.truth.members.insert(founder);
        self.open_mesh_wide(founder);
        self.issue(founder, vec![item]);
        self.boot(founder);
    }

    /// Site `new` joins with a ticket of `admin`, through the same judgement as in a node.
    pub fn admit(&mut self, admin: usize, new: usize) {
        let (inviter, joiner) = (&self.sites[admin].who, &self.sites[new].who);
        let ticket = Ticket {
            mesh: self.mesh,
            site: inviter.site,
            transport: inviter.keys.public().transport,
            addresses: vec![address_of(admin)],
            invite: InviteId([7; 16]),
            secret: [9; 16],
            expires: u64::MAX,
        };
        let ticket = Ticket::decode(&ticket.encode()).expect("a ticket reads its own line");
        let own = joiner.keys.public().transport;
        let request = wire::JoinRequest {
            invite: ticket.invite.0.to_vec(),
            manifest: joiner.manifest.encode().into_bytes(),
            name: name_of(new),
            proof: join_proof(&ticket.secret, &ticket.transport, &own, &joiner.manifest).to_vec(),
            address: vec![address_of(new)],
        };
        let invite = InviteState {
            secret: ticket.secret,
            expires: ticket.expires,
            uses_left: 1,
            revoked: false,
            auto_approve: true,
        };
        admission::judge(
            Some(&invite),
            &request,
            &inviter.keys.public().transport,
            &own,
            |_| false,
            self.unix(admin),
        )
        .expect("a good ticket opens");
        let item = self.admission(new);
        self.issue(admin, vec![item]);
        self.learn_address(admin, new);
        let views = self.sites[admin].store.membership_views();
        let (mesh, site) = (self.mesh, &mut self.sites[new]);
        let taken = site
            .store
            .read(&site.who, mesh, Incoming::Membership { views });
        site.store.keep(&mesh, &taken);
        self.begin(new);
    }

    /// A circle of `owner` that shows these slots of everything it publishes from now on; an empty list shows all slots.
    pub fn circle(&mut self, owner: usize, with: With, slots: &[&str]) -> CircleId {
        let slots = match slots {
            [] => Slots::All,
            some => Slots::Only(some.iter().map(|slot| (*slot).to_owned()).collect()),
        };
        let rule = Rule {
            kinds: vec![Kind::Resource, Kind::Capacity],
            slots,
            ..Rule::default()
        };
        let id = match with {
            With::Everyone => CircleId::MESH_WIDE,
            With::One(to) => self.pairwise(owner, to),
            With::Group(members) => {
                let mut id = [0; 16];
                self.rng.fill_bytes(&mut id);
                let id = CircleId(id);
                self.new_group(owner, id);
                self.include(owner, id, &members);
                id
            }
        };
        let own = self.own_circle(owner, &id);
        own.circle.rules.push(rule);
        id
    }

    /// What a group gives of its past to those who enter from now on.
    pub fn history(&mut self, owner: usize, circle: CircleId, history: History) {
        self.own_circle(owner, &circle).circle.history = history;
    }

    /// Lets partners into a group circle: a new key for everybody in it, so that the boxes from before stay shut for them. Of
    /// the past the feed gives them what the circle's history says.
    pub fn include(&mut self, owner: usize, circle: CircleId, partners: &[usize]) {
        let after = self.sites[owner].store.tails.get(&circle).copied();
        let after = after.unwrap_or(0);
        for partner in partners {
            let (site, since) = (self.sites[*partner].who.site, self.now);
            let own = self.own_circle(owner, &circle);
            let history = own.circle.history;
            if let Audience::Group { members } = &mut own.circle.audience
                && members.insert(site)
            {
                own.entered.insert(site, (after, history));
                let span = Span::group(after, history, since);
                self.truth.admits(owner, circle, *partner, span);
            }
        }
        self.new_epoch(owner, circle);
    }

    /// Shuts a partner out of a group circle: a new epoch, whose key goes to all others.
    pub fn shut_out(&mut self, owner: usize, circle: CircleId, partner: usize) {
        let site = self.sites[partner].who.site;
        let last = self.sites[owner].store.tails.get(&circle).copied();
        self.truth
            .shuts_out(owner, circle, partner, last.unwrap_or(0));
        let own = self.own_circle(owner, &circle);
        if let Audience::Group { members } = &mut own.circle.audience {
            members.remove(&site);
        }
        own.entered.remove(&site);
        self.new_epoch(owner, circle);
    }

    /// Admin `admin` puts `site` out: what it knows of that site's log counts, nothing after it.
    pub fn remove(&mut self, admin: usize, site: usize) {
        let act = Act::Remove {
            site: self.sites[site].who.site,
            last_good: self.size(admin, site),
            reason: None,
        };
        self.truth.members.remove(&site);
        self.truth.removed.insert(site);
        let item = self.membership_item(&act);
        self.issue(admin, vec![item]);
        self.shut_out_strangers(admin);
    }

    /// Admin `admin` gives `site` another role.
    pub fn give_role(&mut self, admin: usize, site: usize, role: Role) {
        let act = Act::Role {
            site: self.sites[site].who.site,
            role,
            from: self.size(admin, site),
        };
        let item = self.membership_item(&act);
        self.issue(admin, vec![item]);
    }

    /// What a node's writer does when members changed: whoever is out leaves all circles, and what it knows of a group's key
    /// is worth nothing from now on.
    fn shut_out_strangers(&mut self, owner: usize) {
        let gone = self.sites[owner].store.shut_out_strangers();
        let mut groups = BTreeSet::new();
        for (circle, site) in gone {
            let last = self.sites[owner].store.tails.get(&circle).copied();
            if let Some(partner) = self.index(&site) {
                self.truth
                    .shuts_out(owner, circle, partner, last.unwrap_or(0));
            }
            if self.sites[owner].store.circles.contains_key(&circle) {
                groups.insert(circle);
            }
        }
        for circle in groups {
            self.new_epoch(owner, circle);
        }
    }

    /// A new key for those who are in the group.
    fn new_epoch(&mut self, owner: usize, circle: CircleId) {
        let key = self.random_key();
        let own = self.own_circle(owner, &circle);
        if let Seal::Group(epoch, old) = &mut own.seal {
            (*epoch, *old) = (*epoch + 1, key);
        }
        let rest = match &own.circle.audience {
            Audience::Group { members } => members.clone(),
            Audience::MeshWide | Audience::Pairwise { .. } => BTreeSet::new(),
        };
        let rest: Vec<usize> = rest.iter().filter_map(|site| self.index(site)).collect();
        let grants = rest
            .into_iter()
            .map(|to| self.grant(owner, circle, to))
            .collect();
        self.issue(owner, grants);
    }

    /// Publishes `n` new objects as one change, alternating resources and capacities. What no circle selects stays private.
    pub fn publish(&mut self, owner: usize, n: usize) {
        let ids: Vec<ObjectId> = (0..n).map(|_| self.random_id()).collect();
        for (at, id) in ids.iter().enumerate() {
            let kind = [Kind::Resource, Kind::Capacity][at % 2].clone();
            let object = Object {
                kind,
                rev: 0,
                prev: None,
            };
            self.sites[owner].store.objects.insert(*id, object);
        }
        self.write(owner, ids);
    }

    /// Changes up to `n` of its objects.
    pub fn revise(&mut self, owner: usize, n: usize) {
        let all = self.sites[owner].store.objects.keys().copied();
        let ids = all.take(n).collect();
        self.write(owner, ids);
    }

    /// No route between two sites; open connections notice after a while.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.net.cut(a, b);
        self.break_connections(a, b);
    }

    /// The route is back.
    pub fn heal(&mut self, a: usize, b: usize) {
        self.net.heal(a, b);
    }

    /// All routes are back, nothing is lost any more, and everybody runs.
    pub fn calm(&mut self) {
        self.faults = Faults::NONE;
        for a in 0..self.sites.len() {
            for b in 0..a {
                self.net.heal(a, b);
            }
            if self.sites[a].process.is_none() && self.truth.members.contains(&a) {
                self.restart(a);
            }
        }
    }

    /// kill -9: what is not on disk is gone.
    pub fn crash(&mut self, site: usize) {
        self.sites[site].process = None;
        self.abandon_connections(site);
    }

    /// Starts a crashed site from its disk, with the same identity.
    pub fn restart(&mut self, site: usize) {
        assert!(
            self.sites[site].process.is_none(),
            "only what is down starts"
        );
        self.boot(site);
    }

    /// Makes a site misbehave from now on. Its machine stays honest; what it sends does not.
    pub fn corrupt(&mut self, site: usize, malice: Malice) {
        self.sites[site].malice = Some(malice);
        self.schedule_mischief(site);
    }

    /// Sets a site's clock wrong by some seconds.
    pub fn skew(&mut self, site: usize, seconds: i64) {
        self.sites[site].skew = seconds;
    }

    /// Drops a site's copies of the publications of `author` that begin before leaf `before`, as retention does.
    pub fn prune(&mut self, site: usize, author: usize, before: u64) {
        let author = self.sites[author].who.site;
        self.sites[site].store.prune(&author, before);
    }

    /// Lets time pass.
    pub fn run_for(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.step(end) {}
        self.now = end;
    }

    /// The next thing happens, if it does before `end`.
    fn step(&mut self, end: u64) -> bool {
        let next = self.queue.first_entry();
        let Some(next) = next.filter(|next| next.key().0 <= end) else {
            return false;
        };
        let ((at, _), event) = next.remove_entry();
        self.now = at;
        self.happen(event);
        true
    }

    /// Runs until everything permitted has arrived, at most this long; gives the time that it took.
    pub fn settle(&mut self, ms_max: u64) -> Result<u64, String> {
        let (start, step) = (self.now, (ms_max / 60).clamp(250, 5_000));
        loop {
            let lacking = self.liveness();
            match lacking {
                Ok(()) => return Ok(self.now - start),
                Err(what) if self.now - start >= ms_max => {
                    return Err(format!(
                        "seed {}: not settled after {ms_max} ms:\n{what}",
                        self.seed
                    ));
                }
                Err(_) => self.run_for(step),
            }
        }
    }

    /// Records that a site holds of others.
    #[must_use]
    pub fn views(&self, site: usize) -> Vec<Seen> {
        let store = &self.sites[site].store;
        let foreign = store.records.iter().filter_map(|((author, seq), views)| {
            let issuer = self.index(author).filter(|issuer| *issuer != site)?;
            let open = |view: &std::sync::Arc<crate::record::Verified>| {
                let known = view.fields().clone().into_iter();
                known
                    .filter_map(|(name, value)| Some((name, value?)))
                    .collect::<Vec<_>>()
            };
            Some(Seen {
                issuer,
                seq: *seq,
                kind: views.first()?.claims().kind.clone(),
                fields: views.iter().flat_map(open).collect(),
            })
        });
        foreign.collect()
    }

    /// How far `reader` durably has a feed.
    #[must_use]
    pub fn position(&self, reader: usize, issuer: usize, circle: CircleId) -> u64 {
        let key = (self.sites[issuer].who.site, circle);
        let positions = &self.sites[reader].store.positions;
        positions.get(&key).copied().unwrap_or(0)
    }

    /// How far `issuer` knows that `reader` has a feed of its.
    #[must_use]
    pub fn acknowledged(&self, issuer: usize, reader: usize, circle: CircleId) -> u64 {
        let key = (circle, self.sites[reader].who.site);
        let acknowledged = &self.sites[issuer].store.acknowledged;
        acknowledged.get(&key).copied().unwrap_or(0)
    }

    /// How many leaves of a log a site follows.
    #[must_use]
    pub fn size(&self, site: usize, author: usize) -> u64 {
        let author = self.sites[author].who.site;
        self.sites[site].store.size(&author)
    }

    /// Members as a site knows them.
    #[must_use]
    pub fn members(&self, site: usize) -> Vec<usize> {
        let members = self.sites[site].store.membership.members();
        members.filter_map(|m| self.index(&m.site)).collect()
    }

    /// Members whose gossip subscription a site has: its neighbours.
    #[must_use]
    pub fn neighbours(&self, site: usize) -> usize {
        let process = self.sites[site].process.as_ref();
        process.map_or(0, |process| process.subscribed.len())
    }

    /// What a site has sent since it was made.
    #[must_use]
    pub fn sent(&self, site: usize) -> Sent {
        self.sites[site].sent
    }

    /// Who a site found misbehaving, and how, with counts.
    #[must_use]
    pub fn blamed(&self, site: usize) -> &BTreeMap<(usize, String), u64> {
        &self.sites[site].blamed
    }

    /// Records and logs that a site refused, with reasons.
    #[must_use]
    pub fn refused(&self, site: usize) -> Vec<(usize, String)> {
        let refused = self.sites[site].store.refused.iter();
        refused
            .filter_map(|r| Some((self.index(&r.site)?, r.reason.clone())))
            .collect()
    }

    /// Milliseconds since the world began.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    fn index(&self, site: &SiteId) -> Option<usize> {
        self.numbers.get(site).copied()
    }

    fn unix(&self, site: usize) -> u64 {
        UNIX_AT_START
            .saturating_add(self.now / 1000)
            .saturating_add_signed(self.sites[site].skew)
    }

    /// A member that has the membership records: it makes its log and starts.
    fn begin(&mut self, new: usize) {
        self.truth.members.insert(new);
        self.open_mesh_wide(new);
        for other in self.truth.members.clone() {
            self.learn_address(new, other);
        }
        self.issue(new, Vec::new());
        self.boot(new);
    }

    fn learn_address(&mut self, site: usize, other: usize) {
        let id = self.sites[other].who.site;
        if site != other {
            let addresses = &mut self.sites[site].store.addresses;
            addresses
                .entry(id)
                .or_insert_with(|| directory::hint(&id, vec![address_of(other)]));
        }
    }

    fn open_mesh_wide(&mut self, site: usize) {
        let circle = Circle {
            id: CircleId::MESH_WIDE,
            name: "everyone".into(),
            audience: Audience::MeshWide,
            rules: Vec::new(),
            purpose: None,
            until: None,
            history: Default::default(),
            on_end: Default::default(),
        };
        let own = Own {
            circle,
            seal: Seal::Plain,
            entered: BTreeMap::new(),
        };
        self.sites[site]
            .store
            .circles
            .insert(CircleId::MESH_WIDE, own);
    }

    fn new_group(&mut self, owner: usize, id: CircleId) {
        let own = Own {
            circle: Circle {
                id,
                name: format!("group {id}"),
                audience: Audience::Group {
                    members: BTreeSet::new(),
                },
                rules: Vec::new(),
                purpose: None,
                until: None,
                history: Default::default(),
                on_end: Default::default(),
            },
            seal: Seal::Group(0, EpochKey([0; 32])),
            entered: BTreeMap::new(),
        };
        self.sites[owner].store.circles.insert(id, own);
    }

    fn own_circle(&mut self, owner: usize, circle: &CircleId) -> &mut Own {
        let circles = &mut self.sites[owner].store.circles;
        circles.get_mut(circle).expect("made by this site before")
    }

    fn pairwise(&mut self, owner: usize, to: usize) -> CircleId {
        let (mesh, site) = (self.mesh, self.sites[to].who.site);
        let owned = &mut self.sites[owner];
        let id = owned.store.pairwise(&owned.who, &mesh, site);
        self.truth.admits(owner, id, to, Span::ALWAYS);
        id
    }

    fn grant(&mut self, owner: usize, circle: CircleId, to: usize) -> Item {
        let via = self.pairwise(owner, to);
        let Seal::Group(epoch, key) = self.own_circle(owner, &circle).seal.clone() else {
            unreachable!("grants are for groups")
        };
        let grant = Grant {
            circle: Slot::Known(circle),
            to: Slot::Known(self.sites[to].who.site),
            epoch: Slot::Known(epoch),
            key: Slot::Known(crate::id::to_hex(&key.0)),
            ..Grant::default()
        };
        let shown = Kind::Grant.slots().iter().map(|slot| (*slot).to_owned());
        let circles = BTreeMap::from([(via, shown.collect())]);
        self.item(Kind::Grant, grant.write(), circles)
    }

    fn admission(&mut self, new: usize) -> Item {
        let joiner = &self.sites[new].who;
        let act = Act::Admit {
            site: joiner.site,
            name: name_of(new),
            role: Role::Member,
            manifest: joiner.manifest.clone(),
        };
        self.truth.members.insert(new);
        self.membership_item(&act)
    }

    fn membership_item(&mut self, act: &Act) -> Item {
        let everyone = BTreeMap::from([(CircleId::MESH_WIDE, BTreeSet::new())]);
        self.item(Kind::Membership, act.write(), everyone)
    }

    fn item(
        &mut self,
        kind: Kind,
        fields: Fields,
        circles: BTreeMap<CircleId, BTreeSet<String>>,
    ) -> Item {
        Item {
            kind,
            id: self.random_id(),
            rev: 1,
            prev: None,
            retired: false,
            fields,
            circles,
        }
    }

    /// Signs the next revision of each object for the circles that it is permitted to.
    fn write(&mut self, owner: usize, ids: Vec<ObjectId>) {
        let mut items = Vec::new();
        let mut numbers = BTreeMap::new();
        for id in ids {
            let store = &self.sites[owner].store;
            let object = store.objects[&id].clone();
            let (number, fields) = self.truth.compose(owner, &id, &object.kind);
            let circles = store.permitted(&object.kind, &id, &fields);
            if circles.is_empty() {
                continue;
            }
            numbers.insert((id, object.rev + 1), number);
            items.push(Item {
                kind: object.kind,
                id,
                rev: object.rev + 1,
                prev: object.prev,
                retired: false,
                fields,
                circles,
            });
        }
        if items.is_empty() {
            return;
        }
        for (key, place) in self.issue(owner, items) {
            if let Some(number) = numbers.get(&key) {
                self.truth.published(*number, key.0, self.now, place);
            }
        }
    }

    fn random_id(&mut self) -> ObjectId {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        ObjectId::from_random(bytes)
    }

    fn random_key(&mut self) -> EpochKey {
        let mut key = [0; 32];
        self.rng.fill_bytes(&mut key);
        EpochKey(key)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n.max(1)
    }

    fn between(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.below(high - low + 1)
    }
}

fn name_of(site: usize) -> String {
    format!("Site {site}")
}

/// Addresses here are `/sim/<number>`.
fn address_of(site: usize) -> String {
    format!("/sim/{site}")
}

/// 2027-01-15.
const UNIX_AT_START: u64 = 1_800_000_000;
/// Admissions in one change, so that their records travel with gossip.
const ADMITTED_AT_ONCE: usize = 6;
