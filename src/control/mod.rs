//! The control plane: GraphQL at `POST /api`, the signed URLs that its answers name, and sign-in.
//!
//! It translates and decides nothing: who asks is settled in `bearer`, what they may see and do in `perseat-admin`. GraphQL
//! types exist below this module alone. A request runs on a thread that may block, so that resolvers read and write plainly.

mod admission;
mod bearer;
mod budget;
mod desk;
mod document;
mod fetches;
mod lenient;
mod limits;
mod media;
mod pictures;
mod schema;
mod service;
mod sign_in;
mod signed;
mod turns;
mod unsent;
mod unsupported;

pub(crate) use budget::Budget;
pub(crate) use desk::{Desk, Mail};
pub use limits::{ControlOptions, PictureLimits};
pub(crate) use schema::iso;
pub use schema::sdl;
pub(crate) use service::Control;
pub use sign_in::{OidcError, OidcOptions, SignInOptions};
pub(crate) use sign_in::{Provider, is_safe};
pub(crate) use turns::Turns;
