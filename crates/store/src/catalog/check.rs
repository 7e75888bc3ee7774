//! Holds the catalog against itself: records, the rows that index them, what they refer to, the audit.

use super::audit::{self, AuditEntry, ChangeKind, Event};
use super::record::{self, Owned, Record, RecordId, RecordKey, RecordType, Stamp, Unique};
use super::superseded::{self, SUPERSEDED};
use super::tables::{AUDIT, OUTBOX, OWNED, PENDING_DESTRUCTION, UNIQUE};
use super::{Catalog, Rows, View};
use crate::error::StoreError;
use crate::findings::Findings;
use crate::keyring::{Keyring, Owner};
use crate::sharing::owner_of;
use perseat_domain::account::{Account, Letter, Session};
use perseat_domain::id::system_instance;
use perseat_domain::model::{ApiToken, Customer, Instance, Integration, IntegrationVersion, Media, Organization, User, UserConfig};
use perseat_domain::sharing::{SharedConnection, SharedValue};
use redb::{ReadableTable, ReadableTableMetadata};
use std::collections::{BTreeMap, BTreeSet, HashMap};

mod sealed;

/// Audit entries whose changes are kept at hand: records are in the order of their ids, not of their changes.
const ENTRIES: usize = 256;

/// What was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogReport {
    /// The number of mutations.
    pub revision: u64,
    /// Records by type.
    pub records: Vec<(&'static str, u64)>,
    /// Rows of both indexes.
    pub index_rows: u64,
    /// References from one record to another.
    pub references: u64,
    /// Earlier values.
    pub superseded: u64,
    /// Audit entries.
    pub audit_entries: u64,
    /// Records whose digest stands in the audit entry of the mutation that changed them last.
    pub digests: u64,
    /// Grants of third parties.
    pub grants: u64,
    /// Sealed connection values, API keys and tokens of grants that were opened.
    pub opened: u64,
    /// Owners that have a key.
    pub owners: BTreeSet<[u8; 17]>,
    /// Owners whose keys are to be destroyed.
    pub pending: Vec<Owner>,
}

impl CatalogReport {
    /// Whether there is a record of this owner.
    #[must_use]
    pub fn has(&self, owner: Owner) -> bool {
        self.owners.contains(&owner.to_bytes())
    }

    /// Everybody who needs a key.
    pub fn needing(&self) -> impl Iterator<Item = Owner> + '_ {
        self.owners.iter().filter_map(|bytes| Owner::from_bytes(bytes))
    }
}

impl Catalog {
    /// Checks everything of one moment; opens sealed values if keys are given.
    ///
    /// # Errors
    /// If the disk fails. What is wrong is a finding.
    pub fn check(&self, keys: Option<&Keyring>, findings: &mut Findings) -> Result<CatalogReport, StoreError> {
        let view = self.view()?;
        let mut check = Check {
            view: &view,
            keys,
            findings,
            report: CatalogReport {
                revision: view.revision()?,
                ..CatalogReport::default()
            },
            entries: HashMap::new(),
            unique: 0,
            owned: 0,
        };
        check.audit()?;
        for kind in RecordType::ALL {
            check.records_of(kind)?;
        }
        check.stray_rows()?;
        check.superseded()?;
        check.grants()?;
        check.notices()?;
        check.owed()?;
        check.pending()?;
        Ok(check.report)
    }
}

/// What an audit entry names, or that it names only part of what changed.
struct Changes {
    /// A record may be named more than once: each time that it was written, and with each grant of it.
    digests: BTreeMap<RecordKey, Vec<[u8; 32]>>,
    is_whole: bool,
}

struct Check<'c, 'v> {
    view: &'c View<'v>,
    keys: Option<&'c Keyring>,
    findings: &'c mut Findings,
    report: CatalogReport,
    entries: HashMap<u64, Changes>,
    /// Index rows that records ask for.
    unique: u64,
    owned: u64,
}

impl Check<'_, '_> {
    fn audit(&mut self) -> Result<(), StoreError> {
        match self.view.verify_audit_chain() {
            Ok(entries) => self.report.audit_entries = entries,
            Err(error @ (StoreError::Corrupt { .. } | StoreError::UnknownFormat { .. })) => {
                self.findings.add(format_args!("catalog: the audit chain is broken: {error}"));
            }
            Err(error) => return Err(error),
        }
        let outbox = self.view.transaction.open_table(OUTBOX)?;
        let mut before = None;
        for row in outbox.iter()? {
            let (key, value) = row?;
            let number = key.value();
            let fits = audit::decode::<Event>(value.value()).is_ok_and(|event| event.revision == number);
            if !fits || before.is_some_and(|before| before + 1 != number) || number > self.report.revision {
                self.findings
                    .add(format_args!("catalog: event {number} does not fit the ones around it"));
            }
            before = Some(number);
        }
        Ok(())
    }

