//! What was called by whom on which day: the rows of `state.redb`, and what is added to them with each batch.

use crate::error::StoreError;
use perseat_domain::entry::Called;
use perseat_domain::id::{CustomerId, InstanceId, UserId};
use perseat_domain::identity::Identity;
use perseat_domain::time::Timestamp;
use perseat_domain::usage::{Amount, Day, UsageKey};
use redb::{AccessGuard, ReadableTable, ReadableTableMetadata, Table, TableDefinition};
use std::collections::BTreeMap;
use uuid::Uuid;

pub(crate) const USAGE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("usage");

/// Version of the stored form of a row.
const FORMAT: u8 = 1;
/// Day, customer, instance and user.
const FIXED: usize = 4 + 3 * 16;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct UsageLimits {
    /// Days with rows (`usage.days`).
    pub days: u32,
    /// Rows (`usage.rows`). Beyond them the oldest days go, and never the newest.
    pub rows: u64,
}

impl Default for UsageLimits {
    fn default() -> Self {
        Self {
            days: 400,
            rows: 2_000_000,
        }
    }
}

/// What journal entries add to the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addition(BTreeMap<UsageKey, Amount>);

impl Addition {
    /// An execution began.
    pub(crate) fn began(&mut self, identity: Option<&Identity>, at: Timestamp) {
        let began = Amount {
            executions: 1,
            ..Amount::default()
        };
        if let Some(identity) = identity {
            self.add(UsageKey::of(identity, at, None), began);
        }
    }

    /// An execution sent requests.
    pub(crate) fn called(&mut self, identity: Option<&Identity>, called: &Called) {
        let Some(identity) = identity else { return };
        for calls in &called.calls {
            let amount = Amount {
                executions: u64::from(calls.is_first),
                calls: u64::from(calls.count),
                sent: calls.sent,
                received: calls.received,
            };
            self.add(UsageKey::of(identity, called.at, Some(calls.through.clone())), amount);
        }
    }

    fn add(&mut self, key: UsageKey, amount: Amount) {
        self.0.entry(key).or_default().add(amount);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (&UsageKey, &Amount)> {
        self.0.iter()
    }
}

/// What the entries up to a position add, and those before it do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    /// The position of the last of these entries.
    pub(crate) through: u64,
    /// What they add.
    pub(crate) addition: Addition,
}

/// The stored key: big-endian, so that days stand in their order.
pub(crate) fn encode_key(key: &UsageKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(FIXED + 32);
    out.extend_from_slice(&key.day.0.to_be_bytes());
    for id in [key.customer.0, key.instance.0, key.user.map_or(Uuid::nil(), |user| user.0)] {
        out.extend_from_slice(id.as_bytes());
    }
    // Encoding owned data into memory has no failing case.
    postcard::to_extend(&key.through, out).unwrap_or_default()
}

fn decode_key(bytes: &[u8]) -> Option<UsageKey> {
    let (day, rest) = bytes.split_first_chunk::<4>()?;
    let (customer, rest) = rest.split_first_chunk::<16>()?;
    let (instance, rest) = rest.split_first_chunk::<16>()?;
    let (user, rest) = rest.split_first_chunk::<16>()?;
    let user = Uuid::from_bytes(*user);
    Some(UsageKey {
        day: Day(u32::from_be_bytes(*day)),
        customer: CustomerId(Uuid::from_bytes(*customer)),
        instance: InstanceId(Uuid::from_bytes(*instance)),
        user: (!user.is_nil()).then_some(UserId(user)),
        through: postcard::from_bytes(rest).ok()?,
    })
}

fn encode_amount(amount: &Amount) -> Vec<u8> {
    postcard::to_extend(amount, vec![FORMAT]).unwrap_or_default()
}

fn decode_amount(bytes: &[u8]) -> Option<Amount> {
    match bytes {
        [FORMAT, body @ ..] => postcard::from_bytes(body).ok(),
        _ => None,
    }
}

pub(crate) fn decode(key: &[u8], amount: &[u8]) -> Result<(UsageKey, Amount), StoreError> {
    decode_key(key)
        .zip(decode_amount(amount))
        .ok_or_else(|| StoreError::corrupt("a row of usage"))
}

/// The first key of a day.
pub(crate) fn first_of(day: Day) -> [u8; 4] {
    day.0.to_be_bytes()
}

