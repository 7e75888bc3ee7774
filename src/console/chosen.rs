//! What was chosen of what a data source offers: read from a form, and nothing else than what is offered.

use super::field::{Field, Kind};
use super::form::{NEEDED, Sent, check_length};
use super::offered::{control_name, fields_name, filled, row_name};
use perseat_flow::offer::{self, Control, ControlKind, Element, Form, Object, Offer, Row, Wrong};
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Field {
    /// Everything that is wrong with a form that was sent, by place.
    pub(super) fn wrong_of(&self, sent: &Sent) -> Vec<Wrong> {
        match &self.offer {
            Some(Offer::Form(form)) if self.kind == Kind::Form => data(self, form, sent).err().unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

/// A chosen object as it is stored.
pub(super) fn selected(object: &Object, has: impl Fn(&Element) -> bool) -> Value {
    let fields: Vec<&Element> = object.fields.iter().filter(|field| has(field)).collect();
    match object.fields.is_empty() {
        true => json!({ "object": object.element }),
        false => json!({ "object": object.element, "fields": fields }),
    }
}

/// A map as it is stored.
pub(super) fn mapped(rows: &[Row], objects: &[Object], to: impl Fn(&Row) -> Option<(String, String)>) -> Value {
    let rows = rows.iter().map(|row| {
        let found = to(row).and_then(|(object, field)| {
            let object = objects.iter().find(|one| one.element.key == object)?;
            let field = object.fields.iter().find(|one| one.key == field)?;
            Some((&object.element, field))
        });
        match found {
            Some((object, field)) => json!({ "field": row.field, "mappedObject": object, "mappedField": field }),
            None => json!({ "field": row.field }),
        }
    });
    json!({ "fields": rows.collect::<Vec<_>>() })
}

/// Puts what was sent back, be it right or wrong.
pub(super) fn keep(field: &mut Field, sent: &Sent) {
    match &field.offer {
        Some(Offer::Choices(_)) => field.values = ticked(field, sent).into_iter().map(str::to_owned).collect(),
        Some(Offer::Objects(objects)) => {
            let kept = objects_of(field, objects, sent);
            field.values = vec![kept.to_string()];
        }
        Some(Offer::Map(rows, objects)) => {
            let kept = mapped(rows, objects, |row| choice(field, row, sent).ok().flatten());
            field.values = vec![kept.to_string()];
        }
        Some(Offer::Form(form)) => {
            let mut typed = BTreeMap::new();
            if let Ok(controls) = &form.controls {
                gather(field, controls, sent, &mut typed);
            }
            field.typed = Some(typed);
        }
        Some(Offer::Value(_)) | None => {}
    }
}

fn gather(field: &Field, controls: &[Control], sent: &Sent, typed: &mut BTreeMap<String, Vec<String>>) {
    for control in controls {
        match &control.kind {
            ControlKind::Group(within) => gather(field, within, sent, typed),
            _ => {
                let name = control_name(field, &control.pointer);
                typed.insert(control.pointer.clone(), sent.every(&name).map(str::to_owned).collect());
            }
        }
    }
}

fn ticked<'s>(field: &Field, sent: &'s Sent) -> Vec<&'s str> {
    let name = field.name();
    sent.every(&name).filter(|key| !key.is_empty()).collect()
}

fn objects_of(field: &Field, objects: &[Object], sent: &Sent) -> Value {
    let chosen = ticked(field, sent);
    let chosen = objects.iter().filter(|object| chosen.contains(&object.element.key.as_str()));
    let chosen = chosen.map(|object| {
        let name = fields_name(field, &object.element.key);
        selected(object, |one| sent.every(&name).any(|key| key == one.key))
    });
    Value::Array(chosen.collect())
}

/// What a row is mapped to.
fn choice(field: &Field, row: &Row, sent: &Sent) -> Result<Option<(String, String)>, ()> {
    match sent.text(&row_name(field, &row.field.key)).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => serde_json::from_str(text).map(Some).map_err(|_| ()),
    }
}

const CHOOSE: &str = "Choose from the list.";

