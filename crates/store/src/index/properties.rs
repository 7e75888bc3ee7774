//! The core against a model that recomputes everything from the whole log, under any batching, crash and restart.

use super::core::{Backlog, Core, EndedRow, Stored};
use super::samples::{accepted, called, cancelled, ended, execution, identity, logged, parked, started, steps};
use super::{Copies, ExecutionRow, IndexError, Limits, Logged, Status};
use crate::usage::Added;
use perseat_domain::entry::{Called, Cancelled, Carried, EndStatus, Entry, EntryHead, EntryRef, Parked, Started, StepsDone};
use perseat_domain::id::ExecutionId;
use perseat_domain::time::Timestamp;
use perseat_domain::usage::{Amount, UsageKey};
use proptest::prelude::*;
use std::collections::BTreeMap;

const LIMITS: Limits = Limits {
    steps_listed: 3,
    state_scan: 20_000,
    pending: 1_000,
};
const EXECUTIONS: u64 = 5;

/// What one execution looks like to the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    /// Of each entry: position and size of the payload it stands in.
    places: Vec<(u64, u32)>,
    attempt: u32,
    steps: u32,
    steps_listed: usize,
    log_lines: u32,
    cancel_requested: bool,
    is_parked: bool,
    status: Option<EndStatus>,
    /// Not of the row: what it used.
    used: Amount,
}

impl Model {
    fn of_row(row: &ExecutionRow) -> Self {
        let places = row
            .entries
            .iter()
            .flat_map(|it| std::iter::repeat_n((it.position, it.bytes), it.entries as usize));
        let mut sizes: BTreeMap<u64, u64> = BTreeMap::new();
        sizes.extend(row.entries.iter().map(|it| (it.position, u64::from(it.bytes))));
        assert_eq!(
            row.bytes,
            sizes.values().sum::<u64>(),
            "the size is that of the payloads referred to"
        );
        Self {
            places: places.collect(),
            attempt: row.attempt,
            steps: row.steps_finished,
            steps_listed: row.steps.len(),
            log_lines: row.log_counts.iter().map(|(_, count)| count).sum(),
            cancel_requested: row.cancel_requested,
            is_parked: row.parked.is_some(),
            status: row.outcome.as_ref().map(|outcome| outcome.status),
            used: Amount::default(),
        }
    }

    fn is_live(&self) -> bool {
        self.status.is_none()
    }
}

/// Recomputes all executions from the whole log.
fn model_of(log: &[Logged]) -> BTreeMap<ExecutionId, Model> {
    let mut all: BTreeMap<ExecutionId, Model> = BTreeMap::new();
    for logged in log {
        let entry = Entry::decode(&logged.payload).unwrap();
        let place = (logged.position, logged.payload.len() as u32);
        if matches!(entry, Entry::Accepted(_)) {
            all.entry(entry.execution()).or_default();
        }
        let Some(model) = all.get_mut(&entry.execution()).filter(|model| model.is_live()) else {
            continue;
        };
        match entry {
            Entry::Carried(carried) => {
                let first = carried.first as usize;
                // Where a place is begun by others, they have to be carried first.
                if first == 0 || model.places[first - 1] != model.places[first] {
                    model.places[first..first + carried.entries.len()].fill(place);
                }
                continue;
            }
            Entry::Started(started) => {
                if started.attempt != model.attempt {
                    (model.steps, model.steps_listed) = (0, 0);
                }
                model.used.executions += u64::from(model.attempt == 0);
                model.attempt = started.attempt;
                model.is_parked = false;
            }
            Entry::StepsDone(done) => {
                model.steps += done.steps.len() as u32;
                model.steps_listed = LIMITS.steps_listed.min(model.steps as usize);
                model.log_lines += done.log_counts.iter().map(|(_, count)| count).sum::<u32>();
            }
            Entry::Called(called) => {
                for calls in &called.calls {
                    model.used.add(Amount {
                        executions: u64::from(calls.is_first),
                        calls: calls.count.into(),
                        sent: calls.sent,
                        received: calls.received,
                    });
                }
            }
            Entry::Parked(_) => model.is_parked = true,
            Entry::Cancelled(_) => model.cancel_requested = true,
            Entry::Ended(ended) => {
                model.status = Some(ended.status);
                model.is_parked = false;
            }
            Entry::Accepted(_) => {}
        }
        model.places.push(place);
    }
    all
}

