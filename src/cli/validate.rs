//! `perseat validate`: what is wrong with integrations and manifests, without a daemon.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use perseat_admin::manifest::{self, Manifest, SecretText};
use perseat_flow::component::BuiltIn;
use perseat_flow::definition::{self, Limits, Previous};

use super::ConfigArgs;
use crate::cli::print::say;

/// Check integration YAML and manifests offline: file:line:column, what is wrong, what may have been meant
///
/// A file with `definitionVersion` is an integration, any other a list of manifests; a manifest's integration is checked too.
/// `valueFrom` files must exist; environment variables need not be set. How large a definition may be is the configuration's
/// word (`[definition]`). Exits 1 when anything is wrong; a warning is not.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  perseat validate integration.yml manifests/*.yml")]
pub struct Validate {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    config: ConfigArgs,
}

/// What was found in one file.
#[derive(Default)]
struct Findings {
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Validate {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong configuration.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let limits = self.config.given().load()?.definition_limits();
        let mut wrong = 0;
        for file in &self.files {
            let findings = match std::fs::read_to_string(file) {
                Ok(text) => check(file, &text, &limits),
                Err(error) => Findings {
                    problems: vec![format!("{}: cannot read: {error}", file.display())],
                    warnings: Vec::new(),
                },
            };
            findings.warnings.iter().for_each(|warning| say!("{warning} (warning)"));
            findings.problems.iter().for_each(|problem| say!("{problem}"));
            if findings.problems.is_empty() {
                say!("{}: valid", file.display());
            }
            wrong += findings.problems.len();
        }
        Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn check(file: &Path, text: &str, limits: &Limits) -> Findings {
    let mut findings = Findings::default();
    if is_integration(text, limits) {
        integration(file, text, limits, None, &mut findings);
        return findings;
    }
    let present = |name: &str| Some(std::env::var(name).unwrap_or_default());
    match manifest::read_text(text, file, &present) {
        Ok(manifests) => {
            for located in manifests {
                if let Manifest::Integration(found) = located.manifest {
                    let path = found.file.unwrap_or_else(|| file.to_owned());
                    let definition = found.definition.unwrap_or_default();
                    integration(&path, &definition, limits, Some(&found.organization_api_keys), &mut findings);
                }
            }
        }
        Err(problems) => findings.problems.extend(problems.iter().map(ToString::to_string)),
    }
    findings
}

/// Told by its version, however the YAML is written; where it cannot be read at all, by a line that begins with it.
fn is_integration(text: &str, limits: &Limits) -> bool {
    match &*definition::documents(text, limits).0 {
        [] => text.lines().any(|line| line.starts_with("definitionVersion")),
        [first, ..] => first.member("definitionVersion").is_some(),
    }
}

/// `apart`: the API keys that its manifest gives, by flow; without one, nobody knows yet what it will give.
fn integration(file: &Path, text: &str, limits: &Limits, apart: Option<&BTreeMap<String, Vec<SecretText>>>, findings: &mut Findings) {
    let place = |diagnostic: &definition::Diagnostic| format!("{}:{diagnostic}", file.display());
    match definition::parse(text, &BuiltIn, &Previous::default(), limits) {
        Ok(parsed) => {
            findings.warnings.extend(parsed.warnings.iter().map(place));
            let is_given = |flow: &str| apart.is_some_and(|keys| keys.get(flow).is_some_and(|keys| !keys.is_empty()));
            let lacking = parsed.keyless(is_given);
            let lacking = lacking.iter().map(place);
            match apart {
                Some(_) => findings.problems.extend(lacking),
                None => findings.warnings.extend(lacking),
            }
        }
        Err(problems) => findings.problems.extend(problems.iter().map(place)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(file: &str, text: &str) -> Findings {
        check(Path::new(file), text, &Limits::default())
    }

    #[test]
    fn an_integration_is_told_by_its_version_and_a_problem_by_its_place() {
        let findings = checked("i.yml", "name: A\ndefinitionVersion: 6\n");
        assert!(findings.problems[0].starts_with("i.yml:2:"), "{:?}", findings.problems);
        for text in ["{\"name\": \"A\", \"definitionVersion\": 6}", "definitionVersion: 6\nname: [\n"] {
            let findings = checked("i.yml", text);
            assert!(
                findings.problems.iter().all(|problem| !problem.contains("kind")),
                "{:?}",
                findings.problems
            );
        }
    }

    #[test]
    fn who_gives_a_flow_no_key_of_the_organization_is_told() {
        let definition = "definitionVersion: 7
name: Feed
flows:
  - name: Take
    endpointSecurityType: organization
    steps: [{name: In, isTrigger: true, action: {key: webhook, component: {key: webhook-triggers}}}]
";
        let found = |file: &str, text: &str| {
            let findings = checked(file, text);
            let lacks = |list: &[String]| list.iter().filter(|line| line.contains("[key_missing]")).count();
            (lacks(&findings.problems), lacks(&findings.warnings))
        };
        assert_eq!(found("feed.yml", definition), (0, 1), "its manifest may give one");
        let indented: String = definition.lines().map(|line| format!("  {line}\n")).collect();
        let manifest = format!("kind: Integration\ndefinition: |\n{indented}");
        assert_eq!(found("m.yml", &manifest), (1, 0));
        assert_eq!(found("m.yml", &format!("{manifest}organizationApiKeys: {{Take: [key]}}\n")), (0, 0));
    }

    #[test]
    fn a_manifest_problem_has_its_place_too() {
        let findings = checked("m.yml", "kind: Customer\nname: Acme\nexternalID: acme\n");
        assert!(findings.problems[0].starts_with("m.yml:3:"), "{:?}", findings.problems);
        assert!(
            checked("m.yml", "kind: Customer\nname: Acme\nexternalId: acme\n")
                .problems
                .is_empty()
        );
    }
}
