//! A batch and its watermark are in `state.redb` wholly or not at all.

use super::is_of_the_disk;
use crate::fault_backend::{FaultFolder, open_at_last};
use crate::fault_workload::{Workload, campaign, drive};
use crate::folder::Folder;
use crate::index::IndexError;
use crate::index::samples::{execution, row};
use crate::state::{StateBatch, StateOptions, StateStore};
use perseat_journal::disk::{Campaign, MemoryDisk, Random};
use std::collections::BTreeMap;
use std::sync::Arc;

const STATE: Campaign = Campaign {
    package: "perseat-store",
    test: "index::seeds::state::a_batch_is_wholly_there_or_not_at_all_whichever_call_fails",
};

/// Batches in a row may fail; after so many possibilities doubt is put to an end.
const POSSIBLE: usize = 8;

/// Which version of which execution is stored, and up to where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    watermark: Option<u64>,
    rows: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Change {
    watermark: u64,
    put: Vec<u64>,
    remove: Vec<u64>,
}

impl Model {
    fn after(&self, change: &Change) -> Self {
        let mut rows = self.rows.clone();
        rows.extend(change.put.iter().map(|n| (*n, change.watermark)));
        rows.retain(|n, _| !change.remove.contains(n));
        Self {
            watermark: Some(change.watermark),
            rows,
        }
    }

    fn of(state: &StateStore) -> Result<Self, IndexError> {
        let mut rows = BTreeMap::new();
        for found in state.live() {
            let (id, found) = found?;
            let (n, version) = (found.accepted, found.bytes);
            assert_eq!((id, &found), (execution(n, n), &row(n, version)), "a row is as it was written");
            rows.insert(n, version);
        }
        Ok(Self {
            watermark: state.watermark()?,
            rows,
        })
    }
}

struct Rig {
    disk: MemoryDisk,
    folder: fn(&MemoryDisk) -> Arc<dyn Folder>,
    state: Option<StateStore>,
    /// What it may hold: more than one where a batch failed, which may yet be there.
    possible: Vec<Model>,
    batches: u64,
    acknowledged: u64,
}

impl Rig {
    fn state(&mut self) -> Result<&StateStore, String> {
        if self.state.is_none() {
            let options = StateOptions {
                cache_bytes: 1 << 20,
                ..StateOptions::default()
            };
            let opened = open_at_last(&self.disk, || {
                StateStore::open_in((self.folder)(&self.disk), "state.redb", &options)
            });
            self.state = Some(opened?);
        }
        Ok(self.state.as_ref().unwrap())
    }

    fn apply(&mut self, random: &mut Random) -> Result<(), String> {
        self.batches += 1;
        let mut some = |most| (0..random.below(most)).map(|_| random.below(30)).collect::<Vec<u64>>();
        let change = Change {
            watermark: self.batches,
            put: some(12),
            remove: some(6),
        };
        let batch = StateBatch {
            put: change.put.iter().map(|n| (execution(*n, *n), row(*n, change.watermark))).collect(),
            remove: change.remove.iter().map(|n| execution(*n, *n)).collect(),
            watermark: change.watermark,
            ..StateBatch::default()
        };
        let outcome = self.state()?.apply(&batch);
        let next: Vec<Model> = self.possible.iter().map(|model| model.after(&change)).collect();
        match outcome {
            Ok(()) => {
                self.acknowledged += 1;
                self.possible = next;
                Ok(())
            }
            Err(error) if is_of_the_disk(&error) => {
                self.possible.extend(next);
                if self.possible.len() > POSSIBLE { self.settle() } else { Ok(()) }
            }
            Err(error) => Err(format!("a batch fails with {error:?}")),
        }
    }

    /// After a crash there is no doubt: what is seen is what is on disk.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..8 {
            self.disk.crash();
            self.state = None;
            match Model::of(self.state()?) {
                Ok(found) if self.possible.contains(&found) => {
                    self.possible = vec![found];
                    return Ok(());
                }
                Err(error) if is_of_the_disk(&error) => {}
                other => return Err(format!("after a crash it holds {other:?}, and not one of {:?}", self.possible)),
            }
        }
        Err("it cannot be read after any crash".into())
    }

    fn expect(&mut self, when: &str) -> Result<(), String> {
        match Model::of(self.state()?) {
            Ok(found) if self.possible.contains(&found) => Ok(()),
            Ok(found) => Err(format!("{when} it holds {found:?}, and not one of {:?}", self.possible)),
            Err(error) if is_of_the_disk(&error) => Ok(()),
            Err(error) => Err(format!("{when} it cannot be read: {error:?}")),
        }
    }
}

impl Workload for Rig {
    const WARM_UP: u64 = 6;
    const ACKNOWLEDGED: u64 = 2;

    fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    fn close(&mut self) {
        self.state = None;
    }

    fn step(&mut self, random: &mut Random) -> Result<(), String> {
        match random.below(10) {
            0 => self.expect("in between"),
            _ => self.apply(random),
        }
    }

    fn end(&mut self, random: &mut Random) -> Result<(), String> {
        let found = Model::of(self.state()?).map_err(|error| format!("in the end it cannot be read: {error:?}"))?;
        if !self.possible.contains(&found) {
            return Err(format!("in the end it holds {found:?}, and not one of {:?}", self.possible));
        }
        self.possible = vec![found];
        self.apply(random)?;
        match self.possible.len() {
            1 => Ok(()),
            _ => Err("a healed disk takes no batch".into()),
        }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged
    }
}

fn rig(folder: fn(&MemoryDisk) -> Arc<dyn Folder>, seed: u64) -> Rig {
    Rig {
        disk: MemoryDisk::new(seed),
        folder,
        state: None,
        possible: vec![Model::default()],
        batches: 0,
        acknowledged: 0,
    }
}

#[test]
fn a_batch_is_wholly_there_or_not_at_all_whichever_call_fails() {
    campaign(&STATE, |seed, _| rig(FaultFolder::of, seed));
}

#[test]
fn a_disk_that_only_says_that_it_synced_is_caught() {
    let lying = |seed, trouble| drive(seed, trouble, |seed, _| rig(FaultFolder::lying, seed));
    assert!(STATE.catches("after a crash it holds", |seed, trouble| lying(seed, trouble).map(drop)));
}
