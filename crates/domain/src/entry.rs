//! What the journal records of an execution. Append-only truth: the order of entries is the order of events.
//!
//! Stored form: one byte format version (1), one byte kind, then the postcard encoding of the struct.
//! `docs/store-format.md` describes it to the byte.

use crate::code::ErrorCode;
use crate::id::ExecutionId;
use crate::identity::Identity;
use crate::model::Sealed;
use crate::time::Timestamp;
use crate::usage::Through;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Version of the stored form.
pub const ENTRY_FORMAT: u8 = 1;

/// What made an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A request to a trigger URL.
    Webhook,
    /// A test run by a person.
    Test,
    /// A replay of another execution.
    Replay(ExecutionId),
}

/// A request was accepted: the first entry of every execution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The execution it made.
    pub execution: ExecutionId,
    /// On whose behalf; `None` for events that found no instance.
    pub identity: Option<Identity>,
    /// What made it.
    pub origin: Origin,
    /// When the request was complete.
    pub received_at: Timestamp,
    /// Value of the flow's dedupe field.
    pub dedupe_id: Option<String>,
    /// Value of the flow's unique request id field.
    pub unique_request_id: Option<String>,
    /// The catalog's revision that routed it.
    pub catalog_revision: u64,
    /// Until when a synchronous caller waits.
    pub sync_deadline: Option<Timestamp>,
    /// Set where the execution is recorded only to fail.
    pub refusal: Option<ErrorCode>,
    /// Sealed [`TriggerRequest`].
    pub request: Sealed,
}

/// The request as it arrived, without credential headers: the plaintext of [`Accepted::request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerRequest {
    /// The HTTP method.
    pub method: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The raw query, without `?`.
    pub query: String,
    /// What follows the endpoint id in the path.
    pub path_fragment: String,
    /// The URL that was called, by the public address.
    pub invoke_url: String,
    /// The raw body.
    pub body: Bytes,
    /// Whether `prismatic-debug: true` was sent.
    pub debug: bool,
}

/// An attempt began; binds the versions for this attempt, resume included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Which execution.
    pub execution: ExecutionId,
    /// 1 for the first.
    pub attempt: u32,
    /// How often an actor took it up: 1 at first, raised by each resume.
    pub activation: u32,
    /// How many activations ended by the death of an actor.
    pub deaths: u32,
    /// The integration's version.
    pub definition_version: u32,
    /// The instance's configuration revision.
    pub instance_revision: u64,
    /// The user configuration's revision, 0 without a user.
    pub user_revision: u64,
    /// When.
    pub at: Timestamp,
}

/// The record id under which a step's output is sealed: execution ‖ path.
#[must_use]
pub fn step_record_id(execution: ExecutionId, path: &str) -> Vec<u8> {
    [execution.0.as_bytes().as_slice(), path.as_bytes()].concat()
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepStatus {
    /// It gave a result.
    Ok,
    /// It failed and the flow went on.
    Ignored,
    /// It failed.
    Failed,
}

/// One finished step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Where it stands: indexes joined by `.` (`2.b1.0` is the first step of branch 1 of step 2).
    pub path: String,
    /// Its display name.
    pub name: String,
    /// How it ended.
    pub status: StepStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Sealed JSON of its results, whole.
    pub output: Sealed,
    /// Byte ranges of the plaintext that match a known secret: blanked on every exit.
    pub masks: Vec<(u32, u32)>,
    /// Which credential versions it used, by variable stable key.
    pub credentials: Vec<(String, u64)>,
    /// Attempts it took.
    pub tries: u8,
}

/// A log line, the plaintext inside [`StepsDone::logs`]; masked before it got here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// `trace`, `debug`, `info`, `warn`, `error`, `fatal` or `metric`.
    pub level: String,
    /// The step that wrote it.
    pub step: String,
    /// The text.
    pub message: String,
}

/// Results of all steps since the execution's last entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepsDone {
    /// Which execution.
    pub execution: ExecutionId,
    /// In which attempt.
    pub attempt: u32,
    /// The steps, in the order they ended.
    pub steps: Vec<StepRecord>,
    /// The branch that each branching step chose: (path, branch name).
    pub branches: Vec<(String, String)>,
    /// Sealed postcard list of [`LogLine`]; absent if none.
    pub logs: Option<Sealed>,
    /// Counts of log lines by severity, for the index: (level, count).
    pub log_counts: Vec<(String, u32)>,
}

