//! Journal frames: the bytes of a segment behind its header.
//!
//! The first byte chooses. Even: what follows stands in the segment as it is. Odd: it is cut into frames and entries
//! whose lengths and checksums are set right, as `docs/store-format.md` has them, so that what is behind the
//! checksums is reached too; lengths, counts and sequences stay the input's. What the journal then reads must lie
//! within the segment, in order, and hold what was written there.

use perseat_domain::entry::Entry;
use perseat_journal::{Disk as _, MemoryDisk, inspect};

const BLOCK: usize = 4096;
const FRAMES_AT: usize = 2 * BLOCK;
const FRAME_HEADER: usize = 24;
const ENTRY_HEADER: usize = 20;
const SEGMENT: usize = 32 << 10;
const ID: u128 = 0x5e9;

pub(crate) fn run(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    // Entries of the journal are entries of the domain; they come back when they are written again.
    if let Ok(entry) = Entry::decode(rest) {
        let encoded = entry.encode();
        assert_eq!(Entry::decode(&encoded), Ok(entry), "an entry changes when it is written again");
    }
    let frames = if choice % 2 == 0 { rest.to_vec() } else { repaired(rest) };
    let frames = &frames[..frames.len().min(SEGMENT - FRAMES_AT)];
    let disk = MemoryDisk::new(1);
    let mut segment = header();
    segment.extend_from_slice(frames);
    segment.resize(SEGMENT, 0);
    disk.create("0000000001.seg")
        .and_then(|file| file.write_at(&segment, 0))
        .expect("memory takes a file");
    read(&disk, &segment);
}

/// Reads the whole segment back.
fn read(disk: &MemoryDisk, segment: &[u8]) {
    let found = inspect::segments_of(disk).expect("memory can be read");
    let [Ok(inspected)] = found.as_slice() else {
        panic!("the header is intact: {found:?}");
    };
    let frames = inspect::frames(inspected).expect("memory can be read");
    let mut end = FRAMES_AT as u32;
    for frame in &frames {
        assert_eq!(frame.offset, end, "frames leave no gaps");
        end = frame.offset + frame.bytes;
        assert!(frame.bytes >= FRAME_HEADER as u32 && end as usize <= segment.len());
    }
    let mut last = None;
    for entry in inspect::entries(inspected).map_while(Result::ok) {
        assert!(last < Some(entry.position), "positions grow");
        last = Some(entry.position);
        let at = entry.position.to_bits() as u32 as usize + ENTRY_HEADER;
        assert_eq!(
            segment.get(at..at + entry.payload.len()),
            Some(&*entry.payload),
            "an entry is what stands there"
        );
        let _ = Entry::decode(&entry.payload);
    }
}

/// A segment's first two blocks: its header, and no seal.
fn header() -> Vec<u8> {
    let mut block = b"PRSTJRNL".to_vec();
    block.extend_from_slice(&1u16.to_le_bytes());
    block.extend_from_slice(&0u16.to_le_bytes());
    block.extend_from_slice(&1u32.to_le_bytes());
    block.extend_from_slice(&ID.to_le_bytes());
    block.extend_from_slice(&0u64.to_le_bytes());
    block.extend_from_slice(&(SEGMENT as u32).to_le_bytes());
    block.extend_from_slice(&[0; 4]);
    let crc = crc32c::crc32c(&block);
    block.extend_from_slice(&crc.to_le_bytes());
    block.resize(FRAMES_AT, 0);
    block
}

/// Cuts the input into frames: a length (2 bytes), how many entries it claims beyond those it has (1), its sequence (1),
/// then entries: a length (1), partition and epoch (1 each), payload.
fn repaired(mut input: &[u8]) -> Vec<u8> {
    let salt = crc32c::crc32c(&ID.to_le_bytes());
    let (mut out, mut previous) = (Vec::new(), salt);
    while let Some((&[low, high, claimed, sequence], rest)) = input.split_first_chunk::<4>() {
        let length = usize::from(u16::from_le_bytes([low, high]) % 1024).min(rest.len());
        let (inside, behind) = rest.split_at(length);
        input = behind;
        let begin = out.len();
        out.extend_from_slice(&[0; FRAME_HEADER]);
        let mut entries = u32::from(claimed % 4);
        let mut entry_bytes = inside;
        while let Some((&[size, partition, epoch], rest)) = entry_bytes.split_first_chunk::<3>() {
            let (payload, behind) = rest.split_at(usize::from(size).min(rest.len()));
            entry_bytes = behind;
            let at = out.len();
            out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&u64::from(epoch).to_le_bytes());
            out.extend_from_slice(&[partition, 0, 0, 0]);
            out.extend_from_slice(payload);
            let place = ((FRAMES_AT + at) as u32).to_le_bytes();
            let crc = crc32c::crc32c_append(salt, &[&place, &out[at..at + 4], &out[at + 8..]].concat());
            out[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
            entries += 1;
        }
        // Whatever is left of the frame is no entry.
        out.extend_from_slice(entry_bytes);
        let whole = (out.len() - begin) as u32;
        out[begin..begin + 4].copy_from_slice(&whole.to_le_bytes());
        out[begin + 8..begin + 16].copy_from_slice(&u64::from(sequence).to_le_bytes());
        out[begin + 16..begin + 20].copy_from_slice(&entries.to_le_bytes());
        let crc = crc32c::crc32c_append(previous, &[&out[begin..begin + 4], &out[begin + 8..]].concat());
        out[begin + 4..begin + 8].copy_from_slice(&crc.to_le_bytes());
        previous = crc;
    }
    out
}
