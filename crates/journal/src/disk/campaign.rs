//! Fault campaigns: a seeded workload again and again, each time with a fault at another of its I/O calls.
//!
//! `FAULT_SEEDS` says how many seeds a campaign takes and `FAULT_FIRST` with which it begins, so that a long one can be taken in parts;
//! `FAULT_SEED` and `FAULT_CALL` repeat the one run that a failure named.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{Fault, MemoryDisk};

/// The calls of a workload at which faults are planned; a workload ends once it has made so many.
pub const CALLS: u64 = 40;

/// Seeds of a campaign unless `FAULT_SEEDS` says otherwise.
const SEEDS: u64 = 200;

/// Seeds between two lines about how far a campaign is.
const TOLD_EVERY: u64 = 500;

const KINDS: [Fault; 6] = [
    Fault::Error,
    Fault::ShortWrite,
    Fault::TornWrite,
    Fault::FailedSync,
    Fault::NoSpace,
    Fault::Stop,
];

/// What goes wrong in one run: a kind of fault, at one call and perhaps at the next ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The call, counted from the beginning of the workload.
    pub call: u64,
    /// How many calls in a row fail.
    pub times: u64,
    /// How.
    pub fault: Fault,
}

impl Trouble {
    /// The one kind of fault that a seed meets at a call.
    fn of(seed: u64, call: u64) -> Self {
        Self {
            call,
            times: 1 + (seed / 6 + call / 6) % 3,
            fault: KINDS[((seed + call) % 6) as usize],
        }
    }

    /// Plans it for the calls that come.
    pub fn plan(self, disk: &MemoryDisk) {
        let begin = disk.calls() + self.call;
        for call in begin..begin + self.times {
            disk.fail_at(call, self.fault);
        }
    }
}

/// Which faults a campaign has met as what they are, and at which calls.
#[derive(Debug, Default)]
pub struct Coverage {
    met: BTreeSet<(u64, Fault)>,
    /// By call and fault, in how many runs without trouble it could have been met.
    possible: BTreeMap<(u64, Fault), u64>,
    runs: u64,
}

impl Coverage {
    /// Notes what a run came across.
    pub fn note(&mut self, trouble: Option<Trouble>, disk: &MemoryDisk) {
        if let Some(trouble) = trouble {
            self.met.extend(disk.has_met().then_some((trouble.call, trouble.fault)));
            return;
        }
        self.runs += 1;
        for (call, kind) in (0..CALLS).zip(disk.trial()) {
            for fault in KINDS.into_iter().filter(|fault| fault.is_for(kind)) {
                *self.possible.entry((call, fault)).or_default() += 1;
            }
        }
    }

    /// Holds a whole campaign to every kind of fault at every call, where one seed in four could meet it there.
    ///
    /// # Panics
    /// If none of its seeds did.
    pub fn judge(&self) {
        let is_whole = self.runs >= SEEDS;
        let often = |count: &u64| count * 4 >= self.runs;
        let possible = self.possible.iter().filter(|(_, count)| often(count)).map(|(one, _)| one);
        let missing: Vec<_> = possible.filter(|one| !self.met.contains(one)).collect();
        assert!(!is_whole || missing.is_empty(), "no seed met {missing:?}");
    }
}

/// A named workload; the name is that of the test, as cargo takes it.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The package that the test is in.
    pub package: &'static str,
    /// The test's path in its library.
    pub test: &'static str,
}

impl Campaign {
    /// Runs every seed without a fault and with one at each call; gives the number of runs.
    ///
    /// # Panics
    /// At the first run with a problem; the message says how to repeat it.
    pub fn run(&self, mut workload: impl FnMut(u64, Option<Trouble>) -> Result<(), String>) -> u64 {
        let mut runs = 0;
        for seed in seeds() {
            for trouble in troubles(seed) {
                self.judge(seed, trouble, attempt(|| workload(seed, trouble)));
                runs += 1;
            }
            self.tell(seed, runs);
        }
        runs
    }

    /// Runs every seed once, for workloads that choose their faults themselves; gives the number of runs.
    ///
    /// # Panics
    /// As [`Campaign::run`].
    pub fn run_seeds(&self, mut workload: impl FnMut(u64) -> Result<(), String>) -> u64 {
        let mut runs = 0;
        for seed in seeds() {
            self.judge(seed, None, attempt(|| workload(seed)));
            runs += 1;
            self.tell(seed, runs);
        }
        runs
    }

    /// Whether any run has a problem that says `what`: for what is wrong on purpose.
    pub fn catches(&self, what: &str, mut workload: impl FnMut(u64, Option<Trouble>) -> Result<(), String>) -> bool {
        let mut is_caught = |seed, trouble| attempt(|| workload(seed, trouble)).is_err_and(|problem| problem.contains(what));
        (0..SEEDS).any(|seed| troubles(seed).any(|trouble| is_caught(seed, trouble)))
    }

    /// A long campaign says how far it is.
    fn tell(&self, seed: u64, runs: u64) {
        let done = seed + 1;
        if done.is_multiple_of(TOLD_EVERY) {
            let Range { start, end } = seeds();
            eprintln!("{}: seeds {start} to {done} of {end} hold, {runs} runs", self.test);
        }
    }

    fn judge(&self, seed: u64, trouble: Option<Trouble>, outcome: Result<(), String>) {
        if let Err(problem) = outcome {
            let (what, call) = match trouble {
                Some(trouble) => (format!("{trouble:?}"), format!(" FAULT_CALL={}", trouble.call)),
                None => ("no planned fault".to_owned(), String::new()),
            };
            panic!(
                "seed {seed}, {what}: {problem}\nrepeat it: FAULT_SEED={seed}{call} \
                 cargo test --locked --profile ci -p {} --features faults --lib {} -- --exact",
                self.package, self.test
            );
        }
    }
}

/// A panic is a problem like any other, so that its seed is said.
fn attempt(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("it panicked: {}", text.unwrap_or("without a word")))
    })
}

/// The seeds that the environment asks for.
fn seeds() -> Range<u64> {
    match number("FAULT_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("FAULT_FIRST").unwrap_or(0);
            first..first + number("FAULT_SEEDS").unwrap_or(SEEDS)
        }
    }
}

/// No trouble, and one at each call; or the one that the environment asks for.
fn troubles(seed: u64) -> impl Iterator<Item = Option<Trouble>> {
    let (none, calls) = match number("FAULT_CALL") {
        Some(call) => (None, call..call + 1),
        None => (Some(None), 0..CALLS),
    };
    none.into_iter().chain(calls.map(move |call| Some(Trouble::of(seed, call))))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_fault_meets_every_call() {
        for call in 0..CALLS {
            let met = |fault| (0..6).any(|seed| Trouble::of(seed, call).fault == fault);
            assert!(KINDS.into_iter().all(met), "call {call}");
        }
    }

    #[test]
    #[should_panic(
        expected = "FAULT_SEED=3 FAULT_CALL=7 cargo test --locked --profile ci -p perseat-journal --features faults --lib some::test -- --exact"
    )]
    fn a_failure_says_how_to_repeat_it() {
        let campaign = Campaign {
            package: "perseat-journal",
            test: "some::test",
        };
        campaign.run(|seed, trouble| match trouble {
            Some(trouble) if seed == 3 && trouble.call == 7 => Err("lost".into()),
            _ => Ok(()),
        });
    }
}
