use super::*;
use perseat_domain::definition::{ComplexItem, Input, Reference, StepErrorPolicy, TemplatePart};

fn input(yaml: &str) -> Input {
    let flow = valid(yaml).definition.flows.remove(0);
    flow.steps.last().unwrap().inputs["message"].clone()
}

fn message(text: &str) -> String {
    one_flow(&logs("Note", text))
}

#[test]
fn every_kind_of_input_is_read() {
    let reference = |path: &[&str]| Reference {
        step: "hook".to_owned(),
        root: "results".to_owned(),
        path: path.iter().map(|&segment| segment.to_owned()).collect(),
    };
    let text = |text: &str| Input::Value(Some(text.to_owned()));
    for (yaml, expected) in [
        ("{type: value, value: 'as is'}", text("as is")),
        ("{type: value, value: 1.10}", text("1.10")),
        ("{type: value, value: true}", text("true")),
        ("{type: value, value: null}", Input::Value(None)),
        ("{type: value, value: 'null'}", text("null")),
        ("{type: value, value: '', meta: {anything: [1]}}", text("")),
        ("{type: value, meta: null}", Input::Value(None)),
        (
            "{type: reference, value: hook.results.webhookUrls.My Flow}",
            Input::Reference(reference(&["webhookUrls", "My Flow"])),
        ),
        ("{type: reference, value: trigger.results}", Input::Reference(reference(&[]))),
        (
            "{type: template, value: 'a {{$hook.results.body}}{{ #Key }} {{other}}'}",
            Input::Template(vec![
                TemplatePart::Text("a ".to_owned()),
                TemplatePart::Reference(reference(&["body"])),
                TemplatePart::ConfigVar("Key".to_owned()),
                TemplatePart::Text(" {{other}}".to_owned()),
            ]),
        ),
        (
            "{type: complex, value: [{name: A, type: value, value: x}, {name: {type: configVar, value: Key}, type: value, value: y}]}",
            Input::Complex(vec![
                ComplexItem::Input {
                    name: Some(Box::new(text("A"))),
                    input: text("x"),
                },
                ComplexItem::Input {
                    name: Some(Box::new(Input::ConfigVar("Key".to_owned()))),
                    input: text("y"),
                },
            ]),
        ),
        ("{type: complex, value: []}", Input::Complex(Vec::new())),
    ] {
        let yaml = message(yaml) + "requiredConfigVars: [{key: Key, dataType: string}]\n";
        assert_eq!(input(&yaml), expected, "{yaml}");
    }
}

#[test]
fn inputs_that_cannot_be_read_are_refused_where_they_stand() {
    for (yaml, expected) in [
        ("text", "12:20 type_mismatch flows[0].steps[1].inputs.message"),
        ("{value: x}", "12:20 key_missing flows[0].steps[1].inputs.message"),
        (
            "{type: valu, value: x}",
            "12:27 value_invalid flows[0].steps[1].inputs.message.type ~value",
        ),
        (
            "{type: value, value: {a: 1}}",
            "12:41 type_mismatch flows[0].steps[1].inputs.message.value",
        ),
        ("{type: value, value: [a]}", "12:20 type_mismatch flows[0].steps[1].inputs.message"),
        (
            "{type: complex, value: a}",
            "12:43 type_mismatch flows[0].steps[1].inputs.message.value",
        ),
        (
            "{type: complex, value: [equl, a]}",
            "12:44 condition_invalid flows[0].steps[1].inputs.message.value[0] ~equal",
        ),
        (
            "{type: configVar, value: Kye}",
            "12:45 config_var_unknown flows[0].steps[1].inputs.message.value ~Key",
        ),
        (
            "{type: reference, value: hook}",
            "12:45 reference_invalid flows[0].steps[1].inputs.message.value",
        ),
        (
            "{type: reference, value: hook.data.x}",
            "12:45 reference_invalid flows[0].steps[1].inputs.message.value",
        ),
        (
            "{type: reference, value: hok.results}",
            "12:45 reference_invalid flows[0].steps[1].inputs.message.value ~hook",
        ),
        (
            "{type: reference, value: note.results}",
            "12:45 reference_invalid flows[0].steps[1].inputs.message.value",
        ),
        (
            "{type: reference, value: hook.currentItem}",
            "12:45 reference_invalid flows[0].steps[1].inputs.message.value",
        ),
        (
            "{type: template, value: '{{$hook.results'}",
            "12:44 template_invalid flows[0].steps[1].inputs.message.value",
        ),
        (
            "{type: template, value: '{{#Kee}}'}",
            "12:44 config_var_unknown flows[0].steps[1].inputs.message.value ~Key",
        ),
        (
            "{type: template, value: '{{$x.results}}'}",
            "12:44 reference_invalid flows[0].steps[1].inputs.message.value",
        ),
    ] {
        let yaml = message(yaml) + "requiredConfigVars: [{key: Key, dataType: string}]\n";
        let found = shown(&parsed(&yaml).unwrap_err());
        assert_eq!(found[0], expected, "{yaml}");
    }
}

