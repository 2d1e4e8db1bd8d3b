//! Search over live records: capability and free hours in one question, answered locally.
//!
//! The [`Index`] holds the current revisions of `site`, `resource` and `capacity` records, own and partners', in the
//! form that a question needs. It is derived: dropped and filled again from the store at every start. A question
//! ([`Query`]) is answered by passes over short rows; only the best answers are written out.
//!
//! ```text
//! site record      -> profile: country, place, certificates     judged once for each site
//! resource record  -> list of capabilities, interned            judged once for each distinct list
//! capacity record  -> free by week                              summed where site and list fit
//! ```
//!
//! An answer is a *supply*: the free weeks of a capacity with the resources it is for. Records with the same
//! resources, process and unit that continue each other (one for each quarter) answer together. A capacity whose
//! resources are not shown answers if it states a process itself; a resource that no capacity names answers with
//! nothing said about any week.
//!
//! **An unknown number never counts as free.** What the author does not say or show is listed in the answer
//! ([`Missing`]) and puts it behind those that are known to fit; it is never a reason to hide it.
//!
//! The index does not know signatures, circles or membership: who feeds it verified first, and takes out sites that are
//! no partners any more.

use std::collections::{BTreeMap, HashMap};

use fmesh_proto::{
    id::{ObjectId, SiteId},
    kinds::{Capacity, Content, Resource, Site},
    quantity::Unit,
    record::Verified,
    taxonomy::Path,
};

use self::{
    lists::{ListNumber, Lists},
    site::Profile,
    slab::Slab,
    weeks::{Series, Values},
};

mod find;
mod lists;
mod query;
mod site;
mod slab;
mod weeks;

#[cfg(test)]
mod tests;

pub use fmesh_proto::rules::distance::Position;
pub use query::{Answer, Answers, FindError, Fit, Free, Missing, Query};

/// An index over the current revisions of `site`, `resource` and `capacity` records, own and partners', in memory; derived, rebuildable.
#[derive(Debug, Default)]
pub struct Index {
    sites: Slab<SiteEntry>,
    site_numbers: HashMap<SiteId, u32>,
    /// Resources that are shown, or named by a capacity.
    resources: Slab<ResourceEntry>,
    resource_numbers: HashMap<Key, u32>,
    supplies: Slab<Supply>,
    /// What most questions need of a supply, by its number.
    rows: Vec<Row>,
    supply_numbers: HashMap<SupplyKey, u32>,
    /// The supply that a capacity is in.
    capacities: HashMap<Key, u32>,
    lists: Lists,
    values: Values,
    changes: u64,
}

/// An object of a site, by the site's number.
type Key = (u32, ObjectId);

/// Whose a current revision is, and from when.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// Author.
    pub site: SiteId,
    /// Object.
    pub id: ObjectId,
    /// Leaf.
    pub seq: u64,
    /// When the author says that it signed, unix seconds.
    pub iat: u64,
    /// When it arrived, unix seconds.
    pub received: u64,
    /// Something of it is shown, and the object has not ended: otherwise it disappears.
    pub shown: bool,
    /// Every grant under which it came has ended: only a question that says so finds it.
    pub ended: bool,
}

/// Which revision something is from.
#[derive(Debug, Clone, Copy)]
struct Stamp {
    seq: u64,
    iat: u64,
    received: u64,
    ended: bool,
}

#[derive(Debug)]
struct SiteEntry {
    id: SiteId,
    profile: Option<(Stamp, Profile)>,
}

#[derive(Debug)]
struct ResourceEntry {
    site: u32,
    id: ObjectId,
    /// Supplies that name it.
    named: u32,
    /// Missing while capacities only name it, as the next.
    list: Option<ListNumber>,
    /// It is shown, and what shows it has ended. Each question asks it of each resource, so it stands here.
    ended: bool,
    shown: Option<Box<Shown>>,
}

/// What is only needed to write an answer.
#[derive(Debug)]
struct Shown {
    stamp: Stamp,
    name: Option<String>,
}

/// What makes capacities parts of one supply.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SupplyKey {
    site: u32,
    /// Numbers of resources, each once, in order.
    resources: Box<[u32]>,
    process: Option<Path>,
    unit: Option<Unit>,
}

#[derive(Debug)]
struct Supply {
    key: SupplyKey,
    /// The capacity's own process, as a capability.
    process: Option<ListNumber>,
    pieces: Vec<Piece>,
}

/// One capacity record.
#[derive(Debug)]
struct Piece {
    id: ObjectId,
    name: Option<String>,
    stamp: Stamp,
    series: Series,
}

