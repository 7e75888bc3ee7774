//! `history/NNNNNN.redb`: ended executions, one file for each range of segments, for lists and look-ups.
//!
//! A row says where an execution's entries stand; payloads and messages stay in the journal, sealed. Files go as a
//! whole, together with their segments, so history never deletes a row. It holds nothing that the journal does not:
//! a file that is missing or damaged, or was not made to its end, is made again from a scan. One whose damage is met while it is in use
//! goes, and is missing until the next start: it must hold up neither what ends nor who looks.

mod check;
mod file;
mod pool;

use crate::folder::{Directory, Folder};
use crate::index::core::EndedRow;
use crate::index::fault::IndexError;
use crate::index::file::IndexFile;
use crate::index::row::ExecutionRow;
use crate::index::status::{Filter, Gather};
pub use check::HistoryFile;

use file::Range;
use perseat_domain::id::ExecutionId;
use pool::Pool;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many segments one file covers; part of the stored format.
pub const SEGMENTS_PER_FILE: u32 = 4;

/// How the files are opened and read.
#[derive(Clone, Debug)]
pub struct HistoryOptions {
    /// redb's page cache in bytes, for all open files together.
    pub cache_bytes: usize,
    /// How many files are open at most.
    pub max_open: usize,
    /// How many rows of one file a list looks at before it gives a short page.
    pub scan_rows: usize,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 4 << 20,
            max_open: 4,
            scan_rows: 20_000,
        }
    }
}

/// What was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DroppedHistory {
    /// Files unlinked.
    pub files: u32,
    /// Rows that went with them.
    pub rows: u64,
    /// Bytes they took on disk.
    pub bytes: u64,
}

/// Ended executions.
#[derive(Debug)]
pub struct History {
    folder: Arc<dyn Folder>,
    options: HistoryOptions,
    pool: Pool,
    files: Mutex<BTreeMap<u32, Range>>,
    /// Files that went, or were not made again, while their segments may be there: to be made again as a whole, at the next start.
    given_away: Mutex<BTreeSet<u32>>,
    /// The numbers of files that are being made again and lack rows yet.
    incomplete: Mutex<BTreeSet<u32>>,
    /// Files whose damage was met by who read them: whoever writes next gives them away.
    damaged: Mutex<BTreeSet<u32>>,
}

