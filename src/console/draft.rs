//! A form of the wizard: the fields of a version's pages with their values, and what is shown of them.

use super::connection;
use super::field::{Field, InputField, Kind};
use super::form::{self, Problems, Sent};
use super::html::harmless;
use super::route::View;
use super::source::LOAD;
use super::trouble::{Message, Trouble};
use super::{Asked, Console};
use crate::boot::http::Answer;
use http::StatusCode;
use perseat_admin::command::{ApiKeys, ConfigVariable};
use perseat_admin::fault::Fault;
use perseat_admin::query::{Reader, VersionView};
use perseat_domain::definition::{ConfigVar, EndpointSecurity};
use perseat_domain::grant::Holder;
use perseat_domain::model::{ConfigValue, Instance};
use perseat_domain::owner::UserKey;
use perseat_domain::registration::AppRegistration;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Deref;

/// Whose values the pages ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// The customer's.
    Instance,
    /// One user's.
    User,
}

/// What stands on a page, in order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Element {
    Html(String),
    Field(Box<Field>),
}

impl Element {
    fn of(field: &Field) -> Self {
        let mut field = Box::new(field.clone());
        field.show();
        Self::Field(field)
    }
}

#[derive(Debug, Serialize)]
struct Step {
    name: String,
    tagline: String,
    elements: Vec<Element>,
}

/// An API key that callers of a flow have to show.
#[derive(Debug, Serialize)]
pub(super) struct KeyField {
    field: String,
    flow: String,
    is_stored: bool,
}

/// Everything that a form is made of.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) level: Level,
    pub(super) view: View,
    pub(super) integration: String,
    /// The name of a new instance.
    pub(super) name: Option<String>,
    pub(super) fields: Vec<Field>,
    pub(super) keys: Vec<KeyField>,
    pub(super) version: VersionView,
    /// What the host page is told.
    pub(super) about: Value,
    pub(super) revision: Option<u64>,
    /// Where it can be taken away.
    pub(super) remove: Option<View>,
    pub(super) back: View,
    /// Whose configuration and credentials data sources see; none where nothing is saved yet.
    pub(super) user: Option<UserKey>,
}

#[derive(Debug, Serialize)]
struct Page<'p> {
    title: &'p str,
    level: Level,
    action: String,
    name: Option<&'p str>,
    name_problem: Option<&'p str>,
    steps: Vec<Step>,
    keys: &'p [KeyField],
    /// What is wrong with the whole.
    problem: Option<&'p str>,
    notice: Option<Notice>,
    /// What the host page is told, as in [`Told`].
    events: Option<String>,
    about: String,
    revision: Option<u64>,
    remove: Option<String>,
    back: String,
}

/// What was done, and what is to be done next.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Notice {
    pub(super) text: &'static str,
    pub(super) phrase: &'static str,
}

impl Notice {
    const CONNECT: Self = Self {
        text: "Saved. Now connect your account.",
        phrase: "perseat.nowConnect",
    };
    const CHOOSE: Self = Self {
        text: "Saved. Now make your choices.",
        phrase: "perseat.nowChoose",
    };
}

/// What was done, and what the host page is told.
#[derive(Debug, Serialize)]
pub(super) struct Told<'t> {
    #[serde(flatten)]
    pub(super) message: Message<'t>,
    /// `[{event, data}]` as JSON text.
    pub(super) events: String,
}

/// The field that holds the name of a new instance.
pub(super) const NAME: &str = "name";
/// The field that holds the revision that a form was made from.
pub(super) const REVISION: &str = "revision";

/// Events with what they are about, as JSON text.
fn told<'e>(events: impl Iterator<Item = (&'e str, &'e Value)>) -> String {
    Value::Array(events.map(|(event, data)| json!({ "event": event, "data": data })).collect()).to_string()
}

