//! What clients ask integrations for by a condition: `["and", ["equal", "category", "CRM"], ["in", "beta", "labels"]]`.
//!
//! A choice, not a permission.

use serde_json::Value;

/// Conditions within one another. No key of the configuration: they are read by calls within one another, and people write three.
const DEEPEST: usize = 16;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All of them hold.
    All(Vec<Condition>),
    /// One of them holds.
    Any(Vec<Condition>),
    /// The two sides compare so.
    Compare(Operator, Term, Term),
}

/// How two sides compare; the words of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    In,
    NotIn,
    StartsWith,
    DoesNotStartWith,
    EndsWith,
    DoesNotEndWith,
}

/// One side: a property of the integration, or what is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// Its category.
    Category,
    /// Its name.
    Name,
    /// Its description.
    Description,
    /// Its labels.
    Labels,
    /// This text.
    Text(String),
    /// These texts.
    Texts(Vec<String>),
}

/// What conditions ask about.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'c> {
    /// Its name.
    pub name: &'c str,
    /// Its category.
    pub category: &'c str,
    /// Its description.
    pub description: &'c str,
    /// Its labels.
    pub labels: &'c [String],
}

impl Condition {
    /// Reads a condition; `None` for what is none, or goes too deep.
    #[must_use]
    pub fn read(query: &Value) -> Option<Self> {
        Self::within(query, DEEPEST)
    }

    fn within(query: &Value, deepest: usize) -> Option<Self> {
        let (Value::String(operator), terms) = query.as_array()?.split_first()? else {
            return None;
        };
        let deeper = deepest.checked_sub(1)?;
        let all = || terms.iter().map(|term| Self::within(term, deeper)).collect::<Option<Vec<Self>>>();
        let operator = match operator.as_str() {
            "and" => return all().map(Self::All),
            "or" => return all().map(Self::Any),
            "equal" => Operator::Equal,
            "notEqual" => Operator::NotEqual,
            "in" => Operator::In,
            "notIn" => Operator::NotIn,
            "startsWith" => Operator::StartsWith,
            "doesNotStartWith" => Operator::DoesNotStartWith,
            "endsWith" => Operator::EndsWith,
            "doesNotEndWith" => Operator::DoesNotEndWith,
            _ => return None,
        };
        let [left, right] = terms else { return None };
        Some(Self::Compare(operator, Term::of(left), Term::of(right)))
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, candidate: &Candidate<'_>) -> bool {
        match self {
            Self::All(terms) => terms.iter().all(|term| term.holds(candidate)),
            Self::Any(terms) => terms.iter().any(|term| term.holds(candidate)),
            Self::Compare(operator, left, right) => {
                let (left, right) = (left.side(candidate), right.side(candidate));
                compare(*operator, &left, &right).unwrap_or(false)
            }
        }
    }
}

impl Term {
    fn of(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match value {
            Value::Array(items) => Self::Texts(items.iter().map(text).collect()),
            value => match text(value) {
                text if text == "category" => Self::Category,
                text if text == "name" => Self::Name,
                text if text == "description" => Self::Description,
                text if text == "labels" => Self::Labels,
                text => Self::Text(text),
            },
        }
    }

    fn side<'s>(&'s self, candidate: &Candidate<'s>) -> Side<'s> {
        match self {
            Self::Category => Side::One(candidate.category),
            Self::Name => Side::One(candidate.name),
            Self::Description => Side::One(candidate.description),
            Self::Labels => Side::Many(candidate.labels),
            Self::Text(text) => Side::One(text),
            Self::Texts(texts) => Side::Many(texts),
        }
    }
}

fn compare(operator: Operator, left: &Side<'_>, right: &Side<'_>) -> Option<bool> {
    Some(match operator {
        Operator::Equal => left.is(right),
        Operator::NotEqual => !left.is(right),
        Operator::In => left.within(right),
        Operator::NotIn => !left.within(right),
        Operator::StartsWith => left.stands(right, |text, part| text.starts_with(part))?,
        Operator::DoesNotStartWith => !left.stands(right, |text, part| text.starts_with(part))?,
        Operator::EndsWith => left.stands(right, |text, part| text.ends_with(part))?,
        Operator::DoesNotEndWith => !left.stands(right, |text, part| text.ends_with(part))?,
    })
}

/// What one side is for one integration.
enum Side<'s> {
    One(&'s str),
    Many(&'s [String]),
}

impl Side<'_> {
    /// Whether this part stands where `at` says in the other side: `<part> starts <text>` is the order of such conditions.
    fn stands(&self, text: &Self, at: fn(&str, &str) -> bool) -> Option<bool> {
        let Self::One(part) = self else { return None };
        Some(match text {
            Self::One(text) => at(text, part),
            Self::Many(texts) => texts.iter().any(|text| at(text, part)),
        })
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::One(one), Self::One(other)) => one == other,
            (Self::Many(many), Self::Many(other)) => many == other,
            (Self::One(one), Self::Many(many)) | (Self::Many(many), Self::One(one)) => many.len() == 1 && many[0] == *one,
        }
    }

    fn within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::One(one), Self::Many(many)) => many.iter().any(|text| text == one),
            (Self::One(one), Self::One(text)) => text.contains(*one),
            (Self::Many(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(query: &Value) -> Option<bool> {
        let labels = ["files".to_owned(), "beta".to_owned()];
        let candidate = Candidate {
            name: "Dropbox",
            category: "Storage",
            description: "Keeps files",
            labels: &labels,
        };
        Condition::read(query).map(|condition| condition.holds(&candidate))
    }

    #[test]
    fn conditions_compare_properties_with_what_is_given() {
        for query in [
            json!(["equal", "category", "Storage"]),
            json!(["notEqual", "category", "CRM"]),
            json!(["in", "beta", "labels"]),
            json!(["in", "name", ["Dropbox", "Box"]]),
            json!(["in", "file", "description"]),
            json!(["startsWith", "Drop", "name"]),
            json!(["endsWith", "box", "name"]),
            json!(["doesNotEndWith", "x", "category"]),
            json!([
                "and",
                ["notEqual", "category", "CRM"],
                ["or", ["equal", "name", "x"], ["endsWith", "box", "name"]]
            ]),
        ] {
            assert_eq!(holds(&query), Some(true), "{query}");
        }
        for query in [
            json!(["notIn", "beta", "labels"]),
            json!(["doesNotStartWith", "Drop", "name"]),
            json!(["startsWith", "labels", "name"]),
            json!(["and", ["equal", "name", "Dropbox"], ["equal", "category", "CRM"]]),
        ] {
            assert_eq!(holds(&query), Some(false), "{query}");
        }
    }

    #[test]
    fn what_is_no_condition_is_none() {
        for nonsense in [
            json!("x"),
            json!([]),
            json!(["like", "a", "b"]),
            json!(["equal", "a"]),
            json!(["and", "x"]),
        ] {
            assert_eq!(holds(&nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn conditions_are_not_read_without_end() {
        let mut query = json!(["equal", "name", "Dropbox"]);
        for _ in 1..DEEPEST {
            query = json!(["and", query]);
        }
        assert_eq!(holds(&query), Some(true));
        assert_eq!(holds(&json!(["and", query])), None);
    }
}
