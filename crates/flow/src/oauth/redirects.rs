//! Where a browser goes after consent, as the definition's `meta` of a connection says, within what the operator allows.

use crate::definition::{Node, stored};
use url::Url;

/// Addresses of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirects {
    /// `oAuthSuccessRedirectUri`.
    pub success: Option<Url>,
    /// `oAuthFailureRedirectUri`.
    pub failure: Option<Url>,
}

impl Redirects {
    /// Reads them from a stored definition, at the variable of this key. Whatever is not under one of `allowed` is left out.
    #[must_use]
    pub fn read(definition: &str, key: &str, allowed: &[Url]) -> Self {
        let root = stored(definition);
        let variables = root.as_ref().and_then(|root| root.member("requiredConfigVars")?.items());
        let is_named = |variable: &&Node| variable.member("key").and_then(Node::scalar) == Some(key);
        let variable = variables.and_then(|variables| variables.iter().find(is_named));
        let Some(meta) = variable.and_then(|variable| variable.member("meta")) else {
            return Self::default();
        };
        let address = |name: &str| {
            let url = meta.member(name)?.scalar()?.parse::<Url>().ok()?;
            allowed.iter().any(|base| is_under(base, &url)).then_some(url)
        };
        Self {
            success: address("oAuthSuccessRedirectUri"),
            failure: address("oAuthFailureRedirectUri"),
        }
    }
}

/// The same origin, and a path at or below that of `base`.
fn is_under(base: &Url, url: &Url) -> bool {
    let path = base.path().trim_end_matches('/');
    let below = url.path().strip_prefix(path);
    base.origin() == url.origin()
        && base.origin().is_tuple()
        && url.username().is_empty()
        && url.password().is_none()
        && below.is_some_and(|rest| (rest.is_empty() || rest.starts_with('/')) && !hides_a_separator(rest))
}

/// Whether it holds a slash or a backslash that some servers see only when they decode the path, and then leave it with `..`.
fn hides_a_separator(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    ["%2f", "%5c", "%25", "%00"].iter().any(|hidden| path.contains(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_is_gone_to() {
        let allowed = [Url::parse("https://app.example/oauth/").unwrap()];
        for (address, is_allowed) in [
            ("https://app.example/oauth", true),
            ("https://app.example/oauth/done?x=1", true),
            ("https://app.example/oauthx", false),
            ("https://app.example/", false),
            ("https://app.example/oauth/../elsewhere", false),
            ("http://app.example/oauth/done", false),
            ("https://app.example:8443/oauth/done", false),
            ("https://app.example.evil.example/oauth/done", false),
            ("https://app.example@evil.example/oauth/done", false),
            ("https://u:p@app.example/oauth/done", false),
            ("https://app.example/oauth/%2e%2e/elsewhere", false),
            ("https://app.example/oauth/..%2felsewhere", false),
            ("https://app.example/oauth/..%5Celsewhere", false),
            ("https://app.example/oauth/%252e%252e%252felsewhere", false),
            ("https://app.example/oauth\\..\\elsewhere", false),
            ("https://app.example%2fevil.example/oauth/done", false),
            ("https://app.example\\@evil.example/oauth/done", false),
            ("https:\\\\evil.example\\oauth\\done", false),
            ("https:/\t/evil.example/oauth/done", false),
            ("https:evil.example/oauth/done", false),
            ("https://evil.example/oauth/?https://app.example/oauth/", false),
            ("https://evil.example/oauth/#@app.example/oauth/", false),
            ("//evil.example/oauth/done", false),
            ("\\\\evil.example/oauth/done", false),
            ("/\\evil.example/oauth/done", false),
            ("/oauth/done", false),
            ("javascript:alert(1)", false),
            ("JAVASCRIPT://app.example/oauth/%0aalert(1)", false),
            ("java\nscript:alert(1)", false),
            ("data:text/html,x", false),
            ("blob:https://app.example/oauth/done", false),
        ] {
            let text = format!(
                "requiredConfigVars:\n  - key: Other\n    stableKey: Account\n    inputs: {{token: null}}\n  - key: Account\n    stableKey: account\n    meta: {{oAuthSuccessRedirectUri: {address:?}}}\n"
            );
            let read = Redirects::read(&text, "Account", &allowed);
            assert_eq!(read.success.is_some(), is_allowed, "{address}");
            assert_eq!(read.failure, None);
            assert_eq!(Redirects::read(&text, "Account", &[]), Redirects::default());
        }
        assert_eq!(Redirects::read(": no yaml [", "Account", &allowed), Redirects::default());
    }
}
