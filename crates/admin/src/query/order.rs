//! Lists in the order that a client names.
//!
//! Orders that an index has cost what one page costs, however long the list is. Any other order is made of all that match, as
//! long as no more than the scan limit have to be looked at; past it the list is refused in that order, not cut.

use super::{Listed, PageRequest, Reader, cursor_of, id_of, unknown_cursor};
use crate::fault::Fault;
use perseat_store::catalog::{Page, Reading, Record, RecordId, Sorted, SortedRecord};
use perseat_store::error::StoreError;
use std::cmp::{Ordering, Reverse};

/// One term of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order<F> {
    /// By what.
    pub field: F,
    /// From the last to the first.
    pub descending: bool,
}

/// By what customers are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of a customer")]
pub enum CustomerField {
    CreatedAt,
    Description,
    Name,
    UpdatedAt,
}

/// By what users are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of a user")]
pub enum UserField {
    CreatedAt,
    Customer,
    Email,
    Name,
    Role,
    UpdatedAt,
}

/// By what instances are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of an instance")]
pub enum InstanceField {
    CreatedAt,
    Customer,
    Description,
    Enabled,
    Integration,
    Name,
    UpdatedAt,
    Version,
}

/// By what integrations are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of an integration")]
pub enum IntegrationField {
    Category,
    CreatedAt,
    Customer,
    Description,
    Name,
    UpdatedAt,
    VersionNumber,
}

/// By what user configurations are ordered: their own times, and their users' fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of a user configuration")]
pub enum UserConfigField {
    CreatedAt,
    Email,
    ExternalId,
    Name,
    UpdatedAt,
}

/// What records are compared by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Number(u64),
    Text(String),
}

impl Key {
    /// Texts are compared without regard to case, as the indexes do.
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_lowercase())
    }
}

/// The one order that an index may have: of several, the others would have to settle what is equal in the first.
pub(super) fn only<F: Copy>(order: &[Order<F>]) -> Option<Order<F>> {
    match order {
        [one] => Some(*one),
        _ => None,
    }
}

/// A page by id as places and records.
pub(super) fn by_id<R: Record>(
    after: Option<&[u8]>,
    read: impl FnOnce(Option<R::Id>) -> Result<Page<R, R::Id>, StoreError>,
) -> Result<Vec<(Vec<u8>, R)>, Fault> {
    let after = after.map(|after| R::Id::from_key(after).ok_or_else(unknown_cursor)).transpose()?;
    let page = read(after)?;
    Ok(page.items.into_iter().map(|item| (item.record_id().to_key(), item)).collect())
}

/// Records in the order of an index, and what they begin with.
pub(super) struct Indexed<'t, R> {
    pub(super) by: Sorted<R>,
    pub(super) starts_with: &'t str,
    pub(super) whole: bool,
    pub(super) descending: bool,
}

impl<R: SortedRecord> Indexed<'_, R> {
    pub(super) fn reading<'r>(&'r self, after: Option<&'r [u8]>, limit: usize) -> Reading<'r> {
        Reading {
            starts_with: self.starts_with,
            whole: self.whole,
            after,
            descending: self.descending,
            limit,
        }
    }
}

impl Reader<'_> {
    /// Walks a list by place until a page is full, the list ends, or too much was looked at.
    pub(super) fn walk<R: Record>(
        &self,
        request: &PageRequest,
        fetch: impl Fn(Option<&[u8]>, usize) -> Result<Vec<(Vec<u8>, R)>, Fault>,
        mut keep: impl FnMut(&R) -> Result<bool, Fault>,
    ) -> Result<Listed<R>, Fault> {
        let mut after = request
            .after
            .as_deref()
            .filter(|cursor| !cursor.is_empty())
            .map(place_of)
            .transpose()?;
        let first = self.first(request);
        let (mut items, mut looked_at) = (Vec::new(), 0);
        let limit = self.limits.page.max(1);
        loop {
            let page = fetch(after.as_deref(), limit)?;
            let ends = page.len() < limit;
            for (place, record) in page {
                if items.len() == first || looked_at == self.limits.scan {
                    return Ok(Listed {
                        items,
                        has_next: true,
                        end: after.as_deref().map(cursor),
                    });
                }
                looked_at += 1;
                if keep(&record)? {
                    items.push((cursor(&place), record));
                }
                after = Some(place);
            }
            if ends {
                return Ok(Listed {
                    items,
                    has_next: false,
                    end: after.as_deref().map(cursor),
                });
            }
        }
    }

    /// Everything that matches, in an order that no index has.
    pub(super) fn arranged<R: Record, F: Copy>(
        &self,
        request: &PageRequest,
        order: &[Order<F>],
        fetch: impl Fn(Option<&[u8]>, usize) -> Result<Vec<(Vec<u8>, R)>, Fault>,
        mut keep: impl FnMut(&R) -> Result<bool, Fault>,
        key: impl Fn(F, &R) -> Result<Key, Fault>,
    ) -> Result<Listed<R>, Fault> {
        let (mut found, mut after, mut looked_at) = (Vec::new(), None, 0);
        let limit = self.limits.page.max(1);
        loop {
            let page = fetch(after.as_deref(), limit)?;
            let ends = page.len() < limit;
            after = page.last().map(|(place, _)| place.clone());
            looked_at += page.len();
            if looked_at > self.limits.scan {
                let message = format!(
                    "More than {} records would have to be put in this order: narrow the list, or order it by name or e-mail address alone.",
                    self.limits.scan
                );
                return Err(Fault::field("sortBy", message));
            }
            for (_, record) in page {
                if keep(&record)? {
                    let keys = order.iter().map(|term| key(term.field, &record)).collect::<Result<Vec<_>, _>>()?;
                    found.push((keys, record));
                }
            }
            if ends {
                break;
            }
        }
        found.sort_by(|one, other| {
            let terms = order.iter().zip(one.0.iter().zip(&other.0));
            let by_terms = terms.map(|(term, (one, other))| match term.descending {
                true => Reverse(one).cmp(&Reverse(other)),
                false => one.cmp(other),
            });
            by_terms.fold(Ordering::Equal, Ordering::then)
        });
        let begin = match request.after.as_deref().filter(|cursor| !cursor.is_empty()) {
            None => 0,
            Some(cursor) => {
                let last = id_of::<R::Id>(cursor)?.to_key();
                let place = found.iter().position(|(_, record)| record.record_id().to_key() == last);
                place.ok_or_else(unknown_cursor)? + 1
            }
        };
        let first = self.first(request);
        let has_next = found.len() > begin + first;
        let page = found.into_iter().skip(begin).take(first);
        let items: Vec<(String, R)> = page.map(|(_, record)| (cursor_of(record.record_id()), record)).collect();
        Ok(Listed {
            end: items.last().map(|(cursor, _)| cursor.clone()),
            items,
            has_next,
        })
    }
}

fn cursor(place: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(place)
}

fn place_of(cursor: &str) -> Result<Vec<u8>, Fault> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(cursor)
        .map_err(|_| unknown_cursor())
}
