//! A copy of the catalog as of one moment.

use super::Catalog;
use crate::copy;
use crate::error::StoreError;
use std::fs::File;

impl Catalog {
    /// Copies everything of one moment into an empty file; gives its revision. Writers go on meanwhile.
    ///
    /// # Errors
    /// If the disk fails, or holds a table of a shape that this version does not know.
    pub fn copy_to(&self, file: File) -> Result<u64, StoreError> {
        let view = self.view()?;
        copy::into_file(&view.transaction, file, |copy| copy.all())?;
        view.revision()
    }
}
