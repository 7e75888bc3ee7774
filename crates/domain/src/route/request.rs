//! What routing reads of a request, and how it finds a routing value in it.

use super::decide::RouteError;
use crate::code::ErrorCode;
use crate::definition::RoutingPath;
use crate::id::EndpointId;
use crate::model::KeyDigest;
use crate::time::Timestamp;
use std::borrow::Cow;
use std::fmt;

/// The header that names the flow where the integration names no field for it.
pub const FLOW_HEADER: &str = "perseat-flow-name";
/// The header that names the customer where the integration names no field for it.
pub const CUSTOMER_HEADER: &str = "perseat-customer-external-id";
/// The header that names the user where the integration names no field for it.
pub const USER_HEADER: &str = "perseat-user-external-id";

/// What a look-up of a header found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderLookup<'a> {
    /// It was not sent.
    Missing,
    /// It was sent once.
    One(&'a str),
    /// It was sent more than once, whatever the values.
    Many,
    /// Its value is not text.
    NotText,
}

/// The headers of a request, found whatever the case of their names.
pub trait RequestHeaders {
    /// Looks a header up.
    fn header(&self, name: &str) -> HeaderLookup<'_>;
}

/// The body of a request, parsed no further than a look-up needs.
pub trait RequestBody {
    /// The string or number at a path into the parsed body; `None` if there is nothing, or something else.
    ///
    /// # Errors
    /// If the body does not parse as its content type says.
    fn text_at(&self, path: &[String]) -> Result<Option<Cow<'_, str>>, ErrorCode>;
}

/// What routing reads of a request.
#[derive(Clone, Copy)]
pub struct RouteRequest<'a> {
    /// The endpoint that its URL names.
    pub endpoint: EndpointId,
    /// Its query as it came, without `?`.
    pub query: &'a str,
    /// Its headers.
    pub headers: &'a dyn RequestHeaders,
    /// Its body.
    pub body: &'a dyn RequestBody,
    /// The digest of its API key, if it showed one.
    pub api_key: Option<KeyDigest>,
    /// When it came.
    pub now: Timestamp,
}

impl fmt::Debug for RouteRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteRequest")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl<'a> RouteRequest<'a> {
    /// The routing value at `path`, or in the `fallback` header where the integration names no path.
    pub(super) fn value(&self, path: Option<&RoutingPath>, fallback: &str) -> Result<Option<Cow<'a, str>>, RouteError> {
        let value = match path {
            None => self.header(fallback)?,
            Some(RoutingPath::Header(name)) => self.header(name)?,
            Some(RoutingPath::Query(name)) => self.parameter(name)?,
            Some(RoutingPath::Body(path)) => self.body.text_at(path).map_err(RouteError::from)?,
        };
        Ok(value.filter(|text| !text.is_empty()))
    }

    fn header(&self, name: &str) -> Result<Option<Cow<'a, str>>, RouteError> {
        match self.headers.header(name) {
            HeaderLookup::Missing => Ok(None),
            HeaderLookup::One(text) => Ok(Some(Cow::Borrowed(text.trim()))),
            HeaderLookup::Many => Err(ErrorCode::RoutingHeaderDuplicate.into()),
            HeaderLookup::NotText => Err(ErrorCode::RoutingValueMissing.into()),
        }
    }

    fn parameter(&self, name: &str) -> Result<Option<Cow<'a, str>>, RouteError> {
        let mut found = form_urlencoded::parse(self.query.as_bytes()).filter(|(key, _)| key == name);
        let first = found.next().map(|(_, value)| value);
        // Two parameters are as ambiguous as two headers.
        if found.next().is_some() {
            return Err(ErrorCode::RoutingHeaderDuplicate.into());
        }
        Ok(first)
    }
}
