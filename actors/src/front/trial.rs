//! A flow run by a person to try it: accepted as a request to its URL would be, without one.

use super::FrontShared;
use super::intake::{self, Acceptance};
use super::keys::key_of;
use super::request::{check_open, seal_elsewhere};
use super::stored::{KeptHeaders, StoredRequest};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::Origin;
use perseat_domain::id::ExecutionId;
use perseat_domain::identity::Identity;
use std::fmt;

/// What to run, and on whose behalf. Whoever makes one has settled that it may be run.
pub struct Trial {
    /// On whose behalf.
    pub identity: Identity,
    /// The URL that stands for the flow.
    pub url: String,
    /// The content type of the body.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl FrontShared {
    /// Accepts a trial; durable once this returns. Await it to its end.
    ///
    /// # Errors
    /// Whatever refuses a webhook once it is known whom it is for.
    pub async fn try_out(&self, trial: &Trial) -> Result<ExecutionId, ErrorCode> {
        check_open(self)?;
        if trial.body.len() > self.options().max_body {
            return Err(ErrorCode::PayloadTooLarge);
        }
        let mut headers = HeaderMap::new();
        let content_type = HeaderValue::from_str(&trial.content_type).map_err(|_| ErrorCode::RequestMalformed)?;
        headers.insert(header::CONTENT_TYPE, content_type);
        let stored = StoredRequest {
            method: "POST",
            headers: KeptHeaders(&headers),
            query: "",
            path_fragment: "",
            invoke_url: &trial.url,
            body: &trial.body,
            debug: false,
        };
        let execution = self.execution_id();
        let acceptance = Acceptance {
            execution,
            identity: trial.identity,
            origin: Origin::Test,
            received_at: self.parts.clock.now(),
            catalog_revision: self.parts.snapshot.load().revision(),
            sync_deadline: None,
            refusal: None,
        };
        let key = key_of(self, acceptance, || Some(())).await?;
        let ((), payload) = seal_elsewhere(self, acceptance, key, stored.encode(), ()).await?;
        intake::append(self, &trial.identity, payload, || Some(()))
            .await
            .map_err(|refusal| refusal.code)?;
        Ok(execution)
    }
}
