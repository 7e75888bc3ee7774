//! What the text of a configuration variable must be, by its kind: one rule for manifests, the API and pages. Text is taken as it was
//! given or not at all; nothing is put right.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use perseat_domain::definition::{CollectionType, ConfigVar, DataType};
use perseat_domain::model::ConfigValue;
use serde_json::Value;
use std::fmt;

/// What was expected instead, as it follows "must be".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected(String);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Expected {}

fn expected(what: &str) -> Result<(), Expected> {
    Err(Expected(what.to_owned()))
}

/// Whether a variable may have this text. What is left out of one that is not required may be empty.
///
/// # Errors
/// What was expected.
pub fn check(variable: &ConfigVar, text: &str) -> Result<(), Expected> {
    if text.is_empty() && !variable.required {
        return Ok(());
    }
    match variable.collection {
        None => single(variable, text),
        Some(CollectionType::ValueList) => {
            const LIST: &str = "a JSON list of values";
            let Ok(Value::Array(items)) = serde_json::from_str(text) else {
                return expected(LIST);
            };
            items.iter().try_for_each(|item| within(variable, item, LIST))
        }
        Some(CollectionType::KeyValueList) => {
            const PAIRS: &str = "a JSON list of pairs of `key` and `value`";
            match serde_json::from_str(text) {
                Ok(Value::Object(members)) => members.values().try_for_each(|value| within(variable, value, PAIRS)),
                Ok(Value::Array(items)) => items.iter().try_for_each(|item| {
                    let key = item.get("key").and_then(Value::as_str);
                    match (key, item.get("value")) {
                        (Some(key), Some(value)) if !key.is_empty() => within(variable, value, PAIRS),
                        _ => expected(PAIRS),
                    }
                }),
                _ => expected(PAIRS),
            }
        }
    }
}

/// Whether what is stored is a value of a variable, which may be of another kind than in the version that it was given for.
#[must_use]
pub fn fits(variable: &ConfigVar, stored: &ConfigValue) -> bool {
    let is_connection = variable.data_type == DataType::Connection;
    match stored {
        ConfigValue::Connection { .. } => is_connection,
        ConfigValue::Plain(text) => !is_connection && check(variable, text).is_ok(),
    }
}

/// One value of a collection: text of the variable's kind, or a number or truth value that says the same.
fn within(variable: &ConfigVar, item: &Value, shape: &str) -> Result<(), Expected> {
    let text = match item {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => item.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return expected(shape),
    };
    single(variable, &text).map_err(|Expected(each)| Expected(format!("{shape}, each {each}")))
}

fn single(variable: &ConfigVar, text: &str) -> Result<(), Expected> {
    let is_json = |fits: fn(&Value) -> bool| serde_json::from_str::<Value>(text).is_ok_and(|value| fits(&value));
    match variable.data_type {
        DataType::Boolean if !matches!(text, "true" | "false") => expected("true or false"),
        DataType::Number if !is_number(text) => expected("a number"),
        DataType::Date if !is_date(text) => expected("a date, such as 2026-01-31"),
        DataType::Timestamp if moment(text).is_none() => expected("a date and a time, such as 2026-01-31T09:30:00Z"),
        DataType::Schedule if !is_schedule(text) => {
            expected("a schedule of five parts, minute, hour, day, month and weekday, such as 0 * * * *")
        }
        DataType::Picklist if !variable.pick_list.is_empty() && !variable.pick_list.iter().any(|pick| pick == text) => {
            expected(&format!("one of {}", variable.pick_list.join(", ")))
        }
        DataType::JsonForm if !is_json(|_| true) => expected("JSON"),
        DataType::ObjectSelection if !is_json(Value::is_array) => expected("a JSON list of objects"),
        DataType::ObjectFieldMap if !is_json(Value::is_object) => expected("a JSON object"),
        _ => Ok(()),
    }
}

/// Whether text is a number that can be counted with: neither none nor infinite.
#[must_use]
pub fn is_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok_and(f64::is_finite)
}

