//! `docs/store-format.md` says of every stored value what its bytes are. Here its blocks read what the code writes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod integration;
mod reader;

use bytes::Bytes;
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::ActionRef;
use perseat_domain::entry::{
    Accepted, Called, Calls, Cancelled, Carried, EndStatus, Ended, Entry, LogLine, Origin, Parked, Started, StepRecord, StepStatus,
    StepsDone, SyncResponse, TriggerRequest,
};
use perseat_domain::grant::Holder;
use perseat_domain::id::{
    CustomerId, ExecutionId, FlowNumber, InstanceId, IntegrationId, OrganizationId, RegistrationId, SharedConnectionId, SharedValueId,
    TokenId, UserConfigId, UserId,
};
use perseat_domain::identity::{BoundUser, Identity};
use perseat_domain::model::{
    ApiKey, ApiToken, ConfigValue, Customer, Instance, InstanceConfig, InstanceState, Integration, IntegrationSettings, KeyDigest,
    Marketplace, Membership, Organization, Profile, Role, Sealed, SigningKey, TokenHolder, User, UserConfig,
};
use perseat_domain::registration::AppRegistration;
use perseat_domain::sharing::{SharedConnection, SharedValue, Sharing};
use perseat_domain::time::Timestamp;
use perseat_domain::usage::Through;
use reader::{Layout, Type};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

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
        (
            "Parked",
            Entry::from(Parked {
                execution,
                at: Timestamp(1_700_000_000_006),
                since: Timestamp(1_700_000_000_005),
                connection: "account".into(),
            }),
        ),
        (
            "Called",
            Entry::from(Called {
                execution,
                at: Timestamp(1_700_000_000_002),
                calls: vec![Calls {
                    through: Through {
                        connection: "account".into(),
                        registration: Some(RegistrationId(id(6))),
                        account: Some("a-1".into()),
                    },
                    is_first: true,
                    count: 3,
                    sent: 300,
                    received: 70_000,
                }],
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
        Entry::Parked(it) => json!(it),
        Entry::Called(it) => json!(it),
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

const GOLDEN: [&str; 8] = [
    "010110000000000000000000000000000001920110000000000000000000000000000000011000000000000000000000000000000002ac02011000000000000000000000000000000003100000000000000000000000000000000402100000000000000000000000000000000580d095ffbc31010164000701b0ba97ffbc31012403726571",
    "010210000000000000000000000000000001920102010304c80181d095ffbc31",
    "01031000000000000000000000000000000192010106322e62312e300453656e64020506036f75740101ac0201036b657909c801013204456c736501036c6f670104696e666f02",
    "0104100000000000000000000000000000019283d095ffbc31076c6f63616c3a30",
    "0105100000000000000000000000000000019201030128010453656e6401036d736700fa010384d095ffbc31",
    "010610000000000000000000000000000001920101210104100000000000000000000000000000019283d095ffbc31076c6f63616c3a30",
    "0107100000000000000000000000000000019286d095ffbc3185d095ffbc31076163636f756e74",
    "0108100000000000000000000000000000019282d095ffbc3101076163636f756e740110000000000000000000000000000000060103612d310103ac02f0a204",
];

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
                labels: vec!["eu".into()],
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
                test_values: BTreeMap::from([("t".into(), ConfigValue::Plain("v".into()))]),
            },
        );
    }
    layout.check_stored("IntegrationVersion", &integration::everything_of_an_integration());
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
                registrations: vec![AppRegistration {
                    id: RegistrationId(id(6)),
                    connection: "account".into(),
                    name: "Europe".into(),
                    client_id: "c".into(),
                    client_secret: sealed("s"),
                    scopes: Some("read".into()),
                    email_domains: vec!["globex.eu".into()],
                    labels: vec!["eu".into()],
                }],
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

#[test]
fn shared_connections_are_stored_as_the_document_says() {
    let layout = Layout::read();
    let value = ConfigValue::Connection {
        sealed: sealed("s"),
        version: 3,
    };
    for sharing in [
        Sharing::Organization,
        Sharing::CustomerByOrganization,
        Sharing::Customer,
        Sharing::User,
    ] {
        layout.check_stored(
            "SharedConnection",
            &SharedConnection {
                id: SharedConnectionId(id(1)),
                stable_key: "crm".into(),
                key: "CRM".into(),
                description: "d".into(),
                sharing,
                connection: ActionRef {
                    component: "http".into(),
                    action: "oauth2".into(),
                },
                value: Some(value.clone()),
            },
        );
    }
    for holder in [
        Holder::Instance(InstanceId(id(3))),
        Holder::UserConfig(UserConfigId(id(3))),
        Holder::Organization(OrganizationId(id(3))),
        Holder::Customer(CustomerId(id(3))),
        Holder::User(UserId(id(3))),
    ] {
        layout.check_stored(
            "SharedValue",
            &SharedValue {
                id: SharedValueId(id(1)),
                connection: SharedConnectionId(id(2)),
                holder,
                value: value.clone(),
            },
        );
    }
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
