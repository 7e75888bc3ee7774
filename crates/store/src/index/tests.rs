//! The index over real files: what readers see before and after commits, restarts, damage and a full disk.

use super::samples::{accepted, ended, execution, identity, logged, row, started, steps};
use super::status::Gather;
use super::{EndedRow, ExecutionIndex, ExecutionRow, Feed, FeedOptions, Filter, Limits, Logged, Rebuild, Status};
use crate::fault_backend::FaultFolder;
use crate::history::{History, HistoryOptions, SEGMENTS_PER_FILE};
use crate::pressure::{IndexLag, StoragePressure};
use crate::state::{StateOptions, StateStore};
use perseat_domain::entry::{EndStatus, Entry};
use perseat_domain::id::{CustomerId, ExecutionId, InstanceId, UserConfigId, UserId};
use perseat_domain::time::Timestamp;
use perseat_journal::disk::{Fault, MemoryDisk};
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

const ENTRIES_PER_SEGMENT: u64 = 40;

fn feed() -> Arc<Feed> {
    Arc::new(Feed::new(
        FeedOptions::default(),
        Arc::new(IndexLag::default()),
        Arc::new(StoragePressure::default()),
    ))
}

fn history(directory: &Path) -> Arc<History> {
    let options = HistoryOptions {
        max_open: 2,
        scan_rows: 50,
        ..HistoryOptions::default()
    };
    Arc::new(History::open(&directory.join("history"), options).unwrap())
}

fn index(directory: &Path, feed: &Arc<Feed>) -> ExecutionIndex {
    let state = Arc::new(StateStore::open(&directory.join("state.redb"), &StateOptions::default()).unwrap());
    ExecutionIndex::open(state, history(directory), Arc::clone(feed), 0, Limits::default()).unwrap()
}

/// Executions that end in turn, every seventh not at all and every third only much later.
fn log(executions: u64) -> Vec<Logged> {
    let mut entries = Vec::new();
    let mut late = Vec::new();
    for n in 0..executions {
        let id = execution(1_000_000 + n, n);
        entries.push(accepted(id, identity(u128::from(n % 23)), 1_000_000 + n));
        entries.push(started(id, 1, 1));
        entries.push(steps(id, 1, 1));
        match n {
            _ if n % 7 == 0 => {}
            _ if n % 3 == 0 => late.push(ended(id, EndStatus::Failed)),
            _ => entries.push(ended(id, EndStatus::Succeeded)),
        }
        if late.len() > 20 {
            entries.append(&mut late);
        }
    }
    let place = |(position, entry)| {
        let position = position as u64;
        logged(position << 8, (position / ENTRIES_PER_SEGMENT) as u32, entry)
    };
    entries.iter().enumerate().map(place).collect()
}

/// All pages of a list.
fn walk(index: &ExecutionIndex, filter: &Filter, limit: usize) -> Vec<(ExecutionId, Status)> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = index.list(filter, before, limit).unwrap();
        assert!(page.rows.len() <= limit);
        all.extend(page.rows.iter().map(|(id, row)| (*id, row.status())));
        match page.next {
            Some(next) => {
                assert!(before.is_none_or(|before| next < before), "pages go down");
                before = Some(next);
            }
            None => return all,
        }
    }
}

fn filters() -> Vec<Filter> {
    let base = Filter::default();
    vec![
        base.clone(),
        Filter {
            instance: Some(InstanceId(Uuid::from_u128(2))),
            ..base.clone()
        },
        Filter {
            user_config: Some(UserConfigId(Uuid::from_u128(5))),
            ..base.clone()
        },
        Filter {
            user: Some(UserId(Uuid::from_u128(5))),
            status: vec![Status::Failed, Status::Running],
            ..base.clone()
        },
        Filter {
            customer: Some(CustomerId(Uuid::from_u128(9))),
            ..base.clone()
        },
        Filter {
            since: Some(Timestamp(1_000_100)),
            until: Some(Timestamp(1_000_200)),
            ..base.clone()
        },
        Filter {
            status: vec![Status::Running],
            ..base
        },
    ]
}

