//! From files to resolved manifests, with every problem at once.

use super::kinds::{Integration, Manifest};
use super::shape::{self, Wrong};
use perseat_flow::definition::{Diagnostic, Limits, documents};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// A manifest and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Located {
    /// The file.
    pub file: PathBuf,
    /// The line of its first key.
    pub line: u64,
    /// The manifest.
    pub manifest: Manifest,
}

/// Something wrong in a manifest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestProblem {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1; 0 if the file could not be read.
    pub line: u64,
    /// Column, from 1; 0 if not known.
    pub column: u64,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.message),
            line => write!(f, "{}:{line}:{}: {}", self.file.display(), self.column, self.message),
        }
    }
}

/// Reads a file, or every `.yml` and `.yaml` file directly in a folder in name order, and resolves `valueFrom` and
/// `file`. `env` looks up environment variables.
///
/// # Errors
/// Every problem of every file.
pub fn read_files(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Located>, Vec<ManifestProblem>> {
    let unreadable = |path: &Path, error: &std::io::Error| {
        vec![ManifestProblem {
            file: path.to_owned(),
            line: 0,
            column: 0,
            message: format!("cannot read: {error}"),
        }]
    };
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = std::fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>())
            .map_err(|error| unreadable(path, &error))?;
        files.retain(|file| file.is_file() && file.extension().is_some_and(|e| e == "yml" || e == "yaml"));
        files.sort();
    }
    let (mut manifests, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        match std::fs::read_to_string(&file) {
            Ok(text) => match read_text(&text, &file, env) {
                Ok(found) => manifests.extend(found),
                Err(found) => problems.extend(found),
            },
            Err(error) => problems.extend(unreadable(&file, &error)),
        }
    }
    if problems.is_empty() { Ok(manifests) } else { Err(problems) }
}

/// Reads the documents of one text; `file` says where it stands and where relative files are looked for.
///
/// # Errors
/// Every problem of the text.
pub fn read_text(text: &str, file: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Located>, Vec<ManifestProblem>> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let (documents, broken) = documents(text, &LIMITS);
    let at = |line: u32, column: u32, message: String| ManifestProblem {
        file: file.to_owned(),
        line: line.into(),
        column: column.into(),
        message,
    };
    let of_text = |broken: Diagnostic| at(broken.line.max(1), broken.column, broken.message);
    let mut problems: Vec<ManifestProblem> = broken.into_iter().map(of_text).collect();
    let mut manifests = Vec::new();
    for document in documents {
        let of_shape = |wrong: Wrong| at(wrong.at.line, wrong.at.column, wrong.message);
        let mut manifest = match shape::manifest(&document) {
            Ok(manifest) => manifest,
            Err(found) => {
                problems.extend(found.into_iter().map(of_shape));
                continue;
            }
        };
        let first = document.at;
        if let Manifest::Integration(integration) = &mut manifest
            && let Err(message) = inline_definition(integration, folder)
        {
            problems.push(at(first.line, first.column, message));
        }
        for secret in manifest.secrets_mut() {
            if let Err(message) = secret.resolve(folder, env) {
                problems.push(at(first.line, first.column, message));
            }
        }
        manifests.push(Located {
            file: file.to_owned(),
            line: first.line.into(),
            manifest,
        });
    }
    problems.sort_by_key(|problem| (problem.line, problem.column));
    if problems.is_empty() { Ok(manifests) } else { Err(problems) }
}

/// What one manifest may be. No keys: what is large in one, an integration's definition, is a single text here, with limits of
/// its own when it is read; and whoever applies manifests may do more than use up memory.
const LIMITS: Limits = Limits {
    bytes: usize::MAX,
    nodes: 250_000,
    depth: 64,
    diagnostics: 200,
    registrations: 0,
    value: 0,
    values: 0,
};

fn inline_definition(integration: &mut Integration, folder: &Path) -> Result<(), String> {
    match (&integration.file, &integration.definition) {
        (Some(path), None) => {
            let path = folder.join(path);
            let text = std::fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            integration.file = Some(path);
            integration.definition = Some(text);
            Ok(())
        }
        (None, Some(_)) => Ok(()),
        _ => Err("an Integration needs exactly one of `file` and `definition`".to_owned()),
    }
}

