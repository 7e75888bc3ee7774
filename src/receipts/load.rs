//! Posts events until the connection breaks, and keeps what is answered.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, StatusCode, header};
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

    /// Posts over one connection until it breaks, as it does when the daemon is killed.
    async fn post_on_and_on(self, answers: mpsc::UnboundedSender<Answer>) -> anyhow::Result<()> {
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
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            answers.send(Answer::of(status, &body))?;
            if driver.is_finished() {
                return Ok(());
            }
        }
    }
}

/// What an answer comes to.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Receipt(ExecutionId),
    Refusal(String),
    /// A 2xx that names no execution.
    Malformed(String),
}

impl Answer {
    fn of(status: StatusCode, body: &[u8]) -> Self {
        let said = || format!("{status} {}", String::from_utf8_lossy(body));
        if !status.is_success() {
            return Self::Refusal(said());
        }
        let body: Option<Value> = serde_json::from_slice(body).ok();
        let id = body.as_ref().and_then(|body| body["executionId"].as_str()?.parse().ok());
        id.map_or_else(|| Self::Malformed(said()), Self::Receipt)
    }
}

/// What was heard of posts.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) receipts: Vec<ExecutionId>,
    /// Answers that are none.
    pub(super) malformed: BTreeSet<String>,
    /// Why a post had no receipt, the last time.
    pub(super) refusal: Option<String>,
}

impl Heard {
    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Receipt(execution) => self.receipts.push(execution),
            Answer::Refusal(said) => self.refusal = Some(said),
            Answer::Malformed(said) => drop(self.malformed.insert(said)),
        }
    }

    /// Adds what was heard later.
    pub(super) fn add(&mut self, later: Self) {
        self.receipts.extend(later.receipts);
        self.malformed.extend(later.malformed);
        self.refusal = later.refusal.or(self.refusal.take());
    }
}

/// Several connections that post until the daemon is killed.
#[derive(Debug)]
pub(super) struct Load {
    posting: Vec<JoinHandle<anyhow::Result<()>>>,
    answers: mpsc::UnboundedReceiver<Answer>,
    heard: Heard,
}

impl Load {
    /// Starts `connections`, which share the targets.
    pub(super) fn start(targets: Vec<Target>, connections: usize) -> Self {
        let (send, answers) = mpsc::unbounded_channel();
        let targets = targets.into_iter().cycle().take(connections);
        Self {
            posting: targets.map(|target| tokio::spawn(target.post_on_and_on(send.clone()))).collect(),
            answers,
            heard: Heard::default(),
        }
    }

    /// Waits for this many receipts, and no longer than `most`; how long it was.
    pub(super) async fn until(&mut self, receipts: u64, most: Duration) -> Duration {
        let began = Instant::now();
        let enough = async {
            while (self.heard.receipts.len() as u64) < receipts
                && let Some(answer) = self.answers.recv().await
            {
                self.heard.take(answer);
            }
        };
        // Either ends the round.
        let _ = tokio::time::timeout(most, enough).await;
        began.elapsed()
    }

    /// Whether every connection broke already.
    pub(super) fn is_broken(&self) -> bool {
        !self.posting.is_empty() && self.answers.is_closed()
    }

    /// Waits until every connection is broken.
    pub(super) async fn end(mut self) -> Heard {
        for connection in self.posting.drain(..) {
            // It ends with the error of a connection that broke, which tells why there was no answer if there was none.
            if let Ok(Err(broke)) = connection.await {
                self.heard.refusal.get_or_insert(format!("{broke:#}"));
            }
        }
        while let Ok(answer) = self.answers.try_recv() {
            self.heard.take(answer);
        }
        self.heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "b7c1f0de-3f2a-4a51-8a3c-2f6f0b9f8d11";

    #[test]
    fn a_2xx_that_names_no_execution_is_neither_a_receipt_nor_a_refusal() {
        let receipt = json!({ "executionId": ID }).to_string();
        let execution = ID.parse().unwrap();
        assert_eq!(Answer::of(StatusCode::OK, receipt.as_bytes()), Answer::Receipt(execution));
        let refusal = "503 Service Unavailable {\"code\":\"storage_full\"}".to_owned();
        assert_eq!(
            Answer::of(StatusCode::SERVICE_UNAVAILABLE, br#"{"code":"storage_full"}"#),
            Answer::Refusal(refusal)
        );
        for body in ["", "{}", r#"{"executionId":1}"#, r#"{"executionId":"x"}"#] {
            assert_eq!(
                Answer::of(StatusCode::ACCEPTED, body.as_bytes()),
                Answer::Malformed(format!("202 Accepted {body}"))
            );
        }
    }
}
