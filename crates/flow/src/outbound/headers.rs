//! The headers that a step sets in a request.

use ::http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

/// Headers that hold no credential. Integrations put credentials into headers of any name: all others are marked, which keeps
/// them from another host.
const PLAIN: [&str; 4] = ["accept", "content-type", "idempotency-key", "user-agent"];

/// Why headers cannot be sent. It names no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    /// The name.
    #[error("`{0}` is not the name of a header")]
    Name(String),
    /// The name of the header.
    #[error("the header `{0}` holds a character that a header cannot carry")]
    Value(String),
    /// How many a request may have.
    #[error("more headers than {0} (`outbound.max-headers`)")]
    TooMany(usize),
}

/// These pairs as headers, `most` of them at most: a map that is asked for many more than servers take panics.
pub(crate) fn headers<'a>(pairs: impl IntoIterator<Item = (&'a str, Cow<'a, str>)>, most: usize) -> Result<HeaderMap, HeaderError> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        if headers.len() == most {
            return Err(HeaderError::TooMany(most));
        }
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::Name(name.to_owned()))?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| HeaderError::Value(name.to_owned()))?;
        value.set_sensitive(!PLAIN.contains(&header.as_str()));
        headers.append(header, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_bounded_number_of_headers() {
        let names: Vec<String> = (0..40_000).map(|n| format!("x-{n}")).collect();
        let pairs = |count: usize| names.iter().take(count).map(|name| (name.as_str(), Cow::from("v")));
        assert_eq!(headers(pairs(256), 256).map(|headers| headers.len()), Ok(256));
        assert_eq!(headers(pairs(257), 256), Err(HeaderError::TooMany(256)));
        assert_eq!(headers(pairs(40_000), 256), Err(HeaderError::TooMany(256)));
    }
}
