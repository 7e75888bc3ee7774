//! Variables as fields of a form: what is shown of each, and of its value.

use super::offered::{Lack, Shown};
use perseat_admin::query::{Presentation, Presented};
use perseat_domain::definition::{ActionRef, CollectionType, ConfigVar, DataType, Input};
use perseat_domain::model::ConfigValue;
use perseat_domain::registration::{AppRegistration, Chosen, Traits};
use perseat_flow::component::BuiltIn;
use perseat_flow::definition::{Components as _, Inputs};
use perseat_flow::oauth::{REGISTRATION, is_oauth};
use perseat_flow::offer::{Element, Offer, Wrong};
use perseat_flow::sharing::{REQUIRED, asked_of_holder};
use perseat_flow::value::{self as rules, fits};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How a variable is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Text,
    Number,
    Flag,
    Choice,
    Date,
    Time,
    Schedule,
    Code,
    /// JSON as text: forms, selections and maps that no data source shapes.
    Json,
    /// What a data source has not said yet, or cannot say: nothing can be filled in.
    Awaits,
    /// Any of several choices.
    Picks,
    /// Objects with their fields.
    Objects,
    /// Fields that are mapped to fields of objects.
    Map,
    /// A form by a schema.
    Form,
    List,
    Pairs,
    Connection,
}

/// One input of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct InputField {
    /// The input, as components know it.
    pub(super) name: String,
    /// The field of the form.
    pub(super) field: String,
    pub(super) label: String,
    pub(super) is_secret: bool,
    pub(super) is_required: bool,
    /// What can be chosen, with how it is shown; empty where text is typed in.
    pub(super) choices: Vec<(String, String)>,
    /// Which of them is in use; empty where it is gone, and none where text is typed in.
    pub(super) chosen: Option<String>,
}

/// The choice of none of a customer's app registrations: then a rule gives one, or the integration's own is used.
pub(super) const BY_DEFAULT: &str = "default";

impl InputField {
    fn of(variable: &ConfigVar, connection: &ActionRef, name: &str, is_required: bool) -> Self {
        Self {
            field: format!("input:{}:{name}", variable.stable_key),
            label: label(name),
            is_secret: BuiltIn.is_secret(&connection.component, &connection.action, name),
            is_required,
            name: name.to_owned(),
            choices: Vec::new(),
            chosen: None,
        }
    }

    /// The choice among a customer's app registrations; `picked` is the one that is named now, by id or name. None where there
    /// is nothing to choose.
    pub(super) fn of_registrations(variable: &ConfigVar, registrations: &[AppRegistration], picked: Option<&str>) -> Option<Self> {
        let key = &variable.stable_key;
        let of_it = registrations.iter().filter(|registration| registration.connection == *key);
        let choices: Vec<(String, String)> = of_it
            .map(|registration| (registration.id.to_string(), registration.name.clone()))
            .collect();
        if choices.is_empty() && picked.is_none() {
            return None;
        }
        let chosen = match Chosen::of(registrations, key, picked, Traits::default()) {
            Chosen::Own => BY_DEFAULT.to_owned(),
            Chosen::One(registration) => registration.id.to_string(),
            Chosen::Missing => String::new(),
        };
        Some(Self {
            chosen: Some(chosen),
            field: format!("input:{}:{REGISTRATION}", variable.stable_key),
            label: label(REGISTRATION),
            is_secret: false,
            is_required: false,
            name: REGISTRATION.to_owned(),
            choices,
        })
    }
}

/// What happened to a connection's grant, and what will, in words and in ISO 8601.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Story {
    pub(super) forecast: &'static str,
    pub(super) forecast_at: Option<String>,
    pub(super) last_used_at: Option<String>,
    pub(super) parked: u64,
    /// The newest first.
    pub(super) events: Vec<StoryEvent>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct StoryEvent {
    pub(super) at: String,
    pub(super) what: &'static str,
    pub(super) reason: Option<String>,
}

