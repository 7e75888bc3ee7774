//! E-mail: letters that wait in the catalog, and the task that sends them.
//!
//! A letter is written in the transaction of what it is about, and deleted once the mail server has taken it: a crash between the
//! two sends it twice, and never not. Its link is made when it is sent, so that none is kept. Letters go to the server that the
//! operator names, not through the guard of flows' own calls.

mod letter;
mod outbox;
mod post;

pub use post::{MailError, MailOptions, Security};

pub(crate) use letter::{Words, line, span};
pub(crate) use outbox::Outbox;
pub(crate) use post::{Meaning, Post};
