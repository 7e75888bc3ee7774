//! State and history against the journal: what they say of an execution is what its entries say.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use perseat_domain::entry::{EndStatus, Entry, EntryRef};
use perseat_domain::id::{ExecutionId, partition_of};
use perseat_journal::inspect::{self, Inspected, Reader};
use perseat_journal::{Position, ReadError};
use perseat_store::folder::Folder;
use perseat_store::history::HistoryFile;
use perseat_store::index::{ExecutionRow, IndexError, retold, unpack};
use perseat_store::read_only::ReadOnlyDirectory;
use perseat_store::state::StateStore;

use super::{Report, chain};

/// Why the indexes could not be compared.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompareError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Walks the journal once, with what state and history say at hand.
pub(super) fn check(segments: &[Inspected], state: &StateStore, history: Option<&Path>, report: &mut Report) -> Result<(), CompareError> {
    let watermark = state.watermark()?;
    // While state is made again, its rows begin with copies that may stand anywhere in the journal.
    let known = watermark.max(state.rebuilt_through()?);
    let mut rows: HashMap<ExecutionId, ExecutionRow> = HashMap::new();
    for row in state.live() {
        let (execution, row) = row?;
        rows.insert(execution, row);
    }
    let reader = Reader::new(segments);
    let mut carried: HashSet<ExecutionId> = HashSet::new();
    for (execution, row) in &rows {
        match live_row(&reader, *execution, row, known) {
            Ok(true) => {
                carried.insert(*execution);
            }
            Ok(false) => {}
            Err(what) => report.findings.add(format_args!("state.redb: execution {execution}: {what}")),
        }
    }
    if let Some(watermark) = watermark.map(Position::from_bits)
        && reader.read(watermark).is_err()
    {
        report.findings.add(format_args!(
            "state.redb: it is true up to {watermark:?}, where the journal has no entry"
        ));
    }
    let mut walk = Walk {
        watermark: watermark.unwrap_or(0),
        open: HashSet::new(),
        oldest: segments.first().map_or(0, |segment| segment.info().number),
        folder: history.map(|path| Arc::new(ReadOnlyDirectory::new(path))),
        file: None,
        files: 0,
        rows: 0,
        unmade: 0,
        report,
    };
    for segment in segments {
        walk.segment(segment)?;
    }
    walk.leave_file();
    let Walk {
        open,
        files,
        rows: listed,
        unmade,
        report,
        ..
    } = walk;
    for execution in open.iter().filter(|execution| !rows.contains_key(execution)) {
        report.findings.add(format_args!(
            "state.redb: execution {execution} was accepted, has not ended and is not in it"
        ));
    }
    // One whose acceptance went with its segment stands in what was carried; any other has ended.
    for execution in rows
        .keys()
        .filter(|execution| !open.contains(execution) && !carried.contains(execution))
    {
        report.findings.add(format_args!(
            "state.redb: execution {execution} is live in it and has ended, or was never accepted"
        ));
    }
    let up_to = watermark.map_or("nothing".to_owned(), |bits| Position::from_bits(bits).to_string());
    report.say(
        "state",
        format!("{} live executions as their entries say, up to {up_to}", rows.len()),
    );
    if history.is_some() {
        let again = if unmade > 0 {
            format!("; {unmade} are made again at the next start")
        } else {
            String::new()
        };
        report.say(
            "history",
            format!("{files} files, {listed} ended executions as their entries say{again}"),
        );
    }
    Ok(())
}

