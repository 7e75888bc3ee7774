//! From refusals to GraphQL's errors, and the payloads of mutations.

use crate::control::Desk;
use crate::control::budget::Budget;
use async_graphql::{Context, Error, ErrorExtensions as _, ID, Result, SimpleObject};
use perseat_admin::actor::Actor;
use perseat_admin::edit::Edit;
use perseat_admin::fault::Fault;
use perseat_admin::query::{PageRequest, Reader};
use perseat_store::catalog::{Allowance as _, Spent};
use std::str::FromStr;
use std::sync::Arc;

/// What is wrong with one field of a mutation's input; the field of the whole is `__all__`.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(name = "ErrorType")]
pub(super) struct FieldErrors {
    field: String,
    messages: Vec<String>,
    /// A stable word for what is wrong, where there is one: `value_invalid`, `certificate_invalid`, …
    code: Option<String>,
}

const WHOLE: &str = "__all__";

/// A refusal as the errors of a payload; the store's failures are nobody's input.
pub(super) fn field_errors(fault: Fault) -> Result<Vec<FieldErrors>> {
    let mut errors: Vec<FieldErrors> = Vec::new();
    match fault {
        Fault::Wrong(wrong) => {
            for one in wrong {
                let field = if one.field.is_empty() { WHOLE.to_owned() } else { one.field };
                match errors.iter_mut().find(|errors| errors.field == field) {
                    Some(known) => {
                        known.code = known.code.take().filter(|code| one.code == Some(code.as_str()));
                        known.messages.push(one.message);
                    }
                    None => errors.push(FieldErrors {
                        field,
                        messages: vec![one.message],
                        code: one.code.map(str::to_owned),
                    }),
                }
            }
        }
        Fault::Store(_) | Fault::Spent(_) => return Err(error(fault)),
        fault => errors.push(FieldErrors {
            field: WHOLE.to_owned(),
            messages: vec![sentence(&fault)],
            code: None,
        }),
    }
    Ok(errors)
}

fn sentence(fault: &Fault) -> String {
    let text = fault.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

/// A refusal as an error of the whole answer.
pub(super) fn error(fault: Fault) -> Error {
    let message = sentence(&fault);
    let (code, message) = match fault {
        Fault::Wrong(_) => ("INVALID", message),
        Fault::Absent(_) => ("NOT_FOUND", message),
        Fault::Denied(_) => ("FORBIDDEN", message),
        Fault::Stale => ("STALE", message),
        Fault::Spent(spent) => (spent_code(spent), message),
        Fault::Store(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a request of the API failed");
            ("INTERNAL", "Internal error.".to_owned())
        }
    };
    Error::new(message).extend_with(|_, extensions| extensions.set("code", code))
}

/// What clients tell the bounds of a request apart by.
fn spent_code(spent: Spent) -> &'static str {
    match spent {
        Spent::Records => "TOO_MANY_ROWS",
        Spent::Bytes => "TOO_MANY_BYTES",
        Spent::Time => "TOO_SLOW",
    }
}

/// Why a whole query is refused that would have read too much: half an answer would be taken for all there is.
pub(in crate::control) fn spent(spent: Spent) -> serde_json::Value {
    let message = sentence(&Fault::Spent(spent));
    serde_json::json!({
        "data": null,
        "errors": [{ "message": message, "extensions": { "code": spent_code(spent) } }],
    })
}

pub(super) fn desk<'c>(ctx: &Context<'c>) -> Result<&'c Arc<Desk>> {
    ctx.data::<Arc<Desk>>()
}

pub(super) fn actor<'c>(ctx: &Context<'c>) -> Result<&'c Actor> {
    ctx.data::<Actor>()
}

/// Counts what is read elsewhere than in the catalog, or shown of one record.
pub(super) fn spend(ctx: &Context<'_>, items: usize) -> Result<()> {
    let taken = budget(ctx)?.take(items);
    taken.map_err(|spent| error(Fault::Spent(spent)))
}

/// What the request may still read.
pub(super) fn budget<'c>(ctx: &Context<'c>) -> Result<&'c Arc<Budget>> {
    ctx.data::<Arc<Budget>>()
}

/// Reads one moment of the catalog for whoever asks.
pub(super) fn read<T>(ctx: &Context<'_>, work: impl FnOnce(&Reader<'_>) -> Result<T, Fault>) -> Result<T> {
    spend(ctx, 0)?;
    let read = desk(ctx)?.read_within(actor(ctx)?, budget(ctx)?.as_ref(), work);
    read.map_err(error)
}

/// Makes one change for whoever asks. The outer error is the daemon's, the inner a refusal.
pub(super) fn change<T>(ctx: &Context<'_>, action: &str, work: impl Fn(&mut Edit<'_, '_>) -> Result<T, Fault>) -> Result<Result<T, Fault>> {
    spend(ctx, 0)?;
    Ok(desk(ctx)?.change(actor(ctx)?, action, work))
}

/// An id that a client sent; what cannot be one names nothing.
pub(super) fn id<I: FromStr>(text: &ID, kind: &'static str) -> Result<I, Fault> {
    text.parse().map_err(|_| Fault::Absent(kind))
}

/// The id of an input, which the schema lets be absent and clients always send.
pub(super) fn required<I: FromStr>(text: Option<&ID>, kind: &'static str) -> Result<I, Fault> {
    id(text.ok_or_else(|| Fault::field("id", "This field is required."))?, kind)
}

/// Which part of a list.
pub(super) fn page(after: Option<String>, first: Option<i32>) -> PageRequest {
    PageRequest {
        after: after.filter(|cursor| !cursor.is_empty()),
        first: first.map(|first| usize::try_from(first).unwrap_or(0)),
    }
}

/// The answer of each mutation: what it made or changed, or what is wrong with its input.
macro_rules! payloads {
    ($($name:ident { $field:ident: $type:ty })*) => {$(
        #[derive(Debug, async_graphql::SimpleObject)]
        pub(super) struct $name {
            $field: Option<$type>,
            errors: Vec<$crate::control::schema::answer::FieldErrors>,
        }

        impl $name {
            pub(super) fn of(outcome: Result<$type, perseat_admin::fault::Fault>) -> async_graphql::Result<Self> {
                match outcome {
                    Ok(value) => Ok(Self { $field: Some(value), errors: Vec::new() }),
                    Err(fault) => Ok(Self {
                        $field: None,
                        errors: $crate::control::schema::answer::field_errors(fault)?,
                    }),
                }
            }
        }
    )*};
}

pub(super) use payloads;
