//! The components that flows are made of: those that are built in.

use super::answer::{actor, error};
use super::connection::{ComponentOrder, ComponentOrderField, Connection, OrderDirection, terms};
use super::cost;
use super::people::Customer;
use super::scalars::JsonString;
use async_graphql::{ComplexObject, Context, Enum, ID, Object, Result, SimpleObject};
use perseat_admin::access::Operation;
use perseat_domain::definition::ActionRef;
use perseat_domain::definition::DataType;
use perseat_domain::id::join_global;
use perseat_flow::component::{ALL, Role, source_type};

/// Whether something has to, can or cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum ActionScheduleSupport {
    Invalid,
    Required,
    Valid,
}

/// An action, trigger or data source of a component.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(complex)]
pub(super) struct Action {
    id: ID,
    key: String,
    label: String,
    description: String,
    is_trigger: bool,
    is_data_source: bool,
    is_polling_trigger: bool,
    schedule_support: ActionScheduleSupport,
    data_source_type: Option<String>,
    detail_data_source: Option<ActionName>,
    #[graphql(skip)]
    component: String,
}

/// The name of an action.
#[derive(Clone, Debug, SimpleObject)]
struct ActionName {
    label: String,
}

#[ComplexObject]
impl Action {
    async fn component(&self) -> Component {
        Component::named(&self.component)
    }
}

/// An id that follows from a name; nothing is looked up by it.
fn named_id(kind: &str, name: &str) -> ID {
    let digest = perseat_store::seal::key_digest(name);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.0[..16]);
    join_global(kind, uuid::Builder::from_custom_bytes(bytes).into_uuid()).into()
}

impl Action {
    fn new(component: &str, key: &str, is_trigger: bool) -> Self {
        Self {
            id: named_id("Action", &format!("{component}/{key}")),
            key: key.to_owned(),
            label: label(key),
            description: String::new(),
            is_trigger,
            is_data_source: false,
            is_polling_trigger: false,
            schedule_support: ActionScheduleSupport::Invalid,
            data_source_type: None,
            detail_data_source: None,
            component: component.to_owned(),
        }
    }

    fn of_source(component: &str, key: &str) -> Self {
        Self {
            is_data_source: true,
            data_source_type: source_type(key).map(|kind| source_word(kind).to_owned()),
            ..Self::new(component, key, false)
        }
    }

    /// The trigger that a flow names, whether it is here or not.
    pub(super) fn of_trigger(action: &ActionRef) -> Self {
        Self::new(&action.component, &action.action, true)
    }
}

/// The kind of a data source in the words of the API.
const fn source_word(kind: DataType) -> &'static str {
    match kind {
        DataType::Boolean => "BOOLEAN",
        DataType::Code => "CODE",
        DataType::Connection | DataType::Credential => "CONNECTION",
        DataType::Date => "DATE",
        DataType::JsonForm => "JSON_FORM",
        DataType::Number => "NUMBER",
        DataType::ObjectFieldMap => "OBJECT_FIELD_MAP",
        DataType::ObjectSelection => "OBJECT_SELECTION",
        DataType::Picklist => "PICKLIST",
        DataType::Schedule => "SCHEDULE",
        DataType::String => "STRING",
        DataType::Timestamp => "TIMESTAMP",
    }
}

/// `httpPost` → `Http Post`.
fn label(key: &str) -> String {
    let mut label = String::new();
    let mut starts = true;
    for letter in key.chars() {
        if letter == '-' || letter == '_' {
            label.push(' ');
            starts = true;
            continue;
        }
        if letter.is_uppercase() && !starts && !label.is_empty() {
            label.push(' ');
        }
        if starts {
            label.extend(letter.to_uppercase());
        } else {
            label.push(letter);
        }
        starts = false;
    }
    label
}

/// What flows are made of.
#[derive(Clone, Debug)]
pub(super) struct Component {
    key: String,
}

impl Component {
    fn named(key: &str) -> Self {
        Self { key: key.to_owned() }
    }

    fn all() -> Vec<Self> {
        let mut keys: Vec<&str> = ALL.iter().map(|entry| entry.component).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().map(Self::named).collect()
    }
}

