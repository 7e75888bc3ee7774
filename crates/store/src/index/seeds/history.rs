//! Rows that were stored are whole in every table of their file, and those of a failed call are all there, file by file, or none.

use super::is_of_the_disk;
use crate::fault_backend::{FaultFolder, open_at_last};
use crate::fault_workload::{Workload, campaign, drive};
use crate::folder::Folder;
use crate::history::{History, HistoryOptions, SEGMENTS_PER_FILE};
use crate::index::samples::{execution, identity, row};
use crate::index::status::Gather;
use crate::index::{EndedRow, Filter, IndexError};
use perseat_journal::disk::{Campaign, MemoryDisk, Random};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const HISTORY: Campaign = Campaign {
    package: "perseat-store",
    test: "index::seeds::history::rows_are_whole_whichever_call_fails",
};

struct Rig {
    disk: MemoryDisk,
    folder: fn(&MemoryDisk) -> Arc<dyn Folder>,
    history: Option<History>,
    /// The last number given to a row, and the segment that rows end in.
    last: u64,
    segment: u32,
    /// The rows of each file that were stored, and those of calls that failed.
    stored: BTreeMap<u32, BTreeSet<u64>>,
    doubtful: Vec<(u32, BTreeSet<u64>)>,
    /// Files below this number were dropped; they may come back in a crash.
    dropped_below: u32,
    acknowledged: u64,
}

impl Rig {
    fn history(&mut self) -> Result<&History, String> {
        if self.history.is_none() {
            let options = HistoryOptions {
                cache_bytes: 2 << 20,
                max_open: 2,
                ..HistoryOptions::default()
            };
            let opened = open_at_last(&self.disk, || History::open_in((self.folder)(&self.disk), options.clone()));
            self.history = Some(opened?);
        }
        Ok(self.history.as_ref().unwrap())
    }

    /// Stores rows of one or two files.
    fn store(&mut self, random: &mut Random) -> Result<(), String> {
        let mut rows = Vec::new();
        let mut by_file: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
        for _ in 0..=random.below(6) {
            self.last += 1;
            self.segment += random.below(3) as u32 / 2;
            by_file.entry(self.segment / SEGMENTS_PER_FILE).or_default().insert(self.last);
            rows.push(EndedRow {
                execution: execution(self.last, self.last),
                segment: self.segment,
                row: row(self.last, self.last),
            });
        }
        let segment = self.segment;
        match self.history()?.apply(&rows, [segment]) {
            Ok(()) => {
                self.acknowledged += 1;
                for (file, numbers) in by_file {
                    self.stored.entry(file).or_default().extend(numbers);
                }
                Ok(())
            }
            Err(error) if is_of_the_disk(&error) => {
                self.doubtful.extend(by_file);
                Ok(())
            }
            Err(error) => Err(format!("rows cannot be stored: {error:?}")),
        }
    }

    fn drop_oldest(&mut self) -> Result<(), String> {
        let below = (self.segment / SEGMENTS_PER_FILE).saturating_sub(1);
        self.history()?.drop_before(below * SEGMENTS_PER_FILE);
        self.dropped_below = self.dropped_below.max(below);
        Ok(())
    }

    fn found(&mut self) -> Result<BTreeSet<u64>, IndexError> {
        let last = self.last;
        let history = self.history().map_err(|_| IndexError::undecodable("history"))?;
        let mut found = BTreeSet::new();
        for n in 1..=last {
            if let Some(stored) = history.get(execution(n, n))? {
                assert_eq!(stored, row(n, n), "a row is as it was written");
                found.insert(n);
            }
        }
        // By instance: the second table says the same as the first.
        let mut listed = BTreeSet::new();
        for instance in 0..=last / 10 {
            let filter = Filter {
                instance: Some(identity(u128::from(instance) * 10).instance),
                ..Filter::default()
            };
            let mut gather = Gather::new(1_000);
            history.gather(&filter, None, &mut gather)?;
            listed.extend(gather.page().rows.iter().map(|(_, row)| row.accepted));
        }
        // Where a call failed, only a list sees what it stored, until it is made again.
        let certain = |n: &u64| !self.doubtful.iter().any(|(_, numbers)| numbers.contains(n));
        listed.retain(certain);
        assert!(
            listed.iter().eq(found.iter().filter(|n| certain(n))),
            "the tables of a file say different things: {listed:?}, {found:?}"
        );
        Ok(found)
    }

    fn expect(&mut self, when: &str) -> Result<(), String> {
        match self.found() {
            Ok(found) => self.judge(when, &found),
            Err(error) if is_of_the_disk(&error) => Ok(()),
            Err(error) => Err(format!("{when} it cannot be read: {error:?}")),
        }
    }

    fn judge(&self, when: &str, found: &BTreeSet<u64>) -> Result<(), String> {
        let kept = self.stored.range(self.dropped_below..);
        if let Some(lost) = kept.flat_map(|(_, numbers)| numbers).find(|n| !found.contains(*n)) {
            return Err(format!("{when} row {lost} is gone"));
        }
        for (file, numbers) in self.doubtful.iter().filter(|(file, _)| *file >= self.dropped_below) {
            let there = numbers.intersection(found).count();
            if there != 0 && there != numbers.len() {
                return Err(format!("{when} of the rows {numbers:?} in file {file} only {there} are there"));
            }
        }
        Ok(())
    }
}

impl Workload for Rig {
    const WARM_UP: u64 = 6;
    const ACKNOWLEDGED: u64 = 1;

    fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    fn close(&mut self) {
        self.history = None;
    }

    fn step(&mut self, random: &mut Random) -> Result<(), String> {
        match random.below(10) {
            0 => self.expect("in between"),
            1 => self.drop_oldest(),
            _ => self.store(random),
        }
    }

    fn end(&mut self, random: &mut Random) -> Result<(), String> {
        self.history()?;
        let found = self.found().map_err(|error| format!("in the end it cannot be read: {error:?}"))?;
        self.judge("in the end", &found)?;
        let acknowledged = self.acknowledged;
        self.store(random)?;
        match self.acknowledged - acknowledged {
            1 => Ok(()),
            _ => Err("a healed disk takes no rows".into()),
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
        history: None,
        last: 0,
        segment: 0,
        stored: BTreeMap::new(),
        doubtful: Vec::new(),
        dropped_below: 0,
        acknowledged: 0,
    }
}

#[test]
fn rows_are_whole_whichever_call_fails() {
    campaign(&HISTORY, |seed, _| rig(FaultFolder::of, seed));
}

#[test]
fn rows_on_a_disk_that_only_says_that_it_synced_are_missed() {
    let lying = |seed, trouble| drive(seed, trouble, |seed, _| rig(FaultFolder::lying, seed));
    assert!(HISTORY.catches(" is gone", |seed, trouble| lying(seed, trouble).map(drop)));
}
