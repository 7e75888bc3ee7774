//! Stable error codes: the same word in an answer, a log line and an execution's record.
//!
//! A code never changes its meaning. The front alone maps codes to HTTP status.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// One stable error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// Every code, in the order of this file.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word that clients and operators see.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    // Not accepted: routing.
    /// The trigger id names nothing.
    EndpointNotFound = "endpoint_not_found";
    /// The user configuration behind the URL was removed.
    UserConfigRemoved = "user_config_removed";
    /// The instance is switched off.
    InstanceDisabled = "instance_disabled";
    /// The instance exists and was never deployed.
    InstanceNotDeployed = "instance_not_deployed";
    /// The customer has no instance of the integration.
    InstanceNotFound = "instance_not_found";
    /// A flow-specific URL of a ULC flow without a user.
    UserNotIdentified = "user_not_identified";
    /// The API key is missing or wrong.
    ApiKeyInvalid = "api_key_invalid";
    /// No such flow behind this endpoint.
    FlowNotFound = "flow_not_found";
    /// No customer has this external id.
    CustomerNotFound = "customer_not_found";
    /// No user has this external id.
    UserNotFound = "user_not_found";
    /// The user exists and has no configuration of this instance.
    UserNotConfigured = "user_not_configured";
    /// The user's configuration lacks a required variable.
    UserConfigIncomplete = "user_config_incomplete";
    /// A routing header came more than once.
    RoutingHeaderDuplicate = "routing_header_duplicate";
    /// A routing value is missing or not a string or number.
    RoutingValueMissing = "routing_value_missing";
    /// User level configuration is switched off for the organization.
    UlcNotEnabled = "ulc_not_enabled";
    // Not accepted: the request itself.
    /// The body does not parse as its content type says.
    PayloadMalformed = "payload_malformed";
    /// The body is larger than `front.max-body`.
    PayloadTooLarge = "payload_too_large";
    /// The headers are larger than `front.max-headers`.
    HeadersTooLarge = "headers_too_large";
    /// Not a method of the trigger interface.
    MethodNotAllowed = "method_not_allowed";
    /// The request is not valid HTTP for this interface.
    RequestMalformed = "request_malformed";
    /// The request took longer than its time-out.
    RequestTimeout = "request_timeout";
    // Not accepted: limits.
    /// A budget of accepted-not-ended executions is used up.
    RateLimited = "rate_limited";
    /// Live executions use the whole storage budget.
    StorageBudget = "storage_budget";
    /// The disk has no room.
    StorageFull = "storage_full";
    /// The index lags by more than its limit.
    IndexLag = "index_lag";
    /// The daemon is draining or not yet ready.
    NotReady = "not_ready";
    /// A fault inside the daemon; the log has the reference.
    Internal = "internal";
    // Accepted, then ended without success.
    /// A step failed.
    StepFailed = "step_failed";
    /// A step ran longer than its limit.
    StepTimeout = "step_timeout";
    /// The execution ran longer than its limit.
    ExecutionTimeout = "execution_timeout";
    /// A synchronous caller waited longer than the limit; the execution goes on.
    SyncTimeout = "sync_timeout";
    /// A step's result is larger than half a segment.
    ResultTooLarge = "result_too_large";
    /// The execution was cancelled.
    Cancelled = "cancelled";
    /// The execution's actor died three times under it.
    Quarantined = "quarantined";
    /// The user was removed while the execution waited.
    UserRemoved = "user_removed";
    /// The instance was removed while the execution waited.
    InstanceRemoved = "instance_removed";
    /// The external id belongs to an organization user.
    OrganizationUserNotAllowed = "organization_user_not_allowed";
    /// The outbound guard refused an address.
    OutboundRefused = "outbound_refused";
    /// A connection has no usable credential.
    ConnectionNotReady = "connection_not_ready";
    /// A reference in an input points at nothing that can be read.
    ExpressionInvalid = "expression_invalid";
    /// The script threw, or was stopped by a limit.
    ScriptFailed = "script_failed";
    // Stored by their place in this list: new ones come last.
    /// The data was restored from a backup, and nobody has said that it is to go on.
    Paused = "paused";
    /// The execution waited longer than `execution.park-limit` for a connection to be usable again.
    ParkedTooLong = "parked_too_long";
    /// A provider's limits kept a call back for too long.
    OutboundRateLimited = "outbound_rate_limited";
    /// The execution succeeded, and its result finds no room in `front.answer-memory`.
    ResultNotSent = "result_not_sent";
    /// The body is compressed, and its content type is one that is parsed.
    ContentEncodingUnsupported = "content_encoding_unsupported";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn the_serialized_form_is_the_documented_word() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
        }
    }
}
