//! Whether anything may be signed, and how a log that an old backup lost goes on. PROTOCOL section 9.
//!
//! At the start nothing is signed before members were asked how much of our log they hold ([`Clearance::Asking`]). If one holds
//! more, nothing is signed until the log is here again as it was published ([`Clearance::Behind`]). The same is so if
//! the store holds less than the size that is kept beside the keys ([`Clearance::Short`]).
//!
//! What was lost besides leaf hashes is what this site knew alone: which positions of which feed were given out, which revisions
//! of which object, which epochs of which group. Each of them took at least one leaf. So who goes on behind the lost
//! leaves, and leaves out as many positions, revisions and epochs as leaves were lost, contradicts nothing that any reader
//! holds, without asking. Where a record came back the revision goes on from it.
//!
//! Content does not come back: what partners return is what they were shown. Objects keep what the store says of them, and nothing
//! is signed anew because of it, until the operator changes or imports them: what partners hold may be newer.

use std::{collections::BTreeSet, path::PathBuf};

use fmesh_proto::{
    id::{Digest, to_hex},
    log::frontier_at,
    mesh::{AskOwn, OwnLog},
};

use super::{Job, Told, Work, WriteError, desk::bytes, unix_now};
use crate::{
    keystore::{self, LastSigned},
    store::{Changes, Head, Issue, Restored, Store, StoreError},
};

/// Whether this site may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clearance {
    /// It may.
    Clear,
    /// Members are being asked how much of our log they hold.
    Asking,
    /// A member holds more of our log than this store: it is being pulled back.
    Behind {
        /// Leaves here.
        here: u64,
        /// Leaves there.
        there: u64,
        /// Who said so first; its id.
        by: String,
    },
    /// The store holds less than was signed, by what is kept beside the keys, and nobody who can be reached holds the rest.
    Short {
        /// Leaves here.
        here: u64,
        /// Leaves that were signed.
        signed: u64,
    },
}

impl Clearance {
    /// Why nothing is signed, and what happens; `None` if it is.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Clear => None,
            Self::Asking => Some(
                "nothing is signed yet: partners are being asked how much of this site's log they hold".into(),
            ),
            Self::Behind { here, there, .. } => Some(format!(
                "nothing is signed: this store holds {here} records of our own log and a partner holds {there}, so an old backup was put back; the log is being pulled back from partners, and goes on when it is here"
            )),
            Self::Short { here, signed } => Some(format!(
                "nothing is signed: this store holds {here} records of our own log, but {signed} were signed, as the file signed-size beside the keys says, so an old backup was put back; it goes on when a partner who holds the rest is connected"
            )),
        }
    }
}

/// What is kept beside the keys and not in the store.
#[derive(Debug)]
pub(super) struct Guard {
    dir: PathBuf,
}

impl Guard {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// What to begin with.
    pub(super) fn begin(
        &self,
        head: Option<&Head>,
        store: &Store,
    ) -> Result<Clearance, StoreError> {
        if store.meta()?.restoring.is_some() {
            let here = size(head);
            return Ok(Clearance::Behind {
                here,
                there: here,
                by: String::new(),
            });
        }
        let short = self.short(head, store)?;
        Ok(match (short, head) {
            (Some(_), _) | (None, Some(_)) => Clearance::Asking,
            (None, None) => Clearance::Clear,
        })
    }

    /// Where the key file and what was signed last are kept.
    pub(super) fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// What was signed, if the store does not hold it.
    fn short(&self, head: Option<&Head>, store: &Store) -> Result<Option<u64>, StoreError> {
        let signed = keystore::load_last_signed(&self.dir).map_err(io)?;
        let Some(signed) = signed else {
            return Ok(None);
        };
        let root = head.and_then(|head| {
            if head.frontier.size() == signed.size {
                return Some(head.frontier.root());
            }
            let site = fmesh_proto::audit::site_of_origin(head.checkpoint.origin())?;
            (head.frontier.size() > signed.size)
                .then(|| frontier_at(&store.nodes(&site), signed.size))
                .flatten()
                .map(|at| at.root())
        });
        Ok((root != Some(signed.root)).then_some(signed.size))
    }

    /// Remembers what was signed; on disk when it returns.
    pub(super) fn remember(&self, size: u64, root: Digest) -> Result<(), StoreError> {
        keystore::store_last_signed(&self.dir, &LastSigned { size, root }).map_err(io)
    }
}

fn io(error: keystore::KeystoreError) -> StoreError {
    StoreError::Io(error.to_string())
}

fn size(head: Option<&Head>) -> u64 {
    head.map_or(0, |head| head.frontier.size())
}

impl Work {
    /// Refuses to sign as long as it is not clear that nothing is signed twice.
    pub(super) fn must_be_clear(&self) -> Result<(), WriteError> {
        let clearance = self.clearance.borrow();
        match (&*clearance, clearance.refusal()) {
            (_, None) => Ok(()),
            (Clearance::Asking, Some(_)) => Err(WriteError::Unsure),
            (_, Some(why)) => Err(WriteError::Conflict(why)),
        }
    }

    pub(super) fn is_clear(&self) -> bool {
        *self.clearance.borrow() == Clearance::Clear
    }

