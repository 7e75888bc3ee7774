use super::*;

#[test]
fn all_problems_are_reported_at_once_with_suggestions() {
    check(
        "definitionVersion: 7
nmae: Test
labels: one
isCodeNative: perhaps
flows:
  - name: Main
    isSynchronus: true
    steps:
      - name: Hook
        isTrigger: true
        action: {key: webhook, component: {key: webhook-triggers}}
      - action: {key: writeLog}
        inputs:
          message: {type: reference, value: hok.results}
  - name: Main
    name: Twice
    steps: [oops]
userLevelConfigPages: []
",
        &[
            "1:1 key_missing ",
            "2:1 key_unknown nmae ~name",
            "3:9 type_mismatch labels",
            "4:15 type_mismatch isCodeNative",
            "7:5 key_unknown flows[0].isSynchronus ~isSynchronous",
            "12:9 key_missing flows[0].steps[1]",
            "12:17 key_missing flows[0].steps[1].action",
            "14:45 reference_invalid flows[0].steps[1].inputs.message.value ~hook",
            "15:5 trigger_invalid flows[1]",
            "15:11 name_duplicate flows[1].name",
            "16:5 key_duplicate ",
            "17:13 type_mismatch flows[1].steps[0]",
            "18:1 key_unknown userLevelConfigPages",
        ],
    );
}

#[test]
fn diagnostics_read_as_a_sentence_with_place_and_code() {
    let problems = parsed(&with_top("flwos: 1\n")).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "9:1: there is no key `flwos` here [key_unknown] at flows; did you mean `flows`?".replace("at flows;", "at flwos;")
    );
    assert_eq!(serde_json::to_value(&problems[0]).unwrap()["code"], "key_unknown");
}

#[test]
fn every_key_of_the_format_is_read() {
    let yaml = "definitionVersion: 7
isCodeNative: false
name: Everything
description: All keys
category: Files
documentation: |
  # Heading
labels: [a, b]
version: 1.10
defaultInstanceProfile: Default
endpointType: flow_specific
importMetadata: {}
x-perseat: {anything: true}
renameAttributes:
  requiredConfigVars: [{oldName: A, newName: B}]
  flows: [{oldName: C, newName: D}]
requiredConfigVars:
  - key: Choice
    stableKey: choice
    description: From a data source
    dataType: picklist
    orgOnly: false
    defaultValue: null
    meta: null
    header: null
    dataSource: {key: options, component: {key: acme, isPublic: true, version: 3}}
    inputs: {filter: {type: value, value: x}}
  - {key: Script, dataType: code, codeLanguage: json, defaultValue: '{}', scheduleType: null, timeZone: null}
configPages: []
flows:
  - name: D
    stableKey: d
    description: A flow
    isSynchronous: false
    isAgentFlow: true
    endpointSecurityType: customer_required
    retryConfig: null
    queueConfig: null
    renameAttributes: {steps: [{oldName: A, newName: B}]}
    steps:
      - name: On Trigger
        stableKey: d-onTrigger
        description: ''
        isTrigger: true
        action: {key: webhook, component: {key: webhook-triggers, isPublic: true, signature: abc}}
        inputs:
          body: {type: value, value: null}
        schedule: null
        errorConfig: {errorHandlerType: fail, maxAttempts: 0, delaySeconds: 0, ignoreFinalError: false, usesExponentialBackoff: false}
";
    let parsed = valid(yaml);
    assert_eq!(parsed.definition.flows[0].trigger.reference, "onTrigger");
    assert_eq!(parsed.definition.name, "Everything");
    assert!(!parsed.definition.is_draft());
}

