use super::*;
use proptest::prelude::*;

fn read(kind: DataType, result: &Value) -> Result<Offer, OfferError> {
    Offer::read(kind, None, result, 100)
}

fn element(key: &str, label: &str) -> Element {
    Element {
        key: key.into(),
        label: label.into(),
    }
}

#[test]
fn a_picklist_is_texts_or_keys_with_labels_each_once() {
    let given = json!(["a", { "key": "b", "label": "B" }, { "key": 3 }, "a", { "key": "c", "label": " " }]);
    let expected = vec![element("a", "a"), element("b", "B"), element("3", "3"), element("c", "c")];
    assert_eq!(read(DataType::Picklist, &given), Ok(Offer::Choices(expected)));
    for wrong in [
        json!(null),
        json!("a"),
        json!({ "key": "a" }),
        json!([null]),
        json!([""]),
        json!([{ "label": "x" }]),
        json!([["a"]]),
    ] {
        assert!(matches!(read(DataType::Picklist, &wrong), Err(OfferError::Shape(_))), "{wrong}");
    }
}

#[test]
fn objects_have_fields_and_all_of_it_is_counted() {
    let given = json!([
        { "object": { "key": "contact", "label": "Contact" }, "fields": [{ "key": "email" }], "defaultSelected": true },
        { "object": "deal" },
    ]);
    let Ok(Offer::Objects(objects)) = read(DataType::ObjectSelection, &given) else {
        panic!("no objects")
    };
    assert_eq!(objects[0].fields, [element("email", "email")]);
    assert!(objects[0].is_chosen && !objects[1].is_chosen && objects[1].fields.is_empty());
    let few = Offer::read(DataType::ObjectSelection, None, &given, 2);
    assert_eq!(few, Err(OfferError::TooMany(2)), "two objects and a field are three");
    assert!(Offer::read(DataType::ObjectSelection, None, &given, 3).is_ok());
    assert!(read(DataType::ObjectSelection, &json!([{ "fields": [] }])).is_err());
}

#[test]
fn a_field_map_has_rows_and_what_they_can_be_mapped_to() {
    let given = json!({
        "fields": [
            { "field": { "key": "name", "label": "Name" }, "defaultObject": { "key": "contact" }, "defaultField": { "key": "fullName" } },
            { "field": { "key": "mail" } },
        ],
        "options": [{ "object": { "key": "contact" }, "fields": [{ "key": "fullName" }, { "key": "email" }] }],
    });
    let Ok(Offer::Map(rows, objects)) = read(DataType::ObjectFieldMap, &given) else {
        panic!("no map")
    };
    assert_eq!(rows[0].mapped, Some(("contact".into(), "fullName".into())));
    assert_eq!((rows[1].mapped.clone(), objects[0].fields.len()), (None, 2));
    assert!(read(DataType::ObjectFieldMap, &json!({ "fields": [] })).is_err());
}

#[test]
fn other_kinds_have_a_value_to_begin_with() {
    let value = |kind, given| match read(kind, &given) {
        Ok(Offer::Value(value)) => Ok(value.unwrap_or_default()),
        other => Err(format!("{other:?}")),
    };
    for (kind, given, stored) in [
        (DataType::String, json!("x"), "x"),
        (DataType::String, json!(null), ""),
        (DataType::Number, json!(1.5), "1.5"),
        (DataType::Number, json!(" 7 "), "7"),
        (DataType::Boolean, json!(true), "true"),
        (DataType::Date, json!("2026-01-31"), "2026-01-31"),
        (DataType::Schedule, json!({ "value": "0 * * * *" }), "0 * * * *"),
        (DataType::Code, json!({ "a": 1 }), "{\"a\":1}"),
    ] {
        assert_eq!(value(kind, given), Ok(stored.to_owned()), "{kind:?}");
    }
    for (kind, given) in [
        (DataType::Number, json!("x")),
        (DataType::Boolean, json!(1)),
        (DataType::Date, json!({})),
    ] {
        assert!(value(kind, given).is_err(), "{kind:?}");
    }
    let pairs = Offer::read(DataType::String, Some(CollectionType::KeyValueList), &json!({ "a": "1" }), 9);
    assert_eq!(pairs, Ok(Offer::Value(Some("[{\"key\":\"a\",\"value\":\"1\"}]".into()))));
    let list = Offer::read(DataType::String, Some(CollectionType::ValueList), &json!([{}]), 9);
    assert!(list.is_err());
}

fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["name", "address"],
        "properties": {
            "name": { "type": "string", "title": "Name", "minLength": 2, "pattern": "^[a-z]+$" },
            "count": { "type": "integer", "minimum": 1, "maximum": 9 },
            "active": { "type": "boolean" },
            "kind": { "type": "string", "oneOf": [{ "const": "a", "title": "A" }, { "const": "b" }] },
            "tags": { "type": "array", "items": { "type": "string" }, "uniqueItems": true },
            "days": { "type": "array", "items": { "enum": [1, 2] } },
            "address": { "type": "object", "required": ["city"], "properties": { "city": { "type": "string" }, "a/b": { "type": "number" } } },
        },
    })
}

fn planned(schema: &Value) -> Vec<Control> {
    controls(schema, &Value::Null, 100).unwrap()
}

/// The data that these texts give, by pointer.
fn given(schema: &Value, texts: &[(&str, &[&'static str])]) -> Result<Value, Vec<Wrong>> {
    let of = |pointer: &str| texts.iter().find(|(known, _)| *known == pointer).map(|(_, texts)| texts.to_vec());
    let data = assemble(&planned(schema), &Value::Null, &of)?;
    let wrong = check(schema, &data);
    if wrong.is_empty() { Ok(data) } else { Err(wrong) }
}

#[test]
fn texts_of_controls_become_the_data_of_the_form_and_go_back() {
    let texts: [(&str, &[&str]); 8] = [
        ("/name", &["ada"]),
        ("/count", &["3"]),
        ("/active", &["false", "true"]),
        ("/kind", &["\"b\""]),
        ("/tags", &["x", " ", "y"]),
        ("/days", &["", "2"]),
        ("/address/city", &["Ulm"]),
        ("/address/a~1b", &["1.5"]),
    ];
    let expected = json!({
        "name": "ada", "count": 3, "active": true, "kind": "b", "tags": ["x", "y"], "days": [2],
        "address": { "city": "Ulm", "a/b": 1.5 },
    });
    assert_eq!(given(&schema(), &texts), Ok(expected.clone()));
    let all = planned(&schema());
    let of = |name: &str| super::texts(all.iter().find(|control| control.pointer == name).unwrap(), &expected);
    assert_eq!(of("/kind"), ["\"b\""]);
    assert_eq!(of("/tags"), ["x", "y"]);
    assert_eq!(of("/days"), ["2"]);
}

#[test]
fn what_is_against_the_schema_is_said_where_it_stands() {
    let wrong = |pointer: &str, text: &'static str| {
        let of = |known: &str| match known {
            _ if known == pointer => Some(vec![text]),
            "/name" => Some(vec!["ada"]),
            "/address/city" => Some(vec!["Ulm"]),
            _ => None,
        };
        let schema = schema();
        let found = match assemble(&planned(&schema), &Value::Null, &of) {
            Ok(data) => check(&schema, &data),
            Err(wrong) => wrong,
        };
        found.into_iter().map(|wrong| wrong.pointer).collect::<Vec<_>>()
    };
    for (pointer, text) in [
        ("/name", ""),
        ("/name", "a"),
        ("/name", "Ada"),
        ("/count", "0"),
        ("/count", "10"),
        ("/count", "1.5"),
        ("/kind", "\"c\""),
        ("/kind", "a"),
        ("/days", "3"),
        ("/address/city", ""),
    ] {
        assert_eq!(wrong(pointer, text), [pointer], "{text}");
    }
    assert!(wrong("/count", "").is_empty(), "what is not required may be left out");
}

#[test]
fn a_form_begins_with_its_data_and_with_defaults_where_it_has_none() {
    let schema = json!({ "properties": {
        "a": { "type": "string", "default": "x" },
        "b": { "type": "string", "default": "y" },
        "c": { "properties": { "d": { "default": 1 } } },
        "e": { "properties": {} },
    } });
    assert_eq!(
        begun(&schema, &json!({ "a": "own" })),
        json!({ "a": "own", "b": "y", "c": { "d": 1 } })
    );
    assert_eq!(begun(&schema, &Value::Null)["c"]["d"], 1);
}

#[test]
fn what_has_no_control_is_said_in_plain_words() {
    let reason = |property: Value| controls(&json!({ "type": "object", "properties": { "x": property } }), &Value::Null, 100).unwrap_err();
    assert_eq!(reason(json!({ "$ref": "#/definitions/x" })), "the keyword $ref");
    assert_eq!(
        reason(json!({ "type": "array", "items": { "type": "object" } })),
        "a list of objects"
    );
    assert_eq!(
        reason(json!({ "type": "string", "pattern": "(?=a)" })),
        "a pattern that looks around or back"
    );
    assert_eq!(reason(json!({ "type": ["string", "null"] })), "a value of the type several types");
    assert!(controls(&json!({ "type": "array" }), &Value::Null, 100).is_err());
    let mut deep = json!({ "type": "string" });
    for _ in 0..20 {
        deep = json!({ "type": "object", "properties": { "x": deep } });
    }
    assert!(controls(&deep, &Value::Null, 100).is_err());
    assert!(controls(&schema(), &Value::Null, 5).is_err(), "more than a page shows");
}

#[test]
fn a_layout_orders_names_and_leaves_out_and_one_that_is_not_known_does_nothing() {
    let element = |name: &str| json!({ "type": "Control", "scope": format!("#/properties/{name}"), "label": name.to_uppercase() });
    let layout = json!({
        "type": "VerticalLayout",
        "elements": [element("kind"), { "type": "Group", "label": "More", "elements": [element("address/properties/city")] }],
    });
    let arranged = controls(&schema(), &layout, 100).unwrap();
    assert_eq!((arranged[0].pointer.as_str(), arranged[0].label.as_str()), ("/kind", "KIND"));
    let ControlKind::Group(within) = &arranged[1].kind else {
        panic!("no group")
    };
    assert!(within[0].pointer == "/address/city" && within[0].is_required && arranged.len() == 2);
    let other = json!({ "type": "Categorization", "elements": [] });
    assert_eq!(controls(&schema(), &other, 100), Ok(planned(&schema())));
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z<&\"]{0,6}".prop_map(Value::from),
    ];
    let name = prop_oneof![
        Just("type"),
        Just("properties"),
        Just("items"),
        Just("enum"),
        Just("oneOf"),
        Just("const"),
        Just("required"),
        Just("elements"),
        Just("scope"),
        Just("key"),
        Just("label"),
        Just("object"),
        Just("fields"),
        Just("options"),
        Just("schema"),
        Just("uiSchema"),
        Just("data"),
        Just("pattern"),
        Just("minimum"),
    ];
    leaf.prop_recursive(5, 60, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((name.clone(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_a_data_source_gives_is_read_or_refused_within_its_bounds(given in anything(), data in anything()) {
        for kind in [DataType::Picklist, DataType::ObjectSelection, DataType::ObjectFieldMap, DataType::JsonForm, DataType::String] {
            match Offer::read(kind, None, &given, 7) {
                Ok(Offer::Choices(choices)) => prop_assert!(choices.len() <= 7 && choices.iter().all(|choice| !choice.key.is_empty())),
                Ok(Offer::Form(form)) => {
                    let _ = check(&form.schema, &data);
                    if let Ok(controls) = &form.controls {
                        prop_assert!(controls.len() <= 7);
                        // Nothing that a control may be filled in with makes the data fail to be an object.
                        let made = assemble(controls, &data, &|_| Some(vec!["1"]));
                        prop_assert!(made.is_err() || made.is_ok_and(|made| made.is_object()));
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_choice_that_was_not_offered_is_never_taken(text in "\\PC{0,8}") {
        let of = |pointer: &str| (pointer == "/kind").then(|| vec![text.as_str()]);
        if let Ok(data) = assemble(&planned(&schema()), &json!({ "name": "ada" }), &of) {
            prop_assert!(matches!(data.get("kind").and_then(Value::as_str), None | Some("a" | "b")));
        }
    }
}
