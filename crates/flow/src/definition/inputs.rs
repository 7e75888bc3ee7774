//! Raw inputs → checked inputs: every step, loop and variable they name must be there and in scope.

use super::Code;
use super::raw::{self, InputName, InputValue, Item};
use super::read::{Named, Text};
use super::report::{Report, Spot, quoted};
use super::variables::Variables;
use super::words::InputWord;
use crate::expression::{account_part, operator_words};
use perseat_domain::definition::{ComplexItem, DataType, Input, Reference, TemplatePart};
use std::collections::{BTreeMap, BTreeSet};

/// The steps that an input may refer to at one place of a flow.
#[derive(Debug, Default)]
pub(super) struct StepScope {
    /// The trigger's reference name; `trigger` stands for it.
    pub(super) trigger: String,
    /// Every reference name of the flow.
    pub(super) all: BTreeSet<String>,
    /// Steps that have run for certain.
    pub(super) visible: BTreeSet<String>,
    /// Loops around this place.
    pub(super) loops: BTreeSet<String>,
    /// Steps inside branches and loops that are over.
    pub(super) over: BTreeSet<String>,
}

/// What an input may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// Nobody knows.
    Anything,
    /// No connection.
    Data,
    /// A connection alone.
    Connection,
}

/// Converts inputs at one place.
pub(super) struct Converter<'a> {
    pub(super) report: &'a mut Report,
    pub(super) variables: &'a Variables,
    /// `None` where there are no steps: inputs of configuration variables.
    pub(super) scope: Option<&'a StepScope>,
    /// Receives the keys of the variables used.
    pub(super) used: &'a mut BTreeSet<String>,
    /// Receives the first use of the choices of a data source.
    pub(super) data_source: Option<Spot>,
    /// What the input at hand may hold.
    pub(super) wants: Wants,
}

