//! Sends one call: checks, dials, follows redirects by hand, reads the answer within its limits.

mod direct;
mod unsent;

use super::answers::{AnswerMemory, Room};
use super::governor::{Caller, Governor, Held, Pass, TokenCaller};
use super::identity::Identified;
use super::meter::Count;
use super::policy::{Policy, Refusal, normal_name};
use super::resolve::{GuardedResolver, Lookups, Names, SystemNames};
use super::{Options, OutboundError, Request, Response, SetupError};
use ::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
};
use ::http::{HeaderMap, HeaderName, Method, StatusCode};
use bytes::Bytes;
use perseat_domain::rate::{Call, Sender};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
pub(crate) use unsent::Unsent;
use url::{Host, Url};

/// Calls third parties within a [`Policy`]. Cheap to clone; keeps connections alive on the runtime that made them, so
/// make one for each arbiter, and a new one when the policy changes.
#[derive(Clone)]
pub struct OutboundClient {
    inner: Arc<Inner>,
    governor: Option<Governor>,
    answers: AnswerMemory,
}

struct Inner {
    policy: Arc<Policy>,
    options: Options,
    /// Clients that keep their connections.
    kept: Clients,
    /// Clients that make a connection for each request. Made for the first of those: they hold root certificates of their own.
    fresh: OnceLock<Clients>,
    /// Clients that show a certificate.
    identified: Identified,
    lookups: Arc<Lookups>,
}

/// A resolver learns the name but not the port, so every port that a rule names has a client of its own.
struct Clients {
    options: Options,
    by_port: BTreeMap<u16, reqwest::Client>,
    other_ports: reqwest::Client,
}

impl Clients {
    fn new(options: Options, policy: &Arc<Policy>, lookups: &Arc<Lookups>) -> Result<Self, SetupError> {
        let client = |port| {
            let resolver = GuardedResolver {
                lookups: Arc::clone(lookups),
                policy: Arc::clone(policy),
                port,
            };
            build(&options, resolver, |client| client)
        };
        let by_port = policy.ports().into_iter().map(|port| Ok((port, client(Some(port))?)));
        Ok(Self {
            by_port: by_port.collect::<Result<_, SetupError>>()?,
            other_ports: client(None)?,
            options,
        })
    }

    /// The client for a port, and the port if a rule names it.
    fn at(&self, port: Option<u16>) -> (&reqwest::Client, Option<u16>) {
        match port.and_then(|port| self.by_port.get(&port)) {
            Some(client) => (client, port),
            None => (&self.other_ports, None),
        }
    }
}

impl fmt::Debug for OutboundClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundClient")
            .field("policy", &self.inner.policy)
            .finish_non_exhaustive()
    }
}

impl OutboundClient {
    /// Sets up connection pools.
    ///
    /// # Errors
    /// If TLS cannot be set up, for instance because the system has no root certificates.
    pub fn new(policy: Policy, options: Options) -> Result<Self, SetupError> {
        Self::with_names(policy, options, Arc::new(SystemNames))
    }

    /// The most headers that a step sets in one request.
    pub(crate) fn max_headers(&self) -> usize {
        self.inner.options.max_headers
    }

    /// The same with names looked up elsewhere.
    ///
    /// # Errors
    /// As [`OutboundClient::new`].
    pub fn with_names(policy: Policy, options: Options, names: Arc<dyn Names>) -> Result<Self, SetupError> {
        let policy = Arc::new(policy);
        let lookups = Arc::new(Lookups::new(options.clone(), names));
        let kept = Clients::new(options.clone(), &policy, &lookups)?;
        let answers = AnswerMemory::new(options.answer_memory);
        Ok(Self {
            inner: Arc::new(Inner {
                policy,
                options,
                kept,
                fresh: OnceLock::new(),
                identified: Identified::default(),
                lookups,
            }),
            governor: None,
            answers,
        })
    }

    /// The same, and what steps send waits for its turn.
    #[must_use]
    pub fn governed(self, governor: Governor) -> Self {
        Self {
            governor: Some(governor),
            ..self
        }
    }

