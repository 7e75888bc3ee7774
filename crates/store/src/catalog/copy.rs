//! A copy of the catalog as of one moment.

use super::grants::GRANTS;
use super::superseded::SUPERSEDED;
use super::tables::{AUDIT, META, OUTBOX, OWNED, PENDING_DESTRUCTION, UNIQUE};
use super::{Catalog, RecordType};
use crate::copy;
use crate::error::StoreError;
use std::fs::File;

impl Catalog {
    /// Copies everything of one moment into an empty file; gives its revision. Writers go on meanwhile.
    ///
    /// # Errors
    /// If the disk fails, or holds a table that this version does not know.
    pub fn copy_to(&self, file: File) -> Result<u64, StoreError> {
        let view = self.view()?;
        copy::into_file(&view.transaction, file, |copy| {
            for kind in RecordType::ALL {
                copy.table(kind.table(), |_, _| Ok(()))?;
            }
            for table in [UNIQUE, SUPERSEDED, GRANTS] {
                copy.table(table, |_, _| Ok(()))?;
            }
            for table in [OWNED, PENDING_DESTRUCTION] {
                copy.table(table, |_, _| Ok(()))?;
            }
            for table in [AUDIT, OUTBOX] {
                copy.table(table, |_, _| Ok(()))?;
            }
            copy.table(META, |_, _| Ok(()))
        })?;
        view.revision()
    }
}