/// The first key of a day, of one customer if one is named, and the first one behind those.
pub(crate) fn rows_of(day: Day, customer: Option<CustomerId>) -> (Vec<u8>, Vec<u8>) {
    let following = first_of(Day(day.0.saturating_add(1))).to_vec();
    let Some(customer) = customer else {
        return (first_of(day).to_vec(), following);
    };
    let key = |id: u128| [first_of(day).as_slice(), &id.to_be_bytes()].concat();
    let id = customer.0.as_u128();
    (key(id), id.checked_add(1).map_or(following, key))
}

/// Adds to the rows what was not added up to `watermark`, and drops the oldest days beyond the limits.
pub(crate) fn add(
    table: &mut Table<'_, &'static [u8], &'static [u8]>,
    added: &[Added],
    watermark: Option<u64>,
    limits: UsageLimits,
) -> Result<(), StoreError> {
    let mut is_larger = false;
    for Added { addition, .. } in added
        .iter()
        .filter(|added| watermark.is_none_or(|watermark| watermark < added.through))
    {
        for (key, amount) in addition.rows() {
            let stored_key = encode_key(key);
            let known = table.get(stored_key.as_slice())?.map(|stored| decode_amount(stored.value()));
            is_larger |= known.is_none();
            let mut sum = match known {
                Some(known) => known.ok_or_else(|| StoreError::corrupt("a row of usage"))?,
                None => Amount::default(),
            };
            sum.add(*amount);
            table.insert(stored_key.as_slice(), encode_amount(&sum).as_slice())?;
        }
    }
    while is_larger && drops_a_day(table, limits)? {}
    Ok(())
}

type Row<'r> = (AccessGuard<'r, &'static [u8]>, AccessGuard<'r, &'static [u8]>);

fn day_of(row: Option<Row<'_>>) -> Option<Day> {
    let (key, _) = row?;
    key.value().first_chunk::<4>().map(|day| Day(u32::from_be_bytes(*day)))
}