impl Index {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a current revision (replaces the object's older one; a retired object, or one of which nothing is shown any more, disappears).
    /// `received`: unix seconds.
    pub fn put(&mut self, record: &Verified, received: u64) {
        self.put_as(record, received, false);
    }

    /// The same for a record of which every grant under which it came has ended, or with `ended` false for one that is granted again.
    pub fn put_as(&mut self, record: &Verified, received: u64, ended: bool) {
        let claims = record.claims();
        let origin = Origin {
            site: claims.iss,
            id: claims.id,
            seq: claims.seq,
            iat: claims.iat,
            received,
            shown: !claims.retired && record.shows_a_slot(),
            ended,
        };
        match record.content() {
            Ok(content) => self.put_content(&origin, content),
            Err(error) => {
                tracing::warn!(site = %claims.iss, seq = claims.seq, %error, "not in the search index");
            }
        }
    }

    /// How often anything was put in or taken out: whoever waits for something asks again when it has grown.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// As [`Self::put`], for whoever knows what a record says and holds no record. A revision older than the one held is ignored, and
    /// so are kinds that search does not need.
    pub fn put_content(&mut self, origin: &Origin, content: &Content) {
        self.changes += 1;
        let shown = origin.shown;
        match content {
            Content::Site(site) => self.put_site(origin, shown.then_some(site)),
            Content::Resource(resource) => self.put_resource(origin, shown.then_some(resource)),
            Content::Capacity(capacity) => self.put_capacity(origin, shown.then_some(capacity)),
            Content::Grant(_) | Content::Attestation(_) | Content::Other => {}
        }
    }

    /// Forgets a site.
    pub fn remove_site(&mut self, site: &SiteId) {
        let Some(number) = self.site_numbers.remove(site) else {
            return;
        };
        self.changes += 1;
        self.sites.remove(number);
        for (row, supply) in self.supplies.remove_if(|supply| supply.key.site == number) {
            self.supply_numbers.remove(&supply.key);
            for piece in &supply.pieces {
                self.capacities.remove(&(number, piece.id));
                self.values.give_back(piece.series);
            }
            self.lists.give_back(supply.process);
            self.rows[row as usize] = Row::FREE;
        }
        for (_, resource) in self.resources.remove_if(|resource| resource.site == number) {
            self.resource_numbers.remove(&(number, resource.id));
            self.lists.give_back(resource.list);
        }
    }

    /// What is shown of each site: (resources, capacities), without what has ended.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<SiteId, (u64, u64)> {
        let mut by_number: HashMap<u32, (u64, u64)> = HashMap::new();
        for ((site, _), resource) in &self.resource_numbers {
            let shown = self.resources.get(*resource).map(|e| e.shown.as_ref());
            if let Some(Some(shown)) = shown {
                by_number.entry(*site).or_default().0 += u64::from(!shown.stamp.ended);
            }
        }
        for ((site, id), supply) in &self.capacities {
            let piece = self.supplies.get(*supply).and_then(|s| s.piece(id));
            let lives = piece.is_some_and(|piece| !piece.stamp.ended);
            by_number.entry(*site).or_default().1 += u64::from(lives);
        }
        by_number
            .into_iter()
            .filter_map(|(site, counts)| Some((self.sites.get(site)?.id, counts)))
            .collect()
    }

    fn put_site(&mut self, origin: &Origin, site: Option<&Site>) {
        let number = self.site_number(origin.site);
        let Some(entry) = self.sites.get_mut(number) else {
            return;
        };
        // A second object of kind `site` speaks for the same factory: the later leaf counts.
        if entry
            .profile
            .as_ref()
            .is_some_and(|(held, _)| held.seq > origin.seq)
        {
            return;
        }
        entry.profile = site.map(|site| (Stamp::of(origin), Profile::of(site.clone())));
    }

    fn put_resource(&mut self, origin: &Origin, resource: Option<&Resource>) {
        let site = self.site_number(origin.site);
        let number = self.resource_number((site, origin.id));
        let Some(entry) = self.resources.get_mut(number) else {
            return;
        };
        if entry
            .shown
            .as_ref()
            .is_some_and(|held| held.stamp.seq > origin.seq)
        {
            return;
        }
        let old = entry.list.take();
        entry.shown = None;
        entry.ended = resource.is_some() && origin.ended;
        if let Some(resource) = resource {
            entry.shown = Some(Box::new(Shown {
                stamp: Stamp::of(origin),
                name: resource.name.known().cloned(),
            }));
            entry.list = Some(self.lists.take(resource.capabilities.clone()));
        }
        self.lists.give_back(old);
        self.drop_unneeded(number);
    }

    fn put_capacity(&mut self, origin: &Origin, capacity: Option<&Capacity>) {
        let site = self.site_number(origin.site);
        let key = (site, origin.id);
        if let Some(supply) = self.capacities.get(&key).copied() {
            let held = self
                .supplies
                .get(supply)
                .and_then(|supply| supply.piece(&origin.id));
            if held.is_some_and(|held| held.stamp.seq > origin.seq) {
                return;
            }
            self.capacities.remove(&key);
            self.leave(supply, &origin.id);
        }
        let Some(capacity) = capacity else {
            return;
        };
        let piece = Piece {
            id: origin.id,
            name: capacity.name.known().cloned(),
            stamp: Stamp::of(origin),
            series: Series::of(capacity, &mut self.values),
        };
        let supply = self.supply_number(site, capacity);
        if let Some(supply) = self.supplies.get_mut(supply) {
            supply.pieces.push(piece);
        }
        self.renew_row(supply);
        self.capacities.insert(key, supply);
    }

