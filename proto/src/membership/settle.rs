//! Which acts count: pure logic over acts that are known to be authentic.
//!
//! An act counts if its author may act as an admin at the act's place in the author's log:
//!
//! - *Grants* give that power: founding, `admit` as admin (from index 0 on), `role` admin (from its
//!   `from` on). They count only if they count themselves: power flows from the founder outwards, and
//!   a site must also be admitted by an act that counts.
//! - *Curbs* take it: `remove` from `last_good` on for good, `role` member or auditor from its `from` on, until a grant
//!   with a later `from`. A curb on oneself leaves alone what one wrote before it.
//! - A removal loses to the removal of its own author alone. If two sites remove each other, the more
//!   senior one's removal stands and the other's is void, whatever their `last_good` says.
//!
//! Curbs can make curbs void, so "counts" is defined by the well-founded reading of these rules: a curb
//! *surely* counts if it counts even when every curb that possibly counts is held against it; it
//! *possibly* counts if it counts when only the sure ones are. Starting from no sure curb, both bounds close
//! in on each other ([`Settling::bounds`]). What stays between them are knots: circles of sites, longer
//! than the pair above, that undo each other. In each knot the curbs of the most senior author stand and the others
//! are struck; a knot of one author alone, who undoes the ground it stands on, is struck. Then all is asked again.
//!
//! Seniority: steps from the founder in the tree of admissions, then the earlier admission, then the
//! smaller SiteId. The tree depends on what counts and the other way round, so it is settled twice: by
//! the tree of all admissions ever written, then by the tree that came out. So what a removed site writes later
//! cannot lift an accomplice.
//!
//! Everything is a function of the sorted acts; arrival plays no part.

use std::collections::{BTreeMap, BTreeSet};

use super::Role;
use crate::id::SiteId;

/// An act without its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) author: SiteId,
    pub(super) seq: u64,
    pub(super) iat: u64,
    pub(super) target: SiteId,
    pub(super) what: What,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Admit(Role),
    Remove { last_good: u64 },
    Role { role: Role, from: u64 },
}
impl Step {
    /// Whether it puts its target in, or gives it power.
    fn is_grant(&self) -> bool {
        matches!(
            self.what,
            What::Admit(_)
                | What::Role {
                    role: Role::Admin,
                    ..
                }
        )
    }

    /// From which index of its target's log a curb takes power away.
    fn curbs_from(&self) -> Option<u64> {
        let from = match self.what {
            What::Remove { last_good } => last_good,
            What::Role { role, from } if role != Role::Admin => from,
            What::Admit(_) | What::Role { .. } => return None,
        };
        Some(if self.author == self.target {
            from.max(self.seq.saturating_add(1))
        } else {
            from
        })
    }

    fn is_removal(&self) -> bool {
        matches!(self.what, What::Remove { .. })
    }
}

/// What counts.
#[derive(Debug)]
pub(super) struct Settled {
    /// Indices of the acts that count.
    pub(super) counts: BTreeSet<usize>,
    /// Every site that was let in, removed ones as well.
    pub(super) tree: BTreeMap<SiteId, Place>,
    /// Removed sites and the size of their log up to which their acts count.
    pub(super) removed: BTreeMap<SiteId, u64>,
}

/// A site's place in the tree of admissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) depth: u32,
    pub(super) since: u64,
    /// The act that let it in; `None` for the founder.
    pub(super) admission: Option<usize>,
    pub(super) role: Role,
}

/// Settles `steps`, whose order decides nothing but last ties: the caller sorts them.
pub(super) fn settle(founder: SiteId, founded: u64, steps: &[Step]) -> Settled {
    let mut settling = Settling::new(founder, founded, steps);
    let all = settling.derive(&BTreeSet::new());
    let everyone = settling.tree(&all);
    settling.rank([&everyone, &everyone]);
    let first = settling.decide();
    settling.rank([&settling.tree(&first), &everyone]);
    let counts = settling.decide();
    let mut removed = BTreeMap::new();
    for step in counts
        .iter()
        .map(|i| &steps[*i])
        .filter(|step| step.is_removal())
    {
        let cut = step.curbs_from().unwrap_or(0);
        removed
            .entry(step.target)
            .and_modify(|c: &mut u64| *c = cut.min(*c))
            .or_insert(cut);
    }
    Settled {
        tree: settling.tree(&counts),
        counts,
        removed,
    }
}

struct Settling<'a> {
    founder: SiteId,
    founded: u64,
    steps: &'a [Step],
    by: BTreeMap<SiteId, Vec<usize>>,
    on: BTreeMap<SiteId, Vec<usize>>,
    /// Smaller is more senior.
    rank: BTreeMap<SiteId, usize>,
    struck: BTreeSet<usize>,
}

