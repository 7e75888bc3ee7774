//! Gathers what an execution did and makes it durable.

use super::ExecutionEnv;
use super::run::off_arbiter;
use crate::supervisor::{Ending, Writes};
use bytes::Bytes;
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::{Called, Calls, EndStatus, Ended, Entry, LogLine, Parked, Started, StepRecord, SyncResponse, step_record_id};
use perseat_domain::execution::{Draft, DraftLogs, bytes_of};
use perseat_domain::id::{ExecutionId, partition_of};
use perseat_domain::model::Sealed;
use perseat_domain::usage::Through;
use perseat_flow::component::StepLog;
use perseat_flow::mask::Masker;
use perseat_flow::outbound::Meter;
use perseat_journal::NewEntry;
use perseat_store::seal::{DataKey, RecordKind};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What an end comes to beside its response, at most: no key, as its parts are bounded elsewhere.
const END_OVERHEAD: usize = 128 * 1024;

/// What a log line takes in an entry beside its text, at most.
const LINE: usize = 32;
/// Ranges that are masked one by one; no key, as what has more of them is not read for what stands between. The first ones say
/// what else is to be masked, in the event and in the answer.
const MASKS: usize = 4_096;

/// One execution's unwritten entries.
#[derive(Debug)]
pub(super) struct Recorder {
    env: Arc<ExecutionEnv>,
    /// None where it was destroyed: then nothing secret is written.
    key: Option<Arc<DataKey>>,
    masker: Masker,
    execution: ExecutionId,
    /// When it was taken up, on the clock's uptime.
    began: Duration,
    writes: Writes,
    partition: u8,
    draft: Draft,
    logs: Vec<LogLine>,
    /// Bytes of outputs and log lines in the two.
    gathered: usize,
    /// Those of log lines.
    logged: usize,
    lines_left: usize,
    lines_dropped: u32,
    meter: Meter,
    /// Through what the execution has sent requests before.
    called: BTreeSet<Through>,
}

impl Recorder {
    pub(super) fn new(env: Arc<ExecutionEnv>, key: Option<Arc<DataKey>>, masker: Masker, began: Duration, writes: Writes) -> Self {
        let lines_left = env.limits.max_log_lines;
        Self {
            env,
            key,
            masker,
            execution: writes.turn.execution,
            began,
            partition: partition_of(writes.turn.user.instance),
            writes,
            draft: Draft::default(),
            logs: Vec::new(),
            gathered: 0,
            logged: 0,
            lines_left,
            lines_dropped: 0,
            meter: Meter::default(),
            called: BTreeSet::new(),
        }
    }

    /// Its requests go through these already.
    pub(super) fn has_called(&mut self, through: BTreeSet<Through>) {
        self.called = through;
    }

    /// Counts its requests; they are written with what they came to.
    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(super) fn started(&mut self, started: Started) {
        self.draft.started(started);
    }

    /// Looks for these secrets, too.
    pub(super) fn mask_also(&mut self, masker: &Masker) {
        self.masker.add(masker);
    }

    /// Looks for what was masked in a result that was given earlier, too: today's settings may not hold it any more. Off the arbiter if
    /// the result is large.
    pub(super) async fn mask_as_before(&mut self, masks: Vec<(u32, u32)>, json: &Bytes) {
        let is_large = json.len() > self.env.limits.offload_bytes;
        let (masker, json) = (self.masker.clone(), json.clone());
        let find = move || Masker::of_ranges(&masks, &json, &masker);
        let before = if is_large { Box::pin(off_arbiter(find)).await } else { find() };
        self.masker.add(&before);
    }

    pub(super) fn step(&mut self, record: StepRecord, branch: Option<String>) {
        self.gathered += bytes_of(&record);
        self.draft.step(record, branch);
    }

    /// Masks and keeps log lines, up to the limit, and to what one append takes.
    pub(super) async fn logs(&mut self, step: &str, logs: Vec<StepLog>) {
        let most = self.env.journal.most_in_call().saturating_sub(END_OVERHEAD);
        for log in logs {
            let message = self.line(log.message).await;
            let bytes = message.len() + step.len() + LINE;
            if self.lines_left == 0 || self.logged + bytes > most {
                self.lines_dropped += 1;
                continue;
            }
            self.lines_left -= 1;
            self.logged += bytes;
            self.gathered += bytes;
            self.logs.push(LogLine {
                at: log.at,
                level: log.level.to_owned(),
                step: step.to_owned(),
                message,
            });
        }
    }

