//! `state.redb`: the live executions, and up to which journal position they are known.
//!
//! Rows and watermark change in one transaction, so that state is true up to the watermark and the journal is after
//! it. An execution that was accepted and ended between two commits never gets here. State must not be deleted while
//! the journal lives: that the execution of a `Carried` had ended before that was written is known here alone, once the
//! segment with its `Ended` is gone. Lost state is made again where the journal leaves no doubt; elsewhere whoever starts
//! the daemon decides.

use crate::copy;
use crate::error::StoreError;
use crate::folder::{Directory, Folder};
use crate::index::fault::IndexError;
use crate::index::file::IndexFile;
use crate::index::row::ExecutionRow;
use crate::usage::{self, Added, USAGE, UsageLimits};
use perseat_domain::id::{CustomerId, ExecutionId};
use perseat_domain::usage::{Amount, Day, UsageKey};
use redb::{ReadableTable as _, ReadableTableMetadata, TableDefinition, TableError};
use std::fs::File;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

const LIVE: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("live");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: u64 = 1;
const FORMAT_KEY: &str = "format";
const WATERMARK_KEY: &str = "watermark";
const REBUILT_KEY: &str = "rebuilt_through";
const EPOCH_KEY: &str = "epoch";
const PAGE: usize = 1_024;

/// How the file is opened.
#[derive(Clone, Debug)]
pub struct StateOptions {
    /// redb's page cache in bytes.
    pub cache_bytes: usize,
    /// How much of what was used is kept.
    pub usage: UsageLimits,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 4 << 20,
            usage: UsageLimits::default(),
        }
    }
}

/// The net effect of a run of journal entries on the live executions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateBatch {
    /// Executions that are live and changed.
    pub put: Vec<(ExecutionId, ExecutionRow)>,
    /// Executions that were stored and ended.
    pub remove: Vec<ExecutionId>,
    /// The position of the last entry of the run.
    pub watermark: u64,
    /// What the entries of the run add to usage, in their order.
    pub(crate) usage: Vec<Added>,
}

/// What a copy of the state holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopiedState {
    /// Up to where it is true; `None` before the first batch.
    pub watermark: Option<u64>,
    /// The lowest position that a live execution's entries stand at.
    pub oldest: Option<u64>,
    /// Live executions.
    pub live: u64,
}

/// The live executions.
#[derive(Debug)]
pub struct StateStore {
    file: IndexFile,
    usage: UsageLimits,
}

impl StateStore {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// If the file is damaged, of a newer format, in use by another process, or the disk fails.
    pub fn open(path: &Path, options: &StateOptions) -> Result<Self, IndexError> {
        let (folder, name) = Directory::of(path);
        Self::open_in(folder, &name, options)
    }

