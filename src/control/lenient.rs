//! Takes from a request what strict GraphQL would refuse and clients send all the same.
//!
//! Input fields that this version does not know are dropped, so that newer clients work; `"true"` and `"false"` stand for
//! Booleans. What a query selects is never touched: a field that is not there is an error.

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, DocumentOperations, ExecutableDocument, InputValueDefinition, OperationDefinition, OperationType, Selection, SelectionSet,
    Type, TypeKind, TypeSystemDefinition,
};
use async_graphql::{Name, Positioned, Request, Variables};
use async_graphql_value::{ConstValue, Value};
use std::collections::{HashMap, HashSet};

type Fields = HashMap<String, Type>;

/// The input types, and the arguments of every field, as the schema says.
pub(super) struct Lenient {
    inputs: HashMap<String, Fields>,
    /// By type, then field: its own type and its arguments.
    objects: HashMap<String, HashMap<String, (Type, Fields)>>,
}

fn fields(definitions: &[Positioned<InputValueDefinition>]) -> Fields {
    let one = |definition: &Positioned<InputValueDefinition>| (definition.node.name.node.to_string(), definition.node.ty.node.clone());
    definitions.iter().map(one).collect()
}

fn name_of(of: &Type) -> &str {
    match &of.base {
        BaseType::Named(name) => name.as_str(),
        BaseType::List(inner) => name_of(inner),
    }
}

impl Lenient {
    /// Reads the schema.
    pub(super) fn of(sdl: &str) -> Self {
        let mut this = Self {
            inputs: HashMap::new(),
            objects: HashMap::new(),
        };
        let definitions = parse_schema(sdl).map(|document| document.definitions).unwrap_or_default();
        for definition in definitions {
            let TypeSystemDefinition::Type(definition) = definition else {
                continue;
            };
            let name = definition.node.name.node.to_string();
            match definition.node.kind {
                TypeKind::InputObject(input) => {
                    this.inputs.insert(name, fields(&input.fields));
                }
                TypeKind::Object(object) => {
                    let fields = object.fields.iter().map(|field| {
                        let field = &field.node;
                        (field.name.node.to_string(), (field.ty.node.clone(), fields(&field.arguments)))
                    });
                    this.objects.insert(name, fields.collect());
                }
                _ => {}
            }
        }
        this
    }

    /// Eases the variables and the literals of a request whose query parses.
    pub(super) fn ease(&self, request: &mut Request) {
        let Ok(document) = request.parsed_query() else { return };
        let mut document = document.clone();
        let mut variables = std::mem::take(&mut request.variables);
        self.document(&mut document, &mut variables);
        request.variables = variables;
        request.set_parsed_query(document);
    }

    fn document(&self, document: &mut ExecutableDocument, variables: &mut Variables) {
        for operation in operations(document) {
            for definition in &operation.node.variable_definitions {
                let (name, kind) = (&definition.node.name.node, &definition.node.var_type.node);
                if let Some(value) = variables.get_mut(name) {
                    *value = self.constant(std::mem::take(value), kind);
                }
            }
            let root = match operation.node.ty {
                OperationType::Mutation => "Mutation",
                OperationType::Query | OperationType::Subscription => "Query",
            };
            self.selection(&mut operation.node.selection_set, root);
        }
        for fragment in document.fragments.values_mut() {
            let on = fragment.node.type_condition.node.on.node.to_string();
            self.selection(&mut fragment.node.selection_set, &on);
        }
        drop_unused(document);
    }