    /// What a step says of its error, where that is not too long; else masked and cut. What went wrong in a script may be any text.
    pub(super) async fn message<'m>(&self, message: &'m str) -> Cow<'m, str> {
        if message.len() > self.env.limits.max_log_line {
            Cow::Owned(self.line(message.to_owned()).await)
        } else {
            Cow::Borrowed(message)
        }
    }

    /// Its beginning, masked.
    async fn line(&self, text: String) -> String {
        let most = self.env.limits.max_log_line;
        let is_cut = text.len() > most;
        let mut line = masked(&self.masker, text, most, self.env.limits.offload_bytes).await;
        if is_cut {
            line.push_str(" … (cut)");
        }
        line
    }

    /// Seals a step's results and finds the secrets in them; off the arbiter if they are large.
    pub(super) async fn seal_output(&self, path: &str, json: Bytes) -> (Sealed, Vec<(u32, u32)>) {
        let id = step_record_id(self.execution, path);
        let is_large = json.len() > self.env.limits.offload_bytes;
        let (key, masker) = (self.key.clone(), self.masker.clone());
        let seal = move || {
            let masks = few(masker.ranges(&json), json.len());
            (seal_with(key.as_deref(), RecordKind::StepOutput, &id, &json), masks)
        };
        if is_large { off_arbiter(seal).await } else { seal() }
    }

    /// Makes everything gathered durable.
    pub(super) async fn flush(&mut self) {
        let entries = self.take(None);
        self.append(entries).await;
    }

    /// Makes durable what one append would not take with the end.
    pub(super) async fn make_room_for(&mut self, end: &End) {
        let response = end.response.as_ref().map_or(0, SyncResponse::bytes);
        if self.gathered + response + END_OVERHEAD > self.env.journal.most_in_call() {
            self.flush().await;
        }
    }

    /// Makes everything gathered durable, and that the execution waits.
    pub(super) async fn park(&mut self, parked: Parked) {
        let entries = self.take(Some(&Entry::Parked(parked)));
        self.append(entries).await;
    }

    /// Seals what a synchronous caller gets; off the arbiter if that is large.
    pub(super) async fn seal_response(&self, end: &End) -> Option<Sealed> {
        let response = end.response.clone()?;
        let is_large = response.bytes() > self.env.limits.offload_bytes;
        let (key, execution) = (self.key.clone(), self.execution);
        let seal = move || {
            let plain = postcard::to_allocvec(&response).unwrap_or_default();
            seal_with(key.as_deref(), RecordKind::Response, execution.0.as_bytes(), &plain)
        };
        Some(if is_large { Box::pin(off_arbiter(seal)).await } else { seal() })
    }

    /// Hands over what is left to be written, and the end with its sealed response, in one append: there is nothing more to wait for.
    pub(super) fn end(&mut self, mut end: End, response: Option<Sealed>) {
        if !self.writes.may_end() {
            return;
        }
        let is_answered = response.is_some();
        let ended = self.ended(&mut end, response);
        let mut entries = self.take(Some(&Entry::Ended(ended)));
        if is_answered && !self.env.journal.takes(&entries) {
            // Limits are lower than when that became durable which it answers.
            let message = "the answer is larger than what half a journal segment takes by now";
            end.cannot_answer(ErrorCode::ResultTooLarge, message.into());
            let ended = self.ended(&mut end, None);
            entries.pop();
            entries.push(self.entry(&Entry::Ended(ended)));
        }
        let answer = end.is_awaited.then(|| {
            Box::new(crate::waiters::Answer {
                status: end.ended.status,
                code: end.ended.code,
                message: end.message,
                response: end.response,
            })
        });
        let append = self.env.journal.append(entries.clone());
        let ending = Ending {
            turn: self.writes.turn,
            entries,
            answer,
            began: self.began,
            cpu: end.cpu,
        };
        self.writes.end(ending, append);
    }

    /// Its entry, sealed. Masks its message.
    fn ended(&self, end: &mut End, response: Option<Sealed>) -> Ended {
        end.message = end.message.take().map(|text| self.masker.mask_text(&text).into_owned());
        let id = self.execution.0.as_bytes();
        let message = end.message.as_ref();
        Ended {
            execution: self.execution,
            message: message.map(|text| seal_with(self.key.as_deref(), RecordKind::Message, id, text.as_bytes())),
            response,
            ..end.ended.clone()
        }
    }

    /// What was gathered, and what comes behind it.
    fn take(&mut self, last: Option<&Entry>) -> Vec<NewEntry> {
        let logs = self.take_logs();
        self.gathered = 0;
        let gathered = self.draft.take(self.execution, logs, self.env.limits.entry_bytes);
        let called = self.take_calls().map(Entry::Called);
        let entries = gathered.iter().chain(&called).chain(last);
        entries.map(|entry| self.entry(entry)).collect()
    }

    fn take_calls(&mut self) -> Option<Called> {
        let counted = self.meter.take();
        let calls = counted.into_iter().map(|(through, amount)| Calls {
            is_first: amount.calls > 0 && self.called.insert(through.clone()),
            through,
            count: u32::try_from(amount.calls).unwrap_or(u32::MAX),
            sent: amount.sent,
            received: amount.received,
        });
        let calls: Vec<Calls> = calls.collect();
        (!calls.is_empty()).then(|| Called {
            execution: self.execution,
            at: self.env.clock.now(),
            calls,
        })
    }

    fn take_logs(&mut self) -> DraftLogs {
        if self.lines_dropped > 0 {
            let message = format!(
                "{} more log lines were dropped (execution.max-log-lines, or what half a journal segment takes)",
                self.lines_dropped
            );
            self.lines_dropped = 0;
            self.logs.push(LogLine {
                at: self.env.clock.now(),
                level: "warn".into(),
                step: String::new(),
                message,
            });
        }
        if self.logs.is_empty() {
            return DraftLogs::default();
        }
        let logs = std::mem::take(&mut self.logs);
        self.logged = 0;
        let mut counts = BTreeMap::<&str, u32>::new();
        for line in &logs {
            *counts.entry(&line.level).or_default() += 1;
        }
        let counts = counts.into_iter().map(|(level, count)| (level.to_owned(), count)).collect();
        let plain = postcard::to_allocvec(&logs).unwrap_or_default();
        let id = self.execution.0.as_bytes();
        DraftLogs {
            lines: Some(seal_with(self.key.as_deref(), RecordKind::Logs, id, &plain)),
            counts,
        }
    }

    fn entry(&self, entry: &Entry) -> NewEntry {
        NewEntry {
            partition: self.partition,
            epoch: self.env.epoch,
            payload: entry.encode().into(),
        }
    }

    /// Appends, in as many calls as it takes, waiting for room on a full disk. A journal that is closed or broken ends the daemon; until then the
    /// execution stands still, and recovery takes it up from its last durable entry.
    async fn append(&self, entries: Vec<NewEntry>) {
        for call in self.env.journal.in_calls(entries) {
            self.append_call(call).await;
        }
    }

    async fn append_call(&self, entries: Vec<NewEntry>) {
        loop {
            match self.writes.wait(self.env.journal.append(entries.clone())).await {
                Ok(()) => return,
                Err(error) if error.is_for_lack_of_room() => self.env.clock.sleep(self.env.limits.full_retry).await,
                Err(error) => {
                    tracing::error!(execution = %self.execution, %error, "cannot record an execution; it waits for the restart of the daemon");
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// The first `most` bytes of a text without its secrets; off the arbiter if it is longer than `offload_bytes`.
pub(crate) async fn masked(masker: &Masker, text: String, most: usize, offload_bytes: usize) -> String {
    let is_large = text.len() > offload_bytes;
    let masker = masker.clone();
    let mask = move || masker.mask_beginning(&text, most).into_owned();
    if is_large { Box::pin(off_arbiter(mask)).await } else { mask() }
}

/// Few enough for an entry: where there are more, all from the last of them on is one.
fn few(mut masks: Vec<(u32, u32)>, length: usize) -> Vec<(u32, u32)> {
    if masks.len() > MASKS {
        masks.truncate(MASKS);
        if let Some((_, end)) = masks.last_mut() {
            *end = u32::try_from(length).unwrap_or(u32::MAX);
        }
    }
    masks
}

/// Seals, or gives nothing where there is no key: what nobody may read is not written.
fn seal_with(key: Option<&DataKey>, kind: RecordKind, id: &[u8], plain: &[u8]) -> Sealed {
    key.map_or_else(|| Sealed(Vec::new()), |key| key.seal(kind, id, plain))
}

/// How an execution ended, before sealing.
#[derive(Debug)]
pub(super) struct End {
    /// The entry without its sealed parts.
    pub(super) ended: Ended,
    /// Why it failed; masked before it is stored or answered.
    pub(super) message: Option<String>,
    /// What a synchronous caller gets.
    pub(super) response: Option<SyncResponse>,
    /// Whether a synchronous caller may wait for it.
    pub(super) is_awaited: bool,
    /// Processor time of its steps.
    pub(super) cpu: Duration,
}

impl End {
    /// It fails, as what it would answer cannot be made, or not be made durable.
    pub(super) fn cannot_answer(&mut self, code: ErrorCode, message: String) {
        self.ended.status = EndStatus::Failed;
        self.ended.code = Some(code);
        self.message = Some(message);
        self.response = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::pin::pin;
    use std::sync::mpsc;
    use tokio::runtime::Builder;
    use tokio::task::spawn_blocking;

    #[test]
    fn a_long_text_is_masked_off_the_arbiter_and_a_short_one_at_once() {
        let masker = Masker::new(["secret of ann"]);
        // Its one thread for long work is taken until `free` is dropped.
        let runtime = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let (free, is_taken) = mpsc::channel::<()>();
        runtime.block_on(async {
            drop(spawn_blocking(move || is_taken.recv()));
            let text = "the secret of ann";
            let here = masked(&masker, text.to_owned(), 100, text.len()).now_or_never();
            assert_eq!(here.as_deref(), Some("the ***"));
            let mut elsewhere = pin!(masked(&masker, text.to_owned(), 100, text.len() - 1));
            assert_eq!(elsewhere.as_mut().now_or_never(), None);
            drop(free);
            assert_eq!(elsewhere.await, "the ***");
        });
    }

    #[test]
    fn of_too_many_secrets_to_name_each_the_first_are_named_and_the_rest_is_hidden() {
        let masks = |count: u32| -> Vec<(u32, u32)> { (0..count).map(|n| (10 * n, 10 * n + 8)).collect() };
        let most = u32::try_from(MASKS).unwrap();
        assert_eq!(few(masks(most), 50_000), masks(most));
        let mut kept = masks(most);
        kept[MASKS - 1].1 = 50_000;
        assert_eq!(few(masks(most + 100), 50_000), kept);
    }
}
