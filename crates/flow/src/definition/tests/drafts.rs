use super::*;

fn step(component: &str, action: &str) -> String {
    format!("      - {{name: {component} {action}, action: {{key: {action}, component: {{key: {component}}}}}}}\n")
}

#[test]
fn a_missing_component_is_named_once_per_flow() {
    let steps = step("slack", "postMessage") + &step("slack", "getUser") + &step("http", "httpTrace");
    let parsed = check_warnings(
        &one_flow(&steps),
        &[
            (Code::ComponentMissing, "flow `Main`: the component `slack` is not available"),
            (
                Code::ComponentMissing,
                "flow `Main`: the component `http` has no action `httpTrace`",
            ),
        ],
    );
    assert!(parsed.definition.is_draft());
    assert_eq!(
        parsed.definition.flows[0].missing,
        [
            "the component `slack` is not available",
            "the component `http` has no action `httpTrace`"
        ]
    );
    assert_eq!(parsed.definition.warnings.len(), 2);
}

#[test]
fn a_private_component_is_missing_and_other_flows_stay_complete() {
    let other = "  - name: Other
    steps:
      - {name: In, isTrigger: true, action: {key: webhook, component: {key: webhook-triggers, isPublic: false}}}
";
    let definition = valid(&with_top(other)).definition;
    assert!(definition.flows[0].missing.is_empty());
    assert_eq!(definition.flows[1].missing, ["the component `webhook-triggers` is not available"]);
}

#[test]
fn a_flow_lacks_what_its_variables_lack() {
    let yaml = |variable: &str| {
        let get = "      - name: Get
        action: {key: httpGet, component: {key: http}}
        inputs: {connection: {type: configVar, value: Account}}\n";
        one_flow(get) + "requiredConfigVars:\n  - " + variable + "\n"
    };
    for (variable, sentence) in [
        (
            "{key: Account, dataType: connection, connection: {key: oauth2, component: {key: slack}}}",
            "the connection `Account` needs the component `slack`, which is not available",
        ),
        (
            "{key: Account, dataType: connection, connection: {key: oauth9, component: {key: http}}}",
            "the connection `Account` needs `oauth9`, which the component `http` does not have",
        ),
        (
            "{key: Account, connection: {key: basic, component: {key: http}}, inputs: {tokenUrl: {type: template, value: 'https://{{#Host}}'}}}
  - {key: Host, dataType: string}",
            "the input `tokenUrl` of the connection `Account` is not of the type `value`; others are not supported yet",
        ),
        (
            "{key: Account, connection: {key: basic, component: {key: http}}, inputs: {username: {type: configVar, value: Name}}}
  - {key: Name, dataType: string}",
            "the input `username` of the connection `Account` is not of the type `value`; others are not supported yet",
        ),
    ] {
        let definition = valid(&yaml(variable)).definition;
        assert_eq!(definition.flows[0].missing, [sentence]);
    }
    let open = "{key: Account, connection: {key: basic, component: {key: http}}, inputs: {username: {type: configVar, value: ''}}}";
    assert!(!valid(&yaml(open)).definition.is_draft());
    let definition = valid(&yaml("{key: Account, dataType: connection, useScopedConfigVar: crm}")).definition;
    assert!(definition.flows[0].missing.is_empty());
    let variable = &definition.config_vars[0];
    assert_eq!((variable.shared.as_deref(), variable.required), (Some("crm"), false));
}

#[test]
fn features_of_later_versions_make_a_draft() {
    for (settings, sentence) in [
        (
            "retryConfig: {maxAttempts: 3, delayMinutes: 1, usesExponentialBackoff: true}",
            "retries of whole executions are",
        ),
        ("queueConfig: {usesFifoQueue: true}", "queues other than parallel are"),
        (
            "queueConfig: {type: throttled, concurrencyLimit: 4}",
            "queues other than parallel are",
        ),
        (
            "queueConfig: {dedupeIdField: {type: reference, value: hook.results.body.data.id}}",
            "recognizing repeated deliveries is",
        ),
        (
            "triggerResolver: {enabled: true, batchSize: 10}",
            "batches of a trigger's results are",
        ),
        ("x-perseat: {whenUserMissing: park}", "parking events until a user connects is"),
    ] {
        let definition = valid(&with_flow(&format!("    {settings}\n"), "")).definition;
        assert_eq!(definition.flows[0].missing, [format!("{sentence} not supported yet")], "{settings}");
    }
    for settings in [
        "retryConfig: {maxAttempts: 0, uniqueRequestIdField: hook.results.body.data.id}",
        "retryConfig: {maxAttempts: 0, uniqueRequestIdField: {type: reference, value: hook.results.body.data.id}}",
        "queueConfig: {usesFifoQueue: false}",
        "queueConfig: {type: parallel}",
        "triggerResolver: {enabled: false}",
        "schemas: {invoke: {type: object}}",
        "supplementalComponents: [{key: a, isPublic: true, signature: b}]",
    ] {
        let definition = valid(&with_flow(&format!("    {settings}\n"), "")).definition;
        assert!(!definition.is_draft(), "{settings}");
    }
}

/// One flow started by a schedule.
fn scheduled(schedule: &str, settings: &str) -> String {
    format!(
        "definitionVersion: 7
name: Test
requiredConfigVars: [{{key: When, dataType: schedule}}, {{key: Other, dataType: string}}]
flows:
  - name: Main
{settings}    steps:
      - name: Clock
        isTrigger: true
        action: {{key: schedule, component: {{key: schedule-triggers}}}}
        schedule: {schedule}
"
    )
}

