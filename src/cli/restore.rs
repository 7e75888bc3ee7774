//! `perseat restore` and `perseat resume`: from a backup to a running daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use http::Method;
use perseat_actors::kit::{Clock as _, RealClock};
use perseat_domain::id::TokenId;

use super::ConfigArgs;
use super::client::{self, ClientError};
use super::table::Table;
use crate::backup::restore::{self, Restored};
use crate::backup::settle::{Bearer, Keep, Settled};
use crate::boot::data::{DataDirectory, PAUSED};
use crate::boot::master_key;
use crate::cli::print::say;

/// Restore a backup into an empty data directory, with the newest keyring
///
/// Every file is checked against the backup's manifest. The daemon starts paused: it refuses events and runs nothing until `perseat
/// resume`, because executions that ended after the backup would do again what they did. Customers and users whose keys are not in
/// the keyring any more were deleted after the backup; they are taken out and listed.
///
/// A backup does not know what was ended after it. So every session and every invitation or reset link ends, and every bearer
/// token is revoked, but for those that --keep-token names.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perseat restore /mnt/backups/2026-11-26 --keyring /mnt/keys/keyring --data /var/lib/perseat
  perseat restore … --keep-token QXBpVG9rZW46… --keep-token QXBpVG9rZW46…      into a directory emptied again, with ids from the list
  perseat executions list --status queued,running --data /var/lib/perseat      what would run
  perseat resume --data /var/lib/perseat")]
pub struct Restore {
    /// The backup's directory
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,

    /// The newest copy of the keyring, from `perseat keyring export` or a data directory
    #[arg(long, value_name = "FILE")]
    keyring: PathBuf,

    /// The master key; without it the one that the daemon would find
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,

    /// Let the daemon go on at its first start, without `perseat resume`
    #[arg(long)]
    resume: bool,

    /// Take a keyring that is older than the backup: who came in between is taken out, and keys destroyed in between are back
    #[arg(long)]
    older_keyring: bool,

    /// Take out customers and users whose keys are damaged, as if they had been deleted
    #[arg(long)]
    without_damaged_keys: bool,

    /// Let this bearer token go on working; `all` for every one. Without it they are listed and revoked
    #[arg(long = "keep-token", value_name = "ID")]
    keep_tokens: Vec<String>,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Restore {
    /// Runs the command.
    ///
    /// # Errors
    /// A backup or keyring that is not whole, or a directory that is not empty.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let by = format!("local:{}", rustix::process::getuid().as_raw());
        let given = restore::Restore {
            backup: &self.backup,
            keyring: &self.keyring,
            keys: config.keyring_options(),
            data: &config.data.dir,
            resume: self.resume,
            older_keyring: self.older_keyring,
            without_damaged: self.without_damaged_keys,
            keep: self.keep()?,
            by: &by,
            at: RealClock::new().now(),
            rules: config.grant_rules(),
            catalog: config.catalog_options(),
        };
        let restored = restore::restore(&given, master_key::given(&config, self.master_key.as_deref(), &config.data.dir)?)?;
        self.report(&restored, &config);
        Ok(ExitCode::SUCCESS)
    }

    fn keep(&self) -> anyhow::Result<Keep> {
        if self.keep_tokens.iter().any(|id| id == "all") {
            return Ok(Keep::All);
        }
        let id = |text: &String| text.parse::<TokenId>().with_context(|| format!("--keep-token {text}"));
        let ids: Vec<TokenId> = self.keep_tokens.iter().map(id).collect::<Result<_, _>>()?;
        Ok(if ids.is_empty() { Keep::Nothing } else { Keep::Tokens(ids) })
    }

