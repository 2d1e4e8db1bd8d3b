//! What the benches share: a site's log made with `proto` alone, records of a known size, figures.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each bench target uses its own part of this"
)]

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use base64::Engine as _;
use fmesh_proto::{
    circle::EpochKey,
    id::{CircleId, MeshId, ObjectId, SiteId},
    keys::{OperatingKeys, PublicKey, RootKey, sign_manifest},
    kinds::Kind,
    membership::{Act, Role},
    mesh::{
        follow::Head,
        issue::{Author, Issuance, Item, Seal},
    },
    publication::Publication,
    record::{Fields, View},
};
use serde_json::json;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Unix seconds that records claim.
pub const IAT: u64 = 1_790_000_000;
/// The circle whose feed carries the records.
pub const CIRCLE: CircleId = CircleId([3; 16]);

/// A site with keys from a seed.
pub struct Party {
    pub site: SiteId,
    pub keys: Arc<OperatingKeys>,
    pub manifest: View,
}

impl Party {
    pub fn new(seed: u8) -> Self {
        let root = RootKey::from_bytes(&[seed; 32]);
        let keys = Arc::new(OperatingKeys::from_seed(&[seed ^ 0x55; 32]));
        let manifest = sign_manifest(&root, &keys.public(), IAT, &mut random());
        Self {
            site: root.site(),
            keys,
            manifest,
        }
    }
}

/// The log of a founder: its mesh, one admitted reader, and records for that reader.
pub struct History {
    pub mesh: MeshId,
    pub author: Party,
    /// Manifest, founding record and admission, as a newcomer gets them.
    pub membership: Vec<View>,
    /// The whole log.
    pub publications: Vec<Publication>,
    /// The feed of [`CIRCLE`], from position 1.
    pub feed: Vec<View>,
    head: Option<Head>,
    tails: BTreeMap<CircleId, u64>,
}

impl History {
    /// Founds a mesh and admits `reader`.
    pub fn found(author: Party, reader: &Party) -> Self {
        let nonce = [7; 16];
        let mesh = MeshId::found(&author.site, &nonce);
        let mut history = Self {
            mesh,
            membership: vec![author.manifest.clone()],
            author,
            publications: Vec::new(),
            feed: Vec::new(),
            head: None,
            tails: BTreeMap::new(),
        };
        let acts = [
            Act::Found {
                nonce,
                name: "Author".into(),
            },
            Act::Admit {
                site: reader.site,
                name: "Reader".into(),
                role: Role::Member,
                manifest: reader.manifest.clone(),
            },
        ];
        for act in acts {
            let item = item(Kind::Membership, act.write(), CircleId::MESH_WIDE);
            let issued = history.issue(vec![item]);
            let views = issued.records.into_iter().map(|signed| signed.archive);
            let known = history.membership.clone();
            history
                .membership
                .extend(views.filter(|view| known.iter().all(|k| k.core() != view.core())));
        }
        history
    }

    /// Appends capacity records, everything shown to the circle.
    pub fn write(&mut self, records: usize) {
        let slots = Kind::Capacity
            .slots()
            .iter()
            .map(|slot| (*slot).to_owned())
            .collect();
        let first = self.feed.len();
        let items = (first..first + records)
            .map(|n| item(Kind::Capacity, content(n), CIRCLE))
            .collect();
        let views: Vec<View> = self
            .issue(items)
            .records
            .iter()
            .filter_map(|signed| signed.issued.as_ref()?.view(&CIRCLE, &slots))
            .collect();
        self.feed.extend(views);
    }

    fn issue(&mut self, items: Vec<Item>) -> Issuance {
        let seals = [
            (CircleId::MESH_WIDE, Seal::Plain),
            (CIRCLE, Seal::Group(1, EpochKey([5; 32]))),
        ]
        .into();
        let author = Author {
            mesh: self.mesh,
            site: self.author.site,
            keys: &self.author.keys,
            manifest: &self.author.manifest,
        };
        let issuance = author
            .issue(
                self.head.as_ref(),
                &mut self.tails,
                &seals,
                items,
                IAT,
                &mut random(),
            )
            .expect("good records are signed");
        self.head = Some(issuance.head.clone());
        for publication in &issuance.publications {
            let again = Publication::decode(publication.bytes()).expect("our own");
            self.publications.push(again);
        }
        issuance
    }
}

fn item(kind: Kind, fields: Fields, circle: CircleId) -> Item {
    let slots = kind.slots().iter().map(|slot| (*slot).to_owned()).collect();
    let mut id = [0; 16];
    rand_core::Rng::fill_bytes(&mut random(), &mut id);
    Item {
        kind,
        id: ObjectId::from_random(id),
        rev: 1,
        prev: None,
        retired: false,
        fields,
        circles: [(circle, slots)].into(),
    }
}

/// Fields of one capacity: about 400 bytes of JSON in its values.
pub fn content(n: usize) -> Fields {
    let weeks = 14;
    let column = |hours: usize| {
        (0..weeks)
            .map(|week| format!("{}.5", (hours + week) % 40 + 40))
            .collect::<Vec<_>>()
    };
    let zero = vec!["0"; weeks];
    let value = json!({
        "name": format!("5-axis milling centre {n}"),
        "process": "separating/milling/5-axis",
        "unit": "HUR",
        "bucket": "P7D",
        "start": "2026-11-30",
        "total": column(n),
        "committed": zero,
        "available": column(n),
        "unattainable": zero,
    });
    serde_json::from_value(value).expect("an object")
}

/// Bytes of the values of [`content`].
pub fn content_bytes(fields: &Fields) -> usize {
    fields.values().map(|value| value.to_string().len()).sum()
}

pub fn random() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// True under `cargo bench`. `cargo test --all-targets` runs benches too: then a short run shows that they work.
pub fn is_bench() -> bool {
    std::env::args().any(|arg| arg == "--bench")
}

/// `NAME=number` among the arguments, else `full` under `cargo bench` and `short` otherwise.
pub fn size(name: &str, full: usize, short: usize) -> usize {
    let prefix = format!("{name}=");
    let given = std::env::args().find_map(|arg| arg.strip_prefix(&prefix)?.parse().ok());
    given.unwrap_or(if is_bench() { full } else { short })
}

/// Processor time that this process has used, in all its threads.
pub fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks = fields.split(' ').skip(12).take(2);
    let ticks: u64 = ticks.map(|n| n.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// Things per second.
pub fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// How long something takes.
pub fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let out = what();
    (out, start.elapsed())
}

/// The value below which `percent` of `sorted` lie.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((sorted.len() * percent / 100).min(last))
        .copied()
        .unwrap_or_default()
}

/// What a signature covers, and the signature.
pub struct Signed {
    text: Vec<u8>,
    signature: [u8; 64],
}

impl Signed {
    pub fn of(view: &View) -> Self {
        let (text, signature) = view.core().rsplit_once('.').expect("three parts");
        Self {
            text: text.into(),
            signature: base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(signature)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .expect("64 bytes"),
        }
    }
}

/// One strict check of each signature, on so many cores: what everything else is measured against.
pub fn verify_raw(key: &PublicKey, signed: &[Signed], cores: usize) {
    thread::scope(|scope| {
        for part in signed.chunks(signed.len().div_ceil(cores)) {
            scope.spawn(move || {
                for one in part {
                    key.verify(&one.text, &one.signature).expect("good");
                }
            });
        }
    });
}
