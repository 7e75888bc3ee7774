//! Reads a backup, from stores that are in use or not, and hands it out part by part.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use perseat_domain::time::Timestamp;
use perseat_journal::{Pin, Position, SegmentInfo};
use perseat_store::StoreError;
use perseat_store::catalog::Catalog;
use perseat_store::index::IndexError;
use perseat_store::keyring::Keyring;
use perseat_store::pressure::free_room;
use perseat_store::state::StateStore;
use uuid::Uuid;

use super::manifest::{FORMAT, FileEntry, Manifest};
use super::wire::{FileHead, Part, Plan};
use super::{Hasher, PIECE};

/// Where a segment's seal stands: it does not count for a segment that was being written at the backup's moment.
const SEAL: std::ops::Range<u64> = 4096..8192;

/// The journal that a backup copies.
pub trait Segments {
    /// The segments that hold entries, oldest first.
    ///
    /// # Errors
    /// If they cannot be looked at.
    fn list(&self) -> Result<Vec<SegmentInfo>, TakeError>;
    /// The segments before this one are not needed any more.
    fn advance(&self, segment: u32);
    /// Whether what was read so far was of the segment whose name it was read by.
    fn is_whole(&self) -> bool;
}

/// A journal that is written meanwhile.
#[derive(Debug)]
pub struct Pinned {
    journal: perseat_journal::Journal,
    pin: Pin,
}

impl Pinned {
    /// Keeps its segments from now on.
    #[must_use]
    pub fn new(journal: perseat_journal::Journal) -> Self {
        let pin = journal.pin();
        Self { journal, pin }
    }
}

impl Segments for Pinned {
    fn list(&self) -> Result<Vec<SegmentInfo>, TakeError> {
        Ok(self.journal.segments())
    }

    fn advance(&self, segment: u32) {
        self.pin.advance(segment);
    }

    fn is_whole(&self) -> bool {
        self.pin.is_whole()
    }
}

/// A journal that nobody writes.
#[derive(Debug)]
pub struct Resting<'d>(pub &'d Path);

impl Segments for Resting<'_> {
    fn list(&self) -> Result<Vec<SegmentInfo>, TakeError> {
        let found = perseat_journal::inspect::segments(self.0)?;
        let infos = found.into_iter().map(|segment| segment.map(|segment| segment.info()));
        infos.collect::<Result<_, _>>().map_err(TakeError::Journal)
    }

    fn advance(&self, _: u32) {}

    fn is_whole(&self) -> bool {
        true
    }
}

/// What a backup is taken of.
pub struct Source<'s> {
    /// Live executions.
    pub state: &'s StateStore,
    /// Configuration.
    pub catalog: &'s Catalog,
    /// The keyring that goes with them.
    pub keyring: &'s Keyring,
    /// The journal; its segments are kept from before this was made.
    pub segments: &'s dyn Segments,
    /// Uploaded files, sealed.
    pub media: &'s Path,
    /// Where copies of databases stand while they are handed out, in files without a name.
    pub scratch: &'s Path,
    /// Bytes that stay free there.
    pub reserve: u64,
    /// The epoch of the directory.
    pub epoch: u64,
    /// A random id.
    pub id: Uuid,
    /// Now.
    pub at: Timestamp,
    /// Whether segments without live executions are copied, too.
    pub with_history: bool,
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The catalog or the keyring cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] perseat_journal::OpenError),
    /// A file cannot be read.
    #[error("a file of the backup cannot be read")]
    Io(#[from] io::Error),
    /// Segments had to go before they were copied.
    #[error(
        "the journal needed the room of segments that were not copied yet (backup.pinned-bytes, backup.pinned-for); \
         take it again when less arrives, or to a faster disk"
    )]
    Overtaken,
    /// The copies of the databases would fill the disk.
    #[error(
        "the databases are copied into the data directory first: that takes {copies} bytes, {reserve} stay free for events, and there are {free}; \
         make room"
    )]
    NoRoom {
        /// What both copies take.
        copies: u64,
        /// [`Source::reserve`].
        reserve: u64,
        /// What is free.
        free: u64,
    },
    /// Whoever receives it took nothing for too long.
    #[error("nothing was taken of the backup for backup.reader-timeout")]
    ReaderSlow,
    /// Whoever receives it is gone.
    #[error("whoever received the backup is gone")]
    ReaderGone,
    /// The daemon ends.
    #[error("the daemon is stopping")]
    Stopping,
    /// Whoever writes it failed.
    #[error(transparent)]
    Write(#[from] super::write::WriteError),
}

