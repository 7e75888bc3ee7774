use super::*;
use perseat_domain::definition::{ActionRef, ComplexItem, Input, Reference, TemplatePart};
use perseat_domain::model::ConnectionValue;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

fn connection() -> Arc<Connection> {
    Arc::new(Connection {
        account: Vec::new(),
        variable: "acme".to_owned(),
        kind: ActionRef {
            component: "http".to_owned(),
            action: "bearer".to_owned(),
        },
        version: 3,
        registration: None,
        chosen: None,
        obstacle: None,
        value: ConnectionValue {
            fields: BTreeMap::from([("token".to_owned(), "s3cret".to_owned())]),
            token: Some(json!({"access_token": "s3cret"})),
        },
    })
}

fn scope_with(limits: Limits) -> Scope {
    let payload = json!({
        "headers": {"X-Acme-Event": "created", "plain": "p", "Plain": "q"},
        "body": {"data": {"items": [{"Line Item": 1}, {"Line Item": 2}], "X-Y": true, "empty": "", "headers": {"A": 1}}},
        "webhookUrls": {"My Flow": "https://example.com/a"},
    });
    let settings = [
        ("Base URL".to_owned(), Setting::Plain(json!("https://acme.test"))),
        ("Unset".to_owned(), Setting::Plain(Value::Null)),
        ("Acme Connection".to_owned(), Setting::Connection(connection())),
    ];
    let mut scope = Scope::new(
        "onTrigger",
        Arc::new(Results::of_json(payload.to_string().into())),
        settings.into_iter().collect(),
        limits,
    );
    scope.finish(
        "getFile",
        Arc::new(Results::of_value(json!({"headers": {"Accept": 1}, "size": 12}))),
    );
    scope.enter("eachFile", Arc::new(json!({"name": "a.txt"})));
    scope
}

fn scope() -> Scope {
    scope_with(Limits::default())
}

fn reference(text: &str) -> Reference {
    let mut parts = text.split('.').map(str::to_owned);
    Reference {
        step: parts.next().unwrap(),
        root: parts.next().unwrap(),
        path: parts.collect(),
    }
}

fn at(text: &str) -> Input {
    Input::Reference(reference(text))
}

fn literal(text: &str) -> Input {
    Input::Value(Some(text.to_owned()))
}

fn value(input: &Input) -> Value {
    match resolve(input, &scope()).unwrap() {
        Resolved::Value(value) => value,
        Resolved::Connection(_) => panic!("a connection"),
    }
}

#[test]
fn references_follow_paths_and_give_null_where_they_lead_nowhere() {
    for (path, expected) in [
        ("onTrigger.results.body.data.items.1.Line Item", json!(2)),
        ("onTrigger.results.body.data.X-Y", json!(true)),
        ("onTrigger.results.webhookUrls.My Flow", json!("https://example.com/a")),
        ("onTrigger.results.body.data.items.7", Value::Null),
        ("onTrigger.results.body.data.items.first", Value::Null),
        ("onTrigger.results.body.data.items.-1", Value::Null),
        ("onTrigger.results.webhookUrls.My Flow.deeper", Value::Null),
        ("getFile.results.size", json!(12)),
        ("getFile.results", json!({"headers": {"Accept": 1}, "size": 12})),
        ("eachFile.currentItem.name", json!("a.txt")),
        ("eachFile.currentItem", json!({"name": "a.txt"})),
    ] {
        assert_eq!(value(&at(path)), expected, "{path}");
    }
}

#[test]
fn only_the_triggers_headers_match_in_any_case() {
    assert_eq!(value(&at("onTrigger.results.headers.x-acme-event")), json!("created"));
    assert_eq!(value(&at("onTrigger.results.headers.Plain")), json!("q"), "an exact name wins");
    assert_eq!(value(&at("getFile.results.headers.accept")), Value::Null);
    assert_eq!(value(&at("onTrigger.results.body.data.headers.a")), Value::Null);
}