    fn records_of(&mut self, kind: RecordType) -> Result<(), StoreError> {
        match kind {
            RecordType::Organization => self.records::<Organization>(|_, _| {}),
            RecordType::Customer => self.records::<Customer>(|_, _| {}),
            RecordType::User => self.records::<User>(|_, _| {}),
            RecordType::Integration => self.records::<Integration>(|check, integration| {
                let name = format!("integration {}", integration.id);
                let system = system_instance(integration.id);
                check.values_open(&name, system.0, Owner::Organization, &integration.test_values);
            }),
            RecordType::IntegrationVersion => self.records::<IntegrationVersion>(|check, version| {
                let name = format!("integration version {}", version.record_id().text());
                check.keys_open(&name, version.integration.0, Owner::Organization, &version.organization_keys);
                check.connections_open(&name, version.integration.0, Owner::Organization, &version.connection_secrets);
            }),
            RecordType::Instance => self.records::<Instance>(|check, instance| {
                let owner = Owner::Customer(instance.customer);
                let name = format!("instance {}", instance.id);
                check.registrations_open(&name, instance);
                for config in std::iter::once(&instance.config).chain(&instance.deployed) {
                    check.values_open(&name, instance.id.0, owner, &config.values);
                    check.keys_open(&name, instance.id.0, owner, &config.api_keys);
                }
            }),
            RecordType::UserConfig => self.records::<UserConfig>(|check, config| {
                let name = format!("user configuration {}", config.id);
                check.values_open(&name, config.id.0, Owner::User(config.user), &config.values);
            }),
            RecordType::ApiToken => self.records::<ApiToken>(|_, _| {}),
            RecordType::Media => self.records::<Media>(|_, _| {}),
            RecordType::Account => self.records::<Account>(|_, _| {}),
            RecordType::Session => self.records::<Session>(|_, _| {}),
            RecordType::Letter => self.records::<Letter>(|_, _| {}),
            RecordType::SharedConnection => self.records::<SharedConnection>(|check, connection| {
                let name = format!("shared connection {}", connection.stable_key);
                let given = connection
                    .value
                    .iter()
                    .map(|value| (connection.stable_key.clone(), value.clone()))
                    .collect();
                check.values_open(&name, connection.id.0, Owner::Organization, &given);
            }),
            RecordType::SharedValue => self.records::<SharedValue>(|check, value| {
                let name = format!("value of a shared connection {}", value.id);
                let given = BTreeMap::from([(String::new(), value.value.clone())]);
                match owner_of(value.holder) {
                    Some(owner) => check.values_open(&name, value.id.0, owner, &given),
                    None => check
                        .findings
                        .add(format_args!("catalog: {name} is of a holder who shares nothing")),
                }
            }),
        }
    }

    fn records<R: Record>(&mut self, mut look: impl FnMut(&mut Self, &R)) -> Result<(), StoreError> {
        let table = self.view.transaction.open_table(R::TYPE.table())?;
        let unique = self.view.transaction.open_table(UNIQUE)?;
        let owned = self.view.transaction.open_table(OWNED)?;
        let mut count = 0;
        for row in table.iter()? {
            let (key, value) = row?;
            let (key, bytes) = (key.value(), value.value());
            count += 1;
            let record = match record::decode::<R>(bytes) {
                Ok(record) => record,
                Err(error) => {
                    let name = hexadecimal(key);
                    self.findings.add(format_args!(
                        "catalog: the record {name} of type {} does not read: {error}",
                        R::TYPE.name()
                    ));
                    continue;
                }
            };
            let id = record.record_id();
            let name = format!("{} {}", R::TYPE.name(), id.text());
            if id.to_key() != key {
                self.findings
                    .add(format_args!("catalog: {name} stands under the id of another record"));
            }
            self.report.owners.extend(record.data_key().map(|key| key.owner().to_bytes()));
            self.digest(&name, id.into(), bytes)?;
            for reference in record.references() {
                self.report.references += 1;
                let (kind, key, text) = reference.parts();
                if self.view.row(kind, &key)?.is_none() {
                    self.findings
                        .add(format_args!("catalog: {name} refers to {} {text}, which is not there", kind.name()));
                }
            }
            let rows = record.index();
            for (field, value, row) in &rows.unique {
                self.unique += 1;
                if unique.get(row.as_slice())?.is_none_or(|holder| holder.value() != key) {
                    self.findings
                        .add(format_args!("catalog: the index does not lead from {field} {value:?} to {name}"));
                }
            }
            for row in &rows.owned {
                self.owned += 1;
                if owned.get(row.as_slice())?.is_none() {
                    self.findings.add(format_args!(
                        "catalog: {name} is not in the list of its owner ({})",
                        hexadecimal(row)
                    ));
                }
            }
            look(self, &record);
        }
        self.report.records.push((R::TYPE.name(), count));
        Ok(())
    }

