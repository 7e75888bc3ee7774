//! The request as the steps of an execution see it.

use super::ExecutionEnv;
use super::binding::Binding;
use super::run::{Start, off_arbiter, rfc3339};
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::TriggerRequest;
use perseat_domain::execution::Past;
use perseat_domain::model::IntegrationVersion;
use perseat_domain::time::Timestamp;
use perseat_flow::expression::{Scope, Settings};
use perseat_flow::payload::{FlowContext, trigger_payload};
use perseat_store::seal::RecordKind;
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

/// Opens the request; or says why it cannot: the code and a sentence.
pub(super) fn request(start: &Start, binding: &Binding, past: &Past) -> Result<TriggerRequest, (ErrorCode, String)> {
    let opened = binding
        .key()
        .unseal(RecordKind::Request, start.execution.0.as_bytes(), &past.accepted.request);
    opened.ok().and_then(|plain| postcard::from_bytes(&plain).ok()).ok_or_else(|| {
        (
            ErrorCode::UserRemoved,
            "the request can no longer be read: its key was destroyed".to_owned(),
        )
    })
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
