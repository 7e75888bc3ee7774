//! The command line: one module a command, none with logic of its own.
//!
//! Exit codes: 0 done · 1 it failed, or what was checked is wrong · 2 the command line is wrong · 3 no daemon answers.

pub mod apply;
pub mod audit;
pub mod backup;
pub mod bench_fixture;
pub mod check_config;
pub mod client;
pub mod customer;
pub mod demo;
pub mod endpoints;
pub mod executions;
pub mod export;
pub mod journal;
pub mod keyring;
pub mod keys;
mod offline;
pub(crate) mod print;
pub mod receipt_test;
pub mod reload;
pub mod restore;
pub mod serve;
pub(crate) mod table;
pub mod token;
pub mod usage;
pub mod user;
pub mod validate;
pub mod verify;
pub mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::boot::reload::Given;
use crate::cli::print::complain;

/// Perseat runs embedded integrations: each customer's users connect their own accounts, each event runs as its user.
#[derive(Debug, Parser)]
#[command(name = "perseat", version, max_term_width = 110, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  perseat demo                                              see two customers' users run side by side
  perseat serve                                             data in ./data, webhooks on 127.0.0.1:3000
  perseat apply -f config/demo                              set up customers, users and integrations from manifests
  perseat user create-owner --email ann@acme.example        the first owner, who then uses `prism login`
  perseat token create --role owner                         a bearer for the API and the prism CLI
  perseat endpoints --customer globex                       the URLs to give to whoever sends webhooks
  perseat executions list --status failed                   what ran, for whom, and how it ended
  perseat backup /mnt/backups/today                         beside the running daemon
  perseat validate integration.yml                          line, column and suggestion for every problem
  perseat receipt-test --dir /var/lib                       kill a daemon again and again on this disk; lose no receipt
  perseat check-config --config /etc/perseat/perseat.toml   report everything that is wrong, start nothing

Exit codes:
  0  done
  1  it failed, or what was checked is wrong
  2  the command line is wrong
  3  no daemon answers";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Demo(demo::Demo),
    Apply(apply::Apply),
    Export(export::Export),
    User(user::User),
    Token(token::Token),
    Audit(audit::Audit),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Resume(restore::Resume),
    Keyring(keyring::Keyring),
    Keys(keys::Keys),
    Customer(customer::Customer),
    Verify(verify::Verify),
    Endpoints(endpoints::ListEndpoints),
    Executions(executions::Executions),
    Usage(usage::ShowUsage),
    Validate(validate::Validate),
    CheckConfig(check_config::CheckConfig),
    Reload(reload::Reload),
    Journal(journal::Journal),
    ReceiptTest(receipt_test::ReceiptTest),
    Version(version::Version),
    #[command(hide = true)]
    BenchFixture(bench_fixture::BenchFixture),
}

/// Where the configuration comes from; shared by every command that needs it.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file; without one every key has its default
    #[arg(long, env = "PERSEAT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// The data directory: short for --set data.dir=DIR
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Sets one key, over the file and the environment; may be repeated: --set front.max-body=1MiB
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as front.max-body=1MiB")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl ConfigArgs {
    /// The sources these flags name.
    #[must_use]
    pub fn given(&self) -> Given {
        let data = self.data.iter().map(|dir| ("data.dir".to_owned(), dir.display().to_string()));
        Given {
            file: self.config.clone(),
            flags: self.set.iter().cloned().chain(data).collect(),
        }
    }
}

/// Runs the command that `arguments` name; the first one is the program.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
    let result = match Cli::try_parse_from(arguments) {
        Ok(Cli { command }) => print::read_by_someone(|| match command {
            Command::Serve(command) => command.run(),
            Command::Demo(command) => command.run(),
            Command::Apply(command) => command.run(),
            Command::Export(command) => command.run(),
            Command::User(command) => command.run(),
            Command::Token(command) => command.run(),
            Command::Audit(command) => command.run(),
            Command::Backup(command) => command.run(),
            Command::Restore(command) => command.run(),
            Command::Resume(command) => command.run(),
            Command::Keyring(command) => command.run(),
            Command::Keys(command) => command.run(),
            Command::Customer(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Endpoints(command) => command.run(),
            Command::Executions(command) => command.run(),
            Command::Usage(command) => command.run(),
            Command::Validate(command) => command.run(),
            Command::CheckConfig(command) => command.run(),
            Command::Reload(command) => command.run(),
            Command::Journal(command) => command.run(),
            Command::ReceiptTest(command) => command.run(),
            Command::Version(command) => command.run(),
            Command::BenchFixture(command) => command.run(),
        }),
        Err(usage) => {
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    result.map(|code| code.unwrap_or(ExitCode::SUCCESS)).unwrap_or_else(|error| {
        complain!("perseat: {error:#}");
        let silent = error
            .downcast_ref::<client::ClientError>()
            .is_some_and(|error| matches!(error, client::ClientError::NotRunning(_)));
        ExitCode::from(if silent { 3 } else { 1 })
    })
}
