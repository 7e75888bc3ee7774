use super::*;
use perseat_domain::definition::{CollectionType, DataType};

fn variables(list: &str) -> String {
    with_top(&format!("requiredConfigVars:\n{list}"))
}

#[test]
fn variables_and_pages_become_one_namespace_with_levels() {
    let parsed = valid(&with_top(
        "requiredConfigVars:
  - {key: Region, stableKey: region, dataType: picklist, pickList: [eu, us], defaultValue: eu, orgOnly: true}
  - {key: Folder, dataType: string, description: Where files go}
  - {key: Flag, dataType: boolean, defaultValue: true}
  - {key: Hidden, dataType: number}
  - {key: Tags, dataType: string, collectionType: keyvaluelist, defaultValue: '[{\"key\": \"a\", \"value\": \"b\"}]'}
  - key: Account
    stableKey: account
    dataType: connection
    connection: {key: apiKey, component: {key: http, version: LATEST, isPublic: true}}
    inputs:
      apiKey: {type: value, value: '', meta: {orgOnly: false, isVisibleToOrgDeployer: true}}
    meta: {isVisibleToCustomerDeployer: true, oAuthSuccessRedirectUri: null}
    onPremiseConnectionConfig: disallowed
configPages:
  - name: Company
    tagline: Once
    userLevelConfigured: false
    elements: [{type: configVar, value: Region}, {type: htmlElement, value: <p>Hi</p>}]
  - name: You
    userLevelConfigured: true
    elements: [{type: configVar, value: Folder}, {type: configVar, value: Account}]
",
    ));
    let definition = &parsed.definition;
    let summary = |key: &str| {
        let variable = definition.config_var(key).unwrap();
        (
            variable.stable_key.as_str(),
            variable.data_type,
            variable.user_level,
            variable.required,
        )
    };
    assert_eq!(summary("Region"), ("region", DataType::Picklist, false, false));
    assert_eq!(summary("Folder"), ("Folder", DataType::String, true, true));
    assert_eq!(summary("Flag"), ("Flag", DataType::Boolean, false, false));
    assert_eq!(summary("Hidden"), ("Hidden", DataType::Number, false, true));
    assert_eq!(summary("Account"), ("account", DataType::Connection, true, true));
    assert_eq!(
        definition.config_var("Tags").unwrap().collection,
        Some(CollectionType::KeyValueList)
    );
    assert!(definition.config_var("Region").unwrap().org_only);
    assert_eq!(definition.pages[0].elements[1], ("htmlElement".to_owned(), "<p>Hi</p>".to_owned()));
    assert!(definition.is_user_level());
    assert_eq!(
        shown(parsed.user_level_pages()),
        ["29:26 ulc_not_enabled configPages[1].userLevelConfigured"]
    );
}

#[test]
fn a_value_can_be_declared_optional() {
    let yaml = variables("  - {key: A, dataType: string, x-perseat: {required: false}}\n");
    assert!(!valid(&yaml).definition.config_vars[0].required);
}

#[test]
fn an_empty_default_is_none() {
    for (variable, is_required) in [
        ("dataType: picklist, pickList: [a, b], defaultValue: ''", true),
        ("dataType: string, defaultValue: ''", true),
        ("dataType: number, collectionType: valuelist, defaultValue: ''", true),
        ("dataType: boolean, defaultValue: ''", false),
        ("dataType: string, defaultValue: '', x-perseat: {required: false}", false),
    ] {
        let read = valid(&variables(&format!("  - {{key: A, {variable}}}\n")))
            .definition
            .config_vars
            .remove(0);
        assert_eq!((read.required, read.default_value), (is_required, None), "{variable}");
    }
}

#[test]
fn names_are_unique_and_pages_name_variables() {
    check(
        &variables("  - {key: A, dataType: string}\n  - {key: A, dataType: string}\n"),
        &["11:11 name_duplicate requiredConfigVars[1].key"],
    );
    check(
        &variables("  - {key: A, stableKey: s, dataType: string}\n  - {key: B, stableKey: s, dataType: string}\n"),
        &["11:25 name_duplicate requiredConfigVars[1].stableKey"],
    );
    let page = |elements: &str| {
        variables("  - {key: Folder, dataType: string}\n") + &format!("configPages:\n  - {{name: P, elements: [{elements}]}}\n")
    };
    check(
        &page("{type: configVar, value: Foldr}"),
        &["12:51 config_var_unknown configPages[0].elements[0].value ~Folder"],
    );
    check(&page("{type: configVar}"), &["12:26 key_missing configPages[0].elements[0]"]);
    check(
        &(page("{type: configVar, value: Folder}")
            + "  - {name: Q, userLevelConfigured: true, elements: [{type: configVar, value: Folder}]}\n"),
        &["13:78 contradiction configPages[1].elements[0].value"],
    );
}

