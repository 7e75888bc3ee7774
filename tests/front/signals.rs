//! What signals ask of the daemon.

use crate::executions::{ONE_SLOT, start};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;

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

#[test]
fn a_request_that_does_not_end_lets_nothing_begin_for_half_of_the_drain() {
    let mut run = start(&format!("{ONE_SLOT}drain.deadline = \"6s\"\n"));
    let running = run.accept("globex", "jane", "Hang");
    run.provider.wait_for("/hang", 1);
    let waiting = run.accept("globex", "jane", "Call");
    let mut client = TcpStream::connect(run.daemon.hooks).unwrap();
    client
        .write_all(
            format!(
                "POST {} HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n",
                run.url("globex", "jane", "Call")
            )
            .as_bytes(),
        )
        .unwrap();
    // It waits for the body from now on.
    let mut go_on = [0; 25];
    client.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    run.daemon.signal(Signal::TERM);
    run.daemon.log_line(&["nothing begins any more"]);
    run.provider.release();
    assert!(run.daemon.until_ended().success(), "{}", run.daemon.log());
    run.daemon.log_line(&["connections were cut"]);
    assert_eq!(run.provider.seen("/hang").len(), 1, "what ran was let end");
    assert!(run.provider.seen("/echo/call").is_empty(), "what waited began nothing");
    run.daemon.restart();
    for id in [&running, &waiting] {
        assert_eq!(run.end(id).0, "succeeded", "{}", run.daemon.log());
    }
    assert_eq!(run.provider.seen("/hang").len(), 1);
    assert_eq!(run.provider.seen("/echo/call").len(), 1);
}
