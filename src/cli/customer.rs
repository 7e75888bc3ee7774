//! `perseat customer`: one customer from one daemon to another.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use http::Method;
use perseat_actors::kit::RealClock;
use perseat_admin::transfer::{Envelope, Imported};
use serde_json::json;
use zeroize::Zeroizing;

use super::ConfigArgs;
use super::client::{self, ClientError};
use super::offline::Offline;
use crate::backup::hex;
use crate::backup::write::create;
use crate::boot::master_key;
use crate::boot::transfer::{ExportBody, ImportBody, KeyDigits, export_here, import_here};
use crate::cli::print::say;

/// Move one customer to another daemon: users, instances, configurations and credentials, sealed by a key of yours
#[derive(Debug, Args)]
pub struct Customer {
    #[command(subcommand)]
    command: CustomerCommand,
}

#[derive(Debug, Subcommand)]
enum CustomerCommand {
    Export(Export),
    Import(Import),
}

/// Write a customer to a file that only the key opens
///
/// Everything in the file is sealed, names included. In it are the customer, its users, instances and user configurations with their
/// credentials. Not in it: executions and their history, bearer tokens, passwords, and integrations, which the other side must have
/// with the same definition. Ids stay, so trigger URLs stay but for the host.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perseat customer export globex globex.perseat --key-file transfer-key
  perseat customer import globex.perseat --key-file transfer-key --data /var/lib/other")]
struct Export {
    /// The customer's id, external id or name
    #[arg(value_name = "CUSTOMER")]
    customer: String,

    /// The file to write; it must not be there
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// A file with the key, mode 0600: 32 bytes or 64 hexadecimal digits; made if it is not there
    #[arg(long, value_name = "KEY")]
    key_file: PathBuf,

    #[command(flatten)]
    config: ConfigArgs,
}

/// Take in a customer from a file: all of it, or nothing and every reason
///
/// Its instances arrive switched off: as long as they are on at the daemon that they come from, two daemons would take the same events
/// and spend the same refresh tokens. Delete the customer there, then switch them on here.
#[derive(Debug, Args)]
struct Import {
    /// The file that `perseat customer export` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The file with the key
    #[arg(long, value_name = "KEY")]
    key_file: PathBuf,

    /// Leave its instances switched on that were; for a customer that is deleted at the other daemon
    #[arg(long)]
    switched_on: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Customer {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong configuration or key, no such customer, or whatever stands in the way of an import.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            CustomerCommand::Export(command) => command.run(),
            CustomerCommand::Import(command) => command.run(),
        }
    }
}

/// The key as the daemon takes it.
fn key(path: &Path) -> anyhow::Result<KeyDigits> {
    let key = master_key::read(path, true)?;
    Ok(KeyDigits(Zeroizing::new(hex(key.bytes.as_slice()))))
}

impl Export {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let made = !self.key_file.exists();
        if made {
            master_key::write_new(&self.key_file)?;
        }
        let body = ExportBody {
            customer: self.customer.clone(),
            key: key(&self.key_file)?,
        };
        let mut file = create(&self.file).with_context(|| self.file.display().to_string())?;
        let exported = self.envelope(&config, &body);
        let written = exported.and_then(|envelope| {
            let text = serde_json::to_string_pretty(&envelope)?;
            writeln!(file, "{text}")?;
            file.sync_all()?;
            Ok(())
        });
        if let Err(error) = written {
            let _ = std::fs::remove_file(&self.file);
            return Err(error);
        }
        say!("{} holds the customer `{}`, sealed", self.file.display(), self.customer);
        if made {
            say!(
                "{} was made: bring it to the other side by another way than the file",
                self.key_file.display()
            );
        }
        say!("executions stay here; delete the customer here once the other side has taken it in, before its tokens are used there");
        Ok(ExitCode::SUCCESS)
    }

    fn envelope(&self, config: &crate::config::Config, body: &ExportBody) -> anyhow::Result<Envelope> {
        let socket = config.socket();
        let called = client::call(&socket, Method::POST, "/customers/export", Some(json!(body)));
        match client::block_on(called)? {
            Ok(answer) => Ok(serde_json::from_value(answer)?),
            Err(ClientError::NotRunning(_)) => Ok(export_here(&Offline::existing(config)?.custody, body, &RealClock::new())?),
            Err(error) => Err(error.into()),
        }
    }
}

impl Import {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let named = || self.file.display().to_string();
        let text = std::fs::read_to_string(&self.file).with_context(named)?;
        let body = ImportBody {
            envelope: serde_json::from_str(&text).with_context(|| format!("{} is no exported customer", self.file.display()))?,
            key: key(&self.key_file)?,
            switched_on: self.switched_on,
        };
        let socket = config.socket();
        let called = client::call(&socket, Method::POST, "/customers/import", Some(json!(body)));
        let imported: Imported = match client::block_on(called)? {
            Ok(answer) => serde_json::from_value(answer)?,
            Err(ClientError::NotRunning(socket)) if !config.data.dir.exists() => return Err(ClientError::NotRunning(socket).into()),
            Err(ClientError::NotRunning(_)) => import_here(&Offline::open(&config)?.custody, &body)?,
            Err(error) => return Err(error).context("nothing was imported"),
        };
        say!(
            "`{}` is here: {} users, {} instances, {} user configurations, {} connections",
            imported.customer,
            imported.users,
            imported.instances,
            imported.configs,
            imported.connections
        );
        if imported.switched_off > 0 {
            say!(
                "{} of the instances were switched on and are not yet: delete the customer at the other daemon, then enable them here",
                imported.switched_off
            );
        }
        imported.warnings.iter().for_each(|warning| say!("warning: {warning}"));
        Ok(ExitCode::SUCCESS)
    }
}