#[Object]
impl Component {
    async fn id(&self) -> ID {
        named_id("Component", &self.key)
    }
    async fn key(&self) -> &str {
        &self.key
    }
    async fn label(&self) -> String {
        label(&self.key)
    }
    async fn description(&self) -> &str {
        ""
    }
    async fn public(&self) -> bool {
        true
    }
    async fn version_number(&self) -> u32 {
        1
    }
    async fn version_is_latest(&self) -> bool {
        true
    }
    async fn version_created_at(&self) -> Option<super::scalars::DateTime> {
        None
    }
    async fn category(&self) -> &str {
        "Built in"
    }
    async fn signature(&self) -> Option<String> {
        None
    }
    async fn customer(&self) -> Option<Customer> {
        None
    }
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn actions(
        &self,
        ctx: &Context<'_>,
        is_trigger: Option<bool>,
        is_data_source: Option<bool>,
        key: Option<String>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Connection<Action>> {
        let own = ALL
            .iter()
            .filter(|entry| entry.component == self.key && entry.role != Role::Connection);
        let all = own.map(|entry| match entry.role {
            Role::DataSource => Action::of_source(entry.component, entry.key),
            role => Action::new(entry.component, entry.key, role == Role::Trigger),
        });
        let fits = |action: &Action| {
            is_trigger.is_none_or(|wanted| action.is_trigger == wanted)
                && is_data_source.is_none_or(|wanted| action.is_data_source == wanted)
                && key.as_ref().is_none_or(|key| action.key == *key)
        };
        Connection::cut(ctx, all.filter(fits).collect(), after, first)
    }
}

/// The text that a filter such as `["or", ["in", "key", "x"], ["in", "label", "x"]]` looks for.
fn wanted(filter: &JsonString) -> Option<String> {
    fn last_text(value: &serde_json::Value) -> Option<String> {
        match value {
            serde_json::Value::Array(items) => items.last().and_then(last_text),
            serde_json::Value::String(text) => Some(text.to_lowercase()),
            _ => None,
        }
    }
    last_text(&serde_json::from_str(&filter.0).ok()?)
}

/// Reading components.
#[derive(Debug, Default)]
pub(super) struct ComponentQuery;

#[Object]
impl ComponentQuery {
    #[expect(clippy::too_many_arguments, reason = "filters are arguments")]
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn components(
        &self,
        ctx: &Context<'_>,
        key: Option<String>,
        public: Option<bool>,
        all_versions: Option<bool>,
        version_number: Option<i32>,
        filter_query: Option<JsonString>,
        include_components_for_code_native_integrations: Option<bool>,
        sort_by: Option<Vec<Option<ComponentOrder>>>,
        order_by: Option<ComponentOrder>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Connection<Component>> {
        let _ = (all_versions, include_components_for_code_native_integrations);
        actor(ctx)?.check(Operation::ViewComponents).map_err(error)?;
        let text = filter_query.as_ref().and_then(wanted);
        let fits = |component: &Component| {
            key.as_ref().is_none_or(|key| component.key == *key)
                && public != Some(false)
                && version_number.is_none_or(|number| number == 1)
                && text
                    .as_ref()
                    .is_none_or(|text| component.key.contains(text) || label(&component.key).to_lowercase().contains(text))
        };
        let mut all: Vec<Component> = Component::all().into_iter().filter(fits).collect();
        let orders: Vec<ComponentOrder> = terms(sort_by, order_by);
        // In everything but its label a built-in component is like any other.
        if let Some(order) = orders.iter().find(|order| order.field == ComponentOrderField::Label) {
            all.sort_by_key(|component| label(&component.key).to_lowercase());
            if order.direction == OrderDirection::Desc {
                all.reverse();
            }
        }
        Connection::cut(ctx, all, after, first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_made_of_the_words_of_a_key() {
        assert_eq!(label("httpPost"), "Http Post");
        assert_eq!(label("webhook-triggers"), "Webhook Triggers");
    }

    #[test]
    fn a_filter_names_the_text_last() {
        let filter = JsonString(r#"["or",["in","key","Http"],["in","label","Http"]]"#.to_owned());
        assert_eq!(wanted(&filter), Some("http".to_owned()));
        assert_eq!(wanted(&JsonString("{".to_owned())), None);
    }
}
