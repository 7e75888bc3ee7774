//! `perseat export`: the catalog as manifests.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use perseat_admin::export::export;

use super::ConfigArgs;
use super::client::{self, ClientError};
use super::offline::Offline;
use crate::cli::print::{say, show};

/// Print everything that is configured as manifests that `perseat apply` takes; secrets as names of variables
///
/// Reads the running daemon; where none runs, the data directory itself. Secrets are not printed: they stand as
/// `valueFrom: {env: NAME}`, and the head of the output lists the names. Applied again with those variables set, nothing
/// changes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  perseat export > set-up.yml")]
pub struct Export {
    /// Print only the names of the variables that the manifests need
    #[arg(long)]
    variables: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Export {
    /// Runs the command.
    ///
    /// # Errors
    /// A data directory that cannot be used, or a refusal of the daemon.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let answer = client::block_on(client::call(&config.socket(), Method::GET, "/export", None))?;
        let (yaml, variables) = match answer {
            Ok(answer) => serde_json::from_value::<Answer>(answer).map(|answer| (answer.yaml, answer.variables))?,
            Err(ClientError::NotRunning(_)) => {
                let offline = Offline::existing(&config)?;
                let exported = export(&offline.custody, config.export_limits())?;
                (exported.yaml, exported.variables)
            }
            Err(error) => return Err(error.into()),
        };
        if self.variables {
            variables.iter().for_each(|name| say!("{name}"));
        } else {
            show!("{yaml}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(serde::Deserialize)]
struct Answer {
    yaml: String,
    variables: Vec<String>,
}
