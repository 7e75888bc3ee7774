//! A folder that is only read: what a database writes on opening, to repair itself, stays in memory.

use crate::error::StoreError;
use crate::folder::Folder;
use redb::{Builder, StorageBackend};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes that are kept together in memory.
const BLOCK: usize = 4096;
/// Page cache while a database is checked.
const CACHE: usize = 16 << 20;

/// See the module.
#[derive(Clone, Debug)]
pub struct ReadOnlyDirectory {
    path: PathBuf,
}

impl ReadOnlyDirectory {
    /// The directory at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Reads every page of a database and holds it against its checksum; whether all fit.
    ///
    /// # Errors
    /// If it does not even open.
    pub fn check_pages(&self, name: &str) -> Result<bool, StoreError> {
        let overlay = self.overlay(name)?;
        // The library takes some damage for a fault of its own and panics.
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut builder = Builder::new();
            builder.set_cache_size(CACHE);
            let mut database = builder.create_with_backend(overlay)?;
            Ok(database.check_integrity()?)
        }));
        checked.unwrap_or_else(|_| Err(StoreError::corrupt(name)))
    }

    fn overlay(&self, name: &str) -> Result<Overlay, StoreError> {
        let file = File::open(self.path.join(name))?;
        let length = file.metadata()?.len();
        if length == 0 {
            // An empty file would be made a database.
            return Err(StoreError::corrupt(name));
        }
        Ok(Overlay {
            file,
            state: Mutex::new(State {
                length,
                kept: length,
                blocks: HashMap::new(),
            }),
        })
    }
}

impl Folder for ReadOnlyDirectory {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> Result<Box<dyn StorageBackend>, StoreError> {
        Ok(Box::new(self.overlay(name)?))
    }

    fn exists(&self, name: &str) -> bool {
        self.path.join(name).exists()
    }

    fn bytes(&self, name: &str) -> u64 {
        fs::metadata(self.path.join(name)).map_or(0, |meta| meta.len())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_read_only(&self) -> bool {
        true
    }
}

/// A file below, blocks that were written above.
#[derive(Debug)]
struct Overlay {
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    length: u64,
    /// How much of the file below still counts.
    kept: u64,
    blocks: HashMap<u64, Box<[u8]>>,
}

impl Overlay {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block as it stands below; zeros beyond its end.
    fn below(&self, block: u64, kept: u64) -> io::Result<Box<[u8]>> {
        let mut bytes = vec![0; BLOCK].into_boxed_slice();
        let at = block * BLOCK as u64;
        let length = usize::try_from(kept.saturating_sub(at)).unwrap_or(BLOCK).min(BLOCK);
        self.file.read_exact_at(&mut bytes[..length], at)?;
        Ok(bytes)
    }
}

/// The parts of `length` bytes from `offset` on: block, place within it, place within the whole.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let (block, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
        let part = (BLOCK - within).min(length - done);
        let start = done;
        done += part;
        Some((block, within..within + part, start))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if offset + out.len() as u64 > state.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if state.blocks.is_empty() && offset + out.len() as u64 <= state.kept {
            return self.file.read_exact_at(out, offset);
        }
        for (block, within, start) in parts(offset, out.len()) {
            let target = &mut out[start..start + within.len()];
            match state.blocks.get(&block) {
                Some(bytes) => target.copy_from_slice(&bytes[within]),
                None => target.copy_from_slice(&self.below(block, state.kept)?[within]),
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        if length < state.length {
            state.kept = state.kept.min(length);
            state.blocks.retain(|block, _| block * (BLOCK as u64) < length);
            let (block, within) = (length / BLOCK as u64, (length % BLOCK as u64) as usize);
            if let Some(bytes) = state.blocks.get_mut(&block) {
                bytes[within..].fill(0);
            }
        }
        state.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        for (block, within, start) in parts(offset, data.len()) {
            if !state.blocks.contains_key(&block) {
                let below = self.below(block, state.kept)?;
                state.blocks.insert(block, below);
            }
            if let Some(bytes) = state.blocks.get_mut(&block) {
                bytes[within.clone()].copy_from_slice(&data[start..start + within.len()]);
            }
        }
        state.length = state.length.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, Options};
    use crate::database::Handle;
    use crate::folder::Directory;
    use redb::TableDefinition;
    use std::sync::Arc;

    /// The folder, which keeps hold of what it opened.
    #[derive(Debug)]
    struct Observed {
        folder: ReadOnlyDirectory,
        opened: Mutex<Vec<Arc<Overlay>>>,
    }

    impl Folder for Observed {
        fn names(&self) -> io::Result<Vec<String>> {
            self.folder.names()
        }

        fn open(&self, name: &str) -> Result<Box<dyn StorageBackend>, StoreError> {
            let overlay = Arc::new(self.folder.overlay(name)?);
            self.opened.lock().unwrap().push(Arc::clone(&overlay));
            Ok(Box::new(Opened(overlay)))
        }

        fn exists(&self, name: &str) -> bool {
            self.folder.exists(name)
        }

        fn bytes(&self, name: &str) -> u64 {
            self.folder.bytes(name)
        }

        fn remove(&self, name: &str) -> io::Result<()> {
            self.folder.remove(name)
        }

        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.folder.rename(from, to)
        }

        fn sync(&self) -> io::Result<()> {
            self.folder.sync()
        }

        fn is_read_only(&self) -> bool {
            self.folder.is_read_only()
        }
    }