impl History {
    /// Opens the directory and every file in it. A file that is damaged, or lacks rows, is removed, and [`History::missing`] names it.
    ///
    /// # Errors
    /// If the directory cannot be read or written, or the disk fails.
    pub fn open(directory: &Path, options: HistoryOptions) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Self::open_in(Arc::new(Directory::new(directory)), options)
    }

    /// Opens a folder and every file in it, as [`History::open`] does.
    ///
    /// # Errors
    /// If the folder cannot be read, or the disk fails.
    pub fn open_in(folder: Arc<dyn Folder>, options: HistoryOptions) -> io::Result<Self> {
        let pool = Pool::new(Arc::clone(&folder), options.cache_bytes, options.max_open);
        let history = Self {
            folder,
            options,
            pool,
            files: Mutex::default(),
            given_away: Mutex::default(),
            incomplete: Mutex::default(),
            damaged: Mutex::default(),
        };
        for number in history.numbers_on_disk()? {
            match history.read_as_it_is(number, file::range) {
                Ok(range) => history.files().extend(range.map(|range| (number, range))),
                Err(error) if !error.is_damage() => return Err(io::Error::other(error)),
                Err(error) => {
                    tracing::error!(file = %file_name(number), error = &error as &dyn std::error::Error, "history file is unusable and will be made again from the journal");
                    history.unlink(number);
                }
            }
        }
        Ok(history)
    }

    /// The numbers of the files that cover these segments and are not there.
    #[must_use]
    pub fn missing(&self, segments: impl IntoIterator<Item = u32>) -> BTreeSet<u32> {
        let files = self.files();
        let numbers = segments.into_iter().map(|segment| segment / SEGMENTS_PER_FILE);
        numbers.filter(|number| !files.contains_key(number)).collect()
    }

    /// Whether one of these files was given away: [`History::drop_oldest`], [`History::give_away_incomplete`], or it was damaged.
    #[must_use]
    pub fn has_given_away(&self, numbers: &BTreeSet<u32>) -> bool {
        !self.given_away().is_disjoint(numbers)
    }

    /// Stores ended executions durably, and makes the files that cover `segments` where they are missing, so that a
    /// file that is not there was lost. Storing a row again changes nothing. Of files that were given away nothing is stored: with
    /// part of its rows one would be taken for whole.
    ///
    /// # Errors
    /// If the disk is full or fails; part of the rows may be stored then. A file that is damaged is given away.
    pub fn apply(&self, ended: &[EndedRow], segments: impl IntoIterator<Item = u32>) -> Result<(), IndexError> {
        let damaged = std::mem::take(&mut *self.damaged());
        damaged.into_iter().try_for_each(|number| self.give_away(number))?;
        let missing = self.missing(segments).into_iter();
        let mut by_file: BTreeMap<u32, Vec<&EndedRow>> = missing.map(|number| (number, Vec::new())).collect();
        for row in ended {
            by_file.entry(row.segment / SEGMENTS_PER_FILE).or_default().push(row);
        }
        let given_away = self.given_away().clone();
        by_file.retain(|number, _| !given_away.contains(number));
        for (number, rows) in by_file {
            let lacks_rows = self.incomplete().contains(&number);
            self.write(number, |file| file::apply(file, &rows, lacks_rows))?;
        }
        Ok(())
    }

    /// What is stored in these files from now on is not all that belongs there: they say so until [`History::complete`].
    pub(crate) fn begin(&self, numbers: &BTreeSet<u32>) {
        self.incomplete().extend(numbers);
    }

    /// The file has all of its rows; one without any is made. One that was given away meanwhile stays away.
    pub(crate) fn complete(&self, number: u32) -> Result<(), IndexError> {
        if !self.given_away().contains(&number) {
            self.write(number, file::complete)?;
        }
        self.incomplete().remove(&number);
        Ok(())
    }

    /// One ended execution.
    ///
    /// # Errors
    /// If a file cannot be read or the row does not decode.
    pub fn get(&self, execution: ExecutionId) -> Result<Option<ExecutionRow>, IndexError> {
        let candidates: Vec<u32> = self
            .files()
            .iter()
            .rev()
            .filter(|(_, range)| range.contains(execution))
            .map(|(number, _)| *number)
            .collect();
        for number in candidates {
            if let Some(stored) = self.read(number, |file| file::get(file, execution))?.flatten() {
                let row = ExecutionRow::decode(&stored).ok_or_else(|| IndexError::undecodable(&file_name(number)))?;
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// Offers the newest matching rows below `before` to the page.
    pub(crate) fn gather(&self, filter: &Filter, before: Option<ExecutionId>, gather: &mut Gather) -> Result<(), IndexError> {
        let bounds = filter.id_bounds(before);
        let mut candidates: Vec<(ExecutionId, u32)> = self
            .files()
            .iter()
            .filter(|(_, range)| range.meets(&bounds))
            .filter_map(|(number, range)| range.ids.map(|(_, highest)| (highest, *number)))
            .collect();
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        for (highest, number) in candidates {
            if gather.is_settled_above(highest) {
                break;
            }
            let (limit, scan_rows) = (gather.limit(), self.options.scan_rows);
            let Some(found) = self.read(number, |file| file::find(file, filter, before, limit, scan_rows))? else {
                continue;
            };
            if found.is_damaged {
                tracing::error!(file = %file_name(number), "a row of a history file does not decode and is passed over; a start without the file makes it again from the journal");
            }
            for (execution, row) in found.rows {
                gather.offer(execution, row);
            }
            if let Some(execution) = found.stopped_at {
                gather.stopped_at(execution);
            }
        }
        Ok(())
    }

    /// Unlinks the files all of whose segments are before `segment`.
    pub fn drop_before(&self, segment: u32) -> DroppedHistory {
        let numbers: Vec<u32> = self
            .files()
            .keys()
            .copied()
            .filter(|number| (number + 1) * SEGMENTS_PER_FILE <= segment)
            .collect();
        self.given_away().retain(|number| (number + 1) * SEGMENTS_PER_FILE > segment);
        self.incomplete().retain(|number| (number + 1) * SEGMENTS_PER_FILE > segment);
        self.drop_files(&numbers)
    }

    /// Unlinks the oldest file unless it is the only one: room on a full disk. It is made again from the journal at
    /// the next start if its segments are still there.
    pub fn drop_oldest(&self) -> DroppedHistory {
        let files = self.files();
        let oldest: Vec<u32> = if files.len() > 1 {
            files.keys().copied().take(1).collect()
        } else {
            Vec::new()
        };
        drop(files);
        // Before it goes, so that whoever finds it missing finds it here.
        self.given_away().extend(&oldest);
        self.drop_files(&oldest)
    }

    /// There is no room for what is being made again: what was made of those files goes, and they are missing until the next start. Gives
    /// how many they are.
    pub fn give_away_incomplete(&self) -> usize {
        let numbers = std::mem::take(&mut *self.incomplete());
        self.given_away().extend(&numbers);
        for number in numbers.iter().filter(|number| self.folder.exists(&file_name(**number))) {
            self.files().remove(number);
            // One that stays says that it lacks rows, or has no table.
            self.unlink(*number);
        }
        numbers.len()
    }

    /// How many rows all files hold.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.files().values().map(|range| range.rows).sum()
    }

    fn drop_files(&self, numbers: &[u32]) -> DroppedHistory {
        let mut dropped = DroppedHistory::default();
        for number in numbers {
            dropped.files += 1;
            dropped.rows += self.files().remove(number).map_or(0, |range| range.rows);
            dropped.bytes += self.folder.bytes(&file_name(*number));
            if !self.unlink(*number) {
                // It is whole, and may be added to.
                self.given_away().remove(number);
            }
        }
        dropped
    }

    /// Reads a file; `None` if it was dropped meanwhile, or is damaged.
    fn read<T>(&self, number: u32, read: impl FnOnce(&IndexFile) -> Result<T, IndexError>) -> Result<Option<T>, IndexError> {
        match self.read_as_it_is(number, read) {
            Err(error) if error.is_damage() => {
                if self.damaged().insert(number) {
                    note_damage(&error);
                }
                Ok(None)
            }
            read => read,
        }
    }

    /// Reads a file; `None` if it was dropped meanwhile.
    fn read_as_it_is<T>(&self, number: u32, read: impl FnOnce(&IndexFile) -> Result<T, IndexError>) -> Result<Option<T>, IndexError> {
        guarded(number, || match self.pool.lease_existing(number)? {
            Some(lease) => read(&lease).map(Some),
            None => Ok(None),
        })
    }

    /// Writes to a file, which is given away if it is damaged.
    fn write(&self, number: u32, write: impl FnOnce(&IndexFile) -> Result<Range, IndexError>) -> Result<(), IndexError> {
        match guarded(number, || write(&*self.pool.lease(number)?)) {
            Ok(range) => {
                self.files().insert(number, range);
                Ok(())
            }
            Err(error) if error.is_damage() => {
                note_damage(&error);
                self.give_away(number)
            }
            Err(error) => Err(error),
        }
    }

    /// Unlinks a damaged file, durably: were it to come back, it would lack what is not stored in it from now on.
    fn give_away(&self, number: u32) -> Result<(), IndexError> {
        // However that ends: the file goes.
        let _ = guarded(number, || {
            self.pool.forget(number);
            Ok(())
        });
        let removed = match self.folder.remove(&file_name(number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        removed
            .and_then(|()| self.folder.sync())
            .map_err(|error| IndexError::from_io(&file_name(number), error))?;
        self.given_away().insert(number);
        self.files().remove(&number);
        Ok(())
    }

    fn unlink(&self, number: u32) -> bool {
        self.pool.forget(number);
        let removed = self.folder.remove(&file_name(number));
        if let Err(error) = &removed {
            tracing::warn!(file = %file_name(number), %error, "history file could not be removed");
        }
        removed.is_ok()
    }

    fn numbers_on_disk(&self) -> io::Result<Vec<u32>> {
        let names = self.folder.names()?;
        let stems = names.iter().filter_map(|name| name.strip_suffix(".redb"));
        let mut numbers: Vec<u32> = stems.filter_map(|stem| stem.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn given_away(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.given_away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn incomplete(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.incomplete.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damaged(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<u32, Range>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The library takes some damage for a fault of its own and panics.
fn guarded<T>(number: u32, work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(IndexError::panicked(&file_name(number))))
}

fn note_damage(error: &IndexError) {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "history file is damaged and goes; the next start makes it again from the journal"
    );
}

/// The name of a file in the history directory.
fn file_name(number: u32) -> String {
    format!("{number:06}.redb")
}
