//! The checks of the keys by which people sign in and get mail.

use super::Config;
use super::check::Checks;
use url::Url;

/// Everything in them that does not fit together.
pub(super) fn check(config: &Config, checks: &mut Checks<'_>) {
    let sign_in = &config.sign_in;
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
    for uri in &sign_in.redirect_uris {
        let is_web = Url::parse(uri).is_ok_and(|uri| matches!(uri.scheme(), "http" | "https") && uri.fragment().is_none());
        checks.refuse(&["sign-in.redirect-uris"], !is_web, || {
            format!("sign-in.redirect-uris: {uri:?} is no web address without a fragment")
        });
    }
}