/// Drops the oldest day if there is too much; whether it did.
fn drops_a_day(table: &mut Table<'_, &'static [u8], &'static [u8]>, limits: UsageLimits) -> Result<bool, StoreError> {
    let (Some(oldest), Some(newest)) = (day_of(table.first()?), day_of(table.last()?)) else {
        return Ok(false);
    };
    if oldest == newest {
        return Ok(false);
    }
    // Most of the time there are few days between the oldest and the newest, and then they need not be counted.
    let span = newest.0 - oldest.0;
    let mut is_too_much = table.len()? > limits.rows;
    if !is_too_much && span >= limits.days {
        let (mut days, mut next) = (0, Some(oldest));
        while let Some(day) = next {
            days += 1;
            let after = Day(day.0.saturating_add(1));
            let mut later = table.range::<&[u8]>(first_of(after).as_slice()..)?;
            next = day_of(later.next().transpose()?);
        }
        is_too_much = days > limits.days;
    }
    if is_too_much {
        let after = first_of(Day(oldest.0.saturating_add(1)));
        table.retain_in::<&[u8], _>(..after.as_slice(), |_, _| false)?;
    }
    Ok(is_too_much)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::IndexError;
    use crate::index::samples::identity;
    use crate::state::{StateBatch, StateOptions, StateStore};
    use perseat_domain::id::RegistrationId;
    use perseat_domain::usage::Through;

    #[test]
    fn a_row_survives_its_stored_form() {
        let id = Uuid::from_u128;
        let through = Through {
            connection: "account".into(),
            registration: Some(RegistrationId(id(4))),
            account: Some("a-1".into()),
        };
        for (user, through) in [(None, None), (Some(UserId(id(3))), Some(through))] {
            let key = UsageKey {
                day: Day(20_000),
                customer: CustomerId(id(1)),
                instance: InstanceId(id(2)),
                user,
                through,
            };
            let amount = Amount {
                executions: 1,
                calls: 2,
                sent: 300,
                received: 70_000,
            };
            assert_eq!(decode(&encode_key(&key), &encode_amount(&amount)).unwrap(), (key, amount));
        }
        assert!(decode(&[1, 2], &[FORMAT]).is_err());
    }

    /// One execution of each user on a day.
    fn added(through: u64, day: u32, users: std::ops::Range<u128>) -> Added {
        let mut addition = Addition::default();
        for user in users {
            addition.began(Some(&identity(user)), Timestamp(u64::from(day) * 86_400_000));
        }
        Added { through, addition }
    }

    fn store(directory: &tempfile::TempDir, days: u32, rows: u64) -> StateStore {
        let options = StateOptions {
            usage: UsageLimits { days, rows },
            ..StateOptions::default()
        };
        StateStore::open(&directory.path().join("state.redb"), &options).unwrap()
    }

    /// Day and executions of each row.
    fn rows(state: &StateStore) -> Vec<(u32, u64)> {
        let mut rows = Vec::new();
        let all = Day(0)..=Day(u32::MAX);
        let oldest = state.usage::<IndexError>(
            all,
            None,
            || {},
            |key, amount| {
                rows.push((key.day.0, amount.executions));
                Ok(())
            },
        );
        assert_eq!(oldest.unwrap(), rows.first().map(|(day, _)| Day(*day)));
        rows
    }

    fn apply(state: &StateStore, watermark: u64, usage: Vec<Added>) {
        let batch = StateBatch {
            watermark,
            usage,
            ..StateBatch::default()
        };
        state.apply(&batch).unwrap();
    }

    #[test]
    fn what_may_have_been_stored_is_added_once() {
        let directory = tempfile::tempdir().unwrap();
        let state = store(&directory, 10, 10);
        assert_eq!(rows(&state), []);
        apply(&state, 5, vec![added(5, 1, 0..1)]);
        // That was stored, and whoever asked for it heard that it failed.
        apply(&state, 8, vec![added(5, 1, 0..1), added(8, 1, 0..1)]);
        assert_eq!(rows(&state), [(1, 2)]);
    }

    #[test]
    fn the_oldest_days_go_by_number_of_days_and_of_rows_and_the_newest_never() {
        let directory = tempfile::tempdir().unwrap();
        let state = store(&directory, 3, 6);
        for (position, day) in [10, 11, 40].into_iter().enumerate() {
            apply(&state, position as u64 + 1, vec![added(position as u64 + 1, day, 0..1)]);
        }
        assert_eq!(rows(&state), [(10, 1), (11, 1), (40, 1)], "days without executions do not count");
        apply(&state, 10, vec![added(10, 41, 0..2)]);
        assert_eq!(rows(&state), [(11, 1), (40, 1), (41, 1), (41, 1)]);
        apply(&state, 11, vec![added(11, 41, 2..5)]);
        assert_eq!(rows(&state).len(), 6, "{:?}", rows(&state));
        apply(&state, 12, vec![added(12, 42, 0..9)]);
        assert_eq!(rows(&state), vec![(42, 1); 9], "one day alone may be larger");
        let to = state.usage::<IndexError>(Day(0)..=Day(41), None, || {}, |_, _| unreachable!());
        assert_eq!(to.unwrap(), Some(Day(42)));
    }

    #[test]
    fn of_one_customer_no_row_of_another_is_given() {
        let directory = tempfile::tempdir().unwrap();
        let state = store(&directory, 10, 100);
        let mut addition = Addition::default();
        for (day, customer) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 3), (3, 2), (3, u128::MAX)] {
            let identity = Identity {
                customer: CustomerId(Uuid::from_u128(customer)),
                ..identity(1)
            };
            addition.began(Some(&identity), Timestamp(day * 86_400_000));
        }
        apply(&state, 1, vec![Added { through: 1, addition }]);
        let days = |customer: u128, days: std::ops::RangeInclusive<u32>| {
            let mut seen = Vec::new();
            let days = Day(*days.start())..=Day(*days.end());
            let given = state.usage::<IndexError>(
                days,
                Some(CustomerId(Uuid::from_u128(customer))),
                || {},
                |key, _| {
                    assert_eq!(key.customer, CustomerId(Uuid::from_u128(customer)));
                    seen.push(key.day.0);
                    Ok(())
                },
            );
            given.unwrap();
            seen
        };
        assert_eq!(days(1, 0..=9), [1, 2]);
        assert_eq!(days(2, 0..=9), [1, 3]);
        assert_eq!(days(2, 2..=2), [0_u32; 0]);
        assert_eq!(days(3, 2..=3), [2]);
        assert_eq!(days(u128::MAX, 0..=9), [3]);
        assert_eq!(days(4, 0..=9), [0_u32; 0]);
    }
}
