//! `perseat keys rotate`: another master key, or the next version of a customer's key, while the daemon runs.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::json;

use super::ConfigArgs;
use super::client;
use crate::boot::customer_keys::{self, Progress, RotateBody};
use crate::boot::rotation::Stage;
use crate::cli::print::{complain, say};

/// How often it is asked how far the daemon is.
const LOOK: Duration = Duration::from_millis(100);

/// Replace keys
#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    Rotate(Rotate),
}

/// Which key.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// The one that wraps the keys of the organization and of all customers
    Master,
}

/// Replace a key of the running daemon by a new one
///
/// The daemon draws another master key and puts the keyring under it, while events come in and flows run. What is sealed stays as
/// it is: the keys that seal it are wrapped anew. A daemon that is killed on the way starts with the key that fits; ask again then.
/// Copies of the keyring from before, together with the old master key, still open everything that they did: destroy them, and
/// export the keyring again.
///
/// With --customer it draws the next version of one customer's key, wraps the customer's users' keys with it and seals anew what the
/// version before sealed: connections, API keys, app registrations, tokens and files. Executions keep the version that sealed
/// them; it is destroyed once the journal holds none of them any more. A daemon that is killed on the way goes on at its start.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  perseat keys rotate master\n  perseat keys rotate --customer globex         by id, external id or name\n  perseat keyring export /mnt/keys/keyring     afterwards, in place of the older copy"
)]
struct Rotate {
    /// Which key
    #[arg(value_enum, required_unless_present = "customer", conflicts_with = "customer")]
    key: Option<Which>,

    /// The customer whose key is rotated, by id, external id or name
    #[arg(long, value_name = "CUSTOMER")]
    customer: Option<String>,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Keys {
    /// Runs the command.
    ///
    /// # Errors
    /// No daemon runs, or it could not replace the key.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let KeysCommand::Rotate(command) = self.command;
        let config = command.config.given().load()?;
        let socket = config.socket();
        match command.customer {
            Some(customer) => client::block_on(rotate_customer(&socket, &customer))?,
            None => client::block_on(rotate_master(&socket))?,
        }
    }
}

async fn rotate_master(socket: &Path) -> anyhow::Result<ExitCode> {
    let mut answer = client::call(socket, Method::POST, "/keys/master", None).await?;
    let mut shown = None;
    loop {
        match serde_json::from_value(answer)? {
            Stage::Running { done, of } if shown != Some((done, of)) => {
                shown = Some((done, of));
                complain!("{done} of {of} keys are looked through");
            }
            Stage::Running { .. } => {}
            Stage::Idle => bail!("the daemon was restarted meanwhile; ask again"),
            Stage::Failed { error } => bail!("the master key was not replaced: {error}"),
            Stage::Done {
                generation,
                keys,
                key_file,
                put_to,
            } => {
                say!(
                    "{keys} keys are wrapped by the new master key, in {}; the keyring is of generation {generation}",
                    key_file.display()
                );
                match put_to {
                    Some(home) => say!(
                        "put that key where the daemon looks for it ({}) and restart the daemon: it then overwrites its own copy",
                        home.display()
                    ),
                    None => say!("copy it to where the old one was kept, apart from the data"),
                }
                say!("now export the keyring again: older copies of it open with the old master key");
                return Ok(ExitCode::SUCCESS);
            }
        }
        tokio::time::sleep(LOOK).await;
        answer = client::call(socket, Method::GET, "/keys/master", None).await?;
    }
}

async fn rotate_customer(socket: &Path, customer: &str) -> anyhow::Result<ExitCode> {
    let body = RotateBody {
        customer: customer.to_owned(),
    };
    let mut answer = client::call(socket, Method::POST, "/keys/customers", Some(json!(body))).await?;
    let mut shown = None;
    loop {
        let Progress { customer, stage } = serde_json::from_value(answer)?;
        match stage {
            customer_keys::Stage::Running { done } if shown != Some(done) => {
                shown = Some(done);
                complain!(
                    "{} keys of users, {} values and {} files are done",
                    done.keys,
                    done.values,
                    done.files
                );
            }
            customer_keys::Stage::Running { .. } => {}
            customer_keys::Stage::Idle => bail!("the daemon was restarted meanwhile; ask again"),
            customer_keys::Stage::Failed { error, code } => {
                bail!("the rotation is held up, and goes on by itself once that is over: {error} ({code})")
            }
            customer_keys::Stage::Done { version, older, done } => {
                say!(
                    "version {version} of the customer's key seals all that is in use: {} keys of users, {} values and {} files were \
                     done anew",
                    done.keys,
                    done.values,
                    done.files
                );
                for older in older {
                    say!("version {older} stays until no execution is left that it may have sealed; the daemon destroys it then");
                }
                say!("take a backup and export the keyring: a backup from before cannot be read with a keyring without the older version");
                return Ok(ExitCode::SUCCESS);
            }
        }
        tokio::time::sleep(LOOK).await;
        answer = client::call(socket, Method::GET, &format!("/keys/customers/{customer}"), None).await?;
    }
}
