//! Decides where a request goes and on whose behalf it will run, from the request and an immutable snapshot.
//!
//! Every decision is a look-up in memory: no actor, database or lock is asked. Whatever the URL fixes is final;
//! headers, query and body can only fill what the URL leaves open. An [`Identity`](crate::identity::Identity) is
//! bound here, once, and there is no fallback to a broader one.
//!
//! Nothing here knows HTTP status, values of variables or credentials, and external ids are kept only as keyed hashes.
//!
//! Reading order: [`target`] → [`instance`] → [`snapshot`] → [`decide`](decide()).

mod build;
mod config_row;
mod decide;
#[cfg(feature = "faults")]
mod faults;
mod gate;
pub mod hash;
pub mod instance;
pub mod request;
pub mod snapshot;
mod table;
pub mod target;

pub use build::{RouteChange, SnapshotBuilder, UserConfigRoute};
pub use config_row::{REMOVED_ANSWER, UserConfigState};
pub use decide::{RouteError, Routed, decide};
pub use gate::Gate;
pub use hash::HashSecret;
pub use instance::{FlowRoute, InstanceRoute, TriggerReply};
pub use request::{CUSTOMER_HEADER, FLOW_HEADER, HeaderLookup, RequestBody, RequestHeaders, RouteRequest, USER_HEADER};
pub use snapshot::{IntegrationRoute, RoutingSnapshot};
pub use target::{Method, Target, TargetError, parse_target};

#[cfg(test)]
mod tests;
