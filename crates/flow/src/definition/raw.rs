//! The format key by key, as people and the vendor's tools write it: `definitionVersion: 7`.
//!
//! These types decide what is read and what the published JSON Schema says. They accept every form seen in the
//! wild and check nothing beyond types and words; the rules stand in the modules that turn them into a definition.

use super::Code;
use super::document::{Content, Node};
use super::read::{Anything, Count, Flag, Located, Named, Read, Text, raw};
use super::report::{Report, Spot};
use super::visibility::Meta;
use super::words::{
    CodeWord, CollectionWord, DataTypeWord, ElementWord, EndpointWord, HandlerWord, InputWord, MissingWord, OnPremiseWord, QueueWord,
    ScheduleWord, SecurityWord, SourceWord,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

raw! {
    /// An integration: its flows, what customers and users configure, and where requests arrive.
    Integration {
        /// The version of the format: 7.
        definition_version: required Count = "definitionVersion",
        /// Set by code-native projects.
        is_code_native: optional Flag = "isCodeNative",
        /// The integration's name.
        name: required Text = "name",
        /// What it does, in a sentence.
        description: optional Text = "description",
        /// The marketplace category.
        category: optional Text = "category",
        /// Documentation in Markdown.
        documentation: optional Text = "documentation",
        /// Labels.
        labels: optional Vec<Text> = "labels",
        /// The author's own version.
        version: optional Text = "version",
        /// The name of an instance profile.
        default_instance_profile: optional Text = "defaultInstanceProfile",
        /// Which URLs the integration has; `flow_specific` if left out.
        endpoint_type: optional Located<EndpointWord> = "endpointType",
        /// The flow that finds the routing values of a request.
        preprocess_flow: optional Text = "preprocessFlowName",
        /// Where a request names the flow.
        flow_name_field: optional FieldRef = "flowNameField",
        /// Where a request names the customer.
        customer_field: optional FieldRef = "externalCustomerIdField",
        /// Where a request names the user.
        user_field: optional FieldRef = "externalCustomerUserIdField",
        /// Every configuration variable, whatever page it stands on.
        config_vars: optional Vec<Variable> = "requiredConfigVars",
        /// The pages of the configuration wizard.
        pages: optional Vec<Page> = "configPages",
        /// The flows.
        flows: required Vec<Flow> = "flows",
        /// What was renamed since the last import.
        renames: optional Renames = "renameAttributes",
        /// Written by code-native projects.
        import_metadata: optional Anything = "importMetadata",
        /// Extensions.
        extensions: optional Anything = "x-perseat",
    }

    /// Renamed parts of an integration.
    Renames {
        /// Renamed configuration variables.
        config_vars: optional Vec<Rename> = "requiredConfigVars",
        /// Renamed flows.
        flows: optional Vec<Rename> = "flows",
    }

    /// One renamed thing.
    Rename {
        /// The name in the last import.
        old: required Text = "oldName",
        /// The name now.
        new: required Text = "newName",
    }

    /// A page of the configuration wizard.
    Page {
        /// The title.
        name: required Text = "name",
        /// A line below it.
        tagline: optional Text = "tagline",
        /// Whether each user fills it in for themselves.
        user_level: optional Flag = "userLevelConfigured",
        /// What stands on it, in order.
        elements: optional Vec<Element> = "elements",
    }

    /// One element of a page.
    Element {
        /// What it is.
        kind: required Located<ElementWord> = "type",
        /// The key of a configuration variable, or HTML.
        value: optional Text = "value",
    }

    /// A configuration variable.
    Variable {
        /// The name that inputs and pages use.
        key: required Text = "key",
        /// The identity over versions; the key if left out.
        stable_key: optional Text = "stableKey",
        /// What it is for.
        description: optional Text = "description",
        /// The kind of its value; `connection` if left out beside a connection.
        data_type: optional Located<DataTypeWord> = "dataType",
        /// Whether only the organization may set it.
        org_only: optional Flag = "orgOnly",
        /// The value where none was given, as text; collections as JSON text.
        default_value: optional Text = "defaultValue",
        /// Visibility and redirect addresses; older files spell the keys differently.
        meta: optional Meta = "meta",
        /// Deprecated.
        header: optional Anything = "header",
        /// The choices of a picklist.
        pick_list: optional Vec<Text> = "pickList",
        /// How a schedule is offered.
        schedule_type: optional Located<ScheduleWord> = "scheduleType",
        /// The time zone of a schedule.
        time_zone: optional Text = "timeZone",
        /// The language of code.
        code_language: optional Located<CodeWord> = "codeLanguage",
        /// Set where the variable holds many values.
        collection_type: optional Located<CollectionWord> = "collectionType",
        /// What fills the choices.
        data_source: optional Action = "dataSource",
        /// Inputs of the data source or connection.
        inputs: optional Named<Input> = "inputs",
        /// Which connection of which component.
        connection: optional Action = "connection",
        /// Whether the connection runs through an agent on the customer's premises.
        on_premise: optional Located<OnPremiseWord> = "onPremiseConnectionConfig",
        /// The stable key of a connection that stands outside the integration.
        scoped: optional Text = "useScopedConfigVar",
        /// Extensions.
        extensions: optional VariableExtensions = "x-perseat",
    }

    /// What Perseat adds to a configuration variable.
    VariableExtensions {
        /// Whether a value must be present before the configuration is complete.
        required: optional Flag = "required",
    }

    /// An action, trigger, connection or data source of a component.
    Action {
        /// Its key.
        key: required Text = "key",
        /// Its component.
        component: required Component = "component",
        /// The key of a connection template.
        template: optional Text = "template",
    }

    /// A component.
    Component {
        /// Its key.
        key: required Text = "key",
        /// Whether it is one of the vendor's own.
        is_public: optional Flag = "isPublic",
        /// `LATEST` or a number.
        version: optional Text = "version",
        /// The signature of an exact build, instead of a version.
        signature: optional Text = "signature",
    }

    /// A flow: a trigger and the steps after it.
    Flow {
        /// The name that routing uses.
        name: required Text = "name",
        /// The identity over versions; the name if left out.
        stable_key: optional Text = "stableKey",
        /// What it does.
        description: optional Text = "description",
        /// Whether callers wait for the result unless they say otherwise.
        is_synchronous: optional Flag = "isSynchronous",
        /// Whether agents may call it.
        is_agent_flow: optional Flag = "isAgentFlow",
        /// Who must show an API key; `customer_optional` if left out.
        security: optional Located<SecurityWord> = "endpointSecurityType",
        /// The keys, with `organization`. They are digested and removed on import.
        organization_keys: optional Vec<Text> = "organizationApiKeys",
        /// How a failed execution is tried again.
        retry: optional Retry = "retryConfig",
        /// How executions queue.
        queue: optional Queue = "queueConfig",
        /// How a trigger's result becomes many executions.
        resolver: optional Resolver = "triggerResolver",
        /// JSON Schemas of an agent flow.
        schemas: optional Anything = "schemas",
        /// Components that code-native projects bring along.
        supplemental: optional Anything = "supplementalComponents",
        /// Renamed steps.
        renames: optional StepRenames = "renameAttributes",
        /// The trigger, then the steps.
        steps: required Vec<Step> = "steps",
        /// Extensions.
        extensions: optional FlowExtensions = "x-perseat",
    }

    /// What Perseat adds to a flow.
    FlowExtensions {
        /// What becomes of events for a user who has no configuration.
        when_user_missing: optional Located<MissingWord> = "whenUserMissing",
    }

    /// Renamed steps.
    StepRenames {
        /// Each of them.
        steps: optional Vec<Rename> = "steps",
    }

    /// How a failed execution is tried again.
    Retry {
        /// Attempts after the first, 0 to 10.
        max_attempts: optional Count = "maxAttempts",
        /// Minutes between attempts, 0 to 60.
        delay_minutes: optional Count = "delayMinutes",
        /// Whether the delay doubles.
        exponential: optional Flag = "usesExponentialBackoff",
        /// Where the id stands by which newer requests cancel older attempts.
        unique_request: optional FieldRef = "uniqueRequestIdField",
    }

    /// How executions queue.
    Queue {
        /// The word for all of it.
        kind: optional Located<QueueWord> = "type",
        /// One after the other.
        fifo: optional Flag = "usesFifoQueue",
        /// Never two of a schedule.
        singleton: optional Flag = "singletonExecutions",
        /// At most so many at a time, 2 to 15.
        limit: optional Count = "concurrencyLimit",
        /// Where the id stands by which a repeated delivery is known.
        dedupe: optional FieldRef = "dedupeIdField",
    }

    /// How a trigger's result becomes many executions.
    Resolver {
        /// Whether it does.
        enabled: optional Flag = "enabled",
        /// Items of one execution.
        batch_size: optional Count = "batchSize",
        /// Batches at a time.
        batch_limit: optional Count = "concurrentBatchLimit",
        /// Whether a deploy starts one.
        initial_sync: optional Flag = "runInitialSyncOnDeploy",
    }

    /// A step. The first of a flow is its trigger.
    Step {
        /// The display name; references use a name derived from it.
        name: required Text = "name",
        /// The identity over versions.
        stable_key: optional Text = "stableKey",
        /// What it does.
        description: optional Text = "description",
        /// Whether it is the trigger.
        is_trigger: optional Flag = "isTrigger",
        /// What it performs.
        action: required Action = "action",
        /// Its inputs by name.
        inputs: optional Named<Input> = "inputs",
        /// When a scheduled trigger starts the flow.
        schedule: optional Schedule = "schedule",
        /// What happens when it fails.
        error_config: optional ErrorConfig = "errorConfig",
        /// The body of a loop.
        steps: optional Vec<Step> = "steps",
        /// The arms of a branching step.
        branches: optional Vec<Branch> = "branches",
    }

    /// One arm of a branching step.
    Branch {
        /// Its name; `Else` stands last.
        name: required Text = "name",
        /// Its steps.
        steps: optional Vec<Step> = "steps",
    }

    /// When a scheduled trigger starts the flow.
    Schedule {
        /// Whether the value is a cron expression or the key of a configuration variable.
        kind: required Located<SourceWord> = "type",
        /// Five cron fields, or the key.
        value: optional Text = "value",
        /// How it was made.
        meta: optional ScheduleMeta = "meta",
    }

    /// How a schedule was made.
    ScheduleMeta {
        /// The unit.
        kind: optional Located<ScheduleWord> = "scheduleType",
        /// The time zone; UTC if left out.
        time_zone: optional Text = "timeZone",
    }

    /// What happens when a step fails.
    ErrorConfig {
        /// `fail` if left out.
        handler: optional Located<HandlerWord> = "errorHandlerType",
        /// Attempts after the first, 0 to 5.
        max_attempts: optional Count = "maxAttempts",
        /// Seconds between attempts, 0 to 60.
        delay_seconds: optional Count = "delaySeconds",
        /// Whether the delay doubles.
        exponential: optional Flag = "usesExponentialBackoff",
        /// Whether the flow goes on after the last attempt.
        ignore_final: optional Flag = "ignoreFinalError",
    }

    /// What fills an input.
    Input {
        /// How the value is meant.
        kind: required Located<InputWord> = "type",
        /// The value.
        value: optional InputValue = "value",
        /// The key of a pair, or the branch of a condition.
        name: optional InputName = "name",
        /// Visibility of a connection's input.
        meta: optional Meta = "meta",
    }
}

/// What an input holds: text, or a list.
#[derive(Clone, Debug)]
pub(super) enum InputValue {
    /// Anything but `complex`.
    Text(Text),
    /// `complex`.
    List(Vec<Item>),
}

/// One element of a complex input.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// The operator of a condition.
    Word(Text),
    /// A condition within a condition.
    List(Vec<Self>, Spot),
    /// An input.
    Input(Box<Input>),
}

