//! The bytes of a segment: header, seal, frames, entries. Pure; `docs/store-format.md` is its description.
//!
//! Everything is little-endian. All checksums of a segment start from its random id, so bytes that an earlier use of the file left behind
//! never pass; frames are chained, so a frame is valid only behind the very frame it was written behind.

use bytes::{BufMut, Bytes, BytesMut};

/// The version of this layout.
pub(crate) const VERSION: u16 = 1;
/// Header and seal each have a block of their own, so that writing one never tears the other.
pub(crate) const BLOCK: usize = 4096;
/// Where the seal is.
pub(crate) const SEAL_AT: u32 = BLOCK as u32;
/// Where frames begin.
pub(crate) const FRAMES_AT: u32 = 2 * BLOCK as u32;
/// Length of a frame's header.
pub(crate) const FRAME_HEADER: u32 = 24;
/// Length of an entry's header.
pub(crate) const ENTRY_HEADER: u32 = 20;

const HEADER_MAGIC: &[u8; 8] = b"PRSTJRNL";
const SEAL_MAGIC: &[u8; 8] = b"PRSTSEAL";
const HEADER_CRC: usize = 48;
const SEAL_CRC: usize = 96;

/// What a segment is, fixed before its first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u32,
    pub(crate) id: u128,
    pub(crate) created_millis: u64,
    pub(crate) segment_bytes: u32,
}

/// Why a header does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Damaged,
    Version(u16),
}

impl Header {
    /// Both blocks before the frames: this header and no seal.
    pub(crate) fn encode(&self) -> BytesMut {
        let mut block = BytesMut::with_capacity(FRAMES_AT as usize);
        block.put_slice(HEADER_MAGIC);
        block.put_u16_le(VERSION);
        block.put_u16_le(0);
        block.put_u32_le(self.number);
        block.put_u128_le(self.id);
        block.put_u64_le(self.created_millis);
        block.put_u32_le(self.segment_bytes);
        block.put_u32_le(0);
        let crc = crc32c::crc32c(&block);
        block.put_u32_le(crc);
        block.resize(FRAMES_AT as usize, 0);
        block
    }

    pub(crate) fn decode(block: &[u8]) -> Result<Self, BadHeader> {
        if block.len() < BLOCK || &block[..8] != HEADER_MAGIC {
            return Err(BadHeader::Damaged);
        }
        // The version comes before the checksum: a later layout may place it elsewhere.
        match u16_at(block, 8) {
            VERSION => {}
            other => return Err(BadHeader::Version(other)),
        }
        if u32_at(block, HEADER_CRC) != crc32c::crc32c(&block[..HEADER_CRC]) {
            return Err(BadHeader::Damaged);
        }
        Ok(Self {
            number: u32_at(block, 12),
            id: u128_at(block, 16),
            created_millis: u64_at(block, 32),
            segment_bytes: u32_at(block, 40),
        })
    }
}

/// Where a segment's entries end and what they hash to; written once nothing more will be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) end: u32,
    pub(crate) last_entry: u32,
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    pub(crate) entries: u64,
    pub(crate) chain: u32,
    pub(crate) hash: [u8; 32],
}

impl Seal {
    pub(crate) fn encode(&self, id: u128) -> BytesMut {
        let mut block = BytesMut::with_capacity(BLOCK);
        block.put_slice(SEAL_MAGIC);
        block.put_u32_le(self.end);
        block.put_u32_le(self.last_entry);
        block.put_u64_le(self.first_sequence);
        block.put_u64_le(self.last_sequence);
        block.put_u64_le(self.entries);
        block.put_u32_le(self.chain);
        block.put_u32_le(0);
        block.put_u128_le(id);
        block.put_slice(&self.hash);
        let crc = crc32c::crc32c(&block);
        block.put_u32_le(crc);
        block.resize(BLOCK, 0);
        block
    }

    /// The seal of this segment, if there is an intact one.
    pub(crate) fn decode(block: &[u8], id: u128) -> Option<Self> {
        let intact = block.len() >= BLOCK
            && &block[..8] == SEAL_MAGIC
            && u32_at(block, SEAL_CRC) == crc32c::crc32c(&block[..SEAL_CRC])
            && u128_at(block, 48) == id;
        intact.then(|| Self {
            end: u32_at(block, 8),
            last_entry: u32_at(block, 12),
            first_sequence: u64_at(block, 16),
            last_sequence: u64_at(block, 24),
            entries: u64_at(block, 32),
            chain: u32_at(block, 40),
            hash: array_at(block, 64),
        })
    }
}