pub(super) fn keys(version: &VersionView, instance: Option<&Instance>) -> Vec<KeyField> {
    let flows = version.version.definition.flows.iter();
    let required = flows.filter(|flow| flow.security == EndpointSecurity::CustomerRequired);
    required
        .map(|flow| KeyField {
            field: format!("key-of:{}", flow.number.0),
            flow: flow.name.clone(),
            is_stored: instance.is_some_and(|instance| instance.config.api_keys.get(&flow.number).is_some_and(|keys| !keys.is_empty())),
        })
        .collect()
}

pub(super) fn api_keys(version: &VersionView, keys: &[KeyField], sent: &Sent) -> Vec<ApiKeys> {
    let flows = version.version.definition.flows.iter();
    let given = keys.iter().filter_map(|key| {
        let text = sent.text(&key.field).filter(|text| !text.trim().is_empty())?;
        let flow = flows.clone().find(|flow| flow.name == key.flow)?;
        Some(ApiKeys {
            flow: flow.number,
            keys: vec![text.to_owned()],
        })
    });
    given.collect()
}

impl Draft {
    /// Whether a connection waits for somebody's consent.
    pub(super) fn asks_consent(&self) -> bool {
        self.fields
            .iter()
            .any(|field| field.connect.is_some() && field.status != Some("ACTIVE"))
    }

    /// Whether something has to be chosen of what a data source offers, and is not.
    pub(super) fn asks_choice(&self) -> bool {
        self.is_short_of(&[])
    }

    /// The same once these values are saved. An instance cannot be deployed then.
    pub(super) fn is_short_of(&self, values: &[ConfigVariable]) -> bool {
        let is_among = |field: &Field| values.iter().any(|given| given.key == field.key);
        let mut fields = self.fields.iter();
        fields.any(|field| field.is_required && !field.is_given && field.source.is_some() && !is_among(field))
    }

    /// The pages of its level with their fields; a variable that stands on none comes last.
    fn steps(&self) -> Vec<Step> {
        let pages = self.version.version.definition.pages.iter();
        let pages = pages.filter(|page| page.user_level == (self.level == Level::User));
        let mut left: Vec<&Field> = self.fields.iter().collect();
        let mut steps: Vec<Step> = pages
            .map(|page| {
                let mut elements = Vec::new();
                for (kind, value) in &page.elements {
                    if kind == "htmlElement" {
                        elements.push(Element::Html(harmless(value)));
                    } else if let Some(at) = left.iter().position(|field| field.key == *value) {
                        elements.push(Element::of(left.remove(at)));
                    }
                }
                Step {
                    name: page.name.clone(),
                    tagline: page.tagline.clone(),
                    elements,
                }
            })
            .collect();
        if !left.is_empty() {
            steps.push(Step {
                name: "Further settings".to_owned(),
                tagline: String::new(),
                elements: left.into_iter().map(Element::of).collect(),
            });
        }
        steps
    }
}

impl Console {
    /// The variables of a level as fields, with their values and where their connections stand.
    pub(super) fn fields(
        &self,
        reader: &Reader<'_>,
        version: &VersionView,
        holder: Option<Holder>,
        level: Level,
        values: &BTreeMap<String, ConfigValue>,
        registrations: &[AppRegistration],
    ) -> Result<Vec<Field>, Fault> {
        let presentation = version.presentation();
        let visible = reader.visible_variables_of(&version.version.definition, level == Level::User);
        let variables: Vec<&ConfigVar> = visible.iter().map(Deref::deref).collect();
        let places = variables.iter().enumerate();
        let field = |(place, variable): (usize, &&ConfigVar)| Field::new(place, variable, &presentation, values.get(&variable.stable_key));
        let mut fields: Vec<Field> = places.map(field).collect();
        connection::stand(&self.desk, reader, holder, &variables, &mut fields)?;
        for (field, variable) in fields
            .iter_mut()
            .zip(&variables)
            .filter(|(field, _)| field.kind == Kind::Connection && field.is_consent)
        {
            let key = &variable.stable_key;
            let picked = match holder {
                Some(holder) => reader.picked(self.desk.custody().keyring(), holder, values, key)?,
                None => None,
            };
            if let Some(choice) = InputField::of_registrations(variable, registrations, picked.as_deref()) {
                field.inputs.insert(0, choice);
            }
        }
        Ok(fields)
    }

