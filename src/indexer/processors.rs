//! Whether the daemon's threads wait for processors.

use std::{fs, io, time::Duration};

use rustix::process::{Pid, getpid, getpriority_process};

/// How long all threads but those that are nicer than the first ran and waited, as the kernel counts it for each in `schedstat`:
/// nanoseconds on a processor, then nanoseconds on its line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Processors {
    ran: Duration,
    waited: Duration,
}

impl Processors {
    /// Looks again: whether they waited at least half as long as they ran since the last time. Never where the kernel does
    /// not say.
    pub(crate) fn are_short(&mut self) -> bool {
        let Ok(now) = Self::read() else { return false };
        now.are_short_since(std::mem::replace(self, now))
    }

    fn are_short_since(self, before: Self) -> bool {
        // What threads that have ended counted is gone with them: where that shows, nothing is known.
        let (Some(ran), Some(waited)) = (self.ran.checked_sub(before.ran), self.waited.checked_sub(before.waited)) else {
            return false;
        };
        !waited.is_zero() && waited >= ran / 2
    }

    fn read() -> io::Result<Self> {
        let first = getpid();
        let usual = getpriority_process(Some(first))?;
        let mut all = Self::default();
        for thread in fs::read_dir(format!("/proc/{first}/task"))? {
            let thread = thread?;
            let id = thread.file_name().to_str().and_then(|id| Pid::from_raw(id.parse().ok()?));
            if getpriority_process(id).is_ok_and(|nice| nice <= usual)
                && let Ok(counts) = fs::read_to_string(thread.path().join("schedstat"))
                && let Some(one) = Self::parse(&counts)
            {
                all.ran += one.ran;
                all.waited += one.waited;
            }
        }
        Ok(all)
    }

    fn parse(counts: &str) -> Option<Self> {
        let mut counts = counts.split_whitespace().map(|count| count.parse().map(Duration::from_nanos));
        Some(Self {
            ran: counts.next()?.ok()?,
            waited: counts.next()?.ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_the_kernel_writes_them() {
        let counts = Processors {
            ran: Duration::from_nanos(120),
            waited: Duration::from_nanos(34),
        };
        assert_eq!(Processors::parse("120 34 5\n"), Some(counts));
        assert_eq!(Processors::parse("120"), None);
        assert_eq!(Processors::parse("0 x 0"), None);
    }

    #[test]
    fn processors_are_short_where_threads_wait_at_least_half_as_long_as_they_run() {
        let counts = |ran, waited| Processors {
            ran: Duration::from_millis(ran),
            waited: Duration::from_millis(waited),
        };
        assert!(counts(1_100, 550).are_short_since(counts(1_000, 500)));
        assert!(!counts(1_100, 549).are_short_since(counts(1_000, 500)));
        assert!(!counts(1_000, 500).are_short_since(counts(1_000, 500)), "nothing ran");
        assert!(!counts(900, 400).are_short_since(counts(1_000, 500)), "threads have ended");
        assert!(!counts(900, 600).are_short_since(counts(1_000, 500)), "one that ran has ended");
    }
}
