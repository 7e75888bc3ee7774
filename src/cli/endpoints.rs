//! `perseat endpoints`: the URLs to give to whoever sends webhooks.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use perseat_admin::endpoints::{Endpoint, Endpoints};
use perseat_domain::definition::EndpointType;

use super::ConfigArgs;
use super::client::{self, target};
use super::table::Table;
use crate::cli::print::{complain, say, show};

/// List the trigger URLs of all instances and users, and what a request must say besides
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  perseat endpoints --customer globex --user jane")]
pub struct ListEndpoints {
    /// Only of the customer with this external id or name
    #[arg(long)]
    customer: Option<String>,

    /// Only of instances with this name
    #[arg(long)]
    instance: Option<String>,

    /// Only of the user with this external id or e-mail address
    #[arg(long)]
    user: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

impl ListEndpoints {
    /// Runs the command.
    ///
    /// # Errors
    /// No daemon answers, or it refuses.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let query = [("customer", &self.customer), ("instance", &self.instance), ("user", &self.user)];
        let answer = client::block_on(client::call(&config.socket(), Method::GET, &target("/endpoints", &query), None))??;
        if self.json {
            say!("{answer:#}");
            return Ok(ExitCode::SUCCESS);
        }
        let list: Endpoints = serde_json::from_value(answer)?;
        let mut table = Table::new(&["customer", "instance", "user", "flow", "request names", "url"]);
        for endpoint in list.endpoints {
            let names = named_by_request(&endpoint);
            table.row([
                endpoint.customer.unwrap_or_default(),
                endpoint.instance.unwrap_or(endpoint.integration),
                endpoint.user.unwrap_or_default(),
                endpoint.flow.unwrap_or_default(),
                names,
                endpoint.url,
            ]);
        }
        show!("{table}");
        if list.is_cut {
            complain!("there are more; narrow the list by --customer, --instance or --user");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What a request has to say, because the URL does not.
fn named_by_request(endpoint: &Endpoint) -> String {
    if endpoint.flow.is_some() {
        return String::new();
    }
    let mut names = vec!["flow"];
    if endpoint.endpoint_type == EndpointType::SharedInstance {
        names.push("customer");
    }
    if endpoint.names_user {
        names.push("user");
    }
    names.join(", ")
}
