//! What data sources offer, as controls of a page, and what of it was chosen.

use super::chosen::{mapped, selected};
use super::field::{Field, Kind};
use perseat_domain::definition::{CollectionType, DataType};
use perseat_flow::offer::{self, Control, ControlKind, Element, Object, Offer, Row};
use serde::Serialize;
use serde_json::{Value, json};

/// Why a field has nothing to choose from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "why")]
pub(super) enum Lack {
    /// Nothing is saved yet.
    Unsaved,
    /// The data source takes these, and they have no value yet.
    Waits {
        /// Their names.
        names: String,
    },
    /// The data source failed.
    Failed {
        /// Stable.
        code: &'static str,
        /// What the log has it under.
        reference: String,
    },
}

/// Something that is ticked or not.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Tick {
    id: String,
    value: String,
    label: String,
    is_on: bool,
}

#[derive(Clone, Debug, Serialize)]
struct ShownObject {
    #[serde(flatten)]
    own: Tick,
    /// The field of the form that its fields are in.
    name: String,
    fields: Vec<Tick>,
}

#[derive(Clone, Debug, Serialize)]
struct ShownRow {
    id: String,
    name: String,
    label: String,
    /// By object.
    groups: Vec<(String, Vec<Tick>)>,
}

/// One control of a form.
#[derive(Clone, Debug, Serialize)]
struct ShownControl {
    id: String,
    name: String,
    label: String,
    description: String,
    is_required: bool,
    /// `group`, `text`, `date`, `number`, `flag`, `choice`, `several` or `list`.
    kind: &'static str,
    step: &'static str,
    least: Option<f64>,
    most: Option<f64>,
    values: Vec<String>,
    boxes: Vec<Tick>,
    controls: Vec<ShownControl>,
    problem: Option<String>,
}

/// What a field shows of its offer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Shown {
    boxes: Vec<Tick>,
    objects: Vec<ShownObject>,
    rows: Vec<ShownRow>,
    controls: Vec<ShownControl>,
    /// What of a schema cannot be shown, where JSON is typed in.
    unsupported: Option<String>,
    /// The schema, for whoever types.
    schema: Option<String>,
}

pub(super) fn fields_name(field: &Field, object: &str) -> String {
    format!("field:{}:{object}", field.stable_key)
}

pub(super) fn row_name(field: &Field, row: &str) -> String {
    format!("map:{}:{row}", field.stable_key)
}

pub(super) fn control_name(field: &Field, pointer: &str) -> String {
    format!("form:{}:{pointer}", field.stable_key)
}

