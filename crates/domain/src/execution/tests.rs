//! Simulation: random flows, a crash at every effect, a model journal.

use super::*;
use crate::code::ErrorCode;
use crate::definition::{ActionRef, Branch, EndpointSecurity, Flow, Step, StepErrorPolicy};
use crate::entry::{EndStatus, StepStatus};
use crate::id::FlowNumber;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const LIMITS: Limits = Limits {
    max_deaths: 3,
    max_activations: 1_000,
};

fn step(action: &str, branches: Vec<Branch>, on_error: StepErrorPolicy) -> Step {
    Step {
        name: action.to_owned(),
        reference: action.to_owned(),
        action: ActionRef {
            component: "test".into(),
            action: action.into(),
        },
        inputs: BTreeMap::new(),
        on_error,
        branches,
        body: Vec::new(),
    }
}

fn flow(steps: Vec<Step>) -> Flow {
    Flow {
        number: FlowNumber(1),
        name: "flow".into(),
        stable_key: "flow".into(),
        description: String::new(),
        is_synchronous: false,
        security: EndpointSecurity::Unsecured,
        organization_api_keys: Vec::new(),
        trigger: step("trigger", Vec::new(), StepErrorPolicy::Fail),
        steps,
        missing: Vec::new(),
    }
}

fn plan(steps: Vec<Step>) -> Arc<Plan> {
    Arc::new(Plan::compile(&flow(steps), &|action| Nature {
        is_outbound: action.action.starts_with("out"),
        is_stop: action.action == "stop",
    }))
}