/// See the module.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Field {
    /// The id of its element, unique on the page.
    pub(super) id: String,
    pub(super) key: String,
    pub(super) stable_key: String,
    pub(super) description: String,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
    /// Set by the host page alone.
    pub(super) is_hidden: bool,
    /// What can be chosen.
    pub(super) choices: Vec<Element>,
    /// The kind as definitions name it.
    pub(super) data_type: DataType,
    pub(super) language: Option<String>,
    pub(super) schedule_type: Option<String>,
    pub(super) time_zone: Option<String>,
    /// What is filled in, as a control takes it; a list has several, another kind at most one. Never a credential.
    pub(super) values: Vec<String>,
    /// The text behind it, as it was given; none where it is no value of the variable any more.
    #[serde(skip)]
    pub(super) original: Option<String>,
    /// What is filled in as pairs.
    pub(super) pairs: Vec<(String, String)>,
    pub(super) inputs: Vec<InputField>,
    /// Whether a value is saved.
    #[serde(skip)]
    pub(super) is_given: bool,
    /// Whether a connection has credentials already.
    pub(super) is_stored: bool,
    /// Whether somebody consents at a provider's page.
    pub(super) is_consent: bool,
    /// Whether a connection is shared and takes nothing here: somebody else gives what it needs.
    pub(super) is_shared: bool,
    /// Where a connection stands, as the API says.
    pub(super) status: Option<&'static str>,
    /// What happened to its grant.
    pub(super) story: Option<Story>,
    /// The account at the provider in which its grant is used.
    pub(super) account: Option<String>,
    /// Whether one has to be chosen first.
    pub(super) awaits_account: bool,
    /// Where another one is chosen.
    pub(super) choose: Option<String>,
    /// Where to consent.
    pub(super) connect: Option<String>,
    /// Whether somebody's consent is held that whoever looks may give up.
    #[serde(skip)]
    pub(super) is_held: bool,
    /// Where it is given up.
    pub(super) disconnect: Option<String>,
    /// What is wrong with it.
    pub(super) problem: Option<String>,
    /// Whether a data source fills it.
    pub(super) has_source: bool,
    /// What says what it can be.
    #[serde(skip)]
    pub(super) source: Option<ActionRef>,
    /// The variables that its data source takes, by display name.
    #[serde(skip)]
    pub(super) takes: BTreeSet<String>,
    /// Whether it holds one value or many.
    #[serde(skip)]
    pub(super) collection: Option<CollectionType>,
    /// What its data source said.
    #[serde(skip)]
    pub(super) offer: Option<Offer>,
    /// The same as it is shown, with what is filled in.
    pub(super) shown: Option<Shown>,
    /// Why its data source has said nothing.
    pub(super) lack: Option<Lack>,
    /// Whether its data source was just asked again.
    pub(super) is_loaded: bool,
    /// What is wrong with the controls of its form.
    #[serde(skip)]
    pub(super) wrong: Vec<Wrong>,
    /// What was typed into the controls of its form, by their pointers.
    #[serde(skip)]
    pub(super) typed: Option<BTreeMap<String, Vec<String>>>,
}

/// The field of a form that a variable's value is in; pairs have their keys in another.
pub(super) fn value_name(stable_key: &str) -> String {
    format!("value:{stable_key}")
}

/// See [`value_name`].
pub(super) fn key_name(stable_key: &str) -> String {
    format!("key:{stable_key}")
}

fn kind(variable: &ConfigVar) -> Kind {
    match (variable.collection, variable.data_type) {
        (_, DataType::Connection) => Kind::Connection,
        (Some(CollectionType::ValueList), _) => Kind::List,
        (Some(CollectionType::KeyValueList), _) => Kind::Pairs,
        (None, DataType::Number) => Kind::Number,
        (None, DataType::Boolean) => Kind::Flag,
        (None, DataType::Picklist) if !variable.pick_list.is_empty() => Kind::Choice,
        (None, DataType::Date) => Kind::Date,
        (None, DataType::Timestamp) => Kind::Time,
        (None, DataType::Schedule) => Kind::Schedule,
        (None, DataType::Code) => Kind::Code,
        (None, DataType::JsonForm | DataType::ObjectSelection | DataType::ObjectFieldMap) => Kind::Json,
        (None, DataType::String | DataType::Picklist | DataType::Credential) => Kind::Text,
    }
}

