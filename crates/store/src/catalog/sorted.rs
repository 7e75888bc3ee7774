//! Lists in the order of a text: names and e-mail addresses, without regard to case.

use super::Rows;
use super::record::{self, Owned, Record, RecordId, folded, scope};
use crate::error::StoreError;
use perseat_domain::id::CustomerId;
use perseat_domain::model::{Customer, Instance, Membership, User};
use std::marker::PhantomData;
use uuid::Uuid;

/// Bytes of a row behind its text: the one that ends the text, and an id.
const TAIL: usize = 1 + 16;

/// A record that is listed in the order of a text.
pub trait SortedRecord: Record {}

impl SortedRecord for Customer {}
impl SortedRecord for User {}
impl SortedRecord for Instance {}

/// One such list.
#[derive(Debug)]
pub struct Sorted<R> {
    index: Owned,
    scope: Uuid,
    of: PhantomData<R>,
}

impl<R> Clone for Sorted<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Sorted<R> {}

impl<R> Sorted<R> {
    fn new(index: Owned, scope: Uuid) -> Self {
        Self {
            index,
            scope,
            of: PhantomData,
        }
    }
}

impl Sorted<Customer> {
    /// Customers by name.
    #[must_use]
    pub fn customers_by_name() -> Self {
        Self::new(Owned::CustomersByName, Uuid::nil())
    }
}

impl Sorted<User> {
    /// Users by name: of a customer, of the organization, or all.
    #[must_use]
    pub fn users_by_name(of: Option<Membership>) -> Self {
        match of {
            Some(membership) => Self::new(Owned::UsersByName, scope(membership)),
            None => Self::new(Owned::AllUsersByName, Uuid::nil()),
        }
    }

    /// Users by e-mail address; those without one come first.
    #[must_use]
    pub fn users_by_email(of: Option<Membership>) -> Self {
        match of {
            Some(membership) => Self::new(Owned::UsersByEmail, scope(membership)),
            None => Self::new(Owned::AllUsersByEmail, Uuid::nil()),
        }
    }
}

impl Sorted<Instance> {
    /// Instances by name: of a customer, or all.
    #[must_use]
    pub fn instances_by_name(of: Option<CustomerId>) -> Self {
        match of {
            Some(customer) => Self::new(Owned::InstancesByName, customer.0),
            None => Self::new(Owned::AllInstancesByName, Uuid::nil()),
        }
    }
}

/// Which part of a list, and which way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading<'r> {
    /// Texts that begin so, whatever their case.
    pub starts_with: &'r str,
    /// Only texts that are no longer.
    pub whole: bool,
    /// Behind this place.
    pub after: Option<&'r [u8]>,
    /// From the last to the first.
    pub descending: bool,
    /// So many.
    pub limit: usize,
}

pub(super) fn read<R: SortedRecord>(rows: &impl Rows, by: Sorted<R>, reading: &Reading<'_>) -> Result<Vec<(Vec<u8>, R)>, StoreError> {
    let corrupt = || StoreError::corrupt("catalog index");
    let (prefix, mut start) = (by.index.prefix(by.scope), folded(reading.starts_with).into_bytes());
    if reading.whole {
        start.push(0);
    }
    let places = if reading.descending {
        rows.owned_back(&prefix, &start, reading.after, reading.limit)?
    } else {
        let whole = [prefix.as_slice(), &start].concat();
        // A place that is not among those that begin so is before them all, or behind.
        let after = match reading.after {
            Some(after) if after < start.as_slice() => None,
            Some(after) => match after.strip_prefix(start.as_slice()) {
                Some(rest) => Some(rest),
                None => return Ok(Vec::new()),
            },
            None => None,
        };
        let found = rows.owned(&whole, after, reading.limit)?;
        found.into_iter().map(|rest| [start.as_slice(), &rest].concat()).collect()
    };
    let mut items = Vec::with_capacity(places.len());
    for place in places {
        let id = place.len().checked_sub(TAIL).map(|end| &place[end + 1..]).ok_or_else(corrupt)?;
        let id = R::Id::from_key(id).ok_or_else(corrupt)?;
        let bytes = rows.row(R::TYPE, &id.to_key())?.ok_or_else(corrupt)?;
        items.push((place, record::decode::<R>(&bytes)?));
    }
    Ok(items)
}
