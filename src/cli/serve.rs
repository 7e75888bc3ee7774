//! `perseat serve`: the daemon.

use std::process::ExitCode;

use clap::Args;

use super::ConfigArgs;

/// Run the daemon until SIGTERM or Ctrl-C; SIGHUP reads the configuration again
///
/// Without arguments: data in ./data, webhooks on 127.0.0.1:3000, API on 3001, health and metrics on 3002.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    config: ConfigArgs,

    /// After state.redb was lost: run executions again of which only copies are left, though they may have ended and repeat what they did
    #[arg(long)]
    resume_carried: bool,
}

impl Serve {
    /// Runs the command.
    ///
    /// # Errors
    /// Whatever keeps the daemon from starting.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let given = self.config.given();
        let config = given.load()?;
        crate::boot::serve(&given, config, self.resume_carried)?;
        Ok(ExitCode::SUCCESS)
    }
}
