//! Where an entry stands in the log: ordered, opaque, eight bytes.

use std::fmt;

/// The place of an entry: segment number in the upper half, byte offset within the segment in the lower one.
///
/// Positions grow in commit order and are never given twice, so they order entries across restarts and recycled files.
/// Outside this crate they are opaque; [`Position::to_bits`] and [`Position::from_bits`] are for storing them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Below every entry: scanning from here sees everything.
    pub const START: Self = Self(0);

    pub(crate) const fn new(segment: u32, offset: u32) -> Self {
        Self((segment as u64) << 32 | offset as u64)
    }

    /// The number of the segment that holds the entry.
    #[must_use]
    pub const fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) const fn offset(self) -> u32 {
        self.0 as u32
    }

    /// The stored form.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Reads back what [`Position::to_bits`] gave.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment(), self.offset())
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({self})")
    }
}