impl Field {
    /// The field of a variable; `place` is its place on the page.
    pub(super) fn new(place: usize, variable: &ConfigVar, presentation: &Presentation, value: Option<&ConfigValue>) -> Self {
        let presented = presentation.of(variable);
        let source = presented.data_source.clone();
        let kind = match (variable.data_type, &source) {
            (DataType::Picklist | DataType::ObjectSelection | DataType::ObjectFieldMap | DataType::JsonForm, Some(_)) => Kind::Awaits,
            _ => kind(variable),
        };
        let shown = match value {
            Some(ConfigValue::Plain(text)) => Some(text.as_str()),
            Some(ConfigValue::Connection { .. }) => None,
            None => variable.default_value.as_deref(),
        };
        let (values, pairs) = filled(kind, shown);
        Self {
            id: format!("field-{place}"),
            key: variable.key.clone(),
            stable_key: variable.stable_key.clone(),
            description: variable.description.clone(),
            is_required: variable.required && kind != Kind::Flag,
            is_hidden: presented.is_hidden,
            choices: variable.pick_list.iter().map(|choice| plain(choice)).collect(),
            values,
            original: shown.filter(|text| rules::check(variable, text).is_ok()).map(str::to_owned),
            pairs,
            inputs: inputs(variable, &presented),
            data_type: variable.data_type,
            language: presented.code_language,
            schedule_type: presented.schedule_type,
            time_zone: presented.time_zone,
            is_given: value.is_some_and(|value| matches!(value, ConfigValue::Plain(text) if !text.is_empty()) && fits(variable, value)),
            is_stored: matches!(value, Some(ConfigValue::Connection { .. })),
            is_consent: variable.connection.as_ref().and_then(is_oauth).is_some(),
            is_shared: variable.shared.is_some(),
            status: None,
            story: None,
            account: None,
            awaits_account: false,
            choose: None,
            connect: None,
            is_held: false,
            disconnect: None,
            problem: None,
            takes: source.as_ref().map(|_| taken(variable)).unwrap_or_default(),
            has_source: source.is_some(),
            source,
            collection: variable.collection,
            offer: None,
            shown: None,
            lack: None,
            is_loaded: false,
            wrong: Vec::new(),
            typed: None,
            kind,
        }
    }

    /// Fills it in, where nothing was.
    pub(super) fn begin_with(&mut self, text: &str) {
        (self.values, self.pairs) = filled(self.kind, Some(text));
    }

    /// The name of its field in a form.
    pub(super) fn name(&self) -> String {
        value_name(&self.stable_key)
    }
}

fn plain(choice: &str) -> Element {
    Element {
        key: choice.to_owned(),
        label: choice.to_owned(),
    }
}

/// The variables that the inputs of a data source name.
fn taken(variable: &ConfigVar) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    variable.inputs.values().for_each(|input| input.variables(&mut names));
    names
}

fn filled(kind: Kind, text: Option<&str>) -> (Vec<String>, Vec<(String, String)>) {
    let Some(text) = text else { return (Vec::new(), Vec::new()) };
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match kind {
        Kind::List => {
            let items: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
            (items.iter().map(word).collect(), Vec::new())
        }
        Kind::Pairs => {
            let of = |item: &Value, name: &str| item.get(name).map(word).unwrap_or_default();
            let pairs = match serde_json::from_str(text) {
                Ok(Value::Array(items)) => items.iter().map(|item| (of(item, "key"), of(item, "value"))).collect(),
                Ok(Value::Object(members)) => members.iter().map(|(key, value)| (key.clone(), word(value))).collect(),
                _ => Vec::new(),
            };
            (Vec::new(), pairs)
        }
        // A browser blanks what is not written as its controls write it.
        Kind::Number => (vec![number(text.trim())], Vec::new()),
        Kind::Date => (vec![text.trim().to_owned()], Vec::new()),
        Kind::Time => {
            let at = rules::moment(text).map(|at| at.strftime("%Y-%m-%dT%H:%M:%S").to_string());
            (at.into_iter().collect(), Vec::new())
        }
        _ => (vec![text.to_owned()], Vec::new()),
    }
}

/// A number without what HTML does not know: a plus before it, or a point with no digit behind.
fn number(text: &str) -> String {
    let is_bare = |behind: &str| !behind.starts_with(|letter: char| letter.is_ascii_digit());
    let is_foreign = text.starts_with('+') || text.split_once('.').is_some_and(|(_, behind)| is_bare(behind));
    match text.parse::<f64>() {
        Ok(number) if is_foreign => number.to_string(),
        _ => text.to_owned(),
    }
}

/// The inputs of a connection that people fill in: those that the definition leaves open.
fn inputs(variable: &ConfigVar, presented: &Presented) -> Vec<InputField> {
    let Some(connection) = &variable.connection else {
        return Vec::new();
    };
    let is_open = |name: &str| match variable.inputs.get(name) {
        Some(Input::Value(text)) => text.as_deref().unwrap_or_default().is_empty(),
        Some(_) => false,
        None => true,
    };
    let is_consent = is_oauth(connection).is_some();
    let known: Vec<&str> = match BuiltIn.connection(&connection.component, &connection.action) {
        // What OAuth 2.0 needs besides is for the organization to say; people are asked for what the definition names.
        Some(Inputs::Named(names)) if !is_consent => names.to_vec(),
        _ => variable.inputs.keys().map(String::as_str).collect(),
    };
    let open = known
        .into_iter()
        .filter(|name| is_open(name) && !presented.hidden_inputs.iter().any(|hidden| hidden == name));
    let is_required = |name: &str| REQUIRED.contains(&name) || (is_consent && variable.inputs.contains_key(name));
    open.map(|name| InputField::of(variable, connection, name, is_required(name)))
        .collect()
}

