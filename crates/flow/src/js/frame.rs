//! The frames between the daemon and a child: a length, then postcard. Both ends are of one build, which a child says first;
//! everything else is checked because the child may have been taken over by the script it ran.

use postcard::ser_flavors::Size;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use zeroize::Zeroize;

/// To the child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToChild<'a> {
    /// A script that later runs name by number.
    Script { number: u32, text: &'a str },
    /// Run it.
    #[serde(borrow)]
    Run(Run<'a>),
    /// The answer to [`FromChild::Fetch`].
    Fetched {
        run: u64,
        call: u32,
        #[serde(borrow)]
        answer: Result<Fetched<'a>, &'a str>,
    },
}

/// One run of a script.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Run<'a> {
    pub(super) run: u64,
    pub(super) script: u32,
    /// Wall and CPU time it may take.
    pub(super) max_ms: u64,
    pub(super) max_cpu_ms: u64,
    /// CPU time after which the child gives way to everything else on the machine, and ends with the run: a process may not
    /// take its place back.
    pub(super) gives_way_us: u64,
    /// Whether it rests most of the time from then on.
    pub(super) rests: bool,
    pub(super) max_log_lines: u32,
    pub(super) max_log_bytes: u32,
    pub(super) max_thrown: u32,
    pub(super) max_fetches: u32,
    pub(super) max_timers: u32,
    pub(super) max_result: u32,
    /// Whether it is a data source: it takes its inputs instead of step results, and gives all that it returns.
    pub(super) is_source: bool,
    /// JSON of identity and addresses.
    pub(super) context: &'a str,
    /// JSON of configuration variables; of a data source's inputs, too: `{configVars, inputs}`.
    pub(super) config: &'a str,
    /// Reference names and JSON of step results.
    #[serde(borrow)]
    pub(super) results: Vec<(&'a str, &'a str)>,
}

/// An answer for `fetch`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Fetched<'a> {
    pub(super) status: u16,
    #[serde(borrow)]
    pub(super) headers: Vec<(&'a str, &'a str)>,
    pub(super) body: &'a str,
}

/// From the child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromChild<'a> {
    /// It gave up its rights and waits; `sandbox` says what is missing in best effort.
    Ready { build: &'a str, missing: &'a str },
    /// It cannot isolate itself.
    Unfit { reason: &'a str },
    /// The running script calls `fetch`.
    Fetch {
        run: u64,
        call: u32,
        /// Whether the script has ended without waiting for it.
        unawaited: bool,
        method: &'a str,
        url: &'a str,
        #[serde(borrow)]
        headers: List<'a, (&'a str, &'a str)>,
        body: &'a str,
    },
    /// The running script has nothing to do but to wait, for an answer or a timer.
    Waits {
        run: u64,
        /// How many answers it has had: where one more is on its way, it waits no longer.
        answers: u32,
    },
    /// A run ended. After `last` the child ends.
    Done {
        run: u64,
        last: bool,
        cpu_us: u64,
        /// Whether it waited for an answer or a timer.
        waited: bool,
        /// The first of its requests whose answer it did not see.
        unanswered: Option<u32>,
        /// Whether a promise was rejected and nothing had handled that.
        unhandled: bool,
        #[serde(borrow)]
        outcome: Result<&'a str, Failure<'a>>,
        #[serde(borrow)]
        logs: List<'a, Line<'a>>,
    },
}

/// Why a run gave no result.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Failure<'a> {
    /// It threw, or does not compile.
    Threw(&'a str),
    /// Out of its wall time.
    OutOfTime,
    /// Out of its CPU time.
    OutOfCpu,
    /// Out of memory.
    OutOfMemory,
    /// Its promise can never settle.
    Stuck,
    /// Its result is too large.
    TooLarge,
}

impl Failure<'_> {
    /// The same, and of what it threw so many bytes at most.
    pub(super) fn within(self, most: usize) -> Self {
        match self {
            Self::Threw(text) => Self::Threw(text.get(..text.floor_char_boundary(most)).unwrap_or_default()),
            other => other,
        }
    }
}

/// A log line: level (an index into [`LEVELS`]), milliseconds since 1970, text.
pub(super) type Line<'a> = (u8, u64, &'a str);

