//! One record with its proof: everything that needs no other record. Pure, so it may run on any core.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde_json::Value;

use super::{
    File, Tree,
    late::{ByCore, Fit, opened},
};
use crate::{
    id::{CircleId, Digest, MeshId, SiteId},
    keys::KeyHistory,
    kinds::Content,
    log::{leaf_hash, verify_inclusion},
    note::{Checkpoint, ProofFile},
    record::{Claims, RecordError, Verified, View},
};

/// What is known of a log when its records come.
#[derive(Debug, Default)]
pub struct Check {
    pub(super) site: Option<SiteId>,
    pub(super) mesh: Option<MeshId>,
    pub(super) keys: Option<KeyHistory>,
    /// If it leads to the root of the checkpoint.
    pub(super) tree: Option<Tree>,
    pub(super) checkpoint: Option<Checkpoint>,
    /// What was handed out later.
    pub(super) late: Arc<ByCore>,
    /// Whose values are kept for the time line: an object's id, or the beginning of one; empty for all.
    pub(super) keep: Option<String>,
}

/// A record and its proof, as bytes from anyone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Leaf that the names say.
    pub(super) leaf: u64,
    pub(super) record: Option<File>,
    pub(super) proof: Option<File>,
}

/// Where records are examined: here and now, or on other cores while the next files are read.
pub trait Examine {
    /// Takes a batch. At most [`super::AHEAD`] and one more are begun and not ended.
    fn begin(&mut self, check: Arc<Check>, items: Vec<Item>);
    /// What was found out about the oldest batch that is not ended yet, in the order of its items. It waits, if need be;
    /// of no batch it is nothing.
    fn end(&mut self) -> Vec<Examined>;
}

/// Examines on this thread.
#[derive(Debug, Default)]
pub struct Here(VecDeque<Vec<Examined>>);

impl Examine for Here {
    fn begin(&mut self, check: Arc<Check>, items: Vec<Item>) {
        let examined = items.iter().map(|item| check.examine(item));
        self.0.push_back(examined.collect());
    }

    fn end(&mut self) -> Vec<Examined> {
        self.0.pop_front().unwrap_or_default()
    }
}

/// The claims that are judged record by record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Author,
    Disclosures,
    Rules,
    Inclusion,
}

impl Part {
    pub(super) const ALL: [Self; 4] = [
        Self::Author,
        Self::Disclosures,
        Self::Rules,
        Self::Inclusion,
    ];

    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Author => "author-signature",
            Self::Disclosures => "disclosures",
            Self::Rules => "rules",
            Self::Inclusion => "inclusion",
        }
    }
}

/// How one part came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    Holds,
    Refuted(String),
    Open { text: String, missing: &'static str },
}

/// What was found out about one [`Item`].
#[derive(Debug)]
pub struct Examined {
    pub(super) leaf: u64,
    /// Name and digest of each file.
    pub(super) files: Vec<(String, Digest)>,
    /// Bytes of the record.
    pub(super) bytes: u64,
    /// In the order of [`Part::ALL`].
    pub(super) marks: [Mark; 4],
    pub(super) facts: Option<Facts>,
    /// The core, if something was handed out later for it, and whether that fits.
    pub(super) late: Option<(Digest, bool)>,
}

/// What a record says that matters beyond itself.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) claims: Claims,
    pub(super) core: Digest,
    pub(super) feeds: Vec<(CircleId, u64)>,
    /// Whether the ISA-95 sum of a capacity could be added up; `None` for other kinds.
    pub(super) summed: Option<bool>,
    pub(super) fields: Option<BTreeMap<String, Option<Value>>>,
}