/// What every checksum of a segment starts from; also the link before its first frame.
pub(crate) fn salt(id: u128) -> u32 {
    crc32c::crc32c(&id.to_le_bytes())
}

/// Writes one frame into a buffer that is kept from frame to frame.
#[derive(Debug)]
pub(crate) struct FrameWriter<'a> {
    frame: &'a mut Vec<u8>,
    salt: u32,
    offset: u32,
    entries: u32,
}

impl<'a> FrameWriter<'a> {
    /// Begins a frame that will stand at `offset` of a segment.
    pub(crate) fn begin(frame: &'a mut Vec<u8>, salt: u32, offset: u32, sequence: u64) -> Self {
        frame.clear();
        frame.put_u64_le(0);
        frame.put_u64_le(sequence);
        frame.put_u64_le(0);
        Self {
            frame,
            salt,
            offset,
            entries: 0,
        }
    }

    /// Adds an entry; gives its offset in the segment.
    pub(crate) fn push(&mut self, partition: u8, epoch: u64, payload: &[u8]) -> u32 {
        let at = self.frame.len();
        let offset = self.offset + at as u32;
        self.frame.put_u32_le(payload.len() as u32);
        self.frame.put_u32_le(0);
        self.frame.put_u64_le(epoch);
        self.frame.put_u32_le(u32::from(partition));
        self.frame.extend_from_slice(payload);
        let crc = entry_crc(self.salt, offset, &self.frame[at..]);
        self.frame[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        self.entries += 1;
        offset
    }

    /// Completes the frame behind `previous`; gives the next link of the chain.
    pub(crate) fn finish(self, previous: u32) -> u32 {
        let length = self.frame.len() as u32;
        self.frame[..4].copy_from_slice(&length.to_le_bytes());
        self.frame[16..20].copy_from_slice(&self.entries.to_le_bytes());
        let crc = frame_crc(previous, self.frame);
        self.frame[4..8].copy_from_slice(&crc.to_le_bytes());
        crc
    }
}

/// Fills a frame that stands at `offset` up with zeros to the end of its last block. The page cache reads a block of which a part
/// is written, while the writer waits; one that is written whole it takes as it is.
pub(crate) fn pad(frame: &mut Vec<u8>, offset: u32, segment_bytes: u32) {
    let block_end = (offset as usize + frame.len()).next_multiple_of(BLOCK).min(segment_bytes as usize);
    frame.resize(block_end - offset as usize, 0);
}

/// The length a frame's header claims, header included; 0 where nothing was written.
pub(crate) fn frame_length(header: &[u8]) -> u32 {
    u32_at(header, 0)
}

/// An intact frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) offset: u32,
    pub(crate) sequence: u64,
    pub(crate) entries: u32,
    pub(crate) chain: u32,
    bytes: Bytes,
}

impl Frame {
    /// Checks the bytes of one whole frame against its predecessor.
    pub(crate) fn decode(bytes: Bytes, offset: u32, previous: u32) -> Option<Self> {
        if bytes.len() < FRAME_HEADER as usize || frame_length(&bytes) as usize != bytes.len() {
            return None;
        }
        let chain = u32_at(&bytes, 4);
        if chain != frame_crc(previous, &bytes) {
            return None;
        }
        Some(Self {
            offset,
            sequence: u64_at(&bytes, 8),
            entries: u32_at(&bytes, 16),
            chain,
            bytes,
        })
    }

    pub(crate) fn end(&self) -> u32 {
        self.offset + self.bytes.len() as u32
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The entries with their offsets in the segment; `None` if the inside contradicts itself.
    pub(crate) fn entries(&self, salt: u32) -> Option<Vec<(u32, Entry)>> {
        let mut found = Vec::with_capacity((self.entries as usize).min(self.bytes.len() / ENTRY_HEADER as usize));
        let mut at = FRAME_HEADER as usize;
        while at < self.bytes.len() {
            let offset = self.offset + at as u32;
            let length = entry_length(self.bytes.get(at..at + ENTRY_HEADER as usize)?);
            let entry = Entry::decode(self.bytes.get(at..at + length)?, salt, offset)?;
            found.push((offset, entry));
            at += length;
        }
        (found.len() == self.entries as usize).then_some(found)
    }
}

/// The whole length of an entry, from its header.
pub(crate) fn entry_length(header: &[u8]) -> usize {
    ENTRY_HEADER as usize + u32_at(header, 0) as usize
}

/// An intact entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) partition: u8,
    pub(crate) epoch: u64,
    pub(crate) payload: Bytes,
}

