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

/// Format of the file.
pub(super) const CATALOG_FORMAT: u64 = 3;

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
