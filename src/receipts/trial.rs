//! The receipt test: a daemon of its own under load, killed at random moments, and every receipt held against its journal.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::Method;
use perseat_admin::apply::ApplyOptions;
use perseat_admin::endpoints::Endpoints;
use perseat_admin::manifest::read_text;

use super::disk;
use super::ledger::Ledger;
use super::load::{Heard, Load, Target};
use crate::boot::administration::ApplyBody;
use crate::boot::stores::journal_directory;
use crate::cli::print::say;
use crate::cli::{apply, client};
use crate::daemon_process::{DaemonProcess, Place};

/// How the test runs.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// A fresh directory is made below it.
    pub(crate) below: PathBuf,
    /// How often the daemon is killed under load.
    pub(crate) rounds: u64,
    /// Decides the moments of the kills.
    pub(crate) seed: u64,
    /// Connections that post.
    pub(crate) connections: usize,
    /// Bytes of each event.
    pub(crate) body: usize,
    /// Whether the directory stays also when all is well.
    pub(crate) keep: bool,
    /// How long the daemon may take to start.
    pub(crate) start: Duration,
    /// How long what was accepted may take to end after the last kill.
    pub(crate) end: Duration,
}

/// Receipts of a round before its kill, at most.
const RECEIPTS: u64 = 400;
/// A round's kill comes after so many milliseconds at the latest, receipts or not: a slow disk is killed, too.
const MILLISECONDS: u64 = 1_500;
/// One start in so many is killed before the daemon is ready.
const KILLED_STARTS: u64 = 3;
/// The longest such start, in milliseconds.
const START_MILLISECONDS: u64 = 120;
/// How often it is asked whether something still runs.
const LOOK: Duration = Duration::from_millis(50);
/// How long a daemon that no longer answers may take to be gone: its connections break before its end can be seen.
const GONE: Duration = Duration::from_secs(10);

/// Whose events they are, and what is done with them.
const MANIFESTS: &str = include_str!("trial.yml");

/// Runs the test and prints what happens; whether everything held.
///
/// # Errors
/// The daemon cannot be run, or its journal cannot be read.
pub(crate) async fn run(options: Options) -> anyhow::Result<bool> {
    let directory = options.below.canonicalize();
    let directory = directory.and_then(|below| tempfile::Builder::new().prefix("perseat-receipt-test-").tempdir_in(below));
    let directory = directory.with_context(|| format!("no directory can be made in {}", options.below.display()))?;
    say!(
        "· seed {}, {} rounds, {} connections, events of {} bytes, in {}",
        options.seed,
        options.rounds,
        options.connections,
        options.body,
        directory.path().display()
    );
    let times = disk::measure(directory.path()).context("fdatasync")?;
    say!("· this disk's own fdatasync of 4 KiB: p50 {:?}, p99 {:?}", times.median, times.p99);
    let scratch = tempfile::Builder::new().prefix("perseat-").tempdir()?;
    let place = Place {
        directory: directory.path().to_owned(),
        scratch: scratch.path().to_owned(),
        // Small segments, so that kills meet their change; a budget that drops nothing.
        settings: vec![
            ("journal", "segment", "1MiB".into()),
            ("front", "max-body", "256KiB".into()),
            ("retention", "budget", "2GiB".into()),
        ],
        start: options.start,
    };
    let mut trial = Trial {
        options: &options,
        place,
        random: Random(options.seed),
        heard: Heard::default(),
        ends: Vec::new(),
        killed_starts: 0,
        ledger: Ledger::default(),
    };
    let reckoned = trial.run().await;
    let mut wrong = trial.met();
    wrong.extend(reckoned.iter().flatten().cloned());
    let (receipts, executions) = (trial.heard.receipts.len(), trial.ledger.stories().len());
    let held = reckoned.is_ok() && wrong.is_empty() && receipts > 0;
    // Also after an error: whoever looks into it wants to see the files.
    if options.keep || !held {
        say!("· the directory stays: {}", directory.keep().display());
    }
    for problem in &wrong {
        say!("WRONG  {problem}");
    }
    reckoned?;
    match wrong.len() {
        0 if receipts == 0 => say!(
            "verdict: NOT TESTED. No event was accepted: {}",
            trial.heard.refusal.as_deref().unwrap_or("none was answered before its kill")
        ),
        0 => say!(
            "verdict: held. Each of {receipts} receipts is in the journal, each of {executions} executions ended once, and no result is there twice"
        ),
        count => say!("verdict: NOT HELD. {count} things are wrong with {receipts} receipts and {executions} executions"),
    }
    Ok(held)
}

struct Trial<'a> {
    options: &'a Options,
    place: Place,
    random: Random,
    heard: Heard,
    // How the daemon ended where it was not killed.
    ends: Vec<String>,
    killed_starts: u64,
    ledger: Ledger,
}

