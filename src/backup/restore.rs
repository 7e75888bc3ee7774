//! Restores a backup with a keyring into an empty directory.
//!
//! The directory is marked from the first file to the last, so that one that was cut off is not served. What was restored is of a
//! higher epoch than what it was taken from, and paused: executions that ended after the backup would do again what they did.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use perseat_domain::definition::{ActionRef, ConfigVar, DataType};
use perseat_domain::grant::{Holder, Rules};
use perseat_domain::model::{ConfigValue, Customer, Instance, Membership, User, UserConfig};
use perseat_domain::sharing::SharedConnection;
use perseat_domain::time::Timestamp;
use perseat_store::catalog::{Catalog, Lookup, View};
use perseat_store::error::StoreError;
use perseat_store::folder::Directory;
use perseat_store::keyring::{Inspected, Keyring, MasterKey, Owner};
use perseat_store::state::{StateOptions, StateStore};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::manifest::{FileEntry, KeyringMark, Manifest};
use super::settle::{By, Gone, Keep, Settled, settle};
use super::write::{create, sync_directory};
use super::{Hasher, PIECE};
use crate::boot::data::{DataDirectory, PAUSED};
use crate::boot::master_key::MasterKeyError;
use crate::boot::stores::media_directory;

/// How to restore.
#[derive(Debug)]
pub struct Restore<'r> {
    /// The backup's directory.
    pub backup: &'r Path,
    /// The newest keyring.
    pub keyring: &'r Path,
    /// How it is opened.
    pub keys: perseat_store::keyring::Options,
    /// Where to; empty.
    pub data: &'r Path,
    /// Whether the daemon goes on at its first start.
    pub resume: bool,
    /// Whether a keyring that is older than the backup is taken all the same.
    pub older_keyring: bool,
    /// Whether those whose keys are damaged are taken out as if they had been deleted.
    pub without_damaged: bool,
    /// Which bearer tokens go on working.
    pub keep: Keep,
    /// Who, as the audit names them.
    pub by: &'r str,
    /// Now.
    pub at: Timestamp,
    /// How what happened to a grant is written down.
    pub rules: Rules,
    /// How the catalog is opened.
    pub catalog: perseat_store::catalog::Options,
}

/// A connection whose refresh token may have been used since the backup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AtRisk {
    /// The customer's name; none for a connection that all customers share.
    pub customer: Option<String>,
    /// The instance's name; none for a shared connection.
    pub instance: Option<String>,
    /// The user's name; none for the customer's own connection.
    pub user: Option<String>,
    /// The variable's name.
    pub connection: String,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// From what.
    pub manifest: Manifest,
    /// The new epoch.
    pub epoch: u64,
    /// What was changed in the catalog.
    pub settled: Settled,
    /// Connections to look after.
    pub at_risk: Vec<AtRisk>,
}

/// Restores.
///
/// # Errors
/// If the backup or the keyring is not whole, they do not belong together, or the directory is not empty. Nothing of what was
/// written stays then.
pub fn restore(options: &Restore<'_>, master_key: Option<MasterKey>) -> anyhow::Result<Restored> {
    let manifest = Manifest::read(options.backup)?;
    let named = || format!("the keyring {}", options.keyring.display());
    let keyring = Inspected::read(options.keyring).with_context(named)?;
    check_keyring(&manifest, &keyring, options.older_keyring)?;
    let directory = DataDirectory::take_empty(options.data)?;
    let mut made = Made::default();
    let keys = master_key
        .ok_or(MasterKeyError::Missing)
        .map_err(anyhow::Error::from)
        .and_then(|key| Keyring::look(options.keyring, key, &options.keys).with_context(named));
    match keys.and_then(|keys| fill(options, &manifest, (&keyring, &keys), &mut made)) {
        Ok(restored) => {
            directory.is_restored()?;
            Ok(restored)
        }
        Err(error) => {
            made.undo();
            if let Err(error) = directory.is_restored() {
                tracing::debug!(%error, "the mark of a restore that failed could not be taken away");
            }
            Err(error)
        }
    }
}

