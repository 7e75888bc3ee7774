//! Finding out, after a restart, what is durable: reads seals, cuts the tail, and frees what holds nothing.
//!
//! Frames are numbered through the whole log. A segment that failed while it was written may hold a frame that was then written again to the
//! next one; the repeated number shows it. A missing number shows that acknowledged frames are gone: the segment before it is marked damaged.

use std::{io, sync::Arc};

use crate::{
    Disk, OpenError,
    format::{BadHeader, FRAMES_AT, Frame, Header, SEAL_AT, Seal, VERSION},
    keeper,
    scan::FrameReader,
    segment::{Bounds, Segment},
};

const SEGMENT: &str = ".seg";
const FREE: &str = ".free";

/// The file of a segment.
pub(crate) fn segment_name(number: u32) -> String {
    format!("{number:010}{SEGMENT}")
}

/// A file that holds nothing any more, or nothing yet.
pub(crate) fn free_name(number: u32) -> String {
    format!("{number:010}{FREE}")
}

/// What a directory holds.
#[derive(Debug)]
pub(crate) struct Found {
    /// Segments with entries (or with damage in place of them), oldest first.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Prepared segments that hold no frame.
    pub(crate) empty: Vec<Arc<Segment>>,
    /// Files to be reused.
    pub(crate) free: Vec<String>,
    /// The highest number any name carries.
    pub(crate) last_number: u32,
    /// The last frame of the newest segment, where it may not be durable yet.
    tail: Option<Frame>,
}

impl Found {
    /// The number of the last durable frame.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.bounds().last_sequence)
    }
}

/// Looks at a directory without changing it.
pub(crate) fn find(disk: &dyn Disk) -> Result<Found, OpenError> {
    let mut all = Vec::new();
    let mut free = Vec::new();
    let mut last_number = 0;
    let mut names = disk.list()?;
    names.sort_unstable();
    for name in names {
        if let Some(number) = number_of(&name, FREE) {
            last_number = last_number.max(number);
            free.push(name);
        } else if let Some(number) = number_of(&name, SEGMENT) {
            last_number = last_number.max(number);
            all.push(Arc::new(open_segment(disk, name, number)?));
        }
    }
    let tail = settle(&all)?;
    let (segments, empty) = all.into_iter().partition(|segment| {
        let bounds = segment.bounds();
        bounds.entries > 0 || bounds.damaged
    });
    Ok(Found {
        segments,
        empty,
        free,
        last_number,
        tail,
    })
}

/// Finds the ends of all segments, oldest first, and what is missing between them.
pub(crate) fn settle(segments: &[Arc<Segment>]) -> io::Result<Option<Frame>> {
    let tail = measure_all(segments)?;
    mark_damage(segments);
    Ok(tail)
}

/// The number of a segment file.
pub(crate) fn segment_number(name: &str) -> Option<u32> {
    number_of(name, SEGMENT)
}

fn number_of(name: &str, ending: &str) -> Option<u32> {
    let digits = name.strip_suffix(ending)?;
    (digits.len() == 10).then(|| digits.parse().ok())?
}

/// Opens a segment file and takes its bounds from its seal, if it has one.
pub(crate) fn open_segment(disk: &dyn Disk, name: String, number: u32) -> Result<Segment, OpenError> {
    let file = disk.open(&name)?;
    let mut blocks = vec![0; FRAMES_AT as usize];
    let read = file.read_at(&mut blocks, 0)?;
    blocks.truncate(read);
    let damaged = |what| OpenError::Corrupt { file: name.clone(), what };
    let header = match Header::decode(&blocks) {
        Ok(header) => header,
        Err(BadHeader::Damaged) => return Err(damaged("its header is not intact")),
        Err(BadHeader::Version(found)) => {
            return Err(OpenError::Version {
                file: name,
                found,
                supported: VERSION,
            });
        }
    };
    if header.number != number {
        return Err(damaged("its header belongs to another segment"));
    }
    let length = file.length()?;
    if length != u64::from(header.segment_bytes) {
        return Err(damaged("its length is not the one its header gives"));
    }
    let seal = blocks.get(SEAL_AT as usize..).and_then(|block| Seal::decode(block, header.id));
    let path = disk.path(&name);
    let segment = Segment::new(header, name, path, file);
    if let Some(seal) = seal {
        segment.update(|bounds| {
            *bounds = Bounds {
                end: seal.end,
                last_entry: seal.last_entry,
                entries: seal.entries,
                first_sequence: seal.first_sequence,
                last_sequence: seal.last_sequence,
                chain: seal.chain,
                sealed: true,
                hash: Some(seal.hash),
                damaged: false,
                failed: false,
            };
        });
    }
    Ok(segment)
}

