//! The tables of one history file and the reads over them.

use crate::error::StoreError;
use crate::index::core::EndedRow;
use crate::index::fault::IndexError;
use crate::index::file::IndexFile;
use crate::index::row::ExecutionRow;
use crate::index::status::Filter;
use perseat_domain::id::ExecutionId;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, TableError};
use uuid::Uuid;

const EXECUTIONS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("executions");
/// (instance, execution); ids are version 7, so they begin with the time.
const BY_INSTANCE: TableDefinition<'_, (u128, u128), ()> = TableDefinition::new("by_instance");
/// (user configuration, execution).
const BY_USER: TableDefinition<'_, (u128, u128), ()> = TableDefinition::new("by_user");

/// There while the file lacks rows that the journal has.
const INCOMPLETE: TableDefinition<'_, (), ()> = TableDefinition::new("incomplete");

/// What a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) rows: u64,
    /// The lowest and the highest id.
    pub(super) ids: Option<(ExecutionId, ExecutionId)>,
}

impl Range {
    /// Whether ids of these bounds may be in it.
    pub(super) fn meets(&self, bounds: &std::ops::Range<u128>) -> bool {
        self.ids
            .is_some_and(|(lowest, highest)| lowest.0.as_u128() < bounds.end && bounds.start <= highest.0.as_u128())
    }

    pub(super) fn contains(&self, execution: ExecutionId) -> bool {
        self.ids
            .is_some_and(|(lowest, highest)| lowest <= execution && execution <= highest)
    }
}

/// What a search in one file found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) rows: Vec<(ExecutionId, ExecutionRow)>,
    /// The last row that was looked at, if not all were.
    pub(super) stopped_at: Option<ExecutionId>,
    /// Whether a row was passed over that does not decode.
    pub(super) is_damaged: bool,
}

/// Stores rows, which come in the order of their ids, in one transaction, which also makes the tables. Each table takes its rows in the
/// order of its keys: a page is done with before the next one begins, however few of them the cache holds. A file that `lacks_rows`
/// says so from this transaction on.
pub(super) fn apply(file: &IndexFile, ended: &[&EndedRow], lacks_rows: bool) -> Result<Range, IndexError> {
    let mut of_instances = Vec::with_capacity(ended.len());
    let mut of_users = Vec::with_capacity(ended.len());
    for EndedRow { execution, row, .. } in ended {
        if let Some(identity) = &row.identity {
            of_instances.push((identity.instance.0.as_u128(), execution.0.as_u128()));
            of_users.extend(identity.user.map(|user| (user.config.0.as_u128(), execution.0.as_u128())));
        }
    }
    of_instances.sort_unstable();
    of_users.sort_unstable();
    file.write(|transaction| {
        if lacks_rows {
            transaction.open_table(INCOMPLETE)?;
        }
        let mut executions = transaction.open_table(EXECUTIONS)?;
        for EndedRow { execution, row, .. } in ended {
            executions.insert(execution.0.as_u128(), row.encode().as_slice())?;
        }
        for (table, keys) in [(BY_INSTANCE, &of_instances), (BY_USER, &of_users)] {
            let mut table = transaction.open_table(table)?;
            for key in keys {
                table.insert(*key, ())?;
            }
        }
        range_of(&executions)
    })
}

/// The file lacks no rows, and has its tables.
pub(super) fn complete(file: &IndexFile) -> Result<Range, IndexError> {
    file.write(|transaction| {
        transaction.delete_table(INCOMPLETE)?;
        transaction.open_table(BY_INSTANCE)?;
        transaction.open_table(BY_USER)?;
        range_of(&transaction.open_table(EXECUTIONS)?)
    })
}

/// Whether it lacks rows that the journal has.
pub(super) fn lacks_rows(file: &IndexFile) -> Result<bool, IndexError> {
    file.read(|transaction| match transaction.open_table(INCOMPLETE) {
        Ok(_) => Ok(true),
        Err(TableError::TableDoesNotExist(_)) => Ok(false),
        Err(error) => Err(error.into()),
    })
}

/// Gives every row to `look`, and how many rows of both secondary tables lead to none.
pub(super) fn each(file: &IndexFile, mut look: impl FnMut(ExecutionId, Option<ExecutionRow>)) -> Result<u64, IndexError> {
    file.read(|transaction| {
        let executions = transaction.open_table(EXECUTIONS)?;
        let (by_instance, by_user) = (transaction.open_table(BY_INSTANCE)?, transaction.open_table(BY_USER)?);
        let (mut of_instances, mut of_users) = (0, 0);
        for row in executions.iter()? {
            let (key, value) = row?;
            let (execution, row) = (key.value(), ExecutionRow::decode(value.value()));
            if let Some(identity) = row.as_ref().and_then(|row| row.identity) {
                of_instances += u64::from(by_instance.get((identity.instance.0.as_u128(), execution))?.is_some());
                if let Some(user) = identity.user {
                    of_users += u64::from(by_user.get((user.config.0.as_u128(), execution))?.is_some());
                }
            }
            look(id(execution), row);
        }
        Ok(by_instance.len()?.abs_diff(of_instances) + by_user.len()?.abs_diff(of_users))
    })
}

