//! The audit: one entry per mutation, each holding the digest of the one before; and the events of the outbox.
//!
//! Entries hold digests of stored forms, in which secrets are sealed: the chain verifies after their keys are gone. What
//! the changed records are called stands in sealed details: what a user's are called goes with the user's key, the rest with the
//! organization's.

use super::{RecordKey, RecordType, Touched};
use crate::error::StoreError;
use aws_lc_rs::digest::{Context, SHA256, digest};
use perseat_domain::id::UserId;
use perseat_domain::model::Sealed;
use perseat_domain::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    /// It is new.
    Created,
    /// It replaced an older form.
    Changed,
    /// It is gone.
    Deleted,
}

impl ChangeKind {
    fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
        }
    }
}

/// One changed record: which, how, and the SHA-256 digest of its new stored form (zero if gone).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordDigest {
    /// Which record.
    pub key: RecordKey,
    /// How it changed.
    pub kind: ChangeKind,
    /// Of the new stored form.
    pub digest: [u8; 32],
}

/// The final hash of a sealed journal segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentHash {
    /// The segment's number.
    pub number: u32,
    /// SHA-256, as the segment's seal holds it.
    pub hash: [u8; 32],
}

/// One mutation, as audited. Holds digests, never values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The revision that the mutation made.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What they did.
    pub action: String,
    /// How many records changed.
    pub count: u64,
    /// The changed records, as many as one entry names.
    pub changes: Vec<RecordDigest>,
    /// SHA-256 over all changed records in order, named or not.
    pub changes_digest: [u8; 32],
    /// SHA-256 of the stored form of the entry before; zero in the first.
    pub previous: [u8; 32],
    /// What the changed records are called.
    pub details: Option<SealedDetails>,
    /// Journal segments that were sealed since the entry before that has any.
    pub segments: Vec<SegmentHash>,
}

/// What the changed records of one entry are called, sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedDetails {
    /// All of it but what users' own records are called, by the organization's key under [`detail_record_id`].
    pub shared: Sealed,
    /// What users' own records are called, each by the key of the user under the same id.
    pub people: Vec<(UserId, Sealed)>,
}

/// What the changed records of one entry are called, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Details {
    /// `changes`, the first of them in their order, and `more`, how many there are besides.
    pub(crate) shared: String,
    /// What users' own records are called: a list of the place among `changes` and of what belongs there.
    pub(crate) people: BTreeMap<UserId, String>,
}

impl Details {
    /// Both together, as far as the keys of people are there.
    pub(crate) fn joined(self) -> Option<String> {
        let mut shared: Value = serde_json::from_str(&self.shared).ok()?;
        for text in self.people.values() {
            let named: Vec<Named> = serde_json::from_str(text).ok()?;
            for (place, fields) in named {
                shared.get_mut("changes")?.get_mut(place)?.as_object_mut()?.extend(fields);
            }
        }
        Some(shared.to_string())
    }
}

/// The record id under which an entry's details are sealed.
#[must_use]
pub fn detail_record_id(revision: u64) -> [u8; 8] {
    revision.to_be_bytes()
}

/// One mutation, as told to others. Kept for a time; see [`super::Options::outbox_entries`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The revision that the mutation made.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What they did.
    pub action: String,
    /// To which records.
    pub touched: Touched,
}

/// What is kept by revision: one byte format, then postcard.
pub(super) trait Numbered: Serialize + DeserializeOwned {
    /// The format.
    const FORMAT: u8;
    /// The name in errors.
    const NAME: &'static str;
}

impl Numbered for AuditEntry {
    const FORMAT: u8 = 3;
    const NAME: &'static str = "audit entry";
}

impl Numbered for Event {
    const FORMAT: u8 = 1;
    const NAME: &'static str = "event";
}

/// The stored form of an audit entry or event.
pub(super) fn encode<T: Numbered>(value: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(value, vec![T::FORMAT]).map_err(|error| StoreError::corrupt(format!("{} to be stored: {error}", T::NAME)))
}

/// Reads the stored form.
pub(super) fn decode<T: Numbered>(bytes: &[u8]) -> Result<T, StoreError> {
    let (format, body) = bytes.split_first().ok_or_else(|| StoreError::corrupt(T::NAME))?;
    if *format != T::FORMAT {
        return Err(StoreError::UnknownFormat {
            what: T::NAME,
            found: (*format).into(),
            known: T::FORMAT.into(),
        });
    }
    postcard::from_bytes(body).map_err(|_| StoreError::corrupt(T::NAME))
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    taken(&digest(&SHA256, bytes))
}

fn taken(digest: &aws_lc_rs::digest::Digest) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

/// A place among the changes, and what belongs there.
type Named = (usize, Map<String, Value>);

