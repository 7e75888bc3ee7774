//! `code/runCode`: hands a script what it may see and takes its data.

use super::inputs::Inputs;
use super::perform::sender_of;
use super::{StepCall, StepError, StepReport};
use crate::expression::{Connection, Results, Scope, Setting};
use crate::http;
use crate::js::{Calls, JsPool, Part, RunError, RunReport, RunRequest, Setback, UserKey, exact_json};
use crate::outbound::OutboundClient;
use crate::payload::json::{self, NotJson};
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::Input;
use perseat_domain::rate::Sender;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

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
    let used = Used {
        connections: connections(call.scope).cloned().collect(),
        sender: sender_of(call.identity),
        deadline: call.deadline,
    };
    let versions = used.connections.iter();
    report
        .credentials
        .extend(versions.map(|connection| (connection.variable.clone(), connection.version)));
    let ended = used.run(js, outbound, &mut report.cpu, || request(call, script.clone())).await?;
    report.logs = ended.logs;
    let json = ended.outcome.map_err(|error| step_error(&error, ended.setback))?;
    checked(&json, json_depth)?;
    Ok(Results::of_json(json.into()))
}

/// The child may have been taken over by its script, so what it says is JSON is checked, within bounds.
pub(super) fn checked(json: &str, json_depth: usize) -> Result<(), StepError> {
    json::check(json.as_bytes(), json_depth).map_err(|found| {
        let message = match found {
            NotJson::TooDeep => format!("the result nests deeper than {json_depth} levels"),
            NotJson::Malformed => "the result is not JSON, or holds a number that is out of range".to_owned(),
        };
        StepError::fatal(ErrorCode::ScriptFailed, message)
    })
}

/// What a script may use, on whose behalf, and until when.
pub(super) struct Used {
    pub(super) connections: Vec<Arc<Connection>>,
    pub(super) sender: Sender,
    pub(super) deadline: Instant,
}

impl Used {
    /// Runs a script to its end; anew where its first request has to wait, unless the script was told so and ended well.
    pub(super) async fn run(
        &self,
        js: &JsPool,
        outbound: &OutboundClient,
        cpu: &mut Duration,
        request: impl Fn() -> Result<RunRequest, StepError>,
    ) -> Result<RunReport, StepError> {
        let mut turn = None;
        let mut beginnings = 0;
        loop {
            let calls = Calls {
                connections: self.connections.clone(),
                turn: turn.take(),
            };
            let ended = js.run_with(request()?, calls).await;
            *cpu += ended.cpu;
            let held = ended.held.as_ref().filter(|held| held.unawaited || ended.outcome.is_err());
            let Some(held) = held else { return Ok(ended) };
            beginnings += 1;
            if beginnings == BEGINNINGS {
                let message = "the first request has to wait, and is another one each time that the code begins anew";
                return Err(StepError::passing(ErrorCode::OutboundRateLimited, message));
            }
            let came = held.turn(outbound, self.sender, self.deadline).await;
            turn = Some(came.map_err(|error| http::step_error(&error))?);
        }
    }
}

fn request(call: &StepCall<'_>, script: Arc<str>) -> Result<RunRequest, StepError> {
    let internal = |error: serde_json::Error| StepError::fatal(ErrorCode::Internal, error.to_string());
    let config = exact_json(&config_vars(call.scope)).map_err(internal)?;
    let results = call.scope.results();
    let through = super::lack::only_named(call.step, call.scope).map(|connection| connection.through());
    Ok(RunRequest {
        owner: UserKey {
            customer: call.identity.customer,
            user: call.identity.user.map(|bound| bound.user),
        },
        key: call.key.clone(),
        script,
        part: Part::Step,
        context: Arc::clone(call.context),
        config,
        results: results.map(|(name, results)| (name.to_owned(), Arc::clone(results))).collect(),
        count: call.meter.through(through.unwrap_or_default()),
        deadline: call.deadline,
    })
}