impl Trial<'_> {
    /// All rounds and the reckoning; what is wrong.
    async fn run(&mut self) -> anyhow::Result<Vec<String>> {
        let mut daemon = DaemonProcess::start(&self.place).await?;
        let asked = set_up(&daemon.socket()).await;
        unless_gone(&mut daemon, asked).await?;
        for round in 1..=self.options.rounds {
            let asked = self.targets(&daemon.socket()).await;
            let targets = unless_gone(&mut daemon, asked).await?.unwrap_or_default();
            let before = self.heard.receipts.len();
            let mut load = Load::start(targets, self.options.connections);
            let receipts = 1 + self.random.below(RECEIPTS);
            let most = Duration::from_millis(1 + self.random.below(MILLISECONDS));
            let after = load.until(receipts, most).await;
            if load.is_broken() {
                is_gone(&mut daemon).await;
            }
            self.kill(daemon).await?;
            self.heard.add(load.end().await);
            self.read_journal()?;
            let began = Instant::now();
            daemon = self.restart().await?;
            say!(
                "round {round:>4}: killed after {:>4} ms and {:>4} receipts, ready again after {:>4} ms; {} receipts and {} entries in all",
                after.as_millis(),
                self.heard.receipts.len() - before,
                began.elapsed().as_millis(),
                self.heard.receipts.len(),
                self.ledger.entries()
            );
        }
        say!(
            "· {} restarts were killed, too; waiting for what was accepted to end",
            self.killed_starts
        );
        if let Ok(asked) = tokio::time::timeout(self.options.end, until_all_ended(&daemon.socket())).await {
            unless_gone(&mut daemon, asked).await?;
        }
        self.kill(daemon).await?;
        self.read_journal()?;
        Ok(self.ledger.reconcile(&self.heard.receipts))
    }

    /// What was wrong on the way.
    fn met(&self) -> Vec<String> {
        let ends = self.ends.iter().map(|end| format!("the daemon ended by itself: {end}"));
        let malformed = self.heard.malformed.iter();
        let malformed = malformed.map(|answer| format!("a 2xx named no execution: {answer}"));
        ends.chain(malformed).collect()
    }

    async fn kill(&mut self, daemon: DaemonProcess) -> anyhow::Result<()> {
        self.ends.extend(daemon.kill().await?);
        Ok(())
    }

    async fn targets(&self, socket: &Path) -> anyhow::Result<Vec<Target>> {
        let endpoints = client::call(socket, Method::GET, "/endpoints", None).await?;
        let endpoints: Endpoints = serde_json::from_value(endpoints)?;
        let found = endpoints.endpoints.iter();
        found.map(|endpoint| Target::new(&endpoint.url, self.options.body)).collect()
    }

    /// Starts it again, sometimes only after starts that were killed on their way.
    async fn restart(&mut self) -> anyhow::Result<DaemonProcess> {
        while self.random.below(KILLED_STARTS) == 0 {
            let moment = Duration::from_millis(self.random.below(START_MILLISECONDS));
            let mut daemon = DaemonProcess::launch(&self.place)?;
            if let Ok(ready) = tokio::time::timeout(moment, daemon.until_ready(self.place.start)).await {
                ready?;
            }
            self.kill(daemon).await?;
            self.read_journal()?;
            self.killed_starts += 1;
        }
        DaemonProcess::start(&self.place).await
    }

    fn read_journal(&mut self) -> anyhow::Result<()> {
        self.ledger.read(&journal_directory(&self.place.directory.join("data")))
    }
}

/// What it was asked; nothing where it could not answer since it has ended, which [`Trial::kill`] tells.
async fn unless_gone<T>(daemon: &mut DaemonProcess, asked: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    match asked {
        Err(_) if is_gone(daemon).await => Ok(None),
        asked => asked.map(Some),
    }
}

/// Whether a daemon that no longer answers has ended.
async fn is_gone(daemon: &mut DaemonProcess) -> bool {
    tokio::time::timeout(GONE, daemon.ended()).await.is_ok()
}

async fn set_up(socket: &Path) -> anyhow::Result<()> {
    let manifests = read_text(MANIFESTS, Path::new("trial.yml"), &|_| None);
    let manifests = manifests.map_err(|problems| anyhow::anyhow!("the test's manifests: {problems:?}"))?;
    let body = ApplyBody {
        manifests,
        options: ApplyOptions::default(),
    };
    apply::send(socket, &body).await?;
    Ok(())
}

async fn until_all_ended(socket: &Path) -> anyhow::Result<()> {
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        let live = client::call(socket, Method::GET, "/executions?status=queued,running&limit=1", None).await?;
        if live["executions"].as_array().is_none_or(Vec::is_empty) {
            return Ok(());
        }
    }
}

/// SplitMix64: the same seed, the same kills.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
