//! What the host page is told: the shapes that the embedded SDK documents. Never a credential.

use super::field::{Field, Kind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perseat_admin::fault::Fault;
use perseat_admin::query::{Reader, VersionView};
use perseat_domain::id::{InstanceId, UserConfigId};
use serde_json::{Map, Value, json};

/// Of which instance something is told; there is none yet while one is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// Its id and its name.
    pub(super) instance: Option<(InstanceId, &'a str)>,
    pub(super) version: &'a VersionView,
}

impl About<'_> {
    fn whole(self, reader: &Reader<'_>) -> Result<Map<String, Value>, Fault> {
        let customer = reader.actor().customer().ok_or(Fault::Absent("customer"))?;
        let customer = reader.customer(customer)?;
        let instance = self.instance;
        let name = &self.version.integration.name;
        let told = json!({
            "customerId": customer.id.global(),
            "customerName": customer.name,
            "instanceId": instance.map(|(id, _)| id.global()).unwrap_or_default(),
            "instanceName": instance.map_or(name.as_str(), |(_, name)| name),
            "integrationName": name,
            "integrationVersionNumber": self.version.version.version,
            "readOnly": false,
        });
        match told {
            Value::Object(told) => Ok(told),
            _ => Ok(Map::new()),
        }
    }

    /// An instance and its customer-wide values.
    pub(super) fn instance(self, reader: &Reader<'_>, fields: &[Field]) -> Result<Value, Fault> {
        let mut told = self.whole(reader)?;
        let owner = self.instance.map(|(id, _)| id.0.to_string()).unwrap_or_default();
        told.insert("configVars".to_owned(), variables("InstanceConfigVariable", &owner, fields));
        Ok(Value::Object(told))
    }

    /// A user's configuration.
    pub(super) fn user(self, reader: &Reader<'_>, config: Option<UserConfigId>, fields: &[Field]) -> Result<Value, Fault> {
        let mut told = self.whole(reader)?;
        let user = reader.actor().user().ok_or(Fault::Absent("user"))?;
        let user = reader.user(user)?;
        let id = user.id.global();
        let address = user.email.as_ref().or(user.external_id.as_ref()).unwrap_or(&id);
        let owner = config.map(|config| config.0.to_string()).unwrap_or_default();
        let more = [
            ("userConfigId", json!(config.map(|config| config.global()))),
            ("userEmail", json!(address)),
            ("userId", json!(id)),
            ("userName", json!(user.name)),
            ("userLevelConfigVariables", variables("UserLevelConfigVariable", &owner, fields)),
        ];
        told.extend(more.map(|(name, value)| (name.to_owned(), value)));
        Ok(Value::Object(told))
    }
}

/// Values by display name.
fn variables(kind: &str, owner: &str, fields: &[Field]) -> Value {
    let told = fields.iter().map(|field| (field.key.clone(), variable(kind, owner, field)));
    Value::Object(told.collect())
}

fn variable(kind: &str, owner: &str, field: &Field) -> Value {
    let mut told = json!({
        "id": STANDARD.encode(format!("{kind}:{owner}/{}", field.stable_key)),
        "codeLanguage": field.language,
        "collectionType": match field.kind {
            Kind::List | Kind::Picks => Some("valuelist"),
            Kind::Pairs => Some("keyvaluelist"),
            _ => None,
        },
        "dataType": field.data_type,
        "pickList": (!field.choices.is_empty()).then(|| field.choices.iter().map(|choice| &choice.key).collect::<Vec<_>>()),
        "scheduleType": field.schedule_type,
        "timeZone": field.time_zone,
    });
    match field.kind {
        Kind::Connection => {
            let inputs = field.inputs.iter().map(|input| (input.name.clone(), json!({ "value": "" })));
            told["inputs"] = Value::Object(inputs.collect());
            told["status"] = json!(field.status);
        }
        Kind::List | Kind::Picks => told["value"] = json!(field.values),
        Kind::Pairs => {
            let pairs = field.pairs.iter().map(|(key, value)| json!({ "key": key, "value": value }));
            told["value"] = Value::Array(pairs.collect());
        }
        _ => told["value"] = json!(field.values.first().map(String::as_str).unwrap_or_default()),
    }
    told
}
