//! One execution: the performer beside the pure [`Machine`](perseat_domain::execution::Machine).
//!
//! ```text
//! start ─► past (journal) ─► binding (definition, settings, keys) ─► run ⇄ machine
//!                                                                     │ performer: HTTP, JS, branch, log
//!                                                                     └ recorder ─► journal.append
//! ```
//!
//! An attempt keeps the version and the plain values of its first start (`bound`); its credentials, and whether it may go
//! on at all, are what the user's actor says today ([`Today`]).
//!
//! An execution is a local future owned by its user actor. It holds unsealed connections only through its
//! [`Binding`]; it writes what it did to the journal and nothing anywhere else.

mod binding;
mod bound;
#[cfg(feature = "faults")]
mod faults;
mod memory;
mod parking;
mod perform;
mod plans;
mod reading;
mod recorder;
mod run;
mod steps;
mod today;
mod vault;
mod view;

pub use binding::{Binding, LoadError, LoadedInstance, LoadedUser};
#[cfg(feature = "faults")]
pub use faults::{BindingFaults, Reading};
pub use memory::{ExecutionMemory, Room};
pub use parking::Parking;
pub use plans::Plans;
pub(crate) use recorder::masked;
pub(crate) use run::off_arbiter;
pub use run::{Refuse, Rest, Start, run};
pub use today::{Configuration, Today, TodayIs};

use crate::grant::{Oauth, Sharers};
use crate::kit::{Clock, Errands};
use crate::waiters::Waiters;
use perseat_domain::execution::Limits as MachineLimits;
use perseat_flow::component::Performer;
use perseat_flow::{expression, payload};
use perseat_journal::Journal;
use perseat_store::custody::Custody;
use perseat_store::index::ExecutionIndex;
use std::sync::Arc;
use std::time::Duration;

/// How often what cannot be read for now, a configuration or an execution's entries, is read before what waits for it fails;
/// `execution.full-retry` lies in between. No key: with its default it is half a minute, and what waits longer than that holds slots for
/// a disk that is broken.
pub(crate) const READINGS: u32 = 60;

/// Limits of one execution.
#[derive(Clone, Copy, Debug)]
pub struct ExecutionLimits {
    /// How long an activation may take (`execution.timeout`).
    pub timeout: Duration,
    /// How long one step may take (`execution.step-timeout`).
    pub step_timeout: Duration,
    /// Log lines kept of one activation; the rest is counted (`execution.max-log-lines`).
    pub max_log_lines: usize,
    /// Bytes of a log line, and of what a step says of its error (`execution.max-log-line`).
    pub max_log_line: usize,
    /// Bytes of sealed step results in one journal entry; above, they are split over several.
    pub entry_bytes: usize,
    /// Above this size sealing and masking leave the arbiter (64 KiB).
    pub offload_bytes: usize,
    /// How long an execution may wait for a connection to be usable, from the first time on (`execution.park-limit`).
    pub park_limit: Duration,
    /// The wait before an append is tried again on a full disk, and a configuration is read again that cannot be read
    /// (`execution.full-retry`).
    pub full_retry: Duration,
    /// Restarts.
    pub machine: MachineLimits,
    /// Resolved values.
    pub values: expression::Limits,
    /// Parsed bodies.
    pub payload: payload::Limits,
}

impl Default for ExecutionLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(900),
            step_timeout: Duration::from_secs(300),
            max_log_lines: 1_000,
            max_log_line: 16 * 1024,
            entry_bytes: 512 * 1024,
            offload_bytes: 64 * 1024,
            park_limit: Duration::from_hours(168),
            full_retry: Duration::from_millis(500),
            machine: MachineLimits {
                max_deaths: 3,
                max_activations: 1_000,
            },
            values: expression::Limits::default(),
            payload: payload::Limits::default(),
        }
    }
}

/// What all executions of one arbiter share.
#[derive(Clone, Debug)]
pub struct ExecutionEnv {
    /// The journal.
    pub journal: Journal,
    /// Where entries stand that were carried after their owner learned of them.
    pub index: Arc<ExecutionIndex>,
    /// The catalog and the keys.
    pub custody: Custody,
    /// The compiled flows of the versions that run here.
    pub plans: Arc<Plans>,
    /// Performs steps; its connections belong to this arbiter.
    pub performer: Performer,
    /// Renews grants; its connections belong to this arbiter.
    pub oauth: Oauth,
    /// Lends connections that others use, too.
    pub sharers: Sharers,
    /// Reads configuration and entries for the arbiter's actors.
    pub errands: Errands,
    /// For payloads and results, shared by all arbiters.
    pub memory: Arc<ExecutionMemory>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Synchronous callers.
    pub waiters: Arc<Waiters>,
    /// Limits.
    pub limits: ExecutionLimits,
    /// The epoch of this owner in `append`.
    pub epoch: u64,
    /// The public address of the hooks listener, without a trailing slash.
    pub public_url: Arc<str>,
    /// Test switches.
    #[cfg(feature = "faults")]
    pub faults: Arc<BindingFaults>,
}