fn policies() -> impl Strategy<Value = StepErrorPolicy> {
    prop_oneof![
        4 => Just(StepErrorPolicy::Fail),
        1 => Just(StepErrorPolicy::Ignore),
        1 => (0u8..3, any::<bool>()).prop_map(|(max_attempts, ignore_final)| StepErrorPolicy::Retry {
            max_attempts, delay_seconds: 1, exponential: true, ignore_final
        }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let action = prop_oneof![3 => Just("out"), 3 => Just("pure"), 1 => Just("stop")];
    let leaf = (action, policies()).prop_map(|(action, policy)| step(action, Vec::new(), policy));
    let list = prop::collection::vec(leaf, 0..5);
    list.prop_recursive(3, 24, 4, |inner| {
        prop::collection::vec(
            (prop::collection::vec(inner, 0..3), policies(), any::<bool>()).prop_map(|(lists, policy, out)| {
                let branches = lists
                    .into_iter()
                    .enumerate()
                    .map(|(n, steps)| Branch {
                        name: format!("branch {n}"),
                        steps,
                    })
                    .collect::<Vec<_>>();
                step(if branches.is_empty() && out { "out" } else { "pure" }, branches, policy)
            }),
            0..4,
        )
    })
}

/// What a performer and a journal would hold.
#[derive(Default)]
struct World {
    durable: Progress,
    pending: Vec<Effect>,
    starts: Vec<(String, bool)>,
    ended: Option<Verdict>,
}

impl World {
    fn make_durable(&mut self, plan: &Plan) {
        for effect in self.pending.drain(..) {
            match effect {
                Effect::WriteStarted { activation, deaths } => {
                    self.durable.activations = activation;
                    self.durable.deaths = deaths;
                }
                Effect::WriteStep { node, status, branch, .. } => {
                    let path = plan.node(node).path.clone();
                    if let Some(branch) = branch {
                        self.durable.branches.insert(path.clone(), branch);
                    }
                    self.durable.done.insert(path, status);
                }
                _ => {}
            }
        }
    }

    /// Runs one activation until it ends or `budget` effects were carried out; `choose` decides each step's outcome.
    fn activate(&mut self, plan: &Arc<Plan>, budget: &mut usize, choose: &mut dyn FnMut(&Node, u8) -> Outcome) {
        self.pending.clear();
        let mut machine = Machine::new(plan.clone(), LIMITS);
        let mut events = vec![Event::Begin {
            progress: self.durable.clone(),
            deaths: 0,
        }];
        while let Some(event) = events.pop() {
            for effect in machine.on(event) {
                if *budget == 0 {
                    return;
                }
                *budget -= 1;
                match effect {
                    Effect::WriteStarted { .. } | Effect::WriteStep { .. } => self.pending.push(effect),
                    Effect::Flush => {
                        self.make_durable(plan);
                        events.push(Event::Flushed);
                    }
                    Effect::Perform { node, tries } => {
                        let at = plan.node(node);
                        assert!(self.durable.activations > 0, "a step began before Started was durable");
                        assert!(!self.durable.done.contains_key(&at.path), "a durable step was performed again");
                        if at.nature.is_outbound {
                            assert!(
                                self.pending.is_empty(),
                                "an outbound step began before earlier results were durable"
                            );
                        }
                        self.starts.push((at.path.clone(), at.nature.is_outbound));
                        events.push(Event::StepEnded(choose(at, tries)));
                    }
                    Effect::Sleep(_) => events.push(Event::RetryDue),
                    Effect::Abandon => {}
                    Effect::Finish(verdict) => {
                        // What does not fit into one append with the end is written before it.
                        self.make_durable(plan);
                        if *budget == 0 {
                            return;
                        }
                        *budget -= 1;
                        self.durable.ended = true;
                        self.ended = Some(verdict);
                    }
                }
            }
        }
    }
}

fn outcome(seed: u64, node: &Node, tries: u8) -> Outcome {
    let mut hash = seed ^ u64::from(tries).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in node.path.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    match hash >> 60 {
        0 | 1 => Outcome::Failed {
            code: ErrorCode::StepFailed,
            is_retryable: hash & 1 == 0,
        },
        _ if node.nature.is_stop => Outcome::Stopped,
        _ if node.branches.is_empty() => Outcome::Done,
        n => Outcome::Branch(format!("branch {}", n as usize % node.branches.len())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn crashes_at_any_effect_change_nothing_that_was_durable(steps in steps(), seed: u64, crashes in prop::collection::vec(0usize..30, 0..6)) {
        let plan = plan(steps);
        let mut undisturbed = World::default();
        undisturbed.activate(&plan, &mut usize::MAX.clone(), &mut |node, tries| outcome(seed, node, tries));

        let mut world = World::default();
        for mut budget in crashes {
            world.activate(&plan, &mut budget, &mut |node, tries| outcome(seed, node, tries));
        }
        let is_ended = world.durable.ended;
        world.activate(&plan, &mut usize::MAX.clone(), &mut |node, tries| outcome(seed, node, tries));

        prop_assert!(world.durable.ended);
        prop_assert_eq!(&world.durable.done, &undisturbed.durable.done);
        prop_assert_eq!(world.ended, undisturbed.ended);
        if is_ended {
            prop_assert!(world.starts.len() >= undisturbed.starts.len());
        }
    }

    #[test]
    fn no_sequence_of_events_breaks_the_machine(steps in steps(), events in prop::collection::vec(0u8..8, 0..40), seed: u64) {
        let plan = plan(steps);
        let mut machine = Machine::new(plan, LIMITS);
        let mut finished = 0;
        for (n, event) in events.into_iter().enumerate() {
            let event = match event {
                0 => Event::Begin { progress: Progress::default(), deaths: (seed & 1) as u32 },
                1 => Event::Flushed,
                2 => Event::StepEnded(Outcome::Done),
                3 => Event::StepEnded(Outcome::Failed { code: ErrorCode::StepFailed, is_retryable: (seed >> n) & 1 == 0 }),
                4 => Event::RetryDue,
                5 => Event::CancelRequested,
                6 => Event::ConfigurationGone(ErrorCode::UserRemoved),
                _ => Event::DeadlinePassed,
            };
            let was_ended = machine.is_ended();
            let effects = machine.on(event);
            prop_assert!(!was_ended || effects.is_empty(), "nothing follows the end");
            finished += effects.iter().filter(|effect| matches!(effect, Effect::Finish(_))).count();
        }
        prop_assert!(finished <= 1);
    }
}

fn run(steps: Vec<Step>, outcomes: &[(&str, Outcome)]) -> (World, BTreeSet<String>) {
    let plan = plan(steps);
    let mut world = World::default();
    world.activate(&plan, &mut usize::MAX.clone(), &mut |node, _| {
        outcomes
            .iter()
            .find(|(path, _)| *path == node.path)
            .map_or(Outcome::Done, |(_, outcome)| outcome.clone())
    });
    let started = world.starts.iter().map(|(path, _)| path.clone()).collect();
    (world, started)
}

#[test]
fn a_flow_without_steps_succeeds() {
    let (world, started) = run(Vec::new(), &[]);
    assert_eq!(world.ended.unwrap().status, EndStatus::Succeeded);
    assert!(started.is_empty());
}

#[test]
fn only_the_chosen_branch_runs_and_the_flow_goes_on_after_it() {
    let pure = || step("pure", Vec::new(), StepErrorPolicy::Fail);
    let fork = step(
        "pure",
        vec![
            Branch {
                name: "left".into(),
                steps: vec![pure()],
            },
            Branch {
                name: "Else".into(),
                steps: vec![pure(), pure()],
            },
        ],
        StepErrorPolicy::Fail,
    );
    let (_, started) = run(vec![fork, pure()], &[("0", Outcome::Branch("Else".into()))]);
    assert_eq!(started.into_iter().collect::<Vec<_>>(), ["0", "0.b1.0", "0.b1.1", "1"]);
}

#[test]
fn an_ignored_failure_is_recorded_and_the_flow_goes_on() {
    let failed = Outcome::Failed {
        code: ErrorCode::StepFailed,
        is_retryable: true,
    };
    let (world, _) = run(
        vec![
            step("out", Vec::new(), StepErrorPolicy::Ignore),
            step("out", Vec::new(), StepErrorPolicy::Fail),
        ],
        &[("0", failed)],
    );
    assert_eq!(world.durable.done["0"], StepStatus::Ignored);
    assert_eq!(world.ended.unwrap().status, EndStatus::Succeeded);
}

#[test]
fn three_deaths_end_it_quarantined() {
    let mut machine = Machine::new(plan(vec![step("out", Vec::new(), StepErrorPolicy::Fail)]), LIMITS);
    let progress = Progress {
        activations: 3,
        deaths: 2,
        ..Progress::default()
    };
    let effects = machine.on(Event::Begin { progress, deaths: 3 });
    assert!(matches!(
        effects.as_slice(),
        [Effect::Finish(Verdict {
            status: EndStatus::Quarantined,
            ..
        })]
    ));
}

#[test]
fn restarts_of_the_daemon_are_not_deaths() {
    let mut machine = Machine::new(plan(vec![step("out", Vec::new(), StepErrorPolicy::Fail)]), LIMITS);
    let progress = Progress {
        activations: 7,
        deaths: 0,
        ..Progress::default()
    };
    let effects = machine.on(Event::Begin { progress, deaths: 0 });
    assert_eq!(effects, [Effect::WriteStarted { activation: 8, deaths: 0 }, Effect::Flush]);
}

#[test]
fn a_removed_user_ends_what_performs_or_waits_whatever_the_step_forgives() {
    let removed = |machine: &mut Machine| machine.on(Event::ConfigurationGone(ErrorCode::UserRemoved));
    let expected = [
        Effect::Abandon,
        Effect::Finish(Verdict {
            status: EndStatus::Failed,
            code: Some(ErrorCode::UserRemoved),
            failed: None,
        }),
    ];
    for policy in [StepErrorPolicy::Ignore, retry()] {
        let mut machine = Machine::new(plan(vec![step("pure", Vec::new(), policy)]), LIMITS);
        machine.on(begin());
        machine.on(Event::Flushed);
        assert_eq!(removed(&mut machine), expected, "while it performs");
        assert!(machine.is_ended());
    }
    let mut machine = Machine::new(plan(vec![step("pure", Vec::new(), retry())]), LIMITS);
    machine.on(begin());
    machine.on(Event::Flushed);
    let failed = Outcome::Failed {
        code: ErrorCode::StepFailed,
        is_retryable: true,
    };
    let waits = machine.on(Event::StepEnded(failed));
    assert!(matches!(waits.as_slice(), [Effect::Sleep(_)]), "{waits:?}");
    assert_eq!(removed(&mut machine), expected, "while it waits to try again");
}

fn retry() -> StepErrorPolicy {
    StepErrorPolicy::Retry {
        max_attempts: 3,
        delay_seconds: 1,
        exponential: false,
        ignore_final: true,
    }
}

fn begin() -> Event {
    Event::Begin {
        progress: Progress::default(),
        deaths: 0,
    }
}