    /// Whether the audit knows the record in this form.
    fn digest(&mut self, name: &str, key: RecordKey, stored: &[u8]) -> Result<(), StoreError> {
        let Some(stamp) = Stamp::of(stored) else { return Ok(()) };
        if !self.entries.contains_key(&stamp.revision) {
            let table = self.view.transaction.open_table(AUDIT)?;
            let entry = table.get(stamp.revision)?;
            let entry = entry.and_then(|entry| audit::decode::<AuditEntry>(entry.value()).ok());
            let Some(entry) = entry else {
                self.findings.add(format_args!(
                    "catalog: {name} was changed by mutation {}, which the audit does not have",
                    stamp.revision
                ));
                return Ok(());
            };
            if self.entries.len() >= ENTRIES {
                self.entries.clear();
            }
            let named = entry.changes.iter().filter(|change| change.kind != ChangeKind::Deleted);
            let mut digests: BTreeMap<RecordKey, Vec<[u8; 32]>> = BTreeMap::new();
            for change in named {
                digests.entry(change.key).or_default().push(change.digest);
            }
            let changes = Changes {
                digests,
                is_whole: entry.count == entry.changes.len() as u64,
            };
            self.entries.insert(stamp.revision, changes);
        }
        let Some(changes) = self.entries.get(&stamp.revision) else {
            return Ok(());
        };
        match changes.digests.get(&key) {
            Some(digests) if digests.contains(&audit::sha256(stored)) => self.report.digests += 1,
            None if !changes.is_whole => {}
            _ => self
                .findings
                .add(format_args!("catalog: {name} is not what mutation {} wrote", stamp.revision)),
        }
        Ok(())
    }

    /// Index rows that no record asks for; looked for only where there are more rows than asked for.
    fn stray_rows(&mut self) -> Result<(), StoreError> {
        let unique = self.view.transaction.open_table(UNIQUE)?;
        let owned = self.view.transaction.open_table(OWNED)?;
        self.report.index_rows = unique.len()? + owned.len()?;
        if unique.len()? != self.unique {
            for row in unique.iter()? {
                let (key, value) = row?;
                if !self.asks_for_unique(key.value(), value.value())? {
                    let row = hexadecimal(key.value());
                    self.findings
                        .add(format_args!("catalog: the unique value {row} leads to no record that has it"));
                }
            }
        }
        if owned.len()? != self.owned {
            for row in owned.iter()? {
                let (key, ()) = row.map(|(key, _)| (key, ()))?;
                if !self.asks_for_owned(key.value())? {
                    let row = hexadecimal(key.value());
                    self.findings
                        .add(format_args!("catalog: the list entry {row} leads to no record that is in it"));
                }
            }
        }
        Ok(())
    }

    fn asks_for_unique(&self, row: &[u8], id: &[u8]) -> Result<bool, StoreError> {
        let has = |rows: Option<record::IndexRows>| rows.is_some_and(|rows| rows.unique.iter().any(|(_, _, key)| key == row));
        Ok(match row.first() {
            Some(index) if [Unique::CustomerExternalId as u8, Unique::CustomerName as u8].contains(index) => {
                has(self.index_of::<Customer>(id)?)
            }
            Some(index) if (Unique::UserExternalId as u8..=Unique::UserSubject as u8).contains(index) => has(self.index_of::<User>(id)?),
            Some(index) if *index == Unique::IntegrationName as u8 => has(self.index_of::<Integration>(id)?),
            Some(index) if *index == Unique::InstanceName as u8 => has(self.index_of::<Instance>(id)?),
            Some(index) if *index == Unique::UserConfigUser as u8 => has(self.index_of::<UserConfig>(id)?),
            Some(index) if *index == Unique::TokenDigest as u8 => has(self.index_of::<ApiToken>(id)?),
            Some(index) if *index == Unique::SharedStableKey as u8 => has(self.index_of::<SharedConnection>(id)?),
            Some(index) if *index == Unique::SharedValueHolder as u8 => has(self.index_of::<SharedValue>(id)?),
            Some(index) if [Unique::Avatar as u8, Unique::AttachmentName as u8].contains(index) => has(self.index_of::<Media>(id)?),
            _ => false,
        })
    }

