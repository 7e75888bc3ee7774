//! `perseat backup`: a backup of a running daemon, or of a directory at rest.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use perseat_actors::kit::{Clock as _, RealClock};
use perseat_store::catalog::Catalog;
use perseat_store::keyring::Keyring;
use perseat_store::state::StateStore;

use super::ConfigArgs;
use super::client::{self, ClientError};
use crate::backup::amount;
use crate::backup::manifest::Manifest;
use crate::backup::take::{Resting, Source, TakeError, take};
use crate::backup::wire::{Decoder, Plan};
use crate::backup::write::{WriteError, Writer};
use crate::boot::data::DataDirectory;
use crate::boot::master_key::{self, MasterKeyError};
use crate::boot::stores::{journal_directory, media_directory};
use crate::cli::print::say;
use crate::config::Config;

/// Write a backup: live executions, the journal from the oldest of them on, the catalog. The keyring is not in it
///
/// The running daemon goes on meanwhile and hands the backup to this command, which writes it; where no daemon runs, this reads
/// the data directory itself. Keep a copy of the keyring, too, apart from backups: `perseat keyring export`. A backup that was cut
/// off has no manifest.json and is refused.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perseat backup /mnt/backups/2026-11-26 --progress
  perseat backup /mnt/backups/2026-11-26 --history      with executions that ended long ago, as far as they are kept
  perseat verify /mnt/backups/2026-11-26 --keyring /mnt/keys/keyring")]
pub struct Backup {
    /// Where to; empty, or not there yet
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Also copy the journal's segments that hold no live execution: ended ones are listed after a restore as far as they are in it
    #[arg(long)]
    history: bool,

    /// Say on standard error how far it is
    #[arg(long)]
    progress: bool,

    /// The master key, where no daemon runs and it is not where the daemon would look
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Backup {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong configuration, a directory that is not empty, or a backup that was cut off.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        refuse_within(&config.data.dir, &self.directory)?;
        let mut shown = Shown::default();
        let is_shown = self.progress;
        let mut writer = Writer::begin(
            &self.directory,
            Box::new(move |bytes, plan| {
                if is_shown {
                    shown.show(bytes, plan);
                }
            }),
        )?;
        let target = if self.history { "/backup?history=true" } else { "/backup" };
        let mut decoder = Decoder::default();
        let socket = config.socket();
        let received = client::receive(&socket, target, |piece| {
            decoder.push(&piece);
            while let Some(part) = decoder.part()? {
                writer.take(part)?;
            }
            Ok::<_, WriteError>(())
        });
        match client::block_on(received)? {
            Ok(written) => written?,
            Err(ClientError::NotRunning(_)) => self.read_directory(&config, &mut writer)?,
            Err(error) => return Err(error.into()),
        }
        let manifest = writer.finish()?;
        say!("{}", summary(&manifest, &self.directory));
        say!("the keyring is not in it; keep a copy of it somewhere else: perseat keyring export FILE");
        Ok(ExitCode::SUCCESS)
    }

    fn read_directory(&self, config: &Config, writer: &mut Writer<'_>) -> anyhow::Result<()> {
        let data = &config.data.dir;
        if !data.join("catalog.redb").exists() || !data.join("state.redb").exists() {
            bail!("no daemon runs on {}, and there is no data in it", data.display());
        }
        let _directory = DataDirectory::take(data)?;
        let catalog = Catalog::open(&data.join("catalog.redb"), config.catalog_options()).context("the catalog")?;
        let state = StateStore::open(&data.join("state.redb"), &config.state_options()).context("the state")?;
        let journal = journal_directory(data);
        let key = master_key::given(config, self.master_key.as_deref(), data)?.ok_or(MasterKeyError::Missing)?;
        let keyring = Keyring::look(&data.join("keyring"), key, &config.keyring_options()).context("the keyring")?;
        let source = Source {
            epoch: state.epoch()?,
            state: &state,
            catalog: &catalog,
            keyring: &keyring,
            segments: &Resting(&journal),
            media: &media_directory(data),
            scratch: data,
            reserve: config.backup_reserve().get(),
            id: uuid::Uuid::new_v4(),
            at: RealClock::new().now(),
            with_history: self.history,
        };
        take(&source, &mut |part| writer.take(part).map_err(TakeError::Write))?;
        Ok(())
    }
}

/// Below the data directory it would count against the budget, keep room from history, and be lost together with the rest.
fn refuse_within(data: &Path, target: &Path) -> anyhow::Result<()> {
    let target = std::path::absolute(target)?;
    let there = target.ancestors().find_map(|part| part.canonicalize().ok());
    let is_within = there
        .zip(data.canonicalize().ok())
        .is_some_and(|(there, data)| there.starts_with(data));
    if is_within {
        bail!(
            "{} is in the data directory {}: write the backup somewhere else",
            target.display(),
            data.display()
        );
    }
    Ok(())
}

fn summary(manifest: &Manifest, directory: &Path) -> String {
    let segments = manifest.files.iter().filter(|file| file.name.starts_with("journal/")).count();
    format!(
        "{} in {} files are in {}: configuration of revision {}, {segments} segments of the journal",
        amount(manifest.bytes()),
        manifest.files.len(),
        directory.display(),
        manifest.revision,
    )
}

/// How far it is: on a terminal one line that changes, elsewhere a line for each tenth.
#[derive(Debug, Default)]
struct Shown {
    percent: Option<u64>,
}

impl Shown {
    fn show(&mut self, bytes: u64, plan: Plan) {
        let percent = bytes.saturating_mul(100).checked_div(plan.bytes).unwrap_or(100);
        let is_terminal = std::io::stderr().is_terminal();
        let step = if is_terminal { 1 } else { 10 };
        if self.percent.is_some_and(|shown| percent / step <= shown / step) {
            return;
        }
        self.percent = Some(percent);
        let line = format!("{percent} % of {} in {} files", amount(plan.bytes), plan.files);
        let end = if is_terminal && percent < 100 { "\r" } else { "\n" };
        let _ = write!(std::io::stderr(), "{line}{end}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_not_written_below_the_data_directory() {
        let folder = tempfile::tempdir().unwrap();
        let (data, link) = (folder.path().join("data"), folder.path().join("link"));
        std::fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&data, &link).unwrap();
        let is_refused = |target: &Path| refuse_within(&data, target).is_err();
        assert!(is_refused(&data) && is_refused(&data.join("a/b")) && is_refused(&link.join("a")));
        assert!(!is_refused(&folder.path().join("data-copies/a")) && !is_refused(folder.path()));
    }
}
