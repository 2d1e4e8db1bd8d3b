//! Stories: what happens to a mesh, and what must be true afterwards.

use std::sync::Arc;

use super::*;

/// Tells a story with each seed: the one in `FMESH_SIM_SEED` if set, else the first `n`.
fn seeds(n: u64, story: impl Fn(u64)) {
    let seeds = match std::env::var("FMESH_SIM_SEED") {
        Ok(seed) => vec![seed.parse().expect("FMESH_SIM_SEED is a number")],
        Err(_) => (1..=n).collect(),
    };
    for seed in seeds {
        // Only shown if the test fails: the last line names the seed that did it.
        println!("FMESH_SIM_SEED={seed}");
        story(seed);
    }
}

/// Faults stop; then both questions are asked.
fn ends_well(sim: &mut Sim, ms_max: u64) -> u64 {
    sim.calm();
    let took = sim.settle(ms_max).unwrap_or_else(|what| {
        for site in 0..sim.sites.len() {
            println!("site {site}: blamed {:?}", sim.blamed(site));
            println!("site {site}: refused {:?}", sim.refused(site));
        }
        panic!("{what}")
    });
    sim.safety().unwrap_or_else(|what| panic!("{what}"));
    took
}

/// A circle of each sort at every site.
fn circles(sim: &mut Sim, sites: usize) {
    (0..sites).for_each(|site| sim.usual_circles(site));
}

#[test]
fn each_reader_gets_what_its_circles_show_and_no_more() {
    seeds(3, |seed| {
        let mut sim = Sim::mesh(seed, 4);
        sim.circle(0, With::Everyone, &["name"]);
        sim.circle(0, With::One(1), &["calendar"]);
        let group = sim.circle(0, With::Group(vec![1, 2]), &["nameplate"]);
        sim.publish(0, 1);
        sim.publish(3, 1);
        ends_well(&mut sim, 10_000);
        let slots = |site| -> Vec<String> {
            let mut seen = sim
                .views(site)
                .into_iter()
                .filter(|seen| seen.kind == Kind::Resource);
            let only = seen.next().expect("one record");
            assert!(
                only.issuer == 0 && seen.next().is_none(),
                "what is in no circle stays private"
            );
            only.fields.into_keys().collect()
        };
        assert_eq!(slots(1), ["calendar", "name", "nameplate"]);
        assert_eq!(slots(2), ["name", "nameplate"]);
        assert_eq!(slots(3), ["name"]);
        assert_eq!(
            [1, 2, 3].map(|site| sim.position(site, 0, group)),
            [1, 1, 0]
        );
        sim.run_for(60_000);
        assert_eq!([1, 2].map(|site| sim.acknowledged(0, site, group)), [1, 1]);
    });
}

#[test]
fn after_any_storm_everything_permitted_arrives() {
    seeds(24, |seed| {
        Story::of(seed).tell(seed).unwrap();
    });
}

/// Above [`FULL_MESH_MAX`] nobody is connected with everybody, and everything still arrives everywhere.
#[test]
fn a_large_mesh_keeps_few_neighbours_and_converges() {
    use crate::mesh::neighbours::{FULL_MESH_MAX, NEIGHBOURS};
    seeds(1, |seed| {
        let sites = FULL_MESH_MAX + 8;
        let mut sim = Sim::mesh(seed, sites);
        sim.run_for(60_000);
        for site in 0..sites {
            sim.circle(site, With::Everyone, &["name"]);
            sim.circle(site, With::One((site + 7) % sites), &[]);
        }
        for site in (0..sites).step_by(5) {
            sim.publish(site, 2);
        }
        ends_well(&mut sim, 900_000);
        sim.run_for(120_000);
        let degrees: Vec<usize> = (0..sites).map(|site| sim.neighbours(site)).collect();
        let mean = degrees.iter().sum::<usize>() / sites;
        assert!(degrees.iter().all(|n| *n > 0), "{degrees:?}");
        assert!(
            (NEIGHBOURS.0 - 2..=NEIGHBOURS.1 + 2).contains(&mean),
            "{degrees:?}"
        );
    });
}

