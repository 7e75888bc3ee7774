//! A JSON schema as controls of a form: the part of it that has a control, or what of it has none.

use serde_json::Value;
use std::collections::BTreeSet;

/// One control.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// Where its value stands in the data: a JSON pointer (`/address/city`); empty for a group.
    pub pointer: String,
    /// What it is called.
    pub label: String,
    /// What it is for.
    pub description: String,
    /// Whether something must be filled in.
    pub is_required: bool,
    /// How.
    pub kind: ControlKind,
}

/// How a value is filled in.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlKind {
    /// Controls that belong together.
    Group(Vec<Control>),
    /// Text; as a date where the schema says so.
    Text {
        /// Whether it is a date.
        is_date: bool,
    },
    /// A number.
    Number {
        /// Without a fraction.
        is_integer: bool,
        /// The least.
        least: Option<f64>,
        /// The most.
        most: Option<f64>,
    },
    /// Yes or no.
    Flag,
    /// One of these.
    Choice(Vec<Pick>),
    /// Any of these.
    Several(Vec<Pick>),
    /// Lines of text, or of numbers.
    List {
        /// Whether each is a number.
        is_number: bool,
        /// Without fractions.
        is_integer: bool,
    },
}

/// Something to choose.
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    /// The value.
    pub value: Value,
    /// What is shown.
    pub label: String,
}

impl Pick {
    /// The value in a form: its JSON.
    #[must_use]
    pub fn text(&self) -> String {
        self.value.to_string()
    }
}

/// Keywords that change what is valid and have no control here.
const UNSUPPORTED: [&str; 19] = [
    "$ref",
    "$dynamicRef",
    "allOf",
    "anyOf",
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "propertyNames",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "contains",
    "prefixItems",
    "minProperties",
    "maxProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
];

/// Objects within one another. No key: nobody fills in a form that nests deeper.
const DEEPEST: usize = 8;

/// The controls of a schema in the order of its layout (`uiSchema`), at most `most`; else what of it cannot be shown, in plain
/// words. A layout of another kind than vertical, horizontal and group counts as none: then the schema's own order holds.
///
/// # Errors
/// The words.
pub fn controls(schema: &Value, layout: &Value, most: usize) -> Result<Vec<Control>, String> {
    let mut plan = Plan { schema, left: most };
    let whole = plan.object(schema, "", 0)?;
    plan.left = most;
    match plan.arrange(layout, 0)? {
        Some(arranged) => Ok(arranged),
        None => Ok(whole),
    }
}

struct Plan<'s> {
    schema: &'s Value,
    left: usize,
}

