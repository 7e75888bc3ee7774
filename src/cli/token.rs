//! `perseat token`: bearers for programs and people, and tokens like the host product's to try things.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use perseat_actors::kit::{Clock as _, RealClock};
use perseat_admin::identity::embedded::Claims;
use perseat_admin::identity::tokens::NewToken;
use perseat_domain::model::Role;
use perseat_domain::time::Timestamp;
use serde_json::Value;

use super::ConfigArgs;
use super::client::{self, ClientError, target};
use super::offline::Offline;
use super::table::Table;
use crate::boot::tokens::create_offline;
use crate::cli::print::{complain, say, show};
use crate::config::Config;

/// Make, list and revoke bearer tokens of the API
#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    Create(Create),
    List(List),
    Revoke(Revoke),
    Embed(Embed),
}

/// A role, of the organization or of a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleWord {
    Owner,
    Admin,
    Integrator,
    Guest,
    ThirdParty,
    Member,
    MarketplaceAdmin,
    MarketplaceUser,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Owner => Self::Owner,
            RoleWord::Admin => Self::Admin,
            RoleWord::Integrator => Self::Integrator,
            RoleWord::Guest => Self::Guest,
            RoleWord::ThirdParty => Self::ThirdParty,
            RoleWord::Member => Self::Member,
            RoleWord::MarketplaceAdmin => Self::MarketplaceAdmin,
            RoleWord::MarketplaceUser => Self::MarketplaceUser,
        }
    }
}

/// Make a token; it is printed once and kept as a digest only
///
/// The first token of a new data directory makes the organization, too. Talks to the running daemon; where none runs, works on
/// the data directory itself.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perseat token create --role owner                        for whoever sets Perseat up
  perseat token create --role integrator --name ci         for a program of the organization
  perseat token create --role member --customer globex     for a program of a customer
  perseat token create --user ann@acme.example             acts as a person, with whatever role she has")]
struct Create {
    /// The role of a program
    #[arg(long, value_enum, required_unless_present = "user")]
    role: Option<RoleWord>,

    /// The customer's external id or name; without it the organization's
    #[arg(long)]
    customer: Option<String>,

    /// The user's external id or e-mail address: the token acts as them
    #[arg(long, conflicts_with = "role")]
    user: Option<String>,

    /// What the token is for
    #[arg(long, default_value = "command line")]
    name: String,

    /// Days until it ends by itself
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..))]
    days: u16,

    /// The organization's name, where there is none yet
    #[arg(long, default_value = "My organization")]
    organization: String,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

/// List tokens, those of a page newest first
#[derive(Debug, Args)]
struct List {
    /// Only behind this token: the next page
    #[arg(long, value_name = "TOKEN")]
    after: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

/// End a token
#[derive(Debug, Args)]
struct Revoke {
    /// Its id
    token: String,

    #[command(flatten)]
    config: ConfigArgs,
}

/// Sign a token as the host product does for an embedded user, to try things
///
/// Nothing is stored: the daemon believes it as long as the public half of the key is registered.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  perseat token embed --customer globex --user jane --external-id jane --role user --key private.pem")]
struct Embed {
    /// The customer's external id
    #[arg(long)]
    customer: String,

    /// The user, in the host product's words (claim `sub`)
    #[arg(long)]
    user: String,

    /// admin or user
    #[arg(long, default_value = "admin", value_parser = ["admin", "user"])]
    role: String,

    /// The private RSA key, in PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// The user's external id
    #[arg(long)]
    external_id: Option<String>,

    /// The user's name
    #[arg(long)]
    name: Option<String>,

    /// The name of a customer that is not known yet
    #[arg(long)]
    customer_name: Option<String>,

    /// Minutes until it ends
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_440))]
    minutes: u16,

    /// The organization's global id; asked from the daemon if absent
    #[arg(long)]
    organization: Option<String>,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Token {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong configuration, no daemon, or a refusal.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            TokenCommand::Create(command) => command.run(),
            TokenCommand::List(command) => command.run(),
            TokenCommand::Revoke(command) => command.run(),
            TokenCommand::Embed(command) => command.run(),
        }
    }
}

fn now() -> Timestamp {
    RealClock::new().now()
}

fn call(config: &Config, method: Method, target: &str, body: Option<Value>) -> anyhow::Result<Result<Value, ClientError>> {
    Ok(client::block_on(client::call(&config.socket(), method, target, body))?)
}

impl Create {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let new = NewToken {
            name: self.name,
            role: self.role.map(Role::from),
            customer: self.customer,
            user: self.user,
            expires_at: Some(now().after(Duration::from_secs(u64::from(self.days) * 24 * 60 * 60))),
            organization: self.organization,
        };
        let made = match call(&config, Method::POST, "/tokens", Some(serde_json::to_value(&new)?))? {
            Err(ClientError::NotRunning(_)) => create_offline(&Offline::open(&config)?.custody, config.definition_limits(), &new)?,
            answered => answered?,
        };
        if self.json {
            say!("{made}");
        } else {
            say!("{}", made["token"].as_str().context("the daemon made no token")?);
            complain!("This is the only time that the token is shown. Use it as PRISM_ACCESS_TOKEN, or as a bearer.");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let listed = call(&config, Method::GET, &target("/tokens", &[("after", &self.after)]), None)??;
        if self.json {
            say!("{listed}");
            return Ok(ExitCode::SUCCESS);
        }
        let text = |token: &Value, field: &str| token[field].as_str().unwrap_or_default().to_owned();
        let mut table = Table::new(&["ID", "NAME", "BEGINS WITH", "STATE", "HOLDER"]);
        for token in listed["tokens"].as_array().into_iter().flatten() {
            let state = if token["revokedAt"].is_null() { "usable" } else { "revoked" };
            let row = [
                text(token, "id"),
                text(token, "name"),
                text(token, "prefix"),
                state.to_owned(),
                text(token, "holder"),
            ];
            table.row(row);
        }
        show!("{table}");
        if let Some(next) = listed["next"].as_str() {
            say!("others: --after {next}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Revoke {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let id: perseat_domain::id::TokenId = self.token.parse().context("not a token's id")?;
        call(&config, Method::POST, &format!("/tokens/{id}/revoke"), None)??;
        say!("revoked");
        Ok(ExitCode::SUCCESS)
    }
}

impl Embed {
    fn run(self) -> anyhow::Result<ExitCode> {
        let organization = match self.organization {
            Some(organization) => organization,
            None => {
                let config = self.config.given().load()?;
                let answer = call(&config, Method::GET, "/organization", None)??;
                answer["id"].as_str().context("the daemon has no organization")?.to_owned()
            }
        };
        let key = std::fs::read(&self.key).with_context(|| self.key.display().to_string())?;
        let seconds = now().0 / 1_000;
        let claims = Claims {
            sub: self.user,
            organization,
            customer: self.customer,
            // A little in the past, for clocks that differ.
            iat: seconds.saturating_sub(5),
            exp: seconds + u64::from(self.minutes) * 60,
            external_id: self.external_id,
            name: self.name,
            customer_name: self.customer_name,
            role: Some(self.role),
            ..Claims::default()
        };
        say!("{}", claims.sign(&key)?);
        Ok(ExitCode::SUCCESS)
    }
}
