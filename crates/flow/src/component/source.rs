//! Data sources: scripts that say what a configuration variable can be, for one user and with that user's connections.

use super::code::{Used, Var, checked, config_vars, connections, step_error};
use super::perform::Performer;
use super::{IdempotencyKey, StepError};
use crate::expression::{ExpressionError, Resolved, Scope, Setting, resolve};
use crate::js::{Part, RunRequest, UserKey, exact_json};
use crate::outbound::Count;
use crate::payload::FlowContext;
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::{ActionRef, DataType, Input};
use perseat_domain::rate::Sender;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One run of a data source.
#[derive(Clone, Copy, Debug)]
pub struct SourceCall<'a> {
    /// Which.
    pub source: &'a ActionRef,
    /// Its inputs as the definition has them.
    pub inputs: &'a BTreeMap<String, Input>,
    /// The configuration that it sees: whoever's page it fills, and nobody else's.
    pub scope: &'a Scope,
    /// For whom; where there is no user, for the customer.
    pub owner: UserKey,
    /// Names of the customer, the instance and the user.
    pub context: &'a Arc<FlowContext>,
    /// Names its requests to third parties.
    pub key: &'a IdempotencyKey,
    /// When it is given up.
    pub deadline: Instant,
    /// The largest result, as JSON.
    pub max_result: usize,
}

/// The kind of variable that a data source of the component `code` fills.
#[must_use]
pub fn source_type(source: &str) -> Option<DataType> {
    Some(match source {
        "runCodeBoolean" => DataType::Boolean,
        "runCodeCode" => DataType::Code,
        "runCodeDate" => DataType::Date,
        "runCodeJsonForm" => DataType::JsonForm,
        "runCodeNumber" => DataType::Number,
        "runCodeObjectFieldMap" => DataType::ObjectFieldMap,
        "runCodeObjectSelection" => DataType::ObjectSelection,
        "runCodePicklist" => DataType::Picklist,
        "runCodeSchedule" => DataType::Schedule,
        "runCodeString" => DataType::String,
        "runCodeTimestamp" => DataType::Timestamp,
        _ => return None,
    })
}

/// What a script gets beside names.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Given<'s> {
    config_vars: BTreeMap<&'s str, Var<'s>>,
    inputs: BTreeMap<&'s str, Var<'s>>,
}

impl Performer {
    /// Runs a data source and gives its result. Never blocks the thread, and ends soon after the deadline; dropping the
    /// future gives it up. What it logs is left out.
    ///
    /// # Errors
    /// What a script says may hold anything: the caller masks a message before it keeps it.
    pub async fn offer(&self, call: SourceCall<'_>) -> Result<Value, StepError> {
        if call.source.component != "code" || source_type(&call.source.action).is_none() {
            let ActionRef { component, action } = call.source;
            return Err(super::bad(format!(
                "there is no data source `{action}` of a component `{component}`"
            )));
        }
        ready(call)?;
        let resolved = inputs(call)?;
        let Some(Resolved::Value(Value::String(script))) = resolved.get("code") else {
            return Err(super::bad("the input `code` is missing"));
        };
        let script: Arc<str> = Arc::from(script.as_str());
        let (js, outbound) = self.ways();
        let used = Used {
            connections: connections(call.scope).cloned().collect(),
            sender: Sender {
                customer: call.owner.customer,
                user: call.owner.user,
            },
            deadline: call.deadline,
        };
        let mut cpu = Duration::ZERO;
        let ended = used.run(js, outbound, &mut cpu, || request(call, &resolved, &script)).await?;
        let json = ended.outcome.map_err(|error| step_error(&error, ended.setback))?;
        if json.len() > call.max_result {
            let message = format!("the result has {} bytes, more than {}", json.len(), call.max_result);
            return Err(StepError::fatal(ErrorCode::ResultTooLarge, message));
        }
        checked(&json, self.json_depth())?;
        serde_json::from_str(&json).map_err(|error| StepError::fatal(ErrorCode::Internal, error.to_string()))
    }
}

/// Refuses a run whose inputs name a connection that cannot be used today.
fn ready(call: SourceCall<'_>) -> Result<(), StepError> {
    let named = call.inputs.values().filter_map(|input| match input {
        Input::ConfigVar(key) => Some(key),
        _ => None,
    });
    for key in named {
        if let Some(Setting::Connection(connection)) = call.scope.setting(key)
            && connection.obstacle.is_some()
        {
            let message = format!("the connection `{key}` cannot be used now");
            return Err(StepError::fatal(ErrorCode::ConnectionNotReady, message));
        }
    }
    Ok(())
}

/// The inputs; null where a variable that one names has no value.
fn inputs(call: SourceCall<'_>) -> Result<BTreeMap<String, Resolved>, StepError> {
    let resolved = call.inputs.iter().map(|(name, input)| match resolve(input, call.scope) {
        Ok(resolved) => Ok((name.clone(), resolved)),
        Err(ExpressionError::ConfigVarNotFound(_)) => Ok((name.clone(), Resolved::Value(Value::Null))),
        Err(error) => Err(StepError::fatal(ErrorCode::ExpressionInvalid, format!("input `{name}`: {error}"))),
    });
    resolved.collect()
}

fn request(call: SourceCall<'_>, resolved: &BTreeMap<String, Resolved>, script: &Arc<str>) -> Result<RunRequest, StepError> {
    let inputs = resolved.iter().filter(|(name, _)| *name != "code").map(|(name, resolved)| {
        let value = match (resolved, call.inputs.get(name)) {
            (Resolved::Value(value), _) => Var::Plain(value),
            (Resolved::Connection(connection), Some(Input::ConfigVar(key))) => Var::connection(key, connection),
            (Resolved::Connection(connection), _) => Var::connection(&connection.variable, connection),
        };
        (name.as_str(), value)
    });
    let given = Given {
        inputs: inputs.collect(),
        config_vars: config_vars(call.scope),
    };
    Ok(RunRequest {
        owner: call.owner,
        key: call.key.clone(),
        script: Arc::clone(script),
        part: Part::Source,
        context: Arc::clone(call.context),
        config: exact_json(&given).map_err(|error| StepError::fatal(ErrorCode::Internal, error.to_string()))?,
        results: Vec::new(),
        count: Count::default(),
        deadline: call.deadline,
    })
}
