//! Flows and steps: names, scopes, branches, settings that exclude each other, and what cannot run yet.

use super::branches::check_branches;
use super::features::{self, is_on};
use super::inputs::{Converter, StepScope, Wants};
use super::raw::{self, InputValue};
use super::read::Count;
use super::replies;
use super::report::{Report, Spot, diagnostic, nearest, quoted};
use super::variables::Variables;
use super::words::{HandlerWord, SecurityWord, SourceWord};
use super::{Code, Components, Diagnostic, Inputs, Takes};
use perseat_domain::definition::{ActionRef, Branch, DataType, EndpointSecurity, Flow, Input, Step, StepErrorPolicy, reference_name};
use perseat_domain::id::FlowNumber;
use std::collections::{BTreeMap, BTreeSet};

/// The input of HTTP steps that asks for certificates not to be checked.
const IGNORE_CERTIFICATES: &str = "ignoreSslErrors";

/// What the flows of an integration are checked against.
pub(super) struct Flows<'a> {
    pub(super) components: &'a dyn Components,
    pub(super) variables: &'a Variables,
    pub(super) numbers: &'a BTreeMap<String, FlowNumber>,
    /// What keeps every flow from running.
    pub(super) missing: Vec<String>,
}

pub(super) fn stable_key(raw: &raw::Flow) -> &str {
    raw.stable_key.as_ref().unwrap_or(&raw.name).as_str()
}

/// Reports flows of one name or stable key.
pub(super) fn check_names(flows: &[raw::Flow], spot: &Spot, report: &mut Report) {
    let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for flow in flows.iter().filter(|flow| !flow.name.as_str().is_empty()) {
        if !names.insert(flow.name.as_str()) {
            let message = format!("there is another flow {}", quoted(flow.name.as_str()));
            report.problem(&flow.name.spot, Code::NameDuplicate, message);
        } else if !keys.insert(stable_key(flow)) {
            let spot = flow.stable_key.as_ref().map_or(&flow.name.spot, |key| &key.spot);
            let message = format!("another flow has the stable key {}", quoted(stable_key(flow)));
            report.problem(spot, Code::NameDuplicate, message);
        }
    }
    if flows.is_empty() {
        report.problem(spot, Code::ValueInvalid, "an integration has at least one flow");
    }
}

impl Flows<'_> {
    /// Checks one flow; `None` where it has no step at all.
    pub(super) fn flow(&self, raw: &raw::Flow, report: &mut Report) -> Option<Flow> {
        features::check_flow(raw, report);
        let security = security(raw, report);
        let Some((trigger, steps)) = raw.steps.split_first() else {
            report.problem(&raw.spot, Code::TriggerInvalid, "a flow has at least a trigger");
            return None;
        };
        let mut all = BTreeSet::new();
        collect_names(&raw.steps, &mut all, report);
        let mut walk = Walk {
            flows: self,
            flow: raw.name.as_str(),
            is_synchronous: raw.is_synchronous.as_ref().is_some_and(|flag| flag.value),
            report,
            used: BTreeSet::new(),
            missing: self.missing.clone(),
            noted: self.missing.iter().cloned().collect(),
            scope: StepScope {
                trigger: reference_name(trigger.name.as_str()),
                all,
                ..StepScope::default()
            },
        };
        for (spot, sentence) in features::later(raw) {
            walk.lacks(spot, Code::FeatureUnsupported, sentence);
        }
        let trigger = walk.step(trigger, true);
        let steps = steps.iter().map(|step| walk.step(step, false)).collect();
        let missing = walk.finish(&raw.name.spot);
        Some(Flow {
            number: self.numbers.get(stable_key(raw)).copied().unwrap_or(FlowNumber(0)),
            name: raw.name.value.clone(),
            stable_key: stable_key(raw).to_owned(),
            description: raw.description.as_ref().map(|text| text.value.clone()).unwrap_or_default(),
            is_synchronous: raw.is_synchronous.as_ref().is_some_and(|flag| flag.value),
            security,
            organization_api_keys: raw.organization_keys.iter().flatten().map(|key| key.value.clone()).collect(),
            trigger,
            steps,
            missing,
        })
    }
}

