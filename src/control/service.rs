//! HTTP of the control plane: requests in, JSON out for every status.

use super::bearer;
use super::lenient::Lenient;
use super::limits::{Rates, aliases};
use super::schema::{self, Schema, blobs};
use super::{ControlOptions, Desk, unsupported};
use crate::boot::http::{Answer, Answering, Service, json, text};
use async_graphql::Request as Query;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use perseat_actors::front::{Beside, BesideAnswer};
use serde_json::json;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// See the module.
#[derive(Clone)]
pub(crate) struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    desk: Arc<Desk>,
    schema: Schema,
    lenient: Lenient,
    rates: Rates,
    permits: Semaphore,
    /// Where requests run, whichever thread they come in on.
    runtime: Handle,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl Control {
    pub(crate) fn new(desk: Arc<Desk>, runtime: Handle) -> Self {
        let options: &ControlOptions = desk.options();
        let (rates, permits) = (Rates::new(options), Semaphore::new(options.concurrency));
        let schema = schema::build(&desk);
        let shared = Shared {
            lenient: Lenient::of(&schema.sdl()),
            schema,
            rates,
            permits,
            runtime,
            desk,
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Beside for Control {
    fn takes(&self, path: &str) -> bool {
        path == API || path.starts_with(blobs::PATH)
    }

    fn answer(&self, request: Request<Bytes>) -> BesideAnswer {
        Service::answer(self, request)
    }
}

/// Where GraphQL is.
const API: &str = "/api";

impl Service for Control {
    fn answer(&self, request: Request<Bytes>) -> Answering {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let mut answer = match (head.uri.path(), &head.method) {
                (API, &Method::OPTIONS) => text(StatusCode::NO_CONTENT, "text/plain", ""),
                (API, &Method::POST) => shared.clone().query(head.headers.clone(), body).await,
                (API, _) => refusal(StatusCode::METHOD_NOT_ALLOWED, "Use POST."),
                (path, &Method::GET) if path.starts_with(blobs::PATH) => {
                    let (path, query) = (path.to_owned(), head.uri.query().unwrap_or_default().to_owned());
                    shared.clone().blob(path, query).await
                }
                _ => refusal(StatusCode::NOT_FOUND, "There is nothing here."),
            };
            allow_origin(&shared.desk.options().origins, &head.headers, &mut answer);
            answer
        })
    }
}

impl Shared {
    async fn query(self: Arc<Self>, headers: HeaderMap, body: Bytes) -> Answer {
        let Ok(_permit) = self.permits.acquire().await else {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "The daemon is stopping.");
        };
        let this = Arc::clone(&self);
        let answered = self.runtime.spawn_blocking(move || this.run(&headers, &body)).await;
        answered.unwrap_or_else(|_| refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error."))
    }

    fn run(&self, headers: &HeaderMap, body: &[u8]) -> Answer {
        let actor = match bearer::recognise(&self.desk, headers) {
            Ok(actor) => actor,
            Err(unknown) => return refusal(unknown.status, unknown.message),
        };
        if !self.rates.take(&actor.who.to_string(), self.desk.uptime()) {
            let mut answer = refusal(StatusCode::TOO_MANY_REQUESTS, "Too many requests.");
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            return answer;
        }
        let mut query: Query = match serde_json::from_slice(body) {
            Ok(query) => query,
            Err(_) => return refusal(StatusCode::BAD_REQUEST, "Expected JSON: {\"query\": \"…\", \"variables\": {…}}."),
        };
        let document = match query.parsed_query() {
            Ok(document) => document,
            Err(error) => return refusal(StatusCode::BAD_REQUEST, &error.message),
        };
        if aliases(document) > self.desk.options().max_aliases {
            return refusal(StatusCode::BAD_REQUEST, "The query has too many aliases.");
        }
        if let Some(message) = unsupported::refusal(document) {
            return refusal(StatusCode::OK, &message);
        }
        self.lenient.ease(&mut query);
        let response = self.runtime.block_on(self.schema.execute(query.data(actor)));
        let body = serde_json::to_string(&response).unwrap_or_default();
        text(StatusCode::OK, "application/json", body)
    }

    async fn blob(self: Arc<Self>, path: String, query: String) -> Answer {
        let desk = Arc::clone(&self.desk);
        let answered = self.runtime.spawn_blocking(move || blobs::answer(&desk, &path, &query)).await;
        match answered {
            Ok(Some((content_type, bytes))) => text(StatusCode::OK, content_type, bytes),
            Ok(None) => refusal(StatusCode::NOT_FOUND, "This URL has expired, or is none."),
            Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error."),
        }
    }
}

/// GraphQL's own form, whatever went wrong.
fn refusal(status: StatusCode, message: &str) -> Answer {
    json(status, &json!({ "data": null, "errors": [{ "message": message }] }))
}

/// Lets pages of configured origins read the answer.
fn allow_origin(origins: &[String], headers: &HeaderMap, answer: &mut Answer) {
    let Some(origin) = headers.get(header::ORIGIN) else { return };
    if !origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
        return;
    }
    let allowed = answer.headers_mut();
    allowed.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    allowed.insert(header::VARY, HeaderValue::from_static("Origin"));
    allowed.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    let names = HeaderValue::from_static("authorization, content-type, prismatic-client");
    allowed.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    allowed.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
}