    fn site_number(&mut self, id: SiteId) -> u32 {
        let sites = &mut self.sites;
        let new = || sites.insert(SiteEntry { id, profile: None });
        *self.site_numbers.entry(id).or_insert_with(new)
    }

    fn resource_number(&mut self, key: Key) -> u32 {
        let (site, id) = key;
        let resources = &mut self.resources;
        let new = || {
            resources.insert(ResourceEntry {
                site,
                id,
                named: 0,
                list: None,
                ended: false,
                shown: None,
            })
        };
        *self.resource_numbers.entry(key).or_insert_with(new)
    }

    fn supply_number(&mut self, site: u32, capacity: &Capacity) -> u32 {
        let ids = capacity.resources.known().map_or(&[][..], Vec::as_slice);
        let mut resources: Vec<u32> = ids
            .iter()
            .map(|id| self.resource_number((site, *id)))
            .collect();
        resources.sort_unstable();
        resources.dedup();
        let key = SupplyKey {
            site,
            resources: resources.into(),
            process: capacity.process.known().cloned(),
            unit: capacity.unit.known().copied(),
        };
        if let Some(number) = self.supply_numbers.get(&key) {
            return *number;
        }
        for resource in &key.resources {
            if let Some(resource) = self.resources.get_mut(*resource) {
                resource.named += 1;
            }
        }
        let process = key
            .process
            .clone()
            .map(|process| self.lists.take_process(process));
        let number = self.supplies.insert(Supply {
            key: key.clone(),
            process,
            pieces: Vec::new(),
        });
        self.supply_numbers.insert(key, number);
        number
    }

    /// A capacity goes out of its supply; an empty one goes, too.
    fn leave(&mut self, number: u32, id: &ObjectId) {
        let Some(supply) = self.supplies.get_mut(number) else {
            return;
        };
        if let Some(place) = supply.pieces.iter().position(|piece| piece.id == *id) {
            let piece = supply.pieces.swap_remove(place);
            self.values.give_back(piece.series);
        }
        if !supply.pieces.is_empty() {
            self.renew_row(number);
            return;
        }
        self.rows[number as usize] = Row::FREE;
        let Some(supply) = self.supplies.remove(number) else {
            return;
        };
        self.supply_numbers.remove(&supply.key);
        self.lists.give_back(supply.process);
        for resource in supply.key.resources {
            if let Some(entry) = self.resources.get_mut(resource) {
                entry.named -= 1;
            }
            self.drop_unneeded(resource);
        }
    }

    /// After every change of a supply's pieces.
    fn renew_row(&mut self, number: u32) {
        let row = self.supplies.get(number).map_or(Row::FREE, Row::of);
        match self.rows.get_mut(number as usize) {
            Some(old) => *old = row,
            None => self.rows.push(row),
        }
    }

    /// A resource that is neither shown nor named is nothing.
    fn drop_unneeded(&mut self, number: u32) {
        let unneeded = |entry: &ResourceEntry| entry.shown.is_none() && entry.named == 0;
        if self.resources.get(number).is_some_and(unneeded)
            && let Some(entry) = self.resources.remove(number)
        {
            self.resource_numbers.remove(&(entry.site, entry.id));
        }
    }
}

impl Stamp {
    fn of(origin: &Origin) -> Self {
        Self {
            seq: origin.seq,
            iat: origin.iat,
            received: origin.received,
            ended: origin.ended,
        }
    }
}

/// The short form of a supply, for the pass over all of them. Most supplies have one piece and one resource, so that nothing
/// else of them is looked at unless they are among the best.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// [`NONE`] if there is no supply of this number.
    site: u32,
    /// The only resource; [`NONE`] if there are several or a process.
    resource: u32,
    unit: Option<u8>,
    /// Series of the only piece.
    lone: Option<Series>,
    /// The only piece has ended.
    ended: bool,
}

/// No number of anything.
const NONE: u32 = u32::MAX;

impl Row {
    const FREE: Self = Self {
        site: NONE,
        resource: NONE,
        unit: None,
        lone: None,
        ended: false,
    };

    fn of(supply: &Supply) -> Self {
        let resource = match (&supply.key.resources[..], supply.process) {
            ([resource], None) => *resource,
            _ => NONE,
        };
        let (lone, ended) = match &supply.pieces[..] {
            [piece] => (Some(piece.series), piece.stamp.ended),
            _ => (None, false),
        };
        Self {
            site: supply.key.site,
            resource,
            unit: supply.key.unit.map(unit_number),
            lone,
            ended,
        }
    }
}

/// Place of a unit in the table of units, which is shorter than 256.
fn unit_number(unit: Unit) -> u8 {
    let place = Unit::all()
        .position(|other| other == unit)
        .unwrap_or(usize::MAX);
    u8::try_from(place).expect("every unit is in the short table of units")
}

impl Supply {
    fn piece(&self, id: &ObjectId) -> Option<&Piece> {
        self.pieces.iter().find(|piece| piece.id == *id)
    }
}
