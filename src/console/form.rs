//! From a form that was sent to values of variables, or to what is wrong with each.
//!
//! The rules are the commands'; here text becomes the form that they take, and what was left out or mistyped is said beside
//! its field.

use super::chosen;
use super::field::{BY_DEFAULT, Field, InputField, Kind, key_name, value_name};
use super::offered::binds;
use perseat_admin::command::ConfigVariable;
use perseat_admin::fault::Fault;
use perseat_flow::value as rules;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use url::form_urlencoded;

/// The fields of a form, in order. Some may be secret, so they are not printed.
pub(super) struct Sent(Vec<(String, String)>);

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sent(redacted)")
    }
}

/// The largest text of one value, in bytes. No key of the configuration: it is what a person may send by a page; the API takes as
/// much as `api.max-body`, which bounds the form as a whole, too.
const LONGEST: usize = 64 * 1024;

impl Sent {
    /// `None` if there are more than `most` fields.
    pub(super) fn read(body: &[u8], most: usize) -> Option<Self> {
        let mut fields = form_urlencoded::parse(body).into_owned();
        let read = Self(fields.by_ref().take(most).collect());
        fields.next().is_none().then_some(read)
    }

    /// A field of which there is one.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter().filter(|(known, _)| known == name);
        fields.next().map(|(_, text)| text.as_str())
    }

    fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        let fits = move |(known, text): &'s (String, String)| (known == name).then_some(text.as_str());
        self.0.iter().filter_map(fits)
    }

    /// The texts of every field of this name.
    pub(super) fn every(&self, name: &str) -> impl Iterator<Item = &str> + use<'_> {
        let name = name.to_owned();
        self.0
            .iter()
            .filter_map(move |(known, text)| (*known == name).then_some(text.as_str()))
    }

    /// Whether the form had the variable at all: one that was not shown stays as it is.
    pub(super) fn has(&self, field: &Field) -> bool {
        let inputs = || field.inputs.iter().any(|input| self.text(&input.field).is_some());
        self.text(&field.name()).is_some()
            || self.text(&key_name(&field.stable_key)).is_some()
            || inputs()
            || field.kind == Kind::Connection
    }
}

/// What is wrong, by stable key.
pub(super) type Problems = BTreeMap<String, String>;

/// The values that the form gives, or every problem.
pub(super) fn values(fields: &[Field], sent: &Sent) -> Result<Vec<ConfigVariable>, Problems> {
    let (mut values, mut problems) = (Vec::new(), Problems::new());
    for field in fields.iter().filter(|field| sent.has(field)) {
        match value(field, sent) {
            Ok(given) => values.extend(given),
            Err(sentence) => {
                problems.insert(field.stable_key.clone(), sentence);
            }
        }
    }
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}

/// Puts what was sent back into the fields, so that nobody types twice. Credentials are typed again.
pub(super) fn fill(fields: &mut [Field], sent: &Sent, problems: &Problems) {
    for field in fields {
        field.problem = problems.get(&field.stable_key).cloned();
        if field.kind == Kind::Connection || !sent.has(field) {
            continue;
        }
        let values = sent.all(&value_name(&field.stable_key)).map(str::to_owned).collect();
        match field.kind {
            Kind::Pairs => field.pairs = pairs(field, sent),
            Kind::Picks | Kind::Objects | Kind::Map | Kind::Form => {
                if field.problem.is_some() {
                    field.wrong = field.wrong_of(sent);
                }
                chosen::keep(field, sent);
            }
            // It was not shown: what is stored stays.
            Kind::Awaits => {}
            _ => field.values = values,
        }
    }
}

/// The refusal of a command, by the variable that it names; under no key what names none.
pub(super) fn refused(fields: &[Field], fault: &Fault) -> Option<Problems> {
    let Fault::Wrong(wrong) = fault else { return None };
    let mut problems = Problems::new();
    for one in wrong {
        let named = fields.iter().find(|field| one.message.contains(&format!("`{}`", field.key)));
        let key = named.map(|field| field.stable_key.clone()).unwrap_or_default();
        problems.insert(key, sentence(&one.message));
    }
    Some(problems)
}

/// A message with a capital and a full stop.
pub(super) fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

pub(super) const NEEDED: &str = "Fill in this field.";