    fn report(&self, restored: &Restored, config: &crate::config::Config) {
        let Restored { manifest, settled, .. } = restored;
        say!(
            "restored into {}: configuration of revision {} and the journal as of the backup; epoch {}",
            config.data.dir.display(),
            manifest.revision,
            restored.epoch
        );
        if !settled.forgotten.is_empty() {
            say!("\ntaken out, because the keyring has no key of theirs; they were deleted after the backup:");
            settled.forgotten.iter().for_each(|who| say!("  {who}"));
        }
        report_identities(settled);
        if !restored.at_risk.is_empty() {
            say!("\nthe refresh tokens of these connections may have been used since; whose provider refuses them has to connect again:");
            let mut table = Table::new(&["CUSTOMER", "INSTANCE", "USER", "CONNECTION"]);
            for connection in &restored.at_risk {
                let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
                table.row([
                    or_none(&connection.customer),
                    or_none(&connection.instance),
                    or_none(&connection.user),
                    connection.connection.clone(),
                ]);
            }
            say!("{table}");
        }
        if settled.uncertain > 0 {
            say!(
                "\n{} of these may have been exchanged for others, and are not tried: they are uncertain, and whoever they belong to is told to connect again",
                settled.uncertain
            );
        }
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        if master_key::find(config.keys.master_key.as_deref(), credentials, &config.data.dir).is_err() {
            say!("\nthere is no master key yet: put it where the daemon looks for it before you start it");
        }
        if self.resume {
            say!("\nthe daemon goes on at its next start");
        } else {
            say!("\nthe daemon starts paused; look at what would run, make sure that the old daemon is gone, then: perseat resume");
        }
    }
}

/// What people and programs come in by.
fn report_identities(settled: &Settled) {
    say!(
        "\nended, because the backup does not know what ended after it: {} sessions, {} invitation and reset links, {} letters that waited",
        settled.sessions,
        settled.links,
        settled.letters
    );
    let (kept, revoked): (Vec<&Bearer>, Vec<&Bearer>) = settled.bearers.iter().partition(|bearer| bearer.is_kept);
    for (bearers, said) in [
        (
            revoked,
            "revoked, because they may have been revoked after the backup; make new ones, or restore again with --keep-token:",
        ),
        (
            kept,
            "these bearer tokens go on working; revoke those that were revoked after the backup (perseat token revoke):",
        ),
    ] {
        if bearers.is_empty() {
            continue;
        }
        say!("\n{said}");
        let mut table = Table::new(&["TOKEN", "NAME", "BEGINS WITH", "HOLDER"]);
        for Bearer { token, holder, .. } in bearers {
            table.row([token.id.global(), token.name.clone(), token.prefix.clone(), holder.clone()]);
        }
        say!("{table}");
    }
    if !settled.signing_keys.is_empty() {
        say!("tokens of embedded users that these keys sign are believed; delete those that were deleted after the backup:");
        let mut table = Table::new(&["SIGNING KEY", "PRIVATE KEY", "IMPORTED"]);
        for key in &settled.signing_keys {
            let imported = if key.imported { "yes" } else { "no" };
            table.row([key.id.to_string(), key.private_key_preview.clone(), imported.to_owned()]);
        }
        say!("{table}");
    }
    say!("passwords, roles and API keys of flows are those of the backup, too: set again what was changed because somebody else knew it");
    if settled.files > 0 {
        say!(
            "{} uploaded files were deleted while the backup was taken; their records are taken out",
            settled.files
        );
    }
}

/// Let a restored daemon go on: it takes events and runs what waits
#[derive(Debug, Args)]
pub struct Resume {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Resume {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong configuration, or a mark that cannot be taken away.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let was_paused = match client::block_on(client::call(&config.socket(), Method::POST, "/resume", None))? {
            Ok(answer) => answer["wasPaused"] == true,
            Err(ClientError::NotRunning(socket)) => {
                let path = config.data.dir.join(PAUSED);
                if !path.exists() {
                    return Err(ClientError::NotRunning(socket).into());
                }
                let _directory = DataDirectory::take(&config.data.dir)?;
                std::fs::remove_file(path)?;
                crate::backup::write::sync_directory(&config.data.dir)?;
                say!("the daemon goes on at its next start");
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => return Err(error.into()),
        };
        say!("{}", if was_paused { "it goes on" } else { "it was not paused" });
        Ok(ExitCode::SUCCESS)
    }
}
