//! The code step's child process on its own, for tests and benches; the daemon starts itself with `js-child`.

fn main() -> std::process::ExitCode {
    perseat_flow::js::child_main()
}
