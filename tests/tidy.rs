//! Habits as tests: who may import what, how long a file may be, what must not be left behind.
//!
//! Each failure says what to do. These rules are the architecture; `ARCHITECTURE.md` explains them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// One Rust file of the workspace, its path relative to the root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines that are code or documentation, each with its number.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The lines without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines()
            .map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
    }

    fn below(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }

    fn names(&self, word: &str) -> Option<usize> {
        self.code().find(|(_, line)| mentions(line, word)).map(|(number, _)| number)
    }
}

/// Whether `word` stands in `line` as a path segment or a whole identifier; `state.redb` is a file, not the crate.
fn mentions(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let part = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '.'));
        !part(line[..at].chars().next_back()) && !part(line[at + word.len()..].chars().next())
    })
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["src", "actors", "crates", "tests", "benches"] {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 50, "the sources were not found: {}", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target" && name != "node_modules") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root()).unwrap().display().to_string();
            found.push(Source {
                path: relative,
                text: fs::read_to_string(&path).unwrap(),
            });
        }
    }
}

fn none(wrong: &[String], rule: &str) {
    assert!(wrong.is_empty(), "{rule}\n  {}", wrong.join("\n  "));
}

/// The places outside `allowed` that name one of `words`.
fn outside(allowed: &[&str], words: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| !source.below(allowed) && source.path != "tests/tidy.rs")
    {
        for word in words {
            wrong.extend(source.names(word).map(|line| format!("{}:{line} names {word}", source.path)));
        }
    }
    wrong
}

#[test]
fn only_the_store_names_redb() {
    none(
        &outside(&["crates/store/"], &["redb"]),
        "redb stays behind crates/store, so that it can be replaced there:",
    );
}

#[test]
fn only_actors_and_the_boot_code_name_actix() {
    none(
        &outside(&["actors/", "src/boot/", "benches/actors.rs"], &["actix", "actix_rt"]),
        "actix stays behind actors/ and src/boot/:",
    );
}

#[test]
fn only_the_control_plane_names_graphql() {
    none(
        &outside(
            &["src/control/", "tests/permissions/schema.rs"],
            &["async_graphql", "async_graphql_value"],
        ),
        "GraphQL types stay in src/control/; the rules are in crates/admin:",
    );
}

#[test]
fn only_the_front_error_maps_codes_to_http_statuses_in_the_data_plane() {
    let mut wrong = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.below(&["actors/src/"]) && source.path != "actors/src/front/error.rs")
    {
        let statuses = [
            "BAD_REQUEST",
            "NOT_FOUND",
            "CONFLICT",
            "GONE",
            "FORBIDDEN",
            "UNAUTHORIZED",
            "SERVICE_UNAVAILABLE",
        ];
        for status in statuses {
            let word = format!("StatusCode::{status}");
            let production = source.text.split("#[cfg(test)]").next().unwrap_or_default();
            wrong.extend(production.contains(&word).then(|| format!("{} names {word}", source.path)));
        }
    }
    none(
        &wrong,
        "refusals are ErrorCodes; actors/src/front/error.rs alone knows their HTTP statuses:",
    );
}

/// The workspace packages that each package may depend on.
const LAYERS: [(&str, &[&str]); 6] = [
    ("crates/domain", &[]),
    ("crates/journal", &[]),
    ("crates/store", &["perseat-domain", "perseat-journal"]),
    ("crates/flow", &["perseat-domain"]),
    ("crates/admin", &["perseat-domain", "perseat-store", "perseat-flow"]),
    ("actors", &["perseat-domain", "perseat-store", "perseat-flow", "perseat-journal"]),
];

fn manifest(folder: &str) -> toml::Table {
    fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap().parse().unwrap()
}

fn dependencies(folder: &str) -> Vec<String> {
    manifest(folder)["dependencies"].as_table().unwrap().keys().cloned().collect()
}

#[test]
fn dependencies_point_inwards() {
    let mut wrong = Vec::new();
    for (folder, allowed) in LAYERS {
        let inner = dependencies(folder).into_iter().filter(|name| name.starts_with("perseat-"));
        wrong.extend(
            inner
                .filter(|name| !allowed.contains(&name.as_str()))
                .map(|name| format!("{folder} depends on {name}")),
        );
    }
    none(&wrong, "src → actors, admin → flow, store, journal → domain:");
}

