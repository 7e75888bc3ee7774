//! The rows of the snapshot's tables, packed: a million configured users fit in some fifty megabytes.

use super::hash::Wide;
use super::table::Row;
use crate::time::Timestamp;
use std::time::Duration;

/// How long the URL of a removed user configuration answers that it was removed.
pub const REMOVED_ANSWER: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Where a user's configuration stands, as routing sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserConfigState {
    /// Every required variable has a value.
    Complete,
    /// A required variable lacks its value.
    Incomplete,
    /// Owned by a member of the organization: for test runs, never for requests.
    OwnedByOrganizationUser,
    /// Removed at this time; kept to answer so (to the minute).
    Removed(Timestamp),
}

/// [`UserConfigState`] in 32 bits: a tag in the low two, the minute of a removal above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PackedState(u32);

const MINUTE: u64 = 60_000;

impl From<UserConfigState> for PackedState {
    fn from(state: UserConfigState) -> Self {
        Self(match state {
            UserConfigState::Complete => 0,
            UserConfigState::Incomplete => 1,
            UserConfigState::OwnedByOrganizationUser => 2,
            UserConfigState::Removed(at) => 3 | (((at.0 / MINUTE).min(u64::from(u32::MAX >> 2)) as u32) << 2),
        })
    }
}

impl From<PackedState> for UserConfigState {
    fn from(packed: PackedState) -> Self {
        match packed.0 & 3 {
            0 => Self::Complete,
            1 => Self::Incomplete,
            2 => Self::OwnedByOrganizationUser,
            _ => Self::Removed(Timestamp(u64::from(packed.0 >> 2) * MINUTE)),
        }
    }
}

/// One user configuration, found by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConfigRow {
    pub(super) config: Wide,
    pub(super) user: Wide,
    pub(super) slot: u32,
    state: PackedState,
}

impl ConfigRow {
    pub(super) fn new(config: Wide, user: Wide, slot: u32, state: UserConfigState) -> Self {
        Self {
            config,
            user,
            slot,
            state: state.into(),
        }
    }

    pub(super) fn state(&self) -> UserConfigState {
        self.state.into()
    }

    /// Whether a user finds it by their external id: not once it was removed.
    pub(super) fn is_live(&self) -> bool {
        !matches!(self.state(), UserConfigState::Removed(_))
    }
}

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(bits: u64) -> u64 {
    let folded = (bits ^ (bits >> 32)).wrapping_mul(MIX);
    folded ^ (folded >> 29)
}

impl Row for ConfigRow {
    // Sixty random bits suffice to find it by; readers compare the whole id.
    type Key = u64;
    fn key(&self) -> u64 {
        self.config.high
    }
    fn spread(key: u64) -> u64 {
        mix(key).wrapping_mul(MIX)
    }
}

/// Points from (instance, user) to a live [`ConfigRow`], which has the last word on whether it is the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnerRow {
    tag: [u32; 2],
    config_high: [u32; 2],
}

fn halves(word: u64) -> [u32; 2] {
    [(word >> 32) as u32, word as u32]
}

fn whole(halves: [u32; 2]) -> u64 {
    (u64::from(halves[0]) << 32) | u64::from(halves[1])
}

impl OwnerRow {
    pub(super) fn of(row: &ConfigRow) -> Self {
        Self {
            tag: halves(Self::tag(row.slot, row.user)),
            config_high: halves(row.config.high),
        }
    }

    /// The key under which the configuration of this user for the instance in this slot stands.
    pub(super) fn tag(slot: u32, user: Wide) -> u64 {
        mix(user.high ^ user.low.rotate_left(23)).wrapping_add(u64::from(slot).wrapping_mul(MIX))
    }

    pub(super) fn config_high(self) -> u64 {
        whole(self.config_high)
    }
}

impl Row for OwnerRow {
    type Key = u64;
    fn key(&self) -> u64 {
        whole(self.tag)
    }
    fn spread(key: u64) -> u64 {
        mix(key).wrapping_mul(MIX)
    }
}

/// From the hash of an external id to an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExternalRow {
    pub(super) hash: Wide,
    pub(super) id: Wide,
}

impl Row for ExternalRow {
    type Key = Wide;
    fn key(&self) -> Wide {
        self.hash
    }
    fn spread(key: Wide) -> u64 {
        key.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_survive_packing() {
        let at = Timestamp(1_795_000_000_000 / MINUTE * MINUTE);
        for state in [
            UserConfigState::Complete,
            UserConfigState::Incomplete,
            UserConfigState::OwnedByOrganizationUser,
            UserConfigState::Removed(at),
        ] {
            assert_eq!(UserConfigState::from(PackedState::from(state)), state);
        }
    }

    #[test]
    fn a_million_configured_users_fit_in_sixty_megabytes() {
        assert!(size_of::<ConfigRow>() + size_of::<OwnerRow>() <= 60);
    }
}