/// Reads what the file holds; fails if it is no history file, or lacks rows.
pub(super) fn range(file: &IndexFile) -> Result<Range, IndexError> {
    if lacks_rows(file)? {
        return Err(IndexError::incomplete(file.name()));
    }
    file.read(|transaction| {
        transaction.open_table(BY_INSTANCE)?;
        transaction.open_table(BY_USER)?;
        range_of(&transaction.open_table(EXECUTIONS)?)
    })
}

fn range_of(executions: &impl ReadableTable<u128, &'static [u8]>) -> Result<Range, StoreError> {
    let lowest = executions.first()?.map(|(key, _)| key.value());
    let highest = executions.last()?.map(|(key, _)| key.value());
    Ok(Range {
        rows: executions.len()?,
        ids: lowest.zip(highest).map(|(lowest, highest)| (id(lowest), id(highest))),
    })
}

/// A row as it is stored.
pub(super) fn get(file: &IndexFile, execution: ExecutionId) -> Result<Option<Vec<u8>>, IndexError> {
    file.read(|transaction| {
        let executions = transaction.open_table(EXECUTIONS)?;
        Ok(executions.get(execution.0.as_u128())?.map(|value| value.value().to_vec()))
    })
}

/// At most `limit` matching rows below `before`, highest id first; looks at no more than `scan_rows`. One row that does not decode must not
/// hide those of others.
pub(super) fn find(
    file: &IndexFile,
    filter: &Filter,
    before: Option<ExecutionId>,
    limit: usize,
    scan_rows: usize,
) -> Result<Found, IndexError> {
    let bounds = filter.id_bounds(before);
    file.read(|transaction| {
        let executions = transaction.open_table(EXECUTIONS)?;
        let mut found = Found::default();
        let mut looked_at = 0;
        for key in keys(transaction, filter, bounds)? {
            let key = key?;
            if found.rows.len() == limit {
                break;
            }
            let Some(stored) = executions.get(key)? else { continue };
            match ExecutionRow::decode(stored.value()) {
                Some(row) if filter.matches(&row) => found.rows.push((id(key), row)),
                Some(_) => {}
                None => found.is_damaged = true,
            }
            looked_at += 1;
            if looked_at == scan_rows {
                found.stopped_at = Some(id(key));
                break;
            }
        }
        Ok(found)
    })
}

type Keys = Box<dyn Iterator<Item = Result<u128, redb::StorageError>>>;

/// The ids within the bounds that the narrowest index gives, highest first.
fn keys(transaction: &ReadTransaction, filter: &Filter, bounds: std::ops::Range<u128>) -> Result<Keys, StoreError> {
    let of_pair = |prefix: u128, table: TableDefinition<'_, (u128, u128), ()>| -> Result<Keys, StoreError> {
        let range = transaction.open_table(table)?.range((prefix, bounds.start)..(prefix, bounds.end))?;
        Ok(Box::new(range.rev().map(|item| item.map(|(key, _)| key.value().1))))
    };
    match (filter.user_config, filter.instance) {
        (Some(config), _) => of_pair(config.0.as_u128(), BY_USER),
        (None, Some(instance)) => of_pair(instance.0.as_u128(), BY_INSTANCE),
        (None, None) => {
            let range = transaction.open_table(EXECUTIONS)?.range(bounds)?;
            Ok(Box::new(range.rev().map(|item| item.map(|(key, _)| key.value()))))
        }
    }
}

fn id(key: u128) -> ExecutionId {
    ExecutionId(Uuid::from_u128(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault_backend::FaultFolder;
    use crate::index::samples::{execution, identity, row};
    use perseat_journal::disk::MemoryDisk;

    /// The `n`th execution, of one of 500 users in turn.
    fn ended(n: u64) -> EndedRow {
        EndedRow {
            execution: execution(1_000 + n, n),
            segment: 1,
            row: ExecutionRow {
                identity: Some(identity(u128::from(n * 7 % 500))),
                ..row(n, 1)
            },
        }
    }

    /// How often the disk is called for ten batches of a thousand.
    fn calls(cache_bytes: usize) -> u64 {
        let disk = MemoryDisk::new(1);
        let file = IndexFile::open(FaultFolder::of(&disk), "history.redb", cache_bytes).unwrap();
        for batch in 0..10 {
            let rows: Vec<EndedRow> = (0..1_000).map(|n| ended(batch * 1_000 + n)).collect();
            apply(&file, &rows.iter().collect::<Vec<_>>(), false).unwrap();
        }
        disk.calls()
    }

    #[test]
    fn a_page_is_done_with_before_the_next_one_begins() {
        let (few_pages, all_pages) = (calls(64 << 10), calls(64 << 20));
        assert!(few_pages < 6 * all_pages, "{few_pages} calls instead of {all_pages}");
    }
}
