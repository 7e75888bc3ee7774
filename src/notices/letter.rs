//! What a notice by mail says.

use crate::mail::{Words, line, span};
use perseat_admin::notices::Subject;
use perseat_domain::grant::{Status, Step};
use perseat_domain::model::User;
use std::time::Duration;
use uuid::Uuid;

/// Writes it to one person.
pub(super) fn words(id: Uuid, step: Step, subject: &Subject, to: &User, url: Option<&str>, lifetime: Duration) -> Words {
    let integration = subject
        .integration
        .as_ref()
        .map_or_else(|| line(&subject.connection), |integration| line(&integration.name));
    let (connection, organization) = (line(&subject.connection), line(&subject.organization));
    let whose = match &subject.user {
        Some(user) if user.id == to.id => "Your".to_owned(),
        Some(user) => format!("{}'s", line(&user.name)),
        None => {
            let customer = subject.customer.as_ref().map_or(&subject.organization, |customer| &customer.name);
            format!("{}'s", line(customer))
        }
    };
    let why = match subject.status {
        Status::Uncertain => "It is not known any more whether it still holds.",
        Status::Pending => "It has another registration with the other service now, which has to be allowed anew.",
        _ => "The other service does not accept it any more.",
    };
    let what = match (step, url) {
        (Step::Holder, Some(url)) => format!(
            "Connect it again here:\n\n{url}\n\nThe link works for {}. Whoever opens it connects their own account, so do not pass it on.",
            span(lifetime)
        ),
        _ => format!(
            "They were told, and have not connected it again yet. Ask them to; nobody else can do it for them{}.",
            also(subject)
        ),
    };
    Words {
        id,
        subject: format!("{integration} has to be connected again"),
        body: format!(
            "Hello {},\n\n{whose} connection \"{connection}\" of {integration} ({organization}) has stopped working. {why} \
             What needs it waits until it is connected again.\n\n{what}\n\nYou get this mail once.\n",
            line(&to.name)
        ),
    }
}

/// By what else they can be reached.
fn also(subject: &Subject) -> String {
    let external = subject.user.as_ref().and_then(|user| user.external_id.as_deref());
    external.map(|id| format!(" (their id is {})", line(id))).unwrap_or_default()
}