#[test]
fn a_step_or_loop_that_is_not_there_is_an_error() {
    let error = |text| resolve(&at(text), &scope()).unwrap_err();
    assert_eq!(error("nowhere.results.a"), ExpressionError::StepNotFound("nowhere".to_owned()));
    assert_eq!(error("getFile.currentItem"), ExpressionError::LoopNotFound("getFile".to_owned()));
    let mut left = scope();
    left.leave("eachFile");
    assert!(resolve(&at("eachFile.currentItem"), &left).is_err());
}

#[test]
fn templates_turn_values_into_text() {
    let parts = vec![
        TemplatePart::ConfigVar("Base URL".to_owned()),
        TemplatePart::Text("/files/".to_owned()),
        TemplatePart::Reference(reference("getFile.results.size")),
        TemplatePart::Text("?i=".to_owned()),
        TemplatePart::Reference(reference("onTrigger.results.body.data.items.0")),
        TemplatePart::Reference(reference("onTrigger.results.missing")),
        TemplatePart::ConfigVar("Unset".to_owned()),
    ];
    assert_eq!(
        value(&Input::Template(parts)),
        json!("https://acme.test/files/12?i={\"Line Item\":1}")
    );
}

#[test]
fn a_connection_is_an_input_of_its_own_and_never_text() {
    let whole = resolve(&Input::ConfigVar("Acme Connection".to_owned()), &scope()).unwrap();
    let Resolved::Connection(whole) = whole else { panic!("data") };
    assert_eq!(
        (whole.field("token"), whole.token("access_token")),
        (Some("s3cret"), Some("s3cret"))
    );
    assert!(!format!("{whole:?} {:?}", scope()).contains("s3cret"));

    let in_text = Input::Template(vec![TemplatePart::ConfigVar("Acme Connection".to_owned())]);
    let in_list = Input::Complex(vec![unnamed(Input::ConfigVar("Acme Connection".to_owned()))]);
    for input in [in_text, in_list] {
        let error = resolve(&input, &scope()).unwrap_err();
        assert_eq!(error, ExpressionError::ConnectionAsData("Acme Connection".to_owned()));
    }
}

fn unnamed(input: Input) -> ComplexItem {
    ComplexItem::Input { name: None, input }
}

fn named(name: Input, input: Input) -> ComplexItem {
    ComplexItem::Input {
        name: Some(Box::new(name)),
        input,
    }
}

#[test]
fn complex_inputs_become_lists_and_pairs() {
    let list = Input::Complex(vec![unnamed(literal("a")), unnamed(at("getFile.results.size"))]);
    assert_eq!(value(&list), json!(["a", 12]));
    let pairs = Input::Complex(vec![
        named(literal("Accept"), literal("text/plain")),
        named(at("getFile.results.size"), Input::ConfigVar("Base URL".to_owned())),
    ]);
    assert_eq!(
        value(&pairs),
        json!([{"key": "Accept", "value": "text/plain"}, {"key": "12", "value": "https://acme.test"}])
    );
}

#[test]
fn values_beyond_the_limits_are_refused() {
    let shallow = scope_with(Limits { bytes: 4096, depth: 2 });
    let narrow = scope_with(Limits { bytes: 64, depth: 2 });
    let fails = |input: &Input| resolve(input, &narrow).unwrap_err();
    assert_eq!(fails(&at("onTrigger.results")), ExpressionError::TooLarge(64));
    assert_eq!(
        resolve(&at("onTrigger.results"), &shallow).unwrap_err(),
        ExpressionError::TooDeep(2)
    );
    assert_eq!(fails(&literal(&"x".repeat(65))), ExpressionError::TooLarge(64));
    let repeated = Input::Template(vec![TemplatePart::ConfigVar("Base URL".to_owned()); 4]);
    assert_eq!(fails(&repeated), ExpressionError::TooLarge(64));
    let nested = Input::Complex(vec![unnamed(Input::Complex(vec![unnamed(Input::Complex(Vec::new()))]))]);
    assert_eq!(fails(&nested), ExpressionError::TooDeep(2));
    assert!(resolve(&at("getFile.results"), &narrow).is_ok());
}

