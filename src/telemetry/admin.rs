//! The admin listener: `/healthz`, `/readyz` and `/metrics`, and nothing that changes anything.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use super::health::Readiness;
use crate::boot::http::{Answering, Service, json as json_answer, text};

/// Answers the admin listener.
pub struct Admin {
    metrics: PrometheusHandle,
    readiness: Arc<dyn Readiness>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// Serves these metrics, and readiness as `readiness` sees it.
    #[must_use]
    pub fn new(metrics: PrometheusHandle, readiness: Arc<dyn Readiness>) -> Self {
        Self { metrics, readiness }
    }

    fn ready(&self) -> (StatusCode, serde_json::Value) {
        let reasons = self.readiness.reasons();
        let status = if reasons.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        (status, json!({ "ready": reasons.is_empty(), "reasons": reasons }))
    }
}

impl Service for Admin {
    fn answer(&self, request: Request<Bytes>) -> Answering {
        let read = matches!(*request.method(), Method::GET | Method::HEAD);
        let answer = match request.uri().path() {
            "/healthz" | "/readyz" | "/metrics" if !read => json_answer(
                StatusCode::METHOD_NOT_ALLOWED,
                &json!({ "error": "Only GET is answered here.", "code": "method_not_allowed" }),
            ),
            "/healthz" => text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
            "/readyz" => {
                let (status, body) = self.ready();
                json_answer(status, &body)
            }
            "/metrics" => text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics.render()),
            _ => json_answer(
                StatusCode::NOT_FOUND,
                &json!({ "error": "The admin listener serves /healthz, /readyz and /metrics.", "code": "route_not_found" }),
            ),
        };
        Box::pin(std::future::ready(answer))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::telemetry::health::Reason;

    async fn ask(reasons: Vec<Reason>, method: Method, path: &str) -> (u16, String) {
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let admin = Admin::new(metrics, Arc::new(move || reasons.clone()));
        let answer = admin
            .answer(Request::builder().method(method).uri(path).body(Bytes::new()).unwrap())
            .await;
        let (head, body) = answer.into_parts();
        (
            head.status.as_u16(),
            String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
        )
    }

    #[tokio::test]
    async fn readiness_says_every_reason_for_not_being_ready() {
        assert_eq!(
            ask(Vec::new(), Method::GET, "/readyz").await,
            (200, r#"{"ready":true,"reasons":[]}"#.to_owned())
        );
        let lagging = Reason {
            part: "index",
            why: "300000 entries behind".to_owned(),
        };
        let (status, body) = ask(vec![lagging.clone()], Method::GET, "/readyz").await;
        assert_eq!(
            (status, body.as_str()),
            (503, r#"{"ready":false,"reasons":[{"part":"index","why":"300000 entries behind"}]}"#)
        );
        assert_eq!(ask(vec![lagging], Method::GET, "/healthz").await.0, 200);
    }

    #[tokio::test]
    async fn nothing_on_the_admin_listener_can_be_written() {
        assert_eq!(ask(Vec::new(), Method::POST, "/metrics").await.0, 405);
        assert_eq!(ask(Vec::new(), Method::GET, "/debug").await.0, 404);
    }
}
