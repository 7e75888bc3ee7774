//! Grants of third parties, through a running daemon and a provider that takes a second use of a refresh token for theft.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod accounts;
mod canaries;
mod consent;
mod denied;
mod governed;
#[path = "../harness/mod.rs"]
mod harness;
mod holdings;
mod hostile;
mod kills;
mod leavings;
mod moves;
mod mutual_tls;
mod notices;
mod owed;
mod pages;
mod parking;
mod planting;
mod registrations;
mod renewal;
mod restored;
mod rotation;
mod search;
mod secret;
mod sharers;
mod sharing;
mod spared;
mod stopped;
mod supplied;
mod timers;
mod used;
mod world;
