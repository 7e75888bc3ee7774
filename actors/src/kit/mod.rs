//! Starts, watches, restarts and puts away actors: the words of OTP that actix lacks.
//!
//! actix isolates a panic to its actor but restarts nothing, bounds a mailbox only per sender, and keeps a
//! frozen thread to itself (`actors/tests/actix_semantics.rs` names each behaviour). So the rest of this crate
//! starts and addresses actors only through here, and no [`actix::Addr`] leaves this folder:
//!
//! | Word | Meaning |
//! |---|---|
//! | [`Mailbox`] | a handle: `tell` is bounded and never waits, `ask` has a deadline |
//! | [`Reply`] | the way back of an `ask`; the answering actor may keep it and answer later |
//! | [`Permits`] | the bound on work in flight, which a mailbox's capacity is not |
//! | [`Obituary`] | tells the parent that a child ended, and whether it panicked |
//! | [`Nursery`] | a parent's children: start on first use, restart with back-off, quarantine, put away, shut down |
//! | [`Clock`] | all time: real in the daemon, virtual in tests |
//! | [`Arbiters`] | the threads that actors live on, and which partition lives where |
//! | [`Errands`] | short blocking work beside an arbiter, worked off in order |
//! | [`Memory`], [`Shares`] | bytes that many share, and what one of them may hold |
//! | [`begin_here`] | what is over at once needs no task |
//! | [`relayed`] | a wait for another thread that nobody who comes later overtakes |
//! | [`Pulse`] | a plain thread that notices when one of them is frozen |
//!
//! An actor ends by [`actix::ActorContext::stop`], by a panic, or when the last [`Mailbox`] to it is dropped.
//! A child's obituary holds its parent's mailbox, so a parent that has children ends only on purpose.
//! Nothing here knows of flows, users or storage.

mod arbiters;
mod clock;
mod errands;
mod mailbox;
mod memory;
mod nursery;
mod obituary;
mod permits;
mod pulse;
mod relay;
mod start;

#[cfg(feature = "faults")]
pub use arbiters::Frozen;
pub use arbiters::{Arbiter, ArbiterOptions, Arbiters};
pub use clock::{Clock, RealClock, Sleep, VirtualClock};
pub use errands::{Errands, Failed};
pub use mailbox::{AskError, Mailbox, Outlet, Refused, Reply};
pub use memory::{Held, Memory, Shares, shrink};
pub use nursery::{Birth, Nursery, NurseryOptions, Unavailable, Verdict};
pub use obituary::{ChildExited, Exit, Obituary};
pub use permits::{Permit, Permits};
pub use pulse::{Health, Pulse, PulseHooks, PulseOptions};
pub use relay::{Relayed, relayed, ring_together};
pub use start::{Begun, LocalRun, Reminder, begin_here, remind, run_here, start_here, start_on};