/// One document as it stands, with nothing resolved; `None` if it is not one.
pub(crate) fn parse_one(text: &str) -> Option<Manifest> {
    match documents(text, &LIMITS) {
        (found, broken) if broken.is_empty() && found.len() == 1 => shape::manifest(&found[0]).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::{ConfigVarValue, Customer};
    use super::*;

    fn read(text: &str) -> Result<Vec<Located>, Vec<ManifestProblem>> {
        read_text(text, Path::new("set-up.yml"), &|name| {
            (name == "TOKEN").then(|| "s3cret".to_owned())
        })
    }

    #[test]
    fn documents_are_read_with_their_lines_and_secrets_resolved() {
        let found = read(
            "# who\nkind: Customer\nname: Globex\nexternalId: globex\n---\n---\nkind: UserLevelConfig\ncustomer: globex\ninstance: Files\nuser: jane\n\
             configVars:\n  Folder: /a\n  Account:\n    fields:\n      token: {valueFrom: {env: TOKEN}}\n",
        )
        .unwrap();
        assert_eq!(found.iter().map(|located| located.line).collect::<Vec<_>>(), [2, 7]);
        let Manifest::UserLevelConfig(config) = &found[1].manifest else {
            panic!("not a user configuration")
        };
        let ConfigVarValue::Connection(account) = &config.config_vars["Account"] else {
            panic!("not a connection")
        };
        assert_eq!(account.fields["token"].text(), Some("s3cret"));
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn every_problem_is_reported_with_its_line() {
        let problems = read("kind: Custmer\nname: A\n---\nkind: Customer\nname: B\nexternal: b\n---\nkind: UserLevelConfig\ncustomer: b\ninstance: i\nuser: u\nconfigVars:\n  A: {valueFrom: {env: NONE}}\n")
            .unwrap_err();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(
            shown[0].starts_with("set-up.yml:1:7: unknown kind `Custmer`; did you mean `Customer`?"),
            "{shown:?}"
        );
        assert!(shown[1].starts_with("set-up.yml:6:") && shown[1].contains("external"), "{shown:?}");
        assert!(shown[2].contains("`NONE` is not set"), "{shown:?}");
    }

    fn shown(text: &str) -> Vec<String> {
        let problems = read(text).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_that_is_wrong_with_one_document_is_told_in_our_words() {
        let text = "kind: Instance\nnam: Files\nintegration: [Files]\nversion: newest\nstate: on\nconfigVars:\n  A: {feilds: {x: 1}}\n  \
                    B: [b]\n  C: {fields: {token: {valueFrom: {env: X, file: y}}}}\napiKeys: {Import: key-1}\n";
        assert_eq!(
            shown(text),
            [
                "set-up.yml:1:1: the key `name` is missing",
                "set-up.yml:1:1: the key `customer` is missing",
                "set-up.yml:2:1: there is no key `nam` here; did you mean `name`?",
                "set-up.yml:3:14: `integration`: expected text, found a list",
                "set-up.yml:4:10: `version`: expected a whole number, found `newest`",
                "set-up.yml:5:8: `state`: expected one of enabled, disabled, notDeployed, found `on`",
                "set-up.yml:7:6: `configVars.A`: expected a mapping with `valueFrom`, or a mapping with `fields` or `token`, or text, found \
                 a mapping",
                "set-up.yml:8:6: `configVars.B`: expected a mapping with `valueFrom`, or a mapping with `fields` or `token`, or text, found a \
                 list",
                "set-up.yml:9:44: `configVars.C.fields.token.valueFrom`: there is no key `file` here",
                "set-up.yml:10:19: `apiKeys.Import`: expected a list, found text",
            ]
        );
    }

    #[test]
    fn a_document_that_is_no_yaml_hides_none_of_the_others() {
        let text = "kind: Customer\nname: \"A\n---\nkind: Customer\nlabels: x\nname: B\n--- # third\nkind: Customer\nname: [C\n---\n- kind\n---\nname: D\n";
        let shown = shown(text);
        let lines: Vec<&str> = shown.iter().filter_map(|problem| problem.split(':').nth(1)).collect();
        assert_eq!(lines, ["2", "5", "9", "11", "13"], "{shown:#?}");
        assert!(shown[1].contains("`labels`: expected a list, found text"), "{shown:#?}");
        assert!(
            shown[4].contains("the key `kind` is missing; the kinds are Organization"),
            "{shown:#?}"
        );
    }

    #[test]
    fn yaml_is_read_however_it_is_written() {
        let texts = [
            "\u{feff}kind: Customer\nname: Globex\n",
            "%YAML 1.2\n---\nkind: Customer\nname: Globex\n...\n",
            "--- # customers\nkind: Customer\nname: Globex\n",
            "\"kind\": \"Customer\"\n\"name\": Globex\ndescription:\n",
            "{\"kind\": \"Customer\", \"name\": \"Globex\"}",
            "name: Globex\nkind : Customer\n",
        ];
        let customer = Manifest::Customer(Customer {
            name: "Globex".to_owned(),
            external_id: None,
            description: String::new(),
            labels: Vec::new(),
        });
        for text in texts {
            let found = read(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
            assert_eq!(
                found.iter().map(|located| &located.manifest).collect::<Vec<_>>(),
                [&customer],
                "{text}"
            );
        }
        let numbers =
            read("kind: UserLevelConfig\ncustomer: 7\ninstance: Files\nuser: 0042\nconfigVars: {Port: 8080, Ratio: 1.50, On: true}\n");
        let numbers = numbers.unwrap();
        let Manifest::UserLevelConfig(config) = &numbers[0].manifest else {
            panic!("not a user configuration")
        };
        assert_eq!(
            (config.customer.as_str(), config.user.as_str()),
            ("7", "0042"),
            "text is what was written"
        );
        let text = |name: &str| match &config.config_vars[name] {
            ConfigVarValue::Text(text) => text.text().map(str::to_owned),
            ConfigVarValue::Connection(_) => None,
        };
        assert_eq!(
            ["Port", "Ratio", "On"].map(text),
            ["8080", "1.50", "true"].map(|text| Some(text.to_owned()))
        );
    }
}