/// Hook, Branch (A: In Branch, Else), Loop (In Loop), and a last step that logs `reference`.
fn nested(reference: &str) -> String {
    let log = logs("Last", &format!("{{type: reference, value: {reference}}}"));
    let inner = |name: &str, reference: &str| {
        format!(
            "{{name: {name}, action: {{key: httpGet, component: {{key: http}}}}, inputs: {{url: {{type: reference, value: {reference}}}}}}}"
        )
    };
    one_flow(&format!(
        "      - name: Branch
        action: {{key: branchOnValue, component: {{key: branch}}}}
        inputs:
          inputValue: {{type: reference, value: hook.results.body}}
          branchValueMappings: {{type: complex, value: [{{name: A, type: value, value: a}}]}}
        branches:
          - name: A
            steps:
              - {}
              - {}
          - name: Else
            steps: []
      - name: Loop
        action: {{key: loopOverItems, component: {{key: loop}}}}
        inputs:
          items: {{type: reference, value: branch.results}}
        steps:
          - {}
{log}",
        inner("In Branch", "branch.results"),
        inner("In Branch Too", "inBranch.results"),
        inner("In Loop", "loop.currentItem.name"),
    ))
}

#[test]
fn references_see_earlier_steps_in_scope_only() {
    for reference in ["hook.results", "branch.results", "loop.results", "trigger.results.headers.X-A"] {
        assert!(parsed(&nested(reference)).is_ok(), "{reference}");
    }
    for (reference, why) in [
        ("inBranch.results", "may not have run"),
        ("inLoop.results", "may not have run"),
        ("loop.currentItem", "is not a loop around this step"),
        ("last.results", "does not run before"),
        ("elsewhere.results", "there is no step"),
    ] {
        let problems = parsed(&nested(reference)).unwrap_err();
        assert_eq!(problems.len(), 1, "{reference}");
        assert_eq!(problems[0].code, Code::ReferenceInvalid);
        assert!(problems[0].message.contains(why), "{}", problems[0].message);
    }
}

#[test]
fn derived_names_are_unique_within_a_flow_nested_steps_included() {
    let clash = nested("hook.results").replace("name: In Loop", "name: In-branch");
    check_codes(&clash, &[Code::NameDuplicate]);
    let nameless = one_flow(&logs("'!?'", "{type: value, value: x}"));
    check_codes(&nameless, &[Code::ValueInvalid]);
}

#[test]
fn the_first_step_and_no_other_is_the_trigger() {
    let yaml = one_flow(&logs("Note", "{type: value, value: x}"));
    check(
        &yaml.replace("        isTrigger: true\n", ""),
        &["6:9 trigger_invalid flows[0].steps[0]"],
    );
    let second = yaml.replace("      - name: Note\n", "      - name: Note\n        isTrigger: true\n");
    check(&second, &["9:9 trigger_invalid flows[0].steps[1]"]);
    check(
        "definitionVersion: 7\nname: X\nflows:\n  - name: A\n    steps: []\n",
        &["4:5 trigger_invalid flows[0]"],
    );
    check("definitionVersion: 7\nname: X\nflows: []\n", &["1:1 value_invalid "]);
}

