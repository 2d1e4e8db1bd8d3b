//! One log of a bundle: its keys, checkpoints and tree first, then its records.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    super::{
        super::{
            TrustAnchors,
            fork::ForkProof,
            place::parts,
            record::utc,
            report::{Claim, Verdict, counted, printable},
        },
        BATCH, Change, Check, Entry, Examine, Examined, File, Finding, Item, LogFile, LogSummary,
        Name, Reason, Seen, Tile, Tree, Values,
        chains::{Feeds, Remarks, Revisions, Twice},
        examine::{Facts, Mark, Part},
        late::ByCore,
        manifest::WithheldLog,
        seen::{Sightings, names, seen},
        tree::TILE_WIDTH,
    },
    KeptLog, Notes, Tally,
};
use crate::{
    id::{Digest, ObjectId, SiteId},
    keys::{KeyHistory, PublicKey},
    kinds::Kind,
    note::Checkpoint,
    record::View,
};

/// One log, while its files come and afterwards.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) site: SiteId,
    /// Filled while keys, checkpoints and tiles come.
    check: Check,
    /// The same, once it is complete and records are examined with it.
    ready: Option<Arc<Check>>,
    older: Vec<Checkpoint>,
    leaves: Vec<Digest>,
    /// Tiles above the leaves, until the tree is there to compare them with.
    upper: Vec<(Tile, Vec<u8>)>,
    keys: Vec<Item>,
    key_views: Vec<View>,
    waiting: Vec<Item>,
    claims: Vec<Claim>,
    tallies: [Tally; 4],
    revisions: Revisions,
    revision_remarks: Remarks,
    feeds: Feeds,
    sightings: Sightings,
    steps: Vec<Seen>,
    /// A bit for each leaf that is shown.
    shown: Vec<u64>,
    shown_count: u64,
    keys_count: u64,
    claimed: Option<(u64, u64)>,
    sums: (u64, u64),
    before: BTreeMap<(Kind, ObjectId), Fields>,
    pub(super) changes: Vec<Entry>,
}

type Fields = BTreeMap<String, Option<Value>>;

