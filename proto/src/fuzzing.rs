//! One function for each thing that reads bytes of others, and what must hold for it whatever the bytes are.
//!
//! None of them may panic, loop or allocate without bound; each says what else must be true, and panics itself if it
//! is not. They return whether the bytes were accepted, so that a test can show that good samples are. A seeded short
//! run of all is an ordinary test; the long run is `proto/fuzz` with cargo-fuzz, whose targets only call these.

mod machine;
#[cfg(test)]
mod tests;
mod world;

use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

use prost::Message as _;
use serde_json::Value;

pub use self::machine::machine;
use self::world::world;
use crate::{
    audit::{
        TrustAnchors, Verdict as Judged,
        bundle::{File, Here, Name, Options, Verifier},
        fork::{Fork, ForkProof},
    },
    circle,
    id::{Digest, ObjectId, PeerKey, SiteId},
    invite::Ticket,
    json,
    keys::KeyHistory,
    kinds::{self, Capacity, Grant, Kind, Resource, Site, Typed},
    limits,
    membership::{Act, Membership},
    mesh::{
        Input, Mesh, Output, Verdict,
        admission::{InviteState, judge},
    },
    note::{Checkpoint, Cosignature, ProofFile, SignedNote, VerifierKey},
    publication::Publication,
    quantity::{Quantity, Unit},
    record::{Fields, Issued, View},
    taxonomy::Path,
    week::{Week, WeekSpan},
    wire,
};

/// A function over anyone's bytes; true if they were accepted.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by name.
pub const TARGETS: [(&str, Target); 15] = [
    ("view", view),
    ("publication", publication),
    ("gossip", gossip),
    ("boxes", boxes),
    ("note", note),
    ("proof_file", proof_file),
    ("ticket", ticket),
    ("anchors", anchors),
    ("bundle", bundle),
    ("fork_proof", fork_proof),
    ("words", words),
    ("strict_json", strict_json),
    ("body", body),
    ("join", join),
    ("machine", machine),
];

/// A record as text. A view that is read is written back as it came; what parses keeps the bounds of a record;
/// what verifies is what the key's owner signed.
pub fn view(bytes: &[u8]) -> bool {
    let Ok(view) = View::decode(bytes) else {
        return false;
    };
    assert_eq!(view.encode().as_bytes(), bytes);
    let _ = KeyHistory::from_manifest(&view);
    let _ = Issued::from_full_view(&view);
    let _ = Membership::compute(&world().mesh, std::slice::from_ref(&view));
    let Ok(parsed) = view.clone().parse() else {
        return false;
    };
    assert!(parsed.claims().seq <= limits::TREE_SIZE_MAX);
    let Ok(record) = world().history.verify(view) else {
        return false;
    };
    assert!(
        world().cores.contains(&record.core_digest()),
        "nobody signed this"
    );
    assert_eq!(*record.claims(), *parsed.claims());
    true
}

/// A publication. What is read stands in its one encoding; what passes the check still does
/// without its content, and only its author's log gets past it.
pub fn publication(bytes: &[u8]) -> bool {
    let Ok(publication) = Publication::decode(bytes) else {
        return false;
    };
    let message = wire::Publication::decode(bytes).expect("read a line ago");
    assert_eq!(message.encode_to_vec(), bytes);
    assert!(publication.from() < publication.size());
    if publication.check(&world().mesh, &world().log_key).is_err() {
        return false;
    }
    assert!(world().roots.contains(&publication.checkpoint.root()));
    let stripped = Publication::decode(&publication.stripped()).expect("the same step");
    assert_eq!(stripped.check(&world().mesh, &world().log_key), Ok(()));
    assert_eq!(stripped.leaf_hashes, publication.leaf_hashes);
    true
}

/// A gossip message, as a machine judges it. It gets one verdict; what is passed on is a step of a log that its author
/// signed, in the one form that has one message id.
pub fn gossip(bytes: &[u8]) -> bool {
    let mut mesh = Mesh::new(world().reader(), 0);
    let input = Input::Gossip {
        from: world().history.site(),
        token: 1,
        bytes: bytes.to_vec(),
    };
    mesh.handle(input, 1, 0);
    let verdicts = std::iter::from_fn(|| mesh.poll()).filter_map(|output| match output {
        Output::Verdict { token: 1, verdict } => Some(verdict),
        _ => None,
    });
    let verdicts: Vec<Verdict> = verdicts.collect();
    assert_eq!(verdicts.len(), 1);
    if verdicts != [Verdict::Accept] {
        return false;
    }
    let message = wire::Gossip::decode(bytes).expect("accepted");
    assert_eq!(message.encode_to_vec(), bytes);
    let Some(wire::gossip::What::Publication(inside)) = message.what else {
        panic!("accepted, and no publication");
    };
    publication(&inside.encode_to_vec())
}

