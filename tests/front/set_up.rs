//! Writes manifests and integrations as text, so that a test shows only what matters to it.

const WEBHOOK: &str = "action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}";
/// The kind of a variable that holds a token.
pub(crate) const BEARER: &str = "dataType: connection, connection: {key: bearer, component: {key: http, isPublic: true, version: LATEST}}, inputs: {token: {type: value, value: null}}";

/// An integration whose users have a folder and an account of their own, or share the customer's.
#[derive(Clone, Debug)]
pub(crate) struct Integration {
    name: String,
    endpoint: &'static str,
    is_user_level: bool,
    fields: String,
    extra: Vec<(String, String)>,
    flows: String,
}

/// Starts an integration; `endpoint` is `flow_specific`, `instance_specific` or `shared_instance`.
pub(crate) fn integration(name: &str, endpoint: &'static str) -> Integration {
    Integration {
        name: name.to_owned(),
        endpoint,
        is_user_level: true,
        fields: String::new(),
        extra: Vec::new(),
        flows: String::new(),
    }
}

impl Integration {
    /// Without user level configuration.
    pub(crate) fn plain(mut self) -> Self {
        self.is_user_level = false;
        self
    }

    /// Reads a routing value from this path instead of its header.
    pub(crate) fn field(mut self, key: &str, path: &str) -> Self {
        self.fields.push_str(&format!("{key}: {{type: reference, value: {path}}}\n"));
        self
    }

    /// Another required user-level variable.
    pub(crate) fn variable(self, name: &str) -> Self {
        self.variable_of(name, "dataType: string")
    }

    /// Another user-level variable of this kind.
    pub(crate) fn variable_of(mut self, name: &str, kind: &str) -> Self {
        self.extra.push((name.to_owned(), kind.to_owned()));
        self
    }

    /// A flow with these steps (see [`step`]); `security` is the endpoint security and what belongs to it.
    pub(crate) fn flow(mut self, name: &str, is_synchronous: bool, security: &str, steps: &[String]) -> Self {
        let key = name.to_lowercase().replace(' ', "-");
        self.flows.push_str(&format!(
            "  - name: {name}\n    stableKey: {key}\n    isSynchronous: {is_synchronous}\n    {security}\n    steps:\n      - name: On Event\n        \
             stableKey: {key}-trigger\n        isTrigger: true\n        {WEBHOOK}\n        inputs: {{}}\n"
        ));
        for (index, step) in steps.iter().enumerate() {
            self.flows.push_str(&format!("      - stableKey: {key}-{index}\n{step}"));
        }
        self
    }

    /// A synchronous flow that answers with what it was given: the trigger payload, and its folder as a header.
    pub(crate) fn echo(self, name: &str, security: &str) -> Self {
        self.flow(name, true, security, &[answer_with("onEvent.results")])
    }

    /// The manifest.
    pub(crate) fn manifest(&self) -> String {
        let Self {
            name,
            endpoint,
            is_user_level,
            fields,
            extra,
            flows,
        } = self;
        let variable = |key: &str, kind: &str| format!("  - {{key: {key}, stableKey: {}, orgOnly: false, {kind}}}\n", key.to_lowercase());
        let string = |key: &str| variable(key, "dataType: string");
        let page = |keys: &[&str], is_user_level: bool| {
            let elements: Vec<String> = keys.iter().map(|key| format!("{{type: configVar, value: {key}}}")).collect();
            format!(
                "  - {{name: Page {is_user_level}, userLevelConfigured: {is_user_level}, elements: [{}]}}\n",
                elements.join(", ")
            )
        };
        let account = variable("Account", BEARER);
        let extra_variables: String = extra.iter().map(|(key, kind)| variable(key, kind)).collect();
        let mut own = vec!["Folder", "Account"];
        own.extend(extra.iter().map(|(key, _)| key.as_str()));
        let text = format!(
            "definitionVersion: 7\nname: {name}\nendpointType: {endpoint}\n{fields}requiredConfigVars:\n{}{}{account}{extra_variables}configPages:\n{}{}flows:\n{flows}",
            string("Provider"),
            string("Folder"),
            page(&["Provider"], false),
            page(&own, *is_user_level),
        );
        let indented: String = text.lines().map(|line| format!("  {line}\n")).collect();
        document("Integration", &format!("definition: |\n{indented}"))
    }
}