#[test]
fn lists_merge_memory_state_and_every_history_file() {
    let directory = tempfile::tempdir().unwrap();
    let feed = feed();
    let index = index(directory.path(), &feed);
    let log = log(500);
    let (committed, recent) = log.split_at(log.len() - 300);
    index.apply(committed).unwrap();
    index.flush().unwrap();
    feed.push(recent.iter().cloned());

    let whole = walk(&index, &Filter::default(), 1_000);
    assert_eq!(whole.len(), 500, "every execution once, also those never committed");
    assert!(whole.is_sorted_by(|a, b| a.0 > b.0), "newest first");
    for filter in filters() {
        let rows = |id: &ExecutionId| index.get(*id).unwrap().unwrap();
        let expected: Vec<_> = whole.iter().filter(|(id, _)| filter.matches(&rows(id))).copied().collect();
        for limit in [7, 100] {
            assert_eq!(walk(&index, &filter, limit), expected, "{filter:?}");
        }
    }
}

#[test]
fn a_restart_at_any_commit_shows_the_same_executions() {
    let log = log(120);
    let expected = {
        let directory = tempfile::tempdir().unwrap();
        let index = index(directory.path(), &feed());
        index.apply(&log).unwrap();
        index.flush().unwrap();
        (walk(&index, &Filter::default(), 50), index.live().unwrap(), index.backlog())
    };
    let directory = tempfile::tempdir().unwrap();
    for cut in [0, 1, 77, 200, 201, log.len()] {
        let index = index(directory.path(), &feed());
        let from = index.applied();
        let rest = log[..cut].iter().filter(|logged| Some(logged.position) >= from);
        // The later half is applied and lost in the crash.
        let (stored, lost): (Vec<&Logged>, Vec<&Logged>) = rest.partition(|logged| logged.position < (cut as u64) << 7);
        index.apply(stored).unwrap();
        index.flush().unwrap();
        index.apply(lost).unwrap();
    }
    let index = index(directory.path(), &feed());
    index.apply(&log).unwrap();
    assert_eq!(
        (walk(&index, &Filter::default(), 50), index.live().unwrap(), index.backlog()),
        expected
    );
}

#[test]
fn live_executions_come_in_the_order_in_which_they_were_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let index = index(directory.path(), &feed());
    let ids: Vec<_> = [5, 3, 9, 1].map(|n| execution(n, n)).into();
    for (position, id) in ids.iter().enumerate() {
        index.apply(&[logged(position as u64, 0, &accepted(*id, identity(1), 1))]).unwrap();
        if position == 1 {
            index.flush().unwrap();
        }
    }
    let live: Vec<_> = index.live().unwrap().iter().map(|live| live.execution).collect();
    assert_eq!(live, ids);
}

#[test]
fn a_damaged_or_missing_history_file_is_made_again_from_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(300);
    let (expected, watermark) = {
        let index = index(directory.path(), &feed());
        index.apply(&log).unwrap();
        index.flush().unwrap();
        (walk(&index, &Filter::default(), 100), log.last().unwrap().segment)
    };
    std::fs::write(directory.path().join("history/000001.redb"), vec![0x5a; 100_000]).unwrap();
    std::fs::remove_file(directory.path().join("history/000003.redb")).unwrap();

    let damaged = history(directory.path());
    let missing = damaged.missing(0..=watermark);
    assert_eq!(missing, [1, 3].into());
    let mut rebuild = Rebuild::new(&damaged, missing, Limits::default());
    log.iter().for_each(|logged| rebuild.apply(logged).unwrap());
    assert!(rebuild.finish().unwrap() > 0);
    assert!(damaged.missing(0..=watermark).is_empty());
    drop(damaged);
    assert_eq!(walk(&index(directory.path(), &feed()), &Filter::default(), 100), expected);
}

