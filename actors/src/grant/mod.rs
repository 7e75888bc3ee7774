//! Custody of grants: who holds which token today, and the one place where it is renewed.
//!
//! ```text
//! actor reads its configuration ─► load: rows, tokens ─► tend: intent durable ─► provider ─► outcome durable ─► binding
//!            ▲                                                                                                  │
//!            └──────────────────────────── due, or refused ◄──────────────────────────────────────────────────┘
//! ```
//!
//! The grants of a user's configuration are tended by the user's actor, those of an instance by the instance's actor, in
//! the course of reading the configuration: steps that begin meanwhile wait, so that two hundred executions that meet an
//! expired token cause one renewal. An actor that dies in between leaves an intent behind, and its successor settles it, by what
//! came of it where that is known and could not be written down.
//!
//! A grant that is shared more widely has an actor of its own, below the supervisor that its key names: whoever uses it asks there,
//! and hears when it is another one.

mod lend;
mod load;
mod share;
mod tend;
mod unwritten;

pub(crate) use lend::Borrower;
pub use lend::Sharers;
pub(crate) use load::{Grants, Whose};
pub use share::Lend;
pub(crate) use share::{ForgetShare, LeaveShare, ShareActor};

use crate::execution::ExecutionEnv;
use perseat_domain::grant::Rules;
use perseat_flow::oauth::OauthClient;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use unwritten::Unwritten;

/// What renewing needs; its connections belong to one arbiter.
#[derive(Clone, Debug)]
pub struct Oauth {
    /// Calls providers.
    pub client: OauthClient,
    /// When to renew, and how patiently.
    pub rules: Rules,
    unwritten: Unwritten,
    is_held: Arc<AtomicBool>,
    /// Renewals that a stop would cut off.
    in_flight: watch::Sender<usize>,
}

/// A renewal, from before its intent is written down until its outcome is.
#[derive(Debug)]
struct InFlight(watch::Sender<usize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Oauth {
    /// Renews by these rules.
    #[must_use]
    pub fn new(client: OauthClient, rules: Rules) -> Self {
        Self {
            client,
            rules,
            unwritten: Unwritten::default(),
            is_held: Arc::default(),
            in_flight: watch::Sender::default(),
        }
    }

    /// From now on no grant is tended; or each is again, once it is read anew.
    pub(crate) fn hold(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::Relaxed);
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    /// A renewal begins, unless everything is held.
    fn begin(&self) -> Option<InFlight> {
        if self.is_held() {
            return None;
        }
        self.in_flight.send_modify(|count| *count += 1);
        Some(InFlight(self.in_flight.clone()))
    }

    /// Waits until a stop would cut off no renewal, and what became of them is written down.
    pub(crate) async fn is_through(&self, env: &ExecutionEnv) {
        // Its sender is here.
        let _ = self.in_flight.subscribe().wait_for(|count| *count == 0).await;
        self.unwritten.write_down(env).await;
    }
}
