//! Answering: judge sites and lists, pass over supplies, keep the best, write those out.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use fmesh_proto::{
    kinds::{Capability, Certificate, Slot},
    quantity::{Quantity, Unit},
    rules::coverage::{Coverage, Requirement, covers},
    taxonomy::Path,
    week::Week,
};

use super::{
    Answer, Answers, FindError, Fit, Free, Index, Missing, Piece, Query, ResourceEntry, SiteEntry,
    Stamp, Supply,
    lists::{ListNumber, Verdict},
    site::{self, Fits, Profile, SiteVerdict},
    unit_number,
    weeks::{Span, Sum},
};

impl Index {
    /// The best answers: covers fully, core capability, slack, distance, age.
    pub fn find(&self, query: &Query) -> Result<Answers, FindError> {
        let own = query
            .own
            .and_then(|own| self.site_numbers.get(&own))
            .copied();
        let place = || self.profile(own?, query)?.place();
        let from = query.from.or_else(place);
        if query.within_km.is_some() && from.is_none() {
            return Err(FindError::NoPlace);
        }
        let sites = self.sites.map(
            || NOT,
            |entry| match Some(entry.id) == query.own && !query.with_own {
                true => NOT,
                false => site::judge(query, from, entry.profile_for(query)),
            },
        );
        let lists = self.lists.judge(&query.required);
        let mut bare = Vec::new();
        let mut resources = vec![Verdict::No; self.resources.numbers()];
        for (number, entry) in self.resources.iter() {
            let list = entry.list.filter(|_| query.takes(entry.ended));
            let verdict = list.map_or(Verdict::No, |list| lists[list as usize]);
            resources[number as usize] = verdict;
            if entry.named == 0 && verdict > Verdict::No {
                bare.push(number);
            }
        }
        let mut search = Search {
            index: self,
            query,
            span: Span::of(query.weeks),
            unit: query.unit.or(query.need.map(|_| Unit::HOUR)),
            sites,
            lists,
            resources,
            best: BinaryHeap::new(),
            total: 0,
        };
        search.pass_supplies();
        search.pass_bare_resources(&bare);
        Ok(search.answers())
    }

    fn profile(&self, site: u32, query: &Query) -> Option<&Profile> {
        self.sites.get(site)?.profile_for(query)
    }
}

impl SiteEntry {
    fn profile_for(&self, query: &Query) -> Option<&Profile> {
        let profile = self.profile.as_ref();
        let taken = profile.filter(|(stamp, _)| query.takes(stamp.ended));
        taken.map(|(_, profile)| profile)
    }
}

impl Query {
    /// Is something that has ended, or not, looked at?
    fn takes(&self, ended: bool) -> bool {
        self.with_ended || !ended
    }
}

const NOT: SiteVerdict = SiteVerdict {
    fit: Fits::No,
    distance: None,
};

struct Search<'a> {
    index: &'a Index,
    query: &'a Query,
    span: Span,
    unit: Option<Unit>,
    /// By number, all three.
    sites: Vec<SiteVerdict>,
    lists: Vec<Verdict>,
    resources: Vec<Verdict>,
    best: BinaryHeap<Candidate>,
    total: usize,
}

/// Smaller is better: the order of fields is the order of ranking.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    fit: Fit,
    /// A capability or the factory may not be what is asked for; the numbers do not matter here.
    unjudged: bool,
    beside_core: bool,
    slack: Reverse<i64>,
    /// Unknown is farthest.
    distance: u32,
    signed: Reverse<u64>,
    found: Found,
}

/// Where a candidate is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// Pieces of a supply, by place.
    Supply(u32, Box<[u32]>),
    Resource(u32),
}

impl Candidate {
    /// All that decides, without where it is.
    fn rank(&self) -> impl Ord + use<> {
        let numbers = (self.slack, self.distance, self.signed);
        (self.fit, self.unjudged, self.beside_core, numbers)
    }
}

