//! Which actions, triggers, connections and data sources are built in, and what they take.

use super::source::source_type;
use crate::definition::{Components, Inputs, Takes, is_secret_name};
use perseat_domain::definition::{ActionRef, DataType};
use perseat_domain::execution::Nature;

/// Whether anybody outside can notice that an action ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Its result depends on its inputs alone.
    Pure,
    /// It may send bytes.
    Outbound,
}

/// What kind of thing an entry of the registry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A flow's first step.
    Trigger,
    /// A step that gives data.
    Action,
    /// A step that chooses a branch.
    Branching,
    /// A step that ends the execution.
    Stop,
    /// A kind of credential.
    Connection,
    /// What fills a configuration variable.
    DataSource,
}

/// One built-in action, trigger, connection or data source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionSpec {
    /// The component's key.
    pub component: &'static str,
    /// The key within the component.
    pub key: &'static str,
    /// What it is.
    pub role: Role,
    /// Whether it may send bytes.
    pub effect: Effect,
    /// The names of its inputs; others are ignored with a warning on import.
    pub inputs: &'static [&'static str],
    /// Those of them that must be given.
    pub required: &'static [&'static str],
    /// Those of them that are connections.
    pub connections: &'static [&'static str],
    /// Those of a connection that are secret: they leave a definition before it is stored.
    pub secrets: &'static [&'static str],
}

const HTTP_READ: &[&str] = &[
    "url",
    "connection",
    "headers",
    "queryParams",
    "responseType",
    "timeout",
    "debugRequest",
    "retryDelayMS",
    "retryOnAllErrors",
    "maxRetries",
    "useExponentialBackoff",
    "ignoreSslErrors",
    "includeFullResponse",
];
const HTTP_WRITE: &[&str] = &[
    "url",
    "connection",
    "headers",
    "queryParams",
    "responseType",
    "timeout",
    "debugRequest",
    "retryDelayMS",
    "retryOnAllErrors",
    "maxRetries",
    "useExponentialBackoff",
    "ignoreSslErrors",
    "includeFullResponse",
    "data",
];
const HTTP_FORM: &[&str] = &[
    "url",
    "connection",
    "headers",
    "queryParams",
    "responseType",
    "timeout",
    "debugRequest",
    "retryDelayMS",
    "retryOnAllErrors",
    "maxRetries",
    "useExponentialBackoff",
    "ignoreSslErrors",
    "includeFullResponse",
    "data",
    "formData",
    "fileData",
    "fileDataFileNames",
];
const HTTP_ANY: &[&str] = &[
    "url",
    "connection",
    "headers",
    "queryParams",
    "responseType",
    "timeout",
    "debugRequest",
    "retryDelayMS",
    "retryOnAllErrors",
    "maxRetries",
    "useExponentialBackoff",
    "ignoreSslErrors",
    "includeFullResponse",
    "data",
    "formData",
    "fileData",
    "fileDataFileNames",
    "httpMethod",
    "method",
];
const URL: &[&str] = &["url"];
const OAUTH2: &[&str] = &[
    "authorizeUrl",
    "tokenUrl",
    "scopes",
    "clientId",
    "clientSecret",
    "headers",
    "refreshUrl",
    "revokeUrl",
    "pkceMethod",
    "clientAuthentication",
    "scopeSeparator",
    "tokenPath",
    "defaultExpiresIn",
    "refreshReuse",
    "authorizeParams",
    "tokenParams",
    "terminalErrors",
    "accountsUrl",
    "accountsPath",
    "accountIdField",
    "accountNameField",
    "accountBaseUrlField",
    "accountDefaultField",
    "accountChoice",
];
const OAUTH2_CREDENTIALS: &[&str] = &[
    "tokenUrl",
    "scopes",
    "clientId",
    "clientSecret",
    "headers",
    "revokeUrl",
    "clientAuthentication",
    "scopeSeparator",
    "tokenPath",
    "defaultExpiresIn",
    "tokenParams",
    "terminalErrors",
];
/// Headers and parameters of calls to the token endpoint may carry another proof of the registration.
const OAUTH2_SECRETS: &[&str] = &["clientSecret", "headers", "tokenParams"];

const fn entry(
    component: &'static str,
    key: &'static str,
    role: Role,
    effect: Effect,
    inputs: &'static [&'static str],
    required: &'static [&'static str],
) -> ActionSpec {
    ActionSpec {
        component,
        key,
        role,
        effect,
        inputs,
        required,
        connections: &[],
        secrets: &[],
    }
}

