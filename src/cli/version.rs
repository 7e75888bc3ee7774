//! `perseat version`: which build this is.

use std::process::ExitCode;

use crate::cli::print::say;
use clap::Args;

/// Whether this build holds the switches that tests break the daemon with.
pub const FAULT_SWITCHES: bool = cfg!(feature = "faults");

/// Print the version and how this binary was built
#[derive(Debug, Args)]
pub struct Version {}

impl Version {
    /// Runs the command.
    ///
    /// # Errors
    /// None.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        say!("perseat {}", env!("CARGO_PKG_VERSION"));
        say!("commit: {}", env!("PERSEAT_COMMIT"));
        say!("toolchain: {}", env!("PERSEAT_TOOLCHAIN"));
        say!(
            "fault switches: {}",
            if FAULT_SWITCHES {
                "compiled in (never run this build in production)"
            } else {
                "absent"
            }
        );
        Ok(ExitCode::SUCCESS)
    }
}