pub(super) fn value(field: &Field, sent: &Sent) -> Result<Option<ConfigVariable>, String> {
    let plain = |text: String| {
        Ok(Some(ConfigVariable {
            key: field.key.clone(),
            value: Some(text),
            values: None,
            keeps_choice: false,
        }))
    };
    if let Some(original) = untouched(field, sent) {
        return plain(original.to_owned());
    }
    match field.kind {
        Kind::Connection => connection(field, sent),
        Kind::Awaits => Err("This cannot be chosen now.".to_owned()),
        Kind::Picks | Kind::Objects | Kind::Map | Kind::Form => chosen::value(field, sent).and_then(plain),
        Kind::List => {
            let name = field.name();
            let items: Vec<&str> = sent.all(&name).filter(|item| !item.trim().is_empty()).collect();
            check_length(items.iter().copied())?;
            if items.is_empty() && field.is_required {
                return Err("Add at least one item.".to_owned());
            }
            plain(json!(items).to_string())
        }
        Kind::Pairs => {
            let pairs = pairs(field, sent);
            check_length(pairs.iter().flat_map(|(key, value)| [key.as_str(), value]))?;
            if pairs.iter().any(|(key, _)| key.trim().is_empty()) {
                return Err("Every pair needs a key.".to_owned());
            }
            if pairs.is_empty() && field.is_required {
                return Err("Add at least one pair.".to_owned());
            }
            let pairs = pairs.iter().map(|(key, value)| json!({ "key": key, "value": value }));
            plain(Value::Array(pairs.collect()).to_string())
        }
        _ => {
            let name = field.name();
            // A box that is not ticked is not sent; a hidden field before it is.
            let text = match field.kind {
                Kind::Flag => sent.all(&name).last(),
                _ => sent.text(&name),
            };
            single(field, text.unwrap_or_default()).and_then(plain)
        }
    }
}

/// The text behind what the page showed, where the form has that and nothing else: one that can be written in several ways stays as it
/// was written. What a data source has to offer is always held against that.
fn untouched<'f>(field: &'f Field, sent: &Sent) -> Option<&'f str> {
    let is_empty = field.pairs.is_empty() && field.values.iter().all(|value| value.trim().is_empty());
    if binds(field) || (field.is_required && is_empty) {
        return None;
    }
    let original = field.original.as_deref()?;
    let (key_name, value_name) = (key_name(&field.stable_key), value_name(&field.stable_key));
    // Where nothing is filled in there is one empty row.
    let is_shown = |name: &str, shown: Vec<&str>| {
        let shown = if shown.is_empty() { vec![""] } else { shown };
        sent.all(name).map(one_line).eq(shown.into_iter().map(one_line))
    };
    let is_untouched = match field.kind {
        Kind::Text | Kind::Number | Kind::Date | Kind::Schedule | Kind::List => {
            is_shown(&value_name, field.values.iter().map(String::as_str).collect())
        }
        Kind::Pairs => {
            let (keys, values) = field.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).unzip();
            is_shown(&key_name, keys) && is_shown(&value_name, values)
        }
        // Browsers leave out seconds that are none.
        Kind::Time => {
            let shown = field.values.first().map(String::as_str).unwrap_or_default();
            let is_same = |text| rules::moment(text).map_or(text == shown, |at| rules::moment(shown) == Some(at));
            sent.text(&value_name).is_some_and(is_same)
        }
        Kind::Code | Kind::Json => sent.text(&value_name).map(lines) == field.values.first().map(|text| lines(text)),
        _ => false,
    };
    is_untouched.then_some(original)
}

/// Text as a control of one line has it.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], "")
}

/// Text as a control of several lines has it.
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

pub(super) fn check_length<'t>(mut texts: impl Iterator<Item = &'t str>) -> Result<(), String> {
    match texts.any(|text| text.len() > LONGEST) {
        true => Err("This is too long.".to_owned()),
        false => Ok(()),
    }
}

