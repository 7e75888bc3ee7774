//! `perseat journal inspect`: what stands in the journal, beside a running daemon or without one.
//!
//! It shows who and when and how much, never what: payloads stay sealed.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use perseat_domain::entry::Entry;
use perseat_journal::ReadError;
use perseat_journal::inspect::{self, Inspected};

use super::ConfigArgs;
use crate::cli::print::say;

/// Look at the journal's files
#[derive(Debug, Args)]
pub struct Journal {
    #[command(subcommand)]
    command: JournalCommand,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    Inspect(Inspect),
}

/// List the journal's segments, and on request their frames or entries; reads only, payloads stay sealed
///
/// Works beside a running daemon. Exits 1 when a segment cannot be read, acknowledged entries are missing from it, or its bytes are not
/// those that were sealed. It reads every sealed segment: on a large directory that takes a while.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  perseat journal inspect\n  perseat journal inspect --data /var/lib/perseat --segment 12 --entries")]
pub struct Inspect {
    #[command(flatten)]
    config: ConfigArgs,

    /// Only the segment with this number
    #[arg(long, value_name = "NUMBER")]
    segment: Option<u32>,

    /// Also list each frame: what was written with one sync
    #[arg(long)]
    frames: bool,

    /// Also list each entry: its position, kind and execution
    #[arg(long)]
    entries: bool,
}

impl Journal {
    /// Runs the command.
    ///
    /// # Errors
    /// The journal's directory cannot be read.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let JournalCommand::Inspect(inspect) = self.command;
        inspect.run()
    }
}

impl Inspect {
    fn run(self) -> anyhow::Result<ExitCode> {
        let directory = self.config.given().load()?.data.dir.join("journal");
        let mut whole = true;
        for found in inspect::segments(&directory)? {
            match found {
                Ok(segment) if self.segment.is_none_or(|number| number == segment.info().number) => whole &= self.show(&segment)?,
                Ok(_) => {}
                Err(error) => {
                    whole = false;
                    say!("unreadable: {error}");
                }
            }
        }
        Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Whether everything acknowledged is there.
    fn show(&self, segment: &Inspected) -> anyhow::Result<bool> {
        let info = segment.info();
        let state = match (info.final_hash.is_some(), info.entries) {
            (true, _) => "sealed",
            // Prepared, and not yet written to.
            (false, 0) => "spare",
            (false, _) => "open",
        };
        let damage = damage(segment);
        say!(
            "segment {}: {} entries, {} bytes, {state}{}  {}",
            info.number,
            info.entries,
            info.bytes,
            damage.as_ref().map(|what| format!(", DAMAGED: {what}")).unwrap_or_default(),
            info.path.display()
        );
        if self.frames {
            for frame in inspect::frames(segment)? {
                say!(
                    "  frame {} at {}: {} entries, {} bytes",
                    frame.sequence,
                    frame.offset,
                    frame.entries,
                    frame.bytes
                );
            }
        }
        let mut whole = damage.is_none();
        if self.entries {
            for entry in inspect::entries(segment) {
                match entry {
                    Ok(entry) => {
                        let bytes = entry.payload.len();
                        say!(
                            "  {} partition {} epoch {}: {}, {bytes} bytes",
                            entry.position,
                            entry.partition,
                            entry.epoch,
                            kind(&entry.payload)
                        );
                    }
                    Err(error) => {
                        whole = false;
                        say!("  {error}");
                        // The scan would read the same again.
                        if matches!(error, ReadError::Io(_)) {
                            break;
                        }
                    }
                }
            }
        }
        Ok(whole)
    }
}

/// What is wrong with a segment, unless it was released while this looked: its file has another name then.
fn damage(segment: &Inspected) -> Option<String> {
    let info = segment.info();
    if info.damaged {
        return Some("acknowledged entries are missing".to_owned());
    }
    let found = match inspect::hash_fits(segment) {
        Ok(Some(false)) => "its bytes are not those that were sealed".to_owned(),
        Ok(_) => return None,
        Err(error) => error.to_string(),
    };
    info.path.exists().then_some(found)
}

fn kind(payload: &[u8]) -> String {
    match Entry::decode(payload) {
        Ok(entry) => {
            let name = match &entry {
                Entry::Accepted(_) => "Accepted",
                Entry::Started(_) => "Started",
                Entry::StepsDone(_) => "StepsDone",
                Entry::Parked(_) => "Parked",
                Entry::Called(_) => "Called",
                Entry::Cancelled(_) => "Cancelled",
                Entry::Ended(_) => "Ended",
                Entry::Carried(_) => "Carried",
            };
            format!("{name} {}", entry.execution())
        }
        Err(error) => error.to_string(),
    }
}
