//! The last step: verified records are compared with the log and with what is held, and what changes is put together.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{Found, Ledger, Opened, Reader, Refused, Standing, Taken, TwoFaced, is_rotation};
use crate::{
    id::{CircleId, Digest, ObjectId, SiteId},
    kinds::{Grant, Kind, Typed as _},
    limits,
    record::{RecordError, Verified},
};

impl Reader<'_> {
    /// Compares verified records with the log and says what changes.
    pub fn settle<L: Ledger>(
        &self,
        mut opened: Opened,
        results: Vec<Result<Verified, RecordError>>,
        ledger: &L,
    ) -> Result<Taken, L::Error> {
        let mut taken = Taken {
            refused: std::mem::take(&mut opened.refused),
            ..Taken::default()
        };
        if let (Some(issuer), Some(feed)) = (opened.site, &opened.feed)
            && feed.after > ledger.feed_position(&issuer, &feed.circle)?
        {
            // The page before this one was not taken to its end; both come again, in order.
            return Ok(taken);
        }
        let new_leaves: BTreeMap<u64, Digest> = opened
            .nodes
            .iter()
            .filter(|(level, _, _)| *level == 0)
            .map(|(_, index, hash)| (*index, *hash))
            .collect();
        let mut newest: BTreeMap<(SiteId, Kind, ObjectId), u64> = BTreeMap::new();
        for seq in &opened.dropped {
            // The log has another leaf where its author signed this record.
            if let Some(site) = opened.site
                && let Some(view) = ledger.view(&site, *seq)?
                && let Some(keys) = self.membership.keys_of(&site)
                && let Ok(record) = keys.verify(view)
            {
                let proof = self.misplaced(&record, &opened, ledger)?;
                taken.forks.extend(proof.map(|proof| (site, proof)));
            }
        }
        let mut arrived: BTreeMap<CircleId, BTreeSet<u64>> = BTreeMap::new();
        let mut fed: BTreeMap<(SiteId, CircleId, u64), u64> = BTreeMap::new();
        let mut feed_end = opened.feed.as_ref().map(|feed| feed.begin);
        for (n, (found, result)) in opened.found.iter().zip(results).enumerate() {
            let verdict = match result {
                // Of what is given back only what our log names counts; it has no other place to be in.
                Ok(record) if opened.returned => {
                    let claims = record.claims();
                    let leaf = ledger.leaf(&claims.iss, claims.seq)?;
                    match leaf == Some(record.leaf_hash()) {
                        true => Ok(record),
                        false => Err(Misfit::Refused("it is no leaf of our log".into())),
                    }
                }
                Ok(record) => match self.place(found, &record, &new_leaves, ledger)? {
                    Err(misfit @ Misfit::Elsewhere(_)) => {
                        let proof = self.misplaced(&record, &opened, ledger)?;
                        let site = record.claims().iss;
                        taken.forks.extend(proof.map(|proof| (site, proof)));
                        Err(misfit)
                    }
                    placed => placed.map(|()| record),
                },
                Err(RecordError::WrongKey { kid, .. })
                    if found.via.is_some() && !self.knows_key(&opened, found, &kid) =>
                {
                    Err(Misfit::KeyUnknown)
                }
                Err(error) => Err(Misfit::Refused(error.to_string())),
            };
            let verdict = match verdict {
                Ok(record) => match self.stands_alone(found, &record, &fed, ledger)? {
                    None => Ok(record),
                    Some(evidence) => {
                        let proof = self.two_faced(&evidence, &taken.records, ledger)?;
                        taken
                            .forks
                            .extend(proof.map(|proof| (evidence.issuer, proof)));
                        let (at, other) = (evidence.feed_seq, evidence.first);
                        taken.two_faced.push(evidence);
                        Err(Misfit::Refused(format!(
                            "its author signed two records for position {at} of one feed, the other at leaf {other}"
                        )))
                    }
                },
                misfit => misfit,
            };
            match verdict {
                Ok(record) => {
                    if let Some(via) = found.via
                        && let Some(feed_seq) = record.feed_seq(&via)
                    {
                        arrived.entry(via).or_default().insert(feed_seq);
                        let claims = record.claims();
                        fed.insert((claims.iss, via, feed_seq), claims.seq);
                    }
                    let claims = record.claims();
                    let key = (claims.iss, claims.kind.clone(), claims.id);
                    let known = match newest.get(&key) {
                        Some(seq) => Some(*seq),
                        None => ledger.current(&key.0, &key.1, &key.2)?,
                    };
                    // The same again, through another circle, shows more of it.
                    if known.is_none_or(|seq| claims.seq >= seq) {
                        newest.insert(key, claims.seq);
                    }
                    self.note_grant(&record, &mut taken);
                    taken.records.push(record);
                }
                Err(Misfit::Void) => {
                    // Not a refusal, and no step in its feed: should the removal turn out not to count, it comes again.
                    if opened.feed.is_some() {
                        break;
                    }
                    continue;
                }
                Err(Misfit::LeafUnknown | Misfit::KeyUnknown) if found.via.is_some() => {
                    // The log, or the rotation in it, has to come first; the rest of a feed waits for it.
                    taken.gap = found.author;
                    if opened.feed.is_some() {
                        break;
                    }
                    if let Some(via) = found.via {
                        taken.pull.extend(found.author.map(|site| (site, via)));
                    }
                    continue;
                }
                Err(Misfit::LeafUnknown) => {
                    taken.gap = claimed(found);
                    continue;
                }
                Err(misfit) => taken.refused.push(Refused {
                    site: found.author.or_else(|| claimed(found)).unwrap_or(self.me),
                    seq: found.view.clone().parse().ok().map(|p| p.claims().seq),
                    reason: misfit.to_string(),
                }),
            }
            feed_end = opened.feed.as_ref().map(|feed| feed.ends[n]);
        }
        let is_newest = |record: &&Verified| {
            let claims = record.claims();
            let key = (claims.iss, claims.kind.clone(), claims.id);
            claims.kind == Kind::Grant && newest.get(&key) == Some(&claims.seq)
        };
        taken.standings = taken
            .records
            .iter()
            .filter(is_newest)
            .filter_map(|record| self.standing(record))
            .collect();
        taken.fed = fed
            .into_iter()
            .map(|((issuer, circle, at), seq)| (issuer, circle, at, seq))
            .collect();
        taken.current = newest
            .into_iter()
            .map(|((site, kind, id), seq)| (site, kind, id, seq))
            .collect();
        taken.forks.append(&mut opened.forks);
        if let Some(site) = opened.site {
            self.advance(&site, &opened, &arrived, feed_end, &mut taken, ledger)?;
            taken.dropped = opened.dropped.iter().map(|seq| (site, *seq)).collect();
            if opened.gap {
                taken.gap = Some(site);
            }
            taken.contradiction = opened.contradiction.take().map(|how| (site, how));
            let cosigned = opened.cosigned.take();
            taken
                .cosigned
                .extend(cosigned.map(|(checkpoint, by)| (site, checkpoint, by)));
            if let Some((site, how)) = &taken.contradiction {
                taken.refused.push(Refused {
                    site: *site,
                    seq: None,
                    reason: how.clone(),
                });
            }
            taken
                .pull
                .extend(opened.pull.iter().map(|circle| (site, *circle)));
            if !opened.nodes.is_empty() {
                taken.head = opened.head.map(|head| (site, head));
                taken.nodes = opened.nodes;
                taken.publications = opened.publications;
            }
        }
        Ok(taken)
    }

    /// Whether its author is known to have, or to have had, a record key with this fingerprint. If not, a rotation may be on its way.
    fn knows_key(&self, opened: &Opened, found: &Found, kid: &str) -> bool {
        let keys = opened.keys_for(found, self.membership);
        keys.is_none_or(|keys| keys.names_record_key(kid) || keys.root().fingerprint() == kid)
    }

    /// Evidence that another record stands where this one says it does.
    fn stands_alone<L: Ledger>(
        &self,
        found: &Found,
        record: &Verified,
        fed: &BTreeMap<(SiteId, CircleId, u64), u64>,
        ledger: &L,
    ) -> Result<Option<TwoFaced>, L::Error> {
        let (issuer, second) = (record.claims().iss, record.claims().seq);
        let Some((circle, feed_seq)) = found
            .via
            .and_then(|circle| Some((circle, record.feed_seq(&circle)?)))
        else {
            return Ok(None);
        };
        let first = match fed.get(&(issuer, circle, feed_seq)) {
            Some(seq) => Some(*seq),
            None => ledger.fed(&issuer, &circle, feed_seq)?,
        };
        Ok(first
            .filter(|first| *first != second)
            .map(|first| TwoFaced {
                issuer,
                circle,
                feed_seq,
                first,
                second,
                view: record.view().clone(),
            }))
    }

    /// New feed positions: a feed answer counts by order, records from gossip as far as they are contiguous.
    fn advance<L: Ledger>(
        &self,
        site: &SiteId,
        opened: &Opened,
        arrived: &BTreeMap<CircleId, BTreeSet<u64>>,
        feed_end: Option<u64>,
        taken: &mut Taken,
        ledger: &L,
    ) -> Result<(), L::Error> {
        if let (Some(feed), Some(end)) = (&opened.feed, feed_end) {
            if end > feed.after.max(ledger.feed_position(site, &feed.circle)?) {
                taken.feeds.push((*site, feed.circle, end));
            }
            return Ok(());
        }
        for (circle, seqs) in arrived {
            let old = ledger.feed_position(site, circle)?;
            let mut position = old;
            while seqs.contains(&(position + 1)) {
                position += 1;
            }
            if position > old {
                taken.feeds.push((*site, *circle, position));
            }
            if seqs.last().is_some_and(|last| *last > position) {
                taken.pull.push((*site, *circle));
            }
        }
        Ok(())
    }

    /// We hold its log as far as it goes, or will.
    fn is_followed(&self, site: &SiteId) -> bool {
        *site == self.me || self.membership.member(site).is_some()
    }

    /// Does a verified record belong where it came from?
    fn place<L: Ledger>(
        &self,
        found: &Found,
        record: &Verified,
        new_leaves: &BTreeMap<u64, Digest>,
        ledger: &L,
    ) -> Result<Result<(), Misfit>, L::Error> {
        let claims = record.claims();
        if claims.mesh.is_some_and(|mesh| mesh != self.mesh) {
            return Ok(Err(Misfit::Refused("it belongs to another mesh".into())));
        }
        if claims.kind.is_plain() {
            // In the set whoever is out: what counts of it, all of the set says.
            if self.membership.acts_of(&claims.iss) >= limits::ACTS_PER_SITE_MAX {
                return Ok(Err(Misfit::Refused(
                    "its author has acted too often".into(),
                )));
            }
        } else if self.membership.voids(&claims.iss, claims.seq) {
            return Ok(Err(Misfit::Void));
        }
        if let Some(via) = found.via {
            match (record.feed_seq(&via), found.feed_seq) {
                (None, _) => {
                    return Ok(Err(Misfit::Refused(
                        "it does not name the circle it came through".into(),
                    )));
                }
                (Some(is), Some(should)) if is != should => {
                    return Ok(Err(Misfit::Refused(format!(
                        "it claims position {is} of the feed, at position {should}"
                    ))));
                }
                _ => {}
            }
        } else if !claims.kind.is_plain() {
            return Ok(Err(Misfit::Refused(
                "only keys and membership records come this way".into(),
            )));
        }
        let leaf = match new_leaves.get(&claims.seq) {
            Some(leaf) => Some(*leaf),
            None => ledger.leaf(&claims.iss, claims.seq)?,
        };
        Ok(match leaf {
            Some(leaf) if leaf == record.leaf_hash() => Ok(()),
            Some(_) => Err(Misfit::Elsewhere(
                "the log holds another record at its index",
            )),
            // Membership records may come before their log does; `append` compares them later. Of two for one leaf
            // everybody keeps the same one.
            // But keys count once the log that is followed names them: who has the root key alone rotates nothing.
            None if found.via.is_none()
                && is_rotation(record.view())
                && self.is_followed(&claims.iss) =>
            {
                Err(Misfit::LeafUnknown)
            }
            None if found.via.is_none() => match ledger.held(&claims.iss, claims.seq)? {
                Some(held) if held < record.leaf_hash() => Err(Misfit::Elsewhere(
                    "its author signed another record for its index",
                )),
                _ => Ok(()),
            },
            None => Err(Misfit::LeafUnknown),
        })
    }

    fn note_grant(&self, record: &Verified, taken: &mut Taken) {
        if let Some((circle, epoch, key)) = self.granted(record) {
            let issuer = record.claims().iss;
            taken.granted.push((issuer, circle, epoch, key));
            taken.pull.push((issuer, circle));
        }
    }

    /// What a grant says about where we stand.
    fn standing(&self, record: &Verified) -> Option<Standing> {
        let grant = Grant::read(record.fields()).ok()?;
        let claims = record.claims();
        let ended = claims.retired.then(|| {
            // Who does not say gets what does least harm.
            grant.on_end.known().copied().unwrap_or_default()
        });
        (*grant.to.known()? == self.me).then_some(Standing {
            issuer: claims.iss,
            circle: *grant.circle.known()?,
            ended,
            grant: record.core_digest(),
        })
    }
}

fn claimed(found: &Found) -> Option<SiteId> {
    found
        .view
        .clone()
        .parse()
        .ok()
        .map(|parsed| parsed.claims().iss)
}

/// Why a verified record has no place.
#[derive(Debug)]
enum Misfit {
    LeafUnknown,
    /// No `keys` record that is here lists the key that its header names.
    KeyUnknown,
    /// Its author was put out before it.
    Void,
    /// Something else stands where it says it does.
    Elsewhere(&'static str),
    Refused(String),
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeafUnknown => f.write_str("its leaf is not in the log that we hold"),
            Self::KeyUnknown => f.write_str("no keys record that is here lists its key"),
            Self::Void => f.write_str("its author was removed before"),
            Self::Elsewhere(why) => f.write_str(why),
            Self::Refused(why) => f.write_str(why),
        }
    }
}
