//! `perseat apply`: makes a daemon, or an offline data directory, what the manifests say.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use http::Method;
use perseat_actors::kit::RealClock;
use perseat_admin::apply::{Action, ApplyError, ApplyOptions, Plan};
use perseat_admin::manifest::read_files;

use super::ConfigArgs;
use super::client::{self, ClientError};
use super::offline::Offline;
use crate::boot::administration::{ApplyBody, apply_here};
use crate::cli::print::{complain, say};
use crate::config::Config;

/// Make Perseat what the manifests say: creates, changes and, with --prune, deletes; all of it or nothing
///
/// Talks to the running daemon; where none runs, works on the data directory itself. What is already so is left alone, so
/// that applying twice changes nothing. Secrets are read here, from the environment or from files that `valueFrom` names.
/// Exits 1 when a manifest is wrong; then nothing was changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perseat apply -f config/demo                     a folder: its *.yml and *.yaml files
  perseat apply -f customers.yml -f instances.yml  what is in both, as one change
  perseat apply -f set-up --prune --dry-run        only say what would change")]
pub struct Apply {
    /// A manifest file, or a folder of them; may be repeated
    #[arg(short = 'f', long = "file", required = true, value_name = "DIR_OR_FILE")]
    files: Vec<PathBuf>,

    /// Delete what no manifest names
    #[arg(long)]
    prune: bool,

    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Apply {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong configuration, or a data directory that cannot be used.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let (mut manifests, mut problems) = (Vec::new(), Vec::new());
        for path in &self.files {
            match read_files(path, &|name| std::env::var(name).ok()) {
                Ok(found) => manifests.extend(found),
                Err(found) => problems.extend(found.iter().map(ToString::to_string)),
            }
        }
        if !problems.is_empty() {
            return Ok(report(&problems));
        }
        if manifests.is_empty() {
            anyhow::bail!("there is no manifest in {}", paths(&self.files));
        }
        let options = ApplyOptions {
            prune: self.prune,
            dry_run: self.dry_run,
        };
        let body = ApplyBody { manifests, options };
        match client::block_on(send(&config.socket(), &body))? {
            Err(ClientError::NotRunning(_)) => self.offline(&config, &body),
            Ok(plan) => Ok(print(&plan, "the running daemon")),
            Err(ClientError::Refused { body, .. }) if body.get("problems").is_some() => {
                let problems: Vec<String> = serde_json::from_value(body["problems"].clone())?;
                Ok(report(&problems))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn offline(&self, config: &Config, body: &ApplyBody) -> anyhow::Result<ExitCode> {
        let place = format!("the data directory {}; no daemon runs on it", config.data.dir.display());
        // A plan for a directory that is not there yet must not make it.
        let scratch = tempfile::tempdir()?;
        let mut given = self.config.given();
        if body.options.dry_run && !config.data.dir.join("catalog.redb").exists() {
            given.flags.push(("data.dir".to_owned(), scratch.path().display().to_string()));
        }
        let offline = Offline::open(&given.load()?)?;
        match apply_here(
            &offline.custody,
            config.definition_limits(),
            &body.manifests,
            body.options,
            &RealClock::new(),
        ) {
            Ok(applied) => {
                if let Some(key) = offline.made_key.filter(|_| !body.options.dry_run) {
                    say!(
                        "a master key was made at {}: copy it to a safe place apart from the data; without it nothing sealed can be read",
                        key.display()
                    );
                }
                Ok(print(&applied.plan, &place))
            }
            Err(ApplyError::Problems(problems)) => Ok(report(&problems)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Sends manifests to the daemon behind `socket`.
///
/// # Errors
/// Nobody answers, or the answer is a refusal.
pub(crate) async fn send(socket: &Path, body: &ApplyBody) -> Result<Plan, ClientError> {
    let broken = |error: serde_json::Error| ClientError::Broken(error.into());
    let body = serde_json::to_value(body).map_err(broken)?;
    let answer = client::call(socket, Method::POST, "/apply", Some(body)).await?;
    serde_json::from_value(answer).map_err(broken)
}

fn print(plan: &Plan, place: &str) -> ExitCode {
    say!("{plan}");
    let changes = plan.lines.iter().any(|line| line.action != Action::Unchanged);
    match (plan.is_applied, changes) {
        (false, _) => say!("dry run: nothing was changed in {place}"),
        (true, false) => say!("nothing to do in {place}, revision {}", plan.revision),
        (true, true) => say!("applied to {place}, revision {}", plan.revision),
    }
    ExitCode::SUCCESS
}

fn report(problems: &[String]) -> ExitCode {
    problems.iter().for_each(|problem| complain!("{problem}"));
    let noun = if problems.len() == 1 { "problem" } else { "problems" };
    complain!("{} {noun}; nothing was changed", problems.len());
    ExitCode::FAILURE
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