    /// The same, and its answers share memory with others': clients of one daemon are given the same.
    #[must_use]
    pub fn sharing(self, answers: AnswerMemory) -> Self {
        Self { answers, ..self }
    }

    /// The turn of a call to `url`, once it has come.
    ///
    /// # Errors
    /// [`OutboundError::Held`] if that would be later than `until` or than the limits allow; [`OutboundError::NotHttp`].
    pub(crate) async fn turn(&self, caller: Caller<'_>, url: &Url, until: Instant) -> Result<Turn, OutboundError> {
        let target = target_of(url)?.to_string();
        self.pass(caller.call(&target), target, until).await
    }

    /// The turn of a request for a token, within what such a one may wait, and `within` if that is shorter.
    ///
    /// # Errors
    /// As [`OutboundClient::turn`].
    pub(crate) async fn token_turn(&self, caller: TokenCaller<'_>, url: &Url, within: Option<Duration>) -> Result<Turn, OutboundError> {
        let most = self.governor.as_ref().map(Governor::token_wait).unwrap_or_default();
        let until = Instant::now() + within.map_or(most, |within| within.min(most));
        let target = target_of(url)?.to_string();
        self.pass(caller.call(&target), target, until).await
    }

    async fn pass(&self, call: Call, target: String, until: Instant) -> Result<Turn, OutboundError> {
        let Some(governor) = &self.governor else { return Ok(Turn(None)) };
        match governor.pass(call, until).await {
            Ok(pass) => Ok(Turn(Some((governor.clone(), pass, target)))),
            Err(held) => Err(kept_back(target, held)),
        }
    }

    /// The same without waiting, with a turn that came earlier if it is for such a call.
    ///
    /// # Errors
    /// As [`OutboundClient::turn`].
    pub(crate) fn turn_now(&self, caller: Caller<'_>, url: &Url, earlier: Option<Turn>) -> Result<Turn, OutboundError> {
        let target = target_of(url)?.to_string();
        let Some(governor) = &self.governor else { return Ok(Turn(None)) };
        let call = caller.call(&target);
        if let Some(Turn(Some((_, pass, _)))) = &earlier
            && pass.is_for(&call)
        {
            return Ok(earlier.unwrap_or_default());
        }
        match governor.pass_now(call) {
            Ok(pass) => Ok(Turn(Some((governor.clone(), pass, target)))),
            Err(held) => Err(kept_back(target, held)),
        }
    }

    /// How long a script's later requests may wait.
    pub(crate) fn script_wait(&self) -> Duration {
        self.governor.as_ref().map_or(Duration::ZERO, Governor::script_wait)
    }

    /// The limits.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Sends a request, follows its redirects and reads the answer whole.
    ///
    /// # Errors
    /// See [`OutboundError`]. An answer with an error status is an answer.
    pub async fn send(&self, request: Request) -> Result<Response, OutboundError> {
        self.send_counted(request, &Count::default(), None).await
    }

    /// As [`OutboundClient::send`], and each request on the way is counted, those that redirects lead to included. One that
    /// found no connection is not. The answer is held for `sender`.
    ///
    /// # Errors
    /// See [`OutboundError`].
    pub async fn send_counted(&self, request: Request, count: &Count, sender: Option<Sender>) -> Result<Response, OutboundError> {
        self.send_by(&request, request.deadline, (count, sender), Turn::default(), None)
            .await
    }

