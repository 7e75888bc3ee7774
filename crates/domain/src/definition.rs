//! An integration's definition as parsed from its YAML and checked: what a version *is*.
//!
//! The parser lives in `perseat-flow`; these are the trusted results. Names of fields follow the YAML.

use crate::id::FlowNumber;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Which URLs an integration has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointType {
    /// One URL per flow per instance, and per user under ULC.
    #[default]
    FlowSpecific,
    /// One URL per instance.
    InstanceSpecific,
    /// One URL per integration.
    SharedInstance,
}

/// Who must show an API key to a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointSecurity {
    /// Nobody.
    Unsecured,
    /// Callers, if the customer set keys.
    #[default]
    CustomerOptional,
    /// Callers; the customer must set keys.
    CustomerRequired,
    /// Callers, with a key from the definition.
    Organization,
}

/// Where in the request a routing value stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RoutingPath {
    /// A header, matched case-insensitively.
    Header(String),
    /// A query parameter.
    Query(String),
    /// The segments below `body.data` (`body.data.a.0.b` is `a`, `0`, `b`).
    Body(Vec<String>),
}

/// The three routing values of a routed endpoint; an unnamed one falls back on its header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RoutingFields {
    /// Names the flow.
    pub flow_name: Option<RoutingPath>,
    /// Names the customer (shared endpoints).
    pub customer: Option<RoutingPath>,
    /// Names the user (ULC).
    pub user: Option<RoutingPath>,
}

/// What fills an input. Text values follow the YAML: literals are strings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// A literal, or nothing.
    Value(Option<String>),
    /// The value of a configuration variable, by key.
    ConfigVar(String),
    /// A path into an earlier step's results.
    Reference(Reference),
    /// Text with references and configuration variables in it.
    Template(Vec<TemplatePart>),
    /// A list of inputs, each possibly named (`valuelist`, `keyvaluelist`, conditions).
    Complex(Vec<ComplexItem>),
}

impl Input {
    /// Adds the keys of the configuration variables that it names.
    pub fn variables(&self, names: &mut BTreeSet<String>) {
        fn of_items(items: &[ComplexItem], names: &mut BTreeSet<String>) {
            for item in items {
                match item {
                    ComplexItem::Operator(_) => {}
                    ComplexItem::List(items) => of_items(items, names),
                    ComplexItem::Input { name, input } => {
                        if let Some(name) = name {
                            name.variables(names);
                        }
                        input.variables(names);
                    }
                }
            }
        }
        match self {
            Self::Value(_) | Self::Reference(_) => {}
            Self::ConfigVar(key) => drop(names.insert(key.clone())),
            Self::Template(parts) => names.extend(parts.iter().filter_map(|part| match part {
                TemplatePart::ConfigVar(key) => Some(key.clone()),
                TemplatePart::Text(_) | TemplatePart::Reference(_) => None,
            })),
            Self::Complex(items) => of_items(items, names),
        }
    }
}

/// The name that references use for a step: words are what stands between characters that are no letters or
/// digits; all in lower case, every word but the first with a capital (`Get Thread's ID` → `getThreadSId`).
#[must_use]
pub fn reference_name(name: &str) -> String {
    let mut reference = String::with_capacity(name.len());
    for word in name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let lower = word.to_lowercase();
        let mut letters = lower.chars();
        match letters.next() {
            Some(first) if !reference.is_empty() => reference.extend(first.to_uppercase()),
            Some(first) => reference.push(first),
            None => {}
        }
        reference.push_str(letters.as_str());
    }
    reference
}

/// `<stepRef>.results[.path…]` or `<loopRef>.currentItem[.path…]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// The step's reference name, derived from its name.
    pub step: String,
    /// `results` or `currentItem`.
    pub root: String,
    /// The segments below the root; numeric ones index arrays.
    pub path: Vec<String>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TemplatePart {
    /// Plain text.
    Text(String),
    /// `{{$step.results.path}}`.
    Reference(Reference),
    /// `{{#Config Var Key}}`.
    ConfigVar(String),
}

/// One element of a complex input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ComplexItem {
    /// An input, with its name if it has one.
    Input {
        /// The key of a key-value pair or the branch of a condition; itself an input in some files.
        name: Option<Box<Input>>,
        /// The value.
        input: Input,
    },
    /// An operator word inside a condition (`and`, `equal`, …).
    Operator(String),
    /// A nested list inside a condition.
    List(Vec<ComplexItem>),
}

/// Which action of which component a step performs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ActionRef {
    /// The component's key, such as `http`.
    pub component: String,
    /// The action's key, such as `httpPost`.
    pub action: String,
}

/// What happens when a step fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepErrorPolicy {
    /// The execution ends.
    #[default]
    Fail,
    /// The step's result gets an `error` property and the flow goes on.
    Ignore,
    /// The step is tried again.
    Retry {
        /// Attempts after the first, 0–5.
        max_attempts: u8,
        /// Seconds between attempts, 0–60.
        delay_seconds: u16,
        /// Whether the delay doubles.
        exponential: bool,
        /// Whether the last failure is ignored.
        ignore_final: bool,
    },
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The display name.
    pub name: String,
    /// The name that references use (`camelCase`, design of the format).
    pub reference: String,
    /// What it performs.
    pub action: ActionRef,
    /// Inputs by name.
    pub inputs: BTreeMap<String, Input>,
    /// What happens when it fails.
    pub on_error: StepErrorPolicy,
    /// Branches, in order, of a branching step; the last may be `Else`.
    pub branches: Vec<Branch>,
    /// The body of a loop.
    pub body: Vec<Step>,
}

