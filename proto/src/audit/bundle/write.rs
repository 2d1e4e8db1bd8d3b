//! Makes a bundle in one pass. The same logs and records give the same bytes, whenever and wherever it is made.

use sha2::{Digest as _, Sha256};

use super::{
    LogFile, Name, Reason, SUMS_BYTES_MAX, Selection, Tree, WITHHELD_BYTES_MAX,
    examine::expected,
    manifest::{FORMAT, Manifest, ManifestLog, Run, Withheld, WithheldLog},
};
use crate::{
    id::{SiteId, to_hex},
    note::Checkpoint,
    record::View,
};

use super::super::fork::ForkProof;

/// What one log brings besides its records.
#[derive(Debug)]
pub struct LogSource {
    /// Whose.
    pub site: SiteId,
    /// The newest checkpoint, with cosignatures.
    pub checkpoint: Checkpoint,
    /// Older ones, ascending by size.
    pub older: Vec<Checkpoint>,
    /// `keys` records with their leaves, ascending.
    pub keys: Vec<(u64, View)>,
    /// All leaves of the checkpoint's log.
    pub tree: Tree,
}

/// Why a bundle cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError<E> {
    /// Where it goes.
    #[error("{0}")]
    Sink(E),
    /// What was given does not fit together, or is too much.
    #[error("{0}")]
    Input(String),
}

/// Writes the files of a bundle, in order, into a function that takes name and bytes.
#[derive(Debug)]
pub struct Writer<S> {
    sink: S,
    sums: String,
    last: Option<String>,
    logs: Vec<ManifestLog>,
    withheld: Vec<WithheldLog>,
    forks: usize,
    open: Option<Open>,
}

/// The log whose records come now.
#[derive(Debug)]
struct Open {
    source: LogSource,
    records: u64,
    /// First leaf about which nothing was said.
    next: u64,
    runs: Vec<Run>,
}

