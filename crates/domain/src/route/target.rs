//! Reads the endpoint that a request line names: `/trigger/<global id>[/path fragment][?query]`.
//!
//! The id and the path fragment are percent-decoded; both must then be UTF-8 without NUL. The query stays as it came.
//! An absolute-form target must be cut down to its path by the caller, who knows which hosts are ours.

use crate::code::ErrorCode;
use crate::id::EndpointId;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// A method of the trigger interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Works like POST without a body: some senders probe with it.
    Get,
    /// The usual one.
    Post,
    /// Like POST.
    Put,
    /// Like POST.
    Patch,
    /// Like POST.
    Delete,
}

impl Method {
    /// Every method, as the `Allow` header lists them.
    pub const ALLOWED: &'static str = "GET, POST, PUT, PATCH, DELETE";

    /// Reads the method of a request line.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "GET" => Some(Self::Get),
            "POST" => Some(Self::Post),
            "PUT" => Some(Self::Put),
            "PATCH" => Some(Self::Patch),
            "DELETE" => Some(Self::Delete),
            _ => None,
        }
    }
}

/// What a request line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// How it was called.
    pub method: Method,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// What follows the id in the path, decoded, without the slash between.
    pub path_fragment: Cow<'a, str>,
    /// The query as it came, without `?`.
    pub query: &'a str,
}

/// Why a request line names no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The path is no trigger URL, or its id names nothing.
    #[error("the path names no endpoint")]
    NotAnEndpoint,
    /// The method is none of the trigger interface.
    #[error("the method is not one of {}", Method::ALLOWED)]
    Method,
    /// The path decodes to something other than UTF-8 without NUL.
    #[error("the path does not decode to text")]
    Encoding,
}

impl TargetError {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::NotAnEndpoint => ErrorCode::EndpointNotFound,
            Self::Method => ErrorCode::MethodNotAllowed,
            Self::Encoding => ErrorCode::RequestMalformed,
        }
    }
}

const PREFIX: &str = "/trigger/";

/// Reads a request line.
///
/// # Errors
/// If it names no endpoint; a path that is no trigger URL is unknown whatever its method.
pub fn parse_target<'a>(method: &str, path: &'a str, query: Option<&'a str>) -> Result<Target<'a>, TargetError> {
    let rest = path.strip_prefix(PREFIX).ok_or(TargetError::NotAnEndpoint)?;
    let method = Method::parse(method).ok_or(TargetError::Method)?;
    let (id, fragment) = rest.split_once('/').unwrap_or((rest, ""));
    let endpoint = EndpointId::parse(&decode(id)?).ok_or(TargetError::NotAnEndpoint)?;
    Ok(Target {
        method,
        endpoint,
        path_fragment: decode(fragment)?,
        query: query.unwrap_or(""),
    })
}

fn decode(text: &str) -> Result<Cow<'_, str>, TargetError> {
    let decoded = match text.as_bytes().contains(&b'%') {
        true => percent_decode_str(text).decode_utf8().map_err(|_| TargetError::Encoding)?,
        false => Cow::Borrowed(text),
    };
    if decoded.contains('\0') {
        return Err(TargetError::Encoding);
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{FlowNumber, InstanceId, endpoint_base};

    fn endpoint() -> EndpointId {
        EndpointId::InstanceFlow(InstanceId(endpoint_base(0x77 << 64)), FlowNumber(3))
    }

    fn read(method: &str, path: &str) -> Result<(EndpointId, String), TargetError> {
        parse_target(method, path, None).map(|target| (target.endpoint, target.path_fragment.into_owned()))
    }

    #[test]
    fn the_id_is_read_with_and_without_padding_and_percent_encoding() {
        let id = endpoint().global();
        assert!(id.ends_with('='), "the sample must have padding to lose");
        for form in [
            id.clone(),
            id.trim_end_matches('=').to_owned(),
            id.replace('=', "%3D"),
            id.replace('=', "%3d"),
        ] {
            assert_eq!(read("POST", &format!("/trigger/{form}")), Ok((endpoint(), String::new())), "{form}");
        }
    }

    #[test]
    fn the_path_fragment_is_what_follows_decoded() {
        let id = endpoint().global();
        for (path, fragment) in [
            ("", ""),
            ("/", ""),
            ("/a/b", "a/b"),
            ("/a%20b%2Fc", "a b/c"),
            ("//x", "/x"),
            ("/../x", "../x"),
            ("/%", "%"),
        ] {
            assert_eq!(
                read("GET", &format!("/trigger/{id}{path}")),
                Ok((endpoint(), fragment.to_owned())),
                "{path}"
            );
        }
    }

    #[test]
    fn text_that_is_not_utf8_or_holds_nul_is_refused() {
        let id = endpoint().global();
        for tail in ["/%00", "/%ff", "/a%C3", "%00"] {
            assert_eq!(read("POST", &format!("/trigger/{id}{tail}")), Err(TargetError::Encoding), "{tail}");
        }
    }

    #[test]
    fn what_is_no_trigger_url_names_no_endpoint() {
        for path in [
            "/",
            "/trigger",
            "/trigger/",
            "/trigger/abc",
            "/trigger/////",
            "/Trigger/abc",
            "/x/trigger/abc",
            "*",
            "",
        ] {
            assert_eq!(read("POST", path), Err(TargetError::NotAnEndpoint), "{path}");
        }
        let customer = crate::id::CustomerId(uuid::Uuid::from_u128(1)).global();
        assert_eq!(read("POST", &format!("/trigger/{customer}")), Err(TargetError::NotAnEndpoint));
    }

    #[test]
    fn other_methods_are_refused_on_trigger_urls_only() {
        let path = format!("/trigger/{}", endpoint().global());
        for method in ["HEAD", "OPTIONS", "CONNECT", "TRACE", "post", "QUERY"] {
            assert_eq!(read(method, &path), Err(TargetError::Method), "{method}");
            assert_eq!(read(method, "/elsewhere"), Err(TargetError::NotAnEndpoint), "{method}");
        }
    }
}
