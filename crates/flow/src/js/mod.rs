//! Code steps: JavaScript in child processes of this binary, never in the daemon.
//!
//! Some of the engine's built-ins ignore interrupts and memory limits, and an assertion in it ends the process; so a
//! script runs where it can be killed. The child takes away its own rights before it reads anything (see `sandbox`),
//! serves one customer at a time, and re-evaluates the script for every run in a realm whose intrinsics are frozen:
//! nothing survives a run. `fetch` is a request to the parent, which sends it through [`crate::outbound`].

mod calls;
mod child;
mod frame;
mod patience;
mod pool;
mod program;
mod queue;
mod run;
mod spawner;
mod worker;

pub(crate) use calls::Calls;
pub use child::child_main;
pub use frame::frames_of_child;
pub use pool::JsPool;
pub use run::{Part, RunError, RunReport, RunRequest, UserKey};
pub(crate) use run::{Setback, exact_json};

use std::time::Duration;

/// What to do where the kernel lacks a sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// Refuse to start.
    #[default]
    Required,
    /// Go on with what there is, and say so.
    BestEffort,
}

/// Limits of code steps.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to spawn: program, then arguments. Default: `perseat-js-child` beside this binary where it is of the same build,
    /// else this binary itself.
    pub child_command: Option<Vec<std::ffi::OsString>>,
    /// Scripts that run at once; half as many, rounded up, where those that were over at once before are all there is. Default:
    /// twice the number of cores, because a child waits for its next run, or its script for an answer.
    pub slots: usize,
    /// Slots that one user's runs may hold.
    pub per_user: usize,
    /// Children kept ready beyond that.
    pub spares: usize,
    /// Children kept with their customer beside those that slots are for.
    pub kept: usize,
    /// Runs of one customer in a slot before another that waits gets it.
    pub turn_runs: u32,
    /// Time of one customer in a slot before another that waits gets it.
    pub turn_time: Duration,
    /// How long a run waits in a child behind another before it goes to one that is free; behind another user's it waits for any after
    /// five times that.
    pub begin_within: Duration,
    /// Runs handed to one child at once, the running one included: of one user, or all of scripts that are over at once.
    pub in_flight: usize,
    /// Children that leave their slots to others while their scripts wait, of one customer half at most.
    pub aside: usize,
    /// Runs that wait for a slot.
    pub max_waiting: usize,
    /// The longest run from its beginning, whatever its step allows.
    pub max_time: Duration,
    /// The most CPU time of one run.
    pub max_cpu: Duration,
    /// The engine's heap.
    pub max_heap: usize,
    /// The largest frame between parent and child: code, results, configuration.
    pub max_frame: usize,
    /// The most log lines of one run.
    pub max_log_lines: usize,
    /// The most bytes of one run's log lines.
    pub max_log_bytes: usize,
    /// The most bytes of what a run throws; what is longer is cut.
    pub max_thrown: usize,
    /// The largest result of one run, as JSON.
    pub max_result: usize,
    /// The most `fetch` calls of one run.
    pub max_fetches: u32,
    /// Requests of one run on their way at once; its others wait in order.
    pub fetches_in_flight: usize,
    /// The most timers of one run at once.
    pub max_timers: usize,
    /// The most scripts one child holds compiled.
    pub max_scripts: usize,
    /// What to do where the kernel lacks a sandbox.
    pub sandbox: Sandbox,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            child_command: None,
            slots: 2 * cores,
            per_user: cores.div_ceil(2),
            spares: 2,
            kept: 3 * cores,
            turn_runs: 16,
            turn_time: Duration::from_millis(20),
            begin_within: Duration::from_millis(20),
            in_flight: 8,
            aside: 32,
            max_waiting: 8192,
            max_time: Duration::from_secs(300),
            max_cpu: Duration::from_secs(30),
            max_heap: 128 << 20,
            max_frame: 64 << 20,
            max_log_lines: 1000,
            max_log_bytes: 256 << 10,
            max_thrown: 256 << 10,
            max_result: 32 << 20,
            max_fetches: 1000,
            fetches_in_flight: 16,
            max_timers: 1000,
            max_scripts: 64,
            sandbox: Sandbox::Required,
        }
    }
}

impl Options {
    /// The slots of one customer at most.
    fn per_customer(&self) -> usize {
        self.slots - self.slots / 4
    }

    /// CPU time of a run that is over at once: a child full of them is through within `begin_within`.
    fn quick(&self) -> Duration {
        self.begin_within / u32::try_from(self.in_flight.max(1)).unwrap_or(u32::MAX)
    }
}

/// The pool could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The child did not start.
    #[error("the code step process does not start")]
    Spawn(#[source] std::io::Error),
    /// The kernel has no landlock or no seccomp.
    #[error("code steps cannot be isolated here: {0}; set `code.sandbox = \"best-effort\"` to run them all the same")]
    Sandbox(String),
    /// The child speaks another protocol or none.
    #[error("the code step process answered something else: {0}")]
    Protocol(String),
}
