//! Inputs of steps: read from a definition where the first byte is even, else decoded as they are stored; then resolved.
//!
//! Values stay within the limits of their scope, and a second look gives the same.

use perseat_domain::definition::Input;
use perseat_flow::component::BuiltIn;
use perseat_flow::definition;
use perseat_flow::expression::{
    ExpressionError, Limits, Resolved, Results, Scope, Setting, branch_on_expression, branch_on_value, resolve, text_of,
};
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};

const LIMITS: Limits = Limits { bytes: 4096, depth: 16 };
/// Longer ones say nothing new, and each nesting of a stored input takes at least two bytes.
const MOST: usize = 2048;

pub(crate) fn run(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    if rest.len() > MOST {
        return;
    }
    let inputs = if choice % 2 == 0 { written(rest) } else { stored(rest) };
    let scope = SCOPE.get_or_init(scope);
    for input in &inputs {
        look_at(input, scope);
    }
    if let [first, second, ..] = inputs.as_slice() {
        let _ = branch_on_value(first, second, scope);
    }
}

fn look_at(input: &Input, scope: &Scope) {
    let resolved = resolve(input, scope);
    match &resolved {
        Ok(Resolved::Value(value)) => {
            assert!(depth(value) <= LIMITS.depth, "deeper than the limit");
            assert!(size(value) <= LIMITS.bytes, "{} bytes", size(value));
            let again = resolve(input, scope);
            assert!(matches!(&again, Ok(Resolved::Value(second)) if second == value), "another value");
            let _ = text_of(value);
        }
        Ok(Resolved::Connection(_)) => assert!(matches!(input, Input::ConfigVar(_))),
        Err(ExpressionError::TooLarge(limit)) => assert_eq!(*limit, LIMITS.bytes),
        Err(ExpressionError::TooDeep(limit)) => assert_eq!(*limit, LIMITS.depth),
        Err(_) => {}
    }
    let _ = branch_on_expression(input, scope);
}

/// Inputs as a definition has them: the text is a template, a reference, and the left side of a condition.
fn written(text: &[u8]) -> Vec<Input> {
    let text = Value::from(String::from_utf8_lossy(text)).to_string();
    let yaml = format!(
        "definitionVersion: 7
name: Test
requiredConfigVars: [{{key: Folder, stableKey: folder, dataType: string}}]
configPages: [{{name: Page, elements: [{{type: configVar, value: Folder}}]}}]
flows:
  - name: Main
    steps:
      - name: Hook
        isTrigger: true
        action: {{key: webhook, component: {{key: webhook-triggers, version: LATEST, isPublic: true}}}}
      - name: Log
        action: {{key: writeLog, component: {{key: log, version: LATEST, isPublic: true}}}}
        inputs: {{level: {{type: template, value: {text}}}, message: {{type: reference, value: {text}}}}}
"
    );
    let Ok(parsed) = definition::parse(&yaml, &BuiltIn, &definition::Previous::default(), &definition::Limits::default()) else {
        // Most texts are no reference; then the template alone.
        let template = yaml.replace(&format!(", message: {{type: reference, value: {text}}}"), "");
        let parsed = definition::parse(
            &template,
            &BuiltIn,
            &definition::Previous::default(),
            &definition::Limits::default(),
        );
        return parsed.map(|parsed| inputs_of(&parsed)).unwrap_or_default();
    };
    inputs_of(&parsed)
}

fn inputs_of(parsed: &definition::Parsed) -> Vec<Input> {
    let steps = parsed.definition.flows.iter().flat_map(|flow| &flow.steps);
    steps.flat_map(|step| step.inputs.values().cloned()).collect()
}

/// Up to four inputs as the catalog stores them.
fn stored(mut bytes: &[u8]) -> Vec<Input> {
    let mut inputs = Vec::new();
    while inputs.len() < 4
        && let Ok((input, rest)) = postcard::take_from_bytes::<Input>(bytes)
    {
        inputs.push(input);
        bytes = rest;
    }
    inputs
}

static SCOPE: OnceLock<Scope> = OnceLock::new();

fn scope() -> Scope {
    let deep = (0..20).fold(json!("leaf"), |inner, _| json!([inner]));
    let payload = json!({
        "results": null, "headers": { "X-Event": "ping", "content-type": "application/json" },
        "body": { "data": { "n": 1, "list": [1, "two", null, { "id": 3.5 }], "date": "2026-11-25T12:00:00Z", "": "empty", "ü": true } },
        "long": "x".repeat(1500), "deep": deep,
    });
    let settings = [("Folder".to_owned(), Setting::Plain(json!("/in")))];
    let mut scope = Scope::new("hook", Arc::new(Results::of_value(payload)), settings.into_iter().collect(), LIMITS);
    scope.finish("fetch", Arc::new(Results::of_value(json!([{ "id": "a" }, { "id": "b" }]))));
    scope.enter("loop", Arc::new(json!({ "id": 7 })));
    scope
}

fn depth(value: &Value) -> usize {
    let inner = |deepest: Option<usize>| 1 + deepest.unwrap_or(0);
    match value {
        Value::Array(items) => inner(items.iter().map(depth).max()),
        Value::Object(members) => inner(members.values().map(depth).max()),
        _ => 0,
    }
}

/// Text and keys.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(members) => members.iter().map(|(key, member)| key.len() + size(member)).sum(),
        _ => 0,
    }
}