impl Check {
    /// Examines one record.
    #[must_use]
    pub fn examine(&self, item: &Item) -> Examined {
        let files = [&item.record, &item.proof].into_iter().flatten();
        let files = files
            .map(|file| (file.name.clone(), Digest::of(&file.bytes)))
            .collect();
        let bytes = item.record.as_ref().map_or(0, |file| file.bytes.len());
        let (marks, facts, late) = match &item.record {
            Some(record) => self.record(item, &record.bytes),
            None => {
                let text = "there is a proof, but no record".to_owned();
                (
                    [Mark::Holds, Mark::Holds, Mark::Holds, Mark::Refuted(text)],
                    None,
                    None,
                )
            }
        };
        Examined {
            leaf: item.leaf,
            files,
            bytes: bytes as u64,
            marks,
            facts,
            late,
        }
    }

    fn record(
        &self,
        item: &Item,
        bytes: &[u8],
    ) -> ([Mark; 4], Option<Facts>, Option<(Digest, bool)>) {
        let open = |what: &str| Mark::Open {
            text: format!("{what} is not checked"),
            missing: "a record that can be read",
        };
        let view = match View::decode(bytes) {
            Ok(view) => view,
            Err(why) => {
                let author = Mark::Refuted(format!("the record cannot be read: {why}"));
                let marks = [
                    author,
                    open("what it shows"),
                    open("its rules"),
                    open("its place"),
                ];
                return (marks, None, None);
            }
        };
        let (view, late) = opened(view, &self.late);
        let (author, mut disclosures, rules, verified) = self.author(&view);
        if let Some(Fit { fits: Err(why), .. }) = &late {
            disclosures = Mark::Refuted(format!("what was handed out later does not fit: {why}"));
        }
        let late = late.map(|fit| (fit.core, fit.fits.is_ok()));
        let inclusion = self.inclusion(item, &view, verified.as_ref());
        let facts = verified
            .filter(|verified| self.site.is_none_or(|site| site == verified.claims().iss))
            .map(|verified| self.facts(&verified));
        ([author, disclosures, rules, inclusion], facts, late)
    }

    fn author(&self, view: &View) -> (Mark, Mark, Mark, Option<Verified>) {
        let Some(keys) = &self.keys else {
            let open = || Mark::Open {
                text: "the author's signature is not checked, because its keys are not known"
                    .into(),
                missing: "the site's key manifest, keys/0000000000.sdjwt",
            };
            let disclosures = match view.clone().parse() {
                Ok(_) => Mark::Holds,
                Err(why) => Mark::Refuted(why.to_string()),
            };
            return (open(), disclosures, open(), None);
        };
        let not_read = |why: &RecordError| Mark::Open {
            text: format!("the kind's rules are not checked: {why}"),
            missing: "a view whose disclosures are all those of the record",
        };
        match keys.verify(view.clone()) {
            Ok(verified) => (Mark::Holds, Mark::Holds, Mark::Holds, Some(verified)),
            Err(why @ RecordError::Rule { .. }) => {
                let (author, verified) = self.bare(keys, view);
                (
                    author,
                    Mark::Holds,
                    Mark::Refuted(why.to_string()),
                    verified,
                )
            }
            // A bad disclosure must not hide what the core itself proves.
            Err(why @ RecordError::Disclosure(_)) => {
                let (author, verified) = self.bare(keys, view);
                let rules = not_read(&why);
                (author, Mark::Refuted(why.to_string()), rules, verified)
            }
            Err(why @ RecordError::WrongKey { .. }) => {
                let rules = not_read(&why);
                let author = Mark::Open {
                    text: why.to_string(),
                    missing: "the site's keys record that lists this key, if there is one",
                };
                (author, Mark::Holds, rules, None)
            }
            Err(why) => {
                let rules = not_read(&why);
                let text = format!("the author's signature does not hold: {why}");
                (Mark::Refuted(text), Mark::Holds, rules, None)
            }
        }
    }

    /// The core alone.
    fn bare(&self, keys: &KeyHistory, view: &View) -> (Mark, Option<Verified>) {
        let bare = View::decode(format!("{}~", view.core()).as_bytes());
        match bare.and_then(|bare| keys.verify(bare)) {
            Ok(verified) => (Mark::Holds, Some(verified)),
            Err(why) => {
                let text = format!("the author's signature does not hold: {why}");
                (Mark::Refuted(text), None)
            }
        }
    }