    /// As [`OutboundClient::send_counted`] in its turn, with a deadline of its own, for a request that may have to be sent again. `unsent` goes
    /// with the first request on the way, which is counted before.
    ///
    /// # Errors
    /// See [`OutboundError`].
    pub(crate) async fn send_by(
        &self,
        request: &Request,
        deadline: Instant,
        (count, sender): (&Count, Option<Sender>),
        mut turn: Turn,
        mut unsent: Option<Unsent>,
    ) -> Result<Response, OutboundError> {
        let inner = &*self.inner;
        let deadline = deadline.min(Instant::now() + inner.options.max_time);
        let mut request = Cow::Borrowed(request);
        let mut is_bare = false;
        for _ in 0..=inner.options.max_redirects {
            let target = target_of(&request.url)?;
            let call = async {
                let clients = match authenticates_connections(&request.headers) {
                    true => inner.fresh(target)?,
                    false => &inner.kept,
                };
                let client = inner.client_for(&request, target, clients).await?;
                let bytes = request.body.len();
                count.sending(bytes);
                let mut answer = client.execute(to_reqwest(&request, unsent.take())).await;
                if answer.as_ref().is_err_and(|error| may_be_sent_again(&request.method, error)) {
                    let client = inner.client_for(&request, target, inner.fresh(target)?).await?;
                    count.sending(bytes);
                    answer = client.execute(to_reqwest(&request, None)).await;
                }
                let answer = answer.map_err(|error| {
                    if error.is_connect() {
                        count.unsent(bytes);
                    }
                    failure(target, &error)
                })?;
                if let Some(next) = redirect(&request, &answer) {
                    return Ok(Err(next));
                }
                // Whether or not there is room for its body.
                turn.heard(answer.status(), answer.headers()).await;
                inner.read(target, answer, is_bare, count, self.answers.room(sender)).await.map(Ok)
            };
            match timeout_at(deadline, call).await {
                Err(_) => return Err(OutboundError::TimedOut(target.to_string())),
                Ok(Err(error)) => return Err(error),
                Ok(Ok(Ok(response))) => return Ok(response),
                Ok(Ok(Err(next))) => {
                    is_bare |= next.url.origin() != request.url.origin();
                    request = Cow::Owned(next);
                }
            }
        }
        Err(OutboundError::TooManyRedirects(target_of(&request.url)?.to_string()))
    }
}

/// The right to make one call, and who hears what its answer says of limits.
#[derive(Debug, Default)]
pub struct Turn(Option<(Governor, Pass, String)>);

impl Turn {
    /// The call was made: hears what its answer says of limits.
    pub(crate) async fn heard(&mut self, status: StatusCode, headers: &HeaderMap) {
        if let Some((governor, pass, target)) = self.0.take() {
            governor.heard(pass, &target, (status, headers)).await;
        }
    }
}

fn kept_back(target: String, held: Held) -> OutboundError {
    OutboundError::Held {
        target,
        reason: held.to_string(),
        wait: match held {
            Held::For(wait) => Some(wait),
            Held::TurnMissed | Held::Full => None,
        },
    }
}

impl Inner {
    /// The clients that keep no connection. The others were made in the same way, so nothing is known to fail here.
    fn fresh(&self, target: Target<'_>) -> Result<&Clients, OutboundError> {
        if let Some(clients) = self.fresh.get() {
            return Ok(clients);
        }
        let options = Options {
            idle_per_host: 0,
            ..self.options.clone()
        };
        let made = Clients::new(options, &self.policy, &self.lookups).map_err(|error| {
            tracing::error!(error = &error as &dyn Error, "no client for requests that keep no connection");
            OutboundError::Unreached {
                target: target.to_string(),
                reason: error.to_string(),
            }
        })?;
        Ok(self.fresh.get_or_init(|| made))
    }

