//! Backups: taken from a running daemon or a directory at rest, restored into an empty one.
//!
//! A backup is a moment: the live executions up to a watermark, the journal from the oldest of them to a head at or after it, and
//! the catalog after that. The keyring is not in it, so that a key that is destroyed is destroyed for old backups, too.
//! [`take`] reads and hands out [`wire::Part`]s, [`mod@write`] makes the directory of them; the manifest comes last, and without it
//! nothing accepts the directory.

mod doubt;
pub mod manifest;
pub mod restore;
pub mod settle;
pub mod take;
pub mod wire;
pub mod write;

use aws_lc_rs::digest::{Context, SHA256};

/// Bytes that are read, hashed and sent at once.
pub const PIECE: usize = 256 << 10;

/// SHA-256 of what comes piece by piece.
pub(crate) struct Hasher(Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        hex(self.0.finish().as_ref())
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes for people: two or three digits and a unit.
pub(crate) fn amount(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{:.0} KiB", bytes as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
