//! The keys by which people sign in and get mail; as [`super::settings`].

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::declare::{Key, Preset, Section, none, path, settings, unset};
use super::source::Reader;
use super::sources::DataSourceSettings;
use super::usage::UsageSettings;
use super::value::{Auto, Count, MailSecurity, Size, Value};

settings! {
    /// How people sign in.
    PeopleSettings with counted: UsageSettings, with sources: DataSourceSettings;

    /// Sign-in of people, by which `prism login` works.
    sign_in "sign-in": SignIn {
        /// Where programs other than the prism CLI may be sent back to with a code, to the letter. They use the client id
        /// `perseat-app`; the CLI is sent to a port of its user's own machine.
        redirect_uris: Vec<String> = none();
        /// How long an access token works. A program asks for the next one by itself.
        access_lifetime: Duration = "1h";
        /// How long somebody stays signed in.
        session_lifetime: Duration = "30d";
        /// How long a code may wait to be exchanged for tokens.
        code_lifetime: Duration = "1m";
        /// How long a page may be looked at before its form is sent.
        form_lifetime: Duration = "15m";
        /// How long an invitation works.
        invitation_lifetime: Duration = "7d";
        /// How long the link for a forgotten password works.
        reset_lifetime: Duration = "1h";
        /// Codes, and sign-ins under way, that are remembered. Beyond it the oldest of whoever has most (a user of codes, else a client address) has to be begun again.
        pending: Count = 10_000;
        /// Accounts of one e-mail address, of several customers for example; further ones cannot sign in. One hash answers for all.
        accounts: Count = 16;
        /// Sessions of one user; past it the oldest ends.
        sessions: Count = 32;
        /// The largest form, of the pages of a consent, too.
        max_form: Size = "16KiB";
        /// Characters of a password at least.
        password_min: Count = 12;
        /// Characters of a password at most: hashing reads them all.
        password_max: Count = 256;
        /// Memory that hashing a password takes (Argon2id). A password gets a new hash when its holder signs in next.
        hash_memory: Size = "19MiB";
        /// Passes over that memory.
        hash_passes: Count = 2;
        /// Passwords that are hashed at once; others wait.
        hashes: Count = 2;
        /// Wrong passwords in a row before an address is locked, whether it has an account or not.
        failures: Count = 10;
        /// How long it is locked. Whoever knows an address can lock it, so not for long.
        lock: Duration = "15m";
        /// The span in which attempts are counted, wrong or right.
        attempts_window: Duration = "1m";
        /// Attempts of one client address in that span, of IPv6 of one network of 64 bits. An office has one.
        client_attempts: Count = 60;
        /// Attempts for one account in that span.
        account_attempts: Count = 20;
        /// Letters for a forgotten password to one address within `resets-window`; further ones are not sent, and nobody is told.
        resets: Count = 3;
        /// The span in which they are counted.
        resets_window: Duration = "1h";
        /// Addresses and accounts whose attempts are remembered.
        remembered: Count = 65_536;
    }

    /// The pages that the embedded SDK shows in frames of your product.
    embedded "embedded": Embedded {
        /// Origins of your product's pages (`https://app.example.com`): they alone may frame these pages and call what the SDK calls.
        origins: Vec<String> = none();
        /// Entries of one page of log lines, executions, steps and instances; at most `api.page`.
        page: Count = 50;
        /// Executions looked through for a page of log lines, and instances for what needs attention; then it ends early, and says so.
        looked_at: Count = 200;
        /// Fields of one form; with more it is refused (413).
        fields: Count = 10_000;
    }

    /// The mail server, for invitations and forgotten passwords.
    mail "mail": Mail {
        /// Its name. Unset: no mail, and links are shown to whoever invites.
        host: Option<String> = unset("smtp.example.com");
        /// Its port. auto: 587 with `starttls`, 465 with `tls`, 25 with `none`.
        port: Auto<Count> = "auto";
        /// starttls: TLS after a word in the clear, and nothing is sent without it. tls: from the first byte. none: for a
        /// server on the same machine.
        security: MailSecurity = "starttls";
        /// As whom to sign in. Unset: without.
        user: Option<String> = unset("perseat");
        /// File with the password for it, mode 0600.
        password: Option<PathBuf> = unset("/etc/perseat/smtp-password");
        /// PEM file with a certificate that is believed beside the system's.
        certificates: Option<PathBuf> = unset("/etc/perseat/smtp-ca.pem");
        /// Who letters are from.
        from: Option<String> = unset("Perseat <perseat@example.com>");
        /// How long one letter may take.
        timeout: Duration = "30s";
        /// Letters that may wait, the last quarter of them to the organization's people and to whoever forgot their password alone; beyond
        /// it links are shown to whoever invites.
        waiting: Count = 10_000;
        /// Invitations to the people of one customer that may wait, and as many letters for other passwords, so that those of others are
        /// written; beyond it as above.
        waiting_of_customer: Count = 1_000;
        /// Invitations to one address within `invitations-window`; beyond it links are shown to whoever invites.
        invitations: Count = 5;
        /// The span in which they are counted.
        invitations_window: Duration = "1h";
        /// How long a letter is tried again before it is given up.
        keep_trying: Duration = "3d";
        /// The wait after the first attempt; it doubles with each.
        back_off: Duration = "1m";
        /// The longest wait.
        back_off_max: Duration = "1h";
    }

    /// Notices that a connection has to be connected again: to whose it is, then to the admins of their customer.
    notices "notices": Notices {
        /// Where they are posted for embedded users, who get no mail, and where nobody has an address. Unset: by mail alone.
        webhook: Option<Url> = unset("https://app.example.com/perseat/notices");
        /// File with the secret that such posts are signed with, mode 0600.
        webhook_secret: Option<PathBuf> = unset("/etc/perseat/notices-secret");
        /// How long a post may take.
        timeout: Duration = "10s";
        /// How often it is looked whether one is due.
        look: Duration = "5s";
        /// Notices that are sent before it is looked again which are due.
        batch: Count = 64;
        /// How long after the end of a grant the admins of its user's customer are told.
        escalate_after: Duration = "1d";
        /// Admins of one customer who are told.
        admins: Count = 10;
        /// Users of a customer among whom its admins are looked for.
        looked_through: Count = 10_000;
        /// How long the link in a notice works.
        link_lifetime: Duration = "7d";
        /// How long a notice is tried again before it is given up.
        keep_trying: Duration = "3d";
        /// The wait after the first attempt; it doubles with each.
        back_off: Duration = "1m";
        /// The longest wait.
        back_off_max: Duration = "1h";
    }

    /// Sign-in by an OpenID Connect provider, beside passwords. It says who somebody is by their verified e-mail address; nobody
    /// is created.
    oidc "oidc": Oidc {
        /// The provider's address, which its tokens name. Unset: no such sign-in. The provider sends people back to
        /// `/auth/oidc/callback` of this server.
        issuer: Option<Url> = unset("https://login.example.com");
        /// As what the provider knows this server.
        client_id: Option<String> = unset("perseat");
        /// File with the secret for it, mode 0600.
        client_secret: Option<PathBuf> = unset("/etc/perseat/oidc-secret");
        /// What people know the provider by: the button says "Continue with …".
        provider_name: String = "single sign-on";
        /// How long one request to the provider may take.
        timeout: Duration = "10s";
        /// The largest answer of the provider.
        max_answer: Size = "1MiB";
        /// People who wait for the provider at once; others wait.
        concurrency: Count = 8;
        /// How long what the provider says about itself, and its keys, are believed.
        refresh: Duration = "10m";
        /// How soon its keys are read again for one that is not known.
        key_pause: Duration = "1m";
        /// How far the provider's clock may differ.
        leeway: Duration = "1m";
    }
}
