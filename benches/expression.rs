//! What an expression costs: one reference, the inputs of a typical step, a branch, a large body, a whole definition.

use criterion::{Criterion, criterion_group, criterion_main};
use perseat_domain::definition::{Input, Step};
use perseat_flow::component::BuiltIn;
use perseat_flow::definition::{Limits as YamlLimits, Previous, parse};
use perseat_flow::expression::{Limits, Results, Scope, Setting, branch_on_expression, resolve};
use serde_json::{Value, json};
use std::hint::black_box;
use std::sync::Arc;

const DEFINITION: &str = "definitionVersion: 7
name: Bench
requiredConfigVars: [{key: Base URL, dataType: string, defaultValue: 'https://files.example.com'}]
flows:
  - name: Main
    steps:
      - {name: Hook, isTrigger: true, action: {key: webhook, component: {key: webhook-triggers}}}
      - name: Send
        action: {key: httpPost, component: {key: http}}
        inputs:
          url: {type: template, value: '{{#Base URL}}/files/{{$hook.results.body.data.file.id}}'}
          data: {type: reference, value: hook.results.body.data.file}
          headers:
            type: complex
            value:
              - {name: x-event, type: reference, value: hook.results.headers.X-Event}
              - {name: x-kind, type: value, value: copy}
      - name: Choose
        action: {key: branchOnExpression, component: {key: branch}}
        inputs:
          conditions:
            type: complex
            value:
              - name: Large
                type: complex
                value: [and, [greaterThan, {type: reference, value: hook.results.body.data.file.size}, {type: value, value: '1000'}]]
              - name: Image
                type: complex
                value: [or, [endsWith, {type: value, value: .png}, {type: reference, value: hook.results.body.data.file.name}]]
        branches: [{name: Large}, {name: Image}, {name: Else}]
";

fn payload() -> Value {
    let items: Vec<Value> = (0..1000)
        .map(|n| json!({"id": n, "name": format!("item {n}"), "tags": ["a", "b"]}))
        .collect();
    json!({
        "headers": {"content-type": "application/json", "user-agent": "bench", "x-event": "created"},
        "body": {"data": {"file": {"id": "f-1", "name": "a.png", "size": 10}, "items": items}},
    })
}

fn expression(criterion: &mut Criterion) {
    let parsed = parse(DEFINITION, &BuiltIn, &Previous::default(), &YamlLimits::default());
    let definition = parsed.unwrap_or_else(|problems| panic!("{problems:?}")).definition;
    let values = definition.config_vars.iter();
    let values = values
        .filter_map(|variable| Some((variable.key.clone(), Setting::unset(variable)?)))
        .collect();
    let scope = Scope::new("hook", Arc::new(Results::of_value(payload())), values, Limits::default());
    let steps: &[Step] = &definition.flows[0].steps;
    let all = |step: &Step| {
        step.inputs
            .values()
            .map(|input| resolve(input, &scope))
            .collect::<Result<Vec<_>, _>>()
    };

    let mut group = criterion.benchmark_group("expression");
    let Some(Input::Complex(_)) = steps[0].inputs.get("headers") else {
        return;
    };
    group.bench_function("one reference", |bench| {
        bench.iter(|| resolve(black_box(&steps[0].inputs["data"]), &scope));
    });
    group.bench_function("inputs of a step", |bench| bench.iter(|| all(black_box(&steps[0]))));
    group.bench_function("branch on expression", |bench| {
        bench.iter(|| branch_on_expression(black_box(&steps[1].inputs["conditions"]), &scope));
    });
    let whole = Input::Reference(perseat_domain::definition::Reference {
        step: "hook".to_owned(),
        root: "results".to_owned(),
        path: vec!["body".to_owned()],
    });
    group.bench_function("copy of a body of 1,000 items", |bench| {
        bench.iter(|| resolve(black_box(&whole), &scope));
    });
    group.bench_function("parse a definition", |bench| {
        bench.iter(|| parse(black_box(DEFINITION), &BuiltIn, &Previous::default(), &YamlLimits::default()));
    });
    group.finish();
}

criterion_group!(benches, expression);
criterion_main!(benches);