/// The branch that is taken where `Yes` is for `[operator, left, right]`.
fn choose(operator: &str, left: &Value, right: &Value) -> Result<String, ExpressionError> {
    let mut scope = scope();
    scope.finish("left", Arc::new(Results::of_value(left.clone())));
    scope.finish("right", Arc::new(Results::of_value(right.clone())));
    let term = Input::Complex(vec![
        ComplexItem::Operator(operator.to_owned()),
        unnamed(at("left.results")),
        unnamed(at("right.results")),
    ]);
    let branches = Input::Complex(vec![named(literal("Yes"), term)]);
    branch_on_expression(&branches, &scope)
}

/// `true` if `[operator, left, right]` holds.
fn holds(operator: &str, left: &Value, right: &Value) -> bool {
    choose(operator, left, right).unwrap() == "Yes"
}

#[test]
fn a_list_is_looked_through_in_a_time_that_grows_with_its_length_and_not_with_what_is_looked_for() {
    let wanted = Value::String(json!(vec!["a"; 4_000]).to_string());
    let list = |members| Value::Array(vec![json!(1); members]);
    let took = |members| {
        let list = list(members);
        let begun = std::time::Instant::now();
        assert!(!holds("contains", &list, &wanted));
        begun.elapsed()
    };
    let few = took(1).max(took(1));
    assert!(took(20_000) < few * 2_000, "the text is read anew for each member");
}

#[test]
fn operators_compare_loosely() {
    let null = Value::Null;
    for (operator, left, right, expected) in [
        ("equal", json!("5"), json!(5), true),
        ("equal", json!("5.0"), json!(5), true),
        ("equal", json!("true"), json!(true), true),
        ("equal", json!({"a": ["1"]}), json!("{\"a\": [1]}"), true),
        ("equal", null.clone(), json!(0), false),
        ("equal", json!("a"), json!("A"), false),
        ("notEqual", json!("a"), json!("b"), true),
        ("exactlyMatches", json!("5"), json!(5), true),
        ("exactlyMatches", json!(true), json!(1), false),
        ("doesNotExactlyMatch", json!(true), json!(1), true),
        ("greaterThan", json!("10"), json!("9"), true),
        ("greaterThan", json!("b"), json!("a"), true),
        ("greaterThan", json!("a"), json!(1), false),
        ("greaterThanOrEqual", json!(2), json!("2"), true),
        ("lessThan", json!("10"), json!("9"), false),
        ("lessThanOrEqual", json!([]), json!(1), false),
        ("in", json!("b"), json!(["a", "b"]), true),
        ("in", json!(2), json!("[1, 2]"), true),
        ("in", json!("ell"), json!("hello"), true),
        ("in", json!("k"), json!({"k": null}), true),
        ("in", json!("k"), null, false),
        ("notIn", json!("z"), json!(["a"]), true),
        ("contains", json!(["a", "b"]), json!("b"), true),
        ("doesNotContain", json!("hello"), json!("z"), true),
        ("startsWith", json!("he"), json!("hello"), true),
        ("startsWith", json!("hello"), json!("he"), false),
        ("doesNotStartWith", json!("x"), json!("hello"), true),
        ("endsWith", json!("lo"), json!("hello"), true),
        ("doesNotEndWith", json!("lo"), json!("hello"), false),
        ("dateTimeAfter", json!("2024-05-02"), json!("2024-05-01T23:59:59Z"), true),
        ("dateTimeAfter", json!("2024"), json!("2023-12-31"), true),
        (
            "dateTimeBefore",
            json!("2024-05-01T10:00:00+02:00"),
            json!("2024-05-01T09:00:00Z"),
            true,
        ),
        ("dateTimeSame", json!(1_714_521_600_000i64), json!("2024-05-01"), true),
        ("dateTimeSame", json!(1_616_198_400), json!("2021-03-20T00:00:00Z"), true),
        ("dateTimeSame", json!("1616198400"), json!("2021-03-20"), true),
        ("dateTimeSame", json!("1616198400.5"), json!("2021-03-20T00:00:00.5Z"), true),
        ("dateTimeSame", json!("1714521600000"), json!(1_714_521_600), true),
        ("dateTimeAfter", json!(1_616_198_400), json!("2020"), true),
        ("dateTimeBefore", json!(-86_400), json!("1970-01-01"), true),
    ] {
        assert_eq!(holds(operator, &left, &right), expected, "{left} {operator} {right}");
    }
}