/// `setback`: why a request of it failed, if that passes.
pub(super) fn step_error(error: &RunError, setback: Option<Setback>) -> StepError {
    let code = match (error, setback) {
        (RunError::Threw(_), Some(Setback::KeptBack)) => return StepError::passing(ErrorCode::OutboundRateLimited, error.to_string()),
        (RunError::Threw(_), Some(Setback::Unanswered)) => return StepError::passing(ErrorCode::ScriptFailed, error.to_string()),
        (RunError::TimedOut | RunError::NoChild, _) => ErrorCode::StepTimeout,
        (RunError::ResultTooLarge, _) => ErrorCode::ResultTooLarge,
        _ => ErrorCode::ScriptFailed,
    };
    let passes = matches!(
        error,
        RunError::TimedOut | RunError::NoChild | RunError::Killed | RunError::Busy | RunError::Closed
    );
    StepError {
        is_retryable: passes,
        ..StepError::fatal(code, error.to_string())
    }
}

pub(super) fn connections(scope: &Scope) -> impl Iterator<Item = &Arc<Connection>> {
    scope.settings().values().filter_map(|setting| match setting {
        Setting::Connection(connection) => Some(connection),
        Setting::Plain(_) => None,
    })
}

/// `context.configVars`: values by key. They are written from where they stand; a copy would not be zeroed.
pub(super) fn config_vars(scope: &Scope) -> BTreeMap<&str, Var<'_>> {
    let mut vars = BTreeMap::new();
    for (key, setting) in scope.settings().iter() {
        let value = match setting {
            Setting::Plain(value) => Var::Plain(value),
            Setting::Connection(connection) => Var::connection(key, connection),
        };
        vars.insert(key, value);
    }
    vars
}

/// One variable as a script has it.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Var<'s> {
    Plain(&'s Value),
    #[serde(rename_all = "camelCase")]
    Connection {
        key: &'s str,
        config_var_key: &'s str,
        fields: &'s BTreeMap<String, String>,
        token: Option<Kept<'s>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        account: Option<&'s Value>,
    },
}

impl<'s> Var<'s> {
    pub(super) fn connection(key: &'s str, connection: &'s Connection) -> Self {
        Self::Connection {
            key: &connection.kind.action,
            config_var_key: key,
            fields: &connection.value.fields,
            token: connection.value.token.as_ref().map(Kept),
            account: connection.chosen(),
        }
    }
}

/// A token answer without its refresh tokens: a script that held one could outlive the user's consent, and spending it would
/// break the connection.
pub(super) struct Kept<'s>(&'s Value);

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
    use perseat_domain::reach::ProviderAccount;
    use serde_json::json;

    #[test]
    fn what_a_script_throws_passes_where_the_setback_of_its_request_does() {
        let thrown = |setback| {
            let error = step_error(&RunError::Threw("fetch: …".into()), setback);
            (error.code, error.is_retryable)
        };
        assert_eq!(thrown(None), (ErrorCode::ScriptFailed, false));
        assert_eq!(thrown(Some(Setback::Unanswered)), (ErrorCode::ScriptFailed, true));
        assert_eq!(thrown(Some(Setback::KeptBack)), (ErrorCode::OutboundRateLimited, true));
    }

    #[test]
    fn a_script_gets_a_connection_without_its_refresh_tokens() {
        let token = json!({ "access_token": "a", "refresh_token": "r", "more": [{ "Refresh": 1, "scope": "s" }] });
        let account = ProviderAccount {
            id: "a-1".into(),
            name: "Acme".into(),
            base_url: None,
            is_default: false,
            counted_as: "00".into(),
        };
        let connection = Connection {
            account: Vec::new(),
            variable: "account".into(),
            kind: ActionRef {
                component: "http".into(),
                action: "oauth2".into(),
            },
            version: 3,
            registration: None,
            chosen: Some((&account).into()),
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
            json!({
                "key": "oauth2", "configVarKey": "Account", "fields": { "clientId": "c" }, "token": token,
                "account": { "id": "a-1", "name": "Acme", "baseUrl": null },
            })
        );
    }
}