    fn asks_for_owned(&self, row: &[u8]) -> Result<bool, StoreError> {
        let has = |rows: Option<record::IndexRows>| rows.is_some_and(|rows| rows.owned.iter().any(|key| key == row));
        let Some(id) = row.len().checked_sub(16).map(|at| &row[at..]) else {
            return Ok(false);
        };
        let users = [
            Owned::UsersOfMembership,
            Owned::UsersByName,
            Owned::UsersByEmail,
            Owned::AllUsersByName,
            Owned::AllUsersByEmail,
        ];
        let instances = [
            Owned::InstancesOfCustomer,
            Owned::InstancesOfIntegration,
            Owned::InstancesByName,
            Owned::AllInstancesByName,
        ];
        let is_of = |index: &u8, lists: &[Owned]| lists.iter().any(|list| *list as u8 == *index);
        Ok(match row.first() {
            Some(index) if is_of(index, &users) => has(self.index_of::<User>(id)?),
            Some(index) if is_of(index, &instances) => has(self.index_of::<Instance>(id)?),
            Some(index) if *index == Owned::CustomersByName as u8 => has(self.index_of::<Customer>(id)?),
            Some(index) if *index == Owned::MediaOfOwner as u8 => has(self.index_of::<Media>(id)?),
            Some(index) if (Owned::UserConfigsOfInstance as u8..=Owned::RemovedUserConfigs as u8).contains(index) => {
                has(self.index_of::<UserConfig>(id)?)
            }
            Some(index) if *index == Owned::TokensOfHolder as u8 => has(self.index_of::<ApiToken>(id)?),
            Some(index) if *index == Owned::AccountsOfAddress as u8 => has(self.index_of::<Account>(id)?),
            Some(index) if *index == Owned::SessionsOfUser as u8 => has(self.index_of::<Session>(id)?),
            Some(index) if *index == Owned::LettersOfUser as u8 => has(self.index_of::<Letter>(id)?),
            Some(index) if is_of(index, &[Owned::SharedValuesOfHolder, Owned::SharedValuesOfConnection]) => {
                has(self.index_of::<SharedValue>(id)?)
            }
            _ => false,
        })
    }

    fn index_of<R: Record>(&self, id: &[u8]) -> Result<Option<record::IndexRows>, StoreError> {
        let row = self.view.row(R::TYPE, id)?;
        Ok(row.and_then(|bytes| record::decode::<R>(&bytes).ok()).map(|record| record.index()))
    }

    fn superseded(&mut self) -> Result<(), StoreError> {
        for row in self.view.transaction.open_table(SUPERSEDED)?.iter()? {
            let (key, value) = row?;
            self.report.superseded += 1;
            let kind = match key.value().first() {
                Some(kind) if *kind == RecordType::Instance as u8 => Some(RecordType::Instance),
                Some(kind) if *kind == RecordType::UserConfig as u8 => Some(RecordType::UserConfig),
                _ => None,
            };
            let id = key.value().get(1..17);
            let leads_on = match (kind, id) {
                (Some(kind), Some(id)) => self.view.row(kind, id)?.is_some(),
                _ => false,
            };
            if !leads_on || !superseded::reads(value.value()) {
                let row = hexadecimal(key.value());
                self.findings.add(format_args!(
                    "catalog: the earlier values {row} do not read, or are of a record that is not there"
                ));
            }
        }
        Ok(())
    }

    fn pending(&mut self) -> Result<(), StoreError> {
        for row in self.view.transaction.open_table(PENDING_DESTRUCTION)?.iter()? {
            let key = row.map(|(key, _)| Owner::from_bytes(key.value()))?;
            match key {
                Some(owner) => self.report.pending.push(owner),
                None => self.findings.add("catalog: a key to destroy is nobody's"),
            }
        }
        Ok(())
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
