//! Configuration variables and pages: one namespace, each variable on one level.

use super::inputs::{Converter, Wants};
use super::raw::{self, InputValue};
use super::read::Text;
use super::report::{Report, Spot, diagnostic, quoted};
use super::words::{CollectionWord, DataTypeWord, ElementWord, InputWord};
use super::{Code, Components, Diagnostic, Inputs};
use crate::value;
use perseat_domain::definition::{ActionRef, CollectionType, ConfigPage, ConfigVar, DataType};
use std::collections::{BTreeMap, BTreeSet};

/// Variables by key, for everything that names one.
#[derive(Debug, Default)]
pub(super) struct Variables {
    by_key: BTreeMap<String, Known>,
}

/// What others need to know of a variable.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) stable_key: String,
    pub(super) data_type: DataType,
    pub(super) user_level: bool,
    /// Why flows that use it cannot run yet.
    pub(super) missing: Option<(Code, String)>,
}

impl Variables {
    pub(super) fn get(&self, key: &str) -> Option<&Known> {
        self.by_key.get(key)
    }

    pub(super) fn is_connection(&self, key: &str) -> bool {
        self.get(key).is_some_and(|known| known.data_type == DataType::Connection)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.by_key.keys().map(String::as_str)
    }

    /// Takes in the variables' names and kinds; reports duplicates.
    pub(super) fn collect(
        raw: &[raw::Variable],
        stable_keys: &BTreeMap<String, String>,
        components: &dyn Components,
        report: &mut Report,
    ) -> Self {
        let mut by_key: BTreeMap<String, Known> = BTreeMap::new();
        let mut stable = BTreeSet::new();
        for variable in raw {
            let key = variable.key.as_str();
            if key.is_empty() {
                continue;
            }
            let stable_key = stable_keys.get(key).map_or(key, String::as_str);
            let known = Known {
                stable_key: stable_key.to_owned(),
                data_type: data_type(variable),
                user_level: false,
                missing: missing(variable, components)
                    .map(|sentence| (Code::ComponentMissing, sentence))
                    .or_else(|| Some((Code::FeatureUnsupported, no_literal(variable)?))),
            };
            if by_key.insert(key.to_owned(), known).is_some() {
                let message = format!("there is another configuration variable {}", quoted(key));
                report.problem(&variable.key.spot, Code::NameDuplicate, message);
            } else if !stable.insert(stable_key) {
                let message = format!("another configuration variable has the stable key {}", quoted(stable_key));
                report.problem(spot_of(variable.stable_key.as_ref(), &variable.key), Code::NameDuplicate, message);
            }
        }
        Self { by_key }
    }

    /// The pages; marks the variables that stand on user-level ones.
    pub(super) fn pages(&mut self, raw: &[raw::Page], report: &mut Report) -> Vec<ConfigPage> {
        let mut levels: BTreeMap<&str, bool> = BTreeMap::new();
        for page in raw {
            let user_level = page.user_level.as_ref().is_some_and(|flag| flag.value);
            for element in page.elements.iter().flatten() {
                let Some(key) = element.value.as_ref().filter(|_| element.kind.value != ElementWord::HtmlElement) else {
                    if element.kind.value == ElementWord::ConfigVar {
                        report.problem(&element.spot, Code::KeyMissing, "the key of a configuration variable is missing");
                    }
                    continue;
                };
                match self.by_key.get_mut(key.as_str()) {
                    Some(known) => known.user_level |= user_level,
                    None if element.kind.value == ElementWord::ConfigVar => {
                        let message = format!("there is no configuration variable {}", quoted(key.as_str()));
                        report.suggest(&key.spot, Code::ConfigVarUnknown, message, key.as_str(), self.keys());
                        continue;
                    }
                    None => continue,
                }
                if levels.insert(key.as_str(), user_level).is_some_and(|other| other != user_level) {
                    let message = format!("{} stands on an instance page and on a user-level page", quoted(key.as_str()));
                    report.problem(&key.spot, Code::Contradiction, message);
                }
            }
        }
        raw.iter().map(config_page).collect()
    }

