//! Manifests of small worlds: customers, their users, and integrations whose flows post to a provider.

use std::fmt::Write as _;

/// Customers and users by external id. Each user's token at the provider is [`token`].
pub(crate) fn people(customers: &[(&str, &[&str])]) -> String {
    let mut yaml = "kind: Organization\nname: Northwind\nulcEnabled: true\n".to_owned();
    for (customer, users) in customers {
        write!(yaml, "---\nkind: Customer\nname: {customer} Inc\nexternalId: {customer}\n").unwrap();
        for user in *users {
            write!(
                yaml,
                "---\nkind: CustomerUser\ncustomer: {customer}\nname: {user} of {customer}\nemail: {user}@{customer}.example\nexternalId: {user}\nrole: marketplace_user\n"
            )
            .unwrap();
        }
    }
    yaml + "---\n"
}

/// What the provider knows the user by.
pub(crate) fn token(customer: &str, user: &str) -> String {
    format!("token-of-{customer}-{user}")
}

/// An integration, given to customers as an instance of the same name, and configured by users.
#[derive(Clone, Debug)]
pub(crate) struct Integration<'a> {
    pub(crate) name: &'a str,
    /// `flow_specific`, `instance_specific` or `shared_instance`.
    pub(crate) endpoint_type: &'a str,
    /// Whether the account and the folder are each user's own; else the customer's.
    pub(crate) is_user_level: bool,
    /// Further top-level keys, such as `flowNameField`; each line ends.
    pub(crate) keys: &'a str,
    /// YAML list items of flows, as [`flow`] makes them.
    pub(crate) flows: String,
}

impl Integration<'_> {
    /// The manifest.
    pub(crate) fn manifest(&self) -> String {
        let level = self.is_user_level;
        let definition = format!(
            "definitionVersion: 7\nname: {}\nendpointType: {}\n{}requiredConfigVars:\n\
             \x20 - {{key: Provider, stableKey: provider, dataType: string}}\n\
             \x20 - {{key: Folder, stableKey: folder, dataType: string}}\n\
             \x20 - {{key: Account, stableKey: account, dataType: connection, connection: {{key: bearer, component: {{key: http, isPublic: true, version: LATEST}}}}, inputs: {{token: {{type: value, value: null}}}}}}\n\
             configPages:\n\
             \x20 - {{name: Company, elements: [{{type: configVar, value: Provider}}]}}\n\
             \x20 - {{name: Account, userLevelConfigured: {level}, elements: [{{type: configVar, value: Folder}}, {{type: configVar, value: Account}}]}}\n\
             flows:\n{}",
            self.name, self.endpoint_type, self.keys, self.flows
        );
        let indented: String = definition.lines().map(|line| format!("  {line}\n")).collect();
        format!("kind: Integration\ndefinition: |\n{indented}---\n")
    }

    /// The instance of a customer, enabled; `extra` are further keys of the manifest (`apiKeys`, `state`), each line ends.
    pub(crate) fn instance(&self, customer: &str, provider: &str, extra: &str) -> String {
        let mut yaml = format!(
            "kind: Instance\nname: {0}\ncustomer: {customer}\nintegration: {0}\n{extra}configVars:\n  Provider: \"{provider}\"\n",
            self.name
        );
        if !self.is_user_level {
            yaml += &account(customer, "everybody");
        }
        yaml + "---\n"
    }

    /// A user's configuration: their token and their folder.
    pub(crate) fn user(&self, customer: &str, user: &str) -> String {
        let head = format!(
            "kind: UserLevelConfig\ncustomer: {customer}\ninstance: {}\nuser: {user}\nconfigVars:\n",
            self.name
        );
        head + &account(customer, user) + "---\n"
    }
}

fn account(customer: &str, user: &str) -> String {
    format!(
        "  Folder: /{customer}/{user}\n  Account:\n    fields:\n      token: {}\n",
        token(customer, user)
    )
}

/// A flow that starts with a webhook trigger; `keys` are further keys of the flow, each line indented by four and ended.
pub(crate) fn flow(name: &str, keys: &str, steps: &[String]) -> String {
    let trigger = step("On Event", "webhook-triggers", "webhook", "");
    let trigger = trigger.replacen("      - ", "      - isTrigger: true\n        ", 1);
    format!("  - name: {name}\n{keys}    steps:\n{trigger}{}", steps.concat())
}

/// A step; `inputs` are lines indented by ten, each ended.
pub(crate) fn step(name: &str, component: &str, action: &str, inputs: &str) -> String {
    let inputs = if inputs.is_empty() {
        "        inputs: {}\n".to_owned()
    } else {
        format!("        inputs:\n{inputs}")
    };
    format!(
        "      - name: {name}\n        action: {{key: {action}, component: {{key: {component}, isPublic: true, version: LATEST}}}}\n{inputs}"
    )
}

/// Posts `reference` to `path` of the provider with the configured account.
pub(crate) fn post(name: &str, path: &str, reference: &str) -> String {
    step(
        name,
        "http",
        "httpPost",
        &format!(
            "          url: {{type: template, value: \"{{{{#Provider}}}}{path}\"}}\n          connection: {{type: configVar, value: Account}}\n          data: {{type: reference, value: {reference}}}\n"
        ),
    )
}

/// Runs a script (`module.exports = async (context, { onEvent }) => …`).
pub(crate) fn code(name: &str, script: &str) -> String {
    let lines: String = script.lines().map(|line| format!("              {line}\n")).collect();
    step(
        name,
        "code",
        "runCode",
        &format!("          code:\n            type: value\n            value: |\n{lines}"),
    )
}
