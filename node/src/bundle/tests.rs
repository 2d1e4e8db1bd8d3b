use std::{convert::Infallible, sync::OnceLock};

use fmesh_proto::{
    audit::{
        Verdict,
        bundle::{BundleReport, Here, LogSource, Selection, Tree, Writer},
    },
    id::{Digest, MeshId},
    keys::{OperatingKeys, RootKey, sign_manifest},
    log::leaf_hash,
    note::Checkpoint,
};
use proptest::prelude::*;

use super::*;

/// Names and bytes.
type Files = Vec<(String, Vec<u8>)>;

/// A site's id, and the files of a bundle of its log, which holds its key manifest.
fn good() -> &'static (SiteId, Files) {
    static GOOD: OnceLock<(SiteId, Files)> = OnceLock::new();
    GOOD.get_or_init(|| {
        let (root, keys) = (
            RootKey::from_bytes(&[1; 32]),
            OperatingKeys::from_seed(&[1; 32]),
        );
        let mut random = rand_core::UnwrapErr(getrandom::SysRng);
        let manifest = sign_manifest(&root, &keys.public(), 1_790_000_000, &mut random);
        let tree = Tree::new(vec![leaf_hash(manifest.core().as_bytes())]);
        let origin = Checkpoint::origin_of(&MeshId([3; 32]), &root.site());
        let top = tree.root_at(1).expect("one leaf");
        let source = LogSource {
            site: root.site(),
            checkpoint: Checkpoint::sign(&origin, 1, top, keys.log()),
            older: Vec::new(),
            keys: vec![(0, manifest)],
            tree,
        };
        let mut files = Vec::new();
        let mut writer = Writer::new(|name: &str, bytes: &[u8]| -> Result<(), Infallible> {
            files.push((name.to_owned(), bytes.to_vec()));
            Ok(())
        });
        writer.log(source).expect("fits");
        let _sink = writer.finish(None, Selection::default()).expect("small");
        (root.site(), files)
    })
}

fn anchors() -> TrustAnchors {
    TrustAnchors::parse(format!("site {}\n", good().0.hex()).as_bytes()).expect("one site")
}

fn header(kind: tar::EntryType, name: &str, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    // Not by set_path, which refuses what a forger may write.
    let field = &mut header.as_old_mut().name;
    let bytes = name.as_bytes();
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    header
}

/// An entry as it stands in an archive.
fn entry(kind: tar::EntryType, name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = header(kind, name, bytes.len() as u64).as_bytes().to_vec();
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn plain(name: &str, bytes: &[u8]) -> Vec<u8> {
    entry(tar::EntryType::Regular, name, bytes)
}

/// Names of more than 100 bytes need the other field of the header, as the program writes it.
fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("bundle.tar");
    let mut target = Target::create(&path).expect("new");
    for (name, bytes) in files {
        target.put(name, bytes).expect("written");
    }
    target.finish().expect("written");
    fs::read(path).expect("there")
}

fn good_tar() -> &'static [u8] {
    static TAR: OnceLock<Vec<u8>> = OnceLock::new();
    TAR.get_or_init(|| tar_of(&good().1))
}

fn judge_tar(tar: &[u8]) -> BundleReport {
    verify_tar(tar, &anchors(), Options::default(), &|_| {}).report
}

/// What is said of the bundle's form.
fn form(report: &BundleReport) -> (Verdict, String) {
    let form = report.claim(None, "bundle-form").expect("always judged");
    (form.verdict, form.text.clone())
}

#[test]
fn directory_and_tar_hold_the_same_and_are_written_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for name in ["bundle", "bundle.tar"] {
        let path = dir.path().join(name);
        let mut target = Target::create(&path).expect("new");
        for (name, bytes) in &good().1 {
            target.put(name, bytes).expect("written");
        }
        assert!(!path.exists(), "nothing stands there before it is whole");
        target.finish().expect("written");
        let report = verify(&path, &anchors(), Options::default(), &|_| {})
            .expect("reads")
            .report;
        assert_eq!(report.verdict, Verdict::Proven, "{report}");
        assert_eq!(report.files, good().1.len() as u64);
        let again = Target::create(&path).expect_err("it is there");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    }
    // What an interrupted export left is somebody's, too.
    let left = dir.path().join("other.partial");
    fs::create_dir(&left).expect("a directory");
    fs::write(left.join("notes"), "mine").expect("a file");
    assert!(Target::create(&dir.path().join("other")).is_err());
    assert_eq!(fs::read(left.join("notes")).expect("untouched"), b"mine");
    // What is given up leaves nothing.
    for name in ["gone", "gone.tar"] {
        let mut target = Target::create(&dir.path().join(name)).expect("new");
        target.put("manifest.json", b"{}").expect("written");
        target.abandon();
    }
    let names: Vec<_> = fs::read_dir(dir.path()).expect("a directory").collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

/// Examines here, and counts what is under way.
#[derive(Default)]
struct Counted {
    here: Here,
    underway: usize,
    most: usize,
}

impl Examine for Counted {
    fn begin(&mut self, check: Arc<Check>, items: Vec<Item>) {
        self.underway += 1;
        self.most = self.most.max(self.underway);
        self.here.begin(check, items);
    }

