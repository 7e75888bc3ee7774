//! How a definition wants its variables shown. It matters to pages alone, so it is read from the YAML when a page asks.

use super::VersionView;
use perseat_domain::definition::{ActionRef, ConfigVar};
use perseat_flow::component::BuiltIn;
use perseat_flow::definition::Components as _;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How the variables of a version are shown.
#[derive(Clone, Debug, Default)]
pub struct Presentation(BTreeMap<String, Presented>);

/// How one variable is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presented {
    /// Not to people: the host product's page sets it.
    pub is_hidden: bool,
    /// The language of code.
    pub code_language: Option<String>,
    /// How a schedule is offered.
    pub schedule_type: Option<String>,
    /// The time zone of a schedule.
    pub time_zone: Option<String>,
    /// Inputs of a connection that people do not see.
    pub hidden_inputs: Vec<String>,
    /// The data source that says what it can be, where there is one of this kind.
    pub data_source: Option<ActionRef>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Top {
    required_config_vars: Vec<Variable>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Variable {
    key: Option<String>,
    meta: Option<Meta>,
    code_language: Option<String>,
    schedule_type: Option<String>,
    time_zone: Option<String>,
    inputs: Option<BTreeMap<String, VariableInput>>,
    data_source: Option<Source>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    key: String,
    component: SourceComponent,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SourceComponent {
    key: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct VariableInput {
    meta: Option<Meta>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    #[serde(alias = "isVisibleToCustomerDeployer")]
    visible_to_customer_deployer: Option<bool>,
    org_only: Option<bool>,
}

impl Meta {
    fn hides(&self) -> bool {
        self.visible_to_customer_deployer == Some(false) || self.org_only == Some(true)
    }
}

impl VersionView {
    /// How its variables are shown.
    #[must_use]
    pub fn presentation(&self) -> Presentation {
        Presentation::read(&self.version.yaml)
    }
}

impl Presentation {
    fn read(yaml: &str) -> Self {
        let top = serde_saphyr::from_str::<Top>(yaml).unwrap_or_default();
        let shown = top.required_config_vars.into_iter().filter_map(|variable| {
            let inputs = variable.inputs.unwrap_or_default().into_iter();
            let hidden = inputs.filter(|(_, input)| input.meta.as_ref().is_some_and(Meta::hides));
            let presented = Presented {
                is_hidden: variable.meta.as_ref().is_some_and(Meta::hides),
                code_language: variable.code_language,
                schedule_type: variable.schedule_type,
                time_zone: variable.time_zone,
                hidden_inputs: hidden.map(|(name, _)| name).collect(),
                data_source: variable.data_source.map(|source| ActionRef {
                    component: source.component.key,
                    action: source.key,
                }),
            };
            Some((variable.key?, presented))
        });
        Self(shown.collect())
    }

    /// How this variable is shown.
    #[must_use]
    pub fn of(&self, variable: &ConfigVar) -> Presented {
        let mut presented = self.0.get(&variable.key).cloned().unwrap_or_default();
        presented.data_source = presented.data_source.filter(|source| {
            let known = BuiltIn.data_source(&source.component, &source.action);
            known.is_some_and(|(kind, _)| kind == variable.data_type)
        });
        presented
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "
name: Files
requiredConfigVars:
  - {key: Seen, dataType: string}
  - {key: Set by the host, stableKey: host, meta: {visibleToCustomerDeployer: false}}
  - {key: Old, stableKey: old, meta: {isVisibleToCustomerDeployer: false, isVisibleToOrgDeployer: true}}
  - key: Account
    stableKey: account
    dataType: connection
    inputs:
      clientId: {type: value, value: x, meta: {orgOnly: true}}
      username: {type: value, value: null, meta: {visibleToCustomerDeployer: true}}
  - {key: Script, stableKey: script, dataType: code, codeLanguage: json}
";

    #[test]
    fn what_people_do_not_see_is_read_from_the_definition() {
        let presentation = Presentation::read(YAML);
        let of = |key: &str| presentation.0[key].clone();
        assert_eq!(of("Seen"), Presented::default());
        assert!(of("Set by the host").is_hidden && of("Old").is_hidden);
        assert_eq!(of("Account").hidden_inputs, ["clientId"]);
        assert_eq!(of("Script").code_language.as_deref(), Some("json"));
        assert!(Presentation::read(": [").0.is_empty(), "what cannot be read says nothing");
    }
}