    fn selection(&self, selection: &mut Positioned<SelectionSet>, on: &str) {
        for item in &mut selection.node.items {
            match &mut item.node {
                Selection::Field(field) => {
                    let field = &mut field.node;
                    let found = self.objects.get(on).and_then(|fields| fields.get(field.name.node.as_str()));
                    let Some((kind, arguments)) = found else { continue };
                    for (name, value) in &mut field.arguments {
                        if let Some(kind) = arguments.get(name.node.as_str()) {
                            value.node = self.literal(std::mem::take(&mut value.node), kind);
                        }
                    }
                    self.selection(&mut field.selection_set, name_of(kind));
                }
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref();
                    let on = condition.map_or_else(|| on.to_owned(), |condition| condition.node.on.node.to_string());
                    self.selection(&mut fragment.node.selection_set, &on);
                }
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn constant(&self, value: ConstValue, kind: &Type) -> ConstValue {
        match (value, &kind.base) {
            (ConstValue::List(items), BaseType::List(of)) => {
                ConstValue::List(items.into_iter().map(|item| self.constant(item, of)).collect())
            }
            (value, BaseType::List(of)) => self.constant(value, of),
            (ConstValue::String(text), BaseType::Named(name)) => match boolean(&text, name) {
                Some(truth) => ConstValue::Boolean(truth),
                None => ConstValue::String(text),
            },
            (ConstValue::Object(members), BaseType::Named(name)) => match self.inputs.get(name.as_str()) {
                Some(fields) => {
                    let known = |(name, value): (Name, ConstValue)| {
                        let kind = fields.get(name.as_str())?;
                        Some((name, self.constant(value, kind)))
                    };
                    ConstValue::Object(members.into_iter().filter_map(known).collect())
                }
                None => ConstValue::Object(members),
            },
            (value, _) => value,
        }
    }

    fn literal(&self, value: Value, kind: &Type) -> Value {
        match (value, &kind.base) {
            (Value::List(items), BaseType::List(of)) => Value::List(items.into_iter().map(|item| self.literal(item, of)).collect()),
            (value, BaseType::List(of)) => self.literal(value, of),
            (Value::String(text), BaseType::Named(name)) => match boolean(&text, name) {
                Some(truth) => Value::Boolean(truth),
                None => Value::String(text),
            },
            (Value::Object(members), BaseType::Named(name)) => match self.inputs.get(name.as_str()) {
                Some(fields) => {
                    let known = |(name, value): (Name, Value)| {
                        let kind = fields.get(name.as_str())?;
                        Some((name, self.literal(value, kind)))
                    };
                    Value::Object(members.into_iter().filter_map(known).collect())
                }
                None => Value::Object(members),
            },
            (value, _) => value,
        }
    }
}

/// A variable that only stood in a field that was dropped, or nowhere, need not be declared.
fn drop_unused(document: &mut ExecutableDocument) {
    fn in_value(value: &Value, used: &mut HashSet<Name>) {
        match value {
            Value::Variable(name) => {
                used.insert(name.clone());
            }
            Value::List(items) => items.iter().for_each(|item| in_value(item, used)),
            Value::Object(members) => members.values().for_each(|member| in_value(member, used)),
            _ => {}
        }
    }
    fn in_selection(selection: &SelectionSet, used: &mut HashSet<Name>) {
        for item in &selection.items {
            let directives = item.node.directives().iter().flat_map(|directive| &directive.node.arguments);
            directives.for_each(|(_, value)| in_value(&value.node, used));
            match &item.node {
                Selection::Field(field) => {
                    field.node.arguments.iter().for_each(|(_, value)| in_value(&value.node, used));
                    in_selection(&field.node.selection_set.node, used);
                }
                Selection::InlineFragment(fragment) => in_selection(&fragment.node.selection_set.node, used),
                Selection::FragmentSpread(_) => {}
            }
        }
    }
    let mut used = HashSet::new();
    for (_, operation) in document.operations.iter() {
        in_selection(&operation.node.selection_set.node, &mut used);
    }
    for fragment in document.fragments.values() {
        in_selection(&fragment.node.selection_set.node, &mut used);
    }
    for operation in operations(document) {
        operation
            .node
            .variable_definitions
            .retain(|definition| used.contains(&definition.node.name.node));
    }
}

fn operations(document: &mut ExecutableDocument) -> Vec<&mut Positioned<OperationDefinition>> {
    match &mut document.operations {
        DocumentOperations::Single(operation) => vec![operation],
        DocumentOperations::Multiple(operations) => operations.values_mut().collect(),
    }
}

fn boolean(text: &str, kind: &Name) -> Option<bool> {
    if kind.as_str() != "Boolean" {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SDL: &str = "
        input CustomerInput { name: String, labels: [String], nested: [NestedInput] }
        input NestedInput { on: Boolean }
        type Query { one(id: ID): Customer }
        type Mutation { create(input: CustomerInput, flag: Boolean): Customer }
        type Customer { name(loud: Boolean): String }
    ";

    fn eased(query: &str, variables: serde_json::Value) -> (String, serde_json::Value) {
        let mut request = Request::new(query).variables(Variables::from_json(variables));
        Lenient::of(SDL).ease(&mut request);
        let document = format!("{:?}", request.parsed_query().unwrap());
        (document, serde_json::to_value(&request.variables).unwrap())
    }

    #[test]
    fn unknown_input_fields_are_dropped_from_literals_and_variables() {
        let query =
            "mutation ($i: CustomerInput, $x: Int) { a: create(input: $i) { name } b: create(input: {name: \"n\", newer: $x}) { name } }";
        let (document, variables) = eased(
            query,
            json!({ "i": { "name": "n", "newer": 1, "nested": [{ "on": "true", "off": 2 }] }, "x": 1 }),
        );
        assert_eq!(variables["i"], json!({ "name": "n", "nested": [{ "on": true }] }));
        assert!(!document.contains("newer"), "{document}");
        assert!(
            !document.contains("Name(\"x\")"),
            "its variable is not declared any more: {document}"
        );
    }

    #[test]
    fn words_stand_for_booleans_where_one_is_expected() {
        let query = "mutation ($f: Boolean) { create(flag: $f, input: {name: \"true\"}) { name(loud: \"false\") } }";
        let (document, variables) = eased(query, json!({ "f": "true" }));
        assert_eq!(variables["f"], json!(true));
        assert!(
            document.contains("Boolean(false)") && document.contains("String(\"true\")"),
            "{document}"
        );
        let (_, variables) = eased(query, json!({ "f": "yes" }));
        assert_eq!(variables["f"], json!("yes"), "anything else is left to be refused");
    }

    #[test]
    fn what_is_selected_is_left_alone() {
        let (document, _) = eased("{ one(id: 1) { nothing } }", json!({}));
        assert!(document.contains("nothing"), "{document}");
    }
}