    /// The variables, checked one by one. Call after [`Self::pages`].
    pub(super) fn check(&self, raw: &[raw::Variable], components: &dyn Components, report: &mut Report) -> Vec<ConfigVar> {
        raw.iter()
            .filter(|variable| !variable.key.as_str().is_empty())
            .map(|variable| self.variable(variable, components, report))
            .collect()
    }

    fn variable(&self, raw: &raw::Variable, components: &dyn Components, report: &mut Report) -> ConfigVar {
        let data_type = data_type(raw);
        let known = self.get(raw.key.as_str());
        let user_level = known.is_some_and(|known| known.user_level);
        check_kind(raw, data_type, report);
        if let Some(header) = &raw.header {
            report.warn(&header.spot, Code::KeyDeprecated, "`header` has no effect any more");
        }
        self.warn_missing(raw, components, report);
        let mut used = BTreeSet::new();
        let inputs = Converter {
            report: &mut *report,
            variables: self,
            scope: None,
            used: &mut used,
            data_source: None,
            wants: Wants::Anything,
        }
        .all(raw.inputs.as_ref(), |_| Wants::Anything);
        for key in used.iter().filter(|_| !user_level) {
            if self.get(key).is_some_and(|known| known.user_level) {
                let message = format!(
                    "{} is the same for every user and cannot use {}",
                    quoted(raw.key.as_str()),
                    quoted(key)
                );
                report.problem(&raw.key.spot, Code::Contradiction, message);
            }
        }
        // Exports write empty text where there is none.
        let default = raw.default_value.as_ref().filter(|text| !text.as_str().is_empty());
        let declared = raw.extensions.as_ref().and_then(|extensions| extensions.required.as_ref());
        let variable = ConfigVar {
            key: raw.key.value.clone(),
            stable_key: known.map_or(&raw.key.value, |known| &known.stable_key).clone(),
            description: plain(raw.description.as_ref()),
            data_type,
            collection: raw.collection_type.as_ref().map(|word| match word.value {
                CollectionWord::ValueList => CollectionType::ValueList,
                CollectionWord::KeyValueList => CollectionType::KeyValueList,
            }),
            pick_list: raw.pick_list.iter().flatten().map(|text| text.value.clone()).collect(),
            // A shared connection is connected elsewhere, once.
            required: raw.scoped.is_none() && declared.map_or(default.is_none() && data_type != DataType::Boolean, |flag| flag.value),
            default_value: default.map(|text| text.value.clone()),
            org_only: raw.org_only.as_ref().is_some_and(|flag| flag.value),
            user_level,
            connection: raw.connection.as_ref().map(action_ref),
            shared: raw.scoped.as_ref().map(|text| text.value.clone()),
            inputs,
        };
        if let Some(default) = default {
            check_default(&variable, default, report);
        }
        variable
    }

    fn warn_missing(&self, raw: &raw::Variable, components: &dyn Components, report: &mut Report) {
        if let Some((code, sentence)) = self.get(raw.key.as_str()).and_then(|known| known.missing.as_ref()) {
            report.warn(&raw.spot, *code, sentence.clone());
        } else if let Some(connection) = &raw.connection
            && let Some(Inputs::Named(names)) = components.connection(connection.component.key.as_str(), connection.key.as_str())
        {
            for (name, _) in raw.inputs.iter().flat_map(|inputs| &inputs.0) {
                if !names.contains(&name.as_str()) {
                    let message = format!("the connection does not know the input {}", quoted(name.as_str()));
                    report.warn(&name.spot, Code::InputUnknown, message);
                }
            }
        }
        if let Some(source) = &raw.data_source {
            warn_of_source(raw, source, components, report);
        }
    }
}

