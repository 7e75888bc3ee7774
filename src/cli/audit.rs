//! `perseat audit`: who changed what, and whether the record of it is whole.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::ConfigArgs;
use super::client::{self, ClientError};
use super::offline::Offline;
use super::table::Table;
use crate::boot::tokens::audit_after;
use crate::cli::print::say;

/// List changes of the configuration, or verify that none was tampered with
#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    List(List),
    Verify(Verify),
}

/// List changes, oldest first
#[derive(Debug, Args)]
struct List {
    /// Only behind this revision
    #[arg(long, default_value_t = 0)]
    after: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

/// Check the chain of digests; exits 1 if it is broken
#[derive(Debug, Args)]
struct Verify {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Audit {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong configuration, or a chain that is broken.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            AuditCommand::List(command) => command.run(),
            AuditCommand::Verify(command) => command.run(),
        }
    }
}

impl List {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let target = format!("/audit?after={}", self.after);
        let listed = match client::block_on(client::call(&config.socket(), Method::GET, &target, None))? {
            Err(ClientError::NotRunning(_)) => {
                audit_after(Offline::open(&config)?.custody.catalog(), self.after, config.local.page.as_usize())?
            }
            answered => answered?,
        };
        if self.json {
            say!("{listed}");
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Table::new(&["REVISION", "WHO", "WHAT", "RECORDS"]);
        for entry in listed["entries"].as_array().into_iter().flatten() {
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            let records = entry["records"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let shown: Vec<&str> = records.take(3).collect();
            table.row([entry["revision"].to_string(), text("by"), text("action"), shown.join(", ")]);
        }
        say!("{table}");
        Ok(ExitCode::SUCCESS)
    }
}

impl Verify {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let entries = match client::block_on(client::call(&config.socket(), Method::GET, "/audit/verify", None))? {
            Err(ClientError::NotRunning(_)) => Offline::open(&config)?.custody.catalog().verify_audit_chain()?,
            answered => answered?["entries"].as_u64().unwrap_or_default(),
        };
        say!("{entries} entries, each holds the digest of the one before: nothing was changed or taken out");
        Ok(ExitCode::SUCCESS)
    }
}
