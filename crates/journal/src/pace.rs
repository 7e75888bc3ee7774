//! How fast a new segment is filled with zeros: as fast as the writer uses its own, no faster while there is time.
//!
//! What is written and not yet on the disk is written by whoever syncs next, which is the writer: a segment that is filled at once holds up
//! every receipt of half a second on a disk of 150 MB/s. None of this has a key: the pace follows the writer's.

use std::time::Duration;

use crate::format::BLOCK;

/// The most that is written without looking at the writer again; bytes are hashed in such pieces too.
pub(crate) const PIECE: usize = 1 << 20;

/// How long the keeper rests between two pieces while there is time: a longer rest means larger pieces, a shorter one more of them, and each
/// costs whoever syncs beside it.
pub(crate) const REST: Duration = Duration::from_millis(5);

/// What each piece has beyond the writer's pace, so that a segment is filled without traffic too: 64 MiB in five seconds.
const LEAD: u64 = 64 << 10;

/// Where the writer and the keeper are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes that the writer used since the last piece.
    pub(crate) used: u64,
    /// Bytes that the writer has left, ready spares included.
    pub(crate) room: u64,
    /// Bytes to fill.
    pub(crate) left: u64,
}

/// The next piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its bytes: whole blocks, except at the end.
    pub(crate) bytes: usize,
    /// There is time for a rest after it.
    pub(crate) rests: bool,
}

impl Progress {
    /// Without haste a quarter more than the writer used; at once where the writer would be done first.
    pub(crate) fn piece(self) -> Piece {
        let rests = self.left < self.room;
        let most = if rests { self.used + self.used / 4 + LEAD } else { u64::MAX };
        let blocks = most.min(PIECE as u64).next_multiple_of(BLOCK as u64).min(self.left);
        Piece {
            bytes: usize::try_from(blocks).unwrap_or(PIECE),
            rests: rests && blocks < self.left,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEGMENT: u64 = 64 << 20;

    /// Fills one segment while the writer uses so many bytes a rest, and so many a piece in haste, with so much room at first; gives
    /// what the writer had left.
    fn fill(bytes_a_rest: u64, bytes_in_haste: u64, room: u64) -> Option<u64> {
        let (mut left, mut room, mut used) = (SEGMENT, room, 0);
        while left > 0 {
            let piece = Progress { used, room, left }.piece();
            left -= piece.bytes as u64;
            used = if piece.rests { bytes_a_rest } else { bytes_in_haste };
            room = room.checked_sub(used)?;
        }
        Some(room)
    }

    #[test]
    fn what_is_missing_at_once_is_written_at_once() {
        let hasty = Progress {
            used: 0,
            room: 0,
            left: SEGMENT,
        }
        .piece();
        assert_eq!(
            hasty,
            Piece {
                bytes: PIECE,
                rests: false
            }
        );
        let last = Progress {
            used: 0,
            room: SEGMENT,
            left: 5000,
        }
        .piece();
        assert_eq!(last, Piece { bytes: 5000, rests: false });
    }

    #[test]
    fn without_traffic_a_segment_is_filled_in_small_pieces() {
        let piece = Progress {
            used: 0,
            room: 2 * SEGMENT,
            left: SEGMENT,
        }
        .piece();
        assert_eq!(
            piece,
            Piece {
                bytes: LEAD as usize,
                rests: true
            }
        );
        assert_eq!(fill(0, 0, 2 * SEGMENT), Some(2 * SEGMENT));
    }

    proptest! {
        #[test]
        fn a_segment_is_filled_before_the_writer_needs_it(bytes in 0..800_000u64, room in SEGMENT..3 * SEGMENT) {
            prop_assert!(fill(bytes, bytes, room).is_some());
        }

        #[test]
        fn what_begins_late_is_filled_in_haste(bytes_a_rest in 0..800_000u64, room in SEGMENT / 2..SEGMENT) {
            prop_assert!(fill(bytes_a_rest, bytes_a_rest / 4, room).is_some());
        }

        #[test]
        fn pieces_are_whole_blocks_and_within_bounds(used in 0..u64::from(u32::MAX), room in 0..u64::from(u32::MAX), left in 1..u64::from(u32::MAX)) {
            let piece = Progress { used, room, left }.piece();
            prop_assert!(0 < piece.bytes && piece.bytes <= PIECE && piece.bytes as u64 <= left);
            prop_assert!(piece.bytes as u64 == left || piece.bytes.is_multiple_of(BLOCK));
            prop_assert!(!piece.rests || left < room);
        }
    }
}