impl<S, E> Writer<S>
where
    S: FnMut(&str, &[u8]) -> Result<(), E>,
{
    /// An empty bundle.
    pub fn new(sink: S) -> Self {
        Self {
            sink,
            sums: String::new(),
            last: None,
            logs: Vec::new(),
            withheld: Vec::new(),
            forks: 0,
            open: None,
        }
    }

    /// Fork proofs, before all logs.
    pub fn forks<'f>(
        &mut self,
        proofs: impl IntoIterator<Item = &'f ForkProof>,
    ) -> Result<(), WriteError<E>> {
        for proof in proofs {
            let number = u16::try_from(self.forks).ok().filter(|n| *n < 10_000);
            let number =
                number.ok_or_else(|| WriteError::Input("more than 10,000 fork proofs".into()))?;
            self.put(Name::Fork(number), proof.encode().as_bytes())?;
            self.forks += 1;
        }
        Ok(())
    }

    /// Begins the next log, ascending by site id; its records follow by [`Self::record`] and [`Self::withhold`].
    pub fn log(&mut self, source: LogSource) -> Result<(), WriteError<E>> {
        self.end_log()?;
        let (site, size) = (source.site, source.checkpoint.size());
        if source.tree.size() != size || source.tree.root_at(size) != Some(source.checkpoint.root())
        {
            return Err(WriteError::Input(format!(
                "the leaf hashes of site {site} do not lead to its checkpoint of {size} leaves"
            )));
        }
        for older in &source.older {
            self.put(Name::Log(site, LogFile::Older(older.size())), older.note())?;
        }
        for (leaf, view) in &source.keys {
            let proof = expected(*leaf, &source.tree, &source.checkpoint);
            let text = view.encode();
            self.put(Name::Log(site, LogFile::Keys(*leaf)), text.as_bytes())?;
            self.put(Name::Log(site, LogFile::KeysProof(*leaf)), proof.as_bytes())?;
        }
        let checkpoint = source.checkpoint.note();
        self.put(Name::Log(site, LogFile::Checkpoint), checkpoint)?;
        for (tile, bytes) in source.tree.tiles() {
            self.put(Name::Log(site, LogFile::Tile(tile)), &bytes)?;
        }
        self.open = Some(Open {
            source,
            records: 0,
            next: 0,
            runs: Vec::new(),
        });
        Ok(())
    }

    /// The record of a leaf; leaves come ascending, and each is either shown or withheld. `keys` records are there
    /// already.
    pub fn record(&mut self, leaf: u64, view: &View) -> Result<(), WriteError<E>> {
        let open = self.reach(leaf)?;
        open.records += 1;
        let site = open.source.site;
        let proof = expected(leaf, &open.source.tree, &open.source.checkpoint);
        let text = view.encode();
        self.put(Name::Log(site, LogFile::Record(leaf)), text.as_bytes())?;
        self.put(
            Name::Log(site, LogFile::RecordProof(leaf)),
            proof.as_bytes(),
        )
    }

    /// Says why the leaf is not shown. Leaves about which nothing is said are not held.
    pub fn withhold(&mut self, leaf: u64, reason: Reason) -> Result<(), WriteError<E>> {
        self.reach(leaf)?.say(leaf, reason);
        Ok(())
    }

    /// Writes what stands at the end; the function back.
    pub fn finish(
        mut self,
        made_by: Option<SiteId>,
        selection: Selection,
    ) -> Result<S, WriteError<E>> {
        self.end_log()?;
        let manifest = Manifest {
            format: FORMAT.into(),
            made_by,
            selection,
            logs: std::mem::take(&mut self.logs),
            forks: self.forks,
        };
        let withheld = Withheld {
            format: FORMAT.into(),
            logs: std::mem::take(&mut self.withheld),
        };
        self.put(Name::Manifest, &json(&manifest))?;
        let withheld = json(&withheld);
        if withheld.len() > WITHHELD_BYTES_MAX || self.sums.len() > SUMS_BYTES_MAX {
            return Err(WriteError::Input(
                "the bundle has too many parts; make one for each site, or for shorter periods"
                    .into(),
            ));
        }
        self.put(Name::Withheld, &withheld)?;
        let sums = std::mem::take(&mut self.sums);
        (self.sink)("SHA256SUMS", sums.as_bytes()).map_err(WriteError::Sink)?;
        Ok(self.sink)
    }

    fn reach(&mut self, leaf: u64) -> Result<&mut Open, WriteError<E>> {
        let open = self.open.as_mut();
        let open = open.ok_or_else(|| WriteError::Input("a record before its log".into()))?;
        if leaf < open.next || leaf >= open.source.tree.size() {
            return Err(WriteError::Input(format!(
                "leaf {leaf} comes twice, out of order, or is not in the log"
            )));
        }
        open.skip_to(leaf);
        open.next = leaf + 1;
        Ok(open)
    }

    fn end_log(&mut self) -> Result<(), WriteError<E>> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        let Open { source, .. } = &open;
        let (site, size) = (source.site, source.tree.size());
        open.skip_to(size);
        self.logs.push(ManifestLog {
            site,
            origin: open.source.checkpoint.origin().to_owned(),
            size,
            root: open.source.checkpoint.root(),
            keys: open.source.keys.len() as u64,
            records: open.records,
            withheld: open.runs.iter().map(|run| run.to - run.from + 1).sum(),
        });
        self.withheld.push(WithheldLog {
            site,
            leaves: open.runs,
        });
        Ok(())
    }

    fn put(&mut self, name: Name, bytes: &[u8]) -> Result<(), WriteError<E>> {
        let name = name.to_string();
        if self.last.as_ref().is_some_and(|last| *last >= name) {
            return Err(WriteError::Input(format!("{name} comes out of order")));
        }
        let hash = to_hex(&Sha256::digest(bytes));
        self.sums.push_str(&format!("{hash}  {name}\n"));
        (self.sink)(&name, bytes).map_err(WriteError::Sink)?;
        self.last = Some(name);
        Ok(())
    }
}

impl Open {
    /// Leaves before `leaf` about which nothing was said are not held, unless they are keys.
    fn skip_to(&mut self, leaf: u64) {
        for unsaid in self.next..leaf {
            let is_keys = self.source.keys.iter().any(|(keys, _)| *keys == unsaid);
            if !is_keys {
                self.say(unsaid, Reason::NotHeld);
            }
        }
        self.next = leaf;
    }

    fn say(&mut self, leaf: u64, reason: Reason) {
        match self.runs.last_mut() {
            Some(run) if run.reason == reason && run.to + 1 == leaf => run.to = leaf,
            _ => self.runs.push(Run {
                from: leaf,
                to: leaf,
                reason,
            }),
        }
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value)
        .expect("the members are texts, numbers and lists with text keys");
    text.push(b'\n');
    text
}