/// Whether text is a day of the calendar, as `YYYY-MM-DD`.
#[must_use]
pub fn is_date(text: &str) -> bool {
    let text = text.trim();
    text.parse::<Date>().is_ok_and(|date| date.to_string() == text)
}

/// A point in time; one without a zone is in UTC.
#[must_use]
pub fn moment(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    match text.parse::<Timestamp>() {
        Ok(at) => Some(at),
        // A day alone says no time.
        Err(_) if !text.contains([':', 'T', 't']) => None,
        Err(_) => Some(text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp()),
    }
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// One of the five parts: the numbers that it takes, names that stand for them from the first on, and how it says "the last" or "nearest".
struct Part {
    least: u32,
    most: u32,
    names: &'static [&'static str],
    is_day: bool,
}

const PARTS: [Part; 5] = [
    Part::of(0, 59),
    Part::of(0, 23),
    Part {
        is_day: true,
        ..Part::of(1, 31)
    },
    Part {
        names: &MONTHS,
        ..Part::of(1, 12)
    },
    Part {
        names: &DAYS,
        is_day: true,
        ..Part::of(0, 7)
    },
];

impl Part {
    const fn of(least: u32, most: u32) -> Self {
        Self {
            least,
            most,
            names: &[],
            is_day: false,
        }
    }

    fn takes(&self, text: &str) -> bool {
        text.split(',').all(|item| self.takes_item(item))
    }

    /// `*`, a value, a range, each with a step or without; `?`, `L`, `15W`, `5L` and `2#1` for days.
    fn takes_item(&self, item: &str) -> bool {
        let (base, step) = match item.split_once('/') {
            Some((base, step)) => (base, Some(step)),
            None => (item, None),
        };
        if step.is_some_and(|step| !number(step).is_some_and(|step| (1..=self.most).contains(&step))) {
            return false;
        }
        if base == "*" {
            return true;
        }
        if self.is_day && step.is_none() && self.takes_day(base) {
            return true;
        }
        match base.split_once('-') {
            Some((from, to)) => matches!((self.value(from), self.value(to)), (Some(from), Some(to)) if from <= to),
            None => self.value(base).is_some(),
        }
    }

    fn takes_day(&self, text: &str) -> bool {
        let nth = |text: &str| number(text).is_some_and(|nth| (1..=5).contains(&nth));
        let is_value = |text: Option<&str>| text.is_some_and(|text| self.value(text).is_some());
        matches!(text, "?" | "L" | "LW")
            || is_value(text.strip_suffix('L'))
            || is_value(text.strip_suffix('W'))
            || text.split_once('#').is_some_and(|(day, count)| is_value(Some(day)) && nth(count))
    }

    fn value(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = match named {
            Some(place) => u32::try_from(place).ok()? + self.least,
            None => number(text)?,
        };
        (self.least..=self.most).contains(&value).then_some(value)
    }
}