/// Warns of a data source that cannot fill the variable, and of inputs that it does not know.
fn warn_of_source(raw: &raw::Variable, source: &raw::Action, components: &dyn Components, report: &mut Report) {
    let (component, key) = (source.component.key.as_str(), source.key.as_str());
    let public = source.component.is_public.as_ref().is_none_or(|flag| flag.value);
    let known = components.data_source(component, key).filter(|_| public);
    let typed_in = |why: String| format!("{why}; the value of {} is typed in", quoted(raw.key.as_str()));
    match known {
        None => {
            let message = typed_in(format!(
                "the data source {} of the component {} is not available",
                quoted(key),
                quoted(component)
            ));
            report.warn(&source.component.key.spot, Code::ComponentMissing, message);
        }
        Some((kind, _)) if kind != data_type(raw) => {
            let message = typed_in(format!("the data source {} fills variables of another data type", quoted(key)));
            report.warn(&source.key.spot, Code::Contradiction, message);
        }
        Some((_, Inputs::Named(names))) => {
            for (name, _) in raw.inputs.iter().flat_map(|inputs| &inputs.0) {
                if !names.contains(&name.as_str()) {
                    let message = format!("the data source does not know the input {}", quoted(name.as_str()));
                    report.warn(&name.spot, Code::InputUnknown, message);
                }
            }
        }
        Some((_, Inputs::Any)) => {}
    }
}

/// One diagnostic per user-level page, for organizations without user level configuration.
pub(super) fn user_level_pages(raw: &[raw::Page]) -> Vec<Diagnostic> {
    let flags = raw
        .iter()
        .filter_map(|page| page.user_level.as_ref().filter(|flag| flag.value).map(|flag| (page, flag)));
    flags
        .map(|(page, flag)| {
            let message = format!(
                "the page {} is user-level, and user level configuration is switched off",
                quoted(page.name.as_str())
            );
            diagnostic(&flag.spot, Code::UlcNotEnabled, message, None)
        })
        .collect()
}

fn config_page(raw: &raw::Page) -> ConfigPage {
    let kind = |word| match word {
        ElementWord::ConfigVar => "configVar",
        ElementWord::HtmlElement => "htmlElement",
        ElementWord::JsonForm => "jsonForm",
    };
    ConfigPage {
        name: raw.name.value.clone(),
        tagline: plain(raw.tagline.as_ref()),
        user_level: raw.user_level.as_ref().is_some_and(|flag| flag.value),
        elements: raw
            .elements
            .iter()
            .flatten()
            .map(|element| (kind(element.kind.value).to_owned(), plain(element.value.as_ref())))
            .collect(),
    }
}

fn plain(text: Option<&Text>) -> String {
    text.map(|text| text.value.clone()).unwrap_or_default()
}

fn spot_of<'t>(first: Option<&'t Text>, second: &'t Text) -> &'t Spot {
    &first.unwrap_or(second).spot
}

fn action_ref(raw: &raw::Action) -> ActionRef {
    ActionRef {
        component: raw.component.key.value.clone(),
        action: raw.key.value.clone(),
    }
}

fn data_type(raw: &raw::Variable) -> DataType {
    let Some(word) = &raw.data_type else {
        let is_connection = raw.connection.is_some() || raw.scoped.is_some();
        return if is_connection { DataType::Connection } else { DataType::String };
    };
    match word.value {
        DataTypeWord::String => DataType::String,
        DataTypeWord::Date => DataType::Date,
        DataTypeWord::Timestamp => DataType::Timestamp,
        DataTypeWord::Picklist => DataType::Picklist,
        DataTypeWord::Schedule => DataType::Schedule,
        DataTypeWord::Code => DataType::Code,
        DataTypeWord::Boolean => DataType::Boolean,
        DataTypeWord::Number => DataType::Number,
        DataTypeWord::ObjectSelection => DataType::ObjectSelection,
        DataTypeWord::ObjectFieldMap => DataType::ObjectFieldMap,
        DataTypeWord::JsonForm => DataType::JsonForm,
        DataTypeWord::Connection => DataType::Connection,
        DataTypeWord::Credential => DataType::Credential,
    }
}

/// Those that older definitions have for secrets: as text they would be stored and shown in the clear.
pub(super) fn credentials(raw: &[raw::Variable]) -> impl Iterator<Item = &raw::Variable> {
    raw.iter().filter(|variable| data_type(variable) == DataType::Credential)
}