#[test]
fn the_domain_has_nothing_to_do_io_with() {
    let doors = ["tokio", "hyper", "redb", "actix", "reqwest", "rustix", "futures-util", "rand"];
    let wrong: Vec<_> = dependencies("crates/domain")
        .into_iter()
        .filter(|name| doors.contains(&name.as_str()))
        .collect();
    none(&wrong, "crates/domain is pure; these belong further out:");
    let mut clocks = Vec::new();
    for source in sources().iter().filter(|source| source.below(&["crates/domain/src/"])) {
        for word in ["SystemTime::now", "Instant::now", "Uuid::now_v7", "Uuid::new_v4"] {
            let production = source.text.split("#[cfg(test)]").next().unwrap_or_default();
            clocks.extend(production.contains(word).then(|| format!("{} calls {word}", source.path)));
        }
    }
    none(&clocks, "time and randomness are passed in to crates/domain:");
}

/// Who may read the wall clock: for times that are recorded or shown, and for seeds. Everybody else has a `Clock`.
const WALL_CLOCKS: [&str; 6] = [
    "actors/src/kit/clock.rs",
    "crates/flow/src/component/perform.rs",
    "crates/flow/src/js/child/bridge.rs",
    "crates/flow/src/outbound/governor/mod.rs",
    "crates/journal/src/options.rs",
    "src/demo/host.rs",
];

#[test]
fn spans_of_time_are_not_counted_by_the_wall_clock() {
    let mut wrong = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.below(&["src/", "actors/src/", "crates/"]) && !source.path.contains("/tests"))
    {
        let production = source.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let reads = production.contains("SystemTime::now") || production.contains("UNIX_EPOCH.elapsed");
        if reads != WALL_CLOCKS.contains(&source.path.as_str()) {
            wrong.push(format!("{} reads it: {reads}", source.path));
        }
        let is_the_clock = source.path == WALL_CLOCKS[0];
        if is_the_clock && !production.contains("pub struct RealClock {\n    origin: Instant,\n}") {
            wrong.push(format!("{}: the uptime of RealClock is not that of an Instant", source.path));
        }
    }
    none(
        &wrong,
        "the wall clock may jump; these places and no others may read it, and none for a span:",
    );
}

#[test]
fn files_are_short_enough_to_read() {
    let long = |source: &Source| (source.lines().count() > 600).then(|| format!("{} has {} lines", source.path, source.lines().count()));
    none(
        &sources().iter().filter_map(long).collect::<Vec<_>>(),
        "split files of more than 600 lines:",
    );
}

#[test]
fn one_place_prints() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.below(&["src/"])) {
        let allowed = ["src/main.rs", "src/cli/print.rs"].contains(&source.path.as_str());
        for (number, line) in source.code().filter(|_| !allowed) {
            let prints = ["println!(", "print!("].iter().any(|word| line.contains(word));
            wrong.extend(prints.then(|| format!("{}:{number}", source.path)));
        }
    }
    none(
        &wrong,
        "print by `say!`, `show!` and `complain!` of src/cli/print.rs: a closed pipe is no panic:",
    );
}

#[test]
fn nothing_is_left_for_later() {
    let words = ["TODO", "FIXME", "XXX", "HACK", "todo!", "unimplemented!", "dbg!"];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.path != "tests/tidy.rs") {
        for (number, line) in source.lines() {
            wrong.extend(
                words
                    .iter()
                    .filter(|word| line.contains(**word))
                    .map(|word| format!("{}:{number} has {word}", source.path)),
            );
        }
    }
    none(&wrong, "do it, or open an issue:");
}

#[test]
fn modules_are_named_for_what_they_do() {
    let nameless = ["utils", "util", "helpers", "helper", "common", "misc", "shared"];
    let stem = |source: &Source| {
        let path = Path::new(&source.path);
        path.iter()
            .any(|part| nameless.contains(&part.to_string_lossy().trim_end_matches(".rs")))
            .then(|| source.path.clone())
    };
    none(
        &sources().iter().filter_map(stem).collect::<Vec<_>>(),
        "name these for what they do:",
    );
}

