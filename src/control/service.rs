//! HTTP of the control plane: requests in, JSON out for every status.

use super::admission::{Admission, Admitted};
use super::budget::Budget;
use super::fetches::Fetches;
use super::lenient::Lenient;
use super::pictures::Pictures;
use super::schema::answer;
use super::schema::blobs::{self, Blob, Stored};
use super::schema::{self, Schema};
use super::sign_in::{Provider, SignIn};
use super::unsent::Unsent;
use super::{Desk, document, media, unsupported};
use crate::boot::http::{Answer, Answering, Service, json, text};
use crate::console::{self, Console, ConsoleOptions};
use crate::oauth;
use async_graphql::Request as Query;
use async_graphql::parser::types::OperationType;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body as _;
use perseat_actors::front::{Beside, BesideAnswer};
use perseat_domain::model::MediaKind;
use serde_json::json;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// See the module.
#[derive(Clone)]
pub(crate) struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    desk: Arc<Desk>,
    /// The schema, and what eases requests to it. Made for the first request: a daemon that only takes events does without
    /// the memory.
    asked: OnceLock<(Schema, Lenient)>,
    admission: Admission,
    /// Pictures that are decoded.
    decoders: Arc<Semaphore>,
    /// Whose pictures wait for that.
    pictures: Arc<Pictures>,
    /// What signed URLs answer.
    fetches: Fetches,
    /// Long answers to whoever is admitted.
    answers: Unsent,
    sign_in: SignIn,
    console: Console,
    /// Where requests run, whichever thread they come in on.
    runtime: Handle,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl Control {
    /// `provider` is who else says who somebody is.
    pub(crate) fn new(desk: Arc<Desk>, provider: Option<Provider>, pages: ConsoleOptions, runtime: Handle) -> Self {
        let options = desk.options();
        let shared = Shared {
            fetches: Fetches::new(
                options.concurrency,
                options.concurrency_of_identity,
                options.result_memory,
                options.query_time,
            ),
            answers: Unsent::new(options.result_memory, options.query_time),
            asked: OnceLock::new(),
            admission: Admission::new(Arc::clone(&desk), runtime.clone()),
            decoders: Arc::new(Semaphore::new(options.decoders)),
            pictures: Arc::new(Pictures::new(options.pictures)),
            sign_in: SignIn::new(Arc::clone(&desk), provider, runtime.clone()),
            console: Console::new(Arc::clone(&desk), pages, runtime.clone()),
            runtime,
            desk,
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Beside for Control {
    fn takes(&self, path: &str) -> bool {
        let is_file = path.starts_with(blobs::PATH) || path.starts_with(perseat_admin::media::PATH);
        let is_consent = [oauth::AUTHORIZE, oauth::CALLBACK, oauth::RECONNECT, oauth::ACCOUNTS].contains(&path);
        let is_page = SignIn::takes(path) || Console::takes(path);
        path == API || is_file || is_consent || is_page || path == unsupported::FLOW_TEST
    }

    fn answer(&self, request: Request<Bytes>) -> BesideAnswer {
        Service::answer(self, request)
    }
}

/// Where GraphQL is.
const API: &str = "/api";

/// Answers up to this length hold no memory of their own: there are no more of them than connections.
const SHORT: u64 = 64 << 10;

/// Lists and objects within one another in a request: what the JSON library reads.
const JSON_DEPTH: usize = 127;

impl Service for Control {
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.shared.desk.client(peer, headers)
    }

    fn answer(&self, request: Request<Bytes>) -> Answering {
        let shared = Arc::clone(&self.shared);
        if SignIn::takes(request.uri().path()) {
            return Box::pin(shared.sign_in.clone().answer(request));
        }
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let is_media = head.uri.path().starts_with(perseat_admin::media::PATH);
            let mut answer = match (head.uri.path(), &head.method) {
                (path, &Method::OPTIONS) if path == API || path == media::UPLOAD || is_media => {
                    text(StatusCode::NO_CONTENT, "text/plain", "")
                }
                (API, &Method::POST) => shared.clone().query(&head, body).await,
                (API, _) => refusal(StatusCode::METHOD_NOT_ALLOWED, "Use POST."),
                (oauth::AUTHORIZE | oauth::CALLBACK | oauth::RECONNECT | oauth::ACCOUNTS, &Method::GET)
                | (oauth::AUTHORIZE | oauth::ACCOUNTS, &Method::POST) => shared.clone().consent(head.clone(), body).await,
                (path, &Method::GET) if path.starts_with(blobs::PATH) => shared.clone().blob(&head).await,
                (path, _) if Console::takes(path) => shared.clone().page(head.clone(), body).await,
                (unsupported::FLOW_TEST, _) => media::refusal(StatusCode::NOT_IMPLEMENTED, "not_supported", unsupported::NO_FLOW_TEST),
                (media::UPLOAD, &Method::PUT) => {
                    let query = head.uri.query().unwrap_or_default().to_owned();
                    shared.clone().upload(query, body).await
                }
                (_, &Method::GET) if is_media => shared.clone().locate(&head).await,
                _ => refusal(StatusCode::NOT_FOUND, "There is nothing here."),
            };
            let callers = [&shared.desk.options().origins, shared.console.origins()];
            // Pages come from here, and what they ask for is for them alone.
            if !Console::takes(head.uri.path()) || head.uri.path() == console::AUTHENTICATE {
                allow_origin(&callers, &head.headers, &mut answer);
            }
            answer
        })
    }
}