    /// Checks the address and chooses the client whose resolver knows the port, or one that shows the certificate.
    async fn client_for(&self, request: &Request, target: Target<'_>, clients: &Clients) -> Result<reqwest::Client, OutboundError> {
        let url = &request.url;
        let (client, port) = clients.at(url.port_or_known_default());
        let refused = |refusal: Refusal| OutboundError::Refused {
            target: target.to_string(),
            reason: refusal.reason,
            key: refusal.key,
        };
        match url.host() {
            Some(Host::Ipv4(v4)) => self.policy.check_address(None, IpAddr::V4(v4), port).map_err(refused)?,
            Some(Host::Ipv6(v6)) => self.policy.check_address(None, IpAddr::V6(v6), port).map_err(refused)?,
            Some(Host::Domain(name)) => self.policy.check_name(&normal_name(name), port).map_err(refused)?,
            None => return Err(OutboundError::NotHttp(target.to_string())),
        }
        let Some(identity) = &request.identity else {
            return Ok(client.clone());
        };
        let uncertified = |reason: String| OutboundError::Uncertified {
            target: target.to_string(),
            reason,
        };
        if url.scheme() != "https" {
            return Err(uncertified("a client certificate is shown over https alone".into()));
        }
        let resolver = GuardedResolver {
            lookups: Arc::clone(&self.lookups),
            policy: Arc::clone(&self.policy),
            port,
        };
        let client = self.identified.client(identity, &clients.options, resolver).await;
        client.map_err(|error| {
            tracing::warn!(%target, error = &error as &dyn Error, "a client certificate cannot be used");
            uncertified("the client certificate cannot be used".into())
        })
    }

    /// Reads to the end, which also gives the connection back to the pool. What it takes of memory, `room` holds before.
    async fn read(
        &self,
        target: Target<'_>,
        mut answer: reqwest::Response,
        is_bare: bool,
        count: &Count,
        mut room: Room,
    ) -> Result<Response, OutboundError> {
        let limit = self.options.max_response;
        let status = answer.status();
        let said = (!is_bare).then_some(status);
        let too_large = || OutboundError::TooLarge {
            target: target.to_string(),
            limit,
            status: said,
        };
        let no_room = |_| OutboundError::NoRoom {
            target: target.to_string(),
            status: said,
        };
        if answer.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let headers = std::mem::take(answer.headers_mut());
        let mut body = Bytes::new();
        let mut joined = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failure(target, &error))? {
            count.received(chunk.len());
            let length = body.len() + joined.len() + chunk.len();
            if length > limit {
                return Err(too_large());
            }
            if length == chunk.len() {
                room.grow(length).map_err(no_room)?;
                body = chunk;
                continue;
            }
            if joined.capacity() < length {
                let capacity = length.max(2 * joined.capacity()).min(limit);
                room.grow(capacity).map_err(no_room)?;
                joined.reserve_exact(capacity - joined.len());
            }
            joined.extend_from_slice(&std::mem::take(&mut body));
            joined.extend_from_slice(&chunk);
        }
        let body = if joined.is_empty() { body } else { joined.into() };
        Ok(Response {
            is_bare,
            room: Some(Arc::new(room)),
            ..Response::new(status, headers, body)
        })
    }
}

/// A client with these limits, and with what `more` adds. It speaks HTTP/1.1 alone: over HTTP/2 all calls to a host share one connection,
/// in which those that hang keep everybody else's back as soon as they are as many as the server takes at a time.
pub(super) fn build(
    options: &Options,
    resolver: GuardedResolver,
    more: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, SetupError> {
    let client = reqwest::Client::builder()
        .dns_resolver(Arc::new(resolver))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .http1_only()
        .connect_timeout(options.connect_timeout)
        .pool_max_idle_per_host(options.idle_per_host)
        .pool_idle_timeout(options.idle_timeout)
        .tcp_nodelay(true)
        .user_agent(options.user_agent.as_str());
    more(client).build().map_err(SetupError)
}

/// What steps, scripts and connections say of the connection itself does not leave: others use it after them, and one that lied
/// about a body's length would have the server take the beginning of the next request for it.
fn to_reqwest(request: &Request, unsent: Option<Unsent>) -> reqwest::Request {
    let mut out = reqwest::Request::new(request.method.clone(), request.url.clone());
    *out.headers_mut() = request.headers.clone();
    for name in request.headers.keys().filter(|name| is_of_the_connection(name)) {
        out.headers_mut().remove(name);
    }
    *out.body_mut() = match unsent {
        Some(unsent) => Some(unsent::body(request.body.clone(), unsent)),
        None => (!request.body.is_empty()).then(|| request.body.clone().into()),
    };
    out
}

/// Headers that say how a message is framed, where it goes and what becomes of the connection (RFC 9110, section 7.6.1, and
/// RFC 9112, section 6). They are HTTP's own.
const OF_THE_CONNECTION: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header is HTTP's own: what is set under this name is not sent.
pub(crate) fn is_of_the_connection(name: &HeaderName) -> bool {
    OF_THE_CONNECTION.contains(&name.as_str())
}

/// Whether the credential of a request authenticates its connection, and with it whatever is sent there afterwards, as `Negotiate`
/// (RFC 4559, section 6) and NTLM do.
fn authenticates_connections(headers: &HeaderMap) -> bool {
    headers.get_all(AUTHORIZATION).iter().any(|value| {
        let scheme = value.as_bytes().trim_ascii_start().split(u8::is_ascii_whitespace).next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"negotiate") || scheme.eq_ignore_ascii_case(b"ntlm"))
    })
}