#[test]
fn flow_numbers_follow_stable_keys_and_rename_hints() {
    let flows = |list: &[(&str, &str)], hints: &str| {
        let mut yaml = format!("definitionVersion: 7\nname: X\nrenameAttributes: {{flows: [{hints}]}}\nflows:\n");
        for (name, key) in list {
            yaml += &format!("  - name: {name}\n");
            if !key.is_empty() {
                yaml += &format!("    stableKey: {key}\n");
            }
            yaml += "    steps: [{name: In, isTrigger: true, action: {key: webhook, component: {key: webhook-triggers}}}]\n";
        }
        yaml
    };
    let mut known = Previous::default();
    let mut import = |list: &[(&str, &str)], hints: &str| {
        let parsed = parse(&flows(list, hints), &Shelf, &known, &Limits::default()).unwrap();
        known.flow_numbers = parsed.flow_numbers;
        parsed.definition.flows.iter().map(|flow| flow.number.0).collect::<Vec<_>>()
    };
    assert_eq!(import(&[("A", ""), ("B", "b"), ("C", "")], ""), [1, 2, 3]);
    assert_eq!(import(&[("C", ""), ("Bee", "b")], ""), [3, 2], "order and names do not matter");
    assert_eq!(
        import(&[("D", ""), ("B", "b")], "{oldName: C, newName: D}"),
        [3, 2],
        "a hint moves a number"
    );
    assert_eq!(
        import(&[("E", ""), ("A", "a-key")], ""),
        [4, 1],
        "a stable key given later takes over the name's number"
    );
    assert_eq!(import(&[("C", "")], ""), [5], "numbers are not given twice");
    assert_eq!(
        import(&[("B", "b"), ("X", "")], "{oldName: b, newName: X}"),
        [2, 6],
        "a flow that is there keeps its number"
    );
}

#[test]
fn variables_follow_stable_keys_and_rename_hints() {
    let mut known = Previous::default();
    // Keys, with the stable keys that are written.
    let mut import = |list: &[(&str, &str)], hints: &str| {
        let stable_key = |key: &str| {
            if key.is_empty() {
                String::new()
            } else {
                format!(", stableKey: {key}")
            }
        };
        let variables: String = list
            .iter()
            .map(|(key, stable)| format!("  - {{key: {key}{}}}\n", stable_key(stable)))
            .collect();
        let yaml = with_top(&format!(
            "renameAttributes: {{requiredConfigVars: [{hints}]}}\nrequiredConfigVars:\n{variables}"
        ));
        let parsed = parse(&yaml, &Shelf, &known, &Limits::default()).map_err(|problems| shown(&problems).join(", "))?;
        let variables = parsed.definition.config_vars.into_iter();
        known.stable_keys = variables.map(|variable| (variable.key, variable.stable_key)).collect();
        Ok(list.iter().map(|(key, _)| known.stable_keys[*key].clone()).collect::<Vec<_>>())
    };
    let keys = |keys: &[&str]| Ok(keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>());
    assert_eq!(import(&[("A", ""), ("B", "b"), ("C", "c")], ""), keys(&["A", "b", "c"]));
    assert_eq!(
        import(&[("Bee", "b"), ("C", ""), ("A", "")], ""),
        keys(&["b", "c", "A"]),
        "order and names do not matter"
    );
    let renamed = "{oldName: A, newName: D}, {oldName: C, newName: E}";
    assert_eq!(
        import(&[("D", ""), ("E", ""), ("Bee", "b")], renamed),
        keys(&["A", "c", "b"]),
        "a hint moves a stable key"
    );
    assert_eq!(
        import(&[("D", ""), ("E", ""), ("Bee", "b")], renamed),
        keys(&["A", "c", "b"]),
        "one that was followed has no effect"
    );
    assert_eq!(
        import(&[("D", ""), ("F", ""), ("E", "")], "{oldName: E, newName: F}"),
        keys(&["A", "F", "c"]),
        "a variable that is there keeps its stable key"
    );
    assert_eq!(
        import(&[("D", ""), ("G", "c"), ("E", "")], ""),
        keys(&["A", "c", "E"]),
        "what is written goes first"
    );
    for (list, hints, found) in [
        ([("D", "d"), ("G", "c")], "", "11:25 value_invalid requiredConfigVars[0].stableKey"),
        (
            [("H", "h"), ("G", "c")],
            "{oldName: D, newName: H}",
            "11:25 value_invalid requiredConfigVars[0].stableKey",
        ),
        ([("D", ""), ("A", "")], "", "12:11 name_duplicate requiredConfigVars[1].key"),
    ] {
        assert_eq!(
            import(&list, hints),
            Err(found.to_owned()),
            "values would be lost, or another variable's taken"
        );
    }
    assert_eq!(
        import(&[("D", "d"), ("Folder", "A")], ""),
        keys(&["d", "A"]),
        "a key is used for another variable"
    );
}

