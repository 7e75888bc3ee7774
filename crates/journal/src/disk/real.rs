//! The directory as the operating system gives it.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::{Errno, retry_on_intr},
};

use super::{Disk, File};

const LOCK: &str = "LOCK";

/// A directory on a file system; writes are made durable with fdatasync.
#[derive(Debug)]
pub struct RealDisk {
    directory: PathBuf,
    handle: fs::File,
    // Held for its advisory lock, which goes with the process.
    _lock: Option<fs::File>,
    #[cfg(feature = "faults")]
    faults: Arc<crate::Faults>,
}

impl RealDisk {
    /// Opens the directory for the one writer, creating it if needed. Fails while another process holds it.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        fs::create_dir_all(&directory)?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::new(
                ErrorKind::ResourceBusy,
                format!("{} is in use by another process", directory.display()),
            ),
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self {
            handle: fs::File::open(&directory)?,
            directory,
            _lock: Some(lock),
            #[cfg(feature = "faults")]
            faults: Arc::default(),
        })
    }

    /// Opens the directory for looking at it, beside a running writer or without one.
    pub fn inspect(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        Ok(Self {
            handle: fs::File::open(&directory)?,
            directory,
            _lock: None,
            #[cfg(feature = "faults")]
            faults: Arc::default(),
        })
    }

    /// The directory, as full as a test says.
    #[cfg(feature = "faults")]
    #[must_use]
    pub fn with_faults(self, faults: Arc<crate::Faults>) -> Self {
        Self { faults, ..self }
    }

    fn file(&self, file: fs::File, direct: Option<fs::File>) -> Arc<dyn File> {
        Arc::new(RealFile {
            file,
            direct,
            #[cfg(feature = "faults")]
            faults: self.faults.clone(),
        })
    }

    fn writable(&self) -> bool {
        self._lock.is_some()
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.directory.join(name);
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let flag = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or_default();
        let direct = fs::OpenOptions::new().write(true).custom_flags(flag).open(&path).ok();
        Ok(self.file(file, direct))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(self.writable())
            .open(self.directory.join(name))?;
        Ok(self.file(file, None))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.directory).join(name)
    }
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
    /// Past the page cache, for files that are made: filling them costs half the processor time that way. Not every
    /// file system has it.
    direct: Option<fs::File>,
    #[cfg(feature = "faults")]
    faults: Arc<crate::Faults>,
}

impl RealFile {
    /// What makes the file larger needs room.
    #[cfg(feature = "faults")]
    fn check_room(&self, end: u64) -> io::Result<()> {
        if self.faults.disk_is_full() && end > self.length()? {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// Zeros as direct writes want them: aligned.
#[repr(align(4096))]
struct Zeros([u8; 1 << 20]);
static ZEROS: Zeros = Zeros([0; 1 << 20]);

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(feature = "faults")]
        self.check_room(offset + bytes.len() as u64)?;
        self.file.write_all_at(bytes, offset)
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        #[cfg(feature = "faults")]
        self.check_room(length)?;
        match retry_on_intr(|| fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, length)) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn write_zeros(&self, length: usize, offset: u64) -> io::Result<()> {
        #[cfg(feature = "faults")]
        self.check_room(offset + length as u64)?;
        let mut at = 0;
        while at < length {
            let piece = &ZEROS.0[..ZEROS.0.len().min(length - at)];
            let here = offset + at as u64;
            match &self.direct {
                Some(direct) if direct.write_all_at(piece, here).is_ok() => {}
                _ => self.file.write_all_at(piece, here)?,
            }
            at += piece.len();
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel syncs neither a device without a disk nor its own directories, and says so: who asks it hears that.
    #[test]
    fn a_sync_asks_the_operating_system() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/null", directory.path().join("null")).unwrap();
        let disk = RealDisk::open(directory.path()).unwrap();
        disk.sync_directory().unwrap();
        disk.create("file").unwrap().sync().unwrap();
        let refused = |sync: io::Result<()>| sync.unwrap_err().kind();
        assert_eq!(refused(disk.open("null").unwrap().sync()), ErrorKind::InvalidInput);
        let foreign = RealDisk::inspect("/proc/self").unwrap();
        assert_eq!(refused(foreign.sync_directory()), ErrorKind::InvalidInput);
    }
}