impl Entry {
    /// Checks the bytes of one whole entry; the payload is copied, so that keeping it keeps nothing else.
    pub(crate) fn decode(bytes: &[u8], salt: u32, offset: u32) -> Option<Self> {
        if bytes.len() < ENTRY_HEADER as usize || entry_length(bytes) != bytes.len() || u32_at(bytes, 4) != entry_crc(salt, offset, bytes) {
            return None;
        }
        Some(Self {
            epoch: u64_at(bytes, 8),
            partition: bytes[16],
            payload: Bytes::copy_from_slice(&bytes[ENTRY_HEADER as usize..]),
        })
    }
}

/// Covers all but the checksum itself.
fn frame_crc(previous: u32, frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(previous, &frame[..4]), &frame[8..])
}

/// Covers all but the checksum itself, and the place: an intact copy elsewhere in the segment is not the entry.
fn entry_crc(salt: u32, offset: u32, entry: &[u8]) -> u32 {
    let mut head = [0; 8];
    head[..4].copy_from_slice(&offset.to_le_bytes());
    head[4..].copy_from_slice(&entry[..4]);
    crc32c::crc32c_append(crc32c::crc32c_append(salt, &head), &entry[8..])
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(array_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: u128, offset: u32, previous: u32, sequence: u64, payload: &[u8]) -> (Vec<u8>, u32) {
        let mut buffer = Vec::new();
        let mut writer = FrameWriter::begin(&mut buffer, salt(id), offset, sequence);
        writer.push(3, 7, payload);
        let chain = writer.finish(previous);
        (buffer, chain)
    }

    #[test]
    fn a_header_comes_back_and_a_flipped_bit_is_seen() {
        let header = Header {
            number: 9,
            id: 77,
            created_millis: 5,
            segment_bytes: 1 << 20,
        };
        let mut block = header.encode();
        assert_eq!(Header::decode(&block), Ok(header));
        block[33] ^= 1;
        assert_eq!(Header::decode(&block), Err(BadHeader::Damaged));
        block[8] = 2;
        assert_eq!(Header::decode(&block), Err(BadHeader::Version(2)));
    }

    #[test]
    fn a_seal_belongs_to_one_segment_id() {
        let seal = Seal {
            end: 9000,
            last_entry: 8216,
            first_sequence: 1,
            last_sequence: 2,
            entries: 2,
            chain: 5,
            hash: [7; 32],
        };
        let mut block = seal.encode(42);
        assert_eq!(Seal::decode(&block, 42), Some(seal));
        assert_eq!(Seal::decode(&block, 43), None);
        block[64] ^= 1;
        assert_eq!(Seal::decode(&block, 42), None);
    }

    #[test]
    fn a_frame_needs_its_own_predecessor_and_its_own_segment() {
        let (bytes, chain) = frame(1, FRAMES_AT, salt(1), 1, b"payload");
        let decoded = Frame::decode(bytes.clone().into(), FRAMES_AT, salt(1)).unwrap();
        assert_eq!((decoded.sequence, decoded.chain, decoded.entries), (1, chain, 1));
        assert_eq!(decoded.entries(salt(1)).unwrap()[0].1.payload, "payload");
        assert!(Frame::decode(bytes.clone().into(), FRAMES_AT, salt(2)).is_none());
        assert!(Frame::decode(bytes.into(), FRAMES_AT, chain).is_none());
    }

    #[test]
    fn a_stale_frame_behind_a_shorter_one_that_ends_where_it_starts_does_not_pass() {
        // A was torn, B behind it survived from before; A' is written over A and ends exactly where B starts.
        let id = 5;
        let (first, chain) = frame(id, FRAMES_AT, salt(id), 1, &[1; 100]);
        let behind = FRAMES_AT + first.len() as u32;
        let (second, _) = frame(id, behind, chain, 2, &[2; 50]);
        let (replacement, new_chain) = frame(id, FRAMES_AT, salt(id), 1, &[3; 100]);
        assert_eq!(replacement.len(), first.len());
        assert!(
            Frame::decode(second.clone().into(), behind, chain).is_some(),
            "B is intact by itself"
        );
        assert!(Frame::decode(second.into(), behind, new_chain).is_none(), "B is a ghost behind A'");
    }

    #[test]
    fn an_entry_copied_to_another_place_is_not_an_entry() {
        let (bytes, _) = frame(1, FRAMES_AT, salt(1), 1, b"x");
        let entry = &bytes[FRAME_HEADER as usize..];
        assert!(Entry::decode(entry, salt(1), FRAMES_AT + FRAME_HEADER).is_some());
        assert!(Entry::decode(entry, salt(1), FRAMES_AT + FRAME_HEADER + 1).is_none());
    }
}