/// An activation ended because a credential is missing: the execution waits, without a slot, until there is one.
///
/// There is no entry for the way back: the next [`Started`] says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Which execution.
    pub execution: ExecutionId,
    /// When.
    pub at: Timestamp,
    /// When it was parked for the first time: how long it may wait counts from here.
    pub since: Timestamp,
    /// The stable key of the connection that it waits for.
    pub connection: String,
}

/// The requests that an execution sent since its last entry, beside the results of the steps that sent them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    /// Which execution.
    pub execution: ExecutionId,
    /// When it was recorded.
    pub at: Timestamp,
    /// How many, through what.
    pub calls: Vec<Calls>,
}

/// Requests that went through the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// Through what.
    pub through: Through,
    /// Whether the execution had sent none through it before.
    pub is_first: bool,
    /// How many.
    pub count: u32,
    /// Bytes of their bodies.
    pub sent: u64,
    /// Bytes of the bodies that came back.
    pub received: u64,
}

/// Somebody asked for the end of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Which execution.
    pub execution: ExecutionId,
    /// When.
    pub at: Timestamp,
    /// Who, as a stable name (`local:<uid>` or a user id).
    pub by: String,
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndStatus {
    /// Every step ran or was skipped by a branch.
    Succeeded,
    /// A step or a limit failed it.
    Failed,
    /// Cancelled.
    Cancelled,
    /// Its actor died under it too often.
    Quarantined,
}

/// What a synchronous caller gets: the plaintext of [`Ended::response`], postcard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncResponse {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub content_type: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl SyncResponse {
    /// What its headers come to in bytes, as they are sent.
    #[must_use]
    pub fn header_bytes(&self) -> usize {
        let line = |name: &str, value: &str| name.len() + value.len() + 4;
        let headers = self.headers.iter().map(|(name, value)| line(name, value));
        line("content-type", &self.content_type) + headers.sum::<usize>()
    }

    /// What it comes to in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.header_bytes() + self.body.len()
    }
}

/// The last entry of every execution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Which execution.
    pub execution: ExecutionId,
    /// In which attempt; 0 if none began.
    pub attempt: u32,
    /// How.
    pub status: EndStatus,
    /// Why, unless it succeeded.
    pub code: Option<ErrorCode>,
    /// The display name of the step that failed.
    pub failed_step: Option<String>,
    /// Sealed error message, masked.
    pub message: Option<Sealed>,
    /// Sealed postcard of [`SyncResponse`], for synchronous callers.
    pub response: Option<Sealed>,
    /// Slot time in milliseconds and CPU time of code steps in milliseconds.
    pub cost: (u32, u32),
    /// When.
    pub at: Timestamp,
}

/// Earlier entries of a live execution, re-appended before their segment is dropped.
///
/// It takes the place of the entries `first .. first + entries.len()` of the execution, counted in the order in which
/// they were written. Entries written between the collector's reading and this one keep their place after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    /// Which execution.
    pub execution: ExecutionId,
    /// How many of the execution's entries come before these; 0 where they begin with `Accepted`.
    pub first: u32,
    /// Its entries in their stored form, oldest first, never themselves `Carried`.
    pub entries: Vec<Bytes>,
}

macro_rules! entries {
    ($($name:ident = $kind:literal,)*) => {
        /// One entry of the journal.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Entry { $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($name),)* }

        impl Entry {
            /// The byte that tells a `Carried` apart in its stored form, the second one.
            pub const CARRIED: u8 = 6;

            /// The execution it belongs to.
            #[must_use]
            pub fn execution(&self) -> ExecutionId {
                match self { $(Self::$name(entry) => entry.execution,)* }
            }

            /// The stored form.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                match self { $(Self::$name(entry) => {
                    let mut out = Vec::with_capacity(self.size_hint());
                    out.extend_from_slice(&[ENTRY_FORMAT, $kind]);
                    // Encoding owned data into memory has no failing case.
                    postcard::to_extend(entry, out).unwrap_or_default()
                })* }
            }

            /// Reads the stored form.
            ///
            /// # Errors
            /// If the bytes are of an unknown format or kind, or do not decode.
            pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
                match bytes {
                    $([ENTRY_FORMAT, $kind, body @ ..] => postcard::from_bytes(body).map(Self::$name).map_err(|_| EntryError::Malformed { kind: $kind }),)*
                    [ENTRY_FORMAT, kind, ..] => Err(EntryError::UnknownKind { kind: *kind }),
                    [format, ..] => Err(EntryError::UnknownFormat { format: *format }),
                    [] => Err(EntryError::Gap),
                }
            }
        }

        $(impl From<$name> for Entry {
            fn from(entry: $name) -> Self { Self::$name(entry) }
        })*
    };
}

