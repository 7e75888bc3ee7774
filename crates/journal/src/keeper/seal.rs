//! The end of a full segment: what it hashes to, and the block that says so.

use std::io;

use aws_lc_rs::digest;

use crate::{
    format::{BLOCK, FRAMES_AT, SEAL_AT, Seal},
    pace::PIECE,
    segment::Segment,
};

/// Writes where a segment ends and what it hashes to, durably.
pub(crate) fn seal(segment: &Segment) -> io::Result<()> {
    let hash = hash(segment)?;
    // Known from here on, even if the seal does not get to the disk: the next start computes the same.
    segment.update(|bounds| bounds.hash = Some(hash));
    let bounds = segment.bounds();
    let seal = Seal {
        end: bounds.end,
        last_entry: bounds.last_entry,
        first_sequence: bounds.first_sequence,
        last_sequence: bounds.last_sequence,
        entries: bounds.entries,
        chain: bounds.chain,
        hash,
    };
    segment.file.write_at(&seal.encode(segment.header.id), u64::from(SEAL_AT))?;
    #[cfg(feature = "faults")]
    crate::kill_point::reach("seal-written");
    segment.file.sync()
}

/// SHA-256 of the header block and all frames; the seal's own block is left out.
pub(crate) fn hash(segment: &Segment) -> io::Result<[u8; 32]> {
    let mut context = digest::Context::new(&digest::SHA256);
    let end = segment.bounds().end as usize;
    let mut piece = vec![0; PIECE.min(end)];
    for (mut at, end) in [(0, BLOCK), (FRAMES_AT as usize, end)] {
        while at < end {
            let length = PIECE.min(end - at).min(piece.len());
            if segment.file.read_at(&mut piece[..length], at as u64)? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            context.update(&piece[..length]);
            at += length;
        }
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Ok(hash)
}
