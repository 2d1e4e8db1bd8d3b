//! The threads that verify what others sent: one for each core, fed by the writer, always a few works ahead of it.
//!
//! Verifying a record needs its bytes and the members' keys, nothing of the store, so it can run while the records before
//! it are settled, written and flushed. A work is cut into parts, and whichever thread is free takes the next part; the
//! writer collects them in the order of the works, so the order of a feed does not depend on the threads.
//!
//! What a work was verified with is kept beside it ([`Page::membership`]): if the members changed meanwhile,
//! the writer has it verified again.

use std::{
    ops::Range,
    slice::SliceIndex,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use fmesh_proto::{
    id::{MeshId, SiteId},
    keys::OperatingKeys,
    membership::Membership,
    mesh::follow::{Found, Ledger, Opened, Reader, Taken},
    record::{RecordError, Verified},
};

/// Records in one part. Small enough that a single page keeps all cores busy to its end.
const PART: usize = 16;
/// Parts that may wait for a thread; the writer waits when there are more.
const PARTS_WAITING: usize = 1024;

pub(super) type Results = Vec<Result<Verified, RecordError>>;

/// An opened work with everything that verifying it needs.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) me: SiteId,
    pub(super) mesh: MeshId,
    pub(super) keys: Arc<OperatingKeys>,
    pub(super) membership: Arc<Membership>,
    pub(super) opened: Opened,
}

impl Page {
    fn reader(&self) -> Reader<'_> {
        Reader {
            me: self.me,
            mesh: self.mesh,
            keys: &self.keys,
            membership: &self.membership,
        }
    }

    /// Verifies some of its records.
    pub(super) fn verify(&self, range: impl SliceIndex<[Found], Output = [Found]>) -> Results {
        let reader = self.reader();
        let found = self.opened.found[range].iter();
        found.map(|one| reader.verify(&self.opened, one)).collect()
    }

    /// Compares what was verified with the log.
    pub(super) fn settle<L: Ledger>(self, results: Results, ledger: &L) -> Result<Taken, L::Error> {
        let Self {
            me,
            mesh,
            keys,
            membership,
            opened,
        } = self;
        let reader = Reader {
            me,
            mesh,
            keys: &keys,
            membership: &membership,
        };
        reader.settle(opened, results, ledger)
    }
}

/// The threads; they end when it is dropped.
#[derive(Debug)]
pub(super) struct Crew {
    tasks: SyncSender<Task>,
}

/// One part of a page, and where its results go.
#[derive(Debug)]
struct Task {
    page: Arc<Page>,
    range: Range<usize>,
    done: SyncSender<(usize, Results)>,
}

impl Crew {
    pub(super) fn start() -> std::io::Result<Self> {
        let (tasks, queue) = sync_channel::<Task>(PARTS_WAITING);
        let queue = Arc::new(Mutex::new(queue));
        for n in 0..thread::available_parallelism().map_or(1, usize::from) {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("verify-{n}"))
                .spawn(move || work(&queue))?;
        }
        Ok(Self { tasks })
    }

    /// Begins to verify a page.
    pub(super) fn begin(&self, page: Page) -> Underway {
        let records = page.opened.found.len();
        let parts = records.div_ceil(PART);
        let (done, results) = sync_channel(parts.max(1));
        let page = Arc::new(page);
        for first in (0..records).step_by(PART) {
            let task = Task {
                page: Arc::clone(&page),
                range: first..records.min(first + PART),
                done: done.clone(),
            };
            self.tasks
                .send(task)
                .expect("the threads live as long as the crew");
        }
        Underway { page, results }
    }
}

/// A page that is being verified.
#[derive(Debug)]
pub(super) struct Underway {
    page: Arc<Page>,
    results: Receiver<(usize, Results)>,
}

impl Underway {
    /// Waits for all of it; results in the order of the records.
    pub(super) fn finish(self) -> (Page, Results) {
        let mut parts: Vec<(usize, Results)> = self.results.iter().collect();
        parts.sort_unstable_by_key(|(first, _)| *first);
        let results: Results = parts.into_iter().flat_map(|(_, part)| part).collect();
        let page =
            Arc::into_inner(self.page).expect("each part lets go of its page before it ends");
        assert_eq!(
            results.len(),
            page.opened.found.len(),
            "verifying a record does not panic"
        );
        (page, results)
    }
}

fn work(queue: &Mutex<Receiver<Task>>) {
    loop {
        let task = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Task { page, range, done }) = task else {
            return;
        };
        let (first, results) = (range.start, page.verify(range));
        drop(page);
        // The writer may have ended.
        let _ = done.send((first, results));
    }
}
