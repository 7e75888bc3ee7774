//! The published schema, and everything that can be asked for below a field of it.

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{BaseType, Type, TypeKind, TypeSystemDefinition};
use std::collections::{BTreeMap, BTreeSet};

/// A field of an object.
#[derive(Debug)]
struct Field {
    name: String,
    of: String,
    /// Whether it can be asked for without more.
    is_free: bool,
    /// Whether it is a list in pages.
    is_paged: bool,
}

/// Its objects with their fields.
#[derive(Debug)]
pub(crate) struct Schema(BTreeMap<String, Vec<Field>>);

fn name_of(ty: &Type) -> String {
    match &ty.base {
        BaseType::Named(name) => name.to_string(),
        BaseType::List(of) => name_of(of),
    }
}

impl Schema {
    pub(crate) fn published() -> Self {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema.graphql")).unwrap();
        let document = parse_schema(text).unwrap();
        let objects = document.definitions.into_iter().filter_map(|definition| {
            let TypeSystemDefinition::Type(definition) = definition else {
                return None;
            };
            let TypeKind::Object(object) = definition.node.kind else {
                return None;
            };
            let fields = object.fields.into_iter().map(|field| Field {
                name: field.node.name.node.to_string(),
                of: name_of(&field.node.ty.node),
                is_paged: field.node.arguments.iter().any(|argument| argument.node.name.node == "first"),
                is_free: field
                    .node
                    .arguments
                    .iter()
                    .all(|argument| argument.node.ty.node.nullable || argument.node.default_value.is_some()),
            });
            Some((definition.node.name.node.to_string(), fields.collect()))
        });
        let schema = Self(objects.collect());
        assert!(schema.0.len() > 100, "{:?}", schema.0.keys());
        schema
    }

    /// A request for one field of a root, with everything below it: each type once on every path, and no path of `without`.
    pub(crate) fn expanded(&self, request: &str, without: &BTreeSet<Vec<String>>) -> String {
        let start = request.find('{').unwrap() + 1;
        let (field, arguments) = root_field(&request[start..]);
        let root = if request.starts_with("mutation") { "Mutation" } else { "Query" };
        let of = &self.0[root].iter().find(|known| known.name == field).unwrap().of;
        let mut path = vec![field.to_owned()];
        let below = self.below(&[of], &mut path, without);
        format!("{} {field}{arguments} {{ __typename {below}}} }}", &request[..start])
    }

    fn below(&self, types: &[&str], path: &mut Vec<String>, without: &BTreeSet<Vec<String>>) -> String {
        let mut selection = String::new();
        let last = types.last().unwrap();
        // An edge has nothing but its node, which is among the nodes.
        for field in self.0[*last].iter().filter(|field| field.is_free && field.name != "edges") {
            path.push(field.name.clone());
            match (without.contains(path), self.0.contains_key(&field.of)) {
                (false, false) => selection += &format!("{} ", field.name),
                (false, true) if !types.contains(&field.of.as_str()) => {
                    let deeper: Vec<&str> = types.iter().copied().chain([field.of.as_str()]).collect();
                    // Short pages, so that what lists within lists could cost stays within what a limit can be.
                    let page = if field.is_paged { "(first: 10)" } else { "" };
                    let below = self.below(&deeper, path, without);
                    selection += &format!("{}{page} {{ __typename {below}}} ", field.name);
                }
                _ => {}
            }
            path.pop();
        }
        selection
    }
}

/// The name of a field and its arguments, parentheses included.
fn root_field(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap();
    let (name, rest) = text.split_at(end);
    if !rest.starts_with('(') {
        return (name, "");
    }
    let mut open = 0;
    for (place, letter) in rest.char_indices() {
        match letter {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return (name, &rest[..=place]);
        }
    }
    panic!("no end of arguments: {text}");
}

#[test]
fn a_request_is_expanded_to_all_that_hangs_below_it() {
    let schema = Schema::published();
    let request = "query ($i: ID!) { userLevelConfig(id: $i) { id } }";
    let all = schema.expanded(request, &BTreeSet::new());
    assert!(all.starts_with("query ($i: ID!) { userLevelConfig(id: $i) {"), "{all}");
    async_graphql::parser::parse_query(&all).unwrap();
    assert!(all.contains("instanceFlowConfig { __typename id instance {"), "{all}");
    let path = ["userLevelConfig", "flowConfigs"].map(str::to_owned).to_vec();
    let less = schema.expanded(request, &BTreeSet::from([path]));
    assert!(!less.contains("instanceFlowConfig"), "{less}");
}