impl Shared {
    async fn query(self: Arc<Self>, head: &Parts, body: Bytes) -> Answer {
        let admitted = match self.admission.admit(head).await {
            Ok(admitted) => admitted,
            Err(refused) => return *refused,
        };
        let this = Arc::clone(&self);
        let answered = self.runtime.spawn_blocking(move || (this.run(&admitted, &body), admitted));
        match answered.await {
            Ok((answer, admitted)) => {
                let held = self.held(&admitted, answer).await;
                held.unwrap_or_else(|| refusal(StatusCode::SERVICE_UNAVAILABLE, NOT_SENT))
            }
            Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error."),
        }
    }

    /// The same answer, which holds memory until it is sent if it is long. Its turn is kept until there is some; `None` where there is none
    /// for too long.
    async fn held(&self, admitted: &Admitted, answer: Answer) -> Option<Answer> {
        if answer.body().size_hint().exact().is_some_and(|length| length <= SHORT) {
            return Some(answer);
        }
        let (head, body) = answer.into_parts();
        let Ok(whole) = body.collect().await;
        let bytes = self.answers.hold(&admitted.identity, whole.to_bytes()).await?;
        Some(Answer::from_parts(head, Full::new(bytes)))
    }

    fn run(&self, admitted: &Admitted, body: &[u8]) -> Answer {
        let options = self.desk.options();
        // Before there is a tree of them, which takes a hundred times as much memory.
        let values = perseat_flow::payload::json::values(body, JSON_DEPTH);
        if values.is_ok_and(|values| values > options.max_values) {
            return too_large("The request has too many values.");
        }
        let mut query: Query = match values.map(|_| serde_json::from_slice(body)) {
            Ok(Ok(query)) => query,
            _ => return refusal(StatusCode::BAD_REQUEST, "Expected JSON: {\"query\": \"…\", \"variables\": {…}}."),
        };
        let Some(shape) = document::Shape::of(&query.query) else {
            return refusal(StatusCode::BAD_REQUEST, "A string of the query does not end.");
        };
        if let Some(message) = shape.refused(options) {
            return too_large(message);
        }
        let operation = query.operation_name.clone();
        let parsed = match query.parsed_query() {
            Ok(parsed) => parsed,
            Err(error) => return refusal(StatusCode::BAD_REQUEST, &error.message),
        };
        if let Some(message) = document::refused(parsed, options) {
            return too_large(message);
        }
        if let Some(message) = unsupported::refusal(parsed) {
            return refusal(StatusCode::OK, &message);
        }
        let mut asked = parsed.operations.iter().filter(|(name, _)| {
            let name = name.map(|name| name.as_str());
            operation.is_none() || name == operation.as_deref()
        });
        let mutation = asked.find(|(_, one)| one.node.ty == OperationType::Mutation);
        let changes = mutation.map(|(_, one)| document::fields(parsed, &one.node.selection_set.node));
        if let Some(changes) = changes
            && let Err(refused) = admitted.take(changes.saturating_sub(1), self.desk.uptime())
        {
            return *refused;
        }
        let (schema, lenient) = self.asked.get_or_init(|| {
            let schema = schema::build(&self.desk);
            let lenient = Lenient::of(&schema.sdl());
            (schema, lenient)
        });
        lenient.ease(&mut query);
        let budget = Arc::new(Budget::of(&self.desk));
        let query = query.data(admitted.actor.clone()).data(Arc::clone(&budget));
        let response = self.runtime.block_on(schema.execute(query));
        // What a mutation did is said as far as it can be.
        if let Some(spent) = budget.spent().filter(|_| changes.is_none()) {
            return json(StatusCode::OK, &answer::spent(spent));
        }
        let body = serde_json::to_string(&response).unwrap_or_default();
        text(StatusCode::OK, "application/json", body)
    }

