//! `docs/store-format.md` says of every stored value what its bytes are. Here its blocks read what the code writes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::{
    ActionRef, Branch, CollectionType, ComplexItem, ConfigPage, ConfigVar, DataType, Definition, EndpointSecurity, EndpointType, Flow,
    Input, Reference, RoutingFields, RoutingPath, Step, StepErrorPolicy, TemplatePart,
};
use perseat_domain::entry::{
    Accepted, Cancelled, Carried, EndStatus, Ended, Entry, LogLine, Origin, Started, StepRecord, StepStatus, StepsDone, SyncResponse,
    TriggerRequest,
};
use perseat_domain::id::{CustomerId, ExecutionId, FlowNumber, InstanceId, IntegrationId, OrganizationId, TokenId, UserConfigId, UserId};
use perseat_domain::identity::{BoundUser, Identity};
use perseat_domain::model::{
    ApiKey, ApiToken, ConfigValue, Customer, Instance, InstanceConfig, InstanceState, Integration, IntegrationSettings, IntegrationVersion,
    KeyDigest, Marketplace, Membership, Organization, Profile, Release, Role, Sealed, SigningKey, TokenHolder, User, UserConfig,
};
use perseat_domain::time::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What a block says a value is.
#[derive(Clone, Debug, PartialEq)]
enum Type {
    Byte,
    Varint,
    Bool,
    Text,
    Bytes,
    Id,
    Hash,
    Option(Box<Type>),
    List(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Tuple(Vec<Type>),
    Fields(Vec<(String, Type)>),
    OneOf(Vec<(String, Option<Type>)>),
    Named(String),
}

/// The types that the document defines.
struct Layout(BTreeMap<String, Type>);

/// The words of a block.
struct Words<'a>(std::iter::Peekable<std::vec::IntoIter<&'a str>>);

impl<'a> Words<'a> {
    fn of(block: &'a str) -> Self {
        let is_mark = |c: char| "{}(),:=".contains(c);
        let mut words = Vec::new();
        for mut rest in block.split_whitespace() {
            while let Some(at) = rest.find(is_mark) {
                words.extend((at > 0).then(|| &rest[..at]));
                words.push(&rest[at..=at]);
                rest = &rest[at + 1..];
            }
            words.extend((!rest.is_empty()).then_some(rest));
        }
        Self(words.into_iter().peekable())
    }

    fn next(&mut self) -> &'a str {
        self.0.next().unwrap()
    }

    fn takes(&mut self, word: &str) -> bool {
        self.0.next_if_eq(&word).is_some()
    }

    fn expect(&mut self, word: &str) {
        assert_eq!(self.next(), word);
    }

    fn of_type(&mut self) -> Type {
        let boxed = |words: &mut Self| Box::new(words.of_type());
        match self.next() {
            "u8" => Type::Byte,
            "u16" | "u32" | "u64" => Type::Varint,
            "bool" => Type::Bool,
            "text" => Type::Text,
            "bytes" => Type::Bytes,
            "id" => Type::Id,
            "hash" => Type::Hash,
            "option" => Type::Option(boxed(self)),
            "list" => Type::List(boxed(self)),
            "map" => Type::Map(boxed(self), boxed(self)),
            "(" => {
                let mut types = vec![self.of_type()];
                while self.takes(",") {
                    types.push(self.of_type());
                }
                self.expect(")");
                Type::Tuple(types)
            }
            "{" => {
                let mut fields = Vec::new();
                while !self.takes("}") {
                    let name = self.next().to_owned();
                    self.expect(":");
                    fields.push((name, self.of_type()));
                    let _ = self.takes(",");
                }
                Type::Fields(fields)
            }
            "one" => {
                self.expect("of");
                let mut variants = Vec::new();
                loop {
                    let name = self.next().to_owned();
                    // The next definition begins with a name and `=`.
                    let ends = self.0.peek().is_none_or(|word| *word == ",") || self.is_definition();
                    variants.push((name, (!ends).then(|| self.of_type())));
                    if !self.takes(",") {
                        return Type::OneOf(variants);
                    }
                }
            }
            name => Type::Named(name.to_owned()),
        }
    }

    fn is_definition(&self) -> bool {
        self.0.clone().nth(1) == Some("=")
    }
}

