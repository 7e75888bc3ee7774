use super::*;
use std::fmt::Write as _;

#[test]
fn text_that_is_no_definition_is_refused_with_one_problem() {
    for (yaml, expected) in [
        ("", "0:0 yaml_invalid "),
        ("# nothing\n", "0:0 yaml_invalid "),
        ("just text", "1:1 type_mismatch "),
        ("- a\n- b\n", "1:1 type_mismatch "),
        ("a: 1\n---\nb: 2\n", "2:1 yaml_invalid "),
        ("a: &a [*a]\n", "1:8 yaml_invalid "),
        ("? [a]\n: b\n", "1:3 yaml_invalid "),
        ("name: Old\ntrigger: {}\nsteps: []\n", "1:1 format_obsolete "),
        ("definitionVersion: 6\nname: X\nflows: []\n", "1:20 version_unsupported "),
    ] {
        check(yaml, &[expected]);
    }
    let broken = parsed("a: [1, 2\nb: }").unwrap_err();
    assert_eq!(broken[0].code, Code::YamlInvalid);
    assert!(broken[0].line >= 1);
}

#[test]
fn an_alias_bomb_is_counted_not_expanded() {
    let mut yaml = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let alias = format!("*a{}", level - 1);
        let _ = writeln!(yaml, "b{level}: &a{level} [{}]", vec![alias; 10].join(", "));
    }
    let problems = parsed(&yaml).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [Code::TooLarge]);
}

#[test]
fn an_alias_counts_with_the_length_of_its_text() {
    let limits = Limits {
        bytes: 8_000,
        ..Limits::default()
    };
    let text = "x".repeat(1_000);
    let is_too_large = |uses: usize, end: &str| {
        let yaml = format!("name: &long {text}\ndescription: [{}]{end}", vec!["*long"; uses].join(", "));
        let problems = parse(&yaml, &Shelf, &Previous::default(), &limits).unwrap_err();
        problems.iter().any(|problem| problem.code == Code::TooLarge)
    };
    assert!(!is_too_large(30, ""));
    assert!(is_too_large(32, ""));
    assert!(is_too_large(800, ""));
    assert!(
        is_too_large(5, "\nflows: [&a [*long, *long], &b [*a, *a, *a], [*b, *b, *b, *b, *b]]"),
        "in lists"
    );
}

#[test]
fn deep_nesting_ends_at_the_limit() {
    for yaml in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "flows: &a ".to_owned() + &"[".repeat(100_000),
    ] {
        let problems = parsed(&yaml).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(matches!(problems[0].code, Code::TooLarge | Code::YamlInvalid), "{:?}", problems[0]);
    }
}

#[test]
fn depth_counts_through_aliases() {
    let limits = Limits {
        depth: 6,
        ..Limits::default()
    };
    let depth = |yaml: &str| parse(yaml, &Shelf, &Previous::default(), &limits).unwrap_err()[0].code;
    assert_eq!(depth("a: &a [[[[x]]]]\nb: [[*a]]\n"), Code::TooLarge);
    assert_ne!(depth("a: &a [[[x]]]\nb: [[*a]]\n"), Code::TooLarge);
}

#[test]
fn long_text_and_many_values_are_refused() {
    let limits = Limits {
        bytes: 200,
        nodes: 40,
        ..Limits::default()
    };
    let refused = |yaml: &str| parse(yaml, &Shelf, &Previous::default(), &limits).unwrap_err()[0].code;
    assert_eq!(refused(&format!("name: {}", "x".repeat(200))), Code::TooLarge);
    assert_eq!(refused(&format!("name: [{}]", "1,".repeat(40))), Code::TooLarge);
}

#[test]
fn problems_beyond_the_limit_are_counted() {
    let limits = Limits {
        diagnostics: 3,
        ..Limits::default()
    };
    let keys: String = (0..10).fold(String::new(), |mut keys, n| {
        let _ = writeln!(keys, "wrong{n}: 1");
        keys
    });
    let problems = parse(&with_top(&keys), &Shelf, &Previous::default(), &limits).unwrap_err();
    assert_eq!(problems.len(), 3);
    assert!(problems[2].message.ends_with("(and 7 more problems)"), "{}", problems[2].message);
}

#[test]
fn many_steps_and_references_are_read_in_time_that_does_not_explode() {
    let mut steps = String::new();
    for n in 0..4000 {
        steps += &logs(&format!("Step {n}"), "{type: reference, value: nowhere.results}");
    }
    let problems = parsed(&one_flow(&steps)).unwrap_err();
    assert_eq!(problems.len(), Limits::default().diagnostics);
}

#[test]
fn long_names_are_cut_in_messages() {
    let name = "n".repeat(10_000);
    let problems = parsed(&with_top(&format!("{name}: 1\n"))).unwrap_err();
    assert!(problems[0].to_string().len() < 300);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[ -~\\n]{0,200}", cut in 0usize..2000) {
        let _ = parsed(&text);
        let _ = redact(&text, &Shelf, &Limits::default());
        let yaml = one_flow(&logs("Note", "{type: template, value: '{{$hook.results.body}}'}"));
        let cut = cut.min(yaml.len());
        let _ = parsed(&format!("{}{text}{}", &yaml[..cut], &yaml[cut..]));
    }
}
