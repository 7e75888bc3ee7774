//! How one execution proceeds: a pure state machine over a compiled plan.
//!
//! ```text
//!            Begin            Flushed            StepEnded (next step pure)
//! (queued) ─────────► Flushing ─────► Performing ◄────────┐
//!                        ▲                │  │  └─────────┘
//!   next step outbound   └────────────────┘  │ retry
//!                                            ▼
//!                            Finish ◄──── Sleeping
//! ```
//!
//! [`Machine::on`] takes an [`Event`] and gives [`Effect`]s; a performer carries them out and reports back with the
//! next event. Two rules make a crash harmless: `Started` is durable before the first step begins, and the results
//! of everything before an outbound step are durable before that step begins. So a resumed execution repeats at most
//! the step that was in flight, and [`Past`] read from the journal is all that it needs. Until they are durable, results
//! are gathered in a [`Draft`].

mod draft;
mod machine;
mod past;
mod plan;
mod progress;
#[cfg(test)]
mod tests;

pub use draft::{Draft, DraftLogs, bytes_of};
pub use machine::{Effect, Event, Limits, Machine, Outcome, Verdict};
pub use past::{Past, PastError};
pub use plan::{Nature, Node, NodeIndex, Plan};
pub use progress::Progress;