#[test]
fn a_partner_away_for_a_week_catches_up() {
    seeds(1, |seed| {
        let mut sim = Sim::mesh(seed, 3);
        circles(&mut sim, 3);
        sim.run_for(2_000);
        sim.crash(2);
        for _ in 0..7 {
            sim.publish(0, 3);
            sim.publish(1, 3);
            sim.revise(0, 1);
            sim.run_for(DAY_MS);
        }
        sim.restart(2);
        let took = sim.settle(30_000).unwrap();
        assert!(took <= 10_000, "{took} ms");
        ends_well(&mut sim, 0);
    });
}

#[test]
fn third_members_pass_on_what_an_absent_issuer_published() {
    seeds(6, |seed| {
        let mut sim = Sim::mesh(seed, 4);
        sim.run_for(2_000);
        sim.cut(0, 2);
        sim.cut(1, 2);
        sim.cut(3, 2);
        sim.run_for(40_000);
        // The grant and what it opens are both news to site 2, which has only third members to ask.
        let group = sim.circle(0, With::Group(vec![1, 2]), &[]);
        sim.publish(0, 2);
        sim.publish(0, 2);
        sim.run_for(2_000);
        sim.crash(0);
        sim.heal(1, 2);
        sim.heal(3, 2);
        sim.settle(90_000).unwrap();
        assert_eq!(sim.position(2, 0, group), 4);
        sim.safety().unwrap();
    });
}

#[test]
fn sites_without_a_route_meet_through_a_third() {
    seeds(4, |seed| {
        let mut sim = Sim::mesh(seed, 3);
        sim.cut(0, 2);
        sim.run_for(1_000);
        let group = sim.circle(0, With::Group(vec![1, 2]), &[]);
        sim.publish(0, 2);
        sim.run_for(1_000);
        sim.publish(0, 2);
        sim.settle(70_000).unwrap();
        assert_eq!(sim.position(2, 0, group), 4);
        sim.safety().unwrap();
    });
}

#[test]
fn a_restart_loses_nothing() {
    seeds(8, |seed| {
        let mut sim = Sim::mesh(seed, 4);
        circles(&mut sim, 4);
        for round in 0..12 {
            let site = round % 4;
            sim.publish(site, 2);
            // Anywhere between signing and the last acknowledgement.
            let ms = sim.below(60);
            sim.run_for(ms);
            sim.crash(site);
            let ms = sim.below(500);
            sim.run_for(ms);
            sim.restart(site);
        }
        ends_well(&mut sim, 180_000);
    });
}

#[test]
fn a_site_that_restarts_beside_a_trusted_dead_connection_is_heard_soon() {
    seeds(12, |seed| {
        let mut sim = Sim::mesh(seed, 2);
        let circle = sim.circle(1, With::Everyone, &["name"]);
        sim.run_for(2_000);
        sim.crash(1);
        sim.restart(1);
        sim.run_for(1_500);
        let before = sim.position(0, 1, circle);
        sim.publish(1, 1);
        sim.run_for(500);
        assert_eq!(sim.position(0, 1, circle), before + 1, "gossip flows again");
        ends_well(&mut sim, 1_000);
    });
}

#[test]
fn a_new_member_sees_what_its_circles_give() {
    seeds(6, |seed| {
        let mut sim = Sim::new(seed).sites(4);
        sim.found(0);
        sim.admit(0, 1);
        sim.admit(0, 2);
        sim.run_for(3_000);
        sim.circle(1, With::Everyone, &["name"]);
        let group = sim.circle(1, With::Group(vec![2]), &["name", "nameplate"]);
        sim.publish(1, 3);
        sim.run_for(3_000);
        sim.admit(0, 3);
        sim.run_for(10_000);
        assert_eq!(sim.members(2), sim.members(3));
        assert_eq!(sim.members(3).len(), 4);
        sim.circle(3, With::One(1), &[]);
        sim.publish(3, 2);
        sim.settle(60_000).unwrap();
        assert_eq!(sim.position(3, 1, group), 0);
        sim.include(1, group, &[3]);
        ends_well(&mut sim, 60_000);
        assert_eq!(sim.position(3, 1, group), 3);
    });
}