    #[derive(Debug)]
    struct Opened(Arc<Overlay>);

    impl StorageBackend for Opened {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }

        fn set_len(&self, length: u64) -> io::Result<()> {
            self.0.set_len(length)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.0.write(offset, data)
        }
    }

    #[test]
    fn of_a_large_file_that_was_not_closed_little_is_kept_in_memory() {
        const LARGE: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("large");
        let folder = tempfile::tempdir().unwrap();
        let handle = Handle::open(Arc::new(Directory::new(folder.path())), "open.redb", 1 << 20).unwrap();
        let writing = handle.write().unwrap();
        for number in 0..1_024 {
            let row = vec![7; BLOCK];
            writing.open_table(LARGE).unwrap().insert(number, row.as_slice()).unwrap();
        }
        writing.commit().unwrap();
        // As whoever looks finds it after a kill.
        fs::copy(folder.path().join("open.redb"), folder.path().join("large.redb")).unwrap();
        let observed = Arc::new(Observed {
            folder: ReadOnlyDirectory::new(folder.path()),
            opened: Mutex::default(),
        });
        let opened = Handle::open(observed.clone(), "large.redb", 1 << 20).unwrap();
        let blocks = observed.opened.lock().unwrap()[0].state().blocks.len();
        assert!(
            (1..256).contains(&blocks),
            "{blocks} of {}",
            observed.bytes("large.redb") / BLOCK as u64
        );
        drop(opened);
    }

    #[test]
    fn a_database_is_read_and_written_above_a_file_that_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.redb");
        drop(Catalog::open(&path, Options::default()).unwrap());
        let before = fs::read(&path).unwrap();
        let above = ReadOnlyDirectory::new(folder.path());
        assert!(above.check_pages("catalog.redb").unwrap());
        let catalog = Catalog::open_in(Arc::new(above.clone()), "catalog.redb", Options::default()).unwrap();
        assert_eq!(catalog.revision().unwrap(), 0);
        drop(catalog);
        let overlay = above.overlay("catalog.redb").unwrap();
        overlay.write(before.len() as u64 - 3, &[7; 10]).unwrap();
        let mut read = [1; 9];
        overlay.read(before.len() as u64 - 5, &mut read).unwrap();
        assert_eq!(read[..2], before[before.len() - 5..before.len() - 3]);
        assert_eq!(read[2..], [7; 7]);
        overlay.set_len(before.len() as u64 - 1).unwrap();
        overlay.set_len(before.len() as u64 + 1).unwrap();
        overlay.read(before.len() as u64 - 3, &mut read[..4]).unwrap();
        assert_eq!(read[..4], [7, 7, 0, 0]);
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}