#[test]
fn every_file_is_a_module_of_its_parent() {
    let all = sources();
    let texts: std::collections::BTreeMap<&str, &str> = all.iter().map(|source| (source.path.as_str(), source.text.as_str())).collect();
    let mut wrong = Vec::new();
    for path in texts.keys().filter(|path| path.contains("src/") && !path.contains("src/bin/")) {
        let file = Path::new(path);
        let (mut folder, mut name) = (file.parent().unwrap(), file.file_stem().unwrap().to_str().unwrap());
        if matches!(name, "lib" | "main") && folder.ends_with("src") {
            continue;
        }
        if name == "mod" {
            (folder, name) = (folder.parent().unwrap(), folder.file_name().unwrap().to_str().unwrap());
        }
        let beside = format!("{}.rs", folder.display());
        let parents = ["mod.rs", "lib.rs", "main.rs"].map(|parent| folder.join(parent).display().to_string());
        let declared = parents
            .iter()
            .chain([&beside])
            .filter_map(|parent| texts.get(parent.as_str()))
            .any(|text| {
                text.lines()
                    .any(|line| line.trim_end().ends_with(&format!("mod {name};")) || line.contains(&format!("mod {name} ")))
            });
        if !declared {
            wrong.push((*path).to_owned());
        }
    }
    none(&wrong, "no module declares these files; they are not compiled:");
}

#[test]
fn no_test_sleeps() {
    let sleeps = ["thread::sleep", "time::sleep"];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.path != "tests/tidy.rs") {
        let is_test = source.below(&["tests/"]) || source.path.ends_with("/tests.rs") || source.path.contains("/tests/");
        let virtual_time = source.text.contains("start_paused") || source.text.contains("time::pause()");
        let part = if is_test {
            Some(source.text.as_str())
        } else {
            source.text.split_once("#[cfg(test)]\nmod ").map(|(_, tests)| tests)
        };
        let Some(part) = part.filter(|_| !virtual_time) else { continue };
        wrong.extend(
            sleeps
                .iter()
                .filter(|word| part.contains(**word))
                .map(|word| format!("{} calls {word}", source.path)),
        );
    }
    none(&wrong, "wait for the thing itself, or use a paused clock:");
}

/// Every package of the daemon's build with its features, as cargo resolves them.
fn features_of(flags: &[&str]) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args([
        "tree",
        "--locked",
        "--offline",
        "--package",
        "perseat",
        "--edges",
        "normal",
        "--prefix",
        "none",
    ]);
    let output = cargo.args(["--format", "{p}|{f}"]).args(flags).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn with_faults(packages: &BTreeSet<String>) -> Vec<String> {
    let faulty = |line: &&String| {
        line.rsplit('|')
            .next()
            .is_some_and(|features| features.split([',', ' ']).any(|name| name == "faults"))
    };
    packages.iter().filter(faulty).cloned().collect()
}

#[test]
fn the_default_build_lacks_the_fault_switches() {
    let default = features_of(&[]);
    assert!(default.len() > 100, "cargo tree said little: {default:?}");
    none(&with_faults(&default), "these are built with fault switches by default:");
    let tested = with_faults(&features_of(&["--features", "faults"]));
    assert!(
        tested.iter().any(|line| line.starts_with("perseat ")),
        "the switches can be compiled in: {tested:?}"
    );
}

#[test]
fn the_fault_switches_are_behind_their_feature() {
    let mut wrong = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.below(&["src/", "actors/src/", "crates/"]) && !source.path.contains("/tests"))
    {
        let text = &source.text;
        for (number, line) in source.code() {
            let module = line.trim_start().trim_start_matches("pub ").starts_with("mod faults;");
            let before = text.lines().nth(number.saturating_sub(2)).unwrap_or_default();
            if module && !before.contains("feature = \"faults\"") {
                wrong.push(format!("{}:{number}", source.path));
            }
        }
    }
    none(
        &wrong,
        "a module of fault switches needs #[cfg(feature = \"faults\")] on the line above:",
    );
}