/// One thing that happens to execution `who`.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Accept,
    Start(u32),
    Finish(usize),
    Call,
    Park,
    Cancel,
    End,
    /// The collector reads what it will carry.
    Read,
    /// The collector appends what it read, cut in two where the number falls within: the front, the rest or both.
    Carry(usize, [bool; 2]),
}

fn happening() -> impl Strategy<Value = (u64, Happening)> {
    let what = prop_oneof![
        3 => Just(Happening::Accept),
        2 => (1..4u32).prop_map(Happening::Start),
        3 => (0..4usize).prop_map(Happening::Finish),
        2 => Just(Happening::Call),
        1 => Just(Happening::Park),
        1 => Just(Happening::Cancel),
        1 => Just(Happening::End),
        2 => Just(Happening::Read),
        2 => (0..4usize, any::<[bool; 2]>()).prop_map(|(cut, which)| Happening::Carry(cut, which)),
    ];
    (0..EXECUTIONS, what)
}

/// Writes the log that these happenings leave; after its end an execution may still get late entries.
fn write_log(happenings: &[(u64, Happening)]) -> Vec<Logged> {
    let mut log: Vec<Logged> = Vec::new();
    let mut read: BTreeMap<u64, Vec<bytes::Bytes>> = BTreeMap::new();
    for (who, what) in happenings {
        let id = execution(1_000 + who, *who);
        let models = model_of(&log);
        let live = models.get(&id).is_some_and(Model::is_live);
        let entry = match what {
            Happening::Accept if !models.contains_key(&id) => accepted(id, identity(u128::from(*who)), 1_000 + who),
            Happening::Start(attempt) if live => started(id, *attempt, 1),
            Happening::Finish(count) => steps(id, 1, *count),
            Happening::Call => {
                let is_first = models.get(&id).is_none_or(|model| model.used.calls == 0);
                called(id, is_first)
            }
            Happening::Park => parked(id),
            Happening::Cancel => cancelled(id),
            Happening::End => ended(id, EndStatus::Failed),
            Happening::Read if live => {
                read.insert(*who, entries_of(&log, &models[&id]));
                continue;
            }
            Happening::Carry(cut, which) => {
                let entries = read.remove(who).unwrap_or_default();
                let (front, back) = entries.split_at((*cut).min(entries.len()));
                let first = front.len() as u32;
                for ((first, part), is_written) in [(0, front), (first, back)].into_iter().zip(which) {
                    let entries = part.to_vec();
                    if !entries.is_empty() && *is_written {
                        let position = log.len() as u64 + 10;
                        log.push(logged(
                            position,
                            position as u32 / 8,
                            &Entry::from(Carried {
                                execution: id,
                                first,
                                entries,
                            }),
                        ));
                    }
                }
                continue;
            }
            _ => continue,
        };
        let position = log.len() as u64 + 10;
        log.push(logged(position, position as u32 / 8, &at(entry, position)));
    }
    log
}

/// With a time of its own, as no two entries of an execution are the same.
fn at(entry: Entry, position: u64) -> Entry {
    let at = Timestamp(position);
    match entry {
        Entry::Started(started) => Entry::from(Started { at, ..started }),
        Entry::StepsDone(done) => Entry::from(StepsDone {
            attempt: position as u32,
            ..done
        }),
        Entry::Called(called) => Entry::from(Called { at, ..called }),
        Entry::Parked(parked) => Entry::from(Parked { at, ..parked }),
        Entry::Cancelled(cancelled) => Entry::from(Cancelled { at, ..cancelled }),
        other => other,
    }
}

