//! One slot of the keyring file: whose key, its version, the wrapped key, a checksum.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | state: 0 free (then all bytes are zero), 1 live |
//! | 1 | 1 | owner kind: 1 organization, 2 customer, 3 user |
//! | 2 | 1 | wrapped by: 0 master key, 1 organization's key, 2 customer's key |
//! | 3 | 1 | zero |
//! | 4 | 4 | key version, little-endian |
//! | 8 | 16 | owner id, zero for the organization |
//! | 24 | 16 | id of the customer whose key wraps it, zero otherwise |
//! | 40 | 65 | the key, sealed (`docs/store-format.md`, "Sealing") |
//! | 105 | 8 | of an older version: the position of the last entry of the journal that it may have sealed, little-endian; or zero |
//! | 113 | 11 | zero |
//! | 124 | 4 | CRC32C of the bytes before, little-endian |

use super::{NewKey, Owner};
use crate::seal::{KEY_LEN, OVERHEAD, version_of};
use perseat_domain::id::{CustomerId, UserId};
use perseat_domain::model::{Membership, Sealed};
use uuid::Uuid;

/// Bytes of a slot; divides a disk sector, so a slot never straddles two.
pub(super) const SLOT: usize = 128;
const LIVE: u8 = 1;
const WRAPPED: std::ops::Range<usize> = 40..40 + KEY_LEN + OVERHEAD;
const SEALED_UNTIL: std::ops::Range<usize> = 105..113;
const CRC: std::ops::Range<usize> = 124..128;

/// A live slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) key: NewKey,
    pub(super) version: u32,
    pub(super) wrapped: Sealed,
    /// Up to which position of the journal an older version may have sealed; zero where that is not known.
    pub(super) sealed_until: u64,
}

/// What a slot's bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// All zero.
    Free,
    /// A key.
    Live(Owner),
    /// The remains of a wipe that a crash cut off.
    HalfWiped,
    /// Torn while it was written, or damaged later; with the owner it names, if it does.
    Damaged(Option<Owner>),
}

impl Content {
    pub(super) fn of(bytes: &[u8; SLOT]) -> Self {
        let owner = key_of(bytes).map(NewKey::owner);
        match (bytes[0], owner) {
            (0, _) if bytes.iter().all(|byte| *byte == 0) => Self::Free,
            (0, _) => Self::HalfWiped,
            (1, Some(owner)) if is_whole(bytes) => Self::Live(owner),
            (_, owner) => Self::Damaged(owner),
        }
    }
}

impl Slot {
    pub(super) fn encode(&self) -> [u8; SLOT] {
        let mut out = [0; SLOT];
        let (kind, id) = self.key.owner().parts();
        out[0] = LIVE;
        out[1] = kind;
        match self.key {
            NewKey::Organization | NewKey::Customer(_) => {}
            NewKey::User(_, Membership::Organization) => out[2] = 1,
            NewKey::User(_, Membership::Customer(customer)) => {
                out[2] = 2;
                out[24..40].copy_from_slice(customer.0.as_bytes());
            }
        }
        out[4..8].copy_from_slice(&self.version.to_le_bytes());
        out[8..24].copy_from_slice(id.as_bytes());
        out[WRAPPED].copy_from_slice(&self.wrapped.0);
        out[SEALED_UNTIL].copy_from_slice(&self.sealed_until.to_le_bytes());
        let crc = crc32c::crc32c(&out[..CRC.start]);
        out[CRC].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8; SLOT]) -> Option<Self> {
        if bytes[0] != LIVE || !is_whole(bytes) {
            return None;
        }
        Some(Self {
            key: key_of(bytes)?,
            version: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            wrapped: Sealed(bytes[WRAPPED].to_vec()),
            sealed_until: bytes[SEALED_UNTIL].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)),
        })
    }

    /// The version of the key that wraps this one.
    pub(super) fn wrapped_under(&self) -> u32 {
        version_of(&self.wrapped).unwrap_or_default()
    }

    /// What the wrapped key is bound to; see [`binding`].
    pub(super) fn binding(&self) -> [u8; 21] {
        binding(self.key.owner(), self.version)
    }
}

/// What a wrapped key is bound to: owner kind, owner id, version. In another slot it does not open.
pub(super) fn binding(owner: Owner, version: u32) -> [u8; 21] {
    let (kind, id) = owner.parts();
    let mut out = [kind; 21];
    out[1..17].copy_from_slice(id.as_bytes());
    out[17..].copy_from_slice(&version.to_le_bytes());
    out
}

fn is_whole(bytes: &[u8; SLOT]) -> bool {
    bytes[CRC] == crc32c::crc32c(&bytes[..CRC.start]).to_le_bytes()
}

/// Whose slot the bytes say they are, whatever the checksum says.
fn key_of(bytes: &[u8; SLOT]) -> Option<NewKey> {
    let id = |at: usize| Uuid::from_slice(&bytes[at..at + 16]).ok();
    match (bytes[1], bytes[2]) {
        (1, 0) => Some(NewKey::Organization),
        (2, 0) => Some(NewKey::Customer(CustomerId(id(8)?))),
        (3, 1) => Some(NewKey::User(UserId(id(8)?), Membership::Organization)),
        (3, 2) => Some(NewKey::User(UserId(id(8)?), Membership::Customer(CustomerId(id(24)?)))),
        _ => None,
    }
}

impl Owner {
    /// The kind's byte and the id; the organization's is nil.
    pub(super) fn parts(self) -> (u8, Uuid) {
        match self {
            Self::Organization => (1, Uuid::nil()),
            Self::Customer(id) => (2, id.0),
            Self::User(id) => (3, id.0),
        }
    }
}
