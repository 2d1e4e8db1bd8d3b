//! What sites cosigned, and whom they hold fork proofs against.

use super::Sim;
use crate::{mesh::witness::Pledge, note::Checkpoint};

impl Sim {
    /// How far `site` knows the log of `author` to be cosigned: leaves and cosignatures.
    #[must_use]
    pub fn cosigned(&self, site: usize, author: usize) -> Option<(u64, usize)> {
        let note = self.cosigned_checkpoint(site, author)?;
        Some((note.size(), note.signers().count() - 1))
    }

    /// The newest cosigned checkpoint of `author`'s log that `site` holds.
    #[must_use]
    pub fn cosigned_checkpoint(&self, site: usize, author: usize) -> Option<&Checkpoint> {
        let log = self.sites[author].who.site;
        self.sites[site].store.cosigned.get(&log)
    }

    /// Cosignatures of one log that left `site`, in order.
    #[must_use]
    pub fn cosignatures(&self, site: usize, author: usize) -> Vec<Pledge> {
        let log = self.sites[author].who.site;
        let said = self.sites[site].cosigned.iter();
        said.filter(|(of, _)| *of == log)
            .map(|(_, pledge)| *pledge)
            .collect()
    }

    /// Fork proofs against `author` that `site` holds, as texts.
    #[must_use]
    pub fn forks(&self, site: usize, author: usize) -> Vec<&[u8]> {
        let log = self.sites[author].who.site;
        let held = self.sites[site].store.forks.get(&log).into_iter();
        held.flat_map(|proofs| proofs.values().map(Vec::as_slice))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::{
        audit::fork::{ForkKind, ForkProof},
        circle::EpochKey,
        id::{CircleId, ObjectId},
        kinds::Kind,
        membership::{Act, Role},
        mesh::{
            follow::{Head, Incoming},
            issue::{Author, Item, Seal},
        },
        record::View,
        sim::{Faults, Sim, With},
    };

    fn kinds(sim: &Sim, site: usize, author: usize) -> Vec<ForkKind> {
        let proofs = sim.forks(site, author);
        proofs
            .into_iter()
            .map(|text| {
                let proof = ForkProof::decode(text).expect("reads");
                let fork = proof.verify().expect("holds");
                assert_eq!(fork.site, Some(sim.sites[author].who.site));
                proof.kind()
            })
            .collect()
    }

    #[test]
    fn two_records_for_one_place_of_a_feed_are_proven_to_everybody() {
        for seed in 0..4 {
            let mut sim = Sim::mesh(seed, 3);
            let circle = sim.circle(0, With::Group(vec![1]), &["name"]);
            sim.publish(0, 1);
            sim.run_for(20_000);
            let tail = sim.sites[0].store.tails[&circle];
            sim.sites[0].store.tails.insert(circle, tail - 1);
            sim.publish(0, 1);
            sim.run_for(90_000);
            for site in 1..3 {
                assert_eq!(
                    kinds(&sim, site, 0),
                    [ForkKind::Feed],
                    "seed {seed}, site {site}"
                );
            }
        }
    }

    /// An act that site 0 signs for the leaf after `head`, whatever stands there.
    fn other_act(sim: &mut Sim, head: &Head) -> View {
        let act = Act::Role {
            site: sim.sites[1].who.site,
            role: Role::Auditor,
            from: 1,
        };
        let item = Item {
            kind: Kind::Membership,
            id: ObjectId::from_random([7; 16]),
            rev: 1,
            prev: None,
            retired: false,
            fields: act.write(),
            circles: [(CircleId::MESH_WIDE, Default::default())].into(),
        };
        let (mesh, who) = (sim.mesh, &sim.sites[0].who);
        let author = Author {
            mesh,
            site: who.site,
            keys: &who.keys,
            manifest: &who.manifest,
        };
        let seals = BTreeMap::from([(CircleId([1; 16]), Seal::Group(1, EpochKey([1; 32])))]);
        let mut tails = BTreeMap::from([(CircleId::MESH_WIDE, 900)]);
        let signed = author
            .issue(Some(head), &mut tails, &seals, vec![item], 5, &mut sim.rng)
            .expect("keeps the rules");
        signed.records[0].archive.clone()
    }

    fn takes(sim: &mut Sim, site: usize, incoming: Incoming) {
        let mesh = sim.mesh;
        let reader = &mut sim.sites[site];
        let mut taken = reader.store.read(&reader.who, mesh, incoming);
        reader.store.keep_forks(&mut taken);
        reader.store.keep(&mesh, &taken);
    }

    #[test]
    fn two_records_for_one_leaf_are_a_fork_whichever_of_them_is_shown() {
        for (with, kind) in [
            (With::Everyone, ForkKind::Seq),
            (With::Group(vec![2]), ForkKind::Leaf),
        ] {
            let mut sim = Sim::mesh(3, 3);
            sim.circle(0, with, &["name"]);
            sim.run_for(20_000);
            let me = sim.sites[0].who.site;
            let head = sim.sites[0].store.heads[&me].clone();
            sim.publish(0, 1);
            sim.run_for(20_000);
            let view = other_act(&mut sim, &head);
            let views = vec![view];
            takes(
                &mut sim,
                1,
                Incoming::Membership {
                    views: views.clone(),
                },
            );
            assert_eq!(kinds(&sim, 1, 0), [kind]);
            takes(&mut sim, 1, Incoming::Membership { views });
            assert_eq!(kinds(&sim, 1, 0).len(), 1, "the same again proves no more");
        }
    }

    #[test]
    fn honest_sites_are_never_accused_whatever_is_lost_and_repeated() {
        for seed in 0..6 {
            let mut sim = Sim::mesh(seed, 4);
            sim.circle(0, With::Group(vec![1, 2]), &["name"]);
            sim.circle(1, With::Everyone, &["name"]);
            sim.faults = Faults {
                gossip_lost: 300,
                calls_lost: 200,
                ..Faults::NONE
            };
            for round in 0..12 {
                sim.publish(round % 2, 1 + round % 3);
                sim.revise(0, 2);
                sim.run_for(1_500);
                if round % 4 == 3 {
                    sim.crash(round % 4);
                    sim.run_for(700);
                    sim.restart(round % 4);
                }
            }
            sim.calm();
            sim.run_for(120_000);
            for (site, author) in (0..4).flat_map(|s| (0..4).map(move |a| (s, a))) {
                assert_eq!(
                    sim.forks(site, author).len(),
                    0,
                    "seed {seed}: {site} of {author}"
                );
            }
        }
    }
}
