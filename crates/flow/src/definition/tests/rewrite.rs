use super::*;
use serde_json::Value;

const TEXT: &str = "# Ours
definitionVersion: 7
name: Orders  # shown to people
description: |-
  Takes orders.

category: >
  Sales

requiredConfigVars:
  - key: Country
    dataType: picklist
    pickList: [SE, NO]
  - key: Account
    connection:
      key: basic
      component:
        key: http # theirs
        version: 12
        isPublic: true

      # ours
flows:
  - name: Main
    steps:
      - name: Hook
        isTrigger: true
        action: {key: webhook, component: {key: webhook-triggers, signature: abc, isPublic: true}}
      - name: Run
        action: {key: runCode, component: &code {key: code}}
        inputs:
          version: {type: value, value: 1.10}
          phone: {type: value, value: +15551234567}
          mask: {type: value, value: 0x1F}
          code: {type: value, value: 'component: {key: x}'}
      - {name: Again, action: {key: runCode, component: *code}}
";

fn changed(yaml: &str, texts: &[(&str, &str)]) -> Result<String, Vec<Diagnostic>> {
    with_texts(yaml, texts, &Limits::default())
}

#[test]
fn texts_at_the_top_change_and_nothing_else_does() {
    let texts = [("name", "No: \"1\"\n"), ("description", "true"), ("category", "")];
    let expected = TEXT
        .replace("name: Orders", "name: \"No: \\\"1\\\"\\n\"")
        .replace("description: |-\n  Takes orders.", "description: \"true\"")
        .replace("category: >\n  Sales", "category: \"\"");
    assert_eq!(changed(TEXT, &texts).unwrap(), expected);
    for (before, after) in [
        ("{name: a, x: NO}", "{category: \"c\", name: \"b\", x: NO}"),
        ("  name:\n  x: NO\n", "  category: \"c\"\n  name: \"b\"\n  x: NO\n"),
        ("x: &x NO\nname: *x", "category: \"c\"\nx: &x NO\nname: \"b\""),
        ("---\nname: a: b\n", ""),
        ("name: &n a\nx: *n\n", ""),
        ("? name\n: a\n", ""),
        ("[name]", ""),
        ("", ""),
    ] {
        let found = changed(before, &[("name", "b"), ("category", "c")]);
        assert_eq!(found.unwrap_or_default(), after, "{before}");
    }
}

#[test]
fn components_of_any_version_become_the_latest_and_inputs_stay() {
    let latest = |yaml: &str| with_latest_components(yaml, &Limits::default()).unwrap();
    let expected = TEXT
        .replace(
            "        key: http # theirs\n        version: 12\n        isPublic: true\n",
            "        {key: http, isPublic: true, version: LATEST}\n",
        )
        .replace(
            "{key: webhook-triggers, signature: abc, isPublic: true}",
            "{key: \"webhook-triggers\", isPublic: true, version: LATEST}",
        )
        .replace("&code {key: code}", "&code {key: code, version: LATEST}");
    assert_eq!(latest(TEXT), expected);
    assert_eq!(latest(&expected), expected);
    for yaml in [
        "steps: [{inputs: {shape: {component: {key: a, version: 7}}}}]",
        "schemas: {component: {type: object}}",
    ] {
        assert_eq!(latest(yaml), yaml);
    }
    let read: Value = serde_saphyr::from_str(&latest("component:\n  key: 'a, b'\n  version:\nx: 1\n")).unwrap();
    assert_eq!(
        read,
        serde_json::json!({ "component": { "key": "a, b", "version": "LATEST" }, "x": 1 })
    );
}
