//! Reads an integration's YAML (`definitionVersion: 7`) and turns it into a checked [`Definition`].
//!
//! Everything that is wrong is reported at once, each problem with line, column, path, a stable word and, where one
//! is near, a suggestion. What is right and cannot run yet (a component that is not here, a feature of a later
//! version) is no error: the flow says what it is missing and the integration is a draft.

mod branches;
mod components;
mod diagnostic;
mod document;
mod features;
mod flows;
mod identity;
mod inputs;
mod numbers;
mod raw;
mod read;
mod redact;
mod replies;
mod report;
mod rewrite;
mod routing;
mod secrets;
mod variables;
mod visibility;
mod words;

pub use components::{Components, Inputs, Takes};
pub use diagnostic::{Code, Diagnostic};
pub use document::{Key, Node, documents, stored};
pub(crate) use features::is_on;
pub use numbers::{NumberError, Renames, assign_flow_numbers};
pub use redact::{REDACTED, is_redacted, redact};
pub use report::{Place, nearest};
pub use rewrite::{with_latest_components, with_texts};
pub use secrets::{Secrets, is_secret_name, take_secrets};
pub use visibility::is_hidden;

use flows::Flows;
use perseat_domain::definition::Definition;
use perseat_domain::id::FlowNumber;
use read::{Read as _, Text};
use report::{Report, Spot, quoted};
use std::collections::BTreeMap;
use variables::Variables;

/// How much YAML is read before the reader gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the text.
    pub bytes: usize,
    /// Scalars, lists and mappings in all, aliases counted each time they are used.
    pub nodes: usize,
    /// Lists and mappings within one another.
    pub depth: usize,
    /// Problems reported; the rest is counted.
    pub diagnostics: usize,
    /// App registrations that a customer may have with one provider.
    pub registrations: usize,
    /// Bytes of one value of a configuration variable, all parts of a connection's together.
    pub value: usize,
    /// Bytes of all values of one configuration, stored.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 8 << 20,
            nodes: 250_000,
            depth: 64,
            diagnostics: 200,
            registrations: 100,
            value: 256 << 10,
            values: 1 << 20,
        }
    }
}

/// A definition that can be stored, with what to tell the person who imports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The checked definition. It is a draft where a flow has something in `missing`.
    pub definition: Definition,
    /// What is not wrong and yet worth knowing; the messages stand in the definition too.
    pub warnings: Vec<Diagnostic>,
    /// The flow numbers of this version and of flows that are gone, by stable key, for the next import.
    pub flow_numbers: BTreeMap<String, FlowNumber>,
    user_level_pages: Vec<Diagnostic>,
    keyless: Vec<(String, Diagnostic)>,
}

impl Parsed {
    /// One `key_missing` per flow with `endpointSecurityType: organization` that has no key in the YAML, unless it is given one apart.
    #[must_use]
    pub fn keyless(&self, is_given: impl Fn(&str) -> bool) -> Vec<Diagnostic> {
        let lacking = self.keyless.iter().filter(|(flow, _)| !is_given(flow));
        lacking.map(|(_, diagnostic)| diagnostic.clone()).collect()
    }

    /// With user level configuration switched off: one `ulc_not_enabled` per user-level page. Empty where there is none.
    #[must_use]
    pub fn user_level_pages(&self) -> &[Diagnostic] {
        &self.user_level_pages
    }
}

/// What an integration's earlier versions gave out and a new one goes on with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Previous {
    /// Flow numbers by stable key, those of flows that are gone among them.
    pub flow_numbers: BTreeMap<String, FlowNumber>,
    /// The stable keys of the last released version's configuration variables, by key.
    pub stable_keys: BTreeMap<String, String>,
}

/// Parses and checks `yaml`.
///
/// # Errors
/// Every problem found, in the order of the text.
pub fn parse(yaml: &str, components: &dyn Components, previous: &Previous, limits: &Limits) -> Result<Parsed, Vec<Diagnostic>> {
    let mut report = Report::new(limits.diagnostics);
    let parsed = read(yaml, components, previous, limits, &mut report);
    let (problems, warnings) = report.finish();
    let Some(mut parsed) = parsed.filter(|_| problems.is_empty()) else {
        return Err(problems);
    };
    parsed.definition.warnings = warnings.iter().map(|warning| warning.message.clone()).collect();
    parsed.warnings = warnings;
    Ok(parsed)
}

/// The JSON Schema of the types that read a definition.
pub(crate) fn schema(generator: schemars::SchemaGenerator) -> schemars::Schema {
    generator.into_root_schema_for::<raw::Integration>()
}

