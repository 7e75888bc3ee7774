//! The keyring file: a header page, then slots.

use crate::error::StoreError;
use std::fs::File;
use std::path::Path;

/// The file as its one writer sees it.
pub(super) struct KeyringFile {}

/// Makes a new name in a folder durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok(File::open(parent)?.sync_all()?)
}
