//! Reads of the journal that fail once.

use super::*;
use perseat_journal::{File, ReadError};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicI64;

/// One read that fails.
#[derive(Clone, Debug)]
struct ReadFault {
    /// How many reads come before it; below zero it has failed, or none will.
    left: Arc<AtomicI64>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    NoAnswer,
    /// Other bytes than the disk holds.
    Wrong,
}

impl ReadFault {
    fn none() -> Self {
        Self::of(Kind::NoAnswer)
    }

    fn of(kind: Kind) -> Self {
        let left = Arc::new(AtomicI64::new(-1));
        Self { left, kind }
    }

    fn strike_after(&self, reads: i64) {
        self.left.store(reads, Ordering::SeqCst);
    }

    fn has_struck(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    fn disks(&self, directory: &Path) -> Disks {
        let disks = Disks::of(directory);
        let journal = Arc::new(Unsteady {
            inner: disks.journal,
            fault: self.clone(),
        });
        Disks { journal, ..disks }
    }
}

/// A disk, or a file on it, that does not answer one read.
#[derive(Debug)]
struct Unsteady<T> {
    inner: T,
    fault: ReadFault,
}

impl Unsteady<Arc<dyn Disk>> {
    fn file(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        let fault = self.fault.clone();
        Arc::new(Unsteady { inner, fault })
    }
}

impl Disk for Unsteady<Arc<dyn Disk>> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.inner.create(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.inner.open(name).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.inner.sync_directory()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.inner.path(name)
    }
}

impl File for Unsteady<Arc<dyn File>> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match (self.fault.left.fetch_sub(1, Ordering::SeqCst), self.fault.kind) {
            (0, Kind::NoAnswer) => Err(io::Error::other("the disk does not answer")),
            (0, Kind::Wrong) => {
                let count = self.inner.read_at(buffer, offset)?;
                buffer[..count].iter_mut().for_each(|byte| *byte ^= 0xff);
                Ok(count)
            }
            _ => self.inner.read_at(buffer, offset),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(bytes, offset)
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        self.inner.reserve(length)
    }

    fn write_zeros(&self, length: usize, offset: u64) -> io::Result<()> {
        self.inner.write_zeros(length, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }
}

/// Several reads' worth of one segment.
const EXECUTIONS: u64 = 40;
const SIZE: usize = 16 << 10;

fn check_whole(run: &Run) {
    let live: Vec<_> = run.recovered.live.iter().map(|live| live.execution).collect();
    assert_eq!(live, (1..EXECUTIONS).step_by(2).map(id).collect::<Vec<_>>());
    let listed = run.index().list(&Filter::default(), None, 1_000).unwrap().rows;
    assert_eq!(listed.len() as u64, EXECUTIONS);
}

/// Whichever read of the recovery it is, of what state and history are made from.
#[test]
fn a_start_fails_whose_read_of_the_journal_fails_and_the_next_one_has_everything() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    for n in 0..EXECUTIONS {
        run.append([accepted(n, SIZE)]);
    }
    run.append((0..EXECUTIONS).step_by(2).map(ended));
    run.stop();
    let lose_state = || std::fs::remove_file(directory.path().join("state.redb")).unwrap();
    let lose_history = || std::fs::remove_dir_all(directory.path().join("history")).unwrap();
    for lose in [&lose_state as &dyn Fn(), &lose_history] {
        let mut failed = 0;
        loop {
            lose();
            let fault = ReadFault::none();
            let disks = fault.disks(directory.path());
            let started = Run::start_on(disks, directory.path(), FeedOptions::default(), false, || {
                fault.strike_after(failed);
            });
            if !fault.has_struck() {
                check_whole(&started.unwrap());
                break;
            }
            assert!(
                matches!(started, Err(RecoverError::Journal(ReadError::Io(_)))),
                "read {failed} failed, and the daemon starts"
            );
            let run = Run::start(directory.path(), FeedOptions::default());
            check_whole(&run);
            run.stop();
            failed += 1;
        }
        assert!(failed >= 3, "{failed} reads");
    }
}

#[test]
fn a_queue_that_overflowed_is_made_good_though_a_read_of_the_journal_fails() {
    let mut failed = 0;
    loop {
        let directory = tempfile::tempdir().unwrap();
        let fault = ReadFault::none();
        let options = FeedOptions {
            queue_entries: 10,
            ..FeedOptions::default()
        };
        let run = Run::start_on(fault.disks(directory.path()), directory.path(), options, false, || {}).unwrap();
        for n in 0..EXECUTIONS {
            run.append([accepted(n, SIZE)]);
        }
        assert!(run.feed.has_overflowed());
        let mut indexer = run.indexer();
        indexer.options.yield_lag = 0;
        fault.strike_after(failed);
        let advanced = indexer.step(&mut Collector::default());
        let has_struck = fault.has_struck();
        assert_eq!(advanced, !has_struck, "read {failed}");
        if has_struck {
            assert!(
                run.feed.has_overflowed(),
                "the queue takes nothing before what it left out is there"
            );
            assert!(indexer.step(&mut Collector::default()));
        }
        assert_eq!(run.index().backlog().executions, EXECUTIONS);
        assert_eq!((run.feed.has_overflowed(), run.feed.lag()), (false, 0));
        if !has_struck {
            break;
        }
        failed += 1;
    }
    assert!(failed >= 3, "{failed} reads");
}

#[test]
fn what_one_read_got_wrong_is_not_taken_for_damage_when_it_is_carried() {
    let mut wrong = 0;
    loop {
        let directory = tempfile::tempdir().unwrap();
        let fault = ReadFault::of(Kind::Wrong);
        let run = Run::start_on(
            fault.disks(directory.path()),
            directory.path(),
            FeedOptions::default(),
            false,
            || {},
        )
        .unwrap();
        let mut indexer = run.indexer();
        indexer.is_urgent = true;
        run.append([accepted(1, 1 << 10)]);
        run.fill(1_000);
        for n in 10_000.. {
            if run.journal.room() != Room::Ample {
                break;
            }
            run.append([accepted(n, 64 << 10), ended(n)]);
        }
        catch_up(&mut indexer);
        fault.strike_after(wrong);
        Collector::default().collect(&mut indexer);
        let has_struck = fault.has_struck();
        fault.strike_after(-1);
        assert!(indexer.makes_room, "read {wrong}");
        assert_eq!(run.entries_of(id(1)), [accepted(1, 1 << 10)], "read {wrong}");
        if !has_struck {
            break;
        }
        wrong += 1;
    }
    assert!(wrong > 0);
}