#[test]
fn who_enters_late_is_given_of_the_past_what_the_circle_says() {
    for (history, given) in [
        (History::None, [false, false, true]),
        (History::Current, [false, true, true]),
        (History::All, [true, true, true]),
    ] {
        seeds(3, |seed| {
            let mut sim = Sim::mesh(seed, 3);
            let group = sim.circle(0, With::Group(vec![1]), &["name"]);
            sim.history(0, group, history);
            sim.publish(0, 1);
            ends_well(&mut sim, 10_000);
            sim.revise(0, 1);
            sim.include(0, group, &[2]);
            sim.publish(0, 1);
            ends_well(&mut sim, 60_000);
            assert_eq!(sim.position(2, 0, group), 3);
            let machines = |site| -> Vec<u64> {
                let seen = sim.views(site).into_iter();
                let machines = seen.filter(|seen| seen.kind == Kind::Resource);
                machines.map(|seen| seen.seq).collect()
            };
            let all = machines(1).into_iter().zip(given);
            let expected: Vec<u64> = all
                .filter_map(|(seq, given)| given.then_some(seq))
                .collect();
            assert_eq!(machines(2), expected, "{history}");
            // The check would see what was not for it.
            sim.truth.shuts_out(0, group, 2, 0);
            assert!(sim.safety().is_err(), "what it holds was not for it");
        });
    }
}

#[test]
fn who_is_shut_out_reads_nothing_new() {
    seeds(4, |seed| {
        let mut sim = Sim::mesh(seed, 4);
        let group = sim.circle(0, With::Group(vec![1, 2, 3]), &[]);
        sim.publish(0, 2);
        ends_well(&mut sim, 10_000);
        sim.shut_out(0, group, 2);
        sim.publish(0, 2);
        sim.revise(0, 2);
        ends_well(&mut sim, 60_000);
        sim.run_for(120_000);
        sim.safety().unwrap();
        assert_eq!(
            [1, 2, 3].map(|site| sim.position(site, 0, group)),
            [6, 2, 6]
        );
    });
}

#[test]
fn who_is_removed_reads_nothing_new_from_anybody() {
    seeds(6, |seed| {
        let sites = 5;
        let mut sim = Sim::mesh(seed, sites);
        circles(&mut sim, sites);
        sim.give_role(0, 1, Role::Admin);
        for site in 0..sites {
            sim.publish(site, 2);
        }
        ends_well(&mut sim, 60_000);
        // Nobody but site 1 decides it; all others were read by site 3, and each has to draw new keys by itself.
        sim.remove(1, 3);
        sim.publish(1, 1);
        sim.run_for(3_000);
        let before: Vec<u64> = (0..sites).map(|author| sim.size(3, author)).collect();
        for site in [0, 1, 2, 4] {
            sim.run_for(200);
            sim.publish(site, 2);
            sim.revise(site, 1);
        }
        ends_well(&mut sim, 60_000);
        for site in [0, 1, 2, 4] {
            let members: BTreeSet<usize> = sim.members(site).into_iter().collect();
            assert_eq!(members, BTreeSet::from([0, 1, 2, 4]));
        }
        // What came later never reached it, not even sealed.
        sim.run_for(120_000);
        for author in [0, 1, 2, 4] {
            assert_eq!(sim.size(3, author), before[author], "of site {author}");
        }
        sim.safety().unwrap();
    });
}

#[test]
fn a_removal_gets_through_loss_cuts_and_crashes() {
    seeds(16, |seed| {
        let sites = 5 + (seed % 3) as usize;
        let mut sim = Sim::mesh(seed, sites);
        circles(&mut sim, sites);
        sim.give_role(0, 1, Role::Admin);
        ends_well(&mut sim, 60_000);
        sim.faults = Faults::STORM;
        for round in 0..30 {
            if round == 8 && sim.sites[1].process.is_none() {
                sim.restart(1);
            }
            if round == 8 {
                sim.remove(1, 3);
            }
            sim.something();
        }
        sim.safety().unwrap();
        ends_well(&mut sim, 600_000);
        assert_eq!(sim.members(0).len(), sites - 1);
    });
}

