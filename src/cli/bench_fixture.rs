//! `perseat bench-fixture`: a data directory to measure the daemon with, and the requests to send.
//!
//! Hidden from the help: only the benchmark harness calls it. The same arguments give the same ids and the same order of
//! requests; only keys differ. Records are written in the order of their ids, so that a million users are a matter of
//! minutes and of bounded memory.

mod fill;
mod flows;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use perseat_domain::definition::EndpointType;
use url::Url;

use super::offline::Offline;
use crate::boot::reload::Given;
use crate::cli::print::say;

/// Write a data directory, its configuration and the requests of a benchmark
#[derive(Debug, Args)]
pub struct BenchFixture {
    /// Where to write; must not hold data yet
    directory: PathBuf,

    /// What each request runs
    #[arg(long, value_enum)]
    flow: Flow,

    /// Configured users, spread over the instances
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: u32,

    /// Instances, one of each customer
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    instances: u32,

    /// Which URLs the integration has
    #[arg(long, value_enum)]
    endpoint: Endpoint,

    /// Where the daemon listens for webhooks, and serves the API
    #[arg(long)]
    listen: SocketAddr,

    /// Where the daemon listens for health and metrics
    #[arg(long)]
    admin: SocketAddr,

    /// Where the three-step flow posts to
    #[arg(long, required_if_eq("flow", "three-step"))]
    sink: Option<Url>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Flow {
    /// A webhook trigger and nothing else
    Ack,
    /// One code step
    Code,
    /// Code, branch, HTTP
    ThreeStep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Endpoint {
    FlowSpecific,
    InstanceSpecific,
    Shared,
}

impl Endpoint {
    fn endpoint_type(self) -> EndpointType {
        match self {
            Self::FlowSpecific => EndpointType::FlowSpecific,
            Self::InstanceSpecific => EndpointType::InstanceSpecific,
            Self::Shared => EndpointType::SharedInstance,
        }
    }
}

/// Accepted and not ended, for flows that take longer to run than to accept: senders wait instead of filling a queue that
/// is still full when the measurement ends.
const ADMITTED: u32 = 128;

impl BenchFixture {
    /// Runs the command.
    ///
    /// # Errors
    /// The directory holds data already, or cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        std::fs::create_dir_all(&self.directory)?;
        let directory = self.directory.canonicalize()?;
        let config_file = directory.join("perseat.toml");
        anyhow::ensure!(
            !directory.join("data/catalog.redb").exists(),
            "{} holds data already",
            directory.display()
        );
        let data = directory.join("data");
        std::fs::write(&config_file, self.config(&data.display().to_string())?)?;
        let given = Given {
            file: Some(config_file.clone()),
            ..Given::default()
        };
        let offline = Offline::open(&given.load()?)?;
        let yaml = flows::integration(self.flow, self.endpoint, self.sink.as_ref());
        let requests = fill::fill(&offline.custody, &yaml, self.users as usize, self.instances as usize)?;
        let urls = directory.join("urls.txt");
        let mut file = std::io::BufWriter::new(std::fs::File::create(&urls).context("urls.txt")?);
        requests.write(self.endpoint.endpoint_type(), &mut file)?;
        // Nothing of it is left to be written while something is measured.
        file.into_inner()?.sync_all()?;
        say!(
            "{} users in {} instances; {} and {}",
            self.users,
            self.instances,
            config_file.display(),
            urls.display()
        );
        if self.flow != Flow::Ack {
            say!("admission.total is {ADMITTED}: beyond it senders wait");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn config(&self, data: &str) -> anyhow::Result<String> {
        use toml::{Table, Value};
        let text = |value: &dyn std::fmt::Display| Value::String(value.to_string());
        let section = |keys: &[(&str, Value)]| Value::Table(keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect());
        let mut file = Table::new();
        file.insert("data".into(), section(&[("dir", text(&data))]));
        for listener in ["hooks", "api"] {
            file.insert(listener.into(), section(&[("listen", text(&self.listen))]));
        }
        file.insert("admin".into(), section(&[("listen", text(&self.admin))]));
        if let Some(sink) = &self.sink {
            let host = sink.host_str().context("--sink has no host")?;
            let port = sink.port_or_known_default().context("--sink has no port")?;
            file.insert(
                "outbound".into(),
                section(&[("allow", Value::Array(vec![text(&format!("{host}:{port}"))]))]),
            );
        }
        if self.flow != Flow::Ack {
            file.insert("admission".into(), section(&[("total", Value::Integer(ADMITTED.into()))]));
        }
        Ok(toml::to_string(&file)?)
    }
}
