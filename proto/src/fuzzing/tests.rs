//! A short run of each target from a seed, and good samples that must get through.

use std::convert::Infallible;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::{world::GROUP, *};
use crate::{
    audit::{
        bundle::{LogSource, Reason, Selection, Tree, Writer},
        fork::samples,
    },
    circle::{EpochKey, SealContext},
    id::InviteId,
    invite::join_proof,
    log::{Frontier, Nodes, prove_inclusion},
};

/// Good bytes for a target.
fn samples(name: &str) -> Vec<Vec<u8>> {
    let world = world();
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match name {
        "view" => world
            .views
            .iter()
            .map(|view| view.encode().into_bytes())
            .collect(),
        "publication" => world.publications.clone(),
        "gossip" => {
            let messages = world.publications.iter().map(|bytes| wire::Gossip {
                what: wire::Publication::decode(bytes.as_slice())
                    .ok()
                    .map(wire::gossip::What::Publication),
            });
            messages.map(|message| message.encode_to_vec()).collect()
        }
        "boxes" => vec![
            Vec::new(),
            circle::write_box(&world.views[..1]),
            circle::write_box(&world.views[2..4]),
        ],
        "note" => {
            let checkpoint = Checkpoint::parse(&world.checkpoints[0]).unwrap();
            let keys = crate::keys::OperatingKeys::from_seed(&[1; 32]);
            let name = Cosignature::name_of(&world.mesh, &world.history.site());
            let line =
                Cosignature::sign(&checkpoint, &name, 1_800_000_000, keys.witness()).unwrap();
            let vkey = crate::note::vkey(checkpoint.origin(), &world.log_key);
            let mut all = world.checkpoints.clone();
            all.push(checkpoint.with_cosignature(&line).unwrap().note().to_vec());
            all.push(line.line().into_bytes());
            all.push(vkey.into_bytes());
            all
        }
        "proof_file" => {
            let (mut frontier, mut nodes) = (Frontier::new(), std::collections::BTreeMap::new());
            for leaf in &world.leaves {
                frontier.append(*leaf, &mut |level, index, hash| {
                    nodes.insert((level, index), hash);
                });
            }
            assert!(nodes.node(0, 0).is_some());
            let checkpoint = Checkpoint::parse(world.checkpoints.last().unwrap()).unwrap();
            let path = |index| prove_inclusion(&nodes, index, frontier.size()).unwrap();
            let file = |index| ProofFile {
                index,
                path: path(index),
                checkpoint: checkpoint.clone(),
            };
            (0..frontier.size())
                .map(|index| file(index).encode().into_bytes())
                .collect()
        }
        "ticket" => {
            let ticket = Ticket {
                mesh: world.mesh,
                site: world.history.site(),
                transport: world.transport,
                addresses: vec![
                    "/ip4/192.0.2.1/tcp/4810".into(),
                    "/dns/a.example/udp/1/quic-v1".into(),
                ],
                invite: InviteId([1; 16]),
                secret: world::SECRET,
                expires: 1_900_000_000,
            };
            let line = ticket.encode();
            vec![
                line.clone().into_bytes(),
                format!("{} \n{}", &line[..40], &line[40..]).into_bytes(),
            ]
        }
        "anchors" => {
            let (site, mesh) = (world.history.site().hex(), world.mesh.hex());
            vec![format!("# ours\nsite {site} Plant A\nmesh {mesh}\n").into_bytes()]
        }
        "bundle" => {
            let all: Vec<u64> = (0..world.archives.len() as u64).collect();
            vec![packed(0, &all), packed(1, &all), packed(1, &[0, 2])]
        }
        "fork_proof" => samples::proofs()
            .iter()
            .map(|proof| proof.encode().into_bytes())
            .collect(),
        "words" => texts(&[
            "2026-W49",
            "2026-W49..W51",
            "2026-W52..2027-W02",
            "12.5",
            "-0.001",
            "1E+3",
            "HUR",
            "separating/milling/5-axis",
            "7b9f0f6e-5a0c-4d0b-9a64-8c7a0e0f0a11",
            "capacity",
            &"ab".repeat(32),
        ]),
        "strict_json" => texts(&[
            "{\"a\":[1,\"x\",null,true,{\"b\":-7}]}",
            "[]",
            "\"\\u00e4\"",
            "-9007199254740991",
        ]),
        "body" => texts(&[
            "\u{0}{\"name\":\"Plant\",\"timezone\":\"Europe/Vienna\",\"location\":{\"country\":\"AT\",\"lat\":\"48.3\",\"lon\":\"14.3\"}}",
            "\u{1}{\"name\":\"Mill\",\"level\":\"WorkUnit\",\"capabilities\":[{\"process\":\"separating/milling\"}]}",
            "\u{2}{\"unit\":\"HUR\",\"bucket\":\"P7D\",\"start\":\"2026-11-30\",\"total\":[\"80\"],\"committed\":[\"30\"],\"available\":[\"50\"],\"unattainable\":[\"0\"]}",
            "\u{3}{\"epoch\":3,\"purpose\":\"planning\",\"onEnd\":\"grey\"}",
            "\u{4}{\"act\":\"found\",\"nonce\":\"00112233445566778899aabbccddeeff\",\"name\":\"A\"}",
            "\u{4}{\"act\":\"remove\",\"site\":\"abababababababababababababababababababababababababababababababab\",\"last_good\":9}",
        ]),
        "join" => {
            let manifest = &world.views[0];
            let proof = join_proof(&world::SECRET, &world::INVITER, &world.transport, manifest);
            let request = wire::JoinRequest {
                invite: vec![1; 16],
                manifest: manifest.encode().into_bytes(),
                name: "World".into(),
                proof: proof.to_vec(),
                address: vec!["/ip4/192.0.2.1/tcp/4810".into()],
            };
            vec![request.encode_to_vec()]
        }
        "machine" => vec![
            vec![2, 0, 3, 0, 7, 4, 0, 1, 0, 0, 16, 0, 9, 0, 1, 0, 7],
            vec![
                6, 0, 0, 4, 0, 9, 4, 0, 7, 1, 0, 0, 200, 8, 5, 3, 1, 2, 3, 0, 40, 0,
            ],
        ],
        other => panic!("{other} has no samples"),
    }
}

