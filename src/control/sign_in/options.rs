//! Limits and rules of sign-in.

use perseat_admin::identity::passwords::{Cost, Rules};
use std::time::Duration;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct SignInOptions {
    /// Where programs other than the CLI may be sent back to, to the letter.
    pub redirect_uris: Vec<String>,
    /// How long an access token works.
    pub access_lifetime: Duration,
    /// How long a session lasts.
    pub session_lifetime: Duration,
    /// How long a code waits to be exchanged.
    pub code_lifetime: Duration,
    /// How long a page may be looked at before its form is sent.
    pub form_lifetime: Duration,
    /// How long an invitation works.
    pub invitation_lifetime: Duration,
    /// How long a link for a forgotten password works.
    pub reset_lifetime: Duration,
    /// Codes, and sign-ins under way, that are remembered; more are refused.
    pub pending: usize,
    /// Accounts of one address that are looked at; further ones cannot sign in.
    pub accounts: usize,
    /// Sessions of one user; past it the oldest ends.
    pub sessions: usize,
    /// The largest form.
    pub max_form: usize,
    /// What a password may be.
    pub password: Rules,
    /// What a hash costs.
    pub cost: Cost,
    /// Passwords that are hashed at once; others wait.
    pub hashes: usize,
    /// Wrong passwords in a row before an account is locked.
    pub failures: u32,
    /// How long it is locked.
    pub lock: Duration,
    /// The span in which attempts are counted.
    pub attempts_window: Duration,
    /// Attempts of one client address in it.
    pub client_attempts: u32,
    /// Attempts for one account in it.
    pub account_attempts: u32,
    /// Letters for forgotten passwords to one address within [`Self::resets_window`].
    pub resets: u32,
    /// The span in which they are counted.
    pub resets_window: Duration,
    /// Addresses and accounts whose attempts are remembered.
    pub remembered: usize,
}

impl Default for SignInOptions {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            redirect_uris: Vec::new(),
            access_lifetime: MINUTE * 60,
            session_lifetime: DAY * 30,
            code_lifetime: MINUTE,
            form_lifetime: MINUTE * 15,
            invitation_lifetime: DAY * 7,
            reset_lifetime: MINUTE * 60,
            pending: 10_000,
            accounts: 16,
            sessions: 32,
            max_form: 16 * 1024,
            password: Rules::default(),
            cost: Cost::default(),
            hashes: 2,
            failures: 10,
            lock: MINUTE * 15,
            attempts_window: MINUTE,
            client_attempts: 60,
            account_attempts: 20,
            resets: 3,
            resets_window: MINUTE * 60,
            remembered: 65_536,
        }
    }
}
