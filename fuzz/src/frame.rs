//! Journal frames: the bytes of a segment behind its header.
//!
//! The first byte chooses. Even: what follows stands in the segment as it is. Odd: it is cut into frames and entries
//! whose lengths and checksums are set right, as `docs/store-format.md` has them, so that what is behind the
//! checksums is reached too; lengths, counts and sequences stay the input's. What the journal then reads must lie
//! within the segment, in order, and hold what was written there; and it reads all frames that are right up to the first
//! that is not.

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
    let Frames { bytes, right } = match choice % 2 {
        0 => Frames {
            bytes: rest.to_vec(),
            right: Vec::new(),
        },
        _ => repaired(rest),
    };
    let frames = &bytes[..bytes.len().min(SEGMENT - FRAMES_AT)];
    let right: Vec<Right> = right.into_iter().take_while(|frame| frame.end <= frames.len()).collect();
    let disk = MemoryDisk::new(1);
    let mut segment = header();
    segment.extend_from_slice(frames);
    segment.resize(SEGMENT, 0);
    disk.create("0000000001.seg")
        .and_then(|file| file.write_at(&segment, 0))
        .expect("memory takes a file");
    read(&disk, &segment, &right);
}

/// What stands behind the header, and the frames up to the first that is not right.
struct Frames {
    bytes: Vec<u8>,
    right: Vec<Right>,
}

struct Right {
    end: usize,
    entries: usize,
}

/// Reads the whole segment back.
fn read(disk: &MemoryDisk, segment: &[u8], right: &[Right]) {
    let found = inspect::segments_of(disk).expect("memory can be read");
    let [Ok(inspected)] = found.as_slice() else {
        panic!("the header is intact: {found:?}");
    };
    let frames = inspect::frames(inspected).expect("memory can be read");
    assert!(
        frames.len() >= right.len(),
        "{} frames of {} that are right",
        frames.len(),
        right.len()
    );
    let mut end = FRAMES_AT as u32;
    for frame in &frames {
        assert_eq!(frame.offset, end, "frames leave no gaps");
        end = frame.offset + frame.bytes;
        assert!(frame.bytes >= FRAME_HEADER as u32 && end as usize <= segment.len());
    }
    let (mut last, mut count) = (None, 0);
    for entry in inspect::entries(inspected).map_while(Result::ok) {
        assert!(last < Some(entry.position), "positions grow");
        (last, count) = (Some(entry.position), count + 1);
        let at = entry.position.to_bits() as u32 as usize + ENTRY_HEADER;
        assert_eq!(
            segment.get(at..at + entry.payload.len()),
            Some(&*entry.payload),
            "an entry is what stands there"
        );
        let _ = Entry::decode(&entry.payload);
    }
    let whole: usize = right.iter().map(|frame| frame.entries).sum();
    assert!(count >= whole, "{count} entries of {whole} in frames that are right");
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
fn repaired(mut input: &[u8]) -> Frames {
    let salt = crc32c::crc32c(&ID.to_le_bytes());
    let (mut out, mut previous, mut right, mut is_right) = (Vec::new(), salt, Vec::new(), true);
    while let Some((&[low, high, claimed, sequence], rest)) = input.split_first_chunk::<4>() {
        let length = usize::from(u16::from_le_bytes([low, high]) % 1024).min(rest.len());
        let (inside, behind) = rest.split_at(length);
        input = behind;
        let begin = out.len();
        out.extend_from_slice(&[0; FRAME_HEADER]);
        let (mut entries, mut count) = (u32::from(claimed % 4), 0);
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
            (entries, count) = (entries + 1, count + 1);
        }
        // Frames are numbered from 1.
        is_right &= claimed % 4 == 0 && count > 0 && entry_bytes.is_empty() && usize::from(sequence) == right.len() + 1;
        // Whatever is left of the frame is no entry.
        out.extend_from_slice(entry_bytes);
        let whole = (out.len() - begin) as u32;
        out[begin..begin + 4].copy_from_slice(&whole.to_le_bytes());
        out[begin + 8..begin + 16].copy_from_slice(&u64::from(sequence).to_le_bytes());
        out[begin + 16..begin + 20].copy_from_slice(&entries.to_le_bytes());
        let crc = crc32c::crc32c_append(previous, &[&out[begin..begin + 4], &out[begin + 8..]].concat());
        out[begin + 4..begin + 8].copy_from_slice(&crc.to_le_bytes());
        previous = crc;
        if is_right {
            let end = out.len();
            right.push(Right { end, entries: count });
        }
    }
    Frames { bytes: out, right }
}
