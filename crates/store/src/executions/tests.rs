//! What support staff see, with a real keyring, of executions whose entries come from a list.

use super::{BodyView, EntrySource, ExecutionReader, Names, OutlineError, Part, StoredResult, Unreadable, ViewLimits, mask};
use crate::catalog::{Allowance, Spent};
use crate::history::{History, HistoryOptions};
use crate::index::samples::{execution, identity, logged, started};
use crate::index::{ExecutionIndex, Feed, FeedOptions, Filter, Limits, Logged, Status};
use crate::keyring::{Keyring, MasterKey, NewKey, Options, Owner};
use crate::pressure::{IndexLag, StoragePressure};
use crate::seal::{DataKey, RecordKind};
use crate::state::{StateOptions, StateStore};
use bytes::Bytes;
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::{
    Accepted, EndStatus, Ended, Entry, LogLine, Origin, StepRecord, StepStatus, StepsDone, SyncResponse, TriggerRequest,
};
use perseat_domain::id::{CustomerId, ExecutionId, InstanceId, RegistrationId, UserId};
use perseat_domain::identity::Identity;
use perseat_domain::model::{Membership, Sealed};
use perseat_domain::time::Timestamp;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const SECRET: &str = "sk-live-0123456789";
/// The same as it may stand in a URL.
const ENCODED: &str = "sk%2Dlive%2d0123456789";

/// Payloads by place; a place without one has expired. How many were read is counted.
#[derive(Default)]
struct Payloads(Mutex<Vec<Option<Bytes>>>, AtomicUsize);

impl EntrySource for Payloads {
    fn payload(&self, position: u64) -> Result<Bytes, Unreadable> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.lock().unwrap()[position as usize].clone().ok_or(Unreadable::Expired)
    }
}

struct FixedNames;

impl Names for FixedNames {
    fn customer(&self, _: CustomerId) -> Option<String> {
        Some("Acme".into())
    }
    fn instance(&self, _: InstanceId) -> Option<String> {
        Some("Files".into())
    }
    fn flow(&self, _: &Identity, version: u32) -> Option<String> {
        Some(format!("Upload v{version}"))
    }
    fn user(&self, _: UserId) -> Option<String> {
        None
    }

    fn registration(&self, _: InstanceId, _: RegistrationId) -> Option<String> {
        None
    }
}

struct Bench {
    _directory: tempfile::TempDir,
    index: Arc<ExecutionIndex>,
    keyring: Arc<Keyring>,
    payloads: Arc<Payloads>,
    reader: ExecutionReader,
}

fn who() -> Identity {
    identity(4)
}

fn user() -> UserId {
    who().user.unwrap().user
}

impl Bench {
    fn new() -> Self {
        Self::with(HistoryOptions::default())
    }

    fn with(history: HistoryOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = Arc::new(StateStore::open(&directory.path().join("state.redb"), &StateOptions::default()).unwrap());
        let history = Arc::new(History::open(&directory.path().join("history"), history).unwrap());
        let feed = Feed::new(
            FeedOptions::default(),
            Arc::new(IndexLag::default()),
            Arc::new(StoragePressure::default()),
        );
        let index = Arc::new(ExecutionIndex::open(state, history, Arc::new(feed), 0, Limits::default()).unwrap());
        let keyring = Keyring::open(&directory.path().join("keyring"), MasterKey::new(&[3; 32]), &Options::default()).unwrap();
        let keyring = Arc::new(keyring);
        keyring.create(NewKey::Customer(who().customer)).unwrap();
        keyring.create(NewKey::User(user(), Membership::Customer(who().customer))).unwrap();
        let payloads = Arc::new(Payloads::default());
        let entries: Arc<dyn EntrySource> = Arc::<Payloads>::clone(&payloads);
        let limits = ViewLimits {
            body_bytes: 40,
            page: 10,
            usage_rows: 10,
            log_bytes: 50,
        };
        let reader = ExecutionReader::new(Arc::clone(&index), entries, Arc::clone(&keyring), Arc::new(FixedNames), limits);
        Self {
            _directory: directory,
            index,
            keyring,
            payloads,
            reader,
        }
    }

    fn write(&self, entry: &Entry) {
        let mut payloads = self.payloads.0.lock().unwrap();
        let logged: Logged = logged(payloads.len() as u64, 0, entry);
        payloads.push(Some(logged.payload.clone()));
        self.index.apply([&logged]).unwrap();
    }

