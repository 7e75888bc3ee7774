//! Makes the directory of a backup from its parts; the manifest last, once everything else is durable.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use super::Hasher;
use super::manifest::{FileEntry, INCOMPLETE, Manifest, NAME};
use super::wire::{FileHead, Garbled, Part, Plan};

/// Why a backup was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is something in the directory.
    #[error("{0} is not empty; give each backup a directory of its own")]
    NotEmpty(PathBuf),
    /// The file system said no.
    #[error("{path}: {source}")]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The daemon gave up.
    #[error("{error} ({code})")]
    Refused {
        /// The stable code.
        code: String,
        /// The sentence.
        error: String,
    },
    /// What arrived is not what was sent.
    #[error("{0} did not arrive as it was sent")]
    Differs(String),
    /// The stream ended too early.
    #[error("the daemon's answer broke off; what was written is no backup")]
    BrokenOff,
    /// The other side speaks another version.
    #[error(transparent)]
    Garbled(#[from] Garbled),
}

/// Hears how far a backup is: bytes so far, and the plan.
pub type Progress<'p> = Box<dyn FnMut(u64, Plan) + 'p>;

/// See the module.
pub struct Writer<'p> {
    directory: PathBuf,
    progress: Progress<'p>,
    plan: Plan,
    written: u64,
    open: Option<Open>,
    files: Vec<FileEntry>,
    manifest: Option<Manifest>,
}

impl std::fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("directory", &self.directory).finish_non_exhaustive()
    }
}

struct Open {
    head: FileHead,
    path: PathBuf,
    file: File,
    at: u64,
    hasher: Hasher,
}

impl Drop for Writer<'_> {
    /// A directory in which nothing was begun is left as empty as it was.
    fn drop(&mut self) {
        if self.files.is_empty() && self.open.is_none() && self.manifest.is_none() {
            let _ = fs::remove_file(self.directory.join(INCOMPLETE));
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    |source| WriteError::File { path, source }
}

/// Makes a directory's names durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a private file that was not there.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

impl<'p> Writer<'p> {
    /// Begins in an empty directory, which is made where it is missing.
    ///
    /// # Errors
    /// If something is in it, or the file system refuses.
    pub fn begin(directory: &Path, progress: Progress<'p>) -> Result<Self, WriteError> {
        let refused = || failed(directory);
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(refused())?;
        if fs::read_dir(directory).map_err(refused())?.next().is_some() {
            return Err(WriteError::NotEmpty(directory.to_owned()));
        }
        create(&directory.join(INCOMPLETE))
            .and_then(|file| file.sync_all())
            .and_then(|()| sync_directory(directory))
            .map_err(refused())?;
        Ok(Self {
            directory: directory.to_owned(),
            progress,
            plan: Plan { bytes: 0, files: 0 },
            written: 0,
            open: None,
            files: Vec::new(),
            manifest: None,
        })
    }

    /// Takes the next part.
    ///
    /// # Errors
    /// If it cannot be written, or is not what it says it is.
    pub fn take(&mut self, part: Part) -> Result<(), WriteError> {
        match part {
            Part::Plan(plan) => self.plan = plan,
            Part::File(head) => self.begin_file(head)?,
            Part::Data(bytes) => self.data(&bytes)?,
            Part::End(hash) => self.end_file(&hash)?,
            Part::Manifest(manifest) => self.manifest = Some(*manifest),
            Part::Refused(refusal) => {
                return Err(WriteError::Refused {
                    code: refusal.code,
                    error: refusal.error,
                });
            }
        }
        Ok(())
    }

    fn begin_file(&mut self, head: FileHead) -> Result<(), WriteError> {
        let relative = Path::new(&head.name);
        let is_plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if !is_plain || self.open.is_some() {
            return Err(WriteError::Differs(head.name));
        }
        let path = self.directory.join(relative);
        if let Some(parent) = path.parent().filter(|parent| *parent != self.directory) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
            made.map_err(failed(parent))?;
        }
        let file = create(&path).map_err(failed(&path))?;
        self.open = Some(Open {
            head,
            path,
            file,
            at: 0,
            hasher: Hasher::default(),
        });
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let open = self.open.as_mut().ok_or(Garbled)?;
        // The rest of a segment is zeros: they take no room.
        let written = match bytes.iter().all(|byte| *byte == 0) {
            true => open.file.seek(SeekFrom::Current(bytes.len() as i64)).map(drop),
            false => open.file.write_all(bytes),
        };
        written.map_err(failed(&open.path))?;
        open.hasher.update(bytes);
        open.at += bytes.len() as u64;
        self.written += bytes.len() as u64;
        (self.progress)(self.written, self.plan);
        Ok(())
    }

    fn end_file(&mut self, hash: &str) -> Result<(), WriteError> {
        let open = self.open.take().ok_or(Garbled)?;
        let FileHead { name, bytes } = open.head;
        let sha256 = open.hasher.finish();
        if open.at != bytes || sha256 != hash {
            return Err(WriteError::Differs(name));
        }
        open.file
            .set_len(bytes)
            .and_then(|()| open.file.sync_all())
            .map_err(failed(&open.path))?;
        self.files.push(FileEntry { name, bytes, sha256 });
        Ok(())
    }

    /// Makes it a backup: writes the manifest, durably.
    ///
    /// # Errors
    /// If something did not arrive, or cannot be written.
    pub fn finish(mut self) -> Result<Manifest, WriteError> {
        let manifest = self.manifest.take().ok_or(WriteError::BrokenOff)?;
        if manifest.files != self.files || self.open.is_some() {
            return Err(WriteError::Differs(NAME.to_owned()));
        }
        let directories = self.files.iter().filter_map(|file| Path::new(&file.name).parent());
        let mut directories: Vec<PathBuf> = directories.map(|parent| self.directory.join(parent)).collect();
        directories.dedup();
        for directory in directories {
            sync_directory(&directory).map_err(failed(&directory))?;
        }
        let (manifest, text) = manifest.sealed();
        let (draft, path) = (self.directory.join("manifest.new"), self.directory.join(NAME));
        create(&draft)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&draft, &path))
            .and_then(|()| sync_directory(&self.directory))
            .and_then(|()| fs::remove_file(self.directory.join(INCOMPLETE)))
            .and_then(|()| sync_directory(&self.directory))
            .map_err(failed(&path))?;
        Ok(manifest)
    }
}