impl<'a> Settling<'a> {
    fn new(founder: SiteId, founded: u64, steps: &'a [Step]) -> Self {
        let (mut by, mut on) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        for (i, step) in steps.iter().enumerate() {
            by.entry(step.author).or_default().push(i);
            on.entry(step.target).or_default().push(i);
        }
        Self {
            founder,
            founded,
            steps,
            by,
            on,
            rank: BTreeMap::new(),
            struck: BTreeSet::new(),
        }
    }

    /// The acts that count if exactly the curbs `against` do: the least set, from the founder outwards.
    fn derive(&self, against: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut counts = BTreeSet::new();
        let mut empowered = vec![self.founder];
        while let Some(author) = empowered.pop() {
            for &i in listed(&self.by, &author) {
                if counts.contains(&i)
                    || self.struck.contains(&i)
                    || !self.may(&self.steps[i], &counts, against)
                {
                    continue;
                }
                counts.insert(i);
                if self.steps[i].is_grant() {
                    empowered.push(self.steps[i].target);
                }
            }
        }
        counts
    }

    /// Whether the author of `step` has the power for it.
    fn may(&self, step: &Step, counts: &BTreeSet<usize>, against: &BTreeSet<usize>) -> bool {
        let on_author = listed(&self.on, &step.author);
        let curbs: Vec<&Step> = on_author
            .iter()
            .filter(|i| against.contains(i))
            .map(|i| &self.steps[*i])
            .filter(|curb| self.blocks(curb, step))
            .collect();
        if curbs.iter().any(|curb| curb.is_removal()) {
            return false;
        }
        self.power(step.author, counts, &curbs)
            .is_some_and(|from| from <= step.seq)
    }

    /// The first index from which on `site` is an admin, given `curbs` on it.
    fn power(&self, site: SiteId, counts: &BTreeSet<usize>, curbs: &[&Step]) -> Option<u64> {
        let mut admitted = site == self.founder;
        let mut first = admitted.then_some(0).filter(|from| stands(*from, curbs));
        for i in listed(&self.on, &site)
            .iter()
            .filter(|i| counts.contains(i))
        {
            let from = match self.steps[*i].what {
                What::Admit(role) => {
                    admitted = true;
                    (role == Role::Admin).then_some(0)
                }
                What::Role {
                    role: Role::Admin,
                    from,
                } => Some(from),
                What::Role { .. } | What::Remove { .. } => None,
            };
            if let Some(from) = from.filter(|from| stands(*from, curbs)) {
                first = Some(first.map_or(from, |known| known.min(from)));
            }
        }
        first.filter(|_| admitted)
    }

    /// Whether a curb on the author of `step` concerns this step of it.
    fn blocks(&self, curb: &Step, step: &Step) -> bool {
        if step.is_removal() && step.target == curb.author {
            return curb.is_removal() && self.rank_of(&curb.author) < self.rank_of(&step.author);
        }
        curb.curbs_from().is_some_and(|from| from <= step.seq)
    }

    fn decide(&mut self) -> BTreeSet<usize> {
        self.struck.clear();
        loop {
            let (sure, possible) = self.bounds();
            if sure == possible {
                return self.derive(&sure);
            }
            let open = possible.difference(&sure).copied().collect();
            let losers = self.losers(&open, &self.derive(&sure));
            self.struck.extend(losers);
        }
    }

