//! What a script's requests count for at providers, and how the first of them waits for its turn: not in the child.
//!
//! A run whose first request would have to wait ends without it, and begins anew with the turn in hand. Nothing was sent
//! until then, so nothing is sent twice. A later request waits a moment in the child, and fails after it; where
//! its script ended without waiting for it, it waits as long as the run has time.

use super::run::{Setback, UserKey};
use crate::expression::Connection;
use crate::outbound::{Caller, Count, OutboundClient, OutboundError, Request, Response, Turn, Unsent, connection_of};
use perseat_domain::rate::Sender;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use url::Url;

/// What a script may use, and the turn that was waited for.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) connections: Vec<Arc<Connection>>,
    pub(crate) turn: Option<Turn>,
}

/// A first request that has to wait.
#[derive(Clone, Debug)]
pub(crate) struct HeldCall {
    /// Its number.
    pub(super) call: u32,
    url: Url,
    connection: Option<Arc<Connection>>,
    /// Whether its script does not know: nothing of it waited.
    pub(crate) unawaited: bool,
}

impl HeldCall {
    /// Its turn, once it has come.
    ///
    /// # Errors
    /// As [`OutboundClient::turn`].
    pub(crate) async fn turn(&self, outbound: &OutboundClient, sender: Sender, until: Instant) -> Result<Turn, OutboundError> {
        let caller = Caller {
            sender,
            connection: self.connection.as_deref(),
        };
        outbound.turn(caller, &self.url, until).await
    }
}

/// Where a run stands with its requests.
#[derive(Debug)]
pub(super) struct Sending {
    sender: Sender,
    calls: Calls,
    has_sent: bool,
    /// Whether the script has ended, and waits for no request any more.
    pub(super) has_script_ended: bool,
    /// Requests that wait for earlier ones to be answered, by their calls' numbers; no more than `code.max-fetches`.
    line: VecDeque<(u32, Outgoing)>,
    /// One for each that may be sent and not answered.
    permits: Arc<Semaphore>,
    /// Each request has a receiver of it until a connection has taken it.
    unsent: watch::Sender<()>,
    /// The request that the run has to wait for.
    pub(super) held: Option<HeldCall>,
    /// Why a request failed, if that passes.
    pub(super) setback: Option<Setback>,
}

/// What is left of them when the run has ended.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) sending: Sending,
    /// Counts them.
    pub(super) count: Count,
    /// When they are given up.
    pub(super) deadline: Instant,
}

/// A request that may be sent now, or that may wait a moment.
#[derive(Debug)]
pub(super) struct Outgoing {
    request: Request,
    connection: Option<Arc<Connection>>,
    sender: Sender,
    turn: Option<Turn>,
    unawaited: bool,
    unsent: Unsent,
}

impl Sending {
    /// Of a run that may have so many requests on their way.
    pub(super) fn new(owner: UserKey, calls: Calls, most: usize) -> Self {
        Self {
            sender: Sender {
                customer: owner.customer,
                user: owner.user,
            },
            calls,
            has_sent: false,
            has_script_ended: false,
            line: VecDeque::new(),
            permits: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            unsent: watch::Sender::default(),
            held: None,
            setback: None,
        }
    }

    /// Lets a request out. The text is for the script.
    pub(super) fn admit(&mut self, call: u32, request: Request, outbound: &OutboundClient) -> Result<Outgoing, String> {
        if self.held.is_some() {
            return Err("fetch: an earlier request was kept back".to_owned());
        }
        let connection = connection_of(&self.calls.connections, request.url.as_str(), &request.headers).cloned();
        let mut outgoing = Outgoing {
            request,
            connection,
            sender: self.sender,
            turn: None,
            unawaited: self.has_script_ended,
            unsent: self.unsent.subscribe(),
        };
        if !self.has_sent {
            match outbound.turn_now(outgoing.caller(), &outgoing.request.url, self.calls.turn.take()) {
                Ok(turn) => outgoing.turn = Some(turn),
                Err(error) => {
                    self.setback = Setback::of(&error).or(self.setback);
                    if matches!(error, OutboundError::Held { .. }) {
                        self.held = Some(HeldCall {
                            call,
                            url: outgoing.request.url,
                            connection: outgoing.connection,
                            unawaited: outgoing.unawaited,
                        });
                    }
                    return Err(format!("fetch: {error}"));
                }
            }
            self.has_sent = true;
        }
        Ok(outgoing)
    }

    /// A request that was let out is sent after those before it.
    pub(super) fn line_up(&mut self, call: u32, outgoing: Outgoing) {
        self.line.push_back((call, outgoing));
    }

    /// The next to send, if one more may be on its way; the permit is given back once it is answered, or will not be.
    pub(super) fn next(&mut self) -> Option<(u32, Outgoing, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        self.first_of_line(permit)
    }

    /// The same, once it may be on its way.
    pub(super) async fn next_in_turn(&mut self) -> Option<(u32, Outgoing, OwnedSemaphorePermit)> {
        if self.line.is_empty() {
            return None;
        }
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        self.first_of_line(permit)
    }

    fn first_of_line(&mut self, permit: OwnedSemaphorePermit) -> Option<(u32, Outgoing, OwnedSemaphorePermit)> {
        let (call, mut outgoing) = self.line.pop_front()?;
        outgoing.unawaited = self.has_script_ended;
        Some((call, outgoing, permit))
    }

    /// How many were let out and are not sent.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.receiver_count()
    }

    /// Ready when all that were let out are sent.
    pub(super) async fn all_sent(&self) {
        self.unsent.closed().await;
    }
}

impl Outgoing {
    fn caller(&self) -> Caller<'_> {
        Caller {
            sender: self.sender,
            connection: self.connection.as_deref(),
        }
    }

    /// Sends it in its turn.
    pub(super) async fn send(mut self, outbound: &OutboundClient, count: &Count) -> Result<Response, OutboundError> {
        let turn = match self.turn.take() {
            Some(turn) => turn,
            None => {
                let until = match self.unawaited {
                    true => self.request.deadline,
                    false => self.request.deadline.min(Instant::now() + outbound.script_wait()),
                };
                let caller = Caller {
                    sender: self.sender,
                    connection: self.connection.as_deref(),
                };
                tokio::select! {
                    biased;
                    turn = outbound.turn(caller, &self.request.url, until) => turn?,
                    // Only the end of whoever waits for the run changes it.
                    _ = self.unsent.changed() => return Err(OutboundError::Unreached {
                        target: self.request.url.host_str().unwrap_or_default().to_owned(),
                        reason: "nobody waits for the script any more".to_owned(),
                    }),
                }
            }
        };
        let to = (count, Some(self.sender));
        outbound
            .send_by(&self.request, self.request.deadline, to, turn, Some(self.unsent))
            .await
    }
}
