//! Where values come from: the file, then the environment, then flags, the later one winning.
//!
//! Nothing stops at the first mistake: every problem of every source is kept and reported in one go, each with the place
//! where it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::settings::sections;
use super::value::Value;

/// What the configuration is read from. Everything is passed in, so that a test needs no environment of its own.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if one was named, with its text.
    pub file: Option<(PathBuf, String)>,
    /// Environment variables; those that do not begin with `PERSEAT_` are ignored.
    pub environment: Vec<(String, String)>,
    /// `--set KEY=VALUE` flags.
    pub flags: Vec<(String, String)>,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
    /// Nowhere: the default, or several keys together.
    Daemon,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(formatter, "{}:{line}", path.display()),
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::Flag(key) => write!(formatter, "--set {key}"),
            Self::Daemon => formatter.write_str("configuration"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What, and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.origin, self.what)
    }
}

enum Given {
    Toml(toml::Value),
    Text(String),
}

/// The merged values of all sources, taken key by key.
pub(super) struct Reader {
    given: BTreeMap<String, (Given, Origin)>,
    /// Everything found wrong so far.
    pub(super) problems: Vec<Problem>,
    /// What is not known because of it.
    pub(super) unknown: Unknown,
}

/// Keys whose values could not be read.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    keys: BTreeSet<String>,
    /// Whether a file holds no values at all.
    everything: bool,
}

impl Unknown {
    /// Whether nobody knows what the key was to be.
    pub(super) fn has(&self, key: &str) -> bool {
        self.everything || self.keys.contains(key)
    }
}

impl Reader {
    pub(super) fn new(sources: &Sources) -> Self {
        let mut reader = Self {
            given: BTreeMap::new(),
            problems: Vec::new(),
            unknown: Unknown::default(),
        };
        let known: Vec<String> = sections()
            .into_iter()
            .flat_map(|section| section.keys)
            .map(|key| key.path)
            .collect();
        if let Some((path, text)) = &sources.file {
            reader.file(path, text, &known);
        }
        for (name, text) in &sources.environment {
            reader.variable(name, text, &known);
        }
        for (key, text) in &sources.flags {
            reader.text(key, text, Origin::Flag(key.clone()), &known);
        }
        reader
    }

    /// The value of `key`, or its default. What is wrong with it is kept, and the default stands for it, so that the other
    /// keys can be checked together.
    pub(super) fn take<T: Value>(&mut self, key: &str, default: Option<&toml::Value>) -> Option<T> {
        let preset = || default.map_or_else(T::unset, T::read);
        let (result, origin) = match self.given.remove(key) {
            Some((Given::Toml(value), origin)) => (T::read(&value), origin),
            Some((Given::Text(text), origin)) => (T::read_text(&text), origin),
            None => (preset(), Origin::Daemon),
        };
        result.map_or_else(
            |why| {
                self.problems.push(Problem {
                    origin,
                    what: format!("{key}: {why}"),
                });
                self.unknown.keys.insert(key.to_owned());
                preset().ok()
            },
            Some,
        )
    }

    fn file(&mut self, path: &Path, text: &str, known: &[String]) {
        let place = |span: std::ops::Range<usize>| {
            let line = text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1);
            Origin::File(path.to_owned(), line)
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let origin = place(error.span().unwrap_or(0..0));
            self.problems.push(Problem {
                origin,
                what: error.message().to_owned(),
            });
        }
        // The tolerant parser gives places, the strict one gives values; after a syntax error there are no values to check.
        let Ok(values) = text.parse::<toml::Table>() else {
            self.unknown.everything = true;
            return;
        };
        for (name, item) in table.get_ref() {
            let name: &str = name.get_ref();
            let Some(value) = values.get(name) else { continue };
            let Some(keys) = item.get_ref().as_table() else {
                self.put(name.to_owned(), Given::Toml(value.clone()), place(item.span()), known);
                continue;
            };
            if !known
                .iter()
                .any(|key| key.split_once('.').is_some_and(|(section, _)| section == name))
            {
                let sections: Vec<String> = known.iter().filter_map(|key| Some(key.split_once('.')?.0.to_owned())).collect();
                let what = format!("unknown section [{name}]{}", suggestion(name, &sections));
                self.problems.push(Problem {
                    origin: place(item.span()),
                    what,
                });
                continue;
            }
            for key in keys.keys() {
                let Some(value) = value.get(key.get_ref() as &str) else { continue };
                self.put(
                    format!("{name}.{}", key.get_ref()),
                    Given::Toml(value.clone()),
                    place(key.span()),
                    known,
                );
            }
        }
    }

    /// `PERSEAT_FRONT__MAX_BODY` is `front.max-body`, `PERSEAT_PUBLIC_URL` is `public-url`.
    ///
    /// A name without the double underscore that is no key is not ours to refuse: an orchestrator puts `PERSEAT_PORT` and the
    /// like there for a service of this name.
    fn variable(&mut self, name: &str, text: &str, known: &[String]) {
        let Some(rest) = name.strip_prefix("PERSEAT_") else { return };
        let key = rest.to_ascii_lowercase().replace("__", ".").replace('_', "-");
        if key.contains('.') || known.contains(&key) {
            self.text(&key, text, Origin::Environment(name.to_owned()), known);
        }
    }

    fn text(&mut self, key: &str, text: &str, origin: Origin, known: &[String]) {
        self.put(key.to_owned(), Given::Text(text.to_owned()), origin, known);
    }

    fn put(&mut self, key: String, given: Given, origin: Origin, known: &[String]) {
        if known.contains(&key) {
            self.given.insert(key, (given, origin));
        } else {
            let what = format!("unknown key {key}{}", suggestion(&key, known));
            self.problems.push(Problem { origin, what });
        }
    }
}

/// `; did you mean …?` when something known is near.
fn suggestion(wrong: &str, known: &[String]) -> String {
    let near = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(wrong, candidate), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    near.filter(|(likeness, _)| *likeness > 0.8)
        .map_or_else(String::new, |(_, candidate)| format!("; did you mean {candidate}?"))
}

/// The environment variable that overrides `key`.
#[must_use]
pub fn variable_of(key: &str) -> String {
    format!("PERSEAT_{}", key.replace('.', "__").replace('-', "_").to_ascii_uppercase())
}