    /// A page of the host product's frames, or what it needs.
    async fn page(self: Arc<Self>, head: Parts, body: Bytes) -> Answer {
        if let Some(answer) = self
            .console
            .open(&head.method, head.uri.path(), head.uri.query().unwrap_or_default())
        {
            return answer;
        }
        let admitted = match self.admission.admit(&head).await {
            Ok(admitted) => admitted,
            Err(refused) => return *refused,
        };
        let this = Arc::clone(&self);
        let answered = self.runtime.spawn_blocking(move || {
            let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
            let aside = |wait: &mut dyn FnMut()| admitted.aside(wait);
            let answer = this
                .console
                .answer(&admitted.actor, console::Aside(&aside), &head.method, path, query, &body);
            (answer, admitted)
        });
        match answered.await {
            Ok((answer, admitted)) => {
                let held = self.held(&admitted, answer).await;
                held.unwrap_or_else(|| console::refusal(StatusCode::SERVICE_UNAVAILABLE, NOT_SENT))
            }
            Err(_) => console::refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error."),
        }
    }

    /// Takes a file that a signed URL permits.
    async fn upload(self: Arc<Self>, query: String, body: Bytes) -> Answer {
        let Some(permitted) = media::permitted(&self.desk, &query) else {
            return media::refusal(StatusCode::NOT_FOUND, "media_not_found", "This URL has expired, or is none.");
        };
        if let Some(refused) = media::too_large(&permitted.media, &body, &self.desk.options().media) {
            return refused;
        }
        let turn = match permitted.media.kind {
            MediaKind::Attachment => None,
            MediaKind::Avatar => match self.pictures.enter(permitted.media.owner, permitted.customer) {
                Some(turn) => Some(turn),
                None => {
                    return media::refusal(
                        StatusCode::TOO_MANY_REQUESTS,
                        "media_busy",
                        "Earlier pictures are read first; try again.",
                    );
                }
            },
        };
        let this = Arc::clone(&self);
        let taking = async move {
            // Held by the thread, which goes on when nobody waits any more: pixels and bytes bound how long.
            let permit = match turn {
                Some(_) => this.decoders.clone().acquire_owned().await.ok(),
                None => None,
            };
            let desk = Arc::clone(&this.desk);
            let taken = this.runtime.spawn_blocking(move || {
                let _held = (permit, turn);
                media::take(&desk, &permitted, &body)
            });
            taken.await
        };
        match self
            .runtime
            .spawn(tokio::time::timeout(self.desk.options().decode_timeout, taking))
            .await
        {
            Ok(Ok(Ok(answer))) => answer,
            Ok(Err(_)) => media::refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "media_timeout",
                "The upload took too long; try again.",
            ),
            Ok(Ok(Err(_))) | Err(_) => media::refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error."),
        }
    }

    /// Says where a file can be read.
    async fn locate(self: Arc<Self>, head: &Parts) -> Answer {
        let admitted = match self.admission.admit(head).await {
            Ok(admitted) => admitted,
            Err(refused) => return *refused,
        };
        let (this, path) = (Arc::clone(&self), head.uri.path().to_owned());
        let located = self
            .runtime
            .spawn_blocking(move || media::locate(&this.desk, &admitted.actor, &path));
        let failed = |_| refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error.");
        located.await.unwrap_or_else(failed)
    }

    /// Goes on to its end even where the browser does not wait: a code works once.
    async fn consent(self: Arc<Self>, head: Parts, body: Bytes) -> Answer {
        if body.len() > self.desk.sign_in().max_form {
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large.");
        }
        let desk = Arc::clone(&self.desk);
        let answered = self.runtime.spawn(async move {
            let door = Arc::clone(desk.oauth());
            let (query, headers) = (head.uri.query().unwrap_or_default(), &head.headers);
            match head.uri.path() {
                oauth::AUTHORIZE if head.method == Method::POST => door.agreed(&desk, headers, &body).await,
                oauth::AUTHORIZE => door.authorize(&desk, query, headers).await,
                oauth::RECONNECT => door.reconnect(&desk, query).await,
                oauth::ACCOUNTS if head.method == Method::POST => door.choose(&desk, query, headers, &body).await,
                oauth::ACCOUNTS => door.accounts(&desk, query, headers).await,
                _ => door.callback(&desk, query, headers).await,
            }
        });
        answered
            .await
            .unwrap_or_else(|_| refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error."))
    }

    async fn blob(self: Arc<Self>, head: &Parts) -> Answer {
        let (client, uri) = (self.desk.client_of(head), head.uri.clone());
        let waiting = async {
            let turn = self.fetches.wait(client).await?;
            let desk = Arc::clone(&self.desk);
            // The turn is the thread's, which goes on when nobody waits any more.
            let find = move || {
                let found = blobs::find(&desk, uri.path(), uri.query().unwrap_or_default());
                let memory = found.as_ref().map_or(0, Stored::memory);
                (found, memory, turn)
            };
            let (found, memory, turn) = self.runtime.spawn_blocking(find).await.ok()?;
            Some((found, self.fetches.claim(client, memory).await?, turn))
        };
        let Some(found) = self.fetches.within_patience(waiting).await else {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "Too much is being sent just now. Try it again.");
        };
        let Some((found, room, turn)) = found else {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error.");
        };
        let desk = Arc::clone(&self.desk);
        let open = move || {
            let _held = turn;
            let blob = found.and_then(|found| found.open(&desk))?;
            let bytes = room.hold(blob.bytes);
            Some(Blob { bytes, ..blob })
        };
        match self.runtime.spawn_blocking(open).await {
            Ok(Some(blob)) => harmless(blob),
            Ok(None) => refusal(StatusCode::NOT_FOUND, "This URL has expired, or is none."),
            Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error."),
        }
    }
}

