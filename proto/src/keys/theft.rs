//! What a thief of each key can do, and what not: a test for each row of the table in `node/SECURITY.md`, which names it.
//!
//! A thief is somebody with keys of their own and one secret of the site. What they can do is shown as well as what they cannot: a table
//! that promises too much is worse than none.

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use serde_json::json;

use super::*;
use crate::{
    audit::{Evidence, TrustAnchors, Verdict, fork::ForkProof, verify_record},
    circle::{self, CircleError, EpochKey, SealContext},
    directory,
    id::{CircleId, InviteId, MeshId, ObjectId, PeerKey},
    invite::join_proof,
    kinds::Kind,
    log::{Frontier, leaf_hash},
    mesh::admission::{InviteState, JoinRefusal, judge},
    note::{Checkpoint, Cosignature, ProofFile, SignatureType, VerifierKey},
    publication::Publication,
    record::{Claims, Fields, Issued, RecordError, View},
    wire,
};

const MESH: MeshId = MeshId([5; 32]);
const SEED: [u8; 32] = [1; 32];
const NEXT: [u8; 32] = [2; 32];
/// Leaf at which the site rotates its keys.
const ROTATION: u64 = 10;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

/// The site that is robbed: its root, its keys before and after the rotation that answers the theft.
struct Site {
    root: RootKey,
    before: OperatingKeys,
    after: OperatingKeys,
    manifest: View,
}

fn site() -> Site {
    let root = RootKey::from_bytes(&[9; 32]);
    let before = OperatingKeys::from_seed(&SEED);
    let mut kept = Kept::default().after(&SEED);
    kept.transport = None;
    Site {
        manifest: sign_manifest(&root, &before.public(), 1, &mut rng()),
        after: OperatingKeys::renewed(&NEXT, &kept),
        root,
        before,
    }
}

impl Site {
    fn id(&self) -> SiteId {
        self.root.site()
    }

    /// As everybody knows it until the theft is noticed.
    fn history(&self) -> KeyHistory {
        KeyHistory::from_manifest(&self.manifest).expect("ours").0
    }

    /// As everybody knows it after the site rotated.
    fn rotated(&self) -> KeyHistory {
        let mut history = self.history();
        let view = rotation(&self.root, &history, self.after.public());
        let record = history.verify(view).expect("by the root");
        history.rotate(&record).expect("fits");
        history
    }
}

fn rotation(root: &RootKey, history: &KeyHistory, keys: KeySet) -> View {
    let (rev, prev) = history.newest_revision();
    let rotation = Rotation {
        seq: ROTATION,
        rev: rev + 1,
        prev,
        position: 3,
        keys,
    };
    sign_rotation(root, &rotation, 1, &mut rng()).expect("signs")
}

/// A record in the site's name.
fn record(site: &Site, seq: u64, key: &SigningKey) -> View {
    let claims = Claims {
        mesh: Some(MESH),
        iss: site.id(),
        log: 1,
        seq,
        kind: Kind::Site,
        id: ObjectId::from_random([3; 16]),
        rev: 1,
        prev: None,
        iat: 1,
        retired: false,
    };
    let fields = Fields::from([("name".to_owned(), json!("Nordbach"))]);
    let feeds = [(CircleId::MESH_WIDE, seq + 1)];
    Issued::sign(claims, &fields, &feeds, key, &mut rng())
        .expect("signs")
        .full_view()
}

/// A log of these leaves, signed.
fn log(site: &Site, leaves: &[&str], key: &SigningKey) -> Checkpoint {
    let mut tree = Frontier::new();
    for leaf in leaves {
        tree.append(leaf_hash(leaf.as_bytes()), &mut |_, _, _| {});
    }
    let origin = Checkpoint::origin_of(&MESH, &site.id());
    Checkpoint::sign(&origin, tree.size(), tree.root(), key)
}