/// What a member of a group finds in a box that another member closed. Records that are read are bounded.
pub fn boxes(bytes: &[u8]) -> bool {
    let Ok(views) = circle::read_box(bytes) else {
        return false;
    };
    assert!(views.len() <= limits::PUBLICATION_LEAVES_MAX);
    true
}

/// Signed notes, checkpoints, cosignature lines and verifier keys. Each is written back as it came.
pub fn note(bytes: &[u8]) -> bool {
    let note = SignedNote::parse(bytes);
    if let Ok(note) = &note {
        assert_eq!(note.bytes(), bytes);
        assert!(note.text().ends_with('\n'));
        let _ = note.verify(&[]);
    }
    if let Ok(checkpoint) = Checkpoint::parse(bytes) {
        assert!(note.is_ok() && checkpoint.note() == bytes);
        assert!(checkpoint.size() <= limits::TREE_SIZE_MAX);
        return checkpoint.verify(&world().log_key).is_ok();
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    if let Ok(line) = Cosignature::parse(text) {
        assert_eq!(Cosignature::parse(&line.line()).as_ref(), Ok(&line));
        return true;
    }
    VerifierKey::parse(text).is_ok_and(|key| {
        assert_eq!(key.to_string(), text);
        true
    })
}

/// A proof file. Written and read again it is the same; its path is no longer than any tree is high.
pub fn proof_file(bytes: &[u8]) -> bool {
    let Ok(file) = ProofFile::decode(bytes) else {
        return false;
    };
    assert!(file.path.len() <= limits::PROOF_HASHES_MAX);
    assert_eq!(
        ProofFile::decode(file.encode().as_bytes()),
        Ok(file.clone())
    );
    let (size, root) = (file.checkpoint.size(), file.checkpoint.root());
    let leaf = world().leaves.first().copied().unwrap_or(Digest([0; 32]));
    let _ = crate::log::verify_inclusion(file.index, size, &leaf, &file.path, &root);
    true
}

/// A ticket. Its line is its one spelling, but for blanks and case.
pub fn ticket(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Ok(ticket) = Ticket::decode(&text) else {
        return false;
    };
    let line: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    assert_eq!(ticket.encode(), line.to_ascii_lowercase());
    assert!(ticket.addresses.len() <= limits::ADDRESSES_MAX);
    true
}

/// An auditor's file of trust anchors. Whatever it names is trusted, and nothing else.
pub fn anchors(bytes: &[u8]) -> bool {
    let Ok(anchors) = TrustAnchors::parse(bytes) else {
        return false;
    };
    let text = std::str::from_utf8(bytes).expect("anchors are UTF-8");
    for (site, _) in anchors.sites() {
        assert!(anchors.trusts(site) && text.contains(&site.hex()));
    }
    true
}

/// A bundle: a byte (1: `SHA256SUMS` is made to fit), then for each file its name, a line feed, its length in four bytes, and what is in
/// it. Whatever it holds there is a report; only what the site said is proven, and nobody is accused of what it did not do.
pub fn bundle(bytes: &[u8]) -> bool {
    let Some((resum, mut rest)) = bytes.split_first() else {
        return false;
    };
    let mut files = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        let Some((length, after)) = rest[end + 1..].split_first_chunk() else {
            break;
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (bytes, after) = after.split_at(length.min(after.len()));
        if let Some(known) = Name::parse(&name) {
            assert_eq!(known.to_string(), name, "one spelling of each name");
        }
        let bytes = bytes.to_vec();
        files.push(File { name, bytes });
        rest = after;
    }
    if resum & 1 == 1
        && let Some((sums, listed)) = files.split_last_mut()
    {
        let line = |file: &File| format!("{}  {}\n", Digest::of(&file.bytes).hex(), file.name);
        sums.bytes = listed.iter().map(line).collect::<String>().into_bytes();
    }
    let options = Options {
        changes_of: Some(String::new()),
        checkpoints: world().checkpoints.clone(),
        disclosed: Vec::new(),
    };
    let mut verifier = Verifier::new(&world().anchors, options);
    let mut run = Here::default();
    for file in files {
        verifier.push(file, &mut run);
    }
    let outcome = verifier.finish(&mut run);
    let report = outcome.report;
    assert!(!report.to_string().is_empty() && serde_json::to_string(&report).is_ok());
    assert!(outcome.conflicts.is_empty());
    for fork in &report.forks {
        assert_ne!(
            fork.site,
            Some(world().history.site()),
            "it has one history"
        );
    }
    if report.verdict != Judged::Proven {
        return false;
    }
    for log in &report.logs {
        assert_eq!(log.site, world().history.site());
        assert!(log.root.is_some_and(|root| world().roots.contains(&root)));
        let withheld: u64 = log.withheld.iter().map(|(_, count)| count).sum();
        assert_eq!((log.shown + withheld, log.unaccounted), (log.size, 0));
    }
    true
}

/// A fork proof. It is written back as it came, and holds only against who said two things.
pub fn fork_proof(bytes: &[u8]) -> bool {
    let Ok(proof) = ForkProof::decode(bytes) else {
        return false;
    };
    assert_eq!(proof.encode().as_bytes(), bytes);
    let Ok(fork) = proof.verify() else {
        return false;
    };
    let accused = |known: &Fork| (known.site, &known.witness) == (fork.site, &fork.witness);
    assert!(world().forks.iter().any(accused), "nobody forked: {fork}");
    true
}

/// Weeks, spans, quantities, units, paths, kinds and ids. What is read is written in one form that reads back the same.
pub fn words(bytes: &[u8]) -> bool {
    fn same<T: FromStr + Display + PartialEq + Debug>(text: &str) -> bool {
        let Ok(word) = text.parse::<T>() else {
            return false;
        };
        let written = word.to_string();
        assert!(
            written.parse::<T>().is_ok_and(|again| again == word),
            "{text:?} became {written:?}"
        );
        true
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    if let Ok(path) = Path::process(text) {
        assert!(path.is_within(&path));
    }
    let kind = Kind::try_from(text.to_owned()).is_ok_and(|kind| {
        assert_eq!(kind.to_string(), text);
        true
    });
    let ids = text.parse::<SiteId>().is_ok_and(|id| {
        assert_eq!(id.hex(), text);
        true
    });
    let readings = [
        same::<Week>(text),
        same::<WeekSpan>(text),
        same::<Quantity>(text),
        same::<Unit>(text),
        same::<Path>(text),
        same::<ObjectId>(text),
        kind,
        ids,
    ];
    readings.contains(&true)
}

/// Strict JSON. What is read is written and read back as the same value.
pub fn strict_json(bytes: &[u8]) -> bool {
    let Ok(value) = json::parse_strict(bytes) else {
        return false;
    };
    let written = value.to_string();
    assert_eq!(json::parse_strict(written.as_bytes()).as_ref(), Ok(&value));
    true
}

/// A record's body: first byte the kind, then JSON. What the kind's rules accept is read, written and read back the same;
/// so is a membership act.
pub fn body(bytes: &[u8]) -> bool {
    fn typed<T: Typed + PartialEq + Debug>(fields: &Fields) -> bool {
        let shown = |fields: &Fields| {
            fields
                .clone()
                .into_iter()
                .map(|(k, v)| (k, Some(v)))
                .collect()
        };
        let shown_fields = shown(fields);
        let accepted = kinds::check(&T::KIND, &shown_fields).is_ok();
        let Ok(read) = T::read(&shown_fields) else {
            assert!(!accepted, "accepted and cannot be read");
            return false;
        };
        assert_eq!(read.check().is_ok(), accepted);
        let written = T::read(&shown(&read.write()));
        // Withheld slots are written as unknown, so the second writing is the fixed point.
        assert_eq!(
            written.expect("what is written is read").write(),
            read.write()
        );
        accepted
    }
    let Some((kind, text)) = bytes.split_first() else {
        return false;
    };
    let Ok(Value::Object(object)) = json::parse_strict(text) else {
        return false;
    };
    let fields: Fields = object.into_iter().collect();
    match kind % 5 {
        0 => typed::<Site>(&fields),
        1 => typed::<Resource>(&fields),
        2 => typed::<Capacity>(&fields),
        3 => typed::<Grant>(&fields),
        _ => Act::read(&fields).is_ok_and(|act| {
            assert_eq!(Act::read(&act.write()).as_ref(), Ok(&act));
            true
        }),
    }
}

/// A request to join, before any of it is believed. Who gets in holds the transport key that its manifest names.
pub fn join(bytes: &[u8]) -> bool {
    let Ok(request) = wire::JoinRequest::decode(bytes) else {
        return false;
    };
    let invite = InviteState {
        secret: world::SECRET,
        expires: 10,
        uses_left: 1,
        revoked: false,
        auto_approve: false,
    };
    let joiner = world().transport;
    let knock = judge(
        Some(&invite),
        &request,
        &world::INVITER,
        &joiner,
        |_| false,
        9,
    );
    let late = judge(
        Some(&invite),
        &request,
        &world::INVITER,
        &joiner,
        |_| false,
        10,
    );
    let other = judge(
        Some(&invite),
        &request,
        &world::INVITER,
        &PeerKey([8; 32]),
        |_| false,
        9,
    );
    assert!(late.is_err() && other.is_err());
    knock.is_ok_and(|knock| {
        assert_eq!(knock.keys.current().transport, joiner);
        assert!(knock.addresses.len() <= limits::ADDRESSES_MAX);
        true
    })
}
