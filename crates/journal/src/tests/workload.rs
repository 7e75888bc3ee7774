//! Seeded workloads with faults at every I/O call, and the same model under generated operations.

use proptest::prelude::*;

use super::rig::{Op, Rig};
use crate::disk::{CALLS, Campaign, Coverage, Random, Trouble};

/// Operations of a workload at most, should they make few calls.
const OPS: usize = 200;

const LOG: Campaign = Campaign {
    package: "perseat-journal",
    test: "tests::workload::nothing_acknowledged_is_lost_whichever_call_fails_and_however",
};

fn choose(random: &mut Random) -> Op {
    match random.below(16) {
        0..=5 => Op::Append((0..=random.below(3)).map(|_| random.below(5000) as usize).collect()),
        6..=10 => Op::Write,
        11..=13 => Op::Keep,
        14 => Op::Release(random.below(3) as usize),
        _ if random.below(2) == 0 => Op::Crash,
        _ => Op::Restart,
    }
}

/// Brings a log into any state of its life, from new to much recycled, and then runs a workload that meets the trouble.
fn run(rig: &mut Rig, seed: u64, trouble: Option<Trouble>) -> Result<(), String> {
    let mut random = Random::new(seed);
    rig.apply(&Op::Keep);
    for _ in 0..random.below(4) * 16 {
        rig.apply(&choose(&mut random));
    }
    let begin = rig.disk.calls();
    rig.disk.begin_trial();
    if let Some(trouble) = trouble {
        trouble.plan(&rig.disk);
    }
    for _ in 0..OPS {
        if rig.disk.calls() >= begin + CALLS {
            break;
        }
        rig.apply(&choose(&mut random));
    }
    rig.check()
}

#[test]
fn nothing_acknowledged_is_lost_whichever_call_fails_and_however() {
    let (mut acknowledged, mut poisoned, mut recycled) = (0, 0, 0);
    let mut coverage = Coverage::default();
    let runs = LOG.run(|seed, trouble| {
        let mut rig = Rig::new(seed);
        let outcome = run(&mut rig, seed, trouble);
        coverage.note(trouble, &rig.disk);
        acknowledged += rig.acknowledged.len() as u64;
        recycled += u64::from(rig.recycled > 0);
        poisoned += u64::from(rig.refused.contains(&crate::AppendError::Poisoned));
        outcome
    });
    println!("{acknowledged} entries acknowledged, {recycled} runs with recycled segments, {poisoned} with a poisoned writer");
    coverage.judge();
    let enough = |count: u64, share| runs < CALLS * 10 || count > runs / share;
    assert!(
        enough(acknowledged, 1),
        "hardly anything is acknowledged: {acknowledged} in {runs} runs"
    );
    assert!(enough(recycled, 10), "hardly any segment is recycled: {recycled} of {runs} runs");
    assert!(enough(poisoned, 1000), "hardly any writer is poisoned: {poisoned} of {runs} runs");
}

#[cfg(feature = "faults")]
mod mutants {
    use super::*;

    fn is_caught(what: &str, spoil: impl Fn(&crate::Faults)) -> bool {
        LOG.catches(what, |seed, trouble| {
            let mut rig = Rig::new(seed);
            spoil(&rig.options.faults);
            run(&mut rig, seed, trouble)
        })
    }

    #[test]
    fn acknowledging_before_the_sync_is_caught() {
        assert!(
            is_caught("is gone", |faults| faults.acknowledge_early(true)),
            "a journal that lies passes"
        );
    }

    #[test]
    fn syncing_a_failed_segment_again_is_caught() {
        assert!(is_caught("is gone", |faults| faults.sync_again(true)), "a second sync passes");
    }
}

#[test]
fn segments_that_keep_their_id_when_they_are_recycled_are_caught() {
    #[derive(Debug)]
    struct OneId;
    impl crate::Stamp for OneId {
        fn now_millis(&self) -> u64 {
            0
        }
        fn segment_id(&self) -> u128 {
            7
        }
    }
    let caught = LOG.catches(", is at ", |seed, trouble| {
        let mut rig = Rig::new(seed);
        rig.options.stamp = std::sync::Arc::new(OneId);
        run(&mut rig, seed, trouble)
    });
    assert!(caught, "stale bytes pass");
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
