//! Counts what an answer takes, while it is made: a field costs its place in the tree and what it says, however often the same is asked for.

use super::answer::error;
use crate::control::budget::Budget;
use async_graphql::async_trait::async_trait;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextResolve, ResolveInfo};
use async_graphql::{Name, ServerResult, Value};
use perseat_admin::fault::Fault;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(super) struct Size;

impl ExtensionFactory for Size {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait]
impl Extension for Size {
    async fn resolve(&self, ctx: &ExtensionContext<'_>, info: ResolveInfo<'_>, next: NextResolve<'_>) -> ServerResult<Option<Value>> {
        let Some(budget) = ctx.data_opt::<Arc<Budget>>() else {
            return next.run(ctx, info).await;
        };
        let position = info.field.name.pos;
        let take = |bytes| {
            let taken = budget.take_answer(bytes);
            taken.map_err(|spent| error(Fault::Spent(spent)).into_server_error(position))
        };
        // Whether there is room left: or else nothing more is made.
        take(0)?;
        let is_object = !info.field.selection_set.node.items.is_empty();
        let is_list = info.return_type.starts_with('[');
        let value = next.run(ctx, info).await?;
        take(match &value {
            None => 0,
            // What is within was counted when it was made.
            Some(Value::List(items)) if is_list => items.len() * PLACE,
            Some(Value::Object(fields)) if is_object => fields.keys().map(|key| PLACE + key.len()).sum(),
            Some(value) => bytes_of(value),
        })?;
        Ok(value)
    }
}

/// A value and its name, beside what they say.
const PLACE: usize = size_of::<(Name, Value)>();

/// What a value says, as JSON.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Null | Value::Number(_) | Value::Boolean(_) => 0,
        Value::String(text) => text.bytes().map(escaped).sum(),
        Value::Enum(name) => name.len(),
        // A byte becomes a number.
        Value::Binary(bytes) => bytes.len() * "255,".len(),
        Value::List(items) => items.iter().map(|item| PLACE + bytes_of(item)).sum(),
        Value::Object(fields) => fields.iter().map(|(key, value)| PLACE + key.len() + bytes_of(value)).sum(),
    }
}

/// The length of a byte of a text in JSON.
fn escaped(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' => 2,
        0..0x20 => r"\u0000".len(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::value;

    #[test]
    fn no_value_is_longer_as_json_than_it_is_counted() {
        let texts = value!({ "a": "plain", "b": ["\u{1}\u{2}\u{1f}\n", "\"\\\u{7f}ü", null], "c": { "d": [1.5, true] } });
        let all = [texts, Value::Binary(vec![255; 9].into()), Value::Enum(Name::new("WARN"))];
        for value in all {
            let json = serde_json::to_string(&value).unwrap();
            assert!(PLACE + bytes_of(&value) >= json.len(), "{json}");
        }
        assert_eq!(bytes_of(&Value::String("\u{1}\"a".into())), 9);
    }
}