/// `None` only after a problem was reported.
fn read(yaml: &str, components: &dyn Components, previous: &Previous, limits: &Limits, report: &mut Report) -> Option<Parsed> {
    let root = document::read(yaml, limits, report)?;
    check_version(&root, report)?;
    let raw = raw::Integration::read(&root, &Spot::at(root.at), report)?;
    let raw_variables = raw.config_vars.as_deref().unwrap_or_default();
    let stable_keys = identity::stable_keys(&raw, &previous.stable_keys, report);
    let mut variables = Variables::collect(raw_variables, &stable_keys, components, report);
    let raw_pages = raw.pages.as_deref().unwrap_or_default();
    let pages = variables.pages(raw_pages, report);
    let config_vars = variables.check(raw_variables, components, report);
    flows::check_names(&raw.flows, &raw.spot, report);
    let numbers = numbers(&raw, &previous.flow_numbers, report);
    let has_users = pages.iter().any(|page| page.user_level);
    let routing = routing::check(&raw, has_users, report);
    let mut missing = Vec::new();
    if let Some(name) = &raw.preprocess_flow {
        let sentence = "preprocess flows are not supported yet".to_owned();
        report.warn(&name.spot, Code::FeatureUnsupported, sentence.clone());
        missing.push(sentence);
    }
    for variable in variables::credentials(raw_variables) {
        let key = quoted(variable.key.as_str());
        let sentence = format!("the data type `credential` of the variable {key} is not supported; use a connection");
        report.warn(&variable.key.spot, Code::FeatureUnsupported, sentence.clone());
        missing.push(sentence);
    }
    let checker = Flows {
        components,
        variables: &variables,
        numbers: &numbers,
        missing,
    };
    let text = |text: Option<&Text>| text.map(|text| text.value.clone()).unwrap_or_default();
    let definition = Definition {
        name: raw.name.value.clone(),
        description: text(raw.description.as_ref()),
        endpoint_type: routing::endpoint_type(&raw),
        routing,
        config_vars,
        pages,
        flows: raw.flows.iter().filter_map(|flow| checker.flow(flow, report)).collect(),
        warnings: Vec::new(),
    };
    Some(Parsed {
        definition,
        warnings: Vec::new(),
        flow_numbers: numbers,
        user_level_pages: variables::user_level_pages(raw_pages),
        keyless: flows::keyless(&raw.flows),
    })
}

/// Goes on only with version 7: the keys of any other format would all be reported as wrong.
fn check_version(root: &Node, report: &mut Report) -> Option<()> {
    let spot = Spot::at(root.at);
    let Some(version) = root.member("definitionVersion") else {
        let obsolete = root.member("flows").is_none() && (root.member("trigger").is_some() || root.member("steps").is_some());
        if obsolete {
            let message = "this is the format from before `definitionVersion`; export the integration again as version 7";
            report.problem(&spot, Code::FormatObsolete, message);
        }
        return (!obsolete).then_some(());
    };
    let text = version.scalar().unwrap_or_default();
    if text.parse::<i64>().is_ok_and(|version| version != 7) {
        let message = format!("`definitionVersion` {} cannot be read; only 7 can", quoted(text));
        report.problem(&Spot::at(version.at), Code::VersionUnsupported, message);
        return None;
    }
    Some(())
}

fn numbers(raw: &raw::Integration, previous: &BTreeMap<String, FlowNumber>, report: &mut Report) -> BTreeMap<String, FlowNumber> {
    let hints = raw.renames.iter().flat_map(|renames| renames.flows.iter().flatten());
    let hints: BTreeMap<&str, &str> = hints.map(|hint| (hint.new.as_str(), hint.old.as_str())).collect();
    let mut renames = Renames::new();
    for flow in &raw.flows {
        let (name, key) = (flow.name.as_str(), flows::stable_key(flow));
        let old = [hints.get(name).copied(), Some(name)].into_iter().flatten();
        if let Some(old) = old.into_iter().find(|old| *old != key && previous.contains_key(*old)) {
            renames.insert(key.to_owned(), old.to_owned());
        }
    }
    let keys = raw.flows.iter().map(flows::stable_key).filter(|key| !key.is_empty());
    assign_flow_numbers(previous, &renames, keys).unwrap_or_else(|error| {
        report.problem(&raw.spot, Code::FlowNumbersExhausted, error.to_string());
        BTreeMap::new()
    })
}

#[cfg(test)]
mod tests;
