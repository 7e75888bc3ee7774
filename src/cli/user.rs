//! `perseat user`: the first owner, and links for whoever cannot sign in.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use http::Method;
use perseat_admin::identity::accounts::NewOwner;
use serde_json::Value;

use super::ConfigArgs;
use super::client::{self, ClientError};
use super::offline::Offline;
use crate::boot::people::{LinkFor, create_owner_offline};
use crate::cli::print::{complain, say};

/// Make the first owner, and links by which people set a password
#[derive(Debug, Args)]
pub struct User {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    CreateOwner(CreateOwner),
    Link(Link),
}

/// Make an owner of the organization; prints a link by which they set their password, once
///
/// The first one of a new data directory makes the organization, too. For an owner who exists it prints a new link. Talks to the
/// running daemon; where none runs, works on the data directory itself.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  perseat user create-owner --email ann@acme.example --organization Acme")]
struct CreateOwner {
    /// Their e-mail address, with which they sign in
    #[arg(long)]
    email: String,

    /// Their name; the address if absent
    #[arg(long)]
    name: Option<String>,

    /// The organization's name, where there is none yet
    #[arg(long, default_value = "My organization")]
    organization: String,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

/// Print a link by which a user sets another password, once; setting it lifts a lock and signs them out everywhere
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perseat user link ann@acme.example
  perseat user link hans@globex.example --customer globex")]
struct Link {
    /// The user's e-mail address or external id
    user: String,

    /// The customer's external id or name; without it the organization's user
    #[arg(long)]
    customer: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

impl User {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong configuration, no daemon, or a refusal.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            UserCommand::CreateOwner(command) => command.run(),
            UserCommand::Link(command) => command.run(),
        }
    }
}

fn shown(answer: &Value, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        say!("{answer}");
    } else {
        say!("{}", answer["url"].as_str().context("the daemon made no link")?);
        complain!(
            "Whoever opens this link sets the password of {}. It works once, and is not shown again.",
            answer["name"]
        );
    }
    Ok(ExitCode::SUCCESS)
}

impl CreateOwner {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let new = NewOwner {
            email: self.email,
            name: self.name,
            organization: self.organization,
        };
        let (socket, body) = (config.socket(), serde_json::to_value(&new)?);
        let made = match client::block_on(client::call(&socket, Method::POST, "/users/owner", Some(body)))? {
            Err(ClientError::NotRunning(_)) => {
                let address = config.public_url(config.api.listen);
                let lifetime = config.people.sign_in.invitation_lifetime;
                create_owner_offline(&Offline::open(&config)?.custody, &new, &address, lifetime)?
            }
            answered => answered?,
        };
        shown(&made, self.json)
    }
}

impl Link {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let body = LinkFor {
            user: self.user,
            customer: self.customer,
        };
        let (socket, body) = (config.socket(), serde_json::to_value(&body)?);
        let made = client::block_on(client::call(&socket, Method::POST, "/users/link", Some(body)))??;
        shown(&made, self.json)
    }
}
