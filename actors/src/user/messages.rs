//! What a user actor accepts.

use crate::execution::LoadedInstance;
use crate::source::Offer;
use actix::Message;
use perseat_domain::code::ErrorCode;
use perseat_domain::id::ExecutionId;
use perseat_domain::owner::Turn;
use std::sync::Arc;

/// Sent by the instance: the turn of an execution has come.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Start {
    /// Which; its end is told to the supervisor.
    pub turn: Turn,
    /// The instance as it is now, or why it cannot be run.
    pub instance: Result<Arc<LoadedInstance>, ErrorCode>,
}

/// Sent by the instance: run a data source, once the configuration is at hand.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Answer {
    /// What is asked, with the way back.
    pub offer: Offer,
    /// The instance as it is now, or why it cannot be run.
    pub instance: Result<Arc<LoadedInstance>, ErrorCode>,
}

/// Sent by the instance: somebody asked for the end of a running execution.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Cancel(pub ExecutionId);

/// Sent by the instance: the user's configuration must be read again before the next start.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ForgetConfig;

/// Sent by the instance, asked by [`crate::instance::WhatNow`]: what the instance is now, or why it cannot be run.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct InstanceIs(pub Result<Arc<LoadedInstance>, ErrorCode>);

/// Sent by the instance: stop if there is nothing to do.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct PutAway;

/// Sent by the instance when its actor ends: end too, and with it what runs, which its successor starts again.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Orphaned;