/// Log levels as the logger has them.
pub(super) const LEVELS: [&str; 7] = ["trace", "debug", "info", "warn", "error", "fatal", "metric"];

/// A list of any length that takes no memory but its frame's: whoever reads it takes as many as they allow.
pub(super) struct List<'a, T> {
    bytes: &'a [u8],
    items: PhantomData<T>,
}

/// The bytes of a [`List`].
pub(super) fn listed<T: Serialize>(items: impl IntoIterator<Item = T>) -> Vec<u8> {
    let write = |bytes, item| postcard::to_extend(&item, bytes).unwrap_or_default();
    items.into_iter().fold(Vec::new(), write)
}

impl<'a, T: Deserialize<'a>> List<'a, T> {
    /// Of what [`listed`] gave.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, items: PhantomData }
    }

    fn read(&self) -> impl Iterator<Item = postcard::Result<T>> + use<'a, T> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let taken = postcard::take_from_bytes(std::mem::take(&mut rest));
            Some(taken.map(|(item, behind)| {
                rest = behind;
                item
            }))
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        // Whether all can be read was found when the frame was.
        self.read().map_while(Result::ok)
    }
}

impl<T> Serialize for List<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.bytes)
    }
}

impl<'de: 'a, 'a, T: Deserialize<'a>> Deserialize<'de> for List<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = Self::new(<&[u8]>::deserialize(deserializer)?);
        match list.read().find_map(Result::err) {
            Some(error) => Err(D::Error::custom(error)),
            None => Ok(list),
        }
    }
}

impl<'a, T: Deserialize<'a> + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Bytes that a buffer keeps while it is empty: what a large frame takes beyond is given back. No key: most frames are smaller.
pub(super) const KEPT: usize = 64 << 10;

/// Makes room for so many bytes more. What is moved for it is zeroed where it was: configuration with credentials may be in it.
fn make_room(out: &mut Vec<u8>, more: usize) {
    if out.capacity() - out.len() < more {
        let mut larger = Vec::with_capacity((out.len() + more).max(2 * out.len()));
        larger.extend_from_slice(out);
        out.zeroize();
        *out = larger;
    }
}

/// Appends a frame.
pub(super) fn push<T: Serialize>(out: &mut Vec<u8>, frame: &T) {
    // Owned data into memory has no failing case.
    let size: usize = postcard::serialize_with_flavor(frame, Size::default()).unwrap_or_default();
    make_room(out, 4 + size);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    let body = postcard::to_extend(frame, std::mem::take(out));
    *out = body.unwrap_or_default();
    let length = u32::try_from(out.len().saturating_sub(at + 4)).unwrap_or(u32::MAX);
    if let Some(prefix) = out.get_mut(at..at + 4) {
        prefix.copy_from_slice(&length.to_le_bytes());
    }
}

/// A frame is larger than its limit or not a frame.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Broken(pub(super) &'static str);

/// Bytes that arrived and are not yet whole frames.
#[derive(Debug)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    from: usize,
    max: usize,
    scratch: Box<[u8]>,
}

