//! Seeded workloads with a fault at every I/O call, and the same model under generated operations.

use proptest::prelude::*;

use super::rig::{Op, Rig};
use crate::Fault;

const SEEDS: u64 = 200;
const CALLS: u64 = 40;
const FAULTS: [Fault; 6] = [
    Fault::Error,
    Fault::ShortWrite,
    Fault::TornWrite,
    Fault::FailedSync,
    Fault::NoSpace,
    Fault::Stop,
];

/// A small linear generator: a workload is its seed.
struct Choice(u64);

impl Choice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn workload(seed: u64) -> Vec<Op> {
    let mut choice = Choice(seed);
    let mut ops = vec![Op::Keep];
    for _ in 0..24 {
        ops.push(match choice.below(16) {
            0..=5 => Op::Append((0..=choice.below(3)).map(|_| choice.below(5000) as usize).collect()),
            6..=10 => Op::Write,
            11..=13 => Op::Keep,
            14 => Op::Release(choice.below(3) as usize),
            _ if choice.below(2) == 0 => Op::Crash,
            _ => Op::Restart,
        });
    }
    ops
}

/// Runs a workload with one fault; gives how many calls it made, or what went wrong.
fn run(rig: &mut Rig, seed: u64, fault: Option<(u64, Fault)>) -> Result<u64, String> {
    if let Some((call, fault)) = fault {
        rig.disk.fail_at(call, fault);
    }
    for op in workload(seed) {
        rig.apply(&op);
    }
    let calls = rig.disk.calls();
    rig.check().map(|()| calls)
}

#[test]
fn nothing_acknowledged_is_lost_whichever_call_fails_and_however() {
    let mut runs = 0;
    let mut acknowledged = 0;
    for seed in 0..SEEDS {
        let calls = run(&mut Rig::new(seed), seed, None).unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
        for call in 0..calls.min(CALLS) {
            let fault = FAULTS[((seed + call) % 6) as usize];
            let mut rig = Rig::new(seed);
            if let Err(problem) = run(&mut rig, seed, Some((call, fault))) {
                panic!("seed {seed}, {fault:?} at call {call}: {problem}");
            }
            runs += 1;
            acknowledged += rig.acknowledged.len();
        }
    }
    assert!(runs > SEEDS * CALLS / 2, "only {runs} runs");
    assert!(
        acknowledged as u64 > runs,
        "the workloads hardly get anything acknowledged: {acknowledged} in {runs} runs"
    );
}

#[cfg(feature = "faults")]
#[test]
fn acknowledging_before_the_sync_is_caught() {
    let caught = (0..SEEDS).any(|seed| {
        (0..CALLS).any(|call| {
            let mut rig = Rig::new(seed);
            rig.options.faults.acknowledge_early(true);
            run(&mut rig, seed, Some((call, Fault::Stop))).is_err()
        })
    });
    assert!(caught, "a journal that lies passes the workloads");
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => prop::collection::vec(0_usize..6000, 1..4).prop_map(Op::Append),
        5 => Just(Op::Write),
        4 => Just(Op::Keep),
        1 => (0_usize..3).prop_map(Op::Release),
        1 => Just(Op::Crash),
        1 => Just(Op::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_log_agrees_with_its_model(seed: u64, ops in prop::collection::vec(op(), 1..80)) {
        let mut rig = Rig::new(seed);
        for op in &ops {
            rig.apply(op);
        }
        rig.check().map_err(TestCaseError::fail)?;
    }
}
