//! A pretend file storage: knows its customers by bearer token, and remembers every request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// A request as the provider saw it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// The account whose token came with it; `None` for a token that opens none.
    pub(super) account: Option<String>,
    /// Where it went.
    pub(super) path: String,
    /// Its body.
    pub(super) body: Value,
    /// Its `Idempotency-Key`.
    pub(super) idempotency_key: Option<String>,
}

/// The running provider.
#[derive(Debug)]
pub(super) struct Provider {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Accounts by token.
    accounts: BTreeMap<String, String>,
    records: Mutex<Vec<Record>>,
    came: Notify,
}

/// The largest body it takes.
const MAX_BODY: usize = 1 << 20;

impl Provider {
    /// Listens on a free port of the loopback address, until the runtime ends.
    pub(super) async fn start(accounts: BTreeMap<String, String>) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            accounts,
            records: Mutex::default(),
            came: Notify::new(),
        });
        tokio::spawn(serve(listener, shared.clone()));
        Ok(Self { address, shared })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far.
    pub(super) fn records(&self) -> Vec<Record> {
        self.shared.records().clone()
    }

    /// Waits for the request about `file`.
    pub(super) async fn request_about(&self, file: &str) -> Record {
        loop {
            let came = self.shared.came.notified();
            tokio::pin!(came);
            came.as_mut().enable();
            if let Some(record) = self.shared.records().iter().find(|record| record.body["file"] == file) {
                return record.clone();
            }
            came.await;
        }
    }
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let body = Limited::new(body, MAX_BODY)
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        let token = text(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
        let record = Record {
            account: token.and_then(|token| self.accounts.get(token)).cloned(),
            path: head.uri.path().to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            idempotency_key: text("idempotency-key").map(str::to_owned),
        };
        let (status, answer) = match &record.account {
            Some(account) => (StatusCode::OK, json!({ "stored": record.body["file"], "account": account })),
            None => (StatusCode::UNAUTHORIZED, json!({ "error": "unknown token" })),
        };
        self.records().push(record);
        self.came.notify_waiters();
        let mut response = Response::new(Full::from(answer.to_string()));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        Ok(response)
    }
}

async fn serve(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| shared.answer(request));
            // A broken connection is the daemon's affair; the row that misses its request says so.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
