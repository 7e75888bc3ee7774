//! Walking frames and entries in position order.

use std::{collections::VecDeque, io, sync::Arc};

use bytes::Bytes;

use crate::{
    Committed, Position, ReadError,
    format::{self, FRAME_HEADER, FRAMES_AT, Frame},
    segment::{Segment, Table},
};

/// Bytes read at once.
const WINDOW: u32 = 256 << 10;

/// Where a frame begins that a scan has read: a later scan goes on there, not at the start of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bookmark {
    segment: u32,
    offset: u32,
    // The checksum of the frame before it.
    chain: u32,
}

impl Bookmark {
    /// Whether a scan from a position may begin here: in its segment, and not after it.
    fn is_at_or_before(&self, from: Position) -> bool {
        self.segment == from.segment() && self.offset <= from.offset()
    }
}

/// Reads the frames of one segment one after the other, each checked against the one before.
#[derive(Debug)]
pub(crate) struct FrameReader {
    segment: Arc<Segment>,
    offset: u32,
    limit: u32,
    chain: u32,
    window: Bytes,
}

impl FrameReader {
    /// Reads up to `limit`; frames never cross it.
    pub(crate) fn new(segment: Arc<Segment>, limit: u32) -> Self {
        let chain = segment.salt;
        Self {
            segment,
            offset: FRAMES_AT,
            limit,
            chain,
            window: Bytes::new(),
        }
    }

    /// Reads on where a frame begins.
    fn go_on(self, at: Bookmark) -> Self {
        let Bookmark { offset, chain, .. } = at;
        Self { offset, chain, ..self }
    }

    /// Where the next frame would begin, for another reader.
    fn bookmark(&self) -> Bookmark {
        Bookmark {
            segment: self.segment.number(),
            offset: self.offset,
            chain: self.chain,
        }
    }

    /// Where the next frame would begin.
    pub(crate) fn offset(&self) -> u32 {
        self.offset
    }

    /// The next intact frame; `None` at the limit and at the first frame that is not intact.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame>> {
        if self.limit - self.offset < FRAME_HEADER || !self.fill(FRAME_HEADER)? {
            return Ok(None);
        }
        let length = format::frame_length(&self.window);
        if length < FRAME_HEADER || length > self.limit - self.offset || !self.fill(length)? {
            return Ok(None);
        }
        let Some(frame) = Frame::decode(self.window.slice(..length as usize), self.offset, self.chain) else {
            return Ok(None);
        };
        self.window = self.window.slice(length as usize..);
        self.offset += length;
        self.chain = frame.chain;
        Ok(Some(frame))
    }

    /// Makes the window hold at least `needed` bytes from the offset on; false if the file ends before.
    fn fill(&mut self, needed: u32) -> io::Result<bool> {
        if self.window.len() < needed as usize {
            let mut bytes = vec![0; WINDOW.max(needed).min(self.limit - self.offset) as usize];
            let read = self.segment.file.read_at(&mut bytes, u64::from(self.offset))?;
            bytes.truncate(read);
            self.window = bytes.into();
        }
        Ok(self.window.len() >= needed as usize)
    }
}

/// The durable entries in position order. An error marks a place where entries are missing; the scan goes on behind it.
///
/// [`ReadError::Io`] alone marks none: the scan stays where it is, and the next call reads the same again. Whoever goes on after it passes
/// over nothing, and comes to no end while the disk does not answer.
#[derive(Debug)]
pub struct Scan {
    table: Option<Arc<Table>>,
    segments: VecDeque<Arc<Segment>>,
    from: Position,
    // Where to begin, then the frame that was read last.
    bookmark: Option<Bookmark>,
    current: Option<(FrameReader, Arc<Segment>)>,
    entries: VecDeque<Committed>,
}

impl Scan {
    /// Over what is durable at this moment; the table tells released segments from damaged ones. A bookmark of another segment, or
    /// after the position, is of no use.
    pub(crate) fn new(segments: Vec<Arc<Segment>>, table: Option<Arc<Table>>, from: Option<Position>, bookmark: Option<Bookmark>) -> Self {
        let from = from.unwrap_or(Position::START);
        let bookmark = bookmark.filter(|bookmark| bookmark.is_at_or_before(from));
        let segments = segments.into_iter().filter(|segment| segment.number() >= from.segment()).collect();
        Self {
            table,
            segments,
            from,
            bookmark,
            current: None,
            entries: VecDeque::new(),
        }
    }

    /// For a scan that goes on from an entry that this one gave, or from a later one.
    #[must_use]
    pub fn bookmark(&self) -> Option<Bookmark> {
        self.bookmark
    }

    /// Takes up the next frame; false at the end of the segment.
    fn advance(&mut self, reader: &mut FrameReader, segment: &Arc<Segment>) -> Result<bool, ReadError> {
        let at = Position::new(segment.number(), reader.offset());
        let before = reader.bookmark();
        let Some(frame) = reader.next()? else {
            let bounds = segment.bounds();
            return if reader.offset() < reader.limit {
                Err(ReadError::Corrupt {
                    position: at,
                    what: "a frame within the segment is damaged",
                })
            } else if bounds.damaged {
                Err(ReadError::Corrupt {
                    position: at,
                    what: "frames behind this one are missing",
                })
            } else {
                Ok(false)
            };
        };
        let entries = frame.entries(segment.salt).ok_or(ReadError::Corrupt {
            position: at,
            what: "a frame contradicts itself",
        })?;
        self.bookmark = Some(before);
        let kept = entries.into_iter().map(|(offset, entry)| Committed {
            position: Position::new(segment.number(), offset),
            partition: entry.partition,
            epoch: entry.epoch,
            payload: entry.payload,
        });
        self.entries.extend(kept.filter(|entry| entry.position >= self.from));
        Ok(true)
    }

    /// An error of a segment that was released meanwhile means that its entries have expired.
    fn judge(&self, segment: &Arc<Segment>, error: ReadError) -> ReadError {
        match &self.table {
            Some(table) if !table.holds(segment) => ReadError::Expired(Position::new(segment.number(), FRAMES_AT)),
            _ => error,
        }
    }
}

impl Iterator for Scan {
    type Item = Result<Committed, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                return Some(Ok(entry));
            }
            let Some((mut reader, segment)) = self.current.take() else {
                let segment = self.segments.pop_front()?;
                let begin = FrameReader::new(segment.clone(), segment.bounds().end);
                let reader = match self.bookmark.filter(|bookmark| bookmark.segment == segment.number()) {
                    Some(bookmark) => begin.go_on(bookmark),
                    None => begin,
                };
                self.current = Some((reader, segment));
                continue;
            };
            match self.advance(&mut reader, &segment) {
                Ok(true) => self.current = Some((reader, segment)),
                Ok(false) => {}
                Err(error) => {
                    let error = self.judge(&segment, error);
                    if matches!(error, ReadError::Io(_)) {
                        self.current = Some((reader, segment));
                    }
                    return Some(Err(error));
                }
            }
        }
    }
}