#[test]
fn error_settings_have_ranges() {
    let step = |config: &str| logs("Note", "{type: value, value: x}") + &format!("        errorConfig: {config}\n");
    let policy = |config: &str| valid(&one_flow(&step(config))).definition.flows[0].steps[0].on_error;
    assert_eq!(policy("{errorHandlerType: fail}"), StepErrorPolicy::Fail);
    assert_eq!(policy("{errorHandlerType: ignore, maxAttempts: 0}"), StepErrorPolicy::Ignore);
    assert_eq!(
        policy("{errorHandlerType: retry, maxAttempts: 5, delaySeconds: 60, usesExponentialBackoff: true, ignoreFinalError: false}"),
        StepErrorPolicy::Retry {
            max_attempts: 5,
            delay_seconds: 60,
            exponential: true,
            ignore_final: false
        }
    );
    check(
        &one_flow(&step("{errorHandlerType: retry, maxAttempts: 6, delaySeconds: 61}")),
        &[
            "13:61 value_invalid flows[0].steps[1].errorConfig.maxAttempts",
            "13:78 value_invalid flows[0].steps[1].errorConfig.delaySeconds",
        ],
    );
    check_codes(&one_flow(&step("{errorHandlerType: retyr}")), &[Code::ValueInvalid]);
}

/// A step that branches on expressions.
fn branching(conditions: &str, branches: &str) -> String {
    one_flow(&format!(
        "      - name: Choose
        action: {{key: branchOnExpression, component: {{key: branch}}}}
        inputs:
          conditions: {{type: complex, value: {conditions}}}
        branches: {branches}
"
    ))
}

#[test]
fn conditions_are_operators_over_inputs() {
    let one = "{type: value, value: '1'}";
    let both = "[{name: A}, {name: Else}]";
    for condition in [
        format!("[and, [equal, {one}, {one}]]"),
        format!("[or, [isTrue, {one}, {one}], [and, [in, {one}, {one}], [exists, {one}]]]"),
        format!("[isEmpty, {one}]"),
    ] {
        let yaml = branching(&format!("[{{name: A, type: complex, value: {condition}}}]"), both);
        assert!(parsed(&yaml).is_ok(), "{:?}", parsed(&yaml));
    }
    for condition in [
        format!("[equal, {one}]"),
        "[isTrue]".to_owned(),
        format!("[resembles, {one}, {one}]"),
        format!("[and, [{one}, {one}]]"),
        format!("[equal, [equal, {one}, {one}], {one}]"),
        "[]".to_owned(),
        format!("[{one}]"),
    ] {
        let yaml = branching(&format!("[{{name: A, type: complex, value: {condition}}}]"), both);
        check_codes(&yaml, &[Code::ConditionInvalid]);
    }
}

#[test]
fn branches_and_conditions_name_each_other() {
    let condition = |name: &str| format!("[{{name: {name}, type: complex, value: [isTrue, {{type: value, value: x}}]}}]");
    check_codes(&branching(&condition("A"), "[{name: A}]"), &[]);
    check_codes(&branching(&condition("A"), "[{name: Else}, {name: A}]"), &[Code::BranchInvalid]);
    check_codes(&branching(&condition("A"), "[]"), &[Code::BranchInvalid]);
    check_codes(&branching(&condition("A"), "[{name: A}, {name: A}]"), &[Code::NameDuplicate]);
    check_codes(&branching(&condition("A"), "[{name: A}, {name: B}]"), &[Code::BranchInvalid]);
    check_codes(&branching("[{type: value, value: x}]", "[{name: Else}]"), &[Code::ConditionInvalid]);
    let misspelt = parsed(&branching(&condition("Shiped"), "[{name: Shipped}, {name: Else}]")).unwrap_err();
    assert_eq!(misspelt[0].suggestion.as_deref(), Some("Shipped"));
    let on_http = logs("Note", "{type: value, value: x}") + "        branches: [{name: Else}]\n";
    check_codes(&one_flow(&on_http), &[Code::BranchInvalid]);
    let looping = logs("Note", "{type: value, value: x}") + "        steps: [{name: In, action: {key: httpGet, component: {key: http}}}]\n";
    check_codes(&one_flow(&looping), &[Code::BranchInvalid]);
}

