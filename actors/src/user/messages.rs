//! What a user actor accepts.

use super::Slot;
use crate::execution::LoadedInstance;
use actix::Message;
use perseat_domain::code::ErrorCode;
use perseat_domain::id::{ExecutionId, FlowNumber};
use std::sync::Arc;

/// Sent by the instance: an execution waits for its turn.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Enqueue {
    /// Which.
    pub execution: ExecutionId,
    /// Of which flow.
    pub flow: FlowNumber,
    /// Whether it had started when an actor died.
    pub after_death: bool,
}

/// Sent by the instance: there is a slot for the oldest execution of the flow that was charged.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct StartNext {
    /// The grant; to be given back.
    pub slot: Slot,
    /// The instance as it is now, or why it cannot be run.
    pub instance: Result<Arc<LoadedInstance>, ErrorCode>,
}

/// Sent by the instance: somebody asked for the end of an execution.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct CancelExecution(pub ExecutionId);

/// Sent by the instance: the user's configuration must be read again before the next start.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ForgetConfig;

/// Sent by the instance: stop if there is nothing to do.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct PutAway;
