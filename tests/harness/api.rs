//! The API as a client sees it: queries in, JSON out.

use super::daemon::Daemon;
use http::Method;
use serde_json::{Value, json};

/// Somebody who asks.
#[derive(Debug)]
pub(crate) struct Api<'d> {
    daemon: &'d Daemon,
    bearer: String,
}

impl<'d> Api<'d> {
    /// A program with this role of the organization; makes the organization where there is none.
    pub(crate) async fn program(daemon: &'d Daemon, role: &str) -> Self {
        let body = json!({ "name": role, "role": role, "organization": "Acme" });
        Self::with(daemon, body).await
    }

    /// The holder of a token that is made as `body` says.
    pub(crate) async fn with(daemon: &'d Daemon, body: Value) -> Self {
        let made = daemon.local(Method::POST, "/tokens", Some(body)).await.unwrap();
        let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
        Self { daemon, bearer }
    }

    /// What the `Authorization` header says.
    pub(crate) fn bearer(&self) -> &str {
        &self.bearer
    }

    /// Whoever holds this bearer.
    pub(crate) fn holder_of(daemon: &'d Daemon, bearer: &str) -> Self {
        let bearer = format!("Bearer {bearer}");
        Self { daemon, bearer }
    }

    /// The whole answer.
    pub(crate) async fn ask(&self, query: &str, variables: Value) -> Value {
        let url = format!("http://{}/api", self.daemon.address("api"));
        let headers = [("content-type", "application/json"), ("authorization", self.bearer.as_str())];
        let body = json!({ "query": query, "variables": variables }).to_string();
        self.daemon.send(Method::POST, &url, &headers, body).await.json()
    }

    /// The first field of an answer that must have no errors.
    #[track_caller]
    pub(crate) fn get(&self, query: &str, variables: Value) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.ask(query, variables).await;
            let value = answer["data"].as_object().and_then(|data| data.values().next());
            let value = value.filter(|value| value["errors"].as_array().is_none_or(Vec::is_empty));
            value.unwrap_or_else(|| panic!("{caller}: {answer}")).clone()
        }
    }
}
