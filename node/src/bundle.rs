//! Audit bundles on disk: a directory or a tar, read file by file and judged on every core.
//!
//! What a bundle is and what it proves is [`fmesh_proto::audit::bundle`]; here are only files. A bundle comes from
//! anybody: links, devices, foreign names and files above their bound are refused without being read, and nothing
//! is ever unpacked. A thread reads ahead while the others check; what waits between them is bounded.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::{self, File as Disk},
    io::{self, BufReader, BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use fmesh_proto::{
    audit::{
        TrustAnchors,
        bundle::{
            AHEAD, Check, Examine, Examined, FILES_MAX, File, Item, LogFile, Name, Options,
            Outcome, Verifier,
        },
    },
    id::SiteId,
    record::View,
};

/// Files that are handed over together.
const READ_TOGETHER: usize = 256;
/// Bytes after which they are, however few.
const READ_TOGETHER_BYTES: usize = 4 << 20;
/// Such groups that may wait.
const READ_AHEAD: usize = 4;

/// Judges the bundle at `path`, a directory or a tar. `progress` hears of bytes that were read. An error means that
/// nothing could be read at all; everything else is in the report.
pub fn verify(
    path: &Path,
    anchors: &TrustAnchors,
    options: Options,
    progress: &(dyn Fn(u64) + Sync),
) -> io::Result<Outcome> {
    Ok(judge(Source::open(path)?, anchors, options, progress))
}

/// The same for the bytes of a tar.
pub fn verify_tar(
    tar: impl io::Read + Send,
    anchors: &TrustAnchors,
    options: Options,
    progress: &(dyn Fn(u64) + Sync),
) -> Outcome {
    let source = Source::Tar(Box::new(tar::Archive::new(tar)));
    judge(source, anchors, options, progress)
}

fn judge<R: io::Read + Send>(
    source: Source<R>,
    anchors: &TrustAnchors,
    options: Options,
    progress: &(dyn Fn(u64) + Sync),
) -> Outcome {
    let mut verifier = Verifier::new(anchors, options);
    thread::scope(|scope| {
        let mut cores = Cores::new(scope);
        let (sender, receiver) = sync_channel::<Vec<Found>>(READ_AHEAD);
        scope.spawn(move || {
            let (mut together, mut bytes) = (Vec::new(), 0);
            // Nobody listens any more only if the other side ended; then reading may end, too.
            source.read(&mut |found| {
                bytes += found.bytes();
                together.push(found);
                if together.len() < READ_TOGETHER && bytes < READ_TOGETHER_BYTES {
                    return true;
                }
                bytes = 0;
                sender.send(std::mem::take(&mut together)).is_ok()
            });
            let _ = sender.send(together);
        });
        for found in receiver.into_iter().flatten() {
            match found {
                Found::File(file) => {
                    progress(file.bytes.len() as u64);
                    verifier.push(file, &mut cores);
                }
                Found::Broken(name, why) => verifier.broken(&name, &why),
            }
        }
        verifier.finish(&mut cores)
    })
}

/// Records of some leaves, as the bundle at `path` holds them. Nothing about them is checked; what is not there is left out.
pub fn records(
    path: &Path,
    wanted: &BTreeSet<(SiteId, u64)>,
) -> io::Result<BTreeMap<(SiteId, u64), View>> {
    let mut found = BTreeMap::new();
    Source::open(path)?.read(&mut |next| {
        if let Found::File(file) = next
            && let Some(Name::Log(site, LogFile::Record(leaf) | LogFile::Keys(leaf))) =
                Name::parse(&file.name)
            && wanted.contains(&(site, leaf))
            && let Ok(view) = View::decode(&file.bytes)
        {
            found.insert((site, leaf), view);
        }
        found.len() < wanted.len()
    });
    Ok(found)
}

/// Examines batches on a thread for each core; the answers wait until they are asked for.
struct Cores {
    work: SyncSender<Job>,
    underway: VecDeque<Receiver<Vec<Examined>>>,
}

struct Job {
    check: Arc<Check>,
    items: Vec<Item>,
    answer: SyncSender<Vec<Examined>>,
}

impl Cores {
    /// The threads end when this is dropped.
    fn new<'scope>(scope: &'scope thread::Scope<'scope, '_>) -> Self {
        let (work, jobs) = sync_channel::<Job>(AHEAD + 1);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let jobs = Arc::clone(&jobs);
            let next = move || jobs.lock().ok()?.recv().ok();
            scope.spawn(move || {
                while let Some(job) = next() {
                    let Job {
                        check,
                        items,
                        answer,
                    } = job;
                    let examined = items.iter().map(|item| check.examine(item)).collect();
                    // Nobody waits any more only if the other side ended.
                    let _ = answer.send(examined);
                }
            });
        }
        let underway = VecDeque::new();
        Self { work, underway }
    }
}

impl Examine for Cores {
    fn begin(&mut self, check: Arc<Check>, items: Vec<Item>) {
        let (answer, waits) = sync_channel(1);
        let job = Job {
            check,
            items,
            answer,
        };
        self.work
            .send(job)
            .expect("the threads live as long as this");
        self.underway.push_back(waits);
    }

    fn end(&mut self) -> Vec<Examined> {
        let oldest = self.underway.pop_front();
        oldest.map_or_else(Vec::new, |waits| {
            waits.recv().expect("each job is answered")
        })
    }
}

/// What reading brings.
enum Found {
    File(File),
    /// Name and reason.
    Broken(String, String),
}

impl Found {
    fn bytes(&self) -> usize {
        match self {
            Self::File(file) => file.bytes.len(),
            Self::Broken(name, why) => name.len() + why.len(),
        }
    }
}