/// The name of an input in a list.
#[derive(Clone, Debug)]
pub(super) enum InputName {
    /// As it is.
    Text(Text),
    /// From somewhere else.
    Input(Box<Input>),
}

/// A path into the trigger's results: text in some files, an input in others.
#[derive(Clone, Debug)]
pub(super) struct FieldRef(pub(super) Text);

impl Read for InputValue {
    fn read(node: &Node, spot: &Spot, report: &mut Report) -> Option<Self> {
        match &*node.content {
            Content::Scalar { .. } => Text::read(node, spot, report).map(Self::Text),
            Content::List(_) => Vec::read(node, spot, report).map(Self::List),
            Content::Map(_) => {
                let message = "expected text or a list of inputs, found a mapping; JSON is written as text";
                report.problem(spot, Code::TypeMismatch, message);
                None
            }
        }
    }
}

impl Read for Item {
    fn read(node: &Node, spot: &Spot, report: &mut Report) -> Option<Self> {
        match &*node.content {
            Content::Scalar { .. } => Text::read(node, spot, report).map(Self::Word),
            Content::List(_) => Some(Self::List(Vec::read(node, spot, report)?, spot.clone())),
            Content::Map(_) => Input::read(node, spot, report).map(|input| Self::Input(Box::new(input))),
        }
    }
}

