//! `perseat reload`: checks the configuration, then tells the running daemon to read it again.

use std::process::ExitCode;

use anyhow::Context as _;
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
        let holder = DataDirectory::holder(&config.data.dir)?;
        let holder = holder.ok_or_else(|| ClientError::NotRunning(config.data.dir.clone()))?;
        let process = rustix::process::Pid::from_raw(holder.process).filter(|_| holder.serves);
        let process = process.with_context(|| {
            let (process, data) = (holder.process, config.data.dir.display());
            format!("process {process} has {data} and is a command, no daemon: it has nothing to read again")
        })?;
        rustix::process::kill_process(process, rustix::process::Signal::HUP)?;
        say!(
            "process {} reads its configuration again; its log names what changed",
            process.as_raw_nonzero()
        );
        Ok(ExitCode::SUCCESS)
    }
}