/// Whether a row of state begins with what was carried, or what is wrong with it.
fn live_row(reader: &Reader, execution: ExecutionId, row: &ExecutionRow, known: Option<u64>) -> Result<bool, String> {
    let (mut entries, mut is_carried) = (Vec::new(), None);
    for reference in row.entries.iter().filter(|reference| **reference != EntryRef::UNKNOWN) {
        let at = Position::from_bits(reference.position);
        if known.is_none_or(|known| reference.position > known) {
            return Err(format!("its entry at {at:?} is behind what the state is true up to"));
        }
        let committed = reader.read(at).map_err(|error| format!("its entry does not read: {error}"))?;
        if committed.payload.len() as u64 != u64::from(reference.bytes) || committed.partition != row.partition {
            return Err(format!("another entry than its own is at {at:?}"));
        }
        is_carried.get_or_insert(committed.payload.get(1) == Some(&Entry::CARRIED));
        let unpacked = unpack(committed.payload, reference.entries).map_err(|error| format!("its entry at {at:?}: {error}"))?;
        if unpacked.len() as u64 != u64::from(reference.entries) {
            return Err(format!(
                "at {at:?} are {} entries, and it counts {}",
                unpacked.len(),
                reference.entries
            ));
        }
        entries.extend(unpacked);
    }
    for entry in &entries {
        match Entry::decode(entry) {
            Ok(entry) if entry.execution() != execution => return Err("it names an entry of another execution".to_owned()),
            Ok(Entry::Ended(_)) => return Err("it has ended, and is live in it".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    match retold(row, &entries) {
        Some(told) if told == *row => Ok(is_carried == Some(true)),
        Some(_) => Err("its row is not what its entries say".to_owned()),
        None => Err("its entries do not begin with its acceptance".to_owned()),
    }
}

/// A history file while its segments are walked: its rows that no entry was seen for yet.
struct Open {
    file: HistoryFile,
    rows: HashMap<ExecutionId, EndStatus>,
    first: u32,
}

struct Walk<'w> {
    watermark: u64,
    /// Accepted and not ended, up to the watermark.
    open: HashSet<ExecutionId>,
    oldest: u32,
    folder: Option<Arc<ReadOnlyDirectory>>,
    file: Option<Open>,
    files: u64,
    rows: u64,
    unmade: u64,
    report: &'w mut Report,
}

impl Walk<'_> {
    fn segment(&mut self, segment: &Inspected) -> Result<(), CompareError> {
        let number = segment.info().number;
        if self.file.as_ref().is_none_or(|open| !open.file.covers(number)) {
            self.leave_file();
            self.enter_file(number, segment.info().entries > 0)?;
        }
        for committed in inspect::entries(segment) {
            let committed = match committed {
                Ok(committed) => committed,
                Err(error) => {
                    self.report.findings.add(format_args!("journal: {}", chain(&error)));
                    // The scan would read the same again.
                    if matches!(error, ReadError::Io(_)) {
                        break;
                    }
                    continue;
                }
            };
            let (at, counts) = (committed.position, committed.position.to_bits() <= self.watermark);
            match Entry::decode(&committed.payload) {
                Ok(Entry::Accepted(accepted)) => {
                    let is_at_home = accepted
                        .identity
                        .is_none_or(|identity| partition_of(identity.instance) == committed.partition);
                    if !is_at_home {
                        self.report.findings.add(format_args!(
                            "journal: the entry at {at:?} is in another partition than its instance"
                        ));
                    }
                    if counts {
                        self.open.insert(accepted.execution);
                    }
                }
                Ok(Entry::Ended(ended)) => {
                    let was_known = counts && self.open.remove(&ended.execution);
                    self.ended(ended.execution, ended.status, was_known, at);
                }
                Ok(_) => {}
                Err(error) => self.report.findings.add(format_args!("journal: the entry at {at:?}: {error}")),
            }
        }
        Ok(())
    }

    fn enter_file(&mut self, segment: u32, has_entries: bool) -> Result<(), CompareError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let Some(number) = HistoryFile::numbers(&**folder)?
            .into_iter()
            .find(|number| HistoryFile::number_of(segment) == *number)
        else {
            self.unmade += u64::from(has_entries && Position::from_bits(self.watermark).segment() >= segment);
            return Ok(());
        };
        let name = HistoryFile::name_of(number);
        // A file that was cut off before its first commit: nothing of its segments is indexed yet, and the next start makes it.
        let is_begun = self.watermark == 0 || Position::from_bits(self.watermark).segment() < HistoryFile::first_segment(number);
        match folder.check_pages(&name) {
            Ok(true) => {}
            Err(_) if is_begun => return Ok(()),
            Ok(false) => self
                .report
                .findings
                .add(format_args!("history/{name}: pages do not fit their checksums")),
            Err(error) => {
                self.report
                    .findings
                    .add(format_args!("history/{name}: it does not open: {}", chain(&error)));
                return Ok(());
            }
        }
        let shared: Arc<dyn Folder> = folder.clone();
        let mut rows = HashMap::new();
        let report = &mut *self.report;
        let opened = HistoryFile::open(shared, number).and_then(|file| {
            if file.lacks_rows()? {
                return Ok(None);
            }
            let stray = file.each(|execution, row| match row.and_then(|row| row.outcome) {
                Some(outcome) => {
                    rows.insert(execution, outcome.status);
                }
                None => report.findings.add(format_args!(
                    "history/{name}: the row of execution {execution} does not read, or has not ended"
                )),
            })?;
            Ok(Some((file, stray)))
        });
        match opened {
            Ok(None) => self.unmade += 1,
            Ok(Some((file, stray))) => {
                if stray > 0 {
                    report.findings.add(format_args!(
                        "history/{name}: {stray} rows of its lists are missing or lead nowhere"
                    ));
                }
                self.files += 1;
                self.file = Some(Open {
                    file,
                    rows,
                    first: HistoryFile::first_segment(number),
                });
            }
            Err(_) if is_begun => {}
            Err(error) => report.findings.add(format_args!("history/{name}: {}", chain(&error))),
        }
        Ok(())
    }

    /// What is left had no entry; where its segments are still there, that is wrong.
    fn leave_file(&mut self) {
        let Some(open) = self.file.take() else { return };
        if open.first < self.oldest {
            return;
        }
        for execution in open.rows.keys() {
            self.report.findings.add(format_args!(
                "history/{}: execution {execution} has ended in it, and in no segment that it covers",
                open.file.name()
            ));
        }
    }

    fn ended(&mut self, execution: ExecutionId, status: EndStatus, must_be_listed: bool, at: Position) {
        let Some(open) = &mut self.file else { return };
        match open.rows.remove(&execution) {
            Some(listed) if listed == status => self.rows += 1,
            Some(listed) => self.report.findings.add(format_args!(
                "history/{}: execution {execution} ended {status:?} at {at:?}, and {listed:?} in it",
                open.file.name()
            )),
            None if must_be_listed => self.report.findings.add(format_args!(
                "history/{}: execution {execution} ended at {at:?} and is not in it",
                open.file.name()
            )),
            None => {}
        }
    }
}
