//! Holds a data directory at rest, or a backup, against itself; reads only.
//!
//! Everything that is redundant is compared: checksums with bytes, frames with their numbers, the indexes with the journal, the catalog's
//! lists with its records, the audit with what it says was written, keys with their owners. What does not fit is a finding that names
//! the place; what a start puts right by itself is counted and no finding.

mod executions;
mod journal;
mod keys;
mod media;

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use perseat_store::catalog::{Catalog, CatalogReport, Gone};
use perseat_store::error::StoreError;
use perseat_store::findings::Findings;
use perseat_store::folder::Folder;
use perseat_store::keyring::{Keyring, MasterKey, Owner};
use perseat_store::read_only::ReadOnlyDirectory;
use perseat_store::state::{StateOptions, StateStore};

use crate::backup::manifest::{INCOMPLETE, Manifest, NAME};
use crate::backup::{Hasher, PIECE, amount};
use crate::boot::data::DataDirectory;
use crate::boot::stores::{journal_directory, media_directory};

/// Findings that are listed.
const LISTED: usize = 1_000;

/// What is verified.
#[derive(Debug)]
pub struct Subject<'s> {
    /// A data directory, or a backup.
    pub directory: &'s Path,
    /// The keyring; that of the directory where none is given.
    pub keyring: Option<&'s Path>,
    /// The master key, to open keys and sealed values.
    pub master_key: Option<MasterKey>,
    /// How the catalog is opened.
    pub catalog: perseat_store::catalog::Options,
    /// How the keyring is opened.
    pub keys: perseat_store::keyring::Options,
}

/// What was checked, a line a part, and what was found.
#[derive(Debug)]
pub struct Report {
    lines: Vec<(&'static str, String)>,
    /// What does not fit.
    pub findings: Findings,
    /// Whether something was not looked into.
    is_partial: bool,
}

impl Report {
    fn say(&mut self, part: &'static str, said: impl Into<String>) {
        self.lines.push((part, said.into()));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (part, said) in &self.lines {
            writeln!(f, "{part:<9} {said}")?;
        }
        let listed = self.findings.listed();
        if listed.is_empty() {
            let what = if self.is_partial { "what was looked into" } else { "everything" };
            return write!(f, "\n{what} fits");
        }
        writeln!(f, "\n{} findings:", self.findings.count())?;
        listed.iter().try_for_each(|finding| writeln!(f, "  {finding}"))?;
        match self.findings.count() - listed.len() as u64 {
            0 => Ok(()),
            more => write!(f, "  and {more} more"),
        }
    }
}

/// Verifies.
///
/// # Errors
/// If it is in use, or neither a data directory nor a backup, or cannot be read at all. What does not fit is a finding.
pub fn verify(subject: &mut Subject<'_>) -> anyhow::Result<Report> {
    let directory = subject.directory;
    let is_backup = [NAME, INCOMPLETE].iter().any(|name| directory.join(name).exists());
    if !is_backup && !directory.join("catalog.redb").exists() && !directory.join("state.redb").exists() {
        // The manifest's own sentence: a backup of which nothing is left is no backup.
        Manifest::read(directory)?;
    }
    let _held = if is_backup { None } else { DataDirectory::look(directory)? };
    let mut report = Report {
        lines: Vec::new(),
        findings: Findings::new(LISTED),
        is_partial: false,
    };
    let manifest = is_backup.then(|| Manifest::read(directory)).transpose()?;
    let damaged = match &manifest {
        Some(manifest) => hashes(directory, manifest, &mut report),
        None => Vec::new(),
    };
    let folder = ReadOnlyDirectory::new(directory);
    // What is known not to be what was written is not looked into.
    let mut is_sound = |name: &str| !damaged.iter().any(|file| file == name) && pages(&folder, name, &mut report.findings);
    let is_served = is_backup || directory.join("state.redb").exists() || journal_directory(directory).exists();
    let (catalog_is_sound, state_is_sound) = (is_sound("catalog.redb"), is_served && is_sound("state.redb"));
    let keyring = subject.keyring.map(Path::to_owned).or_else(|| {
        let own = directory.join("keyring");
        own.exists().then_some(own)
    });
    if keyring.is_none() && manifest.is_none() {
        report.findings.add("keyring: the file is missing");
    }
    let opened = open_keys(subject, keyring.as_deref(), &mut report.findings)?;
    let catalog = if catalog_is_sound {
        let place = Place {
            subject,
            folder: &folder,
            manifest: manifest.as_ref(),
            damaged: &damaged,
        };
        check_catalog(&place, opened.as_ref(), &mut report)
    } else {
        None
    };
    let journal_is_sound = !damaged.iter().any(|file| file.starts_with("journal/"));
    if !is_served {
        report.say("journal", "none yet: no daemon ran on this directory");
    } else if journal_is_sound {
        let state = state_is_sound.then_some(&folder);
        journal_and_indexes(directory, manifest.as_ref(), state, &mut report)?;
    }
    match keyring {
        Some(path) => keys::check(&path, opened.as_ref(), catalog.as_ref(), manifest.as_ref(), &mut report),
        None => report.say("keyring", "not given: --keyring FILE"),
    }
    Ok(report)
}

/// Holds every file against the manifest; gives those that do not fit.
fn hashes(directory: &Path, manifest: &Manifest, report: &mut Report) -> Vec<String> {
    let mut damaged = Vec::new();
    for file in &manifest.files {
        match hash(&directory.join(&file.name)) {
            Ok((bytes, sha256)) if bytes == file.bytes && sha256 == file.sha256 => continue,
            Ok((bytes, _)) if bytes != file.bytes => {
                let name = &file.name;
                report
                    .findings
                    .add(format_args!("{name}: it has {bytes} bytes; the manifest says {}", file.bytes));
            }
            Ok(_) => report.findings.add(format_args!("{}: its hash is not the manifest's", file.name)),
            Err(error) => report.findings.add(format_args!("{}: {error}", file.name)),
        }
        damaged.push(file.name.clone());
    }
    let fitting = manifest.files.len() - damaged.len();
    let said = format!(
        "{fitting} of {} files as the manifest says, {}",
        manifest.files.len(),
        amount(manifest.bytes())
    );
    report.say("backup", said);
    damaged
}

fn hash(path: &Path) -> std::io::Result<(u64, String)> {
    let (mut file, mut hasher, mut bytes) = (File::open(path)?, Hasher::default(), 0);
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok((bytes, hasher.finish()));
        }
        hasher.update(&piece[..read]);
        bytes += read as u64;
    }
}