/// Replaces the pointers to all but the outer children of each inner page.
fn damage_inner_pages(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    for page in bytes.chunks_exact_mut(4_096).filter(|page| page[0] == 2) {
        // A head of eight bytes; then a checksum and a page number for each child.
        let children = 1 + usize::from(u16::from_le_bytes([page[2], page[3]]));
        let pointer = |child: usize| 8 + 16 * children + 8 * child;
        if let Some(pointers) = page.get_mut(pointer(1)..pointer(children - 1)) {
            pointers.fill(0xff);
        }
    }
    std::fs::write(file, bytes).unwrap();
}

/// Makes pages of no kind of the leaves in which the 1,000th of the rows below and the one before it stand.
fn spoil_leaves(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let keys = [999, 1_000].map(|n| execution(999_000 + n, n).0.as_u128().to_le_bytes());
    for page in bytes.chunks_exact_mut(4_096).filter(|page| page[0] == 1) {
        if page.windows(16).any(|window| keys.iter().any(|key| key == window)) {
            page[0] = 9;
        }
    }
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_history_file_whose_damage_is_met_goes_and_is_made_again_by_the_next_start() {
    for damage in [damage_inner_pages, spoil_leaves] {
        damage_is_met(damage);
    }
}

fn damage_is_met(damage: fn(&Path)) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("history/000001.redb");
    let reopened = || index(directory.path(), &feed());
    let of = |n: u64| EndedRow {
        execution: execution(999_000 + n, n),
        segment: SEGMENTS_PER_FILE,
        row: row(n, 1),
    };
    {
        let index = reopened();
        index.apply(&log(300)).unwrap();
        index.flush().unwrap();
        index.history().apply(&(0..2_000).map(of).collect::<Vec<_>>(), None).unwrap();
    }
    let whole = std::fs::read(&file).unwrap();
    damage(&file);
    let damaged = std::fs::read(&file).unwrap();
    assert_ne!(damaged, whole);

    let written = reopened();
    assert!(written.history().missing([SEGMENTS_PER_FILE]).is_empty(), "it opens");
    // In the midst of the others.
    let end = ended(execution(1_000_000, 0), EndStatus::Failed);
    written.apply([&logged(u64::MAX, SEGMENTS_PER_FILE, &end)]).unwrap();
    assert_eq!(written.flush().unwrap().ended, 1);
    written.history().complete(1).unwrap();
    assert!(written.history().has_given_away(&[1].into()) && !file.exists());
    drop(written);
    assert_eq!(reopened().history().missing([0, SEGMENTS_PER_FILE]), [1].into());

    std::fs::write(&file, damaged).unwrap();
    let read = reopened();
    assert!(walk(&read, &Filter::default(), 100).len() > 200, "other files are listed");
    read.history().apply(&[], None).unwrap();
    assert!(read.history().has_given_away(&[1].into()) && !file.exists());
}

#[test]
fn a_row_that_does_not_decode_hides_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let of = |n: u64| EndedRow {
        execution: execution(1_000 + n, n),
        segment: 0,
        row: row(n, 1),
    };
    history(directory.path()).apply(&[of(1), of(101), of(102)], None).unwrap();
    let file = directory.path().join("history/000000.redb");
    let (mut bytes, stored) = (std::fs::read(&file).unwrap(), row(101, 1).encode());
    let at = bytes.windows(stored.len()).position(|window| window == stored).unwrap();
    bytes[at] = 0xee;
    std::fs::write(&file, bytes).unwrap();
    let index = index(directory.path(), &feed());
    let listed = |customer| {
        let filter = Filter {
            customer,
            ..Filter::default()
        };
        walk(&index, &filter, 10).into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    let customer = |n: u128| Some(identity(n).customer);
    assert_eq!(listed(customer(1)), [of(1).execution]);
    assert_eq!(listed(customer(101)), [of(102).execution]);
    assert_eq!(listed(None), [of(102).execution, of(1).execution]);
    assert!(index.get(of(101).execution).is_err() && index.get(of(1).execution).unwrap().is_some());
    assert!(file.exists());
}

