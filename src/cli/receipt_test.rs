//! `perseat receipt-test`: the promise behind a 2xx, tested on the operator's own machine and disk.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::client;
use crate::receipts::trial::{self, Options};

/// Kill a daemon at random moments on this machine's disk, and look for a receipt that was lost
///
/// Who posts an event and gets a 2xx has a receipt: the event is on disk, and its flow will run to its end. This command tests
/// that here: it starts a daemon of its own on a fresh directory, posts events over several connections, kills the daemon with
/// SIGKILL, sometimes kills the restart as well, and goes on so for some rounds. Then it reads the journal without the daemon.
/// Each receipt must be there; each execution must have ended once; no step may have two results.
///
/// A daemon that serves is not touched: the test has its own data, its own ports on 127.0.0.1 and its own configuration. Give
/// --dir a place on the file system that holds, or will hold, the data directory.
///
/// It prints how long the disk itself takes to make 4 KiB durable: no receipt can be faster. A median far below a tenth of a
/// millisecond is that of a drive with a protected cache, or of one that does not tell the truth. A killed process leaves
/// what it wrote to the operating system: this finds a daemon that answers too early, and a file system that mixes things
/// up, but not a drive that loses on a power cut what it called durable. For that, cut the power while a daemon is under
/// load, and look afterwards with `perseat journal inspect`.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct ReceiptTest {
    /// Below it the test makes its directory, and removes it at the end if all was well
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// How often the daemon is killed under load; a round takes about a second
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    rounds: u64,

    /// Decides the moments of the kills; a run prints its own, so that it can be given again
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Connections that post events at once
    #[arg(long, value_name = "NUMBER", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,

    /// Bytes of each event
    #[arg(long, value_name = "BYTES", default_value_t = 2_048, value_parser = clap::value_parser!(u32).range(0..=200_000))]
    body: u32,

    /// Keep the directory also when all was well
    #[arg(long)]
    keep: bool,
}

const AFTER: &str = "\
Examples:
  perseat receipt-test --dir /var/lib                    twenty rounds on the disk of /var/lib
  perseat receipt-test --dir /mnt/new --rounds 300       before a new disk gets the data
  perseat receipt-test --rounds 1 --seed 7 --keep        look at what a kill leaves: perseat journal inspect

Exit codes:
  0  everything held
  1  something was lost or repeated, nothing was accepted, or the daemon ended by itself or did not come up again; the
     directory stays for a look
  2  the command line is wrong";

impl ReceiptTest {
    /// Runs the command.
    ///
    /// # Errors
    /// The daemon cannot be run on that directory.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let seed = self.seed.unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0));
        let options = Options {
            below: self.dir,
            rounds: self.rounds,
            seed,
            connections: self.connections.into(),
            body: self.body as usize,
            keep: self.keep,
            start: Duration::from_secs(60),
            end: Duration::from_secs(120),
        };
        let held = client::block_on(trial::run(options))??;
        Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
