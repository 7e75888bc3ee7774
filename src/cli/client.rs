//! The client of the local socket, for every command that speaks to a running daemon.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon runs on {0}; start one with `perseat serve`, or name its data directory with --data")]
    NotRunning(PathBuf),
    /// The file system said no.
    #[error("{0} belongs to another user; run this as the daemon's user, or as root")]
    NotAllowed(PathBuf),
    /// The daemon understood and refused.
    #[error("{message} ({code})")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The stable code.
        code: String,
        /// The sentence.
        message: String,
        /// The whole answer; some refusals say more.
        body: Value,
    },
    /// The connection broke.
    #[error("the daemon's answer did not arrive: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Calls `target` on the daemon behind `socket` and returns its JSON.
///
/// # Errors
/// Nobody answers, or the answer is a refusal.
pub async fn call(socket: &Path, method: Method, target: &str, body: Option<Value>) -> Result<Value, ClientError> {
    let (response, driver) = send(socket, method, target, body).await?;
    let answer = whole(response).await;
    driver.abort();
    answer
}

/// Calls `target` and hands the pieces of the answer to `take` as they come, on this thread; then waits for no more.
///
/// # Errors
/// Nobody answers, the answer is a refusal or breaks off, or what `take` returns.
pub async fn receive<E>(socket: &Path, target: &str, mut take: impl FnMut(Bytes) -> Result<(), E>) -> Result<Result<(), E>, ClientError> {
    let (response, driver) = send(socket, Method::GET, target, None).await?;
    if !response.status().is_success() {
        let refused = whole(response).await;
        driver.abort();
        return refused.map(|_| Ok(()));
    }
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ClientError::Broken(error.into()))?;
        if let Ok(piece) = frame.into_data()
            && let Err(error) = take(piece)
        {
            driver.abort();
            return Ok(Err(error));
        }
    }
    driver.abort();
    Ok(Ok(()))
}

/// A response, and the task that reads it from the socket.
type Received = (Response<Incoming>, tokio::task::JoinHandle<Result<(), hyper::Error>>);

async fn send(socket: &Path, method: Method, target: &str, body: Option<Value>) -> Result<Received, ClientError> {
    let stream = tokio::net::UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed(socket.to_owned()),
        _ => ClientError::NotRunning(socket.to_owned()),
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| ClientError::Broken(error.into()))?;
    let driver = tokio::spawn(connection);
    let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(header::HOST, "perseat")
        .body(Full::new(body));
    let request = request.map_err(|error| ClientError::Broken(error.into()))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| ClientError::Broken(error.into()))?;
    Ok((response, driver))
}

/// The JSON of an answer, or the refusal that it is.
async fn whole(response: Response<Incoming>) -> Result<Value, ClientError> {
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| ClientError::Broken(error.into()))?
        .to_bytes();
    let answer: Value = serde_json::from_slice(&body).map_err(|error| ClientError::Broken(error.into()))?;
    if status.is_success() {
        return Ok(answer);
    }
    let text = |field: &str| answer.get(field).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    Err(ClientError::Refused {
        status,
        code: text("code"),
        message: text("error"),
        body: answer,
    })
}

/// A path with those parameters of a query that are set.
#[must_use]
pub fn target(path: &str, query: &[(&str, &Option<String>)]) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in query {
        if let Some(value) = value {
            text.append_pair(name, value);
        }
    }
    format!("{path}?{}", text.finish())
}

/// Runs one future to its end on this thread: a command needs no more.
///
/// # Errors
/// The system has no room for a runtime.
pub fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}
