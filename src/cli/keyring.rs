//! `perseat keyring export`: the one file that no backup holds.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use super::ConfigArgs;
use super::client::{self, ClientError};
use crate::backup::Hasher;
use crate::backup::wire::{Decoder, Part};
use crate::backup::write::{WriteError, sync_directory};
use crate::boot::data::DataDirectory;
use crate::cli::print::say;
use perseat_store::keyring::Mark;

/// Copy the keyring: one wrapped key per customer and user
#[derive(Debug, Args)]
pub struct Keyring {
    #[command(subcommand)]
    command: KeyringCommand,
}

#[derive(Debug, Subcommand)]
enum KeyringCommand {
    Export(Export),
}

/// Write the keyring to a file, in place of the copy that is there
///
/// The copy takes the place of its predecessor at once and whole, and the predecessor's bytes are overwritten: whose key was
/// destroyed since is unreadable in every backup, as long as no older copy of the keyring is left anywhere. The keys in it are wrapped
/// by the master key, which is not in it. Export it after every deletion that has to reach backups, and often enough that
/// nobody who came later is lost. Anything but an earlier copy of the same keyring is left as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  perseat keyring export /mnt/keys/keyring")]
struct Export {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Keyring {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong configuration, or a file that cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let KeyringCommand::Export(command) = self.command;
        command.run()
    }
}

impl Export {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let named = || self.file.display().to_string();
        let before = hold(&self.file, &config.data.dir.join("keyring"))?;
        let mut draft = Draft::begin(&self.file).with_context(named)?;
        let mut decoder = Decoder::default();
        let (mut hasher, mut expected, mut bytes, mut is_whole) = (Hasher::default(), 0, 0, false);
        let socket = config.socket();
        let received = client::receive(&socket, "/keyring", |piece| {
            decoder.push(&piece);
            while let Some(part) = decoder.part()? {
                match part {
                    Part::File(head) => expected = head.bytes,
                    Part::Data(data) => {
                        draft.file.write_all(&data).map_err(|source| WriteError::File {
                            path: draft.path.clone(),
                            source,
                        })?;
                        hasher.update(&data);
                        bytes += data.len() as u64;
                    }
                    Part::End(hash) => is_whole = bytes == expected && std::mem::take(&mut hasher).finish() == hash,
                    Part::Refused(refusal) => {
                        return Err(WriteError::Refused {
                            code: refusal.code,
                            error: refusal.error,
                        });
                    }
                    Part::Plan(_) | Part::Manifest(_) => {}
                }
            }
            Ok(())
        });
        match client::block_on(received)? {
            Ok(received) => {
                received?;
                if !is_whole {
                    return Err(WriteError::BrokenOff.into());
                }
            }
            Err(ClientError::NotRunning(_)) => {
                let from = config.data.dir.join("keyring");
                if !from.exists() {
                    bail!("no daemon runs on {}, and there is no keyring in it", config.data.dir.display());
                }
                let _directory = DataDirectory::take(&config.data.dir)?;
                perseat_store::keyring::mark(&from)?;
                io::copy(&mut File::open(&from)?, &mut draft.file)?;
            }
            Err(error) => return Err(error.into()),
        }
        let mark = perseat_store::keyring::mark(&draft.path).with_context(named)?;
        check_predecessor(&self.file, &mark)?;
        draft.replace(&self.file, before).with_context(named)?;
        say!(
            "{} is the newest keyring now, of generation {}; keep no older copy of it, and the master key somewhere else",
            self.file.display(),
            mark.generation
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// The file that is there, if one is, locked until it is overwritten. A daemon keeps its keyring locked; one that does not run has it at
/// `keyring`.
fn hold(file: &Path, keyring: &Path) -> anyhow::Result<Option<File>> {
    let named = || file.display().to_string();
    let before = match OpenOptions::new().read(true).write(true).open(file) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(named),
    };
    let is_locked = match before.try_lock() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(error)) => return Err(error).with_context(named),
    };
    let meta = before.metadata().with_context(named)?;
    let is_exported = fs::metadata(keyring).is_ok_and(|of_data| (of_data.dev(), of_data.ino()) == (meta.dev(), meta.ino()));
    if is_locked || is_exported {
        bail!(
            "{} is the keyring of a daemon, not a copy of it, and was left as it is: export to another file",
            file.display()
        );
    }
    Ok(Some(before))
}

/// What is overwritten can be the last copy of somebody's keys.
fn check_predecessor(file: &Path, mark: &Mark) -> anyhow::Result<()> {
    let length = match fs::metadata(file) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error).with_context(|| file.display().to_string()),
    };
    let is_earlier = || perseat_store::keyring::mark(file).is_ok_and(|before| mark.supersedes(&before));
    if length > 0 && !is_earlier() {
        bail!(
            "{} is not an earlier copy of this keyring, and was left as it is: export to another file",
            file.display()
        );
    }
    Ok(())
}

/// The file before it takes its place; removed if it never does.
struct Draft {
    path: PathBuf,
    file: File,
    is_placed: bool,
}

impl Draft {
    fn begin(target: &Path) -> io::Result<Self> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let path = target.with_file_name(name);
        // What an export that was cut off left is of no use.
        if path.exists() {
            fs::remove_file(&path)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self {
            path,
            file,
            is_placed: false,
        })
    }

    /// Takes the place of the predecessor and overwrites what that held.
    fn replace(mut self, target: &Path, before: Option<File>) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, target)?;
        self.is_placed = true;
        sync_directory(
            target
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new(".")),
        )?;
        if let Some(mut before) = before {
            perseat_store::keyring::wipe_file(&mut before)?;
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_placed {
            let _ = fs::remove_file(&self.path);
        }
    }
}