impl TakeError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Overtaken => "backup_overtaken",
            Self::NoRoom { .. } => "backup_no_room",
            Self::ReaderSlow => "backup_reader_slow",
            Self::ReaderGone => "backup_reader_gone",
            Self::Stopping => "not_ready",
            _ => "backup_failed",
        }
    }
}

/// A file as it is going to be handed out.
enum Content {
    /// All of it.
    Whole(File),
    /// An uploaded file: never changed, but it may go.
    Media(PathBuf),
    /// A segment: what is durable of it, then zeros.
    Segment(Box<SegmentInfo>),
}

/// Takes the backup; `give` gets every part in order.
///
/// # Errors
/// What `give` returns, or if something cannot be read. Then there is no manifest, and so no backup.
pub fn take(source: &Source<'_>, give: &mut dyn FnMut(Part) -> Result<(), TakeError>) -> Result<(), TakeError> {
    let mut copies = 0;
    for database in ["state.redb", "catalog.redb"] {
        copies += source.scratch.join(database).metadata()?.len();
    }
    check_room(copies, source.reserve, free_room(source.scratch)?)?;
    let (state_file, state_copy) = scratch(source.scratch)?;
    let state = source.state.copy_to(state_copy)?;
    #[cfg(feature = "faults")]
    perseat_journal::kill_point::reach("backup-begun");
    let mut segments = source.segments.list()?;
    segments.retain(|segment| segment.entries > 0);
    if !source.with_history {
        // Recovery goes on at the watermark's own entry.
        let first = state.oldest.into_iter().chain(state.watermark).min();
        let first = first.map_or(0, |bits| Position::from_bits(bits).segment());
        segments.retain(|segment| segment.number >= first);
    }
    if let Some(first) = segments.first() {
        source.segments.advance(first.number);
    }
    let head = segments.last().map(SegmentInfo::end).or(state.watermark.map(Position::from_bits));
    let (catalog_file, catalog_copy) = scratch(source.scratch)?;
    let revision = source.catalog.copy_to(catalog_copy, source.keyring)?;
    // Keys are made before their owners: whoever is in the copy has a key in every keyring from this one on.
    let keyring = source.keyring.mark()?;

    let mut contents = vec![
        ("state.redb".to_owned(), state_file.metadata()?.len(), Content::Whole(state_file)),
        (
            "catalog.redb".to_owned(),
            catalog_file.metadata()?.len(),
            Content::Whole(catalog_file),
        ),
    ];
    for segment in segments {
        let length = match File::open(&segment.path).and_then(|file| file.metadata()) {
            Ok(meta) => meta.len(),
            Err(_) if !source.segments.is_whole() => return Err(TakeError::Overtaken),
            Err(error) => return Err(error.into()),
        };
        let name = format!("journal/{:010}.seg", segment.number);
        contents.push((name, length, Content::Segment(Box::new(segment))));
    }
    // After the catalog: what that names is there, unless it was deleted since.
    for (name, path) in media(source.media)? {
        if let Ok(meta) = path.metadata() {
            contents.push((name, meta.len(), Content::Media(path)));
        }
    }
    give(Part::Plan(Plan {
        bytes: contents.iter().map(|(_, bytes, _)| bytes).sum(),
        files: contents.len(),
    }))?;
    let mut files = Vec::new();
    for (name, bytes, content) in contents {
        let content = match content {
            Content::Media(path) => match File::open(&path) {
                Ok(file) => Content::Whole(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            },
            content => content,
        };
        give(Part::File(FileHead { name: name.clone(), bytes }))?;
        let sha256 = match &content {
            Content::Whole(file) => hand_out(bytes, give, |piece, at| Ok(file.read_exact_at(piece, at)?))?,
            Content::Segment(segment) => hand_out_segment(source.segments, segment, bytes, give)?,
            Content::Media(_) => continue,
        };
        give(Part::End(sha256.clone()))?;
        files.push(FileEntry { name, bytes, sha256 });
        if let Content::Segment(segment) = content {
            source.segments.advance(segment.number + 1);
        }
    }
    #[cfg(feature = "faults")]
    perseat_journal::kill_point::reach("backup-ended");
    let manifest = Manifest {
        format: FORMAT,
        perseat: env!("CARGO_PKG_VERSION").to_owned(),
        id: source.id,
        taken_at: source.at,
        epoch: source.epoch,
        revision,
        watermark: state.watermark,
        head: head.map_or(0, Position::to_bits),
        live: state.live,
        with_history: source.with_history,
        keyring: keyring.into(),
        files,
        digest: String::new(),
    };
    give(Part::Manifest(Box::new(manifest.sealed().0)))
}

/// Whether there is room for the copies, which both stand there until the end.
fn check_room(copies: u64, reserve: u64, free: u64) -> Result<(), TakeError> {
    if copies.saturating_add(reserve) > free {
        return Err(TakeError::NoRoom { copies, reserve, free });
    }
    Ok(())
}

/// The uploaded files below a folder, in order, with the names that they have in the backup.
fn media(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().filter(|name| !name.contains('.')) {
            found.push((format!("media/{name}"), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// A file without a name, twice: nothing of it is left when the process dies.
pub(crate) fn scratch(folder: &Path) -> io::Result<(File, File)> {
    let file = tempfile::tempfile_in(folder)?;
    let copy = file.try_clone()?;
    Ok((file, copy))
}

/// Hands out so many bytes that `read` fills in; gives their hash.
pub(crate) fn hand_out<E>(
    bytes: u64,
    give: &mut dyn FnMut(Part) -> Result<(), E>,
    mut read: impl FnMut(&mut [u8], u64) -> Result<(), E>,
) -> Result<String, E> {
    let (mut hasher, mut at) = (Hasher::default(), 0);
    while at < bytes {
        let mut piece = vec![0; PIECE.min(usize::try_from(bytes - at).unwrap_or(PIECE))];
        read(&mut piece, at)?;
        hasher.update(&piece);
        at += piece.len() as u64;
        give(Part::Data(Bytes::from(piece)))?;
    }
    Ok(hasher.finish())
}

fn hand_out_segment(
    segments: &dyn Segments,
    segment: &SegmentInfo,
    bytes: u64,
    give: &mut dyn FnMut(Part) -> Result<(), TakeError>,
) -> Result<String, TakeError> {
    let overtaken = |error: io::Error| match segments.is_whole() {
        true => TakeError::Io(error),
        false => TakeError::Overtaken,
    };
    let file = File::open(&segment.path).map_err(overtaken)?;
    let read = |piece: &mut [u8], at: u64| {
        let durable = usize::try_from(segment.bytes.saturating_sub(at))
            .unwrap_or(usize::MAX)
            .min(piece.len());
        file.read_exact_at(&mut piece[..durable], at).map_err(overtaken)?;
        if !segments.is_whole() {
            return Err(TakeError::Overtaken);
        }
        if !segment.sealed {
            let place = |offset: u64| usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX).min(piece.len());
            let (from, to) = (place(SEAL.start), place(SEAL.end));
            piece[from..to].fill(0);
        }
        #[cfg(feature = "faults")]
        if at == 0 {
            perseat_journal::kill_point::reach("backup-segment");
        }
        Ok(())
    };
    hand_out(bytes, give, read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_leave_what_is_to_stay_free() {
        assert!(check_room(10, 5, 15).is_ok());
        let refused = check_room(10, 5, 14).unwrap_err();
        assert_eq!(refused.code(), "backup_no_room");
        assert!(refused.to_string().contains("takes 10 bytes, 5 stay free"), "{refused}");
        assert!(check_room(u64::MAX, 1, u64::MAX - 1).is_err());
    }
}