impl Layout {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/store-format.md");
        let text = std::fs::read_to_string(path).unwrap();
        let mut types = BTreeMap::new();
        for block in text.split("```layout\n").skip(1) {
            let mut words = Words::of(block.split("```").next().unwrap());
            while words.0.peek().is_some() {
                let name = words.next().to_owned();
                words.expect("=");
                let found = words.of_type();
                assert_eq!(types.insert(name.clone(), found), None, "{name} is there twice");
            }
        }
        Self(types)
    }

    /// Reads a value as the document says, in the form in which it would be JSON.
    fn value(&self, kind: &Type, bytes: &mut &[u8]) -> Value {
        match kind {
            Type::Byte => json!(take(bytes, 1)[0]),
            Type::Varint => json!(varint(bytes)),
            Type::Bool => json!([false, true][usize::from(take(bytes, 1)[0])]),
            Type::Text => json!(std::str::from_utf8(blob(bytes)).unwrap()),
            Type::Bytes => json!(blob(bytes)),
            Type::Id => json!(Uuid::from_slice(blob(bytes)).unwrap()),
            Type::Hash => json!(take(bytes, 32)),
            Type::Option(inner) => match take(bytes, 1)[0] {
                0 => Value::Null,
                1 => self.value(inner, bytes),
                other => panic!("{other} before an optional value"),
            },
            Type::List(inner) => (0..varint(bytes)).map(|_| self.value(inner, bytes)).collect(),
            Type::Map(key, inner) => {
                let pairs = (0..varint(bytes)).map(|_| {
                    let key = match self.value(key, bytes) {
                        Value::String(text) => text,
                        other => other.to_string(),
                    };
                    (key, self.value(inner, bytes))
                });
                Value::Object(pairs.collect())
            }
            Type::Tuple(types) => types.iter().map(|one| self.value(one, bytes)).collect(),
            Type::Fields(fields) => {
                let fields = fields.iter().map(|(name, one)| (name.clone(), self.value(one, bytes)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
            Type::OneOf(variants) => match &variants[usize::try_from(varint(bytes)).unwrap()] {
                (name, None) => json!(name),
                (name, Some(inner)) => json!({ name: self.value(inner, bytes) }),
            },
            Type::Named(name) => self.value(self.0.get(name).unwrap_or_else(|| panic!("no layout of {name}")), bytes),
        }
    }

    /// Holds the document to a value of this name, or of this type.
    #[track_caller]
    fn check(&self, name: &str, value: &impl Serialize, mut bytes: &[u8]) {
        let kind = Words::of(name).of_type();
        assert_eq!(self.value(&kind, &mut bytes), serde_json::to_value(value).unwrap(), "{name}");
        assert!(bytes.is_empty(), "{name}: {} bytes are left over", bytes.len());
    }

    #[track_caller]
    fn check_stored(&self, name: &str, value: &impl Serialize) {
        self.check(name, value, &postcard::to_stdvec(value).unwrap());
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

fn blob<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::try_from(varint(bytes)).unwrap();
    take(bytes, length)
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn sealed(text: &str) -> Sealed {
    Sealed(text.as_bytes().to_vec())
}

/// One entry of each kind, with a value in every field.
fn entries() -> Vec<(&'static str, Entry)> {
    let execution = ExecutionId(id(0x0192));
    let cancelled = Cancelled {
        execution,
        at: Timestamp(1_700_000_000_003),
        by: "local:0".into(),
    };
    vec![
        (
            "Accepted",
            Entry::from(Accepted {
                execution,
                identity: Some(Identity {
                    customer: CustomerId(id(1)),
                    instance: InstanceId(id(2)),
                    flow: FlowNumber(300),
                    user: Some(BoundUser {
                        user: UserId(id(3)),
                        config: UserConfigId(id(4)),
                    }),
                }),
                origin: Origin::Replay(ExecutionId(id(5))),
                received_at: Timestamp(1_700_000_000_000),
                dedupe_id: Some("d".into()),
                unique_request_id: None,
                catalog_revision: 7,
                sync_deadline: Some(Timestamp(1_700_000_030_000)),
                refusal: Some(ErrorCode::OrganizationUserNotAllowed),
                request: sealed("req"),
            }),
        ),
        (
            "Started",
            Entry::from(Started {
                execution,
                attempt: 1,
                activation: 2,
                deaths: 1,
                definition_version: 3,
                instance_revision: 4,
                user_revision: 200,
                at: Timestamp(1_700_000_000_001),
            }),
        ),
        (
            "StepsDone",
            Entry::from(StepsDone {
                execution,
                attempt: 1,
                steps: vec![StepRecord {
                    path: "2.b1.0".into(),
                    name: "Send".into(),
                    status: StepStatus::Failed,
                    started_at: Timestamp(5),
                    ended_at: Timestamp(6),
                    output: sealed("out"),
                    masks: vec![(1, 300)],
                    credentials: vec![("key".into(), 9)],
                    tries: 200,
                }],
                branches: vec![("2".into(), "Else".into())],
                logs: Some(sealed("log")),
                log_counts: vec![("info".into(), 2)],
            }),
        ),
        ("Cancelled", Entry::from(cancelled.clone())),
        (
            "Ended",
            Entry::from(Ended {
                execution,
                attempt: 1,
                status: EndStatus::Quarantined,
                code: Some(ErrorCode::ScriptFailed),
                failed_step: Some("Send".into()),
                message: Some(sealed("msg")),
                response: None,
                cost: (250, 3),
                at: Timestamp(1_700_000_000_004),
            }),
        ),
        (
            "Carried",
            Entry::from(Carried {
                execution,
                first: 1,
                entries: vec![Bytes::from(Entry::from(cancelled).encode())],
            }),
        ),
    ]
}

/// The fields of an entry, without what the enum adds.
fn fields(entry: &Entry) -> Value {
    match entry {
        Entry::Accepted(it) => json!(it),
        Entry::Started(it) => json!(it),
        Entry::StepsDone(it) => json!(it),
        Entry::Cancelled(it) => json!(it),
        Entry::Ended(it) => json!(it),
        Entry::Carried(it) => json!(it),
    }
}

#[test]
fn the_payloads_of_entries_are_what_the_document_says() {
    let layout = Layout::read();
    for ((name, entry), kind) in entries().into_iter().zip(1..) {
        let bytes = entry.encode();
        assert_eq!(bytes[..2], [1, kind], "{name}: format and kind");
        layout.check(name, &fields(&entry), &bytes[2..]);
    }
    layout.check_stored(
        "TriggerRequest",
        &TriggerRequest {
            method: "POST".into(),
            headers: vec![("a".into(), "b".into())],
            query: "q".into(),
            path_fragment: "p".into(),
            invoke_url: "u".into(),
            body: Bytes::from_static(b"body"),
            debug: true,
        },
    );
    layout.check_stored(
        "list LogLine",
        &vec![LogLine {
            at: Timestamp(1),
            level: "warn".into(),
            step: "Send".into(),
            message: "m".into(),
        }],
    );
    layout.check_stored(
        "SyncResponse",
        &SyncResponse {
            status: 201,
            content_type: "text/plain".into(),
            headers: vec![("a".into(), "b".into())],
            body: Bytes::from_static(b"body"),
        },
    );
}

/// What stands on disks today must be read by every later version.
#[test]
fn entries_written_before_are_read() {
    let entries = entries();
    assert_eq!(entries.len(), GOLDEN.len());
    for ((name, entry), stored) in entries.into_iter().zip(GOLDEN) {
        let hex: String = entry.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, stored, "{name} is written otherwise than before");
        let bytes: Vec<u8> = (0..stored.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&stored[at..at + 2], 16).unwrap())
            .collect();
        assert_eq!(Entry::decode(&bytes), Ok(entry), "{name}");
    }
}

const GOLDEN: [&str; 6] = [
    "010110000000000000000000000000000001920110000000000000000000000000000000011000000000000000000000000000000002ac02011000000000000000000000000000000003100000000000000000000000000000000402100000000000000000000000000000000580d095ffbc31010164000701b0ba97ffbc31012403726571",
    "010210000000000000000000000000000001920102010304c80181d095ffbc31",
    "01031000000000000000000000000000000192010106322e62312e300453656e64020506036f75740101ac0201036b657909c801013204456c736501036c6f670104696e666f02",
    "0104100000000000000000000000000000019283d095ffbc31076c6f63616c3a30",
    "0105100000000000000000000000000000019201030128010453656e6401036d736700fa010384d095ffbc31",
    "010610000000000000000000000000000001920101210104100000000000000000000000000000019283d095ffbc31076c6f63616c3a30",
];

fn everything_of_an_integration() -> IntegrationVersion {
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
        is_draft: true,
        release: Some(Release {
            at: Timestamp(9),
            by: "local:0".into(),
            comment: "c".into(),
            attributes: "{}".into(),
        }),
    }
}

fn key() -> ApiKey {
    ApiKey {
        digest: KeyDigest([200; 32]),
        sealed: sealed("key"),
    }
}

#[test]
fn catalog_records_are_what_the_document_says() {
    let layout = Layout::read();
    layout.check_stored(
        "Organization",
        &Organization {
            id: OrganizationId(id(1)),
            name: "Northwind".into(),
            ulc_enabled: true,
            signing_keys: vec![SigningKey {
                id: id(2),
                public_key: "p".into(),
                private_key_preview: "v".into(),
                issued_at: Timestamp(3),
                imported: false,
            }],
        },
    );
    layout.check_stored(
        "Customer",
        &Customer {
            id: CustomerId(id(1)),
            name: "Globex".into(),
            external_id: Some("globex".into()),
            description: "d".into(),
            labels: vec!["l".into()],
        },
    );
    let roles = [
        Role::Owner,
        Role::Admin,
        Role::Integrator,
        Role::Guest,
        Role::ThirdParty,
        Role::Member,
        Role::MarketplaceAdmin,
        Role::MarketplaceUser,
    ];
    for (role, membership) in roles.into_iter().zip(
        [Membership::Organization, Membership::Customer(CustomerId(id(1)))]
            .into_iter()
            .cycle(),
    ) {
        layout.check_stored(
            "User",
            &User {
                id: UserId(id(2)),
                membership,
                email: Some("jane@globex.example".into()),
                name: "Jane".into(),
                external_id: None,
                subject: Some("s".into()),
                subject_seen_at: Some(Timestamp(4)),
                role,
                profile: Profile {
                    phone: "1".into(),
                    dark_mode: true,
                    dark_mode_os_sync: false,
                },
            },
        );
    }
    let membership = Membership::Organization;
    let role = Role::Owner;
    for holder in [TokenHolder::Program { membership, role }, TokenHolder::User(UserId(id(1)))] {
        layout.check_stored(
            "ApiToken",
            &ApiToken {
                id: TokenId(id(1)),
                name: "CI".into(),
                holder,
                digest: KeyDigest([255; 32]),
                prefix: "p".into(),
                issued_at: Timestamp(1),
                expires_at: Some(Timestamp(2)),
                revoked_at: None,
            },
        );
    }
    for marketplace in [Marketplace::Hidden, Marketplace::Visible, Marketplace::Deployable] {
        layout.check_stored(
            "Integration",
            &Integration {
                id: IntegrationId(id(1)),
                name: "Files".into(),
                latest_version: 300,
                flow_numbers: BTreeMap::from([("import".into(), FlowNumber(1))]),
                withdrawn: BTreeSet::from([2]),
                settings: IntegrationSettings {
                    labels: vec!["l".into()],
                    customer: Some(CustomerId(id(2))),
                    marketplace,
                    overview: "o".into(),
                    allow_multiple_instances: true,
                    debug: false,
                },
            },
        );
    }
    layout.check_stored("IntegrationVersion", &everything_of_an_integration());
    let config = InstanceConfig {
        version: 2,
        values: BTreeMap::from([
            ("a".into(), ConfigValue::Plain("v".into())),
            (
                "b".into(),
                ConfigValue::Connection {
                    sealed: sealed("s"),
                    version: 3,
                },
            ),
        ]),
        api_keys: BTreeMap::from([(FlowNumber(1), vec![key()])]),
        flows: vec![FlowNumber(1)],
    };
    for state in [InstanceState::NotDeployed, InstanceState::Enabled, InstanceState::Disabled] {
        layout.check_stored(
            "Instance",
            &Instance {
                id: InstanceId(id(1)),
                name: "Files".into(),
                description: "d".into(),
                labels: vec!["l".into()],
                customer: CustomerId(id(2)),
                integration: IntegrationId(id(3)),
                state,
                config: config.clone(),
                deployed: Some(config.clone()),
                config_revision: 4,
                deployed_at: Some(Timestamp(5)),
            },
        );
    }
    layout.check_stored(
        "UserConfig",
        &UserConfig {
            id: UserConfigId(id(1)),
            instance: InstanceId(id(2)),
            user: UserId(id(3)),
            values: config.values,
            config_revision: 4,
            removed_at: Some(Timestamp(5)),
        },
    );
}

/// The words of an enum in the document, in order.
#[test]
fn the_document_lists_the_error_codes_and_ends_in_their_order() {
    let layout = Layout::read();
    let words = |name: &str| match &layout.0[name] {
        Type::OneOf(variants) => variants.iter().map(|(word, _)| word.clone()).collect::<Vec<_>>(),
        other => panic!("{name} is {other:?}"),
    };
    let codes: Vec<String> = ErrorCode::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(words("ErrorCode"), codes);
    for (index, status) in [
        EndStatus::Succeeded,
        EndStatus::Failed,
        EndStatus::Cancelled,
        EndStatus::Quarantined,
    ]
    .iter()
    .enumerate()
    {
        layout.check_stored("EndStatus", status);
        assert_eq!(postcard::to_stdvec(status).unwrap(), [u8::try_from(index).unwrap()]);
    }
}
