//! Values of configuration variables: how large they may be, and over versions.

use super::*;
use crate::command::UpdateIntegration;
use perseat_domain::id::VersionId;

#[test]
fn values_beyond_what_one_or_all_of_a_configuration_may_take_are_refused() {
    let mut bench = Bench::new();
    (bench.limits.value, bench.limits.values) = (300, 400);
    let user = |folder: usize, token: usize| {
        JANE.replace("/jane", &"f".repeat(folder))
            .replace("jane-token-0001", &"t".repeat(token))
    };
    bench
        .apply(&[PEOPLE, INTEGRATION, INSTANCE, &user(300, 20)], ApplyOptions::default())
        .unwrap();
    for (folder, token, said) in [(301, 20, "`Folder` has 301 bytes"), (20, 301, "has 301 bytes"), (300, 300, "take ")] {
        let problems = bench.problems(&[&user(folder, token)]);
        assert!(problems.len() == 1 && problems[0].contains(said), "{problems:?}");
    }
    // What is too much by now may become less.
    bench.limits.values = 100;
    bench.apply(&[&user(299, 20)], ApplyOptions::default()).unwrap();
    assert!(bench.problems(&[&user(300, 20)])[0].contains("take "));
    // What is there may stay as it is.
    (bench.limits.value, bench.limits.values) = (10, 1_000);
    bench.apply(&[&user(299, 20)], ApplyOptions::default()).unwrap();
    assert!(bench.problems(&[&user(298, 20)])[0].contains("`Folder` has 298 bytes"));
    assert!(bench.problems(&[&user(299, 21)])[0].contains("has 21 bytes"));
}

#[test]
fn an_instance_is_not_deployed_without_a_choice_whose_default_is_empty() {
    let mut bench = Bench::new();
    let choice = "    - {key: Region, stableKey: region, dataType: picklist, pickList: [eu, us], defaultValue: ''}\n";
    let integration = INTEGRATION.replace("  configPages:\n", &format!("{choice}  configPages:\n"));
    let problems = bench.problems(&[PEOPLE, &integration, INSTANCE]);
    assert!(problems[0].contains("cannot be deployed without Region"), "{problems:?}");
    let chosen = INSTANCE.replace("{Address", "{Region: eu, Address");
    bench.apply(&[PEOPLE, &integration, &chosen], ApplyOptions::default()).unwrap();

    // Versions from before may hold an empty default.
    let catalog = bench.custody.catalog();
    let found = catalog.integration_by_name("Files").unwrap().unwrap();
    let version = catalog.integration_version(found.id, 1).unwrap().unwrap();
    let mut region = version.definition.config_var("Region").unwrap().clone();
    for (default, is_lacking) in [(None, true), (Some(""), true), (Some("eu"), false)] {
        region.default_value = default.map(str::to_owned);
        assert_eq!(crate::edit::is_lacking(&region, &BTreeMap::new()), is_lacking, "{default:?}");
    }
}

#[test]
fn another_name_and_a_fork_leave_literal_values_as_they_are() {
    let mut bench = Bench::new();
    let note = "        - name: Note
          action: {key: writeLog, component: {key: log, isPublic: true, version: LATEST}}
          inputs: {level: {type: value, value: 1.10}, message: {type: value, value: +15551234567}}
";
    let choice = "    - {key: Country, stableKey: country, dataType: picklist, pickList: [SE, NO]}\n";
    let definition = INTEGRATION.replace("  configPages:\n", &format!("{choice}  configPages:\n")) + note;
    bench.apply(&[PEOPLE], ApplyOptions::default()).unwrap();
    bench.import(definition.split_once("|\n").unwrap().1);
    let newest = |bench: &Bench, name: &str| {
        let catalog = bench.custody.catalog();
        let found = catalog.integration_by_name(name).unwrap().unwrap();
        let version = catalog.integration_version(found.id, found.latest_version).unwrap().unwrap();
        (found.id, version.definition.clone())
    };
    let (id, imported) = newest(&bench, "Files");
    assert_eq!(imported.config_var("Country").unwrap().pick_list, ["SE", "NO"]);
    let renamed = UpdateIntegration {
        name: Some("Papers".into()),
        ..UpdateIntegration::default()
    };
    bench.change(|edit| edit.update_integration(id, &renamed));
    let mut expected = imported;
    expected.name = "Papers".into();
    assert_eq!(newest(&bench, "Papers").1, expected);
    let parent = VersionId {
        integration: id,
        version: None,
    };
    bench.change(|edit| edit.fork_integration(parent, "Copies", "Of papers."));
    (expected.name, expected.description) = ("Copies".into(), "Of papers.".into());
    assert_eq!(newest(&bench, "Copies").1, expected);
}

#[test]
fn a_renamed_variable_keeps_what_every_user_gave() {
    let mut bench = Bench::new();
    let unnamed = |yaml: &str| yaml.replace("stableKey: folder, ", "").replace("      stableKey: account\n", "");
    let rename = |yaml: &str| yaml.replace("Folder", "Target folder").replace("Account", "Storage");
    let hints =
        "  renameAttributes: {requiredConfigVars: [{oldName: Folder, newName: Target folder}, {oldName: Account, newName: Storage}]}\n";
    let first = unnamed(INTEGRATION);
    let second = rename(&first).replace("  flows:\n", &format!("{hints}  flows:\n"));
    assert!(first != INTEGRATION && second.contains("renameAttributes"));
    bench.apply(&[PEOPLE, &first, INSTANCE, JANE], ApplyOptions::default()).unwrap();
    let applied = bench.apply(&[&second, INSTANCE], ApplyOptions::default()).unwrap();
    assert_eq!(applied.plan.count(Action::Changed), 2, "version and instance: {:?}", applied.plan);
    let again = bench.apply(&[&second, INSTANCE, &rename(JANE)], ApplyOptions::default()).unwrap();
    assert_eq!(
        again.plan.count(Action::Unchanged),
        3,
        "what she gave is what the new names have: {:?}",
        again.plan
    );

    let other = second.replace("key: Target folder", "key: Target folder, stableKey: folder");
    let problems = bench.problems(&[&other]);
    assert!(
        problems[0].contains("would be lost") && problems[0].contains("write `Folder`"),
        "{problems:?}"
    );
    let catalog = bench.custody.catalog();
    let customer = catalog.customer_by_external_id("globex").unwrap().unwrap();
    let instance = catalog.instance_by_name(customer.id, "Files").unwrap().unwrap();
    let bundle = catalog.instance_bundle(instance.id).unwrap().unwrap();
    let stable_key = |key: &str| bundle.version.definition.config_var(key).unwrap().stable_key.clone();
    assert_eq!(
        (bundle.version.version, stable_key("Target folder"), stable_key("Storage")),
        (2, "Folder".into(), "Account".into())
    );
}
