//! People sign in with passwords, as a browser and a program see it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../harness/mod.rs"]
mod harness;

mod codes;
mod hostile;
mod mail;
mod passwords;
mod restored;
mod single_sign_on;
mod users;
mod world;
