//! `perseat verify`: whether a directory or a backup is whole.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::ConfigArgs;
use crate::boot::master_key;
use crate::cli::print::say;
use crate::verify::{Subject, verify};

/// Check a data directory that no daemon uses, or a backup; reads only, exits 1 if something does not fit
///
/// Compares everything that is redundant: hashes and checksums, the frames of the journal, state and history with the journal, the
/// catalog's lists and references with its records, the audit chain with what it says was written, keys with their owners, uploaded
/// files with their records; with the master key also whether keys, credentials and files open, and what the catalog of a backup says of
/// users, whose rows are sealed in it. Prints what was checked, and each finding with its place.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perseat verify /var/lib/perseat
  perseat verify /mnt/backups/2026-11-26 --keyring /mnt/keys/keyring --master-key /mnt/keys/master-key")]
pub struct Verify {
    /// The directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The keyring; without it that of the directory, which a backup has not
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,

    /// The master key; without it the one that the daemon would find
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Verify {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong configuration, a directory in use, or one that is neither a data directory nor a backup.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let mut subject = Subject {
            directory: &self.directory,
            keyring: self.keyring.as_deref(),
            master_key: master_key::given(&config, self.master_key.as_deref(), &self.directory)?,
            catalog: config.catalog_options(),
            keys: config.keyring_options(),
        };
        let report = verify(&mut subject)?;
        say!("{report}");
        Ok(if report.findings.count() == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
