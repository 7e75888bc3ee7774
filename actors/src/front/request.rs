//! One request from its head to its answer.
//!
//! What can be refused by the head alone is refused before the body is read: a stranger costs no memory.

use super::body::{self, HeldBody};
use super::connection::{Serving, Watch};
use super::intake::{self, Acceptance};
use super::keys::key_of;
use super::reply::{self, Answer, Refusal};
use super::route::{content_type, route};
use super::stored::{KeptHeaders, StoredRequest};
use super::{FrontShared, Peer};
use crate::kit::relayed;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, Version, header};
use hyper::body::{Body, Incoming};
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::Origin;
use perseat_domain::id::ExecutionId;
use perseat_domain::route::{Routed, RoutingSnapshot, Target, parse_target};
use perseat_flow::payload::{is_json, is_parsed, json};
use perseat_store::seal::DataKey;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Asks for verbose logs, where it says `true`.
const DEBUG: HeaderName = HeaderName::from_static("prismatic-debug");
/// Says whether the caller waits for the result.
const SYNCHRONOUS: HeaderName = HeaderName::from_static("prismatic-synchronous");

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) peer: SocketAddr,
    pub(super) is_tls: bool,
}

impl Caller {
    /// Whose request it is, as far as proxies are believed.
    fn client(self, front: &FrontShared, headers: &HeaderMap) -> IpAddr {
        front.parts.proxies.load().client(self.peer.ip(), headers)
    }
}

/// Serves one request. What few requests come to is boxed: the rest would carry the room for it.
///
/// # Errors
/// None; hyper asks for a result.
pub(super) async fn serve(
    front: Arc<FrontShared>,
    serving: Serving,
    caller: Caller,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let (mut parts, mut incoming) = request.into_parts();
    if let Some(beside) = front.beside.get().filter(|beside| beside.service.takes(parts.uri.path())) {
        let client = || caller.client(&front, &parts.headers);
        let read = match beside.places.try_acquire() {
            Ok(place) => {
                let body = body::read(&beside.memory, serving.watch(), &client, &mut incoming, beside.max_body).await;
                body.map(|body| (place, body))
            }
            Err(_) => Err(ErrorCode::RateLimited),
        };
        return Ok(match read {
            Ok((_place, body)) => {
                parts.extensions.insert(Peer(caller.peer.ip()));
                beside.service.answer(Request::from_parts(parts, body.bytes.clone())).await
            }
            Err(code) => Box::pin(refuse(&front, Asker::of(&front, caller, &parts), incoming, &code.into())).await,
        });
    }
    let taken = take(&front, serving.watch(), caller, &parts, &mut incoming).await;
    let asker = Asker::of(&front, caller, &parts);
    // Where nothing holds a piece of the request any more, the connection reads the next one into the same memory.
    drop(parts);
    let answered = match taken {
        Ok(taken) => accept(&front, asker.client, taken).await,
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok(mut answer) => {
            front.metrics.accepted.increment(1);
            if front.is_draining() {
                reply::close(&mut answer);
            }
            Ok(answer)
        }
        Err(refusal) => Ok(Box::pin(refuse(&front, asker, incoming, &refusal)).await),
    }
}

/// Who asked, for the log, and whether leave to send a body was asked for: known also after the request has been let go.
struct Asker {
    client: IpAddr,
    method: http::Method,
    expects: bool,
}

impl Asker {
    fn of(front: &FrontShared, caller: Caller, parts: &Parts) -> Self {
        Self {
            client: caller.client(front, &parts.headers),
            method: parts.method.clone(),
            expects: parts.headers.contains_key(header::EXPECT),
        }
    }
}

async fn refuse(front: &FrontShared, asker: Asker, incoming: Incoming, refusal: &Refusal) -> Answer {
    front.metrics.refused(refusal.code);
    tracing::debug!(
        code = refusal.code.as_str(),
        client = %asker.client,
        method = asker.method.as_str(),
        "request refused"
    );
    let mut answer = refusal.answer(front.options());
    if !leaves_connection_usable(front, asker.expects, incoming, refusal.code).await {
        reply::close(&mut answer);
    }
    answer
}

/// Whether another request may follow one that was refused. What is left of its body stands in between.
async fn leaves_connection_usable(front: &FrontShared, expects: bool, incoming: Incoming, code: ErrorCode) -> bool {
    let is_broken = matches!(
        code,
        ErrorCode::RequestTimeout | ErrorCode::RequestMalformed | ErrorCode::HeadersTooLarge
    );
    if is_broken || front.is_draining() {
        return false;
    }
    // A client that asked for leave to send its body gets the answer instead.
    let is_whole = incoming.is_end_stream() || (!expects && body::drain(front, incoming).await);
    is_whole && code != ErrorCode::PayloadTooLarge
}