impl<'a> Search<'a> {
    fn pass_supplies(&mut self) {
        let index = self.index;
        let unit = self.unit.map(unit_number);
        for (number, row) in (0..).zip(&index.rows) {
            let site = self.sites.get(row.site as usize);
            if site.is_none_or(|site| site.fit == Fits::No) {
                continue;
            }
            if unit.is_some() && row.unit.is_some() && row.unit != unit {
                continue;
            }
            let verdict = match self.resources.get(row.resource as usize) {
                Some(verdict) => *verdict,
                None => self.verdict(number),
            };
            if verdict == Verdict::No {
                continue;
            }
            if !self.query.takes(row.ended) {
                continue;
            }
            let Some(series) = row.lone else {
                self.pass_pieces(number, row.site, verdict);
                continue;
            };
            let mut sum = Sum::default();
            series.add_to(&mut sum, &index.values, self.span);
            self.consider(row.site, verdict, sum, || {
                let supply = index.supplies.get(number)?;
                let signed = supply.pieces.first()?.stamp.iat;
                Some((signed, Found::Supply(number, Box::new([0]))))
            });
        }
    }

    /// A supply of several pieces.
    fn pass_pieces(&mut self, number: u32, site: u32, verdict: Verdict) {
        let index = self.index;
        let Some(supply) = index.supplies.get(number) else {
            return;
        };
        let taken = |piece: &Piece| self.query.takes(piece.stamp.ended);
        for chain in chains(&supply.pieces, taken) {
            let pieces = || chain.iter().map(|piece| &supply.pieces[*piece as usize]);
            let mut sum = Sum::default();
            pieces().for_each(|piece| piece.series.add_to(&mut sum, &index.values, self.span));
            self.consider(site, verdict, sum, || {
                let signed = pieces().map(|piece| piece.stamp.iat).min()?;
                Some((signed, Found::Supply(number, chain.clone().into())))
            });
        }
    }

    /// Resources that no capacity names.
    fn pass_bare_resources(&mut self, bare: &[u32]) {
        let index = self.index;
        for number in bare.iter().copied() {
            let Some(resource) = index.resources.get(number) else {
                continue;
            };
            if self.sites[resource.site as usize].fit == Fits::No {
                continue;
            }
            let verdict = self.resources[number as usize];
            self.consider(resource.site, verdict, Sum::default(), || {
                let signed = resource.shown.as_ref()?.stamp.iat;
                Some((signed, Found::Resource(number)))
            });
        }
    }

    /// The best of what a supply's resources, or its own process, say.
    fn verdict(&self, supply: u32) -> Verdict {
        let Some(supply) = self.index.supplies.get(supply) else {
            return Verdict::No;
        };
        let process = supply.process.map(|list| self.lists[list as usize]);
        let named = supply.key.resources.iter();
        named
            .map(|resource| self.resources[*resource as usize])
            .chain(process)
            .max()
            .unwrap_or(Verdict::No)
    }

    fn consider(
        &mut self,
        site: u32,
        verdict: Verdict,
        sum: Sum,
        found: impl FnOnce() -> Option<(u64, Found)>,
    ) {
        let site = self.sites[site as usize];
        let all_known = sum.known == self.span.count;
        let need = self.query.need.map_or(0, Quantity::thousandths);
        let enough = sum.thousandths >= need;
        if self.query.need.is_some() && all_known && sum.thousandths == 0 && !enough {
            // Nothing is free, and that is known.
            return;
        }
        let judged = site.fit == Fits::Yes && verdict >= Verdict::Covers;
        let fit = match (judged, self.query.need) {
            (false, _) => Fit::Unknown,
            (true, None) => Fit::Full,
            (true, Some(_)) if enough => Fit::Full,
            (true, Some(_)) if all_known => Fit::Partial,
            (true, Some(_)) => Fit::Unknown,
        };
        self.total += 1;
        let slack = Reverse(sum.thousandths.saturating_sub(need));
        let rank = (fit, !judged, verdict != Verdict::Core, slack);
        if self.best.len() >= self.query.limit {
            // Most candidates are worse than the worst that is kept: see that before building them.
            let worst =
                |worst: &Candidate| (worst.fit, worst.unjudged, worst.beside_core, worst.slack);
            if self.best.peek().is_none_or(|kept| rank > worst(kept)) {
                return;
            }
        }
        let Some((signed, found)) = found() else {
            return;
        };
        let (fit, unjudged, beside_core, slack) = rank;
        self.best.push(Candidate {
            fit,
            unjudged,
            beside_core,
            slack,
            distance: site.distance.unwrap_or(u32::MAX),
            signed: Reverse(signed),
            found,
        });
        if self.best.len() > self.query.limit {
            self.best.pop();
        }
    }