#[test]
fn user_level_values_stay_out_of_what_all_users_share() {
    let yaml = |shared: &str| {
        variables(
            "  - {key: Mine, dataType: string}
  - key: Ours
    dataType: connection
    connection: {key: basic, component: {key: http}}
    inputs: {username: {type: configVar, value: Mine}}
",
        ) + &format!("configPages: [{{name: P, userLevelConfigured: true, elements: [{{type: configVar, value: Mine}}{shared}]}}]\n")
    };
    check(&yaml(""), &["11:10 contradiction requiredConfigVars[1].key"]);
    check(&yaml(", {type: configVar, value: Ours}"), &[]);
}

#[test]
fn settings_of_a_variable_fit_its_type() {
    for (variable, expected) in [
        ("dataType: connection", Code::KeyMissing),
        (
            "dataType: string, connection: {key: apiKey, component: {key: http}}",
            Code::Contradiction,
        ),
        ("dataType: string, useScopedConfigVar: x", Code::Contradiction),
        (
            "useScopedConfigVar: x, inputs: {apiKey: {type: value, value: y}}",
            Code::Contradiction,
        ),
        (
            "connection: {key: apiKey, component: {key: http}}, useScopedConfigVar: x",
            Code::Contradiction,
        ),
        (
            "connection: {key: apiKey, component: {key: http}}, defaultValue: x",
            Code::Contradiction,
        ),
        ("dataType: picklist", Code::ValueInvalid),
        ("dataType: picklist, pickList: [a], defaultValue: b", Code::ValueInvalid),
        ("dataType: picklist, pickList: [a, a]", Code::NameDuplicate),
        ("dataType: string, pickList: [a]", Code::Contradiction),
        ("dataType: boolean, defaultValue: maybe", Code::ValueInvalid),
        ("dataType: number, defaultValue: ten", Code::ValueInvalid),
        ("dataType: number, defaultValue: NaN", Code::ValueInvalid),
        ("dataType: number, defaultValue: inf", Code::ValueInvalid),
        ("dataType: date, defaultValue: tomorrow", Code::ValueInvalid),
        ("dataType: timestamp, defaultValue: 2026-01-31", Code::ValueInvalid),
        ("dataType: schedule, defaultValue: daily", Code::ValueInvalid),
        ("dataType: jsonForm, defaultValue: '{'", Code::ValueInvalid),
        (
            "dataType: number, collectionType: valuelist, defaultValue: '[\"one\"]'",
            Code::ValueInvalid,
        ),
        ("dataType: schedule, collectionType: valuelist", Code::Contradiction),
        ("dataType: string, collectionType: valuelist, defaultValue: a", Code::ValueInvalid),
        ("dataType: strin", Code::ValueInvalid),
        ("dataType: string, meta: [hidden]", Code::TypeMismatch),
        ("dataType: string, meta: {visibleToCustomerDeployer: perhaps}", Code::TypeMismatch),
        ("dataType: string, meta: {isVisibleToCustomerDeployer: [true]}", Code::TypeMismatch),
        (
            "connection: {key: apiKey, component: {key: http}}, inputs: {apiKey: {type: value, meta: {orgOnly: 1}}}",
            Code::TypeMismatch,
        ),
        ("dataType: string, scheduleType: yearly", Code::ValueInvalid),
    ] {
        check_codes(&variables(&format!("  - {{key: A, {variable}}}\n")), &[expected]);
    }
    let long = format!("  - {{key: A, dataType: picklist, pickList: [{}]}}\n", "x".repeat(65));
    check_codes(&variables(&long), &[Code::ValueInvalid]);
}

#[test]
fn inputs_of_a_connection_cannot_refer_to_steps() {
    let yaml = variables(
        "  - key: A
    connection: {key: basic, component: {key: http}}
    inputs: {username: {type: reference, value: hook.results}}
",
    );
    check(&yaml, &["12:49 reference_invalid requiredConfigVars[0].inputs.username.value"]);
}

#[test]
fn a_data_source_fills_variables_of_its_own_kind() {
    let source = |data_type: &str, key: &str, input: &str| {
        variables(&format!(
            "  - key: Folder\n    dataType: {data_type}\n    dataSource: {{key: {key}, component: {{key: code, isPublic: true, version: LATEST}}}}\n    inputs: {{{input}: {{type: value, value: x}}}}\n"
        ))
    };
    check_warnings(&source("picklist", "runCodePicklist", "code"), &[]);
    let unknown = "the data source does not know the input `size`";
    check_warnings(&source("picklist", "runCodePicklist", "size"), &[(Code::InputUnknown, unknown)]);
    let other = "the data source `runCodePicklist` fills variables of another data type; the value of `Folder` is typed in";
    check_warnings(&source("string", "runCodePicklist", "code"), &[(Code::Contradiction, other)]);
    let missing = "the data source `runCodeMap` of the component `code` is not available; the value of `Folder` is typed in";
    check_warnings(&source("picklist", "runCodeMap", "code"), &[(Code::ComponentMissing, missing)]);
}