    fn end(&mut self) -> Vec<Examined> {
        self.underway -= 1;
        self.here.end()
    }
}

#[test]
fn many_cores_say_what_one_says_in_the_order_of_the_records() {
    const RECORDS: u64 = 3_000;
    let mut files: Vec<(String, Vec<u8>)> = good().1.clone();
    files.truncate(files.len() - 3);
    for leaf in 1..=RECORDS {
        let record = Name::Log(good().0, LogFile::Record(leaf)).to_string();
        files.push((record, format!("no record {leaf}~").into_bytes()));
        if leaf % 3 == 0 {
            let proof = Name::Log(good().0, LogFile::RecordProof(leaf)).to_string();
            files.push((proof, b"no proof".to_vec()));
        }
    }
    let lines = files.iter();
    let lines = lines.map(|(name, bytes)| format!("{}  {name}\n", Digest::of(bytes).hex()));
    let sums = lines.collect::<String>();
    files.push((LAST.to_owned(), sums.into_bytes()));

    let anchors = anchors();
    let mut counted = Counted::default();
    let mut verifier = Verifier::new(&anchors, Options::default());
    for (name, bytes) in files.clone() {
        verifier.push(File { name, bytes }, &mut counted);
    }
    let here = verifier.finish(&mut counted).report;
    let json = |report: &BundleReport| serde_json::to_string(report).expect("JSON");
    assert_eq!(json(&judge_tar(&tar_of(&files))), json(&here));
    assert_eq!((counted.underway, counted.most), (0, AHEAD + 1));
    let sums = here.findings.iter().find(|finding| finding.file == LAST);
    assert_eq!(sums, None, "the sums were compared in the files' order");
    let named: Vec<u64> = here
        .findings
        .iter()
        .filter_map(|found| found.leaf)
        .collect();
    assert!(named.is_sorted() && named.len() > AHEAD, "{named:?}");
    assert_eq!(
        here.claim(Some(&good().0), "author-signature")
            .map(|claim| claim.verdict),
        Some(Verdict::Refuted)
    );
}

#[test]
fn hostile_archives_are_refused_and_nothing_is_unpacked() {
    use tar::EntryType as T;
    let whole = good_tar();
    // Before the two empty blocks that end an archive.
    let with = |entry: Vec<u8>| [entry, whole.to_vec()].concat();
    let last = |entry: Vec<u8>| {
        let end = whole.len() - 1024;
        [&whole[..end], &entry, &whole[end..]].concat()
    };
    let endless = header(T::Regular, "manifest.json", 1 << 40)
        .as_bytes()
        .to_vec();
    let mut doubled = good().1.clone();
    doubled.insert(1, doubled[0].clone());
    let long_line = vec![b'a'; 9 << 20];
    let site = good().0.hex();
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        (
            "a way out",
            "../manifest.json: no file of a bundle",
            with(plain("../manifest.json", b"x")),
        ),
        (
            "a way out below",
            "no file of a bundle",
            with(plain("logs/../../x", b"x")),
        ),
        (
            "an absolute name",
            "/etc/passwd: no file of a bundle",
            with(plain("/etc/passwd", b"x")),
        ),
        (
            "a name with a dot",
            "no file of a bundle",
            with(plain("./manifest.json", b"x")),
        ),
        (
            "a name that is no text",
            "no file of a bundle",
            with(plain("\u{202e}nosj", b"x")),
        ),
        (
            "a link",
            "not a plain file, but a Symlink",
            with(entry(T::Symlink, "manifest.json", b"")),
        ),
        (
            "a hard link",
            "not a plain file, but a Link",
            with(entry(T::Link, "manifest.json", b"")),
        ),
        (
            "a directory",
            "not a plain file, but a Directory",
            with(entry(T::Directory, "logs/", b"")),
        ),
        (
            "a device",
            "not a plain file, but a Char",
            with(entry(T::Char, "manifest.json", b"")),
        ),
        (
            "a pipe",
            "not a plain file, but a Fifo",
            with(entry(T::Fifo, "manifest.json", b"")),
        ),
        (
            "a hole",
            "not a plain file, but a GNUSparse",
            with(entry(T::GNUSparse, "manifest.json", b"")),
        ),
        (
            "another name for the next",
            "not a plain file",
            with(entry(T::GNULongName, "x", b"../x\0")),
        ),
        (
            "members for the next",
            "not a plain file",
            with(entry(T::XHeader, "x", b"12 path=../x\n")),
        ),
        ("a name twice", "twice, or out of order", tar_of(&doubled)),
        (
            "out of order",
            "twice, or out of order",
            with(plain("manifest.json", b"{}")),
        ),
        (
            "after the last",
            "comes after SHA256SUMS",
            last(plain("withheld.json", b"{}")),
        ),
        (
            "the last twice",
            "comes after SHA256SUMS",
            last(plain("SHA256SUMS", b"x")),
        ),
        ("a length without end", "longer than", with(endless.clone())),
        (
            "a long file",
            "longer than",
            with(plain("manifest.json", &long_line)),
        ),
        ("a long line", "SHA256SUMS", plain("SHA256SUMS", &long_line)),
        (
            "a tile that is none",
            "no file of a bundle",
            with(plain(&format!("logs/{}/x", &site[..60]), b"x")),
        ),
        ("nothing", "SHA256SUMS is missing", Vec::new()),
        ("empty blocks", "SHA256SUMS is missing", vec![0; 4096]),
        ("no archive", "the archive:", b"PK\x03\x04".repeat(1000)),
        ("half a block", "the archive:", whole[..300].to_vec()),
    ];
    for (case, why, tar) in cases {
        let report = judge_tar(&tar);
        assert_eq!(report.verdict, Verdict::Refuted, "{case}");
        let said = report.to_string();
        assert!(said.contains(why), "{case}: {said}");
        assert!(
            said.contains("ask its maker for it again"),
            "{case}: {said}"
        );
        assert!(!said.contains('\u{202e}'), "{case}");
    }
}

