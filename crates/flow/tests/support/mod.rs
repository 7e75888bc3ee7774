//! A small HTTP server for tests; answers by path and counts connections.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.1:0").await
    }

    pub(crate) async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, seen) = (Arc::clone(&connections), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let seen = Arc::clone(&seen);
                let service = hyper::service::service_fn(move |request| {
                    let count = seen.fetch_add(1, Ordering::Relaxed);
                    answer(request, count)
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        });
        Self {
            port,
            connections,
            requests,
        }
    }

    #[allow(dead_code, reason = "each test binary uses its part")]
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    #[allow(dead_code, reason = "each test binary uses its part")]
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    #[allow(dead_code, reason = "each test binary uses its part")]
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// `/echo` says what came; `/status/404` answers that; `/redirect?to` leads on; `/flaky` fails twice; `/later`, `/big`, `/bomb`.
async fn answer(request: Request<Incoming>, count: usize) -> hyper::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let header = |name: &str| {
        head.headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let path = head.uri.path();
    let reply = |status: u16, text: String| {
        let json = Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .header("x-test", "yes");
        json.body(Full::from(text)).unwrap()
    };
    Ok(match path {
        "/redirect" => Response::builder()
            .status(head.uri.query().and_then(|query| query.get(..3)).unwrap_or("302"))
            .header("location", head.uri.query().and_then(|query| query.get(4..)).unwrap_or("/redirect"))
            .body(Full::default())
            .unwrap(),
        "/flaky" if count < 2 => reply(503, "\"later\"".into()),
        "/big" => reply(200, format!("\"{}\"", "x".repeat(1 << 20))),
        "/bomb" => {
            let packed = Response::builder().header("content-encoding", "gzip");
            packed.body(Full::from(zeros())).unwrap()
        }
        "/later" => {
            let later = Response::builder().status(429).header("retry-after", "60");
            later.body(Full::from("later")).unwrap()
        }
        "/silent" => std::future::pending().await,
        "/broken" => reply(200, "{\"a\":".into()),
        _ if path.starts_with("/status/") => {
            let status = path["/status/".len()..].parse().unwrap_or(StatusCode::IM_A_TEAPOT.as_u16());
            reply(status, format!("{{\"status\":{status}}}"))
        }
        _ => {
            let echo = serde_json::json!({
                "method": head.method.as_str(), "uri": head.uri.to_string(), "body": String::from_utf8_lossy(&body), "key": header("idempotency-key"),
                "authorization": header("authorization"), "contentType": header("content-type"), "apiKey": header("x-api-key"),
            });
            reply(200, echo.to_string())
        }
    })
}

/// One MiB of zeros, compressed a thousand times smaller.
fn zeros() -> Vec<u8> {
    include_bytes!("zeros.gz").to_vec()
}

/// A server that keeps the last byte of each answer back until it is opened; `/whole` it answers at once.
#[allow(dead_code, reason = "each test binary uses its part")]
#[derive(Clone, Debug)]
pub(crate) struct Withholding {
    pub(crate) address: String,
    /// The paths that it was asked for, and with how many of them it was busy at most.
    pub(crate) asked: watch::Sender<(Vec<String>, usize)>,
    pub(crate) open: watch::Sender<bool>,
    busy: Arc<AtomicUsize>,
    size: usize,
}

#[allow(dead_code, reason = "each test binary uses its part")]
impl Withholding {
    /// Its answers have `size` bytes.
    pub(crate) async fn start(size: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap().to_string(),
            asked: watch::Sender::default(),
            open: watch::Sender::default(),
            busy: Arc::default(),
            size,
        };
        let this = server.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let this = this.clone();
                // Whoever found no room for it hangs up.
                tokio::spawn(async move { drop(this.answer(socket).await) });
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits until it was asked so often.
    pub(crate) async fn was_asked(&self, times: usize) {
        self.asked.subscribe().wait_for(|(paths, _)| paths.len() >= times).await.unwrap();
    }

    async fn answer(&self, mut socket: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await?);
        }
        let path = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
        let is_whole = path == "/whole";
        let busy = self.busy.fetch_add(1, Ordering::Relaxed) + 1;
        self.asked.send_modify(|(paths, most)| {
            paths.push(path);
            *most = busy.max(*most);
        });
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", self.size);
        socket.write_all(head.as_bytes()).await?;
        socket.write_all(&vec![b'x'; self.size - 1]).await?;
        if !is_whole {
            self.open.subscribe().wait_for(|open| *open).await.map_err(std::io::Error::other)?;
        }
        self.busy.fetch_sub(1, Ordering::Relaxed);
        socket.write_all(b"x").await
    }
}