/// A publication that appends `view` to the log after its manifest.
fn publication(site: &Site, view: &View, key: &SigningKey) -> Publication {
    let (mut tree, manifest) = (Frontier::new(), site.manifest.core());
    tree.append(leaf_hash(manifest.as_bytes()), &mut |_, _, _| {});
    let leaf = leaf_hash(view.core().as_bytes());
    let checkpoint = log(site, &[manifest, view.core()], key);
    Publication::build(
        site.id(),
        checkpoint,
        tree,
        vec![leaf],
        vec![view.clone()],
        Vec::new(),
        key,
    )
    .expect("builds")
}

fn thief() -> OperatingKeys {
    OperatingKeys::from_seed(&[66; 32])
}

#[test]
fn who_has_the_root_names_keys_of_their_own_and_needs_the_log_key_to_make_them_count() {
    let site = site();
    let stolen = RootKey::from_bytes(&[9; 32]);
    // Can: keys of their own, which every verifier takes as the site's.
    let own = KeySet {
        log: site.before.public().log,
        ..thief().public()
    };
    let mut history = site.history();
    let view = rotation(&stolen, &history, own);
    let taken = history.verify(view.clone()).expect("by the root");
    history.rotate(&taken).expect("fits");
    assert_eq!(*history.current(), own);
    // Can: begin another log in the site's name, for who never knew the site.
    let other = sign_manifest(&stolen, &thief().public(), 1, &mut rng());
    let stranger = KeyHistory::from_manifest(&other).expect("by the root").0;
    assert_eq!(stranger.site(), site.id());
    // Cannot: another log key for this log; append to it without its log key.
    let mut history = site.history();
    let log_too = rotation(&stolen, &history, thief().public());
    let taken = history.verify(log_too).expect("by the root");
    assert!(
        history.rotate(&taken).is_err(),
        "the log key does not change"
    );
    let pushed = publication(
        &site,
        &record(&site, 1, site.before.record()),
        thief().log(),
    );
    assert!(pushed.check(&MESH, &site.before.public().log).is_err());
}

#[test]
fn who_has_the_record_key_signs_records_that_no_log_takes_and_none_after_a_rotation() {
    let site = site();
    // Can: the author's signature holds.
    let forged = record(&site, 1, site.before.record());
    assert!(site.history().verify(forged.clone()).is_ok());
    // Cannot: make it a leaf.
    let pushed = publication(&site, &forged, thief().log());
    assert!(pushed.check(&MESH, &site.before.public().log).is_err());
    // Cannot: sign what is later than the rotation, also with the log key.
    let rotated = site.rotated();
    let late = record(&site, ROTATION + 1, site.before.record());
    let late = rotated.verify(late);
    assert!(
        matches!(late, Err(RecordError::WrongKey { .. })),
        "{late:?}"
    );
    let ours = record(&site, ROTATION + 1, site.after.record());
    assert!(rotated.verify(ours).is_ok());
    // Stays: what it signed for a leaf before the rotation still verifies; only the log says that it is no leaf.
    assert!(rotated.verify(forged).is_ok());
}

#[test]
fn who_has_the_log_key_convicts_the_site_of_a_fork_and_a_rotation_does_not_help() {
    let site = site();
    let keys = [site.manifest.clone()];
    let ours = log(&site, &["a", "b"], site.before.log());
    // Can: another history, which is a proof against the site.
    let stolen = log(&site, &["a", "x"], site.before.log());
    let proof = ForkProof::same_size(&keys, &ours, &stolen);
    assert!(proof.verify().is_ok());
    // Stays: the log key is the same after a rotation, so is what it can do.
    assert_eq!(site.after.public().log, site.before.public().log);
    // Cannot: sign a record, or cosign.
    let forged = record(&site, 1, site.before.log());
    assert!(site.history().verify(forged).is_err());
    let name = Cosignature::name_of(&MESH, &site.id());
    let line = Cosignature::sign(&ours, &name, 1, site.before.log()).expect("signs");
    assert!(line.verify(&ours, &vkey(&site, &site.before)).is_err());
}

