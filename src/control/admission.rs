//! Whose requests are looked at, and when they run.

use super::bearer::{self, Unknown};
use super::limits::{Rates, Recent, client_key};
use super::service::{self, refusal};
use super::turns::{Lines, NoTurn, Turn, Turns};
use super::{ControlOptions, Desk};
use crate::boot::http::Answer;
use http::request::Parts;
use http::{StatusCode, header};
use perseat_admin::actor::Actor;
use perseat_store::seal::key_digest;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// See the module.
#[derive(Clone)]
pub(super) struct Admission {
    desk: Arc<Desk>,
    gates: Arc<Gates>,
    runtime: Handle,
}

struct Gates {
    /// Requests by identity.
    rates: Rates,
    /// Refused bearers by client address.
    refused: Rates,
    /// Bearers that were accepted lately: what others of their address do does not shut them out.
    recent: Recent,
    /// Bearers that are looked at.
    checks: Arc<Semaphore>,
    lines: Lines,
}

/// Who asks, and their turn while it is kept. The thread that answers holds it, which goes on when nobody waits any more.
pub(super) struct Admitted {
    pub(super) actor: Actor,
    turn: Mutex<Option<Turn>>,
    pub(super) identity: String,
    gates: Arc<Gates>,
    runtime: Handle,
}

impl Admitted {
    /// Counts what a request does beside the first thing as further requests, all of it or nothing.
    ///
    /// # Errors
    /// The answer that whoever asks gets instead, who has not so many left.
    pub(super) fn take(&self, more: usize, now: Duration) -> Result<(), Refused> {
        let rates = &self.gates.rates;
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        match rates.take_many(&self.identity, more, now) {
            Ok(()) => Ok(()),
            // Whoever asks again is counted once when they are let in, as they were now.
            Err(missing) if rates.lets_pass(more.saturating_add(1)) => Err(too_many("Too many requests.", rates.seconds(missing + 1.0))),
            Err(_) => Err(Box::new(refusal(
                StatusCode::TOO_MANY_REQUESTS,
                "This changes more at once than anybody may (api.burst): send it in several requests.",
            ))),
        }
    }

    /// Gives the turn to somebody else while `wait` waits for a third party, and takes another one then. Blocks.
    pub(super) fn aside(&self, wait: &mut dyn FnMut()) {
        let turn = || self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        drop(turn().take());
        wait();
        let another = self.runtime.block_on(self.gates.lines.turns().wait(&self.identity));
        *turn() = another;
    }
}

type Refused = Box<Answer>;

impl Admission {
    pub(super) fn new(desk: Arc<Desk>, runtime: Handle) -> Self {
        let options: &ControlOptions = desk.options();
        let gates = Gates {
            rates: Rates::new(options.rate.into(), options.burst.into(), options.remembered),
            refused: Rates::new(options.refused_rate.into(), options.refused_burst.into(), options.remembered),
            recent: Recent::new(options.remembered),
            checks: Arc::new(Semaphore::new(options.concurrency)),
            lines: Lines::new(
                Turns::new(options.concurrency, options.concurrency_of_identity),
                options.waiting_of_identity,
                options.read_timeout,
            ),
        };
        Self {
            gates: Arc::new(gates),
            desk,
            runtime,
        }
    }

    /// Waits until whoever asks may.
    ///
    /// # Errors
    /// The answer that they get instead.
    pub(super) async fn admit(&self, head: &Parts) -> Result<Admitted, Refused> {
        let actor = self.recognise(head).await?;
        let identity = actor.who.to_string();
        if !self.gates.rates.take(&identity, self.desk.uptime()) {
            return Err(too_many("Too many requests.", 1));
        }
        let turn = self.gates.lines.wait(&identity).await.map_err(|none| match none {
            NoTurn::Crowded => too_many("Too many requests of the same identity wait already.", 1),
            NoTurn::TooLate => Box::new(refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "Nothing of this was done: too much else runs. Try it again.",
            )),
            NoTurn::Over => stopping(),
        })?;
        Ok(Admitted {
            actor,
            turn: Mutex::new(Some(turn)),
            identity,
            gates: Arc::clone(&self.gates),
            runtime: self.runtime.clone(),
        })
    }

    /// Who asks. Addresses from which many bearers were refused are not heard, unless with a bearer that is known.
    async fn recognise(&self, head: &Parts) -> Result<Actor, Refused> {
        let bearer = bearer::of(&head.headers).map_err(|refused| unknown(&refused))?.to_owned();
        let client = client_key(self.desk.client_of(head));
        let digest = key_digest(&bearer);
        let gates = &self.gates;
        if !gates.recent.has(&digest) && !gates.refused.has(&client, self.desk.uptime()) {
            return Err(too_many("Too many bearers of this address were refused.", 1));
        }
        let check = Arc::clone(&gates.checks).acquire_owned().await.map_err(|_| stopping())?;
        let desk = Arc::clone(&self.desk);
        let looked_at = self.runtime.spawn_blocking(move || {
            let _held = check;
            bearer::recognise(&desk, &bearer)
        });
        match looked_at.await {
            Ok(Ok(actor)) => {
                gates.recent.keep(digest);
                Ok(actor)
            }
            Ok(Err(refused)) => {
                if refused.status == StatusCode::UNAUTHORIZED {
                    gates.recent.forget(&digest);
                    gates.refused.take(&client, self.desk.uptime());
                }
                Err(unknown(&refused))
            }
            Err(_) => Err(Box::new(refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error."))),
        }
    }
}

fn unknown(unknown: &Unknown) -> Refused {
    Box::new(refusal(unknown.status, unknown.message))
}

fn stopping() -> Refused {
    Box::new(service::stopping())
}

/// Rates are whole numbers in a second: one second later there is one more.
fn too_many(message: &str, seconds: u64) -> Refused {
    let mut answer = refusal(StatusCode::TOO_MANY_REQUESTS, message);
    answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    Box::new(answer)
}
