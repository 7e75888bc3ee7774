use super::*;

/// A flow whose trigger has these inputs, with a variable of the instance and one of each user.
fn with_trigger(settings: &str, inputs: &str) -> String {
    format!(
        "definitionVersion: 7
name: Test
requiredConfigVars:
  - {{key: Ours, dataType: string}}
  - {{key: Theirs, dataType: string}}
configPages:
  - {{name: Company, elements: [{{type: configVar, value: Ours}}]}}
  - {{name: You, userLevelConfigured: true, elements: [{{type: configVar, value: Theirs}}]}}
flows:
  - name: Main
{settings}    steps:
      - name: Hook
        isTrigger: true
        action: {{key: webhook, component: {{key: webhook-triggers, version: LATEST, isPublic: true}}}}
        inputs: {{{inputs}}}
"
    )
}

#[test]
fn a_status_that_is_none_is_a_problem_where_it_stands() {
    for status in ["20x", "99", "600", "-1", "200.5"] {
        let problems = parsed(&with_trigger("", &format!("statusCode: {{type: value, value: '{status}'}}"))).unwrap_err();
        assert_eq!(
            shown(&problems),
            ["15:51 value_invalid flows[0].steps[0].inputs.statusCode.value"],
            "{status}"
        );
        assert!(problems[0].message.contains(status), "{problems:?}");
    }
    for status in ["202", " 204 ", ""] {
        valid(&with_trigger("", &format!("statusCode: {{type: value, value: '{status}'}}")));
    }
    let stop = "      - name: Stop
        action: {key: stopExecution, component: {key: stop-execution, version: LATEST, isPublic: true}}
        inputs: {statusCode: {type: value, value: soon}}
";
    let problems = parsed(&one_flow(stop)).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].message.contains("not `soon`") && problems[0].line > 0, "{problems:?}");
}

#[test]
fn what_asynchronous_callers_cannot_get_is_a_warning() {
    let told = |settings: &str, inputs: &str| -> Vec<String> {
        let warnings = valid(&with_trigger(settings, inputs)).warnings;
        warnings
            .into_iter()
            .map(|warning| format!("{}: {}", warning.line, warning.message))
            .collect()
    };
    let late = "body: {type: configVar, value: Theirs}, contentType: {type: template, value: 'text/{{#Theirs}}'}, headers: {type: complex, \
                value: [{name: x, type: value, value: y}, {name: z, type: configVar, value: Theirs}]}";
    let found = told("", late);
    assert_eq!(found.len(), 3, "{found:#?}");
    for (warning, part) in found.iter().zip(["body", "contentType", "headers"]) {
        assert!(
            warning.starts_with("15: flow `Main`: asynchronous callers")
                && warning.contains(&format!("`{part}` without the variable `Theirs`")),
            "{warning}"
        );
    }
    let known = "body: {type: configVar, value: Ours}, statusCode: {type: template, value: '20{{#Ours}}'}";
    assert!(told("", known).is_empty());
    assert!(told("    isSynchronous: true\n", late).is_empty(), "its callers wait for the flow");
}
