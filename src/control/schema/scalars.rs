//! Scalars that GraphQL does not have.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use perseat_admin::query::Times;
use perseat_domain::time::Timestamp;

/// A point in time, as ISO 8601 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DateTime(pub(super) Timestamp);

/// Text in ISO 8601, in UTC.
pub(crate) fn iso(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}

#[Scalar(name = "DateTime")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else {
            return Err(InputValueError::expected_type(value));
        };
        let at: jiff::Timestamp = text
            .parse()
            .map_err(|_| InputValueError::custom("expected a time such as 2026-01-31T12:00:00Z"))?;
        Ok(Self(Timestamp(u64::try_from(at.as_millisecond()).unwrap_or(0))))
    }

    fn to_value(&self) -> Value {
        Value::String(iso(self.0))
    }
}

/// When records were made and changed, as lists are asked for it.
pub(super) fn times(
    created_from: Option<DateTime>,
    created_to: Option<DateTime>,
    changed_from: Option<DateTime>,
    changed_to: Option<DateTime>,
) -> Times {
    let moment = |at: Option<DateTime>| at.map(|at| at.0);
    Times {
        created_from: moment(created_from),
        created_to: moment(created_to),
        changed_from: moment(changed_from),
        changed_to: moment(changed_to),
    }
}

/// Text that holds JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JsonString(pub(super) String);

#[Scalar(name = "JSONString")]
impl ScalarType for JsonString {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self(text)),
            Value::Null => Err(InputValueError::expected_type(Value::Null)),
            value => Ok(Self(value.into_json()?.to_string())),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// A whole number that may be larger than `Int`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BigInt(pub(super) u64);

#[Scalar(name = "BigInt")]
impl ScalarType for BigInt {
    fn parse(value: Value) -> InputValueResult<Self> {
        let number = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.map(Self).ok_or_else(|| InputValueError::expected_type(value))
    }

    fn to_value(&self) -> Value {
        self.0.into()
    }
}