const fn http(key: &'static str, inputs: &'static [&'static str]) -> ActionSpec {
    ActionSpec {
        connections: &["connection"],
        ..entry("http", key, Role::Action, Effect::Outbound, inputs, URL)
    }
}

const fn webhook(component: &'static str) -> ActionSpec {
    let inputs = &["body", "contentType", "headers", "statusCode"];
    entry(component, "webhook", Role::Trigger, Effect::Pure, inputs, &[])
}

const fn credential(key: &'static str, inputs: &'static [&'static str], secrets: &'static [&'static str]) -> ActionSpec {
    ActionSpec {
        secrets,
        ..entry("http", key, Role::Connection, Effect::Pure, inputs, &[])
    }
}

const fn source(key: &'static str) -> ActionSpec {
    let inputs = &["code", "connection", "contextValue"];
    entry("code", key, Role::DataSource, Effect::Outbound, inputs, &["code"])
}

/// Every built-in action, trigger, connection and data source.
pub const ALL: &[ActionSpec] = &[
    webhook("webhook-triggers"),
    // Under this name in definitions that were written by hand.
    webhook("http"),
    http("httpGet", HTTP_READ),
    http("httpHead", HTTP_READ),
    http("httpOptions", HTTP_READ),
    http("httpDelete", HTTP_WRITE),
    http("httpPost", HTTP_WRITE),
    http("httpPut", HTTP_WRITE),
    http("httpPatch", HTTP_WRITE),
    http("httpPostFormData", HTTP_FORM),
    http("httpRequest", HTTP_ANY),
    credential("apiKey", &["apiKey", "headerName", "queryParam", "prefix"], &["apiKey"]),
    credential("basic", &["username", "password"], &["password"]),
    credential("bearer", &["token"], &["token"]),
    credential("mutualTls", &["certificate", "privateKey", "caCertificate"], &["privateKey"]),
    credential("oauth2", OAUTH2, OAUTH2_SECRETS),
    credential("oauth2ClientCredentials", OAUTH2_CREDENTIALS, OAUTH2_SECRETS),
    entry(
        "branch",
        "branchOnExpression",
        Role::Branching,
        Effect::Pure,
        &["conditions"],
        &["conditions"],
    ),
    entry(
        "branch",
        "branchOnValue",
        Role::Branching,
        Effect::Pure,
        &["inputValue", "branchValueMappings"],
        &["inputValue", "branchValueMappings"],
    ),
    entry("code", "runCode", Role::Action, Effect::Outbound, &["code"], &["code"]),
    source("runCodeBoolean"),
    source("runCodeCode"),
    source("runCodeDate"),
    source("runCodeJsonForm"),
    source("runCodeNumber"),
    source("runCodeObjectFieldMap"),
    source("runCodeObjectSelection"),
    source("runCodePicklist"),
    source("runCodeSchedule"),
    source("runCodeString"),
    source("runCodeTimestamp"),
    entry("log", "writeLog", Role::Action, Effect::Pure, &["level", "message"], &["message"]),
    entry(
        "stop-execution",
        "stopExecution",
        Role::Stop,
        Effect::Pure,
        &["contentType", "headers", "jsonBody", "statusCode"],
        &[],
    ),
];

/// Whether a step can have this: triggers, connections and data sources are not actions.
const fn is_action(role: Role) -> bool {
    !matches!(role, Role::Trigger | Role::Connection | Role::DataSource)
}

/// The entry of an action that a step names.
#[must_use]
pub fn spec(action: &ActionRef) -> Option<&'static ActionSpec> {
    ALL.iter()
        .filter(|entry| is_action(entry.role))
        .find(|entry| entry.component == action.component && entry.key == action.action)
}

/// What an action makes of a step. An unknown action cannot run, so it counts as pure.
#[must_use]
pub fn nature_of(action: &ActionRef) -> Nature {
    let spec = spec(action);
    Nature {
        is_outbound: spec.is_some_and(|entry| entry.effect == Effect::Outbound),
        is_stop: spec.is_some_and(|entry| entry.role == Role::Stop),
    }
}

/// Answers the definition parser from [`ALL`].
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltIn;

impl BuiltIn {
    fn find(component: &str, key: &str, role: impl Fn(Role) -> bool) -> Option<Takes> {
        let found = ALL
            .iter()
            .find(|entry| entry.component == component && entry.key == key && role(entry.role));
        found.map(|entry| Takes {
            inputs: Inputs::Named(entry.inputs),
            required: entry.required,
            connections: entry.connections,
        })
    }

    fn inputs(component: &str, key: &str, role: Role) -> Option<Inputs> {
        Self::find(component, key, |other| other == role).map(|takes| takes.inputs)
    }
}

impl Components for BuiltIn {
    fn component(&self, component: &str) -> bool {
        ALL.iter().any(|entry| entry.component == component)
    }

    fn trigger(&self, component: &str, trigger: &str) -> Option<Inputs> {
        Self::inputs(component, trigger, Role::Trigger)
    }

    fn action(&self, component: &str, action: &str) -> Option<Takes> {
        Self::find(component, action, is_action)
    }

    fn connection(&self, component: &str, connection: &str) -> Option<Inputs> {
        Self::inputs(component, connection, Role::Connection)
    }

    fn data_source(&self, component: &str, source: &str) -> Option<(DataType, Inputs)> {
        let found = Self::inputs(component, source, Role::DataSource)?;
        Some((source_type(source)?, found))
    }

    fn is_secret(&self, component: &str, connection: &str, input: &str) -> bool {
        let mut kinds = ALL.iter().filter(|entry| entry.role == Role::Connection);
        match kinds.find(|entry| entry.component == component && entry.key == connection) {
            Some(kind) if kind.inputs.contains(&input) => kind.secrets.contains(&input),
            _ => is_secret_name(input),
        }
    }
}