#[test]
fn what_is_no_date_has_no_place_before_or_after_one() {
    for wrong in [json!("no date"), json!(""), json!("inf"), json!(true), json!({}), Value::Null] {
        for operator in ["dateTimeAfter", "dateTimeBefore", "dateTimeSame"] {
            for (left, right) in [(&wrong, &json!("2024-05-01")), (&json!("2024-05-01"), &wrong)] {
                let found = choose(operator, left, right);
                assert!(
                    matches!(found, Err(ExpressionError::Condition(_))),
                    "{left} {operator} {right}: {found:?}"
                );
            }
        }
    }
}

#[test]
fn unary_operators_ignore_a_second_operand() {
    let dummy = json!("dummy");
    for (operator, left, expected) in [
        ("isTrue", json!("Yes"), true),
        ("isTrue", json!("no"), false),
        ("isTrue", json!([]), true),
        ("isFalse", json!("FALSE"), true),
        ("isFalse", json!(0), true),
        ("exists", json!("x"), true),
        ("exists", json!(""), false),
        ("exists", json!(0), false),
        ("exists", json!({}), true),
        ("doesNotExist", Value::Null, true),
        ("isEmpty", json!("[]"), true),
        ("isEmpty", json!("123"), false),
        ("isEmpty", Value::Null, true),
        ("isNotEmpty", json!([1]), true),
    ] {
        assert_eq!(holds(operator, &left, &dummy), expected, "{operator} {left}");
    }
}

fn term(operator: &str, operand: &str) -> ComplexItem {
    ComplexItem::List(vec![ComplexItem::Operator(operator.to_owned()), unnamed(literal(operand))])
}

fn group(operator: &str, terms: Vec<ComplexItem>) -> Input {
    let mut list = vec![ComplexItem::Operator(operator.to_owned())];
    list.extend(terms);
    Input::Complex(list)
}

#[test]
fn the_first_branch_that_holds_wins_and_else_takes_the_rest() {
    let never = group("and", vec![term("isTrue", "yes"), term("isTrue", "no")]);
    let always = group("or", vec![term("isTrue", "no"), term("isTrue", "yes")]);
    let branch = |conditions: Vec<ComplexItem>| branch_on_expression(&Input::Complex(conditions), &scope()).unwrap();
    assert_eq!(
        branch(vec![
            named(literal("First"), never.clone()),
            named(literal("Second"), always.clone()),
            named(literal("Third"), always),
        ]),
        "Second"
    );
    assert_eq!(branch(vec![named(literal("First"), never)]), ELSE);
    assert_eq!(branch(Vec::new()), ELSE);
}

#[test]
fn branches_by_value_compare_loosely_and_fall_to_else() {
    let mappings = Input::Complex(vec![
        named(literal("Created"), literal("created")),
        named(literal("Twelve"), literal("12")),
    ]);
    let branch = |input: &Input| branch_on_value(input, &mappings, &scope()).unwrap();
    assert_eq!(branch(&at("onTrigger.results.headers.x-acme-event")), "Created");
    assert_eq!(branch(&at("getFile.results.size")), "Twelve");
    assert_eq!(branch(&at("getFile.results.other")), ELSE);
}

