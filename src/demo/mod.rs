//! The demonstration: a real daemon, a pretend provider, and a table of what reached whom.
//!
//! It is a check as much as a show: each row says beforehand what must come of it, and the provider, not the daemon, says
//! whose token it saw. Nothing waits by sleeping; the provider and the service manager's protocol say when something is done.

mod host;
mod manifests;
mod provider;
mod report;
mod rows;
mod webhook;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use perseat_admin::apply::{ApplyOptions, Plan};
use perseat_admin::endpoints::Endpoints;
use perseat_admin::manifest::read_files;
use tokio::signal::unix::{SignalKind, signal};

use crate::boot::administration::ApplyBody;
use crate::cli::print::say;
use crate::cli::{apply, client};
use crate::daemon_process::{DaemonProcess, Place};
use host::Host;
use manifests::Secrets;
use provider::Provider;
use rows::{Outcome, Row};

/// How the demo runs.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// End after the table.
    pub(crate) once: bool,
    /// Where to keep everything; a temporary folder if none.
    pub(crate) directory: Option<PathBuf>,
    /// The embedded SDK's file, for the host page; else browsers load it from where npm packages are published.
    pub(crate) sdk: Option<PathBuf>,
    /// Whether the provider mixes up two users' tokens.
    pub(crate) swap_tokens: bool,
    /// How long the daemon may take to start, and to stop.
    pub(crate) start: Duration,
    /// How long one row may take.
    pub(crate) row: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            once: false,
            directory: None,
            sdk: None,
            swap_tokens: false,
            start: Duration::from_secs(60),
            row: Duration::from_secs(30),
        }
    }
}

/// Runs the demo; tells whether every row was as expected.
///
/// # Errors
/// The daemon does not start or does not answer.
pub(crate) async fn run(options: Options) -> anyhow::Result<bool> {
    let scratch = tempfile::Builder::new().prefix("perseat-demo-").tempdir()?;
    let directory = match &options.directory {
        Some(directory) => {
            std::fs::create_dir(directory).with_context(|| format!("{} must be a new folder", directory.display()))?;
            directory.canonicalize()?
        }
        None => scratch.path().to_owned(),
    };
    let secrets = Secrets::new();
    let provider = Provider::start(secrets.accounts(options.swap_tokens)).await?;
    say!("· a pretend file storage listens on {}", provider.address());
    let host = Host::start(options.sdk.clone()).await?;
    let folder = manifests::write(&directory)?;
    let place = Place {
        directory: directory.clone(),
        scratch: scratch.path().to_owned(),
        settings: vec![
            ("outbound", "allow", vec![provider.address().to_string()].into()),
            ("embedded", "origins", vec![host.origin()].into()),
        ],
        start: options.start,
    };
    let mut daemon = DaemonProcess::start(&place).await?;
    say!("· the daemon runs: process {}, data in {}", daemon.id(), daemon.data().display());

    let socket = daemon.socket();
    let plan = set_up(&socket, &folder, &secrets, &provider).await?;
    say!("· applied {}: {} records created", folder.display(), plan.lines.len());
    let endpoints = client::call(&socket, Method::GET, "/endpoints", None).await?;
    let endpoints: Endpoints = serde_json::from_value(endpoints)?;
    let rows = rows::all(&endpoints, &secrets)?;
    say!("· posting {} webhooks, one after the other\n", rows.len());
    let mut outcomes = Vec::with_capacity(rows.len());
    for row in &rows {
        let outcome = tokio::time::timeout(options.row, rows::send(row, &provider));
        outcomes.push(outcome.await.unwrap_or_else(|_| Outcome::late(options.row)));
    }
    let as_expected = report::print(&rows, &outcomes, &provider);
    if !options.once {
        host.open(&socket).await?;
        report::print_next(&rows, &daemon, &directory, &host.addresses());
        until_stopped(&mut daemon).await?;
    }
    daemon.stop(options.start).await?;
    Ok(as_expected)
}

async fn set_up(socket: &Path, folder: &Path, secrets: &Secrets, provider: &Provider) -> anyhow::Result<Plan> {
    let storage = format!("http://{}", provider.address());
    let lookup = |name: &str| secrets.variable(name, &storage);
    let manifests = read_files(folder, &lookup).map_err(|problems| anyhow::anyhow!("the demo's manifests: {problems:?}"))?;
    let body = ApplyBody {
        manifests,
        options: ApplyOptions::default(),
    };
    Ok(apply::send(socket, &body).await?)
}

/// Waits for Ctrl-C or SIGTERM, or for the daemon's end.
async fn until_stopped(daemon: &mut DaemonProcess) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        ended = daemon.ended() => anyhow::bail!("the daemon ended by itself: {ended}"),
    }
    say!("\n· stopping");
    Ok(())
}

/// A row that is looked at by others: what it was and what came of it.
type Shown<'a> = (&'a Row, &'a Outcome);
