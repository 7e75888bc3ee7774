//! Notices that are posted to the organization, which tells its users in its own way.

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use perseat_admin::notices::Subject;
use perseat_domain::grant::{Notice, Status, Step};
use perseat_domain::time::Timestamp;
use perseat_flow::outbound::{OutboundClient, OutboundError, Request};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

/// The header with time and signature.
const SIGNATURE: &str = "perseat-signature";
/// The header with the notice's id: one that comes twice is the same.
const ID: &str = "perseat-notice";

/// Where notices are posted.
pub(super) struct Webhook {
    client: OutboundClient,
    url: Url,
    key: hmac::Key,
    timeout: Duration,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

/// Why one was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    /// Nobody answered.
    #[error(transparent)]
    Unanswered(#[from] OutboundError),
    /// It was refused.
    #[error("notices.webhook answered {0}")]
    Refused(http::StatusCode),
}

impl Webhook {
    pub(super) fn new(client: OutboundClient, url: Url, secret: &SecretString, timeout: Duration) -> Self {
        Self {
            client,
            url,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes()),
            timeout,
        }
    }

    /// Posts it; any 2xx takes it.
    pub(super) async fn post(&self, id: Uuid, body: &str, at: Timestamp) -> Result<(), NotTaken> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in [(SIGNATURE, signature(&self.key, body, at)), (ID, id.to_string())] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let request = Request {
            method: Method::POST,
            url: self.url.clone(),
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
            identity: None,
            deadline: Instant::now() + self.timeout,
        };
        // The body holds a link: it goes nowhere else.
        let response = self.client.send_directly(request, 0).await?;
        if response.status.is_success() {
            Ok(())
        } else {
            Err(NotTaken::Refused(response.status))
        }
    }
}

/// `t=MILLISECONDS,v1=HEX`: HMAC-SHA256 of the time, a full stop and the body.
fn signature(key: &hmac::Key, body: &str, at: Timestamp) -> String {
    let tag = hmac::sign(key, format!("{}.{body}", at.0).as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={},v1={hex}", at.0)
}

/// What is posted.
pub(super) fn body(id: Uuid, notice: &Notice, subject: &Subject, url: Option<&str>) -> String {
    let user = subject.user.as_ref();
    json!({
        "type": match notice.step {
            Step::Holder => "connection.reconnect",
            Step::Admins | Step::Told => "connection.reconnect.escalated",
        },
        "id": id.to_string(),
        "since": notice.since.0,
        "status": match subject.status {
            Status::Uncertain => "UNCERTAIN",
            Status::Pending => "PENDING",
            _ => "FAILED",
        },
        "reason": subject.reason,
        "connection": subject.connection,
        "integration": subject.integration.as_ref().map(|of| json!({ "id": of.id.global(), "name": of.name })),
        "instance": subject.instance.as_ref().map(|of| json!({ "id": of.id.global(), "name": of.name })),
        "customer": subject.customer.as_ref().map(|of| json!({ "id": of.id.global(), "name": of.name, "externalId": of.external_id })),
        "user": user.map(|user| json!({ "id": user.id.global(), "name": user.name, "externalId": user.external_id })),
        "reconnectUrl": url,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_covers_time_and_body() {
        let key = |secret: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, secret);
        let signed = signature(&key(b"secret"), "{}", Timestamp(5));
        assert!(signed.starts_with("t=5,v1=") && signed.len() == 7 + 64);
        for other in [
            signature(&key(b"secret"), "{ }", Timestamp(5)),
            signature(&key(b"secret"), "{}", Timestamp(6)),
            signature(&key(b"other"), "{}", Timestamp(5)),
        ] {
            assert_ne!(signed, other);
        }
    }
}