    fn key(&self) -> Arc<DataKey> {
        self.keyring.data_key(Owner::User(user())).unwrap()
    }

    fn seal(&self, kind: RecordKind, id: ExecutionId, rest: &str, plain: &[u8]) -> Sealed {
        let record = [id.0.as_bytes().as_slice(), rest.as_bytes()].concat();
        self.key().seal(kind, &record, plain)
    }

    /// Further steps of an execution, all with the same result.
    fn results(&self, id: ExecutionId, output: &str, steps: usize) {
        let step = StepRecord {
            path: "1".into(),
            name: "Count".into(),
            status: StepStatus::Ok,
            started_at: Timestamp(2),
            ended_at: Timestamp(3),
            output: self.seal(RecordKind::StepOutput, id, "1", output.as_bytes()),
            masks: Vec::new(),
            credentials: Vec::new(),
            tries: 1,
        };
        self.write(&Entry::from(StepsDone {
            execution: id,
            attempt: 1,
            steps: vec![step; steps],
            branches: Vec::new(),
            logs: None,
            log_counts: Vec::new(),
        }));
    }

    fn lines(&self, id: ExecutionId, messages: &[&str]) -> Sealed {
        let line = |message: &&str| LogLine {
            at: Timestamp(2),
            level: "info".into(),
            step: "Send".into(),
            message: (*message).into(),
        };
        let lines: Vec<LogLine> = messages.iter().map(line).collect();
        self.seal(RecordKind::Logs, id, "", &postcard::to_stdvec(&lines).unwrap())
    }

    /// Further log lines of an execution.
    fn logs(&self, id: ExecutionId, messages: &[&str]) {
        self.write(&Entry::from(StepsDone {
            execution: id,
            attempt: 1,
            steps: Vec::new(),
            branches: Vec::new(),
            logs: Some(self.lines(id, messages)),
            log_counts: Vec::new(),
        }));
    }

    /// An execution whose step, message, response and request all hold the same secret.
    fn run(&self, id: ExecutionId) {
        self.begin(id);
        self.end(id);
    }

    fn begin(&self, id: ExecutionId) {
        let request = TriggerRequest {
            method: "POST".into(),
            headers: vec![
                ("content-type".into(), "text/plain".into()),
                ("x-hub-signature".into(), "abc".into()),
                ("x-hook".into(), SECRET.into()),
                ("referer".into(), format!("https://app/?key={ENCODED}#top")),
            ],
            query: format!("a=1&token=zzz&key={ENCODED}"),
            path_fragment: format!("{SECRET}/{ENCODED}"),
            invoke_url: format!("https://hooks/trigger/x/{SECRET}/{ENCODED}?a=1&token=zzz&key={ENCODED}"),
            body: format!("the key is {SECRET}, and there is more to say").into(),
            debug: false,
        };
        self.write(&Entry::from(Accepted {
            execution: id,
            identity: Some(who()),
            origin: Origin::Webhook,
            received_at: Timestamp(1),
            dedupe_id: None,
            unique_request_id: None,
            catalog_revision: 1,
            sync_deadline: None,
            refusal: None,
            request: self.seal(RecordKind::Request, id, "", &postcard::to_stdvec(&request).unwrap()),
        }));
        self.write(&started(id, 1, 1));
        let output = format!(r#"{{"auth":"{SECRET}","n":1}}"#);
        let at = output.find(SECRET).unwrap() as u32;
        let logs = self.lines(id, &["sent"]);
        self.write(&Entry::from(StepsDone {
            execution: id,
            attempt: 1,
            steps: vec![StepRecord {
                path: "0".into(),
                name: "Send".into(),
                status: StepStatus::Failed,
                started_at: Timestamp(2),
                ended_at: Timestamp(3),
                output: self.seal(RecordKind::StepOutput, id, "0", output.as_bytes()),
                masks: vec![(at, at + SECRET.len() as u32)],
                credentials: vec![("dropbox".into(), 7)],
                tries: 2,
            }],
            branches: Vec::new(),
            logs: Some(logs),
            log_counts: vec![("info".into(), 1)],
        }));
    }

    fn end(&self, id: ExecutionId) {
        let response = SyncResponse {
            status: 500,
            content_type: "text/plain".into(),
            headers: vec![("location".into(), format!("/done?key={ENCODED}"))],
            body: SECRET.into(),
        };
        self.write(&Entry::from(Ended {
            execution: id,
            attempt: 1,
            status: EndStatus::Failed,
            code: Some(ErrorCode::StepFailed),
            failed_step: Some("Send".into()),
            message: Some(self.seal(RecordKind::Message, id, "", format!("refused {SECRET}").as_bytes())),
            response: Some(self.seal(RecordKind::Response, id, "", &postcard::to_stdvec(&response).unwrap())),
            cost: (1, 2),
            at: Timestamp(4),
        }));
    }
}

/// So many bytes may be read, and any number of records.
struct Room(AtomicUsize);

impl Allowance for Room {
    fn take(&self, _: usize) -> Result<(), Spent> {
        Ok(())
    }

