//! The rows of the table: which webhook is posted, and what must come of it.

use std::time::Duration;

use anyhow::Context as _;
use perseat_admin::endpoints::{Endpoint, Endpoints};
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::EndpointType;
use perseat_domain::id::ExecutionId;
use perseat_domain::route::{CUSTOMER_HEADER, FLOW_HEADER, USER_HEADER};
use serde_json::{Value, json};

use super::manifests::{CONNECTED, CUSTOMERS, Secrets};
use super::provider::{Provider, Record};
use super::webhook::{Answer, Webhook};
use url::Url;

/// One webhook and what is expected of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) endpoint: EndpointType,
    pub(super) routed_by: &'static str,
    pub(super) customer: &'static str,
    /// Whom the webhook is for, as a reader would say it.
    pub(super) user: String,
    pub(super) flow: &'static str,
    pub(super) file: String,
    pub(super) webhook: Webhook,
    pub(super) expected: Expected,
}

/// What must come of a webhook.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    /// The flow runs with this account's token: of a customer, or of a customer's user.
    Runs {
        customer: &'static str,
        user: Option<&'static str>,
    },
    /// It is refused; `recorded` says whether an execution tells of it.
    Refused { status: u16, code: ErrorCode, recorded: bool },
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) status: Option<u16>,
    pub(super) execution: Option<ExecutionId>,
    pub(super) record: Option<Record>,
    /// The refusal's word.
    pub(super) code: Option<String>,
    /// Everything that is not as expected.
    pub(super) problems: Vec<String>,
}

impl Outcome {
    pub(super) fn late(after: Duration) -> Self {
        Self {
            problems: vec![format!("nothing reached the provider within {after:?}")],
            ..Self::default()
        }
    }

    fn check(&mut self, what: &str, expected: &Value, found: &Value) {
        if expected != found {
            self.problems.push(format!("{what}: expected {expected}, found {found}"));
        }
    }
}

const ABSENT: &str = "the daemon does not list an endpoint of the demo";
const IMPORT: &str = "Import Records";
const EXPORT: &str = "Export Documents";
const FLOWS: [&str; 2] = [IMPORT, EXPORT];

/// How a request to a URL of several users says whom it is for.
#[derive(Clone, Copy, Debug)]
enum Way {
    Headers,
    Query,
    Body,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Query => "query",
            Self::Body => "body",
        }
    }
}

/// The integrations whose URLs are of an instance or of all instances, and the way of each.
const ROUTED: [(&str, Way); 6] = [
    ("Team Calendar", Way::Headers),
    ("Room Booking", Way::Query),
    ("Ticket Sync", Way::Body),
    ("Mail Notices", Way::Headers),
    ("Form Intake", Way::Query),
    ("Chat Notices", Way::Body),
];

/// Who the connected users are, as the manifests say.
fn person(customer: &str, user: &str) -> Value {
    let name = match (customer, user) {
        ("globex", "jane") => "Jane Doe",
        ("globex", _) => "Bob Roe",
        (_, "jane") => "Jane Major",
        _ => "Bob Minor",
    };
    json!({ "email": format!("{user}@{customer}.example"), "externalId": user, "name": name })
}

/// Every row: what must work, then what must be refused.
pub(super) fn all(endpoints: &Endpoints, secrets: &Secrets) -> anyhow::Result<Vec<Row>> {
    let mut rows = Rows {
        endpoints: &endpoints.endpoints,
        secrets,
        rows: Vec::new(),
    };
    for customer in CUSTOMERS {
        for user in CONNECTED {
            let expected = Expected::Runs {
                customer,
                user: Some(user),
            };
            for flow in FLOWS {
                rows.by_url(customer, user, flow, expected.clone())?;
            }
            for (integration, way) in ROUTED {
                for flow in FLOWS {
                    rows.routed(integration, way, customer, Some(user), flow, expected.clone())?;
                }
            }
        }
        for flow in FLOWS {
            let expected = Expected::Runs { customer, user: None };
            rows.routed("Audit Export", Way::Headers, customer, None, flow, expected)?;
        }
    }
    rows.refusals()?;
    Ok(rows.rows)
}