/// What is left of a request once it is sealed.
struct Taken {
    execution: ExecutionId,
    routed: Routed,
    payload: Bytes,
    /// Without its bytes; the payload takes up its share of the memory.
    body: HeldBody,
    is_synchronous: bool,
}

/// Reads, checks, routes and seals a request.
async fn take(front: &Arc<FrontShared>, watch: &Watch, caller: Caller, parts: &Parts, incoming: &mut Incoming) -> Result<Taken, Refusal> {
    check_open(front)?;
    check_head(front, parts)?;
    let target = parse_target(parts.method.as_str(), parts.uri.path(), parts.uri.query()).map_err(|error| error.code())?;
    let snapshot = front.parts.snapshot.load_full();
    let early = if snapshot.needs_body(target.endpoint) {
        None
    } else {
        Some(route(front, &snapshot, &target, &parts.headers, &Bytes::new())?)
    };
    if !incoming.is_end_stream() {
        check_coding(&parts.headers)?;
    }
    let client = || caller.client(front, &parts.headers);
    let mut body = body::read(&front.body_memory, watch, &client, incoming, front.options().max_body).await?;
    let is_small = body.bytes.len() <= front.options().inline_bytes;
    let routed = match early {
        Some(routed) if is_small => {
            check_json(front.options().json_depth, &parts.headers, &body.bytes)?;
            routed
        }
        Some(routed) => {
            body = Box::pin(check_large_json(front, &parts.headers, body)).await?;
            routed
        }
        None if is_small => {
            let routed = route(front, &snapshot, &target, &parts.headers, &body.bytes)?;
            check_json(front.options().json_depth, &parts.headers, &body.bytes)?;
            routed
        }
        None => {
            let (held, routed) = Box::pin(route_by_large_body(front, &snapshot, parts, body)).await?;
            body = held;
            routed
        }
    };
    let received_at = front.parts.clock.now();
    let execution = front.execution_id();
    let is_synchronous = routed.refusal.is_none() && wants_result(&parts.headers, routed.flow().is_synchronous);
    let acceptance = Acceptance {
        execution,
        identity: routed.identity,
        origin: Origin::Webhook,
        received_at,
        catalog_revision: snapshot.revision(),
        sync_deadline: is_synchronous.then(|| received_at.after(front.options().sync_timeout)),
        refusal: routed.refusal,
    };
    let plaintext = plaintext(front, caller, parts, &target, &body);
    body.let_go();
    let key = key_of(front, acceptance, || body.may_wait(&front.body_memory, client())).await?;
    let payload = if plaintext.len() <= front.options().inline_bytes {
        acceptance.seal(&key, &plaintext)
    } else {
        let (held, payload) = Box::pin(seal_elsewhere(front, acceptance, key, plaintext, body)).await?;
        body = held;
        payload
    };
    Ok(Taken {
        execution,
        routed,
        payload,
        body,
        is_synchronous,
    })
}

/// Makes it durable and answers with its receipt, or with the execution's result.
async fn accept(front: &FrontShared, client: IpAddr, taken: Taken) -> Result<Answer, Refusal> {
    let Taken {
        execution,
        routed,
        payload,
        body,
        is_synchronous,
    } = taken;
    if is_synchronous {
        return Box::pin(accept_and_wait(front, client, execution, &routed, payload, body)).await;
    }
    intake::append(front, &routed.identity, payload, || body.may_wait(&front.body_memory, client)).await?;
    drop(body);
    match routed.refusal {
        Some(code) => Err(Refusal::of(code, execution)),
        None => Ok(reply::receipt(execution, routed.flow().reply.as_ref(), front.options())),
    }
}

/// Whether anything is taken at the moment.
pub(super) fn check_open(front: &FrontShared) -> Result<(), ErrorCode> {
    let pressure = &front.parts.pressure;
    let closed = if !front.is_ready() {
        Some(ErrorCode::NotReady)
    } else if pressure.paused.load(Ordering::Relaxed) {
        Some(ErrorCode::Paused)
    } else if pressure.storage_budget.load(Ordering::Relaxed) {
        Some(ErrorCode::StorageBudget)
    } else if pressure.storage_full.load(Ordering::Relaxed) {
        Some(ErrorCode::StorageFull)
    } else if pressure.index_lag.load(Ordering::Relaxed) {
        Some(ErrorCode::IndexLag)
    } else {
        None
    };
    closed.map_or(Ok(()), Err)
}

/// Checks the head's size, as far as the parser let it through.
fn check_head(front: &FrontShared, parts: &Parts) -> Result<(), ErrorCode> {
    if parts.headers.len() > front.options().max_headers {
        return Err(ErrorCode::HeadersTooLarge);
    }
    let line = parts.uri.path().len() + parts.uri.query().map_or(0, str::len);
    let headers = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    if line + headers.sum::<usize>() > front.options().max_header_bytes {
        return Err(ErrorCode::HeadersTooLarge);
    }
    // Two hosts, or none, mean one thing here and may mean another to whatever stands before (RFC 9112, 3.2).
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let is_old = parts.version == Version::HTTP_10;
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => Ok(()),
        (None, None) if is_old => Ok(()),
        _ => Err(ErrorCode::RequestMalformed),
    }
}