#[test]
fn an_archive_cut_anywhere_is_refuted() {
    let good = good_tar();
    let end = good.len() - 1024;
    for cut in (0..end).step_by(211).chain([end - 1]) {
        let report = judge_tar(&good[..cut]);
        assert_eq!(form(&report).0, Verdict::Refuted, "at {cut}");
    }
    assert_eq!(judge_tar(good).verdict, Verdict::Proven);
    let without_end = judge_tar(&good[..end]);
    assert_eq!(without_end.verdict, Verdict::Proven, "all files are there");
}

#[test]
fn links_and_foreign_files_in_a_directory_are_refused_unread() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let fresh = |name: &str| {
        let path = dir.path().join(name);
        let mut target = Target::create(&path).expect("new");
        for (name, bytes) in &good().1 {
            target.put(name, bytes).expect("written");
        }
        target.finish().expect("written");
        path
    };
    let link = |to: &Path, at: PathBuf| std::os::unix::fs::symlink(to, at).expect("links");
    let secret = dir.path().join("secret");
    fs::write(&secret, "secret").expect("a file");

    let replaced = fresh("replaced");
    fs::rename(replaced.join("manifest.json"), dir.path().join("outside")).expect("moves");
    link(&dir.path().join("outside"), replaced.join("manifest.json"));
    let added = fresh("added");
    link(&secret, added.join("SHA256SUMS.old"));
    let looped = fresh("looped");
    link(&looped, looped.join("logs/again"));
    let foreign = fresh("foreign");
    fs::write(foreign.join("README"), "read me").expect("a file");
    let deep = fresh("deep");
    let below = (0..6).fold(deep.join("logs"), |path, _| path.join("x"));
    fs::create_dir_all(&below).expect("directories");
    fs::write(below.join("y"), "y").expect("a file");
    let long = fresh("long");
    fs::write(long.join("manifest.json"), vec![b' '; 5 << 20]).expect("a file");
    for (path, why) in [
        (&replaced, "manifest.json (a link or device)"),
        (&added, "SHA256SUMS.old (a link or device)"),
        (&looped, "logs/again (a link or device)"),
        (&foreign, "README: no file of a bundle"),
        (&deep, "no file of a bundle"),
        (&long, "manifest.json: longer than"),
    ] {
        let report = verify(path, &anchors(), Options::default(), &|_| {})
            .expect("reads")
            .report;
        assert_eq!(report.verdict, Verdict::Refuted, "{why}");
        let said = report.to_string();
        assert!(said.contains(why), "{why}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
    let endless = fresh("endless");
    let below = (0..12).fold(endless.clone(), |path, _| path.join("x"));
    fs::create_dir_all(below).expect("directories");
    let error = verify(&endless, &anchors(), Options::default(), &|_| {}).expect_err("too deep");
    assert!(error.to_string().contains("too deep"), "{error}");
}

#[test]
fn records_are_read_again_by_their_leaves() {
    let (site, files) = good();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("bundle.tar");
    fs::write(&path, tar_of(files)).expect("a file");
    let wanted = BTreeSet::from([(*site, 0), (*site, 7)]);
    let found = records(&path, &wanted).expect("reads");
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [(*site, 0)]);
    let name = format!("logs/{}/keys/0000000000.sdjwt", site.hex());
    let there = files.iter().find(|(other, _)| *other == name);
    assert_eq!(
        found[&(*site, 0)].as_str().as_bytes(),
        there.expect("the manifest").1
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is done to an archive: an answer, and proven only if every file is what it was.
    #[test]
    fn any_archive_is_answered(
        at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 1..600), what in 0..3_u8,
    ) {
        let mut tar = good_tar().to_vec();
        let at = at.index(tar.len());
        let end = tar.len().min(at + bytes.len());
        match what {
            0 => { tar.splice(at..at, bytes); }
            1 => { tar.splice(at..end, bytes); }
            _ => { tar.drain(at..end); }
        }
        let report = judge_tar(&tar);
        prop_assert!(!report.to_string().is_empty());
        let same = report.digest == judge_tar(good_tar()).digest;
        prop_assert!(report.verdict != Verdict::Proven || same);
    }
}