#[test]
fn whoever_reads_history_changes_nothing_on_the_disk() {
    let disk = MemoryDisk::new(1);
    let open = || {
        let options = HistoryOptions {
            max_open: 2,
            ..HistoryOptions::default()
        };
        History::open_in(FaultFolder::of(&disk), options).unwrap()
    };
    let of = |n: u64| EndedRow {
        execution: execution(1_000_000 * (n + 1), n),
        segment: n as u32 * SEGMENTS_PER_FILE,
        row: ExecutionRow {
            accepted_at: Timestamp(1_000_000 * (n + 1)),
            ..row(n, 1)
        },
    };
    open().apply(&(0..10).map(of).collect::<Vec<_>>(), None).unwrap();
    let changes = disk.changes();
    let history = open();
    let try_listed = |filter: &Filter| {
        let mut gather = Gather::new(10);
        let gathered = history.gather(filter, None, &mut gather);
        gathered.map(|()| gather.page().rows.into_iter().map(|(id, _)| id).collect::<Vec<_>>())
    };
    let listed = |filter: &Filter| try_listed(filter).unwrap();
    let rare = Filter {
        user_config: Some(UserConfigId(Uuid::from_u128(3))),
        ..Filter::default()
    };
    for _ in 0..2 {
        assert_eq!(listed(&rare), [of(2).execution]);
    }
    assert_eq!(disk.changes(), changes);
    for call in 0..20 {
        disk.fail_at(disk.calls() + call, Fault::Error);
        assert!(try_listed(&rare).is_err(), "call {call}");
        assert_eq!(listed(&rare), [of(2).execution], "a file that failed is opened again");
    }

    let before = disk.calls();
    let since = |millis| Filter {
        since: Some(Timestamp(millis)),
        ..rare.clone()
    };
    assert_eq!(listed(&since(100_000_000)), []);
    assert_eq!(disk.calls(), before, "no file is opened that is older");
    assert_eq!(listed(&since(3_000_000)), [of(2).execution]);

    // What is open to be read alone is written all the same.
    let late = EndedRow {
        execution: execution(1, 1),
        ..of(2)
    };
    history.apply(&[late], None).unwrap();
    assert_eq!(listed(&rare), [of(2).execution, execution(1, 1)]);
}

#[test]
fn a_history_file_that_was_made_again_in_part_is_made_again_wholly() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(2_200);
    let (expected, last) = {
        let index = index(directory.path(), &feed());
        index.apply(&log).unwrap();
        index.flush().unwrap();
        (walk(&index, &Filter::default(), 1_000), log.last().unwrap().segment)
    };
    std::fs::remove_file(directory.path().join("history/000050.redb")).unwrap();
    // So that rows of the file are stored before the last of them is known.
    let log = &log[80..];
    for ends in [true, false] {
        let history = history(directory.path());
        let missing = history.missing(0..=last);
        assert_eq!(missing, [50].into());
        let mut rebuild = Rebuild::new(&history, missing, Limits::default());
        let read = if ends { 8_005 } else { log.len() };
        log[..read].iter().for_each(|logged| rebuild.apply(logged).unwrap());
        assert!(directory.path().join("history/000050.redb").exists());
        if !ends {
            rebuild.finish().unwrap();
        }
    }
    let index = index(directory.path(), &feed());
    assert!(index.history().missing(0..=last).is_empty());
    assert_eq!(walk(&index, &Filter::default(), 1_000), expected);
}