/// For an answer that finds no memory.
const NOT_SENT: &str = "This was done, but earlier answers are not taken yet, and there is no room to send this one.";

/// What somebody uploaded or computed, so that no browser runs it as a page of this origin.
fn harmless(blob: Blob) -> Answer {
    let disposition = blob
        .attachment
        .map(|name| format!("attachment; filename*=UTF-8''{}", media::encoded(&name)));
    let mut answer = text(StatusCode::OK, blob.content_type, blob.bytes);
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=300"));
    if let Some(value) = disposition.and_then(|disposition| HeaderValue::try_from(disposition).ok()) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    answer
}

/// GraphQL's own form, whatever went wrong.
pub(super) fn refusal(status: StatusCode, message: &str) -> Answer {
    json(status, &json!({ "data": null, "errors": [{ "message": message }] }))
}

/// What waits for turns that nobody gives any more.
pub(super) fn stopping() -> Answer {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "The daemon is stopping.")
}

/// A query that is not looked at any further.
fn too_large(message: &str) -> Answer {
    let error = json!({ "message": message, "extensions": { "code": document::TOO_LARGE } });
    json(StatusCode::BAD_REQUEST, &json!({ "data": null, "errors": [error] }))
}

/// Lets pages of configured origins read the answer.
fn allow_origin(origins: &[&[String]], headers: &HeaderMap, answer: &mut Answer) {
    let Some(origin) = headers.get(header::ORIGIN) else { return };
    if !origins
        .iter()
        .copied()
        .flatten()
        .any(|allowed| allowed.as_bytes() == origin.as_bytes())
    {
        return;
    }
    let allowed = answer.headers_mut();
    allowed.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    allowed.insert(header::VARY, HeaderValue::from_static("Origin"));
    allowed.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT"));
    let names = HeaderValue::from_static("authorization, content-type, prismatic-client");
    allowed.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    allowed.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
}