/// The inputs of a shared connection that its holder fills in; `given` are the organization's.
pub(super) fn shared_inputs(variable: &ConfigVar, connection: &ActionRef, given: &BTreeSet<String>) -> Vec<InputField> {
    let is_required = |name: &str| REQUIRED.contains(&name) || is_oauth(connection).is_some();
    let asked = asked_of_holder(&BuiltIn, connection, given).into_iter();
    asked
        .map(|name| InputField::of(variable, connection, name, is_required(name)))
        .collect()
}

/// `headerName` as people read it: `Header name`.
fn label(name: &str) -> String {
    let mut label = String::with_capacity(name.len() + 4);
    for (place, letter) in name.chars().enumerate() {
        match (place, letter.is_uppercase()) {
            (0, _) => label.extend(letter.to_uppercase()),
            (_, true) => {
                label.push(' ');
                label.extend(letter.to_lowercase());
            }
            (_, false) => label.push(letter),
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::definition::ActionRef;

    pub(super) fn connection(action: &str, given: &[(&str, Option<&str>)]) -> ConfigVar {
        ConfigVar {
            key: "Account".into(),
            stable_key: "account".into(),
            description: String::new(),
            data_type: DataType::Connection,
            collection: None,
            pick_list: Vec::new(),
            default_value: None,
            org_only: false,
            required: true,
            user_level: true,
            connection: Some(ActionRef {
                component: "http".into(),
                action: action.into(),
            }),
            shared: None,
            inputs: given
                .iter()
                .map(|(name, text)| ((*name).to_owned(), Input::Value(text.map(str::to_owned))))
                .collect(),
        }
    }

    fn asked(action: &str, given: &[(&str, Option<&str>)]) -> Vec<String> {
        let field = Field::new(0, &connection(action, given), &Presentation::default(), None);
        field.inputs.into_iter().map(|input| input.name).collect()
    }

    #[test]
    fn people_are_asked_for_what_the_definition_leaves_open() {
        assert_eq!(asked("basic", &[]), ["username", "password"]);
        let given = [("headerName", Some("X-Key")), ("apiKey", None)];
        assert_eq!(asked("apiKey", &given), ["apiKey", "queryParam", "prefix"]);
        let field = Field::new(0, &connection("basic", &[]), &Presentation::default(), None);
        let secret: Vec<bool> = field.inputs.iter().map(|input| input.is_secret).collect();
        assert_eq!(secret, [false, true]);
        let registration = [("clientId", Some("id")), ("clientSecret", Some("s")), ("scopes", Some(""))];
        assert_eq!(asked("oauth2", &registration), ["scopes"]);
        assert!(asked("oauth2", &[("clientId", Some("id"))]).is_empty());
    }

    #[test]
    fn a_stored_credential_is_never_part_of_a_field() {
        let variable = connection("bearer", &[]);
        let value = ConfigValue::Connection {
            sealed: perseat_domain::model::Sealed(b"canary".to_vec()),
            version: 1,
        };
        let field = Field::new(0, &variable, &Presentation::default(), Some(&value));
        assert!(field.is_stored && field.values.is_empty());
        assert!(!serde_json::to_string(&field).unwrap().contains("canary"));
    }

    #[test]
    fn what_was_given_for_a_variable_of_another_kind_is_not_given() {
        let variable = |data_type| ConfigVar {
            data_type,
            connection: None,
            ..connection("bearer", &[])
        };
        let is_given = |data_type, text: &str| {
            let value = ConfigValue::Plain(text.into());
            Field::new(0, &variable(data_type), &Presentation::default(), Some(&value)).is_given
        };
        assert!(is_given(DataType::ObjectSelection, "[]") && is_given(DataType::String, "text"));
        assert!(!is_given(DataType::ObjectSelection, "text") && !is_given(DataType::Connection, "text") && !is_given(DataType::String, ""));
    }

    #[test]
    fn names_of_inputs_are_read_as_words() {
        assert_eq!(label("headerName"), "Header name");
    }
}