/// Refuses a compressed body where it would be parsed. One that is not is kept as it comes.
fn check_coding(headers: &HeaderMap) -> Result<(), ErrorCode> {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
    let is_coded = codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
    match is_coded && content_type(headers).is_some_and(|text| is_parsed(&text)) {
        true => Err(ErrorCode::ContentEncodingUnsupported),
        false => Ok(()),
    }
}

/// Checks that a body that says it is JSON is.
fn check_json(depth: usize, headers: &HeaderMap, body: &[u8]) -> Result<(), ErrorCode> {
    if body.is_empty() || !content_type(headers).is_some_and(|text| is_json(&text)) {
        return Ok(());
    }
    json::check(body, depth).map_err(|_| ErrorCode::PayloadMalformed)
}

/// [`check_json`] in the pool.
async fn check_large_json(front: &FrontShared, headers: &HeaderMap, body: HeldBody) -> Result<HeldBody, ErrorCode> {
    let (headers, depth) = (headers.clone(), front.options().json_depth);
    let checking = move |body: &HeldBody| check_json(depth, &headers, &body.bytes);
    let (body, checked) = front.pool.run(body, checking).await?;
    checked.map(|()| body)
}

/// Routes by values that may stand in a large body, which is checked on the way.
async fn route_by_large_body(
    front: &Arc<FrontShared>,
    snapshot: &Arc<RoutingSnapshot>,
    parts: &Parts,
    body: HeldBody,
) -> Result<(HeldBody, Routed), ErrorCode> {
    let body = check_large_json(front, &parts.headers, body).await?;
    let (pooled, snapshot, headers) = (Arc::clone(front), Arc::clone(snapshot), parts.headers.clone());
    let (method, path, query) = (
        parts.method.clone(),
        parts.uri.path().to_owned(),
        parts.uri.query().map(str::to_owned),
    );
    let routing = move |body: &HeldBody| {
        let target = parse_target(method.as_str(), &path, query.as_deref()).map_err(|error| error.code())?;
        route(&pooled, &snapshot, &target, &headers, &body.bytes)
    };
    let (body, routed) = front.pool.run(body, routing).await?;
    routed.map(|routed| (body, routed))
}

/// What is sealed of a request.
fn plaintext(front: &FrontShared, caller: Caller, parts: &Parts, target: &Target<'_>, body: &HeldBody) -> Vec<u8> {
    let proxies = front.parts.proxies.load();
    let called = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let invoke_url = front
        .parts
        .public_url
        .of(called, caller.peer.ip(), &parts.headers, caller.is_tls, &proxies);
    let stored = StoredRequest {
        method: parts.method.as_str(),
        headers: KeptHeaders(&parts.headers),
        query: target.query,
        path_fragment: &target.path_fragment,
        invoke_url: &invoke_url,
        body: &body.bytes,
        debug: parts.headers.get(DEBUG).is_some_and(|value| value == "true"),
    };
    stored.encode()
}

/// Seals in the pool.
pub(super) async fn seal_elsewhere<H: Send + 'static>(
    front: &FrontShared,
    acceptance: Acceptance,
    key: Arc<DataKey>,
    plaintext: Vec<u8>,
    held: H,
) -> Result<(H, Bytes), ErrorCode> {
    front.pool.run(held, move |_| acceptance.seal(&key, &plaintext)).await
}

/// Appends, and answers with the execution's result.
async fn accept_and_wait(
    front: &FrontShared,
    client: IpAddr,
    execution: ExecutionId,
    routed: &Routed,
    payload: Bytes,
    body: HeldBody,
) -> Result<Answer, Refusal> {
    let options = front.options();
    let waiter = front.parts.waiters.register(execution, &routed.identity, options.sync_waiters);
    let waiter = waiter.ok_or(ErrorCode::RateLimited)?;
    intake::append(front, &routed.identity, payload, || body.may_wait(&front.body_memory, client)).await?;
    drop(body);
    match tokio::time::timeout(options.sync_timeout, relayed(pin!(waiter.answer()))).await {
        Ok(Some(note)) => Ok(reply::ended(front, client, execution, note)),
        Ok(None) => Err(Refusal::of(ErrorCode::NotReady, execution)),
        Err(_) => Err(Refusal::of(ErrorCode::SyncTimeout, execution)),
    }
}

/// Whether the caller waits for the result: the flow's own way, unless the request says otherwise.
fn wants_result(headers: &HeaderMap, default: bool) -> bool {
    match headers.get(SYNCHRONOUS).map(|value| value.as_bytes()) {
        Some(b"true") => true,
        Some(b"false") => false,
        _ => default,
    }
}
