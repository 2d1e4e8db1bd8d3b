//! The first step: the log is followed, and what is for us is found and opened.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Followed, Found, Head, Incoming, Ledger, Opened, Reader,
    evidence::{nodes_of, two_histories},
    is_rotation,
};
use crate::{
    audit::fork::ForkProof,
    circle::{self, SealContext},
    id::{CircleId, Digest, SiteId},
    keys::pairwise_circles,
    kinds::Kind,
    log::Frontier,
    publication::Publication,
    record::View,
};

impl Reader<'_> {
    /// Follows the log and finds the records that are for us. `held`: the membership records that are stored already.
    pub fn open<L: Ledger>(
        &self,
        incoming: Incoming,
        held: &[View],
        ledger: &L,
    ) -> Result<Opened, L::Error> {
        let mut opened = Opened {
            found: Vec::new(),
            site: None,
            head: None,
            nodes: Vec::new(),
            publications: Vec::new(),
            feed: None,
            pull: BTreeSet::new(),
            granted: BTreeMap::new(),
            gap: false,
            contradiction: None,
            returned: false,
            cosigned: None,
            forks: Vec::new(),
            refused: Vec::new(),
            dropped: Vec::new(),
            membership: None,
        };
        match incoming {
            Incoming::Publications { site, run } => {
                opened.site = Some(site);
                opened.head = ledger.head(&site)?;
                let mut run = run.into_iter().peekable();
                while let Some(publication) = run.next() {
                    if !self.follow(&mut opened, &site, &publication, ledger)? {
                        break;
                    }
                    self.open_boxes(&mut opened, &publication, ledger)?;
                    // What comes after new keys is opened and checked with them: it is asked for again.
                    if publication.plain.iter().any(is_rotation) && run.peek().is_some() {
                        opened.gap = true;
                        break;
                    }
                }
                if opened.publications.is_empty() {
                    opened.head = None;
                }
            }
            Incoming::Feed {
                issuer,
                circle,
                page,
            } => {
                opened.site = Some(issuer);
                let after = page.after();
                let (begin, steps) = page.into_steps();
                let mut ends = Vec::with_capacity(steps.len());
                for (feed_seq, view, end) in steps {
                    ends.push(end);
                    opened.found.push(Found {
                        author: Some(issuer),
                        via: Some(circle),
                        feed_seq: Some(feed_seq),
                        view,
                    });
                }
                opened.feed = Some(Followed {
                    circle,
                    after,
                    begin,
                    ends,
                });
            }
            Incoming::Checkpoint {
                site,
                checkpoint,
                by,
            } => {
                opened.site = Some(site);
                self.compare(&mut opened, &site, checkpoint, by, ledger)?;
            }
            Incoming::Fork { site, proof } => opened.forks.push((site, *proof)),
            Incoming::Returned { views } => {
                opened.returned = true;
                opened.found = views
                    .into_iter()
                    .map(|view| Found {
                        author: Some(self.me),
                        via: None,
                        feed_seq: None,
                        view,
                    })
                    .collect();
            }
            Incoming::Membership { mut views } => {
                // Gossip brings most of it first; what is held was checked.
                views.retain(|view| !held.contains(view));
                if !views.is_empty() {
                    let all: Vec<View> = held.iter().chain(&views).cloned().collect();
                    opened.membership = Some(self.membership.next(&self.mesh, &all).0);
                }
                opened.found = views
                    .into_iter()
                    .map(|view| Found {
                        author: None,
                        via: None,
                        feed_seq: None,
                        view,
                    })
                    .collect();
            }
        }
        Ok(opened)
    }

    /// Extends the log by one publication. False if it does not continue what we hold.
    fn follow<L: Ledger>(
        &self,
        opened: &mut Opened,
        site: &SiteId,
        publication: &Publication,
        ledger: &L,
    ) -> Result<bool, L::Error> {
        let old = opened
            .head
            .as_ref()
            .map(|head| head.frontier.clone())
            .unwrap_or_default();
        if publication.from() > old.size() {
            opened.gap = true;
            return Ok(false);
        }
        if publication.size() <= old.size() {
            let checkpoint = publication.checkpoint.clone();
            let fits = self.compare(opened, site, checkpoint, 0, ledger)?;
            if !fits {
                opened.contradiction = Some(two_histories(publication.size()));
            }
            return Ok(fits);
        }
        // Where it overlaps what we hold, both must give the same tree.
        let mut reached = publication.frontier.clone();
        let overlap = (old.size() - publication.from()) as usize;
        let (known, new) = publication.leaf_hashes.split_at(overlap);
        for leaf in known {
            reached.append(*leaf, &mut |_, _, _| {});
        }
        if reached != old {
            let held = opened.head.as_ref().map(|head| &head.checkpoint);
            let proof = held.and_then(|held| {
                let nodes = nodes_of(publication);
                let keys = self.membership.keys_of(site)?.views();
                ForkProof::prefix(&keys, held, &publication.checkpoint, &nodes)
            });
            let proof = proof.filter(|proof| proof.verify().is_ok());
            opened.forks.extend(proof.map(|proof| (*site, proof)));
            opened.contradiction = Some(two_histories(old.size()));
            return Ok(false);
        }
        self.append(opened, site, &mut reached, new, ledger)?;
        opened.head = Some(Head {
            frontier: reached,
            checkpoint: publication.checkpoint.clone(),
        });
        opened
            .publications
            .push((publication.from(), publication.bytes().to_vec()));
        Ok(true)
    }

    fn append<L: Ledger>(
        &self,
        opened: &mut Opened,
        site: &SiteId,
        frontier: &mut Frontier,
        leaves: &[Digest],
        ledger: &L,
    ) -> Result<(), L::Error> {
        for leaf in leaves {
            let seq = frontier.size();
            if ledger.held(site, seq)?.is_some_and(|held| held != *leaf) {
                opened.dropped.push(seq);
            }
            let nodes = &mut opened.nodes;
            frontier.append(*leaf, &mut |level, index, hash| {
                nodes.push((level, index, hash))
            });
        }
        Ok(())
    }

    /// Opens what in a publication is for us.
    fn open_boxes<L: Ledger>(
        &self,
        opened: &mut Opened,
        publication: &Publication,
        ledger: &L,
    ) -> Result<(), L::Error> {
        let site = publication.site;
        for view in &publication.plain {
            opened.found.push(Found {
                author: Some(site),
                via: Some(CircleId::MESH_WIDE),
                feed_seq: None,
                view: view.clone(),
            });
        }
        if publication.sealed.is_empty() {
            return Ok(());
        }
        let Some(keys) = self.membership.keys_of(&site) else {
            return Ok(());
        };
        // As the author sealed it; to which key of ours depends on how much of our log it knew.
        let theirs = keys.operating_keys_at(publication.from());
        let their_box = theirs.unwrap_or_else(|| keys.current()).boxed;
        let pairs: BTreeSet<CircleId> =
            pairwise_circles(self.keys, &their_box, &self.mesh, &site, &self.me).collect();
        let boxes = publication.sealed.iter().filter_map(|sealed| {
            let circle = CircleId::from_slice(&sealed.circle)?;
            Some((circle, sealed))
        });
        // Grants first: they may open what stands beside them.
        let (first, groups): (Vec<_>, Vec<_>) =
            boxes.partition(|(circle, _)| pairs.contains(circle));
        for (circle, sealed) in first.into_iter().chain(groups) {
            let is_pairwise = pairs.contains(&circle);
            let news = (circle, 0)..=(circle, u64::MAX);
            if !is_pairwise
                && circle != CircleId::MESH_WIDE
                && opened.granted.range(news).next().is_none()
                && !ledger.is_granted(&site, &circle)?
            {
                continue;
            }
            if sealed.ciphertext.is_empty() {
                opened.pull.insert(circle);
                continue;
            }
            let context = SealContext {
                mesh: self.mesh,
                site,
                circle,
                epoch: sealed.epoch,
                from: publication.from(),
                size: publication.size(),
            };
            let views = match opened.granted.get(&(circle, sealed.epoch)) {
                _ if is_pairwise => {
                    circle::open_pairwise(self.keys, &their_box, &context, sealed).ok()
                }
                Some(key) => circle::open_group(key, &context, sealed).ok(),
                None => ledger
                    .epoch_key(&site, &circle, sealed.epoch)?
                    .and_then(|key| circle::open_group(&key, &context, sealed).ok()),
            };
            let Some(views) = views else {
                opened.pull.insert(circle);
                continue;
            };
            for view in views {
                if is_pairwise && is_grant(&view) {
                    let grant = keys.verify(view.clone()).ok();
                    let grant = grant.and_then(|record| self.granted(&record));
                    opened
                        .granted
                        .extend(grant.map(|(circle, epoch, key)| ((circle, epoch), key)));
                }
                opened.found.push(Found {
                    author: Some(site),
                    via: Some(circle),
                    feed_seq: None,
                    view,
                });
            }
        }
        Ok(())
    }
}

fn is_grant(view: &View) -> bool {
    let parsed = view.clone().parse();
    parsed.is_ok_and(|parsed| parsed.claims().kind == Kind::Grant)
}