/// The changes of one mutation so far, in bounded memory.
pub(super) struct Ledger {
    limit: usize,
    count: u64,
    named: Vec<RecordDigest>,
    all: Context,
    described: Vec<Value>,
    /// What users' own records are called, by their place in `described`.
    people: BTreeMap<UserId, Vec<Named>>,
    /// How much may be added to both, as text.
    room: usize,
    segments: Vec<SegmentHash>,
    removes_people: bool,
}

/// What a changed record is called.
pub(super) struct Described<'a> {
    pub(super) id: &'a str,
    /// The user whose alone it is.
    pub(super) person: Option<UserId>,
    /// Field and value.
    pub(super) names: &'a [(&'static str, String, Vec<u8>)],
    /// Stable keys of the variables whose values changed.
    pub(super) values: Vec<&'a str>,
}

impl Ledger {
    /// `limit` records are named, and described in at most `room` bytes.
    pub(super) fn new(limit: usize, room: usize) -> Self {
        Self {
            limit,
            count: 0,
            named: Vec::new(),
            all: Context::new(&SHA256),
            described: Vec::new(),
            people: BTreeMap::new(),
            room,
            segments: Vec::new(),
            removes_people: false,
        }
    }

    /// Keeps what a changed record is called, while there is room.
    pub(super) fn describe(&mut self, record: RecordType, kind: ChangeKind, what: &Described<'_>) {
        if self.room == 0 {
            return;
        }
        let mut shown = Map::new();
        shown.insert("record".to_owned(), record.name().into());
        shown.insert("change".to_owned(), kind.name().into());
        shown.insert("id".to_owned(), what.id.into());
        if !what.values.is_empty() {
            shown.insert("values".to_owned(), json!(what.values));
        }
        let named = what
            .names
            .iter()
            .map(|(field, value, _)| ((*field).to_owned(), value.as_str().into()));
        let (mut apart, place) = (Map::new(), self.described.len());
        match what.person {
            Some(_) => apart.extend(named),
            None => shown.extend(named),
        }
        let shown = Value::Object(shown);
        let length = shown.to_string().len() + json!(apart).to_string().len();
        match self.room.checked_sub(length) {
            Some(room) => {
                self.room = room;
                self.described.push(shown);
                if let Some(person) = what.person.filter(|_| !apart.is_empty()) {
                    self.people.entry(person).or_default().push((place, apart));
                }
            }
            // What comes later is not described either: nothing is left out in between.
            None => self.room = 0,
        }
    }

    /// Notes sealed segments.
    pub(super) fn attest(&mut self, segments: &[SegmentHash]) {
        self.segments.extend_from_slice(segments);
    }

    /// The newest of the segments that were noted.
    pub(super) fn attested(&self) -> Option<u32> {
        self.segments.iter().map(|segment| segment.number).max()
    }

    /// What the changed records are called, if any changed.
    pub(super) fn details(&self) -> Option<Details> {
        let more = self.count - self.described.len() as u64;
        let people = self.people.iter().map(|(person, named)| (*person, json!(named).to_string()));
        (self.count > 0).then(|| Details {
            shared: json!({ "changes": self.described, "more": more }).to_string(),
            people: people.collect(),
        })
    }

    /// Notes a change; `stored` is the new stored form, empty if the record is gone.
    pub(super) fn note(&mut self, key: RecordKey, kind: ChangeKind, stored: &[u8]) {
        let digest = if stored.is_empty() { [0; 32] } else { sha256(stored) };
        let (table, id, _) = key.parts();
        self.all.update(&[table as u8, kind as u8]);
        self.all.update(&id);
        self.all.update(&digest);
        self.count += 1;
        self.removes_people |= kind == ChangeKind::Deleted && matches!(table, RecordType::User | RecordType::Customer);
        if self.named.len() < self.limit {
            self.named.push(RecordDigest { key, kind, digest });
        }
    }

    /// Whether a user or a customer is gone.
    pub(super) fn removes_people(&self) -> bool {
        self.removes_people
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0 && self.segments.is_empty()
    }

    pub(super) fn touched(&self) -> Touched {
        if self.count > self.named.len() as u64 {
            return Touched::Everything;
        }
        Touched::Records(self.named.iter().map(|change| change.key).collect())
    }

    /// The entry that says it all.
    pub(super) fn entry(self, revision: u64, change: super::Change<'_>, previous: [u8; 32], details: Option<SealedDetails>) -> AuditEntry {
        AuditEntry {
            revision,
            at: change.at,
            by: change.by.to_owned(),
            action: change.action.to_owned(),
            count: self.count,
            changes: self.named,
            changes_digest: taken(&self.all.finish()),
            previous,
            details,
            segments: self.segments,
        }
    }
}
