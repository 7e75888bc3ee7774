//! The local socket: administration by whoever the file system lets in, never by an open TCP port.
//!
//! The socket is made with mode 0600, and the peer's user is checked on top: only the daemon's own user and root are served.
//! It speaks HTTP/1 with JSON bodies; [`Router`] says which paths exist, and other parts add theirs at start.

use std::fs;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::{Value, json};

use super::http::{Accept, Answer, Answering, Service, json as json_answer};

/// A request that a route answers.
#[derive(Debug)]
pub struct LocalRequest {
    /// What stood in the places of `{…}` in the route's path, in order.
    pub parameters: Vec<String>,
    /// The query string, without its question mark.
    pub query: String,
    /// The body.
    pub body: Bytes,
}

/// An answer: the status and a JSON body. A refusal has `{"error": …, "code": …}`.
pub type LocalAnswer = (StatusCode, Value);

type Handler = Box<dyn Fn(LocalRequest) -> Answering + Send + Sync>;

struct Route {
    method: Method,
    path: &'static str,
    handler: Handler,
}

/// The routes of the local socket.
#[derive(Default)]
pub struct Router {
    routes: Vec<Route>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_list()
            .entries(self.routes.iter().map(|route| (&route.method, route.path)))
            .finish()
    }
}

impl Router {
    /// Adds a route. A segment of `path` in braces matches any one segment: `/executions/{id}/cancel`.
    #[must_use]
    pub fn route<F, A>(self, method: Method, path: &'static str, handler: F) -> Self
    where
        F: Fn(LocalRequest) -> A + Send + Sync + 'static,
        A: Future<Output = LocalAnswer> + Send + 'static,
    {
        self.route_raw(method, path, move |request| {
            let answering = handler(request);
            async move {
                let (status, body) = answering.await;
                json_answer(status, &body)
            }
        })
    }

    /// As [`Router::route`], for answers that are not JSON.
    #[must_use]
    pub fn route_raw<F, A>(mut self, method: Method, path: &'static str, handler: F) -> Self
    where
        F: Fn(LocalRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        self.routes.push(Route {
            method,
            path,
            handler: Box::new(move |request| Box::pin(handler(request))),
        });
        self
    }
}

/// The segments that `{…}` stands for, when `path` has the form of `pattern`.
fn matched(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (expected, given): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    if expected.len() != given.len() {
        return None;
    }
    let mut parameters = Vec::new();
    for (expected, given) in expected.into_iter().zip(given) {
        if expected.starts_with('{') && !given.is_empty() {
            parameters.push(given.to_owned());
        } else if expected != given {
            return None;
        }
    }
    Some(parameters)
}

impl Service for Router {
    fn answer(&self, request: Request<Bytes>) -> Answering {
        let (head, body) = request.into_parts();
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default().to_owned());
        let on_path: Vec<_> = self
            .routes
            .iter()
            .filter_map(|route| Some((route, matched(route.path, path)?)))
            .collect();
        let refusal = if on_path.is_empty() {
            (
                StatusCode::NOT_FOUND,
                json!({ "error": format!("there is no {path} here"), "code": "route_not_found" }),
            )
        } else {
            (
                StatusCode::METHOD_NOT_ALLOWED,
                json!({ "error": format!("{path} does not take {}", head.method), "code": "method_not_allowed" }),
            )
        };
        let answering = on_path
            .into_iter()
            .find(|(route, _)| route.method == head.method)
            .map(|(route, parameters)| (route.handler)(LocalRequest { parameters, query, body }));
        Box::pin(async move {
            match answering {
                Some(answering) => answering.await,
                None => json_answer(refusal.0, &refusal.1),
            }
        })
    }
}

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens on it.
    #[error("{0} is in use by another process; choose another local.socket")]
    InUse(PathBuf),
    /// The system refused it.
    #[error("the local socket {path}: {source} (a path of more than 107 bytes is too long; local.socket can name a shorter one)")]
    Refused {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The listening socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct LocalSocket {
    listener: tokio::net::UnixListener,
    path: PathBuf,
    owner: u32,
}

impl LocalSocket {
    /// Opens the socket, in place of one that a dead process left behind. Needs a tokio runtime.
    ///
    /// # Errors
    /// Another process listens on it, or the system refuses the path.
    pub fn open(path: &Path, backlog: u32) -> Result<Self, SocketError> {
        let refused = |source| SocketError::Refused {
            path: path.to_owned(),
            source,
        };
        if is_answered(path) {
            return Err(SocketError::InUse(path.to_owned()));
        }
        if let Err(source) = fs::remove_file(path)
            && source.kind() != io::ErrorKind::NotFound
        {
            return Err(refused(source));
        }
        let listener = bind_private(path, backlog).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(refused)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            owner: rustix::process::geteuid().as_raw(),
        })
    }
}

/// Whether a process listens on it.
pub(super) fn is_answered(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// Binds with mode 0600 from the first moment: on Linux the file takes the mode that the socket has when it is bound.
fn bind_private(path: &Path, backlog: u32) -> io::Result<UnixListener> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(UnixListener::from(socket))
}

impl Accept for LocalSocket {
    type Connection = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<Option<Self::Connection>> {
        let (stream, _) = self.listener.accept().await?;
        let user = stream.peer_cred()?.uid();
        let served = user == self.owner || user == 0;
        if !served {
            tracing::warn!(user, "a local connection of another user was closed");
        }
        Ok(served.then_some(stream))
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "the local socket's file was gone already");
        }
    }
}

/// Shares the routes with the server.
#[must_use]
pub fn service(router: Router) -> Arc<dyn Service> {
    Arc::new(router)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::boot::http::{Limits, serve};
    use crate::cli::client::{ClientError, call};

    const LIMITS: Limits = Limits {
        connections: 4,
        max_body: 16,
        body_memory: 1 << 20,
        read_timeout: Duration::from_secs(5),
        drain: Duration::from_secs(5),
        accept_pause: Duration::from_millis(1),
    };

    fn router() -> Router {
        Router::default().route(Method::POST, "/executions/{id}/cancel", async |request: LocalRequest| {
            (
                StatusCode::OK,
                json!({ "id": request.parameters, "query": request.query, "bytes": request.body.len() }),
            )
        })
    }

    #[tokio::test]
    async fn the_client_reaches_a_route_and_hears_refusals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("perseat.sock");
        let socket = LocalSocket::open(&path, 8).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(LocalSocket::open(&path, 8), Err(SocketError::InUse(_))));
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(socket, LIMITS, service(router()), stop.clone()));

        let answer = call(&path, Method::POST, "/executions/7/cancel?a=b", Some(json!([1, 2])))
            .await
            .unwrap();
        assert_eq!(answer, json!({ "id": ["7"], "query": "a=b", "bytes": 5 }));
        for (method, target, body, expected) in [
            (Method::GET, "/executions/7/cancel", None, "method_not_allowed"),
            (Method::POST, "/executions//cancel", None, "route_not_found"),
            (
                Method::POST,
                "/executions/7/cancel",
                Some(json!("longer than sixteen bytes")),
                "payload_too_large",
            ),
        ] {
            let refused = call(&path, method, target, body).await.unwrap_err();
            assert!(
                matches!(&refused, ClientError::Refused { code, .. } if code == expected),
                "{refused:?}"
            );
        }

        stop.cancel();
        served.await.unwrap();
        assert!(!path.exists());
        assert!(matches!(call(&path, Method::GET, "/", None).await, Err(ClientError::NotRunning(_))));
    }
}