enum Source<R: io::Read> {
    Directory(PathBuf, Vec<String>),
    Tar(Box<tar::Archive<R>>),
}

impl Source<BufReader<Disk>> {
    fn open(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            let mut names = Vec::new();
            list(path, "", &mut names)?;
            names.sort_unstable_by(|a, b| (a == LAST, a).cmp(&(b == LAST, b)));
            return Ok(Self::Directory(path.to_owned(), names));
        }
        let file = BufReader::with_capacity(1 << 20, Disk::open(path)?);
        Ok(Self::Tar(Box::new(tar::Archive::new(file))))
    }
}

impl<R: io::Read> Source<R> {
    /// Gives one after the other, until `give` says no.
    fn read(self, give: &mut dyn FnMut(Found) -> bool) {
        match self {
            Self::Directory(root, names) => {
                for name in names {
                    let found =
                        match bounded(&name).and_then(|max| from_disk(&root.join(&name), max)) {
                            Ok(bytes) => Found::File(File { name, bytes }),
                            Err(why) => Found::Broken(name, why),
                        };
                    if !give(found) {
                        return;
                    }
                }
            }
            Self::Tar(mut archive) => {
                let broken = |error: io::Error| Found::Broken(ARCHIVE.into(), error.to_string());
                let entries = match archive.entries() {
                    Ok(entries) => entries.raw(true),
                    Err(error) => {
                        give(broken(error));
                        return;
                    }
                };
                for entry in entries {
                    let (found, ends) = match entry {
                        Ok(entry) => (from_tar(entry), false),
                        Err(error) => (broken(error), true),
                    };
                    if !give(found) || ends {
                        return;
                    }
                }
            }
        }
    }
}

fn from_tar(entry: tar::Entry<'_, impl io::Read>) -> Found {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let kind = entry.header().entry_type();
    if kind != tar::EntryType::Regular {
        return Found::Broken(name, format!("not a plain file, but a {kind:?}"));
    }
    let size = entry.size();
    match bounded(&name).and_then(|max| read_bounded(entry, size, max)) {
        Ok(bytes) => Found::File(File { name, bytes }),
        Err(why) => Found::Broken(name, why),
    }
}

fn from_disk(path: &Path, max: usize) -> Result<Vec<u8>, String> {
    let file = Disk::open(path).map_err(|error| error.to_string())?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    read_bounded(file, size, max)
}

fn read_bounded(from: impl io::Read, size: u64, max: usize) -> Result<Vec<u8>, String> {
    if size > max as u64 {
        return Err(format!("longer than {max} bytes"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(max));
    from.take(max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    match bytes.len() as u64 == size {
        true => Ok(bytes),
        false => Err("its length is not the one announced".into()),
    }
}

/// How many bytes a file of this name may have.
fn bounded(name: &str) -> Result<usize, String> {
    let known = Name::parse(name).map(|name| name.bytes_max());
    known.ok_or_else(|| "no file of a bundle has this name".into())
}

/// Names of all files below `dir`; a link or device is named, too, and refused when it is read.
fn list(root: &Path, below: &str, names: &mut Vec<String>) -> io::Result<()> {
    // Deepest: logs/<site>/log/tile/<L>/x001/000.p/<W>.
    let too_much = below.matches('/').count() > 9 || names.len() as u64 > FILES_MAX;
    if too_much {
        let why = format!(
            "{}: too many or too deep directories for a bundle",
            root.display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(root, &format!("{name}/"), names)?;
        } else if kind.is_file() {
            names.push(name);
        } else {
            names.push(format!("{name} (a link or device)"));
        }
    }
    Ok(())
}

/// Where a new bundle goes. Nothing is there under its name before [`Self::finish`].
pub struct Target {
    path: PathBuf,
    partial: PathBuf,
    tar: Option<tar::Builder<BufWriter<Disk>>>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({})", self.path.display())
    }
}

impl Target {
    /// A tar if the name ends in `.tar`, else a directory. Refuses what exists, also what an export left that was
    /// interrupted: `<name>.partial`.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        for there in [path, &partial] {
            if there.symlink_metadata().is_ok() {
                let why = format!("{} exists already", there.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
            }
        }
        let tar = if path.extension().is_some_and(|end| end == "tar") {
            let file = Disk::create_new(&partial)?;
            Some(tar::Builder::new(BufWriter::with_capacity(1 << 20, file)))
        } else {
            fs::create_dir_all(&partial)?;
            None
        };
        Ok(Self {
            path: path.to_owned(),
            partial,
            tar,
        })
    }

    /// One file, with a fixed time and owner.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let Some(tar) = &mut self.tar else {
            let path = self.partial.join(name);
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            return fs::write(path, bytes);
        };
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes)
    }

    /// On disk, under its name.
    pub fn finish(self) -> io::Result<()> {
        if let Some(tar) = self.tar {
            let mut file = tar.into_inner()?;
            file.flush()?;
            file.get_ref().sync_all()?;
        }
        fs::rename(&self.partial, &self.path)
    }

    /// Nothing stays.
    pub fn abandon(self) {
        let removed = match self.tar {
            Some(tar) => {
                drop(tar);
                fs::remove_file(&self.partial)
            }
            None => fs::remove_dir_all(&self.partial),
        };
        if let Err(error) = removed {
            tracing::warn!(partial = %self.partial.display(), %error, "cannot remove");
        }
    }
}

/// Comes after all others, whatever its name.
const LAST: &str = "SHA256SUMS";
/// What is broken, if it is no single file.
const ARCHIVE: &str = "the archive";

#[cfg(test)]
mod tests;