impl Read for InputName {
    fn read(node: &Node, spot: &Spot, report: &mut Report) -> Option<Self> {
        match &*node.content {
            Content::Map(_) => Input::read(node, spot, report).map(|input| Self::Input(Box::new(input))),
            _ => Text::read(node, spot, report).map(Self::Text),
        }
    }
}

impl Read for FieldRef {
    fn read(node: &Node, spot: &Spot, report: &mut Report) -> Option<Self> {
        if let Content::Scalar { .. } = &*node.content {
            return Text::read(node, spot, report).map(Self);
        }
        let input = Input::read(node, spot, report)?;
        match (input.kind.value, input.value) {
            (InputWord::Reference | InputWord::Value, Some(InputValue::Text(text))) => Some(Self(text)),
            (InputWord::Reference | InputWord::Value, None) => None,
            _ => {
                report.problem(spot, Code::TypeMismatch, "a field is a reference: `{type: reference, value: …}`");
                None
            }
        }
    }
}

macro_rules! any_of {
    ($type:ident, $name:literal, $generator:ident => $of:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                json_schema!({"anyOf": $of})
            }
        }
    };
}

any_of!(InputValue, "InputValue", generator => [generator.subschema_for::<Text>(), generator.subschema_for::<Vec<Item>>()]);
any_of!(Item, "InputItem", generator => [
    generator.subschema_for::<Input>(),
    generator.subschema_for::<Text>(),
    generator.subschema_for::<Vec<Self>>(),
]);
any_of!(InputName, "InputName", generator => [generator.subschema_for::<Text>(), generator.subschema_for::<Input>()]);
any_of!(FieldRef, "FieldReference", generator => [generator.subschema_for::<Text>(), generator.subschema_for::<Input>()]);
