//! From the keys of `[oauth]` to what renews grants.

use super::Config;
use crate::oauth::{OauthOptions, OwedOptions};
use perseat_domain::grant::{Patience, Rules};
use perseat_flow::oauth::Limits;

impl Config {
    /// Calls to token endpoints.
    #[must_use]
    pub fn oauth_limits(&self) -> Limits {
        Limits {
            timeout: self.oauth.timeout,
            max_answer: self.oauth.max_answer.as_usize(),
            accounts: self.accounts_per_grant(),
        }
    }

    /// Consents in the browser.
    #[must_use]
    pub(crate) fn consent_options(&self) -> OauthOptions {
        OauthOptions {
            state_lifetime: self.oauth.state_lifetime,
            states: self.oauth.states.as_usize(),
            states_per_connection: self.oauth.states_per_connection.as_usize(),
            redirects: self.oauth.redirects.iter().filter_map(|text| text.parse().ok()).collect(),
            uses_looked_at: self.oauth.uses_looked_at.as_usize(),
            rules: self.grant_rules(),
        }
    }

    /// Tokens that are given back.
    #[must_use]
    pub(crate) fn owed_options(&self) -> OwedOptions {
        let owed = &self.custody.owed;
        OwedOptions {
            look: owed.look,
            calls: owed.calls.as_usize(),
            calls_per_host: owed.calls_per_host.as_usize(),
            timeline: self.oauth.timeline.as_usize(),
            patience: Patience {
                attempts: owed.attempts.get(),
                age: owed.age,
                back_off: self.oauth.back_off,
                back_off_max: self.oauth.back_off_max,
            },
        }
    }

    /// When grants are renewed; what a provider declares is added for each.
    #[must_use]
    pub fn grant_rules(&self) -> Rules {
        Rules {
            lead: self.oauth.refresh_lead,
            grace: None,
            back_off: self.oauth.back_off,
            back_off_max: self.oauth.back_off_max,
            fresh: self.oauth.fresh,
            timeline: self.oauth.timeline.as_usize(),
        }
    }
}