/// Finds the ends of the segments without a seal, newest first, since a newer one tells which frames of an older one count.
/// Gives the last frame of the newest segment if that has no seal.
fn measure_all(segments: &[Arc<Segment>]) -> io::Result<Option<Frame>> {
    let mut next_sequence = None;
    let mut tail = None;
    for segment in segments.iter().rev() {
        if segment.bounds().hash.is_none() {
            let last = measure(segment, next_sequence)?;
            if next_sequence.is_none() {
                tail = last;
            }
        }
        let bounds = segment.bounds();
        if bounds.entries > 0 {
            next_sequence = Some(bounds.first_sequence);
        }
    }
    Ok(tail)
}

/// Walks the frames up to the first that is not intact, out of sequence or written again in a newer segment: that is the cut.
fn measure(segment: &Arc<Segment>, next_sequence: Option<u64>) -> io::Result<Option<Frame>> {
    let mut reader = FrameReader::new(segment.clone(), segment.header.segment_bytes);
    let mut bounds = Bounds::empty(segment.salt);
    let mut last = None;
    while let Some(frame) = reader.next()? {
        let in_sequence = bounds.entries == 0 || frame.sequence == bounds.last_sequence + 1;
        let superseded = next_sequence.is_some_and(|next| frame.sequence >= next);
        let Some(entries) = frame.entries(segment.salt).filter(|_| in_sequence && !superseded) else {
            break;
        };
        let Some((last_entry, _)) = entries.last() else { break };
        bounds.last_entry = *last_entry;
        bounds.end = frame.end();
        bounds.chain = frame.chain;
        if bounds.entries == 0 {
            bounds.first_sequence = frame.sequence;
        }
        bounds.last_sequence = frame.sequence;
        bounds.entries += entries.len() as u64;
        last = Some(frame);
    }
    bounds.sealed = true;
    segment.update(|known| *known = bounds);
    Ok(last)
}

/// A gap between the frame numbers of two segments means that what was acknowledged between them is gone.
fn mark_damage(segments: &[Arc<Segment>]) {
    let mut previous: Option<usize> = None;
    for (index, segment) in segments.iter().enumerate() {
        let bounds = segment.bounds();
        if bounds.entries == 0 {
            continue;
        }
        if let Some(before) = previous
            && segments[before].bounds().last_sequence + 1 != bounds.first_sequence
        {
            for damaged in &segments[before..index] {
                tracing::error!(
                    segment = damaged.number(),
                    next = segment.number(),
                    "journal frames are missing behind this segment"
                );
                damaged.update(|bounds| bounds.damaged = true);
            }
        }
        previous = Some(index);
    }
}

/// Makes a found directory ready for writing: the cut is durable, everything old is sealed, empty segments and odd files are freed.
pub(crate) fn repair(found: &mut Found, disk: &dyn Disk, segment_bytes: u32) -> Result<(), OpenError> {
    if let (Some(frame), Some(segment)) = (&found.tail, found.segments.last()) {
        // The last frame may be in memory only, or, after a failed sync, never get there: written again, it is durable or torn, not in between.
        segment.file.write_at(frame.bytes(), u64::from(frame.offset))?;
        #[cfg(feature = "faults")]
        crate::kill_point::reach("tail-rewritten");
        segment.file.sync()?;
    }
    for segment in &found.segments {
        let bounds = segment.bounds();
        if bounds.hash.is_none() && !bounds.damaged {
            keeper::seal(segment)?;
        }
    }
    #[cfg(feature = "faults")]
    crate::kill_point::reach("tail-sealed");
    for segment in found.empty.drain(..) {
        let name = free_name(segment.number());
        disk.rename(&segment.name, &name)?;
        found.free.push(name);
    }
    disk.sync_directory()?;
    let mut kept = Vec::new();
    for name in found.free.drain(..) {
        if disk.open(&name)?.length()? == u64::from(segment_bytes) {
            kept.push(name);
        } else {
            disk.remove(&name)?;
        }
    }
    found.free = kept;
    Ok(())
}
