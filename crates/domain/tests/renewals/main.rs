//! Renewal under one seed: virtual time, a provider that loses answers, is down or asks for patience, a catalog that is full or
//! fails, actors and processes that die between any two steps, and people who consent again when they are told to.
//!
//! What runs here is the code of the daemon: [`Grant`](perseat_domain::grant::Grant) and
//! [`Tending`](perseat_domain::grant::Tending) decide about the stored row, [`Desk`](perseat_domain::grant::Desk) has one reading
//! answer all who ask, [`Notice`](perseat_domain::grant::Notice) begins and ends with the grant, and
//! [`Owner`](perseat_domain::owner::Owner) parks executions and lets them go. What is replaced is what waits: each write, call and
//! message is an event of its own, and between any two of them everything may die.
//!
//! ```text
//! events (seed) ─► world ─► executions: owner ─► holder: desk, tending ─► disk: rows, notices
//!                    │                                     └──────────► provider: counts what is spent
//!                    └──────────────── model: what must hold ───────────────┘
//! ```
//!
//! Read `model` first: it says what must hold, from what the provider counted and what is durable. Every seed dies at step
//! `seed mod 48` of its renewals, and most at further ones; so every step is the last one that was done. Some providers answer 5xx to
//! a token that they spent. Grants are users' own or shared by all users. `mutant` puts faults in on purpose, each of which the model has to find.
//!
//! A failing seed says how to run it alone. `RENEWAL_SEEDS` says how many run, `RENEWAL_SEED` names one.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod chance;
mod disk;
mod executions;
mod holder;
mod model;
mod mutant;
mod plan;
mod provider;
mod report;
mod stage;
mod world;

use mutant::Mutant;
use report::Report;
use std::fmt::Write as _;

/// How many seeds each mutant is given to be caught in.
const SEEDS_OF_A_MUTANT: u64 = 20_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn whatever_dies_and_whenever_no_token_is_spent_twice_and_no_grant_is_lost_silently() {
    let seeds = match number("RENEWAL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RENEWAL_SEEDS").unwrap_or(10_000),
    };
    let (count, is_whole) = (seeds.end - seeds.start, seeds.end >= 10_000 && seeds.start == 0);
    let mut covered = Report::default();
    let mut failed = String::new();
    for seed in seeds {
        match world::run(seed, None) {
            Ok(report) => covered.add(&report),
            Err(wrong) => {
                writeln!(
                    failed,
                    "seed {seed}: {wrong}\n  replay: RENEWAL_SEED={seed} cargo test --profile ci -p perseat-domain --test renewals -- --nocapture whatever"
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
fn the_same_seed_gives_the_same_history() {
    for seed in [3, 77, 1_234] {
        let runs = [world::run(seed, None), world::run(seed, None)];
        assert_eq!(format!("{:?}", runs[0]), format!("{:?}", runs[1]), "seed {seed}");
    }
}

#[test]
fn every_mutant_of_renewals_is_caught_for_what_it_breaks() {
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        let wrong = |seed| world::run(seed, Some(mutant)).err().filter(|wrong| wrong.contains(mutant.breaks()));
        let caught = (0..SEEDS_OF_A_MUTANT).find_map(|seed| Some((seed, wrong(seed)?)));
        match caught {
            Some((seed, wrong)) => println!("{mutant:?}: caught by seed {seed}: {wrong}"),
            None => missed.push(mutant),
        }
    }
    println!("{} of {} mutants caught", Mutant::ALL.len() - missed.len(), Mutant::ALL.len());
    assert!(
        missed.is_empty(),
        "nothing was found wrong with {missed:?} in {SEEDS_OF_A_MUTANT} seeds"
    );
}
