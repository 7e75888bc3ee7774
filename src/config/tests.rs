use super::*;
use crate::config::value::Count;

fn sources(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    let own = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    Sources {
        file: Some((PathBuf::from("perseat.toml"), file.to_owned())),
        environment: own(environment),
        flags: own(flags),
    }
}

fn problems(file: &str) -> Vec<String> {
    Config::load(&sources(file, &[], &[]), 2)
        .unwrap_err()
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn config(file: &str) -> Config {
    Config::load(&sources(file, &[], &[]), 2).unwrap()
}

#[test]
fn nothing_given_is_a_whole_configuration() {
    let config = Config::load(&Sources::default(), 2).unwrap();
    assert_eq!(config.hooks.listen.to_string(), "127.0.0.1:3000");
    assert_eq!(config.segment(), Size::bytes(64 << 20));
    assert_eq!(config.backlog_bytes().to_string(), "2560MiB");
    assert_eq!(config.front_threads(), 2);
    assert_eq!(config.owner_arbiters(), 1);
    assert_eq!(config.socket(), PathBuf::from("./data/perseat.sock"));
    assert!(config.warnings().is_empty());
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let file = "[admission]\nuser = 1\nflow = 1\ncustomer = 1";
    let environment = [
        ("PERSEAT_ADMISSION__FLOW", "2"),
        ("PERSEAT_ADMISSION__CUSTOMER", "2"),
        ("HOME", "/"),
    ];
    let config = Config::load(&sources(file, &environment, &[("admission.customer", "3")]), 2).unwrap();
    assert_eq!(
        (config.admission.user, config.admission.flow, config.admission.customer),
        (Count::new(1), Count::new(2), Count::new(3))
    );
}

#[test]
fn every_problem_of_every_source_is_reported_at_once_with_its_place() {
    let file = "public-url = 3\n\n[front]\nmax-bdy = \"1MiB\"\nheader-timeout = \"ten\"\n\n[frnt]\nx = 1\n";
    let given = sources(
        file,
        &[("PERSEAT_LOG__LEVL", "x"), ("PERSEAT_ADMISSION__USER", "0")],
        &[("drain.deadline", "9")],
    );
    let problems = Config::load(&given, 2).unwrap_err().to_string();
    for expected in [
        "6 problems in the configuration",
        "perseat.toml:1: public-url: expected a URL",
        "perseat.toml:4: unknown key front.max-bdy; did you mean front.max-body?",
        "perseat.toml:5: front.header-timeout: expected a duration",
        "perseat.toml:7: unknown section [frnt]; did you mean front?",
        "environment PERSEAT_LOG__LEVL: unknown key log.levl; did you mean log.level?",
        "environment PERSEAT_ADMISSION__USER: admission.user: expected a whole number from 1 to 4294967295, found 0",
        "--set drain.deadline: drain.deadline: expected a duration",
    ] {
        assert!(
            problems.contains(expected) || expected.starts_with('6'),
            "{expected}\nnot in\n{problems}"
        );
    }
    assert!(problems.starts_with("7 problems"));
}

#[test]
fn a_syntax_error_is_reported_with_its_line() {
    let found = problems("[front]\nmax-body = \n");
    assert!(found[0].starts_with("perseat.toml:2: "), "{found:?}");
}

#[test]
fn variables_that_an_orchestrator_sets_are_not_taken_for_keys() {
    let given = sources(
        "",
        &[("PERSEAT_SERVICE_HOST", "10.0.0.1"), ("PERSEAT_PORT", "tcp://10.0.0.1:3000")],
        &[],
    );
    assert!(Config::load(&given, 2).is_ok());
}

#[test]
fn a_body_that_no_segment_can_hold_is_refused() {
    let found = problems("[front]\nmax-body = \"32MiB\"\nbody-memory = \"64MiB\"");
    assert!(found[0].contains("raise journal.segment or retention.budget"), "{found:?}");
    assert_eq!(config("[front]\nmax-body = \"31MiB\"").front.max_body, Size::bytes(31 << 20));
}

#[test]
fn an_api_on_the_hooks_listener_takes_its_bodies_within_the_memory_for_bodies() {
    let text = |api: &str| format!("[front]\nbody-memory = \"15MiB\"\n[api]\nlisten = \"{api}\"");
    let found = problems(&text("127.0.0.1:3000"));
    assert!(
        found.len() == 1 && found[0].contains("a body of api.max-body (16MiB) could never be read"),
        "{found:?}"
    );
    assert_eq!(config(&text("127.0.0.1:3001")).front.body_memory, Size::bytes(15 << 20));
}

#[test]
fn a_small_budget_makes_small_segments() {
    let config = config("[retention]\nbudget = \"480MiB\"\n[front]\nmax-body = \"6MiB\"");
    assert_eq!(config.segment(), Size::bytes(15 << 20));
    assert_eq!(config.max_step_result(), Size::bytes((15 << 19) - check::ENTRY_OVERHEAD));
    assert_eq!(config.ballast(), Size::bytes((480 << 20) / 64), "and a small ballast");
}

#[test]
fn keys_that_contradict_each_other_are_refused_together() {
    let found = problems(
        "public-url = \"https://x.example/base\"\n[admin]\nlisten = \"127.0.0.1:3000\"\n[tls]\ncert = \"a.pem\"\n[admission]\nuser = 200000\n\
         [supervision]\npulse = \"20s\"\nback-off = \"1m\"\n[execution]\nstep-timeout = \"1h\"\n[code]\ncpu = \"6m\"\n[outbound]\nconnect-timeout = \"6m\"\n[journal]\nspare-segments = 1\n\
         [media]\nmax-picture = \"17MiB\"\nbudget = \"3GiB\"\nunused = \"1m\"",
    );
    let told = [
        "admin.listen is 127.0.0.1:3000",
        "tls.cert and tls.key",
        "public-url is https://x.example/base",
        "admission: user ≤ flow",
        "pulse < silence-degraded",
        "supervision.back-off is longer",
        "execution.step-timeout is longer",
        "code.cpu is longer",
        "outbound.connect-timeout is longer",
        "journal.spare-segments is 1",
        "media.max-picture is 17MiB",
        "media.budget is 3GiB",
        "media.unused is shorter",
    ];
    for expected in told {
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:#?}");
    }
    assert_eq!(found.len(), told.len(), "{found:#?}");
}

#[test]
fn beyond_loopback_without_a_public_url_there_is_a_warning() {
    assert_eq!(config("[hooks]\nlisten = \"0.0.0.0:3000\"").warnings().len(), 1);
    assert!(
        config("public-url = \"https://h.example\"\n[hooks]\nlisten = \"0.0.0.0:3000\"")
            .warnings()
            .is_empty()
    );
}

#[test]
fn the_public_address_is_given_or_made_of_the_hooks_listener() {
    let bound = "127.0.0.1:4711".parse().unwrap();
    assert_eq!(config("").public_url(bound), "http://127.0.0.1:4711");
    assert_eq!(config("public-url = \"https://h.example/\"").public_url(bound), "https://h.example");
}

#[test]
fn a_reload_names_each_changed_key_and_whether_it_needs_a_restart() {
    let found = changes::changes(
        &config(""),
        &config(""),
        &config("[log]\nlevel = \"debug\"\n[front]\nmax-body = \"1MiB\""),
    );
    let told: Vec<(&str, bool)> = found.iter().map(|change| (change.key.as_str(), change.reloads)).collect();
    assert_eq!(told, [("front.max-body", false), ("log.level", true)]);
    assert_eq!((found[0].before.as_str(), found[0].now.as_str()), ("\"6MiB\"", "\"1MiB\""));
}

#[test]
fn the_reference_file_set_key_by_key_is_the_default() {
    let file = reference::file();
    let before = std::iter::once("").chain(file.lines());
    let settings = before.zip(file.lines()).filter_map(|(before, line)| {
        // What stands at a key that is not set is an example.
        let is_example = before.starts_with("# (unset");
        let is_comment = line.is_empty() || line == "#" || line.starts_with("# ");
        (!is_example && !is_comment).then(|| line.trim_start_matches('#').to_owned())
    });
    let text: Vec<String> = settings.collect();
    assert_eq!(config(&text.join("\n")), config(""));
    assert!(text.len() > 80, "{}", text.len());
}

#[test]
fn keys_that_could_be_read_are_checked_together_though_another_is_wrong() {
    let found = problems(
        "[log]\nlevel = \"inof\"\n[front]\njson-depth = 5000\nmax-body = \"huge\"\nbody-memory = \"1MiB\"\n[execution]\nstep-timeout = \"1h\"",
    );
    let told = [
        "perseat.toml:2: log.level: expected a level",
        "perseat.toml:5: front.max-body: expected a size",
        "front.json-depth is 5000",
        "execution.step-timeout is longer",
    ];
    for expected in told {
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:#?}");
    }
    assert_eq!(
        found.len(),
        told.len(),
        "nothing is said of a body whose size nobody knows: {found:#?}"
    );
    let broken = sources("[front\n", &[], &[("front.max-body", "20MiB"), ("retention.budget", "100MiB")]);
    let found = Config::load(&broken, 2).unwrap_err().0;
    assert!(
        found.iter().all(|problem| problem.to_string().contains("perseat.toml:1:")),
        "{found:#?}"
    );
}

#[test]
fn what_a_part_of_the_daemon_could_not_work_with_is_refused_with_the_reason() {
    for (file, why) in [
        (
            "supervision.mailbox = 1",
            "less than admission.total (131072): what was admitted would not fit",
        ),
        (
            "index.max-lag = 1000\nindex.yield-lag = 1001",
            "index.yield-lag is more than index.max-lag (1000)",
        ),
        (
            "retention.margin = \"6GiB\"",
            "retention.margin is 6GiB, more than half of retention.budget (10GiB)",
        ),
        (
            "retention.ballast = \"20GiB\"",
            "retention.ballast is 20GiB, more than half of retention.budget (10GiB)",
        ),
        ("supervision.pulse = \"0s\"", "supervision.pulse is zero"),
        ("code.cpu = \"0s\"", "code.cpu is zero"),
        (
            "code.max-frame = \"1KiB\"",
            "code.max-frame is 1KiB, but a child answers with a result (16MiB",
        ),
        (
            "front.max-header-bytes = \"1B\"",
            "front.max-header-bytes is 1B, but requests are read 8KiB at a time",
        ),
        (
            "outbound.answer-memory = \"127MiB\"",
            "outbound.answer-memory is 127MiB, but a user has half of it",
        ),
        (
            "execution.max-log-line = \"8MiB\"",
            "execution.max-log-line is 8MiB: why a step failed may take 6 times as much as JSON",
        ),
        ("front.json-depth = 5000", "front.json-depth is 5000, but 125 is the most"),
        (
            "outbound.user-agent = \"a\\nb\"",
            "outbound.user-agent: \"a\\nb\" cannot stand in a header",
        ),
        (
            "mail.host = \"smtp.example.com\"\nmail.from = \"Perseat\"",
            "mail.from: \"Perseat\" is no address",
        ),
        (
            "api.origins = [\"https://app.example.com/\"]",
            "api.origins: \"https://app.example.com/\" is no origin",
        ),
    ] {
        let found = problems(file);
        assert!(found.len() == 1 && found[0].contains(why), "{file}: {found:#?}");
    }
    config(
        "index.max-lag = 1000\nindex.yield-lag = 1000\nfront.json-depth = 125\nfront.max-header-bytes = \"8KiB\"\nadmission.wait = \"0s\"",
    );
}

#[test]
fn no_time_is_none_but_those_that_may_be() {
    let keys: Vec<settings::Key> = settings::sections().into_iter().flat_map(|section| section.keys).collect();
    // None of these means that nothing happens.
    config("backup.pinned-for = \"0s\"\nnotices.escalate-after = \"0s\"\ncode.begin-within = \"0s\"\noutbound.idle-timeout = \"0s\"");
    let times: Vec<&str> = keys
        .iter()
        .filter(|key| key.kind.starts_with("a duration"))
        .map(|key| &*key.path)
        .collect();
    assert!(check::MAY_BE_NONE.iter().all(|key| times.contains(key)), "{times:?}");
    for key in times {
        let found = Config::load(&sources(&format!("{key} = \"0s\""), &[], &[]), 2).map_err(|problems| problems.to_string());
        let is_refused = found.is_err_and(|problems| problems.contains(&format!("{key} is zero")));
        assert_eq!(is_refused, !check::MAY_BE_NONE.contains(&key), "{key}");
    }
}

#[test]
fn tls_switched_on_or_off_waits_for_the_next_start_and_another_certificate_does_not() {
    let (off, on) = (config(""), config("[tls]\ncert = \"a.pem\"\nkey = \"a.key\""));
    let other = config("[tls]\ncert = \"b.pem\"\nkey = \"b.key\"");
    let reloads = |started: &Config, before: &Config, now: &Config| -> Vec<bool> {
        let changes = changes::changes(started, before, now);
        assert_eq!(changes.len(), 2, "{changes:?}");
        changes.iter().map(|change| change.reloads).collect()
    };
    assert_eq!(reloads(&off, &off, &on), [false, false], "on");
    assert_eq!(reloads(&on, &on, &off), [false, false], "off");
    assert_eq!(reloads(&on, &on, &other), [true, true], "another certificate");
    assert_eq!(reloads(&off, &on, &other), [false, false], "TLS does not run yet");
    assert_eq!(reloads(&on, &off, &other), [true, true], "TLS runs still");
}
