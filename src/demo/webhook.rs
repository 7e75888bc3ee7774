//! Posts a webhook as a provider would.

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use perseat_domain::id::ExecutionId;
use serde_json::Value;
use url::Url;

/// What is posted where.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Value,
}

/// The answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The execution that the answer names.
    pub(super) execution: Option<ExecutionId>,
    pub(super) body: Value,
}

impl Webhook {
    pub(super) async fn post(&self) -> anyhow::Result<Answer> {
        let url = Url::parse(&self.url)?;
        let address = url.socket_addrs(|| None)?.pop().context("the URL names no address")?;
        let stream = tokio::net::TcpStream::connect(address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let mut request = Request::post(target)
            .header(header::HOST, address.to_string())
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = sender
            .send_request(request.body(Full::new(Bytes::from(self.body.to_string())))?)
            .await?;
        let status = response.status();
        let execution = response
            .headers()
            .get("prismatic-executionid")
            .and_then(|id| id.to_str().ok())
            .and_then(|id| id.parse().ok());
        let body = response.into_body().collect().await?.to_bytes();
        driver.abort();
        Ok(Answer {
            status,
            execution,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        })
    }

    /// The same as a command line.
    pub(super) fn curl(&self) -> String {
        let headers = self.headers.iter().map(|(name, value)| format!(" -H '{name}: {value}'"));
        let headers: String = headers.collect();
        format!(
            "curl -i '{}' -H 'content-type: application/json'{headers} -d '{}'",
            self.url, self.body
        )
    }
}
