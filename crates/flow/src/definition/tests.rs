//! Table tests: a definition in, problems or warnings out.

mod drafts;
mod hostile;
mod replies;
mod rewrite;
mod routing;
mod steps;
mod variables;
mod whole;

use super::*;
use perseat_domain::definition::DataType;

/// The components that tests have: actions of a handful, with any inputs but for `log`.
struct Shelf;

impl Components for Shelf {
    fn component(&self, component: &str) -> bool {
        matches!(
            component,
            "http" | "webhook-triggers" | "branch" | "loop" | "code" | "log" | "stop-execution"
        )
    }
    fn trigger(&self, component: &str, trigger: &str) -> Option<Inputs> {
        ((component, trigger) == ("webhook-triggers", "webhook")).then_some(Inputs::Any)
    }
    fn action(&self, component: &str, action: &str) -> Option<Takes> {
        let inputs = match (component, action) {
            ("http", "httpGet" | "httpPost")
            | ("branch", "branchOnExpression" | "branchOnValue")
            | ("loop", "loopOverItems")
            | ("code", "runCode") => Some(Inputs::Any),
            ("log", "writeLog") => Some(Inputs::Named(&["level", "message"])),
            _ => None,
        };
        inputs.map(|inputs| Takes {
            connections: &["connection"],
            ..Takes::data(inputs)
        })
    }
    fn data_source(&self, component: &str, source: &str) -> Option<(DataType, Inputs)> {
        ((component, source) == ("code", "runCodePicklist")).then_some((DataType::Picklist, Inputs::Named(&["code"])))
    }
    fn connection(&self, component: &str, connection: &str) -> Option<Inputs> {
        matches!((component, connection), ("http", "apiKey" | "basic")).then_some(Inputs::Named(&["apiKey", "username", "password"]))
    }
}

fn parsed(yaml: &str) -> Result<Parsed, Vec<Diagnostic>> {
    parse(yaml, &Shelf, &Previous::default(), &Limits::default())
}

fn valid(yaml: &str) -> Parsed {
    parsed(yaml).unwrap_or_else(|problems| panic!("{}\nin\n{yaml}", shown(&problems).join("\n")))
}

/// `line:column code path`, then `~suggestion` if there is one.
fn shown(diagnostics: &[Diagnostic]) -> Vec<String> {
    let show = |diagnostic: &Diagnostic| {
        let suggestion = diagnostic.suggestion.as_ref().map(|near| format!(" ~{near}")).unwrap_or_default();
        let Diagnostic {
            line, column, path, code, ..
        } = diagnostic;
        format!("{line}:{column} {code} {path}{suggestion}")
    };
    diagnostics.iter().map(show).collect()
}

/// `yaml` has exactly these problems.
#[track_caller]
fn check(yaml: &str, expected: &[&str]) {
    match parsed(yaml) {
        Ok(_) => assert!(expected.is_empty(), "valid, expected {expected:?} in\n{yaml}"),
        Err(problems) => {
            let messages: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(shown(&problems), expected, "{}\nin\n{yaml}", messages.join("\n"));
        }
    }
}

/// `yaml` has exactly these problems, wherever they stand.
#[track_caller]
fn check_codes(yaml: &str, expected: &[Code]) {
    let problems = parsed(yaml).err().unwrap_or_default();
    let codes: Vec<Code> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, expected, "{problems:#?}\nin\n{yaml}");
}

/// `yaml` is valid with exactly these warnings.
#[track_caller]
fn check_warnings(yaml: &str, expected: &[(Code, &str)]) -> Parsed {
    let parsed = valid(yaml);
    let warnings: Vec<(Code, &str)> = parsed
        .warnings
        .iter()
        .map(|warning| (warning.code, warning.message.as_str()))
        .collect();
    assert_eq!(warnings, expected);
    parsed
}

/// An integration of one flow `Main` with a trigger called `Hook` and these steps, each line of them indented by 6.
fn one_flow(steps: &str) -> String {
    with_flow("", steps)
}

/// The same, with settings of the flow (indented by 4).
fn with_flow(settings: &str, steps: &str) -> String {
    format!(
        "definitionVersion: 7
name: Test
flows:
  - name: Main
{settings}    steps:
      - name: Hook
        isTrigger: true
        action: {{key: webhook, component: {{key: webhook-triggers, version: LATEST, isPublic: true}}}}
{steps}"
    )
}

/// A step that logs an input, for [`one_flow`].
fn logs(name: &str, input: &str) -> String {
    format!(
        "      - name: {name}
        action: {{key: writeLog, component: {{key: log, version: LATEST, isPublic: true}}}}
        inputs:
          message: {input}
"
    )
}

/// An integration of one flow with these top-level lines.
fn with_top(top: &str) -> String {
    one_flow("") + top
}
