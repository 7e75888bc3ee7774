//! The keyring: every slot, and whether everybody has a key.

use std::path::Path;

use perseat_store::catalog::CatalogReport;
use perseat_store::keyring::{Inspected, Keyring, Owner, SlotFault};

use super::{Report, chain};
use crate::backup::manifest::{KeyringMark, Manifest};

pub(super) fn check(
    path: &Path,
    opened: Option<&Keyring>,
    catalog: Option<&CatalogReport>,
    manifest: Option<&Manifest>,
    report: &mut Report,
) {
    let found = match Inspected::read(path) {
        Ok(found) => found,
        Err(error) => return report.findings.add(format_args!("keyring: {}", chain(&error))),
    };
    let mark = KeyringMark::from(found.mark);
    if let Some(manifest) = manifest {
        if mark.id != manifest.keyring.id {
            return report.findings.add("keyring: it belongs to another data directory than the backup");
        }
        if mark.is_older_than(&manifest.keyring) {
            report.findings.add(format_args!(
                "keyring: it is older than the backup: it is of generation {} with {} slots, and was of generation {} with {} by then",
                mark.generation, mark.slots, manifest.keyring.generation, manifest.keyring.slots
            ));
        }
    }
    let is_wanted = |owner: Owner| catalog.is_none_or(|catalog| catalog.has(owner));
    // A slot of nobody may be torn: its making was cut off, and its owner never came to be.
    let matters = |fault: &SlotFault| match fault {
        SlotFault::Damaged(owner) => owner.is_some_and(|owner| is_wanted(owner) && !found.contains(owner)),
        SlotFault::Doubled(_) => true,
        SlotFault::Orphaned(owner) | SlotFault::Sealed(owner) => is_wanted(*owner),
    };
    let unopened = opened.map(|keyring| found.unopened(keyring)).unwrap_or_default();
    let mut torn = 0;
    for (slot, fault) in found.faults.iter().chain(&unopened) {
        if !matters(fault) {
            torn += 1;
            continue;
        }
        let what = match fault {
            SlotFault::Damaged(Some(owner)) => format!("the key of {owner} does not read"),
            SlotFault::Damaged(None) => "it does not read".to_owned(),
            SlotFault::Doubled(owner) => format!("{owner} has another key, too"),
            SlotFault::Orphaned(owner) => format!("the key that wraps that of {owner} is not there"),
            SlotFault::Sealed(owner) => format!("the key of {owner} does not open"),
        };
        report.findings.add(format_args!("keyring: slot {slot}: {what}"));
    }
    let (mut missing, mut spare) = (0u64, 0u64);
    if let Some(catalog) = catalog {
        for owner in catalog.needing().filter(|owner| !found.contains(*owner)) {
            missing += 1;
            // A newer keyring than the backup lacks who was deleted since.
            if manifest.is_none() {
                report.findings.add(format_args!("keyring: {owner} has no key"));
            }
        }
        spare = found.owners().filter(|owner| !catalog.has(*owner)).count() as u64;
    }
    let with = if opened.is_some() {
        "all opened with the master key"
    } else {
        "not opened: there is no master key here"
    };
    let mut said = format!(
        "generation {}: {} keys, {with}; {} free slots",
        found.mark.generation, found.keys, found.free
    );
    for (count, what) in [
        (missing, "owners without a key: deleted after the backup, a restore takes them out"),
        (spare, "keys of nobody"),
        (found.half_wiped, "wipes to be finished by the next start"),
        (torn, "torn slots of nobody"),
    ] {
        if count > 0 {
            said.push_str(&format!("; {count} {what}"));
        }
    }
    report.say("keyring", said);
}