    fn answers(self) -> Answers {
        let total = self.total;
        let mut search = self;
        let best = std::mem::take(&mut search.best).into_sorted_vec();
        let mut best: Vec<(Candidate, Answer)> = best
            .into_iter()
            .filter_map(|candidate| {
                let answer = search.answer(&candidate)?;
                Some((candidate, answer))
            })
            .collect();
        // Equals in an order that does not depend on how the index was filled.
        best.sort_by(|(a, x), (b, y)| {
            let name = |answer: &Answer| (answer.site, answer.resource, answer.capacity);
            a.rank().cmp(&b.rank()).then_with(|| name(x).cmp(&name(y)))
        });
        Answers {
            best: best.into_iter().map(|(_, answer)| answer).collect(),
            total,
        }
    }

    /// Writes one out.
    fn answer(&self, candidate: &Candidate) -> Option<Answer> {
        match &candidate.found {
            Found::Resource(number) => {
                let resource = self.index.resources.get(*number)?;
                let shown = resource.shown.as_ref()?;
                let offer = Offer {
                    resource: Some(resource),
                    list: resource.list?,
                };
                Some(self.write(candidate, resource.site, offer, None, &[], shown.stamp))
            }
            Found::Supply(number, chain) => {
                let supply = self.index.supplies.get(*number)?;
                let pieces: Vec<&Piece> = chain
                    .iter()
                    .map(|piece| &supply.pieces[*piece as usize])
                    .collect();
                let stamp = pieces.first()?.stamp;
                let offer = self.best_offer(supply)?;
                let (site, unit) = (supply.key.site, supply.key.unit);
                Some(self.write(candidate, site, offer, unit, &pieces, stamp))
            }
        }
    }

    /// The resource that fits best, or the capacity's own process.
    fn best_offer(&self, supply: &Supply) -> Option<Offer<'a>> {
        let index = self.index;
        let named = supply.key.resources.iter();
        let mut shown: Vec<&ResourceEntry> = named
            .filter_map(|number| index.resources.get(*number))
            .filter(|resource| resource.list.is_some() && self.query.takes(resource.ended))
            .collect();
        shown.sort_by_key(|resource| resource.id);
        let resources = shown.iter().filter_map(|resource| {
            Some(Offer {
                resource: Some(resource),
                list: resource.list?,
            })
        });
        // If the capacity's own process fits better, the answer still names a resource.
        let process = supply.process.map(|list| Offer {
            resource: shown.first().copied(),
            list,
        });
        resources
            .chain(process)
            .min_by_key(|offer| Reverse(self.lists[offer.list as usize]))
    }

    /// One week of a chain.
    fn free(&self, pieces: &[&Piece], week: i32) -> Free {
        let values = &self.index.values;
        let said = pieces.iter().map(|piece| piece.series.at(values, week));
        said.fold(Free::None, |before, free| match before {
            Free::None => free,
            before => before,
        })
    }

    fn write(
        &self,
        candidate: &Candidate,
        site: u32,
        offer: Offer<'_>,
        unit: Option<Unit>,
        pieces: &[&Piece],
        stamp: Stamp,
    ) -> Answer {
        let (query, verdict) = (self.query, self.sites[site as usize]);
        let profile = self.index.profile(site, query);
        let weeks: Vec<(Week, Free)> = query
            .weeks
            .weeks()
            .zip(self.span.numbers())
            .map(|(week, number)| (week, self.free(pieces, number)))
            .collect();
        let known = weeks.iter().filter_map(|(_, free)| match free {
            Free::Known(quantity) => Some(quantity.thousandths()),
            _ => None,
        });
        let (count, sum) = known.fold((0, 0_i64), |(count, sum), value| {
            (count + 1, sum.saturating_add(value))
        });
        // Only what counted: pieces of other months do not make an answer older.
        let span = self.span.numbers();
        let spoke = |piece: &&&Piece| {
            let range = piece.series.range();
            range.is_none_or(|range| range.start < span.end && span.start < range.end)
        };
        let counted: Vec<&Piece> = pieces.iter().filter(spoke).copied().collect();
        let first = counted.first().or(pieces.first());
        let capabilities = self.index.lists.get(offer.list);
        let mut missing = gaps(&query.required, capabilities);
        missing.extend(site::missing(query, verdict, profile));
        if query.need.is_some() && count < weeks.len() {
            missing.push(Missing::Weeks(weeks.len() - count));
        }
        let shown = offer.resource.and_then(|resource| resource.shown.as_ref());
        Answer {
            site: self
                .index
                .sites
                .get(site)
                .map(|entry| entry.id)
                .expect("a judged site is there"),
            site_name: profile.and_then(|profile| profile.name.clone()),
            resource: offer.resource.map(|resource| resource.id),
            resource_name: shown.and_then(|shown| shown.name.clone()),
            capacity: first.map(|piece| piece.id),
            capacity_name: first.and_then(|piece| piece.name.clone()),
            process: process(&query.required, capabilities),
            core: !candidate.beside_core,
            unit,
            weeks,
            free: (count > 0).then(|| Quantity::from_thousandths(sum)),
            fit: candidate.fit,
            missing,
            distance_m: verdict.distance,
            country: profile.and_then(Profile::country).map(str::to_owned),
            certificates: certificates(query, profile),
            seq: first.map_or(stamp.seq, |piece| piece.stamp.seq),
            ended: stamp.ended
                || offer.resource.is_some_and(|resource| resource.ended)
                || pieces.iter().any(|piece| piece.stamp.ended),
            signed: counted
                .iter()
                .map(|piece| piece.stamp.iat)
                .min()
                .unwrap_or(stamp.iat),
            received: counted
                .iter()
                .map(|piece| piece.stamp.received)
                .min()
                .unwrap_or(stamp.received),
        }
    }
}

