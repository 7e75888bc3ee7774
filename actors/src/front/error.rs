//! Maps stable codes to HTTP: the only place that knows which status a code has.
//!
//! An answer's body is `{"error": "<sentence>", "code": "<code>"}`, with `executionId` where one was recorded. The
//! sentence is for people and never holds a value from the request or the configuration.

use super::options::FrontOptions;
use http::StatusCode;
use perseat_domain::code::ErrorCode;
use std::time::Duration;

/// The status of a code.
#[must_use]
pub fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::EndpointNotFound
        | ErrorCode::InstanceNotFound
        | ErrorCode::UserNotIdentified
        | ErrorCode::FlowNotFound
        | ErrorCode::CustomerNotFound
        | ErrorCode::UserNotFound => StatusCode::NOT_FOUND,
        ErrorCode::UserConfigRemoved | ErrorCode::UserRemoved | ErrorCode::InstanceRemoved => StatusCode::GONE,
        ErrorCode::InstanceNotDeployed | ErrorCode::UserNotConfigured | ErrorCode::UserConfigIncomplete | ErrorCode::Cancelled => {
            StatusCode::CONFLICT
        }
        ErrorCode::ApiKeyInvalid => StatusCode::UNAUTHORIZED,
        ErrorCode::UlcNotEnabled | ErrorCode::OrganizationUserNotAllowed => StatusCode::FORBIDDEN,
        ErrorCode::RoutingHeaderDuplicate
        | ErrorCode::RoutingValueMissing
        | ErrorCode::PayloadMalformed
        | ErrorCode::RequestMalformed
        | ErrorCode::StepFailed
        | ErrorCode::ScriptFailed
        | ErrorCode::ExpressionInvalid
        | ErrorCode::OutboundRefused
        | ErrorCode::ConnectionNotReady
        | ErrorCode::ParkedTooLong
        | ErrorCode::ResultTooLarge => StatusCode::BAD_REQUEST,
        ErrorCode::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ErrorCode::ContentEncodingUnsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::InstanceDisabled
        | ErrorCode::StorageBudget
        | ErrorCode::StorageFull
        | ErrorCode::IndexLag
        | ErrorCode::NotReady
        | ErrorCode::Paused
        | ErrorCode::OutboundRateLimited
        | ErrorCode::ResultNotSent => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::SyncTimeout | ErrorCode::StepTimeout | ErrorCode::ExecutionTimeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::Internal | ErrorCode::Quarantined => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// How long a sender should wait before it tries again, where trying again makes sense.
#[must_use]
pub fn retry_after(code: ErrorCode, options: &FrontOptions) -> Option<Duration> {
    match code {
        ErrorCode::InstanceDisabled | ErrorCode::Paused => Some(options.retry_after_disabled),
        ErrorCode::RateLimited | ErrorCode::StorageBudget | ErrorCode::StorageFull | ErrorCode::IndexLag | ErrorCode::NotReady => {
            Some(options.retry_after)
        }
        _ => None,
    }
}

/// The sentence of a code; it holds nothing that JSON would have to escape.
#[must_use]
pub fn sentence(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::EndpointNotFound => "This URL names no endpoint.",
        ErrorCode::UserConfigRemoved => "The user's configuration behind this URL was removed.",
        ErrorCode::InstanceDisabled => "The instance is switched off.",
        ErrorCode::InstanceNotDeployed => "The instance was never deployed.",
        ErrorCode::InstanceNotFound => "The customer has no instance of this integration.",
        ErrorCode::UserNotIdentified => "This flow runs for a user, and this URL names none.",
        ErrorCode::ApiKeyInvalid => "The Api-Key header is missing or wrong.",
        ErrorCode::FlowNotFound => "There is no flow of this name behind this endpoint.",
        ErrorCode::CustomerNotFound => "No customer has this external id.",
        ErrorCode::UserNotFound => "No user of the customer has this external id.",
        ErrorCode::UserNotConfigured => "The user has not configured this instance.",
        ErrorCode::UserConfigIncomplete => "The user's configuration lacks a required variable.",
        ErrorCode::RoutingHeaderDuplicate => "A header or parameter that routes the request was sent more than once.",
        ErrorCode::RoutingValueMissing => "A value that routes the request is missing, or is neither text nor a number.",
        ErrorCode::UlcNotEnabled => "User level configuration is not enabled.",
        ErrorCode::PayloadMalformed => "The body does not parse as its content type says.",
        ErrorCode::PayloadTooLarge => "The body is too large.",
        ErrorCode::HeadersTooLarge => "The request line and headers are too large, or too many.",
        ErrorCode::MethodNotAllowed => "The method is not one of GET, POST, PUT, PATCH and DELETE.",
        ErrorCode::RequestMalformed => "The request is malformed.",
        ErrorCode::RequestTimeout => "The request took too long to arrive.",
        ErrorCode::RateLimited => "Too many executions are waiting or running.",
        ErrorCode::StorageBudget => "Live executions use the whole storage budget.",
        ErrorCode::StorageFull => "The disk has no room for new events.",
        ErrorCode::IndexLag => "The index lags too far behind.",
        ErrorCode::NotReady => "The daemon is starting or stopping.",
        ErrorCode::Internal => "Something is wrong inside; the log says what.",
        ErrorCode::StepFailed => "A step failed.",
        ErrorCode::StepTimeout => "A step took too long.",
        ErrorCode::ExecutionTimeout => "The execution took too long.",
        ErrorCode::SyncTimeout => "The execution takes longer than a caller may wait, and goes on.",
        ErrorCode::ResultTooLarge => "The result of a step is too large.",
        ErrorCode::Cancelled => "The execution was cancelled.",
        ErrorCode::Quarantined => "The execution was given up after it brought its actor down too often.",
        ErrorCode::UserRemoved => "The user was removed while the execution waited.",
        ErrorCode::InstanceRemoved => "The instance was removed while the execution waited.",
        ErrorCode::OrganizationUserNotAllowed => "This external id belongs to a member of the organization, not to a customer's user.",
        ErrorCode::OutboundRefused => "A step called an address that is not allowed.",
        ErrorCode::ConnectionNotReady => "A connection has no usable credential.",
        ErrorCode::ParkedTooLong => "The execution waited too long for a connection to be usable.",
        ErrorCode::ExpressionInvalid => "An input of a step refers to something that is not there.",
        ErrorCode::ScriptFailed => "The script of a step failed.",
        ErrorCode::Paused => "The data was restored from a backup, and nobody has said yet that it is to go on.",
        ErrorCode::OutboundRateLimited => "A provider takes no more calls for now.",
        ErrorCode::ContentEncodingUnsupported => "The body is compressed; send it as it is.",
        ErrorCode::ResultNotSent => "The execution succeeded; too many results are being sent for its own.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_error_status_and_a_plain_sentence() {
        for code in ErrorCode::ALL {
            let status = status(*code);
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
            let sentence = sentence(*code);
            assert!(sentence.ends_with('.') && !sentence.contains(['"', '\\', '\n']), "{code}");
        }
    }
}