/// Host and port, for messages: never the path or query, which may hold a credential.
#[derive(Clone, Copy)]
struct Target<'u> {
    host: &'u str,
    port: Option<u16>,
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn target_of(url: &Url) -> Result<Target<'_>, OutboundError> {
    let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https"));
    let host = host.ok_or_else(|| OutboundError::NotHttp(format!("{}:", url.scheme())))?;
    Ok(Target { host, port: url.port() })
}

/// The next request, if the answer is a redirect that can be followed.
fn redirect(request: &Request, answer: &reqwest::Response) -> Option<Request> {
    let keeps_method = match answer.status() {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => request.method != Method::POST,
        StatusCode::SEE_OTHER => matches!(request.method, Method::GET | Method::HEAD),
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        _ => return None,
    };
    let location = answer.headers().get(LOCATION)?.to_str().ok()?;
    let url = request.url.join(location).ok()?;
    let mut next = Request { url, ..request.clone() };
    if !keeps_method {
        next.method = Method::GET;
        next.body = Bytes::new();
        for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING] {
            next.headers.remove(name);
        }
    }
    let same_host = next.url.origin() == request.url.origin();
    if !same_host {
        drop_credentials(&mut next.headers);
        next.identity = None;
    }
    Some(next)
}

fn drop_credentials(headers: &mut HeaderMap) {
    let kept = std::mem::take(headers);
    let mut name = None;
    for (next, value) in kept {
        name = next.or(name);
        let Some(name) = &name else { continue };
        let is_credential = value.is_sensitive() || [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name);
        if !is_credential {
            headers.append(name, value);
        }
    }
}

/// Whether a request that met the end of its connection instead of an answer is sent once more, on another: where doing it twice is
/// the same as once (RFC 9110, section 9.2.2). Servers close a kept connection when it suits them, maybe just now.
fn may_be_sent_again(method: &Method, error: &reqwest::Error) -> bool {
    method.is_idempotent() && !error.is_connect() && causes(error).any(is_end_of_connection)
}

fn is_end_of_connection(cause: &(dyn Error + 'static)) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let kind = cause.downcast_ref().map(io::Error::kind);
    // The last of them where TLS was not ended first.
    matches!(kind, Some(ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof))
        || cause.downcast_ref().is_some_and(hyper::Error::is_incomplete_message)
}

/// What led to an error, nearest first.
fn causes<'e>(error: &'e reqwest::Error) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// The cause without the URL.
fn failure(target: Target<'_>, error: &reqwest::Error) -> OutboundError {
    let mut reason = String::new();
    for cause in causes(error) {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return OutboundError::Refused {
                target: target.to_string(),
                reason: refusal.reason.clone(),
                key: refusal.key,
            };
        }
        reason = cause.to_string();
    }
    let reason = if reason.is_empty() {
        "the connection broke".to_owned()
    } else {
        reason
    };
    let target = target.to_string();
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => OutboundError::ConnectTimedOut(target),
        (true, false) => OutboundError::Unreached { target, reason },
        (false, true) => OutboundError::TimedOut(target),
        (false, false) => OutboundError::Failed { target, reason },
    }
}