    fn inclusion(&self, item: &Item, view: &View, verified: Option<&Verified>) -> Mark {
        let refuted = |text: String| Mark::Refuted(text);
        let hash = match verified {
            Some(verified) => {
                let claims = verified.claims();
                if claims.seq != item.leaf {
                    return refuted(format!("the record says that it is leaf {}", claims.seq));
                }
                if self.site.is_some_and(|site| site != claims.iss) {
                    return refuted(format!("the record is of site {}", claims.iss.hex()));
                }
                if claims.mesh.is_some() && self.mesh.is_some() && claims.mesh != self.mesh {
                    return refuted("the record is of another mesh than the log".into());
                }
                verified.leaf_hash()
            }
            None => leaf_hash(view.core().as_bytes()),
        };
        let Some(checkpoint) = &self.checkpoint else {
            return Mark::Open {
                text: "the record's place in the log is not checked".into(),
                missing: "a checkpoint of the log, log/checkpoint",
            };
        };
        if item.leaf >= checkpoint.size() {
            let size = checkpoint.size();
            return refuted(format!("the checkpoint's log has only {size} leaves"));
        }
        if let Some(tree) = &self.tree
            && tree.leaf(item.leaf) != Some(&hash)
        {
            return refuted("the log has another leaf there".into());
        }
        match (&item.proof, &self.tree) {
            (None, Some(_)) => Mark::Holds,
            (None, None) => Mark::Open {
                text: "the record's place in the log is not checked".into(),
                missing: "its .tlog-proof, or all tiles of the log",
            },
            (Some(proof), tree) => {
                // All hashes of the path are known already, so the whole file is.
                if tree.as_ref().is_some_and(|tree| {
                    proof.bytes == expected(item.leaf, tree, checkpoint).as_bytes()
                }) {
                    return Mark::Holds;
                }
                self.proof(item.leaf, &hash, &proof.bytes, checkpoint)
            }
        }
    }

    fn proof(&self, leaf: u64, hash: &Digest, bytes: &[u8], checkpoint: &Checkpoint) -> Mark {
        let proof = match ProofFile::decode(bytes) {
            Ok(proof) => proof,
            Err(why) => return Mark::Refuted(format!("its proof cannot be read: {why}")),
        };
        if proof.index != leaf {
            return Mark::Refuted(format!("its proof is for leaf {}", proof.index));
        }
        if proof.checkpoint.note() != checkpoint.note() {
            let text = "its proof is under another checkpoint than log/checkpoint";
            return Mark::Refuted(text.into());
        }
        let (size, root) = (checkpoint.size(), checkpoint.root());
        match verify_inclusion(leaf, size, hash, &proof.path, &root) {
            Ok(()) => Mark::Holds,
            Err(why) => Mark::Refuted(format!("its proof does not hold: {why}")),
        }
    }

    fn facts(&self, verified: &Verified) -> Facts {
        let claims = verified.claims().clone();
        let summed = match verified.content() {
            Ok(Content::Capacity(capacity)) => Some(
                [
                    &capacity.total,
                    &capacity.committed,
                    &capacity.available,
                    &capacity.unattainable,
                ]
                .iter()
                .all(|column| column.known().is_some()),
            ),
            _ => None,
        };
        let kept = self
            .keep
            .as_ref()
            .is_some_and(|object| claims.id.to_string().starts_with(object.as_str()));
        Facts {
            core: verified.core_digest(),
            feeds: verified.feeds().to_vec(),
            summed,
            fields: kept.then(|| verified.fields().clone()),
            claims,
        }
    }
}

/// The proof file of a leaf.
pub(super) fn expected(leaf: u64, tree: &Tree, checkpoint: &Checkpoint) -> String {
    ProofFile::text(leaf, tree.path(leaf), checkpoint)
}