/// A step: its component and action, then its inputs and whatever else, one line each.
pub(crate) fn step(name: &str, component: &str, action: &str, inputs: &[(&str, String)], more: &str) -> String {
    let mut text = format!(
        "        name: {name}\n        action: {{key: {action}, component: {{key: {component}, isPublic: true, version: LATEST}}}}\n        inputs:\n"
    );
    for (input, value) in inputs {
        text.push_str(&format!("          {input}: {value}\n"));
    }
    if !more.is_empty() {
        text.push_str(&format!("        {more}\n"));
    }
    text
}

pub(crate) fn value(text: &str) -> String {
    serde_json::json!({ "type": "value", "value": text }).to_string()
}

pub(crate) fn reference(path: &str) -> String {
    serde_json::json!({ "type": "reference", "value": path }).to_string()
}

/// Ends the execution and answers with what stands there; the folder goes into a header.
pub(crate) fn answer_with(path: &str) -> String {
    let headers = r#"{type: complex, value: [{name: x-folder, type: configVar, value: Folder}]}"#;
    step(
        "Answer",
        "stop-execution",
        "stopExecution",
        &[("jsonBody", reference(path)), ("headers", headers.to_owned())],
        "",
    )
}

/// Posts to the provider with the account's token; `more` is the step's error policy.
pub(crate) fn post(name: &str, path: &str, more: &str) -> String {
    let url = serde_json::json!({ "type": "template", "value": format!("{{{{#Provider}}}}{path}") }).to_string();
    let connection = r#"{type: configVar, value: Account}"#.to_owned();
    step(
        name,
        "http",
        "httpPost",
        &[("url", url), ("connection", connection), ("data", value("{}"))],
        more,
    )
}

/// Runs a script.
pub(crate) fn code(name: &str, script: &str) -> String {
    step(name, "code", "runCode", &[("code", value(script))], "")
}

/// Who may have a configuration of what.
pub(crate) fn document(kind: &str, body: &str) -> String {
    format!("---\nkind: {kind}\n{body}\n")
}

pub(crate) fn organization(is_ulc_enabled: bool) -> String {
    document("Organization", &format!("name: Northwind\nulcEnabled: {is_ulc_enabled}"))
}

pub(crate) fn organization_user(external_id: &str) -> String {
    document(
        "OrganizationUser",
        &format!("name: {external_id} of the organization\nexternalId: {external_id}\nrole: integrator"),
    )
}

pub(crate) fn customer(external_id: &str) -> String {
    document("Customer", &format!("name: {external_id} inc\nexternalId: {external_id}"))
}

pub(crate) fn user(customer: &str, external_id: &str) -> String {
    let email = format!("{external_id}@{customer}.example");
    document(
        "CustomerUser",
        &format!(
            "customer: {customer}\nname: {external_id} of {customer}\nexternalId: {external_id}\nemail: {email}\nrole: marketplace_user"
        ),
    )
}

/// An instance named like its integration; `more` is state, keys and further variables.
pub(crate) fn instance(customer: &str, integration: &str, more: &str) -> String {
    instance_with(customer, integration, more, "Provider: http://127.0.0.1:9")
}

pub(crate) fn instance_with(customer: &str, integration: &str, more: &str, variables: &str) -> String {
    document(
        "Instance",
        &format!("name: {integration}\ncustomer: {customer}\nintegration: {integration}\n{more}\nconfigVars: {{{variables}}}"),
    )
}

/// A user's configuration: their folder, and a token that names them.
pub(crate) fn user_config(customer: &str, instance: &str, user: &str) -> String {
    user_config_with(customer, instance, user, &token_of(customer, user), "")
}

pub(crate) fn user_config_with(customer: &str, instance: &str, user: &str, token: &str, more: &str) -> String {
    let folder = format!("/{customer}/{}", user.replace("organization:", ""));
    document(
        "UserLevelConfig",
        &format!(
            "customer: {customer}\ninstance: {instance}\nuser: {user}\nconfigVars: {{Folder: {folder}, Account: {{fields: {{token: {token}}}}}{more}}}",
            user = serde_json::json!(user)
        ),
    )
}

/// The token that a user's account holds.
pub(crate) fn token_of(customer: &str, user: &str) -> String {
    format!("token-of-{user}-of-{customer}-4711")
}
