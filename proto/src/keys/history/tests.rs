//! Trust in keys: where it begins, how it moves, what is refused.

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use serde_json::json;

use super::*;
use crate::{
    id::{MeshId, ObjectId},
    keys::{OperatingKeys, RootKey, SigningKey, sign_manifest},
    record::{Claims, Fields, Issued},
};

struct Site {
    root: RootKey,
    keys: OperatingKeys,
    rng: ChaCha20Rng,
}

fn site() -> Site {
    Site {
        root: RootKey::from_bytes(&[9; 32]),
        keys: OperatingKeys::from_seed(&[1; 32]),
        rng: ChaCha20Rng::seed_from_u64(1),
    }
}

impl Site {
    fn manifest(&mut self) -> View {
        sign_manifest(
            &self.root,
            &self.keys.public(),
            1_790_000_000,
            &mut self.rng,
        )
    }

    fn claims(&self, kind: Kind, seq: u64) -> Claims {
        let is_keys = kind == Kind::Keys;
        Claims {
            mesh: (!is_keys).then_some(MeshId([5; 32])),
            iss: self.root.site(),
            log: 1,
            seq,
            id: if is_keys {
                manifest_id(&self.root.site())
            } else {
                ObjectId::from_random([3; 16])
            },
            kind,
            rev: 1,
            prev: None,
            iat: 1_790_000_000,
            retired: false,
        }
    }

    fn sign(&mut self, claims: Claims, fields: &Fields, key: &SigningKey) -> View {
        let feeds = [(CircleId::MESH_WIDE, claims.seq + 1)];
        Issued::sign(claims, fields, &feeds, key, &mut self.rng)
            .expect("signs")
            .full_view()
    }

    /// A record of kind `site` by an operating key.
    fn record(&mut self, seq: u64, key: &SigningKey) -> View {
        let fields = Fields::from([("name".to_owned(), json!("Nordbach"))]);
        self.sign(self.claims(Kind::Site, seq), &fields, key)
    }

    fn rotation(&mut self, seq: u64, rev: u64, prev: Digest, keys: &KeySet) -> View {
        let claims = Claims {
            rev,
            prev: Some(prev),
            ..self.claims(Kind::Keys, seq)
        };
        let root = RootKey::from_bytes(&[9; 32]);
        self.sign(claims, &keys.write(), root.key())
    }
}

/// New keys, but the log key stays.
fn renewed(seed: u8) -> (OperatingKeys, KeySet) {
    let keys = OperatingKeys::from_seed(&[seed; 32]);
    let set = KeySet {
        log: site().keys.public().log,
        ..keys.public()
    };
    (keys, set)
}

#[test]
fn trust_begins_at_the_manifest() {
    let mut site = site();
    let manifest = site.manifest();
    let (history, record) = KeyHistory::from_manifest(&manifest).expect("a manifest");
    assert_eq!(history.site(), site.root.site());
    assert_eq!(history.root(), site.root.key().public());
    assert_eq!(*history.current(), site.keys.public());
    assert_eq!(record.feeds(), [(CircleId::MESH_WIDE, 1)]);
    assert_eq!(history.record_key_at(0), Some(history.root()));
    assert_eq!(history.record_key_at(1), Some(site.keys.record().public()));
    assert_eq!(
        history.record_key_at(u64::MAX),
        Some(site.keys.record().public())
    );
    // The position may also be withheld.
    let bare = View::decode(format!("{}~", manifest.core()).as_bytes()).expect("a view");
    assert!(KeyHistory::from_manifest(&bare).is_ok());
}

#[test]
fn what_is_not_a_first_manifest_by_the_root_is_refused() {
    let mut site = site();
    let keys = site.keys.public();
    let (first, root) = (site.claims(Kind::Keys, 0), RootKey::from_bytes(&[9; 32]));
    let refused = |view: View, why: &str| {
        let error = KeyHistory::from_manifest(&view).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    };
    let view = site.sign(
        Claims {
            seq: 1,
            ..first.clone()
        },
        &keys.write(),
        root.key(),
    );
    refused(view, "at leaf 0");
    let view = site.rotation(0, 2, Digest([0; 32]), &keys);
    refused(view, "first revision");
    let record = OperatingKeys::from_seed(&[1; 32]);
    let view = site.record(0, record.record());
    refused(view, "of kind keys");
    let view = site.sign(
        Claims {
            id: ObjectId::from_random([1; 16]),
            ..first.clone()
        },
        &keys.write(),
        root.key(),
    );
    refused(view, "object id");
    let view = site.sign(first.clone(), &keys.write(), record.record());
    refused(view, "does not count at leaf 0");
    let nobody = SiteId([0; 32]);
    let view = site.sign(
        Claims {
            iss: nobody,
            id: manifest_id(&nobody),
            ..first.clone()
        },
        &keys.write(),
        root.key(),
    );
    refused(view, "weak or not canonical");
    let view = Issued::sign(
        first,
        &keys.write(),
        &[(CircleId::MESH_WIDE, 2)],
        root.key(),
        &mut site.rng,
    )
    .expect("signs");
    refused(view.full_view(), "first record of the mesh-wide circle");
}

