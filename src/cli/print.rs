//! The one place that prints.
//!
//! A reader that has seen enough (`perseat … | head`) closes the pipe; that is no failure. The command then unwinds without a
//! word, so that what it holds is put away in order, and [`run`](super::run) ends it as done.

use std::fmt;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What a command unwinds with when nobody takes its output.
enum Unread {
    /// The reader has gone.
    Closed,
    /// It cannot be written.
    Failed(io::Error),
}

/// Writes a line to standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::print::output(format_args!("{}\n", format_args!($($text)*))) };
}

/// Writes text to standard output as it is.
macro_rules! show {
    ($($text:tt)*) => { $crate::cli::print::output(format_args!($($text)*)) };
}

/// Writes a line to standard error, if anybody takes it.
macro_rules! complain {
    ($($text:tt)*) => { $crate::cli::print::error(format_args!($($text)*)) };
}

pub(crate) use {complain, say, show};

pub(crate) fn output(text: fmt::Arguments<'_>) {
    let written = io::stdout().lock().write_fmt(text);
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => resume_unwind(Box::new(Unread::Closed)),
        Err(error) => resume_unwind(Box::new(Unread::Failed(error))),
    }
}

pub(crate) fn error(text: fmt::Arguments<'_>) {
    // Nobody is left to be told.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text as a terminal may have it, whoever wrote it: control characters, which are orders to it, are spelled out, but for those in `kept`.
pub(super) fn spelled_out(text: &str, kept: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && !kept.contains(&letter) {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Runs a command; `None` if nobody wanted the rest of its output.
pub(super) fn read_by_someone<T>(command: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    match catch_unwind(AssertUnwindSafe(command)) {
        Ok(ended) => ended.map(Some),
        Err(cause) => match cause.downcast::<Unread>().map(|unread| *unread) {
            Ok(Unread::Closed) => Ok(None),
            Ok(Unread::Failed(error)) => Err(anyhow::Error::new(error).context("the output cannot be written")),
            Err(panic) => resume_unwind(panic),
        },
    }
}