fn collect_names(steps: &[raw::Step], all: &mut BTreeSet<String>, report: &mut Report) {
    for step in steps {
        let name = reference_name(step.name.as_str());
        if name.is_empty() {
            if !step.name.as_str().is_empty() {
                report.problem(&step.name.spot, Code::ValueInvalid, "a step's name has a letter or digit");
            }
        } else if all.contains(&name) {
            let message = format!("another step of this flow is called `{name}` in references");
            report.problem(&step.name.spot, Code::NameDuplicate, message);
        } else {
            all.insert(name);
        }
        collect_names(step.steps.as_deref().unwrap_or_default(), all, report);
        for branch in step.branches.iter().flatten() {
            collect_names(branch.steps.as_deref().unwrap_or_default(), all, report);
        }
    }
}

/// Walks the steps of one flow in order.
struct Walk<'a, 'r> {
    flows: &'a Flows<'a>,
    flow: &'a str,
    is_synchronous: bool,
    report: &'r mut Report,
    /// Variables that the flow uses, by key.
    used: BTreeSet<String>,
    missing: Vec<String>,
    /// What `missing` holds.
    noted: BTreeSet<String>,
    scope: StepScope,
}

impl Walk<'_, '_> {
    /// Notes once what keeps the flow from running.
    fn lacks(&mut self, spot: &Spot, code: Code, sentence: String) {
        if self.noted.insert(sentence.clone()) {
            self.report.warn(spot, code, format!("flow {}: {sentence}", quoted(self.flow)));
            self.missing.push(sentence);
        }
    }

    fn finish(mut self, spot: &Spot) -> Vec<String> {
        for key in std::mem::take(&mut self.used) {
            if let Some((code, sentence)) = self.flows.variables.get(&key).and_then(|known| known.missing.clone()) {
                self.lacks(spot, code, sentence);
            }
        }
        self.missing
    }

    fn step(&mut self, raw: &raw::Step, first: bool) -> Step {
        self.check_trigger(raw, first);
        let known = self.component(raw, first);
        let mut converter = Converter {
            report: &mut *self.report,
            variables: self.flows.variables,
            scope: Some(&self.scope),
            used: &mut self.used,
            data_source: None,
            wants: Wants::Anything,
        };
        let inputs = converter.all(raw.inputs.as_ref(), |name| wanted(known, name));
        if let Some(spot) = converter.data_source {
            let sentence = "inputs filled by a data source are not supported yet".to_owned();
            self.lacks(&spot, Code::FeatureUnsupported, sentence);
        }
        let action = ActionRef {
            component: raw.action.component.key.value.clone(),
            action: raw.action.key.value.clone(),
        };
        check_branches(raw, &action, &inputs, known.is_some(), self.report);
        self.check_certificates(raw, &action, &inputs);
        replies::check_status(raw, &action, self.report);
        if first && !self.is_synchronous {
            replies::warn_of_late_parts(self.flow, raw, &action, self.flows.variables, self.report);
        }
        let reference = reference_name(raw.name.as_str());
        self.scope.visible.insert(reference.clone());
        let branches = raw.branches.iter().flatten().map(|branch| Branch {
            name: branch.name.value.clone(),
            steps: self.nested(branch.steps.as_deref().unwrap_or_default(), None),
        });
        let branches = branches.collect();
        Step {
            name: raw.name.value.clone(),
            action,
            inputs,
            on_error: error_policy(raw.error_config.as_ref(), self.report),
            branches,
            body: self.nested(raw.steps.as_deref().unwrap_or_default(), Some(&reference)),
            reference,
        }
    }

    /// Certificates are always checked: a request that asks for less would fail each time.
    fn check_certificates(&mut self, raw: &raw::Step, action: &ActionRef, inputs: &BTreeMap<String, Input>) {
        let Some(asked) = inputs.get(IGNORE_CERTIFICATES).filter(|_| action.component == "http") else {
            return;
        };
        let names = raw.inputs.iter().flat_map(|inputs| &inputs.0).map(|(name, _)| name);
        let spot = names
            .into_iter()
            .find(|name| name.as_str() == IGNORE_CERTIFICATES)
            .map_or(&raw.spot, |name| &name.spot);
        let step = quoted(raw.name.as_str());
        match asked {
            Input::Value(text) if !is_on(text.as_deref().unwrap_or_default()) => {}
            Input::Value(_) => {
                let sentence =
                    format!("step {step}: `{IGNORE_CERTIFICATES}` is not supported; give the server a certificate that the system trusts");
                self.lacks(spot, Code::FeatureUnsupported, sentence);
            }
            _ => {
                let message = format!("step {step} fails where `{IGNORE_CERTIFICATES}` comes out true: certificates are always checked");
                self.report.warn(spot, Code::FeatureUnsupported, message);
            }
        }
    }

