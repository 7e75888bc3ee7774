//! Opens everything that is on disk, and makes the indexes agree with the journal.

use super::plane::fan_out::FanOut;
use super::systemd::Starting;
use crate::config::Config;
use crate::indexer::{self, Recovered};
use anyhow::Context as _;
use perseat_journal::{Journal, OpenError, Position, RealDisk};
use perseat_store::catalog::{Catalog, Lookup as _};
use perseat_store::custody::Custody;
use perseat_store::folder::{Directory, Folder};
use perseat_store::history::History;
use perseat_store::index::Feed;
use perseat_store::keyring::{Findings, Keyring, MasterKey};
use perseat_store::media::MediaFiles;
use perseat_store::pressure::{Ballast, IndexLag, StoragePressure};
use perseat_store::state::StateStore;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The catalog's name in a data directory.
const CATALOG: &str = "catalog.redb";

/// The journal's directory in a data directory.
#[must_use]
pub fn journal_directory(data: &Path) -> PathBuf {
    data.join("journal")
}

/// The folder of uploaded files in a data directory.
#[must_use]
pub fn media_directory(data: &Path) -> PathBuf {
    data.join("media")
}

/// Catalog and keys of a data directory, in use or not.
///
/// # Errors
/// If a file is damaged, of a newer version, in use, or the master key does not fit.
pub fn open_custody(config: &Config, data: &Path, master_key: MasterKey) -> anyhow::Result<Custody> {
    custody_in(Arc::new(Directory::new(data)), config, data, master_key)
}

/// One of two files that belong together is not there. A new one in its place would end what is live and destroy the rest.
#[derive(Debug, thiserror::Error)]
enum CustodyLost {
    #[error(
        "{0} is missing, but the keyring beside it holds keys: put the catalog back as it was when the daemon stopped, or restore a \
         backup into an empty directory"
    )]
    Catalog(PathBuf),
    #[error(
        "{0} holds no key, but the catalog beside it names those whom keys were made for: put the keyring back, or its newest copy \
         (`perseat keyring export`)"
    )]
    Keyring(PathBuf),
}

fn custody_in(folder: Arc<dyn Folder>, config: &Config, data: &Path, master_key: MasterKey) -> anyhow::Result<Custody> {
    let path = data.join("keyring");
    let keyring = Keyring::open(&path, master_key, &config.keyring_options()).context("the keyring")?;
    let Findings { keys, damaged, .. } = keyring.findings();
    let has_keys = keys + damaged > 0;
    if !keyring.reads_at_once() {
        tracing::warn!(
            keyring = %path.display(),
            "this file system does not tell what it has in memory: the first events of users wait for `front.key-reads`; more              `keyring.cache-entries` help"
        );
    }
    // The first key is made by a mutation of the catalog.
    if has_keys && folder.bytes(CATALOG) == 0 {
        return Err(CustodyLost::Catalog(data.join(CATALOG)).into());
    }
    let catalog = Catalog::open_in(folder, CATALOG, config.catalog_options()).context("the catalog")?;
    // It is durable before the record of whom it was made for.
    if !has_keys && catalog.organization().context("the catalog")?.is_some() {
        return Err(CustodyLost::Keyring(path).into());
    }
    let media = MediaFiles::open(&media_directory(data), config.media_room()).context("the folder of uploaded files")?;
    media.charge(&catalog).context("the catalog")?;
    Ok(Custody::resume(Arc::new(catalog), Arc::new(keyring))?.with_media(Arc::new(media)))
}

/// Test switches of the disk and of the journal's writer.
#[cfg(feature = "faults")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(super) journal: Arc<perseat_journal::Faults>,
    pub(super) databases: Arc<perseat_store::faults::Faults>,
}