#[test]
fn malformed_conditions_are_errors() {
    for conditions in [
        literal("text"),
        Input::Complex(vec![unnamed(literal("no name"))]),
        Input::Complex(vec![named(literal("A"), Input::Complex(Vec::new()))]),
        Input::Complex(vec![named(literal("A"), group("resembles", Vec::new()))]),
        Input::Complex(vec![named(
            literal("A"),
            group("and", vec![ComplexItem::Operator("or".to_owned())]),
        )]),
    ] {
        assert!(
            matches!(branch_on_expression(&conditions, &scope()), Err(ExpressionError::Condition(_))),
            "{conditions:?}"
        );
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("results".to_owned()),
        Just("currentItem".to_owned()),
        Just("onTrigger".to_owned()),
        Just("headers".to_owned()),
        Just("Base URL".to_owned()),
        Just("and".to_owned()),
        Just("dateTimeAfter".to_owned()),
        Just("in".to_owned()),
        "\\PC{0,12}",
        "[-0-9TZ:.+]{0,24}",
        "[\\[\\]{}\",0-9a-z]{0,16}",
    ]
}

fn any_reference() -> impl Strategy<Value = Reference> {
    (any_text(), any_text(), prop::collection::vec(any_text(), 0..4)).prop_map(|(step, root, path)| Reference { step, root, path })
}

fn any_input() -> impl Strategy<Value = Input> {
    let part = prop_oneof![
        any_text().prop_map(TemplatePart::Text),
        any_text().prop_map(TemplatePart::ConfigVar),
        any_reference().prop_map(TemplatePart::Reference),
    ];
    let leaf = prop_oneof![
        Just(Input::Value(None)),
        any_text().prop_map(|text| Input::Value(Some(text))),
        any_text().prop_map(Input::ConfigVar),
        any_reference().prop_map(Input::Reference),
        prop::collection::vec(part, 0..4).prop_map(Input::Template),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let item = prop_oneof![
            any_text().prop_map(ComplexItem::Operator),
            (prop::option::of(inner.clone()), inner.clone()).prop_map(|(name, input)| ComplexItem::Input {
                name: name.map(Box::new),
                input
            }),
            prop::collection::vec(inner.prop_map(unnamed), 0..3).prop_map(ComplexItem::List),
        ];
        prop::collection::vec(item, 0..4).prop_map(Input::Complex)
    })
}

proptest! {
    #[test]
    fn no_input_makes_the_resolver_panic_or_exceed_its_limits(input in any_input(), other in any_input()) {
        let limits = Limits { bytes: 256, depth: 4 };
        let scope = scope_with(limits);
        if let Ok(Resolved::Value(value)) = resolve(&input, &scope) {
            let fits = super::scope::Budget::of(Limits { bytes: 1024, ..limits }).fits(&value);
            prop_assert_eq!(fits, Ok(()));
        }
        let _ = branch_on_expression(&input, &scope);
        let _ = branch_on_value(&other, &input, &scope);
    }

    #[test]
    fn no_pair_of_texts_makes_an_operator_panic(left in any_text(), right in any_text(), which in 2..operator_words().len()) {
        let (operator, _) = operator_words()[which];
        let _ = choose(operator, &Value::String(left), &Value::String(right));
    }
}

#[test]
fn json_that_is_sent_on_is_the_same_however_often_it_was_looked_at_and_within_the_limits() {
    let given = r#"{"list":[1.50, [2]],"a":1}"#;
    let with = |limits| {
        let mut scope = scope_with(limits);
        scope.finish("before", Arc::new(Results::of_json(given.into())));
        scope
    };
    let scope = with(Limits::default());
    for _ in 0..20 {
        assert_eq!(json_of(&at("before.results.list"), &scope), Ok(Some("[1.50, [2]]")));
        assert!(resolve(&at("before.results.a"), &scope).is_ok());
    }
    assert_eq!(json_of(&at("before.results.none"), &scope), Ok(None));
    assert_eq!(json_of(&literal("x"), &scope), Ok(None));
    let limited = |bytes, depth| json_of(&at("before.results.list"), &with(Limits { bytes, depth })).map(|json| json.is_some());
    // Four values of eight each.
    assert_eq!(limited(32, 2), Ok(true));
    assert_eq!(limited(31, 2), Err(ExpressionError::TooLarge(31)));
    assert_eq!(limited(10, 2), Err(ExpressionError::TooLarge(10)));
    for bytes in [32, 1 << 20] {
        assert_eq!(limited(bytes, 1), Err(ExpressionError::TooDeep(1)));
    }
}
