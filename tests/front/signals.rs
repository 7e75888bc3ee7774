//! What signals ask of the daemon.

use crate::executions::start;
use rustix::process::Signal;

#[test]
fn a_second_signal_ends_the_drain_and_what_ran_resumes_at_the_next_start() {
    for signal in [Signal::TERM, Signal::INT] {
        // Longer than any test waits: only the second signal can end it.
        let mut run = start("drain.deadline = \"1h\"\n");
        let id = run.accept("globex", "jane", "Hang");
        run.provider.wait_for("/hang", 1);
        run.daemon.signal(signal);
        run.daemon.log_line(&["draining"]);
        run.daemon.signal(signal);
        assert!(run.daemon.until_ended().success(), "{}", run.daemon.log());
        run.daemon.log_line(&["a second signal: stopping now"]);
        run.provider.release();
        run.daemon.restart();
        assert_eq!(run.end(&id).0, "succeeded", "{}", run.daemon.log());
    }
}