fn check_keyring(manifest: &Manifest, keyring: &Inspected, older: bool) -> anyhow::Result<()> {
    let mark = KeyringMark::from(keyring.mark);
    if mark.id != manifest.keyring.id {
        bail!("this keyring belongs to another data directory than the backup");
    }
    if mark.is_older_than(&manifest.keyring) && !older {
        bail!(
            "this keyring is older than the backup: it is of generation {} with {} slots, and was of generation {} with {} by then. Keys that \
             were destroyed in between are still in it; what was sealed for customers and users who came in between could not be read, \
             so they would be taken out. Give the newest keyring, or --older-keyring if there is no other",
            mark.generation,
            mark.slots,
            manifest.keyring.generation,
            manifest.keyring.slots
        );
    }
    if !keyring.contains(Owner::Organization) && manifest.revision > 0 {
        bail!("this keyring has no key of the organization: it is damaged, or of a directory that was begun anew");
    }
    Ok(())
}

/// What a restore made so far.
#[derive(Debug, Default)]
struct Made {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Made {
    /// Takes it away again, as far as that goes.
    fn undo(&self) {
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        for directory in &self.directories {
            let _ = fs::remove_dir(directory);
        }
    }
}

fn fill(options: &Restore<'_>, manifest: &Manifest, (keyring, keys): (&Inspected, &Keyring), made: &mut Made) -> anyhow::Result<Restored> {
    let journal = crate::boot::stores::journal_directory(options.data);
    fs::create_dir(&journal).with_context(|| journal.display().to_string())?;
    made.directories.push(journal);
    for file in &manifest.files {
        let (from, to) = (options.backup.join(&file.name), options.data.join(&file.name));
        if let Some(parent) = to.parent().filter(|parent| !parent.exists()) {
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
            made.directories.push(parent.to_owned());
        }
        let target = create(&to).with_context(|| file.name.clone())?;
        // Only what was made here is taken away again.
        made.files.push(to.clone());
        copy_checked(file, &from, target)?;
        sync_directory(to.parent().unwrap_or(options.data))?;
    }
    let to = options.data.join("keyring");
    let target = create(&to).with_context(|| to.display().to_string())?;
    made.files.push(to);
    copy_private(options.keyring, target).with_context(|| format!("the keyring {}", options.keyring.display()))?;

    let state = StateStore::open(&options.data.join("state.redb"), &StateOptions::default())?;
    let epoch = state.epoch()?.max(manifest.epoch) + 1;
    state.set_epoch(epoch)?;
    drop(state);
    let folder = Arc::new(Directory::new(options.data));
    let (catalog, gone) = Catalog::open_copy(folder, "catalog.redb", options.catalog.clone(), keys)?;
    let by = By {
        who: options.by,
        at: options.at,
        rules: options.rules,
    };
    let settled = settle(
        &catalog,
        &Gone::since(&catalog, keyring, gone, options.without_damaged)?,
        keyring,
        &media_directory(options.data),
        &options.keep,
        by,
    )?;
    let at_risk = at_risk(&catalog)?;
    drop(catalog);
    if !options.resume {
        let path = options.data.join(PAUSED);
        let said = json!({ "backup": manifest.id, "takenAt": manifest.taken_at, "restoredAt": options.at });
        let mut file = create(&path).with_context(|| path.display().to_string())?;
        made.files.push(path.clone());
        writeln!(file, "{said}")
            .and_then(|()| file.sync_all())
            .with_context(|| path.display().to_string())?;
    }
    sync_directory(options.data)?;
    Ok(Restored {
        manifest: manifest.clone(),
        epoch,
        settled,
        at_risk,
    })
}

/// Copies a file of the backup, whole or not at all.
fn copy_checked(file: &FileEntry, from: &Path, mut target: File) -> anyhow::Result<()> {
    let named = || file.name.clone();
    let mut source = File::open(from).with_context(named)?;
    let (mut hasher, mut length) = (Hasher::default(), 0);
    let mut piece = vec![0; PIECE];
    loop {
        let read = source.read(&mut piece).with_context(named)?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
        length += read as u64;
        target.write_all(&piece[..read]).with_context(named)?;
    }
    if length != file.bytes || hasher.finish() != file.sha256 {
        bail!("{} of the backup is damaged: it is not what the manifest says", file.name);
    }
    target.sync_all().with_context(named)
}

fn copy_private(from: &Path, mut target: File) -> io::Result<()> {
    io::copy(&mut File::open(from)?, &mut target)?;
    target.sync_all()
}

/// OAuth 2.0 connections that have a value.
fn at_risk(catalog: &Catalog) -> anyhow::Result<Vec<AtRisk>> {
    let view = catalog.view()?;
    let mut found = Vec::new();
    view.for_each(|instance: Instance| {
        let running = instance.deployed.as_ref().unwrap_or(&instance.config);
        let Some(version) = view.integration_version(instance.integration, running.version)? else {
            return Ok(());
        };
        let variables: Vec<&ConfigVar> = version.definition.config_vars.iter().filter(|variable| rotates(variable)).collect();
        if variables.is_empty() {
            return Ok(());
        }
        let customer = view.get::<Customer>(instance.customer)?;
        let customer = customer.map(|customer| customer.name).unwrap_or_default();
        let mut note = |values: &BTreeMap<String, ConfigValue>, user: Option<String>| {
            let has_value = |variable: &&&ConfigVar| matches!(values.get(&variable.stable_key), Some(ConfigValue::Connection { .. }));
            found.extend(variables.iter().filter(has_value).map(|variable| AtRisk {
                customer: Some(customer.clone()),
                instance: Some(instance.name.clone()),
                user: user.clone(),
                connection: variable.key.clone(),
            }));
        };
        note(&running.values, None);
        let mut after = None;
        loop {
            let page = view.user_configs_of_instance(instance.id, after, 1_000)?;
            for config in page.items.iter().filter(|config: &&UserConfig| config.removed_at.is_none()) {
                let user = view.get::<User>(config.user)?;
                note(&config.values, Some(user.map(|user| user.name).unwrap_or_default()));
            }
            after = page.next;
            if after.is_none() {
                return Ok::<_, StoreError>(());
            }
        }
    })?;
    shared_at_risk(&view, &mut found)?;
    found.sort();
    Ok(found)
}

/// Shared OAuth 2.0 connections that somebody consented to or gave a token to.
fn shared_at_risk(view: &View, found: &mut Vec<AtRisk>) -> Result<(), StoreError> {
    let mut shared = BTreeMap::new();
    view.for_each(|connection: SharedConnection| {
        if is_oauth2(&connection.connection) {
            shared.insert(connection.stable_key, connection.key);
        }
        Ok::<_, StoreError>(())
    })?;
    if shared.is_empty() {
        return Ok(());
    }
    let mut note = |holder: Holder, customer: Option<String>, user: Option<String>| {
        let grants = view.grants_of(holder)?;
        let held = grants.iter().filter(|(_, stored)| stored.token.is_some());
        found.extend(held.filter_map(|(stable_key, _)| shared.get(stable_key)).map(|key| AtRisk {
            customer: customer.clone(),
            instance: None,
            user: user.clone(),
            connection: key.clone(),
        }));
        Ok::<_, StoreError>(())
    };
    if let Some(organization) = view.organization()? {
        note(Holder::Organization(organization.id), None, None)?;
    }
    view.for_each(|customer: Customer| note(Holder::Customer(customer.id), Some(customer.name), None))?;
    view.for_each(|user: User| {
        let customer = match user.membership {
            Membership::Customer(customer) => view.get::<Customer>(customer)?.map(|customer| customer.name),
            Membership::Organization => None,
        };
        note(Holder::User(user.id), customer, Some(user.name))
    })
}

/// Whether the provider may give a new refresh token for every use of one.
fn rotates(variable: &ConfigVar) -> bool {
    variable.data_type == DataType::Connection && variable.connection.as_ref().is_some_and(is_oauth2)
}

fn is_oauth2(connection: &ActionRef) -> bool {
    connection.action.to_ascii_lowercase().contains("oauth2")
}