struct Rows<'a> {
    endpoints: &'a [Endpoint],
    secrets: &'a Secrets,
    rows: Vec<Row>,
}

impl Rows<'_> {
    fn refusals(&mut self) -> anyhow::Result<()> {
        let refused = |status, code, recorded| Expected::Refused { status, code, recorded };
        for (user, expected) in [
            ("mallory", refused(404, ErrorCode::UserNotFound, false)),
            ("olga", refused(403, ErrorCode::OrganizationUserNotAllowed, true)),
            ("dora", refused(409, ErrorCode::UserNotConfigured, false)),
        ] {
            for (integration, way) in ROUTED {
                self.routed(integration, way, "globex", Some(user), IMPORT, expected.clone())?;
            }
            self.routed("Chat Notices", Way::Body, "initech", Some(user), EXPORT, expected)?;
        }
        for (integration, way) in [
            ("Mail Notices", Way::Headers),
            ("Form Intake", Way::Query),
            ("Chat Notices", Way::Body),
        ] {
            let unknown = refused(404, ErrorCode::CustomerNotFound, false);
            self.routed(integration, way, "umbrella", Some("jane"), IMPORT, unknown)?;
        }

        let wrong = refused(401, ErrorCode::ApiKeyInvalid, false);
        let row = self.by_url("globex", "jane", EXPORT, wrong.clone())?;
        row.webhook.headers = vec![("api-key", "wrong".to_owned())];
        row.user.push_str(", wrong key");
        let row = self.by_url("globex", "jane", EXPORT, wrong)?;
        row.webhook.headers.clear();
        row.user.push_str(", no key");

        let as_jane = Expected::Runs {
            customer: "globex",
            user: Some("jane"),
        };
        let row = self.by_url("globex", "jane", IMPORT, as_jane)?;
        row.webhook.headers.push((USER_HEADER, "bob".to_owned()));
        row.user.push_str(", bob in header");
        Ok(())
    }

    /// A user's own URL.
    fn by_url(&mut self, customer: &'static str, user: &str, flow: &'static str, expected: Expected) -> anyhow::Result<&mut Row> {
        let url = self.url(|endpoint| {
            endpoint.instance.as_deref() == Some("File Sync")
                && endpoint.customer.as_deref() == Some(customer)
                && endpoint.user.as_deref() == Some(user)
                && endpoint.flow.as_deref() == Some(flow)
        })?;
        let headers = if flow == EXPORT {
            vec![("api-key", self.secrets.api_key().to_owned())]
        } else {
            Vec::new()
        };
        let webhook = Webhook {
            url,
            headers,
            body: json!({}),
        };
        Ok(self.add(EndpointType::FlowSpecific, "URL", customer, user, flow, webhook, expected))
    }

    /// The URL of an instance or of an integration; headers, query or body name the flow, the user if there is one, and the
    /// customer where the URL does not.
    fn routed(
        &mut self,
        integration: &str,
        way: Way,
        customer: &'static str,
        user: Option<&str>,
        flow: &'static str,
        expected: Expected,
    ) -> anyhow::Result<&mut Row> {
        let is_meant =
            |endpoint: &&Endpoint| endpoint.integration == integration && endpoint.customer.as_deref().is_none_or(|of| of == customer);
        let endpoint = self.endpoints.iter().find(is_meant).context(ABSENT)?;
        let kind = endpoint.endpoint_type;
        let names_customer = kind == EndpointType::SharedInstance;
        let named = [
            ("flow", FLOW_HEADER, Some(flow)),
            ("account", CUSTOMER_HEADER, names_customer.then_some(customer)),
            ("person", USER_HEADER, user),
        ];
        let named = named.into_iter().filter_map(|(name, header, value)| Some((name, header, value?)));
        let mut webhook = Webhook {
            url: endpoint.url.clone(),
            headers: Vec::new(),
            body: json!({}),
        };
        match way {
            Way::Headers => webhook.headers = named.map(|(_, header, value)| (header, value.to_owned())).collect(),
            Way::Query => {
                let mut url = Url::parse(&webhook.url)?;
                url.query_pairs_mut().extend_pairs(named.map(|(name, _, value)| (name, value)));
                webhook.url = url.into();
            }
            Way::Body => named.for_each(|(name, _, value)| webhook.body[name] = value.into()),
        }
        Ok(self.add(kind, way.name(), customer, user.unwrap_or_default(), flow, webhook, expected))
    }

    fn url(&self, is_meant: impl Fn(&Endpoint) -> bool) -> anyhow::Result<String> {
        let endpoint = self.endpoints.iter().find(|endpoint| is_meant(endpoint));
        Ok(endpoint.context(ABSENT)?.url.clone())
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of the table")]
    fn add(
        &mut self,
        endpoint: EndpointType,
        routed_by: &'static str,
        customer: &'static str,
        user: &str,
        flow: &'static str,
        mut webhook: Webhook,
        expected: Expected,
    ) -> &mut Row {
        let place = self.rows.len();
        let file = format!("event-{:02}.json", place + 1);
        webhook.body["file"] = file.clone().into();
        self.rows.push(Row {
            endpoint,
            routed_by,
            customer,
            user: user.to_owned(),
            flow,
            file,
            webhook,
            expected,
        });
        &mut self.rows[place]
    }
}