fn vkey(site: &Site, keys: &OperatingKeys) -> VerifierKey {
    let name = Cosignature::name_of(&MESH, &site.id());
    VerifierKey::new(&name, SignatureType::Cosignature, keys.public().witness).expect("a name")
}

#[test]
fn who_has_a_witness_key_backdates_what_one_witness_says_and_makes_no_quorum_of_two() {
    let (witness, root) = (site(), RootKey::from_bytes(&[8; 32]));
    let before = OperatingKeys::from_seed(&[8; 32]);
    let author = Site {
        manifest: sign_manifest(&root, &before.public(), 1, &mut rng()),
        root,
        before,
        ..site()
    };
    let checkpoint = log(&author, &[author.manifest.core()], author.before.log());
    let stolen = witness.before.witness();
    let key = vkey(&witness, &witness.before);
    // Can: say that it saw it in 1970.
    let line = Cosignature::sign(&checkpoint, key.name(), 1, stolen).expect("signs");
    assert!(line.verify(&checkpoint, &key).is_ok());
    let cosigned = checkpoint.with_cosignature(&line).expect("fits");
    let proof = ProofFile {
        index: 0,
        path: Vec::new(),
        checkpoint: cosigned.clone(),
    };
    let evidence = Evidence {
        record: author.manifest.encode().into_bytes(),
        proof: Some(proof.encode().into_bytes()),
        ..Evidence::default()
    };
    let claimed = |quorum: u32| {
        let other = thief().public().witness;
        let other = VerifierKey::new("other", SignatureType::Cosignature, other).expect("a name");
        let text = format!(
            "site {}\nwitness {key}\nwitness {other}\nquorum {quorum}\n",
            author.id().hex()
        );
        let anchors = TrustAnchors::parse(text.as_bytes()).expect("anchors");
        let report = verify_record(&evidence, &anchors);
        report.claim("witnesses").expect("a claim").verdict
    };
    assert_eq!(
        claimed(1),
        Verdict::Proven,
        "one stolen key is enough for one"
    );
    // Cannot: be two.
    assert_eq!(claimed(2), Verdict::NotProven);
    // Cannot: sign a checkpoint or a record of the witness itself.
    let own = log(&witness, &["a"], stolen);
    assert!(own.verify(&witness.before.public().log).is_err());
    assert!(
        witness
            .history()
            .verify(record(&witness, 1, stolen))
            .is_err()
    );
    // Helps: the new key is another one, and the old one does not speak for it. What the old one signed holds for who lists it.
    let renewed = vkey(&witness, &witness.after);
    assert!(line.verify(&checkpoint, &renewed).is_err());
    assert!(cosigned.cosignature_of(&renewed).expect("reads").is_none());
}

#[test]
fn who_has_the_transport_key_stands_in_the_sites_place_and_opens_no_box_and_signs_nothing() {
    let site = site();
    let stolen = Kept {
        log: None,
        boxes: Vec::new(),
        transport: Some(*site.before.transport_secret()),
    };
    let thief = OperatingKeys::renewed(&[66; 32], &stolen);
    // Can: be the site's PeerId, and say where it is.
    assert_eq!(thief.transport(), site.before.public().transport);
    let told = directory::sign(
        &thief,
        &MESH,
        &site.id(),
        u64::MAX,
        ["/memory/6".to_owned()],
    );
    assert_eq!(directory::signed_by(&told, &MESH, &site.history()), Some(0));
    // Cannot: open what is sealed to the site, or sign in its name. (Feeds that it is given are not sealed: `node::serve` shows that.)
    let partner = OperatingKeys::from_seed(&[3; 32]);
    let sealed = seal(&partner, &site.before.public().boxed);
    let theirs = partner.public().boxed;
    let opened = circle::open_pairwise(&thief, &theirs, &CONTEXT, &sealed);
    assert_eq!(opened, Err(CircleError::Open));
    for key in [
        thief.record(),
        &SigningKey::from_bytes(thief.transport_secret()),
    ] {
        assert!(site.history().verify(record(&site, 1, key)).is_err());
    }
    // Helps: what the new key says outweighs it, whatever number it gave itself.
    let ours = directory::sign(&site.after, &MESH, &site.id(), 1, Vec::new());
    let rotated = site.rotated();
    let by = |record| directory::signed_by(record, &MESH, &rotated);
    assert!(by(&ours) > by(&told));
}

