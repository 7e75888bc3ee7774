//! Keys that open flows for whoever the organization gives them to.

use super::*;
use crate::command::UpdateIntegration;
use perseat_domain::id::VersionId;

#[test]
fn keys_of_the_organization_may_stand_in_the_manifest_alone_and_are_never_lacking() {
    let mut bench = Bench::new();
    let bare = INTEGRATION.replace("customer_required", "organization");
    let with = |keys: &str| format!("{bare}organizationApiKeys: {{Import: [{keys}]}}\n");
    assert!(bench.problems(&[PEOPLE, &bare])[0].contains("[key_missing] at flows[0].endpointSecurityType"));
    assert!(bench.problems(&[PEOPLE, &with("")])[0].contains("there is no key for `Import`"));
    bench.apply(&[PEOPLE, &with("partner-key")], ApplyOptions::default()).unwrap();
    let again = bench.apply(&[&with("partner-key")], ApplyOptions::default()).unwrap();
    assert_eq!(again.plan.count(Action::Unchanged), 1);
    assert!(
        bench.problems(&[&bare])[0].contains("[key_missing]"),
        "a key that nobody gives any more is not kept"
    );

    // Neither another description nor a fork says anything about keys.
    let files = bench.custody.catalog().integration_by_name("Files").unwrap().unwrap();
    let described = UpdateIntegration {
        description: Some("Files of all kinds.".into()),
        ..UpdateIntegration::default()
    };
    bench.change(|edit| edit.update_integration(files.id, &described));
    let first = VersionId {
        integration: files.id,
        version: Some(1),
    };
    bench.change(|edit| edit.fork_integration(first, "Copies", ""));
    let catalog = bench.custody.catalog();
    let copies = catalog.integration_by_name("Copies").unwrap().unwrap();
    let keys = [(files.id, 1), (files.id, 2), (copies.id, 1)].map(|(integration, version)| {
        let version = catalog.integration_version(integration, version).unwrap().unwrap();
        let keys = version.organization_keys.values().flatten().map(|key| key.digest);
        keys.collect::<Vec<_>>()
    });
    assert!(keys[0].len() == 1 && keys.iter().all(|found| *found == keys[0]), "{keys:?}");
}