#[test]
fn keys_that_are_named_exist() {
    let sections = perseat::config::settings::sections();
    let keys: BTreeSet<&str> = sections.iter().flat_map(|section| &section.keys).map(|key| &*key.path).collect();
    let named = |place: &str, text: &str| {
        let quoted = text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|word| word.split_once('.').is_some_and(|(section, _)| !section.is_empty()));
        let is_key = |word: &&str| {
            let (section, key) = word.split_once('.').unwrap();
            let first = key.chars().next().is_some_and(|letter| letter.is_ascii_lowercase());
            let plain = key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
            sections.iter().any(|known| known.name == section) && first && plain && !matches!(key, "rs" | "toml" | "redb")
        };
        let missing = quoted.filter(is_key).filter(|word| !keys.contains(word));
        missing.map(|word| format!("{place} names `{word}`")).collect::<Vec<_>>()
    };
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.below(&["src/", "actors/src/", "crates/"])) {
        for (number, line) in source.lines() {
            wrong.extend(named(&format!("{}:{number}", source.path), line));
        }
    }
    for folder in ["docs", "docs/how-to"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                wrong.extend(named(&path.display().to_string(), &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    none(&wrong, "these keys do not exist; `config/perseat.toml` has them all:");
}

#[test]
fn every_key_has_an_effect() {
    let all = sources();
    let readers: Vec<&Source> = all
        .iter()
        .filter(|source| source.below(&["src/"]) && source.path != "src/config/settings.rs" && !source.path.ends_with("tests.rs"))
        .collect();
    let mut wrong = Vec::new();
    for key in perseat::config::settings::sections().into_iter().flat_map(|section| section.keys) {
        let field = key.path.rsplit('.').next().unwrap().replace('-', "_");
        let read = readers
            .iter()
            .any(|source| source.code().any(|(_, line)| line.contains(&format!(".{field}"))));
        if !read {
            wrong.push(key.path);
        }
    }
    none(&wrong, "nothing reads these keys; give them an effect or take them out:");
    // A key may be read into options that nobody asks for.
    let path = "src/config/options.rs";
    let options = all.iter().find(|source| source.path == path).unwrap();
    let functions = options.text.split("#[cfg(test)]").next().unwrap().split("pub fn ").skip(1);
    let names: Vec<&str> = functions.filter_map(|rest| rest.split('(').next()).collect();
    assert!(names.len() > 15, "the functions were not found: {names:?}");
    let asks = |source: &&&Source, name: &str| {
        let production = source.text.split("#[cfg(test)]").next().unwrap_or_default();
        source.path != path && production.contains(&format!(".{name}("))
    };
    let idle = names.iter().filter(|name| !readers.iter().any(|source| asks(&source, name)));
    let idle: Vec<String> = idle.map(|name| (*name).to_owned()).collect();
    none(&idle, "nothing in the daemon asks for these options of src/config/options.rs:");
}

/// The names of all tests, those that a macro makes included.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in sources() {
        let mut is_test = false;
        for line in source.text.lines().map(str::trim) {
            let name = line
                .trim_start_matches("async ")
                .strip_prefix("fn ")
                .and_then(|rest| rest.split('(').next());
            if let Some(name) = name.filter(|_| is_test) {
                found.insert(name.to_owned());
            }
            let goes_on = line.starts_with("#[") || line.starts_with("//") || line.is_empty();
            is_test = line.starts_with("#[test]") || line.starts_with("#[tokio::test") || (is_test && goes_on);
        }
    }
    found
}

/// The words in backticks of the last cell of a table's row.
fn shown_by(row: &str) -> Vec<&str> {
    let cell = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn what_is_promised_names_tests_that_exist() {
    let tests = tests();
    assert!(tests.len() > 300, "the tests were not found: {}", tests.len());
    let mut wrong = Vec::new();
    for (page, column) in [
        ("docs/guarantees.md", "| Shown by |"),
        ("ARCHITECTURE.md", "| Shown by |"),
        ("docs/hostile-input.md", "| Test |"),
    ] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let mut rows = 0;
        let mut is_promise = false;
        for line in text.lines() {
            let is_row = line.starts_with("| ");
            if is_row && is_promise {
                rows += 1;
                let names = shown_by(line);
                wrong.extend(names.is_empty().then(|| format!("{page}: no test in: {line}")));
                // A name may say where it stands: `crates/flow: name`, `module::name`.
                let test = |name: &str| tests.contains(name.rsplit([':', ' ']).next().unwrap_or_default());
                let lost = names.iter().filter(|name| !test(name) && !root().join(name).exists());
                wrong.extend(lost.map(|name| format!("{page}: there is no test {name}")));
            }
            is_promise = line.ends_with(column) || (is_promise && line.starts_with('|'));
        }
        assert!(rows > 5, "{page} has lost its table");
    }
    none(&wrong, "a promise without a test is none:");
}
