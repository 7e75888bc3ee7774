//! The checks of the keys by which people sign in, get mail and see pages, and what sends the mail.

use super::Config;
use super::check::Checks;
use super::value::{Count, MailSecurity};
use crate::control::{OidcOptions, is_safe};
use crate::mail::{MailOptions, Security};
use lettre::message::Mailbox;
use perseat_admin::identity::letters::Room;
use perseat_flow::outbound::{self, Policy, RuleError};
use url::Url;

impl Config {
    /// Sign-in by a provider.
    #[must_use]
    pub fn oidc_options(&self) -> OidcOptions {
        let oidc = &self.people.oidc;
        OidcOptions {
            issuer: oidc.issuer.clone(),
            client_id: oidc.client_id.clone(),
            client_secret: oidc.client_secret.clone(),
            name: oidc.provider_name.clone(),
            timeout: oidc.timeout,
            max_answer: oidc.max_answer.as_usize(),
            concurrency: oidc.concurrency.as_usize(),
            refresh: oidc.refresh,
            key_pause: oidc.key_pause,
            leeway: oidc.leeway,
        }
    }

    /// Where calls to the provider may go: as flows' own, and to its host even if that is not public.
    ///
    /// # Errors
    /// A rule that is none.
    pub fn oidc_policy(&self) -> Result<Policy, RuleError> {
        let policy = self.outbound_policy()?;
        let own = self.people.oidc.issuer.as_ref();
        let own = own.and_then(|issuer| Some(format!("{}:{}", issuer.host_str()?, issuer.port_or_known_default()?)));
        own.map_or(Ok(policy.clone()), |own| Ok(policy.allowing(own.parse()?)))
    }

    /// Limits of calls to the provider.
    #[must_use]
    pub fn oidc_outbound(&self) -> outbound::Options {
        outbound::Options {
            max_response: self.people.oidc.max_answer.as_usize(),
            max_time: self.people.oidc.timeout,
            ..self.outbound_options()
        }
    }

    /// The mail server.
    #[must_use]
    pub fn mail_options(&self) -> MailOptions {
        let mail = &self.people.mail;
        let (security, port) = match mail.security {
            MailSecurity::StartTls => (Security::StartTls, 587),
            MailSecurity::Tls => (Security::Tls, 465),
            MailSecurity::None => (Security::None, 25),
        };
        MailOptions {
            host: mail.host.clone(),
            port: u16::try_from(mail.port.or(Count::new(port)).get()).unwrap_or(u16::MAX),
            security,
            user: mail.user.clone(),
            password: mail.password.clone(),
            certificates: mail.certificates.clone(),
            from: mail.from.clone(),
            timeout: mail.timeout,
            room: Room {
                all: mail.waiting.get().into(),
                of_customer: mail.waiting_of_customer.as_usize(),
            },
            invitations: mail.invitations.get(),
            invitations_window: mail.invitations_window,
            keep_trying: mail.keep_trying,
            back_off: mail.back_off,
            back_off_max: mail.back_off_max,
        }
    }
}

/// Everything in them that does not fit together.
pub(super) fn check(config: &Config, checks: &mut Checks<'_>) {
    let sign_in = &config.people.sign_in;
    checks.refuse(
        &["sign-in.password-min", "sign-in.password-max"],
        sign_in.password_min > sign_in.password_max,
        || "sign-in.password-min is more than password-max".to_owned(),
    );
    let memory = sign_in.hash_memory;
    checks.refuse(&["sign-in.hash-memory"], !(8 << 10..4 << 30).contains(&memory.get()), || {
        format!("sign-in.hash-memory is {memory}, but must be at least 8KiB and below 4GiB")
    });
    checks.refuse(
        &["sign-in.access-lifetime", "sign-in.session-lifetime"],
        sign_in.access_lifetime > sign_in.session_lifetime,
        || "sign-in.access-lifetime is longer than session-lifetime".to_owned(),
    );
    mail(config, checks);
    super::notices::check(config, checks);
    oidc(config, checks);
    for (key, origins) in [
        ("embedded.origins", &config.people.embedded.origins),
        ("api.origins", &config.api.origins),
    ] {
        for origin in origins {
            // It stands in a header as it is.
            let is_origin = Url::parse(origin).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https") && url.has_host() && url.origin().ascii_serialization() == *origin
            });
            checks.refuse(&[key], !is_origin, || {
                format!("{key}: {origin:?} is no origin such as \"https://app.example.com\": lower case, without a path")
            });
        }
    }
    for uri in &sign_in.redirect_uris {
        let is_web = Url::parse(uri).is_ok_and(|uri| matches!(uri.scheme(), "http" | "https") && uri.fragment().is_none());
        checks.refuse(&["sign-in.redirect-uris"], !is_web, || {
            format!("sign-in.redirect-uris: {uri:?} is no web address without a fragment")
        });
    }
}

fn oidc(config: &Config, checks: &mut Checks<'_>) {
    let oidc = &config.people.oidc;
    let given = [oidc.issuer.is_some(), oidc.client_id.is_some(), oidc.client_secret.is_some()];
    checks.refuse(
        &["oidc.issuer", "oidc.client-id", "oidc.client-secret"],
        given.contains(&true) && given.contains(&false),
        || "oidc.issuer, client-id and client-secret must be given together".to_owned(),
    );
    if let Some(issuer) = &oidc.issuer {
        let is_plain = issuer.query().is_none() && issuer.fragment().is_none() && issuer.username().is_empty();
        checks.refuse(&["oidc.issuer"], !is_plain || !is_safe(issuer), || {
            format!("oidc.issuer is {issuer}, but must be https (http on this machine alone), without a query")
        });
    }
}

fn mail(config: &Config, checks: &mut Checks<'_>) {
    let mail = &config.people.mail;
    checks.refuse(&["mail.host", "mail.from"], mail.host.is_some() != mail.from.is_some(), || {
        "mail.host and mail.from must be given together".to_owned()
    });
    if let Some(from) = &mail.from {
        checks.refuse(&["mail.from"], from.parse::<Mailbox>().is_err(), || {
            format!("mail.from: {from:?} is no address such as \"Perseat <perseat@example.com>\"")
        });
    }
    checks.refuse(
        &["mail.user", "mail.password"],
        mail.user.is_some() != mail.password.is_some(),
        || "mail.user and mail.password must be given together".to_owned(),
    );
    let is_here = mail
        .host
        .as_deref()
        .is_none_or(|host| matches!(host, "localhost" | "127.0.0.1" | "::1"));
    checks.refuse(
        &["mail.host", "mail.security", "mail.user"],
        mail.security == MailSecurity::None && mail.user.is_some() && !is_here,
        || "mail.security is none: the password for mail.user would go over the network in the clear".to_owned(),
    );
    let port = mail.port.or(Count::new(25)).get();
    checks.refuse(&["mail.port"], port > u16::MAX.into(), || {
        format!("mail.port is {port}, which is no port")
    });
    checks.refuse(&["mail.back-off", "mail.back-off-max"], mail.back_off > mail.back_off_max, || {
        "mail.back-off is longer than back-off-max".to_owned()
    });
}