    /// Opens or creates the file in a folder.
    ///
    /// # Errors
    /// As [`StateStore::open`].
    pub fn open_in(folder: Arc<dyn Folder>, name: &str, options: &StateOptions) -> Result<Self, IndexError> {
        let file = IndexFile::open(folder, name, options.cache_bytes)?;
        // A file that was made before is not written to: it opens on a full disk, too.
        let known = file.read(|transaction| match transaction.open_table(META) {
            Ok(meta) => Ok(meta.get(FORMAT_KEY)?.map(|value| value.value())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })?;
        match known {
            Some(FORMAT) => {}
            Some(found) => return Err(IndexError::of_another_format(file.name(), found, FORMAT)),
            None => file.write(|transaction| {
                transaction.open_table(LIVE)?;
                transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
                Ok(())
            })?,
        }
        Ok(Self {
            file,
            usage: options.usage,
        })
    }

    /// Applies a batch and moves the watermark, durably and in one transaction.
    ///
    /// # Errors
    /// If the disk is full or fails; then nothing changed, and a later call opens the file anew.
    pub fn apply(&self, batch: &StateBatch) -> Result<(), IndexError> {
        self.file.write(|transaction| {
            let mut live = transaction.open_table(LIVE)?;
            for (execution, row) in &batch.put {
                live.insert(execution.0.as_u128(), row.encode().as_slice())?;
            }
            for execution in &batch.remove {
                live.remove(execution.0.as_u128())?;
            }
            let mut meta = transaction.open_table(META)?;
            if !batch.usage.is_empty() {
                let known = meta.get(WATERMARK_KEY)?.map(|value| value.value());
                usage::add(&mut transaction.open_table(USAGE)?, &batch.usage, known, self.usage)?;
            }
            meta.insert(WATERMARK_KEY, batch.watermark)?;
            Ok(())
        })
    }

    /// Gives the rows of usage from one day to another, both included, in the order of days, and the oldest day that is kept;
    /// of one customer, if one is named, and then no row of another is read but one a day.
    /// `opened` runs when the moment that they are read of is fixed.
    ///
    /// # Errors
    /// If the file cannot be read or a row does not decode, or what `each` returns.
    pub fn usage<E: From<IndexError>>(
        &self,
        days: std::ops::RangeInclusive<Day>,
        customer: Option<CustomerId>,
        opened: impl FnOnce(),
        mut each: impl FnMut(UsageKey, Amount) -> Result<(), E>,
    ) -> Result<Option<Day>, E> {
        let mut stopped = None;
        let oldest = self.file.read(|transaction| {
            let table = match transaction.open_table(USAGE) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            opened();
            let (mut from, end) = (usage::first_of(*days.start()).to_vec(), Day(days.end().0.saturating_add(1)));
            let end = usage::first_of(end);
            'days: while let Some(first) = table.range::<&[u8]>(from.as_slice()..end.as_slice())?.next() {
                let (key, amount) = first?;
                let (key, _) = usage::decode(key.value(), amount.value())?;
                let (begin, next) = usage::rows_of(key.day, customer);
                let begin = begin.max(from);
                for row in table.range::<&[u8]>(begin.as_slice()..next.as_slice().min(&end))? {
                    let (key, amount) = row?;
                    let (key, amount) = usage::decode(key.value(), amount.value())?;
                    if let Err(error) = each(key, amount) {
                        stopped = Some(error);
                        break 'days;
                    }
                }
                from = usage::first_of(Day(key.day.0.saturating_add(1))).to_vec();
            }
            let first = table.first()?;
            first
                .map(|(key, amount)| usage::decode(key.value(), amount.value()).map(|(key, _)| key.day))
                .transpose()
        })?;
        stopped.map_or(Ok(oldest), Err)
    }