#[test]
fn schedules_and_lifecycle_triggers_are_checked_and_wait() {
    for schedule in [
        "{type: value, value: '*/5 * * * *', meta: {scheduleType: minute, timeZone: Europe/Berlin}}",
        "{type: configVar, value: When, meta: {scheduleType: custom}}",
        "{type: value, value: '', meta: {scheduleType: once}}",
    ] {
        let parsed = valid(&scheduled(schedule, ""));
        assert_eq!(
            parsed.definition.flows[0].missing,
            ["schedules are not supported yet"],
            "{schedule}"
        );
        assert_eq!(parsed.warnings.len(), 1);
    }
    for (schedule, code) in [
        ("{type: value, value: '* * * *'}", Code::ValueInvalid),
        ("{type: value}", Code::ValueInvalid),
        ("{type: value, value: '* * * * ; '}", Code::ValueInvalid),
        ("{type: configVar, value: Wen}", Code::ConfigVarUnknown),
        ("{type: configVar, value: Other}", Code::ValueInvalid),
        ("{type: reference, value: x}", Code::ValueInvalid),
    ] {
        let problems = parsed(&scheduled(schedule, "")).unwrap_err();
        assert_eq!(problems[0].code, code, "{schedule}");
    }
    let deploy = one_flow("")
        .replace("key: webhook, ", "key: instanceDeploy, ")
        .replace("webhook-triggers", "management-triggers");
    check_warnings(
        &deploy,
        &[(
            Code::FeatureUnsupported,
            "flow `Main`: flows that run on deploy or remove are not supported yet",
        )],
    );
}

#[test]
fn settings_that_exclude_each_other_are_refused() {
    let every_hour = "{type: value, value: '0 * * * *'}";
    for (yaml, codes) in [
        (
            with_flow("    isSynchronous: true\n    retryConfig: {maxAttempts: 1}\n", ""),
            vec![Code::Contradiction],
        ),
        (scheduled(every_hour, "    isSynchronous: true\n"), vec![Code::Contradiction]),
        (
            scheduled(every_hour, "    queueConfig: {usesFifoQueue: true}\n"),
            vec![Code::Contradiction],
        ),
        (scheduled(every_hour, "    queueConfig: {singletonExecutions: true}\n"), vec![]),
        (
            with_flow("    queueConfig: {singletonExecutions: true}\n", ""),
            vec![Code::Contradiction],
        ),
        (
            with_flow("    queueConfig: {singletonExecutions: true, usesFifoQueue: true}\n", ""),
            vec![Code::Contradiction, Code::Contradiction],
        ),
        (
            with_flow("    queueConfig: {usesFifoQueue: true, concurrencyLimit: 16}\n", ""),
            vec![Code::ValueInvalid],
        ),
        (
            with_flow("    retryConfig: {maxAttempts: 11, delayMinutes: 61}\n", ""),
            vec![Code::ValueInvalid, Code::ValueInvalid],
        ),
    ] {
        check_codes(&yaml, &codes);
    }
}

#[test]
fn inputs_that_an_action_does_not_know_are_named() {
    let yaml = one_flow(&logs("Note", "{type: value, value: x}").replace("message:", "mesage:"));
    let parsed = check_warnings(
        &yaml,
        &[(
            Code::InputUnknown,
            "`log/writeLog` does not know the input `mesage`; did you mean `message`?",
        )],
    );
    assert!(!parsed.definition.is_draft());
}

#[test]
fn a_variable_that_would_keep_a_secret_as_text_makes_a_draft() {
    let yaml = with_top("requiredConfigVars:\n  - {key: Token, dataType: credential}\n");
    let sentence = "the data type `credential` of the variable `Token` is not supported; use a connection";
    let parsed = check_warnings(&yaml, &[(Code::FeatureUnsupported, sentence)]);
    assert_eq!(parsed.definition.flows[0].missing, [sentence]);
}

#[test]
fn a_step_that_asks_for_unchecked_certificates_is_told_so_on_import() {
    let get = |input: &str| {
        format!(
            "      - {{name: Get, action: {{key: httpGet, component: {{key: http}}}}, inputs: {{url: {{type: value, value: x}}, ignoreSslErrors: {input}}}}}\n"
        )
    };
    let refused = "step `Get`: `ignoreSslErrors` is not supported; give the server a certificate that the system trusts";
    let asked = check_warnings(
        &one_flow(&get("{type: value, value: \"true\"}")),
        &[(Code::FeatureUnsupported, &format!("flow `Main`: {refused}"))],
    );
    assert_eq!(asked.definition.flows[0].missing, [refused]);
    for off in ["{type: value, value: \"false\"}", "{type: value, value: ''}"] {
        assert!(valid(&one_flow(&get(off))).definition.warnings.is_empty(), "{off}");
    }
    let unknown = check_warnings(
        &one_flow(&get("{type: reference, value: hook.results.body.data.x}")),
        &[(
            Code::FeatureUnsupported,
            "step `Get` fails where `ignoreSslErrors` comes out true: certificates are always checked",
        )],
    );
    assert!(unknown.definition.flows[0].missing.is_empty());
}