/// What is filled in, where it is JSON.
pub(super) fn filled(field: &Field) -> Value {
    field
        .values
        .first()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

impl Field {
    /// Its data source has said this.
    pub(super) fn offered(&mut self, offer: Offer, collection: Option<CollectionType>) {
        let is_empty = self.values.first().is_none_or(String::is_empty);
        match &offer {
            Offer::Choices(choices) => {
                self.choices.clone_from(choices);
                self.kind = if collection.is_some() { Kind::Picks } else { Kind::Choice };
                if let (Kind::Picks, Value::Array(items)) = (self.kind, filled(self)) {
                    self.values = items.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                }
            }
            Offer::Objects(objects) => {
                self.kind = Kind::Objects;
                if is_empty {
                    let chosen = objects.iter().filter(|object| object.is_chosen);
                    let chosen = chosen.map(|object| selected(object, |_| true));
                    self.values = vec![Value::Array(chosen.collect()).to_string()];
                }
            }
            Offer::Map(rows, objects) => {
                self.kind = Kind::Map;
                if is_empty {
                    self.values = vec![mapped(rows, objects, |row| row.mapped.clone()).to_string()];
                }
            }
            Offer::Form(form) => {
                self.kind = if form.controls.is_ok() { Kind::Form } else { Kind::Json };
                if is_empty && !form.data.is_null() {
                    self.values = vec![form.data.to_string()];
                }
            }
            Offer::Value(Some(value)) if is_empty && self.pairs.is_empty() => self.begin_with(value),
            Offer::Value(_) => {}
        }
        self.lack = None;
        self.offer = Some(offer);
    }

    /// What is shown of the offer.
    pub(super) fn show(&mut self) {
        let of_filled = filled(self);
        let mut shown = Shown {
            boxes: Vec::new(),
            objects: Vec::new(),
            rows: Vec::new(),
            controls: Vec::new(),
            unsupported: None,
            schema: None,
        };
        match &self.offer {
            Some(Offer::Choices(choices)) => {
                let boxes = choices.iter().enumerate();
                let is_on = |choice: &Element| self.values.contains(&choice.key);
                shown.boxes = boxes.map(|(place, choice)| tick(self, place, choice, is_on(choice))).collect();
            }
            Some(Offer::Objects(objects)) => {
                shown.objects = objects
                    .iter()
                    .enumerate()
                    .map(|(place, object)| self.shown_object(place, object, &of_filled))
                    .collect();
            }
            Some(Offer::Map(rows, objects)) => {
                let rows = rows.iter().enumerate();
                shown.rows = rows.map(|(place, row)| self.shown_row(place, row, objects, &of_filled)).collect();
            }
            Some(Offer::Form(form)) => match &form.controls {
                Ok(controls) => {
                    let mut number = 0;
                    shown.controls = self.shown_controls(controls, &of_filled, &mut number);
                }
                Err(what) => {
                    shown.unsupported = Some(what.clone());
                    shown.schema = serde_json::to_string_pretty(&form.schema).ok();
                }
            },
            Some(Offer::Value(_)) | None => return,
        }
        self.shown = Some(shown);
    }

    fn shown_object(&self, place: usize, object: &Object, chosen: &Value) -> ShownObject {
        let key = &object.element.key;
        let found = chosen
            .as_array()
            .into_iter()
            .flatten()
            .find(|item| key_of(item, "object") == Some(key));
        let fields = found.and_then(|item| item.get("fields")?.as_array());
        let has = |field: &Element| {
            fields.is_some_and(|fields| fields.iter().any(|one| one.get("key").and_then(Value::as_str) == Some(&field.key)))
        };
        let boxes = object.fields.iter().enumerate().map(|(at, field)| Tick {
            id: format!("{}-{place}-{at}", self.id),
            value: field.key.clone(),
            label: field.label.clone(),
            is_on: has(field),
        });
        ShownObject {
            own: tick(self, place, &object.element, found.is_some()),
            name: fields_name(self, key),
            fields: boxes.collect(),
        }
    }

    fn shown_row(&self, place: usize, row: &Row, objects: &[Object], chosen: &Value) -> ShownRow {
        let of_row = |item: &&Value| key_of(item, "field") == Some(&row.field.key);
        let found = chosen.get("fields").and_then(Value::as_array).into_iter().flatten().find(of_row);
        let now = found.and_then(|item| Some((key_of(item, "mappedObject")?, key_of(item, "mappedField")?)));
        let group = |object: &Object| {
            let fields = object.fields.iter().map(|field| Tick {
                id: String::new(),
                value: pair(&object.element.key, &field.key),
                label: field.label.clone(),
                is_on: now == Some((object.element.key.as_str(), field.key.as_str())),
            });
            (object.element.label.clone(), fields.collect())
        };
        ShownRow {
            id: format!("{}-{place}", self.id),
            name: row_name(self, &row.field.key),
            label: row.field.label.clone(),
            groups: objects.iter().map(group).collect(),
        }
    }

    fn shown_controls(&self, controls: &[Control], data: &Value, number: &mut usize) -> Vec<ShownControl> {
        let shown = controls.iter().map(|control| {
            *number += 1;
            let id = format!("{}-{number}", self.id);
            let typed = self.typed.as_ref().and_then(|typed| typed.get(&control.pointer).cloned());
            let values = typed.unwrap_or_else(|| offer::texts(control, data));
            let (kind, picks) = match &control.kind {
                ControlKind::Group(_) => ("group", [].as_slice()),
                ControlKind::Text { is_date: true } => ("date", [].as_slice()),
                ControlKind::Text { is_date: false } => ("text", [].as_slice()),
                ControlKind::Number { .. } => ("number", [].as_slice()),
                ControlKind::Flag => ("flag", [].as_slice()),
                ControlKind::Choice(picks) => ("choice", picks.as_slice()),
                ControlKind::Several(picks) => ("several", picks.as_slice()),
                ControlKind::List { .. } => ("list", [].as_slice()),
            };
            let (least, most, is_integer) = match control.kind {
                ControlKind::Number { least, most, is_integer } => (least, most, is_integer),
                _ => (None, None, false),
            };
            let boxes = picks.iter().enumerate().map(|(at, pick)| Tick {
                id: format!("{id}-{at}"),
                value: pick.text(),
                label: pick.label.clone(),
                is_on: values.contains(&pick.text()),
            });
            let problem = self
                .wrong
                .iter()
                .find(|wrong| wrong.pointer == control.pointer && !control.pointer.is_empty());
            ShownControl {
                name: control_name(self, &control.pointer),
                label: control.label.clone(),
                description: control.description.clone(),
                is_required: control.is_required,
                step: if is_integer { "1" } else { "any" },
                boxes: boxes.collect(),
                controls: match &control.kind {
                    ControlKind::Group(within) => self.shown_controls(within, data, number),
                    _ => Vec::new(),
                },
                problem: problem.map(|wrong| wrong.sentence.clone()),
                kind,
                least,
                most,
                values,
                id,
            }
        });
        shown.collect()
    }
}

fn tick(field: &Field, place: usize, element: &Element, is_on: bool) -> Tick {
    Tick {
        id: format!("{}-{place}", field.id),
        value: element.key.clone(),
        label: element.label.clone(),
        is_on,
    }
}

fn key_of<'v>(item: &'v Value, name: &str) -> Option<&'v str> {
    item.get(name)?.get("key")?.as_str()
}

/// Object and field in one text.
fn pair(object: &str, field: &str) -> String {
    json!([object, field]).to_string()
}

/// Whether only what the data source offers may be chosen, so that it is asked before a value is taken.
pub(super) fn binds(field: &Field) -> bool {
    let kind = field.data_type;
    let is_bound = matches!(
        kind,
        DataType::Picklist | DataType::ObjectSelection | DataType::ObjectFieldMap | DataType::JsonForm
    );
    field.source.is_some() && is_bound
}
