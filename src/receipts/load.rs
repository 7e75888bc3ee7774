//! Posts events until the connection breaks, and keeps every receipt.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use perseat_domain::id::ExecutionId;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use url::Url;

/// One trigger, and what is posted to it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) path: String,
    pub(super) body: Bytes,
}

impl Target {
    /// A trigger by its URL, posted to with `bytes` of JSON.
    pub(super) fn new(url: &str, bytes: usize) -> anyhow::Result<Self> {
        let url = Url::parse(url)?;
        Ok(Self {
            address: url.socket_addrs(|| None)?.pop().context("the URL names no address")?,
            path: url.path().to_owned(),
            body: json!({ "filler": "x".repeat(bytes) }).to_string().into(),
        })
    }

    /// Posts over one connection until it breaks, as it does when the daemon is killed. What is refused is no receipt.
    async fn post_on_and_on(self, receipts: mpsc::UnboundedSender<ExecutionId>) -> anyhow::Result<()> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        loop {
            sender.ready().await?;
            let request = Request::post(&self.path)
                .header(header::HOST, self.address.to_string())
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(self.body.clone()))?;
            let response = sender.send_request(request).await?;
            let is_receipt = response.status().is_success();
            let body = response.into_body().collect().await?.to_bytes();
            if is_receipt {
                let body: Value = serde_json::from_slice(&body)?;
                let id = body["executionId"].as_str().context("a 2xx without an execution's id")?;
                receipts.send(id.parse()?)?;
            }
            if driver.is_finished() {
                return Ok(());
            }
        }
    }
}

/// Several connections that post until the daemon is killed.
#[derive(Debug)]
pub(super) struct Load {
    posting: Vec<JoinHandle<anyhow::Result<()>>>,
    incoming: mpsc::UnboundedReceiver<ExecutionId>,
    receipts: Vec<ExecutionId>,
}

impl Load {
    /// Starts `connections`, which share the targets.
    pub(super) fn start(targets: Vec<Target>, connections: usize) -> Self {
        let (send, incoming) = mpsc::unbounded_channel();
        let targets = targets.into_iter().cycle().take(connections);
        Self {
            posting: targets.map(|target| tokio::spawn(target.post_on_and_on(send.clone()))).collect(),
            incoming,
            receipts: Vec::new(),
        }
    }

    /// Waits for this many receipts, and no longer than `most`; how long it was.
    pub(super) async fn until(&mut self, receipts: u64, most: Duration) -> Duration {
        let began = Instant::now();
        let enough = async {
            while (self.receipts.len() as u64) < receipts
                && let Some(receipt) = self.incoming.recv().await
            {
                self.receipts.push(receipt);
            }
        };
        // Either ends the round.
        let _ = tokio::time::timeout(most, enough).await;
        began.elapsed()
    }

    /// Waits until every connection is broken; all receipts.
    pub(super) async fn end(mut self) -> Vec<ExecutionId> {
        for connection in self.posting.drain(..) {
            // It ends with the error of a connection that broke.
            let _ = connection.await;
        }
        while let Ok(receipt) = self.incoming.try_recv() {
            self.receipts.push(receipt);
        }
        self.receipts
    }
}