/// Posts a row's webhook and compares what came of it.
pub(super) async fn send(row: &Row, provider: &Provider) -> Outcome {
    let answer = match row.webhook.post().await {
        Ok(answer) => answer,
        Err(error) => {
            return Outcome {
                problems: vec![format!("{error:#}")],
                ..Outcome::default()
            };
        }
    };
    let mut outcome = Outcome {
        status: Some(answer.status.as_u16()),
        execution: answer.execution,
        code: answer.body["code"].as_str().map(str::to_owned),
        ..Outcome::default()
    };
    match &row.expected {
        Expected::Runs { customer, user } => runs(&mut outcome, row, &answer, customer, *user, provider).await,
        Expected::Refused { status, code, recorded } => {
            outcome.check("HTTP status", &json!(status), &json!(answer.status.as_u16()));
            outcome.check("code", &json!(code), &answer.body["code"]);
            outcome.check("execution recorded", &json!(recorded), &json!(answer.execution.is_some()));
        }
    }
    outcome
}

async fn runs(outcome: &mut Outcome, row: &Row, answer: &Answer, customer: &str, user: Option<&str>, provider: &Provider) {
    let account = user.map_or_else(|| customer.to_owned(), |user| format!("{customer}/{user}"));
    outcome.check("HTTP status", &json!(200), &json!(answer.status.as_u16()));
    outcome.check("execution recorded", &json!(true), &json!(answer.execution.is_some()));
    if answer.status != http::StatusCode::OK {
        outcome.problems.push(answer.body.to_string());
        return;
    }
    let record = provider.request_about(&row.file).await;
    let (body, path) = (record.body.clone(), if row.flow == EXPORT { "/export" } else { "/import" });
    outcome.check("token of", &json!(account), &json!(record.account));
    outcome.check("path", &json!(path), &json!(record.path));
    outcome.check("idempotency key", &json!(true), &json!(record.idempotency_key.is_some()));
    outcome.check("flow", &json!(row.flow), &body["flow"]);
    let folder = user.map_or(Value::Null, |user| json!(format!("/{customer}/{user}")));
    outcome.check("the user's folder", &folder, &body["folder"]);
    match user {
        None => outcome.check("results.user", &Value::Null, &body["user"]),
        Some(user) => {
            for (field, expected) in person(customer, user).as_object().into_iter().flatten() {
                outcome.check(&format!("results.user.{field}"), expected, &body["user"][field]);
            }
        }
    }
    if row.flow == EXPORT {
        outcome.check("the caller's result", &json!(account), &answer.body["account"]);
    }
    outcome.record = Some(record);
}