    /// The curbs that surely count and those that possibly count.
    fn bounds(&self) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let mut sure = BTreeSet::new();
        loop {
            let possible = self.curbs(&self.derive(&sure));
            let next = self.curbs(&self.derive(&possible));
            if next == sure {
                return (sure, possible);
            }
            sure = next;
        }
    }

    fn curbs(&self, counts: &BTreeSet<usize>) -> BTreeSet<usize> {
        counts
            .iter()
            .copied()
            .filter(|i| self.steps[*i].curbs_from().is_some())
            .collect()
    }

    /// What to strike of the curbs in `open`: never nothing.
    fn losers(&self, open: &BTreeSet<usize>, possible: &BTreeSet<usize>) -> BTreeSet<usize> {
        let (mut down, mut up) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        for i in possible
            .iter()
            .filter(|i| open.contains(i) || self.steps[**i].is_grant())
        {
            let step = &self.steps[*i];
            down.entry(step.author).or_default().push(step.target);
            up.entry(step.target).or_default().push(step.author);
        }
        let authors: BTreeSet<SiteId> = open.iter().map(|i| self.steps[*i].author).collect();
        let (mut seen, mut losers) = (BTreeSet::new(), BTreeSet::new());
        for author in authors {
            if seen.contains(&author) {
                continue;
            }
            let back = reach(&up, author);
            let knot: BTreeSet<SiteId> =
                reach(&down, author).intersection(&back).copied().collect();
            let inside: Vec<usize> = open
                .iter()
                .copied()
                .filter(|i| {
                    let step = &self.steps[*i];
                    step.author != step.target
                        && knot.contains(&step.author)
                        && knot.contains(&step.target)
                })
                .collect();
            let senior = inside
                .iter()
                .map(|i| self.rank_of(&self.steps[*i].author))
                .min();
            let junior = |i: &&usize| Some(self.rank_of(&self.steps[**i].author)) != senior;
            if inside.iter().any(|i| junior(&i)) {
                losers.extend(inside.iter().filter(junior));
            } else {
                losers.extend(&inside);
            }
            seen.extend(knot);
        }
        if losers.is_empty() {
            open.clone()
        } else {
            losers
        }
    }

    fn rank_of(&self, site: &SiteId) -> usize {
        self.rank.get(site).copied().unwrap_or(usize::MAX)
    }

    /// Ranks the sites of the first tree, then those that only the second knows.
    fn rank(&mut self, trees: [&BTreeMap<SiteId, Place>; 2]) {
        self.rank.clear();
        for tree in trees {
            let mut sites: Vec<_> = tree
                .iter()
                .map(|(site, at)| (at.depth, at.since, *site))
                .collect();
            sites.sort_unstable();
            for (_, _, site) in sites {
                let next = self.rank.len();
                self.rank.entry(site).or_insert(next);
            }
        }
    }

    /// The tree of the admissions in `counts`, level by level. Of several admissions of one site from
    /// the same level, the earliest counts, then that by the smaller SiteId.
    fn tree(&self, counts: &BTreeSet<usize>) -> BTreeMap<SiteId, Place> {
        let place = |depth, since, admission| Place {
            depth,
            since,
            admission,
            role: Role::Member,
        };
        let mut tree = BTreeMap::from([(self.founder, place(0, self.founded, None))]);
        let mut level = vec![self.founder];
        for depth in 1.. {
            let mut next: BTreeMap<SiteId, usize> = BTreeMap::new();
            for i in level.iter().flat_map(|author| listed(&self.by, author)) {
                let step = &self.steps[*i];
                if !counts.contains(i)
                    || !matches!(step.what, What::Admit(_))
                    || tree.contains_key(&step.target)
                {
                    continue;
                }
                let key = |i: usize| {
                    (
                        self.steps[i].iat,
                        self.steps[i].author,
                        self.steps[i].seq,
                        i,
                    )
                };
                let best = next.entry(step.target).or_insert(*i);
                if key(*i) < key(*best) {
                    *best = *i;
                }
            }
            if next.is_empty() {
                break;
            }
            level = next.keys().copied().collect();
            tree.extend(
                next.into_iter()
                    .map(|(site, i)| (site, place(depth, self.steps[i].iat, Some(i)))),
            );
        }
        for (site, at) in &mut tree {
            at.role = self.role(*site, at.admission, counts);
        }
        tree
    }

    /// The role that stands at the end: admin by any grant that no curb follows, else the last word.
    fn role(&self, site: SiteId, admission: Option<usize>, counts: &BTreeSet<usize>) -> Role {
        let on_site = || {
            listed(&self.on, &site)
                .iter()
                .filter(|i| counts.contains(i))
                .map(|i| &self.steps[*i])
        };
        let curbs: Vec<&Step> = on_site()
            .filter(|step| step.curbs_from().is_some() && !step.is_removal())
            .collect();
        if self.power(site, counts, &curbs).is_some() {
            return Role::Admin;
        }
        let words = on_site().filter_map(|step| match step.what {
            What::Role { role, .. } if role != Role::Admin => Some((step.curbs_from(), role)),
            _ => None,
        });
        let admitted_as = admission.map(|i| self.steps[i].what);
        match (words.max(), admitted_as) {
            (Some((_, role)), _) | (None, Some(What::Admit(role))) => role,
            (None, _) => Role::Member,
        }
    }
}

/// A grant stands from its index on while no curb begins there or later.
fn stands(from: u64, curbs: &[&Step]) -> bool {
    curbs
        .iter()
        .all(|curb| curb.curbs_from().is_none_or(|curbed| curbed < from))
}

fn listed<'m>(lists: &'m BTreeMap<SiteId, Vec<usize>>, site: &SiteId) -> &'m [usize] {
    lists.get(site).map_or(&[], Vec::as_slice)
}

/// Everything that can be reached from `start`, itself included.
fn reach(edges: &BTreeMap<SiteId, Vec<SiteId>>, start: SiteId) -> BTreeSet<SiteId> {
    let mut reached = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(site) = open.pop() {
        for next in edges.get(&site).into_iter().flatten() {
            if reached.insert(*next) {
                open.push(*next);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests;
