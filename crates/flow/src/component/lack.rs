//! Which credential keeps a step from being performed today.

use crate::expression::{Connection, Scope, Setting, account_part};
use perseat_domain::definition::{ComplexItem, Input, Step, TemplatePart};

/// A connection that the step needs and that holds no credential that can be used, if there is one.
///
/// An HTTP step needs what its inputs name, also where they name its account alone. A script is given every connection: it needs those whose key stands in its text.
#[must_use]
pub fn lacking<'s>(step: &Step, scope: &'s Scope) -> Option<&'s Connection> {
    let obstructed = scope.settings().iter().filter_map(|(key, setting)| match setting {
        Setting::Connection(connection) if connection.obstacle.is_some() => Some((key, connection)),
        Setting::Connection(_) | Setting::Plain(_) => None,
    });
    let is_script = step.action.component == "code";
    let mut needed = obstructed.filter(|(key, _)| step.inputs.values().any(|input| names(input, key, is_script)));
    needed.next().map(|(_, connection)| &**connection)
}

/// The connection that a script's requests are counted to: the one whose key stands in its text, where there is one alone.
pub(super) fn only_named<'s>(step: &Step, scope: &'s Scope) -> Option<&'s Connection> {
    let connections = scope.settings().iter().filter_map(|(key, setting)| match setting {
        Setting::Connection(connection) => Some((key, connection)),
        Setting::Plain(_) => None,
    });
    let mut named = connections.filter(|(key, _)| step.inputs.values().any(|input| names(input, key, true)));
    let (_, first) = named.next()?;
    named.next().is_none().then_some(&**first)
}

fn names(input: &Input, key: &str, is_script: bool) -> bool {
    match input {
        Input::ConfigVar(name) => name == key || is_account_of(name, key),
        Input::Template(parts) => {
            let names = |part: &TemplatePart| matches!(part, TemplatePart::ConfigVar(name) if is_account_of(name, key));
            parts.iter().any(names)
        }
        Input::Complex(items) => items.iter().any(|item| item_names(item, key)),
        Input::Value(Some(text)) => is_script && text.contains(key),
        _ => false,
    }
}

fn item_names(item: &ComplexItem, key: &str) -> bool {
    match item {
        ComplexItem::Operator(_) => false,
        ComplexItem::List(items) => items.iter().any(|item| item_names(item, key)),
        ComplexItem::Input { name, input } => name.iter().any(|name| names(name, key, false)) || names(input, key, false),
    }
}

fn is_account_of(name: &str, key: &str) -> bool {
    account_part(name).is_some_and(|(variable, _)| variable == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::{Limits, Results};
    use perseat_domain::definition::{ActionRef, StepErrorPolicy};
    use perseat_domain::grant::Obstacle;
    use perseat_domain::model::ConnectionValue;
    use serde_json::Value;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn step(component: &str, input: Input) -> Step {
        Step {
            name: "Step".into(),
            reference: "step".into(),
            action: ActionRef {
                component: component.into(),
                action: "any".into(),
            },
            inputs: [("input".to_owned(), input)].into(),
            on_error: StepErrorPolicy::Fail,
            branches: Vec::new(),
            body: Vec::new(),
        }
    }

    fn text_of(step: &Step) -> &str {
        match step.inputs.get("input") {
            Some(Input::Value(Some(text))) => text,
            _ => "",
        }
    }

    fn scope(obstacle: Option<Obstacle>) -> Scope {
        let connection = Connection {
            account: Vec::new(),
            variable: "account".into(),
            kind: ActionRef {
                component: "http".into(),
                action: "oauth2".into(),
            },
            version: 1,
            registration: None,
            chosen: None,
            value: ConnectionValue {
                fields: BTreeMap::new(),
                token: None,
            },
            obstacle,
        };
        let settings = [("Account".to_owned(), Setting::Connection(Arc::new(connection)))];
        Scope::new(
            "onEvent",
            Arc::new(Results::of_value(Value::Null)),
            settings.into_iter().collect(),
            Limits::default(),
        )
    }

    #[test]
    fn a_step_lacks_only_what_it_names_and_cannot_use() {
        let script = |text: &str| Input::Value(Some(text.into()));
        let named = || Input::ConfigVar("Account".into());
        let account = || {
            Input::Template(vec![
                TemplatePart::Text("/".into()),
                TemplatePart::ConfigVar("Account.account.id".into()),
            ])
        };
        let within = |input| Input::Complex(vec![ComplexItem::List(vec![ComplexItem::Input { name: None, input }])]);
        for (component, input, obstacle, is_lacking) in [
            ("http", named(), Some(Obstacle::Consent), true),
            ("http", named(), Some(Obstacle::Patience), true),
            ("http", named(), None, false),
            ("http", Input::ConfigVar("Other".into()), Some(Obstacle::Consent), false),
            ("http", script("Account"), Some(Obstacle::Consent), false),
            ("http", account(), Some(Obstacle::Consent), true),
            ("http", within(account()), Some(Obstacle::Consent), true),
            ("http", within(script("Account")), Some(Obstacle::Consent), false),
            ("code", script("use(configVars[\"Account\"])"), Some(Obstacle::Consent), true),
            ("code", script("1 + 1"), Some(Obstacle::Consent), false),
        ] {
            let (step, scope) = (step(component, input), scope(obstacle));
            assert_eq!(lacking(&step, &scope).is_some(), is_lacking, "{step:?} {obstacle:?}");
            let is_named = component == "code" && text_of(&step).contains("Account");
            assert_eq!(component == "code" && only_named(&step, &scope).is_some(), is_named, "{step:?}");
        }
    }
}
