//! Uploaded files: each against the record that names it, and the folder against the records.

use std::collections::HashSet;
use std::path::Path;

use perseat_domain::id::MediaId;
use perseat_domain::model::Media;
use perseat_store::catalog::Catalog;
use perseat_store::error::StoreError;
use perseat_store::keyring::Keyring;
use perseat_store::media::{Found, MediaFault, MediaFiles, key_of};

use super::{Report, chain};
use crate::backup::amount;
use crate::backup::manifest::Manifest;

/// Checks the folder; files in `damaged` are known not to be what was written.
///
/// # Errors
/// If the catalog or the folder cannot be read. What does not fit is a finding.
pub(super) fn check(
    folder: &Path,
    catalog: &Catalog,
    keys: Option<&Keyring>,
    manifest: Option<&Manifest>,
    damaged: &[String],
    report: &mut Report,
) -> Result<(), StoreError> {
    let files = MediaFiles::look(folder);
    let mut named: HashSet<MediaId> = HashSet::new();
    let (mut bytes, mut opened, mut gone) = (0, 0u64, 0u64);
    catalog.view()?.for_each(|record: Media| {
        named.insert(record.id);
        let name = format!("media/{}", record.id.0.simple());
        if damaged.contains(&name) {
            return Ok(());
        }
        let key = match keys.map(|keys| keys.data_key(key_of(record.owner))).transpose() {
            Ok(key) => key,
            // Whoever has no key is told of apart.
            Err(StoreError::NoKey { .. }) => None,
            Err(error) => {
                report
                    .findings
                    .add(format_args!("{name}: its key cannot be had: {}", chain(&error)));
                return Ok(());
            }
        };
        match files.check(&record, key.as_deref()) {
            Ok(()) => {
                bytes += record.bytes;
                opened += u64::from(key.is_some());
            }
            // What a backup lacks that its manifest does not name was deleted while it was taken.
            Err(MediaFault::Missing) if manifest.is_some_and(|manifest| !manifest.names(&name)) => gone += 1,
            Err(fault) => report.findings.add(format_args!("{name}: {}", chain(&fault))),
        }
        Ok::<_, StoreError>(())
    })?;
    let (mut unused, mut parts) = (0u64, 0u64);
    for found in files.found()? {
        match found {
            Found::File(id) if named.contains(&id) => {}
            Found::File(_) => unused += 1,
            Found::Part => parts += 1,
            Found::Stray(name) => report.findings.add(format_args!("media/{name}: it is no uploaded file")),
        }
    }
    let mut said = format!("{} files as their records say, {}", named.len() as u64 - gone, amount(bytes));
    for (count, what) in [
        (opened, "opened"),
        (gone, "deleted while the backup was taken: a restore takes their records out"),
        (unused, "uploads that nothing has taken up"),
        (parts, "cut off while they were written: the next start removes them"),
    ] {
        if count > 0 {
            said.push_str(&format!("; {count} {what}"));
        }
    }
    report.say("media", said);
    Ok(())
}
