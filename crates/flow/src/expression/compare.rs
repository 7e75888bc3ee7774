//! Compares values the way people who write conditions expect: `"5"` equals `5`, text that is JSON counts as JSON.

use super::text_of;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde_json::Value;
use std::borrow::Cow;
use std::cmp::Ordering;

/// Longer text is no value that somebody compares: it stays text. No key: it is looked at once for each condition.
const LONGEST_LOOSENED: usize = 16 << 10;

/// Text that is JSON as its value, all else as it is.
pub(super) fn loosened(value: &Value) -> Cow<'_, Value> {
    let Value::String(text) = value else { return Cow::Borrowed(value) };
    let starts_like_json = text
        .trim_start()
        .starts_with(|c: char| matches!(c, '{' | '[' | '"' | '-' | 't' | 'f' | 'n') || c.is_ascii_digit());
    if text.len() > LONGEST_LOOSENED || !starts_like_json {
        return Cow::Borrowed(value);
    }
    serde_json::from_str(text).map_or(Cow::Borrowed(value), Cow::Owned)
}

/// Null, false, zero and empty text count as not there.
pub(super) fn is_absent(value: &Value) -> bool {
    match &*loosened(value) {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64().is_some_and(|number| number == 0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// `true`, `yes`, `y`, `t` against `false`, `no`, `n`, `f`, in any case; all else by whether it is there.
pub(super) fn is_true(value: &Value) -> bool {
    if let Value::String(text) = value {
        let is_word = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
        if is_word(["true", "yes", "y", "t"]) {
            return true;
        }
        if is_word(["false", "no", "n", "f"]) {
            return false;
        }
    }
    !is_absent(value)
}

pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::String(text) if text.is_empty() => true,
        Value::String(_) => matches!(&*loosened(value), Value::Array(items) if items.is_empty()),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Equality over types: numbers, flags and their texts; lists and objects by what is in them.
pub(super) fn loosely_equal(left: &Value, right: &Value) -> bool {
    equal(&loosened(left), &loosened(right))
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::String(left), Value::String(right)) => left == right,
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, left)| right.get(key).is_some_and(|right| equal(left, right)))
        }
        _ => matches!((number(left), number(right)), (Some(left), Some(right)) if left == right),
    }
}

/// Equality of type and value; `1` and `1.0` are one number.
pub(super) fn exactly_equal(left: &Value, right: &Value) -> bool {
    same(&loosened(left), &loosened(right))
}

fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        (left, right) => left == right,
    }
}

/// Order of two numbers or two texts; `None` where there is none.
pub(super) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (&*loosened(left), &*loosened(right)) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (left, right) => number(left)?.partial_cmp(&number(right)?),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Null => Some(0.0),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text.trim().is_empty() => Some(0.0),
        Value::String(text) => text.trim().parse().ok(),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether `container` (list, object by its keys, or text) holds `item`.
pub(super) fn holds(container: &Value, item: &Value) -> bool {
    match &*loosened(container) {
        Value::Array(items) => {
            // Once: a list may have as many members as a payload has bytes.
            let item = loosened(item);
            items.iter().any(|member| same(&loosened(member), &item))
        }
        Value::Object(members) => members.contains_key(&*text_of(item)),
        Value::Null => false,
        _ => text_of(container).contains(&*text_of(item)),
    }
}

/// Numbers below it are seconds since 1970, until the year 5138, and others milliseconds, from 1973 on.
const LEAST_MILLISECONDS: f64 = 1e11;

/// Milliseconds since 1970: of a number or its text, an ISO 8601 date or time (UTC where it names no offset), or a year.
pub(super) fn instant(value: &Value) -> Option<i64> {
    let text = match value {
        Value::Number(number) => return of_epoch(number.as_f64()?),
        Value::String(text) => text.trim(),
        _ => return None,
    };
    let is_year = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_year {
        return milliseconds(Date::new(text.parse().ok()?, 1, 1).ok()?.to_datetime(jiff::civil::Time::midnight()));
    }
    if let Ok(number) = text.parse::<f64>() {
        return of_epoch(number);
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => Some(at.as_millisecond()),
        Err(_) => milliseconds(text.parse().ok()?),
    }
}

fn of_epoch(number: f64) -> Option<i64> {
    let is_seconds = number.abs() < LEAST_MILLISECONDS;
    let number = if is_seconds { number * 1_000.0 } else { number };
    number.is_finite().then_some(number as i64)
}

fn milliseconds(local: DateTime) -> Option<i64> {
    TimeZone::UTC.to_timestamp(local).ok().map(jiff::Timestamp::as_millisecond)
}
