//! A third party that answers by JSON and remembers who asked.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::within;

/// What the provider does with the requests that come from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// 200 and JSON that repeats who asked.
    Answer,
    /// No answer until the manner is another one.
    Hang,
    /// No answer to requests whose body has a `hold` of at least this, until the manner is another one.
    HoldFrom(u64),
    /// This status.
    Refuse(StatusCode),
    /// 500 for so many requests to the same path, then an answer.
    FailFirst(usize),
    /// No answer to so many requests to the same path, whose connections are closed, then an answer.
    CloseFirst(usize),
}

/// Manners by the beginning of the path; the longest one that fits counts.
type Manners = Vec<(String, Manner)>;

fn manner_at(manners: &Manners, path: &str) -> Manner {
    let fitting = manners.iter().filter(|(start, _)| path.starts_with(start.as_str()));
    fitting
        .max_by_key(|(start, _)| start.len())
        .map_or(Manner::Answer, |(_, manner)| *manner)
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Method and path with query.
    pub(crate) target: String,
    /// The bearer token; empty without one.
    pub(crate) token: String,
    /// The idempotency key; empty without one.
    pub(crate) key: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Manner {
    fn answers(self, hold: Option<u64>) -> bool {
        match self {
            Self::Answer | Self::Refuse(_) | Self::FailFirst(_) | Self::CloseFirst(_) => true,
            Self::Hang => false,
            Self::HoldFrom(from) => hold.is_none_or(|hold| hold < from),
        }
    }
}

impl Record {
    /// The path with its query.
    pub(crate) fn path(&self) -> &str {
        self.target.split(' ').nth(1).unwrap_or_default()
    }

    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A running provider; it ends with the test's runtime, or when dropped.
#[derive(Debug)]
pub(crate) struct Provider {
    address: SocketAddr,
    records: Arc<Mutex<Vec<Record>>>,
    count: watch::Sender<usize>,
    manners: watch::Sender<Manners>,
    limits: Limits,
    server: AbortHandle,
}

/// What bearers of single tokens are told: 429 at their next request, and at those that come too early after it.
type Limits = Arc<Mutex<HashMap<String, Limit>>>;

#[derive(Debug)]
struct Limit {
    retry_after: u64,
    until: Option<Instant>,
    early: usize,
}

impl Limit {
    /// Clocks differ by less than this.
    const SLACK: Duration = Duration::from_millis(20);

    fn refuses(&mut self) -> bool {
        let now = Instant::now();
        match self.until {
            None => {
                self.until = Some(now + Duration::from_secs(self.retry_after));
                true
            }
            Some(until) if now + Self::SLACK < until => {
                self.early += 1;
                true
            }
            Some(_) => false,
        }
    }
}

impl Provider {
    /// Starts on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, manners) = (watch::Sender::new(0), watch::Sender::new(Manners::new()));
        let (records, limits) = (Arc::default(), Limits::default());
        let desk = Desk {
            records: Arc::clone(&records),
            count: count.clone(),
            manners: manners.clone(),
            limits: Arc::clone(&limits),
        };
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let desk = desk.clone();
                let service = hyper::service::service_fn(move |request| {
                    let desk = desk.clone();
                    async move { desk.answer(request).await }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            address,
            records,
            count,
            manners,
            limits,
            server: server.abort_handle(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of `path` here.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on requests are treated so; those that hang, too.
    pub(crate) fn set(&self, manner: Manner) {
        self.set_at("", manner);
    }

    /// The same for those whose path begins so, whatever holds for others.
    pub(crate) fn set_at(&self, path: &str, manner: Manner) {
        self.manners.send_modify(|manners| {
            manners.retain(|(start, _)| start != path);
            manners.push((path.to_owned(), manner));
        });
    }

    /// The next request with this token is refused for so many seconds.
    pub(crate) fn limit(&self, token: &str, retry_after: u64) {
        let limit = Limit {
            retry_after,
            until: None,
            early: 0,
        };
        self.limits.lock().unwrap().insert(token.to_owned(), limit);
    }

    /// How many requests with this token came earlier than they were told to.
    pub(crate) fn early(&self, token: &str) -> usize {
        self.limits.lock().unwrap()[token].early
    }

    /// What arrived with this token.
    pub(crate) fn records_of(&self, token: &str) -> Vec<Record> {
        let records = self.records.lock().unwrap();
        records.iter().filter(|record| record.token == token).cloned().collect()
    }

    /// Everything that arrived, in order.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }

    /// Waits until `count` requests have arrived in all; they may not be answered yet.
    pub(crate) async fn until(&self, count: usize) -> Vec<Record> {
        let mut seen = self.count.subscribe();
        within(&format!("request {count} to the provider"), seen.wait_for(|seen| *seen >= count))
            .await
            .unwrap();
        self.records()
    }

    /// What arrived at paths that begin so.
    pub(crate) fn records_at(&self, path: &str) -> Vec<Record> {
        let records = self.records.lock().unwrap();
        records.iter().filter(|record| record.path().starts_with(path)).cloned().collect()
    }

    /// Forgets what arrived at paths that begin so.
    pub(crate) fn forget_at(&self, path: &str) {
        self.records.lock().unwrap().retain(|record| !record.path().starts_with(path));
    }

    /// Waits until `count` requests have arrived at paths that begin so.
    pub(crate) async fn until_at(&self, path: &str, count: usize) -> Vec<Record> {
        let mut seen = self.count.subscribe();
        let arrived = seen.wait_for(|_| self.records_at(path).len() >= count);
        within(&format!("request {count} to {path} of the provider"), arrived)
            .await
            .unwrap();
        self.records_at(path)
    }

    /// How many requests have arrived.
    pub(crate) fn seen(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until, after the first `from` requests, `count` have arrived that are like this.
    pub(crate) async fn until_like(&self, what: &str, from: usize, count: usize, is_like: impl Fn(&Record) -> bool) {
        let mut seen = self.count.subscribe();
        let is_enough = |_: &usize| self.records.lock().unwrap()[from..].iter().filter(|record| is_like(record)).count() >= count;
        within(what, seen.wait_for(is_enough)).await.unwrap();
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone, Debug)]
struct Desk {
    records: Arc<Mutex<Vec<Record>>>,
    count: watch::Sender<usize>,
    manners: watch::Sender<Manners>,
    limits: Limits,
}

impl Desk {
    /// How many requests to this path have arrived.
    fn times(&self, path: &str) -> usize {
        self.records.lock().unwrap().iter().filter(|record| record.path() == path).count()
    }

    /// Fails to close the connection.
    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?;
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let record = Record {
            target: format!("{} {}", head.method, head.uri),
            token: text("authorization").trim_start_matches("Bearer ").to_owned(),
            key: text("idempotency-key").to_owned(),
            body: body.to_bytes(),
            headers: head.headers.clone(),
        };
        let body = record.json();
        let hold = body["hold"].as_u64();
        let answer = json!({ "target": record.target, "token": record.token, "body": body });
        let path = record.path().to_owned();
        let refused = {
            let mut limits = self.limits.lock().unwrap();
            let limit = limits.get_mut(&record.token);
            limit.and_then(|limit| limit.refuses().then_some(limit.retry_after))
        };
        self.records.lock().unwrap().push(record);
        self.count.send_modify(|count| *count += 1);
        if let Some(seconds) = refused {
            let response = Response::builder().status(StatusCode::TOO_MANY_REQUESTS);
            return Ok(response.header(header::RETRY_AFTER, seconds).body(Full::default()).unwrap());
        }
        let mut manners = self.manners.subscribe();
        let manners = manners.wait_for(|manners| manner_at(manners, &path).answers(hold)).await;
        let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
        let response = match manners.map(|manners| manner_at(&manners, &path)) {
            Ok(Manner::Refuse(status)) => response.status(status),
            Ok(Manner::FailFirst(failures)) if self.times(&path) <= failures => response.status(StatusCode::INTERNAL_SERVER_ERROR),
            Ok(Manner::CloseFirst(failures)) if self.times(&path) <= failures => return Err(io::ErrorKind::ConnectionAborted.into()),
            _ => response,
        };
        Ok(response.body(Full::new(answer.to_string().into())).unwrap())
    }
}