/// The value as it is stored. It holds nothing but what the data source offers.
pub(super) fn value(field: &Field, sent: &Sent) -> Result<String, String> {
    let refused = || Err(CHOOSE.to_owned());
    match &field.offer {
        Some(Offer::Choices(choices)) => {
            let chosen = ticked(field, sent);
            if !chosen.iter().all(|key| choices.iter().any(|choice| choice.key == *key)) {
                return refused();
            }
            match chosen.is_empty() && field.is_required {
                true => Err(NEEDED.to_owned()),
                false => Ok(json!(chosen).to_string()),
            }
        }
        Some(Offer::Objects(objects)) => {
            let chosen = ticked(field, sent);
            let known = |key: &&&str| objects.iter().any(|object| object.element.key == **key);
            let fields_fit = objects.iter().all(|object| {
                let name = fields_name(field, &object.element.key);
                sent.every(&name).all(|key| object.fields.iter().any(|one| one.key == key))
            });
            if chosen.iter().filter(known).count() < chosen.len() || !fields_fit {
                return refused();
            }
            match chosen.is_empty() && field.is_required {
                true => Err(NEEDED.to_owned()),
                false => Ok(objects_of(field, objects, sent).to_string()),
            }
        }
        Some(Offer::Map(rows, objects)) => {
            let mut is_mapped = false;
            for row in rows {
                let Ok(to) = choice(field, row, sent) else { return refused() };
                let Some((object, of_object)) = to else { continue };
                let known = objects.iter().find(|one| one.element.key == object);
                if !known.is_some_and(|one| one.fields.iter().any(|one| one.key == of_object)) {
                    return refused();
                }
                is_mapped = true;
            }
            match !is_mapped && field.is_required {
                true => Err(NEEDED.to_owned()),
                false => Ok(mapped(rows, objects, |row| choice(field, row, sent).ok().flatten()).to_string()),
            }
        }
        Some(Offer::Form(form)) => data(field, form, sent)
            .map(|data| data.to_string())
            .map_err(|wrong| told(form, &wrong)),
        Some(Offer::Value(_)) | None => refused(),
    }
}

/// The data of a form, or what is wrong with it.
fn data(field: &Field, form: &Form, sent: &Sent) -> Result<Value, Vec<Wrong>> {
    let whole = |sentence: &str| {
        vec![Wrong {
            pointer: String::new(),
            sentence: sentence.to_owned(),
        }]
    };
    let controls = form.controls.as_ref().map_err(|_| whole(CHOOSE))?;
    let texts = |pointer: &str| {
        let name = control_name(field, pointer);
        let given: Vec<&str> = sent.every(&name).collect();
        (!given.is_empty()).then_some(given)
    };
    let data = offer::assemble(controls, &filled(field), &texts)?;
    check_length([data.to_string().as_str()].into_iter()).map_err(|sentence| whole(&sentence))?;
    let wrong = offer::check(&form.schema, &data);
    if wrong.is_empty() { Ok(data) } else { Err(wrong) }
}

/// What is wrong in one sentence: where it stands is said beside its control, if it has one.
fn told(form: &Form, wrong: &[Wrong]) -> String {
    fn label<'c>(controls: &'c [Control], pointer: &str) -> Option<&'c str> {
        controls.iter().find_map(|control| match &control.kind {
            ControlKind::Group(within) => label(within, pointer),
            _ => (control.pointer == pointer).then_some(control.label.as_str()),
        })
    }
    let Some(first) = wrong.first() else { return CHOOSE.to_owned() };
    let controls = form.controls.as_deref().unwrap_or_default();
    match label(controls, &first.pointer) {
        Some(label) => format!("{label}: {}", first.sentence),
        None if first.pointer.is_empty() => first.sentence.clone(),
        None => format!("{}: {}", first.pointer, first.sentence),
    }
}

/// Holds JSON that was typed in against the schema of the form that it is for.
pub(super) fn check(field: &Field, text: &str) -> Result<(), String> {
    let Some(Offer::Form(form)) = &field.offer else { return Ok(()) };
    let data: Value = serde_json::from_str(text).unwrap_or_default();
    let wrong = offer::check(&form.schema, &data);
    if wrong.is_empty() { Ok(()) } else { Err(told(form, &wrong)) }
}
