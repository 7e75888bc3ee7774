//! The request as the steps of an execution see it.

use super::ExecutionEnv;
use super::binding::Binding;
use super::memory::UNCLAIMED;
use super::run::{Start, off_arbiter, rfc3339};
use bytes::Bytes;
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::{StepRecord, TriggerRequest, step_record_id};
use perseat_domain::id::ExecutionId;
use perseat_domain::model::{IntegrationVersion, Sealed};
use perseat_domain::time::Timestamp;
use perseat_flow::expression::{Results, Scope, Settings};
use perseat_flow::payload::{FlowContext, json, payload_bytes, trigger_payload};
use perseat_store::seal::{DataKey, RecordKind};
use std::sync::{Arc, LazyLock};

/// What steps and answers see of the execution: the opened request, the results so far, names and addresses.
#[derive(Debug)]
pub(super) struct View {
    pub(super) scope: Scope,
    pub(super) context: Arc<FlowContext>,
    /// Whether the caller asked for verbose logs.
    pub(super) is_debug: bool,
}

/// No names and no addresses: one for all executions that nobody looks into.
static NO_CONTEXT: LazyLock<Arc<FlowContext>> = LazyLock::new(Arc::default);

impl View {
    /// Of an execution whose request nobody reads.
    pub(super) fn unread() -> Self {
        Self {
            scope: Scope::default(),
            context: Arc::clone(&NO_CONTEXT),
            is_debug: false,
        }
    }
}

/// Opens what was sealed and makes something of it: here where its plaintext has no more than `most` bytes, else off the arbiter.
/// `None` where it cannot be opened, or nothing can be made of it.
async fn unsealed<T: Send + 'static>(
    key: &Arc<DataKey>,
    (kind, id): (RecordKind, Vec<u8>),
    sealed: Sealed,
    most: usize,
    make: impl FnOnce(&[u8]) -> Option<T> + Send + 'static,
) -> Option<T> {
    if let Some(plain) = key.unseal_up_to(most, kind, &id, &sealed).ok()? {
        return make(&plain);
    }
    let key = key.clone();
    Box::pin(off_arbiter(move || make(&key.unseal(kind, &id, &sealed).ok()?))).await
}

/// Opens the request, and reckons what its payload will take; or says why it cannot: the code and a sentence.
pub(super) async fn request(
    env: &ExecutionEnv,
    execution: ExecutionId,
    binding: &Binding,
    sealed: Sealed,
) -> Result<(TriggerRequest, usize), (ErrorCode, String)> {
    let read = |plain: &[u8]| {
        let request: TriggerRequest = postcard::from_bytes(plain).ok()?;
        let taken = payload_bytes(&request.body, UNCLAIMED);
        Some((request, taken))
    };
    let id = execution.0.as_bytes().to_vec();
    let opened = unsealed(binding.key(), (RecordKind::Request, id), sealed, env.limits.offload_bytes, read).await;
    opened.ok_or_else(|| {
        (
            ErrorCode::UserRemoved,
            "the request can no longer be read: its key was destroyed".to_owned(),
        )
    })
}

/// What a finished step gave; off the arbiter if that is more than `most` bytes.
pub(super) async fn restored(binding: &Binding, execution: ExecutionId, step: StepRecord, most: usize) -> Option<Arc<Results>> {
    let read = |plain: &[u8]| {
        json::check(plain, usize::MAX).ok()?;
        Some(Arc::new(Results::of_json(Bytes::copy_from_slice(plain))))
    };
    let id = step_record_id(execution, &step.path);
    unsealed(binding.key(), (RecordKind::StepOutput, id), step.output, most, read).await
}

/// Completes the trigger's payload; or says why it cannot.
pub(super) async fn open(
    env: &Arc<ExecutionEnv>,
    start: &Start,
    request: TriggerRequest,
    binding: &Binding,
    version: &IntegrationVersion,
    settings: Settings,
    began_at: Timestamp,
) -> Result<View, (ErrorCode, String)> {
    let flow = start.identity.flow;
    let names = binding.flow_names(version, flow);
    let context = FlowContext::new(start.execution.global(), request.invoke_url.clone(), rfc3339(began_at), names);
    let is_debug = request.debug;
    let payload = if request.body.len() > env.limits.offload_bytes {
        let (context, limits) = (context.clone(), env.limits.payload);
        off_arbiter(move || trigger_payload(&request, &context, limits)).await
    } else {
        trigger_payload(&request, &context, env.limits.payload)
    }
    .map_err(|error| (ErrorCode::PayloadMalformed, error.to_string()))?;

    let trigger = version
        .definition
        .flow(flow)
        .map(|flow| flow.trigger.reference.clone())
        .unwrap_or_default();
    #[cfg(feature = "faults")]
    let settings = env.faults.settings_for(&settings);
    let scope = Scope::new(trigger, Arc::new(payload), settings, env.limits.values);
    Ok(View {
        scope,
        context: Arc::new(context),
        is_debug,
    })
}