/// Everything that is on disk.
pub(crate) struct Stores {
    pub(super) custody: Custody,
    pub(super) journal: Journal,
    pub(super) feed: Arc<Feed>,
    pub(super) pressure: Arc<StoragePressure>,
    pub(super) lag: Arc<IndexLag>,
    pub(super) ballast: Arc<Ballast>,
    pub(super) fan_out: FanOut,
    pub(super) recovered: Recovered,
    pub(super) indexer: indexer::Options,
    pub(super) state: Arc<StateStore>,
    /// The epoch of every append of this daemon.
    pub(super) epoch: u64,
    #[cfg(feature = "faults")]
    pub(super) faults: Faults,
}

impl Stores {
    /// Opens them and recovers; what is committed from now on goes to the index and, once they exist, to the owners.
    pub(super) fn open(config: &Config, data: &Path, master_key: MasterKey, resume_carried: bool) -> anyhow::Result<Self> {
        #[cfg(feature = "faults")]
        let faults = Faults::default();
        #[cfg(feature = "faults")]
        super::faults::set_from_the_start(&faults)?;
        #[cfg(feature = "faults")]
        let folder: Arc<dyn Folder> = Arc::new(Directory::with_faults(data, faults.databases.clone()));
        #[cfg(not(feature = "faults"))]
        let folder: Arc<dyn Folder> = Arc::new(Directory::new(data));
        let custody = custody_in(folder.clone(), config, data, master_key)?;
        let pressure = Arc::new(StoragePressure::default());
        let lag = Arc::new(IndexLag::default());
        let feed = Arc::new(Feed::new(config.feed_options(), lag.clone(), pressure.clone()));
        let ballast = Arc::new(Ballast::new(&data.join("ballast"), config.ballast().get()));
        if let Err(error) = ballast.restore() {
            tracing::warn!(%error, "the ballast file could not be written; deletes may fail on a full disk");
        }
        let directory = journal_directory(data);
        let fan_out = FanOut::new(feed.clone());
        let state = Arc::new(StateStore::open_in(folder, "state.redb", &config.state_options()).context("the state")?);
        let history = Arc::new(History::open(&data.join("history"), config.history_options()).context("the history")?);
        let mut options = config.journal_options();
        if let Some(watermark) = state.watermark().context("the state")? {
            options.remembered_segment = Position::from_bits(watermark).segment();
        }
        #[cfg(feature = "faults")]
        {
            options.faults = faults.journal.clone();
        }
        let epoch = state.epoch().context("the state")?;
        let mut retention = config.retention_options(data, &directory);
        retention.epoch = epoch;
        options.max_bytes = retention.journal_limit().context("the data directory")?;
        let disk = RealDisk::open(&directory).context("the journal's directory")?;
        #[cfg(feature = "faults")]
        let disk = disk.with_faults(faults.journal.clone());
        let journal = Journal::open(options, Arc::new(disk), Box::new(fan_out.clone())).map_err(|error| match error {
            OpenError::Lost { .. } => anyhow::Error::new(error).context(format!(
                "{} has lost entries: put the journal back; or, where it is gone for good, move state.redb and history away, too: what \
                 had not ended is lost then",
                directory.display()
            )),
            error => anyhow::Error::new(error).context("the journal"),
        })?;
        let mut indexer = config.indexer_options(retention);
        indexer.resume_carried = resume_carried;
        let mut starting = Starting::default();
        let mut progress = |entries| starting.goes_on(entries);
        let recovered = indexer::recover(&journal, state.clone(), &history, &feed, &ballast, &indexer, &mut progress);
        let recovered = recovered.context("recovery")?;
        // Whoever still holds the directory that this one was restored from writes below it.
        let epoch = epoch.max(recovered.epoch);
        if epoch > state.epoch().context("the state")? {
            state.set_epoch(epoch).context("the state")?;
        }
        for partition in 0..=u8::MAX {
            journal.fence(partition, epoch);
        }
        Ok(Self {
            custody,
            journal,
            feed,
            pressure,
            lag,
            ballast,
            fan_out,
            recovered,
            indexer: indexer::Options {
                retention: indexer::RetentionOptions {
                    epoch,
                    ..indexer.retention
                },
                ..indexer
            },
            state,
            epoch,
            #[cfg(feature = "faults")]
            faults,
        })
    }
}
