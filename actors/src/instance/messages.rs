//! What an instance actor accepts.

use crate::user::{CancelExecution, Enqueue, Slot};
use actix::Message;
use perseat_domain::id::UserConfigId;

/// Sent by the supervisor: an execution waits at this user.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct EnqueueFor(pub Option<UserConfigId>, pub Enqueue);

/// Sent by the supervisor: this user has a slot.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StartFor(pub Slot);

/// Sent by the supervisor: end this execution of this user.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct CancelFor(pub Option<UserConfigId>, pub CancelExecution);

/// Sent by the supervisor: the configuration changed; read it again before the next start.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Forget;

/// Sent by the supervisor: put idle users away, and stop if there is none left.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// Whether the instance itself was idle for its time.
    pub is_idle: bool,
}

/// Sent by a user that was told to leave and has work.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StillNeeded(pub Option<UserConfigId>);

/// Sent by the instance to itself: a user's back-off is over.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct RestartDue(pub(super) Option<UserConfigId>);