/// What the whole log gives, and what is left of it once all went that nothing live needs.
fn made_from(log: &[Logged], copies: Option<&Copies>) -> Disk {
    let mut disk = Disk::default();
    let mut core = disk.core();
    for beginning in copies.into_iter().flat_map(Copies::beginnings) {
        let stands = |(position, _): &(u64, u32)| log.iter().find(|logged| logged.position == *position).unwrap().clone();
        let copies: Vec<Logged> = beginning.places.iter().map(stands).collect();
        core.take_over(&beginning, &copies);
    }
    for logged in log {
        core.apply(logged, &disk).unwrap();
    }
    disk.commit(&mut core, false);
    assert_eq!(core.backlog().executions, disk.live.len() as u64);
    disk
}

/// An execution as its entries say it is, wherever they stand.
fn told(log: &[Logged], row: &ExecutionRow) -> (Vec<bytes::Bytes>, Model) {
    let model = Model::of_row(row);
    (
        entries_of(log, &model),
        Model {
            places: Vec::new(),
            ..model
        },
    )
}

/// The entries of an execution, as the collector reads them.
fn entries_of(log: &[Logged], model: &Model) -> Vec<bytes::Bytes> {
    let at = |position: u64| log.iter().find(|logged| logged.position == position).unwrap().payload.clone();
    let places = model.places.chunk_by(|one, next| one == next);
    let unpacked = places.flat_map(|place| super::unpack(at(place[0].0), place.len() as u32).unwrap());
    unpacked.collect()
}

/// What survives a crash.
#[derive(Debug, Default)]
struct Disk {
    live: BTreeMap<ExecutionId, ExecutionRow>,
    history: BTreeMap<ExecutionId, ExecutionRow>,
    watermark: Option<u64>,
    usage: BTreeMap<UsageKey, Amount>,
    has_doubted: bool,
}

impl Stored for Disk {
    fn stored(&self, execution: ExecutionId) -> Result<Option<ExecutionRow>, IndexError> {
        Ok(self.live.get(&execution).cloned())
    }
}

impl Disk {
    fn core(&self) -> Core {
        let bytes = self.live.values().map(|row| row.bytes).sum();
        let backlog = Backlog {
            executions: self.live.len() as u64,
            bytes,
        };
        Core::new(self.watermark, backlog, LIMITS)
    }

    /// Commits; `torn` stands for a crash after history and before state.
    fn commit(&mut self, core: &mut Core, torn: bool) {
        let Some((batch, ended)) = core.net() else { return };
        for EndedRow { execution, row, .. } in ended {
            self.history.insert(execution, row);
        }
        if torn {
            *core = self.core();
            return;
        }
        for execution in batch.remove {
            let was_stored = self.live.remove(&execution).is_some();
            assert!(was_stored || self.has_doubted, "only what is stored is removed");
        }
        self.live.extend(batch.put);
        self.add(&batch.usage);
        self.watermark = Some(batch.watermark);
        core.committed();
    }

    fn add(&mut self, usage: &[Added]) {
        let added = usage
            .iter()
            .filter(|added| self.watermark.is_none_or(|watermark| watermark < added.through));
        for (key, amount) in added.flat_map(|added| added.addition.rows()) {
            self.usage.entry(key.clone()).or_default().add(*amount);
        }
    }