impl Log {
    pub(super) fn new(site: SiteId, keep: Option<String>, late: Arc<ByCore>) -> Self {
        Self {
            site,
            check: Check {
                site: Some(site),
                keep,
                late,
                ..Check::default()
            },
            ready: None,
            older: Vec::new(),
            leaves: Vec::new(),
            upper: Vec::new(),
            keys: Vec::new(),
            key_views: Vec::new(),
            waiting: Vec::new(),
            claims: Vec::new(),
            tallies: Default::default(),
            revisions: Revisions::default(),
            revision_remarks: Remarks::default(),
            feeds: Feeds::default(),
            sightings: Sightings::default(),
            steps: Vec::new(),
            shown: Vec::new(),
            shown_count: 0,
            keys_count: 0,
            claimed: None,
            sums: (0, 0),
            before: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.is_some()
    }

    fn check(&self) -> &Check {
        self.ready.as_deref().unwrap_or(&self.check)
    }

    pub(super) fn size(&self) -> u64 {
        let checkpoint = self.check().checkpoint.as_ref();
        checkpoint.map_or(0, Checkpoint::size)
    }

    /// True if records wait for a whole batch and the next file is of another one.
    pub(super) fn is_full(&self, next: LogFile) -> bool {
        let (LogFile::Record(leaf) | LogFile::RecordProof(leaf)) = next else {
            return true;
        };
        self.waiting.len() >= BATCH && self.waiting.last().is_some_and(|item| item.leaf != leaf)
    }

    pub(super) fn take_file(&mut self, part: LogFile, file: File) -> Result<(), String> {
        match part {
            LogFile::Older(size) => {
                let checkpoint = Checkpoint::parse(&file.bytes).map_err(|why| why.to_string())?;
                if checkpoint.size() != size {
                    return Err("its name says another size".into());
                }
                self.older.push(checkpoint);
            }
            LogFile::Checkpoint => {
                let checkpoint = Checkpoint::parse(&file.bytes).map_err(|why| why.to_string())?;
                self.check.checkpoint = Some(checkpoint);
            }
            LogFile::Tile(tile) => self.tile(tile, file.bytes)?,
            LogFile::Keys(leaf) | LogFile::KeysProof(leaf) => {
                add(&mut self.keys, leaf, matches!(part, LogFile::Keys(_)), file);
            }
            LogFile::Record(leaf) | LogFile::RecordProof(leaf) => {
                add(
                    &mut self.waiting,
                    leaf,
                    matches!(part, LogFile::Record(_)),
                    file,
                );
            }
        }
        Ok(())
    }

    fn tile(&mut self, tile: Tile, bytes: Vec<u8>) -> Result<(), String> {
        if bytes.len() != usize::from(tile.width) * 32 {
            return Err("its length is not that of its hashes".into());
        }
        if tile.level > 0 {
            self.upper.push((tile, bytes));
            return Ok(());
        }
        if self.leaves.len() as u64 != tile.index * TILE_WIDTH as u64 {
            return Err("the tile before it is missing or partial".into());
        }
        self.leaves
            .extend(bytes.chunks(32).filter_map(Digest::from_slice));
        Ok(())
    }

    /// Keys, checkpoints and tree are complete: judges them, before the first record.
    pub(super) fn prepare(
        &mut self,
        anchors: &TrustAnchors,
        outside: &[Checkpoint],
        notes: &mut Notes,
        run: &mut impl Examine,
    ) {
        self.claims.push(self.trusted(anchors));
        let keys = self.read_keys();
        self.claims.push(keys);
        let signed = self.read_checkpoint(anchors);
        self.claims.extend(signed);
        let tree = self.read_tree();
        self.claims.push(tree);
        let append_only = self.append_only(outside, notes);
        self.claims.push(append_only);
        let witnesses = self.witnesses(outside, anchors);
        self.claims.extend(witnesses);
        let leaves = self.check.tree.as_ref().map_or(0, Tree::size);
        self.shown = vec![0; leaves.div_ceil(64) as usize];
        let check = Arc::new(std::mem::take(&mut self.check));
        self.ready = Some(Arc::clone(&check));
        run.begin(check, std::mem::take(&mut self.keys));
        for examined in run.end() {
            self.take_in(examined, notes, "keys");
        }
        self.keys_count = self.shown_count;
    }

    fn trusted(&self, anchors: &TrustAnchors) -> Claim {
        const ID: &str = "trusted-author";
        let hex = self.site.hex();
        match anchors.trusts(&self.site) {
            true => Claim::proven(ID, format!("you trust this site, {hex}")),
            false => Claim::not_proven(
                ID,
                format!("you did not name this site, {hex}"),
                format!("a line in your trust anchors, if you trust it: site {hex}"),
            ),
        }
    }

    fn read_keys(&mut self) -> Claim {
        const ID: &str = "key-manifest";
        let views = self.keys.iter().filter_map(|item| item.record.as_ref());
        let views: Result<Vec<View>, _> = views.map(|file| View::decode(&file.bytes)).collect();
        let views = match views {
            Ok(views) => views,
            Err(why) => return Claim::refuted(ID, format!("a keys record cannot be read: {why}")),
        };
        let Some((manifest, rotations)) = views.split_first() else {
            let text = "the site's keys are not known";
            return Claim::not_proven(ID, text, "the site's key manifest, keys/0000000000.sdjwt");
        };
        let mut keys = match KeyHistory::from_manifest(manifest) {
            Ok((keys, _)) if keys.site() == self.site => keys,
            Ok((keys, _)) => {
                let text = format!(
                    "the key manifest is that of another site, {}",
                    keys.site().hex()
                );
                return Claim::refuted(ID, text);
            }
            Err(why) => {
                return Claim::refuted(ID, format!("the key manifest does not hold: {why}"));
            }
        };
        for rotation in rotations {
            let rotated = keys
                .verify(rotation.clone())
                .and_then(|record| keys.rotate(&record));
            if let Err(why) = rotated {
                return Claim::refuted(ID, format!("a key rotation does not hold: {why}"));
            }
        }
        let with = match rotations.len() {
            0 => String::new(),
            1 => ", and so is a later keys record".to_owned(),
            n => format!(", and so are {n} later keys records"),
        };
        self.check.keys = Some(keys);
        self.key_views = views;
        Claim::proven(
            ID,
            format!("its key manifest is signed by its root key{with}"),
        )
    }

    fn read_checkpoint(&mut self, anchors: &TrustAnchors) -> Vec<Claim> {
        const ID: &str = "checkpoint-signature";
        const MESH: &str = "trusted-mesh";
        let Some(checkpoint) = &self.check.checkpoint else {
            let text = "no checkpoint of the log is given";
            return vec![Claim::not_proven(ID, text, "log/checkpoint")];
        };
        let mesh = parts(checkpoint.origin()).filter(|(_, site)| *site == self.site);
        let Some((mesh, _)) = mesh else {
            let text = format!(
                "the checkpoint is of another log, {:?}",
                checkpoint.origin()
            );
            return vec![Claim::refuted(ID, text)];
        };
        self.check.mesh = Some(mesh);
        let size = checkpoint.size();
        let signature = match &self.check.keys {
            None => Claim::not_proven(
                ID,
                "the checkpoint's signature is not checked",
                "the site's key manifest",
            ),
            Some(keys) => match checkpoint.verify(&keys.current().log) {
                Ok(()) => Claim::proven(
                    ID,
                    format!("its log key signed the checkpoint of {size} leaves"),
                ),
                Err(why) => Claim::refuted(ID, format!("the checkpoint does not hold: {why}")),
            },
        };
        let named = if anchors.meshes().is_empty() {
            let missing = format!("a line in your trust anchors: mesh {}", mesh.hex());
            Claim::not_proven(
                MESH,
                format!("you named no mesh; the log is of {mesh}"),
                missing,
            )
            .optional()
        } else if anchors.meshes().contains(&mesh) {
            Claim::proven(
                MESH,
                format!("the log belongs to a mesh that you named: {mesh}"),
            )
        } else {
            Claim::refuted(
                MESH,
                format!(
                    "the log belongs to a mesh that you did not name: {}",
                    mesh.hex()
                ),
            )
        };
        vec![signature, named]
    }

    fn read_tree(&mut self) -> Claim {
        const ID: &str = "tree";
        let Some(checkpoint) = &self.check.checkpoint else {
            return Claim::not_proven(ID, "the leaves are not checked", "log/checkpoint");
        };
        let (size, held) = (checkpoint.size(), self.leaves.len() as u64);
        if held < size {
            let text = format!("{held} of {size} leaf hashes are given");
            return Claim::not_proven(ID, text, "the tiles of all leaves, log/tile/0/...");
        }
        if held > size {
            return Claim::refuted(
                ID,
                format!("{held} leaf hashes for a checkpoint of {size} leaves"),
            );
        }
        let tree = Tree::new(std::mem::take(&mut self.leaves));
        if tree.root_at(size) != Some(checkpoint.root()) {
            return Claim::refuted(
                ID,
                "the leaf hashes do not lead to the root that the checkpoint names",
            );
        }
        let mut there = std::mem::take(&mut self.upper).into_iter();
        let fits = tree
            .tiles()
            .filter(|(tile, _)| tile.level > 0)
            .all(|wanted| there.next() == Some(wanted));
        if !fits || there.next().is_some() {
            return Claim::refuted(ID, "the tiles above the leaves are not those of the log");
        }
        self.check.tree = Some(tree);
        Claim::proven(
            ID,
            format!("all {size} leaf hashes are there and lead to the checkpoint's root"),
        )
    }

    fn append_only(&self, outside: &[Checkpoint], notes: &mut Notes) -> Claim {
        const ID: &str = "append-only";
        let Some(newest) = &self.check.checkpoint else {
            return Claim::not_proven(ID, "no checkpoint is given", "log/checkpoint");
        };
        let outside = outside
            .iter()
            .filter(|other| parts(other.origin()).is_some_and(|(_, site)| site == self.site));
        let (mut sizes, mut open) = (vec![newest.size()], None);
        for other in self.older.iter().chain(outside) {
            if other.origin() != newest.origin() {
                return Claim::refuted(
                    ID,
                    format!("a checkpoint is of another log, {:?}", other.origin()),
                );
            }
            let signed = self
                .check
                .keys
                .as_ref()
                .map(|keys| other.verify(&keys.current().log));
            if let Some(Err(why)) = signed {
                let size = other.size();
                return Claim::refuted(
                    ID,
                    format!("the checkpoint of {size} leaves does not hold: {why}"),
                );
            }
            let found = match &self.check.tree {
                Some(tree) if other.size() <= newest.size() => tree.root_at(other.size()),
                _ if other.size() == newest.size() => Some(newest.root()),
                _ => None,
            };
            match found {
                Some(root) if root == other.root() => sizes.push(other.size()),
                Some(_) => {
                    let proof = match &self.check.tree {
                        Some(tree) if other.size() < newest.size() => {
                            ForkProof::prefix(&self.key_views, other, newest, tree)
                        }
                        _ => Some(ForkProof::same_size(&self.key_views, other, newest)),
                    };
                    let fork = proof.and_then(|proof| notes.fork(proof));
                    let text = fork.map_or_else(
                        || {
                            format!(
                                "the log does not begin with that of the checkpoint of {} leaves",
                                other.size()
                            )
                        },
                        |fork| fork.to_string(),
                    );
                    return Claim::refuted(ID, text);
                }
                None => open = Some(other.size()),
            }
        }
        if let Some(size) = open {
            return Claim::not_proven(
                ID,
                format!("the checkpoint of {size} leaves is not compared"),
                format!("a bundle whose log has at least {size} leaves, with all tiles"),
            );
        }
        sizes.sort_unstable();
        match sizes.as_slice() {
            [only] => Claim::proven(
                ID,
                format!("the one checkpoint given, of {only} leaves, contradicts no other"),
            ),
            [first, .., last] => Claim::proven(
                ID,
                format!(
                    "no leaf was removed or changed between {first} and {last} leaves: {} checkpoints agree",
                    sizes.len()
                ),
            ),
            [] => Claim::not_proven(ID, "no checkpoint is given", "log/checkpoint"),
        }
    }

    fn witnesses(&mut self, outside: &[Checkpoint], anchors: &TrustAnchors) -> Option<Claim> {
        const ID: &str = "witnesses";
        let newest = self.check.checkpoint.as_ref()?;
        let own: Vec<PublicKey> = match &self.check.keys {
            Some(keys) => keys.all().map(|keys| keys.witness).collect(),
            None => Vec::new(),
        };
        let outside = outside
            .iter()
            .filter(|other| other.origin() == newest.origin());
        for checkpoint in self.older.iter().chain([newest]).chain(outside) {
            if let Err(why) = self.sightings.add(checkpoint, anchors, &own) {
                return Some(Claim::refuted(
                    ID,
                    format!("a cosignature does not hold: {why}"),
                ));
            }
        }
        if let Some((place, larger, smaller)) = self.sightings.regress() {
            let name = names(anchors, std::iter::once(place));
            return Some(Claim::refuted(
                ID,
                format!(
                    "{name} cosigned {smaller} leaves after it had cosigned {larger}: its word counts for nothing"
                ),
            ));
        }
        let wanted = anchors.quorum().unwrap_or(1);
        self.steps = self.sightings.steps(wanted);
        let of_newest = self.sightings.of_newest(newest.size());
        if of_newest.len() >= wanted {
            let mut times: Vec<u64> = of_newest.iter().map(|(_, time)| *time).collect();
            times.sort_unstable_by_key(|time| std::cmp::Reverse(*time));
            let fresh = times.get(wanted - 1).copied().unwrap_or_default();
            let who = names(anchors, of_newest.iter().map(|(place, _)| *place));
            return Some(Claim::proven(
                ID,
                format!(
                    "{} of {} witnesses that you trust cosigned the newest checkpoint ({who}); at {} it was the newest that {wanted} of them knew",
                    of_newest.len(),
                    anchors.witnesses().len(),
                    utc(fresh)
                ),
            ));
        }
        let text = match self.sightings.witnesses() {
            0 => "no cosignature of a witness that you trust is given".to_owned(),
            _ => format!(
                "{} of the {wanted} witnesses that must agree cosigned the newest checkpoint",
                of_newest.len()
            ),
        };
        let missing = match anchors.witnesses() {
            [] => "witness lines in your trust anchors, and a checkpoint that they cosigned"
                .to_owned(),
            _ => format!(
                "a checkpoint of {} leaves that more of your witnesses cosigned",
                newest.size()
            ),
        };
        let claim = Claim::not_proven(ID, text, missing);
        Some(match anchors.quorum() {
            Some(_) => claim,
            None => claim.optional(),
        })
    }

    /// Lets the records that wait be examined; false if none waits.
    pub(super) fn begin(&mut self, run: &mut impl Examine) -> bool {
        let Some(check) = self.ready.as_ref().filter(|_| !self.waiting.is_empty()) else {
            return false;
        };
        run.begin(Arc::clone(check), std::mem::take(&mut self.waiting));
        true
    }

    /// Takes what was found out about a record.
    pub(super) fn take(&mut self, mut examined: Examined, notes: &mut Notes) {
        let of_kind = |facts: &Facts| facts.claims.kind == Kind::Keys;
        if examined.facts.as_ref().is_some_and(of_kind) {
            let text = "a keys record stands in records/, not in keys/".to_owned();
            let [.., inclusion] = &mut examined.marks;
            *inclusion = Mark::Refuted(text);
        }
        self.take_in(examined, notes, "records");
    }

    fn take_in(&mut self, examined: Examined, notes: &mut Notes, folder: &'static str) {
        let Examined {
            leaf,
            marks,
            facts,
            bytes,
            ..
        } = examined;
        let file = || {
            Name::Log(
                self.site,
                match folder {
                    "keys" => LogFile::Keys(leaf),
                    _ => LogFile::Record(leaf),
                },
            )
            .to_string()
        };
        for ((part, mark), tally) in Part::ALL.into_iter().zip(marks).zip(&mut self.tallies) {
            let (verdict, text, missing) = match mark {
                Mark::Holds => {
                    tally.add(Verdict::Proven, "", "");
                    continue;
                }
                Mark::Refuted(text) => (Verdict::Refuted, text, ""),
                Mark::Open { text, missing } => (Verdict::NotProven, text, missing),
            };
            let what = match &facts {
                Some(Facts { claims, .. }) => {
                    format!(
                        "leaf {leaf}, {} {} revision {}: {text}",
                        claims.kind, claims.id, claims.rev
                    )
                }
                None => format!("leaf {leaf}: {text}"),
            };
            tally.add(verdict, &what, missing);
            notes.add(Finding {
                claim: part.id(),
                verdict,
                file: file(),
                leaf: Some(leaf),
                text: printable(&what),
            });
        }
        if let Some(word) = self.shown.get_mut((leaf / 64) as usize) {
            *word |= 1 << (leaf % 64);
        }
        self.shown_count += 1;
        let Some(facts) = facts else { return };
        let iat = facts.claims.iat;
        self.claimed = Some(
            self.claimed
                .map_or((iat, iat), |(a, b)| (a.min(iat), b.max(iat))),
        );
        match facts.summed {
            Some(true) => self.sums.0 += 1,
            Some(false) => self.sums.1 += 1,
            None => {}
        }
        self.feeds.take(leaf, &facts.feeds);
        if let Some(remark) = self.revisions.take(&facts.claims, facts.core) {
            self.revision_remarks.push(remark);
        }
        if let Some(fields) = facts.fields
            && notes.keeps_change(bytes)
        {
            let file = file();
            self.change(facts.claims, fields, file);
        }
    }

    fn change(&mut self, claims: crate::record::Claims, fields: Fields, file: String) {
        let object = (claims.kind.clone(), claims.id);
        let before = self.before.remove(&object);
        let value =
            |fields: Option<&Fields>, slot: &str| match fields.map(|fields| fields.get(slot)) {
                None => Values::Absent,
                Some(None | Some(None)) => Values::Withheld,
                Some(Some(Some(Value::Null))) => Values::Unknown,
                Some(Some(Some(known))) => Values::Known(known.clone()),
            };
        let changes = fields.keys().filter_map(|slot| {
            let (old, new) = (value(before.as_ref(), slot), value(Some(&fields), slot));
            let says = old != new && !(old == Values::Absent && new == Values::Withheld);
            says.then(|| Change {
                slot: slot.clone(),
                old,
                new,
            })
        });
        self.changes.push(Entry {
            site: claims.iss,
            file,
            leaf: claims.seq,
            kind: claims.kind.to_string(),
            object: claims.id,
            name: fields
                .get("name")
                .and_then(Option::as_ref)
                .and_then(Value::as_str)
                .map(printable),
            rev: claims.rev,
            retired: claims.retired,
            signed: claims.iat,
            seen: seen(&self.steps, claims.seq),
            changes: changes.collect(),
        });
        self.before.insert(object, fields);
    }

    /// All files were given: what is left to say.
    pub(super) fn finish(
        &mut self,
        withheld: Option<&WithheldLog>,
        anchors: &TrustAnchors,
        notes: &mut Notes,
    ) -> (LogSummary, Vec<Claim>, Vec<Twice>) {
        let mut claims = std::mem::take(&mut self.claims);
        let [author, disclosures, rules, inclusion] = &self.tallies;
        claims.push(author.claim("author-signature", |n| {
            let are = counted(n, "record is", "records are");
            format!("{are} signed by the owner with the key that counts at the leaf")
        }));
        claims.push(inclusion.claim("inclusion", |n| {
            let are = counted(n, "record is", "records are");
            format!("{are} in the log at the leaf that they name")
        }));
        claims.push(disclosures.claim("disclosures", |n| {
            let records = counted(n, "record", "records");
            format!("every value shown in {records} is one that was signed")
        }));
        let (summed, partly) = self.sums;
        claims.push(rules.claim("rules", |n| {
            let sums = match (summed, partly) {
                (0, 0) => String::new(),
                (all, 0) => format!("; total = committed + available + unattainable in {}", counted(all, "capacity", "capacities")),
                (some, rest) => format!(
                    "; total = committed + available + unattainable in {some} capacities, not checkable in {rest} whose columns are in part withheld or unknown"
                ),
            };
            let keep = counted(n, "record keeps", "records keep");
            format!("{keep} the rules of the kind{sums}")
        }));
        let (coverage, reasons, unaccounted) = self.coverage(withheld);
        claims.push(coverage);
        claims.push(self.revisions_claim(notes));
        let (feeds, twice) = self.feeds_claim(notes);
        claims.push(feeds);
        let checkpoint = self.check().checkpoint.as_ref();
        let summary = LogSummary {
            site: self.site,
            name: anchors.name_of(&self.site).map(str::to_owned),
            origin: checkpoint.map(|checkpoint| checkpoint.origin().to_owned()),
            size: self.size(),
            root: checkpoint.map(Checkpoint::root),
            shown: self.shown_count,
            keys: self.keys_count,
            withheld: reasons,
            unaccounted,
            objects: self.revisions.objects(),
            claimed: self.claimed,
            seen: self.steps.clone(),
            sums: self.sums,
        };
        (summary, claims, twice)
    }

    fn coverage(&self, withheld: Option<&WithheldLog>) -> (Claim, Vec<(Reason, u64)>, u64) {
        const ID: &str = "coverage";
        let Some(size) = self.check().tree.as_ref().map(Tree::size) else {
            let text = "which leaves are shown and which are withheld is not compared";
            let claim = Claim::not_proven(ID, text, "the tiles of all leaves, log/tile/0/...");
            let unaccounted = self.size().saturating_sub(self.shown_count);
            return (claim, Vec::new(), unaccounted);
        };
        let (mut accounted, mut reasons) = (self.shown.clone(), BTreeMap::<Reason, u64>::new());
        let (mut wrong, mut next) = (None, 0);
        for run in withheld.map_or(&[][..], |of| &of.leaves) {
            if run.from < next || run.to < run.from || run.to >= size {
                wrong = Some(format!(
                    "withheld.json names leaves {} to {} of {size}: out of order, twice, or not in the log",
                    run.from, run.to
                ));
                break;
            }
            next = run.to + 1;
            for leaf in run.from..=run.to {
                let (word, bit) = (&mut accounted[(leaf / 64) as usize], 1 << (leaf % 64));
                if *word & bit != 0 {
                    wrong = Some(format!("leaf {leaf} is withheld and shown"));
                }
                *word |= bit;
            }
            *reasons.entry(run.reason).or_default() += run.to - run.from + 1;
        }
        let known: u64 = accounted
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum();
        let unaccounted = size.saturating_sub(known);
        let reasons: Vec<_> = reasons.into_iter().collect();
        let shown = self.shown_count;
        let claim = if let Some(wrong) = wrong {
            Claim::refuted(ID, wrong)
        } else if unaccounted > 0 {
            Claim::not_proven(
                ID,
                format!(
                    "{unaccounted} of {size} leaves are neither shown nor withheld with a reason"
                ),
                "their records, or a reason in withheld.json",
            )
        } else {
            let list: Vec<String> = reasons
                .iter()
                .map(|(reason, count)| format!("{count} withheld: {}", reason.text()))
                .collect();
            let list = if list.is_empty() {
                "none is withheld".to_owned()
            } else {
                list.join("; ")
            };
            let leaves = counted(size, "leaf", "leaves");
            Claim::proven(ID, format!("of {leaves} of the log {shown} shown; {list}"))
        };
        (claim, reasons, unaccounted)
    }

    fn revisions_claim(&mut self, notes: &mut Notes) -> Claim {
        const ID: &str = "revisions";
        let remarks = std::mem::take(&mut self.revision_remarks);
        let objects = self.revisions.objects();
        let objects = counted(objects, "object", "objects");
        let good = format!("the revisions of {objects} follow each other without gaps");
        self.remarks(
            ID,
            &remarks,
            good,
            "the revisions that are not shown",
            notes,
        )
    }

    fn feeds_claim(&mut self, notes: &mut Notes) -> (Claim, Vec<Twice>) {
        let (remarks, twice) = self.feeds.close();
        let good = format!(
            "the positions in {} follow each other without gaps",
            counted(self.feeds.count() as u64, "feed", "feeds")
        );
        let missing = "the records at these positions";
        let claim = self.remarks("feeds", &remarks, good, missing, notes);
        (claim, twice)
    }

    fn remarks(
        &self,
        id: &'static str,
        remarks: &Remarks,
        good: String,
        missing: &str,
        notes: &mut Notes,
    ) -> Claim {
        for (verdict, leaf, text) in remarks.named() {
            notes.add(Finding {
                claim: id,
                verdict: *verdict,
                file: Name::Log(self.site, LogFile::Record(*leaf)).to_string(),
                leaf: Some(*leaf),
                text: text.clone(),
            });
        }
        notes.more += remarks.more();
        let mut named = remarks.named().iter();
        let refuted = named.find(|(verdict, ..)| *verdict == Verdict::Refuted);
        match (refuted, remarks.named()) {
            (Some((_, _, text)), _) => Claim::refuted(id, text.clone()),
            (None, []) => Claim::proven(id, good),
            (None, [(_, _, text)]) => Claim::not_proven(id, text.clone(), missing).optional(),
            (None, [(_, _, text), more @ ..]) => {
                let more = more.len() as u64 + remarks.more();
                Claim::not_proven(id, format!("{text}; and {more} more gaps"), missing).optional()
            }
        }
    }

    pub(super) fn keep(self) -> KeptLog {
        KeptLog {
            site: self.site,
            keys: self.key_views,
            feeds: self.feeds,
            check: self.ready.unwrap_or_else(|| Arc::new(self.check)),
        }
    }
}

/// A file of the record or the proof of a leaf; the two of one leaf follow each other.
fn add(items: &mut Vec<Item>, leaf: u64, is_record: bool, file: File) {
    let fits = |item: &&mut Item| item.leaf == leaf && !is_record && item.proof.is_none();
    match items.last_mut().filter(fits) {
        Some(item) => item.proof = Some(file),
        None => {
            let (record, proof) = match is_record {
                true => (Some(file), None),
                false => (None, Some(file)),
            };
            items.push(Item {
                leaf,
                record,
                proof,
            });
        }
    }
}
