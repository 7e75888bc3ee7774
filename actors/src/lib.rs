//! Behaviour over time: the actors of the data plane and the kit that starts, watches and restarts them.
//!
//! ```text
//! front ─► journal.append(Accepted) ─► 200
//!             │ the committed batch, in position order
//!             ▼
//! supervisor ─► instance ─► user ─► execution ─► journal.append(Started, StepsDone, Ended)
//! ```
//!
//! Reading order: [`kit`] → [`front`] → [`admission`] → [`supervisor`] → [`instance`] → [`user`] → [`execution`] → [`grant`] →
//! [`source`] → [`waiters`].

pub mod admission;
pub mod execution;
pub mod front;
pub mod grant;
pub mod instance;
pub mod kit;
pub mod source;
pub mod supervisor;
pub mod telemetry;
pub mod user;
pub mod waiters;
