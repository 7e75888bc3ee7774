//! Perseat, the program: chooses the cryptography, then does what the command line says.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(error) = perseat::boot::tls::install_provider() {
        eprintln!("perseat: {error}");
        return ExitCode::FAILURE;
    }
    perseat::cli::run(std::env::args_os())
}
