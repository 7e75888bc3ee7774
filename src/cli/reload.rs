//! `perseat reload`: checks the configuration, then tells the running daemon to read it again.

use std::process::ExitCode;

use clap::Args;

use super::ConfigArgs;
use super::client::ClientError;
use crate::boot::data::DataDirectory;
use crate::cli::print::say;

/// Check the configuration, then make the running daemon read it again; a wrong one is reported and not sent
///
/// The daemon logs every key that changed, and which of them wait for a restart.
#[derive(Debug, Args)]
pub struct Reload {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Reload {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong configuration, or no daemon on the data directory.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let holder = DataDirectory::holder(&config.data.dir)?.and_then(rustix::process::Pid::from_raw);
        let holder = holder.ok_or_else(|| ClientError::NotRunning(config.data.dir.clone()))?;
        rustix::process::kill_process(holder, rustix::process::Signal::HUP)?;
        say!(
            "process {} reads its configuration again; its log names what changed",
            holder.as_raw_nonzero()
        );
        Ok(ExitCode::SUCCESS)
    }
}
