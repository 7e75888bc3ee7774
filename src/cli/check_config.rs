//! `perseat check-config`: everything that is wrong with a configuration, without starting anything.

use std::process::ExitCode;

use clap::Args;

use super::ConfigArgs;
use crate::cli::print::{complain, say};

/// Check a configuration and report every problem at once; nothing is started
///
/// Reads the file, the environment (PERSEAT_…) and --set, as `serve` would.
#[derive(Debug, Args)]
pub struct CheckConfig {
    #[command(flatten)]
    config: ConfigArgs,

    /// Also print every key with the value it has
    #[arg(long)]
    show: bool,
}

impl CheckConfig {
    /// Runs the command.
    ///
    /// # Errors
    /// The problems found.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        if self.show {
            for (key, value) in config.entries() {
                say!("{key} = {}", value.map_or_else(|| "(unset)".to_owned(), |value| value.to_string()));
            }
        }
        for warning in config.warnings() {
            complain!("warning: {warning}");
        }
        say!("the configuration is valid");
        Ok(ExitCode::SUCCESS)
    }
}