/// The world's bundle as [`bundle`] reads it, with the records of some leaves.
fn packed(resum: u8, leaves: &[u64]) -> Vec<u8> {
    let world = world();
    let checkpoint = |note: &Vec<u8>| Checkpoint::parse(note).expect("the world's");
    let (newest, older) = world.checkpoints.split_last().expect("three");
    let mut bytes = vec![resum];
    let mut writer = Writer::new(|name: &str, file: &[u8]| -> Result<(), Infallible> {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(&(file.len() as u32).to_be_bytes());
        bytes.extend_from_slice(file);
        Ok(())
    });
    let source = LogSource {
        site: world.history.site(),
        checkpoint: checkpoint(newest),
        older: older.iter().map(checkpoint).collect(),
        keys: vec![(0, world.archives[0].clone())],
        tree: Tree::new(world.leaves.clone()),
    };
    writer.log(source).expect("it fits");
    for (leaf, view) in (0..).zip(&world.archives).skip(1) {
        match leaves.contains(&leaf) {
            true => writer.record(leaf, view).expect("in order"),
            false => writer
                .withhold(leaf, Reason::NotSelected)
                .expect("in order"),
        }
    }
    let _sink = writer.finish(None, Selection::default()).expect("small");
    bytes
}

/// Noise, or a good sample with some bytes flipped, dropped, doubled, or followed by another sample's end.
fn altered(samples: &[Vec<u8>], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut below = |n: usize| (rng.next_u64() % n.max(1) as u64) as usize;
    if below(6) == 0 {
        let length = below(300);
        return (0..length).map(|_| below(256) as u8).collect();
    }
    let mut bytes = samples[below(samples.len())].clone();
    for _ in 0..=below(3) {
        let at = below(bytes.len());
        match below(6) {
            0..3 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << below(8);
                }
            }
            3 => bytes.truncate(at),
            4 => {
                let piece: Vec<u8> = bytes[at..].iter().take(1 + below(40)).copied().collect();
                bytes.splice(at..at, piece);
            }
            _ => {
                let other = &samples[below(samples.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[below(other.len())..]);
            }
        }
    }
    bytes
}

#[test]
fn good_samples_get_through() {
    for (name, target) in TARGETS {
        for (n, sample) in samples(name).iter().enumerate() {
            assert!(target(sample), "sample {n} of {name}");
        }
    }
}

#[test]
fn whatever_the_bytes_are_the_promises_hold() {
    for (name, target) in TARGETS {
        let samples = samples(name);
        let (runs, seed) = match name {
            "machine" => (60, 11),
            "bundle" => (1_000, 12),
            _ => (4_000, 12),
        };
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let refused = (0..runs)
            .filter(|_| !target(&altered(&samples, rng)))
            .count();
        let some = name == "machine" || refused > runs / 10;
        assert!(some, "{name}: only {refused} of {runs} were refused");
    }
}

#[test]
fn a_box_of_the_group_opens_for_its_members() {
    let (circle, key) = GROUP;
    let publication = Publication::decode(&world().publications[1]).unwrap();
    let sealed = publication
        .sealed
        .iter()
        .find(|sealed| sealed.circle == circle.0)
        .unwrap();
    let context = SealContext {
        mesh: world().mesh,
        site: publication.site,
        circle,
        epoch: 1,
        from: publication.from(),
        size: publication.size(),
    };
    assert_eq!(
        circle::open_group(&EpochKey(key), &context, sealed)
            .unwrap()
            .len(),
        1
    );
}
