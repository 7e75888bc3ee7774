//! What clients may ask for and this server does not have: it says so by name, whatever they select.

use async_graphql::parser::types::{ExecutableDocument, Selection};

/// Where clients post to try a flow that is not deployed.
pub(super) const FLOW_TEST: &str = "/unsupported/flow-test";

/// What is answered there.
pub(super) const NO_FLOW_TEST: &str =
    "The test of a flow that is not deployed: not supported by this server. Deploy an instance and use instances:flow-configs:test.";

/// Root fields, with what they belong to.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("onPremiseResources", "On-premise resources"),
    ("deleteOnPremiseResource", "On-premise resources"),
    ("createOnPremiseResourceJWT", "On-premise resources"),
    ("rotateOnPremiseResourceJWT", "On-premise resources"),
    ("workflow", "Workflows"),
    ("importWorkflow", "Workflows"),
    ("publishComponent", "Components of one's own"),
    ("deleteComponent", "Components of one's own"),
    ("convertLowCodeIntegration", "The conversion to code"),
    ("testIntegrationFlow", "The test of a flow that is not deployed"),
    ("updateWorkflowTestConfiguration", "Listening to a flow"),
    ("alertEvents", "Alerts"),
    ("alertGroups", "Alerts"),
    ("alertMonitors", "Alerts"),
    ("alertTriggers", "Alerts"),
    ("alertWebhooks", "Alerts"),
    ("createAlertGroup", "Alerts"),
    ("deleteAlertGroup", "Alerts"),
    ("clearAlertMonitor", "Alerts"),
    ("createAlertMonitor", "Alerts"),
    ("deleteAlertMonitor", "Alerts"),
    ("createAlertWebhook", "Alerts"),
    ("deleteAlertWebhook", "Alerts"),
];

/// The sentence for a document that asks for something of the kind.
pub(super) fn refusal(document: &ExecutableDocument) -> Option<String> {
    let operations = document.operations.iter();
    let roots = operations.flat_map(|(_, operation)| &operation.node.selection_set.node.items);
    let mut names = roots.filter_map(|item| match &item.node {
        Selection::Field(field) => Some(field.node.name.node.as_str()),
        Selection::FragmentSpread(_) | Selection::InlineFragment(_) => None,
    });
    names.find_map(|name| {
        let (name, what) = UNSUPPORTED.iter().find(|(known, _)| *known == name)?;
        Some(format!("{what}: not supported by this server ({name})."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::parser::parse_query;

    #[test]
    fn what_is_not_here_is_named_and_what_is_here_is_not() {
        let refused = refusal(&parse_query("{ customers { nodes { id } } onPremiseResources { nodes { id } } }").unwrap());
        assert_eq!(
            refused.as_deref(),
            Some("On-premise resources: not supported by this server (onPremiseResources).")
        );
        assert_eq!(refusal(&parse_query("{ customers { nodes { id } } }").unwrap()), None);
        let sdl = super::super::sdl();
        for (name, _) in UNSUPPORTED {
            assert!(
                !sdl.contains(&format!("\t{name}(")) && !sdl.contains(&format!("\t{name}:")),
                "{name} is supported"
            );
        }
    }
}
