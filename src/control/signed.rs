//! URLs that carry their own permission: signed, and for a short time.
//!
//! The key lives as long as the process; whoever holds a URL over a restart asks for a new one.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perseat_domain::time::Timestamp;
use std::fmt;
use std::time::Duration;

/// Signs and checks.
pub(crate) struct Signer {
    key: hmac::Key,
    lifetime: Duration,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(redacted)")
    }
}

impl Signer {
    pub(super) fn new(secret: &[u8], lifetime: Duration) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            lifetime,
        }
    }

    /// `path?parameters`, with its end and its signature.
    pub(crate) fn sign(&self, path: &str, parameters: &[(&str, &str)], now: Timestamp) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        let until = now.after(self.lifetime).0;
        let unsigned = format!("{path}?{}", query.append_pair("until", &until.to_string()).finish());
        let signature = hmac::sign(&self.key, unsigned.as_bytes());
        format!("{unsigned}&signature={}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// The parameters of a URL that was signed here and still works.
    pub(crate) fn check(&self, path: &str, query: &str, now: Timestamp) -> Option<Vec<(String, String)>> {
        let (signed, signature) = query.rsplit_once("&signature=")?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        hmac::verify(&self.key, format!("{path}?{signed}").as_bytes(), &signature).ok()?;
        let parameters: Vec<(String, String)> = url::form_urlencoded::parse(signed.as_bytes()).into_owned().collect();
        let until = parameters.iter().find(|(name, _)| name == "until")?.1.parse().ok()?;
        (now < Timestamp(until)).then_some(parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_works_until_its_end_and_only_as_it_was_signed() {
        let signer = Signer::new(b"secret", Duration::from_secs(10));
        let url = signer.sign("/blobs/step", &[("step", "a&b=c")], Timestamp(1_000));
        let (path, query) = url.split_once('?').unwrap();
        let parameters = signer.check(path, query, Timestamp(10_999)).unwrap();
        assert_eq!(parameters[0], ("step".to_owned(), "a&b=c".to_owned()));
        assert_eq!(signer.check(path, query, Timestamp(11_000)), None);
        assert_eq!(signer.check("/blobs/other", query, Timestamp(1_000)), None);
        assert_eq!(signer.check(path, &query.replace("step=a", "step=b"), Timestamp(1_000)), None);
        assert_eq!(
            Signer::new(b"other", Duration::from_secs(10)).check(path, query, Timestamp(1_000)),
            None
        );
    }
}
