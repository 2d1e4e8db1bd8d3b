//! A site with a log of nine leaves, and the files that it exports of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use fmesh_proto::{
    audit::bundle::{LogSource, Selection, Tree, Writer},
    circle::EpochKey,
    id::{CircleId, Digest, MeshId, ObjectId, SiteId},
    keys::{KeyHistory, OperatingKeys, RootKey, sign_manifest},
    kinds::Kind,
    log::{Frontier, leaf_hash, prove_inclusion},
    mesh::issue::{Author, Item, Seal},
    note::{Checkpoint, ProofFile, vkey},
    record::{Fields, Verified, View},
};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use serde_json::{Value, json};

const MESH: MeshId = MeshId([3; 32]);
const PARTNERS: CircleId = CircleId([7; 16]);
const AUDITORS: CircleId = CircleId([8; 16]);
const SIGNED_AT: u64 = 1_790_000_000;

/// A site, its log, and the views that its partners hold.
pub(crate) struct Plant {
    site: SiteId,
    keys: OperatingKeys,
    manifest: View,
    views: Vec<View>,
}

/// What stands in the three files of one record.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) record: String,
    pub(crate) proof: String,
    pub(crate) manifest: String,
}

impl Plant {
    /// Fresh salts each time; keys from `seed`.
    pub(crate) fn new(seed: u8) -> Self {
        let mut rng = UnwrapErr(SysRng);
        let root = RootKey::from_bytes(&[seed; 32]);
        let keys = OperatingKeys::from_seed(&[seed; 32]);
        let site = root.site();
        let manifest = sign_manifest(&root, &keys.public(), SIGNED_AT, &mut rng);
        let author = Author {
            mesh: MESH,
            site,
            keys: &keys,
            manifest: &manifest,
        };
        let group = |byte| Seal::Group(1, EpochKey([byte; 32]));
        let seals = BTreeMap::from([(PARTNERS, group(1)), (AUDITORS, group(2))]);
        let items = std::iter::once(resource())
            .chain((0..7).map(capacity))
            .collect();
        let issuance = author
            .issue(
                None,
                &mut BTreeMap::new(),
                &seals,
                items,
                SIGNED_AT,
                &mut rng,
            )
            .expect("the records keep their rules");
        let views = issuance.records.iter().map(|signed| {
            let Some(issued) = &signed.issued else {
                return signed.archive.clone();
            };
            let (_, _, slots) = signed
                .feeds
                .iter()
                .find(|(circle, _, _)| *circle == PARTNERS)
                .expect("everything goes to the partners");
            issued.view(&PARTNERS, slots).expect("it goes to them")
        });
        let views = views.collect();
        Self {
            site,
            keys,
            manifest,
            views,
        }
    }

    pub(crate) fn site(&self) -> SiteId {
        self.site
    }

    pub(crate) fn origin(&self) -> String {
        Checkpoint::origin_of(&MESH, &self.site)
    }

    /// Leaves.
    pub(crate) fn size(&self) -> u64 {
        self.views.len() as u64
    }

    /// Root of the first `size` leaves.
    pub(crate) fn root(&self, size: u64) -> Digest {
        self.tree(size).0.root()
    }

    /// A record as partners verify it.
    pub(crate) fn record(&self, seq: u64) -> Verified {
        let keys = match seq {
            0 => return KeyHistory::from_manifest(&self.manifest).expect("ours").1,
            _ => self.keys.record().public(),
        };
        let parsed = self.view(seq).clone().parse().expect("ours");
        parsed.verify(&keys).expect("ours")
    }

    /// The files of leaf `seq` under a checkpoint of the first `size` leaves.
    pub(crate) fn files(&self, seq: u64, size: u64) -> Files {
        let (frontier, nodes) = self.tree(size);
        let proof = ProofFile {
            index: seq,
            path: prove_inclusion(&nodes, seq, size).expect("all nodes are there"),
            checkpoint: Checkpoint::sign(&self.origin(), size, frontier.root(), self.keys.log()),
        };
        Files {
            record: self.view(seq).encode(),
            proof: proof.encode(),
            manifest: self.manifest.encode(),
        }
    }

    /// The view of leaf `seq` with another payload, truly signed by the site.
    pub(crate) fn sign_changed(&self, seq: u64, change: impl Fn(&str) -> String) -> String {
        let view = self.view(seq).encode();
        let (core, disclosures) = view.split_once('~').expect("a view");
        let mut parts = core.split('.');
        let (header, payload) = (
            parts.next().expect("header"),
            parts.next().expect("payload"),
        );
        let payload = BASE64URL.decode(payload).expect("base64url");
        let payload = String::from_utf8(payload).expect("JSON");
        let changed = change(&payload);
        assert_ne!(changed, payload, "the change changes something");
        let signed = format!("{header}.{}", BASE64URL.encode(changed));
        let signature = BASE64URL.encode(self.keys.record().sign(signed.as_bytes()));
        format!("{signed}.{signature}~{disclosures}")
    }