/// Something a supply can be had for.
#[derive(Debug, Clone, Copy)]
struct Offer<'a> {
    resource: Option<&'a ResourceEntry>,
    list: ListNumber,
}

/// Pieces that continue each other, in order of weeks. If two pieces of a supply speak of the same week, only pieces of one
/// name belong together (a day and a night shift, say); if even those overlap, each stands for itself.
fn chains(pieces: &[Piece], taken: impl Fn(&Piece) -> bool) -> Vec<Vec<u32>> {
    let mut placed: Vec<u32> = Vec::new();
    let mut chains: Vec<Vec<u32>> = Vec::new();
    for (number, piece) in (0..).zip(pieces).filter(|(_, piece)| taken(piece)) {
        match piece.series.range() {
            Some(_) => placed.push(number),
            None => chains.push(vec![number]),
        }
    }
    let range = |number: &u32| pieces[*number as usize].series.range().unwrap_or(0..0);
    placed.sort_by_key(|number| (range(number).start, range(number).end));
    let disjoint = |numbers: &[u32]| {
        let mut pairs = numbers.windows(2);
        pairs.all(|pair| range(&pair[0]).end <= range(&pair[1]).start)
    };
    if disjoint(&placed) {
        chains.extend(Some(placed).filter(|placed| !placed.is_empty()));
        return chains;
    }
    let mut by_name: HashMap<Option<&str>, Vec<u32>> = HashMap::new();
    for number in placed {
        let name = pieces[number as usize].name.as_deref();
        by_name.entry(name).or_default().push(number);
    }
    for numbers in by_name.into_values() {
        match disjoint(&numbers) {
            true => chains.push(numbers),
            false => chains.extend(numbers.into_iter().map(|number| vec![number])),
        }
    }
    chains
}

fn gaps(required: &Requirement, capabilities: Option<&Slot<Vec<Capability>>>) -> Vec<Missing> {
    if *required == Requirement::default() {
        return Vec::new();
    }
    match capabilities.map(|capabilities| covers(required, capabilities)) {
        Some(Coverage::Unknown(gaps)) => gaps.into_iter().map(Missing::Capability).collect(),
        _ => Vec::new(),
    }
}

/// Process of the capability that answers; the first one if none was asked.
fn process(required: &Requirement, capabilities: Option<&Slot<Vec<Capability>>>) -> Option<Path> {
    let list = capabilities?.known()?;
    let rank = |capability: &&Capability| {
        let alone = Slot::Known(vec![(*capability).clone()]);
        match covers(required, &alone) {
            Coverage::Covers { core: true } => 0,
            Coverage::Covers { core: false } => 1,
            Coverage::Unknown(_) => 2,
            Coverage::Not(_) => 3,
        }
    };
    list.iter()
        .min_by_key(rank)
        .map(|capability| capability.process.clone())
}

fn certificates(query: &Query, profile: Option<&Profile>) -> Vec<Certificate> {
    let shown = profile.and_then(|profile| profile.certificates.known());
    let asked = |certificate: &&Certificate| {
        let mut asked = query.certificates.iter();
        query.certificates.is_empty() || asked.any(|asked| site::is_of_type(certificate, asked))
    };
    shown.into_iter().flatten().filter(asked).cloned().collect()
}
