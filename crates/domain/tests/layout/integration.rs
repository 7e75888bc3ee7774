//! A version of an integration with a value in every field and every variant of every choice.

use super::{id, key};
use perseat_domain::definition::{
    ActionRef, Branch, CollectionType, ComplexItem, ConfigPage, ConfigVar, DataType, Definition, EndpointSecurity, EndpointType, Flow,
    Input, Reference, RoutingFields, RoutingPath, Step, StepErrorPolicy, TemplatePart,
};
use perseat_domain::id::{FlowNumber, IntegrationId};
use perseat_domain::model::{IntegrationVersion, Release, Sealed};
use perseat_domain::time::Timestamp;
use std::collections::BTreeMap;

pub(crate) fn everything_of_an_integration() -> IntegrationVersion {
    let reference = Reference {
        step: "onEvent".into(),
        root: "results".into(),
        path: vec!["body".into()],
    };
    let step = |on_error, inputs: Vec<(&str, Input)>| Step {
        name: "Send".into(),
        reference: "send".into(),
        action: ActionRef {
            component: "http".into(),
            action: "httpPost".into(),
        },
        inputs: inputs.into_iter().map(|(name, input)| (name.to_owned(), input)).collect(),
        on_error,
        branches: vec![],
        body: vec![],
    };
    let inputs = vec![
        ("a", Input::Value(Some("v".into()))),
        ("b", Input::ConfigVar("Key".into())),
        ("c", Input::Reference(reference.clone())),
        (
            "d",
            Input::Template(vec![
                TemplatePart::Text("t".into()),
                TemplatePart::Reference(reference),
                TemplatePart::ConfigVar("Key".into()),
            ]),
        ),
        (
            "e",
            Input::Complex(vec![
                ComplexItem::Input {
                    name: Some(Box::new(Input::Value(None))),
                    input: Input::Value(None),
                },
                ComplexItem::Operator("and".into()),
                ComplexItem::List(vec![]),
            ]),
        ),
    ];
    let retry = StepErrorPolicy::Retry {
        max_attempts: 5,
        delay_seconds: 300,
        exponential: true,
        ignore_final: false,
    };
    let branching = Step {
        branches: vec![Branch {
            name: "Else".into(),
            steps: vec![step(StepErrorPolicy::Ignore, vec![])],
        }],
        body: vec![step(StepErrorPolicy::Fail, vec![])],
        ..step(retry, inputs.clone())
    };
    let security = [
        EndpointSecurity::Unsecured,
        EndpointSecurity::CustomerOptional,
        EndpointSecurity::CustomerRequired,
        EndpointSecurity::Organization,
    ];
    let data_types = [
        DataType::String,
        DataType::Date,
        DataType::Timestamp,
        DataType::Picklist,
        DataType::Schedule,
        DataType::Code,
        DataType::Boolean,
        DataType::Number,
        DataType::ObjectSelection,
        DataType::ObjectFieldMap,
        DataType::JsonForm,
        DataType::Connection,
        DataType::Credential,
    ];
    let collections = [None, Some(CollectionType::ValueList), Some(CollectionType::KeyValueList)];
    IntegrationVersion {
        integration: IntegrationId(id(1)),
        version: 2,
        yaml: "name: x".into(),
        definition: Definition {
            name: "Files".into(),
            description: "d".into(),
            endpoint_type: EndpointType::SharedInstance,
            routing: RoutingFields {
                flow_name: Some(RoutingPath::Header("h".into())),
                customer: Some(RoutingPath::Query("q".into())),
                user: Some(RoutingPath::Body(vec!["a".into(), "0".into()])),
            },
            config_vars: data_types
                .into_iter()
                .zip(collections.into_iter().cycle())
                .map(|(data_type, collection)| ConfigVar {
                    key: "Key".into(),
                    stable_key: "key".into(),
                    description: "d".into(),
                    data_type,
                    collection,
                    pick_list: vec!["eu".into()],
                    default_value: Some("eu".into()),
                    org_only: true,
                    required: false,
                    user_level: true,
                    connection: Some(ActionRef {
                        component: "http".into(),
                        action: "bearer".into(),
                    }),
                    shared: Some("crm".into()),
                    inputs: inputs.iter().map(|(name, input)| ((*name).to_owned(), input.clone())).collect(),
                })
                .collect(),
            pages: vec![ConfigPage {
                name: "Page".into(),
                tagline: "t".into(),
                user_level: true,
                elements: vec![("configVar".into(), "Key".into())],
            }],
            flows: security
                .into_iter()
                .zip(1..)
                .map(|(security, number)| Flow {
                    number: FlowNumber(number),
                    name: "Import".into(),
                    stable_key: "import".into(),
                    description: "d".into(),
                    is_synchronous: true,
                    security,
                    organization_api_keys: vec!["k".into()],
                    trigger: step(StepErrorPolicy::Fail, vec![]),
                    steps: vec![branching.clone()],
                    missing: vec!["m".into()],
                })
                .collect(),
            warnings: vec!["w".into()],
        },
        organization_keys: BTreeMap::from([(FlowNumber(1), vec![key()])]),
        connection_secrets: BTreeMap::from([("key".into(), Sealed(vec![1, 2]))]),
        is_draft: true,
        release: Some(Release {
            at: Timestamp(9),
            by: "local:0".into(),
            comment: "c".into(),
            attributes: "{}".into(),
        }),
    }
}
