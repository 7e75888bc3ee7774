//! Local administration: what the Unix socket's routes do, and the same against an offline data directory.

use super::local::{LocalAnswer, LocalRequest, Router};
use super::plane::{Plane, Published, Publisher, random};
use http::{Method, StatusCode};
use perseat_actors::kit::Clock;
use perseat_admin::apply::{Applied, Applier, ApplyError, ApplyOptions, apply};
use perseat_admin::edit::Definitions;
use perseat_admin::manifest::Located;
use perseat_domain::entry::{Cancelled, Entry};
use perseat_domain::id::{ExecutionId, partition_of};
use perseat_flow::definition;
use perseat_journal::{Journal, NewEntry};
use perseat_store::custody::Custody;
use perseat_store::error::StoreError;
use perseat_store::index::ExecutionIndex;
use perseat_store::pressure::Ballast;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// The body of `POST /apply`. Secrets in it are resolved: it travels over the local socket only.
#[derive(Debug, Serialize, Deserialize)]
pub struct ApplyBody {
    /// The manifests, in the order of the files.
    pub manifests: Vec<Located>,
    /// How.
    pub options: ApplyOptions,
}

/// What the routes work on.
#[derive(Clone)]
pub(super) struct Administration {
    custody: Custody,
    definitions: definition::Limits,
    journal: Journal,
    index: Arc<ExecutionIndex>,
    publisher: Arc<Publisher>,
    clock: Arc<dyn Clock>,
    ballast: Arc<Ballast>,
    epoch: u64,
}

impl Administration {
    pub(super) fn of(plane: &Plane, definitions: definition::Limits) -> Self {
        Self {
            definitions,
            custody: plane.custody.clone(),
            journal: plane.journal.clone(),
            index: plane.index.clone(),
            publisher: plane.publisher.clone(),
            clock: plane.clock.clone(),
            ballast: plane.ballast.clone(),
            epoch: plane.epoch,
        }
    }

    /// The routes of the local socket.
    pub(super) fn router(&self) -> Router {
        let (on_apply, on_cancel) = (self.clone(), self.clone());
        Router::default()
            .route(Method::POST, "/apply", move |request: LocalRequest| {
                let this = on_apply.clone();
                async move { blocking(move || this.apply(&request)).await }
            })
            .route(Method::POST, "/executions/{id}/cancel", move |request: LocalRequest| {
                let this = on_cancel.clone();
                async move { this.cancel(&request).await }
            })
    }

    fn apply(&self, request: &LocalRequest) -> LocalAnswer {
        let body: ApplyBody = match serde_json::from_slice(&request.body) {
            Ok(body) => body,
            Err(error) => return refusal(StatusCode::BAD_REQUEST, "request_malformed", &error.to_string()),
        };
        let applied = self.publisher.publish(|| {
            let once = || apply_here(&self.custody, self.definitions, &body.manifests, body.options, &*self.clock);
            let applied = match once() {
                // Room that is kept back for this moment, so that a deletion can commit on a full disk.
                Err(ApplyError::Store(StoreError::Full(_))) if self.ballast.release() => {
                    tracing::warn!("the disk is full: the ballast file was given up for this mutation; make room");
                    once()?
                }
                applied => applied?,
            };
            let Applied { plan, effects } = applied;
            let published = Published {
                effects,
                revision: plan.revision,
            };
            Ok::<_, ApplyError>((plan, published))
        });
        match applied {
            Ok(plan) => (StatusCode::OK, json!(plan)),
            Err(ApplyError::Problems(problems)) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                json!({ "error": problems.join("\n"), "code": "manifest_invalid", "problems": problems }),
            ),
            Err(error @ ApplyError::Store(StoreError::Full(_))) => {
                tracing::error!(error = &error as &dyn std::error::Error, "apply failed: the disk is full");
                refusal(StatusCode::INSUFFICIENT_STORAGE, "storage_full", &error.to_string())
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "apply failed");
                refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string())
            }
        }
    }

    /// Asks for the end of an execution; answered once that is durable.
    async fn cancel(&self, request: &LocalRequest) -> LocalAnswer {
        let Some(Ok(execution)) = request.parameters.first().map(|id| id.parse::<ExecutionId>()) else {
            return refusal(StatusCode::BAD_REQUEST, "request_malformed", "not an execution id");
        };
        let (index, id) = (self.index.clone(), execution);
        let found = tokio::task::spawn_blocking(move || index.get(id)).await;
        let row = match found {
            Ok(Ok(Some(row))) => row,
            Ok(Ok(None)) => return refusal(StatusCode::NOT_FOUND, "execution_not_found", "there is no such execution"),
            Ok(Err(error)) => return refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string()),
            Err(error) => return refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string()),
        };
        let Some(identity) = row.identity.filter(|_| row.outcome.is_none()) else {
            return refusal(StatusCode::CONFLICT, "execution_ended", "the execution has ended");
        };
        let cancelled = Entry::from(Cancelled {
            execution,
            at: self.clock.now(),
            by: "local".to_owned(),
        });
        let entry = NewEntry {
            partition: partition_of(identity.instance),
            epoch: self.epoch,
            payload: cancelled.encode().into(),
        };
        match self.journal.append(vec![entry]).await {
            Ok(_) => (StatusCode::ACCEPTED, json!({ "executionId": execution.global() })),
            Err(error) => refusal(StatusCode::SERVICE_UNAVAILABLE, "storage_full", &error.to_string()),
        }
    }
}

/// Applies manifests to a catalog, in this process; `limits` are those of integration definitions.
pub(crate) fn apply_here(
    custody: &Custody,
    limits: definition::Limits,
    manifests: &[Located],
    options: ApplyOptions,
    clock: &dyn Clock,
) -> Result<Applied, ApplyError> {
    let by = format!("local:{}", rustix::process::getuid().as_raw());
    let mut random = random;
    let mut applier = Applier {
        by: &by,
        at: clock.now(),
        random: &mut random,
    };
    apply(custody, Definitions::built_in(limits), manifests, options, &mut applier)
}

pub(super) fn refusal(status: StatusCode, code: &str, sentence: &str) -> LocalAnswer {
    (status, json!({ "error": sentence, "code": code }))
}

pub(super) async fn blocking(work: impl FnOnce() -> LocalAnswer + Send + 'static) -> LocalAnswer {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string()),
    }
}