/// Digits alone: no sign, and no more than make sense.
fn number(text: &str) -> Option<u32> {
    let is_plain = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

/// Whether text says when something is done: minute, hour, day of the month, month, day of the week.
#[must_use]
pub fn is_schedule(text: &str) -> bool {
    let parts: Vec<&str> = text.split_whitespace().collect();
    parts.len() == PARTS.len() && PARTS.iter().zip(&parts).all(|(part, text)| part.takes(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::model::Sealed;
    use proptest::prelude::*;

    fn variable(data_type: DataType, collection: Option<CollectionType>) -> ConfigVar {
        ConfigVar {
            key: "The value".into(),
            stable_key: "v".into(),
            description: String::new(),
            data_type,
            collection,
            pick_list: Vec::new(),
            default_value: None,
            org_only: false,
            required: true,
            user_level: true,
            shared: None,
            connection: None,
            inputs: std::collections::BTreeMap::default(),
        }
    }

    fn takes(data_type: DataType, text: &str) -> bool {
        check(&variable(data_type, None), text).is_ok()
    }

    #[test]
    fn each_kind_takes_its_own_form_and_no_other() {
        for (kind, right, wrong) in [
            (DataType::Boolean, &["true", "false"][..], &["yes", "TRUE", "1", " true"][..]),
            (
                DataType::Number,
                &["1", "-1.5", " 2e3 ", "0"],
                &["NaN", "nan", "inf", "-Infinity", "1e400", "one", "1,5", "0x10"],
            ),
            (
                DataType::Date,
                &["2026-01-31", "2024-02-29"],
                &["2026-02-29", "31.1.2026", "2026-1-31", "2026-01-31T09:00", "20260131", "today"],
            ),
            (
                DataType::Timestamp,
                &["2026-01-31T09:30:00Z", "2026-01-31T09:30:00.5+01:00", "2026-01-31T09:30"],
                &["2026-01-31", "tomorrow", "2026-01-31T25:00:00Z", "1700000000"],
            ),
            (
                DataType::Schedule,
                &[
                    "* * * * *",
                    "*/5 0-6,22 1,15 jan-MAR mon-fri",
                    "0 9 ? * 2#1",
                    "0 0 L * *",
                    "0 0 15W * ?",
                    "0 0 * * 5L",
                    "0 0 * * 7",
                ],
                &[
                    "daily",
                    "* * * *",
                    "* * * * * *",
                    "60 * * * *",
                    "* 24 * * *",
                    "* * 0 * *",
                    "* * * 13 *",
                    "* * * * 8",
                    "5-1 * * * *",
                    "*/0 * * * *",
                    "L * * * *",
                    "0 0 * * <b>",
                    "1, * * * *",
                    "-1 * * * *",
                ],
            ),
            (DataType::JsonForm, &["{\"a\": [1]}", "null", "\"x\""], &["{a}", "", "{} {}"]),
            (DataType::ObjectSelection, &["[]"], &["{}", "text"]),
            (DataType::ObjectFieldMap, &["{\"fields\": []}"], &["[]", "text"]),
            (DataType::String, &["", "anything"], &[]),
            (DataType::Code, &["let x"], &[]),
        ] {
            for text in right {
                assert_eq!(check(&variable(kind, None), text), Ok(()), "{kind:?} {text:?}");
            }
            for text in wrong {
                assert!(check(&variable(kind, None), text).is_err(), "{kind:?} {text:?}");
            }
        }
    }

    #[test]
    fn what_is_not_required_may_be_left_out_and_a_choice_is_one_of_the_list() {
        let mut optional = variable(DataType::Date, None);
        optional.required = false;
        assert_eq!(check(&optional, ""), Ok(()));
        assert!(check(&optional, " ").is_err());
        let mut choice = variable(DataType::Picklist, None);
        assert_eq!(check(&choice, "whatever a data source gives"), Ok(()));
        choice.pick_list = vec!["a".into(), "b".into()];
        assert_eq!(check(&choice, "b"), Ok(()));
        assert_eq!(check(&choice, "c").unwrap_err().to_string(), "one of a, b");
    }

    #[test]
    fn what_is_stored_fits_the_kind_that_a_variable_has_by_now() {
        let plain = |text: &str| ConfigValue::Plain(text.into());
        let sealed = || ConfigValue::Connection {
            sealed: Sealed(Vec::new()),
            version: 1,
        };
        for (kind, stored, is_fitting) in [
            (DataType::String, plain("ten"), true),
            (DataType::Number, plain("ten"), false),
            (DataType::Number, plain("10"), true),
            (DataType::Connection, plain("10"), false),
            (DataType::Connection, sealed(), true),
            (DataType::String, sealed(), false),
        ] {
            assert_eq!(fits(&variable(kind, None), &stored), is_fitting, "{kind:?} {stored:?}");
        }
        let mut choice = variable(DataType::Picklist, None);
        choice.pick_list = vec!["a".into()];
        assert!(fits(&choice, &plain("a")) && !fits(&choice, &plain("b")));
    }

    #[test]
    fn every_value_of_a_collection_is_of_its_kind() {
        let numbers = variable(DataType::Number, Some(CollectionType::ValueList));
        assert_eq!(check(&numbers, r#"["1", 2, "3.5"]"#), Ok(()));
        for wrong in [r#"["1", "two"]"#, "1", "{}", "[[1]]", "[null]", "1,2"] {
            assert!(check(&numbers, wrong).is_err(), "{wrong}");
        }
        let said = check(&numbers, r#"["NaN"]"#).unwrap_err().to_string();
        assert_eq!(said, "a JSON list of values, each a number");
        let flags = variable(DataType::Boolean, Some(CollectionType::KeyValueList));
        for right in [
            r#"[{"key": "a", "value": "true"}, {"key": "b", "value": false}]"#,
            r#"{"a": "true"}"#,
            "[]",
        ] {
            assert_eq!(check(&flags, right), Ok(()), "{right}");
        }
        for wrong in [
            r#"[{"key": "", "value": "true"}]"#,
            r#"[{"key": "a"}]"#,
            r#"{"a": "yes"}"#,
            r#"["true"]"#,
        ] {
            assert!(check(&flags, wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn numbers_that_are_taken_can_be_counted_with(text in "\\PC{0,12}") {
            if takes(DataType::Number, &text) {
                prop_assert!(text.trim().parse::<f64>().unwrap().is_finite());
            }
        }

        #[test]
        fn every_finite_number_is_taken(number in proptest::num::f64::NORMAL | proptest::num::f64::ZERO) {
            prop_assert!(takes(DataType::Number, &number.to_string()));
        }

        #[test]
        fn every_day_is_taken_as_it_is_written_and_nothing_that_is_written_otherwise(year in 1_i16..9999, month in 1_i8..13, day in 1_i8..32) {
            let written = format!("{year:04}-{month:02}-{day:02}");
            prop_assert_eq!(takes(DataType::Date, &written), Date::new(year, month, day).is_ok());
            let dotted = format!("{day}.{month}.{year}");
            prop_assert!(!takes(DataType::Date, &dotted));
        }

        #[test]
        fn every_moment_is_taken_in_any_zone(seconds in -62_135_596_800_i64..253_402_200_000, hours in -23_i8..24) {
            let at = Timestamp::from_second(seconds).unwrap();
            prop_assert!(takes(DataType::Timestamp, &at.to_string()));
            let zone = TimeZone::fixed(jiff::tz::offset(hours));
            let there = at.to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
            prop_assert_eq!(moment(&there), Some(at), "{}", there);
        }

        #[test]
        fn schedules_of_values_in_range_are_taken_and_of_others_are_not(
            minute in 0_u32..120, hour in 0_u32..48, day in 0_u32..62, month in 0_u32..24, weekday in 0_u32..16, step in 1_u32..7
        ) {
            let fits = minute < 60 && hour < 24 && (1..32).contains(&day) && (1..13).contains(&month) && weekday < 8;
            prop_assert_eq!(takes(DataType::Schedule, &format!("{minute} {hour} {day} {month} {weekday}")), fits);
            let whole = format!("0-{minute}/{step} {hour},* 1-{day} {month} *");
            let fits = minute < 60 && hour < 24 && (1..32).contains(&day) && (1..13).contains(&month);
            prop_assert_eq!(takes(DataType::Schedule, &whole), fits, "{}", whole);
        }

        #[test]
        fn whatever_is_given_is_taken_or_refused(text in "\\PC{0,40}", kind in 0_usize..9, list in proptest::bool::ANY) {
            let kinds = [DataType::String, DataType::Date, DataType::Timestamp, DataType::Picklist, DataType::Schedule, DataType::Boolean,
                DataType::Number, DataType::JsonForm, DataType::ObjectSelection];
            let _ = check(&variable(kinds[kind], list.then_some(CollectionType::KeyValueList)), &text);
        }
    }
}
