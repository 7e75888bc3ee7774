//! From the keys of `[notices]` to what sends notices.

use super::Config;
use super::check::Checks;
use crate::control::is_safe;
use crate::notices::NoticeOptions;
use perseat_domain::grant::Pace;
use perseat_flow::outbound::{Policy, RuleError};

impl Config {
    /// Notices that a connection has to be connected again.
    #[must_use]
    pub(crate) fn notice_options(&self) -> NoticeOptions {
        let notices = &self.people.notices;
        NoticeOptions {
            webhook: notices.webhook.clone(),
            webhook_secret: notices.webhook_secret.clone(),
            timeout: notices.timeout,
            look: notices.look,
            batch: notices.batch.as_usize(),
            admins: notices.admins.as_usize(),
            looked_through: notices.looked_through.as_usize(),
            link_lifetime: notices.link_lifetime,
            pace: Pace {
                escalate_after: notices.escalate_after,
                keep_trying: notices.keep_trying,
                back_off: notices.back_off,
                back_off_max: notices.back_off_max,
            },
        }
    }

    /// Where they may be posted: as flows' own calls, and to the webhook's host even if that is not public.
    ///
    /// # Errors
    /// A rule that is none.
    pub fn notice_policy(&self) -> Result<Policy, RuleError> {
        let policy = self.outbound_policy()?;
        let own = self.people.notices.webhook.as_ref();
        let own = own.and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
        own.map_or(Ok(policy.clone()), |own| Ok(policy.allowing(own.parse()?)))
    }
}

pub(super) fn check(config: &Config, checks: &mut Checks<'_>) {
    let notices = &config.people.notices;
    checks.refuse(
        &["notices.webhook", "notices.webhook-secret"],
        notices.webhook.is_some() != notices.webhook_secret.is_some(),
        || "notices.webhook and notices.webhook-secret must be given together".to_owned(),
    );
    if let Some(url) = &notices.webhook {
        let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        checks.refuse(&["notices.webhook"], !is_plain || !is_safe(url), || {
            "notices.webhook must be https (http on this machine alone), without a user or a fragment".to_owned()
        });
    }
    checks.refuse(
        &["notices.back-off", "notices.back-off-max"],
        notices.back_off > notices.back_off_max,
        || "notices.back-off is longer than back-off-max".to_owned(),
    );
}