entries! {
    Accepted = 1,
    Started = 2,
    StepsDone = 3,
    Cancelled = 4,
    Ended = 5,
    Carried = 6,
    Parked = 7,
    Called = 8,
}

/// Where one or several entries of an execution stand in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRef {
    /// The journal position's bits; positions are ordered.
    pub position: u64,
    /// How many of the execution's entries it holds: 1, or more where a `Carried` stands. Where more than these stand there, they are
    /// the last of them: the others were carried on.
    pub entries: u32,
    /// The size of the payload there.
    pub bytes: u32,
}

impl EntryRef {
    /// In the place of entries of which nobody knows any more whether there were any.
    pub const UNKNOWN: Self = Self {
        position: 0,
        entries: 0,
        bytes: 0,
    };

    /// Takes the place of the entries from the one numbered `first` on, as many as it holds. Tells whether it fits: it has to begin
    /// where one of the places does, and to end within them.
    pub fn take_place(self, places: &mut Vec<Self>, first: u32) -> bool {
        let (mut begin, mut before) = (0, 0);
        while before < first
            && let Some(place) = places.get(begin)
        {
            (begin, before) = (begin + 1, before + place.entries);
        }
        let (mut end, mut left) = (begin, self.entries);
        while let Some(place) = places.get(end).filter(|place| place.entries <= left) {
            (end, left) = (end + 1, left - place.entries);
        }
        let rest = places.get_mut(end).filter(|_| left > 0);
        if before != first || self.entries == 0 || (left > 0 && rest.is_none()) {
            return false;
        }
        if let Some(place) = rest {
            place.entries -= left;
        }
        places.splice(begin..end, [self]);
        true
    }
}

impl Entry {
    /// About how long the stored form is: most entries are small but for the request.
    fn size_hint(&self) -> usize {
        let request = match self {
            Self::Accepted(accepted) => accepted.request.0.len(),
            _ => 0,
        };
        request + 192
    }
}

/// The front part of an entry: what an owner needs to hand it on, without its payload.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryHead {
    /// A new execution.
    Accepted {
        /// The execution.
        execution: ExecutionId,
        /// On whose behalf.
        identity: Option<Identity>,
    },
    /// An actor took it up.
    Started {
        /// The execution.
        execution: ExecutionId,
        /// Activations that ended by the death of an actor before.
        deaths: u32,
    },
    /// Something of a live execution that only its own past needs.
    Progress(ExecutionId),
    /// Its end is asked for.
    Cancelled(ExecutionId),
    /// It ended.
    Ended(ExecutionId),
    /// Some of its entries stand here now.
    Carried {
        /// The execution.
        execution: ExecutionId,
        /// How many of its entries come before these.
        first: u32,
        /// How many stand here.
        count: u32,
    },
}

impl EntryHead {
    /// The execution it belongs to.
    #[must_use]
    pub fn execution(&self) -> ExecutionId {
        match self {
            Self::Accepted { execution, .. } | Self::Started { execution, .. } | Self::Carried { execution, .. } => *execution,
            Self::Progress(execution) | Self::Cancelled(execution) | Self::Ended(execution) => *execution,
        }
    }

