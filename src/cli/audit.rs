//! `perseat audit`: who changed what, and whether the record of it is whole.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::ConfigArgs;
use super::client::{self, ClientError};
use super::offline::Offline;
use super::table::Table;
use crate::boot::stores::journal_directory;
use crate::boot::tokens::{audit_after, audit_verified};
use crate::cli::print::{say, show};
use perseat_journal::OpenError;
use perseat_journal::inspect::{self, Inspected};
use std::collections::BTreeMap;
use std::path::Path;

/// Records that one line names.
const SHOWN: usize = 3;

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

/// Check the chain of digests, and the journal's sealed segments against it; exits 1 if something was changed
///
/// It reads every segment that is left: on a large directory that takes a while.
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
            Err(ClientError::NotRunning(_)) => audit_after(&Offline::existing(&config)?.custody, self.after, config.local.page.as_usize())?,
            answered => answered?,
        };
        if self.json {
            say!("{listed}");
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Table::new(&["REVISION", "WHO", "WHAT", "RECORDS"]);
        for entry in listed["entries"].as_array().into_iter().flatten() {
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            table.row([entry["revision"].to_string(), text("by"), text("action"), what(entry)]);
        }
        show!("{table}");
        if let Some(next) = listed["next"].as_u64() {
            say!("later ones: --after {next}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What an entry is about: by name where its details open, else by id; or the segments that it holds the hashes of.
fn what(entry: &Value) -> String {
    let of = |field: &str| entry[field].as_array().cloned().unwrap_or_default();
    let named = entry["details"]["changes"].as_array().cloned().unwrap_or_default();
    let segments = of("segments");
    let mut shown: Vec<String> = if !named.is_empty() {
        named.iter().map(described).collect()
    } else if !segments.is_empty() {
        segments.iter().map(|segment| format!("segment {}", segment["number"])).collect()
    } else {
        of("records").iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let count = entry["count"].as_u64().unwrap_or_default().max(segments.len() as u64);
    shown.truncate(SHOWN);
    let more = count.saturating_sub(shown.len() as u64);
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    shown.join(", ")
}

/// A changed record, as its details tell.
fn described(change: &Value) -> String {
    let text = |field: &str| change[field].as_str();
    let name = ["name", "external id", "email", "id"]
        .into_iter()
        .find_map(text)
        .unwrap_or_default();
    let words = [text("change").unwrap_or_default(), text("record").unwrap_or_default(), name];
    words.join(" ")
}

impl Verify {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let journal = journal_directory(&config.data.dir);
        let oldest = on_disk(&journal)?.into_iter().flatten().map(|segment| segment.info().number).min();
        let from = u64::from(oldest.unwrap_or(u32::MAX));
        let target = format!("/audit/verify?segments={from}");
        let verified = match client::block_on(client::call(&config.socket(), Method::GET, &target, None))? {
            Err(ClientError::NotRunning(_)) => audit_verified(
                Offline::existing(&config)?.custody.catalog(),
                u32::try_from(from).unwrap_or(u32::MAX),
            )?,
            answered => answered?,
        };
        say!(
            "{} entries, each holds the digest of the one before: nothing was changed or taken out",
            verified["entries"]
        );
        // Looked at after that: what is attested by then has its last bytes.
        let (segments, damaged) = found_in(&journal)?;
        let mut whole = damaged.is_empty();
        for what in &damaged {
            say!("{what}");
        }
        let mut same = 0;
        for attested in verified["segments"].as_array().into_iter().flatten() {
            let Some(segment) = attested["number"].as_u64().and_then(|number| segments.get(&number)) else {
                continue;
            };
            match is_as_attested(segment, attested["hash"].as_str().unwrap_or_default()) {
                Some(true) => same += 1,
                Some(false) => {
                    whole = false;
                    say!(
                        "segment {}: its bytes are not those whose hash is in entry {}",
                        attested["number"],
                        attested["revision"]
                    );
                }
                None => {}
            }
        }
        say!("{same} sealed segments of the journal are what they were when they were sealed");
        Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn on_disk(journal: &Path) -> std::io::Result<Vec<Result<Inspected, OpenError>>> {
    match inspect::segments(journal) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        found => found,
    }
}

/// The segments by their numbers, and what is wrong beside their bytes: those that are none, and gaps.
fn found_in(journal: &Path) -> std::io::Result<(BTreeMap<u64, Inspected>, Vec<String>)> {
    let (mut segments, mut damaged) = (BTreeMap::new(), Vec::new());
    for found in on_disk(journal)? {
        match found {
            Ok(segment) => {
                let info = segment.info();
                // One without a seal may have been written on since it was read.
                if info.damaged && info.final_hash.is_some() {
                    damaged.push(format!("segment {}: acknowledged entries are missing behind it", info.number));
                }
                segments.insert(u64::from(info.number), segment);
            }
            Err(error) => damaged.push(format!("{:#}", anyhow::Error::from(error))),
        }
    }
    Ok((segments, damaged))
}

/// Whether a segment hashes to what the audit holds; `None` if it was released while this looked.
fn is_as_attested(segment: &Inspected, hash: &str) -> Option<bool> {
    let found = segment
        .hash()
        .map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let same = found.is_ok_and(|found| found == hash);
    // A released file has another name before it is written anew.
    (same || segment.info().path.exists()).then_some(same)
}