    /// Steps inside a branch or loop: out of scope afterwards.
    fn nested(&mut self, steps: &[raw::Step], of_loop: Option<&str>) -> Vec<Step> {
        self.scope.loops.extend(of_loop.map(str::to_owned));
        let nested: Vec<Step> = steps.iter().map(|step| self.step(step, false)).collect();
        if let Some(of_loop) = of_loop {
            self.scope.loops.remove(of_loop);
        }
        for step in &nested {
            self.scope.visible.remove(&step.reference);
            self.scope.over.insert(step.reference.clone());
        }
        nested
    }

    fn check_trigger(&mut self, raw: &raw::Step, first: bool) {
        let is_trigger = raw.is_trigger.as_ref().is_some_and(|flag| flag.value);
        if first && !is_trigger {
            let message = "the first step of a flow is its trigger: `isTrigger: true`";
            self.report.problem(&raw.spot, Code::TriggerInvalid, message);
        }
        if !first && is_trigger {
            self.report
                .problem(&raw.spot, Code::TriggerInvalid, "only the first step of a flow is a trigger");
        }
        let Some(schedule) = &raw.schedule else { return };
        if !first {
            self.report
                .problem(&schedule.spot, Code::TriggerInvalid, "only a trigger has a schedule");
        }
        let value = schedule.value.as_ref();
        match schedule.kind.value {
            SourceWord::Value => features::check_cron(schedule, self.report),
            SourceWord::ConfigVar => {
                let key = value.map(|text| text.value.as_str()).unwrap_or_default();
                let spot = value.map_or(&schedule.spot, |text| &text.spot);
                match self.flows.variables.get(key) {
                    None => {
                        let message = format!("there is no configuration variable {}", quoted(key));
                        self.report
                            .suggest(spot, Code::ConfigVarUnknown, message, key, self.flows.variables.keys());
                    }
                    Some(known) if known.data_type != DataType::Schedule => {
                        let message = format!("{} is not a schedule", quoted(key));
                        self.report.problem(spot, Code::ValueInvalid, message);
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// What the component's action takes, where it is there. Notes it otherwise, and inputs that are missing or not known.
    fn component(&mut self, raw: &raw::Step, first: bool) -> Option<Takes> {
        let (component, action) = (raw.action.component.key.as_str(), raw.action.key.as_str());
        if component.is_empty() || action.is_empty() {
            return None;
        }
        let public = raw.action.component.is_public.as_ref().is_none_or(|flag| flag.value);
        let components = self.flows.components;
        let found = match (public, first) {
            (false, _) => None,
            (true, true) => components.trigger(component, action).map(Takes::data),
            (true, false) => components.action(component, action),
        };
        let Some(takes) = found else {
            let known = public && components.component(component);
            let (code, sentence) = features::missing_action(component, action, first, known);
            self.lacks(&raw.action.spot, code, sentence);
            return None;
        };
        for name in takes.required.iter().filter(|name| !is_given(raw, name)) {
            let sentence = format!("step {}: the input `{name}` is missing", quoted(raw.name.as_str()));
            self.lacks(&raw.spot, Code::InputMissing, sentence);
        }
        if let Inputs::Named(names) = takes.inputs {
            for (name, _) in raw.inputs.iter().flat_map(|inputs| &inputs.0) {
                if !names.contains(&name.as_str()) {
                    let meant = nearest(name.as_str(), names.iter().copied());
                    let meant = meant.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                    let message = format!("`{component}/{action}` does not know the input {}{meant}", quoted(name.as_str()));
                    self.report.warn(&name.spot, Code::InputUnknown, message);
                }
            }
        }
        Some(takes)
    }
}

/// Whether an input of a step holds something.
fn is_given(raw: &raw::Step, name: &str) -> bool {
    let mut inputs = raw.inputs.iter().flat_map(|inputs| &inputs.0);
    let value = inputs
        .find(|(known, _)| known.as_str() == name)
        .and_then(|(_, input)| input.value.as_ref());
    match value {
        Some(InputValue::Text(text)) => !text.as_str().is_empty(),
        Some(InputValue::List(_)) => true,
        None => false,
    }
}

/// What an input may hold. One that the action does not know is ignored.
fn wanted(takes: Option<Takes>, name: &str) -> Wants {
    match takes {
        Some(takes) if takes.connections.contains(&name) => Wants::Connection,
        Some(Takes {
            inputs: Inputs::Named(names),
            ..
        }) if !names.contains(&name) => Wants::Anything,
        Some(_) => Wants::Data,
        None => Wants::Anything,
    }
}

/// One diagnostic per flow that the organization's keys alone open and that has none here, by the flow's name.
pub(super) fn keyless(raw: &[raw::Flow]) -> Vec<(String, Diagnostic)> {
    let mut found = Vec::new();
    for flow in raw
        .iter()
        .filter(|flow| flow.organization_keys.as_deref().unwrap_or_default().is_empty())
    {
        if let Some(word) = flow.security.as_ref().filter(|word| word.value == SecurityWord::Organization) {
            let message =
                "with `endpointSecurityType: organization`, `organizationApiKeys` holds at least one key, here or in the manifest";
            found.push((
                flow.name.value.clone(),
                diagnostic(&word.spot, Code::KeyMissing, message.to_owned(), None),
            ));
        }
    }
    found
}

fn security(raw: &raw::Flow, report: &mut Report) -> EndpointSecurity {
    let word = raw.security.as_ref().map(|word| word.value).unwrap_or_default();
    let keys = raw.organization_keys.as_deref().unwrap_or_default();
    for key in keys.iter().filter(|key| key.as_str().trim().is_empty()) {
        report.problem(&key.spot, Code::ValueInvalid, "an API key is not empty");
    }
    match word {
        SecurityWord::Unsecured | SecurityWord::CustomerOptional | SecurityWord::CustomerRequired if !keys.is_empty() => {
            let message = "`organizationApiKeys` go with `endpointSecurityType: organization` only";
            report.problem(&keys[0].spot, Code::Contradiction, message);
        }
        _ => {}
    }
    match word {
        SecurityWord::Unsecured => EndpointSecurity::Unsecured,
        SecurityWord::CustomerOptional => EndpointSecurity::CustomerOptional,
        SecurityWord::CustomerRequired => EndpointSecurity::CustomerRequired,
        SecurityWord::Organization => EndpointSecurity::Organization,
    }
}

fn error_policy(raw: Option<&raw::ErrorConfig>, report: &mut Report) -> StepErrorPolicy {
    let Some(raw) = raw else { return StepErrorPolicy::Fail };
    let max_attempts = within("maxAttempts", raw.max_attempts.as_ref(), 0, 5, report);
    let delay_seconds = within("delaySeconds", raw.delay_seconds.as_ref(), 0, 60, report);
    match raw.handler.as_ref().map(|word| word.value).unwrap_or_default() {
        HandlerWord::Fail => StepErrorPolicy::Fail,
        HandlerWord::Ignore => StepErrorPolicy::Ignore,
        HandlerWord::Retry => StepErrorPolicy::Retry {
            max_attempts: u8::try_from(max_attempts).unwrap_or_default(),
            delay_seconds: u16::try_from(delay_seconds).unwrap_or_default(),
            exponential: raw.exponential.as_ref().is_some_and(|flag| flag.value),
            ignore_final: raw.ignore_final.as_ref().is_some_and(|flag| flag.value),
        },
    }
}

/// A number within its range; the lowest where it is left out or was reported.
pub(super) fn within(name: &str, count: Option<&Count>, low: i64, high: i64, report: &mut Report) -> i64 {
    match count {
        Some(count) if !(low..=high).contains(&count.value) => {
            let message = format!("`{name}` is {low} to {high}, not {}", count.value);
            report.problem(&count.spot, Code::ValueInvalid, message);
            low
        }
        Some(count) => count.value,
        None => low,
    }
}