#[test]
fn who_was_offline_learns_of_a_removal_before_it_serves_anybody() {
    seeds(12, |seed| {
        let mut sim = Sim::mesh(seed, 4);
        sim.circle(2, With::Everyone, &["name"]);
        let group = sim.circle(2, With::Group(vec![1, 3]), &[]);
        sim.publish(2, 1);
        ends_well(&mut sim, 30_000);
        let had = (sim.size(3, 2), sim.position(3, 2, group));
        sim.crash(2);
        // Site 3 does not hear of it, so it behaves like a member towards the only one that it can reach.
        sim.cut(3, 0);
        sim.cut(3, 1);
        sim.remove(0, 3);
        sim.run_for(60_000);
        sim.restart(2);
        sim.publish(2, 2);
        sim.run_for(120_000);
        assert_eq!(
            (sim.size(3, 2), sim.position(3, 2, group)),
            had,
            "nothing since"
        );
        assert_eq!(sim.position(1, 2, group), 3, "the others have it");
        sim.safety().unwrap();
        sim.settle(60_000).unwrap();
    });
}

#[test]
fn who_can_ask_nobody_else_waits_and_then_believes_what_it_knows() {
    seeds(4, |seed| {
        let mut sim = Sim::mesh(seed, 3);
        let group = sim.circle(1, With::Group(vec![2]), &[]);
        ends_well(&mut sim, 30_000);
        sim.crash(1);
        sim.crash(0);
        sim.run_for(60_000);
        sim.restart(1);
        sim.publish(1, 1);
        sim.run_for(7_000);
        assert_eq!(sim.position(2, 1, group), 0, "site 0 might know better");
        sim.run_for(60_000);
        assert_eq!(sim.position(2, 1, group), 1);
    });
}

#[test]
fn admins_who_remove_each_other_leave_one_of_them_everywhere() {
    seeds(8, |seed| {
        let mut sim = Sim::mesh(seed, 6);
        circles(&mut sim, 6);
        for admin in [1, 2] {
            sim.give_role(0, admin, Role::Admin);
        }
        ends_well(&mut sim, 60_000);
        for (a, b) in [
            (1, 2),
            (1, 5),
            (2, 4),
            (0, 1),
            (0, 2),
            (3, 4),
            (3, 5),
            (4, 5),
            (0, 5),
            (0, 4),
        ] {
            sim.cut(a, b);
        }
        sim.run_for(40_000);
        // Site 3 and 4 hear the one first, site 5 the other; nobody follows the log of whom it takes to be out.
        sim.remove(1, 2);
        sim.remove(2, 1);
        sim.run_for(20_000);
        let senior = [1, 2]
            .into_iter()
            .min_by_key(|n| sim.sites[*n].who.site)
            .unwrap();
        sim.truth.members.insert(senior);
        sim.truth.removed.insert(senior);
        ends_well(&mut sim, 300_000);
        for site in [0, 3, 4, 5] {
            let members: BTreeSet<usize> = sim.members(site).into_iter().collect();
            assert_eq!(members, BTreeSet::from([0, senior, 3, 4, 5]));
        }
    });
}

#[test]
fn the_checks_see_a_key_that_should_have_been_changed() {
    let mut sim = Sim::mesh(1, 4);
    let group = sim.circle(2, With::Group(vec![1, 3]), &[]);
    sim.publish(2, 1);
    ends_well(&mut sim, 30_000);
    let old = sim.own_circle(2, &group).seal.clone();
    sim.remove(0, 3);
    ends_well(&mut sim, 30_000);
    sim.own_circle(2, &group).seal = old;
    sim.publish(2, 1);
    assert!(sim.safety().is_err(), "sealed with a key that site 3 has");
    let told = Arc::clone(&sim.sites[1].store.membership);
    assert!(told.removed().contains_key(&sim.sites[3].who.site));
    sim.watch(1, 3);
    assert!(
        sim.safety()
            .is_err_and(|what| what.contains("told it something"))
    );
}

#[test]
fn gossip_that_is_lost_heals_within_a_round() {
    seeds(8, |seed| {
        let mut sim = Sim::mesh(seed, 4);
        circles(&mut sim, 4);
        ends_well(&mut sim, 30_000);
        sim.faults.gossip_lost = 1000;
        for site in 0..4 {
            sim.publish(site, 2);
        }
        let took = sim.settle(120_000).unwrap();
        assert!(took <= 62_000, "{took} ms");
        sim.safety().unwrap();
    });
}

