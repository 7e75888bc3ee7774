//! The integrations that are measured. Code and three-step do what the Restate service beside them in the harness does.

use super::{Endpoint, Flow};
use url::Url;

/// The integration's YAML.
pub(super) fn integration(flow: Flow, endpoint: Endpoint, sink: Option<&Url>) -> String {
    let endpoint = match endpoint {
        Endpoint::FlowSpecific => "flow_specific",
        Endpoint::InstanceSpecific => "instance_specific",
        Endpoint::Shared => "shared_instance",
    };
    let steps = match flow {
        Flow::Ack => String::new(),
        Flow::Code => CODE.to_owned(),
        Flow::ThreeStep => THREE_STEP.replace("SINK", sink.map_or("", |sink| sink.as_str().trim_end_matches('/'))),
    };
    format!("{}{steps}", HEAD.replace("ENDPOINT", endpoint))
}

/// The flow's name.
pub(super) const FLOW: &str = "Orders";
/// The user-level variable's stable key.
pub(super) const FOLDER: &str = "folder";

const HEAD: &str = "definitionVersion: 7
name: Bench
description: Takes orders.
endpointType: ENDPOINT
requiredConfigVars:
  - {key: Folder, stableKey: folder, description: Where to file, dataType: string, orgOnly: false}
configPages:
  - {name: Your folder, tagline: '', userLevelConfigured: true, elements: [{type: configVar, value: Folder}]}
flows:
  - name: Orders
    stableKey: orders
    description: Takes an order.
    isSynchronous: false
    endpointSecurityType: customer_optional
    steps:
      - name: On Order
        stableKey: on-order
        isTrigger: true
        action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}
        inputs: {}
";

const CODE: &str = r#"      - name: Transform
        stableKey: transform
        action: {key: runCode, component: {key: code, isPublic: true, version: LATEST}}
        inputs:
          code:
            type: value
            value: |
              module.exports = async (_context, { onOrder }) => {
                const items = onOrder.results.body.data.items.map(i => ({ sku: i.sku, n: i.qty * 2, total: Math.round(i.qty * i.price * 100) / 100, tag: i.name.toUpperCase() }));
                return { data: { ok: true, sum: items.reduce((a, i) => a + i.total, 0) } };
              };
"#;

const THREE_STEP: &str = r#"      - name: Transform
        stableKey: transform
        action: {key: runCode, component: {key: code, isPublic: true, version: LATEST}}
        inputs:
          code:
            type: value
            value: |
              module.exports = async (_context, { onOrder }) => {
                const items = onOrder.results.body.data.items.map(i => ({ sku: i.sku, n: i.qty * 2, total: Math.round(i.qty * i.price * 100) / 100 }));
                return { data: { items, count: items.length } };
              };
      - name: By Size
        stableKey: by-size
        action: {key: branchOnExpression, component: {key: branch, isPublic: true, version: LATEST}}
        inputs:
          conditions:
            type: complex
            value:
              - name: Large
                type: complex
                value: [and, [greaterThan, {type: reference, value: transform.results.count}, {type: value, value: "5"}]]
        branches:
          - name: Large
            steps:
              - name: Post Large
                stableKey: post-large
                action: {key: httpPost, component: {key: http, isPublic: true, version: LATEST}}
                inputs:
                  url: {type: value, value: "SINK/large"}
                  data: {type: reference, value: transform.results.items}
          - name: Else
            steps:
              - name: Post Small
                stableKey: post-small
                action: {key: httpPost, component: {key: http, isPublic: true, version: LATEST}}
                inputs:
                  url: {type: value, value: "SINK/small"}
                  data: {type: reference, value: transform.results.items}
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;
    use perseat_flow::component::BuiltIn;
    use perseat_flow::definition::{Limits, Previous, parse};

    #[test]
    fn every_flow_and_endpoint_is_a_complete_integration() {
        let sink = Url::parse("http://127.0.0.1:1/").unwrap();
        for flow in Flow::value_variants() {
            for endpoint in Endpoint::value_variants() {
                let parsed = parse(
                    &integration(*flow, *endpoint, Some(&sink)),
                    &BuiltIn,
                    &Previous::default(),
                    &Limits::default(),
                )
                .unwrap();
                let definition = parsed.definition;
                assert!(
                    !definition.is_draft() && definition.warnings.is_empty(),
                    "{:?}",
                    definition.warnings
                );
                assert_eq!(definition.endpoint_type, endpoint.endpoint_type());
                assert!(definition.is_user_level() && definition.flow_named(FLOW).is_some());
                assert_eq!(definition.config_vars[0].stable_key, FOLDER);
            }
        }
    }
}