/// A flow with one step of these inputs, beside a text, a connection and its branches.
fn acting(component: &str, action: &str, inputs: &str) -> String {
    let branches = if component == "branch" { ", branches: [{name: Else}]" } else { "" };
    one_flow(&format!(
        "      - {{name: Act, action: {{key: {action}, component: {{key: {component}}}}}, inputs: {{{inputs}}}{branches}}}\n"
    )) + "requiredConfigVars:
  - {key: Folder, dataType: string}
  - {key: Account, connection: {key: basic, component: {key: http}}}
"
}

fn built_in(yaml: &str) -> Result<Parsed, Vec<Diagnostic>> {
    parse(yaml, &crate::component::BuiltIn, &Previous::default(), &Limits::default())
}

/// Lines and paths of values of a wrong type, which are all that is wrong.
fn mismatches(yaml: &str) -> Vec<(u32, String)> {
    let problems = built_in(yaml).unwrap_err();
    assert!(problems.iter().all(|problem| problem.code == Code::TypeMismatch), "{problems:?}");
    problems.into_iter().map(|problem| (problem.line, problem.path)).collect()
}

#[test]
fn a_step_without_an_input_that_it_needs_makes_a_draft() {
    let mappings = "branchValueMappings: {type: complex, value: []}";
    for (component, action, inputs, missing) in [
        ("http", "httpGet", "", "url"),
        (
            "http",
            "httpPost",
            "url: {type: value, value: ''}, data: {type: value, value: x}",
            "url",
        ),
        ("code", "runCode", "", "code"),
        ("code", "runCode", "code: {type: value, value: null}", "code"),
        ("branch", "branchOnValue", mappings, "inputValue"),
        (
            "branch",
            "branchOnValue",
            &format!("{mappings}, inputValue: {{type: reference, value: ''}}"),
            "inputValue",
        ),
        ("log", "writeLog", "level: {type: value, value: info}", "message"),
    ] {
        let parsed = built_in(&acting(component, action, inputs)).unwrap();
        assert_eq!(
            shown(&parsed.warnings),
            ["9:9 input_missing flows[0].steps[1]"],
            "{action} {inputs}"
        );
        let sentence = format!("step `Act`: the input `{missing}` is missing");
        assert_eq!(parsed.definition.flows[0].missing, [sentence], "{action} {inputs}");
    }
}

#[test]
fn a_connection_goes_where_one_is_wanted_and_nothing_else_does() {
    let connection = |input: &str| acting("http", "httpGet", &format!("url: {{type: value, value: x}}, connection: {input}"));
    for input in [
        "{type: configVar, value: Account}",
        "{type: configVar, value: ''}",
        "{type: value, value: ''}",
        "{type: value, value: null}",
    ] {
        assert_eq!(
            built_in(&connection(input)).map(|parsed| parsed.definition.is_draft()),
            Ok(false),
            "{input}"
        );
    }
    for input in [
        "{type: configVar, value: Folder}",
        "{type: configVar, value: Account.account.id}",
        "{type: value, value: Account}",
        "{type: reference, value: hook.results}",
        "{type: template, value: '{{#Account}}'}",
    ] {
        let place = "flows[0].steps[1].inputs.connection.value";
        assert_eq!(mismatches(&connection(input)), [(9, place.to_owned())], "{input}");
    }
    let is_true =
        |operand: &str| format!("conditions: {{type: complex, value: [{{name: Else, type: complex, value: [isTrue, {operand}]}}]}}");
    for (component, action, inputs, place) in [
        (
            "http",
            "httpGet",
            "url: {type: configVar, value: Account}".to_owned(),
            "flows[0].steps[1].inputs.url.value",
        ),
        (
            "log",
            "writeLog",
            "message: {type: template, value: 'as {{#Account}}'}".to_owned(),
            "flows[0].steps[1].inputs.message.value",
        ),
        (
            "branch",
            "branchOnExpression",
            is_true("{type: configVar, value: Account}"),
            "flows[0].steps[1].inputs.conditions.value[0].value[1].value",
        ),
    ] {
        let found = mismatches(&acting(component, action, &inputs));
        assert_eq!(found, [(9, place.to_owned())], "{inputs}");
    }
    let account = "message: {type: template, value: 'as {{#Account.account.id}}'}";
    assert!(built_in(&acting("log", "writeLog", account)).is_ok(), "the account is text");
}