    /// The page of a form. `done` is what was done before, with the events that the host page is told.
    pub(super) fn form(&self, status: StatusCode, draft: &Draft, problems: &Problems, done: Option<(Notice, &[&str])>) -> Answer {
        let page = Page {
            title: &draft.integration,
            level: draft.level,
            action: draft.view.path(),
            name: draft.name.as_deref(),
            name_problem: problems.get(NAME).map(String::as_str),
            steps: draft.steps(),
            keys: &draft.keys,
            problem: problems.get("").map(String::as_str),
            notice: done.map(|(notice, _)| notice),
            events: done.map(|(_, events)| told(events.iter().map(|event| (*event, &draft.about)))),
            about: draft.about.to_string(),
            revision: draft.revision,
            remove: draft.remove.map(View::path),
            back: draft.back.path(),
        };
        self.pages.fragment(status, "wizard.html", &page)
    }

    /// The form as it is shown first, with what data sources say.
    pub(super) fn shown(&self, asked: Asked<'_>, mut draft: Draft) -> Answer {
        self.asking.fill(asked, &mut draft, None);
        self.form(StatusCode::OK, &draft, &Problems::new(), None)
    }

    /// The form after a save, where a consent or a choice is to follow.
    pub(super) fn goes_on(&self, asked: Asked<'_>, saved: &mut Draft, events: &[&str]) -> Option<Answer> {
        if !saved.asks_consent() && !saved.asks_choice() {
            return None;
        }
        let notice = match saved.asks_consent() {
            true => Notice::CONNECT,
            false => Notice::CHOOSE,
        };
        self.asking.fill(asked, saved, None);
        Some(self.form(StatusCode::OK, saved, &Problems::new(), Some((notice, events))))
    }

    /// Asks data sources for what the form that was sent holds. Where it was sent for that alone: the form again, with their
    /// answers and what was typed.
    pub(super) fn consult(&self, asked: Asked<'_>, draft: &mut Draft, sent: &Sent) -> Option<Answer> {
        self.asking.fill(asked, draft, Some(sent));
        let loaded = sent.text(LOAD)?;
        form::fill(&mut draft.fields, sent, &Problems::new());
        for field in draft.fields.iter_mut().filter(|field| field.stable_key == loaded) {
            field.is_loaded = true;
        }
        if draft.name.is_some() {
            draft.name = sent.text(NAME).map(str::to_owned);
        }
        Some(self.form(StatusCode::OK, draft, &Problems::new(), None))
    }

    /// The form again, with what was typed and what is wrong with it.
    pub(super) fn again(&self, draft: &mut Draft, sent: &Sent, problems: &Problems) -> Answer {
        form::fill(&mut draft.fields, sent, problems);
        if draft.name.is_some() {
            draft.name = sent.text(NAME).map(str::to_owned);
        }
        self.form(StatusCode::UNPROCESSABLE_ENTITY, draft, problems, None)
    }

    /// The form again where a command refused what it was given; everything else is not the form's business.
    pub(super) fn refused(&self, draft: &mut Draft, sent: &Sent, fault: Fault) -> Result<Answer, Trouble> {
        match form::refused(&draft.fields, &fault) {
            Some(problems) => Ok(self.again(draft, sent, &problems)),
            None => Err(fault.into()),
        }
    }

    pub(super) fn told(&self, message: Message<'_>, events: &[(&str, &Value)]) -> Answer {
        let told = Told {
            message,
            events: told(events.iter().copied()),
        };
        self.pages.fragment(StatusCode::OK, "told.html", &told)
    }
}
