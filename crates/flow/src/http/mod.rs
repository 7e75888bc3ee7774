//! The `http` component: one request, its credential, its retries, its answer as data.
//!
//! Shapes and names follow the component that existing integrations were written against. Each request carries an
//! `Idempotency-Key` of (execution, step path, ordinal), the same on every retry and after a crash, unless the step
//! sets one. What goes out goes through [`crate::outbound`].

mod answer;
mod auth;
mod request;

use crate::component::{IdempotencyKey, Inputs, StepError, StepLog};
use crate::expression::Results;
use crate::outbound::{Caller, Count, Meter, OutboundClient, OutboundError, Response};
use ::http::StatusCode;
pub use auth::{identity_in, is_mutual_tls, not_ready};
use perseat_domain::code::ErrorCode;
use perseat_domain::rate::Sender;
use request::{Call, Retries};
use std::time::Duration;
use tokio::time::Instant;

/// What an HTTP step may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The most attempts after the first.
    pub(crate) max_retries: u32,
    /// Lists and objects within one another in an answer that is read as JSON.
    pub(crate) json_depth: usize,
    /// The largest JSON of the result.
    pub(crate) max_result: usize,
    /// When it is given up.
    pub(crate) deadline: Instant,
}

/// What an HTTP step leaves behind besides its result.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Log lines.
    pub(crate) logs: Vec<StepLog>,
    /// Credential versions used.
    pub(crate) credentials: Vec<(String, u64)>,
    /// The one that the last answer refused.
    pub(crate) refused: Option<(String, u64)>,
}

/// Performs an action of the component.
pub(crate) async fn perform(
    action: &str,
    inputs: Inputs<'_>,
    key: &IdempotencyKey,
    bounds: Bounds,
    (client, sender): (&OutboundClient, Sender),
    meter: &Meter,
    trace: &mut Trace,
) -> Result<Results, StepError> {
    let call = Call::read(action, inputs, key, client.max_headers())?;
    let credential = call.credential();
    trace.credentials.extend(credential.clone());
    let count = meter.through(call.through());
    let mut attempt = 0;
    loop {
        let outcome = once(&call, bounds.deadline, (client, sender), &count).await;
        let is_refused = match &outcome {
            Ok(response) => auth::is_refused(response),
            Err(error) => error.status() == Some(StatusCode::UNAUTHORIZED),
        };
        trace.refused = credential.clone().filter(|_| is_refused);
        if call.debug {
            trace.logs.push(debug_line(&call, &outcome));
        }
        let error = match outcome {
            Ok(response) => match answer::read(&call, &response, bounds) {
                Ok(output) => return Ok(output),
                Err(error) => error,
            },
            Err(error) => step_error(&error),
        };
        let Some(delay) = next_delay(call.retries, bounds, attempt, &error) else {
            return Err(error);
        };
        tokio::time::sleep(delay).await;
        attempt += 1;
    }
}

/// The wait for the call's turn counts for the step's time, not for the call's own.
async fn once(
    call: &Call,
    deadline: Instant,
    (client, sender): (&OutboundClient, Sender),
    count: &Count,
) -> Result<Response, OutboundError> {
    let caller = Caller {
        sender,
        connection: call.connection.as_deref(),
    };
    let turn = client.turn(caller, &call.request.url, deadline).await?;
    let own = call.timeout.map(|timeout| Instant::now() + timeout);
    let until = own.map_or(deadline, |own| own.min(deadline));
    client.send_by(&call.request, until, (count, Some(sender)), turn, None).await
}

/// How long to wait before the next attempt; `None` if there is none.
fn next_delay(retries: Retries, bounds: Bounds, attempt: u32, error: &StepError) -> Option<Duration> {
    // What was kept back has waited as long as it may.
    let may_pass = error.is_retryable && error.code != ErrorCode::OutboundRateLimited;
    let wanted = may_pass || (retries.on_all_errors && error.code == ErrorCode::StepFailed);
    if !wanted || attempt >= retries.max.min(bounds.max_retries) {
        return None;
    }
    let factor = if retries.exponential {
        1u32.checked_shl(attempt).unwrap_or(u32::MAX)
    } else {
        1
    };
    let delay = retries.delay.saturating_mul(factor);
    let room = bounds.deadline.saturating_duration_since(Instant::now());
    (delay < room).then_some(delay)
}

fn debug_line(call: &Call, outcome: &Result<Response, OutboundError>) -> StepLog {
    let came = match outcome {
        Ok(response) => format!("{}, {} bytes", response.status, response.body.len()),
        Err(error) => error.to_string(),
    };
    let names: Vec<&str> = call.request.headers.keys().map(::http::HeaderName::as_str).collect();
    let line = format!(
        "{} with headers [{}] and {} bytes: {came}",
        call.display(),
        names.join(", "),
        call.request.body.len()
    );
    StepLog::now("debug", line)
}

/// A call without an answer as a step's failure.
pub(crate) fn step_error(error: &OutboundError) -> StepError {
    let message = error.to_string();
    match error {
        OutboundError::Refused { .. } => StepError::fatal(ErrorCode::OutboundRefused, message),
        OutboundError::Uncertified { .. } => StepError::fatal(ErrorCode::ConnectionNotReady, message),
        OutboundError::NotHttp(_) | OutboundError::TooManyRedirects(_) => StepError::fatal(ErrorCode::StepFailed, message),
        OutboundError::TooLarge { .. } => StepError::fatal(ErrorCode::ResultTooLarge, message),
        OutboundError::Held { .. } => StepError::passing(ErrorCode::OutboundRateLimited, message),
        OutboundError::ConnectTimedOut(_) | OutboundError::TimedOut(_) => StepError::passing(ErrorCode::StepTimeout, message),
        OutboundError::Unreached { .. } | OutboundError::Failed { .. } | OutboundError::NoRoom { .. } => {
            StepError::passing(ErrorCode::StepFailed, message)
        }
    }
}
