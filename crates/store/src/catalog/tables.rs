//! The tables of the catalog's file.

use super::record::RecordType;
use redb::{ReadableTable, TableDefinition};

/// Records, index rows: bytes to bytes.
pub(super) type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;
/// Rows that are all key.
pub(super) type Keys = TableDefinition<'static, &'static [u8], ()>;
/// Rows by revision.
pub(super) type Numbered = TableDefinition<'static, u64, &'static [u8]>;

/// Unique value → id.
pub(super) const UNIQUE: Bytes = TableDefinition::new("unique");
/// Index ‖ owner ‖ id.
pub(super) const OWNED: Keys = TableDefinition::new("owned");
/// Owner kind (1) ‖ id (16) of keys to destroy.
pub(super) const PENDING_DESTRUCTION: Keys = TableDefinition::new("pending_destruction");
/// Audit entries.
pub(super) const AUDIT: Numbered = TableDefinition::new("audit");
/// Events.
pub(super) const OUTBOX: Numbered = TableDefinition::new("outbox");
/// Numbers about the file.
pub(super) const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");

/// Row of `meta`: the format of the file.
pub(super) const FORMAT: &str = "format";
/// Row of `meta`: the number of mutations.
pub(super) const REVISION: &str = "revision";
/// Row of `meta`: which indexes all records have their rows in.
pub(super) const INDEXES: &str = "indexes";

/// Raised with every index that a file from before lacks: it is made anew when such a file is opened.
pub(super) const CATALOG_INDEXES: u64 = 1;

/// Row of `meta`: the newest journal segment whose final hash is in the audit.
pub(super) const ATTESTED: &str = "attested_segment";

/// Row of `meta`: 1 in a copy for a backup, in which rows of users are sealed and nothing is listed.
pub(super) const SEALED: &str = "sealed";
/// Row of `meta`: when the first of the people was removed whose rows may still be read between those of others.
pub(super) const PEOPLE_REMOVED: &str = "people_removed_at";

/// Format of the file.
pub(super) const CATALOG_FORMAT: u64 = 8;

impl RecordType {
    pub(super) fn table(self) -> Bytes {
        TableDefinition::new(match self {
            Self::Organization => "organization",
            Self::Customer => "customer",
            Self::User => "user",
            Self::Integration => "integration",
            Self::IntegrationVersion => "integration_version",
            Self::Instance => "instance",
            Self::UserConfig => "user_config",
            Self::ApiToken => "api_token",
            Self::Media => "media",
            Self::Account => "account",
            Self::Session => "session",
            Self::Letter => "letter",
            Self::SharedConnection => "shared_connection",
            Self::SharedValue => "shared_value",
        })
    }
}

/// Gives rows whose key has `prefix`, after `prefix ‖ after`, until `visit` says stop.
pub(super) fn scan<V: redb::Value + 'static>(
    table: &impl ReadableTable<&'static [u8], V>,
    prefix: &[u8],
    after: Option<&[u8]>,
    mut visit: impl FnMut(&[u8], V::SelfType<'_>) -> bool,
) -> Result<(), redb::StorageError> {
    use std::ops::Bound;
    let start = [prefix, after.unwrap_or_default()].concat();
    let from = match after {
        Some(_) => Bound::Excluded(start.as_slice()),
        None => Bound::Included(start.as_slice()),
    };
    for row in table.range::<&[u8]>((from, Bound::Unbounded))? {
        let (key, value) = row?;
        let Some(rest) = key.value().strip_prefix(prefix) else { break };
        if !visit(rest, value.value()) {
            break;
        }
    }
    Ok(())
}

/// The keys below `prefix ‖ start`, without `prefix`, from the last to the first; those before `prefix ‖ after` alone.
pub(super) fn collect_back(
    table: &impl ReadableTable<&'static [u8], ()>,
    prefix: &[u8],
    start: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Vec<u8>>, redb::StorageError> {
    use std::ops::Bound;
    let first = [prefix, start].concat();
    let behind = after.map(|after| [prefix, after].concat());
    let last = match (end_of(&first), behind) {
        (Some(end), Some(behind)) => Some(end.min(behind)),
        (end, behind) => end.or(behind),
    };
    let end = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut out = Vec::new();
    if matches!(end, Bound::Excluded(end) if end <= first.as_slice()) {
        return Ok(out);
    }
    for row in table.range::<&[u8]>((Bound::Included(first.as_slice()), end))?.rev().take(limit) {
        out.push(row?.0.value()[prefix.len()..].to_vec());
    }
    Ok(out)
}

/// The first key behind all that begin with `prefix`.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end)
}

/// The first `limit` rows of [`scan`], each turned into an owned value.
pub(super) fn collect<V: redb::Value + 'static, T>(
    table: &impl ReadableTable<&'static [u8], V>,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
    take: impl Fn(&[u8], V::SelfType<'_>) -> T,
) -> Result<Vec<T>, redb::StorageError> {
    let mut out = Vec::new();
    if limit > 0 {
        scan(table, prefix, after, |key, value| {
            out.push(take(key, value));
            out.len() < limit
        })?;
    }
    Ok(out)
}
