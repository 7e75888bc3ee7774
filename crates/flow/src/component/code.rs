//! `code/runCode`: hands a script what it may see and takes its data.

use super::inputs::Inputs;
use super::{StepCall, StepError, StepOutput, StepReport};
use crate::expression::{Connection, Setting};
use crate::js::{JsPool, RunError, RunRequest, UserKey};
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::Input;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use zeroize::Zeroizing;

pub(super) async fn perform(
    js: &JsPool,
    inputs: Inputs<'_>,
    call: &StepCall<'_>,
    report: &mut StepReport,
) -> Result<StepOutput, StepError> {
    let script: Arc<str> = match call.step.inputs.get("code") {
        Some(Input::Value(Some(text))) => Arc::from(text.as_str()),
        _ => Arc::from(inputs.text("code")?),
    };
    let config = Zeroizing::new(config_vars(call, report).to_string());
    let run = RunRequest {
        owner: UserKey {
            customer: call.identity.customer,
            user: call.identity.user.map(|bound| bound.user),
        },
        key: call.key.clone(),
        script,
        context: serde_json::to_string(&**call.context).map_err(|error| StepError::fatal(ErrorCode::Internal, error.to_string()))?,
        config,
        results: call
            .scope
            .results()
            .map(|(name, value)| (name.to_owned(), value.to_string()))
            .collect(),
        deadline: call.deadline,
    };
    let ended = js.run(run).await;
    report.cpu = ended.cpu;
    report.logs = ended.logs;
    let json = ended.outcome.map_err(|error| step_error(&error))?;
    // The child may have been taken over by its script, so what it says is JSON is parsed, within bounds.
    let limits = crate::payload::Limits::default();
    let value = crate::payload::parse_json(json.as_bytes(), limits).map_err(|_| {
        StepError::fatal(
            ErrorCode::ScriptFailed,
            format!("the result nests deeper than {} levels", limits.depth),
        )
    })?;
    Ok(StepOutput {
        value: Arc::new(value),
        json: json.into(),
    })
}

fn step_error(error: &RunError) -> StepError {
    let code = match error {
        RunError::TimedOut => ErrorCode::StepTimeout,
        RunError::ResultTooLarge => ErrorCode::ResultTooLarge,
        _ => ErrorCode::ScriptFailed,
    };
    let passes = matches!(error, RunError::TimedOut | RunError::Killed | RunError::Busy | RunError::Closed);
    StepError {
        is_retryable: passes,
        ..StepError::fatal(code, error.to_string())
    }
}

/// `context.configVars`: values by key; connections without their refresh tokens.
fn config_vars(call: &StepCall<'_>, report: &mut StepReport) -> Value {
    let mut vars = Map::new();
    for (key, setting) in call.scope.settings() {
        let value = match setting {
            Setting::Plain(value) => value.clone(),
            Setting::Connection(connection) => {
                report.credentials.push((connection.variable.clone(), connection.version));
                connection_value(key, connection)
            }
        };
        vars.insert(key.clone(), value);
    }
    Value::Object(vars)
}

fn connection_value(key: &str, connection: &Connection) -> Value {
    let mut token = connection.value.token.clone().unwrap_or(Value::Null);
    drop_refresh_tokens(&mut token);
    json!({ "key": connection.kind.action, "configVarKey": key, "fields": connection.value.fields, "token": token })
}

/// A script that held a refresh token could outlive the user's consent, and spending it would break the connection.
fn drop_refresh_tokens(token: &mut Value) {
    match token {
        Value::Object(members) => {
            members.retain(|name, _| !name.to_ascii_lowercase().contains("refresh"));
            members.values_mut().for_each(drop_refresh_tokens);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_refresh_tokens),
        _ => {}
    }
}
