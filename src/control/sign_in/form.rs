//! Forms that only the page that shows them can send: a seal in the form, bound to a cookie, and the browser's word for where
//! the request comes from.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, header};
use std::time::Duration;
use url::Url;

/// The cookie that a form's seal is bound to. It says nothing and is worth nothing by itself.
const COOKIE: &str = "perseat-form";
/// Its length: 24 random bytes.
const COOKIE_LENGTH: usize = 32;

/// Seals forms. The key lives as long as the process; a form that is sent over a restart is shown again.
pub(super) struct Seals {
    key: hmac::Key,
    lifetime: Duration,
}

impl Seals {
    pub(super) fn new(secret: &[u8], lifetime: Duration) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            lifetime,
        }
    }

    /// The seal of a form. `what` says which form, with what it must not be used for otherwise.
    pub(super) fn seal(&self, what: &str, cookie: &str, now: Duration) -> String {
        let until = (now + self.lifetime).as_millis();
        let mac = hmac::sign(&self.key, sealed(what, cookie, until).as_bytes());
        format!("{until}.{}", URL_SAFE_NO_PAD.encode(mac.as_ref()))
    }

    /// Whether a form has its seal, the browser its cookie, and both are of this time.
    pub(super) fn check(&self, what: &str, cookie: Option<&str>, seal: Option<&str>, now: Duration) -> bool {
        let check = || {
            let (until, mac) = seal?.split_once('.')?;
            let until: u128 = until.parse().ok()?;
            let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
            hmac::verify(&self.key, sealed(what, cookie?, until).as_bytes(), &mac).ok()?;
            (now.as_millis() < until).then_some(())
        };
        check().is_some()
    }
}

fn sealed(what: &str, cookie: &str, until: u128) -> String {
    format!("{what}\n{cookie}\n{until}")
}

/// The browser's cookie, if it is one of ours.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = values
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let found = cookies.find(|(name, _)| *name == COOKIE)?.1;
    let letter = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'_');
    (found.len() == COOKIE_LENGTH && found.bytes().all(letter)).then_some(found)
}

/// A new cookie.
pub(super) fn new_cookie(random: [u8; 24]) -> String {
    URL_SAFE_NO_PAD.encode(random)
}

/// The header that sets it. Lax, because a single sign-on provider sends the browser back here.
pub(super) fn set_cookie(cookie: &str, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Lax{secure}")
}

/// Whether the browser sends the form from a page of this server: it says so, or is too old to say anything.
pub(super) fn is_from_here(headers: &HeaderMap, own: &str) -> bool {
    let text = |name| {
        headers
            .get(name)
            .map(|value: &http::HeaderValue| value.to_str().unwrap_or_default())
    };
    if let Some(site) = text(header::HeaderName::from_static("sec-fetch-site"))
        && site != "same-origin"
    {
        return false;
    }
    let Some(origin) = text(header::ORIGIN) else { return true };
    let host = |url: &str| {
        let url = Url::parse(url).ok()?;
        let host = url.host_str()?.to_owned();
        Some(url.port().map_or(host.clone(), |port| format!("{host}:{port}")))
    };
    // The browser itself writes both headers; a page of another origin can change neither.
    let here = text(header::HOST).map(str::to_lowercase);
    let from = host(origin);
    from.is_some() && (from == here || from == host(own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_form_counts_with_its_own_seal_and_cookie_within_its_time() {
        let seals = Seals::new(b"secret", Duration::from_secs(60));
        let second = Duration::from_secs;
        let seal = seals.seal("password", "cookie", second(0));
        let check = |what, cookie, seal: &str, at| seals.check(what, cookie, Some(seal), second(at));
        assert!(check("password", Some("cookie"), &seal, 59));
        assert!(!check("password", Some("cookie"), &seal, 60), "too late");
        assert!(!check("authorize", Some("cookie"), &seal, 1), "another form's");
        assert!(!check("password", Some("other"), &seal, 1) && !check("password", None, &seal, 1));
        assert!(!seals.check("password", Some("cookie"), None, second(1)));
        let later = seal.replacen('6', "7", 1);
        assert!(!check("password", Some("cookie"), &later, 1), "its end cannot be moved");
        assert!(!Seals::new(b"other", second(60)).check("password", Some("cookie"), Some(&seal), second(1)));
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn another_sites_form_is_told_from_ones_own() {
        let is_own = |pairs: &[_]| is_from_here(&headers(pairs), "https://perseat.example");
        assert!(is_own(&[]) && is_own(&[("host", "x")]));
        assert!(is_own(&[("origin", "https://perseat.example"), ("host", "inner:3001")]));
        assert!(is_own(&[("origin", "http://localhost:3001"), ("host", "localhost:3001")]));
        assert!(!is_own(&[("origin", "https://evil.example"), ("host", "perseat.example")]));
        assert!(!is_own(&[("origin", "null"), ("host", "perseat.example")]));
        assert!(!is_own(&[("sec-fetch-site", "cross-site")]) && is_own(&[("sec-fetch-site", "same-origin")]));
    }

    #[test]
    fn a_cookie_is_read_among_others() {
        let ours = new_cookie([7; 24]);
        assert!(set_cookie(&ours, true).ends_with("SameSite=Lax; Secure"));
        let mut map = HeaderMap::new();
        map.insert("cookie", HeaderValue::from_str(&format!("a=b; {COOKIE}={ours}; c=d")).unwrap());
        assert_eq!(cookie(&map), Some(ours.as_str()));
        map.insert("cookie", HeaderValue::from_static("perseat-form=short"));
        assert_eq!(cookie(&map), None);
    }
}