/// Whether a database is whole.
fn pages(folder: &ReadOnlyDirectory, name: &str, findings: &mut Findings) -> bool {
    match folder.check_pages(name) {
        Ok(true) => return true,
        Ok(false) => findings.add(format_args!("{name}: pages do not fit their checksums")),
        Err(error) => findings.add(format_args!("{name}: it does not open: {}", chain(&error))),
    }
    false
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// The keyring, unlocked; `None` without one or without the master key.
fn open_keys(subject: &mut Subject<'_>, path: Option<&Path>, findings: &mut Findings) -> anyhow::Result<Option<Keyring>> {
    let (Some(path), Some(master)) = (path, subject.master_key.take()) else {
        return Ok(None);
    };
    match Keyring::look(path, master, &subject.keys) {
        Ok(keyring) => Ok(Some(keyring)),
        Err(error @ perseat_store::StoreError::WrongMasterKey) => Err(error).context(path.display().to_string()),
        Err(error) => {
            findings.add(format_args!("keyring: it does not open: {}", chain(&error)));
            Ok(None)
        }
    }
}

/// Where the catalog is, and what is known of the files around it.
struct Place<'p> {
    subject: &'p Subject<'p>,
    folder: &'p ReadOnlyDirectory,
    manifest: Option<&'p Manifest>,
    /// Files that are not what the manifest says.
    damaged: &'p [String],
}

fn check_catalog(place: &Place<'_>, keys: Option<&Keyring>, report: &mut Report) -> Option<CatalogReport> {
    let folder: Arc<dyn Folder> = Arc::new(place.folder.clone());
    let options = place.subject.catalog.clone();
    let opened = match keys {
        Some(keys) => Catalog::open_copy(folder, "catalog.redb", options, keys),
        None => Catalog::open_in(folder, "catalog.redb", options).map(|catalog| (catalog, Gone::default())),
    };
    let checked = opened.and_then(|(catalog, gone)| Ok((catalog.check(keys, &mut report.findings)?, catalog, gone)));
    let (checked, catalog, gone) = match checked {
        Ok(checked) => checked,
        Err(StoreError::SealedCopy) => {
            report.say(
                "catalog",
                "not looked into: what belongs to users is sealed with their keys; the keyring and the master key open it",
            );
            report.is_partial = true;
            return None;
        }
        Err(error) => {
            report.findings.add(format_args!("catalog.redb: {}", chain(&error)));
            return None;
        }
    };
    let records: Vec<String> = checked
        .records
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    report.say(
        "catalog",
        format!(
            "revision {}: {}; {} index rows, {} references, {} earlier values, {} grants",
            checked.revision,
            records.join(", "),
            checked.index_rows,
            checked.references,
            checked.superseded,
            checked.grants
        ),
    );
    for user in &gone.damaged {
        report
            .findings
            .add(format_args!("keyring: the key of {} does not read or open", Owner::User(*user)));
    }
    let deleted = gone.users.keys().filter(|user| !gone.damaged.contains(user)).count();
    if deleted > 0 {
        let said = format!("{deleted} were deleted after the backup; a restore takes out what is left of them");
        report.say("users", said);
    }
    report.say(
        "audit",
        format!(
            "{} entries in a chain, {} records as they say",
            checked.audit_entries, checked.digests
        ),
    );
    if keys.is_some() {
        report.say(
            "values",
            format!("{} sealed connections, API keys and tokens of grants open", checked.opened),
        );
    }
    let media = media_directory(place.subject.directory);
    if let Err(error) = media::check(&media, &catalog, keys, place.manifest, place.damaged, report) {
        report.findings.add(format_args!("media: {}", chain(&error)));
    }
    Some(checked)
}

fn journal_and_indexes(
    directory: &Path,
    manifest: Option<&Manifest>,
    state: Option<&ReadOnlyDirectory>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let path: PathBuf = journal_directory(directory);
    if !path.is_dir() {
        if manifest.is_none_or(|manifest| manifest.files.iter().any(|file| file.name.starts_with("journal/"))) {
            bail!("{} has no journal", directory.display());
        }
        return Ok(());
    }
    let segments = journal::check(&path, manifest, report)?;
    let Some(folder) = state else { return Ok(()) };
    let folder: Arc<dyn Folder> = Arc::new(folder.clone());
    match StateStore::open_in(folder, "state.redb", &StateOptions::default()) {
        Ok(state) => {
            let history = directory.join("history");
            let history = history.is_dir().then_some(history);
            if let Err(error) = executions::check(&segments, &state, history.as_deref(), report) {
                report.findings.add(format_args!("the indexes cannot be read: {}", chain(&error)));
            }
        }
        Err(error) => report.findings.add(format_args!("state.redb: {}", chain(&error))),
    }
    Ok(())
}