impl Converter<'_> {
    pub(super) fn all(&mut self, inputs: Option<&Named<raw::Input>>, wants: impl Fn(&str) -> Wants) -> BTreeMap<String, Input> {
        let inputs = inputs.map(|named| named.0.as_slice()).unwrap_or_default();
        let mut converted = BTreeMap::new();
        for (name, input) in inputs {
            self.wants = wants(name.as_str());
            if self.wants == Wants::Connection {
                self.check_connection(name.as_str(), input);
            }
            converted.insert(name.value.clone(), self.input(input));
        }
        converted
    }

    fn check_connection(&mut self, name: &str, input: &raw::Input) {
        let spot = match &input.value {
            Some(InputValue::Text(text)) if !text.value.is_empty() => &text.spot,
            Some(InputValue::List(_)) => &input.spot,
            _ => return,
        };
        let is_one = match (input.kind.value, &input.value) {
            (InputWord::ConfigVar, Some(InputValue::Text(text))) => match self.variables.get(text.as_str()) {
                Some(known) => known.data_type == DataType::Connection,
                None => account_part(text.as_str()).is_none(),
            },
            // Reported as a whole.
            (InputWord::DataSource, _) => true,
            _ => false,
        };
        if !is_one {
            let message = format!(
                "the input {} takes a connection: `type: configVar` with the key of one",
                quoted(name)
            );
            self.report.problem(spot, Code::TypeMismatch, message);
        }
    }

    fn input(&mut self, input: &raw::Input) -> Input {
        match (input.kind.value, &input.value) {
            (InputWord::Complex, None) => Input::Complex(Vec::new()),
            (InputWord::Complex, Some(InputValue::List(items))) => Input::Complex(self.items(items, &input.spot)),
            (InputWord::Complex, Some(InputValue::Text(text))) => {
                self.report
                    .problem(&text.spot, Code::TypeMismatch, "a `complex` input holds a list");
                Input::Value(None)
            }
            (_, Some(InputValue::List(_))) => {
                let message = "only a `complex` input holds a list; JSON is written as text";
                self.report.problem(&input.spot, Code::TypeMismatch, message);
                Input::Value(None)
            }
            (InputWord::DataSource, _) => {
                self.data_source.get_or_insert_with(|| input.spot.clone());
                Input::Value(None)
            }
            (_, None) => Input::Value(None),
            (InputWord::Value, Some(InputValue::Text(text))) => Input::Value(Some(text.value.clone())),
            // Exports leave an input that nobody has filled in with empty text.
            (InputWord::ConfigVar | InputWord::Reference, Some(InputValue::Text(text))) if text.value.is_empty() => Input::Value(None),
            (InputWord::ConfigVar, Some(InputValue::Text(text))) => {
                self.variable(&text.value, &text.spot);
                Input::ConfigVar(text.value.clone())
            }
            (InputWord::Reference, Some(InputValue::Text(text))) => {
                self.reference(&text.value, &text.spot).map_or(Input::Value(None), Input::Reference)
            }
            (InputWord::Template, Some(InputValue::Text(text))) => Input::Template(self.template(text)),
        }
    }

    fn variable(&mut self, key: &str, spot: &Spot) {
        if self.variables.get(key).is_some() {
            self.used.insert(key.to_owned());
            if self.wants == Wants::Data && self.variables.is_connection(key) {
                let message = format!("the connection {} cannot be used as text or data", quoted(key));
                self.report.problem(spot, Code::TypeMismatch, message);
            }
            return;
        }
        if let Some((variable, _)) = account_part(key).filter(|(variable, _)| self.variables.is_connection(variable)) {
            self.used.insert(variable.to_owned());
            return;
        }
        let message = format!("there is no configuration variable {}", quoted(key));
        self.report
            .suggest(spot, Code::ConfigVarUnknown, message, key, self.variables.keys());
    }

    fn reference(&mut self, text: &str, spot: &Spot) -> Option<Reference> {
        let mut parts = text.trim().split('.');
        let (step, root) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if step.is_empty() || !matches!(root, "results" | "currentItem") {
            let message = format!("{} is not of the form `step.results.path` or `loop.currentItem.path`", quoted(text));
            self.report.problem(spot, Code::ReferenceInvalid, message);
            return None;
        }
        let Some(scope) = self.scope else {
            self.report
                .problem(spot, Code::ReferenceInvalid, "there are no steps to refer to here");
            return None;
        };
        let alias = step == "trigger" && !scope.all.contains("trigger");
        let step = if alias { &scope.trigger } else { step };
        let found = if root == "currentItem" { &scope.loops } else { &scope.visible };
        if !found.contains(step) {
            let message = missing_step(step, root, scope);
            self.report
                .suggest(spot, Code::ReferenceInvalid, message, step, found.iter().map(String::as_str));
            return None;
        }
        Some(Reference {
            step: step.to_owned(),
            root: root.to_owned(),
            path: parts.map(str::to_owned).collect(),
        })
    }

    fn template(&mut self, text: &Text) -> Vec<TemplatePart> {
        let pieces = match pieces(&text.value) {
            Ok(pieces) => pieces,
            Err(message) => {
                self.report.problem(&text.spot, Code::TemplateInvalid, message);
                return Vec::new();
            }
        };
        let mut parts: Vec<TemplatePart> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match piece {
                Piece::Text(more) => match parts.last_mut() {
                    Some(TemplatePart::Text(last)) => last.push_str(more),
                    _ => parts.push(TemplatePart::Text(more.to_owned())),
                },
                Piece::Reference(path) => parts.extend(self.reference(path, &text.spot).map(TemplatePart::Reference)),
                Piece::ConfigVar(key) => {
                    self.variable(key, &text.spot);
                    parts.push(TemplatePart::ConfigVar(key.to_owned()));
                }
            }
        }
        parts
    }

    /// A list of inputs; or a condition, which starts with its operator.
    fn items(&mut self, items: &[Item], spot: &Spot) -> Vec<ComplexItem> {
        if let Some(Item::Word(word)) = items.first() {
            self.check_condition(word, &items[1..], spot);
        }
        let mut converted = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            converted.push(match item {
                Item::Word(word) => {
                    if index > 0 {
                        let message = format!("expected an input (`{{type, value}}`), found {}", quoted(&word.value));
                        self.report.problem(&word.spot, Code::TypeMismatch, message);
                    }
                    ComplexItem::Operator(word.value.clone())
                }
                Item::List(items, spot) => ComplexItem::List(self.items(items, spot)),
                Item::Input(input) => ComplexItem::Input {
                    name: input.name.as_ref().map(|name| Box::new(self.name(name))),
                    input: self.input(input),
                },
            });
        }
        converted
    }

    fn name(&mut self, name: &InputName) -> Input {
        match name {
            InputName::Text(text) => Input::Value(Some(text.value.clone())),
            InputName::Input(input) => self.input(input),
        }
    }

    fn check_condition(&mut self, word: &Text, operands: &[Item], spot: &Spot) {
        let Some((_, needed)) = operator_words().iter().find(|(known, _)| *known == word.value) else {
            let message = format!("there is no operator {}", quoted(&word.value));
            let words = operator_words().iter().map(|(word, _)| *word);
            self.report.suggest(&word.spot, Code::ConditionInvalid, message, &word.value, words);
            return;
        };
        if operands.len() < *needed {
            let message = format!("`{}` compares {needed} values, {} given", word.value, operands.len());
            self.report.problem(spot, Code::ConditionInvalid, message);
        }
        for operand in operands {
            match (operand, *needed) {
                (Item::List(list, spot), 0) if !matches!(list.first(), Some(Item::Word(_))) => {
                    self.report
                        .problem(spot, Code::ConditionInvalid, "a condition starts with its operator");
                }
                (Item::List(_, spot), 1 | 2) => {
                    let message = format!("`{}` compares inputs, not conditions", word.value);
                    self.report.problem(spot, Code::ConditionInvalid, message);
                }
                _ => {}
            }
        }
    }
}

fn missing_step(step: &str, root: &str, scope: &StepScope) -> String {
    let name = quoted(step);
    if root == "currentItem" {
        format!("{name} is not a loop around this step")
    } else if scope.over.contains(step) {
        format!("{name} stands in a branch or loop that is over; it may not have run")
    } else if scope.all.contains(step) {
        format!("{name} does not run before this step")
    } else {
        format!("there is no step {name} in this flow")
    }
}

pub(super) enum Piece<'t> {
    Text(&'t str),
    Reference(&'t str),
    ConfigVar(&'t str),
}

/// Splits a template. Braces that hold neither `$` nor `#` are text.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find("{{") {
        let inside = rest[open + 2..].trim_start();
        let Some(mark) = inside.chars().next().filter(|mark| matches!(mark, '$' | '#')) else {
            pieces.push(Piece::Text(&rest[..open + 2]));
            rest = &rest[open + 2..];
            continue;
        };
        let Some(close) = inside.find("}}") else {
            return Err(format!("{} is not closed by `}}}}`", quoted(&rest[open..])));
        };
        if open > 0 {
            pieces.push(Piece::Text(&rest[..open]));
        }
        let name = inside[1..close].trim();
        pieces.push(if mark == '$' {
            Piece::Reference(name)
        } else {
            Piece::ConfigVar(name)
        });
        rest = &inside[close + 2..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}