#[test]
fn keys_count_by_index() {
    let mut site = site();
    let (mut history, first) = KeyHistory::from_manifest(&site.manifest()).expect("a manifest");
    let (old, (new, set)) = (OperatingKeys::from_seed(&[1; 32]), renewed(2));
    let by_old = site.record(6, old.record());
    let by_new = site.record(6, new.record());
    assert!(history.verify(by_old.clone()).is_ok());
    assert!(matches!(
        history.verify(by_new.clone()),
        Err(RecordError::WrongKey { seq: 6, .. })
    ));

    let rotation = site.rotation(5, 2, first.core_digest(), &set);
    let rotation = history.verify(rotation).expect("by the root");
    history.rotate(&rotation).expect("the next manifest");
    assert!(matches!(
        history.verify(by_old),
        Err(RecordError::WrongKey { seq: 6, .. })
    ));
    assert!(history.verify(by_new).is_ok());
    assert!(
        history.verify(site.record(4, old.record())).is_ok(),
        "old records keep their key"
    );
    assert!(history.verify(site.record(4, new.record())).is_err());
    for key in [&old, &new] {
        let at_rotation = site.record(5, key.record());
        assert!(matches!(
            history.verify(at_rotation),
            Err(RecordError::WrongKey { seq: 5, .. })
        ));
    }
    assert_eq!(history.record_key_at(5), Some(history.root()));
    assert_eq!(history.current(), &set);

    let (_, third) = renewed(3);
    let again = site.rotation(9, 3, rotation.core_digest(), &third);
    let again = history.verify(again).expect("by the root");
    history.rotate(&again).expect("the next manifest");
    assert_eq!(history.record_key_at(4), Some(old.record().public()));
    assert_eq!(history.record_key_at(9), Some(history.root()));
    assert_eq!(history.record_key_at(8), Some(set.record));
    assert_eq!(history.record_key_at(10), Some(third.record));
    // Known ones change nothing, in any order.
    for known in [&first, &rotation, &again] {
        history.rotate(known).expect("known");
    }
    assert_eq!(history.current(), &third);
}

#[test]
fn the_root_signs_keys_and_nothing_else() {
    let mut site = site();
    let (history, first) = KeyHistory::from_manifest(&site.manifest()).expect("a manifest");
    let root = RootKey::from_bytes(&[9; 32]);
    for seq in [0, 1] {
        let view = site.record(seq, root.key());
        assert!(
            matches!(history.verify(view), Err(RecordError::WrongKey { .. })),
            "{seq}"
        );
    }
    let claims = Claims {
        rev: 2,
        prev: Some(first.core_digest()),
        ..site.claims(Kind::Keys, 5)
    };
    let keys = OperatingKeys::from_seed(&[1; 32]);
    let view = site.sign(claims, &renewed(2).1.write(), keys.record());
    assert!(matches!(
        history.verify(view),
        Err(RecordError::WrongKey { seq: 5, .. })
    ));
}

#[test]
fn records_of_other_sites_and_logs_are_refused() {
    let mut site = site();
    let (history, _) = KeyHistory::from_manifest(&site.manifest()).expect("a manifest");
    let keys = OperatingKeys::from_seed(&[1; 32]);
    let ours = site.claims(Kind::Site, 1);
    for claims in [
        Claims {
            iss: SiteId([1; 32]),
            ..ours.clone()
        },
        Claims { log: 2, ..ours },
    ] {
        let view = site.sign(claims, &Fields::new(), keys.record());
        assert!(matches!(
            history.verify(view),
            Err(RecordError::Malformed(_))
        ));
    }
}

#[test]
fn rotations_come_in_order_and_keep_the_log_key() {
    let mut site = site();
    let (history, first) = KeyHistory::from_manifest(&site.manifest()).expect("a manifest");
    let (fresh, set) = renewed(2);
    let prev = first.core_digest();
    let broken = KeySet {
        witness: set.record,
        ..set
    };
    for (view, why) in [
        (site.rotation(5, 3, prev, &set), "fetch the rotations"),
        (
            site.rotation(5, 2, Digest([1; 32]), &set),
            "fetch the rotations",
        ),
        (site.rotation(0, 2, prev, &set), "fetch the rotations"),
        (site.rotation(5, 2, prev, &fresh.public()), "log key"),
        (site.rotation(5, 2, prev, &broken), "the same key"),
        (
            site.record(5, &SigningKey::from_bytes(&[9; 32])),
            "does not revise",
        ),
    ] {
        // By the root in each case, so that the rotation itself is what is judged.
        let record = view
            .parse()
            .and_then(|parsed| parsed.verify(&history.root()));
        let error = record
            .and_then(|record| history.clone().rotate(&record))
            .expect_err(why)
            .to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn no_more_keys_records_count_than_a_fork_proof_carries() {
    let mut site = site();
    let (mut history, _) = KeyHistory::from_manifest(&site.manifest()).expect("a manifest");
    for n in 1..=KEYS_RECORDS_MAX {
        let (rev, prev) = history.newest_revision();
        let (_, set) = renewed(u8::try_from(n).expect("few") + 1);
        let view = site.rotation(n as u64 * 2, rev + 1, prev, &set);
        let record = history.verify(view).expect("by the root");
        let taken = history.rotate(&record);
        assert_eq!(taken.is_ok(), n < KEYS_RECORDS_MAX, "{n}: {taken:?}");
    }
    assert_eq!(history.views().len(), KEYS_RECORDS_MAX);
}
