//! On whose behalf a flow runs. Bound once at intake, carried by every later hop, never widened.

use crate::id::{CustomerId, FlowNumber, InstanceId, UserConfigId, UserId};
use serde::{Deserialize, Serialize};

/// The user part of an identity: which person, and by which of their configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BoundUser {
    /// The person whose credentials the execution uses.
    pub user: UserId,
    /// That person's configuration of the instance.
    pub config: UserConfigId,
}

/// Customer, instance, flow and, under ULC, user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The customer that the instance belongs to.
    pub customer: CustomerId,
    /// The instance.
    pub instance: InstanceId,
    /// The flow, by its stable number.
    pub flow: FlowNumber,
    /// The user; `None` only where the integration has no user-level configuration.
    pub user: Option<BoundUser>,
}
