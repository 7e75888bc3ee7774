//! The process that runs code steps. The daemon starts it from beside its own program: it has half the memory of a daemon
//! that is started as such a process, and none of its code.

fn main() -> std::process::ExitCode {
    perseat_flow::js::child_main()
}