fn missing(raw: &raw::Variable, components: &dyn Components) -> Option<String> {
    let key = quoted(raw.key.as_str());
    let connection = raw.connection.as_ref()?;
    let component = connection.component.key.as_str();
    let public = connection.component.is_public.as_ref().is_none_or(|flag| flag.value);
    if public && components.connection(component, connection.key.as_str()).is_some() {
        return None;
    }
    Some(if public && components.component(component) {
        let kind = quoted(connection.key.as_str());
        format!(
            "the connection {key} needs {kind}, which the component {} does not have",
            quoted(component)
        )
    } else {
        format!(
            "the connection {key} needs the component {}, which is not available",
            quoted(component)
        )
    })
}

/// The first input of a connection that stands for something else.
fn no_literal(raw: &raw::Variable) -> Option<String> {
    raw.connection.as_ref()?;
    let is_empty = |input: &raw::Input| match &input.value {
        None => true,
        Some(InputValue::Text(text)) => text.value.is_empty(),
        Some(InputValue::List(items)) => items.is_empty(),
    };
    let mut inputs = raw.inputs.iter().flat_map(|inputs| &inputs.0);
    let (name, _) = inputs.find(|(_, input)| input.kind.value != InputWord::Value && !is_empty(input))?;
    Some(format!(
        "the input {} of the connection {} is not of the type `value`; others are not supported yet",
        quoted(name.as_str()),
        quoted(raw.key.as_str())
    ))
}

fn check_kind(raw: &raw::Variable, data_type: DataType, report: &mut Report) {
    let spot = &raw.key.spot;
    let is_connection = data_type == DataType::Connection;
    if is_connection && raw.connection.is_none() && raw.scoped.is_none() {
        report.problem(spot, Code::KeyMissing, "a connection needs `connection` or `useScopedConfigVar`");
    }
    if raw.connection.is_some() && raw.scoped.is_some() {
        report.problem(
            spot,
            Code::Contradiction,
            "`connection` and `useScopedConfigVar` exclude each other",
        );
    }
    if !is_connection && (raw.connection.is_some() || raw.scoped.is_some()) {
        report.problem(
            spot,
            Code::Contradiction,
            "only a variable of the data type `connection` has a connection",
        );
    }
    if raw.scoped.is_some() && raw.inputs.as_ref().is_some_and(|inputs| !inputs.0.is_empty()) {
        report.problem(spot, Code::Contradiction, "a shared connection has its inputs where it is declared");
    }
    if raw.data_source.is_some() && is_connection {
        report.problem(spot, Code::Contradiction, "a connection has no data source");
    }
    if let Some(collection) = &raw.collection_type
        && !matches!(
            data_type,
            DataType::String
                | DataType::Date
                | DataType::Timestamp
                | DataType::Picklist
                | DataType::Code
                | DataType::Boolean
                | DataType::Number
        )
    {
        report.problem(
            &collection.spot,
            Code::Contradiction,
            "a variable of this data type holds one value",
        );
    }
    if data_type != DataType::Picklist {
        if let Some(first) = raw.pick_list.iter().flatten().next() {
            report.problem(&first.spot, Code::Contradiction, "only a picklist has choices");
        }
        return;
    }
    let mut choices = BTreeSet::new();
    for choice in raw.pick_list.iter().flatten() {
        if choice.as_str().chars().count() > 64 {
            report.problem(&choice.spot, Code::ValueInvalid, "a choice has at most 64 characters");
        }
        if !choices.insert(choice.as_str()) {
            let message = format!("the choice {} stands twice", quoted(choice.as_str()));
            report.problem(&choice.spot, Code::NameDuplicate, message);
        }
    }
    if choices.is_empty() && raw.data_source.is_none() {
        report.problem(spot, Code::ValueInvalid, "a picklist needs `pickList` or a data source");
    }
}

fn check_default(variable: &ConfigVar, default: &Text, report: &mut Report) {
    if variable.data_type == DataType::Connection {
        report.problem(&default.spot, Code::Contradiction, "a connection has inputs, not a default");
    } else if let Err(expected) = value::check(variable, default.as_str()) {
        let message = format!("the default must be {expected}, not {}", quoted(default.as_str()));
        let choices = variable.pick_list.iter().map(String::as_str);
        report.suggest(&default.spot, Code::ValueInvalid, message, default.as_str(), choices);
    }
}