#[test]
fn flow_numbers_end_at_their_range() {
    let previous = BTreeMap::from([("last".to_owned(), FlowNumber(u16::MAX))]);
    assert_eq!(assign_flow_numbers(&previous, &Renames::new(), ["new"]), Err(NumberError));
    assert_eq!(assign_flow_numbers(&previous, &Renames::new(), ["last"]), Ok(previous.clone()));
    let previous = Previous {
        flow_numbers: previous,
        ..Previous::default()
    };
    let problems = parse(&one_flow(""), &Shelf, &previous, &Limits::default()).unwrap_err();
    assert_eq!(problems[0].code, Code::FlowNumbersExhausted);
}

#[test]
fn organization_keys_are_removed_and_nothing_else_changes() {
    let keys = "    endpointSecurityType: organization  # who
    organizationApiKeys:
      - &first plain-secret
      - 'single secret'
      - \"double \\\" secret\"
      - >-
        folded
        secret
      - spread
        secret
";
    let rest = "      - {name: Second, action: {key: httpGet, component: {key: http}}}  # kept: é\n";
    let second = "  - name: Second
    endpointSecurityType: organization
    organizationApiKeys: [*first, \"ünï secret\", 12345]
    steps: [{name: In, isTrigger: true, action: {key: webhook, component: {key: webhook-triggers}}}]
";
    let yaml = with_flow(keys, rest) + second;
    assert_eq!(
        valid(&yaml).definition.flows[0].organization_api_keys,
        [
            "plain-secret",
            "single secret",
            "double \" secret",
            "folded secret",
            "spread secret"
        ]
    );
    let redacted = redact(&yaml, &Shelf, &Limits::default());
    assert!(!redacted.contains("secret") && !redacted.contains("12345"), "{redacted}");
    let definition = valid(&redacted).definition;
    assert!(
        definition
            .flows
            .iter()
            .flat_map(|flow| &flow.organization_api_keys)
            .all(|key| key == "removed")
    );
    assert_eq!(definition.flows[0].organization_api_keys.len(), 5);
    let head = yaml.find("- &first").unwrap();
    assert_eq!(redacted[..head], yaml[..head]);
    assert!(redacted.contains(rest));
    assert_eq!(redact(&redacted, &Shelf, &Limits::default()), redacted);
    let open = one_flow("");
    assert_eq!(redact(&open, &Shelf, &Limits::default()), open);
    assert_eq!(redact("organizationApiKeys: [secret", &Shelf, &Limits::default()), "");
}

const CONNECTIONS: &str = "requiredConfigVars:
  - key: Known
    stableKey: known
    dataType: connection
    connection: {key: oauth2, component: {key: http, isPublic: true, version: LATEST}}
    inputs:
      clientId: {type: value, value: the-id}
      clientSecret: {type: value, value: &shared hidden-one}
      tokenUrl: {type: value, value: 'https://provider.example'}
      headers:
        type: value
        value: |
          {\"authorization\": \"hidden-two\"}
  - key: Unknown
    dataType: connection
    connection: {key: own, component: {key: acme, version: 3}}
    inputs:
      api_key: {type: value, value: *shared}
      host: {type: value, value: acme.example}  # kept
      webhookSecret: {type: template, value: 'a {{#Text}} hidden-three'}
      tokens_secret: {type: complex, value: [{name: x, type: value, value: hidden-four}, {name: y, type: configVar, value: Text}]}
      passwordless: {type: value, value: null}
      token: {type: configVar, value: Text}
  - {key: Text, dataType: string, defaultValue: removed}
";

#[test]
fn secret_inputs_of_connections_are_taken_out_of_the_text_and_out_of_the_definition_alike() {
    use crate::component::BuiltIn;
    let read = |yaml: &str| parse(yaml, &BuiltIn, &Previous::default(), &Limits::default()).unwrap().definition;
    let yaml = with_top(CONNECTIONS);
    let redacted = redact(&yaml, &BuiltIn, &Limits::default());
    let mut definition = read(&yaml);
    let taken = take_secrets(&mut definition, &BuiltIn);
    assert!(
        !redacted.contains("hidden") && !format!("{definition:?}").contains("hidden"),
        "{redacted}"
    );
    let mut again = read(&redacted);
    let left = take_secrets(&mut again, &BuiltIn);
    assert_eq!(again, definition);
    assert!(left.values().flat_map(BTreeMap::values).all(|text| is_redacted(text)), "{redacted}");
    for kept in [
        "the-id",
        "https://provider.example",
        "acme.example}  # kept",
        "{type: configVar, value: Text}",
        "value: null",
    ] {
        assert!(redacted.contains(kept), "{kept}: {redacted}");
    }
    let texts = |key: &str| -> Vec<(&str, &str)> { taken[key].iter().map(|(name, text)| (name.as_str(), text.as_str())).collect() };
    assert_eq!(
        texts("known"),
        [("clientSecret", "hidden-one"), ("headers", "{\"authorization\": \"hidden-two\"}\n")]
    );
    assert_eq!(texts("Unknown"), [("api_key", "hidden-one")]);
    assert_eq!(redact(&redacted, &BuiltIn, &Limits::default()), redacted);
    for (name, is_secret) in [
        ("API Key", true),
        ("accessToken", true),
        ("dbPasswordOld", true),
        ("tokenUrl", false),
        ("publicKey", false),
    ] {
        assert_eq!(is_secret_name(name), is_secret, "{name}");
    }
}

#[test]
fn a_router_of_generic_components_is_read_flow_by_flow() {
    let parsed = parse(
        include_str!("router.yml"),
        &crate::component::BuiltIn,
        &Previous::default(),
        &Limits::default(),
    )
    .unwrap();
    let flows = &parsed.definition.flows;
    assert_eq!(
        flows[0].missing,
        [
            "the component `persist-data` is not available",
            "the component `loop` is not available"
        ]
    );
    assert_eq!(flows[1].missing, ["the component `persist-data` is not available"]);
    assert!(flows[2].missing.is_empty());
    assert_eq!(parsed.warnings.len(), 3, "{:?}", parsed.warnings);
    let branching = &flows[0].steps[1];
    assert_eq!(
        branching.branches.iter().map(|branch| branch.name.as_str()).collect::<Vec<_>>(),
        ["Forged", "Challenge", "Else"]
    );
    assert_eq!(branching.branches[2].steps[1].body[0].reference, "passOn");
}

#[test]
fn the_guide_to_writing_an_integration_shows_valid_ones() {
    let guide = include_str!("../../../../../docs/how-to/write-an-integration.md");
    let examples: Vec<&str> = guide
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    let whole: Vec<&&str> = examples.iter().filter(|example| example.starts_with("definitionVersion")).collect();
    assert!(!whole.is_empty());
    for example in whole {
        let parsed = parse(example, &crate::component::BuiltIn, &Previous::default(), &Limits::default());
        let parsed = parsed.unwrap_or_else(|problems| panic!("{}", shown(&problems).join("\n")));
        assert_eq!(parsed.warnings, [], "{example}");
    }
}