    /// Commits, and the answer says that it failed.
    fn commit_in_doubt(&mut self, core: &mut Core) {
        let Some((batch, ended)) = core.net() else { return };
        self.history.extend(ended.into_iter().map(|ended| (ended.execution, ended.row)));
        for execution in batch.remove {
            self.live.remove(&execution);
        }
        self.live.extend(batch.put);
        self.add(&batch.usage);
        self.watermark = Some(batch.watermark);
        self.has_doubted = true;
        core.doubtful();
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    GoOn,
    Commit,
    Crash,
    TornCommit,
    DoubtfulCommit,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![6 => Just(Event::GoOn), 2 => Just(Event::Commit), 1 => Just(Event::Crash), 1 => Just(Event::TornCommit),
        1 => Just(Event::DoubtfulCommit)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_batching_and_any_restart_give_what_the_whole_log_says(
        happenings in prop::collection::vec(happening(), 0..60),
        events in prop::collection::vec(event(), 1..40),
    ) {
        let log = write_log(&happenings);
        let mut disk = Disk::default();
        let mut core = disk.core();
        let mut events = events.into_iter().chain(std::iter::repeat(Event::GoOn));
        let mut next = 0;
        while next < log.len() {
            core.apply(&log[next], &disk).unwrap();
            next += 1;
            match events.next() {
                Some(Event::Commit) => disk.commit(&mut core, false),
                Some(Event::TornCommit) => disk.commit(&mut core, true),
                Some(Event::DoubtfulCommit) => {
                    disk.commit_in_doubt(&mut core);
                    continue;
                }
                Some(Event::Crash) => core = disk.core(),
                _ => continue,
            }
            // A restart reads from the watermark on, inclusive.
            let from = core.applied();
            next = log.partition_point(|logged| Some(logged.position) < from);
        }
        let backlog = core.backlog();
        disk.commit(&mut core, false);

        let mut expected = model_of(&log);
        let mut used = Amount::default();
        disk.usage.values().for_each(|amount| used.add(*amount));
        let mut expected_use = Amount::default();
        for model in expected.values_mut() {
            expected_use.add(std::mem::take(&mut model.used));
        }
        prop_assert_eq!(used, expected_use);
        let live: BTreeMap<_, _> = disk.live.iter().map(|(id, row)| (*id, Model::of_row(row))).collect();
        let history: BTreeMap<_, _> = disk.history.iter().map(|(id, row)| (*id, Model::of_row(row))).collect();
        let (expected_live, expected_history) = expected.into_iter().partition(|(_, model)| model.is_live());
        prop_assert_eq!(&live, &expected_live);
        prop_assert_eq!(history, expected_history);
        prop_assert_eq!(backlog.executions, live.len() as u64);
        prop_assert_eq!(backlog.bytes, disk.live.values().map(|row| row.bytes).sum::<u64>());
        for (id, row) in &disk.live {
            let accepted_at = log.iter().find(|logged| Entry::decode(&logged.payload).unwrap().execution() == *id && matches!(Entry::decode(&logged.payload), Ok(Entry::Accepted(_))));
            prop_assert_eq!(Some(row.accepted), accepted_at.map(|logged| logged.position), "queue order survives carrying");
        }
    }

    #[test]
    fn the_journal_alone_tells_what_is_live_however_it_was_carried(happenings in prop::collection::vec(happening(), 0..90), most in 0..20u32) {
        let log = write_log(&happenings);
        let Disk { live: expected, history: had_ended, .. } = made_from(&log, None);
        let needed = expected.values().flat_map(|row| &row.entries).map(|reference| reference.position).min();
        let oldest = log.iter().find(|logged| Some(logged.position) == needed).map_or(most, |logged| logged.segment.min(most));
        let left: Vec<Logged> = log.iter().filter(|logged| logged.segment >= oldest).cloned().collect();
        let heads: Vec<EntryHead> = left.iter().map(|logged| EntryHead::read(&logged.payload).unwrap()).collect();
        let carried = heads.iter().filter(|head| matches!(head, EntryHead::Carried { .. })).map(EntryHead::execution);
        let mut copies = Copies::of(carried.collect());
        left.iter().for_each(|logged| copies.take(logged));
        let Disk { live, history, .. } = made_from(&left, Some(&copies));
        for (id, row) in &expected {
            prop_assert_eq!(live.get(id).map(|row| told(&left, row)), Some(told(&log, row)));
        }
        let mut others = live.keys().filter(|id| !expected.contains_key(id));
        prop_assert!(others.all(|id| !heads.contains(&EntryHead::Ended(*id))), "only an end that went with its segment is not known");
        for (id, row) in history.iter().filter(|(_, row)| !row.entries.contains(&EntryRef::UNKNOWN)) {
            prop_assert_eq!(told(&left, row), told(&log, &had_ended[id]));
        }
    }

    #[test]
    fn packed_entries_come_out_in_order_and_within_the_limit(
        sizes in prop::collection::vec(1..400usize, 1..30),
        max_bytes in 500..2_000usize,
    ) {
        let id = execution(1, 1);
        let payloads: Vec<bytes::Bytes> = sizes.iter().map(|size| bytes::Bytes::from(vec![1, 1].into_iter().chain(vec![0; *size]).collect::<Vec<u8>>())).collect();
        let packed = super::pack(id, 0, payloads.clone(), max_bytes);
        let mut first = 0;
        for carried in &packed {
            prop_assert_eq!(carried.first, first);
            first += carried.entries.len() as u32;
            prop_assert!(Entry::from(carried.clone()).encode().len() <= max_bytes);
        }
        prop_assert_eq!(packed.into_iter().flat_map(|carried| carried.entries).collect::<Vec<_>>(), payloads);
    }
}

#[test]
fn an_execution_that_ends_within_one_batch_is_never_stored_as_live() {
    let disk = Disk::default();
    let mut core = disk.core();
    let id = execution(1, 1);
    for (position, entry) in [accepted(id, identity(1), 1), started(id, 1, 1), ended(id, EndStatus::Succeeded)]
        .iter()
        .enumerate()
    {
        core.apply(&logged(position as u64, 0, entry), &disk).unwrap();
    }
    let (batch, ended) = core.net().unwrap();
    assert!(batch.put.is_empty() && batch.remove.is_empty());
    assert_eq!(ended[0].row.status(), Status::Succeeded);
    assert_eq!(core.backlog(), Backlog::default());
}

#[test]
fn where_state_was_lost_what_was_carried_makes_its_execution_known_again() {
    let id = execution(1, 1);
    let carried = |first, entries: &[&Entry]| {
        Entry::from(Carried {
            execution: id,
            first,
            entries: entries.iter().map(|entry| entry.encode().into()).collect(),
        })
    };
    let (accepted, started) = (accepted(id, identity(1), 1), started(id, 1, 1));
    let (second, third) = (at(steps(id, 1, 2), 100), at(steps(id, 1, 1), 101));
    // The second step stands in the oldest segment: it was carried, and the segment had not gone yet.
    let entries = [second.clone(), third, carried(2, &[&second]), carried(0, &[&accepted, &started])];
    let log: Vec<Logged> = (100..).zip(&entries).map(|(position, entry)| logged(position, 3, entry)).collect();
    let mut copies = Copies::of([id].into());
    log.iter().for_each(|logged| copies.take(logged));
    assert_eq!(copies.in_doubt(), 1);
    let disk = made_from(&log, Some(&copies));
    let row = &disk.live[&id];
    assert_eq!((row.attempt, row.steps_finished), (1, 3));
    assert_eq!(row.entries.iter().map(|it| it.position).collect::<Vec<_>>(), [103, 102, 101]);

    let mut core = Core::new(Some(50), Backlog::default(), LIMITS);
    core.apply(&log[3], &Disk::default()).unwrap();
    assert_eq!(core.orphans(), 1, "with state at hand, an unknown execution has ended");
}

#[test]
fn an_execution_of_which_entries_may_be_gone_is_not_made_again_as_if_it_were_whole() {
    let id = execution(1, 1);
    let (accepted, started, ended) = (accepted(id, identity(1), 1), started(id, 1, 1), ended(id, EndStatus::Succeeded));
    let carried = |entries: &[&Entry]| {
        Entry::from(Carried {
            execution: id,
            first: 0,
            entries: entries.iter().map(|entry| entry.encode().into()).collect(),
        })
    };
    let places = |entries: &[&Entry]| {
        let log: Vec<Logged> = (100..).zip(entries).map(|(position, entry)| logged(position, 3, entry)).collect();
        let mut copies = Copies::of([id].into());
        log.iter().for_each(|logged| copies.take(logged));
        let disk = made_from(&log, Some(&copies));
        disk.history[&id]
            .entries
            .iter()
            .map(|it| (it.position, it.entries))
            .collect::<Vec<_>>()
    };
    let unknown = (EntryRef::UNKNOWN.position, EntryRef::UNKNOWN.entries);
    assert_eq!(places(&[&carried(&[&accepted]), &ended]), [(100, 1), unknown, (101, 1)]);
    // Behind what is here as it was written nothing is gone.
    assert_eq!(places(&[&started, &carried(&[&accepted, &started]), &ended]), [(101, 2), (102, 1)]);
}
