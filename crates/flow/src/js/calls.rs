//! What a script's requests count for at providers, and how the first of them waits for its turn: not in the child.
//!
//! A run whose first request would have to wait ends without it, and begins anew with the turn in hand. Nothing was sent
//! until then, so nothing is sent twice. A later request waits a moment in the child, and fails after it.

use super::run::UserKey;
use crate::expression::Connection;
use crate::outbound::{Caller, Count, OutboundClient, OutboundError, Request, Response, Turn, connection_of};
use perseat_domain::rate::Sender;
use std::sync::Arc;
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
    url: Url,
    connection: Option<Arc<Connection>>,
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
    /// The request that the run has to wait for.
    pub(super) held: Option<HeldCall>,
    /// Whether a request failed because it was kept back.
    pub(super) is_limited: bool,
}

/// A request that may be sent now, or that may wait a moment.
pub(super) struct Outgoing {
    request: Request,
    connection: Option<Arc<Connection>>,
    sender: Sender,
    turn: Option<Turn>,
}

impl Sending {
    pub(super) fn new(owner: UserKey, calls: Calls) -> Self {
        Self {
            sender: Sender {
                customer: owner.customer,
                user: owner.user,
            },
            calls,
            has_sent: false,
            held: None,
            is_limited: false,
        }
    }

    /// Lets a request out. The text is for the script.
    pub(super) fn admit(&mut self, request: Request, outbound: &OutboundClient) -> Result<Outgoing, String> {
        if self.held.is_some() {
            return Err("fetch: an earlier request was kept back".to_owned());
        }
        let connection = connection_of(&self.calls.connections, request.url.as_str(), &request.headers).cloned();
        let mut outgoing = Outgoing {
            request,
            connection,
            sender: self.sender,
            turn: None,
        };
        if !self.has_sent {
            match outbound.turn_now(outgoing.caller(), &outgoing.request.url, self.calls.turn.take()) {
                Ok(turn) => outgoing.turn = Some(turn),
                Err(error) => {
                    if matches!(error, OutboundError::Held { .. }) {
                        self.held = Some(HeldCall {
                            url: outgoing.request.url,
                            connection: outgoing.connection,
                        });
                        self.is_limited = true;
                    }
                    return Err(format!("fetch: {error}"));
                }
            }
            self.has_sent = true;
        }
        Ok(outgoing)
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
                let until = self.request.deadline.min(Instant::now() + outbound.script_wait());
                outbound.turn(self.caller(), &self.request.url, until).await?
            }
        };
        let answer = outbound.send_counted(self.request, count).await;
        turn.heard(&answer).await;
        answer
    }
}