impl Plan<'_> {
    fn object(&mut self, schema: &Value, pointer: &str, depth: usize) -> Result<Vec<Control>, String> {
        if depth > DEEPEST {
            return Err(format!("objects nested deeper than {DEEPEST} levels"));
        }
        supported(schema)?;
        if !matches!(schema.get("type"), None | Some(Value::String(_))) || type_of(schema) != "object" {
            return Err("a form that is no object".to_owned());
        }
        if matches!(schema.get("additionalProperties"), Some(Value::Object(_))) {
            return Err("properties of any name (additionalProperties)".to_owned());
        }
        let required = required(schema);
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut controls = Vec::new();
        for (name, property) in properties.into_iter().flatten() {
            let pointer = format!("{pointer}/{}", escaped(name));
            let is_required = required.contains(name.as_str());
            controls.push(self.control(name, property, pointer, is_required, depth)?);
        }
        Ok(controls)
    }

    fn control(&mut self, name: &str, schema: &Value, pointer: String, is_required: bool, depth: usize) -> Result<Control, String> {
        self.left = self.left.checked_sub(1).ok_or("more controls than a page shows")?;
        supported(schema)?;
        let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let label = Some(text("title")).filter(|title| !title.is_empty());
        let kind = match options(schema)? {
            Some(options) => {
                self.left = self.left.checked_sub(options.len()).ok_or("more choices than a page shows")?;
                ControlKind::Choice(options)
            }
            None => self.kind(schema, &pointer, depth)?,
        };
        Ok(Control {
            label: label.unwrap_or_else(|| name.to_owned()),
            description: text("description"),
            is_required,
            pointer,
            kind,
        })
    }

    fn kind(&mut self, schema: &Value, pointer: &str, depth: usize) -> Result<ControlKind, String> {
        match type_of(schema) {
            "string" => Ok(ControlKind::Text {
                is_date: schema.get("format").and_then(Value::as_str) == Some("date"),
            }),
            kind @ ("number" | "integer") => {
                let bound =
                    |inclusive: &str, exclusive: &str| schema.get(inclusive).or_else(|| schema.get(exclusive)).and_then(Value::as_f64);
                Ok(ControlKind::Number {
                    is_integer: kind == "integer",
                    least: bound("minimum", "exclusiveMinimum"),
                    most: bound("maximum", "exclusiveMaximum"),
                })
            }
            "boolean" => Ok(ControlKind::Flag),
            "object" => self.object(schema, pointer, depth + 1).map(ControlKind::Group),
            "array" => self.list(schema),
            "" => Err("a value without a type".to_owned()),
            other => Err(format!("a value of the type {other}")),
        }
    }

    fn list(&mut self, schema: &Value) -> Result<ControlKind, String> {
        let items = schema.get("items").filter(|items| items.is_object()).ok_or("a list of anything")?;
        supported(items)?;
        if let Some(options) = options(items)? {
            self.left = self.left.checked_sub(options.len()).ok_or("more choices than a page shows")?;
            return Ok(ControlKind::Several(options));
        }
        match type_of(items) {
            "string" => Ok(ControlKind::List {
                is_number: false,
                is_integer: false,
            }),
            kind @ ("number" | "integer") => Ok(ControlKind::List {
                is_number: true,
                is_integer: kind == "integer",
            }),
            "object" => Err("a list of objects".to_owned()),
            other => Err(format!("a list of {other}")),
        }
    }

    /// The controls that a layout names; `None` where it is of a kind that is not known here.
    fn arrange(&mut self, layout: &Value, depth: usize) -> Result<Option<Vec<Control>>, String> {
        let kind = layout.get("type").and_then(Value::as_str).unwrap_or_default();
        let is_known = matches!(kind, "VerticalLayout" | "HorizontalLayout" | "Group");
        let elements = layout.get("elements").and_then(Value::as_array);
        let (true, Some(elements), true) = (is_known, elements, depth <= DEEPEST) else {
            return Ok(None);
        };
        let mut controls = Vec::new();
        for element in elements {
            let label = element.get("label").and_then(Value::as_str);
            match element.get("type").and_then(Value::as_str) {
                Some("Control") => {
                    let Some(mut control) = self.scoped(element)? else {
                        return Ok(None);
                    };
                    if let Some(label) = label {
                        control.label = label.to_owned();
                    }
                    controls.push(control);
                }
                _ => match self.arrange(element, depth + 1)? {
                    None => return Ok(None),
                    Some(within) if element.get("type").and_then(Value::as_str) == Some("Group") => controls.push(Control {
                        pointer: String::new(),
                        label: label.unwrap_or_default().to_owned(),
                        description: String::new(),
                        is_required: false,
                        kind: ControlKind::Group(within),
                    }),
                    Some(within) => controls.extend(within),
                },
            }
        }
        Ok(Some(controls))
    }

    /// The control of `#/properties/a/properties/b`.
    fn scoped(&mut self, element: &Value) -> Result<Option<Control>, String> {
        let scope = element.get("scope").and_then(Value::as_str).unwrap_or_default();
        let Some(path) = scope.strip_prefix("#/properties/") else {
            return Ok(None);
        };
        let (mut schema, mut pointer, mut is_required, mut last) = (self.schema, String::new(), false, String::new());
        for (depth, name) in path.split("/properties/").enumerate() {
            let name = name.replace("~1", "/").replace("~0", "~");
            let Some(property) = schema.get("properties").and_then(|all| all.get(&name)).filter(|_| depth <= DEEPEST) else {
                return Ok(None);
            };
            is_required = required(schema).contains(name.as_str());
            pointer = format!("{pointer}/{}", escaped(&name));
            (schema, last) = (property, name);
        }
        let schema = schema.clone();
        self.control(&last, &schema, pointer, is_required, 0).map(Some)
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn required(schema: &Value) -> BTreeSet<&str> {
    let names = schema.get("required").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The type of a schema; of one without, what its other keywords say.
pub(super) fn type_of(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(_) => "several types",
        None if schema.get("properties").is_some() => "object",
        None if schema.get("items").is_some() => "array",
        None => "",
    }
}

fn supported(schema: &Value) -> Result<(), String> {
    let Some(members) = schema.as_object() else {
        return Err("a schema that is no object".to_owned());
    };
    if let Some(word) = UNSUPPORTED.iter().find(|word| members.contains_key(**word)) {
        return Err(format!("the keyword {word}"));
    }
    match members.get("pattern").and_then(Value::as_str) {
        Some(pattern) if super::check::pattern(pattern).is_none() => Err("a pattern that looks around or back".to_owned()),
        _ => Ok(()),
    }
}

/// What `enum` or `oneOf` offers to choose.
fn options(schema: &Value) -> Result<Option<Vec<Pick>>, String> {
    let option = |value: &Value, label: Option<&str>| Pick {
        label: match (label, value) {
            (Some(label), _) => label.to_owned(),
            (None, Value::String(text)) => text.clone(),
            (None, other) => other.to_string(),
        },
        value: value.clone(),
    };
    if let Some(Value::Array(values)) = schema.get("enum") {
        return Ok(Some(values.iter().map(|value| option(value, None)).collect()));
    }
    let Some(one_of) = schema.get("oneOf") else { return Ok(None) };
    let constants = one_of.as_array().into_iter().flatten().map(|item| {
        let title = item.get("title").and_then(Value::as_str);
        item.get("const").map(|value| option(value, title))
    });
    let constants: Option<Vec<Pick>> = constants.collect();
    match constants {
        Some(constants) => Ok(Some(constants)),
        None => Err("a choice among schemas (oneOf)".to_owned()),
    }
}