    /// Reads the front part of a stored entry.
    ///
    /// # Errors
    /// As [`Entry::decode`].
    pub fn read(bytes: &[u8]) -> Result<Self, EntryError> {
        fn part<'a, T: Deserialize<'a>>(kind: u8, body: &'a [u8]) -> Result<T, EntryError> {
            postcard::take_from_bytes(body)
                .map(|(part, _)| part)
                .map_err(|_| EntryError::Malformed { kind })
        }
        match bytes {
            [ENTRY_FORMAT, 1, body @ ..] => {
                let (execution, identity) = part(1, body)?;
                Ok(Self::Accepted { execution, identity })
            }
            [ENTRY_FORMAT, 2, body @ ..] => {
                let (execution, _attempt, _activation, deaths): (_, u32, u32, _) = part(2, body)?;
                Ok(Self::Started { execution, deaths })
            }
            [ENTRY_FORMAT, 3, body @ ..] => part(3, body).map(Self::Progress),
            [ENTRY_FORMAT, 4, body @ ..] => part(4, body).map(Self::Cancelled),
            [ENTRY_FORMAT, 5, body @ ..] => part(5, body).map(Self::Ended),
            [ENTRY_FORMAT, 6, body @ ..] => {
                // A list begins with its length, so that it can be read as a number.
                let (execution, first, count) = part(6, body)?;
                Ok(Self::Carried { execution, first, count })
            }
            [ENTRY_FORMAT, kind @ (7 | 8), body @ ..] => part(*kind, body).map(Self::Progress),
            [ENTRY_FORMAT, kind, ..] => Err(EntryError::UnknownKind { kind: *kind }),
            [format, ..] => Err(EntryError::UnknownFormat { format: *format }),
            [] => Err(EntryError::Gap),
        }
    }
}

/// Why stored bytes are not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Written by a newer version.
    #[error("entry format {format} is not known; this data was written by a newer version")]
    UnknownFormat {
        /// The first byte.
        format: u8,
    },
    /// Written by a newer version.
    #[error("entry kind {kind} is not known; this data was written by a newer version")]
    UnknownKind {
        /// The second byte.
        kind: u8,
    },
    /// It was damaged, and so copied as nothing when its segment went.
    #[error("the entry was damaged, and nothing of it is left")]
    Gap,
    /// The body does not decode although its checksum held.
    #[error("entry of kind {kind} does not decode")]
    Malformed {
        /// The second byte.
        kind: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn entries_survive_their_stored_form() {
        let entry = Entry::from(Cancelled {
            execution: ExecutionId(Uuid::from_u128(1)),
            at: Timestamp(5),
            by: "local:0".into(),
        });
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }

    #[test]
    fn the_head_of_an_entry_agrees_with_the_whole() {
        let execution = ExecutionId(Uuid::from_u128(7));
        let accepted = Entry::from(Accepted {
            execution,
            identity: None,
            origin: Origin::Webhook,
            received_at: Timestamp(1),
            dedupe_id: None,
            unique_request_id: None,
            catalog_revision: 3,
            sync_deadline: None,
            refusal: None,
            request: Sealed(vec![1, 2, 3]),
        });
        assert_eq!(
            EntryHead::read(&accepted.encode()),
            Ok(EntryHead::Accepted { execution, identity: None })
        );
        let started = Entry::from(Started {
            execution,
            attempt: 1,
            activation: 300,
            deaths: 2,
            definition_version: 1,
            instance_revision: 1,
            user_revision: 1,
            at: Timestamp(5),
        });
        assert_eq!(EntryHead::read(&started.encode()), Ok(EntryHead::Started { execution, deaths: 2 }));
        let cancelled = Entry::from(Cancelled {
            execution,
            at: Timestamp(5),
            by: "local:0".into(),
        });
        assert_eq!(EntryHead::read(&cancelled.encode()), Ok(EntryHead::Cancelled(execution)));
        let parked = Entry::from(Parked {
            execution,
            at: Timestamp(5),
            since: Timestamp(4),
            connection: "account".into(),
        });
        assert_eq!(EntryHead::read(&parked.encode()), Ok(EntryHead::Progress(execution)));
        let carried = Entry::from(Carried {
            execution,
            first: 0,
            entries: vec![accepted.encode().into()],
        });
        assert_eq!(
            EntryHead::read(&carried.encode()),
            Ok(EntryHead::Carried {
                execution,
                first: 0,
                count: 1
            })
        );
    }

    #[test]
    fn bytes_of_a_newer_version_are_refused_by_name() {
        assert_eq!(Entry::decode(&[9, 1]), Err(EntryError::UnknownFormat { format: 9 }));
        assert_eq!(Entry::decode(&[ENTRY_FORMAT, 99]), Err(EntryError::UnknownKind { kind: 99 }));
        assert_eq!(Entry::decode(&[]), Err(EntryError::Gap));
        assert_eq!(EntryHead::read(&[]), Err(EntryError::Gap));
    }
}