    fn take_bytes(&self, bytes: usize) -> Result<(), Spent> {
        let less = |left: usize| left.checked_sub(bytes);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.map(drop).map_err(|_| Spent::Bytes)
    }
}

#[test]
fn an_execution_is_shown_whole_and_without_its_secrets() {
    let bench = Bench::new();
    let id = execution(1, 1);
    bench.run(id);
    let view = bench.reader.show(id).unwrap().unwrap();
    let text = serde_json::to_string(&view).unwrap();
    for secret in [SECRET, ENCODED, "zzz", "abc"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert_eq!(
        (view.summary.status, view.summary.code),
        (Status::Failed, Some(ErrorCode::StepFailed))
    );
    assert_eq!(view.summary.flow.unwrap().name.as_deref(), Some("Upload v3"));
    assert_eq!(
        view.steps[0].output,
        Part::Readable(serde_json::json!({ "auth": mask::BLANK, "n": 1 }))
    );
    assert_eq!(
        (view.steps[0].tries, view.steps[0].credentials.as_slice()),
        (2, [("dropbox".to_owned(), 7)].as_slice())
    );
    assert_eq!(view.message, Some(Part::Readable(format!("refused {}", mask::BLANK))));
    assert!(matches!(&view.logs[..], [Part::Readable(lines)] if lines[0].message == "sent"));
    let Part::Readable(trigger) = view.trigger else {
        panic!("the request does not open")
    };
    let text = format!("the key is {}, and there is more to say", mask::BLANK)[..40].to_owned();
    assert_eq!(
        trigger.body,
        BodyView {
            bytes: 55,
            text: Some(text),
            is_cut: true
        }
    );
    let blank = mask::BLANK;
    assert_eq!(trigger.url, format!("https://hooks/trigger/x/{blank}/{blank}"));
    assert_eq!(trigger.query, format!("a=1&token={blank}&key={blank}"));
    assert_eq!(trigger.path_fragment, format!("{blank}/{blank}"));
    let values: Vec<_> = trigger.headers.iter().map(|(_, value)| value.clone()).collect();
    assert_eq!(values, ["text/plain", blank, blank, &format!("https://app/?key={blank}#top")]);
    let Some(Part::Readable(response)) = view.response else {
        panic!("the response does not open")
    };
    assert_eq!(response.headers, [("location".to_owned(), format!("/done?key={blank}"))]);
    assert!(view.missing.is_empty());
}

#[test]
fn an_outline_and_a_log_say_what_happened_within_their_room() {
    let bench = Bench::new();
    let id = execution(1, 1);
    bench.run(id);
    let room = |room| Room(AtomicUsize::new(room));
    let outline = |bytes| bench.reader.outline(id, &room(bytes));
    let whole = outline(1_000).unwrap().unwrap();
    assert_eq!(whole.message, Some(Part::Readable(format!("refused {}", mask::BLANK))));
    assert_eq!((whole.steps[0].name.as_str(), whole.steps[0].tries), ("Send", 2));
    // The message is of 16 bytes, the lines of 17.
    assert!(outline(16).is_ok() && matches!(outline(15), Err(OutlineError::Spent(Spent::Bytes))));
    let log = |bytes| bench.reader.log(id, &room(bytes));
    let whole = log(17).unwrap().unwrap();
    assert!(matches!(&whole.parts[..], [Part::Readable(lines)] if lines[0].message == "sent") && !whole.is_cut);
    assert!(matches!(log(16), Err(OutlineError::Spent(Spent::Bytes))));
}

#[test]
fn a_long_log_ends_where_its_room_does() {
    let bench = Bench::new();
    let id = execution(1, 1);
    bench.begin(id);
    bench.logs(id, &["one", "two", "three"]);
    bench.logs(id, &["4"]);
    let log = bench.reader.log(id, &Room(AtomicUsize::new(50))).unwrap().unwrap();
    let lines = log.parts.iter().flat_map(|part| match part {
        Part::Readable(lines) => lines.iter().map(|line| line.message.as_str()).collect(),
        Part::Unreadable { .. } => Vec::new(),
    });
    // Of 50 bytes the first lines leave 33, of which each of the next two takes eleven.
    assert_eq!(lines.collect::<Vec<_>>(), ["sent", "one", "two"]);
    assert!(log.is_cut);
}

#[test]
fn of_long_results_the_beginning_is_shown_up_to_a_limit_and_each_can_be_had_whole() {
    let bench = Bench::new();
    let id = execution(1, 1);
    bench.begin(id);
    let long = format!("[{}0]", "0,".repeat(50));
    bench.results(id, &long, 20);
    let view = bench.reader.show(id).unwrap().unwrap();
    let shown = format!("{}… (103 bytes in all)", &long[..40]);
    assert_eq!(view.steps[1].output, Part::Readable(shown.into()));
    assert_eq!(view.steps[20].output, Part::Readable("…".into()));
    let stored = |place| bench.reader.result(id, place).unwrap();
    let result = |place| stored(place).map(StoredResult::open);
    assert_eq!(stored(20).unwrap().length(), long.len());
    let first = format!(r#"{{"auth":"{}","n":1}}"#, mask::BLANK);
    assert_eq!(result(0), Some(Part::Readable(first.into_bytes())));
    assert_eq!(result(20), Some(Part::Readable(long.into_bytes())));
    assert_eq!(result(21), None);
}

#[test]
fn a_result_is_never_taken_for_another_ones_because_what_was_before_it_is_gone() {
    let bench = Bench::new();
    let id = execution(1, 1);
    bench.begin(id);
    bench.results(id, "7", 2);
    let result = |place| bench.reader.result(id, place).unwrap().map(StoredResult::open);
    let second = Some(Part::Readable(b"7".to_vec()));
    bench.payloads.0.lock().unwrap()[0] = None;
    assert_eq!(result(1), second, "no result goes with the request");
    for left in [None, Some(Bytes::new())] {
        bench.payloads.0.lock().unwrap()[2] = left;
        assert_eq!((result(0), result(1)), (None, None));
    }
}

#[test]
fn after_the_users_key_is_destroyed_only_ids_times_and_names_are_left() {
    let bench = Bench::new();
    let id = execution(1, 1);
    bench.run(id);
    bench.keyring.destroy(Owner::User(user())).unwrap();
    let view = bench.reader.show(id).unwrap().unwrap();
    let gone = Unreadable::KeyDestroyed;
    assert_eq!(view.trigger, Part::Unreadable { unreadable: gone });
    assert_eq!(view.steps[0].output, Part::Unreadable { unreadable: gone });
    assert_eq!(view.message, Some(Part::Unreadable { unreadable: gone }));
    assert_eq!(view.steps[0].name, "Send");
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!(json["trigger"]["unreadable"], "key destroyed");
}

#[test]
fn entries_of_dropped_segments_are_named_as_expired() {
    let bench = Bench::new();
    let id = execution(1, 1);
    bench.run(id);
    bench.payloads.0.lock().unwrap()[0] = None;
    let view = bench.reader.show(id).unwrap().unwrap();
    assert_eq!(
        view.trigger,
        Part::Unreadable {
            unreadable: Unreadable::Expired
        }
    );
    assert_eq!(view.missing, [Unreadable::Expired]);
    assert_eq!(view.steps.len(), 1, "the rest is shown");
    assert!(matches!(&view.response, Some(Part::Readable(response)) if response.body.text.as_deref() == Some(mask::BLANK)));
}

#[test]
fn what_may_hold_a_secret_is_not_shown_where_a_result_that_names_it_cannot_be_read() {
    let bench = Bench::new();
    let id = execution(1, 1);
    bench.run(id);
    let payload = bench.payloads.0.lock().unwrap()[2].clone().unwrap();
    let Ok(Entry::StepsDone(mut done)) = Entry::decode(&payload) else {
        panic!("the third entry is another")
    };
    *done.steps[0].output.0.last_mut().unwrap() ^= 1;
    let closed = Entry::from(done).encode().into();
    for (left, reason) in [
        (None, Unreadable::Expired),
        (Some(Bytes::new()), Unreadable::Damaged),
        (Some(closed), Unreadable::Damaged),
    ] {
        bench.payloads.0.lock().unwrap()[2] = left;
        let view = bench.reader.show(id).unwrap().unwrap();
        assert_eq!(view.trigger, Part::Unreadable { unreadable: reason });
        assert_eq!(view.response, Some(Part::Unreadable { unreadable: reason }));
        assert!(
            matches!(view.message, Some(Part::Readable(_))),
            "it was blanked when it was written"
        );
        let (_, request) = bench.reader.request(id).unwrap().unwrap();
        assert_eq!(request, Part::Unreadable { unreadable: reason });
    }
}

#[test]
fn no_entry_is_read_for_what_lists_show() {
    let bench = Bench::new();
    let id = execution(1, 1);
    bench.run(id);
    let listed = bench.reader.list(&Filter::default(), None, 10).unwrap();
    let found = bench.reader.find(id).unwrap();
    assert_eq!(listed.executions, Vec::from_iter(found));
    assert_eq!(bench.reader.find(execution(2, 2)).unwrap(), None);
    let read = || bench.payloads.1.load(Ordering::Relaxed);
    assert_eq!(read(), 0);
    bench.reader.show(id).unwrap();
    assert!(read() > 0);
}

#[test]
fn the_last_use_of_a_connection_is_found_within_its_limit() {
    let bench = Bench::new();
    for number in [1, 2] {
        bench.run(execution(number, number));
    }
    let uses = |connection, looked_at| bench.reader.uses(&Filter::default(), connection, looked_at).unwrap();
    assert_eq!(
        uses("dropbox", 20).last,
        Some((execution(2, 2), Timestamp(3))),
        "the newest, when its step ended"
    );
    assert_eq!((uses("dropbox", 20).parked, uses("slack", 20).last), (0, None));
    assert_eq!(uses("dropbox", 1).last, None, "the newest entry of the newest is its end");
}

#[test]
fn executions_are_counted_by_where_they_stand_within_a_limit() {
    let bench = Bench::new();
    for number in [1, 2, 3] {
        bench.run(execution(number, number));
    }
    let counts = |filter: &Filter, most| bench.reader.counts(filter, most, || true).unwrap();
    let all = counts(&Filter::default(), 10);
    assert_eq!((all.all(), all.is_whole), (3, true));
    let [status] = all.by.keys().copied().collect::<Vec<_>>()[..] else {
        panic!("they ended alike: {all:?}")
    };
    assert_eq!((all.of(&[status]), all.of(&[])), (3, 0));
    let some = counts(&Filter::default(), 2);
    assert_eq!((some.all(), some.is_whole), (2, false));
    let late = Filter {
        since: Some(Timestamp(u64::MAX >> 16)),
        ..Filter::default()
    };
    assert_eq!(counts(&late, 10).all(), 0);
}

#[test]
fn counting_ends_where_no_more_may_be_looked_at_of_what_does_not_match() {
    let bench = Bench::with(HistoryOptions {
        scan_rows: 5,
        ..HistoryOptions::default()
    });
    (0..100).for_each(|n| bench.run(execution(n + 1, n)));
    bench.index.flush().unwrap();
    let of_nobody = Filter {
        customer: Some(CustomerId(uuid::Uuid::from_u128(99))),
        ..Filter::default()
    };
    for (pages, is_whole) in [(10, false), (1_000, true)] {
        let mut asked = 0;
        let counts = bench.reader.counts(&of_nobody, 1_000, || {
            asked += 1;
            asked < pages
        });
        let counts = counts.unwrap();
        assert_eq!((counts.all(), counts.is_whole), (0, is_whole));
        assert!(asked <= pages && asked >= 10, "{asked} pages");
    }
}

#[test]
fn a_page_is_never_longer_than_its_limit() {
    let bench = Bench::new();
    (0..12).for_each(|n| bench.run(execution(n + 1, n)));
    let page = bench.reader.list(&Filter::default(), None, 1_000_000).unwrap();
    assert_eq!(page.executions.len(), 10);
    let rest = bench.reader.list(&Filter::default(), page.next, 1_000_000).unwrap();
    assert_eq!(
        rest.executions.iter().map(|it| it.id).collect::<Vec<_>>(),
        [execution(2, 1), execution(1, 0)]
    );
}