    /// The position up to which the rows are true; `None` before the first batch.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn watermark(&self) -> Result<Option<u64>, IndexError> {
        self.meta(WATERMARK_KEY)
    }

    /// Up to which position state is made again from the journal: set where it was lost, and 0 once that is done.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn rebuilt_through(&self) -> Result<Option<u64>, IndexError> {
        self.meta(REBUILT_KEY)
    }

    /// Whether there is no state, or the making of it from the journal was cut off.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn is_being_rebuilt(&self) -> Result<bool, IndexError> {
        let Some(watermark) = self.watermark()? else { return Ok(true) };
        Ok(self.rebuilt_through()?.is_some_and(|through| watermark < through))
    }

    /// Records that everything up to `position` is made again from the journal; 0 once that is done.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn rebuild_through(&self, position: u64) -> Result<(), IndexError> {
        self.file.write(|transaction| {
            transaction.open_table(META)?.insert(REBUILT_KEY, position)?;
            Ok(())
        })
    }

    /// The epoch of the daemon that owns this directory; raised where the directory was restored from a backup.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn epoch(&self) -> Result<u64, IndexError> {
        Ok(self.meta(EPOCH_KEY)?.unwrap_or(1))
    }

    /// Sets the epoch, durably.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn set_epoch(&self, epoch: u64) -> Result<(), IndexError> {
        self.file.write(|transaction| {
            transaction.open_table(META)?.insert(EPOCH_KEY, epoch)?;
            Ok(())
        })
    }

    /// Copies everything of one moment into an empty file. Writers go on meanwhile.
    ///
    /// # Errors
    /// If the disk fails, a row does not decode, or there is a table that this version does not know.
    pub fn copy_to(&self, file: File) -> Result<CopiedState, IndexError> {
        self.file.read(|transaction| {
            copy::into_file(transaction, file, |copy| {
                let mut copied = CopiedState::default();
                copy.table(LIVE, |_, bytes| {
                    let row = ExecutionRow::decode(bytes).ok_or_else(|| StoreError::corrupt("a live execution"))?;
                    let first = row.entries.iter().map(|reference| reference.position).min();
                    copied.oldest = copied.oldest.into_iter().chain(first).min();
                    copied.live += 1;
                    Ok(())
                })?;
                copy.table_if_there(USAGE, |key, amount| usage::decode(key, amount).map(drop))?;
                copy.table(META, |key, value| {
                    if key == WATERMARK_KEY {
                        copied.watermark = Some(value);
                    }
                    Ok(())
                })?;
                Ok(copied)
            })
        })
    }

    /// One live execution.
    ///
    /// # Errors
    /// If the file cannot be read or the row does not decode.
    pub fn get(&self, execution: ExecutionId) -> Result<Option<ExecutionRow>, IndexError> {
        let bytes = self.file.read(|transaction| {
            let live = transaction.open_table(LIVE)?;
            Ok(live.get(execution.0.as_u128())?.map(|value| value.value().to_vec()))
        })?;
        bytes.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// How many executions are stored.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn len(&self) -> Result<u64, IndexError> {
        self.file.read(|transaction| Ok(transaction.open_table(LIVE)?.len()?))
    }

    /// Whether no execution is stored.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn is_empty(&self) -> Result<bool, IndexError> {
        self.len().map(|len| len == 0)
    }

    /// All live executions in the order of their ids, read in pages; rows that change meanwhile may come in either form.
    pub fn live(&self) -> LiveRows<'_> {
        LiveRows {
            state: self,
            page: Vec::new().into_iter(),
            after: Bound::Unbounded,
            done: false,
        }
    }

    /// At most `limit` live executions with ids below `before`, highest first.
    ///
    /// # Errors
    /// If the file cannot be read or a row does not decode.
    pub fn page_before(&self, before: Option<ExecutionId>, limit: usize) -> Result<Vec<(ExecutionId, ExecutionRow)>, IndexError> {
        let end = before.map_or(Bound::Unbounded, |id| Bound::Excluded(id.0.as_u128()));
        self.collect(|live| live.range::<u128>((Bound::Unbounded, end))?.rev().take(limit).map(owned).collect())
    }

    fn page_after(&self, after: Bound<u128>) -> Result<Vec<(ExecutionId, ExecutionRow)>, IndexError> {
        self.collect(|live| live.range::<u128>((after, Bound::Unbounded))?.take(PAGE).map(owned).collect())
    }

    fn collect(
        &self,
        page: impl FnOnce(&redb::ReadOnlyTable<u128, &[u8]>) -> Result<Vec<(u128, Vec<u8>)>, StoreError>,
    ) -> Result<Vec<(ExecutionId, ExecutionRow)>, IndexError> {
        let rows = self.file.read(|transaction| page(&transaction.open_table(LIVE)?))?;
        rows.into_iter()
            .map(|(id, bytes)| Ok((ExecutionId(Uuid::from_u128(id)), self.decode(&bytes)?)))
            .collect()
    }

    fn decode(&self, bytes: &[u8]) -> Result<ExecutionRow, IndexError> {
        ExecutionRow::decode(bytes).ok_or_else(|| IndexError::undecodable(self.file.name()))
    }

    fn meta(&self, key: &str) -> Result<Option<u64>, IndexError> {
        self.file
            .read(|transaction| Ok(transaction.open_table(META)?.get(key)?.map(|value| value.value())))
    }
}

type Stored<'a> = (redb::AccessGuard<'a, u128>, redb::AccessGuard<'a, &'static [u8]>);

fn owned(item: Result<Stored<'_>, redb::StorageError>) -> Result<(u128, Vec<u8>), StoreError> {
    let (key, value) = item?;
    Ok((key.value(), value.value().to_vec()))
}

/// See [`StateStore::live`].
#[derive(Debug)]
pub struct LiveRows<'a> {
    state: &'a StateStore,
    page: std::vec::IntoIter<(ExecutionId, ExecutionRow)>,
    after: Bound<u128>,
    done: bool,
}

impl Iterator for LiveRows<'_> {
    type Item = Result<(ExecutionId, ExecutionRow), IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0 && !self.done {
            match self.state.page_after(self.after) {
                Ok(page) => {
                    self.done = page.len() < PAGE;
                    if let Some((last, _)) = page.last() {
                        self.after = Bound::Excluded(last.0.as_u128());
                    }
                    self.page = page.into_iter();
                }
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
        self.page.next().map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::Database;

    #[test]
    fn a_file_of_another_format_says_which() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.redb");
        drop(StateStore::open(&path, &StateOptions::default()).unwrap());
        let of_later = Database::open(&path).unwrap();
        let transaction = of_later.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert(FORMAT_KEY, FORMAT + 1).unwrap();
        transaction.commit().unwrap();
        drop(of_later);
        let Err(IndexError::Store { file, source }) = StateStore::open(&path, &StateOptions::default()) else {
            panic!("it was opened");
        };
        assert_eq!(file, "state.redb");
        assert!(matches!(source, StoreError::UnknownFormat { found: 2, known: 1, .. }), "{source}");
    }
}
