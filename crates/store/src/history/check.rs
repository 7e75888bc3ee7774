//! One history file as it stands, for whoever holds it against the journal.

use super::{SEGMENTS_PER_FILE, file, file_name};
use crate::folder::Folder;
use crate::index::ExecutionRow;
use crate::index::fault::IndexError;
use crate::index::file::IndexFile;
use perseat_domain::id::ExecutionId;
use std::io;
use std::sync::Arc;

/// Page cache while it is checked.
const CACHE: usize = 8 << 20;

/// See the module.
#[derive(Debug)]
pub struct HistoryFile {
    number: u32,
    file: IndexFile,
}

impl HistoryFile {
    /// The numbers of the files in a folder, in order.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn numbers(folder: &dyn Folder) -> io::Result<Vec<u32>> {
        let names = folder.names()?;
        let mut numbers: Vec<u32> = names
            .iter()
            .filter_map(|name| name.strip_suffix(".redb"))
            .filter_map(|stem| stem.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The number of the file that covers a segment.
    #[must_use]
    pub fn number_of(segment: u32) -> u32 {
        segment / SEGMENTS_PER_FILE
    }

    /// The first segment that a file covers.
    #[must_use]
    pub fn first_segment(number: u32) -> u32 {
        number * SEGMENTS_PER_FILE
    }

    /// The name of a file.
    #[must_use]
    pub fn name_of(number: u32) -> String {
        file_name(number)
    }

    /// Opens the file of this number.
    ///
    /// # Errors
    /// If it does not open.
    pub fn open(folder: Arc<dyn Folder>, number: u32) -> Result<Self, IndexError> {
        let file = IndexFile::open(folder, &file_name(number), CACHE)?;
        Ok(Self { number, file })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        file_name(self.number)
    }

    /// Whether it was not made to its end: the next start makes it again.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn lacks_rows(&self) -> Result<bool, IndexError> {
        file::lacks_rows(&self.file)
    }

    /// Whether it is the file of this segment.
    #[must_use]
    pub fn covers(&self, segment: u32) -> bool {
        segment / SEGMENTS_PER_FILE == self.number
    }

    /// Gives every row to `look`, `None` for one that does not read; gives how many secondary rows are missing or lead nowhere.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn each(&self, look: impl FnMut(ExecutionId, Option<ExecutionRow>)) -> Result<u64, IndexError> {
        file::each(&self.file, look)
    }
}
