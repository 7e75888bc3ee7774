//! YAML: the definition of an integration, and manifests.
//!
//! Both readers end within their limits. A definition that was read is read the same again, and with its organization
//! keys taken out it is still a definition that holds none of them.

use perseat_admin::manifest::read_text;
use perseat_flow::component::BuiltIn;
use perseat_flow::definition::{Limits, REDACTED, parse, redact_organization_keys};
use std::collections::BTreeMap;
use std::path::Path;

const LIMITS: Limits = Limits {
    bytes: 64 << 10,
    nodes: 5_000,
    depth: 40,
    diagnostics: 20,
};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // `file` and `valueFrom: {file: …}` would read this machine's files.
    if !text.contains("file") {
        let _ = read_text(text, Path::new("/nowhere/manifests.yml"), &|_| None);
    }
    let first = parse(text, &BuiltIn, &BTreeMap::new(), &LIMITS);
    match &first {
        Err(problems) => assert!((1..=LIMITS.diagnostics).contains(&problems.len()), "{} problems", problems.len()),
        Ok(parsed) => {
            let again = parse(text, &BuiltIn, &parsed.flow_numbers, &LIMITS).expect("it was valid before");
            assert_eq!(again.definition, parsed.definition, "numbers are kept");
            let keys = parsed.definition.flows.iter().flat_map(|flow| &flow.organization_api_keys);
            if keys.clone().next().is_some() {
                let redacted =
                    parse(&redact_organization_keys(text, &LIMITS), &BuiltIn, &BTreeMap::new(), &LIMITS).expect("still a definition");
                let left = redacted.definition.flows.iter().flat_map(|flow| &flow.organization_api_keys);
                // A block keeps the ends of the lines around it.
                assert!(left.clone().all(|key| key.trim() == REDACTED), "a key is left");
                assert_eq!(left.count(), keys.count());
            }
        }
    }
    let _ = redact_organization_keys(text, &LIMITS);
}
