//! `perseat demo`: the daemon at work, on a directory of its own, beside a pretend provider.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::client;
use crate::demo::{self, Options};

/// Watch two customers' users run side by side, each with their own credential
///
/// Starts the daemon on a fresh directory beside a pretend file-storage provider, applies the manifests of config/demo, posts
/// webhooks to every kind of endpoint and prints whose token the provider saw. Then it goes on serving, for you to try.
/// Exits 1 when a row is not as expected.
#[derive(Debug, Args)]
pub struct Demo {
    /// End after the table
    #[arg(long)]
    once: bool,

    /// Where to keep manifests and data; must not exist. Without it a temporary folder is used, and removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The file of the embedded SDK (`dist/index.umd.js` of the npm package `@prismatic-io/embedded`) for the host page; without
    /// it browsers load it from the internet
    #[arg(long, value_name = "FILE")]
    sdk: Option<PathBuf>,

    /// Let the provider mix up two users' tokens: the table must show it
    #[arg(long, hide = true)]
    swap_tokens: bool,
}

impl Demo {
    /// Runs the command.
    ///
    /// # Errors
    /// The daemon does not start, or does not answer.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let options = Options {
            once: self.once,
            directory: self.dir,
            sdk: self.sdk,
            swap_tokens: self.swap_tokens,
            ..Options::default()
        };
        let as_expected = client::block_on(demo::run(options))??;
        Ok(if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