#[test]
fn changes_too_large_for_gossip_are_pulled() {
    seeds(2, |seed| {
        let mut sim = Sim::mesh(seed, 3);
        circles(&mut sim, 3);
        sim.run_for(1_000);
        sim.publish(0, 300);
        ends_well(&mut sim, 30_000);
    });
}

/// A reader catches up with a long feed, and `interrupt` happens after the `nth` batch is on its disk. How many batches there were
/// in all; none is read twice but those that were on their way.
fn interrupted(nth: usize, interrupt: impl Fn(&mut Sim)) -> usize {
    let mut sim = Sim::mesh(5, 3);
    let group = sim.circle(0, With::Group(vec![1]), &[]);
    sim.run_for(1_000);
    sim.crash(1);
    sim.publish(0, 200);
    sim.run_for(1_000);
    sim.restart(1);
    let (mut batches, mut position, end) = (0, 0, sim.now + 120_000);
    while position < 200 && sim.step(end) {
        let now = sim.position(1, 0, group);
        assert!(now >= position, "what was on disk is not lost");
        if now > position {
            position = now;
            batches += 1;
            if batches == nth {
                interrupt(&mut sim);
            }
        }
    }
    ends_well(&mut sim, 120_000);
    assert_eq!(sim.position(1, 0, group), 200);
    batches
}

#[test]
fn an_interruption_after_any_batch_costs_nothing_that_is_on_disk() {
    let batches = interrupted(usize::MAX, |_| {});
    assert!(batches > 3, "{batches} batches");
    for nth in 1..=batches {
        interrupted(nth, |sim| {
            sim.crash(1);
            sim.run_for(100);
            sim.restart(1);
        });
        interrupted(nth, |sim| {
            sim.crash(0);
            sim.run_for(100);
            sim.restart(0);
        });
        interrupted(nth, |sim| {
            sim.cut(0, 1);
            sim.run_for(5_000);
            sim.heal(0, 1);
        });
    }
}

#[test]
fn history_whose_content_nobody_keeps_comes_by_the_feeds() {
    seeds(4, |seed| {
        let mut sim = Sim::mesh(seed, 3);
        circles(&mut sim, 3);
        sim.run_for(2_000);
        sim.crash(2);
        for _ in 0..5 {
            sim.publish(0, 3);
            sim.run_for(1_000);
        }
        for site in 0..2 {
            let before = sim.size(site, 0) - 3;
            sim.prune(site, 0, before);
        }
        ends_well(&mut sim, 90_000);
    });
}

#[test]
fn a_quiet_hour_costs_few_messages() {
    seeds(3, |seed| {
        let sites = 8;
        let mut sim = Sim::mesh(seed, sites);
        circles(&mut sim, sites);
        sim.publish(0, 5);
        ends_well(&mut sim, 60_000);
        let before: Vec<u64> = (0..sites).map(|site| sim.sent(site).total()).collect();
        sim.run_for(HOUR_MS);
        for (site, before) in before.into_iter().enumerate() {
            let sent = sim.sent(site).total() - before;
            // One or two rounds a minute, each a call; and the answers to those of others.
            assert!((60..=400).contains(&sent), "site {site} sent {sent}");
        }
    });
}

#[test]
fn a_publication_costs_few_messages() {
    seeds(3, |seed| {
        let sites = 10;
        let mut sim = Sim::mesh(seed, sites);
        circles(&mut sim, sites);
        ends_well(&mut sim, 60_000);
        let before: u64 = (0..sites).map(|site| sim.sent(site).total()).sum();
        for round in 0..20 {
            sim.publish(round % sites, 1);
            sim.run_for(1_000);
        }
        let sent = (0..sites).map(|site| sim.sent(site).total()).sum::<u64>() - before;
        let each = sent / 20 / sites as u64;
        assert!(each <= 40, "{each} messages for each site and publication");
        ends_well(&mut sim, 60_000);
    });
}

