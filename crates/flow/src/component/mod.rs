//! The built-in components: which actions exist, what they take, and how a step performs one.
//!
//! [`BuiltIn`] answers what the definition parser asks; [`Performer`] performs one step for the execution actor.
//! An action is *pure* (its result depends on its inputs alone and nobody outside notices) or *outbound* (it may
//! send bytes). Results of everything before an outbound step are durable before it starts, so the distinction
//! decides what a crash may repeat. Nothing here knows of the journal, of actors or of who waits for a result.

mod code;
mod inputs;
mod lack;
mod perform;
mod registry;
mod reply;
mod source;

pub use lack::lacking;
pub(crate) use perform::too_large;
pub use perform::{IdempotencyKey, Limits, Performer, StepCall, StepError, StepLog, StepReport, StepResult};
pub use registry::{ALL, ActionSpec, BuiltIn, Effect, Role, nature_of, spec};
pub use reply::{WebhookReply, webhook_answer, webhook_reply};
pub use source::{SourceCall, source_type};

pub(crate) use inputs::{Data, Inputs, bad};