/// One arm of a branching step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// The branch's name.
    pub name: String,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// One flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Stable within the integration.
    pub number: FlowNumber,
    /// The name that routing uses.
    pub name: String,
    /// The key that survives renames.
    pub stable_key: String,
    /// Plain text.
    pub description: String,
    /// Whether callers wait for the result unless they say otherwise.
    pub is_synchronous: bool,
    /// Who must show an API key.
    pub security: EndpointSecurity,
    /// With [`EndpointSecurity::Organization`]: the accepted keys, as they stand in the YAML. Sealed before storage.
    pub organization_api_keys: Vec<String>,
    /// The trigger; always the first step of the YAML.
    pub trigger: Step,
    /// The steps after the trigger.
    pub steps: Vec<Step>,
    /// Why this flow cannot be deployed yet; empty when complete.
    pub missing: Vec<String>,
}

/// The kind of a configuration variable's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DataType {
    /// Text.
    String,
    /// A calendar date.
    Date,
    /// A point in time.
    Timestamp,
    /// One of a list.
    Picklist,
    /// A cron schedule.
    Schedule,
    /// Text in a language.
    Code,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// A selection of objects.
    ObjectSelection,
    /// A map of fields.
    ObjectFieldMap,
    /// A JSON form.
    JsonForm,
    /// A credential.
    Connection,
    /// Legacy credential.
    Credential,
}

/// Whether a plain variable holds one value or many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CollectionType {
    /// A list of values.
    ValueList,
    /// A list of pairs.
    KeyValueList,
}

/// One configuration variable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigVar {
    /// The display name; references use it.
    pub key: String,
    /// The identity over versions.
    pub stable_key: String,
    /// Plain text.
    pub description: String,
    /// The kind of its value.
    pub data_type: DataType,
    /// One value or many.
    pub collection: Option<CollectionType>,
    /// The choices of a picklist.
    pub pick_list: Vec<String>,
    /// The value where none was given, always text.
    pub default_value: Option<String>,
    /// Whether only the organization may set it.
    pub org_only: bool,
    /// Whether a value must be present before the configuration counts as complete.
    pub required: bool,
    /// Whether it stands on a user-level page: each user has their own value.
    pub user_level: bool,
    /// For connections: component and connection key (`http`, `apiKey`).
    pub connection: Option<ActionRef>,
    /// For connections that more than one configuration uses: the stable key of the shared one.
    pub shared: Option<String>,
    /// For connections: the inputs given in the definition.
    pub inputs: BTreeMap<String, Input>,
}

/// A page of the configuration wizard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigPage {
    /// The title.
    pub name: String,
    /// A line below it.
    pub tagline: String,
    /// Whether each user fills it in.
    pub user_level: bool,
    /// What stands on it, in order: (`configVar` | `htmlElement` | `jsonForm`, value).
    pub elements: Vec<(String, String)>,
}

/// One version of an integration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The name.
    pub name: String,
    /// Plain text.
    pub description: String,
    /// Which URLs it has.
    pub endpoint_type: EndpointType,
    /// Where routing values stand.
    pub routing: RoutingFields,
    /// All configuration variables, whatever their page.
    pub config_vars: Vec<ConfigVar>,
    /// The pages.
    pub pages: Vec<ConfigPage>,
    /// The flows.
    pub flows: Vec<Flow>,
    /// Warnings of the import, one per missing component and flow.
    pub warnings: Vec<String>,
}

impl Definition {
    /// Whether users have configurations of their own.
    #[must_use]
    pub fn is_user_level(&self) -> bool {
        self.pages.iter().any(|page| page.user_level)
    }

    /// Whether some flow cannot run yet.
    #[must_use]
    pub fn is_draft(&self) -> bool {
        self.flows.iter().any(|flow| !flow.missing.is_empty())
    }

    /// The variable of this key.
    #[must_use]
    pub fn config_var(&self, key: &str) -> Option<&ConfigVar> {
        self.config_vars.iter().find(|variable| variable.key == key)
    }

    /// The flow of this name.
    #[must_use]
    pub fn flow_named(&self, name: &str) -> Option<&Flow> {
        self.flows.iter().find(|flow| flow.name == name)
    }

    /// The flow of this number.
    #[must_use]
    pub fn flow(&self, number: FlowNumber) -> Option<&Flow> {
        self.flows.iter().find(|flow| flow.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::reference_name;

    #[test]
    fn reference_names_follow_the_words_of_the_step_name() {
        for (name, reference) in [
            ("Receive GitHub Events", "receiveGithubEvents"),
            ("Get Thread's Last Response ID", "getThreadSLastResponseId"),
            ("webhook", "webhook"),
            ("HTTP - POST", "httpPost"),
            ("2nd step", "2ndStep"),
            ("  Trigger  ", "trigger"),
            ("Étape deux", "étapeDeux"),
            ("camelCase", "camelcase"),
            ("!?", ""),
        ] {
            assert_eq!(reference_name(name), reference, "{name}");
        }
    }
}