#[test]
fn honest_sites_converge_beside_a_malicious_one() {
    for malice in Malice::ALL {
        seeds(4, |seed| {
            println!("{malice:?}");
            let sites = 5;
            let mut sim = Sim::mesh(seed, sites);
            sim.corrupt(3, malice);
            circles(&mut sim, sites);
            for _ in 0..15 {
                sim.something();
            }
            sim.safety().unwrap();
            ends_well(&mut sim, 1_200_000);
            // Answers are as many as the calls of others.
            let unasked = |sim: &Sim, site| sim.sent(site).total() - sim.sent(site).answers;
            let before: Vec<u64> = (0..sites).map(|site| unasked(&sim, site)).collect();
            sim.run_for(600_000);
            sim.safety().unwrap();
            for site in [0, 1, 2, 4] {
                let sent = unasked(&sim, site) - before[site];
                assert!(
                    sent <= 4_000,
                    "{malice:?}: site {site} sent {sent} in ten minutes"
                );
            }
        });
    }
}

#[test]
fn what_gossip_did_not_bring_goes_from_neighbour_to_neighbour() {
    seeds(3, |seed| {
        let sites = 8;
        let mut sim = Sim::mesh(seed, sites);
        circles(&mut sim, sites);
        ends_well(&mut sim, 60_000);
        for a in 0..sites {
            (0..a).filter(|b| a - b > 1).for_each(|b| sim.cut(a, b));
        }
        // Broken connections are noticed by then.
        sim.run_for(60_000);
        sim.faults.gossip_lost = 1_000;
        sim.publish(0, 1);
        let has = |sim: &Sim, site| sim.size(site, 0) == sim.size(0, 0);
        while !has(&sim, 1) {
            sim.run_for(100);
        }
        // Six more sites in a line: much less than a round each.
        sim.run_for(25_000);
        let lacking: Vec<usize> = (0..sites).filter(|site| !has(&sim, *site)).collect();
        assert!(lacking.is_empty(), "{lacking:?}");
    });
}

#[test]
fn many_sites_with_few_routes_converge() {
    few_routes(1, 40);
}

#[test]
fn hundreds_of_sites_with_few_routes_converge() {
    few_routes(1, 200);
}

/// Each site has eight routes, so most partners never meet: logs and boxes travel through others.
fn few_routes(n: u64, sites: usize) {
    seeds(n, |seed| {
        let mut sim = Sim::mesh(seed, sites);
        for a in 0..sites {
            for b in 0..a {
                let step = (a - b).min(sites - a + b);
                if ![1, 2, 7, 17].contains(&step) {
                    sim.cut(a, b);
                }
            }
        }
        sim.run_for(5_000);
        for site in (0..sites).step_by(sites / 10) {
            let far = [site + 1, site + sites / 2].map(|reader| reader % sites);
            sim.circle(site, With::Group(far.to_vec()), &[]);
            sim.publish(site, 2);
        }
        sim.settle(180_000).unwrap();
        sim.safety().unwrap();
    });
}

#[test]
fn the_checks_see_what_must_not_be() {
    let mut sim = Sim::mesh(1, 3);
    let group = sim.circle(0, With::Group(vec![1]), &["name"]);
    sim.publish(0, 1);
    assert!(sim.liveness().is_err(), "nothing has arrived yet");
    ends_well(&mut sim, 10_000);
    // A slot that the circle does not show, and a record for somebody else, each as a feed answer would carry it.
    let author = sim.sites[0].who.site;
    let records = &sim.sites[0].store.records;
    let mut own = records.range((author, 0)..=(author, u64::MAX));
    let last = own
        .next_back()
        .and_then(|(_, views)| views.first())
        .cloned();
    let archive = last.expect("the author keeps what it signs");
    let bytes = archive.view().encode().into_bytes();
    for reader in [1, 2] {
        let before = sim.sites[reader].overheard.clone();
        sim.overhear(reader, &bytes);
        assert!(sim.safety().is_err(), "a leak to site {reader}");
        sim.sites[reader].overheard = before;
        sim.safety().unwrap();
    }
    let leaf = (archive.claims().iss, archive.claims().seq);
    let held = sim.sites[1]
        .store
        .records
        .get_mut(&leaf)
        .expect("it arrived");
    let other = std::mem::take(held);
    assert!(sim.liveness().is_err(), "a record is missing");
    sim.sites[1]
        .store
        .records
        .insert((leaf.0, leaf.1 - 1), other);
    assert!(
        sim.safety().is_err(),
        "a record where its author signed another"
    );
    assert_eq!(sim.position(1, 0, group), 1);
}

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