    /// Our log was signed and is on disk: that is remembered beside the keys, before the change is acknowledged. Partners are told
    /// meanwhile. If the node is killed in between, the store holds one change more than is remembered, which is no old backup.
    pub(super) fn remember_signed(&self) -> Result<(), StoreError> {
        match (&self.guard, &self.desk.head) {
            (Some(guard), Some(head)) => guard.remember(head.frontier.size(), head.frontier.root()),
            _ => Ok(()),
        }
    }

    /// Members were asked for our log, or it is here again.
    pub(super) fn own_log(&mut self, told: OwnLog) -> Result<(), StoreError> {
        let store = self.setup.store.clone();
        let here = size(self.desk.head.as_ref());
        match told {
            OwnLog::Behind { size, by } if size > here => {
                if self.desk.meta.restoring.is_none() {
                    tracing::warn!(here, there = size, %by, "an old backup was put back: nothing is signed until our log is here again");
                    self.desk.meta.restoring = Some(here);
                    let mut changes = Changes::new();
                    changes.put_meta(&self.desk.meta);
                    store.commit(changes)?;
                }
                self.clearance.send_replace(Clearance::Behind {
                    here,
                    there: size,
                    by: by.hex(),
                });
                return Ok(());
            }
            // Heads that overtook our own growth.
            OwnLog::Behind { .. } => return Ok(()),
            OwnLog::Back if self.desk.meta.restoring.is_some() => self.go_on()?,
            OwnLog::Back | OwnLog::Whole { .. } => {}
        }
        let short = match &self.guard {
            Some(guard) => guard.short(self.desk.head.as_ref(), &store)?,
            None => None,
        };
        let here = size(self.desk.head.as_ref());
        if let Some(signed) = short.filter(|signed| *signed > here) {
            tracing::error!(here, signed, "the store holds less than was signed");
            self.clearance
                .send_replace(Clearance::Short { here, signed });
            return Ok(());
        }
        if let Some(signed) = short {
            // Another history, of which no more is to be had.
            tracing::error!(
                here,
                signed,
                "the store holds another log than was signed before"
            );
        }
        self.clearance.send_replace(Clearance::Clear);
        self.job(Job::Replan)
    }

    /// What came of our own log in a work: the desk stands where the store does.
    pub(super) fn note_own_growth(&mut self, head: &Head) {
        self.desk.head = Some(head.clone());
        // Not borrowed while it is replaced.
        let now = self.clearance.borrow().clone();
        if let Clearance::Behind { there, by, .. } = now {
            self.clearance.send_replace(Clearance::Behind {
                here: head.frontier.size(),
                there,
                by,
            });
        }
    }

    /// The log is here again and all who could give back records did: it goes on.
    fn go_on(&mut self) -> Result<(), StoreError> {
        let store = self.setup.store.clone();
        let site = self.setup.site;
        let Some(from) = self.desk.meta.restoring.take() else {
            return Ok(());
        };
        let to = size(self.desk.head.as_ref());
        let lost = to.saturating_sub(from);
        let mut changes = Changes::new();
        let (mut returned, mut named) = (0, BTreeSet::new());
        for entry in store.records(&site, from) {
            let (seq, view, _) = entry?;
            let unreadable = |e: fmesh_proto::record::RecordError| {
                StoreError::Corrupt(format!("record {seq}: {e}"))
            };
            let record = view.parse().map(fmesh_proto::record::Parsed::from_store);
            let record = record.map_err(unreadable)?;
            let claims = record.claims();
            returned += 1;
            let key = (claims.kind.clone(), claims.id);
            let Some(object) = self.desk.objects.get(&key) else {
                continue;
            };
            let old = self.desk.issues.get(&key);
            let issue = Issue {
                seq,
                rev: claims.rev,
                core: Some(record.core_digest()),
                content: Some(super::desk::content_of(object)),
                circles: old.map(|issue| issue.circles.clone()).unwrap_or_default(),
                skip: 0,
            };
            named.insert(key.clone());
            self.desk.issues.insert(key, issue);
        }
        let gone = lost.saturating_sub(returned);
        for (key, issue) in &mut self.desk.issues {
            if gone > 0 {
                issue.skip += gone;
            }
            if gone > 0 || named.contains(key) {
                changes.put_issue(&key.0, &key.1, issue);
            }
        }
        let meta = &mut self.desk.meta;
        for (circle, tail) in &mut self.desk.tails {
            *tail += lost;
            meta.floors.insert(*circle, *tail);
        }
        meta.floor += lost;
        meta.restored = Some(Restored {
            at: unix_now(),
            from,
            to,
            returned,
        });
        changes.put_meta(meta);
        for (circle, secret) in &mut self.desk.secrets {
            // Whoever held an epoch that is not known here any more holds none that is used again.
            secret.epoch += lost + 1;
            secret.key = to_hex(&bytes::<32>());
            secret.granted.clear();
            changes.put_circle_secret(circle, secret);
        }
        tracing::warn!(from, to, returned, "our log is here again and goes on");
        self.commit(changes, Told::default(), unix_now())?;
        self.remember_signed()
    }

    /// How the machine is to begin with our own log.
    pub(super) fn ask_own(clearance: &Clearance, restoring: Option<u64>) -> AskOwn {
        match (clearance, restoring) {
            (_, Some(first)) => AskOwn::Restoring(first),
            (Clearance::Clear, None) => AskOwn::No,
            _ => AskOwn::Yes,
        }
    }
}
