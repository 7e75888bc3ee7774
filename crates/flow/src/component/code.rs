//! `code/runCode`: hands a script what it may see and takes its data.

use super::inputs::Inputs;
use super::perform::sender_of;
use super::{StepCall, StepError, StepReport};
use crate::expression::{Connection, Results, Setting};
use crate::http;
use crate::js::{Calls, JsPool, RunError, RunRequest, UserKey, exact_json};
use crate::outbound::OutboundClient;
use crate::payload::json;
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::Input;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often a run begins anew because the first request that it would send has to wait. No key: it takes a script that
/// asks somebody else each time to come to it.
const BEGINNINGS: u32 = 16;

pub(super) async fn perform(
    (js, outbound): (&JsPool, &OutboundClient),
    inputs: Inputs<'_>,
    call: &StepCall<'_>,
    json_depth: usize,
    report: &mut StepReport,
) -> Result<Results, StepError> {
    let script: Arc<str> = match call.step.inputs.get("code") {
        Some(Input::Value(Some(text))) => Arc::from(text.as_str()),
        _ => Arc::from(inputs.text("code")?),
    };
    let connections: Vec<Arc<Connection>> = connections(call).cloned().collect();
    let used = connections
        .iter()
        .map(|connection| (connection.variable.clone(), connection.version));
    report.credentials.extend(used);
    let mut turn = None;
    let mut beginnings = 0;
    let ended = loop {
        let run = request(call, script.clone())?;
        let calls = Calls {
            connections: connections.clone(),
            turn: turn.take(),
        };
        let ended = js.run_with(run, calls).await;
        report.cpu += ended.cpu;
        beginnings += 1;
        match ended.held {
            Some(held) if ended.outcome.is_err() && beginnings < BEGINNINGS => {
                let came = held.turn(outbound, sender_of(call.identity), call.deadline).await;
                turn = Some(came.map_err(|error| http::step_error(&error))?);
            }
            _ => break ended,
        }
    };
    report.logs = ended.logs;
    let json = ended.outcome.map_err(|error| step_error(&error, ended.is_limited))?;
    // The child may have been taken over by its script, so what it says is JSON is checked, within bounds.
    json::check(json.as_bytes(), json_depth).map_err(|_| {
        let message = format!("the result nests deeper than {json_depth} levels, or holds a number that is out of range");
        StepError::fatal(ErrorCode::ScriptFailed, message)
    })?;
    Ok(Results::of_json(json.into()))
}

fn request(call: &StepCall<'_>, script: Arc<str>) -> Result<RunRequest, StepError> {
    let internal = |error: serde_json::Error| StepError::fatal(ErrorCode::Internal, error.to_string());
    let config = exact_json(&config_vars(call)).map_err(internal)?;
    let results = call.scope.results();
    let through = super::lack::only_named(call.step, call.scope).map(|connection| connection.through());
    Ok(RunRequest {
        owner: UserKey {
            customer: call.identity.customer,
            user: call.identity.user.map(|bound| bound.user),
        },
        key: call.key.clone(),
        script,
        context: Arc::clone(call.context),
        config,
        results: results.map(|(name, results)| (name.to_owned(), Arc::clone(results))).collect(),
        count: call.meter.through(through.unwrap_or_default()),
        deadline: call.deadline,
    })
}

/// `is_limited`: a request of it was kept back by a provider's limits.
fn step_error(error: &RunError, is_limited: bool) -> StepError {
    let code = match error {
        RunError::Threw(_) if is_limited => return StepError::passing(ErrorCode::OutboundRateLimited, error.to_string()),
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

fn connections<'s>(call: &'s StepCall<'_>) -> impl Iterator<Item = &'s Arc<Connection>> {
    call.scope.settings().values().filter_map(|setting| match setting {
        Setting::Connection(connection) => Some(connection),
        Setting::Plain(_) => None,
    })
}

/// `context.configVars`: values by key. They are written from where they stand; a copy would not be zeroed.
fn config_vars<'s>(call: &'s StepCall<'_>) -> BTreeMap<&'s str, Var<'s>> {
    let mut vars = BTreeMap::new();
    for (key, setting) in call.scope.settings() {
        let value = match setting {
            Setting::Plain(value) => Var::Plain(value),
            Setting::Connection(connection) => Var::connection(key, connection),
        };
        vars.insert(key.as_str(), value);
    }
    vars
}

/// One variable as a script has it.
#[derive(Serialize)]
#[serde(untagged)]
enum Var<'s> {
    Plain(&'s Value),
    #[serde(rename_all = "camelCase")]
    Connection {
        key: &'s str,
        config_var_key: &'s str,
        fields: &'s BTreeMap<String, String>,
        token: Option<Kept<'s>>,
    },
}

impl<'s> Var<'s> {
    fn connection(key: &'s str, connection: &'s Connection) -> Self {
        Self::Connection {
            key: &connection.kind.action,
            config_var_key: key,
            fields: &connection.value.fields,
            token: connection.value.token.as_ref().map(Kept),
        }
    }
}

/// A token answer without its refresh tokens: a script that held one could outlive the user's consent, and spending it would
/// break the connection.
struct Kept<'s>(&'s Value);

impl Serialize for Kept<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(members) => {
                let kept = members.iter().filter(|(name, _)| !name.to_ascii_lowercase().contains("refresh"));
                serializer.collect_map(kept.map(|(name, value)| (name, Kept(value))))
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Kept)),
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::definition::ActionRef;
    use perseat_domain::model::ConnectionValue;
    use serde_json::json;

    #[test]
    fn a_script_gets_a_connection_without_its_refresh_tokens() {
        let token = json!({ "access_token": "a", "refresh_token": "r", "more": [{ "Refresh": 1, "scope": "s" }] });
        let connection = Connection {
            account: Vec::new(),
            variable: "account".into(),
            kind: ActionRef {
                component: "http".into(),
                action: "oauth2".into(),
            },
            version: 3,
            registration: None,
            obstacle: None,
            value: ConnectionValue {
                fields: [("clientId".to_owned(), "c".to_owned())].into(),
                token: Some(token),
            },
        };
        let json = exact_json(&Var::connection("Account", &connection)).unwrap();
        assert_eq!(json.capacity(), json.len(), "nothing was left behind by growing");
        let read: Value = serde_json::from_str(&json).unwrap();
        let token = json!({ "access_token": "a", "more": [{ "scope": "s" }] });
        assert_eq!(
            read,
            json!({ "key": "oauth2", "configVarKey": "Account", "fields": { "clientId": "c" }, "token": token })
        );
    }
}