#[test]
fn history_that_there_is_no_room_to_make_again_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(2_200);
    let last = log.last().unwrap().segment;
    let history = history(directory.path());
    let missing = history.missing(0..=last);
    let mut rebuild = Rebuild::new(&history, missing.clone(), Limits::default());
    log.iter().take(8_005).for_each(|logged| rebuild.apply(logged).unwrap());
    assert!(history.rows() > 0 && files_in(directory.path()) > 0, "part of it is there");
    assert_eq!(history.give_away_incomplete(), missing.len());
    assert_eq!((history.rows(), files_in(directory.path())), (0, 0));
    assert_eq!(history.missing(0..=last), missing);
    assert!(missing.iter().all(|number| history.has_given_away(&[*number].into())));
}

#[test]
fn history_goes_in_whole_files_once_all_their_segments_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let index = index(directory.path(), &feed());
    index.apply(&log(300)).unwrap();
    index.flush().unwrap();
    let history = index.history();
    let (files, rows) = (files_in(directory.path()), history.rows());
    assert_eq!(
        history.drop_before(SEGMENTS_PER_FILE - 1).files,
        0,
        "a range goes when its last segment goes"
    );
    let dropped = history.drop_before(SEGMENTS_PER_FILE);
    assert_eq!((dropped.files, files_in(directory.path())), (1, files - 1));
    assert_eq!(history.rows(), rows - dropped.rows);
    assert!(dropped.rows > 0);
    while history.drop_oldest().files > 0 {}
    assert_eq!(files_in(directory.path()), 1, "the newest file stays");
}

#[test]
fn a_history_file_that_was_given_away_is_made_again_as_a_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(300);
    let index = index(directory.path(), &feed());
    index.apply(&log).unwrap();
    index.flush().unwrap();
    let expected = walk(&index, &Filter::default(), 100);
    let history_now = index.history();
    assert_eq!(history_now.drop_oldest().files, 1);
    // What ended there and was not committed yet.
    let late = EndedRow {
        execution: execution(9_999, 9_999),
        segment: 0,
        row: row(9_999, 9_999),
    };
    history_now.apply(&[late], [0, SEGMENTS_PER_FILE]).unwrap();
    let missing = history_now.missing([0]);
    assert!(missing == [0].into() && history_now.has_given_away(&missing));
    assert!(!history_now.has_given_away(&[1].into()));
    drop(index);

    let later = history(directory.path());
    let missing = later.missing([0]);
    assert_eq!(missing, [0].into());
    let mut rebuild = Rebuild::new(&later, missing.clone(), Limits::default());
    log.iter().for_each(|logged| rebuild.apply(logged).unwrap());
    assert!(rebuild.finish().unwrap() > 0 && !later.has_given_away(&missing));
    drop(later);
    assert_eq!(walk(&self::index(directory.path(), &feed()), &Filter::default(), 100), expected);
}

#[test]
fn a_full_disk_holds_indexing_up_and_hides_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let disk = MemoryDisk::new(1);
    let state = StateStore::open_in(FaultFolder::of(&disk), "state.redb", &StateOptions::default());
    let state = Arc::new(state.unwrap());
    let index = ExecutionIndex::open(state, history(directory.path()), feed(), 0, Limits::default()).unwrap();
    disk.set_capacity(disk.used());
    let entries: Vec<_> = (0..20_000)
        .map(|n| logged(n, 0, &accepted(execution(n + 1, n), identity(1), n)))
        .collect();
    index.apply(&entries).unwrap();
    let error = index.flush().unwrap_err();
    assert!(error.is_full(), "{error:?}");
    assert!(
        index.get(execution(15_001, 15_000)).unwrap().is_some(),
        "what was acknowledged is seen"
    );
    assert_eq!(index.pending(), 20_000);

    disk.set_capacity(u64::MAX);
    assert_eq!(index.flush().unwrap().entries, 20_000);
    assert_eq!(index.live().unwrap().len(), 20_000);
}

fn files_in(directory: &Path) -> usize {
    std::fs::read_dir(directory.join("history")).unwrap().count()
}

