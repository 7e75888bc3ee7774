//! Copies of databases as of one moment.
//!
//! A copy holds rows, not pages: what was deleted is not in it.

use crate::error::StoreError;
use redb::backends::FileBackend;
use redb::{Builder, Database, Key, ReadTransaction, ReadableTable, TableDefinition, TableError, TableHandle, Value, WriteTransaction};
use std::collections::BTreeSet;
use std::fs::File;

/// Page cache of the copy while it is written.
const CACHE: usize = 8 << 20;

/// Puts what `work` copies into a new database in an empty file, which is whole and closed when this returns.
pub(crate) fn into_file<T>(
    source: &ReadTransaction,
    file: File,
    work: impl FnOnce(&mut Copy<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    let target: Database = builder.create_with_backend(FileBackend::new(file)?)?;
    into_transaction(source, target.begin_write()?, work)
}

/// Puts what `work` copies into a database by the one transaction that is given, and commits it.
pub(crate) fn into_transaction<T>(
    source: &ReadTransaction,
    target: WriteTransaction,
    work: impl FnOnce(&mut Copy<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut copy = Copy {
        source,
        target: &target,
        copied: BTreeSet::new(),
    };
    let value = work(&mut copy)?;
    copy.check_complete()?;
    target.commit()?;
    Ok(value)
}

/// One copy in progress.
pub(crate) struct Copy<'t> {
    source: &'t ReadTransaction,
    target: &'t WriteTransaction,
    copied: BTreeSet<String>,
}

impl Copy<'_> {
    /// Copies a table; `look` sees each row.
    pub(crate) fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        definition: TableDefinition<'_, K, V>,
        mut look: impl FnMut(K::SelfType<'_>, V::SelfType<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (source, mut target) = (self.source.open_table(definition)?, self.target.open_table(definition)?);
        for row in source.iter()? {
            let (key, value) = row?;
            look(key.value(), value.value())?;
            target.insert(key.value(), value.value())?;
        }
        self.copied.insert(definition.name().to_owned());
        Ok(())
    }

    /// As [`Copy::table`], where there is one.
    pub(crate) fn table_if_there<K: Key + 'static, V: Value + 'static>(
        &mut self,
        definition: TableDefinition<'_, K, V>,
        look: impl FnMut(K::SelfType<'_>, V::SelfType<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self.source.open_table(definition) {
            Err(TableError::TableDoesNotExist(_)) => Ok(()),
            _ => self.table(definition, look),
        }
    }

    /// Copies a table; `change` gives what stands for each row, if anything does.
    pub(crate) fn changed(
        &mut self,
        definition: TableDefinition<'_, &'static [u8], &'static [u8]>,
        mut change: impl FnMut(&[u8], &[u8]) -> Result<Option<Vec<u8>>, StoreError>,
    ) -> Result<(), StoreError> {
        let (source, mut target) = (self.source.open_table(definition)?, self.target.open_table(definition)?);
        for row in source.iter()? {
            let (key, value) = row?;
            if let Some(row) = change(key.value(), value.value())? {
                target.insert(key.value(), row.as_slice())?;
            }
        }
        self.copied.insert(definition.name().to_owned());
        Ok(())
    }

    /// Makes a table without its rows.
    pub(crate) fn left_empty<K: Key + 'static, V: Value + 'static>(
        &mut self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<(), StoreError> {
        self.target.open_table(definition)?;
        self.copied.insert(definition.name().to_owned());
        Ok(())
    }

    /// Adds a number to a table of the copy.
    pub(crate) fn insert(&mut self, definition: TableDefinition<'_, &'static str, u64>, key: &str, number: u64) -> Result<(), StoreError> {
        self.target.open_table(definition)?.insert(key, number)?;
        Ok(())
    }

    /// Copies every table that was not copied yet, whichever of the catalog's shapes it has.
    pub(crate) fn all(&mut self) -> Result<(), StoreError> {
        let mut names: Vec<String> = self.source.list_tables()?.map(|table| table.name().to_owned()).collect();
        names.retain(|name| !self.copied.contains(name));
        for name in &names {
            let _is_copied = self.shaped::<&[u8], &[u8]>(name)?
                || self.shaped::<&[u8], ()>(name)?
                || self.shaped::<u64, &[u8]>(name)?
                || self.shaped::<&str, u64>(name)?;
        }
        Ok(())
    }

    /// Takes a row out of the copy.
    pub(crate) fn without<K: Key + 'static, V: Value + 'static>(
        &mut self,
        definition: TableDefinition<'_, K, V>,
        key: K::SelfType<'_>,
    ) -> Result<(), StoreError> {
        self.target.open_table(definition)?.remove(key)?;
        Ok(())
    }

    /// Copies a table if it has this shape.
    fn shaped<K: Key + 'static, V: Value + 'static>(&mut self, name: &str) -> Result<bool, StoreError> {
        match self.table(TableDefinition::<K, V>::new(name), |_, _| Ok(())) {
            Ok(()) => Ok(true),
            Err(StoreError::Database(error)) if is_of_another_shape(&*error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A table that nobody copied would be lost without a word.
    fn check_complete(&self) -> Result<(), StoreError> {
        for table in self.source.list_tables()? {
            if !self.copied.contains(table.name()) {
                return Err(StoreError::corrupt(format!(
                    "the table {} (it is not known, and so the file)",
                    table.name()
                )));
            }
        }
        Ok(())
    }
}

fn is_of_another_shape(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(TableError::TableTypeMismatch { .. }))
}
