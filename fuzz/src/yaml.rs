//! YAML: the definition of an integration, and manifests.
//!
//! Both readers end within their limits. A definition that was read is read the same again, and with its organization
//! keys and secret inputs taken out it is still a definition that holds none of them.

use perseat_admin::manifest::read_text;
use perseat_flow::component::BuiltIn;
use perseat_flow::definition::{Limits, Previous, is_redacted, parse, redact, take_secrets};
use std::collections::BTreeMap;
use std::path::Path;

const LIMITS: Limits = Limits {
    bytes: 64 << 10,
    nodes: 5_000,
    depth: 40,
    diagnostics: 20,
    registrations: 0,
    value: 0,
    values: 0,
};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // `file` and `valueFrom: {file: …}` would read this machine's files.
    if !text.contains("file") {
        let _ = read_text(text, Path::new("/nowhere/manifests.yml"), &|_| None);
    }
    let first = parse(text, &BuiltIn, &Previous::default(), &LIMITS);
    match &first {
        Err(problems) => assert!((1..=LIMITS.diagnostics).contains(&problems.len()), "{} problems", problems.len()),
        Ok(parsed) => {
            let variables = parsed.definition.config_vars.iter();
            let previous = Previous {
                flow_numbers: parsed.flow_numbers.clone(),
                stable_keys: variables
                    .map(|variable| (variable.key.clone(), variable.stable_key.clone()))
                    .collect(),
            };
            let again = parse(text, &BuiltIn, &previous, &LIMITS).expect("it was valid before");
            assert_eq!(again.definition, parsed.definition, "numbers and stable keys are kept");
            let keys = parsed.definition.flows.iter().flat_map(|flow| &flow.organization_api_keys);
            let secrets = take_secrets(&mut parsed.definition.clone(), &BuiltIn);
            if keys.clone().next().is_some() || !secrets.is_empty() {
                let redacted = parse(&redact(text, &BuiltIn, &LIMITS), &BuiltIn, &Previous::default(), &LIMITS);
                let Ok(mut redacted) = redacted else {
                    assert!(text.contains('*'), "still a definition, but for what an alias shares with a secret");
                    return;
                };
                let left = redacted.definition.flows.iter().flat_map(|flow| &flow.organization_api_keys);
                assert!(left.clone().all(|key| is_redacted(key)), "a key is left");
                assert_eq!(left.count(), keys.count());
                let left = take_secrets(&mut redacted.definition, &BuiltIn);
                let mut texts = left.values().flat_map(BTreeMap::values);
                assert!(text.contains('*') || texts.all(|text| is_redacted(text)), "a secret is left");
            }
        }
    }
    let _ = redact(text, &BuiltIn, &LIMITS);
}
