//! From files to resolved manifests, with every problem at once.

use super::kinds::{Customer, CustomerUser, Instance, Integration, Manifest, Organization, OrganizationUser, UserLevelConfig};
use serde::de::DeserializeOwned;
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
        write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.message)
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
    let (mut manifests, mut problems) = (Vec::new(), Vec::new());
    for (offset, document) in documents(text) {
        let at = |line: u64, column: u64, message: String| ManifestProblem {
            file: file.to_owned(),
            line: offset + line,
            column,
            message,
        };
        let mut manifest = match parse(document) {
            Ok(manifest) => manifest,
            Err(problem) => {
                problems.push(at(problem.line, problem.column, problem.message));
                continue;
            }
        };
        let first_line = document.lines().position(|line| line.starts_with("kind")).unwrap_or(0) as u64 + 1;
        if let Manifest::Integration(integration) = &mut manifest
            && let Err(message) = inline_definition(integration, folder)
        {
            problems.push(at(first_line, 1, message));
        }
        for secret in manifest.secrets_mut() {
            if let Err(message) = secret.resolve(folder, env) {
                problems.push(at(first_line, 1, message));
            }
        }
        manifests.push(Located {
            file: file.to_owned(),
            line: offset + first_line,
            manifest,
        });
    }
    if problems.is_empty() { Ok(manifests) } else { Err(problems) }
}

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

/// The documents of a text with the number of lines before each; empty ones are left out.
fn documents(text: &str) -> Vec<(u64, &str)> {
    let (mut found, mut start, mut start_line, mut offset) = (Vec::new(), 0, 0, 0);
    for (line_number, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_end() == "---" {
            found.push((start_line, &text[start..offset]));
            start = offset + line.len();
            start_line = line_number as u64 + 1;
        }
        offset += line.len();
    }
    found.push((start_line, &text[start..]));
    found.retain(|(_, document)| {
        document
            .lines()
            .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    });
    found
}

struct Problem {
    line: u64,
    column: u64,
    message: String,
}

/// The body of a manifest next to its `kind`; kept apart from [`Manifest`] so that errors carry their place.
#[derive(serde::Deserialize)]
struct Head {
    kind: String,
}

fn yaml<T: DeserializeOwned>(document: &str) -> Result<T, Problem> {
    serde_saphyr::from_str(document).map_err(|error| {
        let location = error.location();
        Problem {
            line: location.map_or(1, |at| at.line()),
            column: location.map_or(0, |at| at.column()),
            message: error.to_string().lines().next().unwrap_or("not valid YAML").to_owned(),
        }
    })
}

/// One document as it stands, with nothing resolved; `None` if it is not one.
pub(crate) fn parse_one(document: &str) -> Option<Manifest> {
    parse(document).ok()
}

fn parse(document: &str) -> Result<Manifest, Problem> {
    let head: Head = yaml(document)?;
    // The kind's own line goes blank, so that the body is parsed strictly and lines keep their numbers.
    let body: String = document
        .split_inclusive('\n')
        .map(|line| if line.starts_with("kind:") { "\n" } else { line })
        .collect();
    match head.kind.as_str() {
        "Organization" => yaml::<Organization>(&body).map(Manifest::Organization),
        "OrganizationUser" => yaml::<OrganizationUser>(&body).map(Manifest::OrganizationUser),
        "Customer" => yaml::<Customer>(&body).map(Manifest::Customer),
        "CustomerUser" => yaml::<CustomerUser>(&body).map(Manifest::CustomerUser),
        "Integration" => yaml::<Integration>(&body).map(Manifest::Integration),
        "Instance" => yaml::<Instance>(&body).map(Manifest::Instance),
        "UserLevelConfig" => yaml::<UserLevelConfig>(&body).map(Manifest::UserLevelConfig),
        unknown => Err(Problem {
            line: 1,
            column: 1,
            message: unknown_kind(unknown),
        }),
    }
}

fn unknown_kind(unknown: &str) -> String {
    let nearest = Manifest::KINDS
        .into_iter()
        .min_by_key(|kind| strsim::levenshtein(kind, unknown))
        .unwrap_or_default();
    if strsim::levenshtein(nearest, unknown) <= 3 {
        format!("unknown kind `{unknown}`; did you mean `{nearest}`?")
    } else {
        format!("unknown kind `{unknown}`; the kinds are {}", Manifest::KINDS.join(", "))
    }
}

#[cfg(test)]
mod tests {
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
            shown[0].starts_with("set-up.yml:1:1: unknown kind `Custmer`; did you mean `Customer`?"),
            "{shown:?}"
        );
        assert!(shown[1].starts_with("set-up.yml:6:") && shown[1].contains("external"), "{shown:?}");
        assert!(shown[2].contains("`NONE` is not set"), "{shown:?}");
    }

    use super::super::kinds::ConfigVarValue;
}
