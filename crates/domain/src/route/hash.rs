//! Hashes external ids under a secret, so that the snapshot holds neither the ids nor anything a sender can collide.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::fmt;
use std::hash::Hasher;

/// The key of the hashes in one line of snapshots; drawn anew by each start of the daemon.
#[derive(Clone, Copy)]
pub struct HashSecret([u8; 16]);

impl HashSecret {
    /// A secret from 128 random bits.
    #[must_use]
    pub fn new(random: u128) -> Self {
        Self(random.to_le_bytes())
    }

    /// The hash of `text` within `scope` (the customer that an id belongs to, or 0).
    pub(super) fn of(&self, scope: u128, text: &str) -> Wide {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(&scope.to_le_bytes());
        hasher.write(text.as_bytes());
        let hash = hasher.finish128();
        Wide {
            high: hash.h1,
            low: hash.h2,
        }
    }
}

impl fmt::Debug for HashSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashSecret(redacted)")
    }
}

/// 128 bits in two words: rows that hold it need no padding to 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Wide {
    pub(super) high: u64,
    pub(super) low: u64,
}

impl From<u128> for Wide {
    fn from(bits: u128) -> Self {
        Self {
            high: (bits >> 64) as u64,
            low: bits as u64,
        }
    }
}

impl From<Wide> for u128 {
    fn from(wide: Wide) -> Self {
        (Self::from(wide.high) << 64) | Self::from(wide.low)
    }
}

impl From<uuid::Uuid> for Wide {
    fn from(id: uuid::Uuid) -> Self {
        id.as_u128().into()
    }
}

impl From<Wide> for uuid::Uuid {
    fn from(wide: Wide) -> Self {
        Self::from_u128(wide.into())
    }
}