impl Incoming {
    pub(super) fn new(max: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(KEPT),
            from: 0,
            max,
            scratch: vec![0; 64 << 10].into(),
        }
    }

    /// Takes what one call of `read` gives; gives how much that was.
    pub(super) fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let count = read(&mut self.scratch)?;
        if self.from > 0 {
            self.bytes.drain(..self.from);
            self.from = 0;
        }
        self.bytes.extend_from_slice(self.scratch.get(..count).unwrap_or_default());
        Ok(count)
    }

    /// The next whole frame.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Broken> {
        if self.from == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
            self.from = 0;
        }
        let rest = self.bytes.get(self.from..).unwrap_or_default();
        let Some((prefix, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > self.max {
            return Err(Broken("a frame is larger than `code.max-frame`"));
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        self.from += 4 + length;
        Ok(Some(frame))
    }
}

/// The frames that a child's bytes hold, as text, and whether they end at something that is none: how the daemon takes
/// them apart when `piece` bytes come at a time. A frame changes when it is written again only if this says so.
#[must_use]
pub fn frames_of_child(stream: &[u8], piece: usize, max_frame: usize) -> (Vec<String>, bool) {
    let mut incoming = Incoming::new(max_frame);
    let mut frames = Vec::new();
    for part in stream.chunks(piece.max(1)) {
        let copied = incoming.fill(|buffer| match buffer.get_mut(..part.len()) {
            Some(place) => {
                place.copy_from_slice(part);
                Ok(part.len())
            }
            None => Err(io::ErrorKind::InvalidInput.into()),
        });
        if copied.is_err() {
            return (frames, true);
        }
        loop {
            let frame = match incoming.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return (frames, true),
            };
            let Ok(read) = postcard::from_bytes::<FromChild<'_>>(frame) else {
                return (frames, true);
            };
            let mut again = Vec::new();
            push(&mut again, &read);
            let again = again.get(4..).map(postcard::from_bytes::<FromChild<'_>>);
            let text = format!("{read:?}");
            let is_same = matches!(&again, Some(Ok(again)) if format!("{again:?}") == text);
            frames.push(if is_same { text } else { format!("{text} and then {again:?}") });
        }
    }
    (frames, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(piece: &[u8], buffer: &mut [u8]) -> usize {
        buffer[..piece.len()].copy_from_slice(piece);
        piece.len()
    }

    #[test]
    fn frames_survive_any_split_of_the_stream() {
        let mut stream = Vec::new();
        for number in 0..3 {
            push(
                &mut stream,
                &ToChild::Script {
                    number,
                    text: &"x".repeat(number as usize * 100),
                },
            );
        }
        for step in [1, 3, 64, stream.len()] {
            let mut incoming = Incoming::new(1000);
            let mut lengths = Vec::new();
            for piece in stream.chunks(step) {
                incoming.fill(|buffer| Ok(copy(piece, buffer))).unwrap();
                while let Some(frame) = incoming.next().unwrap() {
                    let ToChild::Script { text, .. } = postcard::from_bytes(frame).unwrap() else {
                        panic!("another frame")
                    };
                    lengths.push(text.len());
                }
            }
            assert_eq!(lengths, vec![0, 100, 200], "pieces of {step}");
        }
    }

    #[test]
    fn a_list_is_read_as_it_was_written_and_refused_where_its_end_is_missing() {
        let pairs = [("a", "1"), ("", ""), ("b", "2")];
        let bytes = listed(pairs);
        let list = postcard::to_stdvec(&List::<(&str, &str)>::new(&bytes)).unwrap();
        let read: List<'_, (&str, &str)> = postcard::from_bytes(&list).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), pairs);
        let whole = |bytes: &[u8]| postcard::to_stdvec(&List::<(&str, &str)>::new(bytes)).unwrap();
        for cut in 1..bytes.len() {
            let (list, at_a_pair) = (whole(&bytes[..cut]), [4, 6].contains(&cut));
            let read = postcard::from_bytes::<List<'_, (&str, &str)>>(&list);
            assert_eq!(read.is_ok(), at_a_pair, "{cut} bytes");
        }
    }

    #[test]
    fn a_frame_is_written_into_room_that_was_made_for_it() {
        let text = "x".repeat(20 << 20);
        let frame = ToChild::Script { number: 1, text: &text };
        let mut out = Vec::new();
        push(&mut out, &frame);
        assert_eq!(out.capacity(), out.len(), "nothing was left behind by growing");
        let first = out.clone();
        push(&mut out, &frame);
        assert_eq!(out, first.repeat(2));
    }

    #[test]
    fn what_large_frames_took_is_given_back_when_they_are_read() {
        let mut stream = Vec::new();
        for size in [20 << 20, 20 << 20, 1] {
            let text = "x".repeat(size);
            push(&mut stream, &ToChild::Script { number: 0, text: &text });
        }
        let mut incoming = Incoming::new(64 << 20);
        let mut frames = 0;
        for piece in stream.chunks(KEPT) {
            incoming.fill(|buffer| Ok(copy(piece, buffer))).unwrap();
            while incoming.next().unwrap().is_some() {
                frames += 1;
            }
        }
        assert_eq!(frames, 3);
        assert!(incoming.bytes.capacity() <= KEPT, "{}", incoming.bytes.capacity());
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_it_is_read() {
        let mut incoming = Incoming::new(10);
        incoming.fill(|buffer| Ok(copy(&u32::MAX.to_le_bytes(), buffer))).unwrap();
        assert!(incoming.next().is_err());
    }
}
