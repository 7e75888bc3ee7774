//! What becomes of the process where a thread panics that nothing goes on without.

/// Lives on such a thread, and ends the process where that panics: nobody would notice that its work is not done any more, and recovery from
/// disk is the tested path.
#[derive(Debug)]
pub struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        let thread = std::thread::current();
        if std::thread::panicking() {
            tracing::error!(
                thread = thread.name(),
                "a thread panicked that nothing goes on without; the daemon ends and recovers on its next start"
            );
            std::process::abort();
        }
    }
}