const CONTEXT: SealContext = SealContext {
    mesh: MESH,
    site: SiteId([4; 32]),
    circle: CircleId([6; 16]),
    epoch: 0,
    from: 3,
    size: 4,
};

fn seal(from: &OperatingKeys, to: &[u8; 32]) -> wire::Sealed {
    let content = [record(&site(), 1, from.record())];
    circle::seal_pairwise(from, to, &CONTEXT, &content, &mut rng()).expect("seals")
}

#[test]
fn who_has_the_box_key_reads_what_is_sealed_to_it_until_a_rotation_is_known_and_signs_nothing() {
    let site = site();
    let partner = OperatingKeys::from_seed(&[3; 32]);
    let theirs = partner.public().boxed;
    // The thief has the one secret only; `Kept` gives a set of keys with it.
    let stolen = Kept {
        log: None,
        boxes: vec![site.before.box_secret().to_bytes()],
        transport: None,
    };
    let thief = OperatingKeys::renewed(&[66; 32], &stolen);
    // Can: read what was and what will be sealed to that key.
    let sealed = seal(&partner, &site.before.public().boxed);
    assert!(circle::open_pairwise(&thief, &theirs, &CONTEXT, &sealed).is_ok());
    // Cannot: read what is sealed to the next one. The site reads both.
    let later = seal(&partner, &site.after.public().boxed);
    let opened = circle::open_pairwise(&thief, &theirs, &CONTEXT, &later);
    assert_eq!(opened, Err(CircleError::Open));
    for sealed in [&sealed, &later] {
        assert!(circle::open_pairwise(&site.after, &theirs, &CONTEXT, sealed).is_ok());
    }
    // Cannot: sign a record, also not one that it seals as the site could.
    let secret = SigningKey::from_bytes(&site.before.box_secret().to_bytes());
    assert!(site.history().verify(record(&site, 1, &secret)).is_err());
    // Can, until then: seal in the site's name; after, a partner that knows the new key does not open it.
    let posing = seal(&site.before, &theirs);
    let (old, new) = (site.before.public().boxed, site.after.public().boxed);
    assert!(circle::open_pairwise(&partner, &old, &CONTEXT, &posing).is_ok());
    assert!(circle::open_pairwise(&partner, &new, &CONTEXT, &posing).is_err());
}

#[test]
fn who_has_the_seed_has_every_operating_key_but_not_the_next_ones_and_keeps_the_log_key() {
    let site = site();
    let thief = OperatingKeys::from_seed(&SEED);
    // Can: all that the site could.
    assert_eq!(thief.public(), site.before.public());
    let forged = record(&site, 1, thief.record());
    let pushed = publication(&site, &forged, thief.log());
    assert!(pushed.check(&MESH, &site.before.public().log).is_ok());
    assert!(site.history().verify(forged).is_ok());
    // Cannot: rotate, as that is the root's.
    let mut history = site.history();
    let (view, own) = (RootKey::from_bytes(&SEED), OperatingKeys::from_seed(&NEXT));
    let view = rotation(&view, &history, own.public());
    assert!(history.verify(view).is_err());
    // Cannot: derive the next keys, or sign with the old ones.
    let (old, new) = (thief.public(), site.after.public());
    let mine = [old.record, old.witness].map(|key| *key.as_bytes());
    assert!(!mine.contains(new.record.as_bytes()) && !mine.contains(new.witness.as_bytes()));
    assert!((old.transport, old.boxed) != (new.transport, new.boxed));
    let late = record(&site, ROTATION + 1, thief.record());
    history = site.rotated();
    assert!(history.verify(late).is_err());
    // Stays: the log key.
    assert_eq!(new.log, old.log);
}

