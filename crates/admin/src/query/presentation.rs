//! How a definition wants its variables shown. It matters to pages alone, so it is read from the YAML when a page asks.

use super::VersionView;
use perseat_domain::definition::{ActionRef, ConfigVar};
use perseat_flow::component::BuiltIn;
use perseat_flow::definition::{Components as _, Node, is_hidden, stored};
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

impl VersionView {
    /// How its variables are shown.
    #[must_use]
    pub fn presentation(&self) -> Presentation {
        Presentation::read(&self.version.yaml)
    }
}

impl Presentation {
    /// Variable by variable: what is wrong with one says nothing about another.
    fn read(yaml: &str) -> Self {
        let root = stored(yaml);
        let variables = root.as_ref().and_then(|root| root.member("requiredConfigVars")?.items());
        let variables = variables.unwrap_or_default().iter();
        let shown = variables.filter_map(|variable| Some((text(variable, "key")?, presented(variable))));
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

fn presented(variable: &Node) -> Presented {
    let inputs = variable.member("inputs").and_then(Node::members).unwrap_or_default().iter();
    let is_hidden = |node: &Node| node.member("meta").is_some_and(is_hidden);
    let hidden = inputs.filter(|(_, input)| is_hidden(input));
    Presented {
        is_hidden: is_hidden(variable),
        code_language: text(variable, "codeLanguage"),
        schedule_type: text(variable, "scheduleType"),
        time_zone: text(variable, "timeZone"),
        hidden_inputs: hidden.map(|(name, _)| name.text.to_string()).collect(),
        data_source: variable.member("dataSource").and_then(source),
    }
}

fn source(node: &Node) -> Option<ActionRef> {
    Some(ActionRef {
        component: text(node.member("component")?, "key")?,
        action: text(node, "key")?,
    })
}

/// The text of a member, where it has one.
pub(super) fn text(node: &Node, name: &str) -> Option<String> {
    let member = node.member(name).filter(|member| !member.is_null())?;
    member.scalar().map(str::to_owned)
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
  - {key: Folder, dataSource: {key: folders, component: {key: drive}}, scheduleType: null}
";

    #[test]
    fn what_people_do_not_see_is_read_from_the_definition() {
        let presentation = Presentation::read(YAML);
        let of = |key: &str| presentation.0[key].clone();
        assert_eq!(of("Seen"), Presented::default());
        assert!(of("Set by the host").is_hidden && of("Old").is_hidden);
        assert_eq!(of("Account").hidden_inputs, ["clientId"]);
        assert_eq!(of("Script").code_language.as_deref(), Some("json"));
        let folders = ActionRef {
            component: "drive".into(),
            action: "folders".into(),
        };
        assert_eq!(of("Folder").data_source, Some(folders));
        assert!(Presentation::read(": [").0.is_empty(), "what cannot be read says nothing");
    }

    #[test]
    fn what_is_odd_about_one_variable_says_nothing_about_another() {
        let whole = Presentation::read(YAML);
        for (odd, is_hidden) in [
            ("inputs: {token: null}", false),
            ("inputs: [x]", false),
            ("codeLanguage: [x]", false),
            ("dataSource: {key: x}", false),
            ("meta: null", false),
            ("meta: {visibleToCustomerDeployer: null, orgOnly: false}", false),
            ("meta: {visibleToCustomerDeployer: true, isVisibleToCustomerDeployer: false}", true),
            ("meta: {isVisibleToCustomerDeployer: perhaps}", true),
            ("meta: {orgOnly: [false]}", true),
            ("meta: [x]", true),
        ] {
            let mut read = Presentation::read(&format!("{YAML}  - {{key: Odd, {odd}}}\n"));
            let expected = Presented {
                is_hidden,
                ..Presented::default()
            };
            assert_eq!(read.0.remove("Odd"), Some(expected), "{odd}");
            assert_eq!(read.0, whole.0, "{odd}");
        }
        let hidden = Presentation::read("requiredConfigVars: [{key: A, inputs: {x: {meta: {orgOnly: 1}}, y: {meta: {orgOnly: false}}}}]");
        assert_eq!(hidden.0["A"].hidden_inputs, ["x"]);
        let aliases = format!(
            "{YAML}more: [&a [x, x], &b [*a, *a], &c [*b, *b], &d [*c, *c]]\nmost: [{}]\n",
            "*d, ".repeat(2_000)
        );
        assert_eq!(Presentation::read(&aliases).0, whole.0, "many aliases");
    }
}
