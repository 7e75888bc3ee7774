//! Places in the code at which a test stops the process or a thread for good; compiled only with the `faults` feature.
//!
//! Random moments seldom meet the few microseconds between two writes that belong together. A test names the place
//! instead, and how often it is to be passed first. One point is armed at a time, for the whole process.

use std::{
    str::FromStr,
    sync::{Mutex, PoisonError},
};

/// Every point, in the order in which a daemon comes to them: recovery, the end of the start, a change of the configuration, writing, change of segment, indexing, collection,
/// backup, renewal of a grant, rotation of the master key and of a customer's.
pub const POINTS: [&str; 41] = [
    "tail-rewritten",
    "tail-sealed",
    "entry-replayed",
    "index-recovered",
    "start-through",
    "change-announced",
    "frame-encoded",
    "frame-written",
    "frame-synced",
    "segment-taken",
    "segment-named",
    "seal-written",
    "history-stored",
    "state-stored",
    "entries-carried",
    "carried-indexed",
    "segment-renamed",
    "segment-released",
    "history-dropped",
    "backup-begun",
    "backup-segment",
    "backup-ended",
    "grant-due",
    "grant-intended",
    "grant-answered",
    "grant-stored",
    "grant-told",
    "master-key-drawn",
    "key-rewrapped",
    "keyring-written",
    "keyring-exchanged",
    "keyring-overwritten",
    "master-key-exchanged",
    "master-key-overwritten",
    "key-version-noted",
    "key-version-made",
    "user-keys-written",
    "user-keys-wrapped",
    "records-resealed",
    "key-version-marked",
    "key-version-destroyed",
];

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// The process kills itself with SIGKILL.
    Kill,
    /// The thread says so on standard error and goes no further.
    Hold,
    /// The thread panics.
    Panic,
}

/// One point, and when it counts. Written `kill:segment-taken:3`: at the third time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillPoint {
    manner: Manner,
    name: String,
    times: u64,
}

static ARMED: Mutex<Option<KillPoint>> = Mutex::new(None);

impl FromStr for KillPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let &[manner, name, times] = parts.as_slice() else {
            return Err(format!("{text:?} is not MANNER:POINT:TIMES"));
        };
        let manner = match manner {
            "kill" => Manner::Kill,
            "hold" => Manner::Hold,
            "panic" => Manner::Panic,
            _ => return Err(format!("{manner:?} is none of kill, hold and panic")),
        };
        let times = times.parse().ok().filter(|times| *times > 0);
        match (POINTS.contains(&name), times) {
            (true, Some(times)) => Ok(Self {
                manner,
                name: name.to_owned(),
                times,
            }),
            (true, None) => Err("TIMES begins at 1".to_owned()),
            (false, _) => Err(format!("{name:?} is none of {POINTS:?}")),
        }
    }
}

impl KillPoint {
    /// From now on this point counts, in place of another one.
    pub fn arm(self) {
        *ARMED.lock().unwrap_or_else(PoisonError::into_inner) = Some(self);
    }
}

/// The code has come to the point `name`.
pub fn reach(name: &str) {
    let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(point) = armed.as_mut().filter(|point| point.name == name) else {
        return;
    };
    point.times -= 1;
    if point.times > 0 {
        return;
    }
    let manner = point.manner;
    *armed = None;
    drop(armed);
    match manner {
        Manner::Hold => {}
        Manner::Kill => {
            // Should it fail, the caller waits for an end that does not come, and says so.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        Manner::Panic => panic!("at {name}, as a test wants it"),
    }
    tracing::warn!(point = name, "held");
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_with_its_manner_and_its_time() {
        let point: KillPoint = "kill:segment-taken:3".parse().unwrap();
        assert_eq!((point.manner, point.name.as_str(), point.times), (Manner::Kill, "segment-taken", 3));
        for wrong in [
            "",
            "kill:segment-taken",
            "stop:segment-taken:1",
            "kill:nowhere:1",
            "kill:segment-taken:0",
        ] {
            assert!(wrong.parse::<KillPoint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_point_that_is_not_armed_is_passed() {
        // No test beside this one reaches it.
        "kill:master-key-drawn:2".parse::<KillPoint>().unwrap().arm();
        reach("master-key-drawn");
        reach("seal-written");
        *ARMED.lock().unwrap() = None;
        reach("master-key-drawn");
    }
}
