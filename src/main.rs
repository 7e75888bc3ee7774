//! Perseat, the program: chooses the cryptography, then does what the command line says.

use std::process::ExitCode;

/// Entries are made on one thread and freed on others: the system's allocator takes an eighth of the throughput for that.
/// What is written in C uses it, too: of a hundred thousand keys that come and go the system's allocator gives nothing back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The argument with which the daemon starts itself to run code steps.
const CHILD: &str = "js-child";

fn main() -> ExitCode {
    // A child confines itself before it reads its first frame; nothing may come before that.
    if std::env::args_os().nth(1).is_some_and(|command| command == CHILD) {
        return perseat_flow::js::child_main();
    }
    // Memory that a burst leaves behind is given back while the daemon is idle, too. A child has no thread to spare for it.
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        eprintln!("perseat: unused memory is given back only under load: {error}");
    }
    if let Err(error) = perseat::boot::tls::install_provider() {
        eprintln!("perseat: {error}");
        return ExitCode::FAILURE;
    }
    perseat::cli::run(std::env::args_os())
}
