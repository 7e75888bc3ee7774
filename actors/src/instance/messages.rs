//! What an instance actor accepts.

use actix::Message;
use perseat_domain::id::{ExecutionId, UserConfigId};
use perseat_domain::owner::Turn;
use std::time::Duration;

/// Sent by the supervisor: the turn of an execution has come, and the configuration has to be read for it. If its user cannot
/// take it, the supervisor hears [`NotStarted`](crate::supervisor::NotStarted).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StartFor(pub Turn);

/// Sent by the supervisor: end this running execution of this user.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct CancelFor(pub Option<UserConfigId>, pub ExecutionId);

/// Sent by whoever lends a connection: the configuration changed; read it again before the next start.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Forget;

/// Sent by the supervisor: put idle users away, and stop if there is none left.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// Whether the instance itself was idle for its time.
    pub is_idle: bool,
    /// For how long nobody used a user that is put away.
    pub rested: Duration,
}

/// Sent by a user that was told to leave and has work.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StillNeeded(pub Option<UserConfigId>);

/// Sent by a user whose executions run while the configuration changes: tell it what the instance is now.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct WhatNow(pub Option<UserConfigId>);

/// Sent by a user: a third party refused the credential of this connection of the instance, in this version.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct CredentialRefused {
    /// The connection's stable key.
    pub connection: String,
    /// Of the grant.
    pub version: u64,
}

/// Sent by the instance to itself: a user's back-off is over.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct RestartDue(pub(super) Option<UserConfigId>);
