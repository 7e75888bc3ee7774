//! The answers that a trigger and a stop step define for whoever called.

use super::Code;
use super::inputs::{Piece, pieces};
use super::raw::{self, InputName, InputValue, Item};
use super::report::{Report, Spot, quoted};
use super::variables::Variables;
use super::words::InputWord;
use crate::expression::account_part;
use perseat_domain::definition::{ActionRef, DataType};

/// The inputs of a trigger that make its answer.
const PARTS: [&str; 4] = ["statusCode", "contentType", "headers", "body"];

fn is_webhook(action: &ActionRef) -> bool {
    (action.component.as_str(), action.action.as_str()) == ("webhook-triggers", "webhook")
}

fn is_stop(action: &ActionRef) -> bool {
    (action.component.as_str(), action.action.as_str()) == ("stop-execution", "stopExecution")
}

/// Reports a status that is written in the definition and is none.
pub(super) fn check_status(raw: &raw::Step, action: &ActionRef, report: &mut Report) {
    if !is_webhook(action) && !is_stop(action) {
        return;
    }
    let Some((_, input)) = raw
        .inputs
        .iter()
        .flat_map(|inputs| &inputs.0)
        .find(|(name, _)| name.as_str() == "statusCode")
    else {
        return;
    };
    let (InputWord::Value, Some(InputValue::Text(text))) = (input.kind.value, &input.value) else {
        return;
    };
    let written = text.value.trim();
    let is_status = written.parse::<u16>().is_ok_and(|status| (200..600).contains(&status));
    if !is_status && !written.is_empty() {
        let message = format!("`statusCode` is an HTTP status from 200 to 599, not {}", quoted(written));
        report.problem(&text.spot, Code::ValueInvalid, message);
    }
}

/// Warns of what asynchronous callers do not get: their answer is made before the flow runs, and not for one user.
pub(super) fn warn_of_late_parts(flow: &str, raw: &raw::Step, action: &ActionRef, variables: &Variables, report: &mut Report) {
    if !is_webhook(action) {
        return;
    }
    let inputs = raw.inputs.iter().flat_map(|inputs| &inputs.0);
    for (name, input) in inputs.filter(|(name, _)| PARTS.contains(&name.as_str())) {
        if let Some((spot, what)) = late(input, variables) {
            let message = format!(
                "flow {}: asynchronous callers are answered before the flow runs and get `{}` without {what}",
                quoted(flow),
                name.as_str()
            );
            report.warn(spot, Code::FeatureUnsupported, message);
        }
    }
}

/// What of an input is not known when a route is published: its first such part.
fn late<'i>(input: &'i raw::Input, variables: &Variables) -> Option<(&'i Spot, String)> {
    let of_user = |key: &str| {
        variables
            .get(key)
            .is_some_and(|known| known.user_level || known.data_type == DataType::Connection)
            || account_part(key).is_some_and(|(variable, _)| variables.is_connection(variable))
    };
    let variable = |key: &str| format!("the variable {}, which is not a plain one of the instance", quoted(key));
    match (input.kind.value, input.value.as_ref()?) {
        (InputWord::ConfigVar, InputValue::Text(text)) if of_user(&text.value) => Some((&text.spot, variable(&text.value))),
        (InputWord::Reference, InputValue::Text(text)) => Some((&text.spot, format!("what {} refers to", quoted(&text.value)))),
        (InputWord::Template, InputValue::Text(text)) => {
            let found = pieces(&text.value).ok()?.into_iter().find_map(|piece| match piece {
                Piece::ConfigVar(key) if of_user(key) => Some(variable(key)),
                Piece::Reference(path) => Some(format!("what {} refers to", quoted(path))),
                _ => None,
            });
            found.map(|what| (&text.spot, what))
        }
        (_, InputValue::List(items)) => items.iter().find_map(|item| match item {
            Item::Input(input) => {
                let name = match &input.name {
                    Some(InputName::Input(name)) => late(name, variables),
                    _ => None,
                };
                name.or_else(|| late(input, variables))
            }
            _ => None,
        }),
        _ => None,
    }
}
