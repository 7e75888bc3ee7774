//! The audit: one entry per mutation, each holding the digest of the one before.

use super::RecordKey;
use perseat_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

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
}
