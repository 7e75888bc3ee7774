//! Which program runs code steps: the small one beside the daemon where it was built from the same sources, else the daemon
//! itself, which takes twice the memory for it.
//!
//! It is opened once: children stay of one build with their daemon while an upgrade replaces the files.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The small program's file name.
pub(super) const NAME: &str = "perseat-js-child";
/// The daemon's own first argument with which it is such a program.
const OWN_WORD: &str = "js-child";
/// Asks the small program what it was built from.
pub(super) const BUILD_WORD: &str = "build";
/// What this was built from: see `build.rs`.
pub(super) const BUILD: &str = env!("PERSEAT_JS_BUILD");

/// A program and its first arguments.
#[derive(Debug)]
pub(super) struct Program {
    file: File,
    arguments: Vec<OsString>,
}

impl Program {
    /// The given one, or the best there is.
    pub(super) fn choose(given: Option<&[OsString]>) -> io::Result<Self> {
        match given {
            Some([path, arguments @ ..]) => Self::open(path, arguments),
            Some([]) => Err(io::Error::other("no child command is configured")),
            None => match Self::beside() {
                Some(program) => Ok(program),
                None => Self::open(OsStr::new("/proc/self/exe"), &[OWN_WORD.into()]),
            },
        }
    }

    fn open(path: &OsStr, arguments: &[OsString]) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            arguments: arguments.to_vec(),
        })
    }

    fn beside() -> Option<Self> {
        let path: PathBuf = std::env::current_exe().ok()?.with_file_name(NAME);
        let program = match Self::open(path.as_os_str(), &[]) {
            Ok(program) => program,
            Err(error) => {
                tracing::info!(
                    path = %path.display(),
                    %error,
                    "no program for code steps opens beside the daemon, which runs them itself and takes more memory for it"
                );
                return None;
            }
        };
        if program.build().is_ok_and(|build| build == BUILD.as_bytes()) {
            return Some(program);
        }
        tracing::warn!(
            path = %path.display(),
            "the program for code steps is not of the daemon's build; the daemon runs them itself, which takes more memory"
        );
        None
    }

    fn build(&self) -> io::Result<Vec<u8>> {
        let asked = self.command().arg(BUILD_WORD).stdin(Stdio::null()).stderr(Stdio::null()).output()?;
        Ok(asked.stdout)
    }

    /// Starts it in an empty environment. The file is closed on the way into the program.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        command.args(&self.arguments).env_clear().current_dir("/");
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_opened_stays_when_its_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        // Another process writes it: a child that is forked here meanwhile would keep it open for writing.
        let copied = Command::new("cp").arg("/bin/true").arg(&path).status().unwrap();
        assert!(copied.success());
        let program = Program::choose(Some(&[path.clone().into_os_string()])).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::copy("/bin/false", &path).unwrap();
        assert!(program.command().status().unwrap().success());
    }

    #[test]
    fn an_empty_command_and_a_missing_program_are_refused() {
        assert!(Program::choose(Some(&[])).is_err());
        assert!(Program::choose(Some(&["/nowhere".into()])).is_err());
    }
}
