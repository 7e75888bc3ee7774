//! Inputs → values.

use super::{Connection, ExpressionError, Scope};
use perseat_domain::definition::Input;
use serde_json::Value;
use std::sync::Arc;

/// What an input came to.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// Data.
    Value(Value),
    /// A credential.
    Connection(Arc<Connection>),
}

/// Resolves one input.
///
/// # Errors
/// See [`ExpressionError`].
pub fn resolve(input: &Input, scope: &Scope) -> Result<Resolved, ExpressionError> {
    let _ = (input, scope);
    Ok(Resolved::Value(Value::Null))
}

/// How a value looks as text: strings as they are, null as nothing, all else as JSON.
#[must_use]
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