fn pairs(field: &Field, sent: &Sent) -> Vec<(String, String)> {
    let (key_name, value_name) = (key_name(&field.stable_key), value_name(&field.stable_key));
    let pairs = sent.all(&key_name).zip(sent.all(&value_name));
    let pairs = pairs.filter(|(key, value)| !(key.trim().is_empty() && value.trim().is_empty()));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// One text, in the form that is stored.
fn single(field: &Field, text: &str) -> Result<String, String> {
    check_length(std::iter::once(text))?;
    let trimmed = text.trim();
    if trimmed.is_empty() && field.kind != Kind::Flag {
        return if field.is_required {
            Err(NEEDED.to_owned())
        } else {
            Ok(String::new())
        };
    }
    let wrong = |sentence: &str| Err(sentence.to_owned());
    match field.kind {
        Kind::Flag => Ok(if trimmed == "true" { "true" } else { "false" }.to_owned()),
        Kind::Number if !rules::is_number(trimmed) => wrong("Enter a number."),
        Kind::Number => Ok(trimmed.to_owned()),
        Kind::Choice if !field.choices.iter().any(|choice| choice.key == text) => wrong("Choose one of the list."),
        Kind::Date if !rules::is_date(trimmed) => wrong("Enter a date."),
        Kind::Date => Ok(trimmed.to_owned()),
        Kind::Time => rules::moment(trimmed)
            .map(|at| at.to_string())
            .ok_or_else(|| "Enter a date and a time.".to_owned()),
        Kind::Schedule if !rules::is_schedule(trimmed) => {
            wrong("Enter five parts: minute, hour, day, month and weekday, such as 0 * * * *.")
        }
        Kind::Schedule => Ok(trimmed.to_owned()),
        Kind::Json => check_json(trimmed)
            .and_then(|()| chosen::check(field, trimmed))
            .map(|()| text.to_owned()),
        Kind::Code if field.language.as_deref() == Some("json") => check_json(trimmed).map(|()| text.to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn check_json(text: &str) -> Result<(), String> {
    match serde_json::from_str::<Value>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("This is no JSON: see line {}, column {}.", error.line(), error.column())),
    }
}

/// The credentials of a connection; nothing where they stay as they are.
fn connection(field: &Field, sent: &Sent) -> Result<Option<ConfigVariable>, String> {
    if field.is_shared {
        return Ok(None);
    }
    // What is chosen as the page came is left as it is.
    let given = |input: &InputField| {
        let text = sent.text(&input.field).unwrap_or_default();
        if input.chosen.as_deref() == Some(text) { "" } else { text }
    };
    check_length(field.inputs.iter().map(given))?;
    let is_empty = field.inputs.iter().all(|input| given(input).is_empty());
    if is_empty && (field.is_stored || !field.is_required) && !(field.is_consent && !field.is_stored && field.inputs.is_empty()) {
        return Ok(None);
    }
    // A choice alone leaves what is saved beside it.
    let is_choice_alone = field.is_stored && field.inputs.iter().all(|input| input.chosen.is_some() || given(input).is_empty());
    let lacking = field
        .inputs
        .iter()
        .filter(|input| !is_choice_alone && input.is_required && given(input).is_empty());
    let lacking: Vec<&str> = lacking.map(|input| input.label.as_str()).collect();
    if !lacking.is_empty() {
        let all = if field.is_stored {
            " To replace what is saved, fill in everything."
        } else {
            ""
        };
        return Err(format!("Fill in: {}.{all}", lacking.join(", ")));
    }
    if is_empty && !field.is_consent {
        return Err(NEEDED.to_owned());
    }
    let inputs = field.inputs.iter().filter(|input| !given(input).is_empty());
    let inputs = inputs.map(|input| {
        let is_default = input.chosen.is_some() && given(input) == BY_DEFAULT;
        json!({ "name": input.name, "type": "value", "value": if is_default { "" } else { given(input) } })
    });
    Ok(Some(ConfigVariable {
        key: field.key.clone(),
        value: None,
        values: Some(Value::Array(inputs.collect()).to_string()),
        keeps_choice: true,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_admin::query::Presentation;
    use perseat_domain::definition::{ActionRef, CollectionType, ConfigVar, DataType};
    use perseat_domain::model::ConfigValue;

    fn variable(data_type: DataType) -> ConfigVar {
        ConfigVar {
            key: "The value".into(),
            stable_key: "v".into(),
            description: String::new(),
            data_type,
            collection: None,
            pick_list: Vec::new(),
            default_value: None,
            org_only: false,
            required: true,
            user_level: true,
            shared: None,
            connection: (data_type == DataType::Connection).then(|| ActionRef {
                component: "http".into(),
                action: "basic".into(),
            }),
            inputs: Default::default(),
        }
    }

    fn field(variable: &ConfigVar) -> Field {
        Field::new(0, variable, &Presentation::default(), None)
    }

    /// The value that is stored, or the sentence.
    fn typed(variable: &ConfigVar, pairs: &[(&str, &str)]) -> Result<Option<String>, String> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        match values(&[field(variable)], &Sent::read(body.as_bytes(), 10).unwrap()) {
            Ok(mut given) => Ok(given.pop().and_then(|given| given.value.or(given.values))),
            Err(mut problems) => Err(problems.remove("v").unwrap()),
        }
    }

    fn text(data_type: DataType, text: &str) -> Result<Option<String>, String> {
        typed(&variable(data_type), &[("value:v", text)])
    }

    #[test]
    fn a_form_has_no_more_fields_than_it_may() {
        assert_eq!(Sent::read(b"a=1&b&&c=3", 3).unwrap().0.len(), 3);
        assert!(Sent::read(b"a=1&b&&c=3", 2).is_none());
    }

    #[test]
    fn each_kind_takes_its_own_form() {
        let stored = |data_type, given: &str| text(data_type, given).unwrap().unwrap();
        assert_eq!(stored(DataType::String, " as it is "), " as it is ");
        assert_eq!(stored(DataType::Number, " 1.5 "), "1.5");
        assert_eq!(stored(DataType::Date, "2026-01-31"), "2026-01-31");
        assert_eq!(stored(DataType::Timestamp, "2026-01-31T09:30"), "2026-01-31T09:30:00Z");
        assert_eq!(stored(DataType::Timestamp, "2026-01-31T09:30:00+01:00"), "2026-01-31T08:30:00Z");
        assert_eq!(stored(DataType::Schedule, "*/5 * * * 1-5"), "*/5 * * * 1-5");
        assert_eq!(stored(DataType::JsonForm, "{\"a\": 1}"), "{\"a\": 1}");
        for (data_type, wrong) in [
            (DataType::String, ""),
            (DataType::Number, "one"),
            (DataType::Number, "NaN"),
            (DataType::Date, "31.1.2026"),
            (DataType::Timestamp, "tomorrow"),
            (DataType::Schedule, "daily"),
            (DataType::Schedule, "0 0 * * <b>"),
            (DataType::JsonForm, "{a}"),
        ] {
            assert!(text(data_type, wrong).is_err(), "{data_type:?} {wrong}");
        }
        let mut optional = variable(DataType::Number);
        optional.required = false;
        assert_eq!(typed(&optional, &[("value:v", "")]), Ok(Some(String::new())));
        let mut choice = variable(DataType::Picklist);
        choice.pick_list = vec!["a".into()];
        assert_eq!(typed(&choice, &[("value:v", "a")]), Ok(Some("a".to_owned())));
        assert!(typed(&choice, &[("value:v", "b")]).is_err());
    }

    #[test]
    fn a_box_says_yes_or_no_and_what_was_not_shown_stays() {
        let flag = variable(DataType::Boolean);
        assert_eq!(typed(&flag, &[("value:v", "false")]), Ok(Some("false".to_owned())));
        assert_eq!(
            typed(&flag, &[("value:v", "false"), ("value:v", "true")]),
            Ok(Some("true".to_owned()))
        );
        assert_eq!(typed(&flag, &[]), Ok(None));
        assert_eq!(typed(&variable(DataType::String), &[("value:other", "x")]), Ok(None));
    }

    #[test]
    fn lists_and_pairs_leave_out_empty_rows() {
        let mut list = variable(DataType::String);
        list.collection = Some(CollectionType::ValueList);
        assert_eq!(
            typed(&list, &[("value:v", "a"), ("value:v", " "), ("value:v", "b")]),
            Ok(Some("[\"a\",\"b\"]".to_owned()))
        );
        assert!(typed(&list, &[("value:v", "")]).is_err());
        list.collection = Some(CollectionType::KeyValueList);
        let rows = [("key:v", "k"), ("value:v", "1"), ("key:v", ""), ("value:v", "")];
        assert_eq!(typed(&list, &rows), Ok(Some("[{\"key\":\"k\",\"value\":\"1\"}]".to_owned())));
        assert!(typed(&list, &[("key:v", ""), ("value:v", "1")]).is_err());
    }

    /// The value that is stored where `stored` was, and the page sends this.
    fn retyped(variable: &ConfigVar, stored: &str, pairs: &[(&str, &str)]) -> Result<Option<String>, String> {
        let value = ConfigValue::Plain(stored.to_owned());
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let field = Field::new(0, variable, &Presentation::default(), Some(&value));
        let given = super::value(&field, &Sent::read(body.as_bytes(), 10).unwrap())?;
        Ok(given.and_then(|given| given.value))
    }

    #[test]
    fn what_nobody_changed_stays_as_it_was_written_and_what_somebody_did_does_not() {
        let of = |collection| ConfigVar {
            collection: Some(collection),
            ..variable(DataType::String)
        };
        let (list, map) = (of(CollectionType::ValueList), of(CollectionType::KeyValueList));
        let when = variable(DataType::Timestamp);
        for (variable, stored, shown, changed, then) in [
            (&list, "[1,2,true]", &["1", "2", "true"][..], &["1", "2"][..], "[\"1\",\"2\"]"),
            (&list, "[\"a\",\"\"]", &["a", ""], &["a"], "[\"a\"]"),
            (
                &when,
                "2026-01-31T09:30:45+02:00",
                &["2026-01-31T07:30:45"],
                &["2026-01-31T07:30"],
                "2026-01-31T07:30:00Z",
            ),
            (
                &when,
                "2026-01-31T09:30:00.5Z",
                &["2026-01-31T09:30"],
                &["2026-01-31T09:31"],
                "2026-01-31T09:31:00Z",
            ),
            (&self::variable(DataType::Number), "+5", &["5"], &["6"], "6"),
            (&self::variable(DataType::Number), " 5.e3", &["5000"], &["5"], "5"),
            (
                &self::variable(DataType::Date),
                " 2026-01-31 ",
                &["2026-01-31"],
                &["2026-02-01"],
                "2026-02-01",
            ),
            (&self::variable(DataType::String), "a\r\nb", &["ab"], &["a b"], "a b"),
            (&self::variable(DataType::Code), "a\r\nb", &["a\nb"], &["ab"], "ab"),
        ] {
            let rows = |texts: &[&'static str]| texts.iter().map(|text| ("value:v", *text)).collect::<Vec<_>>();
            assert_eq!(retyped(variable, stored, &rows(shown)), Ok(Some(stored.to_owned())), "{stored:?}");
            assert_eq!(retyped(variable, stored, &rows(changed)), Ok(Some(then.to_owned())), "{stored:?}");
        }
        let rows = [("key:v", "a"), ("value:v", "1"), ("key:v", "b"), ("value:v", "c")];
        let stored = "{\"a\":1,\"b\":\"c\"}";
        assert_eq!(retyped(&map, stored, &rows), Ok(Some(stored.to_owned())));
        let changed = Ok(Some("[{\"key\":\"a\",\"value\":\"1\"}]".to_owned()));
        assert_eq!(retyped(&map, stored, &rows[..2]), changed);

        let empty = [("value:v", "")];
        assert!(retyped(&list, "[]", &empty).is_err(), "what is needed is not there yet");
        let optional = |data_type| ConfigVar {
            required: false,
            ..variable(data_type)
        };
        let wiped = retyped(&optional(DataType::Timestamp), "ten", &empty);
        assert_eq!(wiped, Ok(Some(String::new())), "what is no moment any more does not stay");
        assert!(retyped(&optional(DataType::Timestamp), "", &[("value:v", "tomorrow")]).is_err());
    }

    #[test]
    fn credentials_are_whole_or_stay_as_they_are() {
        let account = variable(DataType::Connection);
        let both = [("input:v:username", "u"), ("input:v:password", "p")];
        let stored = typed(&account, &both).unwrap().unwrap();
        assert_eq!(
            stored,
            r#"[{"name":"username","type":"value","value":"u"},{"name":"password","type":"value","value":"p"}]"#
        );
        assert_eq!(typed(&account, &both[..1]), Err("Fill in: Password.".to_owned()));
        assert!(typed(&account, &[]).is_err());
        let mut kept = field(&account);
        kept.is_stored = true;
        assert!(values(&[kept], &Sent::read(b"", 0).unwrap()).unwrap().is_empty());
    }

    #[test]
    fn a_refusal_stands_beside_the_variable_that_it_names() {
        let fields = [field(&variable(DataType::String))];
        let problems = |message: &str| refused(&fields, &Fault::field("configVariables", message)).unwrap();
        assert_eq!(problems("`The value` must be a number")["v"], "`The value` must be a number.");
        assert_eq!(problems("something else")[""], "Something else.");
        assert!(refused(&fields, &Fault::Stale).is_none());
    }
}
