//! Looking at a journal directory from outside, without opening it for writing: for the command line and for post-mortems.

use std::{io, path::Path, sync::Arc};

use crate::{
    Committed, Disk, OpenError, Position, ReadError, RealDisk, Scan, SegmentInfo, keeper,
    recover::{self, open_segment, segment_number},
    scan::FrameReader,
    segment::{Segment, Table},
};

/// One segment as found on disk.
#[derive(Clone, Debug)]
pub struct Inspected {
    segment: Arc<Segment>,
}

/// One frame as found on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// Its number in the whole log.
    pub sequence: u64,
    /// Where it begins in the segment.
    pub offset: u32,
    /// Its length, header included.
    pub bytes: u32,
    /// Entries in it.
    pub entries: u32,
}

impl Inspected {
    /// Number, bounds, hash.
    #[must_use]
    pub fn info(&self) -> SegmentInfo {
        self.segment.info()
    }

    /// The final hash, computed from the bytes that are there; for a sealed segment it should be that of the seal.
    ///
    /// # Errors
    /// If the file cannot be read up to its end.
    pub fn hash(&self) -> io::Result<[u8; 32]> {
        keeper::hash(&self.segment)
    }

    /// The random id that its checksums start from.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.segment.header.id
    }
}

/// All segment files of a directory, oldest first; one that cannot be read is an error in its place. What is released while this looks is
/// left out.
pub fn segments(directory: &Path) -> io::Result<Vec<Result<Inspected, OpenError>>> {
    segments_of(&RealDisk::inspect(directory)?)
}

/// The same for any disk.
pub fn segments_of(disk: &dyn Disk) -> io::Result<Vec<Result<Inspected, OpenError>>> {
    let mut names = disk.list()?;
    names.sort_unstable();
    let mut found = Vec::new();
    for name in names {
        let Some(number) = segment_number(&name) else { continue };
        match open_segment(disk, name.clone(), number) {
            // Released, and those before it, too; or new, and its name was taken back: those before it are all there.
            Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                let left = disk.list()?;
                found.retain(|(name, _)| left.contains(name));
            }
            opened => found.push((name, opened)),
        }
    }
    let inspected = |segment| Inspected {
        segment: Arc::new(segment),
    };
    let found: Vec<_> = found.into_iter().map(|(_, opened)| opened.map(inspected)).collect();
    let intact: Vec<_> = found.iter().flatten().map(|inspected| inspected.segment.clone()).collect();
    recover::settle(&intact)?;
    Ok(found)
}

/// Whether a segment is what its seal says it was; `None` where it has no seal.
pub fn hash_fits(inspected: &Inspected) -> io::Result<Option<bool>> {
    match inspected.segment.bounds().hash {
        Some(sealed) => Ok(Some(keeper::hash(&inspected.segment)? == sealed)),
        None => Ok(None),
    }
}

/// Reads single entries of inspected segments.
#[derive(Debug)]
pub struct Reader(Table);

impl Reader {
    /// Over these segments.
    #[must_use]
    pub fn new<'i>(segments: impl IntoIterator<Item = &'i Inspected>) -> Self {
        let table = Table::new(0);
        for inspected in segments {
            table.insert(inspected.segment.clone());
        }
        Self(table)
    }

    /// The entry at a position, checked against segment id and checksum.
    ///
    /// # Errors
    /// If no intact entry is there.
    pub fn read(&self, at: Position) -> Result<Committed, ReadError> {
        self.0.read(at)
    }
}

/// The frames of a segment up to its end.
pub fn frames(inspected: &Inspected) -> io::Result<Vec<FrameInfo>> {
    let mut reader = FrameReader::new(inspected.segment.clone(), inspected.segment.bounds().end);
    let mut frames = Vec::new();
    while let Some(frame) = reader.next()? {
        frames.push(FrameInfo {
            sequence: frame.sequence,
            offset: frame.offset,
            bytes: frame.end() - frame.offset,
            entries: frame.entries,
        });
    }
    Ok(frames)
}

/// The entries of a segment in order; an error marks where some are missing, but for [`ReadError::Io`]: see [`Scan`].
#[must_use]
pub fn entries(inspected: &Inspected) -> Scan {
    Scan::new(vec![inspected.segment.clone()], None, None, None)
}
