//! The decisions of the data plane under one seed: virtual time and a wall clock that jumps, a journal that can be cut after every entry, actors that
//! die, mailboxes that are full, a provider that fails, hangs and answers late.
//!
//! What runs here is the code of the daemon: the owner's table and its fair queue, the state machine, the past and the
//! draft of an execution, the index that recovery reads, admission, the memory for executions, and the nursery that restarts actors. What is
//! replaced is what waits: actors are mailboxes that chance empties (`stage`), executions are performed by hand
//! (`execution`), the journal is a list (`journal`). The same seed gives the same history.
//!
//! ```text
//! workload (seed) ─► world: picks who acts next ─► owner ─► stage: instances, users ─► execution ─► journal
//!                                                    └────────── model: what must hold ──────────────┘
//! ```
//!
//! Read `model` first: it says what must hold, in sets and counts, with nothing of the code that it judges; `walk` says
//! what a flow and its error rules mean. Every seed dies at entry `seed mod 64` of its journal, before anybody heard of
//! it, and most at further ones; so over the seeds every place and every kind of entry is the last one that survived.
//! `mutant` puts faults in on purpose, each of which the model has to find.
//!
//! A failing seed says how to run it alone. `SIMULATION_SEEDS` says how many run, `SIMULATION_SEED` names one.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../crates/domain/tests/renewals/chance.rs"]
mod chance;
mod execution;
mod journal;
mod memory;
mod model;
mod mutant;
mod report;
mod stage;
mod walk;
mod workload;
mod world;

use mutant::Mutant;
use report::Report;
use std::fmt::Write as _;

/// How many seeds die at every entry of their histories, one after the other.
const SEEDS_OF_EVERY_ENTRY: u64 = 300;
/// How many seeds each mutant is given to be caught in.
const SEEDS_OF_A_MUTANT: u64 = 20_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn whatever_dies_and_whenever_the_model_holds_over_all_seeds() {
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(10_000),
    };
    let (count, is_whole) = (seeds.end - seeds.start, seeds.end >= 10_000 && seeds.start == 0);
    let mut covered = Report::default();
    let mut failed = String::new();
    for seed in seeds {
        match world::run(seed, None) {
            Ok(report) => covered.add(report),
            Err(wrong) => {
                writeln!(
                    failed,
                    "seed {seed}: {wrong}\n  replay: SIMULATION_SEED={seed} cargo test --profile ci -p perseat-actors --test simulation -- --nocapture whatever"
                )
                .unwrap();
            }
        }
    }
    println!("{count} seeds: {covered}");
    assert!(failed.is_empty(), "{failed}");
    let gaps = covered.gaps();
    assert!(!is_whole || gaps.is_empty(), "the seeds come too seldom across {gaps:?}");
}

#[test]
fn a_death_at_any_entry_of_a_history_changes_nothing_that_must_hold() {
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS_OF_EVERY_ENTRY,
    };
    let (mut deaths, mut failed) = (0, String::new());
    for seed in seeds {
        let undisturbed = world::run_dying_at(seed, None).unwrap_or_else(|wrong| panic!("seed {seed} without a death: {wrong}"));
        assert_eq!(undisturbed.crashes, 0);
        for entry in 0..undisturbed.entries {
            match world::run_dying_at(seed, Some(entry)) {
                // An append is durable whole.
                Ok(report) => assert!(
                    report.crashes == 1 && report.crashed_at.first() >= Some(&entry),
                    "seed {seed} at entry {entry}: {report:?}"
                ),
                Err(wrong) => writeln!(
                    failed,
                    "seed {seed}, dying at entry {entry}: {wrong}\n  replay: SIMULATION_SEED={seed} cargo test --profile ci -p perseat-actors --test simulation -- --nocapture a_death"
                )
                .unwrap(),
            }
            deaths += 1;
        }
    }
    println!("{deaths} deaths");
    assert!(failed.is_empty(), "{failed}");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [3, 77, 1_234] {
        let runs = [world::run(seed, None), world::run(seed, None)];
        assert_eq!(format!("{:?}", runs[0]), format!("{:?}", runs[1]), "seed {seed}");
    }
}

#[test]
fn every_seeded_mutant_is_caught() {
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        // Not by any failure, nor by a seed that fails without it.
        let is_its = |seed: u64, wrong: &String| wrong.contains(mutant.breaks()) && world::run(seed, None).is_ok();
        let wrong = |seed| world::run(seed, Some(mutant)).err().filter(|wrong| is_its(seed, wrong));
        let caught = (0..SEEDS_OF_A_MUTANT).find_map(|seed| Some((seed, wrong(seed)?)));
        match caught {
            Some((seed, wrong)) => println!("{mutant:?}: caught by seed {seed}: {wrong}"),
            None => missed.push(mutant),
        }
    }
    assert!(
        missed.is_empty(),
        "what {missed:?} break was not found in {SEEDS_OF_A_MUTANT} seeds"
    );
}