#[test]
fn who_has_an_epoch_key_reads_that_epoch_of_that_group_and_writes_nothing() {
    let site = site();
    let (stolen, next) = (EpochKey([1; 32]), EpochKey([2; 32]));
    let context = |epoch| SealContext { epoch, ..CONTEXT };
    let content = [record(&site, 1, site.before.record())];
    // Can.
    let sealed = circle::seal_group(&stolen, &context(1), &content, &mut rng());
    let read = circle::open_group(&stolen, &context(1), &sealed);
    assert_eq!(read.as_deref(), Ok(&content[..]));
    // Cannot: the next epoch, or another place of the log.
    let later = circle::seal_group(&next, &context(2), &content, &mut rng());
    assert!(circle::open_group(&stolen, &context(2), &later).is_err());
    let elsewhere = SealContext {
        from: 9,
        ..context(1)
    };
    assert!(circle::open_group(&stolen, &elsewhere, &sealed).is_err());
    // Cannot: write what a member would believe.
    let forged = [record(&site, 1, thief().record())];
    let sealed = circle::seal_group(&stolen, &context(1), &forged, &mut rng());
    let opened = circle::open_group(&stolen, &context(1), &sealed).expect("opens");
    for view in opened {
        assert!(site.history().verify(view).is_err());
    }
}

#[test]
fn who_has_an_invite_knocks_in_their_own_name_until_it_is_revoked() {
    let (inviter, root) = (site(), RootKey::from_bytes(&[66; 32]));
    let (here, thief) = (inviter.before.transport(), thief());
    let secret = [7; 16];
    let invite = InviteState {
        secret,
        expires: 100,
        uses_left: 1,
        revoked: false,
        auto_approve: false,
    };
    let manifest = sign_manifest(&root, &thief.public(), 1, &mut rng());
    let request = |manifest: &View, joiner: &PeerKey| wire::JoinRequest {
        invite: InviteId([1; 16]).0.to_vec(),
        manifest: manifest.encode().into_bytes(),
        name: "Bolt Nord".into(),
        proof: join_proof(&secret, &here, joiner, manifest).to_vec(),
        address: Vec::new(),
    };
    let judged = |invite: &InviteState, request: &wire::JoinRequest, now| {
        judge(
            Some(invite),
            request,
            &here,
            &thief.transport(),
            |_| false,
            now,
        )
    };
    // Can: knock, under any name, as a site of their own. Who looks at the fingerprint sees another one.
    let own = request(&manifest, &thief.transport());
    let knock = judged(&invite, &own, 1).expect("is heard");
    assert_eq!(knock.site, root.site());
    // Cannot: knock as the partner that was meant, whose transport key it does not have.
    let meant = request(&inviter.manifest, &here);
    assert_eq!(
        judged(&invite, &meant, 1).map(|knock| knock.site),
        Err(JoinRefusal::Malformed)
    );
    // Helps.
    let revoked = InviteState {
        revoked: true,
        ..invite
    };
    let used = InviteState {
        uses_left: 0,
        ..invite
    };
    let refused = |invite: &InviteState, now| judged(invite, &own, now).map(|knock| knock.site);
    assert_eq!(refused(&revoked, 1), Err(JoinRefusal::Revoked));
    assert_eq!(refused(&used, 1), Err(JoinRefusal::UsedUp));
    assert_eq!(refused(&invite, 100), Err(JoinRefusal::Expired));
}