    /// The log's key, as notes write it.
    pub(crate) fn vkey(&self) -> String {
        vkey(&self.origin(), &self.keys.log().public())
    }

    /// A bundle of a log of `leaves`: the first are these records, of the others only the hash is known. With checkpoints
    /// of the sizes `older`, and the newest as `cosign` gives it back. The directory of the log.
    pub(crate) fn bundle(
        &self,
        dir: &Path,
        leaves: u64,
        older: &[u64],
        cosign: impl Fn(Checkpoint) -> Checkpoint,
    ) -> PathBuf {
        let shown = self.views.iter().map(View::core).map(str::as_bytes);
        let hashes = shown.map(leaf_hash).chain(
            (self.size()..leaves).map(|leaf| leaf_hash(format!("not held {leaf}").as_bytes())),
        );
        let tree = Tree::new(hashes.collect());
        let checkpoint = |size| {
            let root = tree.root_at(size).expect("a size of this log");
            Checkpoint::sign(&self.origin(), size, root, self.keys.log())
        };
        let source = LogSource {
            site: self.site,
            checkpoint: cosign(checkpoint(leaves)),
            older: older.iter().copied().map(checkpoint).collect(),
            keys: vec![(0, self.manifest.clone())],
            tree: tree.clone(),
        };
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().expect("below the directory"))?;
            fs::write(path, bytes)
        };
        let mut writer = Writer::new(write);
        writer.log(source).expect("it fits");
        for (leaf, view) in (0..).zip(&self.views).skip(1) {
            writer.record(leaf, view).expect("in order");
        }
        let _write = writer.finish(None, Selection::default()).expect("small");
        dir.join("logs").join(self.site.hex())
    }

    fn view(&self, seq: u64) -> &View {
        &self.views[usize::try_from(seq).expect("a small log")]
    }

    fn tree(&self, size: u64) -> (Frontier, BTreeMap<(u8, u64), Digest>) {
        let (mut frontier, mut nodes) = (Frontier::new(), BTreeMap::new());
        for seq in 0..size {
            let leaf = leaf_hash(self.view(seq).core().as_bytes());
            frontier.append(leaf, &mut |level, index, hash| {
                nodes.insert((level, index), hash);
            });
        }
        (frontier, nodes)
    }
}

impl Files {
    /// Writes `<stem>.sdjwt` and its companions; the path of the record.
    pub(crate) fn write(&self, dir: &Path, stem: &str) -> PathBuf {
        let write = |end: &str, text: &str| {
            let path = dir.join(format!("{stem}.{end}"));
            fs::write(&path, text).expect("a temporary file");
            path
        };
        write("tlog-proof", &self.proof);
        write("keys.sdjwt", &self.manifest);
        write("sdjwt", &self.record)
    }
}

fn resource() -> Item {
    let slots = json!({
        "level": "WorkCell", "name": "DMU-80 \"große Fräse\"",
        "nameplate": {"manufacturer": "Withheld GmbH"},
        "capabilities": [{"process": "separating/milling/5-axis", "core": true,
            "materials": ["metal/aluminium/en-aw-7075"], "properties": []}],
    });
    item(Kind::Resource, 0, slots, &["level", "name", "parent"])
}

fn capacity(n: u8) -> Item {
    let column = |hours: u8| vec![hours.to_string(); 4];
    let slots = json!({
        "name": format!("hours {n}"), "unit": "HUR", "bucket": "P7D", "start": "2026-11-30",
        "total": column(80), "committed": column(n), "available": column(80 - n),
        "unattainable": column(0),
    });
    item(
        Kind::Capacity,
        1 + n,
        slots,
        &["name", "unit", "bucket", "start", "available", "process"],
    )
}

/// Partners see the named slots, auditors all.
fn item(kind: Kind, id: u8, slots: Value, partners: &[&str]) -> Item {
    let fields: Fields = serde_json::from_value(slots).expect("an object");
    let all = kind.slots().iter();
    let set = |names: &mut dyn Iterator<Item = &&str>| -> BTreeSet<String> {
        names.map(|name| (*name).to_owned()).collect()
    };
    let circles = BTreeMap::from([
        (PARTNERS, set(&mut partners.iter())),
        (AUDITORS, set(&mut all.clone())),
    ]);
    Item {
        kind,
        id: ObjectId::from_random([id; 16]),
        rev: 1,
        prev: None,
        retired: false,
        fields,
        circles,
    }
}
