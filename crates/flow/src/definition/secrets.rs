//! Secret inputs of connections: which they are, and where they stand in a definition and in its text.

use super::Components;
use super::document::{Content, Node};
use super::redact::REDACTED;
use perseat_domain::definition::{ComplexItem, Definition, Input, TemplatePart};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Texts of secret inputs by the variable's stable key and the input's name.
pub type Secrets = BTreeMap<String, BTreeMap<String, Zeroizing<String>>>;

/// Whether the name of an input says that it is a secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let letters = name.chars().filter(|letter| letter.is_alphanumeric());
    let name: String = letters.flat_map(char::to_lowercase).collect();
    let has_word = ["secret", "password", "passphrase", "privatekey"]
        .iter()
        .any(|word| name.contains(word));
    let is_word = ["key", "token", "passwd", "credential", "credentials"]
        .iter()
        .any(|word| name.ends_with(word));
    (has_word || is_word) && !name.ends_with("publickey")
}

/// Takes the texts of secret inputs out of a definition; [`REDACTED`] stands in their places.
pub fn take_secrets(definition: &mut Definition, components: &dyn Components) -> Secrets {
    let mut taken = Secrets::new();
    for variable in &mut definition.config_vars {
        let kind = variable.connection.as_ref();
        let (component, connection) = kind.map_or(("", ""), |kind| (&kind.component, &kind.action));
        for (name, input) in &mut variable.inputs {
            if !components.is_secret(component, connection, name) {
                continue;
            }
            if let Some(text) = take(input) {
                let inputs = taken.entry(variable.stable_key.clone()).or_default();
                inputs.insert(name.clone(), Zeroizing::new(text));
            }
        }
    }
    taken
}

/// Only literal text counts for a connection; what else may hold text goes, too, and nobody needs it back.
fn take(input: &mut Input) -> Option<String> {
    match input {
        Input::Value(Some(text)) if !text.is_empty() => return Some(std::mem::replace(text, REDACTED.to_owned())),
        Input::Template(parts) if !parts.is_empty() => *parts = vec![TemplatePart::Text(REDACTED.to_owned())],
        Input::Complex(items) => items.iter_mut().for_each(take_item),
        Input::Value(_) | Input::Template(_) | Input::ConfigVar(_) | Input::Reference(_) => {}
    }
    None
}

fn take_item(item: &mut ComplexItem) {
    match item {
        ComplexItem::Input { input, .. } => drop(take(input).map(Zeroizing::new)),
        ComplexItem::List(items) => items.iter_mut().for_each(take_item),
        ComplexItem::Operator(_) => {}
    }
}

/// The same places in a document.
pub(super) fn secret_texts<'n>(root: &'n Node, components: &dyn Components) -> Vec<&'n Node> {
    let mut found = Vec::new();
    for variable in root.member("requiredConfigVars").and_then(Node::items).unwrap_or_default() {
        let kind = variable.member("connection");
        let key = |node: Option<&'n Node>| node.and_then(|node| node.member("key")?.scalar()).unwrap_or_default();
        let (component, connection) = (key(kind.and_then(|kind| kind.member("component"))), key(kind));
        for (name, input) in variable.member("inputs").and_then(Node::members).unwrap_or_default() {
            if components.is_secret(component, connection, &name.text) {
                texts_of_input(input, &mut found);
            }
        }
    }
    found
}

fn texts_of_input<'n>(input: &'n Node, found: &mut Vec<&'n Node>) {
    let is_text = matches!(input.member("type").and_then(Node::scalar), Some("value" | "template" | "complex"));
    if let Some(value) = input.member("value").filter(|_| is_text) {
        texts(value, found);
    }
}

fn texts<'n>(node: &'n Node, found: &mut Vec<&'n Node>) {
    match &*node.content {
        Content::Scalar { text, .. } if text.is_empty() || node.is_null() => {}
        Content::Scalar { .. } => found.push(node),
        Content::List(items) => {
            for item in items {
                match &*item.content {
                    Content::Map(_) => texts_of_input(item, found),
                    Content::List(_) => texts(item, found),
                    // The operator of a condition.
                    Content::Scalar { .. } => {}
                }
            }
        }
        Content::Map(_) => {}
    }
}
