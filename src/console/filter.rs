//! What the host page wants its marketplace to show: a category, a label, a condition. A choice, not a permission.

use serde::Deserialize;
use serde_json::Value;

/// See the module.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Filter {
    category: Option<String>,
    label: Option<String>,
    /// Whether what is switched on is shown although the rest does not hold.
    include_active_integrations: Option<bool>,
    filter_query: Option<Value>,
    /// Whether what is switched on has to fit the condition, too.
    strict_match_filter_query: bool,
}

/// What conditions ask about.
#[derive(Debug)]
pub(super) struct Candidate<'c> {
    pub(super) name: &'c str,
    pub(super) category: &'c str,
    pub(super) description: &'c str,
    pub(super) labels: &'c [String],
    pub(super) is_active: bool,
}

/// Conditions within one another.
const DEEPEST: usize = 16;

impl Filter {
    /// Reads what the page sent; what cannot be read asks for nothing.
    pub(super) fn read(text: Option<&str>) -> Self {
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Whether this one is shown.
    pub(super) fn fits(&self, candidate: &Candidate<'_>) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(found));
        let label = self.label.as_ref();
        let labelled = label.is_none_or(|label| candidate.labels.iter().any(|found| found.eq_ignore_ascii_case(label)));
        let condition = self
            .filter_query
            .as_ref()
            .filter(|query| !query.is_null())
            .is_none_or(|query| holds(query, candidate, DEEPEST));
        let included = candidate.is_active && self.include_active_integrations.unwrap_or(true);
        let is_loose = included && !self.strict_match_filter_query;
        let chosen = is(&self.category, candidate.category) && labelled && condition;
        chosen || (is_loose && (self.category.is_some() || label.is_some() || self.filter_query.is_some()))
    }
}

/// Whether a condition holds; what is none does not.
fn holds(query: &Value, candidate: &Candidate<'_>, deepest: usize) -> bool {
    let Some((Value::String(operator), terms)) = query.as_array().and_then(|list| list.split_first()) else {
        return false;
    };
    let Some(deeper) = deepest.checked_sub(1) else { return false };
    match operator.as_str() {
        "and" => terms.iter().all(|term| holds(term, candidate, deeper)),
        "or" => terms.iter().any(|term| holds(term, candidate, deeper)),
        operator => compare(operator, terms, candidate).unwrap_or(false),
    }
}

fn compare(operator: &str, terms: &[Value], candidate: &Candidate<'_>) -> Option<bool> {
    let [left, right] = terms else { return None };
    let (left, right) = (Side::of(left, candidate), Side::of(right, candidate));
    Some(match operator {
        "equal" => left.is(&right),
        "notEqual" => !left.is(&right),
        "in" => left.within(&right),
        "notIn" => !left.within(&right),
        "startsWith" => left.stands(&right, |text, part| text.starts_with(part))?,
        "doesNotStartWith" => !left.stands(&right, |text, part| text.starts_with(part))?,
        "endsWith" => left.stands(&right, |text, part| text.ends_with(part))?,
        "doesNotEndWith" => !left.stands(&right, |text, part| text.ends_with(part))?,
        _ => return None,
    })
}

/// One side of a comparison: a property of the integration, or what is given.
enum Side {
    One(String),
    Many(Vec<String>),
}

impl Side {
    fn of(value: &Value, candidate: &Candidate<'_>) -> Self {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match value {
            Value::Array(items) => Self::Many(items.iter().map(text).collect()),
            value => match text(value).as_str() {
                "category" => Self::One(candidate.category.to_owned()),
                "name" => Self::One(candidate.name.to_owned()),
                "description" => Self::One(candidate.description.to_owned()),
                "labels" => Self::Many(candidate.labels.to_vec()),
                other => Self::One(other.to_owned()),
            },
        }
    }

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
            (Self::One(one), Self::Many(many)) => many.contains(one),
            (Self::One(one), Self::One(text)) => text.contains(one.as_str()),
            (Self::Many(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fits(filter: &Value, is_active: bool) -> bool {
        let labels = ["files".to_owned(), "beta".to_owned()];
        let candidate = Candidate {
            name: "Dropbox",
            category: "Storage",
            description: "Keeps files",
            labels: &labels,
            is_active,
        };
        Filter::read(Some(&filter.to_string())).fits(&candidate)
    }

    #[test]
    fn categories_labels_and_conditions_choose() {
        let is_shown = |filter: Value| fits(&filter, false);
        assert!(is_shown(json!({})) && is_shown(json!({ "category": "storage" })) && is_shown(json!({ "label": "Beta" })));
        assert!(!is_shown(json!({ "category": "CRM" })) && !is_shown(json!({ "label": "crm" })));
        assert!(is_shown(json!({ "filterQuery": ["equal", "category", "Storage"] })));
        assert!(is_shown(json!({ "filterQuery": ["in", "beta", "labels"] })));
        assert!(!is_shown(json!({ "filterQuery": ["notIn", "beta", "labels"] })));
        assert!(is_shown(json!({ "filterQuery": ["startsWith", "Drop", "name"] })));
        assert!(is_shown(
            json!({ "filterQuery": ["and", ["notEqual", "category", "CRM"], ["or", ["equal", "name", "x"], ["endsWith", "box", "name"]]] })
        ));
        for nonsense in [json!("x"), json!([]), json!(["like", "a", "b"]), json!(["equal", "a"])] {
            assert!(
                !is_shown(json!({ "filterQuery": nonsense })),
                "a condition that cannot be read shows nothing"
            );
        }
    }

    #[test]
    fn what_is_switched_on_stays_unless_the_page_is_strict() {
        let query = json!(["equal", "category", "CRM"]);
        assert!(fits(&json!({ "category": "CRM" }), true));
        assert!(!fits(&json!({ "category": "CRM", "includeActiveIntegrations": false }), true));
        assert!(fits(&json!({ "filterQuery": query }), true));
        assert!(!fits(&json!({ "filterQuery": query, "strictMatchFilterQuery": true }), true));
    }

    #[test]
    fn conditions_are_not_read_without_end() {
        let mut query = json!(["equal", "name", "Dropbox"]);
        for _ in 0..DEEPEST {
            query = json!(["and", query]);
        }
        assert!(!fits(&json!({ "filterQuery": query }), false));
    }
}