#[test]
fn the_oldest_live_execution_is_known_committed_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let index = index(directory.path(), &feed());
    let ids = [1, 2, 3].map(|n| execution(1_000_000 + n, n));
    let mut position = 0;
    let mut apply = |entry: &Entry| {
        position += 1;
        index.apply([&logged(position << 8, 0, entry)]).unwrap();
    };
    assert_eq!(index.oldest_live().unwrap(), None);
    for (n, id) in (1..).zip(ids) {
        apply(&accepted(id, identity(7), 1_000_000 + n));
        if n < 3 {
            index.flush().unwrap();
        }
    }
    for expected in [1_000_001, 1_000_002, 1_000_003] {
        assert_eq!(index.oldest_live().unwrap(), Some(Timestamp(expected)));
        apply(&ended(ids[expected as usize - 1_000_001], EndStatus::Succeeded));
    }
    assert_eq!(index.oldest_live().unwrap(), None);
}

#[test]
fn readers_take_no_more_from_the_queue_than_may_wait_for_a_commit_that_fails() {
    let directory = tempfile::tempdir().unwrap();
    let disk = MemoryDisk::new(1);
    let state = StateStore::open_in(FaultFolder::of(&disk), "state.redb", &StateOptions::default()).unwrap();
    let feed = feed();
    let limits = Limits {
        pending: 2_000,
        ..Limits::default()
    };
    let index = ExecutionIndex::open(Arc::new(state), history(directory.path()), Arc::clone(&feed), 0, limits).unwrap();
    let mut position = 0;
    let mut push = |count: u64| {
        let entries: Vec<Logged> = (position + 1..=position + count)
            .map(|n| logged(n << 8, 0, &accepted(execution(1_000_000 + n, n), identity(7), 1_000_000 + n)))
            .collect();
        position += count;
        feed.push(entries.iter().cloned());
    };
    push(1);
    index.catch_up().unwrap();
    index.flush().unwrap();
    disk.set_capacity(disk.used());
    for _ in 0..200 {
        push(25);
        let _ = index.flush();
        let _ = index.get(execution(1, 1)).unwrap();
    }
    assert_eq!(index.pending(), 2_000);
    assert!(!feed.is_empty(), "the rest waits in the queue, which is bounded");
    assert_eq!(index.oldest_live().unwrap(), Some(Timestamp(1_000_001)), "accepted first, and live");

    disk.set_capacity(u64::MAX);
    index.flush().unwrap();
    let last = execution(1_000_000 + position, position);
    assert!(index.get(last).unwrap().is_some(), "readers see everything again");
    assert!(feed.is_empty());
}

#[test]
fn what_is_not_known_yet_may_be_the_oldest_that_is_live() {
    let directory = tempfile::tempdir().unwrap();
    let feed = Arc::new(Feed::new(
        FeedOptions {
            queue_entries: 1,
            ..FeedOptions::default()
        },
        Arc::new(IndexLag::default()),
        Arc::new(StoragePressure::default()),
    ));
    let index = index(directory.path(), &feed);
    let ids = [1, 2].map(|n| execution(1_000_000 + n, n));
    let entries = [
        logged(1 << 8, 0, &accepted(ids[0], identity(7), 1_000_001)),
        logged(2 << 8, 0, &ended(ids[0], EndStatus::Succeeded)),
        logged(3 << 8, 0, &accepted(ids[1], identity(7), 1_000_002)),
    ];
    let push = |n: usize| feed.push(entries[n..=n].iter().cloned());
    push(0);
    index.catch_up().unwrap();
    push(1);
    push(2);
    assert!(feed.has_overflowed());
    assert_eq!(index.oldest_live().unwrap(), Some(Timestamp(1_000_001)), "no later than the second");
    index.apply_all(&entries).unwrap();
    assert!(feed.resume(3 << 8));
    assert_eq!(index.oldest_live().unwrap(), Some(Timestamp(1_000_002)));
}
