//! What the host page wants its marketplace to show: a category, a label, a condition. A choice, not a permission.

use perseat_admin::query::{Candidate, Condition};
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

impl Filter {
    /// Reads what the page sent; what cannot be read asks for nothing.
    pub(super) fn read(text: Option<&str>) -> Self {
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Whether this one is shown; `is_active`: whoever looks has switched it on.
    pub(super) fn fits(&self, candidate: &Candidate<'_>, is_active: bool) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(found));
        let label = self.label.as_ref();
        let labelled = label.is_none_or(|label| candidate.labels.iter().any(|found| found.eq_ignore_ascii_case(label)));
        let condition = self
            .filter_query
            .as_ref()
            .filter(|query| !query.is_null())
            .is_none_or(|query| Condition::read(query).is_some_and(|condition| condition.holds(candidate)));
        let included = is_active && self.include_active_integrations.unwrap_or(true);
        let is_loose = included && !self.strict_match_filter_query;
        let chosen = is(&self.category, candidate.category) && labelled && condition;
        chosen || (is_loose && (self.category.is_some() || label.is_some() || self.filter_query.is_some()))
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
        };
        Filter::read(Some(&filter.to_string())).fits(&candidate, is_active)
    }

    #[test]
    fn categories_labels_and_conditions_choose() {
        let is_shown = |filter: Value| fits(&filter, false);
        assert!(is_shown(json!({})) && is_shown(json!({ "category": "storage" })) && is_shown(json!({ "label": "Beta" })));
        assert!(!is_shown(json!({ "category": "CRM" })) && !is_shown(json!({ "label": "crm" })));
        assert!(is_shown(json!({ "filterQuery": ["equal", "category", "Storage"] })));
        assert!(!is_shown(json!({ "filterQuery": ["notIn", "beta", "labels"] })));
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
}
