//! Branches against the inputs that choose them.

use super::Code;
use super::raw::{self, InputName, InputValue, Item};
use super::read::Text;
use super::report::{Report, Spot, quoted};
use super::words::InputWord;
use crate::expression::ELSE;
use perseat_domain::definition::{ActionRef, Input};
use std::collections::{BTreeMap, BTreeSet};

/// Checks the branches and loop body of a step. `known` says whether the component is here.
pub(super) fn check_branches(raw: &raw::Step, action: &ActionRef, inputs: &BTreeMap<String, Input>, known: bool, report: &mut Report) {
    let branches = raw.branches.as_deref().unwrap_or_default();
    let chooser = match (action.component.as_str(), action.action.as_str()) {
        ("branch", "branchOnExpression") => Some("conditions"),
        ("branch", "branchOnValue") => Some("branchValueMappings"),
        _ => None,
    };
    let body = raw.steps.as_deref().unwrap_or_default();
    if !body.is_empty() && !branches.is_empty() {
        report.problem(&raw.spot, Code::Contradiction, "a step has branches or a loop body, not both");
    }
    if known && action.component != "branch" && !branches.is_empty() {
        let message = format!("`{}/{}` has no branches", action.component, action.action);
        report.problem(&raw.spot, Code::BranchInvalid, message);
    }
    if known && action.component != "loop" && !body.is_empty() {
        let message = format!("`{}/{}` is not a loop and has no body", action.component, action.action);
        report.problem(&raw.spot, Code::BranchInvalid, message);
    }
    check_order(branches, report);
    let Some(chooser) = chooser else { return };
    if branches.is_empty() {
        report.problem(&raw.spot, Code::BranchInvalid, "a branching step needs `branches`");
        return;
    }
    if !matches!(inputs.get(chooser), Some(Input::Complex(_))) {
        let message = format!("a branching step needs the complex input `{chooser}`");
        report.problem(&raw.spot, Code::BranchInvalid, message);
        return;
    }
    check_names(raw, branches, chooser, report);
}

fn check_order(branches: &[raw::Branch], report: &mut Report) {
    let mut names = BTreeSet::new();
    for (index, branch) in branches.iter().enumerate() {
        let name = branch.name.as_str();
        if !name.is_empty() && !names.insert(name) {
            let message = format!("there is another branch {}", quoted(name));
            report.problem(&branch.name.spot, Code::NameDuplicate, message);
        } else if name == ELSE && index + 1 < branches.len() {
            report.problem(&branch.name.spot, Code::BranchInvalid, "the branch `Else` stands last");
        }
    }
}

fn check_names(raw: &raw::Step, branches: &[raw::Branch], chooser: &str, report: &mut Report) {
    let inputs = raw.inputs.iter().flat_map(|inputs| &inputs.0);
    let names: BTreeSet<&str> = branches.iter().map(|branch| branch.name.as_str()).collect();
    let mut chosen = BTreeSet::new();
    for (_, input) in inputs.filter(|(name, _)| name.as_str() == chooser) {
        let Some(InputValue::List(items)) = &input.value else { continue };
        for item in items {
            let Some(name) = literal_name(item) else {
                let message = format!("each element of `{chooser}` is an input with the name of its branch");
                report.problem(spot_of(item), Code::ConditionInvalid, message);
                continue;
            };
            if chooser == "conditions" {
                check_condition(item, report);
            }
            chosen.insert(name.as_str());
            if !names.contains(name.as_str()) {
                let message = format!("there is no branch {}", quoted(name.as_str()));
                report.suggest(&name.spot, Code::BranchInvalid, message, name.as_str(), names.iter().copied());
            }
        }
    }
    for branch in branches {
        let name = branch.name.as_str();
        if !name.is_empty() && name != ELSE && !chosen.contains(name) {
            let message = format!("nothing in `{chooser}` leads to the branch {}", quoted(name));
            report.problem(&branch.name.spot, Code::BranchInvalid, message);
        }
    }
}

fn check_condition(item: &Item, report: &mut Report) {
    let Item::Input(input) = item else { return };
    let condition = match &input.value {
        Some(InputValue::List(items)) => matches!(items.first(), Some(Item::Word(_))),
        _ => false,
    };
    if !condition {
        let message = "a condition is a complex value that starts with its operator: `[and, [equal, …]]`";
        report.problem(&input.spot, Code::ConditionInvalid, message);
    }
}

fn literal_name(item: &Item) -> Option<&Text> {
    let Item::Input(input) = item else { return None };
    match input.name.as_ref()? {
        InputName::Text(text) => Some(text),
        InputName::Input(name) => match &name.value {
            Some(InputValue::Text(text)) if name.kind.value == InputWord::Value => Some(text),
            _ => None,
        },
    }
}

fn spot_of(item: &Item) -> &Spot {
    match item {
        Item::Word(word) => &word.spot,
        Item::List(_, spot) => spot,
        Item::Input(input) => &input.spot,
    }
}
